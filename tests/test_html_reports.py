"""Reports as HTML: what the page and the fragment show, in which order, how large they are, and whether they can be read."""

from __future__ import annotations

import itertools
import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest

from handmade_reports import (
    COARSE,
    COMPLEX,
    GOOD,
    LINE,
    NONE,
    PLANE,
    PROGRAM,
    RAISED,
    ROWS,
    TAPS,
    VALUE,
    evidence,
    report,
    right,
    wrong,
)
from triconv.checking.findings.causes import Cause, Hypothesis
from triconv.checking.findings.diagnosis_data import Diagnosis
from triconv.checking.findings.findings import NotFinite, WrongElements
from triconv.checking.findings.protocol import Kind, Question
from triconv.checking.reports import error_map, html_report, html_style, remedies, text_report, wording

VOID = {"meta", "br", "hr", "img", "input", "link"}


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


def test_page_is_whole_and_needs_nothing():
    page = html_report.page(report(*ROWS))
    found = Elements(page)
    assert page.startswith("<!doctype html>")
    assert {"html", "head", "title", "style", "body", "table", "svg", "pre"} <= {tag for tag, _, _ in found.all}
    assert not {"link", "img", "iframe"} & {tag for tag, _, _ in found.all}
    assert page.count("<script") == 1
    assert html_style.COPY in page
    for word in ("http://", "https://", "@import", "url(", "\x1b", "javascript:"):
        assert word not in page
    assert "prefers-color-scheme: dark" in page
    assert "@media print" in page
    assert found.named("title")[0][1] == "wrong: mine<1> like conv2d"
    assert found.named("pre") == [({}, PROGRAM)]


def test_what_one_looks_for_comes_first():
    """The verdict, what to do, the picture, and the program; then the tables."""
    page = html_report.page(report(*ROWS))
    order = [
        'class="verdict wrong"',
        "What to do:</b> remove one minus sign",
        "<figure>",
        "<pre>",
        "<table>",
        "Witnesses",
    ]
    places = [page.index(words) for words in order]
    assert places == sorted(places)


def test_a_page_without_a_program_has_no_script():
    for made in (report(GOOD, counterexample=""), report(PLANE, counterexample="")):
        page = html_report.page(made)
        assert "<script" not in page
        assert "<button" not in page


def test_page_escapes():
    found = elements(*ROWS)
    page = html_report.page(report(*ROWS))
    assert "x[0] &amp; &lt;b&gt;no&lt;/b&gt;" in page
    assert [words for _, words in found.named("b")] == ["What to do:"] * page.count("What to do:")
    assert [words for _, words in found.named("h1")] == ["mine<1> like conv2d"]
    evil = replace(report(PLANE), candidate="</style></script><script>x()</script>", command="'\"><img src=x>")
    for html in (html_report.page(evil), html_report.fragment(evil)):
        assert "<script>x()" not in html
        assert "<img" not in html


def test_page_tables():
    """The rows that failed are shown, and the others are folded; nothing is lost."""
    found = elements(*ROWS)
    order = [COARSE, PLANE, LINE, COMPLEX, RAISED, GOOD, NONE]
    rows = [words for a, words in found.named("th") if a["scope"] == "row"]
    assert rows == [row.what for row in order]
    cells = found.named("td")
    assert [words for _, words in cells[0::4]] == [row.verdict for row in order]
    assert [a["class"] for a, _ in cells[0::4]] == [f"short {row.verdict}" for row in order]
    assert [words for _, words in cells[2::4]] == ["8.1e+02", "2.5e+06", "12", "-", "-", "0.12", "-"]
    assert [words for _, words in cells[3::4]] == [text_report.without_escapes(row.detail) for row in order]
    assert [words for _, words in found.named("caption")] == [
        "5 of 7 answers: imprecise, wrong, unchecked",
        "The answers that are right, and what is unsupported",
    ]
    page = html_report.page(report(*ROWS))
    folded = page.index("<summary>The answers")
    assert page.index(f'<th scope="row">{RAISED.what}') < folded < page.index(f'<th scope="row">{GOOD.what}<')


