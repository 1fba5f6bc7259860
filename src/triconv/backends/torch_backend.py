"""PyTorch: the operations that the array API standard lacks, by torch's own."""

from __future__ import annotations

import contextlib
import functools
import importlib.util
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import array_api_compat
import numpy as np

from triconv.backends.base import Array, ArrayKind, Orders, Standard, to_native
from triconv.geometry import Geometry


class Torch(Standard):
    """torch tensors."""

    name = "torch"
    distribution = "torch"
    requirement = "torch>=2.11,<2.14"
    module = "array_api_compat.torch"
    converter = "torch.as_tensor"
    conjugates = True
    takes_numpy = True
    vendor_axes = range(1, 4)
    # positions: at a stride of 100,000 torch's backward function ends the process (torch 2.13 on a CPU); at 1,000 it is right
    vendor_steps = 1024

    @classmethod
    def owns(cls, xp: Any) -> bool:
        """Whether an array namespace is this library's."""
        return array_api_compat.is_torch_namespace(xp)

    def __init__(self, xp: Any) -> None:
        super().__init__(xp)
        self._is_highest = False  # not shared between threads: each contraction makes its own object

    @classmethod
    def installed(cls) -> bool:
        """Whether torch can be imported here."""
        return importlib.util.find_spec("torch") is not None

    @classmethod
    def array_kind(cls, kind: type) -> ArrayKind | None:
        """Of plain tensors and parameters, not of other subclasses."""
        import torch

        return _tensors() if kind in (torch.Tensor, torch.nn.Parameter) else None

    def own_call(
        self, contraction: str, geometry: Geometry, precision: str, like: Sequence[Array], *, in_order: bool
    ) -> Callable[..., Array | None] | None:
        """`torch.conv2d` and the like, or torch's own backward function; none for padding that torch lacks."""
        from triconv.backends import torch_products

        return torch_products.own_call(contraction, geometry, precision, like, in_order=in_order)

    def own_pullback(
        self, contraction: str, geometry: Geometry, precision: str, like: Sequence[Array]
    ) -> Callable[..., tuple[Array | None, Array | None] | None] | None:
        """Torch's own backward function, which computes both cotangents in one call."""
        from triconv.backends import torch_products

        return torch_products.own_pullback(contraction, geometry, precision, like)

    def own_padding(self, contraction: str, geometry: Geometry) -> tuple[Callable[[Array], Array], Geometry] | None:
        """`torch.nn.functional.pad`, where it differs on two sides."""
        from triconv.backends import torch_products

        return torch_products.own_padding(contraction, geometry)

    def devices(self) -> list[str]:
        """The CPU and every accelerator of this process."""
        import torch

        kind = torch.accelerator.current_accelerator()
        count = torch.accelerator.device_count() if kind is not None else 0
        return ["cpu", *(f"{kind.type}:{number}" for number in range(count) if kind is not None)]

    def obstacle(self, array: Array) -> str:
        """Refuse tensors that are nested, sparse, quantized or masked."""
        import torch

        if array.is_nested:
            return "a dense tensor, got a nested one; give torch.nested.to_padded_tensor of it, or one sample at a time"
        if array.layout != torch.strided:
            return f"a dense tensor, got one of layout {array.layout}; give its to_dense()"
        if array.is_quantized:
            return f"a tensor of plain numbers, got a quantized one ({array.dtype}); give its dequantize()"
        if type(array).__name__ == "MaskedTensor":
            return "without a mask, which a convolution cannot keep, got a MaskedTensor; give its to_tensor(0)"
        return ""

    def accumulator(self, dtype: Any) -> Any:
        """As `Standard.accumulator`; but int64 for unsigned integers, for which torch has no arithmetic (equal modulo 2^64)."""
        if dtype in (self.xp.uint16, self.xp.uint32, self.xp.uint64):
            return self.xp.int64
        return super().accumulator(dtype)

    def product_dtype(self, dtype: Any, like: Array, axes: int) -> Any:
        """int64 for integers; bfloat16 itself on a CPU on which oneDNN has it and sums in float32.

        Not float16: torch sums its gradients in float16. And not along three axes: where a processor has AMX, oneDNN reads past
        the end of rows with a single output (``torch.conv3d`` of ones with stride (1, 1, 2), torch 2.13).
        """
        import torch

        if self.xp.isdtype(dtype, "integral"):
            return torch.int64
        wide = self.accumulator(dtype)
        if dtype != torch.bfloat16 or like.device.type != "cpu" or axes > 2:
            return wide
        from triconv.backends import torch_internals

        return dtype if torch_internals.has_bfloat16() else wide

    def varies(self, sizes: Iterable[Any]) -> bool:
        """Whether one is a `torch.SymInt`; the sizes of `torch.jit.trace` are tensors, and constants of its program."""
        import torch

        return any(isinstance(size, torch.SymInt) for size in sizes)

    def contiguous(self, a: Array, like: Sequence[Array], *, channels_first: bool) -> Array:
        """Contiguous; but with channels last in memory if torch's own convolution would return it so."""
        from triconv.backends import torch_order

        return torch_order.ordered(a, channels_first and torch_order.is_last(a, like))

    def entering(self, arrays: tuple[Array, ...], *, channels_first: bool) -> tuple[Array, ...]:
        """If autograd records: the arrays behind an identity whose cotangents are contiguous."""
        from triconv.backends import torch_order

        return torch_order.entering(arrays, channels_first=channels_first)

    def precision(self, level: str) -> contextlib.AbstractContextManager[Any]:
        """Float32 products in float32 (no TF32, no bfloat16, no autocast), or as the user configured.

        It sets no flag of torch, since flags belong to the whole process; instead, this object computes products differently.
        A program of `torch.compile` keeps the flags from when it was compiled, but cuDNN's convolution never uses TF32.
        """
        return _Highest(self) if level == "highest" else contextlib.nullcontext()

    def matmul(self, a: Array, b: Array) -> Array:
        """Return the matrix products of the last two axes, in the precision asked for."""
        if self._is_highest:
            from triconv.backends import torch_products

            return torch_products.matmul(a, b)
        return self.xp.matmul(a, b)

    def matmul_transposed(self, a: Array, b: Array) -> Array:
        """``a @ b^T`` of the last two axes."""
        return self.matmul(a, self.xp.matrix_transpose(b))

    def zeros(self, shape: tuple[int, ...], like: Array) -> Array:
        """Zeros by a method of `like`, since a subclass of tensors may have factory functions of its own."""
        return like.new_zeros(shape)

    def vendor_conv(self, geometry: Geometry, x: Array, w: Array, orders: Orders) -> Array:
        """`torch.conv1d`, `conv2d` or `conv3d`; torch sees the memory orders for itself."""
        import torch

        (groups, n), (_, k, c) = x.shape[:2], w.shape[:3]
        x, padding = _padded(x.transpose(0, 1).reshape(n, groups * c, *geometry.input_size), geometry)
        w = w.reshape(groups * k, c, *geometry.kernel_size)
        params = _params(geometry, padding, groups)
        if self._is_highest:
            from triconv.backends import torch_products

            y = torch_products.convolution(x, w, params)
        else:
            # autocast knows this function, but not torch.ops.aten.convolution
            function = (torch.conv1d, torch.conv2d, torch.conv3d)[len(geometry.axes) - 1]
            y = function(x, w, None, params["stride"], padding, params["dilation"], groups)
        return y.reshape(n, groups, k, *geometry.output_size).transpose(0, 1)

    def vendor_input_vjp(self, geometry: Geometry, g: Array, w: Array, orders: Orders) -> Array:
        """The gradient of the input, by torch's backward function."""
        from triconv.backends import torch_products

        (groups, n), (_, k, c) = g.shape[:2], w.shape[:3]
        pads, padding = torch_products.outer_pads(geometry)
        sizes = [lo + size + hi for size, (lo, hi) in zip(geometry.input_size, pads, strict=True)]
        x = torch_products.unread(g, (n, groups * c, *sizes))
        g = g.transpose(0, 1).reshape(n, groups * k, *geometry.output_size)
        w = w.reshape(groups * k, c, *geometry.kernel_size)
        gx = self._backward(g, x, w, _params(geometry, padding, groups), 0)
        gx = self.pad(gx, [(-lo, -hi) for lo, hi in pads])
        return gx.reshape(n, groups, c, *geometry.input_size).transpose(0, 1)

    def vendor_weight_vjp(self, geometry: Geometry, x: Array, g: Array, orders: Orders) -> Array:
        """The gradient of the weight, by torch's backward function."""
        groups, n, k = g.shape[:3]
        c = x.shape[2]
        x, padding = _padded(x.transpose(0, 1).reshape(n, groups * c, *geometry.input_size), geometry)
        g = g.transpose(0, 1).reshape(n, groups * k, *geometry.output_size)
        w = g.new_empty((groups * k, c, *geometry.kernel_size))
        gw = self._backward(g, x, w, _params(geometry, padding, groups), 1)
        return gw.reshape(groups, k, c, *geometry.kernel_size)

    def _backward(self, g: Array, x: Array, w: Array, params: dict[str, Any], operand: int) -> Array:
        """The gradient of x (0) or w (1) by torch's own convolution."""
        import torch

        if self._is_highest:
            from triconv.backends import torch_products

            vjps = torch_products.convolution_input_vjp, torch_products.convolution_weight_vjp
            return vjps[operand](g, x, w, params)
        mask = [number == operand for number in range(3)]
        return torch.ops.aten.convolution_backward(g, x, w, None, *params.values(), mask)[operand]

    def add_at(self, a: Array, slices: tuple[slice, ...], values: Array) -> Array:
        """As `Standard.add_at`; in place only if no transform, tracer or autograd sees the operation."""
        from triconv.backends import torch_internals

        if torch_internals.is_eager(a) and torch_internals.is_eager(values):
            return super().add_at(a, slices, values)
        front = a.ndim - len(slices)
        return _added(a, dict(enumerate(slices, front)), values)

    def timed(self, function: Any) -> Any:
        """A function that waits for its result, on an accelerator."""
        import torch

        def run(*arrays: Array) -> None:
            function(*arrays)
            if arrays[0].device.type != "cpu":
                torch.accelerator.synchronize()

        return run

    def device_kind(self, array: Array | None = None) -> str:
        """The kind of the array's device; without an array, of torch's default device."""
        import torch

        kind = torch.get_default_device().type if array is None else array.device.type
        return "cpu" if kind in ("cpu", "meta") else "gpu"

    def transposes(self, array: Array) -> bool:
        """Torch's own input VJP is fast on every device."""
        return True

    def asarray(self, obj: Any, *, device: Any = None, dtype: Any = None) -> Array:
        """As a tensor; a tensor stays in its autograd graph."""
        import torch

        if not isinstance(obj, torch.Tensor):
            values, name = to_native(obj)
            values = self.fitted(values, dtype)
            obj = torch.tensor(values, dtype=torch.bfloat16 if name == "bfloat16" else None)
        if obstacle := self.obstacle(obj):
            msg = f"an array must be {obstacle}"
            raise TypeError(msg)
        return obj.to(device=device, dtype=self.dtype(dtype))

    def to_numpy(self, array: Array) -> np.ndarray:
        """Detach, and copy to the host if need be; bfloat16, which NumPy lacks, becomes float32."""
        import torch

        array = array.detach().cpu().resolve_conj().resolve_neg()
        return (array.float() if array.dtype == torch.bfloat16 else array).numpy()


