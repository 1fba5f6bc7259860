"""Mistakes of a batching rule: what belongs to one sample of `vmap` is taken for another.

A check asks for two samples at once: one of the operands, and one of the tangents.
"""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np

from triconv.checking.findings.causes import Cause, Hypothesis
from triconv.checking.findings.diagnosis_data import Diagnosis
from triconv.checking.findings.protocol import Role
from triconv.checking.oracles.comparison import WrongResult, same
from triconv.checking.oracles.convolution import Expectations

MOST_SAMPLES = 64
"""Samples of a batch of which each is compared with each."""


def other_sample(r: WrongResult) -> Diagnosis | None:
    """Explain a value with operands of the other sample of `vmap`, or with samples of the batch that belong there."""
    if r.answer not in (Expectations.value, Expectations.of_tangents) or not r.has_shape:
        return None
    arrays = r.expectations.arrays
    own, other = arrays.primals, arrays.tangents
    if r.answer is Expectations.of_tangents:
        own, other = other, own
    roles = tuple(own)
    for n in range(1, len(roles) + 1):
        for taken in itertools.combinations(roles, n):
            mixed = {**own, **{role: other[role] for role in taken}}
            if same(Expectations(r.problem, replace(arrays, primals=mixed)).value(), r.found):
                role = Role(taken[0]) if n == 1 else None
                return Diagnosis(Cause.BATCH_AXIS, Hypothesis.OPERAND_OF_OTHER_SAMPLE, role=role)
    return _mixed_samples(r, Expectations(r.problem, replace(arrays, primals=other)).value())


def _mixed_samples(r: WrongResult, others: np.ndarray) -> Diagnosis | None:
    """Explain samples of the batch that are right, but in another place, or in the other sample of `vmap`."""
    size = len(r.found)
    if r.problem.result == "w" or others.shape != r.expected.shape or not 2 <= size <= MOST_SAMPLES:
        return None
    if r.found[0].size < 2:
        return None
    pool = np.concatenate([r.expected, others]).reshape(2 * size, -1)
    sources: list[int] = []
    for sample in r.found.reshape(size, -1):
        equal = [n for n, candidate in enumerate(pool) if same(candidate, sample)]
        if not equal:
            return None
        sources.append(equal[0])
    if max(sources) < size:
        return None
    return Diagnosis(Cause.BATCH_AXIS, Hypothesis.SAMPLES_OF_OTHER_SAMPLE)
