"""Every kernel against the definition, in every way that it can go, and the planner that picks one."""

from __future__ import annotations

import dataclasses
import functools
import math
import re

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

import triconv
from conftest import Library
from geometries import cases, integers
from test_exact import by_loops, by_triconv, check
from triconv import contractions
from triconv.backends import BACKENDS
from triconv.checking.oracles.cases import GEOMETRIES
from triconv.geometry import Axis, Geometry
from triconv.kernels import blocks, col2im, fft, gemm, unfolding, vendor
from triconv.kernels.problem import FIRST, Problem
from triconv.kernels.schedule import PhaseSchedule, Schedule
from triconv.kernels.target import changed, default_target, target_of
from triconv.planning import planner
from triconv.rules import ROLES

EXACT = ["gemm", "depthwise"]
CASE = next(case for case in GEOMETRIES if case.name == "groups and all steps")
drawn = settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])


# blocks of some samples, groups, rows and taps even for small arrays
SMALL = {
    "block_bytes": 100,
    "unfold_bytes": 100,
    "row_bytes": 100,
    "sample_bytes": 200,
    "scatter_bytes": 200,
    "depthwise_bytes": 200,
    "depthwise_whole_bytes": 200,
    "chained_taps": 2,
    "spectrum_bytes": 500,
    "fft_span": 1,
    "unrolled_taps": 3,
    "unrolled_sums": 3,
    "taps_per_step": 2,
}


@pytest.fixture(params=["whole", "in blocks"])
def small_blocks(request):
    """The constants as they are, and `SMALL`."""
    with changed(**SMALL if request.param == "in blocks" else {}):
        yield


@pytest.mark.parametrize("algorithm", EXACT)
@given(case=cases(most_axes=3, most_taps=5))
@drawn
def test_drawn_geometries(lib, small_blocks, algorithm, case):
    if lib.name == "jax":
        pytest.skip("compiles each: the next test has some")
    check(lib, case, algorithm=algorithm)


