"""One file per array library: the few operations that the array API standard lacks.

To add a library, subclass `Standard` in a file of its own and enter it in `BACKENDS` here. Read `base` and `array_operations`
first, then the libraries: `numpy_backend`, `jax_backend`, `torch_backend`, `cupy_backend`, `strict_backend`. Parts stand apart.

* NumPy: threads (`numpy_threads`), multiply-adds in place (`numpy_shifts`, `numpy_lines`), in tiles (`numpy_tiles`).
* JAX: lax's own convolution (`jax_convolution`), loops of a compiled program (`jax_loops`), options of XLA (`quick_xla`).
* torch: all uses of private names (`torch_internals`), memory order (`torch_order`), precision (`torch_products`).
"""

from __future__ import annotations

from triconv.backends.base import BACKENDS, ArrayKind, Standard, backend_of, to_numpy
from triconv.backends.cupy_backend import CuPy
from triconv.backends.jax_backend import JAX
from triconv.backends.numpy_backend import NumPy
from triconv.backends.strict_backend import Strict
from triconv.backends.torch_backend import Torch

BACKENDS |= {kind.name: kind for kind in (NumPy, JAX, Torch, CuPy, Strict)}

__all__ = ["BACKENDS", "ArrayKind", "Standard", "backend_of", "to_numpy"]
