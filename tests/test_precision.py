"""Whether a check sees each bit that a convolution loses, and says where; and what it takes for no loss."""

from __future__ import annotations

import functools

import numpy as np
import pytest

import triconv
from mistakes_of_precision import HONEST, LOSSES, conv, halves, rules, to_bits
from triconv.checking.candidates.candidates import as_candidate
from triconv.checking.dtypes import BITS, RANGES
from triconv.checking.findings.protocol import UNSUPPORTED, Kind
from triconv.checking.oracles import cancelling_data, drawn_data, wide_data
from triconv.checking.oracles.convolution import ConvolutionProblem, Expectations
from triconv.checking.oracles.drawn_data import DrawnData
from triconv.checking.verdicts import narrow_range
from triconv.checking.verdicts.check_context import CheckContext
from triconv.checking.verdicts.judge import judge
from triconv.checking.verdicts.probes import probes

WHOLE = (
    "kernel_in_two_halves_of_bfloat16",
    "sums_in_bfloat16",
    "half_in_bfloat16",
    "winograd",
    "declared_tf32",
    "kahan",
)
"""Of which the whole check is run: of the others, the questions that it is about."""


def rows(entry, seed=0):
    """The rows of the value and of the VJPs."""
    if entry.dtype == "bfloat16":
        pytest.importorskip("ml_dtypes")
    settings = {"keywords": {}, "is_notebook": False, "args": (), "parameters": None, "gradients": None, "params": {}}
    candidate = as_candidate(entry.make(), framework="numpy", dtype=entry.dtype, shapes=entry.shapes, **settings)
    problem = ConvolutionProblem.of(triconv.conv2d, entry.shapes, {})
    context = CheckContext(problem, entry.dtype, entry.precision, seed)
    asked = [
        p for p in probes(candidate, problem, entry.dtype) if p.question.is_plain_value or p.question.kind == Kind.VJP
    ]
    with np.errstate(all="ignore"):
        return [row for row in (judge(context, probe) for probe in asked) if row.verdict != UNSUPPORTED]


@pytest.mark.parametrize("entry", LOSSES, ids=lambda entry: entry.name)
def test_what_is_lost_is_named(entry):
    found = [row for row in rows(entry) if row.verdict == entry.verdict]
    assert any(entry.says in row.detail for row in found), [row.detail for row in rows(entry)]


@pytest.mark.parametrize("entry", HONEST, ids=lambda entry: entry.name)
def test_an_honest_algorithm_loses_nothing(entry):
    for seed in range(2):
        assert [row.detail for row in rows(entry, seed) if row.verdict != "right"] == []


@pytest.mark.parametrize("entry", [e for e in LOSSES + HONEST if e.name in WHOLE], ids=lambda entry: entry.name)
def test_the_verdict_on_all_questions(entry):
    report = triconv.check(
        entry.make(), triconv.conv2d, *entry.shapes, dtype=entry.dtype, precision=entry.precision, framework="numpy"
    )
    assert report.verdict == entry.verdict, report
    assert entry.says in str(report.summary)


def test_the_bank_is_large():
    assert len(LOSSES) >= 24
    assert len(HONEST) >= 16


