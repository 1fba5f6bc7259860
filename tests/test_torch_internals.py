"""Canaries: each internal of torch that triconv uses is where it was, and does what triconv needs.

A canary that fails names what moved and what triconv needs it for. One file of `src` uses internals, so one file changes.
"""

from __future__ import annotations

import pytest

from internals import Canaries, users

HOME = "backends/torch_internals.py"
canaries = Canaries()
about = canaries.about

pytestmark = pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning")


@pytest.mark.once
def test_one_file_uses_what_is_internal_to_torch():
    assert set(users("torch")) == {HOME}


def test_every_internal_of_torch_that_is_used_has_a_canary():
    used = users("torch")[HOME]
    assert len(used) > 10
    assert used - set(canaries) == set()


def seen_by(transform, ask, torch):
    """What `ask` answers while a transform runs a function of one tensor."""
    answers = []

    def f(a):
        answers.append(ask(a))
        return (a * a).sum()

    transform(f, torch.ones(3))
    return answers[0]


def transforms(torch):
    """Each transform that triconv tells from the others: runs a function with a tensor."""
    forward_ad = torch.autograd.forward_ad

    def forward(f, a):
        with forward_ad.dual_level():
            f(forward_ad.make_dual(a, a))

    return {
        "none": lambda f, a: f(a),
        "grad": lambda f, a: torch.func.grad(f)(a),
        "vmap": lambda f, a: torch.vmap(f)(torch.stack([a, a])),
        "jvp": lambda f, a: torch.func.jvp(f, (a,), (a,)),
        "jvp of jvp": lambda f, a: torch.func.jvp(lambda b: torch.func.jvp(f, (b,), (a,))[1], (a,), (a,)),
        "functionalize": lambda f, a: torch.func.functionalize(f)(a),
        "trace": lambda f, a: torch.jit.trace(f, (a,), check_trace=False),
        "forward mode": forward,
    }


def answers(torch, ask):
    """What `ask` answers under each transform."""
    return {name: seen_by(transform, ask, torch) for name, transform in transforms(torch).items()}


@about("torch._C._get_tracing_state", "torch.jit.trace, which takes no autograd function and no list of bools")
def _(torch):
    states = answers(torch, lambda a: torch._C._get_tracing_state() is not None)
    assert [name for name, traced in states.items() if traced] == ["trace"]


@about("torch._C._functorch.peek_interpreter_stack", "torch.func, under which nothing is written in place")
def _(torch):
    from torch._C._functorch import peek_interpreter_stack

    states = answers(torch, lambda a: peek_interpreter_stack() is not None)
    assert {name for name, running in states.items() if running} == {
        "grad",
        "vmap",
        "jvp",
        "jvp of jvp",
        "functionalize",
    }


@about(
    "torch._C._functorch.get_interpreter_stack", "the transforms of torch.func that run, of which some drop derivatives"
)
@about("torch._C._functorch.TransformType.Jvp", "forward mode over forward mode, which drops mixed derivatives")
@about("torch._C._functorch.TransformType.Functionalize", "torch.func.functionalize, which takes no autograd function")
def _(torch):
    from torch._C._functorch import TransformType, get_interpreter_stack

    keys = answers(torch, lambda a: [level.key() for level in get_interpreter_stack() or ()])
    assert {name: found.count(TransformType.Jvp) for name, found in keys.items() if TransformType.Jvp in found} == {
        "jvp": 1,
        "jvp of jvp": 2,
    }
    assert [name for name, found in keys.items() if TransformType.Functionalize in found] == ["functionalize"]
    assert keys["none"] == keys["trace"] == []


@about("torch._C._get_fp32_precision_getter", "the user's flag for float32 products, which each call reads")
def _(torch):
    flags = torch.backends.mkldnn.conv
    before = flags.fp32_precision
    try:
        for level in ("ieee", "bf16", "none"):
            flags.fp32_precision = level
            assert torch._C._get_fp32_precision_getter(flags.backend, flags.op) == flags.fp32_precision
    finally:
        flags.fp32_precision = before


