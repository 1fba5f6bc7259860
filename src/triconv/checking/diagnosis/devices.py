"""Why a result that several devices computed is wrong: a sum over them or a halo is missing, or is there twice.

Each hypothesis splits `T` (see `convolution.py`) into blocks, one per device, and predicts what is left when some pairs of
blocks do not meet: without halos only the inputs and outputs of one device do.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from triconv.checking.findings.causes import Cause, Hypothesis
from triconv.checking.findings.diagnosis_data import Diagnosis
from triconv.checking.findings.protocol import Role
from triconv.checking.oracles.comparison import WrongResult, factor, same
from triconv.checking.oracles.convolution import ConvolutionModel, ConvolutionProblem, ShardedTensorAxis
from triconv.geometry.partition_spec import count_parts, read_spec
from triconv.operators.layout import HEAD


def sharded_axes(problem: ConvolutionProblem, mesh: Any, specs: tuple[Any, ...]) -> tuple[ShardedTensorAxis, ...]:
    """Return the axes of the arrays that the specs shard.

    Raises
    ------
    TypeError, ValueError
        If they are no specs of these arrays on this mesh.
    """
    if not hasattr(mesh, "axis_names") or not hasattr(mesh, "shape"):
        msg = f"`mesh` must be a jax.sharding.Mesh, got {type(mesh).__name__}"
        raise TypeError(msg)
    if len(specs) > len(problem.roles):
        msg = f"`specs` must be at most one per array, got {len(specs)} for {len(problem.roles)}"
        raise ValueError(msg)
    axes = []
    for role, spec, shape in zip(problem.roles, specs, problem.shapes, strict=False):
        entries = read_spec(spec or (), len(shape), mesh.shape, f"the spec of `{role}`")
        for number, names in enumerate(entries):
            parts = count_parts(names, mesh.shape)
            if shape[number] % parts:
                msg = f"`specs` must divide the arrays, got {shape[number]} for {parts} devices in axis {number} of `{role}`"
                raise ValueError(msg)
            if parts > 1 and role != "bias":
                axes.append(ShardedTensorAxis(Role(role), _in_torch_order(problem, role, number), parts, names))
    return tuple(axes)


def _in_torch_order(problem: ConvolutionProblem, role: str, number: int) -> int:
    return (HEAD[role] + problem.call.layout.spatial).index(problem.call.layout.letters(role)[number])


def diagnose(result: WrongResult) -> Diagnosis | None:
    """Return the first hypothesis on several devices that predicts the result, if one does."""
    if not result.has_shape:
        return None
    c = factor(result.found, result.expected)
    for count, s in {s.devices: s for s in result.problem.sharded}.items():
        for cause, hypothesis, expected in (
            (Cause.CROSS_DEVICE_MEAN, Hypothesis.DEVICE_MEAN, 1 / count),
            (Cause.SUMMED_TWICE, Hypothesis.DEVICE_SUM_TWICE, count),
        ):
            if c is not None and np.isclose(c, expected, rtol=1e-6):
                return Diagnosis(cause, hypothesis, devices=count, mesh_axes=s.mesh_axes)
    for diagnosis, terms in _hypotheses(result.problem):
        if same(np.sum([result.predicted(model) for model in terms], axis=0), result.found):
            return diagnosis
    return _at_boundaries(result)


def _hypotheses(problem: ConvolutionProblem) -> Iterator[tuple[Diagnosis, list[ConvolutionModel]]]:
    """Yield explanations, and the models whose answers add up to what is predicted."""
    m, shapes = problem.model, {r: problem.torch_shape(r, problem.result_shape(r)) for r in "xwg"}
    for s in problem.sharded:
        for device, inside in enumerate(_blocks(shapes[s.role][s.axis], s.devices)):
            diagnosis = Diagnosis(
                Cause.CROSS_DEVICE_SUM_LOST,
                Hypothesis.DEVICE_SUM_LOST,
                role=s.role,
                axis=s.axis,
                device=device,
                devices=s.devices,
                mesh_axes=s.mesh_axes,
            )
            yield diagnosis, [m.with_change(s.role, _only(s.axis, inside))]
    for s in problem.sharded:
        if s.axis < 2 or s.role == "w":
            continue
        inputs, outputs = (list(_blocks(shapes[role][s.axis], s.devices)) for role in "xg")
        until, since = [slice(0, i.stop) for i in inputs], [slice(i.start, inputs[-1].stop) for i in inputs]
        for hypothesis, sources in (
            (Hypothesis.NO_HALO, inputs),
            (Hypothesis.NO_HALO_BEFORE, since),
            (Hypothesis.NO_HALO_AFTER, until),
        ):
            terms = [
                m.with_change("x", _only(s.axis, source)).with_change("g", _only(s.axis, output))
                for source, output in zip(sources, outputs, strict=True)
            ]
            yield _halo(hypothesis, s), terms
        if (wrapped := _wrapped(m, s.axis - 2)) is not None:
            yield _halo(Hypothesis.HALO_WRAPS, s), [wrapped]


def _halo(hypothesis: Hypothesis, s: ShardedTensorAxis, positions: tuple[int, ...] | None = None) -> Diagnosis:
    return Diagnosis(
        Cause.WRONG_HALO,
        hypothesis,
        role=s.role,
        axis=s.axis,
        positions=positions,
        devices=s.devices,
        mesh_axes=s.mesh_axes,
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


def _wrapped(m: ConvolutionModel, number: int) -> ConvolutionModel | None:
    """Return the model with the padding of one axis filled from its other end."""
    a = m.axes[number]
    pads = (a.pad_lo, a.pad_hi)
    if m.mode != "zeros" or min(pads) < 0 or not any(pads) or max(pads) > a.input_size or a.input_dilation > 1:
        return None
    axes = list(m.axes)
    axes[number] = a._replace(input_size=a.input_size + sum(pads), pad_lo=0, pad_hi=0)
    every = tuple(pads if other == number else (0, 0) for other in range(len(axes)))
    return replace(m, axes=tuple(axes), mode="circular", pads=every)


def _at_boundaries(result: WrongResult) -> Diagnosis | None:
    """Explain a result that is wrong only next to the boundaries between devices, as with a halo of wrong size or place."""
    wrong = np.argwhere(result.differs())
    for s in result.problem.sharded:
        if s.axis < 2 or result.role not in ("x", "g") or not len(wrong):
            continue
        size, a = result.expected.shape[s.axis], result.problem.model.axes[s.axis - 2]
        # how far an output reaches to inputs before it and after it; an input reaches to outputs the other way round
        lo, hi = a.pad_lo, a.dilation * (a.kernel_size - 1) - a.pad_lo
        after, before, step = (lo, hi, a.stride) if result.role == "g" else (hi, lo, a.input_dilation)
        edges = [0, *(block.stop for block in _blocks(size, s.devices))]
        near = {p for edge in edges for p in range(edge + -before // step, edge - (-after // step))}
        at = set(map(int, wrong[:, s.axis]))
        if at <= near and len(near & set(range(size))) < size:
            return _halo(Hypothesis.HALO_POSITIONS, s, tuple(sorted(at)[:6]))
    return None
