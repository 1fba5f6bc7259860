"""Every first-order answer of a candidate for some arrays: its value, all VJPs and the JVP, in torch's order."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from triconv.checking.candidates.candidate import long_axes
from triconv.checking.candidates.candidates import CandidateFunction, as_numpy, guarded
from triconv.checking.dtypes import INTEGERS
from triconv.checking.findings.protocol import Kind, Question, Role, Transform
from triconv.checking.oracles import drawn_data
from triconv.checking.oracles.convolution import ConvolutionProblem, InputArrays

Answers = dict[Question, np.ndarray | Exception]
"""The answer to each question, or what the candidate raised; nothing where the result has no right form."""


class WholeAnswers:
    """Asks a candidate for all of its first-order answers.

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

    def __init__(
        self, candidate: CandidateFunction, problem: ConvolutionProblem, dtype: str, without: set[Question]
    ) -> None:
        self.candidate, self.problem, self.dtype = candidate, problem, dtype
        p = problem
        self.value = Question(Kind.VALUE, Role(p.result))
        self.vjps = tuple(
            Question(Kind.VJP, Role(role), name, 1, Transform.VJP) for role, name in zip(p.roles, p.names, strict=True)
        )
        self.jvp = Question(Kind.JVP, Role(p.result), order=1, transform=Transform.JVP)
        every = (self.value,) if dtype in INTEGERS else (self.value, *self.vjps, self.jvp)
        self.questions = tuple(q for q in every if q not in without)

    def ask(self, arrays: InputArrays, questions: tuple[Question, ...] | None = None) -> Answers:
        """Return the answers for these arrays, to these questions, by default to all."""
        wanted = self.questions if questions is None else questions
        return {q: answer for q, answer in self._asked(arrays, wanted) if answer is not None}

    def _asked(
        self, arrays: InputArrays, wanted: tuple[Question, ...]
    ) -> Iterator[tuple[Question, np.ndarray | Exception | None]]:
        p, candidate = self.problem, self.candidate
        primals = [p.user(role, arrays.primals[role]) for role in p.roles]
        if self.value in wanted:
            yield self.value, self._one(self.value, candidate.value, primals)
        vjps = [q for q in self.vjps if q in wanted]
        if vjps:
            g = p.user(p.result, arrays.g)
            try:
                # in a dict, which `guarded` leaves as it is
                with np.errstate(all="ignore"):  # NumPy would warn of just what is asked
                    together = guarded(lambda: {"all": list(candidate.vjps(primals, g))}, self.dtype, -1)()["all"]
            except Exception:  # noqa: BLE001 (one of them may be missing: each alone says which)
                together = None
            for n, q in enumerate(self.vjps):
                if q not in wanted:
                    continue
                if together is not None and len(together) == len(self.vjps):
                    yield q, self._one(q, lambda n=n: together[n])  # type: ignore[misc]
                else:
                    yield q, self._one(q, candidate.vjp, primals, g, n)
        if self.jvp in wanted:
            tangents = [p.user(role, arrays.tangents[role]) for role in p.roles]
            yield self.jvp, self._one(self.jvp, candidate.jvp, primals, tangents)

    def _one(self, question: Question, ask: Any, *args: Any) -> np.ndarray | Exception | None:
        role = question.tensor
        shape = self._shape(role)
        try:
            with np.errstate(all="ignore"):
                raw = guarded(ask, self.dtype, len(shape))(*args)
        except Exception as problem:  # noqa: BLE001 (what it means is for who asks)
            return problem
        result = as_numpy(raw)
        if result is None or str(getattr(raw, "dtype", result.dtype)).rpartition(".")[2] != self.dtype:
            return None
        if result.shape != shape:
            if role != Role.BIAS or long_axes(result.shape) != long_axes(shape):
                return None
            result = result.reshape(shape)
        wide = drawn_data.widened(np.array(result), self.dtype)
        if role == Role.BIAS:
            return wide.ravel() if len(self.problem.bias_pattern) > 1 else wide
        return self.problem.to_torch(role, wide)

    def _shape(self, role: Role) -> tuple[int, ...]:
        p = self.problem
        if role != Role.BIAS:
            return p.result_shape(role)
        return p.user_bias(np.broadcast_to(np.float32(0), p.shapes[-1])).shape
