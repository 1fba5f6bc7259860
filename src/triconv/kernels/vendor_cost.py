"""What a schedule of the framework's own convolution costs: its multiply-adds, times `vendor_factors`, and what is copied."""

from __future__ import annotations

import math
from dataclasses import replace

from triconv.kernels import merged_rows, planes, regrouped
from triconv.kernels.problem import Problem
from triconv.kernels.schedule import Cost, Schedule, few_phases
from triconv.kernels.target import Target
from triconv.kernels.vendor_factors import FACTORS, VendorCall
from triconv.kernels.vendor_schedules import (
    BY_PHASES,
    DILATED,
    MERGED,
    PADDED,
    SPLIT,
    TRANSPOSED,
    WHOLE,
    dilates_well,
    evened,
)


def cost(schedule: Schedule, problem: Problem, target: Target) -> Cost:
    """As fast as the library's own is at its best, or slower by the factors of `VendorModel`."""
    view = problem.by_windows()
    if schedule.form in (planes.FORM, merged_rows.FORM):
        return _cost_of_volumes(schedule, view, target)
    if schedule.form == DILATED and dilates_well(view, target):
        return _cost_of_dilated(view, problem, target)
    view = _regrouped_view(schedule, view)
    view = replace(view, geometry=few_phases(view.geometry, target))
    call, model = VendorCall(schedule, problem, view, target), target.vendor
    computed = view if target.compiled and schedule.form != TRANSPOSED else problem
    amount = computed.padded_multiply_adds * math.prod(factor(call) for factor in FACTORS)
    copied = _copied_for(call)
    moved = model.copies * sum(view.bytes_of[role] for role in copied)
    if target.compiled and target.kind == "cpu" and call.count > 1:  # phases are written, and then interleaved
        moved += 2 * view.bytes_of["g"]
    launches = 2 * call.count + len(copied) + (call.count > 1)  # the kernel of each is brought in order, too
    return Cost("vendor", amount, moved, problem.bytes, model.operations * call.count, launches)


def _regrouped_view(schedule: Schedule, view: Problem) -> Problem:
    """The problem that is left to the library."""
    if schedule.form == MERGED:
        phases = regrouped.merged(view.geometry)
        channels = view.k * math.prod(len(axis.taps) for axis in phases)
        return replace(view, geometry=regrouped.left_of(view.geometry, phases), k=channels)
    if schedule.form == SPLIT:
        classes = regrouped.split(view.geometry)
        samples = view.n * math.prod(len(axis.classes) for axis in classes)
        return replace(view, geometry=regrouped.left_of(view.geometry, classes), n=samples)
    return view


def _cost_of_dilated(view: Problem, problem: Problem, target: Target) -> Cost:
    """That of one call that dilates the input of a transposed convolution, and multiplies few of the zeros."""
    model = target.vendor
    inputs, outputs = model.dilated_channels
    amount = view.padded_multiply_adds * (1 + inputs / view.c) * (1 + outputs / view.k)
    amount *= model.double if problem.itemsize == 8 else 1
    moved = model.copies * sum(view.bytes_of[role] for role in _copied(view))
    return Cost("vendor", amount, moved, problem.bytes, model.operations, 1)


def _cost_of_volumes(schedule: Schedule, view: Problem, target: Target) -> Cost:
    """That of the calls for planes or merged rows, and of writing these; many samples or long rows keep threads busy."""
    form = planes if schedule.form == planes.FORM else merged_rows
    is_conv = view.contraction == "conv"  # a weight VJP of many planes is no faster where its cotangent stays in cache
    known = {"plane_channels": (0.0, 0.0)} if is_conv else {"last_cotangent_bytes": 0}
    target = replace(target, vendor=target.vendor._replace(**known))
    amount, moved, temporary, operations = 0.0, 0.0, 0.0, 0
    for geometry, count, _ in schedule.counted():
        plane, written = form.flat(view, geometry), form.written(view, geometry)
        whole = Schedule("vendor", BY_PHASES, view.contraction, plane.geometry, orders=plane.orders)
        one = cost(whole, plane, target)
        amount += count * one.amount * (1 if is_conv else 1 + min(1, view.c / target.vendor.plane_inputs))
        moved += count * target.plane_passes * written
        temporary += count * written
        operations += count * (one.operations + (target.last_operations if written else 0))
    moved += sum(view.bytes_of[role] for role in _copied(view)) + (2 * view.bytes_of["g"] if view.phases > 1 else 0)
    return Cost("vendor", amount, moved, temporary + view.bytes_of["w"], operations)


def _copied_for(call: VendorCall) -> set[str]:
    """Which of x and g are written once more: in another order, regrouped, padded, interleaved, or without what is skipped."""
    form = call.schedule.form
    copied = set() if call.is_volume and call.view.taps == 1 else _copied(call.view)
    copied |= {"x", "g"} if form == SPLIT else {"g"} if form == MERGED or call.count > 1 else set()
    return copied | ({"x"} if form == PADDED else {"g"} if _are_skipped(call.schedule) else set())


def _copied(view: Problem) -> set[str]:
    """Which of x and g are brought in the order of channels last; a single channel stands in no order."""
    copied = {role for role, order in zip("xg", view.orders[::2], strict=True) if order == "first"}
    return copied - {role for role, channels in (("x", view.c), ("g", view.k)) if view.groups * channels == 1}


def _are_skipped(schedule: Schedule) -> bool:
    """Whether more outputs are computed, and some skipped."""
    is_whole = (schedule.form, schedule.contraction) == (WHOLE, "conv")
    return is_whole and evened(schedule.geometry)[0] != schedule.geometry
