"""What the checker takes for rounding, and what not: honest algorithms and narrow ones, on ordinary and on odd data."""

from __future__ import annotations

import re

import numpy as np
import pytest

import triconv
from kept_results import keeping
from triconv.checking.oracles import definition

SHAPES = (2, 3, 8, 8), (4, 3, 3, 3)


def rules(forward, like=triconv.conv2d, **params):
    """Rules whose VJPs are triconv's own, so that the forward alone is in question."""

    def vjp(n):
        return lambda g, other: pulled(g, other)[n]

    def pulled(g, other):
        x, w = (other, None) if other.shape[2:] != (3, 3) else (None, other)
        if w is None:
            w = np.zeros((g.shape[1], x.shape[1], 3, 3), g.dtype)
        else:
            x = np.zeros((g.shape[0], w.shape[1], g.shape[2] + 2, g.shape[3] + 2), g.dtype)
        return triconv.vjp(like, x, w, **params)[1](g)

    return triconv.Rules(forward, vjp(0), vjp(1))


def windows(x, kernel=3):
    return np.lib.stride_tricks.sliding_window_view(x, (kernel, kernel), axis=(2, 3))


def by_einsum(x, w, dtype=None):
    y = np.einsum("nchwij,kcij->nkhw", windows(x), w, dtype=dtype or x.dtype)
    return y.astype(x.dtype)


def by_fft(x, w, wide):
    sizes = (x.shape[2], x.shape[3])
    fx = np.fft.rfftn(x.astype(wide), sizes, axes=(2, 3)).astype(np.result_type(wide, np.complex64))
    fw = np.fft.rfftn(w.astype(wide), sizes, axes=(2, 3)).astype(np.result_type(wide, np.complex64))
    y = np.fft.irfftn(np.einsum("nchw,kchw->nkhw", fx, fw.conj()), sizes, axes=(2, 3))
    return y[..., : x.shape[2] - 2, : x.shape[3] - 2].astype(x.dtype)


F2 = (
    np.array([[1, 0, -1, 0], [0, 1, 1, 0], [0, -1, 1, 0], [0, 1, 0, -1]]),
    np.array([[1, 0, 0], [0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0, 0, 1]]),
    np.array([[1, 1, 1, 0], [0, 1, -1, -1]]),
)
F4 = (
    np.array(
        [
            [4, 0, -5, 0, 1, 0],
            [0, -4, -4, 1, 1, 0],
            [0, 4, -4, -1, 1, 0],
            [0, -2, -1, 2, 1, 0],
            [0, 2, -1, -2, 1, 0],
            [0, 4, 0, -5, 0, 1],
        ]
    ),
    np.array([[6, 0, 0], [-4, -4, -4], [-4, 4, -4], [1, 2, 4], [1, -2, 4], [0, 0, 24]]) / 24,
    np.array([[1, 1, 1, 1, 1, 0], [0, 1, -1, 2, -2, 0], [0, 1, 1, 4, 4, 0], [0, 1, -1, 8, -8, 1]]),
)


def by_winograd(x, w, matrices):
    b, g, a = (m.astype(x.dtype) for m in matrices)
    tile, step = b.shape[0], a.shape[0]
    rest = -(x.shape[2] - 2) % step
    padded = np.pad(x, ((0, 0), (0, 0), (0, rest), (0, rest)))
    tiles = windows(padded, tile)[:, :, ::step, ::step]
    u = np.einsum("ai,kcij,bj->kcab", g, w, g)
    v = np.einsum("ai,nchwij,bj->nchwab", b, tiles, b)
    y = np.einsum("ia,nkhwab,jb->nkhiwj", a, np.einsum("kcab,nchwab->nkhwab", u, v), a)
    y = y.reshape(*y.shape[:2], y.shape[2] * step, -1)
    return y[:, :, : x.shape[2] - 2, : x.shape[3] - 2].astype(x.dtype)


HONEST = {
    "einsum": by_einsum,
    "sums in double": lambda x, w: by_einsum(x, w, np.float64),
    "taps in reverse": lambda x, w: by_einsum(x[..., ::-1, ::-1], w[..., ::-1, ::-1])[..., ::-1, ::-1],
    "FFT in single": lambda x, w: by_fft(x, w, np.float32),
    "FFT in double": lambda x, w: by_fft(x, w, np.float64),
    "Winograd F(2, 3)": lambda x, w: by_winograd(x, w, F2),
    "Winograd F(4, 3)": lambda x, w: by_winograd(x, w, F4),
    "channels in pairs": lambda x, w: sum(by_einsum(x[:, c : c + 1], w[:, c : c + 1]) for c in range(x.shape[1])),
}


