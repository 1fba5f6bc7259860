"""`ShownCall`: the data of the result of `show`, which text and pictures render."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from triconv.tables.axis_table import AxisTable
from triconv.tables.sums import Sum, Tensors


@dataclass(frozen=True, eq=False)
class ShownCall:
    """A call of an operator, whose incidence tables are shown.

    Parameters
    ----------
    operator : str
        Name of the operator.
    arrays : tuple of str
        The operator's names for its arrays.
    params : dict
        The parameters that were passed.
    tensors : Tensors
        The tensors of the call.
    sums : tuple of Sum
        The elements that are written out.
    """

    operator: str
    arrays: tuple[str, ...]
    params: dict[str, Any]
    tensors: Tensors
    sums: tuple[Sum, ...] = ()

    @property
    def axes(self) -> tuple[AxisTable, ...]:
        """The tables, one per spatial axis."""
        return self.tensors.tables

    def element(self, name: str, *index: int) -> Sum:
        """The sum behind an element: ``element("gx", 3)`` or ``element("gx[3]")``; see `Tensors.sum`."""
        return self.tensors.sum(name, *index)
