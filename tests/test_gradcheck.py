"""`gradcheck`: the derivatives of any function against its own values, exactly where it is a polynomial on a piece."""

from __future__ import annotations

import functools
import math

import numpy as np
import pytest

import triconv
from triconv.checking.functions import directional


def judged(report):
    return {row.what: row.verdict for row in report.rows}


# ---- directional derivatives from values


def line(f, seed=0, bits=20, size=40, most=32):
    rng = np.random.default_rng(seed)
    step = 2.0 ** (2 - bits)
    a, v = rng.integers(-(2**bits), 2**bits, size) * step, rng.integers(-most, most + 1, size) * 1.0
    return (lambda t: f(a + t * v)), step, a, v


@pytest.mark.parametrize(
    ("f", "df", "bits"),
    [
        (lambda x: 3 * x, lambda x: 3 + 0 * x, 20),
        (lambda x: x * x, lambda x: 2 * x, 13),
        (lambda x: x**3 - x, lambda x: 3 * x**2 - 1, 8),
        (lambda x: x**4 / 4, lambda x: x**3, 5),
        (lambda x: np.maximum(x, 0), lambda x: (x > 0) * 1.0, 20),
        (lambda x: np.clip(x, -1, 1), lambda x: (np.abs(x) < 1) * 1.0, 20),
    ],
)
def test_the_derivative_of_a_polynomial_is_exact(f, df, bits):
    values, step, a, v = line(f, bits=bits, most=4)
    found = directional.polynomial(values, step)
    assert found.is_exact.mean() > 0.9
    assert np.array_equal(found.value[found.is_exact], (df(a) * v)[found.is_exact])


@pytest.mark.parametrize("f", [np.tanh, np.exp, np.sin, lambda x: 1 / (1 + x * x), lambda x: x / 3 + np.arctan(x)])
def test_what_is_no_polynomial_has_no_exact_derivative(f):
    for bits in (20, 13, 8):
        values, step, _, v = line(f, bits=bits)
        found = directional.polynomial(values, step)
        assert not found.is_exact[v != 0].any()


@pytest.mark.parametrize(("f", "df"), [(np.tanh, lambda x: 1 - np.tanh(x) ** 2), (np.exp, np.exp), (np.sin, np.cos)])
def test_the_numerical_derivative_is_within_its_estimate(f, df):
    rng = np.random.default_rng(1)
    a, v = rng.standard_normal(50), rng.standard_normal(50)
    found = directional.extrapolated(lambda t: f(a + t * v))
    error = np.abs(found.value - df(a) * v)
    assert np.all(error <= 10 * found.error)
    assert np.all(error < 1e-10)


def test_a_kink_is_no_polynomial_and_not_smooth():
    def values(t):
        return np.abs(np.array([t, t + 0.5, t + 1.0, t + 2.0]))

    assert directional.polynomial(values, 1.0, (5,)).is_exact.tolist() == [False, False, False, True]
    assert directional.polynomial(values, 2.0**-10, (5,)).is_exact.tolist() == [False, True, True, True]
    assert directional.extrapolated(values).error[2] < 1e-10


# ---- pairs of NumPy functions


def relu(x):
    return np.maximum(x, 0), x


def matmul(x, w):
    return x @ w, (x, w)


def right_matmul(g, cache):
    x, w = cache
    return g @ w.T, x.T @ g


PAIRS = {
    "relu": (relu, lambda g, x: g * (x > 0), [(3, 4)]),
    "matmul": (matmul, right_matmul, [(3, 4), (4, 5)]),
    "cube": (lambda x: (x**3, x), lambda g, x: 3 * g * x**2, [(7,)]),
    "mean": (lambda x: (x.mean(axis=0), x.shape), lambda g, s: np.broadcast_to(g / s[0], s), [(3, 5)]),
    "tanh": (lambda x: (np.tanh(x), np.tanh(x)), lambda g, y: g * (1 - y * y), [(3, 4)]),
    "log": (lambda x: (np.log(x), x), lambda g, x: g / x, [(3, 4)]),
    "one": (lambda x: (x * x, x), lambda g, x: 2 * g * x, [(1,)]),
    "none": (lambda x: (x * x, x), lambda g, x: 2 * g * x, [(0, 3)]),
    "max pooling": (
        lambda x: (x.reshape(2, 3, 2).max(-1), x),
        lambda g, x: ((x.reshape(2, 3, 2) == x.reshape(2, 3, 2).max(-1, keepdims=True)) * g[..., None]).reshape(
            x.shape
        ),
        [(2, 6)],
    ),
}


