"""``triconv check FILE:NAME``: find the candidate, check it, print and save the report."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

import triconv
from triconv.checking import text_report
from triconv.checking.exception_text import one_line
from triconv.checking.protocol import EXIT_STATUS, UNCHECKED
from triconv.operators.registry import OPERATORS


def check(
    target: str,
    *,
    like: str | None,
    shapes: list[Any] | None,
    params: dict[str, Any],
    options: dict[str, Any],
    html: str | None,
    json: str | None,
) -> int:
    """Check a target and return the exit status.

    Raises
    ------
    ValueError, TypeError, ImportError
        With one line that says what does not fit; before anything is run, where the words alone say it.
    """
    if like not in OPERATORS:
        msg = f"`--like` must be one of {', '.join(OPERATORS)}, got {like!r}"
        raise ValueError(msg)
    if not shapes:
        msg = "`--shape` must be given once for each array, such as --shape 2,3,8,8 --shape 4,3,3,3"
        raise ValueError(msg)
    for option, path in (("--html", html), ("--json", json)):
        _check_path(option, path)
    candidate = find(target)
    console = Console(stderr=True)
    columns = (SpinnerColumn(), TextColumn("checking: {task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("", total=None)
        report = triconv.check(
            candidate,
            OPERATORS[like],
            *(shape if isinstance(shape, tuple) else (shape,) for shape in shapes),
            progress=lambda question: progress.update(task, description=question),
            **options,
            **params,
        )
    out = Console()
    text_report.show(report, out if out.is_terminal else Console(width=140))
    for path, write in ((html, report.to_html), (json, report.to_json)):
        if path is not None:
            try:
                write(path)
            except OSError as problem:
                msg = f"the report could not be written: {problem}"
                raise ValueError(msg) from None
    if report.verdict == UNCHECKED:
        sys.stderr.write(f"triconv: {one_line(report.summary)}\n")
    return EXIT_STATUS[report.verdict]


def find(target: str) -> Any:
    """Return what a target names: ``path/to/file.py:name`` or ``package.module:name``.

    Raises
    ------
    ValueError, ImportError
        If there is no such file, module or name, or running the file raises.
    """
    place, _, name = target.rpartition(":")
    if not place or not name:
        msg = f"`target` must be path/to/file.py:name or package.module:name, got {target!r}"
        raise ValueError(msg)
    module = _load(place)
    thing: Any = module
    for part in name.split("."):
        if not hasattr(thing, part):
            msg = f"`target`: there is no {part!r} in {place}"
            raise ValueError(msg)
        thing = getattr(thing, part)
    return thing


def _load(where: str) -> Any:
    path = Path(where)
    is_file = where.endswith(".py") or "/" in where
    if is_file and not path.is_file():
        msg = f"`target`: there is no file {where}"
        raise ValueError(msg)
    try:
        if not is_file:
            sys.path.insert(0, str(Path.cwd()))
            return importlib.import_module(where)
        sys.path.insert(0, str(path.resolve().parent))
        spec = importlib.util.spec_from_file_location(path.stem, path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules.setdefault(path.stem, module)
        spec.loader.exec_module(module)
        return module
    except (Exception, SystemExit) as problem:  # noqa: BLE001 (whatever somebody's file raises)
        msg = f"`target`: {where} could not be imported: {type(problem).__name__}: {one_line(problem)}"
        raise ImportError(msg) from None


def _check_path(option: str, path: str | None) -> None:
    if path is None:
        return
    if Path(path).is_dir() or not Path(path).resolve().parent.is_dir():
        msg = f"`{option}` must be a file in a folder that is there, got {path}"
        raise ValueError(msg)
