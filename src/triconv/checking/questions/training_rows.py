"""The rows on arrays, memory and calls as in training, after those of the plain questions."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from triconv.checking.candidates.candidates import CandidateFunction, as_numpy
from triconv.checking.candidates.isolated_candidate import IsolatedCandidate, checked
from triconv.checking.findings.arrangement_findings import AnyArrangement, Misread
from triconv.checking.findings.causes import Cause
from triconv.checking.findings.exception_text import caught
from triconv.checking.findings.findings import NotFinite, NotRepeatable, WrongElements
from triconv.checking.findings.memory_findings import (
    AnyBatchAxis,
    AnySubset,
    CallsDiffer,
    NotZero,
    OneSign,
    OtherAfterOtherNumbers,
)
from triconv.checking.findings.protocol import IMPRECISE, RIGHT, UNCHECKED, WRONG, Kind, Proof, Question, Role, Verdict
from triconv.checking.findings.unanswered import Raised
from triconv.checking.oracles.convolution import ConvolutionProblem
from triconv.checking.questions import argument_subsets, arrangement_rows, one_sign, state, thread_calls
from triconv.checking.reports import wording
from triconv.checking.reports.report_data import ReportRow
from triconv.checking.verdicts.check_context import CheckContext
from triconv.checking.verdicts.trial import COTANGENT, Trial, differ_as_integers

Ask = Callable[[Trial], list[ReportRow]]

FIRST = (Cause.CALL_COUNT, Cause.NONDETERMINISTIC, Cause.STALE_CACHE, Cause.UNWRITTEN, Cause.INPUT_CHANGED)
"""Causes that may be those of every other row that is wrong."""
FAMILIES: tuple[tuple[Kind, Ask], ...] = (
    (Kind.MEMORY, state.rows),
    (Kind.THREADS, thread_calls.rows),
    (Kind.SIGNS, one_sign.rows),
    (Kind.ARRANGEMENTS, arrangement_rows.rows),
    (Kind.SUBSETS, argument_subsets.rows),
    (Kind.BATCHED, argument_subsets.batched_rows),
)
EPSILON = 2.0**-10
"""What an epsilon makes of results at most, beside which it is rounded to what looks like noise."""
LATER = (Kind.JVP, Kind.SECOND_ORDER)
"""Questions that a candidate fails more often than those on arrays and memory."""


def with_rows(
    candidate: CandidateFunction,
    context: CheckContext,
    rows: Sequence[ReportRow],
    on_progress: Callable[[str], Any],
    smaller: CheckContext | None = None,
    *,
    is_cold: bool = False,
) -> list[ReportRow]:
    """Return the rows of a check with those on arrays, memory and calls.

    Parameters
    ----------
    candidate : CandidateFunction
        The candidate.
    context : CheckContext
        The arrays of the check.
    rows : sequence of ReportRow
        Of all other questions.
    on_progress : callable
        Called with the name of each question.
    smaller : CheckContext, optional
        The same with smaller arrays, for what takes many calls and does not depend on sizes: all but memory.
    is_cold : bool
        Whether the first call of all gave another result than the second.
    """
    value = next((row for row in rows if row.question.is_plain_value), None)
    if value is None or not has_numbers(value):
        return list(rows)
    few = None if smaller is None else _trial(candidate, smaller, rows)
    few = few if few is not None and _takes(candidate, few) else None
    out = _with_signs(added(_trial(candidate, context, rows), FAMILIES, rows, on_progress, few), context)
    if not is_cold or any(row.cause in FIRST for row in out):
        return out
    first = CallsDiffer(value.question, (1,), 2)
    history = Question(Kind.HISTORY, value.question.role)
    out = [row for row in out if row.question.kind != Kind.MEMORY]
    return [ReportRow(history, WRONG, Proof.EXACT, first, cause=Cause.CALL_COUNT), *out]


def _with_signs(rows: list[ReportRow], context: CheckContext) -> list[ReportRow]:
    """Return the rows, those that are wrong for data of one sign with that as their reason; a row of its own says no more.

    So it is with zeros that do not give zeros, where no other reason is known.
    """
    kinds = OneSign | NotZero
    found = {(row.question.order, row.question.role): row.finding for row in rows if isinstance(row.finding, kinds)}
    if not found:
        return rows
    of_value = next((finding for (order, _), finding in found.items() if order == 0), None)
    out, told = [], set()
    for row in rows:
        key = row.question.order, row.question.role
        is_plain = row.question.is_plain_value or row.question.kind == Kind.VJP
        # what autograd makes of a value that is wrong there is wrong there too
        finding = found.get(key, of_value)
        if is_plain and row.verdict != RIGHT and finding is not None:
            told.add(key)
            is_named = row.cause in (Cause.FIXED_POINT, Cause.PARTIAL_SUMS)  # which data of both signs show
            if isinstance(finding, NotZero):
                most = {Cause.NONE: 0.5, Cause.NOISE: EPSILON}.get(row.cause)
                if most is not None and _is_near(row, most):
                    row = replace(row, verdict=WRONG, finding=finding, cause=one_sign.cause_of(finding))  # noqa: PLW2901
            elif row.evidence is not None and not is_named and not _is_of_integers(row, context):
                of_row = replace(finding, elements=row.evidence.wrong_elements, total=row.evidence.elements)
                row = replace(row, verdict=WRONG, finding=of_row, cause=one_sign.cause_of(of_row))  # noqa: PLW2901
        out.append(row)
    return [
        row for row in out if not (row.question.kind == Kind.SIGNS and (row.question.order, row.question.role) in told)
    ]


def _is_near(row: ReportRow, most: float) -> bool:
    """Whether a result is wrong by little, as by an epsilon."""
    e = row.evidence
    with np.errstate(all="ignore"):
        return e is not None and e.found.shape == e.expected.shape and bool(np.all(np.abs(e.found - e.expected) < most))


def _is_of_integers(row: ReportRow, context: CheckContext) -> bool:
    """Whether it is the integers, which have both signs, that a row is wrong for."""
    right, role = context.right("exact"), row.question.tensor
    expected = right.vjp(role) if row.question.order else right.value()
    assert row.evidence is not None
    return np.array_equal(row.evidence.expected, expected)


def added(
    trial: Trial,
    families: tuple[tuple[Kind, Ask], ...],
    rows: Sequence[ReportRow],
    on_progress: Callable[[str], Any],
    smaller: Trial | None = None,
) -> list[ReportRow]:
    """Return rows with those of these families of questions: in front where they explain the others, right ones at the end.

    Parameters
    ----------
    trial : Trial
        What is asked, and with which numbers.
    families : tuple of (Kind, callable)
        The families, each by the kind of its row where nothing is wrong.
    rows : sequence of ReportRow
        Of all other questions.
    on_progress : callable
        Called with the name of each family.
    smaller : Trial, optional
        The same with smaller arrays, for all families but memory.
    """
    is_of_before = any(isinstance(row.finding, OtherAfterOtherNumbers) for row in rows)
    if is_of_before or any(row.cause == Cause.NONDETERMINISTIC for row in rows):
        why = _asked(Kind.HISTORY, state.reasons, trial)
        # unwritten elements have what the call before left in the memory
        return [*(row for row in why if not is_of_before or row.question.kind == Kind.UNWRITTEN), *rows]
    more: list[ReportRow] = []
    for kind, ask in families:
        on_progress(wording.question(Question(kind, trial.value.role)))
        if kind == Kind.MEMORY or not _is_unreliable(more, kind):
            seen = {row.question for row in more}
            is_full = smaller is None or kind == Kind.MEMORY or (kind == Kind.THREADS and _is_compiled(trial.candidate))
            asked = _asked(kind, ask, trial if is_full else smaller)  # type: ignore[arg-type]
            if smaller is not None:
                asked = [_at_smaller_sizes(row) for row in asked]
            more += [row for row in asked if row.question not in seen]
    first = [row for row in more if row.cause in FIRST]
    if any(row.cause == Cause.INPUT_CHANGED for row in first):  # which torch refuses in many ways
        more = [row for row in more if not (isinstance(row.finding, Misread) and row.finding.raised)]
    wrong = [row for row in more if row.verdict == WRONG and row not in first]
    right = [row for row in more if row.verdict != WRONG]
    later = next((n for n, row in enumerate(rows) if row.question.kind in LATER), len(rows))
    return [*first, *rows[:later], *wrong, *rows[later:], *right]


def _asked(kind: Kind, ask: Ask, trial: Trial) -> list[ReportRow]:
    """Return the rows of a family of questions; of a candidate in another process, they are asked and compared there."""
    candidate = trial.candidate
    if not isinstance(candidate, IsolatedCandidate):
        return ask(trial)
    try:
        told = candidate.run(told_there, ask, replace(trial, right={}))
        return [ReportRow(*checked(fields, Question, Verdict, Proof)) for fields in told]
    except Exception as problem:  # noqa: BLE001 (the process ended, or what it says makes no sense)
        raised = Raised(caught(problem), again=True)
        return [ReportRow(Question(kind, trial.value.role), UNCHECKED, Proof.RAISED, raised)]


def _is_compiled(candidate: CandidateFunction) -> bool:
    """Whether threads meet by chance, which takes long calls."""
    if not isinstance(candidate, IsolatedCandidate):
        return thread_calls.is_compiled(candidate)
    try:
        return bool(candidate.run(thread_calls.is_compiled))
    except Exception:  # noqa: BLE001 (the process ended: who asks next says so)
        return False


def _takes(candidate: CandidateFunction, trial: Trial) -> bool:
    """Whether the candidate is right for the arrays of a trial: it may be made for other sizes."""
    try:
        found = {trial.value: candidate.value(trial.first)} | trial.ask_vjps(trial.first, trial.g)
    except Exception:  # noqa: BLE001 (whatever it raises)
        return False
    return all(
        (a := as_numpy(found.get(question))) is not None and np.array_equal(a, right)
        for question, right in trial.right.items()
    )


def _at_smaller_sizes(row: ReportRow) -> ReportRow:
    if isinstance(row.finding, AnyArrangement | AnySubset | AnyBatchAxis):
        return replace(row, finding=replace(row.finding, smaller=True))
    return row


def told_there(_: CandidateFunction, ask: Ask, trial: Trial) -> list[tuple[Any, ...]]:
    """Return the fields of rows, in the process of the candidate."""
    return [(row.question, row.verdict, row.how, row.finding, row.error, row.cause) for row in ask(trial)]


def _is_unreliable(rows: list[ReportRow], kind: Kind) -> bool:
    """Whether results depend on other calls, so that no comparison of two calls means anything; in threads, on any memory."""
    if kind == Kind.THREADS:
        return any(row.verdict == WRONG for row in rows)
    return any(row.question.kind in (Kind.HISTORY, Kind.UNWRITTEN) for row in rows)


def has_numbers(row: ReportRow) -> bool:
    """Whether there was a result of the right form."""
    return row.verdict in (RIGHT, IMPRECISE) or isinstance(
        row.finding, WrongElements | NotFinite | NotRepeatable | OtherAfterOtherNumbers
    )


def _trial(candidate: CandidateFunction, context: CheckContext, rows: Sequence[ReportRow]) -> Trial:
    p, arrays, other = context.problem, context.arrays["exact"], context.arrays["small"]
    by_name = {row.question.name: row for row in rows if row.question.kind == Kind.VJP and has_numbers(row)}
    vjps = {n: by_name[name].question for n, name in enumerate(p.names) if name in by_name}
    value = Question(Kind.VALUE, Role(p.result))
    wide = context.right("exact")
    answers: dict[Question, Callable[[], Any]] = {
        value: wide.value,
        **{q: functools.partial(wide.vjp, q.tensor) for q in vjps.values()},
    }
    verdicts = {
        (row.question.kind, row.question.name): row.verdict
        for row in rows
        if row.question.kind == Kind.VJP or row.question.is_plain_value
    }
    right = {q: p.user(q.tensor, answer()) for q, answer in answers.items() if verdicts.get((q.kind, q.name)) == RIGHT}
    ndims = {q: 1 if q.role == Role.BIAS else len(p.result_shape(q.tensor)) for q in (value, *vjps.values())}
    terms = max(p.terms(role) for role in "xwg")
    return Trial(
        candidate,
        p.names,
        value,
        vjps,
        [p.user(role, arrays.primals[role]) for role in p.roles],
        [p.user(role, arrays.tangents[role]) for role in p.roles],
        p.user(p.result, arrays.g),
        p.user(p.result, other.g),
        differ_as_integers,
        terms * max(math.prod(p.result_shape(role)) for role in "xwg"),
        is_convolution=True,
        has_jvp=are_right(rows, Kind.JVP),
        has_vmap=are_right(rows, Kind.VMAP),
        roles=tuple(map(Role, p.roles)),
        batch_axes=_batch_axes(p),
        ndims=ndims,
        right=right,
    )


def _batch_axes(p: ConvolutionProblem) -> dict[str, int]:
    """The axis of the samples of x and of the result, by their roles, and by the names of the arrays."""
    axes = {role: p.call.layout.letters(role).find("N") for role in "xg"}
    if p.result == "w" or min(axes.values()) < 0:
        return {}
    names = {name: axes[role] for role, name in zip(p.roles, p.names, strict=True) if role in axes}
    return {**names, **axes, COTANGENT: axes[p.result]}


def are_right(rows: Sequence[ReportRow], kind: Kind) -> bool:
    """Whether there are answers of this kind, and all are right."""
    verdicts = [row.verdict for row in rows if row.question.kind == kind]
    return bool(verdicts) and all(verdict in (RIGHT, IMPRECISE) for verdict in verdicts)
