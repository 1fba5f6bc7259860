"""When torch takes over a call of an operator: under `torch.compile`, and if an argument overrides torch's functions."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

Array = Any

RESOLVERS: dict[str, Callable[..., Any]] = {}
"""Per operator, the function that resolves its arguments; by name, since torch's compiler passes no functions."""


def is_compiling() -> bool:
    """Whether `torch.compile` is tracing the caller."""
    torch = sys.modules.get("torch")
    return torch is not None and torch.compiler.is_dynamo_compiling()


def override_call(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Callable[..., Array] | None:
    """If an argument overrides torch's functions (a tensor subclass, a symbolic tracer): a function that calls its override."""
    torch = sys.modules.get("torch")
    if torch is None or not torch.overrides.has_torch_function(arguments := (*args, *kwargs.values())):
        return None

    def override(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        return torch.overrides.handle_torch_function(function, arguments, *args, **kwargs)

    return override
