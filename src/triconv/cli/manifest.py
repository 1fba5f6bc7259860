"""A manifest: a TOML file of many problems, each a target with what it is checked against.

Keys at the top are those of every problem that does not say otherwise; paths are relative to the manifest's folder::

    like = "conv2d"
    shape = [[2, 3, 8, 8], [4, 3, 3, 3]]
    timeout = 60

    [[problem]]
    target = "layers.py:conv_forward,conv_backward"
    args = { stride = 1 }

    [[problem]]
    name = "strided"
    target = "kernels.py:conv"
    params = { stride = 2 }

What holds for all problems must make sense before any is checked. A problem that makes none is a row that says so, and the
others are checked.
"""

from __future__ import annotations

import inspect
import tomllib
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from triconv.checking.candidates import target_names
from triconv.checking.candidates.suggestions import did_you_mean
from triconv.checking.check import DTYPES, PRECISIONS
from triconv.cli.operator_options import PARAMETERS
from triconv.cli.values import MOST, operator_name
from triconv.operators.registry import OPERATORS, parameter_names

TIMEOUT = 300.0
"""Seconds for one problem, if nothing else is said: what takes longer in CI has hung."""
PROBLEM = "problem"


@dataclass(frozen=True)
class Entry:
    """One entry of a manifest.

    Parameters
    ----------
    name, target : str
        What it is called, and what is checked.
    like : str, optional
        The operator or function that it should agree with.
    shapes : tuple of tuple of int
        Of the arrays.
    keywords : dict
        Further arguments of `triconv.check`, parameters of the operator among them.
    timeout : float
        Seconds.
    memory : float, optional
        GiB.
    refused : str
        Why it makes no sense, in one line; empty if it does.
    """

    name: str
    target: str
    like: str | None
    shapes: tuple[tuple[int, ...], ...]
    keywords: dict[str, Any]
    timeout: float
    memory: float | None
    refused: str = ""


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 < value <= MOST


