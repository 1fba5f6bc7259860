"""Two ways to take the steps of an axis out of a convolution without inserted zeros: its phases together, its residues apart.

Both leave one plain convolution of arrays that are brought into another order. An input dilation goes into output channels
(`merge_phases`): each phase is a channel of its own, and the result is interleaved. A dilation goes into samples
(`split_residues`): outputs and inputs of one residue class are a sample of their own.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from triconv.geometry.incidence import Axis, AxisPhase


class MergedPhases(NamedTuple):
    """The phases of an axis as one axis without input dilation, whose outputs are blocks with one output of each phase."""

    axis: Axis
    before: int  # outputs of the first block that stand before the axis's first output
    taps: tuple[tuple[slice, slice], ...]  # per output of a block: its taps, and which taps of `axis` they are


class SplitResidues(NamedTuple):
    """An axis with a dilation as several without one, alike but for the residues of their inputs and outputs."""

    axis: Axis
    front: int  # padding before the input, beside that of `axis`
    # of each, its first input in that padded input: a multiple of the dilation, and a residue; it has every `dilation`-th, and
    # of the outputs every ``len(classes)``-th
    classes: tuple[tuple[int, int], ...]

    @property
    def rows(self) -> int:
        """Length of the padded input over the dilation."""
        return self.axis.input_size + max(first for first, _ in self.classes)


def merge_phases(axis: Axis) -> MergedPhases | None:
    """Take all phases of an axis together; None where they do not fit into blocks.

    Parameters
    ----------
    axis : Axis
        With at least one input, tap and output.

    Returns
    -------
    MergedPhases or None

    Notes
    -----
    Output ``o`` becomes output ``(o + before) % e`` of block ``b = (o + before) // e``, where ``e`` is the input dilation. With
    ``q = b - turn`` the phase of `Axis.phases` reads::

        i + pad_lo + stride * turn  =  stride * b + dilation * u

    so in one axis for all phases the taps of each stand ``pad_lo of the axis - pad_lo - stride * turn`` inputs later. The first
    block starts where that takes the fewest taps; the axis is dilated by what the phases' dilation and these distances share.
    """
    phases = {phase.output.start: phase for phase in axis.phases()}
    count = axis.input_dilation // math.gcd(axis.stride, axis.input_dilation)
    if set(phases) != set(range(count)):
        return None
    choices = (
        _merged_from(axis, [phases[(place - before) % count] for place in range(count)], before) for before in phases
    )
    return min(choices, key=lambda merged: merged.axis.kernel_size)


def _merged_from(axis: Axis, ordered: list[AxisPhase], before: int) -> MergedPhases:
    """The same with so many outputs of the first block before the first."""
    count, (stride, step) = len(ordered), (ordered[0].axis.stride, ordered[0].axis.dilation)
    pads = [phase.axis.pad_lo + stride * ((phase.output.start + before) // count) for phase in ordered]
    starts = [max(pads) - pad for pad in pads]
    dilation = math.gcd(step, *starts)
    places = [
        slice(start // dilation, (start + step * (phase.axis.kernel_size - 1)) // dilation + 1, step // dilation)
        for start, phase in zip(starts, ordered, strict=True)
    ]
    taps = max(place.stop for place in places)
    blocks, pad_lo = -(-(axis.output_size + before) // count), max(pads)
    merged = Axis.for_output_size(blocks, axis.input_size, taps, stride=stride, dilation=dilation, pad_lo=pad_lo)
    if stride == 1 and min(pad_lo, merged.pad_hi) >= 0 and abs(uneven := merged.pad_hi - pad_lo) <= max(1, blocks // 8):
        # a few more blocks, and the padding is the same on both sides: for cuDNN, XLA would write an uneven one as a copy
        more = max(0, uneven)
        merged = Axis(axis.input_size, taps, 1, dilation, 1, pad_lo + more, pad_lo + more)
        before += more * count
    return MergedPhases(merged, before, tuple(zip((phase.taps for phase in ordered), places, strict=True)))


def split_residues(axis: Axis) -> SplitResidues:
    """Take the residue classes of an axis apart.

    Parameters
    ----------
    axis : Axis
        Without input dilation, and with at least one input, tap and output.

    Returns
    -------
    SplitResidues

    Notes
    -----
    With ``g = gcd(stride, dilation)``, outputs ``o = (dilation / g) * q + r`` meet the inputs ``i = dilation * j + stride * r -
    pad_lo``, and the incidence equation, divided by the dilation, reads::

        j  =  (stride / g) * q + t

    Padding stays with the convolution where it is the same on both sides and a multiple of the dilation, and is of the input
    otherwise.
    """
    dilation, shared = axis.dilation, math.gcd(axis.stride, axis.dilation)
    count = min(dilation // shared, axis.output_size)
    outputs, stride = -(-axis.output_size // count), axis.stride // shared
    classes = tuple(divmod(axis.stride * r, dilation) for r in range(count))
    extent = stride * (outputs - 1) + axis.kernel_size
    margin, front = divmod(axis.pad_lo, dilation)
    inputs = extent - 2 * margin
    is_shifted = any(first for first, _ in classes)
    if is_shifted or margin <= 0 or inputs < -(-(axis.input_size + front) // dilation):
        margin, front, inputs = 0, axis.pad_lo, extent
    return SplitResidues(
        Axis.for_output_size(outputs, inputs, axis.kernel_size, stride=stride, pad_lo=margin), front, classes
    )
