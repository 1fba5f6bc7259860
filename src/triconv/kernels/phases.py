"""From phases back to one array, the mirrored kernel, and the windows of each tap: what kernels need that think in windows."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

from triconv.backends.standard import Standard, permute_dims
from triconv.geometry import Axis

Array = Any


def mirrored(w: Array, lib: Standard) -> Array:
    """The kernel of the mirrored geometry: its taps in reverse, its input and output channels exchanged."""
    axes = tuple(range(3, w.ndim))
    return permute_dims(lib.xp.flip(w, axis=axes) if axes else w, (0, 2, 1, *axes), lib.xp)


def windows(x: Array, axes: tuple[Axis, ...], lib: Standard) -> Iterator[tuple[tuple[int, ...], Array]]:
    """Every tap, and the inputs that meet it, in the order and the shape of the outputs."""
    x = lib.pad(x, [(axis.pad_lo, axis.pad_hi) for axis in axes])
    for tap in itertools.product(*(range(axis.kernel_size) for axis in axes)):
        yield tap, x[(..., *(axis.window(t) for axis, t in zip(axes, tap, strict=True)))]


def join(parts: list[Array], places: list[tuple[slice, ...]], sizes: tuple[int, ...], lib: Standard) -> Array:
    """One array with the last axes of `sizes`, zero but for the parts in their places."""
    if len(parts) == 1 and parts[0].shape[3:] == sizes:
        return parts[0]
    return lib.interleave(parts, places, sizes)
