"""The rows on arrays, memory and calls as in training, of a function that is compared with its own values."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from triconv.checking.dtypes import BITS
from triconv.checking.findings.protocol import Kind, Question
from triconv.checking.functions.function_check import FunctionCheck
from triconv.checking.questions import argument_subsets, arrangement_rows, state, thread_calls
from triconv.checking.questions.training_rows import Ask, added, are_right, has_numbers
from triconv.checking.reports.report_data import ReportRow
from triconv.checking.verdicts.trial import CHEAP, Trial, differ_by

FAMILIES: tuple[tuple[Kind, Ask], ...] = (
    (Kind.MEMORY, state.rows),
    (Kind.THREADS, thread_calls.rows),
    (Kind.ARRANGEMENTS, arrangement_rows.rows),
    (Kind.SUBSETS, argument_subsets.rows),
)
SHARE_BITS = 12
"""Bits of the significand that rounding may take from a result, relative to the largest element: the sums of another
arrangement may be in another order, and a function may enlarge what that makes."""
ELEMENTS = 10**5
"""Elements of all arrays up to which a call counts as cheap."""


def with_rows(
    check: FunctionCheck, rows: Sequence[ReportRow], on_progress: Callable[[str], Any], *, writes: bool
) -> list[ReportRow]:
    """Return the rows of a check of a function with those on arrays, memory and calls.

    Parameters
    ----------
    check : FunctionCheck
        The check.
    rows : sequence of ReportRow
        Of all other questions.
    on_progress : callable
        Called with the name of each question.
    writes : bool
        Whether the function is said to write into its arrays.
    """
    value = next((row for row in rows if row.question.is_plain_value), None)
    if value is None or not has_numbers(value):
        return list(rows)
    rng = np.random.default_rng([check.seed, 21])
    by_name = {row.question.name: row for row in rows if row.question.kind == Kind.VJP and has_numbers(row)}
    vjps = {n: by_name[name].question for n, name in enumerate(check.names) if name in by_name}
    first, second = (check.points.draw(rng, None) for _ in range(2))
    g, other_g = (check.points.whole_numbers(rng, check.result_shape, 8) for _ in range(2))
    trial = Trial(
        check.candidate,
        check.names,
        Question(Kind.VALUE),
        vjps,
        first,
        second,
        g,
        other_g,
        functools.partial(differ_by, 2.0 ** (SHARE_BITS - BITS[check.dtype])),
        0 if sum(a.size for a in (*first, g)) <= ELEMENTS else CHEAP + 1,
        is_convolution=False,
        has_jvp=are_right(rows, Kind.JVP),
        may_write=writes,
        ndims={q: len(shape) for q, shape in _shapes(check, vjps)},
    )
    return added(trial, FAMILIES, rows, on_progress)


def _shapes(check: FunctionCheck, vjps: dict[int, Question]) -> list[tuple[Question, tuple[int, ...]]]:
    return [(Question(Kind.VALUE), check.result_shape), *((q, check.shapes[n]) for n, q in vjps.items())]
