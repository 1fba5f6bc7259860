"""The operators with torch's signatures: positional order, channels first by default, unbatched input, and torch's errors."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any, Concatenate, ParamSpec, SupportsIndex

from array_api_compat import array_namespace

from triconv.backends import backend_of
from triconv.geometry.integers import as_int, as_sequence, dilated, one_per_axis, shown
from triconv.operators.layout import SPATIAL_LETTERS, Layout
from triconv.operators.registry import Resolved, operator
from triconv.operators.signature_types import Algorithm, AnyArray, ArrayT, Ints, Padding, PaddingMode, Precision
from triconv.operators.validation import check_arrays, check_axes, resolve

Array = Any
P = ParamSpec("P")

CONV_DOC = """{n}-D convolution with the signature of ``torch.nn.functional.conv{n}d``, on any backend.

Parameters
----------
x : array, shape (n, c, {sizes}) or (c, {sizes})
    The input; without the batch, the result has none.
w : array, shape (k, c // groups, {kernel})
    The kernel; it is not flipped.
bias : array, shape (k,), optional
    Added to each output channel, as in `triconv.conv`.
stride : int or sequence of int
    Step of the output.
padding : int, sequence of int, sequence of (lo, hi), or str
    As in `triconv.conv`, not negative; "same" needs stride 1.
dilation : int or sequence of int
    Step of the taps.
groups : int
    Number of independent convolutions side by side in the channels.
padding_mode : {{"zeros", "reflect", "replicate", "circular"}}
    The values beyond the borders, as in ``torch.nn.Conv{n}d``.
layout : str, optional
    Axes of the arrays, as in `triconv.conv`: ``"{last}"`` for channels last. By default channels first, with the batch or
    without it, by the number of axes of `x`.
algorithm, precision : str
    As in `triconv.conv`.

Returns
-------
array, shape (n, k, *output) or (k, *output)
    The result, with ``output = (input + lo + hi - dilation * (kernel - 1) - 1) // stride + 1``.

Raises
------
ValueError
    If a shape or a parameter does not fit, or a window does not fit into the padded input.
TypeError
    If an argument has a wrong type, or the arrays are of several libraries.

See Also
--------
conv : Any number of axes, negative padding, input dilation.

Notes
-----
Computes ``y[n, k, o] = sum of x[n, c, i] * w[k, c, t]`` over the meetings ``i + lo = stride * o + dilation * t``.

Examples
--------
>>> import numpy as np, triconv
>>> triconv.conv{n}d(np.ones((1, 2, {fives})), np.ones((4, 2, {threes})), stride=2).shape
(1, 4, {twos})

Channels last:

>>> x, w = np.ones((1, {fives}, 2)), np.ones(({threes}, 2, 4))
>>> triconv.conv{n}d(x, w, np.ones(4), stride=2, layout="{last}").shape
(1, {twos}, 4)
"""

CONV_TRANSPOSE_DOC = """{n}-D transposed convolution with the signature of ``torch.nn.functional.conv_transpose{n}d``.

Parameters
----------
x : array, shape (n, c, {sizes}) or (c, {sizes})
    The input; without the batch, the result has none.
w : array, shape (c, k // groups, {kernel})
    The kernel of the convolution whose input VJP this is.
bias : array, shape (k,), optional
    Added to each output channel. Where `layout` gives the kernel no letter ``I`` and k is 1, a bias of shape () is taken too.
stride : int or sequence of int
    Step of the input.
padding : int or sequence of int
    Number of positions by which the result is cropped on each side.
output_padding : int or sequence of int
    Number of positions added at the end of the result; less than stride or dilation.
groups : int
    Number of independent convolutions side by side in the channels.
dilation : int or sequence of int
    Step of the taps.
layout : str, optional
    Axes of `x`, `w` and the result, such as ``"{last}"``. The kernel is that of the convolution, and has its letters: ``O`` for
    the channels of `x`, ``I`` for those of the result. By default channels first, by the number of axes of `x`.
algorithm, precision : str
    As in `triconv.conv`.

Returns
-------
array, shape (n, k, *output) or (k, *output)
    The result, with ``output = (input - 1) * stride - 2 * padding + dilation * (kernel - 1) + output_padding + 1``.

Raises
------
ValueError
    If a shape or a parameter does not fit, or the result has no element.
TypeError
    If an argument has a wrong type, or the arrays are of several libraries.

See Also
--------
conv_input_vjp : The same contraction, for any number of axes, negative padding and input dilation.

Notes
-----
This is `conv_input_vjp` with ``x`` as the cotangent ``g``. No zeros are inserted.

Examples
--------
>>> import numpy as np, triconv
>>> triconv.conv_transpose{n}d(np.ones((1, 4, {twos})), np.ones((4, 2, {threes})), stride=2).shape
(1, 2, {fives})

Channels last, from 2 channels to 4 and back with the same kernel and layout:

>>> x, w, layout = np.ones((1, {fives}, 2)), np.ones(({threes}, 2, 4)), "{last}"
>>> y = triconv.conv{n}d(x, w, stride=2, layout=layout)
>>> y.shape, triconv.conv_transpose{n}d(y, w, stride=2, layout=layout).shape
((1, {twos}, 4), (1, {fives}, 2))
"""


def _conv(
    n: int,
    x: ArrayT,
    w: AnyArray,
    bias: AnyArray | None = None,
    stride: Ints = 1,
    padding: Padding = 0,
    dilation: Ints = 1,
    groups: SupportsIndex = 1,
    *,
    padding_mode: PaddingMode = "zeros",
    layout: str | None = None,
    algorithm: Algorithm = "auto",
    precision: Precision = "highest",
) -> Resolved[ArrayT]:
    arrays, axes = _arrays(n, "x", x, w, bias, layout)
    if isinstance(padding, str):
        if "same" in padding.lower() and one_per_axis(stride, n, "stride", least=1) != (1,) * n:
            msg = (
                f"`padding` {padding!r} must go with stride 1 here, as in torch, got {shown(stride)}; see triconv.conv"
            )
            raise ValueError(msg)
    elif _least(padding) < 0:
        msg = f"`padding` must not be negative here, as in torch, got {shown(padding)}; see triconv.conv"
        raise ValueError(msg)
    return resolve(
        "conv",
        arrays,
        names={"x": "x", "w": "w"},
        layout=axes,
        stride=stride,
        padding=padding,
        dilation=dilation,
        groups=groups,
        mode=padding_mode,
        fit=True,
        algorithm=algorithm,
        precision=precision,
    ), tuple(arrays.values())


def _conv_transpose(
    n: int,
    x: ArrayT,
    w: AnyArray,
    bias: AnyArray | None = None,
    stride: Ints = 1,
    padding: Ints = 0,
    output_padding: Ints = 0,
    groups: SupportsIndex = 1,
    dilation: Ints = 1,
    *,
    layout: str | None = None,
    algorithm: Algorithm = "auto",
    precision: Precision = "highest",
) -> Resolved[ArrayT]:
    arrays, axes = _arrays(n, "g", x, w, bias, layout)
    strides = one_per_axis(stride, n, "stride", least=1)
    dilations = one_per_axis(dilation, n, "dilation", least=1)
    crops = one_per_axis(padding, n, "padding", least=0)
    extras = one_per_axis(output_padding, n, "output_padding", least=0)
    sizes, varies = [], backend_of(array_namespace(x)).varies
    kernel = axes.spatial_size("w", w.shape)
    for number, (size, taps, step, apart, crop, extra) in enumerate(
        zip(axes.spatial_size("g", x.shape), kernel, strides, dilations, crops, extras, strict=True)
    ):
        if extra >= max(step, apart):
            msg = (
                "`output_padding` must be less than `stride` or `dilation`, "
                f"got {extra} for {step} and {apart} in spatial axis {number}"
            )
            raise ValueError(msg)
        if not taps or not size:
            empty = "w" if not taps else "x"
            msg = f"`{empty}` must have at least one element in every spatial axis, got 0 in spatial axis {number}"
            raise ValueError(msg)
        total = dilated(size, step) - 2 * crop + dilated(taps, apart) - 1 + extra
        if not varies([total]) and total < 1:  # torch checks a symbolic one
            msg = f"`padding` must leave the result an element in every axis, got {total} in spatial axis {number}"
            raise ValueError(msg)
        sizes.append(total)
    return resolve(
        "conv_input_vjp",
        arrays,
        names={"g": "x", "w": "w"},
        layout=axes,
        result_size=tuple(sizes),
        stride=strides,
        # `output_padding` crops less at the end, so that the number of windows is that of the positions of x
        padding=tuple((crop, crop - extra) for crop, extra in zip(crops, extras, strict=True)),
        dilation=dilations,
        groups=groups,
        algorithm=algorithm,
        precision=precision,
    ), tuple(arrays.values())


def _arrays(
    n: int, role: str, x: Array, w: Array, bias: Array | None, layout: str | None
) -> tuple[dict[str, Array], Layout]:
    """The arrays by role, `x` as "x" or "g", and their layout; without one, channels first by the number of axes of `x`."""
    arrays = {"x": x, "w": w} | ({} if bias is None else {"bias": bias})
    check_arrays(**arrays)
    if layout is None:
        if x.ndim not in (n + 1, n + 2):
            letters = "C" + SPATIAL_LETTERS[n]
            msg = f"`x` must have {n + 2} axes (N{letters}) or {n + 1} ({letters}), got {x.ndim}"
            raise ValueError(msg)
        axes = Layout.channels_first(n, batched=x.ndim == n + 2)
    else:
        axes = Layout.parse(layout)
        if len(axes.spatial) != n:
            msg = f"`layout` must have {n} spatial letters here, got {axes.spatial!r} in {layout!r}; see triconv.conv"
            raise ValueError(msg)
        axes = axes if role == "x" else axes.transposed()
    by_role = dict(zip((role, "w", "bias"), arrays.values(), strict=False))
    check_axes(axes, {role: x, "w": w}, {role: "x", "w": "w"})
    return by_role, axes


def _least(padding: Any) -> int:
    """The smallest number in a padding, however nested."""
    entries = as_sequence(padding)
    if entries is not None:
        return min(map(_least, entries), default=0)
    return as_int(padding, "padding")


def _bind(name: str, signature: inspect.Signature, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    """Raise unless arguments fit a signature."""
    try:
        signature.bind(*args, **kwargs)
    except TypeError as problem:
        words = str(problem).replace("missing a required", "missing 1 required positional")
        msg = f"{name}() {words.replace('multiple values', 'got multiple values')}"
        raise TypeError(msg) from None


def _public(
    of_rank: Callable[Concatenate[int, P], Resolved[ArrayT]], n: int, name: str, doc: str
) -> Callable[P, ArrayT]:
    """The operator of `n` spatial axes."""

    def repeated(text: str) -> str:
        return ", ".join([text] * n)

    signature = inspect.signature(of_rank)
    signature = signature.replace(parameters=list(signature.parameters.values())[1:])

    @functools.wraps(of_rank)
    def function(*args: P.args, **kwargs: P.kwargs) -> Resolved[ArrayT]:
        try:
            return of_rank(n, *args, **kwargs)
        except TypeError:
            _bind(name, signature, args, kwargs)  # whose error says the public name
            raise

    letters = SPATIAL_LETTERS[n].lower()
    function.__signature__ = signature  # type: ignore[attr-defined]
    function.__annotations__ = {name: kind for name, kind in of_rank.__annotations__.items() if name != "n"}
    function.__name__ = function.__qualname__ = name
    function.__doc__ = doc.format(
        n=n,
        sizes=", ".join(letters),
        kernel=", ".join(f"k{letter}" for letter in letters),
        last="N{0}C,{0}IO->N{0}C".format(SPATIAL_LETTERS[n]),
        twos=repeated("2"),
        threes=repeated("3"),
        fives=repeated("5"),
    )
    return operator(function, aliases={"input": "x", "weight": "w"})


conv1d = _public(_conv, 1, "conv1d", CONV_DOC)
"""1-D convolution with the signature of ``torch.nn.functional.conv1d``, on any backend; see ``help(triconv.conv1d)``."""
conv2d = _public(_conv, 2, "conv2d", CONV_DOC)
"""2-D convolution with the signature of ``torch.nn.functional.conv2d``, on any backend; see ``help(triconv.conv2d)``."""
conv3d = _public(_conv, 3, "conv3d", CONV_DOC)
"""3-D convolution with the signature of ``torch.nn.functional.conv3d``, on any backend; see ``help(triconv.conv3d)``."""
conv_transpose1d = _public(_conv_transpose, 1, "conv_transpose1d", CONV_TRANSPOSE_DOC)
"""1-D transposed convolution, as ``torch.nn.functional.conv_transpose1d``; see ``help(triconv.conv_transpose1d)``."""
conv_transpose2d = _public(_conv_transpose, 2, "conv_transpose2d", CONV_TRANSPOSE_DOC)
"""2-D transposed convolution, as ``torch.nn.functional.conv_transpose2d``; see ``help(triconv.conv_transpose2d)``."""
conv_transpose3d = _public(_conv_transpose, 3, "conv_transpose3d", CONV_TRANSPOSE_DOC)
"""3-D transposed convolution, as ``torch.nn.functional.conv_transpose3d``; see ``help(triconv.conv_transpose3d)``."""
