"""Every way in which torch transforms a function: the same program with torch's convolution and with ours."""

from __future__ import annotations

import functools

import numpy as np
import pytest

import triconv

PARAMS = {"stride": (2, 1), "padding": 1, "groups": 2}


def arrays(torch, shapes=((2, 4, 5, 4), (6, 2, 2, 3), (6,))):
    draw = torch.Generator().manual_seed(0)
    return [torch.randn(*s, generator=draw, dtype=torch.float64) for s in shapes]


def convolutions(torch, mode):
    """Ours and theirs."""

    def theirs(x, w, bias=None):
        padded = torch.nn.functional.pad(x, (1, 1, 1, 1), mode={"zeros": "constant"}.get(mode, mode))
        return torch.nn.functional.conv2d(padded, w, bias, **PARAMS | {"padding": 0})

    return functools.partial(triconv.conv2d, **PARAMS, padding_mode=mode), theirs


PROGRAMS = {}


def program(function):
    PROGRAMS[function.__name__] = function
    return function


def cube(conv, *arrays):
    return (conv(*arrays) ** 3).sum()


def leaves(*arrays):
    return [a.clone().requires_grad_() for a in arrays]


@program
def double_backward(torch, conv, x, w, b):
    x, w, b = leaves(x, w, b)
    first = torch.autograd.grad(cube(conv, x, w, b), (x, w, b), create_graph=True)
    return torch.autograd.grad(sum((g**2).sum() for g in first), (x, w, b))


@program
def forward_mode(torch, conv, x, w, b):
    return torch.func.jvp(conv, (x, w, b), (x + 1, -w, 2 * b))


@program
def forward_mode_by_dual_numbers(torch, conv, x, w, b):
    with torch.autograd.forward_ad.dual_level():
        dual = torch.autograd.forward_ad.make_dual
        return torch.autograd.forward_ad.unpack_dual(conv(dual(x, x + 1), dual(w, -w), b))


@program
def jacobians(torch, conv, x, w, b):
    return [jac(lambda w: conv(x, w, b)[0, :, 0])(w) for jac in (torch.func.jacrev, torch.func.jacfwd)]


@program
def hessian(torch, conv, x, w, b):
    return torch.func.hessian(lambda w: cube(conv, x, w, b))(w)


@program
def reverse_over_forward(torch, conv, x, w, b):
    return torch.func.jacrev(torch.func.jacfwd(lambda w: cube(conv, x[:1], w, b)))(w)


@program
def forward_over_forward(torch, conv, x, w, b):
    return torch.func.jacfwd(torch.func.jacfwd(lambda x, w: cube(conv, x, w), 0), 1)(x[:1, :, :3, :3], w)


@program
def forward_over_forward_of_what_comes_before(torch, conv, x, w, b):
    return torch.func.jacfwd(torch.func.jacfwd(lambda s: (conv(x * s**2, w) ** 2).sum()))(
        torch.tensor(1.5, dtype=x.dtype)
    )


@program
def forward_over_forward_under_others(torch, conv, x, w, b):
    jvp, one = torch.func.jvp, torch.tensor(2.0, dtype=x.dtype)

    def along_x_and_w(inner):
        return jvp(lambda x: jvp(lambda w: inner(x, w), (w,), (w + 1,))[1], (x,), (x - 1,))[1]

    return [
        along_x_and_w(lambda x, w: torch.func.grad(lambda s: (conv(x, w) * s).sum())(one)),
        along_x_and_w(lambda x, w: jvp(lambda s: (conv(x, w) * s).sum(), (one,), (one,))[1]),
        torch.func.vmap(lambda v: along_x_and_w(lambda x, w: (conv(x, w * v) ** 2).sum()))(torch.stack([one, -one])),
    ]


@program
def third_order(torch, conv, x, w, b):
    jacfwd, jacrev, s = torch.func.jacfwd, torch.func.jacrev, torch.tensor(1.5, dtype=x.dtype)
    return jacfwd(jacrev(jacfwd(lambda s: (conv(x * s, w * s**2) ** 2).sum())))(s)


@program
def per_sample_gradients(torch, conv, x, w, b):
    return torch.func.vmap(torch.func.grad(lambda w, x: cube(conv, x[None], w)), (None, 0))(w, x)


