"""`layout` and `bias` together, in every operator: transposition and a sum, exact on integers, and so is every derivative."""

from __future__ import annotations

import functools
import re

import numpy as np
import pytest

import triconv
from triconv.operators.layout import Layout

# the shapes of x and w in torch's order, parameters, and another layout
CALLS = {
    "conv": (
        ((2, 4, 5, 6), (6, 2, 3, 2)),
        {"stride": (2, 1), "groups": 2, "padding": [(1, -1), (0, 2)]},
        "HWNC,OWIH->CNHW",
    ),
    "conv1d": (((2, 4, 9), (6, 2, 3)), {"stride": 2, "padding": 3, "dilation": 2, "groups": 2}, "NWC,WIO->NWC"),
    "conv2d": (((2, 3, 5, 6), (4, 3, 3, 2)), {"stride": (2, 1), "padding": [(1, 0), (0, 2)]}, "nhwc, hwio -> nhwc"),
    "conv3d": (((2, 2, 4, 5, 3), (3, 2, 2, 3, 1)), {"stride": (1, 2, 3), "padding": 1}, "NDHWC,DHWIO,NDHWC"),
    "conv_transpose1d": (
        ((2, 4, 5), (4, 3, 3)),
        {"stride": 3, "padding": 1, "output_padding": 2, "groups": 2, "dilation": 2},
        "NWC,WIO->NCW",
    ),
    "conv_transpose2d": (
        ((2, 4, 5, 3), (4, 3, 3, 2)),
        {"stride": (2, 1), "padding": (1, 0), "output_padding": (1, 0)},
        "NHWC,HWIO->HWNC",
    ),
    "conv_transpose3d": (
        ((1, 2, 3, 2, 4), (2, 3, 2, 3, 1)),
        {"stride": 2, "padding": (0, 1, 0), "output_padding": 1},
        "NDHWC,DHWIO,NDHWC",
    ),
}
MODES = {
    mode: ("conv2d", {"padding": [(1, 2), (2, 0)], "padding_mode": mode})
    for mode in ("reflect", "replicate", "circular")
}


def draw(*shapes, seed=0, dtype=np.float64):
    rng = np.random.default_rng(seed)
    return [rng.integers(-3, 4, shape).astype(dtype) for shape in shapes]


def orders(layout):
    """How x, w and the result of torch's order are transposed into the layout."""
    layout = Layout.parse(layout)
    heads = (("NC", layout.x), ("OI", layout.w), ("NC", layout.g))
    return [[(head + layout.spatial).index(letter) for letter in letters] for head, letters in heads]


def case(name, dtype=np.float64):
    """The operator, arrays in torch's order, parameters and layout."""
    op, params = (name, {}) if name in CALLS else MODES[name]
    shapes, own, layout = CALLS[op]
    params = params or own
    x, w = draw(*shapes, dtype=dtype)
    k = w.shape[1] * params.get("groups", 1) if "transpose" in op else w.shape[0]
    return getattr(triconv, op), (x, w, *draw((k,), seed=1, dtype=dtype)), params, layout


def transposed(arrays, axes):
    return [np.ascontiguousarray(a.transpose(order)) for a, order in zip(arrays, axes, strict=False)]


@pytest.mark.parametrize("name", [*CALLS, *MODES])
def test_a_layout_with_a_bias_is_a_transposition_and_a_sum(name):
    assert_transposed(triconv.use("numpy"), name)


@pytest.mark.parametrize("name", ["conv", "conv_transpose1d", "circular"])
def test_so_it_is_on_every_backend(lib, name):
    assert_transposed(triconv.use(lib.name), name)


