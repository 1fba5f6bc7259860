"""Modules with their own weights, an autograd function's class, and what the command line says of targets."""

from __future__ import annotations

import numpy as np
import pytest

import triconv
from triconv.cli import main


@pytest.fixture
def torch():
    return pytest.importorskip("torch")


@pytest.mark.parametrize("bias", [True, False])
def test_a_convolution_of_torch_says_its_parameters(torch, bias):
    module = torch.nn.Conv2d(4, 6, 3, stride=2, padding=1, groups=2, bias=bias)
    report = triconv.check(module, triconv.conv2d, (2, 4, 7, 8))
    assert report.ok, str(report)
    assert report.shapes["w"] == (6, 2, 3, 3)
    assert ("bias" in report.shapes) is bias
    assert report.params["stride"] == (2, 2)
    # what the user says comes before what the module says
    assert triconv.check(module, triconv.conv2d, (2, 4, 7, 8), stride=1).verdict == "wrong"


def test_a_transposed_convolution_of_torch(torch):
    module = torch.nn.ConvTranspose1d(3, 4, 3, stride=2, padding=1, output_padding=1)
    assert triconv.check(module, triconv.conv_transpose1d, (2, 3, 5)).ok


class Scaled:
    """Made here of a module of torch, which is imported where it is used."""

    def __new__(cls, scale):
        import torch

        class Convolution(torch.nn.Conv1d):
            def forward(self, x):
                return scale * super().forward(x)

        return Convolution(3, 4, 3, padding=1)


def test_a_broken_subclass_is_found(torch):
    assert triconv.check(Scaled(1), triconv.conv1d, (2, 3, 7)).ok
    report = triconv.check(Scaled(2), triconv.conv1d, (2, 3, 7))
    assert (report.verdict, report.cause) == ("wrong", "constant factor")


def test_weights_given_with_their_shapes(torch):
    module = torch.nn.Conv1d(3, 4, 3)
    assert triconv.check(module, triconv.conv1d, (2, 3, 7), (4, 3, 3), (4,)).ok
    assert triconv.check(module, triconv.conv1d, (2, 3, 7), (4, 3, 3)).shapes["bias"] == (4,)


def test_any_module_of_torch_has_a_gradcheck(torch):
    module = torch.nn.Sequential(torch.nn.Conv1d(2, 3, 3), torch.nn.BatchNorm1d(3), torch.nn.ReLU())
    report = triconv.gradcheck(module, (2, 2, 6))
    assert report.ok, str(report)
    assert set(report.shapes) >= {"0.weight", "0.bias", "1.weight", "1.bias"}


def test_the_class_of_an_autograd_function_is_its_apply(torch):
    class Line(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x, w, stride):
            ctx.save_for_backward(x, w)
            ctx.stride = stride
            return torch.nn.functional.conv1d(x, w, stride=stride)

        @staticmethod
        @torch.autograd.function.once_differentiable
        def backward(ctx, g):
            x, w = ctx.saved_tensors
            gx = torch.nn.grad.conv1d_input(x.shape, w, g, ctx.stride)
            return gx, torch.nn.grad.conv1d_weight(x, w.shape, g, ctx.stride), None

    report = triconv.check(Line, triconv.conv1d, (2, 3, 9), (4, 3, 3), args=2, stride=2)
    assert report.ok, str(report)
    second = {row.verdict for row in report.rows if row.question.order == 2}
    assert second == {"unsupported"}


def test_builtins_of_torch_are_torch(torch):
    report = triconv.check(torch.nn.functional.conv2d, triconv.conv2d, (1, 2, 5, 5), (3, 2, 3, 3))
    assert (report.ok, report.framework) == (True, "torch")


def test_modules_of_flax_and_equinox():
    jax = pytest.importorskip("jax")
    nn = pytest.importorskip("flax.linen")
    nnx = pytest.importorskip("flax.nnx")
    equinox = pytest.importorskip("equinox")
    x = (2, 6, 7, 3)
    module = nn.Conv(4, (3, 3), strides=2)
    assert triconv.check(module, triconv.conv2d, x).ok
    variables = module.init(jax.random.key(0), np.zeros(x, np.float32))
    assert triconv.check((module, variables), triconv.conv, x).ok
    assert triconv.check(nnx.Conv(3, 4, (3, 3), rngs=nnx.Rngs(0)), triconv.conv2d, x).ok
    own = equinox.nn.Conv1d(3, 4, 3, stride=2, key=jax.random.key(0))
    assert triconv.check(own, triconv.conv1d, (2, 3, 8)).ok
    report = triconv.check(own, triconv.conv1d, (2, 3, 8), stride=1)
    assert report.verdict == "wrong"


