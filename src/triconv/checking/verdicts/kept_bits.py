"""How many bits of the operands and of the sums a result keeps, read from exact data that need all of them.

With one wide tensor and ones (`wide_data.py`), every element of a result is a number of that tensor, its opposite, or zero. So
the result shows what became of these numbers: how many bits of each are left, or to which steps they are rounded. Powers of two
have one bit, so the result of wide sums shows the bits of the sums alone.

Sums of half width show theirs where large products cancel (`cancelling_data.py`).

An algorithm that adds elements before it multiplies, as Winograd's does, is not exact, but it leaves something where there must
be zeros, or it is exact for a number that stands alone. Neither is true of what rounds each number.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from triconv.checking.dtypes import BITS
from triconv.checking.findings.causes import Cause, Hypothesis
from triconv.checking.findings.diagnosis_data import Diagnosis
from triconv.checking.findings.findings import FewerBits, Level
from triconv.checking.findings.protocol import IMPRECISE, RIGHT, Proof, Role
from triconv.checking.oracles import cancelling_data, wide_data
from triconv.checking.oracles.convolution import Expectations, InputArrays
from triconv.checking.oracles.wide_data import SUMS, TANGENTS, role_of
from triconv.checking.reports.report_data import ReportRow
from triconv.checking.verdicts import rounding
from triconv.checking.verdicts.rounding_test import RoundingTest, terms_of
from triconv.checking.verdicts.significands import last_bits, length_of

LEAST = 3
"""Bits of the narrowest float, float8 e5m2: a number that keeps fewer is another number."""
LEAST_OF_SUMS = 8
"""Bits of bfloat16, the narrowest dtype that sums are kept in."""
SMALL = 2.0**-4
"""Share of the largest number below which numbers are small: floats round them by less than large ones, steps by as much."""
ONE_FACTOR = 2.0**-4
"""How far numbers that are all multiplied by one factor may be from it, over themselves."""
ALIKE = 4
"""How many times less a number may be off alone than among others, if its own bits are cut."""
MOST_LEVELS = 512
"""Multiples that the largest of quantised numbers is at most: integers of 8 bits have 127 or 255."""
SOME_NUMBERS = 1024
"""Numbers that are tried first."""
ON_STEP = 1e-3
"""Share of a step by which rounding may keep a number from it."""
LEAST_NUMBERS = 6
"""Numbers that are multiples of a step by chance with a probability of a millionth."""
FEW, MANY = 8, 32
"""Zeros among which an algorithm that mixes elements leaves something; and those of the wide tensor, if errors are small."""
SURE = 8
"""Bits that a number alone loses to no transform."""
OFTEN = 0.25
"""Share of the numbers that are off where each is rounded; where elements are mixed, small ones beside large ones are."""
DECLARED = {"float32": (24, 24), "tf32": (11, 24), "float16": (11, 8), "bfloat16": (8, 8)}
"""Bits of the operands, and of the sums, that a declaration of `precision` asks for."""
LEVELS = {24: Level.FLOAT32, 11: Level.TF32, 8: Level.BFLOAT16, 4: Level.FLOAT8_E4M3, 3: Level.FLOAT8_E5M2}


@dataclass(frozen=True)
class WideTest:
    """A result that differs for data that need every bit.

    Parameters
    ----------
    test : RoundingTest
        The result.
    alone : RoundingTest, optional
        The result where, of the wide tensor, the number that is off most stands alone.
    """

    test: RoundingTest
    alone: RoundingTest | None = None


def worst_alone(test: RoundingTest, name: str) -> InputArrays | None:
    """Return the arrays without all wide numbers but the one that is off most; None where sums have several products."""
    role, arrays = _wide_role(name, test), test.expectations.arrays
    primals, tangents = (
        {r: np.zeros_like(a) if r == "bias" else a for r, a in of.items()} for of in (arrays.primals, arrays.tangents)
    )
    products = test.answer(Expectations(test.problem, replace(arrays, primals=primals, tangents=tangents)).absolute)
    error = np.abs(test.found - test.right)
    worst = float(
        products.ravel()[int(np.argmax(np.where(products > 0, error / np.where(products > 0, products, 1), 0)))]
    )
    of_operands = tangents if name.endswith(TANGENTS) else primals
    wide = arrays.g if role == test.problem.result else of_operands[role]
    kept = np.where(np.isclose(np.abs(wide), worst, rtol=2.0**-50, atol=0), wide, 0)
    if not kept.any():
        return None
    if role == test.problem.result:
        return replace(arrays, g=kept)
    if of_operands is tangents:
        return replace(arrays, tangents={**tangents, role: kept})
    return replace(arrays, primals={**primals, role: kept})


def judged(
    row: ReportRow, tests: dict[str, WideTest], names: dict[str, str], precision: str | None, zeros: int = 0
) -> ReportRow | tuple[str, Diagnosis | None]:
    """Return the row of a result with what it keeps; or, if it is wrong, the name of the data that show it, and why.

    Parameters
    ----------
    row : ReportRow
        Of a result that is right, or right with fewer bits, for other data.
    tests : dict of str to WideTest
        The results that differ, by the name of the data of `wide_data.NAMES`.
    names : dict of str to str
        The name of each tensor, by its role.
    precision : str, optional
        Of the products, if fewer bits than the dtype's are declared.
    zeros : int
        Elements that are zero in results that do not differ, as they must be: a Fourier transform leaves something there.
    """
    if (stepped := steps(tests)) is not None:
        return stepped
    kept: dict[str, int] = {}
    mixes = False
    for name, wide in tests.items():
        test = wide.test
        if name in SUMS.values() or name in cancelling_data.NAMES:
            continue
        if _mixes(wide, name):
            mixes = True
            continue
        bits = _bits(test)
        if bits is None:
            return row if isinstance(row.finding, FewerBits) else (name, None)
        kept[names[_wide_role(name, test)]] = bits
    sums, is_rounded = None, False
    of_sums = next((name for name in tests if name in SUMS.values()), None)
    if of_sums is not None and not mixes:
        test = tests[of_sums].test
        if test.arithmetic.unit > test.arithmetic.sums:  # the result has too few bits to show those of the sums
            return rounding.with_few_bits_of_sums(row, test, precision)
        sums = _bits_of_sums(test)
        if sums is None:
            return row if isinstance(row.finding, FewerBits) else (of_sums, None)
        is_rounded = _is_rounded_once(test, sums)
        kept = {name: bits for name, bits in kept.items() if bits < sums}
    if not kept and sums is None:
        cancelled = next((tests[name].test for name in tests if name in cancelling_data.NAMES), None)
        if cancelled is None or isinstance(row.finding, FewerBits):
            return row
        is_short = _is_short(cancelled, is_direct=zeros >= FEW and not mixes)
        return rounding.with_few_bits_of_sums(row, cancelled, precision) if is_short else row
    return _with_bits(row, kept, sums, precision, next(iter(tests.values())).test.dtype, is_rounded=is_rounded)


def steps(tests: dict[str, WideTest]) -> tuple[str, Diagnosis] | None:
    """Return the data that show that small numbers are dropped, or to which steps numbers are rounded; None if neither."""
    for name, wide in tests.items():
        if name in SUMS.values() or name in cancelling_data.NAMES or not _is_clean(wide.test) or _mixes(wide, name):
            continue
        role = Role(_wide_role(name, wide.test))
        if (share := _dropped(wide.test)) is not None:
            return name, Diagnosis(Cause.SMALL_NUMBERS, Hypothesis.SMALL_DROPPED, role=role, amount=share)
        if (step := _step(wide.test)) is not None:
            return name, Diagnosis(Cause.FIXED_POINT, Hypothesis.ROUNDED_TO_STEPS, role=role, amount=step)
        if (levels := _levels(wide.test)) is not None:
            return name, Diagnosis(Cause.FIXED_POINT, Hypothesis.QUANTISED, role=role, size=levels)
        is_spread = wide_data.is_spread(wide.test.dtype)
        if _is_multiple(wide.test):
            continue
        if is_spread and wide.alone is not None and _share(wide.alone) < _share(wide.test) / ALIKE:
            share = float(wide.test.error.max() / wide.test.absolute.max())
            return name, Diagnosis(Cause.FIXED_POINT, Hypothesis.SHARED_EXPONENT, role=role, amount=share)
    return None


def _wide_role(name: str, test: RoundingTest) -> str:
    """Return which tensor is wide."""
    return role_of(name) or test.problem.result


def _with_bits(
    row: ReportRow, kept: dict[str, int], sums: int | None, precision: str | None, dtype: str, *, is_rounded: bool
) -> ReportRow:
    """Return the row of a result that keeps so many bits of each array, and of its sums."""
    fewest = min([*kept.values(), *([] if sums is None else [sums])])
    of_operands, of_sums = DECLARED.get(precision or "", (BITS[dtype], BITS[dtype]))
    is_declared = all(bits >= of_operands for bits in kept.values()) and (sums is None or sums >= of_sums)
    level = LEVELS.get(fewest, Level.FEWER)
    if sums == fewest and not is_rounded and sums <= BITS["float16"]:
        level = Level.NARROW_SUMS
    finding = FewerBits(
        level, fewest, BITS[dtype], precision if is_declared else None, tuple(kept.items()), sums, is_rounded
    )
    return replace(row, verdict=RIGHT if is_declared else IMPRECISE, how=Proof.PRECISION, finding=finding)


def _elements(test: RoundingTest) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return results, right ones and magnitudes as lists of real numbers; where it is right but for the oracle, it is right."""
    found, right = test.found, test.right
    found = np.where(np.abs(found - right) <= test.oracle_error, right, found)
    parts = [(a.real, a.imag) if np.iscomplexobj(a) else (a,) for a in (found, right)]
    magnitude = np.concatenate([test.absolute.ravel()] * len(parts[0]))
    return (*(np.concatenate([part.ravel() for part in of]) for of in parts), magnitude)  # type: ignore[return-value]


