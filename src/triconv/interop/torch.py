"""torch autograd functions for the contractions.

One function class for the three bilinear contractions and one for the two linear maps; both call themselves backward, so
derivatives of any order are defined. torch's gradient of a complex function is conjugated: the cotangent of one operand is
the contraction with the conjugate of the other.
"""

from __future__ import annotations

import sys
from typing import Any

import array_api_compat.torch as xp
import torch
from torch.autograd import Function

from triconv import contractions, rules

Array = Any
THIS = sys.modules[__name__]


class Contraction(Function):
    """One of the three contractions, by name."""

    @staticmethod
    def forward(name: str, params: dict[str, Any], a: Array, b: Array) -> Array:
        """Run the plain contraction."""
        return getattr(contractions, name)(a, b, **params)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Array) -> None:  # noqa: ARG004
        """Keep the operands."""
        ctx.name, ctx.params, a, b = inputs
        ctx.save_for_backward(a, b)
        ctx.save_for_forward(a, b)

    @staticmethod
    def backward(ctx: Any, ct: Array) -> tuple[Any, ...]:
        """Apply the row of `rules.VJP`."""
        a, b = (operand.conj() for operand in ctx.saved_tensors)
        cotangents = (
            rule(THIS, ct, a, b, **ctx.params) if needed else None
            for rule, needed in zip(rules.VJP[ctx.name], ctx.needs_input_grad[2:], strict=True)
        )
        return None, None, *cotangents

    @staticmethod
    def jvp(ctx: Any, _name: None, _params: None, da: Array | None, db: Array | None) -> Array:
        """Put each tangent in its operand's place."""
        a, b = ctx.saved_tensors
        f = getattr(THIS, ctx.name)
        terms = [f(da, b, **ctx.params)] if da is not None else []
        terms += [f(a, db, **ctx.params)] if db is not None else []
        return sum(terms[1:], terms[0])

    @staticmethod
    def vmap(_info: Any, in_dims: tuple[Any, ...], name: str, params: dict[str, Any], a: Array, b: Array) -> Any:
        """Fold the batch into a letter."""
        return rules.batched(xp, THIS, name, (a, b), in_dims[2:], **params)


class Linear(Function):
    """`extend` or `fold`, by name."""

    @staticmethod
    def forward(name: str, params: dict[str, Any], a: Array) -> Array:
        """Run the plain map."""
        return getattr(contractions, name)(a, **params)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Array) -> None:  # noqa: ARG004
        """Keep the name: a linear map's derivative depends on nothing else."""
        ctx.name, ctx.params, _ = inputs

    @staticmethod
    def backward(ctx: Any, ct: Array) -> tuple[Any, ...]:
        """Apply the adjoint."""
        return None, None, Linear.apply(rules.ADJOINT[ctx.name], ctx.params, ct)

    @staticmethod
    def jvp(ctx: Any, _name: None, _params: None, da: Array) -> Array:
        """Apply the map itself."""
        return Linear.apply(ctx.name, ctx.params, da)

    @staticmethod
    def vmap(_info: Any, in_dims: tuple[Any, ...], name: str, params: dict[str, Any], a: Array) -> Any:
        """Put the batch in front: the map works on the last axes."""
        return Linear.apply(name, params, torch.movedim(a, in_dims[2], 0)), 0


def conv(x: Array, w: Array, **params: Any) -> Array:
    """`triconv.contractions.conv`, known to autograd."""
    return Contraction.apply("conv", params, x, w)


def conv_input_vjp(g: Array, w: Array, **params: Any) -> Array:
    """`triconv.contractions.conv_input_vjp`, known to autograd."""
    return Contraction.apply("conv_input_vjp", params, g, w)


def conv_weight_vjp(g: Array, x: Array, **params: Any) -> Array:
    """`triconv.contractions.conv_weight_vjp`, known to autograd."""
    return Contraction.apply("conv_weight_vjp", params, g, x)


def extend(x: Array, **params: Any) -> Array:
    """`triconv.contractions.extend`, known to autograd."""
    return Linear.apply("extend", params, x)


def fold(g: Array, **params: Any) -> Array:
    """`triconv.contractions.fold`, known to autograd."""
    return Linear.apply("fold", params, g)
