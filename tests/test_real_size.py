"""Checks at the sizes that kernels are used at: exact by projections, rounding against a kernel that was proved exact."""

from __future__ import annotations

import collections
import json

import numpy as np
import pytest

import triconv
from kept_results import keeping
from mistakes import BROKEN, RIGHT
from triconv.checking.candidates.candidates import as_candidate
from triconv.checking.findings.findings import EqualOnIntegers
from triconv.checking.findings.protocol import Kind
from triconv.checking.oracles import definition, real_size, tap_sums, wide_data
from triconv.checking.oracles.convolution import ConvolutionModel, ConvolutionProblem
from triconv.checking.questions import not_finite
from triconv.checking.verdicts.check_context import CheckContext
from triconv.checking.verdicts.judge import judge
from triconv.checking.verdicts.probes import probes

pytestmark = pytest.mark.once
SHAPES = (4, 16, 40, 41), (24, 16, 3, 3)


def rules(change=lambda role, a: a):
    """The three contractions, each result changed."""
    params = {"padding": 1}
    changed = triconv.Rules(
        lambda x, w: change("g", triconv.conv2d(x, w, **params)),
        lambda g, w: change("x", triconv.conv_input_vjp(g, w, input_size=SHAPES[0][2:], **params)),
        lambda g, x: change("w", triconv.conv_weight_vjp(g, x, kernel_size=3, **params)),
    )
    return keeping(changed)


def check(candidate, **options):
    return triconv.check(candidate, triconv.conv2d, *SHAPES, padding=1, dtype="float32", **options)


@pytest.fixture
def no_loops(monkeypatch):
    """The definition must not be asked for a whole result of this size."""
    real = definition.contract

    def contract(axes, groups, **operands):
        assert sum(a.size for a in operands.values()) < 20_000
        return real(axes, groups, **operands)

    monkeypatch.setattr(definition, "contract", contract)


def test_a_right_check_says_how_sure_it_is_and_what_the_truth_was(no_loops):
    report = check(rules())
    assert report.ok, report
    findings = {row.what: row.finding for row in report.rows}
    for question in ("value", "VJP of x", "VJP of w"):
        finding = findings[question]
        assert isinstance(finding, EqualOnIntegers)
        assert 0 < finding.missed < 2**-59
        assert finding.truth == "gemm"
    detail = next(row["detail"] for row in report.to_dict()["rows"] if row["what"] == "VJP of w")
    assert "a fault is missed with a probability below 9e-19" in detail
    assert "triconv's gemm in float64" in detail
    row = next(row for row in json.loads(json.dumps(report.to_dict()))["rows"] if row["what"] == "value")
    assert row["finding"]["missed"] == pytest.approx(4 / 2.0**62, rel=1e-6)


@pytest.mark.parametrize("role", ["g", "x", "w"])
def test_one_element_off_by_one_is_found_with_its_index(role):
    index = {"g": (3, 17, 5, 40), "x": (2, 9, 39, 0), "w": (23, 15, 2, 1)}[role]

    def change(of, a):
        if of == role:
            a[index] += 1
        return a

    report = check(rules(change))
    assert (report.verdict, report.cause) == ("wrong", "one element")
    (row,) = (row for row in report.rows if row.evidence is not None)
    assert row.evidence.index == index
    assert row.evidence.found_value == row.evidence.expected_value + 1
    assert (row.evidence.wrong_elements, len(row.evidence.taps) > 0) == (1, True)


def test_a_fault_of_large_sizes_alone_is_found():
    """From the third sample on, which no smaller case has."""

    def change(of, a):
        if of == "x" and a.shape[0] > 2:
            a[2:] *= 2
        return a

    report = check(rules(change))
    assert [row.what for row in report.rows if row.verdict == "wrong"] == ["VJP of x"]


def test_a_kernel_that_is_not_exact_is_no_truth(monkeypatch):
    """Then the right answers are those of the definition."""
    real = real_size.conv
    monkeypatch.setattr(real_size, "conv", lambda x, w, **params: real(x, w, **params) + 1)
    report = check(rules())
    assert report.ok, report
    assert next(row for row in report.rows if row.what == "value").finding.truth == ""


