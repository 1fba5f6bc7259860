"""Somebody's exception as data: its type, and its message in one line."""

from __future__ import annotations

from triconv.checking.findings import CaughtException

LONGEST = 300
"""Characters of a message that are kept."""


def caught(problem: BaseException) -> CaughtException:
    """Return the type and the first line of an exception."""
    return CaughtException(type(problem).__name__, one_line(problem))


def one_line(problem: BaseException | str) -> str:
    """Return the first line of a message, with what it announces: JAX breaks lines after a colon."""
    lines = [line.strip() for line in str(problem).splitlines() if line.strip()]
    count = next((number for number, line in enumerate(lines, 1) if not line.endswith(":")), len(lines))
    return " ".join(lines[:count])[:LONGEST] or "(no message)"
