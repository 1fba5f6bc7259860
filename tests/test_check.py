"""`triconv.check`: no alarm at right candidates, malformed questions are refused, and low precision is no error."""

from __future__ import annotations

import ast
import functools
import json
import platform
import sys
from importlib.metadata import entry_points
from pathlib import Path

import numpy as np
import pytest

import triconv
from kept_results import keeping
from triconv.checking.candidates.candidates import framework_of
from triconv.checking.findings.causes import Cause, Hypothesis
from triconv.checking.findings.diagnosis_data import Diagnosis
from triconv.checking.findings.findings import EqualOnIntegers, WrongElements, WrongShape
from triconv.checking.findings.protocol import Kind, Proof, Question, Role
from triconv.checking.questions import row_causes
from triconv.checking.reports.json_report import plain
from triconv.checking.reports.report_data import ReportRow
from triconv.cli import main
from triconv.geometry import Geometry

SHAPES = (2, 3, 8, 8), (4, 3, 3, 3)


def random_question(rng):
    """Shapes and parameters of `triconv.conv`, in one to three dimensions."""
    ndim = rng.integers(1, 4)
    groups = int(rng.choice([1, 1, 2, 3]))
    n, c, k = (int(rng.integers(1, 4)) for _ in "nck")
    pick = lambda *choices: [int(rng.choice(choices)) for _ in range(ndim)]  # noqa: E731
    size, kernel = pick(3, 4, 5, 7), pick(1, 2, 3)
    params = {
        "stride": pick(1, 1, 2, 3),
        "dilation": pick(1, 1, 2),
        "input_dilation": pick(1, 1, 1, 2),
        "padding": [(int(rng.integers(-1, 3)), int(rng.integers(-1, 3))) for _ in range(ndim)],
        "groups": groups,
    }
    if min(Geometry.of(size, kernel, **params).output_size) == 0:
        return random_question(rng)
    return ((n, groups * c, *size), (groups * k, c, *kernel)), params


def rules(shapes, params):
    """The operators of triconv, as functions by hand."""
    return triconv.Rules(
        lambda x, w: triconv.conv(x, w, **params),
        lambda g, w: triconv.conv_input_vjp(g, w, input_size=shapes[0][2:], **params),
        lambda g, x: triconv.conv_weight_vjp(g, x, kernel_size=shapes[1][2:], **params),
    )


@pytest.mark.once
@pytest.mark.parametrize(
    "start", [0, 25, *(pytest.param(start, marks=pytest.mark.slow) for start in range(50, 500, 25))]
)
def test_no_alarm_at_right_rules(start):
    """500 random geometries in three dtypes, on NumPy: 50 by default, of which the first nine are computed each time."""
    for seed in range(start, start + 25):
        rng = np.random.default_rng(seed)
        shapes, params = random_question(rng)
        dtype = ("float32", "float64", "float16")[seed % 3]
        by_hand = rules(shapes, params) if seed < 9 else keeping(rules(shapes, params))
        report = triconv.check(by_hand, triconv.conv, *shapes, dtype=dtype, seed=seed, **params)
        assert report.ok, f"{seed}\n{report}"


@pytest.mark.parametrize("seed", [6, *(pytest.param(seed, marks=pytest.mark.slow) for seed in (0, 1, 2, 3))])
@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16", "complex64"])
def test_no_alarm_at_a_framework(lib, dtype, seed):
    """Of a function and of its derivatives by JAX and torch; along two axes by default, since three take long to compile."""
    if not lib.has(dtype) or lib.name in ("numpy", "array-api-strict"):
        pytest.skip(f"{lib.name}: no {dtype}, or no derivatives")
    shapes, params = random_question(np.random.default_rng(seed))
    conv = lambda x, w: triconv.conv(x, w, **params)  # noqa: E731
    report = triconv.check(conv, triconv.conv, *shapes, framework=lib.name, dtype=dtype, **params)
    assert report.ok, report