def _mixes(wide: WideTest, name: str) -> bool:
    """Whether elements may be mixed: errors are small, and there are some where nothing is, or none of a number alone."""
    test, alone = wide.test, wide.alone
    if not rounding.is_within_transform(test):
        return False
    found, right, magnitude = _elements(test)
    if found[magnitude == 0].any():
        return True
    if not _is_clean(test):  # too few zeros to say: a number that loses many bits alone does not lose them to others
        return alone is None or _share(alone) < max(_share(test) / ALIKE, 2.0 ** (SURE - BITS[test.dtype]))
    is_often = np.count_nonzero(found != right) >= OFTEN * np.count_nonzero(magnitude)
    if is_often and np.count_nonzero(_read(test, name) & (magnitude == 0)) >= MANY:
        return False
    return not _is_of_length(test) if alone is None else _share(alone) < _share(test) / ALIKE


def _read(test: RoundingTest, name: str) -> np.ndarray:
    """Return which elements read a number of the wide tensor, be it zero."""
    arrays, role = test.expectations.arrays, _wide_role(name, test)
    ones = arrays.map(np.ones_like)

    def of(given: dict[str, np.ndarray], all_ones: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        return {r: np.zeros_like(a) if r == "bias" else all_ones[r] if r == role else a for r, a in given.items()}

    g = ones.g if role == test.problem.result else arrays.g
    changed = InputArrays(of(arrays.primals, ones.primals), g, of(arrays.tangents, ones.tangents))
    read = test.answer(Expectations(test.problem, changed).absolute) > 0
    return np.concatenate([read.ravel()] * (2 if np.iscomplexobj(test.found) else 1))


def _is_clean(test: RoundingTest) -> bool:
    """Whether the result is zero wherever every product is zero, of which there are some."""
    found, _, magnitude = _elements(test)
    nothing = magnitude == 0
    return bool(nothing.sum() >= FEW and not found[nothing].any())


def _is_multiple(test: RoundingTest) -> bool:
    """Whether every number is multiplied by one factor, as by a norm that is clipped: no small one loses more than others."""
    found, right, _ = _elements(test)
    weight = float(np.vdot(right, right))
    c = float(np.vdot(right, found)) / weight if weight else 1.0
    return abs(c - 1) > ONE_FACTOR and bool(np.all(np.abs(found - c * right) <= ONE_FACTOR * np.abs(c * right)))


def _dropped(test: RoundingTest) -> float | None:
    """Return the share of the largest number below which numbers are zero, if small ones are, and all others right."""
    found, right, magnitude = _elements(test)
    dropped = found != right
    if found[dropped].any() or dropped.sum() < FEW:
        return None
    share = float(magnitude[dropped].max() / magnitude.max())
    return share if share < SMALL else None


def _step(test: RoundingTest) -> float | None:
    """Return the power of two of which every number is a multiple, if right ones are not, and small ones are off as well."""
    found, right, magnitude = _elements(test)
    error = np.abs(found - right)
    of_small = error[(magnitude > 0) & (magnitude < SMALL * magnitude.max(initial=0))].max(initial=0)
    if not found.any() or of_small < error.max(initial=0) / 4:
        return None
    step, last = (float(2.0 ** last_bits(a).min()) for a in (found, right))
    return step if step > last and step / 4 <= error.max(initial=0) <= step else None


def _levels(test: RoundingTest) -> int | None:
    """Return of how many steps the largest number is a multiple, if each is one of them: of all, or of each channel alone.

    Such numbers were divided by a scale, rounded to integers, and multiplied by it again.
    """
    if np.iscomplexobj(test.found) or test.found.ndim < len("nc") or _is_of_length(test):
        return None
    for parts in ([test.found], list(np.moveaxis(test.found, 1, 0)), list(test.found)):
        some = [part[part != 0] for part in parts]
        found = [_levels_of(numbers) for numbers in some if len(np.unique(np.abs(numbers))) >= LEAST_NUMBERS]
        known = [levels for levels in found if levels is not None]
        if known and len(known) == len(found):
            return max(known)
    return None


def _levels_of(a: np.ndarray) -> int | None:
    """Return the largest of numbers as a multiple of the number that all are multiples of; None if there is none."""
    sizes = np.unique(np.abs(a))
    some = np.append(sizes[:: -(-len(sizes) // SOME_NUMBERS)], sizes[-1])
    fitting = [levels for levels in range(1, MOST_LEVELS + 1) if _are_multiples(some, levels)]
    levels = next((levels for levels in fitting if _are_multiples(sizes, levels)), 1)
    return levels if levels > 1 else None


def _are_multiples(sizes: np.ndarray, levels: int) -> bool:
    """Whether all are multiples of the last one, divided by so many levels."""
    counts = levels * (sizes / sizes[-1])
    return bool(np.abs(counts - np.rint(counts)).max() <= ON_STEP)


def _bits(test: RoundingTest) -> int | None:
    """Return how many bits of each number are kept; None if it is another number."""
    found, _, magnitude = _elements(test)
    if found[magnitude == 0].any():
        return None
    if _is_of_length(test):
        return length_of(found)
    share = _share(test)
    # numbers that are cut off are off by less than the last bit, those that are rounded by half of it
    bits = int(-np.log2(share)) - (not _is_cut(test)) if share else BITS[test.dtype]
    return bits if bits >= LEAST else None


def _share(test: RoundingTest) -> float:
    """Return the largest error, over the power of two that is next to the number."""
    found, right, magnitude = _elements(test)
    some = magnitude > 0
    error, exponent = np.abs(found - right)[some], np.frexp(magnitude[some])[1]
    return float(np.ldexp(error, -exponent).max(initial=0))


def _is_of_length(test: RoundingTest) -> bool:
    """Whether each number is within one of the last bit that the longest of the results has."""
    length = length_of(_elements(test)[0])
    return LEAST <= length < BITS[test.dtype] and _share(test) * 2.0**length < 1


def _is_cut(test: RoundingTest) -> bool:
    found, right, _ = _elements(test)
    return bool(np.all(np.abs(found) <= np.abs(right)))


def _bits_of_sums(test: RoundingTest) -> int | None:
    """Return in how many bits sums are kept; None if the result is another one."""
    found, right, magnitude = _elements(test)
    error, some = np.abs(found - right), magnitude > 0
    terms = terms_of(test.problem, test.role, test.answer)
    if np.any(error > (terms + 1) * 2.0**-LEAST_OF_SUMS * magnitude):
        return None
    length = length_of(found)
    share = float((error[some] / magnitude[some]).max(initial=0))
    return length if LEAST_OF_SUMS <= length < BITS[test.dtype] else max(LEAST_OF_SUMS, int(-np.log2(share)))


def _is_short(test: RoundingTest, *, is_direct: bool) -> bool:
    """Whether sums of half width lose small products beside large ones that cancel.

    A Fourier transform loses some as well, and leaves something where there must be zeros. One of Winograd's algorithms loses
    some also in sums that have no large product, beside those that have one; it is exact for gradients of kernels, and for few
    terms of bfloat16. What may be either may be off by as much as it.
    """
    excess = np.maximum(0, test.error - test.rounding_of_results())
    if not excess.any() or test.role == "bias":
        return bool(excess.any())
    p, arrays = test.problem, test.expectations.arrays
    if cancelling_data.is_of_few_terms(p, test.role):
        is_exact = test.dtype == "bfloat16"
    elif test.role == "w":
        is_exact = True
    else:
        bearer = cancelling_data.bearer_of(p.result, test.role)
        primals = {r: _large(a) if r == bearer else a for r, a in arrays.primals.items()}
        of_large = replace(arrays, primals=primals, g=_large(arrays.g) if bearer == p.result else arrays.g)
        beside = test.answer(Expectations(p, of_large).absolute) == 0
        is_exact = bool(np.count_nonzero(beside) >= FEW and not excess[beside].any())
    if is_direct and (is_exact or not cancelling_data.may_be_winograd(p)):
        return True
    return not rounding.is_rounded_once(test)


def _large(a: np.ndarray) -> np.ndarray:
    """Return an array with its large numbers alone."""
    size = np.abs(a)
    return np.where(size > size.max(initial=0) / 2, a, 0)


def _is_rounded_once(test: RoundingTest, bits: int) -> bool:
    """Whether the right result was rounded to so many bits, and nothing before."""
    found, right, _ = _elements(test)
    mantissa, exponent = np.frexp(right)
    return bool(np.array_equal(found, np.ldexp(np.rint(mantissa * 2.0**bits), exponent - bits)))
