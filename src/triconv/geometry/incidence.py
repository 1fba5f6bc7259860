"""The incidence equation: which input, output and tap positions meet.

Along one spatial axis, input ``i``, output ``o`` and tap ``t`` meet exactly when::

    input_dilation * i + pad_lo  =  stride * o + dilation * t

Sizes and slices follow from it by integer arithmetic, and so does every error about a size or a parameter.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple

from triconv.geometry import lattice
from triconv.geometry.integers import as_int, dilated


@dataclass(frozen=True, slots=True)
class Tap:
    """One kernel position and the input and output positions that meet there, in the same order."""

    index: tuple[int, ...]
    input: tuple[slice, ...]
    output: tuple[slice, ...]


class AxisPhase(NamedTuple):
    """One phase of an axis: the outputs of a residue class, the taps that they meet, and the axis between the two."""

    output: slice
    taps: slice
    axis: Axis


@dataclass(frozen=True)
class Axis:
    """One spatial axis of a convolution.

    Parameters
    ----------
    input_size, kernel_size : int
        Number of input positions and of taps.
    stride, dilation, input_dilation : int
        Steps of the output, of the taps and of the input in the incidence equation.
    pad_lo, pad_hi : int
        Padding before and after the input; negative values crop.

    Raises
    ------
    ValueError
        If cropping takes more than there is.
    """

    input_size: int
    kernel_size: int
    stride: int = 1
    dilation: int = 1
    input_dilation: int = 1
    pad_lo: int = 0
    pad_hi: int = 0

    def __post_init__(self) -> None:
        for name in ("input_size", "kernel_size"):
            as_int(getattr(self, name), name, least=0)
        for name in ("stride", "dilation", "input_dilation"):
            as_int(getattr(self, name), name, least=1)
        for name in ("pad_lo", "pad_hi"):
            as_int(getattr(self, name), name)
        if self.padded_size < 0:
            msg = (
                "`padding` must not crop more than the (dilated) input has, "
                f"got ({self.pad_lo}, {self.pad_hi}) for {self.dilated_input}"
            )
            raise ValueError(msg)

    @functools.cached_property
    def dilated_input(self) -> int:
        """Extent of the input with its dilation."""
        return dilated(self.input_size, self.input_dilation)

    @functools.cached_property
    def dilated_kernel(self) -> int:
        """Extent of the kernel with its dilation."""
        return dilated(self.kernel_size, self.dilation)

    @functools.cached_property
    def padded_size(self) -> int:
        """Extent of the dilated input with its padding."""
        return self.dilated_input + self.pad_lo + self.pad_hi

    @functools.cached_property
    def output_size(self) -> int:
        """Number of windows that fit, zero if none does."""
        return max(0, (self.padded_size - self.dilated_kernel) // self.stride + 1)

    @property
    def windows_are_inputs(self) -> bool:
        """Whether each window is one element of the (dilated) input, in order, and has no padding."""
        return (self.kernel_size, self.stride, self.pad_lo, self.pad_hi) == (1, 1, 0, 0)

    @property
    def read_pad_hi(self) -> int:
        """Padding after the input up to where the last window ends; negative if it ends before the input does."""
        extent = self.stride * (self.output_size - 1) + self.dilated_kernel
        return extent - self.dilated_input - self.pad_lo

    @property
    def even_pad_hi(self) -> int:
        """Of the `pad_hi` with as many windows, the nearest to `pad_lo`: the last window may leave some of it unread."""
        least = self.read_pad_hi
        return min(max(self.pad_lo, least), least + self.stride - 1)

    @classmethod
    def for_output_size(
        cls,
        output_size: int,
        input_size: int,
        kernel_size: int,
        *,
        stride: int = 1,
        dilation: int = 1,
        input_dilation: int = 1,
        pad_lo: int = 0,
    ) -> Axis:
        """The axis with this number of outputs (at least one): `pad_hi` follows from it."""
        extent = stride * (output_size - 1) + dilated(kernel_size, dilation)
        pad_hi = extent - dilated(input_size, input_dilation) - pad_lo
        return cls(input_size, kernel_size, stride, dilation, input_dilation, pad_lo, pad_hi)

    def meetings(self, t: int) -> tuple[slice, slice]:
        """Input and output positions that meet at tap `t`: two equally long arithmetic progressions.

        The incidence equation, solved for ``o`` and ``i``::

            stride * o - input_dilation * i  =  pad_lo - dilation * t

        has solutions only if ``gcd(stride, input_dilation)`` divides the right side. Divide by it; then ``o`` is known
        modulo ``input_dilation``, and ``(i, o)`` advances by ``(stride, input_dilation)``. Clip to both ranges.
        """
        common = math.gcd(self.stride, self.input_dilation)
        right, rest = divmod(self.pad_lo - self.dilation * t, common)
        if rest:
            return slice(0, 0), slice(0, 0)
        step_i, step_o = self.stride // common, self.input_dilation // common
        o = right * pow(step_i, -1, step_o) % step_o  # the first solution with o >= 0 ...
        i = (step_i * o - right) // step_o  # ... and the input that it meets, which may lie outside
        skip = max(0, -(i // step_i))  # steps until i >= 0
        i, o = i + skip * step_i, o + skip * step_o
        count = min(-(-(self.input_size - i) // step_i), -(-(self.output_size - o) // step_o))
        if count <= 0:
            return slice(0, 0), slice(0, 0)
        return slice(i, i + (count - 1) * step_i + 1, step_i), slice(o, o + (count - 1) * step_o + 1, step_o)

    def window(self, t: int) -> slice:
        """Positions of the padded input that meet tap `t`, one per output; requires an input that is not dilated."""
        start = self.dilation * t
        return slice(start, start + self.stride * (self.output_size - 1) + 1, self.stride)

    def transposed(self) -> Axis:
        """The transposed (adjoint) axis: the same meetings with input and output exchanged, and the taps in reverse.

        With ``t' = kernel_size - 1 - t`` the incidence equation reads::

            stride * o + (dilation * (kernel_size - 1) - pad_lo)  =  input_dilation * i + dilation * t'

        Requires at least one input, tap and output.
        """
        return Axis.for_output_size(
            self.input_size,
            self.output_size,
            self.kernel_size,
            stride=self.input_dilation,
            dilation=self.dilation,
            input_dilation=self.stride,
            pad_lo=self.dilated_kernel - 1 - self.pad_lo,
        )

    def exchanged(self) -> Axis:
        """The axis with output and taps exchanged: its `conv` of the input, by g as the kernel, is this one's weight VJP.

        The incidence equation stays as it is. Requires at least one input, tap and output.
        """
        return Axis.for_output_size(
            self.kernel_size,
            self.input_size,
            self.output_size,
            stride=self.dilation,
            dilation=self.stride,
            input_dilation=self.input_dilation,
            pad_lo=self.pad_lo,
        )

    def block_of_taps(self, first: int, last: int) -> Axis:
        """The axis of the taps from `first` up to `last` alone; requires at least one input, tap and output."""
        return Axis.for_output_size(
            self.output_size,
            self.input_size,
            last - first,
            stride=self.stride,
            dilation=self.dilation,
            input_dilation=self.input_dilation,
            pad_lo=self.pad_lo - self.dilation * first,
        )

    def spread(self) -> Axis:
        """The same axis over an input in which the dilation is written out, as zeros."""
        return replace(self, input_size=self.dilated_input, input_dilation=1)

    def between(self, output_size: int, input_size: int, pad_lo: int) -> Axis:
        """The axis with the same kernel, stride and dilations, but other sizes and padding."""
        return Axis.for_output_size(
            output_size,
            input_size,
            self.kernel_size,
            stride=self.stride,
            dilation=self.dilation,
            input_dilation=self.input_dilation,
            pad_lo=pad_lo,
        )

    def interior(self) -> tuple[int, int]:
        """The outputs, from the first up to the last, whose windows have no padding."""
        first = max(0, -(-self.pad_lo // self.stride))
        last = (self.dilated_input + self.pad_lo - self.dilated_kernel) // self.stride + 1
        last = min(last, self.output_size)
        return (first, last) if self.input_size and first < last else (0, 0)

    def part(self, first: int, last: int) -> tuple[slice, Axis]:
        """The inputs that the outputs from `first` up to `last` meet (at least one), and the axis between those two ranges.

        With ``i = begin + i'`` and ``o = first + o'`` the incidence equation reads::

            input_dilation * i' + (pad_lo + input_dilation * begin - stride * first)  =  stride * o' + dilation * t

        Requires at least one input and output.
        """
        e, reach = self.input_dilation, self.stride * (last - 1) + self.dilated_kernel - 1
        begin = min(max(0, -((self.pad_lo - self.stride * first) // e)), self.input_size - 1)
        end = max(begin + 1, min(self.input_size, (reach - self.pad_lo) // e + 1))
        pad_lo = self.pad_lo + e * begin - self.stride * first
        return slice(begin, end), self.between(last - first, end - begin, pad_lo)

    def phases(self) -> Iterator[AxisPhase]:
        """The polyphase decomposition: one axis without input dilation per residue class of the outputs.

        With ``g = gcd(stride, input_dilation)``, outputs ``o = r + (input_dilation / g) * q`` meet the taps with::

            dilation * t  =  pad_lo - stride * r   (mod input_dilation)

        which, if there are any, are ``t = t0 + (input_dilation / h) * u`` with ``h = gcd(dilation, input_dilation)``. Divide
        the incidence equation by ``input_dilation``, and it reads::

            i + (pad_lo - stride * r - dilation * t0) / input_dilation  =  (stride / g) * q + (dilation / h) * u

        No two phases share an output or a tap. An output that is in no phase is zero.
        """
        e, shared, common = self.input_dilation, self._shared(), math.gcd(self.dilation, self.input_dilation)
        step, tap_step = e // shared, e // common
        for r, t0 in self._classes():
            taps, count = slice(t0, None, tap_step), -(-(self.kernel_size - t0) // tap_step)
            pad_lo = (self.pad_lo - self.stride * r - self.dilation * t0) // e
            stride, dilation = self.stride // shared, self.dilation // common
            outputs = -(-(self.output_size - r) // step)
            axis = Axis.for_output_size(
                outputs, self.input_size, count, stride=stride, dilation=dilation, pad_lo=pad_lo
            )
            yield AxisPhase(slice(r, None, step), taps, axis)

    def _classes(self) -> Iterator[tuple[int, int]]:
        """The first output and the first tap of each phase, enumerated over outputs or taps, whichever are fewer."""
        e, shared, common = self.input_dilation, self._shared(), math.gcd(self.dilation, self.input_dilation)
        step, tap_step = e // shared, e // common
        if (taps := self._first_taps()) and len(taps) <= self.output_size:
            inverse = pow(self.stride // shared, -1, step)
            for t0 in taps:
                if (r := (self.pad_lo - self.dilation * t0) // shared * inverse % step) < self.output_size:
                    yield r, t0
            return
        inverse = pow(self.dilation // common, -1, tap_step)
        for r in range(min(step, self.output_size)):
            right, rest = divmod(self.pad_lo - self.stride * r, common)
            if not rest and (t0 := right * inverse % tap_step) < self.kernel_size:
                yield r, t0

    def _shared(self) -> int:
        return math.gcd(self.stride, self.input_dilation)

    def _first_taps(self) -> range:
        """The first tap of each class of taps that meets an output, if there were no end of outputs."""
        shared = self._shared()
        among = math.gcd(self.dilation, shared)
        if self.pad_lo % among:
            return range(0)
        tap_step = shared // among
        first = self.pad_lo // among * pow(self.dilation // among, -1, tap_step) % tap_step
        classes = self.input_dilation // math.gcd(self.dilation, self.input_dilation)
        return range(first, min(classes, self.kernel_size), tap_step)

    def count_phases(self) -> int:
        """An upper bound of the number of `phases`, exact unless outputs are few; takes constant time."""
        return min(len(self._first_taps()), self.output_size, self.input_dilation // self._shared())

    def count_meetings(self) -> int:
        """Number of meetings: triples of an input, an output and a tap."""
        return self._count(0, self.input_size)

    def count_windows(self) -> int:
        """Number of meetings, with those of padding counted: every output meets every tap of its phase."""
        last = self.stride * (self.output_size - 1) + self.dilation * (self.kernel_size - 1)
        first, end = -(self.pad_lo // self.input_dilation), (last - self.pad_lo) // self.input_dilation + 1
        return self._count(first, end)

    def _count(self, first: int, end: int) -> int:
        """Number of meetings with the inputs from `first` up to `end`, as if the axis had them all."""
        coins = self.input_dilation, self.stride, self.dilation
        counts = end - first, self.output_size, self.kernel_size
        return lattice.solutions(coins, counts, self.pad_lo + self.input_dilation * (end - 1))
