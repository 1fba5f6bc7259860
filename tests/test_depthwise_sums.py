"""Depthwise weight VJPs of channels last, whose sums take a few positions first: exact, and where that is chosen."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

import triconv
from triconv.geometry import Geometry
from triconv.kernels import depthwise
from triconv.kernels.problem import Problem
from triconv.kernels.target import changed, default_target

LAST = ("last", "last", "last")

# x, the kernel's taps, output channels per group, parameters, dtype
LAYERS = {
    "more taps than one loop sums": ((2, 6, 8, 3), (3, 4), 1, {"padding": 2}, np.float32),
    "integers": ((1, 5, 9, 2), (2, 2), 1, {}, np.int32),
    "channel multiplier, steps": ((2, 9, 13, 2), (3, 2), 3, {"stride": 2, "dilation": (1, 2)}, np.float32),
    "one axis": ((3, 10, 4), (3,), 1, {"padding": 1}, np.float32),
    "phases": ((1, 4, 5, 2), (3, 3), 1, {"input_dilation": 2, "padding": 2}, np.float32),
}


@pytest.mark.parametrize("layer", LAYERS)
def test_sums_in_parts_are_exact(jax, layer):
    size, kernel, multiplier, steps, dtype = LAYERS[layer]
    spatial, channels = "DHW"[-len(kernel) :], size[-1]
    params = steps | {"groups": channels, "layout": f"N{spatial}C,{spatial}IO->N{spatial}C"}
    rng = np.random.default_rng(0)
    x, w = (rng.integers(-3, 4, shape).astype(dtype) for shape in (size, (*kernel, 1, channels * multiplier)))
    g = rng.integers(-3, 4, triconv.conv(x, w, **params).shape).astype(dtype)
    truth = triconv.conv_weight_vjp(g, x, kernel_size=kernel, algorithm="direct", **params)
    with changed(summed_channels=1, summed_positions=4):
        found = jax.jit(
            lambda g, x: triconv.conv_weight_vjp(g, x, kernel_size=kernel, algorithm="depthwise", **params)
        )(g, x)
    np.testing.assert_array_equal(np.asarray(found), truth)


def schedule_of(jax, output, taps=(3, 3), channels=32, orders=LAST):
    from triconv.backends.jax_backend import JAX

    target = dataclasses.replace(default_target(JAX, "cpu"), compiled=True)
    geometry = Geometry.of([o + t - 1 for o, t in zip(output, taps, strict=True)], taps, groups=channels)
    asked = Problem("conv_weight_vjp", geometry, channels, 2, 1, 1, orders=orders)
    return next(depthwise.schedules(asked, target)).phases[0]


@pytest.mark.parametrize(
    ("output", "expected"),
    [
        ((56, 60), (1, 8)),
        ((14, 14), (1, 7)),
        ((31, 24), (2, 8)),  # the other axis divides no better than by itself
        ((11, 11), (1, 11)),
        ((17, 19), (0, 0)),  # no parts of a size that helps
    ],
)
def test_which_positions_are_summed_first(jax, output, expected):
    how = schedule_of(jax, output)
    assert (how.summed_axis, how.summed) == expected


def test_sums_are_whole_where_lines_are_read_in_order(jax):
    first, last = ("first",) * 3, LAST
    assert schedule_of(jax, (16, 16), orders=last).summed
    assert not schedule_of(jax, (16, 16), orders=first).summed
    assert not schedule_of(jax, (16, 16), channels=3).summed  # a line has several positions
    assert not schedule_of(jax, (16, 16), taps=(7, 7)).summed  # a loop over taps
