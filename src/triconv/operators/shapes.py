"""Calls that are looked at and not run, so that the shapes of their arrays are enough."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from array_api_compat import is_array_api_obj

from triconv.geometry.integers import shown
from triconv.operators.derivatives import resolve_call
from triconv.operators.registry import Resolved

Array = Any


def call_of(op: Callable[..., Any], arrays_or_shapes: Sequence[Any], params: Mapping[str, Any]) -> Resolved[Any]:
    """The call of an operator on arrays, or on shapes, which stand for arrays of NumPy in float32 that take no memory.

    Parameters
    ----------
    op : callable
        An operator of triconv.
    arrays_or_shapes : sequence of array or tuple of int
        Its arrays, or their shapes.
    params : dict
        Its parameters.

    Returns
    -------
    Resolved
        The call and its arrays.

    Raises
    ------
    TypeError, ValueError
        If `op` is no operator or raises them, or if something is neither an array nor a shape.
    """
    for a in arrays_or_shapes:
        if not is_array_api_obj(a) and not (isinstance(a, (tuple, list)) and all(hasattr(n, "__index__") for n in a)):
            msg = f"`arrays_or_shapes` must be arrays or shapes (tuples of ints), got {shown(a)}"
            raise TypeError(msg)
        if not is_array_api_obj(a) and any(int(n) < 0 for n in a):
            msg = f"`arrays_or_shapes` must be shapes without negative sizes, got {shown(a)}"
            raise ValueError(msg)
    inputs = [a if is_array_api_obj(a) else np.broadcast_to(np.float32(0), tuple(a)) for a in arrays_or_shapes]
    return resolve_call(op, tuple(inputs), params)
