"""Measuring: the implementations are checked against each other, then timed in turn."""

from __future__ import annotations

import statistics
import time
from typing import Any

import numpy as np

from .implementations import Prepared, Variant

# largest difference between two results, as a part of the largest element: sums have different orders, and products may have
# fewer bits
TOLERANCE = {("float32", "highest"): 1e-4, ("float32", "default"): 1e-2, ("bfloat16", "default"): 5e-2}
# seconds: the threads of a library's pool spin at most this long before they give up their processor
SPINNING = 0.02
# seconds of work that is queued on an accelerator per timed run, so that it never waits for the host
QUEUED = 0.01


def check(entries: dict[str, Prepared], variant: Variant) -> None:
    """Raise if the results of the implementations differ."""
    names, tolerance = list(entries), TOLERANCE[variant.dtype, variant.precision]
    first = entries[names[0]].result()
    for name in names[1:]:
        for a, b in zip(first, entries[name].result(), strict=True):
            error = np.max(np.abs(a - b)) / max(np.max(np.abs(a)), 1e-30)
            if a.shape != b.shape or not error <= tolerance:
                msg = f"{names[0]} and {name} differ: {a.shape}, {b.shape}, {error:.1e} of the largest element"
                raise AssertionError(msg)


def times(
    entries: dict[str, Prepared], *, seconds: float, min_runs: int = 3, max_runs: int = 50, queued: bool = False
) -> dict[str, list[float]]:
    """Run the implementations in turn for about `seconds` each, and return the seconds that each run took.

    Another one begins each time: what runs after a large neighbour finds other things in the caches. Untimed runs precede a
    timed one, since the threads of another library may still be spinning. On an accelerator (`queued`)
    a timed run queues several calls, on different sets of operands, and waits once: this measures the device and not the host.
    """
    taken: dict[str, list[float]] = {name: [] for name in entries}
    spent, rounds = dict.fromkeys(entries, 0.0), 0
    counts = {name: _count(entry) if queued else 1 for name, entry in entries.items()}
    while waiting := [
        name
        for name in entries
        if len(taken[name]) < min_runs or (spent[name] < seconds and len(taken[name]) < max_runs)
    ]:
        first = rounds % len(waiting)
        rounds += 1
        for name in waiting[first:] + waiting[:first]:
            entry, count = entries[name], counts[name]
            begin = start = time.perf_counter()
            entry.wait(entry.start(0))
            if time.perf_counter() - begin < seconds or not taken[name]:  # unless it is slow: then every run counts
                while time.perf_counter() - begin < SPINNING:
                    entry.wait(entry.start(0))
                start = time.perf_counter()
                entry.wait([entry.start(number) for number in range(count)])
            else:
                count = 1
            taken[name].append((time.perf_counter() - start) / count)
            spent[name] += taken[name][-1] * count
    return taken


def add(
    cell: dict[str, dict[str, Any]], entries: dict[str, Prepared], seconds: float, passes: int, *, queued: bool = False
) -> None:
    """Time one pass over the grid and add it to the cell; its time is the median of the medians of the passes."""
    for name, taken in times(entries, seconds=seconds / passes, min_runs=-(-3 // passes), queued=queued).items():
        before, entry = cell.get(name, {"ms_of_passes": [], "runs": 0}), entries[name]
        medians = [*before["ms_of_passes"], round(statistics.median(taken) * 1e3, 4)]
        cell[name] = {
            "ms": statistics.median(medians),
            "ms_of_passes": medians,
            "runs": before["runs"] + len(taken),
            "compile_s": before.get("compile_s", entry.compile_seconds),  # later passes may find caches filled
            "temporary_bytes": entry.temporary_bytes,
        }


def _count(entry: Prepared) -> int:
    """Number of calls to queue: they take `QUEUED` seconds, but hold at most 32 results in memory."""
    entry.wait(entry.start(0))
    start = time.perf_counter()
    entry.wait(entry.start(0))
    return max(1, min(32, int(QUEUED / (time.perf_counter() - start))))


def ceilings(variant: Variant, *, size: int, bytes_: int) -> dict[str, float]:
    """Return the limits of the device: multiply-adds per second of a large product, bytes per second of a large copy."""
    import jax

    a = jax.numpy.ones((size, size), variant.dtype)
    b = jax.numpy.ones(bytes_ // 4, "float32")
    product = jax.jit(lambda a: jax.lax.dot(a, a, precision=variant.precision))
    copy = jax.jit(lambda b: b + 1)
    entries = {
        name: Prepared(lambda _, f=f, o=o: f(o), jax.block_until_ready, list)
        for name, f, o in (("product", product, a), ("copy", copy, b))
    }
    queued = a.device.platform != "cpu"
    took = {
        name: statistics.median(times({name: entry}, seconds=0.3, queued=queued)[name])
        for name, entry in entries.items()
    }
    return {"multiply_adds": size**3 / took["product"], "bytes": 2 * bytes_ / took["copy"]}
