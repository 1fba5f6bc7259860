"""Which narrower dtype a result overflows: the smallest largest number that tells what is finite from what is not.

A kernel that computes in float16 is right for small numbers, and gives infinities, or NaN where two of them meet, for numbers
that its arrays and its result can hold.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from triconv.checking.dtypes import ARITHMETIC, RANGES, NarrowRange
from triconv.checking.oracles.comparison import Answer
from triconv.checking.oracles.convolution import Expectations


def overflowed(answer: Answer, expectations: Expectations, dtype: str, found: np.ndarray) -> NarrowRange | None:
    """Return the range that a result overflows; None if it is not finite for another reason.

    Parameters
    ----------
    answer : callable
        What was asked.
    expectations : Expectations
        The right answers; the arrays are finite.
    dtype : str
        Of the arrays.
    found : numpy.ndarray
        The result, in torch's order.
    """
    finite = np.isfinite(found)
    arrays = expectations.arrays
    if finite.all() or not arrays.is_finite:
        return None
    with np.errstate(all="ignore"):
        magnitude = np.broadcast_to(answer(expectations.absolute), found.shape)
        least, kept = float(magnitude[~finite].min()), float(np.abs(found[finite]).max(initial=0))
        for narrow in RANGES:
            if narrow.largest >= ARITHMETIC[dtype].most:
                return None
            if least > narrow.largest >= kept:
                return narrow
            # operands may be narrow where sums are not: what reads a large one is not finite, and nothing else
            if any(np.array_equal(at != 0, ~finite) for at in _reached(answer, expectations, narrow.largest)):
                return narrow
    return None


def of_bits(narrow: NarrowRange, bits: int) -> NarrowRange:
    """Return the range of a dtype that has so many bits too: the data may hold no number between the largest of two dtypes."""
    return next((r for r in RANGES if r.largest >= narrow.largest and r.bits >= bits), narrow)


def _reached(answer: Answer, expectations: Expectations, largest: float) -> Iterator[np.ndarray]:
    """Yield numbers that are not zero where a result reads a number beyond `largest`: of each array, and of any."""
    arrays = expectations.arrays
    magnitudes = {**arrays.primals, "": arrays.g}
    large = [role for role, a in magnitudes.items() if np.any(np.abs(a) > largest)]

    def of(role: str, change: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
        def changed(other: str, a: np.ndarray) -> np.ndarray:
            return change(a) if other == role else np.ones_like(a) * (other != "bias")

        primals = {other: changed(other, a) for other, a in arrays.primals.items()}
        only = type(arrays)(primals, changed("", arrays.g), primals)
        return np.asarray(answer(Expectations(expectations.problem, only)))

    each = [of(role, lambda a: (np.abs(a) > largest).astype(np.float64)) for role in large]
    yield from each
    if len(each) > 1:
        yield np.sum(each, axis=0)
