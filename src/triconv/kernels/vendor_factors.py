"""By which factors a call of the framework's own convolution is slower than at its best: `VendorModel`, applied to one call.

`FACTORS` are functions in the order of the sections of `VendorModel`. Each returns 1 for a call that is no slower.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass

from triconv.kernels import patches
from triconv.kernels.problem import Problem
from triconv.kernels.schedule import Schedule
from triconv.kernels.target import Target
from triconv.kernels.vendor_model import VendorModel
from triconv.kernels.vendor_schedules import BY_PHASES, TRANSPOSED


@dataclass(frozen=True)
class VendorCall:
    """A call of the library's own convolution, as its factors see it."""

    schedule: Schedule
    problem: Problem
    view: Problem  # the problem by windows, as it is left to the library
    target: Target

    @property
    def model(self) -> VendorModel:
        """The factors of the library."""
        return self.target.vendor

    @functools.cached_property
    def ndim(self) -> int:
        """The number of spatial axes."""
        return len(self.view.geometry.axes)

    @functools.cached_property
    def is_weight_vjp(self) -> bool:
        """Whether it is a weight VJP; if not, it is a convolution by windows."""
        return self.view.contraction == "conv_weight_vjp"

    @functools.cached_property
    def is_last(self) -> bool:
        """Whether channels stand last in memory."""
        return self.view.orders[0] == "last"

    @functools.cached_property
    def has_stride(self) -> bool:
        """Whether the call has a stride."""
        return any(axis.stride > 1 for axis in self.schedule.geometry.axes)

    @functools.cached_property
    def has_group_products(self) -> bool:
        """Whether it is a convolution of groups for which the library calls a product each."""
        return bool(self.model.group_channels) and self.problem.groups > 1 and not self.is_weight_vjp

    @functools.cached_property
    def is_plane(self) -> bool:
        """Whether it is a plain convolution of two axes and several taps, for which the library has a kernel of its own."""
        is_plain = self.view.groups == self.view.phases == 1 < self.view.taps
        return self.model.plain < 1 and not self.is_weight_vjp and self.ndim == 2 and is_plain

    @functools.cached_property
    def is_volume(self) -> bool:
        """Whether it is a convolution of three axes, and the library has a factor for those."""
        return self.ndim > 2 and not self.is_weight_vjp and self.model.volume_channels > 0

    @functools.cached_property
    def has_many_outputs(self) -> bool:
        """Whether it is a convolution with so many outputs that all threads are busy, whatever the channels are."""
        outputs = self.view.n * self.view.k * math.prod(self.view.geometry.output_size) / self.view.phases
        return not self.is_weight_vjp and outputs >= self.target.many_outputs

    @functools.cached_property
    def has_few_positions(self) -> bool:
        """Whether a weight VJP's windows, which are as large as its cotangent, are small."""
        return math.prod(self.view.geometry.output_size) <= self.model.few_positions

    @property
    def count(self) -> int:
        """How many calls there are: one per phase, or one."""
        return self.view.phases if self.schedule.form == BY_PHASES else 1


def _few_channels(call: VendorCall) -> float:
    """Few input or output channels."""
    model, view = call.model, call.view
    per_input = per_output = model.channels
    if call.is_plane:  # few channels are as fast, unless they are an odd number
        per_input = 0.0
    elif call.has_group_products:
        per_input, per_output = model.group_channels
        per_input *= min(1, model.group_taps / view.taps) if view.c > 1 else 1  # the products sum over the taps too
    return (1 + per_input / view.c) * (1 + per_output / view.k)


def _many_taps(call: VendorCall) -> float:
    """Many taps, over which products sum as they do over channels; a weight VJP has as many results."""
    model, view = call.model, call.view
    if not model.long or view.taps <= call.target.unrolled_taps or patches.are_apart(view.geometry):
        return 1.0
    factor = 1 / (1 + model.channels / view.c)
    if call.is_weight_vjp and all(axis.stride == 1 for axis in view.geometry.axes):
        factor *= max(1, (model.long_channels / view.k) ** 2)
    return factor


