"""Whether rounding leaks from large samples into small ones, as in products of Strassen's kind that mix all rows.

A product of matrices by Strassen, by Winograd's variant of it, or by a Fourier transform over all samples adds rows of several
samples before it multiplies. Its error is then bounded by the norms of both whole matrices (Higham, *Accuracy and Stability of
Numerical Algorithms*, 2nd ed., theorem 23.3), not by those of one sample. So a result for a small sample beside large ones has
few right digits. That is what such an algorithm promises, and no fault.

Two things tell it from a fixed step, from a small number that is added, and from integers with one scale:

- Results of an operand times ``2^k`` are ``2^k`` times as large, bit for bit: a fixed step stays what it is.
- Where the small samples are zeros, something is left of the large ones in their results: no step leaves anything there.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from triconv.checking.oracles.convolution import InputArrays
from triconv.checking.verdicts import rounding
from triconv.checking.verdicts.asking import ask_again, in_torch_order, shape_of
from triconv.checking.verdicts.check_context import CheckContext
from triconv.checking.verdicts.probes import Probe
from triconv.checking.verdicts.rounding_test import RoundingTest

EXPONENT = {"float16": 4}
"""By which power of 2 operands are multiplied, and divided: numbers of float16 reach no further."""
OTHERS = 40
SMALL = 0.5
"""Share of the norm of the largest sample below which another one is small."""


def leaks(context: CheckContext, probe: Probe, test: RoundingTest) -> bool:
    """Whether a result for random data is off by what mixes samples, and by nothing else."""
    if test.role not in ("x", "g") or not rounding.is_within_norm_of_all(test):
        return False
    norms = rounding.norms(test).ravel()
    is_large = norms >= SMALL * norms.max(initial=0)
    if is_large.all():
        return False
    return _scales(context, probe) and _leaves_something(context, probe, is_large)


def _answer(context: CheckContext, probe: Probe, arrays: InputArrays) -> np.ndarray | None:
    raw = ask_again(probe, arrays)
    return None if raw is None or raw.shape != shape_of(context, probe) else in_torch_order(context, probe, raw)


def _scales(context: CheckContext, probe: Probe) -> bool:
    """Whether results are proportional to each operand, bit for bit."""
    arrays, p = context.arrays["random"], context.problem
    base = _answer(context, probe, without_bias(arrays))
    if base is None:
        return False
    exponent = EXPONENT.get(context.dtype, OTHERS)
    for role in (*p.operands, p.result):
        for factor in (2.0**exponent, 2.0**-exponent):
            scaled = _answer(context, probe, _scaled(without_bias(arrays), role, p.result, factor))
            if scaled is None:
                return False
            # what does not depend on an array stays as it is, and the two parts of a JVP scale as one
            if not any(np.array_equal(scaled, base * f) for f in (factor, 1.0)):
                return False
    return True


def _scaled(arrays: InputArrays, role: str, result: str, factor: float) -> InputArrays:
    def of(given: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        return {r: a * factor if r == role else a for r, a in given.items()}

    return InputArrays(of(arrays.primals), arrays.g * factor if role == result else arrays.g, of(arrays.tangents))


def _leaves_something(context: CheckContext, probe: Probe, is_large: np.ndarray) -> bool:
    """Whether results for samples of zeros are not zero, beside those of the large ones."""
    arrays = without_bias(context.arrays["random"])
    large = _by_sample(arrays, lambda a: np.where(is_large.reshape(-1, *[1] * (a.ndim - 1)), a, 0))
    found = _answer(context, probe, large)
    return found is not None and bool(found[~is_large].any())


def _by_sample(arrays: InputArrays, change: Callable[[np.ndarray], np.ndarray]) -> InputArrays:
    """Change the arrays that have samples."""

    def of(given: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        return {r: change(a) if r in ("x", "g") else a for r, a in given.items()}

    return InputArrays(of(arrays.primals), change(arrays.g), of(arrays.tangents))


def without_bias(arrays: InputArrays) -> InputArrays:
    """Return arrays with a bias of zeros."""

    def of(given: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        return {r: np.zeros_like(a) if r == "bias" else a for r, a in given.items()}

    return replace(arrays, primals=of(arrays.primals), tangents=of(arrays.tangents))
