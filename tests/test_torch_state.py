"""What torch keeps beside its tensors: buffers that a tracer holds, flags of the process, threads, subclasses, symbols."""

from __future__ import annotations

import io
import threading

import numpy as np
import pytest

import triconv

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning", "ignore::FutureWarning")
ALGORITHMS = ("direct", "gemm", "depthwise", "vendor")
MODES = ("zeros", "reflect", "replicate", "circular")
PARAMS = {"stride": 2, "padding": 1, "groups": 2}


@pytest.fixture
def given(torch):
    draw = torch.Generator().manual_seed(0)
    return [torch.randint(-3, 4, s, generator=draw).float() for s in ((2, 4, 7, 6), (6, 2, 3, 2))]


@pytest.mark.covering(1)
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_linear_function_does_not_add_to_its_last_result(torch, given, algorithm, mode):
    y, tangent = torch.func.linearize(
        lambda x, w: triconv.conv2d(x, w, **PARAMS, algorithm=algorithm, padding_mode=mode), *given
    )
    assert all(torch.equal(tangent(*given), 2 * y) for _ in range(3))


@pytest.mark.covering(2)
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("tracing_mode", ["real", "fake"])
def test_a_graph_gives_the_same_each_time(torch, given, algorithm, mode, tracing_mode):
    from torch.fx.experimental.proxy_tensor import make_fx

    def gradients(x, w):
        return torch.func.grad(
            lambda x, w: (triconv.conv2d(x, w, **PARAMS, algorithm=algorithm, padding_mode=mode) ** 2).sum(), (0, 1)
        )(x, w)

    graph, (x, w) = make_fx(gradients, tracing_mode=tracing_mode)(*given), given
    for factor in (1, 2, 2):
        for ours, truth in zip(graph(factor * x, w), gradients(factor * x, w), strict=True):
            assert torch.equal(ours, truth)
    assert not [node for node in graph.graph.nodes if str(node.target).split(".")[-2:-1] == ["add_"]]


