"""`triconv.show`: the tables agree with the definition, the sums with the operators, and the pictures with the tables."""

from __future__ import annotations

import itertools
import re
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree as ET

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import geometries
import triconv
from triconv.checking.oracles import definition
from triconv.cli import main
from triconv.geometry import Axis
from triconv.padding_modes import pad
from triconv.tables import labels, table_html, table_svg
from triconv.tables.axis_table import AxisTable, ends, rows_beside

few = settings(max_examples=30)


@st.composite
def tables(draw):
    size, taps, stride, dilation, input_dilation, pads = draw(geometries.axes())
    return AxisTable(Axis(size, taps, stride, dilation, input_dilation, *pads))


def of_definition(table):
    a = table.axis
    return definition.AxisParameters(
        a.input_size, a.kernel_size, a.stride, a.dilation, a.input_dilation, a.pad_lo, a.pad_hi
    )


@example(AxisTable(Axis(1, 1, pad_lo=4, pad_hi=-3)))
@example(AxisTable(Axis(2, 1, pad_lo=-3, pad_hi=4)))
@given(table=tables())
@settings(max_examples=150)
def test_a_table_is_the_definition(table):
    a = of_definition(table)
    columns = [table.column(number) for number in range(table.columns)]
    assert [column.input for column in columns if not column.is_padding] == list(range(table.inputs))
    begin, end = a.pad_lo, a.pad_lo + table.axis.dilated_input
    around = [position for position in range(table.axis.padded_size) if not begin <= position < end]
    assert [column.position for column in columns if column.is_padding] == around
    cells = [
        (column.input, o, t)
        for column in columns
        for o in range(table.outputs)
        if not column.is_padding and (t := table.tap(o, column)) is not None
    ]
    assert cells == [meeting for meeting in definition.meetings(a) if meeting[1] < table.outputs]
    for which, (size, found) in enumerate(
        ((table.inputs, table.of_input), (table.outputs, table.of_output), (table.taps, table.of_tap))
    ):
        for position in range(size):
            assert sorted(map(tuple, found(position))) == sorted(definition.meetings_at(a, which, position))


@given(table=tables())
@few
def test_with_its_padding_an_output_meets_every_tap_once(table):
    if table.axis.input_dilation > 1 or min(table.axis.pad_lo, table.axis.pad_hi) < 0:
        return
    columns = [table.column(number) for number in range(table.columns)]
    assert [column.position for column in columns] == list(range(table.axis.padded_size))
    for o in range(table.outputs):
        taps = [t for column in columns if (t := table.tap(o, column)) is not None]
        assert taps == list(range(table.taps))


@pytest.mark.parametrize("mode", ["reflect", "replicate", "circular"])
@pytest.mark.parametrize(("size", "pads"), [(5, (2, 1)), (3, (0, 2)), (4, (3, 3)), (1, (0, 0))])
def test_the_padding_shows_what_it_repeats(mode, size, pads):
    table = AxisTable(Axis(size + sum(pads), 2, 2), mode, pads)
    padded = pad(np.arange(size), mode=mode, pads=(pads,), xp=np)
    columns = [table.column(number) for number in range(table.columns)]
    assert [column.input for column in columns] == padded.tolist()
    assert [column.is_padding for column in columns] == [not pads[0] <= p < pads[0] + size for p in range(len(padded))]
    every = [meeting for o in range(table.outputs) for meeting in table.of_output(o)]
    assert [(m.i, m.o, m.t) for m in every] == [
        (padded[2 * o + t], o, t) for o in range(table.outputs) for t in range(2)
    ]
    for which, (number, found) in enumerate(((size, table.of_input), (None, None), (2, table.of_tap))):
        for position in range(number or 0):
            assert sorted(found(position)) == sorted(m for m in every if m[which] == position)


