"""A convolution with a backward by hand, and every mistake that a table names, in every geometry of another table.

`Windows` is right, and written as courses have it: products with the windows of a padded input. A mistake is a function that
computes one result otherwise, by the same windows; it is no `triconv` underneath, so that a name is found for what somebody
would really write.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

import triconv


class Windows(NamedTuple):
    """A convolution of these sizes, over windows of the padded input."""

    batch: int
    channels: int
    outputs: int
    inputs: tuple
    kernel: tuple
    stride: tuple
    dilation: tuple
    pads: tuple
    groups: int = 1

    @classmethod
    def of(cls, batch, channels, outputs, inputs, kernel, stride=1, dilation=1, padding=0, groups=1):
        every = lambda value: (value,) * len(inputs) if isinstance(value, int) else tuple(value)  # noqa: E731
        pads = tuple((p, p) if isinstance(p, int) else tuple(p) for p in every(padding))
        return cls(batch, channels, outputs, inputs, kernel, every(stride), every(dilation), pads, groups)

    @property
    def out(self):
        sizes = zip(self.inputs, self.kernel, self.stride, self.dilation, self.pads, strict=True)
        return tuple((n + sum(p) - d * (k - 1) - 1) // s + 1 for n, k, s, d, p in sizes)

    @property
    def shapes(self):
        w = (self.outputs, self.channels // self.groups, *self.kernel)
        return (self.batch, self.channels, *self.inputs), w, (self.outputs,)

    @property
    def params(self):
        return {"stride": self.stride, "dilation": self.dilation, "padding": list(self.pads), "groups": self.groups}

    @property
    def like(self):
        return getattr(triconv, f"conv{len(self.inputs)}d")

    def pad(self, x, **mode):
        return np.pad(x, ((0, 0), (0, 0), *self.pads), **mode)

    def crop(self, gp):
        inner = (slice(lo, lo + n) for (lo, _), n in zip(self.pads, self.inputs, strict=True))
        return gp[(..., *inner)]

    def windows(self, padded, stride=None, dilation=None):
        """The windows of a padded input, (N, C, *out, *kernel), in its memory; ValueError where one does not fit."""
        stride, dilation = stride or self.stride, dilation or self.dilation
        n = len(self.out)
        spans = [d * (k - 1) + 1 for d, k in zip(dilation, self.kernel, strict=True)]
        if any(s * (o - 1) + span > z for s, o, span, z in zip(stride, self.out, spans, padded.shape[2:], strict=True)):
            raise ValueError
        every = np.lib.stride_tricks.sliding_window_view(padded, spans, tuple(range(2, 2 + n)), writeable=True)
        at = (slice(0, s * (o - 1) + 1, s) for s, o in zip(stride, self.out, strict=True))
        return every[(slice(None), slice(None), *at, *(slice(None, None, d) for d in dilation))]

    def halves(self):
        """The channels of x and of the output in each group."""
        c, k = self.channels // self.groups, self.outputs // self.groups
        for g in range(self.groups):
            yield slice(g * c, (g + 1) * c), slice(g * k, (g + 1) * k)

    def product(self, subscripts, results, *operands):
        """A product in each group; the letters of positions and taps, as many as there are axes, stand for "o" and "t"."""
        n = len(self.out)
        return np.einsum(
            subscripts.replace("o", "uvw"[:n]).replace("t", "ijl"[:n]), *operands, optimize=True, out=results
        )

    def forward(self, x, w, padded=None, **index):
        windows = self.windows(self.pad(x) if padded is None else padded, **index)
        y = np.zeros((len(x), len(w), *self.out), x.dtype)
        for c, k in self.halves():
            self.product("ncot,kct->nko", y[:, k], windows[:, c], w[k])
        return y

    def weighted(self, g, outputs, weight):
        """The cotangent, with a weight for each position, and zero where there is none of `outputs`."""
        weights = np.zeros(self.out, g.dtype)
        for o in outputs or np.ndindex(self.out):
            weights[o] = weight(o)
        return np.where(weights, g * weights, np.zeros_like(g))

    def padded_input_vjp(self, g, w, assign=False, outputs=None, weight=lambda o: 1, **index):
        gp = np.zeros(
            (len(g), self.channels, *(n + sum(p) for n, p in zip(self.inputs, self.pads, strict=True))), g.dtype
        )
        windows, g = self.windows(gp, **index), self.weighted(g, outputs, weight)
        parts = np.zeros(windows.shape, g.dtype)
        for c, k in self.halves():
            self.product("nko,kct->ncot", parts[:, c], g[:, k], w[k])
        every = (slice(None), slice(None))
        if assign:
            for o in np.ndindex(self.out):
                windows[(*every, *o)] = parts[(*every, *o)]
        else:
            for t in np.ndindex(self.kernel):
                windows[(..., *t)] += parts[(..., *t)]
        return gp

    def input_vjp(self, g, w, **options):
        return self.crop(self.padded_input_vjp(g, w, **options))

    def weight_vjp(self, g, x, padded=None, outputs=None, weight=lambda o: 1, **index):
        windows = self.windows(self.pad(x) if padded is None else padded, **index)
        g, gw = self.weighted(g, outputs, weight), np.zeros(self.shapes[1], g.dtype)
        for c, k in self.halves():
            self.product("nko,ncot->kct", gw[k], g[:, k], windows[:, c])
        return gw

    def bias_vjp(self, g):
        return g.sum((0, *range(2, g.ndim)))


GEOMETRIES = {
    "plain": Windows.of(3, 2, 3, (7, 6), (3, 2)),
    "padded": Windows.of(2, 3, 4, (6, 5), (3, 3), padding=1),
    "strided": Windows.of(2, 2, 3, (8, 9), (3, 3), stride=2, padding=1),
    "remainder": Windows.of(3, 2, 2, (11, 9), (3, 2), stride=(3, 2)),
    "even": Windows.of(2, 3, 3, (6, 8), (4, 2), padding=[(2, 1), (1, 0)]),
    "dilated": Windows.of(2, 2, 3, (9, 8), (3, 2), dilation=(2, 3), padding=(1, 2), stride=(1, 2)),
    "grouped": Windows.of(2, 4, 6, (6, 7), (3, 3), padding=1, groups=2),
    "depthwise": Windows.of(3, 3, 3, (7, 6), (3, 3), padding=1, stride=2, groups=3),
    "line": Windows.of(3, 3, 4, (13,), (4,), stride=2, padding=[(2, 1)]),
    "causal": Windows.of(2, 3, 2, (9,), (3,), dilation=2, padding=[(4, 0)]),
    "volume": Windows.of(2, 2, 2, (5, 4, 6), (2, 3, 2), padding=(1, 1, 0)),
    "alone": Windows.of(1, 1, 1, (8, 7), (3, 3), padding=1),
}


class Mistake(NamedTuple):
    name: str
    result: str
    compute: Any
    causes: frozenset[str]


MISTAKES: list[Mistake] = []


def mistake(result, *causes):
    """Say that a function computes "y", "gx", "gw" or "gb" wrongly, and what the cause must be called."""

    def add(compute):
        MISTAKES.append(Mistake(compute.__name__, result, compute, frozenset(causes)))
        return compute

    return add


def candidate(c, wrong):
    """The rules with one wrong function."""

    def forward(x, w, b):
        return wrong.compute(c, x, w, b) if wrong.result == "y" else c.forward(x, w) + column(b, x)

    rules = {"forward": forward, "input_vjp": c.input_vjp, "weight_vjp": c.weight_vjp, "bias_vjp": c.bias_vjp}
    name = {"gx": "input_vjp", "gw": "weight_vjp", "gb": "bias_vjp"}.get(wrong.result)
    if name is not None:
        rules[name] = lambda *arrays: wrong.compute(c, *arrays)
    return triconv.Rules(**rules)


def column(b, like):
    return b.reshape(-1, *[1] * (like.ndim - 2))


def is_seen(c, wrong):
    """Whether the mistake changes its result in this geometry, or cannot be made there: then it is no mistake."""
    rng = np.random.default_rng(1)
    x, w, b = (rng.integers(1, 9, shape).astype(np.float64) * rng.choice([-1, 1], shape) for shape in c.shapes)
    g = rng.integers(-9, 9, (c.batch, c.outputs, *c.out)).astype(np.float64)
    right = {
        "y": c.forward(x, w) + column(b, g),
        "gx": c.input_vjp(g, w),
        "gw": c.weight_vjp(g, x),
        "gb": c.bias_vjp(g),
    }
    arguments = {"y": (x, w, b), "gx": (g, w), "gw": (g, x), "gb": (g,)}
    try:
        found = wrong.compute(c, *arguments[wrong.result])
    except (ValueError, IndexError):
        return False
    return found.shape != right[wrong.result].shape or not np.allclose(found, right[wrong.result])


# ---- "=" for "+="


@mistake("gx", "overwritten")
def window_assigned(c, g, w):
    return c.input_vjp(g, w, assign=True)


@mistake("gx", "overwritten")
def tap_assigned(c, g, w):
    """Loops over taps, each of which assigns a strided slice."""
    gp = np.zeros_like(c.padded_input_vjp(g, w))
    for t in np.ndindex(c.kernel):
        at = tuple(
            slice(i * d, i * d + s * (n - 1) + 1, s) for i, d, s, n in zip(t, c.dilation, c.stride, c.out, strict=True)
        )
        for a, k in c.halves():
            gp[:, a][(..., *at)] = np.moveaxis(np.tensordot(w[(k, slice(None), *t)], g[:, k], (0, 1)), 0, 1)
    return c.crop(gp)


@mistake("gx", "overwritten", "channels left out")
def last_output_channel_alone(c, g, w):
    keep = np.zeros(c.outputs, g.dtype)
    for _, k in c.halves():
        keep[k.stop - 1] = 1
    return c.input_vjp(g * keep.reshape(-1, *[1] * len(c.out)), w)


@mistake("gw", "overwritten", "samples left out")
def last_sample_alone(c, g, x):
    return c.weight_vjp(g[-1:], x[-1:])


@mistake("gw", "overwritten")
def last_window_alone(c, g, x):
    return c.weight_vjp(g[-1:], x[-1:], outputs=[tuple(n - 1 for n in c.out)])


@mistake("gb", "overwritten", "samples left out")
def last_sample_of_the_bias(c, g):
    return g[-1].sum(tuple(range(1, g.ndim - 1)))


@mistake("gb", "overwritten")
def last_position_of_the_bias(c, g):
    return g[(-1, slice(None), *[-1] * len(c.out))]


@mistake("y", "overwritten", "channels left out")
def last_channel_alone(c, x, w, b):
    last = np.zeros_like(w)
    last[:, -1] = w[:, -1]
    return c.forward(x, last) + column(b, x)


@mistake("y", "overwritten", "taps left out", "border dropped")
def last_tap_alone(c, x, w, b):
    last, at = np.zeros_like(w), (slice(None), slice(None), *[-1] * len(c.kernel))
    last[at] = w[at]
    return c.forward(x, last) + column(b, x)


@mistake("y", "accumulated")
def sum_not_reset(c, x, w, b):
    return np.cumsum(c.forward(x, w) + column(b, x), axis=-1)


# ---- padding


@mistake("gx", "padding not cropped")
def padding_left_on(c, g, w):
    return c.padded_input_vjp(g, w)


@mistake("gx", "padding cropped on the wrong side")
def padding_left_on_after(c, g, w):
    return c.padded_input_vjp(g, w)[(..., *(slice(lo, None) for lo, _ in c.pads))]


@mistake("gx", "padding cropped on the wrong side", "padding not cropped")
def padding_left_on_before(c, g, w):
    return c.padded_input_vjp(g, w)[(..., *(slice(None, -hi or None) for _, hi in c.pads))]


@mistake("gx", "empty result")
def cropped_to_nothing(c, g, w):
    if any(hi for _, hi in c.pads):
        raise ValueError
    return c.padded_input_vjp(g, w)[(..., *(slice(lo, -hi) for lo, hi in c.pads))]


@mistake("gx", "padding ignored", "padding off by one", "wrong padding", "shifted", "padding low and high exchanged")
def first_rows_taken(c, g, w):
    return c.padded_input_vjp(g, w)[(..., *(slice(0, n) for n in c.inputs))]


@mistake("y", "wrap-around")
def wrapped(c, x, w, b):
    return c.forward(x, w, c.pad(x, mode="wrap")) + column(b, x)


@mistake("y", "padding mode")
def edges_repeated(c, x, w, b):
    return c.forward(x, w, c.pad(x, mode="edge")) + column(b, x)


@mistake("y", "padding low and high exchanged", "padding off by one", "wrong padding")
def padded_on_the_other_side(c, x, w, b):
    swapped = c._replace(pads=tuple(pair[::-1] for pair in c.pads))
    return swapped.forward(x, w) + column(b, x)


@mistake("gw", "padding off by one")
def weight_gradient_one_row_off(c, g, x):
    if not min(map(min, c.pads)):
        raise ValueError
    return c._replace(pads=tuple((lo + 1, hi - 1) for lo, hi in c.pads)).weight_vjp(g, x)


@mistake("gw", "padding ignored", "padding off by one", "wrong padding", "padding low and high exchanged")
def weight_gradient_of_the_unpadded_input(c, g, x):
    pads = [(0, lo + hi) for lo, hi in c.pads]
    return c.weight_vjp(g, x, np.pad(x, ((0, 0), (0, 0), *pads)))


@mistake("gw", "wrap-around")
def weight_gradient_wrapped(c, g, x):
    return c.weight_vjp(g, x, c.pad(x, mode="wrap"))


# ---- stride and dilation


@mistake("gx", "stride ignored")
def stride_forgotten(c, g, w):
    return c.input_vjp(g, w, stride=(1,) * len(c.out))


@mistake("gw", "stride ignored")
def stride_forgotten_in_the_weight_gradient(c, g, x):
    return c.weight_vjp(g, x, stride=(1,) * len(c.out))


@mistake("y", "stride ignored")
def stride_forgotten_in_the_value(c, x, w, b):
    return c.forward(x, w, stride=(1,) * len(c.out)) + column(b, x)


@mistake("gx", "dilation ignored")
def dilation_forgotten(c, g, w):
    return c.input_vjp(g, w, dilation=(1,) * len(c.out))


@mistake("gw", "dilation ignored")
def dilation_forgotten_in_the_weight_gradient(c, g, x):
    return c.weight_vjp(g, x, dilation=(1,) * len(c.out))


@mistake("y", "dilation ignored")
def dilation_forgotten_in_the_value(c, x, w, b):
    return c.forward(x, w, dilation=(1,) * len(c.out)) + column(b, x)


def room(c, padded):
    """More zeros after, so that windows of other strides fit."""
    return np.pad(padded, ((0, 0), (0, 0), *((0, 60),) * len(c.out)))


@mistake("gw", "stride and dilation exchanged", "stride ignored", "dilation ignored")
def exchanged_in_the_weight_gradient(c, g, x):
    return c.weight_vjp(g, x, room(c, c.pad(x)), stride=c.dilation, dilation=c.stride)


@mistake("y", "stride and dilation exchanged", "stride ignored", "dilation ignored")
def exchanged_in_the_value(c, x, w, b):
    return c.forward(x, w, room(c, c.pad(x)), stride=c.dilation, dilation=c.stride) + column(b, x)


@mistake("gw", "spatial axes swapped", "stride ignored")
def stride_of_the_rows_for_the_columns(c, g, x):
    return c.weight_vjp(g, x, room(c, c.pad(x)), stride=(c.stride[0],) * len(c.out))


# ---- the kernel


@mistake("gx", "kernel flip")
def kernel_flipped(c, g, w):
    return c.input_vjp(g, np.flip(w, tuple(range(2, w.ndim))))


@mistake("gx", "kernel flip in one axis", "kernel flip")
def kernel_flipped_in_its_rows(c, g, w):
    return c.input_vjp(g, np.flip(w, 2))


@mistake("gw", "kernel flip")
def weight_gradient_flipped(c, g, x):
    return np.flip(c.weight_vjp(g, x), tuple(range(2, x.ndim))).copy()


@mistake("y", "kernel flip")
def kernel_flipped_in_the_value(c, x, w, b):
    return c.forward(x, np.flip(w, tuple(range(2, w.ndim)))) + column(b, x)


@mistake("gx", "channels swapped", "layout misread")
def kernel_channels_swapped(c, g, w):
    return c.input_vjp(g, np.swapaxes(w, 0, 1).reshape(w.shape))


@mistake("gw", "channels swapped", "layout misread")
def weight_gradient_with_channels_swapped(c, g, x):
    return np.swapaxes(c.weight_vjp(g, x), 0, 1).reshape(c.shapes[1])


@mistake("gw", "spatial axes swapped", "layout misread")
def weight_gradient_transposed(c, g, x):
    return np.swapaxes(c.weight_vjp(g, x), -1, -2).copy()


@mistake("gx", "spatial axes swapped", "layout misread")
def kernel_transposed(c, g, w):
    return c.input_vjp(g, np.swapaxes(w, -1, -2))


# ---- parts of the sum


@mistake("y", "border dropped", "positions left out", "one element")
def last_row_not_written(c, x, w, b):
    y = c.forward(x, w) + column(b, x)
    y[..., -1] = 0
    return y


@mistake("gx", "border dropped", "positions left out")
def last_output_row_not_scattered(c, g, w):
    return c.input_vjp(g, w, outputs=[o for o in np.ndindex(c.out) if o[0] < c.out[0] - 1])


@mistake("gw", "border dropped", "positions left out")
def last_output_column_not_summed(c, g, x):
    return c.weight_vjp(g, x, outputs=[o for o in np.ndindex(c.out) if o[-1] < c.out[-1] - 1])


@mistake("gx", "border dropped", "positions left out")
def border_windows_left_out(c, g, w):
    inner = [o for o in np.ndindex(c.out) if all(0 < i < n - 1 for i, n in zip(o, c.out, strict=True))]
    if not inner:
        raise ValueError
    return c.input_vjp(g, w, outputs=inner)


@mistake("gx", "positions left out", "border dropped")
def every_other_window(c, g, w):
    return c.input_vjp(g, w, outputs=[o for o in np.ndindex(c.out) if o[0] % 2 == 0])


@mistake("gx", "counted twice")
def first_row_twice(c, g, w):
    return c.input_vjp(g, w, weight=lambda o: 1 + (o[0] == 0))


@mistake("gw", "counted twice")
def last_row_twice(c, g, x):
    return c.weight_vjp(g, x, weight=lambda o: 1 + (o[-1] == c.out[-1] - 1))


@mistake("gw", "sign of some parts")
def first_row_negative(c, g, x):
    return c.weight_vjp(g, x, weight=lambda o: 1 - 2 * (o[0] == 0))


@mistake("gx", "taps left out", "border dropped")
def middle_tap_left_out(c, g, w):
    w = w.copy()
    w[(..., *(n // 2 for n in c.kernel))] = 0
    return c.input_vjp(g, w)


@mistake("y", "taps left out", "border dropped")
def first_tap_left_out(c, x, w, b):
    w = w.copy()
    w[(..., *[0] * len(c.kernel))] = 0
    return c.forward(x, w) + column(b, x)


@mistake("gw", "taps left out", "border dropped")
def upper_taps_masked(c, g, x):
    gw = c.weight_vjp(g, x)
    gw[:, :, : c.kernel[0] // 2] = 0
    return gw


@mistake("y", "channels left out", "overwritten", "zero")
def first_channel_left_out(c, x, w, b):
    x = x.copy()
    x[:, 0] = 0
    return c.forward(x, w) + column(b, x)


@mistake("gx", "channels left out", "overwritten", "detached")
def first_output_channel_left_out(c, g, w):
    g = g.copy()
    g[:, 0] = 0
    return c.input_vjp(g, w)


@mistake("gw", "only the first sample", "samples left out")
def first_sample_alone(c, g, x):
    return c.weight_vjp(g[:1], x[:1])


@mistake("gx", "size of the other axis", "border dropped", "positions left out")
def as_many_columns_as_rows(c, g, w):
    return c.input_vjp(g, w, outputs=[o for o in np.ndindex(c.out) if o[-1] < c.out[0]])


@mistake("gw", "size of the other axis", "border dropped", "taps left out")
def as_many_tap_rows_as_columns(c, g, x):
    gw = c.weight_vjp(g, x)
    gw[:, :, c.kernel[-1] :] = 0
    return gw


# ---- numbers


@mistake("gx", "sign")
def sign(c, g, w):
    return -c.input_vjp(g, w)


@mistake("gx", "constant factor")
def half(c, g, w):
    return c.input_vjp(g, w) / 2


@mistake("gw", "batch averaged")
def mean_over_the_batch(c, g, x):
    return c.weight_vjp(g, x) / len(x)


@mistake("gw", "constant factor", "batch averaged")
def mean_over_the_positions(c, g, x):
    return c.weight_vjp(g, x) / int(np.prod(c.out))


@mistake("gw", "constant factor")
def mean_over_all(c, g, x):
    return c.weight_vjp(g, x) / (len(x) * int(np.prod(c.out)))


@mistake("gb", "batch averaged", "constant factor")
def bias_mean_over_the_batch(c, g):
    return c.bias_vjp(g) / len(g)


@mistake("gb", "constant factor", "batch averaged")
def bias_mean(c, g):
    return g.mean((0, *range(2, g.ndim)))


@mistake("gb", "bias axis", "constant factor", "channels permuted")
def bias_summed_over_channels(c, g):
    return np.full(c.outputs, g.sum(), g.dtype)


@mistake("gb", "constant factor")
def bias_twice(c, g):
    return 2 * c.bias_vjp(g)


@mistake("gb", "kept axes")
def bias_keeps_axes(c, g):
    return g.sum((0, *range(2, g.ndim)), keepdims=True)


@mistake("gb", "bias axis", "positions left out", "border dropped", "only the first sample")
def bias_of_the_first_position(c, g):
    return g[(slice(None), slice(None), *[0] * len(c.out))].sum(0)


@mistake("gw", "normalised")
def divided_by_its_norm(c, g, x):
    gw = c.weight_vjp(g, x)
    return gw / np.sqrt((gw**2).sum())


@mistake("gx", "normalised")
def every_sample_divided_by_its_norm(c, g, w):
    gx = c.input_vjp(g, w)
    return gx / np.sqrt((gx**2).sum(tuple(range(1, gx.ndim)), keepdims=True))


@mistake("gx", "clipped", "normalised")
def norm_clipped(c, g, w):
    gx = c.input_vjp(g, w)
    return gx / np.maximum(1, np.sqrt((gx**2).sum()))


@mistake("gx", "clipped")
def elements_clipped(c, g, w):
    return np.clip(c.input_vjp(g, w), -2, 2)


@mistake("y", "tensor added")
def residual_added(c, x, w, b):
    return c.forward(x, w) + column(b, x) + x


@mistake("gx", "detached")
def detached(c, g, w):
    return np.zeros_like(c.input_vjp(g, w))


@mistake("y", "zero")
def never_written(c, x, w, b):
    return np.zeros_like(c.forward(x, w))


@mistake("gx", "noise")
def noise_everywhere(c, g, w):
    gx = c.input_vjp(g, w)
    return gx + np.random.default_rng(3).standard_normal(gx.shape).astype(gx.dtype) / 4


@mistake("gx", "nondeterministic", "noise")
def noise_every_time(c, g, w, rng=np.random.default_rng(5)):  # noqa: B008
    gx = c.input_vjp(g, w)
    return gx * rng.uniform(0, 2, gx.shape).astype(gx.dtype)


# ---- activations and norms


@mistake("y", "activation")
def relu_of_the_value(c, x, w, b):
    return np.maximum(c.forward(x, w) + column(b, x), 0)


@mistake("y", "activation")
def tanh_of_the_value(c, x, w, b):
    return np.tanh(c.forward(x, w) + column(b, x))


@mistake("y", "activation")
def leaky_value(c, x, w, b):
    y = c.forward(x, w) + column(b, x)
    return np.where(y > 0, y, y * np.float32(0.01)).astype(y.dtype)


@mistake("y", "activation")
def relu_of_the_input(c, x, w, b):
    return c.forward(np.maximum(x, 0), w) + column(b, x)


@mistake("gx", "activation")
def relu_of_the_cotangent(c, g, w):
    return c.input_vjp(np.maximum(g, 0), w)


@mistake("gx", "activation")
def absolute(c, g, w):
    return np.abs(c.input_vjp(g, w))


@mistake("gw", "activation")
def squared(c, g, x):
    return c.weight_vjp(g, x) ** 2


@mistake("gw", "activation")
def of_absolute_input(c, g, x):
    return c.weight_vjp(g, np.abs(x))


@mistake("y", "normalised")
def batch_norm(c, x, w, b):
    y = c.forward(x, w)
    axes = (0, *range(2, y.ndim))
    return ((y - y.mean(axes, keepdims=True)) / np.sqrt(y.var(axes, keepdims=True) + 1e-5)).astype(y.dtype)


# ---- the bias


@mistake("y", "bias ignored")
def bias_forgotten(c, x, w, b):
    return c.forward(x, w)


@mistake("y", "bias added several times")
def bias_per_channel(c, x, w, b):
    return c.forward(x, w) + (c.channels // c.groups) * column(b, x)


@mistake("y", "bias added several times")
def bias_per_tap(c, x, w, b):
    return c.forward(x, w) + int(np.prod(c.kernel)) * column(b, x)


@mistake("y", "bias added several times")
def bias_per_product(c, x, w, b):
    return c.forward(x, w) + (c.channels // c.groups) * int(np.prod(c.kernel)) * column(b, x)


@mistake("y", "wrong bias")
def bias_subtracted(c, x, w, b):
    return c.forward(x, w) - column(b, x)


@mistake("y", "wrong bias")
def first_bias_for_all(c, x, w, b):
    return c.forward(x, w) + b[0]


# ---- samples, channels and groups in other places


@mistake("gx", "samples permuted")
def samples_rolled(c, g, w):
    return np.roll(c.input_vjp(g, w), 1, 0)


@mistake("y", "samples permuted")
def samples_reversed(c, x, w, b):
    return (c.forward(x, w) + column(b, x))[::-1].copy()


@mistake("gw", "samples permuted")
def samples_of_others(c, g, x):
    return c.weight_vjp(g, np.roll(x, 1, 0))


@mistake("gw", "samples mixed")
def all_samples_meet(c, g, x):
    return c.weight_vjp(g.sum(0, keepdims=True), x.sum(0, keepdims=True))


@mistake("gx", "channels permuted", "groups permuted")
def channels_reversed(c, g, w):
    return c.input_vjp(g, w)[:, ::-1].copy()


@mistake("gw", "channels permuted", "groups permuted")
def output_channels_rolled(c, g, x):
    return np.roll(c.weight_vjp(g, x), 1, 0)


@mistake("gx", "padding off by one")
def rolled_by_a_row(c, g, w):
    return np.roll(c.input_vjp(g, w), 1, 2)


@mistake("y", "groups connected")
def groups_connected(c, x, w, b):
    halves = [x[:, a] for a, _ in c.halves()]
    if len(halves) == 1:
        raise ValueError
    return c.forward(np.concatenate([sum(halves)] * c.groups, 1), w) + column(b, x)


@mistake("gx", "groups permuted", "channels permuted")
def groups_exchanged(c, g, w):
    return c.input_vjp(np.concatenate([g[:, k] for _, k in c.halves()][::-1], 1), w)


@mistake("y", "only the first group")
def first_group_alone(c, x, w, b):
    y = c.forward(x, w) + column(b, x)
    y[:, c.outputs // c.groups :] = 0
    return y
