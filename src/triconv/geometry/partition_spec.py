"""Which mesh axes shard each axis of an array: how a ``jax.sharding.PartitionSpec`` is read, without JAX.

A spec has one entry per axis of the array, and may leave out the last ones. An entry is the name of a mesh axis, a tuple of
names, or None where the axis is whole on every device.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

Names = tuple[str, ...]


def names_of(entry: Any) -> Names:
    """The mesh axes that an entry names."""
    if entry is None:
        return ()
    return entry if isinstance(entry, tuple) else (entry,)


def read_spec(spec: Sequence[Any], ndim: int, mesh_shape: Mapping[str, int], called: str) -> tuple[Names, ...]:
    """Read the mesh axes of each entry of a spec.

    Parameters
    ----------
    spec : sequence
        The spec.
    ndim : int
        Number of axes of the array.
    mesh_shape : mapping of str to int
        Number of devices along each axis of the mesh.
    called : str
        What a message calls the spec.

    Returns
    -------
    tuple of tuple of str

    Raises
    ------
    ValueError
        If there are more entries than axes, or a name is none of the mesh's.
    """
    if len(spec) > ndim:
        msg = f"{called} must have at most one entry per axis, got {len(spec)} for {ndim} axes"
        raise ValueError(msg)
    entries = tuple(map(names_of, spec))
    for names in entries:
        if unknown := [name for name in names if name not in mesh_shape]:
            msg = f"{called} must name axes of the mesh, {tuple(mesh_shape)}, got {unknown[0]!r}"
            raise ValueError(msg)
    return entries


def count_parts(names: Names, mesh_shape: Mapping[str, int]) -> int:
    """Number of parts into which these mesh axes shard an axis."""
    return math.prod(mesh_shape[name] for name in names)
