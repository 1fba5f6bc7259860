"""What was found for a question, as data: one frozen class for each kind of answer; `wording.py` makes the sentences.

Those of questions without a right or wrong answer are in `unanswered.py`, those on memory in `memory_findings.py` and
`arrangement_findings.py`.
"""

from __future__ import annotations

from dataclasses import dataclass

from triconv.checking.dtypes import NarrowRange
from triconv.checking.findings.causes import Cause
from triconv.checking.findings.diagnosis_data import Diagnosis
from triconv.checking.findings.memory_findings import MemoryFinding
from triconv.checking.findings.protocol import Kind, PlainEnum, Question
from triconv.checking.findings.unanswered import NoArray, NoDerivative, NotSupported, Raised, Undecided

Shape = tuple[int, ...]


# ---- answers that are right


@dataclass(frozen=True, slots=True)
class EqualOnIntegers:
    """Every element is equal on integers, and, if `random`, within the bound of its rounding on random data.

    Parameters
    ----------
    random : bool
        Whether random data were compared too.
    missed : float
        The probability, at most, with which a wrong element is not seen; 0 if every element was compared.
    truth : str
        The kernel of triconv that gave the right answers for random data; "" if it was the definition.
    """

    random: bool
    missed: float = 0.0
    truth: str = ""


@dataclass(frozen=True, slots=True)
class WithinNormWiseBound:
    """Within the bound of an FFT or of a Winograd algorithm, but not element by element; `truth` as of `EqualOnIntegers`.

    The norm is that of each sample; or, if `mixes_samples`, that of the largest one.
    """

    truth: str = ""
    mixes_samples: bool = False


@dataclass(frozen=True, slots=True)
class Repeatable:
    """Runs give the same result: equal if `spread` is 0, else different by rounding, by up to `spread`."""

    spread: float


@dataclass(frozen=True, slots=True)
class ReachesAll:
    """One NaN or infinity reaches every element that it meets, and `more` others, in so many `answers`."""

    more: int
    answers: int = 1


@dataclass(frozen=True, slots=True)
class Homogeneous:
    """Arrays that are negated, or multiplied by powers of 2, give results that are so, bit for bit, in so many `answers`.

    `up` and `down` are the exponents.
    """

    answers: int
    up: int
    down: int


@dataclass(frozen=True, slots=True)
class SameValues:
    """The same values as those of the function that is the truth."""


@dataclass(frozen=True, slots=True)
class ShapeOfLine:
    """What the values of a function are along a line.

    Parameters
    ----------
    degree : int, optional
        A polynomial of at most this degree; None for no polynomial.
    part : float
        The part of the elements of which that is true.
    """

    degree: int | None
    part: float


@dataclass(frozen=True, slots=True)
class DerivativeOfValues:
    """A derivative is that of the values, as `ShapeOfLine` describes them, along `lines` random lines for each array."""

    degree: int | None
    part: float
    lines: int


# ---- right with fewer bits


class Level(PlainEnum):
    """The arithmetic that a result with fewer bits than its dtype was computed in."""

    FLOAT32 = "float32"
    TF32 = "tf32"
    BFLOAT16 = "bfloat16"
    FLOAT8_E4M3 = "float8_e4m3"
    FLOAT8_E5M2 = "float8_e5m2"
    NARROW_SUMS = "sums"
    """Sums, not products, are taken in 8 to 11 bits."""
    SHORT_SUMS = "short sums"
    """Sums are taken in more bits than the result has, and in fewer than single precision has."""
    CUT_OFF = "cut off"
    """Results are cut off to the bits that they have, where they must be rounded to nearest."""
    FEWER = "fewer"
    """Of another number of bits than any dtype has."""


@dataclass(frozen=True, slots=True)
class FewerBits:
    """A result with about `bits` bits of the `dtype_bits` of its dtype.

    Parameters
    ----------
    level : Level
        The arithmetic.
    bits, dtype_bits : int
        Bits of the result, and of its dtype.
    declared : str, optional
        The precision that allows it.
    operands : tuple of (str, int)
        The arrays of which exact data show how many bits are kept; "the cotangent" has no other name.
    sums : int, optional
        The bits in which sums are kept, where exact data show it.
    is_rounded_once : bool
        Whether only the result is rounded, not the sums on the way.
    overflows : NarrowRange, optional
        The range of the dtype that it is computed in, where larger numbers give what is not finite.
    """

    level: Level
    bits: int
    dtype_bits: int
    declared: str | None = None
    operands: tuple[tuple[str, int], ...] = ()
    sums: int | None = None
    is_rounded_once: bool = False
    overflows: NarrowRange | None = None


# ---- wrong answers


@dataclass(frozen=True, slots=True)
class WrongElements:
    """Elements differ from the definition, for the reason of the diagnosis; the evidence says where."""

    diagnosis: Diagnosis