@program
def vmap_in_every_position(torch, conv, x, w, b):
    results = []
    for bx in (None, 0, 2, 4):
        for bw in (None, 0, 1, 3):
            if (bx, bw) != (None, None):
                xs = x if bx is None else torch.stack([x, -x], bx)
                ws = w if bw is None else torch.stack([w, 2 * w], bw)
                results.append(torch.func.vmap(conv, (bx, bw), 1)(xs, ws))
    return results


@program
def batched_gradients(torch, conv, x, w, b):
    """By the older batching, which has no slices."""
    x, w, b = leaves(x, w, b)
    y = conv(x, w, b)
    g = torch.eye(y.numel(), dtype=y.dtype)[:5].reshape(5, *y.shape)
    return torch.autograd.grad(y, (x, w, b), g, is_grads_batched=True)


@program
def vectorized_hessian(torch, conv, x, w, b):
    hessian = torch.autograd.functional.hessian
    strategies = ("reverse-mode", "forward-mode")
    return [hessian(lambda w: cube(conv, x, w), w, vectorize=True, outer_jacobian_strategy=s) for s in strategies]


@program
def hessian_vector_product(torch, conv, x, w, b):
    return torch.autograd.functional.hvp(lambda w: cube(conv, x, w, b), w, w + 1)


@program
def checkpoint(torch, conv, x, w, b):
    x, w, b = leaves(x, w, b)
    return torch.autograd.grad(
        (torch.utils.checkpoint.checkpoint(conv, x, w, b, use_reentrant=False) ** 2).sum(), (x, w, b)
    )


@program
def channels_last_and_strided(torch, conv, x, w, b):
    last = [a.to(memory_format=torch.channels_last) for a in (x, w)]
    strided = torch.stack([x, x], -1)[..., 0], w.transpose(2, 3).contiguous().transpose(2, 3)
    return [cube(conv, *last), cube(conv, *strided), torch.func.grad(lambda w: cube(conv, last[0], w))(last[1])]


@program
def inference_mode(torch, conv, x, w, b):
    with torch.inference_mode():
        return conv(x, w, b).clone()


@program
def make_fx(torch, conv, x, w, b):
    from torch.fx.experimental.proxy_tensor import make_fx

    return make_fx(lambda x, w: torch.func.grad(lambda w: cube(conv, x, w))(w))(x, w)(x, w)


@program
def export(torch, conv, x, w, b):
    class Module(torch.nn.Module):
        def forward(self, x, w):
            return conv(x, w)

    exported = torch.export.export(Module(), (x, w), dynamic_shapes=({0: torch.export.Dim("n")}, None), strict=False)
    return exported.module()(x, w), exported.module()(torch.cat([x, x]), w)


def compiled(torch, function, **kwargs):
    torch.compiler.reset()
    return torch.compile(function, fullgraph=True, backend="aot_eager", **kwargs)


@program
def compile_and_differentiate(torch, conv, x, w, b):
    x, w, b = leaves(x, w, b)
    y = compiled(torch, conv)(x, w, b)
    return y, torch.autograd.grad((y**3).sum(), (x, w, b))


@program
def compile_with_other_sizes(torch, conv, x, w, b):
    f = compiled(torch, conv)
    return f(x, w, b), f(x[:1], w, b)


@program
def compile_transforms(torch, conv, x, w, b):
    per_sample = torch.func.vmap(torch.func.grad(lambda w, x: cube(conv, x[None], w)), (None, 0))
    return (
        compiled(torch, per_sample)(w, x),
        compiled(torch, lambda w: torch.func.jvp(lambda w: cube(conv, x, w), (w,), (w,)))(w),
    )


