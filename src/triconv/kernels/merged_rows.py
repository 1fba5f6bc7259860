"""Volumes by a convolution along two axes: the taps of the last axis become channels, and its rows parts of one long row.

XLA's own convolution on a CPU is about five times slower per multiply-add along three axes than along two. So::

    u[n, i, (j, o"), (t", c)] = x[n, i, j, stride * o" + dilation * t", c]

    y[n, o, (o', o"), k]      = the library's own convolution of u along the first axis and the merged one

where a step along the middle axis is a step of a whole row ``o"``. The kernel is ``(t, t', (t", c), k)`` as it stands in
memory, and so is the result: one loop writes u, and nothing else is copied. A stride of the middle axis would leave gaps in the
merged one, so such volumes go plane by plane (`planes`).
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

from triconv.backends.array_operations import permute_dims
from triconv.backends.base import Standard
from triconv.geometry import Axis, Geometry
from triconv.kernels import blocks, cropping
from triconv.kernels.channels_last import LAST
from triconv.kernels.problem import Problem
from triconv.kernels.schedule import PhaseSchedule, Schedule

Array = Any

FORM = "one call for all rows, the taps along them as channels"


def conv(x: Array, w: Array, geometry: Geometry, _how: PhaseSchedule, lib: Standard) -> Array:
    """``y`` of one phase."""
    (n, c), k, (*taps, last) = x.shape[1:3], w.shape[1], geometry.kernel_size
    u, merged = _unfolded(x, geometry, lib)
    w = permute_dims(w, (0, *range(3, w.ndim), 2, 1), lib.xp)  # as it stands in memory
    w = permute_dims(lib.xp.reshape(w, (1, *taps, last * c, k)), (0, 4, 3, 1, 2), lib.xp)
    y = blocks.samples_first(lib.vendor_conv(merged, u, w, LAST), "last", lib)
    return blocks.canonical(lib.xp.reshape(y, (n, *geometry.output_size, 1, k)), "last", lib)


def _unfolded(x: Array, geometry: Geometry, lib: Standard) -> tuple[Array, Geometry]:
    """``u`` as a canonical array, and the geometry of its two axes, without cropping."""
    *others, last = geometry.axes
    rest, pads = cropping.uncropped(Geometry(tuple(others)))
    first, middle = rest.axes
    a = lib.pad(blocks.samples_first(x, "last", lib), [*pads, *[(0, 0)] * 3])  # (n, *positions, 1, c)
    if not last.windows_are_inputs:
        a = lib.unfold_axis(a, 3, last)
    n, _, _, row, *channels = a.shape
    a = lib.xp.reshape(a, (n, first.input_size, middle.input_size * row, *channels))
    return blocks.canonical(a, "last", lib), Geometry((first, _merged(middle, max(1, row))))


def _merged(axis: Axis, row: int) -> Axis:
    """The middle axis with rows of so many positions merged into it."""
    pads = axis.pad_lo * row, axis.pad_hi * row
    return Axis(axis.input_size * row, axis.kernel_size, 1, axis.dilation * row, 1, *pads)


# ---- schedules


def suits(view: Problem) -> bool:
    """Whether rows can be merged, of a convolution that would have to write planes."""
    first, middle, _ = view.geometry.axes
    return view.contraction == "conv" and first.kernel_size > 1 and middle.stride == 1


def of_rows(schedule: Schedule, view: Problem) -> Schedule:
    """The schedule by phases, with merged rows."""
    return replace(schedule, form=FORM, phases=(PhaseSchedule(),), orders=view.orders)


def flat(view: Problem, geometry: Geometry) -> Problem:
    """The problem of a phase that is left to the library: as of planes, which are the columns of a volume."""
    *others, last = geometry.axes
    samples, channels = view.n * last.output_size, view.c * last.kernel_size
    return replace(view, geometry=Geometry(tuple(others)), n=samples, c=channels, orders=LAST)


def written(view: Problem, geometry: Geometry) -> int:
    """Bytes of ``u`` for a phase."""
    *others, last = geometry.axes
    if last.windows_are_inputs:
        return 0
    windows = last.output_size * last.kernel_size
    return view.itemsize * view.n * view.c * windows * math.prod(axis.input_size for axis in others)
