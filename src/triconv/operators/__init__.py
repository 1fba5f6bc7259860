"""What people call: the operators, their derivatives, the backend switch; `registry.OPERATORS` is the one table of them."""

from __future__ import annotations

from triconv.operators.general import conv, conv_input_vjp, conv_weight_vjp
from triconv.operators.notebook import conv2d_backward, conv2d_backward_weights, conv2d_forward
from triconv.operators.torch_signatures import (
    conv1d,
    conv2d,
    conv3d,
    conv_transpose1d,
    conv_transpose2d,
    conv_transpose3d,
)

__all__ = [
    "conv",
    "conv1d",
    "conv2d",
    "conv2d_backward",
    "conv2d_backward_weights",
    "conv2d_forward",
    "conv3d",
    "conv_input_vjp",
    "conv_transpose1d",
    "conv_transpose2d",
    "conv_transpose3d",
    "conv_weight_vjp",
]
