"""What a call of the framework's own convolution costs: its multiply-adds, times the factors of `VendorModel` that hold."""

from __future__ import annotations

import math
from dataclasses import replace

from triconv.kernels import patches, planes, regrouped
from triconv.kernels.problem import Problem
from triconv.kernels.schedule import Cost, Schedule, few_phases
from triconv.kernels.target import Target
from triconv.kernels.vendor_model import VendorModel
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


def cost(schedule: Schedule, problem: Problem, target: Target) -> Cost:
    """As fast as the library's own is at its best, or slower by the factors of `VendorModel`."""
    model, view = target.vendor, problem.by_windows()
    if schedule.form == planes.FORM:
        return _cost_of_planes(schedule, view, target)
    if schedule.form == DILATED and dilates_well(view, target):
        inputs, outputs = model.dilated_channels
        amount = view.padded_multiply_adds * (1 + inputs / view.c) * (1 + outputs / view.k)
        amount *= model.double if problem.itemsize == 8 else 1
        moved = model.copies * sum(view.bytes_of[role] for role in _copied(view))
        return Cost("vendor", amount, moved, problem.bytes, model.operations, 1)
    view = _regrouped_view(schedule, view)
    view = replace(view, geometry=few_phases(view.geometry, target))
    is_weight_vjp, ndim = problem.contraction == "conv_weight_vjp", len(view.geometry.axes)
    computed = view if target.compiled and schedule.form != TRANSPOSED else problem
    has_group_products = bool(model.group_channels) and problem.groups > 1 and not is_weight_vjp
    per_input, per_output = model.group_channels if has_group_products else (model.channels, model.channels)
    if has_group_products and view.c > 1:  # the products sum over the taps too
        per_input *= min(1, model.group_taps / view.taps)
    is_plane = model.plain < 1 and not is_weight_vjp and ndim == 2 and view.groups == view.phases == 1 < view.taps
    is_volume = ndim > 2 and not is_weight_vjp and model.volume_channels > 0
    per_input = 0.0 if is_plane else per_input  # few channels are as fast, unless they are an odd number
    amount = computed.padded_multiply_adds * (1 + per_input / view.c) * (1 + per_output / view.k)
    if model.long and view.taps > target.unrolled_taps and not patches.are_apart(view.geometry):
        amount /= 1 + model.channels / view.c  # its products sum over the taps too, and those are many
        # but a weight VJP's over the outputs, at as many places as there are taps
        if is_weight_vjp and all(axis.stride == 1 for axis in view.geometry.axes):
            amount *= max(1, (model.long_channels / view.k) ** 2)
    outputs = view.n * view.k * math.prod(view.geometry.output_size) / view.phases
    is_large = not is_weight_vjp and outputs >= target.many_outputs
    is_last, has_few_taps = view.orders[0] == "last", view.taps <= target.unrolled_taps
    if has_group_products:
        is_long = ndim == 1 and view.c > 1 and view.taps > model.group_taps
        amount *= model.group_line if is_long else model.group_factor
    elif ndim == 1 and is_weight_vjp and is_last and model.last_line:
        amount *= model.last_line[0] * (1 + model.last_line[1] / view.k)
    elif ndim == 1:
        amount *= model.line * (1 + min(0.5, model.line_channels[is_large] / view.k))
    elif is_volume:
        amount *= max(2.0, model.volume_channels / view.k) if view.taps > 1 else 1  # of one tap XLA makes a product
    else:
        is_slow = not (is_weight_vjp and _is_small_kernel(view, model))
        amount *= 1 + min(1, model.plane_channels[is_large] / view.k) if is_slow else 1
        amount *= model.volume if ndim > 2 and view.taps > 1 else 1
        amount *= _weight_vjp_factor(view, model) if is_weight_vjp else 1
        if is_plane:
            amount *= (1 if is_large else _channels_factor(view, model)) + _odd_channels(view, model)
        amount *= model.strided if ndim > 1 and view.phases > 2 and not is_last else 1
    is_slow_order = not is_last or (is_weight_vjp and has_few_taps)
    is_of_patches = all(axis.kernel_size <= axis.stride for axis in view.geometry.axes) and not is_volume
    if is_of_patches and is_slow_order and (view.taps == 1 or (is_weight_vjp and not _has_few_positions(view, model))):
        amount *= model.patches
    has_stride = any(axis.stride > 1 for axis in schedule.geometry.axes)
    if schedule.form == TRANSPOSED and (has_stride or problem.groups > 1):
        in_patches = has_stride and patches.are_apart(schedule.geometry)
        channels = problem.c if problem.contraction == "conv_input_vjp" else problem.k
        of_patches = max(1, model.transposed_patches / channels)
        amount *= of_patches if in_patches else model.transposed_volume if ndim > 2 else 1
    amount *= model.double if problem.itemsize == 8 else 1
    if problem.groups > 1 and not has_group_products:
        few = 1 + model.narrow_groups * min(1, 16 / min(problem.c, problem.k))
        if is_weight_vjp and problem.c == 1:
            few = model.depthwise_weight_vjp[view.taps > model.many_taps]
            few = model.last_depthwise_weight_vjp if is_last else few
        elif is_weight_vjp and problem.c < model.narrow_channels and ndim > 1 and not (is_last or has_stride):
            few *= model.narrow_weight_vjp
        amount *= model.groups * few
        # a weight VJP of one channel is as slow along one axis as along two
        amount *= model.line_groups if ndim == 1 and not (is_weight_vjp and problem.c == 1) else 1
        is_long = ndim == 2 and view.geometry.kernel_size[-1] > model.depthwise_width and problem.c == 1 and not is_last
        amount *= model.long_depthwise if is_long and schedule.form == BY_PHASES and not is_weight_vjp else 1
    amount *= _dilation_factor(schedule, view, model) * (_single_factor(view, model) if is_weight_vjp else 1)
    if _has_image_kernel(schedule, view):
        amount *= model.image_kernel
    calls = 1 if schedule.form != BY_PHASES else view.phases
    copied = set() if is_volume and view.taps == 1 else _copied(view)
    copied |= {"x", "g"} if schedule.form == SPLIT else {"g"} if schedule.form == MERGED or calls > 1 else set()
    copied |= {"x"} if schedule.form == PADDED else {"g"} if _are_skipped(schedule) else set()
    moved = model.copies * sum(view.bytes_of[role] for role in copied)
    if target.compiled and target.kind == "cpu" and calls > 1:  # phases are written, and then interleaved
        amount *= model.phases
        moved += 2 * view.bytes_of["g"]
    launches = 2 * calls + len(copied) + (calls > 1)  # the kernel of each is brought in order, too
    return Cost("vendor", amount, moved, problem.bytes, model.operations * calls, launches)


