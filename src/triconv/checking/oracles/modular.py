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
        if rest.dtype.kind in "iu":
            half = 1 << (width - 1)
            low = ((rest + half) & ((1 << width) - 1)) - half
            rest = (rest - low) >> width
        else:
            low = _low(rest, width)
            rest = (rest - low) * 2.0**-width
        parts.append(low.astype(np.float64, copy=False))
    return [*parts, rest.astype(np.float64, copy=False)]


def widths(of_a: int, of_b: int, terms: int) -> tuple[int, int]:
    """Return the widths of the limbs of two operands, by their bits, so that a sum of so many products of limbs is exact.

    The second operand stays whole where short limbs of the first, which is the smaller one, are enough.
    """
    room = EXACT - max(1, terms).bit_length()
    if of_a + of_b <= room:
        return EXACT, EXACT
    return (room - of_b, EXACT) if room - of_b >= room // 2 else (room // 2, room // 2)


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
    a, b = (reduced(m, prime) for m in (a, b))
    width_a, width_b = widths(bits(a), bits(b), a.shape[-1])
    parts_a, parts_b = limbs(a, width_a), limbs(b, width_b)
    total: np.ndarray | None = None
    for i, part_a in enumerate(parts_a):
        for j, part_b in enumerate(parts_b):
            part = (part_a @ part_b).astype(np.int64)
            if len(parts_a) * len(parts_b) > 1:
                part = shifted(part, width_a * i + width_b * j, prime)
            total = part if total is None else total + part
    assert total is not None
    return residues(total, prime)


def reduced(a: np.ndarray, prime: int | None) -> np.ndarray:
    """Return integers that are congruent modulo a prime and have no more bits than it; without one, the same."""
    return residues(a, prime) if prime is not None and bits(a) > prime.bit_length() else a


def shifted(a: np.ndarray, shift: int, prime: int | None) -> np.ndarray:
    """Return integers of 64 bits times a power of two, modulo a prime; without one, exactly."""
    if prime is None:
        return a << shift
    return residues(residues(a, prime) * pow(2, shift, prime), prime)


def differ(a: np.ndarray, b: np.ndarray, prime: int | None) -> np.ndarray:
    """Return where integers differ modulo a prime; without one, where they differ."""
    if prime is None:
        return np.asarray(a != b)
    return np.asarray(residues(a, prime) != residues(b, prime))
