"""How results are sharded on meshes with explicit axes, where the type of an array states its sharding.

The rule is that of lax. If neither the channels nor the second operand are sharded, the batch and the positions of the result
are sharded as those of the first operand; otherwise the caller has to give the sharding. A cotangent is sharded as its primal.
While a call runs, the axes are automatic, so XLA's partitioner inserts the communication.
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
    """Raise, as lax does, unless this can be the sharding of a result."""
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
    """Call `function` with automatic axes, and shard its results so."""
    return jax.sharding.auto_axes(function, out_sharding=shardings)(*arrays)


def keeping(function: Callable[..., Any], like: tuple[Array, ...]) -> Callable[..., Any]:
    """`function` of a call and arrays, with its results sharded as `of_results` says."""

    def run_sharded(call: Any, *arrays: Any) -> Any:
        return run(functools.partial(function, call), arrays, of_results(call, arrays, like))

    return run_sharded


def of_results(call: Any, arrays: tuple[Any, ...], like: tuple[Array, ...]) -> Any:
    """Shardings of the results of a call: those of the arrays in `like`, or else that of its one result.

    Raises
    ------
    TypeError
        If the shardings of the operands do not determine that of the result.
    """
    if like:
        return tuple(map(_of, like))
    operands = dict(zip(call.roles, jax.tree.leaves(arrays), strict=False))
    first, _ = call.operands
    mesh = next(_of(array).mesh for array in operands.values() if not _of(array).mesh.empty)
    names = dict(zip(call.layout.letters(first), _of(operands[first]).spec, strict=False))
    others = [name for role, array in operands.items() if role != first for name in _of(array).spec]
    if call.result == "w":  # batch and positions are summed over
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