SMALL = [entry for entry in BROKEN + RIGHT if entry.framework == "numpy"]


@pytest.mark.parametrize("entry", SMALL, ids=lambda entry: entry.name)
def test_every_verdict_is_the_same_by_projections(entry, monkeypatch):
    """The bank of mistakes and of unusual right ones, taken for problems of real size."""
    monkeypatch.setattr(real_size, "MOST_PRODUCTS", 0)
    report = triconv.check(
        entry.make(np), getattr(triconv, entry.like), *entry.shapes, framework="numpy", **entry.params
    )
    assert report.verdict == ("wrong" if entry in BROKEN else "right"), report


@pytest.mark.parametrize("dtype", ["float64", "bfloat16", "complex64", "int32", "uint8", "int64"])
def test_every_dtype_and_a_bias_at_real_size(dtype, monkeypatch):
    if dtype == "bfloat16":
        pytest.importorskip("ml_dtypes")  # which comes with JAX
    monkeypatch.setattr(real_size, "MOST_PRODUCTS", 0)
    for params in ({"padding": 2, "padding_mode": "reflect"}, {"stride": 2, "groups": 2, "padding": 1}):
        shapes = (3, 4, 7, 6), (6, 4 // params.get("groups", 1), 3, 2), (6,)
        report = triconv.check(
            triconv.conv2d, triconv.conv2d, *shapes, framework="numpy", dtype=dtype, pass_params=True, **params
        )
        # a function of NumPy has no derivative to judge; integers need none
        assert {row.verdict for row in report.rows} <= {"right", "unsupported", "unchecked"}, report


@pytest.mark.parametrize("taps", [20, 80])
def test_a_long_signal(taps):
    """By sums and by Fourier transforms; one element off by one is found."""
    shapes = (1, 3, 100_000), (3, 1, taps)

    def wrong(x, w):
        y = triconv.conv1d(x, w, groups=3)
        y[0, 1, 80_001] += 1
        return y

    rules = keeping(triconv.Rules(lambda x, w: triconv.conv1d(x, w, groups=3)))
    right = triconv.check(rules, triconv.conv1d, *shapes, groups=3)
    assert right.rows[0].verdict == "right", right
    report = triconv.check(keeping(triconv.Rules(wrong)), triconv.conv1d, *shapes, groups=3)
    assert report.rows[0].verdict == "wrong"
    assert report.rows[0].evidence.index == (0, 1, 80_001)


def test_meetings_are_counted_and_listed_without_loops():
    axis = definition.AxisParameters(9, 4, 3, 2, 2, 1, 2)
    meetings = definition.meetings(axis)
    assert tap_sums.count_meetings((axis, axis)) == len(meetings) ** 2
    for which, size in enumerate((9, definition.output_size(axis), 4)):
        for position in range(size):
            at = definition.meetings_at(axis, which, position)
            assert sorted(at) == [m for m in meetings if m[which] == position]


def test_small_problems_keep_the_loops():
    report = triconv.check(rules(), triconv.conv2d, (1, 2, 40, 41), (2, 2, 3, 3), padding=1)
    assert report.rows[0].finding == EqualOnIntegers(random=True)
    assert type(ConvolutionModel(())) is ConvolutionModel


def test_the_bound_of_a_bias_gradient_is_that_of_absolute_values():
    from triconv.checking.oracles.convolution import ConvolutionProblem, Expectations, InputArrays

    problem = ConvolutionProblem.of(triconv.conv1d, ((1, 1, 4), (1, 1, 1), (1,)), {})
    x, w, bias, g = np.ones((1, 1, 4)), -np.ones((1, 1, 1)), -np.ones(1), np.array([[[1.0, -1, 2, -2]]])
    arrays = InputArrays({"x": x, "w": w, "bias": bias}, g, {"x": x, "w": w, "bias": bias})
    absolute = Expectations(problem, arrays).absolute
    assert Expectations.vjp(absolute, "bias") == 6
    assert Expectations.value(absolute).tolist() == [[[2, 2, 2, 2]]]
    assert Expectations.vjp(absolute, "w") == 6


@pytest.mark.parametrize("is_for_any_size", [True, False])
def test_other_strides_are_tried_at_smaller_sizes_where_the_candidate_takes_them(is_for_any_size):
    """A candidate that is made for one size is asked at that."""

    def forward(x, w):
        if not is_for_any_size and x.shape != SHAPES[0]:
            raise ValueError
        return triconv.conv2d(x, w, padding=1)

    report = check(triconv.Rules(forward))
    (row,) = (row for row in report.rows if row.question.kind == Kind.ARRANGEMENTS)
    assert (row.verdict, row.finding.smaller) == ("right", is_for_any_size)
    assert ("smaller" in row.detail) == is_for_any_size


@pytest.mark.parametrize("which", ["x", "w", "g", "VJP of w"])
def test_what_is_not_finite_is_put_into_all_arrays_at_once(which, monkeypatch):
    """Few calls at real size; what hides it in one array is found all the same, and named."""
    monkeypatch.setattr(real_size, "MOST_PRODUCTS", 0)
    problem = ConvolutionProblem.of(triconv.conv2d, ((2, 3, 6, 5), (4, 3, 3, 2)), {})
    calls = []

    def hide(name, a):
        return np.nan_to_num(a) if which == name else a

    candidate = as_candidate(
        triconv.Rules(
            lambda x, w: triconv.conv2d(hide("x", x), hide("w", w)),
            lambda g, w: triconv.conv_input_vjp(hide("g", g), w, input_size=(6, 5)),
            lambda g, x: hide("VJP of w", triconv.conv_weight_vjp(hide("g", g), x, kernel_size=(3, 2))),
        ),
        framework="numpy",
        dtype="float32",
        keywords={},
        is_notebook=False,
    )
    value = candidate.value
    monkeypatch.setattr(candidate, "value", lambda arrays: calls.append(1) or value(arrays))
    rows = list(not_finite.rows(candidate, problem, "float32", set()))
    wrong = {(row.question.name, row.question.of) for row in rows if row.verdict == "wrong"}
    expected = {
        "x": {("x", None)},
        "w": {("w", None)},
        "g": {(None, "x"), (None, "w")},
        "VJP of w": {("x", "w"), (None, "w")},
    }[which]
    assert wrong == expected
    assert len(calls) == (6 if which in "xw" else 2)


def test_what_comes_from_one_call_is_asked_for_once(monkeypatch):
    """The value and all cotangents, the value and the tangent, both samples of a batch, and each second order."""
    torch = pytest.importorskip("torch")
    problem = ConvolutionProblem.of(triconv.conv2d, ((2, 3, 6, 5), (4, 3, 3, 2)), {})
    candidate = as_candidate(torch.conv2d, framework="torch", dtype="float32", keywords={}, is_notebook=False)
    calls = collections.Counter()
    for name in ("_value_and_vjps", "_value_and_jvp", "vmap", "reverse_over_reverse", "forward_over_reverse"):
        method = getattr(candidate, name)
        counted = lambda *a, name=name, method=method: calls.update([name]) or method(*a)  # noqa: E731
        monkeypatch.setattr(candidate, name, counted)
    context = CheckContext(problem, "float32", None, 0)
    rows = [judge(context, probe) for probe in probes(candidate, context.problem, "float32")]
    assert {row.verdict for row in rows} == {"right"}
    # integers and random numbers; those that need every bit are asked in each question: kept results may be overwritten
    wide = [wide_data.names_of(r, order=r != "g", is_cotangent=r != "g", dtype="float32") for r in ("g", "g", "x", "w")]
    assert 2 < calls.pop("_value_and_vjps") <= 2 + sum(map(len, wide)) + len(wide), calls
    # a JVP has two wide operands, a second derivative three
    assert (calls.pop("_value_and_jvp"), calls.pop("reverse_over_reverse")) == (4, 5)
    assert set(calls.values()) == {2}, calls
    assert len(calls) == 2