def test_a_right_page_folds_nothing():
    found = elements(GOOD, NONE)
    assert not found.named("details")
    assert [words for _, words in found.named("caption")] == ["All 2 answers"]
    assert not found.named("p", "fix")
    # no column for what nobody asked
    assert "error/bound" not in [words for _, words in elements(NONE).named("th")]


@pytest.mark.parametrize("rows", [(GOOD,), (PLANE,), (LINE,), (COMPLEX,), ROWS])
def test_three_pictures_per_cause(rows):
    """Here each wrong row is the sign, so that the rows after the first are folded, in words."""
    wrong = [row for row in rows if row.evidence is not None]
    found = elements(*rows)
    assert len(found.named("svg")) == 3 * bool(wrong)
    # expected, found, difference: the same one element in each
    assert len(found.named("rect", "first")) == 3 * bool(wrong)
    labels = [a["aria-label"] for a, _ in found.named("svg")]
    if wrong:
        assert labels == [f"{wrong[0].what}: {name}" for name in ("expected", "found", "difference, found - expected")]
    folded = [words for _, words in found.named("summary") if "more" in words]
    assert folded == ([f"Where {len(wrong) - 1} more are wrong"] if len(wrong) > 1 else [])


def causes(*hypotheses):
    """A wrong row for each, after one with the sign."""
    others = [
        wrong(
            Question(Kind.VJP, "x", f"a{n}", 1),
            finding=WrongElements(Diagnosis(Cause.ZERO, each, amount=1.0)),
            evidence=LINE.evidence,
        )
        for n, each in enumerate(hypotheses)
    ]
    return [PLANE, *(replace(row, cause=Cause.ZERO) for row in others)]


def test_one_section_per_cause():
    rows = causes(Hypothesis.ZERO, Hypothesis.ZERO_VALUE, Hypothesis.ZERO, Hypothesis.EMPTY, Hypothesis.NOISE)
    found = elements(*rows)
    headings = [words for _, words in found.named("h2")]
    assert headings == [text_report.PROGRAM, "VJP of a0", "VJP of a1", "Witnesses"]
    labels = [a["aria-label"] for a, _ in found.named("svg")]
    assert len(labels) == len(set(labels)) == 9
    assert [words for _, words in found.named("p", "fix")] == [
        f" {remedies.REMEDIES[each]}." for each in (Hypothesis.SIGN, Hypothesis.ZERO, Hypothesis.ZERO_VALUE)
    ]
    # the second of one cause, and what is beyond the number of pictures
    (folded,) = [words for _, words in found.named("summary") if "more" in words]
    assert folded == "Where 3 more are wrong"
    shown = [words.partition(":")[0] for _, words in found.named("p", "where")]
    assert shown == ["VJP of x", "VJP of a0", "VJP of a1", "VJP of a2", "VJP of a3", "VJP of a4"]


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


def test_colours_are_signs_and_strengths():
    row = wrong(VALUE, evidence=evidence((1, 1, 1, 3), (0, 0, 0, 1), (0, 0, 0, 2), by=-2.5))
    found = elements(row)
    assert [a["class"] for a, _ in found.named("rect") if a.get("height") == "36" and a["class"] not in ("first", "frame")] == [
        *("z", "a3", "a6"), *("z", "b5", "b2"), *("z", "b6", "b6"),
    ]  # fmt: skip
    texts = [words for _, words in found.named("text")]
    assert [words for words in texts if " to " in words] == ["0 to 2", "-2 to 2", "-2.5 to 2.5"]


