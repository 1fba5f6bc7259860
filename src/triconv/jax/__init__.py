"""For JAX: drop-in replacements for the convolutions of `jax.lax`, and operators on arrays that are sharded over a mesh.

Read in this order: `lax_signatures` (the replacements), then `halo_exchange` (collectives), `spatial_sharding` (the program of
a sharded call) and `sharded_operators` (its public functions).
"""

from __future__ import annotations

from triconv.jax.lax_signatures import conv_general_dilated, conv_transpose
from triconv.jax.sharded_operators import conv_sharded, sharded

__all__ = ["conv_general_dilated", "conv_sharded", "conv_transpose", "sharded"]
