"""``python -m bench``: run it, print the tables, and keep JSON and a plot under ``bench/results``."""

from __future__ import annotations

import argparse
import datetime as dt
import importlib.metadata
import json
import os
import platform
import sys
import traceback
from pathlib import Path
from typing import Any

from . import contestants, measure, report, workloads

HERE = Path(__file__).parent


def main(argv: list[str] | None = None) -> int:
    """Run the benchmark; 1 if a contestant failed."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--only", nargs="*", default=[], help="workloads whose names contain one of these")
    parser.add_argument("--tasks", nargs="*", default=list(contestants.TASKS[:3]), choices=[*contestants.TASKS, "all"])
    parser.add_argument("--libraries", nargs="*", default=["jax", "numpy", "plain"], choices=["jax", "numpy", "plain"])
    parser.add_argument("--sizes", default="cpu", choices=["cpu", "gpu"], help="batch sizes of the workloads")
    parser.add_argument("--seconds", type=float, default=0.5, help="for each contestant and task")
    parser.add_argument("--name", default=None, help="of the files of results; the device, by default")
    arguments = parser.parse_args(argv)
    tasks = contestants.TASKS if "all" in arguments.tasks else arguments.tasks
    cells, failures = [], 0
    for library in arguments.libraries:
        if library == "plain":
            grid = [("3x3, 64 -> 64, 56 x 56", task, entries) for task, entries in contestants.plain().items()]
            grid_ = [(name, task, lambda entries=entries: entries) for name, task, entries in grid]
        else:
            chosen = workloads.load(arguments.only, batch=arguments.sizes)
            grid_ = [
                (work.name, task, lambda work=work, task=task, library=library: _entries(work, task, library))
                for work in chosen
                for task in (tasks if library == "jax" else [task for task in tasks if task in contestants.TASKS[:3]])
            ]
        for name, task, start in grid_:
            try:
                entries = start()
                measure.check(entries)
                cell = {"library": library, "workload": name, "task": task}
                cell["contestants"] = measure.medians(entries, seconds=arguments.seconds)
            except Exception:  # noqa: BLE001 (one cell must not lose the others)
                failures += 1
                print(f"{library} {name} {task} failed:\n{traceback.format_exc()}", file=sys.stderr)
                continue
            cells.append(cell)
            times = ", ".join(f"{who} {took['ms']:.2f} ms" for who, took in cell["contestants"].items())
            print(f"{library:<6} {name:<28} {task:<15} {times}", file=sys.stderr, flush=True)
    run = {"versions": _versions(), "cells": cells}
    name = arguments.name or run["versions"]["device"].replace(" ", "-").lower()
    results = HERE / "results"
    results.mkdir(exist_ok=True)
    (results / f"{name}.json").write_text(json.dumps(run, indent=1) + "\n")
    report.plot(run, results / f"{name}.png")
    print(report.tables(run))
    return 1 if failures else 0


def _entries(work: workloads.Workload, task: str, library: str) -> dict[str, contestants.Entry]:
    if library == "numpy":
        found = {"triconv": contestants.in_numpy(work, task), "torch": contestants.in_torch(work, task)}
    else:
        found = {
            "triconv": contestants.in_jax(work, task, contestants.by_triconv(work)),
            "lax": contestants.in_jax(work, task, contestants.by_lax(work)),
            "torch": contestants.in_torch(work, task),
        }
    return {name: entry for name, entry in found.items() if entry is not None}


def _versions() -> dict[str, Any]:
    import jax

    device = jax.devices()[0]
    names = ("numpy", "jax", "jaxlib", "torch", "scipy", "onnx", "autograd")
    return {
        "date": dt.datetime.now(dt.UTC).date().isoformat(),
        "device": device.device_kind if device.platform != "cpu" else f"{os.cpu_count()} CPU cores",
        "machine": f"{platform.machine()}, {platform.system()}, Python {platform.python_version()}",
        **{name: _version(name) for name in names},
    }


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


if __name__ == "__main__":
    sys.exit(main())
