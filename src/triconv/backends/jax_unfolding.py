"""JAX: padding, and windows written in few loops."""

from __future__ import annotations

import functools
import math
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
# elements of windows in lines up to which a loop looks each up in JAX 0.10: about 2 ns more for each, and 0.1 s less to compile
LOOKED_UP = 2**20


class Unfolding(LaxConvolution):
    """The part of the backend that pads and unfolds."""

    def pad(self, a: Array, pads: Sequence[tuple[int, int]]) -> Array:
        """One operation, which XLA fuses into what reads it; or none."""
        import jax

        if not any(map(any, pads)):
            return a
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

        is_fast = len(axes) > 2 or jax.__version_info__ >= (0, 11)
        if self.device_kind(a) != "cpu" or not (is_fast and _are_several(axes)):
            return super().unfold_axes(a, axes)
        a, taps, positions = self._with_tap_axes(a, 1, axes)
        a = a.transpose(0, *positions, *taps, a.ndim - 1)
        return a.reshape(*a.shape[: 1 + len(axes)], -1)

    def windows_in_lines(self, a: Array, axes: Sequence[Axis]) -> Array | None:
        """The same of volumes: one loop, instead of one for each axis; in JAX 0.10 those of few elements."""
        import jax

        elements = a.shape[0] * a.shape[-1] * math.prod(axis.output_size * axis.kernel_size for axis in axes)
        is_fast = jax.__version_info__ >= (0, 11) or elements <= LOOKED_UP
        if self.device_kind(a) != "cpu" or len(axes) < 3 or not (is_fast and _are_several(axes)):
            return None
        a = a.transpose(a.ndim - 1, *range(a.ndim - 1))
        a, taps, positions = self._with_tap_axes(a, 2, axes)
        return a.transpose(*taps, 0, 1, *positions)

    def _with_tap_axes(self, a: Array, first: int, axes: Sequence[Axis]) -> tuple[Array, list[int], list[int]]:
        """Windows along axes from the number `first` on: each of several taps has an axis of taps in front of the positions.

        Also the numbers of the axes of taps, and those of the positions.
        """
        import jax

        behind = a.ndim - first - len(axes)
        a = self.pad(a, [*((axis.pad_lo, axis.read_pad_hi) for axis in axes), *[(0, 0)] * behind])
        a = jax.lax.optimization_barrier(a)
        places, taps, positions = [slice(None)] * first, [], []
        for axis in axes:
            if axis.kernel_size > 1:
                taps.append(len(places))
                places.append(slice(None))
            positions.append(len(places))
            places.append(slice(0, axis.stride * (axis.output_size - 1) + 1, axis.stride))
        for number, axis in reversed([*enumerate(axes, first)]):
            if axis.kernel_size > 1:
                a = tap_axis(a, number, axis, self.xp)
        return a[tuple(places)], taps, positions

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


def _are_several(axes: Sequence[Axis]) -> bool:
    """Whether several axes have several taps, and there are windows at all."""
    return sum(axis.kernel_size > 1 for axis in axes) > 1 and all(axis.output_size for axis in axes)
