"""The implementations under test: each prepares a workload and a task as a callable that can be timed."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

import triconv

from .workloads import Workload

TASKS = ("forward", "input_vjp", "weight_vjp", "value_and_grad", "second_order", "per_sample")


class Variant(NamedTuple):
    """The dtype and precision of the products, and whether the channels come first or last."""

    dtype: str = "float32"
    precision: str = "highest"
    channels: str = "first"

    def __str__(self) -> str:
        """Return the variant in words."""
        return f"{self.dtype}, {self.precision} precision, channels {self.channels}"


PLAIN = Variant()


class Prepared(NamedTuple):
    """An implementation with its operands: a callable to time, its result, and the cost of its compilation."""

    start: Callable[[int], Any]
    """Runs it on one of several sets of operands, by number; on an accelerator it may return before the result is there."""
    wait: Callable[[Any], Any]
    """Waits for what `start` returned."""
    result: Callable[[], list[np.ndarray]]
    compile_seconds: float = 0.0
    temporary_bytes: int | None = None


def by_triconv(work: Workload, precision: str = "highest") -> Callable[[Any, Any], Any]:
    """The workload by triconv's public operators, as a function of x and w."""
    params: dict[str, Any] = {"stride": work.stride, "padding": work.pad, "dilation": work.dilation}
    params |= {"groups": work.groups, "layout": work.layout, "precision": precision}
    if work.transposed:  # it is the input VJP of a convolution; x is the cotangent
        return lambda x, w: triconv.conv_input_vjp(x, w, input_size=work.y[2:], **params)
    return lambda x, w: triconv.conv(x, w, **params)


def by_lax(work: Workload, precision: str = "highest") -> Callable[[Any, Any], Any]:
    """The workload by `lax.conv_general_dilated`; a transposed convolution is an input-dilated one."""
    from jax import lax

    inputs, rest = work.layout.split(",")
    kernel, outputs = rest.split("->")
    params = {"rhs_dilation": work.dilation, "feature_group_count": work.groups, "precision": precision}
    if not work.transposed:
        numbers = (inputs, kernel, outputs)
        return lambda x, w: lax.conv_general_dilated(x, w, work.stride, work.pad, dimension_numbers=numbers, **params)
    numbers = (inputs, kernel.translate(str.maketrans("IO", "OI")), outputs)
    spatial = tuple(kernel.index(letter) for letter in kernel if letter not in "IO")
    pads = [
        (d * (k - 1) - lo, d * (k - 1) - hi + extra)
        for d, k, (lo, hi), extra in zip(work.dilation, work.w[2:], work.pad, work.output_padding, strict=True)
    ]
    params |= {"lhs_dilation": work.stride, "dimension_numbers": numbers}
    return lambda x, w: lax.conv_general_dilated(x, lax.rev(w, spatial), (1,) * work.ndim, pads, **params)


# bytes of all sets of operands together: more than the cache of an accelerator, so that operands come from memory
ROTATED = 256 * 2**20


