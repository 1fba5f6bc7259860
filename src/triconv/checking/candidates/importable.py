"""Whether a fresh interpreter can import a module, and from which folder."""

from __future__ import annotations

import ast
import sys
import types
from pathlib import Path
from typing import Any

from triconv.checking.findings.user_code import is_of_library, is_users


class Unspellable(Exception):  # noqa: N818 (it is no error)
    """There is no source that gives this thing in a fresh interpreter."""


def folder_of(module: types.ModuleType) -> str:
    """Return the folder that must be on the path for a module to be imported; "" if none need be.

    Raises
    ------
    Unspellable
        If it cannot be imported elsewhere.
    """
    name, file = module.__name__, getattr(module, "__file__", None)
    if name == "__main__" or sys.modules.get(name) is not module:
        raise Unspellable
    if file is None or is_of_library(file) or not is_users(file):
        if file is None and module.__name__.partition(".")[0] not in sys.stdlib_module_names:
            raise Unspellable
        return ""
    path = Path(file).resolve()
    parts = name.split(".") + (["__init__"] if path.name == "__init__.py" else [])
    if tuple(parts) != (*path.parts[-len(parts) : -1], path.stem) or path.suffix not in (".py", ".so", ".pyd"):
        raise Unspellable
    return str(path.parents[len(parts) - 1])


def module_with(line: str, value: Any) -> types.ModuleType | None:
    """Return the module that an import statement reads, if it gives this value; else None."""
    node: Any = ast.parse(line).body[0]
    (alias,) = node.names
    module = sys.modules.get(str(node.module if isinstance(node, ast.ImportFrom) else alias.name))
    if isinstance(node, ast.ImportFrom):
        found = getattr(module, alias.name, None)
    else:
        found = module if alias.asname else sys.modules.get(alias.name.partition(".")[0])
    return module if found is value else None