PROBLEMS = (
    (triconv.conv2d, ((2, 3, 6, 5), (4, 3, 3, 2)), {}),
    (triconv.conv2d, ((2, 3, 6, 6), (4, 3, 3, 3), (4,)), {"padding": 2, "padding_mode": "circular"}),
    (triconv.conv2d, ((2, 4, 8, 7), (6, 2, 3, 2), (6,)), {"groups": 2, "stride": 2, "dilation": 2, "padding": 2}),
    (triconv.conv_transpose2d, ((2, 4, 4, 3), (4, 3, 3, 2), (3,)), {"stride": 2, "padding": 1}),
    (triconv.conv1d, ((3, 6, 9), (6, 1, 3)), {"groups": 6, "padding": 2, "padding_mode": "reflect"}),
    (triconv.conv, ((2, 3, 8), (4, 3, 3)), {"input_dilation": 3, "padding": ((2, -1),)}),
    (triconv.conv, ((3, 4), (6, 4)), {}),
    (triconv.conv, ((0, 3, 8), (4, 3, 3)), {}),
    (triconv.conv, ((2, 3, 8), (4, 3, 0)), {}),
)


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16", "bfloat16", "complex64"])
@pytest.mark.parametrize("problem", PROBLEMS, ids=lambda problem: f"{problem[0].__name__} {problem[1]}")
def test_sums_of_wide_data_are_exact_in_any_order(problem, dtype):
    """The magnitudes of all terms add up to no more units than the dtype has."""
    p = ConvolutionProblem.of(*problem)
    drawn = DrawnData(p, dtype, 0, None)
    longest = 0
    for role in (p.result, *p.roles):
        is_cotangent = role != p.result
        for order in (1,) if is_cotangent else (0, 1):
            of = {"order": order, "is_cotangent": is_cotangent, "dtype": dtype}
            for name in (*wide_data.names_of(role, **of), *cancelling_data.names_of(role, **of)):
                if drawn.wide(name) is None:  # padded by copies
                    continue
                of_value = Expectations.jvp if order else Expectations.value
                answer = functools.partial(Expectations.vjp, role=role) if is_cotangent else of_value
                wide, arrays = drawn.wide(name), drawn[name]
                whole, ones = Expectations(p, wide.whole), Expectations(p, arrays.map(lambda a: np.float64(a != 0)))
                most, terms = answer(whole.absolute).max(initial=0), answer(ones).max(initial=0)
                is_single = wide_data.is_rounded_once(name, dtype) or name in cancelling_data.NAMES
                bits = BITS["float32"] if is_single else BITS[dtype]
                assert most <= 2.0**bits or terms <= 1, name  # one product has the bits of its number
                assert np.array_equal(answer(whole) * 2.0 ** -wide.unit_of(role), answer(Expectations(p, arrays)))
                assert np.array_equal(drawn_data.rounded(arrays.g, dtype), arrays.g)
                longest = max(longest, most)
    assert longest > 2.0 ** (BITS[dtype] - 4) or not all(map(np.prod, p.shapes))


def test_a_verdict_names_what_is_lost_and_where():
    conv_in_halves = rules(lambda x, w: sum(conv(x, part) for part in halves(w)))
    report = triconv.check(conv_in_halves, triconv.conv2d, (2, 3, 6, 6), (4, 3, 3, 3), dtype="float32")
    assert "right, but computed with fewer bits; it keeps 17 of 24 bits (two halves of bfloat16) of w" in report.summary
    declared = triconv.check(
        conv_in_halves, triconv.conv2d, (2, 3, 6, 6), (4, 3, 3, 3), dtype="float32", precision="tf32"
    )
    assert declared.ok
    assert "as declared, tf32" in declared.rows[0].detail


def test_what_is_differentiated_twice_in_fewer_bits_is_imprecise(torch):
    """The second derivative by the cotangent rounds one of its two terms, which is small in some samples."""

    class Conv(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x, w):
            ctx.save_for_backward(x, w)
            return torch.nn.functional.conv2d(x, w)

        @staticmethod
        def backward(ctx, g):
            x, w = ctx.saved_tensors
            short = [a.bfloat16().to(a.dtype) for a in (x, g)]
            of_w = torch.nn.grad.conv2d_weight(short[0], w.shape, short[1])
            return torch.nn.grad.conv2d_input(x.shape, w, g), of_w

    report = triconv.check(Conv, triconv.conv2d, (2, 3, 6, 6), (4, 3, 3, 3))
    assert report.verdict == "imprecise", report
    assert "it keeps 8 of 24 bits (bfloat16) of x and the cotangent" in report.summary


def test_a_tangent_of_fewer_bits_is_imprecise_among_many_terms(torch):
    """The bound of 1,152 terms allows 11 bits."""

    class Conv(torch.autograd.Function):
        @staticmethod
        def forward(x, w):
            return torch.nn.functional.conv2d(x, w)

        @staticmethod
        def setup_context(ctx, inputs, output):
            ctx.save_for_forward(*inputs)

        @staticmethod
        def jvp(ctx, dx, dw):
            x, w = ctx.saved_tensors
            return torch.nn.functional.conv2d(dx.half().float(), w) + torch.nn.functional.conv2d(x, dw)

    shapes = (1, 128, 5, 5), (4, 128, 3, 3)
    settings = {"keywords": {}, "is_notebook": False, "args": (), "parameters": None, "gradients": None, "params": {}}
    candidate = as_candidate(Conv, framework="torch", dtype="float32", shapes=shapes, **settings)
    problem = ConvolutionProblem.of(triconv.conv2d, shapes, {})
    (probe,) = (p for p in probes(candidate, problem, "float32") if p.question.kind == Kind.JVP)
    row = judge(CheckContext(problem, "float32", None, 0), probe)
    assert (row.verdict, "it keeps 11 of 24 bits (TF32 or float16) of x" in row.detail) == ("imprecise", True), (
        row.detail
    )