def assert_transposed(lib, name):
    """Value, VJP and JVP; the value twice, since the second call is one that was prepared."""
    op, (x, w, b), params, layout = case(name)
    axes = orders(layout)
    plain, pullback = triconv.vjp(op, x, w, **params)
    want = plain + b.reshape(-1, *[1] * (x.ndim - 2))
    (g,) = draw(plain.shape, seed=2)
    wants = transposed((*pullback(g), want), axes)
    user = [*map(lib.asarray, transposed((x, w), axes)), lib.asarray(b)]
    (of_user,) = transposed((g,), axes[2:])
    for _ in range(2):
        np.testing.assert_array_equal(lib.to_numpy(op(*user, **params, layout=layout)), wants[2])
    y, pullback = triconv.vjp(op, *user, **params, layout=layout)
    np.testing.assert_array_equal(lib.to_numpy(y), wants[2])
    gx, gw, gb = map(lib.to_numpy, pullback(lib.asarray(of_user)))
    np.testing.assert_array_equal(gx, wants[0])
    np.testing.assert_array_equal(gw, wants[1])
    np.testing.assert_array_equal(gb, g.sum(axis=(0, *range(2, g.ndim))))
    _, tangent = triconv.jvp(op, tuple(user), tuple(user), **params, layout=layout)
    (twice,) = transposed((2 * plain + b.reshape(-1, *[1] * (x.ndim - 2)),), axes[2:])
    np.testing.assert_array_equal(lib.to_numpy(tangent), twice)


# layouts with letters left out, the shapes of x and w, and those that a bias may have
LEFT_OUT = [
    ("conv", "HWC,HWI->HW", (5, 6, 2), (3, 2, 2), ((), (1,))),
    ("conv", "HWC,HWI->HWC", (5, 6, 2), (3, 2, 2), ((), (1,))),
    ("conv", "HWC,HWIO->HW", (5, 6, 2), (3, 2, 2, 1), ((1,),)),
    ("conv", "C,I->", (5,), (5,), ((), (1,))),
    ("conv", "C,OI->C", (5,), (4, 5), ((4,),)),
    ("conv2d", "NHW,HW->NHW", (2, 5, 6), (3, 2), ((), (1,))),
    ("conv2d", "HWC,HWIO->HWC", (5, 6, 2), (3, 2, 2, 4), ((4,),)),
    ("conv2d", "CHW,OIHW->NHWC", (2, 5, 6), (4, 2, 3, 2), ((4,),)),
    ("conv_transpose1d", "NWC,WO->NW", (2, 5, 3), (2, 3), ((), (1,))),
    ("conv_transpose1d", "CW,OIW->WC", (3, 5), (3, 4, 2), ((4,),)),
]


@pytest.mark.parametrize(("op", "layout", "x", "w", "biases"), LEFT_OUT)
def test_letters_may_be_left_out_beside_a_bias(op, layout, x, w, biases):
    assert_left_out(triconv.use("numpy"), op, layout, x, w, biases)


@pytest.mark.parametrize("number", [0, -2])
def test_so_they_may_on_every_backend(lib, number):
    assert_left_out(triconv.use(lib.name), *LEFT_OUT[number])


def assert_left_out(lib, op, layout, x, w, biases):
    op = getattr(triconv, op)
    x, w = draw(x, w)
    plain = op(x, w, layout=layout)
    channel = layout.partition("->")[2].find("C")
    for shape in biases:
        (b,) = draw(shape, seed=1)
        spread = [b.size if axis == channel else 1 for axis in range(plain.ndim)]
        arrays = [*map(lib.asarray, (x, w, b))]
        y, pullback = triconv.vjp(op, *arrays, layout=layout)
        for have in (y, op(*arrays, layout=layout), op(*arrays, layout=layout)):
            np.testing.assert_array_equal(lib.to_numpy(have), plain + b.reshape(spread))
        (g,) = draw(plain.shape, seed=2)
        gb = lib.to_numpy(pullback(lib.asarray(g))[2])
        assert gb.shape == shape
        others = tuple(axis for axis in range(g.ndim) if axis != channel)
        np.testing.assert_array_equal(gb, g.sum(axis=others).reshape(shape))
        _, tangent = triconv.jvp(op, tuple(arrays), tuple(arrays), layout=layout)
        np.testing.assert_array_equal(lib.to_numpy(tangent), 2 * plain + b.reshape(spread))


def test_a_layout_has_two_spellings():
    for text in ("NHWC,HWIO,NHWC", "nhwc, hwio, nhwc", "NHWC,HWIO -> NHWC"):
        assert Layout.parse(text) == Layout.parse("NHWC,HWIO->NHWC")
    assert Layout.parse("HWC,HWI,HW") == Layout.parse("HWC,HWI->HW")
    assert Layout.parse("C,I,") == Layout.parse("C,I->")


