"""Mistakes of a bias: what is added to a value beside the products, and over what the cotangent is summed in its gradient."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from triconv.checking.findings.causes import Cause, Hypothesis
from triconv.checking.findings.diagnosis_data import Diagnosis
from triconv.checking.findings.protocol import Role
from triconv.checking.oracles.comparison import WrongResult, same
from triconv.checking.oracles.convolution import ConvolutionModel
from triconv.checking.oracles.definition import AxisParameters, output_size

LEAST_CHANNELS = 3
"""Channels whose sums may be told from others by their numbers."""
FEW = 3
"""Terms that are lost most often."""
BLOCK = 64
"""Terms of a block, where sums that end anywhere would fit by chance."""
MOST_CHANCE = 0.01
"""Sums that end somewhere and fit by chance, to be expected."""


def bias_in_value(r: WrongResult) -> Diagnosis | None:
    """Explain a value that is right but for its bias."""
    if not r.is_value or "bias" not in r.problem.roles or not r.has_shape:
        return None
    added = _bias_of(r)
    linear = r.expected - added
    for diagnosis, extra in _additions(added):
        if same(linear + extra, r.found):
            return diagnosis
    return _repeated(r, linear, added)


def _bias_of(r: WrongResult) -> np.ndarray:
    """Return the bias that is added to the value that was asked: those of the tangents, too, are asked."""
    m = r.problem.model
    return r.predicted(_NoProducts(m.axes, m.groups, m.mode, m.pads, m.changes, np.zeros_like(r.expected)))


@dataclass(frozen=True)
class _NoProducts(ConvolutionModel):
    """A convolution whose results are these zeros, whatever its operands are."""

    zeros: np.ndarray = field(default_factory=lambda: np.zeros(()))

    def derivative(self, role: str, others: dict[str, np.ndarray]) -> np.ndarray:
        """Return the zeros."""
        return self.zeros


def _additions(added: np.ndarray) -> Iterator[tuple[Diagnosis, np.ndarray]]:
    """Yield each mistake, and what it adds instead of the bias."""
    first: Any = (0, slice(None), *[0] * (added.ndim - 2))
    bias = added[first] if added.size else added.ravel()
    column = [-1, *[1] * (added.ndim - 2)]
    yield Diagnosis(Cause.BIAS_IGNORED, Hypothesis.BIAS_NOT_ADDED), np.zeros_like(added)
    for axis, size in enumerate(added.shape):
        if axis != 1 and size == bias.size > 1:
            shape = [size if other == axis else 1 for other in range(added.ndim)]
            yield Diagnosis(Cause.BIAS_AXIS, Hypothesis.BIAS_ALONG_AXIS, axis=axis), bias.reshape(shape)
    yield Diagnosis(Cause.BIAS_WRONG, Hypothesis.BIAS_SUBTRACTED), -added
    if bias.size > 1:
        for name, other in (
            ("reversed", bias[::-1]),
            ("shifted by one", np.roll(bias, 1)),
            ("shifted by one", np.roll(bias, -1)),
        ):
            yield (
                Diagnosis(Cause.CHANNELS_PERMUTED, Hypothesis.BIAS_PERMUTED, role=Role.BIAS, function=name),
                other.reshape(column),
            )
        for name, number in (
            ("the first", bias[0]),
            ("the last", bias[-1]),
            ("the sum", bias.sum()),
            ("the mean", bias.mean()),
        ):
            yield Diagnosis(Cause.BIAS_WRONG, Hypothesis.BIAS_REDUCED, function=name), np.full_like(added, number)


def _repeated(r: WrongResult, linear: np.ndarray, added: np.ndarray) -> Diagnosis | None:
    """Explain a bias that is multiplied by one number, or by how many taps meet."""
    extra = r.found - linear
    weight = np.vdot(added, added).real
    if not weight:
        return None
    c = float(np.vdot(added, extra).real / weight)
    if abs(c) > 1e-9 and same(linear + c * added, r.found):
        if abs(c - round(c)) < 1e-6 and c > 1:
            return Diagnosis(
                Cause.BIAS_REPEATED, Hypothesis.BIAS_REPEATED, size=round(c), parts=_counts_of(r, round(c))
            )
        return Diagnosis(Cause.BIAS_WRONG, Hypothesis.BIAS_MULTIPLIED, amount=c)
    counts = np.ones(())
    for a in r.problem.model.axes:
        counts = np.multiply.outer(counts, _meeting_taps(a, of_inputs=r.problem.result == "x"))
    shape = r.problem.torch_shape("w", r.problem.result_shape("w"))
    per_group = shape[0] // r.problem.model.groups if r.problem.result == "x" else shape[1]
    for channels in (1, per_group):
        if same(linear + added * counts * channels, r.found):
            return Diagnosis(Cause.BIAS_REPEATED, Hypothesis.BIAS_PER_TAP, size=channels)
    return None


def _meeting_taps(a: AxisParameters, *, of_inputs: bool) -> np.ndarray:
    """Return how many taps meet at each output, or at each input."""
    outputs = np.arange(output_size(a))
    counts = np.zeros(a.input_size if of_inputs else len(outputs), np.int64)
    for t in range(a.kernel_size):
        i, rest = np.divmod(a.stride * outputs + a.dilation * t - a.pad_lo, a.input_dilation)
        meets = (rest == 0) & (i >= 0) & (i < a.input_size)
        counts[i[meets] if of_inputs else outputs[meets]] += 1
    return counts


def _counts_of(r: WrongResult, count: int) -> tuple[tuple[int, ...], ...]:
    """Return (0,) if so many taps there are, (1,) for channels, (2,) for both together."""
    shape = r.problem.torch_shape("w", r.problem.result_shape("w"))
    taps, channels = int(np.prod(shape[2:])), shape[1]
    if r.problem.result == "x":
        channels = shape[0] // r.problem.model.groups
    return tuple((n,) for n, size in enumerate((taps, channels, taps * channels)) if size == count)


def bias_gradient(r: WrongResult) -> Diagnosis | None:
    """Explain the gradient of a bias that is summed over other axes than it should be."""
    if r.role != "bias":
        return None
    g = r.expectations.arrays.g
    for keep in range(g.ndim):
        summed = g.sum(axis=tuple(axis for axis in range(g.ndim) if axis != keep))
        if keep != 1 and same(summed, r.found):
            return Diagnosis(Cause.BIAS_AXIS, Hypothesis.BIAS_SUM_KEEPS_AXIS, axis=keep)
    for axes in itertools.chain.from_iterable(itertools.combinations(range(g.ndim), n) for n in range(1, g.ndim)):
        if 1 not in axes and _is(r, g.sum(axis=axes)):
            missing = tuple(axis for axis in range(g.ndim) if axis not in axes and axis != 1 and g.shape[axis] > 1)
            return Diagnosis(Cause.BIAS_AXIS, Hypothesis.BIAS_SUM_LEAVES_OUT_AXES, axes=missing)
    if r.expected.size > 1 and r.has_shape and same(np.full_like(r.expected, g.sum()), r.found):
        return Diagnosis(Cause.BIAS_AXIS, Hypothesis.BIAS_SUM_OVER_CHANNELS)
    return _of_reshaped(r, g)


def _of_reshaped(r: WrongResult, g: np.ndarray) -> Diagnosis | None:
    """Explain the sum of a cotangent that is reshaped to a matrix with the channels elsewhere than where they are."""
    channels = r.expected.size
    if channels < LEAST_CHANNELS or not r.has_shape:
        return None
    for order in itertools.permutations(range(g.ndim)):
        moved = g.transpose(order)
        for shape, axis in (((-1, channels), 0), ((channels, -1), 1)):
            if _is(r, moved.reshape(shape).sum(axis)):
                mode = f"(-1, {channels})" if axis == 0 else f"({channels}, -1)"
                return Diagnosis(Cause.LAYOUT_MISREAD, Hypothesis.BIAS_SUM_OF_RESHAPED, mode=mode)
    return None


def bias_gradient_of_few_positions(r: WrongResult) -> Diagnosis | None:
    """Explain the gradient of a bias in which only the first positions of some axes are."""
    if r.role != "bias":
        return None
    g = r.expectations.arrays.g
    for index in itertools.product(*[(slice(None), 0)] * (g.ndim - 2)):
        for sample in (slice(None), 0):
            inside: Any = (sample, slice(None), *index)
            partial = g[inside]
            channels = 0 if isinstance(sample, int) else 1
            if _is(r, partial.sum(axis=tuple(axis for axis in range(partial.ndim) if axis != channels))):
                if not any(isinstance(i, int) for i in index):
                    return Diagnosis(Cause.ONLY_THE_FIRST_SAMPLE, Hypothesis.FIRST_SAMPLE_SUMMED)
                return Diagnosis(Cause.BIAS_AXIS, Hypothesis.BIAS_SUM_LEAVES_OUT_POSITIONS)
    return None


def bias_gradient_cut(r: WrongResult) -> Diagnosis | None:
    """Explain the gradient of a bias that is the sum of the first terms alone, or of all but the first."""
    g = r.expectations.arrays.g
    if r.role != "bias" or r.found.shape != g.shape[1:2] or np.iscomplexobj(r.found):  # a bias may be one number
        return None
    by_channel = np.moveaxis(g, 1, 0)
    samples_first = by_channel.reshape(g.shape[1], -1)
    positions_first = np.moveaxis(by_channel, 1, -1).reshape(samples_first.shape)
    orders = {"samples and positions": samples_first, "positions and samples": positions_first}
    total = samples_first.shape[1]
    for order, terms in orders.items():
        sums = np.cumsum(terms, axis=1)
        chance = 4 * total / np.prod(np.maximum(1, 2 * sums.std(axis=1)))
        step = next((n for n in (1, BLOCK) if chance / n <= MOST_CHANCE), None)
        for mode, partial in (("first", sums), ("last", sums[:, -1:] - sums)):
            fits = np.flatnonzero(np.all(np.isclose(partial, r.found[:, None]), axis=0)) + 1
            if step != 1:
                is_block = (fits % BLOCK == 0) if step else False
                fits = fits[(fits < FEW) | (fits > total - FEW) | is_block]
            if len(fits):
                end = int(max(fits, key=lambda n: (n & -n, n)))  # the end of a block is the most likely
                size = end if mode == "first" else total - end
                return Diagnosis(
                    Cause.REDUCTION_CUT,
                    Hypothesis.REDUCTION_CUT,
                    role=Role.BIAS,
                    size=size,
                    total=total,
                    mode=mode,
                    function=order,
                )
    return None


def _is(r: WrongResult, prediction: np.ndarray) -> bool:
    return not same(r.expected, r.found) and same(prediction, r.found)