@dataclass(frozen=True, slots=True)
class NotFinite:
    """`elements` are not finite, of finite data: the dtype `narrow` overflows, or it is in the region `where`, if one fits."""

    elements: int
    narrow: NarrowRange | None = None
    where: Diagnosis | None = None


@dataclass(frozen=True, slots=True)
class DoesNotReach:
    """What is not finite in the arrays does not reach `missing` elements that it meets, of `total` if that is known."""

    missing: int
    total: int | None = None


class Look(PlainEnum):
    """What a result that is not homogeneous looks like."""

    NEGATIVE_ZERO = "negative numbers count as zero"
    NEGATIVE_POSITIVE = "negative numbers count as positive"
    NEGATIVE_SCALED = "negative numbers are multiplied by another number"
    UNSIGNED = "negative numbers give other results"
    SATURATES = "large numbers count as one number"
    RESULT_SATURATES = "large results are one number"
    OVERFLOWS = "large numbers give what is not finite"
    LARGE = "large numbers give other results"
    PRODUCTS = "large products give other results"
    STEPS = "numbers are rounded to steps"
    FLUSHED = "small numbers count as zero"
    ADDED = "a constant is added"
    SMALL = "small numbers give other results"
    DEPENDS = "the result changes with what it does not depend on"
    TANGENTS = "the result is not linear in the tangents"
    OTHER = "another result"


@dataclass(frozen=True, slots=True)
class NotHomogeneous:
    """An array multiplied by a number does not give the result multiplied by it.

    Parameters
    ----------
    look : Look
        What it looks like.
    names : tuple of str
        The arrays of which that is true; "cotangent" and "tangents" have no other name.
    factor : float
        By which the array was multiplied, and the result should have been.
    amount : float, optional
        Where it begins, to which steps, or to what number, as `look` says.
    index, expected, found : tuple of int, float, float
        The first element that differs, and its two values.
    """

    look: Look
    names: tuple[str, ...]
    factor: float
    amount: float | None
    index: tuple[int, ...]
    expected: float
    found: float


@dataclass(frozen=True, slots=True)
class NotRepeatable:
    """Runs differ by up to `spread`; None if not even the shape is the same. Or each adds its result to those before."""

    spread: float | None
    adds_up: bool = False


@dataclass(frozen=True, slots=True)
class WrongShape:
    """Another shape than the definition's; `kept_axes` if the difference is axes of length 1."""

    expected: Shape
    found: Shape
    kept_axes: bool = False
    diagnosis: Diagnosis | None = None


@dataclass(frozen=True, slots=True)
class WrongDtype:
    """Results of another dtype than that of the arrays; `questions` are those that they answer."""

    expected: str
    found: tuple[str, ...]
    questions: tuple[Question, ...]


@dataclass(frozen=True, slots=True)
class OnlyLater:
    """A wrong JVP or second order, of this cause by itself, where everything before it is right.

    Of a value, it is the same that comes with a derivative that is right.
    """

    kind: Kind
    cause: Cause
    finding: WrongElements | WrongShape


@dataclass(frozen=True, slots=True)
class Declared:
    """A departure from the operator that is meant, by the name of its cause."""

    name: str


@dataclass(frozen=True, slots=True)
class Swept:
    """A whole check at another geometry: the answer that decides its verdict; nothing if all are right."""

    question: Question | None = None
    finding: Finding | None = None


@dataclass(frozen=True, slots=True)
class StressedSizes:
    """So many sizes are right; `refused` others the candidate does not take."""

    right: int
    refused: int


Finding = (
    EqualOnIntegers
    | WithinNormWiseBound
    | Repeatable
    | ReachesAll
    | Homogeneous
    | NotHomogeneous
    | SameValues
    | ShapeOfLine
    | DerivativeOfValues
    | Undecided
    | FewerBits
    | WrongElements
    | NotFinite
    | DoesNotReach
    | NotRepeatable
    | WrongShape
    | WrongDtype
    | OnlyLater
    | Declared
    | Swept
    | StressedSizes
    | Raised
    | NoArray
    | NotSupported
    | NoDerivative
    | MemoryFinding
)


# ---- in addition to the questions


class OracleStatus(PlainEnum):
    """What a framework's own convolution says of the same data, against the definition."""

    AGREES = "agrees"
    WRONG = "wrong"
    CANNOT_EXPRESS = "cannot express"


@dataclass(frozen=True, slots=True)
class OracleResult:
    """A framework's own convolution and its gradients, against the definition; `wrong` are those that differ."""

    oracle: str
    status: OracleStatus
    wrong: tuple[Question, ...] = ()


@dataclass(frozen=True, slots=True)
class Collective:
    """The collectives of one kind in a compiled program.

    `bytes` is the size of their results on one device, which is about what each device receives.
    """

    kind: str
    number: int
    bytes: int


@dataclass(frozen=True, slots=True)
class SentBetweenDevices:
    """What the devices send each other for the value or for one VJP."""

    question: Question
    collectives: tuple[Collective, ...]
