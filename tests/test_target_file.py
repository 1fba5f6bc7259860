"""The file of rates that ``TRICONV_TARGET`` names: what it changes, who says so, and what is refused."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

import triconv
from triconv.backends import BACKENDS
from triconv.cli import main
from triconv.kernels import target, target_file

LAYER = (triconv.conv2d, (2, 64, 30, 30), (64, 64, 3, 3))


@pytest.fixture
def fit(tmp_path, monkeypatch):
    """A function that writes a file of rates and has triconv read it."""

    def forget():
        target_file.fitted.cache_clear()
        target._target.cache_clear()

    def write(text, name="rates.toml"):
        path = tmp_path / name
        path.write_text(text)
        monkeypatch.setenv("TRICONV_TARGET", str(path))
        forget()
        return str(path)

    yield write
    monkeypatch.undo()
    forget()


def test_rates_and_constants_of_a_file_replace_those_of_the_target(fit):
    before = target.target_of(BACKENDS["numpy"].load())
    path = fit("[numpy.cpu.rates]\nmatrix = 123e9\n[numpy.cpu.constants]\nlargest_phases = 3\nramp = 5")
    after = target.target_of(BACKENDS["numpy"].load())
    assert after.rates == before.rates._replace(matrix=123e9)
    assert (after.largest_phases, after.ramp, after.source) == (3, 5.0, path)
    assert isinstance(after.ramp, float)
    assert (after.block_bytes, after.vendor) == (before.block_bytes, before.vendor)


def test_other_libraries_and_devices_keep_theirs(fit):
    before = target.target_of(BACKENDS["numpy"].load())
    fit("[jax.cpu.rates]\nmatrix = 1\n[numpy.gpu.rates]\nmatrix = 2")
    after = target.target_of(BACKENDS["numpy"].load())
    assert (after.rates, after.source) == (before.rates, "")


def test_plans_follow_from_the_file_alone(fit):
    """The same file gives the same plan; one in which products are slow, another."""

    def plan():
        return [(row.schedule, row.candidates) for row in triconv.explain(*LAYER).rows]

    before = plan()
    fit("[numpy.cpu.rates]\nmatrix = 1e6\nvector = 1e12\nsum = 1e12")
    slow = plan()
    fit("[numpy.cpu.rates]\nvector = 1e12\nsum = 1e12\nmatrix = 1e6", "other.toml")
    assert slow == plan()
    assert [schedule for schedule, _ in slow] != [schedule for schedule, _ in before]


def test_the_file_is_read_once(fit):
    path = fit("[numpy.cpu.rates]\nmatrix = 5")
    assert target.fitted()["numpy", "cpu"].rates == {"matrix": 5.0}
    with open(path, "w") as file:  # noqa: PTH123
        file.write("nonsense")
    assert target.target_of(BACKENDS["numpy"].load()).rates.matrix == 5


def test_explain_and_info_say_where_the_rates_come_from(fit, capsys):
    assert "rates from" not in str(triconv.explain(*LAYER))
    path = fit("[numpy.cpu.rates]\nmatrix = 70e9\n[jax.cpu.constants]\nsmall = 2")
    assert f"  rates from {path} (TRICONV_TARGET)\n" in str(triconv.explain(*LAYER))
    assert main.main(["info"]) == 0
    assert f"rates of numpy on cpu, jax on cpu: from {path} (TRICONV_TARGET)\n" in capsys.readouterr().out


WRONG = {
    "matrix = 5": "`matrix` must be a library in '{}', one of numpy, jax, torch, cupy, array-api-strict, got 'matrix'",
    "numpy = 5": "`numpy` must be a table in '{}', got 5",
    "[tensorflow.cpu.rates]": "`tensorflow` must be a library in '{}', one of numpy, jax, torch",
    "[numpy.tpu.rates]": "`numpy.tpu` must be a kind of device in '{}', one of cpu, gpu, got 'tpu'",
    "[numpy.cpu]\nmatrix = 5": "`numpy.cpu.matrix` must be a table in '{}', one of rates, constants, got 'matrix'",
    "[numpy.cpu.rates]\nmatrices = 5": "`numpy.cpu.rates.matrices` must be a field in '{}', one of bandwidth, half, integer",
    "[numpy.cpu.constants]\nkind = 5": "`numpy.cpu.constants.kind` must be a field in '{}', one of across_passes, batch",
    "[numpy.cpu.rates]\nmatrix = 0": "`numpy.cpu.rates.matrix` must be a number above 0 in '{}', got 0",
    "[numpy.cpu.rates]\nmatrix = -1.5": "`numpy.cpu.rates.matrix` must be a number above 0 in '{}', got -1.5",
    "[numpy.cpu.rates]\nmatrix = nan": "`numpy.cpu.rates.matrix` must be a number above 0 in '{}', got nan",
    "[numpy.cpu.rates]\nmatrix = inf": "`numpy.cpu.rates.matrix` must be a number above 0 in '{}', got inf",
    "[numpy.cpu.rates]\nmatrix = true": "`numpy.cpu.rates.matrix` must be a number above 0 in '{}', got True",
    "[numpy.cpu.rates]\nmatrix = 'fast'": "`numpy.cpu.rates.matrix` must be a number above 0 in '{}', got 'fast'",
    "[numpy.cpu.constants]\nbatch = 1.5": "`numpy.cpu.constants.batch` must be a whole number above 0 in '{}', got 1.5",
    "[numpy.cpu.rates": "`TRICONV_TARGET` must name a TOML file, got '{}': ",
}


@pytest.mark.parametrize("text", WRONG)
def test_a_malformed_file_is_an_error_that_names_the_file_and_the_field(fit, text):
    path = fit(text)
    for _ in range(2):  # an error is no result: the next call says it again
        with pytest.raises(ValueError) as caught:  # noqa: PT011
            triconv.explain(*LAYER)
        assert WRONG[text].format(path) in str(caught.value)


def test_a_missing_file_is_an_error(fit, monkeypatch, tmp_path):
    fit("")
    monkeypatch.setenv("TRICONV_TARGET", str(tmp_path / "none.toml"))
    target_file.fitted.cache_clear()
    with pytest.raises(
        ValueError, match=r"`TRICONV_TARGET` must name a file that can be read, got '.*none\.toml': No such"
    ):
        triconv.explain(*LAYER)


def test_an_empty_variable_is_none(fit, monkeypatch):
    fit("nonsense")
    monkeypatch.setenv("TRICONV_TARGET", "")
    target_file.fitted.cache_clear()
    assert target.fitted() == {}


def test_a_program_of_its_own_reads_it_and_fails_on_nonsense(tmp_path):
    """As a user has it: the variable is set before the program starts."""
    path = tmp_path / "rates.toml"
    program = "import numpy as np, triconv; print(triconv.conv(np.ones((1, 1, 3)), np.ones((1, 1, 2))).sum())"
    for text, status in (("[numpy.cpu.rates]\nmatrix = 5e9", 0), ("[numpy.cpu.rates]\nmatrix = -5", 1)):
        path.write_text(text)
        environment = os.environ | {"TRICONV_TARGET": str(path)}
        ran = subprocess.run(
            [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=False
        )
        assert (ran.returncode, "numpy.cpu.rates.matrix" in ran.stderr) == (status, bool(status))