def _is_int(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_shapes(value: Any) -> bool:
    return (
        isinstance(value, list)
        and bool(value)
        and all(isinstance(shape, list) and all(_is_int(n) and n >= 0 for n in shape) for shape in value)
    )


def _is_words(value: Any) -> bool:
    return isinstance(value, str) or (isinstance(value, list) and all(map(_is_text, value)))


def _is_table(value: Any) -> bool:
    return isinstance(value, dict) and _is_plain(value)


def _is_flag(value: Any) -> bool:
    return isinstance(value, bool)


def _is_plain(value: Any) -> bool:
    """Whether a value is made of numbers, texts, lists and tables: TOML has dates too."""
    if isinstance(value, (list, dict)):
        return all(map(_is_plain, value.values() if isinstance(value, dict) else value))
    return isinstance(value, (str, int, float))


PLAIN = "numbers, texts, lists and tables"
KEYS: dict[str, tuple[Callable[[Any], bool], str]] = {
    "name": (_is_text, "a text"),
    "target": (_is_text, "a text such as 'layers.py:conv'"),
    "like": (_is_text, "the name of an operator such as 'conv2d', or a function 'FILE:NAME'"),
    "shape": (_is_shapes, "a list of shapes such as [[2, 3, 8, 8], [4, 3, 3, 3]]"),
    "params": (_is_table, "a table such as { stride = 2 }"),
    "args": (_is_plain, PLAIN),
    "kwargs": (_is_table, "a table such as { stride = 2 }"),
    "pass_params": (_is_flag, "true or false"),
    "framework": (_is_text, "the name of a library such as 'torch'"),
    "dtype": (lambda value: value in DTYPES, f"one of {', '.join(map(repr, DTYPES))}"),
    "precision": (lambda value: value in PRECISIONS, f"one of {', '.join(map(repr, PRECISIONS))}"),
    "parameters": (_is_words, "a list of names"),
    "gradients": (_is_words, "a list of names"),
    "sweep": (_is_flag, "true or false"),
    "sizes": (lambda value: value == "stress", "'stress'"),
    "meant": (_is_words, "a list of causes"),
    "device": (_is_text, "the name of a device such as 'cuda'"),
    "seed": (lambda value: _is_int(value) and value >= 0, "an int from 0 on"),
    "timeout": (_is_number, "a positive number of seconds, at most 1e7"),
    "memory": (_is_number, "a positive number of GiB, at most 1e7"),
}
"""Each key with what its value must be."""
OF_CHECK = tuple(
    name for name in KEYS if name not in ("name", "target", "like", "shape", "params", "timeout", "memory")
)
"""Keys that are arguments of `triconv.check`."""


def read(path: str, defaults: dict[str, Any]) -> list[Entry]:
    """Return the problems of a manifest, also those that make no sense.

    Parameters
    ----------
    path : str
        The file.
    defaults : dict
        Keys of the command line, for problems that do not have them.

    Raises
    ------
    ValueError
        With one line that says where and what, for a file that is no manifest.
    """
    try:
        # some editors begin a file with a mark of its encoding
        table = tomllib.loads(Path(path).read_text(encoding="utf-8-sig"))
    except OSError as problem:
        msg = f"`--manifest` must be a file that can be read, got {path}: {problem.strerror}"
        raise ValueError(msg) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as problem:
        msg = f"{path} must be TOML: {problem}"
        raise ValueError(msg) from None
    except RecursionError:
        msg = f"{path} must be TOML: lists and tables are nested too deeply"
        raise ValueError(msg) from None
    entries = table.pop(PROBLEM, None)
    _check_keys(f"{path}: ", table, (*KEYS, PROBLEM))
    for key in ("name", "target"):
        if key in table:
            msg = f"{path}: `{key}` must stand in a [[{PROBLEM}]], got it for all of them"
            raise ValueError(msg)
    if not isinstance(entries, list) or not entries or not all(isinstance(entry, dict) for entry in entries):
        msg = (
            f"{path}: there must be a [[{PROBLEM}]] for each target, got {'none' if not entries else f'a [{PROBLEM}]'}"
        )
        raise ValueError(msg)
    first: dict[str, int] = {}
    problems = []
    for number, (entry, name) in enumerate(zip(entries, _names(entries), strict=True), 1):
        own = entry.get("name")
        try:
            _check_keys("", entry, tuple(KEYS))
            if own is not None and first.setdefault(own, number) != number:
                msg = f"`name` must be that of one problem, got that of problem {first[own]} too"
                raise ValueError(msg)  # noqa: TRY301 (as if the next line raised it)
            problems.append(_problem(name, {**table, **defaults, **entry}))
        except ValueError as problem:
            problems.append(Entry(name, str(entry.get("target", "")), None, (), {}, TIMEOUT, None, str(problem)))
    return problems


def _names(entries: list[dict[str, Any]]) -> list[str]:
    """Return a name for each entry: its own, or its target, numbered where there are several; else its number."""
    wanted = [str(entry.get("name") or entry.get("target") or f"{PROBLEM} {n}") for n, entry in enumerate(entries, 1)]
    count, seen = Counter(wanted), Counter[str]()
    names = []
    for name in wanted:
        seen[name] += 1
        names.append(f"{name} #{seen[name]}" if count[name] > 1 else name)
    return names


def _check_keys(prefix: str, entry: dict[str, Any], known: tuple[str, ...]) -> None:
    """Raise for a key that is not known, or a value that it cannot have."""
    for key, value in entry.items():
        if key in PARAMETERS:
            if not _is_plain(value):
                msg = f"{prefix}`{key}` must be {PLAIN}, got {value!r}"
                raise ValueError(msg)
            continue
        if key not in known:
            hint = did_you_mean(key, (*known, *PARAMETERS))
            msg = f"{prefix}a key must be one of {', '.join(known)}, got {key!r}{hint}"
            raise ValueError(msg)
        is_right, what = KEYS[key]
        if not is_right(value):
            msg = f"{prefix}`{key}` must be {what}, got {value!r}"
            raise ValueError(msg)


def _problem(name: str, entry: dict[str, Any]) -> Entry:
    for key in ("target", "shape"):
        if key not in entry:
            msg = f"`{key}` must be {KEYS[key][1]}, got none"
            raise ValueError(msg)
    target, like = entry["target"], entry.get("like")
    params = {**{key: entry[key] for key in PARAMETERS if key in entry}, **entry.get("params", {})}
    shapes = tuple(map(tuple, entry["shape"]))
    if target_names.PLACE.fullmatch(target) is None:
        msg = f"`target` must be path/to/file.py:name or package.module:name, got {target!r}"
        raise ValueError(msg)
    if like is not None:
        _check_like(target, like, params)
    elif params:
        msg = f"`params` must come with `like`, got {', '.join(params)}"
        raise ValueError(msg)
    keywords = {key: entry[key] for key in OF_CHECK if key in entry}
    for key in set(params) & set(keywords):
        msg = f"`params` must be parameters of the operator, got {key!r}, which is a key of the problem"
        raise ValueError(msg)
    if isinstance(keywords.get("args"), list):
        keywords["args"] = tuple(keywords["args"])
    timeout, memory = float(entry.get("timeout", TIMEOUT)), entry.get("memory")
    return Entry(name, target, like, shapes, {**keywords, **params}, timeout, memory)


def _check_like(target: str, like: str, params: dict[str, Any]) -> None:
    """Raise for an operator that is not known, and for parameters that it does not have."""
    if ":" in like:
        if (file := target_names.file_of(like)) is not None and file == target_names.file_of(target):
            msg = f"`like` must be of another file than the target, which runs in a process of its own, got {like}"
            raise ValueError(msg)
        return
    name = operator_name(like)
    if name is None:
        hint = did_you_mean(like, OPERATORS)
        msg = f"`like` must be one of {', '.join(OPERATORS)}, or a function FILE:NAME, got {like!r}{hint}"
        raise ValueError(msg)
    known = [key for key in parameter_names() if key in inspect.signature(OPERATORS[name]).parameters]
    for key in params:
        if key not in known:
            msg = f"`params` must be of {', '.join(known)}, got {key!r}{did_you_mean(key, known)}"
            raise ValueError(msg)
