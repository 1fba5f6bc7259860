"""Blocks of samples, groups and rows whose working set stays in cache."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from triconv.backends.base import Standard, permute_dims
from triconv.geometry import Axis, Geometry

Array = Any

# bytes of the working set of a block: of the order of a core's second-level cache
BLOCK = 2 * 2**20
# the same on an accelerator, where each block is a call and cache is no matter: what memory allows
CALL = 64 * 2**20


def most(size: float, a: Array, lib: Standard) -> float:
    """Elements of a block that works on `a`: `size` bytes of them, where that is about the caches of a CPU."""
    itemsize, _ = lib.element(a.dtype)
    return size / itemsize if lib.device_kind(a) == "cpu" else max(CALL / itemsize, 2 * math.prod(a.shape))


def each(f: Callable[..., Array], x: Array, weights: list[Array], size: float, lib: Standard, most: float) -> Array:
    """``f(x, *weights)`` for an `f` that treats samples and groups alike, block by block.

    Parameters
    ----------
    f : callable
        Takes x of shape (groups, n, ...) and arrays of shape (groups, ...), gives one of shape (groups, n, ...).
    x : array, shape (groups, n, ...)
        The samples.
    weights : list of array, shape (groups, ...)
        What all samples share.
    size : float
        Elements of the working set of `f` for one sample of one group.
    lib : Standard
        The arrays' library.
    most : float
        Elements of the working set of a block.

    Returns
    -------
    array, shape (groups, n, ...)
    """
    groups, n = x.shape[:2]
    samples, width = _counts(groups, n, size, most, lib)
    if (samples, width) == (n, groups):
        return f(x, *weights)
    x = _exchanged(x, lib)  # (n, groups, ...): the samples stand first in what users have
    if width == groups:
        y = _each_in_blocks(lambda x: _exchanged(f(_exchanged(x, lib), *weights), lib), [x], samples, lib)
        return _exchanged(y, lib)

    def sample(x: Array) -> Array:  # (groups, ...)
        return _each_in_blocks(lambda x, *weights: f(x[:, None, ...], *weights)[:, 0, ...], [x, *weights], width, lib)

    return _exchanged(_loop(lib.each, sample, x), lib)


def total(f: Callable[..., Array], g: Array, x: Array, size: float, lib: Standard, most: float) -> Array:
    """``f(g, x)``, of shape (groups, ...), for an `f` that sums over the samples; otherwise as `each`."""
    groups, n = x.shape[:2]
    samples, width = _counts(groups, n, size, most, lib)
    if (samples, width) == (n, groups):
        return f(g, x)
    g, x = _exchanged(g, lib), _exchanged(x, lib)
    if width == groups:
        return _total_in_blocks(lambda g, x: f(_exchanged(g, lib), _exchanged(x, lib)), [g, x], samples, lib)

    def sample(g: Array, x: Array) -> Array:  # (groups, ...)
        return _each_in_blocks(lambda g, x: f(g[:, None, ...], x[:, None, ...]), [g, x], width, lib)

    return lib.total(sample, g, x) if n > 1 else sample(g[0, ...], x[0, ...])


def each_rows(
    f: Callable[..., Array], x: Array, geometry: Geometry, rows: int, lib: Standard, *, by_sample: bool = False
) -> Array:
    """``f(x, geometry)``, a convolution by windows, for some outputs (`rows`) of the first spatial axis at a time.

    Of all samples, or `by_sample`, where there is one group: then a loop over the samples has no other within, for which XLA
    would copy each sample and its result.
    """
    count, geometry_, x = _rows(x, geometry, rows, lib)
    if count == 1:
        return f(x, geometry_)
    samples = x.shape[1] if by_sample else 1
    x_rows = _reader(x, rows * geometry.axes[0].stride, geometry_.input_size[0], samples, lib)
    y = lib.joined(lambda number: f(x_rows(number // count, number % count), geometry_), {1: samples, 3: count})
    return y[:, :, :, : geometry.output_size[0], ...]


def total_rows(
    f: Callable[..., Array],
    g: Array,
    x: Array,
    geometry: Geometry,
    rows: int,
    lib: Standard,
    *,
    by_sample: bool = False,
) -> Array:
    """``f(g, x, geometry)``, which sums over the outputs; otherwise as `each_rows`."""
    count, geometry_, x = _rows(x, geometry, rows, lib)
    if count == 1:
        return f(g, x, geometry_)
    samples = x.shape[1] if by_sample else 1
    g = lib.pad(g, [(0, count * rows - g.shape[3]), *[(0, 0)] * (g.ndim - 4)])
    g_rows = _reader(g, rows, rows, samples, lib)
    x_rows = _reader(x, rows * geometry.axes[0].stride, geometry_.input_size[0], samples, lib)

    def block(number: Array) -> Array:
        place = number // count, number % count
        return f(g_rows(*place), x_rows(*place), geometry_)

    return lib.total(block, lib.positions(range(samples * count)))


def _rows(x: Array, geometry: Geometry, rows: int, lib: Standard) -> tuple[int, Geometry, Array]:
    """The number of blocks, the geometry of each, and x with what padding all of them need."""
    if not geometry.axes or rows >= geometry.axes[0].output_size:
        return 1, geometry, x
    axis, *others = geometry.axes
    count = -(-axis.output_size // rows)
    extent = (rows - 1) * axis.stride + axis.dilated_kernel
    end = (count - 1) * rows * axis.stride + extent - axis.input_size - axis.pad_lo
    x = lib.pad(x, [(axis.pad_lo, end), *[(0, 0)] * len(others)])
    block = Axis(extent, axis.kernel_size, axis.stride, axis.dilation)
    return count, Geometry((block, *others), geometry.groups), x


def _reader(a: Array, step: int, size: int, samples: int, lib: Standard) -> Callable[[Any, Any], Array]:
    """What a block of a sample reads: `size` positions of the first spatial axis, a `step` further for each block.

    The other axes are merged meanwhile: to loop over an array with axes of length 1, XLA may copy it.
    """
    front = (samples,) if samples > 1 else ()
    merged = lib.xp.reshape(a, (*front, math.prod(a.shape[:3]) // samples, a.shape[3], math.prod(a.shape[4:])))
    shape = (a.shape[0], a.shape[1] // samples, a.shape[2], size, *a.shape[4:])

    def read(sample: Any, number: Any) -> Array:
        starts = (*[sample] * len(front), 0, number * step, 0)
        return lib.xp.reshape(
            lib.window(merged, starts, (*[1] * len(front), merged.shape[-3], size, merged.shape[-1])), shape
        )

    return read


def _counts(groups: int, n: int, size: float, most: float, lib: Standard) -> tuple[int, int]:
    """How many samples, and how many groups, a block has: some samples of all groups, or some groups of one sample.

    Samples come first, since they stand first in what users have.
    """
    samples = block(n, most / max(size * groups, 1), lib)
    return samples, groups if samples > 1 else block(groups, most / max(size, 1), lib)


def block(number: int, most: float, lib: Standard) -> int:
    """How many of a `number` to take at a time, up to `most` and at least 1: as many in each block, or a few less in the last.

    A compiler has a program for what is left over, so there it is nothing if blocks need not be much smaller for that.
    """
    exact = divisor(number, most) if lib.compiles else 0
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


def _each_in_blocks(f: Callable[..., Array], arrays: list[Array], count: int, lib: Standard) -> Array:
    """``f(*arrays)`` for an `f` that treats what is along their first axes alike, `count` of it at a time."""
    heads, tails = _split(arrays, count, lib)
    y = _loop(lib.each, f, *heads)
    y = lib.xp.reshape(y, (y.shape[0] * y.shape[1], *y.shape[2:]))
    return lib.xp.concat([y, f(*tails)], axis=0) if tails else y


def _total_in_blocks(f: Callable[..., Array], arrays: list[Array], count: int, lib: Standard) -> Array:
    """The same for an `f` that sums over it."""
    heads, tails = _split(arrays, count, lib)
    y = lib.total(f, *heads)
    return y + f(*tails) if tails else y


def _split(arrays: list[Array], count: int, lib: Standard) -> tuple[list[Array], list[Array]]:
    """The arrays with their first axes in blocks of `count`, shape (blocks, count, ...), and what is left over, if any."""
    whole, rest = divmod(arrays[0].shape[0], count)
    heads = [a[: whole * count, ...] for a in arrays] if rest else arrays
    heads = [lib.xp.reshape(a, (whole, count, *a.shape[1:])) for a in heads]
    return heads, [a[whole * count :, ...] for a in arrays] if rest else []


def _exchanged(a: Array, lib: Standard) -> Array:
    """Samples and groups exchanged."""
    return permute_dims(a, (1, 0, *range(2, a.ndim)), lib.xp)


def _loop(loop: Callable[..., Array], f: Callable[..., Array], *arrays: Array) -> Array:
    """The loop, or what it would do if there is a single block."""
    if arrays[0].shape[0] == 1:
        return f(*(a[0, ...] for a in arrays))[None, ...]
    return loop(f, *arrays)
