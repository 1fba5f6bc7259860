"""The table ``[tool.triconv]`` of a pyproject.toml beside a target: options that the command line need not repeat."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

TARGETS = "targets"


def options_for(target: str, file: Path | None, known: tuple[str, ...]) -> dict[str, Any]:
    """Return the options for a target: those of the table, and over them those of its own table in ``targets``.

    Parameters
    ----------
    target : str
        As on the command line.
    file : Path, optional
        The file that it is in; without one, the current folder's table counts.
    known : tuple of str
        Names of options.

    Raises
    ------
    ValueError
        For an option that is not known, or a file that cannot be read.
    """
    place, table = _table(file)
    own = {name: values for name, values in table.pop(TARGETS, {}).items() if _is_same(name, target)}
    options = {name.replace("-", "_"): value for part in (table, *own.values()) for name, value in part.items()}
    for name in options:
        if name not in known:
            msg = f"{place}: [tool.triconv] must have options of triconv check, such as like or shape, got {name!r}"
            raise ValueError(msg)
    return options


def targets_of(file: Path) -> list[str]:
    """Return the targets of a file that the table names."""
    names = _table(file)[1].get(TARGETS, {})
    return [f"{file}:{name.partition('.py:')[2]}" for name in names if name.startswith(f"{file.name}:")]


def _is_same(name: str, target: str) -> bool:
    """Whether a name in the table, written from its own folder, is that of a target."""
    place, _, rest = target.partition(".py:")
    return target == name or f"{Path(place).name}.py:{rest}" == name


def _table(file: Path | None) -> tuple[Path, dict[str, Any]]:
    place = (file.parent if file is not None else Path()) / "pyproject.toml"
    if not place.is_file():
        return place, {}
    try:
        whole = tomllib.loads(place.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as problem:
        msg = f"{place} could not be read: {problem}"
        raise ValueError(msg) from None
    return place, dict(whole.get("tool", {}).get("triconv", {}))
