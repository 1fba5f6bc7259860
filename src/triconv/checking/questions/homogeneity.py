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

from triconv.checking.candidates.candidates import CandidateFunction
from triconv.checking.dtypes import BITS, INTEGERS
from triconv.checking.findings.causes import Cause
from triconv.checking.findings.findings import Homogeneous, Look, NotHomogeneous, OnlyLater, WrongElements
from triconv.checking.findings.memory_findings import NotZero
from triconv.checking.findings.protocol import IMPRECISE, RIGHT, WRONG, Kind, Proof, Question, Transform, Verdict
from triconv.checking.oracles.convolution import ConvolutionProblem
from triconv.checking.questions.scaling import CT, EXPONENTS, HALF, NOT_A_STEP, STEP, VALUES, Scales, Scaling
from triconv.checking.reports.report_data import ReportRow

CAUSES = {
    Look.NEGATIVE_ZERO: Cause.ACTIVATION,
    Look.NEGATIVE_POSITIVE: Cause.ACTIVATION,
    Look.NEGATIVE_SCALED: Cause.ACTIVATION,
    Look.UNSIGNED: Cause.UNSIGNED,
    Look.SATURATES: Cause.CLIPPED,
    Look.RESULT_SATURATES: Cause.CLIPPED,
    Look.OVERFLOWS: Cause.OVERFLOW,
    Look.LARGE: Cause.LARGE_NUMBERS,
    Look.PRODUCTS: Cause.LARGE_NUMBERS,
    Look.STEPS: Cause.FIXED_POINT,
    Look.FLUSHED: Cause.SMALL_NUMBERS,
    Look.ADDED: Cause.CONSTANT_ADDED,
    Look.SMALL: Cause.SMALL_NUMBERS,
    Look.DEPENDS: Cause.NOT_LINEAR,
    Look.TANGENTS: Cause.NOT_LINEAR,
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
    scaling = _ScaledAnswers.of(candidate, problem, dtype, precision, seed, without)
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
    """Return the rows of a check, those that no known mistake explains with the finding that scaled arrays show."""
    shown = {
        (row.question.kind_of_answer, row.question.role): row
        for row in rows
        if isinstance(row.finding, NotHomogeneous)
        and (row.cause not in (Cause.NONE, Cause.NOT_LINEAR) or row.finding.look == Look.TANGENTS)
    }
    # zeros that do not give zeros say more than numbers that are not scaled
    for row in rows:
        if isinstance(row.finding, NotZero) and not row.finding.is_nan:
            shown[row.question.kind_of_answer, row.question.role] = row
    # what noise of a fixed size makes of zeros and of scaled arrays, too
    size = (Cause.LARGE_NUMBERS, Cause.SMALL_NUMBERS, Cause.CONSTANT_ADDED)

    def better(row: ReportRow) -> ReportRow:
        other = shown.get((row.question.kind_of_answer, row.question.role))
        if other is None or row.verdict != WRONG or row.question.kind == Kind.HOMOGENEITY:
            return row
        is_unnamed = row.cause == Cause.NONE and isinstance(row.finding, WrongElements)
        if is_unnamed or (isinstance(row.finding, OnlyLater) and row.finding.cause == Cause.NONE):
            return replace(row, cause=other.cause, finding=other.finding)
        is_better = row.cause == Cause.NONE or (row.cause == Cause.NOISE and other.cause not in size)
        return replace(row, cause=other.cause) if is_better else row

    return [better(row) for row in rows]


@dataclass
class _ScaledAnswers(Scaling):
    """What answers look like that are not homogeneous."""

    seen: dict[str, tuple[Look, float | None]] = field(default_factory=dict)
    """What each array was seen to do to the first answer that showed it."""

    def explained(self, question: Question, base: np.ndarray, together: Scales, answer: np.ndarray) -> ReportRow | None:
        """Return the row for an answer that is not homogeneous; None if that is only because two runs differ.

        `together` are numbers with which it is not, and `answer` what came then.
        """
        spread = max(self._spread(question, base) for _ in range(2))
        names: list[str] = []
        first: NotHomogeneous | None = None
        is_narrow = True
        for role in self.roles(question):
            for s in self.alone():
                found = self.ask(question, self.scaled({role: s}))
                if found is None:
                    continue
                scales = {role: s}
                factor = self.factor(question, scales)
                bad = self.differs(question, scales, base, found) & ~(
                    np.abs(found - base * factor) <= 4 * spread * abs(factor)
                )
                if not bad.any():
                    continue
                names.append(self.name(role, question))
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
            names = [self.name(role, question) for role in self.roles(question) if role in together]
            at = _real((base * factor)[index]), _real(answer[index])
            is_product = len(together) > 1 and all(s > 1 for s in together.values())
            first = NotHomogeneous(Look.PRODUCTS if is_product else Look.OTHER, (), factor, None, index, *at)
        finding = replace(first, names=tuple(dict.fromkeys(names)))
        if question.kind == Kind.JVP and finding.look == Look.OTHER and self.name(CT, question) in names:
            finding = replace(finding, look=Look.TANGENTS)
        row = Question(Kind.HOMOGENEITY, question.role, question.name, question.order, question.transform)
        verdict: Verdict = IMPRECISE if is_narrow else WRONG
        look = finding.look
        if look == Look.DEPENDS:  # as of what the value is clipped by
            look = next((seen for seen, _ in self.seen.values() if seen != Look.DEPENDS), look)
        cause = Cause.NONE if is_narrow else CAUSES[look]
        return ReportRow(row, verdict, Proof.PRECISION if is_narrow else Proof.EXACT, finding, cause=cause)

    def _spread(self, question: Question, base: np.ndarray) -> float:
        """How far another answer for the same arrays is from the first."""
        again = self.ask(question, self.arrays)
        if again is None:
            return 0.0
        with np.errstate(all="ignore"):
            return float(np.nan_to_num(np.abs(again - base), posinf=0).max(initial=0))

    def _is_narrow(self, question: Question, role: str) -> bool:
        """Whether it is homogeneous in the range of float16, which then is what the candidate computes in."""
        if BITS[self.dtype] <= BITS["float16"] or self.dtype in INTEGERS or self.up <= EXPONENTS["float16"][0]:
            return False
        is_half = Scaling(
            self.asked, self.problem, self.dtype, self.arrays, *EXPONENTS["float16"], HALF.most, 2.0**-14, HALF.step
        )
        base = self.ask(question, self.arrays)
        large = self.ask(question, self.scaled({role: 2.0**20}))
        if base is None or large is None or np.isfinite(large).all():
            return False
        for s in is_half.alone():
            found = self.ask(question, self.scaled({role: s}))
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
            return lambda t: self.ask(question, self.scaled({role: t}, arrays))

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
            if ratio == -1:
                return self._large_negative(question, role, of)
            return (Look.OTHER, None) if ratio is None else (Look.NEGATIVE_SCALED, -ratio)
        # of whole numbers alone, perhaps
        if holds(2.0) and any(not holds(-t) and scaled_by(positive(-t)) is None for t in (1.0, 2.0)):
            return Look.UNSIGNED, None
        if abs(s) < 1 or (not holds(2.0**-self.down) and holds(2.0**self.up)):
            return self._small(question, role, positive, ones, holds, one)
        return self._large(positive, ones, holds)

    def _large_negative(
        self,
        question: Question,
        role: str,
        of: Callable[[Callable[[np.ndarray], np.ndarray]], Callable[[float], np.ndarray | None]],
    ) -> tuple[Look, float | None]:
        """What becomes of large negative numbers, where positive ones of any size are right."""
        negative, minus_ones = of(lambda a: -np.abs(a)), of(lambda a: -np.ones_like(a))
        one = negative(1.0)

        def holds(t: float) -> bool:
            answer = negative(t)
            return one is not None and answer is not None and not self.differs(question, {role: t}, one, answer).any()

        if holds(2.0**self.up):
            return Look.OTHER, None
        look, amount = self._large(negative, minus_ones, holds)
        return look, None if amount is None else amount if look == Look.RESULT_SATURATES else -amount

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

    def _step(self, question: Question, role: str, ones: Callable[[float], np.ndarray | None], first: int) -> float:
        """To which steps numbers are rounded: the smallest that is not zero, of the result where another array shows it too."""
        unit = ones(1.0)
        small = [a for j in range(first, self.down + 1) if (a := ones(2.0**-j)) is not None]
        sizes = [np.abs(a[a != 0]).min() for a in small if np.any(a)]
        if unit is None or not sizes or not np.any(unit):
            return 2.0**-first
        least, base = float(min(sizes)), self.arrays.map(np.ones_like)
        for other in self.roles(question):
            if other != role:
                found = self.ask(question, self.scaled({other: 2.0**-self.down}, base))
                if found is not None and not found.any():
                    return least
        return least / float(np.abs(unit[unit != 0]).min())

    def _small(
        self,
        question: Question,
        role: str,
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
            return (Look.FLUSHED, t) if is_kept or is_zero else (Look.STEPS, self._step(question, role, ones, first))
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


def _real(value: Any) -> float:
    return float(np.real(value))
