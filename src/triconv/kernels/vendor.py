"""The framework's own convolution, called with contractions that it is fast at and with no zeros inserted.

A call can have several forms (`vendor_schedules`). The plain one is a strided convolution for each phase; an input VJP is the
convolution of the transposed geometry. Other forms:

* If there are too many phases, the framework dilates the input itself.
* A transposed convolution that inserts no zeros, where the framework has one (torch, and XLA on a GPU, which calls cuDNN),
  computes input VJPs, and convolutions whose input is dilated and whose transposed geometry has no dilated input.
* XLA on a GPU has no such convolution with groups or dilation, and for a weight VJP with dilated taps it takes a kernel as
  large as the image. There the arrays are brought in another order, in which no such steps are left (`regrouped`).
* Of three axes, a convolution along two of them may be faster (`merged_rows`, `planes`).

The rounding is the framework's; the multiply-adds are those of `direct` and those with the padding. What a call costs is in
`vendor_cost`.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from triconv.backends.base import Standard
from triconv.geometry import Geometry
from triconv.kernels import cropping, merged_rows, planes, polyphase, regrouped
from triconv.kernels.schedule import PhaseSchedule, Schedule
from triconv.kernels.vendor_cost import cost
from triconv.kernels.vendor_schedules import (
    BY_PHASES,
    DILATED,
    MERGED,
    PADDED,
    SPLIT,
    TRANSPOSED,
    WHOLE,
    evened,
    obstacle,
    schedules,
)

__all__ = ["BY_PHASES", "DILATED", "MERGED", "PADDED", "SPLIT", "TRANSPOSED", "WHOLE"]  # forms
__all__ += ["RATIONALE", "cost", "is_apart", "is_same_call", "obstacle", "schedules"]
__all__ += ["conv", "conv_input_vjp", "conv_weight_vjp"]

Array = Any

RATIONALE = "the library's own"


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


def is_apart(schedule: Schedule) -> bool:
    """Whether XLA may keep the program apart: a convolution that stands there as XLA calls it; others it changes first."""
    return schedule.form in (planes.FORM, merged_rows.FORM)


def _conv(x: Array, w: Array, schedule: Schedule, lib: Standard) -> Array:
    def one_phase(x: Array, w: Array, geometry: Geometry, _how: PhaseSchedule, lib: Standard) -> Array:
        return lib.vendor_conv(*cropping.cropped(x, cropping.unread(geometry), lib), w, schedule.orders)

    if schedule.form == WHOLE:
        geometry, skipped = evened(schedule.geometry)
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
    if schedule.form == merged_rows.FORM:
        return polyphase.conv(merged_rows.conv, x, w, schedule, lib)
    if schedule.form == MERGED:
        axes = regrouped.merged(schedule.geometry)
        left = regrouped.left_of(schedule.geometry, axes)
        y = one_phase(x, regrouped.kernel_of_phases(w, left, axes, lib), left, PhaseSchedule(), lib)
        return regrouped.interleaved(y, axes, schedule.geometry.output_size, lib)
    if not schedule.spread and all(axis.input_dilation == 1 for axis in schedule.geometry.axes):
        # with the padding that users ask for: a phase has none that no window reads, which is another program
        return one_phase(x, w, schedule.geometry, PhaseSchedule(), lib)
    return polyphase.conv(one_phase, x, w, schedule, lib)


def _transposed(g: Array, w: Array, schedule: Schedule, lib: Standard) -> Array:
    """The input VJP of a geometry, by the framework's own."""
    whole, pads = cropping.uncropped(schedule.geometry)
    return lib.pad(lib.vendor_input_vjp(whole, g, w, schedule.orders), [(-lo, -hi) for lo, hi in pads])
