"""Which kernel computes a contraction, and why: a cost model, deterministic, from shapes alone.

A kernel's cost is what it does (`Work`) over how fast a device does it (`Device`)::

    seconds = amount / rate[kind] + bytes moved / bandwidth + operations * overhead

The rates are of the order of a small machine's and a large accelerator's; only their ratios matter, and only where two
kernels differ by much. ``explain(..., measure=True)`` times the candidates instead.
"""

from __future__ import annotations

import functools
import math
from dataclasses import replace
from types import ModuleType
from typing import Any, NamedTuple

from triconv.backends.base import Standard
from triconv.geometry import Geometry
from triconv.geometry.integers import shown
from triconv.kernels import depthwise, direct, fft, gemm, vendor
from triconv.kernels.problem import Problem, Work
from triconv.rules import LETTERS, ROLES

KERNELS: dict[str, ModuleType] = {
    "direct": direct,
    "gemm": gemm,
    "depthwise": depthwise,
    "fft": fft,
    "vendor": vendor,
}

# multiply-adds up to which nothing is to be gained, and taps up to which `direct` is no longer a program than others
SMALL, LONG = 2**16, 128
# kernels that need not know how many samples or channels there are, and the samples that a symbolic batch is planned for
WHOLE, BATCH = ("direct", "vendor"), 16
# products of channels up to which a compiler fuses the terms of all taps into one loop
FUSED = 64
# operations that a program may have
MOST = 1024
# taps from which a Fourier transform, whose error is bounded norm by norm alone, is considered
FEWEST = 256
# bytes of temporary memory that a kernel may have beside twice the operands and the result
MEMORY = 64 * 2**20


class Device(NamedTuple):
    """How fast a library does what kernels do on a kind of device."""

    matrix: float
    """Multiply-adds a second in matrix products, and so on for each kind of work."""
    vector: float
    sum: float
    transform: float
    vendor: float
    integer: float
    """Multiply-adds a second in matrix products of integers."""
    bandwidth: float
    """Bytes a second."""
    overhead: float
    """Seconds an operation: to call it, or to compile it, shared out among a thousand calls."""
    margin: float = 1.0
    """How many times as long the library's own convolution may take before another kernel is preferred."""


DEVICES = {
    ("compiled", "cpu"): Device(90e9, 30e9, 8e9, 3e9, 80e9, 1e9, 10e9, 10e-6),
    ("called", "cpu"): Device(65e9, 1e9, 1e9, 1.5e9, 80e9, 1e9, 6e9, 5e-6, 1.25),
    ("compiled", "gpu"): Device(15e12, 3e12, 1e12, 0.5e12, 20e12, 1e12, 2e12, 10e-6),
    ("called", "gpu"): Device(15e12, 0.5e12, 0.3e12, 0.5e12, 20e12, 1e12, 2e12, 10e-6),
}


class Candidate(NamedTuple):
    """A kernel that could compute a contraction, with its cost; or why it cannot."""

    algorithm: str
    work: Work | None
    seconds: float
    """By the model; infinite if it cannot be used."""
    obstacle: str | None

    @property
    def kernel(self) -> Any:
        """The module with the three faces."""
        return KERNELS[self.algorithm]


class Plan(NamedTuple):
    """The kernel that was chosen, the reason, and all candidates, the cheapest first."""

    algorithm: str
    reason: str
    candidates: tuple[Candidate, ...]
    by_sample: bool = False
    """Whether to run the kernel on one sample at a time, since it has to know how many there are."""

    @property
    def kernel(self) -> Any:
        """The module with the three faces."""
        return KERNELS[self.algorithm]


def check_algorithm(algorithm: str) -> None:
    """Raise `ValueError` if no kernel goes by this name."""
    if not isinstance(algorithm, str) or (algorithm != "auto" and algorithm not in KERNELS):
        names = ", ".join(map(repr, ("auto", *KERNELS)))
        msg = f"`algorithm` must be one of {names}, got {shown(algorithm)}"
        raise ValueError(msg)


def problem_of(contraction: str, a: Any, b: Any, geometry: Geometry, lib: Standard, dtype: Any) -> Problem:
    """The problem of two canonical arrays, with sums in `dtype`."""
    letters: dict[str, int] = {}
    for role, operand in zip(ROLES[contraction].operands, (a, b), strict=True):
        letters |= zip(LETTERS[role], operand.shape, strict=False)
    itemsize, kind = lib.element(dtype)
    groups, n, c, k = (letters[letter] for letter in ("group", "n", "c", "k"))
    return Problem(contraction, geometry, groups, n, c, k, itemsize, kind, lib.device_kind(a))


def plan(problem: Problem, lib: Standard, algorithm: str = "auto") -> Plan:
    """Choose the kernel for a contraction.

    Parameters
    ----------
    problem : Problem
        The contraction.
    lib : Standard
        The library that is to compute it.
    algorithm : str
        A kernel's name, or "auto".

    Returns
    -------
    Plan

    Raises
    ------
    ValueError
        If no kernel goes by this name, or the kernel cannot compute this contraction.
    """
    check_algorithm(algorithm)
    if not all(map(_is_known, (problem.groups, problem.n, problem.c, problem.k))):
        return _of_unknown(problem, lib, algorithm)
    if algorithm == "auto" and lib.is_partitioned() and problem.multiply_adds:
        return _partitioned(problem, lib)
    return _plan(problem, type(lib), algorithm)  # type: ignore[arg-type] # a class is hashable


