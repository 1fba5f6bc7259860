"""Convolution on arrays that are sharded over a mesh: each device computes a block of the result, and halos alone travel.

There is one program, that of `conv`: exchange the halos of x, convolve what each device has, and where the channels of x are
sharded add up over them. The other two contractions are its transposes, so what each of them sends follows from it:

    ================  ==================================  ========================  =======================
    sharded           conv                                conv_input_vjp            conv_weight_vjp
    ================  ==================================  ========================  =======================
    batch             nothing                             nothing                   sum of gw
    channels of x     sum of y                            nothing                   nothing
    channels of y     nothing                             sum of gx                 nothing
    groups            nothing                             nothing                   nothing
    a spatial axis    halos of x                          halos of gx, sent back    halos of x, sum of gw
    ================  ==================================  ========================  =======================
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.sharding import Mesh, PartitionSpec

from triconv.autodiff import jax_primitives as binding
from triconv.backends import backend_of
from triconv.contractions import result_shape
from triconv.geometry import Axis, Geometry
from triconv.geometry.partition_spec import Names, count_parts, read_spec
from triconv.geometry.sharded_axis import ShardedAxis
from triconv.jax.halo_exchange import halo_exchange_p
from triconv.operators.operation import Call
from triconv.rules import LETTERS

Array = Any

# what the letters of a layout stand for, in each tensor
KEYS = {"x": {"N": "n", "C": "c"}, "w": {"O": "k", "I": "c"}, "g": {"N": "n", "C": "k"}}


@dataclass(frozen=True)
class Sharding:
    """Over which axes of a mesh each letter is sharded: "n", "c", "k", "group" and the spatial letters."""

    mesh: Mesh
    names: tuple[tuple[str, Names], ...]

    def of(self, key: str) -> Names:
        """Mesh axes of a letter, none if it is whole on each device."""
        return dict(self.names).get(key, ())

    def parts(self, key: str) -> int:
        """Number of parts of a letter."""
        return count_parts(self.of(key), self.mesh.shape)


def key_of(call: Call, role: str, letter: str) -> str:
    """What a letter of the layout stands for; in a grouped convolution the channels are sharded by groups."""
    key = KEYS[role].get(letter, letter)
    if role == "w" and letter in call.layout.spatial:
        return "tap"
    if call.geometry.groups > 1 and key in "ck":
        return "own" if (role, letter) == ("w", "I") else "group"
    return key


def sharding_of(call: Call, shapes: dict[str, tuple[int, ...]], mesh: Mesh, specs: tuple[Any, ...]) -> Sharding:
    """Read the specs of the operator's arrays, and check that they agree with each other and with the shapes.

    Raises
    ------
    TypeError, ValueError
        If they do not.
    """
    names: dict[str, Names] = {}
    for role, spec in zip(call.roles, specs, strict=False):
        letters = "C" if role == "bias" else call.layout.letters(role)
        tensor = "g" if role == "bias" else role
        if spec is None:
            continue
        if not isinstance(spec, PartitionSpec):
            msg = f"the spec of `{role}` must be a jax.sharding.PartitionSpec or None, got {type(spec).__name__}"
            raise TypeError(msg)
        entries = read_spec(spec, len(letters), mesh.shape, f"the spec of `{role}`")
        for letter, mesh_axes in zip(letters, entries, strict=False):
            key = key_of(call, tensor, letter)
            if mesh_axes and key in ("tap", "own"):
                part = "spatial axes of `w`" if key == "tap" else "input channels of `w` in a grouped convolution"
                msg = f"the {part} must be whole on every device, got {mesh_axes} for {letter!r}"
                raise ValueError(msg)
            if mesh_axes and names.setdefault(key, mesh_axes) != mesh_axes:
                msg = f"the specs must shard one letter in one way, got {names[key]} and {mesh_axes} for {letter!r} of `{role}`"
                raise ValueError(msg)
    used = list(itertools.chain.from_iterable(names.values()))
    if twice := {name for name in used if used.count(name) > 1}:
        msg = f"the specs must use each axis of the mesh for one letter, got {min(twice)!r} for several"
        raise ValueError(msg)
    sharding = Sharding(mesh, tuple(sorted(names.items())))
    _check_sizes(call, shapes, sharding)
    return sharding


def _check_sizes(call: Call, shapes: dict[str, tuple[int, ...]], sharding: Sharding) -> None:
    """Raise unless batch, channels and groups divide among the devices; spatial axes need not."""
    for role in call.operands:
        for letter, size in zip(call.layout.letters(role), shapes[role], strict=True):
            key = key_of(call, role, letter)
            if letter in call.layout.spatial or key == "own":
                continue
            of_groups = key == "group"
            number, divided = (call.geometry.groups, "groups") if of_groups else (size, f"axis {letter!r} of `{role}`")
            if number % sharding.parts(key):
                msg = f"the {divided} must divide among the devices, got {number} for {sharding.parts(key)}"
                raise ValueError(msg)


def blocks(call: Call, sharding: Sharding) -> tuple[ShardedAxis, ...]:
    """Each spatial axis of the call in blocks, a single one if it is whole."""
    result = "x" if call.result == "x" else "g"
    return tuple(
        ShardedAxis.of(axis, sharding.parts(letter), result)
        for letter, axis in zip(call.layout.spatial, call.geometry.axes, strict=True)
    )


@functools.lru_cache(256)
def program(call: Call, sharding: Sharding, overlap: bool) -> Callable[..., Array]:
    """The compiled program of a call on a mesh: that of the call, with sharded contractions."""
    return jax.jit(functools.partial(call.run, contractions=OnMesh(call, sharding, overlap)))


@dataclass(frozen=True)
class OnMesh:
    """The three contractions of a call, on sharded canonical arrays; results are in the dtype of their sums."""

    call: Call
    sharding: Sharding
    overlap: bool

    def conv(self, x: Array, w: Array, *, dtype: Any, **params: Any) -> Array:
        """``conv(x, w)``: linear in each, whichever of the three contractions the call is of."""
        axes, dtype = blocks(self.call, self.sharding), backend_of(jnp).accumulator(dtype)
        x = _resized(x, [axis.parts * axis.input_block for axis in axes])
        conv = functools.partial(_on_each, self, axes, params | {"dtype": dtype})
        x_spec, w_spec, g_spec = (self._spec(role) for role in "xwg")
        y = jax.shard_map(conv, mesh=self.sharding.mesh, in_specs=(x_spec, w_spec), out_specs=g_spec)(x, w)
        return _resized(y, self.call.geometry.output_size)

    def conv_input_vjp(self, g: Array, w: Array, *, dtype: Any, **params: Any) -> Array:
        """The transpose of `conv` by `x`."""
        like = self._like("conv_input_vjp", g, w, dtype)
        (gx,) = jax.linear_transpose(lambda x: self.conv(x, w, dtype=dtype, **params), like)(g.astype(like.dtype))
        return gx

    def conv_weight_vjp(self, g: Array, x: Array, *, dtype: Any, **params: Any) -> Array:
        """The transpose of `conv` by `w`."""
        like = self._like("conv_weight_vjp", g, x, dtype)
        (gw,) = jax.linear_transpose(lambda w: self.conv(x, w, dtype=dtype, **params), like)(g.astype(like.dtype))
        return gw

    def _like(self, name: str, a: Array, b: Array, dtype: Any) -> jax.ShapeDtypeStruct:
        """The result, in the dtype in which it is summed."""
        shape = result_shape(name, a, b, geometry=self.call.geometry)
        return jax.ShapeDtypeStruct(shape, backend_of(jnp).accumulator(dtype))

    def _spec(self, role: str) -> PartitionSpec:
        """How a canonical array is sharded; the taps are whole."""
        spatial = "" if role == "w" else self.call.layout.spatial
        return PartitionSpec(*(self.sharding.of(key) or None for key in (*LETTERS[role], *spatial)))


def _resized(a: Array, sizes: Sequence[int]) -> Array:
    """With zeros behind, or without what is behind, so that the spatial axes have these sizes."""
    more = [size - have for size, have in zip(sizes, a.shape[a.ndim - len(sizes) :], strict=True)]
    config = [(0, 0, 0)] * (a.ndim - len(sizes)) + [(0, size, 0) for size in more]
    return lax.pad(a, jnp.zeros((), a.dtype), config) if any(more) else a


def _on_each(mesh: OnMesh, axes: tuple[ShardedAxis, ...], params: dict[str, Any], x: Array, w: Array) -> Array:
    """What each device does.

    In the dtype of sums from the first step on, since each step's adjoint adds: halos that are sent back, and what all devices
    have alike. Halos of `x` travel in its own dtype.
    """
    sharding, spatial = mesh.sharding, mesh.call.layout.spatial
    groups = mesh.call.geometry.groups // sharding.parts("group")
    sent, x, w = x.dtype, x.astype(params["dtype"]), w.astype(params["dtype"])
    split = _split(spatial, sharding, axes) if mesh.overlap else None
    windows = x
    for number, (letter, halo) in enumerate(zip(spatial, axes, strict=True)):
        if sharding.of(letter) and number != split:
            windows = halo_exchange_p.bind(
                windows, axis=number - len(axes), names=sharding.of(letter), halo=halo, sent=sent
            )
    local = [halo.local if sharding.of(letter) else halo.axis for letter, halo in zip(spatial, axes, strict=True)]

    def conv(x: Array, axes: list[Axis]) -> Array:
        return binding.conv(x, w, **params | {"geometry": Geometry(tuple(axes), groups)})

    if split is None:
        y = conv(windows, local)
    else:
        exchange = functools.partial(
            halo_exchange_p.bind, names=sharding.of(spatial[split]), halo=axes[split], sent=sent
        )
        y = _interior_first(conv, windows, exchange, split, local, axes[split])
    return lax.psum(y, summed) if (summed := sharding.of("c")) else y


def _split(spatial: str, sharding: Sharding, axes: tuple[ShardedAxis, ...]) -> int | None:
    """The axis whose interior can be computed while its halos travel: the last sharded one that has an interior."""
    split = None
    for number, (letter, halo) in enumerate(zip(spatial, axes, strict=True)):
        first, last = halo.interior()
        if sharding.of(letter) and halo.step == 0 and 0 < last - first < halo.output_block:
            split = number
    return split


def _interior_first(
    conv: Callable[..., Array],
    x: Array,
    exchange: Callable[..., Array],
    number: int,
    local: list[Axis],
    halo: ShardedAxis,
) -> Array:
    """The outputs over a device's own block need no halo: a compiler that sends in the background computes them meanwhile."""
    axis, interior = number - len(local), halo.interior()
    windows = exchange(x, axis=axis)

    def part(first: int, last: int) -> Array:
        inputs, sub = local[number].part(first, last)
        source, begin = (x, halo.start) if (first, last) == interior else (windows, 0)
        piece = lax.slice_in_dim(source, begin + inputs.start, begin + inputs.stop, axis=axis)
        return conv(piece, [*local[:number], sub, *local[number + 1 :]])

    bounds = [(0, interior[0]), interior, (interior[1], halo.output_block)]
    return jnp.concatenate([part(first, last) for first, last in bounds if first < last], axis)


def apply(call: Call, arrays: tuple[Array, ...], mesh: Mesh, specs: tuple[Any, ...], overlap: bool | None) -> Array:
    """Check everything, then run the program of the call."""
    if call.mode != "zeros":
        msg = f"`padding_mode` must be 'zeros' where arrays are sharded, got {call.mode!r}"
        raise ValueError(msg)
    shapes = {role: array.shape for role, array in zip(call.roles, arrays, strict=True)}
    sharding = sharding_of(call, shapes, mesh, specs)
    if not all(axis.input_size and axis.kernel_size and axis.output_size for axis in call.geometry.axes):
        return call(*arrays)  # zeros, or nothing
    if call.contraction != "conv" and not jnp.issubdtype(jnp.result_type(*arrays), jnp.inexact):
        msg = f"the dtype must be floating where a VJP is sharded, got {jnp.result_type(*arrays)}"
        raise TypeError(msg)
    if overlap is None:  # a CPU sends nothing in the background
        overlap = next(iter(mesh.devices.flat)).platform != "cpu"
    return program(call, sharding, bool(overlap))(*arrays)
