"""On a GPU: the programs that JAX would hand to it, which need none to be read, and results where there is one."""

from __future__ import annotations

import contextlib
import functools
import re
from dataclasses import replace

import numpy as np
import pytest

import triconv
from conftest import Library
from triconv.backends import BACKENDS
from triconv.geometry import Geometry
from triconv.kernels.problem import Problem
from triconv.kernels.target import TARGETS
from triconv.planning import planner

# operator, x, w, parameters; the contractions whose kernel is the framework's own convolution
LAYERS = {
    "3x3": (triconv.conv2d, (32, 64, 56, 56), (64, 64, 3, 3), {"padding": 1}, "x w y"),
    "strided": (triconv.conv2d, (32, 64, 56, 56), (64, 64, 3, 3), {"padding": 1, "stride": 2}, "x w y"),
    "transposed": (triconv.conv_transpose2d, (32, 64, 16, 16), (64, 32, 4, 4), {"padding": 1, "stride": 2}, "x w y"),
    "transposed, 3-D": (
        triconv.conv_transpose3d,
        (1, 64, 32, 32, 32),
        (64, 1, 3, 3, 3),
        {"stride": 2, "padding": 1, "output_padding": 1},
        "w y",
    ),
    "transposed, as lax has it": (
        triconv.conv,
        (32, 64, 16, 16),
        (32, 64, 4, 4),
        {"padding": 2, "input_dilation": 2},
        "x w y",
    ),
    "dilated": (triconv.conv2d, (32, 64, 33, 33), (64, 64, 3, 3), {"padding": 12, "dilation": 12}, "w x y"),
    "grouped": (triconv.conv2d, (32, 128, 56, 56), (128, 4, 3, 3), {"padding": 1, "groups": 32}, "w"),
    "depthwise": (triconv.conv2d, (32, 128, 56, 56), (128, 1, 3, 3), {"padding": 1, "groups": 128}, ""),
    "depthwise, 1-D": (triconv.conv1d, (32, 512, 1024), (512, 1, 5), {"padding": 2, "groups": 512}, ""),
    "long": (triconv.conv, (2, 64, 65536), (64, 1, 65536), {"padding": "causal", "groups": 64}, ""),
    "patches": (triconv.conv2d, (64, 3, 224, 224), (384, 3, 16, 16), {"stride": 16}, "y"),
}


def programs(jax, layer, dtype="float32", *, bias=False, **more):
    """The three contractions of a layer, as text, for a GPU that need not be there."""
    op, x, w, params, _ = LAYERS[layer]
    x, w = (jax.ShapeDtypeStruct(shape, dtype) for shape in (x, w))
    channels = jax.eval_shape(lambda x, w: op(x, w, **params), x, w).shape[1]

    def conv(x, w):
        return op(x, w, **params, **more, **({"bias": jax.numpy.ones(channels, dtype)} if bias else {}))

    g = jax.eval_shape(conv, x, w)
    contractions = {
        "y": lambda x, w, g: conv(x, w),
        "x": lambda x, w, g: jax.vjp(lambda x: conv(x, w), x)[1](g)[0],
        "w": lambda x, w, g: jax.vjp(lambda w: conv(x, w), w)[1](g)[0],
    }
    return {
        name: jax.jit(f).trace(x, w, g).lower(lowering_platforms=("cuda",)).as_text()
        for name, f in contractions.items()
    }


def windows(text):
    """Each convolution of a program: its numbers by name."""
    found = []
    for line in re.findall(r"stablehlo\.convolution\(.*", text):
        numbers = {
            name: [int(n) for n in values.split(",")]
            for name, values in re.findall(r"(stride|lhs_dilate|rhs_dilate) = \[([^\]]*)\]", line)
        }
        counts = re.findall(r"(\w+_group_count) = (\d+)", line)
        kernel = re.search(r", tensor<([\dx]+)xf32>\) -> tensor<([\dx]+)xf32>", line).groups()
        shapes = [[int(n) for n in shape.split("x")] for shape in kernel]
        letters = re.search(r"\]x\[([^\]]*)\]->", line)[1].replace(" ", "").split(",")
        sizes = [size for size, letter in zip(shapes[0], letters, strict=True) if letter.isdigit()]
        found.append(numbers | {name: int(n) for name, n in counts} | {"kernel": sizes})
    return found


