"""Layouts: strings such as ``"NHWC,HWIO->NHWC"`` or ``"NHWC,HWIO,NHWC"``, and the conversion to canonical arrays and back.

Letters: ``N`` batch, ``C`` channels (of x on the left, of y on the right), ``O`` and ``I`` output and input channels of the
kernel, and one letter per spatial axis. A letter that is left out stands for an axis of length 1 that the array does not have.

Both conversions permute the elements, so each is the adjoint and the inverse of the other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from triconv.backends.array_operations import is_reshape
from triconv.geometry.integers import shown

Array = Any

SPATIAL_LETTERS = {1: "W", 2: "HW", 3: "DHW"}
MANY_SPATIAL_LETTERS = "ABDEFGHJKLMPQRSTUVWXYZ"

# the axes of each tensor before its spatial ones
HEAD = {"x": "NC", "w": "OI", "g": "NC"}
GROUP = "group"


def spatial_letters(ndim: int) -> str:
    """Letters for `ndim` spatial axes; raises `ValueError` if there are more axes than letters."""
    if ndim > len(MANY_SPATIAL_LETTERS):
        msg = f"an array must have at most {len(MANY_SPATIAL_LETTERS)} spatial axes, got {ndim}"
        raise ValueError(msg)
    return MANY_SPATIAL_LETTERS[:ndim]


@dataclass(frozen=True, slots=True)
class Layout:
    """The letters of the axes of x, w and y, and the spatial letters in the order of the geometry's axes.

    The groups are side by side in the channels of y, in the output channels of w, and in the axis ``grouped`` of x. That is its
    channels ("C"), or for lax's ``batch_group_count`` its batch ("N").
    """

    x: str
    w: str
    g: str
    spatial: str
    grouped: str = "C"

    @classmethod
    def parse(cls, text: str) -> Layout:
        """Read a string such as ``"NCHW,OIHW->NCHW"``, or ``"NCHW,OIHW,NCHW"``, which a shell takes without quotes.

        Parameters
        ----------
        text : str
            The layout; any letter case, spaces allowed.

        Returns
        -------
        Layout
            The layout, with the spatial letters in the order of x.

        Raises
        ------
        ValueError
            If the three parts do not fit together.
        """
        if not isinstance(text, str):
            msg = f"`layout` must be a string such as 'NCHW,OIHW->NCHW', got {shown(text)}"
            raise TypeError(msg)
        operands, arrow, result = text.replace(" ", "").upper().partition("->")
        parts = [*operands.split(","), *([result] if arrow else [])]
        if len(parts) != 3 or not all(not p or p.isalpha() for p in parts):
            msg = f"`layout` must be three groups of letters such as 'NCHW,OIHW->NCHW', got {text!r}"
            raise ValueError(msg)
        x, w, g = parts
        spatial = "".join(letter for letter in x if letter not in "NC")
        for array, letters, head in (("x", x, "NC"), ("w", w, "OI"), ("y", g, "NC")):
            if len(set(letters)) != len(letters):
                msg = f"`layout` must name each axis of {array} once, got {letters!r} in {text!r}"
                raise ValueError(msg)
            if {letter for letter in letters if letter not in head} != set(spatial) or set(spatial) & set("NCOI"):
                msg = (
                    f"`layout` must give {array} the letters {' and '.join(head)} (either may be left out) and the spatial "
                    f"letters of x, {spatial!r}, got {letters!r} in {text!r}"
                )
                raise ValueError(msg)
        return cls(x, w, g, spatial)

    @classmethod
    def channels_first(cls, ndim: int, *, batched: bool = True) -> Layout:
        """Return torch's layout for `ndim` spatial axes, without ``N`` if not `batched`."""
        spatial = SPATIAL_LETTERS.get(ndim) or spatial_letters(ndim)
        x = ("NC" if batched else "C") + spatial
        return cls(x, "OI" + spatial, x, spatial)

    def transposed(self) -> Layout:
        """The same with the letters of x and g exchanged: for an operator that takes the cotangent g as its input."""
        return replace(self, x=self.g, g=self.x)

    def letters(self, role: str) -> str:
        """Letters of the tensor `role`, one of "x", "w", "g"."""
        return getattr(self, role)

    def size(self, role: str, letter: str, shape: tuple[int, ...]) -> int:
        """Length of the axis `letter` in the tensor `role`; 1 if the tensor has no such axis."""
        position = self.letters(role).find(letter)
        return shape[position] if position >= 0 else 1

    def spatial_size(self, role: str, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Lengths of the spatial axes, in the order of the geometry's axes."""
        return tuple(self.size(role, letter, shape) for letter in self.spatial)

    def to_torch_order(self, role: str, a: Array, xp: Any) -> Array:
        """View an array in torch's order, with an axis of length 1 for each letter that is left out."""
        letters = self.letters(role)
        order = HEAD[role] + self.spatial
        a = xp.permute_dims(a, self.torch_order(role))
        for axis, letter in enumerate(order):
            if letter not in letters:
                a = xp.expand_dims(a, axis=axis)
        return a

    def from_torch_order(self, role: str, a: Array, xp: Any) -> Array:
        """Undo `to_torch_order`."""
        letters = self.letters(role)
        order = HEAD[role] + self.spatial
        present = [letter for letter in order if letter in letters]
        a = a[tuple(slice(None) if letter in letters else 0 for letter in order)]
        return xp.permute_dims(a, tuple(present.index(letter) for letter in letters))

    def torch_order(self, role: str) -> tuple[int, ...]:
        """The order in which the axes of a tensor are torch's, without those that it does not have."""
        letters = self.letters(role)
        return tuple(letters.index(letter) for letter in HEAD[role] + self.spatial if letter in letters)

    @property
    def is_whole(self) -> bool:
        """Whether it leaves out no letter but the batch, and groups are of channels: torch's convolution has such arrays."""
        x, g = self.x.replace("N", ""), self.g.replace("N", "")
        has_letters = sorted(x) == sorted(g) == sorted("C" + self.spatial) and len(self.w) == len(self.spatial) + 2
        return has_letters and len(self.x) == len(self.g) and self.grouped == "C"

    @property
    def orders(self) -> tuple[str, ...]:
        """Where the channels of x, w and g stand: "first", before the positions, or "last", after them."""
        pairs = ((self.x, "C"), (self.w, "I"), (self.g, "C"))
        return tuple("last" if self.spatial and self._is_after(*pair) else "first" for pair in pairs)

    def _is_after(self, letters: str, channel: str) -> bool:
        return letters.find(channel) > min(letters.index(letter) for letter in self.spatial)

    @property
    def is_channels_first(self) -> bool:
        """Whether it is torch's order, with or without the batch."""
        x = self.x.removeprefix("N")
        return x == self.g.removeprefix("N") == "C" + self.spatial and self.w == "OI" + self.spatial

    def to_canonical(self, role: str, a: Array, groups: int, xp: Any) -> Array:
        """View an array as canonical: the group in front, then torch's order, spatial axes last."""
        return self.canonical_view(role, a.shape, groups)(a, xp)

    def from_canonical(self, role: str, a: Array, xp: Any) -> Array:
        """Undo `to_canonical`."""
        return self.view_of_canonical(role, a.shape)(a, xp)

    def canonical_view(self, role: str, shape: Sequence[Any], groups: int) -> View:
        """What `to_canonical` does to an array of a shape.

        The groups are split off where they stand: what follows is a single transpose, which cancels with its inverse.
        """
        names, grouped = self._names(role), self._grouped(role)
        sizes = dict(zip(self.letters(role), shape, strict=True))
        sizes |= {GROUP: groups, grouped: sizes.get(grouped, 1) // groups}
        split = tuple(sizes.get(name, 1) for name in names)
        order = tuple(names.index(name) for name in self._canonical(role))
        return View.of(tuple(range(len(shape))), shape, split, order)

    def view_of_canonical(self, role: str, shape: Sequence[Any]) -> View:
        """What `from_canonical` does to an array of a shape."""
        names, grouped, canonical = self._names(role), self._grouped(role), self._canonical(role)
        sizes = dict(zip(canonical, shape, strict=True))
        sizes[grouped] *= sizes[GROUP]
        order = tuple(canonical.index(name) for name in names)
        return View.of(order, shape, tuple(sizes[letter] for letter in self.letters(role)))

    def _grouped(self, role: str) -> str:
        """The letter of the axis in which the groups stand side by side."""
        return {"x": self.grouped, "w": "O", "g": "C"}[role]

    def _canonical(self, role: str) -> list[str]:
        """The axes of a canonical array."""
        return [GROUP, *HEAD[role], *self.spatial]

    def _names(self, role: str) -> list[str]:
        """The same axes in the order of the layout: those that it leaves out first, the groups before their letter."""
        letters = self.letters(role)
        names = [*(letter for letter in HEAD[role] + self.spatial if letter not in letters), *letters]
        names.insert(names.index(self._grouped(role)), GROUP)
        return names


class View(NamedTuple):
    """An array with its axes in another order, then in another shape, then again in another order.

    An order in which only axes of length 1 move is left to the shape: XLA would copy.
    """

    before: tuple[int, ...] | None
    shape: tuple[Any, ...]
    after: tuple[int, ...] | None

    @classmethod
    def of(
        cls, before: tuple[int, ...], sizes: Sequence[Any], shape: tuple[Any, ...], after: tuple[int, ...] = ()
    ) -> View:
        """The view of an array with axes of such sizes."""
        if is_reshape(before, sizes):
            return cls(None, *_shape_and_order(shape, after))
        return cls(before, *_shape_and_order(shape, after))

    def __call__(self, a: Array, xp: Any) -> Array:
        """Apply it to an array."""
        if self.before is not None:
            a = xp.permute_dims(a, self.before)
        a = xp.reshape(a, self.shape)
        return a if self.after is None else xp.permute_dims(a, self.after)


def _shape_and_order(shape: tuple[Any, ...], order: tuple[int, ...]) -> tuple[tuple[Any, ...], tuple[int, ...] | None]:
    """A shape, and an order of its axes unless that is a mere reshape too."""
    if is_reshape(order, shape):
        return tuple(shape[axis] for axis in order) or shape, None
    return shape, order