def check_sums(op, shapes, **params):
    """All elements of all arrays that have sums, evaluated, against the operator and its pullback."""
    rng = np.random.default_rng(0)
    arrays = [rng.integers(-4, 5, shape) for shape in shapes]
    shown = triconv.show(op, *arrays, **params)
    t = shown.tensors
    result, pullback = triconv.vjp(op, *arrays, **params)
    ct = rng.integers(-4, 5, result.shape)
    by_role = {t.call.result: ct} | dict(zip(t.call.roles, arrays, strict=True))
    expected = {t.call.result: result} | dict(zip(t.call.roles, pullback(ct), strict=True))
    values = {t.names[role]: (a, t.spatial_size(role) if role != "bias" else ()) for role, a in by_role.items()}

    def value(factor):
        a, spatial = values[factor.name]
        return int(a[factor.position] if len(factor.position) == a.ndim else a.reshape(spatial)[factor.position])

    assert set(t.results.values()) == set(expected)
    for name, role in t.results.items():
        assert t.shape(role) == expected[role].shape
        for index in np.ndindex(*expected[role].shape):
            terms = list(shown.element(name, *index))
            assert len(terms) == len(shown.element(name, *index))
            assert len(set(terms)) == len(terms) or t.call.mode != "zeros"
            assert sum(np.prod([value(f) for f in term]) for term in terms) == expected[role][index]


@given(case=geometries.cases())
@few
def test_sums_are_the_contractions(case):
    check_sums(triconv.conv, (case.x, case.w), **case.params)


@pytest.mark.parametrize(
    ("op", "shapes", "params"),
    [
        (
            triconv.conv_input_vjp,
            [(2, 4, 3), (4, 3, 2)],
            {"input_size": 7, "stride": 2, "groups": 2, "padding": [(1, -2)]},
        ),
        (
            triconv.conv_weight_vjp,
            [(2, 4, 4), (2, 6, 7)],
            {"kernel_size": 2, "stride": 2, "groups": 2, "padding": [(1, 0)]},
        ),
        (triconv.conv1d, [(2, 4, 5), (4, 2, 3), (4,)], {"padding": 2, "groups": 2, "padding_mode": "reflect"}),
        (triconv.conv2d, [(2, 4, 3), (2, 2, 3, 2), (2,)], {"padding": [(1, 2), (0, 1)], "padding_mode": "circular"}),
        (triconv.conv2d, [(1, 4, 3, 2), (3, 2, 2, 3)], {"padding": "same", "layout": "NHWC,HWIO->NHWC"}),
        (triconv.conv3d, [(1, 3, 2, 4), (2, 1, 2, 1, 3)], {"dilation": (2, 1, 1)}),
        (triconv.conv, [(4, 3, 2), (2, 2, 2), (1,)], {"layout": "HWC,HWI->HW", "padding": 1}),
        (triconv.conv, [(5, 3), (3,), ()], {"layout": "WN,W->NW", "stride": 2}),
        (triconv.conv, [(1, 1, 4), (1, 1, 2), (1,)], {}),
        (triconv.conv, [(2, 6), (4, 3), (4,)], {"groups": 2}),
        (triconv.conv_transpose1d, [(2, 4, 3), (4, 3, 2), (6,)], {"stride": 3, "output_padding": 2, "groups": 2}),
        (triconv.conv_transpose2d, [(2, 2, 3), (2, 1, 3, 2)], {"stride": 2, "padding": (1, 0), "dilation": (1, 2)}),
        (triconv.conv_transpose2d, [(1, 2, 3, 4), (2, 2, 3, 4), (3,)], {"stride": 2, "layout": "NHWC,HWIO->NHWC"}),
        (triconv.conv_transpose3d, [(1, 2, 2, 2, 2), (2, 1, 2, 1, 2)], {"padding": (1, 0, 0)}),
        (triconv.conv2d_forward, [(3, 4, 2), (2, 2, 2)], {}),
        (triconv.conv2d_backward, [(2, 3, 1), (2, 2, 2)], {}),
        (triconv.conv2d_backward_weights, [(3, 4, 2), (2, 3, 1)], {}),
        (triconv.conv1d, [(1, 1, 6), (1, 1, 3)], {"stride": 2, "padding": 1, "padding_mode": "replicate"}),
    ],
)
def test_sums_of_every_operator(op, shapes, params):
    check_sums(op, shapes, **params)


def test_every_operator_is_shown():
    """A new operator has to be entered above."""
    from triconv.operators.registry import OPERATORS

    (mark,) = test_sums_of_every_operator.pytestmark
    assert {case[0] for case in mark.args[1]} == set(OPERATORS.values())


CONV = triconv.show(triconv.conv1d, (1, 1, 6), (1, 1, 3), stride=2, padding=1)

