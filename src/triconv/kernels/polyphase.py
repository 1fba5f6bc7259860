"""The polyphase decomposition: a convolution, phase by phase and block by block.

A convolution whose input is dilated consists of several whose input is not, its phases (`Geometry.phases`). So no zeros are
inserted in the input VJP of a strided convolution either, which is the convolution of the transposed geometry. A compiled
program has operations for each phase, so there must be few. A weight VJP may exchange its operands, ``gw(g, x) =
transposed(gw(x, g))`` in the transposed geometry: that of a transposed convolution then has a single phase. Where phases are
still too many, the zeros are written.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any

from triconv.backends.array_operations import permute_dims
from triconv.backends.base import Standard
from triconv.geometry import Axis, Geometry
from triconv.kernels import blocks
from triconv.kernels.schedule import PhaseSchedule, Schedule

Array = Any
OnePhase = Callable[[Array, Array, Geometry, PhaseSchedule, Standard], Array]


def conv(
    one_phase: OnePhase,
    x: Array,
    w: Array,
    schedule: Schedule,
    lib: Standard,
    prepare: Callable[[Array, PhaseSchedule, Standard], Array] | None = None,
) -> Array:
    """``y``, of shape (groups, n, k, *output), block by block and phase by phase.

    `one_phase` gives the outputs of a phase; it takes x, the phase's kernel, its geometry, its schedule, and `lib`. The kernel
    is brought into another shape, (groups, ...), by `prepare`, once and not once per block.
    """
    parts = list(schedule.by_phases())
    kernels = [w[(..., *phase.taps)] for phase, _ in parts]
    if prepare:
        kernels = [prepare(kernel, how, lib) for kernel, (_, how) in zip(kernels, parts, strict=True)]

    def block(x: Array, *kernels: Array) -> Array:
        outputs = [one_phase(x, w, phase.geometry, how, lib) for (phase, how), w in zip(parts, kernels, strict=True)]
        return join(outputs, [phase.output for phase, _ in parts], schedule.geometry.output_size, lib)

    return blocks.map_samples(block, spread(x, schedule, lib), kernels, schedule, lib)


def conv_weight_vjp(one_phase: OnePhase, g: Array, x: Array, schedule: Schedule, lib: Standard) -> Array:
    """A weight VJP likewise, summed over the blocks: `one_phase` takes g and x."""
    if schedule.swapped:
        g, x = x, g
    parts = list(schedule.by_phases())

    def block(g: Array, x: Array) -> Array:
        kernels = [one_phase(g[(..., *phase.output)], x, phase.geometry, how, lib) for phase, how in parts]
        return join(kernels, [phase.taps for phase, _ in parts], schedule.geometry.kernel_size, lib)

    gw = blocks.sum_samples(block, g, spread(x, schedule, lib), schedule, lib)
    return transposed(gw, lib) if schedule.swapped else gw


def transposed(w: Array, lib: Standard) -> Array:
    """The kernel of the transposed geometry: its taps in reverse, its input and output channels exchanged."""
    axes = tuple(range(3, w.ndim))
    return permute_dims(lib.flip(w, axes) if axes else w, (0, 2, 1, *axes), lib.xp)


def samples_last(a: Array, lib: Standard) -> Array:
    """A canonical array with its samples after the channels: (groups, channels, n, ...). Twice, it is the same array again."""
    return permute_dims(a, (0, 2, 1, *range(3, a.ndim)), lib.xp)


def spread(x: Array, schedule: Schedule, lib: Standard) -> Array:
    """The input of the schedule's geometry: x between zeros, where they are to be written."""
    if not schedule.spread:
        return x
    places = tuple(slice(0, None, step) for step in schedule.spread)
    return lib.add_at(lib.zeros((*x.shape[:3], *schedule.geometry.input_size), x), places, x)


def padded(x: Array, axes: tuple[Axis, ...], lib: Standard, *, channels_last: bool = False) -> Array:
    """The padded copy of the input, which stands with channels last in memory if asked for."""
    pads = [(axis.pad_lo, axis.pad_hi) for axis in axes]
    if channels_last:
        return blocks.canonical(lib.pad(blocks.samples_first(x, "last", lib), [*pads, (0, 0), (0, 0)]), "last", lib)
    return lib.pad(x, pads)


def windows(
    x: Array, axes: tuple[Axis, ...], lib: Standard, *, channels_last: bool = False
) -> Iterator[tuple[tuple[int, ...], Array]]:
    """Every tap, and the inputs that meet it, in the order and the shape of the outputs; from a `padded` copy."""
    x = padded(x, axes, lib, channels_last=channels_last)
    for tap in itertools.product(*(range(axis.kernel_size) for axis in axes)):
        yield tap, x[(..., *(axis.window(t) for axis, t in zip(axes, tap, strict=True)))]


def join(parts: list[Array], places: list[tuple[slice, ...]], sizes: tuple[int, ...], lib: Standard) -> Array:
    """One array with the last axes of `sizes`, zero but for the parts in their places."""
    if len(parts) == 1 and parts[0].shape[3:] == sizes:
        return parts[0]
    return lib.interleave(parts, places, sizes)
