"""The replacements for lax's convolutions, against lax: values, dtypes, derivatives, refusals, drawn from its own grids."""

from __future__ import annotations

import random

import numpy as np
import pytest

import triconv

pytestmark = pytest.mark.versions
DTYPES = ["bool", "int8", "uint8", "int32", "uint16", "float16", "bfloat16", "float32", "float64"]
DTYPES += ["complex64", "complex128"]
PREFERRED = [
    ("float16", "float32"),
    ("bfloat16", "float64"),
    ("float32", "float64"),
    ("int8", "int32"),
    ("int8", "bfloat16"),
    ("uint8", "int16"),
    ("int16", "float32"),
    ("complex64", "complex128"),
    ("bool", "int32"),
]


class Draw:
    """One call of `lax.conv_general_dilated`, drawn at random, with small integers for arrays."""

    def __init__(self, jax, seed: int) -> None:
        self.jax, self.rng, pick = jax, np.random.default_rng(seed), random.Random(seed)
        batch_groups, groups = pick.choice([(1, 1), (2, 1), (1, 2)])
        n, c, k = (pick.choice([1, 2, 3]) for _ in "nck")
        spatial = "HWD"[: pick.choice([0, 1, 2, 2, 2, 3])]
        sizes = {"N": n * batch_groups, "C": c * groups} | {s: pick.choice([0, 3, 6, 7, 9]) for s in spatial}
        kernel = {"O": k * groups * batch_groups, "I": c} | {s: pick.choice([1, 2, 3, 4]) for s in spatial}
        names = tuple("".join(pick.sample(head + spatial, len(head + spatial))) for head in ("NC", "OI", "NC"))
        if pick.random() < 0.3:
            names = ("NC" + spatial, "OI" + spatial, "NC" + spatial)
        self.shapes = [tuple(sizes[s] for s in names[0]), tuple(kernel[s] for s in names[1])]
        numbers = jax.lax.conv_dimension_numbers(*self.shapes, names)
        plain = all(spec == tuple(range(len(names[0]))) for spec in numbers)
        padding = [(pick.choice([-1, 0, 1, 2, 10]), pick.choice([-1, 0, 1, 2, 8])) for _ in spatial]
        named = pick.random() < 0.3
        self.dtype, preferred = pick.choice(PREFERRED) if pick.random() < 0.25 else (pick.choice(DTYPES), None)
        self.params = {
            "window_strides": [pick.choice([1, 2, 3]) for _ in spatial],
            "padding": pick.choice(["VALID", "SAME", "SAME_LOWER", "same"]) if named else padding,
            "lhs_dilation": None if named else [pick.choice([1, 1, 2, 4]) for _ in spatial],
            "rhs_dilation": [pick.choice([1, 1, 2, 4]) for _ in spatial],
            "dimension_numbers": None if plain else pick.choice([names, numbers]),
            "feature_group_count": groups,
            "batch_group_count": batch_groups,
            "precision": pick.choice([None, "highest", "high", jax.lax.Precision.DEFAULT, ("default", "highest")]),
            "preferred_element_type": preferred,
        }
        self.batch_axes = (pick.choice([None, *range(len(names[0]) + 1)]), pick.randrange(len(names[1]) + 1))

    def array(self, shape, dtype=None):
        values = self.rng.integers(-3, 4, shape)
        dtype = dtype or self.dtype
        if dtype == "bool":
            values = values > 1
        elif dtype.startswith("u"):
            values = abs(values)
        elif dtype.startswith("c"):
            values = values + 1j * self.rng.integers(-3, 4, shape)
        return self.jax.numpy.asarray(values).astype(dtype)

    def theirs(self, x, w):
        return self.jax.lax.conv_general_dilated(x, w, **self.params)

    def ours(self, x, w):
        return triconv.jax.conv_general_dilated(x, w, **self.params)


def assert_same(left, right, jax):
    for a, b in zip(jax.tree.leaves(left), jax.tree.leaves(right), strict=True):
        assert (a.shape, a.dtype) == (b.shape, b.dtype)
        np.testing.assert_array_equal(np.asarray(a).astype(complex), np.asarray(b).astype(complex))


