"""Manifests: many problems, each in a process of its own; nothing of the others is lost whatever one of them does."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import xml.etree.ElementTree as ET

import pytest

from test_attacks import ATTACKS
from test_isolation import MINE
from triconv.cli import batch, junit, main, manifest
from triconv.cli.outcome import Outcome

MANIFEST = """
like = "conv1d"
shape = [[2, 2, 6], [3, 2, 3]]
timeout = 60

[[problem]]
target = "mine.py:forward,backward"

[[problem]]
name = "mean"
target = "mine.py:forward,backward_of_mean"

[[problem]]
target = "mine.py:forward,hanging"
timeout = 4

[[problem]]
target = "mine.py:forward,crashing"

[[problem]]
target = "mine.py:exiting"

[[problem]]
target = "missing.py:f"

[[problem]]
target = "broken.py:f"

[[problem]]
name = "against a function"
like = "truth.py:conv"
target = "mine.py:forward,backward"

[[problem]]
name = "does not fit"
target = "mine.py:forward,backward"
stride = 2
params = { padding = "same" }

[[problem]]
target = "mine.py:too_large"
memory = 4
"""


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "mine.py").write_text(MINE)
    (tmp_path / "truth.py").write_text(MINE)
    (tmp_path / "broken.py").write_text("def f(:\n")
    return tmp_path


def write(folder, text):
    path = folder / "problems.toml"
    path.write_text(text)
    return str(path)


@pytest.mark.once
@pytest.mark.skipif(sys.platform != "linux", reason="limits of memory are Linux's")
def test_each_problem_is_a_row(folder, capsys):
    path, out, xml = write(folder, MANIFEST), folder / "out.json", folder / "out.xml"
    assert main.main(["check", "--manifest", path, "--jobs", "2", "--json", str(out), "--junit", str(xml)]) == 1
    printed = capsys.readouterr()
    said = json.loads(out.read_text())
    assert said["status"] == 1
    assert said["count"] == {"right": 2, "wrong": 1, "imprecise": 0, "unchecked": 7}
    found = [(p["name"], p["verdict"], p["summary"]) for p in said["problems"]]
    expected = [
        ("mine.py:forward,backward", "right", "right: forward agrees with conv1d"),
        ("mean", "wrong", "wrong: forward, VJP of w: it is the mean over the batch of 2"),
        (
            "mine.py:forward,hanging",
            "unchecked",
            "unchecked: forward, VJP of x: the candidate's process gave no answer within 4 s",
        ),
        (
            "mine.py:forward,crashing",
            "unchecked",
            "unchecked: forward, VJP of x: the candidate's process ended with signal 11",
        ),
        ("mine.py:exiting", "unchecked", "unchecked: exiting, value: the candidate raised SystemExit: 0"),
        ("missing.py:f", "unchecked", "`target`: there is no file missing.py"),
        ("broken.py:f", "unchecked", "`target`: broken.py could not be imported: SyntaxError"),
        ("against a function", "right", "right: forward agrees with conv"),
        ("does not fit", "unchecked", "`padding` 'same' must go with stride 1"),
        ("mine.py:too_large", "unchecked", "unchecked: too_large, value: the candidate's process found no more memory"),
    ]
    for (name, verdict, summary), (name_, verdict_, start) in zip(found, expected, strict=True):
        assert (name, verdict) == (name_, verdict_)
        assert start in summary
    assert said["problems"][1]["cause"] == "batch averaged"
    assert any(row["verdict"] == "right" for row in said["problems"][2]["report"]["rows"])  # those before it hung
    suite = ET.parse(xml).getroot()[0]
    assert {name: suite.get(name) for name in ("tests", "failures", "errors")} == {
        "tests": "10",
        "failures": "1",
        "errors": "7",
    }
    failure = suite.find("testcase[@name='mean']/failure")
    assert failure.get("type") == "batch averaged"
    assert "VJP of w" in failure.text
    assert "10/10 " in printed.err
    assert "10 problems: 2 right, 1 wrong, 7 unchecked" in printed.out


OTHERS = """
like = "conv1d"
shape = [[2, 2, 6], [3, 2, 3]]
timeout = 60

[[problem]]
target = "attack.py:printing"

[[problem]]
target = "attack.py:leaving_a_child"

[[problem]]
name = "\\u001b[31mred\\u0007"
target = "attack.py:raising"

