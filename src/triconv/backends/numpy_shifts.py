"""Shifted multiply-adds of NumPy in place, in tiles that stay in a core's cache, on threads.

A tile of the padded input is written once, with the residues of strided axes apart. Then the taps that read one array of
residues are axes of one view of it, and `numpy.einsum` adds up their products, each in one pass without an array of products.
Its innermost loop is along a line of positions with all their channels, for which the kernel is repeated.

A weight VJP is dot products of lines that have all positions of a channel. With pitches ``p``, output ``o`` and tap ``t``

    offset(o + t) = sum over axes of  p * o  +  sum over axes of  p * t

so the inputs that meet a tap are one slice of what stands side by side in memory. Between the ends of two rows it has inputs
that meet no output; the cotangent has zeros there. If memory has the other order, a tile is transposed as it is written.
"""

from __future__ import annotations

import functools
import itertools
import math
import operator
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from triconv.backends import numpy_threads
from triconv.geometry import Axis

Array = Any

# of the input of a tile, which is in the second-level cache together with its outputs. Of smaller ones each thread would wait
# for the interpreter's lock; half of it where there are less than four
TILE_BYTES = 2**20
# of a tile that is transposed: runs of memory of a line of the cache, in loops that are not short
CHANNELS = 16
# elements of a line of several positions with their channels: the kernel, repeated for it, stays in the first-level cache
LINE = 1024
# names of axes in `numpy.einsum`: of the taps, and of the outputs
TAPS = "abcdefgh"
OUTPUTS = "ABCDEFGH"


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
    halo: tuple[int, ...]  # inputs of an array beyond the outputs, one per axis


