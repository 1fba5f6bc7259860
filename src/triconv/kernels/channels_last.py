"""Unfold and multiply where channels stand last in memory: an array is a matrix as it is, and nothing is transposed.

A matrix has one row per sample and position. The taps ``t`` of the trailing axes are unfolded, and stand before the channels as
further columns; those ``s`` of the leading axes (`PhaseSchedule.row_axes`) are columns of the product::

    u[(n, i.., o), (t, c)] = x[n, i.., stride * o + dilation * t, c]

    y[(n, o.., o), k]     = sum over s of           u @ w[(t, c), (s, k)]        where i.. and o.. meet at s
    gw[(t, c), (s, k)]    = sum over n, i.., o of   u^T @ v[(n, i.., o), (s, k)]

and ``v`` is the cotangent, unfolded along the leading axes of the transposed geometry. A compiler writes windows of few
channels faster in lines of positions, and products sum along lines faster: a weight VJP may be the product of windows in lines
(`unfolding`) and the cotangent as it stands (`PhaseSchedule.in_lines`)::

    gw[(t, c), k]         = sum over n, o of        u[(t, c), (n, o)] @ g[(n, o), k]

A kernel of one tap is a single product of what is there. Groups stand between positions and channels, so that their matrices
would have to be copied: they are left to `gemm`, and so are kernels of many taps. The multiply-adds are those of `direct` and
those with the padding.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from triconv.backends.array_operations import permute_dims
from triconv.backends.base import Standard
from triconv.geometry import Axis, Geometry
from triconv.kernels import blocks, patches, unfolding
from triconv.kernels.problem import Problem
from triconv.kernels.schedule import Cost, PhaseSchedule, Schedule
from triconv.kernels.target import Target

Array = Any

LAST = ("last", "last", "last")


def matrix(w: Array, how: PhaseSchedule, lib: Standard) -> Array:
    """The kernel of a phase as a matrix for groups of one: (groups, other taps * c, taps of row axes * k)."""
    _, k, c, *taps = w.shape
    first = 3 + how.row_axes
    w = permute_dims(w, (0, *range(first, w.ndim), 2, *range(3, first), 1), lib.xp)
    lead, trailing = taps[: how.row_axes], taps[how.row_axes :]
    return lib.xp.reshape(w, (w.shape[0], math.prod(trailing) * c, math.prod(lead) * k))


def conv(x: Array, w: Array, geometry: Geometry, how: PhaseSchedule, lib: Standard) -> Array:
    """``y = unfold(x) @ w``, of one phase, in rows of the first axis; `w` as `matrix` gives it."""
    lead = how.row_axes

    def block(x: Array, part: Geometry) -> Array:
        u = _unfold(x, _trailing(part, lead).axes, lib)
        y = lib.matmul(_rows(u, lib), w[0, ...])
        return _scattered(lib.xp.reshape(y, (*u.shape[:-1], -1)), Geometry(part.axes[:lead]), lib)

    return _canonical(blocks.map_rows(block, blocks.positions_first(x, lib), geometry, how.rows, lib, axis=1), lib)


def conv_weight_vjp(g: Array, x: Array, geometry: Geometry, how: PhaseSchedule, lib: Standard) -> Array:
    """``gw = unfold(x)^T @ unfold(g)``, of one phase, in rows of the first axis."""
    lead, (k, c, taps) = how.row_axes, (g.shape[2], x.shape[2], geometry.kernel_size)

    def block(g: Array, x: Array, part: Geometry) -> Array:
        if how.in_lines:
            return lib.matmul(_in_lines(x, part.axes, lib), _rows(g, lib))
        v = _unfold(g, _leading(part, lead).axes, lib)
        u = _unfold(x, _trailing(part, lead).axes, lib)
        return lib.matmul_of_rows(_rows(u, lib), _rows(v, lib), how.split_k)

    gw = blocks.sum_rows(
        block, blocks.positions_first(g, lib), blocks.positions_first(x, lib), geometry, how.rows, lib, axis=1
    )
    gw = lib.xp.reshape(gw, (1, *taps[lead:], c, *taps[:lead], k))
    # the transposed geometry's taps are in reverse
    first = gw.ndim - 1 - lead
    gw = lib.flip(gw, range(first, gw.ndim - 1)) if lead else gw
    return permute_dims(gw, (0, gw.ndim - 1, first - 1, *range(first, gw.ndim - 1), *range(1, first - 1)), lib.xp)


def _trailing(geometry: Geometry, lead: int) -> Geometry:
    """The windows of all axes but the first `lead`, at every input of those."""
    return Geometry((*(Axis(axis.input_size, 1) for axis in geometry.axes[:lead]), *geometry.axes[lead:]))


def _leading(geometry: Geometry, lead: int) -> Geometry:
    """The windows of outputs that meet an input along the first `lead` axes, at every output of the others."""
    others = (Axis(axis.output_size, 1) for axis in geometry.axes[lead:])
    return Geometry((*geometry.transposed().axes[:lead], *others))


def _canonical(a: Array, lib: Standard) -> Array:
    """Undo `blocks.positions_first` of one group."""
    return blocks.canonical(lib.xp.reshape(a, (*a.shape[:-1], 1, a.shape[-1])), "last", lib)


def _rows(a: Array, lib: Standard) -> Array:
    """One row per sample and position."""
    return lib.xp.reshape(a, (-1, a.shape[-1]))


def _unfold(a: Array, axes: tuple[Axis, ...], lib: Standard) -> Array:
    """Windows of an array (n, *input, channels), as (n, *output, taps * channels); the last axis first, as in `gemm`."""
    if _is_matrix(axes):
        return a
    windows = lib.windows(a, axes)
    if windows is not None:
        return lib.xp.reshape(lib.ordered(windows), (*windows.shape[: 1 + len(axes)], -1))
    if patches.are_apart(Geometry(axes)):
        return _patches(a, axes, lib)
    return lib.unfold_axes(a, axes)


def _in_lines(a: Array, axes: tuple[Axis, ...], lib: Standard) -> Array:
    """The same windows as (taps * channels, n * output)."""
    u = lib.windows_in_lines(a, axes)
    if u is not None:
        return lib.xp.reshape(u, (a.shape[-1] * math.prod(axis.kernel_size for axis in axes), -1))
    a = permute_dims(a, (a.ndim - 1, *range(a.ndim - 1)), lib.xp)
    u = unfolding.unfolded(lib.xp.reshape(a, (1, *a.shape)), axes, lib)
    return lib.xp.reshape(u, (u.shape[1], -1))


def _is_matrix(axes: tuple[Axis, ...]) -> bool:
    """Whether windows are the positions as they are."""
    return all(axis.windows_are_inputs for axis in axes)


def _patches(a: Array, axes: tuple[Axis, ...], lib: Standard) -> Array:
    """The same of windows that do not overlap: a change of shape."""
    ends = [axis.stride * axis.output_size - axis.input_size - axis.pad_lo for axis in axes]
    a = lib.pad(a, [*((axis.pad_lo, end) for axis, end in zip(axes, ends, strict=True)), (0, 0)])
    a = lib.xp.reshape(
        a, (a.shape[0], *(size for axis in axes for size in (axis.output_size, axis.stride)), a.shape[-1])
    )
    a = a[(slice(None), *(s for axis in axes for s in (slice(None), slice(axis.kernel_size))), ...)]
    a = permute_dims(a, (0, *range(1, a.ndim - 1, 2), *range(2, a.ndim, 2), a.ndim - 1), lib.xp)
    return lib.xp.reshape(a, (*a.shape[: 1 + len(axes)], -1))


def _scattered(products: Array, geometry: Geometry, lib: Standard) -> Array:
    """Outputs (n, *output, ..., k) of products (n, *input, ..., taps * k), each added in its place."""
    lead = len(geometry.axes)
    if not lead:
        return products
    n, taps = products.shape[0], geometry.kernel_size
    rest = products.shape[1 + lead : -1]
    products = lib.xp.reshape(products, (*products.shape[:-1], *taps, products.shape[-1] // math.prod(taps)))
    whole = (*map(slice, rest), slice(products.shape[-1]))
    y = lib.zeros((n, *geometry.output_size, *rest, products.shape[-1]), products)
    for tap in geometry.taps():
        part = products[(slice(None), *tap.input, *map(slice, rest), *tap.index, slice(None))]
        y = lib.add_at(y, (*tap.output, *whole), part)
    return y


# ---- schedules


def are_matrices(view: Problem, target: Target) -> bool:
    """Whether x and g are the matrices that they are for a compiler, or for a library whose windows are views."""
    x_order, _, g_order = view.orders
    return (target.compiled or target.window_views) and view.groups == 1 and (x_order, g_order) == ("last", "last")


def suits(view: Problem, target: Target) -> bool:
    """Whether that holds, and the program is short."""
    return are_matrices(view, target) and (view.taps <= target.unrolled_taps or patches.are_apart(view.geometry))


def schedules(
    schedule: Schedule, view: Problem, parts: list[tuple[Geometry, int]], target: Target
) -> Iterator[Schedule]:
    """One whose windows are rows, and for a weight VJP in a compiled program one whose windows are lines."""
    geometries = [geometry for geometry, _ in parts]
    rows = [PhaseSchedule(row_axes=_row_axes(view, geometry, target)) for geometry in geometries]
    yield _in_blocks(schedule, view, geometries, rows, _row_block(view, target), target)
    if _is_summed(view, target) and not any(patches.are_apart(geometry) for geometry in geometries):
        lines = [PhaseSchedule(in_lines=True)] * len(parts)
        in_lines = _in_blocks(schedule, view, geometries, lines, _line_block(view, geometries, target), target)
        # a loop over a block of two samples would be compiled twice, once for each sample
        yield replace(in_lines, samples=1) if in_lines.samples == 2 else in_lines


def _is_summed(view: Problem, target: Target) -> bool:
    """Whether it is a weight VJP, whose products sum over rows, in a compiled program on a CPU."""
    return view.contraction == "conv_weight_vjp" and target.compiled and target.kind == "cpu"


def _in_blocks(
    schedule: Schedule,
    view: Problem,
    geometries: list[Geometry],
    phases: list[PhaseSchedule],
    most: float,
    target: Target,
) -> Schedule:
    """The schedule in blocks of samples, or else of rows of all samples, each of which writes at most so many elements."""
    sizes = [_written(view, geometry, how, target) for geometry, how in zip(geometries, phases, strict=True)]
    size = sum(sizes)
    samples, taken = 0, [0] * len(phases)
    if view.n * size > most >= size:
        samples, _ = blocks.block_of(view, size, most, target)
    elif size > most:
        samples = 1 if target.window_views and view.n > 1 else 0
        taken = [  # a phase of one tap writes nothing
            _rows_at_once(samples or view.n, geometry, part, most, target) if part else 0
            for geometry, part in zip(geometries, sizes, strict=True)
        ]
    phases = [replace(how, rows=rows) for how, rows in zip(phases, taken, strict=True)]
    phases = [
        replace(how, split_k=_split_k(view, geometry, how, samples, target))
        for geometry, how in zip(geometries, phases, strict=True)
    ]
    return replace(schedule, phases=tuple(phases), samples=samples, orders=view.orders)


def _row_block(view: Problem, target: Target) -> float:
    """Elements that are written for a block of windows in rows: it stays in cache."""
    size = target.summed_rows_bytes if _is_summed(view, target) else target.unfold_bytes
    return _elements_of(target.window_bytes if target.window_views else size, view, target)


def _line_block(view: Problem, geometries: list[Geometry], target: Target) -> float:
    """The same of windows in lines: the sums of each block are added to those of the others, which takes some time."""
    most = _elements_of(max(target.unfold_bytes, target.sum_bytes * view.bytes_of["w"]), view, target)
    sample = sum(_written(view, geometry, PhaseSchedule(in_lines=True), target) for geometry in geometries)
    return sample if most < sample <= _elements_of(target.line_bytes, view, target) else most


def _elements_of(size: float, view: Problem, target: Target) -> float:
    return target.elements(size, view.itemsize, view.bytes_of["x"] // view.itemsize)


def _split_k(view: Problem, geometry: Geometry, how: PhaseSchedule, samples: int, target: Target) -> int:
    """Parts of a product that sums over the rows of a block: as few equal ones as there can be, if they are long.

    A last block of fewer samples has as many parts.
    """
    if how.in_lines or not _is_summed(view, target):
        return 1
    inputs, outputs = list(geometry.input_size), list(geometry.output_size)
    if how.rows:
        axis = geometry.axes[0]
        inputs[0], outputs[0] = (how.rows - 1) * axis.stride + axis.dilated_kernel, how.rows
    positions = math.prod(inputs[: how.row_axes]) * math.prod(outputs[how.row_axes :])
    if (samples or view.n) * positions < target.split_rows * max(_columns(view, geometry, how.row_axes)):
        return 1
    rows = math.gcd(samples, view.n) * positions
    return next((parts for parts in range(2, target.most_split + 1) if rows % parts == 0), 1)


def _columns(view: Problem, geometry: Geometry, lead: int) -> tuple[int, int]:
    """Columns of the windows and of the products, or of the cotangent's windows."""
    return view.c * math.prod(geometry.kernel_size[lead:]), view.k * math.prod(geometry.kernel_size[:lead])


