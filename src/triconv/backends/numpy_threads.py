"""Jobs of NumPy on several threads: NumPy's loops and its small products each run on one, and release the interpreter's lock.

What a job computes does not depend on the thread that runs it, nor on how many there are. Products that BLAS puts on several
threads itself gain nothing here.
"""

from __future__ import annotations

import contextlib
import contextvars
import functools
import itertools
import os
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor, wait
from typing import Any

# bytes that are written in a piece of an array: smaller ones take less time than to start a thread
PIECE_BYTES = 2**19
# threads that are ever used: what is computed on is read from memory, which more do not make faster
MOST = 16

# whether the code that runs is a job itself, whose own jobs it runs one after the other
_IN_JOB: contextvars.ContextVar[bool] = contextvars.ContextVar("in_job", default=False)


def count() -> int:
    """Number of threads: ``OMP_NUM_THREADS``, or as many as there are processors."""
    asked = os.environ.get("OMP_NUM_THREADS", "").split(",")[0].strip()
    if asked.isdecimal() and int(asked):
        return min(int(asked), MOST)
    available = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(available, MOST)


@functools.cache
def _pool(size: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(size, thread_name_prefix="triconv")


if hasattr(os, "register_at_fork"):  # the threads of a pool are not there in a child
    os.register_at_fork(after_in_child=_pool.cache_clear)


def run(job: Callable[[Any], object], items: Iterable[Any]) -> None:
    """``job(item)`` for every item, in any order; each sees the context variables of the caller, NumPy's errors among them.

    Raises
    ------
    Exception
        Of the jobs that failed, what the first raised. No job starts after one has failed.
    """
    items = list(items)
    helpers = 0 if _IN_JOB.get() else min(count(), len(items)) - 1
    if helpers < 1:
        for item in items:
            job(item)
        return
    left, lock, failed = iter(enumerate(items)), threading.Lock(), list[tuple[int, BaseException]]()

    def work() -> None:
        _IN_JOB.set(True)
        while not failed:
            with lock:
                number, item = next(left, (-1, None))
            if number < 0:
                return
            try:
                job(item)
            except BaseException as problem:  # noqa: BLE001 (it is raised below, by the thread of the caller)
                failed.append((number, problem))

    contexts = [contextvars.copy_context() for _ in range(helpers + 1)]
    futures = []
    with contextlib.suppress(RuntimeError):  # where the interpreter ends, it starts no thread any more
        futures = [_pool(count() - 1).submit(context.run, work) for context in contexts[1:]]
    contexts[0].run(work)
    wait(futures)
    if failed:
        raise min(failed, key=lambda entry: entry[0])[1]


def assign(out: Any, a: Any) -> None:
    """``out[...] = a``, an array of the same shape, in pieces on threads."""
    if out.nbytes < 2 * PIECE_BYTES:
        out[...] = a
    else:
        _in_pieces(_assign, out, a)


def add(out: Any, a: Any) -> None:
    """``out += a`` likewise."""
    if out.nbytes < 2 * PIECE_BYTES:
        out += a
    else:
        _in_pieces(_add, out, a)


def _assign(out: Any, a: Any) -> None:
    out[...] = a


def _add(out: Any, a: Any) -> None:
    out += a


def _in_pieces(f: Callable[[Any, Any], None], out: Any, a: Any) -> None:
    """``f(out, a)`` of pieces along the axis with the longest step in memory."""
    pieces = out.nbytes // PIECE_BYTES
    axis = max(range(out.ndim), key=lambda axis: (out.shape[axis] > 1, abs(out.strides[axis])))
    length = out.shape[axis]
    ends = [length * i // min(pieces, length) for i in range(min(pieces, length) + 1)]
    front = (slice(None),) * axis

    def job(ends: tuple[int, int]) -> None:
        piece = (*front, slice(*ends))
        f(out[piece], a[piece])

    run(job, itertools.pairwise(ends))
