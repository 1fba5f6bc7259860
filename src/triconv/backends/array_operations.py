"""The array operations that kernels need in addition to the array API standard; here, in terms of the standard."""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from array_api_compat import device

from triconv.geometry import Axis, Phase

Array = Any


class ArrayOperations:
    """The operations of a library, with its array namespace as `xp`."""

    xp: Any

    def zeros(self, shape: tuple[int, ...], like: Array) -> Array:
        """Zeros of the dtype and on the device of an array."""
        return self.xp.zeros(shape, dtype=like.dtype, device=device(like))

    def matmul(self, a: Array, b: Array) -> Array:
        """Return the matrix products of the last two axes."""
        return self.xp.matmul(a, b)

    def matmul_transposed(self, a: Array, b: Array) -> Array:
        """``a @ b^T`` of the last two axes."""
        return self.xp.matmul(a, self.xp.matrix_transpose(b))

    def matmul_of_rows(self, a: Array, b: Array, parts: int) -> Array:
        """``a^T @ b`` of two matrices, whose sum over the rows may be split into so many equal parts."""
        return self.xp.matmul(self.xp.matrix_transpose(a), b)

    def einsum(self, subscripts: str, a: Array, b: Array) -> Array:
        """A contraction with axes by letters; asked for where `is_partitioned`."""
        raise NotImplementedError

    def inner(self, a: Array, others: list[Array]) -> Array:
        """Sums of ``a * b`` over all axes but the first, one per array ``b`` of `others`, side by side."""
        axes = tuple(range(1, a.ndim))
        return self.xp.stack([self.xp.sum(a * b, axis=axes, dtype=a.dtype) for b in others], axis=-1)

    def inner_in_parts(self, a: Array, others: list[Array], axis: int, count: int) -> Array:
        """Sums of ``a * b`` over all axes but the last, one per array ``b``, side by side: (channels, len(others)).

        A compiler that loops over the sums before the terms sums `count` positions of an axis first, for those are in a cache.
        """
        axes = tuple(range(a.ndim - 1))
        return self.xp.stack([self.xp.sum(a * b, axis=axes, dtype=a.dtype) for b in others], axis=-1)

    def sum_written(self, a: Array, axes: tuple[int, ...]) -> Array:
        """The sum over axes of an array that a compiler has to write first, instead of computing each term as it is added."""
        return self.xp.sum(a, axis=axes, dtype=a.dtype)

    def add_at(self, a: Array, slices: tuple[slice, ...], values: Array) -> Array:
        """`a`, which may be overwritten, with `values` (in any shape of as many elements) added at slices of its last axes."""
        index = (..., *slices)
        a[index] += self.xp.reshape(values, a[index].shape)
        return a

    def flip(self, a: Array, axes: Sequence[int]) -> Array:
        """The array in reverse along some axes."""
        return self.xp.flip(a, axis=tuple(axes))

    def concat(self, arrays: Sequence[Array], axis: int) -> Array:
        """The arrays one after the other along an axis."""
        return self.xp.concat(arrays, axis=axis)

    def padded_first(self, a: Array, axes: Sequence[Axis]) -> tuple[Array, tuple[Axis, ...]]:
        """An array (n, *input, channels) padded along all axes, and these without padding; or both as they are.

        As they are if `unfold_axis` need not write a padded copy of what it reads.
        """
        a = self.pad(a, [*((axis.pad_lo, axis.pad_hi) for axis in axes), (0, 0)])
        return a, tuple(replace(axis, input_size=axis.padded_size, pad_lo=0, pad_hi=0) for axis in axes)

    def unfold_axes(self, a: Array, axes: Sequence[Axis]) -> Array:
        """Windows along several axes of an array (n, *input, channels): (n, *output, taps * channels); the last axis first."""
        a, axes = self.padded_first(a, axes)
        for number, axis in reversed([*enumerate(axes, 1)]):
            if not axis.windows_are_inputs:
                a = self.unfold_axis(a, number, axis)
        return a

    def unfold_axis(self, a: Array, number: int, axis: Axis) -> Array:
        """The windows of the padded `axis`, which has this number, side by side along the last axis: (..., taps * channels)."""
        a = self.pad(a, [(axis.pad_lo, axis.pad_hi), *[(0, 0)] * (a.ndim - 1 - number)])
        windows = [a[(*[slice(None)] * number, axis.window(tap), ...)] for tap in range(axis.kernel_size)]
        return self.xp.concat(windows, axis=-1)

    def pad(self, a: Array, pads: Sequence[tuple[int, int]]) -> Array:
        """`a` with zeros before and after its last axes, one pair per axis; a negative number crops."""
        front = a.ndim - len(pads)
        for axis, (lo, hi) in enumerate(pads, front):
            if max(lo, hi) > 0:
                sides = [self.zeros((*a.shape[:axis], max(0, size), *a.shape[axis + 1 :]), a) for size in (lo, hi)]
                a = self.xp.concat([sides[0], a, sides[1]], axis=axis)
        kept = (slice(max(0, -lo), size - max(0, -hi)) for size, (lo, hi) in zip(a.shape[front:], pads, strict=True))
        return a[(..., *kept)]

    def interleave(self, parts: list[Array], places: list[tuple[slice, ...]], sizes: tuple[int, ...]) -> Array:
        """An array with last axes of `sizes`: the parts in their places, which do not overlap, and zeros elsewhere."""
        front = parts[0].ndim - len(sizes)
        whole = self.zeros((*parts[0].shape[:front], *sizes), parts[0])
        for part, slices in zip(parts, places, strict=True):
            whole = self.add_at(whole, slices, part)
        return whole

    def window(self, a: Array, starts: Sequence[Any], sizes: Sequence[int]) -> Array:
        """`sizes` elements of the last axes from `starts` on, which may be known to a compiled program alone."""
        return a[(..., *(slice(int(start), int(start) + size) for start, size in zip(starts, sizes, strict=True)))]

    def positions(self, rows: Sequence[Any]) -> Array:
        """Where `window` starts, to loop over: on the host, but where a compiled program loops over them."""
        return np.asarray(rows)

    def map_blocks(self, f: Callable[..., Array], *arrays: Array) -> Array:
        """``f(a[i], b[i], ...)`` for every ``i`` of their first axes, stacked: one block of work at a time."""
        return self.xp.stack([f(*block) for block in zip(*map(_blocks, arrays), strict=True)])

    def sum_blocks(self, f: Callable[..., Array], *arrays: Array) -> Array:
        """The same, summed."""
        return functools.reduce(operator.add, (f(*block) for block in zip(*map(_blocks, arrays), strict=True)))

    def write_blocks(self, f: Callable[[Any], Array], count: int, axis: int) -> Array:
        """Put ``f(0)``, ``f(1)``, ... together: `count` of them along an axis."""
        return self.xp.concat([f(number) for number in range(count)], axis=axis)

    def map_tiles(self, f: Callable[[slice, slice], Array], sizes: tuple[int, int], tile: tuple[int, int]) -> Array:
        """The array whose first two axes have `sizes`, and whose tiles ``[a, b]`` are ``f(a, b)``, as long as `tile`."""
        first, second = (
            [slice(i, min(i + step, size)) for i in range(0, size, step)]
            for size, step in zip(sizes, tile, strict=True)
        )
        return self.xp.concat([self.xp.concat([f(a, b) for b in second], axis=1) for a in first], axis=0)

    def unfold_last(
        self, a: Array, pads: Sequence[tuple[int, int]], meetings: Sequence[tuple[slice, slice]], size: int
    ) -> Array:
        """What each tap of the last axis meets: of (first, *rows, c, n, last), (first, *padded rows, taps, c, n, size).

        `meetings` are the slices of the last axis that a tap meets, in the array and in the result; zeros elsewhere.
        """
        windows = [
            self.add_at(self.zeros((*a.shape[:-1], size), a), (target,), a[..., source]) for source, target in meetings
        ]
        u = self.xp.stack(windows, axis=a.ndim - 3)
        return self.pad(u, [*pads, *[(0, 0)] * 4])

    def overlapping(self, a: Array, count: int, step: int) -> Array:
        """Windows of `count` rows at every `step`, each merged with the axis after it.

        Of an array (..., rows, size, length), an array (..., windows, count * size, length).
        """
        *_, rows, size, length = a.shape
        windows = [a[..., i : i + count, :, :] for i in range(0, rows - count + 1, step)]
        return self.xp.stack([self.xp.reshape(w, (*w.shape[:-3], count * size, length)) for w in windows], axis=-3)

    def windows(self, a: Array, axes: Sequence[Axis]) -> Array | None:
        """Windows of an array (n, *input, c) as a view (n, *output, *taps, c), where arrays have strides of any kind."""
        return None

    def windows_in_lines(self, a: Array, axes: Sequence[Axis]) -> Array | None:
        """Windows of an array (n, *input, c) along lines, (*taps, c, n, *output), where one loop of a compiler writes them."""
        return None

    def shifted_conv(
        self, x: Array, w: Array, phases: Sequence[Phase], sizes: tuple[int, ...], *, last: bool, along_positions: bool
    ) -> Array:
        """``y = sum over t of w[t] * x[stride * o + dilation * t]``, channel by channel, in place; where `Target.in_place`.

        Of x (n, c, *input) and w (*taps, c), the outputs (n, c, *sizes) of all phases; with `last`, channels are last in both.
        With `along_positions`, they run along all positions of a channel.
        """
        raise NotImplementedError

    def shifted_weight_vjp(
        self, g: Array, x: Array, axes: tuple[Axis, ...], *, last: bool, along_channels: bool
    ) -> Array:
        """The weight VJP of the same, (*taps, c); of channels that are last, summed side by side with `along_channels`."""
        raise NotImplementedError

    def ordered(self, a: Array) -> Array:
        """The array in the order of its axes in memory, where products of small matrices would read another one by one."""
        return a


