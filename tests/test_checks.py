"""The checks themselves: right on triconv, and red on results that are flipped, shifted, scaled, zero or NaN."""

from __future__ import annotations

import importlib.resources
import re
import tomllib
from pathlib import Path

import numpy as np
import pytest

import triconv
from triconv.backends import BACKENDS
from triconv.checking import bounds, loops, runners, selfcheck
from triconv.checking.cases import GEOMETRIES, LAYERS
from triconv.checking.selfcheck import Word
from triconv.cli import main, selfcheck_table

CASE = next(case for case in GEOMETRIES if case.name == "all steps")


def truth(case=CASE, witnesses=None):
    return selfcheck._Truth(case, np.random.default_rng(0), witnesses or {})


def judge(spoil, position, case=CASE, witnesses=None):
    """Judge NumPy's results after one of them is spoiled."""

    def runner(case, x, w, g):
        results = list(runners.runners("numpy")["numpy"](case, x, w, g))
        results[position] = spoil(results[position])
        return tuple(results)

    return truth(case, witnesses).judge("spoiled", runner)


def one_element(a):
    b = a.copy()
    b[np.unravel_index(np.argmax(np.abs(a)), a.shape)] = 0
    return b


SPOILED = {
    "sign": np.negative,
    "flipped": lambda a: np.ascontiguousarray(a[..., ::-1]),
    "channels flipped": lambda a: np.ascontiguousarray(a[:, ::-1]),
    "shifted": lambda a: np.roll(a, 1, axis=-1),
    "scaled": lambda a: a * np.float32(1.001),
    "zero": np.zeros_like,
    "nan": lambda a: np.full_like(a, np.nan),
    "one element dropped": one_element,
    "border dropped": lambda a: a * (np.arange(a.shape[-1])[::-1] > 0),
    "shape": lambda a: a[..., :-1],
}


@pytest.mark.parametrize("position", [0, 1, 2])
@pytest.mark.parametrize("spoil", SPOILED)
def test_what_is_wrong_is_found(spoil, position):
    case = next(case for case in GEOMETRIES if case.name == "asymmetric padding")
    results = judge(SPOILED[spoil], position, case)
    for number, result in enumerate(results):
        assert result.ok == (number != position)
    assert results[position].checks["loops"] is Word.DIFFERS


def test_the_adjoint_identity_alone_finds_a_sign():
    results = judge(np.negative, 1)
    assert results[1].checks["adjoint"] is Word.DIFFERS


def test_a_rounding_error_is_no_alarm_and_a_lost_bit_is():
    def jitter(relative):
        return lambda a: (a.astype(np.float64) * (1 + relative)).astype(np.float32)

    assert judge(jitter(2.0**-25), 0)[0].ok
    assert not judge(jitter(2.0**-10), 0)[0].ok  # TF32


def test_a_witness_that_is_wrong_is_named_and_not_believed():
    def liar(case, x, w, g):
        y, gx, gw = runners.runners("numpy")["numpy"](case, x, w, g)
        return y, gx * 2, gw

    results = truth(witnesses={"lax": liar}).judge("numpy", runners.runners("numpy")["numpy"])
    assert all(result.ok for result in results)
    assert [result.checks["lax"] for result in results] == [Word.AGREES, Word.IS_WRONG, Word.AGREES]


def test_what_raises_is_wrong():
    def raising(*_):
        msg = "no"
        raise RuntimeError(msg)

    results = truth().judge("raising", raising)
    assert [result.ok for result in results] == [False] * 3
    assert results[0].error == "RuntimeError: no"


def test_the_bound_is_highams():
    assert bounds.gamma(10, 2.0**-24) == pytest.approx(10 * 2.0**-24, rel=1e-5)
    one, none = np.ones(1), np.zeros(1)
    assert bounds.over_bound(one, one, none, 1, 2.0**-24) == 0
    assert bounds.over_bound(one, none, none, 1, 2.0**-24) == np.inf
    assert bounds.over_bound(one * np.nan, one, one, 1, 2.0**-24) == np.inf
    assert bounds.over_bound(one, one * (1 + 2.0**-23), one, 1, 2.0**-24) == pytest.approx(1, rel=1e-5)


def test_the_oracle_by_hand():
    """Stride 2, padding (1, 0), dilation 2, input dilation 3: the equation 3 i + 1 = 2 o + 2 t, solved on paper."""
    axis = loops.Numbers(3, 2, 2, 2, 3, 1, 0)
    assert loops.output_size(axis) == 3
    assert loops.meetings(axis) == [(1, 1, 1), (1, 2, 0)]
    x, w = np.array([[[1, 10, 100]]]), np.array([[[2, 3]]])
    np.testing.assert_array_equal(loops.contract((axis,), 1, x=x, w=w), [[[0, 30, 20]]])


def test_cases_have_names_reasons_and_the_grid_is_whole():
    assert len(GEOMETRIES) >= 40
    every = (*GEOMETRIES, *LAYERS)
    assert len({case.name for case in every}) == len(every)
    assert all(case.why for case in every)
    grid = Path(__file__).parent.parent / "bench" / "workloads.toml"
    layers = {layer["name"]: layer for layer in tomllib.loads(grid.read_text())["workload"]}
    assert {case.name for case in LAYERS} == set(layers)
    for case in LAYERS:
        layer = layers[case.name]
        assert len(case.x) == len(layer["x"])
        assert (case.groups > 1) == (layer.get("groups", 1) > 1)
        assert any(s > 1 for s in case.stride) == any(s > 1 for s in layer.get("stride", [1]))
        assert any(d > 1 for d in case.dilation) == any(d > 1 for d in layer.get("dilation", [1]))


