"""Whether ``f(s a) = s f(a)``, bit for bit, for ``s`` = -1 and powers of 2, in operands, cotangent and tangents.

A product with such a number is exact in floating point, and so is every rounded sum of such products: rounding to nearest does
not depend on the sign or the exponent, away from overflow and underflow. So this holds for every algorithm whose sums are in a
fixed order, for Fourier transforms and for Winograd's too, and with whatever precision it computes. It needs no oracle. What
clips, rounds to steps, takes absolute values or adds a small number is not homogeneous.

The data are small multiples of 1/2, with which direct sums are exact in any order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from triconv.checking import drawn_data
from triconv.checking.candidates import CandidateFunction
from triconv.checking.causes import Cause
from triconv.checking.convolution import ConvolutionProblem, InputArrays
from triconv.checking.dtypes import ARITHMETIC, BITS, COMPLEX, INTEGERS
from triconv.checking.findings import Homogeneous, Look, NotHomogeneous
from triconv.checking.protocol import IMPRECISE, RIGHT, WRONG, Kind, Proof, Question, Transform, Verdict
from triconv.checking.report_data import ReportRow
from triconv.checking.whole_answers import WholeAnswers

VALUES = np.array([0.5, 1, 1.5, 2, 3])
"""Magnitudes of the data; a product is at most 9, and a multiple of 1/4."""
MOST_PRODUCT, STEP = 9, 0.5
NOT_A_STEP = 1.5 + 1.5 / 64
"""A number of 8 bits that rounding to 1/2, or to 1/4, changes."""
EXPONENTS = {"float16": (8, 12), "float64": (100, 100), "complex128": (100, 100)}
"""By which power of 2 arrays are multiplied and divided: as far as products of three of them stay normal numbers, in single
precision too, which a candidate of double precision may compute in."""
OTHERS = (60, 60)
HALF = ARITHMETIC["float16"]
CAUSES = {
    Look.NEGATIVE_ZERO: Cause.ACTIVATION,
    Look.NEGATIVE_POSITIVE: Cause.ACTIVATION,
    Look.NEGATIVE_SCALED: Cause.ACTIVATION,
    Look.SATURATES: Cause.CLIPPED,
    Look.RESULT_SATURATES: Cause.CLIPPED,
    Look.OVERFLOWS: Cause.OVERFLOW,
    Look.LARGE: Cause.LARGE_NUMBERS,
    Look.STEPS: Cause.FIXED_POINT,
    Look.FLUSHED: Cause.SMALL_NUMBERS,
    Look.ADDED: Cause.CONSTANT_ADDED,
    Look.SMALL: Cause.SMALL_NUMBERS,
    Look.DEPENDS: Cause.NOT_LINEAR,
    Look.OTHER: Cause.NOT_LINEAR,
}


def rows(
    candidate: CandidateFunction,
    problem: ConvolutionProblem,
    dtype: str,
    *,
    precision: str | None,
    seed: int,
    without: set[Question],
) -> Iterator[ReportRow]:
    """Yield one row if every answer is homogeneous, else one for each that is not.

    Parameters
    ----------
    candidate : CandidateFunction
        The candidate.
    problem : ConvolutionProblem
        The problem.
    dtype : str
        Of the candidate's arrays.
    precision : str, optional
        Of the products, if fewer bits than the dtype's are meant; float16 has a smaller range, too.
    seed : int
        Of the data.
    without : set of Question
        What is not asked, as it is known to be wrong, or not to be there.
    """
    if dtype.startswith("u"):
        return
    scaling = _Scaling.of(candidate, problem, dtype, precision, seed, without)
    base = {q: a for q, a in scaling.asked.ask(scaling.arrays).items() if not isinstance(a, Exception)}
    # what is added to an array of another size is rounded
    for n, question in enumerate(scaling.asked.vjps):
        if question in base and candidate.is_difference(n):
            del base[question]
    wrong: dict[Question, tuple[Scales, np.ndarray]] = {}
    answered = 0
    for scales in scaling.together():
        for question, answer in scaling.asked.ask(scaling.scaled(scales), tuple(base)).items():
            if isinstance(answer, Exception):
                continue  # it may refuse such numbers
            answered += 1
            if scaling.differs(question, scales, base[question], answer).any():
                wrong.setdefault(question, (scales, answer))
    failed = [row for q, at in wrong.items() if (row := scaling.explained(q, base[q], *at)) is not None]
    yield from failed
    if answered and not failed:
        finding = Homogeneous(answered, *((scaling.up, scaling.down) if dtype not in INTEGERS else (0, 0)))
        yield ReportRow(Question(Kind.HOMOGENEITY), RIGHT, Proof.EXACT, finding)


def answers_of(rows: list[ReportRow]) -> set[Question]:
    """Return the questions whose answers are not homogeneous."""
    failed = [row.question for row in rows if isinstance(row.finding, NotHomogeneous)]
    kinds = {None: Kind.VALUE, Transform.VJP: Kind.VJP, Transform.JVP: Kind.JVP}
    return {replace(q, kind=kinds[q.transform]) for q in failed}


def named(rows: list[ReportRow]) -> list[ReportRow]:
    """Return the rows of a check, those that no known mistake explains with the cause that scaled arrays show."""
    causes = {
        (row.question.kind_of_answer, row.question.role): row.cause
        for row in rows
        if isinstance(row.finding, NotHomogeneous) and row.cause not in (Cause.NONE, Cause.NOT_LINEAR)
    }
    size = (Cause.LARGE_NUMBERS, Cause.SMALL_NUMBERS)  # what noise of a fixed size makes of scaled arrays, too

    def better(row: ReportRow) -> Cause | None:
        cause = causes.get((row.question.kind_of_answer, row.question.role))
        is_better = row.cause == Cause.NONE or (row.cause == Cause.NOISE and cause not in size)
        return cause if row.verdict == WRONG and is_better else None

    return [row if (cause := better(row)) is None else replace(row, cause=cause) for row in rows]


Scales = dict[str, float]
"""By what the array of each role is multiplied: the operands by their roles, the cotangent and the tangents as "ct"."""
CT = "ct"


@dataclass
class _Scaling:
    """A candidate, and arrays to scale.

    Parameters
    ----------
    asked : WholeAnswers
        Asks the candidate.
    problem : ConvolutionProblem
        The problem.
    dtype : str
        Of the candidate's arrays.
    arrays : InputArrays
        Multiples of 1/2, of both signs.
    up, down : int
        By which powers of 2 they are multiplied and divided.
    most, tiny, step : float
        The largest number, the smallest normal one, and the step of the numbers below.
    """

    asked: WholeAnswers
    problem: ConvolutionProblem
    dtype: str
    arrays: InputArrays
    up: int
    down: int
    most: float
    tiny: float
    step: float
    seen: dict[str, tuple[Look, float | None]] = field(default_factory=dict)
    """What each array was seen to do to the first answer that showed it."""

    @classmethod
    def of(
        cls,
        candidate: CandidateFunction,
        problem: ConvolutionProblem,
        dtype: str,
        precision: str | None,
        seed: int,
        without: set[Question],
    ) -> _Scaling:
        """Draw the arrays, and choose the exponents."""
        asked = WholeAnswers(candidate, problem, dtype, without)
        arrays = _drawn(problem, dtype, np.random.default_rng(seed))
        if dtype in INTEGERS:
            return cls(asked, problem, dtype, arrays.map(lambda a: 2 * a), 0, 0, np.inf, 0, 0)
        is_half = "float16" in (dtype, precision)
        arithmetic = HALF if is_half else ARITHMETIC[dtype]
        up, down = EXPONENTS["float16"] if is_half else EXPONENTS.get(dtype, OTHERS)
        terms = max(problem.terms(role) for role in "xwg") * 2 + 1
        most_up = (
            int(np.log2(arithmetic.most / (MOST_PRODUCT * terms))) if MOST_PRODUCT * terms < arithmetic.most else 0
        )
        tiny = 2.0**-14 if is_half else arithmetic.tiny
        return cls(
            asked, problem, dtype, arrays, max(1, min(up, most_up)), down, arithmetic.most, tiny, arithmetic.step
        )

    def together(self) -> Iterator[Scales]:
        """Yield numbers such that each array is negated and made large once, and made small once."""
        a, b = self.problem.operands
        if self.dtype in INTEGERS:
            yield from ({a: -1.0}, {b: -1.0})
            return
        up, down = -(2.0**self.up), 2.0**-self.down
        yield from ({a: up, b: down}, {b: up, CT: down}, {CT: up, a: down})

    def scaled(self, scales: Scales, arrays: InputArrays | None = None) -> InputArrays:
        """The arrays times these numbers; a bias and its tangent are scaled as the products are."""
        arrays = arrays or self.arrays
        a, b = self.problem.operands
        ct, product = scales.get(CT, 1.0), scales.get(a, 1.0) * scales.get(b, 1.0)
        primal = {a: scales.get(a, 1.0), b: scales.get(b, 1.0), "bias": product}
        return InputArrays(
            {role: array * primal[role] for role, array in arrays.primals.items()},
            arrays.g * ct,
            {role: array * primal[role] * ct for role, array in arrays.tangents.items()},
        )

    def factor(self, question: Question, scales: Scales) -> float:
        """By what the answer must be multiplied then."""
        a, b = self.problem.operands
        ct = scales.get(CT, 1.0) if question.is_derivative else 1.0
        if question.kind != Kind.VJP:
            return ct * scales.get(a, 1.0) * scales.get(b, 1.0)
        if question.role == "bias":
            return ct
        return ct * scales.get(b if question.role == a else a, 1.0)

    def differs(self, question: Question, scales: Scales, base: np.ndarray, found: np.ndarray) -> np.ndarray:
        """Where the answer is another than it must be; numbers below the normal ones are rounded to a fixed step."""
        factor = self.factor(question, scales)
        if self.dtype in INTEGERS:
            return found != drawn_data.wrapped(base * int(factor), self.dtype)  # -128 is its own opposite
        expected = base * factor
        with np.errstate(all="ignore"):
            small = (np.abs(base) < self.tiny) | (np.abs(expected) < self.tiny)
            allowed = np.where(small, self.tiny * max(1, abs(factor)), 0)
            # what overflows in the base, or where the sums may, says nothing
            beyond = ~np.isfinite(base) | (np.abs(expected) > self.most / 4)
            return ~beyond & ~(np.abs(found - expected) <= allowed)

    def _roles(self, question: Question) -> tuple[str, ...]:
        return (*self.problem.operands, *((CT,) if question.is_derivative else ()))

    def explained(self, question: Question, base: np.ndarray, together: Scales, answer: np.ndarray) -> ReportRow | None:
        """Return the row for an answer that is not homogeneous; None if that is only because two runs differ.

        `together` are numbers with which it is not, and `answer` what came then.
        """
        spread = max(self._spread(question, base) for _ in range(2))
        names: list[str] = []
        first: NotHomogeneous | None = None
        is_narrow = True
        for role in self._roles(question):
            for s in self._alone():
                found = self._ask(question, self.scaled({role: s}))
                if found is None:
                    continue
                scales = {role: s}
                factor = self.factor(question, scales)
                bad = self.differs(question, scales, base, found) & ~(
                    np.abs(found - base * factor) <= 4 * spread * abs(factor)
                )
                if not bad.any():
                    continue
                names.append(self._name(role, question))
                index = tuple(map(int, np.argwhere(bad)[0]))
                look, amount = self._look(question, role, s)
                is_narrow = is_narrow and self._is_narrow(question, role)
                if first is None:
                    first = NotHomogeneous(
                        look, (), s, amount, index, _real((base * factor)[index]), _real(found[index])
                    )
                break
        if first is None:
            factor = self.factor(question, together)
            bad = self.differs(question, together, base, answer) & ~(
                np.abs(answer - base * factor) <= 4 * spread * abs(factor)
            )
            if not bad.any():
                return None
            index, is_narrow = tuple(map(int, np.argwhere(bad)[0])), False
            names = [self._name(role, question) for role in self._roles(question) if role in together]
            at = _real((base * factor)[index]), _real(answer[index])
            first = NotHomogeneous(Look.OTHER, (), factor, None, index, *at)
        finding = replace(first, names=tuple(dict.fromkeys(names)))
        row = Question(Kind.HOMOGENEITY, question.role, question.name, question.order, question.transform)
        verdict: Verdict = IMPRECISE if is_narrow else WRONG
        look = finding.look
        if look == Look.DEPENDS:  # as of what the value is clipped by
            look = next((seen for seen, _ in self.seen.values() if seen != Look.DEPENDS), look)
        cause = Cause.NONE if is_narrow else CAUSES[look]
        return ReportRow(row, verdict, Proof.PRECISION if is_narrow else Proof.EXACT, finding, cause=cause)

    def _alone(self) -> tuple[float, ...]:
        return (-1.0,) if self.dtype in INTEGERS else (-1.0, 2.0**self.up, 2.0**-self.down)

    def _name(self, role: str, question: Question) -> str:
        if role == CT:
            return "tangents" if question.transform == Transform.JVP else "cotangent"
        return self.problem.names[self.problem.roles.index(role)]

    def _ask(self, question: Question, arrays: InputArrays) -> np.ndarray | None:
        found = self.asked.ask(arrays, (question,)).get(question)
        return None if isinstance(found, Exception) else found

    def _spread(self, question: Question, base: np.ndarray) -> float:
        """How far another answer for the same arrays is from the first."""
        again = self._ask(question, self.arrays)
        if again is None:
            return 0.0
        with np.errstate(all="ignore"):
            return float(np.nan_to_num(np.abs(again - base), posinf=0).max(initial=0))

    def _is_narrow(self, question: Question, role: str) -> bool:
        """Whether it is homogeneous in the range of float16, which then is what the candidate computes in."""
        if BITS[self.dtype] <= BITS["float16"] or self.dtype in INTEGERS or self.up <= EXPONENTS["float16"][0]:
            return False
        is_half = _Scaling(
            self.asked, self.problem, self.dtype, self.arrays, *EXPONENTS["float16"], HALF.most, 2.0**-14, HALF.step
        )
        base = self._ask(question, self.arrays)
        large = self._ask(question, self.scaled({role: 2.0**20}))
        if base is None or large is None or np.isfinite(large).all():
            return False
        for s in is_half._alone():
            found = self._ask(question, self.scaled({role: s}))
            if found is None or is_half.differs(question, {role: s}, base, found).any():
                return False
        return True

    def _look(self, question: Question, role: str, s: float) -> tuple[Look, float | None]:
        """Say what it looks like, and what the first answer that shows it looked like."""
        look, amount = self._own_look(question, role, s)
        if role in self.seen and question.kind == Kind.JVP:  # a tangent says less
            return self.seen[role]
        self.seen.setdefault(role, (look, amount))
        return look, amount

    def _own_look(self, question: Question, role: str, s: float) -> tuple[Look, float | None]:
        """Say what it looks like, by further answers for positive numbers, and for ones."""
        if self.factor(question, {role: 2.0}) == 1:
            return Look.DEPENDS, None

        def of(change: Callable[[np.ndarray], np.ndarray]) -> Callable[[float], np.ndarray | None]:
            arrays = self.arrays.map(change)
            return lambda t: self._ask(question, self.scaled({role: t}, arrays))

        positive, ones = of(np.abs), of(np.ones_like)
        one = positive(1.0)
        if one is None or not one.any():
            return Look.OTHER, None
        scaled_by = _Ratio(one)

        two = positive(2.0)
        if two is None or np.array_equal(one, two):  # it does not depend on the array at all
            return Look.OTHER, None

        def holds(t: float) -> bool:
            answer = positive(t)
            return answer is not None and not self.differs(question, {role: t}, one, answer).any()

        if holds(2.0**self.up) and holds(2.0**-self.down):
            ratio = scaled_by(positive(-1.0))
            if ratio == 0:
                return Look.NEGATIVE_ZERO, None
            if ratio == 1:
                return Look.NEGATIVE_POSITIVE, None
            return (Look.OTHER, None) if ratio is None or ratio == -1 else (Look.NEGATIVE_SCALED, -ratio)
        if abs(s) < 1 or (not holds(2.0**-self.down) and holds(2.0**self.up)):
            return self._small(positive, ones, holds, one)
        return self._large(positive, ones, holds)

    def _large(
        self,
        positive: Callable[[float], np.ndarray | None],
        ones: Callable[[float], np.ndarray | None],
        holds: Callable[[float], bool],
    ) -> tuple[Look, float | None]:
        """What becomes of large numbers."""
        large, half = positive(2.0**self.up), positive(2.0 ** (self.up - 1))
        first = next((j for j in range(self.up + 1) if not holds(2.0**j)), self.up)
        threshold = float(VALUES[-1]) * 2.0**first
        if large is None or half is None:
            return Look.LARGE, threshold
        if not np.isfinite(large).all():
            return Look.OVERFLOWS, threshold
        if np.array_equal(large, half):
            nonzero = large[large != 0]
            if nonzero.size > 1 and np.ptp(nonzero) == 0:
                return Look.RESULT_SATURATES, float(np.abs(nonzero[0]))
            unit = ones(1.0)
            ratio = None if unit is None else _Ratio(unit)(ones(2.0**self.up))
            return (Look.SATURATES, float(ratio)) if ratio else (Look.LARGE, threshold)
        return Look.LARGE, threshold

    def _small(
        self,
        positive: Callable[[float], np.ndarray | None],
        ones: Callable[[float], np.ndarray | None],
        holds: Callable[[float], bool],
        one: np.ndarray,
    ) -> tuple[Look, float | None]:
        """What becomes of small numbers."""
        first = next((j for j in range(self.down + 1) if not holds(2.0**-j)), self.down)
        smallest, less = positive(2.0**-self.down), positive(2.0 ** (1 - self.down))
        threshold = STEP * 2.0**-first
        if smallest is None or less is None:
            return Look.SMALL, threshold
        if not smallest.any():
            t = 2.0**-first
            unit, between, at = ones(1.0), ones(NOT_A_STEP * t), positive(t)
            is_kept = unit is not None and between is not None and np.array_equal(between, unit * NOT_A_STEP * t)
            is_zero = at is not None and not at[at != one * t].any()
            return (Look.FLUSHED if is_kept or is_zero else Look.STEPS), t
        if np.array_equal(smallest, less) and np.ptp(smallest) == 0:
            return Look.ADDED, _real(smallest.ravel()[0])
        return Look.SMALL, threshold


class _Ratio:
    """By which one number an array is multiplied; None if by none."""

    def __init__(self, base: np.ndarray) -> None:
        self.base = base

    def __call__(self, a: np.ndarray | None) -> float | None:
        if a is None or a.shape != self.base.shape:
            return None
        nonzero = self.base != 0
        if not np.isfinite(a).all() or a[~nonzero].any():
            return None
        ratios = a[nonzero] / self.base[nonzero]
        return _real(ratios[0]) if np.allclose(ratios, ratios[0], rtol=1e-5) else None


def _drawn(p: ConvolutionProblem, dtype: str, rng: np.random.Generator) -> InputArrays:
    def draw(shape: tuple[int, ...]) -> np.ndarray:
        def real() -> Any:
            return rng.choice(VALUES, shape) * rng.choice([-1.0, 1.0], shape)

        a = np.asarray(real() + 1j * real() if dtype in COMPLEX else real())
        return a if dtype not in INTEGERS else (2 * a).astype(np.int64) // 2

    return p.arrays_of(draw)


def _real(value: Any) -> float:
    return float(np.real(value))
