"""Results that are right but for an operand, or the result itself, that was rounded to a dtype with fewer bits."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np

from triconv.checking.findings.causes import Cause, Hypothesis
from triconv.checking.findings.diagnosis_data import Diagnosis
from triconv.checking.findings.protocol import Role
from triconv.checking.oracles import drawn_data
from triconv.checking.oracles.comparison import WrongResult
from triconv.checking.oracles.convolution import Expectations, InputArrays

Rounding = Callable[[np.ndarray], np.ndarray]
CLOSE = 0.1
"""Share of the norms of the error and of the result that a rounded operand may leave: it explains them, and sums round too.

To be cut off at the largest number of a format explains most of an error that is much larger than the result.
"""


LEAST_ROUNDED = 3
"""Elements of a result that rounding must change: fewer may be so by chance."""


def _to_bits(a: np.ndarray, bits: int, least_exponent: int = -126, most: float = np.inf) -> np.ndarray:
    """Round to numbers of so many bits, from an exponent on; beyond the largest number, it is that number."""
    exponent = np.maximum(np.frexp(a)[1], least_exponent + 1) - bits
    return np.clip(np.ldexp(np.rint(np.ldexp(a, -exponent)), exponent), -most, most)


ROUNDINGS: dict[str, Rounding] = {
    "float32": lambda a: drawn_data.rounded(a, "float32"),
    "TF32": lambda a: _to_bits(a, 11),
    "float16": lambda a: drawn_data.rounded(a, "float16"),
    "bfloat16": lambda a: drawn_data.rounded(a, "bfloat16"),
    "float8 e4m3": lambda a: _to_bits(a, 4, -6, 448.0),
    "float8 e5m2": lambda a: _to_bits(a, 3, -14, 57344.0),
}
RESULT = "result"


def narrow_operand(r: WrongResult) -> Diagnosis | None:
    """Explain an error by operands, or a result, of fewer bits than the dtype has: by those that leave least of it."""
    if np.iscomplexobj(r.expected) or not r.has_shape or r.found.size < LEAST_ROUNDED:
        return None
    least, best = CLOSE * min(float(np.linalg.norm(a)) for a in (r.found - r.expected, r.found)), None
    for name, rounding in ROUNDINGS.items():
        for role, place, predicted in _predictions(r, rounding):
            left = float(np.linalg.norm(r.found - predicted))
            if left < least:
                least = left
                best = Diagnosis(Cause.DTYPE, Hypothesis.NARROW_OPERAND, role=role, function=name, mode=place)
    return best


def narrow_result(r: WrongResult) -> Diagnosis | None:
    """Explain a result that is the right one, rounded to fewer bits, exactly."""
    if np.iscomplexobj(r.expected) or not r.has_shape:
        return None
    for name, rounding in ROUNDINGS.items():
        predicted = rounding(r.expected)
        if np.count_nonzero(predicted != r.expected) >= LEAST_ROUNDED and np.array_equal(predicted, r.found):
            return Diagnosis(Cause.DTYPE, Hypothesis.NARROW_OPERAND, role=Role(r.role), function=name, mode=RESULT)
    return None


def _predictions(r: WrongResult, rounding: Rounding) -> Iterator[tuple[Role | None, str | None, np.ndarray]]:
    """Yield the answer for each operand rounded alone, for all of them, and the right one rounded."""
    arrays = r.expectations.arrays
    changed: list[Role] = []
    for role, a in arrays.primals.items():
        primals, tangents = ({**of, role: rounding(of[role])} for of in (arrays.primals, arrays.tangents))
        if not np.array_equal(primals[role], a) or not np.array_equal(tangents[role], arrays.tangents[role]):
            changed.append(Role(role))
            yield Role(role), None, _answer(r, replace(arrays, primals=primals, tangents=tangents))
    if not r.is_value and not np.array_equal(g := rounding(arrays.g), arrays.g):
        changed.append(Role(r.problem.result))
        yield Role(r.problem.result), None, _answer(r, replace(arrays, g=g))
    if len(changed) > 1:
        yield None, None, _answer(r, arrays.map(rounding))
    yield Role(r.role), RESULT, rounding(r.expected)


def _answer(r: WrongResult, arrays: InputArrays) -> np.ndarray:
    return r.answer(Expectations(r.problem, arrays, r.expectations.model))
