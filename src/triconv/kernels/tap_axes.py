"""Depthwise weight VJPs of channels last whose taps are axes of one array, in a program that does not grow with the taps.

An axis of taps ``t`` is made of an axis of positions by shapes alone: ``x`` is repeated, and cut into lines that are longer by
the dilation. A compiler reads it from ``x`` and writes nothing::

    s[n, t, i]  = x[n, i + dilation * t]        = line t of the repeated x, position i
    u[n, t, q]  = sum over p of g[n, P * q + p] * s[n, t, stride * (P * q + p)]        gw[t] = sum over n, q of u[n, t, q]

About ten positions ``p`` of one axis are summed first, in a loop that has a SIMD lane for each channel; what is left of the
positions, ``u``, stands in memory for every tap. The multiply-adds are those of `direct` and those with the padding.

(Two cores with AVX2, JAX 0.10, 7x7 taps, 2 samples of 32 x 32 positions and 96 channels: 1.2 ms, and 0.3 s to compile. By
unfolding, 3.7 ms and 0.9 s; a loop over the taps, of seven sums in each step, is between the two.)
"""

from __future__ import annotations

import functools
import math
import operator
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from triconv.backends.array_operations import permute_dims, tap_axis
from triconv.backends.base import Standard
from triconv.geometry import Geometry
from triconv.kernels import blocks, polyphase
from triconv.kernels.problem import Problem
from triconv.kernels.schedule import Cost, PhaseSchedule, Schedule, counted
from triconv.kernels.target import Target

Array = Any

FORM = "taps as axes of one array"


def conv_weight_vjp(g: Array, x: Array, schedule: Schedule, lib: Standard) -> Array:
    """``gw[t] = <g, x>`` at every tap."""
    return polyphase.conv_weight_vjp(_one_phase, g, x, schedule, lib)


def _one_phase(g: Array, x: Array, geometry: Geometry, how: PhaseSchedule, lib: Standard) -> Array:
    """The sums of one phase and block, of one channel per group: (groups, 1, 1, *kernel)."""
    axes, summed, count = geometry.axes, how.summed_axis - 1, how.summed
    excess = -axes[summed].output_size % count  # outputs that fill up the last part: zeros, with zeros of x
    more = [(0, excess if number == summed else 0) for number in range(len(axes))]
    inputs_more = [(lo, axis.stride * hi) for axis, (lo, hi) in zip(axes, more, strict=True)]
    g, x = (blocks.positions_first(a, lib) for a in (g, x))
    g = lib.pad(g, [*more, (0, 0)])
    x = lib.pad(lib.pad(x, [*((axis.pad_lo, axis.read_pad_hi) for axis in axes), (0, 0)]), [*inputs_more, (0, 0)])
    for number, axis in reversed([*enumerate(axes)]):
        x = tap_axis(x, 1 + number, axis, lib.xp)  # (n, t, i, t', i', .., groups)
    parts = []
    for p in range(count):
        of_g: list[slice | None] = [slice(None)]
        of_x = [slice(None)]
        for number, axis in enumerate(axes):
            start, step = (p, count) if number == summed else (0, 1)
            size = axis.output_size + (excess if number == summed else 0)
            of_g += [None, slice(start, None, step)]
            of_x += [slice(None), slice(axis.stride * start, axis.stride * (size - 1) + 1, axis.stride * step)]
        parts.append(g[(*of_g, slice(None))] * x[(*of_x, slice(None))])
    u = functools.reduce(operator.add, parts)  # (n, t, q, t', q', .., groups)
    gw = lib.sum_written(u, (0, *range(2, u.ndim - 1, 2)))
    gw = lib.xp.reshape(gw, (*gw.shape[:-1], 1, gw.shape[-1], 1))  # as the framework has it, which a compiler then sees
    return permute_dims(gw, (gw.ndim - 2, gw.ndim - 1, gw.ndim - 3, *range(len(axes))), lib.xp)


# ---- schedules


def has_lanes(view: Problem, target: Target) -> bool:
    """Whether a compiled loop on a CPU has channels side by side, which stand last in both operands, and enough of them."""
    x_order, _, g_order = view.orders
    are_last = (x_order, g_order) == ("last", "last") and view.groups >= target.summed_channels
    return are_last and target.compiled and target.kind == "cpu"


def suits(view: Problem, target: Target) -> bool:
    """Whether a compiler fuses it, for SIMD lanes that are channels, and there are taps enough to be worth it."""
    is_one = view.contraction == "conv_weight_vjp" and view.c == view.k == 1 and view.taps > target.chained_taps
    return is_one and has_lanes(view, target)


def schedules(schedule: Schedule, view: Problem, target: Target) -> Iterator[Schedule]:
    """One of all samples, if the partial sums are few: for more, an allocator gives new pages in each call."""
    phases = tuple(_phase(geometry, target) for geometry, _ in counted(view.geometry, target))
    whole = replace(schedule, form=FORM, phases=phases, samples=0, groups=0, orders=view.orders)
    if _partial_sums(whole, view) * view.itemsize <= target.partial_sums_bytes:
        yield whole


def _phase(geometry: Geometry, target: Target) -> PhaseSchedule:
    """The axis of which most positions are summed first, the last such axis; in equal parts, or a few less in the last."""
    counts = [blocks.even(axis.output_size, target.fused_places) for axis in geometry.axes]
    number = max(range(len(counts)), key=lambda number: (counts[number], number))
    return PhaseSchedule(summed_axis=number + 1, summed=counts[number])


def _partial_sums(schedule: Schedule, view: Problem) -> int:
    """Their number, of all phases."""
    number = 0
    for geometry, count, how in schedule.counted():
        sizes = list(geometry.output_size)
        sizes[how.summed_axis - 1] = -(-sizes[how.summed_axis - 1] // how.summed)
        number += count * math.prod(sizes) * math.prod(geometry.kernel_size)
    return number * view.n * view.groups


def cost(schedule: Schedule, problem: Problem) -> Cost:
    """Fused multiply-adds, and the partial sums, which are written and read."""
    view = replace(problem.by_windows(), geometry=schedule.geometry)
    written = view.itemsize * _partial_sums(schedule, view)
    operations = 16 + sum(3 * count * how.summed for _, count, how in schedule.counted())
    temporary = 2.0 * view.bytes_of["x"] + written
    return Cost("vector", 1.0 * view.padded_multiply_adds, 1.5 * written, temporary, operations)
