"""What was found where memory, calls and data are as in training, as data: part of `findings.Finding`."""

from __future__ import annotations

from dataclasses import dataclass

from triconv.checking.findings.arrangement_findings import AnyArrangement, Misread
from triconv.checking.findings.protocol import PlainEnum, Question


@dataclass(frozen=True, slots=True)
class NothingKept:
    """Memory, earlier calls and global generators change nothing; `calls` were made."""

    calls: int


@dataclass(frozen=True, slots=True)
class InputChanged:
    """A call changes an array that it was handed; `restored` if its numbers are the same again after the call."""

    array: str
    by: Question
    restored: bool = False


@dataclass(frozen=True, slots=True)
class WritesGradient:
    """A call writes into the `grad` of an array itself, to which torch adds what a backward returns.

    `returns` tells whether that returns something, and `clears` whether what was there is gone.
    """

    array: str
    returns: bool
    clears: bool = False


@dataclass(frozen=True, slots=True)
class HookedGradient:
    """`backward` leaves another gradient in the `grad` of an array than autograd computes, as a hook of it does.

    `factor` is how many times as large it is, None where there is no such number.
    """

    array: str
    elements: int
    total: int
    factor: float | None = None


@dataclass(frozen=True, slots=True)
class SharesMemory:
    """A result lies in the memory of an array that was handed to the call."""

    of: Question
    array: str


@dataclass(frozen=True, slots=True)
class ResultOverwritten:
    """A result changes when `by` is asked later."""

    of: Question
    by: Question


@dataclass(frozen=True, slots=True)
class EarlierAnswer:
    """The numbers in an array were replaced, and the result is the one for the earlier numbers of `array`.

    `of` is None where the row is that of the result.
    """

    of: Question | None
    array: str


@dataclass(frozen=True, slots=True)
class OtherAfterOtherNumbers:
    """A result is another one, the same each time, after a call with other numbers: it has something of that call."""


@dataclass(frozen=True, slots=True)
class OtherAfterBatch:
    """A result is another one in a batch of another size, or after such a batch; `after` tells which."""

    of: Question
    after: bool


@dataclass(frozen=True, slots=True)
class CallsDiffer:
    """Of `total` calls with the same numbers, those counted here (from 1) give another result than the most."""

    of: Question
    calls: tuple[int, ...]
    total: int


@dataclass(frozen=True, slots=True)
class LaterForward:
    """Two forwards, then the backward of the first: its result is another one than right after its forward."""

    of: Question


class Carried(PlainEnum):
    """What a result of one object takes over from the call before."""

    SHARE = "a share of what was there is added"
    WEIGHTED = "a weighted sum of what was there and of the gradient"
    SOME = "what was there is added in some elements"
    LARGER = "the larger of both"
    SMALLER = "the smaller of both"
    EARLIER = "the result of the call before"
    START = "it begins as something that is not zero"
    OTHER = "something else"


@dataclass(frozen=True, slots=True)
class CarriedOver:
    """A layer that is called again, as in training, gives another result than a new one does.

    To assign a gradient is right, and so it is to add it to all that its attribute held.

    Parameters
    ----------
    of : Question
        Which result.
    how : Carried
        What it takes over.
    attribute : str
        The path of the attribute in which the gradient is left; "" if it is returned.
    share : float, optional
        The share of what was there that is added.
    weight : float, optional
        That of the gradient itself, if it is another than 1.
    """

    of: Question
    how: Carried
    attribute: str = ""
    share: float | None = None
    weight: float | None = None


@dataclass(frozen=True, slots=True)
class SecondPullback:
    """A pullback that is called again gives another result than at first."""

    of: Question


@dataclass(frozen=True, slots=True)
class EagerDiffers:
    """The derivative that is not compiled is another one than the compiled one."""

    of: Question


@dataclass(frozen=True, slots=True)
class Unwritten:
    """Elements that hold what was in the memory before: `elements` of `total`."""

    of: Question
    elements: int
    total: int