def test_complex_pictures_say_so():
    found = elements(COMPLEX)
    assert [words for _, words in found.named("figcaption")] == [
        (
            "Elements [0, :, :] of shape (1, 1, 6); the first wrong one is outlined. "
            "Colours and numbers are absolute values of complex ones."
        )
    ]
    numbers = [words for a, words in found.named("text") if a["y"] == "42"]
    assert numbers == [*"012345", *"012355", *"000030"]


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_elements_that_are_not_finite(bad):
    e = evidence((1, 1, 2, 3), (0, 0, 1, 1), by=bad)
    found = elements(wrong(VALUE, finding=NotFinite(1), evidence=e))
    # a cell and a swatch of the legend, in the panels of what was found and of the difference
    assert len(found.named("rect", "i")) == 4


def test_large_slices_are_cut_around_the_element():
    e = evidence((1, 2, 100, 40), (0, 1, 70, 39))
    found = elements(wrong(VALUE, evidence=e))
    assert [words for _, words in found.named("figcaption")] == [
        (
            "Elements [0, 1, 58:82, 16:40] of shape (1, 2, 100, 40); the first wrong one is outlined. "
            "Cut to 24 x 24 around it."
        )
    ]
    assert [(a["x"], a["y"]) for a, _ in found.named("rect", "first")] == [(str(23 * 9), str(20 + 12 * 9))] * 3
    # every cell has one colour: the areas of the rectangles are that of the picture
    steps = " ".join(a["d"] for a, _ in found.named("path"))
    widths = [int(w) for w in re.findall(r"h(\d+)v9h-", steps)]
    assert sum(widths) == 3 * 24 * 24 * 9


def test_medium_slices_show_numbers_around_the_element():
    e = evidence((1, 1, 20, 24), (0, 0, 19, 3))
    found = elements(wrong(VALUE, evidence=e))
    (caption,) = [words for _, words in found.named("figcaption")]
    assert "[0, 0, 12:20, 0:8]" in caption
    assert not found.named("path")
    assert len(found.named("title")) == 1 + 3 * 8 * 8
    widest = max(len(words) for a, words in found.named("text") if a["y"] == "42")
    assert widest * error_map.DIGIT < int(found.named("rect", "first")[0][0]["width"])


@pytest.mark.parametrize("shape", [(), (1,), (1, 1), (1, 1, 1, 1, 1)])
def test_pictures_of_one_element(shape):
    found = elements(wrong(VALUE, evidence=evidence(shape, (0,) * len(shape))))
    assert len(found.named("svg")) == 3 * bool(shape)


def test_bits_are_drawn_where_they_are_the_point():
    def coarse(name, bits):
        return replace(COARSE, question=Question(Kind.VJP, "x", name, 1), finding=replace(COARSE.finding, bits=bits))

    found = elements(GOOD, coarse("a", 10), coarse("b", 53), coarse("c", 60))
    assert [words for _, words in found.named("div", "label")] == ["VJP of a", "VJP of b", "VJP of c"]
    assert [a["style"] for a, _ in found.named("div", "bar imprecise")] == [
        "width: 18.9%",
        "width: 100.0%",
        "width: 100.0%",
    ]
    assert [words for a, words in found.named("div") if " of " in words and not a] == [
        "10 of 53",
        "53 of 53",
        "60 of 53",
    ]
    for rows in ((NONE,), (GOOD,), (GOOD, PLANE), (COARSE, PLANE)):
        assert not elements(*rows).named("div", "bars")


def test_the_report_says_how_it_was_made():
    made = replace(report(*ROWS), date="2026-01-02 03:04:05 UTC")
    call = "triconv.check(mine<1>, conv2d, (2, 1, 3, 4), stride=2, framework='torch', dtype='float32', seed=7)"
    for one, by in ((made, call), (replace(made, command="triconv check a.py:f"), "triconv check a.py:f")):
        for html in (html_report.page(one), html_report.fragment(one)):
            (note,) = [words for _, words in Elements(html).named("p", "note") if "seed" in words]
            assert note == f"numpy 2.0, seed 7, 2026-01-02 03:04:05 UTC{by}"
        assert (one.to_dict()["date"], one.to_dict()["made_by"]) == ("2026-01-02 03:04:05 UTC", by)
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC", report(GOOD).date)


