"""The incidence table of somebody's own function, found by asking it: what it does instead of what it should.

A contraction along one axis is the sum of ``A[o, i, t]`` times an element of each operand, where `A` is 1 where output, input
and tap meet. Called with a single 1 in each operand, a function that is linear in both returns a line of its own `A`.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np

from triconv.geometry.integers import shown
from triconv.tables import labels, table_text
from triconv.tables.axis_table import ends
from triconv.tables.sums import Tensors

# calls of the function
MOST_CALLS = 4096
# of the fractions that a coefficient is written as: the sizes that people divide by where this table is of use
LARGEST_DENOMINATOR = 64
# of a whole number, as a Fourier transform in float32 has it; what is wrong by less is for `triconv.check` to find
ROUNDING = 1e-5

# the operands of the function that computes an array
OPERANDS = {"y": ("x", "w"), "gx": ("g", "w"), "gw": ("g", "x")}

Coefficients = dict[tuple[int, int, int], float]
"""How often output, input and tap meet, where they do."""


@dataclass(frozen=True, eq=False)
class ProbedTable:
    """What a function does, beside what it should; printed, a table.

    Parameters
    ----------
    tensors : Tensors
        The tensors of the call that it should agree with.
    array : str
        What it computes: y, gx or gw.
    found, right : dict
        The coefficient of each output, input and tap that meet, by its definition and by the call.
    sizes : tuple of int
        Number of outputs, inputs and taps of the table; larger than those of the call if its result is.
    """

    tensors: Tensors
    array: str
    found: Coefficients
    right: Coefficients
    sizes: tuple[int, int, int]

    @property
    def ok(self) -> bool:
        """Whether it does what it should."""
        return self.found == self.right

    @functools.cached_property
    def wrong(self) -> tuple[tuple[int, int, int], ...]:
        """Where it does not: output, input and tap."""
        places = sorted({*self.found, *self.right})
        return tuple(place for place in places if self.found.get(place, 0) != self.right.get(place, 0))

    def __str__(self) -> str:
        return self.text()

    def __repr__(self) -> str:
        return f"<ProbedTable of {self.array}: {self._verdict}>"

    @property
    def _verdict(self) -> str:
        meetings = len({*self.found, *self.right})
        wrong = len(self.wrong)
        return "right" if self.ok else f"{wrong} of {meetings} meetings {'is' if wrong == 1 else 'are'} wrong"

    def text(self, width: int = 80) -> str:
        """Write the table, in lines of at most `width` characters; ``!`` marks what is wrong, and ``-`` what is missing."""
        names = labels.names(self.tensors)
        outputs, inputs, _ = self.sizes
        rows = ends(outputs, table_text.MOST_ROWS)
        heads = ["..." if o is None else f"{names.row}{o}" for o in rows]
        left = max(map(len, heads), default=0) + 1
        cells = {(o, i): self._cell(o, i) for o in rows if o is not None for i in range(inputs)}
        wide = max([*map(len, cells.values()), len(f"{names.column}{inputs - 1}")]) + 2
        columns = ends(inputs, max(3, (width - left) // wide))
        lines = ["".ljust(left) + "".join(("..." if i is None else f"{names.column}{i}").rjust(wide) for i in columns)]
        for o, head in zip(rows, heads, strict=True):
            words = ["..." if o is None or i is None else cells[o, i] for i in columns]
            lines.append(head.ljust(left) + "".join(word.rjust(wide) for word in words))
        return "\n".join([f"{self.array}: {self._verdict}", *(line.rstrip() for line in lines)])

    def _cell(self, o: int, i: int) -> str:
        """What is in a cell: its taps, with a mark if they are wrong."""
        places = [(o, i, t) for t in range(self.sizes[2])]
        words = "+".join(_times(self.found[place], f"w{place[2]}") for place in places if place in self.found)
        if not any(self.found.get(place, 0) != self.right.get(place, 0) for place in places):
            return words or "."
        return f"{words}!".replace("+-", "-") if words else "-"


def _times(coefficient: float, name: str) -> str:
    """A multiple of a tap, such as w1, -w1, 2w1 or w1/3."""
    if not math.isfinite(coefficient):
        return f"{coefficient:g} {name}"
    exact = Fraction(coefficient).limit_denominator(LARGEST_DENOMINATOR)
    if abs(float(exact) - coefficient) > 1e-6 * abs(coefficient):
        return f"{coefficient:.3g}{name}"
    sign, factor = "-" if exact < 0 else "", abs(exact.numerator)
    return f"{sign}{factor if factor != 1 else ''}{name}{'' if exact.denominator == 1 else f'/{exact.denominator}'}"


def probe(tensors: Tensors, array: str, function: Callable[..., Any]) -> ProbedTable:
    """Find the table of a function.

    Parameters
    ----------
    tensors : Tensors
        The tensors of the call that it should agree with: of one axis, sample and channel.
    array : str
        What it computes: "y" from x and w, "gx" from g and w, or "gw" from g and x.
    function : callable
        The function; it takes arrays of NumPy.

    Returns
    -------
    ProbedTable
        What it does.

    Raises
    ------
    ValueError, TypeError
        If the call has several axes, samples or channels, or is too large, or the result is no array of as many axes.
    """
    if array not in OPERANDS:
        msg = f"`instead` must be asked for one of {', '.join(OPERANDS)}, got {shown(array)}"
        raise ValueError(msg)
    if not callable(function):
        msg = f"`{array}` must be a function, got {shown(function)}"
        raise TypeError(msg)
    if len(tensors.tables) != 1 or not tensors.is_plain or "bias" in tensors.call.roles:
        msg = "`instead` must be asked of a call with one axis, one sample, one channel and no bias"
        raise ValueError(msg)
    (table,), role_of = tensors.tables, {name: role for role, name in tensors.names.items()}
    operands, result = [role_of[name] for name in OPERANDS[array]], tensors.results[array]
    sizes = {"g": table.outputs, "x": table.inputs, "w": table.taps}
    calls = sizes[operands[0]] * sizes[operands[1]]
    if not 0 < calls <= MOST_CALLS:
        msg = f"`instead` must be asked of a call with 1 to {MOST_CALLS} pairs of elements, got {calls}"
        raise ValueError(msg)
    shape, axis = tensors.shape(result), tensors.letters(result).index(tensors.call.layout.spatial)
    found: Coefficients = {}
    for first, second in itertools.product(*(range(sizes[role]) for role in operands)):
        pair = [_one(tensors.shape(role), at) for role, at in zip(operands, (first, second), strict=True)]
        answer = np.asarray(function(*pair))
        if answer.dtype.kind not in "biuf" or answer.ndim != len(shape) or answer.size != answer.shape[axis]:
            msg = f"`{array}` must return an array of shape {shape}, got {shown(answer)}"
            raise ValueError(msg)
        values = answer.reshape(-1).astype(np.float64)
        whole = np.round(values)
        values = np.where(np.abs(values - whole) <= ROUNDING, whole, values)
        sizes[result] = max(sizes[result], len(values))
        for (at,) in np.argwhere(values).tolist():
            place = {operands[0]: first, operands[1]: second, result: at}
            found[place["g"], place["x"], place["w"]] = values[at].item()
    right = Counter((m.o, m.i, m.t) for o in range(table.outputs) for m in table.of_output(o))
    return ProbedTable(tensors, array, found, dict(right), (sizes["g"], sizes["x"], sizes["w"]))


def _one(shape: tuple[int, ...], at: int) -> np.ndarray:
    """An array with a single 1."""
    a = np.zeros(shape)
    a.reshape(-1)[at] = 1
    return a
