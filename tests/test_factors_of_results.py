"""`gradcheck` names a wrong derivative of an activation behind a convolution, of which no array's elements show it."""

from __future__ import annotations

import numpy as np
import pytest

import triconv

SHAPES = (2, 2, 6), (3, 2, 3)
KEPT = np.random.default_rng(5).random((2, 3, 4)) > 0.4


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


def silu(z):
    return z * sigmoid(z)


def layer(activation, slope):
    """A convolution and an activation, with a backward that multiplies the cotangent by ``slope(z, y, x)``."""

    def forward(x, w):
        z = triconv.conv1d(x, w)
        y = activation(z)
        return y, (x, w, z, y)

    def backward(g, cache):
        x, w, z, y = cache
        return triconv.vjp(triconv.conv1d, x, w)[1](g * slope(z, y, x))

    return forward, backward


def relu(z):
    return np.maximum(z, 0)


def leaky(z):
    return np.where(z > 0, z, z / 4)


SAID = {
    "no mask": (relu, lambda z, y, x: 1, "passes where the result is 0 and does not depend"),
    "no upper limit": (lambda z: np.clip(z, -1, 2), lambda z, y, x: z > -1, "passes where the result is 2 and"),
    "no mask of dropout": (
        lambda z: np.where(KEPT, z, np.arange(4.0)),
        lambda z, y, x: 1,
        "passes where the value does not depend on the array",
    ),
    "inverted": (relu, lambda z, y, x: z <= 0, "the mask of an activation is inverted"),
    "mask of the input": (relu, lambda z, y, x: x[:, :1, :4] > 0, "masked by another mask than the value"),
    "relu for leaky": (leaky, lambda z, y, x: z > 0, "where the result is negative counts 0 times"),
    "slope twice": (
        leaky,
        lambda z, y, x: np.where(z > 0, 1, 1 / 16),
        "where the result is negative counts 0.25 times",
    ),
    "masked too much": (lambda z: z, lambda z, y, x: KEPT, "are left out, and the others are right"),
    "tanh left out": (
        lambda z: np.tanh(z / 8),
        lambda z, y, x: 1 / 8,
        "the derivative of the activation tanh, 1 - y**2",
    ),
    "tanh of its argument": (
        lambda z: np.tanh(z / 8),
        lambda z, y, x: (1 - (z / 8) ** 2) / 8,
        "is computed from its argument",
    ),
    "sigmoid at its result": (
        lambda z: sigmoid(z / 8),
        lambda z, y, x: sigmoid(y) * (1 - sigmoid(y)) / 8,
        "activation sigmoid is taken at its result",
    ),
    "sigmoid twice": (lambda z: sigmoid(z / 8), lambda z, y, x: (y * (1 - y)) ** 2 / 8, "is multiplied twice"),
    "silu": (
        lambda z: silu(4 * z),  # of large arguments the wrong slope is zero
        lambda z, y, x: sigmoid(4 * z) * (1 - sigmoid(4 * z)),
        "is multiplied by a number of its own",
    ),
}


@pytest.mark.parametrize("name", SAID)
def test_a_wrong_slope_of_the_result_is_named(name):
    activation, slope, words = SAID[name]
    report = triconv.gradcheck(layer(activation, slope), *SHAPES)
    assert report.verdict == "wrong"
    assert words in report.summary


@pytest.mark.parametrize("activation", [relu, leaky, silu, np.tanh])
def test_the_right_slope_is_right(activation):
    slopes = {
        relu: lambda z, y, x: z > 0,
        leaky: lambda z, y, x: np.where(z > 0, 1, 0.25),
        silu: lambda z, y, x: sigmoid(z) * (1 + z * (1 - sigmoid(z))),
        np.tanh: lambda z, y, x: 1 - y**2,
    }
    assert triconv.gradcheck(layer(activation, slopes[activation]), *SHAPES).ok


