"""Where a result is wrong, if no hypothesis says why: a box, a period, what is left of the last tile, a diagonal.

Kernels that compute in tiles are wrong at the edges of tiles, in the last tile that is not a whole one, or from a sample or a
channel on. An element that is wrong may be right by chance, as zero is; so a region is one in which nearly all is wrong.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from triconv.checking.findings.causes import Cause, Hypothesis
from triconv.checking.findings.diagnosis_data import Content, Diagnosis, Region, Stretch
from triconv.checking.findings.protocol import Role
from triconv.checking.oracles.comparison import WrongResult, same

TILES = (128, 64, 32, 16, 8, 4)
"""Sizes of tiles, the largest first."""
PERIODS = (2, 3, 4, 5, 6, 7, 8, 16, 32, 64, 128)
WRAPS = (2**16, 2**15, 2**8)
"""Where an index of 16 or 8 bits starts again."""
GRID = 2**16 - 1
"""The most blocks along the second and third axis of a grid."""
BY_CHANCE = 0.3
"""The share of a region that may be right by chance."""
CAUSES = {(Role.X, 0): Cause.BATCH_INDEX, (Role.G, 0): Cause.BATCH_INDEX}


def wrong_region(r: WrongResult) -> Diagnosis | None:
    """Describe where a result is wrong; None if that is everywhere, or has no simple form."""
    if not r.has_shape or r.expected.size < 4:
        return None
    wrong = r.differs()
    if not wrong.any() or wrong.mean() > 1 - BY_CHANCE / 2:
        return None
    box, size = _box(r, wrong) or (None, wrong.size)
    if box is not None and box.cause != Cause.BLOCK:
        return box
    if box is None:
        box, size = _outside(r, wrong) or (None, wrong.size)
    return _flat(r, wrong, size) or box or _diagonal(r, wrong)


def loose_region(r: WrongResult) -> Diagnosis | None:
    """Describe where a result is wrong, of which any part may be right: a flip leaves the tap in the middle as it is."""
    wrong = r.differs()
    stretches = [
        stretch_of((axis,), at)
        for axis in range(wrong.ndim)
        if not (at := np.asarray(wrong.any(axis=_others(wrong, axis)))).all() and at.any()
    ]
    known = tuple(s for s in stretches if s is not None)
    return (
        Diagnosis(_cause(r, known), Hypothesis.REGION, role=Role(r.role), region=Region(known, Content.OTHER))
        if known
        else None
    )


def not_finite(r: WrongResult) -> Diagnosis | None:
    """Describe where a result is not finite; None if that is everywhere, or has no simple form."""
    bad = ~np.isfinite(r.found)
    if not r.has_shape or not bad.any():
        return None
    nowhere = np.zeros(bad.shape)
    found = wrong_region(replace(r, found=bad.astype(float), expected=nowhere))
    if found is None or found.region is None:
        return None
    return replace(found, region=replace(found.region, content=Content.NOT_FINITE, offset=None))


def _box(r: WrongResult, wrong: np.ndarray) -> tuple[Diagnosis, int] | None:
    """Describe a region that is the product of positions along each axis, and count its elements."""
    stretches: list[Stretch] = []
    inside = np.ones_like(wrong)
    for axis, size in enumerate(wrong.shape):
        at = np.asarray(wrong.any(axis=_others(wrong, axis)))
        if at.all():
            continue
        stretch = stretch_of((axis,), at)
        if stretch is None:
            return None
        stretches.append(stretch)
        inside &= at.reshape([size if other == axis else 1 for other in range(wrong.ndim)])
    if not stretches or not _fills(r, wrong, inside):
        return None
    return _diagnosis(r, Hypothesis.REGION, tuple(stretches), inside), int(inside.sum())


def _flat(r: WrongResult, wrong: np.ndarray, size: int) -> Diagnosis | None:
    """Describe a region of fewer elements than `size` that is a stretch of several axes, counted as one."""
    for axes in _groups(r, wrong.ndim):
        others = tuple(axis for axis in range(wrong.ndim) if axis not in axes)
        moved = wrong.transpose(*axes, *others).reshape(math.prod(wrong.shape[axis] for axis in axes), -1)
        at = np.asarray(moved.any(axis=1))
        if at.all():
            continue
        at = _without_holes(at)
        stretch = stretch_of(axes, at)
        if stretch is None or (
            stretch.period is None and stretch.tile is None and (stretch.first or stretch.end) % 2**15
        ):
            continue
        shape = [wrong.shape[axis] for axis in axes] + [1] * len(others)
        inside = np.broadcast_to(at.reshape(shape).transpose(np.argsort((*axes, *others))), wrong.shape)
        if inside.sum() < size and _fills(r, wrong, inside):
            return _diagnosis(r, Hypothesis.REGION, (stretch,), inside)
    return None


def _without_holes(at: np.ndarray) -> np.ndarray:
    """Return positions with those between the first and the last of them, if that are nearly all."""
    first, end = int(np.argmax(at)), len(at) - int(np.argmax(at[::-1]))
    if at[first:end].mean() < 1 - BY_CHANCE:
        return at
    whole = np.zeros_like(at)
    # the first ones may be right by chance, as zeros are: a tile begins shortly before
    starts = [first - first % tile for tile in TILES if first % tile <= 2]
    whole[starts[0] if starts and starts[0] else first : end] = True
    return whole


def _outside(r: WrongResult, wrong: np.ndarray) -> tuple[Diagnosis, int] | None:
    """Describe a result that is right in a box alone, such as the whole tiles, and count what is outside of it."""
    stretches: list[Stretch] = []
    inside = np.zeros_like(wrong)
    for axis, size in enumerate(wrong.shape):
        share = wrong.mean(axis=_others(wrong, axis))
        if np.ptp(share) < BY_CHANCE:
            continue
        at = share > (share.max() + share.min()) / 2
        stretch = stretch_of((axis,), at)
        if stretch is None:
            continue
        stretches.append(stretch)
        inside |= at.reshape([size if other == axis else 1 for other in range(wrong.ndim)])
    if len(stretches) < 2 or inside.all() or not _fills(r, wrong, inside):
        return None
    return _diagnosis(r, Hypothesis.REGION_OUTSIDE, tuple(stretches), inside), int(inside.sum())


def _diagonal(r: WrongResult, wrong: np.ndarray) -> Diagnosis | None:
    """Describe a result that is wrong where two indices are equal."""
    for a, b in itertools.combinations(range(wrong.ndim), 2):
        if wrong.shape[a] != wrong.shape[b] or wrong.shape[a] < 3:
            continue
        i, j = np.indices((wrong.shape[a], wrong.shape[b]))
        shape = [size if axis in (a, b) else 1 for axis, size in enumerate(wrong.shape)]
        for mask in (i == j, i + j == wrong.shape[a] - 1, i > j, i < j):
            inside = np.broadcast_to(mask.reshape(shape), wrong.shape)
            if _fills(r, wrong, inside):
                region = Region((), _content(r, inside))
                return Diagnosis(
                    Cause.DIAGONAL, Hypothesis.REGION_DIAGONAL, role=Role(r.role), axes=(a, b), region=region
                )
    return None


def _others(a: np.ndarray, axis: int) -> tuple[int, ...]:
    return tuple(other for other in range(a.ndim) if other != axis)


def _groups(r: WrongResult, ndim: int) -> Iterator[tuple[int, ...]]:
    """Yield axes that a kernel may count as one: positions, also with samples or channels, in both orders."""
    spatial = tuple(range(2, ndim))
    seen = set()
    for axes in (spatial, (0, *spatial), (1, *spatial), (*spatial, 1), (0, 1, *spatial), (0, *spatial, 1), (0, 1)):
        if len(axes) > 1 and axes not in seen and max(axes) < r.expected.ndim:
            seen.add(axes)
            yield axes


def _fills(r: WrongResult, wrong: np.ndarray, inside: np.ndarray) -> bool:
    """Whether all that is wrong is inside, and nearly all that is inside is wrong; of zeros all that is not zero."""
    if (wrong & ~inside).any():
        return False
    right = inside & ~wrong
    if not right.any():
        return True
    if not np.any(r.found[inside]) and not np.any(r.expected[right]):
        return True
    return bool(right.sum() <= BY_CHANCE * inside.sum())


def stretch_of(axes: tuple[int, ...], at: np.ndarray) -> Stretch | None:
    """Describe positions: a range, or some of every so many; None if they are neither."""
    size, positions = len(at), np.flatnonzero(at)
    first, end = int(positions[0]), int(positions[-1]) + 1
    if end - first == len(positions):
        tile = None
        if end == size and first:
            tile = next((t for t in TILES if first % t == 0 and size - first < t), None)
        elif end - first in TILES and first % (end - first) == 0:
            tile = end - first
        return Stretch(axes, first, end, size, tile=tile)
    for period in PERIODS:
        if size < 2 * period:
            break
        residues = tuple(int(n) for n in np.flatnonzero(at[:period]))
        rest = np.zeros(period, bool)
        rest[list(residues)] = True
        whole = np.resize(rest, size)
        if np.array_equal(whole, at) or np.array_equal(whole[period:-period], at[period:-period]):
            return Stretch(axes, first, end, size, period, residues, period if period >= TILES[-1] else None)
    if (repeated := _repeated(axes, at)) is not None:
        return repeated
    # next to every multiple of the tile but the first, or only up to the last whole tile
    best: Stretch | None = None
    for tile in TILES:  # of tiles of 8, the edges are those of tiles of 16, and others
        residues = tuple(np.unique(positions % tile).tolist())
        if size > 2 * tile and len(residues) <= max(1, tile // 4) and len(positions) > 1:
            every = np.isin(np.arange(size) % tile, residues)
            is_every = (every & ~at)[tile : size - size % tile].sum() == 0
            if is_every and (best is None or len(residues) < len(best.residues)):
                best = Stretch(axes, first, end, size, tile, residues, tile)
    return best


def _repeated(axes: tuple[int, ...], at: np.ndarray) -> Stretch | None:
    """Describe ranges of equal length that come at equal distances, whatever that is, and every second tile."""
    edges = np.diff(np.concatenate([[False], at, [False]]).astype(int))
    starts, ends = np.flatnonzero(edges == 1), np.flatnonzero(edges == -1)
    lengths, size = ends - starts, len(at)
    period, length = int(starts[1] - starts[0]), int(lengths[0])
    is_even = np.all(np.diff(starts) == period) and np.all(lengths[:-1] == length) and lengths[-1] <= length
    is_whole = starts[0] < period and starts[-1] + period >= size and (lengths[-1] == length or ends[-1] == size)
    is_tile = length in TILES and period == 2 * length and starts[0] % length == 0
    if not (is_even and is_whole and (len(starts) > 2 or is_tile)):
        return None
    residues = tuple(int(starts[0] + n) for n in range(length))
    if residues[-1] >= period:
        return None
    return Stretch(axes, int(starts[0]), int(ends[-1]), size, period, residues, length if is_tile else None)


def _diagnosis(r: WrongResult, hypothesis: Hypothesis, stretches: tuple[Stretch, ...], inside: np.ndarray) -> Diagnosis:
    content = _content(r, inside)
    offset = None
    if content == Content.OTHER and hypothesis == Hypothesis.REGION and (offset := _shift(r, stretches[0])) is not None:
        content = Content.SHIFTED
    region = Region(stretches, content, offset)
    return Diagnosis(_cause(r, stretches), hypothesis, role=Role(r.role), region=region)


def _cause(r: WrongResult, stretches: tuple[Stretch, ...]) -> Cause:
    """Return the family of a region, by what is most telling of its stretches."""
    for s in stretches:
        if s.end == s.size and (s.first in (*WRAPS[:2], GRID) or (s.first > GRID and s.first % 2**15 == 0)):
            return Cause.LARGE_INDICES
    if any(s.tile is not None and s.tile >= 8 for s in stretches):
        return Cause.TILE_EDGE
    for s in stretches:
        if s.period is not None:
            return Cause.EVERY_SECOND if s.period == 2 else Cause.EVERY_NTH
    first = stretches[0]
    axis = first.axes[0]
    if len(first.axes) > 1:
        return Cause.BLOCK
    if r.role != "bias" and r.role != "w" and axis == 0 and first.end == first.size:
        return Cause.BATCH_INDEX
    if any(s.tile is not None for s in stretches):
        return Cause.TILE_EDGE
    if r.role == "bias" or axis == 1 or (r.role == "w" and axis == 0):
        return Cause.CHANNEL_RANGE
    return Cause.BLOCK


def _content(r: WrongResult, inside: np.ndarray) -> Content:
    found, expected = r.found[inside], r.expected[inside]
    if not found.any():
        return Content.ZERO
    if same(2 * expected, found):
        return Content.TWICE
    return Content.NEGATIVE if same(-expected, found) else Content.OTHER


def _shift(r: WrongResult, stretch: Stretch) -> int | None:
    """Return by how many positions what is found in a range is shifted; None if it is not what belongs elsewhere."""
    if stretch.period is not None:
        return None
    others = tuple(axis for axis in range(r.expected.ndim) if axis not in stretch.axes)
    found, expected = (a.transpose(*stretch.axes, *others).reshape(stretch.size, -1) for a in (r.found, r.expected))
    length = stretch.end - stretch.first
    for step in dict.fromkeys((length, -length, *TILES, *(-t for t in TILES), *WRAPS, *(-w for w in WRAPS))):
        begin = stretch.first + step
        if begin < 0 or begin + length > stretch.size:
            continue
        elsewhere = expected[begin : begin + length]
        if elsewhere.any() and same(elsewhere, found[stretch.first : stretch.end]):
            return step
    return None
