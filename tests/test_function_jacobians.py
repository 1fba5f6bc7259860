"""`gradcheck` names mistakes that only the whole Jacobian shows: one cotangent at a time against each value's derivative."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

import triconv

MASK, OTHER_MASK = (np.random.default_rng(n).random((4, 6)) > 0.5 for n in (0, 1))
INDEX = np.array([0, 2, 2, 4, 0])


def relu(x):
    return np.maximum(x, 0), x


def windows(x):
    return x.reshape(3, 4, 2)


def put(at, g):
    out = np.zeros((3, 4, 2))
    np.put_along_axis(out, at[..., None], g[..., None], 2)
    return out.reshape(3, 8)


def assigned(g, _):
    out = np.zeros((3, 5))
    out[:, INDEX] = g
    return out


def softmax(x):
    e = np.exp(x - x.max(1, keepdims=True))
    y = e / e.sum(1, keepdims=True)
    return y, y


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def gate(a, b):
    return a * sigmoid(b), (a, b)


def dropped_anew():
    rng = np.random.default_rng(7)
    return lambda g, _: g * (rng.random(g.shape) > 0.5)


def first_switch():
    kept = []

    def forward(x):
        kept.append(windows(x).argmax(2))
        return windows(x).max(2), None

    return forward, lambda g, _: put(kept[2], g)


def of_call(number):
    kept = []

    def forward(x):
        kept.append(x)
        return x * x, None

    return forward, lambda g, _: 2 * g * kept[number]


SAID = {
    "rotated on": (lambda x: (np.rot90(x), None), lambda g, _: np.rot90(g), [(4, 4)], "the function itself is applied"),
    "axes permuted on": (
        lambda x: (x.transpose(1, 2, 0), None),
        lambda g, _: g.transpose(1, 2, 0),
        [(3, 3, 3)],
        "the function itself is applied",
    ),
    "running sum": (
        lambda x: (np.cumsum(x, 1), None),
        lambda g, _: np.cumsum(g, 1),
        [(3, 6)],
        "the sum from the other end",
    ),
    "mask inverted": (relu, lambda g, x: g * (x < 0), [(3, 5)], "the mask is inverted"),
    "another mask": (
        lambda x: (x * MASK, None),
        lambda g, _: g * OTHER_MASK,
        [(4, 6)],
        "by another mask than the values",
    ),
    "masked too much": (
        lambda x: (x * x, x),
        lambda g, x: 2 * g * x * (x > 1),
        [(3, 5)],
        "of the 15 elements on which the values depend",
    ),
    "the cotangent's sign": (relu, lambda g, _: np.maximum(g, 0), [(3, 5)], "it is not linear in the cotangent"),
    "mask drawn anew": (
        lambda x: (x * MASK, None),
        dropped_anew(),
        [(4, 6)],
        "random numbers are drawn anew in the backward",
    ),
    "slope twice": (
        lambda x: (np.where(x > 0, x, x / 4), x),
        lambda g, x: g * np.where(x > 0, 1, 1 / 16),
        [(3, 5)],
        "where the array is negative, every element is 0.25 times",
    ),
    "gate": (
        gate,
        lambda g, c: (g * sigmoid(c[1]), g * c[0] * sigmoid(c[1])),
        [(3, 4), (3, 4)],
        "such as the derivative of an activation or of a gate",
    ),
    "diagonal": (softmax, lambda g, y: g * y * (1 - y), [(3, 5)], "only the diagonal of the Jacobian"),
    "duplicates": (lambda x: (x[:, INDEX], None), assigned, [(3, 5)], "the last term that was written"),
    "one of a sum": (
        lambda x, b: (x + b, None),
        lambda g, _: (g, g[0]),
        [(4, 5), (5,)],
        "holds the first of its terms",
    ),
    "some of a sum": (
        lambda x, b: (x + b, None),
        lambda g, _: (g, g[1:].sum(0)),
        [(4, 5), (5,)],
        "5 of 20 products with the cotangent are left out",
    ),
    "the smallest of a window": (
        lambda x: (windows(x).max(2), x),
        lambda g, x: put(windows(x).argmin(2), g),
        [(3, 8)],
        "12 of 12 elements of the cotangent are added to other elements",
    ),
    "the switch of another call": (*first_switch(), [(3, 8)], "the index of a maximum, or of a gather, is another one"),
    "spread over the row": (
        lambda x: (x.max(1), x),
        lambda g, x: np.broadcast_to(g[:, None], x.shape) / 8,
        [(3, 8)],
        "the cotangent is spread over up to 8 elements",
    ),
    "reshaped in another order": (
        lambda x: (x.reshape(12), None),
        lambda g, _: g.reshape((3, 4), order="F"),
        [(3, 4)],
        "the elements of the cotangent are read in another order",
    ),
    "rows in another order": (
        lambda x: (x.ravel() @ MASK[:, :3].repeat(3, 0)[:12], None),
        lambda g, _: (MASK[:, :3].repeat(3, 0)[:12] @ g).reshape((3, 4), order="F"),
        [(3, 4)],
        "its elements are right, and stand in another order",
    ),
    "arguments exchanged": (
        lambda a, b: (np.concatenate([a, b], 1), None),
        lambda g, _: (g[:, 3:], g[:, :3]),
        [(2, 3), (2, 3)],
        "it is the derivative by b",
    ),
    "arrays of the first call": (*of_call(0), [(3, 4)], "it is the derivative at the arrays of an earlier call"),
    "arrays of a later call": (*of_call(4), [(3, 4)], "it is the derivative at the arrays of an earlier call"),
    "cropped on the other side": (
        lambda x: (np.pad(x, ((0, 0), (1, 1))), None),
        lambda g, _: g[:, 2:],
        [(3, 6)],
        "the result is shifted by -1 in axis 1",
    ),
    "whole numbers": (
        lambda x: (x.mean(0), None),
        lambda g, _: np.repeat((g // 4)[None], 4, 0),
        [(4, 5)],
        "it is rounded down to whole numbers",
    ),
}


@pytest.mark.parametrize("name", SAID)
def test_the_jacobian_says_why_a_vjp_is_wrong(name):
    forward, backward, shapes, words = SAID[name]
    report = triconv.gradcheck((forward, backward), *shapes)
    assert report.verdict == "wrong"
    assert words in report.summary


def test_what_the_jacobian_does_not_explain_stays_without_a_name():
    noise = np.random.default_rng(3).standard_normal((12, 12))
    report = triconv.gradcheck(
        (lambda x: (x * x, x), lambda g, x: 2 * g * x + (noise @ g.ravel()).reshape(g.shape)), (3, 4)
    )
    assert (report.verdict, report.cause) == ("wrong", "")


def test_the_jacobian_is_asked_for_few_elements_alone():
    calls = itertools.count()

    def backward(g, x):
        next(calls)
        return 2 * g * x + g[::-1] ** 3

    assert triconv.gradcheck((lambda x: (x * x, x), backward), (20, 30)).verdict == "wrong"
    assert next(calls) < 300
