"""A bank of broken convolutions, and of right ones written in unusual ways: each function makes one, given its framework."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

import triconv

X, W = (2, 3, 7, 6), (4, 3, 3, 2)


class Entry(NamedTuple):
    name: str
    framework: str
    make: Any
    like: str
    shapes: tuple
    params: dict
    causes: frozenset[str]


BROKEN: list[Entry] = []
RIGHT: list[Entry] = []


def entry(framework, *causes, like="conv2d", shapes=(X, W), **params):
    def add(make):
        name = f"{framework}: {make.__name__}"
        (BROKEN if causes else RIGHT).append(Entry(name, framework, make, like, shapes, params, frozenset(causes)))
        return make

    return add


# ---- wrong forwards, with derivatives that are those of the wrong forward


@entry("torch", "kernel flip")
def true_convolution(t):
    return lambda x, w: t.nn.functional.conv2d(x, w.flip((2, 3)))


@entry("jax", "kernel flip in one axis")
def flipped_columns(j):
    return lambda x, w: j.lax.conv(x, w[..., ::-1], (1, 1), "VALID")


@entry("torch", "spatial axes swapped", shapes=(X, (4, 3, 3, 3)))
def kernel_axes_swapped(t):
    return lambda x, w: t.nn.functional.conv2d(x, w.transpose(2, 3))


@entry("torch", "channels swapped", shapes=(X, (3, 3, 3, 2)))
def kernel_channels_swapped(t):
    return lambda x, w: t.nn.functional.conv2d(x, w.transpose(0, 1))


@entry("torch", "channels permuted")
def red_and_blue_swapped(t):
    return lambda x, w: t.nn.functional.conv2d(x.flip(1), w)


@entry("torch", "stride ignored", shapes=((2, 4, 8, 7), (5, 4, 3, 2)), stride=2)
def stride_ignored(t):
    return lambda x, w: t.nn.functional.conv2d(x, w)


@entry("torch", "dilation ignored", shapes=((2, 4, 8, 7), (5, 4, 3, 2)), dilation=2)
def dilation_ignored(t):
    return lambda x, w: t.nn.functional.conv2d(x, w)


@entry("torch", "stride and dilation exchanged", shapes=((2, 4, 11, 12), (5, 4, 3, 2)), stride=3, dilation=2)
def stride_and_dilation_exchanged(t):
    return lambda x, w: t.nn.functional.conv2d(x, w, stride=2, dilation=3)


@entry("jax", "spatial axes swapped", shapes=((2, 3, 9, 9), (4, 3, 2, 2)), stride=(1, 2))
def strides_swapped(j):
    return lambda x, w: j.lax.conv(x, w, (2, 1), "VALID")


@entry("jax", "padding ignored", padding=1)
def padding_ignored(j):
    return lambda x, w: j.lax.conv(x, w, (1, 1), "VALID")


@entry(
    "jax",
    "padding off by one",
    "padding low and high exchanged",
    shapes=((2, 3, 8), (4, 3, 4)),
    like="conv1d",
    padding="same",
)
def same_with_the_odd_one_before(j):
    return lambda x, w: j.lax.conv_general_dilated(x, w, (1,), "SAME_LOWER")


@entry("torch", "padding low and high exchanged", like="conv1d", shapes=((2, 4, 8), (5, 4, 3)), padding=[(3, 1)])
def padding_exchanged(t):
    return lambda x, w: t.nn.functional.conv1d(t.nn.functional.pad(x, (1, 3)), w)


@entry("jax", "padding off by one", like="conv1d", shapes=((2, 4, 8), (5, 4, 3)), padding="causal")
def causal_that_sees_one_ahead(j):
    return lambda x, w: j.lax.conv_general_dilated(x, w, (1,), [(1, 1)])


@entry("torch", "padding mode", padding=1, padding_mode="reflect")
def zeros_for_reflection(t):
    return lambda x, w: t.nn.functional.conv2d(x, w, padding=1)


@entry("torch", "groups permuted", shapes=((2, 4, 6, 5), (6, 2, 3, 2)), groups=2)
def groups_of_the_kernel_interleaved(t):
    shuffle = lambda w: w.reshape(2, 3, 2, 3, 2).transpose(0, 1).reshape(6, 2, 3, 2)  # noqa: E731
    return lambda x, w: t.nn.functional.conv2d(x, shuffle(w), groups=2)


@entry("torch", "groups permuted", "channels permuted", shapes=((2, 4, 6, 5), (6, 2, 3, 2)), groups=2)
def channels_shuffled(t):
    shuffle = lambda x: x.reshape(len(x), 2, 2, *x.shape[2:]).transpose(1, 2).reshape(x.shape)  # noqa: E731
    return lambda x, w: t.nn.functional.conv2d(shuffle(x), w, groups=2)


@entry("torch", "only the first group", shapes=((2, 4, 6, 5), (6, 2, 3, 2)), groups=2)
def first_group_for_all(t):
    return lambda x, w: t.nn.functional.conv2d(x[:, :2].repeat(1, 2, 1, 1), w, groups=2)


@entry("torch", "only the first group", shapes=((2, 4, 6, 5), (6, 2, 3, 2)), groups=2)
def first_group_alone(t):
    def conv(x, w):
        y = t.nn.functional.conv2d(x[:, :2], w[:3])
        return t.cat([y, t.zeros_like(y)], 1)

    return conv


@entry("torch", "only the first sample")
def first_sample_for_all(t):
    return lambda x, w: t.nn.functional.conv2d(x[:1].expand(x.shape), w)


@entry("torch", "bias ignored", shapes=(X, W, (4,)))
def bias_ignored(t):
    return lambda x, w, b: t.nn.functional.conv2d(x, w)


@entry("torch", "bias axis", shapes=((2, 4, 8, 6), (5, 4, 3, 2), (5,)))
def bias_along_columns(t):
    return lambda x, w, b: t.nn.functional.conv2d(x, w) + b


@entry("jax", "constant factor")
def normalised_by_the_kernel_size(j):
    return lambda x, w: j.lax.conv(x, w, (1, 1), "VALID") / 6


@entry("jax", "padding off by one")
def rolled(j):
    return lambda x, w: j.numpy.roll(j.lax.conv(x, w, (1, 1), "VALID"), 1, 2)


@entry("jax", "not a number")
def one_nan(j):
    return lambda x, w: j.lax.conv(x, w, (1, 1), "VALID").at[0, 0, 1, 1].add(j.numpy.nan)


@entry("torch", "dtype")
def double_for_single(t):
    return lambda x, w: t.nn.functional.conv2d(x, w).double()


@entry("torch", "nondeterministic")
def noise(t):
    return lambda x, w: t.nn.functional.conv2d(x, w) + t.randn(())


@entry("jax", "border dropped")
def last_row_dropped(j):
    return lambda x, w: j.lax.conv(x, w, (1, 1), "VALID").at[:, :, -1].set(0)


@entry("jax", "taps left out")
def one_tap_dropped(j):
    return lambda x, w: j.lax.conv(x, w.at[:, :, 1, 1].set(0), (1, 1), "VALID")


CHANNELS_LAST = {"like": "conv", "shapes": ((2, 7, 6, 3), (3, 2, 3, 4)), "layout": "NHWC,HWIO->NHWC"}


@entry("jax", "layout misread", **CHANNELS_LAST)
def image_reshaped(j):
    first = lambda x: x.reshape(x.shape[0], x.shape[3], x.shape[1], x.shape[2])  # noqa: E731
    return lambda x, w: j.lax.conv(first(x), w.transpose(3, 2, 0, 1), (1, 1), "VALID").transpose(0, 2, 3, 1)


@entry("jax", "layout misread", **CHANNELS_LAST)
def kernel_reshaped(j):
    first = lambda w: w.reshape(w.shape[3], w.shape[2], w.shape[0], w.shape[1])  # noqa: E731
    return lambda x, w: j.lax.conv(x.transpose(0, 3, 1, 2), first(w), (1, 1), "VALID").transpose(0, 2, 3, 1)


@entry("jax", "layout misread", **CHANNELS_LAST)
def result_reshaped(j):
    def conv(x, w):
        y = j.lax.conv(x.transpose(0, 3, 1, 2), w.transpose(3, 2, 0, 1), (1, 1), "VALID")
        return y.reshape(y.shape[0], y.shape[2], y.shape[3], y.shape[1])

    return conv


TRANSPOSED = {"like": "conv_transpose2d", "shapes": ((2, 4, 5, 4), (4, 3, 3, 2)), "stride": 2}


@entry("torch", "output_padding ignored", **TRANSPOSED, output_padding=1)
def output_padding_ignored(t):
    return lambda x, w: t.nn.functional.conv_transpose2d(x, w, stride=2)


@entry("torch", "padding ignored", **TRANSPOSED, padding=1)
def transposed_padding_ignored(t):
    return lambda x, w: t.nn.functional.conv_transpose2d(x, w, stride=2)


@entry("torch", "stride ignored", **TRANSPOSED)
def transposed_stride_ignored(t):
    return lambda x, w: t.nn.functional.conv_transpose2d(x, w)


@entry("torch", "kernel flip", **TRANSPOSED)
def transposed_flipped(t):
    return lambda x, w: t.nn.functional.conv_transpose2d(x, w.flip((2, 3)), stride=2)


# ---- right forwards with a wrong derivative


def with_backward(j, change):
    """lax's convolution with a backward pass that `change` makes of the right one."""

    def right(x, w):
        return j.lax.conv(x, w, (1, 1), "VALID")

    conv = j.custom_vjp(right)
    conv.defvjp(
        lambda x, w: (right(x, w), (x, w)), lambda saved, g: change(lambda *a: j.vjp(right, *a[:2])[1](a[2]), *saved, g)
    )
    return lambda x, w: conv(x, w)


