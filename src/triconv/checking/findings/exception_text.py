"""Somebody's exception as data: its type, its message in one line, and where in the user's own code it was raised."""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from triconv.checking.findings.user_code import is_users

LONGEST = 300
"""Characters of a message that are kept."""


@dataclass(frozen=True, slots=True)
class CaughtException:
    """An exception: its type, the first line of its message, and where it was raised.

    Parameters
    ----------
    type, message : str
        The name of its class, and the first line of what it says.
    where : str
        The innermost frame in the user's own code, such as "layers.py:12, in conv_forward"; "" if there is none.
    traceback : str
        The traceback from the user's frames on, with the whole message.
    """

    type: str
    message: str
    where: str = field(default="", compare=False)
    traceback: str = field(default="", repr=False, compare=False)


@dataclass(frozen=True, slots=True)
class EndedProcess(CaughtException):
    """Instead of an exception: the candidate's own process ended, or was ended.

    Parameters
    ----------
    signal, status : int, optional
        The signal that ended it, or its exit status.
    seconds : float, optional
        The time limit, if it was exceeded.
    memory : int, optional
        The limit of its memory in bytes, if it was exceeded; 0 where there was no more and no limit.
    is_garbled : bool
        Whether it sent what is no answer.
    is_earlier : bool
        Whether it had ended before this was asked.
    """

    signal: int | None = None
    status: int | None = None
    seconds: float | None = None
    memory: int | None = None
    is_garbled: bool = False
    is_earlier: bool = False


def caught(problem: BaseException) -> CaughtException:
    """Return an exception as data."""
    if isinstance(known := getattr(problem, "caught", None), CaughtException):  # it was raised in another process
        return known
    frames = next((found for error in _chain(problem) if (found := _users_frames(error))), [])
    inner = next((frame for frame in reversed(frames) if is_users(frame.filename)), None)
    where = f"{Path(inner.filename).name}:{inner.lineno}, in {inner.name}" if inner is not None else ""
    return CaughtException(type(problem).__name__, one_line(problem), where, _text(problem))


def one_line(problem: BaseException | str) -> str:
    """Return the first line of a message, with what it announces: JAX breaks lines after a colon."""
    try:
        message = str(problem)
    except Exception:  # noqa: BLE001 (a class of the user's, whose message raises in turn)
        message = ""
    lines = [line.strip() for line in message.splitlines() if line.strip()]
    count = next((number for number, line in enumerate(lines, 1) if not line.endswith(":")), len(lines))
    return " ".join(lines[:count])[:LONGEST] or "(no message)"


def _text(problem: BaseException) -> str:
    """Return the traceback from the user's frames on, causes first; "" if it says no more than one line."""
    parts = []
    for error in reversed(list(_chain(problem))):
        frames = _users_frames(error)
        head = ["Traceback (most recent call last):\n", *traceback.format_list(frames)] if frames else []
        parts.append("".join([*head, *traceback.format_exception_only(error)]).rstrip("\n"))
    text = "\n\n".join(parts)
    return text if "\n" in text else ""


def _chain(problem: BaseException) -> Iterator[BaseException]:
    """An exception, and those that it was raised from, or in the user's own code while handling.

    Those of JAX's own classes hold no more than its frames.
    """
    seen: set[int] = set()
    error: BaseException | None = problem
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        before = error.__cause__
        if before is None and not error.__suppress_context__ and _is_caught_by_user(error.__context__):
            before = error.__context__
        error = None if type(before).__module__.partition(".")[0] in ("jax", "triconv") else before


def _is_caught_by_user(error: BaseException | None) -> bool:
    """Whether the traceback starts in the user's own code: in the function that caught the exception."""
    step = error.__traceback__ if error is not None else None
    return step is not None and is_users(step.tb_frame.f_code.co_filename)


def _users_frames(error: BaseException) -> list[traceback.FrameSummary]:
    """Return the frames from the first in the user's own code on; none without such a frame."""
    frames = list(traceback.extract_tb(error.__traceback__))
    first = next((n for n, frame in enumerate(frames) if is_users(frame.filename)), len(frames))
    return frames[first:]