@pytest.mark.parametrize("name", PAIRS)
def test_a_right_pair_is_right(name):
    forward, backward, shapes = PAIRS[name]
    report = triconv.gradcheck((forward, backward), *shapes)
    assert report.ok, report


BROKEN = {
    "relu without its mask": (relu, lambda g, x: g, [(3, 4)]),
    "leaky": (relu, lambda g, x: np.where(x > 0, g, 0.01 * g), [(3, 4)]),
    "sign": (matmul, lambda g, c: (-(g @ c[1].T), c[0].T @ g), [(3, 4), (4, 5)]),
    "factor": (matmul, lambda g, c: (g @ c[1].T, c[0].T @ g / 3), [(3, 4), (4, 5)]),
    "transposed": (matmul, lambda g, c: ((g @ c[1].T).T.copy(), c[0].T @ g), [(4, 4), (4, 4)]),
    "zero": (matmul, lambda g, c: (0 * c[0], c[0].T @ g), [(3, 4), (4, 5)]),
    "one element": (
        matmul,
        lambda g, c: (g @ c[1].T + (np.arange(12).reshape(3, 4) == 7), c[0].T @ g),
        [(3, 4), (4, 5)],
    ),
    "tanh of the wrong kind": (lambda x: (np.tanh(x), x), lambda g, x: g * (1 - x * x), [(3, 4)]),
    "relative error of 1e-6": (lambda x: (x**3, x), lambda g, x: 3 * (1 + 1e-6) * g * x**2, [(5,)]),
    "straight through": (lambda x: (np.round(x), x), lambda g, x: g, [(6,)]),
    "masked taps": (
        lambda w: (w * np.tri(4), None),
        lambda g, _: g,
        [(4, 4)],
    ),
    "not finite": (matmul, lambda g, c: (g @ c[1].T, c[0].T @ g * np.nan), [(3, 4), (4, 5)]),
    "shape": (matmul, lambda g, c: (g @ c[1].T, (c[0].T @ g)[:-1]), [(3, 4), (4, 5)]),
}
CAUSES = {
    "sign": "sign",
    "factor": "constant factor",
    "zero": "detached",
    "one element": "one element",
    "shape": "shape",
    "masked taps": "gradient of what is masked",
    "straight through": "straight-through",
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_pair_is_wrong(name):
    forward, backward, shapes = BROKEN[name]
    report = triconv.gradcheck((forward, backward), *shapes)
    assert report.verdict == "wrong", report
    assert report.cause == CAUSES.get(name, report.cause)


@pytest.mark.parametrize("seed", [10, 19])
def test_a_kink_near_the_point_is_no_wrong_tangent(torch, seed):
    rng = np.random.default_rng(seed)
    kinks = torch.from_numpy(rng.uniform(-1, 1, 96))
    x = kinks.numpy() + rng.choice([-1, 1], 96) * 2.0 ** -rng.uniform(2, 12, 96)
    report = triconv.gradcheck(lambda x: torch.exp(x) * (x - kinks).abs(), x, seed=seed)
    assert report.verdict != "wrong", report


def scaled(x):
    size = np.sqrt((x**2).sum())
    return x / size, size


def centered(x):
    return x - x.mean(1, keepdims=True), None


def changed(a, at, factor):
    a = a.copy()
    a[at] *= factor
    return a


SQUARES = [(4, 4), (4, 4)]
SAID = {
    "another operand transposed": (matmul, lambda g, c: (g @ c[1], c[0].T @ g), SQUARES, "axes 0, 1 of w exchanged"),
    "another in reverse": (
        matmul,
        lambda g, c: (g @ c[1][:, ::-1].T, c[0].T @ g),
        SQUARES,
        "w in reverse along axis 1",
    ),
    "another left out": (
        lambda x, w: (x * w + x, (x, w)),
        lambda g, c: (g, g * c[0]),
        SQUARES,
        "it is the derivative where w is zero: w is left out of it",
    ),
    "one row": (
        matmul,
        lambda g, c: (g @ c[1].T, changed(c[0].T @ g, 1, 2)),
        [(3, 4), (4, 5)],
        "it is wrong in slice 1 in axis 0 alone; there, every element is twice what it must be",
    ),
    "some rows reversed": (
        matmul,
        lambda g, c: (g @ c[1].T, np.concatenate([(c[0].T @ g)[:1], (c[0].T @ g)[1:, ::-1]])),
        [(3, 4), (4, 5)],
        "it is wrong in slices from 1 on in axis 0 alone; there, the result is reversed in axis 1",
    ),
    "rows exchanged": (
        matmul,
        lambda g, c: (g @ c[1].T, (c[0].T @ g)[[1, 0, 2, 3]]),
        [(3, 4), (4, 5)],
        "its slices in axis 0 are in another order: 1, 0, 2, 3",
    ),
    "norm": (scaled, lambda g, size: g / size, [(3, 4)], "when all of the array is multiplied by a number"),
    "mean": (centered, lambda g, _: g, [(3, 4)], "when a number is added to each slice along axis 0 of the array"),
}


@pytest.mark.parametrize("name", SAID)
def test_why_a_derivative_of_any_function_is_wrong(name):
    forward, backward, shapes, words = SAID[name]
    report = triconv.gradcheck((forward, backward), *shapes)
    assert report.verdict == "wrong"
    assert words in report.summary


def test_an_element_of_a_large_array_is_found_by_bisection(monkeypatch):
    from triconv.checking.functions import function_location

    monkeypatch.setattr(function_location, "SECONDS", 0.0)

    def backward(g, x):
        gx = 2 * g * x
        gx[57, 123] += 1
        return gx

    report = triconv.gradcheck((lambda x: (x * x, x), backward), (100, 200))
    assert report.verdict == "wrong"
    assert report.first_failed.evidence.index == (57, 123)


def test_a_factor_of_a_large_array_is_named(monkeypatch):
    from triconv.checking.functions import function_location

    monkeypatch.setattr(function_location, "SECONDS", 0.0)
    report = triconv.gradcheck((lambda x: (x * x, x), lambda g, x: 6 * g * x), (20, 30))
    assert "every element is 3 times what it must be" in report.summary


def test_noise_is_named():
    rng = np.random.default_rng(0)
    report = triconv.gradcheck((lambda x: (x + rng.random(x.shape), None), lambda g, c: g), (3,))
    assert report.cause == "nondeterministic"


def test_a_value_alone_is_not_right():
    report = triconv.gradcheck(lambda x: np.maximum(x, 0), (3,))
    assert (report.verdict, report.ok, bool(report)) == ("unchecked", False, False)
    assert "no derivative was asked" in report.summary


def test_integers_masks_and_other_values_are_constants():
    def forward(x, mask, power):
        return np.where(mask, x, 0) ** power, (x, mask, power)

    def backward(g, cache):
        x, mask, power = cache
        return np.where(mask, g * power * x ** (power - 1), 0)

    report = triconv.gradcheck((forward, backward), (4,), np.array([True, False, True, True]), 2)
    assert report.ok, report
    assert list(report.shapes) == ["x"]


def test_what_the_function_raises_is_reported():
    def f(x):
        msg = "no such thing"
        raise KeyError(msg)

    report = triconv.gradcheck((f, f), (3,))
    assert report.verdict == "unchecked"
    assert "no such thing" in report.summary


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "`shapes_or_arrays` must hold a shape"),
        (((3,), np.ones(3)), "must be all shapes"),
    ],
)
def test_a_call_without_sense_is_refused(arguments, words):
    with pytest.raises(TypeError, match=words):
        triconv.gradcheck(relu, *arguments)


