"""The words for where a result is wrong; only `diagnosis_wording.py` reads them."""

from __future__ import annotations

from collections.abc import Callable

from triconv.checking.findings.diagnosis_data import Content, Region, Stretch

CONTENTS = {
    Content.ZERO: "nothing is written there (zero)",
    Content.TWICE: "each element is twice what it must be",
    Content.NEGATIVE: "each element has the other sign",
    Content.NOT_FINITE: "nothing may be written there, or what is beyond the end is read",
    Content.OTHER: "other numbers are there",
}


def region(r: Region, name: Callable[[int], str]) -> str:
    """Return a region in words, such as "samples 2 to 3 and channels 0 to 15".

    Parameters
    ----------
    r : Region
        The region.
    name : callable
        Gives what one slice along an axis is called.
    """
    return " and ".join(_stretch(s, name) for s in r.stretches)


def outside(r: Region, name: Callable[[int], str]) -> str:
    """Return the parts of which each is wrong in words, joined by "or"."""
    return " or ".join(_stretch(s, name) for s in r.stretches)


def content(r: Region) -> str:
    """Return what stands there."""
    if r.content == Content.SHIFTED and r.offset is not None:
        return f"what is there belongs {abs(r.offset)} positions {'after' if r.offset > 0 else 'before'}"
    return CONTENTS[r.content]


def tiles(r: Region) -> str:
    """Return what the region says of tiles; "" if it says nothing."""
    found = [s for s in r.stretches if s.tile is not None]
    if not found:
        return ""
    s = found[0]
    if s.period == 2 * (s.tile or 0):
        return f", every second tile of {s.tile}"
    if s.period is not None:
        return f", next to the edges of tiles of {s.tile}"
    if s.end == s.size and s.size - s.first < (s.tile or 0):
        return f", which is the last tile of {s.tile}, and not a whole one"
    return f", which is a tile of {s.tile}"


def _stretch(s: Stretch, name: Callable[[int], str]) -> str:
    if len(s.axes) > 1:
        names = [in_axis or f"{unit}s" for unit, _, in_axis in (name(axis).partition(" in ") for axis in s.axes)]
        unit, end = "element", f" of {', '.join(names[:-1])} and {names[-1]}, counted as one"
    else:
        unit, _, where = name(s.axes[0]).partition(" in ")
        end = f" in {where}" if where else ""
    if s.period is not None:
        first, last = s.residues[0], s.residues[-1]
        if len(s.residues) > 2 and last - first == len(s.residues) - 1:
            return f"{unit}s {first} to {last} of every {s.period}{end}"
        which = ", ".join(map(str, s.residues[:6])) + (", ..." if len(s.residues) > 6 else "")
        nth = {2: "second", 3: "third"}.get(s.period, f"{s.period}th")
        return f"every {nth} {unit} from {which} on{end}"
    if s.end - s.first == 1:
        return f"{unit} {s.first}{end}"
    return f"{unit}s {f'from {s.first} on' if s.end == s.size and s.first else f'{s.first} to {s.end - 1}'}{end}"
