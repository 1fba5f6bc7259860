"""Every message, matched: the argument in backticks, the rule in words, both numbers; and before any array work."""

from __future__ import annotations

import itertools
import re

import numpy as np
import pytest

import triconv

X, W = np.ones((2, 4, 9)), np.ones((6, 4, 3))
X2, W2 = np.ones((2, 4, 5, 5)), np.ones((6, 4, 3, 3))
G = np.ones((2, 6, 7))

CASES = [
    # shapes
    (triconv.conv, (np.ones((2, 3, 9)), np.ones((4, 2, 3))), {"groups": 2},
     "`x.shape[1]` must equal `groups * w.shape[1]`, got 3 != 2 * 2"),
    (triconv.conv, (X, np.ones((5, 2, 3))), {"groups": 2}, "`w.shape[0]` must be a multiple of `groups`, got 5 and 2"),
    (triconv.conv_weight_vjp, (np.ones((2, 4, 7)), np.ones((2, 3, 9))), {"groups": 2, "kernel_size": 3},
     "`x.shape[1]` must be a multiple of `groups`, got 3 and 2"),
    (triconv.conv_weight_vjp, (np.ones((2, 3, 7)), X), {"groups": 2, "kernel_size": 3},
     "`g.shape[1]` must be a multiple of `groups`, got 3 and 2"),
    (triconv.conv_input_vjp, (np.ones((2, 5, 7)), W), {"input_size": 9}, "`g.shape[1]` must equal `w.shape[0]`, got 5 != 6"),
    (triconv.conv_weight_vjp, (np.ones((3, 6, 7)), X), {"kernel_size": 3}, "`g.shape[0]` must equal `x.shape[0]`, got 3 != 2"),
    (triconv.conv_input_vjp, (G, W), {"input_size": 8},
     "the spatial sizes of `g` must be those of the output of this geometry, got (7,) != (6,); `input_size` is 8"),
    (triconv.conv_input_vjp, (np.ones((2, 6, 3, 3)), W2), {"input_size": (5,)},
     "`input_size` must be one int or one int per spatial axis, got 1 for 2 axes"),
    (triconv.conv_weight_vjp, (G, X), {"kernel_size": 0}, "`kernel_size` must be at least 1 for `g` of spatial sizes (7,), got 0"),
    (triconv.conv_weight_vjp, (G, X), {"kernel_size": (3, 3)}, "`kernel_size` must be one int or one int per spatial axis, got 2 for 1 axes"),
    (triconv.conv, (X, W), {"padding": np.array([1, 2])}, "one (lo, hi) pair per spatial axis, got (1, 2); meant [(1, 2)]?"),
    (triconv.conv, (X, W), {"algorithm": np.ones(99)}, "got ndarray of shape (99,)"),
    (triconv.conv, (X, W2), {}, "`w` must have 3 axes (OIW), got 4"),
    (triconv.conv, (np.ones(3), W), {}, "`x` must have at least 2 axes (N, C, then the spatial ones) without a `layout`, got 1"),
    (triconv.conv2d, (np.ones((2, 2)), W2), {}, "`x` must have 4 axes (NCHW) or 3 (CHW), got 2"),
    (triconv.conv2d, (X2, W), {}, "`w` must have 4 axes (OIHW), got 3"),
    (triconv.conv1d, (X, W, np.ones(5)), {}, "`bias.shape` must be (6,), one number per output channel, got (5,)"),
    (triconv.conv_transpose1d, (X, np.ones((4, 3, 3)), np.ones(3)), {"groups": 2},
     "`bias.shape` must be (6,), one number per output channel, got (3,)"),
    (triconv.conv_transpose1d, (X, W), {}, "`x.shape[1]` must equal `w.shape[0]`, got 4 != 6"),
    (triconv.conv1d, (X, np.ones((6, 4, 0))), {}, "`w` must have at least one tap in every spatial axis, got 0 in spatial axis 0"),
    (triconv.conv1d, (X, W), {"dilation": 5}, "`w`, with its dilation, must fit into the padded input, got 11 > 9 in spatial axis 0"),
    (triconv.conv_transpose1d, (np.ones((2, 6, 0)), W), {}, "`x` must have at least one element in every spatial axis, got 0"),
    (triconv.conv_transpose1d, (np.ones((2, 6, 2)), W), {"padding": 2},
     "`padding` must leave the result an element in every axis, got 0 in spatial axis 0"),
    # parameters: values
    (triconv.conv, (X, W), {"stride": 0}, "`stride` must be at least 1, got 0"),
    (triconv.conv, (X, W), {"dilation": -1}, "`dilation` must be at least 1, got -1"),
    (triconv.conv, (X, W), {"input_dilation": 0}, "`input_dilation` must be at least 1, got 0"),
    (triconv.conv, (X, W), {"groups": 0}, "`groups` must be at least 1, got 0"),
    (triconv.conv, (X, W), {"stride": 10**30}, "`stride` must be at most 2147483647 in size"),
    (triconv.conv, (X2, W2), {"stride": (1, 2, 3)}, "`stride` must be one int or one int per spatial axis, got 3 for 2 axes"),
    (triconv.conv, (X, W), {"padding": (1, 2)},
     "`padding` must be one int or one (lo, hi) pair per spatial axis, got (1, 2); meant [(1, 2)]?"),
    (triconv.conv, (X, W), {"padding": [(1, 2), (1, 2)]}, "`padding` must be one pair per spatial axis, got 2 for 1 axes"),
    (triconv.conv, (X2, W2), {"padding": [(1, 2), 3]}, "`padding` must be one (lo, hi) pair per spatial axis, got 3 among the pairs"),
    (triconv.conv, (X, W), {"padding": "some"},
     "`padding` must be one of 'valid', 'same', 'same_lower', 'full', 'causal' if it is a string, got 'some'"),
    (triconv.conv, (X, W), {"padding": [(-5, -5)]},
     "`padding` must not crop more than the (dilated) input has, got (-5, -5) for 9"),
    (triconv.conv1d, (X, W), {"padding": -1}, "`padding` must not be negative here, as in torch, got -1; see triconv.conv"),
    (triconv.conv1d, (X, W), {"padding": "same", "stride": 2},
     "`padding` 'same' must go with stride 1 here, as in torch, got 2; see triconv.conv"),
    (triconv.conv1d, (X, W), {"padding": 9, "padding_mode": "reflect"},
     "`padding` must be less than the input size with `padding_mode` 'reflect', got 9 for 9 in spatial axis 0"),
    (triconv.conv1d, (X, W), {"padding": 10, "padding_mode": "circular"},
     "`padding` must be at most the input size with `padding_mode` 'circular', got 10 for 9 in spatial axis 0"),
    (triconv.conv1d, (np.ones((2, 4, 0)), W), {"padding": 2, "padding_mode": "replicate"},
     "`padding_mode` 'replicate' must have an element to repeat, got size 0 in spatial axis 0"),
    (triconv.conv1d, (X, W), {"padding_mode": "mirror"},
     "`padding_mode` must be one of 'zeros', 'reflect', 'replicate', 'circular', got 'mirror'"),
    (triconv.conv1d, (X, W), {"precision": "low"}, "`precision` must be one of 'highest', 'default', got 'low'"),
    (triconv.conv1d, (X, W), {"algorithm": ["gemm"]}, "`algorithm` must be one of 'auto', 'direct', 'gemm', 'depthwise', 'fft', 'vendor', got ['gemm']"),
    (triconv.conv1d, (X, W), {"algorithm": "winograd"}, "`algorithm` must be one of 'auto', 'direct', 'gemm', 'depthwise', 'fft', 'vendor', got 'winograd'"),
    (triconv.conv1d, (X, W), {"algorithm": "vendor"}, "`algorithm` must be one that can compute this conv, got 'vendor': numpy has no convolution of its own"),
    (triconv.conv1d, (X.astype(int), W.astype(int)), {"algorithm": "fft"}, "`algorithm` must be one that can compute this conv, got 'fft': a Fourier transform of integers is not exact"),
    (triconv.conv, (np.ones((2, 3)), np.ones((4, 3))), {"algorithm": "fft"}, "`algorithm` must be one that can compute this conv, got 'fft': there is no spatial axis to transform"),
    (triconv.conv_transpose1d, (G, W), {"stride": 2, "output_padding": 2},
     "`output_padding` must be less than `stride` or `dilation`, got 2 for 2 and 1 in spatial axis 0"),
    (triconv.conv_transpose1d, (G, W), {"padding": -1}, "`padding` must be at least 0, got -1"),
    (triconv.conv_input_vjp, (G, W), {"input_size": -1}, "`input_size` must be at least 0, got -1"),
    # layouts
    (triconv.conv, (X, W), {"layout": "NCW"}, "`layout` must be three groups of letters such as 'NCHW,OIHW->NCHW', got 'NCW'"),
    (triconv.conv, (X, W), {"layout": "NCC,OIW->NCW"}, "`layout` must name each axis of x once, got 'NCC' in 'NCC,OIW->NCW'"),
    (triconv.conv, (X, W), {"layout": "NCW,OIH->NCW"}, "`layout` must give w the letters O and I (either may be left out)"),
    (triconv.conv, (X, W), {"layout": "NCW,OIW->NW"}, "`layout` must have the letter C in the result unless its length is 1, got 6"),
    (triconv.conv, (X2, W2), {"layout": "NCW,OIW->NCW"}, "`x` must have 3 axes (NCW), got 4"),
    (triconv.conv, (X, W), {"layout": "NCW,OIW,NCW,NCW"}, "`layout` must be three groups of letters such as 'NCHW,OIHW->NCHW', got 'NCW,OIW,NCW,NCW'"),
    (triconv.conv, (X, W), {"layout": "NCW,OIW,NCW->NCW"}, "`layout` must be three groups of letters such as 'NCHW,OIHW->NCHW', got 'NCW,OIW,NCW->NCW'"),
    (triconv.conv2d, (X2, W2), {"layout": "NCW,OIW->NCW"}, "`layout` must have 2 spatial letters here, got 'W' in 'NCW,OIW->NCW'; see triconv.conv"),
    (triconv.conv_transpose1d, (X, W), {"layout": "NHWC,HWIO->NHWC"}, "`layout` must have 1 spatial letters here, got 'HW' in 'NHWC,HWIO->NHWC'"),
    (triconv.conv2d, (X, W2), {"layout": "NHWC,HWIO->NHWC"}, "`x` must have 4 axes (NHWC), got 3"),
    (triconv.conv_transpose1d, (X, W2), {"layout": "NWC,WIO->NWC"}, "`w` must have 3 axes (WIO), got 4"),
    (triconv.conv_transpose1d, (X[0], W), {"layout": "NCW,OIW->NCW"}, "`x` must have 3 axes (NCW), got 2"),
    (triconv.conv, (X2, W2), {"layout": "NHWC,HWIO->NHWC"}, "`x.shape[3]` must equal `groups * w.shape[2]`, got 5 != 1 * 3"),
    (triconv.conv_transpose2d, (X2, W2), {"layout": "NHWC,HWIO->NHWC"}, "`x.shape[3]` must equal `w.shape[3]`, got 5 != 3"),
    # a bias
    (triconv.conv, (X, W, np.ones(5)), {}, "`bias.shape` must be (6,), one number per output channel, got (5,)"),
    (triconv.conv, (X, W, np.ones(())), {}, "`bias.shape` must be (6,), one number per output channel, got ()"),
    (triconv.conv, (X, W, np.ones((6, 1))), {}, "`bias.shape` must be (6,), one number per output channel, got (6, 1)"),
    (triconv.conv, (X, np.ones((4, 3)), np.ones(2)), {"layout": "NCW,IW->NW"},
     "`bias.shape` must be (1,) or (), one number per output channel, got (2,)"),
    (triconv.conv1d, (X, np.ones((1, 4, 3)), np.ones(())), {"layout": "NCW,OIW->NW"},
     "`bias.shape` must be (1,), one number per output channel, got ()"),
    (triconv.conv_transpose1d, (X, np.ones((4, 3)), np.ones(())), {"layout": "NCW,OW->NCW", "groups": 2},
     "`bias.shape` must be (2,), one number per output channel, got ()"),
    # shapes that look channels last
    (triconv.conv2d, (np.ones((2, 8, 8, 3)), np.ones((4, 3, 3, 3))), {},
     "`x.shape[1]` must equal `groups * w.shape[1]`, got 8 != 1 * 3; looks channels last: pass layout='NHWC,OIHW->NHWC' or layout='NHWC,HWIO->NHWC'"),
    (triconv.conv2d, (np.ones((2, 32, 32, 3)), np.ones((5, 5, 3, 16))), {},
     "got 32 != 1 * 5; looks channels last: pass layout='NHWC,HWIO->NHWC'"),
    (triconv.conv2d, (np.ones((2, 3, 8, 8)), np.ones((5, 5, 3, 16))), {},
     "got 3 != 1 * 5; `w` looks channels last: pass layout='NCHW,HWIO->NCHW'"),

    (triconv.conv, (np.ones((8, 8, 6)), np.ones((3, 3, 1, 6))), {"groups": 6, "layout": "CHW,OIHW->CHW"},
     "got 8 != 6 * 3; looks channels last: pass layout='HWC,HWIO->HWC'"),
    (triconv.conv_transpose2d, (np.ones((2, 8, 8, 4)), np.ones((4, 3, 3, 3))), {},
     "`x.shape[1]` must equal `w.shape[0]`, got 8 != 4; looks channels last: pass layout='NHWC,OIHW->NHWC'"),
    (triconv.conv_input_vjp, (np.ones((2, 6, 6, 4)), np.ones((3, 3, 3, 4))), {"input_size": 8},
     "got 6 != 3; looks channels last: pass layout='NHWC,HWIO->NHWC'"),
]  # fmt: skip

