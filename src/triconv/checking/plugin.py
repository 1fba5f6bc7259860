"""The pytest plugin by its first name, for ``-p triconv.checking.plugin``; see `pytest_triconv`."""

from __future__ import annotations

from pytest_triconv import triconv_check

__all__ = ["triconv_check"]
