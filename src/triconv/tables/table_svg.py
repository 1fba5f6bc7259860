"""Incidence tables as pictures, in which pointing at an input, an output or a tap marks what it meets. No script is needed.

An element of a picture has a class for each output, input and tap that it meets or is: ``o0-2 i0-3 t0-1`` are of axis 0, and
number what is shown. If it can be pointed at, it has the class of what it is too, with an s: ``so0-2``. So while ``so0-2`` is
pointed at, everything without ``o0-2`` stays as it is, and all the rest is marked. With two axes, what is left has the classes
of both.
"""

from __future__ import annotations

import html
import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from triconv.tables import labels
from triconv.tables.axis_table import AxisTable, Column, ends, rows_beside
from triconv.tables.shown_call import ShownCall
from triconv.tables.sums import Tensors

# rows, columns and taps of a table, and positions of a grid along one axis, up to which all are shown
ROWS, COLUMNS, TAPS, GRID = 16, 22, 22, 10
# pixels: the height of a cell, its least width, of a character, and the side of a cell of a grid
HEIGHT, WIDTH, CHARACTER, SIDE = 27, 36, 8.5, 28

ZERO = "a zero of the padding"
POINTED = ":is(:hover,:focus-visible)"
KINDS = {"y": "o", "x": "i", "w": "t"}
"""The letter in the classes of outputs (rows), inputs (columns) and taps."""


@dataclass(frozen=True)
class Classes:
    """What is shown of an axis, and the classes of each output, input and tap of it.

    Parameters
    ----------
    rows, taps : list of int
        What is shown of the outputs and the taps; None is the gap between the first and the last ones.
    columns : list of Column
        What is shown of the columns.
    of : dict of list of str
        Per kind ("y", "x", "w"), the classes of each of those; "" for the gap.
    cells : dict of str
        The classes of each cell that has a tap, by its row and column.
    """

    rows: list[int | None]
    columns: list[Column | None]
    taps: list[int | None]
    of: dict[str, list[str]]
    cells: dict[tuple[int, int], str]

    @classmethod
    def of_table(cls, table: AxisTable) -> Classes:
        """Find those of a table that is shown alone."""
        columns = _columns(table, COLUMNS)
        return cls.find(table, 0, rows_beside(table, columns, ROWS), columns, ends(table.taps, TAPS))

    @classmethod
    def find(
        cls,
        table: AxisTable,
        axis: int,
        rows: list[int | None],
        columns: list[Column | None],
        taps: list[int | None],
    ) -> Classes:
        """Find them for what is shown of a table."""
        # with each column that padding repeats, the column of the input itself, and the reverse
        same = [{m for m, b in enumerate(columns) if a and b and _is_same(a, b)} for a in columns]
        # what a meeting of a column is one of: of the column, and of the input that padding repeats there
        held = [{m, *(same[m] if column and column.is_padding else ())} for m, column in enumerate(columns)]
        of = {
            kind: [set[str]() if thing is None else {f"{KINDS[kind]}{axis}-{m}"} for m, thing in enumerate(shown)]
            for kind, shown in (("y", rows), ("x", columns), ("w", taps))
        }
        cells = {}

        def meet(one: tuple[str, int], other: tuple[str, int]) -> None:
            of[one[0]][one[1]].add(f"{KINDS[other[0]]}{axis}-{other[1]}")
            of[other[0]][other[1]].add(f"{KINDS[one[0]]}{axis}-{one[1]}")

        for (r, o), (c, column) in _pairs(rows, columns):
            t = table.tap(o, column)
            if t is not None:
                names = [f"o{axis}-{r}", f"i{axis}-{c}", *([f"t{axis}-{taps.index(t)}"] if t in taps else [])]
                own = [f"s{name}" for name in names]
                cells[r, c] = " ".join((*own, *names, *(f"i{axis}-{m}" for m in sorted(same[c] - {c}))))
                for m in held[c]:
                    meet(("y", r), ("x", m))
        for (r, o), (m, t) in _pairs(rows, taps):
            if table.has_column(table.axis.stride * o + table.axis.dilation * t):
                meet(("y", r), ("w", m))
        for (c, column), (m, t) in _pairs(columns, taps):
            o, rest = divmod(column.position - table.axis.dilation * t, table.axis.stride)
            if not rest and 0 <= o < table.outputs:
                for each in held[c]:
                    meet(("x", each), ("w", m))
        for c, others in enumerate(same):
            for m in others:
                of["x"][c].add(f"i{axis}-{m}")
        joined = {
            kind: [
                " ".join((f"s{KINDS[kind]}{axis}-{m}", *sorted(names))) if names else ""
                for m, names in enumerate(things)
            ]
            for kind, things in of.items()
        }
        return cls(rows, columns, taps, joined, cells)


