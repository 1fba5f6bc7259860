"""The definition in plain loops, the oracle of every check: the three contractions, tap by tap and meeting by meeting.

Written for independence: it shares no code with the library. Positions are found by trying every output and tap in the
incidence equation. With integers it is exact, modulo 2^64 if they are NumPy's.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np


class AxisParameters(NamedTuple):
    """The plain numbers of a convolution along one axis."""

    input_size: int
    kernel_size: int
    stride: int
    dilation: int
    input_dilation: int
    pad_lo: int
    pad_hi: int


def output_size(axis: AxisParameters) -> int:
    """Count the windows that fit into the padded input, by the positions where one may start."""
    padded = axis.pad_lo + axis.pad_hi + (axis.input_dilation * (axis.input_size - 1) + 1 if axis.input_size else 0)
    window = axis.dilation * (axis.kernel_size - 1) + 1 if axis.kernel_size else 0
    return len(range(0, padded - window + 1, axis.stride))


@functools.lru_cache(maxsize=64)
def by_tap(axis: AxisParameters) -> tuple[tuple[np.ndarray, np.ndarray], ...]:
    """The input and the output positions that meet, for each tap: every output is tried in the incidence equation.

    An output meets the tap if ``stride * o + dilation * t - pad_lo`` is a multiple of `input_dilation`, and the quotient is a
    position of the input.
    """
    outputs = np.arange(output_size(axis))
    pairs = []
    for t in range(axis.kernel_size):
        at = axis.stride * outputs + axis.dilation * t - axis.pad_lo
        i, rest = np.divmod(at, axis.input_dilation)
        meets = (rest == 0) & (i >= 0) & (i < axis.input_size)
        pairs.append((i[meets], outputs[meets]))
    return tuple(pairs)


def meetings(axis: AxisParameters) -> list[tuple[int, int, int]]:
    """Every ``(i, o, t)`` that satisfies the incidence equation, in this order."""
    return sorted(
        (i, o, t) for t, pair in enumerate(by_tap(axis)) for i, o in zip(*(side.tolist() for side in pair), strict=True)
    )


def meetings_at(axis: AxisParameters, which: int, position: int) -> list[tuple[int, int, int]]:
    """Return the meetings of one input (`which` 0), output (1) or tap (2): every one that it may have is tried."""
    outputs, taps = np.arange(output_size(axis)), np.arange(axis.kernel_size)
    if which == 0:
        o, rest = np.divmod(axis.input_dilation * position + axis.pad_lo - axis.dilation * taps, axis.stride)
        triples = [(position, a, t) for a, b, t in zip(o.tolist(), rest.tolist(), taps.tolist(), strict=True) if b == 0]
        return [(i, o, t) for i, o, t in triples if 0 <= o < len(outputs)]
    o, t = (np.array([position]), taps) if which == 1 else (outputs, np.array([position]))
    i, rest = np.divmod(axis.stride * o + axis.dilation * t - axis.pad_lo, axis.input_dilation)
    meets = (rest == 0) & (i >= 0) & (i < axis.input_size)
    return list(zip(*(np.broadcast_to(a, meets.shape)[meets].tolist() for a in (i, o, t)), strict=True))


def result_shape(
    axes: tuple[AxisParameters, ...],
    groups: int,
    *,
    x: tuple[int, ...] | None = None,
    w: tuple[int, ...] | None = None,
    g: tuple[int, ...] | None = None,
) -> tuple[int, ...]:
    """Shape of the array that `contract` computes from two others of these shapes, in torch's order."""
    if g is None:
        assert x is not None
        assert w is not None
        return (x[0], w[0], *map(output_size, axes))
    if x is None:
        assert w is not None
        return (g[0], w[1] * groups, *(a.input_size for a in axes))
    return (g[1], x[1] // groups, *(a.kernel_size for a in axes))


def contract(
    axes: tuple[AxisParameters, ...],
    groups: int,
    *,
    x: np.ndarray | None = None,
    w: np.ndarray | None = None,
    g: np.ndarray | None = None,
) -> np.ndarray:
    """Derivative of ``T = sum of x * w * g`` by the one array that is missing.

    Parameters
    ----------
    axes : tuple of AxisParameters
        One per spatial axis.
    groups : int
        Number of groups.
    x, w, g : numpy.ndarray, optional
        Two of the three arrays, in torch's order: (n, c, *input), (k, c // groups, *kernel), (n, k, *output).

    Returns
    -------
    numpy.ndarray
        The third, of the dtype of the others.
    """
    whole = [a for a in (x, w, g) if a is not None]
    if all(a.dtype.kind in "iu" for a in whole) and _is_exact_in_double(whole):
        # sums of small integers are exact in double precision too, and there NumPy has fast products
        dtype = np.result_type(*whole)
        double = [None if a is None else a.astype(np.float64) for a in (x, w, g)]
        return contract(axes, groups, x=double[0], w=double[1], g=double[2]).astype(dtype)
    # the letters of one group, the batch first; a group is a range of channels
    if x is not None:
        x = x.reshape(x.shape[0], groups, x.shape[1] // groups, *x.shape[2:])
    if g is not None:
        g = g.reshape(g.shape[0], groups, g.shape[1] // groups, *g.shape[2:])
    if w is not None:
        w = w.reshape(groups, w.shape[0] // groups, *w.shape[1:])
    inputs, outputs = tuple(a.input_size for a in axes), tuple(map(output_size, axes))
    n, c, k = _sizes(x, w, g)
    if g is None:
        y = np.zeros((n, groups, k, *outputs), np.result_type(x, w))
        for t, i, o in _meeting_slices(axes):
            y[o] += (_tap(w, t) @ _columns(x, i)).reshape(y[o].shape)
        return y.reshape(n, groups * k, *outputs)
    if x is None:
        gx = np.zeros((n, groups, c, *inputs), np.result_type(g, w))
        for t, i, o in _meeting_slices(axes):
            gx[i] += (_tap(w, t).swapaxes(-1, -2) @ _columns(g, o)).reshape(gx[i].shape)
        return gx.reshape(n, groups * c, *inputs)
    gw = np.zeros((groups, k, c, *(a.kernel_size for a in axes)), np.result_type(g, x))
    for t, i, o in _meeting_slices(axes):
        at: Any = (..., *t)
        gw[at] = (_columns(g, o) @ _columns(x, i).swapaxes(-1, -2)).sum(axis=0)
    return gw.reshape(groups * k, *gw.shape[2:])


def _is_exact_in_double(operands: list[np.ndarray]) -> bool:
    """Whether every sum of products of these integers is below 2^53, in any order."""
    most = [max(abs(int(a.max(initial=0))), abs(int(a.min(initial=0)))) for a in operands]
    return most[0] * most[1] * min(a.size for a in operands) < 2**53


def _sizes(x: np.ndarray | None, w: np.ndarray | None, g: np.ndarray | None) -> tuple[int, int, int]:
    """Batch, input channels and output channels of a group."""
    n = (x if x is not None else g).shape[0]  # type: ignore[union-attr]
    c = x.shape[2] if x is not None else w.shape[2]  # type: ignore[union-attr]
    k = w.shape[1] if w is not None else g.shape[2]  # type: ignore[union-attr]
    return n, c, k


def _meeting_slices(axes: tuple[AxisParameters, ...]) -> Iterator[tuple[tuple[int, ...], Any, Any]]:
    """Every tap with the slices of the input and of the output positions that meet there."""
    taps = [
        [(t, _slice(i), _slice(o)) for t, (i, o) in enumerate(by_tap(axis)) if len(i)] for axis in axes
    ]  # of one tap, an input position meets one output position
    for at in itertools.product(*taps):
        yield tuple(t for t, _, _ in at), (..., *(i for _, i, _ in at)), (..., *(o for _, _, o in at))


def _slice(positions: np.ndarray) -> slice:
    """Positions as a slice: for one tap they are equally far apart, by the incidence equation."""
    first, last = int(positions[0]), int(positions[-1])
    step = int(positions[1]) - first if len(positions) > 1 else 1
    assert len(range(first, last + 1, step)) == len(positions)
    assert np.array_equal(np.arange(first, last + 1, step), positions)
    return slice(first, last + 1, step)


def _tap(w: np.ndarray | None, t: tuple[int, ...]) -> np.ndarray:
    assert w is not None
    at: Any = (..., *t)
    return w[at]


def _columns(a: np.ndarray | None, positions: Any) -> np.ndarray:
    """The positions as the last axis."""
    assert a is not None
    part = a[positions]
    return part.reshape(*part.shape[:3], math.prod(part.shape[3:]))
