"""The sum behind one element of a result or of a gradient, written out.

Every element of the three contractions is a sum over meetings: of y over those of an output, of gx over those of an input, of
gw over those of a tap. The letter that the element does not have is summed over too::

    y [n, k, o] = sum over c and the meetings of o of  w[k, c, t] * x[n, c, i]
    gx[n, c, i] = sum over k and the meetings of i of  w[k, c, t] * g[n, k, o]
    gw[k, c, t] = sum over n and the meetings of t of  g[n, k, o] * x[n, c, i]
"""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from triconv.geometry.integers import as_int, shown
from triconv.operators.operation import Call
from triconv.tables.axis_table import AxisTable, Meeting

# terms of a sum that are written; the others are counted
FIRST, LAST = 8, 2

ELEMENT = re.compile(r"\s*([A-Za-z]+)\s*(?:\[([^\[\]]*)\])?\s*")


class Element(NamedTuple):
    """An element of an array; printed as NumPy indexes it."""

    name: str
    position: tuple[int, ...]

    def __str__(self) -> str:
        return self.name + (f"[{', '.join(map(str, self.position))}]" if self.position else "")


Term = tuple[Element, ...]
"""A product."""


class TermPlace(NamedTuple):
    """Where a term is: sample, group, channels in the group, and one meeting per axis."""

    n: int = 0
    group: int = 0
    c: int = 0
    k: int = 0
    meetings: tuple[Meeting, ...] = ()


# per tensor: the tensors that the terms of its elements are products of, the letter that is summed over, and an axis's meetings
OPERANDS = {"g": ("w", "x"), "x": ("w", "g"), "w": ("g", "x")}
SUMMED = {"g": "c", "x": "k", "w": "n", "bias": "n"}
MEETINGS = {"g": AxisTable.of_output, "x": AxisTable.of_input, "w": AxisTable.of_tap}