@entry("jax", "sign")
def sign_of_the_weight_gradient(j):
    return with_backward(j, lambda vjp, x, w, g: (vjp(x, w, g)[0], -vjp(x, w, g)[1]))


@entry("jax", "batch averaged")
def mean_over_the_batch(j):
    return with_backward(j, lambda vjp, x, w, g: (vjp(x, w, g)[0], vjp(x, w, g)[1] / len(x)))


@entry("jax", "only the first sample")
def first_sample_in_the_weight_gradient(j):
    return with_backward(j, lambda vjp, x, w, g: (vjp(x, w, g)[0], vjp(x[:1], w, g[:1])[1]))


@entry("jax", "kernel flip")
def input_gradient_not_flipped(j):
    return with_backward(j, lambda vjp, x, w, g: (vjp(x, w[..., ::-1, ::-1], g)[0], vjp(x, w, g)[1]))


@entry("jax", "border dropped")
def last_row_of_the_input_gradient(j):
    return with_backward(j, lambda vjp, x, w, g: (vjp(x, w, g)[0].at[:, :, -1].set(0), vjp(x, w, g)[1]))


@entry("jax", "constant factor")
def twice_the_input_gradient(j):
    return with_backward(j, lambda vjp, x, w, g: (2 * vjp(x, w, g)[0], vjp(x, w, g)[1]))


