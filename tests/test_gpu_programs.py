"""The grid on an H100 that is not there: which kernel the planner takes, and what the compiled programs ask of it beside lax's.

The planner needs shapes alone. The programs are compiled ahead of time by JAX's CUDA plugin (`bench.compiled`), which
``tox -e gpu-programs`` installs. Both tables have one row for all that has one reason, and are checked both ways.
"""

from __future__ import annotations

import importlib.metadata
import itertools
import json
import tomllib
from pathlib import Path
from typing import NamedTuple

import pytest

from conftest import DEVICE
from triconv.backends import BACKENDS
from triconv.geometry import Geometry
from triconv.kernels import target
from triconv.kernels.problem import FIRST, Problem
from triconv.planning import planner

pytestmark = pytest.mark.usefixtures("bench")
ROOT = Path(__file__).parent.parent
NAMES = [entry["name"] for entry in tomllib.loads((ROOT / "bench" / "workloads.toml").read_text())["workload"]]
# the contraction of a task, of a convolution and of a transposed one
TASKS = {
    "forward": ("conv", "conv_input_vjp"),
    "input_vjp": ("conv_input_vjp", "conv"),
    "weight_vjp": ("conv_weight_vjp", "conv_weight_vjp"),
}
JAXLIB = "0.12.0.1"  # as in tox.ini
DTYPES = {"float32": "highest", "bfloat16": "default"}  # and the precision
CHANNELS = ("first", "last")


class Row(NamedTuple):
    """What holds for cells of the grid, and why; "*" is any."""

    workload: str
    task: str
    dtype: str
    channels: str
    says: str
    reason: str

    def is_of(self, *cell):
        return all(ours in ("*", theirs) for ours, theirs in zip(self, cell, strict=False))


# ---- the kernel: the first row that is of a cell

DENSE = "cuDNN's own: near the peak, in the user's layout, with no unfolded input in memory"
FUSED = "one fused loop reads the image once, where cuDNN transposes it before and after"
LAST = (
    "channels last: cuDNN takes the image as it stands, and sums of a fused loop would have a product per tap in memory"
)
TAPS = "so many taps that their multiply-adds in a fused loop take longer than cuDNN's copies"
RESIDUES = "XLA sees no weight gradient behind dilated taps: cuDNN's of the residue classes, as samples, has none"
EVENED = "cuDNN's own, of evenly padded input: XLA writes the zeros between the taps otherwise"
AS_IT_IS = "one tap: a product of each sample as it stands, without the copies around cuDNN's"
PATCHES = "patches are the rows of one product; XLA takes a kernel as large as the image"
LONG = "a kernel as long as the image: transforms"
KERNELS = [
    Row("resnet50-conv2-3x3", "*", "*", "*", "vendor", DENSE),
    Row("resnet50-conv4-3x3", "*", "*", "*", "vendor", DENSE),
    Row("resnet50-stem-7x7-s2", "*", "*", "*", "vendor", DENSE),
    Row("resnet50-down-3x3-s2", "*", "*", "*", "vendor", DENSE),
    Row("resnet50-1x1", "weight_vjp", "*", "*", "vendor", DENSE),
    Row("resnet50-1x1", "*", "bfloat16", "last", "gemm", "one product of the matrices as they stand, a launch less"),
    Row("resnet50-1x1", "*", "*", "first", "direct", AS_IT_IS),
    Row("resnet50-1x1", "*", "*", "*", "vendor", DENSE),
    Row("resnext50-3x3-g32", "weight_vjp", "*", "*", "vendor", "groups of 4: no sums of all 16 pairs of channels"),
    Row("resnext50-3x3-g32", "*", "*", "last", "vendor", LAST),
    Row("resnext50-3x3-g32", "*", "*", "*", "depthwise", FUSED),
    Row("depthwise-3x3", "weight_vjp", "*", "last", "vendor", LAST),
    Row("depthwise-3x3", "*", "*", "*", "depthwise", FUSED),
    Row("convnext-depthwise-7x7", "weight_vjp", "*", "*", "vendor", TAPS),
    Row("convnext-depthwise-7x7", "*", "bfloat16", "first", "depthwise", FUSED),
    Row("convnext-depthwise-7x7", "*", "*", "*", "vendor", TAPS),
    Row("mobilenet-depthwise-3x3-s2", "weight_vjp", "*", "last", "vendor", LAST),
    Row("mobilenet-depthwise-3x3-s2", "*", "*", "*", "depthwise", FUSED),
    Row("depthwise-1d-k5", "weight_vjp", "*", "last", "vendor", LAST),
    Row("depthwise-1d-k5", "*", "*", "*", "depthwise", FUSED),
    Row("dcgan-transposed-4x4-s2", "*", "*", "*", "vendor", DENSE),
    Row("transposed-3d-k3-s2", "input_vjp", "*", "first", "depthwise", FUSED),
    Row("transposed-3d-k3-s2", "*", "*", "*", "vendor", DENSE),
    Row("transposed-1d-vocoder", "*", "*", "*", "vendor", DENSE),
    Row("unet3d-3x3x3", "*", "*", "*", "vendor", DENSE),
    Row("deeplab-dilated-3x3-d12", "weight_vjp", "*", "*", "vendor", RESIDUES),
    Row("deeplab-dilated-3x3-d12", "*", "*", "*", "vendor", DENSE),
    Row("wavenet-dilated-1d-causal", "weight_vjp", "*", "*", "vendor", RESIDUES),
    Row("wavenet-dilated-1d-causal", "*", "*", "*", "vendor", EVENED),
    Row("vit-patchify-16x16-s16", "forward", "*", "*", "vendor", DENSE),
    Row("vit-patchify-16x16-s16", "*", "*", "*", "gemm", PATCHES),
    Row("conv1d-k5-speech", "*", "*", "*", "vendor", DENSE),
    Row("long-causal-depthwise", "*", "*", "*", "fft", LONG),
    Row("replknet-depthwise-31x31", "*", "*", "*", "fft", LONG),
]

