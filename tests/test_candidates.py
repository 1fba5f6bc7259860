"""What may be handed to `triconv.check`: whose arrays it takes, which derivatives it has, and what it must not hide."""

from __future__ import annotations

import functools
import subprocess
import sys
import textwrap
import types

import numpy as np
import pytest

import triconv
from triconv.checking.candidates.candidates import framework_of
from triconv.checking.candidates.unsupported import is_unsupported
from triconv.checking.findings.findings import EqualOnIntegers
from triconv.checking.findings.protocol import EXIT_STATUS, RIGHT, Kind, Proof, Question
from triconv.checking.findings.unanswered import Ability
from triconv.checking.reports.report import Report
from triconv.checking.reports.report_data import ReportRow

SHAPES = (2, 3, 6, 5), (4, 3, 3, 2)


def check(candidate, **options):
    return triconv.check(candidate, triconv.conv2d, *SHAPES, **options)


def row_of(report, what):
    """The row of a question, by its words."""
    (row,) = (row for row in report.rows if row.what == what)
    return row


def by_numpy(x, w):
    windows = np.lib.stride_tricks.sliding_window_view(x, w.shape[2:], (2, 3))
    return np.einsum("nchwij,kcij->nkhw", windows, w)


def rules(forward=by_numpy, **more):
    """Right rules around a forward on NumPy."""
    right = {
        "input_vjp": lambda g, w: triconv.conv_input_vjp(g, w, input_size=SHAPES[0][2:]),
        "weight_vjp": lambda g, x: triconv.conv_weight_vjp(g, x, kernel_size=SHAPES[1][2:]),
    }
    return triconv.Rules(forward, **right | more)


def by_lax(jax):
    return lambda x, w: jax.lax.conv(x, w, (1, 1), "VALID")


def with_backward(jax, backward, forward=None):
    """lax's convolution as a `custom_vjp`; `backward` takes the right pullback, what was saved, and the cotangent."""
    right = by_lax(jax)
    conv = jax.custom_vjp(lambda x, w: right(x, w))
    conv.defvjp(
        forward or (lambda x, w: (right(x, w), (x, w))),
        lambda saved, g: backward(lambda g: jax.vjp(right, *saved)[1](g), saved, g),
    )
    return conv


def zero_input_gradient(jax):
    return with_backward(jax, lambda vjp, saved, g: (0 * saved[0], vjp(g)[1]))


def function_of(torch, backward, *, once=False, modern=False, **methods):
    """The class of an autograd function with torch's convolution and this backward pass."""

    def forward(ctx, x, w):
        ctx.save_for_backward(x, w)
        return torch.nn.functional.conv2d(x, w)

    def back(ctx, g):
        return backward(*ctx.saved_tensors, g)

    made = {"forward": forward, "backward": torch.autograd.function.once_differentiable(back) if once else back}
    if modern:
        made["forward"] = lambda x, w: torch.nn.functional.conv2d(x, w)
        made["setup_context"] = lambda ctx, inputs, output: ctx.save_for_backward(*inputs)
    return type("Convolution", (torch.autograd.Function,), {n: staticmethod(f) for n, f in {**made, **methods}.items()})


def gradients(torch, x, w, g):
    return torch.nn.grad.conv2d_input(x.shape, w, g), torch.nn.grad.conv2d_weight(x, w.shape, g)


# ---- the framework


def test_a_jax_function_behind_a_name_is_asked_for_its_gradient(jax):
    """A module, a namespace in one, a method, a partial: all of them would take NumPy's arrays without a warning."""
    ops = types.ModuleType("ops")
    ops.conv = zero_input_gradient(jax)
    package = types.SimpleNamespace(ops=ops)

    class Layer:
        def __init__(self):
            self.conv = ops.conv

        def run(self, x, w):
            return self.conv(x, w)

        def __call__(self, x, w):
            return self.conv(x, w)

    candidates = (
        lambda x, w: ops.conv(x, w),
        lambda x, w: package.ops.conv(x, w),
        lambda x, w, conv=ops.conv: conv(x, w),
        functools.partial(lambda flag, x, w: ops.conv(x, w), None),
        Layer(),
        Layer().run,
        triconv.Rules(lambda x, w: ops.conv(x, w)),
    )
    assert [framework_of(candidate) for candidate in candidates] == ["jax"] * len(candidates)
    report = check(candidates[1])
    assert (report.framework, report.verdict, report.cause) == ("jax", "wrong", "detached"), str(report)
    assert next(row.what for row in report.rows if row.verdict == "wrong") == "VJP of x"


