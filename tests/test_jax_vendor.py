"""JAX's own convolution in one call for every geometry: dilated inputs, any padding, groups; exact on integers."""

from __future__ import annotations

import functools
import re

import numpy as np
import pytest

import triconv
from triconv import contractions
from triconv.backends import backend_of
from triconv.geometry import Geometry
from triconv.kernels import vendor
from triconv.planning import planner

pytestmark = pytest.mark.versions


def draw(number):
    """A geometry of one or two axes that has an output."""
    rng = np.random.default_rng(number)
    ndim = int(rng.integers(1, 3))
    ints = lambda low, high: [int(v) for v in rng.integers(low, high, ndim)]  # noqa: E731
    while True:
        pads = [tuple(map(int, rng.integers(-2, 9, 2))) for _ in range(ndim)]
        steps = {"stride": ints(1, 4), "dilation": ints(1, 4), "input_dilation": ints(1, 4)}
        try:
            geometry = Geometry.of(ints(1, 8), ints(1, 5), padding=pads, groups=int(rng.integers(1, 3)), **steps)
        except ValueError:
            continue
        if all(geometry.output_size):
            return geometry, rng


@pytest.mark.optimized
@pytest.mark.parametrize("number", [*range(12), *(pytest.param(n, marks=pytest.mark.slow) for n in range(12, 48))])
def test_any_geometry_is_one_call_and_exact(jax, number):
    geometry, rng = draw(number)
    lib, groups, n, c, k = backend_of(jax.numpy), geometry.groups, 2, 2, 3
    assert lib.vendor_dilates
    x, w, g = (
        rng.integers(-3, 4, shape).astype(np.float32)
        for shape in (
            (groups, n, c, *geometry.input_size),
            (groups, k, c, *geometry.kernel_size),
            (groups, n, k, *geometry.output_size),
        )
    )
    orders = tuple(map(str, rng.choice(["first", "last"], 3)))
    a = {name: jax.numpy.asarray(array) for name, array in (("x", x), ("w", w), ("g", g))}
    np.testing.assert_array_equal(
        lib.vendor_conv(geometry, a["x"], a["w"], orders), contractions.conv(x, w, geometry=geometry)
    )
    np.testing.assert_array_equal(
        lib.vendor_input_vjp(geometry, a["g"], a["w"], orders), contractions.conv_input_vjp(g, w, geometry=geometry)
    )
    np.testing.assert_array_equal(
        lib.vendor_weight_vjp(geometry, a["x"], a["g"], orders), contractions.conv_weight_vjp(g, x, geometry=geometry)
    )


