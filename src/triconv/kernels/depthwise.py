"""Shifted multiply-adds: each tap scales a shifted input, in loops that a compiler fuses into one.

For few channels a group, where matrix products would be of vectors::

    y[k, o] += w[k, c, t] * x[c, stride * o + dilation * t]        gw[k, c, t] = the same product with g, summed over n, o

An input dilation goes by `Geometry.phases`. The multiply-adds are those of `direct`, and those with the padding.

What a compiler makes of it is what matters. Few taps of one channel become one loop that pads as it reads, and no copy is
written. Of more taps that loop would have too many conditions for vectors; they read a padded copy, in a loop of their own
over rows of whole vectors.
"""

from __future__ import annotations

import functools
import itertools
import math
import operator
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from triconv.backends.base import Standard
from triconv.geometry import Geometry
from triconv.kernels import blocks, polyphase, tap_loops
from triconv.kernels.problem import Problem, Work

Array = Any

# bytes of the input and the output of a block, in a program that XLA fuses; and where each operation passes over it
FUSED, CALLED = 16 * 2**20, 2 * 2**20
# bytes of temporary memory, or of operands whose product is summed, up to which a program that XLA fuses needs no blocks: of
# more memory, an allocator gives new pages each time
WHOLE = 32 * 2**20
# taps of a single channel that are few: a loop adds them in one chain, and pads as it reads
FEW = 12
# products that are added in one chain; of more, each row of the kernel is added by itself
CHAIN = 16
# input channels a group that are many
MANY = 8
# share by which rows may be made longer
LONGER = 0.2


def conv(x: Array, w: Array, geometry: Geometry, lib: Standard) -> Array:
    """``y += w[t] * x`` at every tap."""
    x, geometry = polyphase.with_few(x, geometry, lib)
    (groups, n, c), k = x.shape[:3], w.shape[1]
    parts = list(geometry.phases())
    longer = [_longer(part.geometry, lib.lanes(x)) for part in parts]
    temporary = max(_temporary(c, k, part.geometry, long, lib) for part, long in zip(parts, longer, strict=True))
    size, most = _size(x, k, geometry), _most(x, groups * n * temporary, lib)
    in_blocks = groups * n * size > most

    def block(x: Array, *kernels: Array) -> Array:
        outputs = []
        for part, long, kernel in zip(parts, longer, kernels, strict=True):
            y = tap_loops.total(_conv, x, kernel, long, lib)
            if long != part.geometry or (in_blocks and _is_long(long)):
                y = lib.stored(y)
            outputs.append(y[(..., *map(slice, part.geometry.output_size))])
        return polyphase.join(outputs, [part.output for part in parts], geometry.output_size, lib)

    return blocks.each(block, x, [w[(..., *part.taps)] for part in parts], size, lib, most)


def conv_input_vjp(g: Array, w: Array, geometry: Geometry, lib: Standard) -> Array:
    """`conv` of the mirrored geometry."""
    return conv(g, polyphase.mirrored(w, lib), geometry.mirrored(), lib)


def conv_weight_vjp(g: Array, x: Array, geometry: Geometry, lib: Standard) -> Array:
    """``gw[t] = <g, x>`` at every tap, summed over the samples."""
    if polyphase.are_exchanged(geometry):
        return polyphase.mirrored(conv_weight_vjp(x, g, geometry.mirrored(), lib), lib)
    x, geometry = polyphase.with_few(x, geometry, lib)
    parts = list(geometry.phases())

    def block(g: Array, x: Array) -> Array:
        kernels = [tap_loops.each(_weight_vjp, g[(..., *part.output)], x, part.geometry, lib) for part in parts]
        return polyphase.join(kernels, [part.taps for part in parts], geometry.kernel_size, lib)

    size = _size(x, g.shape[2], geometry)
    return blocks.total(block, g, x, size, lib, _most(x, x.shape[0] * x.shape[1] * size, lib))


def _most(x: Array, whole: float, lib: Standard) -> float:
    """Elements of a block, where it takes `whole` of them not to have any; an accelerator needs none."""
    if lib.compiles:
        is_much = lib.device_kind(x) == "cpu" and whole > blocks.most(WHOLE, x, lib)
        return blocks.most(FUSED, x, lib) if is_much else math.inf
    return blocks.most(CALLED, x, lib)


def _size(x: Array, k: int, geometry: Geometry) -> float:
    """Elements of the input and the output of one sample and group."""
    return x.shape[2] * math.prod(geometry.input_size) + k * math.prod(geometry.output_size)


def _is_long(geometry: Geometry) -> bool:
    """Whether the taps are work enough for a loop of their own."""
    return math.prod(geometry.kernel_size) > CHAIN


