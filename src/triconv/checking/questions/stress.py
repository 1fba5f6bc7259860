"""Sizes that break kernels: next to multiples of 16, 32, 64 and 128, one of each, a prime, some over 2^16, and other kernels.

Each case changes one or two sizes and keeps the others small, so that it is quick. Every two letters are also large at once: a
tile that is masked in one of them alone is wrong in the last corner.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from triconv.checking.candidates.candidates import CandidateFunction, Unsupported
from triconv.checking.findings.causes import Cause
from triconv.checking.findings.findings import StressedSizes, Swept
from triconv.checking.findings.protocol import RIGHT, UNCHECKED, UNSUPPORTED, WRONG, Kind, Proof, Question
from triconv.checking.findings.unanswered import NotSupported, Raised, Reason
from triconv.checking.oracles import tap_sums
from triconv.checking.oracles.convolution import ConvolutionProblem
from triconv.checking.questions.shrink import letters_of, shapes_of
from triconv.checking.questions.sweep import is_refusal
from triconv.checking.questions.whole_answers import WholeAnswers
from triconv.checking.reports.report_data import ReportRow
from triconv.checking.verdicts.check_context import CheckContext
from triconv.checking.verdicts.judge import judge
from triconv.checking.verdicts.probes import probes

MULTIPLES = (16, 32, 64, 128)
"""Sizes of tiles."""
SIZES = tuple(m + off for m in MULTIPLES for off in (-1, 0, 1))
SMALL, PRIME, OVER_16_BITS = 2, 37, 2**16 + 1
LONG = 2**10 + 1
"""Positions: tiles of one axis are longer than those of letters that come with others."""
TAPS = (1, 5, 8, 17)
"""Sizes of the kernel: code that is unrolled for some takes another path for these."""
MOST_ELEMENTS = 2**25
"""Of the arrays of one case."""
MOST_EXPLAINED = 2**11
"""Elements of each tensor, and positions that meet, up to which every hypothesis is tried."""
Letters = dict[tuple[str, str], int]
NAMES = {"N": "batch", "C": "input channels", "O": "output channels", "K": "kernel size"}


@dataclass(frozen=True)
class StressCase:
    """A case: the sizes that are not small, in words, and the problem.

    `parts` are the cases of one of these sizes alone, which tell which of them it is.
    """

    name: str
    problem: ConvolutionProblem
    parts: tuple[StressCase, ...] = ()


def cases(
    problem: ConvolutionProblem, like: Callable[..., Any], params: dict[str, Any], *, is_fixed: bool
) -> Iterator[StressCase]:
    """Yield the cases that make sense.

    Parameters
    ----------
    problem : ConvolutionProblem
        The problem.
    like : callable
        Its operator.
    params : dict
        Its parameters.
    is_fixed : bool
        Whether the candidate has parameters of its own, so that only the batch and the positions can be other ones.
    """
    given, data = letters_of(problem), problem.operands[0]
    groups, spatial = problem.model.groups, problem.call.layout.spatial
    axes = problem.model.axes
    tied = {"N": [(data, "N")], "C": [("x", "C"), ("w", "I")], "O": [("w", "O"), ("g", "C")]}
    tied |= {letter: [(data, letter)] for letter in spatial}
    free = [letter for letter, places in tied.items() if any(place in given for place in places)]
    if spatial and all(("w", letter) in given for letter in spatial):
        tied["K"] = [("w", letter) for letter in spatial]
        free.append("K")
    if is_fixed:
        free = [letter for letter in free if letter not in ("C", "O", "K")]

    def sized(sizes: dict[str, int]) -> Letters:
        out = dict(given)
        for letter in free:
            if letter == "K" and letter not in sizes:
                continue
            least = SMALL
            if letter in spatial:
                a = axes[spatial.index(letter)]
                least = max(SMALL, a.dilation * (sizes.get("K", a.kernel_size) - 1) + a.stride + 1)
            size = sizes.get(letter, least)
            for place in tied[letter]:
                if place in out:
                    out[place] = size * (groups if place in (("x", "C"), ("w", "O"), ("g", "C")) else 1)
        return out

    def case(sizes: dict[str, int]) -> StressCase | None:
        sizes = {letter: size for letter, size in sizes.items() if letter in free}
        try:
            shapes = shapes_of(problem, sized(sizes))
            varied = ConvolutionProblem.of(like, shapes, params)
            result = varied.result_shape(varied.result)
        except (ValueError, TypeError):
            return None
        elements = [1] * (len(shapes) + 1)
        for n, shape in enumerate((*shapes, result)):
            for size in shape:
                elements[n] *= size
        if not sizes or 0 in elements or max(elements) > MOST_ELEMENTS:
            return None
        per_group = {letter: " per group" if groups > 1 and letter in "CO" else "" for letter in sizes}
        words = [f"{_named(letter, spatial)} {size}{per_group[letter]}" for letter, size in sizes.items()]
        parts = tuple(c for letter, size in sizes.items() if len(sizes) > 1 and (c := case({letter: size})) is not None)
        return StressCase(" and ".join(words), replace(varied, **problem.of_candidate), parts)

    seen: set[Any] = set()
    for sizes in _sizes(spatial, given, data):
        found = case(sizes)
        if found is not None and found.problem.shapes not in seen:
            seen.add(found.problem.shapes)
            yield found


def _sizes(spatial: str, given: Letters, data: str) -> Iterator[dict[str, int]]:
    """Yield the sizes of some letters; of two of them, one is large where the other is small."""
    first, second, third = (*spatial, "", "", "")[:3]
    for a, b in (("N", first), ("C", second), ("O", third)):
        for one, other in zip(SIZES, SIZES[::-1], strict=True):
            yield {a: one, b: other} if b else {a: one}
    for letter in spatial[3:]:
        yield from ({letter: size} for size in SIZES)
    for letter, place in (("N", (data, "N")), ("C", ("w", "I")), *((s, (data, s)) for s in spatial)):
        nearest = given.get(place, 0) // MULTIPLES[-1] * MULTIPLES[-1]
        if nearest > MULTIPLES[-1]:
            yield from ({letter: nearest + off} for off in (-1, 0, 1))
    yield from ({letter: LONG} for letter in spatial)
    yield {"N": 1}
    yield {"C": 1}
    yield {"O": 1}
    yield {"C": PRIME}
    yield {"O": PRIME}
    for one, other in itertools.combinations(("N", "C", "O", *spatial), 2):
        size = SIZES[-4] if one in spatial else SIZES[-1]
        yield {one: size, other: size}
    yield from ({"K": size} for size in TAPS)
    for letter in ("N", "C", "O"):
        yield {**dict.fromkeys(("N", "C", "O"), 1), letter: OVER_16_BITS}


def _named(letter: str, spatial: str) -> str:
    if letter in NAMES:
        return NAMES[letter]
    return f"size in axis {spatial.index(letter)}" if len(spatial) > 1 else "size"


def rows(
    candidate: CandidateFunction,
    every: Iterable[StressCase],
    dtype: str,
    seed: int,
    on_progress: Callable[[str], Any],
) -> Iterator[tuple[ReportRow, StressCase | None]]:
    """Yield a row for each case that fails, with the case, and one for all that are right.

    The value and every VJP are asked.
    """
    right, refused = 0, 0
    raised: list[tuple[ReportRow, StressCase]] = []
    every = list(every)
    of_kernels = [case for case in every if case.name.startswith(NAMES["K"])]
    exact: dict[str, bool] = {}
    for case in of_kernels:
        on_progress(f"sizes: {case.name}")
        exact[case.name] = _is_exact(candidate, _context(case, dtype, seed))
        if exact[case.name]:
            break
    else:  # it is made for one kernel, as many are
        every, refused = [case for case in every if case not in of_kernels], len(of_kernels)
    for case in every:
        if case.name not in exact:
            on_progress(f"sizes: {case.name}")
        row = _row(candidate, case, dtype, seed, is_exact=exact.get(case.name))
        if row is None:
            right += 1
        elif isinstance(row.finding, NotSupported):
            refused += 1
        elif isinstance(row.finding, Raised):
            raised.append((row, case))
        else:
            for part in case.parts:
                alone = _row(candidate, part, dtype, seed)
                if alone is not None and isinstance(alone.finding, Swept):
                    row, case = alone, part  # noqa: PLW2901
                    break
            yield row, case
    if right:
        yield from raised
        yield ReportRow(Question(Kind.STRESS), RIGHT, Proof.EXACT, StressedSizes(right, refused)), None
    elif raised or refused:  # it is made for one shape
        exception = raised[0][0].finding.exception if raised and isinstance(raised[0][0].finding, Raised) else None
        finding = NotSupported(Reason.REFUSED_GEOMETRY if exception else Reason.OTHER_SIZES, exception=exception)
        yield ReportRow(Question(Kind.STRESS), UNSUPPORTED, Proof.NONE, finding), None


def _context(case: StressCase, dtype: str, seed: int) -> CheckContext:
    return CheckContext(case.problem, dtype, None, seed, thorough=False)


def _is_exact(candidate: CandidateFunction, context: CheckContext) -> bool:
    """Whether the value and the VJPs, asked once on integers, are the right ones, so that nothing else needs to be asked."""
    asked = WholeAnswers(candidate, context.problem, context.dtype, set())
    questions = tuple(q for q in asked.questions if q != asked.jvp)
    answers = asked.ask(context.arrays["exact"], questions)
    if len(answers) < len(questions):
        return False
    for question, answer in answers.items():
        if isinstance(answer, Unsupported):
            continue
        context.prove(question.tensor)
        right = context.right("exact")
        expected = right.value() if question == asked.value else right.vjp(question.tensor)
        if isinstance(answer, Exception) or not np.array_equal(answer, expected):
            return False
    return True


def _is_small(p: ConvolutionProblem) -> bool:
    """Whether every hypothesis can be tried in a moment."""
    most = max(math.prod(p.result_shape(role)) for role in "xwg")
    return most <= MOST_EXPLAINED and tap_sums.count_meetings(p.model.axes) <= MOST_EXPLAINED


def _row(
    candidate: CandidateFunction, case: StressCase, dtype: str, seed: int, *, is_exact: bool | None = None
) -> ReportRow | None:
    """Return the row for a case that fails, or that the candidate refuses; None if it is right, which may be known."""
    shapes = ", ".join(f"{name} {shape}" for name, shape in zip(case.problem.names, case.problem.shapes, strict=True))
    question = Question(Kind.STRESS, name=f"{case.name} ({shapes})")
    context = _context(case, dtype, seed)
    if _is_exact(candidate, context) if is_exact is None else is_exact:
        return None
    for probe in probes(candidate, case.problem, dtype):
        if not probe.question.is_plain_value and probe.question.kind != Kind.VJP:
            continue
        row = judge(context, probe)
        if row.verdict == WRONG and row.cause == Cause.NONE and _is_small(case.problem):
            row = judge(replace(context, thorough=True), probe)
        if row.verdict == UNCHECKED:
            if not isinstance(row.finding, Raised):
                continue
            if is_refusal(row.finding.exception):
                refused = NotSupported(Reason.REFUSED_GEOMETRY, exception=row.finding.exception)
                return ReportRow(question, UNSUPPORTED, Proof.NONE, refused)
            return ReportRow(question, WRONG, Proof.RAISED, row.finding)
        if row.verdict == WRONG:
            finding = Swept(row.question, row.finding)
            return ReportRow(question, WRONG, row.how, finding, cause=row.cause, evidence=row.evidence)
    return None
