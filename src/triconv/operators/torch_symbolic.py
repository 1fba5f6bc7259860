"""The contractions by torch's own convolution, for symbolic sizes (`torch.SymInt`).

A `Geometry` would fix the sizes, since it consists of integers. Here no size is compared with a number or hashed: each
contraction consists of torch's own operators, in torch's order of axes, and torch differentiates them. An input dilation is
computed by the transposed convolution; if there is a stride too, the results that it skips are dropped. No zeros are inserted::

    full[e * i + d * t'] += x[i] * w[k - 1 - t']         y[o] = full[stride * o + d * (k - 1) - pad_lo]
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

Array = Any
Size = Any
Pads = Sequence[tuple[Size, Size]]


class Spec(NamedTuple):
    """The parameters of a contraction, one per spatial axis; sizes and padding may be symbolic."""

    result_size: tuple[Size, ...]
    """Spatial sizes of the result if it is x or w; those of g follow from the operands."""
    stride: tuple[int, ...]
    pads: Pads
    dilation: tuple[int, ...]
    input_dilation: tuple[int, ...]
    groups: int

    @property
    def is_plain(self) -> bool:
        """Whether the input is not dilated."""
        return set(self.input_dilation) <= {1}


def obstacle(name: str, spec: Spec) -> str | None:
    """Return why torch's own operators cannot express a contraction, if so."""
    if len(spec.stride) not in (1, 2, 3):
        return f"torch's own convolution has 1, 2 or 3 spatial axes, not {len(spec.stride)}"
    if name == "conv_weight_vjp" and not spec.is_plain and set(spec.stride) != {1}:
        return "torch's own convolution has no weight gradient with both a stride and an input dilation"
    return None


def contract(name: str, a: Array, b: Array, bias: Array | None, spec: Spec) -> Array:
    """``conv(x, w)``, ``conv_input_vjp(g, w)`` or ``conv_weight_vjp(g, x)``, with the bias added to the sums.

    Parameters
    ----------
    name : {"conv", "conv_input_vjp", "conv_weight_vjp"}
        Which of the three.
    a, b : tensor
        The operands in torch's order: (n, c, *input), (k, c // groups, *kernel) or (n, k, *output).
    bias : tensor, shape (channels of the result,), optional
        The bias.
    spec : Spec
        The parameters.

    Returns
    -------
    tensor
        The result in torch's order.
    """
    if name == "conv":
        return _conv(a, b, bias, spec)
    if name == "conv_input_vjp":
        return _input_vjp(a, b, bias, spec)
    if spec.is_plain:
        return _weight_vjp(a, b, spec)
    transposed = spec._replace(
        stride=spec.input_dilation,
        input_dilation=spec.stride,
        pads=[
            (d * (k - 1) - lo, e * (i - 1) + 1 - o + lo)
            for d, k, (lo, _), e, i, o in zip(
                spec.dilation, spec.result_size, spec.pads, spec.input_dilation, b.shape[2:], a.shape[2:], strict=True
            )
        ],
    )
    return _adjoint_kernel(_weight_vjp(b, a, transposed), spec.groups)