@pytest.mark.filterwarnings("ignore::Warning")  # TracerWarning, whose name is of torch: sizes become constants
@pytest.mark.parametrize("function", ["conv2d", "conv_transpose2d"])
def test_a_traced_module_is_saved_and_loaded(torch, given, function):
    class Module(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.w = torch.nn.Parameter(given[1][:4].clone())

        def forward(self, x):
            return getattr(triconv, function)(x, self.w, padding=1, groups=2)

    x, file = given[0], io.BytesIO()
    torch.jit.save(torch.jit.trace(Module(), x), file)
    file.seek(0)
    loaded = torch.jit.load(file)
    truth = getattr(torch.nn.functional, function)(2 * x, given[1][:4], padding=1, groups=2)
    for _ in range(3):
        y = loaded(2 * x)
        assert torch.equal(y, truth)
    y.sum().backward()
    assert next(loaded.parameters()).grad.shape == (4, 2, 3, 2)


def test_a_symbolic_tracer_takes_an_operator_as_a_whole(torch, given):
    x, w = given
    graph = torch.fx.symbolic_trace(lambda x, w: triconv.conv2d(x, w=w, groups=2).relu())
    assert [node.target for node in graph.graph.nodes if node.op == "call_function"] == [triconv.conv2d]
    assert torch.equal(graph(x, w), torch.nn.functional.conv2d(x, w, groups=2).relu())


def test_a_subclass_is_kept(torch, given):
    class Mine(torch.Tensor):
        pass

    x, w = given
    for arrays in ((x.as_subclass(Mine), w), (x, w.as_subclass(Mine))):
        y = triconv.conv2d(*arrays, groups=2)
        assert type(y) is type(torch.nn.functional.conv2d(*arrays, groups=2)) is Mine
    assert type(triconv.conv2d(x, torch.nn.Parameter(w), groups=2)) is torch.Tensor


def test_a_function_mode_sees_an_operator(torch, given):
    from torch.overrides import TorchFunctionMode

    seen = []

    class Mode(TorchFunctionMode):
        def __torch_function__(self, func, types, args=(), kwargs=None):
            seen.append(func)
            return func(*args, **kwargs or {})

    with Mode():
        y = triconv.conv2d(*given, groups=2)
    assert triconv.conv2d in seen
    assert torch.equal(y, triconv.conv2d(*given, groups=2))


def test_other_transforms_are_taken(torch, given):
    x, w = given
    theirs = torch.nn.functional.conv2d
    truth = theirs(x, w, groups=2)
    assert torch.equal(torch.func.functionalize(lambda x: triconv.conv2d(x, w, groups=2))(x), truth)

    def jacobians(x, conv=triconv.conv2d):
        return torch.func.vmap(torch.func.jacfwd(lambda x: conv(x[None], w, groups=2)))(x)

    torch.compiler.reset()
    assert torch.equal(torch.compile(jacobians, fullgraph=True, backend="aot_eager")(x), jacobians(x, theirs))


@pytest.mark.parametrize("algorithm", [pytest.param("direct", marks=pytest.mark.slow), "gemm", "vendor"])
def test_kernels_of_many_taps_are_traced(torch, algorithm):
    """Where each window starts is known, not read from a tensor."""
    x, w = (torch.arange(float(n)).remainder(5).reshape(1, 1, n) for n in (150, 70))
    torch.compiler.reset()
    conv = torch.compile(
        lambda x, w: triconv.conv1d(x, w, algorithm=algorithm), fullgraph=True, backend="aot_eager", dynamic=False
    )
    x.requires_grad_()
    y = conv(x, w)
    assert torch.equal(y, torch.nn.functional.conv1d(x, w))
    y.sum().backward()
    assert x.grad.sum() == w.sum() * y.numel()
    assert triconv.conv1d(x.to("meta"), w.to("meta"), algorithm=algorithm).shape == y.shape


def test_what_has_no_strides_is_refused(torch, given):
    x, w = given
    with pytest.raises(
        TypeError, match=r"`w` must be a dense tensor, got one of layout torch.sparse_coo; give its to_dense\(\)"
    ):
        triconv.conv2d(x, w.to_sparse(), groups=2)
    with pytest.raises(TypeError, match="`x` must be a dense tensor, got a nested one; give"):
        triconv.conv2d(torch.nested.nested_tensor(list(x)), w, groups=2)


def test_keywords_of_torch_are_taken(torch, given):
    x, w = given
    y = triconv.conv2d(input=x, weight=w, groups=2)
    assert torch.equal(y, torch.nn.functional.conv2d(input=x, weight=w, groups=2))
    assert triconv.conv_transpose2d(x.numpy(), weight=w[:4].numpy()).shape == (2, 2, 9, 7)
    with pytest.raises(TypeError, match="multiple values for argument 'x'"):
        triconv.conv2d(x, w, input=x)


PRODUCTS = ("mm", "bmm", "addmm", "convolution", "convolution_backward")


def flags(torch):
    return [module.fp32_precision for module in flagged(torch)]


def flagged(torch):
    backends = torch.backends
    return backends, backends.mkldnn.matmul, backends.mkldnn.conv, backends.cuda.matmul, backends.cudnn.conv


@pytest.fixture
def general_flag(torch):
    """torch's general flag of float32 products, given back as it was."""
    before = torch.backends.fp32_precision
    yield torch.backends
    torch.backends.fp32_precision = before


def test_an_inherited_flag_stays_inherited(torch, given, general_flag):
    def inheriting():
        seen = []
        for level in ("tf32", "ieee"):
            general_flag.fp32_precision = level
            seen.append([flag == level for flag in flags(torch)])
        return [all(pair) for pair in zip(*seen, strict=True)]

    before = inheriting()  # another test may have set some
    assert any(before[1:])
    general_flag.fp32_precision = "tf32"
    triconv.conv2d(*given, groups=2)
    assert inheriting() == before


def test_no_flag_changes_while_several_threads_call(torch, given, general_flag, monkeypatch):
    """Looked at within each product, where a flag would be set."""
    general_flag.fp32_precision = "tf32"
    before, seen, meet, plain = flags(torch), [], threading.Barrier(3), torch.matmul

    def watched(*args, **kwargs):
        meet.wait(10)
        seen.append(flags(torch))
        return plain(*args, **kwargs)

    monkeypatch.setattr(torch, "matmul", watched)

    def call(precision):
        triconv.conv2d(*(a[:, :, :2, :2] for a in given), groups=2, algorithm="direct", precision=precision)

    threads = [threading.Thread(target=call, args=(p,)) for p in ("highest", "default", "highest")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen
    assert all(now == before for now in [*seen, flags(torch)])


def test_products_are_not_narrowed(torch, general_flag, monkeypatch):
    """Where flags let torch narrow them, they are products of doubles."""
    from triconv.backends import torch_products

    general_flag.fp32_precision = "tf32"
    products, plain = [], torch.matmul
    monkeypatch.setattr(torch, "matmul", lambda a, b: products.append(a.dtype) or plain(a, b))
    x, w = torch.ones(1, 1, 5), torch.ones(1, 1, 3)
    assert torch_products.is_narrowed("conv", x)
    for algorithm in ("direct", "gemm"):
        assert triconv.conv1d(x, w, algorithm=algorithm).dtype == torch.float32
    assert set(products) == {torch.float64}
    products.clear()
    triconv.conv1d(x, w, algorithm="direct", precision="default")
    assert set(products) == {torch.float32}


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning")
@pytest.mark.parametrize("algorithm", ["gemm", "vendor"])
@pytest.mark.parametrize(("precision", "wide"), [("highest", True), ("default", False)])
def test_a_compiled_program_has_the_precision_that_is_asked_for(
    torch, given, general_flag, monkeypatch, algorithm, precision, wide
):
    """Value and gradients, under a flag that narrows: "highest" is compiled into products of doubles, "default" is not."""
    general_flag.fp32_precision = "tf32"
    seen = {}

    def keep(graph, inputs):
        for node in graph.graph.nodes:
            if str(node.target).split(".")[0] == "aten" and (kind := str(node.target).split(".")[1]) in PRODUCTS:
                seen.setdefault(kind, set()).update(a.meta["val"].dtype for a in node.all_input_nodes[:2])
        return graph

    from torch._dynamo.backends.common import aot_autograd

    torch.compiler.reset()
    x, w = (a.clone().requires_grad_() for a in given)
    call = lambda x, w: triconv.conv2d(x, w, **PARAMS, algorithm=algorithm, precision=precision)  # noqa: E731
    y = torch.compile(call, fullgraph=True, backend=aot_autograd(fw_compiler=keep))(x, w)
    found = y, *torch.autograd.grad(y, (x, w), y.detach())
    assert seen
    assert set().union(*seen.values()) == {torch.float64 if wide else torch.float32}
    y = torch.nn.functional.conv2d(x, w, **PARAMS)
    for ours, truth in zip(found, (y, *torch.autograd.grad(y, (x, w), y.detach())), strict=True):
        assert torch.equal(ours, truth)


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize(
    "params",
    [
        {"stride": 2, "padding": 1},
        {"dilation": 2, "padding": 2},
        {"stride": (3, 2), "padding": (1, 0)},
        {"stride": 2, "padding": [(1, 2), (0, 3)]},
    ],
)
def test_convolutions_that_are_told_not_to_use_tf32_are_exact(torch, given, monkeypatch, params, compiled):
    """As on CUDA, run by the CPU, with the weight VJP as a convolution: exact."""
    from triconv.backends import torch_internals, torch_products
    from triconv.operators import prepared

    def three(x, w, algorithm):
        y = triconv.conv(x, w, groups=2, algorithm=algorithm, **params)
        g = y.detach().remainder(5) - 2
        return y, *torch.autograd.grad(y, (x, w), g)

    x, w = (a.requires_grad_() for a in given)
    truth = three(x, w, "direct")
    used, plain = [], torch_internals.convolution_without_tf32
    monkeypatch.setattr(torch_products, "_has_switch", lambda array: True)
    monkeypatch.setattr(torch_products, "_narrowing", lambda *_arguments: lambda: True)
    prepared.slot.cache_clear()
    monkeypatch.setattr(torch_internals, "convolution_without_tf32", lambda *args: used.append(args) or plain(*args))
    if compiled:
        torch.compiler.reset()
        conv = torch.compile(
            lambda x, w: triconv.conv(x, w, groups=2, algorithm="vendor", **params), fullgraph=True, backend="aot_eager"
        )
        y = conv(x, w)
        found = y, *torch.autograd.grad(y, (x, w), y.detach().remainder(5) - 2)
    else:
        found = three(x, w, "vendor")
    assert len(used) >= 3
    for ours, right in zip(found, truth, strict=True):
        assert torch.equal(ours, right)


def test_parameters_as_text_lead_back(torch):
    from triconv.autodiff import torch_functions as binding
    from triconv.geometry import Geometry

    for params in (
        {
            "geometry": Geometry.of((5, 6), (3, 2), padding=1, stride=(2, 1), groups=2),
            "algorithm": "gemm",
            "dtype": None,
        },
        {"geometry": Geometry.of((), ()), "precision": "default", "dtype": torch.bfloat16},
        {"mode": "reflect", "pads": ((1, 2), (0, 1))},
    ):
        assert dict(binding._read(binding.written(params))) == params
    assert binding._read.cache_info().maxsize


def test_threads_get_batched_gradients_of_their_own_geometries(torch):
    """Each gets its own; nothing that is kept grows without bound."""
    meet, wrong = threading.Barrier(4), []

    def run(first):
        meet.wait(10)
        for taps in range(first, first + 6):
            x, w = torch.arange(40.0).reshape(1, 1, 40).requires_grad_(), torch.ones(1, 1, taps)
            y = triconv.conv1d(x, w)
            g = torch.eye(y.shape[-1])[:3, None, None]
            (gx,) = torch.autograd.grad(y, x, g, is_grads_batched=True)
            truth = [np.r_[np.zeros(n), np.ones(taps), np.zeros(40 - taps - n)] for n in range(3)]
            if not np.array_equal(gx[:, 0, 0], truth):
                wrong.append(taps)

    threads = [threading.Thread(target=run, args=(first,)) for first in (1, 7, 13, 19)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_distributed_tensors_are_taken(torch, given, tmp_path):
    """Replicated or sharded over the batch, of a group of one process."""
    from torch.distributed import device_mesh
    from torch.distributed.tensor import DTensor, Replicate, Shard, distribute_tensor

    x, w = given
    torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path / 'store'}", rank=0, world_size=1)
    try:
        mesh = device_mesh.init_device_mesh("cpu", (1,))
        for placement in (Replicate(), Shard(0)):
            for algorithm in ALGORITHMS:
                dx, dw = (distribute_tensor(a, mesh, [p]) for a, p in ((x, placement), (w, Replicate())))
                y = triconv.conv2d(dx, dw, **PARAMS, algorithm=algorithm)
                assert isinstance(y, DTensor)
                assert torch.equal(y.full_tensor(), torch.nn.functional.conv2d(x, w, **PARAMS))
    finally:
        torch.distributed.destroy_process_group()
