"""Padding with a mode (reflect, replicate, circular), and the adjoint of it, both derived by hand.

Each mode continues an array by copies of segments of it. So along one axis the padded array is segments, one after the
other::

    pad(x) = concatenate(x[segment_0], x[segment_1], ...)

``reflect`` has three segments (a flipped one, the whole, a flipped one). ``circular`` has three, none of them flipped.
``replicate`` repeats the element at each border, once per padded position. The adjoint adds each part of the cotangent to
the segment that it was copied from::

    pad_adjoint(g)[segment_j] += g[where segment_j was copied to]
"""

from __future__ import annotations

from typing import Any, Literal, NamedTuple, get_args

from triconv.backends.base import Standard
from triconv.geometry import Pads

Array = Any

PaddingMode = Literal["zeros", "reflect", "replicate", "circular"]
MODES: tuple[str, ...] = get_args(PaddingMode)


class Segment(NamedTuple):
    """A part of an axis that padding copies: ``start:stop``, in reverse if `flip`."""

    start: int
    stop: int
    flip: bool = False


def segments(mode: str, size: int, lo: int, hi: int) -> list[Segment]:
    """The segments of an axis of length `size` whose concatenation is the axis padded by `lo` and `hi`."""
    whole = Segment(0, size)
    if mode == "reflect":
        return [Segment(1, lo + 1, flip=True), whole, Segment(size - 1 - hi, size - 1, flip=True)]
    if mode == "circular":
        return [Segment(size - lo, size), whole, Segment(0, hi)]
    return [Segment(0, 1)] * lo + [whole] + [Segment(size - 1, size)] * hi


def check_padding_mode(mode: str, sizes: tuple[int, ...], pads: Pads) -> None:
    """Raise `ValueError` if `mode` cannot pad axes of these sizes by `pads` (the limits are torch's)."""
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


def pad(x: Array, *, mode: str, pads: Pads, xp: Any) -> Array:
    """Pad the last ``len(pads)`` axes of `x` with copies of its own elements.

    Parameters
    ----------
    x : array, shape (..., *size)
        What to pad.
    mode : {"reflect", "replicate", "circular"}
        Which elements to copy.
    pads : tuple of (lo, hi)
        Number of positions before and after, one pair per axis.
    xp : namespace
        Array namespace of `x`.

    Returns
    -------
    array, shape (..., *(size + lo + hi))
    """
    for axis, (lo, hi) in enumerate(pads, start=x.ndim - len(pads)):
        parts = [_part(x, axis, segment, xp) for segment in segments(mode, x.shape[axis], lo, hi)]
        x = xp.concat(parts, axis=axis)
    return x


def pad_adjoint(g: Array, *, mode: str, pads: Pads, lib: Standard) -> Array:
    """Adjoint of `pad`: add every element of `g` to the element that it was copied from.

    Parameters
    ----------
    g : array, shape (..., *(size + lo + hi))
        Cotangent of a padded array.
    mode : {"reflect", "replicate", "circular"}
        As in `pad`.
    pads : tuple of (lo, hi)
        As in `pad`.
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
        for segment in segments(mode, size, lo, hi):
            length = segment.stop - segment.start
            part = _part(g, axis, Segment(position, position + length, segment.flip), lib.xp)
            following = (slice(None),) * (g.ndim - axis - 1)
            gx = lib.add_at(gx, (slice(segment.start, segment.stop), *following), part)
            position += length
        g = gx
    return g


def _part(a: Array, axis: int, segment: Segment, xp: Any) -> Array:
    part = a[(slice(None),) * axis + (slice(segment.start, segment.stop), ...)]
    return xp.flip(part, axis=axis) if segment.flip else part
