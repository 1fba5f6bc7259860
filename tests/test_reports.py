"""Reports, built by hand: what is printed, what JSON keeps, and which verdict wins."""

from __future__ import annotations

import io
import itertools
import json
import re
from dataclasses import replace

import numpy as np
import pytest
from rich.console import Console

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
    VALUE,
    raised,
    report,
    right,
    wrong,
)
from triconv.checking.findings.findings import WrongShape
from triconv.checking.findings.protocol import IMPRECISE, RIGHT, UNCHECKED, UNSUPPORTED, WRONG
from triconv.checking.reports import html_report, text_report


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
    assert report(GOOD, GOOD, NONE).summary == "right: mine<1> agrees with conv2d (2 of 2 checks)"
    assert report(GOOD, LINE, PLANE).summary == (
        "wrong: mine<1>, VJP of b: the sign is wrong; at (3,) it is 4, must be 3; 1 of 5 elements are wrong"
    )
    assert report(GOOD, COARSE).summary == (
        "imprecise: mine<1>, value under jit: right, but computed in float32; it has about 10 bits of 53"
    )


def test_repr_is_two_lines():
    made = report(*ROWS)
    assert repr(made).splitlines() == [
        made.summary,
        "x (2, 1, 3, 4); stride=2; torch float32; 7 answers: print it, or see to_html and to_json",
    ]
    noisy = raised(VALUE, "a\nb " + "x" * 1000 + "\x1b[31m")
    assert len(repr(report(noisy)).splitlines()) == 2
    assert len(repr(report(noisy))) < 500
    assert "\x1b" not in repr(report(noisy))


@pytest.mark.parametrize("width", [60, 80])
def test_few_columns_put_details_below(width):
    file = io.StringIO()
    text_report.show(report(*ROWS), Console(file=file, width=width))
    lines = file.getvalue().split(text_report.PROGRAM)[0].splitlines()
    assert max(map(len, lines)) <= width
    heads = [f"{row.what}: {row.verdict}" for row in ROWS]
    assert [line for line in lines if any(line.startswith(head) for head in heads)] == [
        next(line for line in lines if line.startswith(head)) for head in heads
    ]
    at = lines.index(next(line for line in lines if line.startswith("VJP of x: wrong, exact, error/bound 2.5e+06")))
    below = itertools.takewhile(lambda line: line.startswith("    "), lines[at + 1 :])
    assert " ".join(map(str.strip, below)) == PLANE.detail


def test_what_to_do_stands_before_the_summary():
    for rows, words in (
        ((GOOD, PLANE), "What to do: remove one minus sign, or add one."),
        ((GOOD,), "numpy 2.0, seed 7"),
    ):
        assert str(report(*rows)).splitlines()[-2] == words
