"""What has XLA compile soonest for a CPU: for programs that run once or a few times."""

from __future__ import annotations

from collections.abc import Mapping

UNOPTIMIZED = {"xla_backend_optimization_level": 0}
EMITTERS = ("0.10.", "xla_cpu_use_fusion_emitters")
"""Versions of jaxlib that know an option, and the option: a third less time. XLA ends a process with any other flag."""


def options() -> dict[str, int | bool]:
    """Return them as options of the compiler, such as `jax.jit` takes."""
    return UNOPTIMIZED | emitters()


def emitters() -> dict[str, bool]:
    """Return those that choose how loops are emitted, none where they cannot be chosen."""
    from importlib import metadata

    versions, name = EMITTERS
    try:
        return {name: False} if metadata.version("jaxlib").startswith(versions) else {}
    except metadata.PackageNotFoundError:
        return {}


def flags(chosen: Mapping[str, int | bool]) -> str:
    """Return options as XLA_FLAGS has them."""
    return " ".join(f"--{name}={value}".lower() for name, value in chosen.items())
