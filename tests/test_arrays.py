"""Kinds of arrays: masked ones, the other byte order, bfloat16 and narrower on NumPy, sparse tensors, odd strides."""

from __future__ import annotations

import re

import numpy as np
import pytest

import triconv

RNG = np.random.default_rng(0)
X, W = RNG.integers(-3, 4, (2, 4, 9)), RNG.integers(-3, 4, (6, 4, 3))
G = RNG.integers(-3, 4, (2, 6, 7))
MASKED = np.ma.masked_less(X.astype("f4"), 0)
WITHOUT = re.escape("without a mask, which a convolution cannot keep, got a masked array; give its values")


@pytest.fixture
def bfloat16():
    return np.dtype(pytest.importorskip("ml_dtypes").bfloat16)


@pytest.mark.parametrize(
    "ask",
    [
        lambda tc: triconv.conv(MASKED, W.astype("f4")),
        lambda tc: triconv.conv1d(X.astype("f4"), W.astype("f4"), np.ma.ones(6)),
        lambda tc: triconv.conv_weight_vjp(G.astype("f4"), MASKED, kernel_size=3),
        lambda tc: triconv.conv2d_forward(np.ma.ones((3, 3, 1)), np.ones((2, 2, 1))),
        lambda tc: triconv.vjp(triconv.conv1d, MASKED, W.astype("f4")),
        lambda tc: triconv.vjp(triconv.conv1d, X.astype("f4"), W.astype("f4"))[1](np.ma.ones((2, 6, 7))),
        lambda tc: triconv.jvp(triconv.conv1d, (X, W), (MASKED.astype(int), W)),
        lambda tc: triconv.check(triconv.conv1d, triconv.conv1d, MASKED, W.astype("f4")),
        lambda tc: triconv.explain(triconv.conv1d, MASKED, W.astype("f4")),
        lambda tc: tc.conv1d(MASKED, W),
        lambda tc: tc.conv1d([list(MASKED[0])], W),
        lambda tc: tc.conv1d([[[1.0, np.ma.masked]]], [[[1.0]]]),
        lambda tc: tc.vjp(tc.conv1d, X, W)[1](np.ma.ones((2, 6, 7))),
        lambda tc: tc.asarray(MASKED),
        lambda tc: tc.to_numpy(MASKED),
    ],
)
def test_masks_are_refused(lib, ask):
    with pytest.raises(TypeError, match=WITHOUT):
        ask(triconv.use(lib.name))


def test_matrices_and_memory_maps_are_taken(lib, tmp_path):
    x = np.memmap(tmp_path / "x", dtype="f4", mode="w+", shape=X.shape)
    x[:] = X
    np.testing.assert_array_equal(triconv.conv1d(x, W.astype("f4")), triconv.conv1d(X, W))
    tc = triconv.use(lib.name)
    np.testing.assert_array_equal(tc.to_numpy(tc.conv1d(x, W.astype("f4"))), triconv.conv1d(X, W))
    with pytest.warns(PendingDeprecationWarning):
        matrix = np.asmatrix(np.arange(6.0).reshape(2, 3))
    assert tuple(tc.asarray(matrix).shape) == (2, 3)
    with pytest.raises(
        TypeError, match=r"`x` must be an array of an array API library, got matrix; numpy\.asarray makes"
    ):
        triconv.conv(matrix, np.ones((4, 3)))


@pytest.mark.parametrize("dtype", ["i4", "i8", "f4", "f8", "c8"])
def test_the_other_byte_order_is_taken(lib, dtype):
    x, w, g = (a.astype(">" + dtype) for a in (X, W, G))
    assert not x.dtype.isnative
    y, pullback = triconv.vjp(triconv.conv1d, x, w)
    for result in (y, *pullback(g), triconv.jvp(triconv.conv1d, (x, w), (x, w))[1], triconv.conv1d(x, W)):
        assert result.dtype.isnative
    np.testing.assert_array_equal(y, triconv.conv1d(X, W))
    tc = triconv.use(lib.name)
    have, back = tc.vjp(tc.conv1d, x, w)
    np.testing.assert_array_equal(lib.numpy(have), y)
    for a, b in zip(back(g), pullback(g), strict=True):
        np.testing.assert_array_equal(lib.numpy(a), b)
    assert tc.to_numpy(x).dtype.isnative


def test_a_field_of_records_is_taken(lib):
    records = np.zeros(X.shape, [("flag", "i1"), ("x", ">f4"), ("y", "f4")])
    records["x"], records["y"] = X, X
    tc = triconv.use(lib.name)
    want = triconv.conv1d(X, W)
    for x in (
        records["x"],
        records["y"],
        np.flip(np.flip(X).astype("f4")),
    ):  # the other order, unaligned, negative strides
        np.testing.assert_array_equal(lib.numpy(tc.conv1d(x, W.astype("f4"))), want)


def test_a_dtype_that_a_library_lacks_is_refused(lib):
    wide = X.astype(np.longdouble)
    tc = triconv.use(lib.name)
    if lib.name == "numpy":
        assert tc.conv1d(wide, W).dtype == np.longdouble
        return
    with pytest.raises(
        TypeError, match=f"an array must have a dtype that {lib.name} has, got .*; say which with `dtype`"
    ):
        tc.asarray(wide)
    np.testing.assert_array_equal(lib.numpy(triconv.use(lib.name, dtype="float32").asarray(wide)), X)


