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
        a, b = (operand.conj() if operand.is_complex() else operand for operand in ctx.saved_tensors)
        first, second = rules.VJP[ctx.name]
        _, _, a_needed, b_needed = ctx.needs_input_grad
        ga = first(THIS, ct, a, b, **ctx.params | {"dtype": a.dtype}) if a_needed else None
        gb = second(THIS, ct, a, b, **ctx.params | {"dtype": b.dtype}) if b_needed else None
        return None, None, ga, gb

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


def _apply(name: str, params: dict[str, Any], a: Array, b: Array) -> Array:
    """Apply, unless torch would silently drop a derivative: it has none of a custom function's forward derivative."""
    levels = torch._C._functorch.get_interpreter_stack() or ()  # noqa: SLF001 (there is no public way to ask)
    if sum(level.key() == torch._C._functorch.TransformType.Jvp for level in levels) > 1:  # noqa: SLF001
        msg = (
            "forward mode over forward mode must not be used on triconv's operators with torch, which drops the mixed "
            "derivative of a custom function there; use forward over reverse, such as torch.func.hessian"
        )
        raise NotImplementedError(msg)
    return Contraction.apply(name, params, a, b)


def conv(x: Array, w: Array, **params: Any) -> Array:
    """`triconv.contractions.conv`, known to autograd."""
    return _apply("conv", params, x, w)


def conv_input_vjp(g: Array, w: Array, **params: Any) -> Array:
    """`triconv.contractions.conv_input_vjp`, known to autograd."""
    return _apply("conv_input_vjp", params, g, w)


def conv_weight_vjp(g: Array, x: Array, **params: Any) -> Array:
    """`triconv.contractions.conv_weight_vjp`, known to autograd."""
    return _apply("conv_weight_vjp", params, g, x)


def extend(x: Array, **params: Any) -> Array:
    """`triconv.contractions.extend`, known to autograd."""
    return Linear.apply("extend", params, x)


def fold(g: Array, **params: Any) -> Array:
    """`triconv.contractions.fold`, known to autograd."""
    return Linear.apply("fold", params, g)
