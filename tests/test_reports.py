"""Reports, built by hand: what is printed, what the page shows, what JSON keeps, and which verdict wins."""

from __future__ import annotations

import io
import itertools
import json
import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
from rich.console import Console

from triconv.checking import html_report, text_report, wording
from triconv.checking.causes import Cause, Diagnosis, Hypothesis
from triconv.checking.evidence import Evidence
from triconv.checking.exception_text import CaughtException
from triconv.checking.findings import (
    EqualOnIntegers,
    FewerBits,
    Level,
    NotFinite,
    NotSupported,
    OracleResult,
    OracleStatus,
    Raised,
    Reason,
    WrongElements,
    WrongShape,
)
from triconv.checking.protocol import (
    IMPRECISE,
    RIGHT,
    UNCHECKED,
    UNSUPPORTED,
    WRONG,
    Kind,
    Mode,
    Proof,
    Question,
    Transform,
)
from triconv.checking.report import Report
from triconv.checking.report_data import ReportRow

VOID = {"meta", "br", "hr", "img", "input", "link"}
PROGRAM = "x = y[0]\nif x < 3 & 1:\n\tprint('" + "a" * 150 + "')"


def evidence(shape, *wrong, by=1, dtype=float, taps=()):
    expected = np.arange(np.prod(shape), dtype=dtype).reshape(shape)
    found = expected.copy()
    for index in wrong:
        found[index] += by
    at = wrong[0]
    return Evidence(at, expected[at], found[at], len(wrong), found.size, taps, expected, found)


TAPS = tuple(((n + 1, 0), (n, 0), (1, 0)) for n in range(8))
VALUE = Question(Kind.VALUE, "g")
BY_X = Question(Kind.VJP, "x", "x", 1, Transform.VJP)
BY_B = Question(Kind.VJP, "bias", "b", 1, Transform.VJP)
JVP = Question(Kind.JVP, "g", None, 1, Transform.JVP)


def wrong(question, *, error=None, finding=None, **more):
    finding = finding or WrongElements(Diagnosis(Cause.SIGN, Hypothesis.SIGN))
    return ReportRow(question, WRONG, Proof.EXACT, finding, error, Cause.SIGN, **more)


def raised(question, message):
    return ReportRow(question, UNCHECKED, Proof.RAISED, Raised(CaughtException("RuntimeError", message)))


def right(question, error=None):
    return ReportRow(question, RIGHT, Proof.EXACT, EqualOnIntegers(random=True), error)


PLANE = wrong(BY_X, error=2.5e6, evidence=evidence((2, 1, 3, 4), (1, 0, 2, 1), (1, 0, 2, 3), taps=TAPS))
LINE = wrong(BY_B, error=12.0, evidence=evidence((5,), (3,)))
COMPLEX = wrong(JVP, evidence=evidence((1, 1, 6), (0, 0, 4), by=3j, dtype=complex))
GOOD = right(VALUE, 0.123)
COARSE = ReportRow(
    Question(Kind.VALUE, "g", transform=Transform.JIT),
    IMPRECISE,
    Proof.PRECISION,
    FewerBits(Level.FLOAT32, 10, 53),
    812.0,
)
RAISED = raised(
    Question(Kind.SECOND_ORDER, "x", "x", 2, mode=Mode.REVERSE_OVER_REVERSE),
    "\x1b[31m[enforce fail]\x1b[0m x[0] & <b>no</b>",
)
NONE = ReportRow(Question(Kind.VMAP, "g", sample=0), UNSUPPORTED, Proof.NONE, NotSupported(Reason.RULES))
ROWS = (GOOD, COARSE, PLANE, LINE, COMPLEX, RAISED, NONE)


def report(*rows, **more):
    oracles = (OracleResult("torch [mine]", OracleStatus.CANNOT_EXPRESS),)
    more = {"oracles": oracles, "counterexample": PROGRAM, "versions": {"numpy": "2.0"}, **more}
    return Report("mine<1>", "conv2d", {"x": (2, 1, 3, 4)}, {"stride": 2}, "torch", "float32", rows, seed=7, **more)


class Elements(HTMLParser):
    """The elements of a page, in order, each with its attributes and the text directly inside; all must be closed."""

    def __init__(self, page):
        super().__init__()
        self.open, self.all = [], []
        self.feed(page)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.all.append((tag, dict(attrs), []))
        if tag not in VOID:
            self.open.append(self.all[-1])

    def handle_endtag(self, tag):
        assert self.open.pop()[0] == tag

    def handle_data(self, data):
        if self.open:
            self.open[-1][2].append(data)

    def named(self, tag, kind=None):
        return [(a, "".join(t)) for name, a, t in self.all if name == tag and kind in (None, a.get("class"))]


