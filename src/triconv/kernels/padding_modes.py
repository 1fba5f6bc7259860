"""Borders other than zeros: reflect, replicate and circular padding, and their adjoints, derived by hand.

Each mode continues an array by copies of its own parts, so along one axis the extended array is a row of pieces::

    extend(x) = concatenate(x[piece_0], x[piece_1], ...)

``reflect`` has three pieces (a flipped one, the whole, a flipped one), ``circular`` three unflipped ones, ``replicate`` one
border element as often as needed on each side. The adjoint sends each part of the cotangent back to where it was copied from
and adds::

    fold(g)[piece_j] += g[where piece_j went]
"""

from __future__ import annotations

from typing import Any, NamedTuple

from triconv.backends.base import Standard
from triconv.geometry import Pads

Array = Any

MODES = ("zeros", "reflect", "replicate", "circular")


class Piece(NamedTuple):
    """A part of an axis that an extension copies: ``start:stop``, backwards if `flip`."""

    start: int
    stop: int
    flip: bool = False


def pieces(mode: str, size: int, lo: int, hi: int) -> list[Piece]:
    """The parts of an axis of length `size` whose concatenation is its extension by `lo` and `hi`."""
    whole = Piece(0, size)
    if mode == "reflect":
        return [Piece(1, lo + 1, flip=True), whole, Piece(size - 1 - hi, size - 1, flip=True)]
    if mode == "circular":
        return [Piece(size - lo, size), whole, Piece(0, hi)]
    return [Piece(0, 1)] * lo + [whole] + [Piece(size - 1, size)] * hi


def check_extension(mode: str, sizes: tuple[int, ...], pads: Pads) -> None:
    """Raise `ValueError` if `mode` cannot extend axes of these sizes by `pads` (the limits are torch's)."""
    limits = {"reflect": ("less than", -1), "circular": ("at most", 0)}
    for number, (size, pair) in enumerate(zip(sizes, pads, strict=True)):
        if min(pair) < 0:
            msg = f"`padding` must not be negative with `padding_mode` {mode!r}, got {pair} in spatial axis {number}"
            raise ValueError(msg)
        if mode in limits:
            words, slack = limits[mode]
            if max(pair) > max(0, size + slack):
                msg = (
                    f"`padding` must be {words} the input size with `padding_mode` {mode!r}, "
                    f"got {max(pair)} for {size} in spatial axis {number}"
                )
                raise ValueError(msg)
        elif max(pair) > 0 and size == 0:
            msg = f"`padding_mode` {mode!r} must have an element to repeat, got size 0 in spatial axis {number}"
            raise ValueError(msg)


def extend(x: Array, *, mode: str, pads: Pads, xp: Any) -> Array:
    """Extend the last ``len(pads)`` axes of `x`.

    Parameters
    ----------
    x : array, shape (..., *size)
        What to extend.
    mode : {"reflect", "replicate", "circular"}
        How it goes on beyond its borders.
    pads : tuple of (lo, hi)
        By how much, one pair an axis.
    xp : namespace
        Array namespace of `x`.

    Returns
    -------
    array, shape (..., *(size + lo + hi))
    """
    for axis, (lo, hi) in enumerate(pads, start=x.ndim - len(pads)):
        parts = [_part(x, axis, piece, xp) for piece in pieces(mode, x.shape[axis], lo, hi)]
        x = xp.concat(parts, axis=axis)
    return x


def fold(g: Array, *, mode: str, pads: Pads, lib: Standard) -> Array:
    """Adjoint of `extend`: send every element of `g` back to where it was copied from, and add.

    Parameters
    ----------
    g : array, shape (..., *(size + lo + hi))
        Cotangent of an extended array.
    mode : {"reflect", "replicate", "circular"}
        As in `extend`.
    pads : tuple of (lo, hi)
        As in `extend`.
    lib : Standard
        The library of `g`.

    Returns
    -------
    array, shape (..., *size)
    """
    for axis, (lo, hi) in enumerate(pads, start=g.ndim - len(pads)):
        size = g.shape[axis] - lo - hi
        gx = lib.zeros((*g.shape[:axis], size, *g.shape[axis + 1 :]), g)
        position = 0
        for piece in pieces(mode, size, lo, hi):
            length = piece.stop - piece.start
            part = _part(g, axis, Piece(position, position + length, piece.flip), lib.xp)
            others = (slice(None),) * (g.ndim - axis - 1)
            gx = lib.add_at(gx, (slice(piece.start, piece.stop), *others), part)
            position += length
        g = gx
    return g


def _part(a: Array, axis: int, piece: Piece, xp: Any) -> Array:
    part = a[(slice(None),) * axis + (slice(piece.start, piece.stop), ...)]
    return xp.flip(part, axis=axis) if piece.flip else part
