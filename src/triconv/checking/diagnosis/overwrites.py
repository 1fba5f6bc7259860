"""What is left of a sum where a loop writes with ``=`` instead of ``+=``: the last term that meets an element, or the first.

A result is a sum over the letters that it does not have. A loop over some of them that overwrites leaves the terms of the last
index that reaches the element; the other letters are still summed, in a product or an inner loop. Since what meets is a
product over the spatial axes, the last in lexicographic order is the last in each axis.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from triconv.checking.diagnosis.contributions import gradient_of
from triconv.checking.diagnosis.incidences import Incidence, IncidenceModel, right_incidences
from triconv.checking.findings.causes import Cause, Hypothesis
from triconv.checking.findings.diagnosis_data import Diagnosis, Part
from triconv.checking.findings.protocol import Role
from triconv.checking.oracles.comparison import WrongResult, same
from triconv.checking.oracles.convolution import ConvolutionModel

# axis of an incidence tensor (input, output, tap) that the result has, and the axes along which its terms may be ordered
SUMMED = {"x": (0, (1, 2)), "g": (1, (2,)), "w": (2, (1,))}
# the tensor and its axis with the other letter that is summed over
LETTER = {"x": (Role.W, 0, Part.OUTPUT_CHANNEL), "g": (Role.W, 1, Part.INPUT_CHANNEL), "w": (Role.G, 0, Part.SAMPLE)}


def overwritten(r: WrongResult) -> Diagnosis | None:
    """Explain a result in which only the last of several terms is left."""
    return _overwritten(r, -1) or _running_sum(r)


def written_once(r: WrongResult) -> Diagnosis | None:
    """Explain a result in which only the first of several terms is left."""
    return _overwritten(r, 0)


def _overwritten(r: WrongResult, end: int) -> Diagnosis | None:
    if not r.has_shape or not r.expected.size:
        return None
    if r.role == "bias":
        return _bias(r, end)
    return next((diagnosis for diagnosis, model in _models(r, end) if same(r.predicted(model), r.found)), None)


def _models(r: WrongResult, end: int) -> Iterator[tuple[Diagnosis, ConvolutionModel]]:
    right = right_incidences(r.problem)
    kept, orders = SUMMED[r.role]
    role, axis, part = LETTER[r.role]
    size = r.problem.torch_shape(role, r.problem.result_shape(role))[axis]
    if r.role == "x":
        size //= r.problem.model.groups
    variants = [right]
    for order, everywhere in itertools.product(orders, (False, True)):
        changed = [_only(a, kept, order, end, everywhere=everywhere) for a in right]
        variants.append(tuple(changed))
        if len(right) > 1:
            variants += [(*right[:n], one, *right[n + 1 :]) for n, one in enumerate(changed)]
    hypothesis = Hypothesis.OVERWRITTEN if end else Hypothesis.OVERWRITTEN_FIRST
    diagnosis = Diagnosis(Cause.OVERWRITTEN, hypothesis, role=Role(r.role))
    for number, incidences in enumerate(variants):
        changes = any(not np.array_equal(a, b) for a, b in zip(incidences, right, strict=True))
        model: ConvolutionModel = IncidenceModel.of(r.problem.model, incidences)
        if changes:
            yield diagnosis, model
        if size > 1 and (changes or not number):
            of_letter = diagnosis if number else replace(diagnosis, part=part)
            yield of_letter, model.with_change(role, _one_of(axis, size, end))


def _only(a: Incidence, kept: int, order: int, end: int, *, everywhere: bool) -> Incidence:
    """Return where they meet for the last or first index along `order` that meets at all, or, `everywhere`, that there is."""
    out = np.zeros_like(a)
    source, target = (np.moveaxis(b, (kept, order), (0, 1)) for b in (a, out))
    met: Any = source.any(axis=2)
    for position, meets in enumerate(met):
        meeting = np.arange(source.shape[1]) if everywhere else np.flatnonzero(meets)
        if len(meeting):
            target[position, meeting[end]] = source[position, meeting[end]]
    return out


def _one_of(axis: int, size: int, end: int) -> Any:
    """Keep one slice of each block of `size` along an axis."""

    def change(t: np.ndarray) -> np.ndarray:
        keep = np.zeros(size, t.dtype)
        keep[end] = 1
        mask = np.tile(keep, t.shape[axis] // size)
        return t * mask.reshape([-1 if n == axis else 1 for n in range(t.ndim)])

    return change


def _bias(r: WrongResult, end: int) -> Diagnosis | None:
    """The same of a bias gradient, which is summed over the samples and positions of the cotangent."""
    g = r.expectations.arrays.g
    axes = [axis for axis in range(g.ndim) if axis != 1 and g.shape[axis] > 1]
    for number in range(1, len(axes) + 1):
        for subset in itertools.combinations(axes, number):
            only = np.zeros_like(g)
            at = tuple(slice(None) if axis not in subset else g.shape[axis] - 1 if end else 0 for axis in range(g.ndim))
            only[at] = g[at]
            if same(gradient_of(r, only), r.found):
                hypothesis = Hypothesis.OVERWRITTEN if end else Hypothesis.OVERWRITTEN_FIRST
                return Diagnosis(Cause.OVERWRITTEN, hypothesis, role=Role.BIAS)
    return None


def _running_sum(r: WrongResult) -> Diagnosis | None:
    """Explain a result whose accumulator is not reset from one element to the next."""
    e = r.expected
    for axis in range(e.ndim):
        if e.shape[axis] > 1 and same(np.cumsum(e, axis), r.found):
            return Diagnosis(Cause.ACCUMULATED, Hypothesis.RUNNING_SUM, axis=axis)
        flat = e.reshape(*e.shape[:axis], -1)
        if axis < e.ndim - 1 and same(np.cumsum(flat, axis=-1).reshape(e.shape), r.found):
            return Diagnosis(Cause.ACCUMULATED, Hypothesis.RUNNING_SUM, axis=axis)
    return None
