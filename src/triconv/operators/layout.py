"""Layouts: strings such as ``"NHWC,HWIO->NHWC"``, and the conversion to canonical arrays and back.

Letters: ``N`` batch, ``C`` channels (of x on the left, of y on the right), ``O`` and ``I`` output and input channels of the
kernel, and one letter per spatial axis. A letter that is left out stands for an axis of length 1 that the array does not have.

Both conversions permute the elements, so each is the adjoint and the inverse of the other.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from triconv.backends.base import permute_dims
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
        """Read a string such as ``"NCHW,OIHW->NCHW"``.

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
        sides = text.replace(" ", "").upper().split("->")
        parts = [*sides[0].split(","), *sides[1:]]
        if len(sides) != 2 or len(parts) != 3 or not all(not p or p.isalpha() for p in parts):
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
        a = xp.permute_dims(a, tuple(letters.index(letter) for letter in order if letter in letters))
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
        """View an array as canonical: the group in front, then torch's order, spatial axes last.

        The groups are split off where they stand: what follows is a single transpose, which cancels with its inverse.
        """
        names, letters, grouped = self._names(role), self.letters(role), self._grouped(role)
        sizes = {letter: a.shape[axis] for axis, letter in enumerate(letters)}
        sizes |= {GROUP: groups, grouped: sizes.get(grouped, 1) // groups}
        a = xp.reshape(a, tuple(sizes.get(name, 1) for name in names))
        return permute_dims(a, tuple(names.index(name) for name in self._canonical(role)), xp)

    def from_canonical(self, role: str, a: Array, xp: Any) -> Array:
        """Undo `to_canonical`."""
        names, grouped, canonical = self._names(role), self._grouped(role), self._canonical(role)
        sizes = dict(zip(canonical, a.shape, strict=True))
        sizes[grouped] *= sizes[GROUP]
        a = permute_dims(a, tuple(canonical.index(name) for name in names), xp)
        return xp.reshape(a, tuple(sizes[letter] for letter in self.letters(role)))

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