def test_what_it_returns_says_whose_it_is(jax, torch):
    """Where no name tells."""
    box = {"jax": with_backward(jax, lambda vjp, saved, g: vjp(g)), "torch": torch.conv2d}
    for name in box:
        candidate = eval("lambda x, w: box[name](x, w)", {"box": box, "name": name})
        assert framework_of(candidate) == "numpy"
        report = check(candidate)
        assert (report.framework, report.verdict) == (name, "right")


def test_objects_of_equinox_and_flax_are_of_jax(jax):
    equinox, nnx = pytest.importorskip("equinox"), pytest.importorskip("flax.nnx")
    zero = zero_input_gradient(jax)

    class Equinox(equinox.Module):
        scale: float = 1.0

        def __call__(self, x, w):
            return zero(x, w) * self.scale

    class Flax(nnx.Module):
        def __call__(self, x, w):
            return zero(x, w)

    for layer in (Equinox(), Flax()):
        for candidate in (layer, lambda x, w, layer=layer: layer(x, w), layer.__call__):
            assert framework_of(candidate) == "jax"
    assert check(lambda x, w: layer(x, w)).cause == "detached"


def test_functions_written_in_c_are_of_torch(torch):
    def imports(x, w):
        from torch.nn import functional

        return functional.conv2d(x, w)

    function = function_of(torch, lambda x, w, g: gradients(torch, x, w, g))
    asked = (functools.partial(torch.conv2d, stride=1), torch.ops.aten.conv2d, function.apply, imports)
    for candidate in (
        *asked,
        torch.nn.functional.conv2d,
        torch.conv2d,
        functools.partial(torch.nn.functional.conv2d, padding=0),
        lambda x, w: function.apply(x, w),
    ):
        assert framework_of(candidate) == "torch"
    for candidate in asked:
        assert check(candidate).ok
    assert framework_of(torch._C._nn.gelu) == "torch"
    assert framework_of(torch.Tensor.add) == "torch"


def test_neutral_names_say_nothing(torch):
    assert framework_of(lambda x, w: triconv.conv2d(x, w)) == "numpy"
    assert framework_of(lambda x, w: np.asarray(by_numpy(x, w))) == "numpy"
    assert framework_of(triconv.conv2d) == "numpy"
    assert framework_of(sum) == "numpy"


def test_triconv_bound_to_a_library_is_of_that_library(jax, torch):
    for name in ("jax", "torch"):
        report = check(triconv.use(name).conv2d)
        assert (report.framework, report.verdict) == (name, "right")


def test_code_that_converts_numpys_arrays_itself_is_numpys(torch):
    def conv(x, w):
        return torch.conv2d(torch.from_numpy(x), torch.from_numpy(w)).numpy()

    report = check(conv)
    assert (report.framework, report.verdict) == ("numpy", "unchecked")
    assert row_of(report, "value").verdict == "right"


# ---- right needs a derivative


def test_a_value_alone_is_unchecked():
    report = check(by_numpy)
    assert (report.verdict, report.ok, EXIT_STATUS[report.verdict]) == ("unchecked", False, 2)
    assert "right: value only, no derivative was asked" in report.summary
    assert "triconv.Rules(forward, input_vjp, weight_vjp)" in report.summary
    assert "right: value only, no derivative was asked" in check(triconv.Rules(by_numpy)).summary
    assert check(lambda x, w: -by_numpy(x, w)).cause == "sign"


def test_one_derivative_is_enough():
    assert check(triconv.Rules(by_numpy, input_vjp=rules().input_vjp)).ok
    assert check(triconv.Rules(by_numpy, weight_vjp=rules().weight_vjp)).ok