# ---- targets of the command line


LAYERS = """
import numpy as np
import triconv

def conv_forward(x, w, conv_param):
    return triconv.conv2d(x, w, **conv_param), (x, w, conv_param)

def conv_backward(g, cache):
    x, w, conv_param = cache
    gx = triconv.conv_input_vjp(g, w, input_size=x.shape[2:], **conv_param)
    return gx, triconv.conv_weight_vjp(g, x, kernel_size=w.shape[2:], **conv_param)

def half(g, cache):
    return [a / 2 for a in conv_backward(g, cache)]

class Doubled:
    def __init__(self, factor):
        self.factor = factor
    def forward(self, x):
        return 2 * x
    def backward(self, g):
        return self.factor * g

def reference(x, w):
    return triconv.conv2d(x, w, stride=2)
"""
SHAPES = ["--shape", "2,3,7,8", "--shape", "4,3,3,3"]


@pytest.fixture
def layers(tmp_path):
    path = tmp_path / "course_layers.py"
    path.write_text(LAYERS)
    return path


def test_a_pair_and_arguments(layers, capsys):
    words = ["--like", "conv2d", *SHAPES, "--stride", "2", "--args", '{"stride": 2}']
    assert main.main(["check", f"{layers}:conv_forward,conv_backward", *words]) == 0
    assert main.main(["check", f"{layers}:conv_forward,half", *words]) == 1
    both = [f"{layers}:conv_forward,conv_backward", f"{layers}:conv_forward,half"]
    capsys.readouterr()
    assert main.main(["check", *both, *words]) == 1
    printed = capsys.readouterr().out
    assert printed.count("like conv2d") >= 2


def test_a_function_as_like(layers):
    words = [*SHAPES, "--args", '{"stride": 2}']
    assert main.main(["check", f"{layers}:conv_forward,conv_backward", "--like", f"{layers}:reference", *words]) == 0
    assert main.main(["check", f"{layers}:conv_forward,half", "--like", f"{layers}:reference", *words]) == 1


@pytest.mark.parametrize("command", ["gradcheck", "check"])
def test_gradcheck_of_an_expression(layers, command):
    assert main.main([command, f"{layers}:Doubled(2)", "--shape", "3,4"]) == 0
    assert main.main([command, f"{layers}:Doubled(3)", "--shape", "3,4"]) == 1


def test_a_table_in_pyproject_toml(layers, capsys):
    (layers.parent / "pyproject.toml").write_text(
        """
[tool.triconv]
like = "conv2d"
shape = [[2, 3, 7, 8], [4, 3, 3, 3]]

[tool.triconv.targets."course_layers.py:conv_forward,conv_backward"]
stride = 2
args = { stride = 2 }

[tool.triconv.targets."course_layers.py:conv_forward,half"]
stride = 1
args = { stride = 1 }
"""
    )
    assert main.main(["check", f"{layers}:conv_forward,conv_backward"]) == 0
    assert main.main(["check", f"{layers}:conv_forward,half"]) == 1
    capsys.readouterr()
    assert main.main(["check", str(layers)]) == 1  # both
    assert capsys.readouterr().out.count("conv_forward like conv2d") == 2
    (layers.parent / "pyproject.toml").write_text("[tool.triconv]\nstrides = 2\n")
    assert main.main(["check", f"{layers}:conv_forward,half"]) == 2
    assert "got 'strides'" in capsys.readouterr().err
    (layers.parent / "pyproject.toml").write_text("[tool.triconv\n")
    assert main.main(["check", f"{layers}:conv_forward,half"]) == 2
    assert "could not be read" in capsys.readouterr().err


def test_a_file_without_a_name_lists_its_functions(layers, capsys):
    assert main.main(["check", str(layers), "--like", "conv2d", *SHAPES]) == 2
    assert (
        "course_layers.py has conv_forward, conv_backward, half, Doubled (a class), reference"
        in capsys.readouterr().err
    )


def test_a_file_that_does_not_run_names_its_line(tmp_path, capsys):
    (tmp_path / "zero.py").write_text("x = 1\ny = x / 0\n")
    assert main.main(["check", f"{tmp_path}/zero.py:f", "--like", "conv2d", *SHAPES]) == 2
    assert "ZeroDivisionError: division by zero, line 2" in capsys.readouterr().err


RAISES = """
import numpy as np

def helper(x):
    raise IndexError("no such channel")

def conv(x, w):
    return helper(x)
"""


