"""What a layer by hand keeps from step to step, as in training: gradients are assigned or added up, and nothing else is."""

from __future__ import annotations

import numpy as np
import pytest

import triconv
from test_layers import W, X, drawn, gb_of, gw_of, gx_of, y_of
from triconv.checking.candidates.candidates import as_candidate
from triconv.checking.findings.protocol import Kind, Question, Role
from triconv.checking.questions import layer_history
from triconv.checking.reports import memory_wording, remedies, wording
from triconv.checking.verdicts.trial import Trial, differ_as_integers


class Layer:
    """Keeps its input; what becomes of the gradients is in `put`."""

    def __init__(self):
        self.W, self.b = drawn(*W), drawn(4)
        self.dW, self.db = np.zeros(W), np.zeros(4)
        self.calls = 0

    def forward(self, x):
        self.x = x
        return y_of(x, self.W) + self.b[:, None, None]

    def backward(self, g):
        self.calls += 1
        self.put(gw_of(self.x, g, W[2:]), gb_of(g))
        return gx_of(self.x, self.W, g)

    def put(self, w, b):
        self.dW, self.db = w, b


def putting(put, start=None):
    """A class of layers that do this with their gradients, and begin like this."""

    def begin(self):
        Layer.__init__(self)
        if start is not None:
            start(self)

    return type("Layer", (Layer,), {"put": put, "__init__": begin})


def of_bias(change):
    """Changes the gradient of the bias by what its attribute holds."""

    def put(self, w, b):
        self.dW, self.db = w, change(self.db, b)

    return put


def lazily(self):
    self.dW = self.db = None


def nonzero(self):
    self.db = np.full(4, 0.01)


def accumulate(self, w, b):
    self.dW += w
    self.db = self.db + b


class KeepsFirstInput(Layer):
    def forward(self, x):
        self.x = getattr(self, "x", x)
        return y_of(self.x, self.W) + self.b[:, None, None]


class KeepsFirstInputForItsGradient(Layer):
    def put(self, w, b):
        self.dW, self.db = getattr(self, "first", w), b
        self.first = self.dW


class AddsToTheGradientOfItsInput(Layer):
    def backward(self, g):
        self.dx = getattr(self, "dx", 0) + super().backward(g)
        return self.dx


class ReturnsMomentum(Layer):
    def backward(self, g):
        gx = super().backward(g)
        self.kept = getattr(self, "kept", 0) * 0.9 + self.dW
        return gx, self.kept, self.db


class ChangesItsMind(Layer):
    """From the second call on."""

    def forward(self, x):
        self.forwards = getattr(self, "forwards", 0) + 1
        return super().forward(x) * min(self.forwards, 2)


class UpdatesANumber(Layer):
    """Takes a step in its backward, of a bias for all channels too, which is a number."""

    def __init__(self):
        super().__init__()
        self.bias_of_all = np.float64(0)

    def forward(self, x):
        return super().forward(x) + self.bias_of_all

    def backward(self, g, lr=0.1):
        gx = super().backward(g)
        self.W -= lr * self.dW
        self.bias_of_all -= lr * g.sum()
        return gx


class UpdatesANumberAndKeepsMomentum(UpdatesANumber):
    def put(self, w, b):
        self.dW, self.db = w, 0.5 * self.db + b


def some(old, new):
    return np.where(np.arange(4) < 2, old, 0) + new


BIAS = "VJP of bias: the gradient depends on what its attribute db held before: "
FAULTS = {
    "momentum": (putting(of_bias(lambda old, new: 0.5 * old + new)), "accumulated", BIAS + "it adds 0.5 times it"),
    "nearly one": (putting(of_bias(lambda old, new: 0.999 * old + new)), "accumulated", "it adds 0.999 times it"),
    "subtracted": (putting(of_bias(lambda old, new: new - old)), "accumulated", "it adds -1 times it"),
    "mean": (
        putting(lambda s, w, b: setattr(s, "db", (s.db * (s.calls - 1) + b) / s.calls) or setattr(s, "dW", w)),
        "accumulated",
        "it is 0.5 times it and 0.5 times the gradient",
    ),
    "larger": (putting(of_bias(np.maximum)), "accumulated", "it is the larger of both"),
    "smaller": (putting(of_bias(np.minimum)), "accumulated", "it is the smaller of both"),
    "some": (putting(of_bias(some)), "accumulated", "it adds it in some elements, and not in the others"),
    "lazily": (
        putting(of_bias(lambda old, new: new if old is None else 0.25 * old + new), lazily),
        "accumulated",
        "it adds 0.25 times it",
    ),
    "start": (putting(accumulate, nonzero), "accumulated", "db held before, which is not zero in a new object"),
    "count": (
        putting(lambda s, w, b: (setattr(s, "dW", w), setattr(s, "db", b * min(s.calls, 2)))),
        "depends on the call count",
        "VJP of bias: called again, the same object gives another result than a new one does",
    ),
    "value": (ChangesItsMind, "depends on the call count", "value: called again, the same object gives another result"),
    "first input": (KeepsFirstInput, "stale cache", "value: it is the answer for the earlier data of x"),
    "first gradient": (KeepsFirstInputForItsGradient, "stale cache", "gives the result of the call before"),
    "gradient of x": (AddsToTheGradientOfItsInput, "accumulated", "what the call before gave: it adds 1 times it"),
    "update": (UpdatesANumberAndKeepsMomentum, "accumulated", "it adds 0.5 times it"),
    "returned": (ReturnsMomentum, "accumulated", "VJP of w: the gradient depends on what the call before gave"),
}