def _columns(table: AxisTable, most: int) -> list[Column | None]:
    return [None if m is None else table.column(m) for m in ends(table.columns, most)]


def _is_same(one: Column, other: Column) -> bool:
    """Whether two columns hold one input, which one of them repeats."""
    return one.input is not None and one.input == other.input and one.is_padding != other.is_padding


def _pairs(first: Sequence[Any], second: Sequence[Any]) -> Iterator[tuple[tuple[int, Any], tuple[int, Any]]]:
    """All pairs of what is shown, with their numbers."""
    one, other = ([(m, thing) for m, thing in enumerate(shown) if thing is not None] for shown in (first, second))
    return itertools.product(one, other)


class Picture(NamedTuple):
    """A picture, and the classes of its axes."""

    html: str
    axes: list[Classes]


def rules(pictures: Iterable[Picture]) -> str:
    """Return the style rules of pictures that keep apart what is met and what is not."""
    found: dict[str, None] = {}
    for axis, classes in ((axis, classes) for picture in pictures for axis, classes in enumerate(picture.axes)):
        for kind, letter in KINDS.items():
            for number in range(len(classes.of[kind])):
                name = f"{letter}{axis}-{number}"
                scope = f".tcs:has(.s{name}{POINTED})"
                found[f"{scope} .e:not(.{name}){{--on:initial;--text:initial}}"] = None
                found[f"{scope} .s.{kind}:not(.s{name}){{display:none}}"] = None
    return "\n".join(found)


def axis_picture(tables: ShownCall, table: AxisTable) -> Picture:
    """Return the table of an axis as a picture with the sums under it."""
    classes = Classes.of_table(table)
    names = labels.names(tables.tensors)
    heads = ["..." if c is None else labels.column_label(c, names.column) for c in classes.columns]
    sides = ["..." if o is None else f"{names.row}{o}" for o in classes.rows]
    taps = ["..." if t is None else f"w{t}" for t in classes.taps]
    width, left = (
        max(WIDTH, round(CHARACTER * max(map(len, texts), default=0)) + 10) for texts in (heads + taps, sides)
    )
    parts = []
    for m, (head, column) in enumerate(zip(heads, classes.columns, strict=True)):
        kind = "x" if column is None or not column.is_padding else "x pad" if column.input is not None else "x pad zero"
        parts.append(_cell(left + m * width, 0, width, HEIGHT, head, kind, classes.of["x"][m], f"column {head}"))
    for r, side in enumerate(sides):
        top = (r + 1) * HEIGHT
        parts.append(_cell(0, top, left, HEIGHT, side, "y", classes.of["y"][r], f"row {side}"))
        for m, column in enumerate(classes.columns):
            o, own = classes.rows[r], classes.cells.get((r, m))
            if o is None or column is None or own is None:
                words = "..." if (o is None) != (column is None) else "." if o is not None else ""
                parts.append(f'<text class="none" x="{left + (m + 0.5) * width:g}" y="{top + 18}">{words}</text>')
                continue
            kind = "c pad zero" if column.input is None else "c pad" if column.is_padding else "c"
            where = f"{side} meets {heads[m]} at w{table.tap(o, column)}"
            x = left + m * width
            parts.append(_cell(x, top, width, HEIGHT, f"w{table.tap(o, column)}", kind, own, where, can_focus=False))
    top = (len(sides) + 1) * HEIGHT + 10
    for m, tap in enumerate(taps):
        parts.append(_cell(left + m * width, top, width, HEIGHT, tap, "w", classes.of["w"][m], f"tap {tap}"))
    parts.append(f'<text class="side" x="{left - 6}" y="{top + 18}">taps</text>')
    size = left + width * max(len(heads), len(taps)) + 2, top + HEIGHT + 2
    label = f"Incidence table {table.equation}: rows {names.row}, columns {names.column}, cells w"
    return Picture(_scope(_svg(size, parts, label), _axis_sums(tables, table, classes)), [classes])


