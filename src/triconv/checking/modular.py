"""Exact sums of products in NumPy, of integers or modulo a prime, at the speed of products in double precision.

An integer is split into limbs, ``a = sum of 2^(b j) a_j``, so short that every sum of products of limbs is below 2^53, where
double precision is exact. So one product of matrices is a few products in double precision.
"""

from __future__ import annotations

import numpy as np

EXACT = 53
"""Bits of the integers that double precision has all of."""
MOST_ELEMENTS = 1 << 22
"""Elements of a result that are computed at once: 32 MiB of each product of limbs."""


def residues(a: np.ndarray, prime: int | None) -> np.ndarray:
    """Return integers modulo a prime, from 0 on; without a prime as they are, in 64 bits."""
    if a.dtype.kind == "f":
        a = a.astype(np.int64)
    if prime is None:
        return a.astype(np.int64, copy=False)
    # NumPy divides by a number much faster than it takes remainders
    return (a - a // prime * prime).astype(np.int64, copy=False)


def bits(a: np.ndarray) -> int:
    """Return the number of bits of the largest magnitude."""
    return max(int(a.max(initial=0)).bit_length(), (-int(a.min(initial=0))).bit_length())


def limbs(a: np.ndarray, width: int) -> list[np.ndarray]:
    """Split integers into limbs of `width` bits and a sign, in double precision, the lowest first.

    Every limb is at most ``2^(width - 1)`` in magnitude, but the last of only one, which is `a` itself.
    """
    parts, rest = [], a
    while bits(rest) >= width:
        half = 1 << (width - 1)
        low = ((rest + half) & ((1 << width) - 1)) - half if rest.dtype.kind in "iu" else _low(rest, width)
        parts.append(low.astype(np.float64, copy=False))
        rest = (rest - low) // (1 << width) if rest.dtype.kind in "iu" else (rest - low) * 2.0**-width
    return [*parts, rest.astype(np.float64, copy=False)]


def _low(a: np.ndarray, width: int) -> np.ndarray:
    return a - np.rint(a * 2.0**-width) * 2.0**width


def matmul(a: np.ndarray, b: np.ndarray, prime: int | None) -> np.ndarray:
    """Return the product of matrices of integers, modulo a prime; without one, exactly, if it is below 2^63.

    Parameters
    ----------
    a, b : numpy.ndarray, shapes (..., p, s) and (..., s, q)
        Integers below 2^53, in double precision or in 64 bits.
    prime : int or None
        The modulus, below 2^31.

    Returns
    -------
    numpy.ndarray of int64, shape (..., p, q)
        The product.
    """
    if prime is not None:
        a, b = (residues(m, prime) if bits(m) > prime.bit_length() else m for m in (a, b))
    terms = max(1, a.shape[-1]).bit_length()
    room = EXACT - terms
    if bits(a) + bits(b) <= room:
        widths = (EXACT, EXACT)
    elif room - bits(b) >= room // 2:  # short limbs of the first, which is the smaller one, are enough
        widths = (room - bits(b), EXACT)
    else:
        widths = (room // 2, room // 2)
    parts_a, parts_b = limbs(a, widths[0]), limbs(b, widths[1])
    total: np.ndarray | None = None
    for i, part_a in enumerate(parts_a):
        for j, part_b in enumerate(parts_b):
            part = (part_a @ part_b).astype(np.int64)
            shift = widths[0] * i + widths[1] * j
            if prime is None:
                part = part << shift
            elif shift or len(parts_a) * len(parts_b) > 1:
                part = residues(residues(part, prime) * pow(2, shift, prime), prime)
            total = part if total is None else total + part
    assert total is not None
    return residues(total, prime)


def differ(a: np.ndarray, b: np.ndarray, prime: int | None) -> np.ndarray:
    """Return where integers differ modulo a prime; without one, where they differ."""
    if prime is None:
        return np.asarray(a != b)
    return np.asarray(residues(a, prime) != residues(b, prime))
