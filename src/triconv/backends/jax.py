"""JAX: what jax.numpy lacks or does its own way."""

from __future__ import annotations

import contextlib
import functools
import importlib.util
from typing import Any

import numpy as np

from triconv.backends.standard import Array, Standard, to_native

# elements of the left matrix up to which a fused sum of products beats a dot (on the CPU: half the compile time, and no slower)
SMALL = 64


class JAX(Standard):
    """JAX arrays, traced ones too."""

    name = "jax"
    distribution = "jax"
    requirement = "jax>=0.10,<0.13"
    module = "jax.numpy"
    binding = "triconv.interop.jax"
    compiles = True

    @classmethod
    def installed(cls) -> bool:
        """Whether JAX can be imported here."""
        return importlib.util.find_spec("jax") is not None

    def devices(self) -> list[str]:
        """The devices of the default platform."""
        import jax

        return [str(device) for device in jax.devices()]

    def precision(self, level: str) -> contextlib.AbstractContextManager[Any]:
        """Matrix products at the full width of their dtype ("highest": no TF32, no bfloat16 passes), or at a level of JAX's."""
        import jax

        return jax.default_matmul_precision(level)

    def add_at(self, a: Array, slices: tuple[slice, ...], values: Array) -> Array:
        """Add, padded to the shape of `a`: XLA fuses all of a kernel's additions into one loop, zeros never stand in memory."""
        import jax

        front = a.ndim - len(slices)
        ranges = [range(*s.indices(size)) for s, size in zip(slices, a.shape[front:], strict=True)]
        values = self.xp.reshape(values, (*a.shape[:front], *map(len, ranges)))
        config = [(0, 0, 0)] * front + [
            (r.start, size - (r[-1] + 1 if r else r.start), r.step - 1)
            for r, size in zip(ranges, a.shape[front:], strict=True)
        ]
        return a + jax.lax.pad(values, self.xp.zeros((), a.dtype), config)

    def place(self, array: Array) -> Any:
        """Leave it to JAX, which moves what is not committed to a device."""
        return None

    def compile(self, function: Any, like: tuple[Array, ...] = ()) -> Any:
        """`jax.jit`, inlined into a program that is being traced; on a mesh with explicit axes, the results keep to them."""
        from triconv.interop import sharding

        compiled = _jit(function)

        def run(call: Any, *arrays: Any) -> Any:
            if not sharding.is_explicit(arrays):
                return compiled(call, *arrays)
            return sharding.run(functools.partial(compiled, call), arrays, sharding.of_results(call, arrays, like))

        return run

    def matmul(self, a: Array, b: Array) -> Array:
        """As a sum of products where the matrices are small: XLA fuses it with all around it, but compiles a loop a dot."""
        rows, inner, columns = a.shape[-2], a.shape[-1], b.shape[-1]
        if rows * inner > SMALL and rows * columns > 1:
            return self.xp.matmul(a, b)
        return self.xp.sum(a[..., :, :, None] * b[..., None, :, :], axis=-2, dtype=a.dtype)

    def asarray(self, obj: Any, *, device: Any = None, dtype: Any = None) -> Array:
        """As a JAX array; refuses a 64-bit dtype that JAX would silently narrow."""
        import jax

        dtype = self.dtype(dtype)
        if dtype is not None and jax.dtypes.canonicalize_dtype(dtype) != np.dtype(dtype):
            msg = f"`dtype` must be one that JAX is configured for, got {np.dtype(dtype).name}; set jax_enable_x64"
            raise ValueError(msg)
        if isinstance(device, str):
            platform, _, number = device.partition(":")
            device = jax.devices(platform)[int(number or 0)]
        if not isinstance(obj, jax.Array):
            obj, name = to_native(obj)
            dtype = self.xp.bfloat16 if dtype is None and name == "bfloat16" else dtype
        return self.xp.asarray(obj, dtype=dtype, device=device)


@functools.cache
def _jit(function: Any) -> Any:
    import jax

    return jax.jit(function, static_argnums=0, inline=True)
