"""Products of torch in full precision without setting its flags, which belong to the whole process.

If the user's flags allow TF32 or bfloat16 in float32 products, then torch's own convolution on CUDA gets an argument that
forbids TF32, and all other products are computed from float64 copies and rounded once. Otherwise they are torch's plain ones.
"""

from __future__ import annotations

from typing import Any

import torch

from triconv.backends import torch_internals

Array = Any

WIDE = {torch.float32: torch.float64, torch.complex64: torch.complex128}


def is_narrowed(operation: str, array: Array) -> bool:
    """Whether the user's flags let torch round the operands of float32 products; `operation` is "matmul" or "conv"."""
    if array.dtype not in WIDE:
        return False
    backends = torch.backends
    if array.device.type == "cpu":
        module = getattr(backends.mkldnn, operation)
    else:
        module = backends.cudnn.conv if operation == "conv" else backends.cuda.matmul
    return module.fp32_precision not in ("none", "ieee")


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
