"""Whether a wrong result is the right one for numbers that were handed over earlier, or has something of the call before."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np

from triconv.checking.findings.memory_findings import EarlierAnswer
from triconv.checking.findings.protocol import Question
from triconv.checking.oracles.comparison import Answer, same
from triconv.checking.oracles.convolution import ConvolutionProblem, Expectations, InputArrays

NEAR = 1e-3
"""Difference of two steps of a sum that is rounded, over the larger one."""


def explain(
    problem: ConvolutionProblem,
    question: Question,
    answer: Answer,
    arrays: InputArrays,
    earlier: list[InputArrays],
    found: np.ndarray,
) -> EarlierAnswer | None:
    """Return the finding that a result is that of earlier numbers of some arrays; None if it is not.

    Parameters
    ----------
    problem : ConvolutionProblem
        The problem.
    question : Question
        What was asked.
    answer : callable
        Gives the right answer.
    arrays : InputArrays
        What was asked now.
    earlier : list of InputArrays
        What was asked before.
    found : numpy.ndarray
        The result.
    """
    names = dict(zip(problem.roles, problem.names, strict=True))
    parts = [*problem.roles, *(["g"] if question.order else [])]
    expected = answer(Expectations(problem, arrays))
    for old in earlier:
        if old is arrays:
            continue
        for number in range(1, len(parts) + 1):
            for some in itertools.combinations(parts, number):
                mixed = InputArrays(
                    {role: (old if role in some else arrays).primals[role] for role in arrays.primals},
                    old.g if "g" in some and "g" not in problem.roles else arrays.g,
                    arrays.tangents,
                )
                predicted = answer(Expectations(problem, mixed))
                if predicted.shape != found.shape or not same(predicted, found) or not np.any(predicted):
                    continue
                if not same(predicted, expected):  # else the answer is one for arrays that it does not depend on
                    return EarlierAnswer(None, " and ".join(names.get(role, "the cotangent") for role in some))
    return None


def ones_of(arrays: InputArrays) -> InputArrays:
    """Arrays of ones, with which a candidate's library is found out."""
    return arrays.map(np.ones_like)


def is_of_call_before(ask: Callable[[str], np.ndarray | None]) -> bool:
    """Whether a result is always the same after a call with the same numbers, and another one after other numbers.

    Parameters
    ----------
    ask : callable
        Gives the result for the numbers of a name, "exact" or "random".
    """
    results: dict[str, list[np.ndarray]] = {"exact": [], "random": []}
    # in no such order are every so many calls wrong
    for before in ("exact", "exact", "random", "exact", "random", "random"):
        ask(before)
        if (found := ask("random")) is not None:
            results[before].append(found)
    after, after_itself = results.values()
    is_same = all(np.array_equal(a, some[0], equal_nan=True) for some in (after, after_itself) for a in some)
    return is_same and bool(after) and not np.array_equal(after[0], after_itself[0], equal_nan=True)


def adds_up(ask: Callable[[], np.ndarray | None]) -> bool:
    """Whether each of a few calls with the same numbers gives the one before and the same again.

    Parameters
    ----------
    ask : callable
        Gives the result.
    """
    runs = [np.array(run) for run in (ask() for _ in range(4)) if run is not None]
    if len(runs) < 4 or any(run.shape != runs[0].shape or not np.isfinite(run).all() for run in runs):
        return False
    steps = np.diff(np.stack(runs).astype(np.complex128), axis=0)
    size = np.abs(steps).max(initial=0)
    return bool(size) and bool(np.abs(np.diff(steps, axis=0)).max(initial=0) <= NEAR * size)
