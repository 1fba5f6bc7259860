"""The mistakes of hand-written backwards are found and named, in every geometry, and right ones raise no alarm."""

from __future__ import annotations

import numpy as np
import pytest

import triconv
from kept_results import keeping
from mistakes_of_backwards import GEOMETRIES, MISTAKES, candidate, is_seen
from rights_of_backwards import STYLES
from triconv.checking import operator_check
from triconv.checking.diagnosis.incidences import contract, right_incidences
from triconv.checking.findings.causes import Cause, Hypothesis
from triconv.checking.findings.diagnosis_data import Diagnosis, Factor, Part, Size
from triconv.checking.findings.protocol import Role
from triconv.checking.oracles import drawn_data, wide_data
from triconv.checking.oracles.convolution import ConvolutionProblem
from triconv.checking.oracles.definition import contract as by_definition
from triconv.checking.reports import wording

EVERY = list(GEOMETRIES)
FEW = 2
"""Geometries in which a mistake is made by default, the first of its causes; others in one. Another choice for each mistake."""
FIRST = {mistake.causes: number for number, mistake in reversed(list(enumerate(MISTAKES)))}


@pytest.fixture
def alone(monkeypatch):
    """The checks without what a report has besides: the oracles, which compile, and the smallest counterexample."""
    monkeypatch.setattr(operator_check, "ask_oracles", lambda *_: ())
    monkeypatch.setattr(operator_check, "smallest", lambda *_: None)
    monkeypatch.setattr(operator_check, "program", lambda *_: "")


def report_of(mistake, geometry):
    c = GEOMETRIES[geometry]
    return triconv.check(keeping(candidate(c, mistake)), c.like, *c.shapes, framework="numpy", **c.params)


def chosen(number, mistake):
    seen = [name for name in EVERY if is_seen(GEOMETRIES[name], mistake)]
    assert seen, mistake.name
    is_last = "noise" in mistake.causes  # after every other hypothesis, which takes longest
    few = FEW if FIRST[mistake.causes] == number and not is_last else 1
    return [seen[(5 * number + n) % len(seen)] for n in range(min(few, len(seen)))]


@pytest.mark.once
@pytest.mark.parametrize("number", range(len(MISTAKES)), ids=lambda n: MISTAKES[n].name)
def test_the_mistake_of_a_backward_is_named(number, alone):
    mistake = MISTAKES[number]
    for geometry in chosen(number, mistake):
        if (mistake.name, geometry) in AMBIGUOUS:
            continue
        report = report_of(mistake, geometry)
        assert report.verdict == "wrong", f"{geometry}\n{report}"
        assert report.cause in mistake.causes, f"{geometry}\n{report}"
        assert "None" not in report.summary


AMBIGUOUS = {
    ("bias_of_the_first_position", "alone"),  # one number, which happens to be half of the sum
    ("bias_per_channel", "volume"),  # two biases whose sum is twice one of them
    ("rolled_by_a_row", "strided"),  # the remainder, one row, is at the wrong end
}


@pytest.mark.slow
def test_nearly_every_mistake_is_named_in_every_geometry(alone):
    named = detected = asked = 0
    for mistake in MISTAKES:
        for geometry in EVERY:
            if is_seen(GEOMETRIES[geometry], mistake):
                report = report_of(mistake, geometry)
                asked, detected = asked + 1, detected + (report.verdict == "wrong")
                named += report.cause in mistake.causes
    assert asked > 900
    assert detected == asked
    assert named >= 0.98 * asked


@pytest.mark.once
@pytest.mark.parametrize(
    ("style", "geometry"),
    [
        pytest.param(style, geometry, marks=[] if (n + m) % 3 == 0 else pytest.mark.slow)
        for n, style in enumerate(STYLES)
        for m, geometry in enumerate(EVERY)
    ],
)
def test_an_unusual_style_raises_no_alarm(style, geometry):
    if "scipy" in style:
        pytest.importorskip("scipy")
    c = GEOMETRIES[geometry]
    report = triconv.check(STYLES[style](c), c.like, *c.shapes, framework="numpy", **c.params)
    assert report.ok, str(report)


@pytest.mark.parametrize("geometry", EVERY)
def test_products_over_incidence_tensors_are_the_definition(geometry):
    c = GEOMETRIES[geometry]
    problem = ConvolutionProblem.of(c.like, c.shapes, c.params)
    incidences = right_incidences(problem)
    rng = np.random.default_rng(0)
    arrays = {role: rng.integers(-3, 4, problem.result_shape(role)) for role in "xwg"}
    for result in "xwg":
        operands = {role: a for role, a in arrays.items() if role != result}
        expected = by_definition(problem.model.axes, c.groups, **operands)
        np.testing.assert_array_equal(contract(incidences, c.groups, **operands), expected)


# ---- words


