"""``python -m bench``: run the benchmark, print its tables, and save JSON and a plot under ``bench/results``."""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path
from typing import Any

from . import compiled, fit, grid, implementations, machine, measure, rates, report, training_steps, workloads
from .implementations import Variant

HERE = Path(__file__).parent


def main(argv: list[str] | None = None) -> int:
    """Run the benchmark; 1 if an implementation failed."""
    parser = _parser()
    arguments = parser.parse_args(argv)
    if arguments.write and arguments.fit is None:
        parser.error("--write goes with --fit")
    if not arguments.default_malloc:
        machine.keep_memory()
    if arguments.fit is not None:
        return _fit(arguments)
    if arguments.compile_for:
        if obstacle := compiled.obstacle():
            parser.error(f"--compile-for: {obstacle}")
        os.environ.setdefault("JAX_PLATFORMS", "cpu")  # the plugin would look for a driver
        return _compile(arguments)
    versions = machine.versions()
    name = arguments.name or versions["device"].replace(" ", "-").lower()
    if arguments.models is not None:
        libraries = arguments.library or ["jax", "torch"]
        rows = list(training_steps.run(arguments.models, libraries, arguments.layout, arguments.seconds))
        _save(f"{name}-models.json", {"versions": versions, "models": rows})
        print(f"{machine.line(versions)}\n\n{training_steps.table(rows)}")
        return 1 if any("failed" in row for row in rows) else 0
    return _grid(arguments, versions, name)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__, allow_abbrev=False)
    parser.add_argument("--only", nargs="*", default=[], help="workloads whose names contain one of these")
    parser.add_argument(
        "--tasks", nargs="*", default=list(implementations.CONTRACTIONS), choices=[*implementations.TASKS, "all"]
    )
    parser.add_argument(
        "--library",
        nargs="*",
        default=None,
        choices=["torch", *grid.KINDS],
        help="whose arrays; torch is torch.eager and torch.compile. By default all but torch.compile",
    )
    parser.add_argument(
        "--layout", nargs="*", default=["first", "last"], choices=["first", "last"], help="where the channels are"
    )
    parser.add_argument("--sizes", default=None, choices=["cpu", "gpu"], help="batch sizes of the workloads")
    parser.add_argument(
        "--variants", default=None, choices=["one", "all"], help="dtypes and precisions; all by default on a GPU"
    )
    parser.add_argument("--seconds", type=float, default=0.6, help="for each implementation and task, in all passes")
    parser.add_argument(
        "--passes", type=int, default=None, help="over the grid; by default 3 on a CPU, whose speed drifts, else 1"
    )
    parser.add_argument(
        "--models",
        nargs="*",
        default=None,
        help="training steps of whole models instead of the grid, or of those whose names contain one of these",
    )
    parser.add_argument(
        "--fit", nargs="*", default=None, help="vary the planner's constants, or those whose names contain one of these"
    )
    parser.add_argument(
        "--write",
        type=Path,
        metavar="PATH",
        help="with --fit: measure the rates and write them to a file for TRICONV_TARGET, with the constants named after --fit "
        "whose other values are faster",
    )
    parser.add_argument(
        "--compile-for",
        default=None,
        choices=compiled.DEVICES,
        help="compile the grid in JAX for this GPU, which need not be there: what is asked of it, with estimates of time",
    )
    parser.add_argument(
        "--bounds", action="store_true", help="time a bare product and a bare copy beside each cell in JAX and NumPy"
    )
    parser.add_argument("--default-malloc", action="store_true", help="leave the C library's memory to its defaults")
    parser.add_argument("--name", default=None, help="of the files of results; the device, by default")
    return parser


def _fit(arguments: argparse.Namespace) -> int:
    """Vary the constants; or, with `--write`, measure the rates, and keep the values of the constants named that are faster."""
    works = workloads.load(arguments.only, batch=arguments.sizes or "cpu")
    names = arguments.library or (["jax", "numpy", "torch"] if arguments.write else ["jax", "numpy"])
    found: dict[tuple[str, str], dict[str, dict[str, float]]] = {}
    for library in dict.fromkeys(name.split(".")[0] for name in names):
        if library in ("jax", "torch") and not machine.has(library):
            continue
        entry: dict[str, dict[str, float]] = {}
        if arguments.write:
            here = rates.Machine(library, arguments.seconds)
            entry["rates"] = rates.measured(here)
            found[library, here.kind] = entry
            print(rates.table(here, entry["rates"]), flush=True)
        if not arguments.write or (arguments.fit and library in fit.LIBRARIES):
            rows = list(fit.fit(works, library, arguments.fit, arguments.seconds))
            entry["constants"] = fit.faster(rows)
            print(f"{library}\n{fit.table(rows)}", flush=True)
    if arguments.write:
        rates.write(arguments.write, found, machine.versions())
        print(f"{arguments.write}: set TRICONV_TARGET to this path")
    return 0


def _grid(arguments: argparse.Namespace, versions: dict[str, Any], name: str) -> int:
    on_gpu = versions["platform"] != "cpu"
    libraries = arguments.library or (["jax", "torch.eager"] if on_gpu else ["jax", "numpy", "torch.eager", "plain"])
    every = (arguments.variants or ("all" if on_gpu else "one")) == "all"
    kinds = grid.kinds(libraries, arguments.layout, grid.PRECISIONS if every else grid.PRECISIONS[:1])
    large = {"size": 8192, "bytes_": 2**31} if on_gpu else {"size": 1024, "bytes_": 2**26}
    cells = grid.run(
        kinds,
        list(implementations.TASKS if "all" in arguments.tasks else arguments.tasks),
        arguments.only,
        arguments.sizes or ("gpu" if on_gpu else "cpu"),
        seconds=arguments.seconds,
        passes=max(1, arguments.passes or (1 if on_gpu else 3)),
        queued=on_gpu,
        with_bounds=arguments.bounds,
    )
    ceilings = {str(variant): measure.ceilings(variant, **large) for kind, variant in kinds if kind == "jax"}
    run = {"versions": versions, "ceilings": ceilings, "cells": [cell for cell in cells if cell is not None]}
    _save(f"{name}.json", run)
    if machine.has("matplotlib"):
        report.plot(run, HERE / "results" / f"{name}.png")
    print(report.tables(run))
    return 1 if None in cells else 0


def _compile(arguments: argparse.Namespace) -> int:
    """Compile the grid for a GPU, and print and save what it is asked for."""
    device = arguments.compile_for
    dtypes = compiled.VARIANTS[:1] if arguments.variants == "one" else compiled.VARIANTS
    variants = [Variant(*one, channels) for one in dtypes for channels in arguments.layout]
    tasks = list(implementations.TASKS if "all" in arguments.tasks else arguments.tasks)
    cells = list(compiled.run(device, variants, tasks, arguments.only, arguments.sizes or "gpu"))
    versions = {**machine.versions(), **compiled.versions(device)}
    _save(
        f"{arguments.name or device}-programs.json", {"versions": versions, "about": compiled.ESTIMATE, "cells": cells}
    )
    print(f"{machine.line(versions)}\n\n{compiled.table(cells)}")
    return 1 if any("failed" in cell for cell in cells) else 0


def _save(name: str, run: dict[str, Any]) -> None:
    (HERE / "results").mkdir(exist_ok=True)
    (HERE / "results" / name).write_text(json.dumps(run, indent=1) + "\n")


if __name__ == "__main__":
    sys.exit(main())