def check(jax, seed):
    """Everything that JAX's own tests of its convolution ask, bit for bit."""
    draw = Draw(jax, seed)
    x, w = map(draw.array, draw.shapes)
    try:
        expected = draw.theirs(x, w)
    except ValueError as refused:
        with pytest.raises(type(refused)):
            draw.ours(x, w)
        return
    assert_same(draw.ours(x, w), expected, jax)
    if not jax.numpy.issubdtype(x.dtype, jax.numpy.inexact):
        return
    g = draw.array(expected.shape).astype(expected.dtype)
    xs = x if draw.batch_axes[0] is None else jax.numpy.stack([x, -x, 2 * x], draw.batch_axes[0])
    ws = jax.numpy.stack([w, 2 * w, -w], draw.batch_axes[1])

    def everything(conv):
        def vjp(x, w, g=g):
            return jax.vjp(conv, x, w)[1](g)

        second = jax.vjp(vjp, x, w)[1]((x, w)) if x.dtype.itemsize > 2 else ()
        per_sample = jax.vmap(vjp, (*draw.batch_axes, None))(xs, ws, g)
        return (
            vjp(x, w),
            jax.jvp(conv, (x, w), (-x, 2 * w)),
            jax.vmap(conv, draw.batch_axes)(xs, ws),
            per_sample,
            second,
        )

    assert_same(*(jax.jit(everything, static_argnums=0)(conv) for conv in (draw.ours, draw.theirs)), jax)


@pytest.mark.parametrize("seed", [*range(10), *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(10, 16))])
def test_drawn_calls_are_those_of_lax(jax, seed):
    check(jax, seed)


@pytest.mark.slow
@pytest.mark.parametrize("start", range(100, 600, 100))
def test_many_drawn_calls_are_those_of_lax(jax, start):
    for seed in range(start, start + 100):
        check(jax, seed)


@pytest.mark.parametrize(("dtype", "preferred"), PREFERRED)
def test_preferred_element_type_is_as_lax_has_it(jax, dtype, preferred):
    """Sums are taken in it: in the narrower one they would overflow."""
    for first, second in (((2, 9, 6), (3, 9, 3)), ((4, 64, 64), (64, 64, 3))):  # the larger by other kernels
        x, w = jax.numpy.full(first, 100, dtype), jax.numpy.full(second, 101, dtype)
        both = triconv.jax.conv_general_dilated, jax.lax.conv_general_dilated
        assert_same(*(f(x, w, (1,), "SAME", preferred_element_type=preferred) for f in both), jax)


@pytest.mark.parametrize("dtype", ["int4", "uint4", "float8_e4m3fn", "float8_e5m2", "float8_e3m4", "float4_e2m1fn"])
def test_narrow_dtypes_are_as_lax_has_them(jax, dtype):
    if not hasattr(jax.numpy, dtype):
        pytest.skip(f"this JAX has no {dtype}")
    x, w = (jax.numpy.arange(n).reshape(s) % 4 for n, s in ((24, (2, 2, 6)), (12, (2, 2, 3))))
    x, w = x.astype(dtype), w.astype(dtype)
    assert_same(*(f(x, w, (1,), "SAME") for f in (triconv.jax.conv_general_dilated, jax.lax.conv_general_dilated)), jax)


@pytest.mark.covering(1)
@pytest.mark.parametrize("numbers", [None, ("NCHW", "OIHW", "NCHW"), ("HCNW", "WIHO", "NWHC")])
@pytest.mark.parametrize("strides", [(2, 3), (1, 1)])
def test_conv_transpose_is_that_of_lax(jax, numbers, strides):
    rng = np.random.default_rng(0)
    x, w = (jax.numpy.asarray(rng.integers(-3, 4, shape).astype(np.float32)) for shape in ((4, 4, 4, 4), (3, 2, 4, 4)))
    w = w if numbers is None else jax.numpy.transpose(w, ["HWIO".index(letter) for letter in numbers[1]])
    paddings = ["SAME", "VALID", ((1, 0), (2, 3)), ((0, -1), (0, 0))]
    cases = [
        {"padding": p, "rhs_dilation": d, "transpose_kernel": t, "use_consistent_padding": u}
        for p in paddings
        for d in (None, (2, 1))
        for t in (False, True)
        for u in (False, True)
        if not (u and p == paddings[3])
    ]

    def all_of(conv):
        return [conv(x, w, strides, dimension_numbers=numbers, **case) for case in cases]

    ours, theirs = (jax.jit(all_of, static_argnums=0)(f) for f in (triconv.jax.conv_transpose, jax.lax.conv_transpose))
    assert_same(ours, theirs, jax)


@pytest.mark.parametrize("ndim", [0, 1, 3])
def test_conv_transpose_has_any_number_of_axes(jax, ndim):
    x, w = jax.numpy.ones((2, *[3] * ndim, 4)), jax.numpy.ones((*[2] * ndim, 4, 5))
    assert_same(*(f(x, w, (2,) * ndim, "SAME") for f in (triconv.jax.conv_transpose, jax.lax.conv_transpose)), jax)