@pytest.mark.parametrize("layer", LAYERS)
def test_programs_hand_to_cudnn_what_it_takes(jax, layer):
    """An image-sized kernel only where XLA sees a weight gradient, a dilated input only where it sees a transpose."""
    _, _, w, _, by_vendor = LAYERS[layer]
    for name, text in programs(jax, layer).items():
        convolutions = windows(text)
        assert len(convolutions) == (1 if name in by_vendor else 0), (name, len(convolutions))
        for conv in convolutions:
            if conv["kernel"] == list(w[2:]):
                assert max(conv["lhs_dilate"]) == 1 or max(conv["stride"]) == 1
            else:
                assert name == "w"
                assert {*conv["stride"], *conv["lhs_dilate"]} == {1}
            groups = LAYERS[layer][3].get("groups", 1)
            assert (conv["feature_group_count"], conv["batch_group_count"]) == (1, groups if name == "w" else 1)


@pytest.mark.parametrize("layer", LAYERS)
def test_programs_say_the_precision_of_every_product(jax, layer):
    """Float32 products in all kernels by default; what JAX is configured for when asked for."""
    for text in programs(jax, layer).values():
        products = re.findall(r"stablehlo\.(?:convolution|dot_general).*", text)
        assert all(line.count("HIGHEST") == 2 for line in products)
    for text in programs(jax, layer, precision="default").values():
        products = re.findall(r"stablehlo\.(?:convolution|dot_general).*", text)
        assert not any("HIGHEST" in line for line in products)


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("layer", LAYERS)
def test_programs_of_half_width_multiply_half_width_and_add_up_in_float32(jax, layer, bias):
    """A convolution is cuDNN's of bfloat16, which rounds its result; a product is one of bfloat16 with a float32 result."""
    for text in programs(jax, layer, "bfloat16", bias=bias).values():
        products = re.findall(r"stablehlo\.(convolution|dot_general).*: \((.*), (.*)\) -> (.*)", text)
        for kind, first, second, result in products:
            assert "bf16" in first
            assert "bf16" in second
            assert ("bf16" in result) == (kind == "convolution")
        is_loop = LAYERS[layer][3].get("groups", 1) > 1 or 1 in LAYERS[layer][2][:2]
        assert products or is_loop


def test_a_wide_result_of_half_width_operands_is_summed_and_returned_wide(jax):
    """As asked for by `preferred_element_type`: not a result that cuDNN has rounded."""
    x, w = (jax.ShapeDtypeStruct(shape, "bfloat16") for shape in ((32, 64, 56, 56), (64, 64, 3, 3)))
    f = lambda x, w: triconv.jax.conv_general_dilated(  # noqa: E731
        x, w, (1, 1), "SAME", preferred_element_type="float32"
    )
    text = jax.jit(f).trace(x, w).lower(lowering_platforms=("cuda",)).as_text()
    assert re.search(r"stablehlo\.convolution.*-> tensor<[\dx]*xf32>", text)


@contextlib.contextmanager
def as_if_on_a_gpu(jax, monkeypatch):
    """The programs of a GPU, run by the CPU."""
    monkeypatch.setattr(BACKENDS["jax"], "device_kind", lambda self, array=None: "gpu")
    jax.clear_caches()
    try:
        yield
    finally:
        monkeypatch.undo()
        jax.clear_caches()