@entry("jax", "channels permuted")
def weight_gradient_with_channels_reversed(j):
    return with_backward(j, lambda vjp, x, w, g: (vjp(x, w, g)[0], vjp(x, w, g)[1][:, ::-1]))


@entry("jax", "second order only")
def second_order_stopped(j):
    def change(vjp, x, w, g):
        return j.tree.map(j.lax.stop_gradient, vjp(j.lax.stop_gradient(x), j.lax.stop_gradient(w), g))

    return with_backward(j, change)


@entry("jax", "detached")
def weight_detached(j):
    return lambda x, w: j.lax.conv(x, j.lax.stop_gradient(w), (1, 1), "VALID")


def function_of(t, backward):
    """torch's convolution as an autograd function with this backward pass."""

    class Convolution(t.autograd.Function):
        @staticmethod
        def forward(ctx, x, w):
            ctx.save_for_backward(x, w)
            return t.nn.functional.conv2d(x, w)

        @staticmethod
        def backward(ctx, g):
            return backward(*ctx.saved_tensors, g)

    return lambda x, w: Convolution.apply(x, w)


@entry("torch", "second order only")
def second_order_detached(t):
    grad = t.nn.grad
    return function_of(
        t, lambda x, w, g: (grad.conv2d_input(x.shape, w.detach(), g), grad.conv2d_weight(x.detach(), w.shape, g))
    )


