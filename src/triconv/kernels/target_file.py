"""The file with the rates of one machine: the environment variable ``TRICONV_TARGET`` is its path.

``python -m bench --fit --write PATH`` writes one. It is TOML, with a table per library and kind of device. Rates and constants
that it leaves out keep their values in `target`; a table ``versions`` says where it was made, and is not read::

    [jax.cpu.rates]
    matrix = 9.0e10
    bandwidth = 1.0e10

    [jax.cpu.constants]
    largest_phases = 8
"""

from __future__ import annotations

import functools
import math
import os
import tomllib
from pathlib import Path
from typing import Any, NamedTuple

from triconv.backends.base import BACKENDS
from triconv.geometry.integers import shown

VARIABLE = "TRICONV_TARGET"
KINDS = ("cpu", "gpu")


class Fitted(NamedTuple):
    """What a file says of one library on one kind of device."""

    path: str
    rates: dict[str, float]
    constants: dict[str, Any]


@functools.cache
def fitted(rates: frozenset[str], constants: frozenset[tuple[str, type]]) -> dict[tuple[str, str], Fitted]:
    """What the file says that ``TRICONV_TARGET`` names: it is read once; nothing, if the variable is not set.

    Parameters
    ----------
    rates : frozenset of str
        Names that rates have.
    constants : frozenset of (str, type)
        Names that constants have, and whether each is an int or a float.

    Returns
    -------
    dict of (str, str) to Fitted
        By the library and the kind of device.

    Raises
    ------
    ValueError
        If the file cannot be read, or something in it has another name, type or range; with the file and the field.
    """
    path = os.environ.get(VARIABLE, "")
    return read(path, rates, dict(constants)) if path else {}


def read(path: str, rates: frozenset[str], constants: dict[str, type]) -> dict[tuple[str, str], Fitted]:
    """Read a file; parameters, result and errors are those of `fitted`."""
    try:
        tables = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as problem:
        msg = f"`{VARIABLE}` must name a file that can be read, got {path!r}: {problem.strerror}"
        raise ValueError(msg) from None
    except ValueError as problem:  # its syntax, or its encoding
        msg = f"`{VARIABLE}` must name a TOML file, got {path!r}: {problem}"
        raise ValueError(msg) from None
    tables.pop("versions", None)
    result = {}
    types_of: dict[str, dict[str, type]] = {"rates": dict.fromkeys(rates, float), "constants": constants}
    for library, kinds in tables.items():
        _check_name(path, library, library, tuple(BACKENDS), "a library")
        for kind, parts in _table(path, library, kinds).items():
            where = f"{library}.{kind}"
            _check_name(path, where, kind, KINDS, "a kind of device")
            for part in _table(path, where, parts):
                _check_name(path, f"{where}.{part}", part, ("rates", "constants"), "a table")
            values = {}
            for part, types in types_of.items():
                inside = f"{where}.{part}"
                values[part] = {
                    name: _number(path, f"{inside}.{name}", name, value, types)
                    for name, value in _table(path, inside, parts.get(part, {})).items()
                }
            result[library, kind] = Fitted(path, values["rates"], values["constants"])
    return result


def _table(path: str, field: str, value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        msg = f"`{field}` must be a table in {path!r}, got {shown(value)}"
        raise ValueError(msg)  # noqa: TRY004 (what is in the file is a value)
    return value


def _check_name(path: str, field: str, name: str, names: tuple[str, ...], what: str) -> None:
    if name not in names:
        msg = f"`{field}` must be {what} in {path!r}, one of {', '.join(names)}, got {name!r}"
        raise ValueError(msg)


def _number(path: str, field: str, name: str, value: Any, types: dict[str, type]) -> int | float:
    """A value that is checked, of the type that its field has."""
    _check_name(path, field, name, tuple(sorted(types)), "a field")
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not is_number or not 0 < value < math.inf or (types[name] is int and value != int(value)):
        kind = "a whole number" if types[name] is int else "a number"
        msg = f"`{field}` must be {kind} above 0 in {path!r}, got {shown(value)}"
        raise ValueError(msg)
    return types[name](value)
