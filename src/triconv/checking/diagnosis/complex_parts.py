"""Complex products put together wrongly from real ones: a part has another sum of the four products of the operands' parts."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from triconv.checking.findings.causes import Cause, Hypothesis
from triconv.checking.findings.diagnosis_data import Diagnosis
from triconv.checking.oracles.comparison import WrongResult, same
from triconv.checking.oracles.convolution import Expectations

PARTS: dict[str, Callable[..., Any]] = {"Re": np.real, "Im": np.imag}


def complex_parts(r: WrongResult) -> Diagnosis | None:
    """Explain a complex result whose real or imaginary part is another sum of products of real and imaginary parts."""
    if not np.iscomplexobj(r.expected) or not r.has_shape or r.role == "bias" or r.has_bias:
        return None
    arrays = r.expectations.arrays
    operands = [role for role in "xwg" if role != r.role and (role in arrays.primals or role == r.problem.result)]
    if len(operands) != 2 or r.answer is Expectations.jvp:
        return None
    products: dict[str, np.ndarray] = {}
    for names in itertools.product(PARTS, repeat=2):
        given = dict(zip(operands, (PARTS[name] for name in names), strict=True))
        primals = {role: given[role](a) + 0j if role in given else a for role, a in arrays.primals.items()}
        g = given[r.problem.result](arrays.g) + 0j if r.problem.result in given else arrays.g
        some = Expectations(r.problem, replace(arrays, primals=primals, g=g))
        text = " ".join(f"{name}({role})" for name, role in zip(names, operands, strict=True))
        products[text] = r.answer(some).real
    terms = {part: _sum_of(products, of(r.found)) for part, of in PARTS.items()}
    if any(sum_ is None for sum_ in terms.values()):
        return None
    shown = " and ".join(
        f"the {'real' if part == 'Re' else 'imaginary'} part is {terms[part]}"
        for part, of in PARTS.items()
        if not same(of(r.found), of(r.expected))
    )
    return Diagnosis(Cause.COMPLEX_PARTS, Hypothesis.COMPLEX_PARTS, function=shown)


def _sum_of(products: dict[str, np.ndarray], found: np.ndarray) -> str | None:
    """Return the sum of products, with small whole factors, that something is; None if it is none."""
    columns = np.stack([a.ravel() for a in products.values()], axis=1)
    if len(columns) <= 2 * len(products):  # any few numbers are such a sum
        return None
    factors = np.rint(np.linalg.lstsq(columns, found.ravel())[0])
    if np.abs(factors).max() > 2 or not same((columns @ factors).reshape(found.shape), found):
        return None
    text = ""
    for name, c in zip(products, factors, strict=True):
        if c:
            sign = ("-" if c < 0 else "") if not text else " - " if c < 0 else " + "
            text += f"{sign}{'' if abs(c) == 1 else '2 '}{name}"
    return text or "0"