[[problem]]
target = "corrupt.py:f"
"""


@pytest.mark.once
@pytest.mark.skipif(sys.platform != "linux", reason="a process between is Linux's")
def test_nothing_is_lost_beside_what_prints_forks_and_raises_anything(folder, capsys):
    (folder / "attack.py").write_text(
        f"{MINE}{ATTACKS}\n"
        "def printing(x, w):\n"
        "    os.write(1, b'x' * 10**7)\n"
        "    sys.stdout.close()\n"
        "    sys.stderr = None\n"
        "    return conv(x, w)\n"
        "def raising(x, w):\n"
        "    raise ValueError('\\x1b]0;title\\x07 ]]> \\ud800 \\x00')\n"
    )
    (folder / "corrupt.py").write_bytes(b"\x00\xff\xfe" * 100)
    out, xml = folder / "out.json", folder / "out.xml"
    path = write(folder, OTHERS)
    assert main.main(["check", "--manifest", path, "--jobs", "2", "--json", str(out), "--junit", str(xml)]) == 1
    printed = capsys.readouterr()
    said = json.loads(out.read_text())["problems"]
    assert [problem["verdict"] for problem in said] == ["wrong", *["unchecked"] * 3]
    assert "for everybody else in the process: sys.stderr" in " ".join(said[0]["summary"].split())
    assert said[1]["summary"].endswith("the candidate's process ended with exit status 0")
    assert "the candidate raised ValueError: \x1b]0;title\x07 ]]> \ud800" in said[2]["summary"]
    assert "`target`: corrupt.py could not be imported: " in said[3]["summary"]
    for text in (printed.out, printed.err, xml.read_text()):
        assert not set(text) & set("\x1b\x07\x00\ud800")
        assert "red?" in text
    assert len(ET.parse(xml).getroot()[0]) == 4


def test_junit_has_the_attributes_of_the_common_schema(tmp_path):
    """Those of the XML schema that Jenkins and GitLab read (junit-10.xsd), as far as they are used."""
    known = {
        "testsuites": {"name", "time", "tests", "failures", "disabled", "errors"},
        "testsuite": {
            "name",
            "tests",
            "failures",
            "errors",
            "time",
            "disabled",
            "skipped",
            "timestamp",
            "hostname",
            "id",
        },
        "testcase": {"name", "assertions", "time", "classname", "status"},
        "failure": {"type", "message"},
        "error": {"type", "message"},
    }
    every = [outcome(verdict) for verdict in ("right", "wrong", "imprecise", "unchecked")]
    root = ET.fromstring(junit.text(every, "problems.toml", 1.0).encode())
    assert {part.tag for part in root.iter()} == set(known)
    for part in root.iter():
        assert set(part.keys()) <= known[part.tag]
    assert [[inner.tag for inner in case] for case in root.iter("testcase")] == [
        [],
        ["failure"],
        ["failure"],
        ["error"],
    ]


def test_a_check_that_cannot_be_started_is_a_row(tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise BlockingIOError(11, "Resource temporarily unavailable")

    monkeypatch.setattr(subprocess, "Popen", refuse)
    problem = manifest.Entry("one", "a.py:f", None, ((2,),), {}, 1.0, None)
    (tmp_path / "a.py").touch()
    (found,) = batch.Batch([problem], tmp_path, 1).run(lambda _: None)
    assert found.verdict == "unchecked"
    assert found.summary == ("the check could not be run: BlockingIOError: [Errno 11] Resource temporarily unavailable")


PROBLEM = '[[problem]]\ntarget = "mine.py:conv"\nlike = "conv1d"\nshape = [[2, 2, 6], [3, 2, 3]]\n'


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("like =", "problems.toml must be TOML: "),
        ("", "problems.toml: there must be a [[problem]] for each target, got none"),
        ("[problem]\ntarget = 'a'", "problems.toml: there must be a [[problem]] for each target, got a [problem]"),
        ("shpae = []\n" + PROBLEM, "problems.toml: a key must be one of name, target"),
        ("shpae = []\n" + PROBLEM, "got 'shpae'; did you mean 'shape'?"),
        (
            "timeout = -1\n" + PROBLEM,
            "problems.toml: `timeout` must be a positive number of seconds, at most 1e7, got -1",
        ),
        (
            "stride = 1979-05-27\n" + PROBLEM,
            "`stride` must be numbers, texts, lists and tables, got datetime.date(1979",
        ),
        ("target = 'mine.py:conv'\n" + PROBLEM, "problems.toml: `target` must stand in a [[problem]], got it for all"),
        (PROBLEM + "[problem.params]\nstride = 2\nstride = 3", "problems.toml must be TOML: "),
        ("problem = 3\n", "there must be a [[problem]] for each target, got a [problem]"),
        ("\x00", "problems.toml must be TOML: "),
        (f"shape = {'[' * 9999}", "problems.toml must be TOML: "),
    ],
)
def test_a_malformed_manifest_is_one_line_before_any_work(folder, monkeypatch, capsys, text, words):
    monkeypatch.setattr(batch, "check", None)
    assert main.main(["check", "--manifest", write(folder, text)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("triconv: ")
    assert words in line


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (PROBLEM + "lik = 1", "a key must be one of"),
        (PROBLEM + PROBLEM + "sweep = 1", "`sweep` must be true or false, got 1"),
        (PROBLEM + "timeout = -1", "`timeout` must be a positive number of seconds, at most 1e7, got -1"),
        (PROBLEM + "timeout = inf", "`timeout` must be a positive number of seconds, at most 1e7, got inf"),
        (PROBLEM + "memory = nan", "`memory` must be a positive number of GiB, at most 1e7, got nan"),
        (PROBLEM + "memory = true", "`memory` must be a positive number of GiB, at most 1e7, got True"),
        (
            PROBLEM + "args = 1979-05-27",
            "`args` must be numbers, texts, lists and tables, got datetime.date(1979, 5, 27)",
        ),
        (
            PROBLEM + "kwargs = { at = [07:32:00] }",
            "`kwargs` must be a table such as { stride = 2 }, got {'at': [datetime",
        ),
        (PROBLEM + "meant = [1]", "`meant` must be a list of causes, got [1]"),
        (PROBLEM + "name = ''", "`name` must be a text, got ''"),
        (PROBLEM.replace("[[2, 2, 6], [3, 2, 3]]", "[[2, -2, 6]]"), "`shape` must be a list of shapes such as"),
        (PROBLEM.replace("[[2, 2, 6], [3, 2, 3]]", "[]"), "`shape` must be a list of shapes such as"),
        (PROBLEM + "params = { seed = 1 }\nseed = 2", "`params` must be of stride, padding"),
        (PROBLEM + "dtype = 'float33'", "`dtype` must be one of 'float64'"),
        (PROBLEM + "params = 2", "`params` must be a table such as { stride = 2 }, got 2"),
        (PROBLEM + "params = { strid = 2 }", "`params` must be of stride, padding"),
        (PROBLEM + "params = { strid = 2 }", "got 'strid'; did you mean 'stride'?"),
        (PROBLEM.replace("conv1d", "conv1"), "`like` must be one of conv, "),
        (PROBLEM.replace("conv1d", "conv1"), "got 'conv1'; did you mean 'conv"),
        (PROBLEM.replace('"conv1d"', '"mine.py:forward"'), "`like` must be of another file than the target"),
        (
            PROBLEM.replace("mine.py:conv", "mine"),
            "`target` must be path/to/file.py:name or package.module:name, got 'mine'",
        ),
        (PROBLEM.replace("[[2, 2, 6], [3, 2, 3]]", "[2, 2]"), "`shape` must be a list of shapes such as [[2, 3, 8, 8]"),
        ("[[problem]]\ntarget = 'mine.py:conv'", "`shape` must be a list of shapes"),
        (
            "[[problem]]\nshape = [[2]]",
            "`target` must be a text such as 'layers.py:conv', got none",
        ),
        (
            "[[problem]]\ntarget = 'm.py:f'\nshape = [[2]]\nparams = { stride = 1 }",
            "`params` must come with `like`, got stride",
        ),
        (
            (PROBLEM + "name = 'a'\n") * 2,
            "`name` must be that of one problem, got that of problem 1 too",
        ),
        (PROBLEM + "seed = -1", "`seed` must be an int from 0 on, got -1"),
        (PROBLEM + "stride = 07:32:00", "`stride` must be numbers, texts, lists and tables, got datetime.time(7, 32)"),
    ],
)
def test_a_problem_that_makes_no_sense_is_a_row(folder, text, words):
    *others, one = manifest.read(write(folder, text), {})
    assert words in one.refused
    assert not any(other.refused for other in others)


def test_the_others_are_checked_beside_one_that_makes_no_sense(folder, monkeypatch, capsys):
    monkeypatch.setattr(subprocess, "Popen", Waiting)
    good = PROBLEM + 'args = ["quick"]\n'
    path = write(folder, f"\ufeff{good}[[problem]]\nshape = [[2]]\n{good}")
    assert main.main(["check", "--manifest", path, "--json", f"{folder}/out.json"]) == 2
    assert [(p["name"], p["summary"]) for p in json.loads((folder / "out.json").read_text())["problems"]] == [
        ("mine.py:conv #1", "none"),
        ("problem 2", "`target` must be a text such as 'layers.py:conv', got none"),
        ("mine.py:conv #2", "none"),
    ]
    assert "3 problems: 3 unchecked" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--jobs", "0"], "`--jobs` must be 1 or more, got 0"),
        (["--timeout", "0"], "`--timeout` must be positive, and at most 1e7, got '0'"),
        (["--timeout", "inf"], "`--timeout` must be positive, and at most 1e7, got 'inf'"),
        (["--memory", "nan"], "`--memory` must be positive, and at most 1e7, got 'nan'"),
        (["--like", "conv1d"], "`--like` must not come with --manifest, in which each problem has its own"),
        (["--junit", "no/folder/out.xml"], "`--junit` must be a file in a folder that is there"),
    ],
)
def test_options(folder, capsys, options, words):
    assert main.main(["check", "--manifest", write(folder, PROBLEM), *options]) == 2
    assert words in capsys.readouterr().err


def test_options_that_need_a_manifest(tmp_path, capsys):
    assert main.main(["check", "--manifest", f"{tmp_path}/none.toml"]) == 2
    assert "`--manifest` must be a file that can be read" in capsys.readouterr().err
    assert main.main(["check", "--jobs", "2"]) == 2
    assert "`--jobs` must come with --manifest" in capsys.readouterr().err


def test_defaults_names_and_arguments(folder):
    text = (
        "dtype = 'float32'\ntimeout = 9\n" + PROBLEM + "args = [1, [2]]\n" + PROBLEM + "timeout = 5\ndtype = 'float64'"
    )
    one, two = manifest.read(write(folder, text), {"timeout": 7.0})
    assert (one.name, two.name) == ("mine.py:conv #1", "mine.py:conv #2")
    assert (one.timeout, two.timeout) == (7, 5)
    assert one.keywords == {"dtype": "float32", "args": (1, [2])}
    assert two.keywords == {"dtype": "float64"}


def outcome(verdict, **fields):
    problem = manifest.Entry("a name", "a.py:f", None, ((2,),), {}, 1.0, None)
    return Outcome(problem, verdict, f"{verdict}: words", **fields)


def test_exit_status():
    right, wrong, imprecise, unchecked = map(outcome, ("right", "wrong", "imprecise", "unchecked"))
    assert batch.status_of([right, right]) == 0
    assert batch.status_of([right, unchecked]) == 2
    assert batch.status_of([unchecked, imprecise]) == 1
    assert batch.status_of([wrong, unchecked, right]) == 1


def test_xml_holds_whatever_is_said():
    said = outcome("wrong", cause="", text="\x1b[31mred\x00 ]]> <a> & \ud800")
    found = ET.fromstring(junit.text([said], "\x01", 1.0).encode())
    assert found.find("testsuite/testcase/failure").text == "red? ]]> <a> & ?"


class Waiting:
    """Stands for a check that takes for ever until it is ended, and then for one that is over at once."""

    started = threading.Event()

    def __init__(self, *_, **__):
        self.pid, self.returncode, self.over = -1, -9, threading.Event()

    def communicate(self, given=None, timeout=None):
        Waiting.started.set()
        if given is not None and b'"quick"' not in given:
            assert self.over.wait(60)
            return b"", b""
        return b'{"error": "none"}', b""


def test_after_an_interrupt_the_finished_ones_are_there(tmp_path, monkeypatch):
    (tmp_path / "a.py").touch()
    monkeypatch.setattr(subprocess, "Popen", Waiting)
    monkeypatch.setattr(batch, "_end", lambda process: process.over.set())
    names = ["quick", "slow", "never started"]
    problems = [manifest.Entry(name, "a.py:f", None, ((2,),), {}, 1.0, None) for name in names]

    def interrupt(_):
        raise KeyboardInterrupt

    outcomes = batch.Batch(problems, tmp_path, 1).run(interrupt)
    assert [o.summary for o in outcomes] == ["none", batch.INTERRUPTED, batch.INTERRUPTED]
    assert {o.verdict for o in outcomes} == {"unchecked"}


def test_a_check_that_ends_is_told():
    problem = outcome("right").problem
    assert (
        batch._outcome(problem, -9, b"", b"killed", 1.0).summary == "the check's process ended with signal 9, SIGKILL"
    )
    assert batch._outcome(problem, 1, b"garbage", b"", 1.0).summary == "the check's process ended with exit status 1"


def test_no_process_is_started_for_a_file_that_is_not_there(tmp_path, monkeypatch, capsys):
    entries = "\n".join(f'[[problem]]\ntarget = "missing{n}.py:f"' for n in range(1000))
    (tmp_path / "problems.toml").write_text(f'like = "conv1d"\nshape = [[2, 2, 6], [3, 2, 3]]\n{entries}')
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr(batch.subprocess, "Popen", lambda *_, **__: pytest.fail("a process was started"))
    assert main.main(["check", "--manifest", str(tmp_path / "problems.toml")]) == 2
    printed = capsys.readouterr().out
    assert "1000 problems: 1000 unchecked" in printed
    assert "there is no file missing999.py" in printed.replace("\n", " ")
