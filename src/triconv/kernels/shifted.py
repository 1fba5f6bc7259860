"""Shifted multiply-adds in place, where a library can add to an array that is there (`Standard.shifted_conv`).

For one channel per group. The inputs of a tile are copied once: padded, and sorted by their residues modulo the stride. Then
each tap multiplies and adds numbers that stand side by side in memory, in the memory order that the arrays have. So nothing is
transposed, and the terms stay in a cache. Strided inputs with many channels last are read as they stand, and phases are written
where they belong. With channels first, a line may have all positions of a channel, and of several samples: then nothing is
transposed at all. The multiply-adds are those of `direct`, and those with the padding.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from triconv.backends.array_operations import permute_dims
from triconv.backends.base import Standard
from triconv.geometry import Geometry
from triconv.kernels import polyphase
from triconv.kernels.problem import FIRST, Problem
from triconv.kernels.schedule import Cost, PhaseSchedule, Schedule, counted
from triconv.kernels.target import Target

Array = Any

FORM = "shifted multiply-adds in place"


def conv(x: Array, w: Array, schedule: Schedule, lib: Standard) -> Array:
    """``y += w[t] * x`` at every tap."""
    last = "last" in schedule.orders
    w = permute_dims(w[:, 0, 0, ...], (*range(1, w.ndim - 2), 0), lib.xp)
    phases = [phase for phase, _ in schedule.by_phases()]
    how, sizes = schedule.phases[0], schedule.geometry.output_size
    y = lib.shifted_conv(_plain(x, lib, last=last), w, phases, sizes, last=last, along_positions=how.along_positions)
    order = (y.ndim - 1, 0, *range(1, y.ndim - 1)) if last else (1, 0, *range(2, y.ndim))
    return permute_dims(y, order, lib.xp)[:, :, None, ...]


def conv_weight_vjp(g: Array, x: Array, schedule: Schedule, lib: Standard) -> Array:
    """``gw[t] = <g, x>`` at every tap, summed over the samples."""

    def one_phase(g: Array, x: Array, geometry: Geometry, how: PhaseSchedule, lib: Standard) -> Array:
        last = "last" in schedule.orders or how.along_channels
        g, x = _plain(g, lib, last=last), _plain(x, lib, last=last)
        gw = lib.shifted_weight_vjp(g, x, geometry.axes, last=last, along_channels=how.along_channels)
        return permute_dims(gw, (gw.ndim - 1, *range(gw.ndim - 1)), lib.xp)[:, None, None, ...]

    return polyphase.conv_weight_vjp(one_phase, g, x, schedule, lib)


def _plain(a: Array, lib: Standard, *, last: bool) -> Array:
    """A canonical array of one channel per group as (n, channels, *positions), or with channels last."""
    a = a[:, :, 0, ...]
    return permute_dims(a, (1, *range(2, a.ndim), 0) if last else (1, 0, *range(2, a.ndim)), lib.xp)


# ---- schedules


def suits(view: Problem, target: Target) -> bool:
    """Whether there is one channel per group, several lines side by side, and the library has them."""
    return bool(target.in_place and view.c == view.k == 1 and view.geometry.axes and view.groups * view.n > 1)


def in_tiles(schedule: Schedule, view: Problem) -> Schedule:
    """The schedule: the library makes the tiles, in the order of memory of both arrays."""
    x_order, _, g_order = view.orders
    orders = view.orders if x_order == g_order == "last" else FIRST
    return replace(schedule, form=FORM, phases=(PhaseSchedule(),), samples=0, groups=0, orders=orders)


def has_lines(view: Problem, target: Target) -> bool:
    """Whether a convolution has long lines of all positions of a channel, which no stride takes apart.

    Along one axis, those of one sample; along more, those of all samples.
    """
    if view.contraction != "conv" or view.orders[0] == "last":
        return False
    geometries = [geometry for geometry, _ in counted(view.geometry, target)]
    if any(axis.stride > 1 for geometry in geometries for axis in geometry.axes):
        return False
    if len(view.geometry.axes) == 1:
        return min(geometry.output_size[0] for geometry in geometries) >= target.line_of_sample
    return min(view.n * math.prod(geometry.output_size) for geometry in geometries) >= target.line_of_samples


def along_positions(schedule: Schedule) -> Schedule:
    """The schedule along such lines."""
    return replace(
        schedule, form=FORM, phases=(PhaseSchedule(along_positions=True),), samples=0, groups=0, orders=FIRST
    )


def along_channels(schedule: Schedule, view: Problem) -> Iterator[Schedule]:
    """The schedule of a weight VJP whose channels stand last in both arrays, and are summed side by side."""
    if view.contraction == "conv_weight_vjp" and view.orders[0] == view.orders[2] == "last":
        yield replace(in_tiles(schedule, view), phases=(PhaseSchedule(along_channels=True),))


def cost(schedule: Schedule, problem: Problem, target: Target) -> Cost:
    """Multiply-adds from a cache; the padded input of each phase is written, and so is the output, interleaved if need be.

    Convolutions add along channels, so they want channels last; sums run along positions, so they want channels first, or many
    channels last (`along_channels`). In the other order, tiles are transposed; but not where lines have all positions of a
    channel (`along_positions`). Those of one axis are read and written where they stand.
    """
    view = replace(problem.by_windows(), geometry=schedule.geometry)
    kind = "sum" if schedule.contraction == "conv_weight_vjp" else "vector"
    moved = 1.0 * view.phases * view.bytes_of["x"] + view.bytes_of["g"] * (3 if view.phases > 1 else 1)
    amount, is_along_channels = view.padded_multiply_adds / target.in_place, False
    if is_along_positions := schedule.phases[0].along_positions:
        axes = view.geometry.axes
        if len(axes) > 1:  # what is between rows is computed, too
            amount *= math.prod(1 + (axis.kernel_size - 1) / (2 * axis.output_size) for axis in axes)
        elif view.phases == 1:
            moved *= 0.5
        moved -= view.bytes_of["g"] if view.phases > 1 else 0  # one tile's phases are interleaved in a cache
    elif is_along_channels := kind == "sum" and schedule.phases[0].along_channels:
        amount *= target.channel_sums + target.channel_loop / view.groups
        moved *= 0.5
    elif (schedule.orders == FIRST) == (kind == "vector"):
        moved += 0.75 * (view.phases * view.bytes_of["x"] + view.bytes_of["g"])
    is_in_runs = is_along_channels or (
        kind == "vector" and schedule.orders != FIRST and view.groups >= target.channel_run
    )
    if any(axis.stride > 1 for axis in view.geometry.axes) and not (is_in_runs or is_along_positions):
        moved += 4.0 * view.phases * view.bytes_of["x"]  # read element by element
    temporary = 0 if view.phases == 1 else view.bytes_of["g"]
    return Cost(kind, amount, moved, temporary, 16 + 2 * view.taps)
