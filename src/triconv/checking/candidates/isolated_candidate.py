"""Checking a candidate that runs in a process of its own, which sees neither the right answers nor the checker.

The checker holds the right answers and judges; the candidate's process imports the candidate, is handed arrays, and sends back
the numbers of its results (see `wire`). So a candidate that looks at the stack, replaces functions of triconv or NumPy,
searches the objects in memory, or ends its process cannot pass; one that crashes or hangs leaves a row that says so.

That is protection against what code does by mistake or to look right, not a jail: the process has the user's rights. A program
that writes into triconv's files, or into the memory of other processes, is not stopped. Run it under another user for that.
"""

from __future__ import annotations

import functools
import inspect
import io
import os
import pickle
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from typing import Any, ParamSpec

from triconv.backends import BACKENDS
from triconv.checking.candidates.candidate import CandidateFunction
from triconv.checking.candidates.candidate_process import MARK, CandidateProcess, ProcessEndedError
from triconv.checking.candidates.unsupported import Unsupported
from triconv.checking.findings.causes import Cause
from triconv.checking.findings.exception_text import CaughtException, EndedProcess, one_line
from triconv.checking.findings.protocol import UNCHECKED, Kind, Proof, Question
from triconv.checking.findings.unanswered import NotSupported, Raised
from triconv.checking.reports.report import Report
from triconv.checking.reports.report_data import ReportRow

P = ParamSpec("P")

MOST_STARTS = 3
"""Processes that are started for one candidate whose questions crash."""
BUILTIN = {kind.__name__: kind for kind in (ValueError, TypeError, ImportError)}
"""What the checker itself raises about a candidate, in its process too."""


@dataclass(frozen=True)
class Isolation:
    """How a candidate runs in a process of its own.

    Parameters
    ----------
    timeout : float, optional
        Seconds after which the process is ended and what is not answered is "unchecked"; by default there is no limit.
    memory : int, optional
        Bytes of address space that the process may take, where the system has ``RLIMIT_AS`` (Linux). JAX and torch alone take
        several GiB of it, most of which is never used.
    """

    timeout: float | None = None
    memory: int | None = None

    def __post_init__(self) -> None:
        for name, value in (("timeout", self.timeout), ("memory", self.memory)):
            if value is not None and (isinstance(value, bool) or not isinstance(value, (int, float)) or not value > 0):
                msg = f"`{name}` must be a positive number, got {value!r}"
                raise ValueError(msg)
        if self.memory is not None and sys.platform != "linux":
            msg = f"`memory` must be left out on a system without RLIMIT_AS, got {self.memory!r} on {sys.platform}"
            raise ValueError(msg)


class RaisedThereError(Exception):
    """The candidate raised in its process; `caught` says what."""

    def __init__(self, caught: CaughtException) -> None:
        super().__init__(caught)
        self.caught = caught


class RemoteTarget:
    """A candidate in a process of its own, by what names it.

    Parameters
    ----------
    target : str
        ``path/to/file.py:name`` or ``package.module:name``, as in the command line.
    limits : Isolation
        Time and memory.
    """

    def __init__(self, target: str, limits: Isolation) -> None:
        self.target, self.limits = target, limits
        self.deadline = None if limits.timeout is None else time.monotonic() + limits.timeout
        self.starts = 0
        self._process: CandidateProcess | None = None
        self.__name__ = ""
        self._start()

    def run(self, function: Callable[..., Any], /, *args: Any, **keywords: Any) -> Any:
        """Return what a function of the checker returns there; this object stands for the candidate.

        Raises
        ------
        ValueError, TypeError, ImportError
            What it raises about the candidate.
        ProcessEndedError, RaisedThereError, Unsupported
            If there is no answer.
        """
        if self._process is not None and self._process.end is not None and self._may_start:
            self._start()
        question = _pickled((function, args, keywords))
        return self._told(self._asked(question, lambda said: self._made(said, question)), is_check=True)

    def ask(self, question: bytes) -> Any:
        """Return the answer to a question that is pickled."""
        return self._told(self._asked(question, lambda said: self._made(said, question)), is_check=False)

    @property
    def generation(self) -> int:
        """Number of processes that were started: what an earlier one keeps is lost."""
        return self.starts

    def again(self) -> bool:
        """Start another process if the last has ended, and it may have been one question's fault; whether one is there."""
        if self._process is not None and self._process.end is None:
            return True
        if self._may_start:
            self._start()
            return True
        return False

    def close(self) -> None:
        """End the process."""
        if self._process is not None:
            self._process.close()

    @property
    def _may_start(self) -> bool:
        is_over = self.deadline is not None and time.monotonic() > self.deadline
        return self.starts < MOST_STARTS and not is_over

    def _start(self) -> None:
        self.close()
        self.starts += 1
        self._making: Callable[[Any], Any] = _itself
        self._process = CandidateProcess(
            self.deadline,
            self.limits.timeout,
            self.limits.memory,
            lambda said: self._making(said),  # noqa: PLW0108 (which changes)
        )
        try:
            question = _pickled(("import", (self.target,), {}))
            self.__name__ = str(self._told(self._asked(question, _itself), is_check=True))
        except ProcessEndedError as problem:
            self._process.close()
            if self.starts > 1:  # what was asked is no fault of the file, which was imported before
                raise
            msg = f"`target`: {self.target} could not be imported: {problem}"
            raise ImportError(msg) from None
        except BaseException as problem:
            self._process.close()
            if self.starts > 1 and isinstance(problem, Exception):
                end = EndedProcess("EndedProcess", f"imported again, {one_line(problem)}", is_garbled=True)
                self._process.end = end
                raise ProcessEndedError(end) from None
            raise

    def _asked(self, question: bytes, making: Callable[[Any], Any]) -> Any:
        assert self._process is not None
        self._making = making
        return self._process.ask(question)

    def _told(self, answer: Any, *, is_check: bool) -> Any:
        match answer:
            case {"value": value}:
                return value
            case {"unsupported": NotSupported() as finding}:
                raise Unsupported(finding)
            case {"memory": _}:
                end = EndedProcess("EndedProcess", "", memory=self.limits.memory or 0)
                raise ProcessEndedError(end)
            case {"raised": CaughtException() as caught, "kinds": list() as kinds, "words": str() as words}:
                kind = next((BUILTIN[name] for name in kinds if name in BUILTIN), None)
                if is_check and kind is not None:
                    raise kind(words)
                raise RaisedThereError(caught)
        msg = "an answer must be a value or an exception"
        raise ProcessEndedError(EndedProcess("EndedProcess", msg, is_garbled=True))

    def _made(self, said: Any, question: bytes) -> IsolatedCandidate:
        return IsolatedCandidate(self, question, dict(said))


