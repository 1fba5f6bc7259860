"""Arrays times -1 and powers of 2 give results times that; one NaN or infinity reaches what it meets."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

import triconv
from triconv.checking.findings.findings import Homogeneous, Look
from triconv.checking.oracles.convolution import ConvolutionProblem
from triconv.checking.questions.not_finite import meets

SHAPES = (2, 3, 5, 4), (4, 3, 3, 2)


def rules(forward=lambda x: x, backward=lambda g: g, kernel=lambda w: w, result=lambda y: y):
    """A convolution of changed arrays, with derivatives that know nothing of the changes but that of the cotangent."""
    return triconv.Rules(
        lambda x, w: result(triconv.conv2d(forward(x), kernel(w))),
        lambda g, w: triconv.conv_input_vjp(backward(g), w, input_size=SHAPES[0][2:]),
        lambda g, x: triconv.conv_weight_vjp(backward(g), x, kernel_size=SHAPES[1][2:]),
    )


def scaled(report):
    return [row for row in report.rows if row.question.kind == "homogeneity"]


def test_a_right_candidate_has_one_row():
    (row,) = scaled(triconv.check(rules(), triconv.conv2d, *SHAPES))
    assert (row.what, row.verdict, row.finding) == ("negated and scaled", "right", Homogeneous(12, 100, 100))


BEYOND = 2.0**70
"""Larger than the exact data that need every bit."""
MISTAKES = {
    "clipped input": ({"forward": lambda x: x.clip(-BEYOND, BEYOND)}, Look.SATURATES, ("x",), BEYOND, "clipped"),
    "clipped kernel": ({"kernel": lambda w: w.clip(-BEYOND, BEYOND)}, Look.SATURATES, ("w",), BEYOND, "clipped"),
    "clipped result": (
        {"result": lambda y: y.clip(-BEYOND, BEYOND)},
        Look.RESULT_SATURATES,
        ("x", "w"),
        BEYOND,
        "clipped",
    ),
    "clipped cotangent": (
        {"backward": lambda g: g.clip(-BEYOND, BEYOND)},
        Look.SATURATES,
        ("cotangent",),
        BEYOND,
        "clipped",
    ),
    "flushed": (
        {"forward": lambda x: np.where(abs(x) < 2.0**-30, 0, x)},
        Look.FLUSHED,
        ("x",),
        2.0**-30,
        "small numbers",
    ),
    "epsilon": (
        {"backward": lambda g: g * abs(g) / (abs(g) + 2.0**-70)},
        Look.SMALL,
        ("cotangent",),
        None,
        "small numbers",
    ),
    "single range": (
        {"result": lambda y: np.where(abs(y) > 1e20, 2 * y, y)},
        Look.LARGE,
        ("x", "w"),
        None,
        "large numbers",
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_what_only_other_numbers_show_is_named(mistake):
    changes, look, names, amount, cause = MISTAKES[mistake]
    report = triconv.check(rules(**changes), triconv.conv2d, *SHAPES)
    assert (report.verdict, report.cause) == ("wrong", cause)
    findings = [row.finding for row in scaled(report)]
    assert {finding.look for finding in findings} == {look}
    assert {finding.names for finding in findings} == {names}
    assert amount is None or {finding.amount for finding in findings} == {amount}
    wrong = {row.what for row in report.rows if row.verdict == "wrong" and row.question.kind != "infinity"}
    assert wrong == {row.what for row in scaled(report)}


@pytest.mark.once
@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"forward": lambda x: x.clip(-50, 50)}, "numbers of x are clipped at about 50"),
        ({"kernel": lambda w: w.clip(-6, 6)}, "numbers of w are clipped at about 6"),
        ({"backward": lambda g: g.clip(-50, 50)}, "numbers of the cotangent are clipped at about 50"),
    ],
)
def test_what_no_mistake_explains_is_said_as_scaled_arrays_show_it(changes, words):
    """Integers are right, and exact data that need every bit are not, in elements that say nothing."""
    report = triconv.check(rules(**changes), triconv.conv2d, *SHAPES)
    assert (report.verdict, report.cause) == ("wrong", "clipped")
    assert words in report.summary


def test_steps_that_are_smaller_than_all_exact_data():
    step = 2.0**-60
    report = triconv.check(rules(kernel=lambda w: np.round(w / step) * step), triconv.conv2d, *SHAPES)
    assert (report.verdict, report.cause) == ("wrong", "fixed point")
    (finding,) = [row.finding for row in scaled(report)]
    assert (finding.look, finding.amount) == (Look.STEPS, step)


def test_what_a_gradient_does_not_depend_on_leaves_it_unchanged():
    right = rules()
    gate = triconv.Rules(
        right.forward, lambda g, w: right.input_vjp(g, w) * (1 if abs(w).max() < BEYOND else 2), right.weight_vjp
    )
    report = triconv.check(gate, triconv.conv2d, *SHAPES)
    (row,) = scaled(report)
    assert (row.what, row.cause) == ("negated and scaled: VJP of x", "large numbers")
    weight = triconv.Rules(
        right.forward, right.input_vjp, lambda g, x, w=[]: right.weight_vjp(g, x) * (1 + (abs(x).max() > BEYOND))
    )
    (row,) = scaled(triconv.check(weight, triconv.conv2d, *SHAPES))
    assert (row.what, row.finding.look, row.finding.names) == ("negated and scaled: VJP of w", Look.LARGE, ("x",))


def test_the_range_of_float16_is_imprecise_unless_it_is_declared(torch):
    def conv(x, w):
        return torch.nn.functional.conv2d(x.half().float(), w.half().float())

    report = triconv.check(conv, triconv.conv2d, *SHAPES)
    assert report.verdict == "imprecise"
    assert {row.verdict for row in scaled(report)} == {"imprecise"}
    assert "it is not finite where x and w is beyond about 9.8e+04" in scaled(report)[0].detail
    assert triconv.check(conv, triconv.conv2d, *SHAPES, precision="float16").ok


def test_a_clamp_of_large_numbers_that_is_not_the_dtype_is_wrong(torch):
    def conv(x, w):
        return torch.nn.functional.conv2d(x.clamp(-6e4, 6e4), w)

    report = triconv.check(conv, triconv.conv2d, *SHAPES)
    assert (report.verdict, report.cause) == ("wrong", "clipped")
    assert "numbers of x are clipped at about 60000" in report.summary
    assert triconv.check(conv, triconv.conv2d, *SHAPES, meant=("int8 products",)).verdict != "wrong"


@pytest.mark.parametrize("sizes", [(7, 5), (16, 3), (11, 4), (97, 10)], ids=str)
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_fourier_transforms_are_homogeneous(sizes, dtype):
    n, taps = sizes

    def conv(x, w):
        spectrum = np.einsum("ncf,kcf->nkf", np.fft.rfft(x, n + taps - 1), np.fft.rfft(w[..., ::-1], n + taps - 1))
        return np.fft.irfft(spectrum, n + taps - 1)[..., taps - 1 : n].astype(x.dtype)

    shapes = (2, 3, n), (2, 3, taps)
    (row,) = scaled(triconv.check(triconv.Rules(conv), triconv.conv1d, *shapes, dtype=dtype))
    assert row.verdict == "right", row.detail


def test_random_sums_are_not_taken_for_a_fault():
    rng = np.random.default_rng(0)

    def conv(x, w):  # the order of the sums is random, as with atomics
        order = rng.permutation(x.shape[1])
        terms = [triconv.conv2d(x[:, c : c + 1], w[:, c : c + 1]) * np.float32(1 / 3) for c in order]
        return sum(terms[1:], terms[0]) * np.float32(3)

    report = triconv.check(triconv.Rules(conv), triconv.conv2d, (2, 9, 5, 4), (4, 9, 3, 2), dtype="float32")
    assert not [row for row in scaled(report) if row.verdict == "wrong"]


@pytest.mark.parametrize("dtype", ["int32", "uint8", "bfloat16", "complex64"])
def test_other_dtypes(dtype):
    pytest.importorskip("ml_dtypes")
    rows = scaled(triconv.check(triconv.Rules(triconv.conv2d), triconv.conv2d, *SHAPES, dtype=dtype))
    assert [row.verdict for row in rows] == ["right"] * (dtype != "uint8")


def test_a_nan_that_a_backward_hides_is_wrong():
    for array, hidden in (("w", {"kernel": np.nan_to_num}), ("the cotangent", {"backward": np.nan_to_num})):
        report = triconv.check(rules(**hidden), triconv.conv2d, *SHAPES)
        assert report.cause == "not a number"
        wrong = [row.what for row in report.rows if row.verdict == "wrong"]
        own = [""] if array == "w" else [", VJP of x", ", VJP of w"]
        assert wrong == [f"{poison} in {array}{of}" for poison in ("a NaN", "an infinity") for of in own]


CALLS = [
    ("conv2d", ((2, 4, 5, 4), (6, 2, 3, 2)), {"stride": 2, "padding": [(2, 1), (0, 1)], "groups": 2}),
    ("conv1d", ((2, 3, 7), (4, 3, 3)), {"padding": 2, "padding_mode": "reflect", "stride": 2}),
    ("conv1d", ((2, 3, 7), (4, 3, 3)), {"padding": 2, "padding_mode": "circular"}),
    ("conv_transpose2d", ((2, 4, 3, 4), (4, 3, 3, 2)), {"stride": 2, "padding": 1, "output_padding": 1}),
    ("conv", ((2, 6, 5, 3), (3, 2, 3, 4)), {"layout": "NHWC,HWIO->NHWC"}),
]


@pytest.mark.parametrize(("operator", "shapes", "params"), CALLS, ids=lambda value: str(value)[:20])
def test_what_an_element_meets(operator, shapes, params):
    """The elements of a result that change with one element of another array, against the definition."""
    p = ConvolutionProblem.of(getattr(triconv, operator), shapes, params)
    sizes = {r: p.torch_shape(r, p.result_shape(r)) for r in "xwg"}
    for source, result in itertools.permutations("xwg", 2):
        (other,) = set("xwg") - {source, result}
        one = np.zeros(sizes[source])
        index = tuple(size // 2 for size in sizes[source])
        one[index] = 1
        expected = p.model.derivative(result, {source: one, other: np.ones(sizes[other])})
        np.testing.assert_array_equal(meets(p, source, index, result), expected != 0)


def test_a_jvp_that_is_not_linear_in_its_tangents_is_named(torch):
    conv = torch.nn.functional.conv2d

    class Absolute(torch.autograd.Function):
        @staticmethod
        def forward(x, w):
            return conv(x, w)

        @staticmethod
        def setup_context(ctx, inputs, output):
            ctx.save_for_forward(*inputs)

        @staticmethod
        def jvp(ctx, dx, dw):
            x, w = ctx.saved_tensors
            return conv(dx.abs(), w) + conv(x, dw)

    report = triconv.check(lambda x, w: Absolute.apply(x, w), triconv.conv2d, (1, 1, 4, 3), (2, 1, 2, 2))
    (row,) = (row for row in report.rows if row.what == "JVP")
    assert (row.verdict, row.cause) == ("wrong", "not linear")
    assert row.detail.startswith(
        "it is not linear in the tangents, as a JVP must be; of x and the tangents times -1, element"
    )
