"""How the benchmark reads a compiled program, estimates its time, and says in what it is behind: without a compiler."""

from __future__ import annotations

import numpy as np
import pytest

from triconv.kernels import target

pytestmark = [pytest.mark.versions, pytest.mark.usefixtures("bench")]

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


PARTS = """
HloModule jit_parts

%parts (a: f32[4,100], b: f32[4,10], i: s32[]) -> (f32[4,50], f32[4,100]) {
  %a = f32[4,100]{1,0} parameter(0)
  %b = f32[4,10]{1,0} parameter(1)
  %i = s32[] parameter(2)
  %half = f32[4,50]{1,0} slice(%a), slice={[0:4], [0:100:2]}
  %one = f32[2,10]{1,0} slice(%b), slice={[0:2], [0:10]}
  %renamed = f32[4,100]{1,0} bitcast(%a)
  %updated = f32[4,100]{1,0} dynamic-update-slice(%renamed, %one, %i, %i)
  ROOT %both = (f32[4,50]{1,0}, f32[4,100]{1,0}) tuple(%half, %updated)
}

%gemm (m: bf16[8,16], n: bf16[16,32]) -> f32[8,32] {
  %m = bf16[8,16]{1,0} parameter(0)
  %n = bf16[16,32]{1,0} parameter(1)
  ROOT %dot = f32[8,32]{1,0} dot(%m, %n), lhs_contracting_dims={1}, rhs_contracting_dims={0}
}

%graph (m.1: bf16[8,16], n.1: bf16[16,32]) -> f32[8,32] {
  %m.1 = bf16[8,16]{1,0} parameter(0)
  %n.1 = bf16[16,32]{1,0} parameter(1)
  ROOT %product = f32[8,32]{1,0} fusion(%m.1, %n.1), kind=KIND, calls=%gemm
}

%nothing (n.2: bf16[16,32]) -> bf16[16,32] {
  ROOT %n.2 = bf16[16,32]{1,0} parameter(0)
}

%two (n.3: bf16[16,32]) -> bf16[16,32] {
  %n.3 = bf16[16,32]{1,0} parameter(0)
  %first = bf16[16,32]{1,0} copy(%n.3)
  ROOT %second = bf16[16,32]{1,0} copy(%first)
}

ENTRY %main (a.1: f32[4,100], b.1: f32[4,10], i.1: s32[], m.2: bf16[8,16], n.4: bf16[16,32]) -> f32[8,32] {
  %a.1 = f32[4,100]{1,0} parameter(0)
  %b.1 = f32[4,10]{1,0} parameter(1)
  %i.1 = s32[] parameter(2)
  %m.2 = bf16[8,16]{1,0} parameter(3)
  %n.4 = bf16[16,32]{1,0} parameter(4)
  %loop_fusion = (f32[4,50]{1,0}, f32[4,100]{1,0}) fusion(%a.1, %b.1, %i.1), kind=kLoop, calls=%parts
  %chosen = bf16[16,32]{1,0} conditional(%i.1, %n.4, %n.4), branch_computations={%nothing, %two}
  ROOT %call = f32[8,32]{1,0} call(%m.2, %chosen), to_apply=%graph
}
"""


@pytest.mark.parametrize(("kind", "by"), [("kCustom", "Triton"), ("kLoop", "XLA")])
def test_a_fusion_is_read_by_what_it_reads_and_writes(kind, by):
    """A strided slice reads what is between, an update writes its part; the longer branch, and what a call launches, count."""
    from bench import programs

    program = programs.read(PARTS.replace("KIND", kind))
    assert [launch.what for launch in program.launches] == ["fusion", "copy", "copy", "fusion"]
    parts, *_, product = program.launches
    assert parts.bytes == 4 * ((400 + 20 + 1) + (200 + 20))
    assert product.bytes == 2 * (8 * 16 + 16 * 32) + 4 * 8 * 32
    (dot,) = program.contractions
    assert (dot.by, dot.what, dot.channels, dot.multiply_adds) == (by, "dot", 8, 8 * 16 * 32)


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
