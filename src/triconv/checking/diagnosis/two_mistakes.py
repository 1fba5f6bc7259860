"""Two mistakes in one result: the second is looked for in what is left when the first is taken for right.

The first is another model, as of a kernel that is flipped, one number, or a function of each element. What that predicts stands
in place of the right result, and the hypotheses on one result are asked again. Both are named only if together they predict
every element, and if each explains elements that the other alone does not: with two mistakes, much is explained by chance.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from triconv.checking.diagnosis import contributions, elementwise, factors, geometry_mistakes, regions, slices
from triconv.checking.diagnosis.misunderstandings import changed_operands, misunderstandings, other_geometries
from triconv.checking.diagnosis.size_factors import factor_of, sizes_of
from triconv.checking.findings.causes import Cause, Hypothesis
from triconv.checking.findings.diagnosis_data import Content, Diagnosis
from triconv.checking.oracles.comparison import WrongResult, factor, same
from triconv.checking.oracles.convolution import ConvolutionModel, Expectations

LEAST_ELEMENTS = 12
"""Elements of a result that two mistakes may explain: fewer are explained by chance."""
LEAST_EXPLAINED = 4
"""Elements that the first mistake must explain: right if it alone is made, and wrong if it is not."""
SHARE_OF_ZEROS = 0.2
"""Share of a result that, if it is zero, tells something of the first mistake, as of a ReLU."""
MOST_PARTS = 16
"""Samples, channels, rows or taps that may be left out beside another mistake."""
MOST_PRODUCTS = 2**28
"""Products of all predictions together, which bounds the time, to a second or two."""
MOST_GROWTH = 8.0
"""How many times as large as the right numbers those of a function may be: beside the largest exp, others are like zero."""


@dataclass
class _Budget:
    """How many predictions may still be made."""

    left: int

    @classmethod
    def of(cls, r: WrongResult) -> _Budget:
        taps = max(1, int(np.prod([a.kernel_size for a in r.problem.model.axes])))
        g, w = (r.problem.torch_shape(role, r.problem.result_shape(role)) for role in "gw")
        # a prediction of a tiny problem takes as long as one of a thousand times as many products
        products = max(2**17, int(np.prod(g)) * w[1] * taps)
        return cls(MOST_PRODUCTS // products)

    def spend(self, predictions: int = 1) -> bool:
        self.left -= predictions
        return self.left >= 0


def two_mistakes(r: WrongResult) -> Diagnosis | None:
    """Explain a result by two mistakes, the simplest pair first."""
    if not r.has_shape or r.role == "bias" or r.expected.size < LEAST_ELEMENTS or not np.isfinite(r.found).all():
        return None
    wrong = r.differs()
    if wrong.sum() < 2 * LEAST_EXPLAINED:
        return None
    found = _of_elements(r)
    if found is None:
        models = list(_predictions(r, _Budget.of(r)))
        found = _beside_models(r, models) or _both_models(r, _Budget.of(r)) or _beside_parts(r, models, _Budget.of(r))
    return found


# ---- the first mistake is one number, or a function of each element


def _of_elements(r: WrongResult) -> Diagnosis | None:
    """The first mistake is of each element: a factor, or an activation; the second is one of places."""
    for c in _factors(r):
        other = replace(r, found=r.found / c)
        second = _of_places(other)
        if second is not None and _explains(r, c * r.expected):
            return replace(second, factor=factor_of(c, r))
    if np.iscomplexobj(r.expected) or np.iscomplexobj(r.found):
        return None
    for name, predicted in elementwise.functions_of(r.expected):
        if not float(np.abs(predicted).max()) <= MOST_GROWTH * np.abs(r.expected).max() or not _explains(r, predicted):
            continue
        second = _of_places(replace(r, expected=predicted)) or factors.scaled(replace(r, expected=predicted))
        if second is not None:
            first = Diagnosis(Cause.ACTIVATION, Hypothesis.FUNCTION_OF_RESULT, function=name)
            return replace(first, also=second)
    return None


def _factors(r: WrongResult) -> Iterator[float]:
    """Yield numbers by which the elements may be multiplied: that of most elements, -1, and sizes or their inverses."""
    nonzero = r.expected != 0
    if not nonzero.any():
        return
    ratios = np.round(np.real(r.found[nonzero] / r.expected[nonzero]), 9)
    values, counts = np.unique(ratios, return_counts=True)
    most = float(values[counts.argmax()])
    sizes = [float(size) for size in sizes_of(r).values() if size > 1]
    for c in dict.fromkeys((most, -1.0, 2.0, 0.5, *(1 / size for size in sizes), *sizes)):
        if c not in (0.0, 1.0):
            yield c


def _of_places(r: WrongResult) -> Diagnosis | None:
    """Explain a result by one of the hypotheses that need the right elements alone, and predict every one."""
    found, right = (float((np.abs(a) ** 2).sum()) for a in (r.found, r.expected))
    for hypothesis in (slices.rearranged, slices.reversed_in_axes, slices.reordered):
        if math.isclose(found, right, rel_tol=1e-3) and (diagnosis := hypothesis(r)) is not None:
            return diagnosis
    return _in_region(r)


def _in_region(r: WrongResult) -> Diagnosis | None:
    """Explain a result that is zero, twice what it must be, of the other sign or shifted in a region, and right elsewhere."""
    if r.differs().mean() > 0.5:
        return None
    diagnosis = regions.wrong_region(r)
    if diagnosis is None or diagnosis.region is None or diagnosis.region.content == Content.OTHER:
        return None
    return diagnosis


# ---- the first mistake is another model


Prediction = tuple[Diagnosis, ConvolutionModel, np.ndarray]


def _predictions(r: WrongResult, budget: _Budget) -> Iterator[Prediction]:
    """Yield each other model that changes the result, and what it predicts; of equal ones the first."""
    seen: list[np.ndarray] = []
    for diagnosis, model in itertools.chain(misunderstandings(r.problem), geometry_mistakes.hypotheses(r.problem)):
        predicted = _predicted(r, model, budget)
        if predicted is None or same(predicted, r.expected):
            continue
        if not any(np.array_equal(predicted, other) for other in seen):
            seen.append(predicted)
            yield diagnosis, model, predicted


def _predicted(r: WrongResult, model: ConvolutionModel, budget: _Budget) -> np.ndarray | None:
    if not budget.spend():
        return None
    try:
        predicted = r.predicted(model)
    except (ValueError, IndexError):  # no such geometry
        return None
    return predicted if predicted.shape == r.found.shape else None


def _beside_models(r: WrongResult, models: list[Prediction]) -> Diagnosis | None:
    """Another model is the first mistake, and a function of the elements, or another order of them, the second."""
    for diagnosis, model, predicted in models:
        other = _against(r, model, predicted)
        for hypothesis in (elementwise.function_of_elements, _of_places):
            second = hypothesis(other)
            if second is not None and (second.hypothesis in _EVERYWHERE or _explains(r, predicted)):
                return replace(diagnosis, also=second)
    return None


def _both_models(r: WrongResult, budget: _Budget) -> Diagnosis | None:
    """Both mistakes are another model: operands that are changed first, and another geometry, or two such changes."""
    problem = r.problem
    predictions: list[tuple[Diagnosis, np.ndarray]] = []
    for number, (diagnosis, model) in enumerate(changed_operands(problem.model, problem)):
        others = itertools.islice(changed_operands(model, problem), number + 1, None)
        for also, both in itertools.chain(other_geometries(model, problem), others):
            if also.hypothesis == Hypothesis.PADDING_OFFSET:
                continue
            predicted = _predicted(r, both, budget)
            if predicted is None or same(predicted, r.expected):
                continue
            if same(predicted, r.found):
                return replace(diagnosis, also=also)
            predictions.append((replace(diagnosis, also=also), predicted))
    for diagnosis, predicted in predictions:
        if (c := factor(r.found, predicted)) is not None:
            return replace(diagnosis, factor=factor_of(c, r))
    return None


def _beside_parts(r: WrongResult, models: list[Prediction], budget: _Budget) -> Diagnosis | None:
    """Another model is the first mistake, and parts of the sum that are left out or count twice the second."""
    parts = sum(size for size in (*r.expected.shape, *r.expectations.arrays.g.shape) if size <= MOST_PARTS)
    for diagnosis, model, predicted in models:
        if diagnosis.hypothesis in (Hypothesis.PADDING_OFFSET, Hypothesis.TENSOR_RESHAPED) or not budget.spend(parts):
            continue
        try:
            second = contributions.fitted(_against(r, model, predicted), most=MOST_PARTS)
        except (ValueError, IndexError):  # shapes that follow from another geometry
            continue
        if second is not None:
            return replace(diagnosis, also=second)
    return None


def _against(r: WrongResult, model: ConvolutionModel, predicted: np.ndarray) -> WrongResult:
    """Return the result against what another model predicts, as if that were right."""
    return replace(
        r, expectations=Expectations(r.problem, r.expectations.arrays, model), expected=predicted, wrong=None
    )


def _explains(r: WrongResult, predicted: np.ndarray) -> bool:
    """Whether elements are as the first mistake alone predicts them, and wrong without it."""
    near = np.abs(r.found - predicted) <= 1e-6 * max(1.0, float(np.abs(predicted).max(initial=0)))
    is_telling = r.differs() & near
    zeros = int((is_telling & (r.found == 0)).sum())  # which something else may have left, too
    return int(is_telling.sum()) - zeros >= LEAST_EXPLAINED or zeros >= SHARE_OF_ZEROS * r.found.size


_EVERYWHERE = frozenset(
    {
        Hypothesis.FUNCTION_OF_RESULT,
        Hypothesis.LEAKY,
        Hypothesis.SLICES_ROLLED,
        Hypothesis.SLICES_REVERSED,
        Hypothesis.SLICES_PERMUTED,
        Hypothesis.RESULT_ROLLED,
        Hypothesis.RESULT_FLIPPED,
        Hypothesis.RESULT_TRANSPOSED,
        Hypothesis.RESULT_RESHAPED,
    }
)
"""Second mistakes that change every element, so that none is left as the first alone makes it."""
