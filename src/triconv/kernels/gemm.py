"""Unfold and multiply: windows become columns of a matrix, and the taps one matrix product.

Axes are of two kinds. The windows of the trailing axes are unfolded, so that their taps ``t`` stand as channels; samples are
one more position. The taps ``s`` of the leading axes stand as rows of the product, each added where it belongs::

    u[t, c, n, i.., o] = x[n, c, i.., stride * o + dilation * t]

    y[k, n, o.., o] = sum over s of  (w @ u)[s, k, n, i.., o]      where i.. and o.. meet at s
    gw[k, c, s, t]  = sum over n, i.., o of  v[s, k, n, i.., o] * u[t, c, n, i.., o]

and ``v`` is the cotangent, unfolded along the leading axes of the mirrored geometry. A leading axis has no stride, since its
products are taken at all inputs. Of 3x3 taps, unfolding both axes would write nine times the input, and one of each three
times the input and three times the output; `_leading` takes what writes the least. Windows that do not overlap are a mere
change of shape. For far fewer output than input channels in a convolution with input dilation, all axes are leading ones.

Otherwise an input dilation (and so the input VJP of a strided convolution) goes by `Geometry.phases`: no zero is inserted.
The multiply-adds are those of `direct`, and those with the padding.
"""

from __future__ import annotations

import functools
import math
import operator
from typing import Any

from triconv.backends.base import Standard, permute_dims
from triconv.geometry import Axis, Geometry, Phase
from triconv.kernels import blocks, placing, polyphase, spmd, tap_loops, tiles
from triconv.kernels.placing import FEW, exchanged
from triconv.kernels.problem import Problem, Work

Array = Any

# bytes of the unfolded input, and of the products of leading taps, of a block: in a compiled loop, which starts the next at no
# cost and so leaves half of a shared cache to others; and where a block is a dozen calls
LOOPED, CALLED = 5 * 2**20, 10 * 2**20
# the same of a sample that is taken whole: rows of it, one block after the other, are read and written once more; but what is
# larger than 32 MiB, the C library asks the system for in each call, and that takes longer
WHOLE = 30 * 2**20
# the same of rows whose product is made in pieces, with the copies that those are
PIECED = 12 * 2**20
# bytes of the input of all samples that is padded at once
PADDED = 30 * 2**20
# elements of one sample's products of leading taps, which stand in memory
PRODUCTS = 8 * 2**20
# multiply-adds that take as long as writing an element
WRITTEN = 50
# share of rows of zeros that a product may have
ZEROS = 0.25


def conv(x: Array, w: Array, geometry: Geometry, lib: Standard) -> Array:
    """``y = w @ unfold(x)``."""
    if not lib.is_partitioned() and placing.serves(x.shape[2], w.shape[1], geometry):
        return placing.conv(x, w, geometry, lib)
    x, geometry = polyphase.with_few(x, geometry, lib)
    if lib.is_partitioned():
        return spmd.conv(x, w, geometry, lib)
    parts = list(geometry.phases())
    kernels = [w[(..., *part.taps)] for part in parts]
    is_long = [_is_long(part.geometry) for part in parts]
    # a short kernel is brought into a matrix once, not once a block
    kernels = [k if long else _matrix(k, p.geometry, lib) for k, p, long in zip(kernels, parts, is_long, strict=True)]

    def block(x: Array, *kernels: Array) -> Array:
        outputs = [
            (_conv_long if long else _conv_windows)(x, kernel, part.geometry, lib)
            for part, kernel, long in zip(parts, kernels, is_long, strict=True)
        ]
        return polyphase.join(outputs, [part.output for part in parts], geometry.output_size, lib)

    if _is_by_rows(parts, x, w.shape[1], lib):
        return block(x, *kernels)
    size = sum(_size(x.shape[2], w.shape[1], part.geometry) for part in parts)
    return blocks.each(block, x, kernels, size, lib, _most(x, w.shape[1], geometry, lib))


def conv_input_vjp(g: Array, w: Array, geometry: Geometry, lib: Standard) -> Array:
    """`conv` of the mirrored geometry."""
    return conv(g, polyphase.mirrored(w, lib), geometry.mirrored(), lib)


