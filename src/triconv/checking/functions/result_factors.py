"""A VJP in which each element of the cotangent has a factor of its own: the derivative of an activation after a sum.

A layer ``y = f(z)`` with ``z`` linear in the array has the VJP ``z'(f'(z) g)``. If ``f'`` is left out or wrong, the VJP of a
cotangent that is 1 in one place is the right one times a number. Along a direction ``v``, that number is ``<vjp(e), v>`` over
the derivative of that one value, which is known for all values at once.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from triconv.checking.findings.causes import Cause, Hypothesis
from triconv.checking.findings.diagnosis_data import Diagnosis, Factor
from triconv.checking.functions.directional import Derivative

DIRECTIONS = 3
"""Directions along which one number must explain a cotangent."""
MOST_RESULTS, FEWEST_RESULTS = 96, 4
"""Elements of the result that are asked for, and fewer of which say nothing."""
SECONDS = 1.5
"""Time for them."""
NEAR = 1e-5
"""Difference of two sums, over their size, that is no mistake."""
TINY = 1e-9
"""Derivative of a value that does not depend on the array, over the largest."""
BEFORE = 1e-3
"""Difference of two factors that are functions of the same element."""

MAY_BE_FACTORS = (Hypothesis.TERMS_LEFT_OUT, Hypothesis.AT_ZERO, Hypothesis.AT_EARLIER)
"""What a slope that is left out, or zero, looks like too: it is that where arrays are zero, or where nothing is masked."""

Function = Callable[[np.ndarray], np.ndarray]


def _logistic(z: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-z))


ACTIVATIONS: dict[str, tuple[Function, Function, Function, str]] = {
    "tanh": (np.arctanh, lambda y: 1 - y**2, np.tanh, "1 - y**2"),
    "sigmoid": (lambda y: np.log(y / (1 - y)), lambda y: y * (1 - y), _logistic, "y * (1 - y)"),
}
"""The inverse, the derivative as a function of the result, the function, and the formula of that derivative."""


@dataclass(frozen=True, slots=True)
class Factors:
    """The number by which each element of a cotangent is multiplied.

    Parameters
    ----------
    of : numpy.ndarray
        The number; where the value does not depend on the array, 1 or 0 for whether the cotangent passes nevertheless.
    depends : numpy.ndarray
        Where the value depends on the array.
    y : numpy.ndarray
        The values.
    """

    of: np.ndarray
    depends: np.ndarray
    y: np.ndarray


def is_certain(diagnosis: Diagnosis | None) -> bool:
    """Whether a diagnosis says more than one of `MAY_BE_FACTORS`."""
    return diagnosis is not None and diagnosis.hypothesis not in (
        Hypothesis.RESULTS_LEFT_OUT,
        Hypothesis.FACTORS_OF_RESULTS,
    )


def explain(
    g: np.ndarray,
    y: np.ndarray,
    directions: list[np.ndarray],
    ask: Callable[[np.ndarray], np.ndarray],
    line: Callable[[np.ndarray], Derivative],
    seed: int,
) -> Diagnosis | None:
    """Return the diagnosis if each element of the cotangent has a factor of its own; None if not.

    Parameters
    ----------
    g, y : numpy.ndarray
        A cotangent, and the values.
    directions : list of numpy.ndarray
        Of the array.
    ask : callable
        Gives the VJP of a cotangent.
    line : callable
        Gives the derivative of every value along a direction.
    seed : int
        Of the choice of elements.
    """
    factors = _factors(g, y, directions, ask, line, seed)
    if factors is None:
        return None
    c, depends, values = factors.of, factors.depends, factors.y
    passes, rest = ~depends & (c != 0), c[depends]
    is_one, is_zero = np.abs(rest - 1) <= NEAR, np.abs(rest) <= NEAR
    if passes.any() and (is_one | is_zero).all():  # else it may be a sigmoid that is saturated
        return _mask(factors, passes, is_one, is_zero)
    if is_one.all() or not len(rest):
        return None
    changed, at = rest[~is_one], values[depends]
    if np.ptp(changed) <= NEAR * np.abs(changed).max():
        for sign, side in (("negative", at < 0), ("positive", at > 0)):
            if (side == ~is_one).all() and not side.all():
                factor = Factor(float(changed[0]))
                return Diagnosis(Cause.ACTIVATION, Hypothesis.SLOPE_OF_RESULT, mode=sign, factor=factor)
    if (is_one | is_zero).all():
        if not is_one.any():
            return None
        return Diagnosis(Cause.MASKED, Hypothesis.RESULTS_LEFT_OUT, size=int(is_zero.sum()), total=len(rest))
    if (named := _known(rest, at)) is not None:
        return named
    if len(np.unique(np.round(c, 4))) < FEWEST_RESULTS:
        return None
    return Diagnosis(
        Cause.ACTIVATION, Hypothesis.FACTORS_OF_RESULTS, weights=(float(changed.min()), float(changed.max()))
    )


def _factors(
    g: np.ndarray,
    y: np.ndarray,
    directions: list[np.ndarray],
    ask: Callable[[np.ndarray], np.ndarray],
    line: Callable[[np.ndarray], Derivative],
    seed: int,
) -> Factors | None:
    started = time.perf_counter()
    lines = [line(v) for v in directions]
    known = np.all([np.isfinite(d.error) for d in lines], axis=0)
    at = np.flatnonzero(known)
    if len(at) > MOST_RESULTS:
        at = np.sort(np.random.default_rng(seed).choice(at, MOST_RESULTS, replace=False))
    one, factors, depends, looked = np.zeros(g.size), [], [], []
    size = max(float(np.abs(d.value[at]).max(initial=0)) for d in lines)
    for index in np.random.default_rng(seed).permutation(at):
        one[index] = 1
        column = ask(one.reshape(g.shape).copy())
        one[index] = 0
        right = np.array([d.value[index] for d in lines])
        error = max(float(d.error[index]) for d in lines)
        if error > NEAR * np.abs(right).max() + TINY * size:  # a kink is near
            continue
        unsure = TINY * size + 10 * error
        found = np.array([float((column * v).sum()) for v in directions])
        terms = max(float(np.abs(column * v).sum()) for v in directions)
        if np.abs(right).max() <= unsure:
            factors.append(float(terms > unsure))
            depends.append(False)
        else:
            c = float(found @ right / (right @ right))
            if np.abs(found - c * right).max() > NEAR * (terms + abs(c) * np.abs(right).max()) + unsure * (1 + abs(c)):
                return None
            factors.append(c)
            depends.append(True)
        looked.append(index)
        if time.perf_counter() - started > SECONDS:
            break
    if len(looked) < FEWEST_RESULTS:
        return None
    return Factors(np.array(factors), np.array(depends), y.ravel()[looked])


def _mask(f: Factors, passes: np.ndarray, is_one: np.ndarray, is_zero: np.ndarray) -> Diagnosis | None:
    """Explain a cotangent that passes where the value does not depend on the array."""
    if is_one.all():
        values = np.unique(f.y[passes])
        amount = float(values[0]) if len(values) == 1 else None
        hypothesis = Hypothesis.MASK_LEFT_OUT if amount is None else Hypothesis.MASK_LEFT_OUT_AT
        return Diagnosis(Cause.ACTIVATION, hypothesis, amount=amount, size=int(passes.sum()), total=len(passes))
    if is_zero.all():
        return Diagnosis(Cause.MASKED, Hypothesis.MASK_OF_RESULT_INVERTED)
    return Diagnosis(Cause.MASKED, Hypothesis.OTHER_MASK_OF_RESULT, size=int(is_zero.sum()), total=int(passes.sum()))


def _known(c: np.ndarray, y: np.ndarray) -> Diagnosis | None:
    """Explain factors by what was written in place of the derivative of a known activation."""
    with np.errstate(all="ignore"):
        for name, (inverse, slope, function, formula) in ACTIVATIONS.items():
            right, z = slope(y), inverse(y)
            written = {
                Hypothesis.SLOPE_LEFT_OUT: np.ones_like(y),
                Hypothesis.SLOPE_OF_ARGUMENT: slope(z),
                Hypothesis.SLOPE_AT_RESULT: slope(function(y)),
                Hypothesis.SLOPE_TWICE: right**2,
            }
            for hypothesis, wrong in written.items():
                if np.ptp(wrong / right) > BEFORE and np.allclose(c * right, wrong, rtol=BEFORE, atol=BEFORE):
                    return Diagnosis(Cause.ACTIVATION, hypothesis, function=name, mode=formula)
    return None