def test_triconvs_own_operators_have_their_rules_on_numpy():
    for candidate, params in (
        (triconv.conv2d, {}),
        (functools.partial(triconv.conv2d, stride=2, padding=1), {"stride": 2, "padding": 1}),
    ):
        report = triconv.check(candidate, triconv.conv2d, *SHAPES, (4,), **params)
        assert (report.framework, report.verdict) == ("numpy", "right"), str(report)
        assert {row_of(report, f"VJP of {name}").verdict for name in ("x", "w", "bias")} == {"right"}
        assert row_of(report, "JVP").verdict == "right"


def test_a_report_is_true_if_it_is_ok():
    def report(*verdicts):
        question, finding = Question(Kind.VALUE, "g"), EqualOnIntegers(random=True)
        rows = tuple(ReportRow(question, verdict, Proof.EXACT, finding) for verdict in verdicts)
        return Report("f", "conv2d", {}, {}, "numpy", "float32", rows)

    for verdict in EXIT_STATUS:
        assert bool(report(RIGHT, verdict)) == (verdict == RIGHT)
    assert not report()
    with pytest.raises(AssertionError):
        assert check(lambda x, w: -triconv.conv2d(x, w))


# ---- no derivative, or one that raises


def test_a_backward_that_raises_is_wrong(jax):
    """JAX's words for a wrong shape hold "differentiated"."""
    for backward in (
        lambda vjp, saved, g: (vjp(g)[0], vjp(g)[1][:1]),
        lambda vjp, saved, g: (g @ saved[1], saved[1]),
        lambda vjp, saved, g: vjp(g)[0],
        lambda vjp, saved, g: {}["nothing"],
    ):
        report = check(with_backward(jax, backward))
        assert (report.verdict, report.cause) == ("wrong", "raised"), str(report)
        assert row_of(report, "VJP of x").how == "raised"
        assert row_of(report, "JVP").verdict == "unsupported"
    message = "the function being differentiated returned float32[1], and a JVP of float32[2] was expected"
    assert not is_unsupported(ValueError(message), Ability.DERIVATIVE)
    assert not is_unsupported(TypeError(message), Ability.VMAP)


def test_a_jvp_rule_that_is_not_linear_is_named(jax):
    """JAX transposes it for a VJP, and says only what it holds."""

    @jax.custom_jvp
    def conv(x, w):
        return jax.lax.conv(x, w, (1,), "VALID")

    @conv.defjvp
    def rule(primals, tangents):
        moved = [p + t for p, t in zip(primals, tangents, strict=True)]
        return conv(*primals), conv(*moved) - conv(*primals)

    report = triconv.gradcheck(conv, (1, 1, 3), (1, 1, 2))
    assert report.verdict == "wrong"
    assert "its tangent is not linear in the tangents" in report.summary


