"""The oracle: the three contractions by their definition, in a loop over the taps and all meetings of each.

Written for independence: it shares no code with the library. Positions are found by trying all of them in the incidence
equation. With integers (Python's or NumPy's int64) it is exact.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np


class Numbers(NamedTuple):
    """The plain numbers of a convolution along one axis."""

    input_size: int
    kernel_size: int
    stride: int
    dilation: int
    input_dilation: int
    pad_lo: int
    pad_hi: int


def output_size(axis: Numbers) -> int:
    """Count the windows that fit into the padded input, by sliding one along."""
    padded = axis.pad_lo + axis.pad_hi + (axis.input_dilation * (axis.input_size - 1) + 1 if axis.input_size else 0)
    window = axis.dilation * (axis.kernel_size - 1) + 1 if axis.kernel_size else 0
    count = 0
    while count * axis.stride + window <= padded:
        count += 1
    return count


def meetings(axis: Numbers) -> list[tuple[int, int, int]]:
    """Every ``(i, o, t)`` that satisfies the incidence equation, by trial."""
    return [
        (i, o, t)
        for i in range(axis.input_size)
        for o in range(output_size(axis))
        for t in range(axis.kernel_size)
        if axis.input_dilation * i + axis.pad_lo == axis.stride * o + axis.dilation * t
    ]


def contract(
    axes: tuple[Numbers, ...],
    groups: int,
    *,
    x: np.ndarray | None = None,
    w: np.ndarray | None = None,
    g: np.ndarray | None = None,
) -> np.ndarray:
    """Derivative of ``T = sum of x * w * g`` by the one array that is not given.

    Parameters
    ----------
    axes : tuple of Numbers
        One a spatial axis.
    groups : int
        Number of groups.
    x, w, g : numpy.ndarray, optional
        Two of the three arrays, in torch's order: (n, c, *input), (k, c // groups, *kernel), (n, k, *output).

    Returns
    -------
    numpy.ndarray
        The third, of the dtype of the others.
    """
    # the letters of one group, the batch first; a group is a range of channels
    if x is not None:
        x = x.reshape(x.shape[0], groups, x.shape[1] // groups, *x.shape[2:])
    if g is not None:
        g = g.reshape(g.shape[0], groups, g.shape[1] // groups, *g.shape[2:])
    if w is not None:
        w = w.reshape(groups, w.shape[0] // groups, *w.shape[1:])
    # for one tap, an input position meets one output position, and the other way round: each is in a list once
    pairs = [{t: [(i, o) for i, o, tap in meetings(a) if tap == t] for t in range(a.kernel_size)} for a in axes]
    inputs, outputs = tuple(a.input_size for a in axes), tuple(map(output_size, axes))
    n, c, k = _sizes(x, w, g)
    if g is None:
        y = np.zeros((n, groups, k, *outputs), np.result_type(x, w))
        for t, i, o in _by_tap(pairs):
            y[o] += (_tap(w, t) @ _columns(x, i)).reshape(y[o].shape)
        return y.reshape(n, groups * k, *outputs)
    if x is None:
        gx = np.zeros((n, groups, c, *inputs), np.result_type(g, w))
        for t, i, o in _by_tap(pairs):
            gx[i] += (_tap(w, t).swapaxes(-1, -2) @ _columns(g, o)).reshape(gx[i].shape)
        return gx.reshape(n, groups * c, *inputs)
    gw = np.zeros((groups, k, c, *(a.kernel_size for a in axes)), np.result_type(g, x))
    for t, i, o in _by_tap(pairs):
        at: Any = (..., *t)
        gw[at] = (_columns(g, o) @ _columns(x, i).swapaxes(-1, -2)).sum(axis=0)
    return gw.reshape(groups * k, *gw.shape[2:])


def _sizes(x: np.ndarray | None, w: np.ndarray | None, g: np.ndarray | None) -> tuple[int, int, int]:
    """Batch, input channels and output channels of a group."""
    n = (x if x is not None else g).shape[0]  # type: ignore[union-attr]
    c = x.shape[2] if x is not None else w.shape[2]  # type: ignore[union-attr]
    k = w.shape[1] if w is not None else g.shape[2]  # type: ignore[union-attr]
    return n, c, k


def _by_tap(pairs: list[dict[int, list[tuple[int, int]]]]) -> Iterator[tuple[tuple[int, ...], Any, Any]]:
    """Every tap with indices of the input and of the output positions that meet there."""
    for at in itertools.product(*(axis.items() for axis in pairs)):
        if all(meet for _, meet in at):
            index = [np.ix_(*([pair[side] for pair in meet] for _, meet in at)) if at else () for side in (0, 1)]
            yield tuple(t for t, _ in at), (..., *index[0]), (..., *index[1])


def _tap(w: np.ndarray | None, t: tuple[int, ...]) -> np.ndarray:
    assert w is not None
    at: Any = (..., *t)
    return w[at]


def _columns(a: np.ndarray | None, positions: Any) -> np.ndarray:
    """The positions as the last axis."""
    assert a is not None
    part = a[positions]
    return (
        part.reshape(*part.shape[:3], -1) if part.size else part.reshape(*part.shape[:3], int(np.prod(part.shape[3:])))
    )
