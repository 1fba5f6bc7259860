"""Two calls in two threads, of which one runs while the other stands still in the middle of its Python code.

A race is seen by chance, and a call that stands still is seen each time. The first call is traced in its own thread
(`sys.settrace` is a thread's own), it stops at some of its lines and calls, and the second runs from start to end there. A call
that waits for the first, as for a lock, is let go on. Nothing that other threads see is changed.
"""

from __future__ import annotations

import contextvars
import dis
import os
import queue
import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

from triconv.checking.findings.user_code import is_users

MOST_EVENTS = 5000
"""Events of a call that are looked at; a loop over elements has more, of which the rest are the same lines again."""
STEPS = ("CALL", "STORE_SUBSCR", "STORE_SLICE", "STORE_GLOBAL", "STORE_ATTR")
"""Instructions after which a call may stand still within a line: each may leave something for later instructions."""

Point = tuple[CodeType, int]
"""A place in code: the code object and the offset of an instruction."""

_INTERESTING = frozenset(number for name, number in dis.opmap.items() if name.startswith(STEPS))


class WaitingError(Exception):
    """There was no answer in time."""


class Worker:
    """A thread that runs one function after the other.

    Parameters
    ----------
    session : callable
        Makes the context in which all of them run.
    """

    def __init__(self, session: Callable[[], AbstractContextManager[Any]]) -> None:
        self._session = session
        self._questions: queue.SimpleQueue[Callable[[], Any] | None] = queue.SimpleQueue()
        self._answers: queue.SimpleQueue[tuple[Any, BaseException | None]] = queue.SimpleQueue()
        context = contextvars.copy_context()
        threading.Thread(target=context.run, args=(self._work,), daemon=True).start()

    def start(self, run: Callable[[], Any]) -> None:
        """Have a function run."""
        self._questions.put(run)

    def result(self, seconds: float) -> Any:
        """Return what the function returned.

        Raises
        ------
        WaitingError
            If it does not within this time.
        """
        try:
            value, problem = self._answers.get(timeout=seconds)
        except queue.Empty:
            raise WaitingError from None
        if isinstance(problem, Exception):
            raise problem
        if problem is not None:  # SystemExit is not meant for this thread
            raise RuntimeError(type(problem).__name__) from problem
        return value

    def close(self) -> None:
        """End the thread after what it runs."""
        self._questions.put(None)

    def _work(self) -> None:
        own = os.getpid()
        with self._session():
            while (run := self._questions.get()) is not None:
                try:
                    answer: tuple[Any, BaseException | None] = run(), None
                except BaseException as problem:  # noqa: BLE001 (it is raised by who waits for the result)
                    answer = None, problem
                if os.getpid() != own:  # a copy that the candidate made of this process, in which nobody waits
                    os._exit(0)
                self._answers.put(answer)


def points_of(call: Callable[[], Any]) -> list[Point]:
    """Return the places in the user's code at which a call may stand still, in the order in which it reaches them."""
    found: dict[Point, None] = {}
    _traced(call, lambda frame: found.setdefault((frame.f_code, frame.f_lasti)))
    return list(found)


def stopped_at(points: Sequence[Point], call: Callable[[], Any], meanwhile: Callable[[], bool]) -> Any:
    """Run a call that stands still at each of these places, the first time that it is there, while something else runs.

    Parameters
    ----------
    points : sequence of Point
        The places.
    call : callable
        The call.
    meanwhile : callable
        What runs meanwhile; False if the call shall stand still no more.
    """
    left = set(points)

    def at(frame: FrameType) -> None:
        point = frame.f_code, frame.f_lasti
        if point in left:
            left.discard(point)
            if not meanwhile():
                left.clear()

    return _traced(call, at)


def spread(points: Sequence[Point], most: int) -> list[Point]:
    """Return so many of the places at most, evenly spread over the call."""
    if len(points) <= most:
        return list(points)
    return [points[(2 * n + 1) * len(points) // (2 * most)] for n in range(most)]


def words_of(point: Point) -> str:
    """Return where a place is, such as "mine.py:12, in conv"."""
    code, offset = point
    lines = (line for start, end, line in code.co_lines() if start <= offset < end and line is not None)
    return f"{Path(code.co_filename).name}:{next(lines, code.co_firstlineno)}, in {code.co_name}"


def _traced(call: Callable[[], Any], at: Callable[[FrameType], Any]) -> Any:
    """Run a call, and see each line of the user's code before it, and each place in a line after a call or a store."""
    codes: dict[CodeType, bytes] = {}
    before: dict[FrameType, int] = {}
    left = MOST_EVENTS

    def entered(frame: FrameType, *_: Any) -> Any:
        if not is_users(frame.f_code.co_filename):
            return None
        frame.f_trace_opcodes = True
        return inside

    def inside(frame: FrameType, event: str, _: Any) -> Any:
        nonlocal left
        left -= 1
        if left <= 0:
            sys.settrace(None)
            return None
        code = frame.f_code
        if event == "opcode":
            if code not in codes:
                codes[code] = code.co_code
            if before.get(frame) in _INTERESTING:
                at(frame)
            before[frame] = codes[code][frame.f_lasti]
        elif event in ("line", "return"):
            at(frame)
        if event == "return":
            before.pop(frame, None)
        return inside

    sys.settrace(entered)
    try:
        return call()
    finally:
        sys.settrace(None)