@pytest.mark.parametrize(
    ("diagnosis", "sentence"),
    [
        (
            Diagnosis(Cause.CONSTANT_FACTOR, Hypothesis.FACTOR, factor=Factor(0.5, 2, True, (Size.BATCH, Size.GROUPS))),
            "every element is half of what it must be (2 is the batch size or the number of groups)",
        ),
        (
            Diagnosis(Cause.CONSTANT_FACTOR, Hypothesis.FACTOR, factor=Factor(2.0, 2)),
            "every element is twice what it must be",
        ),
        (
            Diagnosis(Cause.CONSTANT_FACTOR, Hypothesis.FACTOR, factor=Factor(3.0, 3, False, (Size.TAPS,))),
            "every element is 3 times what it must be (3 is the number of taps)",
        ),
        (
            Diagnosis(Cause.BATCH_AVERAGED, Hypothesis.BATCH_MEAN, size=2, factor=Factor(0.5, 2, True, (Size.GROUPS,))),
            "it is the mean over the batch of 2, where the derivative of a sum is the sum (2 is also the number of groups)",
        ),
        (
            Diagnosis(
                Cause.PADDING_OFF_BY_ONE, Hypothesis.PADDING_OFFSET, spatial_axes=(0,), offset=(0, -1), ndim=2
            ),
            "there is one padding row too few at the bottom",
        ),
        (
            Diagnosis(
                Cause.PADDING_OFF_BY_ONE, Hypothesis.PADDING_OFFSET, spatial_axes=(1,), offset=(2, -2), ndim=2
            ),
            "there is two padding columns too many on the left and two too few on the right",
        ),
        (
            Diagnosis(Cause.PADDING_OFF_BY_ONE, Hypothesis.PADDING_OFFSET, offset=(1, 0), ndim=3),
            "there is one padding position too many before in every axis",
        ),
        (
            Diagnosis(
                Cause.BORDER_DROPPED, Hypothesis.PARTS_LEFT_OUT, role=Role.G, part=Part.OUTPUT, sizes=(2, 2),
                parts=((1, 0), (1, 1)),
            ),
            "the last output row is left out",
        ),
        (
            Diagnosis(
                Cause.TAPS_LEFT_OUT, Hypothesis.PARTS_LEFT_OUT, role=Role.W, part=Part.TAP, sizes=(3, 3),
                parts=((0, 1), (2, 2)),
            ),
            "taps (0, 1) and (2, 2) are left out",
        ),
    ],
)  # fmt: skip
def test_words(diagnosis, sentence):
    assert wording.diagnosis(diagnosis) == sentence.replace("there is two", "there are two")


def test_a_dropped_row_has_one_name_for_the_value_and_the_gradients():
    c = GEOMETRIES["padded"]
    kept = [o for o in np.ndindex(c.out) if o[0] < c.out[0] - 1]

    def forward(x, w, b):
        y = c.forward(x, w) + b.reshape(-1, 1, 1)
        y[:, :, -1] = 0
        return y

    rules = triconv.Rules(
        forward,
        lambda g, w: c.input_vjp(g, w, outputs=kept),
        lambda g, x: c.weight_vjp(g, x, outputs=kept),
        lambda g: c.bias_vjp(g[:, :, :-1]),
    )
    report = triconv.check(rules, c.like, *c.shapes, framework="numpy", **c.params)
    wrong = {row.what: row for row in report.rows if row.evidence is not None}
    assert set(wrong) == {"value", "VJP of x", "VJP of w", "VJP of bias"}
    assert {str(row.cause) for row in wrong.values()} == {"border dropped"}
    assert all(row.detail.startswith("the last output row is left out; at") for row in wrong.values())


def test_random_results_are_told_from_wrong_ones():
    c, rng = GEOMETRIES["plain"], np.random.default_rng(0)
    noisy = triconv.Rules(
        c.forward, lambda g, w: (c.input_vjp(g, w) + rng.standard_normal(c.shapes[0])).astype(np.float32)
    )
    report = triconv.check(noisy, c.like, *c.shapes[:2], framework="numpy", **c.params)
    assert report.cause == "nondeterministic"


@pytest.mark.parametrize(
    ("name", "geometry"),
    [
        # a gradient that is not exact in float32 is looked at by every hypothesis, which takes longest in a volume
        pytest.param(name, geometry, marks=pytest.mark.slow if (name, geometry) == ("gw", "volume") else [])
        for name in ("x", "w", "b", "value", "g", "gw")
        for geometry in ("padded", "depthwise", "line", "volume")
    ],
)
def test_float32_in_float64_is_called_so(geometry, name, alone):
    c = GEOMETRIES[geometry]
    narrow = {name: lambda a: a.astype(np.float32).astype(np.float64)}
    of = lambda key, a: narrow.get(key, lambda a: a)(a)  # noqa: E731

    def forward(x, w, b):
        y = c.forward(of("x", x), of("w", w)) + of("b", b).reshape(-1, *[1] * len(c.out))
        return of("value", y)

    rules = triconv.Rules(
        forward, lambda g, w: c.input_vjp(of("g", g), w), lambda g, x: of("gw", c.weight_vjp(g, x)), c.bias_vjp
    )
    report = triconv.check(keeping(rules), c.like, *c.shapes, dtype="float64", framework="numpy", **c.params)
    assert report.verdict in ("imprecise", "wrong")
    assert "float32" in report.summary
    assert report.cause in ("", "dtype")


