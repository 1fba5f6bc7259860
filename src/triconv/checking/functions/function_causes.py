"""Why a derivative of any function is wrong, or its value: the hypotheses that need no convolution."""

from __future__ import annotations

import itertools

import numpy as np

from triconv.checking.diagnosis.elementwise import ROUNDINGS
from triconv.checking.diagnosis.regions import stretch_of
from triconv.checking.findings.causes import Cause, Hypothesis
from triconv.checking.findings.diagnosis_data import Content, Diagnosis, Factor, Region, Stretch

INVARIANT = 1e-4
"""Sum over the sum of magnitudes that is zero: a variance has a small number added."""
BY_CHANCE = 0.3
"""The share of a region that may be right."""
MOST_SHIFT = 4
"""Positions by which a result may be shifted, with other numbers at its border."""
LEAST_SHIFTED = 6
"""Elements that must be equal after a shift."""


def explain(
    found: np.ndarray,
    right: np.ndarray,
    wrong: np.ndarray,
    *,
    is_value: bool,
    is_whole: bool = True,
    of: np.ndarray | None = None,
) -> Diagnosis:
    """Return the first hypothesis that predicts every element of a result.

    Parameters
    ----------
    found, right : numpy.ndarray
        The result, and what it must be.
    wrong : numpy.ndarray
        Which elements differ.
    is_value : bool
        Whether the result is a value, not a derivative.
    is_whole : bool
        Whether `right` is known everywhere.
    of : numpy.ndarray, optional
        The array by which a VJP was asked.

    Returns
    -------
    Diagnosis
        Of the cause `Cause.NONE` where no hypothesis predicts the result.
    """
    if not is_value and right.any() and not found.any():
        return Diagnosis(Cause.DETACHED, Hypothesis.ZERO)
    if not is_value and not right[wrong].any():
        if right.any():
            return Diagnosis(Cause.GRADIENT_OF_MASKED, Hypothesis.GRADIENT_OF_MASKED)
        if is_whole:
            return Diagnosis(Cause.STRAIGHT_THROUGH, Hypothesis.GRADIENT_OF_CONSTANT)
    if is_whole:
        for hypothesis in _HYPOTHESES:
            if (diagnosis := hypothesis(found, right, wrong)) is not None:
                return diagnosis
        if of is not None and (held := _held_constant(found, right, of)) is not None:
            return held
    return Diagnosis(Cause.NONE, Hypothesis.UNEXPLAINED_OF_FUNCTION)


def _same(a: np.ndarray, b: np.ndarray) -> bool:
    size = np.abs(b).max(initial=0)
    return a.shape == b.shape and bool(np.all(np.abs(a - b) <= 1e-6 * size + 1e-12))


def _factor(found: np.ndarray, right: np.ndarray, wrong: np.ndarray) -> Diagnosis | None:  # noqa: ARG001
    weight = np.vdot(right, right).real
    if right.size < 2 or not weight:
        return None
    c = float(np.vdot(right, found).real / weight)
    if not c or not _same(found, c * right):
        return None
    if np.isclose(c, -1):
        return Diagnosis(Cause.SIGN, Hypothesis.SIGN)
    size = next((round(v) for v in (c, 1 / c) if round(v) > 1 and np.isclose(v, round(v), rtol=1e-6)), None)
    return Diagnosis(Cause.CONSTANT_FACTOR, Hypothesis.FACTOR, factor=Factor(c, size, size is not None and abs(c) < 1))


def _transposed(found: np.ndarray, right: np.ndarray, wrong: np.ndarray) -> Diagnosis | None:  # noqa: ARG001
    for order in itertools.permutations(range(right.ndim)) if right.ndim <= 4 else ():
        if order != tuple(range(right.ndim)) and _same(found, right.transpose(order)):
            return Diagnosis(Cause.LAYOUT_MISREAD, Hypothesis.RESULT_TRANSPOSED, axes=order)
    return None


