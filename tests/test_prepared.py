"""Calls that are prepared once for each signature: whatever was called before, results and errors are those of a first call."""

from __future__ import annotations

import gc
import threading
import warnings
import weakref

import numpy as np
import pytest

import triconv
from triconv.kernels import depthwise, direct, gemm
from triconv.kernels.target import changed
from triconv.operators import prepared

SHAPES = ((2, 3, 7, 8), (4, 3, 3, 2))


@pytest.fixture(autouse=True)
def forget():
    """Start with nothing prepared."""
    prepared.slot.cache_clear()


def operands(*shapes, dtype=np.float32, seed=0):
    rng = np.random.default_rng(seed)
    return [rng.integers(-3, 4, shape).astype(dtype) for shape in shapes or SHAPES]


def kept():
    return prepared.slot.cache_info().currsize


def test_each_dtype_of_one_shape_has_its_own(lib):
    for name in ("float32", "float64", "int32", "int64", "float32"):
        x, w = (lib.array(a, dtype=name) for a in operands())
        y = triconv.conv2d(x, w)
        assert y.dtype == x.dtype
        np.testing.assert_array_equal(lib.numpy(y), triconv.conv2d(*operands(dtype=name)))
    mixed = triconv.conv2d(lib.array(operands()[0], dtype="float32"), lib.array(operands()[1], dtype="float64"))
    assert mixed.dtype == lib.xp.float64


def test_parameters_that_are_equal_are_not_alike(lib):
    """True and 1.0 equal 1, and are refused all the same."""
    x, w = map(lib.array, operands())
    first = lib.numpy(triconv.conv2d(x, w, stride=1))
    for stride in ([1, 1], (1, 1), np.int64(1), np.array([1, 1])):
        np.testing.assert_array_equal(lib.numpy(triconv.conv2d(x, w, stride=stride)), first)
    np.testing.assert_array_equal(lib.numpy(triconv.conv2d(x, w, stride=np.array([1, 2]))), first[..., ::2])
    for stride in (True, 1.0, (1, True), [1.0, 1]):
        with pytest.raises(TypeError, match="`stride` must be an int"):
            triconv.conv2d(x, w, stride=stride)


def test_positions_and_keywords_are_not_mixed_up(lib):
    x, w, b = map(lib.array, operands(*SHAPES, (4,)))
    triconv.conv2d(x, w, None, padding=1)
    with pytest.raises(TypeError, match="`stride` must be an int"):
        triconv.conv2d(x, w, None, "padding", 1)
    with pytest.raises(TypeError, match="`x` must be an array"):
        triconv.conv2d(None, x, w, padding=1)
    with_bias = lib.numpy(triconv.conv2d(x, w, b, 1, 1))
    assert not np.array_equal(with_bias, lib.numpy(triconv.conv2d(x, w, None, 1, 1)))


def test_errors_are_raised_each_time(lib):
    x, w = map(lib.array, operands())
    for _ in range(2):
        with pytest.raises(ValueError, match=r"`x.shape\[1\]` must equal `groups \* w.shape\[1\]`, got 3 != 2 \* 3"):
            triconv.conv2d(x, w, groups=2)
        with pytest.raises(ValueError, match="`padding_mode` must be one of"):
            triconv.conv2d(x, w, padding_mode="nonsense")
        with pytest.raises(TypeError, match="multiple values for argument 'x'"):
            triconv.conv2d(x, w, x=x)
        with pytest.raises(TypeError, match="missing"):
            triconv.conv2d(x)
        with pytest.raises(TypeError, match="`w` must be an array of an array API library, got list"):
            triconv.conv2d(x, [[[[1.0]]]])
        assert triconv.conv2d(x, w).shape == (2, 4, 5, 7)


@pytest.mark.parametrize("kind", ["masked", "matrix"])
def test_a_subclass_is_refused_after_a_plain_array_of_its_shape(kind):
    x, w = operands((5, 4), (3, 4))
    triconv.conv(x, w)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PendingDeprecationWarning)
        wrong = np.ma.masked_array(x) if kind == "masked" else np.matrix(x)
    with pytest.raises(TypeError, match="`x` must be"):
        triconv.conv(wrong, w)


def test_two_libraries_are_refused_after_each_alone(jax, torch):
    x, w = operands()
    libraries = jax.numpy.asarray, torch.asarray
    for asarray, other in (libraries, libraries[::-1]):
        triconv.conv2d(x, w), triconv.conv2d(asarray(x), asarray(w)), triconv.conv2d(x, asarray(w))
        with pytest.raises(TypeError, match="`x` and `w` must be arrays of one library, got"):
            triconv.conv2d(other(x), asarray(w))


