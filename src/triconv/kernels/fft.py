"""Fourier transforms: for kernels so long that multiplying out costs more.

With x padded to the extent ``E`` of all windows, and the kernel spread by its dilation, a convolution is a circular
correlation of any length ``N >= E`` (no wrapped product reaches a window that is kept)::

    y[o] = ifft(fft(x) * conj(fft(w*)))[stride * o]        gw[t] = ifft(fft(x) * conj(fft(g*)))[dilation * t]

where ``fft(a*) = conj(fft(conj(a)))`` conjugates a complex factor twice, so that nothing is. A signal much longer than the
kernel goes in overlapping segments (overlap-save [1]_). About ``E * log2(E)`` operations a sample and channel instead of
``kernel * output``.

The error is bounded norm by norm, not element by element: about ``log2(N) * u`` times the product of the 2-norms of the
operands [2]_, so a zero may come out as a number near zero, and a NaN or an infinity spreads over all its sample. Float32 is
transformed in float64 where the library can, which puts this bound below the rounding of a float32 result of that size; what
is wider than float64 is transformed as it is.

References
----------
.. [1] Oppenheim and Schafer, *Discrete-Time Signal Processing*, 3rd ed., section 8.7.3.
.. [2] Higham, *Accuracy and Stability of Numerical Algorithms*, 2nd ed., section 24.1.
"""

from __future__ import annotations

import math
from typing import Any

from triconv.backends.base import Standard, permute_dims
from triconv.geometry import Geometry, Phase
from triconv.geometry.integers import dilated
from triconv.kernels import blocks, polyphase
from triconv.kernels.problem import Problem, Work

Array = Any

# bytes of the spectra of a block
BLOCK = 8 * 2**20
# kernels that a segment of a long signal spans
SPAN = 4


def conv(x: Array, w: Array, geometry: Geometry, lib: Standard) -> Array:
    """Correlate along the input, one phase at a time."""
    x, geometry = polyphase.with_few(x, geometry, lib)
    parts = list(geometry.phases())

    def block(x: Array, *kernels: Array) -> Array:
        outputs = [_conv(x, w, part.geometry, lib) for part, w in zip(parts, kernels, strict=True)]
        return polyphase.join(outputs, [part.output for part in parts], geometry.output_size, lib)

    kernels = [w[(..., *part.taps)] for part in parts]
    return blocks.each(block, x, kernels, _size(x, w.shape[1], parts, lib), lib, blocks.most(BLOCK, x, lib))


def conv_input_vjp(g: Array, w: Array, geometry: Geometry, lib: Standard) -> Array:
    """`conv` of the mirrored geometry."""
    return conv(g, polyphase.mirrored(w, lib), geometry.mirrored(), lib)


def conv_weight_vjp(g: Array, x: Array, geometry: Geometry, lib: Standard) -> Array:
    """Correlate the input with the cotangent; the sum over samples is taken of the spectra."""
    if polyphase.are_exchanged(geometry):
        return polyphase.mirrored(conv_weight_vjp(x, g, geometry.mirrored(), lib), lib)
    x, geometry = polyphase.with_few(x, geometry, lib)
    parts = list(geometry.phases())

    def block(g: Array, x: Array) -> Array:
        kernels = [_weight_vjp(g[(..., *part.output)], x, part.geometry, lib) for part in parts]
        return polyphase.join(kernels, [part.taps for part in parts], geometry.kernel_size, lib)

    return blocks.total(block, g, x, _size(x, g.shape[2], parts, lib), lib, blocks.most(BLOCK, x, lib))


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


