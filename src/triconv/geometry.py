"""The incidence equation: which input, output and tap positions meet.

Along one spatial axis, input ``i``, output ``o`` and tap ``t`` meet exactly when::

    input_dilation * i + pad_lo  =  stride * o + dilation * t

Everything that depends on stride, padding, dilation or transposition is settled here, in integers, before any
array is touched: sizes, slices and every complaint about a size or a parameter.
"""

from __future__ import annotations

import contextlib
import itertools
import math
import operator
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from numbers import Number
from typing import Any, NamedTuple

from triconv import lattice

Pads = tuple[tuple[int, int], ...]

# what any library's index type holds
MOST = 2**31 - 1

# entries of a list, and characters, that a message shows
SHOWN, LONGEST = 8, 80

PADDING_NAMES = ("valid", "same", "same_lower", "full", "causal")


@dataclass(frozen=True, slots=True)
class Tap:
    """One kernel position and the input and output positions that meet there, in the same order."""

    index: tuple[int, ...]
    input: tuple[slice, ...]
    output: tuple[slice, ...]


class AxisPhase(NamedTuple):
    """The outputs and taps of one residue class of an axis, and the axis of windows that they make."""

    output: slice
    taps: slice
    axis: Axis


class Phase(NamedTuple):
    """The same of all axes: ``y[output] = conv(x, w[taps])`` in this geometry, which has no input dilation."""

    output: tuple[slice, ...]
    taps: tuple[slice, ...]
    geometry: Geometry


