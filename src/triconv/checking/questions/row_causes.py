"""The causes of rows where other rows say more: those of a smaller case, and those before."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from triconv.checking.findings.causes import Cause
from triconv.checking.findings.diagnosis_data import Diagnosis
from triconv.checking.findings.findings import FewerBits, Finding, OnlyLater, WrongElements, WrongShape
from triconv.checking.findings.protocol import IMPRECISE, RIGHT, WRONG, Kind, Transform
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


def _is_as_narrow(row: ReportRow, finding: Finding) -> bool:
    """Whether each element of a result is the right one rounded to as few bits as a first derivative has."""
    if row.verdict != WRONG or row.evidence is None or not isinstance(finding, FewerBits):
        return False
    found, expected = row.evidence.found, row.evidence.expected
    bits = min([finding.bits, *(kept for _, kept in finding.operands)])
    return found.shape == expected.shape and bool(np.all(np.abs(found - expected) <= 2.0**-bits * np.abs(expected)))


def later_only(rows: list[ReportRow]) -> list[ReportRow]:
    """Return the rows with the cause of a wrong JVP or second order where VJPs before it are right, and nothing is wrong."""
    causes = {Kind.JVP: Cause.JVP_ONLY, Kind.SECOND_ORDER: Cause.SECOND_ORDER_ONLY}
    out, is_wrong_before, is_right_before = [], False, False
    narrow = next((r for r in rows if r.question.kind == Kind.VJP and isinstance(r.finding, FewerBits)), None)
    for row in rows:
        if row.question.kind in causes and narrow is not None and _is_as_narrow(row, narrow.finding):
            row = replace(row, verdict=IMPRECISE, how=narrow.how, finding=narrow.finding, cause=narrow.cause)  # noqa: PLW2901
        kind = row.question.kind
        is_right_before |= kind == Kind.VJP and row.verdict in (RIGHT, IMPRECISE)
        if row.verdict == WRONG and kind not in causes:
            is_wrong_before = True
        elif is_right_before and not is_wrong_before and isinstance(row.finding, WrongElements | WrongShape):
            row = replace(row, cause=causes[kind], finding=OnlyLater(kind, row.cause, row.finding))  # noqa: PLW2901
        out.append(row)
    return [_alone_only(row, rows) for row in out]


def _alone_only(row: ReportRow, rows: list[ReportRow]) -> ReportRow:
    """Return the row of a value; where it is right with a derivative, that comes first."""
    is_wrong = row.question.is_plain_value and row.verdict == WRONG and isinstance(row.finding, WrongElements)
    if not is_wrong or row.cause in (Cause.STALE_CACHE, Cause.CALL_COUNT):
        return row
    with_vjp = (r for r in rows if r.question.kind == Kind.VALUE and r.question.transform == Transform.VJP)
    if not any(r.verdict == RIGHT for r in with_vjp):
        return row
    assert isinstance(row.finding, WrongElements)
    return replace(row, cause=row.cause or Cause.OTHER_MODE, finding=OnlyLater(Kind.VALUE, row.cause, row.finding))
