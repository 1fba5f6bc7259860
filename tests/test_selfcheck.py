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
from triconv.checking import selfcheck
from triconv.checking.dtypes import ARITHMETIC
from triconv.checking.oracles import bounds, definition, runners
from triconv.checking.oracles.cases import GEOMETRIES, LAYERS
from triconv.checking.selfcheck import Agreement
from triconv.cli import main, selfcheck_table

CASE = next(case for case in GEOMETRIES if case.name == "all steps")


def judge_runner(runner, case=CASE, oracles=None):
    return selfcheck.judge([(0, case)], {"judged": runner}, oracles or {})[0]


def judge(corrupt, position, case=CASE):
    """Judge NumPy's results after one of them is corrupted."""

    def runner(case, x, w, g):
        results = list(runners.runners("numpy")["numpy"](case, x, w, g))
        results[position] = corrupt(results[position])
        return tuple(results)

    return judge_runner(runner, case)


def one_element(a):
    b = a.copy()
    b[np.unravel_index(np.argmax(np.abs(a)), a.shape)] = 0
    return b


CORRUPTIONS = {
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
@pytest.mark.parametrize("corruption", CORRUPTIONS)
def test_every_corruption_is_found_and_nothing_else(corruption, position):
    case = next(case for case in GEOMETRIES if case.name == "asymmetric padding")
    results = judge(CORRUPTIONS[corruption], position, case)
    for number, result in enumerate(results):
        assert result.ok == (number != position)
    assert results[position].checks["loops"] is Agreement.DIFFERS


def test_the_adjoint_identity_alone_finds_a_sign():
    results = judge(np.negative, 1)
    assert results[1].checks["adjoint"] is Agreement.DIFFERS


def test_a_rounding_error_is_no_alarm_and_a_lost_bit_is():
    def jitter(relative):
        return lambda a: (a.astype(np.float64) * (1 + relative)).astype(np.float32)

    assert judge(jitter(2.0**-25), 0)[0].ok
    assert not judge(jitter(2.0**-10), 0)[0].ok  # TF32


def test_an_oracle_that_is_wrong_is_named_and_not_believed():
    def liar(case, x, w, g):
        y, gx, gw = runners.runners("numpy")["numpy"](case, x, w, g)
        return y, gx * 2, gw

    results = judge_runner(runners.runners("numpy")["numpy"], oracles={"lax": liar})
    assert all(result.ok for result in results)
    assert [result.checks["lax"] for result in results] == [Agreement.AGREES, Agreement.IS_WRONG, Agreement.AGREES]


def test_a_runner_that_raises_is_wrong():
    def raising(*_):
        msg = "no"
        raise RuntimeError(msg)

    results = judge_runner(raising)
    assert [result.ok for result in results] == [False] * 3
    assert results[0].error == "RuntimeError: no"


SINGLE = ARITHMETIC["float32"]


def test_the_bound_is_n_plus_1_roundings_in_single_precision():
    one = np.ones(1)
    for terms in (1, 10, 2**20):
        assert bounds.of_sums(one, terms, SINGLE)[0] == pytest.approx((terms + 1) * 2.0**-24, rel=1e-6)
        assert bounds.of_difference(one, terms, SINGLE)[0] == 2 * bounds.of_sums(one, terms, SINGLE)[0]


def test_the_bound_counts_the_rounding_of_the_definition():
    """In double precision both sides are rounded alike; in single precision the definition is off by n 2^-53."""
    one, terms = np.ones(1), 2**30
    assert bounds.of_sums(one, 10, ARITHMETIC["float64"])[0] == pytest.approx(2 * 10 * 2.0**-53)
    assert bounds.of_sums(one, terms, SINGLE)[0] == pytest.approx(terms * (2.0**-24 + 2.0**-53), rel=1e-12)


def test_the_bound_holds_where_that_of_higham_does_not_exist():
    """For n u > 1, gamma_n = n u / (1 - n u) is negative; n u is still a bound."""
    terms = 2**25
    bound = bounds.of_sums(np.ones(1), terms, SINGLE)[0]
    assert 2 < bound < 2.0001


def test_the_bound_holds_for_sums_in_any_order():
    """In float16 with float16 sums, whose roundoff is large: forwards, backwards, and from the largest on."""
    rng = np.random.default_rng(0)
    arithmetic = SINGLE._replace(unit=2.0**-11, sums=2.0**-11, tiny=2.0**-24)
    worst = 0
    for _ in range(50):
        a, b = (rng.uniform(0.5, 1, 300).astype(np.float16) for _ in "ab")
        exact = np.sum(a.astype(float) * b.astype(float))
        products = a * b
        for order in (slice(None), slice(None, None, -1), np.argsort(-products)):
            total = np.float16(0)
            for product in products[order]:
                total = np.float16(total + product)
            error = np.abs(np.asarray([total - exact]))
            worst = max(worst, bounds.over(error, bounds.of_sums(np.asarray([exact]), 300, arithmetic)))
    assert 0.005 < worst <= 1


def test_an_error_over_no_bound_is_infinite():
    one, zero = np.ones(1), np.zeros(1)
    assert bounds.over(zero, zero) == 0
    assert bounds.over(one, zero) == np.inf
    assert bounds.over(one * np.nan, one) == np.inf


def test_the_oracle_by_hand():
    """Stride 2, padding (1, 0), dilation 2, input dilation 3: the equation 3 i + 1 = 2 o + 2 t, solved on paper."""
    axis = definition.AxisParameters(3, 2, 2, 2, 3, 1, 0)
    assert definition.output_size(axis) == 3
    assert definition.meetings(axis) == [(1, 1, 1), (1, 2, 0)]
    x, w = np.array([[[1, 10, 100]]]), np.array([[[2, 3]]])
    np.testing.assert_array_equal(definition.contract((axis,), 1, x=x, w=w), [[[0, 30, 20]]])


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
    cases = list(enumerate(every[::9] if lib.name == "jax" else every))
    for results in selfcheck.judge(cases, runners.runners(lib.name), {}):
        assert all(result.ok for result in results), results


@pytest.mark.parametrize("name", ["lax", "torch"])
def test_the_oracles_agree_with_the_definition(name, request):
    library, oracle = runners.ORACLES[name]
    request.getfixturevalue(library)
    cases = list(enumerate(GEOMETRIES[:: 5 if name == "lax" else 1]))
    for results in selfcheck.judge(cases, runners.runners("numpy"), {name: oracle}):
        assert all(result.ok for result in results), results


def test_one_case_that_raises_does_not_hide_the_others_of_its_program(jax):
    def three(case, x, w, g):
        if case is GEOMETRIES[1]:
            msg = "no"
            raise RuntimeError(msg)
        return runners.runners("jax")["jax.jit"]._three(case, x, w, g)

    cases = list(enumerate(GEOMETRIES[:3]))
    results = selfcheck.judge(cases, {"jax.jit": runners.Compiled(three)}, {})
    assert [all(result.ok for result in of_case) for of_case in results] == [True, False, True]
    assert results[1][0].error == "RuntimeError: no"


def test_the_program_of_a_case_is_traced_once(jax):
    """Somebody who mends a function checks it again and again."""
    traced = []

    def three(case, x, w, g):
        traced.append(case)
        return x + g, w, g

    compiled, cases = runners.Compiled(three, can=lambda case: case is not GEOMETRIES[2]), GEOMETRIES[:3]
    arrays = [np.float32(n) for n in range(1, 4)]
    for found in (cases[0], cases[1], cases[0]):
        assert compiled(found, *arrays) == (4, 2, 3)
    assert compiled(cases[2], *arrays) is None
    assert traced == list(cases[:2])


def test_an_oracle_that_raises_is_an_error():
    def raising(*_):
        msg = "no"
        raise RuntimeError(msg)

    with pytest.raises(RuntimeError, match="no"):
        judge_runner(runners.runners("numpy")["numpy"], oracles={"lax": raising})


# ---- the command line


def few_cases(monkeypatch, count):
    monkeypatch.setattr(selfcheck, "GEOMETRIES", GEOMETRIES[:count])
    monkeypatch.setattr(selfcheck, "LAYERS", ())


def test_check_on_numpy_is_a_summary(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    assert main.main(["check", "--backend", "numpy", "--seed", "3"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) <= 40
    assert max(map(len, lines)) <= 80
    assert lines[0].startswith("triconv ")
    assert "70 cases" in lines[0]
    assert re.search(r"numpy +205/205 +201/201 +- +- +0\.\d+", "\n".join(lines))
    assert lines[-1].startswith(f"right: triconv {triconv.__version__} on numpy {np.__version__}: 205 results, ")
    assert re.match(r"seed 3, \d+\.\d s, Python 3\.", lines[-2])


@pytest.mark.parametrize("columns", [60, 80, 140])
def test_full_shows_every_case_with_its_reason_at_any_width(capsys, monkeypatch, columns):
    monkeypatch.setenv("COLUMNS", str(columns))
    few_cases(monkeypatch, 9)
    assert main.main(["check", "--backend", "numpy", "--full"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= columns
    text = " ".join(" ".join(lines).split())
    for case in GEOMETRIES[:9]:
        (row,) = [line for line in lines if line.startswith(f"{case.name}  ")]
        assert row.split()[len(case.name.split()) :][:2] == ["yes", "yes"]
        assert columns < 140 or case.why in text


def test_a_reason_stands_below_its_case_where_there_is_no_room(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "60")
    few_cases(monkeypatch, 1)
    assert main.main(["check", "--backend", "numpy", "--full"]) == 0
    lines = capsys.readouterr().out.splitlines()
    (number,) = [number for number, line in enumerate(lines) if line.startswith(GEOMETRIES[0].name)]
    assert lines[number + 1].strip() == GEOMETRIES[0].why


def test_a_summary_with_failures_is_short_too(capsys, monkeypatch):
    from triconv.kernels import depthwise, direct, gemm

    for kernel in (depthwise, direct, gemm):
        right = kernel.conv_weight_vjp
        monkeypatch.setattr(kernel, "conv_weight_vjp", lambda *args, right=right: -right(*args))
    monkeypatch.setenv("COLUMNS", "80")
    few_cases(monkeypatch, 30)
    assert main.main(["check", "--backend", "numpy"]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) <= 40
    assert max(map(len, lines)) <= 80
    assert "plain 1-D, weight VJP, numpy: differs from loops and adjoint" in lines
    assert "... and 21 more: --full shows every case" in lines
    assert lines[-1].startswith("WRONG: ") or lines[-2].startswith("WRONG: ")


def test_what_raises_is_a_failure_of_one_line(capsys, monkeypatch):
    from triconv.kernels import direct

    def raises(*args):
        msg = "no [bold]luck[/bold]\nand a second line"
        raise RuntimeError(msg)

    monkeypatch.setattr(direct, "conv", raises)
    few_cases(monkeypatch, 1)
    assert main.main(["check", "--backend", "numpy"]) == 1
    assert "plain 1-D, forward, numpy: RuntimeError: no [bold]luck[/bold]" in capsys.readouterr().out.splitlines()


def test_check_says_when_it_is_wrong(capsys, monkeypatch):
    from triconv.kernels import direct

    right = direct.conv_weight_vjp
    monkeypatch.setattr(direct, "conv_weight_vjp", lambda *args: -right(*args))
    monkeypatch.setenv("COLUMNS", "140")
    few_cases(monkeypatch, 3)
    assert main.main(["check", "--backend", "numpy", "--full"]) == 1
    out = capsys.readouterr().out
    assert re.search(r"plain 1-D .*\n  forward, input VJP +yes +yes .*\n  weight VJP +NO +NO", out)
    assert re.search("WRONG: triconv .*: 4 of 13 results", out)


def test_check_takes_a_kernel(capsys, monkeypatch):
    from triconv.kernels import gemm

    monkeypatch.setattr(gemm, "conv", lambda x, w, schedule, lib: lib.zeros(schedule.geometry.output_size, x))
    few_cases(monkeypatch, 3)
    assert main.main(["check", "--backend", "numpy", "--algorithm", "gemm"]) == 1
    assert main.main(["check", "--backend", "numpy", "--algorithm", "depthwise"]) == 0
    assert "WRONG" in capsys.readouterr().out


def test_check_names_a_missing_backend(capsys, monkeypatch):
    few_cases(monkeypatch, 1)
    monkeypatch.setenv("COLUMNS", "140")
    monkeypatch.setattr(BACKENDS["cupy"], "installed", classmethod(lambda cls: False))
    assert main.main(["check", "--backend", "numpy"]) == 0
    assert (
        'cupy is not installed; install it with: python -m pip install "cupy-cuda13x>=13.6"' in capsys.readouterr().out
    )


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["explain", "conv1d", "--shape", "1,1,3", "--shape", "1,2,3"],
            "`x.shape[1]` must equal `groups * w.shape[1]`",
        ),
    ],
)
def test_what_cannot_be_checked_is_one_line_and_status_2(words, message, capsys):
    assert main.main(words) == 2
    err = capsys.readouterr().err
    assert message in err
    assert len(err.splitlines()) == 1


def test_unusable_words_are_status_2():
    for words in (["check", "--nonsense"], ["explain", "conv1d", "--shape", "1,x"]):
        assert main.main(words) == 2


def test_info(capsys):
    assert main.main(["info"]) == 0
    assert np.__version__ in capsys.readouterr().out


def test_a_long_run_shows_its_progress():
    lists = iter([[selfcheck.Result("a", "b", "conv", "numpy", {})]] * 3)
    assert len(selfcheck_table.with_progress(lists, 3)) == 3


def test_the_package_is_typed():
    assert importlib.resources.files(triconv).joinpath("py.typed").is_file()