@dataclass(frozen=True)
class Tensors:
    """The three tensors of a call, and its bias: their names, sizes and axes.

    Parameters
    ----------
    call : Call
        The call.
    tables : tuple of AxisTable
        One per spatial axis.
    n, c, k : int
        Number of samples, and of input and output channels per group.
    is_transposed : bool
        Whether the operator is a transposed convolution: its input is the tensor g, and its result is x.
    bias_letters : str
        Letters of the axes of the bias: "C" or none.
    """

    call: Call
    tables: tuple[AxisTable, ...]
    n: int
    c: int
    k: int
    is_transposed: bool = False
    bias_letters: str = "C"

    @property
    def names(self) -> dict[str, str]:
        """The name of each tensor in sums: x, w, and g for the cotangent of the result; and b."""
        x, g = ("g", "x") if self.is_transposed else ("x", "g")
        return {"x": x, "w": "w", "g": g, "bias": "b"}

    @property
    def results(self) -> dict[str, str]:
        """The tensor of each name that has sums: y, gx, gw and, with a bias, gb."""
        y, gx = ("x", "g") if self.is_transposed else ("g", "x")
        return {"y": y, "gx": gx, "gw": "w"} | ({"gb": "bias"} if "bias" in self.call.roles else {})

    def spatial_size(self, role: str) -> tuple[int, ...]:
        """Lengths of the spatial axes of a tensor, in the order of the tables."""
        size = {"x": "inputs", "w": "taps", "g": "outputs"}[role]
        return tuple(getattr(table, size) for table in self.tables)

    def letters(self, role: str) -> str:
        """Letters of the axes of a tensor, in its order."""
        return self.bias_letters if role == "bias" else self.call.layout.letters(role)

    def spatial_letters(self, role: str) -> str:
        """The spatial ones of its letters."""
        return "" if role == "bias" else self.call.layout.spatial

    def shape(self, role: str) -> tuple[int, ...]:
        """Shape of a tensor."""
        groups = self.call.geometry.groups
        channels = groups * (self.c if self._like(role) == "x" else self.k)
        lengths = {"N": self.n, "C": channels, "O": groups * self.k, "I": self.c}
        if role != "bias":
            lengths |= zip(self.call.layout.spatial, self.spatial_size(role), strict=True)
        return tuple(lengths[letter] for letter in self.letters(role))

    def _like(self, role: str) -> str:
        """The tensor whose channels it has."""
        return self.call.result if role == "bias" else role

    @property
    def is_plain(self) -> bool:
        """Whether there is one sample and one channel: then the position says which element it is."""
        return self.call.geometry.groups * self.n * self.c * self.k == 1

    def factor(self, name: str, role: str, place: TermPlace) -> Element:
        """An element of a tensor."""
        c, k = place.group * self.c + place.c, place.group * self.k + place.k
        numbers = {"N": place.n, "C": c if self._like(role) == "x" else k, "O": k, "I": place.c}
        spatial = self.spatial_letters(role)
        if role != "bias":
            which = {"x": 0, "g": 1, "w": 2}[role]
            numbers |= {letter: place.meetings[axis][which] for axis, letter in enumerate(spatial)}
        letters = [letter for letter in self.letters(role) if letter in spatial or not self.is_plain]
        return Element(name, tuple(numbers[letter] for letter in letters))

    def sum(self, element: str, *index: int) -> Sum:
        """The sum behind an element.

        Parameters
        ----------
        element : str
            Name of the array, or name and index such as ``"gx[0, 2, 3]"``.
        *index : int
            Its index, unless it is in `element`. If the axes that are not spatial have length 1, they may be left out.

        Returns
        -------
        Sum
            The sum.

        Raises
        ------
        ValueError, TypeError
            If there is no such array or element.
        """
        name, numbers = self._parsed(element, index)
        role = self.results[name]
        shape, letters, spatial = self.shape(role), self.letters(role), self.spatial_letters(role)
        others = math.prod(size for size, letter in zip(shape, letters, strict=True) if letter not in spatial)
        written = f"{name}[{', '.join(map(str, numbers))}]"
        if len(numbers) == len(spatial) and others == 1:
            rest = iter(numbers)
            numbers = tuple(next(rest) if letter in spatial else 0 for letter in letters)
        if len(numbers) != len(shape):
            msg = f"`element` must have one index per axis of {name}, whose shape is {shape}, got {written}"
            raise ValueError(msg)
        if not all(-size <= number < size for number, size in zip(numbers, shape, strict=True)):
            msg = f"`element` must be within {name}, whose shape is {shape}, got {written}"
            raise ValueError(msg)
        sizes = zip(letters, numbers, shape, strict=True)
        return self._sum(name, {letter: number % size for letter, number, size in sizes})

    def sum_at(self, name: str, positions: Sequence[int]) -> Sum | None:
        """The sum behind the element at some positions, one per spatial axis, of the first sample and channels; or None."""
        return (
            None
            if 0 in self.shape(self.results[name])
            else self._sum(name, dict(zip(self.call.layout.spatial, positions, strict=True)))
        )

    def _sum(self, name: str, at: dict[str, int]) -> Sum:
        """The sum behind an element, by its letters; a letter that is missing is at 0."""
        role = self.results[name]
        of_x = self._like(role) == "x"
        group, channel = divmod(at.get("O" if role == "w" else "C", 0), self.c if of_x else self.k)
        c, k = (channel, 0) if of_x else (at.get("I", 0), channel)
        positions = tuple(at.get(letter, 0) for letter in self.spatial_letters(role))
        return Sum(name, role, self, TermPlace(at.get("N", 0), group, c, k), positions)

    def _parsed(self, element: str, index: tuple[int, ...]) -> tuple[str, tuple[int, ...]]:
        """The name and the numbers of an element."""
        known = ", ".join(self.results)
        if not isinstance(element, str):
            msg = f"`element` must be a string such as 'gx[3]', got {shown(element)}"
            raise TypeError(msg)
        match = ELEMENT.fullmatch(element)
        if match is None or (match[2] is not None and index):
            msg = f"`element` must be one of {known} and one index, such as gx[3] or gx[0, 2, 3], got {shown(element)}"
            raise ValueError(msg)
        name, inside = match[1].lower(), match[2]
        if name not in self.results:
            msg = f"`element` must be one of {known}, such as gx[3], got {shown(element)}"
            raise ValueError(msg)
        if inside is None:
            return name, tuple(as_int(number, "index") for number in index)
        words = inside.strip().removesuffix(",").split(",") if inside.strip() else []
        try:
            return name, tuple(map(int, words))
        except ValueError:
            msg = f"`element` must have ints as its index, such as gx[0, 2, 3], got {shown(element)}"
            raise ValueError(msg) from None