def conv_weight_vjp(g: Array, x: Array, geometry: Geometry, lib: Standard) -> Array:
    """``gw = unfold(g) @ unfold(x)^T``, summed over the samples."""
    if polyphase.are_exchanged(geometry):
        return polyphase.mirrored(conv_weight_vjp(x, g, geometry.mirrored(), lib), lib)
    x, geometry = polyphase.with_few(x, geometry, lib)
    if lib.is_partitioned():
        return spmd.conv_weight_vjp(g, x, geometry, lib)
    parts = list(geometry.phases())

    def block(g: Array, x: Array) -> Array:
        kernels = [
            (_weight_vjp_long if _is_long(part.geometry) else _weight_vjp_windows)(
                g[(..., *part.output)], x, part.geometry, lib
            )
            for part in parts
        ]
        return polyphase.join(kernels, [part.taps for part in parts], geometry.kernel_size, lib)

    if _is_by_rows(parts, x, g.shape[2], lib, g):
        return block(g, x)
    size = sum(_size(x.shape[2], g.shape[2], part.geometry) for part in parts)
    most = _most(x, g.shape[2], geometry, lib)
    if _is_in_pieces(g, x, geometry, lib):
        most = blocks.most(_block(lib), x, lib)  # a block of tiles would be too short for pieces
        size = max(size, (2 * size + math.prod(g.shape[2:])) * most / blocks.most(WHOLE, x, lib))
    return blocks.total(block, g, x, size, lib, most)


def _leading(c: int, k: int, geometry: Geometry) -> int:
    """How many leading axes are not unfolded but have their taps in the product: what costs the least."""
    if tiles.is_tiling(geometry) or _is_long(geometry):
        return 0
    most = next((number for number, axis in enumerate(geometry.axes) if axis.stride > 1), len(geometry.axes))

    def cost(lead: int) -> float:
        unfolded, products = _elements(c, k, geometry, lead)
        if lead and products > PRODUCTS:
            return math.inf
        multiply_adds = products * c * math.prod(axis.kernel_size for axis in geometry.axes[lead:])
        return multiply_adds + WRITTEN * (unfolded + products)

    return min(range(most + 1), key=cost)


def _elements(c: int, k: int, geometry: Geometry, lead: int) -> tuple[int, int]:
    """Elements of the unfolded input and of the products of one sample."""
    leading, trailing = geometry.axes[:lead], geometry.axes[lead:]
    positions = math.prod(axis.input_size for axis in leading) * math.prod(axis.output_size for axis in trailing)
    return (
        c * positions * math.prod(axis.kernel_size for axis in trailing),
        k * positions * math.prod(axis.kernel_size for axis in leading),
    )


def _size(c: int, k: int, geometry: Geometry) -> float:
    """Elements of the unfolded input of one sample and group, and of the products that are not yet the output."""
    lead = _leading(c, k, geometry)
    unfolded, products = _elements(c, k, geometry, lead)
    if _is_long(geometry):
        counts = tiles.counts(geometry)
        return unfolded / math.prod(counts) if counts else unfolded * tap_loops.STEP / math.prod(geometry.kernel_size)
    return unfolded + (products if lead else 0)


def _most(x: Array, k: int, geometry: Geometry, lib: Standard) -> float:
    """Elements of a block: a large one makes large products, but where nothing is unfolded a sample is one as it is.

    Unless the kernel is larger, which a product brings in order once a block.
    """
    size = _block(lib)
    if lib.compiles and tiles.is_tiling(geometry):
        kernel = k * x.shape[2] * math.prod(geometry.kernel_size)
        return min(blocks.most(size, x, lib), max(blocks.most(blocks.BLOCK, x, lib), kernel))
    return blocks.most(size, x, lib)


def _block(lib: Standard) -> int:
    """Bytes of a block on a CPU."""
    return LOOPED if lib.compiles else CALLED


def _rows(whole: float, size: float, block: int, x: Array, k: int, geometry: Geometry, lib: Standard) -> int:
    """How many positions of a sample's first axis to take at a time: all, unless that is far too much.

    `whole` elements for all at once, and `size` of them for what then has to fit into a `block`.
    """
    if not geometry.axes:
        return 1
    axis = geometry.axes[0]
    rows = axis.input_size if _leading(x.shape[2], k, geometry) else axis.output_size
    if whole <= blocks.most(WHOLE, x, lib):
        return rows
    most = max(1, int(rows * blocks.most(block, x, lib) / size))
    exact = blocks.divisor(rows, most)  # such that nothing has to be padded
    return exact if 2 * exact >= most else blocks.even(rows, most)


