"""An operand that was changed before this result by what depends on its own numbers, or on this step of training."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from triconv.checking.findings.causes import Cause, Hypothesis
from triconv.checking.findings.diagnosis_data import Diagnosis
from triconv.checking.findings.protocol import Role
from triconv.checking.oracles.comparison import WrongResult, factor, same
from triconv.checking.oracles.convolution import Expectations

LEAST_ELEMENTS = 4
"""Elements that a prediction must have, to be none by chance."""
NEAR = 1e-3
"""Difference of a standardised operand that the small number under the root may make."""


def operand_normalised(r: WrongResult) -> Diagnosis | None:
    """Explain an operand whose mean is subtracted first, and perhaps divided by its standard deviation, over some axes."""
    if not r.has_shape or r.expected.size < LEAST_ELEMENTS or np.iscomplexobj(r.expected):
        return None
    arrays = r.expectations.arrays
    for role in r.problem.operands:
        if role == r.role and not r.is_value:
            continue
        a = arrays.primals[role].astype(np.float64)
        every = tuple(range(a.ndim))
        choices = dict.fromkeys((every, every[1:], every[2:], tuple(n for n in every if n != 1), every[1:2]))
        for axes in choices:
            count = math.prod(a.shape[axis] for axis in axes)
            if count < 2:
                continue
            centered = a - a.mean(axis=axes, keepdims=True)
            deviation = np.sqrt((centered**2).sum(axis=axes, keepdims=True))
            if not deviation.all():
                continue
            scales = (
                (Hypothesis.OPERAND_CENTERED, 1.0, 0.0),
                (Hypothesis.OPERAND_STANDARDISED, math.sqrt(count), NEAR),
                (Hypothesis.OPERAND_STANDARDISED, math.sqrt(count - 1), NEAR),
            )
            for hypothesis, scale, allowed in scales:
                changed = centered if not allowed else centered * scale / deviation
                primals = {**arrays.primals, role: changed}
                predicted = r.answer(Expectations(r.problem, replace(arrays, primals=primals), r.expectations.model))
                size = float(np.abs(predicted).max(initial=0))
                if same(predicted, r.found) or np.abs(predicted - r.found).max() <= allowed * size:
                    return Diagnosis(Cause.NORMALISED, hypothesis, role=Role(role), axes=axes)
    return None


def updated_first(r: WrongResult) -> Diagnosis | None:
    """Explain the cotangent of x after a step of training of the kernel: w is then w - rate * gw."""
    if r.is_value or not r.has_shape or r.expected.size < LEAST_ELEMENTS or r.answer is Expectations.jvp:
        return None
    arrays = r.expectations.arrays
    for role in r.problem.operands:
        if role != "w" or role == r.role or r.role == "bias":
            continue
        primals = {**arrays.primals, role: r.expectations.vjp(role)}
        step = r.answer(Expectations(r.problem, replace(arrays, primals=primals), r.expectations.model))
        if (c := factor(r.found - r.expected, step)) is not None:
            return Diagnosis(Cause.UPDATED_FIRST, Hypothesis.UPDATED_FIRST, role=Role(role), amount=-c)
    return None
