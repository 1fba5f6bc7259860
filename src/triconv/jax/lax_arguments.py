"""The arguments of lax's convolutions, one by one: checked, and as triconv has them."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jax.lax import ConvDimensionNumbers, DotAlgorithm, DotAlgorithmPreset, Precision

from triconv.geometry import Pads
from triconv.geometry.integers import as_int, shown
from triconv.operators.layout import Layout, spatial_letters

# another name in JAX for Precision.DEFAULT; in triconv "default" means the configured precision
FASTEST = "bfloat16"
HEADS = ("NC", "OI", "NC")
PADDING_NAMES = ("VALID", "SAME", "SAME_LOWER")


def arrays_of(lhs: Array, rhs: Array) -> tuple[Array, Array]:
    """Both as JAX arrays of one dtype; raises if they are none."""
    for name, array in (("lhs", lhs), ("rhs", rhs)):
        if not hasattr(array, "shape") or not hasattr(array, "dtype"):
            msg = f"`{name}` must be an array, got {type(array).__name__}"
            raise TypeError(msg)
        if jax.dtypes.issubdtype(array.dtype, jax.dtypes.extended):
            msg = f"`{name}.dtype` must be a number dtype, got {array.dtype}"
            raise TypeError(msg)
    lhs, rhs = jnp.asarray(lhs), jnp.asarray(rhs)
    if lhs.dtype != rhs.dtype:
        msg = f"`lhs` and `rhs` must have one dtype, got {lhs.dtype} and {rhs.dtype}"
        raise TypeError(msg)
    return lhs, rhs


def layout_of(lhs_ndim: int, rhs_ndim: int, numbers: Any) -> Layout:
    """The layout of `dimension_numbers`, its spatial letters in the order of the kernel."""
    if lhs_ndim != rhs_ndim or lhs_ndim < 2:
        msg = f"`lhs` and `rhs` must have one number of axes, two or more, got {lhs_ndim} and {rhs_ndim}"
        raise TypeError(msg)
    letters = spatial_letters(lhs_ndim - 2)
    if numbers is None:
        return Layout("NC" + letters, "OI" + letters, "NC" + letters, letters)
    if isinstance(numbers, ConvDimensionNumbers):
        for spec in numbers:
            if sorted(spec) != list(range(lhs_ndim)):
                msg = f"`dimension_numbers` must permute the {lhs_ndim} axes, got {tuple(spec)}"
                raise TypeError(msg)
        placed = [dict(zip(spec, head + letters, strict=True)) for spec, head in zip(numbers, HEADS, strict=True)]
        x, w, g = ("".join(at[position] for position in range(lhs_ndim)) for at in placed)
        return Layout(x, w, g, letters)
    if not isinstance(numbers, (tuple, list)) or [type(part) for part in numbers] != [str] * 3:
        msg = f"`dimension_numbers` must be None, three strings or ConvDimensionNumbers, got {shown(numbers)}"
        raise TypeError(msg)
    if any(len(part) != lhs_ndim for part in numbers):
        msg = f"`dimension_numbers` must name {lhs_ndim} axes in each string, got {shown(numbers)}"
        raise TypeError(msg)
    spatial = [letter for letter in numbers[1] if letter not in "OI"]
    for part, head in zip(numbers, HEADS, strict=True):
        if sorted(part) != sorted([*head, *spatial]) or len(set(part)) != len(part):
            msg = (
                f"`dimension_numbers` must name {' and '.join(head)} and the spatial axes of the kernel, {''.join(spatial)!r}, "
                f"once each, got {part!r} in {shown(numbers)}"
            )
            raise TypeError(msg)
    ours = str.maketrans(dict(zip(spatial, letters, strict=True)))
    x, w, g = (part.translate(ours) for part in numbers)
    return Layout(x, w, g, letters)


def per_axis(value: Any, ndim: int, name: str) -> tuple[int, ...]:
    """A sequence of one int per spatial axis; None where all are 1."""
    if value is None:
        return (1,) * ndim
    try:
        numbers = tuple(value)
    except TypeError:
        msg = f"`{name}` must be a sequence of ints, got {shown(value)}"
        raise TypeError(msg) from None
    if len(numbers) != ndim:
        msg = f"`{name}` must have one int per spatial axis, got {len(numbers)} for {ndim}"
        raise ValueError(msg)
    return tuple(as_int(number, name, least=1) for number in numbers)


def padding_of(padding: Any, lhs_dilations: tuple[int, ...]) -> str | Pads:
    """The padding of `conv_general_dilated`: a name, only of an input that is not dilated, or pairs."""
    if not isinstance(padding, str):
        return pairs(padding, len(lhs_dilations))
    if padding.upper() not in PADDING_NAMES:
        msg = f"`padding` must be one of {', '.join(map(repr, PADDING_NAMES))} if it is a string, got {shown(padding)}"
        raise ValueError(msg)
    if max(lhs_dilations, default=1) > 1:
        msg = f"`padding` must be pairs where `lhs_dilation` is not all 1, got {shown(padding)} and {lhs_dilations}"
        raise ValueError(msg)
    return padding


def pairs(padding: Any, ndim: int) -> Pads:
    """One (lo, hi) pair of ints per spatial axis."""
    try:
        pairs = tuple((as_int(lo, "padding"), as_int(hi, "padding")) for lo, hi in padding)
    except (TypeError, ValueError):
        msg = f"`padding` must be a string or a sequence of (lo, hi) pairs of ints, got {shown(padding)}"
        raise ValueError(msg) from None
    if len(pairs) != ndim:
        msg = f"`padding` must have one pair per spatial axis, got {len(pairs)} for {ndim}"
        raise ValueError(msg)
    return pairs


def transposed_padding(kernel: int, step: int, padding: Any) -> tuple[int, int]:
    """Padding of the dilated input in one axis, from that of the convolution whose transpose it is (lax's conventions)."""
    if padding == "SAME":
        total = kernel + step - 2
        before = kernel - 1 if step > kernel - 1 else -(-total // 2)
        return before, total - before
    if padding == "VALID":
        return kernel - 1, step - 1 + max(kernel - step, 0)
    if not isinstance(padding, str):
        lo, hi = padding
        return kernel - 1 - lo, kernel - 1 - hi
    msg = f"`padding` must be 'SAME', 'VALID' or pairs if it is that of the convolution, got {shown(padding)}"
    raise ValueError(msg)


def precision_level(precision: Any) -> str:
    """The level of `jax.default_matmul_precision`; "default", the configured one, for None."""
    if precision is None:
        return "default"
    if isinstance(precision, (DotAlgorithm, DotAlgorithmPreset)) or (
        isinstance(precision, str) and precision in DotAlgorithmPreset.__members__
    ):
        return FASTEST  # as in lax, whose convolutions do not take an algorithm
    pair = precision if isinstance(precision, (tuple, list)) and len(precision) == 2 else (precision,) * 2
    try:
        level = max((Precision(one) for one in pair), key=lambda one: one.value)
    except (ValueError, TypeError):
        msg = f"`precision` must be None, a level such as 'highest', a jax.lax.Precision or two of them, got {shown(precision)}"
        raise ValueError(msg) from None
    return FASTEST if level == Precision.DEFAULT else level.name.lower()


def result_dtype(dtype: Any, preferred: Any) -> Any:
    """`preferred`, in the width that JAX is configured for; raises if lax refuses it for operands of `dtype`."""
    if preferred is None:
        return dtype
    result = jax.eval_shape(lambda: jnp.zeros((), preferred)).dtype
    kinds = (jnp.integer, jnp.floating, jnp.complexfloating)
    kind_in, kind_out = (
        next((n for n, kind in enumerate(kinds) if jnp.issubdtype(d, kind)), -1) for d in (dtype, result)
    )
    if kind_in >= 0 and kind_in != kind_out and (kind_in, kind_out) != (0, 1):
        msg = f"`preferred_element_type` must be of the kind of `lhs.dtype`, or floating for integers, got {result} for {dtype}"
        raise TypeError(msg)
    if jnp.issubdtype(dtype, jnp.signedinteger) and jnp.issubdtype(result, jnp.unsignedinteger):
        msg = f"`preferred_element_type` must be signed if `lhs.dtype` is, got {result} for {dtype}"
        raise TypeError(msg)
    if result.itemsize < dtype.itemsize:
        msg = f"`preferred_element_type` must not be narrower than `lhs.dtype`, got {result} for {dtype}"
        raise TypeError(msg)
    return result
