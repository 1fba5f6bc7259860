"""One element that is off by one unit at real size is wrong and is found; and mistakes of long signals are explained."""

from __future__ import annotations

import functools

import numpy as np
import pytest

import triconv
from triconv.checking.findings.protocol import Kind, Question, Role, Transform
from triconv.checking.oracles.convolution import ConvolutionProblem, Expectations
from triconv.checking.verdicts.check_context import CheckContext
from triconv.checking.verdicts.judge import judge
from triconv.checking.verdicts.probes import Probe


@pytest.mark.parametrize("role", ["g", "x", "w", "bias"])
def test_one_unit_for_integers_alone_is_wrong_and_located(role):
    """Random data are right, and those of 8 bits: so it is no rounding. The bias and the length need no table of both."""
    problem = ConvolutionProblem.of(triconv.conv1d, ((2, 2, 100_000), (3, 2, 7), (3,)), {"padding": 3})
    context = CheckContext(problem, "float32", None, 0)
    context.thorough = False
    answer = Expectations.value if role == "g" else functools.partial(Expectations.vjp, role=role)
    names = dict(zip(problem.roles, problem.names, strict=True))
    question = (
        Question(Kind.VALUE, Role.G)
        if role == "g"
        else Question(Kind.VJP, Role(role), name=names[role], order=1, transform=Transform.VJP)
    )
    index = {"g": (1, 2, 99_999), "x": (0, 1, 70_001), "w": (2, 0, 6), "bias": (1,)}[role]

    def ask(arrays):
        y = np.array(answer(Expectations(context.problem, arrays)))
        if arrays is context.arrays["exact"]:
            y[index] -= 1
        return y.astype(np.float32)

    row = judge(context, Probe(question, ask, answer))
    assert row.verdict == "wrong", row
    assert (row.evidence.index, row.evidence.wrong_elements) == (index, 1)


def test_a_gradient_of_a_long_signal_that_is_not_cropped_is_named():
    def forward(x, w):
        return triconv.conv1d(x, w, padding=2), (x, w)

    def backward(g, saved):
        x, w = saved
        gx = triconv.conv_input_vjp(g, w, input_size=(x.shape[2] + 4,))
        return gx, triconv.conv_weight_vjp(g, x, kernel_size=5, padding=2)

    report = triconv.check((forward, backward), triconv.conv1d, (1, 1, 60_000), (1, 1, 5), padding=2)
    assert (report.verdict, report.cause) == ("wrong", "padding not cropped"), report
