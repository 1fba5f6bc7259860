"""Loops over blocks of samples, groups and rows whose working set stays in cache."""

from __future__ import annotations

import functools
import math
import operator
from collections.abc import Callable
from typing import Any

from triconv.backends.array_operations import permute_dims
from triconv.backends.base import Standard
from triconv.geometry import Axis, Geometry
from triconv.kernels.problem import FIRST, Problem
from triconv.kernels.schedule import Schedule
from triconv.kernels.target import Target

Array = Any


def map_samples(f: Callable[..., Array], x: Array, weights: list[Array], schedule: Schedule, lib: Standard) -> Array:
    """``f(x, *weights)``, of shape (groups, n, ...), for an `f` that treats samples and groups alike, block by block.

    `x` has the shape (groups, n, ...), and the weights, which all samples share, (groups, ...).
    """
    samples, width = schedule.samples, schedule.groups
    if not (samples or width):
        return f(x, *weights)
    if schedule.in_tiles:
        tile = (width or x.shape[0], samples or x.shape[1])
        return lib.map_tiles(lambda a, b: f(x[a, b, ...], *(w[a, ...] for w in weights)), x.shape[:2], tile)
    if not width:
        x_order, _, y_order = schedule.orders

        def block(x: Array) -> Array:
            return samples_first(f(canonical(x, x_order, lib), *weights), y_order, lib)

        return canonical(_map_in_blocks(block, [samples_first(x, x_order, lib)], samples, lib), y_order, lib)
    x = samples_first(x, "first", lib)

    def sample(x: Array) -> Array:  # (groups, ...)
        return _map_in_blocks(lambda x, *weights: f(x[:, None, ...], *weights)[:, 0, ...], [x, *weights], width, lib)

    return canonical(_loop(lib.map_blocks, sample, x), "first", lib)


def sum_samples(f: Callable[..., Array], g: Array, x: Array, schedule: Schedule, lib: Standard) -> Array:
    """``f(g, x)``, of shape (groups, ...), for an `f` that sums over the samples; otherwise as `map_samples`."""
    samples, width = schedule.samples, schedule.groups
    if not (samples or width):
        return f(g, x)
    n = x.shape[1]
    if schedule.in_tiles:
        starts = range(0, n, samples or n)

        def tile(a: slice, _: slice) -> Array:  # each is summed in one order
            parts = (f(g[a, i : i + (samples or n), ...], x[a, i : i + (samples or n), ...]) for i in starts)
            return functools.reduce(operator.add, parts)[:, None, ...]

        return lib.map_tiles(tile, (x.shape[0], 1), (width or x.shape[0], 1))[:, 0, ...]
    x_order, _, g_order = schedule.orders if not width else FIRST
    g, x = samples_first(g, g_order, lib), samples_first(x, x_order, lib)
    if not width:
        return _sum_in_blocks(
            lambda g, x: f(canonical(g, g_order, lib), canonical(x, x_order, lib)), [g, x], samples, lib
        )

    def sample(g: Array, x: Array) -> Array:  # (groups, ...)
        return _map_in_blocks(lambda g, x: f(g[:, None, ...], x[:, None, ...]), [g, x], width, lib)

    return lib.sum_blocks(sample, g, x) if n > 1 else sample(g[0, ...], x[0, ...])


def map_rows(
    f: Callable[..., Array], x: Array, geometry: Geometry, rows: int, lib: Standard, *, axis: int = 3
) -> Array:
    """``f(x, geometry)``, a convolution by windows, for `rows` outputs of the first axis at a time; 0 for all at once.

    That is the array's `axis`: of a canonical array, the fourth.
    """
    if not rows:
        return f(x, geometry)
    count, part, x = _rows(x, geometry, rows, axis, lib)
    x_rows = _reader(x, rows * geometry.axes[0].stride, part.input_size[0], axis, lib)
    y = lib.write_blocks(lambda number: f(x_rows(number), part), count, axis)
    return y[(*[slice(None)] * axis, slice(geometry.output_size[0]), ...)]


def sum_rows(
    f: Callable[..., Array], g: Array, x: Array, geometry: Geometry, rows: int, lib: Standard, *, axis: int = 3
) -> Array:
    """``f(g, x, geometry)``, which sums over the outputs, likewise."""
    if not rows:
        return f(g, x, geometry)
    count, part, x = _rows(x, geometry, rows, axis, lib)
    g = lib.pad(g, [(0, count * rows - g.shape[axis]), *[(0, 0)] * (g.ndim - 1 - axis)])
    g_rows = _reader(g, rows, rows, axis, lib)
    x_rows = _reader(x, rows * geometry.axes[0].stride, part.input_size[0], axis, lib)
    return lib.sum_blocks(lambda number: f(g_rows(number), x_rows(number), part), lib.positions(range(count)))


