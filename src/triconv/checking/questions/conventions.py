"""Whether the VJPs of complex arrays are conjugated: a framework says so, but people who write NumPy do both."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from triconv.backends import BACKENDS
from triconv.checking.candidates.candidates import CandidateFunction
from triconv.checking.dtypes import COMPLEX
from triconv.checking.findings.protocol import Role
from triconv.checking.oracles.convolution import ConvolutionProblem
from triconv.checking.questions.whole_answers import WholeAnswers
from triconv.checking.verdicts.check_context import CheckContext

NEAR = 0.25
"""How far from an integer an algorithm that is not exact may be."""


def conjugates(
    candidate: CandidateFunction, problem: ConvolutionProblem, framework: str, dtype: str, seed: int
) -> bool:
    """Return whether VJPs are to be conjugated: in NumPy, if all of the candidate's are.

    Parameters
    ----------
    candidate : CandidateFunction
        The candidate.
    problem : ConvolutionProblem
        The problem.
    framework, dtype : str
        Of the arrays.
    seed : int
        Of the data.
    """
    if framework != "numpy" or dtype not in COMPLEX:
        return BACKENDS[framework].conjugates and dtype in COMPLEX
    asked = WholeAnswers(candidate, problem, dtype, set())
    context = CheckContext(replace(problem, conjugates=True), dtype, None, seed)
    right = context.right("exact")
    questions = tuple(q for q in asked.vjps if q.tensor != Role.BIAS)
    answers = asked.ask(context.arrays["exact"], questions)
    if len(answers) < len(questions):
        return False
    return all(
        isinstance(found, np.ndarray) and bool(np.all(np.abs(found - right.vjp(q.tensor)) < NEAR))
        for q, found in answers.items()
    )
