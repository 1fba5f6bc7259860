"""What "auto" takes, against what each candidate was measured to take: slow, and of a machine that does nothing else."""

from __future__ import annotations

import numpy as np
import pytest

import triconv

# layers as small as those of homework and of small models: operator, x, w and parameters
LAYERS = {
    "LeNet, first": ("conv2d", (1, 1, 28, 28), (16, 1, 5, 5), {}),
    "LeNet, second": ("conv2d", (8, 6, 14, 14), (16, 6, 5, 5), {}),
    "image, 3x3": ("conv2d", (4, 16, 32, 32), (16, 16, 3, 3), {"padding": 1}),
    "image, strided": ("conv2d", (4, 16, 32, 32), (32, 16, 3, 3), {"padding": 1, "stride": 2}),
    "1x1": ("conv2d", (4, 32, 16, 16), (64, 32, 1, 1), {}),
    "patches": ("conv2d", (2, 3, 64, 64), (48, 3, 8, 8), {"stride": 8}),
    "depthwise": ("conv2d", (4, 32, 28, 28), (32, 1, 3, 3), {"padding": 1, "groups": 32}),
    "grouped": ("conv2d", (4, 32, 28, 28), (32, 8, 3, 3), {"padding": 1, "groups": 4}),
    "dilated": ("conv2d", (2, 16, 32, 32), (16, 16, 3, 3), {"padding": 4, "dilation": 4}),
    "upsampling": ("conv_transpose2d", (2, 16, 14, 14), (16, 8, 4, 4), {"stride": 2, "padding": 1}),
    "sequence, causal": ("conv", (2, 16, 512), (16, 16, 9), {"padding": "causal", "dilation": 4}),
    "volume": ("conv3d", (1, 8, 12, 12, 12), (8, 8, 3, 3, 3), {"padding": 1}),
}
# how many times as long as the best candidate the choice may take; and how often candidates are measured, of which the
# shortest times count, as long as more than that is found: others may have used the machine meanwhile
FACTOR, ATTEMPTS = 2, 5


def measured(lib, layer):
    """Seconds by contraction and candidate, and what "auto" takes."""
    op, x, w, params = LAYERS[layer]
    x, w = (lib.array(np.ones(shape, np.float32)) for shape in (x, w))
    rows = triconv.explain(getattr(triconv, op), x, w, measure=True, **params).rows
    return {row.contraction: row.measured for row in rows}, {row.contraction: row.algorithm for row in rows}


def images(jax, layout, *sizes):
    """Arrays x and w of these sizes, which are given in the order NCHW and OIHW, as the layout has them."""
    for letters, size, of in zip(layout.split("->")[0].split(","), sizes, ("NCHW", "OIHW"), strict=True):
        yield jax.numpy.ones([size[of.index(letter)] for letter in letters], "float32")


@pytest.mark.parametrize(("channels", "size", "outputs"), [(64, 56, 256), (64, 200, 3), (512, 1, 1000), (16, 112, 96)])
def test_what_is_one_product_is_computed_so(jax, channels, size, outputs):
    """1x1 taps, channels last: XLA's convolution takes up to five times as long."""
    x, w = images(jax, "NHWC,HWIO->NHWC", (2, channels, size, size), (outputs, channels, 1, 1))
    rows = triconv.explain(triconv.conv2d, x, w, layout="NHWC,HWIO->NHWC").rows
    assert [row.algorithm for row in rows[:2]] == ["gemm", "gemm"]
    program = jax.jit(lambda x, w: triconv.conv2d(x, w, layout="NHWC,HWIO->NHWC")).lower(x, w)
    assert program.as_text().count("dot_general") == 1


@pytest.mark.parametrize("layout", ["NCHW,OIHW->NCHW", "NHWC,HWIO->NHWC"])
@pytest.mark.parametrize(
    ("size", "taps", "outputs", "stride", "is_copied"),
    [
        (56, 3, 1, 1, True),
        (97, 3, 1, 1, False),
        (56, 3, 1, 2, False),
        (56, 2, 1, 1, False),
        (56, 5, 1, 2, True),
        (97, 3, 2, 1, True),
    ],
)
def test_a_padded_copy_is_written_where_it_takes_no_time(jax, layout, size, taps, outputs, stride, is_copied):
    """A depthwise loop of few taps pads as it reads; of more, of several outputs, or of what a cache holds, it reads a copy."""
    x, w = images(jax, layout, (8, 64, size, size), (64 * outputs, 1, taps, taps))
    program = jax.jit(lambda x, w: triconv.conv2d(x, w, stride=stride, padding=1, groups=64, layout=layout))
    memory = program.lower(x, w).compile().memory_analysis()
    assert (memory.temp_size_in_bytes > x.nbytes / 4) == is_copied


