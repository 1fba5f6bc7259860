"""The general operators: the three contractions in any layout, for any number of spatial axes."""

from __future__ import annotations

from typing import Any, SupportsIndex

from triconv.operators.layout import Layout
from triconv.operators.registry import Resolved, operator
from triconv.operators.signature_types import Algorithm, AnyArray, ArrayT, Ints, Padding, Precision
from triconv.operators.validation import check_arrays, resolve


@operator
def conv(
    x: ArrayT,
    w: AnyArray,
    bias: AnyArray | None = None,
    *,
    stride: Ints = 1,
    padding: Padding = 0,
    dilation: Ints = 1,
    input_dilation: Ints = 1,
    groups: SupportsIndex = 1,
    layout: str | None = None,
    algorithm: Algorithm = "auto",
    precision: Precision = "highest",
) -> Resolved[ArrayT]:
    """Convolve (cross-correlate) over any number of spatial axes: the forward contraction.

    Parameters
    ----------
    x : array, shape (n, c, *input)
        The input, in the order of `layout`.
    w : array, shape (k, c // groups, *kernel)
        The kernel; it is not flipped.
    bias : array, shape (k,), optional
        Added along the output channels of the result, in any `layout`. Where the kernel has no letter ``O``, k is 1, and a bias
        of shape () is taken too.
    stride : int or sequence of int
        Step of the output; one for all spatial axes, or one per axis.
    padding : int, sequence of int, sequence of (lo, hi), or str
        Zeros around the (dilated) input; negative numbers crop. "valid": none; "same": output of size
        ``ceil(input / stride)``, if odd with one more after than before; "same_lower": with one more before; "full":
        ``dilation * (kernel - 1)`` on both sides; "causal": the same, before only.
    dilation, input_dilation : int or sequence of int
        Steps of the taps and of the input.
    groups : int
        Number of independent convolutions side by side in the channels.
    layout : str, optional
        Axes of ``x``, ``w`` and the result, ``"NCHW,OIHW->NCHW"`` by default (one letter per spatial axis). ``N``, ``C``, ``O``
        or ``I`` may be left out if an array has no such axis. ``"NCHW,OIHW,NCHW"`` means the same, and needs no quotes in a
        shell.
    algorithm : {"auto", "direct", "gemm", "depthwise", "fft", "vendor"}
        The algorithm: "auto" picks one by a cost model, see `triconv.explain` and `triconv.kernels`. "vendor" is the library's
        own convolution. "fft" has an error bound by norms, not by elements: ``4 * log2(N) * u`` times the product of the norms,
        ``N`` the padded length and ``u`` the unit roundoff of float64, on a GPU that of the sums. "auto" takes it only for
        kernels of hundreds of taps, and never for integers.
    precision : {"highest", "default"}
        Whether products have the full width of the dtype, or the one that the library is configured for.

    Returns
    -------
    array, shape (n, k, *output)
        The result, of the promoted dtype; ``output = (padded input - dilated kernel) // stride + 1``, 0 if no window fits.

    Raises
    ------
    ValueError
        If a shape or a parameter does not fit, before any array work.
    TypeError
        If an argument has a wrong type, or the arrays are of several libraries.

    See Also
    --------
    conv_input_vjp, conv_weight_vjp : The other two contractions.

    Notes
    -----
    ``y[n, k, o] = sum of x[n, c, i] * w[k, c, t]`` over every meeting
    ``input_dilation * i + pad_lo = stride * o + dilation * t``, plus ``bias[k]``. Costs one multiply-add per meeting, sample
    and channel pair.

    Examples
    --------
    >>> import numpy as np, triconv
    >>> x = np.arange(6.0).reshape(1, 6, 1)
    >>> w = np.array([1.0, -1.0]).reshape(2, 1, 1)
    >>> triconv.conv(x, w, padding=[(1, 0)], layout="NWC,WIO->NWC")[0, :, 0]
    array([ 0., -1., -1., -1., -1., -1.])
    """
    arrays: dict[str, Any] = {"x": x, "w": w} | ({} if bias is None else {"bias": bias})
    check_arrays(**arrays)
    return resolve(
        "conv",
        arrays,
        names={"x": "x", "w": "w"},
        layout=_layout(layout, x, "x"),
        stride=stride,
        padding=padding,
        dilation=dilation,
        input_dilation=input_dilation,
        groups=groups,
        algorithm=algorithm,
        precision=precision,
    ), tuple(arrays.values())