def test_arrays_may_be_keywords(lib):
    x, w, b = map(lib.array, operands(*SHAPES, (4,)))
    first = lib.numpy(triconv.conv2d(x, w, b))
    for _ in range(2):
        np.testing.assert_array_equal(lib.numpy(triconv.conv2d(x, w, bias=b)), first)
        np.testing.assert_array_equal(lib.numpy(triconv.conv2d(bias=b, w=w, x=x)), first)
        np.testing.assert_array_equal(lib.numpy(triconv.conv2d(x, weight=w, bias=b)), first)
        without = lib.numpy(triconv.conv2d(x, w, bias=None))
        np.testing.assert_array_equal(without, lib.numpy(triconv.conv2d(x, w)))
    assert not np.array_equal(without, first)


def test_memory_orders_give_the_same():
    x, w = operands()
    first = triconv.conv2d(x, w)
    for given in (np.asfortranarray(x), np.moveaxis(np.ascontiguousarray(np.moveaxis(x, 1, -1)), -1, 1)):
        for _ in range(2):
            y = triconv.conv2d(given, w)
            assert y.flags.c_contiguous
            np.testing.assert_array_equal(y, first)
    strided = np.zeros((2, 3, 14, 8), np.float32)
    strided[:, :, ::2] = x
    np.testing.assert_array_equal(triconv.conv2d(strided[:, :, ::2], w), first)
    np.testing.assert_array_equal(triconv.conv2d(x[:, :, ::-1][:, :, ::-1], w), first)


def test_changed_constants_change_the_plan(monkeypatch):
    """Within, and no longer than within."""
    ran = []
    for kernel in (direct, gemm, depthwise):
        name, plain = kernel.__name__, kernel.conv
        monkeypatch.setattr(kernel, "conv", lambda *args, name=name, plain=plain: ran.append(name) or plain(*args))
    x, w = operands((4, 16, 20, 20), (16, 16, 3, 3))
    for _ in range(2):
        triconv.conv2d(x, w)
        with changed(largest_operations=20):
            triconv.conv2d(x, w)
    assert ran == ["triconv.kernels.gemm", "triconv.kernels.depthwise"] * 2


def test_no_more_are_kept_than_the_bound():
    for size in range(prepared.KEPT + 10):
        triconv.conv(*operands((1, 1, 3 + size), (1, 1, 3)))
    assert kept() == prepared.KEPT


def test_no_array_is_kept():
    x, w = operands()
    alive = weakref.ref(x)
    triconv.conv2d(x, w)
    assert kept()
    del x
    gc.collect()
    assert alive() is None


