"""The parts of the benchmark that can fail without a measurement that takes long: its cells, its tables, its files."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

import triconv
from triconv.backends import BACKENDS
from triconv.kernels import target, target_file

ROOT = Path(__file__).parent.parent
THREE = ("forward", "input_vjp", "weight_vjp")


@pytest.fixture(scope="module", autouse=True)
def bench():
    """The package at the root of the repository, whose parts the tests import."""
    sys.path.insert(0, str(ROOT))
    yield pytest.importorskip("bench")
    sys.path.remove(str(ROOT))


@pytest.fixture(autouse=True)
def flags():
    """Restores the flags of torch that the benchmark sets for its whole process."""
    places = []
    if BACKENDS["torch"].installed():
        import torch

        places = [torch.backends.cudnn, torch.backends.cuda.matmul]
    names = ("benchmark", "allow_tf32")
    before = [(place, name, getattr(place, name)) for place in places for name in names if hasattr(place, name)]
    yield
    for place, name, value in before:
        setattr(place, name, value)


def small(channels="first", **changes):
    from bench.workloads import Workload

    fields = {
        "name": "small",
        "source": "here",
        "x": (2, 4, 9, 8),
        "w": (6, 2, 3, 2),
        "stride": (2, 1),
        "dilation": (1, 2),
        "pad": ((1, 1), (0, 0)),
        "output_padding": (0, 0),
        "groups": 2,
    }
    return Workload(**fields | changes, channels=channels)


WORKS = {
    "plain": {},
    "padded on one side": {"pad": ((1, 0), (0, 2))},
    "transposed": {"transposed": True, "groups": 1, "w": (4, 3, 3, 2), "output_padding": (1, 0)},
}


@pytest.mark.parametrize("channels", ["first", "last"])
@pytest.mark.parametrize("changes", WORKS.values(), ids=WORKS)
def test_all_implementations_of_a_cell_agree(torch, jax, changes, channels):
    """In both layouts, of every kind but `torch.compile`: what is timed is the same contraction."""
    from bench import grid, implementations, measure

    work, variant = small(channels, **changes), implementations.PLAIN._replace(channels=channels)
    with jax.enable_x64(False):
        results = {}
        for kind in ("jax", "numpy", "torch.eager"):
            for task in THREE:
                entries = grid.entries_of(work, task, kind, variant)
                assert set(entries) == {"jax": {"triconv", "lax", "torch"}}.get(kind, {"triconv", "torch"})
                measure.check(entries, variant)
                results.setdefault(task, []).append(entries["triconv"].result()[0])
    for first, *others in results.values():
        for other in others:
            np.testing.assert_allclose(first, other, rtol=1e-4, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("task", THREE)
def test_the_compiled_implementations_agree(torch, task):
    from bench import grid, implementations, measure

    entries = grid.entries_of(small(), task, "torch.compile", implementations.PLAIN)
    measure.check(entries, implementations.PLAIN)
    assert all(entry.compile_seconds > 0 for entry in entries.values())


def test_implementations_that_differ_are_an_error():
    from bench import implementations, measure

    entries = {name: implementations.called(lambda value=value: value) for name, value in (("a", 1.0), ("b", 1.1))}
    with pytest.raises(AssertionError, match="a and b differ"):
        measure.check(entries, implementations.PLAIN)


def test_the_kinds_that_are_asked_for(monkeypatch):
    from bench import grid
    from bench.implementations import Variant

    monkeypatch.setattr(grid, "has", lambda name: name != "jax")
    both = [Variant(channels="first"), Variant(channels="last")]
    assert grid.kinds(["torch"], ["first", "last"]) == [
        (kind, variant) for kind in ("torch.eager", "torch.compile") for variant in both
    ]
    assert grid.kinds(["jax", "torch.eager", "plain"], ["last"]) == [("torch.eager", both[1]), ("plain", Variant())]
    assert len(grid.kinds(["torch.eager", "numpy"], ["last"], grid.PRECISIONS)) == len(grid.PRECISIONS) + 1


def test_tables_say_the_mean_the_least_and_what_is_slow():
    from bench import report
    from bench.implementations import Variant

    def cell(workload, task, layout, theirs):
        variant = str(Variant(channels=layout))
        times = {"triconv": {"ms": 2.0}, "lax": {"ms": theirs}}
        where = {"library": "jax", "variant": variant, "layout": layout}
        return where | {"workload": workload, "task": task, "implementations": times}

    cells = [cell("a", "forward", "first", 4.0), cell("b", "weight_vjp", "first", 1.0), cell("a", "forward", "last", 8)]
    text = report.tables({"versions": {"jax": "1", "torch": None, "platform": "cpu"}, "ceilings": {}, "cells": cells})
    assert "jax 1, platform cpu" in text
    assert "| lax, JAX, jitted, channels first | 2 | 1.00 | 0.50 | 1 |" in text
    assert "| lax, JAX, jitted, channels last | 1 | 4.00 | 4.00 | 0 |" in text
    assert "under 0.95: b weight VJP 0.50" in text


def test_a_training_step_is_measured_and_shown(jax, monkeypatch):
    """A model so small that it takes no time."""
    pytest.importorskip("flax")
    from bench import flax_models, training_steps

    class Tiny(flax_models.Model):
        @flax_models.nn.compact
        def __call__(self, x):
            return self.conv(3, (2, 2))(self.transposed(4, (2, 2), 2)(x))

    monkeypatch.setitem(flax_models.MODELS, "tiny", (Tiny, (1, 4, 4, 2)))
    monkeypatch.setattr(training_steps, "NAMES", ("tiny",))
    (row,) = training_steps.run(["tin"], ["jax"], ["first"], 0.01)
    assert row["difference"] < 1e-5
    assert all(entry["ms"] > 0 and entry["compile_s"] > 0 for entry in row["implementations"].values())
    table = training_steps.table([row, {"library": "Flax", "layout": "last", "model": "other", "failed": True}])
    assert "| Flax, channels last: tiny |" in table
    assert "| Flax, channels last: other | failed |" in table


def test_steps_that_differ_by_more_than_rounding_are_an_error():
    from bench import training_steps
    from bench.implementations import Prepared

    def entries(*gradients):
        results = [[np.float32(1), np.asarray(gradient)] for gradient in gradients]
        return {name: Prepared(None, None, lambda r=r: r) for name, r in zip("ab", results, strict=True)}

    nudged = [np.float32(1), np.array([3.0, 4.0003])]  # moves the gradient by 6e-5 of its norm
    assert training_steps.check(entries([3.0, 4.0], [3.0, 4.0]), nudged) == 0
    assert 0 < training_steps.check(entries([3.0, 4.001], [3.0, 4.0]), nudged) < 6e-4
    with pytest.raises(
        AssertionError, match=r"a and b differ by more than 6.0e-04: the losses by 0.0e\+00, the gradients by"
    ):
        training_steps.check(entries([3.0, 4.01], [3.0, 4.0]), nudged)
    with pytest.raises(AssertionError, match=r"differ by more than 1.0e-02"):  # however much is rounding
        training_steps.check(entries([3.0, 5.0], [3.0, 4.0]), [np.float32(1), np.array([3.0, 5.0])])


@pytest.mark.parametrize(
    ("name", "channels"), [("resnet18", "last"), pytest.param("convnext", "first", marks=pytest.mark.slow)]
)
def test_the_models_of_torch_are_the_same_with_triconv(torch, monkeypatch, name, channels):
    from bench import torch_models

    make, _ = torch_models.MODELS[name]
    monkeypatch.setitem(torch_models.MODELS, name, (make, (2, 3, 32, 32)))
    ours, theirs = (torch_models.step(name, conv, channels)() for conv in (triconv.conv2d, torch.nn.functional.conv2d))
    for a, b in zip(ours, theirs, strict=True):
        assert a.shape == b.shape
    assert abs(ours[0] - theirs[0]) <= 1e-4 * abs(theirs[0])


def test_rates_that_are_written_are_the_rates_that_are_read(tmp_path):
    from bench import rates

    here = rates.Machine("numpy", 0.001)
    found = {
        ("numpy", here.kind): {"rates": {"matrix": 123456.0, "overhead": 1e-6}, "constants": {"small": 7, "ramp": 2.5}}
    }
    rates.write(tmp_path / "rates.toml", found, {"device": 'a "device"', "torch": None})
    names = frozenset(target.Rates._fields)
    read = target_file.read(str(tmp_path / "rates.toml"), names, target.constant_types())
    assert read["numpy", "cpu"][1:] == ({"matrix": 1.235e5, "overhead": 1e-6}, {"small": 7, "ramp": 2.5})


@pytest.mark.slow
@pytest.mark.parametrize("library", ["numpy", "jax", "torch"])
def test_every_rate_is_measured(library):
    from bench import rates

    if not BACKENDS[library].installed():
        pytest.skip(f"{library} is not installed")
    found = rates.measured(rates.Machine(library, 0.01))
    assert set(found) == set(target.Rates._fields) - {"margin"} - ({"vendor"} if library == "numpy" else set())
    assert all(rate > 0 for rate in found.values())


def test_constants_are_kept_where_another_value_is_clearly_faster():
    from bench import fit

    def row(name, tried, ratio, cells=3):
        return {
            "constant": name,
            "value": 1,
            "tried": tried,
            "ratio": ratio,
            "cells": dict.fromkeys(range(cells), ratio),
        }

    rows = [row("small", 2, 1.1), row("small", 4, 1.3), row("batch", 2, 1.02), row("ramp", 2.0, 1.5, cells=1)]
    assert fit.faster([*rows, row("rates.matrix", 2.0, 2.0)]) == {"small": 4}


PROGRAM = """
HloModule jit_f, is_scheduled=true, entry_computation_layout={(bf16[2,8,6,6]{3,2,1,0})->f32[2,4]{1,0}}