def test_a_program_that_is_not_kept_apart_computes_its_input_once(jax):
    """An exported one, and one of several devices: what the taps read is written, padded or as it is."""
    x, w = images(jax, "NCHW,OIHW->NCHW", (8, 64, 56, 56), (64, 1, 3, 3))
    program = jax.jit(lambda x, w: triconv.conv2d(jax.numpy.sin(x), w, stride=2, padding=1, groups=64))
    exported = jax.jit(jax.export.export(program)(x, w).call)
    for one in (program, exported):
        assert one.lower(x, w).compile().memory_analysis().temp_size_in_bytes >= x.nbytes


@pytest.mark.parametrize(("taps", "is_direct"), [(2, True), (5, False)])
def test_small_calls_without_a_convolution_of_the_library_take_few_operations(taps, is_direct):
    """Of many taps, one product each is not the fewest."""
    rows = triconv.explain(triconv.conv2d, (1, 16, 7, 7), (16, 16, taps, taps)).rows
    assert {row.algorithm == "direct" for row in rows if row.contraction == "conv"} == {is_direct}


@pytest.mark.parametrize("layout", ["NCHW,OIHW->NCHW", "NHWC,HWIO->NHWC"])
@pytest.mark.parametrize(
    ("channels", "groups", "taps", "algorithm"), [(32, 1, 4, "vendor"), (3, 1, 2, "vendor"), (64, 64, 3, "direct")]
)
def test_a_small_call_is_compiled_as_the_framework_does_it(jax, layout, channels, groups, taps, algorithm):
    """A term per tap would take up to 200 times as long to compile; for groups of one channel they are fused."""
    x, w = images(jax, layout, (2, channels, 4, 4), (groups, channels // groups, taps, taps))
    rows = triconv.explain(triconv.conv2d, x, w, groups=groups, layout=layout).rows
    assert [row.algorithm for row in rows] == [algorithm] * 3


@pytest.mark.parametrize(
    ("layout", "features", "taps", "stride", "algorithm"),
    [
        ("NHWC,HWIO->NHWC", 32, 4, 2, "vendor"),
        ("NHWC,HWIO->NHWC", 16, 5, 1, "vendor"),
        ("NCHW,OIHW->NCHW", 32, 5, 1, "vendor"),
        ("NCHW,OIHW->NCHW", 16, 5, 1, "gemm"),
    ],
)
def test_windows_of_three_channels_are_left_to_the_framework(jax, layout, features, taps, stride, algorithm):
    """Unfolded with channels last they take 2 to 4 times as long; with channels first, a few features take half of the time."""
    x, w = images(jax, layout, (4, 3, 56, 56), (features, 3, taps, taps))
    rows = triconv.explain(triconv.conv2d, x, w, stride=stride, layout=layout).rows
    assert next(row.algorithm for row in rows if row.contraction == "conv") == algorithm


@pytest.mark.slow
@pytest.mark.parametrize("layer", LAYERS)
def test_the_choice_takes_at_most_twice_as_long_as_the_best_candidate(lib, layer):
    if lib.name == "array-api-strict":
        pytest.skip("a library to test with, which nobody computes with")
    best = {}
    for _ in range(ATTEMPTS):
        seconds, choices = measured(lib, layer)
        for name, candidates in seconds.items():
            known = best.setdefault(name, dict(candidates))
            known |= {algorithm: min(known[algorithm], time) for algorithm, time in candidates.items()}
        slower = {
            name: (choices[name], {algorithm: f"{time * 1e3:.3f} ms" for algorithm, time in times.items()})
            for name, times in best.items()
            if times[choices[name]] > FACTOR * min(times.values())
        }
        if not slower:
            return
    pytest.fail(f"another candidate is more than {FACTOR} times as fast: {slower}")
