"""`explain`: which kernel computes what, why, and what it costs."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from array_api_compat import is_array_api_obj

from triconv import planner
from triconv.rules import LETTERS, ROLES

Array = Any


class Row(NamedTuple):
    """One contraction of an explained call."""

    contraction: str
    algorithm: str
    reason: str
    multiply_adds: int


class Explanation(NamedTuple):
    """What `explain` found: `rows`, and as text."""

    operator: str
    geometry: Any
    rows: tuple[Row, ...]

    def __str__(self) -> str:
        axes = [f"  axis {number}: {axis}" for number, axis in enumerate(self.geometry.axes)]
        rows = [
            f"  {row.contraction:<16} {row.algorithm:<8} {row.multiply_adds:>15,} multiply-adds  ({row.reason})"
            for row in self.rows
        ]
        return "\n".join([f"{self.operator}, groups={self.geometry.groups}", *axes, *rows])


def explain(op: Callable[..., Array], *arrays_or_shapes: Any, **params: Any) -> Explanation:
    """Tell which kernel computes a call and its derivatives, why, and what it costs.

    Parameters
    ----------
    op : callable
        An operator of triconv.
    *arrays_or_shapes : array or tuple of int
        Its arrays, or their shapes.
    **params : Any
        Its parameters.

    Returns
    -------
    Explanation
        One row a contraction; printed, a table.

    Raises
    ------
    TypeError, ValueError
        For what `op` raises them.

    Notes
    -----
    The cost is the number of meetings times samples, groups and channel pairs; all three contractions have the same.

    Examples
    --------
    >>> import triconv
    >>> triconv.explain(triconv.conv2d, (2, 3, 8, 8), (4, 3, 3, 3), stride=2).rows[0].multiply_adds
    1944
    """
    if not hasattr(op, "resolve"):
        msg = f"`op` must be an operator of triconv, such as triconv.conv2d, got {op!r}"
        raise TypeError(msg)
    given = (a if is_array_api_obj(a) else np.broadcast_to(np.float32(0), tuple(a)) for a in arrays_or_shapes)
    call, arrays = op.resolve(*given, **params)
    letters: dict[str, int] = {}
    for role, a in zip(call.roles, arrays, strict=True):
        if role != "bias":
            canonical = call.layout.to_canonical(
                role, np.broadcast_to(np.float32(0), a.shape), call.geometry.groups, np
            )
            letters |= zip(LETTERS[role], canonical.shape, strict=False)
    cost = call.geometry.count_meetings() * math.prod(letters[letter] for letter in ("group", "n", "c", "k"))
    plan = planner.plan(call.geometry, call.algorithm)
    rows = tuple(Row(name, plan.algorithm, plan.reason, cost) for name in ROLES)
    return Explanation(op.__name__, call.geometry, rows)
