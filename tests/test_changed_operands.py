"""`check` names what was done to an operand first, a matrix of samples and positions misread, and a buffer that adds up."""

from __future__ import annotations

import numpy as np
import pytest

import triconv

SHAPES = (2, 2, 6), (3, 2, 3)


def back(x, w, g, **params):
    return triconv.vjp(triconv.conv1d, x, w, **params)[1](g)


def centered(w, axes):
    return w - w.mean(axes, keepdims=True)


def standardised(w, axes):
    return centered(w, axes) / np.sqrt(w.var(axes, keepdims=True) + 1e-5)


def reread(g):
    """The cotangent as a matrix, written with samples before positions, and read with positions before samples."""
    n, k, o = g.shape
    return g.transpose(1, 0, 2).reshape(k, o, n).transpose(2, 0, 1)


FORWARDS = {
    "kernel centred": (
        lambda x, w: triconv.conv1d(x, centered(w, (1, 2))),
        "the mean of the kernel over axes 1, 2 is subtracted",
    ),
    "input centred": (
        lambda x, w: triconv.conv1d(centered(x, (0, 1, 2)), w),
        "the mean of x over axes 0, 1, 2 is subtracted",
    ),
    "kernel standardised": (
        lambda x, w: triconv.conv1d(x, standardised(w, (1, 2))),
        "the kernel is standardised first",
    ),
}


@pytest.mark.parametrize("name", FORWARDS)
def test_an_operand_that_is_normalised_first_is_named(name):
    forward, words = FORWARDS[name]
    report = triconv.check((forward, lambda x, w, g: back(x, w, g)), triconv.conv1d, *SHAPES)
    assert report.cause == "normalised"
    assert words in report.summary


def test_a_kernel_that_is_updated_before_the_cotangent_of_x_is_named():
    def backward(x, w, g):
        gw = back(x, w, g)[1]
        return back(x, w - 0.1 * gw, g)[0], gw

    report = triconv.check((triconv.conv1d, backward), triconv.conv1d, *SHAPES)
    assert report.cause == "updated before its gradient was used"
    assert "after the update w - 0.1 * gw" in report.summary


def test_columns_of_samples_and_positions_in_another_order_are_named():
    report = triconv.check((triconv.conv1d, lambda x, w, g: back(x, w, reread(g))), triconv.conv1d, *SHAPES)
    assert report.cause == "layout misread"
    assert "whose columns are counted by samples first and read by positions first" in report.summary


def test_a_buffer_that_adds_up_is_named():
    kept = {}

    def backward(x, w, g):
        gx, gw = back(x, w, g)
        kept[gx.shape] = kept.get(gx.shape, 0) + gx
        return kept[gx.shape].copy(), gw

    report = triconv.check((triconv.conv1d, backward), triconv.conv1d, *SHAPES)
    assert report.cause == "accumulated"
    assert "a buffer is not set to zero first" in report.summary


@pytest.mark.parametrize(
    "candidate",
    [
        lambda x, params: triconv.conv1d(x, params["w"]),
        lambda inputs: triconv.conv1d(*inputs),
        lambda x, *, w: triconv.conv1d(x, w),
    ],
)
def test_another_signature_is_answered_with_how_arrays_are_handed_over(candidate):
    if candidate.__code__.co_argcount == 2:
        candidate = lambda x, w, params, call=candidate: call(x, params)  # noqa: E731 (one array too many)
    report = triconv.check(candidate, triconv.conv1d, *SHAPES)
    assert report.verdict == "unchecked"
    assert "a lambda adapts another signature" in report.summary


def test_a_dict_is_answered_with_what_to_return():
    report = triconv.check(lambda x, w: {"y": triconv.conv1d(x, w)}, triconv.conv1d, *SHAPES)
    assert report.verdict == "unchecked"
    assert "a function that returns one entry of it" in report.summary
