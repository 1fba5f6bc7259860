"""The questions of a check, each with how to ask the candidate and what the answer should be."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from triconv.checking.candidates.candidate import snapshot
from triconv.checking.candidates.candidates import CandidateFunction, guarded
from triconv.checking.dtypes import COMPLEX, INTEGERS
from triconv.checking.findings.protocol import Kind, Mode, Question, Role, Transform
from triconv.checking.oracles.comparison import Answer
from triconv.checking.oracles.convolution import MOST_KEPT, ConvolutionProblem, Expectations, InputArrays

Ask = Callable[[InputArrays], Any]

MOST_SETS, MOST_SETS_OF_TANGENTS = 2, 5
"""Sets of arrays of which answers are kept: the integers and the random numbers; with tangents, those of every bit too."""


class Probe(NamedTuple):
    """A question, the function that asks the candidate, and the function that gives the right answer."""

    question: Question
    ask: Ask
    answer: Answer


class _Together:
    """Answers that a candidate gives in one call, kept until other arrays are asked of.

    Parameters
    ----------
    ask : callable
        Asks for all of them.
    most_sets : int
        Sets of arrays of which answers are kept.
    """

    def __init__(self, ask: Callable[[InputArrays], Sequence[Any]], most_sets: int = MOST_SETS) -> None:
        self.ask, self.most_sets = _copied(ask), most_sets
        self._kept: list[tuple[InputArrays, Sequence[Any]]] = []

    def __call__(self, arrays: InputArrays) -> Sequence[Any]:
        known = next((answers for of, answers in self._kept if of is arrays), None)
        if known is None:
            known = self.ask(arrays)
            self._kept = [*self._kept[-self.most_sets + 1 :], (arrays, known)]
            while sum(_bytes(answers) for _, answers in self._kept) > MOST_KEPT:
                del self._kept[0]
        return known


def _copied(ask: Ask) -> Ask:
    """Ask, and copy the answer: a later call may overwrite it."""
    return lambda arrays: snapshot(ask(arrays))


def _bytes(answers: Any) -> int:
    """The size of one array, or of several."""
    several = answers if isinstance(answers, list | tuple) else [answers]
    return sum(int(getattr(a, "nbytes", 0)) for a in several)


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

    value = _copied(lambda a: candidate.value(primals(a)))

    def each(together: Callable[[InputArrays], Sequence[Any]], n: int) -> Ask:
        return lambda a: together(a)[n]

    vmapped = _Together(
        lambda a: candidate.vmap([np.stack(pair) for pair in zip(primals(a), tangents(a), strict=True)])
    )
    with_vjps = _Together(lambda a: candidate.value_and_vjps(primals(a), g(a)))
    with_jvp = _Together(lambda a: candidate.value_and_jvp(primals(a), tangents(a)), MOST_SETS_OF_TANGENTS)

    def vjp(n: int) -> Ask:
        if candidate.differentiates:
            return each(with_vjps, 1 + n)
        return _copied(lambda a: candidate.vjp(primals(a), g(a), n))

    def probe(ask: Ask, answer: Answer, kind: Kind, role: Role = result, **fields: Any) -> Probe:
        ndim = 1 if role == Role.BIAS else len(p.result_shape(role))
        return Probe(Question(kind, role, **fields), guarded(ask, dtype, ndim), answer)

    yield probe(value, Expectations.value, Kind.VALUE)
    yield probe(value, Expectations.value, Kind.REPEAT)
    if "jit" in candidate.transforms:
        yield probe(
            _copied(lambda a: candidate.jit(primals(a))), Expectations.value, Kind.VALUE, transform=Transform.JIT
        )
    if "vmap" in candidate.transforms:
        for n, answer in enumerate((Expectations.value, Expectations.of_tangents)):
            yield probe(each(vmapped, n), answer, Kind.VMAP, transform=Transform.VMAP, sample=n)
    if dtype in INTEGERS:
        return
    for n, role in enumerate(map(Role, p.roles)):
        cotangent = functools.partial(Expectations.vjp, role=role)
        yield probe(vjp(n), cotangent, Kind.VJP, role, name=names[role], order=1, transform=Transform.VJP)
    # a rule may compute another value than the function that it is the derivative of
    if candidate.differentiates:
        yield probe(each(with_vjps, 0), Expectations.value, Kind.VALUE, transform=Transform.VJP)
    jvp_alone = _copied(lambda a: candidate.jvp(primals(a), tangents(a)))
    jvp = each(with_jvp, 1) if candidate.differentiates else jvp_alone
    yield probe(jvp, Expectations.jvp, Kind.JVP, order=1, transform=Transform.JVP)
    if candidate.differentiates:
        yield probe(each(with_jvp, 0), Expectations.value, Kind.VALUE, transform=Transform.JVP)
    if dtype in COMPLEX:
        return
    by_mode: dict[Mode, Callable[[InputArrays], Sequence[Any]]] = {
        Mode.REVERSE_OVER_REVERSE: _Together(
            lambda a: candidate.reverse_over_reverse(primals(a), g(a), tangents(a)), MOST_SETS_OF_TANGENTS
        ),
        Mode.FORWARD_OVER_REVERSE: _Together(lambda a: candidate.forward_over_reverse(primals(a), g(a), tangents(a))),
    }
    for mode, together in by_mode.items():
        for n, role in enumerate(map(Role, p.operands)):
            of_role = functools.partial(Expectations.second, role=role)
            yield probe(each(together, n), of_role, Kind.SECOND_ORDER, role, name=names[role], order=2, mode=mode)
    # the cotangents against the tangents are the JVP against g, which is linear in g: so its derivative by g is the JVP
    by_g = each(by_mode[Mode.REVERSE_OVER_REVERSE], -1)
    yield probe(by_g, Expectations.jvp, Kind.SECOND_ORDER, order=2, mode=Mode.REVERSE_OVER_REVERSE)
