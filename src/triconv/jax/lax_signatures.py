"""Replacements for `jax.lax.conv_general_dilated` and `jax.lax.conv_transpose`, with lax's signatures and triconv's kernels.

Values and dtypes are those of lax; arguments that lax refuses are refused here too. Derivatives of any order are the three
contractions of the same geometry. Complex gradients are not conjugated, as everywhere in JAX::

    gx = conv_input_vjp(g, w)         gw = conv_weight_vjp(g, x)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, TypeAlias

import jax.numpy as jnp
from jax import Array
from jax.lax import ConvDimensionNumbers, DotAlgorithm, DotAlgorithmPreset, Precision
from jax.sharding import NamedSharding, PartitionSpec
from jax.typing import ArrayLike

from triconv.geometry.integers import as_int, dilated
from triconv.jax.lax_arguments import (
    arrays_of,
    layout_of,
    padding_of,
    pairs,
    per_axis,
    precision_level,
    result_dtype,
    transposed_padding,
)
from triconv.operators import explicit_mesh, prepared
from triconv.operators.validation import resolve

DimensionNumbers: TypeAlias = ConvDimensionNumbers | tuple[str, str, str] | None
PrecisionLike: TypeAlias = (
    str | Precision | DotAlgorithm | DotAlgorithmPreset | tuple[str | Precision, str | Precision] | None
)

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
        lhs, rhs = arrays_of(lhs, rhs)
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
    lhs, rhs = arrays_of(lhs, rhs)
    if dimension_numbers is None:
        if not 0 <= lhs.ndim - 2 < len(TRANSPOSED_LAYOUTS):
            msg = f"`dimension_numbers` must be given for more than 3 spatial axes, got {lhs.ndim - 2}"
            raise ValueError(msg)
        dimension_numbers = tuple(TRANSPOSED_LAYOUTS[lhs.ndim - 2].replace("->", ",").split(","))
    layout = layout_of(lhs.ndim, rhs.ndim, dimension_numbers)
    ndim = len(layout.spatial)
    steps, dilations = per_axis(strides, ndim, "strides"), per_axis(rhs_dilation, ndim, "rhs_dilation")
    if use_consistent_padding or (isinstance(padding, str) and padding in ("SAME", "VALID")):
        kernel = map(dilated, layout.spatial_size("w", rhs.shape), dilations)
        pads = [padding] * ndim if isinstance(padding, str) else pairs(padding, ndim)
        padding = [transposed_padding(*axis) for axis in zip(kernel, steps, pads, strict=True)]
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
    layout = layout_of(lhs.ndim, rhs.ndim, dimension_numbers)
    ndim = len(layout.spatial)
    strides = per_axis(window_strides, ndim, "window_strides")
    lhs_dilations = per_axis(lhs_dilation, ndim, "lhs_dilation")
    rhs_dilations = per_axis(rhs_dilation, ndim, "rhs_dilation")
    groups = as_int(feature_group_count, "feature_group_count", least=1)
    batch_groups = as_int(batch_group_count, "batch_group_count", least=1)
    if min(groups, batch_groups) > 1:
        msg = f"`feature_group_count` or `batch_group_count` must be 1, got {groups} and {batch_groups}"
        raise ValueError(msg)
    pads = padding_of(padding, lhs_dilations)
    level = precision_level(precision)
    final = result_dtype(lhs.dtype, preferred_element_type)
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
        padding=pads,
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
