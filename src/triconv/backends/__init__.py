"""One small file a library: what the array API standard lacks, and nothing else.

To add a library, subclass `Standard` in a file of its own and enter it in `BACKENDS`.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import array_api_compat as compat

from triconv.backends.cupy import CuPy
from triconv.backends.jax import JAX
from triconv.backends.numpy import NumPy
from triconv.backends.standard import Standard, to_numpy
from triconv.backends.strict import Strict
from triconv.backends.torch import Torch

BACKENDS: dict[str, type[Standard]] = {kind.name: kind for kind in (NumPy, JAX, Torch, CuPy, Strict)}

__all__ = ["BACKENDS", "Standard", "backend_of", "overriding", "python_tracer", "to_numpy"]


def backend_of(xp: Any) -> Standard:
    """The backend of an array namespace; the plain standard for a library that triconv does not know by name."""
    for is_namespace, kind in (
        (compat.is_numpy_namespace, NumPy),
        (compat.is_jax_namespace, JAX),
        (compat.is_torch_namespace, Torch),
        (compat.is_cupy_namespace, CuPy),
        (compat.is_array_api_strict_namespace, Strict),
    ):
        if is_namespace(xp):
            return kind(xp)
    return Standard(xp)


def python_tracer() -> Callable[..., Any] | None:
    """Where a compiler is reading Python itself, as `torch.compile` does: what gives it an operator as a whole."""
    torch = sys.modules.get("torch")
    if torch is None or not torch.compiler.is_dynamo_compiling():
        return None
    from triconv.interop import torch as binding

    return binding.compiled


def overriding(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Callable[..., Any] | None:
    """Where an argument takes calls of torch's functions itself, as subclasses and symbolic tracers do: what lets it."""
    torch = sys.modules.get("torch")
    if torch is None or not torch.overrides.has_torch_function(given := (*args, *kwargs.values())):
        return None

    def override(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        return torch.overrides.handle_torch_function(function, given, *args, **kwargs)

    return override