def _rows_of_conv(x: Array, k: int, geometry: Geometry, lib: Standard) -> int:
    """`_rows` of `conv`. In a loop over samples, the result of each stands in memory before it is copied to its place."""
    size = _size(x.shape[2], k, geometry)
    result = k * math.prod(geometry.output_size) if x.shape[1] > 1 else 0
    block = (
        CALLED if _leading(x.shape[2], k, geometry) else _block(lib)
    )  # products are read once more when all are there
    return _rows(size + result, size, block, x, k, geometry, lib)


def _rows_of_weight_vjp(g: Array, x: Array, geometry: Geometry, lib: Standard) -> int:
    """`_rows` of `conv_weight_vjp`. Where a product is made in pieces, those are copies of both operands."""
    size, block, k = _size(x.shape[2], g.shape[2], geometry), _block(lib), g.shape[2]
    if _is_in_pieces(g, x, geometry, lib):
        size, block = 2 * size + math.prod(g.shape[2:]), PIECED
    return _rows(size, size, block, x, k, geometry, lib)


def _is_by_rows(parts: list[Phase], x: Array, k: int, lib: Standard, g: Array | None = None) -> bool:
    """Whether to loop over the rows of all samples, one after the other: padded before, their input should not be large.

    In `conv`, or in `conv_weight_vjp` with a cotangent `g`.
    """
    if len(parts) != 1 or x.shape[0] > 1 or not x.shape[3:] or _is_long(geometry := parts[0].geometry):
        return False
    lead = _leading(x.shape[2], k, geometry)
    if g is None:
        rows, padded = _rows_of_conv(x, k, geometry, lib), x
    else:
        rows, padded = _rows_of_weight_vjp(g, x, geometry, lib), g if lead else x
    if lead and g is None:  # all of the products stand in memory
        return False
    all_rows = (geometry.input_size if lead else geometry.output_size)[0]
    return rows < all_rows and math.prod(padded.shape) <= blocks.most(PADDED, x, lib)


