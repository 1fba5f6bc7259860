"""`gemm` for arrays that a compiler shares out among devices: contractions in which no two axes are merged or looped over.

A partitioner follows each axis through them, so that batch, channels and groups stay where they are. Where channels may be
shared out, a sum over them should be one sum over devices: one contraction, with the windows ``u`` of some taps in memory, on
each device those of its part of x. Of more taps than `TAPS` there are several::

    y[g, n, k, o] = sum over c, t of  w[g, k, c, t] * u[t, g, n, c, o]      gw[g, k, c, t] = the same sum over n, o

With groups it is they that are shared out, so nothing is summed over devices and no windows need to stand in memory: a loop
adds one tap after the other.
"""

from __future__ import annotations

import functools
import itertools
import math
import operator
from collections.abc import Callable, Iterator
from typing import Any

from triconv.backends.base import Standard, permute_dims
from triconv.geometry import Geometry
from triconv.kernels import polyphase

Array = Any

POSITIONS = "opqrsabdefhijlmuvwxyzABCDEF"
# taps whose windows stand in memory together
TAPS = 32


def conv(x: Array, w: Array, geometry: Geometry, lib: Standard) -> Array:
    """One contraction a phase, or a loop over its taps."""
    one_phase = _tap_by_tap if geometry.groups > 1 else _at_once
    outputs, places = [], []
    for part in geometry.phases():
        outputs.append(one_phase(x, w[(..., *part.taps)], part.geometry, lib))
        places.append(part.output)
    return polyphase.join(outputs, places, geometry.output_size, lib)


def _at_once(x: Array, w: Array, geometry: Geometry, lib: Standard) -> Array:
    o = POSITIONS[: len(geometry.axes)]
    taps = lib.xp.reshape(w, (*w.shape[:3], math.prod(w.shape[3:])))
    products = (
        lib.einsum(f"gkct,tgnc{o}->gnk{o}", taps[..., first : first + TAPS], u)
        for first, u in _windows(x, geometry, lib)
    )
    return functools.reduce(operator.add, products)


def _tap_by_tap(x: Array, w: Array, geometry: Geometry, lib: Standard) -> Array:
    o = POSITIONS[: len(geometry.axes)]
    window, count = _reader(permute_dims(x, (0, 2, 1, *range(3, x.ndim)), lib.xp), geometry, lib)
    w = lib.xp.reshape(w, (*w.shape[:3], count))

    def product(number: Array) -> Array:
        return lib.einsum(f"gkc,gcn{o}->gkn{o}", lib.window(w, [number], [1])[..., 0], window(number))

    y = lib.total(product, lib.xp.arange(count))
    return permute_dims(y, (0, 2, 1, *range(3, y.ndim)), lib.xp)


def _reader(x: Array, geometry: Geometry, lib: Standard) -> tuple[Callable[[Array], Array], int]:
    """What meets the tap of a number, in the order and the shape of the outputs, and the number of taps."""
    axes = geometry.axes
    x = lib.pad(x, [(axis.pad_lo, axis.pad_hi) for axis in axes])
    sizes = [axis.stride * (axis.output_size - 1) + 1 for axis in axes]
    places = itertools.product(*(range(0, axis.dilation * axis.kernel_size, axis.dilation) for axis in axes))
    starts = lib.xp.reshape(lib.xp.asarray(list(places)), (-1, len(axes)))

    def window(number: Array) -> Array:
        read = lib.window(x, [starts[number, axis] for axis in range(len(axes))], sizes)
        return read[(..., *(slice(None, None, axis.stride) for axis in axes))]

    return window, math.prod(geometry.kernel_size)


def conv_weight_vjp(g: Array, x: Array, geometry: Geometry, lib: Standard) -> Array:
    """The same; in a loop, each sample's part by itself, so that there is one sum over the devices that share the samples."""
    kernels, places = [], []
    for part in geometry.phases():
        # such a part is to be less than the windows that it saves
        is_small = g.shape[2] <= math.prod(part.geometry.output_size)
        one_phase = _weight_vjp_tap_by_tap if geometry.groups > 1 and is_small else _weight_vjp_at_once
        gw = one_phase(g[(..., *part.output)], x, part.geometry, lib)
        kernels.append(lib.xp.reshape(gw, (*gw.shape[:3], *part.geometry.kernel_size)))
        places.append(part.taps)
    return polyphase.join(kernels, places, geometry.kernel_size, lib)


def _weight_vjp_at_once(g: Array, x: Array, geometry: Geometry, lib: Standard) -> Array:
    o = POSITIONS[: len(geometry.axes)]
    taps = [lib.einsum(f"gnk{o},tgnc{o}->gkct", g, u) for _, u in _windows(x, geometry, lib)]
    return lib.xp.concat(taps, axis=-1)


def _weight_vjp_tap_by_tap(g: Array, x: Array, geometry: Geometry, lib: Standard) -> Array:
    o = POSITIONS[: len(geometry.axes)]
    window, count = _reader(x, geometry, lib)
    gw = lib.each(lambda number: lib.einsum(f"gnk{o},gnc{o}->gnkc", g, window(number)), lib.xp.arange(count))
    return permute_dims(lib.xp.sum(gw, axis=2), (1, 2, 3, 0), lib.xp)


def _windows(x: Array, geometry: Geometry, lib: Standard) -> Iterator[tuple[int, Array]]:
    """What meets some taps at a time, shape (taps, groups, n, c, *output), with the number of the first."""
    windows = [window for _, window in polyphase.windows(x, geometry.axes, lib)]
    for first in range(0, len(windows), TAPS):
        yield first, lib.xp.stack(windows[first : first + TAPS])
