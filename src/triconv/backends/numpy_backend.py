"""NumPy: the standard as it is, and blocks written where they belong."""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Callable, Sequence
from typing import Any

import array_api_compat
import numpy as np

from triconv.backends.base import UNMASKED, Array, ArrayKind, Standard


class NumPy(Standard):
    """NumPy arrays."""

    name = "numpy"
    distribution = "numpy"
    module = "array_api_compat.numpy"

    @classmethod
    def owns(cls, xp: Any) -> bool:
        """Whether an array namespace is this library's."""
        return array_api_compat.is_numpy_namespace(xp)

    @classmethod
    def array_kind(cls, kind: type) -> ArrayKind | None:
        """Of plain arrays, not of subclasses."""
        return ArrayKind(lambda array: (array.dtype, array.shape, array.strides)) if kind is np.ndarray else None

    def obstacle(self, array: Array) -> str:
        """A mask would be lost."""
        return UNMASKED if isinstance(array, np.ma.MaskedArray) else ""

    def is_number(self, dtype: Any) -> bool:
        """As the standard one; and bfloat16, which ml_dtypes brings."""
        return _is_bfloat16(dtype) or super().is_number(dtype)

    def result_type(self, *arrays: Array) -> Any:
        """As the standard one; bfloat16, to which NumPy promotes nothing by itself, as in JAX, but with float64."""
        narrow = [a.dtype for a in arrays if _is_bfloat16(a.dtype)]
        if not narrow:
            return super().result_type(*arrays)
        others = [a.dtype for a in arrays if a.dtype.kind in "fc"]
        return np.result_type(*others, np.float32) if others else narrow[0]

    def native(self, array: Array) -> Array:
        """Converted, if it is in the other byte order."""
        return array if array.dtype.isnative else array.astype(array.dtype.newbyteorder("="))

    def accumulator(self, dtype: Any) -> Any:
        """As the standard one; float32 for bfloat16."""
        return np.dtype(np.float32) if _is_bfloat16(dtype) else super().accumulator(dtype)

    def element(self, dtype: Any) -> tuple[int, str]:
        """As the standard one; of bfloat16 too."""
        return (2, "real") if _is_bfloat16(dtype) else super().element(dtype)

    def dtype(self, dtype: Any) -> Any:
        """As the standard one; "bfloat16" where ml_dtypes is there."""
        if not isinstance(dtype, np.ndarray) and "bfloat16" in str(dtype):
            with contextlib.suppress(TypeError, ImportError):
                return np.dtype(importlib.import_module("ml_dtypes").bfloat16)
        return super().dtype(dtype)

    def dtype_name(self, dtype: Any) -> str | None:
        """By NumPy itself."""
        return None if dtype is None else np.dtype(dtype).name

    def contiguous(self, a: Array, like: Sequence[Array], *, channels_first: bool) -> Array:
        """In C order."""
        return a if a.flags.c_contiguous else np.ascontiguousarray(a)

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

    def map_blocks(self, f: Callable[..., Array], *arrays: Array) -> Array:
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


def _is_bfloat16(dtype: Any) -> bool:
    return getattr(dtype, "name", "") == "bfloat16" and np.dtype(dtype).itemsize == 2
