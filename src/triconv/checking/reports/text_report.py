"""A report as text: `show` prints it in colour, `text` returns the same without."""

from __future__ import annotations

import io
import re
import textwrap

from rich import box
from rich.console import Console
from rich.segment import Segment, Segments
from rich.table import Table
from rich.text import Text

from triconv.checking.findings.protocol import IMPRECISE, RIGHT, UNCHECKED, UNSUPPORTED, WRONG
from triconv.checking.reports import wording
from triconv.checking.reports.remedies import remedy
from triconv.checking.reports.report_data import ReportData, ReportRow

STYLES: dict[str, str] = {
    RIGHT: "green",
    IMPRECISE: "yellow",
    WRONG: "bold red",
    UNCHECKED: "magenta",
    UNSUPPORTED: "dim",
}
WIDTH = 120
TABLE_WIDTH = 100
"""Columns from which details stand beside the questions; in fewer they stand below them."""
MOST_TAPS, INDENT = 6, " " * 4
RAISED = "What the candidate raised:"
TAPS = "taps that meet there:"
PROGRAM = "A program that shows it, without triconv:"
# a candidate's own error message may come with colours, and with anything else that a terminal obeys or cannot print
ESCAPES = re.compile(r"\x1b(\[[0-9;?]*[ -/]*[@-~])?")
UNPRINTABLE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")


def text(report: ReportData) -> str:
    """Return what `show` prints, 120 columns wide, without colours."""
    file = io.StringIO()
    # each is given here, or rich would ask the environment: FORCE_COLOR, a notebook, an old Windows
    plain = Console(
        file=file, width=WIDTH, color_system=None, force_terminal=False, force_jupyter=False, legacy_windows=False
    )
    show(report, plain)
    return file.getvalue()


def show(report: ReportData, console: Console) -> None:
    """Print the title, the table, where it is wrong, the witnesses, the program that shows it, and the verdict."""
    _print(console, title(report), "bold")
    if console.width >= TABLE_WIDTH:
        console.print(_table(report))
    else:
        _print_rows(report, console)
    if report.traceback:
        _print(console, RAISED, "bold")
        _print(console, report.traceback)
        console.print()
    failed = report.first_failed
    if failed is not None:
        _print(console, f"{failed.what}:", "bold")
        for sentence in where(failed):
            _print(console, f"  {sentence}")
        console.print()
    for witness in report.witnesses:
        _print(console, witness)
    if report.witnesses:
        console.print()
    if report.counterexample:
        _print(console, PROGRAM, "bold")
        # a segment is neither wrapped nor are its tabs expanded: the program can be copied
        program = Segment(report.counterexample.rstrip("\n") + "\n")
        console.print(Segments([program]), soft_wrap=True, end="")
        console.print()
    _print(console, made_with(report), "dim")
    if report.deciding is not None and (words := remedy(report.deciding.finding)):
        _print(console, f"What to do: {words}.")
    _print(console, report.summary, STYLES.get(report.verdict, ""))


def title(report: ReportData) -> str:
    """Return one line: what was checked, like what, and on which data."""
    return f"{wording.compared(report.candidate, report.like)}: {data(report)}"


def data(report: ReportData) -> str:
    """Return the shapes, the parameters, the library and the dtype."""
    shapes = ", ".join(f"{name} {shape}" for name, shape in report.shapes.items())
    params = ", ".join(f"{name}={value}" for name, value in report.params.items())
    return "; ".join(part for part in (shapes, params, f"{report.framework} {report.dtype}") if part)


def made_with(report: ReportData) -> str:
    """Return one line: the versions of the libraries, and the seed of the data."""
    return ", ".join([*(f"{name} {version}" for name, version in report.versions.items()), f"seed {report.seed}"])


def error_over_bound(row: ReportRow) -> str:
    """Return the error over its bound to two digits, or '-'."""
    return "-" if row.error is None else f"{row.error:.2g}"


def where(row: ReportRow) -> list[str]:
    """Return sentences on the first wrong element, and the first taps that meet there."""
    e = row.evidence
    if e is None:
        return []
    sentences = wording.where(e)
    if e.taps:
        sentences.append(TAPS)
        sentences += [f"  tap {tap}: input {i}, output {o}" for i, o, tap in e.taps[:MOST_TAPS]]
        if len(e.taps) > MOST_TAPS:
            sentences.append(f"  and {len(e.taps) - MOST_TAPS} more")
    elif len(e.index) > 2 and e.in_torch_order:  # a bias has no positions, so no taps either
        sentences.append("no tap meets there")
    return sentences


def without_escapes(words: str) -> str:
    """Return the words without a terminal's escape codes, and with "?" for what else cannot be printed."""
    return UNPRINTABLE.sub("?", ESCAPES.sub("", words))


def _print(console: Console, words: str, style: str = "") -> None:
    """Print words as they are: brackets are no markup, numbers are not coloured."""
    console.print(Text(without_escapes(words), style), overflow="fold")


def _table(report: ReportData) -> Table:
    """Return the table, one row per question."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("question", overflow="fold")
    table.add_column("verdict", overflow="fold")
    table.add_column("proof", overflow="fold")
    table.add_column("error/bound", overflow="fold", justify="right")
    table.add_column("detail", overflow="fold")
    for row in report.rows:
        cells = [
            Text(without_escapes(words))
            for words in (row.what, row.verdict, row.how, error_over_bound(row), row.detail)
        ]
        cells[1].stylize(STYLES.get(row.verdict, ""))
        table.add_row(*cells)
    return table


def _print_rows(report: ReportData, console: Console) -> None:
    """Print the same for few columns: a detail stands below its question."""
    for row in report.rows:
        head = Text().append(f"{without_escapes(row.what)}: ", "bold").append(row.verdict, STYLES.get(row.verdict, ""))
        if row.how:
            head.append(f", {row.how}")
        if row.error is not None:
            head.append(f", error/bound {error_over_bound(row)}")
        console.print(head, overflow="fold")
        if row.detail:
            words = textwrap.fill(
                without_escapes(row.detail), console.width, initial_indent=INDENT, subsequent_indent=INDENT
            )
            _print(console, words)
    console.print()
