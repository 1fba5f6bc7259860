"""`triconv.check` on candidates whose mistake shows only as training calls them, and on right ones that look like them."""

from __future__ import annotations

import random
import threading

import numpy as np
import pytest

import triconv
from mistakes_of_memory import BROKEN, RIGHT, W, X
from triconv.checking.findings.protocol import Kind
from triconv.checking.memory.arrangements import arranged, arrangements_of, misreadings, with_equal_parts
from triconv.checking.memory.poison import BYTE, poisoned


def check(entry, request):
    framework = np if entry.framework == "numpy" else request.getfixturevalue(entry.framework)
    return triconv.check(entry.make(framework), triconv.conv2d, X, W, framework=entry.framework, **entry.params)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("entry", BROKEN, ids=lambda entry: entry.name)
def test_the_mistake_is_named(entry, request):
    report = check(entry, request)
    assert report.verdict == "wrong", str(report)
    assert report.cause in entry.causes, str(report)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("entry", RIGHT, ids=lambda entry: entry.name)
def test_what_is_right_raises_no_alarm(entry, request):
    report = check(entry, request)
    assert report.ok, str(report)


def test_a_result_in_the_memory_of_an_array_has_a_row():
    (entry,) = (entry for entry in BROKEN if "result shares memory" in entry.causes)
    report = check(entry, None)
    assert "value is returned in the memory of x" in str([row.detail for row in report.rows])


def test_a_jvp_along_one_array_alone_has_a_row(jax):
    (entry,) = (entry for entry in BROKEN if "tangent_of_the_kernel_alone" in entry.name)
    report = triconv.check(entry.make(jax), triconv.conv2d, X, W)
    assert [row.what for row in report.rows if row.verdict == "wrong"] == ["VJP of w alone", "JVP along w alone"]


def test_a_batch_along_another_axis_is_compared(torch):
    (entry,) = (entry for entry in BROKEN if "samples_of_the_input" in entry.name)
    report = triconv.check(entry.make(torch), triconv.conv2d, X, W)
    assert "with in_axes=(1, 0), sample 0 is another one than called alone" in report.summary


def test_the_first_call_of_all_is_compared():
    """It says which library a candidate is of, before any question."""
    calls = []

    def conv(x, w):
        calls.append(0)
        return triconv.conv2d(x, w) * (1 if len(calls) > 1 else 2)

    rules = triconv.Rules(conv, *(triconv.conv_input_vjp, triconv.conv_weight_vjp))
    report = triconv.check(rules, triconv.conv2d, X, W)
    assert report.cause == "depends on the call count"
    assert "the same numbers give another result in call 1 of 2" in report.summary


# ---- of any function


def relu(x):
    return np.maximum(x, 0), x


def test_a_function_that_changes_its_arrays_is_found():
    def backward(g, x):
        g *= x > 0
        return g

    report = triconv.gradcheck((relu, backward), (3, 4))
    assert report.cause == "input changed", str(report)
    assert "VJP of x changes the cotangent" in report.summary


def test_a_function_that_misreads_a_cotangent_is_found(torch):
    class Cube(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return x**3

        @staticmethod
        def backward(ctx, g):
            (x,) = ctx.saved_tensors
            memory = torch.as_strided(g, (g.numel(),), (1,), g.storage_offset())
            return 3 * x**2 * memory.view(x.shape)

    report = triconv.gradcheck(Cube, (3, 4), framework="torch")
    assert report.cause == "cotangent strides misread", str(report)
    assert "as if it were contiguous" in report.summary


def test_a_buffer_for_all_results_of_a_function_is_found():
    y = np.zeros((3, 4))
    report = triconv.gradcheck((lambda x: np.multiply(x, x, out=y), lambda g, x: 2 * g * x), (3, 4))
    assert report.cause == "result overwritten", str(report)


def test_what_may_share_memory_or_write_is_right(torch):
    for f in (lambda x: x.reshape(4, 3), torch.nn.ReLU(inplace=True), torch.nn.Tanh(), lambda x: x.mT):
        report = triconv.gradcheck(f, (3, 4), framework="torch")
        assert report.ok, str(report)


def test_a_gradient_that_cancels_is_right(torch):
    """That of a normalised batch, for the cotangent of a sum: zero but for rounding, which differs with the strides."""
    for module in (
        torch.nn.BatchNorm2d(3),
        torch.nn.GroupNorm(1, 3),
        torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3, padding=1), torch.nn.BatchNorm2d(4)),
    ):
        report = triconv.gradcheck(module, (2, 3, 4, 4))
        assert report.ok, str(report)


