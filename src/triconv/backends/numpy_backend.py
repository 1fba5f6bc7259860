"""NumPy: the standard as it is, and blocks written where they belong."""

from __future__ import annotations

import contextlib
import importlib
import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any

import array_api_compat
import numpy as np

from triconv.backends import numpy_shifts, numpy_threads
from triconv.backends.base import UNMASKED, Array, ArrayKind, Standard
from triconv.geometry import Axis, Phase

# of an array that is transposed, what stays in a core's cache while it is read in one order and written in another: 15 MiB of
# 256 channels took 7.8 ns per element as a whole and 1.6 in such blocks
BLOCK_BYTES = 2**17
# a step in memory whose multiples are in few sets of a first-level cache: of 16 lines read so, the first is gone when it is
# read again
ALIASED_BYTES = 2**10


class NumPy(Standard):
    """NumPy arrays."""

    name = "numpy"
    distribution = "numpy"
    module = "array_api_compat.numpy"
    converter = "numpy.asarray"

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
        return self.ordered(a)

    def add_at(self, a: Array, slices: tuple[slice, ...], values: Array) -> Array:
        """On threads."""
        place = a[(..., *slices)]
        numpy_threads.add(place, values.reshape(place.shape))
        return a

    def concat(self, arrays: Sequence[Array], axis: int) -> Array:
        """On threads."""
        length, dtype = sum(a.shape[axis] for a in arrays), np.result_type(*arrays)
        out = np.empty((*arrays[0].shape[:axis], length, *arrays[0].shape[axis + 1 :]), dtype)
        start = 0
        for a in arrays:
            numpy_threads.assign(out[(*[slice(None)] * axis, slice(start, start + a.shape[axis]))], a)
            start += a.shape[axis]
        return out

    def write_blocks(self, f: Callable[[Any], Array], count: int, axis: int) -> Array:
        """As the standard one."""
        return self.concat([f(number) for number in range(count)], axis)

    def pad(self, a: Array, pads: Sequence[tuple[int, int]]) -> Array:
        """One copy, or none."""
        front = a.ndim - len(pads)
        if any(max(pair) > 0 for pair in pads):
            grown = [(max(0, lo), max(0, hi)) for lo, hi in pads]
            inner = [slice(lo, lo + size) for size, (lo, _) in zip(a.shape[front:], grown, strict=True)]
            sizes = [lo + size + hi for size, (lo, hi) in zip(a.shape[front:], grown, strict=True)]
            padded = np.zeros((*a.shape[:front], *sizes), a.dtype)
            index: Any = (..., *inner)
            numpy_threads.assign(padded[index], a)
            a = padded
        kept = (slice(max(0, -lo), size - max(0, -hi)) for size, (lo, hi) in zip(a.shape[front:], pads, strict=True))
        return a[(..., *kept)]

    def map_blocks(self, f: Callable[..., Array], *arrays: Array) -> Array:
        """As the standard one, without a second copy."""
        first = f(*(a[0, ...] for a in arrays))
        out = np.empty((arrays[0].shape[0], *first.shape), first.dtype)
        numpy_threads.assign(out[0], first)
        for i in range(1, out.shape[0]):
            numpy_threads.assign(out[i], f(*(a[i, ...] for a in arrays)))
        return out

    def map_tiles(self, f: Callable[[slice, slice], Array], sizes: tuple[int, int], tile: tuple[int, int]) -> Array:
        """Tiles on several threads, each written where it belongs, the second axis first in memory."""
        tiles = [
            (slice(i, min(i + tile[0], sizes[0])), slice(j, min(j + tile[1], sizes[1])))
            for j in range(0, sizes[1], tile[1])
            for i in range(0, sizes[0], tile[0])
        ]
        first = f(*tiles[0])
        if len(tiles) == 1:
            return first
        out = np.empty((sizes[1], sizes[0], *first.shape[2:]), first.dtype).swapaxes(0, 1)
        out[tiles[0]] = first

        def write(tile: tuple[slice, slice]) -> None:
            out[tile] = f(*tile)

        numpy_threads.run(write, tiles[1:])
        return out

    def unfold_last(
        self, a: Array, pads: Sequence[tuple[int, int]], meetings: Sequence[tuple[slice, slice]], size: int
    ) -> Array:
        """Each element written once; what stands between zeros is not padded first."""
        *front, c, n, _ = a.shape
        rows = [lo + length + hi for length, (lo, hi) in zip(front[1:], pads, strict=True)]
        u = np.empty((front[0], *rows, len(meetings), c, n, size), a.dtype)
        source: list[slice] = [slice(None)]
        place: list[slice] = [slice(None)]
        for number, (length, padded, (lo, _)) in enumerate(zip(front[1:], rows, pads, strict=True), 1):
            start, stop = max(0, lo), max(0, lo, min(padded, lo + length))
            for edge in (slice(0, start), slice(stop, None)):
                index: Any = (*[slice(None)] * number, edge)
                u[index] = 0
            place.append(slice(start, stop))
            source.append(slice(start - lo, stop - lo))
        inner, a = u[tuple(place)], a[tuple(source)]
        for t, (inputs, outputs) in enumerate(meetings):
            to = inner[..., t, :, :, :]
            if outputs.start:
                to[..., : outputs.start] = 0
            if outputs.stop < size:
                to[..., outputs.stop :] = 0
            to[..., outputs] = a[..., inputs]
        return u

    def windows(self, a: Array, axes: Sequence[Axis]) -> Array | None:
        """Of the padded array."""
        ends = [axis.stride * (axis.output_size - 1) + axis.dilated_kernel for axis in axes]
        pads = ((axis.pad_lo, end - axis.input_size - axis.pad_lo) for axis, end in zip(axes, ends, strict=True))
        a = self.pad(a, [*pads, (0, 0)])
        sample, *inner, channel = a.strides
        shape = (*(axis.output_size for axis in axes), *(axis.kernel_size for axis in axes))
        steps = [axis.stride * step for axis, step in zip(axes, inner, strict=True)]
        steps += [axis.dilation * step for axis, step in zip(axes, inner, strict=True)]
        return np.lib.stride_tricks.as_strided(
            a, (a.shape[0], *shape, a.shape[-1]), (sample, *steps, channel), writeable=False
        )

    def shifted_conv(
        self, x: Array, w: Array, phases: Sequence[Phase], sizes: tuple[int, ...], *, last: bool, along_positions: bool
    ) -> Array:
        """In tiles, on threads."""
        return numpy_shifts.conv(x, w, phases, sizes, last=last, along_positions=along_positions)

    def shifted_weight_vjp(
        self, g: Array, x: Array, axes: tuple[Axis, ...], *, last: bool, along_channels: bool
    ) -> Array:
        """Likewise."""
        return numpy_shifts.conv_weight_vjp(g, x, axes, last=last, along_channels=along_channels)

    def ordered(self, a: Array) -> Array:
        """In C order: BLAS takes no other but its transpose. Large arrays go block by block, on threads."""
        if a.flags.c_contiguous or a.nbytes <= BLOCK_BYTES:
            return a if a.flags.c_contiguous else np.ascontiguousarray(a)
        out, steps, size = np.empty(a.shape, a.dtype), list(a.shape), a.nbytes
        is_aliased = abs(a.strides[-1]) % ALIASED_BYTES == 0
        most = 2 * BLOCK_BYTES if is_aliased else BLOCK_BYTES
        # both orders of memory have runs in a block: what is an outer axis in both is split first
        inner = [min(abs(pair[0]), pair[1]) for pair in zip(a.strides, out.strides, strict=True)]
        for axis in sorted(range(a.ndim), key=lambda axis: -inner[axis]):
            others = size // a.shape[axis]
            steps[axis] = min(a.shape[axis], max(1, most // others))
            size = others * steps[axis]

        def copy(index: tuple[slice, ...]) -> None:
            out[index] = _spaced(a[index]) if is_aliased else a[index]

        parts = (
            [slice(i, i + step) for i in range(0, length, step)] for length, step in zip(a.shape, steps, strict=True)
        )
        numpy_threads.run(copy, itertools.product(*parts))
        return out

    def interleave(self, parts: list[Array], places: list[tuple[slice, ...]], sizes: tuple[int, ...]) -> Array:
        """Each part written once; zeros only where there is no part. In memory it has the order of the first part."""
        shape = (*parts[0].shape[: parts[0].ndim - len(sizes)], *sizes)
        covered = sum(part.size for part in parts) == math.prod(shape)
        order = sorted(range(len(shape)), key=lambda axis: -parts[0].strides[axis])
        whole = (np.empty if covered else np.zeros)([shape[axis] for axis in order], parts[0].dtype)
        whole = whole.transpose(np.argsort(order))
        for part, slices in zip(parts, places, strict=True):
            index: Any = (..., *slices)
            numpy_threads.assign(whole[index], part)
        return whole

    def overlapping(self, a: Array, count: int, step: int) -> Array:
        """A view: windows overlap in memory, which products read as it is."""
        *front, rows, size, length = a.shape
        if a.strides[-3] != size * a.strides[-2]:
            a = np.ascontiguousarray(a)
        *strides, row, line, element = a.strides
        shape = (*front, (rows - count) // step + 1, count * size, length)
        return np.lib.stride_tricks.as_strided(a, shape, (*strides, row * step, line, element), writeable=False)

    def inner(self, a: Array, others: list[Array]) -> Array:
        """Row by row, where there are rows and nothing to conjugate."""
        if a.ndim < 2 or np.iscomplexobj(a):
            return super().inner(a, others)
        axes = tuple(range(1, a.ndim - 1))
        return np.stack([np.sum(np.vecdot(a, b), axis=axes, dtype=a.dtype) for b in others], axis=-1)


def _spaced(a: Array) -> Array:
    """A copy in the order in which it stands in memory, with lines that are a little apart."""
    order = sorted(range(a.ndim), key=lambda axis: (a.shape[axis] > 1, -abs(a.strides[axis])))
    *front, length = (a.shape[axis] for axis in order)
    spaced = np.empty((*front, length + 64 // a.itemsize), a.dtype)[..., :length].transpose(np.argsort(order))
    spaced[...] = a
    return spaced


def _is_bfloat16(dtype: Any) -> bool:
    return getattr(dtype, "name", "") == "bfloat16" and np.dtype(dtype).itemsize == 2