def _flipped(found: np.ndarray, right: np.ndarray, wrong: np.ndarray) -> Diagnosis | None:  # noqa: ARG001
    axes = [axis for axis, size in enumerate(right.shape) if size > 1]
    for n in range(1, len(axes) + 1):
        for subset in itertools.combinations(axes, n):
            if _same(found, np.flip(right, subset)):
                return Diagnosis(Cause.KERNEL_FLIP, Hypothesis.RESULT_FLIPPED, axes=subset)
    return None


def _rolled(found: np.ndarray, right: np.ndarray, wrong: np.ndarray) -> Diagnosis | None:  # noqa: ARG001
    for axis, size in enumerate(right.shape):
        for step in (1, -1):
            if size > 2 and _same(found, np.roll(right, step, axis)):
                return Diagnosis(Cause.PADDING_OFF_BY_ONE, Hypothesis.RESULT_SHIFTED, axis=axis, offset=(step,))
    return None


def _constant(found: np.ndarray, right: np.ndarray, wrong: np.ndarray) -> Diagnosis | None:
    if right.size < 3 or np.iscomplexobj(found) or not wrong.all():
        return None
    shift = float((found - right).mean())
    if _same(found - shift, right):
        return Diagnosis(Cause.CONSTANT_ADDED, Hypothesis.CONSTANT_ADDED, amount=shift)
    return None


def _summed(found: np.ndarray, right: np.ndarray, wrong: np.ndarray) -> Diagnosis | None:  # noqa: ARG001
    """Explain one number in place of all elements along some axes: their sum, or their mean."""
    axes = tuple(axis for axis, size in enumerate(right.shape) if size > 1 and not np.ptp(found, axis=axis).any())
    if not axes or right.size < 3:
        return None
    total = right.sum(axes, keepdims=True)
    for scale, hypothesis in (
        (1, Hypothesis.SUMMED_OVER_AXES),
        (right.size / total.size, Hypothesis.AVERAGED_OVER_AXES),
    ):
        if total.any() and _same(found, np.broadcast_to(total / scale, right.shape)):
            return Diagnosis(Cause.SUMMED_TWICE, hypothesis, axes=axes)
    return None


def _one_element(found: np.ndarray, right: np.ndarray, wrong: np.ndarray) -> Diagnosis | None:
    at = np.argwhere(wrong)
    if len(at) != 1 or right.size < 3:
        return None
    index = tuple(map(int, at[0]))
    hypothesis = Hypothesis.ELEMENT_WRONG if found[index] else Hypothesis.ELEMENT_DROPPED
    return Diagnosis(Cause.ONE_ELEMENT, hypothesis, index=index)


def _permuted(found: np.ndarray, right: np.ndarray, wrong: np.ndarray) -> Diagnosis | None:  # noqa: ARG001
    for axis, size in enumerate(right.shape):
        given, expected = (np.moveaxis(a, axis, 0).reshape(size, -1) for a in (found, right))
        if size < 2 or size > 64 or expected.shape[1] < 2:
            continue
        sources = [next((n for n in range(size) if _same(expected[n], row)), -1) for row in given]
        if sorted(sources) == list(range(size)):
            positions = tuple(sources)
            return Diagnosis(Cause.CHANNELS_PERMUTED, Hypothesis.SLICES_PERMUTED, axis=axis, positions=positions)
    return None


def _region(found: np.ndarray, right: np.ndarray, wrong: np.ndarray) -> Diagnosis | None:
    """Where it is wrong, if that is a box or a period along some axes."""
    stretches: list[Stretch] = []
    inside = np.ones_like(wrong)
    for axis, size in enumerate(wrong.shape):
        at = np.asarray(wrong.any(axis=tuple(other for other in range(wrong.ndim) if other != axis)))
        stretch = None if at.all() else stretch_of((axis,), at)
        if stretch is not None:
            stretches.append(stretch)
            inside &= at.reshape([size if other == axis else 1 for other in range(wrong.ndim)])
    some, expected = found[wrong], right[wrong]
    scaled = _factor(some, expected, wrong) if len(some) > 3 else None
    is_full = (inside & ~wrong & (right != 0)).sum() <= BY_CHANCE * inside.sum()
    if (part := _rearranged_in_part(found, right, wrong, stretches)) is not None:
        return part
    if not stretches or not (is_full or scaled is not None):
        return None
    content = Content.OTHER if some.any() else Content.ZERO
    ends = stretches[0].first == 0 or stretches[0].end == stretches[0].size
    is_border = len(stretches) == 1 and ends and stretches[0].end - stretches[0].first == 1
    cause = Cause.BORDER_DROPPED if is_border else Cause.BLOCK
    return Diagnosis(cause, Hypothesis.REGION, region=Region(tuple(stretches), content), also=scaled)


