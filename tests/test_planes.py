"""Volumes plane by plane or with merged rows: exact for any geometry of three axes, and chosen where XLA is slow."""

from __future__ import annotations

import re

import numpy as np
import pytest

import triconv
from triconv import contractions
from triconv.backends import backend_of
from triconv.geometry import Geometry
from triconv.kernels import merged_rows, planes, vendor
from triconv.kernels.channels_last import LAST
from triconv.kernels.problem import FIRST
from triconv.kernels.target import changed
from triconv.planning import planner

FORMS = (planes.FORM, merged_rows.FORM)

GEOMETRIES = {
    "one tap across": Geometry.of((4, 6, 5), (1, 3, 3), padding=1),
    "a stride across": Geometry.of((7, 5, 6), (3, 2, 3), stride=(2, 1, 1), padding=[(1, 2), (0, 1), (2, 0)]),
    "dilated": Geometry.of((9, 8, 7), (3, 2, 2), dilation=(2, 3, 1), padding=2),
    "cropped": Geometry.of((8, 7, 6), (3, 3, 2), padding=[(-1, 2), (-2, 1), (1, -1)]),
    "transposed": Geometry.of((4, 3, 4), (3, 2, 3), input_dilation=(2, 1, 2), padding=1),
    "strides": Geometry.of((8, 9, 7), (3, 4, 2), stride=(2, 3, 1), padding=(1, 0, 1)),
}


@pytest.mark.parametrize("name", GEOMETRIES)
def test_any_geometry_is_exact(jax, name):
    geometry, rng, (n, c, k) = GEOMETRIES[name], np.random.default_rng(0), (3, 5, 4)
    shapes = {
        "x": (1, n, c, *geometry.input_size),
        "w": (1, k, c, *geometry.kernel_size),
        "g": (1, n, k, *geometry.output_size),
    }
    arrays = {role: rng.integers(-3, 4, shape).astype(np.float32) for role, shape in shapes.items()}
    lib = backend_of(jax.numpy)
    for contraction, operands in (("conv", "xw"), ("conv_input_vjp", "gw"), ("conv_weight_vjp", "gx")):
        a, b = (arrays[operand] for operand in operands)
        expected = getattr(contractions, contraction)(a, b, geometry=geometry)
        for orders in (FIRST, LAST):
            with changed(unrolled_taps=0):
                problem = planner.problem_of(
                    contraction, *map(jax.numpy.asarray, (a, b)), geometry, lib, np.float32, orders
                )
                schedules = vendor.schedules(problem, planner.target_of(lib))
                (schedule,) = [schedule for schedule in schedules if schedule.form in FORMS]
            result = jax.jit(lambda a, b: getattr(vendor, contraction)(a, b, schedule, lib))(a, b)  # noqa: B023
            np.testing.assert_array_equal(result, expected, err_msg=f"{contraction}, channels {orders[0]}")


def forms(jax, geometry, c, k, groups=1, constants=None):
    lib = backend_of(jax.numpy)
    with changed(**(constants or {})):
        target = planner.target_of(lib)
        problems = [
            planner.Problem(name, geometry, groups, 1, c, k, orders=LAST)
            for name in ("conv", "conv_input_vjp", "conv_weight_vjp")
        ]
        return [planner.plan(problem, target).schedule.form in FORMS for problem in problems]


def test_volumes_go_plane_by_plane(jax):
    cube = Geometry.of((24, 24, 24), (3, 3, 3), padding=1)
    assert forms(jax, cube, 16, 16) == [True, True, True]
    assert forms(jax, Geometry.of((31, 31, 31), (3, 3, 3), padding=1), 16, 16) == [True, True, False]
    assert forms(jax, Geometry.of((32, 32, 32), (3, 3, 3), padding=1), 32, 16) == [True, True, False]
    assert forms(jax, Geometry.of((24, 24, 24), (5, 5, 5), padding=2), 16, 16) == [True, True, True]
    assert forms(jax, cube, 1, 1, groups=16) == [False] * 3
    assert forms(jax, cube, 16, 16, constants={"plane_bytes": 2**20}) == [False] * 3


def test_merged_rows_copy_nothing_but_windows(jax):
    geometry = Geometry.of((12, 11, 10), (3, 3, 3), stride=(2, 1, 1), padding=1)
    arrays = [jax.numpy.ones(shape, "float32") for shape in ((2, 12, 11, 10, 32), (3, 3, 3, 32, 32))]
    problem = planner.Problem("conv", geometry, 1, 2, 32, 32, orders=LAST)
    assert planner.plan(problem, planner.target_of(backend_of(jax.numpy))).schedule.form == merged_rows.FORM
    step = jax.jit(lambda x, w: triconv.conv(x, w, padding=1, stride=(2, 1, 1), layout="NDHWC,DHWIO->NDHWC"))
    program = step.lower(*arrays).compile().as_text()
    assert len(re.findall(r"= f32\S+ fusion\(.*kind=kLoop", program)) == 1, program
    # a stride along the middle axis leaves gaps
    strided = Geometry.of((12, 11, 10), (3, 3, 3), stride=(1, 2, 1), padding=1)
    assert (
        planner.plan(
            planner.Problem("conv", strided, 1, 2, 32, 32, orders=LAST), planner.target_of(backend_of(jax.numpy))
        ).schedule.form
        == planes.FORM
    )