TEXT = """\
conv1d: x (1, 1, 6), w (1, 1, 3) -> y (1, 1, 3), stride=2, padding=1

1 i + 1 = 2 o + 1 t
        0 |  x0  x1  x2  x3  x4  x5 |   0
y0 =   w0 |  w1  w2   .   .   .   . |   .
y1 =    . |   .  w0  w1  w2   .   . |   .
y2 =    . |   .   .   .  w0  w1  w2 |   .
Outside the bars: padding of zeros.

row    y[1] = w[0] x[1] + w[1] x[2] + w[2] x[3]
column gx[3] = w[2] g[1] + w[0] g[2]
tap    gw[1] = g[0] x[0] + g[1] x[2] + g[2] x[4]"""


def test_text():
    assert CONV.text(80) == TEXT


def test_a_transposed_convolution_is_read_by_columns():
    lines = (
        triconv.show(triconv.conv_transpose1d, (1, 1, 2), (1, 1, 2), stride=3, output_padding=1).text(80).splitlines()
    )
    assert lines == [
        "conv_transpose1d: x (1, 1, 2), w (1, 1, 2) -> y (1, 1, 6), stride=3,",
        "  output_padding=1",
        "A transposed convolution: the table of the convolution from y (i) to x (o), read",
        "  by columns.",
        "",
        "1 i = 3 o + 1 t",
        "     y0  y1  y2  y3  y4  y5",
        "x0   w0  w1   .   .   .   .",
        "x1    .   .   .  w0  w1   .",
        "y2, y5 meet no x: y is 0 there.",
        "",
        "column y[3] = w[0] x[1]",
        "row    gx[1] = w[0] g[3] + w[1] g[4]",
        "tap    gw[1] = x[0] g[1] + x[1] g[4]",
    ]


def test_what_meets_nothing_is_said():
    lines = triconv.show(triconv.conv, (1, 1, 2), (1, 1, 2), (1,), padding=2, stride=2).text(80).splitlines()
    assert "y0, y2 meet no x: y is the bias there." in lines
    lines = triconv.show(triconv.conv, (1, 1, 3), (1, 1, 2), padding=[(-1, 4)], stride=4).text(80).splitlines()
    assert [line for line in lines if " no " in line] == [
        "x0 meets no y: gx is 0 there.",
        "y1 meets no x: y is 0 there.",
    ]
    lines = triconv.show(triconv.conv, (1, 1, 2), (1, 1, 4), padding=[(0, 2)]).text(80).splitlines()
    assert "w2, w3 meet no x: gw is 0 there." in lines


def test_the_result_of_the_operator_is_written_first():
    for op, name in ((triconv.conv_weight_vjp, "gw"), (triconv.conv_input_vjp, "gx")):
        size = {"kernel_size": 2} if name == "gw" else {"input_size": 3}
        shown = triconv.show(op, (1, 1, 2), (1, 1, 3 if name == "gw" else 2), **size)
        assert shown.text(80).splitlines()[-3].split()[1].startswith(f"{name}[")


def test_several_axes_have_a_table_each_and_equal_ones_are_one():
    lines = triconv.show(triconv.conv2d, (1, 1, 4, 4), (1, 1, 2, 2)).text(80).splitlines()
    assert [line for line in lines if "=" in line and " i" in line] == ["axes 0 (H), 1 (W):  1 i = 1 o + 1 t"]
    lines = triconv.show(triconv.conv, (1, 1, 4, 4, 4), (1, 1, 2, 2, 2), dilation=(1, 3, 1)).text(80).splitlines()
    assert [line for line in lines if "=" in line and " i" in line] == [
        "axes 0 (D), 2 (W):  1 i = 1 o + 1 t",
        "axis 1 (H):  1 i = 1 o + 3 t",
    ]


