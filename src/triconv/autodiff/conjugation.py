"""Complex cotangents: whether a pullback takes the conjugates of the operands, as the framework's autodiff does."""

from __future__ import annotations

from typing import Any

from triconv.backends import backend_of

Array = Any


def pullback_operands(operands: tuple[Array, Array], xp: Any) -> tuple[Array, Array]:
    """The operands as the rules in `triconv.rules` take them for cotangents in the convention of their library.

    JAX's cotangents are plain transposes; torch's are adjoints (`Standard.conjugates`), so the rules get conjugates::

        gx = conv_input_vjp(g, conj(w))         gw = conv_weight_vjp(g, conj(x))
    """
    if not backend_of(xp).conjugates:
        return operands
    a, b = (xp.conj(operand) if xp.isdtype(operand.dtype, "complex floating") else operand for operand in operands)
    return a, b
