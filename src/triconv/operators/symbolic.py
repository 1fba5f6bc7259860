"""A resolved call with symbolic sizes, as the tracers of `torch.export` and `torch.compile` have them.

Such a call has no `Geometry`, whose sizes are numbers. The framework's own convolution computes it, in the user's own order of
axes, and the framework differentiates it. Here only the checks are made that do not depend on a symbolic size; the framework
makes the others when the sizes are known.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from array_api_compat import array_namespace

from triconv import rules
from triconv.backends import backend_of
from triconv.geometry.integers import as_int, one_per_axis
from triconv.geometry.padding import resolve_padding
from triconv.operators import torch_symbolic
from triconv.operators.layout import Layout

Array = Any


@dataclass(frozen=True, slots=True)
class SymbolicCall:
    """A resolved call of an operator, as `triconv.operators.operation.Call`, with sizes that may be symbolic.

    Parameters
    ----------
    contraction : {"conv", "conv_input_vjp", "conv_weight_vjp"}
        Which contraction it computes.
    roles : tuple of str
        The role of each of the operator's arrays, in its positional order: "x", "w", "g" or "bias".
    layout : Layout
        The layout.
    spec : Any
        The parameters, as `torch_symbolic.contract` takes them.
    mode : str
        The padding mode; unless "zeros", x is padded by `pads` first.
    pads : sequence of (lo, hi)
        The padding of x, one pair per spatial axis.
    precision : str
        See `triconv.conv`.
    """

    contraction: str
    roles: tuple[str, ...]
    layout: Layout
    spec: Any
    mode: str
    pads: Sequence[tuple[Any, Any]]
    precision: str

    @property
    def groups(self) -> int:
        """The number of groups."""
        return self.spec.groups

    def __call__(self, *arrays: Array) -> Array:
        """Run forward."""
        return self.run(*arrays)

    def run(self, *arrays: Array) -> Array:
        """Run forward: sum and add the bias in the accumulator's dtype, then round the result once."""
        xp = array_namespace(*arrays)
        lib = backend_of(xp)
        dtype = xp.result_type(*arrays)
        wide = lib.product_dtype(dtype, arrays[0], len(self.layout.spatial))
        by_role = {role: xp.astype(a, wide, copy=False) for role, a in zip(self.roles, arrays, strict=True)}
        a, b = (self.layout.to_torch_order(role, by_role[role], xp) for role in rules.ROLES[self.contraction].operands)
        if self.mode != "zeros":
            a = torch_symbolic.pad(a, self.mode, self.pads)
        with lib.precision(self.precision):
            bias = xp.reshape(by_role["bias"], (-1,)) if "bias" in by_role else None
            result = torch_symbolic.contract(self.contraction, a, b, bias, self.spec)
        result = self.layout.from_torch_order(rules.ROLES[self.contraction].result, result, xp)
        return lib.contiguous(
            xp.astype(result, dtype, copy=False), arrays[:2], channels_first=self.layout.is_channels_first
        )

    def pullback(self, arrays: tuple[Array, ...], g: Array) -> tuple[Array, ...]:
        """Cotangents of `arrays`, by the framework's own rules."""
        return torch_symbolic.pullback(self.run, arrays, g)

    def pushforward(self, arrays: tuple[Array, ...], tangents: tuple[Array, ...]) -> Array:
        """Tangent of the result: each array's tangent in its place, one at a time, summed."""
        a, b, *bias = arrays
        da, db, *dbias = tangents
        first, second = self.run(da, b, *(d for d in dbias)), self.run(a, db, *(0 * d for d in bias))
        return first + second


def resolve_symbolic(
    contraction: str,
    arrays: dict[str, Array],
    *,
    names: dict[str, str],
    layout: Layout,
    result_size: Any,
    stride: Any,
    padding: Any,
    dilation: Any,
    input_dilation: Any,
    groups: Any,
    mode: str,
    algorithm: str,
    precision: str,
) -> tuple[SymbolicCall, str | None]:
    """Resolve; also say why the framework's own convolution cannot compute the call, or None. See `validation.resolve`."""
    ndim, roles = len(layout.spatial), rules.ROLES[contraction]
    sizes: dict[str, Any] = {role: layout.spatial_size(role, arrays[role].shape) for role in roles.operands}
    if roles.result != "g":
        name = {"x": "input_size", "w": "kernel_size"}[roles.result]
        sizes[roles.result] = _sizes(result_size, ndim, name)
    strides = one_per_axis(stride, ndim, "stride", least=1)
    dilations = one_per_axis(dilation, ndim, "dilation", least=1)
    input_dilations = one_per_axis(input_dilation, ndim, "input_dilation", least=1)
    spec = torch_symbolic.Spec(
        () if roles.result == "g" else sizes[roles.result],
        strides,
        [(0, 0)] * ndim,
        dilations,
        input_dilations,
        as_int(groups, "groups", least=1),
    )
    if isinstance(padding, str) and padding.lower() in ("same", "same_lower"):
        pads = torch_symbolic.same_pads(sizes["x"], sizes["w"], spec, lower=padding.lower() == "same_lower")
    else:
        ones = [1] * ndim  # only the extent of the kernel matters, and it is no longer than the input
        pads = resolve_padding(padding, ones, sizes["w"], strides, dilations, ones)
    if mode == "zeros":
        spec = spec._replace(pads=pads)
    obstacle = torch_symbolic.obstacle(contraction, spec)
    if algorithm not in ("auto", "vendor"):
        obstacle = f"`algorithm` {algorithm!r} needs sizes that are numbers"
    if obstacle is None and roles.result != "g" and not torch_symbolic.fits(sizes["x"], sizes["w"], sizes["g"], spec):
        msg = (
            f"the spatial sizes of `{names['g']}` must be those of the output of this geometry, "
            f"got {sizes['g']} for an input of {sizes['x']} and a kernel of {sizes['w']}"
        )
        raise ValueError(msg)
    call = SymbolicCall(contraction, tuple(arrays), layout, spec, mode, pads, precision)
    return call, obstacle


def _sizes(size: Any, ndim: int, name: str) -> tuple[Any, ...]:
    """`one_per_axis`, of numbers that may be symbolic."""
    sizes = tuple(size) if isinstance(size, Sequence) else (size,)
    if all(isinstance(number, int) for number in sizes):
        return one_per_axis(size, ndim, name, least=0)
    sizes = sizes * ndim if len(sizes) == 1 else sizes
    if len(sizes) != ndim:
        msg = f"`{name}` must be one int or one int per spatial axis, got {len(sizes)} for {ndim} axes"
        raise ValueError(msg)
    return sizes
