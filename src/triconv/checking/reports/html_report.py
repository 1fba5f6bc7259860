"""A report as HTML: `page` is one file that needs no network, `fragment` is for notebooks."""

from __future__ import annotations

import html
from collections.abc import Callable, Sequence

from triconv.checking.findings.findings import FewerBits, OnlyLater
from triconv.checking.findings.protocol import IMPRECISE, RIGHT, UNSUPPORTED, WRONG
from triconv.checking.reports import error_map, html_style, wording
from triconv.checking.reports.remedies import remedy
from triconv.checking.reports.report_data import ReportData, ReportRow
from triconv.checking.reports.text_report import (
    PROGRAM,
    RAISED,
    TAPS,
    data,
    error_over_bound,
    made_with,
    title,
    where,
    without_escapes,
)

# elements along an axis in the pictures after the first, and how many of those there are
SMALL, PICTURES = 6, 2


def page(report: ReportData) -> str:
    """Return the report as one HTML file."""
    name = _escape(wording.compared(report.candidate, report.like))
    script = html_style.COPY if report.counterexample else ""
    parts = [
        _verdict(report),
        _lead(report),
        _program(report, copy=True),
        _tables(report),
        _bits(report.rows),
        _other_causes(report),
        _witnesses(report),
        _made(report),
    ]
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{_escape(report.verdict)}: {name}</title>
<style>{html_style.PAGE}</style>
</head>
<body class="triconv">
<main>
<h1>{name}</h1>
<p class="about">{_escape(data(report))}</p>
{"".join(parts)}</main>
{script}</body>
</html>
"""


def fragment(report: ReportData) -> str:
    """Return the same as a part of a page: the pictures of the first cause alone, and no script."""
    inner = (
        f'<p class="about">{_escape(title(report))}</p>\n{_verdict(report)}{_lead(report)}{_program(report)}'
        f"{_tables(report)}{_made(report)}"
    )
    return f'<div class="triconv" style="padding: 2px 10px">\n<style>{html_style.NOTEBOOK}</style>\n{inner}</div>\n'


def _escape(words: object) -> str:
    """Return words that a browser shows as they are."""
    return html.escape(without_escapes(str(words)))


def _class(verdict: str) -> str:
    """Return the CSS class of a verdict."""
    return _escape(verdict.replace(" ", "-"))


def _verdict(report: ReportData) -> str:
    """Return the verdict in one sentence."""
    return f'<p class="verdict {_class(report.verdict)}">{_escape(report.summary)}</p>\n'


def _lead(report: ReportData) -> str:
    """Return what to do, and the picture of the first wrong answer or the traceback of the first exception."""
    parts = []
    if (row := report.deciding) is not None and row.verdict != RIGHT:
        parts.append(_fix(row))
    failed = row if row is not None and row.evidence is not None else report.first_failed
    if failed is not None:
        parts.append(_where(failed, error_map.FEW))
    if report.traceback:
        parts.append(f"<h2>{RAISED}</h2>\n<pre>{_escape(report.traceback)}</pre>\n")
    return "".join(parts)


def _fix(row: ReportRow) -> str:
    words = remedy(row.finding)
    return f'<p class="fix"><b>What to do:</b> {_escape(words)}.</p>\n' if words else ""


def _where(row: ReportRow, few: int) -> str:
    """Return where a row is wrong, in pictures and in words."""
    assert row.evidence is not None
    return f"{error_map.figure(row.evidence, row.what, few)}{_words(row)}"


def _words(row: ReportRow, *, taps: bool = True) -> str:
    """Return where a row is wrong, in words; the taps are folded."""
    sentences = where(row)
    at = sentences.index(TAPS) if TAPS in sentences else len(sentences)
    words = f'<p class="where">{_escape(row.what)}: {_escape("; ".join(sentences[:at]))}.</p>\n'
    if not taps or at == len(sentences):
        return words
    lines = "<br>".join(map(_escape, sentences[at + 1 :]))
    return f"{words}<details>\n<summary>{_escape(TAPS.rstrip(':'))}</summary>\n<p>{lines}</p>\n</details>\n"


def _program(report: ReportData, *, copy: bool = False) -> str:
    """Return the program that shows the fault."""
    if not report.counterexample:
        return ""
    button = '<button type="button" class="copy" hidden>copy</button>' if copy else ""
    program = f"<pre>{html.escape(report.counterexample)}</pre>"
    return f'<section class="program">\n{button}<h2>{PROGRAM}</h2>\n{program}\n</section>\n'


def _tables(report: ReportData) -> str:
    """Return the answers as tables: those that are right are folded where others are not."""
    failed = [row for row in report.rows if row.verdict not in (RIGHT, UNSUPPORTED)]
    rest = [row for row in report.rows if row.verdict in (RIGHT, UNSUPPORTED)]
    if not failed:
        return _table(rest, f"All {len(rest)} answers") if rest else ""
    caption = f"{len(failed)} of {len(report.rows)} answers: {', '.join(dict.fromkeys(row.verdict for row in failed))}"
    shown = _table(failed, caption)
    if not rest:
        return shown
    caption = "The answers that are right" + (", and what is unsupported" if _has(rest, UNSUPPORTED) else "")
    return f"{shown}<details>\n<summary>{caption} ({len(rest)})</summary>\n{_table(rest, caption)}</details>\n"


def _has(rows: Sequence[ReportRow], verdict: str) -> bool:
    return any(row.verdict == verdict for row in rows)


def _table(rows: Sequence[ReportRow], caption: str) -> str:
    """Return a table, one row per question."""
    classes = {"question": "", "verdict": "", "proof": "", "error/bound": "number", "detail": ""}
    if all(row.error is None for row in rows):
        del classes["error/bound"]
    head = "".join(f'<th scope="col" class="{kind}">{name}</th>' for name, kind in classes.items())
    body = "".join(_line(row, has_error="error/bound" in classes) for row in rows)
    return (
        f"<table>\n<caption>{_escape(caption)}</caption>\n<thead><tr>{head}</tr></thead>\n"
        f"<tbody>\n{body}</tbody>\n</table>\n"
    )


def _line(row: ReportRow, *, has_error: bool) -> str:
    """Return one row of a table."""
    cells = (
        f'<th scope="row">{_escape(row.what)}</th>',
        f'<td class="short {_class(row.verdict)}">{_escape(row.verdict)}</td>',
        f'<td class="short">{_escape(row.how)}</td>',
        f'<td class="number">{error_over_bound(row)}</td>' if has_error else "",
        f"<td>{_escape(row.detail)}</td>",
    )
    return f"<tr>{''.join(cells)}</tr>\n"


def _bits(rows: Sequence[ReportRow]) -> str:
    """Return the bits that imprecise answers have, of those of the dtype, as bars: unless something is wrong."""
    lines = []
    for row in rows:
        if row.verdict == IMPRECISE and isinstance(row.finding, FewerBits):
            bits, of = row.finding.bits, row.finding.dtype_bits
            bar = f'<div class="bar imprecise" style="width: {100 * min(1.0, bits / of):.1f}%"></div>'
            lines.append(
                f'<div class="label">{_escape(row.what)}</div><div class="track">{bar}</div><div>{bits} of {of}</div>\n'
            )
    if not lines or _has(rows, WRONG):
        return ""
    note = "Bits that the results have, about, of those that their dtype has."
    return f'<h2>Bits</h2>\n<p class="note">{note}</p>\n<div class="bars">\n{"".join(lines)}</div>\n'


def _other_causes(report: ReportData) -> str:
    """Return a section for each cause but the first, with a picture; the rows after the first of a cause are folded."""
    failed = [row for row in report.rows if row.verdict == WRONG and row.evidence is not None]
    if not failed:
        return ""
    first, *others = _grouped(failed, _cause)
    sections, folded = [], list(first[1:])
    for number, (row, *same) in enumerate(others):
        folded += same
        if number < PICTURES:
            fix = "" if remedy(row.finding) == remedy(first[0].finding) else _fix(row)
            sections.append(
                f"<section>\n<h2>{_escape(row.what)}</h2>\n<p>{_escape(wording.detail(row.finding))}</p>\n{fix}"
                f"{_where(row, SMALL)}</section>\n"
            )
        else:
            folded.append(row)
    if folded:
        lines = "".join(_words(row, taps=False) for row in folded)
        sections.append(f"<details>\n<summary>Where {len(folded)} more are wrong</summary>\n{lines}</details>\n")
    return "".join(sections)


def _cause(row: ReportRow) -> object:
    """Return what two rows of one cause have in common."""
    finding = row.finding.finding if isinstance(row.finding, OnlyLater) else row.finding
    diagnosis = getattr(finding, "diagnosis", None)
    return row.cause, type(finding), diagnosis and diagnosis.hypothesis


def _grouped(rows: Sequence[ReportRow], key: Callable[[ReportRow], object]) -> list[list[ReportRow]]:
    """Return the rows by their key, in the order in which each key comes first."""
    groups: dict[object, list[ReportRow]] = {}
    for row in rows:
        groups.setdefault(key(row), []).append(row)
    return list(groups.values())


def _witnesses(report: ReportData) -> str:
    if not report.witnesses:
        return ""
    items = "".join(f"<li>{_escape(witness)}</li>" for witness in report.witnesses)
    return f"<h2>Witnesses</h2>\n<ul>{items}</ul>\n"


def _made(report: ReportData) -> str:
    """Return how the report was made: versions, seed, date, and the call or command."""
    return f'<p class="note">{_escape(made_with(report))}, {_escape(report.date)}<br>{_escape(report.made_by)}</p>\n'
