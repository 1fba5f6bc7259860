"""Why a result that several devices computed is wrong: a sum over them is missing or one too many, or a halo is.

Each hypothesis takes `T` (see `problem.py`) apart by blocks, one a device, and predicts what is left when some pairs of blocks
do not meet: without halos only the inputs and outputs of one device do.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from triconv.checking.convolution import Facts, Problem
from triconv.geometry.partition_spec import count_parts, read_spec

LETTERS = {
    ("x", 0): "batch",
    ("g", 0): "batch",
    ("x", 1): "input channels",
    ("w", 1): "input channels",
    ("w", 0): "output channels",
    ("g", 1): "output channels",
}


class Shared(NamedTuple):
    """An axis of a tensor, in torch's order, that is shared out in equal blocks over devices."""

    role: str
    axis: int
    parts: int
    names: tuple[str, ...]
    """The axes of the mesh."""

    @property
    def what(self) -> str:
        """In words."""
        return LETTERS.get((self.role, self.axis), f"spatial axis {self.axis - 2}")


def shared_axes(problem: Problem, mesh: Any, specs: tuple[Any, ...]) -> tuple[Shared, ...]:
    """Read the specs of the arrays.

    Raises
    ------
    TypeError, ValueError
        If they are no specs of these arrays on this mesh.
    """
    if not hasattr(mesh, "axis_names") or not hasattr(mesh, "shape"):
        msg = f"`mesh` must be a jax.sharding.Mesh, got {type(mesh).__name__}"
        raise TypeError(msg)
    if len(specs) > len(problem.roles):
        msg = f"`specs` must be at most one an array, got {len(specs)} for {len(problem.roles)}"
        raise ValueError(msg)
    found = []
    for role, spec, shape in zip(problem.roles, specs, problem.shapes, strict=False):
        entries = read_spec(spec or (), len(shape), mesh.shape, f"the spec of `{role}`")
        for number, names in enumerate(entries):
            parts = count_parts(names, mesh.shape)
            if shape[number] % parts:
                msg = f"`specs` must divide the arrays, got {shape[number]} for {parts} devices in axis {number} of `{role}`"
                raise ValueError(msg)
            if parts > 1 and role != "bias":
                found.append(Shared(role, _in_torch_order(problem, role, number), parts, names))
    return tuple(found)


def _in_torch_order(problem: Problem, role: str, number: int) -> int:
    from triconv.operators.layout import HEAD

    return (HEAD[role] + problem.call.layout.spatial).index(problem.call.layout.letters(role)[number])


def diagnose(symptom: Any) -> tuple[str, str] | None:
    """Cause and sentence of the first hypothesis that predicts the result, if one does."""
    from triconv.checking.diagnosis import factor, same

    if symptom.found.shape != symptom.expected.shape:
        return None
    shared = symptom.problem.shared
    parts = {s.parts: s for s in shared}
    c = factor(symptom.found, symptom.expected)
    for number, s in parts.items():
        over = " and ".join(map(repr, s.names))
        if c is None:
            break
        if np.isclose(c, 1 / number, rtol=1e-6):
            return (
                "cross-device mean",
                f"it is the mean over the {number} devices of mesh axis {over}, where it must be the sum",
            )
        if np.isclose(c, number, rtol=1e-6):
            return (
                "summed once too often",
                f"what is the same on the {number} devices of mesh axis {over} is summed over them",
            )
    for cause, sentence, terms in _hypotheses(symptom.problem):
        if same(sum(symptom.of(facts) for facts in terms), symptom.found):
            return cause, sentence
    return _beside_boundaries(symptom)


