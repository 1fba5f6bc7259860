"""A report as HTML: `page` is one file that needs no network, `fragment` is for notebooks."""

from __future__ import annotations

import html
import math
from typing import NamedTuple

import numpy as np

from triconv.checking import wording
from triconv.checking.evidence import Evidence
from triconv.checking.protocol import WRONG
from triconv.checking.report_data import ReportData, ReportRow
from triconv.checking.text_report import (
    PROGRAM,
    RAISED,
    data,
    error_over_bound,
    made_with,
    title,
    where,
    without_escapes,
)

# elements of a slice that are shown along an axis, and columns up to which the cells have room for numbers
MOST, FEW = 32, 8
# pixels: between pictures, above one, below one, and the least width, for the legend
GAP, LABEL, LEGEND, NARROWEST = 28, 20, 34, 190
SWATCH = 14

STYLE = """
.triconv {
  --paper: #fff; --ink: #1f2328; --dim: #656d76; --line: #d0d7de; --shade: #f6f8fa; --below: #1f5fae; --above: #c2410c;
  --right: #1a7f37; --imprecise: #8a5a00; --wrong: #cf222e; --unchecked: #a8328f; --unsupported: #656d76;
  color: var(--ink); background: var(--paper); font: 15px/1.45 system-ui, "Segoe UI", Roboto, sans-serif;
}
@media (prefers-color-scheme: dark) {
  .triconv {
    --paper: #0d1117; --ink: #e6edf3; --dim: #9198a1; --line: #3d444d; --shade: #161b22; --below: #58a6ff; --above: #ff8a50;
    --right: #3fb950; --imprecise: #d29922; --wrong: #ff6b63; --unchecked: #e085cf; --unsupported: #9198a1;
  }
}
.triconv .about, .triconv .note { color: var(--dim); overflow-wrap: anywhere; }
.triconv .note { font-size: 13px; margin: .4em 0; }
.triconv .verdict {
  border-left: 4px solid; background: var(--shade); padding: .6em .9em; margin: 1em 0; overflow-wrap: anywhere;
}
.triconv .right { color: var(--right); } .triconv .imprecise { color: var(--imprecise); }
.triconv .wrong { color: var(--wrong); font-weight: 600; } .triconv .unchecked { color: var(--unchecked); }
.triconv .unsupported { color: var(--unsupported); }
.triconv table { border-collapse: collapse; width: 100%; margin: 1em 0; font-size: 14px; }
.triconv table th, .triconv table td {
  text-align: left; vertical-align: top; padding: .35em .9em .35em 0; border-bottom: 1px solid var(--line);
  overflow-wrap: anywhere; white-space: normal;
}
.triconv table thead th { color: var(--dim); font-weight: 500; overflow-wrap: normal; }
.triconv table tbody th { font-weight: 500; min-width: 9em; }
.triconv table td.short { white-space: nowrap; }
.triconv table .number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
.triconv pre {
  background: var(--shade); color: var(--ink); padding: .8em; overflow-x: auto; font-size: 13px; line-height: 1.4;
}
.triconv .where { white-space: pre-wrap; overflow-wrap: anywhere; margin: .4em 0; }
.triconv .wide { overflow-x: auto; }
.triconv svg { display: block; font: 12px system-ui, sans-serif; fill: var(--ink); }
.triconv .frame { fill: none; stroke: var(--line); }
.triconv .above { fill: var(--above); } .triconv .below { fill: var(--below); } .triconv .zero { fill: var(--paper); }
.triconv .infinite { fill: var(--unchecked); }
.triconv .first { fill: none; stroke: var(--ink); stroke-width: 2.5; pointer-events: none; }
.triconv .in-cell { font-size: 11px; text-anchor: middle; pointer-events: none; }
.triconv .bars { display: grid; grid-template-columns: max-content 1fr 4em; gap: 5px 12px; font-size: 13px; }
.triconv .bars > * { align-self: center; }
.triconv .track { position: relative; height: 14px; background: var(--shade); }
.triconv .bar { position: absolute; left: 0; top: 0; bottom: 0; background: currentColor; }
.triconv .bound { position: absolute; top: -3px; bottom: -3px; border-left: 2px solid var(--ink); }
.triconv .scale { position: relative; height: 1.4em; color: var(--dim); }
.triconv .scale span { position: absolute; transform: translateX(-50%); white-space: nowrap; }
.triconv .scale span:first-child { transform: none; } .triconv .scale span:last-child { transform: translateX(-100%); }
@media (max-width: 640px) {
  .triconv table thead { display: none; }
  .triconv table tr { display: block; border-bottom: 1px solid var(--line); padding: .5em 0; }
  .triconv table tbody th, .triconv table tbody td { display: inline-block; border: 0; padding: 0 .9em .1em 0; }
  .triconv table tbody th, .triconv table tbody td:last-child { display: block; }
  .triconv table td.number::before { content: "error/bound "; color: var(--dim); }
  .triconv .bars { grid-template-columns: 1fr 4em; } .triconv .bars .label { grid-column: 1 / -1; margin-bottom: -4px; }
}
"""
PAGE_STYLE = """
body { margin: 0; } main { max-width: 980px; margin: 0 auto; padding: 1.2em 16px 3em; }
h1 { font-size: 1.4em; margin: 0; overflow-wrap: anywhere; } h2 { font-size: 1.1em; margin: 1.8em 0 .4em; }
"""


