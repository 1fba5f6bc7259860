"""`explain`: which kernel computes each contraction of a call, why, and the costs of all candidates."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple, Unpack

import numpy as np
from array_api_compat import array_namespace

from triconv import contractions
from triconv.backends import backend_of
from triconv.kernels.problem import Problem
from triconv.kernels.schedule import Schedule
from triconv.kernels.target_file import VARIABLE
from triconv.operators.registry import array_names
from triconv.operators.shapes import call_of
from triconv.operators.signature_types import Parameters, ShapeOrArray
from triconv.planning import planner
from triconv.rules import ROLES

Array = Any

FORWARD, INPUT, WEIGHT = "forward", "input gradient", "weight gradient"
CHOSEN = "*"

# seconds per kernel that is measured: enough for a median, and short beside what a user waits for
PATIENCE = 0.2


class Shape(NamedTuple):
    """What is known of an array that has no strides."""

    shape: tuple[int, ...]


class Row(NamedTuple):
    """One contraction of an explained call."""

    contraction: str
    algorithm: str
    reason: str
    multiply_adds: int
    candidates: tuple[planner.Candidate, ...]
    """All kernels, the cheapest first, with what they would do; empty if the kernel was asked for."""
    measured: dict[str, float]
    """Seconds of a run of each candidate, if they were measured."""
    schedule: Schedule
    """What the kernel does."""
    name: str = ""
    """What it is to the operator: forward, input gradient, weight gradient."""


class Explanation(NamedTuple):
    """The result of `explain`: one row per contraction; printed, a table."""

    operator: str
    geometry: Any
    rows: tuple[Row, ...]
    source: str = ""
    """The file that the rates were read from, if ``TRICONV_TARGET`` names one that has them."""

    arrays: str = ""
    """The library of the arrays, and their dtype."""

    def __str__(self) -> str:
        lines = [f"{self.operator} of {self.arrays}, groups={self.geometry.groups}"]
        lines += [f"  axis {number}: {axis}" for number, axis in enumerate(self.geometry.axes)]
        lines += [f"  rates from {self.source} ({VARIABLE})"] if self.source else []
        for row in sorted(self.rows, key=lambda row: _is_later(row.name)):
            lines += ["", f"{row.name} ({row.contraction}), {row.multiply_adds:,} multiply-adds"]
            lines += [f"  {row.algorithm}: {row.reason}", f"  {row.schedule}"]
            chosen = next((c.seconds for c in row.candidates if c.algorithm == row.algorithm), 0.0)
            lines += [
                f"  {CHOSEN if candidate.algorithm == row.algorithm else ' '} {_line(candidate, row, chosen)}"
                for candidate in row.candidates
            ]
        return "\n".join(lines)

    def __repr__(self) -> str:
        chosen = ", ".join(f"{row.name}: {row.algorithm}" for row in self.rows)
        return f"<Explanation of {self.operator}: {chosen}>"


def _is_later(name: str) -> int:
    return (FORWARD, INPUT, WEIGHT).index(name) if name in (FORWARD, INPUT, WEIGHT) else 1


def _names(call: Any, array_names: Sequence[str]) -> dict[str, str]:
    """Return what each contraction is to a call: its value, or the gradient of one of its arrays."""
    of_array = dict(zip(call.roles, array_names, strict=False))
    names = {call.contraction: FORWARD}
    for contraction, roles in ROLES.items():
        if contraction != call.contraction:
            is_input = roles.result != "w" and "w" in of_array
            known = INPUT if is_input else WEIGHT if roles.result == "w" else f"gradient of {of_array[roles.result]}"
            names[contraction] = known
    return names


def _line(candidate: planner.Candidate, row: Row, chosen: float) -> str:
    """Return what a candidate costs; one that is cheaper than the chosen one says why it was not taken."""
    name = f"{candidate.algorithm:<9}"
    if candidate.cost is None or candidate.obstacle:
        return f"{name} not used: {candidate.obstacle}"
    cost, measured = candidate.cost, row.measured.get(candidate.algorithm)
    parts = [f"{candidate.seconds * 1e3:>10.3f} ms by the model"]
    parts += [] if measured is None else [f"{measured * 1e3:.3f} ms measured"]
    parts += [f"{cost.amount:.2g} {cost.kind} operations", f"{cost.operations:,} calls"]
    parts += [
        f"{_size(amount)} {what}" for amount, what in ((cost.moved, "moved"), (cost.temporary, "temporary")) if amount
    ]
    passed_over = candidate.seconds < chosen
    return f"{name}{', '.join(parts)}" + (f"; not taken: {row.reason}" if passed_over else "")


def _size(count: float) -> str:
    """Return a number of bytes in words."""
    for unit, size in (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return f"{count:.0f} bytes"


def explain(
    op: Callable[..., object], *arrays_or_shapes: ShapeOrArray, measure: bool = False, **params: Unpack[Parameters]
) -> Explanation:
    """Tell which kernel computes a call and its derivatives, why, and what it costs.

    Parameters
    ----------
    op : callable
        An operator of triconv.
    *arrays_or_shapes : array or tuple of int
        Its arrays, or their shapes; a shape means a NumPy array of float32.
    measure : bool, optional
        Whether to time every candidate on random numbers, without its compilation.
    **params : Any
        Its parameters.

    Returns
    -------
    Explanation
        One row per contraction, with the candidates and their costs; printed, a table.

    Raises
    ------
    TypeError, ValueError
        If `op` raises them, or if the requested algorithm cannot compute one of the contractions.

    Notes
    -----
    The multiply-adds are the number of meetings times samples, groups and channel pairs; all three contractions have the
    same. The times are those of the cost model in `triconv.planning`; only their ratios can be compared.

    Examples
    --------
    >>> import triconv
    >>> explanation = triconv.explain(triconv.conv2d, (8, 96, 56, 56), (96, 1, 3, 3), padding=1, groups=96)
    >>> [row.algorithm for row in explanation.rows]
    ['depthwise', 'depthwise', 'depthwise']
    >>> explanation.rows[0].multiply_adds
    21163008
    """
    call, arrays = call_of(op, arrays_or_shapes, params)
    lib = backend_of(array_namespace(*arrays))
    first, second = (
        _canonical(role, a, call, given)
        for role, a, given in zip(call.roles, arrays, arrays_or_shapes, strict=False)
        if role != "bias"
    )
    dtype = lib.accumulator(lib.result_type(*arrays))
    any_problem = planner.problem_of(call.contraction, first, second, call.geometry, lib, dtype, call.layout.orders)
    target, rows = planner.target_of(lib, arrays[0]), []
    names = _names(call, array_names(op))
    if lib.is_sharded(arrays):
        target = replace(target, partitioned=True, positions_whole=True)
    for name in ROLES:
        problem = replace(any_problem, contraction=name)
        plan = planner.plan(problem, target, call.algorithm)
        measured = _measured(problem, plan, dtype, lib, call.precision) if measure else {}
        rows.append(
            Row(
                name,
                plan.algorithm,
                plan.reason,
                problem.multiply_adds,
                plan.candidates,
                measured,
                plan.schedule,
                names[name],
            )
        )
    dtype_name = str(lib.result_type(*arrays)).rpartition(".")[2]
    return Explanation(op.__name__, call.geometry, tuple(rows), target.source, f"{lib.name} {dtype_name}")


def _canonical(role: str, array: Array, call: Any, given: ShapeOrArray) -> Array:
    """The canonical array, of which only the shape and the strides are read; without strides for JAX and of a mere shape."""
    view = call.layout.canonical_view(role, tuple(array.shape), call.geometry.groups)
    if array is given and (hasattr(array, "stride") or hasattr(array, "strides")):
        return view(array, array_namespace(array))
    return Shape(view(np.broadcast_to(np.float32(0), tuple(array.shape)), np).shape)


def _measured(problem: Problem, plan: planner.Plan, dtype: Any, lib: Any, precision: str) -> dict[str, float]:
    """Seconds per run of each candidate that can compute the problem."""
    rng = np.random.default_rng(0)
    operands = [
        lib.asarray(rng.integers(-4, 5, problem.shapes[role]).astype(np.float32), dtype=dtype)
        for role in ROLES[problem.contraction].operands
    ]
    names = [candidate.algorithm for candidate in plan.candidates if not candidate.obstacle] or [plan.algorithm]
    return {name: _seconds(problem, name, operands, lib, precision) for name in names}


def _seconds(problem: Problem, algorithm: str, operands: list[Array], lib: Any, precision: str) -> float:
    """Median of the runs within `PATIENCE`, after one that compiles."""
    contraction = getattr(contractions, problem.contraction)
    seconds: list[float] = []
    params = {"geometry": problem.geometry, "algorithm": algorithm, "precision": precision, "orders": problem.orders}
    run = lib.timed(lambda a, b: contraction(a, b, **params))
    run(*operands)
    begin = time.perf_counter()
    while not seconds or (time.perf_counter() - begin < PATIENCE and len(seconds) < 100):
        start = time.perf_counter()
        run(*operands)
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)
