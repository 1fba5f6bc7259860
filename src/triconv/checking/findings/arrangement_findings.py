"""How arrays lie in memory, and what was found of a call with other arrangements than the plain one, as data."""

from __future__ import annotations

from dataclasses import dataclass

from triconv.checking.findings.protocol import PlainEnum


class Arrangement(PlainEnum):
    """How the numbers of an array lie in memory, or of which class the array is."""

    EXPANDED = "expanded"
    """One number for all elements: every stride is 0, as of the cotangent of a sum."""
    EXPANDED_BATCH = "expanded along the first axis"
    EXPANDED_POSITIONS = "expanded along the last axes"
    """One number for each entry of the first two axes, as of the cotangent of a mean over the positions."""
    TRANSPOSED = "transposed"
    """The axes in reverse order: Fortran's."""
    LAST_AXES_TRANSPOSED = "the last two axes transposed"
    CHANNELS_LAST = "channels last"
    OFFSET = "starting inside its memory"
    SLICED = "sliced"
    """A block of a larger array."""
    EVERY_OTHER = "every other element"
    NEGATIVE = "negative strides"
    READ_ONLY = "read-only"
    SUBCLASS = "a subclass"
    PARAMETER = "a torch.nn.Parameter"
    CONJUGATED = "conjugated when read"
    """Its memory holds the conjugates, and a bit says so, as of what `torch.conj` returns."""


class Reading(PlainEnum):
    """How an array is misread: the numbers that predict the wrong result."""

    CONTIGUOUS = "as if contiguous"
    """From its first element on, in the order of its memory."""
    WHOLE_MEMORY = "from the start of its memory"
    """From the start of the memory that it lies in, in the order of the memory."""
    ADDRESS = "by its address"
    """Another one where the first element is not at the start of the memory, which no such numbers predict."""
    UNCONJUGATED = "without its conjugation"
    """As its memory holds it, whatever its bit says."""


@dataclass(frozen=True, slots=True)
class AnyArrangement:
    """Every arrangement gives the same result; `tried` counts them over all arrays, `smaller` ones than those of the check."""

    tried: int
    smaller: bool = False


@dataclass(frozen=True, slots=True)
class Misread:
    """A result is right for plain arrays, and wrong for `array` in these arrangements.

    Parameters
    ----------
    array : str
        Name of the array; "the cotangent" is one.
    arrangements : tuple of Arrangement
        In which the result is wrong.
    elements, total : int
        How many elements differ in the first of them, and of how many.
    reading : Reading, optional
        Which misreading predicts the result.
    raised : str
        What was raised instead, such as "RuntimeError: view size is not compatible"; "" if nothing was.
    others : tuple of str
        Names of the other arrays of which some arrangement gives a wrong result too.
    """

    array: str
    arrangements: tuple[Arrangement, ...]
    elements: int = 0
    total: int = 0
    reading: Reading | None = None
    raised: str = ""
    others: tuple[str, ...] = ()
