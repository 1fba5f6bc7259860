"""A candidate in a process of its own: the same report, and nothing to gain by looking at the checker or by ending."""

from __future__ import annotations

import io
import json
import os
import sys

import numpy as np
import pytest

import triconv
from triconv.checking.candidates import candidate_process, isolated_candidate, wire
from triconv.checking.findings.exception_text import CaughtException, EndedProcess
from triconv.checking.isolation import Isolation
from triconv.cli import main

SHAPES = ((2, 2, 6), (3, 2, 3))
MINE = '''
import ctypes, gc, inspect, os, pickle, sys
import numpy as np

def conv(x, w):
    windows = np.lib.stride_tricks.sliding_window_view(x, w.shape[-1], axis=2)
    return np.einsum("nciw,kcw->nki", windows, w)

def by_x(g, w):
    padded = np.pad(g, ((0, 0), (0, 0), (w.shape[-1] - 1,) * 2))
    return conv(padded, w[:, :, ::-1].swapaxes(0, 1))

def by_w(g, x):
    return conv(x.swapaxes(0, 1), g.swapaxes(0, 1)).swapaxes(0, 1)

def forward(x, w):
    return conv(x, w), (x, w)

def backward(g, cache):
    return by_x(g, cache[1]), by_w(g, cache[0])

def backward_of_mean(g, cache):
    return by_x(g, cache[1]), by_w(g, cache[0]) / len(g)

def searching(x, w):
    """Returns any array of the right shape that the checker holds: in frames, or among all objects."""
    shape, frame = (len(x), len(w), x.shape[2] - w.shape[2] + 1), inspect.currentframe()
    found = [o for o in gc.get_objects() if isinstance(o, np.ndarray)]
    while frame is not None:
        found += [v for v in frame.f_locals.values() if isinstance(v, np.ndarray)]
        for v in frame.f_locals.values():
            found += [getattr(v, name, None) for name in ("expected", "right")]
            known = getattr(v, "_known", {})
            found += list(known.values()) if isinstance(known, dict) else []
        frame = frame.f_back
    return next((a for a in found if getattr(a, "shape", None) == shape), np.zeros(shape))

def patching(x, w):
    import triconv.checking.verdicts.judge as judge
    np.array_equal = lambda *_, **__: True
    judge.judge = lambda context, probe: judge.ReportRow(probe.question, "right", "exact", judge.EqualOnIntegers(True))
    return np.zeros((len(x), len(w), x.shape[2] - w.shape[2] + 1))

def ending(x, w):
    os._exit(0)

def exiting(x, w):
    raise SystemExit(0)

def crashing(g, cache):
    ctypes.string_at(0)

def hanging(g, cache):
    while True:
        pass

def too_large(x, w):
    return np.ones(2**40)

def talking(x, w):
    """Writes an answer of its own, a pickle, before the real one."""
    for number in range(3, 12):
        try:
            os.write(number, pickle.dumps({"value": 1}) * 20)
        except OSError:
            pass
    print("a word", input)
    return conv(x, w)
'''


@pytest.fixture
def mine(tmp_path):
    (tmp_path / "mine.py").write_text(MINE)
    return lambda name: f"{tmp_path}/mine.py:{name}"


def check(target, *, isolate=True, **keywords):
    return triconv.check(target, triconv.conv1d, *SHAPES, isolate=isolate, **keywords)


@pytest.mark.once
def test_the_report_is_that_of_one_process(mine):
    from triconv.checking.candidates import target_names

    for name in ("forward,backward", "forward,backward_of_mean"):
        target = mine(name)
        alone = triconv.check(target_names.find(target), triconv.conv1d, *SHAPES)
        apart = check(target)
        assert [(row.what, row.verdict, row.how, row.detail, row.cause) for row in apart.rows] == [
            (row.what, row.verdict, row.how, row.detail, row.cause) for row in alone.rows
        ]
        assert apart.summary == alone.summary
        assert apart.oracles == alone.oracles
    assert apart.cause == "batch averaged"
    assert "assert" in apart.counterexample