def _rows(x: Array, geometry: Geometry, rows: int, number: int, lib: Standard) -> tuple[int, Geometry, Array]:
    """The number of blocks, the geometry of each, and x with what padding all of them need along the axis of this number."""
    axis, *others = geometry.axes
    count = -(-axis.output_size // rows)
    extent = (rows - 1) * axis.stride + axis.dilated_kernel
    end = (count - 1) * rows * axis.stride + extent - axis.input_size - axis.pad_lo
    x = lib.pad(x, [(axis.pad_lo, end), *[(0, 0)] * (x.ndim - 1 - number)])
    block = Axis(extent, axis.kernel_size, axis.stride, axis.dilation)
    return count, Geometry((block, *others), geometry.groups), x


def _reader(a: Array, step: int, size: int, axis: int, lib: Standard) -> Callable[[Any], Array]:
    """What a block reads: `size` positions of an axis, a `step` further for each block.

    The other axes are merged: to loop over an array with axes of length 1, XLA may copy it.
    """
    before, after = a.shape[:axis], a.shape[axis + 1 :]
    merged = lib.xp.reshape(a, (math.prod(before), a.shape[axis], math.prod(after)))

    def read(number: Any) -> Array:
        sizes = (merged.shape[0], size, merged.shape[2])
        return lib.xp.reshape(lib.window(merged, (0, number * step, 0), sizes), (*before, size, *after))

    return read


def block_of(view: Problem, size: float, most: float, target: Target) -> tuple[int, int]:
    """How many samples, and how many groups, a block has whose working set is `most` elements, if a sample's is `size`.

    Some samples of all groups, or some groups of one sample; 0 for all. Samples come first, since they stand first in what
    users have.
    """
    samples = even_block(view.n, most / max(size * view.groups, 1), target)
    width = view.groups if samples > 1 else even_block(view.groups, most / max(size, 1), target)
    if (samples, width) == (view.n, view.groups):
        return 0, 0
    return samples, width if width < view.groups else 0


def even_block(number: int, most: float, target: Target) -> int:
    """How many of a `number` to take at a time, up to `most` and at least 1: as many in each block, or a few less in the last.

    A smaller last block costs a program of its own in a compiler, and a copy of the whole result in NumPy. So there all blocks
    are equal, unless they would be less than half of `most`.
    """
    exact = divisor(number, most) if target.compiled or target.window_views else 0
    return exact if exact and 2 * exact >= min(most, number) else even(number, most)


def even(number: int, most: float) -> int:
    """The size, up to `most`, of as few blocks as that allows."""
    if number <= 1:
        return 1
    count = -(-number // max(1, int(min(most, number))))
    return -(-number // count)


def divisor(number: int, most: float) -> int:
    """The largest divisor of `number` up to `most`, at least 1."""
    small = [d for d in range(1, math.isqrt(number) + 1) if number % d == 0]
    return max((d for d in (*small, *(number // d for d in small)) if d <= most), default=1)


def _map_in_blocks(f: Callable[..., Array], arrays: list[Array], count: int, lib: Standard) -> Array:
    """``f(*arrays)`` for an `f` that treats what is along their first axes alike, `count` of it at a time."""
    heads, tails = _split(arrays, count, lib)
    y = _loop(lib.map_blocks, f, *heads)
    y = lib.xp.reshape(y, (y.shape[0] * y.shape[1], *y.shape[2:]))
    return lib.xp.concat([y, f(*tails)], axis=0) if tails else y


def _sum_in_blocks(f: Callable[..., Array], arrays: list[Array], count: int, lib: Standard) -> Array:
    """The same for an `f` that sums over it."""
    heads, tails = _split(arrays, count, lib)
    y = lib.sum_blocks(f, *heads)
    return y + f(*tails) if tails else y


def _split(arrays: list[Array], count: int, lib: Standard) -> tuple[list[Array], list[Array]]:
    """The arrays with their first axes in blocks of `count`, shape (blocks, count, ...), and what is left over, if any."""
    whole, rest = divmod(arrays[0].shape[0], count)
    heads = [a[: whole * count, ...] for a in arrays] if rest else arrays
    heads = [lib.xp.reshape(a, (whole, count, *a.shape[1:])) for a in heads]
    return heads, [a[whole * count :, ...] for a in arrays] if rest else []


def samples_first(a: Array, order: str, lib: Standard) -> Array:
    """A canonical array with its samples first, as users have them, in the order in which it stands in memory.

    That is (n, groups, channels, *positions), or (n, *positions, groups, channels) with channels "last".
    """
    behind = (*range(3, a.ndim), 0, 2) if order == "last" else (0, *range(2, a.ndim))
    return permute_dims(a, (1, *behind), lib.xp)


def positions_first(a: Array, lib: Standard) -> Array:
    """A canonical array with channels last as it stands in memory, and all of them one axis: (n, *positions, channels)."""
    return lib.xp.reshape(samples_first(a, "last", lib), (a.shape[1], *a.shape[3:], a.shape[0] * a.shape[2]))


def canonical(a: Array, order: str, lib: Standard) -> Array:
    """Undo `samples_first`."""
    last = a.ndim - 1
    others = (0, last, *range(1, last - 1)) if order == "last" else (0, *range(2, a.ndim))
    return permute_dims(a, (last - 1 if order == "last" else 1, *others), lib.xp)


def _loop(loop: Callable[..., Array], f: Callable[..., Array], *arrays: Array) -> Array:
    """The loop, or what it would do if there is a single block."""
    if arrays[0].shape[0] == 1:
        return f(*(a[0, ...] for a in arrays))[None, ...]
    return loop(f, *arrays)
