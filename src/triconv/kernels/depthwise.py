"""Shifted multiply-adds: each tap scales a shifted input, in loops that a compiler fuses into one.

For few channels a group, where matrix products would be of vectors::

    y[k, o] += w[k, c, t] * x[c, stride * o + dilation * t]        gw[k, c, t] = the same product with g, summed over n, o

An input dilation goes by `Geometry.phases`. The multiply-adds are those of `direct`, and those with the padding.
"""

from __future__ import annotations

import functools
import itertools
import math
import operator
from typing import Any

from triconv.backends.standard import Standard
from triconv.geometry import Geometry
from triconv.kernels import blocks, phases, taps
from triconv.kernels.work import Problem, Work

Array = Any

# bytes of the input and the output of a block, in a program that XLA fuses; and where each operation passes over it
FORWARD, WEIGHT, CALLED = 32 * 2**20, 16 * 2**20, 2 * 2**20
# taps that are added in one chain; more make chains of a row of the kernel
CHAIN = 16


def conv(x: Array, w: Array, geometry: Geometry, lib: Standard) -> Array:
    """``y += w[t] * x`` at every tap."""
    parts = list(geometry.phases())

    def block(x: Array, *kernels: Array) -> Array:
        outputs = [taps.total(_conv, x, w, part.geometry, lib) for part, w in zip(parts, kernels, strict=True)]
        return phases.join(outputs, [part.output for part in parts], geometry.output_size, lib)

    kernels = [w[(..., *part.taps)] for part in parts]
    return blocks.each(block, x, kernels, _size(x, w.shape[1], geometry), lib, _most(FORWARD, x, lib))


def conv_input_vjp(g: Array, w: Array, geometry: Geometry, lib: Standard) -> Array:
    """`conv` of the mirrored geometry."""
    return conv(g, phases.mirrored(w, lib), geometry.mirrored(), lib)


def conv_weight_vjp(g: Array, x: Array, geometry: Geometry, lib: Standard) -> Array:
    """``gw[t] = <g, x>`` at every tap, summed over the samples."""
    parts = list(geometry.phases())

    def block(g: Array, x: Array) -> Array:
        kernels = [taps.each(_weight_vjp, g[(..., *part.output)], x, part.geometry, lib) for part in parts]
        return phases.join(kernels, [part.taps for part in parts], geometry.kernel_size, lib)

    return blocks.total(block, g, x, _size(x, g.shape[2], geometry), lib, _most(WEIGHT, x, lib))


def _most(size: float, x: Array, lib: Standard) -> float:
    """Bytes of a block; a compiler for an accelerator fuses it all, and needs no block."""
    if lib.compiles:
        return size if lib.device_kind(x) == "cpu" else math.inf
    return blocks.most(CALLED, x, lib)


def _size(x: Array, k: int, geometry: Geometry) -> float:
    """Bytes of the input and the output of one sample and group."""
    return 4 * (x.shape[2] * math.prod(geometry.input_size) + k * math.prod(geometry.output_size))


def _conv(x: Array, w: Array, geometry: Geometry, lib: Standard) -> Array:
    ones, count = (1,) * len(geometry.axes), math.prod(geometry.kernel_size)
    width = geometry.kernel_size[-1] if count > CHAIN else count
    rows: list[Array] = []  # of the kernel, each summed by itself
    for number, (tap, shifted) in enumerate(phases.windows(x, geometry.axes, lib)):
        for c in range(x.shape[2]):
            w_tc = lib.xp.reshape(w[(slice(None), slice(None), c, *tap)], (w.shape[0], 1, w.shape[1], *ones))
            y_tc = w_tc * shifted[:, :, c : c + 1, ...]
            if number % width or c:
                rows[-1] = rows[-1] + y_tc
            else:
                rows.append(y_tc)
    return functools.reduce(operator.add, rows)


def _weight_vjp(g: Array, x: Array, geometry: Geometry, lib: Standard) -> Array:
    shifted = [part for _, part in phases.windows(x, geometry.axes, lib)]
    gw = [
        lib.inner(g[:, :, k, ...], [part[:, :, c, ...] for part in shifted])
        for k, c in itertools.product(range(g.shape[2]), range(x.shape[2]))
    ]
    return lib.xp.reshape(lib.xp.stack(gw, axis=1), (g.shape[0], g.shape[2], x.shape[2], *geometry.kernel_size))


def work(problem: Problem) -> Work:
    """Fused multiply-adds, or sums of them; many channels a group only make the program longer."""
    windows = problem.by_windows()
    kind = "sum" if windows.contraction == "conv_weight_vjp" else "vector"
    operations = 16 + 2 * windows.phases * min(windows.taps, 64) * windows.c * windows.k
    moved = 0.0 if windows.phases == 1 else 2.0 * windows.bytes_of["g"]
    temporary = 2 * windows.bytes_of["x"] + (0 if windows.phases == 1 else windows.bytes_of["g"])
    return Work(
        kind, windows.padded_multiply_adds, moved, min(temporary, 4 * FORWARD), operations, "few channels a group"
    )
