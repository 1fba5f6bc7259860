"""What the text and the pictures of incidence tables say: names of rows and columns, and the sentences around a table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from triconv.tables.axis_table import AxisTable, Column
from triconv.tables.shown_call import ShownCall
from triconv.tables.sums import Tensors

KEPT = "\N{NO-BREAK SPACE}"
NO_AXIS = "No spatial axis: every input meets every output once."
# terms of a sum that nobody asked for, the first and the last ones
EXAMPLE = (3, 1)
# names in a sentence, and taps up to which those that meet nothing are looked for
NAMES, FEW_TAPS = 6, 64


class Names(NamedTuple):
    """What a table calls its parts."""

    row: str
    """The array whose positions are the rows."""
    column: str
    """The array whose positions are the columns."""
    of_row: str
    """The array whose elements are sums over a row."""
    of_column: str
    """The array whose elements are sums over a column."""


def names(tensors: Tensors) -> Names:
    """Return the names of the parts of the tables of a call."""
    if tensors.is_transposed:
        return Names("x", "y", "gx", "y")
    return Names("y" if tensors.call.contraction == "conv" else "g", "x", "y", "gx")


def column_label(column: Column, name: str) -> str:
    """Return the heading of a column: the input that is there, or 0."""
    return "0" if column.input is None else f"{name}{column.input}"


def title(tables: ShownCall) -> str:
    """Return the call in one line: its arrays with their shapes, its result, and its parameters."""
    t = tables.tensors
    letters = [t.names[role] for role in t.call.roles]
    arrays = [
        f"{letter} {t.shape(role)}" + ("" if letter == name or role == "bias" else f" ({name})")
        for letter, role, name in zip(letters, t.call.roles, tables.arrays, strict=True)
    ]
    result = result_name(t)
    params = "".join(f", {name}={value!r}" for name, value in tables.params.items())
    return f"{tables.operator}: {', '.join(arrays)} -> {result} {t.shape(t.call.result)}{params}"


def result_name(tensors: Tensors) -> str:
    """Return the name of what the operator computes."""
    return next(name for name, role in tensors.results.items() if role == tensors.call.result)


def role_of_operator(tensors: Tensors) -> str:
    """Return how the result of the operator is read from the tables, where that is not by rows."""
    if tensors.is_transposed:
        return "A transposed convolution: the table of the convolution from y (i) to x (o), read by columns."
    return {
        "conv": "",
        "conv_input_vjp": "The input VJP: the table of the convolution, read by columns.",
        "conv_weight_vjp": "The weight VJP: the table of the convolution, read tap by tap.",
    }[tensors.call.contraction]


def together(words: str) -> str:
    """Return a sum in which only the places before a plus are blanks where a line may end; the others are non-breaking."""
    return words.replace(" ", KEPT).replace(f"{KEPT}+{KEPT}", f" +{KEPT}").replace(2 * KEPT, " ")


def headings(tensors: Tensors) -> list[tuple[str, AxisTable]]:
    """Return each table with its heading, which names the axis if there are several; equal ones are one table."""
    spatial = tensors.call.layout.spatial
    by_table: dict[AxisTable, list[int]] = {}
    for number, table in enumerate(tensors.tables):
        by_table.setdefault(table, []).append(number)
    if len(spatial) == 1:
        return [(table.equation, table) for table in by_table]
    return [
        (
            f"{'axis' if len(numbers) == 1 else 'axes'} {', '.join(f'{n} ({spatial[n]})' for n in numbers)}:  {t.equation}",
            t,
        )
        for t, numbers in by_table.items()
    ]


def readings(tables: ShownCall) -> list[tuple[str, str]]:
    """Return the sums to write, with how each is read: those asked for, or one of each array, in the middle of it."""
    t = tables.tensors
    parts = names(t)
    read = {parts.of_row: "row", parts.of_column: "column", "gw": "tap", "gb": "bias"}
    if tables.sums:
        return [(read[s.name], s.text()) for s in tables.sums]
    found = []
    for name in dict.fromkeys((result_name(t), "y", "gx", "gw")):
        example = t.sum_at(name, [size // 2 for size in t.spatial_size(t.results[name])])
        if example is not None:
            found.append((read[name], example.text(*EXAMPLE)))
    return found


def notes(
    table: AxisTable, tensors: Tensors, rows: Sequence[int], columns: Sequence[Column], padding: str
) -> list[str]:
    """Return what is worth a sentence: what the padding holds (`padding` says where it is), and what of it meets nothing."""
    parts = names(tensors)
    found = []
    if not table.outputs:
        return [f"No window fits into the padded input: {parts.row} has no element."]
    if any(column.is_padding for column in columns):
        words = (
            " of zeros"
            if table.mode == "zeros"
            else f", which repeats the {parts.column} that stands above it ({table.mode})"
        )
        found.append(f"{padding}: padding{words}.")
    inputs = [c.input for c in columns if c.input is not None and not c.is_padding and not len(table.of_input(c.input))]
    outputs = [o for o in rows if not len(table.of_output(o))]
    taps = [t for t in range(table.taps) if not len(table.of_tap(t))] if table.taps <= FEW_TAPS else []
    y = "the bias" if "bias" in tensors.call.roles else "0"
    found += _meet_nothing(parts.column, inputs, parts.row, parts.of_column, y)
    found += _meet_nothing(parts.row, outputs, parts.column, parts.of_row, y)
    return found + _meet_nothing("w", taps, parts.column, "gw", y)


def _meet_nothing(name: str, positions: Sequence[int], other: str, array: str, y: str) -> list[str]:
    """The sentence about positions that meet none of another array: what is summed over them is 0; `y` says what y is."""
    if not positions:
        return []
    value = y if array == "y" else "0"
    shown = ", ".join(f"{name}{position}" for position in positions[:NAMES])
    more = f" and {len(positions) - NAMES} more" if len(positions) > NAMES else ""
    return [f"{shown}{more} {'meets' if len(positions) == 1 else 'meet'} no {other}: {array} is {value} there."]
