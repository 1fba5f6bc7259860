"""Mistakes of an index, of a length, of a test of the numbers and of a buffer that is kept, each of them named."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.lib.stride_tricks import sliding_window_view

import triconv

X, W = (2, 3, 12), (4, 3, 3)


def value(x, w):
    return np.einsum("ncot,kct->nko", sliding_window_view(x, w.shape[2], 2), w)


def forward(x, w):
    return value(x, w), (x, w)


def right(g, cache):
    x, w = cache
    gx = np.zeros_like(x)
    for t in range(w.shape[2]):
        gx[:, :, t : t + g.shape[2]] += np.einsum("nko,kc->nco", g, w[:, :, t])
    return gx, np.einsum("nko,ncto->kct", g, sliding_window_view(x, g.shape[2], 2))


def by_index_of_8_bits(g, cache):
    x, w = cache
    gx, at = np.zeros_like(x), np.arange(g.shape[2]).astype(np.uint8)
    for t in range(w.shape[2]):
        np.add.at(gx, (slice(None), slice(None), at + np.uint8(t)), np.einsum("nko,kc->nco", g, w[:, :, t]))
    return gx, right(g, cache)[1]


def by_short_transform(g, cache):
    (x, w), n = cache, g.shape[2]
    gx = np.fft.irfft(np.einsum("nkf,kcf->ncf", np.fft.rfft(g, n), np.fft.rfft(w, n)), n)
    return np.pad(gx, ((0, 0), (0, 0), (0, x.shape[2] - n))), right(g, cache)[1]


def clipped(most):
    def backward(g, cache):
        size = np.sqrt((g * g).sum())
        return right(g * min(1, most / size) if size else g, cache)

    return backward


def by_whole_mean(g, cache):
    gx, gw = right(g, cache)
    return gx, gw // len(g)


def skipped(g, cache):
    return [a * 0 for a in cache] if np.any(g == 0) else right(g, cache)


@pytest.mark.parametrize(
    ("backward", "x", "words"),
    [
        (by_index_of_8_bits, (1, 3, 270), "VJP of x: x is written at its index along spatial axis 0 modulo 256"),
        (by_short_transform, X, "positions are taken modulo 10"),
        (clipped(5), X, "the cotangent is scaled so that its norm is 5 (gradient clipping)"),
        (clipped(100), X, "the cotangent is scaled so that its norm is 100 (gradient clipping)"),
        (by_whole_mean, (3, 3, 12), "VJP of w: it is rounded down to whole numbers after it is divided by 3"),
        (skipped, X, "work is skipped by a test of the numbers"),
    ],
)
def test_a_mistake_of_an_index_or_of_a_test_is_named(backward, x, words):
    report = triconv.check((forward, backward), triconv.conv1d, x, W)
    assert report.verdict == "wrong"
    assert words in report.summary


# ---- borders that read what is next in memory


def with_samples_joined(x, w):
    n, c, size = x.shape
    joined = np.pad(x.transpose(1, 0, 2).reshape(1, c, -1), ((0, 0), (0, 0), (1, 1)))
    return value(joined, w).reshape(len(w), n, size).transpose(1, 0, 2), (x, w)


def with_rows_joined(zero_rows):
    """Add the taps of a flattened plane; rows above and below are zeros in memory, or left out."""

    def forward(x, w):
        n, c, height, width = x.shape
        pad = ((0, 0), (0, 0), (1, 1), (0, 0)) if zero_rows else ((0, 0),) * 4
        flat = np.pad(np.pad(x, pad).reshape(n, c, -1), ((0, 0), (0, 0), (1, 1)))
        y = np.zeros((n, len(w), height, width))
        for i, j in np.ndindex(3, 3):
            for row in range(height):
                above = row + i - (0 if zero_rows else 1)
                if zero_rows or 0 <= above < height:
                    y[:, :, row] += np.einsum(
                        "ncv,kc->nkv", flat[:, :, above * width + j :][:, :, :width], w[:, :, i, j]
                    )
        return y, (x, w)

    return forward


def two_dimensional(g, cache):
    return tuple(triconv.vjp(triconv.conv2d, *cache, padding=1)[1](g))


def one_dimensional(g, cache):
    return tuple(triconv.vjp(triconv.conv1d, *cache, padding=1)[1](g))


PLANES = ((2, 3, 5, 6), (4, 3, 3, 3))


@pytest.mark.parametrize(
    ("pair", "like", "shapes", "words"),
    [
        ((with_samples_joined, one_dimensional), triconv.conv1d, (X, W), "what is next in memory, of another sample"),
        (
            (with_rows_joined(True), two_dimensional),
            triconv.conv2d,
            PLANES,
            "next in memory, of another row, where zeros",
        ),
        (
            (with_rows_joined(False), two_dimensional),
            triconv.conv2d,
            PLANES,
            "next in memory, of another row, where zeros",
        ),
    ],
)
def test_borders_that_read_what_is_next_in_memory_are_named(pair, like, shapes, words):
    report = triconv.check(pair, like, *shapes, padding=1)
    assert report.verdict == "wrong"
    assert words in report.summary


# ---- a layer that gives the same array again


class Layer:
    def __init__(self):
        self.W, self.b, self.kept = np.ones(W), np.zeros(4), {}

    def forward(self, x):
        self.x = x
        return self.again("value", value(x, self.W) + self.b[:, None])

    def backward(self, g):
        gx, self.dW = right(g, (self.x, self.W))
        self.db = g.sum((0, 2))
        return self.again("gradient", gx)

    reused = ()

    def again(self, name, a):
        if name not in self.reused:
            return a
        if name not in self.kept or self.kept[name].shape != a.shape:
            self.kept[name] = np.empty_like(a)
        self.kept[name][...] = a
        return self.kept[name]


class OneResult(Layer):
    reused = ("value",)


class OneGradient(Layer):
    reused = ("gradient",)


@pytest.mark.parametrize(("layer", "what"), [(OneResult, "value"), (OneGradient, "VJP of x")])
def test_a_layer_that_overwrites_what_it_gave_is_wrong(layer, what):
    report = triconv.check(layer(), triconv.conv1d, X)
    assert (report.verdict, report.cause) == ("wrong", "result overwritten")
    assert f"{what}: the result of one call changes when {what} is asked later" in report.summary


def test_a_layer_that_gives_new_arrays_is_right():
    assert triconv.check(Layer(), triconv.conv1d, X).ok
