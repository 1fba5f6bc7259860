"""Operators under `torch.compile`: traced with tensors, since its compiler cannot read their Python code."""

from __future__ import annotations

from typing import Any

from triconv.backends.torch_internals import nonstrict_trace
from triconv.operators.torch_calls import RESOLVERS

Array = Any

NONE = "None"  # `nonstrict_trace` takes strings, but not None


def traced(name: str, *args: Any, **kwargs: Any) -> Array:
    """Run the operator of this name."""
    passed = [NONE if arg is None else arg for arg in args]
    return _traced(name, *passed, **{key: NONE if arg is None else arg for key, arg in kwargs.items()})


@nonstrict_trace
def _traced(name: str, *args: Any, **kwargs: Any) -> Array:
    passed = [None if _is_none(arg) else arg for arg in args]
    call, arrays = RESOLVERS[name](*passed, **{key: None if _is_none(arg) else arg for key, arg in kwargs.items()})
    return call.run(*arrays)


def _is_none(arg: Any) -> bool:
    return isinstance(arg, str) and arg == NONE
