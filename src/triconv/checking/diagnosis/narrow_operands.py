"""Results that are right but for an operand, or the result itself, that was rounded to a dtype with fewer bits."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np

from triconv.checking.findings.causes import Cause, Diagnosis, Hypothesis
from triconv.checking.findings.protocol import Role
from triconv.checking.oracles import drawn_data
from triconv.checking.oracles.comparison import WrongResult
from triconv.checking.oracles.convolution import Expectations, InputArrays

Rounding = Callable[[np.ndarray], np.ndarray]
CLOSE = 0.1
"""Share of the norm of the error that a rounded operand may leave: it explains the error, and sums round too."""


def _tf32(a: np.ndarray) -> np.ndarray:
    mantissa, exponent = np.frexp(a)
    return np.ldexp(np.rint(mantissa * 2.0**11) / 2.0**11, exponent)


ROUNDINGS: dict[str, Rounding] = {
    "float32": lambda a: drawn_data.rounded(a, "float32"),
    "TF32": _tf32,
    "float16": lambda a: drawn_data.rounded(a, "float16"),
    "bfloat16": lambda a: drawn_data.rounded(a, "bfloat16"),
}


def narrow_operand(r: WrongResult) -> Diagnosis | None:
    """Explain a small error by operands, or a result, of fewer bits than the dtype has."""
    if np.iscomplexobj(r.expected) or not r.has_shape:
        return None
    most = CLOSE * np.linalg.norm(r.found - r.expected)
    for name, rounding in ROUNDINGS.items():
        for role, predicted in _predictions(r, rounding):
            if np.linalg.norm(r.found - predicted) < most:
                return Diagnosis(Cause.DTYPE, Hypothesis.NARROW_OPERAND, role=role, function=name)
    return None


def _predictions(r: WrongResult, rounding: Rounding) -> Iterator[tuple[Role | None, np.ndarray]]:
    """Yield the answer for each operand rounded alone, for all of them, and the right one rounded."""
    arrays = r.expectations.arrays
    for role in arrays.primals:
        primals, tangents = ({**a, role: rounding(a[role])} for a in (arrays.primals, arrays.tangents))
        yield Role(role), _answer(r, replace(arrays, primals=primals, tangents=tangents))
    if not r.is_value:
        yield Role(r.problem.result), _answer(r, replace(arrays, g=rounding(arrays.g)))
    yield None, _answer(r, arrays.map(rounding))
    yield Role(r.role), rounding(r.expected)


def _answer(r: WrongResult, arrays: InputArrays) -> np.ndarray:
    return r.answer(Expectations(r.problem, arrays, r.expectations.model))
