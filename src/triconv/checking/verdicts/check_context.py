"""The arrays of a check and the right answers for them, by which every row judges."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from triconv.checking.diagnosis.earlier import Earlier
from triconv.checking.dtypes import BITS, INTEGERS
from triconv.checking.oracles import drawn_data, real_size, wide_data
from triconv.checking.oracles.convolution import ConvolutionModel, ConvolutionProblem, Expectations
from triconv.checking.oracles.projections import ProjectionTest
from triconv.checking.oracles.real_size import KernelModel
from triconv.checking.verdicts.probes import Probe

MOST_BITS = 40
"""Bits of the widest numbers where right answers come from Fourier transforms, which are exact to about so many."""


@dataclass
class CheckContext:
    """The arrays of a check and the right answers for them.

    Parameters
    ----------
    problem : ConvolutionProblem
        The problem.
    dtype : str
        Of the candidate's arrays.
    precision : str, optional
        Of the products, if fewer bits than the dtype's are meant.
    seed : int
        Of the data.
    user_arrays : list of numpy.ndarray, optional
        The user's arrays, which are then the operands of the rounding test.
    thorough : bool
        Whether to try the hypotheses that take a run of the definition each.
    """

    problem: ConvolutionProblem
    dtype: str
    precision: str | None
    seed: int
    user_arrays: list[np.ndarray] | None = None
    thorough: bool = True

    def __post_init__(self) -> None:
        self.is_real_size = real_size.is_real_size(self.problem)
        if self.is_real_size:
            self.problem = real_size.with_kernel(self.problem)
        by_transforms = isinstance(self.problem.model, KernelModel) and self.problem.model.by_transforms
        bits = MOST_BITS if by_transforms else BITS["float64"]
        self.arrays = drawn_data.DrawnData(self.problem, self.dtype, self.seed, self.user_arrays, bits)
        self.earlier = Earlier()
        self._expectations: dict[str, Expectations] = {}
        self._projections: dict[str, ProjectionTest] = {}
        self._proved: set[str] = set()
        self._narrower: dict[str, CheckContext] = {}

    def right(self, name: str) -> Expectations:
        """Return the right answers for the arrays of this name."""
        if name not in self._expectations:
            self._expectations[name] = Expectations(self.problem, self.arrays[name])
        return self._expectations[name]

    def projections(self, name: str) -> ProjectionTest:
        """Return the exact test by projections for the integers of this name."""
        if name not in self._projections:
            wide = self.arrays.wide(name) if name in wide_data.NAMES else None
            self._projections[name] = ProjectionTest.of(self.problem, wide.whole if wide else self.arrays[name])
        return self._projections[name]

    def prove(self, role: str) -> None:
        """At real size, compare the right answers for a tensor with the definition; if they differ, take the definition."""
        if not self.is_real_size or role in self._proved or role == "bias":
            return
        is_definition = type(self.problem.model) is ConvolutionModel
        if not is_definition and not real_size.is_proved(self.projections("exact"), self.right("exact"), role):
            m = self.problem.model
            self.problem = replace(self.problem, model=ConvolutionModel(m.axes, m.groups, m.mode, m.pads))
            self._expectations.clear()
        self._proved.add(role)

    def is_equal(self, name: str, probe: Probe, found: np.ndarray) -> bool:
        """Return whether a result for integers is right, bit for bit."""
        role = probe.question.tensor
        wraps = self.dtype in INTEGERS and self.user_arrays is not None
        if not self.is_real_size or wraps:
            right = probe.answer(self.right(name))
            return np.array_equal(found, drawn_data.wrapped(right, self.dtype) if self.dtype in INTEGERS else right)
        wide = self.arrays.wide(name) if name in wide_data.NAMES else None
        if wide is not None:  # in whole numbers
            found = found * 2.0 ** wide.unit_of(role)
        return not self.projections(name).wrong_positions(role, probe.answer, found).any()

    def missed(self, role: str) -> float:
        """Return the probability, at most, with which a wrong element is not seen."""
        return self.projections("exact").missed(role) if self.is_real_size and role != "bias" else 0.0

    @property
    def truth(self) -> str:
        """The kernel that gives the right answers for random data; "" for the definition."""
        model = self.problem.model
        return model.algorithm if isinstance(model, KernelModel) else ""

    def narrower(self, dtype: str) -> CheckContext:
        """Return the same check with data for a dtype of fewer bits, for results that come in it."""
        if dtype not in self._narrower:
            self._narrower[dtype] = replace(self, dtype=dtype)
        return self._narrower[dtype]