@pytest.mark.parametrize("layout", ["NCHW,OIHW->NCHW", "NHWC,HWIO->NHWC"])
@pytest.mark.parametrize("groups", [1, 2])
def test_it_is_called_in_the_layout_of_the_user_without_a_transpose(jax, layout, groups):
    """Forward, the program is lax's own, but for reshapes; a kernel of an input VJP is transposed, and nothing else."""
    shapes = {
        "NCHW": (2, 4, 9, 8),
        "OIHW": (6, 4 // groups, 3, 3),
        "NHWC": (2, 9, 8, 4),
        "HWIO": (3, 3, 4 // groups, 6),
    }
    names, _ = layout.split("->")
    x, w = (jax.numpy.ones(shapes[name], "float32") for name in names.split(","))
    op = functools.partial(triconv.conv, layout=layout, groups=groups, algorithm="vendor")
    forward = jax.jit(op).lower(x, w).compile().as_text()
    lax = functools.partial(
        jax.lax.conv_general_dilated, window_strides=(1, 1), padding="VALID", feature_group_count=groups
    )
    numbers = tuple(layout.replace("->", ",").split(","))
    theirs = jax.jit(functools.partial(lax, dimension_numbers=numbers)).lower(x, w).compile().as_text()
    assert forward.count(" transpose(") == theirs.count(" transpose(")
    assert forward.count(" copy(") == theirs.count(" copy(")


def test_the_layout_says_the_memory_orders_where_arrays_have_no_strides(jax):
    x, w = jax.numpy.ones((1, 5, 5, 2)), jax.numpy.ones((2, 3, 3, 3))
    jaxpr = jax.make_jaxpr(functools.partial(triconv.conv, layout="NHWC,IHWO->NHWC"))(x, w)
    assert "orders=('last', 'first', 'last')" in str(jaxpr)


def test_the_padding_is_the_one_that_is_asked_for(jax):
    """Without the part that no window reads it is another program: XLA's CPU convolution takes 1.2 times as long."""
    conv = jax.jit(functools.partial(triconv.conv, stride=2, padding=[(0, 1)], algorithm="vendor"))
    assert "pad = [[0, 1]]" in conv.lower(np.ones((1, 2, 9), np.float32), np.ones((3, 2, 3), np.float32)).as_text()


def test_windows_of_padding_alone_are_left_out(jax):
    """A transpose with groups would crop them, which XLA's CPU compiler does wrong."""
    geometry = Geometry.of((5, 4), (1, 3), padding=[(5, 0), (4, 1)], input_dilation=(3, 1), groups=2)
    rng = np.random.default_rng(0)
    g = rng.integers(-3, 4, (2, 2, 3, *geometry.output_size)).astype(np.float32)
    w = rng.integers(-3, 4, (2, 3, 2, 1, 3)).astype(np.float32)
    ours = backend_of(jax.numpy).vendor_input_vjp(geometry, *map(jax.numpy.asarray, (g, w)), ("first",) * 3)
    np.testing.assert_array_equal(ours, contractions.conv_input_vjp(g, w, geometry=geometry))


def test_wide_groups_are_left_to_the_library_channels_last(jax):
    target = planner.target_of(backend_of(jax.numpy))
    last = ("last",) * 3
    strided = Geometry.of((29, 29), (3, 3), stride=2, padding=1)
    whole = Geometry.of((28, 28), (3, 3), padding=1)

    def chosen(geometry, *sizes, orders):
        return planner.plan(planner.Problem("conv", geometry, *sizes, orders=orders), target).algorithm

    assert chosen(strided, 32, 2, 16, 16, orders=last) == "vendor"
    assert chosen(whole, 32, 4, 8, 8, orders=last) == "gemm"
    assert chosen(whole, 240, 4, 1, 1, orders=last) == "depthwise"
    assert chosen(strided, 32, 2, 16, 16, orders=("first",) * 3) == "gemm"


@pytest.mark.parametrize("order", ["first", "last"])
def test_transposed_layers_are_one_call_that_dilates(jax, order):
    target = planner.target_of(backend_of(jax.numpy))
    for geometry, c, k in (
        (Geometry.of((100,), (16,), input_dilation=8, padding=11), 256, 128),
        (Geometry.of((55, 55), (11, 11), input_dilation=4, padding=10), 64, 3),
    ):
        plan = planner.plan(planner.Problem("conv", geometry, 1, 4, c, k, orders=(order,) * 3), target)
        assert plan.schedule.form == vendor.DILATED


@pytest.mark.parametrize("layout", ["NCHW,OIHW->NCHW", "NHWC,HWIO->NHWC"])
@pytest.mark.parametrize("place", ["loop", "branch", "function"])
def test_inner_computations_have_the_convolution_that_a_cpu_has(jax, layout, place):
    """Of the outermost one XLA transposes the arrays; in others another order takes up to 30 times as long."""
    x, w = ((2, 3, 6, 5), (4, 3, 3, 2)) if layout.startswith("NCHW") else ((2, 6, 5, 3), (3, 2, 3, 4))
    conv = functools.partial(triconv.conv2d, padding=1, layout=layout, algorithm="vendor")

    def step(x, w):
        y, pull = jax.vjp(conv, x, w)
        return sum(a.sum() for a in pull(y))

    inner = {
        "loop": lambda x, w: jax.lax.fori_loop(0, 3, lambda _, total: total + step(x * total, w), 1.0),
        "branch": lambda x, w: jax.lax.cond(x.sum() > 0, step, lambda _, w: w.sum(), x, w),
        "function": jax.jit(step),
    }[place]
    text = jax.jit(lambda x, w: inner(x, w)).lower(jax.numpy.ones(x), jax.numpy.ones(w)).as_text()
    numbers = re.findall(r"dim_numbers = (.*?), window", text)
    assert numbers == ["[b, 0, 1, f]x[0, 1, i, o]->[b, 0, 1, f]"] * 3
