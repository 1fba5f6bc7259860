"""Every public docstring: numpydoc's whole validation, and the sections that a reader of this library relies on."""

from __future__ import annotations

import inspect
import re
from typing import get_args, get_type_hints

import pytest
from numpydoc.validate import validate

import triconv
from triconv import Bound
from triconv.backends import BACKENDS
from triconv.checking.dtypes import INTEGERS, Dtype
from triconv.checking.findings.protocol import Verdict, VerdictName
from triconv.geometry.padding import PADDING_NAMES, PaddingName
from triconv.operators import signature_types
from triconv.operators.registry import OPERATORS
from triconv.planning.planner import KERNELS

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


def test_signatures_say_what_is_taken():
    """To editors and to `help`: no parameter of a public function is of any type at all, and each annotation has a meaning."""
    for name in FUNCTIONS:
        function = getattr(triconv, name)
        signature = inspect.signature(function)
        for parameter in signature.parameters.values():
            assert parameter.annotation is not parameter.empty, (name, parameter)
        assert not re.search(r"\bAny\b", str(signature)), (name, signature)
        get_type_hints(function)


def test_names_in_types_are_those_of_the_code():
    """What type checkers read stands in `Literal`; what runs stands in tables."""
    assert get_args(signature_types.Algorithm) == ("auto", *KERNELS)
    assert {name.lower() for name in get_args(PaddingName)} == set(PADDING_NAMES)
    assert get_args(signature_types.Library) == tuple(BACKENDS)
    assert list(get_args(Dtype))[6:] == list(INTEGERS)
    assert set(get_args(VerdictName)) == set(Verdict) - {"unsupported"}


@pytest.mark.parametrize("name", [name for name in OPERATORS if not name.startswith("conv2d_")])
def test_bound_operators_take_what_the_plain_ones_take(name):
    """Their types for editors stand beside the plain ones."""
    call = get_type_hints(Bound)[name].__call__
    plain, bound = inspect.signature(getattr(triconv, name)).parameters, inspect.signature(call).parameters
    keywords = get_type_hints(call)["params"].__args__[0]
    listed = [p for p in bound.values() if p.name not in ("self", "params")]
    assert [p.name for p in listed] == [p.name for p in plain.values() if p.kind == p.POSITIONAL_OR_KEYWORD]
    for p in listed:
        assert (p.default, p.annotation) in [
            (plain[p.name].default, kind) for kind in ("Any", plain[p.name].annotation)
        ]
    others = {p.name: p for p in plain.values() if p.kind == p.KEYWORD_ONLY}
    assert set(keywords.__annotations__) == set(others)
    assert keywords.__required_keys__ == {p.name for p in others.values() if p.default is p.empty}