def _by_axes(call: VendorCall) -> float:
    """The number of axes, with the channels that keep threads busy."""
    model, view = call.model, call.view
    if call.has_group_products:
        is_long = call.ndim == 1 and view.c > 1 and view.taps > model.group_taps
        return model.group_line if is_long else model.group_factor
    if call.ndim == 1 and call.is_weight_vjp and call.is_last and model.last_line:
        return model.last_line[0] * (1 + model.last_line[1] / view.k)
    if call.ndim == 1:
        return model.line * (1 + min(0.5, model.line_channels[call.has_many_outputs] / view.k))
    if call.is_volume:
        return max(2.0, model.volume_channels / view.k) if view.taps > 1 else 1.0  # of one tap XLA makes a product
    return _plane_or_more(call)


def _plane_or_more(call: VendorCall) -> float:
    """Two and more axes."""
    model, view = call.model, call.view
    factor = 1.0
    if not (call.is_weight_vjp and _is_small_kernel(call)):
        factor += min(1, model.plane_channels[call.has_many_outputs] / view.k)
    if call.is_weight_vjp:
        factor *= _weight_vjp(call)
    if call.is_plane:
        factor *= (1 if call.has_many_outputs else _input_channels(call)) + _odd_channels(call)
    if call.ndim > 2 and view.taps > 1:
        factor *= model.volume
    if call.ndim > 1 and view.phases > 2 and not call.is_last:
        factor *= model.strided
    return factor


def _is_small_kernel(call: VendorCall) -> bool:
    """Whether the cotangent, which is the kernel of a weight VJP, stays in cache, with channels last and enough of them."""
    model, view = call.model, call.view
    is_dilated = any(axis.dilation > 1 for axis in view.geometry.axes)
    is_small = view.k >= model.many_channels and view.bytes_of["g"] <= model.last_cotangent_bytes
    return call.is_last and is_small and not is_dilated


def _weight_vjp(call: VendorCall) -> float:
    """A weight VJP of two and more axes."""
    model, view = call.model, call.view
    size = view.bytes_of["x"] + view.bytes_of["g"]
    if not call.is_last:
        if patches.are_apart(view.geometry) and call.has_few_positions:
            return 1 / (1 + model.channels / view.c)  # few channels or many
        is_small = view.c < model.vector and view.taps > model.many_taps and size <= model.small_weight_vjp_bytes
        return model.small_weight_vjp if is_small else model.weight_vjp
    is_cached = size <= model.last_weight_vjp_bytes
    return max(1.0 if is_cached else model.weight_vjp, model.last_weight_vjp / view.taps)


def _input_channels(call: VendorCall) -> float:
    """The input channels of a plain convolution of two axes."""
    model, view = call.model, call.view
    if view.c < model.many_channels:
        return model.plain
    if any(axis.stride > 1 for axis in view.geometry.axes):
        return model.plain if view.taps > model.many_taps else 1.0
    return model.plain if call.is_last else model.plain_first


def _odd_channels(call: VendorCall) -> float:
    """By how much longer it takes if its windows are copied element by element: for few products that is most of the time."""
    model, view = call.model, call.view
    if view.c % 2 == 0 or view.c == 1 or call.is_last:
        return 0.0
    is_small = view.c < model.odd_inputs and view.taps < model.many_taps and not call.has_stride
    return model.odd_channels / (view.c * view.k) if view.k < model.odd_outputs or is_small else 0.0


def _patches(call: VendorCall) -> float:
    """Windows that do not overlap: a weight VJP, or a convolution of one tap."""
    view = call.view
    are_apart = all(axis.kernel_size <= axis.stride for axis in view.geometry.axes) and not call.is_volume
    is_slow_order = not call.is_last or (call.is_weight_vjp and view.taps <= call.target.unrolled_taps)
    is_slow = view.taps == 1 or (call.is_weight_vjp and not call.has_few_positions)
    return call.model.patches if are_apart and is_slow_order and is_slow else 1.0


def _transposed(call: VendorCall) -> float:
    """A transposed convolution, where the library has one, with a stride or groups."""
    model, problem, geometry = call.model, call.problem, call.schedule.geometry
    if call.schedule.form != TRANSPOSED or not (call.has_stride or problem.groups > 1):
        return 1.0
    if call.has_stride and patches.are_apart(geometry):
        channels = problem.c if problem.contraction == "conv_input_vjp" else problem.k
        return max(1, model.transposed_patches / channels)
    return model.transposed_volume if call.ndim > 2 else 1.0


