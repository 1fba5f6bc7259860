"""The schedule: what a kernel will do for a problem, decided once. A kernel executes it and decides nothing."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from typing import NamedTuple

from triconv.geometry import Geometry, Phase
from triconv.kernels.problem import FIRST, Problem
from triconv.kernels.target import Target


class Cost(NamedTuple):
    """What executing a schedule takes: ``amount / rate + bytes / bandwidth + operations * overhead`` seconds; see `planner`."""

    kind: str  # of multiply-adds: "matrix", "vector", "sum", "transform" or "vendor", as in `Rates`
    amount: float  # number of them
    moved: float  # bytes written and read again beside the operands and the result
    temporary: float  # bytes of memory beside the operands and the result
    operations: int  # operations to compile, or to call one by one
    launches: int = 8  # kernels that a compiled program launches on a GPU


@dataclass(frozen=True, slots=True)
class PhaseSchedule:
    """What is done for one phase, a convolution without input dilation."""

    row_axes: int = 0  # leading axes that are not unfolded: their taps are rows of the product
    in_lines: bool = False  # whether windows whose channels stand last are unfolded in lines of positions
    layers: bool = False  # whether taps are taken in passes over non-overlapping windows
    step: int = 0  # taps of the last axis that a loop over the taps takes at a time; 0 for no loop
    rows: int = 0  # positions of the first axis that a loop over them takes at a time; 0 for no loop
    split_k: int = 1  # parts into which the sum of a product is split
    split_line: int = 1  # elements at whose multiples the parts start
    pads_in_place: bool = (
        False  # whether each tap pads what it reads, for a compiler to fuse, instead of reading a padded copy
    )
    channels_last: bool = False  # whether that padded copy has channels last in memory
    along_positions: bool = False  # whether multiply-adds in place run along lines of all positions of a channel
    along_channels: bool = False  # whether sums of products in place run along channels
    summed_axis: int = 0  # the spatial axis, from 1 on, of which sums take `summed` positions first; 0 for all at once
    summed: int = 0
    by_kernel_rows: bool = False  # whether the taps of each row of the kernel are added by themselves
    rows_together: bool = False  # whether the sums of all these rows are one array, for a compiler to fuse
    own_width: bool = False  # whether Fourier transforms have the width of the operands, and not that of float64
    fused_products: bool = False  # whether spectra are multiplied element by element, for a compiler to fuse

    def __str__(self) -> str:
        changed = [(f.name, value) for f in fields(self) if (value := getattr(self, f.name)) != f.default]
        return ", ".join(name if value is True else f"{name}={value}" for name, value in changed)


@dataclass(frozen=True, slots=True)
class Schedule:
    """What a kernel will do: printed by `triconv.explain`, weighed by the kernel's `cost`."""

    kernel: str
    form: str  # which of its ways to compute
    contraction: str  # what it computes, once `swapped`
    geometry: Geometry  # the same, with the zeros of the input's dilation written where `spread` says so
    swapped: bool = False  # whether x and g are exchanged in a weight VJP, and the transposed kernel is the result
    spread: tuple[
        int, ...
    ] = ()  # steps at which the input is written between zeros, one per axis; none if no zeros are
    phases: tuple[PhaseSchedule, ...] = ()  # one per phase of the geometry, or one for all
    samples: int = 0  # of a block; 0 for no loop over samples
    groups: int = 0  # of a block of one sample; 0 for no loop over groups
    orders: tuple[str, ...] = FIRST  # where the channels of x, w and g stand in memory while it computes
    in_tiles: bool = False  # whether a block has so many samples and so many groups, and a thread for itself

    def by_phases(self) -> Iterator[tuple[Phase, PhaseSchedule]]:
        """Every phase with what is done for it."""
        for number, phase in enumerate(self.geometry.phases()):
            yield phase, self.phases[number if len(self.phases) > 1 else 0]

    def steps(self, taps: int) -> int:
        """How many steps a loop over so many taps takes; 1 if there is no loop."""
        step = self.phases[0].step
        return -(-taps // step) if step else 1

    def counted(self) -> Iterator[tuple[Geometry, int, PhaseSchedule]]:
        """The geometries of the phases, how many there are of each, and what is done for it: to be weighed."""
        each = _one_by_one(self.geometry) if len(self.phases) > 1 else _first_for_all(self.geometry)
        for (geometry, count), phase in zip(each, self.phases, strict=True):
            yield geometry, count, phase

    def __str__(self) -> str:
        parts = [f"{self.kernel}: {self.form}"]
        if self.samples or self.groups:
            name = "tiles" if self.in_tiles else "blocks"
            parts.append(f"{name}: samples={self.samples or 'all'}, groups={self.groups or 'all'}")
        if "last" in self.orders:
            parts.append("channels last")
        if self.swapped:
            parts.append("x and g exchanged")
        if self.spread:
            parts.append(f"zeros written at steps {self.spread}")
        words = list(dict.fromkeys(filter(None, map(str, self.phases))))
        return "; ".join([*parts, *words])


def counted(geometry: Geometry, target: Target) -> list[tuple[Geometry, int]]:
    """The geometries of the phases and how many there are of each; where they are many, the first stands for all."""
    is_few = geometry.count_phases() <= target.counted_phases
    return _one_by_one(geometry) if is_few else _first_for_all(geometry)


def _one_by_one(geometry: Geometry) -> list[tuple[Geometry, int]]:
    return [(phase.geometry, 1) for phase in geometry.phases()]


def _first_for_all(geometry: Geometry) -> list[tuple[Geometry, int]]:
    first = tuple(next(axis.phases()).axis for axis in geometry.axes)
    return [(Geometry(first, geometry.groups), geometry.count_phases())]


def few_phases(geometry: Geometry, target: Target) -> Geometry:
    """The same geometry, or one of an input with as many zeros written as leave a compiled program few phases."""
    if not target.compiled or geometry.count_phases() <= target.largest_phases:
        return geometry
    axes = list(geometry.axes)
    while math.prod(counts := [axis.count_phases() for axis in axes]) > target.largest_phases:
        most = counts.index(max(counts))
        axes[most] = axes[most].spread()
    return Geometry(tuple(axes), geometry.groups)


def by_phases(kernel: str, form: str, problem: Problem, target: Target) -> tuple[Schedule, Problem]:
    """A schedule by windows, phase by phase, that is not filled in yet; and the problem that it leaves to the phases."""
    view = problem.by_windows()
    few = few_phases(view.geometry, target)
    spread: tuple[int, ...] = ()
    if few != view.geometry:
        spread = tuple(a.input_dilation // b.input_dilation for a, b in zip(view.geometry.axes, few.axes, strict=True))
    schedule = Schedule(kernel, form, view.contraction, few, problem.is_swapped, spread)
    return schedule, replace(view, geometry=few)
