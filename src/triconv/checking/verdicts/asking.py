"""Asks a candidate for the result of one question, and arranges it in torch's order."""

from __future__ import annotations

from typing import Any

import numpy as np

from triconv.checking.candidates.candidates import as_numpy
from triconv.checking.findings.exception_text import caught
from triconv.checking.findings.unanswered import Raised
from triconv.checking.oracles import drawn_data
from triconv.checking.oracles.convolution import InputArrays
from triconv.checking.verdicts.check_context import CheckContext
from triconv.checking.verdicts.probes import Probe


class RaisedAgainError(Exception):
    """A candidate raised that had given a result before."""

    def __init__(self, problem: Exception) -> None:
        super().__init__(problem)
        self.finding = Raised(caught(problem), again=True)


def ask_again(probe: Probe, arrays: InputArrays) -> np.ndarray | None:
    """Return the answer for some arrays, after others were answered."""
    try:
        return as_numpy(probe.ask(arrays))
    except Exception as problem:
        raise RaisedAgainError(problem) from problem


def shape_of(context: CheckContext, probe: Probe) -> tuple[int, ...]:
    """Return the shape that the result should have, as the user has it."""
    role = probe.question.tensor
    problem = context.problem
    if role == "bias":
        return problem.user_bias(np.broadcast_to(np.float32(0), problem.shapes[-1])).shape
    return problem.result_shape(role)


def in_torch_order(context: CheckContext, probe: Probe, a: Any) -> np.ndarray:
    """Return a result in torch's order, in the dtype in which the definition is computed."""
    role = probe.question.tensor
    wide = drawn_data.widened(np.asarray(a), context.dtype)
    if role == "bias":
        return wide.ravel() if len(context.problem.bias_pattern) > 1 else wide
    return context.problem.to_torch(role, wide)
