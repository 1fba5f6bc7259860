"""The backend switch, and what importing triconv costs."""

from __future__ import annotations

import re
import subprocess
import sys

import numpy as np
import pytest

import triconv
from triconv.backends import BACKENDS
from triconv.operators.registry import OPERATORS


def test_use_moves_any_array(lib):
    tc = triconv.use(lib.name, dtype="float32")
    y = tc.conv1d([[[1, 2, 3]]], np.ones((1, 1, 2)), bias=[1])
    assert y.dtype == lib.xp.float32
    np.testing.assert_array_equal(lib.numpy(y), [[[4, 6]]])
    np.testing.assert_array_equal(tc.to_numpy(y), [[[4, 6]]])
    assert tc.xp is lib.xp
    gx, gw = tc.vjp(triconv.conv1d, [[[1, 2, 3]]], [[[1, 1]]])[1]([[[1, 1]]])
    np.testing.assert_array_equal(lib.numpy(gx), [[[1, 2, 1]]])
    np.testing.assert_array_equal(lib.numpy(gw), [[[3, 5]]])
    _, tangent = tc.jvp(triconv.conv1d, ([[[1, 2, 3]]], [[[1, 1]]]), ([[[1, 1, 1]]], [[[0, 0]]]))
    np.testing.assert_array_equal(lib.numpy(tangent), [[[2, 2]]])


def test_use_moves_between_libraries(lib, torch, jax):
    tc = triconv.use(lib.name)
    negated = torch.ones(1, 1, 3, dtype=torch.complex64).conj().imag  # a view that torch negates lazily
    assert lib.numpy(tc.asarray(negated)).tolist() == [[[0, 0, 0]]]
    for bfloat16 in (jax.numpy.ones(3, "bfloat16"), torch.ones(3, dtype=torch.bfloat16)):
        moved = tc.asarray(bfloat16)
        assert moved.dtype == getattr(lib.xp, "bfloat16", lib.xp.float32)
        np.testing.assert_array_equal(np.asarray(tc.to_numpy(moved), float), [1, 1, 1])


@pytest.mark.parametrize("jit", [True, False])
def test_every_operator_is_bound(lib, jit):
    tc = triconv.use(lib.name, jit=jit)
    assert {name for name in OPERATORS if hasattr(tc, name)} == set(OPERATORS)
    x, w = np.arange(12.0).reshape(1, 2, 6), np.ones((1, 2, 3))
    np.testing.assert_array_equal(lib.numpy(tc.conv(x, w, stride=2)), triconv.conv(x, w, stride=2))
    y, _ = triconv.vjp(tc.conv, x, w)  # a bound operator is an operator
    np.testing.assert_array_equal(lib.numpy(y), triconv.conv(x, w))


def test_without_jit_derivatives_run_step_by_step_too(jax, monkeypatch):
    asked = []
    monkeypatch.setattr(BACKENDS["jax"], "compile", lambda self, function, like=(): asked.append(function) or function)
    tc, x, w = triconv.use("jax", jit=False), np.arange(12.0).reshape(1, 2, 6), np.ones((1, 2, 3))
    y, pullback = tc.vjp(triconv.conv1d, x, w)
    gx, gw = pullback(y)
    _, tangent = tc.jvp(triconv.conv1d, (x, w), (x, w))
    assert asked == []
    expected, theirs = triconv.vjp(triconv.conv1d, x, w)
    for ours, truth in zip((y, gx, gw, tangent), (expected, *theirs(expected), 2 * expected), strict=True):
        np.testing.assert_array_equal(ours, truth)
    triconv.use("jax").vjp(triconv.conv1d, x, w)
    assert len(asked) == 1


