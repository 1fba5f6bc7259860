"""What is wrong inside a region: a mistake that explains the elements that are wrong, and is made there alone.

A kernel in tiles may lose taps at the edges of its tiles, one path of several may forget the stride, and a group may have the
kernel of another. No hypothesis predicts such a result as a whole; one predicts all that is wrong.
"""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np

from triconv.checking.diagnosis import contributions, geometry_mistakes, regions
from triconv.checking.diagnosis.elementwise import functions_of
from triconv.checking.diagnosis.misunderstandings import changed_operands, other_geometries
from triconv.checking.diagnosis.size_factors import factor_of
from triconv.checking.findings.causes import Cause, Hypothesis
from triconv.checking.findings.diagnosis_data import Content, Diagnosis, Region
from triconv.checking.oracles.comparison import WrongResult, factor, same

LEAST_WRONG = 8
"""Wrong elements that a mistake must explain: fewer are explained by chance."""
LEAST_VALUES = 4
"""Different numbers that must be among them."""
MOST_PARTS = 64
"""Samples, channels, rows or taps of which few may be left out."""
PLACES = (Hypothesis.BORDER_WRONG, Hypothesis.UNEXPLAINED_AT)
"""Diagnoses that say in which slices a result is wrong, and not in which region."""
MOST_FITTED = 2**18
"""Elements of a result for which parts of the sums are fitted."""


def with_mistake_inside(r: WrongResult, d: Diagnosis) -> Diagnosis:
    """Return the diagnosis of a place with the mistake that is made inside, if one explains what is wrong there."""
    if d.hypothesis in PLACES and r.has_shape and r.role != "bias":
        inside = _mistake(r, r.differs())
        return d if inside is None else replace(regions.loose_region(r) or d, also=inside)
    if d.region is None or d.region.content != Content.OTHER or r.role == "bias":
        return d
    wrong = r.differs()
    if (inside := _mistake(r, wrong)) is not None:
        return replace(d, also=inside)
    for mask in _each_residue(d.region, wrong):
        if (inside := _mistake(r, mask)) is not None:
            return replace(d, also=inside, region=replace(d.region, partly=True))
    return d


def _each_residue(region: Region, wrong: np.ndarray) -> list[np.ndarray]:
    """Return the wrong elements of each position in a period: at the edges of tiles, more is lost at some than at others."""
    stretch = region.stretches[0] if len(region.stretches) == 1 else None
    if stretch is None or stretch.period is None or len(stretch.axes) != 1 or len(stretch.residues) < 2:
        return []
    at = np.arange(stretch.size).reshape([-1 if axis == stretch.axes[0] else 1 for axis in range(wrong.ndim)])
    return [wrong & (at % stretch.period == residue) for residue in stretch.residues]


def _mistake(r: WrongResult, inside: np.ndarray) -> Diagnosis | None:
    found, expected = r.found[inside], r.expected[inside]
    if len(found) < LEAST_WRONG or len(np.unique(found)) < LEAST_VALUES:
        return None
    if (c := factor(found, expected)) is not None:
        return Diagnosis(Cause.CONSTANT_FACTOR, Hypothesis.FACTOR, factor=factor_of(c, r))
    added = found - expected
    if abs(added.mean()) > 0 and same(expected + added.mean(), found) and not np.iscomplexobj(found):
        return Diagnosis(Cause.CONSTANT_ADDED, Hypothesis.CONSTANT_ADDED, amount=float(added.mean()))
    if not np.iscomplexobj(r.found) and not np.iscomplexobj(r.expected):
        for name, predicted in functions_of(expected):
            if name != "exp" and same(predicted, found):
                return Diagnosis(Cause.ACTIVATION, Hypothesis.FUNCTION_OF_RESULT, function=name)
    m = r.problem.model
    tables = (changed_operands(m, r.problem), other_geometries(m, r.problem))
    for diagnosis, model in itertools.chain(*tables, geometry_mistakes.hypotheses(r.problem)):
        try:
            predicted = r.predicted(model)
        except (ValueError, IndexError):  # no such geometry
            continue
        if predicted.shape == r.found.shape and same(predicted[inside], found):
            return diagnosis
    return contributions.fitted_inside(r, inside, MOST_PARTS) if r.expected.size <= MOST_FITTED else None
