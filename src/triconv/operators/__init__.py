"""The public functions: the operators, their derivatives, the backend switch.

`registry.OPERATORS` is the one table of the operators. Read in this order: `layout` (letters of axes), `operation` (a resolved
call), `symbolic` (a call with symbolic sizes), `validation` (from arguments to a call), `torch_calls` and `registry` (what
makes a function an operator), then the operators: `general`, `torch_signatures`, `notebook`. On top of them stand `derivatives`
(`vjp`, `jvp`), `backend_switch` (`use`), `shapes` (a call that is looked at and not run) and `explanation` (`explain`).

What works where
----------------
On NumPy, JAX, torch and array-api-strict, and on CuPy by the standard (not run):

- `conv`, `conv_input_vjp`, `conv_weight_vjp`: any number of axes, layout, stride, dilation, input dilation, groups, padding of
  any sign; `conv` with a bias
- `conv1d`, `conv2d`, `conv3d` and `conv_transpose1d`, `conv_transpose2d`, `conv_transpose3d` with torch's signatures: bias,
  unbatched, reflect, replicate, circular; and in any layout
- `conv2d_forward`, `conv2d_backward`, `conv2d_backward_weights` of the teaching notebook
- `vjp` and `jvp` by the hand-derived rules

The rest differs by library::

                    transforms of the framework, to any order          dtypes                triconv check
    NumPy           -                                                  all but bfloat16      yes
    JAX             all of them, shard_map and explicit meshes too     all                   eager and jitted
    torch           autograd, forward mode, torch.func,                all                   yes
                    torch.compile, torch.export
    CuPy            -                                                  all but bfloat16      -
    array-api-      -                                                  all but float16       yes
    strict                                                             and bfloat16

where the dtypes are float16, bfloat16, float32, float64, complex and integers. `triconv.jax.conv_general_dilated` and
`triconv.jax.conv_transpose` have lax's signatures, values, dtypes and refusals.

Conventions
-----------
- "Convolution" is cross-correlation, as in torch and lax.
- A layout such as ``"NHWC,HWIO->NHWC"`` names the axes of the input, the kernel and the result; a shell takes
  ``NHWC,HWIO,NHWC`` without quotes. A bias goes along the output channels of the result. In a transposed convolution the kernel
  has the letters that it has in the convolution: ``O`` for the channels of its input.
- If no window fits into the padded input, `conv1d`, `conv2d` and `conv3d` raise, as torch does, and `conv` returns an empty
  output, as lax does.
- ``precision="highest"``, the default, never uses products in TF32 or bfloat16, not even under torch's autocast. With
  "default", autocast narrows the products; sums and results keep the dtype of the arrays. `triconv.jax` takes lax's
  ``precision``, with its default.
- Complex gradients are the plain transpose in JAX and NumPy: ``gx = conv_input_vjp(g, w)`` and ``gw = conv_weight_vjp(g, x)``.
  In torch they are conjugated: ``gx = conv_input_vjp(g, conj(w))`` and ``gw = conv_weight_vjp(g, conj(x))``.
- float16 and bfloat16 are summed in float32 and rounded once. On a GPU, JAX calls cuDNN, whose result is rounded before a bias
  is added.

JAX and torch
-------------
- In `jax.shard_map` the gradient of a replicated weight is summed over the devices, as with lax.
- On a mesh with explicit axes, the batch and the positions of a result are sharded as those of the first operand. If this does
  not determine the sharding of the result, pass ``out_sharding``.
- `torch.export` needs ``strict=False``, its default. `triconv.vjp` breaks the graph in `torch.compile`; the operators do not.

Algorithms
----------
- "direct" has the three lines of the package docstring. "gemm" multiplies matrices of unfolded inputs. "depthwise" is for few
  channels per group, "fft" for long kernels. "vendor" is the framework's own convolution, called with plain convolutions only.
- ``algorithm="auto"`` picks one per contraction by a cost model from the shapes alone; `triconv.explain` shows why.
- The errors of "direct", "gemm" and "depthwise" are bounded element by element, and small integers are exact. "fft" computes in
  float64, on a GPU in float32 unless the sums are wider, and has an error bound by norms, and a NaN spreads over its whole
  sample; "auto" takes it only for floats and kernels of hundreds of taps.
- If XLA shards the arrays of a program over several devices, the kernel is a contraction that merges no axes.
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
