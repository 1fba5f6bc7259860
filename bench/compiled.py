"""The grid compiled for a GPU that need not be there: what XLA asks of it, ours beside lax's, and a roofline estimate.

JAX's CUDA plugin compiles ahead of time for a device that it is told the properties of. Nothing is autotuned and nothing runs.
Calls, dtypes, windows, inserted zeros, launches and temporary memory (without cuDNN's workspace) are facts about the program.
The time is an estimate: every launch at the ceilings that the planner has for such a device.
"""

from __future__ import annotations

import functools
import importlib.metadata
import importlib.util
import math
import re
import shutil
import sys
import time
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from triconv.kernels.target import TARGETS, Rates
from triconv.planning.planner import HALF_CHANNELS

from . import implementations, programs, workloads
from .implementations import Variant, geometric_mean
from .workloads import Workload

PLUGIN = "jax_plugins.xla_cuda13"
# without it, XLA ends the process; where it looks beside the path and the package
ASSEMBLER, TOOLKIT = "ptxas", Path("/usr/local/cuda")
VARIANTS = [("float32", "highest"), ("bfloat16", "default")]  # float32 at the default precision has the same programs
# the properties of an H100 SXM, as XLA describes them (`GpuTargetConfigProto`), with the cuDNN that JAX 0.12 is built for
DEVICES = {
    "h100": """
        platform_name: "CUDA"
        device_description_str: "NVIDIA H100 80GB HBM3"
        gpu_device_info {
          cuda_compute_capability { major: 9 feature_extension: ACCELERATED_FEATURES }
          core_count: 132 fpus_per_core: 128 threads_per_warp: 32 threads_per_block_limit: 1024
          threads_per_core_limit: 2048 block_dim_limit_x: 2147483647 block_dim_limit_y: 65535 block_dim_limit_z: 65535
          registers_per_core_limit: 65536 registers_per_block_limit: 65536 shared_memory_per_block: 49152
          shared_memory_per_core: 233472 shared_memory_per_block_optin: 232448 device_memory_size: 84942979072
          memory_bandwidth: 3352320000000 l2_cache_size: 52428800 clock_rate_ghz: 1.98
          runtime_version: "13.2.0" driver_version: "13.0.0" dnn_version: "9.23.0"
        }
    """
}
# temporary memory that counts for nothing, of the bytes of the operands and the result: parts of a small sum, a copy of w
SCRATCH = 1 / 64
ESTIMATE = (
    "Compiled for the device, which was not there: nothing is measured. Times are estimates: each launch takes as long as its "
    "bytes or its multiply-adds take at the ceilings of the data sheet, whichever is longer, and the time to launch it."
)


class Facts(NamedTuple):
    """A compiled program, and what is said about it."""

    program: programs.Program
    temporary_bytes: int
    compile_seconds: float


def obstacle() -> str | None:
    """Why nothing can be compiled for a GPU here, if so."""
    try:
        has_plugin = importlib.util.find_spec(PLUGIN) is not None
    except ModuleNotFoundError:
        has_plugin = False
    if not has_plugin:
        return "JAX's CUDA plugin is not installed (jax-cuda13-plugin), as it is by tox -e gpu-programs"
    if not (shutil.which(ASSEMBLER) or (TOOLKIT / "bin" / ASSEMBLER).exists() or _has_package("nvidia-cuda-nvcc")):
        return "NVIDIA's assembler is not installed (nvidia-cuda-nvcc), as it is by tox -e gpu-programs"
    return None


def _has_package(name: str) -> bool:
    try:
        importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


@functools.cache
def _placed(device: str) -> Any:
    """Where arrays are that a program for a device is compiled for."""
    import jax
    from jax.experimental import topologies

    topology = topologies.get_topology_desc(platform="cuda", topology="1x1x1", target_config=DEVICES[device])
    return jax.sharding.SingleDeviceSharding(topology.devices[0])


