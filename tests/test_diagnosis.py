"""Every hypothesis recognises its own mistake: convolutions broken in just that way."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

import triconv
from triconv.checking.convolution import Problem
from triconv.checking.misunderstandings import misunderstandings

QUESTIONS = [
    ("conv2d", ((2, 4, 7, 6), (6, 2, 3, 2)), {"stride": 2, "padding": [(2, 1), (0, 1)], "groups": 2}),
    ("conv2d", ((2, 3, 6, 6), (3, 3, 3, 3)), {"dilation": (2, 1), "padding": [(1, 2), (2, 0)]}),
    ("conv1d", ((2, 3, 8), (4, 3, 3)), {"padding": 1, "padding_mode": "reflect", "stride": 2}),
    ("conv_transpose2d", ((2, 4, 3, 4), (4, 3, 3, 2)), {"stride": 2, "padding": 1, "output_padding": 1}),
    ("conv", ((2, 6, 7, 3), (3, 2, 3, 4)), {"layout": "NHWC,HWIO->NHWC"}),
]


@pytest.mark.parametrize("every", [16, pytest.param(1, marks=pytest.mark.slow)])
@pytest.mark.parametrize(("operator", "shapes", "params"), QUESTIONS, ids=lambda value: str(value)[:20])
def test_every_misunderstanding_is_recognised(operator, shapes, params, every):
    like = getattr(triconv, operator)
    problem = Problem.of(like, shapes, params)
    first, second = problem.operands
    recognised = 0
    for cause, sentence, facts in itertools.islice(misunderstandings(problem), 0, None, every):

        def forward(a, b, facts=facts):
            given = {first: problem.to_torch(first, a), second: problem.to_torch(second, b)}
            return problem.to_user(problem.result, facts.derivative(problem.result, given)).astype(a.dtype)

        try:
            report = triconv.check(triconv.Rules(forward), like, *shapes, **params)
        except (ValueError, IndexError):  # no such geometry
            continue
        if report.verdict == "unchecked" or report.ok:  # no such geometry, or no mistake in this one
            continue
        assert report.verdict == "wrong", sentence
        assert report.cause, sentence
        recognised += report.cause == cause
    assert recognised * every >= 20


BLUNDERS = {
    "sign": lambda y: -y,
    "constant factor": lambda y: y * np.float32(1.5),
    "only the first sample": lambda y: np.concatenate([y[:1], 0 * y[1:]]),
    "one element": lambda y: np.where(np.arange(y.size).reshape(y.shape) == 17, 0, y),
    "not a number": lambda y: np.where(np.arange(y.size).reshape(y.shape) == 17, np.float32(np.nan), y),
    "dtype": lambda y: y.astype(np.float64),
    "shape": lambda y: y[..., :-1][:1],
    "border dropped": lambda y: np.concatenate([y[..., :-1], 0 * y[..., -1:]], -1),
    "padding off by one": lambda y: np.roll(y, 1, 2),
}


@pytest.mark.parametrize("cause", BLUNDERS)
def test_every_blunder_is_recognised(cause):
    shapes = (2, 3, 7, 6), (4, 3, 3, 2)
    rules = triconv.Rules(lambda x, w: BLUNDERS[cause](triconv.conv2d(x, w)))
    assert triconv.check(rules, triconv.conv2d, *shapes).cause == cause
    by_hand = triconv.Rules(
        triconv.conv2d, lambda g, w: BLUNDERS[cause](triconv.conv_input_vjp(g, w, input_size=(7, 6)))
    )
    report = triconv.check(by_hand, triconv.conv2d, *shapes)
    assert report.cause == cause
    assert [row.what for row in report.rows if row.verdict == "wrong"] == ["VJP of x"]


def test_no_hypothesis_fits():
    rng = np.random.default_rng(0)
    noise = rng.integers(1, 9, (2, 4, 5, 5)).astype(np.float32)
    report = triconv.check(triconv.Rules(lambda x, w: noise), triconv.conv2d, (2, 3, 7, 6), (4, 3, 3, 2))
    assert (report.verdict, report.cause) == ("wrong", "")
    assert "no hypothesis explains it; at (0, 0, 0, 0) it is" in report.summary
    (evidence,) = (row.evidence for row in report.rows if row.evidence is not None)
    assert evidence.taps[0] == ((0, 0), (0, 0), (0, 0))
    assert len(evidence.taps) == 6


def test_the_smallest_counterexample_is_small_and_runs():
    def forward(x, w):
        windows = np.lib.stride_tricks.sliding_window_view(x, w.shape[2:], (2, 3))
        return np.einsum("nchwij,kcij->nkhw", windows, w[:, :, ::-1, ::-1])

    report = triconv.check(forward, triconv.conv2d, (8, 4, 9, 8), (6, 4, 3, 2))
    assert "triconv" not in report.counterexample
    scope = {"forward": forward}
    with pytest.raises(AssertionError):
        exec(report.counterexample, scope)
    sizes = [int(np.prod(scope[name].shape)) for name in "xw"]
    assert max(sizes) <= 6
