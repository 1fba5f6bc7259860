"""The bits that numbers have: where the last one is, and how many there are."""

from __future__ import annotations

import numpy as np

from triconv.checking.dtypes import BITS


def last_bits(a: np.ndarray) -> np.ndarray:
    """Return the exponent of the last bit of each number that is not zero."""
    mantissa, exponent = np.frexp(a[a != 0])
    whole = np.ldexp(np.abs(mantissa), BITS["float64"]).astype(np.int64)
    last = np.frexp((whole & -whole).astype(np.float64))[1] - 1
    return np.asarray(exponent - BITS["float64"] + last)


def length_of(a: np.ndarray) -> int:
    """Return the bits of the longest number."""
    nonzero = a[a != 0]
    return int((np.frexp(nonzero)[1] - last_bits(a)).max(initial=0))