def test_a_bias_is_promoted_in_every_layout(lib):
    x, w = (lib.array(np.ones(shape), dtype="float32") for shape in ((1, 5, 2), (3, 2, 4)))
    b = lib.array(np.ones(4), dtype="float64")
    for op in (triconv.conv, triconv.conv1d):
        assert op(x, w, b, layout="NWC,WIO->NWC").dtype == lib.xp.float64
        assert op(x, w, lib.array(np.ones(4), dtype="float32"), layout="NWC,WIO->NWC").dtype == lib.xp.float32
    # sums of 70,000 and a bias of -10,000 are 60,000, which float16 has
    if lib.has("float16") and lib.name != "array-api-strict":
        x, w, b = (
            lib.array(np.full(s, v), dtype="float16") for s, v in (((1, 3, 70), 1e3), ((1, 70, 1), 1), ((1,), -1e4))
        )
        assert (lib.numpy(triconv.conv(x, w, b, layout="NWC,WIO->NWC")) == 60000).all()


def test_complex_biases_keep_their_convention(lib):
    """The cotangent of a bias is a plain sum, in torch too."""
    x, w, b = (lib.array(a * (1 + 2j)) for a in draw((2, 5, 2), (3, 2, 4), (4,)))
    y, pullback = triconv.vjp(triconv.conv1d, x, w, b, layout="NWC,WIO->NWC")
    plain = triconv.conv1d(x, w, layout="NWC,WIO->NWC")
    np.testing.assert_array_equal(lib.numpy(y), lib.numpy(plain) + lib.numpy(b))
    g = lib.numpy(y) * (1 - 1j)
    np.testing.assert_array_equal(lib.numpy(pullback(lib.array(g))[2]), g.sum(axis=(0, 1)))


@pytest.mark.parametrize("name", ["conv1d", "conv_transpose1d"])
def test_every_transform_of_jax_takes_a_bias_in_a_layout(jax, name):
    """Jitted, batched and differentiated twice: as of the channels-first call, transposed inside of the function."""
    op, (x, w, b), params, layout = case(name)
    axes = orders(layout)
    x, w, b = map(jax.numpy.asarray, (*transposed((x, w), axes), b))

    def ours(x, w, b):
        return op(x, w, b, **params, layout=layout)

    def plain(x, w, b):
        y = op(*(a.transpose(np.argsort(order)) for a, order in zip((x, w), axes, strict=False)), **params)
        return (y + b.reshape(-1, 1)).transpose(axes[2])

    def programs(conv, x, w, b):
        gradient = jax.grad(lambda *arrays: (conv(*arrays) ** 2).sum(), (0, 1, 2))
        return (
            conv(x, w, b),
            jax.jvp(gradient, (x, w, b), (x, 2 * w, -b)),
            jax.vmap(gradient, (None, 0, 0))(x, jax.numpy.stack([w, -w]), jax.numpy.stack([b, 2 * b])),
        )

    results = (jax.jit(functools.partial(programs, conv))(x, w, b) for conv in (ours, plain))
    for a, truth in zip(*map(jax.tree.leaves, results), strict=True):
        np.testing.assert_array_equal(a, truth)


@pytest.mark.parametrize("name", ["conv", "conv_transpose2d", "circular"])
def test_every_transform_of_torch_takes_a_bias_in_a_layout(torch, name):
    op, arrays, params, layout = case(name)
    axes = orders(layout)
    x, w, b = map(torch.tensor, (*transposed(arrays[:2], axes), arrays[2]))

    def ours(x, w, b):
        return op(x, w, b, **params, layout=layout)

    def plain(x, w, b):
        y = op(*(a.permute(*np.argsort(order)) for a, order in zip((x, w), axes, strict=False)), **params)
        return (y + b.reshape(-1, 1, 1)).permute(axes[2])

    def programs(conv):
        leaves = [a.clone().requires_grad_() for a in (x, w, b)]
        y = conv(*leaves)
        first = torch.autograd.grad((y * y).sum(), leaves, create_graph=True)
        second = torch.autograd.grad(sum((a * a).sum() for a in first), leaves)
        each = torch.autograd.grad(conv(*leaves), leaves, torch.stack([y, 2 * y]), is_grads_batched=True)
        gradient = torch.func.grad(lambda *arrays: (conv(*arrays) ** 2).sum(), (0, 1, 2))
        return (
            y, *first, *second, *each,
            *torch.func.jvp(gradient, (x, w, b), (x, 2 * w, -b))[1],
            torch.func.vmap(conv, (None, 0, 0))(x, torch.stack([w, -w]), torch.stack([b, 2 * b])),
            *torch.func.vmap(gradient, (0, None, None))(torch.stack([x, 2 * x]), w, b),
        )  # fmt: skip

    for a, truth in zip(programs(ours), programs(plain), strict=True):
        assert torch.equal(a, truth)


