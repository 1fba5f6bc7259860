"""More geometries for a candidate: those at which code that people write by hand most often breaks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from triconv.checking.findings.causes import Cause
from triconv.checking.findings.exception_text import CaughtException
from triconv.checking.findings.findings import Swept
from triconv.checking.findings.protocol import RIGHT, UNCHECKED, UNSUPPORTED, WRONG, Kind, Proof, Question, Verdict
from triconv.checking.findings.unanswered import NotSupported, Raised, Reason
from triconv.checking.oracles.convolution import ConvolutionProblem
from triconv.checking.questions.plain_rows import OnProgress
from triconv.checking.questions.shrink import letters_of, shapes_of
from triconv.checking.reports.report_data import ReportData, ReportRow

Letters = dict[tuple[str, str], int]

# what an operation on arrays says of sizes that do not fit; a check of sizes by the candidate itself says something else
BROKEN = (
    "broadcast",
    "not aligned",
    "size mismatch",
    "reshape",
    "out of bounds",
    "must match the size",
    "incompatible",
)


@dataclass(frozen=True)
class Variant:
    """A geometry of the sweep: its name, shapes of the arrays, and the parameters that differ."""

    name: str
    shapes: tuple[tuple[int, ...], ...]
    changes: dict[str, Any]


def rows(
    again: Callable[..., ReportData],
    problem: ConvolutionProblem,
    like: Callable[..., Any],
    params: dict[str, Any],
    on_progress: OnProgress,
    *,
    args: Any,
    kwargs: Mapping[str, Any] | None,
    free: set[str],
) -> Iterator[ReportRow]:
    """Yield a row for each geometry of the sweep.

    Parameters
    ----------
    again : callable
        Checks the candidate with other shapes and parameters.
    problem, like, params
        The geometry, the operator and its parameters, which the others vary.
    on_progress : callable
        Called with the name of each geometry.
    args, kwargs : Any, dict
        The candidate's own arguments, which may hold parameters of the operator.
    free : set of str
        The parameters of the operator that the candidate takes.
    """
    free |= parameters_of(args, kwargs)
    for variant in variants(problem, like, params, free):
        on_progress(f"sweep: {variant.name}")
        own, named = with_parameters(args, kwargs, variant.changes)
        report = again(*variant.shapes, args=own, kwargs=named, **{**params, **variant.changes})
        yield row(variant, report)


def variants(
    problem: ConvolutionProblem, like: Callable[..., Any], params: dict[str, Any], free: set[str]
) -> list[Variant]:
    """Return the geometries that differ from that of the problem and make sense.

    Parameters
    ----------
    problem : ConvolutionProblem
        The problem.
    like : callable
        Its operator.
    params : dict
        Its parameters.
    free : set of str
        The parameters that the candidate takes, so that they can differ too.
    """
    found: list[Variant] = []
    seen: set[tuple[Any, ...]] = {(problem.shapes, ())}
    for name, sizes, changes in _changes(problem, free):
        try:
            shapes = shapes_of(problem, sizes)
            varied = ConvolutionProblem.of(like, shapes, {**params, **changes})
            result = varied.result_shape(varied.result)
        except (ValueError, TypeError):
            continue
        key = (shapes, tuple(sorted(changes.items())))
        if 0 not in result and key not in seen:
            seen.add(key)
            found.append(Variant(name, shapes, changes))
    return found


def _changes(problem: ConvolutionProblem, free: set[str]) -> Iterator[tuple[str, Letters, dict[str, Any]]]:
    sizes, spatial, axes = letters_of(problem), problem.call.layout.spatial, problem.model.axes
    groups, data = problem.model.groups, problem.operands[0]

    def of_letter(letter: str, size: int) -> Letters:
        tied = {"C": [("x", "C"), ("w", "I")], "O": [("w", "O"), ("g", "C")]}.get(letter, [(data, letter)])
        per_group = {("x", "C"): groups, ("w", "O"): groups, ("g", "C"): groups}
        return {**sizes, **{place: size * per_group.get(place, 1) for place in tied if place in sizes}}

    def kernel(change: Callable[[int, int], int]) -> Letters:
        return {**sizes, **{("w", s): change(n, sizes["w", s]) for n, s in enumerate(spatial) if ("w", s) in sizes}}

    def inputs(change: Callable[[int, int], int]) -> Letters:
        return {**sizes, **{(data, s): change(n, sizes[data, s]) for n, s in enumerate(spatial) if (data, s) in sizes}}

    reach = [a.dilation * (a.kernel_size - 1) + 1 for a in axes]
    yield "one sample", of_letter("N", 1), {}
    yield "three samples", of_letter("N", 3), {}
    yield "one input channel", of_letter("C", 1), {}
    yield "one output channel", of_letter("O", 1), {}
    if len(axes) > 1:
        yield "not square", inputs(lambda n, size: size + 2 * n + 1), {}
        yield "kernel not square", kernel(lambda n, size: size + (n == 0)), {}
    yield "even kernel", kernel(lambda _, size: size + 1 if size % 2 else size), {}
    yield "kernel of one tap", kernel(lambda *_: 1), {}
    yield "kernel as large as the input", inputs(lambda n, _: reach[n]), {}
    yield "one position more", inputs(lambda _, size: size + 1), {}
    if "padding" in free:
        yield "no padding", sizes, {"padding": 0}
        yield "padding", sizes, {"padding": 1}
    if "stride" in free:
        yield "stride with a remainder", inputs(lambda n, size: size + (size - reach[n] + 1) % 2), {"stride": 2}
    if "dilation" in free:
        yield "dilation", inputs(lambda n, size: size + reach[n]), {"dilation": 2}


STRIDE, PADDING, DILATION = (
    ("stride", "strides", "s"),
    ("padding", "pad", "p", "padding_size"),
    ("dilation", "dilations"),
)
NAMES = dict.fromkeys(STRIDE, "stride") | dict.fromkeys(PADDING, "padding") | dict.fromkeys(DILATION, "dilation")
"""What candidates call the parameters, in a dict or by keyword."""


def parameters_of(args: Any, kwargs: Mapping[str, Any] | None) -> set[str]:
    """Return the parameters of the operator that a candidate is handed by name."""
    return {NAMES[name] for name in (*(args if isinstance(args, dict) else ()), *(kwargs or ())) if name in NAMES}


def with_parameters(args: Any, kwargs: Mapping[str, Any] | None, changes: dict[str, Any]) -> tuple[Any, Any]:
    """Return the candidate's own arguments with other parameters."""

    def changed(values: Mapping[str, Any]) -> dict[str, Any]:
        return {name: changes.get(NAMES.get(name, ""), value) for name, value in values.items()}

    return (changed(args) if isinstance(args, dict) else args), (changed(kwargs) if kwargs else kwargs)


