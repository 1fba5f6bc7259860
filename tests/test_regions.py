"""Faults of tiles, batches and channels are named by where the result is wrong."""

from __future__ import annotations

import functools
from dataclasses import replace

import numpy as np
import pytest

import triconv
from kept_results import keeping
from triconv.checking.diagnosis import reductions
from triconv.checking.oracles.comparison import WrongResult
from triconv.checking.oracles.convolution import ConvolutionProblem, Expectations, InputArrays
from triconv.checking.reports.diagnosis_wording import diagnosis

BIG = (2, 3, 22, 23), (20, 3, 3, 3)


def conv(change):
    return triconv.Rules(lambda x, w: change(triconv.conv2d(x, w), x, w))


def zero(*at):
    def change(y, *_):
        y = y.copy()
        y[at] = 0
        return y

    return change


def garbage(*at):
    def change(y, *_):
        y = y.copy()
        y[at] = np.arange(y[at].size).reshape(y[at].shape) % 7 + 40
        return y

    return change


def edges(y, *_):
    y = y.copy()
    y[..., 15::16] += 1
    return y


def flat(y, *_):
    """Whole blocks of 64 positions, counted as one."""
    rows = y.reshape(*y.shape[:2], -1).copy()
    rows[..., rows.shape[-1] // 64 * 64 :] = 0
    return rows.reshape(y.shape)


def whole_tiles(y, *_):
    out = np.zeros_like(y)
    out[:, :, :16, :16] = y[:, :, :16, :16]
    return out


def blocks(size, order):
    """The sum over whole blocks of channels and taps alone."""

    def change(_, x, w):
        moved = np.moveaxis(w, order, range(1, 4))
        rows = moved.reshape(len(w), -1).copy()
        rows[:, rows.shape[1] // size * size :] = 0
        return triconv.conv2d(x, np.moveaxis(rows.reshape(moved.shape), range(1, 4), order))

    return change


def wraps(_, x, w):
    return triconv.conv2d(x.ravel()[np.arange(x.size) % 2**16].reshape(x.shape), w)


def tiles(y, *_):
    """Every second tile of 8 columns."""
    y = y.copy()
    y[..., np.arange(y.shape[-1]) // 8 % 2 == 1] *= np.arange(1, y.shape[-2] + 1)[:, None]
    return y


def corner(y, *_):
    """The last row and the last column."""
    y = y.copy()
    y[..., -1, :] += 1 + np.arange(y.shape[-1]) % 3
    y[..., :-1, -1] += 1 + np.arange(y.shape[-2] - 1) % 3
    return y


def copied(y, *_):
    y = y.copy()
    y[:, 5] = y[:, 4]
    return y


def added(y, *_):
    y = y.copy()
    y[:, :, 1::2] += 3
    return y


ALL = slice(None)
SMALL = (2, 3, 8, 9), (6, 3, 3, 3)
WIDE = (1, 2, 3, 100), (2, 2, 1, 3)
LONG = (2, 1, 182, 182), (1, 1, 3, 3)
MISTAKES = {
    "last columns": (zero(..., slice(16, None)), BIG, "tile edge", "positions from 16 on in spatial axis 1"),
    "last rows": (garbage(ALL, ALL, slice(16, None)), BIG, "tile edge", "the last tile of 16, and not a whole one"),
    "channels": (garbage(ALL, slice(16, None)), BIG, "tile edge", "channels from 16 on alone"),
    "samples": (garbage(slice(2, None)), ((4, 3, 22, 23), BIG[1]), "from a batch index on", "samples from 2 on alone"),
    "middle channels": (garbage(ALL, slice(3, 6)), BIG, "channel range", "channels 3 to 5 alone: other numbers"),
    "edges": (edges, ((2, 3, 40, 40), (4, 3, 3, 3)), "tile edge", "every 16th position from 15 on"),
    "positions as one": (
        flat,
        BIG,
        "tile edge",
        "elements from 384 on of spatial axis 0 and spatial axis 1, counted as one",
    ),
    "whole tiles": (whole_tiles, BIG, "tile edge", "and right elsewhere, which is the last tile of 16"),
    "every second": (garbage(..., slice(0, None, 2)), BIG, "every second element", "every second position from 0 on"),
    "channels, then taps": (blocks(16, (1, 2, 3)), BIG, "reduction cut", "first 16 of the 27 products"),
    "taps, then channels": (blocks(16, (2, 3, 1)), BIG, "reduction cut", "in the order of taps and input channels"),
    "every 27th": (garbage(..., slice(26, None, 27)), WIDE, "every n-th element", "every 27th position from 26 on"),
    "every second tile": (
        tiles,
        ((2, 3, 22, 32), BIG[1]),
        "tile edge",
        "positions 8 to 15 of every 16 in spatial axis 1",
    ),
    "last row and column": (corner, BIG, "tile edge", "position 19 in spatial axis 0 or position 20 in spatial axis 1"),
    "a channel of another": (copied, SMALL, "channels permuted", "channel 5 is what 4 must be"),
    "a number in a part": (added, SMALL, "every second element", "there, 3 is added to every element"),
    "large batch": (garbage(slice(65535, None)), ((65540, 1, 2, 2), (1, 1, 2, 2)), "large indices", "from 65535 on"),
    "16 bits": (wraps, LONG, "large indices", "an index of 16 bits is too small"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_where_a_result_is_wrong_is_named(mistake):
    change, shapes, cause, words = MISTAKES[mistake]
    report = triconv.check(keeping(conv(change)), triconv.conv2d, *shapes)
    assert (report.verdict, report.cause) == ("wrong", cause)
    assert words in report.summary


def test_samples_that_are_written_at_an_index_of_16_bits():
    def forward(x, w):
        y = np.zeros((len(x), 1, 1, 2))
        y[np.arange(len(x)).astype(np.uint16)] = triconv.conv2d(x, w)
        return y

    shapes = (65550, 1, 1, 2), (1, 1, 1, 1)
    x, w = (np.random.default_rng(0).integers(-4, 5, shape).astype(float) for shape in shapes)
    problem = ConvolutionProblem.of(triconv.conv2d, shapes, {})
    arrays = InputArrays({"x": x, "w": w}, np.ones_like(x), {"x": x, "w": w})
    right, found = np.asarray(triconv.conv2d(x, w)), forward(x, w)
    r = WrongResult(problem, Expectations(problem, arrays), Expectations.value, "g", found, right, True)
    words = diagnosis(reductions.index_wraps(r))
    assert "is written at its index along the batch modulo 65536: an index of 16 bits is too small" in words
    summed = np.zeros_like(right)
    np.add.at(summed, np.arange(len(x)) % 2**16, right)
    assert reductions.index_wraps(replace(r, found=summed)) is not None
    found[3] += 1
    assert reductions.index_wraps(replace(r, found=found)) is None
    of_g = Expectations(problem, InputArrays({"x": x, "w": w}, right, {"x": x, "w": w}))
    vjp = functools.partial(Expectations.vjp, role="w")
    gw = (np.einsum("ncij,nkij->kc", x, g)[..., None, None] for g in (right[np.arange(len(x)) % 2**16], right))
    r = WrongResult(problem, of_g, vjp, "w", *gw, True)
    assert "is read at its index along the batch modulo 65536" in diagnosis(reductions.index_wraps(r))


@pytest.mark.parametrize(("weight", "words"), [(0, "are left out"), (2, "are counted twice")])
def test_more_columns_than_the_kernel_has_elements(weight, words):
    def weight_vjp(g, x):
        g = g.copy()
        g[..., 64:] *= weight
        return triconv.conv_weight_vjp(g, x, kernel_size=(1, 3))

    rules = triconv.Rules(triconv.conv2d, weight_vjp=weight_vjp)
    report = triconv.check(rules, triconv.conv2d, (1, 2, 3, 82), (3, 2, 1, 3))
    assert report.verdict == "wrong"
    assert f"output columns 64, 65, 66, 67, 68, 69, ... (16 in all) {words}" in report.summary


def test_a_tile_that_another_one_overwrites():
    def change(y, *_):
        y = y.copy()
        y[..., :16] = y[..., 16:32]
        return y

    report = triconv.check(conv(change), triconv.conv2d, (2, 3, 22, 36), BIG[1])
    assert report.cause == "tile edge"
    assert "what is there belongs 16 positions after" in report.summary


def test_a_weight_gradient_of_whole_blocks():
    def weight_vjp(g, x):
        rows = np.moveaxis(g, 1, 0).reshape(g.shape[1], -1).copy()
        rows[:, rows.shape[1] // 128 * 128 :] = 0
        whole = np.moveaxis(rows.reshape(g.shape[1], len(g), *g.shape[2:]), 0, 1)
        return triconv.conv_weight_vjp(whole, x, kernel_size=3)

    report = triconv.check(triconv.Rules(triconv.conv2d, weight_vjp=weight_vjp), triconv.conv2d, *BIG)
    assert report.cause == "reduction cut"
    assert "only the first 768 of the 840 products" in report.summary


def test_what_is_not_finite_has_a_place():
    def change(y, *_):
        y = y.copy()
        y[..., 16:] = np.nan
        return y

    report = triconv.check(conv(change), triconv.conv2d, *BIG)
    assert report.cause == "not a number"
    assert "it is wrong in positions from 16 on in spatial axis 1 alone, which is the last tile of 16" in report.summary
    assert "nothing may be written there" in report.summary


@pytest.mark.parametrize(
    ("weights", "words"),
    [
        ({"corners": 0}, "'reflect' is left out at the corners, where two sides of it meet"),
        ({"corners": 2}, "'reflect' is counted twice at the corners"),
        ({"end": 0}, "'reflect' is left out at the end in spatial axis 1"),
        ({"start": 2}, "'reflect' is counted twice at the start in spatial axis 1"),
    ],
)
def test_part_of_the_padding_is_named(weights, words):
    shapes, padding = ((2, 2, 5, 6), (2, 2, 3, 3)), {"padding": (1, 2), "padding_mode": "reflect"}

    def input_vjp(g, w):
        model = ConvolutionProblem.of(triconv.conv2d, shapes, padding).model
        size = g.shape[2] + 2, g.shape[3] + 2
        gp = triconv.vjp(triconv.conv2d, np.zeros((len(g), w.shape[1], *size)), w)[1](g)[0]
        for columns in (slice(0, 2), slice(-2, None)):
            gp[..., [0, -1], columns] *= weights.get("corners", 1)
        gp[..., :2] *= weights.get("start", 1)
        gp[..., -2:] *= weights.get("end", 1)
        return model.pad_adjoint(gp)

    rules = triconv.Rules(lambda x, w: triconv.conv2d(x, w, **padding), input_vjp)
    report = triconv.check(rules, triconv.conv2d, *shapes, **padding)
    (row,) = (row for row in report.rows if row.what == "VJP of x")
    assert row.cause == "padding mode"
    assert words in row.detail


@pytest.mark.parametrize(
    ("left_out", "words"),
    [
        (slice(2995, None), "only the first 5990 of the 6000 products of each sum are in it"),
        (slice(0, 2), "only the last 5996 of the 6000 products of each sum are in it"),
        (slice(1500, 1503), "no known mistake explains it"),
    ],
)
def test_few_of_many_terms_that_are_left_out_are_no_lack_of_bits(left_out, words):
    """Sums in eight bits could be off by as much, and sparse integers may be zero where the terms are left out."""

    def backward(g, saved):
        x, w = saved
        pull = triconv.vjp(triconv.conv1d, x, w)[1]
        some = g.copy()
        some[left_out] = 0
        return pull(g)[0], pull(some)[1]

    pair = (lambda x, w: (triconv.conv1d(x, w), (x, w))), backward
    report = triconv.check(pair, triconv.conv1d, (3000, 1, 3), (1, 1, 2))
    (row,) = (row for row in report.rows if row.what == "VJP of w")
    assert row.verdict == "wrong"
    assert words in row.detail


@pytest.mark.parametrize(
    ("part", "words"),
    [
        (np.s_[1:], "it is wrong in output channels from 1 on alone; there, the kernel is flipped in spatial axis 0"),
        (np.s_[:, :, 1, 1:2], "it is wrong in tap 1 in spatial axis 0 and tap 1 in spatial axis 1 alone"),
    ],
)
def test_part_of_a_weight_gradient(part, words):
    """A flip leaves the tap in the middle as it is, and a tap is no tile of a kernel's elements."""

    def weight_vjp(g, x):
        gw = triconv.conv_weight_vjp(g, x, kernel_size=3)
        gw[part] = gw[part][:, :, ::-1] if gw[part].ndim > 3 else gw[part] ** 2 + 1
        return gw

    rules = triconv.Rules(triconv.conv2d, weight_vjp=weight_vjp)
    assert words in triconv.check(rules, triconv.conv2d, (2, 3, 6, 7), (4, 3, 3, 3)).summary
