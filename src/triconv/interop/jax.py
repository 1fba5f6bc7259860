"""JAX primitives for the contractions: all that touches JAX's internals.

Three bilinear primitives, closed under transposition, and two pairs of linear ones, each the other's transpose::

    conv_p, conv_input_vjp_p, conv_weight_vjp_p      rules.VJP, rules.batched
    extend_p, fold_p, exchange_p, give_back_p        rules.ADJOINT

JVPs follow from linearity, and so does `jet`; `checkify` looks for NaNs in what each gives. Run eagerly, a primitive is
compiled once a geometry and shape, as JAX's own are.

Inside of `jax.shard_map` an operand that is the same on every device of a mesh axis is first cast to one that varies over
it, where the other operand does. The transpose of that cast is the sum over the devices, which is what the gradient of a
replicated weight is.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax._src import checkify
from jax.core import ShapedArray
from jax.experimental import jet
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir
from jax.sharding import AbstractMesh, AxisType, NamedSharding, PartitionSpec

from triconv import contractions, rules
from triconv.backends import backend_of
from triconv.backends.jax import target
from triconv.interop import halo

Array = Any

STATIC = ("geometry", "algorithm", "precision", "dtype", "mode", "pads", "axis", "names", "halo", "sent")
THIS = sys.modules[__name__]


def conv(x: Array, w: Array, **params: Any) -> Array:
    """`triconv.contractions.conv`, as a primitive."""
    return _bind(conv_p, x, w, params)


def conv_input_vjp(g: Array, w: Array, **params: Any) -> Array:
    """`triconv.contractions.conv_input_vjp`, as a primitive."""
    return _bind(conv_input_vjp_p, g, w, params)


def conv_weight_vjp(g: Array, x: Array, **params: Any) -> Array:
    """`triconv.contractions.conv_weight_vjp`, as a primitive."""
    return _bind(conv_weight_vjp_p, g, x, params)


def extend(x: Array, **params: Any) -> Array:
    """`triconv.contractions.extend`, as a primitive."""
    return extend_p.bind(x, **params)


def fold(g: Array, **params: Any) -> Array:
    """`triconv.contractions.fold`, as a primitive."""
    return fold_p.bind(g, **params)


def exchange(x: Array, **params: Any) -> Array:
    """`triconv.interop.halo.exchange`, as a primitive."""
    return exchange_p.bind(x, **params)


def give_back(g: Array, **params: Any) -> Array:
    """`triconv.interop.halo.give_back`, as a primitive."""
    return give_back_p.bind(g, **params)


def _bind(primitive: Primitive, a: Array, b: Array, params: dict[str, Any]) -> Array:
    """Bind, with every parameter hashable and in one spelling, and operands that vary over the same mesh axes.

    Primitives give the dtype of their sums, which is rounded after: so the terms of a tangent are added before. And what is
    cast to vary is cast to it before, since the adjoint is a sum over devices.
    """
    given = {"algorithm": "auto", "precision": "highest"} | params
    if given["precision"] == "default":  # as configured now, not when the program is compiled
        given["precision"] = jax.config.jax_default_matmul_precision or "default"
    dtype = np.dtype(given.get("dtype") or a.dtype)
    given["dtype"] = _sums(dtype)
    varying = [jax.typeof(operand).manual_axis_type.varying for operand in (a, b)]
    missing = [tuple(sorted(varying[1 - n] - varying[n])) for n in (0, 1)]
    a, b = (
        jax.lax.pcast(o.astype(_sums(o.dtype)), m, to="varying") if m else o
        for o, m in zip((a, b), missing, strict=True)
    )
    return primitive.bind(a, b, **given).astype(dtype)


def _sums(dtype: Any) -> Any:
    return np.dtype(backend_of(jnp).accumulator(dtype))


def _primitive(name: str) -> Primitive:
    """A primitive that runs and lowers as the plain function of that name."""
    is_halo = hasattr(halo, name)
    plain: Callable[..., Array] = getattr(halo if is_halo else contractions, name)
    primitive = Primitive(f"triconv_{name}")  # tools name the primitive, and so the library
    compiled = jax.jit(primitive.bind, static_argnames=STATIC)

    def run(*operands: Array, **params: Any) -> Array:
        return (plain if jax.config.jax_disable_jit else compiled)(*operands, **params)

    primitive.def_impl(run)

    def abstract(*avals: ShapedArray, **params: Any) -> ShapedArray:
        first, *_ = avals
        shape = (
            halo.result_shape(name, first.shape, **params)
            if is_halo
            else contractions.result_shape(name, *avals, **params)
        )
        dtype = params.get("dtype", first.dtype)
        if first.sharding.mesh.empty:
            return ShapedArray(shape, dtype)
        return ShapedArray(
            shape,
            dtype,
            sharding=NamedSharding(first.sharding.mesh, PartitionSpec(*[None] * len(shape))),
            manual_axis_type=first.manual_axis_type,
        )

    primitive.def_abstract_eval(abstract)
    lower = mlir.lower_fun(plain, multiple_results=False)

    def lowering(context: mlir.LoweringRuleContext, *operands: Any, **params: Any) -> Any:
        with target(*_target(context.module_context)):
            return lower(context, *operands, **params)

    mlir.register_lowering(primitive, lowering)
    checkify.error_checks[primitive] = functools.partial(checkify.nan_error_check, primitive)
    return primitive


def _target(module: mlir.ModuleContext) -> tuple[str, bool, Any]:
    """The kind of device that a program is compiled for, whether its arrays may be shared out among several, and a mesh.

    The mesh says which axes of an array are whole, so it need not be the user's; there is none where axes are manual.
    """
    axes = module.axis_context
    manual = getattr(axes, "manual_axes", None)
    several = (getattr(axes, "num_devices", 1) or 1) > 1
    shared = several if manual is None else set(axes.mesh.axis_names) != set(manual)
    mesh = AbstractMesh((axes.num_devices,), ("devices",), (AxisType.Auto,)) if shared and manual is None else None
    return "cpu" if module.platforms[0] == "cpu" else "gpu", shared, mesh


def _contraction(name: str) -> Primitive:
    primitive = _primitive(name)
    first, second = (functools.partial(rule, THIS) for rule in rules.VJP[name])
    ad.defbilinear(
        primitive,
        lambda ct, a, b, **params: first(ct, None, b, **params | {"dtype": a.aval.dtype}),
        lambda ct, a, b, **params: second(ct, a, None, **params | {"dtype": b.aval.dtype}),
    )

    def taylor(primals: tuple[Array, Array], series: tuple[list[Array], list[Array]], **params: Any) -> Any:
        """The Cauchy product: coefficient `k` of the result is the sum of those that add up to it."""
        a, b = ([primal, *terms] for primal, terms in zip(primals, series, strict=True))
        pairs = ([(a[j], b[k - j]) for j in range(k + 1)] for k in range(len(a)))
        first, *others = (sum(primitive.bind(*pair, **params) for pair in group) for group in pairs)
        return first, others

    jet.jet_rules[primitive] = taylor

    def batch(operands: tuple[Array, Array], axes: tuple[Any, Any], **params: Any) -> tuple[Array, int]:
        sizes = {a.shape[axis] for a, axis in zip(operands, axes, strict=True) if axis is not None}
        if None in axes or all(isinstance(size, int) for size in sizes):
            return rules.batched(jnp, THIS, name, operands, axes, **params)
        moved = [jnp.moveaxis(a, axis, 0) for a, axis in zip(operands, axes, strict=True)]
        return jax.lax.map(lambda pair: primitive.bind(*pair, **params), moved), 0  # groups are a number

    batching.primitive_batchers[primitive] = batch
    return primitive


def _linear(name: str) -> Primitive:
    primitive = _primitive(name)
    adjoint: Callable[..., Array] = getattr(THIS, rules.ADJOINT[name])
    ad.deflinear2(primitive, lambda ct, _, **params: [adjoint(ct, **params)])
    jet.deflinear(primitive)

    def batch(operands: tuple[Array], axes: tuple[int], **params: Any) -> tuple[Array, int]:
        moved = jnp.moveaxis(operands[0], axes[0], 0)  # works on the last axes, so any in front are a batch
        return primitive.bind(moved, **params), 0

    batching.primitive_batchers[primitive] = batch
    return primitive


conv_p, conv_input_vjp_p, conv_weight_vjp_p = map(_contraction, rules.ROLES)
extend_p, fold_p, exchange_p, give_back_p = map(_linear, rules.ADJOINT)
