"""The spatial axes of a convolution together: sizes, taps and the polyphase decomposition."""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from triconv.geometry.incidence import Axis, Tap
from triconv.geometry.integers import as_int, one_per_axis
from triconv.geometry.padding import resolve_padding


class Phase(NamedTuple):
    """One phase of all axes: ``y[output] = conv(x, w[taps])`` in this geometry, which has no input dilation."""

    output: tuple[slice, ...]
    taps: tuple[slice, ...]
    geometry: Geometry


# taps and phases up to which a geometry keeps them: counting so many takes as long as a small convolution
KEPT = 256


@dataclass(frozen=True)
class Geometry:
    """The spatial axes of a convolution and its number of groups: all that the three contractions share.

    Parameters
    ----------
    axes : tuple of Axis
        The spatial axes; there may be none.
    groups : int
        Number of independent convolutions side by side in the channels; 0 if a batch of convolutions is empty.
    """

    axes: tuple[Axis, ...]
    groups: int = 1

    def __post_init__(self) -> None:
        as_int(self.groups, "groups", least=0)

    def __hash__(self) -> int:
        return self._hash

    def __getstate__(self) -> dict[str, Any]:
        return {"axes": self.axes, "groups": self.groups}

    @functools.cached_property
    def _hash(self) -> int:
        return hash((self.axes, self.groups))

    @classmethod
    def of(
        cls,
        input_size: Sequence[int],
        kernel_size: Sequence[int],
        *,
        stride: Any = 1,
        padding: Any = 0,
        dilation: Any = 1,
        input_dilation: Any = 1,
        groups: Any = 1,
    ) -> Geometry:
        """Build a geometry from sizes and the parameters that users pass.

        Parameters
        ----------
        input_size, kernel_size : sequence of int
            Spatial sizes of the input and of the kernel.
        stride, dilation, input_dilation : int or sequence of int
            One for all axes, or one per axis.
        padding : int, sequence of int, sequence of (lo, hi), or str
            See `resolve_padding`.
        groups : int
            Number of groups.

        Returns
        -------
        Geometry

        Raises
        ------
        ValueError, TypeError
            If a parameter has a wrong type, length or value.
        """
        ndim = len(input_size)
        if len(kernel_size) != ndim:
            msg = f"`kernel_size` must have as many entries as `input_size`, got {len(kernel_size)} != {ndim}"
            raise ValueError(msg)
        strides = one_per_axis(stride, ndim, "stride", least=1)
        dilations = one_per_axis(dilation, ndim, "dilation", least=1)
        input_dilations = one_per_axis(input_dilation, ndim, "input_dilation", least=1)
        pads = resolve_padding(padding, input_size, kernel_size, strides, dilations, input_dilations)
        return cls(
            tuple(
                Axis(i, k, s, d, e, lo, hi)
                for i, k, s, d, e, (lo, hi) in zip(
                    input_size, kernel_size, strides, dilations, input_dilations, pads, strict=True
                )
            ),
            as_int(groups, "groups", least=1),
        )

    @functools.cached_property
    def input_size(self) -> tuple[int, ...]:
        """Spatial sizes of x."""
        return tuple(axis.input_size for axis in self.axes)

    @functools.cached_property
    def kernel_size(self) -> tuple[int, ...]:
        """Spatial sizes of w."""
        return tuple(axis.kernel_size for axis in self.axes)

    @functools.cached_property
    def output_size(self) -> tuple[int, ...]:
        """Spatial sizes of y and g."""
        return tuple(axis.output_size for axis in self.axes)

    def taps(self) -> Iterator[Tap]:
        """Every tap that has meetings, with the slices of the input and of the output that meet there."""
        return iter(self._kept_taps) if math.prod(self.kernel_size) <= KEPT else self._taps()

    @functools.cached_property
    def _kept_taps(self) -> tuple[Tap, ...]:
        return tuple(self._taps())

    def _taps(self) -> Iterator[Tap]:
        per_axis = [
            [(t, *pair) for t in range(axis.kernel_size) if (pair := axis.meetings(t))[0].stop] for axis in self.axes
        ]
        for combination in itertools.product(*per_axis):
            yield Tap(
                tuple(t for t, _, _ in combination),
                tuple(i for _, i, _ in combination),
                tuple(o for _, _, o in combination),
            )

    def transposed(self) -> Geometry:
        """The transposed (adjoint) geometry: its `conv` is this one's input VJP and vice versa, with the taps reversed."""
        return self._transposed

    @functools.cached_property
    def _transposed(self) -> Geometry:
        return Geometry(tuple(axis.transposed() for axis in self.axes), self.groups)

    def phases(self) -> Iterator[Phase]:
        """The polyphase decomposition: convolutions without input dilation that share no output and no tap."""
        return iter(self._kept_phases) if self.count_phases() <= KEPT else self._phases()

    @functools.cached_property
    def _kept_phases(self) -> tuple[Phase, ...]:
        return tuple(self._phases())

    def _phases(self) -> Iterator[Phase]:
        for combination in itertools.product(*(axis.phases() for axis in self.axes)):
            yield Phase(
                tuple(phase.output for phase in combination),
                tuple(phase.taps for phase in combination),
                Geometry(tuple(phase.axis for phase in combination), self.groups),
            )

    def count_meetings(self) -> int:
        """Number of meetings: the multiply-adds of each contraction for one sample, one group and one channel pair."""
        return self._meetings

    @functools.cached_property
    def _meetings(self) -> int:
        return math.prod(axis.count_meetings() for axis in self.axes)

    def count_phases(self) -> int:
        """An upper bound of the number of `phases`, exact unless outputs are few; takes constant time."""
        return self._phase_count

    @functools.cached_property
    def _phase_count(self) -> int:
        return math.prod(axis.count_phases() for axis in self.axes)

    def require_fit(self, kernel: str) -> None:
        """Raise, as torch does, if the kernel is empty or does not fit into the padded input; `kernel` is its name."""
        for number, axis in enumerate(self.axes):
            if not axis.kernel_size:
                msg = f"`{kernel}` must have at least one tap in every spatial axis, got 0 in spatial axis {number}"
                raise ValueError(msg)
            if axis.padded_size < axis.dilated_kernel:
                msg = (
                    f"`{kernel}`, with its dilation, must fit into the padded input, got {axis.dilated_kernel} > "
                    f"{axis.padded_size} in spatial axis {number}"
                )
                raise ValueError(msg)
