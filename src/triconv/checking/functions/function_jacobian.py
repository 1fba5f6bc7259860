"""The matrix of a VJP that is wrong, for functions of few elements, and what it says of the mistake."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np

from triconv.checking.findings.causes import Cause, Hypothesis
from triconv.checking.findings.diagnosis_data import Content, Diagnosis
from triconv.checking.functions import jacobian_causes
from triconv.checking.functions.directional import Derivative
from triconv.checking.functions.jacobian_causes import NEAR, Jacobians

MOST_ELEMENTS = 128
"""Of an array and of a result, for which the matrix is asked."""
SECONDS = 1.0
"""Time for each of both matrices."""

MOVED = (
    Hypothesis.RESULT_FLIPPED,
    Hypothesis.RESULT_TRANSPOSED,
    Hypothesis.RESULT_SHIFTED,
    Hypothesis.SLICES_PERMUTED,
)
"""What a result looks like if a permutation is applied to it twice."""

OF_SUMS = (Hypothesis.MEAN_HELD, Hypothesis.SUMMED_OVER_AXES, Hypothesis.AVERAGED_OVER_AXES)
"""What is true of its sums, and of other mistakes too."""


def is_unexplained(diagnosis: Diagnosis) -> bool:
    """Whether a diagnosis has no name, or says only where numbers are wrong."""
    region = diagnosis.region
    is_place = region is not None and region.content == Content.OTHER and diagnosis.also is None
    return is_place or diagnosis.cause == Cause.NONE


def is_vague(diagnosis: Diagnosis) -> bool:
    """Whether the matrix may say more than a diagnosis."""
    region = diagnosis.region
    is_place = region is not None and diagnosis.also is not None
    return is_place or is_unexplained(diagnosis) or diagnosis.hypothesis in (*MOVED, *OF_SUMS)


def explain(
    diagnosis: Diagnosis,
    found: np.ndarray,
    g: np.ndarray,
    array: np.ndarray,
    ask: Callable[[np.ndarray], np.ndarray],
    line: Callable[[np.ndarray], Derivative],
) -> Diagnosis | None:
    """Return what the matrix of a VJP says that a diagnosis does not; None if that is nothing.

    Parameters
    ----------
    diagnosis : Diagnosis
        What the VJP of one cotangent looks like.
    found, g : numpy.ndarray
        That VJP and its cotangent.
    array : numpy.ndarray
        The array by which it was asked.
    ask : callable
        Gives the VJP of a cotangent.
    line : callable
        Gives the derivative of every value along a direction of the array.
    """
    if not 1 < array.size <= MOST_ELEMENTS or g.size > MOST_ELEMENTS or not is_vague(diagnosis):
        return None
    near = NEAR * np.abs(found).max(initial=0)
    if np.any(np.abs(ask(g) - found) > near):
        return Diagnosis(Cause.NONDETERMINISTIC, Hypothesis.DRAWN_ANEW)
    matrix = _columns(ask, g)
    if matrix is None:
        return None
    if np.any(np.abs(matrix @ g.ravel() - found.ravel()) > 64 * near):
        return Diagnosis(Cause.NOT_LINEAR, Hypothesis.COTANGENT_TESTED)
    right = _rows(line, array.shape)
    if right is None:
        return None
    j = Jacobians(matrix, right, array.shape, g.shape, array)
    if j.same(matrix, right):
        return None
    if (again := jacobian_causes.applied_again(j)) is not None:
        return again
    if diagnosis.hypothesis == Hypothesis.SLICES_PERMUTED:
        return jacobian_causes.elsewhere(j) if array.size != g.size else None
    if diagnosis.hypothesis in MOVED:
        return None
    named = next((d for d in (cause(j) for cause in jacobian_causes.CAUSES) if d is not None), None)
    only = Hypothesis.DIAGONAL_ALONE if diagnosis.hypothesis == Hypothesis.MEAN_HELD else None
    only = Hypothesis.FACTOR_OF_SIGN if diagnosis.also is not None else only
    return named if named is not None and only in (None, named.hypothesis) else None


def _columns(ask: Callable[[np.ndarray], np.ndarray], g: np.ndarray) -> np.ndarray | None:
    started, columns, one = time.perf_counter(), [], np.zeros_like(g)
    for index in np.ndindex(g.shape):
        one[index] = 1
        columns.append(ask(one.copy()).ravel())
        one[index] = 0
        if time.perf_counter() - started > SECONDS:
            return None
    return np.stack(columns, axis=1)


def _rows(line: Callable[[np.ndarray], Derivative], shape: tuple[int, ...]) -> np.ndarray | None:
    started, rows, one = time.perf_counter(), [], np.zeros(shape)
    for index in np.ndindex(shape):
        one[index] = 1
        derivative = line(one)
        one[index] = 0
        if not np.isfinite(derivative.error).all() or time.perf_counter() - started > SECONDS:
            return None
        rows.append(derivative.value.ravel())
    return np.stack(rows)
