"""``python -m bench --fit``: vary each constant of the planner, and time what of the grid it changes.

A constant is tried at a quarter, half, twice and four times its value. Only contractions whose schedule then differs are timed,
in turn with the schedule as it is. A constant that changes no schedule is not listed.
"""

from __future__ import annotations

import dataclasses
import math
import statistics
import sys
from collections.abc import Iterator
from typing import Any

import triconv
from triconv.backends import BACKENDS
from triconv.kernels.schedule import Schedule
from triconv.kernels.target import Target, changed, constant_types, target_of

from . import implementations, measure
from .workloads import Workload

FACTORS = (0.25, 0.5, 2, 4)
LIBRARIES = ("jax", "numpy")
# a value that was tried is taken for faster if it is by this factor, in the geometric mean of so many contractions
GAIN, CELLS = 1.05, 3
# the contraction that a task is, of a workload and of a transposed one
CONTRACTIONS = {
    "forward": ("conv", "conv_input_vjp"),
    "input_vjp": ("conv_input_vjp", "conv"),
    "weight_vjp": ("conv_weight_vjp", "conv_weight_vjp"),
}


def fit(works: list[Workload], library: str, only: list[str], seconds: float) -> Iterator[dict[str, Any]]:
    """Vary the constants.

    Parameters
    ----------
    works : list of Workload
        What to time.
    library : {"jax", "numpy"}
        With which library.
    only : list of str
        Constants whose names contain one of these; all, if there is none.
    seconds : float
        For each implementation and contraction.

    Yields
    ------
    dict
        For each value of a constant that changes a schedule: its name, its value, the one tried, the contractions that change,
        and the geometric mean of ``time as it is / time changed``; above 1, the value tried is faster.
    """
    before = {work.name: _schedules(work, library) for work in works}
    for name, value, tried, change in _values(target_of(BACKENDS[library].load())):
        if only and not any(part in name for part in only):
            continue
        ratios = {}
        for work in works:
            with changed(**change):
                after = _schedules(work, library)
            for task, names in CONTRACTIONS.items():
                contraction = names[work.transposed]
                if after[contraction] != before[work.name][contraction]:
                    ratios[f"{work.name} {task}"] = _ratio(work, task, library, change, seconds)
        if ratios:
            mean = math.exp(statistics.fmean(map(math.log, ratios.values())))
            yield {"constant": name, "value": value, "tried": tried, "ratio": mean, "cells": ratios}


def _values(target: Target) -> Iterator[tuple[str, float, float, dict[str, Any]]]:
    """Every constant that is a number, with the values to try."""
    for part in ("rates", "vendor"):
        numbers = getattr(target, part)
        for name, value in numbers._asdict().items():
            for tried in _tried(value):
                yield f"{part}.{name}", value, tried, {part: numbers._replace(**{name: tried})}
    for field in dataclasses.fields(target):
        value = getattr(target, field.name)
        for tried in _tried(value):
            yield field.name, value, tried, {field.name: tried}


def _tried(value: Any) -> list[float]:
    if not isinstance(value, (int, float)) or isinstance(value, bool) or not value:
        return []
    values = [type(value)(max(factor * value, 1) if isinstance(value, int) else factor * value) for factor in FACTORS]
    return [tried for tried in dict.fromkeys(values) if tried != value]


def _schedules(work: Workload, library: str) -> dict[str, Schedule]:
    """The schedules of its three contractions."""
    lib, params = BACKENDS[library].load(), {"stride": work.stride, "padding": work.pad, "dilation": work.dilation}
    arrays = [lib.xp.zeros(shape, dtype=lib.xp.float32) for shape in (work.x, work.w)]
    op = triconv.conv
    if work.transposed:
        op, params["input_size"] = triconv.conv_input_vjp, work.y[2:]
    return {row.contraction: row.schedule for row in triconv.explain(op, *arrays, groups=work.groups, **params).rows}


def _ratio(work: Workload, task: str, library: str, change: dict[str, Any], seconds: float) -> float:
    """Time as it is over time changed."""
    entries = {}
    for name, constants in (("before", {}), ("after", change)):
        with changed(**constants):
            entries[name] = _prepared(work, task, library)
            entries[name].wait(entries[name].start(0))
    taken = measure.times(entries, seconds=seconds)
    before, after = (statistics.median(taken[name]) for name in ("before", "after"))
    sys.stderr.write(f"  {work.name} {task}: {before * 1e3:.2f} ms, {after * 1e3:.2f} ms\n")
    return before / after


def _prepared(work: Workload, task: str, library: str) -> implementations.Prepared:
    if library == "numpy":
        return implementations.in_numpy(work, task)
    import jax

    jax.clear_caches()  # what was traced before keeps its schedule
    return implementations.in_jax(work, task, implementations.by_triconv(work))


def faster(rows: list[dict[str, Any]]) -> dict[str, float]:
    """The constants of `Target` with the value that is fastest, where one that was tried is faster than the present one."""
    best: dict[str, dict[str, Any]] = {}
    for row in rows:
        is_better = row["ratio"] > max(GAIN, best.get(row["constant"], {"ratio": 0.0})["ratio"])
        if row["constant"] in constant_types() and is_better and len(row["cells"]) >= CELLS:
            best[row["constant"]] = row
    return {name: row["tried"] for name, row in best.items()}


def table(rows: list[dict[str, Any]]) -> str:
    """The rows, the largest gain first."""
    lines = [f"{'constant':<32} {'value':>12} {'tried':>12} {'cells':>6} {'before/after':>13}"]
    lines += [
        f"{row['constant']:<32} {row['value']:>12.4g} {row['tried']:>12.4g} {len(row['cells']):>6} {row['ratio']:>13.2f}"
        for row in sorted(rows, key=lambda row: -row["ratio"])
    ]
    return "\n".join(lines)
