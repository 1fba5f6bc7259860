"""The batching rule: a batch is merged with the letter that the tensors with a batch share (`rules.BATCH_LETTER`)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from triconv.backends.array_operations import permute_dims
from triconv.geometry import Geometry
from triconv.rules import BATCH_LETTER, LETTERS, ROLES, Contractions

Array = Any


def batched(
    xp: Any,
    f: Contractions,
    name: str,
    operands: tuple[Array, Array],
    batch_axes: tuple[int | None, int | None],
    *,
    geometry: Geometry,
    **kw: Any,
) -> tuple[Array, int]:
    """A contraction of operands of which one or both have a batch axis, by one call of the same contraction.

    Parameters
    ----------
    xp : namespace
        Array namespace of the operands.
    f : Contractions
        The binding to call.
    name : str
        The contraction.
    operands : tuple of array
        Canonical arrays, each with one more axis if ``batch_axes`` has a number for it.
    batch_axes : tuple of int or None
        The batch axis of each operand; None if it has none.
    geometry : Geometry
        The geometry of one sample.
    **kw : Any
        The other parameters of the contraction.

    Returns
    -------
    result : array
        The results, one per sample.
    axis : int
        Its batch axis.
    """
    roles = ROLES[name]
    carriers = {role for role, axis in zip(roles.operands, batch_axes, strict=True) if axis is not None}
    letter = BATCH_LETTER[frozenset(carriers | {roles.result})]
    merged = []
    for role, operand, axis in zip(roles.operands, operands, batch_axes, strict=True):
        if axis is None:
            merged.append(operand)
            continue
        target = LETTERS[role].index(letter)
        *before, batch, length = (moved := _move(xp, operand, axis, target)).shape[: target + 2]
        merged.append(xp.reshape(moved, (*before, batch * length, *moved.shape[target + 2 :])))
    if letter == "group":
        geometry = replace(geometry, groups=geometry.groups * batch)
    result = getattr(f, name)(*merged, geometry=geometry, **kw)
    target = LETTERS[roles.result].index(letter)
    return xp.reshape(result, (*result.shape[:target], batch, length, *result.shape[target + 1 :])), target


def _move(xp: Any, a: Array, axis: int, target: int) -> Array:
    order = [other for other in range(a.ndim) if other != axis % a.ndim]
    return permute_dims(a, (*order[:target], axis % a.ndim, *order[target:]), xp)
