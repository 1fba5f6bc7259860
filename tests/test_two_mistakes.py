"""Two mistakes in one result, and a mistake that is made in a part of it alone, are both named."""

from __future__ import annotations

import functools
import itertools

import numpy as np
import pytest

import triconv
from triconv.checking.diagnosis import reductions
from triconv.checking.diagnosis.diagnosis import diagnose
from triconv.checking.findings.causes import Hypothesis
from triconv.checking.oracles import drawn_data
from triconv.checking.oracles.comparison import WrongResult
from triconv.checking.oracles.convolution import ConvolutionProblem, Expectations
from triconv.checking.reports import wording


class Layer:
    """A problem, its integers, and its derivatives."""

    def __init__(self, operator, *shapes, **params):
        self.problem = ConvolutionProblem.of(getattr(triconv, operator), shapes, params)
        self.arrays = drawn_data.draw(self.problem, "float32", 0, None)[1]
        self.x, self.w = (self.arrays.primals[role] for role in self.problem.operands)
        self.bias, self.g = self.arrays.primals.get("bias"), self.arrays.g
        self.forward = functools.partial(getattr(triconv, operator), **params)
        sizes = {"input_size": self.x.shape[2:]}, {"kernel_size": self.w.shape[2:]}
        self.input_vjp = functools.partial(triconv.conv_input_vjp, **sizes[0], **params)
        self.weight_vjp = functools.partial(triconv.conv_weight_vjp, **sizes[1], **params)

    def diagnosed(self, role, found, *, vmapped=False):
        right = Expectations(self.problem, self.arrays)
        value = Expectations.of_tangents if vmapped else Expectations.value
        answer = value if role == "value" else functools.partial(Expectations.vjp, role=role)
        tensor = self.problem.result if role == "value" else role
        return diagnose(
            WrongResult(self.problem, right, answer, tensor, np.asarray(found), answer(right), role == "value")
        )


@pytest.fixture(scope="module")
def layer():
    return Layer("conv2d", (3, 4, 7, 5), (6, 2, 3, 3), (6,), padding=1, groups=2)


def flipped(w):
    return w[..., ::-1, ::-1]


def zeroed(a, *at):
    a = np.array(a)
    a[at] = 0
    return a


TWO = {
    "a flip, and the last sample is lost": (
        "w",
        lambda t: flipped(t.weight_vjp(t.g[:-1], t.x[:-1])),
        (Hypothesis.KERNEL_FLIPPED, Hypothesis.PARTS_LEFT_OUT),
    ),
    "a flip, and the last row is zero": (
        "x",
        lambda t: zeroed(t.input_vjp(t.g, flipped(t.w)), ..., -1, slice(None)),
        (Hypothesis.KERNEL_FLIPPED, Hypothesis.REGION),
    ),
    "a flip, and the kernel of the first group": (
        "x",
        lambda t: t.input_vjp(t.g, flipped(np.concatenate([t.w[:3]] * 2))),
        (Hypothesis.KERNEL_FLIPPED, Hypothesis.FIRST_GROUP_KERNEL),
    ),
    "a flip, and an activation": (
        "value",
        lambda t: np.tanh(t.forward(t.x, flipped(t.w), t.bias) / 1.0),
        (Hypothesis.KERNEL_FLIPPED, Hypothesis.FUNCTION_OF_RESULT),
    ),
    "an activation, and the last column is zero": (
        "value",
        lambda t: zeroed(np.maximum(t.forward(t.x, t.w, t.bias), 0), ..., -1),
        (Hypothesis.FUNCTION_OF_RESULT, Hypothesis.REGION),
    ),
}


@pytest.mark.once
@pytest.mark.parametrize("name", TWO)
def test_two_mistakes_are_named(layer, name):
    role, made, (first, second) = TWO[name]
    found = layer.diagnosed(role, made(layer))
    assert (found.hypothesis, found.also and found.also.hypothesis) == (first, second)
    sentence = wording.diagnosis(found)
    assert sentence.startswith("there are two mistakes: ")
    assert "; besides, it is" in sentence or "; besides, the last" in sentence or "; besides, every" in sentence


