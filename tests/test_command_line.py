"""What the command line says on standard error, and its exit status."""

from __future__ import annotations

import pytest

from triconv.checking.exception_text import one_line
from triconv.cli import main

MINE = """
def raises(x, w):
    raise RuntimeError("no luck\\nbut a second line")
def three(x, w, b):
    return x
def lists(x, w):
    return [1, [2, 3]]
def exits(x, w):
    raise SystemExit(0)
def silent(x, w):
    raise ValueError
"""


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("raises", "RuntimeError: no luck"),
        ("three", "three() missing 1 required positional argument: 'b'"),
        ("lists", "list"),
        ("exits", "SystemExit"),
        ("silent", "ValueError"),
    ],
)
def test_a_candidate_that_could_not_be_checked(tmp_path, capsys, name, words):
    (tmp_path / "mine.py").write_text(MINE)
    options = ["--like", "conv1d", "--shape", "1,1,5", "--shape", "1,1,2"]
    assert main.main(["check", f"{tmp_path}/mine.py:{name}", *options]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("triconv: ")
    assert words in line


def test_an_error_of_python_itself_is_not_the_status_of_a_wrong_function(monkeypatch, capsys):
    def fails(arguments):
        return {}["deep inside"]

    monkeypatch.setattr(main, "_info", fails)
    assert main.main(["info"]) == 2
    assert "KeyError: 'deep inside'" in capsys.readouterr().err


def test_negative_sizes(capsys):
    assert main.main(["explain", "conv1d", "--shape=1,1,-5", "--shape", "1,1,2"]) == 2
    assert capsys.readouterr().err == "triconv: `--shape` must be sizes from 0 on, got (1, 1, -5), (1, 1, 2)\n"
    assert main.main(["explain", "conv1d", "--shape", "1,1,5"]) == 2
    assert capsys.readouterr().err == "triconv: conv1d() missing 1 required positional argument: 'w'\n"


def test_one_line():
    """JAX's errors about signatures end their first line with a colon."""
    jax = TypeError("could not be resolved. Binding failed with the error:\nmissing a required argument: 'q'\nmore")
    assert one_line(jax) == "could not be resolved. Binding failed with the error: missing a required argument: 'q'"
    assert one_line(ValueError("\n  first\nsecond")) == "first"
    assert one_line(ValueError("announced:")) == "announced:"
    assert one_line(ValueError()) == "(no message)"
