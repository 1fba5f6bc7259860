"""What a target such as ``layers.py:conv_forward,conv_backward`` names: its file, and what Python makes of the rest."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import re
import sys
import traceback
from pathlib import Path
from types import ModuleType
from typing import Any

from triconv.checking.candidates.suggestions import did_you_mean
from triconv.checking.findings.exception_text import one_line

PLACE = re.compile(r"(?P<place>.*?\.py|[\w.]+):(?P<name>.+)", re.DOTALL)
"""A file or a module, and a name or an expression in it, which may hold colons too."""


def find(target: str) -> Any:
    """Return what a target names: ``path/to/file.py:name`` or ``package.module:name``.

    Parameters
    ----------
    target : str
        After the colon stands a name, several with commas between them (a pair of forward and backward), or any expression,
        such as ``Conv(3, 4, 3)``, which is evaluated in the file.

    Raises
    ------
    ValueError, ImportError
        If there is no such file, module or name, or running the file or the expression raises.
    """
    match = PLACE.fullmatch(target)
    if match is None:
        msg = f"`target` must be path/to/file.py:name or package.module:name, got {target!r}"
        if target.endswith(".py") and Path(target).is_file():
            msg = f"`target` must name a function after the file, such as {target}:NAME; {target} has {_listed(load(target))}"
        raise ValueError(msg)
    place, name = match["place"], match["name"].strip()
    module = load(place)
    if re.fullmatch(r"[\w.]+", name):
        return _attribute(module, place, name)
    try:
        return eval(name, vars(module))
    except NameError as problem:
        hint = did_you_mean(problem.name or "", [n for n in vars(module) if not n.startswith("_")])
        msg = f"`target`: name {problem.name!r} is not defined in {place}{hint or f', which has {_listed(module)}'}"
        raise ValueError(msg) from None
    except Exception as problem:  # noqa: BLE001 (whatever somebody's expression raises)
        msg = f"`target`: {name} raised {type(problem).__name__}: {one_line(problem)}"
        raise ValueError(msg) from None


def words_of(target: str) -> tuple[str, str]:
    """Return the module's name and the expression of a target."""
    match = PLACE.fullmatch(target)
    place, name = (match["place"], match["name"]) if match is not None else (target, "")
    return Path(place).stem if place.endswith(".py") or "/" in place else place, name.strip()


def file_of(target: str) -> Path | None:
    """Return the file that a target is in; None for a module."""
    place = target.partition(".py:")[0] + ".py" if ".py:" in target else target
    return Path(place) if place.endswith(".py") else None


def no_file(where: str) -> str:
    """Return the message for a file that is not there."""
    return f"`target`: there is no file {where}"


def load(where: str) -> ModuleType:
    """Import a file or a module.

    Raises
    ------
    ValueError, ImportError
        If there is none, or running it raises: then with the line that did.
    """
    path = Path(where)
    is_file = where.endswith(".py") or "/" in where
    if is_file and not path.is_file():
        raise ValueError(no_file(where))
    try:
        if not is_file:
            sys.path.insert(0, str(Path.cwd()))
            return importlib.import_module(where)
        known = sys.modules.get(path.stem)
        if known is not None and getattr(known, "__file__", None) == str(path):
            return known
        sys.path.insert(0, str(path.resolve().parent))
        spec = importlib.util.spec_from_file_location(path.stem, path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules.setdefault(path.stem, module)
        spec.loader.exec_module(module)
        return module
    except (Exception, SystemExit) as problem:  # noqa: BLE001 (whatever somebody's file raises)
        frames = [f for f in traceback.extract_tb(problem.__traceback__) if Path(f.filename).name == path.name]
        line = f", line {frames[-1].lineno}" if frames else ""
        msg = f"`target`: {where} could not be imported: {type(problem).__name__}: {one_line(problem)}{line}"
        raise ImportError(msg) from None


def _attribute(module: ModuleType, place: str, name: str) -> Any:
    thing: Any = module
    for part in name.split("."):
        if not hasattr(thing, part):
            hint = did_you_mean(part, [n for n in dir(thing) if not n.startswith("_")])
            hint = hint or (f", which has {_listed(module)}" if thing is module else "")
            msg = f"`target`: there is no {part!r} in {place}{hint}"
            raise ValueError(msg)
        thing = getattr(thing, part)
    return thing


def _listed(module: ModuleType) -> str:
    """Return the functions and classes that a file defines itself."""
    names = [
        name
        for name, thing in vars(module).items()
        if callable(thing) and getattr(thing, "__module__", module.__name__) == module.__name__ and name[:2] != "__"
    ]
    shown = ", ".join(name + " (a class)" * inspect.isclass(vars(module)[name]) for name in names[:20])
    return shown + (", ..." if len(names) > 20 else "") if names else "no function of its own"
