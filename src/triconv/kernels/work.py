"""What a contraction is, and what a kernel would do to compute it: the facts that the planner weighs."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import NamedTuple

from triconv.geometry import Geometry


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
        axes = (sum(p.axis.output_size * p.axis.kernel_size for p in axis.phases()) for axis in self.geometry.axes)
        return math.prod(axes) * self.groups * self.n * self.c * self.k

    @property
    def taps(self) -> int:
        """Taps of the kernel."""
        return math.prod(self.geometry.kernel_size)

    @property
    def phases(self) -> int:
        """How many convolutions without input dilation it is."""
        return math.prod(sum(1 for _ in axis.phases()) for axis in self.geometry.axes)

    def by_windows(self) -> Problem:
        """An input VJP as the convolution that it is: that of the mirrored geometry."""
        if self.contraction != "conv_input_vjp":
            return self
        return replace(self, contraction="conv", geometry=self.geometry.mirrored(), c=self.k, k=self.c)


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