def page(report: ReportData) -> str:
    """Return the report as one HTML file."""
    name = _escape(wording.compared(report.candidate, report.like))
    parts = [_verdict(report), _table(report), _bars(report.rows), *map(_section, report.rows), _rest(report)]
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{_escape(report.verdict)}: {name}</title>
<style>{PAGE_STYLE}{STYLE}</style>
</head>
<body class="triconv">
<main>
<h1>{name}</h1>
<p class="about">{_escape(data(report))}</p>
{"".join(parts)}
</main>
</body>
</html>
"""


def fragment(report: ReportData) -> str:
    """Return the verdict and the table, as a part of a page."""
    inner = f'<p class="about">{_escape(title(report))}</p>\n{_verdict(report)}{_table(report)}'
    return f'<div class="triconv" style="padding: 2px 10px">\n<style>{STYLE}</style>\n{inner}</div>\n'


def _escape(words: object) -> str:
    """Return words that a browser shows as they are."""
    return html.escape(without_escapes(str(words)))


def _verdict(report: ReportData) -> str:
    """Return the verdict in one sentence."""
    return f'<p class="verdict {_class(report.verdict)}">{_escape(report.summary)}</p>\n'


def _class(verdict: str) -> str:
    """Return the CSS class of a verdict."""
    return _escape(verdict.replace(" ", "-"))


def _table(report: ReportData) -> str:
    """Return the table, one row per question."""
    classes = {"question": "", "verdict": "", "proof": "", "error/bound": "number", "detail": ""}
    head = "".join(f'<th scope="col" class="{kind}">{name}</th>' for name, kind in classes.items())
    return f"<table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{''.join(map(_line, report.rows))}</tbody>\n</table>\n"


def _line(row: ReportRow) -> str:
    """Return one row of the table."""
    cells = (
        f'<th scope="row">{_escape(row.what)}</th>',
        f'<td class="short {_class(row.verdict)}">{_escape(row.verdict)}</td>',
        f'<td class="short">{_escape(row.how)}</td>',
        f'<td class="number">{error_over_bound(row)}</td>',
        f"<td>{_escape(row.detail)}</td>",
    )
    return f"<tr>{''.join(cells)}</tr>\n"


def _bars(rows: tuple[ReportRow, ...]) -> str:
    """Return the errors over their bounds as bars on a log scale, with the bound marked."""
    errors = [(row, float(row.error)) for row in rows if row.error is not None]
    if not errors:
        return ""
    powers = [math.log10(e) for _, e in errors if 0 < e < math.inf]
    # an error far below rounding says no more than one below it
    low, high = max(-6, min([-2, *map(math.floor, powers)])), max([1, *map(math.ceil, powers)])
    bound = f"{100 * -low / (high - low):.2f}%"
    lines = []
    for row, error in errors:
        power = high if not error < math.inf else math.log10(error) if error > 0 else low
        width = 100 * max(0.0, (power - low) / (high - low))
        bar = f'<div class="bar {_class(row.verdict)}" style="width: {width:.2f}%"></div>'
        lines.append(
            f'<div class="label">{_escape(row.what)}</div>'
            f'<div class="track">{bar}<div class="bound" style="left: {bound}"></div></div>'
            f"<div>{error_over_bound(row)}</div>\n"
        )
    scale = f'<span>1e{low}</span><span style="left: {bound}">1</span><span style="left: 100%">1e{high}</span>'
    lines.append(f'<div class="label"></div><div class="scale">{scale}</div><div></div>\n')
    note = "Largest error of random data over the bound of its rounding, on a log scale; the line is the bound, 1."
    return f'<h2>Error over its bound</h2>\n<p class="note">{note}</p>\n<div class="bars">\n{"".join(lines)}</div>\n'


def _section(row: ReportRow) -> str:
    """Return where a wrong row is wrong, in words and in pictures; "" for all others."""
    if row.verdict != WRONG or row.evidence is None:
        return ""
    words = _escape("\n".join(where(row)))
    return f'<h2>{_escape(row.what)}: where it is wrong</h2>\n<p class="where">{words}</p>\n{_maps(row.evidence)}'


def _rest(report: ReportData) -> str:
    """Return the witnesses, the program that shows it, and the versions."""
    parts = []
    if report.traceback:
        parts.append(f"<h2>{RAISED}</h2>\n<pre>{_escape(report.traceback)}</pre>\n")
    if report.witnesses:
        items = "".join(f"<li>{_escape(witness)}</li>" for witness in report.witnesses)
        parts.append(f"<h2>Witnesses</h2>\n<ul>{items}</ul>\n")
    if report.counterexample:
        parts.append(f"<h2>{PROGRAM}</h2>\n<pre>{html.escape(report.counterexample)}</pre>\n")
    return "".join(parts) + f'<p class="note">{_escape(made_with(report))}</p>'


class Panel(NamedTuple):
    """One picture: the values of its cells, and the real numbers that their colours say."""

    name: str
    values: np.ndarray
    shown: np.ndarray
    most: float


def _maps(e: Evidence) -> str:
    """Return the slice around the first wrong element: expected, found and their difference, and a caption."""
    if e.expected.ndim == 0 or e.expected.shape != e.found.shape:
        return ""
    rows, columns = (_near(i, n) for i, n in zip((0, *e.index)[-2:], (1, *e.expected.shape)[-2:], strict=True))
    is_complex = np.iscomplexobj(e.expected) or np.iscomplexobj(e.found)
    dtype = complex if is_complex else float
    expected, found = (_slice(a, e.index, rows, columns).astype(dtype) for a in (e.expected, e.found))
    with np.errstate(invalid="ignore", over="ignore"):  # infinite elements are drawn as such
        values = expected, found, found - expected
    shown = [np.abs(a) if is_complex else a for a in values]
    most = [max(map(_most, shown[:2]))] * 2 + [_most(shown[2])]
    names = ("expected", "found", "difference, found - expected")
    panels = [Panel(*parts) for parts in zip(names, values, shown, most, strict=True)]
    return (
        f'<p class="note">{_escape(_caption(e, rows, columns, is_complex))}</p>\n{_svg(panels, e.index, rows, columns)}'
    )


def _near(i: int, n: int) -> range:
    """Return the positions around one that are shown."""
    start = min(max(0, i - MOST // 2), max(0, n - MOST))
    return range(start, min(n, start + MOST))


def _slice(a: np.ndarray, index: tuple[int, ...], rows: range, columns: range) -> np.ndarray:
    """Return what is shown of the last two axes; of one axis, a row."""
    plane = a[index[:-2]] if a.ndim > 1 else a[None]
    return plane[rows.start : rows.stop, columns.start : columns.stop]


def _most(a: np.ndarray) -> float:
    """Return the largest finite absolute value."""
    return float(np.abs(a[np.isfinite(a)]).max(initial=0))


def _caption(e: Evidence, rows: range, columns: range, is_complex: bool) -> str:
    """Return which elements are shown, and what the colours say."""
    sizes = (1, *e.expected.shape)[-2:]
    cut = [":" if len(r) == n else f"{r.start}:{r.stop}" for r, n in zip((rows, columns), sizes, strict=True)]
    elements = [*map(str, e.index[:-2]), *cut][-e.expected.ndim :]
    caption = f"Elements [{', '.join(elements)}] of shape {e.expected.shape}; the first wrong one is outlined."
    if set(cut) != {":"}:
        caption += f" Cut to {len(rows)} x {len(columns)} around it."
    return caption + (" Colours and numbers are absolute values of complex ones." if is_complex else "")


def _svg(panels: list[Panel], index: tuple[int, ...], rows: range, columns: range) -> str:
    """Return the panels side by side."""
    cell = 36 if len(columns) <= FEW else max(9, 288 // len(columns))
    pitch = max(NARROWEST, cell * len(columns)) + GAP
    width, height = len(panels) * pitch - GAP + 4, LABEL + cell * len(rows) + LEGEND
    inner = "".join(
        f'<g transform="translate({2 + n * pitch} 0)">\n{_panel(panel, index, rows, columns, cell)}</g>\n'
        for n, panel in enumerate(panels)
    )
    size = f'width="{width}" height="{height}" viewBox="0 0 {width} {height}"'
    svg = f'<svg {size} role="img" aria-label="Error map: expected, found, and their difference">'
    return f'<div class="wide">{svg}\n{inner}</svg></div>\n'


def _panel(panel: Panel, index: tuple[int, ...], rows: range, columns: range, cell: int) -> str:
    """Return one panel: its name, its cells with their tooltips, the outline of the first wrong one, the legend."""
    parts = [f'<text x="0" y="13">{panel.name}</text>\n']
    for (r, c), shown in np.ndenumerate(panel.shown):
        x, y = c * cell, LABEL + r * cell
        full = (*index[:-2], rows[r], columns[c])[-len(index) :]
        tooltip = f"<title>{_escape(f'{full}: {wording.value(panel.values[r, c])}')}</title>"
        parts.append(
            f'<rect x="{x}" y="{y}" width="{cell}" height="{cell}" {_fill(shown, panel.most)}>{tooltip}</rect>\n'
        )
        if len(columns) <= FEW:
            parts.append(f'<text class="in-cell" x="{x + cell / 2:g}" y="{y + cell / 2 + 4:g}">{shown:.3g}</text>\n')
    width, height = cell * len(columns), cell * len(rows)
    parts.append(f'<rect class="frame" x="0" y="{LABEL}" width="{width}" height="{height}"></rect>\n')
    x, y = cell * columns.index(index[-1]), LABEL + cell * rows.index((0, *index)[-2])
    parts.append(f'<rect class="first" x="{x}" y="{y}" width="{cell}" height="{cell}"></rect>\n')
    return "".join(parts) + _legend(panel, LABEL + height + 8)


def _fill(shown: float, most: float) -> str:
    """Return the attributes that colour a cell: stronger is larger, and the two colours are the two signs."""
    if not math.isfinite(shown):
        return 'class="infinite"'
    if shown == 0 or most == 0:
        return 'class="zero"'
    # never so faint that it looks like 0
    return f'class="{"above" if shown > 0 else "below"}" fill-opacity="{0.15 + 0.7 * abs(shown) / most:.2f}"'


def _legend(panel: Panel, y: int) -> str:
    """Return the colours, and the values at their ends."""
    low = -panel.most if (panel.shown < 0).any() else 0.0
    swatches = "".join(
        f'<rect x="{n * SWATCH}" y="{y}" width="{SWATCH}" height="8" {_fill(step, panel.most)}></rect>'
        for n, step in enumerate(np.linspace(low, panel.most, 9).tolist())
    )
    words = f"{low:.3g} to {panel.most:.3g}"
    if not np.isfinite(panel.shown).all():
        swatches += f'<rect x="{10 * SWATCH}" y="{y}" width="{SWATCH}" height="8" class="infinite"></rect>'
        words += "; right: not finite"
    return f'{swatches}\n<text x="0" y="{y + 22}">{words}</text>\n'
