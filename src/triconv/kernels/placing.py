"""One product of the input and all taps, then each is added where it belongs: for convolutions that widen their input.

The input of a transposed convolution meets far more outputs than windows have inputs::

    p[t, k, n, i] = sum over c of  w[k, c, t] * x[n, c, i]          y[k, n, o] = sum of p[t, k, n, i]  where i and o meet at t

As many taps as the input is dilated are a tile, whose products stand side by side in the output: a change of shape. Longer
kernels are layers of tiles that are added.
"""

from __future__ import annotations

import functools
import itertools
import math
import operator
from typing import Any

from triconv.backends.base import Standard, permute_dims
from triconv.geometry import Geometry
from triconv.kernels import blocks, polyphase, tap_loops, tiles
from triconv.kernels.problem import Problem, Work

Array = Any

# bytes of all samples whose products are placed at once
PLACED = 16 * 2**20
# rows of a product that are few
FEW = 96
# elements of a cache line
LINE = 16
# layers of tiles that a program may have
LAYERS = 64


def serves(c: int, k: int, geometry: Geometry) -> bool:
    """Whether to place products: for far more input channels, or where windows would make a phase an element."""
    if tiles.is_tiling(geometry):
        return False
    if _in_layers(geometry):
        return True
    upsamples = all(axis.stride <= axis.input_dilation for axis in geometry.axes)
    return c >= 4 * k and upsamples and math.prod(geometry.kernel_size) <= tap_loops.UNROLLED


