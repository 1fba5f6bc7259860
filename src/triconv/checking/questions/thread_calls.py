"""The candidate, called from two threads at once with other numbers in each: whether each gets what it gets alone.

A function that keeps its scratch memory, its last input or a cache of results for all calls together does not. A module, a
layer and the methods of an object may keep what they like: such a thing is for one thread at a time, and is not asked. Nor is
a pair whose backward needs what its forward left.
"""

from __future__ import annotations

import importlib.machinery
import inspect
import sys
import threading
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from triconv.checking.candidates import framework_detection, modules
from triconv.checking.candidates.candidate import guarded
from triconv.checking.findings.causes import Cause
from triconv.checking.findings.memory_findings import DependsOnThread, SameInThreads
from triconv.checking.findings.protocol import RIGHT, WRONG, Kind, Proof, Question
from triconv.checking.findings.user_code import is_of_library
from triconv.checking.questions.interleaving import Point, WaitingError, Worker, points_of, spread, stopped_at, words_of
from triconv.checking.reports.report_data import ReportRow
from triconv.checking.verdicts.trial import Results, Trial, copied

MOST_STOPS, FEWEST_STOPS = 24, 4
"""Places at which a call stands still."""
SECONDS, SECONDS_AT_ONCE = 0.03, 0.2
"""Of the calls that run while another stands still, together; and of calls that run at once."""
MOST_ROUNDS = 1000
"""Calls of each thread that run at once."""
PATIENCE = 0.05
"""Seconds that a call may take, beyond twice what it takes alone, before it is said to wait for the one that stands still."""
LIMIT = 60.0
"""Seconds after which a thread is given up."""
BRIDGES = ("ctypes", "_ctypes", "cffi", "_cffi_backend")
"""Packages whose objects are functions in C, and libraries of them."""
COMPILED = tuple(importlib.machinery.EXTENSION_SUFFIXES)
FORWARD = ("forward", "__call__", "backward")
"""Methods of an object that may be a layer, whatever it is called."""

Copies = dict[Question, np.ndarray | None]


class Side(NamedTuple):
    """One of the two threads: what it asks, and what that gives alone."""

    worker: Worker
    ask: Callable[[], Copies]
    alone: Copies
    seconds: float


def rows(trial: Trial) -> list[ReportRow]:
    """Return the row of the question; none where it makes no sense."""
    if is_for_one_thread(trial.candidate):
        return []
    workers = Worker(trial.candidate.session), Worker(trial.candidate.session)
    try:
        for ask in trial.asks:
            fault = _fault(trial, ask, workers)
            if fault is not None:
                question = Question(Kind.THREADS, trial.value.role)
                return [ReportRow(question, WRONG, Proof.EXACT, fault, cause=Cause.SHARED_SCRATCH)]
    except Exception:  # noqa: BLE001 (what refuses other threads, or two at once, says so: it gives nothing wrong)
        return []
    finally:
        for worker in workers:
            worker.close()
    return [ReportRow(Question(Kind.THREADS, trial.value.role), RIGHT, Proof.EXACT, SameInThreads())]


def is_for_one_thread(candidate: Any) -> bool:
    """Whether a wrapped candidate is an object, or a function of one, which may keep what it likes from call to call."""
    if candidate.is_object or getattr(candidate, "shardings", ()):
        return True
    return any(_is_object(thing) for function in candidate.functions for thing in framework_detection.reach(function))


def _is_object(thing: Any) -> bool:
    if inspect.ismethod(thing):
        thing = thing.__self__
    elif modules.kind_of(thing):
        return True
    elif inspect.isroutine(thing) or not any(name in vars(kind) for kind in type(thing).__mro__ for name in FORWARD):
        return False
    if inspect.isclass(thing) or inspect.ismodule(thing):
        return False
    module = sys.modules.get(type(thing).__module__)
    file = getattr(module, "__file__", None)
    return module is not None and (file is not None or module.__name__ == "__main__") and not is_of_library(file or "")


def _fault(trial: Trial, ask: Callable[..., Results], workers: tuple[Worker, Worker]) -> DependsOnThread | None:
    """Return which result depends on the other thread; None if none does."""
    if ask != trial.ask_value and _remembers(trial):
        return None
    data = (trial.first, trial.g), (trial.second, trial.other_g)
    one, two = (_side(w, lambda a=a, g=g: copied(ask(a, g))) for w, (a, g) in zip(workers, data, strict=True))  # type: ignore[misc]
    if (fault := _while_it_stands_still(trial, one, two)) is not None:
        return fault
    return _at_once(trial, one, two) if is_compiled(trial.candidate) else None


