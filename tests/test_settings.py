"""What a candidate leaves changed of the settings of the process: it is named, put back, and disturbs nothing else."""

from __future__ import annotations

import gc
import os
import sys
import threading
import warnings
from pathlib import Path

import numpy as np
import pytest

import triconv
from triconv.checking.candidates import settings

X, W = (1, 2, 5), (2, 2, 3)


@pytest.fixture(autouse=True)
def alone(monkeypatch, request):
    """The threads of a test runner change nothing."""
    if "thread" not in request.node.name:
        monkeypatch.setattr(settings, "_has_company", lambda: False)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_what_a_check_sets_itself_is_no_change(jax, dtype):
    report = triconv.check(lambda x, w: jax.lax.conv(x, w, (1,), "VALID"), triconv.conv1d, X, W, dtype=dtype)
    assert report.ok, str(report)


def pair(leave=lambda: None, leave_in_backward=lambda: None):
    """A right convolution that leaves something changed."""

    def forward(x, w):
        leave()
        return triconv.conv1d(x, w), (x, w)

    def backward(g, saved):
        leave_in_backward()
        x, w = saved
        return triconv.conv_input_vjp(g, w, input_size=X[2:]), triconv.conv_weight_vjp(g, x, kernel_size=W[2:])

    return forward, backward


@pytest.mark.parametrize(
    ("name", "leave"),
    [
        ("numpy.seterr", lambda: np.seterr(under="call")),
        ("numpy.set_printoptions", lambda: np.set_printoptions(precision=3)),
        ("warnings.filters", lambda: warnings.filterwarnings("ignore", "left by a candidate")),
        ("the working directory", lambda: os.chdir("/")),
        ("os.environ", lambda: os.environ.update(LEFT_BY_A_CANDIDATE="1")),
        ("sys.setrecursionlimit", lambda: sys.setrecursionlimit(4321)),
        ("gc.disable", gc.disable),
    ],
)
def test_a_setting_is_named_and_put_back(name, leave):
    before = settings.read("numpy")
    try:
        report = triconv.check(pair(leave), triconv.conv1d, X, W, framework="numpy")
        assert (report.verdict, report.cause) == ("wrong", "global settings"), str(report)
        assert report.summary.count(f"for everybody else in the process: {name};")
        assert not settings.changes(before, settings.read("numpy"))
    finally:
        settings.put_back(settings.changes(before, settings.read("numpy")))


def test_a_function_of_numpy_that_is_replaced_is_named(monkeypatch):
    monkeypatch.setattr(np, "vdot", np.vdot)  # puts it back whatever happens
    report = triconv.check(pair(lambda: setattr(np, "vdot", lambda *_: 0)), triconv.conv1d, X, W, framework="numpy")
    assert "the function numpy.vdot" in report.summary


def test_a_backward_alone_is_seen():
    with np.errstate():
        report = triconv.gradcheck(pair(leave_in_backward=lambda: np.seterr(under="call")), X, W, framework="numpy")
    assert report.cause == "global settings", str(report)


def test_torch_computes_on_as_it_did(torch):
    def conv(x, w):
        torch.set_default_dtype(torch.float64)
        torch.set_grad_enabled(False)
        return torch.nn.functional.conv1d(x, w)

    with torch.random.fork_rng():
        report = triconv.check(conv, triconv.conv1d, X, W)
        assert torch.is_grad_enabled()
        assert torch.get_default_dtype() == torch.float32
    rows = [row.detail for row in report.rows if row.cause == "global settings"]
    assert len(rows) == 1, str(report)
    assert "torch.set_default_dtype, torch.set_grad_enabled" in rows[0]


def test_jax_computes_on_as_it_did(jax):
    before = jax.config.jax_default_matmul_precision

    def conv(x, w):
        jax.config.update("jax_default_matmul_precision", "float32")
        return jax.lax.conv(x, w, (1,), "VALID")

    report = triconv.check(conv, triconv.conv1d, X, W)
    assert "jax_default_matmul_precision of jax.config" in report.summary
    assert jax.config.jax_default_matmul_precision == before


def test_what_is_put_back_is_right():
    def forward(x, w):
        directory = Path.cwd()
        os.chdir("/")
        try:
            with np.errstate(all="raise"), np.printoptions(precision=2), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                return triconv.conv1d(x, w), (x, w)
        finally:
            os.chdir(directory)

    # two threads that both do so leave the directory of whoever comes last
    lock = threading.Lock()

    def one_by_one(x, w):
        with lock:
            return forward(x, w)

    report = triconv.check((one_by_one, pair()[1]), triconv.conv1d, X, W, framework="numpy")
    assert report.ok, str(report)


def test_what_changes_beside_another_thread_is_nobodys():
    end = threading.Event()
    other = threading.Thread(target=end.wait)
    other.start()
    try:
        with np.errstate():
            report = triconv.check(pair(lambda: np.seterr(under="call")), triconv.conv1d, X, W, framework="numpy")
    finally:
        end.set()
        other.join()
    assert report.ok, str(report)
