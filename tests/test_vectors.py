"""Test vectors: what is written, and what is said of results that are right, wrong, missing or damaged."""

from __future__ import annotations

import json

import numpy as np
import pytest

import triconv
from triconv.checking import vectors
from triconv.cli import main

SHAPES, PARAMS = ((2, 4, 9), (6, 2, 3)), {"stride": 2, "groups": 2}


@pytest.fixture
def case(tmp_path):
    vectors.write(triconv.conv1d, *SHAPES, out=tmp_path / "case.npz", **PARAMS)
    return tmp_path / "case.npz"


def answers(case, change=lambda name, a: a, names=("value", "vjp.x", "vjp.w", "jvp")):
    """What a right kernel computes, in single precision, and a change of it."""
    data, found = np.load(case), {}
    for group in ("exact", "small", "random"):
        x, w, g, dx, dw = (data[f"{group}.{name}"] for name in ("x", "w", "cotangent", "tangent.x", "tangent.w"))
        y, pullback = triconv.vjp(triconv.conv1d, x, w, **PARAMS)
        results = dict(zip(("vjp.x", "vjp.w"), pullback(g), strict=True))
        results |= {"value": y, "jvp": triconv.jvp(triconv.conv1d, (x, w), (dx, dw), **PARAMS)[1]}
        found |= {f"{group}.{name}": change(name, results[name]) for name in names}
    np.savez(case.with_name("case_out.npz"), **found)
    return case.with_name("case_out.npz")


def test_right_results_are_right(case):
    report = vectors.check_results(answers(case))
    assert report.ok, str(report)
    assert [row.what for row in report.rows] == ["value", "VJP of x", "VJP of w", "JVP"]


def test_the_bounds_hold_and_are_those_of_the_check(case):
    data, found = np.load(case), np.load(answers(case))
    for name in ("value", "vjp.x", "vjp.w", "jvp"):
        assert np.array_equal(found[f"exact.{name}"], data[f"exact.{name}"])
        assert np.all(np.abs(found[f"random.{name}"] - data[f"random.{name}"]) <= data[f"random.{name}.bound"])


def test_a_mistake_is_named(case):
    report = vectors.check_results(answers(case, lambda name, a: a / 2 if name == "vjp.w" else a))
    assert (report.verdict, report.cause) == ("wrong", "batch averaged")
    json.dumps(report.to_dict(), allow_nan=False)


def test_what_is_not_given_is_unsupported(case):
    report = vectors.check_results(answers(case, names=("value", "vjp.x")))
    assert [(row.what, row.verdict) for row in report.rows][2:] == [("VJP of w", "unsupported"), ("JVP", "unsupported")]
    assert report.rows[2].detail == "not given"
    assert report.ok
    assert vectors.check_results(answers(case, names=("value",))).verdict == "unchecked"


@pytest.mark.parametrize("dtype", ["bfloat16", "int32", "complex64", "float64"])
def test_other_dtypes(tmp_path, dtype):
    pytest.importorskip("ml_dtypes")
    vectors.write(triconv.conv1d, *SHAPES, out=tmp_path / "case.npz", dtype=dtype, **PARAMS)
    data = np.load(tmp_path / "case.npz")
    right = {k: data[k] for k in data if not k.endswith("bound") and k.split(".", 1)[1] in ("value", "vjp.x")}
    kind = np.float32 if dtype == "bfloat16" else dtype
    given = {k: vectors.stored(a.astype(kind), dtype) if k.startswith("random") else a for k, a in right.items()}
    np.savez(tmp_path / "case_out.npz", **given)
    assert vectors.check_results(tmp_path / "case_out.npz").ok


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            {"exact.value": np.zeros((1, 2), np.float32)},
            r"`results`: exact.value must be float32 \(2, 6, 4\), got float32",
        ),
        ({"exact.value": np.zeros((2, 6, 4))}, r"exact.value must be float32 \(2, 6, 4\), got float64 \(2, 6, 4\)"),
        ({"exact.valu": np.zeros(2)}, "`results` must have arrays that the JSON of the vectors lists"),
        ({"exact.value": np.array([print])}, "exact.value must be an array of numbers, got a pickle of Python objects"),
        ({}, "`results` must have the values, exact.value and random.value, got nothing"),
    ],
)
def test_results_that_do_not_fit(case, change, words):
    np.savez(case.with_name("case_out.npz"), **change)
    with pytest.raises(ValueError, match=words):
        vectors.check_results(case.with_name("case_out.npz"))


def test_damaged_files(case):
    out = answers(case)
    data = out.read_bytes()
    for damaged in (b"", b"no zip", data[: len(data) // 2], data[:200] + bytes(200) + data[400:]):
        out.write_bytes(damaged)
        with pytest.raises(ValueError, match="`results`"):
            vectors.check_results(out)
    out.unlink()
    with pytest.raises(ValueError, match="`results` must be a file that is there"):
        vectors.check_results(out)
    described = json.loads(case.with_suffix(".json").read_text())
    for text, words in (
        (json.dumps(described | {"version": 2}), "version 1, got 'triconv vectors', version 2"),
        (json.dumps(described | {"seed": 1}), "`vectors` must be of this version of triconv"),
        (json.dumps(described | {"operator": "conv9d"}), "`vectors` must be of an operator and dtype of triconv"),
        ("{", "a JSON of triconv vectors beside them"),
    ):
        case.with_suffix(".json").write_text(text)
        with pytest.raises(ValueError, match=words):
            vectors.check_results(out, case)


def test_the_command_line(tmp_path, capsys):
    case = tmp_path / "case.npz"
    options = ["--shape", "2,4,9", "--shape", "6,2,3", "--stride", "2", "--groups", "2"]
    assert main.main(["vectors", "--like", "conv1d", *options, "--out", str(case)]) == 0
    page = tmp_path / "r.html"
    assert main.main(["check", "--results", str(answers(case)), "--html", str(page)]) == 0
    assert "VJP of w" in page.read_text()
    out = answers(case, lambda name, a: a / 2 if name == "vjp.w" else a)
    assert main.main(["check", "--results", str(out), "--vectors", str(case)]) == 1
    assert "mean over the batch" in capsys.readouterr().out
    assert main.main(["check", "--results", str(out), "--like", "conv1d"]) == 2
    assert "`--like` must not come with --results" in capsys.readouterr().err
    assert main.main(["vectors", "--like", "conv1d", *options, "--out", "case.txt"]) == 2
    assert "`out` must be a file such as case.npz" in capsys.readouterr().err
