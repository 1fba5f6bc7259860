"""Where something that a user wrote is defined, and what names mean there."""

from __future__ import annotations

import contextlib
import inspect
import sys
import types
from collections.abc import Iterator
from typing import Any, NamedTuple

from triconv.checking.candidates import source_text
from triconv.checking.findings.user_code import is_users

WELL_KNOWN = ("numpy", "torch.nn.functional", "torch", "jax.lax", "jax.numpy", "jax.nn", "jax")
"""Modules whose names are better than those of the private modules behind them."""


class Scope(NamedTuple):
    """What names mean in the source of something: its own variables, those of its module, and the module's text."""

    inner: dict[str, Any]
    module: dict[str, Any]
    text: str


def places(thing: Any) -> Iterator[tuple[types.ModuleType, str]]:
    """Modules with the name that something has in them: public ones, its own, then any of the user's."""
    own = getattr(thing, "__module__", None)
    path = getattr(thing, "__qualname__", None) or getattr(thing, "__name__", None)
    is_library = not isinstance(own, str) or own.partition(".")[0] in ("numpy", "torch", "jax", "jaxlib", "builtins")
    pairs = [(name, getattr(thing, "__name__", "")) for name in WELL_KNOWN] if is_library else []
    if isinstance(own, str) and isinstance(path, str) and "<locals>" not in path:
        pairs.append((own, path))
    for name, path in pairs:
        module = sys.modules.get(name)
        found: Any = module
        for part in str(path).split("."):
            found = getattr(found, part, None) if part else None
        if module is not None and found is thing and path.partition(".")[0] in vars(module):
            yield module, path
    for module in list(sys.modules.values()):
        file = getattr(module, "__file__", None)
        if not isinstance(file, str) or not is_users(file) or not isinstance(module, types.ModuleType):
            continue
        for name, value in list(vars(module).items()):
            if value is thing and name.isidentifier():
                yield module, name


def scope_of(function: types.FunctionType) -> Scope:
    """Return what names mean in a function: its closure, and defaults such as ``s=s``, before its module."""
    inner: dict[str, Any] = {}
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=False):
        with contextlib.suppress(ValueError):  # a variable that is not bound yet
            inner[name] = cell.cell_contents
    with contextlib.suppress(TypeError, ValueError):
        for name, p in inspect.signature(function, follow_wrapped=False).parameters.items():
            if p.default is not p.empty and name not in function.__globals__:
                inner.setdefault(name, p.default)
    return Scope(inner, function.__globals__, source_text.text_of_module(function))


def scope_of_class(cls: type) -> Scope:
    """Return what names mean in the methods of a class."""
    functions = [f for f in map(_function_of, vars(cls).values()) if f is not None]
    scopes = [scope_of(f) for f in functions]
    inner = {name: value for scope in scopes for name, value in scope.inner.items()}
    module = vars(sys.modules[cls.__module__]) if cls.__module__ in sys.modules else {}
    return Scope(inner, scopes[0].module if scopes else module, scopes[0].text if scopes else "")


def _function_of(attribute: Any) -> types.FunctionType | None:
    inner = getattr(attribute, "__func__", None) or getattr(attribute, "fget", None) or attribute
    inner = inspect.unwrap(inner) if callable(inner) else inner
    return inner if inspect.isfunction(inner) else None


def is_function_of_users(thing: Any) -> bool:
    """Whether it is a function, or something around one, in the user's own code."""
    inner = inspect.unwrap(thing) if callable(thing) else None
    return inspect.isfunction(inner) and is_users(inner.__code__.co_filename)


def is_class_of_users(cls: type) -> bool:
    """Whether a class is in the user's own code."""
    module = sys.modules.get(cls.__module__)
    return cls.__module__ != "builtins" and is_users(getattr(module, "__file__", None) or "<typed>")


def aliases(thing: Any) -> Iterator[str]:
    """Names of a wrapper in its module and in the functions that make its derivatives."""
    parts = [getattr(thing, part, None) for part in ("fwd", "bwd", "jvp", "__wrapped__")]
    for function in [inspect.unwrap(part) for part in parts if callable(part)]:
        if inspect.isfunction(function):
            scope = scope_of(function)
            yield from (
                name for names in (scope.inner, scope.module) for name, value in names.items() if value is thing
            )


def wrappers(thing: Any) -> int:
    """Return how many objects are around a function, of which each is around the next."""
    count = 0
    while hasattr(thing, "__wrapped__"):
        thing, count = thing.__wrapped__, count + 1
    return count
