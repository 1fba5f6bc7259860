"""Unfold and multiply: each block of the input becomes a matrix of windows, and the taps one matrix product.

The windows of the trailing axis stand as channels in the unfolded input, and samples are one more position::

    u[t, c, n, i.., o] = x[n, c, i.., stride * o + dilation * t]

    y[k, n, o.., o] = sum over the taps of the leading axes of  w[k, t, c] @ u[t, c, n, o.. + t.., o]

so the taps of the leading axes are a few large matrix products with slices of it. All axes are unfolded where that makes
few rows, or where the windows do not overlap and unfolding is a mere change of shape. Where there are far fewer output
than input channels, the order is turned round: one product for all taps at all inputs, then each is added where it belongs.

An input dilation (and so the input VJP of a strided convolution) goes by `Geometry.phases`: no zero is inserted. The
multiply-adds are those of `direct`, and those with the padding.
"""

from __future__ import annotations

import functools
import itertools
import math
import operator
from collections.abc import Iterator
from typing import Any

from triconv.backends.standard import Standard, permute_dims
from triconv.geometry import Axis, Geometry, Phase
from triconv.kernels import blocks, phases, taps
from triconv.kernels.work import Problem, Work

Array = Any

# rows of the unfolded input up to which all axes are unfolded at once
ROWS = 160
# bytes of an unfolded input that is read once, for which blocks of rows would be no gain
ONCE = 32 * 2**20
# phases above which products are placed instead
PHASES = 16


def conv(x: Array, w: Array, geometry: Geometry, lib: Standard) -> Array:
    """``y = w @ unfold(x)``."""
    if _places(x.shape[2], w.shape[1], geometry):
        return _conv_by_placing(x, w, geometry, lib)
    parts = list(geometry.phases())
    kernels = [w[(..., *part.taps)] for part in parts]
    is_long = [_is_long(part.geometry) for part in parts]
    # a short kernel is brought into matrices once, not once a block
    kernels = [k if long else _matrices(k, p.geometry, lib) for k, p, long in zip(kernels, parts, is_long, strict=True)]

    def block(x: Array, *kernels: Array) -> Array:
        outputs = [
            taps.total(_conv_long, x, kernel, part.geometry, lib)
            if long
            else _conv_windows(x, kernel, part.geometry, lib)
            for part, kernel, long in zip(parts, kernels, is_long, strict=True)
        ]
        return phases.join(outputs, [part.output for part in parts], geometry.output_size, lib)

    size = sum(_size(x, part.geometry) for part in parts)
    return blocks.each(block, x, kernels, size, lib)


def conv_input_vjp(g: Array, w: Array, geometry: Geometry, lib: Standard) -> Array:
    """`conv` of the mirrored geometry."""
    return conv(g, phases.mirrored(w, lib), geometry.mirrored(), lib)


def conv_weight_vjp(g: Array, x: Array, geometry: Geometry, lib: Standard) -> Array:
    """``gw = g @ unfold(x)^T``, summed over the samples."""
    parts = list(geometry.phases())

    def block(g: Array, x: Array) -> Array:
        kernels = [
            taps.each(_weight_vjp_windows, g[(..., *part.output)], x, part.geometry, lib)
            if _is_long(part.geometry)
            else _weight_vjp_windows(g[(..., *part.output)], x, part.geometry, lib)
            for part in parts
        ]
        return phases.join(kernels, [part.taps for part in parts], geometry.kernel_size, lib)

    size = sum(_size(x, part.geometry) for part in parts)
    return blocks.total(block, g, x, size, lib)


def _size(x: Array, geometry: Geometry) -> float:
    """Bytes of the unfolded input of one sample and group."""
    axes, unfolded = geometry.axes, _unfolded(geometry, x.shape[2])
    lead, trail = axes[: len(axes) - unfolded], axes[len(axes) - unfolded :]
    positions = math.prod(axis.padded_size for axis in lead) * math.prod(axis.output_size for axis in trail)
    rows = x.shape[2] * math.prod(axis.kernel_size for axis in trail)
    return 4 * (min(rows, x.shape[2] * taps.STEP) if _is_long(geometry) else rows) * positions


