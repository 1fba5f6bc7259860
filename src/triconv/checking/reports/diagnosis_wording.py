"""A diagnosis in words: fills the places of its sentence in `hypothesis_sentences`. Only `wording.py` reads it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from triconv.checking.findings.causes import Cause, Hypothesis
from triconv.checking.findings.diagnosis_data import Diagnosis, Factor, Region
from triconv.checking.findings.protocol import Role
from triconv.checking.reports import part_wording, region_wording, transposed_wording
from triconv.checking.reports.hypothesis_sentences import HYPOTHESES

TENSORS = {Role.X: "x", Role.W: "the kernel", Role.G: transposed_wording.COTANGENT, Role.BIAS: "the bias"}
CHANNELS = {
    (Role.X, 1): "channels",
    (Role.G, 1): "channels",
    (Role.W, 0): "output channels",
    (Role.W, 1): "input channels",
}
LETTERS = {
    (Role.X, 0): "batch",
    (Role.G, 0): "batch",
    (Role.X, 1): "input channels",
    (Role.W, 1): "input channels",
    (Role.W, 0): "output channels",
    (Role.G, 1): "output channels",
}

RULED_OUT = (
    "sign and factors, flips, shifts, another stride, dilation or padding, swapped axes or channels, missing taps, rows, "
    "channels or samples"
)
NUMBERS = {1: "one", 2: "two", 3: "three"}
FRACTIONS = {2: "half of", 3: "a third of", 4: "a quarter of"}
CROPS = {
    "before": "at the start alone, as with [p:] for [p:-p]",
    "after": "at the end alone, as with [:-p] for [p:-p]",
    "exchanged": "by the padding of the other side",
    "twice before": "twice at the start and not at the end",
    "twice after": "twice at the end and not at the start",
    "by the padding before": "by the padding before the input on both sides",
    "by the padding after": "by the padding after the input on both sides",
    "too much": "twice on both sides",
    "whole": "in some axes alone",
}
NEAR_ONE = 1e-6
"""How near to 1 a number is shown as 1 and its difference from it."""


def diagnosis(d: Diagnosis) -> str:
    """Return a diagnosis in a sentence."""
    axes = d.spatial_axes or ()
    parts = part_wording.parts(d)
    is_one = d.parts is not None and (len(d.parts) == 1 or part_wording.is_one_row(d))
    words: dict[str, Any] = {
        "tensor": TENSORS[d.role] if d.role else "",
        "tensor_or_all": TENSORS[d.role] if d.role else "every operand",
        "rounded": "the result is rounded"
        if d.mode == "result"
        else f"{TENSORS[d.role] if d.role else 'every operand'} was rounded",
        "before_all": "" if d.mode == "result" else " first",
        "channels": CHANNELS.get((d.role, d.axis), "channels") if d.role and d.axis is not None else "",
        "slice": part_wording.slice_of(d),
        "slices": part_wording.slices_of(d),
        "sharded": axis_of(d.role, d.axis) if d.role and d.axis is not None else "",
        "axis": d.axis,
        "axes": _list(d.axes),
        "derivative": "value" if d.function == "value" else "derivative",
        "axis_names": part_wording.axes_of(d),
        "spatial_axes": _list(d.spatial_axes),
        "in_spatial_axis": f" in spatial axis {axes[0]}" if len(axes) == 1 else "",
        "first": axes[0] if axes else None,
        "second": axes[-1] if axes else None,
        "index": d.index,
        "positions": _list(d.positions),
        "positions_and": " and ".join(map(str, d.positions or ())),
        "first_slice": part_wording.slice_at(d, (d.positions or (0,))[0]),
        "per_slice": "all" if d.axis is None else f"each slice along axis {d.axis}",
        "replaced": part_wording.replaced(d),
        "before": (d.offset or (0,))[0],
        "off": _off(d),
        "is_or_are_off": "is" if abs(next((n for n in d.offset or () if n), 1)) == 1 else "are",
        "amount": d.amount,
        "factor": factor(d.factor) if d.factor else "",
        "exact_factor": _near_one(d.factor.value) if d.factor else None,
        "also": f" ({d.size} is also {' and '.join(d.factor.names)})" if d.factor and d.factor.names else "",
        "size": d.size,
        "total": d.total,
        "parameter": d.parameter,
        "with_parameter": {"both": ", and so is the dilation", "padding": ", and so is the padding"}.get(
            d.parameter or "", ""
        ),
        "mode": d.mode,
        "of_quotient": f" after it is divided by {d.size}" if d.size else "",
        "place": "corners, where two sides of it meet" if d.parameter == "corners" else d.parameter,
        "empty_slice": ": a slice such as p:-p is empty for p = 0" if d.mode == "slice" else "",
        "other_size": f", as many as the other spatial axis has ({d.size})" if d.size else "",
        "convention": "the other operand" if d.conjugates else "nothing",
        "device": d.device,
        "devices": d.devices,
        "mesh_axes": " and ".join(map(repr, d.mesh_axes or ())),
        "parts": parts,
        "is_or_are": "is" if is_one else "are",
        "has_or_have": "has" if is_one else "have",
        "overwritten": ", as where = stands for +=" if d.cause == Cause.OVERWRITTEN else "",
        "letter": f"; only one {d.part} is in it" if d.part else "",
        "weights": part_wording.weights(d) if d.weights and d.parts else "",
        "becomes": part_wording.pairs(d.weights) if d.hypothesis == Hypothesis.SOME_FUNCTION else "",
        "of_each": f" in each {d.part}" if d.part else "",
        "clipping": ": it was normalised, or its norm was clipped to 1" if d.function == "norm" else "",
        "range": "{} to {}".format(*(f"{end:g}" for end in d.weights)) if d.weights and len(d.weights) == 2 else "",
        "function": CROPS.get(d.function or "", d.function or ""),
        "per": _per(d),
        "and_channels": " and each channel" if d.size and d.size > 1 else "",
        "or_clipped": ", or that clipped to the range -1 to 1" if d.function == "sign" else "",
        "partial_sums": part_wording.partial_sums(d) if d.hypothesis == Hypothesis.PARTIAL_SUMS else "",
        "wrong_slices": part_wording.slices_at(d),
        "ruled_out": RULED_OUT,
        "of_tile": f", in those of {d.function} of each tile" if d.function else "",
        "constant": f": {d.parameter}" if d.parameter else "",
        "rest": f"{'last' if d.mode == 'first' else 'first'} {(d.total or 0) - (d.size or 0)}",
    }
    if d.region is not None:
        words |= _region(d, d.region)
    if d.hypothesis in (Hypothesis.INDEX_WRAPS, Hypothesis.INDEX_NEGATIVE):
        along = "" if d.axis is None or d.role is None else f" along {axis_of(d.role, d.axis)}"
        along = along if (d.axis or 0) >= 2 else along.replace("along", "along the")
        words |= {"function": (d.size or 1).bit_length() - 1, "along": along, "half": (d.size or 0) // 2}
    if d.is_transposed:
        crops = {"function": words["function"]}  # the padding is that of the convolution
        words = {key: transposed_wording.exchanged(word) for key, word in words.items()} | crops
    sentence = HYPOTHESES[d.hypothesis].format_map(words)
    if d.factor is not None and d.hypothesis not in WITH_FACTOR:
        sentence += f"; and every element is {factor(d.factor, 'that')}"
    if d.also is None:
        return sentence
    if d.region is not None:
        return f"{sentence}; {'in some of these' if d.region.partly else 'there'}, {diagnosis(d.also)}"
    return f"there are two mistakes: {sentence}; besides, {diagnosis(d.also)}"


def _region(d: Diagnosis, region: Region) -> dict[str, str]:
    """Return the words for where a result is wrong."""

    def name(axis: int) -> str:
        return part_wording.slice_of(replace(d, axis=axis))

    content = "" if d.also is not None else f": {region_wording.content(region)}"
    return {
        "region": region_wording.region(region, name),
        "outside": region_wording.outside(region, name),
        "tiles": region_wording.tiles(region),
        "content": content,
    }


def _near_one(c: float) -> str:
    """Return a number near 1, with the digits that tell it from 1."""
    off = abs(c - 1)
    return f"1 {'-' if c < 1 else '+'} {off:.2g}" if 0 < off < NEAR_ONE else f"{c:.9g}"


WITH_FACTOR = (
    Hypothesis.FACTOR,
    Hypothesis.FACTOR_NEAR_ONE,
    Hypothesis.BATCH_MEAN,
    Hypothesis.NORM,
    Hypothesis.NORM_CLIPPED,
    Hypothesis.COTANGENT_CLIPPED,
    Hypothesis.FACTOR_OF_SIGN,
    Hypothesis.SLOPE_OF_RESULT,
)
"""Hypotheses whose sentence has the factor in it."""


def factor(f: Factor, of: str = "what it must be") -> str:
    """Return a factor in words, with every size of the problem that it may be: "half of what it must be (2 is ...)"."""
    if f.size is None:
        number = f"{f.value:.6g}"
        return f"{_near_one(f.value) if number == '1' else number} times {of}"
    if f.is_inverse:
        words = f"{FRACTIONS.get(f.size, f'1/{f.size} of')} {of}"
    else:
        words = f"twice {of}" if f.size == 2 else f"{f.size} times {of}"
    return words + (f" ({f.size} is {' or '.join(f.names)})" if f.names else "")


def axis_of(role: Role, axis: int) -> str:
    """Return the name of an axis of a tensor in torch's order."""
    return LETTERS.get((role, axis), f"spatial axis {axis - 2}")


