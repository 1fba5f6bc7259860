"""The questions of a check, each with how to ask the candidate and what the answer should be."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

from triconv.checking.candidates import CandidateFunction, guarded
from triconv.checking.comparison import Answer
from triconv.checking.convolution import ConvolutionProblem, Expectations, InputArrays
from triconv.checking.dtypes import COMPLEX, INTEGERS
from triconv.checking.protocol import Kind, Mode, Question, Role, Transform

Ask = Callable[[InputArrays], Any]


class Probe(NamedTuple):
    """A question, the function that asks the candidate, and the function that gives the right answer."""

    question: Question
    ask: Ask
    answer: Answer


def probes(candidate: CandidateFunction, problem: ConvolutionProblem, dtype: str) -> Iterator[Probe]:
    """Yield everything that is asked of a candidate, the value first."""
    p, result = problem, Role(problem.result)
    names = dict(zip(p.roles, p.names, strict=True))

    def primals(arrays: InputArrays) -> list[np.ndarray]:
        return [p.user(role, arrays.primals[role]) for role in p.roles]

    def tangents(arrays: InputArrays) -> list[np.ndarray]:
        return [p.user(role, arrays.tangents[role]) for role in p.roles]

    def g(arrays: InputArrays) -> np.ndarray:
        return p.user(p.result, arrays.g)

    def value(arrays: InputArrays) -> Any:
        return candidate.value(primals(arrays))

    def vmap(n: int) -> Ask:
        return lambda a: candidate.vmap([np.stack(pair) for pair in zip(primals(a), tangents(a), strict=True)])[n]

    def vjp(n: int) -> Ask:
        return lambda a: candidate.vjp(primals(a), g(a), n)

    def second(ask: Callable[..., Any], n: int) -> Ask:
        return lambda a: ask(primals(a), g(a), tangents(a))[n]

    def probe(ask: Ask, answer: Answer, kind: Kind, role: Role = result, **fields: Any) -> Probe:
        ndim = 1 if role == Role.BIAS else len(p.result_shape(role))
        return Probe(Question(kind, role, **fields), guarded(ask, dtype, ndim), answer)

    yield probe(value, Expectations.value, Kind.VALUE)
    yield probe(value, Expectations.value, Kind.REPEAT)
    if "jit" in candidate.transforms:
        jit = lambda a: candidate.jit(primals(a))  # noqa: E731
        yield probe(jit, Expectations.value, Kind.VALUE, transform=Transform.JIT)
    if "vmap" in candidate.transforms:
        for n, answer in enumerate((Expectations.value, Expectations.of_tangents)):
            yield probe(vmap(n), answer, Kind.VMAP, transform=Transform.VMAP, sample=n)
    if dtype in INTEGERS:
        return
    for n, role in enumerate(map(Role, p.roles)):
        cotangent = functools.partial(Expectations.vjp, role=role)
        yield probe(vjp(n), cotangent, Kind.VJP, role, name=names[role], order=1, transform=Transform.VJP)
    # a rule may compute another value than the function that it is the derivative of
    if candidate.differentiates:
        with_vjp = lambda a: candidate.value_with_vjp(primals(a), g(a))  # noqa: E731
        yield probe(with_vjp, Expectations.value, Kind.VALUE, transform=Transform.VJP)
    jvp = lambda a: candidate.jvp(primals(a), tangents(a))  # noqa: E731
    yield probe(jvp, Expectations.jvp, Kind.JVP, order=1, transform=Transform.JVP)
    if candidate.differentiates:
        with_jvp = lambda a: candidate.value_with_jvp(primals(a), tangents(a))  # noqa: E731
        yield probe(with_jvp, Expectations.value, Kind.VALUE, transform=Transform.JVP)
    if dtype in COMPLEX:
        return
    for mode, ask in (
        (Mode.REVERSE_OVER_REVERSE, candidate.reverse_over_reverse),
        (Mode.FORWARD_OVER_REVERSE, candidate.forward_over_reverse),
    ):
        for n, role in enumerate(map(Role, p.operands)):
            of_role = functools.partial(Expectations.second, role=role)
            yield probe(second(ask, n), of_role, Kind.SECOND_ORDER, role, name=names[role], order=2, mode=mode)
    # the cotangents against the tangents are the JVP against g, which is linear in g: so its derivative by g is the JVP
    by_g = second(candidate.reverse_over_reverse, -1)
    yield probe(by_g, Expectations.jvp, Kind.SECOND_ORDER, order=2, mode=Mode.REVERSE_OVER_REVERSE)