@pytest.mark.parametrize("name", ["searching", "patching"])
def test_what_looks_for_the_answer_is_wrong(mine, name):
    report = check(mine(name))
    assert report.verdict == "wrong", str(report)
    assert report.rows[0].what == "value"


@pytest.mark.once
@pytest.mark.parametrize(
    ("name", "what", "detail"),
    [
        ("ending", "value", "the candidate's process ended with exit status 0"),
        ("exiting", "value", "the candidate raised SystemExit: 0 (mine.py:"),
        (
            "forward,crashing",
            "VJP of x",
            "the candidate's process ended with signal 11, SIGSEGV (mine.py:51, in crashing)",
        ),
        ("forward,hanging", "VJP of x", "the candidate's process gave no answer within 5 s"),
        ("talking", "value", "the candidate's process sent what is no answer: an answer must "),
    ],
)
def test_a_process_that_ends_is_a_row(mine, name, what, detail):
    report = check(mine(name), isolate=Isolation(timeout=5 if "hanging" in name else 60))
    assert report.verdict == "unchecked"
    row = next(row for row in report.rows if row.verdict == "unchecked")
    assert (row.what, row.cause) == (what, "")
    assert row.detail.startswith(detail)
    assert not any(row.verdict == "wrong" for row in report.rows)
    assert detail[:40] in report.summary
    json.dumps(report.to_dict(), allow_nan=False)


@pytest.mark.skipif(sys.platform != "linux", reason="limits of memory are Linux's")
def test_memory_is_limited(mine):
    report = check(mine("too_large"), isolate=Isolation(memory=4 * 2**30))
    assert report.rows[0].detail == "the candidate's process found no more memory, of which it may have 4 GiB"
    assert report.verdict == "unchecked"


def test_gradcheck_of_a_function_in_a_process(mine):
    report = triconv.check(mine("forward,backward_of_mean"), None, *SHAPES, isolate=True)
    assert report.verdict == "wrong"
    assert report.first_failed.what == "VJP of w"


def test_frameworks_are_found_there(torch, tmp_path):
    code = "import torch\ndef conv(x, w):\n    return torch.nn.functional.conv1d(x, w).bfloat16()\n"
    (tmp_path / "its.py").write_text(code)
    report = check(f"{tmp_path}/its.py:conv")
    assert report.framework == "torch"
    (row,) = (row for row in report.rows if row.what == "dtype")
    assert "got bfloat16" in row.detail


def test_a_candidate_by_its_name():
    apart = triconv.check(triconv.conv1d, triconv.conv1d, *SHAPES, isolate=True)
    assert apart.ok, str(apart)
    assert apart.candidate == "conv1d"


@pytest.mark.parametrize(
    ("candidate", "isolate", "kind", "words"),
    [
        (
            lambda x, w: x,
            True,
            ValueError,
            "`candidate` must be a function of a module, or a target such as 'mine.py:conv'",
        ),
        ("no_file.py:f", True, ValueError, "`target`: there is no file no_file.py"),
        ("math:no_name", True, ValueError, "`target`: there is no 'no_name' in math"),
        (
            "json:dumps",
            "yes",
            TypeError,
            "`isolate` must be True or a triconv.checking.isolation.Isolation, got str",
        ),
    ],
)
def test_errors(candidate, isolate, kind, words):
    with pytest.raises(kind, match=words.replace("(", r"\(")):
        check(candidate, isolate=isolate)


def test_limits_must_make_sense(monkeypatch):
    with pytest.raises(ValueError, match="`timeout` must be a positive number, got 0"):
        Isolation(timeout=0)
    with pytest.raises(ValueError, match="`memory` must be a positive number, got 'all'"):
        Isolation(memory="all")
    monkeypatch.setattr(sys, "platform", "win32")
    with pytest.raises(ValueError, match="`memory` must be left out on a system without RLIMIT_AS"):
        Isolation(memory=1)


def test_arguments_must_be_sendable(mine):
    with pytest.raises(TypeError, match="`isolate` must come with arguments that can be sent to another process"):
        check(mine("conv"), args=(lambda: 0,))


