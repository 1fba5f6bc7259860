"""Whether a cotangent of any function has fewer bits than the function's own values.

At points with coordinates of few bits, derivatives are exact in narrow arithmetic as well. So a derivative that is right there
is asked again where coordinates have all bits, with such a cotangent, and compared with the derivative of the values along a
line. That is extrapolated, and known to some 40 bits where the values are polynomials in double precision. In single precision
long steps are taken, of polynomials of the degree that exact values have shown: their derivative is as precise as they are.
"""

from __future__ import annotations

import numpy as np

from triconv.checking.dtypes import BITS
from triconv.checking.findings.findings import FewerBits, Level
from triconv.checking.functions import directional
from triconv.checking.functions.function_location import real_sum

CONVERGED = 2.0**-36
"""Largest estimate of the error of the extrapolation, over the size of the terms: else the values have few bits themselves."""
FAR = 1000
"""Multiple of the estimate of the error beyond which a difference is none of it."""
UNIT = 2.0**-22
"""Error of a number in single precision, over its size: that of a few roundings, which do not add up."""
FAR_FROM_UNIT = 64
"""Multiple of the error of the sums beyond which a difference is no rounding, nor that of a fast transform."""
LEAST = 2.0**-4
"""Largest difference, over the size of the terms, of what has few bits; beyond, it is wrong."""


def fewer_bits(
    values: directional.Values,
    weights: np.ndarray,
    found: np.ndarray,
    along: np.ndarray,
    dtype: str,
    *,
    conjugates: bool,
) -> FewerBits | None:
    """Return what a cotangent keeps, if it has fewer bits than the values along a line.

    Parameters
    ----------
    values : callable
        The values along the line.
    weights : numpy.ndarray
        The cotangent of the values, flattened.
    found, along : numpy.ndarray
        The cotangent that the candidate gives, and the direction of the line.
    dtype : str
        Of the candidate's arrays.
    conjugates : bool
        Whether the candidate conjugates cotangents.
    """
    line = directional.extrapolated(values)
    found, along = found.ravel(), along.ravel()
    size = float(np.abs(found * along).sum() + np.abs(weights * line.value).sum())
    error = float((np.abs(weights) * line.error).sum())
    if not error <= CONVERGED * size:
        return None
    difference = abs(real_sum(found, along, conjugates) - real_sum(weights, line.value))
    if not FAR * error + 2.0 ** (14 - BITS[dtype]) * size < difference <= LEAST * size:
        return None
    bits = int(-np.log2(difference / size))
    return FewerBits(Level.FLOAT32 if bits >= BITS["float32"] else Level.FEWER, bits, BITS[dtype])


def fewer_bits_in_single(
    line: directional.Derivative,
    weights: np.ndarray,
    found: np.ndarray,
    along: np.ndarray,
    *,
    conjugates: bool,
) -> int | None:
    """Return how many bits a cotangent in single precision keeps, if that is fewer than the values along a line have.

    Parameters
    ----------
    line : Derivative
        Of the values along the line, by `directional.through`.
    weights : numpy.ndarray
        The cotangent of the values, flattened.
    found, along : numpy.ndarray
        The cotangent that the candidate gives, and the direction of the line.
    conjugates : bool
        Whether the candidate conjugates cotangents.
    """
    found, along = found.ravel(), along.ravel()
    # errors of single elements do not add up, but for their squares
    size = float(np.sqrt((np.abs(found * along) ** 2).sum() + (np.abs(weights * line.value) ** 2).sum()))
    error = float(np.sqrt((np.abs(weights) ** 2 * line.error**2).sum())) + UNIT * size
    difference = abs(real_sum(found, along, conjugates) - real_sum(weights, line.value))
    return int(-np.log2(difference / size)) if FAR_FROM_UNIT * error < difference <= LEAST * size else None
