"""Shrink a failing check: the smallest case that still fails, and one of medium size that is quick to explain."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from triconv.checking.candidates.candidates import CandidateFunction, as_numpy
from triconv.checking.dtypes import COMPLEX
from triconv.checking.findings.protocol import Question
from triconv.checking.oracles import real_size
from triconv.checking.oracles.convolution import ConvolutionProblem, Expectations, InputArrays
from triconv.checking.verdicts.probes import probes

NUMBERS = (-3, -2, -1, 1, 2, 3)
"""The numbers of a counterexample."""
MOST_TRIALS = 60
MOST_PRODUCTS = 1 << 31
"""Products that the candidate adds up in all trials together, each for several calls: a few seconds."""


@dataclass(frozen=True)
class Counterexample:
    """A failing case: its problem, integers, what was found, and what should have been, in the user's layout."""

    problem: ConvolutionProblem
    arrays: InputArrays
    found: np.ndarray
    expected: np.ndarray

    @property
    def has_shape(self) -> bool:
        """Whether the result has the right shape, at least."""
        return self.found.shape == self.expected.shape


def medium(problem: ConvolutionProblem, like: Callable[..., Any], params: dict[str, Any]) -> ConvolutionProblem | None:
    """The same problem with sizes that are quick to compute and still tell one axis from another; None if there is none."""
    groups, sizes = problem.model.groups, letters_of(problem)
    reach = [(a.kernel_size - 1) * a.dilation + a.stride for a in problem.model.axes]
    caps = {
        ("x", "N"): 2,
        ("g", "N"): 2,
        ("x", "C"): 3 * groups,
        ("w", "I"): 3,
        ("w", "O"): 4 * groups,
        ("g", "C"): 4 * groups,
    }
    for axis, letter in enumerate(problem.call.layout.spatial):
        caps["x", letter] = caps["g", letter] = reach[axis] + 5 + axis
    capped = {place: min(size, caps.get(place, size)) for place, size in sizes.items()}
    if ("x", "C") in capped and ("w", "I") in capped:
        capped["x", "C"] = capped["w", "I"] * groups
    try:
        smaller = ConvolutionProblem.of(like, shapes_of(problem, capped), params)
    except (ValueError, TypeError):
        return None
    return replace(smaller, **problem.of_candidate)


def smallest(
    candidate: CandidateFunction,
    like: Callable[..., Any],
    problem: ConvolutionProblem,
    params: dict[str, Any],
    dtype: str,
    question: Question,
) -> Counterexample | None:
    """Shrink one size at a time, as long as the answer to the question stays wrong; None if integers do not show it."""
    best = first = _fails(candidate, problem, dtype, question)
    trials, spent = 0, 0
    while best is not None:
        for sizes in _smaller(best.problem):
            if (trials := trials + 1) > MOST_TRIALS:
                return best
            try:
                shapes = shapes_of(best.problem, sizes)
                smaller = ConvolutionProblem.of(like, shapes, params)
                smaller = replace(smaller, **problem.of_candidate)
            except (ValueError, TypeError):
                continue
            spent += real_size.count_products(smaller)
            if spent > MOST_PRODUCTS:
                return best
            failing = _fails(candidate, smaller, dtype, question)
            if failing is not None and first is not None and failing.has_shape == first.has_shape:
                best = failing
                break
        else:
            return best
    return None


def _fails(
    candidate: CandidateFunction, problem: ConvolutionProblem, dtype: str, question: Question
) -> Counterexample | None:
    """Return the case if the candidate's answer to the question is wrong there."""
    problem = real_size.with_kernel(problem) if real_size.is_real_size(problem) else problem
    p = problem

    numbers = itertools.count()

    def draw(role: str, shape: tuple[int, ...]) -> np.ndarray:
        a = drawn(next(numbers), shape, is_complex=dtype in COMPLEX)
        return a if role == "bias" else p.to_torch(role, a)

    operands = dict(zip(p.roles, p.shapes, strict=True))
    primals = {role: draw(role, shape) for role, shape in operands.items()}
    g = draw(p.result, p.result_shape(p.result))
    arrays = InputArrays(primals, g, {role: draw(role, shape) for role, shape in operands.items()})
    probe = next(probe for probe in probes(candidate, problem, dtype) if probe.question == question)
    try:
        found = as_numpy(probe.ask(arrays))
    except Exception:  # noqa: BLE001 (a candidate may be made for one shape alone)
        return None
    if found is None:
        return None
    expected = probe.answer(Expectations(problem, arrays))
    expected = p.user(question.tensor, expected)
    if found.shape == expected.shape and not np.any(np.abs(found - expected) > 0.25):
        return None
    return Counterexample(problem, arrays, found, expected)


def drawn(number: int, shape: tuple[int, ...], *, is_complex: bool) -> np.ndarray:
    """Return whole numbers without zeros, as a program draws them again: those of `RandomState` never change."""

    def draw(number: int) -> np.ndarray:
        rng = np.random.RandomState(number)
        return rng.choice(NUMBERS, shape).astype(np.float64)

    return draw(2 * number) + 1j * draw(2 * number + 1) if is_complex else draw(2 * number)


def letters_of(problem: ConvolutionProblem) -> dict[tuple[str, str], int]:
    """Every size that is free: batch, channels, and the spatial sizes of the operands, by tensor and letter."""
    sizes: dict[tuple[str, str], int] = {}
    layout = problem.call.layout
    for role, shape in zip(problem.roles, problem.shapes, strict=True):
        if role == "bias":
            continue
        for letter, size in zip(layout.letters(role), shape, strict=True):
            sizes[role, letter] = size
    return sizes


def _smaller(problem: ConvolutionProblem) -> Iterator[dict[tuple[str, str], int]]:
    """Sizes with one of them smaller: as small as may be first."""
    groups, sizes = problem.model.groups, letters_of(problem)
    tied = {"N": [("x", "N"), ("g", "N")], "C": [("x", "C"), ("w", "I")], "O": [("w", "O"), ("g", "C")]}
    for places in tied.values():
        here = [place for place in places if place in sizes]
        per_group = {("x", "C"): groups, ("w", "O"): groups, ("g", "C"): groups}
        if here:
            unit = sizes[here[0]] // per_group.get(here[0], 1)
            for new in sorted({1, 2, unit // 2, unit - 1}):
                if 0 < new < unit:
                    yield {**sizes, **{place: new * per_group.get(place, 1) for place in here}}
    for (role, letter), size in sizes.items():
        if letter in problem.call.layout.spatial:
            for new in sorted({1, 2, 3, size // 2, size - 1}):
                if 0 < new < size:
                    yield {**sizes, (role, letter): new}


def shapes_of(problem: ConvolutionProblem, sizes: dict[tuple[str, str], int]) -> tuple[tuple[int, ...], ...]:
    """Return the shapes of the arrays, with other sizes of the letters."""
    shapes: list[tuple[int, ...]] = []
    for role in problem.roles:
        if role == "bias":
            letter, groups = ("O", 1) if problem.result == "g" else ("I", problem.model.groups)
            has_axis = problem.shapes[problem.roles.index("bias")] != ()
            shapes.append((sizes.get(("w", letter), 1) * groups,) if has_axis else ())
        else:
            shapes.append(tuple(sizes[role, letter] for letter in problem.call.layout.letters(role)))
    return tuple(shapes)
