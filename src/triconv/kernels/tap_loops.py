"""Many taps a few at a time, so that a compiled program has no operation per tap."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from triconv.backends.array_operations import permute_dims
from triconv.backends.base import Standard
from triconv.geometry import Axis, Geometry
from triconv.kernels import blocks
from triconv.kernels.schedule import PhaseSchedule

Array = Any
Contraction = Callable[[Array, Array, Geometry, PhaseSchedule, Standard], Array]


def sum_taps(f: Contraction, x: Array, w: Array, geometry: Geometry, how: PhaseSchedule, lib: Standard) -> Array:
    """``f(x, w, geometry, how, lib)``, a convolution by windows, as a sum over steps of `how.step` taps."""
    how = replace(how, step=0) if (step := how.step) else how
    if not step:
        return f(x, w, geometry, how, lib)
    x, starts, missing = _steps(x, geometry, step, lib)
    part = one_step(geometry, step)
    w = lib.pad(w, [*[(0, 0)] * (len(geometry.axes) - 1), (0, missing)])
    w = lib.xp.reshape(w, (*w.shape[:3], starts.shape[0], *part.kernel_size))
    w = permute_dims(w, (3, 0, 1, 2, *range(4, w.ndim)), lib.xp)
    return lib.sum_blocks(lambda start, w: f(_window(x, start, part, lib), w, part, how, lib), starts, w)


def map_taps(f: Contraction, g: Array, x: Array, geometry: Geometry, how: PhaseSchedule, lib: Standard) -> Array:
    """``f(g, x, geometry, how, lib)``, a weight VJP, likewise: each step gives its taps of the kernel."""
    how = replace(how, step=0) if (step := how.step) else how
    if not step:
        return f(g, x, geometry, how, lib)
    x, starts, missing = _steps(x, geometry, step, lib)
    part = one_step(geometry, step)
    gw = lib.map_blocks(lambda start: f(g, _window(x, start, part, lib), part, how, lib), starts)
    gw = permute_dims(gw, (1, 2, 3, 0, *range(4, gw.ndim)), lib.xp)
    *sizes, last = geometry.kernel_size
    gw = lib.xp.reshape(gw, (*gw.shape[:3], *sizes, last + missing))
    return gw[..., :last]


def step_of(geometry: Geometry, taps_per_step: int) -> int:
    """Taps of the last axis to take at a time: as many in each step, or a few less in the last."""
    return blocks.even(geometry.kernel_size[-1], taps_per_step)


def one_step(geometry: Geometry, step: int) -> Geometry:
    """The geometry of one step: one tap of each axis, but `step` of the last."""
    counts = [*[1] * (len(geometry.axes) - 1), step]
    axes = (
        Axis(axis.stride * (axis.output_size - 1) + axis.dilation * (taps - 1) + 1, taps, axis.stride, axis.dilation)
        for axis, taps in zip(geometry.axes, counts, strict=True)
    )
    return Geometry(tuple(axes), geometry.groups)


def _steps(x: Array, geometry: Geometry, step: int, lib: Standard) -> tuple[Array, Array, int]:
    """The padded x, where the window of each step starts, and the taps that the last step has too many."""
    *others, last = geometry.axes
    missing = -last.kernel_size % step
    x = lib.pad(
        x, [*((axis.pad_lo, axis.pad_hi) for axis in others), (last.pad_lo, last.pad_hi + missing * last.dilation)]
    )
    per_axis = [range(0, axis.dilation * axis.kernel_size, axis.dilation) for axis in others]
    per_axis.append(range(0, last.dilation * last.kernel_size, last.dilation * step))
    return x, lib.positions(list(itertools.product(*per_axis))), missing


def _window(x: Array, start: Array, part: Geometry, lib: Standard) -> Array:
    return lib.window(x, [start[number] for number in range(len(part.axes))], part.input_size)
