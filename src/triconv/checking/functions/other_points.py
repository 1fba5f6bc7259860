"""A derivative, or a value, that is right for other arrays than those given: one is transposed, reversed, rolled, or zero."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import numpy as np

from triconv.checking.findings.causes import Cause, Hypothesis
from triconv.checking.findings.diagnosis_data import Diagnosis
from triconv.checking.functions.function_location import real_sum

SECONDS = 1.0
"""Time for other arrays: each takes a few values of the function."""
SUMS = 3
"""Random sums that must be those of the derivative for other arrays."""
COTANGENT = "the cotangent"
FAR = 16
"""Of a sum by extrapolation, how much farther from the right one it may be than an exact one."""


def explain(
    found: np.ndarray,
    arrays: Sequence[np.ndarray],
    g: np.ndarray,
    names: Sequence[str],
    derivative: Callable[[Sequence[np.ndarray], np.ndarray, np.ndarray], float],
    seed: int,
    own: int,
    others: Sequence[tuple[Diagnosis, Callable[[np.ndarray], float]]] = (),
) -> Diagnosis | None:
    """Return which array was another one, if that explains a cotangent.

    Parameters
    ----------
    found : numpy.ndarray
        The cotangent.
    arrays, g : sequence of numpy.ndarray, numpy.ndarray
        For which it was asked.
    names : sequence of str
        Of the arrays.
    derivative : callable
        Gives the right sum of the elements of a cotangent, for arrays, a cotangent of the result, and the weights.
    seed : int
        Of the weights.
    own : int
        Which array the cotangent is of: its own slices say little, as a maximum may be at the same place in each.
    others : sequence of (Diagnosis, callable)
        Other derivatives, each with what it means to be that one: they give the sum for the weights.
    """
    started, rng = time.perf_counter(), np.random.default_rng(seed)
    weights = [rng.integers(1, 64, found.shape) * rng.choice([-1.0, 1.0], found.shape) for _ in range(SUMS)]
    sums = [real_sum(found, w) for w in weights]
    near = [1e-6 * float(np.abs(found * w).sum()) for w in weights]
    for number, name in enumerate((*names, COTANGENT)):
        a = g if number == len(arrays) else arrays[number]
        changes = _changes(a, name) if number == own else itertools.chain(_changes(a, name), _slices(a, name))
        for diagnosis, changed in changes:
            if time.perf_counter() - started > SECONDS:
                return None
            given = [changed if n == number else b for n, b in enumerate(arrays)]
            of_result = changed if number == len(arrays) else g
            if all(
                abs(derivative(given, of_result, w) - s) <= allowed
                for w, s, allowed in zip(weights, sums, near, strict=True)
            ):
                return diagnosis
    for diagnosis, other in others:
        if any(sums) and all(
            abs(other(w) - s) <= FAR * allowed for w, s, allowed in zip(weights, sums, near, strict=True)
        ):
            return diagnosis
    return None


def explain_value(
    found: np.ndarray,
    arrays: Sequence[np.ndarray],
    names: Sequence[str],
    value: Callable[[Sequence[np.ndarray]], np.ndarray],
) -> Diagnosis | None:
    """Return which array was another one, if that explains a value.

    Parameters
    ----------
    found : numpy.ndarray
        The value.
    arrays : sequence of numpy.ndarray
        For which it was asked.
    names : sequence of str
        Of the arrays.
    value : callable
        Gives the right value for arrays.
    """
    started = time.perf_counter()
    near = 1e-6 * float(np.abs(found).max(initial=0))
    for number, (name, a) in enumerate(zip(names, arrays, strict=True)):
        for diagnosis, changed in itertools.chain(_changes(a, name), _slices(a, name), _misread(a, name)):
            if time.perf_counter() - started > SECONDS:
                return None
            right = value([changed if n == number else b for n, b in enumerate(arrays)])
            if right.shape == found.shape and near and bool(np.all(np.abs(right - found) <= near)):
                return replace(diagnosis, function="value")
    return None


def _misread(a: np.ndarray, name: str) -> Iterator[tuple[Diagnosis, np.ndarray]]:
    """The same numbers read with the axes in another order."""
    for order in itertools.permutations(range(a.ndim)) if 1 < a.ndim <= 4 else ():
        moved = tuple(a.shape[axis] for axis in order)
        for changed in (a.reshape(moved).transpose(np.argsort(order)), a.transpose(order).reshape(a.shape)):
            if not np.array_equal(changed, a):
                yield Diagnosis(Cause.LAYOUT_MISREAD, Hypothesis.AT_MISREAD, parameter=name, axes=order), changed


def _changes(a: np.ndarray, name: str) -> Iterator[tuple[Diagnosis, np.ndarray]]:
    long = [axis for axis, size in enumerate(a.shape) if size > 1]
    if name != COTANGENT:
        yield Diagnosis(Cause.DETACHED, Hypothesis.AT_ZERO, parameter=name), np.zeros_like(a)
    for one, two in itertools.combinations(long, 2):
        if a.shape[one] == a.shape[two]:
            swapped = Diagnosis(Cause.LAYOUT_MISREAD, Hypothesis.AT_TRANSPOSED, parameter=name, axes=(one, two))
            yield swapped, a.swapaxes(one, two)
    for axes in (*((axis,) for axis in long), *([tuple(long[-2:])] if len(long) > 1 else [])):
        yield Diagnosis(Cause.KERNEL_FLIP, Hypothesis.AT_FLIPPED, parameter=name, axes=axes), np.flip(a, axes)


def _slices(a: np.ndarray, name: str) -> Iterator[tuple[Diagnosis, np.ndarray]]:
    """The first slice in place of all, and slices that are shifted."""
    for axis in (axis for axis, size in enumerate(a.shape) if size > 1):
        first = np.broadcast_to(np.take(a, [0], axis), a.shape)
        yield Diagnosis(Cause.CHANNELS_LEFT_OUT, Hypothesis.AT_FIRST_SLICE, parameter=name, axis=axis), first
        for step in (1, -1) if a.shape[axis] > 2 else ():  # of 2, that is the flip
            rolled = Diagnosis(Cause.CHANNELS_PERMUTED, Hypothesis.AT_ROLLED, parameter=name, axis=axis, offset=(step,))
            yield rolled, np.roll(a, step, axis)
