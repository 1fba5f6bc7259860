"""The grid: every workload in every task, layout and library, in several passes."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable, Iterator
from typing import Any

from . import bounds, implementations, measure, workloads
from .implementations import Prepared, Variant
from .machine import has
from .workloads import Workload

KINDS = ("jax", "numpy", "torch.eager", "torch.compile", "plain")
"""What `--library` selects; "torch" selects both of its kinds."""
# how products are computed: in the plain run, and all that JAX and torch can be asked for
PRECISIONS = [("float32", "highest"), ("float32", "default"), ("bfloat16", "default")]


def kinds(
    libraries: list[str], layouts: list[str], precisions: list[tuple[str, str]] = PRECISIONS[:1]
) -> list[tuple[str, Variant]]:
    """Return the kinds of cells for which everything is installed: a library, and a dtype, precision and layout."""
    chosen = []
    for kind in KINDS:
        library = kind.split(".")[0]
        if not {kind, library} & set(libraries) or (library in ("jax", "torch") and not has(library)):
            continue
        if kind == "plain":
            chosen.append((kind, implementations.PLAIN))
            continue
        for dtype, precision in precisions[:1] if kind == "numpy" else precisions:
            chosen += [(kind, Variant(dtype, precision, channels)) for channels in layouts]
    return chosen


def run(
    kinds: list[tuple[str, Variant]],
    tasks: list[str],
    only: list[str],
    sizes: str,
    *,
    seconds: float,
    passes: int,
    queued: bool,
    with_bounds: bool = False,
) -> list[dict[str, Any] | None]:
    """Return every cell; None for one that failed. With bounds, cells in JAX and NumPy have those of `bounds` besides."""
    cells: dict[Any, dict[str, Any] | None] = {}
    for number in range(passes):
        for kind, variant in kinds:
            for name, work, task, facts, start in _cells(kind, variant, sizes, tasks, only):
                named = {"library": kind, "variant": str(variant), "layout": variant.channels}
                named |= {"workload": name, "task": task}
                cell = cells.setdefault(tuple(named.values()), named | facts | {"implementations": {}})
                if cell is None:
                    continue
                try:
                    entries = start()
                    if number == 0:
                        measure.check(entries, variant)
                    if with_bounds and kind in ("jax", "numpy") and task in implementations.CONTRACTIONS:
                        entries |= bounds.prepared(work, task, kind, variant)
                    measure.add(cell["implementations"], entries, seconds, passes, queued=queued)
                except Exception:  # noqa: BLE001 (one cell must not lose the others)
                    cells[tuple(named.values())] = None
                    sys.stderr.write(f"{kind} {variant} {name} {task} failed:\n{traceback.format_exc()}\n")
                    continue
                times = ", ".join(f"{who} {took['ms']:.2f} ms" for who, took in cell["implementations"].items())
                sys.stderr.write(f"{number + 1} {kind:<13} {variant.channels:<5} {name:<28} {task:<15} {times}\n")
    return list(cells.values())


def _cells(
    kind: str, variant: Variant, sizes: str, tasks: list[str], only: list[str]
) -> Iterator[tuple[str, Workload | None, str, dict[str, Any], Callable[[], dict[str, Prepared]]]]:
    """Each cell: name and workload, task, its multiply-adds and bytes, and a function that prepares the implementations."""
    if kind == "plain":
        from . import plain_numpy

        for task, entries in plain_numpy.plain().items():
            yield plain_numpy.LAYER, None, task, {}, lambda entries=entries: entries
        return
    for work in workloads.load(only, batch=sizes, channels=variant.channels):
        if kind.startswith("torch") and variant.channels == "last" and work.ndim == 1:
            continue  # torch has no such memory format
        itemsize = 2 if variant.dtype == "bfloat16" else 4
        facts = {"multiply_adds": work.multiply_adds, "bytes": itemsize * work.elements}
        for task in tasks if kind == "jax" else [task for task in tasks if task in implementations.CONTRACTIONS]:
            yield work.name, work, task, facts, lambda work=work, task=task: entries_of(work, task, kind, variant)


def entries_of(work: Workload, task: str, kind: str, variant: Variant) -> dict[str, Prepared]:
    """The implementations of a cell, triconv's first; one whose library is not installed is left out."""
    prepared: dict[str, Prepared | None]
    if kind.startswith("torch"):
        from . import torch_implementations as with_torch

        compiled = kind == "torch.compile"
        if compiled:
            with_torch.forget_compiled()
        convs = {
            "triconv": with_torch.by_triconv(work, variant.precision),
            "torch": with_torch.by_functional(work),
        }
        return {
            name: with_torch.by_autograd(work, task, conv, variant, compiled=compiled) for name, conv in convs.items()
        }
    if kind == "numpy":
        prepared = {"triconv": implementations.in_numpy(work, task)}
    else:
        prepared = {
            "triconv": implementations.in_jax(work, task, implementations.by_triconv(work, variant.precision), variant),
            "lax": implementations.in_jax(work, task, implementations.by_lax(work, variant.precision), variant),
        }
    if has("torch"):
        from .torch_implementations import in_torch

        prepared["torch"] = in_torch(work, task, variant)
    return {name: entry for name, entry in prepared.items() if entry is not None}
