"""How far rounding alone may move a result: one bound, proved beforehand, so that no check needs a tolerance."""

from __future__ import annotations

import numpy as np

from triconv.checking.dtypes import Arithmetic


def of_sums(absolute: np.ndarray, terms: int, arithmetic: Arithmetic, flushed: np.ndarray | None = None) -> np.ndarray:
    """Return by how much a sum of `terms` products may be off, element by element.

    Parameters
    ----------
    absolute : numpy.ndarray
        The same contraction of the operands' absolute values.
    terms : int
        Largest number of products in an element.
    arithmetic : Arithmetic
        How the dtype rounds.
    flushed : numpy.ndarray, optional
        As `absolute`, with operands below the smallest normal number taken for zero, as some processors do; by default no
        operand is that small.

    Notes
    -----
    Jeannerod and Rump [1]_ prove that a sum of ``n`` products, added in any order and rounded to nearest with unit roundoff
    ``u``, is off by at most ``n u`` times `absolute`. This holds for every ``n``, while the classical bound ``gamma_n = n u /
    (1 - n u)`` [2]_ is larger and needs ``n u < 1``.

    The definition, with which a result is compared, is such a sum itself, in double precision with unit roundoff ``v``. So
    the bound is ``n u + max(u, n v)``: about ``(n + 1) u`` for sums in single precision, ``2 n u`` for those in double.

    Underflow adds at most the smallest normal number per operation, and what is lost where operands are flushed
    ([2]_, section 2.2).

    References
    ----------
    .. [1] C.-P. Jeannerod and S. M. Rump, "Improved error bounds for inner products in floating-point arithmetic", SIAM J.
       Matrix Anal. Appl. 34 (2013).
    .. [2] N. J. Higham, *Accuracy and Stability of Numerical Algorithms*, 2nd ed., SIAM 2002, section 3.1.
    """
    with np.errstate(all="ignore"):
        relative = terms * arithmetic.sums + max(arithmetic.sums, terms * arithmetic.definition)
        bound = relative * absolute + (terms + 1) * arithmetic.tiny
        return bound if flushed is None else bound + np.maximum(absolute - flushed, 0)


def of_results(magnitude: np.ndarray, sums: np.ndarray, arithmetic: Arithmetic) -> np.ndarray:
    """Return by how much more a result may be off where it has fewer bits than its sums.

    `magnitude` is the sum of the absolute values of all that is rounded on the way.
    """
    if arithmetic.unit == arithmetic.sums:
        return np.zeros_like(sums)
    with np.errstate(all="ignore"):
        return arithmetic.unit * (magnitude + 2 * sums) + arithmetic.step


def of_difference(absolute: np.ndarray, terms: int, arithmetic: Arithmetic) -> np.ndarray:
    """Return by how much two results for the same operands may differ, each rounded in its own order: twice `of_sums`."""
    return 2 * of_sums(absolute, terms, arithmetic)


def over(error: np.ndarray, bound: np.ndarray) -> float:
    """Return the largest error over its bound: at most 1 if rounding explains it all, infinite where an error is not finite."""
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = error / bound
        largest = float(ratio.max(initial=0.0))
        if not np.isnan(largest):
            return largest
        ratio = np.where(error == 0, 0.0, ratio)
    return float(np.where(np.isnan(ratio), np.inf, ratio).max(initial=0.0))
