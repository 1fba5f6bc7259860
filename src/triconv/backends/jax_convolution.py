"""JAX's own convolution: `lax.conv_general_dilated` and its two transposes, in the memory order of each array."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from triconv.backends.array_operations import permute_dims
from triconv.backends.base import Array, Orders, Standard
from triconv.backends.jax_program import PROGRAM
from triconv.geometry import Axis, Geometry

Numbers = tuple[tuple[int, ...], ...]


class LaxConvolution(Standard):
    """The part of the backend that calls lax's convolution."""

    vendor_axes = range(4)
    vendor_dilates = True

    def vendor_conv(self, geometry: Geometry, x: Array, w: Array, orders: Orders) -> Array:
        """`lax.conv_general_dilated`, in dimension numbers that say the memory orders."""
        groups, n, k = x.shape[0], x.shape[1], w.shape[1]
        y = self._conv(geometry, self._merged(x, orders[0]), self._merged_kernel(w, orders[1]), groups, orders)
        return self._split(y, (groups, n, k, *geometry.output_size), orders[2])

    def vendor_input_vjp(self, geometry: Geometry, g: Array, w: Array, orders: Orders) -> Array:
        """The transpose of the same, as `jax.vjp` writes it: that is what XLA's rewriter for cuDNN knows.

        Without the outputs whose windows have only padding: a transpose would crop them, which XLA's CPU compiler does wrong
        next to groups (JAX 0.10.2).
        """
        import jax

        groups, n, c = g.shape[0], g.shape[1], w.shape[2]
        meet = [_outputs_that_meet(axis) for axis in geometry.axes]
        if any(first >= last for first, last in meet):
            return self.zeros((groups, n, c, *geometry.input_size), g)
        g = g[(..., *(slice(first, last) for first, last in meet))]
        geometry = Geometry(
            tuple(
                axis.between(last - first, axis.input_size, axis.pad_lo - axis.stride * first)
                for axis, (first, last) in zip(geometry.axes, meet, strict=True)
            ),
            geometry.groups,
        )
        kernel, shape = self._merged_kernel(w, orders[1]), (groups, n, c, *geometry.input_size)
        like = jax.eval_shape(lambda: self._merged(self.xp.zeros(shape, g.dtype), orders[0]))
        (gx,) = jax.linear_transpose(lambda x: self._conv(geometry, x, kernel, groups, orders), like)(
            self._merged(g, orders[2])
        )
        return self._split(gx, shape, orders[0])

    def vendor_weight_vjp(self, geometry: Geometry, x: Array, g: Array, orders: Orders) -> Array:
        """The same with batch and channels exchanged, g for the kernel, stride and dilation exchanged: as `jax.vjp` does it."""
        groups, _, k = g.shape[:3]
        c, axes = x.shape[2], [axis.exchanged() for axis in geometry.axes]
        x_spec, w_spec, g_spec = ((spec[1], spec[0], *spec[2:]) for spec in _dimension_numbers(len(axes), orders))
        x, g = self._merged(x, orders[0]), self._merged(g, orders[2])
        pads = [(axis.pad_lo, axis.pad_hi) for axis in axes]
        gw = self._call(axes, x, g, pads, (x_spec, g_spec, w_spec), batch_group_count=groups)
        return self._split_kernel(gw, (groups, k, c, *geometry.kernel_size), orders[1])

    def _conv(self, geometry: Geometry, x: Array, w: Array, groups: int, orders: Orders) -> Array:
        """One call, with the padding that users ask for; on a GPU, with the same on both sides if it can be."""
        pads = [(axis.pad_lo, axis.pad_hi) for axis in geometry.axes]
        if self.device_kind(x) == "gpu":
            pads = [_even_pads(axis) for axis in geometry.axes]
        numbers = _dimension_numbers(len(geometry.axes), orders)
        return self._call(geometry.axes, x, w, pads, numbers, feature_group_count=groups)

    def _call(
        self, axes: Sequence[Axis], a: Array, b: Array, pads: Sequence[tuple[int, int]], numbers: Numbers, **groups: int
    ) -> Array:
        """`lax.conv_general_dilated`; in a CPU's loops, branches and functions with channels last, between transposes.

        XLA's CPU compiler has a fast convolution for that order alone. In the outermost computation of a program it writes the
        transposes itself; functions may be called in a loop. (In `lax.scan`, of 32 channels, 32 x 32 positions and 3x3 taps,
        lax takes up to 19 times as long with JAX 0.10, and up to 30 times with 0.12.)
        """
        import jax

        program = PROGRAM.get()
        is_inner = program.device_kind == "cpu" and not program.outermost
        native = _dimension_numbers(len(axes), ("last",) * 3) if is_inner else numbers
        a, b = (_turned(each, numbers[role], native[role], self.xp) for role, each in enumerate((a, b)))
        out = jax.lax.conv_general_dilated(
            a,
            b,
            [axis.stride for axis in axes],
            pads,
            lhs_dilation=[axis.input_dilation for axis in axes],
            rhs_dilation=[axis.dilation for axis in axes],
            dimension_numbers=jax.lax.ConvDimensionNumbers(*native),
            **groups,
        )
        return _turned(out, native[2], numbers[2], self.xp)

    def in_memory(self, a: Array, role: str, order: str) -> Array:
        """A canonical x, w or g as it stands in memory."""
        return (self._merged_kernel if role == "w" else self._merged)(a, order)

    def from_memory(self, a: Array, shape: tuple[int, ...], role: str, order: str) -> Array:
        """Undo `in_memory`, of an array that then has this shape."""
        return (self._split_kernel if role == "w" else self._split)(a, shape, order)

    def _merged(self, a: Array, order: str) -> Array:
        """A canonical x or g as lax takes it, its groups side by side in the channels, in its memory order."""
        a = self.whole_positions(a)
        groups, n, channels, *positions = a.shape
        if order == "last":
            a = permute_dims(a, (1, *range(3, a.ndim), 0, 2), self.xp)
            return a.reshape(n, *positions, groups * channels)
        return permute_dims(a, (1, 0, *range(2, a.ndim)), self.xp).reshape(n, groups * channels, *positions)

    def _split(self, a: Array, shape: tuple[int, ...], order: str) -> Array:
        """Undo `_merged`."""
        groups, n, channels, *positions = shape
        if order == "last":
            a = a.reshape(n, *positions, groups, channels)
            a = permute_dims(a, (a.ndim - 2, 0, a.ndim - 1, *range(1, a.ndim - 2)), self.xp)
        else:
            a = permute_dims(a.reshape(n, groups, channels, *positions), (1, 0, *range(2, len(shape))), self.xp)
        return self.whole_positions(a)

    def _merged_kernel(self, w: Array, order: str) -> Array:
        """A canonical kernel likewise."""
        w = self.whole_positions(w)
        groups, k, c, *taps = w.shape
        if order == "last":
            return permute_dims(w, (*range(3, w.ndim), 2, 0, 1), self.xp).reshape(*taps, c, groups * k)
        return w.reshape(groups * k, c, *taps)

    def _split_kernel(self, w: Array, shape: tuple[int, ...], order: str) -> Array:
        """Undo `_merged_kernel`."""
        groups, k, c, *taps = shape
        if order == "last":
            w = w.reshape(*taps, c, groups, k)
            w = permute_dims(w, (w.ndim - 2, w.ndim - 1, w.ndim - 3, *range(len(taps))), self.xp)
        return self.whole_positions(w.reshape(shape))


