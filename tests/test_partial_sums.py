"""Convolutions in which a function that belongs behind the whole sum stands behind each partial sum."""

from __future__ import annotations

import numpy as np
import pytest

import triconv

SHAPES = (3, 4, 9), (4, 4, 3)


def windows(x, w):
    return np.lib.stride_tricks.sliding_window_view(x, w.shape[2], 2)


def of_value(x, w, unit):
    """The partial sums of the value: over a tap, a channel, or blocks of products."""
    products = np.einsum("ncot,kct->ctnko", windows(x, w), w)
    if unit == "tap":
        return products.sum(0)
    if unit == "input channel":
        return products.sum(1)
    flat = products.reshape(-1, *products.shape[2:])
    return np.add.reduceat(flat, np.arange(0, len(flat), 5))


def of_kernel(g, x, unit):
    """The partial sums of the gradient of the kernel: over a sample, or an output position."""
    products = np.einsum(
        "nko,ncot->nokct", g, np.lib.stride_tricks.sliding_window_view(x, g.shape[2], 2).swapaxes(2, 3)
    )
    return products.sum(1) if unit == "sample" else products.sum(0)


def each(parts, function):
    return sum(map(function, parts))


def running(parts, function):
    total = np.zeros_like(parts[0])
    for part in parts:
        total = function(total + part)
    return total


def before(parts, function):
    total = parts[0]
    for part in parts[1:]:
        total = function(total) + part
    return total


def relu(a):
    return np.maximum(a, 0)


def clipped(a):
    return np.clip(a, -4, 4)


def to_steps(a):
    return np.round(a * 8) / 8


FAULTS = [
    (each, relu, "tap", "each partial sum over one tap goes through a ReLU before it is added"),
    (each, np.abs, "input channel", "one input channel goes through an absolute value"),
    (
        each,
        clipped,
        "blocks",
        "one block of 5 products (in the order of input channels and taps) goes through a clip to -4 .. 4",
    ),
    (running, relu, "input channel", "the running sum does, after each input channel"),
    (before, np.abs, "input channel", "the running sum does, before each input channel but the first is added"),
    (running, clipped, "tap", "one tap after the other goes through a clip to -4 .. 4"),
    (each, to_steps, "tap", "one tap goes through a rounding to multiples of 0.125"),
    (each, relu, "sample", "one sample goes through a ReLU"),
    (each, to_steps, "output position", "one output position goes through a rounding to multiples of 0.125"),
]


@pytest.mark.parametrize(("add", "function", "unit", "words"), FAULTS, ids=lambda part: getattr(part, "__name__", None))
def test_a_function_of_partial_sums_is_named(add, function, unit, words):
    if unit in ("sample", "output position"):
        rules = triconv.Rules(triconv.conv1d, weight_vjp=lambda g, x: add(of_kernel(g, x, unit), function))
    else:
        rules = triconv.Rules(lambda x, w: add(of_value(x, w, unit), function))
    report = triconv.check(rules, triconv.conv1d, *SHAPES)
    assert report.cause == "function of partial sums"
    assert words in report.summary


@pytest.mark.parametrize("change", ["x", "the result"])
def test_what_is_rounded_as_a_whole_is_no_partial_sum(change):
    def forward(x, w):
        return triconv.conv1d(to_steps(x), w) if change == "x" else to_steps(triconv.conv1d(x, w))

    assert triconv.check(triconv.Rules(forward), triconv.conv1d, *SHAPES).cause == "fixed point"
