"""The verdict on one result: right to the last bit, right to rounding, right with fewer bits, or wrong."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from triconv.checking.candidates.candidate import long_axes
from triconv.checking.candidates.candidates import Unsupported, as_numpy, no_array
from triconv.checking.diagnosis.narrow_operands import narrow_operand
from triconv.checking.diagnosis.partial_sums import rounded_partial_sums
from triconv.checking.dtypes import ARITHMETIC, BITS, INTEGERS, NarrowRange
from triconv.checking.findings.causes import Cause, Hypothesis
from triconv.checking.findings.diagnosis_data import Diagnosis
from triconv.checking.findings.exception_text import caught
from triconv.checking.findings.findings import (
    EqualOnIntegers,
    FewerBits,
    NotRepeatable,
    Repeatable,
    WithinNormWiseBound,
    WrongShape,
)
from triconv.checking.findings.protocol import (
    RIGHT,
    UNCHECKED,
    UNSUPPORTED,
    WRONG,
    Kind,
    Proof,
)
from triconv.checking.findings.unanswered import Raised
from triconv.checking.oracles import cancelling_data, drawn_data
from triconv.checking.reports.report_data import ReportRow
from triconv.checking.verdicts import kept_bits, mixed_samples, narrow_range, rounding, wide_tests
from triconv.checking.verdicts.asking import RaisedAgainError, ask_again, in_torch_order, shape_of
from triconv.checking.verdicts.check_context import CheckContext
from triconv.checking.verdicts.probes import Probe
from triconv.checking.verdicts.rounding_test import RoundingTest
from triconv.checking.verdicts.trial import COTANGENT
from triconv.checking.verdicts.wrong_result import compared, explained, why_not_repeatable, wrong_row


def judge(context: CheckContext, probe: Probe) -> ReportRow:
    """Ask the candidate, and return the verdict."""
    question = probe.question
    results: dict[str, np.ndarray] = {}
    other_dtype, other_shape = "", None
    for name in ("exact", "random"):
        try:
            raw = probe.ask(context.arrays[name])
        except Unsupported as unsupported:
            return ReportRow(question, UNSUPPORTED, Proof.NONE, unsupported.finding)
        except Exception as problem:  # noqa: BLE001 (whatever the candidate raises is reported)
            return ReportRow(question, UNCHECKED, Proof.RAISED, Raised(caught(problem)))
        result = as_numpy(raw)
        if result is None:
            return ReportRow(question, UNCHECKED, Proof.NO_ARRAY, no_array(raw))
        results[name] = result
        if question.tensor == "bias" and _kept_axes(result.shape, shape_of(context, probe)):
            other_shape = result.shape
            result = results[name] = result.reshape(shape_of(context, probe))
        if question.kind != Kind.REPEAT:
            row = _form(context, probe, result)
            if row is not None:
                return row
            dtype = _dtype_name(raw, result)
            if dtype != context.dtype:
                other_dtype = dtype
                if is_narrower(dtype, context.dtype):  # right in the dtype that came?
                    return replace(judge(context.narrower(dtype), probe), other_dtype=other_dtype)
    try:
        if question.kind == Kind.REPEAT:
            return _repeated(context, probe, results)
        arranged = {name: in_torch_order(context, probe, a) for name, a in results.items()}
        return replace(_numbers(context, probe, arranged), other_dtype=other_dtype, other_shape=other_shape)
    except RaisedAgainError as again:
        return ReportRow(question, UNCHECKED, Proof.RAISED, again.finding)


def _kept_axes(found: tuple[int, ...], shape: tuple[int, ...]) -> bool:
    """Whether a shape differs by axes of length 1 alone."""
    return found not in ((), shape) and long_axes(found) == long_axes(shape)


def _form(context: CheckContext, probe: Probe, result: np.ndarray) -> ReportRow | None:
    """Return the row for a result of a wrong shape."""
    question, shape, found = probe.question, shape_of(context, probe), result.shape
    if found != shape:
        diagnosis = _explain_shape(context, probe, result)
        cause = diagnosis.cause if diagnosis is not None and diagnosis.cause else Cause.SHAPE
        shown = None if diagnosis is None or diagnosis.hypothesis == Hypothesis.UNEXPLAINED_SHAPE else diagnosis
        return ReportRow(question, WRONG, Proof.SHAPE, WrongShape(shape, found, diagnosis=shown), cause=cause)
    return None


def is_narrower(dtype: str, than: str) -> bool:
    """Whether a floating dtype has fewer bits than another."""
    return dtype in ARITHMETIC and than in ARITHMETIC and BITS[dtype] < BITS[than]


def _dtype_name(raw: Any, result: np.ndarray) -> str:
    """Return the name of a dtype without its library: torch's is "torch.float32"."""
    return str(getattr(raw, "dtype", result.dtype)).split(".")[-1]


