"""The rows of the plain questions of a convolution: what has right answers, and what needs none."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

from triconv.checking.candidates.candidates import CandidateFunction
from triconv.checking.dtypes import INTEGERS
from triconv.checking.findings.causes import Cause
from triconv.checking.findings.protocol import IMPRECISE, RIGHT, UNCHECKED, WRONG, Kind, Proof
from triconv.checking.questions import homogeneity, not_finite
from triconv.checking.reports import wording
from triconv.checking.reports.report_data import ReportRow
from triconv.checking.verdicts.check_context import CheckContext
from triconv.checking.verdicts.judge import judge
from triconv.checking.verdicts.probes import probes

OnProgress = Callable[[str], Any]


def rows(candidate: CandidateFunction, context: CheckContext, on_progress: OnProgress) -> Iterator[ReportRow]:
    """Yield the row of every plain question, the value first.

    Parameters
    ----------
    candidate : CandidateFunction
        The candidate.
    context : CheckContext
        The arrays of the check.
    on_progress : callable
        Called with the name of each question before it is asked.
    """
    held: list[ReportRow] = []
    before: list[ReportRow] = []
    is_right = True
    for probe in probes(candidate, context.problem, context.dtype):
        question = probe.question
        on_progress(wording.question(question))
        row = judge(context, probe)
        if question.is_plain_value:
            is_right = row.verdict != WRONG
            held.append(row)
            if row.verdict == UNCHECKED:
                yield row
                return
            continue
        if row.how == Proof.RAISED and row.verdict == UNCHECKED and is_right and question.kind != Kind.REPEAT:
            # `unsupported.py` recognises what the candidate does not have: this it has, and it does not work
            row = replace(row, verdict=WRONG, cause=Cause.RAISED)
        held.append(row)
        # "run to run" comes before the value if it fails: no other answer means anything then
        before += held if row.verdict != WRONG or row.cause != Cause.NONDETERMINISTIC else reversed(held)
        yield from before[len(before) - len(held) :]
        held = []
    yield from held
    before += held
    yield from _without_oracle(candidate, context, before, on_progress)


def _without_oracle(
    candidate: CandidateFunction, context: CheckContext, before: list[ReportRow], on_progress: OnProgress
) -> Iterator[ReportRow]:
    """Yield rows for what needs no right answers: homogeneity, and how far a NaN or an infinity spreads."""
    if any(row.cause == Cause.NONDETERMINISTIC for row in before):
        return
    unexplained = (Cause.NONE, Cause.NOISE)  # what a wrong result looks like when it is scaled may name it
    failed = {
        row.question
        for row in before
        if row.verdict not in (RIGHT, IMPRECISE) and (row.verdict != WRONG or row.cause not in unexplained)
    }
    p, dtype = context.problem, context.dtype
    on_progress("negated and scaled")
    scaled = list(homogeneity.rows(candidate, p, dtype, precision=context.precision, seed=context.seed, without=failed))
    yield from scaled
    failed |= homogeneity.answers_of(scaled)  # what is clipped is not infinite, either
    if dtype not in INTEGERS:
        on_progress("NaN and infinity")
        yield from not_finite.rows(candidate, p, dtype, failed)
