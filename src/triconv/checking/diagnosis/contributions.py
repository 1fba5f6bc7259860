"""Which parts of a sum are left out, counted twice, or have the wrong sign.

The terms of ``T`` are sorted by a letter: by sample, channel, tap, output or input position. A result is the sum of the
contributions of the parts, and a result in which some count otherwise is ``sum of c[s] * contribution[s]``. The `c` are found
by least squares, and explain the result only if they give every element of it.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from triconv.checking.diagnosis.incidences import IncidenceModel, incidences_of
from triconv.checking.diagnosis.size_factors import factor_of
from triconv.checking.findings.causes import Cause, Hypothesis
from triconv.checking.findings.diagnosis_data import Diagnosis, Part
from triconv.checking.findings.protocol import Role
from triconv.checking.oracles.comparison import WrongResult, same
from triconv.checking.oracles.convolution import Expectations

MOST_PARTS = 150
"""Parts that are fitted at once; of more positions than this, rows are fitted instead."""
MOST_SLICES = 512
"""Samples, channels or positions that are fitted at all: each takes a run of the definition."""
MOST_EQUATIONS = 4096
"""Elements that are fitted; all are compared with what the fit predicts."""
LEAST_FOR_STRETCH = 8
"""Elements that a stretch of parts must explain: fewer may be explained by chance."""

AXES: tuple[tuple[Part, Role, int], ...] = (
    (Part.SAMPLE, Role.X, 0),
    (Part.OUTPUT_CHANNEL, Role.G, 1),
    (Part.INPUT_CHANNEL, Role.X, 1),
    (Part.CHANNEL_OF_GROUP, Role.W, 1),
)
SPATIAL: tuple[tuple[Part, Role], ...] = ((Part.TAP, Role.W), (Part.OUTPUT, Role.G), (Part.INPUT, Role.X))


@dataclass(frozen=True)
class Partition:
    """The terms of ``T``, sorted by the index along some axes of a tensor.

    Parameters
    ----------
    part : Part
        The letter.
    role : Role
        The tensor.
    axes : tuple of int
        Its axes, in torch's order.
    shape : tuple of int
        The tensor's shape.
    """

    part: Part
    role: Role
    axes: tuple[int, ...]
    shape: tuple[int, ...]

    @property
    def sizes(self) -> tuple[int, ...]:
        """Number of parts along each axis."""
        return tuple(self.shape[axis] for axis in self.axes)

    def weighted(self, weights: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
        """Return the change of the tensor that multiplies each part by a weight; it is its own adjoint."""
        shape = [self.shape[axis] if axis in self.axes else 1 for axis in range(len(self.shape))]
        return lambda a: a * weights.reshape(shape).astype(a.dtype)


def partitions(r: WrongResult) -> Iterator[Partition]:
    """Yield the ways to sort the terms of a result, the simplest first."""
    p = r.problem
    shapes = {Role(role): p.torch_shape(role, p.result_shape(role)) for role in "xwg"}
    if r.role == "bias":
        result = Role(p.result)
        yield Partition(Part.SAMPLE, result, (0,), shapes[result])
        yield from _spatial(Part.OUTPUT if result == Role.G else Part.INPUT, result, shapes[result])
        return
    for part, role, axis in AXES:
        if part != Part.CHANNEL_OF_GROUP or p.model.groups > 1:
            yield Partition(part, role, (axis,), shapes[role])
    for part, role in SPATIAL:
        yield from _spatial(part, role, shapes[role])


def _spatial(part: Part, role: Role, shape: tuple[int, ...]) -> Iterator[Partition]:
    """Yield the rows of each spatial axis, which are few, and the positions."""
    spatial = tuple(range(2, len(shape)))
    if len(spatial) > 1:
        for axis in spatial:
            yield Partition(part, role, (axis,), shape)
    if 1 < math.prod(shape[2:]) <= MOST_PARTS:
        yield Partition(part, role, spatial, shape)


def fitted(r: WrongResult, most: int = MOST_SLICES) -> Diagnosis | None:
    """Explain a result in which few parts of the sum, of at most `most`, are left out, counted twice, or of the wrong sign."""
    return next((diagnosis for is_simple, diagnosis in _fits(r, most) if is_simple), None)


def fitted_inside(r: WrongResult, inside: np.ndarray, most: int) -> Diagnosis | None:
    """Explain some elements alone, by few parts of their sums, of at most `most`, that are left out or counted wrongly."""
    base = _base(r)
    for partition in partitions(r):
        if partition.role == r.role or not 2 <= math.prod(partition.sizes) <= most:
            continue
        for contributions in _contributions(r, partition, base):
            counts = _counts(r, contributions, inside)
            if counts is not None and (counts != 1).sum() <= max(1, counts.size // 2):
                return _diagnosis(r, partition, counts.reshape(partition.sizes))
    return None


def fitted_somehow(r: WrongResult) -> Diagnosis | None:
    """Explain a result by any numbers that the parts of the sum are multiplied by: with few elements, many may fit."""
    return next((diagnosis for _, diagnosis in _fits(r)), None)


def _fits(r: WrongResult, most: int = MOST_SLICES) -> Iterator[tuple[bool, Diagnosis]]:
    """Yield each way to sort the terms that fits, and whether it is a simple one."""
    if not r.has_shape or not r.expected.size:
        return
    base = _base(r)
    for partition in partitions(r):
        if not 2 <= math.prod(partition.sizes) <= most:
            continue
        for contributions in _contributions(r, partition, base):
            counts = _counts(r, contributions)
            if counts is not None:
                yield _is_simple(counts, partition.sizes), _diagnosis(r, partition, counts.reshape(partition.sizes))


def _is_simple(counts: np.ndarray, sizes: tuple[int, ...]) -> bool:
    """Whether all parts but few, or all of some rows, count once, and those not at all, twice, or negatively."""
    others = set(counts[counts != 1].tolist())
    if len(others) != 1 or not others <= {-1.0, 0.0, 2.0}:
        return False
    wrong = np.argwhere(counts.reshape(sizes) != 1)
    if len(wrong) <= max(2, counts.size // 4) or len(wrong) == counts.size - 1:
        return True
    parts = tuple(tuple(map(int, index)) for index in wrong)
    return rows_of(parts, sizes) is not None or set(parts) == set(frame_of(sizes))


def _base(r: WrongResult) -> IncidenceModel:
    """Return the model of what is expected, in a form that is quick for small problems."""
    m = r.expectations.model
    return m if isinstance(m, IncidenceModel) else IncidenceModel.of(m, incidences_of(m.axes))


def _contributions(r: WrongResult, partition: Partition, base: IncidenceModel) -> Iterator[np.ndarray]:
    """Yield the contributions of the parts, one along the first axis for each; twice if a bias may count with them or not."""
    parts = math.prod(partition.sizes)
    one_hot = np.eye(parts)
    if r.role == "bias":
        arrays = r.expectations.arrays
        yield np.stack([arrays_sum(partition.weighted(row)(arrays.g)) for row in one_hot])
        return
    result = r.problem.result if r.is_value else r.role
    if partition.role == result and r.is_value and r.has_bias:
        yield np.stack([partition.weighted(row)(r.expected) for row in one_hot])
    if partition.role == r.role:  # each element belongs to one part
        linear = r.expected - r.predicted(base.with_change(r.role, np.zeros_like)) if r.has_bias else r.expected
        yield np.stack([partition.weighted(row)(linear) for row in one_hot])
        return
    rest = r.predicted(base.with_change(partition.role, np.zeros_like)) if r.has_bias else 0
    yield np.stack([r.predicted(base.with_change(partition.role, partition.weighted(row))) - rest for row in one_hot])


def arrays_sum(g: np.ndarray) -> np.ndarray:
    """The gradient of a bias: the sum over all axes but the channels."""
    return g.sum(axis=(0, *range(2, g.ndim)))


def _counts(r: WrongResult, contributions: np.ndarray, inside: np.ndarray | None = None) -> np.ndarray | None:
    """Return how often each part counts, if that explains every element, or all that are inside."""
    parts = len(contributions)
    every = np.ravel(np.ones(r.found.shape, bool) if inside is None else inside)
    columns, residual = contributions.reshape(parts, -1)[:, every].T, np.ravel(r.found - r.expected)[every]
    if np.iscomplexobj(columns) or np.iscomplexobj(residual):
        columns = np.concatenate([columns.real, columns.imag])
        residual = np.concatenate([np.real(residual), np.imag(residual)])
    touched = np.abs(columns).any(axis=1)
    if np.any(np.abs(residual[~touched]) > 1e-6 * max(1, np.abs(r.expected).max(initial=0))):
        return None  # an element in which no part counts
    a, b = columns[touched].astype(np.float64), residual[touched].astype(np.float64)
    nonzero = np.abs(a).any(axis=0)
    extra = np.zeros(parts)
    if len(b) < 2:
        return None
    one = _one_part(a, b)
    if one is not None:
        extra[one[0]] = one[1]
    else:
        if len(b) < nonzero.sum() + 3:
            few = _stretch(a, b)
            return None if few is None else 1 + few
        step = max(1, len(b) // MOST_EQUATIONS)
        solution, _, rank, _ = np.linalg.lstsq(a[::step, nonzero], b[::step], rcond=1e-9)
        if rank < nonzero.sum() and not np.allclose(solution, np.round(solution), atol=1e-6):
            return None
        extra[nonzero] = solution
        whole = np.round(extra)
        extra = np.where(np.abs(extra - whole) < 1e-6, whole, extra)
        if (extra != np.round(extra)).any() and len(b) < 2 * nonzero.sum() + 3:
            return None
    predicted = r.expected + np.tensordot(extra, contributions, 1)
    counts = 1 + extra
    if np.ptp(counts[nonzero]) == 0:  # one factor for all
        return None
    return counts if same(np.ravel(predicted)[every], np.ravel(r.found)[every]) else None


def _one_part(a: np.ndarray, b: np.ndarray) -> tuple[int, float] | None:
    """Return the one part that is left out, counted twice or of the wrong sign, and by how much its count is off."""
    weight = (a * a).sum(axis=0)
    projection = a.T @ b
    with np.errstate(all="ignore"):
        off = projection / weight
        left = (b @ b) - off * projection
    for number in np.flatnonzero(weight):
        c = round(off[number])
        if c in (-1, 1, -2) and left[number] < 1e-6 * max(1.0, b @ b) and np.allclose(c * a[:, number], b, atol=1e-6):
            return int(number), float(c)
    return None


def _stretch(a: np.ndarray, b: np.ndarray) -> np.ndarray | None:
    """Return by how much counts are off where parts next to each other are left out, counted twice or of the wrong sign.

    There are more parts than elements, as of a gradient of a small kernel: no other counts could be told apart.
    """
    if len(b) < LEAST_FOR_STRETCH:
        return None
    line = np.random.default_rng(0).uniform(1, 2, len(b))  # sums of parts, as one number each
    sums = np.concatenate([[0.0], np.cumsum(line @ a)])
    between = np.triu(sums[None, :] - sums[:, None], 1)
    near = 1e-9 * len(b) * max(1.0, float(np.abs(a).sum(axis=1).max()))
    for c in (-1.0, 1.0, -2.0):
        for first, end in np.argwhere(np.abs(c * between - line @ b) <= near):
            if first < end and np.allclose(c * a[:, first:end].sum(axis=1), b, atol=1e-6):
                extra = np.zeros(a.shape[1])
                extra[first:end] = c
                return extra
    return None


def _diagnosis(r: WrongResult, partition: Partition, counts: np.ndarray) -> Diagnosis:
    """Name the parts that count otherwise, beside a factor of all the others, if there is one."""
    c = _common_count(counts)
    if c != 1:
        return replace(_diagnosis(r, partition, np.round(counts / c, 9)), factor=factor_of(c, r))
    part, sizes = partition.part, partition.sizes
    wrong = np.argwhere(counts != 1)
    at = tuple(tuple(map(int, index)) for index in wrong)
    weights = tuple(float(counts[index]) for index in at)
    base = Diagnosis(
        Cause.PARTS_WEIGHTED,
        Hypothesis.PARTS_WEIGHTED,
        role=partition.role,
        axis=partition.axes[0] if len(partition.axes) == 1 else None,
        part=part,
        parts=at,
        sizes=sizes,
        weights=weights,
        ndim=len(r.problem.model.axes),
    )
    kinds = set(weights)
    if kinds == {0.0}:
        return _left_out(r, base, counts)
    if kinds == {2.0}:
        return replace(base, cause=Cause.COUNTED_TWICE, hypothesis=Hypothesis.PARTS_TWICE)
    if kinds == {-1.0}:
        return replace(base, cause=Cause.SIGN_OF_PARTS, hypothesis=Hypothesis.PARTS_NEGATED)
    if norms := _norms(r, partition, counts):
        return replace(base, cause=Cause.NORMALISED, hypothesis=Hypothesis.NORM, function=norms)
    if all(weight == int(weight) and weight > 1 for weight in kinds):
        return replace(base, cause=Cause.COUNTED_TWICE)
    return base


def _common_count(counts: np.ndarray) -> float:
    """Return how often most parts count, if the others then are left out, counted twice or negated; else 1."""
    values, times = np.unique(np.round(counts[counts != 0], 9), return_counts=True)
    if not len(values) or times.max() <= counts.size / 2:
        return 1.0
    c = float(values[times.argmax()])
    return c if set(np.round(values / c, 6).tolist()) <= {-1.0, 1.0, 2.0} else 1.0


LEFT_OUT = {
    Part.SAMPLE: Cause.SAMPLES_LEFT_OUT,
    Part.INPUT_CHANNEL: Cause.CHANNELS_LEFT_OUT,
    Part.OUTPUT_CHANNEL: Cause.CHANNELS_LEFT_OUT,
    Part.CHANNEL_OF_GROUP: Cause.CHANNELS_LEFT_OUT,
    Part.TAP: Cause.TAPS_LEFT_OUT,
    Part.OUTPUT: Cause.POSITIONS_LEFT_OUT,
    Part.INPUT: Cause.POSITIONS_LEFT_OUT,
}


def _left_out(r: WrongResult, base: Diagnosis, counts: np.ndarray) -> Diagnosis:
    """Name parts that do not count at all."""
    assert base.part is not None
    kept = np.argwhere(counts == 1)
    last = tuple(size - 1 for size in counts.shape)
    if len(kept) == 1 and counts.size > 1:
        index = tuple(map(int, kept[0]))
        one = replace(base, hypothesis=Hypothesis.ONE_PART_ALONE, parts=(index,), weights=None)
        if index == last and base.role != r.role:
            return replace(one, cause=Cause.OVERWRITTEN)
        if base.part == Part.SAMPLE and not any(index):
            return replace(one, cause=Cause.ONLY_THE_FIRST_SAMPLE)
        if counts.size > 2:
            return replace(one, cause=LEFT_OUT[base.part])
    left_out = replace(base, cause=LEFT_OUT[base.part], hypothesis=Hypothesis.PARTS_LEFT_OUT)
    rows = rows_of(base.parts or (), counts.shape)
    if rows is None or base.part not in (Part.TAP, Part.OUTPUT, Part.INPUT):
        return left_out
    axis, at = rows
    shape = r.problem.torch_shape(base.role or r.role, r.problem.result_shape(base.role or r.role))[2:]
    own = axis if counts.ndim > 1 or base.axis is None else base.axis - 2
    sizes = [size for other, size in enumerate(shape) if other != own]
    for size in sizes:
        if len(at) > 1 and at == tuple(range(size, counts.shape[axis])):
            return replace(
                left_out, cause=Cause.SIZE_OF_OTHER_AXIS, hypothesis=Hypothesis.PARTS_BEYOND_OTHER_SIZE, size=size
            )
    if counts.shape[axis] > 1 and set(at) <= {0, counts.shape[axis] - 1}:
        return replace(left_out, cause=Cause.BORDER_DROPPED)
    return left_out


def rows_of(parts: tuple[tuple[int, ...], ...], sizes: tuple[int, ...]) -> tuple[int, tuple[int, ...]] | None:
    """Return the axis and the positions along it if the parts are whole rows of it, and nothing else."""
    for axis in range(len(sizes)):
        at = tuple(sorted({part[axis] for part in parts}))
        if len(parts) == len(at) * math.prod(sizes) // sizes[axis] and len(at) < sizes[axis]:
            return axis, at
    return None


def frame_of(sizes: tuple[int, ...]) -> list[tuple[int, ...]]:
    """Return the positions at the border."""
    every = itertools.product(*map(range, sizes))
    return [index for index in every if any(i in (0, n - 1) for i, n in zip(index, sizes, strict=True))]


def _norms(r: WrongResult, partition: Partition, counts: np.ndarray) -> str:
    """Return by which norm each part of a result is divided, if it is one."""
    if partition.role != r.role:
        return ""
    others = tuple(axis for axis in range(r.expected.ndim) if axis not in partition.axes)
    size = np.abs(r.expected)
    norms: tuple[tuple[str, Any], ...] = (
        ("norm", np.sqrt((size**2).sum(axis=others))),
        ("sum of absolute values", size.sum(axis=others)),
        ("largest absolute value", size.max(axis=others, initial=0)),
    )
    for name, norm in norms:
        if np.all(norm > 0) and np.allclose(counts * norm, 1, rtol=1e-4):
            return name
    return ""


def gradient_of(r: WrongResult, g: np.ndarray, base: IncidenceModel | None = None) -> np.ndarray:
    """Return what the question's answer is for another cotangent."""
    arrays = replace(r.expectations.arrays, g=g)
    return r.answer(Expectations(r.problem, arrays, base or r.expectations.model))
