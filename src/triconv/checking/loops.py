"""The oracle: the three contractions by their definition, in loops over every meeting.

Written for independence, not speed: it shares no code with the library. Positions are found by trying all of them in the
incidence equation. With integers (Python's or NumPy's int64) it is exact.
"""

from __future__ import annotations

import itertools
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
    every = [
        (tuple(m[0] for m in at), tuple(m[1] for m in at), tuple(m[2] for m in at))
        for at in itertools.product(*map(meetings, axes))
    ]
    if g is None:
        assert x is not None
        assert w is not None
        y = np.zeros((x.shape[0], groups, w.shape[1], *map(output_size, axes)), np.result_type(x, w))
        for i, o, t in every:
            _at(y, o)[...] += np.einsum("ngc,gkc->ngk", _at(x, i), _at(w, t))
        return y.reshape(y.shape[0], groups * w.shape[1], *y.shape[3:])
    if x is None:
        assert w is not None
        gx = np.zeros((g.shape[0], groups, w.shape[2], *(a.input_size for a in axes)), np.result_type(g, w))
        for i, o, t in every:
            _at(gx, i)[...] += np.einsum("ngk,gkc->ngc", _at(g, o), _at(w, t))
        return gx.reshape(gx.shape[0], groups * w.shape[2], *gx.shape[3:])
    gw = np.zeros((groups, g.shape[2], x.shape[2], *(a.kernel_size for a in axes)), np.result_type(g, x))
    for i, o, t in every:
        _at(gw, t)[...] += np.einsum("ngk,ngc->gkc", _at(g, o), _at(x, i))
    return gw.reshape(groups * g.shape[2], *gw.shape[2:])


def _at(a: np.ndarray, position: tuple[int, ...]) -> np.ndarray:
    """Return a view of one spatial position."""
    index: Any = (..., *position)
    return a[index]
