"""Sizes that torch keeps symbolic, and the order of results in memory: as torch's own convolution has both."""

from __future__ import annotations

import functools

import numpy as np
import pytest

import triconv

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning", "ignore::FutureWarning")

CALLS = {
    "conv": {"padding": 1},
    "strided": {"stride": 2, "dilation": 2, "padding": 3},
    "same": {"padding": "same"},
    "grouped": {"groups": 2},
    "circular": {"padding": 1, "padding_mode": "circular"},
    "reflect": {"padding": 2, "padding_mode": "reflect"},
    "transposed": {"stride": 2, "padding": 1},
    "transposed_further": {"stride": 2, "padding": 1, "output_padding": 1, "groups": 2},
}


def integers(torch, *shape, dtype=None):
    draw = torch.Generator().manual_seed(0)
    return torch.randint(-2, 3, shape, generator=draw).to(dtype or torch.float32)


def layer(torch, name, ndim):
    params = CALLS[name]
    op = getattr(triconv, f"conv{'_transpose' if name.startswith('transposed') else ''}{ndim}d")

    class Layer(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.w = torch.nn.Parameter(integers(torch, 4, 4 // params.get("groups", 1), *(3,) * ndim))
            channels = 2 * params["groups"] if name == "transposed_further" else 4
            self.b = torch.nn.Parameter(integers(torch, channels))

        def forward(self, x):
            return op(x, self.w, self.b, **params)

    return Layer()


@pytest.mark.parametrize(
    ("name", "ndim"),
    [
        pytest.param(name, ndim, marks=[] if ndim == 2 or name in ("conv", "transposed_further") else pytest.mark.slow)
        for name in CALLS
        for ndim in (1, 2, 3)
    ],
)
def test_exported_programs_have_dynamic_sizes(torch, name, ndim):
    """All at once, and the last one alone; the program is right at other sizes."""
    module, sizes = layer(torch, name, ndim), [2, 4, 9, 8, 7][: ndim + 2]
    for dims in {(ndim + 1,), (0, *range(2, ndim + 2))}:
        exported = torch.export.export(
            module, (torch.zeros(sizes),), dynamic_shapes=(dict.fromkeys(dims, torch.export.Dim.DYNAMIC),)
        ).module()
        for more in (0, 3, 4):
            x = integers(torch, *(size + more * (d in dims) for d, size in enumerate(sizes)))
            assert torch.equal(exported(x), module(x))


def count_compilations(torch, function, arrays, dynamic):
    """Of a function of each of the arrays, and its gradients, which must be right."""
    from torch._dynamo.testing import CompileCounterWithBackend

    torch.compiler.reset()
    counter = CompileCounterWithBackend("aot_eager")
    compiled = torch.compile(function, backend=counter, fullgraph=True, dynamic=dynamic)
    w = integers(torch, 4, 4, 3, 3)
    for x in arrays:
        results = []
        for f in (compiled, function):
            leaves = [a.clone().requires_grad_() for a in (x, w)]
            y = f(*leaves)
            results.append((y, *torch.autograd.grad(y, leaves, torch.ones_like(y))))
        for ours, eager in zip(*results, strict=True):
            assert torch.equal(ours, eager)
    return counter.frame_count


CONTRACTIONS = {
    "conv2d": lambda x, w: triconv.conv2d(x, w, padding=1),
    "transposed": lambda x, w: triconv.conv_transpose2d(x, w, None, 2, 1, 1),
    "lax_same": lambda x, w: triconv.conv(x, w, stride=2, padding="same"),
    "dilated_input": lambda x, w: triconv.conv(x, w, stride=(1, 2), input_dilation=(3, 2), padding=[(1, 2), (-1, 0)]),
    "letters": lambda x, w: triconv.conv(
        x.permute(0, 2, 3, 1), w, w[:, 0, 0, 0], layout="NHWC,OIHW->NHWC", padding="causal"
    ),
    "unbatched": lambda x, w: triconv.conv2d(x[0], w),
    "complex": lambda x, w: triconv.conv2d(x * (1 + 2j), w * (1 - 1j)).imag,
    "input_vjp": lambda x, w: triconv.conv_input_vjp(
        x, w, input_size=[2 * s for s in x.shape[2:]], stride=2, padding=1
    ),
}


# each compilation takes a second: by default those of one forward and of one VJP from fixed sizes on
FROM_FIXED = ("conv2d", "input_vjp")
FROM_DYNAMIC = ("transposed", "lax_same", "dilated_input", "letters", "input_vjp")


@pytest.mark.parametrize(
    ("name", "dynamic"),
    [
        pytest.param(name, dynamic, marks=[] if name in names else pytest.mark.slow)
        for name in CONTRACTIONS
        for dynamic, names in ((None, FROM_FIXED), (True, FROM_DYNAMIC))
    ],
)
def test_compilations_are_as_few_as_torchs(torch, name, dynamic):
    """Of twelve sizes: two, the second with dynamic sizes, or one if all are dynamic from the beginning."""
    arrays = [integers(torch, 2, 4, 9 + more, 8 + more) for more in range(12 if name == "conv2d" else 3)]
    assert count_compilations(torch, CONTRACTIONS[name], arrays, dynamic) == (1 if dynamic else 2)


SLOW = [pytest.param(dtype, marks=pytest.mark.slow) for dtype in ("float16", "float64", "int32")]


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", *SLOW])
def test_weight_vjps_with_dynamic_sizes_are_exact(torch, dtype):
    x, w = (integers(torch, *s, dtype=getattr(torch, dtype)) for s in ((2, 4, 9, 8), (4, 2, 3, 2)))
    for params in ({"stride": 2, "padding": 1}, {"input_dilation": (2, 3), "dilation": 2, "padding": [(1, 2), (3, 0)]}):
        g = triconv.conv(x, w, **params, groups=2)
        function = functools.partial(triconv.conv_weight_vjp, kernel_size=(3, 2), **params, groups=2)
        torch.compiler.reset()
        compiled = torch.compile(function, backend="aot_eager", dynamic=True, fullgraph=True)
        assert torch.equal(compiled(g, x), function(g, x))


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_width_is_rounded_once_with_dynamic_sizes(torch, dtype):
    """Sums of 70,000 and a bias of -10,000 are 60,000, and gradients are sums of many ones."""
    dtype = getattr(torch, dtype)
    x, w = torch.full((1, 70, 3, 3), 1000, dtype=dtype), torch.ones((1, 70, 1, 1), dtype=dtype)
    b = torch.full((1,), -10000, dtype=dtype)
    for op in (triconv.conv2d, lambda x, w, b: triconv.conv_transpose2d(x, w.transpose(0, 1), b)):
        torch.compiler.reset()
        y = torch.compile(op, backend="aot_eager", dynamic=True, fullgraph=True)(x, w, b)
        assert torch.equal(y, op(x, w, b))


def test_what_dynamic_sizes_cannot_have_is_refused(torch):
    def first(x, w):
        return triconv.conv2d(x, w, algorithm="gemm")

    def second(x, w):
        return triconv.conv_weight_vjp(x, x, kernel_size=3, stride=2, input_dilation=2)

    x, w = integers(torch, 2, 4, 9, 8), integers(torch, 4, 4, 3, 3)
    for function, words in ((first, "'gemm' needs sizes that are numbers"), (second, "both a stride and an input")):
        module = torch.nn.Module()
        module.forward = function
        dims = {2: torch.export.Dim.DYNAMIC}
        with pytest.raises(ValueError, match=f"sizes that vary must be those of batch or channels .*{words}"):
            torch.export.export(module, (x, w), dynamic_shapes=(dims, None))


def test_a_dynamic_batch_takes_every_algorithm_that_it_took(torch):
    module = torch.nn.Module()
    module.forward = lambda x, w: triconv.conv2d(x, w, algorithm="direct")
    x, w = integers(torch, 2, 4, 9, 8), integers(torch, 4, 4, 3, 3)
    exported = torch.export.export(module, (x, w), dynamic_shapes=({0: torch.export.Dim.DYNAMIC}, None)).module()
    assert torch.equal(exported(torch.cat([x, x]), w), triconv.conv2d(torch.cat([x, x]), w))


LAYERS = [
    ({}, 1),
    ({}, 3),
    ({"stride": 2, "padding": 1}, 3),
    ({"groups": 2}, 3),
    ({"groups": 8}, 3),
    ({"dilation": 2}, 2),
]


def strides(a):
    """Those of axes that are longer than 1."""
    return [stride for stride, size in zip(a.stride(), a.shape, strict=True) if size > 1]


@pytest.mark.covering(2)
@pytest.mark.parametrize("algorithm", ["auto", "gemm", "vendor"])
@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("ndim", [1, 2, 3])
def test_results_are_in_memory_as_torchs(torch, ndim, transposed, algorithm):
    """Values, gradients, and what `triconv.vjp` and `jvp` give, of operands in both formats."""
    name = f"conv{'_transpose' if transposed else ''}{ndim}d"
    ours, theirs = getattr(triconv, name), getattr(torch.nn.functional, name)
    last = {2: torch.channels_last, 3: torch.channels_last_3d}.get(ndim)
    for (params, taps), x_last, w_last in ((layer, a, b) for layer in LAYERS for a in (0, 1) for b in (0, 1)):
        x, w = (
            integers(torch, 3, 8, *(9, 8, 7)[:ndim]),
            integers(torch, 8, 8 // params.get("groups", 1), *(taps,) * ndim),
        )
        if last is not None:
            x = x.to(memory_format=last) if x_last else x
            w = w.to(memory_format=last) if w_last else w
        results = []
        for f, more in ((ours, {"algorithm": algorithm}), (theirs, {})):
            leaves = [a.detach().requires_grad_() for a in (x, w)]
            y = f(*leaves, **params, **more)
            results.append((y, *torch.autograd.grad(y, leaves, torch.ones_like(y))))
        (y, gx, gw), expected = results
        (_, tangent), (_, pullback) = (
            triconv.jvp(ours, (x, w), (x, w), **params, algorithm=algorithm),
            triconv.vjp(ours, x, w, **params, algorithm=algorithm),
        )
        for got, want in zip((y, gx, gw, tangent, *pullback(y.detach())), (*expected, *expected), strict=True):
            assert strides(got) == strides(want), (params, x_last, w_last)
            assert got.is_contiguous() or x_last or w_last


def test_a_view_after_a_convolution_is_taken(torch):
    x, w = integers(torch, 4, 64, 8, 8), integers(torch, 128, 64, 1, 1)
    torch.compiler.reset()
    for conv in (triconv.conv2d, torch.compile(triconv.conv2d, backend="aot_eager")):
        assert conv(x, w).view(4, -1).shape == (4, 128 * 64)


LETTERS = [
    ("NWC,WIO->NWC", (2, 9, 8), (3, 8, 4)),
    ("NHWC,HWIO->NHWC", (2, 9, 8, 8), (3, 3, 8, 4)),
    ("HWCN,OHWI->CNHW", (9, 8, 3, 2), (4, 2, 2, 3)),
    ("HWC,HWI->HW", (9, 8, 3), (2, 2, 3)),
    ("NCW,OIW->NCW", (5, 3, 1), (2, 3, 1)),
]


@pytest.mark.parametrize(("layout", "x", "w"), LETTERS)
@pytest.mark.parametrize("algorithm", ["auto", "direct", "gemm"])
@pytest.mark.parametrize("library", ["numpy", "torch"])
def test_results_are_contiguous_in_the_layout(request, library, algorithm, layout, x, w):
    tc = triconv.use(library) if library == "numpy" or request.getfixturevalue("torch") else None
    x, w = (tc.asarray(np.ones(shape)) for shape in (x, w))
    params = {"layout": layout, "algorithm": algorithm}
    y, pullback = tc.vjp(triconv.conv, x, w, **params)
    _, tangent = tc.jvp(triconv.conv, (x, w), (x, w), **params)
    results = [y, tangent, *pullback(y)]
    if library == "torch":
        leaves = [a.clone().requires_grad_() for a in (x, w)]
        results += request.getfixturevalue("torch").autograd.grad(triconv.conv(*leaves, **params).sum(), leaves)
    for a in results:
        assert a.flags.c_contiguous if library == "numpy" else a.is_contiguous()