@functools.lru_cache(256)
def shifts_of(axes: tuple[Axis, ...]) -> Shifts:
    """Of axes without input dilation."""
    lines = []
    for axis in axes:
        step = axis.stride // math.gcd(axis.stride, axis.dilation)  # from a tap to the next of the same residue
        firsts = range(min(step, axis.kernel_size))
        starts = [(t, *divmod(axis.dilation * t, axis.stride)) for t in firsts]
        lines.append(
            sorted((r, slice(t, None, step), shift, axis.dilation * step // axis.stride) for t, shift, r in starts)
        )
    passes = (ResiduePass(*zip(*each, strict=True)) for each in itertools.product(*lines))
    halo = (axis.dilation * (axis.kernel_size - 1) // axis.stride for axis in axes)
    return Shifts(axes, tuple(passes), tuple(halo))


class Tile(NamedTuple):
    """Samples, channels, and outputs of each axis."""

    samples: slice
    channels: slice
    outputs: tuple[slice, ...]

    @property
    def sizes(self) -> tuple[int, ...]:
        """Numbers of outputs."""
        return tuple(part.stop - part.start for part in self.outputs)


def tiles(shifts: Shifts, n: int, channels: int, itemsize: int, *, last: bool, fewest: int = 1) -> list[Tile]:
    """Tiles of about `TILE_BYTES`: of samples, channels, or positions, whatever stands first in memory.

    With channels first, a tile has no less than `fewest` of them, if there are.
    """
    sizes = [axis.output_size for axis in shifts.axes]
    total = itemsize * n * channels * math.prod(axis.input_size for axis in shifts.axes)
    most = (TILE_BYTES if total >= 4 * TILE_BYTES else TILE_BYTES // 2) // itemsize
    together = channels if last else min(channels, fewest)

    def elements() -> int:
        inputs = math.prod(size + halo for size, halo in zip(sizes, shifts.halo, strict=True))
        return inputs * len(shifts.passes) * together

    while elements() > most:  # what two tiles read is written twice, so they have as many outputs
        room = [size / max(1, halo) for size, halo in zip(sizes, shifts.halo, strict=True)]
        axis = room.index(max(room))
        if room[axis] <= 1 or sizes[axis] == 1:
            break
        sizes[axis] = -(-sizes[axis] // 2)
    rest = max(1, most // elements())
    if last:
        samples = min(n, rest)
        width = channels if elements() <= 4 * most else max(64, 4 * most * channels // elements())
    else:
        width = min(channels, rest * together)
        samples = min(n, max(1, rest * together // width))
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
    shape = (len(shifts.passes), *x.shape[:first], *lengths, *x.shape[first + len(lengths) :])
    out = np.empty(shape, x.dtype)
    for part, (residues, *_) in zip(out, shifts.passes, strict=True):
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
        _assign(part, x[tuple(source)] if last else _compact(x[tuple(source)]))
    return out


def conv(x: Array, w: Array, axes: tuple[Axis, ...], *, last: bool) -> Array:
    """``y = sum over t of w[t] * x[stride * o + dilation * t]``, channel by channel.

    Of x (n, c, *input) and w (*taps, c), the outputs (n, c, *output); with `last`, channels stand last in both.
    """
    shifts, dtype, channels = shifts_of(axes), np.result_type(x, w), w.shape[-1]
    if channels == 1 < len(x):  # the samples stand side by side instead
        y = conv(np.moveaxis(x, -1 if last else 1, 0), np.repeat(w, len(x), axis=-1), axes, last=False)
        return np.moveaxis(y, 0, -1 if last else 1)
    outputs = [axis.output_size for axis in axes]
    y = np.empty((len(x), *outputs, channels) if last else (len(x), channels, *outputs), dtype)
    source, target = (x, y) if last else (np.moveaxis(x, 1, -1), np.moveaxis(y, 1, -1))  # transposed, tile by tile

    work = tiles(shifts, len(x), channels, dtype.itemsize, last=last, fewest=CHANNELS)
    kernels = {_line(tile): _repeated(w, tile, shifts) for tile in {_line(tile): tile for tile in work}.values()}

    def job(tile: Tile) -> None:
        parts = _split(source, shifts, tile, last=True)
        out = target[(tile.samples, *tile.outputs, tile.channels)]
        is_dense = out.strides[-2:] == (out.shape[-1] * out.itemsize, out.itemsize)
        found = out if is_dense else np.empty(out.shape, dtype)
        _conv_tile(parts, kernels[_line(tile)], found, shifts.passes)
        if not is_dense:
            _assign(out, found)

    numpy_threads.run(job, work)
    return y


def _line(tile: Tile) -> tuple[int, int]:
    """Where the channels of a tile begin, and how many positions a line has."""
    width, channels = tile.sizes[-1], tile.channels.stop - tile.channels.start
    return tile.channels.start, -(-width // -(-width // max(1, LINE // channels)))


def _repeated(w: Array, tile: Tile, shifts: Shifts) -> list[Array]:
    """The kernel of each pass, for as many positions as a line has."""
    _, positions = _line(tile)
    # a tile that is repeated once would keep its order in memory
    return [np.ascontiguousarray(np.tile(w[(*part.taps, tile.channels)], positions)) for part in shifts.passes]


def _conv_tile(parts: Array, kernels: list[Array], y: Array, passes: tuple[ResiduePass, ...]) -> None:
    """`conv` of a tile (passes, n, *positions, c), into one (n, *positions, c): a line has some positions with their channels.

    The kernels are repeated for them (`_repeated`), so that all three arrays have steps of one element along a line, which is
    the innermost loop.
    """
    (n, *rows, width, channels), pitches = y.shape, _pitches(parts.shape[2:])
    most = kernels[0].shape[-1] // channels  # positions of a line
    spans = [(0, width // most, most), (width // most * most, 1, width % most)]
    taps, outer = TAPS[: len(rows) + 1], OUTPUTS[: len(rows)]
    subscripts = f"N{outer}Q{taps}L,{taps}L->N{outer}QL"
    for number, (part, kernel) in enumerate(zip(passes, kernels, strict=True)):
        shift, steps = part.reads(pitches)
        for start, lines, positions in spans:
            if not positions:
                continue
            length = positions * channels
            read = _view(
                parts[number],
                shift + start * channels,
                (n, *rows, lines, *kernel.shape[:-1], length),
                (parts[number].size // n, *pitches[:-2], length, *steps, 1),
            )
            out = y[..., start : start + lines * positions, :].reshape(n, *rows, lines, length)
            if number:
                out += np.einsum(subscripts, read, kernel[..., :length])
            else:
                np.einsum(subscripts, read, kernel[..., :length], out=out)


def conv_weight_vjp(g: Array, x: Array, axes: tuple[Axis, ...], *, last: bool) -> Array:
    """``gw[t] = sum over samples and outputs of g[o] * x[stride * o + dilation * t]``, channel by channel.

    Of g (n, c, *output) and x (n, c, *input), the kernel's cotangent (*taps, c); with `last`, channels stand last in both.
    Each tile is summed by itself, then tiles are added one after the other, on whatever threads they were.
    """
    if last:  # transposed as tiles are written, so that a line has the positions of one channel
        g, x = np.moveaxis(g, -1, 1), np.moveaxis(x, -1, 1)
    shifts, dtype = shifts_of(axes), np.result_type(x, g)
    n, channels = x.shape[:2]
    work = tiles(shifts, n, channels, dtype.itemsize, last=False)
    sums: list[Any] = [None] * len(work)

    def job(number: int) -> None:
        tile = work[number]
        parts = _split(x, shifts, tile, last=False)
        cotangent = _compact(g[(tile.samples, tile.channels, *tile.outputs)])
        (n, c, *sizes), pitches = cotangent.shape, _pitches(parts.shape[3:])
        size = 1 + sum((size - 1) * pitch for size, pitch in zip(sizes, pitches, strict=True))
        line = np.zeros((n, c, *(1,) * len(sizes), size), dtype)
        np.conjugate(cotangent, out=_view(line, 0, cotangent.shape, (c * size, size, *pitches)))
        found = np.empty((*(axis.kernel_size for axis in axes), c), dtype)
        for part, memory in zip(shifts.passes, parts, strict=True):
            gw = found[part.taps]
            shape = (n, c, *gw.shape[:-1], size)
            products = np.vecdot(line, _lines(memory, part, shape, pitches))
            np.add.reduce(np.moveaxis(products, 1, -1), axis=0, out=gw)
        if not np.isfinite(found).all():  # a zero between two rows times what is not finite is a NaN: row by row
            for tap in np.ndindex(found.shape[:-1]):
                found[tap] = _meeting(parts, tap, shifts, cotangent)
        sums[number] = found

    numpy_threads.run(job, range(len(work)))
    gw = np.zeros((*(axis.kernel_size for axis in axes), channels), dtype)
    for tile, found in zip(work, sums, strict=True):
        gw[..., tile.channels] += found
    return gw


def _meeting(parts: Array, tap: tuple[int, ...], shifts: Shifts, cotangent: Array) -> Array:
    """The sums of a tap, of those inputs alone that it meets."""
    steps = [divmod(axis.dilation * t, axis.stride) for axis, t in zip(shifts.axes, tap, strict=True)]
    residues = tuple(residue for _, residue in steps)
    number = next(i for i, each in enumerate(shifts.passes) if each.residues == residues)
    window = tuple(slice(shift, shift + size) for (shift, _), size in zip(steps, cotangent.shape[2:], strict=True))
    axes = (0, *range(2, cotangent.ndim))
    return np.sum(cotangent * parts[(number, slice(None), slice(None), *window)], axis=axes, dtype=cotangent.dtype)


def _lines(memory: Array, part: ResiduePass, shape: tuple[int, ...], pitches: list[int]) -> Array:
    """What the outputs meet at the taps of a pass, (n, c, *taps, size)."""
    start, steps = part.reads(pitches)
    return _view(memory, start, shape, (*_pitches(memory.shape)[:2], *steps, 1))


def _compact(a: Array) -> Array:
    """An array (n, c, *positions); if its channels stand last, a copy in the same order, whose lines are not far apart.

    Those of a power of two channels share a few places of the cache, so that each would be read again for each channel.
    """
    return a.copy(order="K") if a.strides[1] < a.strides[-1] else a


def _assign(out: Array, a: Array) -> None:
    """``out[...] = a`` with the channels last in one of them; few channels, one by one: the loop along them would be short."""
    if out.shape[-1] < CHANNELS and (out.strides[-1] > out.strides[-2]) != (a.strides[-1] > a.strides[-2]):
        for c in range(out.shape[-1]):
            out[..., c] = a[..., c]
    else:
        out[...] = a


def _pitches(shape: Sequence[int]) -> list[int]:
    """Elements from one index to the next along each axis, of an array in C order."""
    return [math.prod(shape[number + 1 :]) for number in range(len(shape))]


def _view(memory: Array, start: int, shape: tuple[int, ...], steps: Sequence[int]) -> Array:
    """Elements of an array in C order, as a view."""
    item = memory.itemsize
    return np.ndarray(shape, memory.dtype, memory, start * item, [step * item for step in steps])