def _shifted(found: np.ndarray, right: np.ndarray, wrong: np.ndarray) -> Diagnosis | None:  # noqa: ARG001
    """Explain a shift whose border is something else: what was cropped off, or nothing."""
    for axis, size in enumerate(right.shape):
        for step in range(1, min(MOST_SHIFT, size - 2) + 1):
            given, expected = np.moveaxis(found, axis, 0), np.moveaxis(right, axis, 0)
            for offset, a, b in ((step, given[step:], expected[:-step]), (-step, given[:-step], expected[step:])):
                if a.size >= LEAST_SHIFTED and len(np.unique(b)) > 2 and _same(a, b):
                    return Diagnosis(Cause.PADDING_OFF_BY_ONE, Hypothesis.RESULT_SHIFTED, axis=axis, offset=(offset,))
    return None


def _rounded(found: np.ndarray, right: np.ndarray, wrong: np.ndarray) -> Diagnosis | None:
    if np.iscomplexobj(found) or wrong.sum() < 2 or np.any(found != np.rint(found)) or len(np.unique(found)) < 3:
        return None
    for mode, function in ROUNDINGS.items():
        if np.array_equal(function(right), found):
            return Diagnosis(Cause.FIXED_POINT, Hypothesis.ROUNDED_TO_INTEGERS, mode=mode)
    return None


def _rearranged_in_part(
    found: np.ndarray, right: np.ndarray, wrong: np.ndarray, stretches: list[Stretch]
) -> Diagnosis | None:
    """Explain slices from one on, or up to one, that are transposed, reversed, rolled or in another order."""
    for stretch in stretches:
        part = tuple([slice(None)] * stretch.axes[0] + [slice(stretch.first, stretch.end)])
        for hypothesis in (_transposed, _flipped, _rolled, _permuted) if stretch.period is None else ():
            inside = hypothesis(found[part], right[part], wrong[part])
            if inside is not None:
                region = Region((stretch,), Content.OTHER)
                return Diagnosis(inside.cause, Hypothesis.REGION, region=region, also=inside)
    return None


def _held_constant(found: np.ndarray, right: np.ndarray, of: np.ndarray) -> Diagnosis | None:
    """A norm or a mean that is no constant, but was taken for one: the values do not change along some direction."""
    if right.shape != of.shape or right.size < 2 or np.iscomplexobj(right):
        return None
    for hypothesis, direction in ((Hypothesis.MEAN_HELD, np.ones_like(of)), (Hypothesis.NORM_HELD, of)):
        for axis in (*range(min(2, of.ndim)), None):
            others = tuple(other for other in range(of.ndim) if other != axis)
            if axis is not None and of.size == of.shape[axis]:
                continue
            size = np.abs(right * direction).sum(axis=others)
            is_right = bool(np.all(np.abs((right * direction).sum(axis=others)) <= INVARIANT * size))
            if is_right and np.any(np.abs((found * direction).sum(axis=others)) > 100 * INVARIANT * size):
                return Diagnosis(Cause.DETACHED, hypothesis, axis=axis)
    return None


_HYPOTHESES = (
    _factor,
    _transposed,
    _flipped,
    _rolled,
    _permuted,
    _constant,
    _summed,
    _one_element,
    _rounded,
    _shifted,
    _region,
)
"""In the order in which they are asked."""
