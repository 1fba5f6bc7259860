"""The problem: one contraction without its arrays, as all kernels and the planner see it."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass, replace

from triconv.geometry import Geometry
from triconv.rules import LETTERS

# every array with its channels before its positions
FIRST = ("first", "first", "first")


@dataclass(frozen=True)
class Problem:
    """A contraction without its arrays."""

    contraction: str  # which of the three
    geometry: Geometry
    groups: int
    n: int  # samples
    c: int  # input channels per group
    k: int  # output channels per group
    itemsize: int = 4  # bytes per element
    kind: str = "real"  # of the elements: "real", "complex" or "integer"
    orders: tuple[str, ...] = FIRST  # where the channels of x, w and g stand in memory, or "last"

    @functools.cached_property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Canonical shapes of x, w and g."""
        letters = {"group": self.groups, "n": self.n, "c": self.c, "k": self.k}
        sizes = {"x": self.geometry.input_size, "w": self.geometry.kernel_size, "g": self.geometry.output_size}
        return {role: (*(letters[letter] for letter in LETTERS[role]), *sizes[role]) for role in sizes}

    @functools.cached_property
    def bytes_of(self) -> dict[str, int]:
        """Bytes of x, w and g."""
        return {role: self.itemsize * math.prod(shape) for role, shape in self.shapes.items()}

    @functools.cached_property
    def bytes(self) -> int:
        """Bytes of the operands and the result."""
        return sum(self.bytes_of.values())

    @functools.cached_property
    def bytes_last(self) -> int:
        """Bytes of the arrays whose channels stand last, which a kernel transposes that computes with channels first."""
        return sum(self.bytes_of[role] for role, order in zip("xwg", self.orders, strict=True) if order == "last")

    @functools.cached_property
    def multiply_adds(self) -> int:
        """Meetings times groups, samples and channel pairs."""
        return self.geometry.count_meetings() * self.groups * self.n * self.c * self.k

    @functools.cached_property
    def padded_multiply_adds(self) -> int:
        """The same, with those of the padding: every output with every tap of its phase."""
        meetings = math.prod(axis.count_windows() for axis in self.geometry.axes)
        return meetings * self.groups * self.n * self.c * self.k

    @functools.cached_property
    def taps(self) -> int:
        """Number of taps of the kernel."""
        return math.prod(self.geometry.kernel_size)

    @functools.cached_property
    def phases(self) -> int:
        """Number of convolutions without input dilation that it is made of."""
        return self.geometry.count_phases()

    @functools.cached_property
    def is_swapped(self) -> bool:
        """Whether it is a weight VJP that has fewer phases with x and g exchanged, as that of a transposed convolution."""
        return (
            self.contraction == "conv_weight_vjp"
            and self.geometry.transposed().count_phases() < self.geometry.count_phases()
        )

    def transposed(self) -> Problem:
        """The same in the transposed geometry: input and output exchanged, so are their channels and memory orders."""
        contraction = "conv" if self.contraction == "conv_input_vjp" else self.contraction
        return replace(
            self,
            contraction=contraction,
            geometry=self.geometry.transposed(),
            c=self.k,
            k=self.c,
            orders=self.orders[::-1],
        )

    def by_windows(self) -> Problem:
        """The problem as kernels see it that think in windows: a "conv", or a "conv_weight_vjp" with the fewer phases."""
        return self._by_windows

    @functools.cached_property
    def _by_windows(self) -> Problem:
        return self.transposed() if self.contraction == "conv_input_vjp" or self.is_swapped else self
