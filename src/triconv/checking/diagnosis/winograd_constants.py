"""One wrong constant in the transforms of Winograd's algorithms: which one, and by what it is off.

An algorithm ``F(m, taps)`` computes ``m`` outputs of a tile from ``n = m + taps - 1`` inputs ``x`` by ``n`` products, as a
product of polynomials that is known at ``n - 1`` points and at infinity [1]_:

    y[r] = sum over i of  A[r, i] * (sum over t of G[i, t] w[t]) * (sum over d of B[i, d] x[d])

So an input, an output and a tap of a tile meet with the weight ``sum of A[r, i] G[i, t] B[i, d]``, which is 1 where ``d = r +
t`` and 0 elsewhere. One constant that is off by ``c`` adds ``c`` times a tensor that is known, along each axis where the
algorithm is used. The result is a polynomial of ``c``, whose coefficients are fitted; it explains the result if they are powers
of one number, and give every element.

References
----------
.. [1] A. Lavin and S. Gray, "Fast algorithms for convolutional neural networks", CVPR 2016.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

POINTS: tuple[tuple[float, ...], ...] = ((0, 1, -1, 2, -2, 0.5, -0.5), (0, 1, -1, 0.5, -0.5))
"""Points in the order in which they are taken, and another order of which one has as many."""
POWERS = 1e-3
"""Share by which the coefficients of a polynomial may differ from powers of one number."""
LEAST = 1e-6
MOST_WORDS = 2
"""Constants that are named where several have the same effect."""

Weights = list[np.ndarray]
Predict = Callable[[Weights], np.ndarray]


class Constant(NamedTuple):
    """A wrong constant.

    Parameters
    ----------
    words : str
        Which one it is, and by what it is off.
    weights : list of numpy.ndarray
        Of each axis, shape (inputs, outputs, taps) of a tile.
    """

    words: str
    weights: Weights


class Transforms(NamedTuple):
    """The three matrices, one row for each point."""

    of_input: np.ndarray
    of_kernel: np.ndarray
    of_output: np.ndarray


def transforms(points: tuple[float, ...], tile: int, taps: int) -> Transforms:
    """Return the matrices of an algorithm, for as many points as ``tile + taps - 2``, and infinity."""
    n = len(points) + 1
    of_output, of_kernel, of_input = np.zeros((n, tile)), np.zeros((n, taps)), np.zeros((n, n))
    for i, point in enumerate(points):
        others = [p for p in points if p != point]
        of_output[i] = point ** np.arange(tile)
        of_kernel[i] = point ** np.arange(taps) / math.prod(point - p for p in others)
        of_input[i, : n - 1] = np.poly(others)[::-1] if others else 1
    of_output[-1, -1] = of_kernel[-1, -1] = 1
    of_input[-1] = np.poly(points)[::-1]
    return Transforms(of_input, of_kernel, of_output)


def wrong_constants(
    found: np.ndarray, expected: np.ndarray, predict: Predict, tile: int, taps: tuple[int, ...]
) -> Constant | None:
    """Return the constant that explains a result, in all axes at once, or in one of them.

    Parameters
    ----------
    found, expected : numpy.ndarray
        The result, and the right one.
    predict : callable
        Gives the result for the weights of each axis.
    tile : int
        Outputs of a tile, along each axis.
    taps : tuple of int
        Taps along each axis.
    """
    shapes = [(tile + count - 1, tile, count) for count in taps]
    right = [right_weights(shape) for shape in shapes]
    nothing = predict([np.zeros(shape) for shape in shapes])
    residual = (found - expected).ravel()
    near = LEAST * max(1.0, float(np.abs(expected).max(initial=0)))
    for points in POINTS:
        of_axes = [_of_points(points, tile, count) for count in taps]
        fits: dict[str, Weights] = {}
        for axes in _subsets(taps):
            matrices = of_axes[axes[0]]
            for words, of_constant, tensor in () if matrices is None else _constants(matrices, points):
                c = _fitted(residual, predict, nothing, right, axes, tensor)
                if c is None:
                    continue
                weights = [w + c * tensor if a in axes else w for a, w in enumerate(right)]
                if np.all(np.abs(predict(weights) - found) <= near * 100):
                    fits[_words(words, of_constant, c)] = weights
        if fits:
            first = next(iter(fits.values()))
            alike = [words for words, weights in fits.items() if all(map(np.allclose, weights, first))]
            return Constant("; or ".join(alike[:MOST_WORDS]), first)
    return None


def right_weights(shape: tuple[int, ...]) -> np.ndarray:
    """Return the weights of a tile: an input, an output and a tap meet where the input is the sum of the others."""
    d, out, t = np.indices(shape)
    return (d == out + t).astype(np.float64)


def _of_points(points: tuple[float, ...], tile: int, taps: int) -> Transforms | None:
    count = tile + taps - 2
    is_other_order = points != POINTS[0] and (count != len(points) or points == POINTS[0][:count])
    return None if count > len(points) or is_other_order else transforms(points[:count], tile, taps)


def _subsets(taps: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
    """Yield all axes, if they have as many taps, and each alone."""
    if len(taps) > 1 and len(set(taps)) == 1:
        yield tuple(range(len(taps)))
    for axis in range(len(taps)):
        yield (axis,)


def _constants(matrices: Transforms, points: tuple[float, ...]) -> Iterator[tuple[str, float, np.ndarray]]:
    """Yield each constant: its name, what it must be, and the tensor that it multiplies; shape (inputs, outputs, taps)."""
    b, g, a = matrices
    for i in range(len(b)):
        point = f"row {i}, that of point {points[i]:g}" if i < len(b) - 1 else f"row {i}, that of infinity"
        row = {"input": b[i], "output": a[i], "kernel": g[i]}
        for name, place in (("input", "input"), ("kernel", "tap"), ("output", "output")):
            for k, right in enumerate(row[name].tolist()):
                one = np.zeros_like(row[name])
                one[k] = 1
                d, r, t = (one if other == name else of for other, of in row.items())
                words = f"the transform of the {name} at {place} {k} ({point})"
                yield words, right, d[:, None, None] * r[:, None] * t


def _fitted(
    residual: np.ndarray,
    predict: Predict,
    nothing: np.ndarray,
    right: Weights,
    axes: tuple[int, ...],
    tensor: np.ndarray,
) -> float | None:
    """Return by what a constant is off, if the result is the polynomial of one number."""
    columns = []
    for degree in range(1, len(axes) + 1):
        total = np.zeros(residual.size)
        for changed in itertools.combinations(axes, degree):
            weights = [tensor if axis in changed else w for axis, w in enumerate(right)]
            total += (predict(weights) - nothing).ravel()
        columns.append(total)
    matrix = np.stack(columns, axis=1)
    if not matrix[:, 0].any():
        return None
    scale = np.linalg.norm(matrix, axis=0)
    scale[scale == 0] = 1
    solution = np.linalg.lstsq(matrix / scale, residual, rcond=None)[0] / scale
    if np.linalg.norm(matrix @ solution - residual) > POWERS * np.linalg.norm(residual):
        return None
    c = float(solution[0])
    powers = np.array([c ** (n + 1) for n in range(len(columns))])
    return c if np.allclose(matrix @ powers, residual, rtol=0, atol=POWERS * np.abs(residual).max()) else None


def _words(name: str, right: float, c: float) -> str:
    if abs(right) < LEAST:
        return f"{name} is not zero"
    ratio = round(1 + c / right, 4)
    if ratio == 0:
        return f"{name} is zero, where it must not be"
    return f"{name} has the wrong sign" if ratio == -1 else f"{name} is {ratio:g} times what it must be"