@pytest.mark.once
def test_a_factor_and_a_part_that_is_lost_are_named(layer):
    mean = layer.diagnosed("w", layer.weight_vjp(layer.g[:-1], layer.x[:-1]) / 3)
    assert wording.diagnosis(mean).startswith(
        "the last sample is left out; and every element is a third of that (3 is the batch"
    )
    mask = layer.forward(layer.x, layer.w, layer.bias) > 0
    masked = wording.diagnosis(layer.diagnosed("w", layer.weight_vjp(layer.g * mask, layer.x) / 2))
    assert masked.endswith(
        "multiplied by the derivative of relu at the value; and every element is half of that (2 is the number of "
        "groups or the number of channels in a group)"
    )
    rolled = layer.diagnosed("value", -np.roll(layer.forward(layer.x, layer.w, layer.bias), 1, 3))
    assert wording.diagnosis(rolled).startswith("its positions in spatial axis 1 are rolled by 1,")
    assert wording.diagnosis(rolled).endswith("every element is -1 times that")


@pytest.mark.once
def test_what_is_wrong_otherwise_has_no_two_mistakes():
    """Of thousands of pairs, none explains numbers by chance, in small results neither."""
    rng = np.random.default_rng(1)
    small, other = Layer("conv1d", (2, 1, 7), (2, 1, 3)), Layer("conv2d", (2, 2, 4, 3), (2, 1, 2, 2), groups=2)
    for problem, role in ((small, "value"), (small, "x"), (small, "w"), (other, "value"), (other, "w")):
        right = {"value": problem.g, "x": problem.x, "w": problem.w}[role]
        found = problem.diagnosed(role, rng.integers(-9, 9, right.shape).astype(np.float32))
        assert found.also is None, wording.diagnosis(found)
        assert not found.cause, wording.diagnosis(found)


@pytest.mark.once
def test_a_mistake_inside_a_region_is_named():
    line = Layer("conv1d", (2, 3, 34), (4, 3, 3))
    halves = line.w * np.array([1, 1, 0.5], np.float32)
    y = line.forward(line.x, line.w)
    y[..., 1::2] = line.forward(line.x, halves)[..., 1::2]
    sentence = wording.diagnosis(line.diagnosed("value", y))
    assert sentence.startswith(
        "it is wrong in every second position from 1 on in spatial axis 0 alone; there, parts of the sum"
    )
    assert sentence.endswith("counted wrongly: tap 2 0.5 times")
    gx = line.input_vjp(line.g, line.w)
    for start in range(8, 32, 8):  # as where the taps that reach into the next tile are lost
        gx[..., start] = np.einsum("nk,kc->nc", line.g[..., start], line.w[..., 0])
    sentence = wording.diagnosis(line.diagnosed("x", gx))
    assert "edges of tiles of 8; there, output positions 6, 7, 14, 15, 22 and 23 are left out" in sentence, sentence


def test_a_group_with_a_mistake_of_its_own_is_named():
    line = Layer("conv1d", (2, 4, 9), (6, 2, 3), groups=2)
    y = line.forward(line.x, line.w)
    y[:, 3:] = line.forward(line.x, line.w[..., ::-1])[:, 3:]
    sentence = wording.diagnosis(line.diagnosed("value", y))
    assert sentence.startswith(
        "it is wrong in channels from 3 on alone; there, the kernel is flipped against this operator"
    )


