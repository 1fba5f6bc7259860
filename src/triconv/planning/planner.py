"""Which schedule computes a contraction, and why: a cost model, deterministic, from shapes alone.

Kernels propose schedules; the cost of each (`Cost`) over how fast the target does it (`Rates`) is its time::

    seconds = amount / rate[kind] + bytes moved / bandwidth + operations * overhead

The operations of a program for a GPU are the kernels that it launches. One computes while it reads operands and writes the
result, so the longer of the two counts; what is written and read again takes launches of its own. Only ratios matter, and only
where two schedules differ by much. ``explain(..., measure=True)`` times them instead.
"""

from __future__ import annotations

import functools
import math
from dataclasses import replace
from typing import Any, NamedTuple

from triconv.backends.array_operations import order_of
from triconv.backends.base import Standard
from triconv.geometry import Geometry
from triconv.geometry.integers import shown
from triconv.kernels import channels_last, depthwise, direct, fft, gemm, vendor
from triconv.kernels.problem import FIRST, Problem
from triconv.kernels.schedule import Cost, Schedule
from triconv.kernels.target import Target, target_of
from triconv.rules import LETTERS, ROLES

__all__ = ["KERNELS", "Candidate", "Plan", "check_algorithm", "plan", "problem_of", "target_of"]

KERNELS = {"direct": direct, "gemm": gemm, "depthwise": depthwise, "fft": fft, "vendor": vendor}

# channels per group from which half-width products are faster: those of a tensor core
HALF_CHANNELS = 8

# kernels whose schedules depend on the geometry alone, so that samples and channels may be symbols
OF_ANY_SIZE = ("direct", "vendor")


class Candidate(NamedTuple):
    """A kernel that could compute a contraction, with its schedule and cost; or why it cannot."""

    algorithm: str
    schedule: Schedule | None
    cost: Cost | None
    seconds: float  # by the model; infinite if it cannot be used
    obstacle: str | None


class Plan(NamedTuple):
    """The schedule that was chosen, the reason, and all candidates, the cheapest first."""

    schedule: Schedule
    reason: str
    candidates: tuple[Candidate, ...]
    # whether to run the kernel on one sample at a time: its schedule has to know how many there are
    by_sample: bool = False

    @property
    def algorithm(self) -> str:
        """The kernel's name."""
        return self.schedule.kernel

    @property
    def kernel(self) -> Any:
        """The module with the three entry points."""
        return KERNELS[self.algorithm]


def check_algorithm(algorithm: str) -> None:
    """Raise `ValueError` if no kernel goes by this name."""
    if not isinstance(algorithm, str) or (algorithm != "auto" and algorithm not in KERNELS):
        names = ", ".join(map(repr, ("auto", *KERNELS)))
        msg = f"`algorithm` must be one of {names}, got {shown(algorithm)}"
        raise ValueError(msg)


def problem_of(
    contraction: str,
    a: Any,
    b: Any,
    geometry: Geometry,
    lib: Standard,
    dtype: Any,
    orders: tuple[str, ...] = FIRST,
) -> Problem:
    """The problem of two canonical arrays, with sums in `dtype`; `orders` are of arrays that have no strides."""
    letters: dict[str, int] = {}
    for role, operand in zip(ROLES[contraction].operands, (a, b), strict=True):
        letters |= zip(LETTERS[role], operand.shape, strict=False)
    itemsize, kind = lib.element(dtype)
    groups, n, c, k = (letters[letter] for letter in ("group", "n", "c", "k"))
    first = order_of(a)
    known = dict(zip(ROLES[contraction].operands, (first, order_of(b)), strict=True))
    # the result is to be as the first operand
    orders = tuple(known.get(role, first) or order for role, order in zip("xwg", orders, strict=True))
    return Problem(contraction, geometry, groups, n, c, k, itemsize, kind, orders)


def plan(problem: Problem, target: Target, algorithm: str = "auto") -> Plan:
    """Choose the schedule for a contraction; `ValueError` if the algorithm is no kernel's name, or cannot compute it."""
    check_algorithm(algorithm)
    if all(map(_is_known, (problem.groups, problem.n, problem.c, problem.k))):
        return _plan(problem, target, algorithm)
    return _of_unknown(problem, target, algorithm)


def _is_known(size: Any) -> bool:
    return isinstance(size, int)


