"""Calls of operators that torch takes over: under `torch.compile`, and where an argument overrides torch's functions."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

Array = Any

RESOLVERS: dict[str, Callable[..., Any]] = {}
"""What resolves the arguments of each operator, by its name: torch's compiler passes names, not functions."""


def is_compiling() -> bool:
    """Whether `torch.compile` is reading Python."""
    torch = sys.modules.get("torch")
    return torch is not None and torch.compiler.is_dynamo_compiling()


def override_call(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Callable[..., Array] | None:
    """Where an argument overrides torch's functions, as subclasses and symbolic tracers do: what hands an operator to it."""
    torch = sys.modules.get("torch")
    if torch is None or not torch.overrides.has_torch_function(arguments := (*args, *kwargs.values())):
        return None

    def override(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        return torch.overrides.handle_torch_function(function, arguments, *args, **kwargs)

    return override
