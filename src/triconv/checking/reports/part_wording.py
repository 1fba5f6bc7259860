"""The words for parts of a sum, and for lists of numbers; only `diagnosis_wording.py` reads them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from triconv.checking.diagnosis.contributions import frame_of, rows_of
from triconv.checking.findings.diagnosis_data import Diagnosis, Part
from triconv.checking.findings.protocol import Role

SHOWN = 6
"""Parts or positions that are listed."""


def is_one_row(d: Diagnosis) -> bool:
    """Whether the parts are one whole row, of which "is" is said."""
    rows = rows_of(d.parts or (), d.sizes) if d.sizes and len(d.sizes) > 1 else None
    return rows is not None and len(rows[1]) == 1


def parts(d: Diagnosis) -> str:
    """Return the parts of a sum in words: "the last output row", "taps (0, 1) and (2, 2)", "sample 1"."""
    if d.parts is None or d.part is None or d.sizes is None:
        return ""
    rows = rows_of(d.parts, d.sizes) if len(d.sizes) > 1 else None
    if rows is not None:
        axis, at = rows
        return _ends(_row(d.part, axis, len(d.sizes)), at, d.sizes[axis])
    if len(d.sizes) == 1:
        axis = d.axis - 2 if d.axis is not None and d.axis >= 2 else 0
        name = _row(d.part, axis, d.ndim or 1) if d.part in (Part.TAP, Part.OUTPUT, Part.INPUT) else str(d.part)
        return _ends(name, tuple(index[0] for index in d.parts), d.sizes[0])
    name = str(d.part)
    if len(d.parts) > SHOWN and set(d.parts) == set(frame_of(d.sizes)):
        return f"the {name}s at the border"
    return f"{name}{'s' if len(d.parts) > 1 else ''} {some(d.parts)}"


def _row(part: Part, axis: int, ndim: int) -> str:
    """Return what the positions along one spatial axis are called."""
    letter = str(part).removesuffix(" position")
    if ndim == 2:
        return f"{letter} {'column' if axis else 'row'}"
    return str(part) if ndim == 1 else f"{part} in spatial axis {axis}"


def _ends(name: str, at: tuple[int, ...], size: int) -> str:
    """Return some positions in words, with "first" and "last" for those at the ends."""
    if size > 2 or "channel" not in name:
        if at == (size - 1,):
            return f"the last {name}"
        if at == (0,):
            return f"the first {name}"
        if at == (0, size - 1) and size > 2:
            return f"the first and the last {name}"
    letter, _, where = name.partition(" in ")
    return f"{letter}{'s' if len(at) > 1 else ''} {some(at)}{f' in {where}' if where else ''}"


def some(numbers: tuple[Any, ...]) -> str:
    """Return a list in words, cut where it is long."""
    shown = [str(n) for n in numbers[:SHOWN]]
    if len(numbers) > SHOWN:
        return f"{', '.join(shown)}, ... ({len(numbers)} in all)"
    return " and ".join([", ".join(shown[:-1]), shown[-1]] if len(shown) > 1 else shown)


def weights(d: Diagnosis) -> str:
    """Return how often each part counts: "sample 0 twice, sample 3 not at all"."""
    pairs = list(zip(d.parts or (), d.weights or (), strict=True))
    words = []
    for index, weight in pairs[:SHOWN]:
        at = index if len(index) > 1 else index[0]
        times = {0.0: "not at all", 2.0: "twice"}.get(weight, f"{weight:.4g} times")
        words.append(f"{d.part} {at} {times}")
    more = f", ... ({len(pairs)} in all)" if len(pairs) > SHOWN else ""
    return ", ".join(words) + more


def pairs(numbers: tuple[float, ...] | None) -> str:
    """Return what becomes of some numbers: "-1 becomes -0.15, 0 becomes 0"."""
    every = numbers or ()
    return ", ".join(f"{a:.4g} becomes {b:.4g}" for a, b in zip(every[::2], every[1::2], strict=True))


def slice_of(d: Diagnosis) -> str:
    """Return what one slice along the axis of a result is called."""
    if d.axis is None:
        return ""
    if d.role is None:
        return f"slice in axis {d.axis}"
    if d.role == Role.BIAS:
        return "channel"
    if d.axis >= 2:
        return f"position in spatial axis {d.axis - 2}" if d.role != Role.W else f"tap in spatial axis {d.axis - 2}"
    if d.role == Role.W:
        return "output channel" if d.axis == 0 else "input channel"
    return "sample" if d.axis == 0 else "channel"


def slices_of(d: Diagnosis) -> str:
    """Return what slices are called: "positions in spatial axis 0" for "position in spatial axis 0"."""
    unit, in_, where = slice_of(d).partition(" in ")
    return f"{unit}s{in_}{where}"


def slices_at(d: Diagnosis) -> str:
    """Return some slices in words: "samples 1 and 2", "position 3 in spatial axis 0"."""
    unit, _, where = slice_of(d).partition(" in ")
    at = d.positions or ()
    return f"{unit}{'' if len(at) == 1 else 's'} {some(at)}{f' in {where}' if where else ''}"


def slice_at(d: Diagnosis, position: int) -> str:
    """Return one slice in words."""
    return slices_at(replace(d, positions=(position,)))


def axes_of(d: Diagnosis) -> str:
    """Return some axes of a result in words: "samples and channels"."""
    names = (slices_of(replace(d, axis=axis)) for axis in d.axes or ())
    return " and ".join(name.partition(" in ")[2] or name for name in names)


def replaced(d: Diagnosis) -> str:
    """Return which slices are those of other places, of which `positions` has all: "sample 2 is what sample 0 must be"."""
    moved = [(n, source) for n, source in enumerate(d.positions or ()) if n != source]
    more = f", ... ({len(moved)} in all)" if len(moved) > SHOWN else ""
    return ", ".join(f"{slice_at(d, n)} is what {source} must be" for n, source in moved[:SHOWN]) + more


FUNCTIONS = {
    "relu": "a ReLU",
    "abs": "an absolute value",
    "relu of -": "min(a, 0)",
    "relu6": "a ReLU6",
    "square": "a square",
    "tanh": "a tanh",
    "sigmoid": "a sigmoid",
    "round": "a rounding",
    "floor": "a floor",
    "trunc": "a cut",
}


def partial_sums(d: Diagnosis) -> str:
    """Return which terms a partial sum is over, and the function that it goes through."""
    function = FUNCTIONS.get(d.function or "", "")
    if d.function == "clip":
        function = "a clip to {:g} .. {:g}".format(*(d.weights or (0, 0)))
    elif d.amount is not None:
        function += f" to multiples of {d.amount:g}"
    elif d.function == "round":
        function += " to whole numbers"
    if d.mode in ("running", "before"):
        unit, _, order = (d.parameter or "").partition(" (")
        of_order = f" ({order}" if order else ""
        when = f"after each {unit}" if d.mode == "running" else f"before each {unit} but the first is added"
        return f"one {unit} after the other{of_order} goes through {function}: the running sum does, {when}"
    return f"one {d.parameter} goes through {function} before it is added to the others"
