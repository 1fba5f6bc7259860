"""Which framework a candidate is written in: by what it is, by what its code names, and by what it returns."""

from __future__ import annotations

import dis
import functools
import inspect
import sys
from collections.abc import Callable, Iterator, Sequence
from types import CodeType, SimpleNamespace
from typing import Any

from triconv.backends import BACKENDS

# the framework whose arrays a package takes
PACKAGES = {
    **dict.fromkeys(("jax", "jaxlib", "flax", "equinox", "haiku", "optax"), "jax"),
    **dict.fromkeys(("torch", "torchvision", "triton"), "torch"),
    "cupy": "cupy",
    "array_api_strict": "array-api-strict",
}
# what says nothing of the framework, however much of it these name inside
NEUTRAL = sys.stdlib_module_names | {"numpy", "scipy", "triconv", "array_api_compat", "ml_dtypes", "pytest"}
MOST_OBJECTS = 300
"""Functions and objects that are inspected."""


def framework_of(candidate: Any) -> str:
    """The framework that something is written in; NumPy if nothing says otherwise."""
    return next((name for thing in reach(candidate) if (name := _framework_of_one(thing))), "numpy")


def of_arrays(arrays: list[Any] | None) -> str | None:
    """The framework of arrays, if they are not NumPy's."""
    return next((name for a in arrays or () if (name := _framework_of_one(a)) in ("jax", "torch")), None)


def settled(name: str, call: Callable[[str], Any]) -> str:
    """The framework, after a look at what the candidate returns.

    Parameters
    ----------
    name : str
        What the code says.
    call : callable
        Runs the candidate on arrays of the framework of this name.

    Returns
    -------
    str
        A framework that takes NumPy's arrays without a word is known by its result; where NumPy's arrays are refused and the
        code says nothing, one that is imported and does take its own is.
    """
    result = _tried(call, name)
    if result is not None:
        returned = _framework_of_one(result)
        return returned if returned in ("jax", "torch") and BACKENDS[returned].installed() else name
    if name != "numpy":  # it may convert NumPy's arrays by itself
        result = _tried(call, "numpy")
        return "numpy" if result is not None and _framework_of_one(result) is None else name
    others = (other for other in ("torch", "jax") if other in sys.modules)
    return next((other for other in others if _framework_of_one(_tried(call, other)) == other), name)


def _tried(call: Callable[[str], Any], name: str) -> Any:
    """The result, or that of a tuple or list which is alone in it; None where the candidate raises."""
    try:
        result = call(name)
    except KeyboardInterrupt:
        raise
    except BaseException:  # noqa: BLE001 (it is asked again, and then heard)
        return None
    return result[0] if isinstance(result, (tuple, list)) and len(result) == 1 else result


def goes_through_numpy(candidate: Any) -> bool:
    """Whether the code takes arrays out of their framework: names NumPy, or methods that give Python's numbers."""
    for thing in reach(candidate):
        if inspect.ismodule(thing) and thing.__name__.partition(".")[0] in ("numpy", "scipy"):
            return True
        code = getattr(thing, "__code__", None)
        if code is not None and {"numpy", "tolist", "item", "__array__"} & set(_names(code)):
            return True
    return False


def names_any(candidate: Any, wanted: set[str]) -> bool:
    """Whether the code names any of these attributes or globals."""
    codes = (getattr(thing, "__code__", None) for thing in reach(candidate))
    return any(wanted.intersection(_names(code)) for code in codes if code is not None)


def reach(candidate: Any) -> Iterator[Any]:
    """A candidate, and all that its code names, the nearest first."""
    level: list[Any] = [candidate]
    seen: dict[int, Any] = {}  # keeps each, so that no other gets its id
    while level and len(seen) < MOST_OBJECTS:
        new = list({id(thing): thing for thing in level if id(thing) not in seen}.values())
        seen |= {id(thing): thing for thing in new}
        yield from new
        level = [deeper for thing in new for deeper in _inside(thing)]


