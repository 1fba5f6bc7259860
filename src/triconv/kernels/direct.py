"""The definition: one matrix product per tap, between the slices that meet there.

No padded copy, no inserted zeros, no flipped kernel. The taps are unrolled, so under a compiler it is meant for kernels
of at most some hundred taps. Each contraction takes `geometry.count_meetings()` multiply-adds per sample, group and pair of
channels.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from triconv.backends.base import Standard
from triconv.geometry import Tap
from triconv.kernels.problem import Problem
from triconv.kernels.schedule import Cost, Schedule
from triconv.kernels.target import Target

Array = Any

RATIONALE = "the smallest program"
NARROW_FACTORS = True  # its operands are factors of products, and nothing else


def conv(x: Array, w: Array, schedule: Schedule, lib: Standard) -> Array:
    """``y[o] += w[t] x[i]`` at every meeting."""
    groups, n, k, geometry = x.shape[0], x.shape[1], w.shape[1], schedule.geometry
    products = ((tap.output, lib.matmul(_matrix(w, tap.index), _columns(x, tap.input, lib))) for tap in geometry.taps())
    return _added(products, (groups, n, k, *geometry.output_size), x, lib)


def conv_input_vjp(g: Array, w: Array, schedule: Schedule, lib: Standard) -> Array:
    """``gx[i] += w[t]^T g[o]`` at every meeting."""
    groups, n, c, geometry = g.shape[0], g.shape[1], w.shape[2], schedule.geometry
    transposed = ((tap, lib.xp.matrix_transpose(_matrix(w, tap.index))) for tap in geometry.taps())
    products = ((tap.input, lib.matmul(w_t, _columns(g, tap.output, lib))) for tap, w_t in transposed)
    return _added(products, (groups, n, c, *geometry.input_size), g, lib)


def conv_weight_vjp(g: Array, x: Array, schedule: Schedule, lib: Standard) -> Array:
    """``gw[t] += g[o] x[i]^T``, summed over the samples, at every meeting."""
    groups, k, c, geometry = g.shape[0], g.shape[2], x.shape[2], schedule.geometry

    def product(tap: Tap) -> Array:
        x_i = lib.xp.matrix_transpose(_columns(x, tap.input, lib))
        products = lib.matmul(_columns(g, tap.output, lib), x_i)
        return lib.xp.sum(products, axis=1, dtype=products.dtype)

    products = ((tuple(slice(t, t + 1) for t in tap.index), product(tap)) for tap in geometry.taps())
    return _added(products, (groups, k, c, *geometry.kernel_size), g, lib)


def _added(
    products: Iterator[tuple[tuple[slice, ...], Array]], shape: tuple[int, ...], like: Array, lib: Standard
) -> Array:
    """Zeros with each product added in its place, in the dtype of the products: that of sums, if the factors' is narrower."""
    total = None
    for place, product in products:
        total = lib.add_at(lib.zeros(shape, product) if total is None else total, place, product)
    return lib.zeros(shape, like) if total is None else total


def _matrix(w: Array, index: tuple[int, ...]) -> Array:
    """The matrix of one tap, shape (groups, 1, k, c): the same for every sample."""
    return w[(..., *index)][:, None, :, :]


def _columns(a: Array, slices: tuple[slice, ...], lib: Standard) -> Array:
    """The positions that meet as the columns of a matrix, shape (groups, n, channels, positions)."""
    part = a[(..., *slices)]
    return lib.xp.reshape(part, (*part.shape[:3], math.prod(part.shape[3:])))


def schedules(problem: Problem, _target: Target) -> Iterator[Schedule]:
    """The only one."""
    yield Schedule("direct", "one product per tap", problem.contraction, problem.geometry)


def cost(_schedule: Schedule, problem: Problem, target: Target) -> Cost:
    """One product per tap, each added to the result: read, padded, added and written; one tap, little else than read."""
    kind = "matrix" if min(problem.c, problem.k) > target.vector_channels else "vector"
    passes = 4 if target.compiled or problem.taps > 1 else 2
    moved = 1.0 * passes * problem.taps * max(problem.bytes_of["x"], problem.bytes_of["g"])
    if not target.compiled:  # each tap takes what meets there, and no more
        inputs, outputs = (math.prod(size) for size in (problem.geometry.input_size, problem.geometry.output_size))
        moved *= min(inputs, outputs) / max(inputs, outputs, 1)
    # a product, and what brings its operands in order; per-sample products of a weight VJP are summed
    has_steps = any(max(axis.stride, axis.input_dilation) > 1 for axis in problem.geometry.axes)
    is_sum = problem.contraction == "conv_weight_vjp"
    launches = (5 if is_sum else 2 + has_steps) * problem.taps
    if target.compiled and target.kind == "gpu" and problem.taps == 1 and not (has_steps or is_sum):
        moved = 0  # one product for each sample of what is there
    # called one by one, a product and its place in the sum take as long as two or three operations of another kernel
    operations = 8 if target.compiled else 2 + is_sum
    return Cost(kind, problem.multiply_adds, moved, 2 * problem.bytes, operations * problem.taps, launches)
