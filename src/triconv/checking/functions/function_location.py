"""Where a cotangent is wrong, if only its sums against directions are known: every element, or one by bisection."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

import numpy as np

SECONDS = 3.0
"""Time that all elements may take; beyond, one is found by bisection."""
SUMS = 3
"""Random sums that one factor must explain."""
NOTICED = 1e-6
"""Difference of two sums, over their size, that is no rounding."""


def locate(found: np.ndarray, derivative: Callable[[np.ndarray], float], seed: int) -> tuple[np.ndarray, int]:
    """Return what a cotangent must be, and how many of its elements were looked at.

    Parameters
    ----------
    found : numpy.ndarray
        The cotangent, which is wrong.
    derivative : callable
        Gives the right sum of its elements, each times its weight.
    seed : int
        Of the weights.

    Returns
    -------
    expected : numpy.ndarray
        Right everywhere, or where it took too long equal to `found` but for one element.
    looked : int
        The number of elements, or 1.
    """
    started, expected = time.perf_counter(), found.copy()
    one = np.zeros(found.shape)
    for looked, index in enumerate(np.ndindex(found.shape), 1):
        one[index] = 1
        expected[index] = derivative(one)
        one[index] = 0
        spent = time.perf_counter() - started
        if spent > SECONDS / 20 and spent / looked * found.size > SECONDS:
            factor = _factor(found, derivative, seed)
            return (_bisected(found, derivative, seed), 1) if factor is None else (found / factor, found.size)
    return expected, found.size


def _factor(found: np.ndarray, derivative: Callable[[np.ndarray], float], seed: int) -> float | None:
    """Return the one number by which a cotangent is multiplied, as random sums of it show; None if there is none."""
    rng = np.random.default_rng(seed)
    factors = []
    for _ in range(SUMS):
        weights = rng.integers(1, 64, found.shape) * rng.choice([-1.0, 1.0], found.shape)
        right = derivative(weights)
        factors.append(real_sum(found, weights) / right if right else math.inf)
    first = factors[0]
    is_one = math.isfinite(first) and first and all(abs(f - first) <= NOTICED * abs(first) for f in factors)
    return first if is_one else None


def _bisected(found: np.ndarray, derivative: Callable[[np.ndarray], float], seed: int) -> np.ndarray:
    weights = np.random.default_rng(seed).integers(1, 64, found.size).astype(float)  # so that errors do not cancel
    inside = np.arange(found.size)
    while len(inside) > 1:
        half, rest = np.split(inside, [len(inside) // 2])
        mask = np.zeros(found.size)
        mask[half] = weights[half]
        right, part = derivative(mask.reshape(found.shape)), real_sum(found.ravel(), mask)
        size = float(np.abs(found.ravel() * mask).sum()) + abs(right)
        inside = half if abs(part - right) > NOTICED * size else rest
    one, expected = np.zeros(found.size), found.copy()
    one[inside] = 1
    expected.ravel()[inside] = derivative(one.reshape(found.shape))
    return expected


def real_sum(a: np.ndarray, b: np.ndarray, conjugates: bool = False) -> float:
    """The real part of the sum of products, rounded once where the products are exact."""
    products = (a.conj() if conjugates else a) * b
    return math.fsum(np.real(products).ravel().tolist())