OPERATORS = [
    ("conv2d", ((2, 4, 6, 5), (6, 2, 3, 2), (6,)), {"groups": 2, "padding": (1, 0), "padding_mode": "reflect"}),
    ("conv1d", ((4, 6), (2, 4, 3)), {"padding": 2, "padding_mode": "circular"}),
    ("conv_transpose2d", ((2, 4, 3, 4), (4, 3, 2, 3), (6,)), {"stride": 2, "output_padding": 1, "groups": 2}),
    ("conv2d_forward", ((6, 5, 3), (2, 3, 3)), {}),
    ("conv2d_backward", ((5, 3, 1), (2, 3, 3)), {}),
    ("conv2d_backward_weights", ((6, 5, 3), (5, 3, 1)), {}),
    ("conv_input_vjp", ((2, 4, 3), (4, 2, 3)), {"input_size": 7, "stride": 2, "groups": 2}),
    ("conv_weight_vjp", ((2, 4, 3), (2, 4, 7)), {"kernel_size": 3, "stride": 2, "groups": 2}),
]
# each is compiled there: by default a transposed one, and one of the notebook's
ON_JAX = ("conv_transpose2d", "conv2d_backward")


@pytest.mark.parametrize(
    ("framework", "operator", "shapes", "params"),
    [
        pytest.param(framework, *case, marks=[] if framework == "torch" or case[0] in ON_JAX else pytest.mark.slow)
        for framework in ("torch", "jax")
        for case in OPERATORS
    ],
)
def test_every_operator_agrees_with_itself(request, framework, operator, shapes, params):
    request.getfixturevalue(framework)
    op = getattr(triconv, operator)
    report = triconv.check(op, op, *shapes, framework=framework, pass_params=True, **params)
    assert report.ok, str(report)
    assert {"VJP of bias"} & {row.what for row in report.rows} == ({"VJP of bias"} if len(shapes) == 3 else set())


def test_own_arrays_give_the_dtype_and_the_framework(torch):
    report = triconv.check(
        triconv.conv2d, triconv.conv2d, torch.randn(1, 2, 4, 4).double(), torch.randn(3, 2, 2, 2).double()
    )
    assert (report.framework, report.dtype, report.verdict) == ("torch", "float64", "right")


def test_framework_is_found_in_the_code(jax, torch):
    import jax as j
    import torch as t

    assert framework_of(lambda x, w: j.lax.conv(x, w, (1,), "SAME")) == "jax"
    assert framework_of(lambda x, w: t.conv1d(x, w + 1)) == "torch"
    assert framework_of(t.nn.Conv1d(1, 1, 1)) == "torch"
    assert framework_of(j.jit(lambda x: x)) == "jax"
    assert framework_of(lambda x, w: np.convolve(x, w + 1)) == "numpy"
    inner = lambda x, w: j.numpy.sum(x) * w  # noqa: E731
    assert framework_of(lambda x, w: inner(x, w + 1)) == "jax"


# ---- precision


def narrowed(a, bits):
    """Round the significand of float32 to so many bits."""
    mantissa, exponent = np.frexp(np.asarray(a, np.float64))
    return np.ldexp(np.rint(mantissa * 2.0**bits) / 2.0**bits, exponent).astype(np.float32)


@pytest.mark.parametrize(("bits", "name"), [(11, "tf32"), (8, "bfloat16")])
def test_products_of_fewer_bits_are_imprecise_not_wrong(bits, name):
    conv = triconv.Rules(
        lambda x, w: triconv.conv2d(narrowed(x, bits), narrowed(w, bits)),
        lambda g, w: triconv.conv_input_vjp(narrowed(g, bits), narrowed(w, bits), input_size=(8, 8)),
    )
    report = triconv.check(conv, triconv.conv2d, *SHAPES, dtype="float32")
    assert report.verdict == "imprecise"
    assert not report.ok
    assert {row.verdict for row in report.rows if row.how == "precision"} == {"imprecise"}
    assert {"tf32": "TF32", "bfloat16": "bfloat16"}[name] in report.summary
    assert triconv.check(conv, triconv.conv2d, *SHAPES, dtype="float32", precision=name).ok
    if name == "bfloat16":
        assert triconv.check(conv, triconv.conv2d, *SHAPES, dtype="float32", precision="tf32").verdict == "imprecise"


def test_sums_in_bfloat16_are_imprecise_not_wrong(torch):
    def conv(x, w):
        total = torch.zeros(2, 4, 6, 6, dtype=torch.bfloat16)
        for c in range(3):
            for i, j in np.ndindex(3, 3):
                part = x[:, None, c, i : i + 6, j : j + 6] * w[None, :, c, i, j, None, None]
                total = total + part.bfloat16()
        return total.float()

    report = triconv.check(conv, triconv.conv2d, *SHAPES)
    assert report.verdict == "imprecise", str(report)