@entry("torch", "sign")
def sign_of_the_input_gradient(t):
    grad = t.nn.grad
    return function_of(t, lambda x, w, g: (-grad.conv2d_input(x.shape, w, g), grad.conv2d_weight(x, w.shape, g)))


@entry("torch", "conjugate", dtype="complex64")
def conjugate_missing(t):
    return function_of(
        t,
        lambda x, w, g: (
            triconv.conv_input_vjp(g, w, input_size=x.shape[2:]),
            triconv.conv_weight_vjp(g, x.conj(), kernel_size=w.shape[2:]),
        ),
    )


@entry("jax", "conjugate", dtype="complex64")
def conjugate_too_many(j):
    return lambda x, w: j.lax.conv(x, w.conj(), (1, 1), "VALID")


@entry("jax", "detached", "jvp only", "second order only")
def jvp_without_the_weight(j):
    conv = j.custom_jvp(lambda x, w: j.lax.conv(x, w, (1, 1), "VALID"))
    conv.defjvp(lambda p, d: (conv(*p), j.lax.conv(d[0], p[1], (1, 1), "VALID")))
    return lambda x, w: conv(x, w)


def rules(**changed):
    """The rules of a convolution of `X` and `W` with stride 1 and no padding, except those that are changed."""
    right = {
        "forward": triconv.conv2d,
        "input_vjp": lambda g, w: triconv.conv_input_vjp(g, w, input_size=X[2:]),
        "weight_vjp": lambda g, x: triconv.conv_weight_vjp(g, x, kernel_size=W[2:]),
        "bias_vjp": lambda g: g.sum((0, 2, 3)),
    }
    return triconv.Rules(**right | changed)


@entry("numpy", "remainder dropped", "shape", shapes=((2, 3, 8, 8), (4, 3, 3, 3)), stride=2)
def remainder_of_the_stride_dropped(n):
    return triconv.Rules(
        lambda x, w: triconv.conv2d(x, w, stride=2), lambda g, w: triconv.conv_transpose2d(g, w, stride=2)
    )


@entry("numpy", "constant factor", "bias axis", "batch averaged", shapes=(X, W, (4,)))
def bias_gradient_is_a_mean(n):
    return rules(bias_vjp=lambda g: g.mean((0, 2, 3)))


@entry("numpy", "bias axis", "only the first sample", shapes=(X, W, (4,)))
def bias_gradient_of_one_position(n):
    return rules(bias_vjp=lambda g: g[:, :, 0, 0].sum(0))


@entry("numpy", "spatial axes swapped", "layout misread", shapes=(X, (4, 3, 3, 3)))
def weight_gradient_transposed(n):
    return rules(weight_vjp=lambda g, x: np.swapaxes(triconv.conv_weight_vjp(g, x, kernel_size=3), 2, 3).copy())


@entry("numpy", "border dropped")
def last_tap_of_the_weight_gradient(n):
    keep = np.array([1, 0], np.float32)
    return rules(weight_vjp=lambda g, x: keep * triconv.conv_weight_vjp(g, x, kernel_size=W[2:]))