def _is_known(size: Any) -> bool:
    return isinstance(size, int)


def _of_unknown(problem: Problem, lib: Standard, algorithm: str) -> Plan:
    """The plan where a size is a symbol, for all that it may stand for (`jax.export`).

    A symbolic batch is planned as one of `BATCH`. The kernels of `WHOLE` need no sizes; others run on a sample at a time.
    """
    channels = (problem.groups, problem.c, problem.k)
    if not all(map(_is_known, channels)):
        if algorithm not in ("auto", *WHOLE):
            unknown = ", ".join(str(size) for size in channels if not _is_known(size))
            msg = (
                f"`algorithm` must be one of {', '.join(map(repr, ('auto', *WHOLE)))} where channels are symbolic, got "
                f"{algorithm!r} for {unknown}; export the program with the channels as numbers"
            )
            raise ValueError(msg)
        obstacle = _obstacle("vendor", problem, type(lib))
        if algorithm == "vendor" and obstacle:
            msg = f"`algorithm` must be one that can compute this {problem.contraction}, got {algorithm!r}: {obstacle}"
            raise ValueError(msg)
        name = algorithm if algorithm != "auto" else "direct" if obstacle else "vendor"
        return Plan(name, "channels that are not known yet", ())
    found = plan(replace(problem, n=BATCH), lib, algorithm)
    return found._replace(
        reason=f"{found.reason}; of a batch that is not known yet", by_sample=found.algorithm not in WHOLE
    )


def _partitioned(problem: Problem, lib: Standard) -> Plan:
    """The kernel that a partitioner splits along batch, channels and groups without a gather, and with one sum over devices.

    It splits the framework's own convolution so where positions are whole on each device (`Standard.whole_positions`), but
    gathers what grouped channels are convolved with, and XLA's sums some grouped weight VJPs too often.
    """
    summed = problem.c if problem.contraction == "conv" else problem.k
    if (
        problem.contraction != "conv_weight_vjp"
        and summed == 1
        and problem.c * problem.k <= FUSED
        and problem.taps <= LONG
    ):
        return Plan("direct", "sharded: a single loop, which is fused", ())
    if problem.groups == 1 and lib.keeps_positions_whole() and _obstacle("vendor", problem, type(lib)) is None:
        return Plan("vendor", "sharded: the framework's own is split as its axes are", ())
    return Plan("gemm", "sharded: no loop over what devices share", ())


@functools.lru_cache(4096)
def _plan(problem: Problem, backend: type[Standard], algorithm: str) -> Plan:
    """`plan` of sizes that are known: nothing is counted twice for one problem."""
    problem = replace(problem, compiled=backend.compiles)
    if not problem.multiply_adds:
        return Plan("direct", "nothing meets", ())
    if algorithm != "auto":
        obstacle = _obstacle(algorithm, problem, backend)
        if obstacle:
            msg = f"`algorithm` must be one that can compute this {problem.contraction}, got {algorithm!r}: {obstacle}"
            raise ValueError(msg)
        return Plan(algorithm, "asked for", ())
    return _cheapest(problem, backend)


def _cheapest(problem: Problem, backend: type[Standard]) -> Plan:
    device = DEVICES["compiled" if backend.compiles else "called", problem.device]
    candidates = tuple(
        sorted(
            (_candidate(name, problem, backend, device) for name in KERNELS), key=lambda candidate: candidate.seconds
        )
    )
    own = next((c for c in candidates if c.algorithm == "vendor" and math.isfinite(c.seconds)), None)
    if problem.multiply_adds <= SMALL and problem.taps <= LONG:
        return Plan("vendor" if own and not backend.compiles else "direct", "small", candidates)
    best = candidates[0]
    if not math.isfinite(best.seconds):  # none is good: the one that takes the least to compile
        best = min(candidates, key=lambda candidate: candidate.work.operations if candidate.work else math.inf)
    elif own and own.seconds <= device.margin * best.seconds:
        best = own
    return Plan(best.algorithm, best.work.why if best.work else "", candidates)


def _obstacle(name: str, problem: Problem, backend: type[Standard]) -> str | None:
    """Why a kernel cannot compute a problem, if so; one that can compute all has nothing to say."""
    ask = getattr(KERNELS[name], "obstacle", None)
    return ask(problem, backend) if ask else None


def _candidate(name: str, problem: Problem, backend: type[Standard], device: Device) -> Candidate:
    obstacle = _obstacle(name, problem, backend)
    if obstacle:
        return Candidate(name, None, math.inf, obstacle)
    work = KERNELS[name].work(problem)
    rate = device.integer if problem.kind == "integer" and work.kind == "matrix" else getattr(device, work.kind)
    seconds = work.amount / rate + (problem.bytes + work.moved) / device.bandwidth + work.operations * device.overhead
    if work.operations > MOST:
        obstacle = f"a program of {work.operations:,} operations"
    elif name == "fft" and problem.taps < FEWEST:
        obstacle = "its error bound is norm by norm, which a short kernel is not worth"
    elif work.temporary > 2 * problem.bytes + MEMORY:
        obstacle = f"{work.temporary / 2**20:.0f} MiB of temporary memory"
    return Candidate(name, work, math.inf if obstacle else seconds, obstacle)
