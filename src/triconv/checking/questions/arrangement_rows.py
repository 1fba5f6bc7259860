"""The same numbers in arrays that lie in memory in other ways: results must be those for plain arrays."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from triconv.checking.candidates.candidates import Unsupported
from triconv.checking.findings.arrangement_findings import AnyArrangement, Arrangement, Misread, Reading
from triconv.checking.findings.causes import Cause
from triconv.checking.findings.exception_text import one_line
from triconv.checking.findings.memory_findings import InputChanged
from triconv.checking.findings.protocol import RIGHT, UNSUPPORTED, WRONG, Kind, Proof, Question, Verdict
from triconv.checking.memory.arrangements import ESSENTIAL, arrangements_of, misreadings, with_equal_parts
from triconv.checking.reports.report_data import ReportRow
from triconv.checking.verdicts.trial import CHEAP, COTANGENT, Results, Trial, copied

CLASSES = (Arrangement.SUBCLASS, Arrangement.PARAMETER)


class _Failure(NamedTuple):
    """A result that is another one if an array is arranged in this way."""

    question: Question
    array: str
    arrangement: Arrangement
    elements: int
    total: int
    found: np.ndarray | None
    raised: str = ""
    verdict: Verdict = WRONG


def rows(trial: Trial) -> list[ReportRow]:
    """Return one row for each result that is wrong in some arrangement, or one row where none is."""
    asker = _Asker(trial)
    if not trial.has_strides:
        return []
    failures: list[_Failure] = []
    own = trial.names[max(1, len(trial.names) - len(trial.candidate.own)) :] if trial.candidate.differentiates else ()
    tried, writes = 0, []
    for label, a in [*zip(trial.names, trial.first, strict=True), (COTANGENT, trial.g)]:
        # a module's own parameters are as it made them
        if (label == COTANGENT and not trial.vjps) or label in own:
            continue
        kinds = {"is_cotangent": label == COTANGENT, "is_complex": np.iscomplexobj(a)}
        for arrangement in arrangements_of(trial.candidate.backend.name, a.shape, **kinds):
            if trial.size > CHEAP and arrangement not in ESSENTIAL:
                continue
            tried += 1
            for failure in asker.failures(label, arrangement):
                if arrangement == Arrangement.READ_ONLY and _is_write(failure.raised):
                    writes.append(InputChanged(label, failure.question, restored=True))
                else:
                    failures.append(failure)
    role = trial.value.role
    out = [_row(asker, [f for f in failures if f.question == q]) for q in _asked(failures)]
    if writes:
        question = Question(Kind.OPERANDS, role)
        out.append(ReportRow(question, WRONG, Proof.EXACT, writes[0], cause=Cause.INPUT_CHANGED))
    return out or [ReportRow(Question(Kind.ARRANGEMENTS, role), RIGHT, Proof.EXACT, AnyArrangement(tried))]


def _asked(failures: list[_Failure]) -> list[Question]:
    """The questions of failures: those with a wrong result, and where there are none, those that raised."""
    wrong = list(dict.fromkeys(f.question for f in failures if f.verdict == WRONG))
    return wrong or list(dict.fromkeys(f.question for f in failures))[:1]


class _Asker:
    """Asks for results of arranged arrays, and for those of plain arrays of the same numbers."""

    def __init__(self, trial: Trial) -> None:
        self.trial = trial
        self.takes_leaves = True
        self._plain: dict[tuple[str, Arrangement | None], Results] = {}
        try:
            self._vjps(trial.first, trial.g)
        except Exception:  # noqa: BLE001 (it writes into its operands, which torch forbids; or has no derivative)
            self.takes_leaves = False

    def failures(self, label: str, arrangement: Arrangement) -> Iterator[_Failure]:
        """Yield each result that is another one if the array of this name is arranged."""
        t = self.trial
        arrays, g = self._numbers(label, arrangement)
        given, given_g = t.marked(arrays, arrangement, label), g
        if label == COTANGENT:
            given_g = t.marked_g(g, arrangement)
        for ask, questions in ((t.ask_value, [t.value]), (self._vjps, list(t.vjps.values()))):
            if not questions or (label == COTANGENT and ask == t.ask_value):
                continue
            try:
                with t.watching():
                    results = copied(ask(given, given_g))
            except Unsupported:
                continue
            except Exception as problem:  # noqa: BLE001 (it may refuse such an array)
                raised = f"{type(problem).__name__}: {one_line(problem)}"
                # a user chooses the operands, but autograd the cotangent
                is_fault = label == COTANGENT and t.candidate.differentiates and arrangement not in CLASSES
                verdict = WRONG if is_fault else UNSUPPORTED
                yield _Failure(questions[0], label, arrangement, 0, 0, None, raised, verdict)
                continue
            plain = self.plain(label, arrangement)
            for question, found in results.items():
                right = plain[question]
                if found is None or right is None:
                    continue
                if elements := t.different(found, right):
                    yield _Failure(question, label, arrangement, elements, right.size, found)

    def plain(self, label: str, arrangement: Arrangement) -> Results:
        """Return the results for plain arrays of the numbers that an array of this arrangement holds."""
        arrays, g = self._numbers(label, arrangement)
        same = all(np.array_equal(a, b) for a, b in zip((*arrays, g), (*self.trial.first, self.trial.g), strict=True))
        key = ("", None) if same else (label, arrangement)
        if key not in self._plain:
            self._plain[key] = self.results(arrays, g)
        return self._plain[key]

    def results(self, arrays: Sequence[np.ndarray], g: np.ndarray) -> Results:
        """Return the results for plain arrays."""
        return {**copied(self.trial.ask_value(arrays, g)), **(copied(self._vjps(arrays, g)) if self.trial.vjps else {})}

    def _numbers(self, label: str, arrangement: Arrangement) -> tuple[list[np.ndarray], np.ndarray]:
        t = self.trial
        arrays = [
            with_equal_parts(a, arrangement) if name == label else a for name, a in zip(t.names, t.first, strict=True)
        ]
        return arrays, with_equal_parts(t.g, arrangement) if label == COTANGENT else t.g

    def _vjps(self, arrays: Sequence[np.ndarray], g: np.ndarray) -> Results:
        t = self.trial
        if self.takes_leaves and len(t.vjps) == len(t.names):
            t.calls += 1
            return t.by_question(t.candidate.vjps_of(arrays, g, [True] * len(t.names)))
        return t.ask_vjps(arrays, g)

    def reading(self, failure: _Failure) -> Reading | None:
        """Return which misreading of the array predicts the result."""
        t = self.trial
        arrays, g = self._numbers(failure.array, failure.arrangement)
        n = t.names.index(failure.array) if failure.array in t.names else None
        for name, numbers in misreadings(g if n is None else arrays[n], failure.arrangement):
            misread = [numbers if k == n else a for k, a in enumerate(arrays)]
            try:
                predicted = self.results(misread, numbers if n is None else g)[failure.question]
            except Exception:  # noqa: BLE001 (it may refuse such numbers)
                return None
            if failure.found is not None and not t.different(failure.found, predicted):
                return Reading(name)
        return None


def _row(asker: _Asker, failures: list[_Failure]) -> ReportRow:
    """Return the row of one result that is wrong in these arrangements."""
    verdict = WRONG if any(f.verdict == WRONG for f in failures) else UNSUPPORTED
    failures = [f for f in failures if f.verdict == verdict]
    # the cotangent first: who writes a backward seldom sees another arrangement of it
    arrays = sorted(dict.fromkeys(f.array for f in failures), key=lambda name: name != COTANGENT)
    of_array = [f for f in failures if f.array == arrays[0]]
    wrong = [f for f in of_array if not f.raised] or of_array
    first = wrong[0]
    readings = (asker.reading(f) for f in wrong if f.arrangement not in CLASSES)
    reading = next((r for r in readings if r is not None), None)
    if reading is None and any(f.arrangement == Arrangement.OFFSET for f in wrong):  # in which only the address differs
        reading = Reading.ADDRESS
    finding = Misread(
        arrays[0],
        tuple(f.arrangement for f in of_array),
        first.elements,
        first.total,
        reading,
        first.raised,
        tuple(arrays[1:]),
    )
    strides = Cause.COTANGENT_STRIDES if arrays[0] == COTANGENT else Cause.OPERAND_STRIDES
    cause = Cause.SUBCLASS if all(f.arrangement in CLASSES for f in of_array) else strides
    q = first.question
    question = Question(Kind.ARRANGEMENTS, q.role, q.name, q.order)
    proof = Proof.EXACT if verdict == WRONG else Proof.NONE
    return ReportRow(question, verdict, proof, finding, cause=cause if verdict == WRONG else Cause.NONE)


def _is_write(raised: str) -> bool:
    """Whether an exception says that code writes into an array; what asks for the buffer may only read it."""
    return raised.startswith("ValueError") and "read-only" in raised and "buffer source" not in raised
