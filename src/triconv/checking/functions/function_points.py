"""Where the derivatives of a function are asked: base points with coordinates of few bits, and directions of whole numbers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from triconv.checking.dtypes import BITS, COMPLEX
from triconv.checking.functions import directional

LEVELS = {53: (20, 13, 8, 5, 3), 24: (8, 5, 3, 2)}
"""Bits of the random coordinates, by the bits of the significand: many keep a line on one side of every kink, few keep the
values of a polynomial of high degree exact."""
DEEP = 8
"""Bits of the coordinates up to which degrees above 2 are tried."""
SHORT = 2.0**-10
"""Length of a line on which a kink is looked for, over that of the one that may have it."""
ROUNDS = 3
"""Random directions per array."""
MOST_DIRECTION = 32
"""Largest coordinate of a direction, in steps."""
WORTH = 0.5
"""Part of the elements that must be polynomials on a piece for their proof to count."""


class Point(NamedTuple):
    """A base point; with the step along lines through it, and the number of steps, where these are polynomials."""

    arrays: list[np.ndarray]
    bits: int | None = None
    step: float = 1.0
    nodes: tuple[int, ...] = ()

    @property
    def is_exact(self) -> bool:
        """Whether derivatives are exact here."""
        return bool(self.nodes)


@dataclass
class FunctionPoints:
    """Base points and directions for arrays of these shapes.

    Parameters
    ----------
    shapes : tuple of tuple of int
        Of the arrays.
    dtype : str
        Of the candidate's arrays.
    seed : int
        Of the data.
    user_arrays : list of numpy.ndarray, optional
        The arrays near which derivatives are asked; by default random ones of size 4 and less.
    is_positive : bool
        Whether all coordinates are positive, for a function that is not defined elsewhere.
    bits : int, optional
        Of the coordinates at which lines are polynomials; None if there are none.
    nodes : int
        Number of steps that shows it.
    part : float
        The part of the elements that are polynomials.
    """

    shapes: tuple[tuple[int, ...], ...]
    dtype: str
    seed: int
    user_arrays: list[np.ndarray] | None = None
    is_positive: bool = False
    bits: int | None = None
    nodes: int = 0
    part: float = 0.0

    @property
    def degree(self) -> int | None:
        """The degree that the polynomials may have; None if there are none."""
        return None if self.bits is None else self.nodes - 3

    def find_level(self, along: Callable[[Sequence[np.ndarray], Sequence[np.ndarray]], directional.Values]) -> None:
        """Find the number of bits at which most elements are polynomials along a random line.

        Parameters
        ----------
        along : callable
            The values along the line through a point in a direction.
        """
        rng, significand = np.random.default_rng(self.seed), BITS[self.dtype]
        for bits in LEVELS[53 if significand == 53 else 24]:
            nodes = directional.NODES if bits <= DEEP else directional.NODES[:1]
            values = along(self.draw(rng, bits), self.direction(rng, bits))
            line = directional.polynomial(values, 2.0 ** (2 - bits), nodes, significand)
            part = float(line.is_exact.mean()) if line.value.size else 1.0
            if part > self.part:
                self.bits, self.nodes, self.part = bits, line.nodes, part
            if part == 1:
                return
        if self.part < WORTH:
            self.bits, self.part = None, 0.0

    def of_question(self, number: int) -> Iterator[Point]:
        """Yield the base points of a question: exact ones, and where not all lines are polynomials, another."""
        rng = np.random.default_rng([self.seed, number])
        if self.bits is not None:
            for _ in range(ROUNDS):
                yield Point(self.draw(rng, self.bits), self.bits, 2.0 ** (2 - self.bits), (self.nodes,))
        if self.part < 1:
            yield Point(self.draw(rng, None))

    def draw(self, rng: np.random.Generator, bits: int | None) -> list[np.ndarray]:
        """Return a base point with coordinates of so many bits; of all that the dtype has for None."""
        arrays = [self._coordinates(rng, n, bits) for n in range(len(self.shapes))]
        return [np.abs(a) + 2.0 ** (2 - (bits or 20)) for a in arrays] if self.is_positive else arrays

    def _coordinates(self, rng: np.random.Generator, n: int, bits: int | None) -> np.ndarray:
        unit = 2.0 ** (2 - (bits or 0))
        if self.user_arrays is not None:
            a = self.user_arrays[n].astype(np.complex128 if self.dtype in COMPLEX else np.float64)
            return a if bits is None else np.rint(a / unit) * unit
        shape = self.shapes[n]
        if bits is not None:
            return self.whole_numbers(rng, shape, 2**bits) * unit
        return self.normal(rng, shape)

    def normal(self, rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
        """Return random numbers of all bits that the dtype has."""
        a = rng.standard_normal(shape) + (1j * rng.standard_normal(shape) if self.dtype in COMPLEX else 0)
        # what the library's dtype cannot hold would be another point for the candidate than for the values
        return np.asarray(a).astype(self.dtype).astype(np.asarray(a).dtype)

    def direction(self, rng: np.random.Generator, bits: int | None, only: int | None = None) -> list[np.ndarray]:
        """Return whole numbers, or normal ones where lines are not exact; zeros but for one array, if it is named.

        They are small beside the coordinates of a point, so that a line meets few kinks.
        """
        if bits is None:
            drawn = [self.whole_numbers(rng, shape, 0) + rng.standard_normal(shape) for shape in self.shapes]
        else:
            most = max(1, min(MOST_DIRECTION, 2 ** (bits // 2 - 2)))
            drawn = [self.whole_numbers(rng, shape, most) for shape in self.shapes]
        return [v if only in (None, n) else np.zeros_like(v) for n, v in enumerate(drawn)]

    def whole_numbers(self, rng: np.random.Generator, shape: tuple[int, ...], most: int) -> np.ndarray:
        """Return random whole numbers up to a size; complex ones for a complex dtype."""
        real = rng.integers(-most, most + 1, shape).astype(np.float64)
        return real + 1j * rng.integers(-most, most + 1, shape) if self.dtype in COMPLEX else real