@pytest.mark.parametrize("size", [9, 24, 64, 1000])
def test_a_wrong_page_is_small(size):
    """With every picture that there can be, each of the worst kind."""
    rng = np.random.default_rng(0)
    shape = (1, 1, size, size)
    e = evidence(shape, (0, 0, size // 2, size // 2), dtype=float)
    e = replace(e, expected=rng.standard_normal(shape), found=rng.standard_normal(shape), taps=TAPS)
    kinds = causes(Hypothesis.ZERO, Hypothesis.EMPTY, Hypothesis.NOISE, Hypothesis.CENTERED, Hypothesis.SIGN)
    rows = [replace(row, evidence=e) for row in kinds]
    rows += [right(Question(Kind.VMAP, "g", sample=n), 0.5) for n in range(20)]
    sizes = [len(render(report(*rows)).encode()) for render in (html_report.page, html_report.fragment)]
    assert sizes[0] < 95_000
    assert sizes[1] < 70_000


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_all_that_is_written_can_be_read(theme):
    """The contrast of WCAG 2 AA, 4.5: of the numbers in every cell, and of every word on either ground."""
    cells, words = {
        "light": (html_style.LIGHT, html_style.LIGHT_WORDS),
        "dark": (html_style.DARK, html_style.DARK_WORDS),
    }[theme]
    assert html_style.contrast("#000000", "#ffffff") == pytest.approx(21)
    for colour in cells.values():
        assert html_style.contrast(html_style.on(colour), colour) >= 4.5
    for name, colour in words.items():
        if name not in ("paper", "shade", "line"):
            assert min(html_style.contrast(colour, words[ground]) for ground in ("paper", "shade")) >= 4.5, name
    # stronger is further from the paper, in steps that one can see
    for sign in "ab":
        ramp = [html_style.contrast(cells[f"{sign}{n}"], words["paper"]) for n in range(1, html_style.LEVELS + 1)]
        assert all(b > 1.15 * a for a, b in itertools.pairwise(ramp)), ramp
        assert set(re.findall(rf"\.{sign}\d", html_style.PAGE)) == {
            f".{sign}{n}" for n in range(1, html_style.LEVELS + 1)
        }


def test_fragment_is_scoped():
    html = report(*ROWS)._repr_html_()
    found = Elements(html)
    assert found.all[0][:2] == ("div", {"class": "triconv", "style": "padding: 2px 10px"})
    assert not {"html", "body", "script", "button"} & {tag for tag, _, _ in found.all}
    style = re.sub(r"@media[^{]*\{", "", found.named("style")[0][1])
    for selectors in re.findall(r"([^{}]+)\{", style):
        assert all(re.search(r"(^|\s)\.triconv", one) for one in selectors.split(",")), selectors
    assert len(found.named("svg")) == 3
    assert found.named("pre") == [({}, PROGRAM)]
    # its colours are those of the notebook's theme, which need not be the system's
    assert "prefers-color-scheme" not in html
    assert '[data-jp-theme-light="false"] .triconv' in html


def test_every_hypothesis_has_a_remedy():
    assert set(remedies.REMEDIES) == set(Hypothesis)
    for words in (*remedies.REMEDIES.values(), *remedies.BITS.values()):
        assert words == words.strip().rstrip(".")
        assert len(words) < 140
        assert "\n" not in words


def test_what_is_right_has_no_remedy():
    assert [remedies.remedy(row.finding) for row in (GOOD, NONE)] == ["", ""]
    assert remedies.remedy(COARSE.finding).startswith("compute in the dtype of the arrays")
    assert remedies.remedy(replace(COARSE.finding, declared="float32")) == ""
