"""Which files are the user's own: not triconv's, not a library's, and not Python's."""

from __future__ import annotations

import functools
import sysconfig
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[2]
FOLDERS_OF_LIBRARIES = ("site-packages", "dist-packages")


@functools.cache
def is_users(file: str) -> bool:
    """Whether code is the user's own, by the name of its file; what was typed, and cells of notebooks, are.

    Parameters
    ----------
    file : str
        As a code object or a module names it.
    """
    if file.startswith("<"):
        return not file.startswith(("<frozen ", "<__array_function__"))
    return not (is_of_library(file) or Path(file).resolve().is_relative_to(PACKAGE))


@functools.cache
def is_of_library(file: str) -> bool:
    """Whether a file is one of an installed package, or of Python."""
    path = Path(file).resolve()
    if any(folder in path.parts for folder in FOLDERS_OF_LIBRARIES):
        return True
    places = sysconfig.get_paths()
    return any(path.is_relative_to(Path(places[name]).resolve()) for name in ("stdlib", "platstdlib"))
