"""Which kernel computes a contraction, and why."""

from __future__ import annotations

from types import ModuleType
from typing import Any, NamedTuple

from triconv.geometry import Geometry
from triconv.kernels import direct

KERNELS: dict[str, ModuleType] = {"direct": direct}

# names of the contract that no kernel answers to yet
PLANNED = ("gemm", "depthwise", "fft", "winograd", "vendor")


class Plan(NamedTuple):
    """A kernel and the reason for it."""

    algorithm: str
    reason: str

    @property
    def kernel(self) -> Any:
        """The module with the three faces."""
        return KERNELS[self.algorithm]


def check_algorithm(algorithm: str) -> None:
    """Raise `ValueError` if no kernel goes by this name."""
    if not isinstance(algorithm, str) or (algorithm != "auto" and algorithm not in KERNELS):
        names = ", ".join(map(repr, ("auto", *KERNELS)))
        later = " (planned, not there yet)" if algorithm in PLANNED else ""
        msg = f"`algorithm` must be one of {names}, got {algorithm!r}{later}"
        raise ValueError(msg)


def plan(geometry: Geometry, algorithm: str = "auto") -> Plan:  # noqa: ARG001 (the choice will depend on it)
    """Choose the kernel for a contraction.

    Parameters
    ----------
    geometry : Geometry
        The geometry of the contraction.
    algorithm : str
        A kernel's name, or "auto".

    Returns
    -------
    Plan

    Raises
    ------
    ValueError
        If no kernel goes by this name.
    """
    check_algorithm(algorithm)
    if algorithm == "auto":
        return Plan("direct", "the only kernel there is")
    return Plan(algorithm, "asked for")