@dataclass(frozen=True, slots=True)
class UsesGenerators:
    """A call draws from global random generators, or seeds them."""

    by: Question
    generators: tuple[str, ...]
    seeds: bool


@dataclass(frozen=True, slots=True)
class ChangesSettings:
    """A call leaves these settings of the process changed."""

    settings: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class FakeDiffers:
    """The fake implementation of an operator, which compilers ask, gives other metadata than the operator."""

    operator: str
    said: str


class Situation(PlainEnum):
    """In which a candidate should give the same."""

    INFERENCE = "under inference mode"
    EVALUATION = "in evaluation mode"
    COMPILED = "compiled"
    CREATE_GRAPH = "with create_graph"


@dataclass(frozen=True, slots=True)
class OtherSituation:
    """A result is another one in some situation."""

    of: Question
    situation: Situation


@dataclass(frozen=True, slots=True)
class SameInThreads:
    """Two threads that call the candidate at once get what each gets alone."""


@dataclass(frozen=True, slots=True)
class DependsOnThread:
    """A result is another one while another thread calls the candidate; `where` the first stood still, "" if both ran."""

    of: Question
    where: str = ""


class Sign(PlainEnum):
    """Of which sign data are, that they are one number, or that they cancel."""

    NOT_NEGATIVE = "nowhere negative"
    NOT_POSITIVE = "nowhere positive"
    EQUAL = "one number everywhere"
    CANCELLING = "numbers whose sum is zero"


@dataclass(frozen=True, slots=True)
class AnySign:
    """Results for data of one sign, and of one number, are what those for other data say, and zeros give zeros."""


@dataclass(frozen=True, slots=True)
class NotZero:
    """In `elements` of `total` a result is not zero where `array` is zero everywhere; `is_nan` if it is no number."""

    of: Question
    array: str
    elements: int
    total: int
    is_nan: bool = False


@dataclass(frozen=True, slots=True)
class OneSign:
    """A result is right for data of both signs, and wrong in `elements` of `total` where `array` is of one sign."""

    of: Question
    array: str
    sign: Sign
    elements: int
    total: int


@dataclass(frozen=True, slots=True)
class AnySubset:
    """Derivatives by some of the arrays alone are those by all at once.

    `tried` counts the subsets, of `smaller` arrays than those of the check.
    """

    tried: int
    smaller: bool = False


@dataclass(frozen=True, slots=True)
class WrongAlone:
    """A derivative by some arrays alone differs from that by all at once.

    Parameters
    ----------
    arrays : tuple of str
        Those by which it is asked.
    raised : str
        What was raised instead; "" if nothing was.
    """

    arrays: tuple[str, ...]
    raised: str = ""


@dataclass(frozen=True, slots=True)
class AnyBatchAxis:
    """`vmap` over some arrays alone, and along other axes, gives what single calls give.

    `tried` counts the choices of axes, of `smaller` arrays than those of the check.
    """

    tried: int
    smaller: bool = False


@dataclass(frozen=True, slots=True)
class WrongBatchAxis:
    """`vmap` with these `in_axes`, one for each array, gives another result than single calls."""

    in_axes: tuple[int | None, ...]
    sample: int
    raised: str = ""


MemoryFinding = (
    AnyArrangement
    | Misread
    | NothingKept
    | InputChanged
    | WritesGradient
    | HookedGradient
    | SharesMemory
    | ResultOverwritten
    | EarlierAnswer
    | OtherAfterBatch
    | OtherAfterOtherNumbers
    | CallsDiffer
    | LaterForward
    | CarriedOver
    | SecondPullback
    | EagerDiffers
    | Unwritten
    | UsesGenerators
    | ChangesSettings
    | OtherSituation
    | FakeDiffers
    | SameInThreads
    | DependsOnThread
    | AnySign
    | NotZero
    | OneSign
    | AnySubset
    | WrongAlone
    | AnyBatchAxis
    | WrongBatchAxis
)
