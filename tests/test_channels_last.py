"""Gemm of arrays whose channels stand last: exact on integers for any geometry, in blocks too, and with nothing transposed."""

from __future__ import annotations

import functools

import array_api_compat.numpy
import numpy as np
import pytest

import triconv
from triconv import contractions
from triconv.backends import backend_of
from triconv.geometry import Geometry
from triconv.kernels import channels_last, gemm
from triconv.kernels.target import changed
from triconv.planning import planner

# whole, and in blocks of samples or of rows
BLOCKS = {
    "whole": {},
    "samples": {
        "unfold_bytes": 8_000,
        "window_bytes": 8_000,
        "summed_rows_bytes": 8_000,
        "sum_bytes": 0,
        "split_rows": 0.0,
    },
    "rows": {"unfold_bytes": 1, "window_bytes": 1, "summed_rows_bytes": 1, "sum_bytes": 0},
}

LAST_NUMBER = 9


def draw(number):
    """A geometry of one to three axes that has an output; the last has a phase of one tap, which writes nothing."""
    rng = np.random.default_rng(number)
    if number == LAST_NUMBER:
        return Geometry.of((8, 6, 8), (3, 3, 3), stride=2, padding=1), rng
    ndim = number % 3 + 1
    ints = lambda low, high: [int(v) for v in rng.integers(low, high, ndim)]  # noqa: E731
    while True:
        pads = [tuple(map(int, rng.integers(-1, 4, 2))) for _ in range(ndim)]
        steps = {"stride": ints(1, 4), "dilation": ints(1, 3), "input_dilation": ints(1, 3)}
        if number % 2:  # what most layers are, or transposed ones
            steps = {"stride" if number % 4 == 1 else "input_dilation": ints(1, 4)}
        try:
            geometry = Geometry.of(ints(3, 9), ints(1, 4), padding=pads, **steps)
        except ValueError:
            continue
        if all(geometry.output_size) and geometry.count_meetings():
            return geometry, rng


def operands(number, c=5, k=4):
    """The geometry, and small integers for the three contractions."""
    geometry, rng = draw(number)
    n = 3
    shapes = {
        "x": (1, n, c, *geometry.input_size),
        "w": (1, k, c, *geometry.kernel_size),
        "g": (1, n, k, *geometry.output_size),
    }
    arrays = {name: rng.integers(-3, 4, shape).astype(np.float32) for name, shape in shapes.items()}
    pairs = {"conv": "xw", "conv_input_vjp": "gw", "conv_weight_vjp": "gx"}
    return geometry, {name: [arrays[operand] for operand in pair] for name, pair in pairs.items()}


@pytest.mark.parametrize("blocks", BLOCKS)
@pytest.mark.parametrize("number", range(LAST_NUMBER + 1))
def test_any_geometry_is_exact(jax, number, blocks):
    geometry, calls = operands(number)
    lib = backend_of(jax.numpy)
    for name, (a, b) in calls.items():
        with changed(**BLOCKS[blocks]):
            problem = planner.problem_of(
                name, *map(jax.numpy.asarray, (a, b)), geometry, lib, np.float32, channels_last.LAST
            )
            schedules = [s for s in gemm.schedules(problem, planner.target_of(lib)) if s.orders == channels_last.LAST]
            assert schedules
            by_all = lambda a, b: [getattr(gemm, name)(a, b, each, lib) for each in schedules]  # noqa: E731, B023
            results = jax.jit(by_all)(a, b)
        expected = getattr(contractions, name)(a, b, geometry=geometry)
        for result, schedule in zip(results, schedules, strict=True):
            np.testing.assert_array_equal(result, expected, err_msg=f"{name} by {schedule}")


def test_a_sum_is_split_into_parts_that_a_smaller_last_block_has_too(jax):
    """Of three samples of 25 positions, two make 50 rows, which are two equal parts; the third has 25, which are not."""
    rng, geometry, lib = np.random.default_rng(0), Geometry.of((5, 5), (3, 3), padding=1), backend_of(jax.numpy)
    g, x = (jax.numpy.asarray(rng.integers(-3, 4, (1, 3, c, 5, 5)), np.float32) for c in (4, 5))
    with changed(summed_rows_bytes=8_000, split_rows=0.0):
        problem = planner.problem_of("conv_weight_vjp", g, x, geometry, lib, np.float32, channels_last.LAST)
        schedule = next(s for s in gemm.schedules(problem, planner.target_of(lib)) if s.orders == channels_last.LAST)
    assert (schedule.samples, schedule.phases[0].rows, schedule.phases[0].split_k) == (2, 0, 5)
    result = jax.jit(lambda g, x: gemm.conv_weight_vjp(g, x, schedule, lib))(g, x)
    np.testing.assert_array_equal(result, contractions.conv_weight_vjp(g, x, geometry=geometry))


@pytest.mark.parametrize("blocks", BLOCKS)
@pytest.mark.parametrize("number", range(LAST_NUMBER + 1))
def test_any_geometry_is_exact_on_numpy(number, blocks):
    geometry, calls = operands(number, c=9, k=2)
    lib = backend_of(array_api_compat.numpy)
    for name, (a, b) in calls.items():
        expected = getattr(contractions, name)(a, b, geometry=geometry, algorithm="direct")
        a, b = (np.moveaxis(np.ascontiguousarray(np.moveaxis(v, 2, -1)), -1, 2) for v in (a, b))  # noqa: PLW2901
        for change in ({"run_elements": 1e6}, {"run_elements": 0.0}):  # all axes are unfolded, or as few as can be
            with changed(**BLOCKS[blocks], **change):
                problem = planner.problem_of(name, a, b, geometry, lib, np.float32)
                schedules = [s for s in gemm.schedules(problem, planner.target_of(lib)) if "last" in s.orders]
            assert schedules
            for schedule in schedules:
                result = getattr(gemm, name)(a, b, schedule, lib)
                np.testing.assert_array_equal(result, expected, err_msg=f"{name} by {schedule}")


@pytest.mark.parametrize(
    ("op", "shapes"),
    [
        (triconv.conv, [(2, 9, 8, 4), (1, 1, 4, 6)]),
        (functools.partial(triconv.conv_weight_vjp, kernel_size=(1, 1)), [(2, 9, 8, 6), (2, 9, 8, 4)]),
    ],
    ids=["conv", "conv_weight_vjp"],
)
def test_one_tap_is_one_product(jax, op, shapes):
    arrays = [jax.numpy.ones(shape, "float32") for shape in shapes]
    call = functools.partial(op, layout="NHWC,HWIO->NHWC", algorithm="gemm")
    compiled = jax.jit(call).lower(*arrays).compile()
    assert " copy(" not in compiled.as_text()
    result = compiled.memory_analysis().output_size_in_bytes
    parts = 2 if call.func is triconv.conv_weight_vjp else 0  # of a long sum
    assert compiled.memory_analysis().temp_size_in_bytes == parts * result


def test_windows_are_written_in_one_loop(jax):
    """What is padded is not written."""
    lib, axis = backend_of(jax.numpy), Geometry.of((32,), (3,), padding=1).axes[0]
    unfold = lambda x: lib.unfold_axis(jax.numpy.maximum(x, 0), 1, axis)  # noqa: E731
    compiled = jax.jit(unfold).lower(jax.numpy.ones((4, 32, 16))).compile()
    assert compiled.memory_analysis().temp_size_in_bytes == 0
