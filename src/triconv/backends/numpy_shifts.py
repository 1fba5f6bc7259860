"""Shifted multiply-adds of NumPy in place, in tiles that stay in a core's cache, on threads (`numpy_tiles`).

The taps that read one array are axes of one view of it, and `numpy.einsum` adds up their products, each in one pass without an
array of products. Its innermost loop is along a line of positions with all their channels, for which the kernel is repeated;
where the positions of a line are apart in memory, along the channels of one. So phases are written where they belong, and
strided inputs of many channels are read where they stand.

A weight VJP is dot products of lines that have all positions of a channel. With pitches ``p``, output ``o`` and tap ``t``

    offset(o + t) = sum over axes of  p * o  +  sum over axes of  p * t

so the inputs that meet a tap are one slice of what stands side by side in memory. Between the ends of two rows it has inputs
that meet no output; the cotangent has zeros there. Many channels that stand last are summed side by side instead, and few of
them are transposed as a tile is written.
"""

from __future__ import annotations

import functools
import math
import operator
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from triconv.backends import numpy_lines, numpy_threads, numpy_tiles
from triconv.backends.numpy_tiles import ResiduePass, Shifts, Tile, shifts_of
from triconv.geometry import Axis, Phase

Array = Any

# elements of a line of several positions with their channels: the kernel, repeated for it, stays in the first-level cache
LINE = 1024
# channels from which a line of one position is long enough: of 96, with a stride of two, in half the time that it takes to
# bring the residues in order first; of 32 in twice the time
LONG = 64
# names of axes in `numpy.einsum`: of the taps, and of the outputs
TAPS = "abcdefgh"
OUTPUTS = "ABCDEFGH"


def conv(
    x: Array, w: Array, phases: Sequence[Phase], sizes: tuple[int, ...], *, last: bool, along_positions: bool = False
) -> Array:
    """``y = sum over t of w[t] * x[stride * o + dilation * t]``, channel by channel, phase by phase.

    Of x (n, c, *input) and w (*taps, c), the outputs (n, c, *sizes); with `last`, channels stand last in both. With
    `along_positions` (`numpy_lines`), they run along all positions of a channel.
    """
    dtype, channels = np.result_type(x, w), w.shape[-1]
    if channels == 1 < len(x) and not along_positions:  # the samples stand side by side instead
        y = conv(np.moveaxis(x, -1 if last else 1, 0), np.repeat(w, len(x), axis=-1), phases, sizes, last=False)
        return np.moveaxis(y, 0, -1 if last else 1)
    covered = sum(math.prod(phase.geometry.output_size) for phase in phases) == math.prod(sizes)
    y = (np.empty if covered else np.zeros)((len(x), *sizes, channels) if last else (len(x), channels, *sizes), dtype)
    jobs = []
    for phase in phases:
        taps, axes = w[phase.taps], phase.geometry.axes
        place: Any = (slice(None), *phase.output) if last else (..., *phase.output)
        out = y[place]
        if along_positions:
            each = list(numpy_lines.jobs(x, np.moveaxis(taps, -1, 0), out, axes, are_phases=len(phases) > 1))
        elif last:
            each = list(_jobs(x, taps, out, axes))
        else:  # transposed, tile by tile
            each = list(_jobs(np.moveaxis(x, 1, -1), taps, np.moveaxis(out, 1, -1), axes))
        jobs += [(number / len(each), job) for number, job in enumerate(each)]
    jobs.sort(key=operator.itemgetter(0))  # phases write into the same lines of a cache
    numpy_threads.run(lambda entry: entry[1](), jobs)
    return y