def elements(*rows, **more):
    return Elements(html_report.page(report(*rows, **more)))


def squeezed(words):
    return re.sub(r"\s+", " ", words)


def test_text_has_all_of_it():
    text = str(report(*ROWS))
    assert "\x1b" not in text
    assert text.splitlines()[0] == "mine<1> like conv2d: x (2, 1, 3, 4); stride=2; torch float32"
    lines = text.splitlines()
    head = next(line for line in lines if line.startswith(" question"))
    verdict, detail = head.index("verdict"), head.index("detail")
    for row in ROWS:
        first = next(n for n, line in enumerate(lines) if line.startswith(f" {row.what[:24]}") and row.verdict in line)
        assert row.how in lines[first]
        # a long detail goes on in the lines below, which have no verdict
        rest = lines[first + 1 :]
        more = itertools.takewhile(lambda line: line.strip() and not line[verdict:detail].strip(), rest)
        words = " ".join(line[detail:].strip() for line in (lines[first], *more))
        assert words == text_report.without_escapes(row.detail)
    assert f"\n{text_report.PROGRAM}\n{PROGRAM}\n" in text  # nothing wrapped, no tab expanded
    assert "\ntorch [mine] cannot express this geometry\n" in text
    assert "\nnumpy 2.0, seed 7\n" in text
    assert text.splitlines()[-1] == report(*ROWS).summary


def test_text_says_where_it_is_wrong():
    """Of the first wrong row that has evidence; at most six taps."""
    text = str(report(GOOD, wrong(VALUE, finding=WrongShape((1,), (2,))), PLANE, LINE))
    taps = "".join(f"    tap (1, 0): input ({n + 1}, 0), output ({n}, 0)\n" for n in range(6))
    assert (
        "VJP of x:\n"
        "  first wrong element: (1, 0, 2, 1), axes in torch's order\n"
        "  expected 21, found 22\n"
        "  2 of 24 elements are wrong\n"
        f"  taps that meet there:\n{taps}    and 2 more\n"
    ) in text
    assert "VJP of b:" not in text


def test_where_of_a_bias_and_of_no_tap():
    assert text_report.where(LINE) == ["first wrong element: (3,)", "expected 3, found 4", "1 of 5 elements is wrong"]
    assert text_report.where(COMPLEX)[1:] == [
        "expected (4+0j), found (4+3j)",
        "1 of 6 elements is wrong",
        "no tap meets there",
    ]
    assert text_report.where(GOOD) == []


@pytest.mark.parametrize(
    ("error", "shown"), [(None, "-"), (0.0, "0"), (0.123, "0.12"), (2.5e6, "2.5e+06"), (np.inf, "inf")]
)
def test_error_over_bound_has_two_digits(error, shown):
    assert text_report.error_over_bound(right(VALUE, error)) == shown


@pytest.mark.parametrize("width", [40, 80, 200])
def test_show_in_colour_loses_nothing(width):
    file = io.StringIO()
    text_report.show(report(*ROWS), Console(file=file, width=width, force_terminal=True, color_system="standard"))
    shown = file.getvalue()
    for code, verdict in (
        ("32", "right"),
        ("33", "imprecise"),
        ("1;31", "wrong"),
        ("35", "unchecked"),
        ("2", "unsupported"),
    ):
        assert f"\x1b[{code}m{verdict.split()[0][:3]}" in shown
    words = squeezed(text_report.without_escapes(shown)).replace(" ", "")
    for row in ROWS:
        assert all(word[:4] in words for word in row.what.split())
    assert PROGRAM in shown


def test_text_whatever_the_environment(monkeypatch):
    plain = str(report(*ROWS))
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "30")
    assert str(report(*ROWS)) == plain


def test_long_details_are_wrapped_not_cut():
    words = " ".join(f"word{n}" for n in range(100)) + " " + "x" * 300
    text = str(report(raised(VALUE, words), counterexample=""))
    assert max(map(len, text.splitlines())) <= text_report.WIDTH
    assert all(f"word{n}" in text for n in range(100))
    table, _, summary = text.partition("seed 7")
    assert table.count("x" * 20) > 0
    assert re.sub(r"\s", "", summary).endswith("x" * 300)


def test_page_is_whole_and_needs_nothing():
    page = html_report.page(report(*ROWS))
    found = Elements(page)
    assert page.startswith("<!doctype html>")
    assert {"html", "head", "title", "style", "body", "table", "svg", "pre"} <= {tag for tag, _, _ in found.all}
    assert not {"script", "link", "img", "iframe"} & {tag for tag, _, _ in found.all}
    for word in ("http://", "https://", "@import", "url(", "\x1b"):
        assert word not in page
    assert "prefers-color-scheme: dark" in page
    assert found.named("title")[0][1] == "wrong: mine<1> like conv2d"
    assert found.named("pre") == [({}, PROGRAM)]