def _layers(geometry: Geometry) -> int:
    """How many layers of tiles, each of as many taps as the input is dilated, the products are; 0 if they make no tiles."""
    if any(axis.stride != 1 or axis.dilation != 1 for axis in geometry.axes):
        return 0
    return math.prod(-(-axis.kernel_size // axis.input_dilation) for axis in geometry.axes)


def _in_layers(geometry: Geometry) -> bool:
    """Whether to place products by layers of tiles: a single one, or a few instead of many phases."""
    count = math.prod(axis.input_dilation for axis in geometry.axes)
    return _layers(geometry) == 1 or (0 < _layers(geometry) <= LAYERS and count > polyphase.MOST)


def _in_lines(k: int, geometry: Geometry) -> bool:
    """Whether products are rows of tiles that fill whole cache lines."""
    if _layers(geometry) != 1 or k * math.prod(geometry.kernel_size) < FEW:
        return False
    return all(axis.kernel_size == axis.input_dilation and axis.kernel_size % LINE == 0 for axis in geometry.axes[-1:])


def conv(x: Array, w: Array, geometry: Geometry, lib: Standard) -> Array:
    """One product for all taps, then each is added where it belongs."""
    k, c, *kernel = w.shape[1:]
    in_layers, in_lines = _in_layers(geometry), _in_lines(k, geometry)
    parts = [] if in_layers else list(geometry.phases())
    product = _product_in_lines if in_lines else _product
    w = lib.xp.flip(w, axis=tuple(range(3, w.ndim))) if in_layers else w
    w = permute_dims(w, (0, 2, 1, *range(3, w.ndim)) if in_lines else (0, *range(3, w.ndim), 1, 2), lib.xp)

    def block(x: Array, w: Array) -> Array:
        products = product(x, w, lib)
        if in_layers:
            y = _placed_in_layers(products, geometry, lib)
        else:
            outputs = [placed(products[(slice(None), *part.taps, ...)], part.geometry, lib) for part in parts]
            y = polyphase.join(outputs, [part.output for part in parts], geometry.output_size, lib)
        return exchanged(y, lib)

    size, most = math.prod(geometry.input_size) * (c + math.prod(kernel) * k), blocks.most(PLACED, x, lib)
    if not lib.compiles or size * math.prod(x.shape[:2]) > most:
        most = blocks.most(blocks.BLOCK, x, lib)
    return blocks.each(block, x, [w], size, lib, most)


def _product(x: Array, w: Array, lib: Standard) -> Array:
    """Products, (groups, *kernel, k, n, *input), of x and a kernel (groups, *kernel, k, c)."""
    groups, n, c = x.shape[:3]
    columns = lib.xp.reshape(exchanged(x, lib), (groups, c, -1))
    products = lib.matmul(lib.xp.reshape(w, (groups, -1, c)), columns)
    return lib.xp.reshape(products, (*w.shape[:-1], n, *x.shape[3:]))


def _product_in_lines(x: Array, w: Array, lib: Standard) -> Array:
    """The same, of a kernel (groups, c, k, *kernel): taps stand in rows, to be placed a cache line at a time."""
    (groups, n, c), ndim = x.shape[:3], x.ndim - 3
    rows = lib.xp.reshape(permute_dims(x, (0, 1, *range(3, x.ndim), 2), lib.xp), (groups, -1, c))
    products = lib.matmul(rows, lib.xp.reshape(w, (groups, c, -1)))
    products = lib.xp.reshape(products, (groups, n, *x.shape[3:], *w.shape[2:]))
    first = 2 + ndim  # the axis of output channels
    order = (0, *range(first + 1, first + 1 + ndim), first, *range(1, first))
    return permute_dims(products, order, lib.xp)


def placed(products: Array, geometry: Geometry, lib: Standard) -> Array:
    """The outputs, (groups, k, n, *output, ...), of products (groups, *kernel, k, n, *input, ...), each added in its place."""
    ndim = len(geometry.axes)
    front, rest = products.shape[1 + ndim : 3 + ndim], products.shape[3 + 2 * ndim :]
    y = lib.zeros((products.shape[0], *front, *geometry.output_size, *rest), products)
    for tap in geometry.taps():
        part = products[(slice(None), *tap.index, slice(None), slice(None), *tap.input, ...)]
        y = lib.add_at(y, (*tap.output, *map(slice, rest)), part)
    return y


def _placed_in_layers(products: Array, geometry: Geometry, lib: Standard) -> Array:
    """The same by layers of tiles, of products with taps in reverse.

    No two products of a layer fall on the same output, so it is a change of shape.
    """
    axes, ndim = geometry.axes, len(geometry.axes)
    order = [axis for pair in zip(range(3 + ndim, 3 + 2 * ndim), range(1, 1 + ndim), strict=True) for axis in pair]
    # groups, k, n, and the input and the tap of each axis
    products = permute_dims(products, (0, 1 + ndim, 2 + ndim, *order), lib.xp)
    layers = []
    for first in itertools.product(*(range(0, axis.kernel_size, axis.input_dilation) for axis in axes)):
        pieces = [slice(t, min(t + axis.input_dilation, axis.kernel_size)) for t, axis in zip(first, axes, strict=True)]
        tile = products[(..., *(s for piece in pieces for s in (slice(None), piece)))]
        gaps = [axis.input_dilation - (piece.stop - piece.start) for piece, axis in zip(pieces, axes, strict=True)]
        tile = lib.pad(tile, [pair for gap in gaps for pair in ((0, 0), (0, gap))])
        tile = lib.xp.reshape(tile, (*tile.shape[:3], *(axis.input_size * axis.input_dilation for axis in axes)))
        starts = [t + axis.pad_lo - (axis.kernel_size - 1) for t, axis in zip(first, axes, strict=True)]
        sizes = zip(starts, geometry.output_size, tile.shape[3:], strict=True)
        layers.append(lib.pad(tile, [(lo, size - whole - lo) for lo, size, whole in sizes]))
    return functools.reduce(operator.add, layers)


def exchanged(a: Array, lib: Standard) -> Array:
    """Samples and channels exchanged."""
    return permute_dims(a, (0, 2, 1, *range(3, a.ndim)), lib.xp)


def work(problem: Problem) -> Work:
    """One product with all taps, written and read again."""
    windows = problem.by_windows()
    geometry, item = windows.geometry, problem.itemsize
    positions, rows = math.prod(geometry.input_size), windows.k * windows.taps
    products = problem.groups * problem.n * item * rows * positions
    operations = 16 + (4 * _layers(geometry) if _in_layers(geometry) else windows.taps)
    amount = products / item * windows.c * (1 + 12 / rows)
    sample = item * positions * (windows.c + rows)
    temporary = min(problem.groups * problem.n * sample, max(PLACED, sample)) + 2 * problem.bytes_of["w"]
    return Work("matrix", amount, 2 * products, temporary, operations, "one product, then the taps placed")
