"""Shifted multiply-adds of NumPy in place: exact on integers of any dtype, in tiles of any size, in both orders of memory."""

from __future__ import annotations

import numpy as np
import pytest

import triconv
from triconv import contractions
from triconv.backends import BACKENDS, numpy_shifts, numpy_tiles
from triconv.geometry import Geometry
from triconv.kernels import depthwise, shifted
from triconv.kernels.target import changed, target_of
from triconv.planning import planner

NUMPY = BACKENDS["numpy"].load()
CASES = {
    "a line": ((4, 3, 1, 23), (4,), {"dilation": 2, "padding": [(3, 2)]}),
    "a line with more cropped than padded": ((3, 2, 1, 19), (3,), {"padding": [(-2, 5)]}),
    "dilated taps and unequal padding": ((3, 2, 1, 9, 8), (3, 2), {"dilation": (1, 3), "padding": [(2, 1), (0, 4)]}),
    "one axis": ((7, 3, 1, 19), (5,), {"stride": 2, "padding": [(1, 4)]}),
    "two": ((3, 2, 1, 9, 8), (3, 3), {"padding": 1}),
    "strides and cropping": ((3, 2, 1, 13, 11), (3, 2), {"stride": (3, 2), "padding": [(2, 0), (-1, 1)]}),
    "strides and dilated taps": ((3, 2, 1, 17, 16), (3, 4), {"stride": (4, 2), "dilation": (3, 2), "padding": 2}),
    "windows of padding alone": ((3, 2, 1, 4, 4), (4, 4), {"stride": 9, "padding": [(3, 7), (3, 9)]}),
    "phases": ((70, 2, 1, 5, 6), (4, 3), {"input_dilation": (2, 3), "padding": 3}),
    "one channel": ((1, 5, 1, 6, 7), (3, 2), {"padding": 1}),
    "more channels than transposed at once": ((40, 2, 1, 6, 7), (3, 2), {"stride": (1, 2)}),
    "three axes": ((3, 2, 1, 5, 6, 7), (2, 3, 2), {"stride": (2, 1, 2), "padding": [(1, 0), (0, 2), (1, 1)]}),
}
ORDERS = {
    "first": {},
    "last": {"last": True},
    "positions": {"along_positions": True},
    "channels": {"last": True, "along_channels": True},
}


def operands(case, dtype=np.float32):
    shape, kernel, params = CASES[case]
    geometry, rng = Geometry.of(shape[3:], kernel, **params), np.random.default_rng(0)
    shapes = shape, (shape[0], 1, 1, *kernel), (*shape[:3], *geometry.output_size)
    return *(rng.integers(-3, 4, size).astype(dtype) for size in shapes), geometry


def results(x, w, g, geometry, *, last=False, along_positions=False, along_channels=False):
    """The three, in place; along lines of all positions of a channel, or sums along channels, where there are such."""
    found = []
    for name, given in (("conv", (x, w)), ("conv_input_vjp", (g, w)), ("conv_weight_vjp", (g, x))):
        if last:
            given = [np.moveaxis(np.ascontiguousarray(np.moveaxis(a, 0, -1)), -1, 0) for a in given]  # noqa: PLW2901
        asked = planner.problem_of(name, *given, geometry, NUMPY, x.dtype)
        with changed(line_of_sample=1, line_of_samples=1):
            schedules = [s for s in depthwise.schedules(asked, target_of(NUMPY)) if s.form == shifted.FORM]
        schedule = schedules[-1 if along_positions or along_channels else 0]
        assert ("last" in schedule.orders) == last or x.shape[0] == 1
        view = asked.by_windows()
        are_lines = view.contraction == "conv" and all(axis.stride == 1 for axis in view.geometry.axes) and not last
        assert len(schedules) == 1 + (are_lines or (last and name == "conv_weight_vjp")) or x.shape[0] == 1
        found.append(getattr(depthwise, name)(*given, schedule, NUMPY))
    return found


@pytest.mark.parametrize("bytes_", [1, 300, 2000, numpy_tiles.TILE_BYTES])
@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("case", CASES)
def test_small_integers_are_exact(case, order, bytes_, monkeypatch):
    monkeypatch.setattr(numpy_tiles, "TILE_BYTES", bytes_)
    monkeypatch.setattr(numpy_shifts, "LONG", 2 if bytes_ in (1, 2000) else numpy_shifts.LONG)
    monkeypatch.setattr(numpy_shifts, "LINE", 8 if bytes_ == 2000 else numpy_shifts.LINE)
    x, w, g, geometry = operands(case)
    names = ("conv", (x, w)), ("conv_input_vjp", (g, w)), ("conv_weight_vjp", (g, x))
    given = results(x, w, g, geometry, **ORDERS[order])
    for found, (name, operands_) in zip(given, names, strict=True):
        truth = getattr(contractions, name)(*operands_, geometry=geometry, algorithm="direct")
        np.testing.assert_array_equal(found, truth, strict=True)