def test_a_mask_that_the_bias_gradient_alone_leaves_out_is_no_stale_cache():
    def forward(x, w, b):
        z = triconv.conv1d(x, w, b)
        return relu(z), (x, w, z)

    def backward(g, cache):
        x, w, z = cache
        return (*triconv.vjp(triconv.conv1d, x, w)[1](g * (z > 0)), g.sum((0, 2)))

    report = triconv.gradcheck((forward, backward), *SHAPES, (3,))
    assert report.cause == "activation"


def test_an_error_of_every_element_has_no_factor():
    noise = np.random.default_rng(1).standard_normal((24, 24))
    forward, backward = layer(relu, lambda z, y, x: z > 0)

    def noisy(g, cache):
        gx, gw = backward(g, cache)
        return gx + (noise @ g.ravel()).reshape(gx.shape), gw

    report = triconv.gradcheck((forward, noisy), *SHAPES)
    assert (report.verdict, report.cause) == ("wrong", "")


def depthwise(x, w):
    return triconv.conv1d(x, w[:, None], groups=3), (x, w)


def by_w(changed):
    return lambda gx, gw, x, w, g: (triconv.vjp(triconv.conv1d, x, changed(w), groups=3)[1](g)[0], gw)


OF_SLICES = {
    "first channel for all": (
        by_w(lambda w: np.repeat(w[:1], 3, 0)),
        "the first slice of w along axis 0 in place of all",
    ),
    "channels shifted": (by_w(lambda w: np.roll(w, 1, 0)), "w shifted by 1 along axis 0"),
    "summed over channels": (
        lambda gx, gw, x, w, g: (gx, np.broadcast_to(gw.sum(0), gw.shape)),
        "it is summed over axis 0 of the array too",
    ),
    "averaged over taps": (
        lambda gx, gw, x, w, g: (gx, np.broadcast_to(gw.mean(-1, keepdims=True), gw.shape)),
        "it is averaged over axis 1 of the array",
    ),
}


@pytest.mark.parametrize("name", OF_SLICES)
def test_slices_of_another_array_or_of_the_result_are_named(name):
    change, words = OF_SLICES[name]

    def backward(g, cache):
        x, w = cache
        gx, gw = triconv.vjp(triconv.conv1d, x, w[:, None], groups=3)[1](g)
        return change(gx, gw[:, 0], x, w[:, None], g)

    report = triconv.gradcheck((depthwise, backward), (2, 3, 6), (3, 3))
    assert report.verdict == "wrong"
    assert words in report.summary


def test_the_bias_gradient_of_the_first_sample_alone_is_named():
    def backward(g, cache):
        x, w = cache
        return (*triconv.vjp(triconv.conv1d, x, w)[1](g), g[0].sum(1))

    pair = lambda x, w, b: (triconv.conv1d(x, w, b), (x, w)), backward
    report = triconv.check(pair, triconv.conv1d, (2, 2, 6), (3, 2, 3), (3,))
    assert report.cause == "only the first sample"


OTHER_VALUES = {
    "kernel reshaped": (
        lambda x, w: (triconv.conv1d(x, w.reshape(3, 2, 4)), None),
        "with w reshaped where it must be transposed",
    ),
    "kernel of the first tap": (
        lambda x, w: (triconv.conv1d(x, np.repeat(w[:1], 4, 0).transpose(2, 1, 0)), None),
        "it is the value with the first slice of w along axis 0",
    ),
    "kernel flipped": (
        lambda x, w: (triconv.conv1d(x, w.transpose(2, 1, 0)[..., ::-1]), None),
        "it is the value with w in reverse along axis 0",
    ),
}


@pytest.mark.parametrize("name", OTHER_VALUES)
def test_the_value_for_another_array_is_named(name):
    forward, words = OTHER_VALUES[name]
    pair = forward, lambda g, _: (np.zeros((2, 2, 6)), np.zeros((4, 2, 3)))
    report = triconv.check(pair, lambda x, w: triconv.conv1d(x, w.transpose(2, 1, 0)), (2, 2, 6), (4, 2, 3))
    assert report.verdict == "wrong"
    assert words in report.summary
