"""Every row of the rule tables, first and second order, batched, against the frameworks and against themselves."""

from __future__ import annotations

import numpy as np
import pytest

import triconv
from triconv import contractions, rules
from triconv.autodiff.batching import batched as fold_batch
from triconv.checking.oracles.cases import GEOMETRIES
from triconv.geometry import Geometry

CASE = next(case for case in GEOMETRIES if case.name == "groups and all steps")


def canonical(seed=0):
    """Integer x, w and g in canonical layout, and their geometry."""
    rng = np.random.default_rng(seed)
    geometry = Geometry.of((7, 4), (2, 3), stride=(2, 1), padding=[(1, 0), (0, 2)], input_dilation=(1, 2), groups=2)
    shapes = {
        "x": (2, 3, 2, *geometry.input_size),
        "w": (2, 1, 2, *geometry.kernel_size),
        "g": (2, 3, 1, *geometry.output_size),
    }
    return {role: rng.integers(-3, 4, shape).astype(np.float32) for role, shape in shapes.items()}, geometry


@pytest.mark.parametrize(("name", "position"), [(name, position) for name in rules.ROLES for position in (0, 1)])
def test_each_entry_is_the_adjoint(name, position):
    """<ct, f(a, b)> is <rule(ct, b), a>, for this forward: one number, three ways, exactly."""
    arrays, geometry = canonical()
    roles = rules.ROLES[name]
    operands = [arrays[role] for role in roles.operands]
    ct = arrays[roles.result]
    value = getattr(contractions, name)(*operands, geometry=geometry)
    cotangent = rules.VJP[name][position](contractions, ct, *operands, geometry=geometry)
    assert cotangent.shape == operands[position].shape
    assert np.sum(value * ct) == np.sum(cotangent * operands[position]) != 0


@pytest.mark.parametrize("mode", ["reflect", "replicate", "circular"])
def test_pad_adjoint_is_the_adjoint_of_pad(mode):
    rng = np.random.default_rng(0)
    pads = ((2, 1), (0, 3))
    x = rng.integers(-4, 5, (2, 4, 5)).astype(np.float32)
    padded = contractions.pad(x, mode=mode, pads=pads)
    g = rng.integers(-4, 5, padded.shape).astype(np.float32)
    gx = contractions.pad_adjoint(g, mode=mode, pads=pads)
    assert gx.shape == x.shape
    assert np.sum(padded * g) == np.sum(gx * x) != 0
    reference = np.pad(x, ((0, 0), *pads), mode={"reflect": "reflect", "replicate": "edge", "circular": "wrap"}[mode])
    np.testing.assert_array_equal(padded, reference)


@pytest.mark.parametrize("name", rules.ROLES)
@pytest.mark.parametrize("axes", [(0, None), (None, 1), (2, 0), (1, 3)])
def test_the_batching_table_is_that_of_single_calls(name, axes):
    arrays, geometry = canonical()
    operands = [arrays[role] for role in rules.ROLES[name].operands]
    rng = np.random.default_rng(1)
    batched = [
        a if axis is None else np.moveaxis(rng.integers(-3, 4, (5, *a.shape)).astype(np.float32), 0, axis)
        for a, axis in zip(operands, axes, strict=True)
    ]
    result, where = fold_batch(np, contractions, name, batched, axes, geometry=geometry)
    for sample in range(5):
        picked = [a if axis is None else np.take(a, sample, axis) for a, axis in zip(batched, axes, strict=True)]
        expected = getattr(contractions, name)(*picked, geometry=geometry)
        np.testing.assert_array_equal(np.take(result, sample, where), expected)


def test_a_batch_may_be_empty():
    arrays, geometry = canonical()
    x = np.zeros((0, *arrays["x"].shape), np.float32)
    for w, axis in ((arrays["w"], None), (np.zeros((0, *arrays["w"].shape), np.float32), 0)):
        result, where = fold_batch(np, contractions, "conv", (x, w), (0, axis), geometry=geometry)
        assert result.shape[where] == 0
        assert result.size == 0


# ---- JAX


def jax_arrays(jax, dtype=np.float64):
    rng = np.random.default_rng(0)
    return [jax.numpy.asarray(rng.integers(-3, 4, shape).astype(dtype)) for shape in (CASE.x, CASE.w, CASE.g)]