def test_float32_in_float64_is_imprecise():
    conv = triconv.Rules(lambda x, w: triconv.conv2d(x.astype("f4"), w.astype("f4")).astype("f8"))
    report = triconv.check(conv, triconv.conv2d, *SHAPES, dtype="float64")
    assert report.verdict == "imprecise"
    assert "float32" in report.summary


def test_a_factor_close_to_one_is_wrong():
    conv = triconv.Rules(lambda x, w: triconv.conv2d(x, w) * np.float32(1.0001))
    report = triconv.check(conv, triconv.conv2d, *SHAPES)
    assert (report.verdict, report.cause) == ("wrong", "constant factor")
    conv = triconv.Rules(lambda x, w: triconv.conv2d(x, w) * np.float32(1.00001))
    assert triconv.check(conv, triconv.conv2d, *SHAPES).cause == "constant factor"


# ---- malformed questions


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda f: triconv.check(f, "conv2d", *SHAPES), TypeError, "`like` must be an operator of triconv"),
        (
            lambda f: triconv.check(f, np.convolve, *SHAPES),
            ValueError,
            "`like` must take the arrays, but raised ValueError",
        ),
        (
            lambda f: triconv.check(f, None, *SHAPES, sweep=True),
            ValueError,
            "`sweep` is for checks against an operator",
        ),
        (lambda f: triconv.check(f, None, *SHAPES, precision="tf32"), ValueError, "`precision` is for checks against"),
        (lambda f: triconv.check(f, np.add, *SHAPES, sizes="stress"), ValueError, "triconv.conv2d, got add"),
        (
            lambda f: triconv.check(f, None, *SHAPES, meant=["x"]),
            ValueError,
            "`meant` is for checks against an operator",
        ),
        (lambda f: triconv.check(3, triconv.conv2d, *SHAPES), TypeError, "`candidate` must be a function"),
        (lambda f: triconv.check(f, triconv.conv2d, (2, 3, 8, 8), (4, 2, 3, 3)), ValueError, "`x.shape[1]` must equal"),
        (lambda f: triconv.check(f, triconv.conv2d, (2, 3, 8, 8)), TypeError, "(x, w, bias): got 1;"),
        (lambda f: triconv.check(f, triconv.conv2d, *SHAPES, stride=0), ValueError, "`stride` must be at least 1"),
        (
            lambda f: triconv.check(f, triconv.conv2d, *SHAPES, strides=2),
            TypeError,
            "unexpected keyword argument 'strides'",
        ),
        (
            lambda f: triconv.check(f, triconv.conv2d, *SHAPES, framework="mxnet"),
            ValueError,
            "`framework` must be one of",
        ),
        (lambda f: triconv.check(f, triconv.conv2d, *SHAPES, dtype="int7"), ValueError, "`dtype` must be one of"),
        (
            lambda f: triconv.check(f, triconv.conv2d, *SHAPES, precision="low"),
            ValueError,
            "`precision` must be one of",
        ),
        (lambda f: triconv.check(f, triconv.conv2d, np.ones((1, 1, 3, 3)), (1, 1, 2, 2)), TypeError, "all shapes"),
        (lambda f: triconv.check(f, triconv.conv2d, (2, -3, 8, 8), (4, 3, 3, 3)), ValueError, "without negative sizes"),
    ],
)
def test_questions_that_make_no_sense_are_refused(call, error, message):
    with pytest.raises(error) as raised:
        call(triconv.conv2d)
    assert message in str(raised.value)


@pytest.mark.parametrize(
    ("candidate", "message"),
    [
        (lambda x, w: [1, 2], "the candidate returned a list, which is no array"),
        (lambda x, w: None, "the candidate returned a NoneType, which is no array"),
        (lambda x: x, "the candidate raised TypeError"),
        (lambda x, w: 1 / 0, "the candidate raised ZeroDivisionError: division by zero"),
    ],
)
def test_a_candidate_that_gives_no_array_is_unchecked(candidate, message):
    report = triconv.check(candidate, triconv.conv2d, *SHAPES)
    assert report.verdict == "unchecked"
    assert message in report.summary
    with pytest.raises(AssertionError, match="unchecked"):
        report.raise_if_failed()


def test_a_candidate_that_raises_later_is_unchecked():
    calls = []

    def conv(x, w):
        calls.append(1)
        if len(calls) > 3:
            msg = "tired"
            raise RuntimeError(msg)
        return triconv.conv2d(x, w)

    report = triconv.check(conv, triconv.conv2d, *SHAPES)
    assert report.verdict == "unchecked"
    assert "RuntimeError: tired" in report.summary


