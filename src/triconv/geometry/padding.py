"""Padding: every spelling that users may pass, as one ``(lo, hi)`` pair per spatial axis."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from triconv.geometry.integers import as_int, as_sequence, dilated, one_per_axis, shown

Pads = tuple[tuple[int, int], ...]

PADDING_NAMES = ("valid", "same", "same_lower", "full", "causal")

# for type checkers, which know no letter case
PaddingName = Literal[
    "valid", "same", "same_lower", "full", "causal",
    "VALID", "SAME", "SAME_LOWER", "FULL", "CAUSAL",
    "Valid", "Same", "Same_Lower", "Full", "Causal",
]  # fmt: skip


def resolve_padding(
    padding: Any,
    input_size: Sequence[int],
    kernel_size: Sequence[int],
    stride: Sequence[int],
    dilation: Sequence[int],
    input_dilation: Sequence[int],
) -> Pads:
    """Turn any spelling of `padding` into one ``(lo, hi)`` pair per axis.

    ``"valid"`` pads nothing; ``"full"`` pads ``dilation * (kernel - 1)`` on both sides and ``"causal"`` only before;
    ``"same"`` makes the output ``ceil(input / stride)`` long; if the total is odd, the extra position comes after the input
    (with ``"same_lower"``: before it) [1]_.

    References
    ----------
    .. [1] The rule of TensorFlow and of `jax.lax.padtype_to_pads`.
    """
    ndim = len(input_size)
    if isinstance(padding, str):
        name = padding.lower()
        if name not in PADDING_NAMES:
            msg = f"`padding` must be one of {', '.join(map(repr, PADDING_NAMES))} if it is a string, got {shown(padding)}"
            raise ValueError(msg)
        sizes = zip(
            (dilated(i, d) for i, d in zip(input_size, input_dilation, strict=True)),
            (dilated(k, d) for k, d in zip(kernel_size, dilation, strict=True)),
            stride,
            strict=True,
        )
        return tuple(_named_padding(name, *axis) for axis in sizes)
    entries = as_sequence(padding)
    if entries is not None and any(as_sequence(p) is not None or isinstance(p, (str, bytes)) for p in entries):
        if len(entries) != ndim:
            msg = f"`padding` must be one pair per spatial axis, got {len(entries)} for {ndim} axes"
            raise ValueError(msg)
        return tuple(_pair(p) for p in entries)
    if entries is not None and len(entries) == 2 and ndim == 1:
        text = shown(padding if isinstance(padding, Sequence) else tuple(as_int(p, "padding") for p in entries))
        msg = f"`padding` must be one int or one (lo, hi) pair per spatial axis, got {text}; meant [{text}]?"
        raise ValueError(msg)
    return tuple((p, p) for p in one_per_axis(padding, ndim, "padding"))


def _named_padding(name: str, input_extent: int, kernel_extent: int, stride: int) -> tuple[int, int]:
    reach = max(0, kernel_extent - 1)
    if name == "valid":
        return 0, 0
    if name == "full":
        return reach, reach
    if name == "causal":
        return reach, 0
    windows = -(-input_extent // stride)
    total = max(0, (windows - 1) * stride + kernel_extent - input_extent)
    half, rest = total // 2, total - total // 2
    return (half, rest) if name == "same" else (rest, half)


def _pair(pair: Any) -> tuple[int, int]:
    entries = as_sequence(pair)
    if entries is None or len(entries) != 2:
        msg = f"`padding` must be one (lo, hi) pair per spatial axis, got {shown(pair)} among the pairs"
        raise ValueError(msg)
    return as_int(entries[0], "padding"), as_int(entries[1], "padding")
