"""Windows that do not overlap tile the input, and to unfold them is a mere change of shape; long ones that do, in layers.

A layer has as many taps as the stride, and its windows tile. So a kernel of many taps is a sum of a few products::

    y[o] = sum over layers of  w[layer] @ tiles(x shifted by the layer)[o]         gw[layer] = g @ tiles(x shifted)^T

in which each layer reads every input once.
"""

from __future__ import annotations

import itertools
import math
from typing import Any, NamedTuple

from triconv.backends.base import Standard, permute_dims
from triconv.geometry import Axis, Geometry

Array = Any

# layers of tiles that a program may have
LAYERS = 16


class Layer(NamedTuple):
    """Taps whose windows tile, and the geometry that they make."""

    taps: tuple[slice, ...]
    geometry: Geometry


def is_tiling(geometry: Geometry) -> bool:
    """Whether no two windows have an input in common."""
    return all(axis.input_dilation == axis.dilation == 1 and axis.kernel_size <= axis.stride for axis in geometry.axes)


def counts(geometry: Geometry) -> list[int]:
    """How many layers the taps of each axis make; nothing if taps stand apart, or layers would be many."""
    if any(axis.dilation > 1 for axis in geometry.axes):
        return []
    numbers = [-(-axis.kernel_size // axis.stride) for axis in geometry.axes]
    return numbers if math.prod(numbers) <= LAYERS else []


def layers(geometry: Geometry) -> list[Layer]:
    """All layers, those of the last axis first."""
    per_axis = [
        [(t, min(t + axis.stride, axis.kernel_size)) for t in range(0, axis.kernel_size, axis.stride)]
        for axis in geometry.axes
    ]
    return [
        Layer(
            tuple(slice(*block) for block in blocks),
            Geometry(
                tuple(axis.block_of_taps(*block) for axis, block in zip(geometry.axes, blocks, strict=True)),
                geometry.groups,
            ),
        )
        for blocks in itertools.product(*per_axis)
    ]


def joined(parts: list[Array], geometry: Geometry, lib: Standard) -> Array:
    """One kernel, of those of its layers."""
    for axis, count in reversed([*enumerate(counts(geometry), 3)]):
        parts = [lib.xp.concat(parts[i : i + count], axis=axis) for i in range(0, len(parts), count)]
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
