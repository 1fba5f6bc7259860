"""What people write in NumPy, on a plain 3x3 layer of one image."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

import triconv

from .implementations import Prepared, called
from .machine import has

LAYER = "3x3, 64 -> 64, 56 x 56"


def plain(c: int = 64, k: int = 64, size: int = 56) -> dict[str, dict[str, Prepared]]:
    """Forward and weight VJP of a layer by SciPy, ONNX's reference, HIPS autograd, and the notebook's loops."""
    rng = np.random.default_rng(0)
    x, w = (rng.standard_normal(shape).astype(np.float32) for shape in ((1, c, size, size), (k, c, 3, 3)))
    g = rng.standard_normal((1, k, size - 2, size - 2)).astype(np.float32)
    forward = {
        "triconv (NumPy)": called(lambda: triconv.conv(x, w)),
        "double loop": called(
            lambda: np.stack([_double_loop(x[0].transpose(1, 2, 0), f.transpose(1, 2, 0)) for f in w])[None]
        ),
    }
    weight = {
        "triconv (NumPy)": called(lambda: triconv.conv_weight_vjp(g, x, kernel_size=(3, 3))),
        "double loop": called(lambda: np.stack([_double_loop_weights(x[0].transpose(1, 2, 0), o) for o in g[0]])),
    }
    if has("scipy"):
        swapped = x.transpose(1, 0, 2, 3), g.transpose(1, 0, 2, 3)
        forward["scipy.signal"] = called(lambda: _scipy(x, w))
        weight["scipy.signal"] = called(lambda: _scipy(*swapped).transpose(1, 0, 2, 3))
    if has("onnx"):
        forward["onnx.reference"] = called(_onnx(x, w))
    if has("autograd", "scipy"):
        forward["autograd"] = called(lambda: _autograd()(x, w))
        weight["autograd"] = called(_autograd_weight_vjp(x, w, g))
    return {"forward": forward, "weight_vjp": weight}


def _scipy(x: np.ndarray, w: np.ndarray) -> np.ndarray:
    from scipy import signal

    return np.stack(
        [
            np.stack([sum(signal.correlate2d(x[n, c], f[c], "valid") for c in range(len(f))) for f in w])
            for n in range(len(x))
        ]
    )


def _onnx(x: np.ndarray, w: np.ndarray) -> Callable[[], np.ndarray]:
    from onnx import TensorProto, helper
    from onnx.reference import ReferenceEvaluator

    tensors = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in ("x", "w", "y")]
    graph = helper.make_graph([helper.make_node("Conv", ["x", "w"], ["y"])], "conv", tensors[:2], tensors[2:])
    evaluator = ReferenceEvaluator(helper.make_model(graph))
    return lambda: evaluator.run(None, {"x": x, "w": w})[0]


def _autograd() -> Callable[[Any, Any], Any]:
    from autograd.scipy.signal import convolve

    axes = {"axes": ([2, 3], [2, 3]), "dot_axes": ([1], [1]), "mode": "valid"}
    return lambda x, w: convolve(x, w[:, :, ::-1, ::-1], **axes)


def _autograd_weight_vjp(x: np.ndarray, w: np.ndarray, g: np.ndarray) -> Callable[[], np.ndarray]:
    from autograd import make_vjp

    conv = _autograd()
    return lambda: make_vjp(lambda w: conv(x, w))(w)[0](g)


def _double_loop(matrix: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    (height, width, _), (h, w, _) = matrix.shape, kernel.shape
    out = np.zeros((height - h + 1, width - w + 1), matrix.dtype)
    for i in range(out.shape[0]):
        for j in range(out.shape[1]):
            out[i, j] = np.sum(matrix[i : i + h, j : j + w] * kernel)
    return out


def _double_loop_weights(matrix: np.ndarray, upstream: np.ndarray) -> np.ndarray:
    h, w = (size - o + 1 for size, o in zip(matrix.shape, upstream.shape, strict=False))
    gw = np.zeros((h, w, matrix.shape[2]), matrix.dtype)
    for i in range(upstream.shape[0]):
        for j in range(upstream.shape[1]):
            gw += matrix[i : i + h, j : j + w] * upstream[i, j]
    return gw.transpose(2, 0, 1)