def _copied(view: Problem) -> set[str]:
    """Which of x and g are brought in the order of channels last; a single channel stands in no order."""
    copied = {role for role, order in zip("xg", view.orders[::2], strict=True) if order == "first"}
    return copied - {role for role, channels in (("x", view.c), ("g", view.k)) if view.groups * channels == 1}


def _cost_of_planes(schedule: Schedule, view: Problem, target: Target) -> Cost:
    """That of the calls for planes, and of writing these; planes are many samples, which keep threads busy."""
    if view.contraction == "conv":
        target = replace(target, vendor=target.vendor._replace(plane_channels=(0.0, 0.0)))
    amount, moved, temporary, operations = 0.0, 0.0, 0.0, 0
    for geometry, count, _ in schedule.counted():
        plane, written = planes.flat(view, geometry), planes.written(view, geometry)
        whole = Schedule("vendor", BY_PHASES, view.contraction, plane.geometry, orders=plane.orders)
        one = cost(whole, plane, target)
        amount += count * one.amount
        moved += count * target.plane_passes * written
        temporary += count * written
        operations += count * (one.operations + (target.last_operations if written else 0))
    moved += sum(view.bytes_of[role] for role in _copied(view)) + (2 * view.bytes_of["g"] if view.phases > 1 else 0)
    return Cost("vendor", amount, moved, temporary + view.bytes_of["w"], operations)


def _are_skipped(schedule: Schedule) -> bool:
    """Whether more outputs are computed, and some skipped."""
    return (schedule.form, schedule.contraction) == (WHOLE, "conv") and evened(schedule.geometry)[
        0
    ] != schedule.geometry


