"""Products of torch in full precision without setting its flags, which belong to the whole process.

If the user's flags allow TF32 or bfloat16 in float32 products, then torch's own convolution on CUDA gets an argument that
forbids TF32, and all other products are computed from float64 copies and rounded once. Otherwise they are torch's plain ones.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch

from triconv.backends import torch_internals, torch_order
from triconv.geometry import Geometry

Array = Any

# values of torch's flags that narrow nothing
FULL = ("none", "ieee")
WIDE = {torch.float32: torch.float64, torch.complex64: torch.complex128}


def is_narrowed(operation: str, array: Array) -> bool:
    """Whether the user's flags let torch round the operands of float32 products; `operation` is "matmul" or "conv"."""
    if array.dtype not in WIDE:
        return False
    return _flags(operation, array.device.type).fp32_precision not in FULL


@functools.cache
def _flags(operation: str, device: str) -> Any:
    """Where torch has the user's flag for an operation on a kind of device."""
    backends = torch.backends
    if device == "cpu":
        return getattr(backends.mkldnn, operation)
    return backends.cudnn.conv if operation == "conv" else backends.cuda.matmul


def matmul(a: Array, b: Array) -> Array:
    """`torch.matmul` in full precision."""
    if not is_narrowed("matmul", a):
        return torch.matmul(a, b)
    return torch.matmul(a.to(WIDE[a.dtype]), b.to(WIDE[b.dtype])).to(a.dtype)


def convolution(x: Array, w: Array, params: dict[str, Any]) -> Array:
    """``torch.ops.aten.convolution`` without a bias, in full precision; `params` are the rest of its arguments."""
    if _has_switch(x):
        if torch.compiler.is_compiling() and not torch.compiler.is_exporting():
            return _opaque_without_tf32(x, w, *params.values())
        return torch_internals.convolution_without_tf32(x, w, *params.values())
    if _needs_doubles(x):
        return torch.ops.aten.convolution(x.double(), w.double(), None, **params).to(x.dtype)
    return torch.ops.aten.convolution(x, w, None, **params)


def convolution_input_vjp(g: Array, x: Array, w: Array, params: dict[str, Any]) -> Array:
    """Gradient of `convolution` by x, of which only the shape is read."""
    if _is_convolution(g):
        lengths = [
            (out - 1) * step - 2 * pad + apart * (taps - 1) + 1
            for out, taps, step, pad, apart in zip(
                g.shape[2:], w.shape[2:], params["stride"], params["padding"], params["dilation"], strict=True
            )
        ]
        extra = [size - length for size, length in zip(x.shape[2:], lengths, strict=True)]
        return convolution(g, w, params | {"transposed": True, "output_padding": extra})
    return _backward(g, x, w, params, 0)


def convolution_weight_vjp(g: Array, x: Array, w: Array, params: dict[str, Any]) -> Array:
    """Gradient of `convolution` by w, of which only the shape is read; if `_is_convolution`, a convolution with kernel g."""
    if not _is_convolution(g):
        return _backward(g, x, w, params, 1)
    groups, n = params["groups"], x.shape[0]
    x = x.reshape(n, groups, -1, *x.shape[2:]).transpose(0, 2)
    g = g.reshape(n, groups, -1, *g.shape[2:]).movedim(0, 2)
    x = x.reshape(x.shape[0], groups * n, *x.shape[3:])
    g = g.reshape(-1, n, *g.shape[3:])
    exchanged = {"stride": params["dilation"], "dilation": params["stride"]}
    gw = convolution(x, g, params | exchanged)
    return gw[(..., *map(slice, w.shape[2:]))].transpose(0, 1)


