"""Half-width floats: sums in float32, rounded once, in values, tangents and cotangents."""

from __future__ import annotations

import numpy as np
import pytest

import triconv


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
