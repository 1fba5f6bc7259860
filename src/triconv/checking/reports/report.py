"""`Report`, the answer of `triconv.check`: print it, look at its verdict, or save it as JSON or HTML."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from triconv.checking.findings.exception_text import one_line
from triconv.checking.reports.json_report import as_dict
from triconv.checking.reports.report_data import ReportData


@dataclass(frozen=True, slots=True)
class Report(ReportData):
    """The answer of `triconv.check`; print it, look at `ok`, which is also its truth value, or save it.

    Attributes
    ----------
    verdict : str
        One of "right", "imprecise", "wrong" and "unchecked".
    ok : bool
        Whether the verdict is "right".
    cause : str
        Name of the hypothesis that explains the first wrong row; "" if there is none.
    rows : tuple of ReportRow
        One per question: ``what`` was asked, ``verdict``, ``how``, ``detail``, ``cause``, ``error`` over its bound, and the
        same as typed data: ``question``, ``finding`` and ``evidence``.
    """

    def raise_if_failed(self) -> Report:
        """Raise `AssertionError` with the report unless it is `ok`; otherwise return it."""
        if not self.ok:
            msg = f"{self.summary}\n\n{self}"
            raise AssertionError(msg)
        return self

    def to_dict(self) -> dict[str, Any]:
        """Return all of it in plain Python, for JSON."""
        return as_dict(self)

    def to_json(self, path: str | os.PathLike[str]) -> None:
        """Write it as JSON."""
        Path(path).write_text(json.dumps(self.to_dict(), indent=2, allow_nan=False) + "\n", encoding="utf-8")

    def to_html(self, path: str | os.PathLike[str]) -> None:
        """Write it as one HTML file, which needs no network."""
        from triconv.checking.reports import html_report  # which loads rich: only where something is shown

        Path(path).write_text(html_report.page(self), encoding="utf-8")

    def _repr_html_(self) -> str:
        from triconv.checking.reports import html_report

        return html_report.fragment(self)

    def __repr__(self) -> str:
        from triconv.checking.reports import text_report

        lines = (
            self.summary,
            f"{text_report.data(self)}; {len(self.rows)} answers: print it, or see to_html and to_json",
        )
        return "\n".join(one_line(text_report.without_escapes(line)) for line in lines)

    def __str__(self) -> str:
        from triconv.checking.reports import text_report

        return text_report.text(self)
