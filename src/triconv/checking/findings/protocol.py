"""What a check asks, and the enums of its answers. Data only: the sentences are in `wording.py`."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Literal


class PlainEnum(StrEnum):
    """Strings with a fixed set of values, which show as plain strings wherever a user prints them."""

    def __repr__(self) -> str:
        return repr(self.value)


class Verdict(PlainEnum):
    """The verdict on one answer or on the whole candidate."""

    RIGHT = "right"
    IMPRECISE = "imprecise"
    WRONG = "wrong"
    UNCHECKED = "unchecked"
    UNSUPPORTED = "unsupported"
    """Of one answer: the candidate has no such derivative or transform, which is no fault."""


RIGHT, IMPRECISE, WRONG = Verdict.RIGHT, Verdict.IMPRECISE, Verdict.WRONG
UNCHECKED, UNSUPPORTED = Verdict.UNCHECKED, Verdict.UNSUPPORTED

VerdictName = Literal["right", "imprecise", "wrong", "unchecked"]
"""The verdicts on a candidate as type checkers know them: a misspelled one is never equal."""

EXIT_STATUS: dict[str, int] = {RIGHT: 0, IMPRECISE: 1, WRONG: 1, UNCHECKED: 2}


class Proof(PlainEnum):
    """The test that decides a verdict."""

    NONE = ""
    EXACT = "exact"
    ROUNDING = "rounding"
    NORM_WISE = "norm-wise"
    NUMERICAL = "numerical"
    PRECISION = "precision"
    RANDOM = "random"
    NOT_FINITE = "not finite"
    SHAPE = "shape"
    DTYPE = "dtype"
    RAISED = "raised"
    NO_ARRAY = "no array"
    NOT_ASKED = "not asked"


class Kind(PlainEnum):
    """What kind of result a question asks for."""

    VALUE = "value"
    REPEAT = "repeat"
    """The value again: is it the same from run to run?"""
    VMAP = "vmap"
    NAN = "nan"
    """The value and the VJPs for one NaN in an array: does it reach what it meets?"""
    INFINITY = "infinity"
    HOMOGENEITY = "homogeneity"
    """The value, the VJPs and the JVP for arrays that are negated and multiplied by powers of 2: are they so, too?"""
    SIGNS = "signs"
    """The value and the VJPs for data that are nowhere negative, or nowhere positive."""
    VJP = "vjp"
    JVP = "jvp"
    SECOND_ORDER = "second order"
    DERIVATIVES = "derivatives"
    """Not asked of the candidate: the row that says that no derivative was judged."""
    DTYPE = "dtype"
    """Not asked of the candidate: the row that says which results have another dtype than the arrays."""
    SHAPE = "shape"
    """Not asked of the candidate: the row that says that a gradient has more axes of length 1 than its array."""
    STRESS = "stress"
    """The value and the VJPs, at the sizes that the question names."""
    SWEEP = "sweep"
    """All questions again, at the geometry that the question names."""
    MEMORY = "memory"
    """Calls one after the other: the row where memory, earlier calls and global generators change nothing."""
    OPERANDS = "operands"
    """Are the arrays after a call what they were before?"""
    RESULTS = "results"
    """Are results still what they were after later calls, and in memory of their own?"""
    HISTORY = "history"
    """Do results depend on the calls before?"""
    UNWRITTEN = "unwritten"
    """Are results the same where fresh memory holds something?"""
    GENERATORS = "generators"
    """Are the global random generators what they were before a call?"""
    FAKES = "fakes"
    """Do operators of the candidate's own tell a compiler what they return?"""
    SETTINGS = "settings"
    """Are the settings of the process what they were before a call?"""
    THREADS = "threads"
    """Are results the same while another thread calls the candidate with other numbers?"""
    ARRANGEMENTS = "arrangements"
    """The same numbers, in arrays that lie in memory in other ways."""
    SUBSETS = "subsets"
    """Derivatives by some of the arrays alone."""
    BATCHED = "batched"
    """`vmap` over some of the arrays alone, and along other axes."""


class Transform(PlainEnum):
    """The transform of its library under which a candidate computes the result."""

    JIT = "jit"
    VMAP = "vmap"
    VJP = "vjp"
    JVP = "jvp"


class Mode(PlainEnum):
    """How a second derivative is taken."""

    REVERSE_OVER_REVERSE = "reverse over reverse"
    FORWARD_OVER_REVERSE = "forward over reverse"


class Role(PlainEnum):
    """A tensor of the convolution ``T = sum of x * w * g``, or the bias."""

    X = "x"
    W = "w"
    G = "g"
    BIAS = "bias"


@dataclass(frozen=True, slots=True)
class Question:
    """One question of a check.

    Parameters
    ----------
    kind : Kind
        What kind of result is asked for.
    role : Role, optional
        Which tensor of the convolution the result is; None for a function that is none.
    name : str, optional
        The operator's name of the array that the question is about: what is differentiated by, or what holds the NaN. None
        for the cotangent, and where there is no such array.
    order : int
        Order of the derivative; 0 for a value.
    transform : Transform, optional
        Under which transform a value is computed, or which one makes the derivative.
    mode : Mode, optional
        How a second derivative is taken.
    sample : int, optional
        Which sample of a batch of `vmap`.
    of : str, optional
        The operator's name of the array whose VJP is asked, if `name` is that of another array.
    """

    kind: Kind
    role: Role | None = None
    name: str | None = None
    order: int = 0
    transform: Transform | None = None
    mode: Mode | None = None
    sample: int | None = None
    of: str | None = None

    @property
    def tensor(self) -> Role:
        """The role, of a question about a convolution."""
        assert self.role is not None
        return self.role

    @property
    def is_value(self) -> bool:
        """Whether the result is a value, under whatever transform."""
        return self.kind in (Kind.VALUE, Kind.VMAP)

    @property
    def is_plain_value(self) -> bool:
        """Whether the candidate itself is asked for its value, under no transform."""
        return self.kind == Kind.VALUE and self.transform is None

    @property
    def kind_of_answer(self) -> tuple[int, bool]:
        """The order of the derivative that is asked, and whether it is a JVP: the same for all questions about one answer."""
        return self.order, self.order > 0 and self.transform == Transform.JVP

    @property
    def is_derivative(self) -> bool:
        """Whether the result is a derivative."""
        return self.order > 0
