"""The framework's own convolution, called with contractions that it is fast at and with no zeros inserted.

What is asked for is brought to a plain strided convolution, one per phase (an input VJP by the transposed geometry). Where
there would be too many phases, the framework inserts the zeros of the input's dilation itself. Where it has a transposed
convolution that inserts no zeros (torch, and XLA on a GPU, which hands it to cuDNN), that serves for an input VJP, and for a
convolution whose input is dilated and whose transposed geometry is therefore a plain one. The rounding is the framework's; the
multiply-adds are those of `direct` and those with the padding.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

from triconv.backends.base import Standard
from triconv.geometry import Geometry, Pads
from triconv.kernels import polyphase, tap_loops, tiles
from triconv.kernels.problem import Problem, Work

Array = Any

# outputs of a convolution from which a CPU is busy whatever their channels are
LARGE = 3e6


def conv(x: Array, w: Array, geometry: Geometry, lib: Standard) -> Array:
    """One convolution a phase, or a transposed one."""
    if lib.transposes(x) and _is_mirrored(geometry):
        return conv_input_vjp(x, polyphase.mirrored(w, lib), geometry.mirrored(), lib)
    if _dilates(geometry, type(lib)):
        return lib.vendor_conv(geometry, x, w)
    x, geometry = polyphase.with_few(x, geometry, lib)
    parts = list(geometry.phases())
    outputs = [lib.vendor_conv(*_cropped(x, part.geometry, lib), w[(..., *part.taps)]) for part in parts]
    return polyphase.join(outputs, [part.output for part in parts], geometry.output_size, lib)


def conv_input_vjp(g: Array, w: Array, geometry: Geometry, lib: Standard) -> Array:
    """A transposed convolution, or `conv` of the mirrored geometry."""
    if lib.transposes(g) and all(axis.input_dilation == 1 for axis in geometry.axes):
        whole, pads = _uncropped(geometry)
        return lib.pad(lib.vendor_input_vjp(whole, g, w), [(-lo, -hi) for lo, hi in pads])
    return conv(g, polyphase.mirrored(w, lib), geometry.mirrored(), lib)


def conv_weight_vjp(g: Array, x: Array, geometry: Geometry, lib: Standard) -> Array:
    """One weight gradient a phase."""
    if polyphase.are_exchanged(geometry):
        return polyphase.mirrored(conv_weight_vjp(x, g, geometry.mirrored(), lib), lib)
    if _dilates(geometry, type(lib)):
        return lib.vendor_weight_vjp(geometry, x, g)
    x, geometry = polyphase.with_few(x, geometry, lib)
    parts = list(geometry.phases())
    kernels = [lib.vendor_weight_vjp(*_cropped(x, part.geometry, lib), g[(..., *part.output)]) for part in parts]
    return polyphase.join(kernels, [part.taps for part in parts], geometry.kernel_size, lib)


def _dilates(geometry: Geometry, backend: type[Standard]) -> bool:
    """Whether the framework is to dilate the input, by the zeros, since phases would be too many; not where it crops."""
    is_cropped = any(min(axis.pad_lo, axis.pad_hi) < 0 for axis in geometry.axes)
    return backend.vendor_dilates and not is_cropped and geometry.count_phases() > polyphase.MOST


def _is_mirrored(geometry: Geometry) -> bool:
    """Whether the input is dilated and the mirrored geometry is a plain one."""
    dilated = any(axis.input_dilation > 1 for axis in geometry.axes)
    return dilated and all(axis.stride == 1 for axis in geometry.axes)


def _uncropped(geometry: Geometry) -> tuple[Geometry, Pads]:
    """The convolution without cropping, and the padding that crops: past it XLA's on the CPU reads what is there."""
    pads = tuple((axis.pad_lo, axis.pad_hi) if min(axis.pad_lo, axis.pad_hi) < 0 else (0, 0) for axis in geometry.axes)
    axes = (
        replace(axis, input_size=axis.padded_size, pad_lo=0, pad_hi=0) if pad != (0, 0) else axis
        for axis, pad in zip(geometry.axes, pads, strict=True)
    )
    return Geometry(tuple(axes), geometry.groups), pads


def _cropped(x: Array, geometry: Geometry, lib: Standard) -> tuple[Geometry, Array]:
    """The same, with the input that it takes."""
    whole, pads = _uncropped(geometry)
    return whole, lib.pad(x, pads)