def tap_axis(a: Array, number: int, axis: Axis, xp: Any) -> Array:
    """An axis of taps in front of an axis of padded positions, and that one longer by the dilation, by shapes alone.

    The positions are repeated, and cut into lines that are longer by the dilation: ``result[t, i] = a[i + dilation * t]``.
    """
    before, size, after = a.shape[:number], a.shape[number], a.shape[number + 1 :]
    taps, line = axis.kernel_size, size + axis.dilation
    copies = -(-taps * line // size)
    repeated = xp.broadcast_to(xp.reshape(a, (*before, 1, size, *after)), (*before, copies, size, *after))
    repeated = xp.reshape(repeated, (*before, copies * size, *after))
    return xp.reshape(repeated[(*[slice(None)] * number, slice(taps * line))], (*before, taps, line, *after))


def order_of(array: Array) -> str | None:
    """Where the channels of a canonical array stand in memory: "first", before the positions, or "last", after them.

    None where no strides are known, as in a program of JAX.
    """
    strides: Sequence[Any] = array.stride() if hasattr(array, "stride") else getattr(array, "strides", ())
    if len(strides) < 4 or not (isinstance(strides[2], int) and isinstance(strides[-1], int)):
        return None
    channels = 0 if array.shape[2] == 1 and array.shape[0] != 1 else 2  # the stride of an axis of length 1 says nothing
    return "last" if strides[channels] < strides[-1] else "first"


def permute_dims(a: Array, order: Sequence[int], xp: Any) -> Array:
    """`xp.permute_dims`, as a mere reshape where only axes of length 1 move: XLA would copy."""
    if is_reshape(order, a.shape):
        return xp.reshape(a, tuple(a.shape[axis] for axis in order))
    return xp.permute_dims(a, tuple(order))


def is_reshape(order: Sequence[int], shape: Sequence[Any]) -> bool:
    """Whether only axes of length 1 move in this order of the axes."""
    long = [axis for axis in order if shape[axis] != 1]
    return long == sorted(long)


def _blocks(a: Array) -> Iterator[Array]:
    return (a[i, ...] for i in range(a.shape[0]))
