"""The three contractions on canonical arrays, not yet differentiable: plan, then run the kernel by its schedule.

Canonical arrays have torch's order with the group in front, and channels counted within a group::

    x (groups, n, c, *input)      w (groups, k, c, *kernel)      g (groups, n, k, *output)

This module is the plain binding, which NumPy and CuPy use as it is; `triconv.autodiff` registers the same five functions
with JAX and with torch.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from array_api_compat import array_namespace

from triconv import padding_modes, rules
from triconv.backends import Standard, backend_of
from triconv.geometry import Geometry
from triconv.kernels.problem import FIRST
from triconv.planning import planner

Array = Any


def conv(x: Array, w: Array, **params: Any) -> Array:
    """Forward contraction, ``y = dT/dg``.

    Parameters
    ----------
    x : array, shape (groups, n, c, *input)
        The input.
    w : array, shape (groups, k, c, *kernel)
        The kernel.
    **params : Any
        ``geometry``, a `Geometry`; ``algorithm`` and ``precision`` as in `triconv.conv`; ``dtype``, that of the result, by
        default that of `x`; ``final``, that to which the caller rounds the result, by default the same; ``orders``, where the
        channels of x, w and g stand in memory, for arrays that have no strides.

    Returns
    -------
    array, shape (groups, n, k, *output)
    """
    return _contract("conv", x, w, **params)


def conv_input_vjp(g: Array, w: Array, **params: Any) -> Array:
    """Input VJP, ``gx = dT/dx``, for `g` of shape (groups, n, k, *output); otherwise as `conv`."""
    return _contract("conv_input_vjp", g, w, **params)


def conv_weight_vjp(g: Array, x: Array, **params: Any) -> Array:
    """Weight VJP, ``gw = dT/dw``, for `g` of shape (groups, n, k, *output); otherwise as `conv`."""
    return _contract("conv_weight_vjp", g, x, **params)


def pad(x: Array, *, mode: str, pads: Any) -> Array:
    """`triconv.padding_modes.pad` in the plain binding."""
    return padding_modes.pad(x, mode=mode, pads=pads, xp=array_namespace(x))


def pad_adjoint(g: Array, *, mode: str, pads: Any) -> Array:
    """`triconv.padding_modes.pad_adjoint` in the plain binding; adds in the accumulator's dtype."""
    xp = array_namespace(g)
    wide = xp.astype(g, backend_of(xp).accumulator(g.dtype), copy=False)
    gx = padding_modes.pad_adjoint(wide, mode=mode, pads=pads, lib=backend_of(xp))
    return xp.astype(gx, g.dtype, copy=False)


def result_shape(name: str, *operands: Array, **params: Any) -> tuple[int, ...]:
    """Shape of what one of the five functions gives; the operands need only have a shape."""
    if name in rules.ADJOINT:
        (a,), pads = operands, params["pads"]
        sign = 1 if name == "pad" else -1
        front = a.ndim - len(pads)
        sizes = zip(a.shape[front:], pads, strict=True)
        return (*a.shape[:front], *(size + sign * (lo + hi) for size, (lo, hi) in sizes))
    roles, geometry = rules.ROLES[name], params["geometry"]
    letters: dict[str, int] = {}
    for role, operand in zip(roles.operands, operands, strict=True):
        letters |= zip(rules.LETTERS[role], operand.shape, strict=False)
    spatial = {"x": geometry.input_size, "w": geometry.kernel_size, "g": geometry.output_size}[roles.result]
    return (*(letters[letter] for letter in rules.LETTERS[roles.result]), *spatial)


class Planned(NamedTuple):
    """A contraction of which all is decided: what depends on shapes, dtypes and memory orders alone."""

    contraction: str
    plan: planner.Plan
    operands: Any  # dtype that the operands are brought to
    result: Any  # dtype of the result

    @property
    def is_apart(self) -> bool:
        """Whether a compiler had better keep its program apart: a kernel that reads each element at several taps.

        What stands around it in the user's program, merged into it, would be computed once per tap.
        """
        schedule = self.plan.schedule
        is_apart = getattr(self.plan.kernel, "is_apart", lambda _: True)
        return math.prod(schedule.geometry.kernel_size) > 1 and is_apart(schedule)


def planned(
    name: str,
    a: Array,
    b: Array,
    *,
    lib: Standard,
    geometry: Geometry,
    algorithm: str = "auto",
    dtype: Any = None,
    final: Any = None,
    orders: tuple[str, ...] = FIRST,
) -> Planned:
    """Pick the kernel, and the dtype: that in which sums are taken, unless the kernel takes them so of narrower operands.

    The library's own convolution may do that and round its result. Then it serves where the result is to be of that dtype, and
    on a GPU also where a bias is added before it is rounded again: there a wider result would come of wider operands.
    """
    xp = lib.xp
    dtype, both = a.dtype if dtype is None else dtype, xp.result_type(a, b)
    wide = xp.result_type(lib.accumulator(both), lib.accumulator(dtype))
    # narrower operands are summed in their own accumulator
    factors = lib.factor_dtype(both, a) if lib.accumulator(both) == wide else wide
    plan = planner.plan(
        planner.problem_of(name, a, b, geometry, lib, wide if factors != both else both, orders),
        planner.target_of(lib, a),
        algorithm,
    )
    operands = wide
    if plan.algorithm == "vendor":
        own = lib.product_dtype(both, a, len(geometry.axes))
        is_rounded = own == dtype or (factors == both and own == final)
        operands = own if is_rounded else wide
    elif getattr(plan.kernel, "NARROW_FACTORS", False) and factors == both:
        operands = both
    return Planned(name, plan, operands, dtype)


def run(planned: Planned, a: Array, b: Array, lib: Standard, precision: str) -> Array:
    """Run the kernel by its schedule."""
    name, plan, dtype, result_dtype = planned
    a, b = lib.cast(a, dtype), lib.cast(b, dtype)
    with lib.precision(precision):
        result = (_by_sample if plan.by_sample else _at_once)(name, plan, a, b, lib)
    return lib.cast(result, result_dtype)


def _contract(name: str, a: Array, b: Array, *, precision: str = "highest", **params: Any) -> Array:
    lib = backend_of(array_namespace(a, b))
    return run(planned(name, a, b, lib=lib, **params), a, b, lib, precision)


def _at_once(name: str, plan: planner.Plan, a: Array, b: Array, lib: Standard) -> Array:
    """The kernel, by its schedule."""
    return getattr(plan.kernel, name)(a, b, plan.schedule, lib)


def _by_sample(name: str, plan: planner.Plan, a: Array, b: Array, lib: Standard) -> Array:
    """The kernel on one sample at a time, in a loop."""
    a = lib.xp.moveaxis(a, 1, 0)
    if name == "conv_weight_vjp":
        b = lib.xp.moveaxis(b, 1, 0)
        return lib.sum_blocks(lambda g, x: _at_once(name, plan, g[:, None, ...], x[:, None, ...], lib), a, b)
    y = lib.map_blocks(lambda a: _at_once(name, plan, a[:, None, ...], b, lib)[:, 0, ...], a)
    return lib.xp.moveaxis(y, 0, 1)
