"""What the command line says on standard error, and its exit status."""

from __future__ import annotations

import shlex
from importlib import metadata

import pytest

from triconv.backends import quick_xla
from triconv.checking.findings.exception_text import caught, one_line
from triconv.cli import info_command, main, values
from triconv.cli.operator_options import OPTIONS, PARAMETERS

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

    monkeypatch.setattr(info_command, "run", fails)
    assert main.main(["info"]) == 2
    assert "KeyError: 'deep inside'" in capsys.readouterr().err


SHAPES = ["--shape", "1,1,5", "--shape", "1,1,2"]
MISTAKES = {
    "negative size": (
        ["explain", "conv1d", "--shape", "1,1,-5", "--shape", "1,1,2"],
        "`--shape` must be sizes from 0 on, got '1,1,-5'",
    ),
    "no size": (["explain", "conv1d", "--shape", "1,x"], "`--shape` must be sizes such as 2,3,8,8, got '1,x'"),
    "size left out": (["explain", "conv1d", "--shape", "1,,2"], "`--shape` must be sizes such as 2,3,8,8, got '1,,2'"),
    "one shape too few": (
        ["explain", "conv2d", "--shape", "1,1,5,5"],
        "array of conv2d (x and w, and bias if it has one), got 1; such as --shape 2,3,8,8 --shape 4,3,3,3",
    ),
    "no shape": (
        ["explain", "conv_input_vjp"],
        "array of conv_input_vjp (g and w), got none; such as --shape 2,4,6,6 --shape 4,3,3,3",
    ),
    "too many shapes": (["explain", "conv1d", *SHAPES, *SHAPES], "(x and w, and bias if it has one), got 4"),
    "no operator": (["explain"], "`operator` must be one of conv, conv_input_vjp, "),
    "misspelled operator": (["explain", "convv2d", *SHAPES], "got 'convv2d'; did you mean 'conv2d'?"),
    "a parameter of another operator": (
        ["explain", "conv1d", *SHAPES, "--output-padding", "1"],
        "`--output-padding` is no parameter of conv1d, which takes --stride, --padding, --dilation, --groups, ",
    ),
    "no command": (["chek"], "there is no command 'chek'; did you mean 'check'?; the commands are check, gradcheck, "),
    "misspelled option": (
        ["explain", "conv1d", *SHAPES, "--paddding", "1"],
        "`--paddding` is no option of triconv explain; did you mean '--padding'?",
    ),
    "a word too many": (["info", "numpy"], "triconv info does not take 'numpy'; triconv info --help shows"),
    "no value": (
        ["explain", "conv1d", *SHAPES, "--stride"],
        "`--stride` must be followed by its value, such as --stride VALUE",
    ),
    "a value of a flag": (["check", "--full=1"], "`--full` takes no value"),
    "stride": (
        ["explain", "conv1d", "--stride", "two"],
        "`--stride` must be an int such as 2, or one int per axis such as 2,1, got 'two'",
    ),
    "groups": (["explain", "conv1d", "--groups", "1,2"], "`--groups` must be an int, got '1,2'"),
    "padding": (
        ["explain", "conv1d", "--padding", "1:2,1"],
        "must be an int, one int per axis, lo:hi pairs such as 1:2,0:1, or one of valid, same, same_lower, full, causal, got",
    ),
    "padding by a misspelled name": (["explain", "conv1d", "--padding", "smae"], "got 'smae'; did you mean 'same'?"),
    "padding by an expression": (["explain", "conv1d", "--padding", "[(1, 2), (0, x)]"], "got '[(1, 2), (0, x)]'"),
    "padding mode": (["explain", "conv1d", "--padding-mode", "refelct"], "did you mean 'reflect'?"),
    "an arrow that the shell took": (
        ["explain", "conv2d", "--layout", "NHWC,HWIO-"],
        "`--layout` must be in quotes, since the shell takes > for itself, or with a comma: NHWC,HWIO,NHWC, got 'NHWC,HWIO-'",
    ),
    "dtype": (
        ["check", "nowhere.py:f", "--dtype", "flot32", *SHAPES],
        "`--dtype` must be one of float64, float32, bfloat16, ",
    ),
    "dtype, a hint": (["check", "nowhere.py:f", "--dtype", "flot32", *SHAPES], "got 'flot32'; did you mean 'float32'?"),
    "library": (["check", "nowhere.py:f", "--framework", "jaxx"], "`--framework` must be one of numpy, jax, "),
    "backend": (["check", "--backend", "tensorflow"], "`--backend` must be one of numpy, jax, "),
    "kernel": (["explain", "conv1d", "--algorithm", "gem"], "got 'gem'; did you mean 'gemm'?"),
    "precision": (["check", "nowhere.py:f", "--precision", "tf23"], "got 'tf23'; did you mean 'tf32'?"),
    "seed": (["check", "--seed", "one"], "`--seed` must be an int, got 'one'"),
    "time limit": (
        ["check", "a.py:f", "--isolate", "--timeout", "-1"],
        "`--timeout` must be positive, and at most 1e7, got '-1'",
    ),
    "no target": (["check", "--stride", "2"], "`--stride` must come with a target, FILE:NAME"),
    "a target and an option of the self-check": (
        ["check", "a.py:f", "--full", *SHAPES],
        "`--full` must come without a target: it is about triconv's own check",
    ),
    "a kernel and a target": (["check", "a.py:f", "--algorithm", "gemm"], "`--algorithm` must come without a target"),
    "mesh and a library": (["check", "--mesh", "2", "--backend", "jax"], "`--backend` must come without --mesh"),
    "spec": (["check", "a.py:f", "--spec", "-,a"], "`--spec` must come with --mesh, such as --mesh 4,2"),
    "vectors": (["check", "--vectors", "a.npz"], "`--vectors` must come with --results"),
    "jobs": (["check", "--jobs", "2"], "`--jobs` must come with --manifest"),
    "many targets and one": (
        ["check", "a.py:f", "--manifest", "problems.toml"],
        "a target must not come with --manifest, in which each problem has its own, got a.py:f",
    ),
    "a manifest with a shape": (
        ["check", "--manifest", "problems.toml", *SHAPES],
        "`--shape` must not come with --manifest, in which each problem has its own",
    ),
    "a parameter without like": (
        ["check", "a.py:f", *SHAPES, "--stride", "2"],
        "`--stride` must come with --like; arguments of the target itself are --args and --kwargs",
    ),
    "a sweep without an operator": (
        ["check", "a.py:f", *SHAPES, "--sweep"],
        "`--sweep` must come with an operator to compare with, such as --like conv2d, got no --like",
    ),
    "a sweep beside a function": (
        ["check", "a.py:f", *SHAPES, "--sweep", "--like", "b.py:g"],
        "`--sweep` must come with an operator to compare with, such as --like conv2d, got b.py:g",
    ),
    "an operator of gradcheck": (
        ["gradcheck", "a.py:f", *SHAPES, "--like", "conv1d"],
        "`--like` is no option of triconv gradcheck",
    ),
    "like": (
        ["check", "a.py:f", *SHAPES, "--like", "conv1"],
        "`--like` must be one of conv, conv_input_vjp, conv_weight_vjp, ",
    ),
    "no target of gradcheck": (["gradcheck", *SHAPES], "`target` must be given, such as triconv gradcheck layers.py:"),
    "no file of vectors": (
        ["vectors", "--like", "conv1d", *SHAPES],
        "`--out` must be a file, such as --out case.npz, got none",
    ),
    "no operator of vectors": (["vectors", *SHAPES], "`--like` must be one of conv, "),
    "meant": (
        ["check", "a.py:f", *SHAPES, "--like", "conv1d", "--meant", "batch avraged"],
        "got 'batch avraged'",
    ),
}


