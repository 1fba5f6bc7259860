"""Departures from an operator that are meant: rows with a declared cause are right."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from triconv.backends import to_numpy
from triconv.checking.candidates.candidates import CandidateFunction
from triconv.checking.findings.causes import Cause
from triconv.checking.findings.findings import Declared
from triconv.checking.findings.protocol import IMPRECISE, RIGHT, UNSUPPORTED, WRONG, Kind, Proof, Role
from triconv.checking.findings.unanswered import NotSupported, Reason
from triconv.checking.reports.report_data import ReportRow
from triconv.checking.verdicts.check_context import CheckContext

FEEDBACK = "feedback alignment"
"""The VJP of x by another array than the kernel."""
PRODUCTS = {"int8 products": 0.05, "fp8 products": 0.15}
"""Largest error, over the largest element, of what is computed with operands of 8 bits."""


def check_names(meant: tuple[str, ...]) -> None:
    """Raise unless each is the name of a cause, or of another departure.

    Raises
    ------
    ValueError
        If one is not.
    """
    known = [cause.value for cause in Cause if cause] + [FEEDBACK, *PRODUCTS]
    for name in meant:
        if name not in known:
            msg = f"`meant` must be causes: {', '.join(map(repr, known))}; got {name!r}"
            raise ValueError(msg)


def apply(
    rows: list[ReportRow], meant: tuple[str, ...], candidate: CandidateFunction, context: CheckContext
) -> list[ReportRow]:
    """Return the rows, with those that show what is meant as right, and what follows from that as not supported.

    Second derivatives are those of the rule that departs, so they are no evidence for or against it.

    Parameters
    ----------
    rows : list of ReportRow
        The rows of a check.
    meant : tuple of str
        Names of departures.
    candidate : CandidateFunction
        It is asked whether it is feedback alignment, if that is meant.
    context : CheckContext
        Whose arrays it is asked of.
    """
    if FEEDBACK in meant and not _is_feedback(candidate, context):
        meant = tuple(name for name in meant if name != FEEDBACK)
    out, departs = [], False
    for row in rows:
        name = _declared(row, meant)
        if name:
            departs = True
            out.append(replace(row, verdict=RIGHT, finding=Declared(name), cause=Cause.NONE, evidence=None))
        elif departs and row.verdict == WRONG and row.question.kind == Kind.SECOND_ORDER:
            finding = NotSupported(Reason.DECLARED)
            out.append(
                replace(row, verdict=UNSUPPORTED, how=Proof.NONE, finding=finding, cause=Cause.NONE, evidence=None)
            )
        else:
            out.append(row)
    return out


def _declared(row: ReportRow, meant: tuple[str, ...]) -> str:
    """Return the declared name of what a wrong row shows; "" if there is none."""
    if row.verdict not in (WRONG, IMPRECISE):
        return ""
    if row.cause and row.cause in meant:
        return str(row.cause)
    e = row.evidence
    of_vjp = row.question.kind == Kind.VJP and e is not None
    without_oracle = row.question.kind in (Kind.HOMOGENEITY, Kind.NAN, Kind.INFINITY)
    if FEEDBACK in meant and row.question.role == Role.X and row.question.order and (of_vjp or without_oracle):
        return FEEDBACK
    for name, allowed in PRODUCTS.items():
        if name in meant and (row.verdict == IMPRECISE or without_oracle):  # integers clip, round, and have no NaN
            return name
        if name in meant and e is not None and e.expected.shape == e.found.shape:
            size = float(np.abs(e.expected).max(initial=0))
            if np.abs(e.found - e.expected).max(initial=0) <= allowed * size:
                return name
    return ""


def _is_feedback(candidate: CandidateFunction, context: CheckContext) -> bool:
    """Whether the VJP of x is linear in the cotangent and does not depend on the kernel."""
    p, arrays = context.problem, context.arrays["exact"]
    primals, others = ([p.user(role, of[role]) for role in p.roles] for of in (arrays.primals, arrays.tangents))
    n, g = p.roles.index("x"), p.user(p.result, arrays.g)
    try:
        one, two, of_other = (
            np.asarray(to_numpy(candidate.vjp(given, ct, n)), np.float64)
            for given, ct in ((primals, g), (primals, 2 * g), ([primals[0], *others[1:]], g))
        )
    except Exception:  # noqa: BLE001 (it has no such VJP)
        return False
    return bool(np.allclose(one, of_other)) and bool(np.allclose(2 * one, two))