def own_call(
    contraction: str, geometry: Geometry, precision: str, like: Sequence[Array], *, in_order: bool
) -> Callable[..., Array | None] | None:
    """See `Standard.own_call`; it gives None where the user's flags would narrow products that are to be in full precision."""
    is_narrow, last = _narrowing(precision, like[0]), in_order and torch_order.is_last(like[0], like)
    if contraction == "conv_weight_vjp":
        return _own_weight_vjp(geometry, is_narrow, last)
    geometry, flat = _padded(contraction, geometry)
    own = _own_params(contraction, geometry)
    if own is None:
        return None
    dims, groups = len(geometry.axes), geometry.groups
    if own["transposed"]:
        function = (torch.conv_transpose1d, torch.conv_transpose2d, torch.conv_transpose3d)[dims - 1]
        params: tuple[Any, ...] = (own["stride"], own["padding"], own["output_padding"], groups, own["dilation"])
    else:
        function = (torch.conv1d, torch.conv2d, torch.conv3d)[dims - 1]
        params = (own["stride"], own["padding"], own["dilation"], groups)

    def call(a: Array, w: Array, bias: Array | None = None) -> Array | None:
        if is_narrow():
            return None
        y = function(torch.nn.functional.pad(a, flat) if flat else a, w, bias, *params)
        return torch_order.ordered(y, last) if last or not y.is_contiguous() else y

    return call


def own_padding(contraction: str, geometry: Geometry) -> tuple[Callable[[Array], Array], Geometry] | None:
    """See `Standard.own_padding`."""
    padded, flat = _padded(contraction, geometry)
    return (functools.partial(torch.nn.functional.pad, pad=flat), padded) if flat else None


def _narrowing(precision: str, like: Array) -> Callable[[], bool]:
    """Whether the user's flags, as they are at the time, narrow products of such arrays that are to be in full precision."""
    if precision != "highest" or like.dtype not in WIDE:
        return lambda: False
    if like.device.type == "cpu":
        flag = torch_internals.precision_flag(_flags("conv", "cpu"))
        return lambda: flag() not in FULL
    return lambda: _has_switch(like) or _needs_doubles(like)


