"""The pytest plugin: the fixture `triconv_check`, one line in a test suite that checks its convolution."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest


@pytest.fixture(scope="session")
def triconv_check() -> Callable[..., Any]:
    """`triconv.check` that fails the test, with the report, unless the verdict is "right"; gives the report."""
    from triconv.checking.check import check

    def run(candidate: Any, like: Any, *shapes_or_arrays: Any, **params: Any) -> Any:
        __tracebackhide__ = True
        report = check(candidate, like, *shapes_or_arrays, **params)
        if not report.ok:
            pytest.fail(f"{report.summary}\n\n{report}", pytrace=False)
        return report

    return run
