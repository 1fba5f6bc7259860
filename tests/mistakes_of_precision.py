"""A bank of convolutions that lose bits, each with what the report says of it, and of honest ones that are not exact or odd."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

import triconv

SHAPES = (2, 3, 8, 8), (4, 3, 3, 3)


class Loss(NamedTuple):
    name: str
    make: Any
    dtype: str
    verdict: str
    says: str
    shapes: tuple = SHAPES
    precision: str | None = None


LOSSES: list[Loss] = []
HONEST: list[Loss] = []


def loss(says, dtype="float32", verdict="imprecise", shapes=SHAPES):
    def add(make):
        LOSSES.append(Loss(make.__name__, make, dtype, verdict, says, shapes))
        return make

    return add


def honest(dtype="float32", shapes=SHAPES, precision=None):
    def add(make):
        HONEST.append(Loss(make.__name__, make, dtype, "right", "", shapes, precision))
        return make

    return add


def windows(x, w):
    return np.lib.stride_tricks.sliding_window_view(x, w.shape[2:], (2, 3))


def conv(x, w, dtype=None):
    return np.einsum("nchwij,kcij->nkhw", windows(x, w), w, dtype=dtype or x.dtype)


def input_vjp(g, w):
    return np.asarray(
        triconv.conv_input_vjp(g, w, input_size=[a + b - 1 for a, b in zip(g.shape[2:], w.shape[2:], strict=True)])
    )


def weight_vjp(g, x):
    return np.asarray(
        triconv.conv_weight_vjp(g, x, kernel_size=[a - b + 1 for a, b in zip(x.shape[2:], g.shape[2:], strict=True)])
    )


def rules(forward=conv, x=input_vjp, w=weight_vjp, **bias):
    return triconv.Rules(forward, x, w, **bias)


def to_bits(a, bits, rounding=np.rint):
    """Round to a significand of so many bits, whatever the exponent."""
    mantissa, exponent = np.frexp(a)
    return np.ldexp(rounding(mantissa * 2.0**bits) / 2.0**bits, exponent).astype(a.dtype)


def halves(a, bits=8):
    high = to_bits(a, bits)
    return high, to_bits(a - high, bits)


def summed(x, w, keep, chunk=1):
    """Add the products up, and round the sum after so many."""
    terms = (windows(x, w)[:, None] * w[None, :, :, None, None]).swapaxes(2, 4).swapaxes(2, 3)
    terms = terms.reshape(*terms.shape[:4], -1)
    y = np.zeros(terms.shape[:4], x.dtype)
    for n in range(0, terms.shape[-1], chunk):
        y = keep(y + terms[..., n : n + chunk].sum(axis=-1))
    return y


# ---- results that are not rounded to nearest


def cut(a):
    return to_bits(a, 11, np.trunc).astype(np.float16)


@loss("with results that are cut off (rounded toward zero)", dtype="float16")
def results_cut_off():
    return rules(lambda x, w: cut(conv(x.astype(np.float32), w.astype(np.float32))))


@loss("with results that are cut off (rounded toward zero)", dtype="float16", shapes=((2, 1, 5, 5), (1, 1, 1, 1)))
def products_cut_off():
    return rules(x=lambda g, w: cut(g.astype(np.float32) * w.astype(np.float32)))


@honest(dtype="float16", shapes=((2, 1, 5, 5), (1, 1, 1, 1)))
def products_rounded():
    return rules(lambda x, w: (x.astype(np.float32) * w.astype(np.float32)).astype(np.float16))


# ---- operands of fewer bits


@loss("it keeps 17 of 24 bits (two halves of bfloat16) of w")
def kernel_in_two_halves_of_bfloat16():
    return rules(lambda x, w: sum(conv(x, part) for part in halves(w)))


@loss("it keeps 17 of 24 bits (two halves of bfloat16) of x and w")
def three_products_of_halves():
    def forward(x, w):
        (a, b), (c, d) = halves(x), halves(w)
        return conv(a, c) + conv(a, d) + conv(b, c)

    return rules(forward)


@loss("it keeps 11 of 24 bits (TF32 or float16) of x and w")
def tf32():
    return rules(lambda x, w: conv(to_bits(x, 11), to_bits(w, 11)))


@loss("it keeps 11 of 24 bits (TF32 or float16) of x")
def tf32_cut_off():
    return rules(lambda x, w: conv(to_bits(x, 11, np.trunc), w))


@loss("it keeps 11 of 24 bits (TF32 or float16) of w")
def kernel_in_float16():
    return rules(lambda x, w: conv(x, w.astype(np.float16).astype(x.dtype)))


@loss("it keeps 8 of 24 bits (bfloat16) of x and it keeps 11 of 24 bits (TF32 or float16) of w")
def both_in_different_ones():
    return rules(lambda x, w: conv(to_bits(x, 8), to_bits(w, 11)))


@loss("it keeps 4 of 24 bits (float8 e4m3) of x")
def input_in_float8():
    return rules(lambda x, w: conv(to_bits(x, 4), w))


@loss("it keeps 20 of 24 bits of x")
def last_bits_masked():
    return rules(lambda x, w: conv((x.view(np.uint32) & np.uint32(0xFFFFFFF0)).view(np.float32), w))


@loss("it keeps 8 of 11 bits (bfloat16) of w", dtype="float16")
def half_in_bfloat16():
    return rules(lambda x, w: conv(np.float32(x), to_bits(np.float32(w), 8)).astype(x.dtype))


@loss("it keeps 49 of 53 bits (two halves of float32) of x", dtype="float64")
def double_in_two_halves_of_single():
    return rules(lambda x, w: sum(conv(part, w) for part in halves(x, 24)))


@loss("it keeps 24 of 53 bits (float32) of w", dtype="float64")
def double_kernel_in_single():
    return rules(lambda x, w: conv(x, np.float64(np.float32(w))))


@loss("it keeps 8 of 24 bits (bfloat16) of the cotangent")
def cotangent_in_bfloat16():
    return rules(w=lambda g, x: weight_vjp(to_bits(g, 8), x))


@loss("it keeps 17 of 24 bits (two halves of bfloat16) of the cotangent", shapes=((8, 3, 20, 20), (4, 3, 3, 3)))
def cotangent_in_two_halves():
    """Among 2,592 terms, the bound of rounding allows it."""
    return rules(w=lambda g, x: sum(weight_vjp(part, x) for part in halves(g)))


@loss("of 24 bits (two halves of bfloat16) of the cotangent", shapes=((2, 3, 8, 8), (64, 3, 3, 3), (64,)))
def cotangent_of_bias_in_two_halves():
    return triconv.Rules(
        lambda x, w, b: conv(x, w) + b.reshape(-1, 1, 1),
        input_vjp,
        weight_vjp,
        bias_vjp=lambda g: sum(part.sum(axis=(0, 2, 3)) for part in halves(g)),
    )


@loss("it keeps 17 of 24 bits (two halves of bfloat16) of x", shapes=(*SHAPES, (4,)))
def halves_and_a_bias():
    return rules(lambda x, w, b: sum(conv(part, w) for part in halves(x)) + b.reshape(-1, 1, 1))


# ---- sums of fewer bits


@loss("sums are kept in 8 of 24 bits (bfloat16)")
def sums_in_bfloat16():
    return rules(lambda x, w: summed(x, w, lambda y: to_bits(y, 8)))


@loss("sums are kept in 11 of 24 bits (TF32 or float16)")
def sums_in_float16():
    return rules(lambda x, w: summed(x, w, lambda y: y.astype(np.float16).astype(x.dtype)))


@loss("sums are kept in 24 of 53 bits (float32)", dtype="float64")
def double_with_sums_in_single():
    return rules(lambda x, w: summed(x, w, lambda y: np.float64(np.float32(y))))


@loss("sums are kept in 8 of 24 bits (bfloat16)", shapes=((2, 64, 6, 6), (4, 64, 3, 3)))
def blocks_added_up_in_bfloat16():
    return rules(lambda x, w: summed(x, w, lambda y: to_bits(y, 8), chunk=16))


@loss("the result is rounded to 8 of 24 bits (bfloat16)")
def result_in_bfloat16():
    return rules(lambda x, w: to_bits(conv(x, w), 8))


@loss("it keeps 4 of 24 bits (float8 e4m3) of x and sums are kept in 11 of 24 bits")
def operand_and_sums():
    return rules(lambda x, w: summed(to_bits(x, 4), w, lambda y: to_bits(y, 11)))


# ---- what is no float of fewer bits


@loss("or the result, is rounded to multiples of 1", verdict="wrong")
def rounded_to_integers():
    return rules(lambda x, w: conv(np.rint(x), w))


@loss("or the result, is rounded to multiples of 0.000976562", verdict="wrong")
def kernel_in_fixed_point():
    return rules(lambda x, w: conv(x, np.rint(w * 1024) / np.float32(1024)))


@loss("", verdict="wrong")
def cast_to_int8():
    return rules(lambda x, w: conv(x.astype(np.int8).astype(x.dtype), w))


@loss("", verdict="wrong", dtype="float64")
def sums_in_int32():
    return rules(lambda x, w: conv(np.rint(x * 2**8), np.rint(w * 2**8)).astype(np.int32) / 2.0**16)


def quantised(a, levels, axes=None):
    """Multiples of a step, of which the largest number is so many."""
    step = np.abs(a).max(axis=axes, keepdims=True) / levels
    return np.rint(a / np.where(step > 0, step, 1)) * step


@loss("the kernel is quantised: its numbers are multiples of a step", verdict="wrong")
def kernel_in_int8():
    return rules(lambda x, w: conv(x, quantised(w, 127)))


@loss("the kernel is quantised: its numbers are multiples of a step, up to 127", verdict="wrong", dtype="float64")
def kernel_in_int8_channel_by_channel():
    return rules(lambda x, w: conv(x, quantised(w, 127, (1, 2, 3))))


@loss("(or its cotangent) is quantised: its numbers are multiples of a step, up to 7", verdict="wrong", dtype="float64")
def cotangent_in_int4():
    return rules(x=lambda g, w: input_vjp(quantised(g, 7), w))


def rows_of(x, w):
    """The windows of x and the kernel as two matrices."""
    return windows(x, w).transpose(0, 2, 3, 1, 4, 5).reshape(-1, w[0].size), w.reshape(len(w), -1).T


def multiplied(x, w, change):
    """Change each row of windows, and each kernel, and multiply."""
    a, b = rows_of(x, w)
    y = change(np.float64(a)) @ change(np.float64(b).T).T
    return y.reshape(len(x), *windows(x, w).shape[2:4], -1).transpose(0, 3, 1, 2).astype(x.dtype)


@loss("of x lose bits beside larger ones, as those of one exponent or scale do", verdict="wrong")
def rows_of_integers_of_28_bits():
    """As in an emulation of floats by integer slices: 24 bits would be enough if all numbers were alike."""

    def fixed(a):
        step = np.ldexp(1.0, np.frexp(np.abs(a).max(axis=1, keepdims=True))[1] - 28)
        return np.rint(a / step) * step

    return rules(lambda x, w: multiplied(x, w, fixed))


@loss("numbers of x below about", verdict="wrong")
def small_numbers_pruned():
    """Those of a window that are small beside its largest: few of normal numbers are."""

    def pruned(a):
        return np.where(np.abs(a) < 2.0**-12 * np.abs(a).max(axis=1, keepdims=True), 0, a)

    return rules(lambda x, w: multiplied(x, w, pruned))


@loss("with sums in 8 to 11 bits", dtype="float16", shapes=((16, 2, 40, 40), (2, 2, 3, 3)))
def kernel_gradient_of_half_width_summed_in_half():
    """Of 23,104 terms, whose bound allows it for numbers of both signs."""

    def backward(g, x):
        v, c = windows(x, g), g.reshape(g.shape[0], g.shape[1], -1)  # one product for each sample
        v = v.reshape(*v.shape[:4], -1)
        return sum_of(np.einsum("nkp,ncijp->nkcij", c[..., at], v[..., at]) for at in np.array_split(range(1444), 4))

    def sum_of(parts):
        y = np.float16(0)
        for part in parts:
            for one in part.astype(np.float16):
                y = y + one
        return y

    return rules(
        lambda x, w: conv(x, w, np.float32).astype(x.dtype),
        w=lambda g, x: backward(np.float32(g), np.float32(x)).astype(x.dtype),
    )


SHORT = "sums in fewer bits than float32 has"


def in_wide(f):
    """Compute in double precision, and round the result to the dtype of the arrays."""
    return lambda a, b, *more: f(*(np.float64(c) for c in (a, b, *more))).astype(a.dtype)


def rules_of_half_width(keep, chunk=1):
    """Sums of products that are kept by a function, in the value and in the gradient of x."""

    def backward(g, w):
        g = np.pad(g, ((0, 0), (0, 0), *((n - 1, n - 1) for n in w.shape[2:])))
        return summed(g, w.swapaxes(0, 1)[..., ::-1, ::-1], keep, chunk)

    forward = in_wide(lambda x, w: summed(x, w, keep, chunk))
    return rules(forward, in_wide(backward), in_wide(lambda g, x: weight_vjp(g, x)))


@loss(SHORT, dtype="float16")
def half_width_with_sums_in_14_bits():
    return rules_of_half_width(lambda y: to_bits(y, 14))


@loss(SHORT, dtype="bfloat16")
def bfloat16_with_sums_in_14_bits():
    return rules_of_half_width(lambda y: to_bits(y, 14))


@loss(SHORT, dtype="bfloat16", shapes=((2, 32, 6, 6), (4, 32, 3, 3)))
def blocks_of_16_cut_to_14_bits():
    """As the tensor cores of a GPU add up products of float8."""
    return rules_of_half_width(lambda y: to_bits(y, 14, np.trunc), chunk=16)


@loss(SHORT, dtype="bfloat16", shapes=((2, 1, 1, 9), (1, 1, 1, 2)))
def two_terms_with_sums_in_14_bits():
    """Each product has 16 bits, and the difference of two has few."""
    return rules_of_half_width(lambda y: to_bits(y, 14))


@loss(SHORT, dtype="float16", shapes=((2, 4, 7, 7), (3, 4, 1, 1)))
def four_terms_with_sums_in_16_bits():
    return rules_of_half_width(lambda y: to_bits(y, 16))


@loss(SHORT, dtype="float16", shapes=((2, 16, 7, 7), (8, 16, 1, 1)))
def kernel_gradient_with_sums_in_16_bits():
    def backward(g, x):
        terms = np.einsum("nchw,nkhw->kcnhw", x, g).reshape(8, 16, 1, 1, -1)
        y = np.zeros(terms.shape[:-1])
        for n in range(terms.shape[-1]):
            y = to_bits(y + terms[..., n], 16)
        return y

    exact = rules_of_half_width(lambda y: y)
    return rules(exact.forward, exact.input_vjp, in_wide(backward))


@loss(SHORT, dtype="float16", shapes=((2, 3, 8, 8), (64, 3, 3, 3), (64,)))
def bias_gradient_with_sums_in_14_bits():
    def backward(g):
        y = np.zeros(g.shape[1])
        for n, i, j in np.ndindex(g.shape[0], *g.shape[2:]):
            y = to_bits(y + g[n, :, i, j].astype(np.float64), 14)
        return y.astype(g.dtype)

    exact = rules_of_half_width(lambda y: y)
    forward = in_wide(lambda x, w, b: conv(x, w) + b.reshape(-1, 1, 1))
    return rules(forward, exact.input_vjp, exact.weight_vjp, bias_vjp=backward)


@loss("sums are kept in 14 of 24 bits", shapes=((2, 1, 40, 40), (1, 1, 3, 3)))
def few_results_with_sums_in_14_bits():
    """A gradient of 9 elements, few of which are zero."""

    def backward(g, x):
        v = windows(x, g).reshape(2, 3, 3, -1)
        y = np.zeros((3, 3))
        for n, at in np.ndindex(2, 6):
            y = to_bits(y + v[n, ..., at::6] @ g[n, 0].reshape(-1)[at::6].astype(np.float64), 14)
        return y[None, None].astype(x.dtype)

    return rules(w=backward)


@loss("with sums in 8 to 11 bits", shapes=((2, 64, 6, 6), (4, 64, 3, 3)))
def sums_cut_to_bfloat16():
    """Its errors have one sign, so they are no noise."""
    return rules(lambda x, w: summed(x, w, lambda y: to_bits(y, 8, np.trunc), chunk=4))


@loss("elements are clipped to the range -65504 to 65504", verdict="wrong", dtype="float64")
def clamped_to_float16():
    return rules(lambda x, w: conv(x, w).clip(-65504, 65504))


@loss("every element is multiplied by 1 - 5.3e-11", verdict="wrong", dtype="float64")
def divided_by_a_sum_and_an_epsilon():
    return rules(lambda x, w: conv(x, w) * (np.abs(w).sum() / (np.abs(w).sum() + 1e-8)))


@loss("it is zero for sparse numbers, and right for others: work is skipped", verdict="wrong", dtype="float64")
def samples_skipped_by_their_sum():
    return rules(w=lambda g, x: weight_vjp(g * (g.sum((1, 2, 3), keepdims=True) != 0), x))


@loss("0.0001 times the kernel is added (weight decay, or a residual)", verdict="wrong", dtype="float64")
def weight_decay():
    def forward(x, w):
        kept.append(w)
        return conv(x, w)

    kept = []
    return rules(forward, w=lambda g, x: weight_vjp(g, x) + 1e-4 * kept[-1])


@loss("what is beyond 65504 is not finite, as in float16", dtype="float64")
def all_in_float16():
    return rules(lambda x, w: conv(x.astype(np.float16), w.astype(np.float16)).astype(x.dtype))


@loss("of finite data: it overflows as float16 does, whose largest number is 65504", verdict="wrong", dtype="float64")
def range_of_float16():
    """All bits of the numbers, and not their range."""
    return rules(lambda x, w: np.where(np.abs(y := conv(x, w)) > 65504, np.inf, y))


@loss("it is the answer for the earlier data of w", verdict="wrong")
def kernel_transformed_once():
    """A Fourier transform, which is not exact for integers."""
    kept = []

    def forward(x, w):
        kept[1:] = []
        kept.append(w)
        return by_fft(x, kept[0], np.float32)

    return rules(forward)


# ---- honest, and not exact, or odd


def by_fft(x, w, wide):
    sizes = x.shape[2:]
    fx, fw = (
        np.fft.rfftn(a.astype(wide), sizes, axes=(2, 3)).astype(np.result_type(wide, np.complex64)) for a in (x, w)
    )
    y = np.fft.irfftn(np.einsum("nchw,kchw->nkhw", fx, fw.conj()), sizes, axes=(2, 3))
    return y[..., : x.shape[2] - 2, : x.shape[3] - 2].astype(x.dtype)


@honest()
def fft_in_single():
    return rules(lambda x, w: by_fft(x, w, np.float32))


@honest()
def fft_in_double():
    return rules(lambda x, w: by_fft(x, w, np.float64))


B = np.array([[1, 0, -1, 0], [0, 1, 1, 0], [0, -1, 1, 0], [0, 1, 0, -1]])
F = np.array([[1, 0, 0], [0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0, 0, 1]])
A = np.array([[1, 1, 1, 0], [0, 1, -1, -1]])


def by_winograd(x, w):
    b, f, a = (m.astype(x.dtype) for m in (B, F, A))
    tiles = np.lib.stride_tricks.sliding_window_view(x, (4, 4), (2, 3))[:, :, ::2, ::2]
    u, v = np.einsum("ai,kcij,bj->kcab", f, w, f), np.einsum("ai,nchwij,bj->nchwab", b, tiles, b)
    y = np.einsum("ia,nkhwab,jb->nkhiwj", a, np.einsum("kcab,nchwab->nkhwab", u, v), a)
    return y.reshape(*y.shape[:2], y.shape[2] * 2, -1).astype(x.dtype)


@honest()
def winograd():
    """Exact for small integers."""
    return rules(by_winograd)


@honest(shapes=(*SHAPES, (4,)))
def winograd_and_a_bias():
    return rules(lambda x, w, b: by_winograd(x, w) + b.reshape(-1, 1, 1))


@honest(dtype="float64", shapes=((1, 1, 4, 4), (1, 1, 3, 3)))
def winograd_of_one_tile():
    return rules(by_winograd)


def single(a):
    return np.float64(np.float32(a))


def half_by(f):
    """Compute the value in single precision by another algorithm."""
    exact = rules_of_half_width(single)
    return rules(lambda x, w: f(np.float32(x), np.float32(w)).astype(x.dtype), exact.input_vjp, exact.weight_vjp)


@honest(dtype="float16")
def half_width_by_fft():
    return half_by(lambda x, w: by_fft(x, w, np.float32))


@honest(dtype="bfloat16", shapes=((2, 16, 8, 8), (4, 16, 3, 3)))
def bfloat16_by_winograd():
    return half_by(by_winograd)


@honest(dtype="float16", shapes=((2, 1, 1, 8), (1, 1, 1, 3)))
def three_terms_by_fft():
    return half_by(lambda x, w: by_fft_of_rows(x, w))


def by_fft_of_rows(x, w):
    of_x, of_w = (np.fft.rfft(a, x.shape[3]).astype(np.complex64) for a in (x, w))
    y = np.fft.irfft(np.einsum("nchw,kchw->nkhw", of_x, of_w.conj()).astype(np.complex64), x.shape[3])
    return y[..., : x.shape[3] - w.shape[3] + 1].astype(np.float32)


@honest(dtype="float16")
def half_width_in_pairs():
    def forward(x, w):
        terms = (windows(x, w)[:, None] * w[None, :, :, None, None]).transpose(0, 1, 3, 4, 2, 5, 6)
        terms = terms.reshape(*terms.shape[:4], -1)
        while terms.shape[-1] > 1:
            even, odd = terms[..., ::2], terms[..., 1::2]
            terms = single(even + np.concatenate([odd, np.zeros_like(even)], -1)[..., : even.shape[-1]])
        return terms[..., 0]

    return half_by(forward)


@honest(dtype="bfloat16", precision="bfloat16")
def declared_short_sums():
    return rules_of_half_width(lambda y: to_bits(y, 14))


@honest(shapes=((2, 16, 8, 8), (4, 16, 3, 3)))
def split_k():
    return rules(lambda x, w: sum(conv(x[:, c : c + 4], w[:, c : c + 4]) for c in range(0, 16, 4)))


@honest(shapes=((2, 16, 8, 8), (4, 16, 3, 3)))
def blocked_sums():
    return rules(lambda x, w: summed(x, w, lambda y: y, chunk=16))


@honest()
def sums_in_double():
    return rules(lambda x, w: conv(x, w, np.float64).astype(x.dtype))


@honest()
def reversed_order():
    return rules(lambda x, w: conv(x[:, ::-1, ::-1, ::-1], w[:, ::-1, ::-1, ::-1])[..., ::-1, ::-1])


@honest()
def kahan():
    def forward(x, w):
        y = lost = np.zeros((), x.dtype)
        for c, i, j in np.ndindex(*w.shape[1:]):
            term = x[:, c, None, i : i + 6, j : j + 6] * w[:, c, i, j].reshape(1, -1, 1, 1) - lost
            y, before = y + term, y
            lost = (y - before) - term
        return y

    return rules(forward)


@honest(dtype="float64", precision="float16")
def declared_float16_which_overflows():
    return rules(lambda x, w: conv(x.astype(np.float16), w.astype(np.float16)).astype(x.dtype))


@honest()
def three_parts_of_bfloat16():
    """As many bits as single precision has, in six products."""

    def parts(a):
        high, middle = halves(a)
        return high, middle, to_bits(a - high - middle, 8)

    def forward(x, w):
        a, b = parts(x), parts(w)
        return sum(conv(a[i], b[j]) for i, j in ((0, 2), (2, 0), (1, 1), (0, 1), (1, 0), (0, 0)))

    return rules(forward)


@honest(dtype="complex64")
def three_products_of_complex_numbers():
    def forward(x, w):
        a, b, c, d = x.real, x.imag, w.real, w.imag
        first, second, third = conv(a + b, c), conv(a, d - c), conv(b, c + d)
        return (first - third) + 1j * (first + second)

    return rules(forward)


@honest(precision="tf32")
def declared_tf32():
    return rules(lambda x, w: conv(to_bits(x, 11), to_bits(w, 11)))


@honest(precision="tf32")
def declared_tf32_that_keeps_more():
    return rules(lambda x, w: sum(conv(x, part) for part in halves(w)))


@honest(precision="bfloat16")
def declared_bfloat16_with_narrow_sums():
    return rules(lambda x, w: summed(to_bits(x, 8), to_bits(w, 8), lambda y: to_bits(y, 8)))


@honest(dtype="float64", precision="float32")
def declared_single():
    return rules(lambda x, w: conv(np.float32(x), np.float32(w)).astype(x.dtype))


@honest(shapes=((2, 2, 6, 8), (2, 2, 3, 3)))
def strassen():
    """Seven products for the eight of two outputs, two channels, and the left and the right half of the positions."""

    def forward(x, w):
        (x11, x12), (x21, x22) = ([x[:, c : c + 1, :, at : at + 5] for at in (0, 3)] for c in (0, 1))
        (w11, w12), (w21, w22) = ([w[k : k + 1, c : c + 1] for c in (0, 1)] for k in (0, 1))
        m1, m2, m3 = conv(x11 + x22, w11 + w22), conv(x11, w21 + w22), conv(x12 - x22, w11)
        m4, m5 = conv(x21 - x11, w22), conv(x22, w11 + w12)
        m6, m7 = conv(x11 + x12, w21 - w11), conv(x21 + x22, w12 - w22)
        left, right = (
            np.concatenate(parts, 1) for parts in ((m1 + m4 - m5 + m7, m2 + m4), (m3 + m5, m1 - m2 + m3 + m6))
        )
        return np.concatenate([left, right], 3)

    return rules(forward)
