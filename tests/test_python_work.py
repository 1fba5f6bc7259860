"""What an eager call does in Python: a count of calls and of cache misses, never of time."""

from __future__ import annotations

import sys

import numpy as np
import pytest

import triconv

LAYERS = [
    ((2, 4, 19, 18), (6, 2, 3, 3), {"groups": 2, "padding": 1, "stride": 2}),
    ((1, 1, 739), (1, 1, 263), {"padding": 131}),
    ((3, 7), (2, 7), {}),
]


def caches():
    """Every cache of a function of triconv, by where it stands."""
    modules = {name: module for name, module in sys.modules.items() if name.split(".")[0] == "triconv"}
    return {
        f"{name}.{attribute}": value
        for name, module in modules.items()
        for attribute, value in vars(module).items()
        if hasattr(value, "cache_info")
    }


def misses():
    return {name: cache.cache_info().misses for name, cache in caches().items()}


def count_calls(function):
    """How many functions of triconv a call enters."""
    count = 0

    def watch(frame, event, _):
        nonlocal count
        if event == "call" and frame.f_globals.get("__name__", "").startswith("triconv."):
            count += 1

    sys.setprofile(watch)
    try:
        function()
    finally:
        sys.setprofile(None)
    return count


@pytest.mark.parametrize(("x", "w", "params"), LAYERS)
def test_a_second_call_of_the_same_shapes_plans_nothing(lib, x, w, params):
    """No cache of triconv is asked for anything new, and the planner's is asked."""
    given = [lib.array(np.ones(shape, np.float32)) for shape in (x, w)]

    def call():
        _, pullback = triconv.vjp(triconv.conv, *given, **params)
        pullback(triconv.conv(*given, **params))

    assert any("planner" in name for name in caches())
    call()
    before = misses()
    call()
    assert {name: count - before[name] for name, count in misses().items() if count > before[name]} == {}


@pytest.mark.parametrize("algorithm", ["direct", "gemm"])
def test_calls_do_not_grow_with_the_sizes(algorithm):
    """An eager call of larger arrays, which fit into a block, enters as many functions as one of small arrays."""
    counts = set()
    for n, size in ((2, 8), (5, 13), (7, 32)):
        x, w = np.ones((n, 3, size, size), np.float32), np.ones((4, 3, 3, 3), np.float32)
        call = lambda x=x, w=w: triconv.conv(x, w, padding=1, algorithm=algorithm)  # noqa: E731
        call()
        counts.add(count_calls(call))
    assert len(counts) == 1


# functions of triconv that the second call of a layer enters, half as much again as when it was set
FEW = {"numpy": 120, "torch": 30, "jax": 40}


@pytest.mark.parametrize("params", [{}, {"bias": True}, {"stride": [2, 1], "padding": 1}])
def test_an_eager_call_enters_few_functions(lib, params):
    """Of a layer so small that Python is most of its time."""
    arrays = [lib.array(np.ones(shape, np.float32)) for shape in ((1, 3, 8, 8), (4, 3, 3, 3), (4,))]
    params, arrays = {**params}, arrays[: 3 if params.get("bias") else 2]
    params.pop("bias", None)
    call = lambda: triconv.conv2d(*arrays, **params)  # noqa: E731
    call()
    assert count_calls(call) <= FEW.get(lib.name, 900)


@pytest.mark.parametrize("name", ["conv1d", "conv2d", "conv3d", "conv_transpose2d", "NHWC"])
@pytest.mark.parametrize("recorded", [False, True])
def test_a_small_layer_is_one_call_of_torch(torch, name, recorded):
    """And one node of autograd's graph."""
    ndim = 2 if name == "NHWC" else int(name[-2])
    if name == "NHWC":
        x, w = torch.ones(1, *[8] * ndim, 3), torch.ones(*[3] * ndim, 3, 4)
        call = lambda: triconv.conv(x, w, layout="NHWC,HWIO->NHWC")  # noqa: E731
    else:
        x, w = torch.ones(1, 3, *[8] * ndim), torch.ones(3, 3, *[3] * ndim)
        call = lambda: getattr(triconv, name)(x, w)  # noqa: E731
    x.requires_grad_(recorded)
    y = call()
    assert count_calls(call) <= FEW["torch"]
    if recorded:
        assert y.grad_fn.next_functions[0][0] is torch.autograd.graph.get_gradient_edge(x).node