def _is_in_pieces(g: Array, x: Array, geometry: Geometry, lib: Standard) -> bool:
    """Whether the product of a weight VJP would be made in pieces, if it were a single one."""
    k, c = g.shape[2], x.shape[2]
    return lib.pieces(k * c * math.prod(geometry.kernel_size), math.prod(g.shape[1:]) // k, x) > 1


def _is_long(geometry: Geometry) -> bool:
    """Whether the taps are too many to be unfolded at once."""
    return math.prod(geometry.kernel_size) > tap_loops.UNROLLED and not tiles.is_tiling(geometry)


def _matrix(w: Array, geometry: Geometry, lib: Standard) -> Array:
    """One matrix for all taps, shape (groups, leading taps * k, trailing taps * c)."""
    groups, k, c, *kernel = w.shape
    lead = _leading(c, k, geometry)
    w = permute_dims(w, (0, *range(3, 3 + lead), 1, *range(3 + lead, w.ndim), 2), lib.xp)
    return lib.xp.reshape(w, (groups, math.prod(kernel[:lead]) * k, math.prod(kernel[lead:]) * c))


def _conv_long(x: Array, w: Array, geometry: Geometry, lib: Standard) -> Array:
    """`conv` of one phase and block whose taps are many: in a few layers of tiles, or else in a loop over them."""

    def some(x: Array, w: Array, part: Geometry, lib: Standard) -> Array:
        return _conv_windows(x, _matrix(w, part, lib), part, lib)

    if tiles.counts(geometry):
        layers = (some(x, w[(..., *layer.taps)], layer.geometry, lib) for layer in tiles.layers(geometry))
        return functools.reduce(operator.add, layers)
    return tap_loops.total(some, x, w, geometry, lib)


def _weight_vjp_long(g: Array, x: Array, geometry: Geometry, lib: Standard) -> Array:
    """`conv_weight_vjp` likewise."""
    if tiles.counts(geometry):
        kernels = [_weight_vjp_windows(g, x, layer.geometry, lib) for layer in tiles.layers(geometry)]
        return tiles.joined(kernels, geometry, lib)
    return tap_loops.each(_weight_vjp_windows, g, x, geometry, lib)


def _conv_windows(x: Array, matrix: Array, geometry: Geometry, lib: Standard) -> Array:
    """`conv` of one phase and block."""
    c = x.shape[2]
    k = matrix.shape[1] * matrix.shape[2] // (math.prod(geometry.kernel_size) * c)
    lead, rows = _leading(c, k, geometry), _rows_of_conv(x, k, geometry, lib)
    trailing = Geometry((*map(_whole, geometry.input_size[:lead]), *geometry.axes[lead:]))

    def block(x: Array, part: Geometry) -> Array:
        u = _unfold(exchanged(x, lib), part.axes, lib)
        y = lib.matmul(matrix, lib.xp.reshape(u, (*u.shape[:2], -1)))
        return exchanged(lib.xp.reshape(y, (*y.shape[:2], *u.shape[2:])), lib)

    y = blocks.each_rows(block, x, trailing, rows, lib, by_sample=x.shape[0] == 1)
    if lead:
        y = exchanged(y, lib)
        products = lib.xp.reshape(y, (y.shape[0], *geometry.kernel_size[:lead], k, *y.shape[2:]))
        y = exchanged(placing.placed(products, Geometry(geometry.axes[:lead]), lib), lib)
    return y


def _weight_vjp_windows(g: Array, x: Array, geometry: Geometry, lib: Standard) -> Array:
    """`conv_weight_vjp` of one phase and block."""
    (groups, _, c), k = x.shape[:3], g.shape[2]
    lead, rows = _leading(c, k, geometry), _rows_of_weight_vjp(g, x, geometry, lib)
    leading = Geometry((*geometry.mirrored().axes[:lead], *map(_whole, geometry.output_size[lead:])))
    trailing = Geometry((*map(_whole, geometry.input_size[:lead]), *geometry.axes[lead:]))

    lanes = lib.lanes(x)
    tile = 2 * lanes if lanes > 1 else 1

    def block(g: Array, x: Array, leading: Geometry, trailing: Geometry) -> Array:
        v, u = (_unfold(exchanged(a, lib), part.axes, lib, tile) for a, part in ((g, leading), (x, trailing)))
        return lib.matmul_transposed(*(lib.xp.reshape(a, (*a.shape[:2], -1)) for a in (v, u)))

    def in_rows_of_x(x: Array, g: Array, part: Geometry) -> Array:
        return block(g, x, part, _rows_of(trailing, x))

    def in_rows_of_g(g: Array, x: Array, part: Geometry) -> Array:
        return block(g, x, _rows_of(leading, g), part)

    if lead:
        gw = blocks.total_rows(in_rows_of_x, x, g, leading, rows, lib, by_sample=x.shape[0] == 1)
    else:
        gw = blocks.total_rows(in_rows_of_g, g, x, trailing, rows, lib, by_sample=x.shape[0] == 1)
    sizes = geometry.kernel_size
    gw = gw[:, : k * math.prod(sizes[:lead]), : c * math.prod(sizes[lead:])]  # without the rows of zeros
    gw = lib.xp.reshape(gw, (groups, *sizes[:lead], k, *sizes[lead:], c))
    gw = lib.xp.flip(gw, axis=tuple(range(1, 1 + lead))) if lead else gw  # the mirrored geometry's taps are in reverse
    last = gw.ndim - 1
    return permute_dims(gw, (0, 1 + lead, last, *range(1, 1 + lead), *range(2 + lead, last)), lib.xp)


def _whole(size: int) -> Axis:
    """An axis of windows that are its positions."""
    return Axis(size, 1)


def _rows_of(geometry: Geometry, a: Array) -> Geometry:
    """The geometry of as many rows as there are, of an axis that is not unfolded."""
    return Geometry((*map(_whole, a.shape[3:4]), *geometry.axes[1:]))


def _unfold(a: Array, axes: tuple[Axis, ...], lib: Standard, rows: int = 1) -> Array:
    """Windows of the last axes, of shape (groups, channels, n, *input), as (groups, taps * channels, n, *output).

    One axis after the other, the last first: so its steps are taken once a tap of its own, not once a tap of all axes, and XLA
    writes each array in one loop, which it does for up to eight windows. Rows of zeros may follow, such that there are a
    multiple of so many `rows`: few long rows are fastest so.
    """
    if tiles.is_tiling(Geometry(axes)):
        return tiles.unfolded(a, axes, lib)
    count = a.shape[1] * math.prod(axis.kernel_size for axis in axes)
    missing = -count % rows
    a, axes = _without_gaps(a, axes, lib)
    numbered = enumerate(axes, a.ndim - len(axes))
    moving = [(number, axis) for number, axis in numbered if (axis.kernel_size, axis.stride) != (1, 1)]
    for number, axis in reversed(moving):
        windows = [a[(*[slice(None)] * number, axis.window(tap), ...)] for tap in range(axis.kernel_size)]
        if number == moving[0][0] and 0 < missing <= ZEROS * count:
            windows.append(lib.zeros((a.shape[0], missing, *windows[0].shape[2:]), a))
        a = lib.xp.concat(windows, axis=1)
    return a


def _without_gaps(a: Array, axes: tuple[Axis, ...], lib: Standard) -> tuple[Array, tuple[Axis, ...]]:
    """The padded array, but of all axes except the last without what the stride skips between windows; and its axes.

    What no window reads is not to be unfolded along the other axes.
    """
    *others, last = axes
    gaps = [axis.dilated_kernel < axis.stride for axis in others]
    ends = [axis.stride * axis.output_size - axis.input_size - axis.pad_lo for axis in others]
    pads = [(axis.pad_lo, end if gap else axis.pad_hi) for axis, end, gap in zip(others, ends, gaps, strict=True)]
    a, left = lib.pad(a, [*pads, (last.pad_lo, last.pad_hi)]), []
    for number, (axis, gap) in enumerate(zip(others, gaps, strict=True), a.ndim - len(axes)):
        if gap:
            before, behind, taps_ = a.shape[:number], a.shape[number + 1 :], axis.kernel_size
            a = lib.xp.reshape(a, (*before, axis.output_size, axis.stride, *behind))
            a = a[(*[slice(None)] * (number + 1), slice(0, axis.dilated_kernel, axis.dilation), ...)]
            a = lib.xp.reshape(a, (*before, axis.output_size * taps_, *behind))
            axis = Axis(axis.output_size * taps_, taps_, taps_)  # noqa: PLW2901
        left.append(axis)
    return a, (*left, last)


def work(problem: Problem) -> Work:
    """Matrix products with the unfolded input; few rows or columns make them slower."""
    windows = problem.by_windows()
    if windows.contraction == "conv" and placing.serves(windows.c, windows.k, windows.geometry):
        return placing.work(problem)
    windows = problem.by_phases()
    geometry, item = windows.geometry, problem.itemsize
    each = problem.groups * problem.n * item
    if tiles.is_tiling(geometry):
        amount = windows.padded_multiply_adds * (1 + 12 / windows.k) * (1 + 12 / (windows.c * windows.taps))
        temporary = min(2 * problem.bytes_of["x"], 4 * CALLED) + 2 * problem.bytes_of["w"]
        why = "windows that do not overlap: a change of shape"
        return Work("matrix", amount, problem.bytes_of["x"], temporary, 16, why)
    amount, moved, most = 0.0, 0.0, 0.0
    # blocks stay in cache, unless they are rows of a sample; but the columns of a weight VJP are long, and a product has to
    # bring them in order
    passes = 2.0 if problem.device == "gpu" else 0.8 if windows.contraction == "conv_weight_vjp" else 0.5
    for part, count in polyphase.counted(geometry):
        lead = _leading(windows.c, windows.k, part)
        unfolded, summed = _elements(windows.c, windows.k, part, lead)
        rows = windows.k * math.prod(part.kernel_size[:lead])
        columns = windows.c * math.prod(part.kernel_size[lead:])
        amount += count * each / item * summed * columns * (1 + 12 / rows) * (1 + 12 / columns)
        if windows.contraction == "conv_weight_vjp" and problem.groups == 1 and columns < FEW:
            passes = 1.2  # a product with few long rows does little else
        if _is_long(part) and tiles.counts(part):
            passes = 2.0  # rows of a tile are short
        in_rows = item * (unfolded + (summed if lead else 0)) > WHOLE
        steps = 2 if len(part.axes) == 1 and part.axes[0].stride > 1 else 1  # read one by one
        moved += count * (max(passes, 0.8) if in_rows else passes) * each * (steps * unfolded + summed)
        most = max(most, min(each * unfolded, WHOLE) + 2 * item * summed)
    if windows.phases > 1:
        moved += 2 * windows.bytes_of["w" if windows.contraction == "conv_weight_vjp" else "g"]
    most += 2 * problem.bytes_of["w"]
    operations = 16 + windows.phases * min(windows.taps, 64)
    return Work("matrix", amount, moved, most, operations, "matrix products of unfolded blocks")
