"""The framework's own convolution, called with contractions that it is fast at and with no zeros inserted.

What is asked for is brought to a plain strided convolution, one a phase (an input VJP by the mirrored geometry). The
rounding is the framework's; the multiply-adds are those of `direct` and those with the padding.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from triconv.backends.standard import Standard
from triconv.geometry import Geometry
from triconv.kernels import phases
from triconv.kernels.work import Problem, Work

Array = Any


def conv(x: Array, w: Array, geometry: Geometry, lib: Standard) -> Array:
    """One convolution a phase."""
    parts = list(geometry.phases())
    outputs = [lib.vendor_conv(*_cropped(x, part.geometry, lib), w[(..., *part.taps)]) for part in parts]
    return phases.join(outputs, [part.output for part in parts], geometry.output_size, lib)


def conv_input_vjp(g: Array, w: Array, geometry: Geometry, lib: Standard) -> Array:
    """`conv` of the mirrored geometry."""
    return conv(g, phases.mirrored(w, lib), geometry.mirrored(), lib)


def conv_weight_vjp(g: Array, x: Array, geometry: Geometry, lib: Standard) -> Array:
    """One weight gradient a phase."""
    parts = list(geometry.phases())
    taps = [lib.vendor_weight_vjp(*_cropped(x, part.geometry, lib), g[(..., *part.output)]) for part in parts]
    return phases.join(taps, [part.taps for part in parts], geometry.kernel_size, lib)


def _cropped(x: Array, geometry: Geometry, lib: Standard) -> tuple[Geometry, Array]:
    """The convolution without cropping: past the end of what is cropped, XLA's on the CPU reads what is there."""
    pads = [(axis.pad_lo, axis.pad_hi) if min(axis.pad_lo, axis.pad_hi) < 0 else (0, 0) for axis in geometry.axes]
    axes = (
        replace(axis, input_size=axis.padded_size, pad_lo=0, pad_hi=0) if pad != (0, 0) else axis
        for axis, pad in zip(geometry.axes, pads, strict=True)
    )
    return Geometry(tuple(axes), geometry.groups), lib.pad(x, pads)


def obstacle(problem: Problem, backend: type[Standard]) -> str | None:
    """Return why it cannot compute a problem, if so."""
    if backend.vendor_axes is None:
        return f"{backend.name} has no convolution of its own"
    if problem.kind != "real":
        return "the framework's own convolution is for real floats"
    return (
        None if len(problem.geometry.axes) in backend.vendor_axes else "the framework's own convolution has other axes"
    )


def work(problem: Problem) -> Work:
    """One convolution a phase: fast for many channels, and without groups."""
    windows = problem.by_windows()
    amount = windows.padded_multiply_adds * (1 + 2 / windows.c) * (1 + 2 / windows.k)
    if len(windows.geometry.axes) == 1:
        amount *= 0.85 * (1 + min(0.5, 40 / windows.k))
    else:
        amount *= (1 + min(1, 80 / windows.k)) * (1.25 if windows.contraction == "conv_weight_vjp" else 1)
    if len(windows.geometry.axes) > 2:
        amount *= 5
    if len(windows.geometry.axes) > 1 and windows.phases > 2:
        amount *= 2
    if all(axis.kernel_size <= axis.stride for axis in windows.geometry.axes):
        amount *= 2
    if problem.groups > 1:
        amount *= 50
    moved = 1.0 * windows.bytes_of["x"] + windows.bytes_of["g"]  # channels last and back
    return Work("vendor", amount, moved, problem.bytes, 8 * windows.phases, "the framework's own")