@program
def compile_a_module(torch, conv, x, w, b):
    class Module(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.w, self.b = torch.nn.Parameter(w.clone()), torch.nn.Parameter(b.clone())

        def forward(self, x):
            return conv(x, self.w, self.b).relu()

    module = Module()
    compiled(torch, module)(x).sum().backward()
    return module.w.grad, module.b.grad


# each takes a second to compile: by default one with a padding mode
COMPILED = ("compile_with_other_sizes", "compile_transforms", "compile_a_module")


def flat(results):
    return [results] if not isinstance(results, (tuple, list)) else [r for each in results for r in flat(each)]


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning", "ignore::FutureWarning")
@pytest.mark.parametrize(
    ("name", "mode"),
    [
        pytest.param(name, mode, marks=pytest.mark.slow if mode == "circular" and name in COMPILED else [])
        for name in PROGRAMS
        for mode in ("zeros", "circular")
    ],
)
def test_every_program_is_the_same_with_torchs_convolution(torch, name, mode):
    given = arrays(torch)
    ours, theirs = (flat(PROGRAMS[name](torch, conv, *given)) for conv in convolutions(torch, mode))
    for a, b in zip(ours, theirs, strict=True):
        assert (a.shape, a.dtype) == (b.shape, b.dtype)
        np.testing.assert_allclose(a.detach(), b.detach(), rtol=1e-9, atol=1e-9)


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning")
@pytest.mark.parametrize("mode", ["zeros", "reflect"])
def test_gradcheck_of_torch_passes(torch, mode):
    inputs = leaves(*arrays(torch, ((1, 2, 3, 2), (2, 1, 2, 2), (2,))))
    conv, _ = convolutions(torch, mode)
    options = {"check_batched_grad": True}
    assert torch.autograd.gradcheck(conv, inputs, check_forward_ad=True, check_batched_forward_grad=True, **options)
    assert torch.autograd.gradgradcheck(conv, inputs, check_fwd_over_rev=True, check_rev_over_rev=True, **options)


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning")
def test_every_operator_compiles_without_a_graph_break(torch):
    x, w, _ = arrays(torch)
    tc = triconv.use("torch", dtype="float32")
    for function in (
        lambda: triconv.conv(x, w, groups=2, layout="NCHW,OIHW->NHWC", input_dilation=2, padding=[(1, -1), (0, 2)]),
        lambda: triconv.conv_input_vjp(torch.ones(2, 6, 4, 2).double(), w, input_size=(5, 4), groups=2),
        lambda: triconv.conv_weight_vjp(torch.ones(2, 6, 4, 2).double(), x, kernel_size=(2, 3), groups=2),
        lambda: triconv.conv_transpose2d(x, w[:4], None, (2, 1), 1, (1, 0), dilation=(1, 2)),
        lambda: triconv.conv2d_forward(x[0].permute(1, 2, 0), x[1, :, :2, :2].permute(1, 2, 0)),
        lambda: tc.conv2d(x, w, groups=2),
    ):
        np.testing.assert_allclose(compiled(torch, function)(), function(), rtol=1e-6)


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning")
def test_large_samples_compile_without_a_graph_break(torch):
    """They are taken by rows, in loops that know where each block starts without a tensor."""
    x, w, g = (torch.ones(shape) for shape in ((1, 16, 400, 400), (8, 16, 3, 3), (1, 8, 398, 398)))
    for function in (
        lambda: triconv.conv(x, w, algorithm="gemm"),
        lambda: triconv.conv_input_vjp(g, w, input_size=400, algorithm="gemm"),
        lambda: triconv.conv_weight_vjp(g, x, kernel_size=3, algorithm="gemm"),
    ):
        np.testing.assert_array_equal(compiled(torch, function)(), function())


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning")
def test_errors_under_torch_compile_are_ours(torch):
    x, w, _ = arrays(torch)
    torch.compiler.reset()
    with pytest.raises(ValueError, match="`stride` must be at least 1, got 0"):
        torch.compile(lambda x, w: triconv.conv2d(x, w, stride=0), backend="aot_eager")(x, w)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_gradients_by_inductor_are_torchs(torch):
    given = leaves(*arrays(torch))
    torch.compiler.reset()
    for mode in ("zeros", "circular"):
        ours, theirs = convolutions(torch, mode)
        y = torch.compile(ours, fullgraph=True)(*given)
        for a, b in zip(
            torch.autograd.grad((y**3).sum(), given), torch.autograd.grad(cube(theirs, *given), given), strict=True
        ):
            np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-9)


def test_autocast_narrows_with_the_default_precision_alone(torch):
    """Not with the default precision; with "default", of the products alone: sums and results keep the arrays' dtype."""
    x, w, _ = (a.float() for a in arrays(torch))
    x.requires_grad_()
    expected = triconv.conv2d(x, w, **PARAMS)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        highest, default = (triconv.conv2d(x, w, **PARAMS, precision=p) for p in ("highest", "default"))
        assert torch.nn.functional.conv2d(x, w, **PARAMS).dtype == torch.bfloat16
    assert torch.equal(highest, expected)
    assert default.dtype == torch.float32
    assert 1e-4 < (default - expected).abs().max() < 0.2
    for y in (highest, default):
        assert torch.autograd.grad(y.sum(), x)[0].dtype == torch.float32
