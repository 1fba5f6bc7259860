"""A process of its own for a candidate: it is started, asked, and ended when its time is over."""

from __future__ import annotations

import contextlib
import functools
import json
import math
import os
import queue
import re
import secrets
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from triconv.checking.candidates import wire
from triconv.checking.findings.exception_text import EndedProcess
from triconv.checking.findings.unanswered import Raised
from triconv.checking.findings.user_code import is_users
from triconv.checking.reports import wording

HAS_GUARD = sys.platform == "linux"
"""Whether a process can be ended with its parent."""
GUARD = "import runpy, sys; runpy.run_path(sys.argv[3])['stand_between'](); "
START = (
    "import sys, json; sys.path[:] = json.loads(sys.argv[1]); "
    "from triconv.checking.candidates import isolated; isolated.main()"
)
MARK = "TRICONV_ISOLATED"
"""Set in the environment of a candidate's process, which must not start another."""
LONGEST_LINE = 4096
"""Bytes of a line that the process prints; a longer one is several."""
TAIL = 200
"""Lines of what the process prints on standard error that are kept: a crash ends with where it was."""
MOST_ANSWERS = 4
"""Answers that are kept unread: only one is asked for at a time."""
POLL = 0.05
"""Seconds between looks at whether the process is still there."""
FAREWELL = 2.0
"""Seconds that a process has to end after what it is asked through is closed."""
CRASH = "Fatal Python error"
"""What `faulthandler` begins with."""
FRAME = re.compile(r'^  File "(?P<file>.*)", line (?P<line>\d+) in (?P<name>.*)$')
"""A line of `faulthandler`."""


class CandidateProcess:
    """A process that imports the candidate and answers questions.

    Parameters
    ----------
    deadline : float, optional
        Until when it may answer, by `time.monotonic`.
    seconds : float, optional
        The time limit, for what is said when it is over.
    memory : int, optional
        Bytes of address space that it may take.
    made_of : callable
        Makes what stands here for an object that stays there.
    """

    def __init__(
        self, deadline: float | None, seconds: float | None, memory: int | None, made_of: Callable[[Any], Any]
    ) -> None:
        self.deadline, self.seconds, self.memory = deadline, seconds, memory
        self.end: EndedProcess | None = None
        self.number = secrets.randbits(62)
        """Of the last question: an answer has that of its own, so that none counts for a later one."""
        places = json.dumps([str(place) for place in sys.path])
        guard = str(Path(__file__).with_name("candidate_guard.py"))
        start = GUARD + START if HAS_GUARD else START
        self.process = subprocess.Popen(
            [sys.executable, "-c", start, places, str(memory or 0), guard],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, MARK: "1"},
            start_new_session=HAS_GUARD,
        )
        self.printed: deque[str] = deque(maxlen=TAIL)
        self.answers: queue.Queue[Any] = queue.Queue(MOST_ANSWERS)
        self._listen = threading.Thread(target=self._read_answers, args=(made_of,), daemon=True)
        self._drain = threading.Thread(target=self._read_errors, daemon=True)
        self._listen.start()
        self._drain.start()

    def ask(self, question: bytes) -> Any:
        """Send a pickle, and return the answer.

        Raises
        ------
        ProcessEndedError
            If there is none.
        """
        if self.end is not None:
            raise ProcessEndedError(replace(self.end, is_earlier=True))
        self.number += 1
        assert self.process.stdin is not None
        sender = threading.Thread(target=self._send, args=(question,), daemon=True)  # it may never read
        sender.start()
        ended = math.inf
        while True:
            try:
                answer = self.answers.get(timeout=POLL)
            except queue.Empty:
                if self.deadline is not None and time.monotonic() > self.deadline:
                    self._kill()
                    self._ended(EndedProcess("EndedProcess", "", seconds=self.seconds))
                if self.process.poll() is not None:
                    ended = min(ended, time.monotonic())
                    is_read = not self._listen.is_alive() and self.answers.empty()
                    if is_read or time.monotonic() > ended + FAREWELL:  # what it started may hold the pipe open
                        self._ended(self._reason())
                continue
            except BaseException:  # Ctrl-C: nothing is asked any more
                self._kill()
                raise
            if isinstance(answer, EOFError):
                self._ended(self._reason())
            if not isinstance(answer, Exception):
                number, value = answer
                if number == self.number:
                    return value
                answer = ValueError("an answer must be to the question that was asked last")
            self._kill()
            self._ended(EndedProcess("EndedProcess", str(answer), is_garbled=True))

    def close(self) -> None:
        """End the process."""
        assert self.process.stdin is not None
        with contextlib.suppress(OSError, ValueError):
            self.process.stdin.close()
        try:
            self.process.wait(0 if self.end is not None else FAREWELL)
        except subprocess.TimeoutExpired:
            self._kill()
        self._drain.join(FAREWELL)
        self._listen.join(FAREWELL)
        for stream in (self.process.stdout, self.process.stderr):
            if stream is not None and not (self._drain.is_alive() or self._listen.is_alive()):
                stream.close()

    def _send(self, question: bytes) -> None:
        stream = self.process.stdin
        assert stream is not None
        with contextlib.suppress(OSError, ValueError):  # it has ended, which the reader of answers sees
            stream.write(wire.NUMBER_AND_LENGTH.pack(self.number, len(question)) + question)
            stream.flush()

    def _read_answers(self, made_of: Callable[[Any], Any]) -> None:
        assert self.process.stdout is not None
        while True:
            try:
                (number,) = wire.NUMBER.unpack(wire.exactly(self.process.stdout, wire.NUMBER.size))
                self.answers.put((number, wire.read(self.process.stdout, made_of)))
            except Exception as problem:  # noqa: BLE001 (whatever the process sends; it is told to who asks)
                self.answers.put(problem)
                return

    def _read_errors(self) -> None:
        """Keep the last lines of what the process prints, and print them here too."""
        assert self.process.stderr is not None
        is_crash = False  # the report says where
        for line in iter(functools.partial(self.process.stderr.readline, LONGEST_LINE), b""):
            text = line.decode(errors="replace")
            is_crash = is_crash or text.startswith(CRASH)
            self.printed.append(text.rstrip("\r\n"))
            if not is_crash:
                with contextlib.suppress(Exception):
                    sys.stderr.write(text)

    def _ended(self, end: EndedProcess) -> None:
        self.end = end
        raise ProcessEndedError(end)

    def _kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def _reason(self) -> EndedProcess:
        """Return how the process ended."""
        try:
            status = self.process.wait(FAREWELL)
        except subprocess.TimeoutExpired:  # it closed what it answers through
            self._kill()
            return EndedProcess("EndedProcess", "it closed its output", is_garbled=True)
        self._drain.join(FAREWELL)
        lines = list(self.printed)
        if status >= 0:
            return EndedProcess("EndedProcess", "", status=status)
        return EndedProcess("EndedProcess", name_of_signal(-status), _where(lines), signal=-status)


class ProcessEndedError(Exception):
    """The candidate's process gives no answer any more; `caught` says why."""

    def __init__(self, caught: EndedProcess) -> None:
        super().__init__(wording.detail(Raised(caught)))
        self.caught = caught


def name_of_signal(number: int) -> str:
    """Return the name of a signal, such as "SIGSEGV"."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return ""


def _where(lines: list[str]) -> str:
    """Return the innermost frame in the user's own code of what `faulthandler` printed; "" without one."""
    matches = [match for line in lines if (match := FRAME.match(line))]
    inner = next((match for match in matches if is_users(match["file"])), None)
    return f"{Path(inner['file']).name}:{inner['line']}, in {inner['name']}" if inner is not None else ""