def test_page_escapes():
    found = elements(*ROWS)
    page = html_report.page(report(*ROWS))
    assert "x[0] &amp; &lt;b&gt;no&lt;/b&gt;" in page
    assert not found.named("b")
    assert [words for _, words in found.named("h1")] == ["mine<1> like conv2d"]
    details = [words for _, words in found.named("td")][3::4]
    assert details == [text_report.without_escapes(row.detail) for row in ROWS]


def test_page_table():
    found = elements(*ROWS)
    assert [words for _, words in found.named("th")][5:] == [row.what for row in ROWS]
    cells = found.named("td")
    assert [words for _, words in cells[0::4]] == [row.verdict for row in ROWS]
    assert [a["class"] for a, _ in cells[0::4]] == [f"short {row.verdict.replace(' ', '-')}" for row in ROWS]
    assert [words for _, words in cells[2::4]] == ["0.12", "8.1e+02", "2.5e+06", "12", "-", "-", "-"]


@pytest.mark.parametrize("rows", [(GOOD,), (PLANE,), (LINE,), (COMPLEX,), ROWS])
def test_one_picture_per_wrong_row(rows):
    wrong = [row for row in rows if row.evidence is not None]
    found = elements(*rows)
    assert len(found.named("svg")) == len(wrong)
    # expected, found, difference: the same one element in each
    assert len(found.named("rect", "first")) == 3 * len(wrong)


@pytest.mark.parametrize("row", [PLANE, LINE, COMPLEX])
def test_the_outlined_cell_is_the_first_wrong_one(row):
    found, e = elements(row), row.evidence
    rects = [(a, n) for n, (tag, a, _) in enumerate(found.all) if tag == "rect"]
    titles = {n - 1: "".join(t) for n, (tag, _, t) in enumerate(found.all) if tag == "title"}
    before, tooltips = [], []
    for a, n in rects:
        if a.get("class") == "first":
            place = [a[k] for k in ("x", "y", "width", "height")]
            tooltips += [
                titles[m] for b, m in before if m in titles and [b[k] for k in ("x", "y", "width", "height")] == place
            ]
            before = []
        before.append((a, n))
    values = e.expected_value, e.found_value, e.found_value - e.expected_value
    assert tooltips == [f"{e.index}: {wording.value(v)}" for v in values]


def test_tooltips_have_each_value():
    tips = [words for _, words in elements(PLANE).named("title")][1:]
    e = PLANE.evidence
    expected = [f"{(1, 0, r, c)}: {12 + 4 * r + c}" for r, c in itertools.product(range(3), range(4))]
    assert tips[:12] == expected
    assert tips[24:] == [
        f"{(1, 0, r, c)}: {int(r == 2 and c in (1, 3))}" for r, c in itertools.product(range(3), range(4))
    ]
    assert len(tips) == 3 * e.expected[0].size


def test_colours_are_signs():
    row = wrong(VALUE, evidence=evidence((1, 1, 1, 2), (0, 0, 0, 1), by=-3))
    found = elements(row)
    assert [a["class"] for a, _ in found.named("rect") if a["width"] == "36" and a.get("class") not in ("first", "frame")] == [
        *("zero", "above"), *("zero", "below"), *("zero", "below"),
    ]  # fmt: skip
    texts = [words for _, words in found.named("text")]
    assert [words for words in texts if " to " in words] == ["0 to 2", "-2 to 2", "-3 to 3"]


def test_complex_pictures_say_so():
    found = elements(COMPLEX)
    notes = [words for _, words in found.named("p", "note")]
    assert (
        "Elements [0, :, :] of shape (1, 1, 6); the first wrong one is outlined. "
        "Colours and numbers are absolute values of complex ones." in notes
    )
    assert [words for _, words in found.named("text", "in-cell")] == [*"012345", *"012355", *"000030"]


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_elements_that_are_not_finite(bad):
    e = evidence((1, 1, 2, 3), (0, 0, 1, 1), by=bad)
    found = elements(wrong(VALUE, finding=NotFinite(1), evidence=e))
    # a cell and a swatch of the legend, in the panels of what was found and of the difference
    assert len(found.named("rect", "infinite")) == 4


def test_large_slices_are_cut_around_the_element():
    e = evidence((1, 2, 100, 40), (0, 1, 70, 39))
    found = elements(wrong(VALUE, evidence=e))
    notes = [words for _, words in found.named("p", "note")]
    assert (
        "Elements [0, 1, 54:86, 8:40] of shape (1, 2, 100, 40); the first wrong one is outlined. "
        "Cut to 32 x 32 around it." in notes
    )
    assert len([words for _, words in found.named("title")]) == 1 + 3 * 32 * 32
    assert [(a["x"], a["y"]) for a, _ in found.named("rect", "first")] == [(str(31 * 9), str(20 + 16 * 9))] * 3