def test_parameters_of_a_module_are_as_it_made_them(torch):
    """Torch's batch norm of two axes misreads a weight of other strides, which no module has."""
    report = triconv.gradcheck(torch.nn.BatchNorm1d(3), (6, 3))
    assert report.ok, str(report)


# ---- how it is asked


def test_other_threads_see_no_used_memory():
    """And after it, nor does this one."""
    seen = []
    with poisoned("numpy", None, [800]):
        mine = np.empty(10**4).max()
        thread = threading.Thread(target=lambda: seen.append(bool((np.empty(10**6, np.uint8) == BYTE).all())))
        thread.start()
        thread.join()
    assert mine > 1e300
    assert not np.zeros(3).any()
    assert seen == [False]
    assert not (np.empty(10**6, np.uint8) == BYTE).all()


@pytest.mark.parametrize("framework", ["numpy", "torch"])
def test_arranged_arrays_hold_the_same_numbers(framework, request):
    plain = np.arange(1.0, 121.0).reshape(2, 3, 4, 5)
    for arrangement in arrangements_of(framework, plain.shape, is_cotangent=True):
        numbers = with_equal_parts(plain, arrangement)
        a = request.getfixturevalue("torch").tensor(numbers) if framework == "torch" else numbers.copy()
        found = arranged(a, arrangement)
        np.testing.assert_array_equal(np.asarray(found), numbers, err_msg=arrangement)
        for _, misread in misreadings(numbers, arrangement):
            assert misread.shape == numbers.shape
            assert arrangement == "starting inside its memory" or not np.array_equal(misread, numbers)


def test_generators_are_left_as_they_were(torch):
    def states():
        return random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()  # noqa: NPY002

    before = states()
    assert triconv.check(triconv.conv1d, triconv.conv1d, (2, 2, 5), (3, 2, 2)).ok
    assert states() == before


