"""The colours and the layout of a report in HTML: for light, dark and paper, on a page of its own and in a notebook."""

from __future__ import annotations

LEVELS = 6
"""Strengths of a colour in a picture."""
# a class name of each: `a` above zero, `b` below, by strength; `i` not finite; `z` zero
LIGHT = {
    "z": "#ffffff", "i": "#a8328f",
    "a1": "#fff1e5", "a2": "#ffd8b5", "a3": "#ffb77c", "a4": "#f28c3c", "a5": "#c9540f", "a6": "#8f3606",
    "b1": "#e8f2fc", "b2": "#c4ddf6", "b3": "#93c1ee", "b4": "#5a9be0", "b5": "#1f6fc0", "b6": "#0d4480",
}  # fmt: skip
DARK = {
    "z": "#0d1117", "i": "#e085cf",
    "a1": "#33200f", "a2": "#56331a", "a3": "#84491c", "a4": "#b5601f", "a5": "#e07f33", "a6": "#ffab66",
    "b1": "#0f2238", "b2": "#163a61", "b3": "#1d558f", "b4": "#2d75c4", "b5": "#58a1ef", "b6": "#9fcbff",
}  # fmt: skip
LIGHT_WORDS = {
    "paper": "#ffffff", "ink": "#1f2328", "dim": "#59636e", "line": "#d0d7de", "shade": "#f6f8fa",
    "right": "#1a7f37", "imprecise": "#8a5a00", "wrong": "#c01f2b", "unchecked": "#9c2a84", "unsupported": "#59636e",
}  # fmt: skip
DARK_WORDS = {
    "paper": "#0d1117", "ink": "#e6edf3", "dim": "#9198a1", "line": "#3d444d", "shade": "#161b22",
    "right": "#3fb950", "imprecise": "#d29922", "wrong": "#ff7b72", "unchecked": "#e085cf", "unsupported": "#9198a1",
}  # fmt: skip

# more specific than any rule of a notebook for tables, cells, rows and code
SCOPE = ".triconv" * 4
NOTEBOOK_IS_DARK = ('[data-jp-theme-light="false"]', ".vscode-dark", ".vscode-high-contrast", 'html[theme="dark"]')


def contrast(first: str, second: str) -> float:
    """Return the contrast ratio of two colours, as WCAG 2 defines it: text needs 4.5."""
    low, high = sorted(map(_luminance, (first, second)))
    return (high + 0.05) / (low + 0.05)


def on(colour: str) -> str:
    """Return black or white, whichever can be read on a colour; one of the two has a contrast of at least 4.58."""
    return max(("#000000", "#ffffff"), key=lambda ink: contrast(ink, colour))


def _luminance(colour: str) -> float:
    parts = (int(colour[n : n + 2], 16) / 255 for n in (1, 3, 5))
    red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def _colours(cells: dict[str, str], words: dict[str, str]) -> str:
    named = {**words, **cells, **{f"on-{name}": on(colour) for name, colour in cells.items()}}
    return " ".join(f"--{name}: {colour};" for name, colour in named.items())


def _theme(*, in_notebook: bool) -> str:
    dark = _colours(DARK, DARK_WORDS)
    if in_notebook:  # whose theme is not that of the system
        theme = f"{', '.join(f'{one} .triconv' for one in NOTEBOOK_IS_DARK)} {{ {dark} }}"
    else:
        theme = f"@media (prefers-color-scheme: dark) {{ .triconv {{ {dark} }} }}"
    light = _colours(LIGHT, LIGHT_WORDS)
    return f".triconv {{ {light} }}\n{theme}\n@media print {{ {SCOPE} {{ {light} }} }}\n"