def test_oracles_are_asked(jax, torch):
    """The oracle of the candidate's framework; both, to settle a fault."""
    for sign, oracles in ((1, ["torch"]), (-1, ["lax", "torch"])):
        report = triconv.check(
            lambda x, w, s=sign: s * triconv.conv2d(x, w), triconv.conv2d, *SHAPES, framework="torch"
        )
        assert [(result.oracle, result.status) for result in report.oracles] == [(name, "agrees") for name in oracles]
        assert list(report.witnesses) == [
            f"{name} agrees with the definition: value and both VJPs, on integers, bit for bit" for name in oracles
        ]


def test_a_nan_that_is_hidden_is_wrong():
    hide = triconv.Rules(lambda x, w: triconv.conv2d(np.nan_to_num(x, posinf=0), w))
    report = triconv.check(hide, triconv.conv2d, *SHAPES)
    assert [row.what for row in report.rows if row.verdict == "wrong"] == ["a NaN in x", "an infinity in x"]
    assert "it does not reach 36 of 36 elements that it meets" in report.summary


def test_a_kernel_without_a_derivative_is_checked_as_far_as_it_goes(jax):
    """A Pallas kernel, which has a JVP alone, and a callback, which has none: only its value is checked."""
    from jax.experimental import pallas as pl

    def body(x, w, y):
        y[...] = jax.lax.conv(x[...], w[...], (1, 1), "VALID")

    def kernel(x, w):
        return pl.pallas_call(body, out_shape=jax.ShapeDtypeStruct((2, 4, 6, 6), x.dtype), interpret=True)(x, w)

    def callback(x, w):
        shape = jax.ShapeDtypeStruct((2, 4, 6, 6), x.dtype)
        return jax.pure_callback(lambda x, w: np.asarray(triconv.conv2d(np.asarray(x), np.asarray(w))), shape, x, w)

    for candidate, verdict in ((kernel, "right"), (callback, "unchecked")):
        report = triconv.check(candidate, triconv.conv2d, *SHAPES)
        assert report.verdict == verdict, str(report)
        assert {row.verdict for row in report.rows if row.what.startswith("VJP")} == {"unsupported"}
    assert "right: value only, no derivative was asked" in report.summary
    negative = triconv.check(lambda x, w: -kernel(x, w), triconv.conv2d, *SHAPES)
    assert negative.cause == "sign"


# ---- the report as data


def test_json_has_every_question_and_finding_by_its_fields(tmp_path):
    def weight_vjp(g, x):
        return triconv.conv_weight_vjp(g, x, kernel_size=3, stride=2) / 2

    candidate = triconv.Rules(functools.partial(triconv.conv2d, stride=2), weight_vjp=weight_vjp)
    triconv.check(candidate, triconv.conv2d, *SHAPES, stride=2).to_json(tmp_path / "report.json")
    read = json.loads((tmp_path / "report.json").read_text())
    (row,) = (row for row in read["rows"] if row["verdict"] == "wrong")
    assert row["question"] == {
        "kind": "vjp", "role": "w", "name": "w", "order": 1, "transform": "vjp", "mode": None, "sample": None,
        "of": None,
    }  # fmt: skip
    diagnosis = row["finding"]["diagnosis"]
    assert (row["finding"]["type"], diagnosis["cause"]) == ("WrongElements", "batch averaged")
    assert (diagnosis["hypothesis"], diagnosis["size"], diagnosis["axis"]) == ("mean over the batch", 2, None)
    evidence = row["evidence"]
    assert evidence["found"] == evidence["expected"] / 2
    assert type(row["error_over_bound"]) is float
    assert read["params"] == {"stride": 2}
    (vjp,) = (row for row in read["rows"] if row["what"] == "VJP of x")
    assert vjp["finding"] == {
        "type": "NotSupported", "reason": "not among the rules", "ability": "derivative", "name": None, "exception": None,
    }  # fmt: skip
    assert {oracle["status"] for oracle in read["oracles"]} <= {"agrees"}


def test_json_has_the_versions_of_what_is_imported():
    versions = triconv.check(triconv.conv2d, triconv.conv2d, *SHAPES).to_dict()["versions"]
    assert versions["triconv"] == triconv.__version__
    assert versions["python"] == platform.python_version()
    assert versions["numpy"] == np.__version__
    for name in ("jax", "torch"):
        assert (name in versions) == (name in sys.modules)