def _sets(work: Workload, itemsize: int) -> int:
    """Number of sets of operands that a timed run takes in turn."""
    return min(8, max(2, -(-ROTATED // (itemsize * work.elements))))


def in_jax(work: Workload, task: str, conv: Callable[[Any, Any], Any], variant: Variant = PLAIN) -> Prepared:
    """A task in JAX: jitted, its cotangents by `jax.vjp`."""
    import time

    import jax

    def loss(w: Any, x: Any, g: Any) -> Any:
        return (conv(x, w) * g).sum()

    def squared(w: Any, x: Any) -> Any:
        y = conv(x, w)
        return jax.numpy.vdot(y, y)  # a sum of squares: XLA would add them one by one, each program in its own order

    tasks = {
        "forward": lambda x, w, g: conv(x, w),
        "input_vjp": lambda x, w, g: jax.vjp(lambda x: conv(x, w), x)[1](g)[0],
        "weight_vjp": lambda x, w, g: jax.vjp(lambda w: conv(x, w), w)[1](g)[0],
        "value_and_grad": lambda x, w, g: jax.value_and_grad(squared, (0, 1))(w, x),
        # the derivative of the weight VJP by the cotangent and by x, against a tangent of w
        "second_order": lambda x, w, g: jax.vjp(lambda g, x: jax.vjp(lambda w: conv(x, w), w)[1](g)[0], g, x)[1](w),
        "per_sample": lambda x, w, g: jax.vmap(jax.grad(loss), (None, 0, 0))(w, x[:, None], g[:, None]),
    }
    x, w, g = work.arrays
    operands = (work.laid_out(x), work.laid_out(w, kernel=True), work.laid_out(g))
    arrays = [jax.device_put(jax.numpy.asarray(a, variant.dtype)) for a in operands]
    copies = _sets(work, arrays[0].dtype.itemsize) if arrays[0].device.platform != "cpu" else 1
    sets = [arrays, *([a + 0 for a in arrays] for _ in range(copies - 1))]
    start = time.perf_counter()
    compiled = jax.jit(tasks[task]).lower(*arrays).compile()
    seconds = time.perf_counter() - start
    memory = compiled.memory_analysis()
    return Prepared(
        lambda number: compiled(*sets[number % copies]),
        jax.block_until_ready,
        lambda: [np.asarray(leaf, np.float32) for leaf in jax.tree.leaves(compiled(*arrays))],
        seconds,
        getattr(memory, "temp_size_in_bytes", None),
    )


def in_torch(work: Workload, task: str, variant: Variant = PLAIN) -> Prepared | None:
    """A task in torch, by its own functions; only the contractions, since they need no autograd."""
    import torch

    if task not in TASKS[:3]:
        return None
    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.backends.cudnn.benchmark = True
    tf32 = variant.precision != "highest"
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = tf32
    last = {1: torch.contiguous_format, 2: torch.channels_last, 3: torch.channels_last_3d}[work.ndim]
    memory_format = last if variant.channels == "last" else torch.contiguous_format
    dtype = getattr(torch, variant.dtype)
    arrays = [torch.tensor(a, device=device, dtype=dtype).to(memory_format=memory_format) for a in work.arrays]
    copies = _sets(work, arrays[0].element_size()) if device == "cuda" else 1
    sets = [arrays, *([a.clone() for a in arrays] for _ in range(copies - 1))]
    same = all(lo == hi for lo, hi in work.pad)
    flat = [size for pair in reversed(work.pad) for size in pair]
    pad = [lo for lo, _ in work.pad] if same else [0] * work.ndim
    extra = list(work.output_padding)
    params = (list(work.stride), pad, list(work.dilation), work.transposed, extra, work.groups)

    def padded(x: Any) -> Any:
        return x if same else torch.nn.functional.pad(x, flat)

    def cropped(gx: Any) -> Any:
        return gx if same else torch.nn.functional.pad(gx, [-size for size in flat])

    def backward(x: Any, w: Any, g: Any, *mask: bool) -> Any:
        return torch.ops.aten.convolution_backward(g, padded(x), w, None, *params, list(mask))

    tasks = {
        "forward": lambda x, w, g: torch.ops.aten.convolution(padded(x), w, None, *params),
        "input_vjp": lambda x, w, g: cropped(backward(x, w, g, True, False, False)[0]),
        "weight_vjp": lambda x, w, g: backward(x, w, g, False, True, False)[1],
    }

    def run(number: int) -> Any:
        with torch.no_grad():
            return tasks[task](*sets[number % copies])

    def wait(result: Any) -> Any:
        if device == "cuda":
            torch.cuda.synchronize()
        return result

    def result() -> list[np.ndarray]:
        return [work.laid_out(wait(run(0)).float().cpu().numpy(), kernel=task == "weight_vjp")]

    return Prepared(run, wait, result)


def in_numpy(work: Workload, task: str) -> Prepared | None:
    """A contraction by triconv on NumPy."""
    if task not in TASKS[:3]:
        return None
    x, w, g = work.arrays
    params: dict[str, Any] = {"stride": work.stride, "padding": work.pad, "dilation": work.dilation}
    params["groups"] = work.groups
    sizes = work.y[2:] if work.transposed else work.x[2:]
    # a transposed convolution is the input VJP of a convolution; its input is the cotangent
    tasks = {
        "forward": lambda x, w, g: triconv.conv(x, w, **params),
        "input_vjp": lambda x, w, g: triconv.conv_input_vjp(g, w, input_size=sizes, **params),
        "weight_vjp": lambda x, w, g: triconv.conv_weight_vjp(g, x, kernel_size=work.w[2:], **params),
    }
    if work.transposed:
        run = {
            "forward": lambda: tasks["input_vjp"](None, w, x),
            "input_vjp": lambda: tasks["forward"](g, w, None),
            "weight_vjp": lambda: tasks["weight_vjp"](g, w, x),
        }[task]
    else:
        run = {name: lambda name=name: tasks[name](x, w, g) for name in tasks}[task]
    return _entry(run)._replace(temporary_bytes=_peak(run))


def _peak(run: Callable[[], np.ndarray]) -> int:
    """Peak bytes that NumPy allocated, without the result."""
    import tracemalloc

    tracemalloc.start()
    try:
        result = run()
        return max(0, tracemalloc.get_traced_memory()[1] - result.nbytes)
    finally:
        tracemalloc.stop()


# ---- what people write in NumPy, on a plain 3x3 layer of one image


def plain(c: int = 64, k: int = 64, size: int = 56) -> dict[str, dict[str, Prepared]]:
    """Forward and weight VJP of a layer by SciPy, ONNX's reference, HIPS autograd, and the notebook's loops."""
    rng = np.random.default_rng(0)
    x, w = (rng.standard_normal(shape).astype(np.float32) for shape in ((1, c, size, size), (k, c, 3, 3)))
    g = rng.standard_normal((1, k, size - 2, size - 2)).astype(np.float32)
    forward = {
        "triconv (NumPy)": _entry(lambda: triconv.conv(x, w)),
        "scipy.signal": _entry(lambda: _scipy(x, w)),
        "onnx.reference": _entry(_onnx(x, w)),
        "autograd": _entry(lambda: _autograd()(x, w)),
        "double loop": _entry(
            lambda: np.stack([_double_loop(x[0].transpose(1, 2, 0), f.transpose(1, 2, 0)) for f in w])[None]
        ),
    }
    weight = {
        "triconv (NumPy)": _entry(lambda: triconv.conv_weight_vjp(g, x, kernel_size=(3, 3))),
        "scipy.signal": _entry(lambda: _scipy(x.transpose(1, 0, 2, 3), g.transpose(1, 0, 2, 3)).transpose(1, 0, 2, 3)),
        "autograd": _entry(_autograd_weight_vjp(x, w, g)),
        "double loop": _entry(lambda: np.stack([_double_loop_weights(x[0].transpose(1, 2, 0), o) for o in g[0]])),
    }
    return {"forward": forward, "weight_vjp": weight}


def _entry(run: Callable[[], np.ndarray]) -> Prepared:
    return Prepared(lambda _: run(), lambda result: result, lambda: [np.asarray(run())])


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


def geometric_mean(values: list[float]) -> float:
    """Return the geometric mean, NaN of nothing."""
    return math.exp(sum(map(math.log, values)) / len(values)) if values else math.nan
