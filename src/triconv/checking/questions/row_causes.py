"""The causes of rows where other rows say more: those of a smaller case, and those before."""

from __future__ import annotations

from dataclasses import replace

from triconv.checking.findings.causes import Cause, Diagnosis
from triconv.checking.findings.findings import OnlyLater, WrongElements, WrongShape
from triconv.checking.findings.protocol import IMPRECISE, RIGHT, WRONG, Kind
from triconv.checking.reports.report_data import ReportRow


def explained(row: ReportRow, smaller: ReportRow | None) -> ReportRow:
    """Return the row with the cause that was found for a smaller case."""
    if row.verdict != WRONG or smaller is None or smaller.evidence is None or not smaller.cause:
        return row
    if isinstance(row.finding, WrongElements) and isinstance(smaller.finding, WrongElements):
        own, other = row.finding.diagnosis, smaller.finding.diagnosis
        if _is_of_size(own, smaller.cause) or (own.region is not None and other.region is not None):
            return row
    return replace(row, cause=smaller.cause, finding=smaller.finding)


def _is_of_size(own: Diagnosis, smaller: Cause) -> bool:
    """Whether a smaller case shows less: the fault is at the edge of a tile, or it leaves nothing right there."""
    if own.cause in (Cause.TILE_EDGE, Cause.LARGE_INDICES):
        return True
    nothing = (Cause.ZERO, Cause.DETACHED, Cause.EMPTY)
    return own.cause not in (Cause.NONE, *nothing) and smaller in nothing


def later_only(rows: list[ReportRow]) -> list[ReportRow]:
    """Return the rows with the cause of a wrong JVP or second order where VJPs before it are right, and nothing is wrong."""
    causes = {Kind.JVP: Cause.JVP_ONLY, Kind.SECOND_ORDER: Cause.SECOND_ORDER_ONLY}
    out, is_wrong_before, is_right_before = [], False, False
    for row in rows:
        kind = row.question.kind
        is_right_before |= kind == Kind.VJP and row.verdict in (RIGHT, IMPRECISE)
        if row.verdict == WRONG and kind not in causes:
            is_wrong_before = True
        elif is_right_before and not is_wrong_before and isinstance(row.finding, WrongElements | WrongShape):
            row = replace(row, cause=causes[kind], finding=OnlyLater(kind, row.cause, row.finding))  # noqa: PLW2901
        out.append(row)
    return out