FORMS = [SHAPES, ((1, 16, 12, 12), (5, 16, 3, 3)), ((3, 1, 6, 6), (1, 1, 3, 3))]


@pytest.mark.parametrize(
    ("name", "shapes", "seed"),
    [
        pytest.param(name, shapes, seed, marks=[] if (n + m) % 3 == seed else pytest.mark.slow)
        for n, name in enumerate(HONEST)
        for m, shapes in enumerate(FORMS)
        for seed in range(3)
    ],
)
def test_an_honest_algorithm_is_right(name, shapes, seed, plain_questions):
    report = triconv.check(rules(HONEST[name]), triconv.conv2d, *shapes, dtype="float32", seed=seed)
    assert report.ok, report


@pytest.mark.parametrize(
    ("shapes", "seed"),
    [
        (((3, 1, 6, 6), (1, 1, 3, 3)), 3),
        (((1, 1, 8, 8), (1, 1, 3, 3)), 19),
        (((1, 16, 12, 12), (5, 16, 3, 3)), 9),
        (((2, 3, 14, 14), (4, 3, 3, 3)), 2),
    ],
)
def test_winograd_of_larger_tiles_is_right(shapes, seed, plain_questions):
    """Its errors were taken for a factor, or for elements that stand out: the last outputs of a tile are less precise."""
    report = triconv.check(rules(HONEST["Winograd F(4, 3)"]), triconv.conv2d, *shapes, dtype="float32", seed=seed)
    assert report.ok, report


@pytest.mark.parametrize("positive", [False, True])
def test_an_fft_of_given_arrays_is_right(positive, plain_questions):
    rng = np.random.default_rng(0)
    x, w = (rng.standard_normal(shape).astype(np.float32) for shape in SHAPES)
    arrays = (np.abs(x) + 3, np.abs(w)) if positive else (x, w)
    assert triconv.check(rules(lambda x, w: by_fft(x, w, np.float32)), triconv.conv2d, *arrays).ok


def narrowed(a, bits):
    """Round to so many bits of significand, as a float8 or a bfloat16 does."""
    mantissa, exponent = np.frexp(a)
    return np.ldexp(np.rint(mantissa * 2**bits) / 2**bits, exponent).astype(a.dtype)


def one_wrong(x, w):
    y = by_einsum(x, w)
    if not np.array_equal(x, np.rint(x)):
        y[0, 1, 2, 3] += np.float32(1e-4)
    return y


NARROW = {
    "one wrong element": one_wrong,
    "something added": lambda x, w: by_einsum(x, w) + np.float32(1e-5),
    "fixed point": lambda x, w: (np.rint(by_einsum(x, w, np.float64) * 2**14) / 2**14).astype(x.dtype),
    "fixed-point operands": lambda x, w: by_einsum(np.rint(x * 2**12) / np.float32(2**12), w),
    "float8 operands": lambda x, w: by_einsum(narrowed(x, 4), narrowed(w, 4)),
    "zero unless integers": lambda x, w: by_einsum(x, w) * np.float32(np.array_equal(x, np.rint(x))),
}


@pytest.mark.parametrize("precision", [None, "tf32", "bfloat16"])
@pytest.mark.parametrize("name", NARROW)
def test_a_narrow_algorithm_is_not_right(name, precision, verdict_alone, plain_questions):
    """Whatever is declared, for what is no such precision."""
    if precision and name in ("one wrong element", "something added", "fixed point", "fixed-point operands"):
        pytest.skip("within the precision that is declared")
    for seed in range(3):
        report = triconv.check(
            keeping(rules(NARROW[name])), triconv.conv2d, *SHAPES, dtype="float32", seed=seed, precision=precision
        )
        assert not report.ok
        assert report.verdict == ("imprecise" if name == "float8 operands" else "wrong"), report


def half(y, dtype):
    import ml_dtypes

    return y.astype(getattr(ml_dtypes, dtype, None) or dtype)