TYPES = [
    (triconv.conv, (X, W), {"stride": 1.5}, "`stride` must be an int or a sequence of ints, got 1.5"),
    (triconv.conv, (X, W), {"stride": True}, "`stride` must be an int, got True"),
    (triconv.conv, (X, W), {"stride": b"2"}, "`stride` must be an int or a sequence of ints, got b'2'"),
    (triconv.conv, (X, W), {"padding": None}, "`padding` must be an int or a sequence of ints, got None"),
    (triconv.conv2d, (X2, W2, np.ones(6), X2, W2), {}, "`padding` must be an int, got ndarray of shape (6, 4, 3, 3)"),
    (triconv.conv, (X, W), {"stride": X}, "`stride` must be an int, got ndarray of shape (2, 4, 9)"),
    (triconv.conv, (X, W), {"stride": np.array([1.0])}, "`stride` must be an int, got array(1.)"),
    (triconv.conv, (X, W), {"stride": [X]}, "`stride` must be an int, got ndarray of shape (2, 4, 9)"),
    (triconv.conv, (X, W), {"stride": "x" * 999}, "`stride` must be an int or a sequence of ints, got '" + "x" * 79 + "..."),
    (triconv.conv, (X, W), {"padding": {1, 2}}, "`padding` must be an int or a sequence of ints, got {1, 2}"),
    (triconv.conv, (X, W), {"groups": X}, "`groups` must be an int, got ndarray of shape (2, 4, 9)"),
    (triconv.conv, (X, W), {"groups": None}, "`groups` must be an int, got None"),
    (triconv.conv, (X, W), {"groups": np.True_}, "`groups` must be an int, got np.True_"),
    (triconv.conv, (X, W), {"layout": X}, "`layout` must be a string such as 'NCHW,OIHW->NCHW', got ndarray of shape (2, 4, 9)"),
    (triconv.conv_input_vjp, (G, W), {"input_size": None}, "`input_size` must be an int or a sequence of ints, got None"),
    (triconv.vjp, (triconv.conv, X), {}, "conv() missing 1 required positional argument: 'w'"),
    (triconv.vjp, (X, X), {}, "`op` must be an operator of triconv, such as triconv.conv2d, got ndarray of shape (2, 4, 9)"),
    (triconv.explain, (triconv.conv, 3), {}, "`arrays_or_shapes` must be arrays or shapes (tuples of ints), got 3"),
    (triconv.explain, (triconv.conv,), {}, "conv() missing 2 required positional arguments: 'x' and 'w'"),
    (triconv.conv, (X, W), {"groups": "2"}, "`groups` must be an int, got '2'"),
    (triconv.conv, (X, W), {"layout": 3}, "`layout` must be a string such as 'NCHW,OIHW->NCHW', got 3"),
    (triconv.conv, ([[[1.0]]], W), {}, "`x` must be an array of an array API library, got list"),
    (triconv.conv, (X > 0, W), {}, "`x.dtype` must be an integer, real or complex floating dtype, got bool"),
    (triconv.conv, (X, W.astype(object)), {}, "`w.dtype` must be an integer, real or complex floating dtype, got object"),
    (triconv.conv2d_forward, (None, [[[1]]]), {}, "an array or nested list must hold numbers, got NoneType of dtype object"),
]  # fmt: skip


