"""What the questions on arrays, memory and calls share: the candidate, two sets of numbers, and when two results differ.

These questions compare a candidate with itself: none needs an oracle, and none says anything about a result that is
always wrong in the same way.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from triconv.checking.candidates.candidate import Arrays, CandidateFunction, as_array, as_numpy
from triconv.checking.findings.arrangement_findings import Arrangement
from triconv.checking.findings.protocol import Question, Role
from triconv.checking.memory.handed import Watch, marked

COTANGENT = "the cotangent"
CHEAP = 10**7
"""Multiply-adds of a call up to which it is made many times: some 0.01 s in plain NumPy."""

Results = dict[Question, Any]
"""Results as they came, by what was asked."""


@dataclass
class Trial:
    """A candidate, and what it is called with.

    Parameters
    ----------
    candidate : CandidateFunction
        What is asked.
    names : tuple of str
        Of its arrays.
    value : Question
        That of its value.
    vjps : dict of int to Question
        Those of the cotangents that it gives, by the number of the array.
    first, second : list of numpy.ndarray
        Two sets of numbers for its arrays.
    g, other_g : numpy.ndarray
        Two cotangents.
    differ : callable
        Says of two results in which elements they differ by more than rounding.
    size : int
        Multiply-adds of a call, about.
    is_convolution : bool
        Whether it should be a convolution, whose results never lie in the memory of an array.
    has_jvp, has_vmap : bool
        Whether its JVP and its `vmap` were right.
    may_write : bool
        Whether it is said to write into its arrays, as `torch.nn.ReLU(inplace=True)` is.
    roles : tuple of Role
        Those of its arrays in a convolution.
    batch_axes : dict of str to int
        The axis of the samples of each array that has one, by its name, and of the results, by the words of their roles.
    ndims : dict of Question to int
        Number of axes of each result, for numbers in lists.
    right : dict of Question to numpy.ndarray
        The results for `first` and `g` that were right when they were asked before.
    """

    candidate: CandidateFunction
    names: tuple[str, ...]
    value: Question
    vjps: dict[int, Question]
    first: Sequence[np.ndarray]
    second: Sequence[np.ndarray]
    g: np.ndarray
    other_g: np.ndarray
    differ: Callable[[np.ndarray, np.ndarray], np.ndarray]
    size: int
    is_convolution: bool
    has_jvp: bool = False
    has_vmap: bool = False
    may_write: bool = False
    roles: tuple[Role, ...] = ()
    batch_axes: dict[str, int] = field(default_factory=dict)
    ndims: dict[Question, int] = field(default_factory=dict)
    right: dict[Question, np.ndarray] = field(default_factory=dict)
    calls: int = 0

    @property
    def has_strides(self) -> bool:
        """Whether the arrays of its library lie in memory that can be arranged, shared and overwritten."""
        return self.candidate.backend.name in ("numpy", "torch")

    @property
    def asks(self) -> list[Callable[[Arrays, np.ndarray], Results]]:
        """Ask for the value; and, if it gives any, for the cotangents."""
        return [self.ask_value, self.ask_vjps] if self.vjps else [self.ask_value]

    def ask_value(self, arrays: Arrays, g: np.ndarray) -> Results:
        """Return the value."""
        self.calls += 1
        return {self.value: self._array(self.value, self.candidate.value(arrays))}

    def ask_vjps(self, arrays: Arrays, g: np.ndarray) -> Results:
        """Return all cotangents that the candidate gives."""
        self.calls += 1
        if len(self.vjps) == len(self.names):
            return self.by_question(self.candidate.vjps(arrays, g))
        return {q: self._array(q, self.candidate.vjp(arrays, g, n)) for n, q in self.vjps.items()}

    def by_question(self, gradients: Sequence[Any]) -> Results:
        """Return cotangents by what was asked, without those that the candidate does not give."""
        return {q: self._array(q, gradients[n]) for n, q in self.vjps.items()}

    def _array(self, question: Question, raw: Any) -> Any:
        return as_array(raw, self.candidate.dtype, self.ndims.get(question, 0))

    def marked(
        self, arrays: Arrays, arrangement: Arrangement | None = None, label: str | None = None
    ) -> list[np.ndarray]:
        """Return the arrays with their names; the one of this name in an arrangement.

        The parameters of a layer have no names, for its update may change them.
        """
        count = self.candidate.inputs
        return [
            a if count is not None and n >= count else marked(a, name, arrangement if name == label else None)
            for n, (a, name) in enumerate(zip(arrays, self.names, strict=True))
        ]

    def marked_g(self, g: np.ndarray, arrangement: Arrangement | None = None) -> np.ndarray:
        """Return the cotangent with its name."""
        return marked(g, COTANGENT, arrangement)

    @contextlib.contextmanager
    def watching(self, *, keeps: bool = False) -> Iterator[Watch]:
        """Within it, what is handed to the candidate is seen."""
        self.candidate.watch = Watch(keeps)
        try:
            yield self.candidate.watch
        finally:
            self.candidate.watch = None

    @functools.cached_property
    def scale(self) -> float:
        """The largest number among the results and the cotangent: what terms may be that cancel in other results."""
        results = {**copied(self.ask_value(self.first, self.g))}
        if self.vjps:
            results |= copied(self.ask_vjps(self.first, self.g))
        sizes = [
            np.abs(np.where(np.isfinite(a), a, 0)).max(initial=0) for a in (self.g, *results.values()) if a is not None
        ]
        return float(max(sizes))

    def different(self, found: Any, expected: Any) -> int:
        """In how many elements two results differ: in all if they have other shapes, in none if one is no array."""
        a, b = as_numpy(found), as_numpy(expected)
        if a is None or b is None:
            return 0
        if a.shape != b.shape:
            return max(a.size, 1)
        count = int(np.count_nonzero(self.differ(a, b)))
        if count and not self.is_convolution:  # perhaps only by the rounding of terms that cancel
            count = int(np.count_nonzero(self.differ(a + self.scale, b + self.scale)))
        return count


def copied(results: Results) -> dict[Question, np.ndarray | None]:
    """Return copies of results, as arrays of NumPy."""
    arrays = {question: as_numpy(raw) for question, raw in results.items()}
    return {question: None if a is None else np.array(a) for question, a in arrays.items()}


def differ_by(share: float, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Say where two results differ by more than a share of their largest element, for functions whose results are rounded."""
    wide = [np.asarray(c).astype(np.complex128 if c.dtype.kind == "c" else np.float64) for c in (a, b)]
    with np.errstate(all="ignore"):
        sizes = np.abs(np.where(np.isfinite(wide[1]), wide[1], 0))
        is_far = ~(np.abs(wide[0] - wide[1]) <= share * sizes.max(initial=0))
        return np.asarray(is_far & (wide[0] != wide[1]) & ~(np.isnan(wide[0]) & np.isnan(wide[1])))


def differ_as_integers(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Say where two results of integers differ: by half or more, for each is within a quarter of a whole number."""
    if a.dtype.kind in "iu" and b.dtype.kind in "iu":
        return np.asarray(a != b)
    wide = [np.asarray(c).astype(np.complex128 if c.dtype.kind == "c" else np.float64) for c in (a, b)]
    with np.errstate(all="ignore"):
        return np.asarray(~(np.abs(wide[0] - wide[1]) < 0.5) & ~(np.isnan(wide[0]) & np.isnan(wide[1])))