def facts(work: Workload, task: str, library: str, variant: Variant, device: str = "h100") -> Facts:
    """Compile a task of a workload, by triconv or by lax."""
    import jax

    by = {"triconv": implementations.by_triconv, "lax": implementations.by_lax}[library]
    function = implementations.tasks_in_jax(by(work, variant.precision))[task]
    arrays = [jax.ShapeDtypeStruct(shape, variant.dtype, sharding=_placed(device)) for shape in work.shapes]
    start = time.perf_counter()
    with jax.enable_x64(False):
        program = jax.jit(function).lower(*arrays).compile()
    seconds = time.perf_counter() - start
    return Facts(programs.read(program.as_text()), program.memory_analysis().temp_size_in_bytes, seconds)


def versions(device: str) -> dict[str, str]:
    """The device that is compiled for, and the versions of the compiler."""
    packages = filter(_has_package, ("jax-cuda13-plugin", "nvidia-cuda-nvcc"))
    name = re.search(r'device_description_str: "([^"]*)"', DEVICES[device])[1]
    return {"compiled for": name, **{package: importlib.metadata.version(package) for package in packages}}


# ---- judging


def behind(work: Workload, variant: Variant, ours: Facts, theirs: Facts) -> dict[str, str]:
    """In what a program of ours is not as it should be, or behind lax's, each with its numbers."""
    found = {}
    if zeros := image_sized_zeros(work, ours.program):
        found["zeros"] = ", ".join(zeros)
    if kernels := image_sized_kernels(work, ours.program):
        found["image-sized kernel"] = ", ".join(kernels)
    if wide := wide_operands(variant, ours.program):
        found["wide operands"] = ", ".join(wide)
    if ours.program.count > theirs.program.count:
        found["launches"] = f"{ours.program.count} against {theirs.program.count}"
    if ours.temporary_bytes > theirs.temporary_bytes + SCRATCH * _bytes(work, variant):
        found["memory"] = f"{ours.temporary_bytes / 2**20:.1f} against {theirs.temporary_bytes / 2**20:.1f} MiB"
    return found


def image_sized_zeros(work: Workload, program: programs.Program) -> list[str]:
    """The arrays of the size of an image, the smaller one, between whose elements zeros are inserted."""
    image = min(math.prod(work.x), math.prod(work.y))
    inserted = [str(after) for before, after in program.zeros if after.elements >= image]
    return inserted + [str(contraction) for contraction in program.contractions if contraction.dilated]


def image_sized_kernels(work: Workload, program: programs.Program) -> list[str]:
    """The convolutions whose window has more taps than the kernel: they sum over the positions of an image."""
    taps = math.prod(work.w[2:])
    return [str(c) for c in program.contractions if math.prod(c.window) > taps]


def wide_operands(variant: Variant, program: programs.Program) -> list[str]:
    """The convolutions and products with wider operands than the arrays have, and the transforms of double width."""
    narrow = ("f32",) if variant.dtype == "float32" else programs.HALF
    wide = [str(c) for c in program.contractions if any(array.dtype not in narrow for array in c.operands)]
    return wide + [
        launch.what for launch in program.launches if launch.transform and launch.what.endswith(("f64", "c128"))
    ]


def _bytes(work: Workload, variant: Variant) -> int:
    return (4 if variant.dtype == "float32" else 2) * work.elements


# ---- estimates


def rates_of(device: str) -> Rates:
    """What the planner takes for the ceilings of a device: there is one GPU target of JAX, and it is an H100's."""
    return {"h100": TARGETS["jax", "gpu"].rates}[device]


def estimated_seconds(program: programs.Program, rates: Rates) -> float:
    """The roofline: each launch takes as long as its bytes or its multiply-adds take, and as launching it does."""
    return sum(launch.times * (_busy(launch, rates) + rates.overhead) for launch in program.launches)


