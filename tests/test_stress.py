"""Sizes that break kernels: what is right at small sizes alone is found, and its size named."""

from __future__ import annotations

import numpy as np
import pytest

import triconv
from triconv.checking.findings.findings import StressedSizes
from triconv.checking.oracles.convolution import ConvolutionProblem
from triconv.checking.questions.stress import cases

SHAPES = (2, 2, 6), (3, 2, 3)


def stressed(report):
    return [row for row in report.rows if row.question.kind == "stress"]


def checked(forward, **params):
    return triconv.check(triconv.Rules(forward), triconv.conv1d, *SHAPES, sizes="stress", **params)


def test_a_right_candidate_has_one_row():
    (row,) = stressed(checked(triconv.conv1d))
    assert (row.what, row.verdict, row.finding) == ("stress sizes", "right", StressedSizes(55, 0))
    assert row.detail == "55 sizes: right"


def test_the_last_tile_of_channels():
    def conv(x, w):
        y = triconv.conv1d(x, w)
        if y.shape[1] > 32:
            y[:, y.shape[1] // 32 * 32 :] = 0
        return y

    report = checked(conv)
    assert (report.verdict, report.cause) == ("wrong", "tile edge")
    names = [row.what.partition(" (")[0] for row in stressed(report) if row.verdict == "wrong"]
    assert set(names) == {f"sizes: output channels {size}" for size in (33, 63, 65, 127, 129, 37, 2**16 + 1)}
    assert "the last tile of 32, and not a whole one" in report.summary
    assert "w = " in report.counterexample


def test_a_batch_over_the_grid():
    def conv(x, w):
        y = triconv.conv1d(x, w)
        y[65535:] = 0
        return y

    report = checked(conv)
    assert report.cause == "large indices"
    (row,) = [row for row in stressed(report) if row.verdict == "wrong"]
    assert row.what.startswith("sizes: batch 65537")


@pytest.mark.parametrize(
    ("fault", "size", "words"),
    [
        (
            lambda y, w: y[16:, 16:],
            "batch 129 and output channels 129",
            "in samples from 16 on and channels from 16 on",
        ),
        (lambda y, w: y[:, 2**16 :], "output channels 65537", "in channel 65536 alone"),
        (lambda y, w: y[..., :1] if w.shape[2] > 5 else y[:0], "kernel size 8", "in position 0"),
    ],
)
def test_two_tiles_at_once_and_other_sizes(fault, size, words):
    def conv(x, w):
        y = triconv.conv1d(x, w)
        fault(y, w)[...] = 0
        return y

    report = checked(conv)
    (row, *_) = [row for row in stressed(report) if row.verdict == "wrong"]
    assert row.what.startswith(f"sizes: {size}")
    assert words in row.detail


def test_a_small_size_is_explained_by_every_hypothesis():
    def conv(x, w):
        return triconv.conv1d(x, w[:, :, ::-1] if w.shape[2] > 5 else w)

    assert "sizes: kernel size 8 (x (2, 2, 9), w (2, 2, 8)): value: the kernel is flipped" in checked(conv).summary


def test_a_candidate_for_one_kernel_is_no_fault():
    """It reads three taps, however many there are."""

    def conv(x, w):
        return sum(
            np.einsum("ncp,kc->nkp", x[:, :, t : x.shape[2] - 2 + t], w[:, :, t]) for t in range(min(3, w.shape[2]))
        )

    asked = []

    def counted(x, w):
        asked.append((x.shape, w.shape))
        return conv(x, w)

    (row,) = stressed(checked(counted))
    assert (row.verdict, row.finding.refused) == ("right", 4)
    asked = asked[asked.index(((2, 2, 2), (2, 2, 1))) :]  # those of kernels come first, and each case is asked once
    assert len(asked) == len(set(asked)) == 55


def test_a_candidate_of_one_shape_is_no_fault():
    def conv(x, w):
        if (x.shape, w.shape) != SHAPES:
            msg = "I take one shape alone"
            raise ValueError(msg)
        return triconv.conv1d(x, w)

    (row,) = stressed(checked(conv))
    assert row.verdict == "unsupported"


@pytest.mark.parametrize(
    ("operator", "shapes", "params"),
    [
        ("conv2d", ((2, 4, 8, 8), (6, 2, 3, 3)), {"groups": 2, "stride": 2}),
        ("conv_transpose2d", ((2, 4, 5, 4), (4, 3, 3, 2)), {"stride": 2}),
        ("conv", ((2, 8, 8, 300), (3, 3, 300, 4)), {"layout": "NHWC,HWIO->NHWC"}),
        ("conv2d_forward", ((8, 8, 3), (3, 3, 3)), {}),
    ],
)
def test_every_case_makes_sense(operator, shapes, params):
    like = getattr(triconv, operator)
    problem = ConvolutionProblem.of(like, shapes, params)
    found = list(cases(problem, like, params, is_fixed=False))
    assert len(found) > 20
    assert len({case.name for case in found}) == len(found)
    fixed = list(cases(problem, like, params, is_fixed=True))
    w = problem.roles.index("w")
    assert {case.problem.shapes[w] for case in fixed} == {problem.shapes[w]}
    if 300 in shapes[0]:
        assert [case.name for case in found if "255" in case.name] == ["input channels 255"]


def test_an_unknown_word_is_refused():
    with pytest.raises(ValueError, match="`sizes` must be one of 'stress', got 'all'"):
        triconv.check(np.add, triconv.conv1d, *SHAPES, sizes="all")
