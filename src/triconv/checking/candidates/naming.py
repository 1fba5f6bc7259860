"""The names in a report: of what was checked, and the versions of what it was checked with."""

from __future__ import annotations

import platform
import sys
from typing import Any

from triconv.backends import BACKENDS
from triconv.checking.candidates.candidates import Rules


def name_of(candidate: Any) -> str:
    """Return what a candidate is called in a report."""
    if isinstance(candidate, Rules):
        return f"Rules({name_of(candidate.forward)}, ...)"
    if isinstance(candidate, (tuple, list)) and candidate:
        return name_of(candidate[0])
    inner = getattr(candidate, "func", candidate)
    return getattr(inner, "__name__", None) or type(inner).__name__


def versions(framework: str) -> dict[str, str]:
    """Return the versions of triconv, Python, NumPy, of JAX and torch where they are imported, and of the framework."""
    imported = [name for name in ("jax", "torch") if name in sys.modules]
    libraries = dict.fromkeys(name for name in ("numpy", *imported, framework) if name in BACKENDS)
    return {
        "triconv": str(sys.modules["triconv"].__version__),  # an import of the root would be a cycle
        "python": platform.python_version(),
        **{name: BACKENDS[name].version() for name in libraries},
    }
