"""Results for exact data that need every bit, and for windows of long sums."""

from __future__ import annotations

import math

import numpy as np

from triconv.checking.candidates.candidates import Unsupported
from triconv.checking.dtypes import ARITHMETIC, COMPLEX
from triconv.checking.findings.protocol import Kind, Mode, Question, Transform
from triconv.checking.oracles import cancelling_data, drawn_data, wide_data
from triconv.checking.oracles.convolution import Expectations, InputArrays
from triconv.checking.verdicts import kept_bits, rounding
from triconv.checking.verdicts.asking import RaisedAgainError, ask_again, in_torch_order, shape_of
from triconv.checking.verdicts.check_context import CheckContext
from triconv.checking.verdicts.kept_bits import WideTest
from triconv.checking.verdicts.probes import Probe
from triconv.checking.verdicts.rounding_test import RoundingTest

LONG = 1024
"""Terms of a sum from which on integers of half width are sparse."""
MOST_SEEN, MOST_CALLS = 32, 4
"""Elements in which each term counts, from which on it is seen that it is missing; and calls with signs."""


def is_asked(context: CheckContext, question: Question) -> bool:
    """Whether data that need every bit are asked: other questions run the same code, or compile it, or take long."""
    if is_plain(question):
        return True
    if context.is_real_size:
        return False
    if question.is_value:
        return question.transform == Transform.VJP
    return question.kind == Kind.JVP or question.mode == Mode.REVERSE_OVER_REVERSE


def differing(context: CheckContext, probe: Probe) -> dict[str, WideTest]:
    """Return the results for exact data that need every bit, as far as they are not right, by the name of the data."""
    question, role, p = probe.question, probe.question.tensor, context.problem
    has_every_bit = is_asked(context, question)

    def ask(name: str, arrays: InputArrays, right: Expectations | None = None) -> RoundingTest | None:
        try:
            raw = ask_again(probe, arrays)
        except RaisedAgainError as again:
            if isinstance(again.__cause__, Unsupported):  # results for some arrays alone
                return None
            raise
        shape = shape_of(context, probe)
        if raw is None or raw.size != math.prod(shape):
            return None
        found = in_torch_order(context, probe, raw.reshape(shape))
        is_rounded = wide_data.is_rounded_once(name, context.dtype)
        if right is None and not is_rounded and context.is_equal(name, probe, found):
            return None
        right = right or context.right(name)
        test = RoundingTest.of(p, context.dtype, role, probe.answer, right, found)
        if name in cancelling_data.NAMES:  # whatever is more than one rounding
            return test if np.any(test.error > test.rounding_of_results()) and not test.excused.any() else None
        return None if is_rounded and not test.excused.any() and rounding.is_rounded_once(test) else test

    tests: dict[str, WideTest] = {}
    is_cotangent = question.kind == Kind.VJP
    names = [
        name
        for data in (wide_data, cancelling_data)
        for name in data.names_of(role, order=question.order, is_cotangent=is_cotangent, dtype=context.dtype)
    ]
    for name in names if has_every_bit else ():
        test = None if context.arrays.wide(name) is None else ask(name, context.arrays[name])
        if test is not None:
            has_products = name in (*wide_data.SUMS.values(), *cancelling_data.NAMES)
            alone = None if has_products else kept_bits.worst_alone(test, name)
            tests[name] = WideTest(test, None if alone is None else ask(name, alone, Expectations(p, alone)))
    return tests


def zeros(context: CheckContext, probe: Probe, others: set[str]) -> int:
    """Return the most zeros in a result for data with one wide tensor, of those that did not differ."""
    asked = wide_data.names_of(
        probe.question.tensor,
        order=probe.question.order,
        is_cotangent=probe.question.kind == Kind.VJP,
        dtype=context.dtype,
    )
    names = [name for name in asked if wide_data.role_of(name) and name not in others and context.arrays.wide(name)]
    return max((int(np.count_nonzero(probe.answer(context.right(name)) == 0)) for name in names), default=0)


def has_all_terms(context: CheckContext, probe: Probe) -> bool:
    """Whether no term of a sum is left out: where there are many, integers of 8 bits have few that are not zero."""
    p = context.problem
    for some in drawn_data.windows(p, probe.question.tensor, context.arrays["exact"]):
        found = in_torch_order(context, probe, ask_again(probe, some))
        if np.any(np.abs(found - probe.answer(Expectations(p, some))) >= 0.5):
            return False
    return True


def with_dense_signs(context: CheckContext, probe: Probe) -> str:
    """Return the name of data in which a term of a long sum is missing; "" where none is.

    The integers of half width are sparse where sums are long: of a result of few elements, a term that is left out is not
    seen. Of signs, every term counts, and sums are random walks, so that most are exact in as few bits.
    """
    p, role = context.problem, probe.question.tensor
    arrays, dtype = context.arrays["exact"], context.dtype
    if context.is_real_size or role == "bias" or dtype in COMPLEX or not is_plain(probe.question):
        return ""
    size, terms = math.prod(p.result_shape(role)), p.terms(role)
    others = [a for r, a in {**arrays.primals, p.result: arrays.g}.items() if r not in ("bias", role)]
    seen = size * math.prod(np.count_nonzero(a) / max(1, a.size) for a in others)
    if terms < LONG or seen >= MOST_SEEN:
        return ""
    unit = ARITHMETIC[dtype].unit
    for n in range(min(MOST_CALLS, -(-MOST_SEEN // max(1, size)))):
        name = f"signs {n}"
        context.arrays.keep(name, drawn_data.dense_signs(p, context.seed + n))
        right = probe.answer(context.right(name))
        found = in_torch_order(context, probe, ask_again(probe, context.arrays[name]))
        error = np.abs(found - right)
        if np.any((error >= 1) & (error > 2 * unit * np.abs(right))) and np.abs(right).max() * unit < 1:
            return name
    return ""


def is_plain(question: Question) -> bool:
    """Whether it asks for the value, or for a VJP."""
    return question.is_plain_value or question.kind == Kind.VJP
