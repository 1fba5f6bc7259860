"""Phases, and how few of them there can be: what kernels need that think in windows.

An input dilation makes a convolution several without one, `Geometry.phases`. A compiled program has operations for each, so
there must be few:

* A weight VJP may have its operands exchanged, ``gw(g, x) = mirrored(gw(x, g))`` in the mirrored geometry. That of a transposed
  convolution then has a single phase.
* Where there are too many all the same, the zeros of the dilation are written.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from typing import Any

from triconv.backends.base import Standard, permute_dims
from triconv.geometry import Axis, Geometry

Array = Any

# phases that a compiled program may have
MOST = 16
# phases that a cost model looks at one by one
COUNTED = 64
# places for parts, those that stay empty among them, up to which they are stacked
STACKED = 64


def mirrored(w: Array, lib: Standard) -> Array:
    """The kernel of the mirrored geometry: its taps in reverse, its input and output channels exchanged."""
    axes = tuple(range(3, w.ndim))
    return permute_dims(lib.xp.flip(w, axis=axes) if axes else w, (0, 2, 1, *axes), lib.xp)


def are_exchanged(geometry: Geometry) -> bool:
    """Whether a weight VJP has fewer phases if x and g are exchanged."""
    return geometry.mirrored().count_phases() < geometry.count_phases()


def few(geometry: Geometry) -> Geometry:
    """The same geometry, or one of an input with as many zeros written as leave few phases."""
    axes = list(geometry.axes)
    while math.prod(counts := [axis.count_phases() for axis in axes]) > MOST:
        most = counts.index(max(counts))
        axes[most] = axes[most].spread()
    return Geometry(tuple(axes), geometry.groups)


def with_few(x: Array, geometry: Geometry, lib: Standard) -> tuple[Array, Geometry]:
    """The input and the geometry to go through phase by phase: for a compiler, `few` of them."""
    if not lib.compiles or (few_ := few(geometry)) == geometry:
        return x, geometry
    steps = zip(geometry.axes, few_.axes, strict=True)
    places = tuple(slice(0, None, axis.input_dilation // other.input_dilation) for axis, other in steps)
    return lib.add_at(lib.zeros((*x.shape[:3], *few_.input_size), x), places, x), few_


def counted(geometry: Geometry) -> list[tuple[Geometry, int]]:
    """What phases there are and how many of each, to be weighed; where they are many, the first stands for all."""
    count = geometry.count_phases()
    if count <= COUNTED:
        return [(phase.geometry, 1) for phase in geometry.phases()]
    first = tuple(next(axis.phases()).axis for axis in geometry.axes)
    return [(Geometry(first, geometry.groups), count)]


def windows(x: Array, axes: tuple[Axis, ...], lib: Standard) -> Iterator[tuple[tuple[int, ...], Array]]:
    """Every tap, and the inputs that meet it, in the order and the shape of the outputs."""
    x = lib.pad(x, [(axis.pad_lo, axis.pad_hi) for axis in axes])
    for tap in itertools.product(*(range(axis.kernel_size) for axis in axes)):
        yield tap, x[(..., *(axis.window(t) for axis, t in zip(axes, tap, strict=True)))]


def join(parts: list[Array], places: list[tuple[slice, ...]], sizes: tuple[int, ...], lib: Standard) -> Array:
    """One array with the last axes of `sizes`, zero but for the parts in their places."""
    if len(parts) == 1 and parts[0].shape[3:] == sizes:
        return parts[0]
    if math.prod(place.step for place in places[0]) <= STACKED:
        return lib.interleave(parts, places, sizes)
    whole = lib.zeros((*parts[0].shape[:3], *sizes), parts[0])
    for part, place in zip(parts, places, strict=True):
        whole = lib.add_at(whole, place, part)
    return whole