@pytest.mark.parametrize("name", ["conv2d", "conv_transpose2d"])
def test_torchs_own_convolution_adds_the_bias_in_the_users_layout(torch, name):
    """One call of it, on views; nothing but the result is copied."""
    from torch.profiler import profile

    op, arrays, _, _ = case(name, np.float32)
    axes = orders("NHWC,HWIO->NHWC")
    x, w, b = map(torch.tensor, (*transposed(arrays[:2], axes), arrays[2]))
    op(x, w, b, layout="NHWC,HWIO->NHWC", algorithm="vendor")
    with profile() as events:
        y = op(x, w, b, layout="NHWC,HWIO->NHWC", algorithm="vendor")
    names = [event.name for event in events.events()]
    assert names.count(f"aten::{name}") == 1
    assert "aten::add" not in names
    assert y.is_contiguous()
    np.testing.assert_array_equal(y, op(x.numpy(), w.numpy(), b.numpy(), layout="NHWC,HWIO->NHWC"))


def test_sizes_that_vary_take_a_bias_in_a_layout(torch):
    w, v, b = (torch.tensor(a) for a in draw((3, 2, 4, 4), (3, 2, 4), (4,), dtype=np.float32))

    class Layer(torch.nn.Module):
        def forward(self, x):
            y = triconv.conv2d(x, w, b, stride=2, layout="NHWC,HWIO->NHWC")
            y = triconv.conv_transpose2d(y, w, b, stride=2, layout="NHWC,HWIO->NHWC")
            return triconv.conv(y, v, b[0], layout="NHWC,HWI->NHW")

    dynamic = torch.export.Dim.DYNAMIC
    shapes = (2, 9, 8, 4), (3, 12, 13, 4)
    of_shape, other = (torch.tensor(a) for a in draw(*shapes, dtype=np.float32))
    exported = torch.export.export(Layer(), (of_shape,), dynamic_shapes=({0: dynamic, 1: dynamic, 2: dynamic},))
    for x in (of_shape, other):
        assert torch.equal(exported.module()(x), Layer()(x))


def test_bound_operators_take_a_bias_and_a_layout(lib):
    tc = triconv.use(lib.name, dtype="float32")
    x, w = [[[1, 2], [3, 4], [5, 6]]], [[[1, 0], [0, 1]]]
    for op in (tc.conv, tc.conv1d):
        y = op(x, w, [10, 20], layout="NWC,WIO->NWC")
        np.testing.assert_array_equal(lib.numpy(y), [[[11, 22], [13, 24], [15, 26]]])
        y, pullback = tc.vjp(op, x, w, [10, 20], layout="NWC,WIO,NWC")
        np.testing.assert_array_equal(lib.numpy(pullback(np.ones((1, 3, 2)))[2]), [3, 3])


def test_explain_takes_a_bias_and_a_layout():
    shapes = (2, 8, 8, 3), (3, 3, 3, 4), (4,)
    for op in (triconv.conv, triconv.conv2d):
        explained = triconv.explain(op, *shapes, layout="NHWC,HWIO->NHWC")
        assert [row.multiply_adds for row in explained.rows] == [2 * 6 * 6 * 9 * 3 * 4] * 3


# ---- the checker, which has the definition of it


def in_torchs_order(torch, x, w, b):
    y = torch.nn.functional.conv2d(x.permute(0, 3, 1, 2), w.permute(3, 2, 0, 1), b, stride=2)
    return y.permute(0, 2, 3, 1)


def rows(report):
    """The verdict on each question."""
    return {row.what: row.verdict for row in report.rows}