# ---- in what a program is behind: zeros, image-sized kernel, wide operands; launches and memory (MiB), at most so many

TRANSFORMS = "a few transforms of a signal for a sum over all of it: a twentieth of the time, estimated"
SPLIT = "the long sum of one product is split; lax has a kernel as large as the image"
WHOLE_CLASSES = (
    "images of residue classes are padded to a multiple of the dilation; lax has a kernel as large as the image"
)
EXCEPTIONS = [
    Row("deeplab-dilated-3x3-d12", "weight_vjp", "*", "*", "memory: 165", WHOLE_CLASSES),
    Row("vit-patchify-16x16-s16", "weight_vjp", "*", "first", "launches: 5, memory: 450", SPLIT),
    Row("long-causal-depthwise", "*", "*", "*", "launches: 9, memory: 193", TRANSFORMS),
    Row("replknet-depthwise-31x31", "*", "*", "*", "launches: 10, memory: 386", TRANSFORMS),
]


@pytest.fixture
def compiled(jax):
    """What compiles for a GPU, or a skip that says so."""
    from bench import compiled

    if obstacle := compiled.obstacle():
        pytest.skip(obstacle)
    if DEVICE == "gpu" or (found := importlib.metadata.version("jaxlib")) != JAXLIB:
        where = "with a GPU, for which XLA tunes" if DEVICE == "gpu" else f"here is {found}"
        pytest.skip(f"the tables are of what jaxlib {JAXLIB} compiles without a GPU; {where}")
    return compiled


def workload(name, channels):
    from bench import workloads

    (work,) = (work for work in workloads.load([name], batch="gpu", channels=channels) if work.name == name)
    return work


def problem(work, task, dtype):
    """The contraction of a task, as the planner sees it."""
    x, y = (work.y, work.x) if work.transposed else (work.x, work.y)
    steps = {"stride": work.stride, "padding": work.pad, "dilation": work.dilation, "groups": work.groups}
    geometry = Geometry.of(x[2:], work.w[2:], **steps)
    n, c, k = x[0], x[1] // work.groups, y[1] // work.groups
    itemsize, orders = {"float32": 4, "bfloat16": 2}[dtype], FIRST if work.channels == "first" else ("last",) * 3
    return Problem(TASKS[task][work.transposed], geometry, work.groups, n, c, k, itemsize, orders=orders)


def exceptions(*cell):
    """In what a program is known to be behind, and the most of it."""
    pairs = [part.partition(": ") for row in EXCEPTIONS if row.is_of(*cell) for part in row.says.split(", ")]
    return {what: float(most or 0) for what, _, most in pairs}


@pytest.mark.parametrize("name", NAMES)
def test_the_kernel_for_each_layer_has_a_reason(name):
    where = {"partitioned": False, "apart": False, "positions_whole": False, "transposes": True, "changes": ()}
    gpu, differ = target._target(BACKENDS["jax"], "gpu", **where), []
    for channels in CHANNELS:
        work = workload(name, channels)
        for cell in ((name, task, dtype, channels) for task in TASKS for dtype in DTYPES):
            chosen = planner.plan(problem(work, *cell[1:3]), gpu)
            row = next(row for row in KERNELS if row.is_of(*cell))
            if chosen.algorithm != row.says:
                differ.append((cell, f"{chosen.algorithm}, and not {row.says}: {row.reason}"))
    assert not differ


