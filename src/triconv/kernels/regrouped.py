"""Plain convolutions in place of steps that a library has no fast way for: phases as channels, residue classes as samples.

Where XLA's own would insert zeros, or take a kernel as large as an image, all phases are one convolution whose output channels
are the phases' (`conv`: sub-pixel convolution, depth to space [1]_)::

    y[k, e * b + p] = Y[(p, k), b]        Y = conv(x, W)        W[(p, k), c, u] = w[k, c, taps of phase p]

and a weight VJP with dilated taps is one without, whose samples are the residue classes (`conv_weight_vjp`: space to batch)::

    gw = conv_weight_vjp(G, X)            X[(r, n), c, j] = x[n, c, d * j + r]        G[(r, n), k, q] = g[n, k, d * q + r]

Only small arrays are padded: kernels of phases to the length of the longest, inputs and outputs to a multiple of the dilation.

References
----------
.. [1] W. Shi et al., "Real-time single image and video super-resolution using an efficient sub-pixel convolutional neural
   network", CVPR 2016.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

from triconv.backends.array_operations import permute_dims
from triconv.backends.base import Standard
from triconv.geometry import Geometry
from triconv.geometry.regrouping import MergedPhases, SplitResidues, merge_phases, split_residues

Array = Any


def merged(geometry: Geometry) -> list[MergedPhases]:
    """Each axis with its phases together; empty where that cannot be."""
    axes = [merged for axis in geometry.axes if (merged := merge_phases(axis))]
    return axes if len(axes) == len(geometry.axes) else []


def split(geometry: Geometry) -> list[SplitResidues]:
    """Each axis by its residue classes; empty where that cannot be."""
    if any(axis.input_dilation > 1 for axis in geometry.axes):
        return []
    return [split_residues(axis) for axis in geometry.axes]


def left_of(geometry: Geometry, axes: Sequence[MergedPhases | SplitResidues]) -> Geometry:
    """The geometry of the plain convolution."""
    return Geometry(tuple(axis.axis for axis in axes), geometry.groups)


def kernel_of_phases(w: Array, geometry: Geometry, axes: list[MergedPhases], lib: Standard) -> Array:
    """``W``, shape (groups, phases * k, c, *taps of the merged axes)."""
    groups, k, c = w.shape[:3]
    kernels = []
    for phase in itertools.product(*(axis.taps for axis in axes)):
        part, places = w[(..., *(taps for taps, _ in phase))], [places for _, places in phase]
        if all(place.step == 1 for place in places):
            part = lib.pad(
                part,
                [(place.start, size - place.stop) for place, size in zip(places, geometry.kernel_size, strict=True)],
            )
        else:
            part = lib.interleave([part], [tuple(places)], geometry.kernel_size)
        kernels.append(part)
    return lib.xp.reshape(lib.xp.stack(kernels, axis=1), (groups, len(kernels) * k, c, *geometry.kernel_size))


def interleaved(y: Array, axes: list[MergedPhases], sizes: tuple[int, ...], lib: Standard) -> Array:
    """``y``, of ``Y``: output channels beside positions, without what stands before the first output and after the last."""
    ndim, counts = len(axes), [len(axis.taps) for axis in axes]
    groups, n, channels, *blocks = y.shape
    y = lib.xp.reshape(y, (groups, n, *counts, channels // math.prod(counts), *blocks))
    pairs = (axis for number in range(ndim) for axis in (3 + ndim + number, 2 + number))
    y = permute_dims(y, (0, 1, 2 + ndim, *pairs), lib.xp)
    y = lib.xp.reshape(y, (*y.shape[:3], *(block * count for block, count in zip(blocks, counts, strict=True))))
    return y[(..., *(slice(axis.before, axis.before + size) for axis, size in zip(axes, sizes, strict=True)))]


def samples_of_inputs(x: Array, geometry: Geometry, axes: list[SplitResidues], lib: Standard) -> Array:
    """``X``, shape (groups, classes * n, c, *inputs of a class)."""
    steps, rows = [axis.dilation for axis in geometry.axes], [axis.rows for axis in axes]
    ends = [row * step - axis.front for axis, step, row in zip(axes, steps, rows, strict=True)]
    pads = [(axis.front, end - size) for axis, end, size in zip(axes, ends, x.shape[3:], strict=True)]
    x = lib.xp.reshape(lib.pad(x, pads), (*x.shape[:3], *itertools.chain(*zip(rows, steps, strict=True))))
    for number, axis in enumerate(axes):
        x = _classes(x, 3 + 2 * number, axis, lib)
    return _classes_first(x, lib)


def _classes(x: Array, number: int, axis: SplitResidues, lib: Standard) -> Array:
    """The classes of an axis, along the next one, which has the residues."""
    front, size, residues = (slice(None),) * number, axis.axis.input_size, [residue for _, residue in axis.classes]
    if axis.rows == size:  # in one slice
        step = residues[1] - residues[0] if len(residues) > 1 else 1
        return x[(*front, slice(None), slice(residues[0], residues[-1] + 1, step), ...)]
    parts = [x[(*front, slice(first, first + size), residue, ...)] for first, residue in axis.classes]
    return lib.xp.stack(parts, axis=number + 1)


def samples_of_outputs(g: Array, axes: list[SplitResidues], lib: Standard) -> Array:
    """``G``, likewise of outputs."""
    sizes = [(axis.axis.output_size, len(axis.classes)) for axis in axes]
    pads = [(0, size * count - length) for (size, count), length in zip(sizes, g.shape[3:], strict=True)]
    return _classes_first(lib.xp.reshape(lib.pad(g, pads), (*g.shape[:3], *itertools.chain(*sizes))), lib)


def _classes_first(a: Array, lib: Standard) -> Array:
    """(groups, n, channels, position, class, ...) as (groups, classes * n, channels, *positions)."""
    a = permute_dims(a, (0, *range(4, a.ndim, 2), 1, 2, *range(3, a.ndim, 2)), lib.xp)
    ndim = (a.ndim - 3) // 2
    return lib.xp.reshape(a, (a.shape[0], math.prod(a.shape[1 : 2 + ndim]), *a.shape[2 + ndim :]))
