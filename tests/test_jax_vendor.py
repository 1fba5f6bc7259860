"""JAX's own convolution in one call for every geometry: dilated inputs, any padding, groups; exact on integers."""

from __future__ import annotations

import numpy as np
import pytest

from triconv import contractions
from triconv.backends import backend_of
from triconv.geometry import Geometry


def draw(number):
    """A geometry of one or two axes that has an output."""
    rng = np.random.default_rng(number)
    ndim = int(rng.integers(1, 3))
    ints = lambda low, high: [int(v) for v in rng.integers(low, high, ndim)]  # noqa: E731
    while True:
        pads = [tuple(map(int, rng.integers(-2, 9, 2))) for _ in range(ndim)]
        steps = {"stride": ints(1, 4), "dilation": ints(1, 4), "input_dilation": ints(1, 4)}
        try:
            geometry = Geometry.of(ints(1, 8), ints(1, 5), padding=pads, groups=int(rng.integers(1, 3)), **steps)
        except ValueError:
            continue
        if all(geometry.output_size):
            return geometry, rng


@pytest.mark.parametrize("number", range(24))
def test_any_geometry_is_one_call_and_exact(jax, number):
    geometry, rng = draw(number)
    lib, groups, n, c, k = backend_of(jax.numpy), geometry.groups, 2, 2, 3
    assert lib.vendor_dilates
    x, w, g = (
        rng.integers(-3, 4, shape).astype(np.float32)
        for shape in (
            (groups, n, c, *geometry.input_size),
            (groups, k, c, *geometry.kernel_size),
            (groups, n, k, *geometry.output_size),
        )
    )
    a = {name: jax.numpy.asarray(array) for name, array in (("x", x), ("w", w), ("g", g))}
    np.testing.assert_array_equal(lib.vendor_conv(geometry, a["x"], a["w"]), contractions.conv(x, w, geometry=geometry))
    np.testing.assert_array_equal(
        lib.vendor_input_vjp(geometry, a["g"], a["w"]), contractions.conv_input_vjp(g, w, geometry=geometry)
    )
    np.testing.assert_array_equal(
        lib.vendor_weight_vjp(geometry, a["x"], a["g"]), contractions.conv_weight_vjp(g, x, geometry=geometry)
    )


def test_windows_of_padding_alone_are_left_out(jax):
    """A transpose with groups would crop them, which XLA's CPU compiler does wrong."""
    geometry = Geometry.of((5, 4), (1, 3), padding=[(5, 0), (4, 1)], input_dilation=(3, 1), groups=2)
    rng = np.random.default_rng(0)
    g = rng.integers(-3, 4, (2, 2, 3, *geometry.output_size)).astype(np.float32)
    w = rng.integers(-3, 4, (2, 3, 2, 1, 3)).astype(np.float32)
    ours = backend_of(jax.numpy).vendor_input_vjp(geometry, *map(jax.numpy.asarray, (g, w)))
    np.testing.assert_array_equal(ours, contractions.conv_input_vjp(g, w, geometry=geometry))
