"""A wrong result, and how it is compared with what a hypothesis predicts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from triconv.checking.oracles.convolution import ConvolutionModel, ConvolutionProblem, Expectations

Answer = Callable[[Expectations], np.ndarray]

SAME = 1e-4
"""Share of the largest element by which rounding may move a result; integers that differ do so by more."""


@dataclass(frozen=True)
class WrongResult:
    """A wrong result, and all that a hypothesis may ask.

    Parameters
    ----------
    problem : ConvolutionProblem
        The problem.
    expectations : Expectations
        The right answers.
    answer : callable
        Which of them was asked: from an `Expectations`.
    role : str
        Which tensor the result is, or "bias".
    found, expected : numpy.ndarray
        In torch's order.
    is_value : bool
        Whether it is a value, not a derivative.
    wrong : numpy.ndarray of bool, optional
        Where it is wrong, if not wherever it differs.
    """

    problem: ConvolutionProblem
    expectations: Expectations
    answer: Answer
    role: str
    found: np.ndarray
    expected: np.ndarray
    is_value: bool
    wrong: np.ndarray | None = None

    @property
    def has_shape(self) -> bool:
        """Whether the shape is right."""
        return self.found.shape == self.expected.shape

    @property
    def has_bias(self) -> bool:
        """Whether a bias is added in what was asked: in a value, and in the tangent of one."""
        return "bias" in self.problem.roles and self.role == self.problem.result

    def predicted(self, model: ConvolutionModel) -> np.ndarray:
        """Return what a candidate that computes another model would give for the question."""
        return self.answer(Expectations(self.problem, self.expectations.arrays, model))

    def differs(self) -> np.ndarray:
        """Return where the result differs by more than rounding."""
        return np.abs(self.found - self.expected) > SAME * max(1, np.abs(self.expected).max(initial=0))


def same(a: np.ndarray, b: np.ndarray) -> bool:
    """Return whether every element is equal; a difference that only rounding makes does not count.

    What is not finite is equal to nothing: it has no rounding.
    """
    if a.shape != b.shape:
        return False
    sparse = tuple(slice(None, None, max(1, size // 6)) for size in a.shape)  # most that differ do so there already
    return all(
        bool(np.isfinite(scale := np.maximum(1, np.abs(p).max(initial=0))) and np.all(np.abs(p - q) <= SAME * scale))
        for p, q in ((a[sparse], b[sparse]), (a, b))
    )


def factor(found: np.ndarray, predicted: np.ndarray) -> float | None:
    """Return the number by which the prediction is to be multiplied, if it is one number for all elements, and not 0."""
    weight = np.vdot(predicted, predicted).real
    if not weight or found.shape != predicted.shape:
        return None
    c = np.vdot(predicted, found).real / weight
    return float(c) if abs(c) > 1e-9 and same(found, c * predicted) else None
