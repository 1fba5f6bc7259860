"""``triconv check``: triconv itself, on every backend installed, against oracles that know nothing of it."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

import numpy as np

from triconv.backends import BACKENDS
from triconv.checking.dtypes import ARITHMETIC
from triconv.checking.findings.exception_text import one_line
from triconv.checking.oracles import bounds, definition, runners
from triconv.checking.oracles.cases import GEOMETRIES, LAYERS, Case
from triconv.operators.registry import OPERATORS

CONTRACTIONS = ("conv", "conv_input_vjp", "conv_weight_vjp")
ORACLES = ("loops", "adjoint", "lax", "torch")

DTYPE = np.float32

TOGETHER = 6
"""Cases that one program of JAX computes: with more, the processors wait for each other at the end."""

NOTEBOOK: tuple[tuple[str, tuple[Any, ...], Any], ...] = (
    ("conv2d_forward", ([[[1], [2]], [[3], [4]]], [[[10]], [[2]]]), [[16, 28]]),
    (
        "conv2d_forward",
        ([[[1, 2, 3], [4, 5, 6]], [[7, 8, 9], [10, 11, 12]]], [[[1, 2, 3]], [[4, 5, 6]]]),
        [[136, 199]],
    ),
    (
        "conv2d_backward",
        ([[[1], [2]], [[3], [4]]], [[[1, 2, 3]], [[4, 5, 6]]]),
        [[[1, 2], [7, 12], [12, 16]], [[2, 4], [11, 18], [15, 20]], [[3, 6], [15, 24], [18, 24]]],
    ),
    ("conv2d_backward_weights", ([[[1], [2]], [[3], [4]]], [[[1], [10]]]), [[[21], [43]]]),
)
NOTEBOOK_CONTRACTION = dict(
    zip(("conv2d_forward", "conv2d_backward", "conv2d_backward_weights"), CONTRACTIONS, strict=True)
)


class Agreement(StrEnum):
    """Whether a result agrees with an oracle."""

    AGREES = "agrees"
    DIFFERS = "differs"
    IS_WRONG = "is wrong"
    """The oracle, a framework's own gradient, is itself out of bounds against the loops by definition."""


@dataclass(frozen=True, slots=True)
class Result:
    """One contraction of one case on one backend.

    `checks` has the agreement with each oracle that applies; `worst` is the largest error over its bound.
    """

    case: str
    why: str
    contraction: str
    backend: str
    checks: dict[str, Agreement]
    worst: float | None = None
    error: str = ""

    @property
    def ok(self) -> bool:
        """Whether every oracle agrees and nothing was raised."""
        return not self.error and Agreement.DIFFERS not in self.checks.values()


def count() -> int:
    """Return how many lists of results `run` yields."""
    return len(GEOMETRIES) + len(LAYERS) + len(NOTEBOOK)


def run(backends: list[str], seed: int = 0, algorithm: str = "auto") -> Iterator[list[Result]]:
    """Check every case on every backend.

    Parameters
    ----------
    backends : list of str
        Names of installed backends.
    seed : int
        Of the random data.
    algorithm : str
        The kernel that is to compute the cases; by default the one that the planner picks, which for most is `direct`.

    Yields
    ------
    list of Result
        The results of one case, in the order of the cases.
    """
    for example in NOTEBOOK:
        yield [result for name in backends for result in _notebook(name, *example)]
    labelled = {label: runner for name in backends for label, runner in runners.runners(name).items()}
    oracles = {name: oracle for name, (library, oracle) in runners.ORACLES.items() if library in backends}
    numbered = [(n, replace(case, algorithm=algorithm)) for n, case in enumerate((*GEOMETRIES, *LAYERS))]
    together = [numbered[n : n + TOGETHER] for n in range(0, len(numbered), TOGETHER)]
    # most of the time goes into compiling, which lets other threads run
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for results in pool.map(lambda some: judge(some, labelled, oracles, seed), together):
            yield from results


def judge(
    cases: Sequence[tuple[int, Case]],
    labelled: dict[str, runners.Runner],
    oracles: dict[str, Callable[..., Any]],
    seed: int = 0,
) -> list[list[Result]]:
    """Return the results of some cases, one list per case.

    Parameters
    ----------
    cases : sequence of (int, Case)
        The cases with their numbers, which the data depend on.
    labelled : dict
        What is judged, by its label.
    oracles : dict
        Further oracles beside the loops by definition.
    seed : int
        Of the random data.
    """
    expected = [_Expected(case, np.random.default_rng([seed, number])) for number, case in cases]
    for name, oracle in oracles.items():
        (outcomes,) = _outcomes(oracle, expected, "randoms")
        for one, theirs in zip(expected, outcomes, strict=True):
            if isinstance(theirs, Exception):
                raise theirs
            one.of_oracles[name] = theirs
    results: list[list[Result]] = [[] for _ in cases]
    for label, runner in labelled.items():
        exact, rounded = _outcomes(runner, expected, "floats", "randoms")
        for of_case, one, *both in zip(results, expected, exact, rounded, strict=True):
            of_case.extend(one.judge(label, *both))
    return results


