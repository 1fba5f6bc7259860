"""Exact contractions of integers modulo a prime, tap by tap, with the positions that meet solved for."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from triconv.checking.oracles import modular
from triconv.checking.oracles.definition import AxisParameters, output_size


def contract(
    axes: tuple[AxisParameters, ...], role: str, first: np.ndarray, second: np.ndarray, prime: int | None
) -> np.ndarray:
    """Return what `exact_transform.contract` does, tap by tap."""
    groups = first.shape[0]
    sizes = {"x": [a.input_size for a in axes], "g": [output_size(a) for a in axes], "w": [a.kernel_size for a in axes]}
    result = np.zeros((groups, *sizes[role]), np.int64)
    # limbs are made once for all taps, and so short that their sums over all taps are exact
    first, second = (modular.reduced(a, prime) for a in (first, second))
    smaller = min(math.prod(sizes["x"]), math.prod(sizes["g"]))
    terms = first.shape[1] * (smaller if role == "w" else math.prod(sizes["w"]))
    width_second, width_first = modular.widths(modular.bits(second), modular.bits(first), terms)
    add = _products if role == "w" else _sums
    for n, of_first in enumerate(modular.limbs(first, width_first)):
        for m, of_second in enumerate(modular.limbs(second, width_second)):
            part = add(axes, role, of_first, of_second, np.zeros(result.shape)).astype(np.int64)
            result += modular.shifted(part, width_first * n + width_second * m, prime)
    return modular.residues(result, prime)


def _products(
    axes: tuple[AxisParameters, ...], _: str, first: np.ndarray, second: np.ndarray, result: np.ndarray
) -> np.ndarray:
    """Return the product of all that meets at each tap, for limbs."""
    groups = first.shape[0]
    for t, i, o in meeting_slices(axes):
        a, b = (m.reshape(groups, -1) for m in (first[i], second[o]))
        at: Any = (slice(None), *t)
        result[at] = (a[:, None, :] @ b[:, :, None])[:, 0, 0]
    return result


def _sums(
    axes: tuple[AxisParameters, ...], role: str, first: np.ndarray, second: np.ndarray, result: np.ndarray
) -> np.ndarray:
    """Return the sums over the taps of what each adds to the positions, for limbs."""
    groups, taps = first.shape[0], [a.kernel_size for a in axes]
    # the sum over the letter that both operands have is one product for all taps at once
    rows = second.reshape(*second.shape[:2], -1).swapaxes(1, 2)
    columns = first.reshape(*first.shape[:2], -1)
    at_once = max(1, modular.MOST_ELEMENTS // max(1, groups * columns.shape[2]))
    kept: dict[int, np.ndarray] = {}
    for t, i, o in meeting_slices(axes):
        n = int(np.ravel_multi_index(t, taps)) if axes else 0
        start = n - n % at_once
        if start not in kept:
            products = rows[:, start : start + at_once] @ columns
            kept = {start: products.reshape(groups, -1, *first.shape[2:])}
        meeting = kept[start][:, n - start]
        if role == "g":
            result[o] += meeting[i]
        else:
            result[i] += meeting[o]
    return result


def meeting_slices(axes: tuple[AxisParameters, ...]) -> Iterator[tuple[tuple[int, ...], Any, Any]]:
    """Yield every tap with the slices of the input and of the output positions that meet there."""
    if not axes:
        yield (), (...,), (...,)
        return
    for rest, i, o in meeting_slices(axes[:-1]):
        for t in range(axes[-1].kernel_size):
            here = meeting(axes[-1], t)
            if here is not None:
                yield (*rest, t), (*i, here[0]), (*o, here[1])


def meeting(axis: AxisParameters, t: int) -> tuple[slice, slice] | None:
    """Return the input and the output positions that meet a tap, by solving the incidence equation; None for none."""
    step = axis.input_dilation // math.gcd(axis.stride, axis.input_dilation)
    shift = axis.dilation * t - axis.pad_lo
    first = next((o for o in range(step) if (axis.stride * o + shift) % axis.input_dilation == 0), None)
    if first is None:
        return None
    i, by = (axis.stride * first + shift) // axis.input_dilation, axis.stride * step // axis.input_dilation
    start = max(0, -(i // by))
    stop = min((output_size(axis) - first + step - 1) // step, (axis.input_size - 1 - i) // by + 1)
    if stop <= start:
        return None
    return (
        slice(i + by * start, i + by * (stop - 1) + 1, by),
        slice(first + step * start, first + step * (stop - 1) + 1, step),
    )


def count_meetings(axes: tuple[AxisParameters, ...]) -> int:
    """Return the number of meetings of inputs, outputs and taps."""
    return math.prod(_count(axis) for axis in axes)


def _count(axis: AxisParameters) -> int:
    here = (meeting(axis, t) for t in range(axis.kernel_size))
    return sum((o.stop - o.start - 1) // o.step + 1 for _, o in filter(None, here))
