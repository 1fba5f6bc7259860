"""Replacements for `jax.lax.conv_general_dilated` and `jax.lax.conv_transpose`, with lax's signatures and triconv's kernels.

Values and dtypes are those of lax; arguments that lax refuses are refused here too. Derivatives of any order are the three
contractions of the same geometry. Complex gradients are not conjugated, as everywhere in JAX::

    gx = conv_input_vjp(g, w)         gw = conv_weight_vjp(g, x)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
from jax import Array
from jax.lax import ConvDimensionNumbers, DotAlgorithm, DotAlgorithmPreset, Precision
from jax.sharding import NamedSharding, PartitionSpec
from jax.typing import ArrayLike

from triconv.geometry import Pads
from triconv.geometry.integers import as_int, dilated, shown
from triconv.operators import explicit_mesh, prepared
from triconv.operators.layout import Layout, spatial_letters
from triconv.operators.validation import resolve

DimensionNumbers: TypeAlias = ConvDimensionNumbers | tuple[str, str, str] | None
PrecisionLike: TypeAlias = (
    str | Precision | DotAlgorithm | DotAlgorithmPreset | tuple[str | Precision, str | Precision] | None
)

# another name in JAX for Precision.DEFAULT; in triconv "default" means the configured precision
FASTEST = "bfloat16"
LAX_PADDING_NAMES = ("VALID", "SAME", "SAME_LOWER")
HEADS = ("NC", "OI", "NC")
TRANSPOSED_LAYOUTS = ("NC,IO->NC", "NHC,HIO->NHC", "NHWC,HWIO->NHWC", "NHWDC,HWDIO->NHWDC")


def conv_general_dilated(
    lhs: ArrayLike,
    rhs: ArrayLike,
    window_strides: Sequence[int],
    padding: str | Sequence[tuple[int, int]],
    lhs_dilation: Sequence[int] | None = None,
    rhs_dilation: Sequence[int] | None = None,
    dimension_numbers: DimensionNumbers = None,
    feature_group_count: int = 1,
    batch_group_count: int = 1,
    precision: PrecisionLike = None,
    preferred_element_type: object = None,
    out_sharding: NamedSharding | PartitionSpec | None = None,
) -> Array:
    """Convolve, as `jax.lax.conv_general_dilated` does: the same arguments, the same values and dtypes.

    Parameters
    ----------
    lhs : array, shape (n, c, *input)
        The input, in the order of `dimension_numbers`.
    rhs : array, shape (k, c // feature_group_count, *kernel)
        The kernel, of the same dtype; it is not flipped.
    window_strides : sequence of int
        Step of the output, one per spatial axis.
    padding : {"VALID", "SAME", "SAME_LOWER"} or sequence of (lo, hi)
        Zeros around the dilated input, one pair per spatial axis; negative numbers crop. A string is allowed only if all of
        `lhs_dilation` is 1.
    lhs_dilation, rhs_dilation : sequence of int, optional
        Steps of the input and of the taps, one per spatial axis.
    dimension_numbers : tuple of str, ConvDimensionNumbers, or None
        Three strings such as ``("NHWC", "HWIO", "NHWC")``; the positions of the axes; or None for channels first. Spatial
        parameters are in the order in which the kernel has the spatial axes.
    feature_group_count : int
        Number of independent convolutions side by side in the channels.
    batch_group_count : int
        Number of independent convolutions side by side in the batch of `lhs` and the output channels of `rhs`.
    precision : None, str, jax.lax.Precision, or a tuple of two
        Precision of the products, as in lax. None means `jax_default_matmul_precision`. Of two that differ, the higher counts.
    preferred_element_type : dtype, optional
        Dtype of the sums and of the result.
    out_sharding : jax.sharding.NamedSharding or jax.sharding.PartitionSpec, optional
        Sharding of the result, on a mesh with explicit axes.

    Returns
    -------
    array, shape (n // batch_group_count, k, *output)
        In the order of `dimension_numbers`.

    Raises
    ------
    ValueError
        If a shape or a parameter does not fit.
    TypeError
        If the dtypes differ, an argument has a wrong type, or the shardings do not determine that of the result.

    Notes
    -----
    Differences from lax:

    * A kernel of size 0 gives zeros; XLA cannot compile it.
    * Sums of dtypes narrower than 32 bits are taken in float32.
    * The result is never weakly typed.
    * Batch and channels may be symbolic, but spatial sizes must be numbers.
    * A policy of `jax.checkpoint` that saves the results of certain primitives (`dots_saveable`) does not know triconv's. Name
      the result with `jax.ad_checkpoint.checkpoint_name`, and save it by its name.

    Examples
    --------
    >>> import jax, triconv
    >>> x, w = jax.numpy.arange(6, dtype="float32").reshape(1, 6, 1), jax.numpy.ones((2, 1, 1), "float32")
    >>> numbers = ("NWC", "WIO", "NWC")
    >>> triconv.jax.conv_general_dilated(x, w, (2,), "VALID", dimension_numbers=numbers).ravel()
    Array([1., 5., 9.], dtype=float32)
    """
    params = (
        window_strides,
        padding,
        lhs_dilation,
        rhs_dilation,
        dimension_numbers,
        feature_group_count,
        batch_group_count,
        precision,
        preferred_element_type,
    )
    try:
        slot = [] if out_sharding is not None else prepared.slot(_signature(lhs, rhs, *params))
    except prepared.UnusualError:
        slot = []
    if not slot:
        lhs, rhs = _arrays(lhs, rhs)
        slot.append(_resolved(lhs, rhs, *params, out_sharding))
    return slot[0](lhs, rhs)


def conv_transpose(
    lhs: ArrayLike,
    rhs: ArrayLike,
    strides: Sequence[int],
    padding: str | Sequence[tuple[int, int]],
    rhs_dilation: Sequence[int] | None = None,
    dimension_numbers: DimensionNumbers = None,
    transpose_kernel: bool = False,
    precision: PrecisionLike = None,
    preferred_element_type: object = None,
    use_consistent_padding: bool = False,
) -> Array:
    """Convolve with a fractional stride, as `jax.lax.conv_transpose` does: the same arguments, the same values and dtypes.

    Parameters
    ----------
    lhs : array, shape (n, *input, c)
        The input, in the order of `dimension_numbers`.
    rhs : array, shape (*kernel, c, k)
        The kernel, of the same dtype.
    strides : sequence of int
        Dilation of the input, one per spatial axis.
    padding : {"SAME", "VALID"} or sequence of (lo, hi)
        A string is the padding of the convolution whose transpose this is. Pairs are the padding of the dilated input; with
        `use_consistent_padding` they too are the padding of the convolution whose transpose this is.
    rhs_dilation : sequence of int, optional
        Steps of the taps.
    dimension_numbers : tuple of str, ConvDimensionNumbers, or None
        As in `conv_general_dilated`; None means channels last, for up to three spatial axes.
    transpose_kernel : bool
        Whether to flip the kernel's spatial axes and to swap its channel axes, which makes this the input VJP of a convolution.
    precision, preferred_element_type
        As in `conv_general_dilated`.
    use_consistent_padding : bool
        See `padding`.

    Returns
    -------
    array, shape (n, *output, k)
        In the order of `dimension_numbers`.

    Raises
    ------
    ValueError, TypeError
        As `conv_general_dilated`.

    Notes
    -----
    No zeros are inserted: only positions that meet are multiplied.

    Examples
    --------
    >>> import jax, triconv
    >>> x, w = jax.numpy.ones((1, 2, 1), "float32"), jax.numpy.arange(3, dtype="float32").reshape(3, 1, 1)
    >>> triconv.jax.conv_transpose(x, w, (2,), "VALID").ravel()
    Array([2., 1., 2., 1., 0.], dtype=float32)
    """
    lhs, rhs = _arrays(lhs, rhs)
    if dimension_numbers is None:
        if not 0 <= lhs.ndim - 2 < len(TRANSPOSED_LAYOUTS):
            msg = f"`dimension_numbers` must be given for more than 3 spatial axes, got {lhs.ndim - 2}"
            raise ValueError(msg)
        dimension_numbers = tuple(TRANSPOSED_LAYOUTS[lhs.ndim - 2].replace("->", ",").split(","))
    layout = _layout(lhs.ndim, rhs.ndim, dimension_numbers)
    ndim = len(layout.spatial)
    steps, dilations = _per_axis(strides, ndim, "strides"), _per_axis(rhs_dilation, ndim, "rhs_dilation")
    if use_consistent_padding or (isinstance(padding, str) and padding in ("SAME", "VALID")):
        kernel = map(dilated, layout.spatial_size("w", rhs.shape), dilations)
        pads = [padding] * ndim if isinstance(padding, str) else _pairs(padding, ndim)
        padding = [_transposed_padding(*axis) for axis in zip(kernel, steps, pads, strict=True)]
    if transpose_kernel:
        rhs = jnp.flip(rhs, [layout.w.index(letter) for letter in layout.spatial])
        rhs = jnp.swapaxes(rhs, layout.w.index("O"), layout.w.index("I"))
    return conv_general_dilated(
        lhs,
        rhs,
        (1,) * ndim,
        padding,
        steps,
        dilations,
        dimension_numbers,
        precision=precision,
        preferred_element_type=preferred_element_type,
    )


def _signature(lhs: Any, rhs: Any, *params: Any) -> tuple[Any, ...]:
    """The signature of a call with arrays of JAX's that are not traced; raises `prepared.UnusualError`."""
    if not (isinstance(lhs, Array) and isinstance(rhs, Array)):
        raise prepared.UnusualError
    are_positions = [isinstance(param, ConvDimensionNumbers) for param in params]  # other tuples of them are refused
    plain = (tuple(param) if is_one else param for param, is_one in zip(params, are_positions, strict=True))
    signature, _ = prepared.signed("jax.conv_general_dilated", ("lhs", "rhs"), (lhs, rhs, *plain), {})
    return (any(are_positions), *signature)


def _resolved(
    lhs: Array,
    rhs: Array,
    window_strides: Any,
    padding: Any,
    lhs_dilation: Any,
    rhs_dilation: Any,
    dimension_numbers: Any,
    feature_group_count: Any,
    batch_group_count: Any,
    precision: Any,
    preferred_element_type: Any,
    out_sharding: Any,
) -> Callable[[Array, Array], Array]:
    """The arguments of `conv_general_dilated`, checked and resolved: a function of such arrays."""
    layout = _layout(lhs.ndim, rhs.ndim, dimension_numbers)
    ndim = len(layout.spatial)
    strides = _per_axis(window_strides, ndim, "window_strides")
    lhs_dilations = _per_axis(lhs_dilation, ndim, "lhs_dilation")
    rhs_dilations = _per_axis(rhs_dilation, ndim, "rhs_dilation")
    groups = as_int(feature_group_count, "feature_group_count", least=1)
    batch_groups = as_int(batch_group_count, "batch_group_count", least=1)
    if min(groups, batch_groups) > 1:
        msg = f"`feature_group_count` or `batch_group_count` must be 1, got {groups} and {batch_groups}"
        raise ValueError(msg)
    if not isinstance(padding, str):
        padding = _pairs(padding, ndim)
    elif padding.upper() not in LAX_PADDING_NAMES:
        msg = f"`padding` must be one of {', '.join(map(repr, LAX_PADDING_NAMES))} if it is a string, got {shown(padding)}"
        raise ValueError(msg)
    elif max(lhs_dilations, default=1) > 1:
        msg = f"`padding` must be pairs where `lhs_dilation` is not all 1, got {shown(padding)} and {lhs_dilations}"
        raise ValueError(msg)
    level = _precision(precision)
    final = _result_dtype(lhs.dtype, preferred_element_type)
    if out_sharding is not None:
        explicit_mesh.check(out_sharding)
    is_bool = lhs.dtype == jnp.bool_  # counts, or as bool whether there are any
    numbers = jnp.int32 if final == jnp.bool_ else final
    call = resolve(
        "conv",
        {"x": lhs, "w": rhs},
        names={
            "x": "lhs",
            "w": "rhs",
            "groups": "batch_group_count" if batch_groups > 1 else "feature_group_count",
            "layout": "dimension_numbers",
        },
        layout=replace(layout, grouped="N") if batch_groups > 1 else layout,
        stride=strides,
        padding=padding,
        dilation=rhs_dilations,
        input_dilation=lhs_dilations,
        groups=max(groups, batch_groups),
    )
    call = replace(call, precision=level, dtype=None if is_bool else final)

    def run(lhs: Array, rhs: Array) -> Array:
        if is_bool:
            lhs, rhs = lhs.astype(numbers), rhs.astype(numbers)
        result = call(lhs, rhs) if out_sharding is None else explicit_mesh.run(call, (lhs, rhs), out_sharding)
        return result != 0 if final == jnp.bool_ else result

    return run


def _arrays(lhs: Array, rhs: Array) -> tuple[Array, Array]:
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


def _layout(lhs_ndim: int, rhs_ndim: int, numbers: Any) -> Layout:
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


def _per_axis(value: Any, ndim: int, name: str) -> tuple[int, ...]:
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


def _pairs(padding: Any, ndim: int) -> Pads:
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


def _transposed_padding(kernel: int, step: int, padding: Any) -> tuple[int, int]:
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


def _precision(precision: Any) -> str:
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


def _result_dtype(dtype: Any, preferred: Any) -> Any:
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