def test_a_process_starts_no_other(mine, monkeypatch):
    monkeypatch.setenv(candidate_process.MARK, "1")
    with pytest.raises(RuntimeError, match='put the call under `if __name__ == "__main__":`'):
        check(mine("conv"))


def test_the_truth_is_not_in_the_file_of_the_candidate(mine):
    options = ["--shape", "2,2,6", "--shape", "3,2,3", "--isolate"]
    assert main.main(["check", mine("ending"), "--like", mine("conv"), *options]) == 2


def test_a_file_that_ends_the_process_while_it_is_imported(tmp_path):
    (tmp_path / "bad.py").write_text("import os\nos._exit(7)\n")
    with pytest.raises(ImportError, match=r"could not be imported: the candidate's process ended with exit status 7"):
        check(f"{tmp_path}/bad.py:f")


@pytest.mark.once
def test_the_command_line(mine, capsys):
    options = ["--like", "conv1d", "--shape", "2,2,6", "--shape", "3,2,3", "--isolate", "--timeout", "60"]
    assert main.main(["check", mine("forward,backward"), *options]) == 0
    assert main.main(["check", mine("patching"), *options]) == 1
    assert main.main(["check", mine("ending"), *options]) == 2
    assert "ended with exit status 0" in capsys.readouterr().err
    assert main.main(["check", mine("ending"), *options[:-2], "--timeout", "-1"]) == 2
    assert "`--timeout` must be positive, and at most 1e7, got '-1'" in capsys.readouterr().err


# ---- what is sent


def sent(value):
    return wire.read(io.BytesIO(wire.packed(value, lambda _: None)), lambda said: said)


def test_answers_come_as_they_were():
    end = EndedProcess("EndedProcess", "", seconds=2.5)
    value = [1, 2.5, float("inf"), None, True, "text", 1 + 2j, (end, {"a": CaughtException("E", "words")})]
    assert sent(value) == value
    for dtype in ("float32", "int8", "complex128", ">f8", "uint64"):
        array = np.arange(6).reshape(2, 3).astype(dtype)
        found = sent([array, array[0, 0], array[:0]])
        for a, b in zip(found, (array, np.asarray(array[0, 0]), array[:0]), strict=True):
            np.testing.assert_array_equal(a, b)
            assert a.shape == b.shape
    assert sent({"a": object()})["a"].no_array.type == "object"


@pytest.mark.parametrize(
    "tree",
    [
        {"array": [10**9], "dtype": "<f8", "name": "float64"},
        {"array": [-1], "dtype": "<f8", "name": "float64"},
        {"array": [1], "dtype": "O", "name": "object"},
        {"record": "Popen", "fields": {}},
        {"record": "NoArray", "fields": {"nothing": 1}},
        {"what": 1},
        {"list": 3},
        [1.5],
    ],
)
def test_what_is_no_answer_is_refused(tree):
    text = json.dumps(tree).encode()
    data = wire.LENGTHS.pack(len(text), 8) + text + bytes(8)
    with pytest.raises(ValueError, match="an answer must be"):
        wire.read(io.BytesIO(data), lambda said: said)
    with pytest.raises(EOFError):
        wire.read(io.BytesIO(data[:-3]), lambda said: said)


def test_a_method_that_an_answer_names_is_not_replaced():
    """What a process says of itself changes no method of what stands for it."""
    said = {
        "number": 0,
        "library": "numpy",
        "said": {"dtype": "float64", "session": 1, "there": 2, "_ask": 3, "value": 4},
    }

    class Remote:
        generation = 1

        def again(self):
            return True

        def ask(self, question):
            return "asked"

    made = isolated_candidate.IsolatedCandidate(Remote(), b"", said)
    assert made.value([]) == "asked"
    assert made.there() == 0
    with made.session():
        assert os.environ.get(candidate_process.MARK) is None


def test_memory_is_asked_there(tmp_path):
    (tmp_path / "mine.py").write_text(f"{MINE}\ndef writing(x, w):\n    y = conv(x, w)\n    x[:] = 0\n    return y\n")
    report = check(f"{tmp_path}/mine.py:writing")
    assert report.cause == "input changed"
