"""JAX: padding, and windows written in few loops."""

from __future__ import annotations

import functools
import operator
from collections.abc import Sequence

import numpy as np

from triconv.backends.array_operations import tap_axis
from triconv.backends.base import Array
from triconv.backends.jax_convolution import LaxConvolution
from triconv.geometry import Axis

# windows up to which each is padded by itself, in one loop, and no padded copy is written (on the CPU, of 3 to 7 windows: in a
# third of the compile time, and up to twice as fast; of 15, it takes longer)
PADDED_WINDOWS = 8


class Unfolding(LaxConvolution):
    """The part of the backend that pads and unfolds."""

    def pad(self, a: Array, pads: Sequence[tuple[int, int]]) -> Array:
        """One operation, which XLA fuses into what reads it."""
        import jax

        config = [(0, 0, 0)] * (a.ndim - len(pads)) + [(lo, hi, 0) for lo, hi in pads]
        return jax.lax.pad(a, np.zeros((), a.dtype), config)

    def padded_first(self, a: Array, axes: Sequence[Axis]) -> tuple[Array, tuple[Axis, ...]]:
        """On a GPU, where a padded copy is one launch more."""
        return (a, tuple(axes)) if self.device_kind(a) == "cpu" else super().padded_first(a, axes)

    def unfold_axes(self, a: Array, axes: Sequence[Axis]) -> Array:
        """On a CPU along several axes of several taps, as axes of taps: one loop instead of one for each padded window.

        It reads a padded copy, which XLA of JAX 0.10 does not write, so that each element is looked up: of images, that takes
        longer. (JAX 0.10 and 0.12 on two cores, 3x3 taps, 16 x 16 x 16 positions of 32 channels: 4 and 1 ms, instead of 2.8
        and 2; to compile, 80 and 110 ms instead of 400.)
        """
        import jax

        unfolded = [number for number, axis in enumerate(axes) if axis.kernel_size > 1]
        is_fast = len(axes) > 2 or jax.__version_info__ >= (0, 11)
        are_windows = len(unfolded) > 1 and all(axis.output_size for axis in axes)
        if self.device_kind(a) != "cpu" or not (is_fast and are_windows):
            return super().unfold_axes(a, axes)
        a = jax.lax.optimization_barrier(self.pad(a, [*((axis.pad_lo, axis.read_pad_hi) for axis in axes), (0, 0)]))
        places, taps, positions = [slice(None)], [], [0]
        for axis in axes:
            if axis.kernel_size > 1:
                taps.append(len(places))
                places.append(slice(None))
            positions.append(len(places))
            places.append(slice(0, axis.stride * (axis.output_size - 1) + 1, axis.stride))
        for number in reversed(unfolded):
            a = tap_axis(a, 1 + number, axes[number], self.xp)
        a = a[tuple(places)]
        a = a.transpose(*positions, *taps, a.ndim - 1)
        return a.reshape(*a.shape[: 1 + len(axes)], -1)

    def unfold_axis(self, a: Array, number: int, axis: Axis) -> Array:
        """Few windows are padded one by one, to be added in their places: XLA fuses that into one loop."""
        import jax

        taps, channels = axis.kernel_size, a.shape[-1]
        if self.device_kind(a) != "cpu" or not 1 < taps <= PADDED_WINDOWS:
            return super().unfold_axis(a, number, axis)
        parts, zero = [], np.zeros((), a.dtype)
        for tap in range(taps):
            start = axis.dilation * tap - axis.pad_lo
            end = start + axis.stride * (axis.output_size - 1) + 1
            config = [(0, 0, 0)] * a.ndim
            config[number] = (-start, end - a.shape[number], 0)
            config[-1] = (tap * channels, (taps - 1 - tap) * channels, 0)
            part = jax.lax.pad(a, zero, config)
            parts.append(jax.lax.slice_in_dim(part, 0, None, axis.stride, number) if axis.stride > 1 else part)
        return functools.reduce(operator.add, parts)
