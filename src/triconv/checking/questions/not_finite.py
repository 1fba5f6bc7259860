"""Whether one NaN or infinity in each array reaches all that it meets, in the value and in every VJP."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from triconv.checking.candidates.candidates import CandidateFunction, Unsupported
from triconv.checking.findings.causes import Cause
from triconv.checking.findings.exception_text import caught
from triconv.checking.findings.findings import DoesNotReach, ReachesAll
from triconv.checking.findings.protocol import RIGHT, UNSUPPORTED, WRONG, Kind, Proof, Question, Role
from triconv.checking.findings.unanswered import NotSupported, Reason
from triconv.checking.oracles import definition, real_size
from triconv.checking.oracles.convolution import PAD_MODES, ConvolutionProblem, InputArrays
from triconv.checking.questions.whole_answers import WholeAnswers
from triconv.checking.reports.report_data import ReportRow

POISON = {Kind.NAN: np.nan, Kind.INFINITY: np.inf}
WHICH = {"x": 0, "g": 1, "w": 2}
"""Where the position of a tensor stands in a meeting."""


def rows(
    candidate: CandidateFunction, problem: ConvolutionProblem, dtype: str, without: set[Question]
) -> Iterator[ReportRow]:
    """Yield a row for NaN and one for infinity; of what they do not reach, a row each.

    They may reach more than they meet, as in an FFT.

    Parameters
    ----------
    candidate : CandidateFunction
        The candidate.
    problem : ConvolutionProblem
        The problem.
    dtype : str
        Of the candidate's arrays.
    without : set of Question
        What is not asked, as it is known to be wrong, or not to be there.
    """
    asked = WholeAnswers(candidate, problem, dtype, without)
    asked.questions = tuple(q for q in asked.questions if q != asked.jvp)
    names = dict(zip(problem.roles, problem.names, strict=True))
    ones = problem.arrays_of(np.ones)
    shapes = {**problem.operand_shapes, problem.result: ones.g.shape}
    if not all(np.prod(shape) for shape in shapes.values()):
        for kind in POISON:
            yield ReportRow(Question(kind), UNSUPPORTED, Proof.NONE, NotSupported(Reason.EMPTY))
        return
    sources = (*problem.roles, problem.result)
    at = {source: tuple(size // 2 for size in shapes[source]) for source in sources}
    for kind, poison in POISON.items():
        wrong, reached, more = [], 0, 0
        refused: NotSupported | None = None
        asked_together: dict[Question, tuple[int, int]] = {}
        if real_size.is_real_size(problem):  # each call takes long
            asked_together = _together(asked, _poisoned(ones, at, problem, poison), problem, at)
            reached += sum(sources_of for sources_of, _ in asked_together.values())
            more += sum(others for _, others in asked_together.values())
        for source in sources:
            questions = tuple(q for q in asked.questions if _depends(q, source, problem) and q not in asked_together)
            index = at[source]
            one = _poisoned(ones, {source: index}, problem, poison)
            for question, answer in asked.ask(one, questions).items():
                if isinstance(answer, Exception):
                    if not isinstance(answer, Unsupported):  # to refuse such an array is no fault
                        refused = refused or NotSupported(Reason.REFUSED, exception=caught(answer))
                    continue
                must, found = meets(problem, source, index, question.tensor), ~np.isfinite(answer)
                if missing := int((must & ~found).sum()):
                    poisoned = Question(kind, question.role, names.get(source), question.order, of=question.name)
                    finding = DoesNotReach(missing, int(must.sum()))
                    wrong.append(ReportRow(poisoned, WRONG, Proof.NOT_FINITE, finding, cause=Cause.NOT_A_NUMBER))
                else:
                    reached, more = reached + 1, more + int((found & ~must).sum())
        if wrong:
            yield from wrong
        elif reached:
            yield ReportRow(Question(kind), RIGHT, Proof.NOT_FINITE, ReachesAll(more, reached))
        elif refused is not None:
            yield ReportRow(Question(kind), UNSUPPORTED, Proof.NONE, refused)


def _together(
    asked: WholeAnswers, poisoned: InputArrays, problem: ConvolutionProblem, at: dict[str, tuple[int, ...]]
) -> dict[Question, tuple[int, int]]:
    """Return the answers that everything reaches which is not finite in any array, all at once.

    Returns
    -------
    dict of Question to (int, int)
        The number of arrays that each depends on, and how many elements more are not finite. An answer is left out where an
        array meets nothing that no other meets: only alone would it show.
    """
    reached = {}
    for question, answer in asked.ask(poisoned).items():
        if isinstance(answer, Exception):
            continue
        met = [
            meets(problem, source, index, question.tensor)
            for source, index in at.items()
            if _depends(question, source, problem)
        ]
        times = np.sum(met, axis=0, dtype=np.int8)
        found = ~np.isfinite(answer)
        if found[times > 0].all() and all((m & (times == 1)).any() for m in met):
            reached[question] = len(met), int(found[times == 0].sum())
    return reached


def _depends(question: Question, source: str, problem: ConvolutionProblem) -> bool:
    """Whether the answer depends on the array."""
    if question.kind == Kind.VALUE:
        return source != problem.result
    if question.role == Role.BIAS:
        return source == problem.result
    return source not in ("bias", question.role)


def _poisoned(
    ones: InputArrays, at: dict[str, tuple[int, ...]], problem: ConvolutionProblem, poison: float
) -> InputArrays:
    """Return the arrays with something that is not finite in some of them, at these indices."""
    arrays = ones
    for source, index in at.items():
        array = (ones.g if source == problem.result else ones.primals[source]).copy()
        array[index] = poison
        if source == problem.result:
            arrays = replace(arrays, g=array)
        else:
            arrays = replace(arrays, primals={**arrays.primals, source: array})
    return arrays


def meets(problem: ConvolutionProblem, source: str, index: tuple[int, ...], result: str) -> np.ndarray:
    """Return the elements of the derivative by `result` in which an element of another array is a factor, in torch's order.

    Parameters
    ----------
    problem : ConvolutionProblem
        The problem.
    source : str
        The role of the other array, or "bias".
    index : tuple of int
        Of its element.
    result : str
        The role of the result, or "bias".
    """
    if result == "bias":
        shape: tuple[int, ...] = problem.shapes[problem.roles.index("bias")]
        mask = np.zeros(shape, bool)
        mask[index[1] if shape else ()] = True
        return mask
    sizes = {r: problem.torch_shape(r, problem.result_shape(r)) for r in ("x", "w", "g")}
    mask = np.zeros(sizes[result], bool)
    if source == "bias":
        mask[:, index[0] if index else 0] = True
        return mask
    channels = sizes["w"][1]  # of x, in a group
    outputs = sizes["w"][0] // problem.model.groups
    samples: slice | int = slice(None)
    if source == "w":
        k, c = index[:2]
        group = k // outputs
        c += group * channels
    elif source == "x":
        samples, c = index[:2]
        group, k = c // channels, -1
    else:
        samples, k = index[:2]
        group, c = k // outputs, -1
    all_c, all_k = (slice(group * n, (group + 1) * n) for n in (channels, outputs))
    head: tuple[slice | int, ...]
    if result == "x":
        head = (samples, all_c if c < 0 else c)
    elif result == "g":
        head = (samples, all_k if k < 0 else k)
    else:
        head = (all_k if k < 0 else k, slice(None) if c < 0 else c - group * channels)
    block = mask[_kept(head)]
    for axis in range(len(problem.model.axes)):
        at = _positions(problem, axis, source, index[2 + axis], result)
        along = np.zeros(sizes[result][2 + axis], bool)
        along[at] = True
        along = along.reshape([-1 if other == 2 + axis else 1 for other in range(block.ndim)])
        block[...] = along if axis == 0 else block & along
    if not problem.model.axes:
        block[...] = True
    return mask


def _kept(head: tuple[slice | int, ...]) -> tuple[slice, ...]:
    """The index with every axis kept, so that it gives a view."""
    return tuple(part if isinstance(part, slice) else slice(part, part + 1) for part in head)


def _positions(problem: ConvolutionProblem, axis: int, source: str, position: int, result: str) -> list[int]:
    """Return the positions of the result along a spatial axis that meet a position of another array."""
    model = problem.model
    from_, to = WHICH[source], WHICH[result]
    copies, origin = [position], None
    if model.mode != "zeros" and "x" in (source, result):
        lo, hi = model.pads[axis]
        size = problem.torch_shape("x", problem.result_shape("x"))[2 + axis]
        origin = np.pad(np.arange(size), (lo, hi), mode=PAD_MODES[model.mode])  # type: ignore[call-overload]
        if source == "x":
            copies = np.flatnonzero(origin == position).tolist()
    found = {m[to] for at in copies for m in definition.meetings_at(model.axes[axis], from_, at)}
    return sorted({int(origin[at]) for at in found} if result == "x" and origin is not None else found)
