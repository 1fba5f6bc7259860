"""The checker on functions that several devices compute: each mistake of a program for a mesh is found and named."""

from __future__ import annotations

import functools
import os
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

import triconv
from triconv.checking.candidates.candidates import as_candidate
from triconv.checking.candidates.collectives import traffic
from triconv.checking.diagnosis import devices
from triconv.checking.findings.findings import Collective
from triconv.checking.oracles.convolution import ConvolutionProblem
from triconv.checking.reports import wording
from triconv.checking.verdicts.check_context import CheckContext
from triconv.checking.verdicts.judge import judge
from triconv.checking.verdicts.probes import probes
from triconv.cli import main

X, W = (4, 4, 16), (4, 4, 3)


@pytest.fixture
def jax(eight_devices):
    return eight_devices


def mesh_of(jax):
    return jax.make_mesh((4,), ("a",), axis_types=(jax.sharding.AxisType.Auto,))


def own(jax, x, w, *, mesh, spec, mistake=None):
    """A padded convolution of kernel 3 on a mesh, as one writes it by hand, with a mistake in it."""
    lax = jax.lax
    x_spec, w_spec = spec
    shared_w = any(w_spec)

    def halo(x):
        left, right = ([(n, n + step) for n in range(4) if 0 <= n + step < 4] for step in (1, -1))
        if mistake == "ring":
            left, right = ([(n, (n + step) % 4) for n in range(4)] for step in (1, -1))
        if mistake == "exchanged":
            left, right = right, left
        before = lax.ppermute(x[..., -1:], "a", left)
        behind = lax.ppermute(x[..., :1], "a", right)
        if mistake in ("none", "no left"):
            before = before * 0
        if mistake in ("none", "no right"):
            behind = behind * 0
        return jax.numpy.concatenate([before, x, behind], -1)

    def on_each(x, w):
        if x_spec[-1] == "a":
            y = lax.conv_general_dilated(halo(x), w, (1,), "VALID")
        else:
            y = lax.conv_general_dilated(x, w, (1,), [(1, 1)])
        if x_spec[1] == "a" and mistake != "no sum":
            y = lax.pmean(y, "a") if mistake == "mean" else lax.psum(y, "a")
            y = lax.psum(y, "a") if mistake == "twice" else y
        return y

    channels = w_spec[0] if shared_w else None
    out = jax.P(x_spec[0], channels, x_spec[2])
    return jax.shard_map(on_each, mesh=mesh, in_specs=(x_spec, w_spec), out_specs=out, check_vma=False)(x, w)


def check(jax, x_spec, w_spec, mistake=None, candidate=own):
    mesh, spec = mesh_of(jax), (jax.P(*x_spec), jax.P(*w_spec))
    # as users have it: else each of hundreds of calls would be compiled
    function = jax.jit(functools.partial(candidate, jax, mesh=mesh, spec=spec, mistake=mistake))
    return triconv.check(function, triconv.conv, X, W, padding=1, framework="jax", mesh=mesh, specs=spec)


def value_row(jax, x_spec, w_spec, mistake):
    """The first row of what `check` would say, without the rest."""
    mesh, spec = mesh_of(jax), (jax.P(*x_spec), jax.P(*w_spec))
    function = functools.partial(own, jax, mesh=mesh, spec=spec, mistake=mistake)
    problem = ConvolutionProblem.of(triconv.conv, (X, W), {"padding": 1})
    problem = replace(problem, sharded=devices.sharded_axes(problem, mesh, spec))
    candidate = as_candidate(function, framework="jax", dtype="float32", keywords={}, is_notebook=False)
    probe = next(probe for probe in probes(candidate, problem, "float32") if probe.question.is_plain_value)
    return judge(CheckContext(problem, "float32", None, 0, None, True), probe)


CHANNELS = ((None, "a", None), (None, "a"))
POSITIONS = ((None, None, "a"), (None, None))


@pytest.mark.parametrize(
    ("specs", "mistake", "cause", "words"),
    [
        (CHANNELS, "no sum", "cross-device sum lost", "only what device 0 has of the input channels is in it"),
        (CHANNELS, "mean", "cross-device mean", "it is the mean over the 4 devices of mesh axis 'a'"),
        (CHANNELS, "twice", "summed once too often", "is summed over them"),
        (POSITIONS, "none", "wrong halo", "there is no halo in it"),
        (POSITIONS, "no left", "wrong halo", "there is no halo from the device before"),
        (POSITIONS, "no right", "wrong halo", "there is no halo from the device after"),
        (POSITIONS, "ring", "wrong halo", "the halos wrap around"),
        (POSITIONS, "exchanged", "wrong halo", "only positions at the boundaries between devices are wrong"),
    ],
)
def test_mistakes_in_the_value(jax, specs, mistake, cause, words):
    value = value_row(jax, *specs, mistake)
    assert (value.verdict, value.cause) == ("wrong", cause)
    assert words in value.detail


def test_a_lost_sum_in_a_gradient(jax):
    """A custom VJP that forgets that each device has a part of the batch only."""
    mesh, spec = mesh_of(jax), jax.P("a", None, None)

    @jax.custom_vjp
    def conv(x, w):
        return triconv.jax.conv_sharded(x, w, mesh, spec, padding=1)

    def backward(saved, g):
        x, w = saved
        mine = g * (jax.numpy.arange(4) == 1)[:, None, None]  # of device 1
        gx = triconv.conv_input_vjp(g, w, input_size=X[2:], padding=1)
        return gx, triconv.conv_weight_vjp(mine, x, kernel_size=W[2:], padding=1)

    conv.defvjp(lambda x, w: (conv(x, w), (x, w)), backward)
    report = triconv.check(conv, triconv.conv, X, W, padding=1, framework="jax", mesh=mesh, specs=(spec,))
    assert (report.verdict, report.cause) == ("wrong", "cross-device sum lost")
    assert "VJP of w: only what device 1 has of the batch is in it" in report.summary


