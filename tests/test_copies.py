"""What `use` and `vjp` return can be copied, pickled, saved and sent to another process."""

from __future__ import annotations

import copy
import inspect
import pickle
import subprocess
import sys

import numpy as np
import pytest

import triconv
from triconv.operators.registry import OPERATORS

X, W = np.arange(12.0).reshape(1, 2, 6), np.arange(6.0).reshape(1, 2, 3)


def pickled(obj):
    return pickle.loads(pickle.dumps(obj))


@pytest.mark.parametrize("again", [copy.copy, copy.deepcopy, pickled])
@pytest.mark.parametrize("options", [{}, {"dtype": "float32"}, {"jit": False}])
def test_a_bound_and_its_operators_can_be_copied(lib, again, options):
    tc = triconv.use(lib.name, **options)
    other = again(tc)
    assert (other.name, other.dtype, other.device, other.jit) == (tc.name, tc.dtype, tc.device, tc.jit)
    for conv in (other.conv1d, again(tc.conv1d), again(tc).conv1d):
        y = conv(X, W)
        assert y.dtype == tc.conv1d(X, W).dtype
        np.testing.assert_array_equal(lib.numpy(y), triconv.conv1d(X, W))


@pytest.mark.parametrize("again", [copy.copy, copy.deepcopy, pickled])
def test_pullbacks_can_be_copied(lib, again):
    tc = triconv.use(lib.name)
    y, bound = tc.vjp(triconv.conv1d, X, W, stride=2)
    _, plain = triconv.vjp(triconv.conv1d, lib.array(X), lib.array(W), stride=2)
    gx, gw = triconv.vjp(triconv.conv1d, X, W, stride=2)[1](np.ones(y.shape))
    for pullback, g in ((again(bound), np.ones(y.shape)), (again(plain), lib.array(np.ones(y.shape)))):
        for have, want in zip(pullback(g), (gx, gw), strict=True):
            np.testing.assert_array_equal(lib.numpy(have), want)


@pytest.mark.parametrize("name", OPERATORS)
def test_every_operator_can_be_copied(lib, name):
    plain, bound = getattr(triconv, name), getattr(triconv.use(lib.name), name)
    assert pickled(plain) is copy.deepcopy(plain) is plain
    for op in (bound, pickled(bound)):
        assert op.__name__ == name
        assert op.__wrapped__ is plain
        assert op.__doc__ == plain.__doc__
        assert inspect.signature(op) == inspect.signature(plain)


def test_the_operators_of_another_bound_are_differentiated_here(lib):
    tc, other = triconv.use(lib.name), triconv.use("numpy")
    for op in (tc.conv1d, other.conv1d, triconv.conv1d):
        y, pullback = tc.vjp(op, X, W)
        assert lib.numpy(y).shape == (1, 1, 4)
        assert lib.numpy(pullback(np.ones((1, 1, 4)))[1]).shape == W.shape
        assert lib.numpy(tc.jvp(op, (X, W), (X, W))[1]).shape == (1, 1, 4)


@pytest.mark.parametrize("spelling", ["str", "object"])
def test_a_device_of_jax_is_found_again(jax, spelling):
    device = jax.devices("cpu")[-1]
    given = device if spelling == "object" else f"cpu:{len(jax.devices('cpu')) - 1}"
    (found,) = pickled(triconv.use("jax", device=given)).conv1d(X, W).devices()
    assert found == device


def test_a_module_of_torch_can_be_copied_saved_and_loaded(torch, tmp_path):
    module = torch.nn.Module()
    module.tc = triconv.use("torch")
    module.conv = module.tc.conv1d
    module.weight = torch.nn.Parameter(torch.tensor(W))
    torch.save(module, tmp_path / "module.pt")
    loaded = torch.load(tmp_path / "module.pt", weights_only=False)
    for other in (copy.deepcopy(module), pickled(module), loaded):
        assert other.weight is not module.weight
        y = other.conv(torch.tensor(X), other.weight) + other.tc.conv1d(X, other.weight)
        np.testing.assert_array_equal(y.detach().numpy(), 2 * triconv.conv1d(X, W))
        y.sum().backward()
        assert other.weight.grad is not None
        assert module.weight.grad is None


def test_another_process_loads_what_was_pickled():
    """As a worker that is spawned: it imports nothing but what the pickle names."""
    _, pullback = triconv.use("numpy").vjp(triconv.conv1d, X, W)
    script = """
import pickle, sys
conv, pullback = pickle.load(sys.stdin.buffer)
print(conv([[[1, 2]]], [[[3]]]).sum(), pullback([[[1, 1, 1, 1]]])[1].sum())
"""
    sent = pickle.dumps((triconv.use("numpy").conv1d, pullback))
    done = subprocess.run([sys.executable, "-c", script], input=sent, capture_output=True, check=True)
    assert done.stdout.split() == [b"9", b"132.0"]
