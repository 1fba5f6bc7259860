"""A report as JSON: numbers as numbers, null for what is unknown, and each question and finding by its fields."""

from __future__ import annotations

import dataclasses
import math
from enum import StrEnum
from typing import Any, get_args

import numpy as np

from triconv.checking.findings.findings import Finding
from triconv.checking.reports.report_data import ReportData, ReportRow

FINDINGS = get_args(Finding)
"""Their classes; the name of each is part of the JSON."""


def as_dict(report: ReportData) -> dict[str, Any]:
    """Return a report in plain Python.

    Parameters
    ----------
    report : ReportData
        The report.

    Returns
    -------
    dict
        Sentences (``summary``, ``what``, ``detail``, ``witnesses``) are for people; the fields next to them say the same to
        programs: ``question`` and ``finding`` of a row, ``oracles`` and ``sent``. A complex number is a dict of its two
        parts; one that is not finite, which JSON does not have, is the string "nan", "inf" or "-inf".
    """
    return {
        "verdict": str(report.verdict),
        "summary": report.summary,
        "cause": report.cause.value,
        "candidate": report.candidate,
        "like": report.like,
        "shapes": plain(report.shapes),
        "params": plain(report.params),
        "framework": report.framework,
        "dtype": report.dtype,
        "seed": report.seed,
        "date": report.date,
        "made_by": report.made_by,
        "rows": [_row(row) for row in report.rows],
        "witnesses": list(report.witnesses),
        "oracles": plain(report.oracles),
        "sent": plain(report.sent),
        "counterexample": report.counterexample,
        "versions": report.versions,
    }


def _row(row: ReportRow) -> dict[str, Any]:
    e = row.evidence
    error = None if row.error is None or not np.isfinite(row.error) else float(row.error)
    return {
        "what": row.what,
        "question": plain(row.question),
        "verdict": row.verdict.value,
        "how": row.how.value,
        "detail": row.detail,
        "cause": row.cause.value,
        "finding": plain(row.finding),
        "error_over_bound": error,
        "evidence": e
        and {
            "index": plain(e.index),
            "expected": plain(e.expected_value),
            "found": plain(e.found_value),
            "wrong_elements": e.wrong_elements,
            "elements": e.elements,
            "taps": [dict(zip(("input", "output", "tap"), plain(tap), strict=True)) for tap in e.taps],
        },
    }


def plain(value: Any) -> Any:
    """Return a value as JSON has it; what JSON has no word for as its string."""
    if isinstance(value, StrEnum):
        return value.value
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, np.generic):
        return plain(value.item())
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, complex):
        return {"real": plain(value.real), "imag": plain(value.imag)}
    if isinstance(value, dict):
        return {str(key): plain(part) for key, part in value.items()}
    if isinstance(value, (tuple, list)):
        return [plain(part) for part in value]
    if dataclasses.is_dataclass(value):
        fields = {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
        return {"type": type(value).__name__, **fields} if isinstance(value, FINDINGS) else fields
    return str(value)
