"""Shifted multiply-adds: each tap scales a shifted input, in loops that a compiler fuses into one.

For few channels per group, where matrix products would be of vectors::

    y[k, o] += w[k, c, t] * x[c, stride * o + dilation * t]        gw[k, c, t] = the same product with g, summed over n, o

An input dilation goes by phases (`polyphase`). The multiply-adds are those of `direct`, and those with the padding.

What a compiler makes of it is what matters. Few taps become one loop that pads as it reads, and no copy is written. Of more
taps that loop would have too many conditions, and so the taps read a padded copy. On a CPU they also do in a program that XLA
does not keep apart: it would compute the input once per tap.
"""

from __future__ import annotations

import functools
import itertools
import math
import operator
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from triconv.backends.array_operations import permute_dims
from triconv.backends.base import Standard
from triconv.geometry import Axis, Geometry
from triconv.kernels import blocks, polyphase, row_products, shifted, tap_axes, tap_loops
from triconv.kernels.problem import Problem
from triconv.kernels.schedule import Cost, PhaseSchedule, Schedule, by_phases, counted
from triconv.kernels.target import Target

Array = Any

RATIONALE = "few channels per group"


def conv(x: Array, w: Array, schedule: Schedule, lib: Standard) -> Array:
    """``y += w[t] * x`` at every tap."""
    if schedule.form == row_products.FORM:
        return row_products.conv(x, w, schedule, lib)
    if schedule.form == shifted.FORM:
        return shifted.conv(x, w, schedule, lib)
    return polyphase.conv(functools.partial(tap_loops.sum_taps, _conv), x, w, schedule, lib)


def conv_input_vjp(g: Array, w: Array, schedule: Schedule, lib: Standard) -> Array:
    """`conv` of the transposed geometry."""
    return conv(g, polyphase.transposed(w, lib), schedule, lib)


def conv_weight_vjp(g: Array, x: Array, schedule: Schedule, lib: Standard) -> Array:
    """``gw[t] = <g, x>`` at every tap, summed over the samples."""
    if schedule.form == row_products.FORM:
        return row_products.conv_weight_vjp(g, x, schedule, lib)
    if schedule.form == shifted.FORM:
        return shifted.conv_weight_vjp(g, x, schedule, lib)
    if schedule.form == tap_axes.FORM:
        return tap_axes.conv_weight_vjp(g, x, schedule, lib)
    return polyphase.conv_weight_vjp(functools.partial(tap_loops.map_taps, _weight_vjp), g, x, schedule, lib)


def _conv(x: Array, w: Array, geometry: Geometry, how: PhaseSchedule, lib: Standard) -> Array:
    """`conv` of one phase and block, of a kernel that is not looped over."""
    if how.rows_together:
        return _conv_of_rows(x, w, geometry, how, lib)
    ones, count = (1,) * len(geometry.axes), math.prod(geometry.kernel_size)
    width = geometry.kernel_size[-1] if how.by_kernel_rows else count
    rows: list[Array] = []  # of the kernel, each summed by itself
    for number, (tap, window) in enumerate(_shifted(x, geometry, how, lib)):
        for c in range(x.shape[2]):
            w_tc = lib.xp.reshape(w[(slice(None), slice(None), c, *tap)], (w.shape[0], 1, w.shape[1], *ones))
            y_tc = w_tc * window[:, :, c : c + 1, ...]
            if number % width or c:
                rows[-1] = rows[-1] + y_tc
            else:
                rows.append(y_tc)
    return functools.reduce(operator.add, rows)


