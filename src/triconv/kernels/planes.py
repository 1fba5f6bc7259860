"""Volumes plane by plane: the taps of the first of three axes become channels, and the planes samples of a 2-D convolution.

XLA's own convolution on a CPU is about five times slower per multiply-add along three axes than along two. So::

    u[(n, o), i.., (s, c)] = x[n, stride * o + dilation * s, i.., c]

    y[(n, o), ..., k]      = the library's own convolution of u along the other axes, of s * c input channels
    gw[k, (s, c), ...]     = its weight VJP likewise

One loop writes the input as many times as the first axis has taps; with one tap, nothing is written. Another copies the kernel,
so convolutions of several taps have merged rows instead, where they can (`merged_rows`). The planes have their
channels last, whatever the order of x is: XLA brings them in that order anyway. There are no blocks: within a loop XLA does not
call its fast convolution.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

from triconv.backends.array_operations import permute_dims
from triconv.backends.base import Standard
from triconv.geometry import Geometry
from triconv.kernels import blocks, cropping, merged_rows
from triconv.kernels.channels_last import LAST
from triconv.kernels.problem import Problem
from triconv.kernels.schedule import PhaseSchedule, Schedule, counted
from triconv.kernels.target import Target

Array = Any

# planes that a product reads at once, as a SIMD vector; if their number is no multiple of it, they are read one by one
SIDE_BY_SIDE = 8

FORM = "one call for all planes, the taps across them as channels"


def conv(x: Array, w: Array, geometry: Geometry, _how: PhaseSchedule, lib: Standard) -> Array:
    """``y`` of one phase."""
    (n, sizes), k, first = (x.shape[1], geometry.output_size), w.shape[1], geometry.axes[0]
    u, plane = _unfolded(x, geometry, lib)
    w = permute_dims(w, (0, *range(4, w.ndim), 3, 2, 1), lib.xp)  # in the order that is computed with: one copy
    w = lib.xp.reshape(w, (1, *geometry.kernel_size[1:], first.kernel_size * x.shape[2], k))
    w = permute_dims(w, (0, w.ndim - 1, w.ndim - 2, *range(1, w.ndim - 2)), lib.xp)
    y = lib.vendor_conv(plane, u, w, LAST)  # (1, n * o, k, ...)
    return _volumes(y, (n, *sizes), lib)


def conv_weight_vjp(g: Array, x: Array, geometry: Geometry, _how: PhaseSchedule, lib: Standard) -> Array:
    """``gw`` of one phase."""
    k, c, (first, *others) = g.shape[2], x.shape[2], geometry.kernel_size
    u, plane = _unfolded(x, geometry, lib)
    exchanged = Geometry(tuple(axis.exchanged() for axis in plane.axes))
    gw = _exchange(lib.vendor_conv(exchanged, _exchange(u, lib), _exchange(_planes(g, lib), lib), LAST), lib)
    gw = lib.xp.reshape(gw, (1, k, first, c, *others))
    return permute_dims(gw, (0, 1, 3, 2, *range(4, gw.ndim)), lib.xp)


def _exchange(a: Array, lib: Standard) -> Array:
    """A canonical array with samples and channels exchanged, or an x as a kernel."""
    return permute_dims(a, (0, 2, 1, *range(3, a.ndim)), lib.xp)


def _unfolded(x: Array, geometry: Geometry, lib: Standard) -> tuple[Array, Geometry]:
    """``u`` as canonical planes, and the geometry of the other axes, without cropping."""
    first, *others = geometry.axes
    rest, pads = cropping.uncropped(Geometry(tuple(others)))
    a = blocks.samples_first(x, "last", lib)  # (n, *positions, 1, c)
    a = lib.pad(a, [*pads, (0, 0), (0, 0)])
    if not first.windows_are_inputs:
        a = lib.unfold_axis(a, 1, first)
    return _planes(blocks.canonical(a, "last", lib), lib), rest


def _planes(a: Array, lib: Standard) -> Array:
    """Canonical volumes of one group as canonical planes: (1, n * positions of the first axis, channels, ...)."""
    a = blocks.samples_first(a, "last", lib)
    a = lib.xp.reshape(a, (a.shape[0] * a.shape[1], *a.shape[2:]))
    return blocks.canonical(a, "last", lib)


def _volumes(a: Array, shape: tuple[int, ...], lib: Standard) -> Array:
    """Undo `_planes`: canonical volumes of (n, *positions)."""
    a = blocks.samples_first(a, "last", lib)
    return blocks.canonical(lib.xp.reshape(a, (*shape, *a.shape[-2:])), "last", lib)


# ---- schedules


def suits(view: Problem, target: Target) -> bool:
    """Whether the library's own is slow along three axes, and the planes that are written are few enough.

    A weight VJP has a sum as long as a plane for each of its elements, at which the library's own is slow unless the planes
    stay in cache and are a multiple of a vector's length, since it reads them side by side. Else that is only for as many taps
    as are not unrolled elsewhere.
    """
    axes = view.geometry.axes
    if (
        len(axes) != 3
        or view.groups > 1
        or view.taps == 1
        or target.kind != "cpu"
        or not target.compiled
        or target.partitioned
    ):
        return False
    are_known = all(isinstance(size, int) for size in (view.n, view.c, view.k))  # not symbols
    if target.vendor.volume <= 1 or not (are_known and view.geometry.count_meetings()):
        return False
    is_fast = view.contraction == "conv" or view.taps > target.unrolled_taps or axes[0].kernel_size == 1
    return (is_fast or _is_cached(view, target)) and _written(view, target) <= target.plane_bytes


def _is_cached(view: Problem, target: Target) -> bool:
    plane = flat(view, view.geometry)
    are_small = plane.bytes_of["x"] + plane.bytes_of["g"] <= target.vendor.last_weight_vjp_bytes
    return are_small and plane.n % SIDE_BY_SIDE == 0


def of_planes(schedule: Schedule, view: Problem) -> Schedule:
    """The schedule by phases, plane by plane."""
    return replace(schedule, form=FORM, phases=(PhaseSchedule(),), orders=view.orders)


def flat(view: Problem, geometry: Geometry) -> Problem:
    """The problem of a phase that is left to the library: of planes."""
    first, *others = geometry.axes
    samples, channels = view.n * first.output_size, view.c * first.kernel_size
    return replace(view, geometry=Geometry(tuple(others)), n=samples, c=channels, orders=LAST)


def written(view: Problem, geometry: Geometry) -> int:
    """Bytes of the planes that are written for a phase."""
    first, *others = geometry.axes
    if (first.kernel_size, first.stride) == (1, 1):
        return 0
    windows = first.output_size * first.kernel_size
    return view.itemsize * view.n * view.c * windows * math.prod(axis.input_size for axis in others)


def _written(view: Problem, target: Target) -> int:
    """Bytes of what is written for all phases, by whichever form it is."""
    of_phase = merged_rows.written if merged_rows.suits(view) else written
    return sum(count * of_phase(view, geometry) for geometry, count in counted(view.geometry, target))