@pytest.mark.parametrize(("op", "arrays", "params", "message"), CASES)
def test_a_wrong_value_is_a_value_error_that_says_both_numbers(op, arrays, params, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        op(*arrays, **params)


@pytest.mark.parametrize(("op", "arrays", "params", "message"), TYPES)
def test_a_wrong_type_is_a_type_error_that_names_the_argument(op, arrays, params, message):
    with pytest.raises(TypeError, match=re.escape(message)):
        op(*arrays, **params)


@pytest.mark.parametrize(
    ("op", "x", "w", "params", "end"),
    [
        (triconv.conv2d, (2, 5, 8, 8), (4, 3, 3, 3), {}, "got 5 != 1 * 3"),
        (triconv.conv2d, (2, 8, 8, 5), (3, 3, 3, 4), {"layout": "NHWC,HWIO->NHWC"}, "got 5 != 1 * 3"),
        (triconv.conv, (2, 4), (4, 2), {}, "got 4 != 1 * 2"),
        (triconv.conv_transpose2d, (2, 5, 8, 8), (4, 3, 3, 3), {}, "got 5 != 4"),
    ],
)
def test_only_what_looks_channels_last_is_said_to(op, x, w, params, end):
    with pytest.raises(ValueError, match=re.escape(end) + "$"):
        op(np.ones(x), np.ones(w), **params)


def test_lax_is_told_of_its_own_parameter(jax):
    x, w = jax.numpy.ones((2, 8, 8, 3)), jax.numpy.ones((4, 3, 3, 3))
    with pytest.raises(ValueError, match=r"got 8 != 1 \* 3; looks channels last; see `dimension_numbers`$"):
        triconv.jax.conv_general_dilated(x, w, (1, 1), "VALID")


def test_ragged_lists_are_refused():
    with pytest.raises(ValueError, match="an array or nested list must be rectangular"):
        triconv.conv2d_forward([[[1]], [[1], [2]]], [[[1]]])


def test_every_backend_raises_the_same(lib):
    with pytest.raises(ValueError, match=re.escape("`x.shape[1]` must equal `groups * w.shape[1]`, got 4 != 1 * 3")):
        triconv.conv(lib.array(X), lib.array(np.ones((6, 3, 3))))


def test_mixed_libraries_are_refused(lib):
    if lib.name == "numpy":
        pytest.skip("mixes it with NumPy")
    converter = {"jax": "jnp.asarray", "torch": "torch.as_tensor"}.get(lib.name, "array_api_strict.asarray")
    use = f"or use the operators of triconv.use('{lib.name}'), which convert their arrays"
    for first, second, of, plain in (
        (lib.array(X), W, f"{lib.name} and numpy", "w"),
        (X, lib.array(W), f"numpy and {lib.name}", "x"),
    ):
        np.testing.assert_array_equal(lib.numpy(triconv.use(lib.name).conv(first, second)), triconv.conv(X, W))
        if not lib.backend.takes_numpy:
            message = f"`x` and `w` must be arrays of one library, got {of}; convert `{plain}` with {converter}, {use}"
            with pytest.raises(TypeError, match=re.escape(message)):
                triconv.conv(first, second)
    _, pullback = triconv.vjp(triconv.conv, lib.array(X), lib.array(W))
    message = f"`g` and `arrays[0]` must be arrays of one library, got numpy and {lib.name}; convert `g` with {converter}, {use}"
    with pytest.raises(TypeError, match=re.escape(message)):
        pullback(G)


def test_jax_beside_torch_is_refused(jax, torch):
    use = "; use the operators of triconv.use('jax'), which convert their arrays"
    for third in (None, np.ones(4)):  # nor is NumPy beside both converted
        message = f"`x` and `w` must be arrays of one library, got jax and torch{use}"
        with pytest.raises(TypeError, match=re.escape(message)):
            triconv.conv(jax.numpy.asarray(X), torch.asarray(W), third)
    with pytest.raises(TypeError, match="must be arrays of one library, got numpy and"):
        triconv.conv(X, torch.asarray(W), jax.numpy.ones(4))


def test_numpy_beside_a_library_that_takes_it(lib):
    """Of every operator, in each place, positional or not, called first or again; the bits are those of the library alone."""
    if not lib.backend.takes_numpy:
        pytest.skip("has no arrays that stand beside NumPy's")
    x, w, b = X, W, np.arange(W.shape[0], dtype=W.dtype)
    alone = lib.numpy(triconv.conv(lib.array(x), lib.array(w), lib.array(b)))
    for move in itertools.product((lib.array, np.asarray), repeat=3):
        arrays = [f(a) for f, a in zip(move, (x, w, b), strict=True)]
        if np.asarray in move and lib.array in move:
            for y in (
                triconv.conv(*arrays), triconv.conv(*arrays), triconv.conv(*arrays[:2], bias=arrays[2]),
                triconv.vjp(triconv.conv, *arrays)[0],
            ):  # fmt: skip
                np.testing.assert_array_equal(lib.numpy(y), alone)
    g = np.ones_like(alone)
    gx = triconv.conv_input_vjp(g, lib.array(w), input_size=x.shape[2:])
    np.testing.assert_array_equal(lib.numpy(gx), triconv.conv_input_vjp(g, w, input_size=x.shape[2:]))
    image, kernel = np.ones((3, 3, 1)), [[[1.0]]]
    assert lib.numpy(triconv.conv2d_forward(image, lib.array(kernel))).shape == (3, 3)
    for wrong in (np.ma.masked_array(x), x > 0):
        with pytest.raises(TypeError, match="`x"):
            triconv.conv(wrong, lib.array(w))


def test_numpy_beside_traced_arrays(jax):
    x = np.arange(12.0).reshape(1, 1, 12)
    w = jax.numpy.asarray([[[1.0, 2.0, 3.0]]])
    expected = triconv.conv_weight_vjp(np.ones((1, 1, 10)), x, kernel_size=3)
    gradient = jax.grad(lambda w: triconv.conv1d(x, w).sum())
    for f in (gradient, jax.jit(gradient)):
        np.testing.assert_array_equal(f(w), expected)
    np.testing.assert_array_equal(
        jax.vmap(lambda w: triconv.conv1d(x, w))(w[None])[0], triconv.conv1d(x, np.asarray(w))
    )


def test_numpy_beside_leaves_of_torch(torch):
    """The gradient is that of the numbers at the time of the call, whatever NumPy's array holds later."""
    x = np.arange(12.0).reshape(1, 1, 12)
    w = torch.tensor([[[1.0, 2.0, 3.0]]], dtype=torch.float64, requires_grad=True)
    expected = triconv.conv_weight_vjp(np.ones((1, 1, 10)), x, kernel_size=3)
    y = triconv.conv1d(x, w).sum()
    x[:] = 0
    y.backward()
    np.testing.assert_array_equal(w.grad, expected)


def test_a_bound_operator_differentiates_by_the_array_that_is_traced(jax):
    x, w = X.astype(np.float32), jax.numpy.asarray(W, "float32")
    gradient = jax.jit(jax.grad(lambda w: triconv.use("jax").conv1d(x, w).sum()))(w)
    np.testing.assert_array_equal(gradient, np.full(w.shape, 2 * 7))


@pytest.mark.parametrize(
    ("args", "params", "end"),
    [
        ((X2,), {}, "missing 1 required positional argument: 'w'"),
        ((), {}, "missing 1 required positional argument: 'x'"),
        ((X2, W2), {"strid": 2}, "got an unexpected keyword argument 'strid'"),
        ((X2, W2), {"x": X2}, "got multiple values for argument 'x'"),
        ((X2, W2, None, 1, 0, 1, 1, "zeros"), {}, "too many positional arguments"),
    ],
)
def test_arguments_that_do_not_fit_are_told_by_the_public_name(args, params, end):
    for op in (triconv.conv2d, triconv.conv2d.resolve):
        with pytest.raises(TypeError, match=re.escape(f"conv2d() {end}") + "$"):
            op(*args, **params)


def test_mixed_devices_are_refused(torch):
    with pytest.raises(ValueError, match="`x` and `w` must be on one device, got cpu and meta"):
        triconv.conv(torch.ones(1, 1, 3), torch.ones(1, 1, 2, device="meta"))


def test_more_spatial_axes_than_letters_are_refused():
    x = np.ones((1, 1, *[1] * 23), np.float32)
    with pytest.raises(ValueError, match="at most 22 spatial axes, got 23"):
        triconv.conv(x, x)
    y = triconv.conv(x[..., 0], x[..., 0])
    assert y.shape == (1, 1, *[1] * 22)


REFUSED = [
    (lambda x, w, bad: triconv.conv2d(x, w, None, bad, bad), TypeError, "`padding` must be an int, got "),
    (lambda x, w, bad: triconv.conv(x, w, stride=bad), TypeError, "`stride` must be an int"),
    (lambda x, w, bad: triconv.conv(x, w, dilation=bad), TypeError, "`dilation` must be an int"),
    (lambda x, w, bad: triconv.conv(x, w, groups=bad), TypeError, "`groups` must be an int"),
    (
        lambda x, w, bad: triconv.conv_transpose2d(x, w, output_padding=bad),
        TypeError,
        "`output_padding` must be an int",
    ),
    (lambda x, w, bad: triconv.conv_input_vjp(x, w, input_size=bad), TypeError, "`input_size` must be an int"),
    (lambda x, w, bad: triconv.conv2d(x, w, padding_mode=bad), ValueError, "`padding_mode` must be one of"),
    (lambda x, w, bad: triconv.conv2d(x, w, precision=bad), ValueError, "`precision` must be one of"),
    (lambda x, w, bad: triconv.conv2d(x, w, algorithm=bad), ValueError, "`algorithm` must be one of"),
]


@pytest.mark.parametrize(("ask", "kind", "message"), REFUSED)
def test_an_array_is_shown_by_its_type_and_shape(lib, ask, kind, message):
    x, w = lib.array(np.full((2, 4, 5, 5), 7.25)), lib.array(np.ones((4, 4, 3, 3)))
    with pytest.raises(kind, match=message) as raised:
        ask(x, w, x)
    assert "7.25" not in str(raised.value)
    assert "of shape (2, 4, 5, 5)" in str(raised.value)


def test_integers_of_any_library_are_taken(lib):
    want = triconv.conv2d(X2, W2, stride=(2, 1), padding=[(1, 0), (2, 1)], dilation=1)
    for stride, padding in (
        (lib.array([2, 1]), lib.array([[1, 0], [2, 1]])),
        ([np.int8(2), np.int64(1)], [(np.int64(1), 0), lib.array([2, 1])]),
        (range(2, 0, -1), [range(1, -1, -1), (2, 1)]),
    ):
        have = triconv.conv2d(X2, W2, stride=stride, padding=padding, dilation=lib.array(1))
        np.testing.assert_array_equal(have, want)


def test_integers_of_numpy_are_taken_wherever_a_tuple_is():
    two, one, pairs = np.array([2, 1]), np.array([1, 1]), np.array([[1, 0], [2, 1]])
    plain = {"stride": (2, 1), "padding": [(1, 0), (2, 1)], "dilation": (1, 1), "groups": 2}
    ours = {"stride": two, "padding": pairs, "dilation": one, "groups": np.int64(2)}
    w = np.ones((6, 2, 3, 3))
    g = triconv.conv(X2, w, **plain, input_dilation=(2, 1))
    for op, arrays, sizes in (
        (triconv.conv, (X2, w), {}),
        (triconv.conv_input_vjp, (g, w), {"input_size": (5, 5)}),
        (triconv.conv_weight_vjp, (g, X2), {"kernel_size": (3, 3)}),
    ):
        have = op(*arrays, **ours, input_dilation=two, **{name: np.array(size) for name, size in sizes.items()})
        np.testing.assert_array_equal(have, op(*arrays, **plain, input_dilation=(2, 1), **sizes))
    want = triconv.conv_transpose2d(g, w, None, (2, 1), (1, 1), (1, 0), 2)
    np.testing.assert_array_equal(triconv.conv_transpose2d(g, w, None, two, one, np.array([1, 0]), np.int8(2)), want)
    want = triconv.conv2d(X2, w, **plain, padding_mode="circular")
    np.testing.assert_array_equal(triconv.conv2d(X2, w, **ours, padding_mode="circular"), want)
    assert (
        triconv.explain(triconv.conv2d, X2, w, **ours).geometry
        == triconv.explain(triconv.conv2d, X2, w, **plain).geometry
    )