%fused_pad (param_0.1: bf16[2,8,6,6]) -> bf16[2,8,11,11] {
  %param_0.1 = bf16[2,8,6,6]{3,2,1,0} parameter(0)
  %zero = bf16[] constant(0)
  ROOT %pad.1 = bf16[2,8,11,11]{3,2,1,0} pad(%param_0.1, %zero), padding=0_0x0_0x0_0_1x0_0_1
}

%fused_slice (param_0.2: f32[10,100], param_1.2: s32[]) -> f32[1,100] {
  %param_0.2 = f32[10,100]{1,0} parameter(0)
  %param_1.2 = s32[] parameter(1)
  %start = s32[] constant(0)
  %slice.1 = f32[1,100]{1,0} dynamic-slice(%param_0.2, %param_1.2, /*index=2*/%start), dynamic_slice_sizes={1,100}
  ROOT %product.1 = f32[1,100]{1,0} multiply(%slice.1, %slice.1)
}

%body (state: (s32[], f32[10,100], f32[1,100])) -> (s32[], f32[10,100], f32[1,100]) {
  %state = (s32[], f32[10,100]{1,0}, f32[1,100]{1,0}) parameter(0)
  %i = s32[] get-tuple-element(%state), index=0
  %all = f32[10,100]{1,0} get-tuple-element(%state), index=1
  %fusion.1 = f32[1,100]{1,0} fusion(%all, %i), kind=kLoop, calls=%fused_slice
  ROOT %next = (s32[], f32[10,100]{1,0}, f32[1,100]{1,0}) tuple(%i, %all, %fusion.1)
}