def _jobs(x: Array, w: Array, y: Array, axes: tuple[Axis, ...]) -> Iterator[Callable[[], None]]:
    """Each tile of a phase, of arrays with the channels as their last axis, as a function without arguments."""
    n, channels, itemsize = len(x), w.shape[-1], y.itemsize
    is_last = x.strides[-1] == y.strides[-1] == itemsize and x.dtype == y.dtype
    is_dense = _is_dense(x) and _is_dense(y)
    is_strided = axes[-1].stride > 1
    is_long = is_last and channels >= LONG and (is_strided or not is_dense)  # lines of one position
    shifts = shifts_of(axes, 0 if is_long or not is_strided else 1)
    boxes = [(numpy_tiles.whole(axes), False)]
    if is_long and is_strided:
        boxes = numpy_tiles.apart_from_padding(axes)
    kernels: dict[tuple[int, int], list[Array]] = {}
    for box, has_no_padding in boxes:
        for tile in numpy_tiles.tiles(shifts, n, channels, itemsize, box, last=is_last, fewest=numpy_tiles.CHANNELS):
            first, positions = tile.channels.start, 1 if is_long else _positions(tile)
            if (first, positions) not in kernels:
                kernels[first, positions] = _repeated(w[..., tile.channels], positions, shifts)
            is_read_in_place = has_no_padding and (is_long or tile.channels == slice(0, channels))
            out = y[(tile.samples, *tile.outputs, tile.channels)]
            yield functools.partial(_one_tile, x, kernels[first, positions], out, shifts, tile, is_read_in_place)


def _is_dense(a: Array) -> bool:
    """Whether positions stand side by side with their channels, in an array with channels last."""
    return bool(a.strides[-2:] == (a.shape[-1] * a.itemsize, a.itemsize))