def is_compiled(candidate: Any) -> bool:
    """Whether the candidate calls code in C, or the like, that is of no library which is known to take several threads."""
    return any(_is_foreign(thing) for function in candidate.functions for thing in framework_detection.reach(function))


def _is_foreign(thing: Any) -> bool:
    if inspect.ismodule(thing):
        return not is_well_known(thing.__name__) and str(getattr(thing, "__file__", "")).endswith(COMPILED)
    if type(thing).__module__.partition(".")[0] in BRIDGES:
        return True
    if inspect.isfunction(thing) or inspect.isclass(thing) or not callable(thing):
        return False
    holder = getattr(thing, "__self__", None)
    module = holder.__name__ if inspect.ismodule(holder) else getattr(thing, "__module__", None)
    file = getattr(sys.modules.get(module or ""), "__file__", None)
    return not is_well_known(module or "") and str(file or "").endswith(COMPILED)


def is_well_known(module: str) -> bool:
    """Whether a module is of Python or of a framework."""
    top = module.partition(".")[0]
    return top in framework_detection.NEUTRAL or top in framework_detection.PACKAGES


def _side(worker: Worker, ask: Callable[[], Copies]) -> Side:
    worker.start(ask)
    worker.result(LIMIT)  # what is done once, such as compiling, is done

    def run() -> tuple[Copies, float]:
        started = time.perf_counter()
        return ask(), time.perf_counter() - started

    worker.start(run)
    return Side(worker, ask, *worker.result(LIMIT))


def _while_it_stands_still(trial: Trial, one: Side, two: Side) -> DependsOnThread | None:
    """Stop the call of one thread at places of the user's code, and run that of the other there."""
    one.worker.start(lambda: points_of(one.ask))
    every = one.worker.result(LIMIT)
    if not every:
        return None
    points = spread(every, int(np.clip(SECONDS / max(two.seconds, 1e-6), FEWEST_STOPS, MOST_STOPS)))
    question = _differs(trial, one, two, points)
    if question is None:
        return None
    point = next((p for p in points if _differs(trial, one, two, [p]) is not None), points[0])
    return DependsOnThread(question, words_of(point))


def _differs(trial: Trial, one: Side, two: Side, points: list[Point]) -> Question | None:
    """Return which result is another one where the call of `one` stands still at these places."""
    waits = False
    answers: list[Copies] = []

    def meanwhile() -> bool:
        nonlocal waits
        two.worker.start(two.ask)
        try:
            answers.append(two.worker.result(2 * two.seconds + PATIENCE))
        except WaitingError:
            waits = True
        return not waits

    one.worker.start(lambda: stopped_at(points, one.ask, meanwhile))
    try:
        found = one.worker.result(LIMIT)
    except (LookupError, AttributeError, TypeError, ValueError):  # as it does not alone, and no refusal
        return next(iter(one.alone))
    if waits:
        answers.append(two.worker.result(LIMIT))
    pairs = [(found, one.alone), *((answer, two.alone) for answer in answers)]
    return next((q for result, alone in pairs for q in alone if trial.different(result[q], alone[q])), None)


def _at_once(trial: Trial, one: Side, two: Side) -> DependsOnThread | None:
    """Run the calls of both threads many times together: code that is not Python's can be stopped nowhere."""
    rounds = int(np.clip(SECONDS_AT_ONCE / max(one.seconds, two.seconds, 1e-6), 2, MOST_ROUNDS))
    start = threading.Barrier(2)

    def run(side: Side) -> Question | None:
        start.wait(LIMIT)
        results = [side.ask() for _ in range(rounds)]
        pairs = ((result, question) for result in results for question in side.alone)
        return next((q for result, q in pairs if trial.different(result[q], side.alone[q])), None)

    for side in (one, two):
        side.worker.start(lambda side=side: run(side))  # type: ignore[misc]
    found = [side.worker.result(LIMIT) for side in (one, two)]
    return next((DependsOnThread(question) for question in found if question is not None), None)


def _remembers(trial: Trial) -> bool:
    """Whether a backward needs what the last forward left: another forward in between changes what it gives."""
    try:
        ask = trial.candidate.after_another_forward
        found = guarded(lambda: {"all": ask(trial.first, trial.second, trial.g)}, trial.candidate.dtype, -1)()["all"]
    except Exception:  # noqa: BLE001 (it says itself that it is not asked in this order)
        return True
    if found is None:
        return False
    right = copied(trial.ask_vjps(trial.first, trial.g))
    return any(trial.different(found[n], right[question]) for n, question in trial.vjps.items())