def test_a_kernel_of_size_zero_gives_zeros(jax):
    """XLA has no program for it."""
    y = triconv.jax.conv_general_dilated(jax.numpy.ones((1, 2, 4)), jax.numpy.ones((3, 2, 0)), (1,), "VALID")
    np.testing.assert_array_equal(y, np.zeros((1, 3, 5)))


def test_numpy_arrays_may_come_too(jax):
    x, w = np.ones((1, 2, 4), np.float32), np.ones((3, 2, 2), np.float32)
    assert_same(*(f(x, w, (1,), "SAME") for f in (triconv.jax.conv_general_dilated, jax.lax.conv_general_dilated)), jax)


def test_calls_of_one_signature_are_resolved_once(jax, monkeypatch):
    from triconv.jax import lax_signatures

    resolved, resolve = [], lax_signatures.resolve
    monkeypatch.setattr(lax_signatures, "resolve", lambda *a, **k: resolved.append(1) or resolve(*a, **k))
    x, w = jax.numpy.arange(11.0)[None, :, None], jax.numpy.ones((5, 1, 7))
    numbers = jax.lax.conv_dimension_numbers(x.shape, w.shape, ("NWC", "WIO", "NWC"))
    for _ in range(3):
        y = triconv.jax.conv_general_dilated(x, w, (2,), "SAME", dimension_numbers=numbers)
        assert_same(y, jax.lax.conv_general_dilated(x, w, (2,), "SAME", dimension_numbers=numbers), jax)
    assert len(resolved) == 1
    with pytest.raises(TypeError, match="`dimension_numbers` must be"):
        triconv.jax.conv_general_dilated(x, w, (2,), "SAME", dimension_numbers=tuple(numbers))


def test_precision_is_as_lax_has_it(jax):
    """Of the products inside: as asked, or as configured when the program is traced."""
    x, w = jax.numpy.ones((2, 9, 4)), jax.numpy.ones((9, 9, 2))

    def text(precision):
        trace = jax.jit(lambda x, w: triconv.jax.conv_general_dilated(x, w, (1,), "VALID", precision=precision)).trace
        return trace(x, w).lower().as_text()

    assert "HIGHEST" in text("float32")
    assert "HIGHEST" in text((jax.lax.Precision.DEFAULT, jax.lax.Precision.HIGHEST))
    assert "HIGHEST" not in text(None)
    assert "precision HIGH>" in text("high")
    with jax.default_matmul_precision("highest"):
        assert "HIGHEST" in text(None)
        assert "HIGHEST" not in text("fastest")
        traced = jax.jit(lambda x, w: triconv.jax.conv_general_dilated(x, w, (1,), "VALID")).trace(x, w)
    assert "HIGHEST" in traced.lower().as_text()


X, W = (2, 4, 8), (6, 4, 3)
REFUSED = [
    ({"lhs": (2, 4)}, TypeError, "`lhs` and `rhs` must have one number of axes, two or more, got 2 and 3"),
    ({"rhs": (6, 3, 3)}, ValueError, "`lhs.shape[1]` must equal `feature_group_count * rhs.shape[1]`, got 4 != 1 * 3"),
    ({"rhs_dtype": "float32"}, TypeError, "`lhs` and `rhs` must have one dtype, got float64 and float32"),
    ({"feature_group_count": 3}, ValueError, "`lhs.shape[1]` must equal `feature_group_count * rhs.shape[1]`"),
    ({"feature_group_count": 0}, ValueError, "`feature_group_count` must be at least 1, got 0"),
    ({"batch_group_count": 0}, ValueError, "`batch_group_count` must be at least 1, got 0"),
    ({"batch_group_count": 3}, ValueError, "`lhs.shape[0]` must be a multiple of `batch_group_count`, got 2 and 3"),
    ({"batch_group_count": 2, "rhs": (6, 2, 3)}, ValueError, "`lhs.shape[1]` must equal `rhs.shape[1]`, got 4 != 2"),
    (
        {"batch_group_count": 2, "feature_group_count": 2},
        ValueError,
        "`feature_group_count` or `batch_group_count` must be 1",
    ),
    (
        {"rhs": (5, 2, 3), "feature_group_count": 2},
        ValueError,
        "`rhs.shape[0]` must be a multiple of `feature_group_count`",
    ),
    ({"window_strides": (1, 1)}, ValueError, "`window_strides` must have one int per spatial axis, got 2 for 1"),
    ({"window_strides": 1}, TypeError, "`window_strides` must be a sequence of ints, got 1"),
    (
        {"padding": [(-9, 0)]},
        ValueError,
        "`padding` must not crop more than the (dilated) input has, got (-9, 0) for 8",
    ),
    ({"padding": [1]}, ValueError, "`padding` must be a string or a sequence of (lo, hi) pairs of ints, got [1]"),
    (
        {"padding": "SAME", "lhs_dilation": (2,)},
        ValueError,
        "`padding` must be pairs where `lhs_dilation` is not all 1",
    ),
    ({"dimension_numbers": ("NCW", "OIW")}, TypeError, "`dimension_numbers` must be None, three strings or"),
    ({"dimension_numbers": ("NCW", "OIW", "NC")}, TypeError, "`dimension_numbers` must name 3 axes in each string"),
    (
        {"dimension_numbers": ("NCW", "OIH", "NCW")},
        TypeError,
        "`dimension_numbers` must name N and C and the spatial axes",
    ),
    ({"dimension_numbers": ("NCC", "OIW", "NCW")}, TypeError, "once each, got 'NCC'"),
    ({"precision": "extreme"}, ValueError, "`precision` must be None, a level such as 'highest'"),
    (
        {"preferred_element_type": "float32"},
        TypeError,
        "`preferred_element_type` must not be narrower than `lhs.dtype`",
    ),
    ({"preferred_element_type": "int64"}, TypeError, "`preferred_element_type` must be of the kind of `lhs.dtype`"),
]


