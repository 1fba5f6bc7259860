"""Integers: every backend bit-equal to loops by definition, forward and both VJPs."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings

import triconv
from geometries import cases, integers
from triconv.checking.oracles import definition
from triconv.checking.oracles.cases import GEOMETRIES

FLOATS = ["float16", "bfloat16", "float32", "float64", "complex64", "complex128"]
DTYPES = [*FLOATS, *(f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64))]

quick = settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
thorough = settings(max_examples=2000, suppress_health_check=[HealthCheck.function_scoped_fixture])


def by_loops(case, x, w, g):
    return (
        definition.contract(case.axes, case.groups, x=x, w=w),
        definition.contract(case.axes, case.groups, g=g, w=w),
        definition.contract(case.axes, case.groups, g=g, x=x),
    )


def by_triconv(case, x, w, g, **params):
    params = case.params | params
    return (
        triconv.conv(x, w, **params),
        triconv.conv_input_vjp(g, w, input_size=case.x[2:], **params),
        triconv.conv_weight_vjp(g, x, kernel_size=case.w[2:], **params),
    )


def check(lib, case, dtype="float32", **params):
    given_ = integers(case, np.random.default_rng(0), np.int64)
    arrays = [lib.array(a, dtype=dtype) for a in given_]
    for ours, truth in zip(by_triconv(case, *arrays, **params), by_loops(case, *given_), strict=True):
        assert ours.dtype == arrays[0].dtype
        assert tuple(ours.shape) == truth.shape
        # unsigned integers wrap as the definition does
        expected = truth.astype(dtype) if dtype.startswith("uint") else truth
        np.testing.assert_array_equal(lib.numpy(ours).astype(expected.dtype), expected)
    for array, before in zip(arrays, given_, strict=True):  # nobody wrote into the operands
        np.testing.assert_array_equal(
            lib.numpy(array).astype(np.int64), before.astype(dtype_of(dtype)).astype(np.int64)
        )


def dtype_of(name):
    return np.dtype(np.float32 if name == "bfloat16" else name)


@pytest.mark.filterwarnings("ignore:.*ComplexWarning|Casting complex")
@pytest.mark.optimized
@pytest.mark.parametrize("dtype", DTYPES)
def test_every_dtype_is_exact(lib, dtype):
    if not lib.has(dtype):
        pytest.skip(f"{lib} has no {dtype}")
    case = next(case for case in GEOMETRIES if case.name == "groups and all steps")
    check(lib, case, dtype)


@given(case=cases())
@quick
def test_drawn_geometries_are_exact(lib, case):
    if lib.name == "jax":
        pytest.skip("compiles each: see the slow test, and triconv check")
    check(lib, case)


@pytest.mark.slow
@given(case=cases(most_axes=3))
@thorough
def test_two_thousand_geometries_are_exact(lib, case):
    check(lib, case)


@pytest.mark.optimized
@given(case=cases(most_axes=1, most_taps=2))
@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_drawn_geometries_are_exact_on_jax(jax, case):
    from conftest import Library

    check(Library("jax"), case)
