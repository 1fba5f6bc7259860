"""Tiles of NumPy's shifted multiply-adds: what one thread takes at a time, and how it reads its input.

A tile of the input is read where it stands, if no window of it has padding. Otherwise it is copied once: padded, and with the
residues of some strided axes apart, so that each tap of these reads numbers that stand side by side.
"""

from __future__ import annotations

import functools
import itertools
import math
import operator
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from triconv.geometry import Axis

Array = Any
Box = tuple[slice, ...]

# of the input of a tile, which is in the second-level cache together with its outputs. Of smaller ones each thread would wait
# for the interpreter's lock; half of it where there are less than four
TILE_BYTES = 2**20
# of a tile that is transposed: runs of memory of a line of the cache, in loops that are not short
CHANNELS = 16


class ResiduePass(NamedTuple):
    """The taps that read one array of residues, evenly spaced along each axis."""

    residues: tuple[int, ...]
    taps: tuple[slice, ...]
    shifts: tuple[int, ...]  # how far from its output the first one reads
    steps: tuple[int, ...]  # and the next ones from there

    def reads(self, pitches: Sequence[int]) -> tuple[int, list[int]]:
        """The element that the first tap reads for the first output, and how far the next are along each axis."""
        return sum(map(operator.mul, self.shifts, pitches)), list(map(operator.mul, self.steps, pitches))


class Shifts(NamedTuple):
    """The taps of a geometry."""

    axes: tuple[Axis, ...]
    passes: tuple[ResiduePass, ...]
    halo: tuple[int, ...]  # inputs of an array beyond those of the outputs, one per axis
    skips: tuple[int, ...]  # inputs of an array from one output to the next
    strides: tuple[int, ...]  # inputs from one element of an array to the next

    def lengths(self, sizes: Sequence[int]) -> list[int]:
        """Inputs along each axis of an array that so many outputs read."""
        return [
            skip * (size - 1) + 1 + halo if size else 0
            for size, skip, halo in zip(sizes, self.skips, self.halo, strict=True)
        ]