def _conv_of_rows(x: Array, w: Array, geometry: Geometry, how: PhaseSchedule, lib: Standard) -> Array:
    """Compute the sums of all rows of the kernel as one array, and add from it what meets each output.

    For the taps ``s`` of the first axis and ``t`` of the others::

        u[s, i, o] = sum over t of w[s, t] * x[i, stride * o + dilation * t]        y[o', o] = sum over s of u[s, i, o]

    where ``i`` is the input that meets ``o'`` at ``s``. A program of a term per row and a term per tap of a row, instead of one
    per tap. A compiler that fuses it writes no ``u``, and computes the same.
    """
    first, *axes = geometry.axes
    rows, whole, ones = first.kernel_size, slice(None), (1,) * len(axes)
    x = polyphase.padded(x, geometry.axes, lib, channels_last=how.channels_last)
    groups, k, c, *_ = w.shape
    terms = itertools.product(itertools.product(*(range(axis.kernel_size) for axis in axes)), range(c))
    if not how.channels_last:

        def term(tap: tuple[int, ...], c: int) -> Array:  # (groups, n, k, s, i, o)
            w_tc = lib.xp.reshape(w[(whole, whole, c, whole, *tap)], (groups, 1, k, rows, 1, *ones))
            return w_tc * x[(whole, whole, slice(c, c + 1), None, whole, *_windows(axes, tap))]

        u = functools.reduce(operator.add, itertools.starmap(term, terms))
        return functools.reduce(operator.add, (u[:, :, :, s, first.window(s), ...] for s in range(rows)))
    x = blocks.samples_first(x, "last", lib)
    w = permute_dims(w, (*range(3, w.ndim), 2, 0, 1), lib.xp)

    def term_last(tap: tuple[int, ...], c: int) -> Array:  # (n, s, i, o, groups, k)
        w_tc = lib.xp.reshape(w[(whole, *tap, c)], (rows, 1, *ones, groups, k))
        return w_tc * x[(whole, None, whole, *_windows(axes, tap), whole, slice(c, c + 1))]

    u = functools.reduce(operator.add, itertools.starmap(term_last, terms))
    y = functools.reduce(operator.add, (u[:, s, first.window(s), ...] for s in range(rows)))
    return blocks.canonical(y, "last", lib)


def _windows(axes: Sequence[Axis], tap: tuple[int, ...]) -> tuple[slice, ...]:
    return tuple(axis.window(t) for axis, t in zip(axes, tap, strict=True))


def _weight_vjp(g: Array, x: Array, geometry: Geometry, how: PhaseSchedule, lib: Standard) -> Array:
    """`conv_weight_vjp` likewise."""
    windows = [part for _, part in _shifted(x, geometry, how, lib)]

    def inner(k: int, c: int) -> Array:
        factor, factors = g[:, :, k, ...], [part[:, :, c, ...] for part in windows]
        if not how.summed_axis:
            return lib.inner(factor, factors)
        factor, *factors = (permute_dims(a, (*range(1, a.ndim), 0), lib.xp) for a in (factor, *factors))
        return lib.inner_in_parts(factor, factors, how.summed_axis, how.summed)

    gw = [inner(k, c) for k, c in itertools.product(range(g.shape[2]), range(x.shape[2]))]
    return lib.xp.reshape(lib.xp.stack(gw, axis=1), (g.shape[0], g.shape[2], x.shape[2], *geometry.kernel_size))


def _shifted(
    x: Array, geometry: Geometry, how: PhaseSchedule, lib: Standard
) -> Iterator[tuple[tuple[int, ...], Array]]:
    """`polyphase.windows`; or padded one by one, for a compiler to do it as they are read."""
    if not how.pads_in_place:
        yield from polyphase.windows(x, geometry.axes, lib, channels_last=how.channels_last)
        return
    for tap in itertools.product(*map(range, geometry.kernel_size)):
        starts = [axis.dilation * t - axis.pad_lo for axis, t in zip(geometry.axes, tap, strict=True)]
        ends = [start + axis.stride * axis.output_size for axis, start in zip(geometry.axes, starts, strict=True)]
        window = lib.pad(x, [(-start, end - size) for start, end, size in zip(starts, ends, x.shape[3:], strict=True)])
        yield tap, window[(..., *(slice(None, None, axis.stride) for axis in geometry.axes))]


# ---- schedules


def caution(problem: Problem, target: Target) -> str | None:
    """Return why it is not chosen unless it is asked for, if so."""
    view = problem.by_windows()
    is_much = target.compiled and target.kind == "gpu" and view.c > target.vector_channels
    return f"a loop over {view.c} channels, which a GPU has matrix units for" if is_much else None