def _dimension_numbers(ndim: int, orders: Orders) -> Numbers:
    """Positions of batch (or output channels), channels and spatial axes of x, w and g."""
    first, positions = (0, 1, *range(2, ndim + 2)), tuple(range(1, ndim + 1))
    x, g = ((0, ndim + 1, *positions) if orders[role] == "last" else first for role in (0, 2))
    w = (ndim + 1, ndim, *range(ndim)) if orders[1] == "last" else first
    return x, w, g


def _turned(a: Array, given: tuple[int, ...], wanted: tuple[int, ...], xp: Any) -> Array:
    """An array with its axes at other positions, of those that `_dimension_numbers` names."""
    order = [axis for _, axis in sorted(zip(wanted, given, strict=True))]
    return permute_dims(a, order, xp)


def _even_pads(axis: Axis) -> tuple[int, int]:
    """The padding, the same on both sides if that makes as many windows: for cuDNN, XLA would write an uneven one as a copy."""
    is_as_many = axis.output_size > 0 and axis.read_pad_hi >= 0 and axis.even_pad_hi == axis.pad_lo
    return (axis.pad_lo, axis.pad_lo if is_as_many else axis.pad_hi)


def _outputs_that_meet(axis: Axis) -> tuple[int, int]:
    """From which output up to which the windows are not padding alone."""
    first = max(0, -((axis.dilated_kernel - 1 - axis.pad_lo) // axis.stride))
    return first, min(axis.output_size, (axis.pad_lo + axis.dilated_input - 1) // axis.stride + 1)
