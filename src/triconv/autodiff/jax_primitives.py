"""JAX primitives for the contractions; the one module that defines primitives and their rules.

There are three bilinear primitives, closed under transposition, and two linear ones, each the transpose of the other::

    conv_p, conv_input_vjp_p, conv_weight_vjp_p      rules.VJP, batching.batched
    pad_p, pad_adjoint_p                                 rules.ADJOINT

`linear_pair` makes further such pairs for the rooms above.

JVPs and the rule of `jet` follow from linearity. `checkify` looks for NaNs in the results. Called eagerly, a primitive is
compiled once per geometry and shape, as JAX's own are.

On a CPU a kernel with several taps is compiled as a function of its own (`Planned.is_apart`).

Inside of `jax.shard_map` one operand may vary over the devices of a mesh axis while the other is the same on all of them. The
other one is then cast to "varying" first. The transpose of this cast is a sum over the devices: the gradient of a replicated
weight.
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
from jax._src.lib.mlir import ir
from jax.core import ShapedArray
from jax.experimental import jet
from jax.experimental.layout import Layout, with_layout_constraint
from jax.extend.core import Primitive, primitives
from jax.interpreters import ad, batching, mlir
from jax.sharding import AbstractMesh, AxisType, NamedSharding, PartitionSpec

from triconv import contractions, rules
from triconv.autodiff.batching import batched
from triconv.backends.jax_backend import JAX
from triconv.backends.jax_program import PROGRAM, Program, compiling
from triconv.kernels.polyphase import transposed
from triconv.kernels.problem import FIRST

Array = Any

STATIC = (
    "geometry",
    "algorithm",
    "precision",
    "dtype",
    "final",
    "orders",
    "mode",
    "pads",
    "axis",
    "names",
    "halo",
    "sent",
)
THIS = sys.modules[__name__]
LIB = JAX(jnp)


def conv(x: Array, w: Array, **params: Any) -> Array:
    """`triconv.contractions.conv`, as a primitive."""
    return _bind(conv_p, x, w, params)


def conv_input_vjp(g: Array, w: Array, **params: Any) -> Array:
    """`triconv.contractions.conv_input_vjp`, as a primitive."""
    return _bind(conv_input_vjp_p, g, w, params)


def conv_weight_vjp(g: Array, x: Array, **params: Any) -> Array:
    """`triconv.contractions.conv_weight_vjp`, as a primitive."""
    return _bind(conv_weight_vjp_p, g, x, params)


def pad(x: Array, **params: Any) -> Array:
    """`triconv.contractions.pad`, as a primitive."""
    return pad_p.bind(x, **params)


def pad_adjoint(g: Array, **params: Any) -> Array:
    """`triconv.contractions.pad_adjoint`, as a primitive."""
    return pad_adjoint_p.bind(g, **params)


def _bind(primitive: Primitive, a: Array, b: Array, params: dict[str, Any]) -> Array:
    """Bind with hashable parameters in one spelling, and with operands that vary over the same mesh axes.

    A primitive returns the dtype of its sums, and the result is rounded afterwards: so the terms of a tangent are added before
    they are rounded. An operand that is cast to "varying" gets the dtype of the sums first, since the transpose of the cast is
    a sum over devices.
    """
    params = {"algorithm": "auto", "precision": "highest"} | params
    if params["precision"] == "default":  # the configuration of now, not that of when the program is compiled
        params["precision"] = jax.config.jax_default_matmul_precision or "default"
    dtype = np.dtype(params.get("dtype") or a.dtype)
    params |= {"dtype": _sums(dtype), "final": np.dtype(params.get("final") or dtype)}
    varying = [jax.typeof(operand).manual_axis_type.varying for operand in (a, b)]
    missing = [tuple(sorted(varying[1 - n] - varying[n])) for n in (0, 1)]
    a, b = (
        jax.lax.pcast(o.astype(_sums(o.dtype)), m, to="varying") if m else o
        for o, m in zip((a, b), missing, strict=True)
    )
    return primitive.bind(a, b, **params).astype(dtype)


def _narrow(ct: Array, params: dict[str, Any]) -> Array:
    """A cotangent in the dtype to which the result is rounded: so it has no more bits."""
    return ct.astype(params.get("final") or ct.dtype)


def _of(primal: Any) -> dict[str, Any]:
    """The dtypes of the cotangent of a primal."""
    return {"dtype": primal.aval.dtype, "final": None}


def _sums(dtype: Any) -> Any:
    return np.dtype(LIB.accumulator(dtype))


def _primitive(name: str, plain: Callable[..., Array], result_shape: Callable[..., tuple[int, ...]]) -> Primitive:
    """A primitive that runs as the function `plain`; its result has the shape ``result_shape(name, *avals)``."""
    primitive = Primitive(f"triconv_{name}")  # the library's name is in it: profilers and jaxprs show it
    compiled = jax.jit(primitive.bind, static_argnames=STATIC)

    def run(*operands: Array, **params: Any) -> Array:
        return (plain if jax.config.jax_disable_jit else compiled)(*operands, **params)

    primitive.def_impl(run)

    def abstract(*avals: ShapedArray, **params: Any) -> ShapedArray:
        first, *_ = avals
        shape = result_shape(name, *avals, **params)
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
    inside, apart = (mlir.lower_fun(f, multiple_results=False) for f in (plain, _apart))

    def lowering(context: mlir.LoweringRuleContext, *operands: Any, **params: Any) -> Any:
        with compiling(_program(context.module_context)):
            planned = _to_keep(name, context, **params) if name in rules.ROLES else None
            if planned is None:
                return inside(context, *operands, **params)
            (result,) = context.avals_out
            orders, precision = params.get("orders", FIRST), params["precision"]
            is_turned = planned.contraction != name
            results = apart(
                context,
                *operands,
                shape=result.shape,
                planned=planned,
                precision=precision,
                orders=orders,
                is_turned=is_turned,
            )
            _keep_call(results[0])
            return results

    # that of a contraction depends on the place in the program
    mlir.register_lowering(primitive, lowering, cacheable=name not in rules.ROLES)
    checkify.error_checks[primitive] = functools.partial(checkify.nan_error_check, primitive)
    return primitive


def _to_keep(
    name: str,
    context: mlir.LoweringRuleContext,
    *,
    precision: str,  # noqa: ARG001 (nothing is planned by it)
    **params: Any,
) -> contractions.Planned | None:
    """The plan of a contraction whose program is to be kept apart (`Planned.is_apart`), where shapes are known.

    XLA then also compiles it once where layers are alike.
    """
    sizes = [size for aval in context.avals_in for size in aval.shape]
    if not PROGRAM.get().apart or not all(isinstance(size, int) for size in sizes):
        return None
    a, b = context.avals_in
    planned = contractions.planned(name, a, b, lib=LIB, **params)
    if not planned.is_apart:
        return None
    planned = _as_forward(planned, a, b, params)
    return planned._replace(plan=planned.plan._replace(candidates=()))


def _as_forward(
    planned: contractions.Planned, g: ShapedArray, w: ShapedArray, params: dict[str, Any]
) -> contractions.Planned:
    """The plan of the layer's forward where its function serves for the input VJP too, with the transposed kernel.

    A layer without a stride that keeps channels and positions has the same geometry seen from either side. Its kernel is
    turned outside of the function; of one with more elements than the input has, that would take time.
    """
    geometry, orders = params["geometry"], params.get("orders", FIRST)
    if planned.contraction != "conv_input_vjp" or planned.plan.schedule.contraction != "conv" or w.size > g.size:
        return planned
    if w.shape[1] != w.shape[2] or orders[0] != orders[2] or geometry.transposed() != geometry:
        return planned
    forward = contractions.planned("conv", g, w, lib=LIB, **params)
    return forward if forward.plan.schedule == planned.plan.schedule else planned


def _apart(
    a: Array,
    b: Array,
    *,
    shape: tuple[int, ...],
    planned: contractions.Planned,
    precision: str,
    orders: tuple[str, ...],
    is_turned: bool,
) -> Array:
    """A contraction by a function of arrays as they stand in memory: a call has nothing to copy.

    With `is_turned`, an input VJP by the function of the forward, which takes the transposed kernel.
    """
    b = transposed(b, LIB) if is_turned else b
    roles, order = rules.ROLES[planned.contraction], dict(zip("xwg", orders, strict=True))
    given = [LIB.in_memory(o, role, order[role]) for role, o in zip(roles.operands, (a, b), strict=True)]
    result = triconv_kernel(*given, shapes=(a.shape, b.shape), planned=planned, precision=precision, orders=orders)
    return LIB.from_memory(result, shape, roles.result, order[roles.result])


@functools.partial(jax.jit, static_argnames=("shapes", "planned", "precision", "orders"))
def triconv_kernel(
    *given: Array,
    shapes: tuple[tuple[int, ...], ...],
    planned: contractions.Planned,
    precision: str,
    orders: tuple[str, ...],
) -> Array:
    """The kernel of `planned`, for operands as they stand in memory: what profilers show by this name."""
    roles, order = rules.ROLES[planned.contraction], dict(zip("xwg", orders, strict=True))
    a, b = (
        LIB.from_memory(_in_layout(o), shape, role, order[role])
        for o, shape, role in zip(given, shapes, roles.operands, strict=True)
    )
    result = contractions.run(planned, a, b, LIB, precision)
    return _in_layout(LIB.in_memory(result, roles.result, order[roles.result]))


def _keep_call(value: Any) -> None:
    """Mark the call that a value comes of, by reshapes and transposes alone, as one that XLA is not to inline."""
    call = value.owner
    while call.name != "func.call":
        call = call.operands[0].owner
    call.attributes["mhlo.frontend_attributes"] = ir.DictAttr.get({"inlineable": ir.StringAttr.get("false")})


def _in_layout(a: Array) -> Array:
    """An array that XLA is to lay out in memory as its axes stand, which it need not where it keeps a function apart."""
    return with_layout_constraint(a, Layout(tuple(range(a.ndim))))


def _program(module: mlir.ModuleContext) -> Program:
    """What a program is compiled for, and whether the place where operations are added now is in its outermost function.

    The mesh is only used to say which axes of an array are not sharded, so it need not be the user's. It is None if some mesh
    axes are manual.
    """
    axes = module.axis_context
    manual = getattr(axes, "manual_axes", None)
    several = (getattr(axes, "num_devices", 1) or 1) > 1
    shared = several if manual is None else set(axes.mesh.axis_names) != set(manual)
    mesh = AbstractMesh((axes.num_devices,), ("devices",), (AxisType.Auto,)) if shared and manual is None else None
    around = ir.InsertionPoint.current.block.owner
    outermost = around.operation.name == "func.func" and around.name.value == "main"
    apart = module.platforms == ("cpu",) and not (manual or several or module.lowering_parameters.for_export)
    return Program("cpu" if module.platforms[0] == "cpu" else "gpu", shared, mesh, outermost, apart)


def _contraction(name: str) -> Primitive:
    primitive = _primitive(name, getattr(contractions, name), contractions.result_shape)
    first, second = (functools.partial(rule, THIS) for rule in rules.VJP[name])
    ad.defbilinear(
        primitive,
        lambda ct, a, b, **params: first(_narrow(ct, params), None, b, **params | _of(a)),
        lambda ct, a, b, **params: second(_narrow(ct, params), a, None, **params | _of(b)),
    )

    def taylor(primals: tuple[Array, Array], series: tuple[list[Array], list[Array]], **params: Any) -> Any:
        """The Cauchy product: coefficient `k` of the result is the sum over ``a[j] * b[k - j]``."""
        a, b = ([primal, *terms] for primal, terms in zip(primals, series, strict=True))
        pairs = ([(a[j], b[k - j]) for j in range(k + 1)] for k in range(len(a)))
        first, *others = (sum(primitive.bind(*pair, **params) for pair in group) for group in pairs)
        return first, others

    jet.jet_rules[primitive] = taylor

    def batch(operands: tuple[Array, Array], axes: tuple[Any, Any], **params: Any) -> tuple[Array, int]:
        sizes = {a.shape[axis] for a, axis in zip(operands, axes, strict=True) if axis is not None}
        if None in axes or all(isinstance(size, int) for size in sizes):
            return batched(jnp, THIS, name, operands, axes, **params)
        moved = [jnp.moveaxis(a, axis, 0) for a, axis in zip(operands, axes, strict=True)]
        # a symbolic batch cannot be merged with the groups, which are a number
        return jax.lax.map(lambda pair: primitive.bind(*pair, **params), moved), 0

    batching.primitive_batchers[primitive] = batch
    return primitive


def linear_pair(
    first: Callable[..., Array], second: Callable[..., Array], result_shape: Callable[..., tuple[int, ...]]
) -> tuple[Primitive, Primitive]:
    """Primitives for two linear maps of the last axes of an array, each the transpose of the other.

    Parameters
    ----------
    first, second : callable
        The maps: functions of one array and parameters. The primitives get their names.
    result_shape : callable
        Takes the name of a map, the array's abstract value and the parameters; returns the shape of the result.

    Returns
    -------
    tuple of Primitive
    """
    primitives = tuple(_primitive(plain.__name__, plain, result_shape) for plain in (first, second))
    for primitive, adjoint in (primitives, primitives[::-1]):
        ad.deflinear2(primitive, functools.partial(_transposed, adjoint))
        jet.deflinear(primitive)
        batching.primitive_batchers[primitive] = functools.partial(_batched_in_front, primitive)
    return primitives


def _transposed(adjoint: Primitive, ct: Array, _: Any, **params: Any) -> list[Array]:
    return [adjoint.bind(ct, **params)]


def _batched_in_front(
    primitive: Primitive, operands: tuple[Array], axes: tuple[int], **params: Any
) -> tuple[Array, int]:
    """Put the batch in front: the maps work on the last axes."""
    return primitive.bind(jnp.moveaxis(operands[0], axes[0], 0), **params), 0


conv_p, conv_input_vjp_p, conv_weight_vjp_p = map(_contraction, rules.ROLES)
pad_p, pad_adjoint_p = linear_pair(contractions.pad, contractions.pad_adjoint, contractions.result_shape)


def is_of_jax(primitive: Primitive) -> bool:
    """Whether a primitive is JAX's own, with JAX's rules."""
    return any(primitive is known for known in vars(primitives).values())