def schedules(problem: Problem, target: Target) -> Iterator[Schedule]:
    """Blocks whose operands stay in cache, where a compiler does not fuse everything; or products of rows."""
    schedule, view = by_phases("depthwise", "shifted multiply-adds", problem, target)
    is_conv = view.contraction == "conv"
    geometries = [geometry for geometry, _ in counted(view.geometry, target)]
    phases = tuple(_phase(view, geometry, target) for geometry in geometries)
    inputs = view.bytes_of["x"] // view.itemsize
    size = view.c * math.prod(view.geometry.input_size) + view.k * math.prod(view.geometry.output_size)
    most = target.elements(target.depthwise_bytes, view.itemsize, inputs)
    if target.compiled:
        whole = size
        if is_conv:
            parts = zip(geometries, phases, strict=True)
            whole = max(0 if how.pads_in_place else view.c * _padded(geometry) for geometry, how in parts)
        is_much = view.groups * view.n * whole * view.itemsize > target.depthwise_whole_bytes
        most = most if is_much and target.kind == "cpu" else math.inf
    samples, groups = blocks.block_of(view, size, most, target)
    # its sums are element by element, in any order
    yield replace(schedule, phases=phases, samples=samples, groups=groups, orders=view.orders)
    yield replace(schedule, phases=phases, samples=samples, groups=groups)
    if shifted.suits(view, target):
        yield shifted.in_tiles(schedule, view)
        yield from shifted.along_channels(schedule, view)
        if shifted.has_lines(view, target):
            yield shifted.along_positions(schedule)
    if row_products.suits(view, problem.kind, target):
        yield row_products.tiles(schedule, view, target)
    if tap_axes.suits(view, target):
        yield from tap_axes.schedules(schedule, view, target)


def _phase(view: Problem, geometry: Geometry, target: Target) -> PhaseSchedule:
    is_conv, taps = view.contraction == "conv", math.prod(geometry.kernel_size)
    step = 0
    if taps > (target.unrolled_taps if is_conv else target.unrolled_sums):
        step = tap_loops.step_of(geometry, target.taps_per_step)
    taps = step or taps
    axis, count = (0, 0) if is_conv or step else _summed_first(view, geometry, target)
    pads_in_place = _pads_in_place(view, geometry, taps, target)
    by_kernel_rows = is_conv and not step and taps > target.chained_taps
    return PhaseSchedule(
        step=step,
        pads_in_place=pads_in_place,
        channels_last=view.orders[0] == "last" and not pads_in_place,
        summed_axis=axis,
        summed=count,
        by_kernel_rows=by_kernel_rows,
        rows_together=by_kernel_rows and _are_fused(view, geometry, target),
    )


def _pads_in_place(view: Problem, geometry: Geometry, taps: int, target: Target) -> bool:
    """Whether a compiled loop had better pad as it reads than read a padded copy.

    A CPU looks at each element that it reads, so it depends on how long a copy takes beside: of much more than is computed,
    where there is a stride, or of more than stands in a cache.
    """
    is_conv = view.contraction == "conv"
    if target.compiled and target.kind == "gpu":
        return (view.c if is_conv else view.c * view.k) * taps <= target.fused_padding_taps
    has_padding = any(max(axis.pad_lo, axis.pad_hi) > 0 for axis in geometry.axes)
    if not (target.apart and is_conv and has_padding and view.c == view.k == view.phases == 1):
        return False
    inputs = _padded(geometry)
    is_much = inputs >= 2 * math.prod(geometry.output_size) or (
        view.n * view.groups * inputs * view.itemsize > target.padded_bytes
    )
    return taps <= (target.fused_padding_taps if is_much else target.padding_taps)


def _are_fused(view: Problem, geometry: Geometry, target: Target) -> bool:
    """Whether a compiler fuses an array of the sums of all rows of the kernel, into code that is no slower.

    It is slower where several output channels per group stand last: 1.8 times for 5x5 taps and 2 outputs of each channel.
    """
    is_row = view.k == 1 or view.orders[0] == "first"
    return target.compiled and target.kind == "cpu" and is_row and 1 < geometry.kernel_size[0] <= target.fused_places


def _summed_first(view: Problem, geometry: Geometry, target: Target) -> tuple[int, int]:
    """The axis, from 1 on, and how many of its positions are summed before the others; zeros where all are at once.

    Where channels stand last, a compiled loop takes one sum after the other, and reads a cache line anew for each of its
    terms. Of a few terms the lines stay in the first-level cache, for the sums of the channels beside it.
    """
    if not tap_axes.has_lanes(view, target):
        return 0, 0
    lengths = [blocks.divisor(axis.output_size, 2 * target.summed_positions) for axis in geometry.axes]
    counts = [blocks.divisor(axis.output_size, target.summed_positions) for axis in geometry.axes]
    counts = [
        long if target.summed_positions**2 > short * long else short
        for short, long in zip(counts, lengths, strict=True)
    ]
    best = max(counts, key=lambda count: min(count, target.summed_positions**2 / count), default=0)
    return (counts.index(best) + 1, best) if 2 * best >= target.summed_positions else (0, 0)


