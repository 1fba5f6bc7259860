"""Hypotheses that say: the operands were changed first, or the geometry was another one.

Each gives other `Facts`, which predict the value and every derivative of somebody who made that mistake throughout. To add
one, yield it from a function in `TABLES`.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from triconv.checking.convolution import Facts, Problem
from triconv.checking.loops import Numbers, output_size

Hypotheses = Iterator[tuple[str, str, Facts]]
"""The name of each, the sentence that helps, and the facts."""


def misunderstandings(problem: Problem) -> Hypotheses:
    """Every hypothesis that says: the operands were changed first, or the geometry was another one."""
    for table in TABLES:
        yield from table(problem.facts, problem)


def remainder(a: Numbers) -> int:
    """By how many positions the padded input is longer than its windows reach."""
    padded = a.input_dilation * max(0, a.input_size - 1) + 1 + a.pad_lo + a.pad_hi
    return (padded - a.dilation * (a.kernel_size - 1) - 1) % a.stride


def _flips(f: Facts, problem: Problem) -> Hypotheses:  # noqa: ARG001
    axes = tuple(range(2, 2 + len(f.axes)))
    if axes:
        what = "the kernel is flipped against this operator, which is cross-correlation: reverse its spatial axes, or do not"
        yield "kernel flip", what, f.with_change("w", lambda w: np.flip(w, axes))
    for n in range(1, len(axes)):
        for some in itertools.combinations(axes, n):
            names = ", ".join(str(axis - 2) for axis in some)
            what = f"the kernel is flipped in spatial axis {names} alone"
            yield "kernel flip in one axis", what, f.with_change("w", lambda w, some=some: np.flip(w, some))


def _geometry(f: Facts, problem: Problem) -> Hypotheses:
    def every(change: Callable[[Numbers], dict[str, int]], which: Any = None) -> Facts:
        axes = []
        for number, a in enumerate(f.axes):
            new = a._replace(**change(a)) if which is None or number in which else a
            if problem.result == "x":  # the size of a transposed convolution's result follows from the rest
                reach = new.stride * (output_size(a) - 1) + new.dilation * (new.kernel_size - 1) + 1
                over = min(remainder(a), new.stride - 1)
                new = new._replace(input_size=max(0, reach + over - new.pad_lo - new.pad_hi))
            axes.append(new)
        return replace(f, axes=tuple(axes))

    if problem.result == "x":  # as torch spells it, padding is the same on both sides but for the output padding
        yield "output_padding ignored", "the output padding is ignored", every(lambda a: {"pad_hi": a.pad_lo})
    yield (
        "stride and dilation exchanged",
        "stride and dilation are exchanged",
        every(lambda a: {"stride": a.dilation, "dilation": a.stride}),
    )
    yield "stride ignored", "the stride is ignored", every(lambda a: {"stride": 1})
    yield "dilation ignored", "the dilation is ignored", every(lambda a: {"dilation": 1})
    yield "dilation ignored", "the dilation of the input is ignored", every(lambda a: {"input_dilation": 1})
    yield (
        "padding low and high exchanged",
        "padding before and after are exchanged",
        every(lambda a: {"pad_lo": a.pad_hi, "pad_hi": a.pad_lo}),
    )
    for number in range(len(f.axes)) if len(f.axes) > 1 else ():
        yield (
            "padding low and high exchanged",
            f"padding before and after are exchanged in spatial axis {number}",
            every(lambda a: {"pad_lo": a.pad_hi, "pad_hi": a.pad_lo}, {number}),
        )
    yield "padding ignored", "the padding is ignored", every(lambda a: {"pad_lo": 0, "pad_hi": 0})
    subsets = [None, *({number} for number in range(len(f.axes)))] if len(f.axes) > 1 else [None]

    def off(lo: int, hi: int) -> Callable[[Numbers], dict[str, int]]:
        return lambda a: {"pad_lo": a.pad_lo + lo, "pad_hi": a.pad_hi + hi}

    for lo, hi in ((1, -1), (-1, 1), (1, 1), (-1, -1), (0, 1), (0, -1), (1, 0), (-1, 0)):
        for which in subsets:
            where = "" if which is None else f" in spatial axis {min(which)}"
            what = f"the padding is off by {lo:+d} before and {hi:+d} after{where}"
            yield "padding off by one", what, every(off(lo, hi), which)
    if len(f.axes) > 1:
        for field in ("stride", "dilation", "padding"):
            names = ("pad_lo", "pad_hi") if field == "padding" else (field,)
            turned = [
                a._replace(**{n: getattr(b, n) for n in names}) for a, b in zip(f.axes, f.axes[::-1], strict=True)
            ]
            yield (
                "spatial axes swapped",
                f"the {field} of the spatial axes is exchanged",
                replace(f, axes=tuple(turned)),
            )


def _modes(f: Facts, problem: Problem) -> Hypotheses:  # noqa: ARG001
    if f.mode == "zeros":
        return
    for mode in ("zeros", "reflect", "replicate", "circular"):
        if mode != f.mode:
            axes = f.axes
            pads: Any = f.pads
            if mode == "zeros":
                axes = tuple(
                    a._replace(input_size=a.input_size - lo - hi, pad_lo=lo, pad_hi=hi)
                    for a, (lo, hi) in zip(axes, pads, strict=True)
                )
                pads = ()
            yield "padding mode", f"the borders are of mode {mode!r}", replace(f, axes=axes, mode=mode, pads=pads)


def _orders(f: Facts, problem: Problem) -> Hypotheses:
    shapes = {r: problem.torch_shape(r, problem.result_shape(r)) for r in "xwg"}
    for role in "wxg":
        spatial = shapes[role][2:]
        for a, b in itertools.combinations(range(2, 2 + len(spatial)), 2):
            if shapes[role][a] == shapes[role][b] and shapes[role][a] > 1:
                what = f"spatial axes {a - 2} and {b - 2} of {_tensor(role)} are exchanged"
                yield "spatial axes swapped", what, f.with_change(role, lambda t, a=a, b=b: np.swapaxes(t, a, b))
    k, c = shapes["w"][:2]
    if k == c:
        what = "input and output channels of the kernel are exchanged"
        yield "channels swapped", what, f.with_change("w", lambda w: np.swapaxes(w, 0, 1))
    else:
        what = "the kernel is read with its channel axes in the other order"

        def back(w: np.ndarray) -> np.ndarray:
            return np.swapaxes(w, 0, 1).reshape(k, c, *w.shape[2:])

        yield (
            "channels swapped",
            what,
            f.with_change("w", lambda w: np.swapaxes(w.reshape(c, k, *w.shape[2:]), 0, 1), back),
        )
    if f.groups > 1:
        for role, axis in (("x", 1), ("g", 1), ("w", 0)):
            size = shapes[role][axis]
            for name, order in (
                ("interleaved", np.arange(size).reshape(f.groups, -1).T.ravel()),
                ("interleaved", np.arange(size).reshape(-1, f.groups).T.ravel()),
                ("in reverse", np.arange(size).reshape(f.groups, -1)[::-1].ravel()),
                ("shifted by one group", np.roll(np.arange(size), size // f.groups)),
                ("shifted by one group", np.roll(np.arange(size), -size // f.groups)),
            ):
                what = f"the groups in the channels of {_tensor(role)} are {name}"
                yield "groups permuted", what, f.with_change(role, *_permutation(order, axis))
        yield (
            "only the first group",
            "every group has the input of the first",
            f.with_change("x", *_first_of("x", f, shapes)),
        )
        yield (
            "only the first group",
            "every group has the kernel of the first",
            f.with_change("w", *_first_of("w", f, shapes)),
        )
    for role, axis, letter in (
        ("x", 1, "channels"),
        ("w", 0, "output channels"),
        ("w", 1, "input channels"),
        ("g", 1, "channels"),
    ):
        size = shapes[role][axis]
        for name, order in (
            ("reversed", np.arange(size)[::-1]),
            ("shifted by one", np.roll(np.arange(size), 1)),
            ("shifted by one", np.roll(np.arange(size), -1)),
        ):
            what = f"the {letter} of {_tensor(role)} are {name}"
            yield "channels permuted", what, f.with_change(role, *_permutation(order, axis))


def _layouts(f: Facts, problem: Problem) -> Hypotheses:
    for role in "xwg":
        shape = problem.torch_shape(role, problem.result_shape(role))
        for order in itertools.permutations(range(len(shape))):
            if order == tuple(range(len(shape))) or len(shape) > 5:
                continue
            moved = tuple(shape[axis] for axis in order)
            inverse = tuple(np.argsort(order))

            def misread(t: np.ndarray, moved: Any = moved, inverse: Any = inverse) -> np.ndarray:
                return t.reshape(moved).transpose(inverse)

            def back(t: np.ndarray, order: Any = order, shape: Any = shape) -> np.ndarray:
                return t.transpose(order).reshape(shape)

            def reshaped(t: np.ndarray, order: Any = order, shape: Any = shape) -> np.ndarray:
                return t.transpose(order).reshape(shape)

            what = f"{_tensor(role)} is reshaped where it must be transposed"
            yield "layout misread", what, f.with_change(role, misread, back)
            yield "layout misread", what, f.with_change(role, reshaped, misread)


def _drops(f: Facts, problem: Problem) -> Hypotheses:
    shapes = {r: problem.torch_shape(r, problem.result_shape(r)) for r in "xwg"}
    for role in "wxg":
        for axis in range(2, len(shapes[role])):
            for index, name in ((0, "first"), (-1, "last")):
                if shapes[role][axis] > 1:
                    what = f"the {name} position of {_tensor(role)} in spatial axis {axis - 2} is left out"
                    yield "border dropped", what, f.with_change(role, _without(axis, index))
    for role, axis in (("x", 1), ("g", 1), ("w", 0), ("w", 1), ("x", 0)):
        for index, name in ((0, "first"), (-1, "last")):
            if shapes[role][axis] > 1:
                letter = "sample" if (role, axis) == ("x", 0) else "channel"
                cause = "one element" if letter == "channel" else "only the first sample"
                what = f"the {name} {letter} of {_tensor(role)} (axis {axis}) is left out"
                yield cause, what, f.with_change(role, _without(axis, index))
    if shapes["x"][0] > 1:
        first = lambda t: np.broadcast_to(t[:1], t.shape)  # noqa: E731

        def summed(t: np.ndarray) -> np.ndarray:
            out = np.zeros_like(t)
            out[0] = t.sum(0)
            return out

        for role in "xg":
            yield (
                "only the first sample",
                f"every sample of {_tensor(role)} is the first",
                f.with_change(role, first, summed),
            )
    for role in "w":
        for position in itertools.product(*map(range, shapes[role][2:])):
            what = f"tap {position} is left out"
            yield "one element", what, f.with_change(role, _without_position(position))


TABLES = (_flips, _geometry, _modes, _orders, _drops, _layouts)


def _tensor(role: str) -> str:
    return {"x": "x", "w": "the kernel", "g": "the output (or its cotangent)"}[role]


def _permutation(order: np.ndarray, axis: int) -> tuple[Any, Any]:
    inverse = np.argsort(order)
    return (lambda t: np.take(t, order, axis)), (lambda t: np.take(t, inverse, axis))


def _without(axis: int, index: int) -> Any:
    def change(t: np.ndarray) -> np.ndarray:
        t = t.copy()
        t[(slice(None),) * axis + (index,)] = 0
        return t

    return change


def _without_position(position: tuple[int, ...]) -> Any:
    at: Any = (..., *position)

    def change(t: np.ndarray) -> np.ndarray:
        t = t.copy()
        t[at] = 0
        return t

    return change


def _first_of(role: str, f: Facts, shapes: dict[str, tuple[int, ...]]) -> tuple[Any, Any]:
    axis = 1 if role == "x" else 0
    size = shapes[role][axis] // f.groups

    def forth(t: np.ndarray) -> np.ndarray:
        return np.concatenate([np.take(t, range(size), axis)] * f.groups, axis)

    def back(t: np.ndarray) -> np.ndarray:
        out = np.zeros_like(t)
        total = sum(np.split(t, f.groups, axis))
        out[(slice(None),) * axis + (slice(0, size),)] = total
        return out

    return forth, back
