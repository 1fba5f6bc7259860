"""Somebody's exception as data: its type, its message in one line, and where it was raised."""

from __future__ import annotations

import sysconfig
import traceback
from pathlib import Path

from triconv.checking.findings import CaughtException

LONGEST = 300
"""Characters of a message that are kept."""
# whose frames say nothing of the user's code
FOREIGN = tuple(
    str(Path(folder).resolve())
    for folder in (
        str(Path(__file__).parents[1]),
        *map(sysconfig.get_path, ("stdlib", "platstdlib", "purelib", "platlib")),
    )
)


def caught(problem: BaseException) -> CaughtException:
    """Return the type and the first line of an exception, its place in the user's code, and the traceback from there."""
    frames = traceback.extract_tb(problem.__traceback__)
    own = [n for n, frame in enumerate(frames) if _is_own(frame.filename)]
    where = text = ""
    if own:
        last = frames[own[-1]]
        where = f"{Path(last.filename).name}:{last.lineno}, in {last.name}"
        text = "".join([*traceback.format_list(frames[own[0] :]), *traceback.format_exception_only(problem)])
    return CaughtException(type(problem).__name__, one_line(problem), where, text)


def one_line(problem: BaseException | str) -> str:
    """Return the first line of a message, with what it announces: JAX breaks lines after a colon."""
    lines = [line.strip() for line in str(problem).splitlines() if line.strip()]
    count = next((number for number, line in enumerate(lines, 1) if not line.endswith(":")), len(lines))
    return " ".join(lines[:count])[:LONGEST] or "(no message)"


def _is_own(filename: str) -> bool:
    """Whether a file is the user's: no library's, and not triconv's."""
    return not filename.startswith("<frozen") and not str(Path(filename).resolve()).startswith(FOREIGN)
