"""What torch is planned to take for layers that oneDNN is slow at, and for others: as measured on two cores, torch 2.13."""

from __future__ import annotations

import pytest

from triconv.backends import BACKENDS
from triconv.geometry import Geometry
from triconv.kernels import vendor
from triconv.kernels.problem import FIRST, Problem
from triconv.kernels.target import target_of
from triconv.planning import planner

LAST = ("last",) * 3

# contraction, samples, channels, sizes, kernel, parameters, order
LAYERS = {
    "vendor": [
        ("conv_input_vjp", 1, (32, 64), (38, 38, 38), (3, 3, 3), {"stride": 2, "padding": 1}, FIRST),
        ("conv_input_vjp", 2, (32, 64), (30, 30, 30), (4, 4, 4), {"stride": 2, "padding": 1}, LAST),
        ("conv", 2, (64, 64), (4095,), (3,), {"padding": 1, "groups": 2}, FIRST),
        ("conv_input_vjp", 2, (64, 64), (3487,), (7,), {"padding": 3, "groups": 4}, FIRST),
        ("conv_weight_vjp", 4, (256, 256), (1024,), (41,), {"padding": 20, "stride": 4, "groups": 16}, FIRST),
        ("conv_weight_vjp", 2, (480, 480), (56, 56), (3, 3), {"padding": 1, "groups": 480}, FIRST),
        ("conv_weight_vjp", 4, (144, 144), (56, 56), (7, 7), {"padding": 3, "stride": 2, "groups": 144}, FIRST),
        ("conv", 2, (240, 240), (28, 28), (5, 5), {"padding": 4, "dilation": 2, "groups": 240}, FIRST),
        ("conv_weight_vjp", 2, (3, 192), (112, 112), (8, 8), {"stride": 8}, FIRST),
        ("conv_weight_vjp", 2, (32, 32), (33, 33), (3, 3), {"padding": 2, "dilation": 2}, FIRST),
    ],
    "gemm": [
        ("conv_weight_vjp", 8, (480, 480), (14, 14), (5, 5), {"padding": 2, "groups": 480}, FIRST),
        ("conv_weight_vjp", 2, (1, 384), (16, 96, 96), (2, 8, 8), {"stride": (2, 8, 8)}, FIRST),
        ("conv_weight_vjp", 4, (1, 32), (401, 81), (5, 5), {"stride": 2, "padding": 2}, FIRST),
        ("conv_input_vjp", 2, (3, 192), (16, 112, 96), (2, 8, 8), {"stride": (2, 8, 8)}, LAST),
        ("conv", 2, (64, 64), (28, 28), (7, 7), {"padding": 9, "dilation": 3, "groups": 64}, FIRST),
        ("conv", 1, (32, 32), (16, 16, 16), (3, 3, 3), {"padding": 2, "dilation": 2}, FIRST),
        ("conv_weight_vjp", 2, (256, 32), (33, 33), (3, 3), {"padding": 2, "dilation": 2}, FIRST),
    ],
}


@pytest.mark.parametrize(
    ("expected", "contraction", "n", "channels", "size", "kernel", "params", "orders"),
    [(expected, *layer) for expected, layers in LAYERS.items() for layer in layers],
)
def test_choices_of_torch(torch, expected, contraction, n, channels, size, kernel, params, orders):
    geometry, (c, k) = Geometry.of(size, kernel, **params), channels
    groups = geometry.groups
    asked = Problem(contraction, geometry, groups, n, c // groups, k // groups, orders=orders)
    assert planner.plan(asked, target_of(BACKENDS["torch"].load())).algorithm == expected


def test_a_dilated_depthwise_input_vjp_is_a_convolution(torch):
    """OneDNN's transposed convolution of one is six times as slow."""
    geometry = Geometry.of((28, 28), (3, 3), padding=2, dilation=2, groups=240)
    asked = Problem("conv_input_vjp", geometry, 240, 2, 1, 1)
    plan = planner.plan(asked, target_of(BACKENDS["torch"].load()))
    assert (plan.algorithm, plan.schedule.form) == ("vendor", vendor.BY_PHASES)