def _pads_as_it_reads(channels: int, geometry: Geometry, lib: Standard) -> bool:
    """Whether a compiler makes one loop of padded inputs, each of which is read once, and writes no copy."""
    return lib.compiles and channels == 1 and math.prod(geometry.kernel_size) <= FEW


def _longer(geometry: Geometry, lanes: int) -> Geometry:
    """The same with rows of whole vectors, for many taps and if it is not far."""
    if not _is_long(geometry):
        return geometry
    *others, last = geometry.axes
    more = -last.output_size % lanes
    if last.stride > 1 or more > LONGER * last.output_size:
        return geometry
    return Geometry((*others, replace(last, pad_hi=last.pad_hi + more)), geometry.groups)


def _temporary(c: int, k: int, geometry: Geometry, longer: Geometry, lib: Standard) -> int:
    """Elements of the padded input of one sample and group, and of its outputs if their rows are longer than needed."""
    if _pads_as_it_reads(c, geometry, lib):
        return 0
    padded = c * math.prod(axis.padded_size for axis in longer.axes)
    return padded + (k * math.prod(longer.output_size) if longer != geometry else 0)


def _shifted(x: Array, uses: int, geometry: Geometry, lib: Standard) -> Iterator[tuple[tuple[int, ...], Array]]:
    """`phases.windows`, each of which is read so many times; padded one by one if that happens as they are read."""
    if not _pads_as_it_reads(uses, geometry, lib):
        yield from polyphase.windows(x, geometry.axes, lib)
        return
    for tap in itertools.product(*map(range, geometry.kernel_size)):
        starts = [axis.dilation * t - axis.pad_lo for axis, t in zip(geometry.axes, tap, strict=True)]
        ends = [start + axis.stride * axis.output_size for axis, start in zip(geometry.axes, starts, strict=True)]
        window = lib.pad(x, [(-start, end - size) for start, end, size in zip(starts, ends, x.shape[3:], strict=True)])
        yield tap, window[(..., *(slice(None, None, axis.stride) for axis in geometry.axes))]


def _conv(x: Array, w: Array, geometry: Geometry, lib: Standard) -> Array:
    """`conv` of one phase and block, of a kernel that is not looped over."""
    ones, count = (1,) * len(geometry.axes), math.prod(geometry.kernel_size)
    width = geometry.kernel_size[-1] if _is_long(geometry) else count
    rows: list[Array] = []  # of the kernel, each summed by itself
    for number, (tap, shifted) in enumerate(_shifted(x, x.shape[2], geometry, lib)):
        for c in range(x.shape[2]):
            w_tc = lib.xp.reshape(w[(slice(None), slice(None), c, *tap)], (w.shape[0], 1, w.shape[1], *ones))
            y_tc = w_tc * shifted[:, :, c : c + 1, ...]
            if number % width or c:
                rows[-1] = rows[-1] + y_tc
            else:
                rows.append(y_tc)
    return functools.reduce(operator.add, rows)


def _weight_vjp(g: Array, x: Array, geometry: Geometry, lib: Standard) -> Array:
    """`conv_weight_vjp` likewise."""
    shifted = [part for _, part in _shifted(x, g.shape[2] * x.shape[2], geometry, lib)]
    gw = [
        lib.inner(g[:, :, k, ...], [part[:, :, c, ...] for part in shifted])
        for k, c in itertools.product(range(g.shape[2]), range(x.shape[2]))
    ]
    return lib.xp.reshape(lib.xp.stack(gw, axis=1), (g.shape[0], g.shape[2], x.shape[2], *geometry.kernel_size))


def work(problem: Problem) -> Work:
    """Fused multiply-adds, or sums of them; many channels a group only make the program longer."""
    windows = problem.by_phases()
    kind = "sum" if windows.contraction == "conv_weight_vjp" else "vector"
    products = windows.c if windows.contraction == "conv" else windows.c * windows.k
    operations = 16 + 2 * windows.phases * min(windows.taps, 64) * products
    moved = 0.0 if windows.phases == 1 else 2.0 * windows.bytes_of["g"]
    temporary = 2 * windows.bytes_of["x"] + (0 if windows.phases == 1 else windows.bytes_of["g"])
    amount = 1.0 * windows.padded_multiply_adds
    sample = (windows.bytes_of["x"] + windows.bytes_of["g"]) / (windows.n * windows.groups)
    if windows.c > MANY and sample > FUSED:
        amount *= 3  # all channels are read once for each output channel, and no longer from a cache
    return Work(kind, amount, moved, min(temporary, 4 * FUSED), operations, "few channels a group")