MANY = [
    CONV,
    triconv.show(triconv.conv1d, (1, 1, 6), (1, 1, 3), padding=2, padding_mode="reflect"),
    triconv.show(triconv.conv2d, (2, 64, 56, 57), (32, 64, 3, 31), (32,), stride=(2, 1), padding=[(1, 1), (15, 15)]),
    triconv.show(triconv.conv3d, (1, 2, 5, 60, 700), (3, 2, 3, 3, 3), padding=1),
    triconv.show(triconv.conv, (1, 1, 2**31 - 1), (1, 1, 5), stride=3, dilation=4, input_dilation=2, padding=[(-2, 9)]),
    triconv.show(
        triconv.conv1d, (1, 1, 10**7), (1, 1, 10**6), padding=999_999, element=["gw[77]", "gx[5000000]", "y[9]"]
    ),
    triconv.show(triconv.conv1d, (1, 1, 9), (1, 1, 9), padding=3, padding_mode="circular", layout="NCW,OIW->NCW"),
    triconv.show(triconv.conv, (1, 1, 1), (1, 1, 5)),
    triconv.show(triconv.conv, (1, 1, 0), (1, 1, 2), padding=2),
    triconv.show(triconv.conv, (0, 2, 4), (0, 2, 2)),
    triconv.show(triconv.conv, (3, 4), (5, 4)),
    triconv.show(triconv.conv2d_backward, (4, 5, 1), (3, 2, 6)),
]


@pytest.mark.parametrize("width", [40, 60, 80, 140])
@pytest.mark.parametrize("shown", MANY, ids=repr)
def test_lines_are_as_wide_as_they_may_be(shown, width):
    lines = shown.text(width).splitlines()
    assert max(map(len, lines)) <= width
    assert len(lines) < 100
    assert not any(line != line.rstrip() for line in lines)


def test_the_terminal_says_how_wide(monkeypatch):
    shown = triconv.show(triconv.conv1d, (1, 1, 60), (1, 1, 3))
    for columns in (60, 80, 140):
        monkeypatch.setenv("COLUMNS", str(columns))
        assert str(shown) == shown.text(columns)
        table = [line for line in str(shown).splitlines() if line.startswith("y0")]
        assert columns - 8 <= len(table[0]) <= columns


def test_large_tables_are_folded():
    lines = triconv.show(triconv.conv1d, (1, 1, 1000), (1, 1, 3)).text(60).splitlines()
    begin = next(n for n, line in enumerate(lines) if line.startswith("y0"))
    assert lines[begin - 1].split() == ["x0", "x1", "x2", "x3", "x4", "...", "x996", "x997", "x998", "x999"]
    # y5 to y993 have no cell in these columns
    assert [line.split()[0] for line in lines[begin : begin + 10]] == [
        *(f"y{o}" for o in range(5)), "...", *(f"y{o}" for o in range(994, 998))
    ]  # fmt: skip
    assert lines[begin + 9] == "y997 =    .   .   .   .   . ...     .    w0    w1    w2"


@given(count=st.integers(0, 50), most=st.integers(3, 30))
def test_ends(count, most):
    found = ends(count, most)
    assert len(found) == min(count, most)
    numbers = [number for number in found if number is not None]
    assert numbers == sorted(set(numbers))
    assert set(numbers) == set(range(count)) if count <= most else found.count(None) == 1
    assert count <= most or {0, count - 1} <= set(numbers)


@given(table=tables(), most=st.integers(4, 9), width=st.integers(3, 9))
@few
def test_rows_that_are_left_out_have_no_cell(table, most, width):
    columns = [None if m is None else table.column(m) for m in ends(table.columns, width)]
    whole, rows = ends(table.outputs, most), rows_beside(table, columns, most)
    assert [o for o in whole if o in rows or o is None][:1] == whole[:1]
    assert rows[-1:] == whole[-1:]
    left_out = [o for o in whole if o not in rows]
    assert not left_out or None in columns
    assert all(table.tap(o, column) is None for o in left_out for column in columns if column is not None)


def test_sums_of_huge_sizes_are_not_written_out():
    """As many terms as there are meetings, of which each can be asked for."""
    shown = triconv.show(triconv.conv1d, (8, 4, 10**6), (2, 4, 5), stride=3, padding=7)
    gw = shown.element("gw", 1, 2, 0)
    assert len(gw) == 8 * len(shown.axes[0].of_tap(0)) > 2 * 10**6
    assert str(gw[len(gw) - 1][1]) == "x[7, 2, 999998]"
    assert str(gw).endswith("(2,666,664 terms)")
    with pytest.raises(IndexError, match="terms, got number"):
        gw[len(gw)]
    total = sum(len(shown.axes[0].of_tap(t)) for t in range(5))
    assert total == shown.tensors.call.geometry.count_meetings()


def test_repr_is_short():
    assert repr(CONV) == "<IncidenceTables of conv1d: 3 outputs, 6 inputs, 3 taps>"
    assert repr(MANY[2]) == "<IncidenceTables of conv2d: 28x57 outputs, 56x57 inputs, 3x31 taps>"
    assert repr(CONV.element("gx", 3)) == "<gx[3] = w[2] g[1] + w[0] g[2]>"


