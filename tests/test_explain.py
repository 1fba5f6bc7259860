"""What `explain` prints: names, the chosen kernel, and why a cheaper one was not taken."""

from __future__ import annotations

import re

import numpy as np
import pytest

import triconv
from triconv.cli import main


def test_explain(capsys):
    words = ["explain", "conv2d", "--shape", "2,3,8,8", "--shape", "4,3,3,3", "--stride", "2", "--padding", "valid"]
    assert main.main(words) == 0
    out = capsys.readouterr().out
    assert out.startswith("conv2d of numpy float32, groups=1\n")
    titles = re.findall(r"^(\w.*) \((conv\w*)\), 1,944 multiply-adds$", out, re.MULTILINE)
    assert titles == [
        ("forward", "conv"),
        ("input gradient", "conv_input_vjp"),
        ("weight gradient", "conv_weight_vjp"),
    ]


@pytest.mark.parametrize(
    ("op", "names"),
    [
        (
            "conv_transpose1d",
            {"conv_input_vjp": "forward", "conv": "input gradient", "conv_weight_vjp": "weight gradient"},
        ),
        ("conv1d", {"conv": "forward", "conv_input_vjp": "input gradient", "conv_weight_vjp": "weight gradient"}),
        (
            "conv2d_backward_weights",
            {"conv_weight_vjp": "forward", "conv": "gradient of upstream", "conv_input_vjp": "gradient of matrix"},
        ),
    ],
)
def test_explain_names_what_each_contraction_is_to_the_operator(op, names):
    shapes = {"conv1d": [(2, 3, 8), (4, 3, 3)], "conv_transpose1d": [(2, 4, 6), (4, 3, 3)]}.get(
        op, [(6, 7, 3), (4, 6, 1)]
    )
    explanation = triconv.explain(getattr(triconv, op), *shapes)
    assert {row.contraction: row.name for row in explanation.rows} == names
    titles = re.findall(r"^(\w[\w ]*) \(conv", str(explanation), re.MULTILINE)
    assert titles[0] == "forward"
    assert len(titles) == 3


@pytest.mark.parametrize(
    ("shapes", "params"),
    [
        (((2, 3, 8, 8), (4, 3, 3, 3)), {}),  # small
        (((8, 64, 56, 56), (64, 64, 3, 3)), {"padding": 1}),
        (((8, 96, 56, 56), (96, 1, 3, 3)), {"padding": 1, "groups": 96}),
        (((1, 4, 4096), (4, 1, 4096)), {"groups": 4}),
    ],
)
def test_explain_marks_the_chosen_row_and_says_why_a_cheaper_one_was_not_taken(lib, shapes, params):
    op = triconv.conv1d if len(shapes[0]) == 3 else triconv.conv2d
    arrays = [lib.array(np.zeros(shape, np.float32)) for shape in shapes]
    explanation = triconv.explain(op, *arrays, **params)
    parts = str(explanation).split("\n\n")[1:]
    for row, part in zip(explanation.rows, parts, strict=True):
        seconds = {candidate.algorithm: candidate.seconds for candidate in row.candidates}
        lines = {line[4:].split()[0]: line for line in part.splitlines()[3:]}
        for name, line in lines.items():
            assert (line[2] == "*") == (name == row.algorithm)
            assert line.endswith(f"; not taken: {row.reason}") == (seconds[name] < seconds[row.algorithm])


def test_memory_orders_are_those_of_the_call(jax, torch):
    last = ("last",) * 3
    x, w = jax.numpy.ones((2, 31, 31, 64)), jax.numpy.ones((3, 3, 64, 64))
    explanation = triconv.explain(triconv.conv, x, w, padding=1, layout="NHWC,HWIO->NHWC")
    assert [row.schedule.orders for row in explanation.rows] == [last] * 3
    x, w = torch.ones(2, 96, 31, 31).to(memory_format=torch.channels_last), torch.ones(96, 1, 3, 3)
    explanation = triconv.explain(triconv.conv2d, x, w, padding=1, groups=96)
    assert {row.schedule.orders[0] for row in explanation.rows} == {"last"}