def lax_conv(jax, x, w):
    return jax.lax.conv_general_dilated(
        x,
        w,
        CASE.stride,
        CASE.padding,
        lhs_dilation=CASE.input_dilation,
        rhs_dilation=CASE.dilation,
        feature_group_count=CASE.groups,
    )


def primitives(jaxpr):
    """Names of all primitives, those in nested programs too."""
    for equation in jaxpr.eqns:
        yield equation.primitive.name
        for value in equation.params.values():
            inner = getattr(value, "jaxpr", value)
            if hasattr(inner, "eqns"):
                yield from primitives(inner)


def test_the_jaxpr_of_a_gradient_has_our_three_and_no_framework_convolution(jax):
    x, w, _ = jax_arrays(jax)

    def loss(x, w):
        return (triconv.conv(x, w, **CASE.params) ** 2).sum()

    found = set(primitives(jax.make_jaxpr(jax.grad(loss, (0, 1)))(x, w).jaxpr))
    assert {"triconv_conv", "triconv_conv_input_vjp", "triconv_conv_weight_vjp"} <= found
    second = set(primitives(jax.make_jaxpr(jax.hessian(loss, 1))(x, w).jaxpr))
    assert not {"conv_general_dilated"} & (found | second)


def test_first_and_second_order_are_those_of_jax(jax):
    x, w, g = jax_arrays(jax)

    def losses(conv):
        def loss(x, w):
            y = conv(x, w)
            return (y * y * g).sum()

        def second(x, w):
            gx, gw = jax.grad(loss, (0, 1))(x, w)
            return (gx**2).sum() + (gw * gw * w).sum()

        return loss, second

    for ours, theirs in zip(
        losses(lambda x, w: triconv.conv(x, w, **CASE.params)), losses(lambda x, w: lax_conv(jax, x, w)), strict=True
    ):
        for a, b in zip(jax.grad(ours, (0, 1))(x, w), jax.grad(theirs, (0, 1))(x, w), strict=True):
            np.testing.assert_array_equal(a, b)


def test_forward_mode_is_that_of_jax(jax):
    x, w, _ = jax_arrays(jax)
    tangents = (x[::-1], w[::-1])
    ours = jax.jvp(lambda x, w: triconv.conv(x, w, **CASE.params), (x, w), tangents)
    theirs = jax.jvp(lambda x, w: lax_conv(jax, x, w), (x, w), tangents)
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("in_axes", [(0, None), (None, 2), (1, 0), (-1, -1)])
def test_vmap_of_the_gradient_is_that_of_jax(jax, in_axes):
    x, w, g = jax_arrays(jax)
    stacked = [
        a if axis is None else jax.numpy.stack([a, 2 * a[::-1], -a], axis)
        for a, axis in zip((x, w), in_axes, strict=True)
    ]

    def gradients(conv):
        return jax.vmap(jax.grad(lambda x, w: (conv(x, w) ** 2 * g).sum(), (0, 1)), in_axes)(*stacked)

    ours = gradients(lambda x, w: triconv.conv(x, w, **CASE.params))
    theirs = gradients(lambda x, w: lax_conv(jax, x, w))
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(a, b)


def test_derivatives_of_padding_modes_are_those_of_jax(jax):
    rng = np.random.default_rng(0)
    x, w = (jax.numpy.asarray(rng.integers(-3, 4, shape).astype(float)) for shape in ((2, 2, 5), (3, 2, 3)))

    def ours(x, w):
        return (triconv.conv1d(x, w, padding=2, padding_mode="reflect") ** 2).sum()

    def theirs(x, w):
        padded = jax.numpy.pad(x, ((0, 0), (0, 0), (2, 2)), mode="reflect")
        return (jax.lax.conv_general_dilated(padded, w, (1,), "VALID") ** 2).sum()

    for order in (jax.grad, lambda f, argnums: jax.jacfwd(jax.grad(f, argnums), argnums)):
        for a, b in zip(
            jax.tree.leaves(order(ours, (0, 1))(x, w)), jax.tree.leaves(order(theirs, (0, 1))(x, w)), strict=True
        ):
            np.testing.assert_array_equal(a, b)
    assert {"triconv_pad", "triconv_pad_adjoint"} <= set(primitives(jax.make_jaxpr(jax.grad(ours))(x, w).jaxpr))
    batched = jax.vmap(ours, (1, None))(jax.numpy.stack([x, -x], 1), w)
    np.testing.assert_array_equal(batched, [ours(x, w), ours(-x, w)])


