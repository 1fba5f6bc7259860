"""The implementations under test: each prepares a workload and a task as a callable that can be timed."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

import triconv

from .workloads import Workload

CONTRACTIONS = ("forward", "input_vjp", "weight_vjp")
TASKS = (*CONTRACTIONS, "value_and_grad", "second_order", "per_sample")


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


def set_count(work: Workload, itemsize: int) -> int:
    """Number of sets of operands that a timed run takes in turn."""
    return min(8, max(2, -(-ROTATED // (itemsize * work.elements))))


def tasks_in_jax(conv: Callable[[Any, Any], Any]) -> dict[str, Callable[[Any, Any, Any], Any]]:
    """Every task as a function of x, w and the cotangent, its derivatives by `jax.vjp`."""
    import jax

    def loss(w: Any, x: Any, g: Any) -> Any:
        return (conv(x, w) * g).sum()

    def squared(w: Any, x: Any) -> Any:
        y = conv(x, w)
        return jax.numpy.vdot(y, y)  # a sum of squares: XLA would add them one by one, each program in its own order

    return {
        "forward": lambda x, w, g: conv(x, w),
        "input_vjp": lambda x, w, g: jax.vjp(lambda x: conv(x, w), x)[1](g)[0],
        "weight_vjp": lambda x, w, g: jax.vjp(lambda w: conv(x, w), w)[1](g)[0],
        "value_and_grad": lambda x, w, g: jax.value_and_grad(squared, (0, 1))(w, x),
        # the derivative of the weight VJP by the cotangent and by x, against a tangent of w
        "second_order": lambda x, w, g: jax.vjp(lambda g, x: jax.vjp(lambda w: conv(x, w), w)[1](g)[0], g, x)[1](w),
        "per_sample": lambda x, w, g: jax.vmap(jax.grad(loss), (None, 0, 0))(w, x[:, None], g[:, None]),
    }


def in_jax(work: Workload, task: str, conv: Callable[[Any, Any], Any], variant: Variant = PLAIN) -> Prepared:
    """A task in JAX: jitted."""
    import time

    import jax

    x, w, g = work.arrays
    operands = (work.laid_out(x), work.laid_out(w, kernel=True), work.laid_out(g))
    arrays = [jax.device_put(jax.numpy.asarray(a, variant.dtype)) for a in operands]
    copies = set_count(work, arrays[0].dtype.itemsize) if arrays[0].device.platform != "cpu" else 1
    sets = [arrays, *([a + 0 for a in arrays] for _ in range(copies - 1))]
    start = time.perf_counter()
    compiled = jax.jit(tasks_in_jax(conv)[task]).lower(*arrays).compile()
    seconds = time.perf_counter() - start
    memory = compiled.memory_analysis()
    return Prepared(
        lambda number: compiled(*sets[number % copies]),
        jax.block_until_ready,
        lambda: [np.asarray(leaf, np.float32) for leaf in jax.tree.leaves(compiled(*arrays))],
        seconds,
        getattr(memory, "temp_size_in_bytes", None),
    )


def called(run: Callable[[], np.ndarray]) -> Prepared:
    """A function without arguments that returns one array."""
    return Prepared(lambda _: run(), lambda result: result, lambda: [np.asarray(run())])


def in_numpy(work: Workload, task: str) -> Prepared | None:
    """A contraction by triconv on NumPy."""
    if task not in CONTRACTIONS:
        return None
    x, w, g = work.arrays
    x, w, g = work.laid_out(x), work.laid_out(w, kernel=True), work.laid_out(g)
    params: dict[str, Any] = {"stride": work.stride, "padding": work.pad, "dilation": work.dilation}
    params |= {"groups": work.groups, "layout": work.layout}
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
    return called(run)._replace(temporary_bytes=_peak(run))


def _peak(run: Callable[[], np.ndarray]) -> int:
    """Peak bytes that NumPy allocated, without the result."""
    import tracemalloc

    tracemalloc.start()
    try:
        result = run()
        return max(0, tracemalloc.get_traced_memory()[1] - result.nbytes)
    finally:
        tracemalloc.stop()


def geometric_mean(values: list[float]) -> float:
    """Return the geometric mean, NaN of nothing."""
    return math.exp(sum(map(math.log, values)) / len(values)) if values else math.nan
