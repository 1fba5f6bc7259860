"""Half-width floats: sums in float32, rounded once, in values, tangents and cotangents."""

from __future__ import annotations

import numpy as np
import pytest

import triconv

pytestmark = [pytest.mark.versions, pytest.mark.optimized]


def half(lib, values):
    return lib.array(np.asarray(values, np.float32), dtype="float16")


@pytest.fixture
def half_lib(lib):
    if not lib.has("float16"):
        pytest.skip(f"{lib} has no float16")
    return lib


def test_sums_are_taken_in_float32(lib):
    for dtype in ("float16", "bfloat16"):
        if lib.has(dtype):
            # 4,096 ones: a float16 sum would stop at 2,048, a bfloat16 one at 256
            ones = lib.array(np.ones((1, 4096, 1)), dtype=dtype)
            y = triconv.conv(ones, ones)
            assert y.dtype == ones.dtype
            assert float(lib.numpy(y)[0, 0, 0]) == 4096


def test_the_bias_is_added_before_rounding(half_lib):
    y = triconv.conv1d(half(half_lib, [[[1, 1]]]), half(half_lib, [[[2048, 1]]]), half(half_lib, [1]))
    assert half_lib.numpy(y).item() == 2050
    y = triconv.conv1d(half(half_lib, [[[1000]]]), half(half_lib, [[[70]]]), half(half_lib, [-10000]))
    assert half_lib.numpy(y).item() == np.float16(60000)


def test_the_terms_of_a_tangent_are_added_before_rounding(half_lib):
    x, w = half(half_lib, [[[1000]]]), half(half_lib, [[[60]]])
    _, tangent = triconv.jvp(triconv.conv1d, (x, w), (-2 * x, 2 * w))  # 120,000 - 120,000, each beyond float16
    assert half_lib.numpy(tangent).item() == 0


def test_the_cotangent_of_the_bias_is_summed_in_float32(jax, torch):
    jnp = jax.numpy
    x, w = jnp.ones((16, 1, 4096), "bfloat16"), jnp.ones((1, 1, 1), "bfloat16")

    def loss(b):
        return triconv.conv1d(x, w, b).astype("float32").sum()

    for gradient in (jax.grad(loss), jax.jit(jax.grad(loss))):
        got = gradient(jnp.zeros(1, "bfloat16"))
        assert (got.dtype, float(got[0])) == (jnp.bfloat16, 65536)
    b = torch.zeros(1, dtype=torch.bfloat16, requires_grad=True)
    triconv.conv1d(torch.ones(16, 1, 4096).bfloat16(), torch.ones(1, 1, 1).bfloat16(), b).float().sum().backward()
    assert float(b.grad) == 65536


def test_torch_autocast_does_not_narrow(torch):
    x, w = torch.full((1, 1, 3), 1 + 2.0**-20), torch.ones(1, 1, 1)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y = triconv.conv1d(x, w)
    assert y.dtype == torch.float32
    assert torch.equal(y, x)


@pytest.mark.parametrize("level", ["bf16", "tf32"])
def test_torch_settings_do_not_narrow_and_are_kept(torch, level, monkeypatch):
    """Asked of the products, since not every CPU has the narrow ones to show: of doubles, and no setting is touched."""
    module, plain, seen = torch.backends.mkldnn.matmul, torch.matmul, []

    def matmul(a, b):
        seen.append((module.fp32_precision, a.dtype))
        return plain(a, b)

    monkeypatch.setattr(torch, "matmul", matmul)
    before = module.fp32_precision
    module.fp32_precision = level
    try:
        for precision in ("highest", "default"):
            triconv.conv1d(torch.ones(1, 1, 3), torch.ones(1, 1, 1), precision=precision, algorithm="direct")
        assert seen == [(level, torch.float64), (level, torch.float32)]
        assert module.fp32_precision == level
    finally:
        module.fp32_precision = before


SHARDED = ("batch", "space", "nothing")


@pytest.fixture(params=SHARDED)
def on_mesh(request, eight_devices):
    """JAX, and an operator on eight devices that have the batch, the positions, or all of it."""
    jax = eight_devices
    mesh = jax.make_mesh((8,), ("a",), axis_types=(jax.sharding.AxisType.Auto,))
    spec = {"batch": jax.P("a"), "space": jax.P(None, None, "a"), "nothing": jax.P()}[request.param]
    return jax, lambda op: triconv.jax.sharded(op, mesh, spec)


def test_sharded_bias_is_added_before_rounding(on_mesh):
    jax, sharded = on_mesh
    x, w, bias = (
        jax.numpy.full(shape, value, "float16") for shape, value in (((8, 1, 8), 1000), ((1, 1, 1), 70), ((1,), -10000))
    )
    np.testing.assert_array_equal(sharded(triconv.conv1d)(x, w, bias), np.full((8, 1, 8), 60000, np.float16))