def test_rules_that_raise_are_wrong_whatever_they_are_asked_by(jax, torch):
    right = by_lax(jax)
    jvp = jax.custom_jvp(right)
    jvp.defjvp(lambda p, t: (right(*p), t[0] @ t[1]))
    batched = jax.custom_batching.custom_vmap(right)
    batched.def_vmap(lambda size, is_batched, x, w: (x @ w, True))

    def compiled(x, w):
        if isinstance(x, jax.core.Tracer):
            msg = "no"
            raise OSError(msg)
        return right(x, w)

    torch_candidate = functools.partial(function_of, torch, lambda x, w, g: gradients(torch, x, w, g), modern=True)
    for candidate, what in (
        (lambda x, w: jvp(x, w), "JVP"),
        (lambda x, w: batched(x, w), "vmap, sample 0"),
        (compiled, "value under jit"),
        (torch_candidate(jvp=lambda ctx, dx, dw: dx @ dw).apply, "JVP"),
        (torch_candidate(vmap=lambda info, dims, x, w: (x @ w, 0)).apply, "vmap, sample 0"),
        (function_of(torch, lambda x, w, g: (g @ w, w)).apply, "VJP of x"),
        (rules(weight_vjp=lambda g, x: 1 // 0), "VJP of w"),
    ):
        report = check(candidate)
        assert report.verdict == "wrong", str(report)
        row = row_of(report, what)
        assert (row.verdict, row.how, row.cause) == ("wrong", "raised", "raised"), str(report)


def jax_without(jax, which):
    """Functions of JAX without a derivative or transform, each in another way."""
    import jax.extend
    from jax.experimental import io_callback
    from jax.experimental import pallas as pl

    right, shape = by_lax(jax), jax.ShapeDtypeStruct((2, 4, 4, 4), np.float32)

    def host(x, w):
        return by_numpy(np.asarray(x), np.asarray(w))

    def body(x, w, y):
        y[...] = right(x[...], w[...])

    def body_in_a_grid(x, w, y):
        @pl.when(pl.program_id(0) == 0)
        def _():
            y[...] = right(x[...], w[...])

    def loop(x, w):
        return jax.lax.while_loop(lambda c: c[1] < 1, lambda c: (right(x, w), c[1] + 1), (right(x, w) * 0, 0))[0]

    primitive = jax.extend.core.Primitive("mine")
    primitive.def_impl(right)
    primitive.def_abstract_eval(lambda x, w: jax.core.ShapedArray(shape.shape, x.dtype))
    return {
        "custom_vjp": with_backward(jax, lambda vjp, saved, g: vjp(g)),
        "not implemented": with_backward(jax, lambda vjp, saved, g: (_ for _ in ()).throw(NotImplementedError("no"))),
        "pure_callback": lambda x, w: jax.pure_callback(host, shape, x, w),
        "io_callback": lambda x, w: io_callback(host, shape, x, w),
        "backward in NumPy": with_backward(
            jax, lambda vjp, saved, g: tuple(map(jax.numpy.asarray, vjp(np.asarray(g))))
        ),
        "pallas": lambda x, w: pl.pallas_call(body, out_shape=shape, interpret=True)(x, w),
        "pallas in a grid": lambda x, w: pl.pallas_call(body_in_a_grid, grid=(1,), out_shape=shape, interpret=True)(
            x, w
        ),
        "while_loop": loop,
        "primitive": primitive.bind,
        "NumPy inside": lambda x, w: jax.numpy.asarray(host(x, w)),
        "control flow": lambda x, w: right(x, w) if x[0, 0, 0, 0] < 100 else x,
        "a size from data": lambda x, w: right(x, w) + np.zeros(int(x[0, 0, 0, 0] * 0) + 1, np.float32),
    }[which]


@pytest.mark.versions
@pytest.mark.parametrize(
    ("which", "verdict", "unsupported"),
    [
        ("custom_vjp", "right", {"JVP"}),
        ("not implemented", "unchecked", {"VJP of x", "JVP"}),
        ("pure_callback", "unchecked", {"VJP of x", "JVP", "vmap, sample 0"}),
        ("io_callback", "unchecked", {"VJP of x", "JVP"}),
        ("backward in NumPy", "right", {"JVP", "second order of x (reverse over reverse)"}),
        ("pallas", "right", {"VJP of x"}),
        ("pallas in a grid", "unchecked", {"VJP of x", "JVP"}),
        ("while_loop", "right", {"VJP of x"}),
        ("primitive", "unchecked", {"VJP of x", "JVP", "vmap, sample 0", "value under jit"}),
        ("NumPy inside", "unchecked", {"VJP of x", "JVP", "vmap, sample 0", "value under jit"}),
        ("control flow", "right", {"vmap, sample 0", "value under jit"}),
        ("a size from data", "right", {"vmap, sample 0", "value under jit"}),
    ],
)
def test_what_jax_does_not_support_is_no_fault(jax, which, verdict, unsupported):
    report = triconv.check(jax_without(jax, which), triconv.conv2d, *SHAPES, framework="jax", dtype="float32")
    assert report.verdict == verdict, str(report)
    assert unsupported <= {row.what for row in report.rows if row.verdict == "unsupported"}
    assert not [row for row in report.rows if row.verdict == "wrong"]


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        (TypeError, "can't apply forward-mode differentiation (jvp) to a custom_vjp function."),
        (ValueError, "The FFI call to `mine` cannot be differentiated. You can use `jax.custom_jvp`"),
        (ValueError, "Buffer callbacks do not support JVP. Please use `jax.custom_jvp`"),
        (AttributeError, "No JVP defined for custom_jvp function f using defjvp."),
        (AttributeError, "No batching rule defined for custom_vmap function f using def_vmap."),
        (RuntimeError, "derivative for aten::_ctc_loss_backward is not implemented"),
        (RuntimeError, "the derivative for 'weight' is not implemented."),
        (RuntimeError, "Trying to use forward AD with _cdist_forward that does not support it because"),
        (RuntimeError, "jvp is not implemented for the c++ API of custom Function yet."),
        (RuntimeError, "Batching rule not implemented for aten::item. We could not generate a fallback."),
        (RuntimeError, "vmap: It looks like you're calling .item() on a Tensor."),
        (RuntimeError, "torch.compile with aot_autograd does not currently support double backward"),
    ],
)
def test_messages_of_what_is_unsupported(kind, text):
    assert is_unsupported(kind(text), Ability.DERIVATIVE)
    assert not is_unsupported(KeyError(text), Ability.DERIVATIVE)