@pytest.mark.parametrize(("changes", "error", "message"), REFUSED, ids=[r[2][:60] for r in REFUSED])
def test_what_lax_refuses_is_refused(jax, changes, error, message):
    given = {"lhs": X, "rhs": W, "window_strides": (1,), "padding": [(0, 0)], "rhs_dtype": "float64"} | changes
    lhs = jax.numpy.ones(given.pop("lhs"))
    rhs = jax.numpy.ones(given.pop("rhs"), given.pop("rhs_dtype"))
    with pytest.raises(error):
        jax.lax.conv_general_dilated(lhs, rhs, **given)
    with pytest.raises(error) as raised:
        triconv.jax.conv_general_dilated(lhs, rhs, **given)
    assert message in str(raised.value)


@pytest.mark.parametrize("name", ["padding", "dimension_numbers", "precision"])
def test_a_message_shows_of_an_array_its_shape_alone(jax, name):
    given = {"window_strides": (1,), "padding": "VALID"} | {name: jax.numpy.ones((9, 9))}
    with pytest.raises((TypeError, ValueError), match=f"`{name}` must be .*, got ArrayImpl of shape \\(9, 9\\)$"):
        triconv.jax.conv_general_dilated(jax.numpy.ones(X), jax.numpy.ones(W), **given)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda f, x, w: f(x, w, (1,), "FULL"),
            ValueError,
            "`padding` must be one of 'VALID', 'SAME', 'SAME_LOWER' if",
        ),
        (
            lambda f, x, w: f(x, w, (1,), [(0, 0), (0, 0)]),
            ValueError,
            "`padding` must have one pair per spatial axis, got 2 for 1",
        ),
        (lambda f, x, w: f(x, w, (0,), "VALID"), ValueError, "`window_strides` must be at least 1, got 0"),
        (lambda f, x, w: f([1], w, (1,), "VALID"), TypeError, "`lhs` must be an array, got list"),
        (lambda f, x, w: f(x, w, (1,), "VALID", precision=3), ValueError, "`precision` must be None"),
    ],
)
def test_refused_where_lax_has_an_error_of_another_kind(jax, call, error, message):
    with pytest.raises(error) as raised:
        call(triconv.jax.conv_general_dilated, jax.numpy.ones(X), jax.numpy.ones(W))
    assert message in str(raised.value)


def test_what_conv_transpose_cannot_do_is_refused(jax):
    f, x, w = triconv.jax.conv_transpose, jax.numpy.ones((1, 3, 2)), jax.numpy.ones((2, 2, 2))
    with pytest.raises(ValueError, match="`padding` must be 'SAME', 'VALID' or pairs if it is that of the convolution"):
        f(x, w, (1,), "SAME_LOWER", use_consistent_padding=True)
    with pytest.raises(ValueError, match="`padding` must be pairs where `lhs_dilation` is not all 1"):
        f(x, w, (2,), "SAME_LOWER")
    with pytest.raises(ValueError, match="`strides` must have one int per spatial axis, got 2 for 1"):
        f(x, w, (2, 2), "SAME")
    with pytest.raises(ValueError, match="`dimension_numbers` must be given for more than 3 spatial axes, got 4"):
        f(jax.numpy.ones((1,) * 6), jax.numpy.ones((1,) * 6), (1,) * 4, "SAME")


def test_dtypes_that_are_no_numbers_are_refused(jax):
    keys = jax.random.split(jax.random.key(0), (1, 1, 3))
    with pytest.raises(TypeError, match=r"`lhs.dtype` must be a number dtype, got key<fry>"):
        triconv.jax.conv_general_dilated(keys, keys, (1,), "VALID")
