"""`show`: the incidence tables of a call, and the sums behind its elements."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

from triconv.geometry.integers import shown
from triconv.operators.registry import array_names
from triconv.operators.shapes import call_of
from triconv.operators.signature_types import Parameters, ShapeOrArray
from triconv.tables.axis_table import AxisTable
from triconv.tables.shown_call import ShownCall
from triconv.tables.sums import Tensors

if TYPE_CHECKING:
    from triconv.tables.probed_table import ProbedTable

Array = Any


@dataclass(frozen=True, eq=False)
class IncidenceTables(ShownCall):
    """The result of `show`: printed, a table per axis; in a notebook, a picture of it."""

    def instead(self, **function: Callable[..., Any]) -> ProbedTable:
        """Show what a function of yours does instead: ``instead(gx=f)`` calls ``f(g, w)`` on arrays of NumPy with a single 1.

        So ``y`` takes ``(x, w)``, ``gx`` takes ``(g, w)`` and ``gw`` takes ``(g, x)``, as in `triconv.Rules`. The call must
        have one axis, one sample and one channel, and the function must be linear in both arrays.
        """
        from triconv.tables import probed_table

        if len(function) != 1:
            msg = f"`instead` must have one function, such as instead(gx=f), got {len(function)}"
            raise TypeError(msg)
        return probed_table.probe(self.tensors, *next(iter(function.items())))

    def text(self, width: int | None = None) -> str:
        """Write the tables in lines of at most `width` characters (at least 40), by default those of the terminal."""
        from triconv.tables import table_text

        return table_text.text(self, shutil.get_terminal_size().columns if width is None else width)

    def to_html(self, path: Any) -> None:
        """Write them as one HTML file, which needs no network and no script."""
        from triconv.tables import table_html

        Path(path).write_text(table_html.page(self), encoding="utf-8")

    def _repr_html_(self) -> str:
        from triconv.tables import table_html

        return table_html.fragment(self)

    def __str__(self) -> str:
        return self.text()

    def __repr__(self) -> str:
        sizes = ("x".join(map(str, self.tensors.spatial_size(role))) or "no" for role in "gxw")
        return "<IncidenceTables of {}: {} outputs, {} inputs, {} taps>".format(self.operator, *sizes)


def show(
    op: Callable[..., object],
    *arrays_or_shapes: ShapeOrArray,
    element: str | Sequence[str] = (),
    **params: Unpack[Parameters],
) -> IncidenceTables:
    """Show which inputs, outputs and taps of a call meet: the table that its result and all its gradients are read from.

    Parameters
    ----------
    op : callable
        An operator of triconv.
    *arrays_or_shapes : array or tuple of int
        Its arrays, or their shapes.
    element : str or sequence of str, optional
        Elements whose sums are written out, such as ``"gx[3]"``: of the result y, and of the gradients gx, gw and gb.
    **params : Any
        Its parameters.

    Returns
    -------
    IncidenceTables
        Printed, a table per axis. In a notebook and in the file of ``to_html(path)``, a picture: point at an input, an output
        or a tap, and what it meets is marked. ``element("gx", 3)`` is the sum behind an element.

    Raises
    ------
    TypeError, ValueError
        If `op` raises them, or if there is no such element.

    See Also
    --------
    check : Whether a convolution of yours is right, at any size and in any framework.

    Notes
    -----
    An input ``i``, an output ``o`` and a tap ``t`` meet exactly when
    ``input_dilation * i + pad_lo = stride * o + dilation * t``. In the table a row is an output, a column is an input, and the
    cell says at which tap they meet. Read it in three ways::

        y [o] = sum over the row of o      of  w[tap] * x[column]
        gx[i] = sum over the column of i   of  w[tap] * g[row]
        gw[t] = sum over all cells with t  of  g[row] * x[column]

    A transposed convolution has the table of the convolution whose input gradient it is: its input is the rows, and its result
    is read by columns.

    Examples
    --------
    >>> import numpy as np, triconv
    >>> tables = triconv.show(triconv.conv1d, (1, 1, 6), (1, 1, 3), stride=2, padding=1)
    >>> print(tables)
    conv1d: x (1, 1, 6), w (1, 1, 3) -> y (1, 1, 3), stride=2, padding=1
    <BLANKLINE>
    1 i + 1 = 2 o + 1 t
            0 |  x0  x1  x2  x3  x4  x5 |   0
    y0 =   w0 |  w1  w2   .   .   .   . |   .
    y1 =    . |   .  w0  w1  w2   .   . |   .
    y2 =    . |   .   .   .  w0  w1  w2 |   .
    Outside the bars: padding of zeros.
    <BLANKLINE>
    row    y[1] = w[0] x[1] + w[1] x[2] + w[2] x[3]
    column gx[3] = w[2] g[1] + w[0] g[2]
    tap    gw[1] = g[0] x[0] + g[1] x[2] + g[2] x[4]
    >>> print(tables.element("gx", 1))
    gx[1] = w[2] g[0] + w[0] g[1]
    >>> print(triconv.show(triconv.conv2d, (2, 4, 8, 8), (6, 2, 3, 3), groups=2).element("gw[5, 1, 0, 2]"))
    gw[5, 1, 0, 2] = g[0, 5, 0, 0] x[0, 3, 0, 2] + ... + g[1, 5, 5, 5] x[1, 3, 5, 7]  (72 terms)

    **Five broken backwards, as exercises.** `instead` shows what a function does in place of what it should: ``!`` marks what
    is wrong, and ``-`` what is missing. Each of these five is a mistake that people make. Fill in its table by hand, then
    compare. The loop that they share, and the right index:

    >>> def backward(position, add=True):
    ...     def input_vjp(g, w):
    ...         gx = np.zeros(6)
    ...         for o in range(3):
    ...             for t in range(3):
    ...                 i = position(o, t)
    ...                 if i is not None:
    ...                     gx[i] = gx[i] * add + g[0, 0, o] * w[0, 0, t]
    ...         return gx.reshape(1, 1, 6)
    ...
    ...     return input_vjp
    >>> def inside(i):
    ...     return i if 0 <= i < 6 else None
    >>> tables.instead(gx=backward(lambda o, t: inside(2 * o + t - 1)))
    <ProbedTable of gx: right>

    1. The stride is forgotten. The rows are too close together:

    >>> print(tables.instead(gx=backward(lambda o, t: inside(o + t - 1))))
    gx: 12 of 14 meetings are wrong
          x0   x1   x2   x3   x4   x5
    y0    w1   w2    .    .    .    .
    y1   w0!  w1!  w2!    -    .    .
    y2     .  w0!  w1!  w2!    -    -

    2. The kernel is flipped. Every row runs backwards:

    >>> print(tables.instead(gx=backward(lambda o, t: inside(2 * o + (2 - t) - 1))))
    gx: 10 of 13 meetings are wrong
          x0   x1   x2   x3   x4   x5
    y0    w1  w0!    .    .    .    .
    y1     .  w2!   w1  w0!    .    .
    y2     .    .    .  w2!   w1  w0!

    3. The padding is forgotten. Everything is shifted:

    >>> print(tables.instead(gx=backward(lambda o, t: inside(2 * o + t))))
    gx: 16 of 16 meetings are wrong
          x0   x1   x2   x3   x4   x5
    y0   w0!  w1!  w2!    .    .    .
    y1     .    -  w0!  w1!  w2!    .
    y2     .    .    .    -  w0!  w1!

    4. ``=`` stands for ``+=``. Of each column only the last meeting is left:

    >>> print(tables.instead(gx=backward(lambda o, t: inside(2 * o + t - 1), add=False)))
    gx: 2 of 8 meetings are wrong
         x0  x1  x2  x3  x4  x5
    y0   w1   -   .   .   .   .
    y1    .  w0  w1   -   .   .
    y2    .   .   .  w0  w1  w2

    5. Nothing keeps the index inside, and Python's -1 is the last element. What belongs to the padding lands on the far side:

    >>> print(tables.instead(gx=backward(lambda o, t: 2 * o + t - 1)))
    gx: 1 of 9 meetings is wrong
          x0   x1   x2   x3   x4   x5
    y0    w1   w2    .    .    .  w0!
    y1     .   w0   w1   w2    .    .
    y2     .    .    .   w0   w1   w2
    """
    call, arrays = call_of(op, arrays_or_shapes, params)
    roles = dict(zip(call.roles, arrays, strict=True))
    sizes, groups = {}, call.geometry.groups
    for role, letters in (("x", "NC"), ("w", "OI"), ("g", "NC")):
        for letter, length in zip(letters, {"x": "nc", "w": "kc", "g": "nk"}[role], strict=True):
            if role in roles:
                size = call.layout.size(role, letter, roles[role].shape)
                sizes[length] = size if letter in "NI" else size // groups
    pads = call.pads or ((0, 0),) * len(call.geometry.axes)
    tables = tuple(AxisTable(axis, call.mode, pair) for axis, pair in zip(call.geometry.axes, pads, strict=True))
    names = array_names(op)
    is_transposed = dict(zip(call.roles, names, strict=False)).get("g") == "x"
    bias_letters = "C" if "bias" not in roles or roles["bias"].ndim else ""
    tensors = Tensors(call, tables, sizes["n"], sizes["c"], sizes["k"], is_transposed, bias_letters)
    wanted = (element,) if isinstance(element, str) else element
    if not isinstance(wanted, (tuple, list)):
        msg = f"`element` must be a string such as 'gx[3]' or several, got {shown(element)}"
        raise TypeError(msg)
    return IncidenceTables(op.__name__, names[: len(roles)], {**params}, tensors, tuple(map(tensors.sum, wanted)))