@about("torch._C._functorch.unwrap_if_dead", "a tensor of torch.func that outlived its transform, given to an operator")
def _(torch):
    """`Function.apply` unwraps those too; triconv calls what is below it."""
    from torch._C._functorch import is_functorch_wrapped_tensor, unwrap_if_dead

    import triconv

    kept, x, w = [], torch.ones(1, 1, 3, requires_grad=True), torch.ones(1, 1, 2, requires_grad=True)

    def f(a):
        kept.append(a)
        return (a * a).sum()

    torch.func.grad(f)(x)
    assert is_functorch_wrapped_tensor(kept[0])
    assert not is_functorch_wrapped_tensor(unwrap_if_dead(kept[0]))
    assert unwrap_if_dead(x) is x
    y, truth = triconv.conv1d(kept[0], w), torch.conv1d(kept[0], w)
    assert not is_functorch_wrapped_tensor(y)
    for ours, theirs in zip(
        torch.autograd.grad(y.sum(), [x, w]), torch.autograd.grad(truth.sum(), [x, w]), strict=True
    ):
        assert torch.equal(ours, theirs)


@about("torch._C._functorch.is_legacy_batchedtensor", "is_grads_batched=True, whose tensors have no slices")
def _(torch):
    from torch._C._functorch import is_legacy_batchedtensor

    seen = []

    class Double(torch.autograd.Function):
        @staticmethod
        def forward(ctx, a):
            return 2 * a

        @staticmethod
        def backward(ctx, ct):
            seen.append(is_legacy_batchedtensor(ct))
            return 2 * ct

    a = torch.ones(3, requires_grad=True)
    torch.autograd.grad(Double.apply(a), a, torch.eye(3), is_grads_batched=True)
    torch.autograd.grad(Double.apply(a), a, torch.ones(3))
    assert seen == [True, False]
    assert not any(answers(torch, is_legacy_batchedtensor).values())


@about("torch.autograd.forward_ad._current_level", "forward mode, in which a view in between would lose its tangent")
def _(torch):
    levels = answers(torch, lambda a: torch.autograd.forward_ad._current_level >= 0)
    assert {name for name, is_open in levels.items() if is_open} == {"jvp", "jvp of jvp", "forward mode"}


