"""Right convolutions in unusual styles, for which `triconv.check` must raise no alarm: each style in every geometry."""

from __future__ import annotations

import numpy as np

import triconv

STYLES = {}


def style(make):
    """Say that a function makes rules of loops: right, however it is written."""
    STYLES[make.__name__] = make
    return make


def column(b, ndim):
    return b.reshape(-1, *[1] * ndim)


def rules(c, forward, input_vjp=None, weight_vjp=None):
    return triconv.Rules(
        lambda x, w, b: forward(x, w) + column(b, len(c.inputs)),
        input_vjp or c.input_vjp,
        weight_vjp or c.weight_vjp,
        c.bias_vjp,
    )


@style
def windows(c):
    return rules(c, c.forward)


@style
def windows_backwards(c):
    """In loops, from the last window to the first."""

    def each(padded):
        windows = c.windows(padded)
        for n in range(len(padded)):
            for o in list(np.ndindex(c.out))[::-1]:
                yield n, o, windows[(n, slice(None), *o)]

    def input_vjp(g, w):
        gp = np.zeros_like(c.padded_input_vjp(g, w))
        for n, o, part in each(gp):
            for a, k in c.halves():
                part[a] += np.tensordot(g[(n, k, *o)], w[k], 1)
        return c.crop(gp)

    def weight_vjp(g, x):
        gw = np.zeros(c.shapes[1], g.dtype)
        for n, o, part in each(c.pad(x)):
            for a, k in c.halves():
                gw[k] += np.multiply.outer(g[(n, k, *o)], part[a])
        return gw

    return rules(c, c.forward, input_vjp, weight_vjp)


def taps(c):
    """Each tap with the slice of the padded input that meets it."""
    for t in np.ndindex(c.kernel):
        parts = zip(t, c.dilation, c.stride, c.out, strict=True)
        yield t, (..., *(slice(i * d, i * d + s * (n - 1) + 1, s) for i, d, s, n in parts))


@style
def im2col(c):
    """One product of a matrix of columns, in each group."""

    def columns(x):
        padded = c.pad(x)
        return np.stack([padded[at] for _, at in taps(c)], 2)

    def forward(x, w):
        every = columns(x)
        parts = [np.einsum("nctz,kct->nkz", every[:, a].reshape(len(x), -1, w[0, 0].size, int(np.prod(c.out))),
                           w[k].reshape(-1, w.shape[1], w[0, 0].size)) for a, k in c.halves()]  # fmt: skip
        return np.concatenate(parts, 1).reshape(len(x), -1, *c.out)

    def weight_vjp(g, x):
        every = columns(x)
        flat = g.reshape(*g.shape[:2], -1)
        parts = [np.einsum("nctz,nkz->kct", every[:, a].reshape(len(x), -1, int(np.prod(c.kernel)), flat.shape[2]),
                           flat[:, k]) for a, k in c.halves()]  # fmt: skip
        return np.concatenate(parts).reshape(c.shapes[1])

    return rules(c, forward, None, weight_vjp)


@style
def scattered_by_taps(c):
    """The input gradient by taps, each added to a strided slice."""

    def input_vjp(g, w):
        gp = np.zeros_like(c.padded_input_vjp(g, w))
        for t, at in taps(c):
            for a, k in c.halves():
                gp[:, a][at] += np.moveaxis(np.tensordot(w[(k, slice(None), *t)], g[:, k], (0, 1)), 0, 1)
        return c.crop(gp)

    return rules(c, c.forward, input_vjp)


@style
def in_double(c):
    """Computed in double precision, and rounded once."""
    wide = lambda f: lambda *arrays: f(*(a.astype("f8") for a in arrays)).astype(arrays[0].dtype)  # noqa: E731
    return rules(c, wide(c.forward), wide(c.input_vjp), wide(c.weight_vjp))


@style
def in_other_memory_orders(c):
    """Fortran order, and results that are views with negative strides."""
    turned = lambda a: a[::-1].copy()[::-1]  # noqa: E731
    return rules(
        c, lambda x, w: np.asfortranarray(c.forward(x, w)), lambda g, w: turned(c.input_vjp(g, w)),
        lambda g, x: np.asfortranarray(c.weight_vjp(g, x)),
    )  # fmt: skip


@style
def by_fourier_transform(c):
    """Full convolutions by an FFT, of which the strided outputs are taken."""

    def forward(x, w):
        axes = tuple(range(2, x.ndim))
        padded = c.pad(x)
        spread = np.zeros((*w.shape[:2], *(d * (k - 1) + 1 for d, k in zip(c.dilation, c.kernel, strict=True))))
        spread[(..., *(slice(None, None, d) for d in c.dilation))] = w
        sizes = [a + b - 1 for a, b in zip(padded.shape[2:], spread.shape[2:], strict=True)]
        fx = np.fft.rfftn(padded, sizes, axes)
        fw = np.fft.rfftn(np.flip(spread, axes), sizes, axes)
        parts = [np.einsum("nc...,kc...->nk...", fx[:, a], fw[k]) for a, k in c.halves()]
        full = np.fft.irfftn(np.concatenate(parts, 1), sizes, axes)
        ends = zip(spread.shape[2:], c.stride, c.out, strict=True)
        return full[(..., *(slice(e - 1, e + s * (n - 1), s) for e, s, n in ends))].astype(x.dtype)

    return rules(c, forward)


@style
def by_dot_products_of_scipy(c):
    """`scipy.signal.correlate` for each pair of channels, then every stride-th element."""
    from scipy import signal

    def forward(x, w):
        padded = c.pad(x)
        y = np.zeros((len(x), len(w), *c.out), x.dtype)
        for a, k in c.halves():
            for n, o, i in np.ndindex(len(x), k.stop - k.start, w.shape[1]):
                kernel = np.zeros([d * (t - 1) + 1 for d, t in zip(c.dilation, c.kernel, strict=True)], w.dtype)
                kernel[tuple(slice(None, None, d) for d in c.dilation)] = w[k.start + o, i]
                full = signal.correlate(padded[n, a.start + i], kernel, "valid", "direct")
                y[n, k.start + o] += full[
                    tuple(slice(None, s * (m - 1) + 1, s) for s, m in zip(c.stride, c.out, strict=True))
                ]
        return y

    return rules(c, forward)