def _has_image_kernel(schedule: Schedule, view: Problem) -> bool:
    """Whether XLA for a GPU takes a kernel as large as the image.

    A weight VJP goes to cuDNN as one only if its taps are not dilated; with a stride, only if they are not more than the
    outputs. An input VJP with a stride goes there only if its kernel is not larger than its cotangent: XLA exchanges the two.
    """
    axes = schedule.geometry.axes
    if schedule.form == TRANSPOSED:
        outputs = math.prod(schedule.geometry.output_size)
        return view.groups == 1 and any(axis.stride > 1 for axis in axes) and view.taps > outputs
    if view.contraction != "conv_weight_vjp":
        return False
    return any(
        axis.dilation > 1 or (axis.stride > 1 and axis.kernel_size > axis.output_size) for axis in view.geometry.axes
    )


def _dilation_factor(schedule: Schedule, view: Problem, model: VendorModel) -> float:
    """By which dilated taps take longer."""
    axes, is_depthwise = schedule.geometry.axes, view.groups > view.c == 1
    if all(axis.dilation == 1 for axis in axes):
        return 1.0
    if len(axes) > 2:
        return model.dilated_volume
    if view.contraction == "conv_weight_vjp":
        is_slow = len(axes) == 2 and view.groups == 1 and view.c >= model.many_channels
        return 1 + model.dilated_weight_vjp / view.k if is_slow else 1.0
    if not is_depthwise:
        return 1.0
    is_transposed = schedule.form == TRANSPOSED
    span = max(axis.dilated_kernel for axis in axes if axis.dilation > 1)
    if len(axes) == 2 and view.taps > model.many_taps and span > model.dilated_spans[is_transposed]:
        return model.dilated_depthwise
    return model.transposed_depthwise if is_transposed and view.orders[0] == "first" else 1.0


def _single_factor(view: Problem, model: VendorModel) -> float:
    """By which a weight VJP of one input channel takes longer where it reads its rows with a stride."""
    axes = view.geometry.axes
    is_strided = len(axes) == 2 and any(axis.stride > 1 for axis in axes)
    is_slow = is_strided or (len(axes) > 1 and patches.are_apart(view.geometry))
    is_slow &= view.groups == view.c == 1 and view.orders[2] == "first" and view.taps > 1 and view.itemsize > 2
    return model.single_weight_vjp if is_slow and axes[-1].kernel_size < model.vector else 1.0


def _channels_factor(view: Problem, model: VendorModel) -> float:
    """By which a convolution of two axes takes longer than its outputs have it, by its input channels."""
    if view.c < model.many_channels:
        return model.plain
    if any(axis.stride > 1 for axis in view.geometry.axes):
        return model.plain if view.taps > model.many_taps else 1.0
    return model.plain if view.orders[0] == "last" else model.plain_first


def _odd_channels(view: Problem, model: VendorModel) -> float:
    """By how much longer it takes if its windows are copied element by element: for few products that is most of the time."""
    if not isinstance(view.c, int) or view.c % 2 == 0 or view.c == 1:
        return 0.0
    few, some = model.odd_outputs
    share = 1.0 if view.k < few or view.taps < model.many_taps else 0.3 if view.k < some else 0.0
    return share * model.odd_channels / (view.c * view.k)


def _has_few_positions(view: Problem, model: VendorModel) -> bool:
    """Whether the windows of a weight VJP, which are as large as its cotangent, are small."""
    return math.prod(view.geometry.output_size) <= model.few_positions


def _is_small_kernel(view: Problem, model: VendorModel) -> bool:
    """Whether the cotangent, which is the kernel of a weight VJP, stays in cache, with channels last and enough of them."""
    is_dilated = any(axis.dilation > 1 for axis in view.geometry.axes)
    is_small = view.k >= model.many_channels and view.bytes_of["g"] <= model.last_cotangent_bytes
    return view.orders[0] == "last" and is_small and not is_dilated


def _weight_vjp_factor(view: Problem, model: VendorModel) -> float:
    """By which a weight VJP of two and more axes takes longer than a convolution."""
    size = view.bytes_of["x"] + view.bytes_of["g"]
    if view.orders[0] != "last":
        if patches.are_apart(view.geometry) and _has_few_positions(view, model):
            return 1 / (1 + model.channels / view.c)  # few channels or many
        is_small = view.c < model.vector and view.taps > model.many_taps and size <= model.small_weight_vjp_bytes
        return model.small_weight_vjp if is_small else model.weight_vjp
    is_cached = size <= model.last_weight_vjp_bytes
    return max(1.0 if is_cached else model.weight_vjp, model.last_weight_vjp / view.taps)
