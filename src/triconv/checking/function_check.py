"""The derivatives of any function against its own values, or against those of another function.

What a candidate says of its derivative is compared with what the values say along random directions: for a cotangent ``g``
and a direction ``v``, ``<vjp(g), v>`` must be ``<g, p'(0)>`` with ``p(t) = f(a + t v)``. See `directional.py` for ``p'(0)``.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from triconv.checking import directional, function_causes
from triconv.checking.candidate import long_axes
from triconv.checking.candidates import CandidateFunction, Unsupported, as_numpy, guarded, no_array
from triconv.checking.causes import Cause
from triconv.checking.directional import Derivative
from triconv.checking.dtypes import BITS, COMPLEX
from triconv.checking.exception_text import caught
from triconv.checking.findings import (
    Asked,
    DerivativeOfValues,
    Evidence,
    FewerBits,
    Level,
    NotFinite,
    NotRepeatable,
    Raised,
    Repeatable,
    SameValues,
    ShapeOfLine,
    Undecided,
    WrongElements,
    WrongShape,
)
from triconv.checking.function_location import locate, real_sum
from triconv.checking.function_points import ROUNDS, FunctionPoints, Point
from triconv.checking.protocol import (
    IMPRECISE,
    RIGHT,
    UNCHECKED,
    UNSUPPORTED,
    WRONG,
    Kind,
    Mode,
    Proof,
    Question,
    Transform,
)
from triconv.checking.report_data import ReportRow

Arrays = Sequence[np.ndarray]

Truth = Callable[[Point, np.ndarray, Arrays], tuple[directional.Values, np.ndarray]]
"""For a point, a cotangent and a direction: the values along the line, and the weights of their sum."""

UNSEEN = 2.0**-30
"""Derivative of a unit step, over the value, that the values of a line need not show."""
SINGLE = 2.0**-16
"""Largest difference of two results in single precision, over the largest element."""


@dataclass
class FunctionCheck:
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

    def rows(self, on_progress: Callable[[Question], Any]) -> Iterator[ReportRow]:
        """Yield the row of every question."""
        on_progress(Question(Kind.VALUE))
        first = self._first_value()
        if isinstance(first, ReportRow):
            yield first
            return
        self.result_shape = first.shape
        repeated = self._repeated()
        if repeated.verdict == WRONG:
            yield repeated
        yield self._value_row()
        if repeated.verdict != WRONG:
            yield repeated
        is_right = True
        for question, judge in self._questions():
            if question.order == 2 and not is_right:
                continue  # its truth is the derivative of the first order
            on_progress(question)
            row = self._judged(question, judge)
            is_right = is_right and (row.verdict != WRONG or question.order != 1)
            yield row

    # ---- the questions

    def _questions(self) -> Iterator[tuple[Question, Callable[[], ReportRow]]]:
        c = self.candidate
        if "jit" in c.transforms:
            yield self._same(Question(Kind.VALUE, transform=Transform.JIT), c.jit)
        if "vmap" in c.transforms:
            question = Question(Kind.VMAP, transform=Transform.VMAP, sample=0)
            yield self._same(question, lambda a: c.vmap([np.stack([x, x]) for x in a])[0])
        for n, name in enumerate(self.names):
            question = Question(Kind.VJP, name=name, order=1, transform=Transform.VJP)
            yield question, functools.partial(self._vjp_row, question, n)
        if c.differentiates:
            ones = np.ones(self.result_shape)
            question = Question(Kind.VALUE, transform=Transform.VJP)
            yield self._same(question, lambda a: c.value_with_vjp(a, ones))
        question = Question(Kind.JVP, order=1, transform=Transform.JVP)
        yield question, functools.partial(self._jvp_row, question)
        if c.differentiates:
            question = Question(Kind.VALUE, transform=Transform.JVP)
            yield self._same(question, lambda a: c.value_with_jvp(a, [np.zeros_like(x) for x in a]))
        if self.dtype in COMPLEX:
            return
        for mode, ask in (
            (Mode.REVERSE_OVER_REVERSE, c.reverse_over_reverse),
            (Mode.FORWARD_OVER_REVERSE, c.forward_over_reverse),
        ):
            for n, name in enumerate(self.names):
                question = Question(Kind.SECOND_ORDER, name=name, order=2, mode=mode)
                yield question, functools.partial(self._second_row, question, ask, n)
        question = Question(Kind.SECOND_ORDER, order=2, mode=Mode.REVERSE_OVER_REVERSE)
        yield question, functools.partial(self._second_by_cotangent_row, question)

    def _same(self, question: Question, ask: Callable[[Arrays], Any]) -> tuple[Question, Callable[[], ReportRow]]:
        return question, lambda: self._same_value(question, ask)

    def _judged(self, question: Question, judge: Callable[[], ReportRow]) -> ReportRow:
        try:
            return judge()
        except Unsupported as unsupported:
            return ReportRow(question, UNSUPPORTED, Proof.NONE, unsupported.finding)
        except _WrongForm as wrong:
            return replace_question(wrong.row, question)
        except Exception as problem:  # noqa: BLE001 (whatever the candidate raises is reported)
            # unlike the value, which works: `unsupported.py` knows what a candidate does not have
            return ReportRow(question, WRONG, Proof.RAISED, Raised(caught(problem)), cause=Cause.RAISED)

    # ---- values

    def _first_value(self) -> np.ndarray | ReportRow:
        """Find out where the function is defined and where its lines are polynomials; return a value there."""
        question = Question(Kind.VALUE)
        value = np.zeros(0)
        for self.points.is_positive in (False, True):
            try:
                value = self._array(self.candidate.value(self.points.draw(np.random.default_rng(self.seed), None)))
            except _WrongForm as wrong:
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
            raise _WrongForm(ReportRow(Question(Kind.VALUE), UNCHECKED, Proof.NO_ARRAY, no_array(raw)))
        return result.astype(np.complex128 if result.dtype.kind == "c" else np.float64)

    def _derivative(self, point: Point, values: directional.Values) -> Derivative:
        if point.is_exact:
            return directional.polynomial(values, point.step, point.nodes, BITS[self.dtype])
        return directional.extrapolated(values)

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
                    return self._wrong(question, found, right, wrong, asked=Asked(arrays, np.zeros(0), arrays))
                if self.reference is not None:
                    bits = FewerBits(Level.FLOAT32, int(-np.log2(off)), BITS[self.dtype])
                    return ReportRow(question, IMPRECISE, Proof.PRECISION, bits)
                return ReportRow(question, RIGHT, Proof.ROUNDING, SameValues())
        return ReportRow(question, RIGHT, Proof.EXACT if self.points.part == 1 else Proof.ROUNDING, SameValues())

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

    # ---- derivatives

    def _vjp_row(self, question: Question, n: int) -> ReportRow:
        def ask(arrays: Arrays, g: np.ndarray) -> np.ndarray:
            return self._of_shape(self.candidate.vjp(arrays, g, n), self.shapes[n])

        return self._paired(question, n, ask, lambda point, g, along: (self._along(point.arrays, along), g))

    def _second_row(self, question: Question, ask_all: Callable[..., Any], n: int) -> ReportRow:
        rng = np.random.default_rng([self.seed, n, 2])
        tangents = self.points.direction(rng, 5)

        def ask(arrays: Arrays, g: np.ndarray) -> np.ndarray:
            return self._of_shape(ask_all(arrays, g, tangents)[n], self.shapes[n])

        def truth(point: Point, g: np.ndarray, along: Arrays) -> tuple[directional.Values, np.ndarray]:
            # the derivative of <vjp(g), tangents> along the direction; the first order is right, or this is not asked
            def values(t: float) -> np.ndarray:
                at = [a + t * v for a, v in zip(point.arrays, along, strict=True)]
                cotangents = self.candidate.vjps(at, g)
                pairs = [np.vdot(self._array(a), t) for a, t in zip(cotangents, tangents, strict=True)]
                return np.array([sum(pairs)])

            return values, np.ones(1)

        return self._paired(question, n, ask, truth)

    def _paired(
        self,
        question: Question,
        n: int,
        ask: Callable[[Arrays, np.ndarray], np.ndarray],
        truth: Truth,
    ) -> ReportRow:
        """Return the row for a cotangent: paired with a direction, it must be the derivative along it.

        Parameters
        ----------
        question : Question
            The question.
        n : int
            Of the array.
        ask : callable
            Gives the cotangent of the array for arrays and a cotangent of the result.
        truth : callable
            Gives the values along a line, and the weights of their sum.
        """
        rng = np.random.default_rng([self.seed, n, question.order])
        if not math.prod(self.shapes[n]):
            ask(self.points.draw(rng, None), np.ones(self.result_shape))  # it must work, and have this shape
            return ReportRow(question, RIGHT, Proof.EXACT, DerivativeOfValues(0, 1.0, 0))
        worst: ReportRow | None = None
        lines = 0
        for point in self.points.of_question(n):
            along = self.points.direction(rng, point.bits, n)
            g = self._cotangent(rng)
            values, weights = truth(point, g, along)
            line = self._derivative(point, values)
            # elements without a known derivative are left out: they have no cotangent
            known = np.isfinite(line.error) & (line.is_exact if point.is_exact else _is_smooth(line))
            if question.order == 1:
                g = np.where(known.reshape(self.result_shape), g, 0)
                weights = g.ravel()
            elif not known.all():
                continue
            right = real_sum(weights, np.where(known, line.value, 0))
            error = float((np.abs(weights) * np.where(known, line.error, 0)).sum())
            found_all = ask(point.arrays, g)
            if not np.isfinite(found_all).all():
                return self._not_finite(question, found_all)
            found = real_sum(found_all.ravel(), along[n].ravel(), self._conjugates)
            size = float(
                np.abs(found_all.ravel() * along[n].ravel()).sum()
                + np.abs(weights * np.where(known, line.value, 0)).sum()
            )
            difference = abs(found - right)
            if point.is_exact and not line.value[known].any():
                # a softmax that is saturated looks like a constant: its values do not show so small a derivative
                shown = np.abs(weights * np.asarray(values(0.0))).sum() * UNSEEN
                if 0 < difference <= shown:
                    continue
            lines += bool(known.any())
            allowed, far = self._limits(size, error)
            if difference > far:
                return self._located(question, n, point, g, found_all, truth)
            if difference > allowed and worst is None:
                worst = ReportRow(question, UNCHECKED, Proof.NUMERICAL, Undecided(difference, allowed))
        if worst is not None:
            return worst
        if not lines:
            ask(self.points.draw(rng, None), self._cotangent(rng))  # which says so where there is no such derivative
            # a second derivative may be too small to show, where the first was judged
            verdict = UNCHECKED if question.order == 1 else UNSUPPORTED
            return ReportRow(question, verdict, Proof.NUMERICAL, Undecided(math.nan, math.nan))
        return self._right(question)

    def _right(self, question: Question) -> ReportRow:
        is_exact = self.points.part == 1
        return ReportRow(
            question,
            RIGHT,
            Proof.EXACT if is_exact else Proof.NUMERICAL,
            DerivativeOfValues(self.points.degree, self.points.part, ROUNDS if is_exact else 1),
        )

    def _located(
        self, question: Question, n: int, point: Point, g: np.ndarray, found: np.ndarray, truth: Truth
    ) -> ReportRow:
        """Return the row for a wrong cotangent, with every element that it must have, or with one that is wrong."""

        def derivative(mask: np.ndarray) -> float:
            along = [mask * 1.0 if k == n else np.zeros(shape) for k, shape in enumerate(self.shapes)]
            values, weights = truth(point, g, along)
            line = self._derivative(point, values)
            known = np.where(np.isfinite(line.error), line.value, 0)
            return real_sum(g.ravel() if question.order == 1 else weights, known)

        expected, looked = locate(found, derivative, self.seed)
        scale = float(np.abs(expected).max(initial=0) + np.abs(found).max(initial=0))
        wrong = np.abs(found - expected) > 1e-7 * scale
        if not wrong.any():
            return ReportRow(question, UNCHECKED, Proof.NUMERICAL, Undecided(scale, scale))
        return self._wrong(question, found, expected, wrong, looked, asked=Asked(point.arrays, g, ()))

    def _limits(self, size: float, error: float) -> tuple[float, float]:
        """Up to which difference a pairing is right, and beyond which it is wrong."""
        rounding = self._tolerance * size
        if error == 0:
            return rounding, max(64 * rounding, 2.0**-30 * size)
        return rounding + 10 * error, 64 * rounding + 1000 * error

    def _jvp_row(self, question: Question) -> ReportRow:
        return self._tangent_row(question, 100, lambda point, along, _: self.candidate.jvp(point.arrays, along))

    def _second_by_cotangent_row(self, question: Question) -> ReportRow:
        """Return the row for the derivative of ``<vjp(g), tangents>`` by ``g``: the JVP along the tangents."""
        ask = self.candidate.reverse_over_reverse
        return self._tangent_row(question, 101, lambda point, along, g: ask(point.arrays, g, along)[-1])

    def _tangent_row(
        self, question: Question, number: int, ask: Callable[[Point, Arrays, np.ndarray], Any]
    ) -> ReportRow:
        """Return the row for a tangent of the result, each element of which is known."""
        rng = np.random.default_rng([self.seed, number])
        for point in self.points.of_question(number):
            along = self.points.direction(rng, point.bits)
            line = self._derivative(point, self._along(point.arrays, along))
            found = self._of_shape(ask(point, along, self._cotangent(rng)), self.result_shape)
            if not np.isfinite(found).all():
                return self._not_finite(question, found)
            known = line.is_exact if point.is_exact else _is_smooth(line)
            right = np.where(known, line.value, found.ravel()).reshape(self.result_shape)
            size = float(np.abs(right).max(initial=0))
            allowed = 64 * self._tolerance * size + 1000 * np.where(known, line.error, 0).reshape(right.shape)
            wrong = np.abs(found - right) > allowed
            if wrong.any():
                return self._wrong(question, found, right, wrong, asked=Asked(point.arrays, np.zeros(0), along))
        return self._right(question)

    def _cotangent(self, rng: np.random.Generator) -> np.ndarray:
        return self.points.whole_numbers(rng, self.result_shape, 8)

    @property
    def _conjugates(self) -> bool:
        return self.candidate.backend.conjugates and self.dtype in COMPLEX

    # ---- rows

    def _of_shape(self, raw: Any, shape: tuple[int, ...]) -> np.ndarray:
        """Return a derivative as an array; raise its row where it has another shape."""
        found = self._array(raw)
        if found.shape != shape:
            if found.size == math.prod(shape) and long_axes(found.shape) == long_axes(shape):
                return found.reshape(shape)
            finding = WrongShape(shape, found.shape)
            raise _WrongForm(ReportRow(Question(Kind.VALUE), WRONG, Proof.SHAPE, finding, cause=Cause.SHAPE))
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
    ) -> ReportRow:
        where = np.argwhere(wrong)
        index = tuple(map(int, where[0]))
        looked = found.size if looked is None else looked
        evidence = Evidence(index, right[index], found[index], len(where), looked, (), right, found, False, asked)
        diagnosis = function_causes.explain(
            found, right, wrong, is_value=question.is_value, is_whole=looked == found.size
        )
        proof = Proof.EXACT if self.points.part == 1 else Proof.NUMERICAL
        return ReportRow(question, WRONG, proof, WrongElements(diagnosis), None, diagnosis.cause, evidence)


class _WrongForm(Exception):  # noqa: N818 (carries a row)
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


def _is_smooth(line: Derivative) -> np.ndarray:
    """Whether the extrapolation of each element has converged."""
    size = max(line.size, float(np.abs(line.value).max(initial=0)))
    return np.asarray(line.error <= 1e-3 * np.abs(line.value) + 1e-6 * size + 1e-12)
