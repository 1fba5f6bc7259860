"""Right elements in wrong places: slices of the result that are rolled, reversed, exchanged or copied, and axes transposed."""

from __future__ import annotations

import itertools

import numpy as np

from triconv.checking.findings.causes import Cause, Hypothesis
from triconv.checking.findings.diagnosis_data import Diagnosis
from triconv.checking.findings.protocol import Role
from triconv.checking.oracles.comparison import WrongResult, same

LEAST_VALUES = 4
"""Different numbers in slices that are those of other places, not equal to them by chance."""
MOST_SLICES = 4096
"""Slices along one axis that are compared with each other."""


def rearranged(r: WrongResult) -> Diagnosis | None:
    """Explain a result whose slices along one axis are right, but in other places."""
    if not r.has_shape or not r.expected.size:
        return None
    for axis in range(r.expected.ndim):
        size = r.expected.shape[axis]
        sources = _sources(r, axis) if size > 1 else None
        if sources is None:
            continue
        cause = _cause(r.role, axis)
        base = Diagnosis(
            cause, Hypothesis.SLICES_PERMUTED, role=Role(r.role), axis=axis, size=size, positions=tuple(sources)
        )
        for step in sorted(range(1 - size, size), key=abs):
            if step and sources == [(n - step) % size for n in range(size)]:
                step = step if abs(step) <= size / 2 else step - size * (1 if step > 0 else -1)  # noqa: PLW2901
                if axis >= 2 and r.role != "w" and abs(step) > 1:
                    cause = Cause.SHIFTED
                return _with(base, cause, Hypothesis.SLICES_ROLLED, offset=(step,))
        if sources == list(range(size))[::-1]:
            return _with(base, Cause.KERNEL_FLIP if _is_spatial(r, axis) else cause, Hypothesis.SLICES_REVERSED)
        if len(set(sources)) == 1:
            copied = Cause.ONLY_THE_FIRST_SAMPLE if _is_batch(r, axis) and not sources[0] else cause
            return _with(base, copied, Hypothesis.SLICES_COPIED)
        if len(set(sources)) == size:
            return base
        moved = [n for n, source in enumerate(sources) if n != source]
        if len(moved) <= size / 2 and len(np.unique(np.take(r.found, moved, axis))) >= LEAST_VALUES:
            place = Cause.BLOCK if axis >= 2 else cause
            return _with(base, place, Hypothesis.SLICES_REPLACED)
    return _rolled(r)


def _with(base: Diagnosis, cause: Cause, hypothesis: Hypothesis, offset: tuple[int, ...] | None = None) -> Diagnosis:
    return Diagnosis(
        cause, hypothesis, role=base.role, axis=base.axis, size=base.size, positions=base.positions, offset=offset
    )


def _is_spatial(r: WrongResult, axis: int) -> bool:
    return r.role != "bias" and axis >= 2


def _is_batch(r: WrongResult, axis: int) -> bool:
    return r.role in ("x", "g") and axis == 0


def _cause(role: str, axis: int) -> Cause:
    if role == "bias" or (role == "w" and axis < 2) or axis == 1:
        return Cause.CHANNELS_PERMUTED
    return Cause.SAMPLES_PERMUTED if axis == 0 else Cause.PADDING_OFF_BY_ONE


def _sources(r: WrongResult, axis: int) -> list[int] | None:
    """Return which slice of the right result each slice is; None if one is none of them, or all are in place."""
    size = r.expected.shape[axis]
    expected, found = (np.moveaxis(a, axis, 0).reshape(size, -1) for a in (r.expected, r.found))
    if size > MOST_SLICES or (expected.shape[1] < 2 and size < 4):
        return None  # of so few numbers, some may be equal by chance
    probe = np.random.default_rng(0).standard_normal(expected.shape[1])
    right, given = expected @ probe, found @ probe  # equal slices have equal products
    near = np.abs(right - given[:, None]) <= 1e-6 * (1 + np.abs(right).max())
    if not near.any(axis=1).all() or not expected.any(axis=1).all():
        return None
    sources = []
    for number, row in enumerate(near):
        candidates = np.flatnonzero(row)
        source = number if number in candidates else int(candidates[0])
        if not same(expected[source], found[number]):
            return None
        sources.append(source)
    return None if sources == list(range(size)) else sources


def _rolled(r: WrongResult) -> Diagnosis | None:
    """Explain a result that is rolled in all of its spatial axes."""
    axes = tuple(range(2, r.expected.ndim))
    if len(axes) < 2:
        return None
    for step in (1, -1, 2, -2):
        if same(np.roll(r.expected, (step,) * len(axes), axes), r.found):
            cause = Cause.PADDING_OFF_BY_ONE if abs(step) == 1 else Cause.SHIFTED
            return Diagnosis(cause, Hypothesis.RESULT_ROLLED, axes=axes, offset=(step,))
    return None


def reordered(r: WrongResult) -> Diagnosis | None:
    """Explain a result whose axes are in another order, or that is reshaped where it must be transposed."""
    for order in itertools.permutations(range(r.expected.ndim)):
        moved = r.expected.transpose(order)
        if order != tuple(range(r.expected.ndim)) and same(moved, r.found):
            return Diagnosis(Cause.LAYOUT_MISREAD, Hypothesis.RESULT_TRANSPOSED, axes=order)
        if moved.size == r.found.size and not same(r.expected, r.found) and same(moved.reshape(r.found.shape), r.found):
            return Diagnosis(Cause.LAYOUT_MISREAD, Hypothesis.RESULT_RESHAPED)
    return None


def reversed_in_axes(r: WrongResult) -> Diagnosis | None:
    """Explain a result that is reversed in some spatial axes."""
    axes = tuple(range(2, r.expected.ndim))
    for subset in itertools.chain.from_iterable(itertools.combinations(axes, n) for n in range(1, len(axes) + 1)):
        if same(np.flip(r.expected, subset), r.found):
            return Diagnosis(Cause.KERNEL_FLIP, Hypothesis.RESULT_FLIPPED, axes=subset)
    return None


def shifted(r: WrongResult) -> Diagnosis | None:
    """Explain a result that is shifted by some positions along a spatial axis, whatever stands in the rows at the end."""
    if not r.has_shape:
        return None
    for axis in range(2, r.expected.ndim):
        size = r.expected.shape[axis]
        for step in (1, -1, 2, -2, 3, -3):
            if size <= abs(step) + 1:
                continue
            inside, source = [slice(None)] * r.expected.ndim, [slice(None)] * r.expected.ndim
            inside[axis], source[axis] = (
                (slice(step, None), slice(None, -step)) if step > 0 else (slice(None, step), slice(-step, None))
            )
            if same(r.expected[tuple(source)], r.found[tuple(inside)]):
                cause = Cause.PADDING_OFF_BY_ONE if abs(step) == 1 else Cause.SHIFTED
                return Diagnosis(cause, Hypothesis.RESULT_SHIFTED, axis=axis, offset=(step,))
    return None