def _rows(x: Array, geometry: Geometry) -> int:
    """How many outputs of the first axis to take at a time: all, unless they are far too many for a block."""
    if not geometry.axes:
        return 1
    size, rows = x.shape[0] * x.shape[1] * _size(x, geometry), geometry.axes[0].output_size
    once = _unfolded(geometry, x.shape[2]) == len(geometry.axes)
    return rows if size <= (ONCE if once else 2 * blocks.BLOCK) else max(1, int(rows * blocks.BLOCK / size))


def _is_long(geometry: Geometry) -> bool:
    """Whether the taps have to be looped over."""
    return math.prod(geometry.kernel_size) > taps.UNROLLED and not _is_tiling(geometry)


def _unfolded(geometry: Geometry, channels: int) -> int:
    """How many trailing axes are unfolded."""
    ndim = len(geometry.axes)
    if _is_tiling(geometry) or channels * math.prod(geometry.kernel_size) <= ROWS:
        return ndim
    return min(1, ndim)


def _places(c: int, k: int, geometry: Geometry) -> bool:
    """Whether to place products: for far more input channels, or where windows would make a phase an element."""
    if _is_tiling(geometry):
        return False
    if _layers(geometry) == 1 or (
        _layers(geometry) and math.prod(axis.input_dilation for axis in geometry.axes) > PHASES
    ):
        return True
    upsamples = all(axis.stride <= axis.input_dilation for axis in geometry.axes)
    return c >= 4 * k and upsamples and math.prod(geometry.kernel_size) <= taps.UNROLLED