def segment(geometry: Geometry) -> int:
    """How many outputs of the first axis to compute at a time: all, or what a few kernels span if it is far shorter."""
    axis = geometry.axes[0]
    rows = -(-SPAN * axis.dilated_kernel // axis.stride)
    return rows if 2 * rows < axis.output_size else axis.output_size


def _size(x: Array, k: int, parts: list[Phase], lib: Standard) -> float:
    """Elements of x that take as many bytes as the spectra of one sample of one group."""
    most, (itemsize, _) = max(math.prod(sizes(part.geometry)) for part in parts), lib.element(x.dtype)
    return 8 * most * (x.shape[2] + k) / itemsize


def _conv(x: Array, w: Array, geometry: Geometry, lib: Standard) -> Array:
    """`conv` of one phase and block."""
    return blocks.each_rows(lambda x, part: _correlated(x, w, part, lib), x, geometry, segment(geometry), lib)


def _correlated(x: Array, w: Array, geometry: Geometry, lib: Standard) -> Array:
    shape, steps = sizes(geometry), [axis.dilation for axis in geometry.axes]
    keep = [slice(0, axis.stride * (axis.output_size - 1) + 1, axis.stride) for axis in geometry.axes]
    with lib.wide():
        wide = _wide(x, lib)
        fx = _transformed(lib.xp.astype(x, wide), geometry, shape, lib)
        fw = _conjugate(lib.xp.astype(w, wide), steps, shape, lib)
        y = _inverse(_products(fw, fx, lib), x, shape, lib)
        return lib.xp.astype(y[(..., *keep)], x.dtype)


def _weight_vjp(g: Array, x: Array, geometry: Geometry, lib: Standard) -> Array:
    """`conv_weight_vjp` of one phase and block."""
    rows = segment(geometry)
    return blocks.total_rows(lambda g, x, part: _correlated_taps(g, x, part, lib), g, x, geometry, rows, lib)


def _correlated_taps(g: Array, x: Array, geometry: Geometry, lib: Standard) -> Array:
    shape, steps = sizes(geometry), [axis.stride for axis in geometry.axes]
    keep = [slice(0, axis.dilation * (axis.kernel_size - 1) + 1, axis.dilation) for axis in geometry.axes]
    with lib.wide():
        wide = _wide(x, lib)
        fx = _transformed(lib.xp.astype(x, wide), geometry, shape, lib)
        fg = _conjugate(lib.xp.astype(g, wide), steps, shape, lib)
        # sum over the samples: the groups, channels of g, channels of x
        fg, fx = (permute_dims(a, (0, 2, 1, *range(3, a.ndim)), lib.xp) for a in (fg, fx))
        gw = _inverse(_products(fg, fx, lib), x, shape, lib)
        gw = permute_dims(gw, (0, 2, 1, *range(3, gw.ndim)), lib.xp)
        return lib.xp.astype(gw[(..., *keep)], x.dtype)


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


def _products(a: Array, b: Array, lib: Standard) -> Array:
    """``sum over c of a[k, c] b[n, c]`` at every frequency, shape (groups, n, k, *frequencies)."""
    if a.shape[2] == 1:
        return a[:, None, :, 0, ...] * b[:, :, 0, None, ...]
    a, b = (permute_dims(o, (0, *range(3, o.ndim), 1, 2), lib.xp) for o in (a, b))
    product = lib.matmul_transposed(b, a)  # (groups, *frequencies, n, k)
    last = product.ndim - 1
    return permute_dims(product, (0, last - 1, last, *range(1, last - 1)), lib.xp)


def _inverse(y: Array, like: Array, shape: tuple[int, ...], lib: Standard) -> Array:
    axes = tuple(range(y.ndim - len(shape), y.ndim))
    if lib.xp.isdtype(like.dtype, "complex floating"):
        return lib.xp.fft.ifftn(y, axes=axes)
    return lib.xp.fft.irfftn(y, s=shape, axes=axes)


def obstacle(problem: Problem, _backend: type[Standard]) -> str | None:
    """Return why it cannot compute a problem, if so."""
    if problem.kind == "integer":
        return "a Fourier transform of integers is not exact"
    return None if problem.geometry.axes else "there is no spatial axis to transform"


def work(problem: Problem) -> Work:
    """Transforms of the three tensors, and their products."""
    windows = problem.by_phases()
    pairs, points, amount = windows.n * (windows.c + windows.k) + windows.c * windows.k, 0.0, 0.0
    for part, count in polyphase.counted(windows.geometry):
        first, *others = part.axes
        rows = min(segment(part), first.output_size)
        segments = -(-first.output_size // rows)
        length = fast_length(first.stride * (rows - 1) + first.dilated_kernel)
        size = length * math.prod(
            fast_length(axis.stride * (axis.output_size - 1) + axis.dilated_kernel) for axis in others
        )
        points += count * segments * size * problem.groups
        amount += count * segments * size * math.log2(max(2, size)) * pairs * problem.groups
    products = 4 * points * windows.n * windows.c * windows.k / 16
    # a compiler takes long over each transform: one loop of segments is worth it, one a phase is not
    operations = 40 if windows.phases == 1 else 300 * windows.phases
    return Work("transform", amount + products, 16.0 * points * pairs, 8 * BLOCK, operations, "a long kernel")