def test_jax_compiles_whole_and_runs_eagerly_alike(jax):
    x, w, _ = jax_arrays(jax)
    eager = triconv.conv(x, w, **CASE.params)
    np.testing.assert_array_equal(jax.jit(lambda x, w: triconv.conv(x, w, **CASE.params))(x, w), eager)


def test_jax_complex_gradients_are_not_conjugated(jax):
    x, w, _ = (a.astype(complex) * (1 + 2j) for a in jax_arrays(jax))
    ours = jax.vjp(lambda w: triconv.conv(x, w, **CASE.params), w)
    theirs = jax.vjp(lambda w: lax_conv(jax, x, w), w)
    np.testing.assert_array_equal(ours[1](ours[0])[0], theirs[1](theirs[0])[0])


# ---- torch


def torch_arrays(torch, dtype=None):
    rng = np.random.default_rng(0)
    dtype = dtype or torch.float64
    return [
        torch.tensor(rng.standard_normal(shape)).to(dtype).requires_grad_()
        for shape in ((1, 2, 3, 3), (2, 1, 2, 2), (2,))
    ]


@pytest.mark.parametrize(  # the others by default in test_gradcheck_of_torch_passes
    "mode", ["circular", *(pytest.param(mode, marks=pytest.mark.slow) for mode in ("zeros", "reflect"))]
)
def test_first_and_second_order_are_those_of_torch(torch, mode):
    def function(x, w, b):
        return triconv.conv2d(x, w, b, stride=(2, 1), padding=(1, 2), groups=2, padding_mode=mode)

    assert torch.autograd.gradcheck(function, torch_arrays(torch), check_forward_ad=True)
    assert torch.autograd.gradgradcheck(function, torch_arrays(torch))


def test_transposed_derivatives_are_those_of_torch(torch):
    def function(x, w):
        return triconv.conv_transpose2d(x, w, None, (2, 1), 1, (1, 0), dilation=(1, 2))

    arrays = torch_arrays(torch)[:2]
    arrays[1] = torch.randn(
        2, 2, 2, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0)
    ).requires_grad_()
    assert torch.autograd.gradcheck(function, arrays, check_forward_ad=True)
    assert torch.autograd.gradgradcheck(function, arrays)


def test_torch_complex_gradients_are_conjugated(torch):
    x, w, _ = (a.detach() * (1 + 2j) for a in torch_arrays(torch))
    pairs = []
    for conv in (triconv.conv2d, torch.nn.functional.conv2d):
        a, b = x.clone().requires_grad_(), w.clone().requires_grad_()
        conv(a, b, groups=2).abs().sum().backward()
        pairs.append((a.grad, b.grad))
    for ours, theirs in zip(*pairs, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-12)


@pytest.mark.parametrize("in_dims", [(0, None), (None, 1), (1, 0)])
def test_transforms_are_those_of_torch_func(torch, in_dims):
    x, w, _ = (a.detach() for a in torch_arrays(torch))
    stacked = [a if d is None else torch.stack([a, -a, 2 * a], d) for a, d in zip((x, w), in_dims, strict=True)]
    results = []
    for conv in (triconv.conv2d, torch.nn.functional.conv2d):
        gradient = torch.func.grad(lambda x, w, conv=conv: (conv(x, w, groups=2) ** 3).sum(), argnums=(0, 1))
        results.append(torch.func.vmap(gradient, in_dims)(*stacked))
    for ours, theirs in zip(*results, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-10, atol=1e-10)


def test_transforms_of_padding_modes_are_those_of_torch_func(torch):
    x, w, _ = (a.detach() for a in torch_arrays(torch))

    def loss(x, w):
        return (triconv.conv2d(x, w, padding=1, groups=2, padding_mode="circular") ** 2).sum()

    gradient = torch.func.grad(loss)
    batched = torch.func.vmap(gradient, (2, None), 2)(torch.stack([x, -2 * x], 2), w)
    np.testing.assert_allclose(batched[:, :, 0], gradient(x, w), rtol=1e-12)
    np.testing.assert_allclose(batched[:, :, 1], gradient(-2 * x, w), rtol=1e-12)


# ---- vjp and jvp, on any backend