def test_every_row_is_of_cells_of_the_grid():
    cells = list(itertools.product(NAMES, TASKS, DTYPES, CHANNELS))
    first = [next(row for row in KERNELS if row.is_of(*cell)) for cell in cells]
    assert [row for row in KERNELS if row not in first] == []
    assert [row for row in EXCEPTIONS if not any(row.is_of(*cell) for cell in cells)] == []


@pytest.mark.optimized
@pytest.mark.covering(2)
@pytest.mark.parametrize("channels", CHANNELS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("name", NAMES)
def test_a_program_asks_for_no_more_than_lax_does(compiled, monkeypatch, name, task, dtype, channels):
    """No inserted zeros, no image-sized kernel, half width where it is asked for, launches and memory at most lax's."""
    from bench.implementations import Variant

    plans, plan = [], planner.plan
    monkeypatch.setattr(planner, "plan", lambda *args: plans.append((args[0], plan(*args))) or plans[-1][1])
    work, variant = workload(name, channels), Variant(dtype, DTYPES[dtype], channels)
    known = exceptions(name, task, dtype, channels)
    ours, theirs = (compiled.facts(work, task, library, variant) for library in ("triconv", "lax"))
    # what is compiled is what the other table is about
    assert problem(work, task, dtype) in [asked for asked, _ in plans]
    found = compiled.behind(work, variant, ours, theirs)
    assert not known.keys() - found.keys(), "no exceptions any more: their rows can go"
    assert not {what: numbers for what, numbers in found.items() if what not in known}, (ours.program, theirs.program)
    numbers = {"launches": ours.program.count, "memory": ours.temporary_bytes / 2**20}
    assert all(numbers[what] <= most for what, most in known.items() if most), (known, numbers)


@pytest.mark.optimized
def test_what_lax_is_behind_in_is_seen(compiled):
    """Zeros in the input VJP of a strided depthwise layer, an image-sized kernel in a transposed layer's weight gradient."""
    from bench.implementations import Variant

    half = Variant("bfloat16", "default")
    strided, transposed = (
        workload(name, "first") for name in ("mobilenet-depthwise-3x3-s2", "dcgan-transposed-4x4-s2")
    )
    zeros = compiled.facts(strided, "input_vjp", "lax", half).program
    kernel = compiled.facts(transposed, "weight_vjp", "lax", half).program
    assert compiled.image_sized_zeros(strided, zeros)
    assert not compiled.image_sized_kernels(strided, zeros)
    assert compiled.image_sized_kernels(transposed, kernel) == ["cuDNN convForward bf16 16x16"]
    assert not compiled.image_sized_zeros(transposed, kernel)
    assert not compiled.wide_operands(half, kernel)
    wide = compiled.facts(transposed, "weight_vjp", "lax", Variant()).program
    assert compiled.wide_operands(half, wide) == ["cuDNN convForward f32 16x16"]


@pytest.mark.optimized
def test_the_benchmark_prints_and_saves_the_table(compiled, monkeypatch, tmp_path, capsys):
    from bench import __main__ as command

    monkeypatch.setattr(command, "HERE", tmp_path)
    options = "--compile-for h100 --only resnet50-1x1 --tasks forward --layout last --variants one --name small"
    assert command.main([*options.split(), "--default-malloc"]) == 0
    printed = capsys.readouterr().out
    assert "compiled for NVIDIA H100 80GB HBM3" in printed
    assert "nothing is measured" in printed
    assert (
        "| resnet50-1x1 | forward | float32, highest precision, channels last | 980 | cuDNN convForward f32 1x1 ("
        in printed
    )
    saved = json.loads((tmp_path / "results" / "small-programs.json").read_text())
    assert saved["versions"]["jax-cuda13-plugin"]
    assert saved["about"] == compiled.ESTIMATE
    (cell,) = saved["cells"]
    assert cell["behind"] == {}
    entry = cell["implementations"]["triconv"]
    # multiply-adds in float32 at the data sheet's 67 TFLOPS are longer than the bytes take
    assert entry["estimated_ms"] > 1e3 * max(cell["multiply_adds"] / 33.5e12, cell["bytes"] / 3.35e12)
