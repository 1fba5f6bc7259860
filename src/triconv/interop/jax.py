"""JAX primitives for the contractions: all that touches JAX's internals.

Three bilinear primitives, closed under transposition, and two linear ones, each the other's transpose::

    conv_p, conv_input_vjp_p, conv_weight_vjp_p      rules.VJP, rules.batched
    extend_p, fold_p                                 rules.ADJOINT

JVPs follow from linearity. Run eagerly, a primitive is compiled once a geometry and shape, as JAX's own are.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import ShapedArray
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir

from triconv import contractions, rules

Array = Any

STATIC = {"contraction": ("geometry", "algorithm", "precision", "dtype"), "linear": ("mode", "pads")}
THIS = sys.modules[__name__]


def conv(x: Array, w: Array, **params: Any) -> Array:
    """`triconv.contractions.conv`, as a primitive."""
    return conv_p.bind(x, w, **_complete(x, params))


def conv_input_vjp(g: Array, w: Array, **params: Any) -> Array:
    """`triconv.contractions.conv_input_vjp`, as a primitive."""
    return conv_input_vjp_p.bind(g, w, **_complete(g, params))


def conv_weight_vjp(g: Array, x: Array, **params: Any) -> Array:
    """`triconv.contractions.conv_weight_vjp`, as a primitive."""
    return conv_weight_vjp_p.bind(g, x, **_complete(g, params))


def extend(x: Array, **params: Any) -> Array:
    """`triconv.contractions.extend`, as a primitive."""
    return extend_p.bind(x, **params)


def fold(g: Array, **params: Any) -> Array:
    """`triconv.contractions.fold`, as a primitive."""
    return fold_p.bind(g, **params)


def _complete(a: Array, params: dict[str, Any]) -> dict[str, Any]:
    """Every parameter of a contraction, hashable and in one spelling."""
    given = {"algorithm": "auto", "precision": "highest", "dtype": None} | params
    return given | {"dtype": np.dtype(a.dtype if given["dtype"] is None else given["dtype"])}


def _primitive(name: str, kind: str) -> Primitive:
    """A primitive that runs and lowers as the plain function of that name."""
    plain: Callable[..., Array] = getattr(contractions, name)
    primitive = Primitive(name)
    primitive.def_impl(jax.jit(plain, static_argnames=STATIC[kind]))

    def abstract(*avals: ShapedArray, **params: Any) -> ShapedArray:
        shape = contractions.result_shape(name, *avals, **params)
        return ShapedArray(shape, params.get("dtype", avals[0].dtype))

    primitive.def_abstract_eval(abstract)
    mlir.register_lowering(primitive, mlir.lower_fun(plain, multiple_results=False))
    return primitive


def _contraction(name: str) -> Primitive:
    primitive = _primitive(name, "contraction")
    first, second = (functools.partial(rule, THIS) for rule in rules.VJP[name])
    ad.defbilinear(
        primitive,
        lambda ct, a, b, **params: first(ct, None, b, **params | {"dtype": a.aval.dtype}),
        lambda ct, a, b, **params: second(ct, a, None, **params | {"dtype": b.aval.dtype}),
    )

    def batch(operands: tuple[Array, Array], axes: tuple[Any, Any], **params: Any) -> tuple[Array, int]:
        return rules.batched(jnp, THIS, name, operands, axes, **params)

    batching.primitive_batchers[primitive] = batch
    return primitive


def _linear(name: str) -> Primitive:
    primitive = _primitive(name, "linear")
    adjoint: Callable[..., Array] = getattr(THIS, rules.ADJOINT[name])
    ad.deflinear2(primitive, lambda ct, _, **params: [adjoint(ct, **params)])

    def batch(operands: tuple[Array], axes: tuple[int], **params: Any) -> tuple[Array, int]:
        moved = jnp.moveaxis(operands[0], axes[0], 0)  # works on the last axes, so any in front are a batch
        return primitive.bind(moved, **params), 0

    batching.primitive_batchers[primitive] = batch
    return primitive


conv_p, conv_input_vjp_p, conv_weight_vjp_p = map(_contraction, rules.ROLES)
extend_p, fold_p = map(_linear, rules.ADJOINT)