@pytest.mark.parametrize("operator", ["conv", "conv_input_vjp", "conv_weight_vjp", "conv1d", "conv_transpose1d"])
def test_vjp_and_jvp_are_adjoint(lib, operator):
    rng = np.random.default_rng(0)
    shapes, params = {
        "conv": (((2, 4, 7), (4, 2, 3)), {"stride": 2, "padding": [(2, -1)], "groups": 2, "input_dilation": 2}),
        "conv_input_vjp": (((2, 4, 3), (4, 2, 3)), {"input_size": 7, "stride": 2, "groups": 2}),
        "conv_weight_vjp": (((2, 4, 3), (2, 4, 7)), {"kernel_size": 3, "stride": 2, "groups": 2}),
        "conv1d": (((2, 4, 7), (4, 2, 3), (4,)), {"padding": 2, "groups": 2, "padding_mode": "circular"}),
        "conv_transpose1d": (((2, 4, 7), (4, 2, 3), (4,)), {"stride": 3, "groups": 2, "output_padding": 2}),
    }[operator]
    draw = lambda shape: lib.array(rng.integers(-3, 4, shape).astype(np.float32))  # noqa: E731
    arrays, tangents = [draw(s) for s in shapes], [draw(s) for s in shapes]
    op = getattr(triconv, operator)
    y, pullback = triconv.vjp(op, *arrays, **params)
    value, tangent = triconv.jvp(op, arrays, tangents, **params)
    np.testing.assert_array_equal(lib.numpy(y), lib.numpy(op(*arrays, **params)))
    np.testing.assert_array_equal(lib.numpy(y), lib.numpy(value))
    g = draw(tuple(y.shape))
    cotangents = pullback(g)
    left = np.sum(lib.numpy(g) * lib.numpy(tangent))
    pairs = zip(cotangents, tangents, arrays, strict=True)
    right = sum(np.sum(lib.numpy(c) * lib.numpy(t)) for c, t, a in pairs if c.dtype == a.dtype and c.shape == a.shape)
    assert left == right != 0
    # the tangent is the derivative of the value: exact, since the value is quadratic in the step (and the bias linear)
    forth, back = (op(*(a + s * t for a, t in zip(arrays, tangents, strict=True)), **params) for s in (1, -1))
    np.testing.assert_array_equal(lib.numpy(forth) - lib.numpy(back), 2 * lib.numpy(tangent))


def test_cotangents_have_the_dtypes_of_their_arrays(lib):
    x = lib.array(np.ones((1, 1, 4)), dtype="float32")
    w = lib.array(np.full((1, 1, 2), 1 + 2j), dtype="complex64")
    y, pullback = triconv.vjp(triconv.conv, x, w)
    assert y.dtype == w.dtype
    gx, gw = pullback(lib.array(np.full((1, 1, 3), 1j), dtype="complex64"))
    assert (gx.dtype, gw.dtype) == (x.dtype, w.dtype)
    sign = -1 if lib.name == "torch" else 1  # torch conjugates w
    np.testing.assert_array_equal(lib.numpy(gx)[0, 0], np.real(1j * (1 + sign * 2j)) * np.array([1, 2, 2, 1]))


@pytest.mark.parametrize(
    ("g", "error", "match"),
    [
        (np.ones((1, 1, 2)), ValueError, r"`g.shape` must be that of the result, got \(1, 1, 2\) != \(1, 1, 3\)"),
        (np.ones((1, 1, 3), complex), TypeError, "`g.dtype` must fit into the dtype of the result, got complex128"),
        ([1, 2], TypeError, "`g` must be an array of an array API library, got list"),
    ],
)
def test_a_cotangent_that_does_not_fit_is_refused(g, error, match):
    _, pullback = triconv.vjp(triconv.conv, np.ones((1, 1, 4)), np.ones((1, 1, 2)))
    with pytest.raises(error, match=match):
        pullback(g)


def test_what_vjp_and_jvp_cannot_take_is_refused():
    x, w = np.ones((1, 1, 4)), np.ones((1, 1, 2))
    with pytest.raises(TypeError, match="`op` must be an operator of triconv"):
        triconv.vjp(np.convolve, x, w)
    with pytest.raises(ValueError, match="`tangents` must be one per array, got 1"):
        triconv.jvp(triconv.conv, (x, w), (x,))
    with pytest.raises(ValueError, match=r"`tangents\[1\]\.shape` must be that of arrays\[1\]"):
        triconv.jvp(triconv.conv, (x, w), (x, x))