def _framework_of_one(thing: Any) -> str | None:
    """The framework that an object, function, class or module belongs to itself."""
    if inspect.ismodule(thing):
        modules = [thing.__name__]
    else:
        classes = thing.__mro__ if inspect.isclass(thing) else type(thing).__mro__
        modules = [kind.__module__ for kind in classes] + [str(getattr(thing, "__module__", None) or "")]
        holder = getattr(thing, "__objclass__", None) or getattr(thing, "__self__", None)  # of a method written in C
        if inspect.isclass(holder) or inspect.ismodule(holder):
            torchs = holder.__name__ == "_VariableFunctionsClass"  # torch.conv2d is a method of it
            modules.append("torch" if torchs else getattr(holder, "__module__", None) or holder.__name__)
    if "triconv.jax" in modules:
        return "jax"
    return next((PACKAGES[top] for top in (m.partition(".")[0] for m in modules) if top in PACKAGES), None)


def _inside(thing: Any) -> Iterator[Any]:
    """What an object is made of, or its code names."""
    if isinstance(thing, functools.partial):
        yield from (thing.func, *thing.args, *thing.keywords.values())
        return
    if inspect.ismethod(thing):
        yield thing.__self__
        yield from _named(thing.__func__, thing.__self__)
        return
    if isinstance(thing, (staticmethod, classmethod)):
        yield thing.__func__
        return
    if hasattr(thing, "__wrapped__"):
        yield thing.__wrapped__
    if _is_neutral(thing) or _package(thing) in PACKAGES:
        return
    if inspect.isfunction(thing):
        yield from _named(thing)
    elif inspect.isclass(thing):
        yield from (
            f for f in vars(thing).values() if inspect.isroutine(f) or isinstance(f, (staticmethod, classmethod))
        )
    elif not inspect.ismodule(thing) and not isinstance(thing, (str, int, float, complex)):
        if isinstance(thing, (list, tuple)):
            yield from thing[:8]
        yield from getattr(thing, "__dict__", {}).values()
        for name in ("forward", "__call__"):
            yield from _named(getattr(type(thing), name, None), thing)


def _is_neutral(thing: Any) -> bool:
    return _package(thing) in NEUTRAL and not isinstance(thing, (list, tuple, SimpleNamespace))


def _package(thing: Any) -> str:
    """The package that defines a thing, or its type."""
    owner = thing if inspect.ismodule(thing) or inspect.isroutine(thing) or inspect.isclass(thing) else type(thing)
    name = owner.__name__ if inspect.ismodule(owner) else getattr(owner, "__module__", None)
    return str(name or "").partition(".")[0]


def _named(function: Any, holder: Any = None) -> Iterator[Any]:
    """What a function's code names: globals, closures, defaults, imports, and attributes of these, two levels deep."""
    function = inspect.unwrap(function)
    code = getattr(function, "__code__", None)
    if code is None:
        return
    names, scope = list(_names(code)), getattr(function, "__globals__", {})
    things = [scope[name] for name in names if name in scope]
    things += [cell.cell_contents for cell in (function.__closure__ or ()) if _is_full(cell)]
    things += [*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values()]
    imported = [sys.modules.get(name) or _Unloaded(name) for name in _imports(code)]
    level: list[Any] = [*things, *imported]
    yield from level
    level += [] if holder is None else [holder]
    for _ in range(2):
        level = [found for thing in level for name in names if (found := _attribute(thing, name)) is not None]
        yield from level


class _Unloaded:
    """A module that a function imports when it runs."""

    def __init__(self, name: str) -> None:
        self.__module__ = name


def _attribute(thing: Any, name: str) -> Any:
    """An attribute that is there without running anything; none of what says nothing."""
    if _is_neutral(thing) and not (inspect.ismodule(thing) and thing.__name__ == "triconv"):
        return None
    found = inspect.getattr_static(thing, name, None)
    return found.__func__ if isinstance(found, (staticmethod, classmethod)) else found


def _codes(code: CodeType) -> Iterator[CodeType]:
    yield code
    for inner in code.co_consts:
        if inspect.iscode(inner):
            yield from _codes(inner)


def _names(code: CodeType) -> Sequence[str]:
    return list(dict.fromkeys(name for inner in _codes(code) for name in inner.co_names))


def _imports(code: CodeType) -> list[str]:
    return [str(i.argval) for inner in _codes(code) for i in dis.get_instructions(inner) if i.opname == "IMPORT_NAME"]


def _is_full(cell: Any) -> bool:
    try:
        cell.cell_contents  # noqa: B018
    except ValueError:
        return False
    return True