def _of_unknown(problem: Problem, target: Target, algorithm: str) -> Plan:
    """The plan where a size is a symbol, for all that it may stand for (`jax.export`).

    A symbolic batch is planned as one of `Target.batch`. The kernels of `OF_ANY_SIZE` need no sizes; others run on a sample at
    a time.
    """
    channels = (problem.groups, problem.c, problem.k)
    if not all(map(_is_known, channels)):
        if algorithm not in ("auto", *OF_ANY_SIZE):
            unknown = ", ".join(str(size) for size in channels if not _is_known(size))
            msg = (
                f"`algorithm` must be one of {', '.join(map(repr, ('auto', *OF_ANY_SIZE)))} where channels are symbolic, got "
                f"{algorithm!r} for {unknown}; export the program with the channels as numbers"
            )
            raise ValueError(msg)
        if algorithm == "auto":
            name = "direct" if _obstacle("vendor", problem, target) else "vendor"
        else:
            name = algorithm
            _require(name, problem, target)
        schedule = next(KERNELS[name].schedules(problem, target))
        return Plan(schedule, "channels that are not known yet", ())
    batch = _plan(replace(problem, n=target.batch), target, algorithm)
    by_sample = batch.algorithm not in OF_ANY_SIZE
    one = _plan(replace(problem, n=1), target, batch.algorithm) if by_sample else batch
    reason = f"{batch.reason}; of a batch that is not known yet"
    return Plan(one.schedule, reason, batch.candidates, by_sample)


@functools.lru_cache(4096)
def _plan(problem: Problem, target: Target, algorithm: str) -> Plan:
    """`plan` of sizes that are known: nothing is counted twice for one problem."""
    if algorithm == "auto" and problem.multiply_adds:
        return _partitioned(problem, target) if target.partitioned else _cheapest(problem, target)
    name, reason = (algorithm, "asked for") if problem.multiply_adds else ("direct", "nothing meets")
    _require(name, problem, target)
    return Plan(_candidate(name, problem, target).schedule, reason, ())  # type: ignore[arg-type] # there is no obstacle


def _partitioned(problem: Problem, target: Target) -> Plan:
    """The kernel that a partitioner splits along batch, channels and groups without a gather, and with one sum over devices.

    It splits the framework's own convolution so where positions are whole on each device (`Standard.whole_positions`), but
    gathers what grouped channels are convolved with, and XLA's sums some grouped weight VJPs too often.
    """
    summed = problem.c if problem.contraction == "conv" else problem.k
    is_fused = summed == 1 and problem.c * problem.k <= target.fused_channels and problem.taps <= target.long_taps
    if problem.contraction != "conv_weight_vjp" and is_fused:
        name, reason = "direct", "sharded: a single loop, which is fused"
    elif problem.groups == 1 and target.positions_whole and _obstacle("vendor", problem, target) is None:
        name, reason = "vendor", "sharded: the framework's own is split as its axes are"
    else:
        name, reason = "gemm", "sharded: no loop over axes that devices share"
    return Plan(_candidate(name, problem, target).schedule, reason, ())  # type: ignore[arg-type] # there is no obstacle


def _cheapest(problem: Problem, target: Target) -> Plan:
    candidates = tuple(
        sorted((_candidate(name, problem, target) for name in KERNELS), key=lambda candidate: candidate.seconds)
    )
    by_name = {candidate.algorithm: candidate for candidate in candidates}
    vendor_ = by_name["vendor"] if math.isfinite(by_name["vendor"].seconds) else None
    best, reason = candidates[0], ""
    is_small = problem.multiply_adds <= target.small and problem.taps <= target.long_taps
    simplest = _simplest(problem, target, by_name["direct"], vendor_)
    if _is_product(problem, target):
        best, reason = by_name["gemm"], "one matrix product of what stands in memory"
    # where each operation is called, and none is a convolution, they are few by the model alone
    elif is_small and simplest:
        best = simplest
        reason = f"small: up to {target.small:,} multiply-adds, {'one call' if simplest is vendor_ else 'the smallest program'}"
    elif not math.isfinite(best.seconds):  # none is good: the smallest program
        best = min(candidates, key=lambda candidate: candidate.cost.operations if candidate.cost else math.inf)
    elif vendor_ and vendor_.seconds <= target.rates.margin * best.seconds + target.rates.least_gain:
        best = vendor_
        if best is not candidates[0]:
            more = f" and {target.rates.least_gain * 1e3:g} ms more" if target.rates.least_gain else ""
            reason = f"the library's own, unless it takes {target.rates.margin:g} times as long as another{more}"
    return Plan(best.schedule, reason or KERNELS[best.algorithm].RATIONALE, candidates)  # type: ignore[arg-type]