def test_a_batching_rule_that_mixes_samples_is_named(layer):
    tangents = layer.arrays.tangents
    found = layer.diagnosed("value", layer.forward(tangents["x"], layer.w, tangents["bias"]), vmapped=True)
    assert wording.diagnosis(found).startswith("the kernel of another sample of vmap is used: the batching rule")
    both = [layer.forward(a["x"], a["w"], a["bias"]) for a in (layer.arrays.primals, tangents)]
    mixed = np.concatenate(both).reshape(3, 2, *both[0].shape[1:]).swapaxes(0, 1)[1]
    assert wording.diagnosis(layer.diagnosed("value", mixed, vmapped=True)).startswith(
        "samples of its batch belong to another"
    )


def test_a_function_without_a_name_is_known_by_equal_elements(layer):
    y = layer.forward(layer.x, layer.w, layer.bias)
    found = layer.diagnosed("value", np.cbrt(y.astype(np.float64)))
    assert found.hypothesis == Hypothesis.SOME_FUNCTION
    assert wording.diagnosis(found).endswith(
        "as where an activation is left in: -2 becomes -1.26, -1 becomes -1, 0 becomes 0, 1 becomes 1"
    )
    sigmoid = y / (1 + np.exp(-1.702 * y.astype(np.float64)))
    assert wording.diagnosis(layer.diagnosed("value", sigmoid)) == "it is the gelu by a sigmoid of what it must be"


def test_a_bias_gradient_of_a_reshaped_cotangent_is_named(layer):
    sentence = wording.diagnosis(layer.diagnosed("bias", layer.g.reshape(-1, 6).sum(0)))
    assert sentence.startswith("the cotangent is reshaped to (-1, 6) before the sum")


def test_output_padding_that_is_left_zero_is_named():
    transposed = ConvolutionProblem.of(
        triconv.conv_transpose1d, ((1, 2, 5), (2, 3, 3)), {"stride": 2, "padding": 1, "output_padding": 1}
    )
    arrays = drawn_data.draw(transposed, "float32", 0, None)[1]
    right = Expectations(transposed, arrays)
    found = zeroed(right.value(), ..., -1)
    result = WrongResult(transposed, right, Expectations.value, "x", found, right.value(), True)
    assert diagnose(result).hypothesis == Hypothesis.OUTPUT_PADDING_ZERO


def test_an_index_with_a_sign_is_named():
    long = Layer("conv1d", (1, 4, 9000), (1, 4, 1))
    read = (np.arange(long.x.size) + 2**15) % 2**16 - 2**15
    right = Expectations(long.problem, long.arrays)
    found = long.forward(long.x.ravel()[read % long.x.size].reshape(long.x.shape), long.w)
    named = reductions.index_wraps(
        WrongResult(long.problem, right, Expectations.value, "g", found, right.value(), True)
    )
    assert wording.diagnosis(named).startswith(
        "x is read at an index of 16 bits with a sign: from 32768 on it is negative"
    )


def test_symmetric_padding_is_named():
    mirrored = Layer("conv1d", (2, 3, 9), (4, 3, 5), padding=2, padding_mode="reflect")
    symmetric = np.pad(mirrored.x, ((0, 0), (0, 0), (2, 2)), mode="symmetric")
    sentence = wording.diagnosis(mirrored.diagnosed("value", triconv.conv1d(symmetric, mirrored.w)))
    assert sentence == "the borders are of mode 'symmetric'"


def test_what_is_lost_now_and_then_is_not_taken_for_what_is_always_lost():
    calls = itertools.count()

    def weight_vjp(g, x):
        is_lost = (x != np.round(x)).any() and next(calls) % 2 == 0
        kept = slice(0, len(x) - is_lost)
        return triconv.conv_weight_vjp(g[kept], x[kept], kernel_size=3)

    rules = triconv.Rules(triconv.conv1d, functools.partial(triconv.conv_input_vjp, input_size=7), weight_vjp)
    report = triconv.check(rules, triconv.conv1d, (3, 2, 7), (4, 2, 3))
    assert "nondeterministic" in {row.cause for row in report.rows if row.what == "VJP of w"}
