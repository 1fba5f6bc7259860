"""`jax.export` with symbolic sizes: one program for any batch or channels, exact, and not longer for more taps."""

from __future__ import annotations

import threading

import numpy as np
import pytest

import triconv
from triconv.backends import backend_of

pytestmark = pytest.mark.versions
SIZES = {"b": 3, "c": 4, "k": 5}


def export(jax, f, *shapes):
    """`f`, exported for shapes in which letters are symbols, and integers of the sizes that `SIZES` says."""
    import jax.export

    letters = sorted({size for shape in shapes for size in shape if isinstance(size, str)})
    symbols = dict(zip(letters, jax.export.symbolic_shape(",".join(letters)), strict=True))
    specs = [jax.ShapeDtypeStruct([symbols.get(size, size) for size in shape], "float32") for shape in shapes]
    exported = jax.export.export(jax.jit(f))(*specs)
    rng = np.random.default_rng(0)
    arrays = [rng.integers(-3, 4, [SIZES.get(size, size) for size in shape]).astype(np.float32) for shape in shapes]
    return exported, list(map(jax.numpy.asarray, arrays))


def everything(jax, op):
    def f(*arrays):
        y, pullback = jax.vjp(op, *arrays)
        return y, pullback(y)

    return f


def assert_exact(jax, op, *shapes, atol=0.0):
    f = everything(jax, op)
    exported, arrays = export(jax, f, *shapes)
    for ours, truth in zip(jax.tree.leaves(exported.call(*arrays)), jax.tree.leaves(jax.jit(f)(*arrays)), strict=True):
        np.testing.assert_allclose(ours, truth, rtol=0, atol=atol)


@pytest.mark.parametrize("algorithm", ["auto", "direct", "gemm", "depthwise", "fft", "vendor"])
def test_a_symbolic_batch_is_exact(jax, algorithm):
    assert_exact(
        jax,
        lambda x, w: triconv.conv(x, w, stride=2, padding=[(1, 0)], groups=2, algorithm=algorithm),
        ("b", 4, 9),
        (2, 2, 3),
        atol=1e-4 if algorithm == "fft" else 0.0,
    )


@pytest.mark.parametrize("algorithm", ["auto", "gemm"])
def test_a_symbolic_batch_of_a_transposed_convolution_is_exact(jax, algorithm):
    assert_exact(
        jax, lambda x, w: triconv.conv(x, w, input_dilation=3, padding=2, algorithm=algorithm), ("b", 2, 5), (3, 2, 4)
    )


@pytest.mark.parametrize("algorithm", ["auto", "direct", "vendor"])
@pytest.mark.parametrize(
    ("x", "w"),
    [
        ((2, "c", 9), (6, "c", 3)),
        ((2, 4, 9), ("k", 4, 3)),
        (("b", "c", 9), ("k", "c", 3)),
        (("b", "c", 3, 4, 5), (6, "c", 3, 3, 3)),
    ],
)
def test_symbolic_channels_are_exact(jax, algorithm, x, w):
    assert_exact(jax, lambda x, w: triconv.conv(x, w, padding=1, algorithm=algorithm), x, w)


@pytest.mark.parametrize("mode", ["zeros", "circular", "reflect"])
def test_a_symbolic_batch_takes_a_bias_and_a_padding_mode(jax, mode):
    assert_exact(
        jax, lambda x, w, b: triconv.conv2d(x, w, b, padding=1, padding_mode=mode), ("b", 2, 5, 4), (3, 2, 3, 2), (3,)
    )


def test_gradients_of_a_symbolic_batch_are_exact(jax):
    """Of each sample its own: the batch is carried by both operands and the result, and cannot be a number of groups."""

    def f(x, w):
        return jax.vmap(jax.grad(lambda w, x: (triconv.conv1d(x, w) ** 2).sum()), (None, 0))(w, x)

    exported, (x, w) = export(jax, f, ("b", 2, 6), (3, 2, 3))
    np.testing.assert_array_equal(exported.call(x, w), f(x, w))


@pytest.mark.parametrize("x", [("b", 4, 700), (2, "c", 700)])
def test_the_program_does_not_grow_with_the_taps(jax, x):
    size = {}
    for taps in (8, 512):
        f = everything(jax, triconv.conv)
        size[taps] = len(export(jax, f, x, (6, x[1], taps))[0].mlir_module_serialized)
    assert size[512] < 3 * size[8]
    assert size[512] < 20_000


@pytest.mark.parametrize("algorithm", ["gemm", "depthwise", "fft"])
def test_kernels_that_need_the_channels_say_so(jax, algorithm):
    message = rf"`algorithm` must be one of .* where channels are symbolic, got '{algorithm}' for c"
    with pytest.raises(ValueError, match=message):
        export(jax, lambda x, w: triconv.conv(x, w, algorithm=algorithm), (2, "c", 9), (6, "c", 3))


def test_a_symbolic_spatial_size_says_what_to_do(jax):
    with pytest.raises(TypeError, match="the spatial sizes of `x` must be numbers, got k: batch and channels may"):
        export(jax, triconv.conv, (2, 4, "k"), (6, 4, 3))
    with pytest.raises(TypeError, match="the spatial sizes of `lhs` must be numbers, got k"):
        export(jax, lambda x, w: triconv.jax.conv_general_dilated(x, w, (1,), "VALID"), (2, 4, "k"), (6, 4, 3))


@pytest.mark.parametrize("context", ["wide", "precision"])
def test_settings_of_a_kernel_are_seen_by_its_thread_alone(jax, context):
    def settings():
        return jax.config.jax_enable_x64, jax.config.jax_default_matmul_precision

    lib, seen = backend_of(jax.numpy), []
    before = settings()
    with lib.wide() if context == "wide" else lib.precision("highest"):
        thread = threading.Thread(target=lambda: seen.append(settings()))
        thread.start()
        thread.join()
    assert [*seen, settings()] == [before, before]