def test_a_dtype_that_is_none_is_refused():
    with pytest.raises(ValueError, match="`dtype` must be one of"):
        triconv.gradcheck(relu, (3,), dtype="int8")


# ---- any function as `like`


def separable(x, w):
    return triconv.conv1d(triconv.conv1d(x, w[:, None, :3], groups=2), w[None, :, 3:])


def by_hand(scale=1.0):
    """A backward of `separable` from the two contractions of each step."""

    def forward(x, w):
        y = triconv.conv1d(x, w[:, None, :3], groups=2)
        return triconv.conv1d(y, w[None, :, 3:]), (x, w, y)

    def backward(g, cache):
        x, w, y = cache
        gy = triconv.conv_input_vjp(g, w[None, :, 3:], input_size=y.shape[2])
        gw = np.zeros_like(w)
        gw[:, 3:] = triconv.conv_weight_vjp(g, y, kernel_size=1)[0]
        gw[:, :3] = triconv.conv_weight_vjp(gy, x, kernel_size=3, groups=2)[:, 0]
        return scale * triconv.conv_input_vjp(gy, w[:, None, :3], input_size=x.shape[2], groups=2), gw

    return forward, backward


def test_like_may_be_any_function():
    assert triconv.check(by_hand(), separable, (2, 2, 7), (2, 4)).ok
    report = triconv.check(by_hand(2.0), separable, (2, 2, 7), (2, 4))
    assert (report.verdict, report.cause) == ("wrong", "constant factor")
    other = triconv.check(by_hand(), lambda x, w: separable(x, w) + 1, (2, 2, 7), (2, 4))
    assert judged(other)["value"] == "wrong"