def test_sharded_cotangent_of_the_bias_is_summed_in_float32(on_mesh):
    jax, sharded = on_mesh
    x, w = jax.numpy.ones((16, 1, 4096), "bfloat16"), jax.numpy.ones((1, 1, 1), "bfloat16")

    def loss(b):
        return sharded(triconv.conv1d)(x, w, b).astype("float32").sum()

    b = jax.numpy.zeros(1, "bfloat16")
    for gradient in (jax.grad(loss)(b), jax.jit(jax.grad(loss))(b), jax.vmap(jax.grad(loss))(b[None])[0]):
        assert (gradient.dtype, float(gradient[0])) == (jax.numpy.bfloat16, 65536)


def test_sharded_halos_are_added_before_rounding(on_mesh):
    """The sum of what comes back is rounded once: 60,000 + 5,000 is 64,992 in float16."""
    jax, sharded = on_mesh
    g, w = np.ones((8, 1, 16), np.float16), np.asarray([[[60000, 5000, -60000]]], np.float16)
    gx = triconv.conv_input_vjp(g, w, input_size=16, padding=1)
    ours = sharded(triconv.conv_input_vjp)(*map(jax.numpy.asarray, (g, w)), input_size=16, padding=1)
    np.testing.assert_array_equal(np.asarray(ours), gx)
    x = jax.numpy.zeros((8, 1, 16), "float16")
    (by_autodiff,) = jax.vjp(lambda x: sharded(triconv.conv1d)(x, jax.numpy.asarray(w), padding=1), x)[1](
        jax.numpy.asarray(g)
    )
    np.testing.assert_array_equal(np.asarray(by_autodiff), gx)


def test_sums_over_devices_are_taken_in_float32(eight_devices):
    """Under `jax.shard_map`, each device's part of a weight's gradient is beyond float16, and the sum is not."""
    jax = eight_devices
    mesh = jax.make_mesh((8,), ("a",), axis_types=(jax.sharding.AxisType.Auto,))
    x, w = jax.numpy.full((8, 1, 1), 1000, "float16"), jax.numpy.ones((1, 1, 1), "float16")
    g = jax.numpy.asarray([70, 70, 70, 70, -70, -70, -70, -69], "float16").reshape(8, 1, 1)

    def on_each(x, w, g):
        return jax.vjp(lambda w: triconv.conv1d(x, w), w)[1](g)[0]

    f = jax.shard_map(on_each, mesh=mesh, in_specs=(jax.P("a"), jax.P(), jax.P("a")), out_specs=jax.P())
    for run in (f, jax.jit(f)):
        assert float(run(x, w, g)[0, 0, 0]) == 1000


def test_the_terms_of_a_tangent_of_a_gradient_are_added_before_rounding(jax):
    half = lambda value: jax.numpy.full((1, 1, 1), value, "float16")  # noqa: E731
    g, w, dg, dw = half(1000), half(60), half(-2000), half(120)

    def input_vjp(g, w):
        return jax.vjp(lambda x: triconv.conv1d(x, w), half(0))[1](g)[0]

    for run in (lambda f: f, jax.jit):
        tangent = run(lambda *a: jax.jvp(input_vjp, a[:2], a[2:])[1])(g, w, dg, dw)
        assert (tangent.dtype, float(tangent[0, 0, 0])) == ("float16", 0)  # 1000 * 120 - 2000 * 60


def test_a_padding_mode_folds_before_rounding(jax, torch):
    """What comes back to an element from the border and from itself: each beyond float16, and the sum is not."""
    x, w = np.zeros((1, 1, 2), np.float16), np.full((1, 1, 1), 1000, np.float16)
    g = np.asarray([[[1, -69, 67]]], np.float16)
    expected = np.asarray([[[1000, -2000]]], np.float16)
    params = {"padding": [(0, 1)], "padding_mode": "replicate"}
    ours = jax.vjp(lambda x: triconv.conv1d(x, jax.numpy.asarray(w), **params), jax.numpy.asarray(x))[1](
        jax.numpy.asarray(g)
    )
    np.testing.assert_array_equal(np.asarray(ours[0]), expected)
    np.testing.assert_array_equal(triconv.vjp(triconv.conv1d, x, w, **params)[1](g)[0], expected)
    leaf = torch.from_numpy(x).requires_grad_()
    triconv.conv1d(leaf, torch.from_numpy(w), **params).backward(torch.from_numpy(g))
    np.testing.assert_array_equal(leaf.grad.numpy(), expected)


def test_bfloat16_along_three_axes(torch):
    """Where a processor has AMX, oneDNN's own is not the same from run to run."""
    x, w = torch.ones(2, 2, 7, 7, 3, dtype=torch.bfloat16), torch.ones(4, 1, 3, 3, 3, dtype=torch.bfloat16)
    for _ in range(3):  # the first prepares the call
        assert bool((triconv.conv3d(x, w, stride=(1, 2, 3), groups=2) == 27).all())
