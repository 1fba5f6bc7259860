"""The incidence table of one axis: rows are outputs, columns are inputs with their padding, cells are taps.

Nothing here takes longer for a longer axis: rows, columns and the meetings of a position are computed where they are asked.
"""

from __future__ import annotations

import bisect
import functools
import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from triconv.geometry import Axis
from triconv.padding_modes import Segment, segments

# rows that are shown anyway
FEWEST = 4


class Meeting(NamedTuple):
    """An input, an output and a tap that meet."""

    i: int
    o: int
    t: int


class Column(NamedTuple):
    """A column of the table: a position of the padded input."""

    position: int
    """In the dilated and padded input, from 0."""
    input: int | None
    """The input that is there, or that the padding repeats there; None for a zero."""
    is_padding: bool


class Progression(NamedTuple):
    """Meetings in arithmetic progression; the inputs are those of the padded input where padding repeats inputs."""

    length: int
    first: Meeting
    step: Meeting

    def at(self, number: int) -> Meeting:
        """One of them."""
        return Meeting(*(start + number * step for start, step in zip(self.first, self.step, strict=True)))


@dataclass(frozen=True)
class AxisTable:
    """The incidence table of one axis of a call.

    Parameters
    ----------
    axis : Axis
        The axis that the contraction sees; with a padding mode, that of the padded input.
    mode : str
        The padding mode.
    pads : tuple of int
        What the mode pads; (0, 0) for zeros, which `axis` pads.
    """

    axis: Axis
    mode: str = "zeros"
    pads: tuple[int, int] = (0, 0)

    @property
    def inputs(self) -> int:
        """Number of inputs."""
        return self.axis.input_size - sum(self.pads)

    @property
    def outputs(self) -> int:
        """Number of outputs: rows."""
        return self.axis.output_size

    @property
    def taps(self) -> int:
        """Number of taps."""
        return self.axis.kernel_size

    @property
    def pad_lo(self) -> int:
        """Padding before the input, whatever the mode."""
        return self.axis.pad_lo + self.pads[0]

    @property
    def equation(self) -> str:
        """The incidence equation with its numbers."""
        a = self.axis
        left = f"{a.input_dilation} i" + (
            f" {'-' if self.pad_lo < 0 else '+'} {abs(self.pad_lo)}" if self.pad_lo else ""
        )
        return f"{left} = {a.stride} o + {a.dilation} t"

    @property
    def paddings(self) -> tuple[range, range]:
        """The positions of the padding before and after the input."""
        padded, (lo, hi) = self.axis.padded_size, self.pads
        if self.mode != "zeros":
            return range(lo), range(padded - hi, padded)
        end = self.axis.pad_lo + self.axis.dilated_input
        return range(min(max(self.axis.pad_lo, 0), padded)), range(min(max(end, 0), padded), padded)

    @property
    def columns(self) -> int:
        """Number of columns."""
        return self.inputs + sum(map(len, self.paddings))

    def column(self, number: int) -> Column:
        """The column of a number: first the padding before the input, then the inputs, then the padding after it."""
        before, after = self.paddings
        i = number - len(before)
        if 0 <= i < self.inputs:
            return Column(self.axis.input_dilation * i + self.pad_lo, i, is_padding=False)
        position = before[number] if i < 0 else after[i - self.inputs]
        return Column(position, self.source(position) if self.mode != "zeros" else None, is_padding=True)

    def has_column(self, position: int) -> bool:
        """Whether a position of the dilated and padded input is a column, and not one that the dilation leaves empty."""
        i, hole = divmod(position - self.axis.pad_lo, self.axis.input_dilation)
        return (not hole and 0 <= i < self.axis.input_size) or any(position in padding for padding in self.paddings)

    def tap(self, o: int, column: Column) -> int | None:
        """The tap at which an output meets a column, or None."""
        t, rest = divmod(column.position - self.axis.stride * o, self.axis.dilation)
        return t if not rest and 0 <= t < self.taps else None

    def source(self, i: int) -> int:
        """The input that is at a position of the input that the contraction sees."""
        if self.mode == "zeros":
            return i
        number = bisect.bisect_right(self._segments, i, key=lambda placed: placed[0]) - 1
        start, segment = self._segments[number]
        return segment.stop - 1 - (i - start) if segment.flip else segment.start + i - start

    def copies(self, i: int) -> list[int]:
        """The positions at which an input is, in the input that the contraction sees: itself and where padding repeats it."""
        if self.mode == "zeros":
            return [i]
        return [
            start + (segment.stop - 1 - i if segment.flip else i - segment.start)
            for start, segment in self._segments
            if segment.start <= i < segment.stop
        ]

    @functools.cached_property
    def _segments(self) -> list[tuple[int, Segment]]:
        """What the padding mode makes the padded input of, and where each part begins."""
        parts = segments(self.mode, self.inputs, *self.pads)
        starts = itertools.accumulate((part.stop - part.start for part in parts), initial=0)
        return list(zip(starts, parts, strict=False))

    def of_output(self, o: int) -> Meetings:
        """The meetings of an output, by tap."""
        a = self.axis
        # input_dilation * i - dilation * t = stride * o - pad_lo
        right = a.stride * o - a.pad_lo
        taps, inputs = _solutions((a.dilation, a.kernel_size), (-a.input_dilation, a.input_size), -right)
        return Meetings(self, _progression(i=inputs, o=range(o, o + 1), t=taps))

    def of_input(self, i: int) -> Meetings:
        """The meetings of an input, by output; where padding repeats it, those of all its copies."""
        if i not in self._of_inputs:
            a, found = self.axis, list[Progression]()
            for copy in self.copies(i):
                # stride * o + dilation * t = input_dilation * i + pad_lo
                right = a.input_dilation * copy + a.pad_lo
                outputs, taps = _solutions((a.stride, a.output_size), (a.dilation, a.kernel_size), right)
                found += _progression(i=range(copy, copy + 1), o=outputs, t=taps)
            self._of_inputs[i] = Meetings(self, found)
        return self._of_inputs[i]

    @functools.cached_property
    def _of_inputs(self) -> dict[int, Meetings]:
        """Those that were asked for: there are as many progressions as copies, and a picture asks once per row."""
        return {}

    def of_tap(self, t: int) -> Meetings:
        """The meetings of a tap, by output."""
        inputs, outputs = self.axis.meetings(t)
        ranges = (range(*s.indices(s.stop)) for s in (inputs, outputs))
        i, o = ranges
        return Meetings(self, _progression(i=i, o=o, t=range(t, t + 1)))