@pytest.mark.parametrize("dtype", ["int8", "uint16", "float64", "complex64"])
def test_dtypes(dtype):
    for case, how in (
        ("strides and cropping", ORDERS["last"]),
        ("strides and cropping", ORDERS["channels"]),
        ("two", ORDERS["positions"]),
    ):
        x, w, g, geometry = operands(case, dtype)
        names = ("conv", (x, w)), ("conv_input_vjp", (g, w)), ("conv_weight_vjp", (g, x))
        for found, (name, given) in zip(results(x, w, g, geometry, **how), names, strict=True):
            truth = getattr(contractions, name)(*given, geometry=geometry, algorithm="direct")
            np.testing.assert_array_equal(found, truth, strict=True)


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("case", ["two", "strides and dilated taps"])
def test_what_is_not_finite_stays_where_the_equation_puts_it(case, order):
    how = ORDERS[order]
    x, w, g, geometry = operands(case)
    w += 4  # none is zero
    for bad in (x, g):
        bad.reshape(-1)[[5, -7]] = np.nan, np.inf
    with np.errstate(all="ignore"):
        for found, (name, given) in zip(
            results(x, w, g, geometry, **how),
            (("conv", (x, w)), ("conv_input_vjp", (g, w)), ("conv_weight_vjp", (g, x))),
            strict=True,
        ):
            truth = getattr(contractions, name)(*given, geometry=geometry, algorithm="direct")
            if name != "conv_weight_vjp":
                np.testing.assert_array_equal(found, truth)
            else:  # the padding times what is not finite is a NaN
                assert np.array_equal(found[np.isfinite(found)], truth[np.isfinite(found)])
    x, w, g, geometry = operands(case)
    x[..., 1, 0], g[...] = np.nan, 1
    with np.errstate(all="ignore"):  # an input that is not finite reaches the taps that it meets, and no other
        truth = contractions.conv_weight_vjp(g, x, geometry=geometry, algorithm="direct")
        np.testing.assert_array_equal(results(x, w, g, geometry, **how)[2], truth)
    assert len(np.unique(np.isnan(truth))) == 2  # of some taps


def test_strided_windows_of_channels_last_are_read_where_they_stand(monkeypatch):
    shape, params = (64, 2, 1, 31, 30), {"stride": 2, "padding": [(1, 2), (0, 3)]}
    geometry, rng, copied = Geometry.of(shape[3:], (3, 4), **params), np.random.default_rng(1), []
    x, w = rng.integers(-3, 4, shape).astype(np.float32), rng.integers(-3, 4, (64, 1, 1, 3, 4)).astype(np.float32)
    g = rng.integers(-3, 4, (*shape[:3], *geometry.output_size)).astype(np.float32)
    split = numpy_tiles.split

    def counted(*args, **options):
        copied.append(split(*args, **options))
        return copied[-1]

    monkeypatch.setattr(numpy_tiles, "split", counted)
    y, gx, _ = results(x, w, g, geometry, last=True)
    truth = contractions.conv(x, w, geometry=geometry, algorithm="direct")
    np.testing.assert_array_equal(y, truth, strict=True)
    truth = contractions.conv_input_vjp(g, w, geometry=geometry, algorithm="direct")
    np.testing.assert_array_equal(gx, truth, strict=True)
    monkeypatch.setattr(numpy_shifts, "LONG", 100)
    few = sum(a.size for a in copied)
    copied.clear()
    results(x, w, g, geometry, last=True)
    assert sum(a.size for a in copied) > few + x.size // 2


def test_a_layer_of_channels_last_is_not_transposed():
    x, w = np.ones((4, 64, 512), np.float32), np.ones((5, 1, 512), np.float32)
    y = triconv.conv(x, w, padding=2, groups=512, layout="NWC,WIO->NWC")
    asked = planner.problem_of(
        "conv",
        x.transpose(2, 0, 1)[:, :, None],
        w.transpose(2, 1, 0)[:, None],
        Geometry.of((64,), (5,), padding=2),
        NUMPY,
        x.dtype,
    )
    assert planner.plan(asked, target_of(NUMPY)).schedule.form == shifted.FORM
    np.testing.assert_array_equal(y[:, 2:-2], np.full((4, 60, 512), 5.0))
