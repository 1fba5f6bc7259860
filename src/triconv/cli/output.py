"""Where the command line prints."""

from __future__ import annotations

import os
from typing import NoReturn

from rich.console import Console

PIPE = 140
"""Columns where nobody says how many there are."""


class Output(Console):
    """The standard output. A pipe that is closed at the other end is `BrokenPipeError`, as without this class."""

    def on_broken_pipe(self) -> NoReturn:
        """Raise, where the base class would exit with the status of a wrong function."""
        raise BrokenPipeError


def console() -> Console:
    """Return the standard output: as wide as the terminal or the variable COLUMNS says, else 140 columns."""
    out = Output()
    return out if out.is_terminal or os.environ.get("COLUMNS", "").isdigit() else Output(width=PIPE)
