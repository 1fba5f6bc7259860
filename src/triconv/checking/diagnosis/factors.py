"""Results that are right but for one number: a factor, with every size of the problem that it may be, a sign, or a mean."""

from __future__ import annotations

import numpy as np

from triconv.checking.diagnosis.elementwise import norm_of
from triconv.checking.diagnosis.size_factors import RATIO, factor_of
from triconv.checking.findings.causes import Cause, Hypothesis
from triconv.checking.findings.diagnosis_data import Diagnosis, Factor, Size
from triconv.checking.oracles.comparison import WrongResult, factor

MOST = 10
"""Factor below which one number may be a multiple of another by a mistake, not by chance."""


def sign(r: WrongResult) -> Diagnosis | None:
    """Explain a result of the wrong sign."""
    c = factor(r.found, r.expected)
    return Diagnosis(Cause.SIGN, Hypothesis.SIGN) if c is not None and np.isclose(c, -1) else None


def averaged(r: WrongResult) -> Diagnosis | None:
    """Explain a gradient of the kernel or of the bias that is the mean over the batch."""
    n, c = r.expectations.arrays.g.shape[0], factor(r.found, r.expected)
    if c is None or n == 1 or r.role not in ("w", "bias") or not np.isclose(c, 1 / n, rtol=RATIO):
        return None
    others = tuple(name for name in factor_of(c, r).names if name != Size.BATCH)
    return Diagnosis(Cause.BATCH_AVERAGED, Hypothesis.BATCH_MEAN, size=n, factor=Factor(c, n, True, others))


def scaled(r: WrongResult) -> Diagnosis | None:
    """Explain a result that is multiplied by one number."""
    c = factor(r.found, r.expected)
    if c is None:
        return None
    f = factor_of(c, r)
    if r.found.size < 2 and not f.names:  # of one number, any other is a multiple
        return None
    if f.size is None and (norm := norm_of(r, c)) is not None:
        return norm
    return Diagnosis(Cause.CONSTANT_FACTOR, Hypothesis.FACTOR, factor=f)


def scaled_number(r: WrongResult) -> Diagnosis | None:
    """Explain the one number of a result by a factor, if it is a whole number or the inverse of one."""
    c = factor(r.found, r.expected)
    f = None if c is None else factor_of(c, r)
    is_factor = f is not None and f.size is not None and f.size < MOST
    return Diagnosis(Cause.CONSTANT_FACTOR, Hypothesis.FACTOR, factor=f) if is_factor else None
