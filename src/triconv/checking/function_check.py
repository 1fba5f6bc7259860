"""The derivatives of any function against its own values, or against those of another function.

What a candidate says of its derivative is compared with what the values say along random directions: for a cotangent ``g``
and a direction ``v``, ``<vjp(g), v>`` must be ``<g, p'(0)>`` with ``p(t) = f(a + t v)``. See `directional.py` for ``p'(0)``.
"""

from __future__ import annotations

import functools
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from triconv.checking import directional, function_causes
from triconv.checking.candidates import CandidateFunction, Unsupported, as_numpy, guarded, no_array
from triconv.checking.causes import Cause
from triconv.checking.directional import Derivative
from triconv.checking.dtypes import BITS, COMPLEX
from triconv.checking.exception_text import caught
from triconv.checking.findings import (
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

LEVELS = {53: (20, 13, 8, 5, 3), 24: (8, 5, 3, 2)}
"""Bits of the random coordinates, by the bits of the significand: many keep a line on one side of every kink, few keep the
values of a polynomial of high degree exact."""
DEEP = 8
"""Bits of the coordinates up to which degrees above 2 are tried."""
ROUNDS = 3
"""Random directions per array."""
MOST_DIRECTION = 32
SECONDS_TO_LOCATE = 3.0
"""Time that finding every wrong element may take; beyond, one is found by bisection."""
UNSEEN = 2.0**-30
"""Derivative of a unit step, over the value, that the values of a line need not show."""
SINGLE = 2.0**-16
"""Largest difference of two results in single precision, over the largest element."""
WORTH = 0.5
"""Part of the elements that must be polynomials on a piece for their proof to count."""


class Point(NamedTuple):
    """A base point, the step along lines through it, and whether lines through it are polynomials."""

    arrays: list[np.ndarray]
    step: float
    nodes: tuple[int, ...]

    @property
    def is_exact(self) -> bool:
        """Whether derivatives are exact here."""
        return bool(self.nodes)


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
    levels: list[Point] = field(default_factory=list)
    result_shape: tuple[int, ...] = ()

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
        bits = BITS[self.dtype]
        levels = LEVELS[53] if bits == 53 else LEVELS[24]
        value: Any = None
        for draw in (self._signed, self._positive):
            try:
                value = self._array(self.candidate.value(draw(np.random.default_rng(self.seed), None)))
            except _WrongForm as wrong:
                return wrong.row
            except Exception as problem:  # noqa: BLE001
                return ReportRow(question, UNCHECKED, Proof.RAISED, Raised(caught(problem)))
            self._draw = draw
            if np.isfinite(value).all():
                break
        else:
            return ReportRow(question, UNCHECKED, Proof.NOT_FINITE, NotFinite(int((~np.isfinite(value)).sum())))
        rng = np.random.default_rng(self.seed)
        best, most = None, 0.0
        for b in levels:
            step = 2.0 ** (2 - b)
            base, along = self._draw(rng, b), self._direction(rng, b)
            nodes = directional.NODES if b <= DEEP else directional.NODES[:1]
            line = directional.polynomial(self._along(base, along), step, nodes, bits)
            part = float(line.is_exact.mean()) if line.value.size else 1.0
            if part > most:
                best, most = (b, (line.nodes,)), part
            if part == 1:
                break
        self.level, self.part = (best if most >= WORTH else None), most
        return value

    def _signed(self, rng: np.random.Generator, b: int | None) -> list[np.ndarray]:
        return [self._coordinates(rng, shape, b, n) for n, shape in enumerate(self.shapes)]

    def _positive(self, rng: np.random.Generator, b: int | None) -> list[np.ndarray]:
        return [np.abs(a) + 2.0 ** (2 - (b or 20)) for a in self._signed(rng, b)]

    def _coordinates(self, rng: np.random.Generator, shape: tuple[int, ...], b: int | None, n: int) -> np.ndarray:
        """Random numbers of size 4 and less, or the user's, with so many bits; None for all of the dtype's."""
        if self.user_arrays is not None:
            a = self.user_arrays[n].astype(np.complex128 if self.dtype in COMPLEX else np.float64)
            if b is None:
                return a
            unit = 2.0 ** (2 - b)
            return np.rint(a / unit) * unit
        draw = (
            (lambda: rng.standard_normal(shape))
            if b is None
            else (lambda: rng.integers(-(2**b), 2**b + 1, shape) * 2.0 ** (2 - b))
        )
        a = draw()
        if self.dtype in COMPLEX:
            a = a + 1j * draw()
        # what the library's dtype cannot hold would be another point for the candidate than for the values
        return (
            np.asarray(a).astype(self.dtype).astype(a.dtype)
            if b is None and self.dtype != "bfloat16"
            else np.asarray(a)
        )

    def _direction(self, rng: np.random.Generator, b: int | None, only: int | None = None) -> list[np.ndarray]:
        """Whole numbers, or normal ones where lines are not exact; zeros but for one array, if it is named."""
        most = _size_of_direction(b)

        def draw(shape: tuple[int, ...]) -> np.ndarray:
            if b is None:
                return rng.standard_normal(shape)
            return rng.integers(-most, most + 1, shape).astype(np.float64)

        drawn = [draw(s) + 1j * draw(s) if self.dtype in COMPLEX else draw(s) for s in self.shapes]
        return [v if only in (None, n) else np.zeros_like(v) for n, v in enumerate(drawn)]

    def _along(self, base: Arrays, along: Arrays, reference: CandidateFunction | None = None) -> directional.Values:
        """The values of the truth along a line, flattened."""
        function = reference or self.reference or self.candidate
        return lambda t: self._array(function.value([a + t * v for a, v in zip(base, along, strict=True)])).ravel()

    def _array(self, raw: Any) -> np.ndarray:
        """Return a result as an array of double precision."""
        result = as_numpy(_scalar(raw))
        if result is None:
            raise _WrongForm(ReportRow(Question(Kind.VALUE), UNCHECKED, Proof.NO_ARRAY, no_array(raw)))
        return result.astype(np.complex128 if result.dtype.kind == "c" else np.float64)

    def _points(self, n: int) -> Iterator[Point]:
        """The base points of a question: exact ones, and where not all lines are polynomials, others."""
        rng = np.random.default_rng([self.seed, n])
        if self.level is not None:
            b, nodes = self.level
            for _ in range(ROUNDS):
                yield Point(self._draw(rng, b), 2.0 ** (2 - b), nodes)
        if self.level is None or self.part < 1:
            yield Point(self._draw(rng, None), 1.0, ())

    def _derivative(self, point: Point, values: directional.Values) -> Derivative:
        if point.is_exact:
            return directional.polynomial(values, point.step, point.nodes, BITS[self.dtype])
        return directional.extrapolated(values)

    def _value_row(self) -> ReportRow:
        question = Question(Kind.VALUE)
        degree = None if self.level is None else max(self.level[1]) - 3
        if self.reference is None:
            proof = Proof.EXACT if self.part == 1 else Proof.NUMERICAL
            return ReportRow(question, RIGHT, proof, ShapeOfLine(degree, self.part))
        return self._judged(question, lambda: self._same_value(question, self.candidate.value))

    def _same_value(self, question: Question, ask: Callable[[Arrays], Any]) -> ReportRow:
        """Return the row for a value that must be the truth's."""
        rng = np.random.default_rng(self.seed)
        function = self.reference or self.candidate
        points = [self._draw(rng, self.level[0])] if self.level is not None else []
        for number, arrays in enumerate([*points, self._draw(rng, None)]):
            right = self._array(function.value(arrays))
            found = self._array(guarded(ask, self.dtype, right.ndim)(arrays))
            if found.shape != right.shape:
                return ReportRow(question, WRONG, Proof.SHAPE, WrongShape(right.shape, found.shape), cause=Cause.SHAPE)
            is_exact = number < len(points) and self.part == 1
            allowed = 0.0 if is_exact else self._tolerance * float(np.abs(right).max(initial=0))
            wrong = ~(np.abs(found - right) <= allowed)
            if is_exact and wrong.any():  # an algorithm that rounds, such as an FFT
                wrong = ~(np.abs(found - right) <= self._tolerance * np.abs(right).max(initial=0))
            if wrong.any():
                # of a function that computes in single precision, its own values differ by as much
                off = float(np.abs(found - right).max(initial=0)) / (float(np.abs(right).max(initial=0)) or 1.0)
                if not off <= SINGLE:
                    return self._wrong(question, found, right, wrong)
                if self.reference is not None:
                    bits = FewerBits(Level.FLOAT32, int(-np.log2(off)), BITS[self.dtype])
                    return ReportRow(question, IMPRECISE, Proof.PRECISION, bits)
                return ReportRow(question, RIGHT, Proof.ROUNDING, SameValues())
        return ReportRow(question, RIGHT, Proof.EXACT if self.part == 1 else Proof.ROUNDING, SameValues())

    def _repeated(self) -> ReportRow:
        question = Question(Kind.REPEAT)
        arrays = self._draw(np.random.default_rng(self.seed), None)
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
        tangents = self._direction(rng, 5)

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
        truth: Callable[[Point, np.ndarray, Arrays], tuple[directional.Values, np.ndarray]],
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
            ask(self._draw(rng, None), np.ones(self.result_shape))  # it must work, and have this shape
            return ReportRow(question, RIGHT, Proof.EXACT, DerivativeOfValues(0, 1.0, 0))
        worst: ReportRow | None = None
        lines = 0
        for point in self._points(n):
            b = self.level[0] if point.is_exact and self.level else None
            along = self._direction(rng, b, n)
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
            right = _real_sum(weights, np.where(known, line.value, 0))
            error = float((np.abs(weights) * np.where(known, line.error, 0)).sum())
            found_all = ask(point.arrays, g)
            if not np.isfinite(found_all).all():
                return self._not_finite(question, found_all)
            found = _real_sum(found_all.ravel(), along[n].ravel(), self._conjugates)
            size = float(
                np.abs(found_all.ravel() * along[n].ravel()).sum()
                + np.abs(weights * np.where(known, line.value, 0)).sum()
            )
            difference = abs(found - right)
            if point.is_exact and not line.value[known].any():
                # a softmax that is saturated looks like a constant: its values do not show so small a derivative
                shown = np.abs(weights * np.asarray(values(0.0))).sum() * UNSEEN
                if difference <= shown:
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
            ask(self._draw(rng, None), self._cotangent(rng))  # which says so where there is no such derivative
            return ReportRow(question, UNCHECKED, Proof.NUMERICAL, Undecided(math.nan, math.nan))
        return self._right(question)

    def _right(self, question: Question) -> ReportRow:
        is_exact = self.level is not None and self.part == 1
        degree = max(self.level[1]) - 3 if self.level is not None else None
        return ReportRow(
            question,
            RIGHT,
            Proof.EXACT if is_exact else Proof.NUMERICAL,
            DerivativeOfValues(degree, self.part if self.level is not None else 0.0, ROUNDS if is_exact else 1),
        )

    def _limits(self, size: float, error: float) -> tuple[float, float]:
        """Up to which difference a pairing is right, and beyond which it is wrong."""
        rounding = self._tolerance * size
        if error == 0:
            return rounding, max(64 * rounding, 2.0**-30 * size)
        return rounding + 10 * error, 64 * rounding + 1000 * error

    def _located(
        self,
        question: Question,
        n: int,
        point: Point,
        g: np.ndarray,
        found: np.ndarray,
        truth: Callable[[Point, np.ndarray, Arrays], tuple[directional.Values, np.ndarray]],
    ) -> ReportRow:
        """Return the row for a wrong cotangent: every element, or the one that bisection finds."""
        started, expected = time.perf_counter(), found.astype(found.dtype)

        def derivative(mask: np.ndarray) -> float:
            along = [mask * 1.0 if k == n else np.zeros(shape) for k, shape in enumerate(self.shapes)]
            values, weights = truth(point, g, along)
            weights = g.ravel() if question.order == 1 else weights
            line = self._derivative(point, values)
            return _real_sum(weights, np.where(np.isfinite(line.error), line.value, 0))

        def is_wrong(mask: np.ndarray) -> bool:
            part = _real_sum(found.ravel(), mask.ravel() * 1.0)
            right = derivative(mask)
            return abs(part - right) > 1e-6 * float(np.abs(found * mask).sum() + abs(right))

        size = found.size
        one = np.zeros(found.shape)
        looked = 0
        for index in np.ndindex(found.shape):
            one[index] = 1
            expected[index] = derivative(one)
            one[index] = 0
            looked += 1
            spent = time.perf_counter() - started
            if spent > SECONDS_TO_LOCATE / 20 and spent / looked * size > SECONDS_TO_LOCATE:
                break
        if looked < size:
            expected = found.copy()
            inside = np.arange(size)
            rng = np.random.default_rng(self.seed)
            weights = rng.integers(1, 64, size).astype(float)  # so that errors do not cancel
            while len(inside) > 1:
                half = inside[: len(inside) // 2]
                mask = np.zeros(size)
                mask[half] = weights[half]
                inside = half if is_wrong(mask.reshape(found.shape)) else inside[len(inside) // 2 :]
            index = tuple(map(int, np.unravel_index(inside[0], found.shape)))
            one[index] = 1
            expected[index] = derivative(one)
        scale = float(np.abs(expected).max(initial=0) + np.abs(found).max(initial=0))
        wrong = np.abs(found - expected) > 1e-7 * scale
        if not wrong.any():
            return ReportRow(question, UNCHECKED, Proof.NUMERICAL, Undecided(scale, scale))
        return self._wrong(question, found, expected, wrong, looked=looked if looked == size else 1)

    def _jvp_row(self, question: Question) -> ReportRow:
        rng = np.random.default_rng([self.seed, 100])
        for point in self._points(100):
            along = self._direction(rng, self.level[0] if point.is_exact and self.level else None)
            line = self._derivative(point, self._along(point.arrays, along))
            found = self._of_shape(self.candidate.jvp(point.arrays, along), self.result_shape)
            known = line.is_exact if point.is_exact else _is_smooth(line)
            right = np.where(known, line.value, found.ravel()).reshape(self.result_shape)
            if not np.isfinite(found).all():
                return self._not_finite(question, found)
            size = float(np.abs(right).max(initial=0))
            allowed = 64 * self._tolerance * size + 1000 * np.where(known, line.error, 0).reshape(right.shape)
            wrong = np.abs(found - right) > allowed
            if wrong.any():
                return self._wrong(question, found, right, wrong)
        return self._right(question)

    def _second_by_cotangent_row(self, question: Question) -> ReportRow:
        """Return the row for the derivative of ``<vjp(g), tangents>`` by ``g``: the JVP along the tangents."""
        rng = np.random.default_rng([self.seed, 101])
        for point in self._points(101):
            along = self._direction(rng, self.level[0] if point.is_exact and self.level else None)
            line = self._derivative(point, self._along(point.arrays, along))
            g = self._cotangent(rng)
            raw = self.candidate.reverse_over_reverse(point.arrays, g, along)[-1]
            found = self._of_shape(raw, self.result_shape)
            known = line.is_exact if point.is_exact else _is_smooth(line)
            right = np.where(known, line.value, found.ravel()).reshape(self.result_shape)
            size = float(np.abs(right).max(initial=0))
            allowed = 64 * self._tolerance * size + 1000 * np.where(known, line.error, 0).reshape(right.shape)
            wrong = ~(np.abs(found - right) <= allowed)
            if wrong.any():
                return self._wrong(question, found, right, wrong)
        return self._right(question)

    def _cotangent(self, rng: np.random.Generator) -> np.ndarray:
        g = rng.integers(-8, 9, self.result_shape).astype(np.float64)
        if self.dtype in COMPLEX:
            return g + 1j * rng.integers(-8, 9, self.result_shape)
        return g

    @property
    def _conjugates(self) -> bool:
        return self.candidate.backend.conjugates and self.dtype in COMPLEX

    # ---- rows

    def _of_shape(self, raw: Any, shape: tuple[int, ...]) -> np.ndarray:
        """Return a derivative as an array; raise its row where it has another shape."""
        found = self._array(raw)
        if found.shape != shape:
            if found.size == math.prod(shape) and [n for n in found.shape if n != 1] == [n for n in shape if n != 1]:
                return found.reshape(shape)
            finding = WrongShape(shape, found.shape)
            raise _WrongForm(ReportRow(Question(Kind.VALUE), WRONG, Proof.SHAPE, finding, cause=Cause.SHAPE))
        return found

    def _not_finite(self, question: Question, found: np.ndarray) -> ReportRow:
        finding = NotFinite(int((~np.isfinite(found)).sum()))
        return ReportRow(question, WRONG, Proof.NOT_FINITE, finding, cause=Cause.NOT_A_NUMBER)

    def _wrong(
        self, question: Question, found: np.ndarray, right: np.ndarray, wrong: np.ndarray, looked: int | None = None
    ) -> ReportRow:
        where = np.argwhere(wrong)
        index = tuple(map(int, where[0]))
        looked = found.size if looked is None else looked
        evidence = Evidence(index, right[index], found[index], len(where), looked, (), right, found, False)
        diagnosis = function_causes.explain(
            found, right, wrong, is_value=question.is_value, is_whole=looked == found.size
        )
        proof = Proof.EXACT if self.part == 1 else Proof.NUMERICAL
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


def _size_of_direction(b: int | None) -> int:
    """Largest coordinate of a direction, in steps: small beside the coordinates of a point, so that it meets few kinks."""
    return 1 if b is None else max(1, min(MOST_DIRECTION, 2 ** (b // 2 - 2)))


def _is_smooth(line: Derivative) -> np.ndarray:
    """Whether the extrapolation of each element has converged."""
    size = max(line.size, float(np.abs(line.value).max(initial=0)))
    return np.asarray(line.error <= 1e-3 * np.abs(line.value) + 1e-6 * size + 1e-12)


def _real_sum(a: np.ndarray, b: np.ndarray, conjugates: bool = False) -> float:
    """The real part of the sum of products, rounded once where the products are exact."""
    products = (a.conj() if conjugates else a) * b
    return math.fsum(np.real(products).ravel().tolist())
