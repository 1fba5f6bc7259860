"""Non-overlapping windows: to unfold them is a mere change of shape. Windows that overlap are unfolded in several passes.

A pass takes as many taps as the stride, so its windows do not overlap. A kernel of many taps is a sum of a few products::

    y[o] = sum over passes of  w[pass] @ windows(x shifted by the pass)[o]         gw[pass] = g @ windows(x shifted)^T

and each pass reads every input once.
"""

from __future__ import annotations

import itertools
import math
from typing import Any, NamedTuple

from triconv.backends.array_operations import permute_dims
from triconv.backends.base import Standard
from triconv.geometry import Axis, Geometry

Array = Any


class Pass(NamedTuple):
    """Taps whose windows do not overlap, and the geometry that they make."""

    taps: tuple[slice, ...]
    geometry: Geometry


def are_apart(geometry: Geometry) -> bool:
    """Whether no two windows have an input in common."""
    return all(axis.input_dilation == axis.dilation == 1 and axis.kernel_size <= axis.stride for axis in geometry.axes)


def counts(geometry: Geometry, largest: int) -> list[int]:
    """How many passes the taps of each axis make; nothing if taps stand apart, or there would be more than `largest`."""
    if any(axis.dilation > 1 for axis in geometry.axes):
        return []
    numbers = [-(-axis.kernel_size // axis.stride) for axis in geometry.axes]
    return numbers if math.prod(numbers) <= largest else []


def passes(geometry: Geometry) -> list[Pass]:
    """All passes, those of the last axis first."""
    per_axis = [
        [(t, min(t + axis.stride, axis.kernel_size)) for t in range(0, axis.kernel_size, axis.stride)]
        for axis in geometry.axes
    ]
    return [
        Pass(
            tuple(slice(*block) for block in blocks),
            Geometry(
                tuple(axis.block_of_taps(*block) for axis, block in zip(geometry.axes, blocks, strict=True)),
                geometry.groups,
            ),
        )
        for blocks in itertools.product(*per_axis)
    ]


def joined(parts: list[Array], geometry: Geometry, lib: Standard) -> Array:
    """The kernel, put together from those of its passes."""
    for number, axis in reversed([*enumerate(geometry.axes, 3)]):
        count = -(-axis.kernel_size // axis.stride)
        parts = [lib.xp.concat(parts[i : i + count], axis=number) for i in range(0, len(parts), count)]
    return parts[0]


def unfolded(x: Array, axes: tuple[Axis, ...], lib: Standard) -> Array:
    """Windows of the last axes, of shape (groups, channels, n, *input), as (groups, taps * channels, n, *output)."""
    ends = [axis.stride * axis.output_size - axis.input_size - axis.pad_lo for axis in axes]
    x = lib.pad(x, [(axis.pad_lo, end) for axis, end in zip(axes, ends, strict=True)])
    x = lib.xp.reshape(x, (*x.shape[:3], *(size for axis in axes for size in (axis.output_size, axis.stride))))
    x = x[(..., *(s for axis in axes for s in (slice(None), slice(axis.kernel_size))))]
    x = permute_dims(x, (0, *range(4, x.ndim, 2), 1, 2, *range(3, x.ndim, 2)), lib.xp)
    rows = x.shape[1 + len(axes)] * math.prod(axis.kernel_size for axis in axes)
    return lib.xp.reshape(x, (x.shape[0], rows, *x.shape[2 + len(axes) :]))
