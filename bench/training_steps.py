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

# A network amplifies rounding, each by another factor. So its input is changed by a few roundings, and the gradient's change is
# measured: the two implementations may differ by a few times that, and by no more than `MOST` in any case. All are parts of the
# gradient's norm; a wrong derivative of one layer changes it by more.
NUDGE = 1e-6
TIMES = 10
LEAST, MOST = 1e-5, 1e-2
# compilations of each, in turn; the shorter one counts, since a machine that others use may be slow for a while
COMPILATIONS = 2
Prepare = Callable[[], tuple[dict[str, Prepared], list[np.ndarray]]]
NAMES = ("resnet18", "resnet50", "convnext", "mobilenetv2", "unet3d", "dcgan", "wavenet", "convlstm")


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


def _measured(row: dict[str, Any], prepare: Prepare, seconds: float) -> dict[str, Any]:
    try:
        entries, nudged = prepare()
        difference = check(entries, nudged)
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
    sys.stderr.write(
        f"{row['library']} {row['model']}, channels {row['layout']}: {times} (differ by {difference:.0e})\n"
    )
    return row | {"difference": difference, "implementations": implementations}


def check(entries: dict[str, Prepared], nudged: list[np.ndarray]) -> float:
    """Return by how much the losses and gradients differ, as a part of their norm; raise if it is more than rounding.

    `nudged` is the result of the last implementation for an input that differs by `NUDGE`.
    """
    (first, a), (second, b) = ((name, entry.result()) for name, entry in entries.items())
    loss = abs(float(a[0]) - float(b[0])) / abs(float(b[0]))
    error, tolerance = _apart(a[1:], b[1:]), min(MOST, max(LEAST, TIMES * _apart(nudged[1:], b[1:])))
    if not max(loss, error) <= tolerance:
        differences = f"the losses by {loss:.1e}, the gradients by {error:.1e}"
        msg = f"{first} and {second} differ by more than {tolerance:.1e}: {differences}"
        raise AssertionError(msg)
    return max(loss, error)


def _apart(left: list[np.ndarray], right: list[np.ndarray]) -> float:
    """Norm of the difference of two gradients, as a part of the second's norm."""
    difference = sum(float(np.sum(np.square(a - b, dtype=float))) for a, b in zip(left, right, strict=True))
    return (difference / sum(float(np.sum(np.square(b, dtype=float))) for b in right)) ** 0.5


def _in_flax(name: str) -> tuple[dict[str, Prepared], list[np.ndarray]]:
    import jax

    from . import flax_models

    jax.jit(lambda a: a + 1).lower(1.0).compile()  # what the first compilation in a process takes, neither has to bear
    entries: dict[str, Prepared] = {}
    steps = {
        who: flax_models.step(name, by) for who, by in (("triconv", flax_models.TRICONV), ("lax", flax_models.LAX))
    }
    for _ in range(COMPILATIONS):
        for who, (step, arguments) in steps.items():
            jax.clear_caches()
            start = time.perf_counter()
            compiled = jax.jit(partial(step)).lower(*arguments).compile()  # a function of its own has no cache
            took = time.perf_counter() - start
            entries[who] = Prepared(
                lambda _, compiled=compiled, arguments=arguments: compiled(*arguments),
                jax.block_until_ready,
                lambda compiled=compiled, arguments=arguments: _losses_and_gradients(compiled(*arguments)),
                min(took, entries[who].compile_seconds) if who in entries else took,
                getattr(compiled.memory_analysis(), "temp_size_in_bytes", None),
            )
    *state, x = arguments
    nudge = 1 + NUDGE * jax.random.normal(jax.random.key(2), x.shape)
    return entries, _losses_and_gradients(compiled(*state, x * nudge))


def _losses_and_gradients(result: Any) -> list[np.ndarray]:
    import jax

    (loss, _), gradients = result
    return [np.asarray(leaf) for leaf in (loss, *jax.tree.leaves(gradients))]


def _in_torch(name: str, layout: str) -> tuple[dict[str, Prepared], list[np.ndarray]]:
    import torch

    from . import torch_models
    from .torch_implementations import wait

    steps = {
        "triconv": torch_models.step(name, triconv.conv2d, layout),
        "torch": torch_models.step(name, torch.nn.functional.conv2d, layout),
    }

    def result(step: Callable[..., Any], **kwargs: float) -> list[np.ndarray]:
        return [a.cpu().numpy() for a in wait(step(**kwargs))]

    entries = {who: Prepared(lambda _, step=step: step(), wait, partial(result, step)) for who, step in steps.items()}
    return entries, result(steps["torch"], nudge=NUDGE)


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
