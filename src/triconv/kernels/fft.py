"""Fourier transforms: for kernels so long that multiplying out costs more.

With x padded to the extent ``E`` of all windows, and the kernel spread by its dilation, a convolution is a circular
correlation of any length ``N >= E`` (no wrapped product reaches a window that is kept)::

    y[o] = ifft(fft(x) * conj(fft(w*)))[stride * o]        gw[t] = ifft(fft(x) * conj(fft(g*)))[dilation * t]

where ``fft(a*) = conj(fft(conj(a)))`` conjugates a complex factor twice, so that nothing is. A signal much longer than the
kernel goes in overlapping segments (overlap-save [1]_). About ``E * log2(E)`` operations per sample and channel instead of
``kernel * output``.

The error is bounded norm by norm, not element by element: at most ``4 * log2(N) * u`` times the product of the 2-norms of the
operands, with the unit roundoff ``u`` of the transforms [2]_. So a zero may come out as a number near zero, and a NaN or an
infinity spreads over all its sample. On a CPU float32 is transformed in float64, which puts this bound below the rounding of a
float32 result of that size. On a GPU, where float64 takes 2 to 64 times as long, float32 is transformed as it is, and so is
half width after it was widened: there ``u`` is 2**-24, and small integers come out near integers, not exact. What is as wide as
float64 or wider is transformed as it is.

References
----------
.. [1] Oppenheim and Schafer, *Discrete-Time Signal Processing*, 3rd ed., section 8.7.3.
.. [2] Higham, *Accuracy and Stability of Numerical Algorithms*, 2nd ed., section 24.1.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from triconv.backends.array_operations import permute_dims
from triconv.backends.base import Standard
from triconv.geometry import Geometry
from triconv.geometry.integers import dilated
from triconv.kernels import blocks, polyphase
from triconv.kernels.polyphase import samples_last
from triconv.kernels.problem import Problem
from triconv.kernels.schedule import Cost, PhaseSchedule, Schedule, by_phases, counted
from triconv.kernels.target import Target

Array = Any

RATIONALE = "a long kernel"


def conv(x: Array, w: Array, schedule: Schedule, lib: Standard) -> Array:
    """Correlate along the input, one phase at a time."""
    return polyphase.conv(_conv, x, w, schedule, lib)


def conv_input_vjp(g: Array, w: Array, schedule: Schedule, lib: Standard) -> Array:
    """`conv` of the transposed geometry."""
    return conv(g, polyphase.transposed(w, lib), schedule, lib)


def conv_weight_vjp(g: Array, x: Array, schedule: Schedule, lib: Standard) -> Array:
    """Correlate the input with the cotangent; the sum over samples is taken of the spectra."""
    return polyphase.conv_weight_vjp(_weight_vjp, g, x, schedule, lib)


def fast_length(least: int) -> int:
    """The smallest even number from `least` on without prime factors above 5."""
    best = 1 << max(1, (least - 1).bit_length())
    five = 1
    while five < best:
        three = five
        while three < best:
            two = 2 << max(0, (-(-least // (2 * three)) - 1).bit_length())
            best = min(best, two * three)
            three *= 3
        five *= 5
    return best


def sizes(geometry: Geometry) -> tuple[int, ...]:
    """Lengths of the transforms of a convolution by windows: each covers what its windows cover."""
    return tuple(fast_length(axis.stride * (axis.output_size - 1) + axis.dilated_kernel) for axis in geometry.axes)


def segment(geometry: Geometry, span: int) -> int:
    """How many outputs of the first axis to compute at a time: what a few kernels span, or 0 if that is most of the signal."""
    axis = geometry.axes[0]
    rows = -(-span * axis.dilated_kernel // axis.stride)
    return rows if 2 * rows < axis.output_size else 0


def _points(geometry: Geometry, rows: int) -> int:
    """Points of the transform of a segment of so many outputs of the first axis; 0 for all of them."""
    first, *others = geometry.axes
    length = fast_length(first.stride * ((rows or first.output_size) - 1) + first.dilated_kernel)
    return length * math.prod(sizes(Geometry(tuple(others))))


def _conv(x: Array, w: Array, geometry: Geometry, how: PhaseSchedule, lib: Standard) -> Array:
    """`conv` of one phase and block."""

    def correlated(x: Array, part: Geometry) -> Array:
        keep = [slice(0, axis.stride * (axis.output_size - 1) + 1, axis.stride) for axis in part.axes]
        return _correlated(x, w, part, [axis.dilation for axis in part.axes], keep, how, lib)

    return blocks.map_rows(correlated, x, geometry, how.rows, lib)


def _weight_vjp(g: Array, x: Array, geometry: Geometry, how: PhaseSchedule, lib: Standard) -> Array:
    """`conv_weight_vjp` of one phase and block: the sum over the samples is one over channels, once the two are exchanged."""

    def correlated(g: Array, x: Array, part: Geometry) -> Array:
        keep = [slice(0, axis.dilation * (axis.kernel_size - 1) + 1, axis.dilation) for axis in part.axes]
        x, g = samples_last(x, lib), samples_last(g, lib)
        return samples_last(_correlated(x, g, part, [axis.stride for axis in part.axes], keep, how, lib), lib)

    return blocks.sum_rows(correlated, g, x, geometry, how.rows, lib)


def _correlated(
    x: Array, a: Array, geometry: Geometry, steps: list[int], keep: list[slice], how: PhaseSchedule, lib: Standard
) -> Array:
    """``sum over c of x[n, c] * a[k, c]``, with the elements of `a` `steps` apart, at the places to keep."""
    shape = sizes(geometry)
    with contextlib.nullcontext() if how.own_width else lib.wide():
        wide = x.dtype if how.own_width else _wide(x, lib)
        fx = _transformed(lib.xp.astype(x, wide), geometry, shape, lib)
        fa = _conjugate(lib.xp.astype(a, wide), steps, shape, lib)
        y = _inverse(_products(fa, fx, lib, is_fused=how.fused_products), x, shape, lib)
        return lib.xp.astype(y[(..., *keep)], x.dtype)


def _wide(x: Array, lib: Standard) -> Any:
    """The dtype to transform in: with the bits of float64 at least."""
    bits = lib.xp.finfo(x.dtype).bits
    if bits > 64:
        return x.dtype
    return lib.xp.complex128 if lib.xp.isdtype(x.dtype, "complex floating") else lib.xp.float64


def _transformed(x: Array, geometry: Geometry, shape: tuple[int, ...], lib: Standard) -> Array:
    ends = [n - axis.input_size - axis.pad_lo for axis, n in zip(geometry.axes, shape, strict=True)]
    x = lib.pad(x, [(axis.pad_lo, end) for axis, end in zip(geometry.axes, ends, strict=True)])
    axes = tuple(range(x.ndim - len(shape), x.ndim))
    if lib.xp.isdtype(x.dtype, "complex floating"):
        return lib.xp.fft.fftn(x, axes=axes)
    return lib.xp.fft.rfftn(x, axes=axes)


def _conjugate(a: Array, steps: list[int], shape: tuple[int, ...], lib: Standard) -> Array:
    """``conj(fft(conj(a)))`` of `a` with its elements `steps` apart: the transform that correlates and conjugates nothing."""
    front, places = a.shape[: a.ndim - len(shape)], [slice(0, None, step) for step in steps]
    spread = tuple(dilated(size, step) for size, step in zip(a.shape[len(front) :], steps, strict=True))
    if spread != a.shape[len(front) :]:
        a = lib.interleave([a], [tuple(places)], spread)
    a = lib.pad(a, [(0, n - size) for n, size in zip(shape, spread, strict=True)])
    axes = tuple(range(len(front), a.ndim))
    if lib.xp.isdtype(a.dtype, "complex floating"):
        return lib.xp.conj(lib.xp.fft.fftn(lib.xp.conj(a), axes=axes))
    return lib.xp.conj(lib.xp.fft.rfftn(a, axes=axes))


def _products(a: Array, b: Array, lib: Standard, *, is_fused: bool) -> Array:
    """``sum over c of a[k, c] b[n, c]`` at every frequency, shape (groups, n, k, *frequencies).

    Where it `is_fused`, element by element: matrix products would have to be brought in order.
    """
    if a.shape[2] == 1:
        return a[:, None, :, 0, ...] * b[:, :, 0, None, ...]
    if is_fused:
        return lib.xp.sum(a[:, None, ...] * b[:, :, None, ...], axis=3)
    a, b = (permute_dims(o, (0, *range(3, o.ndim), 1, 2), lib.xp) for o in (a, b))
    product = lib.matmul_transposed(b, a)  # (groups, *frequencies, n, k)
    last = product.ndim - 1
    return permute_dims(product, (0, last - 1, last, *range(1, last - 1)), lib.xp)


def _inverse(y: Array, like: Array, shape: tuple[int, ...], lib: Standard) -> Array:
    axes = tuple(range(y.ndim - len(shape), y.ndim))
    if lib.xp.isdtype(like.dtype, "complex floating"):
        return lib.xp.fft.ifftn(y, axes=axes)
    return lib.xp.fft.irfftn(y, s=shape, axes=axes)


# ---- schedules


def obstacle(problem: Problem, _target: Target) -> str | None:
    """Return why it cannot compute a problem, if so."""
    if problem.kind == "integer":
        return "a Fourier transform of integers is not exact"
    return None if problem.geometry.axes else "there is no spatial axis to transform"


def caution(problem: Problem, target: Target) -> str | None:
    """Return why it is not chosen unless it is asked for, if so."""
    is_short = problem.taps < target.fft_taps
    return "its error bound is norm by norm, which a short kernel is not worth" if is_short else None


def schedules(problem: Problem, target: Target) -> Iterator[Schedule]:
    """One: in segments where the signal is far longer than the kernel; all at once on a GPU, where a loop launches more."""
    schedule, view = by_phases("fft", "spectra", problem, target)
    parts = [geometry for geometry, _ in counted(view.geometry, target)]
    if target.kind == "gpu":
        how = PhaseSchedule(own_width=True, fused_products=view.c * view.k <= target.vector_channels)
        temporary = _on_a_gpu(schedule, view, target)
        samples, groups = blocks.block_of(
            view, temporary / (view.n * view.groups), _most_on_a_gpu(problem, target), target
        )
        yield replace(schedule, phases=(how,) * len(parts), samples=samples, groups=groups)
        return
    phases = tuple(PhaseSchedule(rows=segment(geometry, target.fft_span)) for geometry in parts)
    points = max(_points(geometry, how.rows) for geometry, how in zip(parts, phases, strict=True))
    size = 8 * points * (view.c + view.k) / view.itemsize
    most = target.elements(target.spectrum_bytes, view.itemsize, view.bytes_of["x"] // view.itemsize)
    samples, groups = blocks.block_of(view, size, most, target)
    yield replace(schedule, phases=phases, samples=samples, groups=groups)


def _most_on_a_gpu(problem: Problem, target: Target) -> float:
    """Bytes up to which they stand there all at once: as much as the planner allows to operands of the transforms' width."""
    return 2.0 * problem.bytes * max(1, 4 / problem.itemsize) + target.memory


