"""From phases back to one array, and the mirrored kernel: what every kernel needs that thinks in windows."""

from __future__ import annotations

from typing import Any

from triconv.backends.standard import Standard, permute_dims

Array = Any


def mirrored(w: Array, lib: Standard) -> Array:
    """The kernel of the mirrored geometry: its taps in reverse, its input and output channels exchanged."""
    axes = tuple(range(3, w.ndim))
    return permute_dims(lib.xp.flip(w, axis=axes) if axes else w, (0, 2, 1, *axes), lib.xp)


def join(parts: list[Array], places: list[tuple[slice, ...]], sizes: tuple[int, ...], lib: Standard) -> Array:
    """One array with the last axes of `sizes`, zero but for the parts in their places."""
    if len(parts) == 1 and parts[0].shape[3:] == sizes:
        return parts[0]
    return lib.interleave(parts, places, sizes)
