"""Directional derivatives of a function from its values alone: exact where it is a polynomial, else by extrapolation.

Along a line, ``p(t) = f(a + t v)``. If every value is exact and ``p`` is a polynomial of degree ``d``, then ``d + 1`` integer
steps determine it, more steps show that the degree is not higher, and ``p'(0)`` is a rational combination of the values.
So the derivative is known with no step size and no tolerance. Where ``p`` is no polynomial, central differences are
extrapolated (Ridders), and the table of extrapolations tells how far to trust them.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from fractions import Fraction
from typing import Any, NamedTuple

import numpy as np

Values = Callable[[float], np.ndarray]
"""``p``: the values of a function, flattened, as a function of the step along a line."""

NODES = (5, 7, 9, 11)
"""Numbers of steps that are tried. With ``m`` of them, a degree of up to ``m - 3`` is shown twice: one window of steps alone
would take a kink half way between two steps for a parabola."""
HALVINGS = 9
"""Step sizes of Ridders' method, each half of the one before."""
FIRST_STEP = 0.25
FRACTION_BITS = 6
"""Bits of the constants in a polynomial, such as the 1/4 of an average of four."""
SPARE_BITS = 9
"""Bits of the significand that values leave unused: what happens to fill them has no exact values. Of 53, the sums with the
weights of `NODES` fit into 64 bits then."""


class Derivative(NamedTuple):
    """The derivative of each element along a line."""

    value: np.ndarray
    error: np.ndarray
    """Estimate of its error: 0 where it is exact, infinity where nothing is known."""
    nodes: int
    """Number of steps that show the polynomial; 0 if none does."""
    size: float = 0.0
    """Size of the values."""

    @property
    def is_exact(self) -> np.ndarray:
        """Whether the derivative of each element is exact."""
        return self.error == 0


