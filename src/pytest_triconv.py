"""The pytest plugin: the fixture `triconv_check`, one line in a test suite that checks its convolution.

It stands beside the package, since pytest loads it in every run of an environment: it imports triconv when the fixture is used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.fixture(scope="session")
def triconv_check() -> Callable[..., Any]:
    """`triconv.check` that fails the test, with the report, unless the verdict is "right"; gives the report."""
    import triconv

    def run(candidate: Any, like: Any, *shapes_or_arrays: Any, **params: Any) -> Any:
        __tracebackhide__ = True
        report = triconv.check(candidate, like, *shapes_or_arrays, **params)
        if not report.ok:
            pytest.fail(f"{report.summary}\n\n{report}", pytrace=False)
        return report

    return run
