"""The teaching notebook's three functions: its shapes, its values, and the comparison with torch that it meant to make."""

from __future__ import annotations

import numpy as np
import pytest

import triconv

SMALL = [[[1], [2]], [[3], [4]]]
TWELVE = np.arange(1, 13).reshape(2, 2, 3)
FILTER = [[[1, 2, 3]], [[4, 5, 6]]]
GRADIENT = [[[1, 2], [7, 12], [12, 16]], [[2, 4], [11, 18], [15, 20]], [[3, 6], [15, 24], [18, 24]]]


def test_the_values_are_those_of_the_notebook(lib):
    forward = triconv.conv2d_forward(lib.array(SMALL), lib.array([[[10]], [[2]]]))
    np.testing.assert_array_equal(lib.numpy(forward), [[16, 28]])
    forward = triconv.conv2d_forward(lib.array(TWELVE), lib.array(FILTER))
    np.testing.assert_array_equal(lib.numpy(forward), [[136, 199]])
    backward = triconv.conv2d_backward(lib.array(SMALL), lib.array(FILTER))
    np.testing.assert_array_equal(lib.numpy(backward), GRADIENT)


def test_nested_lists_are_taken():
    np.testing.assert_array_equal(triconv.conv2d_forward(SMALL, [[[10]], [[2]]]), [[16, 28]])
    np.testing.assert_array_equal(triconv.conv2d_backward(SMALL, FILTER), GRADIENT)
    assert isinstance(triconv.conv2d_backward_weights(SMALL, [[[1]]]), np.ndarray)


@pytest.mark.parametrize("channels", [1, 3])
def test_values_and_gradients_are_torchs(torch, channels):
    """Its 1-channel comparison never ran: the filter was transposed with four axes where it has three."""
    rng = np.random.default_rng(channels)
    matrix, filter_ = rng.standard_normal((3, 2, channels)), rng.standard_normal((2, 1, channels))
    upstream = rng.standard_normal((2, 2, 1))
    x = torch.tensor(matrix.transpose(2, 0, 1)[None], requires_grad=True)
    w = torch.tensor(filter_.transpose(2, 0, 1)[None], requires_grad=True)
    y = torch.nn.functional.conv2d(x, w)
    y.backward(torch.tensor(upstream.transpose(2, 0, 1)[None]))
    np.testing.assert_allclose(triconv.conv2d_forward(matrix, filter_), y.detach()[0, 0], rtol=1e-13)
    np.testing.assert_allclose(triconv.conv2d_backward(upstream, filter_), x.grad[0], rtol=1e-13)
    weights = triconv.conv2d_backward_weights(matrix, upstream)
    assert weights.shape == (channels, 2, 1)
    np.testing.assert_allclose(weights, w.grad[0], rtol=1e-13)


def test_they_are_each_others_derivatives():
    rng = np.random.default_rng(0)
    matrix, filter_ = rng.integers(-4, 5, (5, 4, 3)), rng.integers(-4, 5, (2, 3, 3))
    y, pullback = triconv.vjp(triconv.conv2d_forward, matrix, filter_)
    g = rng.integers(-4, 5, y.shape)
    by_matrix, by_filter = pullback(g)
    np.testing.assert_array_equal(by_matrix.transpose(2, 0, 1), triconv.conv2d_backward(g[..., None], filter_))
    np.testing.assert_array_equal(by_filter.transpose(2, 0, 1), triconv.conv2d_backward_weights(matrix, g[..., None]))


@pytest.mark.parametrize(
    ("function", "shapes", "match"),
    [
        ("conv2d_forward", [(2, 2), (1, 1, 1)], r"`matrix` must have 3 axes \(height, width, channels\), got 2"),
        (
            "conv2d_forward",
            [(2, 2, 1), (3, 1, 1)],
            "`filter`, with its dilation, must fit into the padded input, got 3 > 2",
        ),
        (
            "conv2d_forward",
            [(2, 2, 2), (1, 1, 3)],
            r"`matrix.shape\[2\]` must equal `filter.shape\[2\]`, got 2 != 3",
        ),
        ("conv2d_backward", [(2, 2, 2), (1, 1, 1)], r"`upstream.shape\[2\]` must be 1, the one output channel, got 2"),
        ("conv2d_backward", [(0, 2, 1), (1, 1, 1)], "`upstream` must have a row and a column, got 0 x 2"),
        (
            "conv2d_backward_weights",
            [(2, 2, 1), (3, 2, 1)],
            r"`upstream` must not be larger than `matrix`, got \(3, 2\) > \(2, 2\)",
        ),
    ],
)
def test_arrays_that_do_not_fit_are_refused(function, shapes, match):
    with pytest.raises(ValueError, match=match):
        getattr(triconv, function)(*(np.ones(shape) for shape in shapes))