def checked(answer: Any, *kinds: type) -> Any:
    """Return an answer that is of this kind; for several kinds, a tuple that begins with things of them.

    Raises
    ------
    ProcessEndedError
        If it is another answer: the candidate may have sent it.
    """
    parts = answer if len(kinds) > 1 and isinstance(answer, tuple) else (answer,)
    if len(parts) < len(kinds) or not all(map(isinstance, parts, kinds)):
        msg = f"an answer must be of {', '.join(kind.__name__ for kind in kinds)}, got {type(answer).__name__}"
        raise ProcessEndedError(EndedProcess("EndedProcess", msg, is_garbled=True))
    return answer


class IsolatedCandidate(CandidateFunction):
    """A wrapped candidate that is in another process: each of its methods asks there.

    Parameters
    ----------
    remote : RemoteTarget
        The process.
    made_by : bytes
        The question that made it, which makes it again in the next process.
    said : dict
        What it says of itself: its number, the library, and attributes.
    """

    def __init__(self, remote: RemoteTarget, made_by: bytes, said: dict[str, Any]) -> None:
        given = {**said["said"]}
        own, read_off = tuple(given.pop("own", ())), dict(given.pop("read_off", {}))
        backend = BACKENDS[said["library"]].load()
        super().__init__(_asked_there, backend, str(given.pop("dtype")), {}, own=own, read_off=read_off)
        for name, value in given.items():
            if name.isidentifier() and not name.startswith("_") and not callable(getattr(type(self), name, None)):
                setattr(self, name, value)
        self.remote, self.made_by, self.number = remote, made_by, int(said["number"])
        self.generation = remote.generation

    def __getattribute__(self, name: str) -> Any:
        method = getattr(CandidateFunction, name, None)
        if name.startswith("__") or name == "session" or not callable(method):
            return super().__getattribute__(name)
        return functools.partial(self._ask, name)

    def session(self) -> Any:
        """Nothing: each answer is computed in a session there."""
        return nullcontext()

    def run(self, function: Callable[..., Any], *args: Any) -> Any:
        """Return what a function of the checker returns there, for this candidate and more arguments."""
        return self.remote.run(function, self, *args)

    def _ask(self, name: str, *args: Any, **keywords: Any) -> Any:
        self.there()
        return self.remote.ask(_pickled((_Method(name), (self, *args), keywords)))

    def there(self) -> int:
        """Return its number, after it is made again where its process has ended."""
        if not self.remote.again():
            return self.number  # asked, it raises why
        if self.generation != self.remote.generation:
            again = self.remote.ask(self.made_by)
            again = again[0] if isinstance(again, tuple) else again
            self.number, self.generation = again.number, self.remote.generation
        return self.number


class _Method:
    """Stands for a method, by its name."""

    def __init__(self, name: str) -> None:
        self.name = name


class _Writer(pickle.Pickler):
    """Writes a question: the candidate is named, not sent."""

    def persistent_id(self, thing: Any) -> Any:
        """Return the name of what is in the candidate's process."""
        if isinstance(thing, RemoteTarget):
            return ("target",)
        if isinstance(thing, _Method):
            return ("method", thing.name)
        if isinstance(thing, IsolatedCandidate):
            return ("wrapped", thing.there(), thing.device)
        return None


