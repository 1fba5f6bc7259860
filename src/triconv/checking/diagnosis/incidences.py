"""Mistakes of the geometry in one result, as other incidence tensors.

The definition is ``T = sum of x[i] * w[t] * g[o] * A[i, o, t]``, where `A` is 1 where input, output and tap meet, one tensor
for each spatial axis. Somebody who forgets the stride in one contraction, or whose indices wrap around, sums over another `A`,
but over the sizes of the right tensors. So a mistake is another `A`, and predicts the result for any sizes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from triconv.checking.findings.protocol import PlainEnum
from triconv.checking.oracles.convolution import ConvolutionModel, ConvolutionProblem
from triconv.checking.oracles.definition import AxisParameters, output_size


class Border(PlainEnum):
    """What an index beyond the ends of the input stands for."""

    ZEROS = "zeros"
    CIRCULAR = "circular"
    REPLICATE = "replicate"
    REFLECT = "reflect"
    NEGATIVE = "negative"
    """Python's indices: -1 is the last; beyond the end there is nothing."""


Incidence = np.ndarray
"""How often input, output and tap meet along one axis; shape (inputs, outputs, taps)."""


def incidence(
    a: AxisParameters, outputs: int, *, inputs: int | None = None, border: Border = Border.ZEROS
) -> Incidence:
    """Return where input, output and tap meet, by the incidence equation.

    Parameters
    ----------
    a : AxisParameters
        The parameters, mistaken ones perhaps.
    outputs, inputs : int
        Number of outputs, which need not be that of the parameters, and of inputs, by default that of the parameters.
    border : Border
        What an index beyond the ends of the input stands for.

    Returns
    -------
    numpy.ndarray of int, shape (inputs, outputs, taps)
        1 where they meet; more where an index that wraps around meets again.
    """
    size = a.input_size if inputs is None else inputs
    out = np.zeros((size, outputs, a.kernel_size), np.int64)
    if not out.size:
        return out
    o, t = np.arange(outputs)[:, None], np.arange(a.kernel_size)
    i, rest = np.divmod(a.stride * o + a.dilation * t - a.pad_lo, a.input_dilation)
    o, t = np.broadcast_arrays(o, t)
    meets = rest == 0
    match border:
        case Border.CIRCULAR:
            i = i % size
        case Border.REPLICATE:
            i = i.clip(0, size - 1)
        case Border.REFLECT:
            period = max(1, 2 * (size - 1))
            i = np.minimum(i % period, period - i % period) if size > 1 else i * 0
        case Border.NEGATIVE:
            i = np.where((i < 0) & (i >= -size), i + size, i)
    meets &= (i >= 0) & (i < size)
    np.add.at(out, (i[meets], o[meets], t[meets]), 1)
    return out


def contract(
    incidences: tuple[Incidence, ...],
    groups: int,
    *,
    x: np.ndarray | None = None,
    w: np.ndarray | None = None,
    g: np.ndarray | None = None,
) -> np.ndarray:
    """Derivative of ``T`` by the tensor that is missing, in torch's order, by products of matrices of unfolded windows."""
    d = len(incidences)
    outputs, taps = tuple(a.shape[1] for a in incidences), tuple(a.shape[2] for a in incidences)
    all_outputs, all_taps = int(np.prod(outputs)), int(np.prod(taps))
    if w is not None:
        w = w.reshape(groups, w.shape[0] // groups, w.shape[1], all_taps)
    if g is not None:
        g = g.reshape(g.shape[0], groups, g.shape[1] // groups, all_outputs).swapaxes(0, 1)
    if x is not None:
        n = x.shape[0]
        windows = x.reshape(n, groups, x.shape[1] // groups, *x.shape[2:])
        for a in incidences:  # the first spatial axis becomes an output and a tap axis, at the end
            windows = np.tensordot(windows, a.astype(x.dtype), (3, 0))
        order = (1, 0, *range(3, 3 + 2 * d, 2), 2, *range(4, 4 + 2 * d, 2))
        columns = windows.transpose(order).reshape(groups, n, all_outputs, -1, all_taps)
        c = columns.shape[3]
        if w is not None:
            k = w.shape[1]
            rows = columns.reshape(groups, n * all_outputs, c * all_taps)
            y = rows @ w.reshape(groups, k, c * all_taps).swapaxes(1, 2)
            return y.reshape(groups, n, all_outputs, k).transpose(1, 0, 3, 2).reshape(n, groups * k, *outputs)
        assert g is not None
        k = g.shape[2]
        rows = columns.transpose(0, 3, 4, 1, 2).reshape(groups, c * all_taps, n * all_outputs)
        gw = g.transpose(0, 2, 1, 3).reshape(groups, k, n * all_outputs) @ rows.swapaxes(1, 2)
        return gw.reshape(groups * k, c, *taps)
    assert w is not None
    assert g is not None
    n, (k, c) = g.shape[1], w.shape[1:3]
    rows = g.transpose(0, 1, 3, 2).reshape(groups, n * all_outputs, k) @ w.reshape(groups, k, c * all_taps)
    spread = rows.reshape(groups, n, *outputs, c, *taps)
    spread = spread.transpose(1, 0, 2 + d, *(axis for e in range(d) for axis in (2 + e, 3 + d + e)))
    for a in incidences:  # the first output and tap axis become an input axis, at the end
        spread = np.tensordot(spread, a.astype(spread.dtype), ((3, 4), (1, 2)))
    return spread.reshape(n, groups * c, *spread.shape[3:])


@dataclass(frozen=True)
class IncidenceModel(ConvolutionModel):
    """A convolution that sums over given incidence tensors.

    Parameters
    ----------
    incidences : tuple of numpy.ndarray
        One per spatial axis.
    """

    incidences: tuple[Incidence, ...] = ()

    def contract(self, operands: dict[str, np.ndarray]) -> np.ndarray:
        """Derivative of ``T`` by the tensor that is missing, by the incidence tensors."""
        return contract(self.incidences, self.groups, **operands)

    @classmethod
    def of(cls, m: ConvolutionModel, incidences: tuple[Incidence, ...]) -> IncidenceModel:
        """Return the model with other incidence tensors."""
        return cls(m.axes, m.groups, m.mode, m.pads, m.changes, incidences)


def right_incidences(problem: ConvolutionProblem) -> tuple[Incidence, ...]:
    """Return those of the problem."""
    return incidences_of(problem.model.axes)


def incidences_of(axes: tuple[AxisParameters, ...]) -> tuple[Incidence, ...]:
    """Return those of some parameters, one per spatial axis."""
    return tuple(incidence(a, output_size(a)) for a in axes)


def in_all_and_each(
    right: tuple[Incidence, ...], change: Callable[[int], Any]
) -> list[tuple[tuple[int, ...] | None, tuple[Incidence, ...]]]:
    """Return the incidences with a change in all axes, and in each alone; with the axis, or None for all.

    A change is asked for each axis, and returns its incidence, or None if it changes nothing there.
    """
    changed = [change(number) for number in range(len(right))]
    found: list[tuple[tuple[int, ...] | None, tuple[Incidence, ...]]] = []
    of_all = tuple(old if new is None else new for old, new in zip(right, changed, strict=True))
    differs = [not np.array_equal(a, b) for a, b in zip(of_all, right, strict=True)]
    if any(differs):
        found.append((None if sum(differs) > 1 or len(right) == 1 else (differs.index(True),), of_all))
    if sum(differs) > 1:
        for number, is_other in enumerate(differs):
            if is_other:
                found.append(((number,), (*right[:number], of_all[number], *right[number + 1 :])))
    return found
