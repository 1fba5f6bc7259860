"""A sum that ends too early, as of a loop over blocks that leaves the last one out, and indices that wrap around.

The terms of a few elements are listed in the order in which a kernel may add them. A result that is the sum of the first F of
them, in each of these elements, has lost the others.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from triconv.checking.findings.causes import Cause, Hypothesis
from triconv.checking.findings.diagnosis_data import Diagnosis
from triconv.checking.findings.protocol import Role
from triconv.checking.oracles import definition
from triconv.checking.oracles.comparison import WrongResult, same
from triconv.checking.oracles.convolution import Expectations

MOST_TERMS = 2**22
"""Terms that are listed, of all elements together."""
ELEMENTS = 24
"""Positions that are compared, and pairs of samples and channels."""
PAIRS = 3
MOST_WRONG = 0.3
"""Of sums that all end too early, most are wrong; what is left out may be zero in the others."""
SURE, FEW = 4, 16
"""Elements that sums fit by chance at no place of many; and the share of the terms that fewer may have lost."""
WRAPS = (2**16, 2**15)
SHORT_WRAPS = (*WRAPS, 2**8, 2**7)
"""Of an index along one axis."""
LEAST_WRAPPED = 3
"""Elements that are wrong where slices are written twice: fewer may be those of another slice by chance."""


def cut_off(r: WrongResult) -> Diagnosis | None:
    """Explain a result in which only the first terms of each sum are counted, or all but the first."""
    others = _operands(r)
    if others is None or r.differs().mean() < MOST_WRONG:
        return None
    for order in (0, 1):
        kept: dict[str, set[int]] = {}
        total = 0
        lists = list(_listed(r, others, order))
        if not lists:
            return None
        for terms, found in lists:
            total = len(terms)
            sums = np.concatenate([np.zeros_like(terms[:1]), np.cumsum(terms, 0)])
            ends = {"first": _equal(sums, found), "last": _equal(sums[-1] - sums, found)}
            kept = {name: at & kept.get(name, at) for name, at in ends.items()}
        for name in ("first", "last"):
            at = kept[name] - {0, total}
            if at:
                # several fit where the terms between are zero: the end of a block is the most likely
                end = max(at, key=lambda n: (n & -n, n))
                rest = total - end if name == "first" else end
                if sum(len(found) for _, found in lists) < SURE and rest > total // FEW:
                    continue
                return Diagnosis(
                    Cause.REDUCTION_CUT,
                    Hypothesis.REDUCTION_CUT,
                    role=Role(r.role),
                    size=end if name == "first" else total - end,
                    total=total,
                    mode=name,
                    function=_order(r, order),
                )
    return None


def index_wraps(r: WrongResult) -> Diagnosis | None:
    """Explain a result whose operand is read, or which is written, at an index of 16 bits."""
    if not r.has_shape:
        return None
    for period in WRAPS:
        if r.expected.size > period and _is_written_modulo(r, period):
            return Diagnosis(
                Cause.LARGE_INDICES, Hypothesis.INDEX_WRAPS, role=Role(r.role), size=period, mode="written"
            )
    for period in SHORT_WRAPS:
        for axis, size in enumerate(r.expected.shape):
            if size > period and _is_written_modulo_along(r, axis, period):
                return Diagnosis(
                    Cause.LARGE_INDICES,
                    Hypothesis.INDEX_WRAPS,
                    role=Role(r.role),
                    axis=axis,
                    size=period,
                    mode="written",
                )
    if (added := _added_modulo(r)) is not None:
        return added
    others = _operands(r)
    if others is None:
        return None
    for role, a in others.items():
        for period in WRAPS:
            if a.size <= period // 2:
                continue
            for hypothesis, read in (
                (Hypothesis.INDEX_WRAPS, np.arange(a.size) % period),
                (Hypothesis.INDEX_NEGATIVE, (np.arange(a.size) + period // 2) % period - period // 2),
            ):
                for is_user_order in (False, True):
                    changed = {**others, role: _read_at(r, role, a, read, is_user_order=is_user_order)}
                    if _are_sums(r, changed):
                        return Diagnosis(Cause.LARGE_INDICES, hypothesis, role=Role(role), size=period, mode="read")
            for axis in (n for n, size in enumerate(a.shape) if size > period and size < a.size):
                changed = {**others, role: np.take(a, np.arange(a.shape[axis]) % period, axis)}
                if _are_sums(r, changed):
                    wraps = Hypothesis.INDEX_WRAPS
                    return Diagnosis(Cause.LARGE_INDICES, wraps, role=Role(role), axis=axis, size=period, mode="read")
    return None


def _added_modulo(r: WrongResult) -> Diagnosis | None:
    """Explain zeros at the end of an axis, and what belongs there added to the first slices."""
    for axis in range(2, r.expected.ndim):
        found, expected = (np.moveaxis(a, axis, 0) for a in (r.found, r.expected))
        written = np.flatnonzero(found.reshape(len(found), -1).any(axis=1))
        size = int(written[-1]) + 1 if len(written) else len(found)
        rest = expected[size:]
        if len(found) > size >= len(found) / 2 and np.count_nonzero(rest) >= LEAST_WRAPPED:
            total = expected[:size].copy()
            total[: len(rest)] += rest
            if same(total, found[:size]):
                wraps = Hypothesis.ADDED_MODULO
                return Diagnosis(Cause.WRAP_AROUND, wraps, role=Role(r.role), axis=axis, size=size)
    return None


def _are_sums(r: WrongResult, operands: dict[str, np.ndarray]) -> bool:
    """Whether some elements are the sums of all products of these operands."""
    any_listed = False
    for terms, found in _listed(r, operands, 0):
        any_listed = True
        if not same(terms.sum(0), found):
            return False
    return any_listed


def _is_written_modulo(r: WrongResult, period: int) -> bool:
    for found, expected in (
        (r.found, r.expected),
        (r.problem.user(r.role, r.found), r.problem.user(r.role, r.expected)),
    ):
        f, e = found.ravel(), expected.ravel()
        blocks = [e[start : start + period] for start in range(0, len(e), period)]
        last = blocks[0].copy()
        for block in blocks[1:]:
            last[: len(block)] = block
        if last.any() and same(last, f[:period]):
            return True
    return False


def _is_written_modulo_along(r: WrongResult, axis: int, period: int) -> bool:
    """Whether slices along an axis are written, or added, where another begins again: in any order, as on a GPU."""
    found, expected = (np.moveaxis(a, axis, 0) for a in (r.found, r.expected))
    head, right = found[:period], expected[:period]
    if np.count_nonzero(head != right) < LEAST_WRAPPED:
        return False
    is_of_one, total = head == right, np.zeros_like(right)
    for start in range(0, len(expected), period):
        block = expected[start : start + period]
        is_of_one[: len(block)] |= head[: len(block)] == block
        total[: len(block)] += block
    return bool(is_of_one.all()) or same(total, head)


def _read_at(r: WrongResult, role: str, a: np.ndarray, read: np.ndarray, *, is_user_order: bool) -> np.ndarray:
    """Return an array that is read at other indices; negative ones count from the end."""
    read = read % a.size
    if not is_user_order:
        return a.ravel()[read].reshape(a.shape)
    own = r.problem.to_user(role, a)
    return r.problem.to_torch(role, own.ravel()[read].reshape(own.shape))


def _operands(r: WrongResult) -> dict[str, np.ndarray] | None:
    """Return the two arrays that the result is the sum of products of; None of results that are no such sum alone."""
    arrays, p = r.expectations.arrays, r.problem
    if not r.has_shape or p.model.mode != "zeros" or p.model.changes or r.role == "bias" or not r.expected.size:
        return None
    if r.is_value and r.answer is Expectations.value:
        return {role: arrays.primals[role] for role in p.operands}
    if isinstance(r.answer, functools.partial) and r.answer.func is Expectations.vjp:
        (other,) = (role for role in p.operands if role != r.role)
        partner = arrays.primals[other]
        return {other: partner.conj() if p.conjugates else partner, p.result: arrays.g}
    return None


def _equal(sums: np.ndarray, found: np.ndarray) -> set[int]:
    near = np.abs(sums - found) <= 1e-6 * max(1, np.abs(found).max(initial=0))
    return set(np.flatnonzero(near.all(axis=1)).tolist())


def _order(r: WrongResult, order: int) -> str:
    inner = {"g": "input channels and taps", "x": "output channels and taps", "w": "samples and positions"}[r.role]
    outer, _, last = inner.partition(" and ")
    return inner if order == 0 else f"{last} and {outer}"


def _listed(r: WrongResult, others: dict[str, np.ndarray], order: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield the terms of some elements, one row for each term in order, and what was found there without the bias."""
    wrong = np.argwhere(r.differs())
    if not len(wrong):
        return
    pairs = list(dict.fromkeys(tuple(map(int, index[:2])) for index in wrong[:: max(1, len(wrong) // 64)]))
    pairs = [pairs[0], pairs[-1], *pairs[1:-1]][:PAIRS]
    axes, groups = r.problem.model.axes, r.problem.model.groups
    result = r.expected.shape
    count = math.prod(result[2:])
    positions = [_unravelled(n, result[2:]) for n in range(0, count, max(1, count // ELEMENTS))]
    bias = r.expectations.arrays.primals.get("bias") if r.has_bias else None
    for pair in dict.fromkeys(pairs):
        if r.role == "w":
            channels = others["x"].shape[1] // groups
            group = pair[0] // (result[0] // groups)
            x, g = others["x"][:, group * channels + pair[1]], others["g"][:, pair[0]]
            terms = np.stack([_meeting_terms(axes, x, g, at) for at in positions], -1)
            if order:
                terms = np.swapaxes(terms, 0, 1)
        elif r.role == "g":
            channels = others["w"].shape[1]
            group = pair[1] // (result[1] // groups)
            x = others["x"][pair[0], group * channels : (group + 1) * channels]
            terms = _tap_terms(axes, x, others["w"][pair[1]], positions, 1)
            if order:
                terms = np.swapaxes(terms, 0, 1)
        else:
            outputs, channels = others["w"].shape[0] // groups, others["w"].shape[1]
            group = pair[1] // channels
            rows = slice(group * outputs, (group + 1) * outputs)
            w = others["w"][rows, pair[1] - group * channels]
            terms = _tap_terms(axes, others["g"][pair[0], rows], w, positions, 0)
            if order:
                terms = np.swapaxes(terms, 0, 1)
        if terms.size > MOST_TERMS:
            return
        found = np.array([r.found[(*pair, *at)] for at in positions])
        if bias is not None:
            found = found - (bias[pair[1]] if bias.ndim else bias)
        yield terms.reshape(-1, len(positions)), found


def _unravelled(number: int, shape: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(map(int, np.unravel_index(number, shape))) if shape else ()


def _tap_terms(
    axes: tuple[definition.AxisParameters, ...],
    a: np.ndarray,
    w: np.ndarray,
    positions: list[tuple[int, ...]],
    which: int,
) -> np.ndarray:
    """Return ``a[c, where it meets the tap] * w[c, tap]``: channels, taps, positions of the result.

    `which` is 1 if the positions are those of the output, 0 if those of the input.
    """
    channels, taps = w.shape[0], w.shape[1:]
    terms = np.zeros((channels, int(np.prod(taps)), len(positions)), np.result_type(a, w))
    for number, at in enumerate(positions):
        meetings = [definition.meetings_at(axis, which, position) for axis, position in zip(axes, at, strict=True)]
        for met in itertools.product(*meetings):
            tap = tuple(m[2] for m in met)
            source = tuple(m[1 - which] for m in met)
            flat = int(np.ravel_multi_index(tap, taps)) if taps else 0
            terms[:, flat, number] = a[_at(source)] * w[_at(tap)]
    return terms


def _meeting_terms(
    axes: tuple[definition.AxisParameters, ...], x: np.ndarray, g: np.ndarray, tap: tuple[int, ...]
) -> np.ndarray:
    """Return ``x * g`` of what meets in a tap: samples, output positions."""
    moved = np.zeros(g.shape, np.result_type(x, g))
    pairs = [definition.by_tap(axis)[t] for axis, t in zip(axes, tap, strict=True)]
    moved[np.ix_(np.arange(len(g)), *(o for _, o in pairs))] = x[np.ix_(np.arange(len(x)), *(i for i, _ in pairs))]
    return (moved * g).reshape(len(g), -1)


def _at(index: tuple[int, ...]) -> Any:
    return (slice(None), *index)
