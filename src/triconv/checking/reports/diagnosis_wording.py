"""The sentences of a diagnosis: what exactly went wrong, in words. Only `wording.py` reads them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from triconv.checking.findings.causes import Cause, Hypothesis
from triconv.checking.findings.diagnosis_data import Diagnosis, Factor, Region
from triconv.checking.findings.protocol import Role
from triconv.checking.reports import function_wording, part_wording, region_wording, transposed_wording

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

HYPOTHESES: dict[Hypothesis, str] = {
    Hypothesis.KERNEL_FLIPPED: "the kernel is flipped against this operator, which is cross-correlation: reverse its spatial "
    "axes, or do not",
    Hypothesis.KERNEL_FLIPPED_IN_AXES: "the kernel is flipped in spatial axis {spatial_axes} alone",
    Hypothesis.RESULT_FLIPPED: "the result is reversed in axis {axes}",
    Hypothesis.OUTPUT_PADDING_IGNORED: "the output padding is ignored",
    Hypothesis.OUTPUT_PADDING_ZERO: "what the output padding adds at the end is left zero: it must be computed as all else is",
    Hypothesis.OUTPUT_PADDING_SIDE: "the output padding is on the wrong side: it must be after the result, not before it",
    Hypothesis.STRIDE_AND_DILATION_EXCHANGED: "stride and dilation are exchanged{in_spatial_axis}",
    Hypothesis.STRIDE_IGNORED: "the stride is ignored{in_spatial_axis}{with_parameter}",
    Hypothesis.STRIDE_DOUBLED: "the stride is applied twice{in_spatial_axis}",
    Hypothesis.DILATION_IGNORED: "the dilation is ignored{in_spatial_axis}",
    Hypothesis.INPUT_DILATION_IGNORED: "the dilation of the input is ignored{in_spatial_axis}",
    Hypothesis.PADDING_EXCHANGED: "padding before and after are exchanged{in_spatial_axis}",
    Hypothesis.PADDING_IGNORED: "the padding is ignored{in_spatial_axis}",
    Hypothesis.PADDING_OFFSET: "there {is_or_are_off} {off}",
    Hypothesis.PARAMETER_OF_OTHER_AXIS: "the {parameter} of the spatial axes is exchanged",
    Hypothesis.PARAMETER_FOR_ALL_AXES: "the {parameter} of spatial axis {axis} is used for the other axes too",
    Hypothesis.PADDING_MODE: "the borders are of mode {mode!r}",
    Hypothesis.PADDING_PART: "the padding of mode {mode!r} is {function} at the {place}{in_spatial_axis}",
    Hypothesis.WRAP_AROUND: "the borders wrap around (circular){in_spatial_axis}, where zeros must be",
    Hypothesis.NEGATIVE_INDICES: "positions before the first wrap around to the end{in_spatial_axis}, as negative indices of "
    "Python do, where zeros must be",
    Hypothesis.NEXT_IN_MEMORY: "beyond the borders{in_spatial_axis} stands what is next in memory, of another {mode}, where "
    "zeros must be: an index into a flattened array is not checked",
    Hypothesis.REMAINDER_MISPLACED: "the windows leave {positions} positions of the input over (stride), and those are not put "
    "where they belong",
    Hypothesis.RESULT_SHIFTED: "the result is shifted by {before} in axis {axis}",
    Hypothesis.EMPTY: "it is empty{empty_slice}",
    Hypothesis.PADDING_NOT_CROPPED: "it is the gradient of the padded input: crop the padding off, on both sides",
    Hypothesis.CROPPED_WRONGLY: "the gradient of the padded input is cropped {function}, where the padding of each side must "
    "be cropped off",
    Hypothesis.RESULT_CUT: "there {is_or_are_off} {off}; what is there is right{other_size}",
    Hypothesis.SPATIAL_AXES_EXCHANGED: "spatial axes {first} and {second} of {tensor} are exchanged",
    Hypothesis.KERNEL_CHANNELS_EXCHANGED: "input and output channels of the kernel are exchanged",
    Hypothesis.KERNEL_CHANNELS_MISREAD: "the kernel is read with its channel axes in the other order",
    Hypothesis.GROUPS_INTERLEAVED: "the groups in the channels of {tensor} are interleaved",
    Hypothesis.GROUPS_REVERSED: "the groups in the channels of {tensor} are in reverse",
    Hypothesis.GROUPS_SHIFTED: "the groups in the channels of {tensor} are shifted by one group",
    Hypothesis.CHANNELS_REVERSED: "the {channels} of {tensor} are reversed",
    Hypothesis.CHANNELS_SHIFTED: "the {channels} of {tensor} are shifted by one",
    Hypothesis.SAMPLES_REVERSED: "the samples of {tensor} are reversed",
    Hypothesis.SAMPLES_SHIFTED: "the samples of {tensor} are shifted by one",
    Hypothesis.SAMPLES_SUMMED: "the samples of {tensor} are summed first, so that every sample meets every other",
    Hypothesis.SAMPLES_AVERAGED: "the samples of {tensor} are averaged first, so that every sample meets every other",
    Hypothesis.ALL_CHANNELS_CONNECTED: "every group has the channels of all groups: the groups of {tensor} are summed",
    Hypothesis.SLICES_ROLLED: "its {slices} are rolled by {before}, the last ones to the front or the other way round",
    Hypothesis.SLICES_REVERSED: "its {slices} are in reverse",
    Hypothesis.SLICES_PERMUTED: "its {slices} are in another order: {positions}",
    Hypothesis.SLICES_COPIED: "each of its {slices} is {first_slice}",
    Hypothesis.SLICES_REPLACED: "{replaced}",
    Hypothesis.RESULT_ROLLED: "it is rolled by {before} in axes {axes}",
    Hypothesis.COLUMNS_MISREAD: "{tensor} is reshaped to a matrix whose columns are counted by samples first and read by "
    "positions first, or the other way round",
    Hypothesis.TENSOR_RESHAPED: "{tensor} is reshaped where it must be transposed",
    Hypothesis.RESULT_RESHAPED: "the result is reshaped where it must be transposed",
    Hypothesis.RESULT_TRANSPOSED: "the axes of the result are in another order: ({axes}) of torch's",
    Hypothesis.PARTS_LEFT_OUT: "{parts} {is_or_are} left out",
    Hypothesis.ONE_PART_ALONE: "only {parts} is in it{overwritten}",
    Hypothesis.PARTS_TWICE: "{parts} {is_or_are} counted twice",
    Hypothesis.PARTS_NEGATED: "{parts} {has_or_have} the wrong sign",
    Hypothesis.PARTS_WEIGHTED: "parts of the sum are counted wrongly: {weights}",
    Hypothesis.PARTS_BEYOND_OTHER_SIZE: "{parts} {is_or_are} left out: as many are there as the other spatial axis has, {size}",
    Hypothesis.OVERWRITTEN: "each element holds the last term that was written to it, not the sum: = where += must be{letter}",
    Hypothesis.OVERWRITTEN_FIRST: "each element holds the first of its terms alone, not the sum{letter}",
    Hypothesis.RUNNING_SUM: "the sum is not set to zero from one element to the next, along axis {axis}",
    Hypothesis.FIRST_GROUP_INPUT: "every group has the input of the first",
    Hypothesis.FIRST_GROUP_KERNEL: "every group has the kernel of the first",
    Hypothesis.FIRST_GROUP_COMPUTED: "only the first group is computed: {size} of {total} channels",
    Hypothesis.FIRST_SAMPLE_FOR_ALL: "every sample of {tensor} is the first",
    Hypothesis.FIRST_SAMPLE_SUMMED: "only the first sample of the batch is in the sum",
    Hypothesis.FIRST_SAMPLE_COMPUTED: "only the first sample of the batch is computed",
    Hypothesis.ELEMENT_DROPPED: "one element is dropped: {index}",
    Hypothesis.ELEMENT_WRONG: "one element is wrong: {index}",
    Hypothesis.BORDER_WRONG: "it is wrong in {wrong_slices} alone: a border row is dropped or wrong",
    Hypothesis.ZERO: "it is zero everywhere: the argument was detached, or its gradient was stopped",
    Hypothesis.SKIPPED: "it is zero for sparse numbers, and right for others: work is skipped by a test of the numbers, such "
    "as of their sum",
    Hypothesis.ZERO_VALUE: "it is zero everywhere: nothing is written to it",
    Hypothesis.BIAS_ALONE: "only the bias is in it, no product",
    Hypothesis.TANGENT_WEIGHTED: "the part of the tangent of {tensor} is {amount:.4g} times what it must be",
    Hypothesis.TANGENT_LEFT_OUT: "the tangent of {tensor} is left out: it was detached",
    Hypothesis.OPERAND_OF_OTHER_SAMPLE: "{tensor_or_all} of another sample of vmap is used: the batching rule takes one for "
    "all, or the wrong one",
    Hypothesis.SAMPLES_OF_OTHER_SAMPLE: "samples of its batch belong to another sample of vmap: the batching rule mixes the "
    "two axes, as by a reshape",
    Hypothesis.SIGN: "the sign is wrong",
    Hypothesis.BATCH_MEAN: "it is the mean over the batch of {size}, where the derivative of a sum is the sum{also}",
    Hypothesis.OPERAND_CENTERED: "the mean of {tensor} over axes {axes} is subtracted from it first",
    Hypothesis.OPERAND_STANDARDISED: "{tensor} is standardised first: its mean over axes {axes} is subtracted, and it is "
    "divided by its deviation",
    Hypothesis.UPDATED_FIRST: "it is computed with the kernel after the update w - {amount:.4g} * gw, which must come "
    "after all gradients",
    Hypothesis.FACTOR: "every element is {factor}",
    Hypothesis.FACTOR_NEAR_ONE: "every element is multiplied by {exact_factor}",
    Hypothesis.CONSTANT_ADDED: "{amount:.2g} is added to every element",
    Hypothesis.COMPLEX_PARTS: "products of real and imaginary parts are put together wrongly: {function}",
    Hypothesis.CONJUGATE: "a conjugate is missing, or one too many; a gradient of this framework conjugates {convention}",
    Hypothesis.NORM: "it is divided by its own {function}{of_each}{clipping}",
    Hypothesis.NORM_CLIPPED: "it is scaled so that its norm is {amount:g} (gradient clipping)",
    Hypothesis.COTANGENT_CLIPPED: "the cotangent is scaled so that its norm is {amount:g} (gradient clipping)",
    Hypothesis.STANDARDISED: "its mean over axes {axes} is subtracted, and it is divided by the standard deviation",
    Hypothesis.CENTERED: "its mean over axes {axes} is subtracted",
    Hypothesis.NOISE: "every element has a random error, of about {amount:.2g}",
    Hypothesis.FUNCTION_OF_RESULT: "it is the {function} of what it must be{or_clipped}",
    Hypothesis.FUNCTION_OF_TENSOR: "{tensor} is replaced by its {function}",
    Hypothesis.SOME_FUNCTION: "each element is a function of what it must be, and of nothing else, as where an activation is "
    "left in: {becomes}",
    Hypothesis.LEAKY: "negative elements are multiplied by {amount:.3g} (leaky relu)",
    Hypothesis.COTANGENT_MASKED: "the derivative of an activation is left in: the cotangent is multiplied by the derivative of "
    "{function} at the value",
    Hypothesis.RESULT_MASKED: "the derivative of an activation is left in: the gradient is multiplied by the derivative of "
    "{function} at {tensor}",
    Hypothesis.RESULT_PRUNED: "it is zero where {tensor} is: a mask is left in, as of pruning, or of what skips zeros",
    Hypothesis.VALUES_CLIPPED: "elements are clipped to the range {range}",
    Hypothesis.PARTIAL_SUMS: "each partial sum over {partial_sums}",
    Hypothesis.TENSOR_ADDED: "{amount:.4g} times {tensor} is added (weight decay, or a residual)",
    Hypothesis.BIAS_NOT_ADDED: "the bias is not added",
    Hypothesis.BIAS_REPEATED: "the bias is added {size} times{per}",
    Hypothesis.BIAS_PER_TAP: "the bias is added with every product: once for each tap that meets{and_channels}",
    Hypothesis.BIAS_SUBTRACTED: "the bias is subtracted",
    Hypothesis.BIAS_PERMUTED: "the bias is {function} against the channels",
    Hypothesis.BIAS_REDUCED: "{function} of the bias is added to every channel",
    Hypothesis.BIAS_MULTIPLIED: "the bias is multiplied by {amount:.4g}",
    Hypothesis.BIAS_SUM_OVER_CHANNELS: "the cotangent is summed over the channels too",
    Hypothesis.BIAS_ALONG_AXIS: "the bias is added along axis {axis}, where it must be along the channels, axis 1",
    Hypothesis.BIAS_SUM_KEEPS_AXIS: "the sum keeps axis {axis} of the cotangent, where it must keep the channels, axis 1",
    Hypothesis.BIAS_SUM_OF_RESHAPED: "the cotangent is reshaped to {mode} before the sum, and the channels are not moved first",
    Hypothesis.BIAS_SUM_LEAVES_OUT_AXES: "the sum leaves out axis {axes} of the cotangent",
    Hypothesis.BIAS_SUM_LEAVES_OUT_POSITIONS: "the sum leaves positions out",
    Hypothesis.DEVICE_MEAN: "it is the mean over the {devices} devices of mesh axis {mesh_axes}, where it must be the sum",
    Hypothesis.DEVICE_SUM_TWICE: "what is the same on the {devices} devices of mesh axis {mesh_axes} is summed over them",
    Hypothesis.DEVICE_SUM_LOST: "only what device {device} has of the {sharded} is in it: a sum (psum) over mesh axis "
    "{mesh_axes} is missing",
    Hypothesis.NO_HALO: "there is no halo in it: what other devices have of {sharded} is taken for zero, or not sent back",
    Hypothesis.NO_HALO_BEFORE: "there is no halo from the device before: what it has of {sharded} is taken for zero, or not "
    "sent back",
    Hypothesis.NO_HALO_AFTER: "there is no halo from the device after: what it has of {sharded} is taken for zero, or not "
    "sent back",
    Hypothesis.HALO_WRAPS: "the halos wrap around: beyond the ends of {sharded} stands the other end, not zeros",
    Hypothesis.HALO_POSITIONS: "only positions at the boundaries between devices are wrong, in {sharded}: {positions}",
    Hypothesis.REGION: "it is wrong in {region} alone{tiles}{content}",
    Hypothesis.REGION_OUTSIDE: "it is wrong in {outside}, and right elsewhere{tiles}{content}",
    Hypothesis.REGION_DIAGONAL: "it is wrong on a diagonal of {axis_names}, or on one side of it{content}",
    Hypothesis.TILE_TRANSFORM: "a transform of tiles of {size} (Winograd's){in_spatial_axis} has a wrong constant: products of "
    "inputs and taps that do not meet are left, or some count other than once{of_tile}{constant}",
    Hypothesis.REDUCTION_CUT: "only the {mode} {size} of the {total} products of each sum are in it, in the order of "
    "{function}: the {rest} are left out",
    Hypothesis.INDEX_WRAPS: "{tensor} is {mode} at its index{along} modulo {size}: an index of {function} bits is too small",
    Hypothesis.ADDED_MODULO: "what belongs at {slice} {size} and beyond is added from the first on: positions are taken modulo "
    "{size}, as where a Fourier transform or a buffer is too short",
    Hypothesis.INDEX_NEGATIVE: "{tensor} is read at an index of {function} bits with a sign: from {half} on it is negative, "
    "and counts from the end",
    Hypothesis.FOURIER_CONJUGATE: "it is a product of Fourier transforms in which a conjugate is missing, or one too many: a "
    "convolution where a correlation must be, or the other way round, which wraps around",
    Hypothesis.FOURIER_ORDER: "it comes from Fourier transforms, and the halves are exchanged, as fftshift does",
    Hypothesis.FOURIER_HALF: "it is a sum over half a spectrum, as that of rfft, in which frequencies that stand for two are "
    "counted once",
    Hypothesis.FOURIER_LENGTH: "it comes from an inverse Fourier transform of length {size}, one too short: irfft needs its n "
    "where that is odd",
    **function_wording.HYPOTHESES,
    Hypothesis.UNEXPLAINED: "no known mistake explains it; ruled out: {ruled_out}",
    Hypothesis.UNEXPLAINED_AT: "it is wrong in {wrong_slices} alone, and no known mistake explains it; ruled out: {ruled_out}",
    Hypothesis.UNEXPLAINED_SHAPE: "its shape is wrong, and no known mistake explains its elements",
    Hypothesis.NARROW_OPERAND: "{rounded} to {function}{before_all}, which has fewer bits than the dtype",
    Hypothesis.QUANTISED: "{tensor} is quantised: its numbers are multiples of a step, up to {size} of them, as integers times "
    "a scale are (127 for int8)",
    Hypothesis.SHARED_EXPONENT: "numbers of {tensor} lose bits beside larger ones, as those of one exponent or scale do: they "
    "are off by up to {amount:.2g} of the largest",
    Hypothesis.SMALL_DROPPED: "numbers of {tensor} below about {amount:.2g} of its largest are taken for zero",
    Hypothesis.ROUNDED_TO_STEPS: "{tensor}, or the result, is rounded to multiples of {amount:g}",
    Hypothesis.SMALL: "it is off by up to {amount:.2g}, which is little, but more than rounding explains",
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
