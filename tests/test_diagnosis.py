"""Every hypothesis of the checker recognises its own mistake, and names it."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

import triconv
from triconv.checking.diagnosis.diagnosis import diagnose
from triconv.checking.diagnosis.misunderstandings import misunderstandings
from triconv.checking.findings.causes import Hypothesis
from triconv.checking.oracles import drawn_data
from triconv.checking.oracles.comparison import WrongResult, same
from triconv.checking.oracles.convolution import ConvolutionProblem, Expectations
from triconv.checking.reports import wording
from triconv.checking.reports.hypothesis_sentences import HYPOTHESES

CALLS = [
    ("conv2d", ((2, 4, 7, 6), (6, 2, 3, 2)), {"stride": 2, "padding": [(2, 1), (0, 1)], "groups": 2}),
    ("conv2d", ((2, 3, 6, 6), (3, 3, 3, 3)), {"dilation": (2, 1), "padding": [(1, 2), (2, 0)]}),
    ("conv1d", ((2, 3, 8), (4, 3, 3)), {"padding": 1, "padding_mode": "reflect", "stride": 2}),
    ("conv_transpose2d", ((2, 4, 3, 4), (4, 3, 3, 2)), {"stride": 2, "padding": 1, "output_padding": 1}),
    ("conv", ((2, 6, 7, 3), (3, 2, 3, 4)), {"layout": "NHWC,HWIO->NHWC"}),
]

# mistakes that give one and the same result, or a shape that tells no more, in some of these calls; the first one is named
COINCIDE = {
    "layout misread": {"channels swapped", "spatial axes swapped"},
    "padding ignored": {"remainder dropped"},
    "padding off by one": {
        "padding low and high exchanged",
        "padding ignored",
        "output_padding ignored",
        "output_padding on the wrong side",
        "remainder dropped",
    },
    "spatial axes swapped": {"remainder dropped"},
}


@pytest.mark.parametrize("every", [8, pytest.param(1, marks=pytest.mark.slow)])
@pytest.mark.parametrize(("operator", "shapes", "params"), CALLS, ids=lambda value: str(value)[:20])
def test_every_misunderstanding_is_named(operator, shapes, params, every):
    problem = ConvolutionProblem.of(getattr(triconv, operator), shapes, params)
    arrays = drawn_data.draw(problem, "float32", 0, None)[1]
    right = Expectations(problem, arrays)
    expected = right.value()
    named = others = 0
    for made, model in itertools.islice(misunderstandings(problem), 0, None, every):
        try:
            found = Expectations(problem, arrays, model).value()
        except (ValueError, IndexError):  # no such geometry
            continue
        if same(found, expected):  # no mistake in this geometry
            continue
        diagnosis = diagnose(WrongResult(problem, right, Expectations.value, problem.result, found, expected, True))
        assert diagnosis.cause == made.cause or diagnosis.cause in COINCIDE.get(made.cause, ()), made
        assert "None" not in wording.diagnosis(diagnosis)
        named += diagnosis.cause == made.cause
        others += diagnosis.cause != made.cause
    assert named > 60 / every
    assert others <= named / 5


def test_every_hypothesis_has_a_sentence_of_its_own():
    assert set(HYPOTHESES) == set(Hypothesis)
    assert len(set(HYPOTHESES.values())) == len(Hypothesis)


MISTAKES = {
    "sign": lambda y: -y,
    "constant factor": lambda y: y * np.float32(1.5),
    "only the first sample": lambda y: np.concatenate([y[:1], 0 * y[1:]]),
    "one element": lambda y: np.where(np.arange(y.size).reshape(y.shape) == 17, 0, y),
    "not a number": lambda y: np.where(np.arange(y.size).reshape(y.shape) == 17, np.float32(np.nan), y),
    "dtype": lambda y: y.astype(np.float32),
    "shape": lambda y: y[..., :-1][:1],
    "border dropped": lambda y: np.concatenate([y[..., :-1], 0 * y[..., -1:]], -1),
    "padding off by one": lambda y: np.roll(y, 1, 2),
}


@pytest.mark.parametrize("cause", MISTAKES)
def test_a_mistake_in_one_result_is_named(cause):
    shapes = (2, 3, 7, 6), (4, 3, 3, 2)
    rules = triconv.Rules(lambda x, w: MISTAKES[cause](triconv.conv2d(x, w)))
    assert triconv.check(rules, triconv.conv2d, *shapes).cause == cause
    by_hand = triconv.Rules(
        triconv.conv2d, lambda g, w: MISTAKES[cause](triconv.conv_input_vjp(g, w, input_size=(7, 6)))
    )
    report = triconv.check(by_hand, triconv.conv2d, *shapes)
    assert report.cause == cause
    assert [row.what for row in report.rows if row.verdict == "wrong"] == ["dtype" if cause == "dtype" else "VJP of x"]


def test_noise_has_no_cause():
    rng = np.random.default_rng(0)
    noise = rng.integers(1, 9, (2, 4, 5, 5)).astype(np.float32)
    report = triconv.check(triconv.Rules(lambda x, w: noise), triconv.conv2d, (2, 3, 7, 6), (4, 3, 3, 2))
    assert (report.verdict, report.cause) == ("wrong", "")
    assert "no known mistake explains it; ruled out: sign and factors," in report.summary
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


def test_complex_products_that_lack_a_term_are_written_out():
    """Gauss' three real products, of which one is not taken off again."""

    def weight(g, x):
        of = [triconv.conv_weight_vjp(a, b, kernel_size=(3,)) for a, b in ((g.real, x.real), (g.imag, x.imag))]
        return (
            of[0] - of[1] + 1j * (triconv.conv_weight_vjp(g.real + g.imag, x.real + x.imag, kernel_size=(3,)) - of[0])
        )

    rules = triconv.Rules(triconv.conv1d, lambda g, w: triconv.conv_input_vjp(g, w, input_size=(9,)), weight)
    report = triconv.check(rules, triconv.conv1d, (2, 3, 9), (4, 3, 3), dtype="complex128")
    assert report.cause == "complex parts", str(report)
    assert "the imaginary part is Re(x) Im(g) + Im(x) Re(g) + Im(x) Im(g)" in report.summary


