"""NumPy: the standard as it is, and blocks written where they belong."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from triconv.backends.standard import Array, Standard


class NumPy(Standard):
    """NumPy arrays."""

    name = "numpy"
    distribution = "numpy"
    module = "array_api_compat.numpy"

    def pad(self, a: Array, pads: Sequence[tuple[int, int]]) -> Array:
        """One copy, or none."""
        front = a.ndim - len(pads)
        if any(max(pair) > 0 for pair in pads):
            grown = [(max(0, lo), max(0, hi)) for lo, hi in pads]
            inner = [slice(lo, lo + size) for size, (lo, _) in zip(a.shape[front:], grown, strict=True)]
            sizes = [lo + size + hi for size, (lo, hi) in zip(a.shape[front:], grown, strict=True)]
            padded = np.zeros((*a.shape[:front], *sizes), a.dtype)
            index: Any = (..., *inner)
            padded[index] = a
            a = padded
        kept = (slice(max(0, -lo), size - max(0, -hi)) for size, (lo, hi) in zip(a.shape[front:], pads, strict=True))
        return a[(..., *kept)]

    def each(self, f: Callable[..., Array], *arrays: Array) -> Array:
        """As the standard one, without a second copy."""
        first = f(*(a[0, ...] for a in arrays))
        out = np.empty((arrays[0].shape[0], *first.shape), first.dtype)
        out[0] = first
        for i in range(1, out.shape[0]):
            out[i] = f(*(a[i, ...] for a in arrays))
        return out

    def inner(self, a: Array, others: list[Array]) -> Array:
        """Row by row, where there are rows and nothing to conjugate."""
        if a.ndim < 2 or np.iscomplexobj(a):
            return super().inner(a, others)
        axes = tuple(range(1, a.ndim - 1))
        return np.stack([np.sum(np.vecdot(a, b), axis=axes, dtype=a.dtype) for b in others], axis=-1)
