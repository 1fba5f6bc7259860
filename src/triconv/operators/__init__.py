"""The public functions: the operators, their derivatives, the backend switch.

`registry.OPERATORS` is the one table of the operators. Read in this order: `layout` (letters of axes), `operation` (a resolved
call), `symbolic` (a call with symbolic sizes), `validation` (from arguments to a call), `torch_calls` and `registry` (what
makes a function an operator), then the operators: `general`, `torch_signatures`, `notebook`. On top of them stand `derivatives`
(`vjp`, `jvp`), `backend_switch` (`use`) and `explanation` (`explain`).
"""

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
