"""Products of matrices that mix the rows of several samples, and what only looks like their rounding."""

from __future__ import annotations

import numpy as np
import pytest

import triconv

SHAPES = (6, 4, 11), (4, 4, 3)


def strassen(a, b, levels=2):
    """A product by seven products of halves."""
    if not levels:
        return a @ b
    rows, columns = len(a), b.shape[1]
    a, b = (np.pad(m, [(0, size % 2) for size in m.shape]) for m in (a, b))
    (a11, a12), (a21, a22) = (np.hsplit(half, 2) for half in np.vsplit(a, 2))
    (b11, b12), (b21, b22) = (np.hsplit(half, 2) for half in np.vsplit(b, 2))
    pairs = [(a11 + a22, b11 + b22), (a21 + a22, b11), (a11, b12 - b22), (a22, b21 - b11), (a11 + a12, b22)]
    pairs += [(a21 - a11, b11 + b12), (a12 - a22, b21 + b22)]
    m1, m2, m3, m4, m5, m6, m7 = (strassen(*pair, levels - 1) for pair in pairs)
    return np.block([[m1 + m4 - m5 + m7, m3 + m5], [m2 + m4, m1 - m2 + m3 + m6]])[:rows, :columns]


def by_rows(x, w, product=strassen):
    """A convolution as one product of matrices, of which the samples are rows."""
    windows = np.lib.stride_tricks.sliding_window_view(x, w.shape[2], 2)
    y = product(windows.transpose(0, 2, 1, 3).reshape(-1, w[0].size), w.reshape(len(w), -1).T)
    return np.ascontiguousarray(y.reshape(len(x), -1, len(w)).swapaxes(1, 2))


def input_vjp(g, w):
    return by_rows(np.pad(g, ((0, 0), (0, 0), (2, 2))), w.swapaxes(0, 1)[..., ::-1])


@pytest.mark.parametrize("dtype", ["float32", "float64", "complex64"])
def test_rounding_that_leaks_into_small_samples_is_normwise_stable(dtype):
    report = triconv.check(triconv.Rules(by_rows, input_vjp), triconv.conv1d, *SHAPES, dtype=dtype)
    assert report.verdict == "right"
    assert "normwise stable only" in report.rows[0].detail


def to_steps(a, step):
    return (np.round(a / step) * step).astype(a.dtype)


FAULTS = {
    "a fixed step": lambda x, w: by_rows(to_steps(x, 2.0**-21), w, np.matmul),
    "a small number that is added": lambda x, w: by_rows(x, w, np.matmul) + x.dtype.type(1e-6),
    "integers of one scale": lambda x, w: by_rows(to_steps(x, np.abs(x).max() * 2.0**-20), w, np.matmul),
    "a step for numbers that a product mixes": lambda x, w: by_rows(to_steps(x, 2.0**-21), w),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_as_small_is_not_taken_for_a_leak(name):
    report = triconv.check(triconv.Rules(FAULTS[name], input_vjp), triconv.conv1d, *SHAPES, dtype="float32")
    assert report.rows[0].verdict == "wrong"
