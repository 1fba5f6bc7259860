"""Products of rows: the taps of the last two axes and a row of outputs, where a library calls one product after the other.

Windows of the last axis alone are unfolded. Then the taps of the axis before it, ``s``, are rows that follow each other in
memory, and windows of rows overlap there: they are read as they are, and nothing is written twice for them::

    u[i, (t, c), (n, o)] = x[n, c, i, stride * o + dilation * t]

    y[p, k, (n, o)] = w[k, (s, t, c)] @ u[stride * p + s, (t, c), (n, o)]          gw[k, (s, t, c)] = sum over p of  g[p] @ u^T

Taps of other axes are added up, one product each; so are those of the axis before the last, if they are dilated. The
multiply-adds are those of `direct`, and those with the padding; none is with a zero that stands for no tap, so a NaN stays
where it belongs.
"""

from __future__ import annotations

import functools
import itertools
import math
from typing import Any, NamedTuple

from triconv.backends.array_operations import order_of, permute_dims
from triconv.backends.base import Standard
from triconv.geometry import Geometry
from triconv.kernels import polyphase
from triconv.kernels.problem import Problem
from triconv.kernels.schedule import Cost, PhaseSchedule, Schedule, counted
from triconv.kernels.target import Target

Array = Any

FORM = "products of rows"


class Rows(NamedTuple):
    """One phase, as `unfold_rows` and the products take it; known before the blocks are."""

    geometry: Geometry
    rows: tuple[tuple[int, int], ...]  # padding of the axes but the last
    meetings: tuple[tuple[slice, slice], ...]  # inputs and outputs of the last axis that meet at each of its taps
    last: int  # outputs of the last axis
    windows: tuple[tuple[slice, ...], ...]  # rows that meet the outputs, by taps of the outer axes
    merged: tuple[int, int]  # taps and stride of the axis before the last, if they stand side by side, or else (0, 0)
    outputs: tuple[int, ...]  # of the axes but the last


@functools.lru_cache(256)
def _rows_of(geometry: Geometry) -> Rows:
    *lead, last = geometry.axes
    outer, inner = lead[: outer_axes(geometry)], lead[outer_axes(geometry) :]
    windows = tuple(
        tuple(axis.window(t) for axis, t in zip(outer, tap, strict=True))
        for tap in itertools.product(*(range(axis.kernel_size) for axis in outer))
    )
    return Rows(
        geometry,
        tuple(
            (axis.pad_lo, axis.stride * (axis.output_size - 1) + axis.dilated_kernel - axis.input_size - axis.pad_lo)
            for axis in lead
        ),
        tuple(last.meetings(t) for t in range(last.kernel_size)),
        last.output_size,
        windows,
        (inner[0].kernel_size, inner[0].stride) if inner else (0, 0),
        tuple(axis.output_size for axis in lead),
    )


def outer_axes(geometry: Geometry) -> int:
    """Number of axes whose taps are added up."""
    lead = geometry.axes[:-1]
    return len(lead) - 1 if lead and lead[-1].dilation == 1 else len(lead)


def conv(x: Array, w: Array, schedule: Schedule, lib: Standard) -> Array:
    """``y = w @ unfold(x)``, row by row."""
    known: dict[int, Rows] = {}  # by identity: a hash takes longer

    def one_phase(x: Array, w: Array, geometry: Geometry, _how: PhaseSchedule, lib: Standard) -> Array:
        rows = known.get(id(geometry)) or known.setdefault(id(geometry), _rows_of(geometry))
        groups, n, u = x.shape[0], x.shape[1], _unfold(x, rows, lib)
        y = lib.matmul(w[:, 0, ...], _read(u, rows, 0, lib))
        for number in range(1, len(rows.windows)):
            y += lib.matmul(w[:, number, ...], _read(u, rows, number, lib))
        y = lib.xp.reshape(y, (groups, *rows.outputs, y.shape[-2], n, rows.last))
        front = y.ndim - 3
        return permute_dims(y, (0, front + 1, front, *range(1, front), front + 2), lib.xp)

    parts = iter([phase.geometry for phase, _ in schedule.by_phases()])
    x = _channels_first(x, lib)
    return polyphase.conv(one_phase, x, w, schedule, lib, lambda w, _, lib: _matrix(w, next(parts), lib))


def conv_weight_vjp(g: Array, x: Array, schedule: Schedule, lib: Standard) -> Array:
    """``gw = g @ unfold(x)^T``, summed over the rows."""
    known: dict[int, Rows] = {}

    def one_phase(g: Array, x: Array, geometry: Geometry, _how: PhaseSchedule, lib: Standard) -> Array:
        rows = known.get(id(geometry)) or known.setdefault(id(geometry), _rows_of(geometry))
        (groups, n, k), c = g.shape[:3], x.shape[2]
        u = _unfold(x, rows, lib)
        g = permute_dims(g, (0, *range(3, g.ndim - 1), 2, 1, g.ndim - 1), lib.xp)
        g = lib.xp.reshape(g, (groups, *(rows.outputs or (1,)), k, n * rows.last))
        positions, terms = tuple(range(1, g.ndim - 2)), []
        for number in range(len(rows.windows)):
            products = lib.matmul_transposed(g, _read(u, rows, number, lib))
            terms.append(lib.xp.sum(products, axis=positions, dtype=g.dtype))
        outer = outer_axes(geometry)
        gw = lib.xp.stack(terms, axis=1)  # (groups, outer taps, k, other taps * c)
        sizes = geometry.kernel_size
        gw = lib.xp.reshape(gw, (groups, *sizes[:outer], k, *sizes[outer:], c))
        first = 1 + outer
        order = (0, first, gw.ndim - 1, *range(1, first), *range(first + 1, gw.ndim - 1))
        return permute_dims(gw, order, lib.xp)

    return polyphase.conv_weight_vjp(one_phase, _channels_first(g, lib), _channels_first(x, lib), schedule, lib)