def test_what_torch_does_not_support_is_no_fault(torch):
    right = functools.partial(gradients, torch)

    def through_numpy(x, w, g):
        pullback = triconv.vjp(triconv.conv2d, x.detach().numpy(), w.detach().numpy())[1]
        return tuple(map(torch.from_numpy, pullback(g.detach().numpy())))

    def into_a_buffer(x, w):
        y = torch.zeros(2, 4, 4, 4, dtype=x.dtype)
        for i, j in np.ndindex(3, 2):
            y += torch.einsum("nchw,kc->nkhw", x[:, :, i : i + 4, j : j + 4], w[:, :, i, j])
        return y

    def by_data(x, w):
        return torch.conv2d(x, w) if x[0, 0, 0, 0] < 100 else x

    second = {"second order of x (reverse over reverse)", "second order of the cotangent (reverse over reverse)"}
    for candidate, verdict, unsupported in (
        (function_of(torch, right).apply, "right", {"JVP", "vmap, sample 0"}),
        (function_of(torch, right, modern=True).apply, "right", {"JVP", "vmap, sample 0"}),
        (function_of(torch, right, once=True).apply, "right", second),
        (function_of(torch, through_numpy).apply, "right", second),
        (into_a_buffer, "right", {"vmap, sample 0"}),
        (by_data, "right", {"vmap, sample 0"}),
        (lambda x, w: torch.from_numpy(by_numpy(x.numpy(), w.numpy())), "unchecked", {"VJP of x", "JVP"}),
        (lambda x, w: torch.from_numpy(by_numpy(x.detach().numpy(), w.detach().numpy())), "unchecked", {"VJP of x"}),
    ):
        report = check(candidate)
        assert report.verdict == verdict, str(report)
        assert unsupported <= {row.what for row in report.rows if row.verdict == "unsupported"}, str(report)


def test_operators_of_torchs_library_have_the_derivatives_that_are_registered(torch):
    forward = lambda x, w: torch.nn.functional.conv2d(x, w)  # noqa: E731
    schema = "(Tensor x, Tensor w) -> Tensor"
    alone = torch.library.custom_op("triconv_test::alone", forward, mutates_args=(), schema=schema)
    both = torch.library.custom_op("triconv_test::both", forward, mutates_args=(), schema=schema)
    both.register_autograd(
        lambda ctx, g: gradients(torch, *ctx.saved_tensors, g),
        setup_context=lambda ctx, inputs, output: ctx.save_for_backward(*inputs),
    )
    report = check(alone, framework="torch")
    assert report.verdict == "unchecked", str(report)
    report = check(both, framework="torch")
    assert report.verdict == "right", str(report)
    assert row_of(report, "JVP").verdict == "unsupported"  # torch gives zeros for it


# ---- second order by the cotangent, and other values under differentiation


def test_a_cotangent_that_is_detached_is_found(jax, torch):
    stopped = with_backward(jax, lambda vjp, saved, g: vjp(jax.lax.stop_gradient(g)))
    detached = function_of(torch, lambda x, w, g: gradients(torch, x, w, g.detach()))
    for candidate in (stopped, detached.apply):
        report = check(candidate)
        assert (report.verdict, report.cause) == ("wrong", "second order only"), str(report)
        wrong = [row.what for row in report.rows if row.verdict == "wrong"]
        assert wrong == ["second order of the cotangent (reverse over reverse)"]


