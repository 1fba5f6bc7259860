"""Why a derivative of any function is wrong, or its value: the hypotheses that need no convolution."""

from __future__ import annotations

import itertools

import numpy as np

from triconv.checking.findings.causes import Cause, Diagnosis, Factor, Hypothesis


def explain(
    found: np.ndarray, right: np.ndarray, wrong: np.ndarray, *, is_value: bool, is_whole: bool = True
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
        for hypothesis in (_factor, _transposed, _flipped, _rolled, _constant, _one_element, _border):
            if (diagnosis := hypothesis(found, right, wrong)) is not None:
                return diagnosis
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


def _one_element(found: np.ndarray, right: np.ndarray, wrong: np.ndarray) -> Diagnosis | None:
    at = np.argwhere(wrong)
    if len(at) != 1 or right.size < 3:
        return None
    index = tuple(map(int, at[0]))
    hypothesis = Hypothesis.ELEMENT_WRONG if found[index] else Hypothesis.ELEMENT_DROPPED
    return Diagnosis(Cause.ONE_ELEMENT, hypothesis, index=index)


def _border(found: np.ndarray, right: np.ndarray, wrong: np.ndarray) -> Diagnosis | None:  # noqa: ARG001
    where = np.argwhere(wrong)
    for axis, size in enumerate(right.shape):
        at = set(where[:, axis].tolist())
        if size > 2 and (at <= {0} or at <= {size - 1} or at == {0, size - 1}):
            return Diagnosis(Cause.BORDER_DROPPED, Hypothesis.BORDER_WRONG, axis=axis, positions=tuple(sorted(at)))
    return None
