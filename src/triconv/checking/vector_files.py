"""The files of test vectors: an .npz, or a folder with a .bin for each array, and the JSON that describes them.

Whatever is damaged, missing or of another kind is one line, before any of it is used; pickles are never loaded.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from triconv.checking.check import DTYPES
from triconv.operators.registry import OPERATORS

FORMAT, VERSION = "triconv vectors", 1
NPZ, BIN = ".npz", ".bin"
RESULTS = "_out"
"""What the name of results has after that of their vectors."""

Wanted = dict[str, tuple[Any, str]]
"""Shape and dtype of each array that a file may have, by its name."""


def check_name(path: Path) -> None:
    """Raise unless vectors can be written there."""
    can_be = {NPZ: not path.is_dir(), "": bool(path.name) and not path.is_file()}
    if not can_be.get(path.suffix, False) or not path.resolve().parent.is_dir():
        msg = f"`out` must be a file such as case.npz, or a folder such as case, in a folder that is there, got {path}"
        raise ValueError(msg)


def write(path: Path, arrays: dict[str, np.ndarray], described: dict[str, Any]) -> None:
    """Write arrays, which are little-endian and in C order, and what they are.

    Raises
    ------
    ValueError
        If they cannot be written.
    """
    try:
        if path.suffix == NPZ:
            np.savez(path, **arrays)  # type: ignore[arg-type]
        else:
            path.mkdir(exist_ok=True)
            for name, array in arrays.items():
                (path / f"{name}{BIN}").write_bytes(array.tobytes())
        text = json.dumps(described, indent=2, default=str) + "\n"
        path.with_suffix(".json").write_text(text, encoding="utf-8")
    except OSError as problem:
        msg = f"`out` must be a file that can be written, got {path}: {problem.strerror}"
        raise ValueError(msg) from None


def vectors_of(results: Path) -> Path:
    """Return the vectors that results are named after."""
    name = results.name.removesuffix(NPZ).removesuffix("/")
    if not name.endswith(RESULTS):
        msg = f"`vectors` must be given for results that are not called ..._out.npz or ..._out, got {results}"
        raise ValueError(msg)
    case = results.with_name(name.removesuffix(RESULTS) + results.suffix)
    other = case.with_suffix("" if case.suffix else NPZ)
    return other if other.exists() and not case.exists() else case


def described(path: Path) -> dict[str, Any]:
    """Return what the JSON beside vectors says.

    Raises
    ------
    ValueError
        If there is none, or it does not describe vectors.
    """
    place = path.with_suffix(".json")
    try:
        said = json.loads(place.read_text(encoding="utf-8"))
        found = said["format"], said["version"]
    except OSError as problem:
        msg = f"`vectors` must have their JSON beside them, got none that can be read at {place}: {problem.strerror}"
        raise ValueError(msg) from None
    except (ValueError, KeyError, TypeError, RecursionError):
        msg = f"`vectors` must have a JSON of triconv vectors beside them, got {place}, which is none"
        raise ValueError(msg) from None
    if found != (FORMAT, VERSION):
        msg = f"`vectors` must be of format {FORMAT!r}, version {VERSION}, got {found[0]!r}, version {found[1]}"
        raise ValueError(msg)
    wanted = {
        "operator": str,
        "dtype": str,
        "seed": int,
        "shapes": list,
        "params": dict,
        "arrays": list,
        "made_by": str,
    }
    for key, kind in wanted.items():
        if not isinstance(said.get(key), kind):
            msg = f"`vectors` must have {key!r} in their JSON, a {kind.__name__}, got {said.get(key)!r}"
            raise ValueError(msg)  # noqa: TRY004 (the file is wrong, not a type)
    if said["operator"] not in OPERATORS or said["dtype"] not in DTYPES:
        msg = f"`vectors` must be of an operator and dtype of triconv, got {said['operator']}, {said['dtype']}"
        raise ValueError(msg)
    if said["seed"] < 0 or not all(map(_is_shape, said["shapes"])):
        msg = f"`vectors` must have shapes, and a seed from 0 on, in their JSON, got {said['shapes']}, {said['seed']}"
        raise ValueError(msg)
    if not all(map(_is_entry, said["arrays"])):
        msg = f"`vectors` must list arrays with name, what, shape and stored_as in their JSON, got others in {place}"
        raise ValueError(msg)
    return said  # type: ignore[no-any-return]


def read(option: str, path: Path, wanted: Wanted) -> dict[str, np.ndarray]:
    """Return the arrays of an .npz or a folder, after a look at the name, the shape and the dtype of each.

    Parameters
    ----------
    option : str
        What the file is called in messages.
    path : Path
        The file.
    wanted : dict
        The arrays that it may have.

    Raises
    ------
    ValueError
        If the file is missing or damaged, or has other arrays.
    """
    try:
        if path.is_dir():
            return dict(_raw(option, file, wanted) for file in sorted(path.glob(f"*{BIN}")))
        with zipfile.ZipFile(path) as archive:
            return dict(_members(option, archive, wanted))
    except FileNotFoundError:
        msg = f"`{option}` must be a file that is there, got {path}"
        raise ValueError(msg) from None
    except _RefusedError:
        raise
    except Exception as problem:  # noqa: BLE001 (a damaged file may raise anything)
        msg = f"`{option}` must be an .npz that is whole, or a folder of .bin, got {path}: {problem}"
        raise ValueError(msg) from None


class _RefusedError(ValueError):
    """A file is whole, and does not hold what it should."""


def _raw(option: str, file: Path, wanted: Wanted) -> tuple[str, np.ndarray]:
    """Return the array of one file, whose name says which it is."""
    name, shape, dtype = _expected(option, file.name.removesuffix(BIN), wanted)
    size, needed = file.stat().st_size, int(np.prod(shape, dtype=object)) * dtype.itemsize
    if size != needed:
        msg = f"`{option}`: {name} must be {dtype} {shape}, {needed} bytes, got {size} bytes"
        raise _RefusedError(msg)
    return name, np.frombuffer(file.read_bytes(), dtype.newbyteorder("<")).reshape(shape).astype(dtype)


def _members(option: str, archive: zipfile.ZipFile, wanted: Wanted) -> Iterator[tuple[str, np.ndarray]]:
    """Yield the arrays of an .npz with their names."""
    seen: set[str] = set()
    for member in archive.namelist():
        name, shape, dtype = _expected(option, member.removesuffix(".npy"), wanted)
        if name in seen:
            msg = f"`{option}` must have each array once, got {name} twice"
            raise _RefusedError(msg)
        seen.add(name)
        with archive.open(member) as stream:
            found_shape, found = _header(stream)
        if found.hasobject:
            msg = f"`{option}`: {name} must be an array of numbers, got a pickle of Python objects"
            raise _RefusedError(msg)
        if (found_shape, found) != (shape, dtype):
            msg = f"`{option}`: {name} must be {dtype} {shape}, got {found} {found_shape}"
            raise _RefusedError(msg)
        with archive.open(member) as stream:
            yield name, np.lib.format.read_array(stream, allow_pickle=False).astype(dtype)


def _expected(option: str, name: str, wanted: Wanted) -> tuple[str, tuple[int, ...], np.dtype[Any]]:
    """Return a name with the shape and the dtype that its array should have."""
    if name not in wanted:
        listed = next(iter(wanted), "")
        msg = f"`{option}` must have arrays that the JSON of the vectors lists, such as {listed}, got {name!r}"
        raise _RefusedError(msg)
    return name, tuple(wanted[name][0]), np.dtype(wanted[name][1]).newbyteorder("=")


def _header(stream: Any) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """Return the shape and the dtype of an array before its numbers are read."""
    version = np.lib.format.read_magic(stream)
    reader = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, dtype = reader(stream)
    return shape, dtype.newbyteorder("=")


def _is_shape(value: Any) -> bool:
    return isinstance(value, list) and all(type(n) is int and n >= 0 for n in value)


def _is_entry(entry: Any) -> bool:
    return (
        isinstance(entry, dict)
        and all(isinstance(entry.get(key), str) for key in ("name", "what", "stored_as"))
        and _is_shape(entry.get("shape"))
        and entry["stored_as"] in (*DTYPES, "uint16")
    )
