"""Training steps of whole models: the framework's convolution against triconv's, nothing else exchanged.

A step is a forward and the gradients of all parameters. The optimizer's update is left out: it has no convolution.
"""

from __future__ import annotations

import statistics
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np

import triconv

from . import measure
from .implementations import Prepared
from .machine import has

# the largest difference of two gradients, in the norm and as a part of the norm: rounding, through dozens of layers
TOLERANCE = 1e-3
NAMES = ("resnet18", "resnet50", "convnext", "mobilenetv2", "unet3d", "dcgan", "wavenet")


def run(only: list[str], libraries: list[str], layouts: list[str], seconds: float) -> Iterator[dict[str, Any]]:
    """Measure the steps; where one fails, or the two differ, its row says so and the others are measured.

    Parameters
    ----------
    only : list of str
        Models whose names contain one of these; all, if there is none.
    libraries : list of str
        Of "jax" and "torch"; one that is not installed is left out.
    layouts : list of {"first", "last"}
        Where the channels are, in torch; Flax has them last.
    seconds : float
        For each of the two implementations.

    Yields
    ------
    dict
        The library, the layout, the model, and milliseconds, seconds to compile and temporary bytes of both.
    """
    chosen = [name for name in NAMES if not only or any(part in name for part in only)]
    if "jax" in libraries and has("jax", "flax"):
        for name in chosen:
            row = {"library": "Flax", "layout": "last", "model": name}
            yield _measured(row, partial(_in_flax, name), seconds)
    if "torch" in libraries and has("torch"):
        from . import torch_models

        for layout in layouts:
            for name in (name for name in chosen if name in torch_models.MODELS):
                row = {"library": "torch", "layout": layout, "model": name}
                yield _measured(row, partial(_in_torch, name, layout), seconds)


def _measured(row: dict[str, Any], prepare: Callable[[], dict[str, Prepared]], seconds: float) -> dict[str, Any]:
    try:
        entries = prepare()
        check(entries)
        taken = measure.times(entries, seconds=seconds, min_runs=5)
    except Exception:  # noqa: BLE001 (one model must not lose the others)
        sys.stderr.write(f"{row['library']} {row['model']} failed:\n{traceback.format_exc()}\n")
        return row | {"failed": True}
    implementations = {
        name: {
            "ms": statistics.median(taken[name]) * 1e3,
            "runs": len(taken[name]),
            "compile_s": entry.compile_seconds or None,
            "temporary_bytes": entry.temporary_bytes,
        }
        for name, entry in entries.items()
    }
    times = ", ".join(f"{name} {took['ms']:.1f} ms" for name, took in implementations.items())
    sys.stderr.write(f"{row['library']} {row['model']}, channels {row['layout']}: {times}\n")
    return row | {"implementations": implementations}


def check(entries: dict[str, Prepared]) -> None:
    """Raise if the losses or the gradients differ by more than rounding."""
    (first, a), (second, b) = ((name, entry.result()) for name, entry in entries.items())
    loss = abs(float(a[0]) - float(b[0])) / max(abs(float(a[0])), 1e-30)
    norm = sum(float(np.sum(np.square(left, dtype=float))) for left in a[1:])
    apart = sum(float(np.sum(np.square(left - right, dtype=float))) for left, right in zip(a[1:], b[1:], strict=True))
    error = (apart / max(norm, 1e-30)) ** 0.5
    if not max(loss, error) <= TOLERANCE:
        msg = f"{first} and {second} differ: the losses by {loss:.1e}, the gradients by {error:.1e} of their norm"
        raise AssertionError(msg)


def _in_flax(name: str) -> dict[str, Prepared]:
    import jax

    from . import flax_models

    jax.jit(lambda a: a + 1).lower(1.0).compile()  # what the first compilation in a process takes, neither has to bear
    entries = {}
    for who, by in (("triconv", flax_models.TRICONV), ("lax", flax_models.LAX)):
        step, arguments = flax_models.step(name, by)
        start = time.perf_counter()
        compiled = jax.jit(step).lower(*arguments).compile()
        took = time.perf_counter() - start
        entries[who] = Prepared(
            lambda _, compiled=compiled, arguments=arguments: compiled(*arguments),
            jax.block_until_ready,
            lambda compiled=compiled, arguments=arguments: _losses_and_gradients(compiled(*arguments)),
            took,
            getattr(compiled.memory_analysis(), "temp_size_in_bytes", None),
        )
    return entries


def _losses_and_gradients(result: Any) -> list[np.ndarray]:
    import jax

    (loss, _), gradients = result
    return [np.asarray(leaf) for leaf in (loss, *jax.tree.leaves(gradients))]


def _in_torch(name: str, layout: str) -> dict[str, Prepared]:
    import torch

    from . import torch_models
    from .torch_implementations import wait

    steps = {
        "triconv": torch_models.step(name, triconv.conv2d, layout),
        "torch": torch_models.step(name, torch.nn.functional.conv2d, layout),
    }
    return {
        who: Prepared(
            lambda _, step=step: step(),
            wait,
            lambda step=step: [a.cpu().numpy() for a in wait(step())],
        )
        for who, step in steps.items()
    }


def table(rows: list[dict[str, Any]]) -> str:
    """Step times, seconds to trace and compile, and temporary memory: theirs, triconv's, and theirs / triconv's."""
    head = ["training step"]
    head += [f"{what}: {who}" for what in ("ms", "compile, s", "MiB") for who in ("framework", "triconv", "ratio")]
    lines = ["| " + " | ".join(head) + " |", "|---" + "|---:" * (len(head) - 1) + "|"]
    for row in rows:
        words = [f"{row['library']}, channels {row['layout']}: {row['model']}"]
        if "failed" in row:
            lines.append("| " + " | ".join([*words, "failed", *[""] * (len(head) - 2)]) + " |")
            continue
        ours, theirs = row["implementations"].values()
        for key, unit, form in (("ms", 1, "{:.1f}"), ("compile_s", 1, "{:.1f}"), ("temporary_bytes", 2**20, "{:.0f}")):
            if theirs[key] and ours[key]:
                ratio = theirs[key] / ours[key]
                words += [form.format(theirs[key] / unit), form.format(ours[key] / unit), f"{ratio:.2f}"]
            else:
                words += ["-"] * 3
        lines.append("| " + " | ".join(words) + " |")
    return "\n".join(lines)
