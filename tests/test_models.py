"""Model libraries that let one choose the convolution: the same layers with lax's and with ours."""

from __future__ import annotations

import numpy as np
import pytest

import triconv

LAYERS = [
    {"kernel_size": (3, 3), "strides": 2},
    {"kernel_size": (3, 2), "padding": "VALID", "feature_group_count": 2},
    {"kernel_size": (3, 3), "kernel_dilation": 2, "padding": ((1, 2), (0, 1))},
    {"kernel_size": (2, 3), "input_dilation": 2, "padding": ((1, 0), (2, 2))},
    {"kernel_size": (3, 3), "padding": "CIRCULAR"},
    {"kernel_size": (3,), "padding": "CAUSAL"},
    {"kernel_size": (3, 3), "dtype": "bfloat16"},
]


def assert_close(left, right, jax, tolerance):
    for a, b in zip(jax.tree.leaves(left), jax.tree.leaves(right), strict=True):
        assert (a.shape, a.dtype) == (b.shape, b.dtype)
        np.testing.assert_allclose(np.asarray(a, float), np.asarray(b, float), rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize(
    ("interface", "layer"),
    [
        pytest.param(interface, layer, marks=[] if (n + m) % 2 == 0 else pytest.mark.slow)
        for n, interface in enumerate(("linen", "nnx"))
        for m, layer in enumerate(LAYERS)
    ],
    ids=str,
)
def test_layers_of_flax_are_the_same_with_triconv(jax, interface, layer):
    """In the older interface and in the newer one, by default each with every other layer: value and gradients."""
    from flax import linen, nnx

    x = jax.random.normal(jax.random.key(1), (2, *[8] * len(layer["kernel_size"]), 4), "float32")

    def of_linen(conv):
        module = linen.Conv(6, conv_general_dilated=conv, **layer)
        params = module.init(jax.random.key(0), x)
        return jax.jit(jax.value_and_grad(lambda p: (module.apply(p, x) ** 2).mean()))(params)

    def of_nnx(conv):
        module = nnx.Conv(4, 6, conv_general_dilated=conv, rngs=nnx.Rngs(0), **layer)
        value, gradient = nnx.jit(nnx.value_and_grad(lambda m: (m(x) ** 2).mean()))(module)
        return value, jax.tree.leaves(gradient)

    tolerance = 2e-2 if layer.get("dtype") == "bfloat16" else 1e-5  # of what the layer computes in
    run = {"linen": of_linen, "nnx": of_nnx}[interface]
    assert_close(run(triconv.jax.conv_general_dilated), run(jax.lax.conv_general_dilated), jax, tolerance)
