"""Whether a call draws from the global random generators, or seeds them.

Other threads may draw at the same time, so what is seen once proves nothing: a call is blamed if it is seen each time, and
never while nothing is called. To see a call that seeds, a number is drawn before it, and taken back if nobody else drew. This
is done only where the code names what seeds, since it would change what another thread draws.
"""

from __future__ import annotations

import random
import sys
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from triconv.checking.candidates import framework_detection

TIMES = 3
_LOCK = threading.RLock()
"""Held by one check at a time: two that draw in step would blame each other's candidates."""
SEEDING = {"seed", "manual_seed", "manual_seed_all", "setstate", "set_state", "set_rng_state", "fork_rng"}
"""Attributes that code names where it seeds a generator."""


class Used(NamedTuple):
    """Names of generators, and whether they are seeded."""

    names: tuple[str, ...]
    seeds: bool


class _Generator(NamedTuple):
    name: str
    state: Callable[[], Any]
    draw: Callable[[], Any]
    restore: Callable[[Any], Any]


def _generators() -> list[_Generator]:
    def state() -> Any:
        kind, key, *rest = np.random.get_state()  # noqa: NPY002 (the global one is meant)
        return (kind, np.asarray(key).tobytes(), *rest)

    def restore(saved: Any) -> None:
        kind, key, *rest = saved
        np.random.set_state((kind, np.frombuffer(key, np.uint32), *rest))  # noqa: NPY002

    found = [
        _Generator("random", random.getstate, random.random, random.setstate),
        _Generator("numpy.random", state, np.random.random_sample, restore),
    ]
    torch = sys.modules.get("torch")
    if torch is not None:
        found.append(
            _Generator(
                "torch's generator",
                lambda: torch.get_rng_state().numpy().tobytes(),
                lambda: torch.rand(1),
                lambda saved: torch.set_rng_state(torch.frombuffer(bytearray(saved), dtype=torch.uint8)),
            )
        )
    return found


def used(call: Callable[[], Any], functions: Sequence[Any]) -> Used:
    """Return the generators that each run of `call` uses.

    Parameters
    ----------
    call : callable
        Runs the candidate.
    functions : sequence
        What the user wrote.
    """
    may_seed = any(framework_detection.names_any(function, SEEDING) for function in functions)
    with _LOCK:
        return _used(call, may_seed=may_seed)


def draws(call: Callable[[], Any]) -> bool:
    """Whether NumPy's global generator is another one after a call."""
    (numpy,) = (generator for generator in _generators() if generator.name == "numpy.random")
    before = numpy.state()
    call()
    return bool(numpy.state() != before)


def seeded(call: Callable[[], Any]) -> Any:
    """Return what a call gives that draws from NumPy's global generator, each time the same.

    That generator is of all threads, and the call draws from it anyway: it is seeded for one such call at a time, and put back.
    """
    (numpy,) = (generator for generator in _generators() if generator.name == "numpy.random")
    with _LOCK:
        before = numpy.state()
        np.random.seed(0)  # noqa: NPY002
        try:
            return call()
        finally:
            numpy.restore(before)


def _used(call: Callable[[], Any], *, may_seed: bool) -> Used:
    every = _generators()
    suspected = set(range(len(every)))
    ends: dict[int, list[Any]] = {n: [] for n in suspected}
    for _ in range(TIMES):
        before = {n: every[n].state() for n in suspected}
        for n in suspected if may_seed else ():
            every[n].draw()
        drawn = {n: every[n].state() for n in suspected}
        started = time.perf_counter()
        try:
            call()
        finally:
            took = time.perf_counter() - started
            after = {n: every[n].state() for n in suspected}
            for n in suspected if may_seed else ():
                if after[n] == drawn[n]:
                    every[n].restore(before[n])
        suspected = {n for n in suspected if after[n] != drawn[n]}
        suspected = {n for n in suspected if not _changes_alone(every[n], took)}
        if not suspected:
            return Used((), seeds=False)
        for n in suspected:
            ends[n].append(after[n])
    seeds = all(len(set(map(hash, map(_plain, ends[n])))) == 1 for n in suspected)
    return Used(tuple(every[n].name for n in sorted(suspected)), seeds)


def _changes_alone(generator: _Generator, seconds: float) -> bool:
    """Whether somebody else draws while nothing is called for as long as a call takes."""
    before = generator.state()
    time.sleep(seconds)
    return bool(generator.state() != before)


def _plain(state: Any) -> Any:
    return state if isinstance(state, (bytes, tuple)) else repr(state)