@dataclass(frozen=True, slots=True)
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

    @property
    def dilated_input(self) -> int:
        """Extent of the input with its dilation."""
        return dilated(self.input_size, self.input_dilation)

    @property
    def dilated_kernel(self) -> int:
        """Extent of the kernel with its dilation."""
        return dilated(self.kernel_size, self.dilation)

    @property
    def padded_size(self) -> int:
        """Extent of the dilated input with its padding."""
        return self.dilated_input + self.pad_lo + self.pad_hi

    @property
    def output_size(self) -> int:
        """Number of windows that fit, zero if none does."""
        return max(0, (self.padded_size - self.dilated_kernel) // self.stride + 1)

    @classmethod
    def of_outputs(
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
        """The axis with so many outputs, at least one: its padding after the input is what makes them."""
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
        i = (step_i * o - right) // step_o  # ... and its partner, which may be outside
        skip = max(0, -(i // step_i))  # steps until i >= 0
        i, o = i + skip * step_i, o + skip * step_o
        count = min(-(-(self.input_size - i) // step_i), -(-(self.output_size - o) // step_o))
        if count <= 0:
            return slice(0, 0), slice(0, 0)
        return slice(i, i + (count - 1) * step_i + 1, step_i), slice(o, o + (count - 1) * step_o + 1, step_o)

    def window(self, t: int) -> slice:
        """Positions of the padded input that meet tap `t` at each output, where the input is not dilated."""
        start = self.dilation * t
        return slice(start, start + self.stride * (self.output_size - 1) + 1, self.stride)

    def mirrored(self) -> Axis:
        """The same meetings with the input and the output exchanged, and the taps in reverse.

        With ``t' = kernel_size - 1 - t`` the incidence equation reads::

            stride * o + (dilation * (kernel_size - 1) - pad_lo)  =  input_dilation * i + dilation * t'

        Defined where there is an input, a kernel and an output.
        """
        return Axis.of_outputs(
            self.input_size,
            self.output_size,
            self.kernel_size,
            stride=self.input_dilation,
            dilation=self.dilation,
            input_dilation=self.stride,
            pad_lo=self.dilated_kernel - 1 - self.pad_lo,
        )

    def block_of_taps(self, first: int, last: int) -> Axis:
        """The axis of the taps from `first` up to `last`, at the same inputs and outputs; there is one of each."""
        return Axis.of_outputs(
            self.output_size,
            self.input_size,
            last - first,
            stride=self.stride,
            dilation=self.dilation,
            input_dilation=self.input_dilation,
            pad_lo=self.pad_lo - self.dilation * first,
        )

    def spread(self) -> Axis:
        """The axis of the input with the zeros of its dilation written."""
        return replace(self, input_size=self.dilated_input, input_dilation=1)

    def between(self, output_size: int, input_size: int, pad_lo: int) -> Axis:
        """The axis of the same kernel and steps between so many outputs and inputs."""
        return Axis.of_outputs(
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
        """The inputs that the outputs from `first` up to `last` meet (at least one), and the axis of the two.

        With ``i = begin + i'`` and ``o = first + o'`` the incidence equation reads::

            input_dilation * i' + (pad_lo + input_dilation * begin - stride * first)  =  stride * o' + dilation * t

        Defined where there is an input and an output.
        """
        e, reach = self.input_dilation, self.stride * (last - 1) + self.dilated_kernel - 1
        begin = min(max(0, -((self.pad_lo - self.stride * first) // e)), self.input_size - 1)
        end = max(begin + 1, min(self.input_size, (reach - self.pad_lo) // e + 1))
        pad_lo = self.pad_lo + e * begin - self.stride * first
        return slice(begin, end), self.between(last - first, end - begin, pad_lo)

    def phases(self) -> Iterator[AxisPhase]:
        """The axis as one axis of windows (no input dilation) for each residue class of its outputs.

        With ``g = gcd(stride, input_dilation)``, outputs ``o = r + (input_dilation / g) * q`` meet the taps with::

            dilation * t  =  pad_lo - stride * r   (mod input_dilation)

        which, if any, are ``t = t0 + (input_dilation / h) * u`` with ``h = gcd(dilation, input_dilation)``. Divide the
        incidence equation by ``input_dilation``; what is left is::

            i + (pad_lo - stride * r - dilation * t0) / input_dilation  =  (stride / g) * q + (dilation / h) * u

        The classes share no tap. Outputs in none of them are zero.
        """
        e, shared, common = self.input_dilation, self._shared(), math.gcd(self.dilation, self.input_dilation)
        step, tap_step = e // shared, e // common
        for r, t0 in self._classes():
            taps, count = slice(t0, None, tap_step), -(-(self.kernel_size - t0) // tap_step)
            pad_lo = (self.pad_lo - self.stride * r - self.dilation * t0) // e
            stride, dilation = self.stride // shared, self.dilation // common
            outputs = -(-(self.output_size - r) // step)
            axis = Axis.of_outputs(outputs, self.input_size, count, stride=stride, dilation=dilation, pad_lo=pad_lo)
            yield AxisPhase(slice(r, None, step), taps, axis)

    def _classes(self) -> Iterator[tuple[int, int]]:
        """The first output and the first tap of each phase, found from whichever of the two are fewer."""
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
        """The first tap of each class of taps that meets any output of an endless axis."""
        shared = self._shared()
        among = math.gcd(self.dilation, shared)
        if self.pad_lo % among:
            return range(0)
        tap_step = shared // among
        first = self.pad_lo // among * pow(self.dilation // among, -1, tap_step) % tap_step
        classes = self.input_dilation // math.gcd(self.dilation, self.input_dilation)
        return range(first, min(classes, self.kernel_size), tap_step)

    def count_phases(self) -> int:
        """The number of `phases`, or a little more where outputs are few; takes no time, however many there are."""
        return min(len(self._first_taps()), self.output_size, self.input_dilation // self._shared())

    def count_meetings(self) -> int:
        """Number of (input, output, tap) that meet."""
        return self._count(0, self.input_size)

    def count_windows(self) -> int:
        """The same with those of the padding: every output with every tap of its phase."""
        last = self.stride * (self.output_size - 1) + self.dilation * (self.kernel_size - 1)
        first, end = -(self.pad_lo // self.input_dilation), (last - self.pad_lo) // self.input_dilation + 1
        return self._count(first, end)

    def _count(self, first: int, end: int) -> int:
        """Meetings with the inputs from `first` up to `end`, be they there or not."""
        coins = self.input_dilation, self.stride, self.dilation
        counts = end - first, self.output_size, self.kernel_size
        return lattice.solutions(coins, counts, self.pad_lo + self.input_dilation * (end - 1))


@dataclass(frozen=True, slots=True)
class Geometry:
    """The spatial axes of a convolution and its number of groups: all that its three contractions share.

    Parameters
    ----------
    axes : tuple of Axis
        One a spatial axis; may be empty.
    groups : int
        Number of independent convolutions side by side in the channels; none in an empty batch of convolutions.
    """

    axes: tuple[Axis, ...]
    groups: int = 1

    def __post_init__(self) -> None:
        as_int(self.groups, "groups", least=0)

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
        """Build a geometry from sizes and the parameters as users spell them.

        Parameters
        ----------
        input_size, kernel_size : sequence of int
            Spatial sizes of the input and of the kernel.
        stride, dilation, input_dilation : int or sequence of int
            One for all axes, or one an axis.
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

    @property
    def input_size(self) -> tuple[int, ...]:
        """Spatial sizes of x."""
        return tuple(axis.input_size for axis in self.axes)

    @property
    def kernel_size(self) -> tuple[int, ...]:
        """Spatial sizes of w."""
        return tuple(axis.kernel_size for axis in self.axes)

    @property
    def output_size(self) -> tuple[int, ...]:
        """Spatial sizes of y and g."""
        return tuple(axis.output_size for axis in self.axes)

    def taps(self) -> Iterator[Tap]:
        """Every tap at which something meets, with the slices of the input and of the output that meet there."""
        per_axis = [
            [(t, *pair) for t in range(axis.kernel_size) if (pair := axis.meetings(t))[0].stop] for axis in self.axes
        ]
        for combination in itertools.product(*per_axis):
            yield Tap(
                tuple(t for t, _, _ in combination),
                tuple(i for _, i, _ in combination),
                tuple(o for _, _, o in combination),
            )

    def mirrored(self) -> Geometry:
        """The geometry whose `conv` is this one's input VJP, and the other way round, with the taps in reverse order."""
        return Geometry(tuple(axis.mirrored() for axis in self.axes), self.groups)

    def phases(self) -> Iterator[Phase]:
        """The convolution as convolutions without input dilation, whose outputs and taps have nothing in common."""
        for combination in itertools.product(*(axis.phases() for axis in self.axes)):
            yield Phase(
                tuple(phase.output for phase in combination),
                tuple(phase.taps for phase in combination),
                Geometry(tuple(phase.axis for phase in combination), self.groups),
            )

    def count_meetings(self) -> int:
        """Number of meetings: the multiply-adds of each contraction for one sample, one group and one channel pair."""
        return math.prod(axis.count_meetings() for axis in self.axes)

    def count_phases(self) -> int:
        """The number of `phases`, or a little more where outputs are few; takes no time, however many there are."""
        return math.prod(axis.count_phases() for axis in self.axes)

    def require_fit(self, kernel: str) -> None:
        """Raise if the kernel, of this name, is empty or does not fit into the padded input, as torch does."""
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


def dilated(size: int, dilation: int) -> int:
    """Extent of `size` positions that stand `dilation` apart."""
    return dilation * (size - 1) + 1 if size else 0


def shown(value: Any) -> str:
    """A value as a message shows it: short, and of an array its type and shape alone."""
    shape = getattr(value, "shape", None)
    if isinstance(value, Number) or (shape == () and type(value).__module__ == "numpy"):
        return repr(value)
    if isinstance(shape, tuple):
        return f"{type(value).__name__} of shape {tuple(shape)}"
    if type(value) in (list, tuple):
        entries = [shown(entry) for entry in value[:SHOWN]] + ["..."] * (len(value) > SHOWN)
        comma = "," if len(value) == 1 and isinstance(value, tuple) else ""
        text = ", ".join(entries) + comma
        return f"[{text}]" if isinstance(value, list) else f"({text})"
    text = repr(value)
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}..."


def as_int(value: Any, name: str, least: int | None = None) -> int:
    """`value` as an int, or the error that says what `name` must be."""
    number = None
    if not isinstance(value, bool) and not str(getattr(value, "dtype", "")).endswith("bool"):
        with contextlib.suppress(TypeError):  # what is no integer, or no scalar
            number = operator.index(value)
    if number is None:
        msg = f"`{name}` must be an int, got {shown(value)}"
        raise TypeError(msg)
    if least is not None and number < least:
        msg = f"`{name}` must be at least {least}, got {number}"
        raise ValueError(msg)
    if abs(number) > MOST:
        msg = f"`{name}` must be at most {MOST} in size, got {number}"
        raise ValueError(msg)
    return number


def as_sequence(value: Any) -> Sequence[Any] | None:
    """The entries of a sequence, or of the first axis of an array of any library; None of anything else."""
    if isinstance(value, (str, bytes, bytearray, memoryview)):
        return None
    if isinstance(value, Sequence):
        return value
    shape = getattr(value, "shape", None)
    if not isinstance(shape, tuple) or not 1 <= len(shape) <= 2 or max(shape) > SHOWN**2:
        return None
    return [value[number, ...] for number in range(shape[0])]


def one_per_axis(value: Any, ndim: int, name: str, least: int | None = None, *, repeat: bool = True) -> tuple[int, ...]:
    """`value` as one int per axis: an int (or, if `repeat`, a sequence of one) serves all axes."""
    entries = as_sequence(value)
    if entries is not None:
        numbers = tuple(as_int(v, name, least) for v in entries)
        if len(numbers) == 1 and repeat:
            return numbers * ndim
        if len(numbers) != ndim:
            msg = f"`{name}` must be one int or one int a spatial axis, got {len(numbers)} for {ndim} axes"
            raise ValueError(msg)
        return numbers
    if not hasattr(value, "__index__"):
        msg = f"`{name}` must be an int or a sequence of ints, got {shown(value)}"
        raise TypeError(msg)
    return (as_int(value, name, least),) * ndim


def resolve_padding(
    padding: Any,
    input_size: Sequence[int],
    kernel_size: Sequence[int],
    stride: Sequence[int],
    dilation: Sequence[int],
    input_dilation: Sequence[int],
) -> Pads:
    """Every spelling of `padding` as one ``(lo, hi)`` pair an axis.

    ``"valid"`` pads nothing; ``"full"`` pads ``dilation * (kernel - 1)`` on both sides and ``"causal"`` only before;
    ``"same"`` makes the output ``ceil(input / stride)`` long and puts an odd one after (``"same_lower"``: before) [1]_.

    References
    ----------
    .. [1] The rule of TensorFlow and of `jax.lax.padtype_to_pads`.
    """
    ndim = len(input_size)
    if isinstance(padding, str):
        name = padding.lower()
        if name not in PADDING_NAMES:
            msg = f"`padding` must be one of {', '.join(map(repr, PADDING_NAMES))} if it is a string, got {shown(padding)}"
            raise ValueError(msg)
        sizes = zip(
            (dilated(i, d) for i, d in zip(input_size, input_dilation, strict=True)),
            (dilated(k, d) for k, d in zip(kernel_size, dilation, strict=True)),
            stride,
            strict=True,
        )
        return tuple(_named_padding(name, *axis) for axis in sizes)
    entries = as_sequence(padding)
    if entries is not None and any(as_sequence(p) is not None or isinstance(p, (str, bytes)) for p in entries):
        if len(entries) != ndim:
            msg = f"`padding` must be one pair a spatial axis, got {len(entries)} for {ndim} axes"
            raise ValueError(msg)
        return tuple(_pair(p) for p in entries)
    if entries is not None and len(entries) == 2 and ndim == 1:
        text = shown(padding if isinstance(padding, Sequence) else tuple(as_int(p, "padding") for p in entries))
        msg = f"`padding` must be one int or one (lo, hi) pair a spatial axis, got {text}; meant [{text}]?"
        raise ValueError(msg)
    return tuple((p, p) for p in one_per_axis(padding, ndim, "padding"))


def _named_padding(name: str, input_extent: int, kernel_extent: int, stride: int) -> tuple[int, int]:
    reach = max(0, kernel_extent - 1)
    if name == "valid":
        return 0, 0
    if name == "full":
        return reach, reach
    if name == "causal":
        return reach, 0
    windows = -(-input_extent // stride)
    total = max(0, (windows - 1) * stride + kernel_extent - input_extent)
    half, rest = total // 2, total - total // 2
    return (half, rest) if name == "same" else (rest, half)


def _pair(pair: Any) -> tuple[int, int]:
    entries = as_sequence(pair)
    if entries is None or len(entries) != 2:
        msg = f"`padding` must be one (lo, hi) pair a spatial axis, got {shown(pair)} among the pairs"
        raise ValueError(msg)
    return as_int(entries[0], "padding"), as_int(entries[1], "padding")