def test_bfloat16_of_numpy_is_computed_with(bfloat16):
    """Sums in float32, one rounding."""
    x, w, g = (a.astype(bfloat16) for a in (X, W, G))
    bias = np.arange(6).astype(bfloat16)
    y, pullback = triconv.vjp(triconv.conv1d, x, w, bias, padding=1, padding_mode="circular")
    g = np.ones(y.shape, bfloat16)
    want, back = triconv.vjp(
        triconv.conv1d, X.astype("f4"), W.astype("f4"), bias.astype("f4"), padding=1, padding_mode="circular"
    )
    for have, right in zip((y, *pullback(g)), (want, *back(g.astype("f4"))), strict=True):
        assert have.dtype == bfloat16
        np.testing.assert_array_equal(have, right.astype(bfloat16))
    tangent = triconv.jvp(triconv.conv1d, (x, w), (x, w))[1]
    assert tangent.dtype == bfloat16
    np.testing.assert_array_equal(tangent, (2 * triconv.conv1d(X, W)).astype(bfloat16))
    for name in ("direct", "gemm", "depthwise", "fft"):
        long = triconv.conv1d(np.ones((1, 1, 700), bfloat16), np.ones((1, 1, 300), bfloat16), algorithm=name)
        assert long.dtype == bfloat16
        assert (long == 300).all()  # which sums in bfloat16 do not reach
    assert triconv.conv_transpose1d(g, w, bias=np.ones(4, bfloat16)).dtype == bfloat16
    assert triconv.explain(triconv.conv1d, x, w).rows[0].multiply_adds > 0


@pytest.mark.parametrize(
    ("other", "promoted"),
    [
        ("i1", "bfloat16"),
        ("i4", "bfloat16"),
        ("i8", "bfloat16"),
        ("f2", "float32"),
        ("f4", "float32"),
        ("f8", "float64"),
        ("c8", "complex64"),
    ],
)
def test_bfloat16_is_promoted(bfloat16, other, promoted):
    x, w = X.astype(bfloat16), W.astype(other)
    y, pullback = triconv.vjp(triconv.conv1d, x, w)
    assert y.dtype.name == promoted
    np.testing.assert_array_equal(y, triconv.conv1d(X, W).astype(y.dtype))
    if other not in ("i1", "i4", "i8"):
        assert [a.dtype.name for a in pullback(np.ones(y.shape, y.dtype))] == ["bfloat16", w.dtype.name]
    with pytest.raises(TypeError, match=r"`g\.dtype` must fit into the dtype of the result"):
        triconv.vjp(triconv.conv1d, x, X[:, :, :3].astype(bfloat16))[1](np.ones((2, 2, 7), "c8"))


def test_bfloat16_of_numpy_is_moved(lib, bfloat16):
    tc = triconv.use(lib.name)
    moved = tc.asarray(X.astype(bfloat16))
    expected = bfloat16 if lib.name == "numpy" else getattr(lib.xp, "bfloat16", lib.xp.float32)
    assert moved.dtype == expected
    np.testing.assert_array_equal(
        np.asarray(tc.to_numpy(tc.conv1d(moved, W.astype(bfloat16))), float), triconv.conv1d(X, W)
    )
    if lib.name == "numpy":
        assert triconv.use("numpy", dtype="bfloat16").conv1d(X, W).dtype == bfloat16


@pytest.mark.parametrize("name", ["float8_e4m3fn", "float8_e5m2", "int4", "uint4"])
def test_narrower_dtypes_are_refused(lib, name):
    ml_dtypes = pytest.importorskip("ml_dtypes")
    x = np.ones((1, 1, 5), getattr(ml_dtypes, name))
    message = f"got {name}; convert it first, to bfloat16 or float32"
    with pytest.raises(TypeError, match="`x.dtype` must be an integer, real or complex floating dtype, " + message):
        triconv.conv1d(x, np.ones((1, 1, 2), "f4"))
    with pytest.raises(TypeError, match="`x.dtype` must be .*" if lib.name == "numpy" else message):
        triconv.use(lib.name).conv1d(x, np.ones((1, 1, 2), "f4"))


@pytest.mark.filterwarnings("ignore")  # torch deprecates quantized tensors, and calls nested ones a prototype
def test_tensors_that_are_not_dense_are_refused(torch):
    x, w = torch.ones(1, 4, 9), torch.ones(6, 4, 3)
    quantized = torch.quantize_per_tensor(w, 1.0, 0, torch.qint8)
    for odd, message in (
        (w.to_sparse(), "a dense tensor, got one of layout torch.sparse_coo; give its to_dense()"),
        (torch.nested.nested_tensor([torch.ones(4, 3)] * 6), "a dense tensor, got a nested one; give"),
        (quantized, "a tensor of plain numbers, got a quantized one (torch.qint8); give its dequantize()"),
    ):
        with pytest.raises(TypeError, match=re.escape("`w` must be " + message)):
            triconv.conv1d(x, odd)
        with pytest.raises(TypeError, match=re.escape("an array must be " + message)):
            triconv.use("torch").conv1d(x, odd)
        with pytest.raises(TypeError, match=re.escape("an array must be " + message)):
            triconv.use("numpy").conv1d(x, odd)
