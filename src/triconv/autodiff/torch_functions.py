"""torch autograd functions for the contractions.

There is one function class for the three bilinear contractions and one for the two linear maps. Their backwards call them
again, so derivatives of any order are defined. A call that nothing but autograd sees is one function, `Whole`. torch's gradient
of a complex function is conjugated, see `conjugation`.

Some of torch's transforms cannot use an autograd function. Forward mode over forward mode drops its mixed derivatives, and
`torch.jit.trace` and `torch.func.functionalize` reject it; there torch differentiates the kernel itself. The older batching
behind ``is_grads_batched`` has no slices; there the kernel is an operator that torch calls once per sample.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import sys
from types import MappingProxyType
from typing import Any

import array_api_compat.torch as xp
import torch
from torch.autograd import Function

from triconv import contractions, rules
from triconv.autodiff.batching import batched
from triconv.autodiff.conjugation import pullback_operands
from triconv.backends.torch_internals import (
    apply_outside_transforms,
    asked_for,
    is_legacy_batchedtensor,
    is_view,
    takes_autograd_functions,
    unwrap_if_dead,
)
from triconv.geometry import Axis, Geometry

Array = Any
THIS = sys.modules[__name__]


class Contraction(Function):
    """One of the three contractions, by name."""

    @staticmethod
    def forward(name: str, params: dict[str, Any], a: Array, b: Array) -> Array:
        """Run the plain contraction."""
        return _plain(name, params, a, b)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Array) -> None:  # noqa: ARG004
        """Keep the operands."""
        ctx.name, ctx.params, a, b = inputs
        ctx.save_for_backward(a, b)
        ctx.save_for_forward(a, b)

    @staticmethod
    def backward(ctx: Any, ct: Array) -> tuple[Any, ...]:
        """Apply the row of `rules.VJP`."""
        a, b = pullback_operands(ctx.saved_tensors, xp)
        first, second = rules.VJP[ctx.name]
        _, _, a_needed, b_needed = ctx.needs_input_grad
        ga = first(THIS, ct, a, b, **ctx.params | {"dtype": a.dtype, "final": None}) if a_needed else None
        gb = second(THIS, ct, a, b, **ctx.params | {"dtype": b.dtype, "final": None}) if b_needed else None
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
        """Merge the batch with a letter."""
        return batched(xp, THIS, name, (a, b), in_dims[2:], **params)


class Linear(Function):
    """`pad` or `pad_adjoint`, by name."""

    @staticmethod
    def forward(name: str, params: dict[str, Any], a: Array) -> Array:
        """Run the plain map."""
        return _plain(name, params, a)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Array) -> None:  # noqa: ARG004
        """Keep the name and the parameters: the derivative of a linear map depends on nothing else."""
        ctx.name, ctx.params, _ = inputs

    @staticmethod
    def backward(ctx: Any, ct: Array) -> tuple[Any, ...]:
        """Apply the adjoint."""
        return None, None, _apply(rules.ADJOINT[ctx.name], ctx.params, ct)

    @staticmethod
    def jvp(ctx: Any, _name: None, _params: None, da: Array) -> Array:
        """Apply the map itself."""
        return _apply(ctx.name, ctx.params, da)

    @staticmethod
    def vmap(_info: Any, in_dims: tuple[Any, ...], name: str, params: dict[str, Any], a: Array) -> Any:
        """Put the batch in front: the map works on the last axes."""
        return _apply(name, params, torch.movedim(a, in_dims[2], 0)), 0


class Whole(Function):
    """A prepared call of an operator as one function, where nothing but autograd sees it."""

    @staticmethod
    def forward(ctx: Any, prepared: Any, a: Array, b: Array, *rest: Array) -> Array:
        """Run it; of a bias, the derivatives need no values."""
        ctx.prepared, ctx.rest = prepared, tuple([array.detach() for array in rest]) if rest else ()
        ctx.save_for_backward(a, b)
        y = prepared.run(a, b, *rest)
        return y.detach() if is_view(y) else y  # torch refuses to write into a view that a function has made

    @staticmethod
    def backward(ctx: Any, ct: Array) -> tuple[Any, ...]:
        """Apply the rules, which can be differentiated again."""
        arrays, rest = ctx.saved_tensors, ctx.rest
        needed = asked_for(ctx, ctx.needs_input_grad[1:])
        return None, *ctx.prepared.pullback((*arrays, *rest) if rest else arrays, ct, needed)


_apply_whole = apply_outside_transforms(Whole)


def whole(prepared: Any, *arrays: Array) -> Array:
    """A prepared call, known to autograd as one function."""
    return _apply_whole(prepared, *map(unwrap_if_dead, arrays))


def conv(x: Array, w: Array, **params: Any) -> Array:
    """`triconv.contractions.conv`, known to autograd."""
    return _apply("conv", params, x, w)


def conv_input_vjp(g: Array, w: Array, **params: Any) -> Array:
    """`triconv.contractions.conv_input_vjp`, known to autograd."""
    return _apply("conv_input_vjp", params, g, w)


def conv_weight_vjp(g: Array, x: Array, **params: Any) -> Array:
    """`triconv.contractions.conv_weight_vjp`, known to autograd."""
    return _apply("conv_weight_vjp", params, g, x)


def pad(x: Array, **params: Any) -> Array:
    """`triconv.contractions.pad`, known to autograd."""
    return _apply("pad", params, x)


def pad_adjoint(g: Array, **params: Any) -> Array:
    """`triconv.contractions.pad_adjoint`, known to autograd."""
    return _apply("pad_adjoint", params, g)


def _apply(name: str, params: dict[str, Any], *operands: Array) -> Array:
    """Call the autograd function; or the kernel, where torch would lose derivatives of an autograd function."""
    if not takes_autograd_functions():
        return getattr(contractions, name)(*operands, **params)
    function = Contraction if name in rules.ROLES else Linear
    return function.apply(name, params, *operands)


def _plain(name: str, params: dict[str, Any], *operands: Array) -> Array:
    """Run the kernel; under torch's older batching, once per sample."""
    if not any(map(is_legacy_batchedtensor, operands)):
        return _dense(getattr(contractions, name)(*operands, **params))
    return _once_a_sample(*operands, *[None] * (2 - len(operands)), name, written(params))


