"""A function of JAX whose arrays are sharded over a mesh: it gets them so, and what its devices send is counted."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from triconv.checking.candidates.candidates import CandidateFunction, JaxCandidate
from triconv.checking.findings.findings import SentBetweenDevices
from triconv.checking.findings.protocol import Kind, Question, Role, Transform
from triconv.checking.oracles.convolution import ConvolutionProblem


def put_on_mesh(candidate: CandidateFunction, problem: ConvolutionProblem, mesh: Any, specs: tuple[Any, ...]) -> None:
    """Have the candidate put its arrays on the devices of a mesh."""
    if not isinstance(candidate, JaxCandidate):
        msg = f"`mesh` must come with a function of JAX, got one of {candidate.backend.name}"
        raise TypeError(msg)
    from jax.sharding import NamedSharding, PartitionSpec

    every = [*specs, *[None] * (len(problem.shapes) - len(specs))]
    candidate.shardings = tuple(
        (NamedSharding(mesh, spec or PartitionSpec()), len(shape))
        for spec, shape in zip(every, problem.shapes, strict=True)
    )


def sent(candidate: JaxCandidate, problem: ConvolutionProblem) -> Iterator[SentBetweenDevices]:
    """Yield what devices send each other for the value and for each VJP."""
    arrays = [np.zeros(shape) for shape in problem.shapes]
    try:
        value, *vjps = candidate.sent(arrays, np.zeros(problem.result_shape(problem.result)))
    except Exception:  # noqa: BLE001 (a candidate that cannot be compiled, or has no VJP)
        return
    yield SentBetweenDevices(Question(Kind.VALUE, Role(problem.result)), value)
    for role, name, collectives in zip(problem.roles, problem.names, vjps, strict=True):
        yield SentBetweenDevices(Question(Kind.VJP, Role(role), name, 1, Transform.VJP), collectives)
