"""Arrays of a check times -1 and powers of 2: which numbers, how far they may go, and what the answers must be then."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from triconv.checking.candidates.candidates import CandidateFunction
from triconv.checking.dtypes import ARITHMETIC, COMPLEX, INTEGERS
from triconv.checking.findings.protocol import Kind, Question, Transform
from triconv.checking.oracles import drawn_data
from triconv.checking.oracles.convolution import ConvolutionProblem, InputArrays
from triconv.checking.questions.whole_answers import WholeAnswers

VALUES = np.array([0.5, 1, 1.5, 2, 3])
"""Magnitudes of the data; a product is at most 9, and a multiple of 1/4."""
MOST_PRODUCT, STEP = 9, 0.5
NOT_A_STEP = 1.5 + 1.5 / 64
"""A number of 8 bits that rounding to 1/2, or to 1/4, changes."""
EXPONENTS = {"float16": (8, 12), "float64": (100, 100), "complex128": (100, 100)}
"""By which power of 2 arrays are multiplied and divided: as far as products of three of them stay normal numbers, in single
precision too, which a candidate of double precision may compute in."""
OTHERS = (60, 60)
HALF = ARITHMETIC["float16"]

ALL = 20
"""By which power of 2 all arrays are multiplied at once: their products then need more than 32 bits as integers."""

Scales = dict[str, float]
"""By what the array of each role is multiplied: the operands by their roles, the cotangent and the tangents as "ct"."""
CT = "ct"


@dataclass
class Scaling:
    """A candidate, and arrays to scale.

    Parameters
    ----------
    asked : WholeAnswers
        Asks the candidate.
    problem : ConvolutionProblem
        The problem.
    dtype : str
        Of the candidate's arrays.
    arrays : InputArrays
        Multiples of 1/2, of both signs.
    up, down : int
        By which powers of 2 they are multiplied and divided.
    most, tiny, step : float
        The largest number, the smallest normal one, and the step of the numbers below.
    """

    asked: WholeAnswers
    problem: ConvolutionProblem
    dtype: str
    arrays: InputArrays
    up: int
    down: int
    most: float
    tiny: float
    step: float

    @classmethod
    def of(
        cls,
        candidate: CandidateFunction,
        problem: ConvolutionProblem,
        dtype: str,
        precision: str | None,
        seed: int,
        without: set[Question],
    ) -> Self:
        """Draw the arrays, and choose the exponents."""
        asked = WholeAnswers(candidate, problem, dtype, without)
        arrays = _drawn(problem, dtype, np.random.default_rng(seed))
        if dtype in INTEGERS:
            return cls(asked, problem, dtype, arrays.map(lambda a: 2 * a), 0, 0, np.inf, 0, 0)
        is_half = "float16" in (dtype, precision)
        arithmetic = HALF if is_half else ARITHMETIC[dtype]
        up, down = EXPONENTS["float16"] if is_half else EXPONENTS.get(dtype, OTHERS)
        terms = max(problem.terms(role) for role in "xwg") * 2 + 1
        most_up = (
            int(np.log2(arithmetic.most / (MOST_PRODUCT * terms))) if MOST_PRODUCT * terms < arithmetic.most else 0
        )
        tiny = 2.0**-14 if is_half else arithmetic.tiny
        return cls(
            asked, problem, dtype, arrays, max(1, min(up, most_up)), down, arithmetic.most, tiny, arithmetic.step
        )

    def together(self) -> Iterator[Scales]:
        """Yield numbers such that each array is negated and made large once, and made small once, and all are large once."""
        a, b = self.problem.operands
        if self.dtype in INTEGERS:
            yield from ({a: -1.0}, {b: -1.0})
            return
        up, down = -(2.0**self.up), 2.0**-self.down
        yield from ({a: up, b: down}, {b: up, CT: down}, {CT: up, a: down})
        if self.up >= ALL * 3:
            yield dict.fromkeys((a, b, CT), 2.0**ALL)

    def scaled(self, scales: Scales, arrays: InputArrays | None = None) -> InputArrays:
        """The arrays times these numbers; a bias and its tangent are scaled as the products are."""
        arrays = arrays or self.arrays
        a, b = self.problem.operands
        ct, product = scales.get(CT, 1.0), scales.get(a, 1.0) * scales.get(b, 1.0)
        primal = {a: scales.get(a, 1.0), b: scales.get(b, 1.0), "bias": product}
        return InputArrays(
            {role: array * primal[role] for role, array in arrays.primals.items()},
            arrays.g * ct,
            {role: array * primal[role] * ct for role, array in arrays.tangents.items()},
        )

    def factor(self, question: Question, scales: Scales) -> float:
        """By what the answer must be multiplied then."""
        a, b = self.problem.operands
        ct = scales.get(CT, 1.0) if question.is_derivative else 1.0
        if question.kind != Kind.VJP:
            return ct * scales.get(a, 1.0) * scales.get(b, 1.0)
        if question.role == "bias":
            return ct
        return ct * scales.get(b if question.role == a else a, 1.0)

    def differs(self, question: Question, scales: Scales, base: np.ndarray, found: np.ndarray) -> np.ndarray:
        """Where the answer is another than it must be; numbers below the normal ones are rounded to a fixed step."""
        factor = self.factor(question, scales)
        if self.dtype in INTEGERS:
            return found != drawn_data.wrapped(base * int(factor), self.dtype)  # -128 is its own opposite
        expected = base * factor
        with np.errstate(all="ignore"):
            small = (np.abs(base) < self.tiny) | (np.abs(expected) < self.tiny)
            allowed = np.where(small, self.tiny * max(1, abs(factor)), 0)
            # what overflows in the base, or where the sums may, says nothing
            beyond = ~np.isfinite(base) | (np.abs(expected) > self.most / 4)
            return ~beyond & ~(np.abs(found - expected) <= allowed)

    def roles(self, question: Question) -> tuple[str, ...]:
        """What an answer depends on."""
        return (*self.problem.operands, *((CT,) if question.is_derivative else ()))

    def alone(self) -> tuple[float, ...]:
        """The numbers by which one array is multiplied."""
        return (-1.0,) if self.dtype in INTEGERS else (-1.0, 2.0**self.up, 2.0**-self.down)

    def name(self, role: str, question: Question) -> str:
        """What an array is called."""
        if role == CT:
            return "tangents" if question.transform == Transform.JVP else "cotangent"
        return self.problem.names[self.problem.roles.index(role)]

    def ask(self, question: Question, arrays: InputArrays) -> np.ndarray | None:
        """An answer; None where the candidate raises."""
        found = self.asked.ask(arrays, (question,)).get(question)
        return None if isinstance(found, Exception) else found


def _drawn(p: ConvolutionProblem, dtype: str, rng: np.random.Generator) -> InputArrays:
    def draw(shape: tuple[int, ...]) -> np.ndarray:
        def real() -> Any:
            return rng.choice(VALUES, shape) * rng.choice([-1.0, 1.0], shape)

        a = np.asarray(real() + 1j * real() if dtype in COMPLEX else real())
        return a if dtype not in INTEGERS else (2 * a).astype(np.int64) // 2

    return p.arrays_of(draw)
