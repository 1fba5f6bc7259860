"""``triconv check FILE:NAME ...``: find the candidates, check them, print and save the reports."""

from __future__ import annotations

import ast
import difflib
import json
import shlex
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

import triconv
from triconv.checking import candidate_source, target_names, text_report
from triconv.checking.exception_text import one_line
from triconv.checking.isolation import Isolation
from triconv.checking.protocol import EXIT_STATUS, UNCHECKED
from triconv.checking.report import Report
from triconv.cli import configuration
from triconv.operators.registry import OPERATORS

FILES = ("html", "json")
ISOLATION = ("isolate", "timeout", "memory")
"""Options about a process of its own."""
GIB = 2**30
CODE = ("args", "kwargs")


def check(targets: Sequence[str], given: dict[str, Any], parameters: tuple[str, ...], options: tuple[str, ...]) -> int:
    """Check targets and return the exit status: the highest.

    Parameters
    ----------
    targets : sequence of str
        What to check.
    given : dict
        Options of the command line that were given, with those of `parameters` and `options` among them.
    parameters : tuple of str
        Names of the parameters of operators.
    options : tuple of str
        Names of the options of `triconv.check`.

    Raises
    ------
    ValueError, TypeError, ImportError
        With one line that says what does not fit; before anything is run, where the words alone say it.
    """
    known = ("like", "shape", *FILES, *parameters, *options)
    every = [
        (target, {**configuration.options_for(target, target_names.file_of(target), known), **given})
        for one in targets
        for target in _named(one)
    ]
    if len(every) > 1 and any(given.get(name) for name in FILES):
        msg = "`--html` and `--json` must come with one target: they name one file"
        raise ValueError(msg)
    statuses = []
    for target, values in every:
        report = _checked(target, values, parameters, options)
        statuses.append(EXIT_STATUS[report.verdict])
    return max(statuses)


def _named(target: str) -> list[str]:
    """Return a target, or those that the configuration names for a file."""
    file = target_names.file_of(target)
    if file is not None and target == str(file) and file.is_file():
        return configuration.targets_of(file) or [target]
    return [target]


def _checked(target: str, values: dict[str, Any], parameters: tuple[str, ...], options: tuple[str, ...]) -> Report:
    shapes = values.get("shape")
    if not shapes:
        msg = "`--shape` must be given once for each array, such as --shape 2,3,8,8 --shape 4,3,3,3"
        raise ValueError(msg)
    for name in FILES:
        check_path(f"--{name}", values.get(name))
    isolate = isolation_of(values)
    if isolate and target_names.file_of(values.get("like") or "") == target_names.file_of(target) is not None:
        msg = f"`--like` must be of another file than the target where it is isolated, got {values['like']}"
        raise ValueError(msg)
    like = operator_named(values.get("like"))
    candidate = target if isolate else target_names.find(target)
    keywords = {name: values[name] for name in (*parameters, *options) if name in values and name not in ISOLATION}
    keywords |= {name: literal(f"--{name}", keywords[name]) for name in CODE if isinstance(keywords.get(name), str)}
    console = Console(stderr=True)
    columns = (SpinnerColumn(), TextColumn("checking: {task.description}"), TimeElapsedColumn())
    known = candidate_source.named(candidate, *target_names.words_of(target))
    with known, Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("", total=None)
        report = triconv.check(
            candidate,
            like,
            *(tuple(shape) if isinstance(shape, (tuple, list)) else (shape,) for shape in shapes),
            isolate=isolate or False,
            progress=lambda question: progress.update(task, description=question),
            **keywords,
        )
    told(report, values)
    return report


def told(report: Report, values: dict[str, Any]) -> int:
    """Print a report, save it where wanted, and return the exit status."""
    if Path(sys.argv[0]).name in ("triconv", "__main__.py"):
        report = replace(report, command=shlex.join(["triconv", *sys.argv[1:]]))
    out = Console()
    text_report.show(report, out if out.is_terminal else Console(width=140))
    for name, write in (("html", report.to_html), ("json", report.to_json)):
        if values.get(name) is not None:
            try:
                write(values[name])
            except OSError as problem:
                msg = f"the report could not be written: {problem}"
                raise ValueError(msg) from None
    if report.verdict == UNCHECKED:
        sys.stderr.write(text_report.without_escapes(f"triconv: {one_line(report.summary)}\n"))
    return EXIT_STATUS[report.verdict]


def isolation_of(values: dict[str, Any]) -> Isolation | None:
    """Return how a target runs in a process of its own; None if it does not."""
    limits = {name: values.get(name) for name in ISOLATION[1:]}
    if not values.get("isolate"):
        for name, value in limits.items():
            if value is not None:
                msg = f"`--{name}` must come with --isolate"
                raise ValueError(msg)
        return None
    memory = limits["memory"]
    is_number = isinstance(memory, (int, float)) and not isinstance(memory, bool)
    return Isolation(limits["timeout"], int(memory * GIB) if is_number and memory > 0 else memory)  # type: ignore[operator]


def operator_named(like: str | None) -> Any:
    """Return the operator of a name, or a function that a target names; None without a name."""
    if like is None:
        return None
    name = like.removeprefix("triconv.")
    if name in OPERATORS:
        return OPERATORS[name]
    if ":" in like:
        return target_names.find(like)
    near = difflib.get_close_matches(name, OPERATORS, 1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    msg = f"`--like` must be one of {', '.join(OPERATORS)}, or a function FILE:NAME, got {like!r}{hint}"
    raise ValueError(msg)


def literal(option: str, text: str) -> Any:
    """Return what an option spells in JSON or as a Python literal; a JSON list is several arguments.

    Raises
    ------
    ValueError
        If it is neither.
    """
    try:
        value = json.loads(text)
    except json.JSONDecodeError:
        try:
            value = ast.literal_eval(text)
        except (ValueError, SyntaxError):
            msg = f'`{option}` must be JSON, such as \'{{"stride": 1, "pad": 1}}\', got {text!r}'
            raise ValueError(msg) from None
    return tuple(value) if isinstance(value, list) else value


def check_path(option: str, path: str | None) -> None:
    """Raise unless a file can be written there."""
    if path is None:
        return
    if Path(path).is_dir() or not Path(path).resolve().parent.is_dir():
        msg = f"`{option}` must be a file in a folder that is there, got {path}"
        raise ValueError(msg)
