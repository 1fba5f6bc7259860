"""Why a question has no answer that is right or wrong, as data."""

from __future__ import annotations

from dataclasses import dataclass

from triconv.checking.findings.exception_text import CaughtException
from triconv.checking.findings.protocol import PlainEnum


@dataclass(frozen=True, slots=True)
class Undecided:
    """A derivative differs from the numerical one by more than is `allowed`, but not by so much that it is wrong."""

    difference: float
    allowed: float


@dataclass(frozen=True, slots=True)
class Raised:
    """The candidate raised; `again` if it had given a result before."""

    exception: CaughtException
    again: bool = False


@dataclass(frozen=True, slots=True)
class NoArray:
    """The candidate returned something of this type, which is no array; `attribute` of it is one."""

    type: str
    attribute: str = ""


class Reason(PlainEnum):
    """Why a question has no answer that could be right or wrong."""

    LIBRARY = "the library has none"
    RULES = "not among the rules"
    NOT_GIVEN = "not given"
    EXCEPTION = "an exception says so"
    NO_TENSOR = "the result is no tensor"
    LEAVES_TORCH = "the code takes its numbers out of torch"
    CUSTOM_OPERATOR = "torch gives zeros for a custom operator"
    ONCE_DIFFERENTIABLE = "marked with @once_differentiable"
    EMPTY = "the array is empty"
    OTHER_SHAPE = "the result has another shape"
    REFUSED = "the candidate refuses such an array"
    OTHER_SIZES = "the candidate takes no other sizes"
    REFUSED_GEOMETRY = "the candidate refuses such sizes"
    DECLARED = "it follows from the departure that is meant"


class Ability(PlainEnum):
    """What a candidate may lack."""

    DERIVATIVE = "derivative"
    FORWARD_MODE = "forward mode"
    SECOND_ORDER = "second order"
    FORWARD_OVER_REVERSE = "forward over reverse"
    VMAP = "vmap"
    JIT = "jit"


@dataclass(frozen=True, slots=True)
class NotSupported:
    """The candidate has no such derivative or transform, which is no fault.

    Parameters
    ----------
    reason : Reason
        How that is known.
    ability : Ability, optional
        What it lacks.
    name : str, optional
        The library, the module of the result's type, or the operator that the reason is about.
    exception : CaughtException, optional
        What was raised.
    """

    reason: Reason
    ability: Ability | None = None
    name: str | None = None
    exception: CaughtException | None = None


class Advice(PlainEnum):
    """How a candidate without a derivative gets one."""

    COMPLETE_RULES = "give Rules the other functions"
    USE_RULES = "write Rules"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class NoDerivative:
    """The value is right, and no derivative was judged; `reason` is why the first one was not."""

    advice: Advice
    library: str
    reason: NotSupported | None = None
