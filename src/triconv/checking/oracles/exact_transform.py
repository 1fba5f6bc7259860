"""Exact convolutions of integers by Fourier transforms in double precision, whose error is proved to be below 1/4.

All three contractions are one correlation on a grid without strides and dilations: input `i` is at ``input_dilation * i +
pad_lo``, output `o` at ``stride * o``, tap `t` at ``dilation * t``, and they meet where the first is the sum of the others. The
longest axis is taken in blocks of the output, so that transforms stay short.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from triconv.checking.oracles import modular
from triconv.checking.oracles.definition import AxisParameters, output_size

UNIT = 2.0**-53
LEAST_BLOCK = 1 << 12
"""Points of a transform along the axis that is taken in blocks: those of two operands and the sum stay in a cache."""
MOST_POINTS = 1 << 21
"""Points of all transforms of one operand that are computed at once: 32 MiB."""


class _Grid(NamedTuple):
    """One axis without strides and dilations: where inputs, outputs and taps are, and the sizes of a block."""

    inputs: slice
    input_points: slice
    outputs: slice
    taps: slice
    of_output: int
    of_taps: int
    points: int
    block: int

    @property
    def of_input(self) -> int:
        return self.of_output + self.of_taps - 1


def error_bound(norms: float, terms: int, points: int) -> float:
    """Return by how much a sum of `terms` cyclic convolutions may be off that was computed by transforms.

    Parameters
    ----------
    norms : float
        Sum over the terms of the products of the two operands' Euclidean norms.
    terms : int
        Number of convolutions that are added up before the transform back.
    points : int
        Of a transform; a power of two.

    Notes
    -----
    Percival [1]_ proves, for one convolution by transforms of ``2^l`` points, that every element is off by at most ``norms``
    times ``(1 + u)^(3 l) (1 + u sqrt(5))^(3 l + 1) (1 + b)^(3 l) - 1``, where ``u`` is the unit roundoff and ``b`` the error of
    the roots of unity, here at most ``u``. A sum of `terms` products adds ``terms u``. The result is doubled, for transforms of
    real numbers take one more step.

    References
    ----------
    .. [1] C. Percival, "Rapid multiplication modulo the sum and difference of highly composite numbers", Math. Comp. 72 (2003).
    """
    steps = max(1, points.bit_length())
    relative = math.expm1(3 * steps * 2 * math.log1p(UNIT) + (3 * steps + 1) * math.log1p(UNIT * math.sqrt(5)))
    return 2 * norms * (relative + terms * UNIT)


def contract(
    axes: tuple[AxisParameters, ...], role: str, first: np.ndarray, second: np.ndarray, prime: int | None
) -> np.ndarray:
    """Return one of the three contractions, summed over the second axis of its operands.

    Parameters
    ----------
    axes : tuple of AxisParameters
        One per spatial axis.
    role : {"g", "x", "w"}
        Which tensor the result is.
    first, second : numpy.ndarray, shapes (groups, s, *positions)
        Integers: x and w for "g", g and w for "x", x and g for "w".
    prime : int or None
        The modulus; None if the result is below 2^63 anyway.

    Returns
    -------
    numpy.ndarray of int64, shape (groups, *positions)
        The result modulo `prime`.
    """
    grids = _grids(axes)
    sizes = {"x": [a.input_size for a in axes], "g": [output_size(a) for a in axes], "w": [a.kernel_size for a in axes]}
    result = np.zeros((first.shape[0], *sizes[role]), np.int64)
    if not result.size or not first.size or not second.size:
        return result
    at_once = max(1, MOST_POINTS // (first.shape[1] * math.prod(g.points for g in grids)))
    for start in range(0, first.shape[0], at_once):
        groups = slice(start, start + at_once)
        result[groups] = _of_groups(grids, role, (first[groups], second[groups]), sizes[role], prime)
    return result


def _of_groups(
    grids: tuple[_Grid, ...],
    role: str,
    operands: tuple[np.ndarray, np.ndarray],
    sizes: Sequence[int],
    prime: int | None,
) -> np.ndarray:
    """Return `contract` of a few groups."""
    roles = {"g": ("x", "w"), "x": ("g", "w"), "w": ("x", "g")}[role]
    spread = [_spread(grids, r, a) for r, a in zip(roles, operands, strict=True)]
    width = 20
    while True:
        parts = modular.limbs(spread[0], width), modular.limbs(spread[1], width)
        norms = max(_norms(a, b) for a in parts[0] for b in parts[1]) * min(map(len, parts))
        terms = operands[0].shape[1] * min(map(len, parts)) * len(list(_blocks(grids)))
        if error_bound(norms, terms, math.prod(g.points for g in grids)) < 1 / 4:
            break
        width = (min(width, max(map(modular.bits, spread))) + 1) // 2 + 1
    whole = {"g": [g.of_output for g in grids], "x": [g.of_input for g in grids], "w": [g.of_taps for g in grids]}
    total = np.zeros((operands[0].shape[0], *whole[role]), np.int64)
    for shift, at, rounded in _correlations(grids, role, parts):
        part = rounded.astype(np.int64)
        if prime is None:
            total[at] += part << (width * shift)
        else:
            part = modular.residues(part, prime) * pow(2, width * shift, prime)
            total[at] = modular.residues(total[at] + modular.residues(part, prime), prime)
    out = np.zeros((operands[0].shape[0], *sizes), np.int64)
    if role == "x":
        out[_at(g.inputs for g in grids)] = total[_at(g.input_points for g in grids)]
        return out
    return total[_at(g.outputs if role == "g" else g.taps for g in grids)]


def _correlations(
    grids: tuple[_Grid, ...], role: str, parts: tuple[list[np.ndarray], list[np.ndarray]]
) -> Iterator[tuple[int, Any, np.ndarray]]:
    """Yield sums of products of limbs: how many limbs they are shifted by, where they belong, and the whole numbers."""
    points, spatial = [g.points for g in grids], range(-len(grids), 0)

    def forward(a: np.ndarray) -> np.ndarray:
        return np.fft.rfftn(a, points, axes=spatial)

    def back(a: np.ndarray) -> np.ndarray:
        return np.fft.irfftn(a, points, axes=spatial)

    shifts = range(len(parts[0]) + len(parts[1]) - 1)
    of_taps = tuple(slice(0, g.of_taps) for g in grids)
    kernel = None if role == "w" else [forward(a) for a in parts[1]]
    sums: list[Any] = [0.0] * len(shifts)
    for starts in _blocks(grids):
        of_input, of_output = (
            tuple(
                slice(z, min(z + g.block + more, of))
                for z, g, more, of in zip(starts, grids, extra, whole, strict=True)
            )
            for extra, whole in (
                ([g.of_taps - 1 for g in grids], [g.of_input for g in grids]),
                ([0] * len(grids), [g.of_output for g in grids]),
            )
        )
        block = [forward(a[_at(of_output if role == "x" else of_input)]) for a in parts[0]]
        others = kernel if kernel is not None else [forward(a[_at(of_output)]) for a in parts[1]]
        for shift in shifts:
            pairs = [(i, shift - i) for i in range(len(block)) if 0 <= shift - i < len(others)]
            products: Any = sum(_product(block[i], others[j], role).sum(axis=1) for i, j in pairs)
            if role == "w":
                sums[shift] = sums[shift] + products
                continue
            at = (slice(None), *(of_input if role == "x" else of_output))
            size = tuple(slice(0, s.stop - s.start) for s in at[1:])
            yield shift, at, np.rint(back(products)[_at(size)])
    if role == "w":
        for shift in shifts:
            yield shift, (slice(None), *of_taps), np.rint(back(sums[shift])[_at(of_taps)])


def _product(a: np.ndarray, b: np.ndarray, role: str) -> np.ndarray:
    """Return the spectrum of the sum: that for "x" runs over ``z + v``, the others over ``u - v`` or ``u - z``."""
    return np.asarray(a * (b if role == "x" else np.conj(b)))


def _at(positions: Iterable[slice]) -> Any:
    """Return the index of positions along the last axes."""
    return (..., *positions)


def _blocks(grids: tuple[_Grid, ...]) -> Iterator[tuple[int, ...]]:
    """Yield the first output point of every block, along each axis."""
    return itertools.product(*(range(0, g.of_output, g.block) for g in grids))


def _grids(axes: tuple[AxisParameters, ...]) -> tuple[_Grid, ...]:
    sizes = [_sizes(a) for a in axes]
    longest = max(range(len(axes)), key=lambda n: sizes[n][0])
    return tuple(_grid(a, *sizes[n], in_blocks=n == longest) for n, a in enumerate(axes))


def _sizes(axis: AxisParameters) -> tuple[int, int]:
    """Return the points from the first output to the last, and from the first tap to the last."""
    return axis.stride * (output_size(axis) - 1) + 1, axis.dilation * (axis.kernel_size - 1) + 1


def _grid(axis: AxisParameters, of_output: int, of_taps: int, *, in_blocks: bool) -> _Grid:
    of_input = of_output + of_taps - 1
    points = 1 << (of_input - 1).bit_length()
    if in_blocks:
        points = min(points, max(LEAST_BLOCK, 1 << (4 * of_taps - 1).bit_length()))
    inputs = np.arange(axis.input_size) * axis.input_dilation + axis.pad_lo
    inside = np.flatnonzero((inputs >= 0) & (inputs < of_input))
    first, last = (int(inside[0]), int(inside[-1]) + 1) if len(inside) else (0, 0)
    start = axis.input_dilation * first + axis.pad_lo
    stop = start + axis.input_dilation * (last - first - 1) + 1 if last > first else start
    return _Grid(
        slice(first, last),
        slice(start, stop, axis.input_dilation),
        slice(0, of_output, axis.stride),
        slice(0, of_taps, axis.dilation),
        of_output,
        of_taps,
        points,
        points - of_taps + 1,
    )


def _spread(grids: tuple[_Grid, ...], role: str, a: np.ndarray) -> np.ndarray:
    """Return a tensor on the grid, with zeros between its elements."""
    if role == "x":
        sizes, at = [g.of_input for g in grids], tuple(g.input_points for g in grids)
        a = a[_at(g.inputs for g in grids)]
    else:
        sizes = [g.of_output if role == "g" else g.of_taps for g in grids]
        at = tuple(g.outputs if role == "g" else g.taps for g in grids)
    if list(a.shape[2:]) == sizes:
        return a
    spread = np.zeros((*a.shape[:2], *sizes), a.dtype)
    spread[_at(at)] = a
    return spread


def _norms(a: np.ndarray, b: np.ndarray) -> float:
    """Return the largest sum over a group of the products of norms."""
    flat = [m.reshape(*m.shape[:2], -1) for m in (a, b)]
    of_a, of_b = (np.sqrt(np.einsum("gsi,gsi->gs", m, m)) for m in flat)
    return float((of_a * of_b).sum(axis=1).max(initial=0))