@pytest.mark.parametrize("shape", [(), (1,), (1, 1), (1, 1, 1, 1, 1)])
def test_pictures_of_one_element(shape):
    found = elements(wrong(VALUE, evidence=evidence(shape, (0,) * len(shape))))
    assert len(found.named("svg")) == bool(shape)


def test_bars_show_errors_over_their_bound():
    """From 1e-2 to 1e7 here, so that the bound is two ninths from the left."""
    errors = {"a": (RIGHT, 1.0), "b": (WRONG, 1e7), "c": (RIGHT, 0.0), "d": (WRONG, np.inf), "e": (RIGHT, None)}
    by = lambda name: Question(Kind.VJP, "x", name, 1)  # noqa: E731
    rows = [replace(right(by(name), error), verdict=verdict) for name, (verdict, error) in errors.items()]
    found = elements(*rows)
    assert [words for _, words in found.named("div", "label")] == ["VJP of a", "VJP of b", "VJP of c", "VJP of d", ""]
    widths = [a["style"] for kind in ("bar right", "bar wrong") for a, _ in found.named("div", kind)]
    assert widths == ["width: 22.22%", "width: 0.00%", "width: 100.00%", "width: 100.00%"]
    assert {a["style"] for a, _ in found.named("div", "bound")} == {"left: 22.22%"}
    assert not elements(NONE).named("div", "bars")


def test_fragment_is_scoped():
    html = report(*ROWS)._repr_html_()
    found = Elements(html)
    assert found.all[0][:2] == ("div", {"class": "triconv", "style": "padding: 2px 10px"})
    assert not {"html", "body", "script", "svg"} & {tag for tag, _, _ in found.all}
    style = re.sub(r"@media[^{]*\{", "", found.named("style")[0][1])
    for selectors in re.findall(r"([^{}]+)\{", style):
        assert all(one.strip().startswith(".triconv") for one in selectors.split(","))
    assert [words for _, words in found.named("th")][5:] == [row.what for row in ROWS]


def test_html_and_json_keep_the_report(tmp_path):
    made = report(*ROWS)
    made.to_html(tmp_path / "r.html")
    assert (tmp_path / "r.html").read_text(encoding="utf-8") == html_report.page(made)
    made.to_json(tmp_path / "r.json")
    with (tmp_path / "r.json").open(encoding="utf-8") as file:
        read = json.load(file)
    assert read == made.to_dict()
    assert read["verdict"] == "wrong"
    assert read["rows"][2]["evidence"] == {
        "index": [1, 0, 2, 1], "expected": 21.0, "found": 22.0, "wrong_elements": 2, "elements": 24,
        "taps": [{"input": [n + 1, 0], "output": [n, 0], "tap": [1, 0]} for n in range(8)],
    }  # fmt: skip
    assert [row["error_over_bound"] for row in read["rows"]] == [0.123, 812.0, 2.5e6, 12.0, None, None, None]
    assert (read["shapes"], read["params"], read["seed"]) == ({"x": [2, 1, 3, 4]}, {"stride": 2}, 7)
    assert read["counterexample"] == PROGRAM


def test_raise_if_failed():
    good = report(GOOD, NONE)
    assert good.raise_if_failed() is good
    for rows in ((PLANE,), (COARSE,), (RAISED,)):
        with pytest.raises(AssertionError) as caught:
            report(*rows).raise_if_failed()
        assert str(caught.value) == f"{report(*rows).summary}\n\n{report(*rows)}"


def test_the_worst_verdict_wins():
    order = (WRONG, UNCHECKED, IMPRECISE, RIGHT)
    for verdicts in itertools.chain.from_iterable(itertools.permutations(order, n) for n in range(1, 5)):
        made = report(*(replace(GOOD, verdict=verdict) for verdict in (*verdicts, UNSUPPORTED)))
        assert made.verdict == min(verdicts, key=order.index)
        assert made.ok == (set(verdicts) == {RIGHT})


def test_the_summary_is_the_first_row_with_the_verdict():
    assert report(GOOD, GOOD, NONE).summary == "right: mine<1> computes what conv2d does (2 questions)"
    assert report(GOOD, LINE, PLANE).summary == (
        "wrong: mine<1>, VJP of b: the sign is wrong; at (3,) it is 4, must be 3; 1 of 5 elements are wrong"
    )
    assert report(GOOD, COARSE).summary == (
        "imprecise: mine<1>, value under jit: right, but computed in float32; it has about 10 bits of 53"
    )
