"""The table of operators, `OPERATORS`, which the backend switch, the command line and the checker read."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any, ParamSpec, TypeAlias

from triconv.operators import prepared
from triconv.operators.operation import Call
from triconv.operators.signature_types import AnyArray, ArrayT
from triconv.operators.torch_calls import RESOLVERS, is_compiling, override_call
from triconv.operators.validation import NumpyBesideError

Array = Any
P = ParamSpec("P")
Resolved: TypeAlias = tuple[Call, tuple[ArrayT, *tuple[AnyArray, ...]]]

OPERATORS: dict[str, Callable[..., Array]] = {}
"""Every operator by its name; the decorator `operator` adds them."""


def operator(resolve: Callable[P, Resolved[ArrayT]], aliases: dict[str, str] | None = None) -> Callable[P, ArrayT]:
    """Make an operator and add it to `OPERATORS`. Called, it resolves its arguments and runs the call.

    Parameters
    ----------
    resolve : callable
        Takes the arguments of the operator; returns the `Call` and its arrays. The annotations of arrays begin with
        ``Array`` or ``AnyArray``.
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
    def run(*args: P.args, **kwargs: P.kwargs) -> ArrayT:
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
        try:
            call, resolved = resolve(*args, **kwargs)
        except NumpyBesideError as problem:
            return run_again(problem, args, kwargs)
        slot.append(prepared.prepare(call, resolved))
        return slot[0](*resolved)

    def unprepared(args: tuple[Any, ...], kwargs: dict[str, Any]) -> ArrayT:
        if (override := override_call(args, kwargs)) is not None:
            return override(run, *args, **kwargs)
        try:
            call, arrays = resolve(*args, **kwargs)
        except NumpyBesideError as problem:
            return run_again(problem, args, kwargs)
        return call(*arrays)

    def converted(
        problem: NumpyBesideError, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        arrays = map(problem.converted, args[: len(names)])
        keywords = {name: problem.converted(value) if name in names else value for name, value in kwargs.items()}
        return (*arrays, *args[len(names) :]), keywords

    def run_again(problem: NumpyBesideError, args: tuple[Any, ...], kwargs: dict[str, Any]) -> ArrayT:
        moved, keywords = converted(problem, args, kwargs)
        return run(*moved, **keywords)  # type: ignore[arg-type] # the same arguments

    def resolve_all(*args: P.args, **kwargs: P.kwargs) -> Resolved[ArrayT]:
        try:
            return resolve(*args, **kwargs)
        except NumpyBesideError as problem:
            moved, keywords = converted(problem, args, kwargs)
            return resolve(*moved, **keywords)  # type: ignore[arg-type]

    result = "ArrayT" if "ArrayT" in resolve.__annotations__.values() else "Array"
    run.__signature__ = inspect.signature(resolve).replace(return_annotation=result)  # type: ignore[attr-defined]
    run.__annotations__ = {**resolve.__annotations__, "return": result}
    run.resolve = resolve_all  # type: ignore[attr-defined]
    OPERATORS[resolve.__name__] = run
    RESOLVERS[resolve.__name__] = resolve_all
    return run


def array_names(op: Callable[..., Array]) -> tuple[str, ...]:
    """The names of an operator's arrays, in its positional order."""
    return _array_names(inspect.signature(op))


def _array_names(signature: inspect.Signature) -> tuple[str, ...]:
    return tuple(
        name for name, p in signature.parameters.items() if str(p.annotation).startswith(("Array", "AnyArray"))
    )


def parameter_names() -> tuple[str, ...]:
    """The names of the parameters of all operators, arrays left out."""
    names: dict[str, None] = {}
    for op in OPERATORS.values():
        names |= dict.fromkeys(name for name in inspect.signature(op).parameters if name not in array_names(op))
    return tuple(names)