%condition (state.1: (s32[], f32[10,100], f32[1,100])) -> pred[] {
  %state.1 = (s32[], f32[10,100]{1,0}, f32[1,100]{1,0}) parameter(0)
  ROOT %less = pred[] constant(true)
}

ENTRY %main.9 (x: bf16[2,8,6,6], w: bf16[16,4,3,3], a: f32[2,3,5], b: f32[2,5,7], s: (s32[], f32[10,100], f32[1,100])) -> f32[2,3,7] {
  %x = bf16[2,8,6,6]{3,2,1,0} parameter(0), metadata={op_name="x (of f)"}
  %w = bf16[16,4,3,3]{3,2,1,0} parameter(1)
  %a = f32[2,3,5]{2,1,0} parameter(2)
  %b = f32[2,5,7]{2,1,0} parameter(3)
  %s = (s32[], f32[10,100]{1,0}, f32[1,100]{1,0}) parameter(4)
  %pad_fusion = bf16[2,8,11,11]{3,2,1,0} fusion(%x), kind=kLoop, calls=%fused_pad
  %cudnn-conv.1 = (bf16[2,16,9,9]{3,2,1,0}, u8[0]{0}) custom-call(%pad_fusion, %w), window={size=3x3}, dim_labels=bf01_oi01->bf01, feature_group_count=2, custom_call_target="__cudnn$convForward", backend_config={"cudnn_conv_backend_config":{"side":{"a":"}"}}}
  %y = bf16[2,16,9,9]{3,2,1,0} get-tuple-element(%cudnn-conv.1), index=0
  %cublas-gemm.1 = (f32[2,3,7]{2,1,0}, s8[64]{0}) custom-call(%a, %b), custom_call_target="__cublas$gemm", backend_config={"gemm_backend_config":{"dot_dimension_numbers":{"lhs_contracting_dimensions":["2"],"rhs_contracting_dimensions":["1"],"lhs_batch_dimensions":["0"],"rhs_batch_dimensions":["0"]}}}
  %loop = (s32[], f32[10,100]{1,0}, f32[1,100]{1,0}) while(%s), condition=%condition, body=%body, backend_config={"known_trip_count":{"n":"10"}}
  %spectrum = c64[2,3,4]{2,1,0} fft(%z), fft_type=RFFT, fft_length={7}
  %z = f32[2,3,7]{2,1,0} get-tuple-element(%cublas-gemm.1), index=0
  ROOT %copy.1 = f32[2,3,7]{1,2,0} copy(%z)
}
"""  # noqa: E501


def test_a_program_is_read_as_launches_contractions_and_inserted_zeros():
    from bench import programs

    program = programs.read(PROGRAM)
    assert [(launch.what, launch.times) for launch in program.launches] == [
        ("fusion", 1),
        ("__cudnn$convForward", 1),
        ("__cublas$gemm", 1),
        ("fusion", 10),
        ("RFFT f32", 1),
        ("copy", 1),
    ]
    assert program.count == 15
    conv, product = program.contractions
    assert (conv.window, conv.groups, conv.channels, conv.dilated) == ((3, 3), 2, 4, False)
    assert conv.multiply_adds == (2 * 16 * 9 * 9) * (4 * 3 * 3)
    assert (product.groups, product.channels, product.multiply_adds) == (2, 3, 2 * 3 * 5 * 7)
    assert str(program) == "cuDNN convForward bf16 3x3 in 2 groups, cuBLAS dot f32 in 2 batches, RFFT f32"
    assert [str(array) for pair in program.zeros for array in pair] == ["bf16[2,8,6,6]", "bf16[2,8,11,11]"]
    pad, call, _, step, transform, _ = program.launches
    assert (pad.bytes, call.bytes) == (2 * 16 * (36 + 121), 2 * (16 * 121 + 16 * 36 + 32 * 81))
    assert (step.bytes, step.vector) == (4 * (100 + 1 + 100), 100)  # the slice, its place and the products
    assert transform.transform == pytest.approx(6 * 7 * np.log2(7))


def test_an_estimate_is_of_bytes_or_of_multiply_adds_and_of_every_launch():
    from bench import compiled, programs

    rates = compiled.rates_of("h100")
    assert rates is target.TARGETS["jax", "gpu"].rates
    conv = programs.read(PROGRAM).contractions[0]
    narrow = conv._replace(multiply_adds=10**12)  # groups of 4 channels: no tensor cores
    wide, product = narrow._replace(channels=16), narrow._replace(channels=16, by=programs.CUBLAS)

    def seconds(*contractions, **more):
        launch = programs.Launch("", **{"times": 1, "bytes": 0} | more, contractions=contractions)
        return compiled.estimated_seconds(programs.Program((launch,), ()), rates)

    assert seconds() == rates.overhead
    assert seconds(narrow) == pytest.approx(rates.overhead + 1e12 / rates.vendor)
    assert seconds(wide) == pytest.approx(rates.overhead + 1e12 / rates.vendor / rates.half)
    assert seconds(wide._replace(by="XLA")) == pytest.approx(rates.overhead + 1e12 / rates.vector)  # element by element
    assert seconds(product, times=3) == pytest.approx(3 * (rates.overhead + 1e12 / rates.matrix / rates.half))
    assert seconds(bytes=10**12) == seconds(bytes=10**12, vector=1000) == rates.overhead + 1e12 / rates.bandwidth


@pytest.mark.parametrize(
    ("text", "rule"),
    [("HloModule f", "one without an ENTRY"), (PROGRAM.replace("known_trip", "unknown"), "how often loop runs")],
)
def test_what_is_no_program_is_an_error(text, rule):
    from bench import programs

    with pytest.raises(ValueError, match=rule):
        programs.read(text)


def test_the_table_says_where_a_program_is_behind():
    from bench import compiled

    def entry(milliseconds, **more):
        facts = {"program": "cuDNN convForward f32 3x3", "launches": 2, "temporary_bytes": 2**20}
        return facts | {"zeros": [], "image_sized_kernels": [], "estimated_ms": milliseconds} | more

    cell = {
        "workload": "a",
        "task": "forward",
        "variant": "float32",
        "bytes": 3 * 2**20,
        "behind": {"launches": "2 against 1"},
    }
    cell["implementations"] = {
        "triconv": entry(0.5),
        "lax": entry(2.0, zeros=["f32[9]"], image_sized_kernels=["f32 9"]),
    }
    lax = "cuDNN convForward f32 3x3; **zeros**; **image-sized kernel** (2 launches, 1.0 MiB, 2.000 ms estimated)"
    ours = "cuDNN convForward f32 3x3 (2 launches, 1.0 MiB, 0.500 ms estimated)"
    failed = {name: cell[name] for name in ("workload", "variant", "bytes")} | {"task": "weight_vjp", "failed": "E: no"}
    text = compiled.table([cell, failed])
    assert "| a | weight_vjp | float32 | 3 |  | **failed** |  |  |" in text
    assert f"| a | forward | float32 | 3 | {lax} | {ours} | 4.00 | launches: 2 against 1 |" in text
    assert "| **geometric mean** | | float32 | | | | 4.00 | |" in text
    assert "nothing is measured" in text


def test_without_a_compiler_nothing_is_compiled_for_a_gpu(monkeypatch, capsys, tmp_path):
    from bench import __main__ as command
    from bench import compiled

    for plugin, missing in (("jax_plugins.of_no_device", "JAX's CUDA plugin"), ("numpy", "NVIDIA's assembler")):
        monkeypatch.setattr(compiled, "PLUGIN", plugin)
        monkeypatch.setattr(compiled, "ASSEMBLER", "no-assembler")
        monkeypatch.setattr(compiled, "_has_package", lambda name: False)
        with pytest.raises(SystemExit):
            command.main(["--compile-for", "h100", "--default-malloc"])
        assert f"--compile-for: {missing} is not installed" in capsys.readouterr().err


def test_a_cell_that_cannot_be_compiled_does_not_lose_the_others(monkeypatch, capsys):
    from bench import compiled
    from bench.implementations import Variant

    def facts(work, task, library, variant, device):
        msg = f"no {task} for {device}"
        raise TypeError(msg)

    monkeypatch.setattr(compiled, "facts", facts)
    cells = list(compiled.run("h100", [Variant()], ["forward", "weight_vjp"], ["resnet50-1x1"], "gpu"))
    assert [cell["failed"] for cell in cells] == ["TypeError: no forward for h100", "TypeError: no weight_vjp for h100"]