def _is_product(problem: Problem, target: Target) -> bool:
    """Whether a forward or input VJP of 1x1 taps is a product that takes no longer than XLA's convolution on a CPU, if known.

    That takes 1.5 to 5 times as long with JAX 0.10, and up to 3 times with 0.12, except along one axis.
    """
    if problem.contraction == "conv_weight_vjp" or not (target.compiled and target.kind == "cpu"):
        return False
    axes = problem.geometry.axes
    is_whole = problem.phases == 1 and all(axis.windows_are_inputs for axis in axes)
    return is_whole and len(axes) > 1 and channels_last.are_matrices(problem, target)


def _simplest(problem: Problem, target: Target, direct_: Candidate, vendor_: Candidate | None) -> Candidate | None:
    """What a small problem is computed by, if that is known without the model.

    In a compiled program that is a term per tap only where those are fused, or there is no other. XLA's CPU compiler takes
    10 to 200 times as long for them as for a call of its own convolution, and the program 2 to 5 times as long. (8 samples
    of 4 x 4 positions, 32 channels, 4x4 taps: 6 s and 0.03; 0.16 ms and 0.06.) Groups of one channel and few taps are
    fused, and XLA's own loops over groups.
    """
    if not target.compiled:
        return vendor_
    is_fused = problem.groups > 1 and min(problem.c, problem.k) == 1 and problem.taps <= target.chained_taps
    if is_fused or not vendor_ or target.kind == "gpu":
        return direct_
    return vendor_ if problem.groups == 1 else None


def _obstacle(name: str, problem: Problem, target: Target) -> str | None:
    """Why a kernel cannot compute a problem, if so; one that can compute all has nothing to say."""
    ask = getattr(KERNELS[name], "obstacle", None)
    return ask(problem, target) if ask else None


def _require(name: str, problem: Problem, target: Target) -> None:
    """Raise `ValueError` if the kernel that is asked for cannot compute a problem."""
    if obstacle := _obstacle(name, problem, target):
        msg = f"`algorithm` must be one that can compute this {problem.contraction}, got {name!r}: {obstacle}"
        raise ValueError(msg)


def _candidate(name: str, problem: Problem, target: Target) -> Candidate:
    """A kernel's cheapest schedule."""
    if obstacle := _obstacle(name, problem, target):
        return Candidate(name, None, None, math.inf, obstacle)
    kernel, rates = KERNELS[name], target.rates
    caution = getattr(kernel, "caution", None)

    def candidate(schedule: Schedule) -> Candidate:
        cost: Cost = kernel.cost(schedule, problem, target)
        is_integer = problem.kind == "integer" and cost.kind == "matrix"
        rate = rates.integer if is_integer else getattr(rates, cost.kind)
        if problem.itemsize == 2 and cost.kind in ("matrix", "vendor") and min(problem.c, problem.k) >= HALF_CHANNELS:
            rate *= rates.half
        elif problem.itemsize == 2 and cost.kind in ("vector", "sum") and target.compiled and target.kind == "gpu":
            rate *= 2  # a fused loop is bound by the bytes that it reads from a cache
        passes = target.transpose_passes * (target.group_transpose if problem.groups > 1 else 1)
        transposed = passes * problem.bytes_last if schedule.orders == FIRST else 0
        moved = problem.bytes + cost.moved + transposed
        if target.compiled and target.kind == "gpu":
            seconds = max(cost.amount / rate, problem.bytes / rates.bandwidth) + cost.launches * rates.overhead
            seconds += (moved - problem.bytes) / rates.bandwidth
        else:
            seconds = cost.amount / rate + moved / rates.bandwidth + cost.operations * rates.overhead
        obstacle = caution(problem, target) if caution else None
        if cost.operations > target.largest_operations:
            obstacle = f"a program of {cost.operations:,} operations"
        elif not obstacle and cost.temporary > 2 * problem.bytes + target.memory:
            obstacle = f"{cost.temporary / 2**20:.0f} MiB of temporary memory"
        return Candidate(name, schedule, cost, math.inf if obstacle else seconds, obstacle)

    return min(map(candidate, kernel.schedules(problem, target)), key=lambda candidate: candidate.seconds)
