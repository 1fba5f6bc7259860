"""Why a VJP of any function is wrong, by its matrix: one cotangent at a time, against the derivative of each value."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from triconv.checking.findings.causes import Cause, Hypothesis
from triconv.checking.findings.diagnosis_data import Diagnosis, Factor

NEAR = 1e-6
"""Difference of two entries, over the largest, that is no rounding."""
LEAST = 3
"""Rows or columns that must be different for their order to mean anything."""


@dataclass(frozen=True, slots=True)
class Jacobians:
    """Two matrices with a row per element of an array and a column per element of the result.

    Parameters
    ----------
    found : numpy.ndarray
        A column is the VJP of a cotangent that is 1 in one place.
    right : numpy.ndarray
        A column is the derivative of one value by all elements.
    shape, result_shape : tuple of int
        Of the array, and of the result.
    array : numpy.ndarray
        The array by which the VJP was asked.
    """

    found: np.ndarray
    right: np.ndarray
    shape: tuple[int, ...]
    result_shape: tuple[int, ...]
    array: np.ndarray

    @property
    def near(self) -> float:
        """The largest difference that is no mistake."""
        return NEAR * float(max(np.abs(self.found).max(initial=0), np.abs(self.right).max(initial=0)))

    def same(self, a: np.ndarray, b: np.ndarray) -> bool:
        """Whether two matrices are equal but for rounding."""
        return a.shape == b.shape and bool(np.all(np.abs(a - b) <= self.near))

    def rows(self, a: np.ndarray) -> np.ndarray:
        """Return which rows of a matrix are not zero."""
        return np.asarray((np.abs(a) > self.near).any(axis=1))


def applied_again(j: Jacobians) -> Diagnosis | None:
    """Explain a backward that is the forward: a permutation, rotation or running sum that is not transposed."""
    if sorted(j.shape) != sorted(j.result_shape) or j.found.shape[0] != j.found.shape[1]:
        return None
    if not j.same(j.found, j.right.T) or j.same(j.right, j.right.T):
        return None
    return Diagnosis(Cause.NOT_TRANSPOSED, Hypothesis.APPLIED_AGAIN)


def terms_left_out(j: Jacobians) -> Diagnosis | None:
    """Explain entries that are right or zero: the diagonal alone, the last term or the first, or rows left out."""
    is_right, is_zero = np.abs(j.found - j.right) <= j.near, np.abs(j.found) <= j.near
    terms = np.abs(j.right) > j.near
    if not (is_right | is_zero).all() or not j.rows(j.found).any():
        return None
    kept = terms & ~is_zero
    if j.shape == j.result_shape and (kept == (terms & np.eye(len(terms), dtype=bool))).all():
        return Diagnosis(Cause.DIAGONAL, Hypothesis.DIAGONAL_ALONE)
    several = terms.sum(axis=1) > 1
    if several.any() and (kept[~several] == terms[~several]).all():
        columns = np.arange(terms.shape[1])
        last = terms & (columns == np.where(terms, columns, -1).max(axis=1, keepdims=True))
        first = terms & (columns == np.where(terms, columns, terms.shape[1]).min(axis=1, keepdims=True))
        if (kept[several] == last[several]).all():
            return Diagnosis(Cause.OVERWRITTEN, Hypothesis.OVERWRITTEN)
        if (kept[several] == first[several]).all():
            return Diagnosis(Cause.OVERWRITTEN, Hypothesis.OVERWRITTEN_FIRST)
    whole, some = kept.any(axis=1), terms.any(axis=1)
    if (kept[whole] == terms[whole]).all() and some.sum() - whole.sum() > 1:
        return Diagnosis(
            Cause.MASKED, Hypothesis.MASKED_TOO_MUCH, size=int(some.sum() - whole.sum()), total=int(some.sum())
        )
    return Diagnosis(
        Cause.TERMS_LEFT_OUT, Hypothesis.TERMS_LEFT_OUT, size=int(terms.sum() - kept.sum()), total=int(terms.sum())
    )


def other_mask(j: Jacobians) -> Diagnosis | None:
    """Explain rows that are there where there must be none, and the other way round."""
    right, found = j.rows(j.right), j.rows(j.found)
    both = right & found
    if not (right & ~found).any() or not (found & ~right).any():
        return None
    if not both.any() and (right | found).all():
        return Diagnosis(Cause.MASKED, Hypothesis.MASK_INVERTED)
    if both.any() and j.same(j.found[both], j.right[both]):
        counts = int((right & ~found).sum()), int((found & ~right).sum())
        return Diagnosis(Cause.MASKED, Hypothesis.OTHER_MASK, size=counts[0], total=counts[1])
    return None


def factors(j: Jacobians) -> Diagnosis | None:
    """Explain rows that are right but for a factor of each: the derivative of a function of each element, left out or wrong."""
    weight = (j.right**2).sum(axis=1)
    some = weight > j.near**2
    c = np.where(some, (j.found * j.right).sum(axis=1) / np.where(some, weight, 1), 0)
    if some.sum() < LEAST or not j.same(j.found, c[:, None] * j.right) or not c[some].any():
        return None
    changed = some & (np.abs(c - 1) > NEAR)
    value = float(np.median(c[changed])) if changed.any() else 1.0
    a = j.array.ravel()
    for sign, side in (("negative", a < 0), ("positive", a > 0)):
        if changed.any() and (changed == (some & side)).all() and np.allclose(c[changed], value):
            return Diagnosis(Cause.MASKED, Hypothesis.FACTOR_OF_SIGN, mode=sign, factor=Factor(value))
    return Diagnosis(
        Cause.FACTORS, Hypothesis.FACTORS_OF_ELEMENTS, weights=(float(c[some].min()), float(c[some].max()))
    )


def elsewhere(j: Jacobians) -> Diagnosis | None:
    """Explain columns that must have one entry, and have it in another row, or spread over several."""
    right, found = np.abs(j.right) > j.near, np.abs(j.found) > j.near
    wrong = (np.abs(j.found - j.right) > j.near).any(axis=0)
    if not (right.sum(axis=0)[wrong] == 1).all() or not np.allclose(
        j.found.sum(axis=0), j.right.sum(axis=0), atol=j.near
    ):
        return None
    counts = found.sum(axis=0)[wrong]
    if (counts == 1).all():
        total = j.found.shape[1]
        return Diagnosis(Cause.SHIFTED, Hypothesis.COTANGENT_ELSEWHERE, size=int(wrong.sum()), total=total)
    if counts.min() > 1 and all(np.ptp(column[column != 0]) <= j.near for column in (j.found * found).T[wrong]):
        return Diagnosis(Cause.SHIFTED, Hypothesis.COTANGENT_SPREAD, size=int(counts.max()))
    return None


def cotangent_reordered(j: Jacobians) -> Diagnosis | None:
    """Explain columns that are all there, in another order."""
    is_order = _is_order(j, j.found.T, j.right.T)
    return Diagnosis(Cause.LAYOUT_MISREAD, Hypothesis.COTANGENT_REORDERED) if is_order else None


def result_reordered(j: Jacobians) -> Diagnosis | None:
    """Explain rows that are all there, in another order."""
    is_order = _is_order(j, j.found, j.right)
    return Diagnosis(Cause.LAYOUT_MISREAD, Hypothesis.RESULT_REORDERED) if is_order else None


def _is_order(j: Jacobians, found: np.ndarray, right: np.ndarray) -> bool:
    given, expected = (np.round(a / (4 * j.near)) + 0.0 for a in (found, right))
    one, other = (a[np.lexsort(a.T)] for a in (given, expected))
    return len(np.unique(expected, axis=0)) >= LEAST and bool(np.all(np.abs(one - other) <= 1))


CAUSES = (terms_left_out, cotangent_reordered, elsewhere, other_mask, result_reordered, factors)
"""In the order in which they are asked, after `applied_again`."""