def said_by(words, capsys):
    """The exit status and the one line of an error."""
    status = main.main(words)
    (line,) = capsys.readouterr().err.splitlines()
    return status, line


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_one_line_in_the_words_of_this_library(mistake, capsys):
    words, expected = MISTAKES[mistake]
    status, line = said_by(words, capsys)
    assert status == 2
    assert line.startswith("triconv: ")
    assert expected in line


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1", 1),
        ("-1", -1),
        ("1,2", (1, 2)),
        ("1,", (1,)),
        ("(1, 2)", (1, 2)),
        ("[2]", (2,)),
        ("1:2", [(1, 2)]),
        ("-1:0,0:0", [(-1, 0), (0, 0)]),
        ("[(1,1),(0,0)]", [(1, 1), (0, 0)]),
        ("((1, -1), [0, 0])", [(1, -1), (0, 0)]),
        ("(1,1),(0,0)", [(1, 1), (0, 0)]),
        ("same", "same"),
        ("SAME", "same"),
        ("same-lower", "same_lower"),
    ],
)
def test_spellings_of_padding(text, value):
    for words in (["--padding", text], [f"--padding={text}"]):
        assert main.parse(["explain", "conv2d", *words]).padding == value


@pytest.mark.parametrize("name", ["conv_2d", "triconv.conv2d", "Conv2d", "CONV2D"])
def test_spellings_of_an_operator(name, capsys):
    assert main.main(["explain", name, "--shape", "1,1,5,5", "--shape", "1,1,2,2"]) == 0
    assert capsys.readouterr().out.startswith("conv2d of numpy float32, groups=1\n")


