"""The derivative and batching rules of `triconv.rules`, registered with each framework that differentiates."""

from __future__ import annotations

import importlib
from typing import Any

BINDINGS = {"jax": "triconv.autodiff.jax_primitives", "torch": "triconv.autodiff.torch_functions"}
"""Library: the module whose contractions its autodiff knows."""


def binding(library: str) -> Any:
    """The module whose contractions the autodiff of a library knows; the plain one where there is no autodiff."""
    return importlib.import_module(BINDINGS.get(library, "triconv.contractions"))