def obstacle(problem: Problem, backend: type[Standard]) -> str | None:
    """Return why it cannot compute a problem, if so."""
    if backend.vendor_axes is None:
        return f"{backend.name} has no convolution of its own"
    steps = (step for axis in problem.geometry.axes for step in (axis.stride, axis.dilation, axis.input_dilation))
    if backend.vendor_steps is not None and max(steps, default=1) > backend.vendor_steps:
        return f"the framework's own convolution was seen to fail at steps above {backend.vendor_steps:,}"
    if problem.kind != "real":
        return "the framework's own convolution is for real floats"
    return (
        None if len(problem.geometry.axes) in backend.vendor_axes else "the framework's own convolution has other axes"
    )


def work(problem: Problem) -> Work:
    """One convolution a phase: fast for many channels, and without groups."""
    if problem.device == "gpu":
        return _work_on_gpu(problem)
    if not problem.compiled:
        return _work_called(problem)
    windows = problem.by_phases()
    amount = windows.padded_multiply_adds * (1 + 2 / windows.c) * (1 + 2 / windows.k)
    is_weight_vjp = windows.contraction == "conv_weight_vjp"
    if windows.taps > tap_loops.UNROLLED and not tiles.is_tiling(windows.geometry):
        amount /= 1 + 2 / windows.c  # its products sum over the taps too, and those are many
        if is_weight_vjp:  # but the weight VJP's over the outputs, at as many places as there are taps
            amount *= max(1, (64 / windows.k) ** 2)
    outputs = windows.n * windows.k * math.prod(windows.geometry.output_size) / windows.phases
    is_large = not is_weight_vjp and outputs >= LARGE
    if len(windows.geometry.axes) == 1:
        amount *= 0.85 * (1 + min(0.5, (10 if is_large else 40) / windows.k))
    else:
        amount *= (1 + min(1, (16 if is_large else 80) / windows.k)) * (1.25 if is_weight_vjp else 1)
    if len(windows.geometry.axes) > 2:
        amount *= 5
    if len(windows.geometry.axes) > 1 and windows.phases > 2:
        amount *= 2
    if all(axis.kernel_size <= axis.stride for axis in windows.geometry.axes):
        amount *= 2
    if problem.groups > 1:
        amount *= 50
    if problem.itemsize == 8:  # neither XLA nor torch has kernels of their own for doubles
        amount *= 2.5
    moved = 1.0 * windows.bytes_of["x"] + windows.bytes_of["g"]  # channels last and back
    return Work("vendor", amount, moved, problem.bytes, 8 * windows.phases, "the framework's own")


def _work_called(problem: Problem) -> Work:
    """One call of a library with kernels for most layers.

    Each is as fast as the machine multiplies; slower, as measured, are groups of few channels (the weight VJPs above all, of
    groups of one), and doubles.
    """
    is_weight_vjp = problem.contraction == "conv_weight_vjp"
    is_plain = all(axis.input_dilation == 1 for axis in problem.geometry.axes) or _is_mirrored(problem.geometry)
    amount = 1.0 * problem.padded_multiply_adds
    if problem.groups > 1:
        amount *= 35 if is_weight_vjp and problem.c == 1 else 1 + 2 * min(1, 16 / min(problem.c, problem.k))
    if problem.itemsize == 8:
        amount *= 2.5
    calls = 1 if is_plain else problem.by_phases().phases
    return Work("vendor", amount, 0.0, problem.bytes, 2 * calls, "the library's own")


def _work_on_gpu(problem: Problem) -> Work:
    """By tiles of channels; XLA makes a weight VJP cuDNN's own unless its taps are dilated or there are groups."""
    axes = problem.geometry.axes
    amount = problem.padded_multiply_adds * (1 + 4 / problem.c) * (1 + 4 / problem.k)
    if problem.groups > 1:
        amount *= 16
    if problem.contraction == "conv_weight_vjp" and (problem.groups > 1 or any(axis.dilation > 1 for axis in axes)):
        amount *= 16
    is_plain = all(axis.input_dilation == 1 for axis in axes) or _is_mirrored(problem.geometry)
    return Work("vendor", amount, 0.0, problem.bytes, 8 * (1 if is_plain else problem.phases), "the framework's own")
