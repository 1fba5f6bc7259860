"""Test vectors: what is written, and what is said of results that are right, wrong, missing or damaged."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import warnings
import zipfile

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


NAMES = ("value", "vjp.x", "vjp.w", "jvp", "second.x", "second.w")


def answers(case, change=lambda name, a: a, names=NAMES):
    """What a right kernel computes, in single precision, and a change of it."""
    data, found = np.load(case), {}
    for group in ("exact", "small", "random"):
        x, w, g, dx, dw = (data[f"{group}.{name}"] for name in ("x", "w", "cotangent", "tangent.x", "tangent.w"))
        y, pullback = triconv.vjp(triconv.conv1d, x, w, **PARAMS)
        results = dict(zip(("vjp.x", "vjp.w"), pullback(g), strict=True))
        along = triconv.vjp(triconv.conv1d, dx, dw, **PARAMS)[1](g)
        results |= dict(zip(("second.x", "second.w"), along, strict=True))
        results |= {"value": y, "jvp": triconv.jvp(triconv.conv1d, (x, w), (dx, dw), **PARAMS)[1]}
        found |= {f"{group}.{name}": change(name, results[name]) for name in names}
    np.savez(case.with_name("case_out.npz"), **found)
    return case.with_name("case_out.npz")


def test_right_results_are_right(case):
    report = vectors.check_results(answers(case))
    assert report.ok, str(report)
    assert [row.what for row in report.rows] == [
        "value",
        "VJP of x",
        "VJP of w",
        "JVP",
        "second order of x (reverse over reverse)",
        "second order of w (reverse over reverse)",
    ]


def test_the_bounds_hold_and_are_those_of_the_check(case):
    data, found = np.load(case), np.load(answers(case))
    for name in NAMES:
        assert np.array_equal(found[f"exact.{name}"], data[f"exact.{name}"])
        assert np.all(np.abs(found[f"random.{name}"] - data[f"random.{name}"]) <= data[f"random.{name}.bound"])


def test_a_mistake_is_named(case):
    report = vectors.check_results(answers(case, lambda name, a: a / 2 if name == "vjp.w" else a))
    assert (report.verdict, report.cause) == ("wrong", "batch averaged")
    json.dumps(report.to_dict(), allow_nan=False)


def test_what_is_not_given_is_unsupported(case):
    report = vectors.check_results(answers(case, names=("value", "vjp.x")))
    assert [(row.what, row.verdict) for row in report.rows][2:4] == [
        ("VJP of w", "unsupported"),
        ("JVP", "unsupported"),
    ]
    assert {row.verdict for row in report.rows[4:]} == {"unsupported"}
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


def test_a_mistake_of_second_order_is_named(case):
    report = vectors.check_results(answers(case, lambda name, a: 2 * a if name == "second.w" else a))
    (row,) = (row for row in report.rows if row.verdict == "wrong")
    assert row.what == "second order of w (reverse over reverse)"
    assert "2" in row.detail


@pytest.mark.parametrize(
    "change", [lambda a: a.astype(a.dtype.newbyteorder(">")), np.asfortranarray], ids=["big-endian", "Fortran order"]
)
def test_arrays_of_another_order_are_the_same_numbers(case, change):
    assert vectors.check_results(answers(case, lambda _, a: change(a))).ok


def test_an_answer_that_is_not_a_number_is_wrong(case):
    report = vectors.check_results(answers(case, lambda name, a: np.where(a == a.max(), np.nan, a)))
    assert report.rows[0].verdict == "wrong"
    assert "nan" in report.rows[0].detail.lower()


def test_an_array_that_is_there_twice_is_refused(case):
    out = answers(case)
    with zipfile.ZipFile(out) as whole, zipfile.ZipFile(out.with_name("twice_out.npz"), "w") as twice:
        for _ in range(2):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # which zipfile has of it
                twice.writestr("exact.value.npy", whole.read("exact.value.npy"))
    with pytest.raises(ValueError, match=r"`results` must have each array once, got exact\.value twice"):
        vectors.check_results(out.with_name("twice_out.npz"), case)


# ---- a folder of numbers


@pytest.fixture
def folder(tmp_path):
    vectors.write(triconv.conv1d, *SHAPES, out=tmp_path / "case", **PARAMS)
    return tmp_path / "case"


def test_a_folder_has_the_numbers_of_the_file(case, folder):
    data = np.load(case)
    listed = json.loads(folder.with_suffix(".json").read_text())["arrays"]
    assert {entry["name"] for entry in listed} == set(data) == {file.stem for file in folder.iterdir()}
    for entry in listed:
        raw = (folder.parent / entry["file"]).read_bytes()
        assert raw == data[entry["name"]].astype(np.dtype(entry["stored_as"]).newbyteorder("<")).tobytes()


IN_C = """
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
static float x[2][4][9], w[6][2][3], y[2][6][4];
static FILE* opened(const char* folder, const char* set, const char* name, const char* mode) {
    char path[200];
    snprintf(path, sizeof path, "%s/%s.%s.bin", folder, set, name);
    FILE* file = fopen(path, mode);
    if (!file) { perror(path); exit(1); }
    return file;
}
int main(int count, char** words) {
    const char* sets[] = {"exact", "small", "random"};
    mkdir(words[2], 0700);
    for (int s = 0; s < 3; s++) {
        FILE* file = opened(words[1], sets[s], "x", "rb");
        if (fread(x, sizeof x, 1, file) != 1 || fclose(file)) return 1;
        file = opened(words[1], sets[s], "w", "rb");
        if (fread(w, sizeof w, 1, file) != 1 || fclose(file)) return 1;
        for (int n = 0; n < 2; n++) for (int k = 0; k < 6; k++) for (int o = 0; o < 4; o++) {
            float sum = 0;
            for (int c = 0; c < 2; c++) for (int t = 0; t < 3; t++) sum += x[n][k / 3 * 2 + c][2 * o + t] * w[k][c][t];
            y[n][k][o] = sum;
        }
        file = opened(words[2], sets[s], "value", "wb");
        if (fwrite(y, sizeof y, 1, file) != 1 || fclose(file)) return 1;
    }
    return 0;
}
"""


@pytest.mark.skipif(shutil.which("gcc") is None or sys.byteorder != "little", reason="needs gcc")
def test_a_program_in_c_is_judged(folder, capsys):
    (folder.parent / "conv.c").write_text(IN_C)
    for words in (["gcc", "-o", "conv", "conv.c"], ["./conv", "case", "case_out"]):
        subprocess.run(words, cwd=folder.parent, check=True)
    report = vectors.check_results(folder.with_name("case_out"))
    assert report.rows[0].verdict == "right", str(report)
    assert report.verdict == "unchecked"  # it has no derivative
    wrong = (IN_C.replace("k / 3 * 2 + c", "c")).encode()
    (folder.parent / "conv.c").write_bytes(wrong)
    for words in (["gcc", "-o", "conv", "conv.c"], ["./conv", "case", "case_out"]):
        subprocess.run(words, cwd=folder.parent, check=True)
    assert main.main(["check", "--results", str(folder.with_name("case_out"))]) == 1
    assert "group" in capsys.readouterr().out


def test_a_damaged_folder(folder):
    out = folder.with_name("case_out")
    out.mkdir()
    with pytest.raises(ValueError, match=r"`results` must have the values, .* got nothing"):
        vectors.check_results(out)
    (out / "exact.value.bin").write_bytes(bytes(100))
    with pytest.raises(ValueError, match=r"exact.value must be float32 \(2, 6, 4\), 192 bytes, got 100 bytes"):
        vectors.check_results(out)
    (out / "exact.valu.bin").write_bytes(b"")
    with pytest.raises(
        ValueError, match=r"`results` must have arrays that the JSON of the vectors lists, .* got 'exact.valu'"
    ):
        vectors.check_results(out)
    (folder / "exact.x.bin").write_bytes(bytes(288))
    with pytest.raises(ValueError, match="`vectors` must be of this version of triconv"):
        vectors.check_results(out)
    with pytest.raises(
        ValueError, match=r"`vectors` must be given for results that are not called ..._out.npz or ..._out"
    ):
        vectors.check_results(folder)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"shapes": [3, 4]}, "`vectors` must have shapes, and a seed from 0 on, in their JSON"),
        ({"shapes": [[2, -1]]}, "`vectors` must have shapes, and a seed from 0 on, in their JSON"),
        ({"shapes": [[2, 4, 9], [6, 2, 4]]}, "`vectors` must list exact.w with the shape of w, (6, 2, 4)"),
        ({"shapes": [[10**9] * 3, [10**9] * 3]}, "`vectors` must be of arrays and parameters that conv1d takes"),
        ({"seed": -1}, "`vectors` must have shapes, and a seed from 0 on"),
        ({"params": {"strides": 2}}, "`vectors` must be of arrays and parameters that conv1d takes"),
        (
            {"arrays": [{"name": "exact.x", "what": "input", "shape": 3, "stored_as": "float32"}]},
            "must list arrays with name",
        ),
        (
            {"arrays": [{"name": "exact.x", "what": "input", "shape": [3], "stored_as": "O"}]},
            "must list arrays with name",
        ),
    ],
)
def test_a_json_that_describes_something_else(case, change, words):
    described = json.loads(case.with_suffix(".json").read_text())
    case.with_suffix(".json").write_text(json.dumps(described | change))
    with pytest.raises(ValueError, match=re.escape(words)):
        vectors.check_results(answers(case))


def test_a_place_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    (tmp_path / "folder.npz").mkdir()
    for out in ("case.txt", "none/case", "file", "folder.npz", "none/case.npz"):
        with pytest.raises(
            ValueError, match=r"`out` must be a file such as case\.npz, or a folder such as case, in a folder"
        ):
            vectors.write(triconv.conv1d, *SHAPES, out=tmp_path / out, **PARAMS)


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