def row(variant: Variant, report: ReportData) -> ReportRow:
    """Return the row for the check at a geometry."""
    shapes = ", ".join(f"{name} {shape}" for name, shape in report.shapes.items())
    changed = "".join(f", {name}={value}" for name, value in variant.changes.items())
    question = Question(Kind.SWEEP, name=f"{variant.name} ({shapes}{changed})")
    first = next((r for r in report.rows if r.verdict == report.verdict), None)
    if report.verdict == UNCHECKED and first is not None and isinstance(first.finding, Raised):
        raised = first.finding.exception
        if is_refusal(raised):
            return ReportRow(question, UNSUPPORTED, Proof.NONE, NotSupported(Reason.REFUSED_GEOMETRY, exception=raised))
        return ReportRow(question, WRONG, Proof.RAISED, first.finding)
    # the whole check says the dtype once
    report = replace(report, rows=tuple(r for r in report.rows if r.question.kind != Kind.DTYPE))
    verdict = Verdict(report.verdict)
    first = next((r for r in report.rows if r.verdict == verdict), None)
    failed = report.first_failed
    return ReportRow(
        question,
        verdict,
        first.how if first is not None else Proof.NONE,
        Swept() if verdict == RIGHT or first is None else Swept(first.question, first.finding),
        cause=first.cause if first is not None else Cause.NONE,
        evidence=failed.evidence if failed is not None and verdict == WRONG else None,
    )


def is_refusal(raised: CaughtException) -> bool:
    """Whether a candidate says that it does not take such sizes, rather than fails at them."""
    if raised.type in ("AssertionError", "NotImplementedError"):
        return True
    return raised.type == "ValueError" and not any(words in raised.message for words in BROKEN)