def _outcomes(runner: Callable[..., Any], expected: Sequence[_Expected], *names: str) -> list[list[Any]]:
    """Return what a runner gives for some cases, or the exception of a case, for each of their data."""
    cases, data = [one.case for one in expected], [[getattr(one, name) for one in expected] for name in names]
    if isinstance(runner, runners.Compiled):
        with contextlib.suppress(Exception):  # of one of the cases; below it will be known of which
            return runner.of_many(cases, data)
    return [[_attempt(runner, case, *a) for case, a in zip(cases, arrays, strict=True)] for arrays in data]


def _attempt(runner: Callable[..., Any], *arguments: Any) -> Any:
    try:
        return runner(*arguments)
    except Exception as problem:  # noqa: BLE001 (whatever it is, it is reported with its case)
        return problem


class _Expected:
    """Arrays of a case, and what every oracle computes for them."""

    def __init__(self, case: Case, rng: np.random.Generator) -> None:
        self.case = case
        shapes = (case.x, case.w, case.g)
        # products of at most 16, so that sums of less than 2^20 of them are exact in float32
        self.integers = [rng.integers(-4, 5, shape) for shape in shapes]
        self.randoms = [rng.standard_normal(shape).astype(DTYPE) for shape in shapes]
        self.exact = _by_loops(case, self.integers)
        self.absolute = _by_loops(case, [np.abs(a).astype(np.float64) for a in self.randoms])
        self.rounded = _by_loops(case, [a.astype(np.float64) for a in self.randoms])
        self.inner = int(np.sum(self.integers[2] * self.exact[0]))
        self.floats = [a.astype(DTYPE) for a in self.integers]
        self.of_oracles: dict[str, Any] = {}

    def judge(self, label: str, exact: Any, rounded: Any) -> list[Result]:
        """Return what is to be said of a runner's results, or of its exceptions."""
        case = self.case
        for outcome in (exact, rounded):
            if isinstance(outcome, Exception):
                error = f"{type(outcome).__name__}: {one_line(outcome)}"
                return [Result(case.name, case.why, c, label, {}, error=error) for c in CONTRACTIONS]
        results = []
        for position, contraction in enumerate(CONTRACTIONS):
            worst = self._over_bound(position, rounded[position], self.rounded[position])
            exactly = _equal(exact[position], self.exact[position]) and worst <= 1
            checks = {
                "loops": _agreement(exactly),
                "adjoint": _agreement(self._inner(position, exact[position]) == self.inner),
            }
            for oracle, theirs in self.of_oracles.items():
                if theirs is None:
                    continue
                if self._over_bound(position, theirs[position], self.rounded[position]) > 1:
                    checks[oracle] = Agreement.IS_WRONG
                    continue
                ratio = self._over_bound(position, rounded[position], theirs[position])
                checks[oracle] = _agreement(ratio <= 1)
                worst = max(worst, ratio)
            results.append(Result(case.name, case.why, contraction, label, checks, worst))
        return results

    def _inner(self, position: int, result: np.ndarray) -> int | None:
        """Return T: the result against the tensor that the contraction left out."""
        partner = self.integers[(2, 0, 1)[position]]
        if result.shape != partner.shape or not np.isfinite(result).all():
            return None
        return int(np.sum(partner * result.astype(np.int64)))

    def _over_bound(self, position: int, ours: np.ndarray, theirs: np.ndarray) -> float:
        if ours.shape != theirs.shape:
            return float("inf")
        terms = self.case.terms(CONTRACTIONS[position])
        error = np.abs(np.asarray(ours, np.float64) - np.asarray(theirs, np.float64))
        allowed = bounds.of_difference(self.absolute[position], terms, ARITHMETIC["float32"])
        return bounds.over(error, allowed)


def _by_loops(case: Case, arrays: list[np.ndarray]) -> list[np.ndarray]:
    x, w, g = arrays
    pairs: tuple[dict[str, np.ndarray], ...] = ({"x": x, "w": w}, {"g": g, "w": w}, {"g": g, "x": x})
    return [definition.contract(case.axes, case.groups, **pair) for pair in pairs]


def _notebook(name: str, function: str, arguments: tuple[Any, ...], expected: Any) -> Iterator[Result]:
    lib = BACKENDS[name].load()
    operator = OPERATORS[function]
    labelled = {name: operator}
    if name == "jax":
        import jax

        labelled["jax.jit"] = jax.jit(operator)
    why = "the notebook's own example"
    for label, call in labelled.items():
        try:
            # int32, since JAX narrows int64 by default
            result = lib.to_numpy(call(*(lib.asarray(np.asarray(a, np.int32)) for a in arguments)))
        except Exception as problem:  # noqa: BLE001
            error = f"{type(problem).__name__}: {problem}"
            yield Result(function, why, NOTEBOOK_CONTRACTION[function], label, {}, error=error)
        else:
            checks = {"loops": _agreement(_equal(result, np.asarray(expected)))}
            yield Result(function, why, NOTEBOOK_CONTRACTION[function], label, checks)


def _agreement(agrees: bool) -> Agreement:
    return Agreement.AGREES if agrees else Agreement.DIFFERS


def _equal(a: np.ndarray, b: np.ndarray) -> bool:
    return a.shape == b.shape and bool((a == b).all())
