"""What runs in a candidate's own process: it imports the candidate, and answers questions until they end."""

from __future__ import annotations

import contextlib
import faulthandler
import io
import os
import pickle
import signal
import sys
from pathlib import Path
from typing import Any, BinaryIO

from triconv.checking.candidates import candidate_source, target_names, wire
from triconv.checking.candidates.candidate import CandidateFunction
from triconv.checking.candidates.naming import name_of
from triconv.checking.candidates.unsupported import Unsupported
from triconv.checking.findings.exception_text import caught

OUT_OF_MEMORY = ("can't allocate memory", "RESOURCE_EXHAUSTED", "out of memory", "Cannot allocate memory")
"""What frameworks say, in exceptions that are no `MemoryError`."""


def main() -> None:
    """Answer the questions on standard input; what the candidate reads or prints is another stream."""
    questions, answers = _streams()
    _limit(int(sys.argv[2]))
    target: list[Any] = []
    kept: list[CandidateFunction] = []
    expressions: list[tuple[str, str]] = []
    own = os.getpid()
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=_end_at_the_next_question)
    while True:
        try:
            head = wire.exactly(questions, wire.NUMBER_AND_LENGTH.size)
            number, length = wire.NUMBER_AND_LENGTH.unpack(head)
            question = wire.exactly(questions, length)
        except EOFError:
            return
        answer = _answer(question, target, kept, expressions)
        if os.getpid() != own:  # a copy that the candidate made of this process
            os._exit(0)
        answers.write(wire.NUMBER.pack(number) + wire.packed(answer, lambda thing: _handle(thing, kept)))
        answers.flush()


def _end_at_the_next_question() -> None:
    """Have a copy that the candidate makes of this process, and returns in, end before it asks the candidate again."""
    CandidateFunction.move = lambda *_: os._exit(0)  # type: ignore[assignment,method-assign]


def _streams() -> tuple[BinaryIO, BinaryIO]:
    """Take standard input and output for questions and answers: the candidate reads nothing, and prints on standard error."""
    questions, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    sys.stdout = os.fdopen(1, "w", buffering=1, closefd=False)
    faulthandler.enable(sys.__stderr__ or io.TextIOWrapper(os.fdopen(2, "wb", closefd=False)))
    with contextlib.suppress(ValueError):
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the checker, which ends this process
    return questions, answers


def _limit(memory: int) -> None:
    """Limit the address space; where the whole machine has no memory any more, be the process that is ended."""
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")
    if memory:
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (memory, memory))


def _answer(question: bytes, target: list[Any], kept: list[CandidateFunction], names: list[tuple[str, str]]) -> Any:
    """Return the answer to one question: what a function of the checker returns, or what it raises."""
    used: list[CandidateFunction] = []
    try:
        function, args, keywords = _Reader(question, target, kept, used).load()
        if function == "import":
            target[:], names[:] = [target_names.find(*args)], [target_names.words_of(*args)]
            return {"value": name_of(target[0])}
        with contextlib.ExitStack() as stack:
            for candidate in dict.fromkeys(used):
                stack.enter_context(candidate.session())
            stack.enter_context(candidate_source.named(target[0], *names[0]))
            return {"value": function(*args, **keywords)}
    except Unsupported as unsupported:
        return {"unsupported": unsupported.finding}
    except BaseException as problem:  # noqa: BLE001 (whatever the candidate raises, SystemExit too, is told)
        if is_out_of_memory(problem):
            return {"memory": 1}
        kinds = [kind.__name__ for kind in type(problem).__mro__]
        return {"raised": caught(problem), "kinds": kinds, "words": str(problem)}


class _Reader(pickle.Unpickler):
    """Reads a question, in which the candidate, and what was made of it, are named."""

    def __init__(self, question: bytes, target: list[Any], kept: list[Any], used: list[Any]) -> None:
        super().__init__(io.BytesIO(question))
        self.target, self.kept, self.used = target, kept, used

    def persistent_load(self, name: Any) -> Any:
        """Return what is named."""
        kind, *rest = name
        if kind == "target":
            return self.target[0]
        if kind == "method":
            return _Method(rest[0])
        number, device = rest
        candidate = self.kept[number]
        candidate.device = device
        self.used.append(candidate)
        return candidate


class _Method:
    """A method of the first argument, by its name."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __call__(self, candidate: Any, *args: Any, **keywords: Any) -> Any:
        return getattr(candidate, self.name)(*args, **keywords)


def _handle(thing: Any, kept: list[CandidateFunction]) -> Any:
    """Return what stands for a wrapped candidate in the checker's process: its number, and what it says of itself."""
    if not isinstance(thing, CandidateFunction):
        return None
    kept.append(thing)
    return {"number": len(kept) - 1, "library": thing.backend.name, "said": said_by(thing)}


def said_by(candidate: CandidateFunction) -> dict[str, Any]:
    """Return the attributes of a wrapped candidate that are plain data."""
    found = {}
    for name in dir(candidate):
        if name.startswith("_") or name in ("args", "keywords", "backend", "device"):
            continue
        with contextlib.suppress(Exception):
            value = getattr(candidate, name)
            if name in ("own", "read_off") or _is_plain(value):
                found[name] = value
    return found


def _is_plain(value: Any) -> bool:
    if isinstance(value, tuple):
        return all(map(_is_plain, value))
    return value is None or isinstance(value, (bool, int, str))


def is_out_of_memory(problem: BaseException) -> bool:
    """Whether an exception says that there is no more memory."""
    return isinstance(problem, MemoryError) or (
        isinstance(problem, RuntimeError) and any(words in str(problem) for words in OUT_OF_MEMORY)
    )