def _positions(tile: Tile) -> int:
    """How many a line has."""
    width, channels = tile.sizes[-1], tile.channels.stop - tile.channels.start
    return -(-width // -(-width // max(1, LINE // channels)))


def _repeated(w: Array, positions: int, shifts: Shifts) -> list[Array]:
    """The kernel of each pass, for as many positions as a line has."""
    # a kernel that is repeated once would keep its order in memory
    return [np.ascontiguousarray(np.tile(w[part.taps], positions)) for part in shifts.passes]


def _one_tile(x: Array, kernels: list[Array], y: Array, shifts: Shifts, tile: Tile, is_read_in_place: bool) -> None:
    """Read a tile where it stands, or copy it; compute its outputs where they belong, or transpose them."""
    parts = numpy_tiles.in_place(x, shifts, tile) if is_read_in_place else numpy_tiles.split(x, shifts, tile, last=True)
    is_written_in_place = _is_dense(y) or (y.strides[-1] == y.itemsize and kernels[0].shape[-1] == y.shape[-1])
    found = y if is_written_in_place else np.empty(y.shape, y.dtype)
    _conv_tile(parts, kernels, found, shifts)
    if not is_written_in_place:
        numpy_tiles.assign(y, found)


def _conv_tile(parts: Array, kernels: list[Array], y: Array, shifts: Shifts) -> None:
    """`conv` of a tile (passes, n, *positions, c), into one (n, *positions, c): a line has some positions with their channels.

    The kernels are repeated for them (`_repeated`), so that all three arrays have steps of one element along a line, which is
    the innermost loop.
    """
    n, *rows, width, channels = y.shape
    most = kernels[0].shape[-1] // channels  # positions of a line
    spans = [(0, width // most, most), (width // most * most, 1, width % most)]
    taps, outer = TAPS[: len(rows) + 1], OUTPUTS[: len(rows)]
    subscripts = f"N{outer}Q{taps}L,{taps}L->N{outer}QL"
    for number, (memory, part, kernel) in enumerate(zip(parts, shifts.passes, kernels, strict=True)):
        sample, *steps, item = memory.strides
        skips = [skip * step for skip, step in zip(shifts.skips, steps, strict=True)]
        jumps = [jump * step for jump, step in zip(part.steps, steps, strict=True)]
        first = memory[(slice(None), *(slice(shift, None) for shift in part.shifts))]
        for start, lines, positions in spans:
            if not positions:
                continue
            length = positions * channels
            read = np.lib.stride_tricks.as_strided(
                first[..., start * shifts.skips[-1] :, :],
                (n, *rows, lines, *kernel.shape[:-1], length),
                (sample, *skips[:-1], positions * skips[-1], *jumps, item),
            )
            out = y[..., start : start + lines * positions, :]
            if most > 1:
                out = out.reshape(n, *rows, lines, length)
            if number:
                out += np.einsum(subscripts, read, kernel[..., :length])
            else:
                np.einsum(subscripts, read, kernel[..., :length], out=out)


def conv_weight_vjp(g: Array, x: Array, axes: tuple[Axis, ...], *, last: bool, along_channels: bool = False) -> Array:
    """``gw[t] = sum over samples and outputs of g[o] * x[stride * o + dilation * t]``, channel by channel.

    Of g (n, c, *output) and x (n, c, *input), the kernel's cotangent (*taps, c); with `last`, channels stand last in both. With
    `along_channels`, for such arrays, they are summed side by side. Each tile is summed by itself, then tiles are added one
    after the other, on whatever threads they were.
    """
    if along_channels:
        return _sums_along_channels(g, x, axes)
    if last:  # transposed as tiles are written, so that a line has the positions of one channel
        g, x = np.moveaxis(g, -1, 1), np.moveaxis(x, -1, 1)
    shifts, dtype = shifts_of(axes, len(axes)), np.result_type(x, g)
    n, channels = x.shape[:2]
    work = numpy_tiles.tiles(shifts, n, channels, dtype.itemsize, numpy_tiles.whole(axes), last=False)
    sums: list[Any] = [None] * len(work)

    def job(number: int) -> None:
        tile = work[number]
        parts = numpy_tiles.split(x, shifts, tile, last=False)
        cotangent = numpy_tiles.compact(g[(tile.samples, tile.channels, *tile.outputs)])
        (n, c, *sizes), pitches = cotangent.shape, numpy_tiles.pitches(parts.shape[3:])
        size = numpy_tiles.extent(sizes, pitches)
        line = np.zeros((n, c, *(1,) * len(sizes), size), dtype)
        np.conjugate(cotangent, out=numpy_tiles.view(line, 0, cotangent.shape, (c * size, size, *pitches)))
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


def _sums_along_channels(g: Array, x: Array, axes: tuple[Axis, ...]) -> Array:
    """`conv_weight_vjp` of many channels that stand last: nothing is transposed, and windows without padding are not copied."""
    shifts, (n, *_, channels) = shifts_of(axes, 0), x.shape
    (part,), itemsize = shifts.passes, x.itemsize
    work = [
        (tile, has_no_padding)
        for box, has_no_padding in numpy_tiles.apart_from_padding(axes)
        for tile in numpy_tiles.tiles(shifts, n, channels, itemsize, box, last=True)
    ]
    outputs, taps = OUTPUTS[: len(axes)], TAPS[: len(axes)]
    kernel = tuple(axis.kernel_size for axis in axes)
    sums: list[Any] = [None] * len(work)

    def job(number: int) -> None:
        tile, is_in_place = work[number]
        memory = numpy_tiles.in_place(x, shifts, tile) if is_in_place else numpy_tiles.split(x, shifts, tile, last=True)
        cotangent = g[(tile.samples, *tile.outputs, tile.channels)]
        _, sample, *steps, item = memory.strides
        skips = map(operator.mul, shifts.skips, steps)
        jumps = map(operator.mul, part.steps, steps)
        read = np.lib.stride_tricks.as_strided(
            memory,
            (*cotangent.shape[:-1], *kernel, cotangent.shape[-1]),
            (sample, *skips, *jumps, item),
        )
        sums[number] = np.einsum(f"N{outputs}L,N{outputs}{taps}L->{taps}L", cotangent, read)

    numpy_threads.run(job, range(len(work)))
    gw = np.zeros((*kernel, channels), np.result_type(x, g))
    for (tile, _), found in zip(work, sums, strict=True):
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
    return numpy_tiles.view(memory, start, shape, (*numpy_tiles.pitches(memory.shape)[:2], *steps, 1))