def _hypotheses(problem: Problem) -> Iterator[tuple[str, str, list[Facts]]]:
    """A name, a sentence, and the facts whose answers add up to what is predicted."""
    f, shapes = problem.facts, {r: problem.torch_shape(r, problem.result_shape(r)) for r in "xwg"}
    for s in problem.shared:
        size = shapes[s.role][s.axis]
        over = " and ".join(map(repr, s.names))
        for device, inside in enumerate(_blocks(size, s.parts)):
            what = (
                f"only what device {device} has of the {s.what} is in it: a sum (psum) over mesh axis {over} is missing"
            )
            yield "cross-device sum lost", what, [f.with_change(s.role, _only(s.axis, inside))]
    for s in problem.shared:
        if s.axis < 2 or s.role == "w":
            continue
        inputs, outputs = (list(_blocks(shapes[role][s.axis], s.parts)) for role in "xg")
        before, behind = [slice(0, i.stop) for i in inputs], [slice(i.start, inputs[-1].stop) for i in inputs]
        for what, sources in (
            ("no halo in it: what other devices have of {0} is taken for zero, or not sent back", inputs),
            ("no halo from the device before: what it has of {0} is taken for zero, or not sent back", behind),
            ("no halo from the device behind: what it has of {0} is taken for zero, or not sent back", before),
        ):
            terms = [
                f.with_change("x", _only(s.axis, source)).with_change("g", _only(s.axis, output))
                for source, output in zip(sources, outputs, strict=True)
            ]
            yield "wrong halo", f"there is {what.format(s.what)}", terms
        if (wrapped := _wrapped(f, s.axis - 2)) is not None:
            yield (
                "wrong halo",
                f"the halos wrap around: beyond the ends of {s.what} stands the other end, not zeros",
                [wrapped],
            )


def _blocks(size: int, parts: int) -> Iterator[slice]:
    block = -(-size // parts)
    for device in range(parts):
        yield slice(device * block, min(size, (device + 1) * block))


def _only(axis: int, inside: slice) -> Any:
    def change(t: np.ndarray) -> np.ndarray:
        out, index = np.zeros_like(t), (slice(None),) * axis + (inside,)
        out[index] = t[index]
        return out

    return change


def _wrapped(f: Facts, number: int) -> Facts | None:
    """The facts with the padding of one axis filled from its other end."""
    a = f.axes[number]
    pads = (a.pad_lo, a.pad_hi)
    if f.mode != "zeros" or min(pads) < 0 or not any(pads) or max(pads) > a.input_size or a.input_dilation > 1:
        return None
    axes = list(f.axes)
    axes[number] = a._replace(input_size=a.input_size + sum(pads), pad_lo=0, pad_hi=0)
    every = tuple(pads if other == number else (0, 0) for other in range(len(axes)))
    return replace(f, axes=tuple(axes), mode="circular", pads=every)


def _beside_boundaries(symptom: Any) -> tuple[str, str] | None:
    """Whether all that is wrong lies beside the boundaries between devices, as with a halo of wrong size or place."""
    wrong = np.argwhere(
        np.abs(symptom.found - symptom.expected) > 1e-4 * max(1, np.abs(symptom.expected).max(initial=0))
    )
    for s in symptom.problem.shared:
        if s.axis < 2 or symptom.role not in ("x", "g") or not len(wrong):
            continue
        size, a = symptom.expected.shape[s.axis], symptom.problem.facts.axes[s.axis - 2]
        # how far an output reaches to inputs before it and behind it; an input reaches to outputs the other way round
        lo, hi = a.pad_lo, a.dilation * (a.kernel_size - 1) - a.pad_lo
        behind, before, step = (lo, hi, a.stride) if symptom.role == "g" else (hi, lo, a.input_dilation)
        edges = [0, *(block.stop for block in _blocks(size, s.parts))]
        near = {p for edge in edges for p in range(edge + -before // step, edge - (-behind // step))}
        at = set(wrong[:, s.axis].tolist())
        if at <= near and len(near & set(range(size))) < size:
            where = ", ".join(map(str, sorted(at)[:6]))
            return "wrong halo", f"only positions beside the boundaries between devices are wrong, in {s.what}: {where}"
    return None
