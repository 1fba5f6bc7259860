"""The search for internals finds every way to reach one, and a canary that fails names its internal."""

from __future__ import annotations

import pytest

from internals import Canaries, is_internal, uses

PROGRAM = """
import jax, jax.numpy as jnp, torch
from jax._src import checkify as c
from jax.interpreters import ad
from torch.autograd import forward_ad
import torch.utils._pytree as tree
import importlib
def f(x):
    import jax.extend.core
    importlib.import_module("jax._src.core")
    jnp.sum(x), jax.lax.pcast(x), c.error_checks, ad.defbilinear(1), torch.__version__, torch.ops.aten.convolution
    return torch._C._jit(), forward_ad._current_level, tree.tree_map, x._private, jax.sharding.Mesh
"""


def test_every_way_to_reach_an_internal_is_found():
    assert uses(PROGRAM) == {
        "jax._src.core",
        "jax._src.checkify.error_checks",
        "jax.extend.core",
        "jax.interpreters.ad.defbilinear",
        "torch._C._jit",
        "torch.autograd.forward_ad._current_level",
        "torch.utils._pytree.tree_map",
    }


@pytest.mark.parametrize("name", ["jax.sharding.Mesh", "torch.__version__", "numpy._core", "jax.experimental.checkify"])
def test_what_is_public_is_not_internal(name):
    assert not is_internal(name)


def test_a_canary_that_fails_names_its_internal_and_its_purpose():
    canaries = Canaries()

    @canaries.about("jax.interpreters.ad.defbilinear", "derivatives")
    def moved():
        raise AttributeError("no attribute 'defbilinear'")  # noqa: EM101, TRY003 (as Python writes it)

    message = "jax.interpreters.ad.defbilinear moved or changed; triconv needs it for derivatives: AttributeError: no"
    with pytest.raises(pytest.fail.Exception, match=message):
        canaries.run("jax.interpreters.ad.defbilinear")