class Meetings(Sequence[Meeting]):
    """The meetings of one position of a table."""

    def __init__(self, table: AxisTable, progressions: Sequence[Progression]) -> None:
        self.table, self.progressions = table, progressions
        self.ends = list(itertools.accumulate(p.length for p in progressions))

    def __len__(self) -> int:
        return self.ends[-1] if self.ends else 0

    def __getitem__(self, number: int) -> Meeting:  # type: ignore[override]
        if not 0 <= number < len(self):
            msg = f"meeting {number} of {len(self)}"
            raise IndexError(msg)
        which = bisect.bisect_right(self.ends, number)
        p = self.progressions[which]
        meeting = p.at(number - (self.ends[which] - p.length))
        return meeting._replace(i=self.table.source(meeting.i))

    def __iter__(self) -> Iterator[Meeting]:
        return (self[number] for number in range(len(self)))


def ends(count: int, most: int) -> list[int | None]:
    """Return the numbers below `count`, and where they are more than `most`, the first and last ones with None between."""
    if count <= most:
        return list(range(count))
    first = most // 2
    last = max(0, most - 1 - first)
    return [*range(first), None, *range(count - last, count)]


def rows_beside(table: AxisTable, columns: Sequence[Column | None], most: int) -> list[int | None]:
    """Return at most so many rows to show beside these columns; where columns are left out, so are rows without a cell."""
    rows = ends(table.outputs, most)
    if None not in columns or len(rows) < FEWEST:
        return rows
    shown = [column for column in columns if column is not None]
    runs: list[list[int]] = [[]]  # of rows in the middle that have no cell in these columns
    for number, o in enumerate(rows[1:-1], 1):
        if o is None or all(table.tap(o, column) is None for column in shown):
            runs[-1].append(number)
        elif runs[-1]:
            runs.append([])
    longest = max(runs, key=len)
    return [*rows[: longest[0]], None, *rows[longest[-1] + 1 :]] if len(longest) > 1 else rows


def _progression(*, i: range, o: range, t: range) -> list[Progression]:
    """Equally long ranges, or single positions, as a progression; none if one is empty."""
    length = max(map(len, (i, o, t)))
    if not (i and o and t):
        return []
    steps = (r.step if len(r) > 1 else 0 for r in (i, o, t))
    return [Progression(length, Meeting(i[0], o[0], t[0]), Meeting(*steps))]


def _solutions(first: tuple[int, int], second: tuple[int, int], right: int) -> tuple[range, range]:
    """The solutions of ``a * u + b * v = right`` below m and n, by `u`; of ``(a, m)`` and ``(b, n)``."""
    (a, m), (b, n) = first, second
    common = math.gcd(a, b)
    if right % common:
        return range(0), range(0)
    a, b, right = a // common, b // common, right // common
    step = abs(b)  # of u, since a and b have no common divisor; v goes the other way by a, with the sign of b
    u = right * pow(a, -1, step) % step
    v = (right - a * u) // b
    step_v = -a if b > 0 else a
    # v in its range, as bounds of the number of steps
    bounds = (-(v // step_v), (n - 1 - v) // step_v) if step_v > 0 else (-((n - 1 - v) // -step_v), v // -step_v)
    begin, end = max(0, bounds[0]), min((m - 1 - u) // step, bounds[1]) + 1
    if end <= begin:
        return range(0), range(0)
    return (
        range(u + begin * step, u + (end - 1) * step + 1, step),
        range(v + begin * step_v, v + (end - 1) * step_v + (1 if step_v > 0 else -1), step_v),
    )