def test_a_cotangent_of_fewer_bits_than_the_values_is_imprecise():
    """A function without a reference: its values are bilinear, and exact at coordinates of few bits."""

    def forward(x, w):
        return x @ w, (x, w)

    def backward(g, cache):
        x, w = cache
        return g @ w.T, to_bits(x, 24).T @ g

    report = triconv.gradcheck((forward, backward), (3, 4), (4, 5))
    assert report.verdict == "imprecise", report
    assert "VJP of w" in report.summary
    assert triconv.gradcheck((forward, lambda g, cache: (g @ cache[1].T, cache[0].T @ g)), (3, 4), (4, 5)).ok


@pytest.mark.parametrize("kept", ["w", "g", "neither"])
def test_a_cotangent_in_single_precision_of_fewer_bits_is_imprecise(kept):
    """With a mask in two cases, so that some elements are no polynomials along a long line."""

    def few(a):
        return a.astype(np.float16).astype(np.float32)

    def forward(x, w):
        y = x @ w
        mask = np.ones_like(y) if kept == "w" else (y > 0).astype(y.dtype)
        return y * mask, (x, w, mask)

    def backward(g, cache):
        x, w, mask = cache
        g = g * mask
        return (few(g) if kept == "g" else g) @ (few(w) if kept == "w" else w).T, x.T @ g

    report = triconv.gradcheck((forward, backward), (6, 20), (20, 7), dtype="float32")
    (row,) = (row for row in report.rows if row.what == "VJP of x")
    assert row.verdict == ("right" if kept == "neither" else "imprecise"), report
    assert report.ok == (kept == "neither")


def test_a_unit_among_large_sums_is_wrong_in_single_precision():
    """Where nothing is rounded, and all numbers are whole, one element may not be off by the least."""

    def backward(g, cache):
        x, w = cache
        gw = x.T @ g
        gw[5, 3] += g[0, 0]
        return g @ w.T, gw

    report = triconv.gradcheck((lambda x, w: (x @ w, (x, w)), backward), (16, 64), (64, 9), dtype="float32")
    assert (report.verdict, "at (5, 3)" in report.summary) == ("wrong", True), report


def test_a_factor_near_one_is_not_called_one():
    report = triconv.gradcheck((lambda x: (x * x, x), lambda g, x: 2 * g * x * (1 + 1e-7)), (5,))
    assert "1 + 1e-07 times" in report.summary, report


def test_a_range_is_of_a_dtype_with_the_bits_that_are_kept():
    """The data may hold no number between the largest of float8 e5m2, which has 3 bits, and that of float16."""
    e4m3, e5m2, half, single = RANGES
    assert [narrow_range.of_bits(e5m2, bits) for bits in (3, 4, 11, 24)] == [e5m2, half, half, single]
    assert [narrow_range.of_bits(e4m3, bits) for bits in (4, 53)] == [e4m3, e4m3]


def test_few_bits_in_one_part_of_a_jvp_are_no_mistake(torch):
    conv2d = torch.nn.functional.conv2d

    class Conv(torch.autograd.Function):
        @staticmethod
        def forward(x, w):
            return conv2d(x, w)

        @staticmethod
        def setup_context(ctx, inputs, output):
            ctx.save_for_backward(*inputs)
            ctx.save_for_forward(*inputs)

        @staticmethod
        def backward(ctx, g):
            x, w = ctx.saved_tensors
            return torch.nn.grad.conv2d_input(x.shape, w, g), torch.nn.grad.conv2d_weight(x, w.shape, g)

        @staticmethod
        def jvp(ctx, x_tangent, w_tangent):
            x, w = ctx.saved_tensors
            return conv2d(x_tangent, w) + conv2d(x.bfloat16().to(x.dtype), w_tangent)

    report = triconv.check(Conv, triconv.conv2d, (2, 3, 8, 8), (4, 3, 3, 3))
    assert report.verdict == "imprecise"
    assert {row.what for row in report.rows if row.verdict == "imprecise"} >= {"JVP"}


def test_second_derivatives_of_few_bits_are_no_other_mistake(torch):
    """A cotangent that is cast to float8 casts that of the second derivative, too."""

    class Conv(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x, w):
            ctx.save_for_backward(x, w)
            return torch.nn.functional.conv1d(x, w)

        @staticmethod
        def backward(ctx, g):
            x, w = ctx.saved_tensors
            narrow = g.to(torch.float8_e5m2).to(g.dtype)
            return torch.nn.grad.conv1d_input(x.shape, w, narrow), torch.nn.grad.conv1d_weight(x, w.shape, narrow)

    report = triconv.check(Conv.apply, triconv.conv1d, (2, 3, 9), (4, 3, 3))
    assert report.verdict == "imprecise", str(report)
    assert "it keeps 3 of 24 bits (float8 e5m2) of the cotangent" in report.summary
