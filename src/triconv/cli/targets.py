"""``triconv check FILE:NAME ...``: find the candidates, check them, print and save the reports."""

from __future__ import annotations

import argparse
import ast
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
from triconv.checking.arguments import ArrayCountError
from triconv.checking.candidates import candidate_source, target_names
from triconv.checking.findings.exception_text import one_line
from triconv.checking.findings.protocol import EXIT_STATUS, UNCHECKED
from triconv.checking.isolation import Isolation
from triconv.checking.questions import declared
from triconv.checking.reports import text_report
from triconv.checking.reports.report import Report
from triconv.cli import configuration, operator_options, output, target_options, values
from triconv.cli.operator_options import PARAMETERS
from triconv.cli.target_options import CODE, FILES, ISOLATION, OF_ANY, OF_OPERATOR
from triconv.operators.registry import OPERATORS

GIB = 2**30
KNOWN = (
    "like",
    "shape",
    *FILES,
    *PARAMETERS,
    *OF_ANY,
    *(name for name in OF_OPERATOR if name not in ("mesh", "specs")),
)
"""Options that a pyproject.toml may have too."""


def check(targets: Sequence[str], given: dict[str, Any], *, compares: bool = True) -> int:
    """Check targets and return the exit status: the highest.

    Parameters
    ----------
    targets : sequence of str
        What to check.
    given : dict
        Options of the command line that were given.
    compares : bool
        Whether a target is compared with an operator; else with its own values, and what a pyproject.toml says of operators is
        left out.

    Raises
    ------
    ValueError, TypeError, ImportError
        With one line that says what does not fit; before anything is run, where the words alone say it.
    """
    every = []
    for target in (name for one in targets for name in _named(one)):
        options = configuration.options_for(target, target_names.file_of(target), KNOWN)
        if not compares:
            options = {name: value for name, value in options.items() if name in ("shape", *FILES, *OF_ANY)}
        every.append((target, {**options, **given}))
    if len(every) > 1 and any(given.get(name) for name in FILES):
        msg = "`--html` and `--json` must come with one target: they name one file"
        raise ValueError(msg)
    return max(EXIT_STATUS[_checked(target, options).verdict] for target, options in every)


def _named(target: str) -> list[str]:
    """Return a target, or those that the configuration names for a file."""
    file = target_names.file_of(target)
    if file is not None and target == str(file) and file.is_file():
        return configuration.targets_of(file) or [target]
    return [target]


def _checked(target: str, options: dict[str, Any]) -> Report:
    shapes, isolate, keywords = _understood(target, options)
    like = reference_named(options.get("like"))
    candidate = target if isolate else target_names.find(target)
    console = Console(stderr=True)
    columns = (SpinnerColumn(), TextColumn("checking: {task.description}"), TimeElapsedColumn())
    known = candidate_source.named(candidate, *target_names.words_of(target))
    with known, Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("", total=None)
        try:
            report = triconv.check(
                candidate,
                like,
                *shapes,
                isolate=isolate or False,
                progress=lambda question: progress.update(task, description=question),
                **keywords,
            )
        except ArrayCountError as problem:
            raise ValueError(_count_in_words(problem)) from None
    told(report, options)
    return report


def _understood(target: str, options: dict[str, Any]) -> tuple[list[tuple[int, ...]], Isolation | None, dict[str, Any]]:
    """Return the shapes, how it is isolated, and the keywords of `triconv.check`: all that words say."""
    shapes = options.get("shape")
    if not shapes:
        msg = "`--shape` must be given once for each array, such as --shape 2,3,8,8 --shape 4,3,3,3"
        raise ValueError(msg)
    for name in FILES:
        check_path(f"--{name}", options.get(name))
    isolate = isolation_of(options)
    if isolate and target_names.file_of(options.get("like") or "") == target_names.file_of(target) is not None:
        msg = f"`--like` must be of another file than the target where it is isolated, got {options['like']}"
        raise ValueError(msg)
    keywords = {
        name: options[name]
        for name in (*PARAMETERS, *OF_ANY, *OF_OPERATOR)
        if name in options and name not in ISOLATION
    }
    keywords |= {name: literal(f"--{name}", keywords[name]) for name in CODE if isinstance(keywords.get(name), str)}
    keywords |= {name: _read(name, keywords[name]) for name in ("dtype", "framework") if name in keywords}
    if "meant" in keywords:
        meant = keywords["meant"]
        declared.check_names((meant,) if isinstance(meant, str) else tuple(meant))
    like = options.get("like")
    if like is None or ":" in like:
        target_options.refuse_of_operator(keywords, like)
    else:
        operator_options.refuse_parameters(operator_named(like), keywords)
    return [tuple(shape) if isinstance(shape, (tuple, list)) else (shape,) for shape in shapes], isolate, keywords


def _read(name: str, text: Any) -> str:
    """Return a dtype or a library by its name, of the command line or of a pyproject.toml."""
    try:
        return {"dtype": values.dtype, "framework": values.library}[name](str(text))
    except argparse.ArgumentTypeError as problem:
        msg = f"`--{name}` {problem}"
        raise ValueError(msg) from None


def _count_in_words(problem: ArrayCountError) -> str:
    """Return the message about a number of shapes in the words of the command line."""
    arrays = ", ".join(problem.names)
    return (
        f"`--shape` must be given once for each array of {problem.operator} ({arrays}), got {problem.count}; "
        f"such as {operator_options.example(problem.operator)}"
    )


def told(report: Report, options: dict[str, Any]) -> int:
    """Print a report, save it where wanted, say where, and return the exit status."""
    if Path(sys.argv[0]).name in ("triconv", "__main__.py"):
        report = replace(report, command=shlex.join(["triconv", *sys.argv[1:]]))
    text_report.show(report, output.console())
    for name, write in (("html", report.to_html), ("json", report.to_json)):
        if options.get(name) is not None:
            try:
                write(options[name])
            except OSError as problem:
                msg = f"the report could not be written: {problem}"
                raise ValueError(msg) from None
            sys.stderr.write(f"written: {options[name]}\n")
    if report.verdict == UNCHECKED:
        sys.stderr.write(text_report.without_escapes(f"triconv: {one_line(report.summary)}\n"))
    return EXIT_STATUS[report.verdict]


def isolation_of(options: dict[str, Any]) -> Isolation | None:
    """Return how a target runs in a process of its own; None if it does not."""
    limits = {name: options.get(name) for name in ISOLATION[1:]}
    if not options.get("isolate"):
        for name, value in limits.items():
            if value is not None:
                msg = f"`--{name}` must come with --isolate"
                raise ValueError(msg)
        return None
    memory = limits["memory"]
    is_number = isinstance(memory, (int, float)) and not isinstance(memory, bool)
    return Isolation(limits["timeout"], int(memory * GIB) if is_number and memory > 0 else memory)  # type: ignore[operator]


def reference_named(like: str | None) -> Any:
    """Return the operator of a name, or a function that a target names; None without a name."""
    if like is None:
        return None
    if ":" in like:
        return target_names.find(like)
    return OPERATORS[operator_named(like)]


def operator_named(like: str) -> str:
    """Return the name of the operator that ``--like`` names."""
    return operator_options.operator_named(like, "--like", ", or a function FILE:NAME")


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
