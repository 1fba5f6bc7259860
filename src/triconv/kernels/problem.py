"""What a contraction is, and what a kernel would do to compute it: the facts that the planner weighs."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import NamedTuple

from triconv.geometry import Geometry
from triconv.kernels import polyphase


@dataclass(frozen=True, slots=True)
class Problem:
    """A contraction without its arrays.

    Parameters
    ----------
    contraction : {"conv", "conv_input_vjp", "conv_weight_vjp"}
        Which of the three.
    geometry : Geometry
        Its geometry.
    groups, n, c, k : int
        Groups, samples, and input and output channels of a group.
    itemsize : int
        Bytes of an element.
    kind : {"real", "complex", "integer"}
        What the elements are.
    device : {"cpu", "gpu"}
        Where it is to be computed.
    compiled : bool
        Whether as a part of a compiled program, not by one call after the other.
    """

    contraction: str
    geometry: Geometry
    groups: int
    n: int
    c: int
    k: int
    itemsize: int = 4
    kind: str = "real"
    device: str = "cpu"
    compiled: bool = False

    @property
    def bytes_of(self) -> dict[str, int]:
        """Bytes of x, w and g."""
        return {
            "x": self.itemsize * self.groups * self.n * self.c * math.prod(self.geometry.input_size),
            "w": self.itemsize * self.groups * self.k * self.c * math.prod(self.geometry.kernel_size),
            "g": self.itemsize * self.groups * self.n * self.k * math.prod(self.geometry.output_size),
        }

    @property
    def bytes(self) -> int:
        """Bytes of the operands and the result."""
        return sum(self.bytes_of.values())

    @property
    def multiply_adds(self) -> int:
        """Meetings times groups, samples and channel pairs."""
        return self.geometry.count_meetings() * self.groups * self.n * self.c * self.k

    @property
    def padded_multiply_adds(self) -> int:
        """The same with those of the padding: every output with every tap of its phase."""
        axes = math.prod(axis.count_windows() for axis in self.geometry.axes)
        return axes * self.groups * self.n * self.c * self.k

    @property
    def taps(self) -> int:
        """Taps of the kernel."""
        return math.prod(self.geometry.kernel_size)

    @property
    def phases(self) -> int:
        """How many convolutions without input dilation it is."""
        return self.geometry.count_phases()

    def by_windows(self) -> Problem:
        """The problem as kernels see it that think in windows.

        An input VJP is the convolution of the mirrored geometry, and a weight VJP has its operands exchanged where that leaves
        fewer phases.
        """
        if self.contraction == "conv" or (
            self.contraction == "conv_weight_vjp" and not polyphase.are_exchanged(self.geometry)
        ):
            return self
        contraction = "conv" if self.contraction == "conv_input_vjp" else self.contraction
        return replace(self, contraction=contraction, geometry=self.geometry.mirrored(), c=self.k, k=self.c)

    def by_phases(self) -> Problem:
        """The same, with the zeros written that a compiled program needs for its phases to be few."""
        windows = self.by_windows()
        return replace(windows, geometry=polyphase.few(windows.geometry)) if self.compiled else windows


class Work(NamedTuple):
    """What a kernel does for a problem.

    Its `kind` is "matrix" or "vector" (multiply-adds), "sum" (multiply-adds into few numbers), "transform" (points times the
    logarithm of their number) or "vendor" (multiply-adds); a device does so many of each a second.
    """

    kind: str
    amount: float
    """How much of it."""
    moved: float
    """Bytes written and read again beside the operands and the result."""
    temporary: float
    """Bytes of memory beside the operands and the result."""
    operations: int
    """Operations to compile, or to call one by one."""
    why: str
    """What speaks for it."""
