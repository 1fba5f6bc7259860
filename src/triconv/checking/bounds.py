"""How far rounding alone may move a result: a bound proved beforehand, so that no check needs a tolerance."""

from __future__ import annotations

from typing import NamedTuple

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


class Arithmetic(NamedTuple):
    """How a dtype rounds, overflows and underflows, if sums are taken as triconv takes them."""

    unit: float
    """Unit roundoff of a result."""
    sums: float
    """Unit roundoff of the sums: those of less than 32 bits are taken in float32, and rounded once."""
    tiny: float
    """Smallest normal number of the sums. A processor may take smaller ones for zero."""
    step: float
    """What a result may lose by underflow."""
    most: float
    """Largest number."""


_TINY32, _TINY64 = 2.0**-126, 2.0**-1022
_SINGLE = Arithmetic(2.0**-24, 2.0**-24, _TINY32, _TINY32, float(np.finfo(np.float32).max))
_DOUBLE = Arithmetic(2.0**-53, 2.0**-53, _TINY64, _TINY64, float(np.finfo(np.float64).max))
ARITHMETIC = {
    "float64": _DOUBLE,
    "float32": _SINGLE,
    # the products of a complex one are sums themselves
    "complex128": _DOUBLE._replace(unit=2.0**-51, sums=2.0**-51),
    "complex64": _SINGLE._replace(unit=2.0**-22, sums=2.0**-22),
    # products of two numbers of half width are exact in float32
    "bfloat16": _SINGLE._replace(unit=2.0**-8, most=float(2.0**128 - 2.0**119)),
    "float16": Arithmetic(2.0**-11, 2.0**-24, _TINY32, 2.0**-24, 65504.0),
}


def of_sums(absolute: np.ndarray, flushed: np.ndarray, terms: int, numbers: Arithmetic) -> np.ndarray:
    """How far a sum of `terms` products may be off, element by element: rounding in any order [1]_, and underflow [2]_.

    Parameters
    ----------
    absolute : numpy.ndarray
        The same contraction of the operands' absolute values.
    flushed : numpy.ndarray
        The same, with operands below the smallest normal number taken for zero, as some processors do.
    terms : int
        Largest number of products in an element.
    numbers : Arithmetic
        How the dtype rounds.

    References
    ----------
    .. [1] C.-P. Jeannerod and S. M. Rump, "Improved error bounds for inner products in floating-point arithmetic", SIAM J.
       Matrix Anal. Appl. 34 (2013): ``n u`` times `absolute`, for any ``n``.
    .. [2] N. J. Higham, *Accuracy and Stability of Numerical Algorithms*, 2nd ed., SIAM 2002, section 2.2.
    """
    with np.errstate(all="ignore"):
        return (terms + 1) * (numbers.sums * absolute + numbers.tiny) + np.maximum(absolute - flushed, 0)


def of_results(magnitude: np.ndarray, sums: np.ndarray, numbers: Arithmetic) -> np.ndarray:
    """How much more a result may be off where it has fewer bits than its sums: each rounding, of `magnitude` in all."""
    if numbers.unit == numbers.sums:
        return np.zeros_like(sums)
    with np.errstate(all="ignore"):
        return numbers.unit * (magnitude + 2 * sums) + numbers.step