def _per(d: Diagnosis) -> str:
    names = ("tap", "channel", "tap and channel")
    found = [names[n] for (n,) in d.parts or ()] if d.hypothesis == Hypothesis.BIAS_REPEATED else []
    return f", once per {' or '.join(found)}" if found else ""


def _off(d: Diagnosis) -> str:
    """Return how many rows there are too few or too many, and on which side."""
    if d.offset is None or len(d.offset) != 2:
        return ""
    is_padding = d.hypothesis == Hypothesis.PADDING_OFFSET
    unit, places = _sides(d, is_padding=is_padding)
    if d.offset[0] == d.offset[1]:
        places, offsets = (places[2],), [d.offset[0]]
    else:
        offsets = list(d.offset)
    clauses: list[str] = []
    for off, place in zip(offsets, places, strict=False):
        if off:
            count = NUMBERS.get(abs(off), str(abs(off)))
            what = f" {unit}{'s' if abs(off) > 1 else ''}" if not clauses else ""
            clauses.append(f"{count}{what} too {'few' if off < 0 else 'many'} {place}")
    return " and ".join(clauses)


def _sides(d: Diagnosis, *, is_padding: bool) -> tuple[str, tuple[str, ...]]:
    """Return what is counted, and the words for both sides and for either."""
    padding = "padding " if is_padding else ""
    if not is_padding and (d.axis or 0) < 2:
        return part_wording.slice_of(d), ("at the start", "at the end", "at either end")
    axes = d.spatial_axes if is_padding else (d.axis - 2,) if d.axis is not None else None
    if d.ndim == 2 and axes is None:
        return f"{padding}row and column", ("at the top and left", "at the bottom and right", "on every side")
    if d.ndim == 2 and axes is not None and len(axes) == 1:
        if axes[0] == 0:
            return f"{padding}row", ("at the top", "at the bottom", "at the top and at the bottom")
        return f"{padding}column", ("on the left", "on the right", "on the left and on the right")
    where = f" in spatial axis {axes[0]}" if axes is not None and len(axes) == 1 and d.ndim != 1 else ""
    each = " in every axis" if axes is None and d.ndim != 1 else where
    return f"{padding}position", (f"before{each}", f"after{each}", f"before and after{each}")


def _list(numbers: tuple[Any, ...] | None) -> str:
    return ", ".join(map(str, numbers or ()))