# ---- hypotheses that need more than the arguments of one rule


def spread(c, b):
    return b.reshape(-1, *[1] * len(c.out))


def per_tap(c, x, w, b, y):
    """A bias inside the loop over taps, which skips those in the padding."""
    ones = c.forward(np.ones_like(x[:, : c.groups * w.shape[1]]), np.ones_like(w)) / w.shape[1]
    return y - spread(c, b) + spread(c, b) * ones


def negative(c, x, w, b, y):
    """Indices below zero, which Python takes from the end; those beyond the end are left out."""
    padded = c.pad(x)
    lo = c.pads[0][0]
    padded[:, :, :lo] = c.pad(x)[:, :, c.inputs[0] : c.inputs[0] + lo]
    return c.forward(x, w, padded) + spread(c, b)


def first_cut(c, x, w, b, y):
    return y[:, :, :-1]


OTHERS = {
    "bias added once per tap that meets": ("padded", "y", per_tap),
    "bias alone": ("padded", "y", lambda c, x, w, b, y: 0 * y + spread(c, b)),
    "bias in another order": ("padded", "y", lambda c, x, w, b, y: y - spread(c, b) + spread(c, b[::-1])),
    "bias multiplied": ("padded", "y", lambda c, x, w, b, y: y + spread(c, b) / 2),
    "negative indices": ("line", "y", negative),
    "rows too few or too many": ("remainder", "y", first_cut),
    "slices of the result permuted": ("strided", "y", lambda c, x, w, b, y: y[:, [1, 0, 2]]),
    "one slice of the result for all": ("padded", "y", lambda c, x, w, b, y: np.broadcast_to(y[:, 2:3], y.shape)),
    "result rolled in several axes": ("padded", "y", lambda c, x, w, b, y: np.roll(y, (1, 1), (2, 3))),
    "mean subtracted": ("padded", "y", lambda c, x, w, b, y: y - y.mean((2, 3), keepdims=True, dtype="f8").astype("f4")),
    "as many parts as the other axis has": (
        "even", "y", lambda c, x, w, b, y: y * (np.arange(c.out[1]) < c.out[0]).astype("f4"),
    ),
    "function of each element": ("padded", "y", lambda c, x, w, b, y: y * y),
    "cotangent times the derivative of a function of the value": (
        "padded", "gx", lambda c, x, w, b, y, g: c.input_vjp(g * (y > 0), w),
    ),
    "result times the derivative of a function of its tensor": (
        "padded", "gx", lambda c, x, w, b, y, g: c.input_vjp(g, w) * (x > 0),
    ),
    "norm clipped": (
        "padded", "gx", lambda c, x, w, b, y, g: c.input_vjp(g, w) * 5 / np.linalg.norm(c.input_vjp(g, w).ravel()),
    ),
    "another tensor added": ("padded", "gw", lambda c, x, w, b, y, g: c.weight_vjp(g, x) + w / 8),
    "one part alone": ("padded", "gw", lambda c, x, w, b, y, g: c.weight_vjp(g, x, outputs=[(2, 2)])),
}  # fmt: skip


@pytest.mark.parametrize("hypothesis", OTHERS)
def test_a_hypothesis_is_found(hypothesis, alone):
    geometry, result, compute = OTHERS[hypothesis]
    c, saved = GEOMETRIES[geometry], {}

    def value(x, w, b):
        return c.forward(x, w) + spread(c, b)

    def forward(x, w, b):
        return np.ascontiguousarray(compute(c, x, w, b, value(x, w, b))) if result == "y" else value(x, w, b)

    def input_vjp(g, w):
        arrays = saved_for(g)
        return (compute(c, *arrays, value(*arrays), g) if result == "gx" else c.input_vjp(g, w)).astype(g.dtype)

    def weight_vjp(g, x):
        arrays = saved_for(g)
        return (compute(c, *arrays, value(*arrays), g) if result == "gw" else c.weight_vjp(g, x)).astype(g.dtype)

    def saved_for(g):
        return saved[g.tobytes()]

    problem = ConvolutionProblem.of(c.like, c.shapes, c.params)
    drawn = drawn_data.DrawnData(problem, "float64", 0, None)
    wide = [drawn[name] for name in wide_data.NAMES if drawn.wide(name) is not None]
    for arrays in (*drawn_data.draw(problem, "float64", 0, None)[1:], *wide):
        primals = [arrays.primals[role].astype(np.float64) for role in ("x", "w", "bias")]
        saved[arrays.g.astype(np.float64).tobytes()] = primals
    rules = triconv.Rules(forward, input_vjp, weight_vjp, c.bias_vjp)
    report = triconv.check(keeping(rules), c.like, *c.shapes, framework="numpy", **c.params)
    row = next(row for row in report.rows if row.verdict == "wrong")
    assert row.finding.diagnosis.hypothesis == hypothesis, row.detail
    assert "None" not in row.detail