@functools.cache
def _tensors() -> ArrayKind:
    from triconv.backends import torch_internals

    return ArrayKind(torch_internals.signature, torch_internals.is_watched, torch_internals.is_recorded)


class _Highest:
    """Within it, a backend computes products in full precision, without autocast in this thread."""

    def __init__(self, lib: Torch) -> None:
        self.lib, self.stack = lib, contextlib.ExitStack()

    def __enter__(self) -> None:
        import torch

        for kind in ("cpu", "cuda"):
            if torch.is_autocast_enabled(kind):
                self.stack.enter_context(torch.autocast(kind, enabled=False))
        self.lib._is_highest = True  # noqa: SLF001

    def __exit__(self, *_problem: object) -> None:
        self.lib._is_highest = False  # noqa: SLF001
        self.stack.close()


def _added(a: Array, places: dict[int, slice], values: Array) -> Array:
    """A new tensor: `a` with values added at slices of these axes."""
    if not places:
        return a + values.reshape(a.shape)
    (axis, positions), *others = places.items()
    start, stop, step = positions.indices(a.shape[axis])
    part = a[(slice(None),) * axis + (positions,)]
    return a.slice_scatter(_added(part, dict(others), values), axis, start, stop, step)


def _params(geometry: Geometry, padding: list[int], groups: int) -> dict[str, Any]:
    """The arguments of torch's convolution after the bias, in its order."""
    stride, dilation = ([getattr(axis, name) for axis in geometry.axes] for name in ("stride", "dilation"))
    return {
        "stride": stride,
        "padding": padding,
        "dilation": dilation,
        "transposed": False,
        "output_padding": [0] * len(geometry.axes),
        "groups": groups,
    }


def _padded(x: Array, geometry: Geometry) -> tuple[Array, list[int]]:
    """`x`, padded here if torch cannot express the padding, and the padding that is left to torch."""
    import torch

    from triconv.backends import torch_products

    pads, padding = torch_products.outer_pads(geometry)
    flat = [size for pair in reversed(pads) for size in pair]
    return (torch.nn.functional.pad(x, flat) if any(flat) else x), padding
