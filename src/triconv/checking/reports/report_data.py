"""The content of a report, before it is printed or drawn: its rows, one per question, and the verdict."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, cast

from triconv.checking.findings.causes import Cause
from triconv.checking.findings.evidence import Evidence
from triconv.checking.findings.findings import Finding, OracleResult, SentBetweenDevices
from triconv.checking.findings.protocol import (
    IMPRECISE,
    RIGHT,
    UNCHECKED,
    UNSUPPORTED,
    WRONG,
    Kind,
    Proof,
    Question,
    Verdict,
    VerdictName,
)
from triconv.checking.findings.unanswered import Raised
from triconv.checking.reports import wording


@dataclass(frozen=True, slots=True)
class ReportRow:
    """One question and its answer.

    Parameters
    ----------
    question : Question
        What was asked.
    verdict : Verdict
        "right", "imprecise", "wrong", "unchecked", or "unsupported".
    how : Proof
        What proves it: "exact", "rounding", "norm-wise", "precision", "shape", "dtype", "raised", ...
    finding : Finding
        What was found.
    error : float, optional
        Largest error of random data over the bound of its rounding, where that was asked.
    cause : Cause
        Name of the hypothesis that explains a wrong result; "" if none does.
    evidence : Evidence, optional
        Where it is wrong.
    other_dtype : str
        The dtype of the result, if it is not that of the arrays.
    other_shape : tuple of int, optional
        The shape of the result, if it has other axes of length 1 than the array.
    """

    question: Question
    verdict: Verdict
    how: Proof
    finding: Finding
    error: float | None = None
    cause: Cause = Cause.NONE
    evidence: Evidence | None = None
    other_dtype: str = ""
    other_shape: tuple[int, ...] | None = None

    @property
    def what(self) -> str:
        """What was asked, in words: "value", "VJP of x", "second order of w (reverse over reverse)"."""
        return wording.question(self.question)

    @property
    def detail(self) -> str:
        """The finding in a sentence."""
        return wording.detail(self.finding, self.evidence)


@dataclass(frozen=True, slots=True)
class ReportData:
    """All that a check found.

    Parameters
    ----------
    candidate, like : str
        Names of what was checked and of the operator that it was compared with.
    shapes : dict of str to tuple of int
        Shapes of the arrays, by their names.
    params : dict
        Parameters of the operator.
    framework, dtype : str
        Whose arrays the candidate was given, and of which dtype.
    rows : tuple of ReportRow
        One per question.
    oracles : tuple of OracleResult
        What the frameworks' own gradients say of the same data.
    sent : tuple of SentBetweenDevices
        What devices send each other, for a candidate on a mesh.
    counterexample : str
        A program that shows the fault without triconv; "" if there is none.
    versions : dict of str to str
        Of triconv, Python and the libraries.
    seed : int
        Of the data.
    date : str
        When it was made, in UTC.
    command : str
        The command line that made it; "" if it was a call in Python.
    """

    candidate: str
    like: str
    shapes: dict[str, tuple[int, ...]]
    params: dict[str, Any]
    framework: str
    dtype: str
    rows: tuple[ReportRow, ...]
    oracles: tuple[OracleResult, ...] = ()
    sent: tuple[SentBetweenDevices, ...] = ()
    counterexample: str = ""
    versions: dict[str, str] = field(default_factory=dict)
    seed: int = 0
    date: str = field(default_factory=lambda: f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC", compare=False)
    command: str = field(default="", compare=False)

    @property
    def verdict(self) -> VerdictName:
        """One of "right", "imprecise", "wrong" and "unchecked"."""
        verdicts = {row.verdict for row in self.rows}
        order = (WRONG, UNCHECKED, IMPRECISE, RIGHT)
        return cast("VerdictName", next((verdict for verdict in order if verdict in verdicts), UNCHECKED))

    @property
    def ok(self) -> bool:
        """Whether the verdict is "right"."""
        return self.verdict == RIGHT

    def __bool__(self) -> bool:
        return self.ok

    @property
    def cause(self) -> Cause:
        """Name of the hypothesis that explains the first wrong row; "" if there is none."""
        return next((row.cause for row in self.rows if row.verdict == WRONG), Cause.NONE)

    @property
    def first_failed(self) -> ReportRow | None:
        """The first wrong row that has evidence."""
        return next((row for row in self.rows if row.verdict == WRONG and row.evidence is not None), None)

    @property
    def deciding(self) -> ReportRow | None:
        """The first row with the verdict of the report: the summary is about it."""
        return next((row for row in self.rows if row.verdict == self.verdict), None)

    @property
    def made_by(self) -> str:
        """The command line, or the call, that made the report."""
        return self.command or wording.call(
            self.candidate, self.like, tuple(self.shapes.values()), self.params, self.framework, self.dtype, self.seed
        )

    @property
    def traceback(self) -> str:
        """The traceback of the first answer that is an exception, from the user's own code on; "" if there is none."""
        raised = (row.finding.exception for row in self.rows if isinstance(row.finding, Raised))
        return next((exception.traceback for exception in raised if exception.traceback), "")

    @property
    def summary(self) -> str:
        """The verdict in one sentence."""
        row = self.deciding
        return wording.summary(
            self.verdict,
            self.candidate,
            self.like,
            asked=sum(row.verdict == RIGHT for row in self.rows),
            first=row.what if row is not None else "",
            first_detail=row.detail if row is not None else "",
            unjudged=tuple(
                row.what for row in self.rows if row.question.kind == Kind.VJP and row.verdict == UNSUPPORTED
            ),
        )

    @property
    def witnesses(self) -> tuple[str, ...]:
        """What the frameworks' own gradients say of the same data, and what devices send each other, in sentences."""
        return (*map(wording.oracle, self.oracles), *map(wording.sent, self.sent))
