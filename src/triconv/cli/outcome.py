"""What came out of one problem of a manifest."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from triconv.checking.findings.protocol import Verdict
from triconv.cli.manifest import Entry


@dataclass(frozen=True)
class Outcome:
    """What came out of a problem.

    Parameters
    ----------
    problem : Entry
        The problem.
    verdict : Verdict
        That of its report; "unchecked" where there is none.
    summary, cause : str
        In a sentence, and the name of the mistake.
    seconds : float
        How long it took.
    report : dict, optional
        The report, as its JSON has it.
    text : str
        The report, as it is printed.
    """

    problem: Entry
    verdict: Verdict
    summary: str
    cause: str = ""
    seconds: float = 0.0
    report: dict[str, Any] | None = None
    text: str = ""
