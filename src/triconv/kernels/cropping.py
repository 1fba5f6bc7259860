"""Crops (negative padding) taken out of a geometry, for convolutions that are called with none."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from triconv.backends.base import Standard
from triconv.geometry import Geometry, Pads

Array = Any


def uncropped(geometry: Geometry) -> tuple[Geometry, Pads]:
    """The convolution without cropping, and the padding that crops the input before it.

    Where XLA's own convolution is to crop, it reads elements beyond the crop (on a CPU).
    """
    pads = tuple((axis.pad_lo, axis.pad_hi) if min(axis.pad_lo, axis.pad_hi) < 0 else (0, 0) for axis in geometry.axes)
    axes = (
        replace(axis, input_size=axis.padded_size, pad_lo=0, pad_hi=0) if pad != (0, 0) else axis
        for axis, pad in zip(geometry.axes, pads, strict=True)
    )
    return Geometry(tuple(axes), geometry.groups), pads


def unread(geometry: Geometry) -> Geometry:
    """The convolution with no crop after the last window: no window reads what stands there, and to crop, XLA would copy x."""
    axes = ((axis, replace(axis, pad_hi=max(0, axis.pad_hi))) for axis in geometry.axes)
    return Geometry(
        tuple(whole if axis.pad_lo >= 0 and whole.output_size == axis.output_size else axis for axis, whole in axes),
        geometry.groups,
    )


def cropped(x: Array, geometry: Geometry, lib: Standard) -> tuple[Geometry, Array]:
    """The geometry of `uncropped`, and the cropped input that it takes."""
    whole, pads = uncropped(geometry)
    return whole, lib.pad(x, pads)
