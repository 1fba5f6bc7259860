"""Right answers at real size: from the project's own kernels in double precision, once projections have shown them to be exact.

The loops by definition are the oracle of small problems. Where they would take seconds, results for integers are tested by
`projections`, and a kernel gives what a right answer is needed of element by element: rounding, and where a result is wrong.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from triconv.checking.oracles import exact_transform, projections, tap_sums
from triconv.checking.oracles.comparison import Answer
from triconv.checking.oracles.convolution import ConvolutionModel, ConvolutionProblem, Expectations, InputArrays
from triconv.operators import conv, conv_input_vjp, conv_weight_vjp

MOST_PRODUCTS = 1 << 24
"""Products that the definition adds up for one result: more take about 0.1 s."""
MOST_MEETINGS = 1 << 18
"""Meetings that the definition lists, in about 10 ms and 4 MiB."""
MOST_TAPS = 64
"""Taps up to which a kernel adds up the products; for more it takes Fourier transforms."""


def count_products(problem: ConvolutionProblem) -> int:
    """Return the number of products that the definition adds up for one result."""
    sizes = projections.sizes_of(problem)
    return tap_sums.count_meetings(problem.model.axes) * math.prod(sizes.values()) * problem.model.groups


def is_real_size(problem: ConvolutionProblem) -> bool:
    """Whether the loops by definition would take too long."""
    return tap_sums.count_meetings(problem.model.axes) > MOST_MEETINGS or count_products(problem) > MOST_PRODUCTS


@dataclass(frozen=True)
class KernelModel(ConvolutionModel):
    """A convolution whose contractions are those of a kernel of triconv on NumPy, in double precision.

    Parameters
    ----------
    is_depthwise : bool
        Whether each group has one input channel and one output channel.
    """

    is_depthwise: bool = False

    @property
    def by_transforms(self) -> bool:
        """Whether the kernel takes Fourier transforms."""
        return math.prod(a.kernel_size for a in self.axes) > MOST_TAPS

    @property
    def algorithm(self) -> str:
        """The name of the kernel."""
        if self.by_transforms:
            return "fft"
        return "depthwise" if self.is_depthwise else "gemm"

    def contract(self, operands: dict[str, np.ndarray]) -> np.ndarray:
        """Derivative of ``T`` by the tensor that is missing; of whole numbers, a whole number."""
        if any(a.dtype.kind in "iu" for a in operands.values()):
            return super().contract(operands)  # they may wrap around
        params: dict[str, Any] = {
            "stride": [a.stride for a in self.axes],
            "dilation": [a.dilation for a in self.axes],
            "input_dilation": [a.input_dilation for a in self.axes],
            "padding": [(a.pad_lo, a.pad_hi) for a in self.axes],
            "groups": self.groups,
            "algorithm": self.algorithm,
        }
        if "g" not in operands:
            result = conv(operands["x"], operands["w"], **params)
        elif "x" not in operands:
            sizes = [a.input_size for a in self.axes]
            result = conv_input_vjp(operands["g"], operands["w"], input_size=sizes, **params)
        else:
            sizes = [a.kernel_size for a in self.axes]
            result = conv_weight_vjp(operands["g"], operands["x"], kernel_size=sizes, **params)
        is_whole = self.by_transforms and all(np.array_equal(a, np.rint(a)) for a in operands.values())
        return np.asarray(np.rint(result) if is_whole else result)


def with_kernel(problem: ConvolutionProblem) -> ConvolutionProblem:
    """Return the problem with right answers by a kernel."""
    m, sizes = problem.model, projections.sizes_of(problem)
    is_depthwise = sizes["c"] == sizes["k"] == 1
    return replace(problem, model=KernelModel(m.axes, m.groups, m.mode, m.pads, m.changes, is_depthwise))


def answer_of(problem: ConvolutionProblem, role: str) -> Answer:
    """Return the answer that takes the contraction for one tensor."""
    return Expectations.value if role == problem.result else functools.partial(Expectations.vjp, role=role)


def is_proved(test: projections.ProjectionTest, right: Expectations, role: str) -> bool:
    """Whether the right answers for one tensor agree with the definition, on integers and in random combinations."""
    answer = answer_of(test.problem, role)
    return not test.wrong_positions(role, answer, answer(right)).any()


def transform_error(problem: ConvolutionProblem, arrays: InputArrays, role: str) -> float:
    """Return by how much a kernel that takes Fourier transforms may be off, at most; 0 for one that does not.

    See `exact_transform.error_bound`; a tangent has two parts, each of one contraction.
    """
    model = problem.model
    if not isinstance(model, KernelModel) or not model.by_transforms or role == "bias":
        return 0.0
    (one, of_one), (two, of_two) = (
        (
            r,
            [
                a
                for a in (arrays.g if r == problem.result else None, *(of.get(r) for of in _both(arrays)))
                if a is not None
            ],
        )
        for r in "xwg"
        if r != role
    )
    (summed,) = set(projections.LETTERS[one]) & set(projections.LETTERS[two])
    terms = projections.sizes_of(problem)[summed]
    points = math.prod(
        1 << (2 * max(a.input_size * a.input_dilation, a.kernel_size * a.dilation)).bit_length() for a in model.axes
    )
    return 2 * exact_transform.error_bound(terms * max(map(_norm, of_one)) * max(map(_norm, of_two)), terms, points)


def _both(arrays: InputArrays) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    return arrays.primals, arrays.tangents


def _norm(a: np.ndarray) -> float:
    """Return the largest Euclidean norm of one channel of one sample."""
    finite = np.where(np.isfinite(a), np.abs(a), 0)
    return float(np.sqrt(np.square(finite).sum(axis=tuple(range(2, a.ndim)))).max(initial=0))