def _busy(launch: programs.Launch, rates: Rates) -> float:
    computing = launch.vector / rates.vector + launch.transform / rates.transform
    for contraction in launch.contractions:
        units = {programs.CUDNN: rates.vendor, programs.CUBLAS: rates.matrix, programs.TRITON: rates.matrix}
        rate = units.get(contraction.by, rates.vector)
        is_half = all(array.dtype in programs.HALF for array in contraction.operands)
        if contraction.by in units and is_half and contraction.channels >= HALF_CHANNELS:
            rate *= rates.half
        computing += contraction.multiply_adds / rate
    return max(computing, launch.bytes / rates.bandwidth)


# ---- the table


def run(
    device: str, variants: list[Variant], tasks: list[str], only: list[str], sizes: str
) -> Iterator[dict[str, Any]]:
    """Yield every cell of the grid, with both programs; one that fails says so."""
    for variant in variants:
        for work in workloads.load(only, batch=sizes, channels=variant.channels):
            for task in tasks:
                cell = {"library": "jax", "variant": str(variant), "layout": variant.channels}
                cell |= {"workload": work.name, "task": task, "multiply_adds": work.multiply_adds}
                cell |= {"bytes": _bytes(work, variant)}
                sys.stderr.write(f"{variant.dtype} {variant.channels:<5} {work.name:<28} {task}\n")
                try:
                    found = {name: facts(work, task, name, variant, device) for name in ("triconv", "lax")}
                except Exception as error:  # noqa: BLE001 (one cell must not lose the others)
                    sys.stderr.write(traceback.format_exc())
                    yield cell | {"failed": f"{type(error).__name__}: {error}"}
                    continue
                cell["behind"] = behind(work, variant, found["triconv"], found["lax"])
                cell["implementations"] = {name: _entry(work, one, rates_of(device)) for name, one in found.items()}
                yield cell


def _entry(work: Workload, one: Facts, rates: Rates) -> dict[str, Any]:
    return {
        "program": str(one.program),
        "launches": one.program.count,
        "temporary_bytes": one.temporary_bytes,
        "zeros": image_sized_zeros(work, one.program),
        "image_sized_kernels": image_sized_kernels(work, one.program),
        "compile_s": one.compile_seconds,
        "estimated_ms": 1e3 * estimated_seconds(one.program, rates),
    }


def table(cells: list[dict[str, Any]]) -> str:
    """Return the table in Markdown: one row per cell, and the geometric means of what is estimated."""
    head = ["layer", "of", "variant", "operands, MiB", "lax", "triconv", "lax / triconv, **estimated**", "behind in"]
    lines = [ESTIMATE, "", "| " + " | ".join(head) + " |", "|---" * 3 + "|---:|---|---|---:|---|"]
    ratios: dict[str, list[float]] = {}
    for cell in cells:
        row = [cell["workload"], cell["task"], cell["variant"], f"{cell['bytes'] / 2**20:.0f}"]
        if "failed" in cell:
            lines.append("| " + " | ".join([*row, "", "**failed**", "", ""]) + " |")
            continue
        ours, theirs = (cell["implementations"][name] for name in ("triconv", "lax"))
        ratio = theirs["estimated_ms"] / ours["estimated_ms"]
        ratios.setdefault(cell["variant"], []).append(ratio)
        behind_in = "; ".join(f"{name}: {numbers}" for name, numbers in cell["behind"].items())
        lines.append("| " + " | ".join([*row, _words(theirs), _words(ours), f"{ratio:.2f}", behind_in]) + " |")
    for variant, values in ratios.items():
        lines.append(f"| **geometric mean** | | {variant} | | | | {geometric_mean(values):.2f} | |")
    return "\n".join(lines)


def _words(entry: dict[str, Any]) -> str:
    words = entry["program"] + ("; **zeros**" if entry["zeros"] else "")
    words += "; **image-sized kernel**" if entry["image_sized_kernels"] else ""
    memory = f"{entry['temporary_bytes'] / 2**20:.1f} MiB"
    return f"{words} ({entry['launches']} launches, {memory}, {entry['estimated_ms']:.3f} ms estimated)"
