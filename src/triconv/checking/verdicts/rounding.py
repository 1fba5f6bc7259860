"""The verdict on numbers that had to be rounded: within a proved bound, with fewer bits, or out of every bound."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from triconv.checking.dtypes import BITS
from triconv.checking.findings.causes import Cause
from triconv.checking.findings.findings import (
    DoesNotReach,
    EqualOnIntegers,
    FewerBits,
    Level,
    NotFinite,
    WithinNormWiseBound,
)
from triconv.checking.findings.protocol import IMPRECISE, RIGHT, WRONG, Proof, Question
from triconv.checking.oracles import bounds
from triconv.checking.oracles.convolution import Expectations, InputArrays
from triconv.checking.reports.report_data import ReportRow
from triconv.checking.verdicts import narrow_range
from triconv.checking.verdicts.rounding_test import RoundingTest, terms_of
from triconv.checking.verdicts.significands import length_of

# arithmetic that products may be computed in instead of that of the dtype, the most bits first
COARSER = (Level.FLOAT32, Level.TF32, Level.BFLOAT16, Level.FLOAT8_E4M3, Level.FLOAT8_E5M2)
# what a declaration of `precision` allows
DECLARED: dict[str, tuple[Level, ...]] = {
    "float32": (Level.FLOAT32,),
    "tf32": (Level.FLOAT32, Level.TF32),
    "float16": (Level.FLOAT32, Level.TF32, Level.NARROW_SUMS, Level.SHORT_SUMS),
    "bfloat16": (Level.FLOAT32, Level.TF32, Level.BFLOAT16, Level.NARROW_SUMS, Level.SHORT_SUMS),
}
# of the norm-wise bound, for Fourier transforms, and for Winograd's algorithms, which are for small kernels with stride 1
TRANSFORM, WINOGRAD, SMALL_KERNEL = 2, 16, 7
# and for products that mix samples, of up to seven levels of Strassen's
MIXED = 4
# share of its norm that a result with fewer bits may be off; with nothing right in it, it is off by all
RESEMBLES = 0.5
# standard deviations within which the mean of an honest rounding error is zero, and half of those of its largest element
NOISE = 6
# share of the sum of magnitudes by which some element is off where sums of 8 to 11 bits, or of blocks of them, are taken
NARROW = 2.0**-22
# and that by which sums of 8 to 11 bits are off in some element, and longer ones are not
CLEARLY_NARROW = 2.0**-13
# results that must be cut off, and none rounded up; and those that show how long results are
SOME = 8
OF_LENGTH = {8: Level.BFLOAT16, 4: Level.FLOAT8_E4M3, 3: Level.FLOAT8_E5M2}
# between the errors of samples, each over its scale: a step that is fixed makes 1,000 of it
ALIKE = 32


def not_finite(question: Question, test: RoundingTest) -> ReportRow | None:
    """Return the row for a result that is not finite where it should be, or finite where it should not."""
    finding: NotFinite | DoesNotReach
    cause = Cause.NOT_A_NUMBER
    if test.stray.any():
        found = np.where(test.stray, np.nan, test.found)
        narrow = narrow_range.overflowed(test.answer, test.expectations, test.dtype, found)
        finding, cause = NotFinite(int(test.stray.sum()), narrow), Cause.OVERFLOW if narrow else cause
    elif test.missing.any():
        finding = DoesNotReach(int(test.missing.sum()))
    else:
        return None
    return ReportRow(question, WRONG, Proof.NOT_FINITE, finding, cause=cause)


def verdict(
    question: Question,
    test: RoundingTest,
    exact: bool,
    near: bool,
    is_exact_in_8_bits: Callable[[], bool],
    precision: str | None,
    *,
    drawn: bool,
) -> ReportRow | None:
    """Return the row for a result that is right, or right with fewer bits; None for one that is wrong.

    Parameters
    ----------
    question : Question
        The question.
    test : RoundingTest
        The result for random data.
    exact, near : bool
        Whether the result for integers is equal, or rounds to it.
    is_exact_in_8_bits : callable
        Runs the candidate on integers that need 8 bits, and returns whether the result is equal.
    precision : str, optional
        Of the products, if fewer bits than the dtype's are declared.
    drawn : bool
        Whether the data were drawn by the checker, with mean zero.
    """
    if exact and test.ratio <= 1:
        return ReportRow(question, RIGHT, Proof.EXACT, EqualOnIntegers(random=True), test.ratio)
    if near and _is_norm_wise(test, drawn=drawn) and not _is_scaled(test):
        return ReportRow(question, RIGHT, Proof.NORM_WISE, WithinNormWiseBound(), test.ratio)
    if not resembles(test):
        return None
    if drawn and not _is_noise(test, test.absolute):
        return None
    terms, arithmetic = terms_of(test.problem, test.role, test.answer), test.arithmetic
    levels = [level for level in COARSER if exact and 2.0 ** -BITS[level] > arithmetic.unit]
    in_half = (terms + 1) * 2.0**-8 * test.absolute + test.allowed
    # of half width, sums are more often what is narrow
    levels.insert(0 if arithmetic.unit > arithmetic.sums else len(levels), Level.NARROW_SUMS)
    for level in levels:
        if level == Level.NARROW_SUMS:
            is_within = bool(np.all(test.error <= in_half)) and (exact or _is_narrow(test)) and is_exact_in_8_bits()
        else:
            coarse, sums = 2.0 ** -BITS[level], max(arithmetic.sums, 2.0**-24)  # but those of doubles in float32
            limit = ((2 + coarse) * coarse + (terms + 1) * sums) * test.absolute + test.allowed
            is_within = bool(np.all(test.error <= limit))
        if is_within:
            shown = _level_of_sums(test) if level == Level.NARROW_SUMS else level
            return _imprecise(question, shown, test, precision)
    return None


def with_few_bits_of_sums(row: ReportRow, test: RoundingTest, precision: str | None) -> ReportRow:
    """Return the row of a result of half width whose sums have few bits; data of another kind may have shown it before."""
    if isinstance(row.finding, FewerBits):
        return row
    return replace(_imprecise(row.question, _level_of_sums(test), test, precision), error=row.error)


def _level_of_sums(test: RoundingTest) -> Level:
    """Return how few bits sums have: as few as a dtype of half width, if errors are as large; of wider arrays, they are."""
    if _is_cut_off(test):
        return Level.CUT_OFF
    excess = np.maximum(0, test.error - test.rounding_of_results())
    is_half = test.arithmetic.unit > test.arithmetic.sums
    is_short = is_half and bool(np.all(excess <= CLEARLY_NARROW * test.absolute))
    return Level.SHORT_SUMS if is_short else Level.NARROW_SUMS


def _is_cut_off(test: RoundingTest) -> bool:
    """Whether every result of half width is the right one without its last bits; a sum of few bits is off both ways."""
    u = test.arithmetic.unit
    if u == test.arithmetic.sums or np.iscomplexobj(test.found):
        return False
    lost = (test.right - test.found) * np.sign(test.right)
    slack = test.allowed - test.rounding_of_results()
    is_cut = (lost >= -slack) & (lost <= 2 * u * np.abs(test.right) + slack + test.arithmetic.step)
    return bool(is_cut.all() and np.count_nonzero(lost > slack) >= SOME)


def _imprecise(question: Question, level: Level, test: RoundingTest, precision: str | None) -> ReportRow:
    """Return the row for a result with fewer bits than its dtype has, unless they are declared."""
    nonzero = test.absolute > 0
    relative = (test.error[nonzero] / test.absolute[nonzero]).max(initial=0)
    bits = int(-np.log2(relative)) if relative > 0 else BITS[test.dtype]
    sums, is_rounded_once = None, False
    if level in (Level.NARROW_SUMS, Level.SHORT_SUMS) and (length := _shorter(test)) is not None:
        sums = length
        is_rounded_once = bool(np.all(test.error <= 2.0**-length * np.abs(test.right) + test.allowed))
        level = OF_LENGTH[length] if is_rounded_once else level
    is_declared = precision is not None and level in DECLARED[precision]
    declared = precision if is_declared else None
    finding = FewerBits(level, bits, BITS[test.dtype], declared, (), sums, is_rounded_once)
    return ReportRow(question, RIGHT if is_declared else IMPRECISE, Proof.PRECISION, finding)


def _shorter(test: RoundingTest) -> int | None:
    """Return the bits of the longest result of half width, if a dtype of fewer bits has as many."""
    if np.iscomplexobj(test.found) or np.count_nonzero(test.found) < SOME:
        return None
    length = length_of(test.found)
    return length if length in OF_LENGTH and length < BITS[test.dtype] <= BITS["float16"] else None


def _is_narrow(test: RoundingTest) -> bool:
    """Whether errors are as large as sums of few bits make them, and not as those of single precision."""
    excess = np.maximum(0, test.error - test.rounding_of_results())
    return bool(np.any(excess > NARROW * test.absolute))


def resembles(test: RoundingTest) -> bool:
    """Whether the result is the right one at all: one of zeros is off by its whole norm."""
    return bool(np.linalg.norm(test.error) <= RESEMBLES * np.linalg.norm(test.right) or not test.right.any())


def _is_scaled(test: RoundingTest) -> bool:
    """Whether one factor, and nothing else, keeps the result from its bound: it is most of the error."""
    weight = np.vdot(test.right, test.right).real
    if not weight or test.ratio <= 1:
        return False
    c = np.vdot(test.right, test.found).real / weight
    rest = np.abs(test.found - c * test.right)
    return bounds.over(rest, test.allowed) <= 1 and bool(np.linalg.norm(rest) <= np.linalg.norm(test.error) / 2)


def _is_norm_wise(test: RoundingTest, *, drawn: bool) -> bool:
    """Whether every error is within a small multiple of ``log2(N) u`` times the norms of what its sample is a sum of.

    That of an FFT of ``N`` numbers is (Higham, 2nd ed., theorem 24.2), and by the inequality of Cauchy and Schwarz an element
    is at most the product of the norms. It is also noise: no element stands out, and the mean is zero.
    """
    if test.role == "bias":
        return False
    norm, unit = norms(test), _unit(test)
    excess = np.maximum(0, test.error - test.rounding_of_results())
    if np.all(excess <= TRANSFORM * unit * norm) and (not drawn or _is_noise(test, norm)):
        return True
    axes = test.problem.model.axes
    is_small = all(a.kernel_size <= SMALL_KERNEL and a.stride == a.dilation == a.input_dilation == 1 for a in axes)
    # the last outputs of a tile are sums with larger factors
    return is_small and bool(np.all(excess <= WINOGRAD * unit * norm)) and _is_noise(test, norm, 4 * NOISE)


def of_mixed_samples(question: Question, test: RoundingTest) -> ReportRow:
    """Return the row for a result that is right but for rounding that leaks from one sample into another."""
    return ReportRow(question, RIGHT, Proof.NORM_WISE, WithinNormWiseBound(mixes_samples=True), test.ratio)


def is_within_norm_of_all(test: RoundingTest) -> bool:
    """Whether every error is within a multiple of ``log2(N) u`` times the norms of the largest sample, and none stands out.

    Elements share sums with each other in an algorithm that mixes samples, and so they share errors: their mean is not zero.
    """
    excess = np.maximum(0, test.error - test.rounding_of_results())
    limit = MIXED * _unit(test) * norms(test).max(initial=0)
    return bool(np.all(excess <= limit)) and bool(excess.max(initial=0) <= 4 * NOISE * _spread(test.error, None))


def is_within_transform(test: RoundingTest) -> bool:
    """Whether every error is within what a Winograd algorithm or a Fourier transform may make, whatever it looks like."""
    excess = np.maximum(0, test.error - test.rounding_of_results())
    return test.role != "bias" and bool(np.all(excess <= WINOGRAD * _unit(test) * _norm_of_all(test)))


def is_within_bits(test: RoundingTest, operands: int, sums: int | None) -> bool:
    """Whether every error is within what operands and sums of so many bits may make; None for sums of the dtype."""
    u, terms = 2.0**-operands, terms_of(test.problem, test.role, test.answer)
    relative = (2 + u) * u + (0 if sums is None else (terms + 1) * 2.0**-sums)
    return bool(np.all(test.error <= relative * test.absolute + test.allowed))


def is_rounded_once(test: RoundingTest) -> bool:
    """Whether a result of half width is a right sum that was rounded once; a transform in single precision is off by more."""
    excess = np.maximum(0, test.error - test.rounding_of_results())
    slack = 0.0 if test.role == "bias" else WINOGRAD * _unit(test) * _norm_of_all(test)
    return bool(np.all(excess <= slack))


def norms(test: RoundingTest) -> np.ndarray:
    """Return the norms of what each sample is a sum of: by Cauchy and Schwarz, an element is at most their product."""
    data = test.expectations.arrays.map(lambda a: np.where(np.isfinite(a), np.abs(a), 0) ** 2)
    with np.errstate(all="ignore"):
        squares = test.answer(Expectations(test.problem, data))
    samples = tuple(range(0 if test.role == "w" else 1, squares.ndim))
    norm = np.sqrt(squares.max(axis=samples, keepdims=True, initial=0) * test.problem.terms(test.role))
    return np.asarray(norm)


def _norm_of_all(test: RoundingTest) -> np.ndarray:
    """Return the norms of all that a transform takes in: of sparse data, more than what the sums have."""
    ones = test.expectations.arrays.map(lambda a: np.ones(a.shape))
    one, two = (role for role in "xwg" if role != test.role)
    squares: list[np.ndarray] = []
    for role in (one, two):
        of_role = {
            r: np.abs(a) ** 2 if r == role else ones.primals[r] for r, a in test.expectations.arrays.primals.items()
        }
        of_tangents = {
            r: np.abs(a) ** 2 if r == role else ones.primals[r] for r, a in test.expectations.arrays.tangents.items()
        }
        g = ones.g if role in of_role else np.abs(test.expectations.arrays.g) ** 2
        squares.append(test.answer(Expectations(test.problem, InputArrays(of_role, g, of_tangents))))
    samples = tuple(range(0 if test.role == "w" else 1, squares[0].ndim))
    one_norm, other = (np.sqrt(a.max(axis=samples, keepdims=True, initial=0)) for a in squares)
    return np.asarray(np.maximum(one_norm * other, norms(test)))


def _unit(test: RoundingTest) -> float:
    """Return ``log2(N) u``, of a Fourier transform of ``N`` numbers."""
    arrays = test.expectations.arrays
    size = max(a.size for a in (*arrays.primals.values(), arrays.g))
    return float(np.log2(2 + size) * test.arithmetic.sums)


def _is_noise(test: RoundingTest, scale: np.ndarray, most: float = 2 * NOISE) -> bool:
    """Whether the errors, each over its scale, are noise: no element stands out, there is no mean, all samples are alike.

    The largest may be `most` standard deviations of the others.
    """
    e = (test.found - test.right) / np.where(scale > 0, scale, 1)
    spread, largest = _spread(e, tuple(range(e.ndim))), np.abs(e).max(initial=0)
    if not spread:
        return True
    # no error shows that is smaller than the last bit, as of a small sample to which a bias is added
    last = test.arithmetic.unit * np.abs(test.right) / np.where(scale > 0, scale, 1)
    others = float(np.sum(np.abs(e) ** 2) - largest**2) / max(1, e.size - 1)
    others = np.sqrt(max(0.0, others) + _spread(last, tuple(range(e.ndim))) ** 2)
    if abs(e.mean()) > NOISE * spread / np.sqrt(e.size) or largest > most * others:
        return False
    if test.role == "w" or e[0].size < 16:
        return True
    samples = np.hypot(_spread(e, tuple(range(1, e.ndim))), _spread(last, tuple(range(1, e.ndim))))
    return bool(samples.max() <= ALIKE * samples.min())


def _spread(e: np.ndarray, axes: tuple[int, ...] | None) -> Any:
    return np.sqrt(np.mean(np.abs(e) ** 2, axis=axes)) if e.size else 0.0
