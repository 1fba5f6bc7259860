"""The derivative and batching rules of `triconv.rules`, registered with each framework that differentiates.

Read in this order: `batching` (`vmap` as one call), `conjugation` (complex cotangents), then `jax_primitives` and
`torch_functions`, one binding per framework. A binding has the same five functions as `triconv.contractions`.
"""

from __future__ import annotations

import functools
import importlib
from typing import Any

BINDINGS = {"jax": "triconv.autodiff.jax_primitives", "torch": "triconv.autodiff.torch_functions"}
"""Per library: the module whose contractions its autodiff can differentiate."""


@functools.cache
def binding(library: str) -> Any:
    """The module with the contractions for a library; the plain one, if the library has no autodiff."""
    return importlib.import_module(BINDINGS.get(library, "triconv.contractions"))
