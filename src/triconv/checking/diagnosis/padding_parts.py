"""Padding by copies of the input of which a part is left out, or counts twice: the corners, one end, or one axis.

The adjoint of such padding adds up what was copied. Code that does so side by side, or in branches that exclude each other,
forgets where two sides meet.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from triconv.checking.findings.causes import Cause, Hypothesis
from triconv.checking.findings.diagnosis_data import Diagnosis
from triconv.checking.oracles.convolution import ConvolutionModel

WEIGHTS = {0: "left out", 2: "counted twice"}


@dataclass(frozen=True)
class _WeightedModel(ConvolutionModel):
    """A model in which part of the padded input is multiplied by a number."""

    part: str = ""
    axis: int = 0
    weight: int = 0

    def pad(self, x: np.ndarray) -> np.ndarray:
        padded = super().pad(x)
        return padded * self._weights(padded.shape)

    def pad_adjoint(self, gx: np.ndarray) -> np.ndarray:
        return super().pad_adjoint(gx * self._weights(gx.shape))

    def _weights(self, shape: tuple[int, ...]) -> Any:
        count, inside = np.zeros((1,) * len(shape), int), np.zeros((1,) * len(shape), bool)
        for n, (lo, hi) in enumerate(self.pads):
            at = np.arange(shape[n + 2]).reshape([-1 if axis == n + 2 else 1 for axis in range(len(shape))])
            ends = {"start": at < lo, "end": at >= at.size - hi}
            count = count + (ends["start"] | ends["end"])
            if n == self.axis and self.part in ends:
                inside = ends[self.part]
        return np.where(count > 1 if self.part == "corners" else inside, self.weight, 1)


def padding_parts(m: ConvolutionModel, _: Any) -> Iterator[tuple[Diagnosis, ConvolutionModel]]:
    """Yield each part of the padding with the model in which it is left out, or counts twice."""
    if m.mode == "zeros" or not any(map(any, m.pads)):
        return
    places = [("corners", 0)] if sum(map(any, m.pads)) > 1 else []
    places += [
        (end, n) for n, pair in enumerate(m.pads) for end, size in zip(("start", "end"), pair, strict=True) if size
    ]
    for part, axis in places:
        for weight, function in WEIGHTS.items():
            axes = () if part == "corners" else (axis,)
            yield (
                Diagnosis(
                    Cause.PADDING_MODE,
                    Hypothesis.PADDING_PART,
                    spatial_axes=axes,
                    mode=m.mode,
                    parameter=part,
                    function=function,
                ),
                _WeightedModel(m.axes, m.groups, m.mode, m.pads, m.changes, part, axis, weight),
            )