@operator
def conv_input_vjp(
    g: ArrayT,
    w: AnyArray,
    *,
    input_size: Ints,
    stride: Ints = 1,
    padding: Padding = 0,
    dilation: Ints = 1,
    input_dilation: Ints = 1,
    groups: SupportsIndex = 1,
    layout: str | None = None,
    algorithm: Algorithm = "auto",
    precision: Precision = "highest",
) -> Resolved[ArrayT]:
    """Cotangent of the input of `conv`: the input VJP, also known as transposed convolution.

    Parameters
    ----------
    g : array, shape (n, k, *output)
        Cotangent of the result of `conv`.
    w : array, shape (k, c // groups, *kernel)
        The kernel.
    input_size : int or sequence of int
        Spatial sizes of the input of `conv`.
    stride, padding, dilation, input_dilation, groups, layout, algorithm, precision : as in `conv`
        The parameters of the same convolution.

    Returns
    -------
    array, shape (n, c, *input)
        ``gx``, the plain transpose: never conjugated.

    Raises
    ------
    ValueError, TypeError
        As `conv`, and if the spatial sizes of `g` are not those of the output of this geometry.

    Notes
    -----
    ``gx[n, c, i] = sum of g[n, k, o] * w[k, c, t]`` over every meeting. No zeros are inserted and no kernel is flipped.

    Examples
    --------
    >>> import numpy as np, triconv
    >>> triconv.conv_input_vjp(np.ones((1, 1, 2)), np.ones((1, 1, 3)), input_size=5, stride=2)
    array([[[1., 1., 2., 1., 1.]]])
    """
    check_arrays(g=g, w=w)
    return resolve(
        "conv_input_vjp",
        {"g": g, "w": w},
        names={"g": "g", "w": "w"},
        layout=_layout(layout, g, "g"),
        result_size=input_size,
        stride=stride,
        padding=padding,
        dilation=dilation,
        input_dilation=input_dilation,
        groups=groups,
        algorithm=algorithm,
        precision=precision,
    ), (g, w)


@operator
def conv_weight_vjp(
    g: ArrayT,
    x: AnyArray,
    *,
    kernel_size: Ints,
    stride: Ints = 1,
    padding: Padding = 0,
    dilation: Ints = 1,
    input_dilation: Ints = 1,
    groups: SupportsIndex = 1,
    layout: str | None = None,
    algorithm: Algorithm = "auto",
    precision: Precision = "highest",
) -> Resolved[ArrayT]:
    """Cotangent of the kernel of `conv`: the weight VJP.

    Parameters
    ----------
    g : array, shape (n, k, *output)
        Cotangent of the result of `conv`.
    x : array, shape (n, c, *input)
        The input.
    kernel_size : int or sequence of int
        Spatial sizes of the kernel of `conv`.
    stride, padding, dilation, input_dilation, groups, layout, algorithm, precision : as in `conv`
        The parameters of the same convolution.

    Returns
    -------
    array, shape (k, c // groups, *kernel)
        ``gw``, the plain transpose: never conjugated.

    Raises
    ------
    ValueError, TypeError
        As `conv`, and if the spatial sizes of `g` are not those of the output of this geometry.

    Notes
    -----
    ``gw[k, c, t] = sum of g[n, k, o] * x[n, c, i]`` over every meeting and sample.

    Examples
    --------
    >>> import numpy as np, triconv
    >>> triconv.conv_weight_vjp(np.ones((1, 1, 3)), np.arange(5.0).reshape(1, 1, 5), kernel_size=3)
    array([[[3., 6., 9.]]])
    """
    check_arrays(g=g, x=x)
    return resolve(
        "conv_weight_vjp",
        {"g": g, "x": x},
        names={"g": "g", "x": "x"},
        layout=_layout(layout, x, "x"),
        result_size=kernel_size,
        stride=stride,
        padding=padding,
        dilation=dilation,
        input_dilation=input_dilation,
        groups=groups,
        algorithm=algorithm,
        precision=precision,
    ), (g, x)


def _layout(layout: str | None, a: AnyArray, name: str) -> Layout:
    if layout is not None:
        return Layout.parse(layout)
    if a.ndim < 2:
        msg = f"`{name}` must have at least 2 axes (N, C, then the spatial ones) without a `layout`, got {a.ndim}"
        raise ValueError(msg)
    return Layout.channels_first(a.ndim - 2)
