"""A product of Fourier transforms in which one step is wrong: a conjugate, the half that is left out, the length, the order.

Along each axis, with the padded input ``x`` of Fourier transform ``X``, the value is the transform back of ``X conj(W)``, the
gradient of the input that of ``G W``, and that of the kernel that of ``X conj(G)``.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator

import numpy as np

from triconv.checking.findings.causes import Cause, Hypothesis
from triconv.checking.findings.diagnosis_data import Diagnosis
from triconv.checking.oracles.comparison import WrongResult, same

MOST_ELEMENTS = 2**17
"""Of the spectra of a result whose transforms are tried."""
EINSUMS = {"g": "gnc...,gkc...->gnk...", "x": "gnk...,gkc...->gnc...", "w": "gnc...,gnk...->gkc..."}
"""Channels of the products, by the result, of its two operands in the order of `OPERANDS`."""
OPERANDS = {"g": "xw", "x": "gw", "w": "xg"}
CONJUGATES = {"g": (False, True), "x": (False, False), "w": (False, True)}
"""Which of the operands is conjugated."""


def fourier_mistake(r: WrongResult) -> Diagnosis | None:
    """Explain a result by one wrong step between its Fourier transforms."""
    p, m = r.problem, r.problem.model
    if r.role == "bias" or not r.has_shape or m.mode != "zeros" or np.iscomplexobj(r.expected) or not m.axes:
        return None
    if any((a.stride, a.dilation, a.input_dilation) != (1, 1, 1) or min(a.pad_lo, a.pad_hi) < 0 for a in m.axes):
        return None
    tensors = {**r.expectations.arrays.primals, p.result: r.expectations.arrays.g}
    if any(np.iscomplexobj(a) for a in tensors.values()):
        return None
    padded = [a.input_size + a.pad_lo + a.pad_hi for a in m.axes]
    x, w, g = (tensors[role] for role in "xwg")
    x = np.pad(x, [(0, 0), (0, 0), *((a.pad_lo, a.pad_hi) for a in m.axes)])
    operands = {"x": _grouped(x, 1, m.groups), "w": _grouped(w, 0, m.groups), "g": _grouped(g, 1, m.groups)}
    size = max(a.size // math.prod(a.shape[2:]) for a in (x, w, g)) if min(x.size, w.size, g.size) else 0
    right: np.ndarray | None = None
    for lengths in _lengths(r, padded):
        if size * math.prod(lengths) > MOST_ELEMENTS:
            continue
        axes = tuple(range(-len(lengths), 0))
        one, two = (np.fft.fftn(operands[role], lengths, axes) for role in OPERANDS[r.role])
        for diagnosis, whole in _results(r.role, one, two, axes):
            predicted = _cropped(r, whole)
            if predicted.shape != r.expected.shape:
                continue
            if diagnosis is None:
                right = predicted  # wraps around where the length is too short
                continue
            # what is added besides, as a bias
            rest = 0 if right is None or not r.has_bias else r.expected - right
            if same(predicted + rest, r.found):
                return diagnosis
    return None


def _grouped(a: np.ndarray, axis: int, groups: int) -> np.ndarray:
    """Return a tensor with its groups as first axis."""
    split = a.reshape(*a.shape[:axis], groups, a.shape[axis] // groups, *a.shape[axis + 1 :])
    return np.moveaxis(split, axis, 0)


def _lengths(r: WrongResult, padded: list[int]) -> list[tuple[int, ...]]:
    """Return the lengths of transforms that programs choose."""
    axes = r.problem.model.axes
    whole = tuple(n + a.kernel_size - 1 for n, a in zip(padded, axes, strict=True))
    choices = (
        whole,
        tuple(padded),
        tuple(1 << (n - 1).bit_length() for n in whole),
        tuple(a.input_size + a.kernel_size - 1 for a in axes),
        tuple(2 * n for n in padded),
        tuple(2 * a.input_size for a in axes),
        tuple(2 * n - a.kernel_size for n, a in zip(padded, axes, strict=True)),
    )
    return list(dict.fromkeys(c for c in choices if all(n >= p for n, p in zip(c, padded, strict=True))))


def _results(
    role: str, one: np.ndarray, two: np.ndarray, axes: tuple[int, ...]
) -> Iterator[tuple[Diagnosis | None, np.ndarray]]:
    """Yield the right result, and then what one wrong step makes of it."""
    which = CONJUGATES[role]

    def product(first: bool, second: bool) -> np.ndarray:
        return np.asarray(np.einsum(EINSUMS[role], one.conj() if first else one, two.conj() if second else two))

    spectrum = product(*which)
    right = np.fft.ifftn(spectrum, axes=axes).real
    yield None, right
    for first, second in itertools.product((False, True), repeat=2):
        if (first, second) != which:
            diagnosis = Diagnosis(Cause.SPECTRUM, Hypothesis.FOURIER_CONJUGATE)
            yield diagnosis, np.fft.ifftn(product(first, second), axes=axes).real
    yield Diagnosis(Cause.SPECTRUM, Hypothesis.FOURIER_ORDER), np.fft.fftshift(right, axes)
    yield Diagnosis(Cause.SPECTRUM, Hypothesis.FOURIER_ORDER), np.fft.ifftshift(right, axes)
    last = spectrum.shape[-1]
    half = np.fft.ifftn(np.where(np.arange(last) <= last // 2, spectrum, 0), axes=axes).real
    yield Diagnosis(Cause.SPECTRUM, Hypothesis.FOURIER_HALF), half
    if last % 2 and last > 1:
        inner = np.fft.ifftn(spectrum[..., : last // 2 + 1], axes=axes[:-1])
        yield Diagnosis(Cause.SPECTRUM, Hypothesis.FOURIER_LENGTH, size=last - 1), np.fft.irfft(inner, last - 1)


def _cropped(r: WrongResult, whole: np.ndarray) -> np.ndarray:
    """Return the part of a whole result that is wanted, in torch's order."""
    axes = r.problem.model.axes
    shape = r.expected.shape[2:]
    starts = [a.pad_lo if r.role == "x" else 0 for a in axes]
    part = whole[tuple([slice(None)] * 3 + [slice(lo, lo + n) for lo, n in zip(starts, shape, strict=True)])]
    channels = 0 if r.role == "w" else 1
    moved = np.moveaxis(part, 0, channels)
    return moved.reshape(*moved.shape[:channels], -1, *moved.shape[channels + 2 :])
