"""A check against an operator, once its arguments are known: the questions, a smallest counterexample, and the oracles."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from triconv.backends import BACKENDS
from triconv.checking.candidates import sharded_candidate
from triconv.checking.candidates.candidates import CandidateFunction, JaxCandidate
from triconv.checking.candidates.isolated_candidate import with_ends
from triconv.checking.counterexamples.counterexample_program import program
from triconv.checking.dtypes import INTEGERS
from triconv.checking.findings.causes import Cause
from triconv.checking.findings.findings import Swept, WrongDtype, WrongShape
from triconv.checking.findings.protocol import WRONG, Kind, Proof, Question, Role
from triconv.checking.oracles import tap_sums
from triconv.checking.oracles.convolution import ConvolutionProblem
from triconv.checking.oracles.frameworks import ask_oracles
from triconv.checking.questions import conventions, declared, homogeneity, plain_rows, row_causes, stress, training_rows
from triconv.checking.questions.shrink import medium, smallest
from triconv.checking.questions.unjudged import no_derivative
from triconv.checking.reports.report_data import ReportRow
from triconv.checking.verdicts.check_context import CheckContext

QUICK, FEW_ELEMENTS = 3000, 1 << 15
"""Positions that the definition visits, and elements of each array, up to which every hypothesis is tried; beyond, on a smaller
case alone. Each hypothesis takes a run of the definition, and compares every element."""


@dataclass
class Answers:
    """What a check has found."""

    rows: list[ReportRow]
    oracles: tuple[Any, ...] = ()
    sent: tuple[Any, ...] = ()
    counterexample: str = ""


@dataclass(kw_only=True)
class OperatorCheck:
    """A candidate, the operator that it is compared with, and their problem."""

    candidate: Any  # as the user gave it
    wrapped: CandidateFunction
    like: Any
    params: dict[str, Any]
    problem: ConvolutionProblem
    framework: str
    dtype: str
    precision: str | None
    seed: int
    on_progress: Callable[[str], object]
    user_arrays: list[np.ndarray] | None = None
    has_own: bool = False  # whether the candidate has parameters of its own
    is_cold: bool = False  # whether the candidate's first call differed from later ones

    def answers(self, *, has_stress: bool, meant: tuple[str, ...]) -> Answers:
        """Ask all questions, and return what was found; with `has_stress`, at sizes that break kernels too."""
        wrapped = self.wrapped
        with wrapped.session():
            # in NumPy, what the candidate returns says whether complex gradients are conjugated
            conjugates = conventions.conjugates(wrapped, self.problem, self.framework, self.dtype, self.seed)
            self.problem = problem = replace(self.problem, conjugates=conjugates)
            thorough = _is_quick(problem)
            context = CheckContext(problem, self.dtype, self.precision, self.seed, self.user_arrays, thorough)
            rows = list(plain_rows.rows(wrapped, context, self.on_progress))
            smaller = None if thorough and not context.is_real_size else self._smaller()
            few = smaller if context.is_real_size else None
            rows = with_ends(
                training_rows.with_rows(wrapped, context, rows, self.on_progress, few, is_cold=self.is_cold)
            )
            found = Answers(rows)
            failed = next((row for row in rows if row.verdict == WRONG and row.evidence is not None), None)
            if failed is not None:
                self.on_progress("smallest counterexample")
                found.counterexample = self._counterexample(problem, failed.question)
                if smaller is not None and not thorough:
                    of_smaller = {row.question: row for row in plain_rows.rows(wrapped, smaller, self.on_progress)}
                    rows = [row_causes.explained(row, of_smaller.get(row.question)) for row in rows]
            wrapped.changes.undo()
            libraries = tuple(BACKENDS) if failed is not None else (str(self.framework),)
            found.oracles = tuple(ask_oracles(problem, self.seed, libraries)) if thorough else ()
            if problem.sharded and isinstance(wrapped, JaxCandidate):
                found.sent = tuple(sharded_candidate.sent(wrapped, problem))
            found.rows = homogeneity.named(row_causes.later_only(rows))
            if has_stress:
                self._add_stress(found)
            if meant:
                found.rows = declared.apply(found.rows, meant, wrapped, context)
            found.rows += no_derivative(found.rows, wrapped, Role(problem.result)) if self.dtype not in INTEGERS else ()
        return found

    def _smaller(self) -> CheckContext | None:
        """A smaller case, on which every hypothesis can be tried, if there is one."""
        quicker = medium(self.problem, self.like, self.params)
        return None if quicker is None else CheckContext(quicker, self.dtype, self.precision, self.seed)

    def _counterexample(self, problem: ConvolutionProblem, question: Question) -> str:
        """A program that shows the fault of a question, on the smallest problem that has it."""
        small = smallest(self.wrapped, self.like, problem, self.params, self.dtype, question)
        return program(self.candidate, self.wrapped, self.like, self.params, small, question)

    def _add_stress(self, found: Answers) -> None:
        """Ask at sizes that break kernels."""
        cases = stress.cases(self.problem, self.like, self.params, is_fixed=self.has_own)
        for row, case in list(stress.rows(self.wrapped, cases, self.dtype, self.seed, self.on_progress)):
            found.rows.append(row)
            if found.counterexample or case is None or not isinstance(row.finding, Swept) or not row.finding.question:
                continue
            found.counterexample = self._counterexample(case.problem, row.finding.question)


def other_forms(rows: list[ReportRow], problem: ConvolutionProblem, dtype: str) -> Iterator[ReportRow]:
    """Yield rows for a bias of another shape, and for results of another dtype: their numbers are judged all the same."""
    for row in rows:
        if row.other_shape is not None:
            expected = problem.user_bias(np.zeros(problem.shapes[-1])).shape
            shape = WrongShape(expected, row.other_shape, kept_axes=True)
            question = replace(row.question, kind=Kind.SHAPE)
            yield ReportRow(question, WRONG, Proof.SHAPE, shape, cause=Cause.KEPT_AXES)
    other = [row for row in rows if row.other_dtype]
    if other:
        found = tuple(dict.fromkeys(row.other_dtype for row in other))
        finding = WrongDtype(dtype, found, tuple(row.question for row in other))
        yield ReportRow(Question(Kind.DTYPE), WRONG, Proof.DTYPE, finding, cause=Cause.DTYPE)


def _is_quick(problem: ConvolutionProblem) -> bool:
    """Whether every hypothesis can be tried in a moment."""
    elements = max(math.prod(problem.result_shape(role)) for role in "xwg")
    return elements <= FEW_ELEMENTS and tap_sums.count_meetings(problem.model.axes) <= QUICK