def _layers(geometry: Geometry) -> int:
    """How many layers of tiles, each of as many taps as the input is dilated, the products are; 0 if they make no tiles."""
    if any(axis.stride != 1 or axis.dilation != 1 for axis in geometry.axes):
        return 0
    return math.prod(-(-axis.kernel_size // axis.input_dilation) for axis in geometry.axes)


def _in_layers(geometry: Geometry) -> bool:
    """Whether to place products by layers of tiles: a single one, or fewer than there would be phases."""
    phases_ = math.prod(axis.input_dilation for axis in geometry.axes)
    return _layers(geometry) == 1 or (_layers(geometry) > 0 and phases_ > PHASES)


def _is_tiling(geometry: Geometry) -> bool:
    """Whether no two windows have an input in common."""
    return all(axis.input_dilation == axis.dilation == 1 and axis.kernel_size <= axis.stride for axis in geometry.axes)


def _matrices(w: Array, geometry: Geometry, lib: Standard) -> Array:
    """One matrix a tap of the leading axes, shape (groups, taps, k, trailing taps * c)."""
    groups, k, c, *kernel = w.shape
    lead = len(kernel) - _unfolded(geometry, c)
    w = permute_dims(w, (0, *range(3, 3 + lead), 1, *range(3 + lead, w.ndim), 2), lib.xp)
    return lib.xp.reshape(w, (groups, math.prod(kernel[:lead]), k, math.prod(kernel[lead:]) * c))


def _conv_long(x: Array, w: Array, geometry: Geometry, lib: Standard) -> Array:
    """`conv` of some taps of a phase, of one block."""
    return _conv_windows(x, _matrices(w, geometry, lib), geometry, lib)


def _conv_windows(x: Array, matrices: Array, geometry: Geometry, lib: Standard) -> Array:
    """`conv` of one phase and block."""
    return blocks.each_rows(lambda x, part: _conv_rows(x, matrices, part, lib), x, geometry, _rows(x, geometry), lib)


def _conv_rows(x: Array, matrices: Array, geometry: Geometry, lib: Standard) -> Array:
    u, lead = _unfold(x, geometry, lib)
    products = (
        lib.matmul(w_t, _columns(u, tap, lead, lib)) for w_t, tap in zip(_each(matrices), _taps(lead), strict=True)
    )
    y = functools.reduce(operator.add, products)
    y = lib.xp.reshape(y, (*y.shape[:2], x.shape[1], *geometry.output_size))
    return permute_dims(y, (0, 2, 1, *range(3, y.ndim)), lib.xp)


def _weight_vjp_windows(g: Array, x: Array, geometry: Geometry, lib: Standard) -> Array:
    """`conv_weight_vjp` of one phase and block."""
    rows = _rows(x, geometry)
    return blocks.total_rows(lambda g, x, part: _weight_vjp_rows(g, x, part, lib), g, x, geometry, rows, lib)


def _weight_vjp_rows(g: Array, x: Array, geometry: Geometry, lib: Standard) -> Array:
    u, lead = _unfold(x, geometry, lib)
    g = lib.xp.reshape(permute_dims(g, (0, 2, 1, *range(3, g.ndim)), lib.xp), (g.shape[0], g.shape[2], -1))
    products = [lib.matmul_transposed(g, _columns(u, tap, lead, lib)) for tap in _taps(lead)]
    sizes = [[axis.kernel_size for axis in axes] for axes in (lead, geometry.axes[len(lead) :])]
    gw = lib.xp.reshape(lib.xp.stack(products, axis=1), (g.shape[0], *sizes[0], g.shape[1], *sizes[1], x.shape[2]))
    last = gw.ndim - 1
    return permute_dims(gw, (0, 1 + len(lead), last, *range(1, 1 + len(lead)), *range(2 + len(lead), last)), lib.xp)


def _each(matrices: Array) -> Iterator[Array]:
    return (matrices[:, number, ...] for number in range(matrices.shape[1]))


def _taps(axes: tuple[Axis, ...]) -> itertools.product[tuple[int, ...]]:
    return itertools.product(*(range(axis.kernel_size) for axis in axes))


def _columns(u: Array, tap: tuple[int, ...], lead: tuple[Axis, ...], lib: Standard) -> Array:
    """What meets a tap of the leading axes, as columns, shape (groups, rows, positions)."""
    slices = [axis.window(t) for axis, t in zip(lead, tap, strict=True)]
    part = u[(slice(None), slice(None), slice(None), *slices, ...)]
    return lib.xp.reshape(part, (*part.shape[:2], -1))


def _unfold(x: Array, geometry: Geometry, lib: Standard) -> tuple[Array, tuple[Axis, ...]]:
    """The input with its padding and its trailing axes unfolded, and the axes that are not.

    The unfolded input has the shape (groups, taps * c, n, *padded input, *output).
    """
    axes, unfolded = geometry.axes, _unfolded(geometry, x.shape[2])
    lead, trail = axes[: len(axes) - unfolded], axes[len(axes) - unfolded :]
    x = permute_dims(x, (0, 2, 1, *range(3, x.ndim)), lib.xp)
    if not lead and _is_tiling(geometry):
        return _tiles(x, axes, lib), lead
    x = lib.pad(x, [(axis.pad_lo, axis.pad_hi) for axis in axes])
    windows = [x[(..., *(axis.window(t) for axis, t in zip(trail, tap, strict=True)))] for tap in _taps(trail)]
    u = lib.xp.stack(windows, axis=1)
    return lib.xp.reshape(u, (u.shape[0], u.shape[1] * u.shape[2], *u.shape[3:])), lead


def _tiles(x: Array, axes: tuple[Axis, ...], lib: Standard) -> Array:
    """The input unfolded into windows that do not overlap: a change of shape."""
    ends = [axis.stride * axis.output_size - axis.input_size - axis.pad_lo for axis in axes]
    x = lib.pad(x, [(axis.pad_lo, end) for axis, end in zip(axes, ends, strict=True)])
    x = lib.xp.reshape(x, (*x.shape[:3], *(size for axis in axes for size in (axis.output_size, axis.stride))))
    x = x[(..., *(s for axis in axes for s in (slice(None), slice(axis.kernel_size))))]
    x = permute_dims(x, (0, *range(4, x.ndim, 2), 1, 2, *range(3, x.ndim, 2)), lib.xp)
    rows = x.shape[1 + len(axes)] * math.prod(axis.kernel_size for axis in axes)
    return lib.xp.reshape(x, (x.shape[0], rows, *x.shape[2 + len(axes) :]))


def _conv_by_placing(x: Array, w: Array, geometry: Geometry, lib: Standard) -> Array:
    """One product for all taps, then each is added where it belongs."""
    groups, k, c, *kernel = w.shape
    w = permute_dims(w, (0, *range(3, w.ndim), 1, 2), lib.xp)
    w = lib.xp.reshape(w, (groups, math.prod(kernel) * k, c))
    in_layers = _in_layers(geometry)
    parts = [] if in_layers else list(geometry.phases())

    def block(x: Array, w: Array) -> Array:
        columns = lib.xp.reshape(permute_dims(x, (0, 2, 1, *range(3, x.ndim)), lib.xp), (x.shape[0], c, -1))
        products = lib.xp.reshape(lib.matmul(w, columns), (x.shape[0], *kernel, k, x.shape[1], *x.shape[3:]))
        if in_layers:
            y = _placed_in_layers(products, geometry, lib)
        else:
            placed = [_placed(products, part, lib) for part in parts]
            y = phases.join(placed, [part.output for part in parts], geometry.output_size, lib)
        return permute_dims(y, (0, 2, 1, *range(3, y.ndim)), lib.xp)

    size = 4 * math.prod(geometry.input_size) * (c + math.prod(kernel) * k)
    return blocks.each(block, x, [w], size, lib)


def _placed(products: Array, part: Phase, lib: Standard) -> Array:
    """One phase of the outputs, shape (groups, k, n, *output), of products (groups, *kernel, k, n, *input)."""
    products = products[(slice(None), *part.taps, ...)]
    front = products.shape[1 + len(part.taps) : 3 + len(part.taps)]
    y = lib.zeros((products.shape[0], *front, *part.geometry.output_size), products)
    for tap in part.geometry.taps():
        y = lib.add_at(y, tap.output, products[(slice(None), *tap.index, slice(None), slice(None), *tap.input)])
    return y


def _placed_in_layers(products: Array, geometry: Geometry, lib: Standard) -> Array:
    """The same by layers of tiles: no two products of a layer fall on the same output, so it is a change of shape."""
    axes, ndim = geometry.axes, len(geometry.axes)
    products = lib.xp.flip(products, axis=tuple(range(1, 1 + ndim)))
    order = [axis for pair in zip(range(3 + ndim, 3 + 2 * ndim), range(1, 1 + ndim), strict=True) for axis in pair]
    products = permute_dims(
        products, (0, 1 + ndim, 2 + ndim, *order), lib.xp
    )  # groups, k, n, input and tap of each axis
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


def work(problem: Problem) -> Work:
    """Matrix products with the unfolded input; few rows or columns make them slower."""
    windows = problem.by_windows()
    geometry, item = windows.geometry, problem.itemsize
    each = problem.groups * problem.n * item
    if windows.contraction == "conv" and _places(windows.c, windows.k, geometry):
        products = each * windows.k * windows.taps * math.prod(geometry.input_size)
        operations = 16 + (4 * _layers(geometry) if _in_layers(geometry) else windows.taps)
        amount = products / item * windows.c * (1 + 8 / (windows.k * windows.taps))
        return Work("matrix", amount, 2 * products, 4 * blocks.BLOCK, operations, "one product, then the taps placed")
    axes, unfolded = geometry.axes, _unfolded(geometry, windows.c)
    lead, trail = axes[: len(axes) - unfolded], axes[len(axes) - unfolded :]
    rows = windows.c * math.prod(axis.kernel_size for axis in trail)
    positions = math.prod(axis.input_size for axis in lead) * math.prod(axis.output_size for axis in trail)
    tiling = not lead and _is_tiling(geometry)
    matrix = each * rows * positions / max(1, math.prod(axis.input_dilation for axis in geometry.axes))
    amount = windows.padded_multiply_adds * (1 + 12 / windows.k) * (1 + 8 / rows)
    why = "windows that do not overlap: a change of shape" if tiling else "matrix products of unfolded blocks"
    moved = (
        problem.bytes_of["x"]
        if tiling
        else 2 * matrix + windows.bytes_of["g"] * math.prod(axis.kernel_size for axis in lead)
    )
    temporary = min(2 * matrix, 2 * ONCE) + 2 * problem.bytes_of["w"]
    return Work("matrix", amount, moved, temporary, 16 + windows.phases * min(windows.taps, 64), why)
