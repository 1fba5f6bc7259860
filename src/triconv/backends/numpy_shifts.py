"""Shifted multiply-adds of NumPy in place, in tiles that stay in a core's cache, on threads.

A tile of the padded input is written once, with the residues of strided axes apart. Then the inputs that meet a tap are a slice
of what stands side by side in memory, whatever the tap and the number of axes: with pitches ``p``, output ``o`` and tap ``t``

    offset(o + t) = sum over axes of  p * o  +  sum over axes of  p * t

so one tap is one product and one sum over a long line. Between the ends of two rows such a line has elements that are no
outputs, and they are not copied from it.
"""

from __future__ import annotations

import functools
import itertools
import math
from typing import Any, NamedTuple

import numpy as np
from numpy.lib.stride_tricks import as_strided

from triconv.backends import numpy_threads
from triconv.geometry import Axis

Array = Any

# of the input of a tile, which is in the second-level cache together with as many products and sums; a smaller one takes less
# time than to call what it needs
TILE_BYTES = 2**19
# elements of a line that a kernel with its channels side by side is repeated for: it stays in the first-level cache
LINE = 4096
LINE_BYTES = 64


class Tap(NamedTuple):
    """A tap: its place in the kernel, the array of residues that it reads, and how far from its output."""

    place: tuple[int, ...]
    residue: int
    shift: tuple[int, ...]


class Shifts(NamedTuple):
    """The taps of a geometry, and the arrays that they read."""

    axes: tuple[Axis, ...]
    residues: tuple[tuple[int, ...], ...]  # of each array, one per axis
    taps: tuple[Tap, ...]
    halo: tuple[int, ...]  # inputs of an array beyond the outputs, one per axis


@functools.lru_cache(256)
def shifts_of(axes: tuple[Axis, ...]) -> Shifts:
    """Of axes without input dilation."""
    steps = [[divmod(axis.dilation * t, axis.stride) for t in range(axis.kernel_size)] for axis in axes]
    used = list(itertools.product(*(sorted({residue for _, residue in each}) for each in steps)))
    number = {residues: i for i, residues in enumerate(used)}
    taps = []
    for index in itertools.product(*(range(axis.kernel_size) for axis in axes)):
        pairs = [each[t] for each, t in zip(steps, index, strict=True)]
        taps.append(Tap(index, number[tuple(r for _, r in pairs)], tuple(shift for shift, _ in pairs)))
    return Shifts(axes, tuple(used), tuple(taps), tuple(each[-1][0] for each in steps))


class Tile(NamedTuple):
    """Samples, channels, and outputs of each axis."""

    samples: slice
    channels: slice
    outputs: tuple[slice, ...]

    @property
    def sizes(self) -> tuple[int, ...]:
        """Numbers of outputs."""
        return tuple(part.stop - part.start for part in self.outputs)


