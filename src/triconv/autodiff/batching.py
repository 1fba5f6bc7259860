"""The batching rule of the contractions: a batch folds into the letter that its carriers share (`rules.BATCH_LETTER`)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from triconv.backends.base import permute_dims
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
    """A contraction over a batch that one or both operands carry, by one call of the same contraction.

    Parameters
    ----------
    xp : namespace
        Array namespace of the operands.
    f : Contractions
        The binding to call.
    name : str
        The contraction.
    operands : tuple of array
        Canonical arrays, each with one more axis where ``batch_axes`` has a number.
    batch_axes : tuple of int or None
        Where the batch stands in each operand, None where it has none.
    geometry : Geometry
        The geometry of one sample.
    **kw : Any
        What the contraction takes beside it.

    Returns
    -------
    result : array
        The results, one per sample.
    axis : int
        Where the batch stands in it.
    """
    roles = ROLES[name]
    carriers = {role for role, axis in zip(roles.operands, batch_axes, strict=True) if axis is not None}
    letter = BATCH_LETTER[frozenset(carriers | {roles.result})]
    folded = []
    for role, operand, axis in zip(roles.operands, operands, batch_axes, strict=True):
        if axis is None:
            folded.append(operand)
            continue
        target = LETTERS[role].index(letter)
        *before, batch, length = (moved := _move(xp, operand, axis, target)).shape[: target + 2]
        folded.append(xp.reshape(moved, (*before, batch * length, *moved.shape[target + 2 :])))
    if letter == "group":
        geometry = replace(geometry, groups=geometry.groups * batch)
    result = getattr(f, name)(*folded, geometry=geometry, **kw)
    target = LETTERS[roles.result].index(letter)
    return xp.reshape(result, (*result.shape[:target], batch, length, *result.shape[target + 1 :])), target


def _move(xp: Any, a: Array, axis: int, target: int) -> Array:
    order = [other for other in range(a.ndim) if other != axis % a.ndim]
    return permute_dims(a, (*order[:target], axis % a.ndim, *order[target:]), xp)
