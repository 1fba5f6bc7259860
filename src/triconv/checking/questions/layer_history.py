"""One layer step after step, as in training: what its results and its gradients take over from the step before.

A gradient may be assigned, or added to what its attribute holds. Nothing else is right: not a share of what was there, as of a
momentum, nor the larger of both. The gradient of the first step is so large that a share of a thousandth shows.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from triconv.checking.candidates.candidate import as_numpy
from triconv.checking.dtypes import BITS
from triconv.checking.findings.causes import Cause
from triconv.checking.findings.findings import Finding
from triconv.checking.findings.memory_findings import Carried, CarriedOver, EarlierAnswer, ResultOverwritten
from triconv.checking.findings.protocol import Kind, Question
from triconv.checking.verdicts.trial import CHEAP, COTANGENT, Results, Trial, copied, differ_by

Fault = tuple[Kind, Cause, Finding]
Step = tuple[Sequence[np.ndarray], np.ndarray]
"""The arrays and the cotangent of a step."""

LARGEST = 2.0**20
"""Factor of the first cotangent, where the dtype has room for it."""
FEW = 2
"""Steps of a layer whose calls take long."""
LOST = 12
"""Bits that rounding may take from a gradient, relative to its largest element."""
CAUSES = {Carried.EARLIER: Cause.STALE_CACHE, Carried.OTHER: Cause.CALL_COUNT}
"""Of the others, it is that something is added up."""


def faults(t: Trial) -> Iterator[Fault]:
    """Yield what a layer takes over from one step to the next."""
    if not t.candidate.keeps_state:
        return
    steps: list[Step] = [(t.first, t.g), (t.second, t.other_g), (t.first, t.g)]
    if t.size > CHEAP:
        del steps[FEW:]
    alone = [copied(t.ask_value(*step)) | (copied(t.ask_vjps(*step)) if t.vjps else {}) for step in steps]
    factor = _room(t, alone[0])
    history = t.candidate.in_turn([(t.first, factor * t.g), *steps[1:]])
    if history is None:
        return
    for number in history.overwritten:
        of = t.value if number is None else t.vjps.get(number)
        if of is not None:
            yield Kind.RESULTS, Cause.RESULT_OVERWRITTEN, ResultOverwritten(of, of)
    found = [copied({t.value: step.value} | t.by_question(step.gradients)) for step in history.steps]
    for question in t.vjps.values():
        if (first := alone[0][question]) is not None:
            alone[0][question] = factor * first
    grows = False
    for k in range(1, len(found)):
        grows = grows or history.steps[k].grows
        if grows:
            return  # it remembers inputs until it is told to forget them
        value = found[k][t.value]
        if t.different(value, alone[k][t.value]):
            old = _earlier(t, t.value, value, steps[k - 1], steps[k])
            if old is not None or not t.different(value, found[k - 1][t.value]):
                yield Kind.HISTORY, Cause.STALE_CACHE, old or CarriedOver(t.value, Carried.EARLIER)
            elif t.is_convolution and t.different(history.values[k], alone[k][t.value]):  # not as an update changes it
                yield Kind.HISTORY, Cause.CALL_COUNT, CarriedOver(t.value, Carried.OTHER)
            return
        for n, question in t.vjps.items():
            before, right, result = found[k - 1][question], alone[k][question], found[k][question]
            if before is None or right is None or result is None or before.shape != right.shape:
                continue
            is_added = bool(history.attributes[n]) or n >= (t.candidate.inputs or 0)
            if not t.different(result, right) or (is_added and not t.different(result, before + right)):
                continue
            if (old := _earlier(t, question, result, steps[k - 1], steps[k])) is not None:
                yield Kind.HISTORY, Cause.STALE_CACHE, old
                continue
            carried = replace(_carried(t, question, result, right, before), attribute=history.attributes[n])
            yield Kind.HISTORY, CAUSES.get(carried.how, Cause.ACCUMULATED), carried
    for start in history.starts:
        asked, gradient = t.vjps.get(start.n), as_numpy(start.gradient)
        right = None if asked is None else alone[-1][asked]
        if asked is None or gradient is None or right is None or gradient.shape != right.shape:
            continue
        if differ_by(2.0 ** (LOST - BITS[t.candidate.dtype]), gradient, right).any():
            yield Kind.HISTORY, Cause.ACCUMULATED, CarriedOver(asked, Carried.START, history.attributes[start.n])


def _room(t: Trial, results: Results) -> float:
    """Return the power of two by which the first cotangent may be multiplied, so that sums of both gradients are exact."""
    bits = BITS[t.candidate.dtype]
    if not t.is_convolution:  # whose results are compared by a share of the largest
        return min(LARGEST, 2.0 ** max(0, (bits - LOST) // 2))
    most = max(
        (float(np.abs(results[q]).max(initial=1)) for q in t.vjps.values() if results[q] is not None), default=1.0
    )
    return min(LARGEST, 2.0 ** max(0, bits - 1 - math.ceil(math.log2(max(most, 1.0)))))


def _earlier(t: Trial, question: Question, found: Any, old: Step, new: Step) -> EarlierAnswer | None:
    """Return the finding that a result is that of the numbers that one array had in the step before."""
    for n, name in enumerate((*t.names, COTANGENT) if question.order else t.names):
        arrays = [b if k == n else a for k, (a, b) in enumerate(zip(new[0], old[0], strict=True))]
        g = old[1] if name == COTANGENT else new[1]
        if not t.different(found, (t.ask_vjps if question.order else t.ask_value)(arrays, g)[question]):
            return EarlierAnswer(question, name)
    return None


def _carried(t: Trial, of: Question, found: np.ndarray, right: np.ndarray, before: np.ndarray) -> CarriedOver:
    """Return what a gradient takes over from what its attribute held."""
    if not t.different(found, before):
        return CarriedOver(of, Carried.EARLIER)
    parts = np.stack([before.ravel(), right.ravel()], axis=1)
    share, weight = (float(a) for a in np.linalg.lstsq(parts, found.ravel(), rcond=None)[0].real)
    if not t.different(found, right + share * before):
        return CarriedOver(of, Carried.SHARE, share=share)
    if t.different(found, weight * right) and not t.different(found, weight * right + share * before):
        return CarriedOver(of, Carried.WEIGHTED, share=share, weight=weight)
    if not t.different(found, np.maximum(before, right)):
        return CarriedOver(of, Carried.LARGER)
    if not t.different(found, np.minimum(before, right)):
        return CarriedOver(of, Carried.SMALLER)
    if not np.any(t.differ(found, right) & t.differ(found, right + before)):
        return CarriedOver(of, Carried.SOME)
    return CarriedOver(of, Carried.OTHER)
