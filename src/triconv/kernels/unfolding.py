"""Windows as channels, where positions stand in lines: the rows of a matrix, each of them long (im2col)."""

from __future__ import annotations

from typing import Any

from triconv.backends.base import Standard
from triconv.geometry import Axis, Geometry
from triconv.kernels import patches

Array = Any


def unfolded(a: Array, axes: tuple[Axis, ...], lib: Standard) -> Array:
    """Windows of the last axes, of shape (groups, channels, n, *input), as (groups, taps * channels, n, *output).

    One axis after the other, the last first. So the last axis is read with its stride once per tap of its own, not once per tap
    of all axes; and XLA writes each of these arrays in one loop, as it does for up to eight windows.
    """
    if patches.are_apart(Geometry(axes)):
        return patches.unfolded(a, axes, lib)
    a, axes = _without_gaps(a, axes, lib)
    for number, axis in reversed([*enumerate(axes, a.ndim - len(axes))]):
        if (axis.kernel_size, axis.stride) != (1, 1):
            windows = [a[(*[slice(None)] * number, axis.window(tap), ...)] for tap in range(axis.kernel_size)]
            a = lib.concat(windows, 1)
    return a


def _without_gaps(a: Array, axes: tuple[Axis, ...], lib: Standard) -> tuple[Array, tuple[Axis, ...]]:
    """The padded array, but of all axes except the last without what the stride skips between windows; and its axes.

    What no window reads is not to be unfolded along the other axes.
    """
    *others, last = axes
    gaps = [axis.dilated_kernel < axis.stride for axis in others]
    ends = [axis.stride * axis.output_size - axis.input_size - axis.pad_lo for axis in others]
    pads = [(axis.pad_lo, end if gap else axis.pad_hi) for axis, end, gap in zip(others, ends, gaps, strict=True)]
    a, left = lib.pad(a, [*pads, (last.pad_lo, last.pad_hi)]), []
    for number, (axis, gap) in enumerate(zip(others, gaps, strict=True), a.ndim - len(axes)):
        if gap:
            before, after, taps = a.shape[:number], a.shape[number + 1 :], axis.kernel_size
            a = lib.xp.reshape(a, (*before, axis.output_size, axis.stride, *after))
            a = a[(*[slice(None)] * (number + 1), slice(0, axis.dilated_kernel, axis.dilation), ...)]
            a = lib.xp.reshape(a, (*before, axis.output_size * taps, *after))
            axis = Axis(axis.output_size * taps, taps, taps)  # noqa: PLW2901
        left.append(axis)
    return a, (*left, last)
