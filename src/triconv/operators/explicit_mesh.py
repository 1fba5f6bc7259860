"""Meshes with explicit axes, where the type of an array says how it is sharded: how a result is.

The rule is that of lax. A result keeps to the batch and the positions of the first operand, if the second operand and the
channels are the same on every device; otherwise the caller has to say. Cotangents are sharded as what they are cotangents
of. While a call runs the axes are automatic, so XLA's partitioner moves what has to move.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable
from typing import Any

import jax
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from triconv.geometry.partition_spec import count_parts, names_of

Array = Any


def check(out_sharding: Any) -> None:
    """Raise unless this may be asked for as the sharding of a result, as lax does."""
    if not isinstance(out_sharding, (NamedSharding, PartitionSpec)):
        msg = f"`out_sharding` must be a NamedSharding or a PartitionSpec, got {type(out_sharding).__name__}"
        raise TypeError(msg)
    if isinstance(out_sharding, NamedSharding):
        mesh, spec = out_sharding.mesh, out_sharding.spec
    else:
        mesh, spec = jax.sharding.get_abstract_mesh(), out_sharding
        if mesh.empty:
            msg = f"`out_sharding` must be a NamedSharding outside of jax.set_mesh, got {out_sharding}"
            raise ValueError(msg)
    kinds = dict(zip(mesh.axis_names, mesh.axis_types, strict=True))
    for name in itertools.chain.from_iterable(map(names_of, spec)):
        if kinds.get(name) != AxisType.Explicit:
            msg = f"`out_sharding` must name explicit axes of the mesh, got {name!r} in {out_sharding}"
            raise ValueError(msg)


def run(function: Callable[..., Any], arrays: tuple[Any, ...], shardings: Any) -> Any:
    """Call `function` with automatic axes, and give its results these shardings."""
    return jax.sharding.auto_axes(function, out_sharding=shardings)(*arrays)


def keeping(function: Callable[..., Any], like: tuple[Array, ...]) -> Callable[..., Any]:
    """`function` of a call and arrays, whose results are sharded as `of_results` has it."""

    def run_sharded(call: Any, *arrays: Any) -> Any:
        return run(functools.partial(function, call), arrays, of_results(call, arrays, like))

    return run_sharded


def of_results(call: Any, arrays: tuple[Any, ...], like: tuple[Array, ...]) -> Any:
    """Shardings of the results of a call: as those of `like`, or that of its one result.

    Raises
    ------
    TypeError
        If the operands' shardings do not settle that of the result.
    """
    if like:
        return tuple(map(_of, like))
    operands = dict(zip(call.roles, jax.tree.leaves(arrays), strict=False))
    first, _ = call.operands
    mesh = next(_of(array).mesh for array in operands.values() if not _of(array).mesh.empty)
    names = dict(zip(call.layout.letters(first), _of(operands[first]).spec, strict=False))
    others = [name for role, array in operands.items() if role != first for name in _of(array).spec]
    if call.result == "w":  # a sum over all that its operands share
        others, names = [*others, *names.values()], {}
    if any(name is not None for name in [names.get("C"), *others]):
        types = ", ".join(str(jax.typeof(array)) for array in operands.values())
        msg = (
            "the sharding of the result must be given unless only the batch or positions of the first operand are sharded, "
            f"got {types}; give `out_sharding` to triconv.jax.conv_general_dilated, or to jax.sharding.auto_axes around others"
        )
        raise TypeError(msg)
    sizes = call.geometry.output_size if call.result == "g" else call.geometry.input_size
    for letter, size in zip(call.layout.spatial, sizes, strict=True):
        parts = count_parts(names_of(names.get(letter)), mesh.shape)
        if size % parts:
            msg = f"the positions of the result must divide among the devices, got {size} for {parts} in axis {letter}"
            raise TypeError(msg)
    return NamedSharding(mesh, PartitionSpec(*(names.get(letter) for letter in call.layout.letters(call.result))))


def _of(array: Array) -> NamedSharding:
    return jax.typeof(array).sharding