def test_check_takes_a_bias_and_a_layout(torch):
    """Every row of torch's own convolution, and of one whose bias goes along another axis."""
    like, shapes = triconv.conv, ((2, 5, 5, 3), (3, 2, 3, 2), (2,))
    params = {"stride": 2, "layout": "NHWC,HWIO->NHWC", "framework": "torch"}
    report = triconv.check(functools.partial(in_torchs_order, torch), like, *shapes, **params)
    found = rows(report)
    assert set(found.values()) == {"right"}
    assert {"VJP of x", "VJP of w", "VJP of bias", "JVP", "second order of w (reverse over reverse)"} <= set(found)
    report = triconv.check(lambda x, w, b: in_torchs_order(torch, x, w, 0 * b) + b[:, None], like, *shapes, **params)
    assert (report.verdict, rows(report)["value"], report.cause) == ("wrong", "wrong", "bias axis")


def test_check_takes_a_bias_and_a_layout_under_jit(jax):
    def conv(x, w, b):
        return jax.lax.conv_general_dilated(x, w, (2,), "VALID", dimension_numbers=("NWC", "WIO", "NWC")) + b

    report = triconv.check(conv, triconv.conv1d, (2, 6, 3), (3, 3, 2), (2,), stride=2, layout="NWC,WIO,NWC")
    found = rows(report)
    assert set(found.values()) == {"right"}
    assert {"VJP of bias", "JVP", "vmap, sample 1", "value under jit"} <= set(found)


@pytest.mark.parametrize("shape", [(), (1,)])
def test_check_takes_a_bias_of_a_kernel_without_output_channels(shape):
    """Right ones, and each wrong in its bias alone."""
    layout = "HWC,HWI->HW"

    def forward(x, w, b):
        return triconv.conv(x, w, b, layout=layout)

    def rules(forward=forward, bias_vjp=lambda g: g.sum().reshape(shape)):
        return triconv.Rules(
            forward,
            lambda g, w: triconv.conv_input_vjp(g, w, input_size=(5, 6), layout=layout),
            lambda g, x: triconv.conv_weight_vjp(g, x, kernel_size=(3, 2), layout=layout),
            bias_vjp,
        )

    shapes = (5, 6, 3), (3, 2, 3), shape
    assert triconv.check(rules(), triconv.conv, *shapes, layout=layout).ok
    report = triconv.check(rules(lambda x, w, b: forward(x, w, 0 * b)), triconv.conv, *shapes, layout=layout)
    assert (rows(report)["value"], rows(report)["VJP of bias"]) == ("wrong", "right")
    report = triconv.check(rules(bias_vjp=lambda g: 2 * g.sum().reshape(shape)), triconv.conv, *shapes, layout=layout)
    assert (rows(report)["value"], rows(report)["VJP of bias"]) == ("right", "wrong")
    literal = r"\(\[-?1" if shape else r"\(-?1"
    assert re.search(f"bias = np.asarray{literal}", report.counterexample)


def test_a_transposed_convolution_is_checked_in_a_layout():
    """Of whose kernel, in this layout, the letter of the output channels is left out."""
    shapes, layout = ((2, 4, 2), (3, 2), ()), "NWC,WO->NW"

    def forward(x, w, b):
        return triconv.conv_transpose1d(x.transpose(0, 2, 1), w.T[:, None], stride=2)[:, 0] + b

    def rules(bias_vjp):
        return triconv.Rules(
            forward,
            lambda g, w: triconv.conv(g, w, stride=2, layout="NW,WO->NWC"),
            lambda g, x: triconv.conv_weight_vjp(x, g, kernel_size=3, stride=2, layout="NW,WO->NWC"),
            bias_vjp,
        )

    assert triconv.check(rules(np.sum), triconv.conv_transpose1d, *shapes, stride=2, layout=layout).ok
    wrong = triconv.check(rules(np.mean), triconv.conv_transpose1d, *shapes, stride=2, layout=layout)
    assert (rows(wrong)["VJP of w"], rows(wrong)["VJP of bias"]) == ("right", "wrong")


def test_the_command_line_takes_a_layout_without_quotes(capsys):
    from triconv.cli.main import main

    shapes = ["--shape", "2,8,8,3", "--shape", "3,3,3,4", "--shape", "4"]
    assert main(["explain", "conv2d", *shapes, "--layout", "NHWC,HWIO,NHWC"]) == 0
    assert "7,776 multiply-adds" in capsys.readouterr().out
