"""Scatter-add (col2im): one product of the input and all taps, then each is added where it belongs.

For convolutions that widen their input: that of a transposed convolution meets far more outputs than windows have inputs::

    p[t, k, n, i] = sum over c of  w[k, c, t] * x[n, c, i]          y[k, n, o] = sum of p[t, k, n, i]  where i and o meet at t

As many taps as the input is dilated make a pass: its products stand side by side in the output, a change of shape. Longer
kernels are passes that are added.
"""

from __future__ import annotations

import functools
import itertools
import math
import operator
from collections.abc import Iterator
from typing import Any

from triconv.backends.array_operations import permute_dims
from triconv.backends.base import Standard
from triconv.geometry import Geometry
from triconv.kernels import blocks, channels_last, patches, polyphase
from triconv.kernels.polyphase import samples_last
from triconv.kernels.problem import FIRST, Problem
from triconv.kernels.schedule import Cost, PhaseSchedule, Schedule
from triconv.kernels.target import Target

Array = Any

BY_PASSES, BY_TAPS = "scatter-add by passes", "scatter-add by taps"


def conv(x: Array, w: Array, schedule: Schedule, lib: Standard) -> Array:
    """One product for all taps, then each is added where it belongs."""
    geometry = schedule.geometry
    by_passes = schedule.form == BY_PASSES
    w = lib.flip(w, range(3, w.ndim)) if by_passes else w
    w = permute_dims(w, (0, *range(3, w.ndim), 1, 2), lib.xp)  # (groups, *kernel, k, c)
    add = _added_by_passes if by_passes else _added_by_phases
    product = _product_of_rows if schedule.orders[0] == "last" else _product_of_columns

    def block(x: Array, w: Array) -> Array:
        return samples_last(add(product(x, w, lib), geometry, lib), lib)

    return blocks.map_samples(block, x, [w], schedule, lib)


def _product_of_columns(x: Array, w: Array, lib: Standard) -> Array:
    """What each input gives at each tap, of shape (groups, *kernel, k, n, *input)."""
    groups, n, c = x.shape[:3]
    columns = lib.xp.reshape(samples_last(x, lib), (groups, c, -1))
    products = lib.matmul(lib.xp.reshape(w, (groups, -1, c)), columns)
    return lib.xp.reshape(products, (*w.shape[:-1], n, *x.shape[3:]))


def _product_of_rows(x: Array, w: Array, lib: Standard) -> Array:
    """The same of inputs whose channels stand last in memory: so do those of the products."""
    (groups, n, c, *positions), inputs = x.shape, x.ndim - 2
    rows = lib.xp.reshape(permute_dims(x, (0, 1, *range(3, x.ndim), 2), lib.xp), (groups, -1, c))
    products = lib.matmul(rows, lib.xp.matrix_transpose(lib.xp.reshape(w, (groups, -1, c))))
    products = lib.xp.reshape(products, (groups, n, *positions, *w.shape[1:-1]))
    return permute_dims(products, (0, *range(1 + inputs, products.ndim), *range(1, 1 + inputs)), lib.xp)


def _added_by_phases(products: Array, geometry: Geometry, lib: Standard) -> Array:
    """The outputs, phase by phase: what is added then stands side by side in memory."""
    phases = list(geometry.phases())
    outputs = [scattered(products[(slice(None), *phase.taps, ...)], phase.geometry, lib) for phase in phases]
    return polyphase.join(outputs, [phase.output for phase in phases], geometry.output_size, lib)


def scattered(products: Array, geometry: Geometry, lib: Standard) -> Array:
    """The outputs, (groups, k, n, *output, ...), of products (groups, *kernel, k, n, *input, ...), each added in its place."""
    ndim = len(geometry.axes)
    front, rest = products.shape[1 + ndim : 3 + ndim], products.shape[3 + 2 * ndim :]
    y = lib.zeros((products.shape[0], *front, *geometry.output_size, *rest), products)
    for tap in geometry.taps():
        part = products[(slice(None), *tap.index, slice(None), slice(None), *tap.input, ...)]
        y = lib.add_at(y, (*tap.output, *map(slice, rest)), part)
    return y


