"""The values of a candidate, and of the function that is the truth: the questions on them, and the rows of what is wrong."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from triconv.checking.candidates.candidate import long_axes
from triconv.checking.candidates.candidates import CandidateFunction, Unsupported, as_numpy, guarded, no_array
from triconv.checking.dtypes import BITS, COMPLEX
from triconv.checking.findings.causes import Cause
from triconv.checking.findings.diagnosis_data import Diagnosis
from triconv.checking.findings.evidence import Asked, Evidence
from triconv.checking.findings.exception_text import caught
from triconv.checking.findings.findings import (
    FewerBits,
    Level,
    NotFinite,
    NotRepeatable,
    Repeatable,
    SameValues,
    ShapeOfLine,
    WrongElements,
    WrongShape,
)
from triconv.checking.findings.protocol import (
    IMPRECISE,
    RIGHT,
    UNCHECKED,
    UNSUPPORTED,
    WRONG,
    Kind,
    Proof,
    Question,
)
from triconv.checking.findings.unanswered import Raised
from triconv.checking.functions import directional, function_causes, function_jacobian, other_points, result_factors
from triconv.checking.functions.directional import Derivative
from triconv.checking.functions.function_points import SHORT, FunctionPoints, Point
from triconv.checking.reports.report_data import ReportRow

Arrays = Sequence[np.ndarray]

SINGLE = 2.0**-16
"""Largest difference of two results in single precision, over the largest element."""


@dataclass
class FunctionValues:
    """A candidate, and the function whose values are the truth.

    Parameters
    ----------
    candidate : CandidateFunction
        What is checked; it takes floating arrays alone.
    reference : CandidateFunction, optional
        The function whose values and derivatives the candidate's must be; by default the candidate itself.
    names : tuple of str
        What the arrays are called.
    shapes : tuple of tuple of int
        Their shapes.
    dtype : str
        Of the candidate's arrays.
    seed : int
        Of the data.
    user_arrays : list of numpy.ndarray, optional
        The arrays near which derivatives are asked; by default random ones of size 4 and less.
    """

    candidate: CandidateFunction
    reference: CandidateFunction | None
    names: tuple[str, ...]
    shapes: tuple[tuple[int, ...], ...]
    dtype: str
    seed: int = 0
    user_arrays: list[np.ndarray] | None = None
    result_shape: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        self.points = FunctionPoints(self.shapes, self.dtype, self.seed, self.user_arrays)

    def _first_value(self) -> np.ndarray | ReportRow:
        """Find out where the function is defined and where its lines are polynomials; return a value there."""
        question = Question(Kind.VALUE)
        value = np.zeros(0)
        for self.points.is_positive in (False, True):
            try:
                value = self._array(self.candidate.value(self.points.draw(np.random.default_rng(self.seed), None)))
            except WrongForm as wrong:
                return wrong.row
            except Exception as problem:  # noqa: BLE001 (whatever the candidate raises is reported)
                return ReportRow(question, UNCHECKED, Proof.RAISED, Raised(caught(problem)))
            if np.isfinite(value).all():
                self.points.find_level(self._along)
                return value
        return ReportRow(question, UNCHECKED, Proof.NOT_FINITE, NotFinite(int((~np.isfinite(value)).sum())))

    def _along(self, base: Arrays, along: Arrays) -> directional.Values:
        """The values of the truth along a line, flattened."""
        function = self.reference or self.candidate
        return lambda t: self._array(function.value([a + t * v for a, v in zip(base, along, strict=True)])).ravel()

    def _array(self, raw: Any) -> np.ndarray:
        """Return a result as an array of double precision."""
        result = as_numpy(_scalar(raw))
        if result is None:
            raise WrongForm(ReportRow(Question(Kind.VALUE), UNCHECKED, Proof.NO_ARRAY, no_array(raw)))
        return result.astype(np.complex128 if result.dtype.kind == "c" else np.float64)

    def _derivative(self, point: Point, values: directional.Values) -> Derivative:
        if point.is_exact:
            return directional.polynomial(values, point.step, point.nodes, BITS[self.dtype])
        return directional.extrapolated(values)

    def _factors_of_result(
        self, diagnosis: Diagnosis, n: int, point: Point, g: np.ndarray, ask: Callable[[np.ndarray], np.ndarray]
    ) -> Diagnosis | None:
        """What the factors of the cotangent's elements say that a diagnosis of a VJP does not."""
        if not function_jacobian.is_vague(diagnosis):
            return None
        rng, is_exact = np.random.default_rng([self.seed, n]), self.points.part == 1 and point.is_exact
        scale = 1.0 if is_exact else SHORT
        directions = [self.points.direction(rng, point.bits, n)[n] * scale for _ in range(result_factors.DIRECTIONS)]

        def line(along: np.ndarray) -> Derivative:
            values = self._along(point.arrays, [along if k == n else 0 * a for k, a in enumerate(point.arrays)])
            return self._derivative(point, values) if is_exact else directional.extrapolated(values)

        y = self._along(point.arrays, point.arrays)(0.0)
        return result_factors.explain(g, y, directions, ask, line, self.seed)

    def _value_row(self) -> ReportRow:
        question = Question(Kind.VALUE)
        if self.reference is None:
            proof = Proof.EXACT if self.points.part == 1 else Proof.NUMERICAL
            return ReportRow(question, RIGHT, proof, ShapeOfLine(self.points.degree, self.points.part))
        return self._judged(question, lambda: self._same_value(question, self.candidate.value))

    def _same_value(self, question: Question, ask: Callable[[Arrays], Any]) -> ReportRow:
        """Return the row for a value that must be the truth's."""
        rng = np.random.default_rng(self.seed)
        function = self.reference or self.candidate
        points = [self.points.draw(rng, self.points.bits)] if self.points.bits is not None else []
        for number, arrays in enumerate([*points, self.points.draw(rng, None)]):
            right = self._array(function.value(arrays))
            found = self._array(guarded(ask, self.dtype, right.ndim)(arrays))
            if found.shape != right.shape:
                return ReportRow(question, WRONG, Proof.SHAPE, WrongShape(right.shape, found.shape), cause=Cause.SHAPE)
            is_exact = number < len(points) and self.points.part == 1
            allowed = 0.0 if is_exact else self._tolerance * float(np.abs(right).max(initial=0))
            wrong = ~(np.abs(found - right) <= allowed)
            if is_exact and wrong.any():  # an algorithm that rounds, such as an FFT
                wrong = ~(np.abs(found - right) <= self._tolerance * np.abs(right).max(initial=0))
            if wrong.any():
                # of a function that computes in single precision, its own values differ by as much
                off = float(np.abs(found - right).max(initial=0)) / (float(np.abs(right).max(initial=0)) or 1.0)
                if not off <= SINGLE:
                    row = self._wrong(question, found, right, wrong, asked=Asked(arrays, np.zeros(0), arrays))
                    return self._with_other_point(row, found, arrays)
                if self.reference is not None:
                    bits = FewerBits(Level.FLOAT32, int(-np.log2(off)), BITS[self.dtype])
                    return ReportRow(question, IMPRECISE, Proof.PRECISION, bits)
                return ReportRow(question, RIGHT, Proof.ROUNDING, SameValues())
        return ReportRow(question, RIGHT, Proof.EXACT if self.points.part == 1 else Proof.ROUNDING, SameValues())

    def _with_other_point(self, row: ReportRow, found: np.ndarray, arrays: Arrays) -> ReportRow:
        """Say for which other arrays a value is right that has no name."""
        reference = self.reference
        unnamed = isinstance(row.finding, WrongElements) and function_jacobian.is_unexplained(row.finding.diagnosis)
        if reference is None or not unnamed or self.dtype in COMPLEX:
            return row
        try:
            other = other_points.explain_value(found, arrays, self.names, lambda at: self._array(reference.value(at)))
        except Exception:  # noqa: BLE001 (not every function takes every array)
            return row
        return row if other is None else replace(row, finding=WrongElements(other), cause=other.cause)

    def _repeated(self) -> ReportRow:
        question = Question(Kind.REPEAT)
        arrays = self.points.draw(np.random.default_rng(self.seed), None)
        try:
            runs = [self._array(self.candidate.value(arrays)) for _ in range(3)]
        except Exception as problem:  # noqa: BLE001
            return ReportRow(question, UNCHECKED, Proof.RAISED, Raised(caught(problem), again=True))
        if any(run.shape != runs[0].shape for run in runs):
            return ReportRow(question, WRONG, Proof.RANDOM, NotRepeatable(None), cause=Cause.NONDETERMINISTIC)
        spread = max(float(np.abs(run - runs[0]).max(initial=0)) for run in runs)
        if spread <= self._tolerance * float(np.abs(runs[0]).max(initial=0)):
            return ReportRow(question, RIGHT, Proof.EXACT, Repeatable(spread))
        return ReportRow(question, WRONG, Proof.RANDOM, NotRepeatable(spread), cause=Cause.NONDETERMINISTIC)

    @property
    def _tolerance(self) -> float:
        """What rounding may do to a sum, relative to the size of its terms."""
        return float(2.0 ** (8 - BITS[self.dtype]))

    # ---- rows

    def _judged(self, question: Question, judge: Callable[[], ReportRow]) -> ReportRow:
        try:
            return judge()
        except Unsupported as unsupported:
            return ReportRow(question, UNSUPPORTED, Proof.NONE, unsupported.finding)
        except WrongForm as wrong:
            return replace_question(wrong.row, question)
        except Exception as problem:  # noqa: BLE001 (whatever the candidate raises is reported)
            # unlike the value, which works: `unsupported.py` knows what a candidate does not have
            return ReportRow(question, WRONG, Proof.RAISED, Raised(caught(problem)), cause=Cause.RAISED)

    def _of_shape(self, raw: Any, shape: tuple[int, ...]) -> np.ndarray:
        """Return a derivative as an array; raise its row where it has another shape."""
        found = self._array(raw)
        if found.shape != shape:
            if found.size == math.prod(shape) and long_axes(found.shape) == long_axes(shape):
                return found.reshape(shape)
            finding = WrongShape(shape, found.shape)
            raise WrongForm(ReportRow(Question(Kind.VALUE), WRONG, Proof.SHAPE, finding, cause=Cause.SHAPE))
        return found

    def _not_finite(self, question: Question, found: np.ndarray) -> ReportRow:
        finding = NotFinite(int((~np.isfinite(found)).sum()))
        return ReportRow(question, WRONG, Proof.NOT_FINITE, finding, cause=Cause.NOT_A_NUMBER)

    def _wrong(
        self,
        question: Question,
        found: np.ndarray,
        right: np.ndarray,
        wrong: np.ndarray,
        looked: int | None = None,
        *,
        asked: Asked,
        of: np.ndarray | None = None,
    ) -> ReportRow:
        where = np.argwhere(wrong)
        index = tuple(map(int, where[0]))
        looked = found.size if looked is None else looked
        evidence = Evidence(index, right[index], found[index], len(where), looked, (), right, found, False, asked)
        diagnosis = function_causes.explain(
            found, right, wrong, is_value=question.is_value, is_whole=looked == found.size, of=of
        )
        proof = Proof.EXACT if self.points.part == 1 else Proof.NUMERICAL
        return ReportRow(question, WRONG, proof, WrongElements(diagnosis), None, diagnosis.cause, evidence)


class WrongForm(Exception):  # noqa: N818 (carries a row)
    """A result that is no array, or of another shape."""

    def __init__(self, row: ReportRow) -> None:
        super().__init__(row)
        self.row = row


def replace_question(row: ReportRow, question: Question) -> ReportRow:
    """Return a row as the answer to another question."""
    return ReportRow(question, row.verdict, row.how, row.finding, row.error, row.cause, row.evidence)


def _scalar(raw: Any) -> Any:
    """A result that is a Python number, as an array."""
    return np.asarray(raw) if isinstance(raw, (int, float, complex)) and not isinstance(raw, bool) else raw
