"""Results of a wrong shape: the padding is not cropped off, or on the wrong side; there are rows too few or too many."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from triconv.checking.diagnosis.misunderstandings import remainder
from triconv.checking.findings.causes import Cause, Hypothesis
from triconv.checking.findings.diagnosis_data import Diagnosis
from triconv.checking.findings.protocol import Role
from triconv.checking.oracles.comparison import WrongResult, same
from triconv.checking.oracles.convolution import ConvolutionModel


def empty(r: WrongResult) -> Diagnosis | None:
    """Explain a result that is empty, as of a slice ``p:-p`` with p = 0."""
    if r.found.size or not r.expected.size:
        return None
    pads = _pads(r)
    spatial = tuple(
        axis - 2
        for axis in range(2, min(r.found.ndim, r.expected.ndim))
        if not r.found.shape[axis] and r.expected.shape[axis]
    )
    is_slice = bool(spatial) and all(pads[axis][1] == 0 for axis in spatial if axis < len(pads))
    return Diagnosis(
        Cause.EMPTY, Hypothesis.EMPTY, role=Role(r.role), spatial_axes=spatial, mode="slice" if is_slice else None
    )


def not_cropped(r: WrongResult) -> Diagnosis | None:
    """Explain the gradient of the padded input that is not cropped, or not by the padding on each side."""
    pads = _pads(r)
    if r.role != "x" or r.is_value or r.has_shape or r.found.ndim != r.expected.ndim or not any(map(any, pads)):
        return None
    if min(min(pair) for pair in pads) < 0 or r.problem.model.mode != "zeros":
        return None
    padded = r.predicted(_uncropped(r, pads))
    wanted = r.found.shape[2:]
    for rests in {tuple(remainder(a) for a in r.problem.model.axes), (0,) * len(pads)}:
        sizes = [size - rest for size, rest in zip(padded.shape[2:], rests, strict=True)]
        options = [list(_crops(size, *pair)) for size, pair in zip(sizes, pads, strict=True)]
        options = [
            [(name, part) for name, part in some if part.stop - part.start == size]
            for some, size in zip(options, wanted, strict=True)
        ]
        for chosen in itertools.product(*options):
            names = {name for name, _ in chosen} - {"right"}
            at: Any = (..., *(part for _, part in chosen))
            if names and same(padded[at], r.found):
                is_whole = names == {"whole"}
                return Diagnosis(
                    Cause.PADDING_NOT_CROPPED if is_whole else Cause.CROPPED_WRONGLY,
                    Hypothesis.PADDING_NOT_CROPPED if is_whole else Hypothesis.CROPPED_WRONGLY,
                    role=Role.X,
                    function=" and ".join(sorted(names)),
                    spatial_axes=tuple(n for n, (name, _) in enumerate(chosen) if name != "right"),
                    ndim=len(pads),
                )
    return None


def _pads(r: WrongResult) -> tuple[tuple[int, int], ...]:
    m = r.problem.model
    return m.pads if m.mode != "zeros" else tuple((a.pad_lo, a.pad_hi) for a in m.axes)


def _uncropped(r: WrongResult, pads: tuple[tuple[int, int], ...]) -> ConvolutionModel:
    """Return the model of the padded input, which has the right outputs."""
    axes = []
    for a, (lo, hi) in zip(r.problem.model.axes, pads, strict=True):
        if a.input_dilation == 1:
            axes.append(a._replace(pad_lo=0, pad_hi=0, input_size=a.input_size + lo + hi))
        else:
            axes.append(a._replace(pad_lo=0, pad_hi=lo + hi))
    return replace(r.problem.model, axes=tuple(axes))


def _crops(size: int, lo: int, hi: int) -> Iterator[tuple[str, slice]]:
    """Yield ways to crop rows of padding, with their names."""
    yield "right", slice(lo, size - hi)
    yield "whole", slice(0, size)
    yield "before", slice(lo, size)
    yield "after", slice(0, size - hi)
    yield "exchanged", slice(hi, size - lo)
    yield "twice before", slice(lo + hi, size)
    yield "twice after", slice(0, size - lo - hi)
    yield "by the padding before", slice(lo, size - lo)
    yield "by the padding after", slice(hi, size - hi)
    yield "too much", slice(2 * lo, size - 2 * hi)


def remainder_dropped(r: WrongResult) -> Diagnosis | None:
    """Explain a gradient without the positions that the windows leave over, or with them in another place."""
    rests = tuple(remainder(a) for a in r.problem.model.axes)
    if not any(rests) or r.found.ndim != r.expected.ndim or r.role != "x":
        return None
    diagnosis = Diagnosis(Cause.REMAINDER_DROPPED, Hypothesis.REMAINDER_MISPLACED, positions=rests)
    kept: Any = (..., *(slice(0, size - rest) for size, rest in zip(r.expected.shape[2:], rests, strict=True)))
    if not r.has_shape:
        return diagnosis if same(r.expected[kept], r.found) else None
    moved = [np.roll(r.expected, rest, axis) for axis, rest in enumerate(rests, 2) if rest]
    moved.append(np.zeros_like(r.expected))
    moved[-1][kept] = r.expected[kept]
    return diagnosis if any(same(m, r.found) for m in moved) else None


def output_padding_zero(r: WrongResult) -> Diagnosis | None:
    """Explain the value of a transposed convolution in which what the output padding adds is zero, or the bias alone."""
    extra = [a.pad_lo - a.pad_hi for a in r.problem.model.axes]
    if not r.is_value or r.problem.result != "x" or not r.has_shape or max(extra, default=0) <= 0:
        return None
    kept: Any = (..., *(slice(0, size - max(0, n)) for size, n in zip(r.expected.shape[2:], extra, strict=True)))
    nothing = r.predicted(r.problem.model.with_change("x", np.zeros_like)) if r.has_bias else np.zeros_like(r.expected)
    for rest in (np.zeros_like(r.expected), nothing):
        predicted = rest.astype(r.expected.dtype)
        predicted[kept] = r.expected[kept]
        if same(predicted, r.found):
            return Diagnosis(Cause.OUTPUT_PADDING_IGNORED, Hypothesis.OUTPUT_PADDING_ZERO)
    return None


def cut(r: WrongResult) -> Diagnosis | None:
    """Explain a result that is right, but has rows too few or too many at one end or at both."""
    if r.found.ndim != r.expected.ndim or r.role == "bias" or r.has_shape or not r.found.size:
        return None
    shapes = list(zip(r.found.shape, r.expected.shape, strict=True))
    common = [min(pair) for pair in shapes]
    options = [sorted({0, pair[0] - small, (pair[0] - small) // 2}) for pair, small in zip(shapes, common, strict=True)]
    others = [sorted({0, pair[1] - small, (pair[1] - small) // 2}) for pair, small in zip(shapes, common, strict=True)]
    for starts in itertools.product(*options):
        for from_ in itertools.product(*others):
            a = r.found[tuple(slice(s, s + n) for s, n in zip(starts, common, strict=True))]
            b = r.expected[tuple(slice(s, s + n) for s, n in zip(from_, common, strict=True))]
            if a.size < 4 or not same(b, a):
                continue
            axis = next(n for n, pair in enumerate(shapes) if pair[0] != pair[1])
            more = shapes[axis][0] - shapes[axis][1]
            at = starts[axis] if more > 0 else from_[axis]
            is_other = all(_is_of_other_axis(r, n) for n, pair in enumerate(shapes) if pair[0] != pair[1])
            return Diagnosis(
                Cause.SIZE_OF_OTHER_AXIS if is_other else Cause.SHAPE,
                Hypothesis.RESULT_CUT,
                role=Role(r.role),
                axis=axis,
                offset=(at if more > 0 else -at, more - at if more > 0 else more + at),
                size=r.found.shape[axis] if is_other else None,
                ndim=len(r.problem.model.axes),
            )
    return None


def _is_of_other_axis(r: WrongResult, axis: int) -> bool:
    """Whether the size of an axis is that which another spatial axis must have."""
    return axis >= 2 and r.found.shape[axis] in {r.expected.shape[n] for n in range(2, r.expected.ndim) if n != axis}


def unexplained_shape(r: WrongResult) -> Diagnosis | None:
    """Say that the shape is wrong, and no more."""
    return None if r.has_shape else Diagnosis(Cause.SHAPE, Hypothesis.UNEXPLAINED_SHAPE)