def _added_by_passes(products: Array, geometry: Geometry, lib: Standard) -> Array:
    """The outputs, pass by pass, from products with taps in reverse.

    No two products of a pass fall on the same output, so it is a change of shape.
    """
    axes, ndim = geometry.axes, len(geometry.axes)
    order = [axis for pair in zip(range(3 + ndim, 3 + 2 * ndim), range(1, 1 + ndim), strict=True) for axis in pair]
    # groups, k, n, and the input and the tap of each axis
    products = permute_dims(products, (0, 1 + ndim, 2 + ndim, *order), lib.xp)
    passes = []
    for first in itertools.product(*(range(0, axis.kernel_size, axis.input_dilation) for axis in axes)):
        taps = [slice(t, min(t + axis.input_dilation, axis.kernel_size)) for t, axis in zip(first, axes, strict=True)]
        y = products[(..., *(s for part in taps for s in (slice(None), part)))]
        gaps = [axis.input_dilation - (part.stop - part.start) for part, axis in zip(taps, axes, strict=True)]
        y = lib.pad(y, [pair for gap in gaps for pair in ((0, 0), (0, gap))])
        y = lib.xp.reshape(y, (*y.shape[:3], *(axis.input_size * axis.input_dilation for axis in axes)))
        starts = [t + axis.pad_lo - (axis.kernel_size - 1) for t, axis in zip(first, axes, strict=True)]
        sizes = zip(starts, geometry.output_size, y.shape[3:], strict=True)
        passes.append(lib.pad(y, [(lo, size - whole - lo) for lo, size, whole in sizes]))
    return functools.reduce(operator.add, passes)


def schedules(view: Problem, target: Target) -> Iterator[Schedule]:
    """For a "conv" with far more input channels than output channels, or whose windows would make a phase per element."""
    geometry = view.geometry
    if patches.are_apart(geometry):
        return
    count = _count_passes(geometry)
    many_phases = math.prod(axis.input_dilation for axis in geometry.axes) > target.largest_phases
    if count == 1 or (many_phases and 0 < count <= target.largest_scatter_layers):
        form = BY_PASSES
    else:
        upsamples = all(axis.stride <= axis.input_dilation for axis in geometry.axes)
        widens = view.c >= target.scatter_channels * view.k
        if not (widens and upsamples and view.taps <= target.unrolled_taps):
            return
        form = BY_TAPS
    inputs = view.bytes_of["x"] // view.itemsize
    size = math.prod(geometry.input_size) * (view.c + view.taps * view.k)
    most = target.elements(target.scatter_bytes, view.itemsize, inputs)
    if not target.compiled or size * view.groups * view.n > most:
        most = target.elements(target.block_bytes, view.itemsize, inputs)
    if target.compiled and target.kind == "gpu":
        most = math.inf
    samples, groups = blocks.block_of(view, size, most, target)
    # taps of products of rows are read across memory, which a compiler fuses with the sum
    is_last = channels_last.are_matrices(view, target) and (target.compiled or form == BY_PASSES)
    orders = view.orders if is_last else FIRST
    yield Schedule(
        "gemm", form, "conv", geometry, phases=(PhaseSchedule(),), samples=samples, groups=groups, orders=orders
    )


def _count_passes(geometry: Geometry) -> int:
    """Number of passes, each of as many taps as the input is dilated; 0 if the taps make none."""
    if any(axis.stride != 1 or axis.dilation != 1 for axis in geometry.axes):
        return 0
    return math.prod(-(-axis.kernel_size // axis.input_dilation) for axis in geometry.axes)


def cost(schedule: Schedule, problem: Problem, target: Target) -> Cost:
    """One product with all taps, written and read again."""
    view, item = problem.by_windows(), problem.itemsize
    positions, rows = math.prod(schedule.geometry.input_size), view.k * view.taps
    products = problem.groups * problem.n * item * rows * positions
    operations = 16 + (4 * _count_passes(schedule.geometry) if schedule.form == BY_PASSES else view.taps)
    amount = products / item * view.c * (1 + target.ramp / rows)
    sample = item * positions * (view.c + rows)
    if target.compiled and target.kind == "gpu":
        ordered = 2.0 * view.bytes_of["x"] if schedule.orders == FIRST and view.n > 1 else 0.0
        launches = 5 + (0 if schedule.form == BY_PASSES else view.phases)
        return Cost("matrix", amount, 2 * products + ordered, products + ordered / 2, operations, launches)
    temporary = min(problem.groups * problem.n * sample, max(target.scatter_bytes, sample)) + 2 * problem.bytes_of["w"]
    passes = 2.0
    if schedule.form == BY_TAPS and schedule.orders[0] == "last":
        passes = 1 + target.transpose_passes  # products of rows have channels last: taps of them are read across memory
    elif target.compiled and _count_passes(schedule.geometry) == 1:
        passes = 1.0  # nothing is added: a product is written where it belongs
    return Cost("matrix", amount, passes * products, temporary, operations)