def test_a_value_that_differs_under_differentiation_is_found(jax, torch):
    right = by_lax(jax)
    by_vjp = with_backward(jax, lambda vjp, saved, g: vjp(g), lambda x, w: (2 * right(x, w), (x, w)))
    by_jvp = jax.custom_jvp(right)
    by_jvp.defjvp(lambda p, t: (-right(*p), right(t[0], p[1]) + right(p[0], t[1])))

    class Twice(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x, w):
            ctx.save_for_backward(x, w)
            return torch.nn.functional.conv2d(x, w) * (2 if any(ctx.needs_input_grad) else 1)

        @staticmethod
        def backward(ctx, g):
            return gradients(torch, *ctx.saved_tensors, g)

    for candidate, wrong, cause in (
        (by_vjp, ["value with a VJP"], "constant factor"),
        (lambda x, w: by_jvp(x, w), ["value with a VJP", "value with a JVP"], "sign"),
        (Twice.apply, ["value with a VJP"], "constant factor"),
    ):
        report = check(candidate)
        assert [row.what for row in report.rows if row.verdict == "wrong"] == wrong, str(report)
        assert report.cause == cause
        assert "found = f(x, w)\n" not in report.counterexample


# ---- rules


def test_rules_may_use_what_the_forward_remembers():
    class Layer:
        def forward(self, x, w):
            self.saved = x, w
            return by_numpy(x, w)

        def input_vjp(self, g, _):
            return triconv.conv_input_vjp(g, self.saved[1], input_size=self.saved[0].shape[2:])

        def weight_vjp(self, g, _):
            x, w = self.saved
            del self.saved  # once only
            return triconv.conv_weight_vjp(g, x, kernel_size=w.shape[2:])

    layer = Layer()
    report = check(triconv.Rules(layer.forward, layer.input_vjp, layer.weight_vjp))
    assert report.ok, str(report)


def test_a_forward_that_writes_into_its_arrays_changes_no_other_question():
    def forward(x, w):
        y = by_numpy(x, w)
        x *= 0
        return y

    report = check(rules(forward), dtype="float64")
    assert report.cause == "input changed"
    assert [row.what for row in report.rows if row.verdict == "wrong"] == ["arrays after a call"]


# ---- what is an array


@pytest.mark.parametrize(
    "dress",
    [
        lambda a: a.astype(a.dtype.newbyteorder("S")),
        lambda a: a.tolist(),
        lambda a: (a,),
        lambda a: [a],
        lambda a: [list(a[0].tolist()), *a[1:].tolist()],
    ],
)
def test_lists_and_tuples_that_hold_an_array_are_that_array(dress):
    report = check(rules(lambda x, w: dress(by_numpy(x, w)), input_vjp=lambda g, w: dress(rules().input_vjp(g, w))))
    assert report.ok, str(report)


def test_a_list_of_numbers_is_a_bias_gradient_and_no_image():
    conv = rules(lambda x, w, b: by_numpy(x, w) + b[:, None, None], bias_vjp=lambda g: g.sum((0, 2, 3)).tolist())
    assert triconv.check(conv, triconv.conv2d, *SHAPES, (4,)).ok
    assert "a list, which is no array" in check(lambda x, w: [1, 2]).summary


def test_one_array_in_a_tuple_has_derivatives(jax, torch):
    right = with_backward(jax, lambda vjp, saved, g: vjp(g))
    for candidate in (lambda x, w: [right(x, w)], lambda x, w: (torch.conv2d(x, w),)):
        report = check(candidate)
        assert report.ok, str(report)
        assert row_of(report, "VJP of w").verdict == "right"


def test_bfloat16_on_numpy():
    ml_dtypes = pytest.importorskip("ml_dtypes")
    seen = set()

    def conv(x, w):
        seen.update((x.dtype, w.dtype))
        return by_numpy(x.astype(np.float32), w.astype(np.float32)).astype(x.dtype)

    def input_vjp(g, w):
        wide = triconv.conv_input_vjp(g.astype(np.float32), w.astype(np.float32), input_size=SHAPES[0][2:])
        return wide.astype(g.dtype)

    report = check(triconv.Rules(conv, input_vjp), dtype="bfloat16")
    assert report.ok, str(report)
    assert seen == {np.dtype(ml_dtypes.bfloat16)}