def _channels_first(a: Array, lib: Standard) -> Array:
    """The array, copied once if its channels stand last: each tap would read rows of it element by element."""
    return lib.ordered(a) if order_of(a) == "last" else a


def _unfold(x: Array, rows: Rows, lib: Standard) -> Array:
    """The padded x, of shape (groups, *rows, taps of the last axis * c, n * outputs of the last axis)."""
    ndim = len(rows.rows)
    x = permute_dims(x, (0, *range(3, 3 + ndim), 2, 1, 3 + ndim), lib.xp)  # (groups, *rows, c, n, last)
    u = lib.unfold_last(x, rows.rows, rows.meetings, rows.last)
    sizes = u.shape[1 : 1 + ndim] or (1,)
    return lib.xp.reshape(u, (u.shape[0], *sizes, u.shape[-4] * u.shape[-3], u.shape[-2] * u.shape[-1]))


def _read(u: Array, rows: Rows, number: int, lib: Standard) -> Array:
    """What the outputs meet at a tap of the outer axes: (groups, *outputs, taps * c, n * outputs of the last axis)."""
    if windows := rows.windows[number]:
        u = u[(slice(None), *windows, ...)]
    return lib.overlapping(u, *rows.merged) if rows.merged[0] else u


def _matrix(w: Array, geometry: Geometry, lib: Standard) -> Array:
    """The matrices of the taps of the outer axes: (groups, outer taps, 1, ..., k, taps * c)."""
    (groups, k), ndim, outer = w.shape[:2], w.ndim - 3, outer_axes(geometry)
    w = permute_dims(w, (0, *range(3, 3 + outer), 1, *range(3 + outer, w.ndim), 2), lib.xp)
    ones = (1,) * max(1, ndim - 1)
    count = math.prod(geometry.kernel_size[:outer])
    return lib.ordered(lib.xp.reshape(w, (groups, count, *ones, k, -1)))


# ---- schedules


def suits(view: Problem, kind: str, target: Target) -> bool:
    """Whether BLAS has such products, and leaves one of a single sample on one thread."""
    if not (target.rates.row and kind != "integer" and view.geometry.axes):
        return False
    geometries = [geometry for geometry, _ in counted(view.geometry, target)]
    sizes = [_terms(view, geometry) * geometry.output_size[-1] for geometry in geometries]
    return 0 < max(sizes, default=0) <= target.row_elements


def tiles(schedule: Schedule, view: Problem, target: Target) -> Schedule:
    """The schedule in tiles of samples and groups.

    A row of outputs, of as many samples as make it long, is a product that BLAS leaves on one thread; and as many groups
    make a tile as its second-level cache holds.
    """
    parts = [geometry for geometry, _ in counted(view.geometry, target)]
    length = max(geometry.output_size[-1] for geometry in parts)
    terms = max(_terms(view, geometry) for geometry in parts)
    samples = max(1, min(view.n, int(target.row_elements / (terms * length))))
    count = -(-view.n // samples)
    samples = -(-view.n // count)
    size = samples * sum(_unfolded(view, geometry) for geometry in parts) * view.itemsize
    groups = max(1, min(view.groups, int(target.row_tile_bytes / size)))
    groups = -(-view.groups // -(-view.groups // groups))
    return Schedule(
        schedule.kernel, FORM, schedule.contraction, schedule.geometry, schedule.swapped, schedule.spread,
        phases=(PhaseSchedule(),), samples=samples, groups=groups, in_tiles=True,
    )  # fmt: skip


def _terms(view: Problem, geometry: Geometry) -> int:
    """Terms of a product."""
    return view.c * math.prod(geometry.kernel_size[outer_axes(geometry) :])


def _unfolded(view: Problem, geometry: Geometry) -> int:
    """Elements that are unfolded of one sample and group."""
    *lead, last = geometry.axes
    return view.c * math.prod(axis.padded_size for axis in lead) * last.kernel_size * last.output_size


def cost(schedule: Schedule, problem: Problem, target: Target) -> Cost:
    """Products of rows, each with the time to call it, and what is unfolded."""
    view, amount, moved, most = problem.by_windows(), 0.0, 0.0, 0.0
    samples = schedule.samples or view.n
    for geometry, count in counted(schedule.geometry, target):
        outputs = view.groups * view.n * math.prod(geometry.output_size)
        products = (
            outputs / (samples * geometry.output_size[-1]) * math.prod(geometry.kernel_size[: outer_axes(geometry)])
        )
        meetings = (
            view.groups * view.n * view.c * view.k * math.prod(a.output_size * a.kernel_size for a in geometry.axes)
        )
        amount += count * (meetings + target.row_call * products)
        unfolded = view.itemsize * view.groups * view.n * _unfolded(view, geometry)
        moved += count * unfolded
        most += count * unfolded / (view.groups * view.n) * samples * (schedule.groups or view.groups)
    tiles = -(-view.groups // (schedule.groups or view.groups))
    if schedule.contraction == "conv":  # those of a weight VJP are sums over all samples
        tiles *= -(-view.n // samples)
    if tiles == 1:  # on one thread, where another kernel's product has them all
        amount *= 1.5
    moved += 2 * view.bytes_of["g"] if view.phases > 1 else 0
    return Cost("row", amount, moved, 4 * most, 16 * view.phases)
