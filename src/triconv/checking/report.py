"""What a check found: `Row`, one question and its answer, and `Report`, all of them and the verdict."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

RIGHT, IMPRECISE, WRONG, UNCHECKED = "right", "imprecise", "wrong", "unchecked"
NOT_OFFERED = "unsupported"
"""Of a row: the candidate has no such derivative or transform, which is no fault."""

EXIT_STATUS = {RIGHT: 0, IMPRECISE: 1, WRONG: 1, UNCHECKED: 2}


@dataclass(frozen=True, slots=True)
class Evidence:
    """Where a result is wrong: the first index, what was expected and found there, and the arrays for a picture.

    `expected` and `found` are in torch's order, of integer data unless only random data shows it; `taps` are the
    ``(input, output, tap)`` positions that meet in the element.
    """

    index: tuple[int, ...]
    expected_value: Any
    found_value: Any
    wrong_elements: int
    elements: int
    taps: tuple[tuple[tuple[int, ...], ...], ...]
    expected: np.ndarray = field(repr=False, compare=False)
    found: np.ndarray = field(repr=False, compare=False)


@dataclass(frozen=True, slots=True)
class Row:
    """One question and its answer.

    Parameters
    ----------
    what : str
        What was asked, such as "value", "VJP of x", "second order of w (reverse over reverse)".
    verdict : str
        "right", "imprecise", "wrong", "unchecked", or "unsupported".
    how : str
        What proves it: "exact", "rounding", "norm-wise", "precision", "shape", "dtype", "raised", ...
    detail : str
        The sentence that says it.
    error : float, optional
        Largest error of random data over the bound of its rounding, where that was asked.
    cause : str
        Name of the hypothesis that explains a wrong result; "" if none does.
    evidence : Evidence, optional
        Where it is wrong.
    """

    what: str
    verdict: str
    how: str
    detail: str = ""
    error: float | None = None
    cause: str = ""
    evidence: Evidence | None = None


@dataclass(frozen=True, slots=True)
class Report:
    """The answer of `triconv.check`; print it, look at `ok`, which is also its truth value, or save it.

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
    rows : tuple of Row
        One a question.
    witnesses : tuple of str
        What the frameworks' own gradients say of the same data, one sentence each.
    counterexample : str
        A program that shows the fault without triconv; "" if there is none.
    versions : dict of str to str
        Of the libraries.
    seed : int
        Of the data.
    """

    candidate: str
    like: str
    shapes: dict[str, tuple[int, ...]]
    params: dict[str, Any]
    framework: str
    dtype: str
    rows: tuple[Row, ...]
    witnesses: tuple[str, ...] = ()
    counterexample: str = ""
    versions: dict[str, str] = field(default_factory=dict)
    seed: int = 0

    @property
    def verdict(self) -> str:
        """One of "right", "imprecise", "wrong" and "unchecked"."""
        found = {row.verdict for row in self.rows}
        order = (WRONG, UNCHECKED, IMPRECISE, RIGHT)
        return next((verdict for verdict in order if verdict in found), UNCHECKED)

    @property
    def ok(self) -> bool:
        """Whether the verdict is "right"."""
        return self.verdict == RIGHT

    def __bool__(self) -> bool:
        return self.ok

    @property
    def cause(self) -> str:
        """Name of the hypothesis that explains the first wrong row; "" if there is none."""
        return next((row.cause for row in self.rows if row.verdict == WRONG), "")

    @property
    def summary(self) -> str:
        """The verdict in one sentence."""
        row = next((row for row in self.rows if row.verdict == self.verdict), None)
        if row is None:
            return f"{self.verdict}: {self.candidate}: nothing could be asked"
        if self.verdict == RIGHT:
            asked = sum(row.verdict == RIGHT for row in self.rows)
            return f"right: {self.candidate} computes what {self.like} does ({asked} questions)"
        return f"{self.verdict}: {self.candidate}, {row.what}" + (f": {row.detail}" if row.detail else "")

    def raise_if_failed(self) -> Report:
        """Raise `AssertionError` with the report unless it is `ok`; otherwise give it back."""
        if not self.ok:
            raise AssertionError(str(self))
        return self

    def to_dict(self) -> dict[str, Any]:
        """All of it in plain Python, for JSON."""
        rows = []
        for row in self.rows:
            evidence = row.evidence and {
                "index": list(row.evidence.index),
                "expected": str(row.evidence.expected_value),
                "found": str(row.evidence.found_value),
                "wrong_elements": row.evidence.wrong_elements,
                "elements": row.evidence.elements,
            }
            error = None if row.error is None or not np.isfinite(row.error) else float(row.error)
            told = {"what": row.what, "verdict": row.verdict, "how": row.how, "detail": row.detail, "cause": row.cause}
            rows.append({**told, "error_over_bound": error, "evidence": evidence})
        return {
            "verdict": self.verdict,
            "summary": self.summary,
            "cause": self.cause,
            "candidate": self.candidate,
            "like": self.like,
            "shapes": {name: list(shape) for name, shape in self.shapes.items()},
            "params": {name: str(value) for name, value in self.params.items()},
            "framework": self.framework,
            "dtype": self.dtype,
            "seed": self.seed,
            "rows": rows,
            "witnesses": list(self.witnesses),
            "counterexample": self.counterexample,
            "versions": self.versions,
        }

    def to_json(self, path: Any) -> None:
        """Write it as JSON."""
        Path(path).write_text(json.dumps(self.to_dict(), indent=2) + "\n", encoding="utf-8")

    def to_html(self, path: Any) -> None:
        """Write it as one HTML file, which needs no network."""
        from triconv.checking import pages

        Path(path).write_text(pages.page(self), encoding="utf-8")

    def _repr_html_(self) -> str:
        from triconv.checking import pages

        return pages.fragment(self)

    def __str__(self) -> str:
        from triconv.checking import terminal

        return terminal.text(self)
