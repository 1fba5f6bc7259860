"""The row of a wrong result: where it is wrong, and why, if that can be known."""

from __future__ import annotations

from typing import Any

import numpy as np

from triconv.checking.diagnosis import regions
from triconv.checking.diagnosis.diagnosis import diagnose
from triconv.checking.dtypes import ARITHMETIC
from triconv.checking.findings.causes import Cause, Hypothesis
from triconv.checking.findings.diagnosis_data import Diagnosis
from triconv.checking.findings.evidence import Evidence
from triconv.checking.findings.findings import (
    Finding,
    NotFinite,
    NotRepeatable,
    WrongElements,
)
from triconv.checking.findings.memory_findings import OtherAfterOtherNumbers
from triconv.checking.findings.protocol import (
    WRONG,
    Kind,
    Proof,
)
from triconv.checking.oracles import definition, wide_data
from triconv.checking.oracles.comparison import SAME, WrongResult
from triconv.checking.oracles.convolution import ConvolutionProblem
from triconv.checking.reports.report_data import ReportRow
from triconv.checking.verdicts import narrow_range, skipped, stale
from triconv.checking.verdicts.asking import ask_again, in_torch_order
from triconv.checking.verdicts.check_context import CheckContext
from triconv.checking.verdicts.probes import Probe

SHOWN_BY_INTEGERS = (
    Hypothesis.PARTS_LEFT_OUT,
    Hypothesis.PARTS_TWICE,
    Hypothesis.ONE_PART_ALONE,
    Hypothesis.OVERWRITTEN,
    Hypothesis.REDUCTION_CUT,
)
"""Mistakes that integers, which were right, show too: that they come with random numbers alone says that they come and go."""
CALLS_AGAIN = 4
"""Calls with the same arrays that may show that a mistake comes and goes."""
MOST_TAPS = 4096
"""Taps that are listed for one element."""

NOTHING = (
    Hypothesis.ZERO,
    Hypothesis.ZERO_VALUE,
    Hypothesis.FIRST_SAMPLE_SUMMED,
    Hypothesis.FIRST_SAMPLE_COMPUTED,
    Hypothesis.FIRST_GROUP_COMPUTED,
)
"""Hypotheses that say that something is left out."""


def wrong_row(
    context: CheckContext,
    probe: Probe,
    name: str,
    found: np.ndarray,
    expected: np.ndarray,
    ratio: float | None = None,
    out_of_bound: np.ndarray | None = None,
    diagnosis: Diagnosis | None = None,
) -> ReportRow:
    """Return the row for a wrong result for the arrays of this name: where, and why if no `diagnosis` says so."""
    question, bad = probe.question, ~np.isfinite(found)
    mask = bad if bad.any() else _where(context, probe, name, found, expected) if out_of_bound is None else out_of_bound
    index = tuple(map(int, np.unravel_index(int(mask.argmax()), mask.shape)))
    taps = _taps_at(context.problem, question.tensor, index)
    wrong = int(np.count_nonzero(mask))
    evidence = Evidence(index, expected[index], found[index], wrong, found.size, taps, expected, found)
    if bad.any():
        narrow = narrow_range.overflowed(probe.answer, context.right(name), context.dtype, found)
        where = None if narrow else regions.not_finite(compared(context, probe, name, found, expected))
        finding, cause = NotFinite(wrong, narrow, where), Cause.OVERFLOW if narrow else Cause.NOT_A_NUMBER
        return ReportRow(question, WRONG, Proof.NOT_FINITE, finding, ratio, cause, evidence)
    if diagnosis is None:
        is_rounded = out_of_bound is not None and ARITHMETIC[context.dtype].unit > SAME
        # what half width rounds is no part of where it is wrong
        few = is_rounded and wrong <= found.size / 2
        diagnosis = explained(context, probe, name, np.where(mask, found, expected) if few else found, expected, mask)
    diagnosis = _with_other_data(context, probe, name, diagnosis)
    if diagnosis.cause == Cause.NONE and context.thorough:
        arrays = context.arrays[name]
        earlier = [*context.arrays.all_drawn(), stale.ones_of(arrays)]
        kept = stale.explain(context.problem, question, probe.answer, arrays, earlier, found)
        if kept is not None:
            return ReportRow(question, WRONG, Proof.EXACT, kept, ratio, Cause.STALE_CACHE, evidence)
    spread = _spread(context, probe, name, found, expected, diagnosis)
    if spread is not None:
        why, cause = why_not_repeatable(context, probe, spread)
        return ReportRow(question, WRONG, Proof.RANDOM, why, ratio, cause, evidence)
    return ReportRow(question, WRONG, Proof.EXACT, WrongElements(diagnosis), ratio, diagnosis.cause, evidence)