@pytest.mark.parametrize("channels", [2, pytest.param(64, marks=pytest.mark.slow)])
def test_half_width_has_sums_in_single(torch, channels, verdict_alone, plain_questions):
    shapes = (2, channels, 6, 6), (4, channels, 3, 3)
    conv = torch.nn.functional.conv2d
    for dtype in ("bfloat16", "float16"):
        assert triconv.check(
            lambda x, w: conv(x.float(), w.float()).to(x.dtype), triconv.conv2d, *shapes, dtype=dtype
        ).ok

        def zero(x, w):
            return conv(x.float(), w.float()).to(x.dtype) * (x == x.round()).all()

        report = triconv.check(zero, triconv.conv2d, *shapes, dtype=dtype)
        assert report.verdict == "wrong"

        def in_half(x, w):
            y = 0
            for i in range(3):
                for j in range(3):
                    for c in range(x.shape[1]):
                        y = y + x[:, c, None, i : i + 4, j : j + 4] * w[:, c, i, j].reshape(1, -1, 1, 1)
            return y

        report = triconv.check(in_half, triconv.conv2d, *shapes, dtype=dtype, framework="torch")
        assert (report.verdict, "take the sums in float32" in report.summary) == ("imprecise", True), report


def test_single_inside_of_double_is_imprecise_and_says_so():
    conv = rules(lambda x, w: by_einsum(np.float32(x), np.float32(w)).astype(x.dtype))
    report = triconv.check(conv, triconv.conv2d, (2, 30, 8, 8), (4, 30, 3, 3), dtype="float64")
    assert report.verdict == "imprecise"
    assert "computed in float32" in report.summary


def test_a_tiny_difference_is_printed_with_digits_that_differ():
    conv = rules(lambda x, w: by_einsum(x, w) * np.float64(1 + 1e-9))
    report = triconv.check(conv, triconv.conv2d, *SHAPES, dtype="float64")
    row = next(row for row in report.rows if row.verdict == "wrong")
    found, expected = re.search("it is (.*), must be (.*);", row.detail).groups()
    assert found != expected
    assert abs(float(found) - float(expected)) < 1e-7
    assert report.cause == "constant factor"


@pytest.mark.parametrize("shape", [(1, 4, 1, 1), (4, 1)])
def test_a_bias_gradient_with_kept_axes_says_so(shape):
    conv = triconv.Rules(triconv.conv2d, bias_vjp=lambda g: g.sum(axis=(0, 2, 3)).reshape(shape))
    report = triconv.check(conv, triconv.conv2d, *SHAPES, (4,))
    assert (report.verdict, report.cause) == ("wrong", "kept axes")


def test_a_factor_has_the_names_of_all_sizes_that_it_is():
    def twice(g, x):
        return 2 * triconv.conv_weight_vjp(g, x, kernel_size=(3, 3))

    conv = triconv.Rules(triconv.conv2d, weight_vjp=twice)
    assert "twice what it must be (2 is the batch size);" in triconv.check(conv, triconv.conv2d, *SHAPES).summary
    both = triconv.check(conv, triconv.conv2d, (2, 2, 8, 8), (4, 2, 3, 3)).summary
    assert "twice what it must be (2 is the batch size or the number of input channels);" in both
    assert "twice what it must be;" in triconv.check(conv, triconv.conv2d, (3, 5, 8, 8), (4, 5, 3, 3)).summary


INTEGERS = ("int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64")


@pytest.mark.parametrize("dtype", INTEGERS)
def test_integers_of_every_width(dtype):
    report = triconv.check(triconv.conv2d, triconv.conv2d, *SHAPES, dtype=dtype)
    assert report.ok, report
    rng = np.random.default_rng(0)
    info = np.iinfo(dtype)
    arrays = [rng.integers(info.min, info.max, shape, dtype, endpoint=True) for shape in SHAPES]  # sums wrap around
    assert triconv.check(triconv.conv2d, triconv.conv2d, *arrays).ok


@pytest.mark.once
@pytest.mark.parametrize(
    ("dtype", "narrow"), [("int32", "int16"), ("int64", "int32"), ("uint32", "uint8"), ("int64", "float64")]
)
def test_sums_of_narrower_integers_are_wrong(dtype, narrow, verdict_alone):
    def narrowed(x, w):
        return by_einsum(x.astype(narrow), w.astype(narrow)).astype(x.dtype)

    assert triconv.check(narrowed, triconv.conv2d, *SHAPES, dtype=dtype).verdict == "wrong"
    ones = [np.ones(shape, dtype) for shape in SHAPES]  # their sums fit into the narrower dtype
    assert triconv.check(narrowed, triconv.conv2d, *ones).verdict == "wrong"