def _dense(a: Array) -> Array:
    """`a`, copied if it has gaps in memory: forward mode rejects a view with gaps."""
    reach = 1 + sum((size - 1) * step for size, step in zip(a.shape, a.stride(), strict=True))
    return a if reach == a.numel() or not a.numel() else a.contiguous()


@torch.library.custom_op(
    "triconv::plain", mutates_args=(), schema="(Tensor a, Tensor? b, str name, str params) -> Tensor"
)
def _once_a_sample(a: Array, b: Array | None, name: str, params: str) -> Array:
    """The kernel as a registered operator of torch; these take no objects, so the parameters are passed as text."""
    return getattr(contractions, name)(*(a,) if b is None else (a, b), **_read(params))


def written(params: dict[str, Any]) -> str:
    """Parameters of a contraction, or of padding with a mode, as text."""
    plain = dict(params)
    if (geometry := plain.get("geometry")) is not None:
        plain["geometry"] = [[dataclasses.astuple(axis) for axis in geometry.axes], geometry.groups]
    for name in ("dtype", "final"):
        if (dtype := plain.get(name)) is not None:
            plain[name] = str(dtype).removeprefix("torch.")
    return json.dumps(plain)


@functools.lru_cache(maxsize=1024)
def _read(text: str) -> MappingProxyType[str, Any]:
    """Read what `written` wrote; equal texts are read once."""
    params = json.loads(text)
    if "geometry" in params:
        axes, groups = params["geometry"]
        params["geometry"] = Geometry(tuple(Axis(*numbers) for numbers in axes), groups)
    for name in ("dtype", "final"):
        if params.get(name) is not None:
            params[name] = getattr(torch, params[name])
    if "orders" in params:
        params["orders"] = tuple(params["orders"])
    if "pads" in params:
        params["pads"] = tuple(map(tuple, params["pads"]))
    return MappingProxyType(params)
