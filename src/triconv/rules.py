"""The derivative table and the batching table: every rule of the library, each written once.

The three tensors share letters (see the package docstring)::

    x[n, c, i]     w[k, c, t]     g[n, k, o]         each with the group in front

    T(x, w, g) = sum over meetings of x * w * g

Each contraction is the derivative of ``T`` by the tensor that it does not take, so the derivative of a contraction by
one operand, against a cotangent of its result, is ``T`` with that cotangent put in the result's place and the operand
left out: again one of the three, with the same geometry. A JVP needs no rule: the contractions are linear in each
operand, so the tangent takes the operand's place.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple, Protocol

from triconv.backends.standard import permute_dims
from triconv.geometry import Geometry

Array = Any


class Contractions(Protocol):
    """The three contractions, by whichever binding: plain, JAX's or torch's."""

    conv: Callable[..., Array]
    conv_input_vjp: Callable[..., Array]
    conv_weight_vjp: Callable[..., Array]


class Roles(NamedTuple):
    """Which of the three tensors a contraction takes, and which it gives."""

    operands: tuple[str, str]
    result: str


ROLES = {
    "conv": Roles(("x", "w"), "g"),
    "conv_input_vjp": Roles(("g", "w"), "x"),
    "conv_weight_vjp": Roles(("g", "x"), "w"),
}

# contraction: cotangent of its first operand, cotangent of its second operand (ct: cotangent of its result)
VJP: dict[str, tuple[Callable[..., Array], Callable[..., Array]]] = {
    "conv": (
        lambda f, ct, x, w, **kw: f.conv_input_vjp(ct, w, **kw),
        lambda f, ct, x, w, **kw: f.conv_weight_vjp(ct, x, **kw),
    ),
    "conv_input_vjp": (
        lambda f, ct, g, w, **kw: f.conv(ct, w, **kw),
        lambda f, ct, g, w, **kw: f.conv_weight_vjp(g, ct, **kw),
    ),
    "conv_weight_vjp": (
        lambda f, ct, g, x, **kw: f.conv(x, ct, **kw),
        lambda f, ct, g, x, **kw: f.conv_input_vjp(g, ct, **kw),
    ),
}

# which tensors carry the batch: the letter they share, into which it folds
BATCH_LETTER = {
    frozenset("xg"): "n",
    frozenset("xw"): "c",
    frozenset("wg"): "k",
    frozenset("xwg"): "group",
}

# where that letter stands in each canonical array
LETTERS = {
    "x": ("group", "n", "c"),
    "w": ("group", "k", "c"),
    "g": ("group", "n", "k"),
}

# an extension of the borders and its adjoint (see extension.py), and a halo exchange and its: what was received is sent back
# and added (see interop/halo.py)
ADJOINT = {"extend": "fold", "fold": "extend", "exchange": "give_back", "give_back": "exchange"}


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
        The results, one a sample.
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
        *before, size, own = (moved := _move(xp, operand, axis, target)).shape[: target + 2]
        folded.append(xp.reshape(moved, (*before, size * own, *moved.shape[target + 2 :])))
    if letter == "group":
        geometry = replace(geometry, groups=geometry.groups * size)
    result = getattr(f, name)(*folded, geometry=geometry, **kw)
    target = LETTERS[roles.result].index(letter)
    return xp.reshape(result, (*result.shape[:target], size, own, *result.shape[target + 1 :])), target


def _move(xp: Any, a: Array, axis: int, target: int) -> Array:
    order = [other for other in range(a.ndim) if other != axis % a.ndim]
    return permute_dims(a, (*order[:target], axis % a.ndim, *order[target:]), xp)