@entry("numpy", "one element")
def one_element_of_the_input_gradient(n):
    def input_vjp(g, w):
        gx = triconv.conv_input_vjp(g, w, input_size=X[2:])
        gx[1:2, 2:3, 3, 1] = 0
        return gx

    return rules(input_vjp=input_vjp)


@entry("numpy", "padding off by one", padding=1)
def input_gradient_shifted(n):
    pads = [(0, 2), (1, 1)]
    return rules(
        forward=lambda x, w: triconv.conv2d(x, w, padding=1),
        input_vjp=lambda g, w: triconv.conv_input_vjp(g, w, input_size=X[2:], padding=pads),
        weight_vjp=lambda g, x: triconv.conv_weight_vjp(g, x, kernel_size=W[2:], padding=1),
    )


@entry("numpy", "kernel flip", like="conv2d_forward", shapes=((6, 7, 3), (3, 2, 3)))
def notebook_filter_flipped(n):
    backward = lambda upstream, f: triconv.conv2d_backward(upstream, f[::-1, ::-1])  # noqa: E731
    return triconv.Rules(triconv.conv2d_forward, backward, triconv.conv2d_backward_weights)


@entry("numpy", "layout misread", "shape", like="conv2d_forward", shapes=((6, 7, 3), (3, 2, 3)))
def notebook_gradient_channels_last(n):
    backward = lambda upstream, f: np.moveaxis(triconv.conv2d_backward(upstream, f), 0, -1)  # noqa: E731
    return triconv.Rules(triconv.conv2d_forward, backward, triconv.conv2d_backward_weights)


# ---- right, however unusual


@entry("jax")
def lax(j):
    return lambda x, w: j.lax.conv(x, w, (1, 1), "VALID")


@entry("torch")
def torch_functional(t):
    return t.nn.functional.conv2d


@entry("jax", stride=2, padding=1, groups=3, shapes=((2, 3, 7, 6), (6, 1, 3, 2)))
def lax_depthwise(j):
    return lambda x, w: j.lax.conv_general_dilated(x, w, (2, 2), [(1, 1)] * 2, feature_group_count=3)


@entry("torch", **TRANSPOSED, output_padding=1)
def torch_transposed(t):
    return lambda x, w: t.nn.functional.conv_transpose2d(x, w, stride=2, output_padding=1)


def by_fft(np_, x, w, **axes):
    sizes = [a + b - 1 for a, b in zip(x.shape[2:], w.shape[2:], strict=True)]
    flipped = w.flip((2, 3)) if hasattr(w, "flip") and not isinstance(w, np.ndarray) else np_.flip(w, (2, 3))
    products = np_.einsum("nchw,kchw->nkhw", np_.fft.rfftn(x, sizes, **axes), np_.fft.rfftn(flipped, sizes, **axes))
    y = np_.fft.irfftn(products, sizes, **axes)
    return y[:, :, w.shape[2] - 1 : x.shape[2], w.shape[3] - 1 : x.shape[3]]


@entry("numpy", shapes=((4, 8, 20, 21), (8, 8, 5, 7)))
def numpy_fft(n):
    return triconv.Rules(
        lambda x, w: by_fft(np, x, w, axes=(2, 3)).astype(x.dtype),
        lambda g, w: triconv.conv_input_vjp(g, w, input_size=(20, 21)),
    )


@entry("jax", shapes=((4, 8, 20, 21), (8, 8, 5, 7)))
def jax_fft(j):
    return lambda x, w: by_fft(j.numpy, x, w, axes=(2, 3))


@entry("torch", shapes=((4, 8, 20, 21), (8, 8, 5, 7)))
def torch_fft(t):
    return lambda x, w: by_fft(t, x, w, dim=(2, 3))