def _explain_shape(context: CheckContext, probe: Probe, result: np.ndarray) -> Diagnosis | None:
    """Explain a result of a wrong shape, if it has the right number of axes."""
    try:
        arranged = in_torch_order(context, probe, result)
    except ValueError:
        return None
    context.prove(probe.question.tensor)
    return explained(context, probe, "exact", arranged, probe.answer(context.right("exact")))


def _numbers(context: CheckContext, probe: Probe, found: dict[str, np.ndarray]) -> ReportRow:
    """Return the row for a result of the right form."""
    question, role = probe.question, probe.question.tensor
    if context.dtype in INTEGERS:
        for name in ("exact", "random"):
            if not context.is_equal(name, probe, found[name]):
                return _differs(context, probe, name, found[name])
        return ReportRow(question, RIGHT, Proof.EXACT, EqualOnIntegers(random=False, missed=context.missed(role)))
    if not np.isfinite(found["exact"]).all():
        return _differs(context, probe, "exact", found["exact"])
    context.prove(role)
    test = RoundingTest.of(context.problem, context.dtype, role, probe.answer, context.right("random"), found["random"])
    if (row := rounding.not_finite(question, test)) is not None:
        return row
    exact = context.is_equal("exact", probe, found["exact"])
    near = exact or bool(np.all(np.abs(found["exact"] - probe.answer(context.right("exact"))) < 0.25))

    def is_exact_in_8_bits() -> bool:
        if not exact:  # partial sums are at most the sum of all magnitudes
            right = context.right("exact")
            if np.any(
                (found["exact"] != probe.answer(right)) & (probe.answer(right.absolute) <= 2.0 ** BITS["bfloat16"])
            ):
                return False
        again = in_torch_order(context, probe, ask_again(probe, context.arrays["small"]))
        return context.is_equal("small", probe, again) and (exact or wide_tests.has_all_terms(context, probe))

    drawn = context.user_arrays is None
    row = rounding.verdict(question, test, exact, near, is_exact_in_8_bits, context.precision, drawn=drawn)
    is_few = row is not None and isinstance(row.finding, FewerBits)
    if near and (row is None or is_few) and mixed_samples.leaks(context, probe, test):
        row, is_few = rounding.of_mixed_samples(question, test), False
    is_equal = row is not None and isinstance(row.finding, EqualOnIntegers)
    if is_equal and (name := wide_tests.with_dense_signs(context, probe)):
        again = in_torch_order(context, probe, ask_again(probe, context.arrays[name]))
        return _differs(context, probe, name, again)
    if row is not None:
        return _with_proof(context, _with_wide(context, probe, row, test) if exact or is_few else row)
    if not exact:
        return _not_exact(context, probe, found, test, near=near)
    if not wide_tests.is_asked(context, question) or question.kind == Kind.JVP or question.order == 2:
        # what an earlier question shows with fewer bits may show it in some samples alone here, and in a part of a JVP
        row = rounding.verdict(question, test, exact, near, is_exact_in_8_bits, context.precision, drawn=False)
        if row is not None and isinstance(row.finding, FewerBits):
            return row
    # with the errors of noise of fewer bits, but not in all samples, or of steps
    wide = _with_wide(
        context, probe, ReportRow(question, RIGHT, Proof.EXACT, EqualOnIntegers(random=False), test.ratio), test
    )
    if isinstance(wide.finding, FewerBits) and rounding.is_within_bits(test, wide.finding.bits, wide.finding.sums):
        return wide
    if wide.cause in (Cause.FIXED_POINT, Cause.PARTIAL_SUMS, Cause.SMALL_NUMBERS):
        return wide
    return wrong_row(context, probe, "random", test.found, test.right, test.ratio, test.error > test.allowed)


def _not_exact(
    context: CheckContext, probe: Probe, found: dict[str, np.ndarray], test: RoundingTest, *, near: bool
) -> ReportRow:
    """Return the row for a result that differs for integers, by the data that say most of it."""
    # integers were rounded, as in a Fourier transform: others are wrong
    if near and (not rounding.resembles(test) or _is_of_transform(context, probe, found["exact"])):
        narrow = narrow_operand(compared(context, probe, "random", test.found, test.right))
        return wrong_row(
            context, probe, "random", test.found, test.right, test.ratio, test.error > test.allowed, narrow
        )
    row = _differs(context, probe, "exact", found["exact"], test.ratio)
    if row.cause in (Cause.NONE, Cause.NOISE) and rounding.resembles(test):
        tests = wide_tests.differing(context, probe)
        if stepped := kept_bits.steps(tests):
            name, diagnosis = stepped
            return wrong_row(context, probe, name, tests[name].test.found, tests[name].test.right, diagnosis=diagnosis)
    return row


