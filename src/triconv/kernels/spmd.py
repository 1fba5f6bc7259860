"""Contractions that a compiler shards over devices: no two axes are merged, and none is looped over.

A partitioner follows each axis through them, so that batch, channels and groups stay where they are. Where channels may be
sharded, a sum over them should be one sum over devices: one contraction, with the windows ``u`` of some taps in memory, on each
device those of its part of x. Of more taps than `Target.taps_per_step` there are several::

    y[g, n, k, o] = sum over c, t of  w[g, k, c, t] * u[t, g, n, c, o]      gw[g, k, c, t] = the same sum over n, o

With groups it is they that are sharded, so nothing is summed over devices and no windows need to stand in memory: a loop adds
one tap after the other.
"""

from __future__ import annotations

import functools
import itertools
import math
import operator
from collections.abc import Callable, Iterator
from typing import Any

from triconv.backends.array_operations import permute_dims
from triconv.backends.base import Standard
from triconv.geometry import Geometry
from triconv.kernels import polyphase
from triconv.kernels.problem import Problem
from triconv.kernels.schedule import PhaseSchedule, counted
from triconv.kernels.target import Target

Array = Any

POSITIONS = "opqrsabdefhijlmuvwxyzABCDEF"


def conv(x: Array, w: Array, geometry: Geometry, how: PhaseSchedule, lib: Standard) -> Array:
    """`conv` of one phase: one contraction, or a loop over its taps."""
    return (_tap_by_tap if how.step == 1 else _at_once)(x, w, geometry, how.step, lib)


def conv_weight_vjp(g: Array, x: Array, geometry: Geometry, how: PhaseSchedule, lib: Standard) -> Array:
    """The same; in a loop, each sample by itself, so that there is one sum over the devices that hold the samples."""
    gw = (_weight_vjp_tap_by_tap if how.step == 1 else _weight_vjp_at_once)(g, x, geometry, how.step, lib)
    return lib.xp.reshape(gw, (*gw.shape[:3], *geometry.kernel_size))


def _at_once(x: Array, w: Array, geometry: Geometry, step: int, lib: Standard) -> Array:
    o = POSITIONS[: len(geometry.axes)]
    taps = lib.xp.reshape(w, (*w.shape[:3], math.prod(w.shape[3:])))
    products = (
        lib.einsum(f"gkct,tgnc{o}->gnk{o}", taps[..., first : first + step], u)
        for first, u in _windows(x, geometry, step, lib)
    )
    return functools.reduce(operator.add, products)


def _tap_by_tap(x: Array, w: Array, geometry: Geometry, _step: int, lib: Standard) -> Array:
    o = POSITIONS[: len(geometry.axes)]
    window, count = _reader(polyphase.samples_last(x, lib), geometry, lib)
    w = lib.xp.reshape(w, (*w.shape[:3], count))

    def product(number: Array) -> Array:
        return lib.einsum(f"gkc,gcn{o}->gkn{o}", lib.window(w, [number], [1])[..., 0], window(number))

    y = lib.sum_blocks(product, lib.xp.arange(count))
    return polyphase.samples_last(y, lib)


def _reader(x: Array, geometry: Geometry, lib: Standard) -> tuple[Callable[[Array], Array], int]:
    """What meets the tap of a number, in the order and the shape of the outputs, and the number of taps."""
    axes = geometry.axes
    x = lib.pad(x, [(axis.pad_lo, axis.pad_hi) for axis in axes])
    sizes = [axis.stride * (axis.output_size - 1) + 1 for axis in axes]
    places = itertools.product(*(range(0, axis.dilation * axis.kernel_size, axis.dilation) for axis in axes))
    starts = lib.xp.reshape(lib.xp.asarray(list(places)), (-1, len(axes)))

    def window(number: Array) -> Array:
        read = lib.window(x, [starts[number, axis] for axis in range(len(axes))], sizes)
        return read[(..., *(slice(None, None, axis.stride) for axis in axes))]

    return window, math.prod(geometry.kernel_size)


def _weight_vjp_at_once(g: Array, x: Array, geometry: Geometry, step: int, lib: Standard) -> Array:
    o = POSITIONS[: len(geometry.axes)]
    taps = [lib.einsum(f"gnk{o},tgnc{o}->gkct", g, u) for _, u in _windows(x, geometry, step, lib)]
    return lib.xp.concat(taps, axis=-1)


def _weight_vjp_tap_by_tap(g: Array, x: Array, geometry: Geometry, _step: int, lib: Standard) -> Array:
    o = POSITIONS[: len(geometry.axes)]
    window, count = _reader(x, geometry, lib)
    gw = lib.map_blocks(lambda number: lib.einsum(f"gnk{o},gnc{o}->gnkc", g, window(number)), lib.xp.arange(count))
    return permute_dims(lib.xp.sum(gw, axis=2), (1, 2, 3, 0), lib.xp)


def _windows(x: Array, geometry: Geometry, step: int, lib: Standard) -> Iterator[tuple[int, Array]]:
    """What meets `step` taps at a time, shape (taps, groups, n, c, *output), with the number of the first."""
    windows = [window for _, window in polyphase.windows(x, geometry.axes, lib)]
    for first in range(0, len(windows), step):
        yield first, lib.xp.stack(windows[first : first + step])


def phases(view: Problem, target: Target) -> tuple[PhaseSchedule, ...]:
    """Tap by tap with groups; in a weight VJP, only where the part of a sample is less than the windows that it saves."""

    def is_looped(geometry: Geometry) -> bool:
        is_small = view.contraction == "conv" or view.k <= math.prod(geometry.output_size)
        return geometry.groups > 1 and is_small

    return tuple(
        PhaseSchedule(step=1 if is_looped(geometry) else target.taps_per_step)
        for geometry, _ in counted(view.geometry, target)
    )
