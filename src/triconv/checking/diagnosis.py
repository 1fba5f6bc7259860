"""Why a result is wrong: a table of hypotheses, one row each.

Most mistakes are of the kind "the operands were changed first" or "the geometry was another": those are in
`misunderstandings.py`. The others concern one result alone, and are rows of `RESULT_HYPOTHESES`, or of
`FALLBACK_HYPOTHESES` if a misunderstanding is the better diagnosis where both fit. A hypothesis explains a result if it
predicts every element of it.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from triconv.checking import devices
from triconv.checking.causes import Cause, Diagnosis, Factor, Hypothesis, Size
from triconv.checking.comparison import WrongResult, factor, same
from triconv.checking.convolution import Expectations
from triconv.checking.misunderstandings import misunderstandings, remainder


def diagnose(result: WrongResult, *, thorough: bool = True) -> Diagnosis:
    """Return the first hypothesis that predicts the result, else one without a name."""
    if same(result.found, result.expected):
        return _small(result)
    if result.problem.sharded and (diagnosis := devices.diagnose(result)) is not None:
        return diagnosis
    for hypothesis in RESULT_HYPOTHESES:
        if (diagnosis := hypothesis(result)) is not None:
            return diagnosis
    predictions: list[tuple[Diagnosis, np.ndarray]] = []
    for diagnosis, model in misunderstandings(result.problem) if thorough else ():
        try:
            predicted = result.predicted(model)
        except (ValueError, IndexError):  # no such geometry
            continue
        if same(predicted, result.found):
            return diagnosis
        if predicted.shape == result.found.shape:
            predictions.append((diagnosis, predicted))
    for diagnosis, predicted in predictions:
        if (c := factor(result.found, predicted)) is not None:
            return replace(diagnosis, factor=factor_of(c, result))
    for hypothesis in FALLBACK_HYPOTHESES:
        if (diagnosis := hypothesis(result)) is not None:
            return diagnosis
    return Diagnosis(Cause.NONE, Hypothesis.UNEXPLAINED)


def factor_of(c: float, result: WrongResult) -> Factor:
    """Return a factor with every size of the problem that it, or its inverse, may be."""
    groups = result.problem.model.groups
    g, w = (result.problem.torch_shape(role, result.problem.result_shape(role)) for role in "gw")
    n, k, outputs = g[0], g[1], g[2:]
    per_group, kernel = w[1], w[2:]
    positions, taps = int(np.prod(outputs)), int(np.prod(kernel))
    sizes = {
        Size.BATCH: n,
        Size.OUTPUT_POSITIONS: positions,
        Size.BATCH_TIMES_POSITIONS: n * positions,
        Size.INPUT_CHANNELS: per_group * groups,
        Size.OUTPUT_CHANNELS: k,
        Size.TAPS: taps,
        Size.TAPS_TIMES_CHANNELS: taps * per_group,
        Size.GROUPS: groups,
    }
    for value, is_inverse in ((c, False), (1 / c, True)):
        size = round(value)
        if size > 1 and np.isclose(value, size, rtol=1e-6):
            return Factor(c, size, is_inverse, tuple(name for name, other in sizes.items() if other == size))
    return Factor(c)


def _small(r: WrongResult) -> Diagnosis:
    """Explain a result that is nearly right, but off by more than rounding explains."""
    error, weight = (r.found - r.expected).ravel(), np.vdot(r.expected, r.expected).real
    c = np.vdot(r.expected, r.found).real / weight if weight else 1.0
    if np.linalg.norm(r.found - c * r.expected) < 0.1 * np.linalg.norm(error):
        return Diagnosis(Cause.CONSTANT_FACTOR, Hypothesis.FACTOR_NEAR_ONE, factor=Factor(float(c)))
    wrong = [] if r.wrong is None else np.argwhere(r.wrong).tolist()
    if len(wrong) == 1 and error.size > 2:
        return Diagnosis(Cause.ONE_ELEMENT, Hypothesis.ELEMENT_WRONG, index=tuple(wrong[0]))
    if error.size > 2 and np.abs(error.mean()) > 10 * error.std():
        return Diagnosis(Cause.CONSTANT_ADDED, Hypothesis.CONSTANT_ADDED, amount=_real(error.mean()))
    return Diagnosis(Cause.NONE, Hypothesis.SMALL, amount=float(np.abs(error).max(initial=0)))


def _real(value: Any) -> float:
    return float(abs(value)) if np.iscomplexobj(value) else float(value)


def _zero(r: WrongResult) -> Diagnosis | None:
    if r.is_value or not r.has_shape or np.any(r.found):
        return None
    return Diagnosis(Cause.DETACHED, Hypothesis.ZERO)


def _sign(r: WrongResult) -> Diagnosis | None:
    c = factor(r.found, r.expected)
    return Diagnosis(Cause.SIGN, Hypothesis.SIGN) if c is not None and np.isclose(c, -1) else None


def _averaged(r: WrongResult) -> Diagnosis | None:
    n, c = r.expectations.arrays.g.shape[0], factor(r.found, r.expected)
    if c is None or n == 1 or r.role not in ("w", "bias") or not np.isclose(c, 1 / n, rtol=1e-6):
        return None
    return Diagnosis(Cause.BATCH_AVERAGED, Hypothesis.BATCH_MEAN, size=n)


def _scaled(r: WrongResult) -> Diagnosis | None:
    c = factor(r.found, r.expected)
    return None if c is None else Diagnosis(Cause.CONSTANT_FACTOR, Hypothesis.FACTOR, factor=factor_of(c, r))


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


def _no_bias(r: WrongResult) -> Diagnosis | None:
    if not r.is_value or "bias" not in r.problem.roles or not r.has_shape:
        return None
    bias = r.expectations.arrays.primals["bias"]
    linear = r.expected - bias.reshape(-1, *[1] * (r.expected.ndim - 2))
    return Diagnosis(Cause.BIAS_IGNORED, Hypothesis.BIAS_NOT_ADDED) if same(linear, r.found) else None


def _bias_axis(r: WrongResult) -> Diagnosis | None:
    if r.role == "bias":
        return _bias_gradient(r)
    if "bias" not in r.problem.roles or not r.is_value:
        return None
    bias = r.expectations.arrays.primals["bias"]
    linear = r.expected - bias.reshape(-1, *[1] * (r.expected.ndim - 2))
    for axis, size in enumerate(linear.shape):
        shape = [1] * linear.ndim
        shape[axis] = size
        if axis != 1 and size == bias.size and same(linear + bias.reshape(shape), r.found):
            return Diagnosis(Cause.BIAS_AXIS, Hypothesis.BIAS_ALONG_AXIS, axis=axis)
    return None


def _bias_gradient(r: WrongResult) -> Diagnosis | None:
    g = r.expectations.arrays.g
    for keep in range(g.ndim):
        summed = g.sum(axis=tuple(axis for axis in range(g.ndim) if axis != keep))
        if keep != 1 and same(summed, r.found):
            return Diagnosis(Cause.BIAS_AXIS, Hypothesis.BIAS_SUM_KEEPS_AXIS, axis=keep)
    for axes in itertools.chain.from_iterable(itertools.combinations(range(g.ndim), n) for n in range(1, g.ndim)):
        if 1 not in axes and same(g.sum(axis=axes), r.found):
            missing = tuple(sorted(set(range(g.ndim)) - set(axes) - {1}))
            return Diagnosis(Cause.BIAS_AXIS, Hypothesis.BIAS_SUM_LEAVES_OUT_AXES, axes=missing)
    for index in itertools.product(*[(slice(None), 0, -1)] * (g.ndim - 2)):
        inside: Any = (slice(None), slice(None), *index)
        partial = g[inside]
        if same(partial.sum(axis=tuple(axis for axis in range(partial.ndim) if axis != 1)), r.found):
            return Diagnosis(Cause.BIAS_AXIS, Hypothesis.BIAS_SUM_LEAVES_OUT_POSITIONS)
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
                Cause.BORDER_DROPPED, Hypothesis.BORDER_WRONG, axis=axis, positions=tuple(sorted(map(int, at)))
            )
    return None


def _reordered(r: WrongResult) -> Diagnosis | None:
    for order in itertools.permutations(range(r.expected.ndim)):
        moved = r.expected.transpose(order)
        if order != tuple(range(r.expected.ndim)) and same(moved, r.found):
            return Diagnosis(Cause.LAYOUT_MISREAD, Hypothesis.RESULT_TRANSPOSED, axes=order)
        if moved.size == r.found.size and not same(r.expected, r.found) and same(moved.reshape(r.found.shape), r.found):
            return Diagnosis(Cause.LAYOUT_MISREAD, Hypothesis.RESULT_RESHAPED)
    return None


def _reversed(r: WrongResult) -> Diagnosis | None:
    axes = tuple(range(2, r.expected.ndim))
    for subset in itertools.chain.from_iterable(itertools.combinations(axes, n) for n in range(1, len(axes) + 1)):
        if same(np.flip(r.expected, subset), r.found):
            return Diagnosis(Cause.KERNEL_FLIP, Hypothesis.RESULT_FLIPPED, axes=subset)
    return None


def _shifted(r: WrongResult) -> Diagnosis | None:
    if not r.has_shape:
        return None
    for axis in range(2, r.expected.ndim):
        for step in (1, -1):
            inside, source = [slice(None)] * r.expected.ndim, [slice(None)] * r.expected.ndim
            inside[axis], source[axis] = (
                (slice(step, None), slice(None, -step)) if step > 0 else (slice(None, step), slice(-step, None))
            )
            if r.expected.shape[axis] > 2 and same(r.expected[tuple(source)], r.found[tuple(inside)]):
                return Diagnosis(Cause.PADDING_OFF_BY_ONE, Hypothesis.RESULT_SHIFTED, axis=axis, offset=(step,))
    return None


def _remainder(r: WrongResult) -> Diagnosis | None:
    rests = tuple(remainder(a) for a in r.problem.model.axes)
    if not any(rests) or r.found.ndim != r.expected.ndim:
        return None
    differences = [abs(a - b) for a, b in zip(r.found.shape[2:], r.expected.shape[2:], strict=True)]
    is_cut = any(differences) and all(d in (0, rest) for d, rest in zip(differences, rests, strict=True))
    is_shifted = False
    if r.has_shape and r.role == "x":
        moved = [np.roll(r.expected, rest, axis) for axis, rest in enumerate(rests, 2) if rest]
        is_shifted = any(same(m, r.found) for m in moved)
    if not is_cut and not is_shifted:
        kept = tuple(slice(0, size - rest) for size, rest in zip(r.expected.shape[2:], rests, strict=True))
        inside = (slice(None), slice(None), *kept)
        masked = np.zeros_like(r.expected)
        masked[inside] = r.expected[inside]
        if r.role != "x" or not r.has_shape or not same(masked, r.found):
            return None
    return Diagnosis(Cause.REMAINDER_DROPPED, Hypothesis.REMAINDER_MISPLACED, positions=rests)


def _shape(r: WrongResult) -> Diagnosis | None:
    return None if r.has_shape else Diagnosis(Cause.SHAPE, Hypothesis.UNEXPLAINED_SHAPE)


ResultHypothesis = Callable[[WrongResult], Diagnosis | None]
"""A hypothesis on one result: its diagnosis, or None if it does not predict the result."""

RESULT_HYPOTHESES: tuple[ResultHypothesis, ...] = (
    _zero,
    _sign,
    _averaged,
    _scaled,
    _conjugate,
    _no_bias,
    _bias_axis,
    _one_element,
    _first_group,
    _first_sample,
    _remainder,
)
FALLBACK_HYPOTHESES: tuple[ResultHypothesis, ...] = (_reordered, _reversed, _border, _shifted, _shape)