_CELLS = "\n".join(
    f"& .{name} {{ fill: var(--{name}); }} & .cells rect.{name} + text {{ fill: var(--on-{name}); }}" for name in LIGHT
)
_RULES = f"""
& {{
  color: var(--ink); background: var(--paper); font: 15px/1.45 system-ui, "Segoe UI", Roboto, sans-serif; text-align: left;
}}
& p {{ margin: .5em 0; }}
& h2 {{ font-size: 1.1em; font-weight: 600; line-height: 1.3; margin: 1.6em 0 .4em; color: var(--ink); }}
& .about, & .note {{ color: var(--dim); overflow-wrap: anywhere; }}
& .note {{ font-size: 13px; margin: .4em 0; }}
& .verdict {{
  border-left: 4px solid; background: var(--shade); padding: .6em .9em; margin: 1em 0; overflow-wrap: anywhere;
}}
& .fix {{ overflow-wrap: anywhere; }} & .fix b {{ font-weight: 600; }}
& .right {{ color: var(--right); }} & .imprecise {{ color: var(--imprecise); }}
& .wrong {{ color: var(--wrong); font-weight: 600; }} & .unchecked {{ color: var(--unchecked); }}
& .unsupported {{ color: var(--unsupported); }}
& table {{
  border-collapse: collapse; table-layout: auto; width: 100%; margin: .6em 0 1em; font-size: 14px; border: 0; color: var(--ink);
}}
& caption {{ text-align: left; color: var(--dim); font-size: 13px; padding: .2em 0; caption-side: top; }}
& tr, & tbody tr:nth-child(n), & thead {{ background: none; border: 0; }}
& th, & td {{
  text-align: left; vertical-align: top; padding: .35em .9em .35em 0; border: 0; border-bottom: 1px solid var(--line);
  overflow-wrap: anywhere; white-space: normal; max-width: none; line-height: 1.4; background: none;
}}
& thead th {{ color: var(--dim); font-weight: 500; overflow-wrap: normal; }}
& tbody th {{ font-weight: 500; min-width: 9em; }}
& td.short {{ white-space: nowrap; }}
& .number {{ text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }}
& pre {{
  background: var(--shade); color: var(--ink); padding: .8em; margin: .4em 0; overflow: auto; max-height: 30em; border: 0;
  font: 13px/1.4 ui-monospace, Menlo, Consolas, monospace; white-space: pre;
}}
& .where {{ overflow-wrap: anywhere; font-size: 14px; }}
& summary {{ cursor: pointer; color: var(--dim); font-size: 14px; margin: .6em 0; }}
& figure {{ margin: .6em 0; }} & figcaption {{ color: var(--dim); font-size: 13px; overflow-wrap: anywhere; }}
& .maps {{ display: flex; flex-wrap: wrap; gap: 14px 28px; overflow-x: auto; }}
& svg {{ display: block; flex: none; font: 12px system-ui, sans-serif; fill: var(--ink); max-width: none; }}
& .frame {{ fill: none; stroke: var(--dim); }}
& .first {{ fill: none; stroke: var(--ink); stroke-width: 2.5; pointer-events: none; }}
& .cells text {{ font-size: 11px; text-anchor: middle; pointer-events: none; }}
{_CELLS}
& .program {{ position: relative; }}
& .copy {{
  position: absolute; right: 0; top: -.2em; padding: .1em .7em; font: inherit; font-size: 13px; cursor: pointer;
  color: var(--ink); background: var(--paper); border: 1px solid var(--dim); border-radius: 4px;
}}
& .bars {{ display: grid; grid-template-columns: max-content 1fr 5em; gap: 5px 12px; font-size: 13px; }}
& .bars > * {{ align-self: center; }}
& .track {{ position: relative; height: 14px; background: var(--shade); }}
& .bar {{ position: absolute; left: 0; top: 0; bottom: 0; background: currentColor; }}
"""
_PHONE = """
@media (max-width: 640px) {
  & thead { display: none; }
  & tr { display: block; border-bottom: 1px solid var(--line); padding: .5em 0; }
  & tbody th, & tbody td { display: inline-block; border: 0; padding: 0 .9em .1em 0; }
  & tbody th, & tbody td:last-child { display: block; }
  & tbody td:empty { display: none; }
  & td.number::before { content: "error/bound "; color: var(--dim); }
  & .bars { grid-template-columns: 1fr 5em; } & .bars .label { grid-column: 1 / -1; margin-bottom: -4px; }
}
"""
_PRINT = """
@media print {
  & { font-size: 10pt; print-color-adjust: exact; -webkit-print-color-adjust: exact; }
  & .copy { display: none; }
  & pre { max-height: none; white-space: pre-wrap; overflow-wrap: anywhere; font-size: 8.5pt; }
  & table { font-size: 8.5pt; } & th, & td { padding: .15em .7em .15em 0; }
  & tr, & figure, & .verdict, & .fix { break-inside: avoid; } & h2 { break-after: avoid; margin-top: 1em; }
}
"""


def _scoped(rules: str) -> str:
    return rules.replace("&", SCOPE)


NOTEBOOK = _theme(in_notebook=True) + _scoped(_RULES)
"""The style of a report in a notebook."""
PAGE = _theme(in_notebook=False) + _scoped(_RULES + _PHONE + _PRINT) + """
body { margin: 0; } main { max-width: 980px; margin: 0 auto; padding: 1.2em 16px 3em; }
h1 { font-size: 1.4em; margin: 0; overflow-wrap: anywhere; }
@media print { @page { margin: 14mm; } main { max-width: none; padding: 0; } }
"""  # fmt: skip
"""The style of a report on a page of its own."""
COPY = """<script>
for (const button of document.querySelectorAll(".copy")) {
  button.hidden = false;
  button.onclick = async () => {
    const program = button.closest("section").querySelector("pre");
    try {
      await navigator.clipboard.writeText(program.textContent);
      button.textContent = "copied";
    } catch {
      getSelection().selectAllChildren(program);
      button.textContent = "selected: press Ctrl+C";
    }
  };
}
</script>
"""
"""Shows the copy buttons and lets them work; where a browser has no clipboard, they select the program."""
