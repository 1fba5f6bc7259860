"""A wrong constant in the transforms of tiles, as of Winograd's algorithms.

Such an algorithm computes outputs in tiles of ``m`` along each axis, from ``m + taps - 1`` inputs. A wrong constant leaves
products of inputs and taps that do not meet, or makes some count other than once. Along an axis that is a weight ``A[d, r, t]``
for input ``d`` of a tile, its output ``r`` and tap ``t``, which is 1 where ``d = r + t`` and 0 elsewhere. The weights of all
axes are fitted to the result, by Newton's method from the right ones. A constant of the transform of the input changes the
weights of one ``d``, one of the kernel's those of one ``t``, and one of the output's those of one ``r``.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from triconv.checking.diagnosis.incidences import IncidenceModel
from triconv.checking.diagnosis.winograd_constants import Predict, Weights, right_weights, wrong_constants
from triconv.checking.findings.causes import Cause, Hypothesis
from triconv.checking.findings.diagnosis_data import Diagnosis
from triconv.checking.findings.protocol import Role
from triconv.checking.oracles.comparison import WrongResult, same
from triconv.checking.oracles.convolution import ConvolutionModel
from triconv.checking.oracles.definition import AxisParameters, output_size

TILES = (2, 4, 3, 6)
LARGEST_KERNEL = 7
MOST_WORK = 2**19
"""Products of a result that is fitted."""
EQUATIONS = 1.5
"""Elements for each weight: a fit of fewer may be by chance."""
STEPS = 12
LEAST_GAIN = 0.7
"""Share of the error that is left by a step, at most, or the weights are not found from the right ones."""
IS_OFF = 1e-4
"""Share of a weight by which another one is not the same."""


def tile_transform(r: WrongResult) -> tuple[Diagnosis, ConvolutionModel] | None:
    """Explain a result by the weights of tiles; return the model of them, too."""
    p, axes = r.problem, r.problem.model.axes
    is_fit = r.has_shape and r.role in ("x", "g") and p.model.mode == "zeros" and not np.iscomplexobj(r.found)
    if not is_fit or not axes or any(not 1 < a.kernel_size <= LARGEST_KERNEL for a in axes):
        return None
    if any((a.stride, a.dilation, a.input_dilation) != (1, 1, 1) for a in axes):
        return None
    if r.found.size * p.terms(r.role) > MOST_WORK or not np.isfinite(r.found).all():
        return None
    # elements of the tensor of an axis
    if any(a.input_size * output_size(a) * a.kernel_size > MOST_WORK for a in axes):
        return None
    sizes = r.found.shape[2:]
    taps = tuple(a.kernel_size for a in axes)

    def model(weights: Weights) -> IncidenceModel:
        of_axes = zip(weights, axes, sizes, strict=True)
        tensors = tuple(_incidence(w, axis, size, of_input=r.role == "x") for w, axis, size in of_axes)
        return IncidenceModel.of(r.expectations.model, tensors)

    def predict(weights: Weights) -> np.ndarray:
        return r.predicted(model(weights))

    tiles = [tile for tile in TILES if any(size > tile for size in sizes)]
    for tile in tiles:
        if (constant := wrong_constants(r.found, r.expected, predict, tile, taps)) is not None:
            diagnosis = _diagnosis(r, tile, constant.weights)
            if diagnosis is not None:
                return replace(diagnosis, parameter=constant.words), model(constant.weights)
    for tile in tiles:
        shapes = [(tile + count - 1, tile, count) for count in taps]
        if EQUATIONS * sum(map(math.prod, shapes)) > r.found.size:
            continue
        weights = _fitted(r, shapes, predict)
        diagnosis = None if weights is None else _diagnosis(r, tile, weights)
        if weights is not None and diagnosis is not None:
            return diagnosis, model(weights)
    return None


def _fitted(r: WrongResult, shapes: list[tuple[int, int, int]], predicted: Predict) -> Weights | None:
    """Return the weights of each axis that give the result; None if there are none near the right ones."""
    weights = [right_weights(shape) for shape in shapes]
    nothing = predicted([np.zeros(shape) for shape in shapes])
    found, error = r.found, np.inf
    for _ in range(STEPS):
        now = predicted(weights)
        if same(now, found):
            return weights
        before, error = error, float(np.linalg.norm(found - now))
        if not np.isfinite(error) or error > LEAST_GAIN * before:
            return None
        columns = [
            predicted([one.reshape(shape) if k == n else w for k, w in enumerate(weights)]) - nothing
            for n, shape in enumerate(shapes)
            for one in np.eye(math.prod(shape))
        ]
        matrix = np.stack([column.ravel() for column in columns], axis=1)
        step = np.linalg.lstsq(matrix, (found - now).ravel(), rcond=1e-9)[0]
        parts = np.split(step, np.cumsum([math.prod(shape) for shape in shapes])[:-1])
        weights = [w + part.reshape(w.shape) for w, part in zip(weights, parts, strict=True)]
    return None


def _incidence(weights: np.ndarray, axis: AxisParameters, size: int, *, of_input: bool) -> np.ndarray:
    """Return the incidence tensor along an axis whose results are computed in tiles; results are inputs in a gradient of x."""
    length, tile, taps = weights.shape
    d, at, t = np.indices((length, size, taps))
    first = at // tile * tile
    # an input and an output meet where their difference is the tap, but for the padding: taps count backwards in a gradient
    other = first + d + (axis.pad_lo - (taps - 1) if of_input else -axis.pad_lo)
    others = output_size(axis) if of_input else axis.input_size
    inside = (other >= 0) & (other < others)
    values = weights[d, at % tile, taps - 1 - t if of_input else t]
    shape = (size, others, taps) if of_input else (others, size, taps)
    out = np.zeros(shape)
    index = (at, other, t) if of_input else (other, at, t)
    out[tuple(a[inside] for a in index)] = values[inside]
    return out


def _diagnosis(r: WrongResult, tile: int, weights: Weights) -> Diagnosis | None:
    """Say in which place of which transform the constant is; None if all outputs of a tile have the same weights."""
    off: list[np.ndarray] = []
    for w in weights:
        right = right_weights(w.shape)
        values = w[right == 1]  # but for a factor of each axis: that of most
        alike = np.abs(values[:, None] - values) <= IS_OFF * np.abs(values)
        scale = float(values[np.argmax(alike.sum(axis=0))])
        off.append(np.argwhere(np.abs(w / scale - right) > IS_OFF) if scale else np.argwhere(np.ones_like(w)))
    wrong = [n for n, at in enumerate(off) if len(at)]
    if not wrong or all(_is_the_same_everywhere(w) for w in weights):
        return None
    if len(wrong) == 1 and all(d == out + t for d, out, t in off[wrong[0]].tolist()):
        return None  # some taps count wrongly at some positions: which ones, says more
    places = {name: set(off[wrong[0]][:, k].tolist()) for k, name in enumerate(("input", "output", "tap"))}
    single = [name for name, at in places.items() if len(at) == 1]
    words = " and ".join(f"{name} {next(iter(places[name]))}" for name in single)
    return Diagnosis(
        Cause.TILE_TRANSFORM,
        Hypothesis.TILE_TRANSFORM,
        role=Role(r.role),
        size=tile,
        function=words,
        spatial_axes=tuple(wrong) if len(wrong) < len(weights) else None,
    )


def _is_the_same_everywhere(w: np.ndarray) -> bool:
    """Whether each output has the weights of the one before, one input further."""
    return bool(np.allclose(w[1:, 1:], w[:-1, :-1]) and np.allclose(w[0, 1:], 0) and np.allclose(w[-1, :-1], 0))
