"""`triconv.check` on a bank of broken convolutions, whose mistake it names, and on unusual right ones."""

from __future__ import annotations

import numpy as np
import pytest

import triconv
from mistakes import BROKEN, RIGHT


def check(entry, request):
    framework = np if entry.framework == "numpy" else request.getfixturevalue(entry.framework)
    candidate = entry.make(framework)
    return triconv.check(
        candidate, getattr(triconv, entry.like), *entry.shapes, framework=entry.framework, **entry.params
    )


def broken():
    """The bank; JAX takes seconds to compile each, so that those of JAX whose causes entries before have are slow."""
    named = set()
    for entry in BROKEN:
        repeated = entry.framework == "jax" and entry.causes <= named
        yield pytest.param(entry, id=entry.name, marks=pytest.mark.slow if repeated else [])
        named |= entry.causes


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("entry", list(broken()))
def test_the_mistake_of_a_broken_convolution_is_named(entry, request):
    report = check(entry, request)
    assert report.verdict == "wrong", str(report)
    assert report.cause in entry.causes, str(report)


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize(
    "entry",
    [
        # what rounds in its FFT is torch's case by default, and NumPy's
        pytest.param(entry, id=entry.name, marks=pytest.mark.slow if entry.name == "jax: jax_fft" else [])
        for entry in RIGHT
    ],
)
def test_an_unusual_convolution_that_is_right_raises_no_alarm(entry, request):
    report = check(entry, request)
    assert report.ok, str(report)


def test_the_bank_is_large():
    assert len(BROKEN) >= 40
    assert len({entry.name for entry in BROKEN + RIGHT}) == len(BROKEN) + len(RIGHT)