def test_integers_of_jax_and_torch(jax, torch):
    for framework in ("jax", "torch"):
        for dtype in ("int32", "int64", "int8"):
            report = triconv.check(triconv.conv2d, triconv.conv2d, *SHAPES, dtype=dtype, framework=framework)
            assert report.ok, report


def odd_arrays(kind):
    rng = np.random.default_rng(0)
    x, w = (rng.standard_normal(shape).astype(np.float32) for shape in SHAPES)
    if kind == "a NaN":
        x[0, 1, 2, 3] = np.nan
    elif kind == "an infinity":
        w[1, 0, 0, 0] = np.inf
    elif kind == "huge":
        x, w = x * np.float32(1e30), w * np.float32(1e10)
    elif kind == "tiny":
        x, w = x * np.float32(1e-30), w * np.float32(1e-20)
    elif kind == "denormal":
        x = x * np.float32(1e-40)
    elif kind == "on the edge":
        x, w = x * np.float32(1e20), w * np.float32(1.5e18)
    return x, w


ODD = ("a NaN", "an infinity", "huge", "tiny", "denormal", "on the edge")


# on JAX, which compiles each: of what is not finite, and of what it flushes to zero; torch's own convolution has every kind
FEW = ("a NaN", "denormal", "on the edge")


@pytest.mark.parametrize(
    ("framework", "kind"),
    [
        pytest.param(name, kind, marks=pytest.mark.slow if name != "numpy" and kind not in FEW else [])
        for name in ("numpy", "jax", "torch")
        for kind in ODD
    ],
)
def test_odd_arrays_raise_no_alarm(framework, kind, request):
    x, w = odd_arrays(kind)
    if framework != "numpy":
        request.getfixturevalue(framework)
    with np.errstate(all="ignore"):
        report = triconv.check(triconv.conv2d, triconv.conv2d, x, w, framework=framework)
    assert report.ok, report


@pytest.mark.parametrize("kind", ODD)
def test_odd_arrays_raise_no_alarm_at_torchs_own(kind, torch):
    x, w = map(torch.tensor, odd_arrays(kind))
    assert triconv.check(torch.nn.functional.conv2d, triconv.conv2d, x, w).ok


@pytest.mark.parametrize("kind", ODD[:2])
def test_what_is_not_finite_must_arrive(kind):
    x, w = odd_arrays(kind)
    with np.errstate(all="ignore"):
        report = triconv.check(
            rules(lambda x, w: by_einsum(np.nan_to_num(x, posinf=0), np.nan_to_num(w, posinf=0))), triconv.conv2d, x, w
        )
    assert (report.verdict, report.cause) == ("wrong", "not a number")


def test_given_arrays_are_used_in_every_dtype(torch, verdict_alone):
    """A candidate that is wrong for one number is found if that number is given."""
    for dtype in ("complex64", "bfloat16", "int32"):
        x, w = (torch.ones(shape, dtype=getattr(torch, dtype)) for shape in SHAPES)
        x[0, 0, 0, 0] = 77

        def conv(x, w):
            return torch.nn.functional.conv2d(torch.where(x == 77, torch.ones_like(x), x), w)

        report = triconv.check(conv, triconv.conv2d, x, w)
        assert report.verdict == "wrong", report
        assert report.dtype == dtype


@pytest.mark.parametrize(
    "shapes", [((0, 3, 8, 8), (4, 3, 3, 3)), ((2, 0, 8, 8), (4, 0, 3, 3)), ((2, 3, 8, 8), (0, 3, 3, 3))], ids=str
)
def test_convolutions_of_nothing_are_right(shapes, torch):
    for framework in ("numpy", "torch"):
        report = triconv.check(triconv.conv2d, triconv.conv2d, *shapes, framework=framework)
        assert report.ok, report


def test_the_oracle_is_linear_in_the_length(monkeypatch):
    """Each tap is tried once at every output, for all questions together."""
    tried = []
    real = definition.by_tap.__wrapped__

    def by_tap(axis):
        tried.append(axis.kernel_size * definition.output_size(axis))
        return real(axis)

    import functools

    monkeypatch.setattr(definition, "by_tap", functools.lru_cache(by_tap))
    assert triconv.check(triconv.conv1d, triconv.conv1d, (1, 1, 2048), (1, 1, 9)).ok
    assert sum(tried) <= 2 * 9 * 2040
