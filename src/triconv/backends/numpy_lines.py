"""Shifted multiply-adds of NumPy with channels first: along lines of all positions of a channel, and nothing is transposed.

With pitches ``p``, output ``o`` and tap ``t`` of what stands side by side in memory

    offset(o + t) = sum over axes of  p * o  +  sum over axes of  p * t

so what the outputs meet at a tap is one slice of a channel, and `numpy.einsum` adds a multiple of it for each tap. Between the
ends of two rows there are outputs of both, which are left out. The samples of a tile stand side by side too, so that lines are
long. Those of one axis have no such ends: what needs no padding is read and written where it stands.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from triconv.backends import numpy_tiles
from triconv.backends.numpy_tiles import Box, Shifts, Tile, shifts_of
from triconv.geometry import Axis

Array = Any

# names of axes in `numpy.einsum`: of the taps
TAPS = "abcdefgh"


def jobs(x: Array, w: Array, y: Array, axes: tuple[Axis, ...], *, are_phases: bool) -> Iterator[Callable[[], None]]:
    """Each tile of a phase, of arrays (n, c, *positions) and a kernel (c, *taps), as a function without arguments.

    No axis has a stride. Where there are several phases, tiles are smaller: of those in turn the outputs stay in a cache.
    """
    itemsize = y.itemsize * (1 + are_phases)
    w = np.ascontiguousarray(w)
    shifts = shifts_of(axes, len(axes))
    boxes = [(numpy_tiles.whole(axes), False)]
    if len(axes) == 1 and x.strides[-1] == x.itemsize and x.dtype == y.dtype:
        boxes = numpy_tiles.apart_from_padding(axes)
    for box, is_read_in_place in boxes:
        for tile in _tiles(shifts, len(x), w.shape[0], itemsize, box, is_read_in_place=is_read_in_place):
            out = y[(tile.samples, tile.channels, *tile.outputs)]
            yield functools.partial(_one_tile, x, w[tile.channels], out, shifts, tile, is_read_in_place)


def _tiles(shifts: Shifts, n: int, channels: int, itemsize: int, box: Box, *, is_read_in_place: bool) -> Iterator[Tile]:
    """Tiles of channels that stand side by side; or of all samples, whose lines will, and as many channels as have room."""
    if is_read_in_place:
        yield from numpy_tiles.tiles(shifts, n, channels, itemsize, box, last=False)
        return
    for tile in numpy_tiles.tiles(shifts, channels, n, itemsize, box, last=False):
        yield Tile(tile.channels, tile.samples, tile.outputs)


def _one_tile(x: Array, w: Array, y: Array, shifts: Shifts, tile: Tile, is_read_in_place: bool) -> None:
    """Read a tile where it stands, or copy it; compute its outputs where they belong, or leave out what is between rows."""
    subscripts = f"NC{(taps := TAPS[: len(shifts.axes)])}L,C{taps}->LNC"
    (part,) = shifts.passes
    if is_read_in_place:
        memory = numpy_tiles.in_place(np.moveaxis(x, 1, -1), shifts, tile)[0]
        read = np.lib.stride_tricks.as_strided(
            memory,
            (len(y), len(w), *w.shape[1:], y.shape[-1]),
            (memory.strides[0], memory.strides[-1], part.steps[0] * x.itemsize, x.itemsize),
        )
        found = y if y.strides[-1] == y.itemsize else np.empty(y.shape, y.dtype)
        np.einsum(subscripts, read, w, out=found.transpose(2, 0, 1), order="F")
        if found is not y:
            numpy_tiles.assign(y, found)
        return
    memory, pitches = _padded(x, shifts, tile)
    (c, size), n = memory.shape, len(y)
    steps = [step * pitch for step, pitch in zip(part.steps, pitches[1:], strict=True)]
    length = numpy_tiles.extent((n, *tile.sizes), pitches)  # up to the last output of the last sample
    read = numpy_tiles.view(memory, 0, (1, c, *w.shape[1:], length), (0, size, *steps, 1))
    found = np.empty((c, length), y.dtype)
    np.einsum(subscripts, read, w, out=found[:, None].transpose(2, 1, 0), order="F")
    y[...] = numpy_tiles.view(found, 0, (n, c, *tile.sizes), (pitches[0], length, *pitches[1:]))


def _padded(x: Array, shifts: Shifts, tile: Tile) -> tuple[Array, list[int]]:
    """The input of a tile, (c, samples and positions), and the pitches of samples and positions.

    The padding after a row is that before the next one, too.
    """
    lengths = shifts.lengths(tile.sizes)
    begins = [part.start - axis.pad_lo for axis, part in zip(shifts.axes, tile.outputs, strict=True)]
    inputs_of = zip(begins, lengths, shifts.axes, strict=True)
    met = [numpy_tiles.inputs(begin, length, axis.input_size) for begin, length, axis in inputs_of]
    inputs = (slice(begin + lo, begin + hi) for begin, (lo, hi) in zip(begins, met, strict=True))
    x = x[(tile.samples, tile.channels, *inputs)]
    n, c = x.shape[:2]
    steps = [length - min(lo, length - hi) for (lo, hi), length in zip(met, lengths, strict=True)]
    pitches = numpy_tiles.pitches((n, *steps))
    size = numpy_tiles.extent((n, *lengths), pitches)
    first = sum(lo * pitch for (lo, _), pitch in zip(met, pitches[1:], strict=True))
    memory = np.zeros((c, size), x.dtype)
    if x.size:  # or else there is padding alone
        numpy_tiles.view(memory, first, x.shape, (pitches[0], size, *pitches[1:]))[...] = x
    return memory, pitches
