"""Incidence tables as text."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Sequence

from triconv.tables import labels
from triconv.tables.axis_table import AxisTable, Column, rows_beside
from triconv.tables.shown_call import ShownCall

# rows up to which a table is written whole; the least width in which there is room for one
MOST_ROWS, NARROWEST = 16, 40
# characters of the word before a sum
HOW = 7
GAP = "..."
BAR = " |"
"""Between the padding and the inputs."""


def text(tables: ShownCall, width: int) -> str:
    """Return the tables in lines of at most `width` characters."""
    width = max(width, NARROWEST)
    t = tables.tensors
    parts = [_wrapped(labels.title(tables), width)]
    if role := labels.role_of_operator(t):
        parts[0] += "\n" + _wrapped(role, width)
    if not t.tables:
        parts.append(_wrapped(labels.NO_AXIS, width))
    parts += [
        "\n".join([_wrapped(heading, width), *_table(table, tables, width)]) for heading, table in labels.headings(t)
    ]
    sums = [_sum(f"{how:<{HOW}}{words}", width) for how, words in labels.readings(tables)]
    return "\n\n".join([*parts, "\n".join(sums)] if sums else parts)


def _table(table: AxisTable, tables: ShownCall, width: int) -> list[str]:
    """Return the lines of a table, and the sentences under it."""
    names = labels.names(tables.tensors)
    equals = " =" if names.row == "y" else ""
    left = len(f"{names.row}{max(0, table.outputs - 1)}{equals}") + 1
    columns = _columns(table, names.column, width - left)
    rows = rows_beside(table, columns, MOST_ROWS)
    heads = [GAP if o is None else f"{names.row}{o}{equals}" for o in rows]
    widths = [_width(table, column, names.column) for column in columns]
    titles = [GAP if column is None else labels.column_label(column, names.column) for column in columns]
    lines = [_line("", titles, left, widths, columns)]
    for o, head in zip(rows, heads, strict=True):
        cells = ["" if o is None else _tap(table.tap(o, column)) if column else GAP for column in columns]
        lines.append(_line(head, cells, left, widths, columns))
    shown = [column for column in columns if column is not None]
    notes = labels.notes(table, tables.tensors, [o for o in rows if o is not None], shown, "Outside the bars")
    return lines + [_wrapped(note, width) for note in notes]


def _columns(table: AxisTable, name: str, width: int) -> list[Column | None]:
    """Return the columns for which there is room: all, or as many as fit at both ends with None between."""
    room, count = width - 2 * len(BAR), table.columns
    # no label is shorter than two characters: so many columns do not fit, and need not be looked at
    if 4 * count <= room + 8:
        every = [table.column(m) for m in range(count)]
        if sum(_width(table, column, name) for column in every) <= room:
            return list(every)
    room -= len(GAP) + 1
    first: list[Column | None] = []
    last: list[Column | None] = []
    used = [0, 0]
    while True:
        side = used[1] < used[0]  # the one that has taken less
        column = table.column(count - 1 - len(last) if side else len(first))
        wide = _width(table, column, name)
        if sum(used) + wide > room:
            return [*first, None, *reversed(last)]
        used[side] += wide
        (last if side else first).append(column)


def _width(table: AxisTable, column: Column | None, name: str) -> int:
    """Return the characters of a column: those of its heading and of the taps, and a space."""
    if column is None:
        return len(GAP) + 1
    return max(len(labels.column_label(column, name)), len(f"w{max(0, table.taps - 1)}")) + 2


def _tap(t: int | None) -> str:
    return "." if t is None else f"w{t}"


def _line(head: str, cells: Sequence[str], left: int, widths: Sequence[int], columns: Sequence[Column | None]) -> str:
    """Return a line, with a bar between padding and inputs."""
    line, before = head.ljust(left), None
    for words, width, column in zip(cells, widths, columns, strict=True):
        if before is not None and column is not None and before.is_padding != column.is_padding:
            line += BAR
        line += words.rjust(width)
        before = column or before
    return line.rstrip()


def _sum(words: str, width: int) -> str:
    """Return a sum in lines of at most `width` characters; its terms stay whole."""
    head, rest = words[:HOW], words[HOW:]
    return _filled(head.replace(" ", labels.KEPT) + labels.together(rest), width, " " * (HOW + 2))


def _wrapped(words: str, width: int) -> str:
    """Return a sentence in lines of at most `width` characters; what is in parentheses stays whole."""
    together = re.sub(r"\([^()]*\)", lambda inside: inside[0].replace(" ", labels.KEPT), words)
    return _filled(together, width, "  ")


def _filled(words: str, width: int, indent: str) -> str:
    lines = textwrap.wrap(words, width, subsequent_indent=indent, break_on_hyphens=False)
    return "\n".join(line.replace(labels.KEPT, " ").rstrip() for line in lines)
