"""The `xp` fixture: one chain from library to namespace to device, and the only place that knows a backend's quirks."""

from __future__ import annotations

import os

import numpy as np
import pytest

from triconv.backends import BACKENDS, to_numpy

pytest_plugins = ["pytester"]

# by name, so that a library that should be there and is not is an error, never a silent skip
REQUIRED = [name for name in os.environ.get("TRICONV_TEST_BACKENDS", "").split(",") if name]
NAMES = REQUIRED or [name for name, kind in BACKENDS.items() if name != "cupy" and kind.installed()]

# quick on any machine, and the same in every run; with devices enough for a mesh
os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("XLA_FLAGS", "--xla_force_host_platform_device_count=8")


def pytest_configure(config):
    missing = [name for name in NAMES if name not in BACKENDS or not BACKENDS[name].installed()]
    if missing:
        msg = f"TRICONV_TEST_BACKENDS names what is not installed here: {', '.join(missing)}"
        raise pytest.UsageError(msg)
    if "jax" in NAMES:
        import jax

        jax.config.update("jax_enable_x64", True)
    from hypothesis import settings

    settings.register_profile("triconv", deadline=None, derandomize=True, print_blob=True)
    settings.load_profile("triconv")


def pytest_collection_modifyitems(config, items):
    """Leave the slow tests to those who ask for them, and the README's to runs that have its frameworks."""
    slow = pytest.mark.skip(reason="slow; ask for it with -m slow")
    bare = pytest.mark.skip(reason="the README shows JAX and torch; not both are among the backends of this run")
    for item in items:
        if "slow" in item.keywords and not config.getoption("markexpr"):
            item.add_marker(slow)
        if item.path.name == "README.md" and not {"jax", "torch"} <= set(NAMES):
            item.add_marker(bare)


class Library:
    """A backend as tests see it: arrays in from NumPy, NumPy out."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.backend = BACKENDS[name].load()
        self.xp = self.backend.xp

    def __repr__(self) -> str:
        return self.name

    def array(self, obj, dtype=None):
        """Return an array of this library; `dtype` by its name."""
        return self.backend.asarray(np.asarray(obj), dtype=dtype)

    def numpy(self, a) -> np.ndarray:
        """Return a NumPy array, after checking that `a` is of this library."""
        assert type(a).__module__.split(".")[0] in {self.name.replace("-", "_"), "jaxlib"}, type(a)
        return to_numpy(a)

    def has(self, dtype: str) -> bool:
        """Whether the library has this dtype."""
        return hasattr(self.xp, dtype)


@pytest.fixture(params=NAMES)
def lib(request) -> Library:
    """Every backend, one at a time."""
    return Library(request.param)


@pytest.fixture
def jax():
    """JAX, or a skip that says so."""
    if "jax" not in NAMES:
        pytest.skip("jax is not among the backends of this run")
    import jax

    return jax


@pytest.fixture
def torch():
    """Torch, or a skip that says so."""
    if "torch" not in NAMES:
        pytest.skip("torch is not among the backends of this run")
    import torch

    return torch