def test_every_case_on_every_backend(lib):
    """The main job, on this backend; on JAX, which compiles each, a sample (the command itself runs them all)."""
    every = (*GEOMETRIES, *LAYERS)
    ways = runners.runners(lib.name)
    for number, case in enumerate(every[::9] if lib.name == "jax" else every):
        judged = selfcheck._Truth(case, np.random.default_rng(number), {})
        for label, runner in ways.items():
            for result in judged.judge(label, runner):
                assert result.ok, result


@pytest.mark.parametrize("name", ["lax", "torch"])
def test_witnesses_agree(name, request):
    library, witness = runners.WITNESSES[name]
    request.getfixturevalue(library)
    for case in GEOMETRIES[:: 5 if name == "lax" else 1]:
        for result in truth(case, {name: witness}).judge("numpy", runners.runners("numpy")["numpy"]):
            assert result.ok, result


# ---- the command line


def test_check_on_numpy(capsys):
    assert main.main(["check", "--backend", "numpy"]) == 0
    out = capsys.readouterr().out
    assert re.search(r"right: triconv .* on numpy .* \(70 cases, 205 results, ", out)
    for heading in (
        "case",
        "why it is here",
        "contraction",
        "backend",
        "loops",
        "adjoint",
        "lax",
        "torch",
        "error/bound",
    ):
        assert heading in out
    for case in (*GEOMETRIES, *LAYERS):
        assert case.name in out


def test_check_says_when_it_is_wrong(capsys, monkeypatch):
    from triconv.kernels import direct

    right = direct.conv_weight_vjp
    monkeypatch.setattr(direct, "conv_weight_vjp", lambda *args: -right(*args))
    monkeypatch.setattr(selfcheck, "GEOMETRIES", GEOMETRIES[:3])
    monkeypatch.setattr(selfcheck, "LAYERS", ())
    assert main.main(["check", "--backend", "numpy", "--full"]) == 1
    out = capsys.readouterr().out
    assert re.search(r"plain 1-D .* conv_weight_vjp .*NO .*NO", out)
    assert "WRONG: 4 of 13 results" in out


def test_check_takes_a_kernel(capsys, monkeypatch):
    from triconv.kernels import gemm

    monkeypatch.setattr(gemm, "conv", lambda x, w, geometry, lib: lib.zeros(geometry.output_size, x))
    monkeypatch.setattr(selfcheck, "GEOMETRIES", GEOMETRIES[:3])
    monkeypatch.setattr(selfcheck, "LAYERS", ())
    assert main.main(["check", "--backend", "numpy", "--algorithm", "gemm"]) == 1
    assert main.main(["check", "--backend", "numpy", "--algorithm", "depthwise"]) == 0
    assert "WRONG" in capsys.readouterr().out


def test_check_names_a_missing_backend(capsys, monkeypatch):
    monkeypatch.setattr(selfcheck, "GEOMETRIES", GEOMETRIES[:1])
    monkeypatch.setattr(selfcheck, "LAYERS", ())
    monkeypatch.setattr(BACKENDS["cupy"], "installed", classmethod(lambda cls: False))
    assert main.main(["check", "--backend", "numpy"]) == 0
    assert (
        'cupy is not installed; install it with: python -m pip install "cupy-cuda13x>=13.6"' in capsys.readouterr().out
    )


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["check", "--backend", "tensorflow"], "`--backend` must be one of numpy, jax"),
        (["explain", "conv9d", "--shape", "1,1,3"], "`operator` must be one of conv, conv_input_vjp"),
        (
            ["explain", "conv1d", "--shape", "1,1,3", "--shape", "1,2,3"],
            "`x.shape[1]` must equal `groups * w.shape[1]`",
        ),
        (["explain", "conv1d", "--shape", "1,1,3"], "conv1d() missing 1 required positional argument: 'w'"),
    ],
)
def test_what_cannot_be_checked_is_one_line_and_status_2(words, message, capsys):
    assert main.main(words) == 2
    err = capsys.readouterr().err
    assert message in err
    assert len(err.splitlines()) == 1


def test_unusable_words_are_status_2():
    for words in ([], ["check", "--nonsense"], ["explain", "conv1d", "--shape", "1,x"]):
        with pytest.raises(SystemExit) as stopped:
            main.main(words)
        assert stopped.value.code == 2


def test_explain(capsys):
    words = ["explain", "conv2d", "--shape", "2,3,8,8", "--shape", "4,3,3,3", "--stride", "2", "--padding", "valid"]
    assert main.main(words) == 0
    out = capsys.readouterr().out
    assert "conv_weight_vjp" in out
    assert "1,944 multiply-adds" in out


def test_info(capsys):
    assert main.main(["info"]) == 0
    assert np.__version__ in capsys.readouterr().out


def test_a_long_run_shows_its_progress():
    lists = iter([[selfcheck.Result("a", "b", "conv", "numpy", {})]] * 3)
    assert len(selfcheck_table.with_progress(lists, 3)) == 3


def test_the_package_is_typed():
    assert importlib.resources.files(triconv).joinpath("py.typed").is_file()
