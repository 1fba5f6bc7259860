"""Candidates in a process of their own that want to pass, or to end the checker: each is one clear row."""

from __future__ import annotations

import os
import sys

import pytest

import triconv
from test_isolation import MINE, SHAPES
from triconv.checking.candidates import target_names
from triconv.checking.isolation import Isolation

pytestmark = pytest.mark.once
ATTACKS = '''
import select, signal, time

def zeros(x, w):
    return np.zeros((len(x), len(w), x.shape[2] - w.shape[2] + 1))

def killing_its_parent(x, w):
    os.kill(os.getppid(), signal.SIGKILL)
    time.sleep(60)

def killing_its_group(x, w):
    os.killpg(0, signal.SIGKILL)

def leaving_a_child(x, w):
    """The child keeps the pipes open, and would go on for a minute."""
    if os.fork() == 0:
        signal.signal(signal.SIGTERM, signal.SIG_IGN) if IGNORES else None
        time.sleep(60)
    os._exit(0)

IGNORES = False

def forking(x, w):
    """Both processes return; this one when the other has ended, or waits for questions."""
    number = os.fork()
    if number:
        os.waitpid(number, 0)
    return conv(x, w)

def closing(x, w):
    os.closerange(0, 50)
    return conv(x, w)

def answering_twice(x, w):
    """An answer as the process sends it, before the one that is asked for, which would be that to the next question."""
    from triconv.checking.candidates import wire
    frame = inspect.currentframe()
    while "number" not in frame.f_locals or frame.f_code.co_name != "main":
        frame = frame.f_back
    answer = wire.NUMBER.pack(frame.f_locals["number"]) + wire.packed({"value": conv(x, w)}, lambda _: None)
    for number in range(3, 12):
        try:
            os.write(number, answer)
        except OSError:
            pass
    return conv(x, w)

def reading(x, w):
    """Whatever is in the pipe that the questions come through."""
    for number in range(3, 12):
        try:
            if select.select([number], [], [], 0)[0]:
                os.read(number, 10**6)
        except (OSError, ValueError):
            pass
    return zeros(x, w)

def asking_the_checker(x, w):
    """Has what asks compute the right answer."""
    from triconv.checking.oracles import wide_data
    frame = inspect.currentframe()
    while frame is not None:
        for thing in list(frame.f_locals.values()):
            if type(thing).__name__ == "CheckContext":
                p = thing.problem
                wide = [name for name in wide_data.NAMES if thing.arrays.wide(name) is not None]
                for group in ("exact", "small", "random", *wide):
                    if np.array_equal(p.user("x", thing.arrays[group].primals["x"]), x):
                        return p.user(p.result, thing.right(group).value())
        frame = frame.f_back
    return zeros(x, w)

class Equal(np.ndarray):
    """Equal to everything, and all of its comparisons say so."""
    __eq__ = __ne__ = lambda a, b: np.ones(a.shape, bool)
    __sub__ = __rsub__ = lambda a, b: np.zeros(a.shape)
    def __array_ufunc__(self, *_, **__):
        return np.zeros(self.shape)

def equal_to_everything(x, w):
    return zeros(x, w).view(Equal)
'''
LINUX = pytest.mark.skipif(sys.platform != "linux", reason="a process between is Linux's")


@pytest.fixture
def attack(tmp_path):
    (tmp_path / "attack.py").write_text(MINE + ATTACKS)

    def run(name, timeout=60):
        target = f"{tmp_path}/attack.py:{name}"
        return triconv.check(target, triconv.conv1d, *SHAPES, isolate=Isolation(timeout=timeout))

    return run


@LINUX
@pytest.mark.parametrize(
    ("name", "detail"),
    [
        ("killing_its_parent", "the candidate's process ended with signal 9, SIGKILL"),
        ("killing_its_group", "the candidate's process ended with signal 9, SIGKILL"),
        ("leaving_a_child", "the candidate's process ended with exit status 0"),
        ("closing", "the candidate's process ended with exit status 1"),
        (
            "answering_twice",
            "the candidate's process sent what is no answer: an answer must be to the question that was asked last",
        ),
    ],
)
def test_one_that_ends_or_answers_out_of_turn_is_unchecked(attack, name, detail):
    report = attack(name)
    assert report.verdict == "unchecked", str(report)
    assert any(row.detail.startswith(detail) for row in report.rows), str(report)


@LINUX
def test_a_copy_of_the_process_answers_nothing(attack):
    report = attack("forking")
    assert report.rows[0].verdict == "right"
    assert not [row.detail for row in report.rows if "process" in row.detail]


@pytest.mark.parametrize("name", ["reading", "equal_to_everything"])
def test_one_that_wants_to_pass_is_wrong(attack, name):
    assert attack(name).rows[0].verdict == "wrong"


def test_one_that_asks_the_checker_passes_in_its_process_alone(attack, tmp_path):
    candidate = target_names.find(f"{tmp_path}/attack.py:asking_the_checker")
    assert triconv.check(candidate, triconv.conv1d, *SHAPES).rows[0].verdict == "right"
    assert attack("asking_the_checker").rows[0].verdict == "wrong"


@LINUX
def test_the_parent_is_not_the_checker(tmp_path):
    """And its group is another one, so that neither can be ended from there."""
    code = "import os\nclass Ids(Exception): pass\ndef f(x): raise Ids(os.getppid(), os.getpgrp())\n"
    (tmp_path / "ids.py").write_text(code)
    (row, *_) = triconv.gradcheck(f"{tmp_path}/ids.py:f", (2, 3), isolate=True).rows
    parent, group = map(int, row.finding.exception.message.strip("()").split(","))
    assert parent == group
    assert parent not in (os.getpid(), os.getpgrp())


def test_gradcheck_in_a_process(tmp_path):
    (tmp_path / "relu.py").write_text(
        "import os, numpy as np\ndef relu(x): return np.maximum(x, 0), x\ndef back(g, x): return g * (x > 0) * 2\n"
        "def gone(x): os._exit(3)\n"
    )
    report = triconv.gradcheck(f"{tmp_path}/relu.py:relu,back", (3, 4), isolate=True)
    assert (report.verdict, report.first_failed.what) == ("wrong", "VJP of x")
    report = triconv.gradcheck(f"{tmp_path}/relu.py:gone", (3, 4), isolate=Isolation(timeout=60))
    assert report.verdict == "unchecked"
    assert report.rows[0].detail == "the candidate's process ended with exit status 3"
    with pytest.raises(TypeError, match="missing 1 required positional argument: 'f'"):
        triconv.gradcheck(isolate=True)


def test_a_process_that_cannot_be_started_again_is_no_mistake_of_the_candidate(tmp_path):
    """Its file can be imported once; the first question that crashes has a row, and so has the next."""
    once = f"import pathlib\nplace = pathlib.Path({str(tmp_path / 'seen')!r})\nassert not place.exists(), 'twice'\n"
    (tmp_path / "once.py").write_text(f"{once}place.touch()\n{MINE}")
    report = triconv.check(f"{tmp_path}/once.py:forward,crashing", triconv.conv1d, *SHAPES, isolate=True)
    assert report.verdict == "unchecked", str(report)
    assert "ended with signal 11, SIGSEGV" in report.summary
    again = [row for row in report.rows if "imported again" in row.detail]
    assert {row.verdict for row in again} == {"unchecked"}
    assert all("AssertionError: twice" in row.detail for row in again)