@entry("torch")
def torch_unfold(t):
    def conv(x, w):
        columns = t.nn.functional.unfold(x, w.shape[2:])
        size = [a - b + 1 for a, b in zip(x.shape[2:], w.shape[2:], strict=True)]
        return (w.reshape(len(w), -1) @ columns).reshape(len(x), len(w), *size)

    return conv


@entry("numpy")
def numpy_windows(n):
    return rules(
        forward=lambda x, w: np.einsum(
            "nchwij,kcij->nkhw", np.lib.stride_tricks.sliding_window_view(x, w.shape[2:], (2, 3)), w
        )
    )


@entry("jax", shapes=(X, (4, 3, 2, 1)))
def jax_shifted_sums(j):
    def conv(x, w):
        h, v = (a - b + 1 for a, b in zip(x.shape[2:], w.shape[2:], strict=True))
        taps = np.ndindex(*w.shape[2:])
        return sum(j.numpy.einsum("nchw,kc->nkhw", x[:, :, a : a + h, b : b + v], w[:, :, a, b]) for a, b in taps)

    return conv


@entry("jax", dtype="bfloat16")
def lax_in_bfloat16(j):
    return lambda x, w: j.lax.conv(x, w, (1, 1), "VALID")


@entry("torch", dtype="bfloat16")
def torch_in_bfloat16(t):
    return lambda x, w: t.nn.functional.conv2d(x.float(), w.float()).to(x.dtype)  # as CPUs with bfloat16 do


@entry("jax", dtype="float16")
def lax_in_float16(j):
    return lambda x, w: j.lax.conv(x, w, (1, 1), "VALID")


@entry("torch", dtype="float64", shapes=(X, W, (4,)))
def torch_in_float64(t):
    return t.nn.functional.conv2d


@entry("torch", dtype="complex64")
def torch_complex(t):
    return t.nn.functional.conv2d


@entry("jax", dtype="complex128")
def lax_complex(j):
    return lambda x, w: j.lax.conv(x, w, (1, 1), "VALID")


@entry("jax", like="conv2d_forward", shapes=((6, 7, 3), (3, 2, 3)))
def notebook_in_jax(j):
    numbers = ("NHWC", "HWIO", "NHWC")
    return lambda m, f: j.lax.conv_general_dilated(m[None], f[..., None], (1, 1), "VALID", dimension_numbers=numbers)[
        0, ..., 0
    ]


@entry("jax")
def jax_right_by_hand(j):
    return with_backward(j, lambda vjp, x, w, g: vjp(x, w, g))


@entry("torch")
def torch_right_by_hand(t):
    grad = t.nn.grad
    return function_of(t, lambda x, w, g: (grad.conv2d_input(x.shape, w, g), grad.conv2d_weight(x, w.shape, g)))


@entry("numpy", shapes=(X, W, (4,)))
def rules_with_bias(n):
    return rules()


@entry("torch", shapes=((2, 3, 8, 8), (4, 3, 3, 3)))
def winograd(t):
    """F(2x2, 3x3): tiles of 4x4, sixteen products for four results."""
    b = t.tensor([[1.0, 0, -1, 0], [0, 1, 1, 0], [0, -1, 1, 0], [0, 1, 0, -1]])
    f = t.tensor([[1, 0, 0], [0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0, 0, 1]])
    a = t.tensor([[1.0, 1, 1, 0], [0, 1, -1, -1]])

    def conv(x, w):
        n, _, h, v = x.shape
        tiles = t.stack([t.stack([x[:, :, p : h - 3 + p : 2, q : v - 3 + q : 2] for q in range(4)]) for p in range(4)])
        d = t.einsum("ip,jq,pqnchw->ijnchw", b, b, tiles)
        u = t.einsum("ip,jq,kcpq->ijkc", f, f, w)
        m = t.einsum("ijnchw,ijkc->ijnkhw", d, u)
        y = t.einsum("pi,qj,ijnkhw->nkhpwq", a, a, m)
        return y.reshape(n, w.shape[0], h - 2, v - 2)

    return conv