# pictures


def pictures(text):
    """The scopes in which pointing marks what is met: their pictures, and the sums."""
    return [
        ([ET.fromstring(svg) for svg in re.findall(r"<svg.*?</svg>", scope, re.DOTALL)], scope)
        for scope in text.split('<div class="tcs">')[1:]
    ]


def marked(svgs, own):
    """What is marked while the element with these classes of its own is pointed at, by the style rules."""
    names = [name.removeprefix("s") for name in own if re.fullmatch(r"s[oit]\d-\d+", name)]
    return {
        (element.get("class").split()[1], element[0].text)
        for svg in svgs
        for element in svg.iter("{http://www.w3.org/2000/svg}g")
        if set(names) <= set(element.get("class").split())
    }


def test_pointing_marks_what_is_met():
    ((svgs, scope),) = pictures(CONV._repr_html_())
    elements = {g[0].text: g.get("class").split() for g in svgs[0].iter("{http://www.w3.org/2000/svg}g")}
    assert marked(svgs, elements["row y0"]) == {
        ("y", "row y0"), ("x", "column 0"), ("x", "column x0"), ("x", "column x1"),
        ("c", "y0 meets 0 at w0"), ("c", "y0 meets x0 at w1"), ("c", "y0 meets x1 at w2"),
        ("w", "tap w0"), ("w", "tap w1"), ("w", "tap w2"),
    }  # fmt: skip
    assert marked(svgs, elements["column x3"]) == {
        ("x", "column x3"), ("y", "row y1"), ("y", "row y2"), ("w", "tap w0"), ("w", "tap w2"),
        ("c", "y1 meets x3 at w2"), ("c", "y2 meets x3 at w0"),
    }  # fmt: skip
    assert {name for _, name in marked(svgs, elements["tap w0"]) if name[0] == "c"} == {
        "column 0", "column x1", "column x3",
    }  # fmt: skip
    assert marked(svgs, elements["y1 meets x2 at w1"]) == {
        ("c", "y1 meets x2 at w1"), ("y", "row y1"), ("x", "column x2"), ("w", "tap w1"),
    }  # fmt: skip
    scope = scope.replace(labels.KEPT, " ")
    assert '<span class="s x si0-4">gx[3] = w[2] g[1] + w[0] g[2]</span>' in scope
    assert '<span class="s x si0-0">a zero of the padding</span>' in scope


def test_pointing_at_an_input_marks_its_copies_too():
    shown = triconv.show(triconv.conv1d, (1, 1, 4), (1, 1, 2), padding=1, padding_mode="reflect")
    ((svgs, _),) = pictures(shown._repr_html_())
    columns = [g for g in svgs[0].iter("{http://www.w3.org/2000/svg}g") if g[0].text == "column x1"]
    assert len(columns) == 2  # the padding and itself
    outputs = [{name for _, name in marked(svgs, c.get("class").split()) if name[:3] == "row"} for c in columns]
    assert outputs == [{"row y0"}, {"row y0", "row y1", "row y2"}]


@given(data=st.data())
@settings(max_examples=15)
def test_pointing_in_two_axes_marks_what_is_met(data):
    axes = [data.draw(geometries.axes(most_taps=3)) for _ in range(2)]
    params = zip(
        ("stride", "dilation", "input_dilation", "padding"), zip(*(a[2:] for a in axes), strict=True), strict=True
    )
    shown = triconv.show(triconv.conv, (1, 1, *(a[0] for a in axes)), (1, 1, *(a[1] for a in axes)), **dict(params))
    html = shown._repr_html_()
    if not all(table.outputs and table.columns and table.taps for table in shown.axes):
        assert "wide grids" not in html
        return
    svgs, scope = pictures(html)[0]
    assert len(svgs) == 3
    elements = {g[0].text: g.get("class").split() for svg in svgs for g in svg.iter("{http://www.w3.org/2000/svg}g")}
    triples = [
        [
            (None if column.is_padding else column.input, o, t)
            for column in map(table.column, range(table.columns))
            for o in range(table.outputs)
            if (t := table.tap(o, column)) is not None
        ]
        for table in shown.axes
    ]
    for text, own in elements.items():
        index = re.fullmatch(r"([xyw])\[(\d+), (\d+)\]", text)
        if index is None:
            continue
        kind, *positions = "xyw".index(index[1]), int(index[2]), int(index[3])
        met = [
            [triple for triple in of_axis if triple[kind] == position]
            for of_axis, position in zip(triples, positions, strict=True)
        ]
        expected = {
            f"{name}[{i}, {j}]"
            for number, name in enumerate("xyw")
            for i, j in itertools.product(*({triple[number] for triple in of_axis} for of_axis in met))
        }
        found = {words for _, words in marked(svgs, own) if words != "padding"}
        assert found == expected & set(elements) | {text}
        assert f">{('gx', 'y', 'gw')[kind]}[{positions[0]}, {positions[1]}] = " in scope.replace(labels.KEPT, " ")