def test_bfloat16_arrays_are_checked_as_such(torch):
    arrays = [torch.ones(shape, dtype=torch.bfloat16) for shape in SHAPES]
    # torch's own sums bfloat16 in bfloat16 on CPUs without instructions for it
    report = triconv.check(lambda x, w: torch.conv2d(x.float(), w.float()).to(x.dtype), triconv.conv2d, *arrays)
    assert (report.dtype, report.verdict) == ("bfloat16", "right")


# ---- what ends the process


def test_a_candidate_cannot_end_the_checker():
    class Stop(BaseException):
        pass

    def stop(*_):
        msg = "whole"
        raise Stop(msg)

    for leave, message in ((lambda *_: sys.exit(0), "SystemExit: 0"), (lambda *_: pytest.fail("no"), "Failed: no")):
        report = check(leave)
        assert report.verdict == "unchecked"
        assert f"the candidate raised {message}" in report.summary
        report = check(rules(input_vjp=leave))
        assert (report.verdict, row_of(report, "VJP of x").how) == ("wrong", "raised")
    assert "the candidate raised Stop: whole" in check(stop).summary
    with pytest.raises(KeyboardInterrupt):
        check(lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))


# ---- no state of a framework is set


@pytest.mark.once
def test_two_checks_in_two_threads(jax):
    """Each in its own dtype, while the other is inside of its candidate; in a process whose JAX is as it comes."""
    program = """
        import sys, threading
        import jax, triconv
        both = threading.Barrier(2, timeout=60)

        def run(dtype, meet):
            seen = []

            def conv(x, w):
                if meet and not seen:
                    both.wait()
                seen.append(bool(jax.config.jax_enable_x64))
                return jax.lax.conv(x, w, (1, 1), "VALID")

            report = triconv.check(conv, triconv.conv2d, (1, 2, 4, 4), (2, 2, 2, 2), dtype=dtype)
            if meet:
                both.wait()
            return set(seen), str(report)

        dtypes = ("float32", "float64")
        alone = {dtype: run(dtype, False) for dtype in dtypes}
        found = {}
        threads = [threading.Thread(target=lambda d=d: found.update({d: run(d, True)})) for d in dtypes]
        for thread in threads: thread.start()
        for thread in threads: thread.join()
        assert found == alone, (found, alone)
        assert alone["float32"][0] == {False} and alone["float64"][0] == {True}
        assert not jax.config.jax_enable_x64
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(program)], check=True)


# ---- questions that make no sense


@pytest.mark.parametrize(
    ("operator", "shapes", "message"),
    [
        (
            "conv2d",
            (),
            (
                r"`shapes_or_arrays` must have one shape or array per array of conv2d \(x, w, bias\): got none; "
                r"such as triconv.check\(f, triconv.conv2d, \(2, 3, 8, 8\), \(4, 3, 3, 3\)\)"
            ),
        ),
        ("conv2d", SHAPES[:1], r"per array of conv2d \(x, w, bias\): got 1"),
        ("conv2d", (*SHAPES, (4,), (4,)), r"per array of conv2d \(x, w, bias\): got 4"),
        ("conv1d", (), r"triconv.conv1d, \(2, 3, 8\), \(4, 3, 3\)\)"),
        ("conv_weight_vjp", (), r"\(g, x\): got none"),
        ("conv2d_forward", SHAPES[:1], r"\(matrix, filter\): got 1"),
    ],
)
def test_a_wrong_number_of_shapes_is_refused(operator, shapes, message):
    with pytest.raises(TypeError, match=message):
        triconv.check(by_numpy, getattr(triconv, operator), *shapes)


def test_the_name_of_an_operator_is_not_the_operator():
    with pytest.raises(TypeError, match=r"such as triconv.conv2d itself, not its name, got 'conv2d'"):
        triconv.check(by_numpy, "conv2d", *SHAPES)