@pytest.mark.parametrize(
    ("name", "change", "words"),
    [
        ("VJP of w", lambda g, x: (g, np.where(np.arange(5) == 4, 0, x)), "the last input position is left out"),
        ("VJP of w", lambda g, x: (g * (np.arange(4) != 1)[:, None], x), "output channel 1 is left out"),
        ("VJP of x", lambda g, w: (g * (np.arange(7) > 0), w), "the first output position is left out"),
        ("VJP of x", lambda g, w: (g, w[::-1]), "the input channels of the kernel are reversed"),
    ],
)
def test_a_transposed_convolution_is_explained_in_its_own_words(name, change, words):
    """Its input is the output of the convolution that it is the transpose of."""
    vjps = {
        "VJP of x": lambda g, w: triconv.conv1d(g, w),
        "VJP of w": lambda g, x: triconv.conv_weight_vjp(x, g, kernel_size=3),
    }
    vjps[name] = lambda a, b, right=vjps[name]: right(*change(a, b))
    rules = triconv.Rules(triconv.conv_transpose1d, *vjps.values())
    report = triconv.check(rules, triconv.conv_transpose1d, (2, 3, 5), (3, 4, 3))
    assert f"{name}: {words}" in report.summary


@pytest.mark.parametrize(
    ("kept", "said"), [(slice(64), "only the first 64 of the 70"), (slice(1, None), "only the last 69")]
)
def test_a_sum_of_a_bias_that_ends_too_early_is_named(kept, said):
    """A bias for each of four channels, whose sums have 70 terms."""

    def forward(x, w, b):
        return triconv.conv1d(x, w, b), (x, w)

    def backward(g, saved):
        gx, gw = triconv.vjp(triconv.conv1d, *saved)[1](g)
        return gx, gw, g.swapaxes(0, 1).reshape(4, 70)[:, kept].sum(1)

    report = triconv.check((forward, backward), triconv.conv1d, (2, 1, 36), (4, 1, 2), (4,))
    assert report.cause == "reduction cut", report
    assert f"VJP of b: {said}" in report.summary.replace("bias", "b")
