"""A result for random data beside the right one, and the bound of the rounding between them."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import numpy as np

from triconv.checking.dtypes import ARITHMETIC, Arithmetic
from triconv.checking.oracles import bounds, real_size
from triconv.checking.oracles.comparison import Answer
from triconv.checking.oracles.convolution import ConvolutionProblem, Expectations, InputArrays


@dataclass(frozen=True)
class RoundingTest:
    """A result for random data, the right one, and by how much they may differ.

    Parameters
    ----------
    problem : ConvolutionProblem
        The problem.
    dtype, role : str
        Dtype of the arrays, and which tensor the result is.
    answer : callable
        What was asked.
    expectations : Expectations
        The right answers.
    found, right : numpy.ndarray
        In torch's order; where the right one is not finite or may overflow, both are zero.
    allowed, absolute : numpy.ndarray
        The bound of each element, and the same contraction of absolute values.
    missing, stray, excused : numpy.ndarray of bool
        Where the arrays have something that is not finite and the result has not; where the result has it for no reason;
        and where nothing can be decided.
    """

    problem: ConvolutionProblem
    dtype: str
    role: str
    answer: Answer
    expectations: Expectations
    found: np.ndarray
    right: np.ndarray
    allowed: np.ndarray
    absolute: np.ndarray
    missing: np.ndarray
    stray: np.ndarray
    excused: np.ndarray

    @classmethod
    def of(
        cls,
        problem: ConvolutionProblem,
        dtype: str,
        role: str,
        answer: Answer,
        expectations: Expectations,
        result: np.ndarray,
    ) -> RoundingTest:
        """Compare a result with the right answer."""
        arithmetic, arrays = ARITHMETIC[dtype], expectations.arrays
        with np.errstate(all="ignore"):
            is_finite = arrays.is_finite
            absolute = answer(expectations.absolute)
            finite = arrays if is_finite else arrays.map(lambda a: np.where(np.isfinite(a), a, 0))
            flushed = None
            if finite.least < arithmetic.tiny:
                normal = finite.map(lambda a: _flushed(np.abs(a), arithmetic))
                flushed = answer(Expectations(problem, normal))
            right = answer(expectations if is_finite else Expectations(problem, finite))
            found, stray = result, np.broadcast_to(np.False_, right.shape)
            missing = excused = stray
            if not (is_finite and absolute.max(initial=0) <= arithmetic.most and np.isfinite(result).all()):
                poisoned = _poisoned(problem, answer, arrays, is_finite, right.shape)
                overflows = ~(absolute <= arithmetic.most)
                bad = ~np.isfinite(result)
                # what is not finite may spread: in a Fourier transform, and in products with a tangent that is zero
                stray, missing = bad & ~overflows & is_finite, poisoned & ~bad
                excused = poisoned | overflows & (bad | ~np.isfinite(right)) | bad
                found, right = (np.where(excused, 0, a) if excused.any() else a for a in (result, right))
            sums = bounds.of_sums(absolute, terms_of(problem, role, answer), arithmetic, flushed)
            if of_transforms := real_size.transform_error(problem, finite, role):
                sums = sums + of_transforms
            allowed = sums
            if arithmetic.unit != arithmetic.sums:
                magnitude = _magnitude(problem, answer, expectations, right)
                allowed = sums + bounds.of_results(magnitude, sums, arithmetic)
        return cls(problem, dtype, role, answer, expectations, found, right, allowed, absolute, missing, stray, excused)

    @property
    def arithmetic(self) -> Arithmetic:
        """How the dtype rounds."""
        return ARITHMETIC[self.dtype]

    @functools.cached_property
    def error(self) -> np.ndarray:
        """How far each element is off."""
        return np.abs(self.found - self.right)

    @functools.cached_property
    def ratio(self) -> float:
        """The largest error over its bound."""
        return bounds.over(self.error, self.allowed)

    @property
    def oracle_error(self) -> float:
        """How far the right answer may be off at most, beyond the rounding of a sum."""
        return real_size.transform_error(self.problem, self.expectations.arrays, self.role)

    def rounding_of_results(self) -> np.ndarray:
        """The part of the bound that is not that of the sums."""
        if self.arithmetic.unit == self.arithmetic.sums:
            return np.zeros_like(self.absolute)
        magnitude = _magnitude(self.problem, self.answer, self.expectations, self.right)
        return bounds.of_results(magnitude, np.zeros_like(self.absolute), self.arithmetic)


def _flushed(a: np.ndarray, arithmetic: Arithmetic) -> np.ndarray:
    return np.where(a < arithmetic.tiny, 0, a)


def _poisoned(
    problem: ConvolutionProblem, answer: Answer, arrays: InputArrays, is_finite: bool, shape: tuple[int, ...]
) -> Any:
    """Return where something that is not finite is in the sum: there a sum of ones changes if those become twos."""
    if is_finite:
        return np.zeros(shape, bool)
    ones = answer(Expectations(problem, arrays.map(lambda a: np.ones(a.shape))))
    return answer(Expectations(problem, arrays.map(lambda a: np.where(np.isfinite(a), 1.0, 2.0)))) != ones


def terms_of(problem: ConvolutionProblem, role: str, answer: Answer) -> int:
    """Return the most products that an element of the answer is a sum of."""
    if role == "bias":
        shape = problem.torch_shape(problem.result, problem.result_shape(problem.result))
        return max(1, int(np.prod(shape)) // max(1, shape[1]))
    return problem.terms(role) * (2 if answer is Expectations.jvp else 1)


def _magnitude(
    problem: ConvolutionProblem, answer: Answer, expectations: Expectations, right: np.ndarray
) -> np.ndarray:
    """Return the magnitude of all that is rounded: the answer, what a bias is added to, and both parts of a JVP."""
    parts = [right]
    with np.errstate(all="ignore"):
        if answer is Expectations.value and "bias" in problem.roles:
            parts.append(expectations.without_bias())
        elif answer is Expectations.of_tangents and "bias" in problem.roles:
            parts.append(expectations.without_bias(of_tangents=True))
        elif answer is Expectations.jvp:
            parts += expectations.parts_of_jvp()
            if "bias" in problem.roles:  # three terms, of which any two may be added first
                first, second = parts[-2:]
                of_bias = right - first - second
                pairs = (first + second, first + of_bias, second + of_bias)
                parts.append(np.max([np.abs(pair) for pair in pairs], axis=0))
        return np.sum([np.where(np.isfinite(part), np.abs(part), 0) for part in parts], axis=0)