def _own_weight_vjp(
    geometry: Geometry, is_narrow: Callable[[], bool], last: bool
) -> Callable[..., Array | None] | None:
    """`own_call` of a weight VJP: torch's backward function, which reads of the kernel only the shape."""
    params = _own_params("conv", geometry)
    if params is None:
        return None
    arguments, groups, sizes = list(params.values()), geometry.groups, geometry.kernel_size

    def call(g: Array, x: Array) -> Array | None:
        if is_narrow():
            return None
        w = g.new_empty((g.shape[1], x.shape[1] // groups, *sizes))
        gw = torch.ops.aten.convolution_backward.default(g, x, w, None, *arguments, [False, True, False])[1]
        return torch_order.ordered(gw, last)

    return call


def own_pullback(
    contraction: str, geometry: Geometry, precision: str, like: Sequence[Array]
) -> Callable[..., tuple[Array | None, Array | None] | None] | None:
    """See `Standard.own_pullback`; it gives None as `own_call` does."""
    geometry, flat = _padded(contraction, geometry)
    params = _own_params(contraction, geometry)
    if params is None:
        return None
    arguments, inside = list(params.values()), [-size for size in flat]
    is_narrow, last = _narrowing(precision, like[0]), torch_order.is_last(like[0], like)
    backward = torch.ops.aten.convolution_backward.default

    def call(g: Array, a: Array, w: Array, needed: Sequence[bool]) -> tuple[Array | None, Array | None] | None:
        if is_narrow():
            return None
        mask = [*needed, False]
        if flat:
            a = torch.nn.functional.pad(a, flat) if needed[1] else unread(a, (*a.shape[:2], *geometry.input_size))
        first, second, _ = backward(g, a, w, None, *arguments, mask)
        if flat and first is not None:
            first = torch.nn.functional.pad(first, inside)
        if first is not None and (last or not first.is_contiguous()):
            first = torch_order.ordered(first, last)
        if second is not None and (last or not second.is_contiguous()):
            second = torch_order.ordered(second, last)
        return first, second

    return call


def unread(like: Array, shape: tuple[int, ...]) -> Array:
    """An array of which torch reads only the shape, as of the input in an input VJP; on a CPU it would copy an expanded one."""
    return like.new_empty(shape) if like.device.type == "cpu" else like.new_empty(()).expand(shape)


def outer_pads(geometry: Geometry) -> tuple[list[tuple[int, int]], list[int]]:
    """How to pad the input if torch cannot express the padding, and the padding that is left to torch."""
    if all(axis.even_pad_hi == axis.pad_lo for axis in geometry.axes):
        return [(0, 0)] * len(geometry.axes), [axis.pad_lo for axis in geometry.axes]
    pads = [(axis.pad_lo, axis.read_pad_hi) for axis in geometry.axes]
    return pads, [0] * len(pads)


def _padded(contraction: str, geometry: Geometry) -> tuple[Geometry, list[int]]:
    """The convolution whose padding torch has, and how the input is padded before, as torch's `pad` takes it: not, if empty."""
    is_cropped = any(min(axis.pad_lo, axis.pad_hi) < 0 for axis in geometry.axes)
    if contraction != "conv" or is_cropped or any(axis.input_dilation > 1 for axis in geometry.axes):
        return geometry, []
    pads, padding = outer_pads(geometry)
    if not any(map(any, pads)):
        axes = (replace(axis, pad_hi=size) for axis, size in zip(geometry.axes, padding, strict=True))
        return Geometry(tuple(axes), geometry.groups), []
    pads = [(lo, max(0, hi)) for lo, hi in pads]  # what no window reads need not be cropped
    sizes = (
        replace(axis, input_size=lo + axis.input_size + hi, pad_lo=0, pad_hi=0)
        for axis, (lo, hi) in zip(geometry.axes, pads, strict=True)
    )
    return Geometry(tuple(sizes), geometry.groups), [size for pair in reversed(pads) for size in pair]


def _own_params(contraction: str, geometry: Geometry) -> dict[str, Any] | None:
    """The arguments of ``torch.ops.aten.convolution`` after the bias, if one call of it computes the contraction."""
    axes = geometry.axes
    if len(axes) not in (1, 2, 3) or any(a.input_dilation > 1 or a.pad_lo < 0 or not a.output_size for a in axes):
        return None
    if contraction == "conv" and all(a.pad_lo == a.pad_hi for a in axes):
        extra = [0] * len(axes)
    elif contraction == "conv_input_vjp":
        extra = [a.input_size + 2 * a.pad_lo - a.stride * (a.output_size - 1) - a.dilated_kernel for a in axes]
        if not all(0 <= size < max(a.stride, a.dilation) for size, a in zip(extra, axes, strict=True)):
            return None
    else:
        return None
    stride, padding, dilation = ([getattr(a, name) for a in axes] for name in ("stride", "pad_lo", "dilation"))
    return {
        "stride": stride,
        "padding": padding,
        "dilation": dilation,
        "transposed": contraction != "conv",
        "output_padding": extra,
        "groups": geometry.groups,
    }


def _backward(g: Array, x: Array, w: Array, params: dict[str, Any], operand: int) -> Array:
    dtype = g.dtype
    if _needs_doubles(g):
        g, x, w = g.double(), x.double(), w.double()
    mask = [number == operand for number in range(3)]
    return torch.ops.aten.convolution_backward(g, x, w, None, *params.values(), mask)[operand].to(dtype)


def _is_convolution(array: Array) -> bool:
    """Whether to write a gradient as a convolution: `_backward` has no switch for TF32, and torch.jit has no `_backward`."""
    return _has_switch(array) or torch_internals.is_traced()


def _has_switch(array: Array) -> bool:
    """Whether torch's own convolution would use TF32, and has an argument against it: cuDNN's."""
    return array.device.type == "cuda" and torch.backends.cudnn.enabled and is_narrowed("conv", array)


def _needs_doubles(array: Array) -> bool:
    """Whether torch would round the operands and has no switch: oneDNN's kernels, and torch's own if cuDNN is disabled."""
    if array.device.type == "cpu":
        return is_narrowed("conv", array)
    return not torch.backends.cudnn.enabled and is_narrowed("matmul", array)


@torch.library.custom_op(
    "triconv::convolution",
    mutates_args=(),
    schema="(Tensor x, Tensor w, SymInt[] stride, SymInt[] padding, SymInt[] dilation, bool transposed, "
    "SymInt[] output_padding, SymInt groups) -> Tensor",
)
def _opaque_without_tf32(x: Array, w: Array, *params: Any) -> Array:
    """The same as a registered operator, which a compiler does not trace: it would drop the argument against TF32."""
    return torch_internals.convolution_without_tf32(x, w, *params)


@_opaque_without_tf32.register_fake
def _(x: Array, w: Array, *params: Any) -> Array:
    return torch.ops.aten.convolution(x, w, None, *params)