@dataclass(frozen=True, eq=False)
class Sum(Sequence[Term]):
    """An element and the terms that it is the sum of, computed where they are asked for; printed, an equation.

    Parameters
    ----------
    name : str
        The name of its array: y, gx, gw or gb.
    role : str
        The tensor that this is: "x", "w", "g" or "bias".
    tensors : Tensors
        The tensors of the call.
    place : TermPlace
        Its sample, group and channels.
    positions : tuple of int
        Its positions, one per axis.
    """

    name: str
    role: str
    tensors: Tensors
    place: TermPlace
    positions: tuple[int, ...]

    @functools.cached_property
    def element(self) -> Element:
        """The element."""
        meetings = tuple(Meeting(position, position, position) for position in self.positions)
        return self.tensors.factor(self.name, self.role, self.place._replace(meetings=meetings))

    @functools.cached_property
    def _axes(self) -> list[Any]:
        """What is summed over in each axis: meetings; for a bias, the positions of the result."""
        if self.role == "bias":
            return list(map(range, self.tensors.spatial_size(self.tensors.call.result)))
        return [MEETINGS[self.role](*pair) for pair in zip(self.tensors.tables, self.positions, strict=True)]

    @functools.cached_property
    def _lengths(self) -> list[int]:
        return [getattr(self.tensors, SUMMED[self.role]), *map(len, self._axes)]

    @functools.cached_property
    def _bias(self) -> list[Term]:
        """The bias, as a term."""
        call = self.tensors.call
        has_bias = "bias" in call.roles and self.role == call.result
        return [(self.tensors.factor("b", "bias", self.place),)] if has_bias else []

    def __len__(self) -> int:
        return math.prod(self._lengths) + len(self._bias)

    def __getitem__(self, number: int) -> Term:  # type: ignore[override]
        rest = number
        if not 0 <= number < len(self):
            msg = f"the sum of {self.element} has {len(self)} terms, got number {number}"
            raise IndexError(msg)
        if number == math.prod(self._lengths):
            return self._bias[0]
        digits = []
        for length in reversed(self._lengths):
            rest, digit = divmod(rest, length)
            digits.append(digit)
        summed, *numbers = reversed(digits)
        found = (axis[m] for axis, m in zip(self._axes, numbers, strict=True))
        meetings = tuple(Meeting(m, m, m) if isinstance(m, int) else m for m in found)
        place = self.place._replace(meetings=meetings, **{SUMMED[self.role]: summed})
        roles = OPERANDS.get(self.role, (self.tensors.call.result,))
        return tuple(self.tensors.factor(self.tensors.names[role], role, place) for role in roles)

    def __iter__(self) -> Iterator[Term]:
        return (self[number] for number in range(len(self)))

    def __str__(self) -> str:
        return self.text()

    def __repr__(self) -> str:
        return f"<{self}>"

    def text(self, first: int = FIRST, last: int = LAST) -> str:
        """Write the equation, with all terms if they are few, else with the first and last ones and their number."""
        count = len(self)
        if count <= first + last + 1:
            return f"{self.element} = {_joined(self) or 0}"
        begin, end = _joined([self[n] for n in range(first)]), _joined([self[n] for n in range(count - last, count)])
        return f"{self.element} = {begin} + ... + {end}  ({count:,} terms)"


def _joined(terms: Sequence[Term]) -> str:
    return " + ".join(" ".join(map(str, term)) for term in terms)
