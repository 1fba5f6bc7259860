"""What kernels propose for a GPU, run by NumPy on integers: exact, and no call that XLA inserts zeros for."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from geometries import cases, integers
from triconv import contractions
from triconv.backends import BACKENDS
from triconv.geometry import Axis, Geometry
from triconv.geometry.regrouping import merge_phases, split_residues
from triconv.kernels import direct, regrouped, vendor
from triconv.kernels.schedule import Schedule
from triconv.kernels.target import TARGETS
from triconv.planning import planner

GPU = replace(
    TARGETS["jax", "gpu"],
    kind="gpu",
    compiled=True,
    vendor_name="jax",
    vendor_axes=range(4),
    vendor_dilates=True,
    vendor_transposes=True,
)
SIZES = ("input_size", "kernel_size", "output_size")
ORDERS = (("first",) * 3, ("last",) * 3, ("last", "first", "last"))


def kernel_of(contraction):
    """By the definition."""

    def call(self, geometry, a, b, orders):
        self.calls.append((contraction, geometry))
        a, b = (b, a) if contraction == "conv_weight_vjp" else (a, b)
        return getattr(direct, contraction)(a, b, Schedule("direct", "", contraction, geometry), self)

    return call


class Definition(type(BACKENDS["numpy"].load())):
    """NumPy with a convolution of its own, which remembers what it was called for."""

    vendor_conv, vendor_input_vjp, vendor_weight_vjp = map(kernel_of, ("conv", "conv_input_vjp", "conv_weight_vjp"))

    def __init__(self):
        super().__init__(BACKENDS["numpy"].load().xp)
        self.calls = []


def canonical(case):
    """Canonical arrays of integers, and their geometry."""
    x, w, g = integers(case, np.random.default_rng(0), np.float32)
    params = {name: value for name, value in case.params.items() if name != "algorithm"}
    geometry = Geometry.of(x.shape[2:], w.shape[2:], **params)
    x, g = (np.moveaxis(a.reshape(a.shape[0], geometry.groups, -1, *a.shape[2:]), 1, 0) for a in (x, g))
    return x, w.reshape(geometry.groups, -1, *w.shape[1:]), g, geometry


def is_full(case):
    """Whether there is something to compute."""
    return len(case.x) > 2 and case.x[0] * math.prod(case.g) * math.prod(case.x) * math.prod(case.w)


@given(data=st.data(), case=cases(most_axes=3, most_taps=5))
@settings(max_examples=40, suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow])
def test_all_that_is_proposed_for_a_gpu_is_exact(data, case):
    assume(is_full(case))
    x, w, g, geometry = canonical(case)
    assume(geometry.count_meetings())
    orders = data.draw(st.sampled_from(ORDERS))
    for name, operands in (("conv", (x, w)), ("conv_input_vjp", (g, w)), ("conv_weight_vjp", (g, x))):
        truth = getattr(contractions, name)(*operands, geometry=geometry, algorithm="direct")
        lib = Definition()
        asked = replace(planner.problem_of(name, *operands, geometry, lib, np.float32), orders=orders)
        for kernel, module in planner.KERNELS.items():
            for schedule in module.schedules(asked, GPU):
                assert module.cost(schedule, asked, GPU).launches > 0
                result = getattr(module, name)(*operands, schedule, lib)
                atol = 1e-4 if kernel == "fft" else 0
                np.testing.assert_allclose(result, truth, rtol=0, atol=atol, err_msg=f"{asked} {schedule}")
        plan = planner.plan(asked, GPU)
        lib.calls.clear()
        result = getattr(plan.kernel, name)(*operands, plan.schedule, lib)
        for call, called in lib.calls:
            assert all(min(axis.pad_lo, axis.pad_hi) >= 0 for axis in called.axes), "XLA crops beforehand"
            if call == "conv" and any(axis.dilation > 1 for axis in called.axes):
                assert all(axis.pad_lo == axis.pad_hi for axis in called.axes), "XLA writes zeros between the taps"
            assert call == "conv_input_vjp" or called.count_phases() == 1, "XLA inserts zeros"


@given(case=cases(most_axes=2, most_taps=6))
@settings(max_examples=60, suppress_health_check=[HealthCheck.filter_too_much])
def test_phases_together_and_residues_apart_are_exact(case):
    """Whatever the steps are, where it can be."""
    assume(is_full(case))
    x, w, g, geometry = canonical(case)
    lib = BACKENDS["numpy"].load()
    if axes := regrouped.merged(geometry):
        left = regrouped.left_of(geometry, axes)
        assert left.count_phases() == 1
        y = contractions.conv(x, regrouped.kernel_of_phases(w, left, axes, lib), geometry=left, algorithm="direct")
        y = regrouped.interleaved(y, axes, geometry.output_size, lib)
        np.testing.assert_array_equal(y, contractions.conv(x, w, geometry=geometry, algorithm="direct"))
    if axes := regrouped.split(geometry):
        left = regrouped.left_of(geometry, axes)
        assert {axis.dilation for axis in left.axes} == {1}
        ours = regrouped.samples_of_outputs(g, axes, lib), regrouped.samples_of_inputs(x, geometry, axes, lib)
        gw = contractions.conv_weight_vjp(*ours, geometry=left, algorithm="direct")
        np.testing.assert_array_equal(gw, contractions.conv_weight_vjp(g, x, geometry=geometry, algorithm="direct"))


@given(
    size=st.integers(17, 33),
    taps=st.integers(1, 4),
    steps=st.tuples(st.integers(1, 3), st.integers(1, 4), st.integers(1, 3)),
    pads=st.tuples(st.integers(-1, 7), st.integers(-1, 7)),
)
@settings(max_examples=100)
def test_uneven_padding_of_steps_is_exact(size, taps, steps, pads):
    """On a line that is long beside its padding: outputs are skipped, and padding stays with what is split."""
    stride, dilation, input_dilation = steps
    geometry = Geometry((Axis(size, taps, stride, dilation, input_dilation, *pads),))
    assume(geometry.count_meetings())
    rng, lib = np.random.default_rng(0), Definition()
    x, w, g = (rng.integers(1, 9, (1, 1, 1, *getattr(geometry, sizes))) for sizes in SIZES)
    for name, operands in (("conv", (x, w)), ("conv_input_vjp", (g, w)), ("conv_weight_vjp", (g, x))):
        truth = getattr(contractions, name)(*operands, geometry=geometry, algorithm="direct")
        asked = planner.Problem(name, geometry, 1, 1, 1, 1)
        for schedule in vendor.schedules(asked, GPU):
            result = getattr(vendor, name)(*operands, schedule, lib)
            np.testing.assert_array_equal(result, truth, err_msg=str(schedule))


@pytest.mark.parametrize(
    ("size", "taps", "pads", "step"),
    [(14, 3, (1, 1), 2), (14, 4, (2, 2), 2), (15, 2, (1, 1), 2), (9, 16, (15, 15), 16), (20, 16, (11, 11), 8)],
)
def test_phases_together_take_no_more_taps_than_the_longest_phase(size, taps, pads, step):
    """A transposed convolution of any usual padding: the first block starts where all phases start at one input."""
    axis = Axis(size, taps, 1, 1, step, *pads)
    assert merge_phases(axis).axis.kernel_size == -(-taps // step)


def test_padding_stays_with_the_convolution_where_it_is_the_same_on_both_sides():
    """Copies then have few zeros: a dilation of 12 in an image of 33 would make three images of padding."""
    split = split_residues(Axis(33, 3, 1, 12, 1, 12, 12))
    assert (split.axis.input_size, split.axis.output_size, split.axis.pad_lo, split.axis.pad_hi) == (3, 3, 1, 1)
    causal = split_residues(Axis(4099, 2, 1, 64, 1, 64, 0))
    assert (causal.axis.input_size, causal.axis.output_size, causal.axis.pad_lo) == (66, 65, 0)


@pytest.mark.parametrize(
    ("name", "x", "w", "params", "form"),
    [
        ("conv_input_vjp", (1, 16, 56, 56), (128, 64, 3, 3), {"stride": 2, "padding": 1, "groups": 2}, vendor.MERGED),
        ("conv", (1, 128, 16, 16), (64, 64, 4, 4), {"input_dilation": 2, "padding": 2, "groups": 2}, vendor.MERGED),
        ("conv_weight_vjp", (16, 192, 33, 33), (64, 192, 3, 3), {"dilation": 12, "padding": 12}, vendor.SPLIT),
        ("conv_weight_vjp", (8, 64, 4099), (128, 64, 2), {"dilation": 64, "padding": "causal"}, vendor.SPLIT),
        ("conv", (16, 64, 33, 33), (64, 64, 3, 3), {"dilation": 12, "padding": 12}, vendor.WHOLE),
        ("conv_input_vjp", (16, 64, 56, 56), (64, 64, 3, 3), {"stride": 2, "padding": 1}, vendor.TRANSPOSED),
    ],
)
@pytest.mark.parametrize("orders", ORDERS[:2])
def test_choices_on_a_gpu(name, x, w, params, form, orders):
    geometry = Geometry.of(x[2:], w[2:], **params)
    groups = geometry.groups
    asked = planner.Problem(name, geometry, groups, x[0], w[1], w[0] // groups, orders=orders)
    assert planner.plan(asked, GPU).schedule.form == form
