"""The picture of a wrong result: the slice around its first wrong element, as expected, as found, and their difference."""

from __future__ import annotations

import html
import math
from typing import NamedTuple

import numpy as np

from triconv.checking.findings.evidence import Evidence
from triconv.checking.reports import wording
from triconv.checking.reports.html_style import LEVELS

# elements of a slice that are shown along an axis: with numbers in the cells, and, where it is longer than that, without
FEW, MOST = 8, 24
# pixels: above a picture, below one, and the least width, for the legend
LABEL, LEGEND, NARROWEST = 20, 34, 190
SWATCH = 14
# pixels of a cell with a number of so many characters, and of one without
DIGIT, CELL = 6.2, 36


class Panel(NamedTuple):
    """One picture: the values of its cells, and the real numbers that their colours say."""

    name: str
    values: np.ndarray
    shown: np.ndarray
    most: float


class Cut(NamedTuple):
    """What is shown of a result: rows and columns of one slice of its last two axes, in cells of so many pixels."""

    rows: range
    columns: range
    width: int
    height: int
    has_numbers: bool


def figure(e: Evidence, of: str, few: int = FEW) -> str:
    """Return the pictures and their caption; "" where there are none.

    Parameters
    ----------
    e : Evidence
        Where a result is wrong.
    of : str
        Which result it is, for the labels.
    few : int
        How many elements are shown along an axis.
    """
    if e.expected.ndim == 0 or e.expected.shape != e.found.shape:
        return ""
    sizes = (1, *e.expected.shape)[-2:]
    most = few if max(sizes) <= MOST else min(MOST, 3 * few)
    has_numbers = max(sizes) <= MOST
    rows, columns = (_near(i, n, most) for i, n in zip((0, *e.index)[-2:], sizes, strict=True))
    is_complex = np.iscomplexobj(e.expected) or np.iscomplexobj(e.found)
    expected, found = (
        _slice(a, e.index, rows, columns).astype(complex if is_complex else float) for a in (e.expected, e.found)
    )
    with np.errstate(invalid="ignore", over="ignore"):  # infinite elements are drawn as such
        values = expected, found, found - expected
    shown = [np.abs(a) if is_complex else a for a in values]
    strongest = [max(map(_most, shown[:2]))] * 2 + [_most(shown[2])]
    names = ("expected", "found", "difference, found - expected")
    panels = [Panel(*parts) for parts in zip(names, values, shown, strongest, strict=True)]
    longest = max(len(f"{number:.3g}") for panel in panels for number in panel.shown.flat) if has_numbers else 0
    side = max(CELL, math.ceil(DIGIT * longest + 8)) if has_numbers else max(9, 216 // len(columns))
    cut = Cut(rows, columns, side, CELL if has_numbers else side, has_numbers)
    maps = "".join(_svg(panel, e.index, cut, of) for panel in panels)
    caption = html.escape(_caption(e, cut, is_complex))
    return f'<figure>\n<div class="maps">\n{maps}</div>\n<figcaption>{caption}</figcaption>\n</figure>\n'


def _near(i: int, n: int, most: int) -> range:
    """Return the positions around one that are shown."""
    start = min(max(0, i - most // 2), max(0, n - most))
    return range(start, min(n, start + most))


def _slice(a: np.ndarray, index: tuple[int, ...], rows: range, columns: range) -> np.ndarray:
    """Return what is shown of the last two axes; of one axis, a row."""
    plane = a[index[:-2]] if a.ndim > 1 else a[None]
    return plane[rows.start : rows.stop, columns.start : columns.stop]


def _most(a: np.ndarray) -> float:
    """Return the largest finite absolute value."""
    return float(np.abs(a[np.isfinite(a)]).max(initial=0))


def _caption(e: Evidence, cut: Cut, is_complex: bool) -> str:
    """Return which elements are shown, and what the colours say."""
    sizes = (1, *e.expected.shape)[-2:]
    ends = [":" if len(r) == n else f"{r.start}:{r.stop}" for r, n in zip((cut.rows, cut.columns), sizes, strict=True)]
    elements = [*map(str, e.index[:-2]), *ends][-e.expected.ndim :]
    caption = f"Elements [{', '.join(elements)}] of shape {e.expected.shape}; the first wrong one is outlined."
    if set(ends) != {":"}:
        caption += f" Cut to {len(cut.rows)} x {len(cut.columns)} around it."
    return caption + (" Colours and numbers are absolute values of complex ones." if is_complex else "")


def _svg(panel: Panel, index: tuple[int, ...], cut: Cut, of: str) -> str:
    """Return one panel: its name, its cells, the outline of the first wrong one, the legend."""
    width, height = cut.width * len(cut.columns), cut.height * len(cut.rows)
    whole, tall = max(NARROWEST, width) + 4, LABEL + height + LEGEND
    x, y = (
        cut.width * cut.columns.index(index[-1]),
        LABEL + cut.height * cut.rows.index((0, *index)[-2]),
    )
    cells = _numbered(panel, index, cut) if cut.has_numbers else _coloured(panel, cut)
    return (
        f'<svg width="{whole}" height="{tall}" viewBox="-2 0 {whole} {tall}" role="img" '
        f'aria-label="{html.escape(f"{of}: {panel.name}")}">\n<text x="0" y="13">{panel.name}</text>\n'
        f'<g class="cells">\n{cells}</g>\n'
        f'<rect class="frame" x="0" y="{LABEL}" width="{width}" height="{height}"></rect>\n'
        f'<rect class="first" x="{x}" y="{y}" width="{cut.width}" height="{cut.height}"></rect>\n'
        f"{_legend(panel, LABEL + height + 8)}</svg>\n"
    )


def _numbered(panel: Panel, index: tuple[int, ...], cut: Cut) -> str:
    """Return a cell for each element, with its number, and all of it as a tooltip."""
    parts = []
    for (r, c), shown in np.ndenumerate(panel.shown):
        x, y = c * cut.width, LABEL + r * cut.height
        full = (*index[:-2], cut.rows[r], cut.columns[c])[-len(index) :]
        tooltip = html.escape(f"{full}: {wording.value(panel.values[r, c])}")
        parts.append(
            f'<rect x="{x}" y="{y}" width="{cut.width}" height="{cut.height}" class="{_class(shown, panel.most)}">'
            f'<title>{tooltip}</title></rect><text x="{x + cut.width / 2:g}" y="{y + 22}">{shown:.3g}</text>\n'
        )
    return "".join(parts)


def _coloured(panel: Panel, cut: Cut) -> str:
    """Return one path for all cells of a colour: cells side by side are one rectangle."""
    paths: dict[str, list[str]] = {}
    for r, row in enumerate(panel.shown):
        kinds = [_class(shown, panel.most) for shown in row]
        start = 0
        for c in range(1, len(kinds) + 1):
            if c == len(kinds) or kinds[c] != kinds[start]:
                x, y, width = start * cut.width, LABEL + r * cut.height, (c - start) * cut.width
                paths.setdefault(kinds[start], []).append(f"M{x} {y}h{width}v{cut.height}h-{width}z")
                start = c
    return "".join(f'<path class="{kind}" d="{"".join(steps)}"></path>\n' for kind, steps in sorted(paths.items()))


def _class(shown: float, most: float) -> str:
    """Return the class of a cell: a larger number is stronger, and the two colours are the two signs."""
    if not math.isfinite(shown):
        return "i"
    if shown == 0 or most == 0:
        return "z"
    return f"{'a' if shown > 0 else 'b'}{max(1, math.ceil(LEVELS * min(1.0, abs(shown) / most)))}"


def _legend(panel: Panel, y: int) -> str:
    """Return the colours, and the values at their ends."""
    low = -panel.most if (panel.shown < 0).any() else 0.0
    swatches = "".join(
        f'<rect x="{n * SWATCH}" y="{y}" width="{SWATCH}" height="8" class="{_class(step, panel.most)}"></rect>'
        for n, step in enumerate(np.linspace(low, panel.most, 9).tolist())
    )
    words = f"{low:.3g} to {panel.most:.3g}"
    if not np.isfinite(panel.shown).all():
        swatches += f'<rect x="{10 * SWATCH}" y="{y}" width="{SWATCH}" height="8" class="i"></rect>'
        words += "; right: not finite"
    return f'{swatches}\n<text x="0" y="{y + 22}">{words}</text>\n'
