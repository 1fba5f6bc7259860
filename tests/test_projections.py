"""The exact test by random projections: it agrees with loops by definition, and misses what the bound says."""

from __future__ import annotations

import functools
import math

import numpy as np
import pytest

import triconv
from test_check import random_question
from triconv.checking.oracles import definition, drawn_data, exact_transform, modular, projections, tap_sums
from triconv.checking.oracles.convolution import ConvolutionProblem, Expectations
from triconv.checking.oracles.projections import PRIMES, ProjectionTest, miss_probability

PRIME = PRIMES[0]


def vjp(role):
    return functools.partial(Expectations.vjp, role=role)


ANSWERS = [
    (0, Expectations.value),
    (0, Expectations.of_tangents),
    (0, Expectations.jvp),
    (1, vjp("x")),
    (2, vjp("w")),
    (2, functools.partial(Expectations.second, role="w")),
]


def answers(problem):
    """Every answer of a problem, by the role of its result."""
    for role, answer in ANSWERS:
        yield (
            (problem.result if role == 0 else problem.operands[role - 1]),
            (answer if role == 0 else functools.partial(answer.func, role=problem.operands[role - 1])),
        )
    if "bias" in problem.roles:
        yield "bias", vjp("bias")


def check(problem, dtype, seed):
    """Every right answer passes, and one unit more anywhere does not, at its position and group."""
    rng = np.random.default_rng(seed)
    arrays = drawn_data.draw(problem, dtype, seed, None)[1]
    truth, test = Expectations(problem, arrays), ProjectionTest.of(problem, arrays, rng)
    for role, answer in answers(problem):
        right = answer(truth)
        assert not test.wrong_positions(role, answer, right).any(), (role, answer)
        if not right.size:
            continue
        index = tuple(int(rng.integers(0, size)) for size in right.shape)
        wrong = right.copy()
        wrong[index] += rng.choice([-1, 1, 0.5]) if wrong.dtype.kind == "f" else 1
        found = np.argwhere(test.wrong_positions(role, answer, wrong)).tolist()
        axis = 0 if role == "w" else 1
        of_group = max(1, right.shape[axis] // problem.model.groups) if role != "bias" else 1
        assert found == [[index[axis] // of_group, *index[2:]] if role != "bias" else list(index)]


@pytest.mark.parametrize("few_taps", [64, 0], ids=["taps", "transforms"])
@pytest.mark.parametrize("start", range(0, 120, 40))
def test_projections_agree_with_the_definition(start, few_taps, monkeypatch):
    """Random geometries of one to three axes, real, complex and integer, by both ways to sum over taps."""
    monkeypatch.setattr(projections, "FEW_TAPS", few_taps)
    for seed in range(start, start + 40):
        shapes, params = random_question(np.random.default_rng(seed))
        problem = ConvolutionProblem.of(triconv.conv, shapes, params)
        check(problem, ("float32", "complex64", "int32")[seed % 3], seed)


@pytest.mark.parametrize(
    ("operator", "shapes", "params"),
    [
        ("conv2d", ((3, 4, 6, 5), (6, 2, 3, 2), (6,)), {"groups": 2, "padding": (2, 1), "padding_mode": "reflect"}),
        ("conv1d", ((3, 4, 6), (2, 4, 3), (2,)), {"padding": 2, "padding_mode": "circular"}),
        ("conv_transpose2d", ((2, 4, 3, 4), (4, 3, 2, 3), (6,)), {"stride": 2, "output_padding": 1, "groups": 2}),
        ("conv_weight_vjp", ((2, 4, 3), (2, 4, 7)), {"kernel_size": 3, "stride": 2, "groups": 2}),
        ("conv2d_forward", ((6, 5, 3), (2, 3, 3)), {}),
        ("conv", ((2, 5, 5, 4), (3, 3, 2, 6)), {"layout": "NHWC,HWIO->NHWC", "groups": 2}),
    ],
)
def test_projections_of_every_operator(operator, shapes, params):
    """Biases, padding modes, groups, layouts, transposed convolutions."""
    problem = ConvolutionProblem.of(getattr(triconv, operator), shapes, params)
    for dtype in ("float64", "complex128"):
        check(problem, dtype, 0)


@pytest.mark.parametrize("trials", [20_000, pytest.param(1_000_000, marks=pytest.mark.slow)])
@pytest.mark.parametrize("prime", [11, 101])
def test_as_many_single_faults_are_missed_as_the_bound_says(trials, prime):
    """Each group is a trial: it has vectors of its own, and one fault of its own, in a gradient of 3 by 2 channels."""
    groups, rng = trials, np.random.default_rng(prime)
    shapes = (1, 2 * groups, 1), (3 * groups, 2, 1)
    problem = ConvolutionProblem.of(triconv.conv, shapes, {"groups": groups})
    arrays = drawn_data.draw(problem, "float32", 0, None)[1]
    test = ProjectionTest.of(problem, arrays, rng, primes=(prime,))
    wrong = Expectations(problem, arrays).vjp("w").reshape(groups, 3, 2)
    amount = rng.integers(1, prime, groups) * rng.choice([-1, 1], groups)
    wrong[np.arange(groups), rng.integers(0, 3, groups), rng.integers(0, 2, groups)] += amount
    seen = test.wrong_positions("w", vjp("w"), wrong.reshape(3 * groups, 2, 1))
    bound = test.missed("w")
    assert bound == pytest.approx(1 - (1 - 1 / prime) ** 2)
    missed, spread = trials - int(seen.sum()), math.sqrt(trials * bound * (1 - bound))
    assert abs(missed - trials * bound) < 5 * spread
    wrong = wrong + rng.integers(1, prime, wrong.shape)  # many faults: no more are missed than of one
    missed = trials - int(test.wrong_positions("w", vjp("w"), wrong.reshape(3 * groups, 2, 1)).sum())
    assert missed < trials * bound + 5 * spread


def test_the_bound_of_a_miss():
    assert miss_probability(0) == 0
    assert miss_probability(2) == pytest.approx(4 / (PRIMES[0] * PRIMES[1]))
    assert miss_probability(1, (101,)) == pytest.approx(1 / 101)


@pytest.mark.parametrize("prime", [None, PRIME, 101])
def test_products_of_integers_are_exact(prime):
    rng = np.random.default_rng(0)
    for bits_a, bits_b, terms in ((31, 31, 300), (31, 24, 64), (31, 52, 100), (5, 5, 9), (20, 20, 3000)):
        if prime is None and bits_a + bits_b > 50:
            continue
        a = rng.integers(-(2**bits_a) + 1, 2**bits_a, (2, 3, terms))
        b = rng.integers(-(2**bits_b) + 1, 2**bits_b, (2, terms, 2)).astype(np.float64)
        right = a.astype(object) @ b.astype(np.int64).astype(object)
        np.testing.assert_array_equal(modular.matmul(a, b, prime), right % prime if prime else right)


@pytest.mark.parametrize("role", ["g", "x", "w"])
def test_transforms_in_blocks_are_exact(role):
    """A signal of several blocks and residues of 31 bits, against the sum tap by tap."""
    axis = definition.AxisParameters(30_000, 40, 2, 3, 1, 5, -7)
    sizes = {"x": axis.input_size, "g": definition.output_size(axis), "w": axis.kernel_size}
    rng = np.random.default_rng(0)
    first, second = (rng.integers(0, PRIME, (2, 3, sizes[r])) for r in {"g": "xw", "x": "gw", "w": "xg"}[role])
    assert exact_transform._grids((axis,))[0].block < definition.output_size(axis)
    np.testing.assert_array_equal(
        exact_transform.contract((axis,), role, first, second, PRIME),
        tap_sums.contract((axis,), role, first, second, PRIME),
    )


def test_what_is_no_whole_number_is_wrong():
    problem = ConvolutionProblem.of(triconv.conv2d, ((2, 3, 5, 5), (4, 3, 2, 2)), {})
    arrays = drawn_data.draw(problem, "float64", 0, None)[1]
    test, right = ProjectionTest.of(problem, arrays), Expectations(problem, arrays).value()
    for amount in (0.25, 2.0**60, -(2.0**70)):
        wrong = right.copy()
        wrong[1, 3, 2, 1] += amount
        assert np.argwhere(test.wrong_positions("g", Expectations.value, wrong)).tolist() == [[0, 2, 1]]
    assert test.wrong_positions("g", Expectations.value, right + 1j).all()
