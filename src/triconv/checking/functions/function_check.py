"""The derivatives of any function against its own values, or against those of another function.

What a candidate says of its derivative is compared with what the values say along random directions: for a cotangent ``g``
and a direction ``v``, ``<vjp(g), v>`` must be ``<g, p'(0)>`` with ``p(t) = f(a + t v)``. See `directional.py` for ``p'(0)``.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from triconv.checking.dtypes import BITS, COMPLEX
from triconv.checking.findings.causes import Cause, Hypothesis
from triconv.checking.findings.diagnosis_data import Diagnosis
from triconv.checking.findings.evidence import Asked
from triconv.checking.findings.findings import DerivativeOfValues, FewerBits, Level, WrongElements
from triconv.checking.findings.protocol import (
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
from triconv.checking.findings.unanswered import Undecided
from triconv.checking.functions import directional, function_jacobian, function_precision, other_points, result_factors
from triconv.checking.functions.directional import Derivative
from triconv.checking.functions.function_location import locate, real_sum
from triconv.checking.functions.function_points import ROUNDS, SHORT, WORTH, Point
from triconv.checking.functions.function_values import Arrays, FunctionValues
from triconv.checking.reports.report_data import ReportRow

Truth = Callable[[Point, np.ndarray, Arrays], tuple[directional.Values, np.ndarray]]
"""For a point, a cotangent and a direction: the values along the line, and the weights of their sum."""

LINE_BITS = 20
"""Bits behind the point of coordinates and directions in single precision: their sums, of up to 8, are exact."""
ROUNDED = 2.0**-9
"""Size of the numbers of a grid, over the largest ones that their dtype has all of: a rounded number is none by chance."""
UNSEEN = 2.0**-30
"""Derivative of a unit step, over the value, that the values of a line need not show."""


class FunctionCheck(FunctionValues):
    """The questions on a candidate: its values, and its derivatives."""

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
            if difference > (0 if error == 0 and self._is_exact(point, found_all) else far):
                return self._located(question, n, point, g, found_all, ask, truth)
            if difference > allowed and worst is None:
                worst = ReportRow(question, UNCHECKED, Proof.NUMERICAL, Undecided(difference, allowed))
        if worst is not None:
            return worst
        if not lines:
            ask(self.points.draw(rng, None), self._cotangent(rng))  # which says so where there is no such derivative
            # a second derivative may be too small to show, where the first was judged
            verdict = UNCHECKED if question.order == 1 else UNSUPPORTED
            return ReportRow(question, verdict, Proof.NUMERICAL, Undecided(math.nan, math.nan))
        fewer = self._fewer_bits(n, ask, truth) if question.order == 1 else None
        return self._right(question) if fewer is None else ReportRow(question, IMPRECISE, Proof.PRECISION, fewer)

    def _fewer_bits(self, n: int, ask: Callable[[Arrays, np.ndarray], np.ndarray], truth: Truth) -> FewerBits | None:
        """Ask for a cotangent where coordinates have all bits."""
        rng = np.random.default_rng([self.seed, n, 3])
        if self.points.part < (WORTH if BITS[self.dtype] == BITS["float32"] else 1):
            return None
        if BITS[self.dtype] == BITS["float32"]:
            kept = [self._bits_in_single(rng, n, ask, truth) for _ in range(ROUNDS)]
            bits = min((b for b in kept if b is not None), default=None)
            return None if bits is None else FewerBits(Level.FEWER, bits, BITS[self.dtype])
        point, along = Point(self.points.draw(rng, None)), self.points.direction(rng, None, n)
        g = self.points.normal(rng, self.result_shape)
        found = ask(point.arrays, g)
        if not np.isfinite(found).all():
            return None
        values, weights = truth(point, g, along)
        return function_precision.fewer_bits(
            values, weights.ravel(), found, along[n], self.dtype, conjugates=self._conjugates
        )

    def _bits_in_single(
        self, rng: np.random.Generator, n: int, ask: Callable[[Arrays, np.ndarray], np.ndarray], truth: Truth
    ) -> int | None:
        """Of coordinates that have so many bits that their sum with a direction is not rounded."""
        point = Point([np.rint(a * 2.0**LINE_BITS) / 2.0**LINE_BITS for a in self.points.draw(rng, None)])
        drawn = self.points.direction(rng, None, n)
        along = [np.rint(a * 2.0**LINE_BITS) / 2.0**LINE_BITS for a in drawn]
        g = self.points.normal(rng, self.result_shape)
        values, _ = truth(point, g, along)
        line = directional.through(values, self.points.nodes, function_precision.UNIT)
        known = np.isfinite(line.error)
        g = np.where(known.reshape(self.result_shape), g, 0)
        found = ask(point.arrays, g)
        if not (np.isfinite(found).all() and known.any()):
            return None
        line = line._replace(value=np.where(known, line.value, 0), error=np.where(known, line.error, 0))
        return function_precision.fewer_bits_in_single(line, g.ravel(), found, along[n], conjugates=self._conjugates)

    def _right(self, question: Question) -> ReportRow:
        is_exact = self.points.part == 1
        return ReportRow(
            question,
            RIGHT,
            Proof.EXACT if is_exact else Proof.NUMERICAL,
            DerivativeOfValues(self.points.degree, self.points.part, ROUNDS if is_exact else 1),
        )

    def _located(
        self,
        question: Question,
        n: int,
        point: Point,
        g: np.ndarray,
        found: np.ndarray,
        ask: Callable[[Arrays, np.ndarray], np.ndarray],
        truth: Truth,
    ) -> ReportRow:
        """Return the row for a wrong cotangent, with every element that it must have, or with one that is wrong."""

        def derivative(arrays: Arrays, g: np.ndarray, mask: np.ndarray) -> float:
            along = [mask * 1.0 if k == n else np.zeros(shape) for k, shape in enumerate(self.shapes)]
            at = point._replace(arrays=list(arrays))
            values, weights = truth(at, g, along)
            line = self._derivative(at, values)
            known = np.where(np.isfinite(line.error), line.value, 0)
            return real_sum(g.ravel() if question.order == 1 else weights, known)

        expected, looked = locate(found, lambda mask: derivative(point.arrays, g, mask), self.seed)
        scale = float(np.abs(expected).max(initial=0) + np.abs(found).max(initial=0))
        wrong = np.abs(found - expected) > (min(1e-7, 16 * self._tolerance) if point.is_exact else 1e-7) * scale
        if not wrong.any():
            return ReportRow(question, UNCHECKED, Proof.NUMERICAL, Undecided(scale, scale))
        of = point.arrays[n] if question.order == 1 else None
        row = self._wrong(question, found, expected, wrong, looked, asked=Asked(point.arrays, g, ()), of=of)
        if question.order != 1 or self.dtype in COMPLEX or not isinstance(row.finding, WrongElements):
            return row
        other: Diagnosis | None = None
        if function_jacobian.is_unexplained(row.finding.diagnosis):
            others = self._other_derivatives(n, point, g, truth)
            other = other_points.explain(found, point.arrays, g, self.names, derivative, self.seed, n, others)

        def line(along: np.ndarray) -> Derivative:
            directions = [along if k == n else np.zeros(shape) for k, shape in enumerate(self.shapes)]
            return self._derivative(point, truth(point, g, directions)[0])

        if other is None:
            diagnosis = row.finding.diagnosis
            other = function_jacobian.explain(
                diagnosis, found, g, point.arrays[n], lambda one: ask(point.arrays, one), line
            )
        if other is None or other.hypothesis in result_factors.MAY_BE_FACTORS:
            of_result = self._factors_of_result(row.finding.diagnosis, n, point, g, lambda one: ask(point.arrays, one))
            other = of_result if other is None or result_factors.is_certain(of_result) else other
        return row if other is None else replace(row, finding=WrongElements(other), cause=other.cause)

    def _other_derivatives(
        self, n: int, point: Point, g: np.ndarray, truth: Truth
    ) -> list[tuple[Diagnosis, Callable[[np.ndarray], float]]]:
        """Return the derivatives by other arrays of this shape, and at the arrays of the first calls."""

        def pairing(at: Point, by: int) -> Callable[[np.ndarray], float]:
            def paired(weights: np.ndarray) -> float:
                along = [weights * 1.0 if k == by else np.zeros(shape) for k, shape in enumerate(self.shapes)]
                line = self._derivative(at, truth(at, g, along)[0])
                return real_sum(g.ravel(), np.where(np.isfinite(line.error), line.value, 0))

            return paired

        first = (
            Point([np.ones(shape) for shape in self.shapes]),
            Point(self.points.draw(np.random.default_rng(self.seed), None)),
        )
        exchanged = [
            (Diagnosis(Cause.ARGUMENTS_EXCHANGED, Hypothesis.OF_OTHER_ARRAY, parameter=name), pairing(point, k))
            for k, name in enumerate(self.names)
            if k != n and self.shapes[k] == self.shapes[n]
        ]
        earlier = Diagnosis(Cause.STALE_CACHE, Hypothesis.AT_EARLIER)
        return [*exchanged, *((earlier, pairing(at, n)) for at in first)]

    def _is_exact(self, point: Point, found: np.ndarray) -> bool:
        """Whether a cotangent at an exact point consists of numbers that an exact algorithm gives: none was rounded."""
        if not point.is_exact:
            return False
        unit = point.step ** (point.nodes[0] - 4)  # of a polynomial's derivative by a coordinate
        parts = np.abs(np.stack([found.real, found.imag])) / unit
        return bool(parts.max(initial=0) < ROUNDED * 2.0 ** BITS[self.dtype] and (parts == np.rint(parts)).all())

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
            if wrong.any() and not point.is_exact:  # a kink near by may look smooth; it is outside of shorter lines
                near = self._derivative(point, self._along(point.arrays, [v * SHORT for v in along]))
                off = np.abs(found - (near.value / SHORT).reshape(found.shape))
                wrong &= ~(off <= allowed + 1000 * (near.error / SHORT).reshape(found.shape))
            if wrong.any():
                return self._wrong(question, found, right, wrong, asked=Asked(point.arrays, np.zeros(0), along))
        return self._right(question)

    def _cotangent(self, rng: np.random.Generator) -> np.ndarray:
        return self.points.whole_numbers(rng, self.result_shape, 8)

    @property
    def _conjugates(self) -> bool:
        return self.candidate.backend.conjugates and self.dtype in COMPLEX


def _is_smooth(line: Derivative) -> np.ndarray:
    """Whether the extrapolation of each element has converged."""
    size = max(line.size, float(np.abs(line.value).max(initial=0)))
    return np.asarray(line.error <= 1e-3 * np.abs(line.value) + 1e-6 * size + 1e-12)