@pytest.mark.once
def test_two_checks_at_a_time_blame_nobody():
    reports = []

    def check():
        reports.extend(triconv.check(triconv.conv1d, triconv.conv1d, (2, 2, 5), (3, 2, 2)) for _ in range(3))

    threads = [threading.Thread(target=check) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(report.ok for report in reports), next(str(report) for report in reports if not report.ok)


def test_a_cotangent_that_is_refused_is_told_by_its_kind(torch):
    """Who calls a function chooses its arrays; the cotangent comes from autograd."""

    def conv(x, w):
        assert x.is_contiguous(), "x must be contiguous"
        return torch.nn.functional.conv2d(x, w)

    report = triconv.check(conv, triconv.conv2d, X, W)
    assert report.ok, str(report)
    (row,) = (row for row in report.rows if row.question.kind == Kind.ARRANGEMENTS)
    assert row.verdict == "unsupported"
    assert "raises AssertionError: x must be contiguous if x is" in row.detail


def test_terms_that_are_lost_by_chance_are_not_one_element():
    """As by atomic additions that are none: in every call, others are lost."""
    rng = np.random.default_rng(1)

    def backward(g, saved):
        x, w = saved
        gx, gw = triconv.vjp(triconv.conv2d, x, w)[1](g)
        return gx, gw - np.where(rng.random(gw.shape) < 0.02, 1, 0)

    report = triconv.check(((lambda x, w: (triconv.conv2d(x, w), (x, w))), backward), triconv.conv2d, X, W)
    assert report.cause == "nondeterministic"
    assert "VJP of w: the same numbers give another result in call" in report.summary


def test_a_batching_rule_of_a_primitive_sees_the_axis(jax):
    from jax.extend.core import Primitive
    from jax.interpreters import batching, mlir

    def conv(x, w):
        return jax.lax.conv(x, w, (1, 1), "VALID")

    def rule(args, axes):
        x, w = (a if axis is None else jax.numpy.swapaxes(a, axis, 0) for a, axis in zip(args, axes, strict=True))
        return jax.vmap(conv, [None if axis is None else 0 for axis in axes])(x, w), 0

    primitive = Primitive("conv_of_mine")
    primitive.def_impl(conv)
    primitive.def_abstract_eval(lambda x, w: jax.core.ShapedArray(jax.eval_shape(conv, x, w).shape, x.dtype))
    mlir.register_lowering(primitive, mlir.lower_fun(conv, multiple_results=False))
    batching.primitive_batchers[primitive] = rule
    report = triconv.check(lambda x, w: primitive.bind(x, w), triconv.conv2d, (2, 2, 2, 2), (2, 2, 2, 2))
    assert report.cause == "batch axis of vmap", str(report)
    assert "with in_axes=(4, 4)" in report.summary


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf:UserWarning")
def test_a_backward_that_writes_the_gradient_of_torch_itself(torch):
    """What `backward()` makes of it is twice the gradient, while `torch.autograd.grad` shows nothing."""

    def product(*, writes, returns):
        class Product(torch.autograd.Function):
            @staticmethod
            def forward(ctx, x, w):
                ctx.save_for_backward(x, w)
                return x * w

            @staticmethod
            def backward(ctx, g):
                x, w = ctx.saved_tensors
                if writes:
                    w.grad = g * x
                return g * w, g * x if returns else None

        return Product.apply

    twice = triconv.gradcheck(product(writes=True, returns=True), (3,), (3,))
    assert (twice.verdict, twice.cause) == ("wrong", "counted twice"), twice
    assert "writes into x1.grad itself, and returns it, so that backward() adds it twice" in twice.summary
    nothing = triconv.gradcheck(product(writes=True, returns=False), (3,), (3,))
    assert any("writes into x1.grad itself, and returns nothing" in row.detail for row in nothing.rows), nothing
    assert triconv.gradcheck(product(writes=False, returns=True), (3,), (3,)).ok


def test_one_call_that_is_wrong_is_not_blamed_on_the_batch_size():
    seen = []

    def forward(x, w):
        y = triconv.conv2d(x, w)
        if len(x) == 1 and not seen:
            seen.append(True)
            y = y + 1
        return y, (x, w)

    pair = forward, lambda g, saved: triconv.vjp(triconv.conv2d, *saved)[1](g)
    report = triconv.check(pair, triconv.conv2d, X, W)
    assert report.cause == "depends on the call count", str(report)
    assert "after some calls the same numbers give another result than before" in report.summary


def test_what_is_kept_of_the_call_before_is_no_chance(torch):
    class Stream(torch.nn.Conv1d):
        """It takes the end of the call before for the padding."""

        last = None

        def forward(self, x):
            before = torch.zeros_like(x[..., :2]) if self.last is None else self.last
            self.last = x[..., -2:].detach()
            return super().forward(torch.cat([before, x], 2))

    report = triconv.check(Stream(2, 3, 3), triconv.conv1d, (2, 2, 9), padding=((2, 0),))
    assert report.cause == "stale cache"
    assert "it depends on the numbers of the call before" in report.summary


def test_plain_arrays_of_any_layout_are_contiguous():
    def assumed(x, w):  # as of an array in C order
        (_, length, channels), size = x.shape, x.itemsize
        steps = length * channels * size, channels * size, channels * size, size
        shape = len(x), length - len(w) + 1, len(w), channels
        return np.einsum("notc,tck->nok", np.lib.stride_tricks.as_strided(x, shape, steps), w)

    report = triconv.check(assumed, triconv.conv1d, (2, 6, 3), (3, 3, 4), layout="NWC,WIO->NWC")
    assert report.cause == "operand strides misread"
    assert report.rows[0].verdict == "right"
