"""Borders where the numbers next in memory are read, of another row, channel or sample: an index that is not checked.

A kernel that counts positions of a flattened array finds numbers before the first position of a row and after its last.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from triconv.checking.findings.causes import Cause, Hypothesis
from triconv.checking.findings.diagnosis_data import Diagnosis
from triconv.checking.oracles.convolution import Change, ConvolutionModel, ConvolutionProblem
from triconv.checking.oracles.definition import AxisParameters

NAMES = ("sample", "channel")


def neighbours(m: ConvolutionModel, problem: ConvolutionProblem) -> Iterator[tuple[Diagnosis, ConvolutionModel]]:
    """Yield each axis along which slices may lie one after another, with the model of such borders."""
    if m.mode != "zeros" or problem.result == "x" or "x" not in problem.roles:
        return
    shape = problem.torch_shape("x", problem.shapes[problem.roles.index("x")])
    for n, a in enumerate(m.axes):
        if a.input_dilation != 1 or max(a.pad_lo, a.pad_hi) > a.input_size or max(a.pad_lo, a.pad_hi) < 1:
            continue
        if min(a.pad_lo, a.pad_hi) < 0:
            continue
        for along, flat, rows_first in _kinds(n, m.axes):
            axes, pads = list(m.axes), (a.pad_lo, a.pad_hi)
            axes[n] = _without_padding(a)
            index = np.arange(int(np.prod(shape))).reshape(shape)
            if rows_first:  # zeros before the first row and after the last one
                rows = m.axes[n - 1]
                index = np.pad(
                    index,
                    [(rows.pad_lo, rows.pad_hi) if axis == along else (0, 0) for axis in range(len(shape))],
                    constant_values=-1,
                )
                axes[n - 1] = _without_padding(rows)
            source = _source(index, n + 2, along, pads, flat=flat)
            name = NAMES[along] if along < 2 else "row"
            yield (
                Diagnosis(Cause.WRAP_AROUND, Hypothesis.NEXT_IN_MEMORY, spatial_axes=(n,), mode=name),
                replace(m, axes=tuple(axes)).with_change("x", *_reading(source, shape)),
            )


def _kinds(n: int, axes: Sequence[AxisParameters]) -> Iterator[tuple[int, bool, bool]]:
    """Yield the axis of the slices next to those of a spatial axis, whether those before it count, and if zeros lie between."""
    if n and axes[n - 1].input_dilation == 1 and min(axes[n - 1].pad_lo, axes[n - 1].pad_hi) >= 0:
        yield n + 1, False, True
    for along in sorted({0, 1, n + 1}, reverse=True):
        yield along, False, False
        if along:
            yield along, True, False


def _without_padding(a: AxisParameters) -> AxisParameters:
    return a._replace(input_size=a.input_size + a.pad_lo + a.pad_hi, pad_lo=0, pad_hi=0)


def _source(index: np.ndarray, axis: int, along: int, pad: tuple[int, int], *, flat: bool) -> np.ndarray:
    """Return the index in memory of each element of the padded tensor; -1 for zeros.

    What stands beyond the borders is of the slice before or after along an axis; if `flat`, of all axes up to that one.
    """
    moved = np.moveaxis(index, (along, axis), (-2, -1))
    rows = moved.reshape(1, -1, moved.shape[-1]) if flat else moved.reshape(-1, *moved.shape[-2:])
    none = np.full((rows.shape[0], 1, rows.shape[2]), -1)
    before = np.concatenate([none, rows[:, :-1]], 1)[..., rows.shape[2] - pad[0] :]
    after = np.concatenate([rows[:, 1:], none], 1)[..., : pad[1]]
    padded = np.concatenate([before, rows, after], -1).reshape(*moved.shape[:-1], -1)
    return np.moveaxis(padded, (-2, -1), (along, axis))


def _reading(source: np.ndarray, shape: tuple[int, ...]) -> Change:
    def forth(x: np.ndarray) -> np.ndarray:
        return np.where(source >= 0, x.ravel()[source], 0)

    def back(gx: np.ndarray) -> np.ndarray:
        out = np.zeros(int(np.prod(shape)), gx.dtype)
        np.add.at(out, source[source >= 0], gx[source >= 0])
        return out.reshape(shape)

    return forth, back
