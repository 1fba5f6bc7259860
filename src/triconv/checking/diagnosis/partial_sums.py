"""A function of each partial sum: a ReLU, an absolute value, a clip or a rounding before the sum of all terms is complete.

The terms of an element are products, numbered by a channel and a tap, or by a sample and a position. A kernel adds some of
them, those of a tap, of a channel, of a block of channels or of a block of split-K, and adds such partial sums to each other.
What belongs behind the whole sum stands behind each partial sum by mistake: either each is changed before it is added, or the
running sum is changed after each. The partial sums of every such partition are computed by the definition, and functions tried.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from triconv.checking.diagnosis.incidences import IncidenceModel, incidences_of
from triconv.checking.findings.causes import Cause, Hypothesis
from triconv.checking.findings.diagnosis_data import Diagnosis
from triconv.checking.findings.protocol import Role
from triconv.checking.oracles.comparison import WrongResult, same

MOST_TERMS = 1024
"""Terms of an element: each takes a run of the definition."""
MOST_NUMBERS = 2**22
"""Terms of all elements, in about 32 MiB."""
SMALL = 12
"""Terms of a block of which all numbers are tried."""
LEAST_ELEMENTS = 8
"""Elements that are explained: fewer are explained by chance."""
TRIED = 48
"""Elements on which a function is tried first."""
SOLVED = 6
"""Wrong elements that say where partial sums are clipped."""
EXPLAINED = 0.1
"""Share of the error that rounded partial sums may leave: some are rounded the other way."""
STEPS = (*(2.0**-n for n in range(-3, 21)), 0.1, 0.01, 1e-3, 1e-4)
ON_STEP = 0.02
"""Share of a step by which results may be off its multiples."""

Function = Callable[[np.ndarray], np.ndarray]
FUNCTIONS: dict[str, Function] = {
    "relu": lambda a: np.maximum(a, 0),
    "abs": np.abs,
    "relu of -": lambda a: np.minimum(a, 0),
    "relu6": lambda a: np.clip(a, 0, 6),
    "square": np.square,
    "tanh": np.tanh,
    "sigmoid": lambda a: 1 / (1 + np.exp(-a)),
    "round": np.round,
}
ROUNDINGS: dict[str, Function] = {"round": np.round, "floor": np.floor, "trunc": np.trunc}
# the tensor whose elements tell the terms apart, by the tensor that the result is; its first letter, and that of positions
TERMS = {
    "g": (Role.W, 1, "input channel", "tap"),
    "x": (Role.W, 0, "output channel", "tap"),
    "w": (Role.G, 0, "sample", "output position"),
}
ROWS = {"tap": "kernel row", "output position": "output row"}


@dataclass(frozen=True)
class _Terms:
    """The terms of every element.

    Parameters
    ----------
    products : numpy.ndarray
        Shape (letters, positions, *result).
    rest : numpy.ndarray
        What is no product: a bias.
    spatial : tuple of int
        Sizes of the positions along each axis.
    letter, place : str
        What the letters and the positions are.
    """

    products: np.ndarray
    rest: np.ndarray
    spatial: tuple[int, ...]
    letter: str
    place: str

    def partitions(self) -> Iterator[tuple[str, np.ndarray]]:
        """Yield partial sums, shape (parts, *result), and what each is over."""
        letters, places = self.products.shape[:2]
        by_letter, by_place = self.products.sum(1), self.products.sum(0)
        if places > 1:
            yield self.place, by_place
        if len(self.spatial) > 1:
            rows = by_place.reshape(*self.spatial, *by_place.shape[1:])
            for axis, size in enumerate(self.spatial):
                if 1 < size < places:
                    of_axis = np.moveaxis(rows, axis, 0)
                    summed = of_axis.sum(axis=tuple(range(1, len(self.spatial))))
                    yield _row(self.place, axis, len(self.spatial)), summed
        if letters > 1:
            yield self.letter, by_letter
        for size in _blocks(letters):
            yield f"block of {size} {self.letter}s", _summed(by_letter, size)
        if letters > 1 and places > 1:
            flat = self.products.reshape(-1, *self.rest.shape)
            yield "product", flat
            other = self.products.swapaxes(0, 1).reshape(flat.shape)
            orders = ((flat, self.letter, self.place), (other, self.place, self.letter))
            for size in _blocks(letters * places):
                for terms, first, second in orders:
                    yield f"block of {size} products (in the order of {first}s and {second}s)", _summed(terms, size)
        elif places > 3:
            for size in _blocks(places):
                yield f"block of {size} {self.place}s", _summed(by_place, size)


def _row(place: str, axis: int, ndim: int) -> str:
    if ndim == 2:
        return ROWS[place] if axis == 0 else ROWS[place].replace("row", "column")
    return f"slice of {place}s along spatial axis {axis}"


def _blocks(count: int) -> list[int]:
    """Return sizes of blocks: all up to `SMALL`, powers of 2, and those of two to eight blocks."""
    powers, few = {2**n for n in range(1, 11)}, {-(-count // n) for n in range(2, 9)}
    return sorted(size for size in powers | few | set(range(SMALL + 1)) if 1 < size < count)


def _summed(terms: np.ndarray, size: int) -> np.ndarray:
    return np.add.reduceat(terms, np.arange(0, len(terms), size))


def partial_sums(r: WrongResult) -> Diagnosis | None:
    """Explain a result by a function of each partial sum, of each one alone or of the running sum."""
    terms = _terms(r)
    if terms is None:
        return None
    tried = _Tried.of(r)
    step = _step_of(r, terms.rest)
    for unit, parts in terms.partitions():
        for how, function, values in _functions(r, parts, terms.rest, step):
            if same(tried(values(tried.at)), tried(r.found)) and same(values(...), r.found):
                return _diagnosis(unit, how, function)
    return None


def rounded_partial_sums(r: WrongResult) -> Diagnosis | None:
    """Explain a small error by partial sums that are rounded to steps."""
    terms = _terms(r)
    step = None if terms is None else _step_of(r, terms.rest)
    if terms is None or step is None:
        return None
    most = EXPLAINED * np.linalg.norm(r.found - r.expected)
    for unit, parts in terms.partitions():
        for name, function in ROUNDINGS.items():
            for how, change in (("each", _each), ("running", _running)):
                if np.linalg.norm(change(parts, terms.rest, _to_steps(function, step)) - r.found) < most:
                    return _diagnosis(unit, how, f"{name} {step}")
    return None


def _diagnosis(unit: str, how: str, function: str) -> Diagnosis:
    """Return the diagnosis; after the name of a function stand the ends of a range, or a step."""
    name, *numbers = (function, *()) if function in FUNCTIONS else function.split()
    base = Diagnosis(Cause.PARTIAL_SUMS, Hypothesis.PARTIAL_SUMS, parameter=unit, mode=how, function=name)
    if name in ROUNDINGS and numbers:
        return replace(base, amount=float(numbers[0]))
    return replace(base, weights=tuple(map(float, numbers))) if numbers else base


def _terms(r: WrongResult) -> _Terms | None:
    """Return the terms of every element; None if there are too many, or if they are those of no such sum."""
    of = TERMS.get(r.role)
    if of is None or not r.has_shape or np.iscomplexobj(r.expected) or np.iscomplexobj(r.found):
        return None
    role, axis, letter, place = of
    p, m = r.problem, r.expectations.model
    if p.result == Role.X and r.role != "w":  # a transposed convolution's channels are called the other way round
        letter = "output channel" if letter == "input channel" else "input channel"
    shape = p.torch_shape(role, p.result_shape(role))
    spatial = shape[2:]
    groups = m.groups if r.role == "x" else 1
    letters, places = shape[axis] // groups, math.prod(spatial)
    count = letters * places
    if not 2 <= count <= MOST_TERMS or count * r.expected.size > MOST_NUMBERS or r.expected.size < LEAST_ELEMENTS:
        return None
    base = m if isinstance(m, IncidenceModel) else IncidenceModel.of(m, incidences_of(m.axes))
    rest = r.predicted(base.with_change(role, np.zeros_like))
    products = np.empty((letters, places, *r.expected.shape))
    mask = np.zeros(shape)
    for number, at in itertools.product(range(letters), range(places)):
        kept: list[Any] = [slice(None)] * 2 + list(np.unravel_index(at, spatial) if spatial else ())
        kept[axis] = slice(number, None, letters)
        mask[...] = 0
        mask[tuple(kept)] = 1
        products[number, at] = r.predicted(base.with_change(role, lambda a: a * mask)) - rest
    return _Terms(products, rest, spatial, letter, place)


@dataclass(frozen=True)
class _Tried:
    """Some elements of a result, those that are wrong first."""

    at: np.ndarray

    @classmethod
    def of(cls, r: WrongResult) -> _Tried:
        wrong = np.flatnonzero(r.differs().ravel())
        step = max(1, len(wrong) // TRIED)
        others = np.linspace(0, r.found.size - 1, TRIED).astype(int)
        return cls(np.unique(np.concatenate([wrong[::step], others])))

    def __call__(self, a: np.ndarray) -> np.ndarray:
        return a if a.ndim == 1 and len(a) == len(self.at) else a.ravel()[self.at]


Values = Callable[[Any], np.ndarray]


def _functions(
    r: WrongResult, parts: np.ndarray, rest: np.ndarray, step: float | None
) -> Iterator[tuple[str, str, Values]]:
    """Yield functions of partial sums: how they are applied, their names, and the values of some elements or of all."""
    flat, of_rest = parts.reshape(len(parts), -1), np.broadcast_to(rest, r.expected.shape).ravel()

    def values(change: Callable[..., np.ndarray], function: Function) -> Values:
        def of(at: Any) -> np.ndarray:
            found = change(flat[:, at] if at is not ... else flat, of_rest[at], function)
            return found if at is not ... else found.reshape(r.expected.shape)

        return of

    ways = (_running, _running_from_bias) if rest.any() else (_running,)
    of_step = {} if step is None else {f"{name} {step}": _to_steps(f, step) for name, f in ROUNDINGS.items()}
    for name, function in {**FUNCTIONS, **of_step}.items():
        yield "each", name, values(_each, function)
        yield "before", name, values(_before, function)
        for running in ways:
            yield "running", name, values(running, function)
    wrong = np.flatnonzero(r.differs().ravel())
    found = r.found.ravel()
    ends = set(_ends(flat, of_rest, found, wrong[:: max(1, len(wrong) // SOLVED)][:SOLVED]))
    for lo, hi in sorted(ends):
        yield "each", f"clip {lo} {hi}", values(_each, _clip(lo, hi))
    for running in ways:
        total = found - of_rest if running is _running else found
        low, high = float(total.min(initial=0)), float(total.max(initial=0))
        for lo, hi in ((low, high), (-math.inf, high), (low, math.inf)):
            yield "running", f"clip {lo} {hi}", values(running, _clip(lo, hi))


def _clip(lo: float, hi: float) -> Function:
    return lambda a: np.clip(a, lo, hi)


def _to_steps(rounding: Function, step: float) -> Function:
    return lambda a: rounding(a / step) * step


def _each(parts: np.ndarray, rest: np.ndarray, function: Function) -> np.ndarray:
    return np.asarray(function(parts).sum(0) + rest)


def _running(parts: np.ndarray, rest: np.ndarray, function: Function) -> np.ndarray:
    return _from(np.zeros_like(parts[0]), parts, function) + rest


def _from(total: np.ndarray, parts: np.ndarray, function: Function) -> np.ndarray:
    for part in parts:
        total = function(total + part)
    return total


def _before(parts: np.ndarray, rest: np.ndarray, function: Function) -> np.ndarray:
    total = parts[0]
    for part in parts[1:]:
        total = function(total) + part
    return total + rest


def _running_from_bias(parts: np.ndarray, rest: np.ndarray, function: Function) -> np.ndarray:
    return _from(np.broadcast_to(rest, parts[0].shape), parts, function)


def _ends(parts: np.ndarray, rest: np.ndarray, found: np.ndarray, wrong: np.ndarray) -> Iterator[tuple[float, float]]:
    """Yield the ranges to which each partial sum is clipped, by what some wrong elements are then.

    Between two magnitudes of partial sums, the sum of the clipped ones is linear in the end of the range.
    """
    for at in wrong:
        p, target = parts[:, at], float(found[at] - rest[at])
        for kind, q in (("both", p), ("zero", np.maximum(p, 0)), ("above", p)):
            sizes = np.unique(np.maximum(q, 0) if kind == "above" else np.abs(q))
            for low, high in itertools.pairwise([0.0, *sizes]):
                is_beyond = q > low if kind == "above" else np.abs(q) > low
                slope = float(np.sign(q[is_beyond]).sum())
                if not slope:
                    continue
                end = (target - float(q[~is_beyond].sum())) / slope
                if low - 1e-6 <= end <= high + 1e-6 and end > 0:
                    end = float(np.round(end, 6))
                    yield {"both": (-end, end), "zero": (0.0, end), "above": (-math.inf, end)}[kind]


def _step_of(r: WrongResult, rest: np.ndarray) -> float | None:
    """Return the largest step of which every element is a multiple, but for what is no product, if right ones are not."""
    found, right = r.found - rest, r.expected - rest
    for step in sorted(STEPS, reverse=True):
        if _is_multiple(found, step):
            return None if _is_multiple(right, step) or np.count_nonzero(found) < LEAST_ELEMENTS else step
    return None


def _is_multiple(a: np.ndarray, step: float) -> bool:
    return bool(np.all(np.abs(a / step - np.rint(a / step)) <= ON_STEP))
