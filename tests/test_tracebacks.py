"""What a candidate raised comes with its place in the user's own code, and whole."""

from __future__ import annotations

import json
import linecache

import pytest

import triconv
from triconv.checking.findings.exception_text import caught
from triconv.checking.findings.user_code import is_of_library, is_users
from triconv.checking.reports import html_report

SHAPES = (1, 2, 4, 3), (2, 2, 2, 2)


def check(source, name="layers.py"):
    """Check the function `conv` of a source that is in a file of this name."""
    file = f"/home/somebody/{name}"
    linecache.cache[file] = len(source), None, source.splitlines(keepends=True), file
    scope = {"__name__": "layers"}
    exec(compile(source, file, "exec"), scope)
    return triconv.check(scope["conv"], triconv.conv2d, *SHAPES, framework=scope.get("framework", "numpy"))


HELPER = """
import numpy as np

def windows(x, size):
    raise ValueError(f"no windows of {size}\\n\\n  in all of {x.shape} <b>")

def conv(x, w):
    return windows(x, w.shape)
"""
LIBRARY = """
import numpy as np

def conv(x, w):
    return np.reshape(x, (5, 7))
"""
CHAIN = """
def conv(x, w):
    try:
        return {}[x.shape]
    except KeyError as problem:
        raise RuntimeError("no such shape") from problem
"""
EXIT = """
import sys

def conv(x, w):
    sys.exit("usage: conv FILE")
"""


def test_the_sentence_names_the_innermost_line_of_the_user():
    report = check(HELPER)
    (row,) = report.rows
    exception = row.finding.exception
    assert (exception.type, exception.where) == ("ValueError", "layers.py:5, in windows")
    assert row.detail == "the candidate raised ValueError: no windows of (2, 2, 2, 2) (layers.py:5, in windows)"
    assert exception.traceback.startswith(
        'Traceback (most recent call last):\n  File "/home/somebody/layers.py", line 8, in conv'
    )
    assert "triconv" not in exception.traceback
    assert exception.traceback.endswith("ValueError: no windows of (2, 2, 2, 2)\n\n  in all of (1, 2, 4, 3) <b>")
    assert exception == caught_like(exception)
    assert "Traceback" not in repr(exception)


def caught_like(exception):
    return type(exception)(exception.type, exception.message, exception.where)


def test_the_report_has_the_whole_traceback(tmp_path):
    report = check(HELPER)
    assert "What the candidate raised:\nTraceback (most recent call last):\n" in str(report)
    assert "  in all of (1, 2, 4, 3) <b>" in str(report)
    page = html_report.page(report)
    assert "<h2>What the candidate raised:</h2>\n<pre>Traceback" in page
    assert "&lt;b&gt;" in page
    report.to_json(tmp_path / "r.json")
    read = json.loads((tmp_path / "r.json").read_text())["rows"][0]["finding"]["exception"]
    assert set(read) == {"type", "message", "where", "traceback"}
    assert read["where"] == "layers.py:5, in windows"


def test_frames_of_libraries_are_below_those_of_the_user():
    exception = check(LIBRARY).rows[0].finding.exception
    assert exception.where == "layers.py:5, in conv"
    assert "site-packages" in exception.traceback
    assert exception.traceback.index("layers.py") < exception.traceback.index("site-packages")


def test_what_the_user_raised_from_is_shown_too():
    exception = check(CHAIN).rows[0].finding.exception
    assert exception.where == "layers.py:6, in conv"
    assert exception.traceback.index("KeyError") < exception.traceback.index("RuntimeError: no such shape")


def test_sys_exit_has_a_place():
    assert check(EXIT).rows[0].finding.exception.where == "layers.py:5, in conv"


def test_a_call_that_does_not_fit_has_no_place():
    report = check("def conv(x):\n    return x\n")
    exception = report.rows[0].finding.exception
    assert (exception.where, exception.traceback) == ("", "")
    assert "What the candidate raised" not in str(report)


def test_a_backward_in_jax(jax):
    def backward(saved, g):
        return saved[0].reshape(3), saved[1]

    conv = jax.custom_vjp(lambda x, w: jax.lax.conv(x, w, (1, 1), "VALID"))
    conv.defvjp(lambda x, w: (conv(x, w), (x, w)), backward)
    report = triconv.check(conv, triconv.conv2d, *SHAPES)
    exception = next(row.finding.exception for row in report.rows if row.what == "VJP of x")
    assert exception.where.startswith("test_tracebacks.py:")
    assert exception.where.endswith(", in backward")
    assert exception.traceback.count("Traceback") == 1


@pytest.mark.parametrize(
    ("file", "users", "library"),
    [
        ("<stdin>", True, False),
        ("<ipython-input-3-abc>", True, False),
        ("<frozen importlib._bootstrap>", False, False),
        (triconv.__file__, False, None),  # as it is installed here
        (json.__file__, False, True),
        (pytest.__file__, False, True),
        (__file__, True, False),
    ],
)
def test_whose_a_file_is(file, users, library):
    assert is_users(file) == users
    assert file.startswith("<") or library is None or is_of_library(file) == library


def test_an_exception_that_was_never_raised():
    assert caught(ValueError("first\nsecond")).traceback == "ValueError: first\nsecond"
    assert caught(ValueError("first")).traceback == ""
