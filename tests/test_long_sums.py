"""Terms that are left out of sums of thousands, of which integers that are exact in few bits have few that are not zero."""

from __future__ import annotations

import numpy as np
import pytest

import triconv
from triconv.checking.oracles import drawn_data
from triconv.checking.oracles.convolution import ConvolutionProblem

SHAPES = (1, 4096, 4), (2, 4096, 3)


def conv(x, w, left_out=0):
    """Sums in single precision without their last terms."""
    windows = np.lib.stride_tricks.sliding_window_view(x, 3, 2).swapaxes(1, 2).reshape(-1, w[0].size)
    kernel = w.reshape(len(w), -1).astype(np.float32)
    kernel[:, kernel.shape[1] - left_out :] = 0
    return (windows.astype(np.float32) @ kernel.T).T[None].astype(x.dtype)


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_few_terms_that_are_left_out_of_a_long_sum(dtype):
    for left_out in (1, 4, 9):
        report = triconv.check(
            triconv.Rules(lambda x, w, n=left_out: conv(x, w, n)), triconv.conv1d, *SHAPES, dtype=dtype
        )
        assert report.rows[0].verdict == "wrong"
        assert report.rows[0].cause == "reduction cut" or dtype == "float32"
    assert triconv.check(triconv.Rules(conv), triconv.conv1d, *SHAPES, dtype=dtype).rows[0].verdict == "right"


@pytest.mark.parametrize(
    ("role", "shapes"),
    [
        ("g", ((1, 4000, 3), (4, 2000, 2), (4,))),
        ("x", ((1, 2, 3), (3000, 1, 2), (3000,))),
        ("w", ((6, 4, 4500), (4, 2, 2), (4,))),
        ("bias", ((6, 4, 4500), (4, 2, 2), (4,))),
    ],
)
def test_each_term_is_in_a_window(role, shapes):
    problem = ConvolutionProblem.of(triconv.conv1d, shapes, {"groups": 2})
    arrays = list(drawn_data.windows(problem, role, problem.arrays_of(np.ones)))
    parts = [a.primals["w"] if role in "gx" else a.g for a in arrays]
    # every sample and position, or every channel of the other side, counts for some channel of the result
    channel, terms = {"g": (0, (1, 2)), "x": (1, (0, 2))}.get(role, (1, (0, 2)))
    assert 1 < len(parts) <= drawn_data.WINDOWS
    assert np.any([part.any(axis=channel) for part in parts], axis=0).all()
    groups = 2 if role == "x" else 1
    assert all(np.count_nonzero(part, axis=terms).max() <= groups * drawn_data.WALK for part in parts)
