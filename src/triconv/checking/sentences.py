"""What somebody's exception says, in one line."""

from __future__ import annotations

# characters
LONGEST = 300


def one_line(problem: BaseException | str) -> str:
    """The first line of a message, with what it announces: JAX breaks lines after a colon."""
    lines = [line.strip() for line in str(problem).splitlines() if line.strip()]
    count = next((number for number, line in enumerate(lines, 1) if not line.endswith(":")), len(lines))
    return " ".join(lines[:count])[:LONGEST] or "(no message)"