def polynomial(values: Values, step: float, nodes: tuple[int, ...] = NODES, bits: int = 53) -> Derivative:
    """Return the exact derivative of the elements that are polynomials, which more steps than their degree show.

    Parameters
    ----------
    values : callable
        The values along the line.
    step : float
        A power of two; the values are taken at its integer multiples.
    nodes : tuple of int
        Numbers of steps to try, in rising order, as long as no number fits every element.
    bits : int
        Of the significand of the values.

    Returns
    -------
    Derivative
        Of the first number that fits every element, else of the one that fits most.
    """
    known: dict[int, np.ndarray] = {}
    best: Derivative | None = None
    for m in nodes:
        steps = range(-(m // 2), m // 2 + 1)
        for t in steps:
            if t not in known:
                known[t] = np.asarray(values(t * step))
        derivative = _fit(np.stack([known[t] for t in steps]), m, step, bits)
        if best is None or derivative.is_exact.sum() > best.is_exact.sum():
            best = derivative
        if derivative.is_exact.all():
            return derivative
    assert best is not None
    return best


def _fit(p: np.ndarray, m: int, step: float, bits: int) -> Derivative:
    if np.iscomplexobj(p):
        real, imaginary = _fit(p.real, m, step, bits), _fit(p.imag, m, step, bits)
        return Derivative(real.value + 1j * imaginary.value, np.maximum(real.error, imaginary.error), m)
    # of coordinates that are multiples of the step, a polynomial's values are multiples of its powers; other functions fill
    # the last bits, and would pass by chance where the step is so small that they look smooth
    bits_of_step = -round(math.log2(step))
    exponent = np.zeros(p.shape[1:], np.int64)
    whole = np.zeros(p.shape, np.int64)
    fits = np.zeros(p.shape[1:], bool)
    for degree in range(m - 3, -1, -1):
        power = degree * bits_of_step + FRACTION_BITS
        with np.errstate(all="ignore"):
            scaled = np.ldexp(p.astype(np.float64), power)
            here = np.isfinite(scaled) & (np.abs(scaled) < 2.0 ** (bits - SPARE_BITS)) & (scaled == np.rint(scaled))
        new = here.all(axis=0) & ~fits
        exponent[new], whole[:, new], fits = power, scaled[:, new].astype(np.int64), fits | new
    is_polynomial = ~np.diff(whole, m - 2, axis=0).any(axis=0)
    weights, denominator = _weights(m)
    first = np.tensordot(weights, whole, 1)
    value = np.ldexp(first / denominator, -exponent) / step
    return Derivative(value, np.where(fits & is_polynomial, 0.0, np.inf), m)


@functools.cache
def _weights(m: int) -> tuple[np.ndarray, int]:
    """Whole numbers and a denominator: ``p'(0)`` of the polynomial through ``m`` values at successive integers."""
    at = range(-(m // 2), m // 2 + 1)
    weights = []
    for j in at:
        others = [k for k in at if k != j]
        scale = math.prod(j - k for k in others)
        slope = sum(math.prod(-k for k in others if k != left_out) for left_out in others)
        weights.append(Fraction(slope, scale))
    denominator = math.lcm(*(w.denominator for w in weights))
    return np.array([int(w * denominator) for w in weights]), denominator


def through(values: Values, m: int, unit: float) -> Derivative:
    """Return the derivative of the elements that are polynomials along a line of long steps, from values that are rounded.

    Parameters
    ----------
    values : callable
        The values along the line, which are taken at whole numbers.
    m : int
        Number of steps, which shows a degree of up to ``m - 3``.
    unit : float
        Error of a value, over its size.

    Returns
    -------
    Derivative
        With the error of each element, as for values whose errors do not add up; infinity where it is no polynomial.
    """
    weights, denominator = _weights(m)
    p = np.stack([np.asarray(values(t)) for t in range(-(m // 2), m // 2 + 1)])
    with np.errstate(all="ignore"):
        size = np.sqrt((np.abs(p) ** 2).sum(axis=0))
        is_polynomial = (np.abs(np.diff(p, m - 2, axis=0)) <= math.comb(m - 2, m // 2) * 8 * unit * size).all(axis=0)
        error = unit * np.sqrt(np.tensordot((weights / denominator) ** 2, np.abs(p) ** 2, 1))
        return Derivative(np.tensordot(weights, p, 1) / denominator, np.where(is_polynomial, error, np.inf), m)


def extrapolated(values: Values) -> Derivative:
    """Return the derivative of each element by central differences, extrapolated to step 0, with an estimate of its error.

    Parameters
    ----------
    values : callable
        The values along the line, in double precision for a useful estimate.

    Returns
    -------
    Derivative
        The entry of the table that its neighbours agree on best.

    References
    ----------
    .. [1] C. J. F. Ridders, "Accurate computation of F'(x) and F'(x) F''(x)", Advances in Engineering Software 4 (1982).
    """
    rows: list[list[np.ndarray]] = []
    best: np.ndarray | None = None
    error: Any = np.inf
    size = 0.0
    with np.errstate(all="ignore"):
        for n in range(HALVINGS):
            h = FIRST_STEP * 2.0**-n
            above, below = np.asarray(values(h)), np.asarray(values(-h))
            # a difference of two values is known to a few units of their last place
            noise = np.finfo(above.real.dtype).eps * (np.abs(above) + np.abs(below)) / h
            row = [(above - below) / (2 * h)]
            size = max(size, float(np.abs(above).max(initial=0)))
            if best is None:
                best, error = row[0], np.full(row[0].shape, np.inf)
            for k in range(1, n + 1):
                row.append((4.0**k * row[k - 1] - rows[-1][k - 1]) / (4.0**k - 1))
                estimate = np.maximum(np.abs(row[k] - row[k - 1]), np.abs(row[k] - rows[-1][k - 1])) + noise
                better = estimate < error
                best, error = np.where(better, row[k], best), np.where(better, estimate, error)
            rows.append(row)
    assert best is not None
    return Derivative(best, np.where(np.isfinite(best), error, np.inf), 0, size)