def test_like_may_be_a_partial_operator():
    like = functools.partial(triconv.conv1d, stride=2)
    report = triconv.check(triconv.Rules(like), like, (2, 2, 7), (3, 2, 3))
    assert report.like == "conv1d"
    assert report.params == {"stride": 2}


def test_without_like_check_is_gradcheck():
    report = triconv.check((relu, lambda g, x: g * (x > 0)), (3, 4))
    assert report.ok
    assert report.like == ""
    with pytest.raises(TypeError, match="`like` must be given with parameters"):
        triconv.check((relu, relu), (3, 4), stride=2)


# ---- the frameworks


def test_functions_of_torch():
    torch = pytest.importorskip("torch")
    functional = torch.nn.functional

    class Straight(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return torch.sign(x)

        @staticmethod
        def backward(ctx, g):
            return g

    class Doubled(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return x * x

        @staticmethod
        def backward(ctx, g):
            (x,) = ctx.saved_tensors
            return 2 * (g * x).detach()

    assert triconv.gradcheck(functional.softmax, (3, 5), kwargs={"dim": -1}).ok
    assert triconv.gradcheck(lambda x: (torch.relu(x), torch.tanh(x).sum()), (3, 5)).ok
    assert triconv.gradcheck(Straight.apply, (5,)).verdict == "wrong"
    report = triconv.gradcheck(Doubled.apply, (5,))
    assert {what for what, verdict in judged(report).items() if verdict == "wrong"} == {
        "second order of x (reverse over reverse)",
        "second order of the cotangent (reverse over reverse)",
    }


def test_second_order_may_be_zero():
    torch = pytest.importorskip("torch")
    report = triconv.gradcheck(lambda x, b: torch.relu(x) * x + b, (3, 4), (4,))
    assert report.ok, str(report)
    assert {row.verdict for row in report.rows if row.question.order == 2} == {"right"}


def test_a_saturated_softmax_is_right():
    torch = pytest.importorskip("torch")
    report = triconv.gradcheck(lambda x: torch.softmax(8 * x @ x.T, -1) @ x, (3, 4))
    assert report.ok, str(report)


def test_functions_of_jax():
    jax = pytest.importorskip("jax")
    jnp = jax.numpy

    @jax.custom_vjp
    def f(x, w):
        return jnp.maximum(x @ w, 0)

    f.defvjp(lambda x, w: (f(x, w), (x, w)), lambda s, g: (g @ s[1].T, s[0].T @ (g * (s[0] @ s[1] > 0))))
    report = triconv.gradcheck(f, (3, 4), (4, 2))
    assert [row.question.name for row in report.rows if row.verdict == "wrong"] == ["x"]
    assert triconv.gradcheck(lambda x: jnp.fft.fft(x), (6,), dtype="complex128", framework="jax").ok
    assert triconv.gradcheck(lambda x: {"a": jnp.sin(x), "b": [x.sum()]}, (4,)).ok
    assert math.prod(report.shapes["x"]) == 12
