"""What bounds a contraction whatever the kernel: the bare product of operands that are unfolded already, and a bare copy.

Nothing that a kernel must do besides is counted: padding, unfolding, adding up what overlaps. A *product* has the shape that
unfolding (im2col) gives, one for each group, and the multiply-adds of the definition. A layer of one input and one output
channel per group has none. A *copy* reads and writes as many bytes as the operands and the result have. Both run in the cell's
own library. A Fourier transform, or fewer products for a stride, may be faster than the product.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from .implementations import PLAIN, Prepared, Variant, called
from .workloads import Workload

NAMES = ("product", "copy")
LARGEST = 2**31
"""Bytes of the operands of a product above which it is left out; long kernels are transformed instead."""


def matrices(work: Workload, task: str) -> tuple[int, int, int, int]:
    """Groups, rows, summed-over columns, and columns of the product: of the definition, with every tap of padding counted."""
    role = {"forward": "input_vjp", "input_vjp": "forward"}.get(task, task) if work.transposed else task
    samples, _, *sizes = work.x if work.transposed else work.y
    positions = samples * math.prod(sizes)
    taps, inputs, outputs = math.prod(work.w[2:]), work.w[1], work.w[0] // work.groups
    if role == "weight_vjp":
        return work.groups, outputs, positions, inputs * taps
    if role == "forward":
        return work.groups, outputs, inputs * taps, positions
    return work.groups, inputs * taps, outputs, positions


def prepared(work: Workload, task: str, library: str, variant: Variant = PLAIN) -> dict[str, Prepared]:
    """The bounds of a contraction in this library, "jax" or "numpy"; NumPy has the plain variant alone."""
    groups, rows, inner, columns = matrices(work, task)
    bounds = {"copy": _copy(work.elements // 2, library, variant)}
    is_depthwise = work.w[1] == work.w[0] // work.groups == 1
    if not is_depthwise and 4 * groups * (rows * inner + inner * columns + rows * columns) < LARGEST:
        bounds["product"] = _product((groups, rows, inner), (groups, inner, columns), library, variant)
    return bounds


def _timed(run: Callable[..., Any], arrays: list[np.ndarray], library: str, variant: Variant) -> Prepared:
    if library == "numpy":
        return called(lambda: run(*arrays))
    import jax

    operands = [jax.numpy.asarray(a, variant.dtype) for a in arrays]
    with jax.default_matmul_precision(variant.precision):
        compiled = jax.jit(run).lower(*operands).compile()
    return Prepared(lambda _: compiled(*operands), jax.block_until_ready, list)


def _product(left: tuple[int, ...], right: tuple[int, ...], library: str, variant: Variant) -> Prepared:
    rng = np.random.default_rng(0)
    shapes = [shape[1:] if shape[0] == 1 else shape for shape in (left, right)]
    arrays = [rng.standard_normal(shape, dtype=np.float32) for shape in shapes]
    return _timed(lambda a, b: a @ b, arrays, library, variant)


def _copy(elements: int, library: str, variant: Variant) -> Prepared:
    return _timed(lambda a: a + 1, [np.ones(elements, np.float32)], library, variant)