def tiles(shifts: Shifts, n: int, channels: int, itemsize: int, *, last: bool) -> list[Tile]:
    """Tiles of about `TILE_BYTES`: of samples, channels, or positions, whatever stands first in memory."""
    most, sizes = TILE_BYTES // itemsize, [axis.output_size for axis in shifts.axes]

    def elements() -> int:
        inputs = math.prod(size + halo for size, halo in zip(sizes, shifts.halo, strict=True))
        return inputs * len(shifts.residues) * (channels if last else 1)

    while elements() > most:  # what two tiles read is written twice, so they have as many outputs
        room = [size / max(1, halo) for size, halo in zip(sizes, shifts.halo, strict=True)]
        axis = room.index(max(room))
        if room[axis] <= 1 or sizes[axis] == 1:
            break
        sizes[axis] = -(-sizes[axis] // 2)
    rest = max(1, most // elements())
    samples = width = 1
    if last:
        samples, width = (
            min(n, rest),
            channels if elements() <= 4 * most else max(64, 4 * most * channels // elements()),
        )
    else:
        width = min(channels, rest)
        samples = min(n, max(1, rest // width))
    outputs = (_parts(axis.output_size, size) for axis, size in zip(shifts.axes, sizes, strict=True))
    parts = (_parts(n, samples), _parts(channels, min(width, channels)), *outputs)
    return [Tile(a, b, tuple(spans)) for a, b, *spans in itertools.product(*parts)]


def _parts(size: int, most: int) -> list[slice]:
    """As few slices as that allows, of about equal length."""
    count = -(-size // max(1, most))
    ends = [size * i // count for i in range(count + 1)]
    return [slice(a, b) for a, b in itertools.pairwise(ends)]


def _split(x: Array, shifts: Shifts, tile: Tile, *, last: bool) -> Array:
    """The padded input of a tile, (residues, samples, channels, *positions) or (residues, samples, *positions, channels)."""
    x = x[tile.samples, ..., tile.channels] if last else x[tile.samples, tile.channels]
    first = 1 if last else 2
    lengths = [size + halo for size, halo in zip(tile.sizes, shifts.halo, strict=True)]
    shape = (len(shifts.residues), *x.shape[:first], *lengths, *x.shape[first + len(lengths) :])
    out = np.empty(shape, x.dtype)
    for part, residues in zip(out, shifts.residues, strict=True):
        source: list[slice] = [slice(None)] * first
        for number, (axis, residue, span, length) in enumerate(
            zip(shifts.axes, residues, tile.outputs, lengths, strict=True), first
        ):
            begin = axis.stride * span.start + residue - axis.pad_lo  # the input at which the array begins
            lo = min(length, max(0, -(begin // axis.stride)))
            hi = min(length, max(lo, -((begin - axis.input_size) // axis.stride)))
            index: Any = (*[slice(None)] * number, slice(lo))
            part[index] = 0
            index = (*[slice(None)] * number, slice(hi, None))
            part[index] = 0
            source.append(
                slice(begin + axis.stride * lo, begin + axis.stride * (hi - 1) + 1 if hi > lo else None, axis.stride)
            )
            if hi <= lo:
                source[-1] = slice(0, 0)
            part = part[(*[slice(None)] * number, slice(lo, hi))]  # noqa: PLW2901
        part[...] = x[tuple(source)]
    return out


def conv(x: Array, w: Array, axes: tuple[Axis, ...], *, last: bool) -> Array:
    """``y = sum over t of w[t] * x[stride * o + dilation * t]``, channel by channel.

    Of x (n, c, *input) and w (*taps, c), the outputs (n, c, *output); with `last`, channels stand last in both.
    """
    shifts, dtype = shifts_of(axes), np.result_type(x, w)
    outputs = tuple(axis.output_size for axis in axes)
    n, channels = x.shape[0], x.shape[-1 if last else 1]
    y = np.empty((n, *outputs, channels) if last else (n, channels, *outputs), dtype)

    work = tiles(shifts, n, channels, dtype.itemsize, last=last)
    factors = {tile.channels.start: _factors(w[..., tile.channels], last=last) for tile in work}

    def job(tile: Tile) -> None:
        parts, kernel = _split(x, shifts, tile, last=last), factors[tile.channels.start]
        lengths, first = (parts.shape[2:-1], 2) if last else (parts.shape[3:], 3)
        unit = parts.shape[-1] if last else 1
        pitches = [math.prod(lengths[number + 1 :]) * unit for number in range(len(lengths))]
        size = sum((size - 1) * pitch for size, pitch in zip(tile.sizes, pitches, strict=True)) + unit
        lines = parts.reshape(*parts.shape[:first], -1)
        total, product = (_empty((*parts.shape[1:first], size), dtype) for _ in range(2))
        for number, tap in enumerate(shifts.taps):
            start = sum(shift * pitch for shift, pitch in zip(tap.shift, pitches, strict=True))
            _multiply(lines[tap.residue, ..., start : start + size], kernel[tap.place], product if number else total)
            if number:
                np.add(total, product, out=total)
        front = (tile.samples,) if last else (tile.samples, tile.channels)
        back = (tile.channels,) if last else ()
        shape = (*total.shape[:-1], *tile.sizes, *([unit] if last else []))
        strides = [
            *total.strides[:-1],
            *(pitch * total.itemsize for pitch in pitches),
            *([total.itemsize] if last else []),
        ]
        y[(*front, *tile.outputs, *back)] = as_strided(total, shape, strides)

    numpy_threads.run(job, work)
    return y


def _empty(shape: tuple[int, ...], dtype: Any) -> Array:
    """An array that begins at a line of the cache: a product that is written across lines takes half as long again."""
    size = math.prod(shape)
    memory = np.empty(size + LINE_BYTES // dtype.itemsize, dtype)
    skipped = -memory.__array_interface__["data"][0] % LINE_BYTES // dtype.itemsize
    return memory[skipped : skipped + size].reshape(shape)


def _factors(w: Array, *, last: bool) -> Array:
    """A kernel (*taps, c) as lines are multiplied by it: where channels stand side by side, for several positions at once."""
    return np.tile(w, max(1, LINE // w.shape[-1])) if last else w[..., None]


def _multiply(lines: Array, factors: Array, out: Array) -> None:
    """``lines * factors``, the factors over and over."""
    length, step = lines.shape[-1], factors.shape[-1]
    whole = length // step * step
    shape = (*lines.shape[:-1], -1, step)
    if step == 1:
        np.multiply(lines, factors, out=out)
        return
    if whole:
        np.multiply(lines[..., :whole].reshape(shape), factors, out=out[..., :whole].reshape(shape))
    if whole < length:
        np.multiply(lines[..., whole:], factors[: length - whole], out=out[..., whole:])


def conv_weight_vjp(g: Array, x: Array, axes: tuple[Axis, ...], *, last: bool) -> Array:
    """``gw[t] = sum over samples and outputs of g[o] * x[stride * o + dilation * t]``, channel by channel.

    Of g (n, c, *output) and x (n, c, *input), the kernel's cotangent (*taps, c); with `last`, channels stand last in both.
    Each tile is summed by itself, then tiles are added one after the other, on whatever threads they were.
    """
    shifts, dtype = shifts_of(axes), np.result_type(x, g)
    n, channels = x.shape[0], x.shape[-1 if last else 1]
    work = tiles(shifts, n, channels, dtype.itemsize, last=last)
    sums: list[Any] = [None] * len(work)

    def job(number: int) -> None:
        tile = work[number]
        parts = _split(x, shifts, tile, last=last)
        front = (tile.samples,) if last else (tile.samples, tile.channels)
        cotangent = g[(*front, *tile.outputs, *((tile.channels,) if last else ()))]
        lead = (slice(None),) * (1 if last else 2)
        product = _empty(cotangent.shape, dtype)
        found = np.empty((len(shifts.taps), cotangent.shape[-1 if last else 1]), dtype)
        for i, tap in enumerate(shifts.taps):
            window = tuple(slice(shift, shift + size) for shift, size in zip(tap.shift, tile.sizes, strict=True))
            np.multiply(cotangent, parts[(tap.residue, *lead, *window)], out=product)
            if last:  # lines of several positions and all channels are added, then the positions of the last
                lines = np.add.reduce(product.reshape(-1, product.shape[-2] * product.shape[-1]), axis=0)
                np.add.reduce(lines.reshape(product.shape[-2:]), axis=0, out=found[i])
            else:
                np.add.reduce(np.add.reduce(product.reshape(*product.shape[:2], -1), axis=-1), axis=0, out=found[i])
        sums[number] = found

    numpy_threads.run(job, range(len(work)))
    gw = np.zeros((len(shifts.taps), channels), dtype)
    for tile, found in zip(work, sums, strict=True):
        gw[:, tile.channels] += found
    return gw.reshape(*(axis.kernel_size for axis in axes), channels)
