"""Timing in turn, and the check that comes before it."""

from __future__ import annotations

import statistics
import time
from typing import Any

import numpy as np

from .contestants import Entry

# of the largest element: results of float32 sums in different orders
TOLERANCE = 1e-4
# seconds for which the threads of a library may wait for more work without giving up their processor
SPINNING = 0.02


def check(entries: dict[str, Entry]) -> None:
    """Raise if the results of the contestants differ."""
    names = list(entries)
    first = entries[names[0]].result()
    for name in names[1:]:
        for a, b in zip(first, entries[name].result(), strict=True):
            error = np.max(np.abs(a - b)) / max(np.max(np.abs(a)), 1e-30)
            if a.shape != b.shape or not error <= TOLERANCE:
                msg = f"{names[0]} and {name} differ: {a.shape}, {b.shape}, {error:.1e} of the largest element"
                raise AssertionError(msg)


def medians(entries: dict[str, Entry], *, seconds: float, most: int = 50) -> dict[str, dict[str, Any]]:
    """Run the contestants in turn for about `seconds` each, three times at least, and return what each took.

    Before a timed run come some that are not: the threads of another library may still be spinning.
    """
    times: dict[str, list[float]] = {name: [] for name in entries}
    spent = dict.fromkeys(entries, 0.0)
    while waiting := [
        name for name in entries if len(times[name]) < 3 or (spent[name] < seconds and len(times[name]) < most)
    ]:
        for name in waiting:
            run = entries[name].run
            begin = start = time.perf_counter()
            run()
            if time.perf_counter() - begin < seconds or not times[name]:  # unless it is slow: then every run counts
                while time.perf_counter() - begin < SPINNING:
                    run()
                start = time.perf_counter()
                run()
            times[name].append(time.perf_counter() - start)
            spent[name] += times[name][-1]
    return {
        name: {
            "ms": statistics.median(taken) * 1e3,
            "runs": len(taken),
            "compile_s": entries[name].compile_seconds,
            "temporary_bytes": entries[name].temporary_bytes,
        }
        for name, taken in times.items()
    }