def grid_picture(tables: ShownCall) -> Picture:
    """Return two axes as three grids: of the inputs, the taps and the outputs."""
    t = tables.tensors
    names = labels.names(t)
    axes = [
        Classes.find(table, axis, ends(table.outputs, GRID), _columns(table, GRID + 2), ends(table.taps, GRID))
        for axis, table in enumerate(t.tables)
    ]
    grids, sums = [], []
    for kind, name, role in (("x", names.column, "x"), ("w", "w", "w"), ("y", names.row, "g")):
        rows, columns = ([_position(kind, m, classes) for m in range(len(classes.of[kind]))] for classes in axes)
        parts = [f'<text class="name" x="0" y="15">{name}</text>']
        array = next(result for result, of in t.results.items() if of == role)
        for r, c in ((r, c) for r in range(len(rows)) for c in range(len(columns))):
            first, second = axes[0].of[kind][r], axes[1].of[kind][c]
            x, y = (c + 1) * SIDE, (r + 1) * SIDE
            if not first or not second:
                parts.append(f'<text class="none" x="{x + SIDE / 2:g}" y="{y + 18}">.</text>')
                continue
            is_padding = kind == "x" and any(_is_padding(classes, m) for classes, m in zip(axes, (r, c), strict=True))
            at = rows[r], columns[c]
            is_zero = None in at
            style = kind + (" pad" if is_padding else "") + (" zero" if is_padding and is_zero else "")
            where = f"{name}[{at[0]}, {at[1]}]" if not is_zero else "padding"
            parts.append(_cell(x, y, SIDE, SIDE, "", style, f"{first} {second}", where))
            words = ZERO if is_zero else _written(t, array, [p for p in at if p is not None])
            sums.append(_sum(kind, f"s{_own(first)} s{_own(second)}", words))
        for m, position in enumerate(rows):
            words = _edge(axes[0].of[kind][m], position)
            parts.append(f'<text class="edge" x="{SIDE / 2:g}" y="{(m + 1) * SIDE + 18}">{words}</text>')
        for m, position in enumerate(columns):
            words = _edge(axes[1].of[kind][m], position)
            parts.append(f'<text class="edge" x="{(m + 1.5) * SIDE:g}" y="{SIDE - 9}">{words}</text>')
        size = (len(columns) + 1) * SIDE + 2, (len(rows) + 1) * SIDE + 2
        grids.append(_svg(size, parts, f"Positions of {name}, {' x '.join(map(str, t.spatial_size(role)))}"))
    return Picture(_scope("".join(grids), sums, "wide grids"), axes)


def _position(kind: str, m: int, classes: Classes) -> int | None:
    """The input, output or tap that is shown at a place; None for a zero of the padding and for the gap."""
    if kind == "x":
        column = classes.columns[m]
        return None if column is None else column.input
    return classes.rows[m] if kind == "y" else classes.taps[m]


def _is_padding(classes: Classes, m: int) -> bool:
    column = classes.columns[m]
    return column is not None and column.is_padding


