"""`gemm` for arrays that a compiler shares out among devices: one contraction, in which no two axes are merged or looped over.

A partitioner follows each axis through it, so that batch, channels and groups stay where they are, and a sum over what is
shared out is one sum over devices::

    y[g, n, k, o] = sum over c, t of  w[g, k, c, t] * u[t, g, n, c, o]      gw[g, k, c, t] = the same sum over n, o

with the windows ``u`` of some taps in memory, on each device those of its part of x. Of more taps than `TAPS` there are several
such sums.
"""

from __future__ import annotations

import functools
import math
import operator
from collections.abc import Iterator
from typing import Any

from triconv.backends.standard import Standard
from triconv.geometry import Geometry
from triconv.kernels import phases

Array = Any

POSITIONS = "opqrsabdefhijlmuvwxyzABCDEF"
# taps whose windows stand in memory together
TAPS = 32


def conv(x: Array, w: Array, geometry: Geometry, lib: Standard) -> Array:
    """One contraction a phase."""
    o, outputs, places = POSITIONS[: len(geometry.axes)], [], []
    for part in geometry.phases():
        taps = w[(..., *part.taps)]
        taps = lib.xp.reshape(taps, (*taps.shape[:3], math.prod(taps.shape[3:])))
        products = (
            lib.einsum(f"gkct,tgnc{o}->gnk{o}", taps[..., first : first + TAPS], u)
            for first, u in _windows(x, part.geometry, lib)
        )
        outputs.append(functools.reduce(operator.add, products))
        places.append(part.output)
    return phases.join(outputs, places, geometry.output_size, lib)


def conv_weight_vjp(g: Array, x: Array, geometry: Geometry, lib: Standard) -> Array:
    """The same."""
    o, kernels, places = POSITIONS[: len(geometry.axes)], [], []
    for part in geometry.phases():
        g_part = g[(..., *part.output)]
        taps = [lib.einsum(f"gnk{o},tgnc{o}->gkct", g_part, u) for _, u in _windows(x, part.geometry, lib)]
        gw = lib.xp.concat(taps, axis=-1)
        kernels.append(lib.xp.reshape(gw, (*gw.shape[:3], *part.geometry.kernel_size)))
        places.append(part.taps)
    return phases.join(kernels, places, geometry.kernel_size, lib)


def _windows(x: Array, geometry: Geometry, lib: Standard) -> Iterator[tuple[int, Array]]:
    """What meets some taps at a time, shape (taps, groups, n, c, *output), with the number of the first."""
    windows = [window for _, window in phases.windows(x, geometry.axes, lib)]
    for first in range(0, len(windows), TAPS):
        yield first, lib.xp.stack(windows[first : first + TAPS])
