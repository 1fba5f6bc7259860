"""``python -m bench``: run the benchmark, print its tables, and save JSON and a plot under ``bench/results``."""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import datetime as dt
import importlib.metadata
import json
import os
import platform
import subprocess
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from . import fit, implementations, measure, report, workloads

HERE = Path(__file__).parent
VARIANTS = [
    implementations.Variant(),
    implementations.Variant(precision="default"),
    implementations.Variant(channels="last"),
    implementations.Variant("bfloat16", "default"),
    implementations.Variant("bfloat16", "default", "last"),
]


def keep_memory() -> None:
    """Have glibc keep freed memory, for all implementations alike.

    By default glibc takes every array of 32 MiB or more from the system anew, and smaller ones sometimes. The system maps them
    page by page, which takes 0.25 ms per MiB: as long as many of the convolutions.
    """
    with contextlib.suppress(OSError, AttributeError):
        libc = ctypes.CDLL("libc.so.6")
        trim_threshold, mmap_max, arena_max = -1, -4, -8
        libc.mallopt(trim_threshold, 2**31 - 1)
        libc.mallopt(mmap_max, 0)
        libc.mallopt(arena_max, 1)  # the arenas of threads return freed memory to the system regardless


def main(argv: list[str] | None = None) -> int:
    """Run the benchmark; 1 if an implementation failed."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--only", nargs="*", default=[], help="workloads whose names contain one of these")
    parser.add_argument(
        "--tasks", nargs="*", default=list(implementations.TASKS[:3]), choices=[*implementations.TASKS, "all"]
    )
    parser.add_argument("--libraries", nargs="*", default=None, choices=["jax", "numpy", "plain"])
    parser.add_argument("--sizes", default=None, choices=["cpu", "gpu"], help="batch sizes of the workloads")
    parser.add_argument(
        "--variants", default=None, choices=["one", "all"], help="dtypes, precisions, and places of the channels"
    )
    parser.add_argument("--seconds", type=float, default=0.6, help="for each implementation and task, in all passes")
    parser.add_argument(
        "--passes", type=int, default=None, help="over the grid; by default 3 on a CPU, whose speed drifts, else 1"
    )
    parser.add_argument(
        "--fit", nargs="*", default=None, help="vary the planner's constants, or those whose names contain one of these"
    )
    parser.add_argument("--default-malloc", action="store_true", help="leave the C library's memory to its defaults")
    parser.add_argument("--name", default=None, help="of the files of results; the device, by default")
    arguments = parser.parse_args(argv)
    if not arguments.default_malloc:
        keep_memory()
    if arguments.fit is not None:
        for library in arguments.libraries or ["jax", "numpy"]:
            works = workloads.load(arguments.only, batch=arguments.sizes or "cpu")
            print(f"{library}\n{fit.table(list(fit.fit(works, library, arguments.fit, arguments.seconds)))}")
        return 0
    versions = _versions()
    on_gpu = versions["platform"] != "cpu"
    sizes = arguments.sizes or ("gpu" if on_gpu else "cpu")
    variants = VARIANTS if (arguments.variants or ("all" if on_gpu else "one")) == "all" else VARIANTS[:1]
    tasks = list(implementations.TASKS if "all" in arguments.tasks else arguments.tasks)
    large = {"size": 8192, "bytes_": 2**31} if on_gpu else {"size": 1024, "bytes_": 2**26}
    libraries = arguments.libraries or (["jax"] if on_gpu else ["jax", "numpy", "plain"])
    kinds = [
        (library, variant) for library in libraries for variant in (variants if library == "jax" else VARIANTS[:1])
    ]
    ceilings = {str(variant): measure.ceilings(variant, **large) for library, variant in kinds if library == "jax"}
    passes = max(1, arguments.passes or (1 if on_gpu else 3))
    cells: dict[Any, dict[str, Any] | None] = {}  # None: it failed
    for number in range(passes):
        for library, variant in kinds:
            for name, task, facts, start in _grid(library, variant, sizes, tasks, arguments.only):
                named = {"library": library, "variant": str(variant), "workload": name, "task": task}
                cell = cells.setdefault(tuple(named.values()), named | facts | {"implementations": {}})
                if cell is None:
                    continue
                try:
                    entries = start()
                    if number == 0:
                        measure.check(entries, variant)
                    measure.add(cell["implementations"], entries, arguments.seconds, passes, queued=on_gpu)
                except Exception:  # noqa: BLE001 (one cell must not lose the others)
                    cells[tuple(named.values())] = None
                    print(f"{library} {name} {task} failed:\n{traceback.format_exc()}", file=sys.stderr)
                    continue
                times = ", ".join(f"{who} {took['ms']:.2f} ms" for who, took in cell["implementations"].items())
                print(f"{number + 1} {library:<6} {name:<28} {task:<15} {times}", file=sys.stderr, flush=True)
    measured = [cell for cell in cells.values() if cell is not None]
    run = {"versions": versions, "ceilings": ceilings, "cells": measured}
    name = arguments.name or versions["device"].replace(" ", "-").lower()
    results = HERE / "results"
    results.mkdir(exist_ok=True)
    (results / f"{name}.json").write_text(json.dumps(run, indent=1) + "\n")
    report.plot(run, results / f"{name}.png")
    print(report.tables(run))
    return 1 if None in cells.values() else 0


def _grid(
    library: str, variant: implementations.Variant, sizes: str, tasks: list[str], only: list[str]
) -> Iterator[Any]:
    """Each cell: workload, task, its multiply-adds and bytes, and a function that prepares the implementations."""
    if library == "plain":
        for task, entries in implementations.plain().items():
            yield "3x3, 64 -> 64, 56 x 56", task, {}, lambda entries=entries: entries
        return
    for work in workloads.load(only, batch=sizes, channels=variant.channels):
        itemsize = 2 if variant.dtype == "bfloat16" else 4
        facts = {"multiply_adds": work.multiply_adds, "bytes": itemsize * work.elements}
        for task in tasks if library == "jax" else [task for task in tasks if task in implementations.TASKS[:3]]:
            yield work.name, task, facts, lambda work=work, task=task: _entries(work, task, library, variant)


def _entries(
    work: workloads.Workload, task: str, library: str, variant: implementations.Variant
) -> dict[str, implementations.Prepared]:
    if library == "numpy":
        prepared = {"triconv": implementations.in_numpy(work, task), "torch": implementations.in_torch(work, task)}
    else:
        prepared = {
            "triconv": implementations.in_jax(work, task, implementations.by_triconv(work, variant.precision), variant),
            "lax": implementations.in_jax(work, task, implementations.by_lax(work, variant.precision), variant),
            "torch": implementations.in_torch(work, task, variant),
        }
    return {name: entry for name, entry in prepared.items() if entry is not None}


def _versions() -> dict[str, Any]:
    import jax

    device = jax.devices()[0]
    names = ("numpy", "jax", "jaxlib", "torch", "scipy", "onnx", "autograd")
    return {
        "date": dt.datetime.now(dt.UTC).date().isoformat(),
        "device": device.device_kind if device.platform != "cpu" else f"{os.cpu_count()} CPU cores",
        "platform": device.platform,
        "driver": _driver(),
        "machine": f"{platform.machine()}, {platform.system()}, Python {platform.python_version()}",
        **{name: _version(name) for name in names},
    }


def _driver() -> str | None:
    """Version of NVIDIA's driver, if there is one."""
    try:
        query = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
        return subprocess.run(query, capture_output=True, text=True, check=True).stdout.split()[0]
    except (OSError, subprocess.CalledProcessError):
        return None


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


if __name__ == "__main__":
    sys.exit(main())