@pytest.mark.parametrize("specs", [CHANNELS, POSITIONS])
def test_right_ones_and_what_they_send(jax, specs):
    report = check(jax, *specs)
    assert report.verdict == "right", report.summary
    sent = [wording.sent(record) for record in report.sent]
    assert len(sent) == 3
    assert set(sent) <= set(report.witnesses)
    if specs is CHANNELS:
        assert sent[0] == "value: 1 all-reduce (1,024 bytes per device)"
        assert sent[1] == "VJP of x: 1 all-reduce (1,024 bytes per device)"  # with check_vma off, of a psum too
    else:
        assert sent[0] == "value: 2 collective-permute (128 bytes per device)"


def test_triconv_itself(jax):
    mesh = mesh_of(jax)
    specs = jax.P(None, None, "a"), jax.P()
    conv = jax.jit(lambda x, w: triconv.jax.conv_sharded(x, w, mesh, *specs, stride=3, padding=[(2, 1)]))
    report = triconv.check(
        conv, triconv.conv, (2, 3, 24), (2, 3, 4), stride=3, padding=[(2, 1)], mesh=mesh, specs=specs
    )
    assert report.verdict == "right", report.summary


def test_traffic_is_read_from_the_text():
    class Program:
        def as_text(self):
            return """
  %a = (f32[8,4]{1,0}, f32[2]{0}) all-reduce(%x, %y), channel_id=1
  %b = bf16[4,2]{1,0} collective-permute(%z), source_target_pairs={{0,1}}
  %c = (f32[4]{0}, f32[4]{0}, u32[], u32[]) collective-permute-start(%q)
  %d = f32[4]{0} collective-permute-done(%c)
"""

    found = traffic(Program())
    assert found == {
        "all-reduce": Collective("all-reduce", 2, 136),
        "collective-permute": Collective("collective-permute", 2, 32),
    }
    assert (
        wording.collectives(tuple(found.values()))
        == "2 all-reduce (136 bytes per device), 2 collective-permute (32 bytes per device)"
    )
    assert wording.collectives(()) == "nothing is sent between devices"


@pytest.mark.parametrize(
    ("specs", "error", "message"),
    [
        ((("b",),), ValueError, r"the spec of `x` must name axes of the mesh, \('a',\), got 'b'"),
        (
            ((None, None, None, "a"),),
            ValueError,
            "the spec of `x` must have at most one entry per axis, got 4 for 3 axes",
        ),
        ((("a",), (), ()), ValueError, "`specs` must be at most one per array, got 3 for 2"),
        (
            ((None, None, "a"), (None, None, "a")),
            ValueError,
            "`specs` must divide the arrays, got 3 for 4 devices in axis 2 of `w`",
        ),
    ],
)
def test_questions_that_make_no_sense(jax, specs, error, message):
    mesh = mesh_of(jax)
    with pytest.raises(error, match=message):
        triconv.check(own, triconv.conv, X, W, framework="jax", mesh=mesh, specs=tuple(jax.P(*spec) for spec in specs))


def test_meshes_need_jax(jax):
    with pytest.raises(TypeError, match="`mesh` must come with a function of JAX, got one of numpy"):
        triconv.check(np.convolve, triconv.conv, X, W, framework="numpy", mesh=mesh_of(jax), specs=())
    with pytest.raises(TypeError, match=r"`mesh` must be a jax\.sharding\.Mesh, got str"):
        triconv.check(own, triconv.conv, X, W, framework="jax", mesh="a", specs=())


MINE = """
import jax, triconv
mesh = jax.make_mesh((2, 2), ("a", "b"), axis_types=(jax.sharding.AxisType.Auto,) * 2)

@jax.jit
def conv(x, w):
    def on_each(x, w):
        return jax.lax.conv_general_dilated(x, w, (1,), [(1, 1)])
    return jax.shard_map(on_each, mesh=mesh, in_specs=(jax.P("b", None, "a"), jax.P()), out_specs=jax.P("b", None, "a"))(x, w)
"""


SHAPES = ("--like", "conv1d", "--shape", "4,3,16", "--shape", "2,3,3", "--padding", "1")


@pytest.mark.once
def test_the_command_line(jax, tmp_path):
    """In a process of its own: the devices are made before JAX starts."""
    (tmp_path / "mine.py").write_text(MINE)
    command = [sys.executable, "-m", "triconv", "check", "mine.py:conv", *SHAPES, "--mesh", "2,2", "--spec", "b,-,a"]
    wrong = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert wrong.returncode == 1, wrong.stderr
    assert "there is no halo in it" in " ".join(wrong.stdout.split())
    assert "value: nothing is sent between devices" in wrong.stdout


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("mine.py:conv", *SHAPES, "--spec", "b"), "`--spec` must come with --mesh"),
        (("mine.py:conv", *SHAPES, "--mesh", "2,2", "--spec", "b;a"), "`--spec` must be one entry per axis"),
        (("--mesh", "0"), "`--mesh` must be sizes from 1 on"),
    ],
)
def test_words_that_make_no_sense(jax, tmp_path, monkeypatch, capsys, words, message):
    (tmp_path / "mine.py").write_text(MINE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XLA_FLAGS", os.environ["XLA_FLAGS"])  # which --mesh may add to
    assert main.main(["check", *words]) == 2
    assert message in capsys.readouterr().err