def _padded(geometry: Geometry) -> int:
    return math.prod(axis.padded_size for axis in geometry.axes)


def cost(schedule: Schedule, problem: Problem, target: Target) -> Cost:
    """Fused multiply-adds, or sums of them; many channels per group only make the program longer."""
    if schedule.form == row_products.FORM:
        return row_products.cost(schedule, problem, target)
    if schedule.form == shifted.FORM:
        return shifted.cost(schedule, problem, target)
    if schedule.form == tap_axes.FORM:
        return tap_axes.cost(schedule, problem)
    view = replace(problem.by_windows(), geometry=schedule.geometry)
    kind = "sum" if schedule.contraction == "conv_weight_vjp" else "vector"
    products = view.c if schedule.contraction == "conv" else view.c * view.k
    taps = min(view.taps, target.unrolled_taps)
    if schedule.phases[0].rows_together:
        rows = view.geometry.kernel_size[0]
        taps = rows + view.taps // rows
    operations = 16 + 2 * view.phases * taps * products
    written = 0 if view.phases == 1 else view.bytes_of["g"]
    is_copied = _is_copied(schedule)
    temporary = 1.0 * min(2 * view.bytes_of["x"] * is_copied + written, 4 * target.cached_bytes)
    # sums of parts, of the samples of a block
    if schedule.phases[0].summed and schedule.contraction == "conv_weight_vjp":
        parts = view.taps * view.c * view.bytes_of["g"] / schedule.phases[0].summed
        temporary += parts * (schedule.samples or view.n) / view.n
    amount = 1.0 * view.padded_multiply_adds
    sample = (view.bytes_of["x"] + view.bytes_of["g"]) / (view.n * view.groups)
    if view.c > target.many_channels and sample > target.cached_bytes:
        amount *= target.uncached  # all channels are read once for each output channel, and no longer from a cache
    if target.kind == "gpu" and kind == "sum" and view.orders[0] == "last":
        # a product per tap, before each is summed
        products = view.taps * max(view.bytes_of["x"], view.bytes_of["g"])
        temporary, written = temporary + products, written + products
    if target.compiled and view.orders[0] == "last":
        amount *= _last_sums(schedule, view, target) if kind == "sum" else target.last_products if view.c > 1 else 1
    moved = 2.0 * written
    if target.kind == "gpu" and kind == "vector":
        moved = 4.0 * view.bytes_of["g"] if _is_apart_in_memory(view) else 0.0  # the phases' outputs, each twice
    if target.kind == "gpu" and is_copied:
        moved += 2.0 * view.bytes_of["x"]  # the padded copy
    return Cost(kind, amount, moved, temporary, operations, _launches(schedule, view))


def _is_copied(schedule: Schedule) -> bool:
    """Whether the taps read a padded copy, in one phase at least."""
    return not all(how.pads_in_place for how in schedule.phases)


def _last_sums(schedule: Schedule, view: Problem, target: Target) -> float:
    """How many times as long a sum takes whose channels stand last."""
    if all(how.summed_axis for how in schedule.phases):
        return target.summed_sums
    is_looped = all(how.step for how in schedule.phases) and view.groups >= target.summed_channels
    return target.looped_sums if is_looped and view.c == view.k == 1 else target.last_sums


def _is_apart_in_memory(view: Problem) -> bool:
    """Whether XLA writes the phases down before they are interleaved: with several channels, where these stand last."""
    return view.phases > 1 and view.orders[0] == "last" and view.c > 1


def _launches(schedule: Schedule, view: Problem) -> int:
    """One loop for all phases; of sums, two for each pair of channels; a step of a loop over taps copies what it reads."""
    steps, is_copied = schedule.steps(view.taps), _is_copied(schedule)
    if schedule.contraction == "conv":
        if _is_apart_in_memory(view):
            return 2 + 2 * view.phases
        return is_copied + (1 if steps == 1 else 4 * steps)
    return is_copied + view.phases * steps * (2 * view.c * view.k + (view.c * view.k > 1) + 2 * (steps > 1))
