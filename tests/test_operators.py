"""What people call: torch's signatures against torch, layouts against transposition, padding modes, bias, unbatched input."""

from __future__ import annotations

import numpy as np
import pytest

import triconv


def draw(*shapes, seed=0):
    rng = np.random.default_rng(seed)
    return [rng.integers(-3, 4, shape).astype(np.float64) for shape in shapes]


CONVS = [
    (1, (2, 4, 9), (6, 4, 3), {}),
    (1, (2, 4, 9), (6, 2, 3), {"stride": 2, "padding": 3, "dilation": 2, "groups": 2}),
    (1, (4, 9), (6, 4, 4), {"padding": "same"}),
    (1, (0, 4, 9), (6, 4, 3), {"padding": "valid"}),
    (2, (2, 3, 7, 8), (4, 3, 3, 2), {"stride": (2, 1), "padding": (1, 0), "dilation": (1, 3)}),
    (2, (3, 7, 8), (3, 1, 2, 4), {"groups": 3, "padding": "same", "dilation": 2}),
    (3, (2, 2, 4, 5, 3), (3, 2, 2, 3, 1), {"stride": (1, 2, 3), "padding": 1}),
    (3, (2, 4, 5, 3), (3, 2, 2, 3, 1), {}),
]


@pytest.mark.filterwarnings("ignore:Using padding='same'")  # torch copies, and says so
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize(("n", "x", "w", "params"), CONVS)
def test_conv_is_torchs(lib, torch, n, x, w, params, bias):
    arrays = draw(x, w, w[:1])[: 2 + bias]
    ours = getattr(triconv, f"conv{n}d")(*map(lib.array, arrays), **params)
    theirs = getattr(torch.nn.functional, f"conv{n}d")(*map(torch.tensor, arrays), **params)
    np.testing.assert_array_equal(lib.numpy(ours), theirs)


TRANSPOSED = [
    (1, (2, 4, 5), (4, 3, 3), {}),
    (1, (2, 4, 5), (4, 3, 3), {"stride": 3, "padding": 1, "output_padding": 2, "groups": 2, "dilation": 2}),
    (1, (4, 5), (4, 3, 3), {"dilation": 4, "output_padding": 3}),
    (2, (2, 4, 5, 3), (4, 1, 3, 2), {"stride": (2, 1), "padding": (1, 0), "output_padding": (1, 0), "groups": 4}),
    (3, (1, 2, 3, 2, 4), (2, 3, 2, 3, 1), {"stride": 2, "padding": (0, 1, 0), "output_padding": 1}),
]


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize(("n", "x", "w", "params"), TRANSPOSED)
def test_conv_transpose_is_torchs(lib, torch, n, x, w, params, bias):
    arrays = draw(x, w, (w[1] * params.get("groups", 1),))[: 2 + bias]
    ours = getattr(triconv, f"conv_transpose{n}d")(*map(lib.array, arrays), **params)
    theirs = getattr(torch.nn.functional, f"conv_transpose{n}d")(*map(torch.tensor, arrays), **params)
    np.testing.assert_array_equal(lib.numpy(ours), theirs)


@pytest.mark.filterwarnings("ignore:Using padding='same'")
@pytest.mark.parametrize("mode", ["zeros", "reflect", "replicate", "circular"])
@pytest.mark.parametrize(("padding", "stride"), [(2, 1), ((3, 1), (2, 3)), ("same", 1)])
def test_padding_modes_are_torchs(lib, torch, mode, padding, stride):
    x, w, b = draw((2, 4, 5, 6), (2, 2, 3, 2), (2,))
    layer = torch.nn.Conv2d(
        4, 2, (3, 2), stride=stride, padding=padding, groups=2, padding_mode=mode, dtype=torch.float64
    )
    layer.weight.data, layer.bias.data = torch.tensor(w), torch.tensor(b)
    ours = triconv.conv2d(*map(lib.array, (x, w, b)), stride=stride, padding=padding, groups=2, padding_mode=mode)
    np.testing.assert_array_equal(lib.numpy(ours), layer(torch.tensor(x)).detach())


def test_padding_mode_gradients_are_torchs(lib, torch):
    x, w, b = draw((2, 2, 5), (3, 2, 3), (3,))
    for mode in ("reflect", "replicate", "circular"):
        y, pullback = triconv.vjp(
            triconv.conv1d, *map(lib.array, (x, w, b)), padding=((3, 1),), stride=2, padding_mode=mode
        )
        (g,) = draw(tuple(y.shape), seed=1)
        tensors = [torch.tensor(a, requires_grad=True) for a in (x, w, b)]
        padded = torch.nn.functional.pad(tensors[0], (3, 1), mode=mode)
        torch.nn.functional.conv1d(padded, *tensors[1:], stride=2).backward(torch.tensor(g))
        for ours, tensor in zip(pullback(lib.array(g)), tensors, strict=True):
            np.testing.assert_array_equal(lib.numpy(ours), tensor.grad)