def _row_axes(view: Problem, geometry: Geometry, target: Target) -> int:
    """The number of axes that are not unfolded: they have no stride."""
    if patches.are_apart(geometry):
        return 0
    most = next((number for number, axis in enumerate(geometry.axes) if axis.stride > 1), len(geometry.axes))
    return min(range(most + 1), key=lambda lead: _weight(view, geometry, lead, target))


def _written(view: Problem, geometry: Geometry, how: PhaseSchedule, target: Target) -> float:
    """Elements that are written of one sample: windows, axis by axis, and products (of a weight VJP, windows of g).

    Views of windows are written once, along all axes; those in lines, too.
    """
    if how.in_lines:
        return view.c * math.prod(geometry.kernel_size) * math.prod(geometry.output_size)
    return sum(_elements(view, geometry, how.row_axes, target))


def _weight(view: Problem, geometry: Geometry, lead: int, target: Target) -> float:
    """The same as a number of elements that are copied in long runs, where each run takes as long as some elements."""
    windows, products = _elements(view, geometry, lead, target)
    if not target.window_views:
        return windows + products
    is_row = lead < len(geometry.axes) and geometry.axes[-1].dilation == 1
    run = view.c * (geometry.axes[-1].kernel_size if is_row else 1)
    # a product that is called by itself is written, read, and added to what is read
    return windows * (1 + target.run_elements / run) + 6 * products * (1 + target.run_elements / view.k)


