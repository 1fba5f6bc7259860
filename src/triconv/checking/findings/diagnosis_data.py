"""A hypothesis of why a result is wrong, with its numbers, and where it is wrong: `Diagnosis`, and the data that it holds."""

from __future__ import annotations

from dataclasses import dataclass

from triconv.checking.findings.causes import Cause, Hypothesis
from triconv.checking.findings.protocol import PlainEnum, Role


class Size(PlainEnum):
    """A size of the problem that a factor may be."""

    BATCH = "the batch size"
    OUTPUT_POSITIONS = "the number of output positions"
    BATCH_TIMES_POSITIONS = "batch size times output positions"
    INPUT_CHANNELS = "the number of input channels"
    OUTPUT_CHANNELS = "the number of output channels"
    TAPS = "the number of taps"
    TAPS_TIMES_CHANNELS = "taps times input channels"
    GROUPS = "the number of groups"
    CHANNELS_PER_GROUP = "the number of channels in a group"
    INPUT_POSITIONS = "the number of input positions"
    STRIDES = "the product of the strides"
    RESULT = "the number of elements"
    RESULT_CHANNELS = "output channels times output positions"
    RESULT_OF_BATCH = "the number of output elements"


class Part(PlainEnum):
    """A letter of the sum ``T = sum of x * w * g``, by which its terms are sorted into parts."""

    SAMPLE = "sample"
    INPUT_CHANNEL = "input channel"
    OUTPUT_CHANNEL = "output channel"
    CHANNEL_OF_GROUP = "input channel of each group"
    TAP = "tap"
    OUTPUT = "output position"
    INPUT = "input position"


class Content(PlainEnum):
    """What stands where a result is wrong."""

    ZERO = "zero: nothing is written there"
    TWICE = "twice what must be there"
    NEGATIVE = "what must be there, with the other sign"
    SHIFTED = "what belongs elsewhere"
    NOT_FINITE = "no finite number"
    OTHER = "other numbers"


@dataclass(frozen=True, slots=True)
class Stretch:
    """Positions along an axis, or along several axes as one, where a result is wrong.

    Parameters
    ----------
    axes : tuple of int
        The axes in torch's order; several are counted as one, the last one fastest.
    first, end, size : int
        The first position, the one after the last, and how many there are.
    period : int, optional
        If only some of every so many positions are wrong.
    residues : tuple of int
        Which of those.
    tile : int, optional
        The size of the tiles at whose edges they are.
    """

    axes: tuple[int, ...]
    first: int
    end: int
    size: int
    period: int | None = None
    residues: tuple[int, ...] = ()
    tile: int | None = None


@dataclass(frozen=True, slots=True)
class Region:
    """Where a result is wrong: in all of these stretches at once, and what stands there.

    Parameters
    ----------
    stretches : tuple of Stretch
        The axes along which it is not wrong everywhere.
    content : Content
        What is found there.
    offset : int, optional
        By how many positions along the first stretch what is there is shifted.
    partly : bool
        Whether the mistake that is known there is made in some of its positions alone.
    """

    stretches: tuple[Stretch, ...]
    content: Content
    offset: int | None = None
    partly: bool = False


@dataclass(frozen=True, slots=True)
class Factor:
    """A number by which every element is multiplied, and the sizes of the problem that it, or its inverse, may be."""

    value: float
    size: int | None = None
    """The whole number that the factor or its inverse is."""
    is_inverse: bool = False
    names: tuple[Size, ...] = ()


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """A hypothesis that predicts every element of a wrong result, and its numbers; None where one does not apply.

    Parameters
    ----------
    cause : Cause
        Name of the mistake; `Cause.NONE` if no hypothesis explains the result.
    hypothesis : Hypothesis
        What exactly went wrong.
    role : Role, optional
        Which tensor was changed.
    axis : int, optional
        Axis of a tensor in torch's order.
    axes : tuple of int, optional
        Several of them.
    spatial_axes : tuple of int, optional
        Spatial axes, counted from 0.
    index : tuple of int, optional
        Of an element or of a tap.
    positions : tuple of int, optional
        Positions along `axis`, or for `REMAINDER_MISPLACED` the remainder of each spatial axis.
    offset : tuple of int, optional
        By how much the padding before and after is off, or by how many positions a result is shifted.
    amount : float, optional
        What is added, or the largest error.
    factor : Factor, optional
        By which the prediction is multiplied.
    size, total : int, optional
        Number of samples, or of channels that are computed, and of all.
    parameter, mode : str, optional
        Parameter of the operator that is taken from the wrong axis; padding mode that is used instead.
    conjugates : bool, optional
        Whether a gradient of this framework conjugates the other operand.
    device, devices : int, optional
        The device whose part alone is there; number of devices.
    mesh_axes : tuple of str, optional
        Names of the mesh axes.
    part : Part, optional
        By which letter the terms of the sum were sorted.
    parts : tuple of tuple of int, optional
        The parts that are left out or counted wrongly: indices along the axes of the letter.
    sizes : tuple of int, optional
        How many parts there are along each of those axes.
    weights : tuple of float, optional
        How often each of `parts` is counted.
    function : str, optional
        Name of a function of each element.
    ndim : int, optional
        Number of spatial axes, for the words "top" and "left".
    region : Region, optional
        Where it is wrong.
    also : Diagnosis, optional
        A second mistake in the same result; of a region, the mistake there.
    is_transposed : bool
        Whether the convolution is a transposed one, whose input is what the others here call the output.
    """

    cause: Cause
    hypothesis: Hypothesis
    role: Role | None = None
    axis: int | None = None
    axes: tuple[int, ...] | None = None
    spatial_axes: tuple[int, ...] | None = None
    index: tuple[int, ...] | None = None
    positions: tuple[int, ...] | None = None
    offset: tuple[int, ...] | None = None
    amount: float | None = None
    factor: Factor | None = None
    size: int | None = None
    total: int | None = None
    parameter: str | None = None
    mode: str | None = None
    conjugates: bool | None = None
    device: int | None = None
    devices: int | None = None
    mesh_axes: tuple[str, ...] | None = None
    part: Part | None = None
    parts: tuple[tuple[int, ...], ...] | None = None
    sizes: tuple[int, ...] | None = None
    weights: tuple[float, ...] | None = None
    function: str | None = None
    ndim: int | None = None
    region: Region | None = None
    also: Diagnosis | None = None
    is_transposed: bool = False
