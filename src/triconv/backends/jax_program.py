"""What is known of the program that JAX is compiling, while a contraction is traced for it."""

from __future__ import annotations

import contextlib
import contextvars
from collections.abc import Iterator
from typing import Any, NamedTuple


class Program(NamedTuple):
    """The program that is being compiled; by default nothing is known of it."""

    device_kind: str = ""
    partitioned: bool = False  # whether its arrays may be sharded over several devices
    mesh: Any = None  # of these devices, if it is known
    # whether what is traced is known to stand outside of its loops, branches and functions. From JAX 0.11 on, functions are
    # merged after each is lowered by itself
    outermost: bool = True
    # whether kernels with several taps are functions that XLA keeps apart: on one CPU. An exported program must not prescribe
    # how arrays are laid out
    apart: bool = True


PROGRAM: contextvars.ContextVar[Program] = contextvars.ContextVar("PROGRAM", default=Program())  # noqa: B039 (it is a tuple)


@contextlib.contextmanager
def compiling(program: Program) -> Iterator[None]:
    """Within it, what is traced is for this program."""
    token = PROGRAM.set(program)
    try:
        yield
    finally:
        PROGRAM.reset(token)
