"""The operators of a teaching notebook: one image, one filter, one output channel."""

from __future__ import annotations

from typing import Any

from array_api_compat import array_namespace, is_array_api_obj

from triconv.backends import BACKENDS, backend_of
from triconv.operators.layout import Layout
from triconv.operators.registry import Resolved, operator
from triconv.operators.signature_types import ArrayOrNested
from triconv.operators.validation import check_arrays, resolve

Array = Any

FORWARD = Layout.parse("HWC,HWI->HW")
BACKWARD = Layout.parse("CHW,HWI->HWC")
BACKWARD_WEIGHTS = Layout.parse("HWC,IHW->HWC")


@operator
def conv2d_forward(matrix: ArrayOrNested, filter: ArrayOrNested) -> Resolved[Any]:  # noqa: A002 (the notebook's name)
    """Slide a filter over an image.

    Parameters
    ----------
    matrix : array or nested list, shape (H, W, C)
        The image, channels last.
    filter : array or nested list, shape (h, w, C)
        The filter; it is not flipped.

    Returns
    -------
    array, shape (H - h + 1, W - w + 1)
        One number per position of the filter.

    Raises
    ------
    ValueError
        If the shapes do not fit, or the filter does not fit into the image.
    TypeError
        If the arrays are of several libraries, or hold no numbers.

    Notes
    -----
    ``y[o] = sum of matrix[o + t] * filter[t]`` over taps and channels.

    Examples
    --------
    >>> import triconv
    >>> triconv.conv2d_forward([[[1], [2]], [[3], [4]]], [[[10]], [[2]]])
    array([[16, 28]])
    """
    image, kernel = _arrays(matrix=matrix, filter=filter)
    if image.shape[2] != kernel.shape[2]:
        msg = f"`matrix.shape[2]` must equal `filter.shape[2]`, got {image.shape[2]} != {kernel.shape[2]}"
        raise ValueError(msg)
    call = resolve("conv", {"x": image, "w": kernel}, names={"x": "matrix", "w": "filter"}, layout=FORWARD, fit=True)
    return call, (image, kernel)


@operator
def conv2d_backward(upstream: ArrayOrNested, filter: ArrayOrNested) -> Resolved[Any]:  # noqa: A002
    """Gradient of `conv2d_forward` by the image.

    Parameters
    ----------
    upstream : array or nested list, shape (H - h + 1, W - w + 1, 1)
        Gradient by the result of `conv2d_forward`.
    filter : array or nested list, shape (h, w, C)
        The filter.

    Returns
    -------
    array, shape (C, H, W)
        Channels first.

    Raises
    ------
    ValueError
        If the shapes do not fit.
    TypeError
        If the arrays are of several libraries, or hold no numbers.

    Notes
    -----
    ``gx[i] = sum of upstream[o] * filter[t]`` over the meetings ``i = o + t``.

    Examples
    --------
    >>> import triconv
    >>> triconv.conv2d_backward([[[1], [2]]], [[[1]], [[10]]])
    array([[[ 1,  2],
            [10, 20]]])
    """
    g, kernel = _arrays(upstream=upstream, filter=filter)
    size = tuple(a + b - 1 for a, b in zip(g.shape[:2], kernel.shape[:2], strict=True))
    call = resolve(
        "conv_input_vjp",
        {"g": g, "w": kernel},
        names={"g": "upstream", "w": "filter"},
        layout=BACKWARD,
        result_size=size,
        fit=True,
    )
    return call, (g, kernel)


@operator
def conv2d_backward_weights(matrix: ArrayOrNested, upstream: ArrayOrNested) -> Resolved[Any]:
    """Gradient of `conv2d_forward` by the filter.

    Parameters
    ----------
    matrix : array or nested list, shape (H, W, C)
        The image.
    upstream : array or nested list, shape (H - h + 1, W - w + 1, 1)
        Gradient by the result of `conv2d_forward`.

    Returns
    -------
    array, shape (C, h, w)
        Channels first.

    Raises
    ------
    ValueError
        If the shapes do not fit, or the upstream gradient is larger than the image.
    TypeError
        If the arrays are of several libraries, or hold no numbers.

    Notes
    -----
    ``gw[t] = sum of matrix[o + t] * upstream[o]`` over positions.

    Examples
    --------
    >>> import triconv
    >>> triconv.conv2d_backward_weights([[[1], [2]], [[3], [4]]], [[[1], [10]]])
    array([[[21],
            [43]]])
    """
    image, g = _arrays(matrix=matrix, upstream=upstream)
    size = tuple(a - b + 1 for a, b in zip(image.shape[:2], g.shape[:2], strict=True))
    if min(size) < 1:
        msg = f"`upstream` must not be larger than `matrix`, got {g.shape[:2]} > {image.shape[:2]}"
        raise ValueError(msg)
    call = resolve(
        "conv_weight_vjp",
        {"x": image, "g": g},
        names={"x": "matrix", "g": "upstream"},
        layout=BACKWARD_WEIGHTS,
        result_size=size,
        fit=True,
    )
    return call, (image, g)


def _arrays(**arrays: Any) -> tuple[Array, Array]:
    """Take nested lists too, as NumPy does, and check that there are three axes before anyone indexes them."""
    library_arrays = [a for a in arrays.values() if is_array_api_obj(a)]
    backend = backend_of(array_namespace(*library_arrays[:1])) if library_arrays else BACKENDS["numpy"].load()
    first, second = (a if is_array_api_obj(a) else backend.asarray(a) for a in arrays.values())
    check_arrays(**dict(zip(arrays, (first, second), strict=True)))
    for name, a in zip(arrays, (first, second), strict=True):
        if a.ndim != 3:
            msg = f"`{name}` must have 3 axes (height, width, channels), got {a.ndim}"
            raise ValueError(msg)
        if 0 in a.shape[:2]:
            msg = f"`{name}` must have a row and a column, got {a.shape[0]} x {a.shape[1]}"
            raise ValueError(msg)
        if name == "upstream" and a.shape[2] != 1:
            msg = f"`upstream.shape[2]` must be 1, the one output channel, got {a.shape[2]}"
            raise ValueError(msg)
    return first, second
