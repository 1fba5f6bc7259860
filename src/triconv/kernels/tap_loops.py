"""Many taps a few at a time, so that a compiled program has no operation a tap."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any

from triconv.backends.base import Standard, permute_dims
from triconv.geometry import Axis, Geometry
from triconv.kernels import blocks

Array = Any

# taps up to which a convolution and a weight VJP are unrolled, and how many of the last axis one step of a loop takes
UNROLLED, WEIGHT_UNROLLED, STEP = 64, 32, 32


def total(
    f: Callable[[Array, Array, Geometry, Standard], Array], x: Array, w: Array, geometry: Geometry, lib: Standard
) -> Array:
    """``f(x, w, geometry, lib)``, a convolution by windows (`geometry` has no input dilation), looped over if taps are many."""
    if math.prod(geometry.kernel_size) <= UNROLLED:
        return f(x, w, geometry, lib)
    x, starts, part, missing = _steps(x, geometry, lib)
    w = lib.pad(w, [*[(0, 0)] * (len(geometry.axes) - 1), (0, missing)])
    w = lib.xp.reshape(w, (*w.shape[:3], starts.shape[0], *part.kernel_size))
    w = permute_dims(w, (3, 0, 1, 2, *range(4, w.ndim)), lib.xp)
    return lib.total(lambda start, w: f(_window(x, start, part, lib), w, part, lib), starts, w)


def each(
    f: Callable[[Array, Array, Geometry, Standard], Array], g: Array, x: Array, geometry: Geometry, lib: Standard
) -> Array:
    """The same for a weight VJP, ``f(g, x, geometry, lib)``."""
    if math.prod(geometry.kernel_size) <= WEIGHT_UNROLLED:
        return f(g, x, geometry, lib)
    x, starts, part, missing = _steps(x, geometry, lib)
    gw = lib.each(lambda start: f(g, _window(x, start, part, lib), part, lib), starts)
    gw = permute_dims(gw, (1, 2, 3, 0, *range(4, gw.ndim)), lib.xp)
    *sizes, last = geometry.kernel_size
    gw = lib.xp.reshape(gw, (*gw.shape[:3], *sizes, last + missing))
    return gw[..., :last]


def _steps(x: Array, geometry: Geometry, lib: Standard) -> tuple[Array, Array, Geometry, int]:
    """The padded x, where the window of each step starts, its geometry, and the taps that the last step has too many."""
    *lead, last = geometry.axes
    step = blocks.even(last.kernel_size, STEP)
    missing = -last.kernel_size % step
    part = [
        Axis(axis.stride * (axis.output_size - 1) + axis.dilation * (taps - 1) + 1, taps, axis.stride, axis.dilation)
        for axis, taps in zip(geometry.axes, [*[1] * len(lead), step], strict=True)
    ]
    x = lib.pad(
        x, [*((axis.pad_lo, axis.pad_hi) for axis in lead), (last.pad_lo, last.pad_hi + missing * last.dilation)]
    )
    per_axis = [range(0, axis.dilation * axis.kernel_size, axis.dilation) for axis in lead]
    per_axis.append(range(0, last.dilation * last.kernel_size, last.dilation * step))
    starts = lib.positions(list(itertools.product(*per_axis)))
    return x, starts, Geometry(tuple(part), geometry.groups), missing


def _window(x: Array, start: Array, part: Geometry, lib: Standard) -> Array:
    return lib.window(x, [start[number] for number in range(len(part.axes))], part.input_size)
