"""Why a result is wrong: tables of hypotheses, in the order in which they are tried.

A hypothesis explains a result if it predicts every element of it. The kinds, each in a file of its own:

- one number is wrong, or one function of each element: `factors.py`, `elementwise.py`;
- the elements are right, but in other places, or rows are missing: `slices.py`, `sizes.py`;
- some terms of the sum are missing, or count twice: `contributions.py`, and `overwrites.py` for ``=`` instead of ``+=``;
- a function of each partial sum: `partial_sums.py`;
- the bias: `biases.py`;
- products of complex numbers are put together wrongly: `complex_parts.py`;
- an operand was normalised, or updated by its gradient, first: `changed_operands.py`;
- the operands were changed first, or the geometry was another, throughout: `misunderstandings.py`;
- the geometry was another in this result alone, which has the right shape: `geometry_mistakes.py`;
- a Fourier transform of this result had one wrong step: `fourier_mistakes.py`;
- sums end too early, and indices wrap around: `reductions.py`;
- a transform of tiles has a wrong constant: `tile_transforms.py`;
- two of these at once: `two_mistakes.py`;
- `vmap` mixes its samples: `vmapped.py`;
- no hypothesis says why, but where it is wrong has a form, such as the last tile: `regions.py`; one may say why it is wrong
  there: `inside_regions.py`.

Simple hypotheses come first, and those that one bug makes true of the value and of every VJP before those of one result alone.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from triconv.checking.diagnosis import (
    biases,
    changed_operands,
    contributions,
    devices,
    elementwise,
    factors,
    fourier_mistakes,
    overwrites,
    partial_sums,
    reductions,
    regions,
    sizes,
    slices,
    tile_transforms,
    two_mistakes,
    vmapped,
)
from triconv.checking.diagnosis.complex_parts import complex_parts
from triconv.checking.diagnosis.earlier import Earlier
from triconv.checking.diagnosis.geometry_mistakes import geometry_mistake
from triconv.checking.diagnosis.inside_regions import with_mistake_inside
from triconv.checking.diagnosis.misunderstandings import misunderstandings
from triconv.checking.diagnosis.narrow_operands import narrow_operand, narrow_result
from triconv.checking.diagnosis.size_factors import factor_of
from triconv.checking.findings.causes import Cause, Hypothesis
from triconv.checking.findings.diagnosis_data import Diagnosis, Factor
from triconv.checking.findings.protocol import Role
from triconv.checking.oracles.comparison import WrongResult, factor, same
from triconv.checking.oracles.convolution import ConvolutionModel, Expectations


def diagnose(result: WrongResult, *, thorough: bool = True, earlier: Earlier | None = None) -> Diagnosis:
    """Return the first hypothesis that predicts the result, else one without a name.

    Parameters
    ----------
    result : WrongResult
        The result.
    thorough : bool
        Whether to try the hypotheses that take a run of the definition each.
    earlier : Earlier, optional
        The diagnoses of other results of the same candidate. Where one has no name, two mistakes at once are not looked for
        in the others, which takes longest, nor a mistake of one part alone in what follows from them.
    """
    earlier = earlier or Earlier()
    with np.errstate(all="ignore"):  # what a hypothesis predicts may overflow
        diagnosis = _small(result) if same(result.found, result.expected) else earlier.same_result(result)
        if diagnosis is None:
            diagnosis, model = _first(result, thorough=thorough, earlier=earlier)
            earlier.add(result, diagnosis, model)
    return _as_transposed(diagnosis) if result.problem.is_transposed else diagnosis


def _as_transposed(d: Diagnosis) -> Diagnosis:
    return replace(d, is_transposed=True, also=None if d.also is None else _as_transposed(d.also))


def _first(result: WrongResult, *, thorough: bool, earlier: Earlier) -> tuple[Diagnosis, ConvolutionModel | None]:
    if result.problem.sharded and (diagnosis := devices.diagnose(result)) is not None:
        return diagnosis, None
    for table in _tables(result, thorough=thorough, earlier=earlier):
        for hypothesis in table if isinstance(table, tuple) else (table,):
            found = hypothesis(result)
            if found is not None:
                diagnosis, model = found if isinstance(found, tuple) else (found, None)
                return (with_mistake_inside(result, diagnosis) if thorough else diagnosis), model
    unexplained = _unexplained(result)
    return (with_mistake_inside(result, unexplained) if thorough else unexplained), None


def _tables(
    r: WrongResult, *, thorough: bool, earlier: Earlier
) -> tuple[ModelHypothesis | tuple[ModelHypothesis, ...], ...]:
    """Return the hypotheses that are tried, in order."""
    is_later = r.answer is Expectations.jvp or getattr(r.answer, "func", None) is Expectations.second
    if not thorough:
        return RESULT_HYPOTHESES, FALLBACK_HYPOTHESES, LAST_HYPOTHESES
    if earlier.is_unexplained and is_later:
        return RESULT_HYPOTHESES, earlier.same_model, FALLBACK_HYPOTHESES, LAST_HYPOTHESES
    single = (SUM_HYPOTHESES, _misunderstood, CONTRACTION_HYPOTHESES, FALLBACK_HYPOTHESES)
    last = (tile_transforms.tile_transform, two_mistakes.two_mistakes, LAST_HYPOTHESES)
    return (RESULT_HYPOTHESES, earlier.same_model, *single, *(last[::2] if earlier.is_unexplained else last))


def _misunderstood(result: WrongResult) -> tuple[Diagnosis, ConvolutionModel] | Diagnosis | None:
    """Explain a result by a mistake that holds throughout, perhaps times a factor."""
    predictions: list[tuple[Diagnosis, np.ndarray]] = []
    for diagnosis, model in misunderstandings(result.problem):
        try:
            predicted = result.predicted(model)
        except (ValueError, IndexError):  # no such geometry
            continue
        if same(predicted, result.found):
            return diagnosis, model
        if predicted.shape == result.found.shape:
            predictions.append((diagnosis, predicted))
    if result.found.size > 2:
        for diagnosis, predicted in predictions:
            if (c := factor(result.found, predicted)) is not None:
                return replace(diagnosis, factor=factor_of(c, result))
    return None


def _unexplained(r: WrongResult) -> Diagnosis:
    """Say where the result is wrong, if that is in few of its slices."""
    wrong = np.argwhere(r.differs()) if r.has_shape else np.zeros((0, 0), int)
    for axis in range(r.expected.ndim if len(wrong) else 0):
        at = tuple(sorted(set(wrong[:, axis].tolist())))
        if len(at) <= r.expected.shape[axis] * (2 / 3 if r.role == "w" and axis >= 2 else 1 / 2):
            return Diagnosis(Cause.NONE, Hypothesis.UNEXPLAINED_AT, role=Role(r.role), axis=axis, positions=at)
    return Diagnosis(Cause.NONE, Hypothesis.UNEXPLAINED)


def _small(r: WrongResult) -> Diagnosis:
    """Explain a result that is nearly right, but off by more than rounding explains."""
    if (narrow := narrow_operand(r)) is not None:
        return narrow
    error, weight = (r.found - r.expected).ravel(), np.vdot(r.expected, r.expected).real
    c = np.vdot(r.expected, r.found).real / weight if weight else 1.0
    if error.size > 1 and np.linalg.norm(r.found - c * r.expected) < 0.1 * np.linalg.norm(error):
        return Diagnosis(Cause.CONSTANT_FACTOR, Hypothesis.FACTOR_NEAR_ONE, factor=Factor(float(c)))
    if (added := elementwise.little_added(r)) is not None:
        return added
    wrong = [] if r.wrong is None else np.argwhere(r.wrong).tolist()
    if len(wrong) == 1 and error.size > 2:
        return Diagnosis(Cause.ONE_ELEMENT, Hypothesis.ELEMENT_WRONG, index=tuple(wrong[0]))
    if error.size > 2 and np.abs(error.mean()) > 10 * error.std():
        return Diagnosis(Cause.CONSTANT_ADDED, Hypothesis.CONSTANT_ADDED, amount=_real(error.mean()))
    if (noise := elementwise.noisy(r)) is not None:
        return noise
    return Diagnosis(Cause.NONE, Hypothesis.SMALL, amount=float(np.abs(error).max(initial=0)))


def _real(value: Any) -> float:
    return float(abs(value)) if np.iscomplexobj(value) else float(value)


def _zero(r: WrongResult) -> Diagnosis | None:
    if not r.has_shape or not r.found.size:
        return None
    if not np.any(r.found):
        is_value = Diagnosis(Cause.ZERO, Hypothesis.ZERO_VALUE)
        return is_value if r.is_value else Diagnosis(Cause.DETACHED, Hypothesis.ZERO)
    if r.is_value and r.has_bias:
        bias = r.predicted(r.problem.model.with_change(r.problem.result, np.zeros_like))
        if same(bias, r.found):
            return Diagnosis(Cause.ZERO, Hypothesis.BIAS_ALONE)
    return None


def _one_tangent(r: WrongResult) -> Diagnosis | None:
    """Explain a JVP in which the tangent of one operand is missing, or multiplied by a number."""
    if r.answer is not Expectations.jvp or not r.has_shape:
        return None
    arrays = r.expectations.arrays
    for role in arrays.tangents:
        tangents = {**arrays.tangents, role: np.zeros_like(arrays.tangents[role])}
        without = Expectations(r.problem, replace(arrays, tangents=tangents))
        if same(r.answer(without), r.found):
            return Diagnosis(Cause.DETACHED, Hypothesis.TANGENT_LEFT_OUT, role=Role(role))
        rest = r.answer(without)
        own = r.expected - rest
        size = np.vdot(own, own).real
        times = np.vdot(own, r.found - rest).real / size if size else 1
        if rest.any() and same(rest + times * own, r.found):
            return Diagnosis(Cause.PARTS_WEIGHTED, Hypothesis.TANGENT_WEIGHTED, role=Role(role), amount=float(times))
    return None


def _first_sample(r: WrongResult) -> Diagnosis | None:
    g = r.expectations.arrays.g
    if g.shape[0] == 1 or not r.has_shape:
        return None
    if r.role in ("w", "bias"):
        mask = np.zeros((g.shape[0], *[1] * (g.ndim - 1)), g.dtype)
        mask[0] = 1
        of_first = Expectations(r.problem, replace(r.expectations.arrays, g=g * mask), r.expectations.model)
        is_first = same(r.answer(of_first), r.found)
        return Diagnosis(Cause.ONLY_THE_FIRST_SAMPLE, Hypothesis.FIRST_SAMPLE_SUMMED) if is_first else None
    rest = r.found[1:]
    if same(r.found[:1], r.expected[:1]) and (not rest.any() or same(rest, np.broadcast_to(r.found[:1], rest.shape))):
        return Diagnosis(Cause.ONLY_THE_FIRST_SAMPLE, Hypothesis.FIRST_SAMPLE_COMPUTED)
    return None


def _conjugate(r: WrongResult) -> Diagnosis | None:
    if not np.iscomplexobj(r.expected):
        return None
    other = replace(r.problem, conjugates=not r.problem.conjugates)
    predictions = [r.answer(Expectations(other, r.expectations.arrays)), r.expected.conj()]
    predictions += [r.predicted(r.problem.model.with_change(role, np.conj)) for role in r.problem.operands]
    if any(same(p, r.found) for p in predictions):
        return Diagnosis(Cause.CONJUGATE, Hypothesis.CONJUGATE, conjugates=r.problem.conjugates)
    return None


def _first_group(r: WrongResult) -> Diagnosis | None:
    groups = r.problem.model.groups
    if groups == 1 or r.role == "bias" or not r.has_shape:
        return None
    axis = 0 if r.role == "w" else 1
    total = r.expected.shape[axis]
    parts, right = (np.split(a, groups, axis) for a in (r.found, r.expected))
    wrong = [n for n in range(groups) if not same(parts[n], right[n])]
    if 0 not in wrong and all(not parts[n].any() for n in wrong):
        size = total // groups
        return Diagnosis(Cause.ONLY_THE_FIRST_GROUP, Hypothesis.FIRST_GROUP_COMPUTED, size=size, total=total)
    return None


def _one_element(r: WrongResult) -> Diagnosis | None:
    if not r.has_shape or r.expected.size < 3:
        return None
    wrong = np.argwhere(r.differs())
    if len(wrong) != 1:
        return None
    index = tuple(map(int, wrong[0]))
    hypothesis = Hypothesis.ELEMENT_WRONG if r.found[index] else Hypothesis.ELEMENT_DROPPED
    return Diagnosis(Cause.ONE_ELEMENT, hypothesis, index=index)


def _border(r: WrongResult) -> Diagnosis | None:
    if not r.has_shape:
        return None
    wrong = np.argwhere(r.differs())
    for axis in range(2 if r.role != "bias" else 0, r.expected.ndim):
        size, at = r.expected.shape[axis], set(wrong[:, axis].tolist())
        if size > 1 and at and (at <= {0} or at <= {size - 1} or (size > 2 and at == {0, size - 1})):
            return Diagnosis(
                Cause.BORDER_DROPPED,
                Hypothesis.BORDER_WRONG,
                role=Role(r.role),
                axis=axis,
                positions=tuple(sorted(map(int, at))),
            )
    return None


ResultHypothesis = Callable[[WrongResult], Diagnosis | None]
"""A hypothesis on one result: its diagnosis, or None if it does not predict the result."""
ModelHypothesis = Callable[[WrongResult], tuple[Diagnosis, ConvolutionModel] | Diagnosis | None]
"""One that may say with which other model it predicts the result, so that it is tried on other results."""

RESULT_HYPOTHESES: tuple[ResultHypothesis, ...] = (
    sizes.empty,
    _zero,
    _one_tangent,
    factors.sign,
    factors.averaged,
    factors.scaled,
    _conjugate,
    biases.bias_in_value,
    biases.bias_gradient,
    biases.bias_gradient_of_few_positions,
    _one_element,
    _first_group,
    _first_sample,
    narrow_result,
    elementwise.function_of_elements,
    elementwise.standardised,
    elementwise.some_function,
    vmapped.other_sample,
    sizes.not_cropped,
    sizes.remainder_dropped,
    sizes.output_padding_zero,
)
"""Of one result, and quick; tried for large problems too."""

SUM_HYPOTHESES: tuple[ResultHypothesis, ...] = (
    overwrites.overwritten,
    contributions.fitted,
    elementwise.tensor_added,
    overwrites.written_once,
)
"""Of some terms of the sum that are missing or count twice; they take a run of the definition for each part."""

CONTRACTION_HYPOTHESES: tuple[ResultHypothesis, ...] = (
    narrow_operand,
    slices.rearranged,
    geometry_mistake,
    elementwise.function_of_tensors,
    changed_operands.updated_first,
    changed_operands.operand_normalised,
    partial_sums.partial_sums,
    contributions.fitted_somehow,
    fourier_mistakes.fourier_mistake,
    complex_parts,
)
"""Of one result, which take a run of the definition each."""

FALLBACK_HYPOTHESES: tuple[ResultHypothesis, ...] = (
    biases.bias_gradient_cut,
    slices.reordered,
    slices.reversed_in_axes,
    reductions.cut_off,
    _border,
    slices.shifted,
    sizes.cut,
    factors.scaled_number,
    reductions.index_wraps,
)
"""Of one result, where a mistake that holds throughout would be the better diagnosis if both fit."""

LAST_HYPOTHESES: tuple[ResultHypothesis, ...] = (
    regions.wrong_region,
    elementwise.noisy,
    sizes.unexplained_shape,
)
"""Of what no mistake explains: where it is wrong."""
