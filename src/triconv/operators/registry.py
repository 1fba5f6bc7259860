"""The operators: the one table that `triconv.__all__`, `triconv.use`, the command line and the checker read."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any, ParamSpec

from triconv.operators.operation import Call
from triconv.operators.torch_calls import RESOLVERS, is_compiling, override_call

Array = Any
P = ParamSpec("P")
Resolved = tuple[Call, tuple[Array, ...]]

OPERATORS: dict[str, Callable[..., Array]] = {}
"""Every operator by its name; `operator` enters it."""


def operator(resolve: Callable[P, Resolved], aliases: dict[str, str] | None = None) -> Callable[P, Array]:
    """Make an operator, and enter it in `OPERATORS`: it resolves its arguments, then runs the call.

    Parameters
    ----------
    resolve : callable
        Takes what the operator takes; gives the `Call` and the arrays that it takes. Its arrays are annotated as ``Array``.
    aliases : dict, optional
        Other names of its arguments that the operator takes as keywords, and theirs here.

    Returns
    -------
    callable
        The operator, with `resolve` as its attribute of that name.
    """
    others = aliases or {}

    @functools.wraps(resolve)
    def run(*args: P.args, **kwargs: P.kwargs) -> Array:
        for alias in kwargs.keys() & others.keys():
            if others[alias] not in kwargs:  # else it is refused as a name that is not known
                kwargs[others[alias]] = kwargs.pop(alias)
        if is_compiling():
            from triconv.operators import torch_compile

            return torch_compile.traced(resolve.__name__, *args, **kwargs)
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
    parameters = inspect.signature(op).parameters.values()
    return tuple(p.name for p in parameters if str(p.annotation).startswith("Array"))


def parameter_names() -> tuple[str, ...]:
    """The names of all that some operator takes beside its arrays."""
    names: dict[str, None] = {}
    for op in OPERATORS.values():
        names |= dict.fromkeys(name for name in inspect.signature(op).parameters if name not in array_names(op))
    return tuple(names)
