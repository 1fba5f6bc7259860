"""The program of a call on sharded arrays: each device computes a block of the result, and devices send only halos.

There is one program, that of `conv`: exchange the halos of x, convolve on each device, and sum over the devices if the channels
of x are sharded. The other two contractions are its transposes, and so is their communication:

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

# per tensor, the canonical letters that the letters of a layout stand for
KEYS = {"x": {"N": "n", "C": "c"}, "w": {"O": "k", "I": "c"}, "g": {"N": "n", "C": "k"}}


@dataclass(frozen=True)
class Sharding:
    """The mesh axes over which each letter is sharded: "n", "c", "k", "group" and the spatial letters."""

    mesh: Mesh
    names: tuple[tuple[str, Names], ...]

    def of(self, key: str) -> Names:
        """Mesh axes of a letter; none if it is whole on each device."""
        return dict(self.names).get(key, ())

    def parts(self, key: str) -> int:
        """Number of parts that a letter is sharded into."""
        return count_parts(self.of(key), self.mesh.shape)


def key_of(call: Call, role: str, letter: str) -> str:
    """The canonical letter that a letter of the layout stands for.

    It is "tap" for the spatial axes of w. In a grouped convolution it is "group" for the channels, which are sharded by groups,
    and "within" for the input channels of w, which are those within a group.
    """
    key = KEYS[role].get(letter, letter)
    if role == "w" and letter in call.layout.spatial:
        return "tap"
    if call.geometry.groups > 1 and key in "ck":
        return "within" if (role, letter) == ("w", "I") else "group"
    return key


def sharding_of(call: Call, shapes: dict[str, tuple[int, ...]], mesh: Mesh, specs: tuple[Any, ...]) -> Sharding:
    """Read the specs of the operator's arrays.

    Raises
    ------
    TypeError, ValueError
        If the specs do not agree with each other, the mesh and the shapes.
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
            if mesh_axes and key in ("tap", "within"):
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
    """Raise unless batch, channels and groups divide by the number of devices; spatial axes need not."""
    for role in call.operands:
        for letter, size in zip(call.layout.letters(role), shapes[role], strict=True):
            key = key_of(call, role, letter)
            if letter in call.layout.spatial or key == "within":
                continue
            of_groups = key == "group"
            number, divided = (call.geometry.groups, "groups") if of_groups else (size, f"axis {letter!r} of `{role}`")
            if number % sharding.parts(key):
                msg = f"the {divided} must divide among the devices, got {number} for {sharding.parts(key)}"
                raise ValueError(msg)


def blocks(call: Call, sharding: Sharding) -> tuple[ShardedAxis, ...]:
    """Each spatial axis of the call in blocks; in a single one if it is whole on each device."""
    result = "x" if call.result == "x" else "g"
    return tuple(
        ShardedAxis.of(axis, sharding.parts(letter), result)
        for letter, axis in zip(call.layout.spatial, call.geometry.axes, strict=True)
    )


@functools.lru_cache(256)
def program(call: Call, sharding: Sharding, overlap: bool) -> Callable[..., Array]:
    """The compiled program of a call on a mesh: `Call.run` with sharded contractions."""
    return jax.jit(functools.partial(call.run, contractions=OnMesh(call, sharding, overlap)))


@dataclass(frozen=True)
class OnMesh:
    """The three contractions of a call on sharded canonical arrays; results have the dtype of their sums."""

    call: Call
    sharding: Sharding
    overlap: bool

    def conv(self, x: Array, w: Array, *, dtype: Any, **params: Any) -> Array:
        """``conv(x, w)``; the other two contractions are its transposes."""
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
        """Shape and dtype of the result, in the dtype of its sums."""
        shape = result_shape(name, a, b, geometry=self.call.geometry)
        return jax.ShapeDtypeStruct(shape, backend_of(jnp).accumulator(dtype))

    def _spec(self, role: str) -> PartitionSpec:
        """The spec of a canonical array; the taps are whole on each device."""
        spatial = "" if role == "w" else self.call.layout.spatial
        return PartitionSpec(*(self.sharding.of(key) or None for key in (*LETTERS[role], *spatial)))


def _resized(a: Array, sizes: Sequence[int]) -> Array:
    """Pad with zeros at the end, or crop there, so that the spatial axes have these sizes."""
    more = [size - have for size, have in zip(sizes, a.shape[a.ndim - len(sizes) :], strict=True)]
    config = [(0, 0, 0)] * (a.ndim - len(sizes)) + [(0, size, 0) for size in more]
    return lax.pad(a, jnp.zeros((), a.dtype), config) if any(more) else a


def _on_each(mesh: OnMesh, axes: tuple[ShardedAxis, ...], params: dict[str, Any], x: Array, w: Array) -> Array:
    """The program of one device.

    The arrays have the dtype of sums from the first step on, since the adjoints of the steps add: the halos that are sent back,
    and the cotangents of an array that is the same on all devices. Halos of `x` are sent in its own dtype.
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
    """The axis whose interior can be computed while halos are sent: the last sharded one that has an interior."""
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
    """Convolve the interior separately: it needs no halo, so a compiler can compute it while halos are sent."""
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
    """Check the specs, then run the program of the call."""
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
    if overlap is None:  # on CPUs nothing is sent in the background
        overlap = next(iter(mesh.devices.flat)).platform != "cpu"
    return program(call, sharding, bool(overlap))(*arrays)
