"""Derivatives by some arrays alone, and `vmap` over some alone: a rule that is right for all at once may be wrong there."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from triconv.checking.candidates.candidate import as_numpy
from triconv.checking.candidates.candidates import Unsupported
from triconv.checking.candidates.unsupported import is_of_pallas
from triconv.checking.findings.causes import Cause
from triconv.checking.findings.exception_text import one_line
from triconv.checking.findings.memory_findings import AnyBatchAxis, AnySubset, WrongAlone, WrongBatchAxis
from triconv.checking.findings.protocol import RIGHT, WRONG, Kind, Proof, Question, Transform
from triconv.checking.reports.report_data import ReportRow
from triconv.checking.verdicts.trial import Results, Trial

MOST_ARRAYS = 4
"""Arrays of which every subset is tried; of more, each alone and all but each."""


def rows(trial: Trial) -> list[ReportRow]:
    """Return the rows of derivatives that are wrong by some arrays alone, or one row where none is."""
    if not trial.candidate.differentiates or len(trial.names) < 2:
        return []
    out: dict[Question, ReportRow] = {}
    tried = 0
    for question, finding in itertools.chain(_vjps(trial), _jvps(trial)):
        tried += 1
        if finding is not None and question not in out:
            out[question] = ReportRow(question, WRONG, Proof.EXACT, finding, cause=Cause.ALONE)
    if not tried:
        return []
    question = Question(Kind.SUBSETS, trial.value.role)
    return list(out.values()) or [ReportRow(question, RIGHT, Proof.EXACT, AnySubset(tried))]


def _vjps(t: Trial) -> Iterator[tuple[Question, WrongAlone | None]]:
    """Yield what is found for each set of arrays that require a gradient, and the VJP that it is about."""
    if len(t.vjps) < len(t.names):
        return
    try:
        t.candidate.vjps_of(t.first, t.g, [True] * len(t.names))
        together = t.ask_vjps(t.first, t.g)
    except Exception:  # noqa: BLE001 (it writes into its arrays, which is said elsewhere)
        return
    every = len(t.names)
    for count in range(1, every) if every <= MOST_ARRAYS else (1, every - 1):
        for some in itertools.combinations(range(len(t.names)), count):
            names = tuple(t.names[n] for n in some)
            alone: Results = {}
            raised = ""
            try:
                t.calls += 1
                gradients = t.candidate.vjps_of(t.first, t.g, [n in some for n in range(len(t.names))])
                alone = {t.vjps[n]: gradients[n] for n in some}
            except Unsupported:
                continue
            except Exception as problem:  # noqa: BLE001 (whatever the candidate raises is reported)
                if is_of_pallas(problem):
                    continue
                raised = f"{type(problem).__name__}: {one_line(problem)}"
            for n in some:
                q = t.vjps[n]
                question = Question(Kind.SUBSETS, q.role, q.name, 1, Transform.VJP)
                is_wrong = bool(raised) or t.different(alone[q], together[q])
                yield question, WrongAlone(names, raised) if is_wrong else None
                if raised:
                    break


def _jvps(t: Trial) -> Iterator[tuple[Question, WrongAlone | None]]:
    """Yield what is found for the JVP along each array alone, against that with tangents of zeros for the others."""
    if not t.has_jvp:
        return
    for n, name in enumerate(t.names):
        tangents = [a if k == n else np.zeros_like(a) for k, a in enumerate(t.second)]
        question = Question(Kind.SUBSETS, t.value.role, name, 1, Transform.JVP)
        try:
            t.calls += 2
            together = t.candidate.jvp(t.first, tangents)
        except Exception:  # noqa: BLE001 (it may refuse such tangents)
            continue
        try:
            alone = t.candidate.jvp_of(t.first, t.second, n)
        except Unsupported:
            continue
        except Exception as problem:  # noqa: BLE001
            if is_of_pallas(problem):
                continue
            yield question, WrongAlone((name,), f"{type(problem).__name__}: {one_line(problem)}")
            continue
        yield question, WrongAlone((name,)) if t.different(alone, together) else None


def batched_rows(trial: Trial) -> list[ReportRow]:
    """Return the row of `vmap` over some arrays alone and along other axes."""
    if not trial.has_vmap:
        return []
    question, tried = Question(Kind.BATCHED, trial.value.role), 0
    for in_axes in _choices(trial):
        try:
            found = _wrong_sample(trial, in_axes)
        except Unsupported:
            continue
        except Exception as problem:  # noqa: BLE001 (whatever the candidate raises is reported)
            found = WrongBatchAxis(in_axes, 0, f"{type(problem).__name__}: {one_line(problem)}")
        tried += 1
        if found is not None:
            return [ReportRow(question, WRONG, Proof.EXACT, found, cause=Cause.BATCH_AXIS)]
    with contextlib.suppress(Exception):  # it may have no such derivative
        if (wrong := _wrong_gradients(trial)) is not None:
            return [wrong]
    return [ReportRow(question, RIGHT, Proof.EXACT, AnyBatchAxis(tried))] if tried else []


def _wrong_gradients(t: Trial) -> ReportRow | None:
    """The row of gradients per sample that are others than those of each sample alone: the first array has an axis more."""
    if len(t.vjps) < len(t.names) or not t.candidate.differentiates:
        return None
    # JAX takes a compilation for its own rules
    if t.candidate.backend.name == "jax" and not t.candidate.has_batching_rules(t.first, t.g):
        return None
    in_axes: tuple[int | None, ...] = (0, *[None] * (len(t.names) - 1))
    given = [np.stack([t.first[0], t.second[0]]), *t.first[1:]]
    t.calls += 1
    gradients = t.candidate.vmapped_vjps(given, np.stack([t.g, t.other_g]), in_axes)
    for sample, (x, g) in enumerate(((t.first[0], t.g), (t.second[0], t.other_g))):
        for question, right in t.ask_vjps([x, *t.first[1:]], g).items():
            n = next(n for n, q in t.vjps.items() if q == question)
            found = as_numpy(gradients[n])
            if found is not None and t.different(found[sample], right):
                finding = WrongBatchAxis(in_axes, sample)
                asked = Question(Kind.BATCHED, question.role, question.name, 1, Transform.VJP)
                return ReportRow(asked, WRONG, Proof.EXACT, finding, cause=Cause.BATCH_AXIS)
    return None


def _choices(t: Trial) -> list[tuple[int | None, ...]]:
    """The axes that are tried: each array alone, all along the last axis, and each along another one."""
    ndims = [a.ndim for a in t.first]
    alone: list[tuple[int | None, ...]] = [
        tuple(0 if k == n else None for k in range(len(ndims))) for n in range(len(ndims))
    ]
    last: tuple[int | None, ...] = tuple(ndims)
    mixed: tuple[int | None, ...] = tuple(min(1, ndim) if n % 2 == 0 else 0 for n, ndim in enumerate(ndims))
    if len(ndims) < 2:
        alone, mixed = [], last
    # JAX takes a compilation for each, and hands rules of a candidate's own the axis as it is
    if t.candidate.backend.name == "jax":
        return [*alone, last] if t.candidate.has_batching_rules(t.first) else alone
    return list(dict.fromkeys([*alone, mixed, last]))


def _wrong_sample(t: Trial, in_axes: tuple[int | None, ...]) -> WrongBatchAxis | None:
    pairs = list(zip(t.first, t.second, in_axes, strict=True))
    given = [a if axis is None else np.stack([a, b], axis) for a, b, axis in pairs]
    t.calls += 1
    results = as_numpy(t.candidate.vmap_along(given, in_axes))
    if results is None:
        return None
    ask: Callable[..., Any] = t.ask_value
    for sample in range(2):
        arrays = [b if sample and axis is not None else a for a, b, axis in pairs]
        if t.different(results[sample], ask(arrays, t.g)[t.value]):
            return WrongBatchAxis(in_axes, sample)
    return None
