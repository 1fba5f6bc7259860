"""Convolutions to test with: hypothesis builds them, the oracle by definition answers them."""

from __future__ import annotations

from hypothesis import strategies as st

from triconv.checking.oracles.cases import Case


@st.composite
def axes(draw, most_taps=4):
    """Draw one axis: sizes from zero, mixed-sign padding, any steps; never cropped to less than nothing."""
    size = draw(st.integers(0, 9))
    taps = draw(st.integers(0, most_taps))
    # to 7, since up to 4 a step is its own inverse modulo the other
    stride, dilation, input_dilation = (draw(st.integers(1, 7)) for _ in range(3))
    extent = input_dilation * (size - 1) + 1 if size else 0
    lo = draw(st.integers(-min(3, extent), 4))
    hi = draw(st.integers(-min(3, extent + lo), 4))
    return size, taps, stride, dilation, input_dilation, (lo, hi)


@st.composite
def cases(draw, most_axes=2, most_taps=4):
    """Draw a whole convolution, groups, empty batch and empty channels included."""
    drawn = [draw(axes(most_taps=most_taps)) for _ in range(draw(st.integers(0, most_axes)))]
    groups, k, n, c = draw(st.integers(1, 3)), draw(st.integers(1, 3)), draw(st.integers(0, 3)), draw(st.integers(0, 3))
    sizes, taps, strides, dilations, input_dilations, pads = zip(*drawn, strict=True) if drawn else ((),) * 6
    x, w = (n, groups * c, *sizes), (groups * k, c, *taps)
    return Case("drawn", "by hypothesis", x, w, strides, dilations, input_dilations, pads, groups)


def integers(case, rng, dtype):
    """Return x, w and g with small integers, whose sums are exact in any dtype of 16 bits or more."""
    return [rng.integers(-2, 3, shape).astype(dtype) for shape in (case.x, case.w, case.g)]