@pytest.mark.parametrize("shown", MANY, ids=repr)
def test_html_is_small_and_needs_nothing(shown, tmp_path):
    shown.to_html(tmp_path / "shown.html")
    page = (tmp_path / "shown.html").read_text(encoding="utf-8")
    assert len(page) < 200_000
    for text in (page, shown._repr_html_()):
        assert not re.search(r"<script|<link|url\(|src=|https?://(?!www.w3.org/2000/svg)", text)
        for svgs, scope in pictures(text):
            assert svgs
            labels = [svg.get("aria-label") for svg in svgs]
            assert all(labels)
            assert len(set(labels)) == len(labels)
            for name in set(re.findall(r" s([oit]\d-\d+)", scope)):
                assert f".tcs:has(.s{name}{table_svg.POINTED}) .e:not(.{name})" in text
    assert "<h1" in page
    assert 'lang="en"' in page


def luminance(colour):
    digits = colour[1:] if len(colour) == 7 else "".join(2 * digit for digit in colour[1:])
    parts = [int(digits[n : n + 2], 16) / 255 for n in (0, 2, 4)]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return float(np.dot(linear, [0.2126, 0.7152, 0.0722]))


@pytest.mark.parametrize("theme", [table_html.LIGHT, table_html.DARK])
@pytest.mark.parametrize(
    ("text", "background"),
    [
        ("ink", "paper"), ("dim", "paper"), ("ink", "cell"), ("dim", "pad"), ("ink", "pad"), ("on-mark", "mark"),
        ("ink", "pad-mark"),
    ],
)  # fmt: skip
def test_contrast(theme, text, background):
    colours = dict(re.findall(r"--([\w-]+):(#\w+)", theme))
    low, high = sorted(luminance(colours[name]) for name in (text, background))
    assert (high + 0.05) / (low + 0.05) >= 4.5


# what a function does instead


def right(array):
    ops = {
        "y": lambda x, w: triconv.conv1d(x, w, stride=2, padding=1),
        "gx": lambda g, w: triconv.conv_input_vjp(g, w, input_size=6, stride=2, padding=1),
        "gw": lambda g, x: triconv.conv_weight_vjp(g, x, kernel_size=3, stride=2, padding=1),
    }
    return ops[array]


@pytest.mark.parametrize("array", ["y", "gx", "gw"])
def test_instead_of_what_is_right(array):
    found = CONV.instead(**{array: right(array)})
    assert found.ok
    assert str(found).splitlines() == [
        f"{array}: right",
        "     x0  x1  x2  x3  x4  x5",
        "y0   w1  w2   .   .   .   .",
        "y1    .  w0  w1  w2   .   .",
        "y2    .   .   .  w0  w1  w2",
    ]


@pytest.mark.parametrize(
    ("op", "array", "function"),
    [
        (triconv.conv_transpose1d, "y", lambda x, w: triconv.conv_transpose1d(x, w, stride=2)),
        (triconv.conv_transpose1d, "gx", lambda g, w: triconv.conv(g, w, stride=2)),
        (triconv.conv_transpose1d, "gw", lambda g, x: triconv.conv_weight_vjp(x, g, kernel_size=3, stride=2)),
    ],
)
def test_instead_of_a_transposed_convolution(op, array, function):
    shown = triconv.show(op, (1, 1, 3), (1, 1, 3), stride=2)
    assert shown.instead(**{array: function}).ok
    assert not shown.instead(**{array: lambda a, b: function(a, b) * 2}).ok


