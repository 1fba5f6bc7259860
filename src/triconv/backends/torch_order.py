"""The memory order of torch's results: contiguous, or channels last if torch's own convolution would return it so."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch.autograd import Function

from triconv.backends import torch_internals
from triconv.backends.torch_internals import is_legacy_batchedtensor

Array = Any

# torch's names of the orders with channels last, by the number of axes
LAST = {4: torch.channels_last, 5: torch.channels_last_3d}


class Entering(Function):
    """The identity; its backward puts the cotangent in memory order, which the adjoint of a view would not."""

    @staticmethod
    def forward(a: Array, last: bool) -> Array:  # noqa: ARG004
        """View the array."""
        return a.view_as(a)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Array) -> None:  # noqa: ARG004
        """Keep the order."""
        _, ctx.last = inputs

    @staticmethod
    def backward(ctx: Any, ct: Array) -> tuple[Any, ...]:
        """Put the cotangent in order."""
        return ordered(ct, ctx.last), None


def entering(arrays: tuple[Array, ...], *, channels_first: bool) -> tuple[Array, ...]:
    """The arrays of a call, behind `Entering` if autograd records them; not in forward mode or under torch.func."""
    if not torch.is_grad_enabled() or torch_internals.is_traced():  # torch.jit.trace rejects autograd functions
        return arrays
    if torch_internals.is_transformed() or torch_internals.is_forward_mode():
        return arrays
    recorded = [a.requires_grad and a.ndim > 1 and not is_legacy_batchedtensor(a) for a in arrays]
    if not any(recorded):
        return arrays
    last = channels_first and is_last(arrays[0], arrays[:2])
    return tuple(Entering.apply(a, last) if needed else a for a, needed in zip(arrays, recorded, strict=True))


def ordered(a: Array, last: bool) -> Array:
    """`a`, contiguous or with channels `last` in memory; copied if need be."""
    if torch_internals.is_transformed() or is_legacy_batchedtensor(a):
        return a
    if not last:
        return a.contiguous()
    ndim = a.ndim
    if ndim in LAST and a.is_contiguous(memory_format=LAST[ndim]):
        return a
    return a.permute(0, *range(2, ndim), 1).contiguous().permute(0, ndim - 1, *range(1, ndim - 1))


def is_last(a: Array, like: Sequence[Array]) -> bool:
    """Whether torch's own convolution would return `a` with channels last in memory: if an operand has them last."""
    if a.ndim not in (4, 5) or (a.ndim == 5 and a.dtype == torch.float64):
        return False
    if torch_internals.is_transformed() or any(map(is_legacy_batchedtensor, like)):
        return False
    return any(array.ndim == a.ndim and are_last(array.shape, array.stride()) for array in like)


def are_last(shape: Sequence[int], strides: Sequence[int]) -> bool:
    """Whether torch reads these strides of (n, c, *spatial) as channels last, with its rule for axes of length 1."""
    least = 0
    if not strides[1]:
        return False
    for axis in (1, *range(len(shape) - 1, 1, -1), 0):
        if not shape[axis] or strides[axis] < least or (axis == 0 and least == strides[1]):
            return False
        least = strides[axis] * max(1, shape[axis])
    return True
