"""The table of operators, `OPERATORS`, which the backend switch, the command line and the checker read."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any, ParamSpec

from triconv.operators import prepared
from triconv.operators.operation import Call
from triconv.operators.torch_calls import RESOLVERS, is_compiling, override_call

Array = Any
P = ParamSpec("P")
Resolved = tuple[Call, tuple[Array, ...]]

OPERATORS: dict[str, Callable[..., Array]] = {}
"""Every operator by its name; the decorator `operator` adds them."""


def operator(resolve: Callable[P, Resolved], aliases: dict[str, str] | None = None) -> Callable[P, Array]:
    """Make an operator and add it to `OPERATORS`. Called, it resolves its arguments and runs the call.

    Parameters
    ----------
    resolve : callable
        Takes the arguments of the operator; returns the `Call` and its arrays. Array arguments are annotated as ``Array``.
    aliases : dict, optional
        Further keywords that the operator accepts, and the argument that each of them means.

    Returns
    -------
    callable
        The operator, with `resolve` as its attribute of that name.
    """
    arguments = aliases or {}
    operator_name = resolve.__name__
    names = _array_names(inspect.signature(resolve))

    @functools.wraps(resolve)
    def run(*args: P.args, **kwargs: P.kwargs) -> Array:
        for alias in (kwargs.keys() & arguments.keys()) if kwargs else ():
            if arguments[alias] not in kwargs:  # else the alias is refused, as an unknown name
                kwargs[arguments[alias]] = kwargs.pop(alias)
        if is_compiling():
            from triconv.operators import torch_compile

            return torch_compile.traced(operator_name, *args, **kwargs)
        try:
            signature, arrays = prepared.signed(operator_name, names, args, kwargs)
        except prepared.UnusualError:
            return unprepared(args, kwargs)
        if slot := prepared.slot(signature):
            return slot[0](*arrays)
        call, resolved = resolve(*args, **kwargs)
        slot.append(prepared.prepare(call, resolved))
        return slot[0](*resolved)

    def unprepared(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Array:
        if (override := override_call(args, kwargs)) is not None:
            return override(run, *args, **kwargs)
        call, arrays = resolve(*args, **kwargs)
        return call(*arrays)

    run.__signature__ = inspect.signature(resolve).replace(return_annotation="Array")  # type: ignore[attr-defined]
    run.__annotations__ = {**resolve.__annotations__, "return": "Array"}
    run.resolve = resolve  # type: ignore[attr-defined]
    OPERATORS[resolve.__name__] = run
    RESOLVERS[resolve.__name__] = resolve
    return run


def array_names(op: Callable[..., Array]) -> tuple[str, ...]:
    """The names of an operator's arrays, in its positional order."""
    return _array_names(inspect.signature(op))


def _array_names(signature: inspect.Signature) -> tuple[str, ...]:
    return tuple(name for name, p in signature.parameters.items() if str(p.annotation).startswith("Array"))


def parameter_names() -> tuple[str, ...]:
    """The names of the parameters of all operators, arrays left out."""
    names: dict[str, None] = {}
    for op in OPERATORS.values():
        names |= dict.fromkeys(name for name in inspect.signature(op).parameters if name not in array_names(op))
    return tuple(names)