def _where(context: CheckContext, probe: Probe, name: str, found: np.ndarray, expected: np.ndarray) -> np.ndarray:
    """Return which elements differ by more than a Fourier transform rounds; if none does, which differ."""
    large = compared(context, probe, name, found, expected).differs()
    return large if large.any() else found != expected


def _with_other_data(context: CheckContext, probe: Probe, name: str, diagnosis: Diagnosis) -> Diagnosis:
    """Return the diagnosis, or another one where other data contradict it."""
    is_zero = name == "exact" and diagnosis.hypothesis == Hypothesis.ZERO
    is_skipped = is_zero and context.thorough and skipped.gives_others(context, probe)
    if is_skipped or (name in wide_data.NAMES and diagnosis.hypothesis in NOTHING):
        return Diagnosis(Cause.ZERO, Hypothesis.SKIPPED)  # other data gave something
    if name in wide_data.NAMES and diagnosis.region is not None:  # which was right there for integers
        return Diagnosis(Cause.NONE, Hypothesis.UNEXPLAINED)
    return diagnosis


def _spread(
    context: CheckContext, probe: Probe, name: str, found: np.ndarray, expected: np.ndarray, diagnosis: Diagnosis
) -> float | None:
    """Return by how much the same call gives another result, if it does; asked where the diagnosis may come from that."""
    question = probe.question
    # what few bits make is of random numbers alone, what is left out is not
    is_new = name != "exact" and question.kind != Kind.REPEAT and diagnosis.hypothesis in SHOWN_BY_INTEGERS
    is_unclear = diagnosis.cause in (Cause.NONE, Cause.NOISE, Cause.BORDER_DROPPED) or diagnosis.region is not None
    for _ in range(CALLS_AGAIN if is_new else int(is_unclear)):
        again = ask_again(probe, context.arrays[name])
        if again is not None and again.shape == context.problem.user(question.tensor, found).shape:
            spread = float(np.abs(in_torch_order(context, probe, again) - found).max(initial=0))
            if spread > max(1e-3 * np.abs(expected).max(initial=0), 4 * np.finfo(np.float32).eps):
                return spread
    return None


def explained(
    context: CheckContext,
    probe: Probe,
    name: str,
    found: np.ndarray,
    expected: np.ndarray,
    wrong: np.ndarray | None = None,
) -> Diagnosis:
    """Explain a wrong result for the arrays of this name."""
    result = compared(context, probe, name, found, expected, wrong)
    return diagnose(result, thorough=context.thorough, earlier=context.earlier)


def compared(
    context: CheckContext,
    probe: Probe,
    name: str,
    found: np.ndarray,
    expected: np.ndarray,
    wrong: np.ndarray | None = None,
) -> WrongResult:
    """Return a result for the arrays of this name beside the right one, as a diagnosis reads them."""
    question = probe.question
    return WrongResult(
        context.problem, context.right(name), probe.answer, question.tensor, found, expected, question.is_value, wrong
    )


def why_not_repeatable(context: CheckContext, probe: Probe, spread: float) -> tuple[Finding, Cause]:
    """Say why the same numbers do not give the same result."""
    if stale.is_of_call_before(lambda name: ask_again(probe, context.arrays[name])):
        return OtherAfterOtherNumbers(), Cause.STALE_CACHE
    if stale.adds_up(lambda: ask_again(probe, context.arrays["random"])):
        return NotRepeatable(spread, adds_up=True), Cause.ACCUMULATED
    return NotRepeatable(spread), Cause.NONDETERMINISTIC


def _taps_at(problem: ConvolutionProblem, role: str, index: tuple[int, ...]) -> tuple[Any, ...]:
    """Return the ``(input, output, tap)`` positions that meet in an element of the derivative by `role`."""
    if role == "bias":
        return ()
    which = {"x": 0, "g": 1, "w": 2}[role]
    combined: list[Any] = [()]
    for axis, position in zip(problem.model.axes, index[2:], strict=True):
        meetings = definition.meetings_at(axis, which, position)
        combined = [(*before, m) for before in combined for m in meetings][:MOST_TAPS]
    return tuple(tuple(tuple(m[k] for m in at) for k in range(3)) for at in combined)
