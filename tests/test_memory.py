"""`triconv.check` on candidates whose mistake shows only as training calls them, and on right ones that look like them."""

from __future__ import annotations

import pytest

import triconv
from mistakes_of_memory import BROKEN, RIGHT, W, X


def check(entry, request):
    import numpy as np

    framework = np if entry.framework == "numpy" else request.getfixturevalue(entry.framework)
    return triconv.check(entry.make(framework), triconv.conv2d, X, W, framework=entry.framework, **entry.params)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("entry", BROKEN, ids=lambda entry: entry.name)
def test_the_mistake_is_named(entry, request):
    report = check(entry, request)
    assert report.verdict == "wrong", str(report)
    assert report.cause in entry.causes, str(report)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("entry", RIGHT, ids=lambda entry: entry.name)
def test_what_is_right_raises_no_alarm(entry, request):
    report = check(entry, request)
    assert report.ok, str(report)