class InLists(Layer):
    def __init__(self):
        super().__init__()
        self.grads = [np.zeros(W), [0.0] * 4]

    def put(self, w, b):
        self.grads[0] += w
        self.grads[1] = [old + float(new) for old, new in zip(self.grads[1], b, strict=True)]


class KeepsVelocity(Layer):
    """Of no name that says that it is the state of an optimizer, nor that it is a gradient."""

    def __init__(self):
        super().__init__()
        del self.dW, self.db
        self.other, self.another = np.zeros(W), np.zeros(4)

    def backward(self, g, lr=0.1):
        gx = gx_of(self.x, self.W, g)
        self.other, self.another = 0.9 * self.other + gw_of(self.x, g, W[2:]), 0.9 * self.another + gb_of(g)
        self.W -= lr * self.other
        self.b -= lr * self.another
        return gx


class Remembers(Layer):
    """Every input, until it is told to forget them: the backward is that of the first."""

    def __init__(self):
        super().__init__()
        self.inputs = []

    def forward(self, x):
        self.inputs.append(x)
        return super().forward(x)

    def backward(self, g):
        self.x = self.inputs[0]
        return super().backward(g)


def with_reset(kind):
    kind.zero_grad = lambda self: None
    return kind


HONEST = {
    "assigned": Layer,
    "added": putting(accumulate),
    "in place": putting(lambda s, w, b: (np.copyto(s.dW, w), np.copyto(s.db, b))),
    "lazily": putting(of_bias(lambda old, new: new if old is None else old + new), lazily),
    "zero": putting(accumulate, lambda s: setattr(s, "db", 0)),
    "integers": putting(accumulate, lambda s: setattr(s, "db", np.zeros(4, int))),
    "single": putting(accumulate, lambda s: setattr(s, "db", np.zeros(4, np.float32))),
    "every other": putting(lambda s, w, b: accumulate(s, w, b) if s.calls % 2 == 0 else Layer.put(s, w, b)),
    "start is overwritten": putting(Layer.put, nonzero),
    "reset first": with_reset(putting(accumulate, nonzero)),
    "lists": InLists,
    "velocity": KeepsVelocity,
    "remembers": Remembers,
    "a number": UpdatesANumber,
}


def found(kind, size=0):
    """The faults of a layer, by the words for them."""
    candidate = as_candidate(
        kind(), framework="numpy", dtype="float64", keywords={}, is_notebook=False, shapes=(X,), params={}
    )
    names, shapes = ("x", "w", "bias"), (X, W, (4,))
    roles = (Role.X, Role.W, Role.BIAS)
    vjps = {n: Question(Kind.VJP, roles[n], name, order=1) for n, name in enumerate(names)}
    rng = np.random.default_rng(0)
    first, second = ([rng.integers(-3, 4, shape).astype(float) for shape in shapes] for _ in range(2))
    g, other = (rng.integers(-3, 4, (2, 4, 4, 6)).astype(float) for _ in range(2))
    value = Question(Kind.VALUE, Role.G)
    trial = Trial(candidate, names, value, vjps, first, second, g, other, differ_as_integers, size, is_convolution=True)
    for _, cause, finding in layer_history.faults(trial):
        assert remedies.remedy(finding)
        yield cause, memory_wording.detail(finding, wording.question)


@pytest.mark.parametrize("name", FAULTS)
def test_what_is_taken_over_is_named(name):
    kind, cause, words = FAULTS[name]
    assert any(of == cause and words in detail for of, detail in found(kind)), list(found(kind))


@pytest.mark.parametrize("name", HONEST)
def test_a_layer_may_assign_its_gradients_or_add_them_up(name):
    assert list(found(HONEST[name])) == []


def test_a_layer_that_was_used_may_hold_gradients():
    kind = putting(accumulate)

    def used():
        layer = kind()
        layer.backward(np.ones_like(layer.forward(drawn(*X))))
        return layer

    assert list(found(used)) == []


@pytest.mark.parametrize("name", ["momentum", "start", "first input"])
def test_two_steps_of_a_large_layer_are_enough(name):
    kind, _, words = FAULTS[name]
    assert any(words in detail for _, detail in found(kind, 10**9))


def test_a_check_and_a_gradcheck_say_what_is_taken_over():
    momentum = FAULTS["momentum"][0]
    report = triconv.check(momentum(), triconv.conv2d, X)
    assert (report.verdict, report.cause) == ("wrong", "accumulated"), report
    assert "results after earlier calls: VJP of bias: the gradient depends on" in report.summary
    report = triconv.gradcheck(KeepsFirstInput(), X)
    assert (report.verdict, report.cause) == ("wrong", "stale cache"), report
    assert triconv.check(putting(accumulate, nonzero), triconv.conv2d, X, W).cause == "accumulated"
