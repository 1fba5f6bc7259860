"""Whether plain data give what they must: data of one sign, zeros, one number everywhere, and numbers that cancel.

A convolution and its derivatives are linear in each array, or do not depend on it. On integers, and on halves of them, this
holds exactly: with ``p = max(x, 0)`` and ``n = min(x, 0)``, ``f(x) = f(p) + f(n)``. Code that takes another path where data are
nowhere negative, as after a ReLU, or whose sums saturate, clamp or lose their sign, is right for data of both signs. Zeros give
zeros, but not where code divides by the largest number of an array, or adds an epsilon to it. One number everywhere is the
cotangent of a sum, or a kernel that averages: it gives what two parts of it do. A cotangent whose numbers add up to zero, as
those of a softmax do, is no zero.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from triconv.checking.candidates.candidate import as_numpy
from triconv.checking.candidates.candidates import Unsupported
from triconv.checking.dtypes import BITS, INTEGERS
from triconv.checking.findings.causes import Cause
from triconv.checking.findings.memory_findings import AnySign, NotZero, OneSign, Sign
from triconv.checking.findings.protocol import RIGHT, WRONG, Kind, Proof, Question, Role
from triconv.checking.reports.report_data import ReportRow
from triconv.checking.verdicts.trial import COTANGENT, Results, Trial


def rows(trial: Trial) -> list[ReportRow]:
    """Return one row for each result that is wrong for data of one sign, or one row where none is."""
    role = trial.value.role
    if not trial.is_convolution or trial.candidate.dtype.startswith("u"):
        return []
    failed: dict[Question, OneSign | NotZero] = {}
    try:
        for question, finding in _Parts(trial).faults():
            failed.setdefault(question, finding)
    except Unsupported:
        return []
    except Exception:  # noqa: BLE001 (it may refuse such data)
        if not failed:
            return []
    if not failed:
        return [ReportRow(Question(Kind.SIGNS, role), RIGHT, Proof.EXACT, AnySign())]
    return [
        ReportRow(
            Question(Kind.SIGNS, q.role, q.name, q.order, q.transform),
            WRONG,
            Proof.EXACT,
            finding,
            cause=cause_of(finding),
        )
        for q, finding in failed.items()
    ]


def cause_of(finding: OneSign | NotZero) -> Cause:
    """Return the cause that a finding has."""
    if isinstance(finding, NotZero):
        return Cause.NOT_A_NUMBER if finding.is_nan else Cause.CONSTANT_ADDED
    return Cause.ONE_NUMBER if finding.sign == Sign.EQUAL else Cause.ONE_SIGN


@dataclass
class _Parts:
    """Asks for the parts of a trial's arrays."""

    trial: Trial

    def faults(self) -> Iterator[tuple[Question, OneSign | NotZero]]:
        """Yield what is wrong: of the value for one operand, and then for both; of VJPs for operands, and for the cotangent."""
        t = self.trial
        # not whole numbers, which a cast to integers would keep
        is_float = t.candidate.dtype not in INTEGERS
        half = [a / (4 if role == Role.BIAS else 2) for a, role in zip(t.first, t.roles, strict=True)]
        data = [*half, t.g / 2] if is_float else [*t.first, t.g]
        first, second = (n for n, role in enumerate(t.roles) if role != Role.BIAS)
        for ask, steps in ((t.ask_value, ((first,), (second,))), (t.ask_vjps, ((first, second), (len(t.names),)))):
            if ask == t.ask_vjps and not t.vjps:
                continue
            given = data
            whole = _wide(ask(given[:-1], given[-1]))
            for which in steps:
                yield from self._zeros(ask, given, which)
                found: dict[Question, OneSign] = {}
                of_positive = self._split(ask, given, which, whole, found)
                yield from found.items()
                yield from self._equal(ask, given, which[0], whole)
                if which[0] == len(t.names) and BITS[t.candidate.dtype] >= BITS["float32"]:
                    yield from self._cancelling(ask, given, whole)
                if ask == t.ask_value:
                    given = _with(given, which, lambda a: _part(a, np.maximum))
                    whole = {q: of_positive[q] for q in whole if q not in found}

    def _named(self, which: Sequence[int]) -> str:
        return " and ".join([*self.trial.names, COTANGENT][n] for n in which)

    def _zeros(
        self, ask: Callable[..., Results], data: list[np.ndarray], which: Sequence[int]
    ) -> Iterator[tuple[Question, NotZero]]:
        """Yield what some arrays of zeros, and a bias of zeros, do not make zero."""
        t = self.trial
        biases = [n for n, role in enumerate(t.roles) if role == Role.BIAS]
        arrays = _with(data, (*which, *biases), np.zeros_like)
        for question, raw in ask(arrays[:-1], arrays[-1]).items():
            y = as_numpy(raw)
            if y is None or (question.role == Role.BIAS and len(t.names) not in which):
                continue
            if elements := int(np.count_nonzero(y)):
                yield question, NotZero(question, self._named(which), elements, y.size, is_nan=bool(np.isnan(y).any()))

    def _equal(
        self, ask: Callable[..., Results], data: list[np.ndarray], which: int, whole: Results
    ) -> Iterator[tuple[Question, OneSign]]:
        """Yield what is wrong where an array holds one number."""
        t, a = self.trial, data[which]
        number = np.asarray(np.ones_like(a) if t.candidate.dtype in INTEGERS else np.ones_like(a) / 2)
        keep = np.arange(a.size).reshape(a.shape) % 3 == 0

        def of(new: np.ndarray) -> Results:
            arrays = _with(data, (which,), lambda _: new)
            return _wide(ask(arrays[:-1], arrays[-1]))

        equal = of(number)
        if BITS[t.candidate.dtype] < BITS["float32"]:  # sums with other numbers may be rounded
            whole, parts = equal, (of(number * keep), of(number * ~keep))
        else:
            parts = equal, of(a - number)
        for question, y in whole.items():
            one, other = (part[question] for part in parts)
            does_depend = question != t.vjps.get(which)
            if y is None or one is None or other is None or not does_depend:
                continue
            constant = np.zeros_like(y)
            if question.order == 0 and Role.BIAS in t.roles:
                constant = np.asarray(of(np.zeros_like(a))[question])
            elif question.role == Role.BIAS and which < len(t.names):
                constant = y
            if elements := t.different(one + other, y + constant):
                yield question, OneSign(question, self._named((which,)), Sign.EQUAL, elements, y.size)

    def _cancelling(
        self, ask: Callable[..., Results], data: list[np.ndarray], whole: Results
    ) -> Iterator[tuple[Question, OneSign]]:
        """Yield what is wrong where the numbers of the cotangent add up to zero, as those of a softmax do."""
        t, g = self.trial, data[-1]
        other = g.ravel()[::-1].reshape(g.shape)
        of_other, of_difference = (_wide(ask(data[:-1], new)) for new in (other, g - other))
        for question, y in whole.items():
            z, difference = of_other[question], of_difference[question]
            if y is None or z is None or difference is None:
                continue
            if elements := t.different(difference + z, y):
                yield question, OneSign(question, COTANGENT, Sign.CANCELLING, elements, y.size)

    def _split(
        self,
        ask: Callable[..., Results],
        data: list[np.ndarray],
        which: Sequence[int],
        whole: Results,
        out: dict[Question, OneSign],
    ) -> Results:
        """Ask for the parts of some arrays, say what is wrong, and return the results for those that are not negative."""

        def of(change: Callable[[np.ndarray], np.ndarray]) -> Results:
            arrays = _with(data, which, change)
            return _wide(ask(arrays[:-1], arrays[-1]))

        of_positive, of_negative = (of(lambda a, part=part: _part(a, part)) for part in (np.maximum, np.minimum))  # type: ignore[misc]
        for question, y in whole.items():
            if y is None or of_positive[question] is None or of_negative[question] is None:
                continue
            constant = np.zeros_like(y)
            if question.order == 0 and Role.BIAS in self.trial.roles:
                constant = of(np.zeros_like)[question]
            elif question.role == Role.BIAS and len(self.trial.names) not in which:
                constant = y
            elements = self.trial.different(of_positive[question] + of_negative[question], y + constant)
            if not elements:
                continue
            # where numbers of both signs say what the part must give
            right = of(lambda a: a + _part(a, np.maximum))[question] - y + constant
            sign = Sign.NOT_NEGATIVE if self.trial.different(of_positive[question], right) else Sign.NOT_POSITIVE
            out[question] = OneSign(question, self._named(which), sign, elements, y.size)
        return of_positive


def _with(data: list[np.ndarray], which: Sequence[int], change: Callable[[np.ndarray], np.ndarray]) -> list[np.ndarray]:
    return [change(a) if n in which else a for n, a in enumerate(data)]


def _part(a: np.ndarray, which: Any) -> np.ndarray:
    """The part of an array of one sign, of complex numbers the parts of both their parts."""
    if np.iscomplexobj(a):
        return np.asarray(which(a.real, 0) + 1j * which(a.imag, 0))
    return np.asarray(which(a, 0))


def _wide(results: Results) -> Results:
    """Results in which sums are exact, as whole numbers; integers wrap."""

    def wide(raw: Any) -> np.ndarray | None:
        a = as_numpy(raw)
        if a is None or a.dtype.kind in "iu":
            return a
        return 4 * np.array(a, np.complex128 if a.dtype.kind == "c" else np.float64)

    return {question: wide(raw) for question, raw in results.items()}