def test_threads_prepare_at_once(lib):
    """The same and different signatures, each for the first time."""
    start, wrong = threading.Barrier(4), []

    def run(number):
        start.wait(60)
        for size in range(6, 12):
            x, w = operands((1, 2, size), (3, 2, 2), seed=number)
            y = lib.numpy(triconv.conv1d(lib.array(x), lib.array(w)))
            truth = np.einsum("nciw,kci->nkw", np.stack([x[..., :-1], x[..., 1:]], 2), w)
            if not np.array_equal(y, truth):
                wrong.append((number, size))

    threads = [threading.Thread(target=run, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


# ---- torch


@pytest.fixture
def given(torch):
    return [torch.tensor(a) for a in operands(*SHAPES, (4,))]


@pytest.mark.parametrize("algorithm", ["auto", "direct", "gemm"])
@pytest.mark.parametrize("name", ["conv2d", "conv_transpose2d"])
def test_derivatives_of_a_prepared_call(torch, given, algorithm, name):
    """Of first and second order, of some arrays or all, and by torch's older batching."""
    x, w, b = given
    if name == "conv_transpose2d":
        w = w.transpose(0, 1).contiguous()
    ours, theirs = getattr(triconv, name), getattr(torch.nn.functional, name)
    assert torch.equal(ours(x, w, b, stride=2, algorithm=algorithm), theirs(x, w, b, stride=2))
    for needed in ((True, True, True), (True, False, False), (False, True, False), (False, False, True)):
        found = []
        for conv in (lambda *a, **k: ours(*a, **k, algorithm=algorithm), theirs):
            arrays = [a.clone().requires_grad_(n) for a, n in zip((x, w, b), needed, strict=True)]
            asked = [a for a in arrays if a.requires_grad]
            y = conv(*arrays, stride=2)
            first = torch.autograd.grad((y * y).sum(), asked, create_graph=True)
            second = torch.autograd.grad(sum((a * a).sum() for a in first), asked)
            batched = torch.autograd.grad(
                conv(*arrays, stride=2), asked, torch.stack([y, 2 * y]), is_grads_batched=True
            )
            found.append([y, *first, *second, *batched])
        for a, truth in zip(*found, strict=True):
            assert torch.equal(a, truth)
            assert a.is_contiguous()
    with torch.no_grad():
        assert not ours(x.requires_grad_(), w, stride=2, algorithm=algorithm).requires_grad


def test_transforms_after_a_plain_call(torch, given):
    x, w, _ = given
    y = triconv.conv2d(x, w)
    assert torch.equal(torch.vmap(lambda x: triconv.conv2d(x[None], w)[0])(x), y)
    assert torch.equal(torch.func.jvp(lambda x: triconv.conv2d(x, w), (x,), (x,))[1], y)
    with torch.autograd.forward_ad.dual_level():
        dual = triconv.conv2d(torch.autograd.forward_ad.make_dual(x, x), w)
        assert torch.equal(torch.autograd.forward_ad.unpack_dual(dual).tangent, y)
    assert torch.equal(torch.func.grad(lambda x: triconv.conv2d(x, w).sum())(x).sum(), w.sum() * 5 * 7 * 2)
    with torch._subclasses.FakeTensorMode() as mode:
        assert triconv.conv2d(mode.from_tensor(x), mode.from_tensor(w)).shape == y.shape
    with torch.device("meta"):
        assert triconv.conv2d(torch.ones(2, 3, 7, 8), torch.ones(4, 3, 3, 2)).device.type == "meta"


@pytest.mark.parametrize("recorded", [False, True])
@pytest.mark.parametrize("algorithm", ["auto", "direct", "gemm"])
def test_a_result_may_be_written_into(torch, given, algorithm, recorded):
    """As an activation in place does."""
    x, w, b = given
    for bias in (None, b):
        x = x.detach().requires_grad_(recorded)
        y = triconv.conv2d(x, w, bias, algorithm=algorithm)
        truth = torch.nn.functional.conv2d(x, w, bias)
        assert torch.equal(y.relu_(), truth.relu())
        if recorded:
            found = [torch.autograd.grad(a.relu().sum(), x)[0] for a in (y, truth)]
            assert torch.equal(*found)


def test_a_bias_may_change_before_the_backward_pass(torch, given):
    x, w, b = given
    y = triconv.conv2d(x, w.requires_grad_(), b)
    b.zero_()
    y.sum().backward()
    assert w.grad.shape == w.shape


def test_flags_that_are_set_later_are_read(torch, given, monkeypatch):
    """Products under "highest" are of doubles once a flag narrows those of floats, and autocast is not seen."""
    from triconv.backends import torch_products

    x, w, _ = given
    y = triconv.conv2d(x, w)
    seen, plain = [], torch_products.convolution
    monkeypatch.setattr(torch_products, "convolution", lambda *args: seen.append(args) or plain(*args))
    before = torch.backends.fp32_precision
    try:
        torch.backends.fp32_precision = "tf32"
        assert torch.equal(triconv.conv2d(x, w), y)
    finally:
        torch.backends.fp32_precision = before
    assert seen
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(triconv.conv2d(x + 0.001, w), triconv.conv2d(x + 0.001, w, precision="highest"))
        narrow = triconv.conv2d(x + 0.001, w, precision="default")
    assert not torch.equal(narrow, triconv.conv2d(x + 0.001, w, precision="default"))


@pytest.mark.parametrize("channels_last", [(False, False), (True, False), (False, True), (True, True)])
@pytest.mark.parametrize("recorded", [False, True])
def test_memory_order_is_torchs(torch, given, channels_last, recorded):
    arrays = [
        a.to(memory_format=torch.channels_last if last else torch.contiguous_format).requires_grad_(recorded)
        for a, last in zip(given[:2], channels_last, strict=True)
    ]
    for _ in range(2):
        y, truth = triconv.conv2d(*arrays), torch.nn.functional.conv2d(*arrays)
        assert y.stride() == truth.stride()
        if recorded:
            for a in torch.autograd.grad(y, arrays, y.detach()):
                assert a.is_contiguous(memory_format=torch.channels_last) == any(channels_last)


@pytest.mark.parametrize("needed", [("x", "w", "b"), ("x", "w"), ("x",), ("w",), ("b",)])
@pytest.mark.parametrize("transposed", [False, True])
def test_both_cotangents_are_one_call_of_torchs(torch, needed, transposed):
    from torch.profiler import profile

    shapes = ((2, 4, 7, 8), (4, 4, 3, 2), (4,))
    arrays = {
        name: torch.tensor(a, requires_grad=name in needed) for name, a in zip("xwb", operands(*shapes), strict=True)
    }
    op = triconv.conv_transpose2d if transposed else triconv.conv2d
    like = torch.nn.functional.conv_transpose2d if transposed else torch.nn.functional.conv2d
    leaves = [arrays[name] for name in needed]
    y, truth = op(*arrays.values(), stride=2), like(*arrays.values(), stride=2)
    g = torch.arange(float(y.numel())).reshape(y.shape) % 5 - 2
    with profile() as events:
        ours = torch.autograd.grad(y, leaves, g)
    calls = sum(event.name == "aten::convolution_backward" for event in events.events())
    assert calls == int("x" in needed or "w" in needed)
    for a, b in zip(ours, torch.autograd.grad(truth, leaves, g), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("create_graph", [False, True])
@pytest.mark.parametrize("asked", ["x", "w", "b", "xb", "xwb"])
def test_a_backward_computes_what_it_is_asked_for(torch, monkeypatch, asked, create_graph):
    """All three require a gradient, as a model's parameters do where only the input's is asked for (a gradient penalty)."""
    seen, pullback = [], prepared.PreparedCall.pullback

    def spied(self, arrays, ct, needed):
        seen.append(needed)
        return pullback(self, arrays, ct, needed)

    monkeypatch.setattr(prepared.PreparedCall, "pullback", spied)
    values = operands((2, 4, 7, 8), (4, 4, 3, 2), (4,))
    arrays = {name: torch.tensor(a, requires_grad=True) for name, a in zip("xwb", values, strict=True)}
    g = torch.ones(triconv.conv2d(*arrays.values(), stride=2, padding=1).shape)
    for leaves in (arrays, {name: a * 1 for name, a in arrays.items()}):  # and what is no leaf
        results = []
        for op in (triconv.conv2d, torch.nn.functional.conv2d):
            y = op(*leaves.values(), stride=2, padding=1)
            results.append(torch.autograd.grad(y, [leaves[name] for name in asked], g, create_graph=create_graph))
        assert all(map(torch.equal, *results))
    assert seen == [tuple(name in asked for name in "xwb")] * 2
    seen.clear()
    triconv.conv2d(*arrays.values(), stride=2, padding=1).backward(g)
    assert seen == [(True, True, True)]


@pytest.mark.parametrize("algorithm", ["auto", "direct", "gemm"])
@pytest.mark.parametrize("is_expanded", [False, True])
def test_a_backward_pass_of_any_kernel_is_planned_once_for_each_signature(torch, monkeypatch, algorithm, is_expanded):
    def unprepared(*_arguments):
        raise AssertionError

    monkeypatch.setattr(prepared.Call, "run_pullback", unprepared)
    arrays = [torch.tensor(a, requires_grad=True) for a in operands()]
    truth = torch.nn.functional.conv2d(*arrays, stride=2, padding=1)
    g = torch.tensor(operands((2, 4, 1, 1) if is_expanded else truth.shape, seed=1)[0]).expand(truth.shape)
    for _ in range(2):
        y = triconv.conv(*arrays, stride=2, padding=1, algorithm=algorithm)
        ours, theirs = (torch.autograd.grad(a, arrays, g, retain_graph=True) for a in (y, truth))
        assert all(map(torch.equal, ours, theirs))


def test_a_weight_vjp_is_torchs_own_call(torch):
    x, w = (torch.tensor(a) for a in operands())
    params = {"stride": 2, "padding": 1, "algorithm": "vendor"}
    g = triconv.conv(x, w, **params)
    truth = triconv.conv_weight_vjp(g, x, kernel_size=(3, 2), **params | {"algorithm": "direct"})
    for order in (torch.contiguous_format, torch.channels_last):
        given = [a.to(memory_format=order) for a in (g, x)]
        assert torch.equal(triconv.conv_weight_vjp(*given, kernel_size=(3, 2), **params), truth)


def test_a_recorded_backward_pass_goes_by_the_rules(torch):
    """So that its own derivatives are triconv's too."""
    x, w = (torch.tensor(a, dtype=torch.float64, requires_grad=True) for a in operands())

    def twice(conv):
        (gx,) = torch.autograd.grad(conv(x, w).square().sum(), x, create_graph=True)
        return torch.autograd.grad(gx.square().sum(), (x, w))

    for ours, truth in zip(twice(triconv.conv2d), twice(torch.nn.functional.conv2d), strict=True):
        assert torch.equal(ours, truth)


@pytest.mark.parametrize(("shape", "size"), [((2, 5, 5, 18), (3, 15)), ((1, 3, 6, 5, 7), (3, 5, 2))])
def test_a_depthwise_layer_is_computed_by_whichever_of_torchs_two_is_fast(torch, shape, size):
    """A plain convolution by the transposed one and the reverse: the numbers are those of the definition."""
    x, w = (torch.tensor(a) for a in operands(shape, (shape[1], 1, *size)))
    params = {"padding": [(size[0] // 2, 2)] * len(size), "groups": shape[1]}
    forms = [row.schedule.form for row in triconv.explain(triconv.conv, x, w, **params).rows[:2]]
    assert set(forms) == {"its transposed convolution" if len(size) == 2 else "one call per phase"}
    y = triconv.conv(x, w, **params)
    assert torch.equal(y, triconv.conv(x, w, **params, algorithm="direct"))
    gx = triconv.conv_input_vjp(y, w, input_size=shape[2:], **params)
    assert torch.equal(gx, triconv.conv_input_vjp(y, w, input_size=shape[2:], **params, algorithm="direct"))


def test_parameters_are_told_apart_by_what_they_are_not_by_where(lib):
    """Calls are found again by the identity of their parameters, but not that of a list, or of a tuple in freed memory."""
    x, w = map(lib.array, operands())
    stride = [1, 1]
    shapes = []
    for step in (1, 2, 3):
        stride[:] = [step, step]
        shapes.append(triconv.conv2d(x, w, stride=stride).shape[2:])
        shapes.append(triconv.conv2d(x, w, None, tuple(stride)).shape[2:])
        shapes.append(triconv.conv2d(x, w, stride=(step, [step][0])).shape[2:])
    sizes = [
        tuple((size - taps) // step + 1 for size, taps in zip(x.shape[2:], w.shape[2:], strict=True))
        for step in (1, 2, 3)
    ]
    assert [tuple(shape) for shape in shapes] == [size for size in sizes for _ in range(3)]
    for _ in range(2):
        triconv.conv2d(x, w, stride=1)
        with pytest.raises(TypeError, match="`stride`"):
            triconv.conv2d(x, w, stride=1.0)


@pytest.mark.parametrize("pads", [[(1, 0), (2, 0)], [(0, 2), (1, 1)], [(1, 0), (1, 0)]])
def test_padding_that_differs_on_two_sides_is_one_call_of_torchs(torch, monkeypatch, pads):
    """Its own padding first, unless as much on both sides makes as many windows; the cotangents are cropped."""

    def by_steps(*_arguments):
        raise AssertionError

    monkeypatch.setattr(prepared.contractions, "run", by_steps)
    x, w = (torch.tensor(a, requires_grad=True) for a in operands())
    y = triconv.conv2d(x, w, None, 2, pads, algorithm="vendor")
    padded = torch.nn.functional.pad(x, [size for pair in reversed(pads) for size in pair])
    truth = torch.nn.functional.conv2d(padded, w, None, 2)
    assert torch.equal(y, truth)
    for leaves in ((x,), (w,), (x, w)):
        ours, theirs = (torch.autograd.grad(a, leaves, torch.ones_like(a), retain_graph=True) for a in (y, truth))
        assert all(map(torch.equal, ours, theirs))


def test_what_is_padded_for_a_forward_is_not_padded_again_for_the_weights(torch):
    from torch.profiler import profile

    x, w = (torch.tensor(a, requires_grad=True) for a in operands())
    y = triconv.conv2d(x, w, None, 1, [(2, 0), (1, 0)], algorithm="vendor")
    with profile() as events:
        torch.autograd.grad(y, w, torch.ones_like(y), retain_graph=True)
    assert not any("pad" in event.name.lower() for event in events.events())
    truth = torch.nn.functional.conv2d(torch.nn.functional.pad(x, (1, 0, 2, 0)), w)
    twice = [torch.autograd.grad(a.square().sum(), x, create_graph=True)[0].square().sum() for a in (y, truth)]
    for leaf in (x, w):
        assert torch.equal(*(torch.autograd.grad(a, leaf, retain_graph=True)[0] for a in twice))
