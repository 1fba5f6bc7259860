"""The definition: one matrix product a tap, between the slices that meet there.

No padded copy, no inserted zeros, no flipped kernel. The taps are unrolled, so under a compiler it is meant for kernels
of at most some hundred taps. Each contraction takes `geometry.count_meetings()` multiply-adds a sample, group and pair of
channels.
"""

from __future__ import annotations

import math
from typing import Any

from triconv.backends.base import Standard
from triconv.geometry import Geometry
from triconv.kernels.problem import Problem, Work

Array = Any


def conv(x: Array, w: Array, geometry: Geometry, lib: Standard) -> Array:
    """``y[o] += w[t] x[i]`` at every meeting."""
    groups, n, k = x.shape[0], x.shape[1], w.shape[1]
    y = lib.zeros((groups, n, k, *geometry.output_size), x)
    for tap in geometry.taps():
        y_o = lib.matmul(_matrix(w, tap.index), _columns(x, tap.input, lib))
        y = lib.add_at(y, tap.output, y_o)
    return y


def conv_input_vjp(g: Array, w: Array, geometry: Geometry, lib: Standard) -> Array:
    """``gx[i] += w[t]^T g[o]`` at every meeting."""
    groups, n, c = g.shape[0], g.shape[1], w.shape[2]
    gx = lib.zeros((groups, n, c, *geometry.input_size), g)
    for tap in geometry.taps():
        w_t = lib.xp.matrix_transpose(_matrix(w, tap.index))
        gx_i = lib.matmul(w_t, _columns(g, tap.output, lib))
        gx = lib.add_at(gx, tap.input, gx_i)
    return gx


def conv_weight_vjp(g: Array, x: Array, geometry: Geometry, lib: Standard) -> Array:
    """``gw[t] += g[o] x[i]^T``, summed over the samples, at every meeting."""
    groups, k, c = g.shape[0], g.shape[2], x.shape[2]
    gw = lib.zeros((groups, k, c, *geometry.kernel_size), g)
    for tap in geometry.taps():
        x_i = lib.xp.matrix_transpose(_columns(x, tap.input, lib))
        gw_t = lib.xp.sum(lib.matmul(_columns(g, tap.output, lib), x_i), axis=1, dtype=g.dtype)
        gw = lib.add_at(gw, tuple(slice(t, t + 1) for t in tap.index), gw_t)
    return gw


def _matrix(w: Array, index: tuple[int, ...]) -> Array:
    """The matrix of one tap, shape (groups, 1, k, c): the same for every sample."""
    return w[(..., *index)][:, None, :, :]


def _columns(a: Array, slices: tuple[slice, ...], lib: Standard) -> Array:
    """The positions that meet as the columns of a matrix, shape (groups, n, channels, positions)."""
    part = a[(..., *slices)]
    return lib.xp.reshape(part, (*part.shape[:3], math.prod(part.shape[3:])))


def work(problem: Problem) -> Work:
    """One product a tap, each added to the result."""
    kind = "matrix" if min(problem.c, problem.k) > 4 else "vector"
    moved = 4 * problem.taps * max(problem.bytes_of["x"], problem.bytes_of["g"])
    return Work(kind, problem.multiply_adds, moved, 2 * problem.bytes, 8 * problem.taps, "the least to compile")