def _is_of_transform(context: CheckContext, probe: Probe, found: np.ndarray) -> bool:
    """Whether a result for integers is as near to the right one as a Fourier transform comes."""
    role, right = probe.question.tensor, context.right("exact")
    test = RoundingTest.of(context.problem, context.dtype, role, probe.answer, right, found)
    return rounding.is_within_transform(test)


def _with_wide(context: CheckContext, probe: Probe, row: ReportRow, random: RoundingTest) -> ReportRow:
    """Return the row of a result, and of that for random data, with what exact data that need every bit show of it."""
    tests = wide_tests.differing(context, probe)
    narrow: NarrowRange | None = None
    for name, wide in list(tests.items()):
        if wide.test.excused.any():  # of finite data, what is not finite
            found = np.where(wide.test.excused, np.nan, wide.test.found)
            narrow = narrow_range.overflowed(probe.answer, wide.test.expectations, context.dtype, found)
            if narrow is None or not isinstance(row.finding, FewerBits):
                return _differs(context, probe, name, found)
            del tests[name]  # a dtype of fewer bits has fewer exponents as well
    problem = context.problem
    names = {**dict(zip(problem.roles, problem.names, strict=True)), problem.result: COTANGENT}
    zeros = wide_tests.zeros(context, probe, set(tests)) if any(name in cancelling_data.NAMES for name in tests) else 0
    judged = kept_bits.judged(row, tests, names, context.precision, zeros) if tests else row
    if isinstance(judged, ReportRow):
        if narrow is not None and isinstance(judged.finding, FewerBits):
            fits = narrow_range.of_bits(narrow, judged.finding.bits)
            return replace(judged, finding=replace(judged.finding, overflows=fits))
        return judged
    name, diagnosis = judged
    if diagnosis is not None and diagnosis.cause == Cause.FIXED_POINT and context.thorough:
        of_parts = rounded_partial_sums(compared(context, probe, "random", random.found, random.right))
        if of_parts is not None:
            out = random.error > random.allowed
            return wrong_row(context, probe, "random", random.found, random.right, random.ratio, out, of_parts)
    test = tests[name].test
    return wrong_row(context, probe, name, test.found, test.right, diagnosis=diagnosis)


def _with_proof(context: CheckContext, row: ReportRow) -> ReportRow:
    """Return a row that says, at real size, how sure it is and what the right answers were."""
    role = row.question.tensor
    if not context.is_real_size or not isinstance(row.finding, EqualOnIntegers | WithinNormWiseBound):
        return row
    finding: EqualOnIntegers | WithinNormWiseBound = replace(row.finding, truth=context.truth if role != "bias" else "")
    if isinstance(finding, EqualOnIntegers):
        finding = replace(finding, missed=context.missed(role))
    return replace(row, finding=finding)


def _differs(
    context: CheckContext, probe: Probe, name: str, found: np.ndarray, ratio: float | None = None
) -> ReportRow:
    """Return the row for a result for integers that differs from the right one."""
    context.prove(probe.question.tensor)
    with np.errstate(all="ignore"):
        right = probe.answer(context.right(name))
    right = drawn_data.wrapped(right, context.dtype) if context.dtype in INTEGERS else right
    return wrong_row(context, probe, name, found, right, ratio)


def _repeated(context: CheckContext, probe: Probe, first: dict[str, np.ndarray]) -> ReportRow:
    """Return the row for the same question again: equal, different by rounding, or random."""
    question, role = probe.question, probe.question.tensor
    again = [a for _ in range(2) if (a := ask_again(probe, context.arrays["random"])) is not None]
    if all(np.array_equal(a, first["random"], equal_nan=True) for a in again):
        return ReportRow(question, RIGHT, Proof.EXACT, Repeatable(0.0))
    if any(a.shape != first["random"].shape for a in again):
        return ReportRow(question, WRONG, Proof.RANDOM, NotRepeatable(None), cause=Cause.NONDETERMINISTIC)
    arrays = [in_torch_order(context, probe, a) for a in (first["random"], *again)]
    spread = max(float(np.abs(np.nan_to_num(a - arrays[0])).max(initial=0)) for a in arrays[1:])
    if context.dtype not in INTEGERS:
        test = RoundingTest.of(context.problem, context.dtype, role, probe.answer, context.right("random"), arrays[0])
        if spread <= 2 * float(test.allowed.max(initial=0)):
            return ReportRow(question, RIGHT, Proof.ROUNDING, Repeatable(spread))
    finding, cause = why_not_repeatable(context, probe, spread)
    return ReportRow(question, WRONG, Proof.RANDOM, finding, cause=cause)
