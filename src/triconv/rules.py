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
from typing import Any, NamedTuple, Protocol

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

# padding with a mode, and its adjoint (see kernels/padding_modes.py)
ADJOINT = {"pad": "pad_adjoint", "pad_adjoint": "pad"}
