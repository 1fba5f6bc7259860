"""Which sizes of a problem a number may be: somebody may have divided by them, or multiplied."""

from __future__ import annotations

import math

import numpy as np

from triconv.checking.findings.diagnosis_data import Factor, Size
from triconv.checking.oracles.comparison import WrongResult

RATIO = 1e-6
"""Relative error up to which a factor is taken for a whole number or its inverse."""


def sizes_of(r: WrongResult) -> dict[Size, int]:
    """Return every size of the problem that somebody may have divided by."""
    p = r.problem
    groups = p.model.groups
    x, g, w = (p.torch_shape(role, p.result_shape(role)) for role in "xgw")
    n, k, outputs = g[0], g[1], g[2:]
    per_group, kernel = w[1], w[2:]
    positions, taps = math.prod(outputs), math.prod(kernel)
    return {
        Size.BATCH: n,
        Size.OUTPUT_POSITIONS: positions,
        Size.BATCH_TIMES_POSITIONS: n * positions,
        Size.INPUT_CHANNELS: per_group * groups,
        Size.OUTPUT_CHANNELS: k,
        Size.TAPS: taps,
        Size.TAPS_TIMES_CHANNELS: taps * per_group,
        Size.GROUPS: groups,
        Size.CHANNELS_PER_GROUP: per_group if groups > 1 else 0,
        Size.INPUT_POSITIONS: math.prod(x[2:]),
        Size.STRIDES: math.prod(a.stride for a in p.model.axes),
        Size.RESULT: r.expected.size,
        Size.RESULT_CHANNELS: k * positions,
        Size.RESULT_OF_BATCH: n * k * positions,
    }


def factor_of(c: float, result: WrongResult) -> Factor:
    """Return a factor with every size of the problem that it, or its inverse, may be."""
    for value, is_inverse in ((c, False), (1 / c, True)):
        size = round(value)
        if size > 1 and np.isclose(value, size, rtol=RATIO):
            names = tuple(name for name, other in sizes_of(result).items() if other == size)
            return Factor(c, size, is_inverse, names)
    return Factor(c)
