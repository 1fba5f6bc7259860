"""The format that numbers go through is read from the bits that are kept: of operands, results and sums."""

from __future__ import annotations

import numpy as np
import pytest

import triconv
from triconv.checking.diagnosis.narrow_operands import ROUNDINGS

SHAPES = (3, 4, 9), (4, 4, 3)


def through(a, name):
    """Round to a format, and back."""
    return ROUNDINGS[name](np.asarray(a, np.float64)).astype(a.dtype)


def terms(x, w):
    windows = np.lib.stride_tricks.sliding_window_view(x, w.shape[2], 2)
    return np.einsum("ncot,kct->ctnko", windows.astype(np.float32), w.astype(np.float32)).reshape(-1, *y_shape(x, w))


def y_shape(x, w):
    return len(x), len(w), x.shape[2] - w.shape[2] + 1


def conv(x, w):
    return terms(x, w).sum(0).astype(x.dtype)


def in_sums(x, w, name):
    total = np.zeros(y_shape(x, w), np.float32)
    for term in terms(x, w):
        total = through(total + term, name)
    return total.astype(x.dtype)


FORMATS = [
    ("float16", lambda x, w: conv(through(x, "bfloat16"), w), "it keeps 8 of 11 bits (bfloat16) of x"),
    ("float16", lambda x, w: through(conv(x, w), "bfloat16"), "the result is rounded to 8 of 11 bits (bfloat16)"),
    ("float16", lambda x, w: in_sums(x, w, "bfloat16"), "sums are kept in 8 of 11 bits (bfloat16)"),
    ("float32", lambda x, w: conv(through(x, "float8 e4m3"), w), "x was rounded to float8 e4m3 first"),
    ("float16", lambda x, w: through(conv(x, w), "float8 e4m3"), "the result is rounded to float8 e4m3"),
]


@pytest.mark.parametrize(("dtype", "forward", "words"), FORMATS, ids=[words for *_, words in FORMATS])
def test_the_format_of_a_value(dtype, forward, words):
    assert words in triconv.check(triconv.Rules(forward), triconv.conv1d, *SHAPES, dtype=dtype).rows[0].detail


def test_a_rounded_gradient_is_no_rounded_operand():
    def weight_vjp(g, x):
        return through(np.asarray(triconv.conv_weight_vjp(g, x, kernel_size=3)), "float8 e5m2")

    report = triconv.check(
        triconv.Rules(triconv.conv1d, weight_vjp=weight_vjp), triconv.conv1d, *SHAPES, dtype="float32"
    )
    assert "VJP of w: the result is rounded to float8 e5m2" in report.summary


def test_the_largest_number_of_a_format_is_named():
    rules = triconv.Rules(lambda x, w: np.clip(conv(x, w), -448, 448))
    assert "clipped at 448, the largest number of float8 e4m3" in triconv.check(rules, triconv.conv1d, *SHAPES).summary
