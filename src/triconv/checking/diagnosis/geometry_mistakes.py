"""Mistakes of the geometry in one result that has the right shape: each predicts it by other incidence tensors.

`misunderstandings.py` has those that hold throughout, where the sizes follow from the mistake. Here the sizes are right, and
the loops over them are wrong: a stride that is forgotten in one backward, indices that wrap around, padding of another size.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np

from triconv.checking.diagnosis.incidences import (
    Border,
    Incidence,
    IncidenceModel,
    in_all_and_each,
    incidence,
    right_incidences,
)
from triconv.checking.diagnosis.size_factors import factor_of
from triconv.checking.findings.causes import Cause, Hypothesis
from triconv.checking.findings.diagnosis_data import Diagnosis
from triconv.checking.oracles.comparison import WrongResult, factor, same
from triconv.checking.oracles.convolution import ConvolutionModel, ConvolutionProblem
from triconv.checking.oracles.definition import AxisParameters, output_size

MOST_OFFSET = 4
"""By how many positions the padding is tried, at least; kernels of several taps are tried further."""


def geometry_mistake(r: WrongResult) -> Diagnosis | None:
    """Explain a result of the right shape by another incidence."""
    if not r.has_shape or r.role == "bias":
        return None
    scaled: list[tuple[Diagnosis, np.ndarray]] = []
    for diagnosis, model in hypotheses(r.problem):
        predicted = r.predicted(model)
        if same(predicted, r.found):
            return diagnosis
        scaled.append((diagnosis, predicted))
    for diagnosis, predicted in scaled:
        if (c := factor(r.found, predicted)) is not None and r.found.size > 2:
            return replace(diagnosis, factor=factor_of(c, r))
    return None


def hypotheses(problem: ConvolutionProblem) -> Iterator[tuple[Diagnosis, ConvolutionModel]]:
    """Yield each mistake and the model that predicts its result, the simplest first."""
    right = right_incidences(problem)
    m, ndim = problem.model, len(right)
    for diagnosis, change in _changes(problem):
        for axes, incidences in in_all_and_each(right, change):
            yield replace(diagnosis, spatial_axes=axes, ndim=ndim), IncidenceModel.of(m, incidences)
    flip: Callable[[np.ndarray], np.ndarray] = lambda w: np.flip(w, tuple(range(2, 2 + ndim)))  # noqa: E731
    flipped = Diagnosis(Cause.KERNEL_FLIP, Hypothesis.KERNEL_FLIPPED, ndim=ndim)
    for steps in (1, -1, 2, -2):  # a kernel of even size that is flipped about a tap
        moved = tuple(_moved(a, steps) for a in m.axes)
        shifted = tuple(incidence(a, size.shape[1]) for a, size in zip(moved, right, strict=True))
        yield replace(flipped, offset=(steps,)), IncidenceModel.of(m, shifted).with_change("w", flip)


def _moved(a: AxisParameters, steps: int) -> AxisParameters:
    return a._replace(pad_lo=a.pad_lo + steps)


def _changes(problem: ConvolutionProblem) -> Iterator[tuple[Diagnosis, Callable[[int], Incidence | None]]]:
    """Yield each mistake, and the incidence of an axis that it makes; None where it changes nothing."""
    axes = problem.model.axes

    def other(change: Callable[[int], dict[str, int]], border: Border = Border.ZEROS) -> Callable[[int], Incidence]:
        return lambda n: incidence(axes[n]._replace(**change(n)), output_size(axes[n]), border=border)

    stride, dilation = Cause.STRIDE_IGNORED, Cause.DILATION_IGNORED
    yield Diagnosis(stride, Hypothesis.STRIDE_IGNORED), other(lambda _: {"stride": 1})
    yield Diagnosis(dilation, Hypothesis.DILATION_IGNORED), other(lambda _: {"dilation": 1})
    yield (
        Diagnosis(Cause.STRIDE_AND_DILATION_EXCHANGED, Hypothesis.STRIDE_AND_DILATION_EXCHANGED),
        other(lambda n: {"stride": axes[n].dilation, "dilation": axes[n].stride}),
    )
    yield Diagnosis(dilation, Hypothesis.INPUT_DILATION_IGNORED), other(lambda _: {"input_dilation": 1})
    both = Diagnosis(stride, Hypothesis.STRIDE_IGNORED, parameter="both")
    yield both, other(lambda _: {"stride": 1, "dilation": 1})
    yield Diagnosis(stride, Hypothesis.STRIDE_DOUBLED), other(lambda n: {"stride": axes[n].stride ** 2})
    yield Diagnosis(Cause.PADDING_IGNORED, Hypothesis.PADDING_IGNORED), other(lambda _: {"pad_lo": 0})
    exchanged = Diagnosis(Cause.PADDING_EXCHANGED, Hypothesis.PADDING_EXCHANGED)
    yield exchanged, other(lambda n: {"pad_lo": axes[n].pad_hi})
    for parameter in ("stride", "dilation", "padding") if len(axes) > 1 else ():
        name = "pad_lo" if parameter == "padding" else parameter
        values = [getattr(a, name) for a in axes]
        for source, value in enumerate(values):
            for_all = Diagnosis(
                Cause.SPATIAL_AXES_SWAPPED, Hypothesis.PARAMETER_FOR_ALL_AXES, parameter=parameter, axis=source
            )
            yield for_all, other(lambda _, name=name, value=value: {name: value})  # type: ignore[misc]
        swapped = Diagnosis(Cause.SPATIAL_AXES_SWAPPED, Hypothesis.PARAMETER_OF_OTHER_AXIS, parameter=parameter)
        yield swapped, other(lambda n, name=name, values=values: {name: values[-1 - n]})  # type: ignore[misc]

    def nothing(_: int) -> dict[str, int]:
        return {}

    yield Diagnosis(Cause.WRAP_AROUND, Hypothesis.WRAP_AROUND), other(nothing, Border.CIRCULAR)
    yield Diagnosis(Cause.WRAP_AROUND, Hypothesis.NEGATIVE_INDICES), other(nothing, Border.NEGATIVE)
    for border in (Border.REPLICATE, Border.REFLECT):
        yield Diagnosis(Cause.PADDING_MODE, Hypothesis.PADDING_MODE, mode=border.value), other(nothing, border)
    most = max([MOST_OFFSET, *(a.dilation * (a.kernel_size - 1) for a in axes)])
    for off in sorted((n for n in range(-most, most + 1) if n), key=abs):
        cause = Cause.PADDING_OFF_BY_ONE if abs(off) == 1 else Cause.PADDING_WRONG
        diagnosis = Diagnosis(cause, Hypothesis.PADDING_OFFSET, offset=(off, -off))
        yield diagnosis, other(lambda n, off=off: {"pad_lo": axes[n].pad_lo + off})  # type: ignore[misc]
    unpadded = Diagnosis(stride, Hypothesis.STRIDE_IGNORED, parameter="padding")
    yield unpadded, other(lambda _: {"stride": 1, "pad_lo": 0})
