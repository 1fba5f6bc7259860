"""Every public docstring: numpydoc's whole validation, and the sections that a reader of this library relies on."""

from __future__ import annotations

import inspect

import pytest
from numpydoc.validate import validate

import triconv

# what is not asked: extended summaries, references everywhere, a sentence's form in a type slot or a one-word description
LEFT_OUT = {"ES01", "SA01", "EX01", "GL01", "SS05", "SS06", "RT02", "RT03", "PR08", "PR09", "PR06"}

FUNCTIONS = [name for name in triconv.__all__ if inspect.isfunction(getattr(triconv, name))]


@pytest.mark.parametrize("name", triconv.__all__)
def test_numpydoc(name):
    # by the module that defines it: `triconv.backends` is a package too
    errors = validate(f"{getattr(triconv, name).__module__}.{name}")["errors"]
    assert [error for error in errors if error[0] not in LEFT_OUT] == []


@pytest.mark.parametrize("name", FUNCTIONS)
def test_sections(name):
    doc = inspect.getdoc(getattr(triconv, name))
    for section in ("Returns", "Raises", "Notes", "Examples"):
        assert f"{section}\n---" in doc or (name == "backends" and section == "Raises")


def test_the_module_states_the_equation():
    assert "input_dilation * i + pad_lo  =  stride * o + dilation * t" in triconv.__doc__