def _groups(call: VendorCall) -> float:
    """Groups, but for those of which the library calls products."""
    model, problem = call.model, call.problem
    if problem.groups == 1 or call.has_group_products:
        return 1.0
    factor, is_depthwise = model.groups, problem.c == 1
    if call.is_weight_vjp and is_depthwise:  # as slow along one axis as along two
        first = model.depthwise_weight_vjp[call.view.taps > model.many_taps]
        return factor * (model.last_depthwise_weight_vjp if call.is_last else first)
    factor *= 1 + model.narrow_groups * min(1, 16 / min(problem.c, problem.k))
    if call.ndim == 1:
        factor *= model.line_groups
    elif call.is_weight_vjp and problem.c < model.narrow_channels and call.ndim > 1:
        factor *= 1 if call.is_last or call.has_stride else model.narrow_weight_vjp
    if call.ndim == 2 and is_depthwise and not call.is_last and call.schedule.form == BY_PHASES:
        factor *= model.long_depthwise if call.view.geometry.kernel_size[-1] > model.depthwise_width else 1
    return factor


def _dilation(call: VendorCall) -> float:
    """Dilated taps."""
    model, view, axes = call.model, call.view, call.schedule.geometry.axes
    if all(axis.dilation == 1 for axis in axes):
        return 1.0
    if len(axes) > 2:
        return model.dilated_volume
    if call.is_weight_vjp:
        is_slow = len(axes) == 2 and view.groups == 1 and view.c >= model.many_channels
        return 1 + model.dilated_weight_vjp / view.k if is_slow else 1.0
    if not view.groups > view.c == 1:  # not depthwise
        return 1.0
    is_transposed = call.schedule.form == TRANSPOSED
    span = max(axis.dilated_kernel for axis in axes if axis.dilation > 1)
    if len(axes) == 2 and view.taps > model.many_taps and span > model.dilated_spans[is_transposed]:
        return model.dilated_depthwise
    return model.transposed_depthwise if is_transposed and not call.is_last else 1.0


def _single_channel(call: VendorCall) -> float:
    """A weight VJP of one input channel that reads its rows with a stride."""
    view, axes = call.view, call.view.geometry.axes
    is_strided = call.ndim == 2 and any(axis.stride > 1 for axis in axes)
    is_slow = is_strided or (call.ndim > 1 and patches.are_apart(view.geometry))
    is_slow &= view.groups == view.c == 1 and view.orders[2] == "first" and view.taps > 1 and view.itemsize > 2
    return (
        call.model.single_weight_vjp
        if call.is_weight_vjp and is_slow and axes[-1].kernel_size < call.model.vector
        else 1.0
    )


def _image_kernel(call: VendorCall) -> float:
    """A kernel as large as the image, which XLA takes on a GPU for some derivatives.

    A weight VJP goes to cuDNN as one only if its taps are not dilated; with a stride, only if they are not more than the
    outputs. An input VJP with a stride goes there only if its kernel is not larger than its cotangent: XLA exchanges the two.
    """
    view, geometry = call.view, call.schedule.geometry
    if call.schedule.form == TRANSPOSED:
        is_large = view.groups == 1 and call.has_stride and view.taps > math.prod(geometry.output_size)
    else:
        is_large = call.is_weight_vjp and any(
            axis.dilation > 1 or (axis.stride > 1 and axis.kernel_size > axis.output_size)
            for axis in view.geometry.axes
        )
    return call.model.image_kernel if is_large else 1.0


def _width(call: VendorCall) -> float:
    """Elements of eight bytes."""
    return call.model.double if call.problem.itemsize == 8 else 1.0


def _phases(call: VendorCall) -> float:
    """Several calls in a compiled program on a CPU."""
    return call.model.phases if call.target.compiled and call.target.kind == "cpu" and call.count > 1 else 1.0


FACTORS: tuple[Callable[[VendorCall], float], ...] = (
    _few_channels,
    _many_taps,
    _by_axes,
    _patches,
    _transposed,
    _groups,
    _dilation,
    _single_channel,
    _image_kernel,
    _width,
    _phases,
)
