"""How the framework's own convolution can be called for a problem: the forms of a call, and which of them to consider."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace

from triconv.geometry import Geometry
from triconv.kernels import merged_rows, planes, regrouped
from triconv.kernels.problem import Problem
from triconv.kernels.schedule import PhaseSchedule, Schedule, by_phases
from triconv.kernels.target import Target

# the forms
BY_PHASES, TRANSPOSED, DILATED = "one call per phase", "its transposed convolution", "one call, which dilates the input"
WHOLE, PADDED = "one call", "one call, of the padded input"
MERGED, SPLIT = "one call for all phases, as output channels", "one call for all residue classes, as samples"


def obstacle(problem: Problem, target: Target) -> str | None:
    """Return why it cannot compute a problem, if so."""
    if target.vendor_axes is None:
        return f"{target.vendor_name} has no convolution of its own"
    steps = (step for axis in problem.geometry.axes for step in (axis.stride, axis.dilation, axis.input_dilation))
    if target.vendor_steps is not None and max(steps, default=1) > target.vendor_steps:
        return f"the framework's own convolution was seen to fail at steps above {target.vendor_steps:,}"
    if problem.kind != "real":
        return "the framework's own convolution is for real floats"
    return (
        None if len(problem.geometry.axes) in target.vendor_axes else "the framework's own convolution has other axes"
    )


def schedules(problem: Problem, target: Target) -> Iterator[Schedule]:
    """A transposed convolution where that is fast, one call that dilates where phases are too many, or one call per phase.

    Where nothing has a step but the taps, a convolution and a transposed one are the same with the kernel turned round: both.
    """
    geometry, transposed = problem.geometry, None
    is_dilated = any(axis.input_dilation > 1 for axis in geometry.axes)
    is_plain = not is_dilated and all(axis.stride == 1 for axis in geometry.axes)
    has_transposed = target.vendor_transposes and not (target.compiled and _is_dilated_by_xla(problem))
    if has_transposed and problem.contraction == "conv_input_vjp" and not is_dilated:
        transposed = Schedule("vendor", TRANSPOSED, problem.contraction, geometry, orders=problem.orders)
    elif has_transposed and problem.contraction == "conv" and (is_plain or _is_plain_transposed(geometry)):
        orders = problem.orders[::-1]
        transposed = Schedule("vendor", TRANSPOSED, problem.contraction, geometry.transposed(), orders=orders)
    if transposed and not is_plain:
        yield transposed
        return
    view = problem.by_windows()
    if target.compiled and target.kind == "gpu" and not target.partitioned:
        if view.phases <= target.counted_phases and (regrouped_ := _regrouped(view, problem)):
            yield regrouped_
            if view.phases > target.largest_phases:
                return
        if (whole := _whole(view)) and (not transposed or any(axis.dilation > 1 for axis in view.geometry.axes)):
            form = PADDED if _is_padded_before(view, whole) else WHOLE
            yield Schedule("vendor", form, view.contraction, whole, swapped=problem.is_swapped, orders=view.orders)
            return
    is_cropped = any(min(axis.pad_lo, axis.pad_hi) < 0 for axis in view.geometry.axes)
    if target.vendor_dilates and not is_cropped and view.phases > target.largest_phases:
        yield Schedule(
            "vendor", DILATED, view.contraction, view.geometry, swapped=problem.is_swapped, orders=view.orders
        )
        return
    if not is_cropped and dilates_well(view, target):
        yield Schedule("vendor", DILATED, view.contraction, view.geometry, orders=view.orders)
    schedule, few = by_phases("vendor", BY_PHASES, problem, target)
    if planes.suits(few, target):
        yield merged_rows.of_rows(schedule, few) if merged_rows.suits(few) else planes.of_planes(schedule, few)
    windows = replace(schedule, phases=(PhaseSchedule(),), orders=view.orders)
    if not transposed:
        yield windows
    else:  # the first is taken if they cost the same
        yield from (windows, transposed) if problem.contraction == "conv" else (transposed, windows)


def dilates_well(view: Problem, target: Target) -> bool:
    """Whether one call that dilates the input multiplies few of the zeros: so XLA's does along one or two axes.

    Of very many taps (16x16, not 12x12) it was seen to take 18 times as long as phase by phase.
    """
    axes = view.geometry.axes
    is_transposed = view.contraction == "conv" and all((axis.stride, axis.dilation) == (1, 1) for axis in axes)
    is_small = len(axes) <= 2 and view.taps <= target.long_taps and view.groups == 1
    return bool(target.vendor.dilated_channels) and is_transposed and is_small and view.phases > 1


def _whole(view: Problem) -> Geometry | None:
    """The geometry of one call without phases and crops, with padding that is the same on both sides where it can be.

    What stands behind the last window need not be cropped: XLA would copy the input for that.
    """
    if any(axis.input_dilation > 1 for axis in view.geometry.axes):
        return None
    axes = tuple(replace(axis, pad_hi=axis.even_pad_hi) for axis in view.geometry.axes)
    if any(min(axis.pad_lo, axis.pad_hi) < 0 for axis in axes):
        return None
    return Geometry(axes, view.geometry.groups)


def _is_padded_before(view: Problem, geometry: Geometry) -> bool:
    """Whether to pad the input, where taps are dilated and padding is uneven, instead of computing some outputs more.

    XLA pads such an input itself, but then writes zeros between the taps too.
    """
    uneven = [(axis, axis.pad_hi - axis.pad_lo) for axis in geometry.axes]
    if (
        view.contraction != "conv"
        or all(axis.dilation == 1 for axis in geometry.axes)
        or not any(more for _, more in uneven)
    ):
        return False
    are_many = any(8 * abs(more) > axis.stride * axis.output_size for axis, more in uneven)
    are_between = any(more > 0 and more % axis.stride for axis, more in uneven)
    inputs, outputs = view.c * math.prod(geometry.input_size), view.k * math.prod(geometry.output_size)
    are_known = isinstance(inputs, int) and isinstance(outputs, int)  # not symbols
    # with channels first, both are copied anyway
    is_smaller = view.orders[2] == "last" and are_known and inputs < outputs
    return are_many or are_between or is_smaller


def _regrouped(view: Problem, problem: Problem) -> Schedule | None:
    """Phases as channels, or residue classes as samples, where there are any; the arrays are copied, so with channels last."""
    form = MERGED if view.contraction == "conv" else SPLIT
    steps = [axis.input_dilation if form == MERGED else axis.dilation for axis in view.geometry.axes]
    can_be = regrouped.merged if form == MERGED else regrouped.split
    if max(steps, default=1) == 1 or not (view.geometry.count_meetings() and can_be(view.geometry)):
        return None
    orders = (view.orders[0], view.orders[1], "last") if form == MERGED else ("last", view.orders[1], "last")
    return Schedule("vendor", form, view.contraction, view.geometry, swapped=problem.is_swapped, orders=orders)


def _is_plain_transposed(geometry: Geometry) -> bool:
    """Whether the input is dilated and the transposed geometry is a plain one."""
    dilated = any(axis.input_dilation > 1 for axis in geometry.axes)
    return dilated and all(axis.stride == 1 for axis in geometry.axes)


def _is_dilated_by_xla(problem: Problem) -> bool:
    """Whether XLA inserts zeros for a transposed convolution: with a stride, it hands to cuDNN none with groups or dilation."""
    has_groups = problem.groups > 1
    views = (problem.geometry, problem.geometry.transposed())
    steps = [(axis.stride, axis.dilation) for geometry in views for axis in geometry.axes]
    strided, dilated = any(stride > 1 for stride, _ in steps), any(dilation > 1 for _, dilation in steps)
    return strided and (has_groups or dilated)


def evened(geometry: Geometry) -> tuple[Geometry, list[int]]:
    """The convolution with padding that is the same on both sides where taps are dilated, and how many outputs to skip."""
    if all(axis.dilation == 1 for axis in geometry.axes):
        return geometry, [0] * len(geometry.axes)
    widths = [max(axis.pad_lo, axis.pad_hi) for axis in geometry.axes]
    axes = [replace(axis, pad_lo=width, pad_hi=width) for axis, width in zip(geometry.axes, widths, strict=True)]
    skipped = [(even.pad_lo - axis.pad_lo) // axis.stride for axis, even in zip(geometry.axes, axes, strict=True)]
    return Geometry(tuple(axes), geometry.groups), skipped