def test_json_has_numbers_as_numbers():
    assert plain((np.float32(0.5), np.int64(3), True, None)) == [0.5, 3, True, None]
    assert plain(np.complex64(1 - 2j)) == {"real": 1.0, "imag": -2.0}
    assert plain([np.float64("nan"), -np.inf]) == ["nan", "-inf"]


def test_a_wrong_second_order_keeps_its_own_cause():
    """In the field of its own, where the cause of the row says that first order is right."""
    diagnosis = WrongElements(Diagnosis(Cause.SIGN, Hypothesis.SIGN))
    rows = [
        ReportRow(Question(Kind.SECOND_ORDER, Role.X, "x", 2), "wrong", Proof.EXACT, diagnosis, cause=Cause.SIGN),
        ReportRow(
            Question(Kind.SECOND_ORDER, Role.W, "w", 2), "wrong", Proof.SHAPE, WrongShape((1,), (2,)), cause="shape"
        ),
    ]
    assert row_causes.later_only(rows) == rows  # no first order was judged
    right = ReportRow(Question(Kind.VJP, Role.X, "x", 1), "right", Proof.EXACT, EqualOnIntegers(random=False))
    later = row_causes.later_only([right, *rows])[1:]
    assert [row.cause for row in later] == ["second order only"] * 2
    assert [row.finding.cause for row in later] == ["sign", "shape"]
    assert later[0].detail == "first order is right, second is not (sign): the sign is wrong"
    first = ReportRow(Question(Kind.VJP, Role.X, "x", 1), "wrong", Proof.EXACT, diagnosis, cause=Cause.SIGN)
    assert row_causes.later_only([first, *rows]) == [first, *rows]


@pytest.mark.parametrize("room", ["checking", "cli"])
def test_no_code_reads_the_sentences(room):
    """Questions, findings and explanations are data: nothing but rendering makes sentences, and nothing takes them apart."""
    package = Path(triconv.__file__).parent / room
    for path in package.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Attribute) and node.attr in ("what", "detail", "summary", "witnesses"):
                assert path.stem in RENDERING, f"{path.name}:{node.lineno} reads .{node.attr}"


# the files of rendering; `targets` prints the summary on standard error, `batch` prints and writes one per problem, and
# `candidate_process` has an exception that says what the row says
RENDERING = {
    "plugin",
    "report",
    "report_data",
    "text_report",
    "html_report",
    "json_report",
    "wording",
    "targets",
    "mesh_check",
    "batch",
    "junit",
    "candidate_process",
}


# ---- the command line

MINE = """
import numpy as np
import triconv

def forward(x, w):
    windows = np.lib.stride_tricks.sliding_window_view(x, w.shape[2:], (2, 3))[:, :, ::2, ::2]
    return np.einsum("nchwij,kcij->nkhw", windows, w)

def weight_vjp(g, x):
    return triconv.conv_weight_vjp(g, x, kernel_size=3, stride=2)

right = triconv.Rules(forward, weight_vjp=weight_vjp)

def wrong(x, w):
    return forward(x, w[:, :, ::-1, ::-1])

def raises(x, w):
    raise RuntimeError("no")

number = 3
"""
WORDS = ["--like", "conv2d", "--shape", "2,3,8,8", "--shape", "4,3,3,3", "--stride", "2"]