def _itself(said: Any) -> Any:
    return said


def _asked_there(*_: Any) -> Any:
    msg = "the candidate is in another process"
    raise TypeError(msg)


def _pickled(question: Any) -> bytes:
    file = io.BytesIO()
    try:
        _Writer(file).dump(question)
    except (pickle.PicklingError, AttributeError, TypeError) as problem:
        msg = f"`isolate` must come with arguments that can be sent to another process: {problem}"
        raise TypeError(msg) from None
    return file.getvalue()


# ---- what `check` does with it


def can_isolate(check: Callable[P, Report]) -> Callable[P, Report]:
    """Have a function whose first argument is a candidate, and the second perhaps an operator, mean its keyword `isolate`."""
    first = next(iter(inspect.signature(check).parameters))

    @functools.wraps(check)
    def run(*args: P.args, **keywords: P.kwargs) -> Report:
        isolate = keywords.pop("isolate", False)
        if not isolate or not (args or first in keywords):
            return check(*args, **keywords)
        candidate, *rest = args or (keywords.pop(first),)
        if keywords.get("mesh") is not None:
            msg = "`isolate` must be left out with a mesh: its devices belong to one process"
            raise ValueError(msg)
        with opened(candidate, isolate) as remote:
            try:
                return check(remote, *rest, **keywords)  # type: ignore[arg-type]
            except (ProcessEndedError, RaisedThereError) as problem:  # before there was anything to ask
                return _without_answers(remote, problem.caught, *rest, **keywords)

    return run


def _without_answers(remote: RemoteTarget, caught: CaughtException, /, *given: Any, **keywords: Any) -> Report:
    """Return the report on a candidate that ended its process, or raised, before its first answer."""
    has_like = bool(given) and (given[0] is None or callable(given[0]))
    like, shapes = (given[0], given[1:]) if has_like else (keywords.get("like"), given)
    row = ReportRow(Question(Kind.VALUE), UNCHECKED, Proof.RAISED, Raised(caught))
    return Report(
        candidate=remote.__name__ or remote.target,
        like=str(getattr(like, "__name__", "")),
        shapes={
            f"array {n}": tuple(getattr(a, "shape", a))
            for n, a in enumerate(shapes)
            if isinstance(a, (tuple, list)) or hasattr(a, "shape")
        },
        params={},
        framework=str(keywords.get("framework") or ""),
        dtype=str(keywords.get("dtype") or ""),
        rows=(row,),
        seed=int(keywords.get("seed") or 0),
    )


@contextmanager
def opened(candidate: Any, isolate: Any) -> Iterator[RemoteTarget]:
    """Within it, a candidate is in a process of its own.

    Raises
    ------
    ValueError, TypeError
        If it has no name by which another process could import it, or `isolate` is neither True nor an `Isolation`.
    """
    if not isinstance(isolate, (bool, Isolation)):
        msg = f"`isolate` must be True or a triconv.checking.isolation.Isolation, got {type(isolate).__name__}"
        raise TypeError(msg)
    if os.environ.get(MARK):
        msg = (
            "`isolate` must be asked for by the checker's process alone: the candidate's file calls the checker when it is "
            'imported; put the call under `if __name__ == "__main__":`'
        )
        raise RuntimeError(msg)
    limits = isolate if isinstance(isolate, Isolation) else Isolation()
    remote = RemoteTarget(target_of(candidate), limits)
    try:
        yield remote
    finally:
        remote.close()


def target_of(candidate: Any) -> str:
    """Return what names a candidate in another process: a string as it is, a function by its file or module."""
    if isinstance(candidate, str):
        return candidate
    name, module = getattr(candidate, "__qualname__", ""), getattr(candidate, "__module__", None)
    if not name or "<" in name or module is None:
        what = name or type(candidate).__name__
        msg = (
            "`candidate` must be a function of a module, or a target such as 'mine.py:conv' or 'mine.py:Conv(3, 4)', where "
            f"`isolate` is set: another process imports it; got {what}"
        )
        raise ValueError(msg)
    file = inspect.getsourcefile(sys.modules[module]) if module == "__main__" else None
    return f"{file}:{name}" if file is not None else f"{module}:{name}"


def with_ends(rows: list[ReportRow]) -> list[ReportRow]:
    """Return the rows: "unchecked" where the process ended instead of an answer, and none for what came after the last."""
    told: list[ReportRow] = []
    for row in rows:
        exception = row.finding.exception if isinstance(row.finding, Raised | NotSupported) else None
        if not isinstance(exception, EndedProcess):
            told.append(row)
        elif not exception.is_earlier:
            told.append(replace(row, verdict=UNCHECKED, how=Proof.RAISED, finding=Raised(exception), cause=Cause.NONE))
    return told