@pytest.mark.parametrize("array", ["y", "gx", "gw"])
@pytest.mark.parametrize(
    ("change", "cell"),
    [
        (lambda a: a * 2, "2w0!"),
        (lambda a: -a / 3, "-w0/3!"),
        (lambda a: np.roll(a, 1, -1), "!"),
        (lambda a: a * (np.arange(a.shape[-1]) > 0), "-"),
        (lambda a: a * np.nan, "nan w0"),
        (lambda a: np.concatenate([a, a], -1), "!"),
        (lambda a: a * 0.123456789, "0.123w0!"),
    ],
)
def test_instead_of_what_is_wrong(array, change, cell):
    found = CONV.instead(**{array: lambda a, b: change(right(array)(a, b))})
    assert not found.ok
    assert cell in str(found)
    assert re.search(rf"of {array}: \d+ of \d+ meetings (is|are) wrong", repr(found))


def test_instead_with_padding_that_repeats():
    shown = triconv.show(triconv.conv1d, (1, 1, 3), (1, 1, 2), padding=1, padding_mode="replicate")
    assert shown.instead(y=lambda x, w: triconv.conv1d(x, w, padding=1, padding_mode="replicate")).ok
    assert "\ny0   w0+w1 " in str(
        shown.instead(y=lambda x, w: triconv.conv1d(x, w, padding=1, padding_mode="replicate"))
    )
    assert not shown.instead(y=lambda x, w: triconv.conv1d(x, w, padding=1)).ok


def test_instead_of_a_fourier_transform():
    """What is right but for its rounding is right."""

    def input_vjp(g, w):
        spread = np.zeros(7, np.float32)
        spread[1:6:2] = g[0, 0]
        kernel = np.roll(np.pad(w[0, 0], (0, 4)), -1)
        full = np.fft.ifft(np.fft.fft(spread.astype(np.complex64)) * np.fft.fft(kernel.astype(np.complex64))).real
        return full[None, None, 1:7].astype(np.float32) * np.float32(1 + 1e-6)

    assert CONV.instead(gx=input_vjp).ok
    assert not CONV.instead(gx=lambda g, w: input_vjp(g, w) * 1.001).ok


# errors

SHAPES = (1, 1, 6), (1, 1, 3)


@pytest.mark.parametrize(
    ("args", "params", "error", "message"),
    [
        ((triconv.conv1d, *SHAPES), {"element": "gz[1]"}, ValueError,
         "`element` must be one of y, gx, gw, such as gx[3], got 'gz[1]'"),
        ((triconv.conv1d, *SHAPES), {"element": "gx[6]"}, ValueError,
         "`element` must be within gx, whose shape is (1, 1, 6), got gx[6]"),
        ((triconv.conv1d, *SHAPES), {"element": ["y[0]", "gx[0, 3]"]}, ValueError,
         "`element` must have one index per axis of gx, whose shape is (1, 1, 6), got gx[0, 3]"),
        ((triconv.conv1d, *SHAPES), {"element": "gx[a]"}, ValueError,
         "`element` must have ints as its index, such as gx[0, 2, 3], got 'gx[a]'"),
        ((triconv.conv1d, *SHAPES), {"element": "gx[3"}, ValueError,
         "`element` must be one of y, gx, gw and one index, such as gx[3] or gx[0, 2, 3], got 'gx[3'"),
        ((triconv.conv1d, *SHAPES), {"element": 3}, TypeError,
         "`element` must be a string such as 'gx[3]' or several, got 3"),
        ((triconv.conv1d, *SHAPES), {"element": [3]}, TypeError, "`element` must be a string such as 'gx[3]', got 3"),
        ((triconv.conv1d, *SHAPES), {"padding": -1}, ValueError, "`padding` must not be negative here"),
        ((triconv.conv1d, *SHAPES), {"strid": 1}, TypeError, "unexpected keyword argument 'strid'"),
        ((triconv.conv1d, (1, 1, 2), (1, 1, 3)), {}, ValueError,
         "`w`, with its dilation, must fit into the padded input"),
        ((triconv.conv1d, (1, 1, -2), (1, 1, 3)), {}, ValueError,
         "`arrays_or_shapes` must be shapes without negative sizes, got (1, 1, -2)"),
        ((triconv.conv1d, (1, 1, 6)), {}, TypeError, "missing 1 required positional argument: 'w'"),
        ((triconv.conv1d, 6, 3), {}, TypeError, "`arrays_or_shapes` must be arrays or shapes (tuples of ints), got 6"),
        ((np.convolve, *SHAPES), {}, TypeError, "`op` must be an operator of triconv, such as triconv.conv2d"),
    ],
)  # fmt: skip
def test_errors(args, params, error, message):
    with pytest.raises(error, match=re.escape(message)):
        triconv.show(*args, **params)


