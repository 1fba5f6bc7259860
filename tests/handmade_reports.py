"""Reports made by hand, of every kind of row."""

from __future__ import annotations

import numpy as np

from triconv.checking.findings.causes import Cause, Hypothesis
from triconv.checking.findings.diagnosis_data import Diagnosis
from triconv.checking.findings.evidence import Evidence
from triconv.checking.findings.exception_text import CaughtException
from triconv.checking.findings.findings import (
    EqualOnIntegers,
    FewerBits,
    Level,
    OracleResult,
    OracleStatus,
    WrongElements,
)
from triconv.checking.findings.protocol import (
    IMPRECISE,
    RIGHT,
    UNCHECKED,
    UNSUPPORTED,
    WRONG,
    Kind,
    Mode,
    Proof,
    Question,
    Transform,
)
from triconv.checking.findings.unanswered import NotSupported, Raised, Reason
from triconv.checking.reports.report import Report
from triconv.checking.reports.report_data import ReportRow

PROGRAM = "x = y[0]\nif x < 3 & 1:\n\tprint('" + "a" * 150 + "')"


def evidence(shape, *wrong, by=1, dtype=float, taps=()):
    expected = np.arange(np.prod(shape), dtype=dtype).reshape(shape)
    found = expected.copy()
    for index in wrong:
        found[index] += by
    at = wrong[0]
    return Evidence(at, expected[at], found[at], len(wrong), found.size, taps, expected, found)


TAPS = tuple(((n + 1, 0), (n, 0), (1, 0)) for n in range(8))
VALUE = Question(Kind.VALUE, "g")
BY_X = Question(Kind.VJP, "x", "x", 1, Transform.VJP)
BY_B = Question(Kind.VJP, "bias", "b", 1, Transform.VJP)
JVP = Question(Kind.JVP, "g", None, 1, Transform.JVP)


def wrong(question, *, error=None, finding=None, **more):
    finding = finding or WrongElements(Diagnosis(Cause.SIGN, Hypothesis.SIGN))
    return ReportRow(question, WRONG, Proof.EXACT, finding, error, Cause.SIGN, **more)


def raised(question, message):
    return ReportRow(question, UNCHECKED, Proof.RAISED, Raised(CaughtException("RuntimeError", message)))


def right(question, error=None):
    return ReportRow(question, RIGHT, Proof.EXACT, EqualOnIntegers(random=True), error)


PLANE = wrong(BY_X, error=2.5e6, evidence=evidence((2, 1, 3, 4), (1, 0, 2, 1), (1, 0, 2, 3), taps=TAPS))
LINE = wrong(BY_B, error=12.0, evidence=evidence((5,), (3,)))
COMPLEX = wrong(JVP, evidence=evidence((1, 1, 6), (0, 0, 4), by=3j, dtype=complex))
GOOD = right(VALUE, 0.123)
COARSE = ReportRow(
    Question(Kind.VALUE, "g", transform=Transform.JIT),
    IMPRECISE,
    Proof.PRECISION,
    FewerBits(Level.FLOAT32, 10, 53),
    812.0,
)
RAISED = raised(
    Question(Kind.SECOND_ORDER, "x", "x", 2, mode=Mode.REVERSE_OVER_REVERSE),
    "\x1b[31m[enforce fail]\x1b[0m x[0] & <b>no</b>",
)
NONE = ReportRow(Question(Kind.VMAP, "g", sample=0), UNSUPPORTED, Proof.NONE, NotSupported(Reason.RULES))
ROWS = (GOOD, COARSE, PLANE, LINE, COMPLEX, RAISED, NONE)


def report(*rows, **more):
    oracles = (OracleResult("torch [mine]", OracleStatus.CANNOT_EXPRESS),)
    more = {"oracles": oracles, "counterexample": PROGRAM, "versions": {"numpy": "2.0"}, **more}
    return Report("mine<1>", "conv2d", {"x": (2, 1, 3, 4)}, {"stride": 2}, "torch", "float32", rows, seed=7, **more)