@pytest.mark.parametrize("name", ["torch", "jax"])
@pytest.mark.parametrize(
    "params",
    [
        {"stride": 2, "padding": [(1, 0), (2, 1)]},
        {"stride": (1, 3), "padding": [(-1, 2), (0, -2)], "dilation": (2, 1)},
        {"input_dilation": (2, 1), "padding": [(1, 3), (-1, 2)]},
        {"input_dilation": 2, "padding": [(2, 1), (0, 2)], "dilation": (1, 2), "groups": 2},
        {"input_dilation": 2, "stride": (3, 1), "padding": 2},
    ],
)
def test_transposes_by_the_vendor_are_exact(request, monkeypatch, name, params):
    """What cuDNN would be handed, run by the CPU: exact, in all three contractions."""
    library = request.getfixturevalue(name)
    rng = np.random.default_rng(0)
    x, w = (
        rng.integers(-3, 4, shape).astype(np.float32)
        for shape in ((2, 4, 7, 8), (6, 4 // params.get("groups", 1), 3, 2))
    )
    g = rng.integers(-3, 4, triconv.conv(x, w, **params).shape).astype(np.float32)
    arrays = map(Library(name).array, (x, w, g))
    with as_if_on_a_gpu(library, monkeypatch) if name == "jax" else contextlib.nullcontext():
        found = [Library(name).numpy(a) for a in three(*arrays, algorithm="vendor", **params)]
    for ours, truth in zip(found, three(x, w, g, algorithm="direct", **params), strict=True):
        np.testing.assert_array_equal(ours, truth)


@pytest.mark.parametrize(("dtype", "algorithm"), [("bfloat16", "gemm"), ("bfloat16", "vendor"), ("float16", "auto")])
@pytest.mark.parametrize("layout", ["NCHW,OIHW->NCHW", "NHWC,HWIO->NHWC"])
@pytest.mark.parametrize("params", [{"stride": 2, "padding": 1}, {"input_dilation": 2, "padding": [(1, 2)] * 2}])
def test_half_width_programs_of_a_gpu_are_exact(jax, monkeypatch, dtype, layout, params, algorithm):
    """Run by the CPU, on integers whose sums both dtypes hold: the value and both cotangents, with a bias."""
    last, rng = layout.startswith("NHWC"), np.random.default_rng(0)
    x, w = rng.integers(-2, 3, (2, 3, 9, 8)), rng.integers(-1, 2, (4, 3, 3, 3))
    x, w = (x.transpose(0, 2, 3, 1), w.transpose(2, 3, 1, 0)) if last else (x, w)
    bias = np.arange(4)
    g = rng.integers(-1, 2, triconv.conv(x, w, layout=layout, **params).shape)
    truth, pullback = triconv.vjp(triconv.conv, x, w, bias, layout=layout, **params)
    right = [truth, *pullback(g)]
    with as_if_on_a_gpu(jax, monkeypatch):
        arrays = [jax.numpy.asarray(a, dtype) for a in (x, w, bias)]
        conv = lambda *a: triconv.conv(*a, layout=layout, algorithm=algorithm, **params)  # noqa: E731
        y, back = jax.vjp(conv, *arrays)
        found = [y, *back(jax.numpy.asarray(g, dtype))]
    for ours, expected in zip(found, right, strict=True):
        assert ours.dtype == dtype
        np.testing.assert_array_equal(np.asarray(ours, np.float64), expected)


@pytest.mark.parametrize(
    ("params", "dtype", "layout"),
    [
        ({"stride": 2, "padding": 1, "groups": 2}, "bfloat16", "NHWC,HWIO->NHWC"),  # phases as channels
        (
            {"stride": 3, "dilation": 2, "padding": (1, 2)},
            "float16",
            "NCHW,OIHW->NCHW",
        ),  # the same, dilated; residue classes
        ({"dilation": (2, 1), "padding": [(0, 2), (2, 2)]}, "bfloat16", "NHWC,HWIO->NHWC"),  # outputs that are skipped
        ({"dilation": 3, "padding": [(6, 0), (-1, 2)]}, "float16", "NCHW,OIHW->NCHW"),  # an input that is padded before
        ({"input_dilation": 2, "padding": [(2, 2), (1, 2)], "groups": 2}, "float32", "NHWC,HWIO->NHWC"),
    ],
)
def test_steps_that_xla_has_no_fast_way_for_are_exact(jax, monkeypatch, params, dtype, layout):
    """The value, both cotangents and second order, in one program."""
    groups, rng = params.get("groups", 1), np.random.default_rng(0)
    x, w = rng.integers(-2, 3, (2, 4, 21, 8)), rng.integers(-1, 2, (4, 4 // groups, 3, 3))
    if layout.startswith("NHWC"):
        x, w = x.transpose(0, 2, 3, 1), w.transpose(2, 3, 1, 0)
    params = params | {"layout": layout}
    g = rng.integers(-1, 2, triconv.conv(x, w, **params).shape)
    y, pullback = triconv.vjp(triconv.conv, x, w, **params)
    gx, gw = pullback(g)
    with as_if_on_a_gpu(jax, monkeypatch):
        x, w, g = (jax.numpy.asarray(a, dtype) for a in (x, w, g))
        conv = functools.partial(triconv.conv, algorithm="vendor", **params)

        @jax.jit
        def results(x, w, g):
            y, back = jax.vjp(conv, x, w)
            second = jax.vjp(lambda x, g: jax.vjp(lambda w: conv(x, w), w)[1](g)[0], x, g)[1](w)
            return [y, *back(g), *second]

        found = results(x, w, g)
    # the weight VJP is linear in x and g, and its cotangents are the other two contractions
    for ours, expected in zip(found, [y, gx, gw, gx, y], strict=True):
        assert ours.dtype == dtype
        np.testing.assert_array_equal(np.asarray(ours, np.float64), expected)


def three(x, w, g, **params):
    """The three contractions."""
    return (
        triconv.conv(x, w, **params),
        triconv.conv_input_vjp(g, w, input_size=x.shape[2:], **params),
        triconv.conv_weight_vjp(g, x, kernel_size=w.shape[2:], **params),
    )


def test_a_plan_is_for_the_device_of_the_array(jax):
    """Rates of a GPU for what is on one, whatever else the machine has."""
    geometry = Geometry.of((56, 56), (3, 3), padding=1, stride=1)
    problem = Problem("conv", geometry, 1, 256, 64, 64)
    on = {device: replace(TARGETS["jax", device], vendor_axes=range(4)) for device in ("cpu", "gpu")}
    assert {device: planner.plan(problem, target).algorithm for device, target in on.items()} == {
        "cpu": "gemm",
        "gpu": "vendor",
    }


def test_torch_knows_where_a_tensor_is(torch):
    lib = BACKENDS["torch"].load()
    assert lib.device_kind(torch.zeros(1)) == lib.device_kind(torch.zeros(1, device="meta")) == "cpu"
    with torch.device("meta"):
        assert lib.device_kind() == "cpu"


@pytest.mark.gpu
@pytest.mark.parametrize(
    ("layer", "algorithm"),
    [(name, "auto") for name in LAYERS if name not in ("long", "patches")]
    + [("3x3", name) for name in ("direct", "gemm", "vendor")]
    + [("depthwise", "depthwise"), ("strided", "gemm"), ("transposed", "vendor")],
)
def test_products_are_of_float32_on_a_gpu(lib, layer, algorithm):
    """Integers of 12 bits: TF32, which has 11, would lose the last."""
    if lib.name in ("numpy", "array-api-strict"):
        pytest.skip("computes on the CPU")
    if algorithm == "vendor" and BACKENDS[lib.name].vendor_axes is None:
        pytest.skip(f"{lib} has no convolution of its own")
    op, x, w, params, _ = LAYERS[layer]
    rng = np.random.default_rng(0)
    x = np.where(rng.random((2, *x[1:])) < 0.01, rng.integers(2048, 4096, (2, *x[1:])), 0).astype(np.float32)
    w = rng.integers(-1, 2, w).astype(np.float32)
    found = op(lib.array(x), lib.array(w), **params, algorithm=algorithm)
    np.testing.assert_array_equal(lib.numpy(found), op(x, w, **params))