@pytest.mark.parametrize(
    ("shown", "functions", "error", "message"),
    [
        (CONV, {}, TypeError, "`instead` must have one function, such as instead(gx=f), got 0"),
        (CONV, {"gy": np.add}, ValueError, "`instead` must be asked for one of y, gx, gw, got 'gy'"),
        (CONV, {"gx": 3}, TypeError, "`gx` must be a function, got 3"),
        (CONV, {"gx": lambda g, w: [1, 2]}, ValueError,
         "`gx` must return an array of shape (1, 1, 6), got ndarray of shape (2,)"),
        (CONV, {"gx": lambda g, w: None}, ValueError, "`gx` must return an array of shape (1, 1, 6), got "),
        (MANY[2], {"gx": np.add}, ValueError,
         "`instead` must be asked of a call with one axis, one sample, one channel and no bias"),
        (MANY[4], {"gx": np.add}, ValueError,
         "`instead` must be asked of a call with 1 to 4096 pairs of elements, got 7158278810"),
    ],
)  # fmt: skip
def test_errors_of_instead(shown, functions, error, message):
    with pytest.raises(error, match=re.escape(message)):
        shown.instead(**functions)


def test_indices_as_numpy_takes_them():
    assert str(CONV.element("gx", -1)) == str(CONV.element("gx[5]")) == "gx[5] = w[2] g[2]"
    assert str(CONV.element(" GX [ 0,0 , 5, ]")) == "gx[5] = w[2] g[2]"
    assert str(CONV.element("gx", np.int64(0))) == "gx[0] = w[1] g[0]"
    with pytest.raises(TypeError, match=r"`index` must be an int, got 1\.5"):
        CONV.element("gx", 1.5)
    plain = triconv.show(triconv.conv1d, (1, 1, 3), (1, 1, 2), (1,))
    assert str(plain.element("gb")) == str(plain.element("gb[0]")) == "gb = g[0] + g[1]"
    assert str(plain.element("y[1]")) == "y[1] = w[0] x[1] + w[1] x[2] + b"


# the command

WORDS = ["show", "conv1d", "--shape", "1,1,6", "--shape", "1,1,3", "--stride", "2", "--padding", "1"]


def test_the_command(capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("COLUMNS", "80")
    assert main.main(WORDS) == 0
    assert capsys.readouterr().out == f"{TEXT}\n"
    path = tmp_path / "shown.html"
    assert main.main([*WORDS, "--element", "gx[3]", "--element", "y[0]", "--html", str(path)]) == 0
    assert capsys.readouterr().out.splitlines()[-4:] == [
        "column gx[3] = w[2] g[1] + w[0] g[2]",
        "row    y[0] = w[1] x[0] + w[2] x[1]",
        "",
        f"written: {path}",
    ]
    assert path.read_text(encoding="utf-8").startswith("<!doctype html>")
    monkeypatch.setattr(Path, "write_text", lambda *args, **kwargs: (_ for _ in ()).throw(OSError("the disk is full")))
    assert main.main([*WORDS, "--html", str(path)]) == 2
    assert capsys.readouterr().err == "triconv: `--html` could not be written: the disk is full\n"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([*WORDS, "--element", "gx[9]"], "`element` must be within gx, whose shape is (1, 1, 6), got gx[9]"),
        ([*WORDS, "--html", "no/such/folder.html"], "`--html` must be a file in a folder that is there"),
        ([*WORDS, "--groups", "2"], "`x.shape[1]` must equal `groups * w.shape[1]`, got 1 != 2 * 1"),
        (["show", "conv9d", "--shape", "1,1,6"], "`operator` must be one of conv, "),
    ],
)
def test_errors_of_the_command(words, message, capsys):
    assert main.main(words) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"triconv: {message}")


def test_it_is_loaded_when_used():
    code = "import sys, triconv; assert not any(m.startswith('triconv.tables') for m in sys.modules); triconv.show"
    subprocess.run([sys.executable, "-c", code], check=True)
