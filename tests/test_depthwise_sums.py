"""Depthwise layers in JAX, channels last: sums in parts, taps as axes, rows of a kernel together; exact, and when chosen."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

import triconv
from triconv.backends import BACKENDS
from triconv.geometry import Geometry
from triconv.kernels import depthwise, tap_axes
from triconv.kernels.problem import Problem
from triconv.kernels.schedule import PhaseSchedule, Schedule, by_phases
from triconv.kernels.target import changed, default_target
from triconv.planning import planner

LAST = ("last", "last", "last")

# x, the kernel's taps, output channels per group, parameters, dtype
LAYERS = {
    "more taps than one loop sums": ((2, 6, 8, 3), (3, 4), 1, {"padding": 2}, np.float32),
    "integers": ((1, 5, 9, 2), (2, 2), 1, {}, np.int32),
    "channel multiplier, steps": ((2, 9, 13, 2), (3, 2), 3, {"stride": 2, "dilation": (1, 2)}, np.float32),
    "one axis": ((3, 10, 4), (3,), 1, {"padding": 1}, np.float32),
    "phases": ((1, 4, 5, 2), (3, 3), 1, {"input_dilation": 2, "padding": 2}, np.float32),
}


@pytest.mark.parametrize("layer", LAYERS)
def test_sums_in_parts_are_exact(jax, layer):
    size, kernel, multiplier, steps, dtype = LAYERS[layer]
    spatial, channels = "DHW"[-len(kernel) :], size[-1]
    params = steps | {"groups": channels, "layout": f"N{spatial}C,{spatial}IO->N{spatial}C"}
    rng = np.random.default_rng(0)
    x, w = (rng.integers(-3, 4, shape).astype(dtype) for shape in (size, (*kernel, 1, channels * multiplier)))
    g = rng.integers(-3, 4, triconv.conv(x, w, **params).shape).astype(dtype)
    truth = triconv.conv_weight_vjp(g, x, kernel_size=kernel, algorithm="direct", **params)
    with changed(summed_channels=1, summed_positions=4, partial_sums_bytes=0):
        found = jax.jit(
            lambda g, x: triconv.conv_weight_vjp(g, x, kernel_size=kernel, algorithm="depthwise", **params)
        )(g, x)
    np.testing.assert_array_equal(np.asarray(found), truth)


TAP_AXES = {
    "parts that are not full": ((2, 6, 17, 3), (3, 4), {"padding": 2}, np.float32),
    "integers": ((1, 5, 9, 2), (2, 2), {}, np.int32),
    "steps": ((2, 9, 19, 2), (3, 2), {"stride": (1, 3), "dilation": (1, 2)}, np.float32),
    "one axis": ((3, 37, 4), (5,), {"padding": ((1, 3),), "stride": 2}, np.float32),
    "three axes": ((1, 4, 5, 3, 2), (2, 3, 1), {"padding": 1}, np.float32),
    "cropped": ((2, 9, 8, 2), (3, 3), {"padding": ((-1, 2), (0, -2))}, np.float32),
    "phases": ((1, 4, 5, 2), (3, 3), {"input_dilation": 2, "padding": 2}, np.float32),
    "operands exchanged": ((1, 4, 5, 2), (3, 3), {"input_dilation": (3, 2), "padding": 2}, np.float32),
    "more columns than are summed at once": ((1, 3, 3, 400), (7, 7), {"padding": 3}, np.float32),
}


def canonical(a, groups, role):
    """An array of channels last as kernels take it."""
    if role == "w":
        split = a.reshape(*a.shape[:-1], groups, a.shape[-1] // groups)
        return np.moveaxis(split, (-2, -1, -3), (0, 1, 2))
    return np.moveaxis(a.reshape(*a.shape[:-1], groups, a.shape[-1] // groups), (-2, -1), (0, 2))


@pytest.mark.parametrize("layer", TAP_AXES)
@pytest.mark.parametrize("library", ["numpy", "jax"])
def test_taps_as_axes_are_exact(jax, layer, library):
    size, kernel, steps, dtype = TAP_AXES[layer]
    spatial, channels = "DHW"[-len(kernel) :], size[-1]
    params = steps | {"groups": channels, "layout": f"N{spatial}C,{spatial}IO->N{spatial}C"}
    rng = np.random.default_rng(0)
    x, w = (rng.integers(-3, 4, shape).astype(dtype) for shape in (size, (*kernel, 1, channels)))
    g = rng.integers(-3, 4, triconv.conv(x, w, **params).shape).astype(dtype)
    truth = triconv.conv_weight_vjp(g, x, kernel_size=kernel, algorithm="direct", **params)
    geometry = Geometry.of(size[1:-1], kernel, groups=channels, **steps)
    asked = Problem("conv_weight_vjp", geometry, channels, size[0], 1, 1, orders=LAST)
    target = dataclasses.replace(default_target(BACKENDS["jax"], "cpu"), compiled=True, fused_places=4)
    (schedule,) = tap_axes.schedules(*by_phases("depthwise", tap_axes.FORM, asked, target), target)
    lib = BACKENDS[library].load()
    arrays = (lib.asarray(canonical(a, channels, role)) for a, role in ((g, "g"), (x, "x")))
    found = depthwise.conv_weight_vjp(*arrays, schedule, lib)
    np.testing.assert_array_equal(np.asarray(found), canonical(truth, channels, "w"))


def test_taps_as_axes_leave_out_inputs_that_no_window_reads():
    target = dataclasses.replace(default_target(BACKENDS["jax"], "cpu"), compiled=True, fused_places=4)
    geometry = Geometry.of([22], [3], stride=4, padding=((1, -1),), groups=2)  # five outputs, the last reads input 17
    asked = Problem("conv_weight_vjp", geometry, 2, 1, 1, 1, orders=LAST)
    (schedule,) = tap_axes.schedules(*by_phases("depthwise", tap_axes.FORM, asked, target), target)
    assert schedule.phases[0].summed == 3  # two parts
    x, g = np.ones((2, 1, 1, 22)), np.ones((2, 1, 1, 5))
    x[..., 18:] = np.nan
    found = depthwise.conv_weight_vjp(g, x, schedule, BACKENDS["numpy"].load())
    np.testing.assert_array_equal(found, np.tile([4.0, 5.0, 5.0], (2, 1, 1, 1)))


ROWS = {
    "channels last": ((2, 6, 9, 3), (3, 4), 1, 1, {"padding": 2, "stride": (2, 1)}, "last"),
    "several channels": ((1, 7, 9, 2), (3, 2), 2, 3, {"dilation": (2, 1)}, "last"),
    "channels first": ((2, 7, 9, 3), (3, 4), 1, 2, {"padding": ((3, -1), (0, 2))}, "first"),
    "three axes": ((1, 5, 4, 6, 2), (3, 2, 3), 1, 1, {"stride": 2}, "last"),
}


@pytest.mark.parametrize("layer", ROWS)
def test_rows_of_a_kernel_together_are_exact(layer):
    size, kernel, c, k, steps, order = ROWS[layer]
    spatial, (n, *positions, groups) = "DHW"[-len(kernel) :], size
    params = steps | {"groups": groups, "layout": f"N{spatial}C,{spatial}IO->N{spatial}C"}
    rng = np.random.default_rng(0)
    x = rng.integers(-3, 4, (n, *positions, groups * c)).astype(np.float32)
    w = rng.integers(-3, 4, (*kernel, c, groups * k)).astype(np.float32)
    truth = triconv.conv(x, w, algorithm="direct", **params)
    how = PhaseSchedule(by_kernel_rows=True, rows_together=True, channels_last=order == "last")
    schedule = Schedule("depthwise", "", "conv", Geometry.of(positions, kernel, groups=groups, **steps), phases=(how,))
    found = depthwise.conv(canonical(x, groups, "x"), canonical(w, groups, "w"), schedule, BACKENDS["numpy"].load())
    np.testing.assert_array_equal(found, canonical(truth, groups, "g"))


def asked(contraction, output, taps=(3, 3), channels=32, orders=LAST, k=1):
    """A depthwise contraction, and what a compiled program on a CPU is planned for."""
    target = dataclasses.replace(default_target(BACKENDS["jax"], "cpu"), compiled=True)
    geometry = Geometry.of([o + t - 1 for o, t in zip(output, taps, strict=True)], taps, groups=channels)
    return Problem(contraction, geometry, channels, 2, 1, k, orders=orders), target


def schedule_of(output, **layer):
    """The first that is proposed for a weight VJP, which sums tap by tap."""
    return next(depthwise.schedules(*asked("conv_weight_vjp", output, **layer))).phases[0]


def chosen(contraction, output, **layer):
    return planner.plan(*asked(contraction, output, **layer), "depthwise").schedule


def test_where_taps_are_axes():
    few = {"taps": (3, 3)}
    many = {"taps": (7, 7)}
    assert chosen("conv_weight_vjp", (32, 32), **many).form == tap_axes.FORM
    assert chosen("conv_weight_vjp", (32, 32), **few).form != tap_axes.FORM
    assert chosen("conv_weight_vjp", (32, 32), orders=("first",) * 3, **many).form != tap_axes.FORM
    assert chosen("conv_weight_vjp", (32, 32), k=2, **many).form != tap_axes.FORM
    assert chosen("conv_weight_vjp", (200, 200), **many).form != tap_axes.FORM  # too much to write


def test_which_positions_stand_apart():
    how = chosen("conv_weight_vjp", (31, 57), taps=(5, 5)).phases[0]
    assert (how.summed_axis, how.summed) == (2, 12)  # five parts, the last of them of 9


def test_where_rows_of_a_kernel_are_together():
    assert chosen("conv", (32, 32), taps=(7, 7)).phases[0].rows_together
    assert chosen("conv", (32, 32), taps=(7, 7), orders=("first",) * 3, k=2).phases[0].rows_together
    assert not chosen("conv", (32, 32), taps=(7, 7), k=2).phases[0].rows_together
    assert not chosen("conv", (32, 32), taps=(3, 3)).phases[0].rows_together
    assert not chosen("conv", (32, 32), taps=(16, 3)).phases[0].rows_together  # a compiler would write the rows


@pytest.mark.parametrize(
    ("output", "expected"),
    [
        ((56, 60), (1, 8)),
        ((14, 14), (1, 7)),
        ((31, 24), (2, 8)),  # the other axis divides no better than by itself
        ((11, 11), (1, 11)),
        ((17, 19), (0, 0)),  # no parts of a size that helps
    ],
)
def test_which_positions_are_summed_first(output, expected):
    how = schedule_of(output)
    assert (how.summed_axis, how.summed) == expected


def test_sums_are_whole_where_lines_are_read_in_order():
    first, last = ("first",) * 3, LAST
    assert schedule_of((16, 16), orders=last).summed
    assert not schedule_of((16, 16), orders=first).summed
    assert not schedule_of((16, 16), channels=3).summed  # a line has several positions
    assert not schedule_of((16, 16), taps=(7, 7)).summed  # a loop over taps