@about("torch._C._len_torch_dispatch_stack", "modes that replay operations, under which nothing is written in place")
@about(
    "torch.utils._python_dispatch.TorchDispatchMode", "triconv.check, which listens for operators without derivatives"
)
def _(torch):
    from torch.utils._python_dispatch import TorchDispatchMode

    seen = []

    class Listener(TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            seen.append((func.namespace, func.name()))
            return func(*args, **(kwargs or {}))

    assert torch._C._len_torch_dispatch_stack() == 0
    with Listener():
        assert torch._C._len_torch_dispatch_stack() == 1
        torch.ones(2) + 1
    assert ("aten", "aten::add.Tensor") in seen


@about("torch._C._len_torch_function_stack", "modes of functions, under which nothing is written in place")
def _(torch):
    from torch.overrides import TorchFunctionMode

    assert torch._C._len_torch_function_stack() == 0
    with TorchFunctionMode():
        assert torch._C._len_torch_function_stack() == 1


@about("torch._C._is_any_autocast_enabled", "autocast, under which a call is not torch's own convolution as it is")
def _(torch):
    assert not torch._C._is_any_autocast_enabled()
    for kind in ("cpu", "cuda"):
        with torch.autocast(kind, dtype=torch.bfloat16, enabled=kind == "cpu" or torch.cuda.is_available()):
            assert torch._C._is_any_autocast_enabled() == torch.is_autocast_enabled(kind)


@about(
    "torch._dynamo.nonstrict_trace", "torch.compile, which traces an operator with tensors and does not read its Python"
)
def _(torch):
    from torch._dynamo import nonstrict_trace

    asked = []

    @nonstrict_trace
    def scaled(name, a, *, by):
        asked.append((name, torch.compiler.is_dynamo_compiling()))
        return a * len(asked.__getitem__(0)[0]) * by  # what Dynamo could not read

    torch.compiler.reset()
    compiled = torch.compile(lambda a: scaled("abc", a, by=2) + 1, fullgraph=True, backend="aot_eager")
    assert torch.equal(compiled(torch.ones(2)), torch.full((2,), 7.0))
    assert asked[0] == ("abc", False)


@about(
    "torch.fx.experimental.symbolic_shapes.statically_known_true",
    "dynamic sizes, which triconv compares without a guard",
)
def _(torch):
    from torch.fx.experimental.symbolic_shapes import statically_known_true

    seen = []

    class Module(torch.nn.Module):
        def forward(self, a):
            n = a.shape[0]
            seen.append([statically_known_true(claim) for claim in (n + 1 - 1 == n, n == 4, n * 0 == 1)])
            return a + 1

    torch.export.export(Module(), (torch.ones(4, 2),), dynamic_shapes=({0: torch.export.Dim("n")},), strict=False)
    assert seen == [[True, False, False]]
    assert statically_known_true(True)
    assert not statically_known_true(False)


@about("torch.ops.mkldnn._is_mkldnn_bf16_supported", "bfloat16 on a CPU, where oneDNN takes it with sums in float32")
def _(torch):
    assert isinstance(torch.ops.mkldnn._is_mkldnn_bf16_supported(), bool)
    assert isinstance(torch.backends.mkldnn.is_available(), bool)
    assert isinstance(torch.backends.mkldnn.enabled, bool)


@about("torch.ops.aten._convolution", "cuDNN's convolution without TF32: the last argument says so in the call")
def _(torch):
    arguments = [argument.name for argument in torch.ops.aten._convolution.default._schema.arguments]
    assert arguments == [
        *("input", "weight", "bias", "stride", "padding", "dilation", "transposed", "output_padding", "groups"),
        *("benchmark", "deterministic", "cudnn_enabled", "allow_tf32"),
    ]
    cudnn, x, w = torch.backends.cudnn, torch.arange(6.0).reshape(1, 1, 6), torch.ones(1, 1, 3)
    y = torch.ops.aten._convolution(
        x, w, None, [2], [1], [1], False, [0], 1, cudnn.benchmark, cudnn.deterministic, cudnn.enabled, False
    )
    assert torch.equal(y, torch.conv1d(x, w, None, 2, 1))


@about("torch._C._will_engine_execute_node", "cotangents that nobody asked for, which are not computed")
def _(torch):
    from triconv.backends import torch_internals

    seen, x, w = [], torch.ones(1, requires_grad=True), torch.ones(1, requires_grad=True)

    class Product(torch.autograd.Function):
        @staticmethod
        def forward(ctx, a, b):
            ctx.save_for_backward(a, b)
            return a * b

        @staticmethod
        def backward(ctx, g):
            seen.append(torch_internals.asked_for(ctx, ctx.needs_input_grad))
            a, b = ctx.saved_tensors
            return g * b, g * a

    torch.autograd.grad(Product.apply(x, w), x)
    torch.autograd.grad(Product.apply(x * 1, w), x)
    Product.apply(x, w).backward()
    Product.apply(x, w).backward(inputs=[w])
    assert seen == [(True, False), (True, False), (True, True), (False, True)]


@about("torch.Tensor._is_view", "a result that is a view, in which users could not write")
def _(torch):
    a = torch.ones(2, 3)
    assert not a._is_view()
    assert a.T._is_view()
    assert not a.T.detach()._is_view()


@about("torch._C._current_graph_task_id", "one backward told from another: torch is asked once in each that trains")
def _(torch):
    import triconv

    ids, asked, ask = [], [], torch._C._will_engine_execute_node
    x, ws = torch.ones(1, 1, 9, requires_grad=True), [torch.ones(1, 1, 2, requires_grad=True) for _ in range(4)]

    def counted(node):
        ids.append(torch._C._current_graph_task_id())
        asked.append(node.name())
        return ask(node)

    def layers():
        y = x * 1
        for w in ws:
            y = triconv.conv1d(y, w)
        return y.sum()

    torch._C._will_engine_execute_node = counted
    try:
        for wanted, leaves in (
            (ws, 1),
            (ws[:1], 4),
            (ws, 1),
        ):  # the first layer's alone: those after it answer without an error
            y = layers()
            asked.clear()
            torch.autograd.grad(y, wanted)
            assert sum("AccumulateGrad" in name for name in asked) == leaves
    finally:
        torch._C._will_engine_execute_node = ask
    assert len(set(ids)) == 3
    assert torch._C._current_graph_task_id() == -1


@pytest.mark.parametrize("internal", canaries)
def test_canary(torch, internal):
    canaries.run(internal, torch)
