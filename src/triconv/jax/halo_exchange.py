"""The halo exchange by JAX's collectives: each device gets its window of an axis that is sharded in blocks.

`halo_exchange` is linear. Its adjoint `halo_accumulate` has the adjoints of its steps, in reverse::

    halo_exchange      receive halos from the neighbours, concatenate, cut out the window
    halo_accumulate    pad the window, split, send the halos back to where they came from, add

Both run inside of `jax.shard_map`; `names` are the mesh axes over which the array axis is sharded.
"""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from triconv.autodiff.jax_primitives import linear_pair
from triconv.geometry.partition_spec import Names
from triconv.geometry.sharded_axis import ShardedAxis, Transfer

Array = Any


def halo_exchange(x: Array, *, axis: int, names: Names, halo: ShardedAxis, sent: Any) -> Array:
    """Return the window of this device.

    Parameters
    ----------
    x : array, shape (..., input_block, ...)
        The block of this device.
    axis : int
        The array axis, counted from the end.
    names : tuple of str
        Mesh axes over which it is sharded.
    halo : ShardedAxis
        The blocks.
    sent : dtype
        The dtype in which halos are sent. It holds the values of `x`; `x` itself may have the wider dtype of sums, since the
        adjoint adds.

    Returns
    -------
    array, shape (..., size, ...)
    """
    pieces, ends = {0: x}, [0, 0]
    for transfer in halo.transfers():
        if not transfer.pairs:  # these positions lie beyond the end on every device
            ends[transfer.hop < 0] += transfer.size
            continue
        piece = lax.slice_in_dim(x, *_sent(transfer, halo), axis=axis).astype(sent)
        pieces[transfer.hop] = _permute(piece, transfer.pairs, names).astype(x.dtype)
    extended = _padded(jnp.concatenate([pieces[hop] for hop in sorted(pieces, reverse=True)], axis), axis, *ends)
    if halo.step == 0:
        begin = halo.before + halo.start
        return lax.slice_in_dim(extended, begin, begin + halo.size, axis=axis)
    # no dynamic slice: XLA's CPU compiler (JAX 0.10.2) fails where it fuses one into many readers
    return jnp.take(extended, _begin(names, halo) + jnp.arange(halo.size), axis, mode="clip")


def halo_accumulate(g: Array, *, axis: int, names: Names, halo: ShardedAxis, sent: Any) -> Array:  # noqa: ARG001
    """The adjoint of `halo_exchange`: from shape (..., size, ...) to (..., input_block, ...); sends in the dtype of `g`."""
    rest = halo.before + halo.input_block + halo.after - halo.size
    begin = halo.before + halo.start if halo.step == 0 else 0
    extended = _padded(g, axis, begin, rest - begin)
    if halo.step:
        extended = jnp.roll(extended, _begin(names, halo), axis)
    block = lax.slice_in_dim(extended, halo.before, halo.before + halo.input_block, axis=axis)
    for transfer in halo.transfers():
        if not transfer.pairs:
            continue
        first, last = _sent(transfer, halo)
        place = halo.before + first - transfer.hop * halo.input_block
        piece = lax.slice_in_dim(extended, place, place + last - first, axis=axis)
        back = _permute(piece, tuple((receiver, sender) for sender, receiver in transfer.pairs), names)
        block = block + _padded(back, axis, first, halo.input_block - last)
    return block


def result_shape(name: str, x: Any, *, axis: int, halo: ShardedAxis, **_: Any) -> tuple[int, ...]:
    """Shape of the result of `halo_exchange` or `halo_accumulate`."""
    shape = x.shape
    size = halo.size if name == "halo_exchange" else halo.input_block
    return (*shape[: len(shape) + axis], size, *shape[len(shape) + axis + 1 :])


def _sent(transfer: Transfer, halo: ShardedAxis) -> tuple[int, int]:
    """Begin and end of the sent positions in the sender's block."""
    if transfer.hop > 0:
        return halo.input_block - transfer.size, halo.input_block
    return 0, transfer.size


def _permute(piece: Array, pairs: tuple[tuple[int, int], ...], names: Names) -> Array:
    """Send between pairs of devices; a device that receives nothing gets zeros."""
    # ppermute numbers devices in the order of the mesh axes, whatever the order of the names
    ordered = tuple(name for name in jax.sharding.get_abstract_mesh().axis_names if name in names)
    sizes = [lax.axis_size(name) for name in names]
    numbers = np.arange(math.prod(sizes)).reshape(sizes).transpose([names.index(name) for name in ordered]).ravel()
    place = np.argsort(numbers)
    return lax.ppermute(piece, ordered, [(int(place[sender]), int(place[receiver])) for sender, receiver in pairs])


def _begin(names: Names, halo: ShardedAxis) -> Array:
    """Where the window of this device begins in its block extended by the halos."""
    return halo.before + halo.start + jax.lax.axis_index(names) * halo.step


def _padded(a: Array, axis: int, lo: int, hi: int) -> Array:
    config = [(0, 0, 0)] * a.ndim
    config[axis] = (lo, hi, 0)
    return lax.pad(a, jnp.zeros((), a.dtype), config)


halo_exchange_p, halo_accumulate_p = linear_pair(halo_exchange, halo_accumulate, result_shape)
