"""The framework's own convolution, called with contractions that it is fast at and with no zeros inserted.

What is asked for is brought to a plain strided convolution, one per phase (an input VJP by the transposed geometry). Where
there would be too many phases, the framework inserts the zeros of the input's dilation itself. Where it has a transposed
convolution that inserts no zeros (torch, and XLA on a GPU, which hands it to cuDNN), that serves for an input VJP, and for a
convolution whose input is dilated and whose transposed geometry is therefore a plain one. On a GPU XLA has no such convolution
with groups or dilation, and takes a kernel as large as the image for a weight VJP with dilated taps: there steps are taken out
by another order of the arrays (`regrouped`). The rounding is the framework's; the multiply-adds are those of `direct` and those
with the padding.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from triconv.backends.base import Standard
from triconv.geometry import Geometry
from triconv.kernels import cropping, patches, planes, polyphase, regrouped
from triconv.kernels.problem import Problem
from triconv.kernels.schedule import Cost, PhaseSchedule, Schedule, by_phases, few_phases
from triconv.kernels.target import Target
from triconv.kernels.vendor_model import VendorModel

Array = Any

RATIONALE = "the library's own"
BY_PHASES, TRANSPOSED, DILATED = "one call per phase", "its transposed convolution", "one call, which dilates the input"
WHOLE, PADDED = "one call", "one call, of the padded input"
MERGED, SPLIT = "one call for all phases, as output channels", "one call for all residue classes, as samples"


def conv(x: Array, w: Array, schedule: Schedule, lib: Standard) -> Array:
    """One convolution per phase, or a transposed one."""
    if schedule.form == TRANSPOSED:
        return _transposed(x, polyphase.transposed(w, lib), schedule, lib)
    return _conv(x, w, schedule, lib)


def conv_input_vjp(g: Array, w: Array, schedule: Schedule, lib: Standard) -> Array:
    """A transposed convolution, or `conv` of the transposed geometry."""
    if schedule.form == TRANSPOSED:
        return _transposed(g, w, schedule, lib)
    return _conv(g, polyphase.transposed(w, lib), schedule, lib)


def conv_weight_vjp(g: Array, x: Array, schedule: Schedule, lib: Standard) -> Array:
    """One weight gradient per phase."""

    def one_phase(g: Array, x: Array, geometry: Geometry, _how: PhaseSchedule, lib: Standard) -> Array:
        return lib.vendor_weight_vjp(*cropping.cropped(x, geometry, lib), g, schedule.orders)

    if schedule.form == planes.FORM:
        return polyphase.conv_weight_vjp(planes.conv_weight_vjp, g, x, schedule, lib)
    if schedule.form not in (DILATED, SPLIT, WHOLE):
        return polyphase.conv_weight_vjp(one_phase, g, x, schedule, lib)
    g, x = (x, g) if schedule.swapped else (g, x)
    if schedule.form == SPLIT:
        axes = regrouped.split(schedule.geometry)
        x = regrouped.samples_of_inputs(x, schedule.geometry, axes, lib)
        g, left = regrouped.samples_of_outputs(g, axes, lib), regrouped.left_of(schedule.geometry, axes)
        gw = one_phase(g, x, left, PhaseSchedule(), lib)
    else:
        gw = lib.vendor_weight_vjp(schedule.geometry, x, g, schedule.orders)
    return polyphase.transposed(gw, lib) if schedule.swapped else gw


def is_same_call(schedule: Schedule, contraction: str) -> bool:
    """Whether the schedule computes a contraction by the function of the library that users call for it."""
    return schedule.kernel == "vendor" and (schedule.form == TRANSPOSED) == (contraction == "conv_input_vjp")


def _conv(x: Array, w: Array, schedule: Schedule, lib: Standard) -> Array:
    def one_phase(x: Array, w: Array, geometry: Geometry, _how: PhaseSchedule, lib: Standard) -> Array:
        return lib.vendor_conv(*cropping.cropped(x, cropping.unread(geometry), lib), w, schedule.orders)

    if schedule.form == WHOLE:
        geometry, skipped = _evened(schedule.geometry)
        y = lib.vendor_conv(geometry, x, w, schedule.orders)
        sizes = zip(skipped, schedule.geometry.output_size, strict=True)
        return y[(..., *(slice(first, first + size) for first, size in sizes))]
    if schedule.form == PADDED:
        x = lib.pad(x, [(axis.pad_lo, axis.pad_hi) for axis in schedule.geometry.axes])
        padded = (replace(axis, input_size=axis.padded_size, pad_lo=0, pad_hi=0) for axis in schedule.geometry.axes)
        return lib.vendor_conv(Geometry(tuple(padded), schedule.geometry.groups), x, w, schedule.orders)
    if schedule.form == DILATED:
        return lib.vendor_conv(schedule.geometry, x, w, schedule.orders)
    if schedule.form == planes.FORM:
        return polyphase.conv(planes.conv, x, w, schedule, lib)
    if schedule.form == MERGED:
        axes = regrouped.merged(schedule.geometry)
        left = regrouped.left_of(schedule.geometry, axes)
        y = one_phase(x, regrouped.kernel_of_phases(w, left, axes, lib), left, PhaseSchedule(), lib)
        return regrouped.interleaved(y, axes, schedule.geometry.output_size, lib)
    return polyphase.conv(one_phase, x, w, schedule, lib)


def _transposed(g: Array, w: Array, schedule: Schedule, lib: Standard) -> Array:
    """The input VJP of a geometry, by the framework's own."""
    whole, pads = cropping.uncropped(schedule.geometry)
    return lib.pad(lib.vendor_input_vjp(whole, g, w, schedule.orders), [(-lo, -hi) for lo, hi in pads])


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


def _evened(geometry: Geometry) -> tuple[Geometry, list[int]]:
    """The convolution with padding that is the same on both sides where taps are dilated, and how many outputs to skip."""
    if all(axis.dilation == 1 for axis in geometry.axes):
        return geometry, [0] * len(geometry.axes)
    widths = [max(axis.pad_lo, axis.pad_hi) for axis in geometry.axes]
    axes = [replace(axis, pad_lo=width, pad_hi=width) for axis, width in zip(geometry.axes, widths, strict=True)]
    skipped = [(even.pad_lo - axis.pad_lo) // axis.stride for axis, even in zip(geometry.axes, axes, strict=True)]
    return Geometry(tuple(axes), geometry.groups), skipped


# ---- schedules


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
    if not is_cropped and _dilates_well(view, target):
        yield Schedule("vendor", DILATED, view.contraction, view.geometry, orders=view.orders)
    schedule, few = by_phases("vendor", BY_PHASES, problem, target)
    if planes.suits(few, target):
        yield planes.of_planes(schedule, few)
    windows = replace(schedule, phases=(PhaseSchedule(),), orders=view.orders)
    if not transposed:
        yield windows
    else:  # the first is taken if they cost the same
        yield from (windows, transposed) if problem.contraction == "conv" else (transposed, windows)


def is_apart(schedule: Schedule) -> bool:
    """Whether XLA may keep the program apart: a convolution that stands there as XLA calls it; others it changes first."""
    return schedule.form == planes.FORM


def _dilates_well(view: Problem, target: Target) -> bool:
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
    is_smaller = (
        view.orders[2] == "last" and are_known and inputs < outputs
    )  # with channels first, both are copied anyway
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
    if schedule.form == DILATED and _dilates_well(view, target):
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
    return (schedule.form, schedule.contraction) == (WHOLE, "conv") and _evened(schedule.geometry)[
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
