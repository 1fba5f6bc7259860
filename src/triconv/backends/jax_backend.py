"""JAX: what jax.numpy lacks or does its own way."""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import itertools
import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import array_api_compat
import numpy as np

from triconv.backends import jax_loops
from triconv.backends.array_operations import permute_dims
from triconv.backends.base import Array, ArrayKind, to_native
from triconv.backends.jax_program import PROGRAM
from triconv.backends.jax_unfolding import Unfolding

# elements of the left matrix up to which a fused sum of products beats a dot (on the CPU: half the compile time, and no slower)
FUSED_MATRIX = 64
# sums that one loop takes: as many as there are registers for them, with the factors (on the CPU, 49 taps: 7 to 14 are as fast)
SUMS = 10
# columns of which all rows are summed in one call: of more, XLA of JAX 0.10 takes ten times as long
SUMMED_COLUMNS = 2**14
# places for parts, those that stay empty among them, up to which they are stacked
STACKED = 64


class JAX(Unfolding):
    """JAX arrays, traced ones too."""

    name = "jax"
    distribution = "jax"
    requirement = "jax>=0.10,<0.13"
    module = "jax.numpy"
    converter = "jnp.asarray"
    takes_numpy = True
    compiles = True

    @classmethod
    def owns(cls, xp: Any) -> bool:
        """Whether an array namespace is this library's."""
        return array_api_compat.is_jax_namespace(xp)

    @classmethod
    def array_kind(cls, kind: type) -> ArrayKind | None:
        """Of arrays, not of traced ones."""
        return ArrayKind(_signature) if kind.__name__ == "ArrayImpl" else None

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

    def wide(self) -> contextlib.AbstractContextManager[Any]:
        """Whatever the program around it is configured for."""
        import jax

        return jax.enable_x64(True)

    def device_kind(self, array: Array | None = None) -> str:
        """What is compiled for, or JAX's default device."""
        import jax

        return PROGRAM.get().device_kind or ("cpu" if jax.default_backend() == "cpu" else "gpu")

    def transposes(self, array: Array) -> bool:
        """On a GPU, where XLA hands the transpose of a convolution to cuDNN as what it is; on a CPU it inserts the zeros."""
        return self.device_kind(array) == "gpu"

    def is_partitioned(self) -> bool:
        """Whether XLA may shard the arrays of the program that is being compiled over devices."""
        return PROGRAM.get().partitioned

    def is_sharded(self, arrays: Iterable[Array]) -> bool:
        """Whether one is on several devices."""
        return any(len(getattr(getattr(a, "sharding", None), "device_set", ())) > 1 for a in arrays)

    def keeps_apart(self) -> bool:
        """On one CPU."""
        return PROGRAM.get().apart

    def keeps_positions_whole(self) -> bool:
        """If the mesh is known."""
        return PROGRAM.get().mesh is not None

    def whole_positions(self, array: Array) -> Array:
        """Positions that are split over some axes of a mesh, XLA's partitioner convolves wrongly (JAX 0.10.2).

        A sum over devices then counts those that have the same positions several times.
        """
        import jax

        mesh = PROGRAM.get().mesh
        if mesh is None:
            return array
        spec = jax.P(*[jax.P.UNCONSTRAINED] * 3, *[None] * (array.ndim - 3))
        return jax.lax.with_sharding_constraint(array, jax.NamedSharding(mesh, spec))

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
        return a + jax.lax.pad(values, np.zeros((), a.dtype), config)

    def flip(self, a: Array, axes: Sequence[int]) -> Array:
        """One operation: `jax.numpy.flip` is a function of its own, which takes five times as long to trace and lower."""
        import jax

        return jax.lax.rev(a, tuple(axes))

    def interleave(self, parts: list[Array], places: list[tuple[slice, ...]], sizes: tuple[int, ...]) -> Array:
        """By stacking, but of very many parts: a sum of padded parts would look at every part for every element."""
        front, steps = parts[0].ndim - len(sizes), [s.step for s in places[0]]
        if math.prod(steps) > STACKED:
            return super().interleave(parts, places, sizes)
        lengths = [-(-size // step) for size, step in zip(sizes, steps, strict=True)]
        given = {tuple(s.start for s in slices): part for part, slices in zip(parts, places, strict=True)}
        nothing = self.xp.zeros((*parts[0].shape[:front], *lengths), parts[0].dtype)
        whole = [
            nothing
            if (part := given.get(place)) is None
            else self.pad(part, [(0, n - m) for n, m in zip(lengths, part.shape[front:], strict=True)])
            for place in itertools.product(*map(range, steps))
        ]
        ndim = len(sizes)
        stacked = self.xp.stack(whole, axis=-1).reshape(*nothing.shape, *steps)
        order = [
            axis
            for pair in zip(range(front, front + ndim), range(front + ndim, front + 2 * ndim), strict=True)
            for axis in pair
        ]
        joined = stacked.transpose(*range(front), *order).reshape(
            *nothing.shape[:front], *(n * step for n, step in zip(lengths, steps, strict=True))
        )
        return joined[(..., *(slice(size) for size in sizes))]

    def window(self, a: Array, starts: Sequence[Any], sizes: Sequence[int]) -> Array:
        """A dynamic slice."""
        import jax

        front = a.ndim - len(sizes)
        return jax.lax.dynamic_slice(a, (*[0] * front, *starts), (*a.shape[:front], *sizes))

    def einsum(self, subscripts: str, a: Array, b: Array) -> Array:
        """`jax.numpy.einsum`."""
        return self.xp.einsum(subscripts, a, b, preferred_element_type=self.accumulator(a.dtype))

    def inner(self, a: Array, others: list[Array]) -> Array:
        """All sums in one reduction, one pass over `a`."""
        return self.xp.stack(_sums([a * b for b in others], tuple(range(1, a.ndim))), axis=-1)

    def inner_in_parts(self, a: Array, others: list[Array], axis: int, count: int) -> Array:
        """The first sums are of several arrays in one loop; those of floats that are left are one call of a library each."""
        import jax

        split = (*a.shape[:axis], a.shape[axis] // count, count, *a.shape[axis + 1 :])
        products = [a.reshape(split) * b.reshape(split) for b in others]
        most = math.ceil(len(products) / math.ceil(len(products) / SUMS))
        parts: list[Array] = []
        for start in range(0, len(products), most):
            parts += _sums(products[start : start + most], (axis + 1,))
        rows = [part.reshape(-1, part.shape[-1]) for part in jax.lax.optimization_barrier(parts)]
        is_float = self.xp.isdtype(a.dtype, "real floating")
        sums = [self.xp.sum(part, axis=0, dtype=a.dtype) for part in rows] if is_float else _sums(rows, (0,))
        return self.xp.stack(sums, axis=-1)

    def sum_written(self, a: Array, axes: tuple[int, ...]) -> Array:
        """Behind a barrier. In JAX 0.10, XLA merges additions before it into the sum, unless a transpose stands between."""
        import jax

        if jax.__version_info__ >= (0, 11):
            return super().sum_written(jax.lax.optimization_barrier(a), axes)
        rest = tuple(axis for axis in range(a.ndim) if axis not in axes)
        a = jax.lax.optimization_barrier(permute_dims(a, (*axes, *rest), self.xp))
        first, columns = len(axes), math.prod(a.shape[len(axes) :])
        count = -(-a.shape[first] // -(-columns // SUMMED_COLUMNS))
        parts = [
            super(JAX, self).sum_written(
                jax.lax.slice_in_dim(a, start, min(start + count, a.shape[first]), axis=first), tuple(range(first))
            )
            for start in range(0, a.shape[first], count)
        ]
        return parts[0] if len(parts) == 1 else self.xp.concat(parts)

    def positions(self, rows: Sequence[Any]) -> Array:
        """Of the compiled program."""
        return self.xp.asarray(rows)

    def map_blocks(self, f: Callable[..., Array], *arrays: Array) -> Array:
        """A loop in the compiled program."""
        return jax_loops.map_blocks(f, *arrays)

    def sum_blocks(self, f: Callable[..., Array], *arrays: Array) -> Array:
        """A loop in the compiled program that carries the sum."""
        return jax_loops.sum_blocks(f, *arrays)

    def write_blocks(self, f: Callable[[Any], Array], count: int, axis: int) -> Array:
        """A loop in the compiled program that writes each in its place."""
        return jax_loops.write_blocks(f, count, axis)

    def device_name(self, device: Any) -> Any:
        """A device by its platform and its number there, so that a process finds its own."""
        import jax

        if not isinstance(device, jax.Device):
            return device
        return f"{device.platform}:{jax.devices(device.platform).index(device)}"

    def place(self, array: Array) -> Any:
        """Leave it to JAX, which moves what is not committed to a device."""
        return None

    def compile(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """`jax.jit`, inlined into a program that is being traced."""
        return _jit(function)

    def has_explicit_axes(self, arrays: Any) -> bool:
        """Whether a mesh has an axis of the type `AxisType.Explicit`."""
        import jax

        explicit = jax.sharding.AxisType.Explicit
        return any(explicit in jax.typeof(array).sharding.mesh.axis_types for array in jax.tree.leaves(arrays))

    def timed(self, function: Callable[..., Array]) -> Callable[..., Any]:
        """Compiled, and waited for."""
        import jax

        compiled = jax.jit(function)
        return lambda *arrays: compiled(*arrays).block_until_ready()

    def product_dtype(self, dtype: Any, like: Array, axes: int) -> Any:
        """The same on a GPU: cuDNN sums half-width products in float32."""
        return self.factor_dtype(dtype, like)

    def factor_dtype(self, dtype: Any, like: Array) -> Any:
        """The same on a GPU, whose tensor cores sum half-width products in float32; a CPU is no faster with them."""
        return dtype if self.device_kind(like) == "gpu" else self.accumulator(dtype)

    def matmul(self, a: Array, b: Array) -> Array:
        """As a sum of products where the matrices are small: XLA fuses it with all around it, but compiles a loop a dot."""
        rows, inner, columns, sums = a.shape[-2], a.shape[-1], b.shape[-1], self.accumulator(a.dtype)
        if not _is_few(rows * inner) and not _is_few(rows * columns, 1):
            if math.prod(a.shape[:-2]) == math.prod(b.shape[:-2]) == 1:
                matrices = a.reshape(rows, inner), b.reshape(inner, columns)
                product = self.xp.matmul(*matrices, preferred_element_type=sums)
                return product.reshape(*self.xp.broadcast_shapes(a.shape[:-2], b.shape[:-2]), rows, columns)
            return self.xp.matmul(a, b, preferred_element_type=sums)
        a, b = self.cast(a, sums), self.cast(b, sums)
        return self.xp.sum(a[..., :, :, None] * b[..., None, :, :], axis=-2, dtype=sums)

    def matmul_transposed(self, a: Array, b: Array) -> Array:
        """One contraction: XLA would write down the transposed matrix."""
        import jax

        sums = self.accumulator(a.dtype)
        if math.prod(a.shape[:-2]) == math.prod(b.shape[:-2]) == 1:
            matrices = [m.reshape(m.shape[-2:]) for m in (a, b)]
            product = jax.lax.dot_general(*matrices, (((1,), (1,)), ((), ())), preferred_element_type=sums)
            return product.reshape(*self.xp.broadcast_shapes(a.shape[:-2], b.shape[:-2]), *product.shape)
        return self.xp.einsum("...ij,...kj->...ik", a, b, preferred_element_type=sums)

    def matmul_of_rows(self, a: Array, b: Array, parts: int) -> Array:
        """With fewer columns on the left, which XLA's products bring in order; and the parts side by side.

        XLA would exchange both again for a mere transpose of the product.
        """
        import jax

        if a.shape[1] > b.shape[1]:
            product = self.matmul_of_rows(b, a, parts)
            return self.xp.matrix_transpose(product if parts > 1 else jax.lax.optimization_barrier(product))
        sums = self.accumulator(a.dtype)
        if parts == 1:
            return jax.lax.dot_general(a, b, (((0,), (0,)), ((), ())), preferred_element_type=sums)
        a, b = (m.reshape(parts, -1, m.shape[1]) for m in (a, b))
        products = jax.lax.dot_general(a, b, (((1,), (1,)), ((0,), (0,))), preferred_element_type=sums)
        return self.xp.sum(products, axis=0)

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
            obj = self.fitted(obj, dtype)
            dtype = self.xp.bfloat16 if dtype is None and name == "bfloat16" else dtype
        return self.xp.asarray(obj, dtype=dtype, device=device)


def _signature(array: Array) -> Any:
    """Of an array on one device: its dtype and shape."""
    import jax

    return (array.dtype, array.shape) if type(array.sharding) is jax.sharding.SingleDeviceSharding else None


def _sums(arrays: list[Array], axes: tuple[int, ...]) -> list[Array]:
    """The sums of several arrays over some axes, in one loop."""
    import jax

    return jax.lax.reduce(
        arrays,
        [jax.numpy.zeros((), arrays[0].dtype)] * len(arrays),
        lambda first, second: [one + other for one, other in zip(first, second, strict=True)],
        axes,
    )


def _is_few(number: Any, few: int = FUSED_MATRIX) -> bool:
    """Whether it is at most `few`; a symbol is not."""
    return isinstance(number, int) and number <= few


@functools.cache
def _jit(function: Any) -> Any:
    import jax

    return jax.jit(function, static_argnums=0, inline=True)
