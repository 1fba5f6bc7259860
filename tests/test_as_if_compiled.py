"""A candidate that branches on whether it is compiled is asked as if it were."""

from __future__ import annotations

import threading

import pytest

import triconv
from triconv.checking.candidates.as_if_compiled import compiling

SHAPES = (2, 3, 8), (4, 3, 3)


def check(torch, factor, of="compiler.is_compiling"):
    module, name = of.split(".")

    def conv(x, w):
        asked = getattr(getattr(torch, module), name)()
        return torch.nn.functional.conv1d(x, w) * (factor() if asked else 1)

    return triconv.check(conv, triconv.conv1d, *SHAPES)


@pytest.mark.parametrize("of", ["compiler.is_compiling", "jit.is_tracing"])
def test_a_branch_for_compiled_code_is_wrong(torch, of):
    report = check(torch, lambda: 1.5, of)
    assert (report.verdict, report.cause) == ("wrong", "other mode")
    assert "torch.compiler.is_compiling()" in report.summary


def test_a_branch_that_gives_the_same_or_needs_a_compiler_is_right(torch):
    def raising():
        msg = "no graph"
        raise RuntimeError(msg)

    assert check(torch, lambda: 1).ok
    assert check(torch, raising).ok


def test_other_threads_hear_what_is_so(torch):
    original, heard = torch.compiler.is_compiling, []
    with compiling(()):
        thread = threading.Thread(target=lambda: heard.append(torch.compiler.is_compiling()))
        thread.start()
        thread.join()
        heard.append(torch.compiler.is_compiling())
    assert heard == [False, True]
    assert torch.compiler.is_compiling is original


def test_what_is_imported_by_name_is_heard_too(torch):
    scope = {"is_compiling": torch.compiler.is_compiling}
    exec("def asked(): return is_compiling()", scope)  # as a module that imports it by name
    with compiling((scope["asked"],)):
        assert scope["asked"]()
    assert not scope["asked"]()