@functools.lru_cache(256)
def shifts_of(axes: tuple[Axis, ...], apart: int) -> Shifts:
    """Of axes without input dilation, with the residues of the last `apart` of them in arrays of their own."""
    lines, halo, first = [], [], len(axes) - apart
    for number, axis in enumerate(axes):
        if number < first:
            lines.append([(0, slice(None), 0, axis.dilation)])
            halo.append(axis.dilation * (axis.kernel_size - 1))
            continue
        step = axis.stride // math.gcd(axis.stride, axis.dilation)  # from a tap to the next of the same residue
        firsts = range(min(step, axis.kernel_size))
        starts = [(t, *divmod(axis.dilation * t, axis.stride)) for t in firsts]
        lines.append(
            sorted((r, slice(t, None, step), shift, axis.dilation * step // axis.stride) for t, shift, r in starts)
        )
        halo.append(axis.dilation * (axis.kernel_size - 1) // axis.stride)
    passes = (ResiduePass(*zip(*each, strict=True)) for each in itertools.product(*lines))
    skips = tuple(axis.stride if number < first else 1 for number, axis in enumerate(axes))
    strides = tuple(1 if number < first else axis.stride for number, axis in enumerate(axes))
    return Shifts(axes, tuple(passes), tuple(halo), skips, strides)


class Tile(NamedTuple):
    """Samples, channels, and outputs of each axis."""

    samples: slice
    channels: slice
    outputs: Box

    @property
    def sizes(self) -> tuple[int, ...]:
        """Numbers of outputs."""
        return tuple(part.stop - part.start for part in self.outputs)


def tiles(shifts: Shifts, n: int, channels: int, itemsize: int, box: Box, *, last: bool, fewest: int = 1) -> list[Tile]:
    """Tiles of a box of outputs, of about `TILE_BYTES`: of samples, channels, or positions, whatever stands first in memory.

    With channels first, a tile has no less than `fewest` of them, if there are.
    """
    sizes = [part.stop - part.start for part in box]
    total = itemsize * n * channels * math.prod(axis.input_size for axis in shifts.axes)
    most = (TILE_BYTES if total >= 4 * TILE_BYTES else TILE_BYTES // 2) // itemsize
    together = channels if last else min(channels, fewest)

    def elements() -> int:
        return math.prod(shifts.lengths(sizes)) * len(shifts.passes) * together

    while elements() > most:  # what two tiles read is written twice, so they have as many outputs
        room = [skip * size / max(1, halo) for size, skip, halo in zip(sizes, shifts.skips, shifts.halo, strict=True)]
        room = [each if size > 1 else 0 for each, size in zip(room, sizes, strict=True)]
        axis = room.index(max(room))
        if room[axis] <= 1:
            break
        sizes[axis] = -(-sizes[axis] // 2)
    rest = max(1, most // max(1, elements()))
    if last:
        samples = min(n, rest)
        width = channels if elements() <= 4 * most else max(64, 4 * most * channels // elements())
    else:
        width = min(channels, rest * together)
        samples = min(n, max(1, rest * together // width))
    outputs = (_parts(part, size) for part, size in zip(box, sizes, strict=True))
    parts = (_parts(slice(0, n), samples), _parts(slice(0, channels), min(width, channels)), *outputs)
    return [Tile(a, b, tuple(spans)) for a, b, *spans in itertools.product(*parts)]


def _parts(span: slice, most: int) -> list[slice]:
    """As few slices as that allows, of about equal length."""
    size = span.stop - span.start
    count = -(-size // max(1, most))
    ends = [span.start + size * i // count for i in range(count + 1)]
    return [slice(a, b) for a, b in itertools.pairwise(ends)]


def whole(axes: Sequence[Axis]) -> Box:
    """All outputs."""
    return tuple(slice(0, axis.output_size) for axis in axes)


def apart_from_padding(axes: Sequence[Axis]) -> list[tuple[Box, bool]]:
    """All outputs in boxes, and whether a box has no padding in its windows; of one kind, unless those are the most."""
    inner = [axis.interior() for axis in axes]
    if 2 * math.prod(b - a for a, b in inner) < math.prod(axis.output_size for axis in axes):
        return [(whole(axes), False)]
    return [*((box, False) for box in _around(axes, inner)), (tuple(slice(*ends) for ends in inner), True)]


def _around(axes: Sequence[Axis], inner: list[tuple[int, int]]) -> Iterator[Box]:
    """The outputs around an inner box, axis by axis."""
    box = list(whole(axes))
    for number, (axis, (first, end)) in enumerate(zip(axes, inner, strict=True)):
        for part in (slice(0, first), slice(end, axis.output_size)):
            if part.start < part.stop:
                yield (*box[:number], part, *box[number + 1 :])
        box[number] = slice(first, end)


def in_place(x: Array, shifts: Shifts, tile: Tile) -> Array:
    """What a tile without padding reads, (1, samples, *positions, channels), as a view."""
    spans = (
        slice(axis.stride * part.start - axis.pad_lo, axis.stride * part.start - axis.pad_lo + length)
        for axis, part, length in zip(shifts.axes, tile.outputs, shifts.lengths(tile.sizes), strict=True)
    )
    return x[(None, tile.samples, *spans, tile.channels)]


def split(x: Array, shifts: Shifts, tile: Tile, *, last: bool) -> Array:
    """The padded input of a tile, (passes, samples, channels, *positions) or (passes, samples, *positions, channels)."""
    x = x[tile.samples, ..., tile.channels] if last else x[tile.samples, tile.channels]
    first = 1 if last else 2
    lengths = shifts.lengths(tile.sizes)
    shape = (len(shifts.passes), *x.shape[:first], *lengths, *x.shape[first + len(lengths) :])
    out = np.empty(shape, x.dtype)
    for part, (residues, *_) in zip(out, shifts.passes, strict=True):
        source: list[slice] = [slice(None)] * first
        for number, (axis, residue, span, length, step) in enumerate(
            zip(shifts.axes, residues, tile.outputs, lengths, shifts.strides, strict=True), first
        ):
            begin = axis.stride * span.start + residue - axis.pad_lo  # the input at which the array begins
            lo, hi = inputs(begin, length, axis.input_size, step)
            index: Any = (*[slice(None)] * number, slice(lo))
            part[index] = 0
            index = (*[slice(None)] * number, slice(hi, None))
            part[index] = 0
            source.append(slice(begin + step * lo, begin + step * (hi - 1) + 1 if hi > lo else None, step))
            if hi <= lo:
                source[-1] = slice(0, 0)
            part = part[(*[slice(None)] * number, slice(lo, hi))]  # noqa: PLW2901
        assign(part, x[tuple(source)] if last else compact(x[tuple(source)]))
    return out


def inputs(begin: int, length: int, size: int, step: int = 1) -> tuple[int, int]:
    """Where an array whose element ``i`` is input ``begin + step * i`` has inputs, not padding: from ``lo`` up to ``hi``."""
    lo = min(length, max(0, -(begin // step)))
    return lo, min(length, max(lo, -((begin - size) // step)))


def compact(a: Array) -> Array:
    """An array (n, c, *positions); if its channels stand last, a copy in the same order, whose lines are not far apart.

    Those of a power of two channels share a few places of the cache, so that each would be read again for each channel.
    """
    return a.copy(order="K") if a.strides[1] < a.strides[-1] else a


def assign(out: Array, a: Array) -> None:
    """``out[...] = a`` with the channels last in one of them; few channels, one by one: the loop along them would be short."""
    if out.shape[-1] < CHANNELS and (out.strides[-1] > out.strides[-2]) != (a.strides[-1] > a.strides[-2]):
        for c in range(out.shape[-1]):
            out[..., c] = a[..., c]
    else:
        out[...] = a


def pitches(shape: Sequence[int]) -> list[int]:
    """Elements from one index to the next along each axis, of an array in C order."""
    return [math.prod(shape[number + 1 :]) for number in range(len(shape))]


def extent(shape: Sequence[int], pitches: Sequence[int]) -> int:
    """Elements from the first to the last of an array with these pitches."""
    return 1 + sum((size - 1) * pitch for size, pitch in zip(shape, pitches, strict=True))


def view(memory: Array, start: int, shape: tuple[int, ...], steps: Sequence[int]) -> Array:
    """Elements of an array in C order, as a view."""
    item = memory.itemsize
    return np.ndarray(shape, memory.dtype, memory, start * item, [step * item for step in steps])