def same_pads(input_size: Sequence[Size], kernel_size: Sequence[Size], spec: Spec, *, lower: bool) -> Pads:
    """The padding "same" or "same_lower" of sizes that may be symbolic; see `triconv.geometry.padding.resolve_padding`."""
    import torch

    pads = []
    for i, k, s, d, e in zip(input_size, kernel_size, spec.stride, spec.dilation, spec.input_dilation, strict=True):
        extent, reach = e * (i - 1) + 1, d * (k - 1)
        total = reach if s == 1 else torch.sym_max(0, (extent + s - 1) // s * s - s + reach + 1 - extent)
        half = total // 2
        pads.append((total - half, half) if lower else (half, total - half))
    return pads


def fits(input_size: Sequence[Size], kernel_size: Sequence[Size], output_size: Sequence[Size], spec: Spec) -> bool:
    """Whether there are as many windows as outputs; adds no guard to the trace if that follows from the sizes' expressions."""
    from triconv.backends.torch_internals import statically_known_true

    sizes = zip(input_size, kernel_size, output_size, strict=True)
    steps = zip(spec.stride, spec.pads, spec.dilation, spec.input_dilation, strict=True)
    for (i, k, o), (s, (lo, hi), d, e) in zip(sizes, steps, strict=True):
        room = e * (i - 1) + 1 + lo + hi - (d * (k - 1) + 1)
        if not statically_known_true(room == s * (o - 1)) and room // s + 1 != o:
            return False
    return True


def pullback(function: Any, arrays: tuple[Array, ...], g: Array) -> tuple[Array, ...]:
    """Cotangents of the arguments of a function, by torch's own rules."""
    import torch

    return torch.func.vjp(function, *arrays)[1](g)


def pad(x: Array, mode: str, pads: Pads) -> Array:
    """Pad with a mode."""
    import torch

    return torch.nn.functional.pad(x, _flat(pads), mode=mode)


def _conv(x: Array, w: Array, bias: Array | None, spec: Spec) -> Array:
    import torch

    ndim = len(spec.stride)
    if spec.is_plain:
        x, padding = _padded(x, spec.pads)
        function = (torch.conv1d, torch.conv2d, torch.conv3d)[ndim - 1]
        return function(x, w, bias, spec.stride, padding, spec.dilation, spec.groups)
    full = _transposed(x, _adjoint_kernel(w, spec.groups), None, spec.input_dilation, [0] * ndim, [0] * ndim, spec)
    reaches = [d * (k - 1) for d, k in zip(spec.dilation, w.shape[2:], strict=True)]
    y = _pad(full, [(lo - reach, hi - reach) for (lo, hi), reach in zip(spec.pads, reaches, strict=True)])
    y = _every(y, spec.stride)
    return y if bias is None else y + bias.reshape(-1, *[1] * ndim)


def _input_vjp(g: Array, w: Array, bias: Array | None, spec: Spec) -> Array:
    from triconv.backends.torch_internals import statically_known_true

    sizes, steps = spec.result_size, zip(g.shape[2:], spec.stride, w.shape[2:], spec.dilation, strict=True)
    extents = [s * (o - 1) + d * (k - 1) + 1 for o, s, k, d in steps]
    longs = [e * (i - 1) + 1 for i, e in zip(sizes, spec.input_dilation, strict=True)]
    ends = [lo - hi for lo, hi in spec.pads]
    is_own = all(
        isinstance(lo, int) and lo >= 0 and 0 <= end < max(s, d)  # torch's own transposed convolution accepts these
        for (lo, _), end, s, d in zip(spec.pads, ends, spec.stride, spec.dilation, strict=True)
    ) and all(
        statically_known_true(long == extent - lo - hi)
        for long, extent, (lo, hi) in zip(longs, extents, spec.pads, strict=True)
    )
    if is_own and spec.is_plain:
        return _transposed(g, w, bias, spec.stride, [lo for lo, _ in spec.pads], ends, spec)
    zeros = [0] * len(spec.stride)
    full = _transposed(g, w, None, spec.stride, zeros, zeros, spec)
    crops = [(-lo, long + lo - extent) for (lo, _), long, extent in zip(spec.pads, longs, extents, strict=True)]
    gx = _every(_pad(full, crops), spec.input_dilation)
    return gx if bias is None else gx + bias.reshape(-1, *[1] * len(zeros))


def _weight_vjp(g: Array, x: Array, spec: Spec) -> Array:
    import torch

    ndim, groups = len(spec.stride), spec.groups
    x, padding = _padded(x, spec.pads)
    n, c, k = x.shape[0], x.shape[1] // groups, g.shape[1]
    if g.dtype.is_floating_point:
        w = g.new_empty((k, c, *spec.result_size))
        mask = [False, True, False]
        zeros = [0] * ndim
        return torch.ops.aten.convolution_backward(
            g, x, w, None, spec.stride, padding, spec.dilation, False, zeros, groups, mask
        )[1]
    # a convolution with samples and channels exchanged, and stride and dilation exchanged
    x = x.reshape(n, groups, c, *x.shape[2:]).permute(2, 1, 0, *range(3, 3 + ndim)).reshape(c, groups * n, *x.shape[2:])
    function = (torch.conv1d, torch.conv2d, torch.conv3d)[ndim - 1]
    gw = function(x, g.transpose(0, 1), None, spec.dilation, padding, spec.stride, groups)
    return gw.transpose(0, 1)[(..., *(slice(size) for size in spec.result_size))]


def _transposed(
    a: Array, w: Array, bias: Array | None, stride: Sequence[int], padding: list[Any], ends: list[Any], spec: Spec
) -> Array:
    """The transposed convolution."""
    import torch

    function = (torch.conv_transpose1d, torch.conv_transpose2d, torch.conv_transpose3d)[len(stride) - 1]
    return function(a, w, bias, stride, padding, ends, spec.groups, spec.dilation)


def _adjoint_kernel(w: Array, groups: int) -> Array:
    """The kernel of the adjoint: taps reversed, and input and output channels of each group exchanged."""
    axes = tuple(range(2, w.ndim))
    k, c = w.shape[:2]
    w = w.flip(axes).reshape(groups, k // groups, c, *w.shape[2:])
    return w.transpose(1, 2).reshape(groups * c, k // groups, *w.shape[3:])


def _padded(x: Array, pads: Pads) -> tuple[Array, list[int]]:
    """`x`, padded here if torch's own convolution cannot express the padding, and the padding that is left to it."""
    if all(isinstance(lo, int) and isinstance(hi, int) and 0 <= lo == hi for lo, hi in pads):
        return x, [lo for lo, _ in pads]
    return _pad(x, pads), [0] * len(pads)


def _pad(a: Array, pads: Pads) -> Array:
    import torch

    if all(isinstance(size, int) and size == 0 for pair in pads for size in pair):
        return a
    return torch.nn.functional.pad(a, _flat(pads))


def _flat(pads: Pads) -> list[Size]:
    return [size for pair in reversed(list(pads)) for size in pair]


def _every(a: Array, steps: Sequence[int]) -> Array:
    """Every ``steps[j]``-th position of axis ``j``."""
    return a if set(steps) <= {1} else a[(..., *(slice(None, None, step) for step in steps))]
