"""Loops over blocks, as loops of the program that JAX compiles."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from triconv.backends.base import Array


def map_blocks(f: Callable[..., Array], *arrays: Array) -> Array:
    """Return `f` of each block along the first axis."""
    import jax

    body = _flat(f, arrays)
    return jax.lax.map(lambda block: body(*block), [a.reshape(a.shape[0], -1) for a in arrays])


def sum_blocks(f: Callable[..., Array], *arrays: Array) -> Array:
    """Return the sum of `f` over the blocks along the first axis."""
    import jax

    like = _type_of(f, *(a[0] for a in arrays))
    body, start = _flat(f, arrays), _zeros(like.shape, like)
    flat = [a.reshape(a.shape[0], -1) for a in arrays]
    return jax.lax.scan(lambda total, block: (total + body(*block), None), start, flat)[0]


def write_blocks(f: Callable[[Any], Array], count: int, axis: int) -> Array:
    """Return `f` of each number below `count`, side by side along an axis, each written in its place."""
    import jax

    like = _type_of(f, 0)
    shape = [size * (count if number == axis else 1) for number, size in enumerate(like.shape)]

    def write(number: Any, whole: Array) -> Array:
        return jax.lax.dynamic_update_slice_in_dim(whole, f(number), number * like.shape[axis], axis)

    return jax.lax.fori_loop(0, count, write, _zeros(tuple(shape), like))


def _type_of(f: Callable[..., Array], *arrays: Any) -> Any:
    """The type of a result, with the axes of a mesh that it varies over; `jax.eval_shape` leaves them out."""
    import jax

    return jax.make_jaxpr(f)(*arrays).out_avals[0]


def _zeros(shape: tuple[int, ...], like: Any) -> Array:
    """What a loop starts from; within `jax.shard_map`, of the type of what comes out."""
    import jax

    zeros, varying = jax.numpy.zeros(shape, like.dtype), tuple(like.manual_axis_type.varying)
    return jax.lax.pcast(zeros, varying, to="varying") if varying else zeros


def _flat(f: Callable[..., Array], arrays: tuple[Array, ...]) -> Callable[..., Array]:
    """`f` of flat blocks: a loop of XLA's copies what it is given where axes of length 1 have moved, unless it is flat."""
    return lambda *blocks: f(*(block.reshape(a.shape[1:]) for block, a in zip(blocks, arrays, strict=True)))