@pytest.mark.parametrize(
    ("layout", "x_axes", "w_axes", "y_axes"),
    [
        ("NHWC,HWIO->NHWC", (0, 2, 3, 1), (2, 3, 1, 0), (0, 2, 3, 1)),
        ("CHWN,IHWO->NHWC", (1, 2, 3, 0), (1, 2, 3, 0), (0, 2, 3, 1)),
        ("hwnc, oiwh -> wnch", (2, 3, 0, 1), (0, 1, 3, 2), (3, 0, 1, 2)),
    ],
)
def test_layouts_are_transpositions(lib, layout, x_axes, w_axes, y_axes):
    x, w = draw((2, 4, 5, 6), (6, 2, 3, 2))
    params = {"stride": (2, 1), "padding": [(1, 0), (0, 2)], "groups": 2}
    y = triconv.conv(x, w, **params)
    (g,) = draw(y.shape, seed=1)
    gx = triconv.conv_input_vjp(g, w, input_size=(5, 6), **params)
    gw = triconv.conv_weight_vjp(g, x, kernel_size=(3, 2), **params)
    a, b, c = (lib.array(v.transpose(axes)) for v, axes in ((x, x_axes), (w, w_axes), (g, y_axes)))
    for ours, plain, axes in (
        (triconv.conv(a, b, layout=layout, **params), y, y_axes),
        # sizes are in the order in which x has the letters
        (triconv.conv_input_vjp(c, b, layout=layout, input_size=(5, 6), **params), gx, x_axes),
        (triconv.conv_weight_vjp(c, a, layout=layout, kernel_size=(3, 2), **params), gw, w_axes),
    ):
        np.testing.assert_array_equal(lib.numpy(ours), plain.transpose(axes))


def test_letters_may_be_left_out():
    x, w = draw((1, 5, 6, 2), (3, 2, 2, 1))
    whole = triconv.conv(x, w, layout="NHWC,HWIO->NHWC")
    np.testing.assert_array_equal(triconv.conv(x[0], w[..., 0], layout="HWC,HWI->HW"), whole[0, :, :, 0])
    np.testing.assert_array_equal(triconv.conv(x[0], w[..., 0], layout="HWC,HWI->NHWC"), whole)
    gray = triconv.conv(x[0, :, :, 0], w[:, :, 0, 0], layout="HW,HW->HW")
    np.testing.assert_array_equal(gray, triconv.conv(x[..., :1], w[:, :, :1], layout="NHWC,HWIO->NHWC")[0, :, :, 0])


def test_there_may_be_many_axes_or_none():
    x, w = draw((2, 3, 2, 3, 2, 3, 2), (4, 3, 1, 2, 1, 2, 1))
    y = triconv.conv(x, w)
    assert y.shape == (2, 4, 2, 2, 2, 2, 2)
    expected = sum(
        np.einsum("ncabdef,kc->nkabdef", x[:, :, :, i : i + 2, :, j : j + 2], w[:, :, 0, i, 0, j, 0])
        for i in (0, 1)
        for j in (0, 1)
    )
    np.testing.assert_array_equal(y, expected)
    a, b = draw((5, 3), (4, 3))
    np.testing.assert_array_equal(triconv.conv(a, b), a @ b.T)


def test_a_window_that_does_not_fit_is_refused_or_gives_nothing():
    x, w = np.ones((1, 1, 2)), np.ones((1, 1, 3))
    assert triconv.conv(x, w).shape == (1, 1, 0)
    with pytest.raises(ValueError, match="`w`, with its dilation, must fit into the padded input, got 3 > 2"):
        triconv.conv1d(x, w)


def test_inputs_of_any_strides_stay_as_they_are(lib):
    x, w = draw((2, 4, 9), (6, 4, 3))
    strided = lib.array(np.ascontiguousarray(x[..., ::-1]))
    flipped = lib.xp.flip(strided, axis=-1)
    transposed = lib.xp.permute_dims(lib.array(np.ascontiguousarray(x.transpose(2, 1, 0))), (2, 1, 0))
    for a in (flipped, transposed):
        np.testing.assert_array_equal(lib.numpy(triconv.conv(a, lib.array(w))), triconv.conv(x, w))
        np.testing.assert_array_equal(lib.numpy(a), x)


def test_mixed_dtypes_follow_the_library(lib):
    x, w = lib.array(np.ones((1, 1, 3)), dtype="float32"), lib.array(np.ones((1, 1, 2)), dtype="float64")
    assert triconv.conv(x, w).dtype == lib.xp.result_type(x, w)


def test_unsigned_integers_of_torch_wrap(torch):
    for dtype in (torch.uint16, torch.uint32, torch.uint64):
        ones = [torch.ones(shape, dtype=dtype) for shape in ((1, 1, 3), (1, 1, 2), (1,))]
        assert triconv.conv1d(*ones).tolist() == [[[3, 3]]]
        y, tangent = triconv.jvp(triconv.conv1d, tuple(ones), tuple(ones))
        assert (y.tolist(), tangent.tolist(), tangent.dtype) == ([[[3, 3]]], [[[5, 5]]], dtype)


def test_rank_promotion_of_jax_may_be_an_error(jax):
    jnp = jax.numpy
    with jax.numpy_rank_promotion("raise"):
        assert triconv.conv1d(jnp.ones((2, 4, 6)), jnp.ones((6, 4, 3)), jnp.ones(6)).shape == (2, 6, 4)
