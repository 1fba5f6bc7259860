"""The row that says so where no derivative was judged: a right value alone is not "right"."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from triconv.checking.candidates.candidates import CandidateFunction
from triconv.checking.findings.protocol import RIGHT, UNCHECKED, UNSUPPORTED, Kind, Proof, Question, Role
from triconv.checking.findings.unanswered import Advice, NoDerivative, NotSupported
from triconv.checking.reports.report_data import ReportRow


def no_derivative(rows: Sequence[ReportRow], candidate: CandidateFunction, result: Role | None) -> Iterator[ReportRow]:
    """Yield a row that says so where the value is right and no derivative was judged.

    Parameters
    ----------
    rows : sequence of ReportRow
        All others.
    candidate : CandidateFunction
        What was checked.
    result : Role, optional
        Which tensor its result is.
    """
    if {row.verdict for row in rows} - {RIGHT, UNSUPPORTED}:
        return
    derivatives = [row for row in rows if row.question.is_derivative]
    if any(row.verdict == RIGHT for row in derivatives):
        return
    advice, reason = Advice.NONE, None
    if candidate.has_rules:
        advice = Advice.COMPLETE_RULES
    elif not candidate.differentiates:
        advice = Advice.USE_RULES
    else:
        reason = next((row.finding for row in derivatives if isinstance(row.finding, NotSupported)), None)
    finding = NoDerivative(advice, candidate.backend.name, reason)
    yield ReportRow(Question(Kind.DERIVATIVES, result), UNCHECKED, Proof.NOT_ASKED, finding)