def _edge(classes: str, position: int | None) -> str:
    """What stands at the edge of a grid: a position, 0 for none, dots for the gap."""
    if not classes:
        return "..."
    return "pad" if position is None else str(position)


def _own(classes: str) -> str:
    """The class of what an element is, without the s in front."""
    return classes.split(" ", 1)[0].removeprefix("s")


def _axis_sums(tables: ShownCall, table: AxisTable, classes: Classes) -> list[str]:
    """Return what is written when an output, an input or a tap is pointed at."""
    t, names = tables.tensors, labels.names(tables.tensors)
    found = []
    for kind, array in (("y", names.of_row), ("x", names.of_column), ("w", "gw")):
        for m, own in enumerate(classes.of[kind]):
            position = _position(kind, m, classes)
            if not own:
                continue
            words = ZERO if position is None else _meaning(tables, table, kind, array, position, len(t.tables))
            found.append(_sum(kind, f"s{_own(own)}", words))
    return found


def _meaning(tables: ShownCall, table: AxisTable, kind: str, array: str, position: int, axes: int) -> str:
    """Return the sum behind a position of a table; where there are several axes, what it meets along this one."""
    if axes == 1:
        return _written(tables.tensors, array, [position])
    names = labels.names(tables.tensors)
    meetings = {"y": table.of_output, "x": table.of_input, "w": table.of_tap}[kind](position)
    shown = [None if m is None else meetings[m] for m in ends(len(meetings), 8)]
    parts = [
        None if m is None else {"x": f"{names.column}{m.i}", "y": f"{names.row}{m.o}", "w": f"w{m.t}"} for m in shown
    ]
    written = ["..." if part is None else " ".join(part[k] for k in "wyx" if k != kind) for part in parts]
    own = {"y": names.row, "x": names.column, "w": "w"}[kind]
    return f"{own}{position} meets {', '.join(written) or 'nothing'} along this axis"


def _written(tensors: Tensors, array: str, positions: Sequence[int]) -> str:
    """Return the sum behind an element; of an array without elements, that."""
    found = tensors.sum_at(array, positions)
    return f"{array} has no element" if found is None else found.text(*labels.EXAMPLE)


def _sum(kind: str, own: str, words: str) -> str:
    return f'<span class="s {kind} {own}">{html.escape(labels.together(words))}</span>\n'


def _cell(
    x: float,
    y: float,
    width: float,
    height: float,
    words: str,
    kind: str,
    classes: str,
    title: str,
    *,
    can_focus: bool = True,
) -> str:
    """Return a cell with its text and tooltip; without classes, only the text, of a gap."""
    text = f'<text x="{x + width / 2:g}" y="{y + height / 2 + 4.5:g}">{words}</text>' if words else ""
    if not classes:
        return text.replace("<text", '<text class="none"')
    box = f'<rect x="{x + 1:g}" y="{y + 1:g}" width="{width - 2:g}" height="{height - 2:g}" rx="3"/>'
    focus = ' tabindex="0" role="img"' if can_focus else ""
    return f'<g class="e {kind} {classes}"{focus}><title>{html.escape(title)}</title>{box}{text}</g>'


def _svg(size: tuple[float, float], parts: Sequence[str], label: str) -> str:
    """Return a picture of a size in pixels."""
    width, height = size
    area = f'width="{width:g}" height="{height:g}" viewBox="0 0 {width:g} {height:g}"'
    start = f'<svg xmlns="http://www.w3.org/2000/svg" {area} role="group" aria-label="{html.escape(label)}">'
    return "\n".join((start, *(part for part in parts if part), "</svg>\n"))


def _scope(svg: str, sums: Sequence[str], style: str = "wide") -> str:
    """Return pictures in which one marks what is met in the others, and the sums that are written when pointed at."""
    hint = '<span class="hint">Point at an input, an output or a tap (or press Tab) to see what it meets.</span>'
    return f'<div class="tcs">\n<div class="{style}">{svg}</div>\n<div class="sums">{hint}\n{"".join(sums)}</div>\n</div>\n'