@pytest.fixture
def mine(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(MINE)
    return path


def test_the_exit_status_tells_right_wrong_and_unchecked(mine, tmp_path, capsys):
    assert main.main(["check", f"{mine}:right", *WORDS]) == 0
    assert "right: Rules(forward, ...) agrees with conv2d" in capsys.readouterr().out
    assert main.main(["check", f"{mine}:forward", *WORDS]) == 2
    assert "right: value only, no derivative was asked" in capsys.readouterr().out
    html, saved = tmp_path / "report.html", tmp_path / "report.json"
    assert main.main(["check", f"{mine}:wrong", *WORDS, "--html", str(html), "--json", str(saved)]) == 1
    assert "the kernel is flipped" in capsys.readouterr().out
    assert "<html" in html.read_text()
    read = json.loads(saved.read_text())
    assert (read["verdict"], read["cause"]) == ("wrong", "kernel flip")
    assert main.main(["check", f"{mine}:raises", *WORDS]) == 2
    assert "the candidate raised RuntimeError: no" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nothere.py:f", *WORDS], "`target`: there is no file nothere.py"),
        (["{mine}:nothing", *WORDS], "`target`: there is no 'nothing' in"),
        (["{mine}", *WORDS], "`target` must name a function after the file, such as"),
        (["no colon", *WORDS], "`target` must be path/to/file.py:name or package.module:name, got"),
        (["{mine}:rihgt", *WORDS], "`target`: there is no 'rihgt' in"),
        (["{mine}:forward(", *WORDS], "`target`: forward( raised SyntaxError"),
        (["{mine}:right", *WORDS, "--args", "stride"], "`--args` must be JSON"),
        (["{mine}:right", *WORDS, "--full"], "`--full` must come without a target"),
        (
            ["{mine}:right", "{mine}:wrong", *WORDS, "--html", "report.html"],
            "`--html` and `--json` must come with one target",
        ),
        (["{mine}:right", *WORDS, "--meant", "luck"], "`meant` must be causes"),
        (
            ["{mine}:number", *WORDS],
            "`candidate` must be a function, a module, a layer, (forward, backward) or triconv.Rules, got int",
        ),
        (["no.such.module:f", *WORDS], "`target`: no.such.module could not be imported: ModuleNotFoundError"),
        (
            ["{mine}:right", *WORDS[2:]],
            "`--stride` must come with --like; arguments of the target itself are --args and --kwargs",
        ),
        (["{mine}:right", "--like", "conv2", *WORDS[2:]], "`--like` must be one of conv, "),
        (["{mine}:right", "--like", "conv2d"], "`--shape` must be given once for each array"),
        (
            ["{mine}:right", *WORDS, "--shape", "4"],
            (
                "unchecked: Rules(forward, ...), value: the candidate raised TypeError: "
                "forward() takes 2 positional arguments but 3 were given; it gets the arrays one by one, in the order of their "
                "shapes (a lambda adapts another signature)\n"
            ),
        ),
        (["{mine}:right", *WORDS, "--shape", "5"], "`bias.shape`"),
        (
            ["{mine}:right", *WORDS, "--html", "/no/such/folder/report.html"],
            "`--html` must be a file in a folder that is there",
        ),
        (["{mine}:right", *WORDS, "--framework", "mxnet"], "`--framework` must be one of"),
        (["{mine}:right", *WORDS, "--groups", "2"], "`x.shape[1]` must equal `groups * w.shape[1]`, got 3 != 2 * 3"),
        (["--like", "conv2d"], "`--like` must come with a target"),
    ],
)
def test_command_line_errors_are_one_line(mine, capsys, words, message):
    status = main.main(["check", *(word.replace("{mine}", str(mine)) for word in words)])
    printed = capsys.readouterr()
    assert status == 2
    assert printed.err.startswith(f"triconv: {message}"), printed.err
    assert printed.err.count("\n") == 1


def test_a_seed_is_not_negative():
    for seed in (-1, 0.5):
        with pytest.raises(ValueError, match="`seed` must be an int from 0 on, got"):
            triconv.check(triconv.conv1d, triconv.conv1d, (1, 1, 3), (1, 1, 2), seed=seed)


def test_words_that_are_no_numbers_are_one_line(capsys):
    assert main.main(["check", "mine.py:f", "--shape", "2,x"]) == 2
    assert capsys.readouterr().err == "triconv: `--shape` must be sizes such as 2,3,8,8, got '2,x'\n"


def test_padding_on_the_command_line(mine):
    source = "import functools, triconv\n\npadded = functools.partial(triconv.conv1d, padding=[(2, 1)])\n"
    mine.write_text(source)
    words = ["--like", "conv1d", "--shape", "2,3,8", "--shape", "4,3,3"]
    assert main.main(["check", f"{mine}:padded", *words, "--padding", "2:1"]) == 0
    assert main.main(["check", f"{mine}:padded", *words, "--padding", "1:2"]) == 1


def test_the_pytest_fixture_fails_with_the_report(pytester):
    pytester.makepyfile(
        """
        import triconv

        def test_right(triconv_check):
            report = triconv_check(triconv.conv2d, triconv.conv2d, (1, 2, 4, 4), (3, 2, 2, 2))
            assert report.ok

        def test_wrong(triconv_check):
            triconv_check(lambda x, w: -triconv.conv2d(x, w), triconv.conv2d, (1, 2, 4, 4), (3, 2, 2, 2))
        """
    )
    # the package brings it as an entry point, where it is installed
    plugin = () if entry_points(group="pytest11", name="triconv") else ("-p", "pytest_triconv")
    result = pytester.runpytest("-p", "no:cacheprovider", *plugin)
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(["*the sign is wrong*"])
