"""Incidence tables as HTML: `page` is one file that needs no network, `fragment` is for notebooks. Neither has a script."""

from __future__ import annotations

import html

from triconv.tables import labels, table_svg, table_text
from triconv.tables.axis_table import AxisTable
from triconv.tables.shown_call import ShownCall

# characters in a line of the text
TEXT_WIDTH = 100

LIGHT = (
    "--paper:#fff;--ink:#1f2328;--dim:#57606a;--line:#c4ccd4;--cell:#e8f1fb;--pad:#f6f8fa;--mark:#0550ae;--on-mark:#fff;"
    "--pad-mark:#ffe2a8"
)
DARK = (
    "--paper:#0d1117;--ink:#e6edf3;--dim:#9aa4af;--line:#3d444d;--cell:#16283d;--pad:#161b22;--mark:#79c0ff;--on-mark:#0d1117;"
    "--pad-mark:#5c4300"
)
# notebooks say which theme they have; what says nothing has that of the system
LIGHT_PAGES = 'body[data-jp-theme-light="true"] .triconv-show, body.vscode-light .triconv-show'
DARK_PAGES = 'body[data-jp-theme-light="false"] .triconv-show, body.vscode-dark .triconv-show'

STYLE = f"""
.triconv-show {{
  {LIGHT}; color: var(--ink); background: var(--paper); font: 15px/1.45 system-ui, "Segoe UI", Roboto, sans-serif;
}}
@media (prefers-color-scheme: dark) {{ .triconv-show {{ {DARK}; }} }}
{LIGHT_PAGES} {{ {LIGHT}; }}
{DARK_PAGES} {{ {DARK}; }}
.triconv-show .call {{ font-weight: 600; margin: .3em 0; overflow-wrap: anywhere; }}
.triconv-show .equation {{ font: 600 15px ui-monospace, Consolas, monospace; margin: 1.3em 0 .5em; }}
.triconv-show .note {{ color: var(--dim); font-size: 13px; margin: .2em 0; overflow-wrap: anywhere; }}
.triconv-show .wide {{ overflow-x: auto; display: flex; flex-wrap: wrap; gap: 6px 26px; align-items: flex-start; }}
.triconv-show svg {{ flex: none; font: 13px ui-monospace, Consolas, monospace; }}
.triconv-show svg text {{ text-anchor: middle; pointer-events: none; fill: var(--ink); }}
.triconv-show svg text.none, .triconv-show svg text.edge {{ fill: var(--dim); }}
.triconv-show svg text.edge {{ font-size: 11px; }}
.triconv-show svg text.side {{ text-anchor: end; fill: var(--dim); }}
.triconv-show svg text.name {{ text-anchor: start; font-weight: 600; }}
.triconv-show .e rect {{ fill: var(--on, var(--base)); stroke: var(--line); }}
.triconv-show svg .e text {{ fill: var(--text, var(--words)); }}
.triconv-show .e {{ --base: var(--paper); --words: var(--ink); outline: none; }}
.triconv-show .e.c, .triconv-show .grids .e {{ --base: var(--cell); }}
.triconv-show .e.e.pad {{ --base: var(--pad); --words: var(--dim); }}
.triconv-show .e.pad rect {{ stroke-dasharray: 3 2; }}
.triconv-show .e.zero {{ --mark: var(--pad-mark); --on-mark: var(--ink); }}
.triconv-show .e:is(:hover, :focus-visible) rect {{ stroke: var(--ink); stroke-width: 2; }}
.tcs:has(.e:is(:hover, :focus-visible)) .e {{ --on: var(--mark); --text: var(--on-mark); }}
.triconv-show .sums {{
  font: 13px/1.5 ui-monospace, Consolas, monospace; min-height: 4.5em; margin: .4em 0; overflow-wrap: anywhere;
}}
.triconv-show .sums .hint {{ color: var(--dim); font-family: system-ui, sans-serif; }}
.triconv-show .sums .s {{ display: none; }}
.tcs:has(.e:is(:hover, :focus-visible)) .hint {{ display: none; }}
.tcs:has(.y:is(:hover, :focus-visible)) .s.y,
.tcs:has(.x:is(:hover, :focus-visible)) .s.x,
.tcs:has(.w:is(:hover, :focus-visible)) .s.w, .tcs:has(.c:hover) .s {{ display: block; }}
.triconv-show .readings, .triconv-show pre {{ font: 13px/1.5 ui-monospace, Consolas, monospace; overflow-x: auto; }}
.triconv-show pre {{ background: var(--pad); color: var(--ink); padding: .8em; line-height: 1.35; }}
.triconv-show .readings div {{ overflow-wrap: anywhere; }} .triconv-show .readings span {{ color: var(--dim); }}
.triconv-show summary {{ cursor: pointer; color: var(--dim); margin-top: .8em; }}
"""
PAGE_STYLE = (
    "body { margin: 0; } main { max-width: 980px; margin: 0 auto; padding: 1em 16px 3em; } h1 { font-size: 1.15em; }"
)


def page(tables: ShownCall) -> str:
    """Return the tables as one HTML file."""
    title = html.escape(labels.title(tables))
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{title}</title>
<style>{PAGE_STYLE}</style>
</head>
<body class="triconv-show">
<main>
{_body(tables, "h1")}</main>
</body>
</html>
"""


def fragment(tables: ShownCall) -> str:
    """Return the tables as a part of a page."""
    return f'<div class="triconv-show" style="padding: 2px 10px">\n{_body(tables, "p")}</div>\n'


def _body(tables: ShownCall, heading: str) -> str:
    """Return the pictures, what is worth a sentence, the sums, and all of it as text."""
    t = tables.tensors
    parts, pictures = [], []
    if len(t.tables) == 2 and all(map(_has_picture, t.tables)):
        pictures.append(table_svg.grid_picture(tables))
        parts.append(pictures[-1].html)
    if not t.tables:
        parts.append(f'<p class="note">{labels.NO_AXIS}</p>\n')
    for words, table in labels.headings(t):
        parts.append(f'<p class="equation">{html.escape(words)}</p>\n')
        if _has_picture(table):
            pictures.append(table_svg.axis_picture(tables, table))
            parts.append(pictures[-1].html)
        shown = table_svg.Classes.of_table(table)
        rows = [o for o in shown.rows if o is not None]
        columns = [column for column in shown.columns if column is not None]
        notes = labels.notes(table, t, rows, columns, "Dashed")
        parts += [f'<p class="note">{html.escape(note)}</p>\n' for note in notes]
    role = labels.role_of_operator(t)
    head = f'<{heading} class="call">{html.escape(labels.title(tables))}</{heading}>\n'
    head += f'<p class="note">{html.escape(role)}</p>\n' if role else ""
    readings = "".join(
        f"<div><span>{how}</span> {html.escape(labels.together(words))}</div>\n"
        for how, words in labels.readings(tables)
    )
    text = html.escape(table_text.text(tables, TEXT_WIDTH))
    style = f"<style>{STYLE}{table_svg.rules(pictures)}</style>\n"
    return (
        f'{style}{head}{"".join(parts)}<div class="readings">\n{readings}</div>\n'
        f"<details><summary>The same as text</summary><pre>{text}</pre></details>\n"
    )


def _has_picture(table: AxisTable) -> bool:
    return bool(table.outputs and table.columns and table.taps)