def test_what_a_candidate_raises_comes_with_its_line_and_whole(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "240")  # the path is on one line
    (tmp_path / "raising.py").write_text(RAISES)
    assert main.main(["check", f"{tmp_path}/raising.py:conv", "--like", "conv2d", *SHAPES]) == 2
    printed = capsys.readouterr()
    assert "IndexError: no such channel (raising.py:5, in helper)" in printed.err
    assert 'raising.py", line 8, in conv' in printed.out
    assert "return helper(x)" in printed.out


def test_what_to_pass_instead(torch):
    with pytest.raises(TypeError, match=r"must be a module, such as Conv2d\(...\), got the class Conv2d"):
        triconv.check(torch.nn.Conv2d, triconv.conv2d, (2, 3, 6, 7), (4, 3, 3, 3))

    class Tensor:
        def __init__(self, data):
            self.data = data

    report = triconv.check(lambda x, w: Tensor(triconv.conv2d(x, w)), triconv.conv2d, (2, 3, 6, 7), (4, 3, 3, 3))
    assert report.verdict == "unchecked"
    assert "returned a Tensor, which is no array: return its .data" in report.summary


def test_the_program_of_an_autograd_functions_class_applies_it(torch):
    class Twice(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x, w):
            return 2 * torch.nn.functional.conv2d(x, w)

        @staticmethod
        def backward(ctx, g):
            return None, None

    report = triconv.check(Twice, triconv.conv2d, (2, 3, 6, 5), (4, 3, 3, 2))
    assert ".apply" in report.counterexample
    with pytest.raises(AssertionError):
        exec(report.counterexample, {"__name__": "program"})


@pytest.mark.parametrize("reentrant", [False, True])
@pytest.mark.filterwarnings("ignore:None of the inputs have requires_grad")
def test_a_module_that_is_computed_again_in_the_backward_has_its_parameters_there(torch, reentrant):
    from torch.utils.checkpoint import checkpoint

    class Again(torch.nn.Conv2d):
        factor = 1

        def forward(self, x):
            y = checkpoint(super().forward, x, use_reentrant=reentrant)
            return y + (self.factor - 1) * (y - y.detach())

    conv = Again(2, 3, 3)
    assert triconv.check(conv, triconv.conv2d, (2, 2, 5, 5)).verdict == "right"
    conv.factor = 3
    assert triconv.check(conv, triconv.conv2d, (2, 2, 5, 5)).cause == "constant factor"


def test_hooks_of_parameters_see_what_a_step_of_training_leaves(torch):
    """Those of `register_hook` run for any derivative; those after the sum in `grad` run in `backward` alone."""

    def with_hook(kind, change):
        module = torch.nn.Conv1d(1, 2, 2)
        getattr(module.weight, kind)(change)
        report = triconv.check(module, triconv.conv1d, (2, 1, 4))
        assert module.weight.grad is None
        return report

    late = "register_post_accumulate_grad_hook"
    halved = with_hook(late, lambda p: setattr(p, "grad", p.grad / 2))
    assert (halved.verdict, halved.cause) == ("wrong", "hook of a parameter"), halved
    assert (
        "leaves another gradient in w.grad than autograd computes, 0.5 times as large, as by a hook" in halved.summary
    )
    clipped = with_hook(late, lambda p: setattr(p, "grad", p.grad.clamp(-1, 1)))
    assert clipped.cause == "hook of a parameter", clipped
    assert "VJP of w: the sign is wrong" in with_hook("register_hook", lambda g: -g).summary
    freed = with_hook(late, lambda p: setattr(p, "grad", None))  # an optimizer that steps in the backward
    assert freed.ok, freed


@pytest.mark.filterwarnings("ignore:.*weight_norm. is deprecated:FutureWarning")
@pytest.mark.parametrize("how", ["weight_norm", "spectral_norm", "pruned", "by hooks"])
def test_a_kernel_that_a_module_computes_is_its_kernel(torch, how):
    """The user's module keeps its parametrizations; `gradcheck` asks for the derivatives by the parameters behind them."""
    from torch.nn.utils import parametrizations, prune, weight_norm

    module = torch.nn.Conv1d(2, 3, 2)
    of = {"pruned": lambda m: prune.l1_unstructured(m, "weight", 4), "by hooks": weight_norm}
    module = of[how](module) if how in of else getattr(parametrizations, how)(module)
    names = [name for name, _ in module.named_parameters()]
    report = triconv.check(torch.nn.Sequential(module), triconv.conv1d, (2, 2, 5))
    assert report.ok, report
    assert report.shapes["w"] == (3, 2, 2)
    assert module.weight.shape == (3, 2, 2)
    assert [name for name, _ in module.named_parameters()] == names