@pytest.mark.parametrize("algorithm", [*EXACT, "vendor"])
@given(case=cases(most_axes=2, most_taps=3))
@settings(max_examples=5, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_drawn_geometries_on_jax(jax, small_blocks, algorithm, case):
    check(Library("jax"), case, algorithm=algorithm)


@given(case=cases(most_axes=3, most_taps=5))
@drawn
def test_drawn_geometries_by_torch_itself(torch, case):
    assume(len(case.x) > 2)
    check(Library("torch"), case, algorithm="vendor")


@given(case=cases(most_axes=3, most_taps=5))
@drawn
def test_drawn_geometries_by_transforms(lib, small_blocks, case):
    if lib.name == "jax":
        pytest.skip("compiles each: see test_the_bound_of_transforms")
    assume(len(case.x) > 2)
    arrays = integers(case, np.random.default_rng(0), np.float32)
    for ours, truth in zip(
        by_triconv(case, *map(lib.array, arrays), algorithm="fft"), by_loops(case, *arrays), strict=True
    ):
        np.testing.assert_allclose(lib.numpy(ours), truth, rtol=0, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("algorithm", EXACT)
@given(case=cases(most_axes=3, most_taps=5))
@settings(max_examples=2000, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_two_thousand_geometries(lib, small_blocks, algorithm, case):
    check(lib, case, algorithm=algorithm)


@pytest.mark.filterwarnings("ignore:.*ComplexWarning|Casting complex")
@pytest.mark.parametrize("algorithm", EXACT)
@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float64", "complex64", "int8", "uint16", "int64"])
def test_dtypes(lib, algorithm, dtype):
    if not lib.has(dtype):
        pytest.skip(f"{lib} has no {dtype}")
    check(lib, CASE, dtype, algorithm=algorithm)


@pytest.mark.parametrize("algorithm", EXACT)
def test_a_nan_stays_where_it_belongs(lib, algorithm):
    x = np.zeros((2, 2, 7), np.float32)
    x[1, 1, 3] = np.nan
    w = lib.array(np.ones((2, 1, 3), np.float32))
    y = lib.numpy(triconv.conv(lib.array(x), w, groups=2, padding=1, algorithm=algorithm))
    where = np.zeros((2, 2, 7), bool)
    where[1, 1, 2:5] = True
    np.testing.assert_array_equal(np.isnan(y), where)


@st.composite
def phase_schedules(draw, kernel, form, geometry):
    """Any rows, steps and row axes."""
    first, last = geometry.axes[0], geometry.axes[-1]
    if kernel == "gemm" and form == gemm.UNFOLD:
        most = next((number for number, axis in enumerate(geometry.axes) if axis.stride > 1), len(geometry.axes))
        taps = draw(st.sampled_from(["row axes", "step", "layers"]))
        return PhaseSchedule(
            row_axes=draw(st.integers(0, most)) if taps == "row axes" else 0,
            step=draw(st.integers(1, last.kernel_size)) if taps == "step" else 0,
            layers=taps == "layers" and all(axis.dilation == 1 for axis in geometry.axes),
            rows=draw(st.integers(0, 3)),
            split_k=draw(st.integers(1, 3)),
            split_line=draw(st.integers(1, 3)),
        )
    if kernel == "depthwise":
        flags = {
            name: draw(st.booleans()) for name in ("pads_in_place", "channels_last", "by_kernel_rows", "rows_together")
        }
        axis = draw(st.integers(0, len(geometry.axes)))
        size = geometry.axes[axis - 1].output_size if axis else 0
        summed = draw(st.sampled_from([d for d in range(1, size + 1) if size % d == 0])) if size else 0
        flags |= {"summed_axis": axis if size else 0, "summed": summed}
        return PhaseSchedule(step=draw(st.integers(0, last.kernel_size)), **flags)
    return PhaseSchedule(rows=draw(st.integers(0, first.output_size)) if kernel == "fft" else 0)


@st.composite
def schedules(draw, kernel, asked):
    """What a kernel proposes, with any blocks, rows, steps and row axes in it."""
    proposed = draw(
        st.sampled_from(list(planner.KERNELS[kernel].schedules(asked, target_of(BACKENDS["numpy"].load()))))
    )
    samples, groups = draw(st.sampled_from([(0, 0), (1, 0), (min(2, asked.n), 0), (1, 1)]))
    phases = []
    for phase, _ in proposed.by_phases():
        phases.append(draw(phase_schedules(kernel, proposed.form, phase.geometry)))
    orders = draw(st.tuples(*[st.sampled_from(["first", "last"])] * 3))
    return dataclasses.replace(proposed, samples=samples, groups=groups, phases=tuple(phases), orders=orders)


@pytest.mark.once
@pytest.mark.parametrize("kernel", ["gemm", "depthwise", "fft"])
@given(data=st.data(), case=cases(most_axes=3, most_taps=5))
@settings(max_examples=100, suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow])
def test_any_schedule_gives_the_same_numbers(kernel, data, case):
    """A schedule says how, never what."""
    assume(len(case.x) > 2 and case.x[0] * math.prod(case.g) * math.prod(case.x) * math.prod(case.w))
    x, w, g = integers(case, np.random.default_rng(0), np.float32)
    lib, params = BACKENDS["numpy"].load(), {name: value for name, value in case.params.items() if name != "algorithm"}
    geometry = Geometry.of(x.shape[2:], w.shape[2:], **params)
    x, g = (np.moveaxis(a.reshape(a.shape[0], geometry.groups, -1, *a.shape[2:]), 1, 0) for a in (x, g))
    w = w.reshape(geometry.groups, -1, *w.shape[1:])
    assume(geometry.count_meetings())
    for name, operands in (("conv", (x, w)), ("conv_input_vjp", (g, w)), ("conv_weight_vjp", (g, x))):
        asked = planner.problem_of(name, *operands, geometry, lib, np.float32)
        schedule = data.draw(schedules(kernel, asked))
        result = getattr(planner.KERNELS[kernel], name)(*operands, schedule, lib)
        truth = getattr(contractions, name)(*operands, geometry=geometry, algorithm="direct")
        np.testing.assert_allclose(result, truth, rtol=0, atol=1e-4 if kernel == "fft" else 0, err_msg=str(schedule))


# each way that a kernel can go, by a geometry that goes it
WAYS = {
    "windows side by side": ((2, 3, 9, 8), (4, 3, 3, 2), {"stride": (3, 2)}),
    "windows with gaps": ((2, 3, 9, 8), (4, 3, 2, 1), {"stride": (3, 2), "padding": [(1, 0), (0, -1)]}),
    "passes side by side": ((2, 3, 4, 3), (2, 3, 3, 2), {"input_dilation": (3, 2), "padding": [(2, 2), (1, 1)]}),
    "passes side by side, with groups": (
        (2, 6, 3, 2),
        (4, 3, 3, 16),
        {"input_dilation": (3, 16), "padding": [(2, 1), (15, 9)], "groups": 2},
    ),
    "passes that overlap": ((2, 3, 4, 3), (2, 3, 7, 5), {"input_dilation": (6, 3), "padding": [(4, 2), (1, 3)]}),
    "few output channels": ((2, 9, 5, 6), (2, 9, 3, 2), {"input_dilation": (2, 1), "padding": 2}),
    "phases": ((2, 2, 5, 4), (3, 2, 4, 3), {"input_dilation": (3, 2), "stride": (2, 1), "padding": 3}),
    "rows of each sample": ((3, 2, 21, 6), (5, 2, 3, 3), {"stride": (2, 1), "padding": 1}),
    "a row axis": ((2, 3, 7, 5), (4, 3, 3, 3), {"padding": [(2, 0), (1, 1)]}),
    "row axes": ((1, 2, 4, 5, 6), (3, 2, 2, 3, 2), {"padding": [(1, 0), (0, 2), (1, 1)], "dilation": (2, 1, 3)}),
    "a row axis before a strided one": (
        (2, 3, 6, 7),
        (2, 3, 4, 3),
        {"stride": (1, 2), "padding": [(-1, 2), (1, 0)]},
    ),
    "many taps": ((1, 2, 90), (2, 1, 70), {"groups": 2, "padding": [(69, 0)]}),
    "many taps, many steps": ((2, 2, 61), (4, 1, 9), {"groups": 2, "stride": 2, "dilation": 3, "padding": [(4, 7)]}),
}


@pytest.mark.covering(2, "numpy")
@pytest.mark.optimized
@pytest.mark.parametrize("algorithm", [*EXACT, "fft", "vendor"])
@pytest.mark.parametrize("way", WAYS)
def test_each_way(lib, small_blocks, algorithm, way):
    x, w, params = WAYS[way]
    rng = np.random.default_rng(0)
    x, w = (rng.integers(-3, 4, shape).astype(np.float32) for shape in (x, w))
    y = triconv.conv(x, w, algorithm="direct", **params)
    g = rng.integers(-3, 4, y.shape).astype(np.float32)
    sizes = {"input_size": x.shape[2:]}, {"kernel_size": w.shape[2:]}
    truths = (
        y,
        triconv.conv_input_vjp(g, w, **sizes[0], algorithm="direct", **params),
        triconv.conv_weight_vjp(g, x, **sizes[1], algorithm="direct", **params),
    )
    tx, tw, tg = map(lib.array, (x, w, g))
    found = (
        triconv.conv(tx, tw, algorithm=algorithm, **params),
        triconv.conv_input_vjp(tg, tw, **sizes[0], algorithm=algorithm, **params),
        triconv.conv_weight_vjp(tg, tx, **sizes[1], algorithm=algorithm, **params),
    )
    for ours, truth in zip(found, truths, strict=True):
        np.testing.assert_allclose(lib.numpy(ours), truth, rtol=0, atol=1e-4 if algorithm == "fft" else 0)


@pytest.mark.parametrize(
    ("c", "k", "kernel", "params", "expected"),
    [
        (
            64,
            64,
            (3, 3),
            {"padding": 1},
            1,
        ),  # three times the input and three times the output, not nine times the input
        (32, 32, (3, 3, 3), {"padding": 1}, 1),
        (3, 64, (3, 3), {"padding": 1}, 0),
        (64, 3, (3, 3), {"padding": 1}, col2im.BY_TAPS),
        (64, 64, (3, 3), {"stride": 2}, 0),  # the products would be taken at all inputs
        (64, 64, (3, 3), {"stride": (1, 2)}, 1),
        (64, 64, (8, 8), {"stride": 8}, 0),
        (64, 64, (13, 13), {}, 0),  # at four windows, and at all inputs of a row
    ],
)
def test_which_axes_are_unfolded(c, k, kernel, params, expected):
    lib = BACKENDS["numpy"].load()
    (schedule,) = gemm.schedules(
        problem("conv", (1, c, *(16,) * len(kernel)), (k, c, *kernel), **params), target_of(lib)
    )
    assert (schedule.phases[0].row_axes if schedule.form == gemm.UNFOLD else schedule.form) == expected


@pytest.mark.parametrize("dtype", ["float32", "float64", "complex64"])
def test_the_bound_of_transforms(lib, dtype):
    """Norm by norm: log2(N) roundings of the transforms of the product of the norms, and one rounding to the dtype."""
    rng = np.random.default_rng(0)
    x, w = (rng.standard_normal(shape) for shape in ((2, 3, 900), (4, 3, 300)))
    if dtype == "complex64":
        x, w = x + 1j * rng.standard_normal(x.shape), w + 1j * rng.standard_normal(w.shape)
    x, w = x.astype(dtype), w.astype(dtype)
    truth = triconv.conv(x.astype(np.complex128), w.astype(np.complex128), algorithm="gemm")
    y = lib.numpy(triconv.conv(lib.array(x), lib.array(w), algorithm="fft"))
    assert y.dtype == dtype
    width = dtype if lib.backend.device_kind(lib.array(x)) == "gpu" else np.float64
    bound = 20 * np.finfo(width).eps * np.linalg.norm(x) * np.linalg.norm(w)
    assert np.max(np.abs(y - truth) - np.finfo(dtype).eps * np.abs(truth)) <= bound


@pytest.mark.parametrize("dtype", ["float32", "float64", "complex64"])
@pytest.mark.parametrize(
    ("x", "w"), [((2, 3, 900), (4, 3, 300)), ((1, 1, 5000), (1, 1, 4097)), ((1, 2, 70, 50), (2, 2, 31, 31))]
)
def test_the_bound_of_transforms_in_the_width_of_the_operands(dtype, x, w):
    """As on a GPU: 4 log2(N) times the unit roundoff, on numbers that a sum of them would not cancel."""
    rng, target = np.random.default_rng(0), dataclasses.replace(target_of(BACKENDS["numpy"].load()), kind="gpu")
    lib = BACKENDS["numpy"].load()
    asked = problem("conv", x, w)
    (schedule,) = fft.schedules(asked, target)
    assert {how.own_width for how in schedule.phases} == {True}
    assert not any(how.rows for how in schedule.phases)
    x, w = (rng.uniform(0, 1, (1, *shape)) for shape in (x, w))
    if dtype == "complex64":
        x, w = x + 1j * rng.uniform(0, 1, x.shape), w + 1j * rng.uniform(0, 1, w.shape)
    x, w = x.astype(dtype), w.astype(dtype)
    truth = fft.conv(x.astype(np.complex128), w.astype(np.complex128), schedule, lib)
    y = fft.conv(x, w, schedule, lib)
    assert y.dtype == dtype
    points = math.prod(fft.sizes(asked.geometry))
    bound = 4 * math.log2(points) * np.finfo(dtype).eps / 2 * np.linalg.norm(x) * np.linalg.norm(w)
    assert 0 < np.max(np.abs(y - truth)) <= bound


def test_lengths_of_transforms_are_the_next_fast_ones():
    def is_fast(length):
        for prime in (2, 3, 5):
            while length % prime == 0:
                length //= prime
        return length == 1

    for least in range(1, 2000):
        expected = next(n for n in range(least, 4 * least + 2) if n % 2 == 0 and is_fast(n))
        assert fft.fast_length(least) == expected


@pytest.mark.parametrize("algorithm", [*EXACT, "fft", "vendor"])
def test_derivatives_ride_on_the_same_kernel(jax, algorithm):
    """Second order, per-sample gradients and forward mode, against the definition's."""
    rng = np.random.default_rng(0)
    x, w = (jax.numpy.asarray(rng.integers(-3, 4, shape).astype(np.float64)) for shape in ((3, 4, 7), (4, 2, 3)))

    def results(algorithm):
        def loss(w, x):
            return (triconv.conv(x, w, stride=2, padding=[(1, 2)], groups=2, algorithm=algorithm) ** 2).sum()

        return (
            jax.grad(lambda w, x: (jax.grad(loss)(w, x) ** 2).sum())(w, x),
            jax.vmap(jax.grad(loss), (None, 0))(w, x[:, None]),
            jax.jvp(jax.grad(loss), (w, x), (w[::-1], x[::-1]))[1],
        )

    for ours, truth in zip(jax.jit(results, static_argnums=0)(algorithm), results("direct"), strict=True):
        scale = float(abs(truth).max())
        np.testing.assert_allclose(ours, truth, rtol=0, atol=1e-12 * scale if algorithm == "fft" else 0)


# ---- the planner


def problem(contraction, x, w, itemsize=4, **params):
    groups = params.get("groups", 1)
    geometry = Geometry.of(x[2:], w[2:], **params)
    return Problem(contraction, geometry, groups, x[0], w[1], w[0] // groups, itemsize)


@pytest.mark.parametrize(
    ("contraction", "x", "w", "params", "expected"),
    [
        ("conv", (8, 64, 56, 56), (64, 64, 1, 1), {}, "gemm"),
        ("conv_weight_vjp", (8, 64, 56, 56), (64, 64, 3, 3), {"padding": 1}, "gemm"),
        ("conv", (8, 256, 14, 14), (256, 256, 3, 3), {"padding": 1}, "vendor"),
        ("conv_input_vjp", (8, 64, 56, 56), (64, 64, 3, 3), {"padding": 1}, "gemm"),
        ("conv", (16, 24, 56, 56), (32, 24, 7, 7), {"padding": 3, "stride": 2}, "vendor"),
        ("conv", (4, 3, 224, 224), (64, 3, 7, 7), {"padding": 3, "stride": 2}, "vendor"),
        ("conv_weight_vjp", (16, 4, 96, 96), (16, 4, 11, 11), {"padding": 5, "stride": 4}, "vendor"),
        ("conv_weight_vjp", (2, 40, 13, 13), (128, 40, 3, 3), {"padding": 2, "dilation": 2}, "vendor"),
        ("conv", (8, 512, 256), (512, 512, 5), {"padding": 2}, "vendor"),
        ("conv_weight_vjp", (4, 3, 112, 112), (64, 3, 3, 3), {"padding": 1}, "gemm"),
        ("conv_weight_vjp", (2, 16, 160, 160), (16, 16, 3, 3), {"padding": 1}, "gemm"),
        ("conv", (4, 64, 112, 112), (64, 64, 3, 3), {"padding": 1}, "gemm"),
        ("conv", (4, 64, 16000), (64, 64, 5), {"padding": 2}, "vendor"),
        ("conv", (4, 64, 16000), (64, 64, 5), {"padding": 2, "itemsize": 8}, "gemm"),
        ("conv", (1, 64, 320, 320), (64, 64, 3, 3), {"padding": 1}, "vendor"),
        ("conv", (4, 16, 512, 512), (16, 16, 3, 3), {"padding": 1}, "vendor"),
        ("conv_weight_vjp", (1, 32, 32, 32, 32), (32, 32, 3, 3, 3), {"padding": 1}, "gemm"),
        ("conv", (1, 256, 124, 124), (256, 1, 3, 3), {"padding": 1, "groups": 256}, "depthwise"),
        ("conv_weight_vjp", (32, 512, 1024), (512, 1, 5), {"padding": 2, "groups": 512}, "depthwise"),
        ("conv_input_vjp", (8, 3, 224, 224), (384, 3, 16, 16), {"stride": 16}, "gemm"),
        ("conv", (2, 64, 4096), (64, 1, 4096), {"padding": "causal", "groups": 64}, "fft"),
        ("conv_input_vjp", (4, 3, 16, 16, 16), (64, 3, 14, 14, 14), {"stride": 14}, "gemm"),
        ("conv_input_vjp", (4, 1, 128, 998), (96, 1, 16, 16), {"stride": 10}, "gemm"),
        ("conv", (4, 3, 64, 64), (16, 3, 5, 5), {"padding": 2}, "gemm"),  # an odd number of channels, into few
        ("conv", (4, 4, 64, 64), (32, 4, 5, 5), {"padding": 2}, "vendor"),
        ("conv", (8, 32, 64, 64), (32, 32, 3, 3), {"padding": 1}, "vendor"),
        ("conv_input_vjp", (4, 96, 56, 56), (192, 96, 2, 2), {"stride": 2}, "gemm"),
        ("conv_weight_vjp", (16, 3, 56, 56), (96, 3, 8, 8), {"stride": 8}, "vendor"),
        ("conv", (2, 16, 16, 28, 28), (64, 16, 1, 1, 1), {}, "vendor"),  # a product
        ("conv", (2, 3, 8, 8), (4, 3, 3, 3), {}, "vendor"),
        ("conv", (0, 3, 8, 8), (4, 3, 3, 3), {}, "direct"),
    ],
)
def test_choices_under_jit_on_a_cpu(jax, contraction, x, w, params, expected):
    lib = BACKENDS["jax"].load()
    plans = [planner.plan(problem(contraction, x, w, **params), target_of(lib)) for _ in range(2)]
    assert plans[0] == plans[1]
    assert plans[0].algorithm == expected


@pytest.mark.parametrize(
    ("contraction", "x", "w", "params", "expected"),
    [
        ("conv", (8, 64, 56, 56), (64, 64, 3, 3), {"padding": 1}, "vendor"),
        ("conv_input_vjp", (8, 128, 56, 56), (128, 128, 3, 3), {"padding": 1, "stride": 2}, "vendor"),
        ("conv_weight_vjp", (8, 64, 56, 56), (64, 64, 3, 3), {"padding": 1}, "gemm"),
        ("conv", (8, 256, 56, 56), (64, 256, 1, 1), {}, "gemm"),
        ("conv_weight_vjp", (8, 256, 56, 56), (64, 256, 1, 1), {}, "gemm"),
        ("conv_weight_vjp", (4, 64, 32, 32), (64, 64, 3, 3), {"padding": 1}, "vendor"),
        ("conv_weight_vjp", (16, 192, 7, 7), (128, 192, 3, 3), {"padding": 1, "stride": 2}, "vendor"),
        ("conv_weight_vjp", (8, 3, 224, 224), (768, 3, 16, 16), {"stride": 16}, "gemm"),
        ("conv_input_vjp", (8, 3, 224, 224), (768, 3, 16, 16), {"stride": 16}, "gemm"),
        ("conv", (8, 192, 28, 28), (192, 1, 7, 7), {"padding": 3, "groups": 192}, "depthwise"),
        ("conv", (3, 32, 257), (32, 16, 41), {"padding": 20, "groups": 2}, "vendor"),
        ("conv", (1, 128, 1021), (128, 32, 41), {"padding": 20, "groups": 4}, "vendor"),
        ("conv_input_vjp", (8, 64, 1024), (64, 16, 15), {"padding": 7, "groups": 4}, "vendor"),
        ("conv", (1, 32, 32, 32, 32), (32, 32, 3, 3, 3), {"padding": 1}, "vendor"),
        ("conv_input_vjp", (4, 3, 224, 224), (64, 3, 7, 7), {"padding": 3, "stride": 2}, "vendor"),
        ("conv_input_vjp", (4, 64, 50, 50), (64, 64, 3, 3), {"stride": 3}, "vendor"),
        ("conv_input_vjp", (4, 32, 56, 56), (64, 32, 3, 3), {"padding": 1}, "vendor"),
        ("conv_input_vjp", (2, 64, 80, 80), (256, 64, 3, 3), {"padding": 1}, "vendor"),
    ],
)
def test_choices_under_jit_on_a_cpu_with_channels_last(jax, contraction, x, w, params, expected):
    asked = dataclasses.replace(problem(contraction, x, w, **params), orders=("last",) * 3)
    assert planner.plan(asked, target_of(BACKENDS["jax"].load())).algorithm == expected


@pytest.mark.parametrize(
    ("kernel", "dilation", "is_one_call"), [(4, 1, True), (9, 1, True), (3, 2, False), (12, 1, False)]
)
def test_a_transposed_convolution_of_channels_last_is_one_call_of_xla(jax, kernel, dilation, is_one_call):
    """It skips zeros between inputs for few taps that are not dilated; else there is one call per phase."""
    geometry = Geometry.of((16, 16), (kernel, kernel), padding=kernel - 1, input_dilation=2, dilation=dilation)
    asked = Problem("conv", geometry, 1, 4, 64, 64, orders=("last",) * 3)
    plan = planner.plan(asked, target_of(BACKENDS["jax"].load()), "vendor")
    assert (plan.schedule.form == vendor.DILATED) is is_one_call


@pytest.mark.parametrize(
    ("x", "w", "form"),
    [((1, 256, 8000), (128, 256, 3), vendor.DILATED), ((16, 256, 500), (64, 256, 4), vendor.BY_PHASES)],
)
def test_phases_along_one_axis_have_to_save_more_than_it_takes_to_interleave_them(jax, x, w, form):
    asked = problem("conv_input_vjp", x, w, stride=2, padding=w[2] // 2)
    plan = planner.plan(asked, target_of(BACKENDS["jax"].load()))
    assert (plan.algorithm, plan.schedule.form) == ("vendor", form)


@pytest.mark.parametrize(
    ("contraction", "x", "w", "expected", "form"),
    [
        ("conv_weight_vjp", (8, 512, 1000), (512, 1, 5), "vendor", vendor.BY_PHASES),
        ("conv", (4, 160, 40, 40), (160, 1, 13, 13), "vendor", vendor.BY_PHASES),
        ("conv", (4, 160, 40, 40), (160, 1, 21, 7), "vendor", vendor.BY_PHASES),
        ("conv", (4, 160, 40, 40), (160, 1, 7, 21), "vendor", vendor.TRANSPOSED),
    ],
)
def test_choices_of_torch_for_depthwise_layers(torch, contraction, x, w, expected, form):
    """oneDNN is slow where the last axis of the kernel is long, but not its transposed convolution."""
    params = {"padding": [size // 2 for size in w[2:]], "groups": x[1]}
    plan = planner.plan(problem(contraction, x, w, **params), target_of(BACKENDS["torch"].load()))
    assert (plan.algorithm, plan.schedule.form) == (expected, form)


@pytest.mark.parametrize(
    ("contraction", "x", "w", "params", "expected"),
    [
        ("conv_input_vjp", (8, 3, 224, 224), (384, 3, 16, 16), {"stride": 16}, "gemm"),
        ("conv_weight_vjp", (4, 64, 56, 56), (64, 1, 31, 31), {"padding": 15, "groups": 64}, "fft"),
        ("conv", (4, 64, 56, 56), (64, 1, 31, 31), {"padding": 15, "groups": 64}, "vendor"),
        ("conv", (8, 128, 56, 56), (128, 128, 3, 3), {"padding": 1}, "vendor"),
    ],
)
def test_choices_of_torch_with_channels_last(torch, contraction, x, w, params, expected):
    """Where torch is slow with channels last, another kernel is worth transposing the arrays."""
    asked = dataclasses.replace(problem(contraction, x, w, **params), orders=("last",) * 3)
    assert planner.plan(asked, target_of(BACKENDS["torch"].load())).algorithm == expected


@st.composite
def problems(draw, contraction):
    """A problem of any size, from one element to millions."""
    steps, axes = st.sampled_from([1, 1, 1, 2, 3, 4, 16]), []
    for _ in range(draw(st.integers(0, 3))):
        size, kernel = (
            draw(st.sampled_from([1, 2, 3, 7, 28, 113, 1000])),
            draw(st.sampled_from([1, 2, 3, 5, 8, 16, 31])),
        )
        dilation = draw(steps)
        pads = draw(st.tuples(*2 * [st.integers(0, (kernel - 1) * dilation)]))
        axis = Axis(size, kernel, draw(steps), dilation, draw(steps), *pads)
        assume(axis.padded_size >= axis.dilated_kernel)
        axes.append(axis)
    groups, n, c, k = (draw(st.sampled_from([1, 2, 3, 17, 64, 256])) for _ in range(4))
    orders = draw(st.tuples(*3 * [st.sampled_from(["first", "last"])])) if axes else FIRST
    itemsize, kind = draw(st.sampled_from([(2, "real"), (4, "real"), (8, "real"), (8, "complex"), (8, "integer")]))
    return Problem(contraction, Geometry(tuple(axes), groups), groups, n, c, k, itemsize, kind, orders)


@pytest.mark.parametrize("kind", ["cpu", "gpu"])
@pytest.mark.parametrize("contraction", ["conv", "conv_input_vjp", "conv_weight_vjp"])
@given(data=st.data())
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_problem_of_any_size_has_a_plan(lib, kind, contraction, data):
    """Every kernel weighs it, or says why it cannot compute it."""
    here, backend = target_of(lib.backend), type(lib.backend)
    rates = default_target(backend, kind)
    target = dataclasses.replace(here, kind=kind, rates=rates.rates, vendor=rates.vendor)
    plan = planner.plan(data.draw(problems(contraction)), target)
    assert plan.algorithm in planner.KERNELS
    assert all(candidate.cost or candidate.obstacle for candidate in plan.candidates)


@pytest.mark.parametrize(("channels", "whole"), [(16, (True, True)), (24, (True, False)), (64, (False, False))])
def test_samples_of_doubles_are_twice_as_large(channels, whole):
    target, shapes = target_of(BACKENDS["numpy"].load()), ((1, channels, 200, 200), (channels, channels, 3, 3))
    problems = [problem("conv", *shapes, itemsize, padding=1) for itemsize in (4, 8)]
    schedules = [next(gemm.schedules(each, target)) for each in problems]
    assert tuple(schedule.phases[0].rows == 0 for schedule in schedules) == whole


def test_integers_are_never_transformed():
    lib = BACKENDS["numpy"].load()
    long = problem("conv", (2, 64, 4096), (64, 1, 4096), padding="causal", groups=64)
    assert planner.plan(long, target_of(lib)).algorithm == "fft"
    integers_ = dataclasses.replace(long, kind="integer")
    plan = planner.plan(integers_, target_of(lib))
    assert plan.algorithm not in ("fft", "direct")
    assert {c.algorithm: c.obstacle for c in plan.candidates}["fft"] == "a Fourier transform of integers is not exact"


@pytest.mark.parametrize("name", ["conv", "conv_input_vjp", "conv_weight_vjp"])
def test_the_cheapest_schedule_is_chosen(name):
    """By what the model says of each kernel's own schedule, be it asked for or not."""
    target = target_of(BACKENDS["numpy"].load())
    asked = problem(name, (4, 16, 40, 40), (16, 16, 3, 3), padding=1, stride=2)
    plan, seconds = planner.plan(asked, target), {}
    for candidate in plan.candidates:
        if not candidate.obstacle:
            cost = planner.KERNELS[candidate.algorithm].cost(candidate.schedule, asked, target)
            seconds[candidate.algorithm] = candidate.seconds
            assert cost == candidate.cost
            assert planner.plan(asked, target, candidate.algorithm).schedule == candidate.schedule
    assert plan.algorithm == min(seconds, key=seconds.get) == "gemm"
    assert plan.schedule == plan.candidates[0].schedule


def test_a_constant_changes_the_cost_of_what_it_says():
    lib, asked = BACKENDS["numpy"].load(), problem("conv", (4, 16, 40, 40), (16, 16, 3, 3), padding=1)
    before = {c.algorithm: c.seconds for c in planner.plan(asked, target_of(lib)).candidates}
    with changed(rates=target_of(lib).rates._replace(matrix=target_of(lib).rates.matrix / 2)):
        after = {c.algorithm: c.seconds for c in planner.plan(asked, target_of(lib)).candidates}
    assert {name for name in before if before[name] != after[name]} == {"direct", "gemm"}


@pytest.mark.parametrize("layout", ["NCHW,OIHW->NCHW", "NHWC,HWIO->NHWC"])
@pytest.mark.parametrize("params", [{"padding": 1}, {"padding": 1, "stride": 2}, {"padding": 2, "dilation": 2}])
def test_a_training_step_writes_no_window_per_tap(jax, params, layout):
    """Between other layers, whose results XLA would move into each of nine windows, or write nine times."""
    last = layout.startswith("NHWC")
    x, w = np.ones((4, 32, 32, 32), np.float32), np.ones((3, 3, 1, 32) if last else (32, 1, 3, 3), np.float32)
    conv = functools.partial(triconv.conv, groups=32, layout=layout, algorithm="depthwise", **params)

    def step(x, w):
        y, pullback = jax.vjp(lambda x, w: conv(jax.numpy.maximum(x, 0), w), x, w)
        return pullback(jax.numpy.maximum(y, 1))

    assert jax.jit(step).lower(x, w).compile().memory_analysis().temp_size_in_bytes < 5 * x.nbytes


@pytest.mark.parametrize(("channels", "outputs"), [(2, 2), (1, 2), (2, 1)])
def test_more_channels_a_group_pad_once(jax, channels, outputs):
    x, w = np.ones((4, 32, 32, 32), np.float32), np.ones((32 // channels * outputs, channels, 3, 3), np.float32)
    conv = functools.partial(triconv.conv, padding=1, groups=32 // channels, algorithm="depthwise")
    g = np.ones((4, w.shape[0], 32, 32), np.float32)
    for program in (conv, lambda x, w: jax.vjp(conv, x, w)[1](g)):
        memory = jax.jit(program).lower(x, w).compile().memory_analysis()
        assert memory.temp_size_in_bytes < 4 * (x.nbytes + g.nbytes)


@pytest.mark.xla_text
def test_axes_are_unfolded_one_after_the_other(jax):
    """In a loop per axis, not per tap: the results of those would then be copied into one array."""
    x, w = np.ones((1, 3, 32, 32), np.float32), np.ones((8, 3, 7, 7), np.float32)
    conv = jax.jit(lambda x, w: triconv.conv(x, w, stride=2, padding=3, algorithm="gemm"))
    text = conv.lower(x, w).compile().as_text()
    assert text.count(" slice(") == 7 + 7
    assert text.count(" fusion(") < 10


@pytest.mark.parametrize(("size", "parts"), [(110, 1), (112, 3)])
def test_a_small_product_of_long_rows_is_split(jax, size, parts):
    """For as many threads, which XLA gives to independent products only."""
    rng = np.random.default_rng(0)
    x, g = (rng.integers(-3, 4, (1, c, size, size)).astype(np.float32) for c in (3, 8))
    params = {"kernel_size": (3, 3), "padding": 1}
    gw = jax.jit(lambda g, x: triconv.conv_weight_vjp(g, x, algorithm="gemm", **params))
    assert gw.lower(g, x).as_text().count("dot_general") == parts
    np.testing.assert_array_equal(gw(g, x), triconv.conv_weight_vjp(g, x, algorithm="direct", **params))


def test_what_is_sharded_is_not_looped_over(jax):
    from jax.sharding import NamedSharding, PartitionSpec

    mesh = jax.make_mesh((2,), ("n",))
    x = jax.device_put(np.ones((4, 16, 32, 32), np.float32), NamedSharding(mesh, PartitionSpec("n")))
    w = np.ones((16, 1, 3, 3), np.float32)
    conv = jax.jit(lambda x, w: triconv.conv(x, w, padding=1, groups=16))
    text = conv.lower(x, w).compile().as_text()
    assert " while(" not in text
    assert "all-gather" not in text
    np.testing.assert_array_equal(conv(x, w), triconv.conv(np.ones(x.shape, np.float32), w, padding=1, groups=16))


@pytest.mark.parametrize(
    ("x", "w", "params"),
    [
        ((2, 4, 4096), (4, 1, 4096), {"groups": 4, "padding": [(4095, 0)]}),
        ((1, 4, 56, 56), (4, 1, 31, 31), {"groups": 4, "padding": 15}),
        ((1, 8, 40, 40), (8, 8, 31, 31), {"padding": 15}),
    ],
)
@pytest.mark.parametrize("dtype", ["float32", "int32"])
def test_large_kernels_do_not_unroll(jax, x, w, params, dtype):
    """The compiled program stays short, and its temporary memory within bounds."""
    arrays = [jax.numpy.ones(shape, dtype) for shape in (x, w)]

    def three(x, w):
        y, pullback = triconv.vjp(triconv.conv, x, w, **params)
        return y, pullback(y)

    lowered = jax.jit(three).lower(*arrays)
    assert len(lowered.as_text().splitlines()) < 1500
    memory = lowered.compile().memory_analysis()
    operands = 3 * sum(a.nbytes for a in arrays)
    assert memory.temp_size_in_bytes <= 2 * operands + 64 * 2**20


def test_the_vendor_has_no_inserted_zeros(jax):
    """A transposed convolution by lax is plain convolutions, one per phase, where one call would multiply many zeros."""
    x, w = np.ones((2, 64, 900), np.float32), np.ones((64, 256, 4), np.float32)
    conv = lambda x, w: triconv.conv_transpose1d(x, w, None, 2, algorithm="vendor")  # noqa: E731
    text = jax.jit(lambda x, w: jax.vjp(conv, x, w)[1](conv(x, w))).lower(x, w).as_text()
    assert text.count("stablehlo.convolution") >= 4
    dilations = re.findall(r"lhs_dilate = \[([^\]]*)\]", text)
    assert dilations
    assert set(dilations) == {"1"}


@pytest.mark.parametrize("layout", ["NCHW,OIHW->NCHW", "NHWC,HWIO->NHWC"])
def test_the_vendor_crops_nothing_that_no_window_reads(jax, layout):
    """Behind the last window of a strided convolution: XLA would copy the input, and take twice as long."""
    x, w = (
        np.ones((2, 20, 20, 20), np.float32),
        np.ones((20, 20, 1, 3) if layout[1] == "C" else (1, 3, 20, 20), np.float32),
    )
    conv = lambda x, w: triconv.conv(x, w, stride=2, layout=layout, algorithm="vendor")  # noqa: E731
    highs = re.findall(r"stablehlo.pad .*high = \[([^\]]*)\]", jax.jit(conv).lower(x, w).as_text())
    assert not any("-" in high for high in highs)
    np.testing.assert_array_equal(conv(*map(jax.numpy.asarray, (x, w))), triconv.conv(x, w, stride=2, layout=layout))


def test_measured_candidates():
    explanation = triconv.explain(triconv.conv2d, (1, 4, 20, 20), (4, 4, 3, 3), measure=True)
    for row in explanation.rows:
        usable = {candidate.algorithm for candidate in row.candidates if not candidate.obstacle}
        assert set(row.measured) == usable >= {"direct", "gemm", "depthwise"}
        assert all(seconds > 0 for seconds in row.measured.values())
    assert "ms measured" in str(explanation)
    assert "not used: numpy has no convolution of its own" in str(explanation)


def test_explain_says_what_was_asked_for():
    explanation = triconv.explain(triconv.conv2d, (1, 4, 20, 20), (4, 4, 3, 3), algorithm="gemm")
    assert {(row.algorithm, row.reason, row.candidates) for row in explanation.rows} == {("gemm", "asked for", ())}
    with pytest.raises(ValueError, match="got 'vendor': numpy has no convolution of its own"):
        triconv.explain(triconv.conv2d, (1, 4, 20, 20), (4, 4, 3, 3), algorithm="vendor")


@given(st.data())
@settings(max_examples=200)
def test_padding_pads_and_crops(data):
    sizes = data.draw(st.lists(st.integers(1, 4), min_size=1, max_size=3))
    pads = [data.draw(st.tuples(st.integers(-2, 3), st.integers(-2, 3))) for _ in sizes]
    assume(all(size + lo + hi >= 0 for size, (lo, hi) in zip(sizes, pads, strict=True)))
    a = np.arange(math.prod(sizes)).reshape(sizes) + 1
    grown = np.pad(a, [(max(0, lo), max(0, hi)) for lo, hi in pads])
    cut = (slice(max(0, -lo), n - max(0, -hi)) for n, (lo, hi) in zip(grown.shape, pads, strict=True))
    expected = grown[tuple(cut)]
    for name in ("numpy", "array-api-strict"):
        lib = BACKENDS[name].load()
        np.testing.assert_array_equal(np.asarray(lib.pad(lib.asarray(a), pads)), expected)


def test_axis_of_work():
    """What the planner counts of the padding: every output with every tap."""
    assert problem("conv", (1, 1, 5), (1, 1, 3), padding=1).padded_multiply_adds == 15
    assert problem("conv", (1, 1, 5), (1, 1, 3), padding=1).multiply_adds == 13
    assert Axis(5, 3, pad_lo=1, pad_hi=1).output_size == 5


# ---- sizes without small divisors, strides and taps without number


@pytest.mark.parametrize(("samples", "groups"), [(1, 1), (101, 1), (1, 101), (13, 11), (100, 1), (2, 97)])
def test_blocks_of_primes_are_as_many_as_those_of_their_neighbours(samples, groups):
    """And what is summed or put together is exact."""
    lib = BACKENDS["numpy"].load()
    x, w = np.arange(groups * samples * 6.0).reshape(groups, samples, 6), np.arange(groups * 6.0).reshape(groups, 6)
    calls = []

    def scaled(x, w):
        calls.append(x.shape)
        return x * w[:, None]

    def summed(g, x):
        calls.append(x.shape)
        return (g * x).sum(1)

    target, view = target_of(lib), problem("conv", (samples, groups, 6), (groups, 1, 1), groups=groups)
    counts = blocks.block_of(view, 6, 60, target)  # ten samples, of one group
    schedule = Schedule("gemm", "", "conv", view.geometry, samples=counts[0], groups=counts[1])
    least = -(-samples // max(1, 10 // groups)) if groups <= 10 else samples * -(-groups // 10)
    np.testing.assert_array_equal(blocks.map_samples(scaled, x, [w], schedule, lib), x * w[:, None])
    assert len(calls) <= 2 * least
    if groups == 1 or samples == 1:
        assert len(calls) == least
    calls.clear()
    np.testing.assert_array_equal(blocks.sum_samples(summed, x, x, schedule, lib), (x * x).sum(1))
    assert len(calls) <= 2 * least
    assert all(shape[0] * shape[1] <= 10 for shape in calls)


@pytest.mark.parametrize(
    ("number", "most", "expected"), [(10007, 100, 100), (101, 100, 51), (1, 10, 1), (0, 10, 1), (7, 0.5, 1), (7, 99, 7)]
)
def test_blocks_are_even(number, most, expected):
    assert blocks.even(number, most) == expected
    assert blocks.even_block(number, most, target_of(BACKENDS["numpy"].load())) == expected


NASTY = {  # x, w and parameters of lax, of many phases or taps
    "jax#17464": ((1, 4, 8, 8), (3, 4, 32, 32), {"padding": [(31, 31)] * 2, "input_dilation": 16}),
    "an inverse Fourier transform in frames": (
        (1, 3, 20),
        (2, 3, 1024),
        {"padding": [(1023, 0)], "input_dilation": 256},
    ),
    "dilated twice": ((1, 2, 9), (3, 2, 512), {"padding": [(1533, 0)], "input_dilation": 256, "dilation": 3}),
    "three axes": ((1, 2, 3, 3, 3), (2, 2, 8, 8, 8), {"padding": 7, "input_dilation": 8}),
    "both steps": ((1, 2, 9, 9), (3, 2, 32, 32), {"padding": 31, "input_dilation": 16, "stride": 3}),
    "cropped": ((1, 2, 40), (3, 2, 300), {"padding": [(-5, -7)], "input_dilation": 64, "stride": 3, "dilation": 2}),
    "few of many places": ((1, 2, 5), (3, 2, 3), {"padding": 2, "input_dilation": 1000, "dilation": 2}),
    "pytorch#2233": ((1, 3, 120, 60), (2, 3, 16, 27), {"stride": (24, 11)}),
    "passes over windows": ((1, 3, 30, 31), (2, 3, 12, 13), {"stride": 6, "padding": [(3, 2), (0, 5)]}),
    "gaps before overlaps": ((1, 3, 60, 31), (2, 3, 2, 9), {"stride": (24, 3), "dilation": (5, 1)}),
}


def nasty(name, lib, **kw):
    """The three contractions of one of them, and their operands."""
    shape, kernel, params = NASTY[name]
    rng = np.random.default_rng(0)
    x, w = (rng.integers(-2, 3, size).astype(kw.pop("dtype", np.float32)) for size in (shape, kernel))
    y = triconv.conv(np.asarray(x), np.asarray(w), algorithm="direct", **params)
    g = rng.integers(-2, 3, y.shape).astype(x.dtype)
    x, w, g = map(lib.array, (x, w, g))
    params = params | kw
    return (
        (triconv.conv, (x, w), params),
        (triconv.conv_input_vjp, (g, w), params | {"input_size": shape[2:]}),
        (triconv.conv_weight_vjp, (g, x), params | {"kernel_size": kernel[2:]}),
    )


@pytest.mark.covering(2, "numpy")
@pytest.mark.parametrize("algorithm", ["auto", "gemm", "vendor"])
@pytest.mark.parametrize("name", NASTY)
def test_no_phase_and_no_tap_is_lost(lib, name, algorithm):
    truths = nasty(name, Library("numpy"), algorithm="direct")
    for (f, operands, params), (_, plain, asked) in zip(nasty(name, lib, algorithm=algorithm), truths, strict=True):
        found, truth = lib.numpy(f(*operands, **params)), f(*plain, **asked)
        if algorithm == "auto":  # a Fourier transform, it may be
            np.testing.assert_allclose(found, truth, rtol=0, atol=1e-3)
        else:
            np.testing.assert_array_equal(found, truth)


@pytest.mark.parametrize("dtype", ["float32", "int32"])
@pytest.mark.parametrize("name", NASTY)
def test_no_program_grows_with_phases_or_taps(jax, name, dtype):
    for f, operands, params in nasty(name, Library("jax"), dtype=dtype):
        text = jax.jit(functools.partial(f, **params)).lower(*operands).as_text()
        assert len(text.splitlines()) < 600


def test_rows_that_a_stride_skips_are_not_unfolded():
    """Of an axis with one tap, or with gaps between windows, before another is."""
    lib, written = BACKENDS["numpy"].load(), []
    geometry = Geometry.of((240, 60), (2, 9), stride=(24, 3))
    a = np.ones((1, 3, 1, 240, 60), np.float32)
    left, axes_ = unfolding._without_gaps(a, geometry.axes, lib)
    written.append(left.shape[3])
    assert written == [2 * geometry.output_size[0]]
    assert axes_[0].output_size == geometry.output_size[0]


@pytest.mark.parametrize(
    ("x", "w", "params", "expected"),
    [
        ((4, 64, 56, 56), (64, 64, 3, 3), {"padding": 1}, "vendor"),
        ((4, 64, 16, 16, 16), (64, 1, 5, 5, 5), {"padding": 2, "groups": 64}, "vendor"),
        ((4, 64, 32, 32), (64, 1, 11, 11), {"padding": 5, "groups": 64}, "vendor"),
        ((4, 128, 28, 28), (128, 4, 3, 3), {"padding": 1, "groups": 32}, "vendor"),
        ((4, 96, 27, 27), (256, 48, 5, 5), {"padding": 2, "groups": 2}, "vendor"),
        ((4, 96, 28, 28), (96, 1, 7, 7), {"padding": 3, "groups": 96}, "vendor"),
        ((1, 3, 8, 8), (4, 3, 3, 3), {}, "vendor"),
        ((2, 64, 4096), (64, 1, 4096), {"padding": "causal", "groups": 64}, "fft"),
    ],
)
def test_choices_for_torch_are_not_those_for_a_compiler(torch, x, w, params, expected):
    lib = BACKENDS["torch"].load()
    assert planner.plan(problem("conv", x, w, **params), target_of(lib)).algorithm == expected


def test_a_depthwise_weight_gradient_is_not_left_to_torch(torch):
    lib = BACKENDS["torch"].load()
    plan = planner.plan(
        problem("conv_weight_vjp", (4, 96, 28, 28), (96, 1, 7, 7), padding=3, groups=96), target_of(lib)
    )
    assert plan.algorithm == "gemm"


@pytest.mark.parametrize("dtype", [np.longdouble, np.clongdouble])
@pytest.mark.parametrize("algorithm", ["auto", "fft", "gemm"])
def test_long_doubles_keep_their_bits(dtype, algorithm):
    rng = np.random.default_rng(0)
    x, w = (rng.standard_normal((1, 1, size)).astype(dtype) for size in (900, 300))
    truth = np.array([np.dot(x[0, 0, i : i + 300], w[0, 0]) for i in range(601)])
    y = triconv.conv(x, w, algorithm=algorithm)
    assert y.dtype == dtype
    bound = 300 * np.finfo(dtype).eps * np.linalg.norm(x) * np.linalg.norm(w)
    assert np.max(np.abs(y[0, 0] - truth)) <= bound


def test_nothing_is_counted_twice(monkeypatch):
    """A second call of the same shapes does not count meetings again."""
    x, w = np.ones((1, 1, 733), np.float32), np.ones((1, 1, 257), np.float32)
    triconv.conv(x, w)
    monkeypatch.setattr(Geometry, "count_meetings", None)
    triconv.conv(x, w)


def test_a_huge_stride_is_planned_at_once_and_does_not_reach_torch(torch):
    """torch 2.13's backward function of a convolution ends the process at such strides."""
    lib = BACKENDS["torch"].load()
    geometry = Geometry.of((2 * 10**6 + 3,), (3,), stride=10**6)
    plan = planner.plan(Problem("conv_input_vjp", geometry, 1, 1, 1, 1), target_of(lib))
    assert plan.algorithm == "direct"
    y = triconv.conv_transpose1d(torch.ones(1, 1, 3), torch.ones(1, 1, 3), stride=10**6)
    assert (y.shape[-1], int(y.sum())) == (2 * 10**6 + 3, 9)


@pytest.mark.parametrize("contraction", ["conv", "conv_input_vjp", "conv_weight_vjp"])
def test_a_problem_has_the_memory_order_of_each_array(lib, contraction):
    """That of the operands; the result is to be as the first operand."""
    if lib.name not in ("numpy", "torch"):
        pytest.skip(f"{lib} does not tell the order of an array")
    geometry, shape = Geometry.of((5, 6), (5, 6)), (1, 2, 3, 5, 6)
    first = lib.array(np.ones(shape, np.float32))
    last = lib.array(np.ones((1, 2, 5, 6, 3), np.float32))
    last = lib.xp.permute_dims(last, (0, 1, 4, 2, 3)) if lib.name == "numpy" else last.permute(0, 1, 4, 2, 3)
    roles = ROLES[contraction]
    for a, b in ((first, last), (last, first), (last, last), (first, first)):
        asked = planner.problem_of(contraction, a, b, geometry, lib.backend, first.dtype)
        orders = dict(zip("xwg", asked.orders, strict=True))
        expected = ["last" if operand is last else "first" for operand in (a, b, a)]
        assert [orders[role] for role in (*roles.operands, roles.result)] == expected


@pytest.mark.optimized
@pytest.mark.parametrize("last", [True, False], ids=["last", "first"])
def test_a_kernel_is_compiled_apart_from_what_stands_around_it(jax, last):
    if jax.default_backend() != "cpu":
        pytest.skip("programs for a CPU")
    layout, shapes = (
        ("NHWC,HWIO->NHWC", [(1, 9, 8, 4), (3, 3, 1, 4)]) if last else ("NCHW,OIHW->NCHW", [(1, 4, 9, 8), (4, 1, 3, 3)])
    )
    call = functools.partial(triconv.conv, padding=1, groups=4, layout=layout, algorithm="depthwise")
    x, w = (jax.numpy.ones(shape) for shape in shapes)

    def loss(x, w):
        return jax.numpy.sin(call(jax.numpy.sin(call(jax.numpy.sin(x), w)), w)).sum()

    lowered = jax.jit(jax.grad(loss, (0, 1))).lower(x, w)
    # layers that are alike are one function, and their input VJPs are the same one, with the transposed kernel
    assert lowered.as_text().count("func.func private @triconv_kernel") == 2
    program = lowered.compile().as_text()
    calls = [line for line in program.splitlines() if " call(" in line]
    assert len(calls) == 6
    operands = [operand for line in calls for operand in line.split("call(")[1].split(")")[0].split(", ")]
    assert len({operand for operand in operands if "copy" in operand}) <= 1  # as they are, but the kernel in reverse
    kernels = [body for body in program.split("\n\n") if "sine(" in body or "cosine(" in body]
    assert not any("pad(" in body or "concatenate(" in body for body in kernels)


@pytest.mark.parametrize("last", [True, False], ids=["last", "first"])
def test_an_input_vjp_by_the_function_of_the_forward_is_exact(jax, last):
    layout, shapes = ("NWC,WIO->NWC", [(2, 11, 3), (5, 1, 3)]) if last else ("NCW,OIW->NCW", [(2, 3, 11), (3, 1, 5)])
    call = functools.partial(triconv.conv, padding=2, groups=3, layout=layout, algorithm="depthwise")
    x, w = (jax.numpy.arange(float(np.prod(shape))).reshape(shape) for shape in shapes)
    (gx,) = jax.jit(lambda x, g: jax.vjp(lambda x: call(x, w), x)[1](g))(x, x)
    with jax.disable_jit():  # each contraction by itself
        (expected,) = jax.vjp(lambda x: call(x, w), x)[1](x)
    assert (gx == expected).all()
