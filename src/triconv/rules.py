"""The derivative table and the batching table: every rule of the library, each written once.

The three tensors share letters (see the package docstring)::

    x[n, c, i]     w[k, c, t]     g[n, k, o]         each with the group in front

    T(x, w, g) = sum over meetings of x * w * g

Each contraction is the derivative of ``T`` by the tensor that is its result. So the VJP of a contraction by one operand is
again one of the three, with the same geometry: put the cotangent in place of the result, and leave the operand out. A JVP
needs no rule: the contractions are linear in each operand, so the tangent takes the operand's place.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

Array = Any


class Contractions(Protocol):
    """The three contractions in some binding: plain, JAX's or torch's."""

    conv: Callable[..., Array]
    conv_input_vjp: Callable[..., Array]
    conv_weight_vjp: Callable[..., Array]


class Roles(NamedTuple):
    """The tensors that a contraction takes, and the one that it returns."""

    operands: tuple[str, str]
    result: str


ROLES = {
    "conv": Roles(("x", "w"), "g"),
    "conv_input_vjp": Roles(("g", "w"), "x"),
    "conv_weight_vjp": Roles(("g", "x"), "w"),
}

# per contraction: the cotangents of its first and of its second operand (ct: cotangent of its result)
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

# per set of tensors that carry a batch: the letter that they share, with which the batch is merged
BATCH_LETTER = {
    frozenset("xg"): "n",
    frozenset("xw"): "c",
    frozenset("wg"): "k",
    frozenset("xwg"): "group",
}

# the letters of the first axes of each canonical array; the spatial axes follow
LETTERS = {
    "x": ("group", "n", "c"),
    "w": ("group", "k", "c"),
    "g": ("group", "n", "k"),
}

# padding with a mode, and its adjoint (see `triconv.padding_modes`)
ADJOINT = {"pad": "pad_adjoint", "pad_adjoint": "pad"}