def _elements(view: Problem, geometry: Geometry, lead: int, target: Target) -> tuple[int, int]:
    """Elements of windows, and of products, of one sample."""
    inputs, outputs = geometry.input_size, geometry.output_size
    windows, columns = 0, 1
    if patches.are_apart(geometry):
        windows = 0 if _is_matrix(geometry.axes) else math.prod(outputs) * math.prod(geometry.kernel_size)
    elif target.window_views:
        windows = 0 if _is_matrix(geometry.axes[lead:]) else math.prod(inputs[:lead]) * math.prod(outputs[lead:])
        windows *= math.prod(geometry.kernel_size[lead:])
    else:
        for number in reversed(range(lead, len(geometry.axes))):
            if (geometry.axes[number].kernel_size, geometry.axes[number].stride) != (1, 1):
                columns *= geometry.axes[number].kernel_size
                windows += math.prod(inputs[:number]) * math.prod(outputs[number:]) * columns
    if not lead:
        return view.c * windows, 0
    products = math.prod(inputs[:lead]) * math.prod(outputs[lead:]) * math.prod(geometry.kernel_size[:lead])
    return view.c * windows, view.k * products


def _rows_at_once(n: int, geometry: Geometry, size: float, most: float, target: Target) -> int:
    """Rows of a block; those that it shares with the next are computed twice, so it has no fewer than twice as many."""
    axis = geometry.axes[0]
    rows = max(int(axis.output_size * most / (n * size)), 2 * -(-(axis.dilated_kernel - 1) // axis.stride), 1)
    taken = blocks.even_block(axis.output_size, rows, target)
    return taken if taken < axis.output_size else 0


def cost(schedule: Schedule, problem: Problem, target: Target) -> Cost:
    """Products, and what is written for them."""
    view = replace(problem.by_windows(), geometry=schedule.geometry)
    amount, moved, most, operations = 0.0, 0.0, 0.0, 0
    for geometry, count, how in schedule.counted():
        lead, axes = how.row_axes, geometry.axes
        positions = math.prod(geometry.input_size[:lead]) * math.prod(geometry.output_size[lead:])
        rows, columns = _columns(view, geometry, lead)
        written = view.itemsize * _written(view, geometry, how, target)
        multiply_adds = count * view.n * positions * rows * columns * target.product_factor(rows, columns)
        if how.in_lines:
            multiply_adds *= target.line_products
            # each of the last axis' taps reads the rows that are read across their lines, with the stride
            transposed = view.bytes_of["x"] / view.n * axes[-1].kernel_size / axes[-1].stride
            transposed *= math.prod(min(1, axis.kernel_size / axis.stride) for axis in axes[:-1])
            passes = target.line_passes * (3 if axes[-1].stride > 1 else 1)
            moved += count * view.n * passes * (target.looked_up if len(axes) > 2 else 1) * written
            moved += count * view.n * target.across_passes * transposed
        elif _is_summed(view, target):
            multiply_adds *= target.summed_rows_products
            passes = target.summed_rows_passes * (2 if any(axis.stride > 1 for axis in axes) else 1)
            is_looked_up = len(axes) > 2 and sum(axis.kernel_size > 1 for axis in axes) > 1
            moved += count * view.n * passes * (target.looked_up if is_looked_up else 1) * written
        else:
            moved += count * view.n * target.last_passes * view.itemsize * _weight(view, geometry, lead, target)
        amount += multiply_adds
        part = how.rows / axes[0].output_size if how.rows else 1
        most = max(most, written * part * (schedule.samples or view.n))
        unfolded = max(1, sum(axis.kernel_size > 1 for axis in axes))
        loops = 2 if how.rows or schedule.samples else 1  # what a loop's body reads and writes is more to compile
        operations += count * (loops * target.last_operations * unfolded if written or view.phases > 1 else 1)
    least = 3 if view.contraction == "conv_weight_vjp" else 1  # a long sum is split
    launches = view.phases * (least if not moved else least + 3)
    if any(axis.input_dilation > 1 for axis in view.geometry.axes):  # phases are written, and then interleaved
        launches, moved = launches + 1, moved + 2 * view.bytes_of["g"]
    return Cost("matrix", amount, moved, most + 2 * problem.bytes_of["w"], operations, launches)