def test_submodules_are_reached_without_jax():
    program = (
        "import sys, triconv; assert {'halo', 'jax'} <= set(dir(triconv)); triconv.halo.ShardedAxis; "
        "assert not {'jax', 'torch'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_the_environment_names_the_backend(monkeypatch):
    monkeypatch.delenv("TRICONV_BACKEND", raising=False)
    assert triconv.use().name == "numpy"
    monkeypatch.setenv("TRICONV_BACKEND", "nonsense")
    with pytest.raises(ValueError, match="`TRICONV_BACKEND` must be one of 'numpy', 'jax', 'torch'"):
        triconv.use()
    assert triconv.use("numpy").name == "numpy"  # the argument comes first


def test_what_cannot_be_bound_is_refused(lib):
    with pytest.raises(ValueError, match="`name` must be one of 'numpy', 'jax'"):
        triconv.use("tensorflow")
    with pytest.raises(ValueError, match=f"`device` must be one of {lib.name}'s, such as .*, got 'nonsense:7'"):
        triconv.use(lib.name, device="nonsense:7")
    for dtype in ("sum", "float33", 5):
        with pytest.raises(ValueError, match=f"`dtype` must be a number dtype of {lib.name}, got {dtype!r}"):
            triconv.use(lib.name, dtype=dtype)
    with pytest.raises(TypeError, match=r"`jit` must be True or False, got ndarray of shape \(3,\)"):
        triconv.use(lib.name, jit=np.ones(3))
    tc = triconv.use(lib.name, dtype=np.float32)
    assert tc.dtype == lib.xp.float32
    with pytest.raises(TypeError, match="`conv1d`: missing a required argument: 'w'"):
        tc.conv1d([[[1]]])


def test_a_missing_backend_names_its_command(monkeypatch):
    monkeypatch.setattr(BACKENDS["torch"], "installed", classmethod(lambda cls: False))
    with pytest.raises(ImportError, match=re.escape('install it with: python -m pip install "torch>=2.11,<2.14"')):
        triconv.use("torch")
    assert "torch" not in triconv.backends()


def test_backends_tells_what_is_here(lib):
    found = triconv.backends()[lib.name]
    assert found.version
    assert found.devices
    triconv.use(lib.name, device=found.devices[0] if lib.name != "jax" else None)


def test_jax_refuses_to_narrow(jax):
    with jax.enable_x64(False) if hasattr(jax, "enable_x64") else jax.experimental.disable_x64():  # noqa: SIM117
        with pytest.raises(ValueError, match="`dtype` must be one that JAX is configured for, got float64"):
            triconv.use("jax", dtype="float64")


def test_import_loads_no_framework_and_is_quick():
    """Under 0.2 s over NumPy's own import; here by what it loads, since no test asserts on time."""
    script = "import sys, triconv; print(sorted({name.split('.')[0] for name in sys.modules}))"
    loaded = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    for heavy in ("jax", "jaxlib", "torch", "cupy", "rich", "scipy", "hypothesis", "array_api_strict"):
        assert f"'{heavy}'" not in loaded


def test_numpy_alone_is_enough():
    """With every optional library hidden."""
    script = """
import sys
for name in ("jax", "jaxlib", "torch", "cupy", "array_api_strict", "rich"):
    sys.modules[name] = None
import numpy as np, triconv
y, pullback = triconv.vjp(triconv.conv2d, np.ones((1, 1, 4, 4)), np.ones((1, 1, 3, 3)))
print(y.sum(), pullback(y)[1].sum())
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["36.0", "324.0"]


def test_every_operator_has_its_name_and_signature():
    import inspect

    for name, operator in OPERATORS.items():
        assert operator.__name__ == name
        assert getattr(triconv, name) is operator
        assert "Parameters" in (inspect.getdoc(operator) or "")
    assert str(inspect.signature(triconv.conv2d)).startswith(
        "(x: 'ArrayT', w: 'AnyArray', bias: 'AnyArray | None' = None, stride: 'Ints' = 1, padding: 'Padding' = 0, "
        "dilation: 'Ints' = 1, groups: 'SupportsIndex' = 1, *, padding_mode: 'PaddingMode' = 'zeros'"
    )


def test_the_operators_that_are_public_are_those_of_the_registry():
    assert set(triconv.operators.__all__) == set(OPERATORS) <= set(triconv.__all__)
    for name, operator in OPERATORS.items():
        assert getattr(triconv.operators, name) is operator


def test_an_operator_that_is_entered_is_bound_and_known_to_the_command_line(monkeypatch, tmp_path, capsys):
    """`use`, `triconv check --like` and `triconv explain` read the registry, and no list of their own."""
    from triconv.cli import main

    mine = tmp_path / "mine.py"
    mine.write_text("""
import triconv
conv = triconv.Rules(
    forward=triconv.conv,
    input_vjp=lambda g, w: triconv.conv_input_vjp(g, w, input_size=g.shape[-1] + w.shape[-1] - 1),
    weight_vjp=lambda g, x: triconv.conv_weight_vjp(g, x, kernel_size=x.shape[-1] - g.shape[-1] + 1),
)
""")
    shapes = ["--shape", "1,1,5", "--shape", "1,1,2"]
    check = ["check", f"{mine}:conv", "--like", "entered", *shapes]
    assert main.main(check) == 2
    assert (
        f"`--like` must be one of {', '.join(OPERATORS)}, or a function FILE:NAME, got 'entered'"
        in capsys.readouterr().err
    )
    monkeypatch.setitem(OPERATORS, "entered", triconv.conv1d)
    bound = triconv.use("numpy").entered
    np.testing.assert_array_equal(bound([[[1, 2, 3]]], [[[1, 1]]]), [[[3, 5]]])
    assert main.main(check) == 0
    assert main.main(["explain", "entered", *shapes]) == 0


def test_dir_lists_the_public_names():
    assert set(dir(triconv)) == {*triconv.__all__, "__version__", "halo", "jax"}


def test_the_commands_that_install_libraries_are_the_extras_of_the_package():
    import tomllib
    from pathlib import Path

    project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    for name in ("jax", "torch", "cupy"):
        assert f'"{project["optional-dependencies"][name][0]}"' in BACKENDS[name].install_command()
    tox = (Path(__file__).parents[1] / "tox.ini").read_text(encoding="utf-8")
    assert "cupy-cuda" not in tox


def test_without_jax_its_submodule_says_how_to_install_it():
    program = """
import sys
for name in ("jax", "jaxlib"):
    sys.modules[name] = None
from triconv.backends import BACKENDS
BACKENDS["jax"].installed = classmethod(lambda cls: False)
import triconv
for reach in ("triconv.jax", "from triconv import jax", "import triconv.jax"):
    try:
        exec(reach)
    except ImportError as problem:
        print(problem)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    command = BACKENDS["jax"].install_command()
    assert done.stdout.splitlines() == [f"`triconv.jax` needs JAX; install it with: {command}"] * 3


def test_a_device_that_is_not_here_is_refused(lib):
    if lib.name not in ("jax", "torch") or any("cuda" in name.lower() for name in lib.backend.devices()):
        pytest.skip("has no such devices, or has CUDA")
    message = f"`device` must be one of {lib.name}'s, such as .*, got 'cuda': {lib.name} finds no CUDA here$"
    with pytest.raises(ValueError, match=message):
        triconv.use(lib.name, device="cuda")
    f = (lambda x: (x, x)), (lambda g, x: g)
    with pytest.raises(ValueError, match=message):
        triconv.gradcheck(f, (2, 3), framework=lib.name, device="cuda")
    with pytest.raises(ValueError, match=message):
        triconv.check(triconv.conv1d, triconv.conv1d, (1, 1, 4), (1, 1, 2), framework=lib.name, device="cuda")


def test_the_pytest_plugin_imports_nothing_until_it_is_used():
    program = (
        "import sys, pytest; before = set(sys.modules); import pytest_triconv; print(sorted(set(sys.modules) - before))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "['pytest_triconv']"


def test_strides_may_be_arrays(lib):
    x, w = np.ones((1, 1, 6, 6)), np.ones((1, 1, 2, 2))
    expected = triconv.conv2d(x, w, stride=(2, 1))
    for stride in (np.array([2, 1]), lib.array([2, 1]), [np.int64(2), np.int8(1)]):
        np.testing.assert_array_equal(lib.numpy(triconv.conv2d(lib.array(x), lib.array(w), stride=stride)), expected)
