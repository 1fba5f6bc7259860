"""Convolutions by Fourier transforms in which one step is wrong."""

from __future__ import annotations

import numpy as np
import pytest

import triconv

SHAPES = (2, 4, 9), (6, 2, 3)
PARAMS = {"padding": 1, "groups": 2}


def convolution(of_cotangent=np.conj, back=np.fft.irfft, kernel=np.asarray):
    """A convolution of which the gradient of the kernel takes other steps."""

    def spectra(a, n, *shape):
        return np.fft.rfft(a, n).reshape(*shape, n // 2 + 1)

    def padded(x):
        return np.pad(x, ((0, 0), (0, 0), (1, 1)))

    def forward(x, w):
        one, two = spectra(padded(x), 13, -1, 2, 2), spectra(kernel(w), 13, 2, 3, 2)
        return np.fft.irfft(np.einsum("ngcf,gkcf->ngkf", one, two.conj()), 13).reshape(len(x), 6, 13)[..., :9]

    def weight_vjp(g, x):
        one, two = spectra(padded(x), 13, -1, 2, 2), spectra(g, 13, -1, 2, 3)
        return back(np.einsum("ngcf,ngkf->gkcf", one, of_cotangent(two)), 13).reshape(6, 2, -1)[..., :3]

    return triconv.Rules(forward, weight_vjp=weight_vjp)


def half(spectrum, n):
    waves = np.exp(2j * np.pi * np.outer(np.arange(spectrum.shape[-1]), np.arange(n)) / n)
    return (spectrum @ waves).real / n


WRONG_STEPS = {
    "a conjugate is missing, or one too many": {"of_cotangent": np.asarray},
    "the halves are exchanged, as fftshift does": {"back": lambda a, n: np.fft.fftshift(np.fft.irfft(a, n), -1)},
    "frequencies that stand for two are counted once": {"back": half},
    "of length 12, one too short: irfft needs its n": {"back": lambda a, _: np.fft.irfft(a)},
}


@pytest.mark.parametrize("words", WRONG_STEPS)
def test_a_wrong_step_of_a_fourier_transform_is_named(words):
    report = triconv.check(convolution(**WRONG_STEPS[words]), triconv.conv1d, *SHAPES, **PARAMS)
    assert report.cause == "wrong in a Fourier transform"
    assert words in report.summary


def test_right_steps_are_right():
    assert triconv.check(convolution(), triconv.conv1d, *SHAPES, **PARAMS).ok


def test_a_transform_of_a_kernel_with_few_bits_says_which():
    """Integers show the rounding of the transform alone, which is right."""

    def bfloat16(w):
        bits = np.ascontiguousarray(w, np.float32).view(np.uint32)
        return ((bits + 0x8000) & 0xFFFF0000).view(np.float32)

    report = triconv.check(convolution(kernel=bfloat16), triconv.conv1d, *SHAPES, **PARAMS, dtype="float32")
    assert not report.ok
    assert "bfloat16" in report.summary
