"""Hypotheses that say: the operands were changed first, or the geometry was another one.

Each is another `ConvolutionModel`, which predicts the value and every derivative of somebody who made that mistake
throughout. To add one, yield it from a function in `TABLES`; its sentence stands in `wording.py`.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from triconv.checking.diagnosis.neighbours import neighbours
from triconv.checking.diagnosis.padding_parts import padding_parts
from triconv.checking.findings.causes import Cause, Hypothesis
from triconv.checking.findings.diagnosis_data import Diagnosis
from triconv.checking.findings.protocol import Role
from triconv.checking.oracles.convolution import Change, ConvolutionModel, ConvolutionProblem
from triconv.checking.oracles.definition import AxisParameters, output_size

Hypotheses = Iterator[tuple[Diagnosis, ConvolutionModel]]
"""The diagnosis of each, and the model that predicts the result."""


def misunderstandings(problem: ConvolutionProblem) -> Hypotheses:
    """Yield every hypothesis that says: the operands were changed first, or the geometry was another one."""
    for table in TABLES:
        yield from table(problem.model, problem)


def remainder(a: AxisParameters) -> int:
    """Return by how many positions the padded input is longer than its windows reach."""
    padded = a.input_dilation * max(0, a.input_size - 1) + 1 + a.pad_lo + a.pad_hi
    return (padded - a.dilation * (a.kernel_size - 1) - 1) % a.stride


def _flips(m: ConvolutionModel, problem: ConvolutionProblem) -> Hypotheses:  # noqa: ARG001
    axes = tuple(range(2, 2 + len(m.axes)))
    if axes:
        yield Diagnosis(Cause.KERNEL_FLIP, Hypothesis.KERNEL_FLIPPED), m.with_change("w", lambda w: np.flip(w, axes))
    for n in range(1, len(axes)):
        for subset in itertools.combinations(axes, n):
            diagnosis = Diagnosis(
                Cause.KERNEL_FLIP_IN_ONE_AXIS,
                Hypothesis.KERNEL_FLIPPED_IN_AXES,
                spatial_axes=tuple(axis - 2 for axis in subset),
            )
            yield diagnosis, m.with_change("w", lambda w, subset=subset: np.flip(w, subset))


def _geometry(m: ConvolutionModel, problem: ConvolutionProblem) -> Hypotheses:
    def every(change: Callable[[AxisParameters], dict[str, int]], which: int | None = None) -> ConvolutionModel:
        axes = []
        for number, a in enumerate(m.axes):
            new = a._replace(**change(a)) if which is None or number == which else a
            if problem.result == "x":  # the size of a transposed convolution's result follows from the rest
                reach = new.stride * (output_size(a) - 1) + new.dilation * (new.kernel_size - 1) + 1
                over = min(remainder(a), new.stride - 1)
                new = new._replace(input_size=max(0, reach + over - new.pad_lo - new.pad_hi))
            axes.append(new)
        return replace(m, axes=tuple(axes))

    if problem.result == "x":  # as torch spells it, padding is the same on both sides but for the output padding
        ignored = Diagnosis(Cause.OUTPUT_PADDING_IGNORED, Hypothesis.OUTPUT_PADDING_IGNORED)
        yield ignored, every(lambda a: {"pad_hi": a.pad_lo})
    yield (
        Diagnosis(Cause.STRIDE_AND_DILATION_EXCHANGED, Hypothesis.STRIDE_AND_DILATION_EXCHANGED),
        every(lambda a: {"stride": a.dilation, "dilation": a.stride}),
    )
    yield Diagnosis(Cause.STRIDE_IGNORED, Hypothesis.STRIDE_IGNORED), every(lambda a: {"stride": 1})
    yield Diagnosis(Cause.DILATION_IGNORED, Hypothesis.DILATION_IGNORED), every(lambda a: {"dilation": 1})
    yield Diagnosis(Cause.DILATION_IGNORED, Hypothesis.INPUT_DILATION_IGNORED), every(lambda a: {"input_dilation": 1})
    # all axes, and each alone
    subsets: list[int | None] = [None, *(range(len(m.axes)) if len(m.axes) > 1 else ())]
    for which in subsets:
        exchanged = Diagnosis(Cause.PADDING_EXCHANGED, Hypothesis.PADDING_EXCHANGED, spatial_axes=_only(which))
        if problem.result == "x" and any(a.pad_lo > a.pad_hi for a in m.axes):  # which is what the output padding does
            exchanged = replace(exchanged, cause=Cause.OUTPUT_PADDING_SIDE, hypothesis=Hypothesis.OUTPUT_PADDING_SIDE)
        yield exchanged, every(lambda a: {"pad_lo": a.pad_hi, "pad_hi": a.pad_lo}, which)
    yield Diagnosis(Cause.PADDING_IGNORED, Hypothesis.PADDING_IGNORED), every(lambda a: {"pad_lo": 0, "pad_hi": 0})
    for lo, hi in ((1, -1), (-1, 1), (1, 1), (-1, -1), (0, 1), (0, -1), (1, 0), (-1, 0)):
        for which in subsets:
            off = Diagnosis(
                Cause.PADDING_OFF_BY_ONE,
                Hypothesis.PADDING_OFFSET,
                spatial_axes=_only(which),
                offset=(lo, hi),
                ndim=len(m.axes),
            )
            yield off, every(_offset(lo, hi), which)
    if len(m.axes) > 1:
        for parameter in ("stride", "dilation", "padding"):
            fields = ("pad_lo", "pad_hi") if parameter == "padding" else (parameter,)
            axes = [a._replace(**{n: getattr(b, n) for n in fields}) for a, b in zip(m.axes, m.axes[::-1], strict=True)]
            swapped = Diagnosis(Cause.SPATIAL_AXES_SWAPPED, Hypothesis.PARAMETER_OF_OTHER_AXIS, parameter=parameter)
            yield swapped, replace(m, axes=tuple(axes))


def _offset(lo: int, hi: int) -> Callable[[AxisParameters], dict[str, int]]:
    return lambda a: {"pad_lo": a.pad_lo + lo, "pad_hi": a.pad_hi + hi}


def _only(which: int | None) -> tuple[int, ...] | None:
    return None if which is None else (which,)


def _modes(m: ConvolutionModel, problem: ConvolutionProblem) -> Hypotheses:  # noqa: ARG001
    if m.mode == "zeros":
        return
    for mode in ("zeros", "reflect", "replicate", "circular", "symmetric"):
        if mode != m.mode:
            axes = m.axes
            pads: Any = m.pads
            if mode == "zeros":
                axes = tuple(
                    a._replace(input_size=a.input_size - lo - hi, pad_lo=lo, pad_hi=hi)
                    for a, (lo, hi) in zip(axes, pads, strict=True)
                )
                pads = ()
            diagnosis = Diagnosis(Cause.PADDING_MODE, Hypothesis.PADDING_MODE, mode=mode)
            yield diagnosis, replace(m, axes=axes, mode=mode, pads=pads)


def _orders(m: ConvolutionModel, problem: ConvolutionProblem) -> Hypotheses:
    shapes = _shapes(problem)
    for role in (Role.W, Role.X, Role.G):
        spatial = shapes[role][2:]
        for a, b in itertools.combinations(range(2, 2 + len(spatial)), 2):
            if shapes[role][a] == shapes[role][b] and shapes[role][a] > 1:
                diagnosis = Diagnosis(
                    Cause.SPATIAL_AXES_SWAPPED,
                    Hypothesis.SPATIAL_AXES_EXCHANGED,
                    role=role,
                    spatial_axes=(a - 2, b - 2),
                )
                yield diagnosis, m.with_change(role, lambda t, a=a, b=b: np.swapaxes(t, a, b))
    k, c = shapes[Role.W][:2]
    if k == c:
        diagnosis = Diagnosis(Cause.CHANNELS_SWAPPED, Hypothesis.KERNEL_CHANNELS_EXCHANGED)
        yield diagnosis, m.with_change("w", lambda w: np.swapaxes(w, 0, 1))
    else:
        diagnosis = Diagnosis(Cause.CHANNELS_SWAPPED, Hypothesis.KERNEL_CHANNELS_MISREAD)

        def forth(w: np.ndarray) -> np.ndarray:
            return np.swapaxes(w.reshape(c, k, *w.shape[2:]), 0, 1)

        def back(w: np.ndarray) -> np.ndarray:
            return np.swapaxes(w, 0, 1).reshape(k, c, *w.shape[2:])

        yield diagnosis, m.with_change("w", forth, back)
    if m.groups > 1:
        yield from _groups(m, shapes)
    reversed_ = {0: Hypothesis.SAMPLES_REVERSED, 1: Hypothesis.CHANNELS_REVERSED}
    shifted = {0: Hypothesis.SAMPLES_SHIFTED, 1: Hypothesis.CHANNELS_SHIFTED}
    for role, axis in ((Role.X, 1), (Role.W, 0), (Role.W, 1), (Role.G, 1), (Role.X, 0), (Role.G, 0)):
        size, kind = shapes[role][axis], 1 if role == Role.W else axis
        for hypothesis, order in (
            (reversed_[kind], np.arange(size)[::-1]),
            (shifted[kind], np.roll(np.arange(size), 1)),
            (shifted[kind], np.roll(np.arange(size), -1)),
        ):
            cause = Cause.CHANNELS_PERMUTED if kind else Cause.SAMPLES_PERMUTED
            diagnosis = Diagnosis(cause, hypothesis, role=role, axis=axis)
            yield diagnosis, m.with_change(role, *_permutation(order, axis))


def _groups(m: ConvolutionModel, shapes: dict[Role, tuple[int, ...]]) -> Hypotheses:
    for role, axis in ((Role.X, 1), (Role.G, 1), (Role.W, 0)):
        size = shapes[role][axis]
        for hypothesis, order in (
            (Hypothesis.GROUPS_INTERLEAVED, np.arange(size).reshape(m.groups, -1).T.ravel()),
            (Hypothesis.GROUPS_INTERLEAVED, np.arange(size).reshape(-1, m.groups).T.ravel()),
            (Hypothesis.GROUPS_REVERSED, np.arange(size).reshape(m.groups, -1)[::-1].ravel()),
            (Hypothesis.GROUPS_SHIFTED, np.roll(np.arange(size), size // m.groups)),
            (Hypothesis.GROUPS_SHIFTED, np.roll(np.arange(size), -size // m.groups)),
        ):
            diagnosis = Diagnosis(Cause.GROUPS_PERMUTED, hypothesis, role=role)
            yield diagnosis, m.with_change(role, *_permutation(order, axis))
    for role, axis in ((Role.X, 1), (Role.G, 1), (Role.W, 0)):
        diagnosis = Diagnosis(Cause.GROUPS_CONNECTED, Hypothesis.ALL_CHANNELS_CONNECTED, role=role)
        yield diagnosis, m.with_change(role, _summed_over_groups(axis, m.groups))
    for role, hypothesis in ((Role.X, Hypothesis.FIRST_GROUP_INPUT), (Role.W, Hypothesis.FIRST_GROUP_KERNEL)):
        change = _first_group_of(role, m.groups, shapes)
        yield Diagnosis(Cause.ONLY_THE_FIRST_GROUP, hypothesis, role=role), m.with_change(role, *change)


def _layouts(m: ConvolutionModel, problem: ConvolutionProblem) -> Hypotheses:
    for role, shape in _shapes(problem).items():
        for order in itertools.permutations(range(len(shape))):
            if order == tuple(range(len(shape))) or len(shape) > 5:
                continue
            moved = tuple(shape[axis] for axis in order)
            inverse = tuple(np.argsort(order))

            def misread(t: np.ndarray, moved: Any = moved, inverse: Any = inverse) -> np.ndarray:
                return t.reshape(moved).transpose(inverse)

            def reshaped(t: np.ndarray, order: Any = order, shape: Any = shape) -> np.ndarray:
                return t.transpose(order).reshape(shape)

            diagnosis = Diagnosis(Cause.LAYOUT_MISREAD, Hypothesis.TENSOR_RESHAPED, role=role)
            yield diagnosis, m.with_change(role, misread, reshaped)
            yield diagnosis, m.with_change(role, reshaped, misread)
        if role != Role.W and shape[0] > 1 and shape[1] > 1:  # else it is one of these
            # a matrix with a row per channel, whose columns are counted by samples first, or by positions first
            orders = [(1, 0, *range(2, len(shape))), (1, *range(2, len(shape)), 0)]
            for written, read in (orders, orders[::-1]):
                diagnosis = Diagnosis(Cause.LAYOUT_MISREAD, Hypothesis.COLUMNS_MISREAD, role=role)
                yield diagnosis, m.with_change(role, _reread(shape, written, read), _reread(shape, read, written))


def _reread(
    shape: tuple[int, ...], written: tuple[int, ...], read: tuple[int, ...]
) -> Callable[[np.ndarray], np.ndarray]:
    """Write the axes in one order, and read what is written as if it were another."""
    moved, inverse = tuple(shape[axis] for axis in read), np.argsort(read)
    return lambda t: t.transpose(written).reshape(moved).transpose(inverse)


def _samples(m: ConvolutionModel, problem: ConvolutionProblem) -> Hypotheses:
    shapes = _shapes(problem)
    if shapes[Role.X][0] > 1:
        for role in (Role.X, Role.G):
            diagnosis = Diagnosis(Cause.ONLY_THE_FIRST_SAMPLE, Hypothesis.FIRST_SAMPLE_FOR_ALL, role=role)
            yield diagnosis, m.with_change(role, lambda t: np.broadcast_to(t[:1], t.shape), _summed_into_the_first)
        for role in (Role.X, Role.G):
            for hypothesis, scale in ((Hypothesis.SAMPLES_SUMMED, 1), (Hypothesis.SAMPLES_AVERAGED, shapes[Role.X][0])):
                diagnosis = Diagnosis(Cause.SAMPLES_MIXED, hypothesis, role=role)
                yield diagnosis, m.with_change(role, _summed_over_all(scale))


TABLES = (_flips, _geometry, _modes, padding_parts, _orders, _samples, _layouts, neighbours)


def changed_operands(m: ConvolutionModel, problem: ConvolutionProblem) -> Hypotheses:
    """Yield the hypotheses that operands were changed first, but for what is reshaped, on top of a model."""
    for table in (_flips, _orders, _samples):
        yield from table(m, problem)


def other_geometries(m: ConvolutionModel, problem: ConvolutionProblem) -> Hypotheses:
    """Yield the hypotheses that the geometry was another one, on top of a model."""
    for table in (_geometry, _modes):
        yield from table(m, problem)


def _shapes(problem: ConvolutionProblem) -> dict[Role, tuple[int, ...]]:
    return {Role(role): problem.torch_shape(role, problem.result_shape(role)) for role in "xwg"}


def _permutation(order: np.ndarray, axis: int) -> Change:
    inverse = np.argsort(order)
    return (lambda t: np.take(t, order, axis)), (lambda t: np.take(t, inverse, axis))


def _summed_over_all(scale: int) -> Callable[[np.ndarray], np.ndarray]:
    """Put the sum over the batch, over `scale`, in place of every sample; this is its own adjoint."""
    return lambda t: np.broadcast_to(t.sum(axis=0, keepdims=True) / scale, t.shape)


def _summed_over_groups(axis: int, groups: int) -> Callable[[np.ndarray], np.ndarray]:
    """Put the sum over the groups in place of every group; this is its own adjoint."""
    return lambda t: np.concatenate([sum(np.split(t, groups, axis))] * groups, axis)


def _summed_into_the_first(t: np.ndarray) -> np.ndarray:
    out = np.zeros_like(t)
    out[0] = t.sum(0)
    return out


def _first_group_of(role: Role, groups: int, shapes: dict[Role, tuple[int, ...]]) -> Change:
    axis = 1 if role == Role.X else 0
    size = shapes[role][axis] // groups

    def forth(t: np.ndarray) -> np.ndarray:
        return np.concatenate([np.take(t, range(size), axis)] * groups, axis)

    def back(t: np.ndarray) -> np.ndarray:
        out = np.zeros_like(t)
        total = sum(np.split(t, groups, axis))
        out[(slice(None),) * axis + (slice(0, size),)] = total
        return out

    return forth, back