def test_spellings_of_libraries_and_dtypes():
    assert [values.library(word) for word in ("JAX", "Torch", "PyTorch", "np")] == ["jax", "torch", "torch", "numpy"]
    words = {"bf16": "bfloat16", "half": "float16", "FP32": "float32", "double": "float64", "complex64": "complex64"}
    assert [values.dtype(word) for word in words] == list(words.values())
    assert main.parse(["check", "--spec", "-,a", "--spec", "b"]).spec == ["-,a", "b"]
    assert main.parse(["check", "--shape", "()"]).shape == [()]


def test_targets_may_stand_after_options():
    parsed = main.parse(["check", "a.py:f", "--like", "conv1d", "b.py:g"])
    assert parsed.target == ["a.py:f", "b.py:g"]
    assert main.parse(["check", "--like", "conv1d", "b.py:g"]).target == ["b.py:g"]


def commands():
    return main.parser().commands


@pytest.mark.parametrize("name", commands())
def test_help_has_a_text_per_option_and_examples_that_parse(name, capsys):
    command = commands()[name]
    assert command.description
    assert all(action.help for action in command._actions)
    examples = [line for line in command.epilog.splitlines() if line.startswith("  triconv")]
    assert any(shlex.split(line)[1] == name for line in examples)
    for line in examples:
        main.parse(shlex.split(line)[1:])
    assert main.main([name, "--help"]) == 0
    assert "examples:" in capsys.readouterr().out


def test_every_parameter_has_a_text():
    assert set(PARAMETERS) <= set(OPTIONS)


def test_the_bare_command_says_what_to_do_next(capsys):
    assert main.main([]) == 2
    said = capsys.readouterr()
    assert not said.out
    commands = [line for line in said.err.splitlines() if line.startswith("  triconv ")]
    assert len(commands) >= 5
    for line in commands:
        main.parse(shlex.split(line)[1:])
    assert "triconv --help" in said.err


def test_the_file_that_was_written_is_named(tmp_path, capsys):
    (tmp_path / "mine.py").write_text(
        "import numpy as np\ndef square(x):\n    return x * x, x\ndef back(g, x):\n    return 2 * g * x\n"
    )
    target = f"{tmp_path}/mine.py:square,back"
    assert (
        main.main(["gradcheck", target, "--shape", "3", "--html", f"{tmp_path}/a.html", "--json", f"{tmp_path}/a.json"])
        == 0
    )
    assert capsys.readouterr().err == f"written: {tmp_path}/a.html\nwritten: {tmp_path}/a.json\n"


def test_a_number_of_shapes_that_does_not_fit(tmp_path, capsys):
    (tmp_path / "mine.py").write_text(MINE)
    status, line = said_by(["check", f"{tmp_path}/mine.py:raises", "--like", "conv2d", "--shape", "2,3,8,8"], capsys)
    assert status == 2
    assert line == (
        "triconv: `--shape` must be given once for each array of conv2d (x, w, bias), got 1; such as "
        "--shape 2,3,8,8 --shape 4,3,3,3"
    )


def test_a_misspelled_function_of_a_pair_is_hinted_at(tmp_path, capsys):
    (tmp_path / "mine.py").write_text(MINE)
    for names, end in (
        ("raises,thre", "; did you mean 'three'?"),
        ("raises,q", ", which has raises, three, lists, exits, silent"),
    ):
        _, line = said_by(["check", f"{tmp_path}/mine.py:{names}", "--like", "conv1d", *SHAPES], capsys)
        assert line.endswith(f"is not defined in {tmp_path}/mine.py{end}")


def test_a_file_without_a_name_lists_its_functions(tmp_path, capsys):
    (tmp_path / "mine.py").write_text(MINE)
    _, line = said_by(["check", f"{tmp_path}/mine.py", "--like", "conv1d", *SHAPES], capsys)
    assert line.endswith(f"{tmp_path}/mine.py has raises, three, lists, exits, silent")


@pytest.mark.parametrize(("version", "count"), [("0.10.2", 2), ("0.12.0.1", 1), ("0.1.0", 1), (None, 1)])
def test_xla_gets_the_flags_that_its_version_knows(monkeypatch, version, count):
    """It ends the process at others."""

    def of(name):
        if version is None:
            raise metadata.PackageNotFoundError(name)
        return version

    monkeypatch.setattr(metadata, "version", of)
    assert len(quick_xla.flags(quick_xla.options()).split()) == count
    assert len(quick_xla.emitters()) == count - 1


def test_one_line():
    """JAX's errors about signatures end their first line with a colon."""
    jax = TypeError("could not be resolved. Binding failed with the error:\nmissing a required argument: 'q'\nmore")
    assert one_line(jax) == "could not be resolved. Binding failed with the error: missing a required argument: 'q'"
    assert one_line(ValueError("\n  first\nsecond")) == "first"
    assert one_line(ValueError("announced:")) == "announced:"
    assert one_line(ValueError()) == "(no message)"

    class SilentError(Exception):
        def __str__(self):
            raise RuntimeError

    assert one_line(SilentError()) == caught(SilentError()).message == "(no message)"
