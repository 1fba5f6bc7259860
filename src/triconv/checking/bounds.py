"""How far rounding alone may move a result: a bound proved beforehand, so that no check needs a tolerance."""

from __future__ import annotations

import numpy as np


def gamma(terms: int, unit_roundoff: float) -> float:
    """Return ``n u / (1 - n u)``, the relative bound for a sum of `terms` products in any order [1]_.

    References
    ----------
    .. [1] N. J. Higham, *Accuracy and Stability of Numerical Algorithms*, 2nd ed., SIAM 2002, section 3.1.
    """
    return terms * unit_roundoff / (1 - terms * unit_roundoff)


def over_bound(a: np.ndarray, b: np.ndarray, absolute: np.ndarray, terms: int, unit_roundoff: float) -> float:
    """Return the largest ``|a - b|`` over what two roundings may differ by: at most 1 if both are right.

    Parameters
    ----------
    a, b : numpy.ndarray
        Two results for the same operands, each rounded in its own order.
    absolute : numpy.ndarray
        The same contraction of the operands' absolute values.
    terms : int
        Largest number of products in an element.
    unit_roundoff : float
        Half the distance from 1 to the next number of the dtype.

    Returns
    -------
    float
        The ratio; infinite where a result is not finite or differs though it may not.
    """
    error = np.abs(np.asarray(a, np.float64) - np.asarray(b, np.float64))
    bound = 2 * gamma(terms, unit_roundoff) * absolute
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.where(error == 0, 0.0, error / bound)
    return float(np.where(np.isnan(ratio), np.inf, ratio).max(initial=0.0))