def _on_a_gpu(schedule: Schedule, view: Problem, target: Target) -> float:
    """Bytes of the signals and spectra of a phase that stand in memory at once."""
    width = max(4, view.itemsize)
    points = max(math.prod(sizes(geometry)) for geometry, _ in counted(schedule.geometry, target))
    signals = view.n * max(view.c, view.k) + view.c * view.k
    return 2.0 * width * points * signals * view.groups


def cost(schedule: Schedule, problem: Problem, target: Target) -> Cost:
    """Transforms of the three tensors, and their products."""
    view = replace(problem.by_windows(), geometry=schedule.geometry)
    pairs, points, amount = view.n * (view.c + view.k) + view.c * view.k, 0.0, 0.0
    for geometry, count, how in schedule.counted():
        segments = -(-geometry.output_size[0] // how.rows) if how.rows else 1
        size = _points(geometry, how.rows)
        points += count * segments * size * problem.groups
        amount += count * segments * size * math.log2(max(2, size)) * pairs * problem.groups
    products = 4 * points * view.n * view.c * view.k / 16
    # a compiler takes long over each transform: one loop of segments is worth it, one per phase is not
    alone, per_phase = target.fft_operations
    operations = alone if view.phases == 1 else per_phase * view.phases
    if target.kind != "gpu":
        moved = 16.0 * points * pairs
        return Cost("transform", amount + products, moved, 8 * target.spectrum_bytes, operations)
    # each is padded, transformed in two passes, multiplied, and transformed again in two
    moved = 4.0 * max(4, view.itemsize) * points * pairs
    whole = _on_a_gpu(schedule, view, target)
    temporary = min(whole, 2.0 * problem.bytes + target.memory)
    blocks_ = -(-view.n * view.groups // ((schedule.samples or view.n) * (schedule.groups or view.groups)))
    each = 8 if schedule.phases[0].fused_products else 14  # products bring all spectra in order
    return Cost("transform", amount + products, moved, temporary, operations, each * view.phases * blocks_)
