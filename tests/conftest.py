"""The `xp` fixture: one chain from library to namespace to device, and the only place that knows a backend's quirks."""

from __future__ import annotations

import gc
import importlib.metadata
import importlib.util
import itertools
import os
import re
import sys
from pathlib import Path

import numpy as np
import pytest

from triconv.backends import BACKENDS, quick_xla, to_numpy
from triconv.checking.findings.causes import Cause, Hypothesis
from triconv.checking.findings.diagnosis_data import Diagnosis

pytest_plugins = ["pytester"]

# by name, so that a library that should be there and is not is an error, never a silent skip
REQUIRED = [name for name in os.environ.get("TRICONV_TEST_BACKENDS", "").split(",") if name]
NAMES = REQUIRED or [name for name, kind in BACKENDS.items() if name != "cupy" and kind.installed()]

# where the libraries that can compute elsewhere do so: "cpu" or "gpu"
DEVICE = os.environ.get("TRICONV_TEST_DEVICE", "cpu")

# a run that names a framework here has only the tests that use it: the others are the same in every environment
ONLY = os.environ.get("TRICONV_TEST_ONLY", "")

# a run beside another that has every case names here how many it has of each test; see the markers `versions` and `once`
CASES = int(os.environ.get("TRICONV_TEST_CASES", "0"))

# the jaxlib whose compiled programs are read as text, since the next one may well write others that are as good
XLA_TEXT = "0.10.2"

# the doctests of these packages' own docstrings show JAX and torch side by side
SHOWN_WITH_BOTH = ("triconv.checking", "triconv.jax")

# threads of torch that wait would spin, on processors that other workers need: it takes three times as long
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
# quick on any machine, and the same in every run; with devices enough for a mesh
os.environ.setdefault("JAX_PLATFORMS", "cpu" if DEVICE == "cpu" else "cuda,cpu")
# a third of the time would be LLVM optimizing programs that run once; examples, and tests marked `optimized`, have it optimize
os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1" if DEVICE == "cpu" else "0")
# and a third of the rest MLIR, where XLA can do without: in this process, and in those that tests start
JAXLIB = importlib.metadata.version("jaxlib") if importlib.util.find_spec("jaxlib") else "none"
IS_QUICK = os.environ["JAX_DISABLE_MOST_OPTIMIZATIONS"] == "1"
os.environ.setdefault(
    "XLA_FLAGS", "--xla_force_host_platform_device_count=8" + f" {quick_xla.flags(quick_xla.emitters())}" * IS_QUICK
)


def pytest_configure(config):
    missing = [name for name in NAMES if name not in BACKENDS or not BACKENDS[name].installed()]
    if missing:
        msg = f"TRICONV_TEST_BACKENDS names what is not installed here: {', '.join(missing)}"
        raise pytest.UsageError(msg)
    if DEVICE not in ("cpu", "gpu"):
        msg = f"TRICONV_TEST_DEVICE must be cpu or gpu, got {DEVICE!r}"
        raise pytest.UsageError(msg)
    if DEVICE == "gpu" and (slower := [name for name in NAMES if name in ("jax", "torch") and not _has_gpu(name)]):
        msg = f"TRICONV_TEST_DEVICE is gpu, and there is none for {', '.join(slower)}"
        raise pytest.UsageError(msg)
    if "jax" in NAMES:
        import jax

        jax.config.update("jax_enable_x64", True)
    from hypothesis import settings

    settings.register_profile("triconv", deadline=None, derandomize=True, print_blob=True)
    settings.load_profile("triconv")


@pytest.hookimpl(wrapper=True)
def pytest_collect_file(file_path):
    """Test files have no doctests; a file that cannot be imported would be skipped as one, and then count as empty."""
    collectors = yield
    if not file_path.is_relative_to(Path(__file__).parent):
        return collectors
    return [found for found in collectors if type(found).__name__ != "DoctestModule"]


def pytest_collection_finish(session):
    """Have the garbage collector pass over what the libraries and the tests consist of, which takes a tenth of the time."""
    for name in NAMES:
        BACKENDS[name].load()
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000)


def pytest_sessionstart(session):
    """Have the programs of tests that have XLA optimize emitted as a user's are; see `quick_xla`."""
    usual = [(name, True) for name in quick_xla.emitters() if name in os.environ["XLA_FLAGS"]]
    if "jax" not in NAMES or not usual:
        return
    import jax
    from jax._src import compiler

    plain = compiler.get_compile_options

    def options(*args, **kwargs):
        found = plain(*args, **kwargs)
        if not jax.config.read("jax_disable_most_optimizations"):
            found.env_option_overrides = [*usual, *found.env_option_overrides]
        return found

    compiler.get_compile_options = options


def pytest_runtest_setup(item):
    """Let JAX optimize the programs of some tests, and compile those of the others as quickly as it can."""
    if "jax" not in NAMES or os.environ["JAX_DISABLE_MOST_OPTIMIZATIONS"] != "1":
        return
    import jax

    disabled = not ({"optimized", "xla_text"} & set(item.keywords) or isinstance(item, pytest.DoctestItem))
    if jax.config.read("jax_disable_most_optimizations") != disabled:
        jax.config.update("jax_disable_most_optimizations", disabled)
        jax.clear_caches()


def _has_gpu(name: str) -> bool:
    try:
        return any(device not in ("cpu", "TFRT_CPU_0") for device in BACKENDS[name].load().devices())
    except RuntimeError:  # JAX, of a platform that it does not find
        return False


@pytest.hookimpl(tryfirst=True)  # before -m selects
def pytest_collection_modifyitems(config, items):
    """Skip what this run is not for: slow tests, those of a GPU, of one version of XLA, and of frameworks it does not have."""
    _thin(items)
    if ONLY:
        others = [item for item in items if not _uses(item, ONLY)]
        config.hook.pytest_deselected(items=others)
        items[:] = [item for item in items if _uses(item, ONLY)]
    if CASES and not config.getoption("markexpr"):
        left_out = _repeated([item for item in items if _obstacle(item) is None])
        config.hook.pytest_deselected(items=left_out)
        here = set(items) - set(left_out)
        items[:] = [item for item in items if item in here]
    text = pytest.mark.skip(reason=f"reads what XLA of jaxlib {XLA_TEXT} writes; here is {JAXLIB}")
    slow = pytest.mark.skip(reason="slow; ask for it with -m slow")
    bare = pytest.mark.skip(reason="it shows JAX and torch; not both are among the backends of this run")
    gpu = pytest.mark.skip(reason="needs a GPU; python -m tox -e gpu, on a machine that has one")
    for item in items:
        if (obstacle := _obstacle(item)) is not None:
            item.add_marker(pytest.mark.skip(reason=obstacle))
        if "gpu" in item.keywords and DEVICE != "gpu":
            item.add_marker(gpu)
        if "xla_text" in item.keywords and JAXLIB != XLA_TEXT:
            item.add_marker(text)
        if "slow" in item.keywords and not config.getoption("markexpr"):
            item.add_marker(slow)
        if item.name in SHOWN_WITH_BOTH and not {"jax", "torch"} <= set(NAMES):
            item.add_marker(bare)


def _uses(item, framework):
    """Whether a test takes a framework: as a fixture, as the library of its case, or in an example."""
    if isinstance(item, pytest.DoctestItem):
        return any(framework in example.source for example in item.dtest.examples)
    params = item.callspec.params if hasattr(item, "callspec") else {}
    case = [params["lib"]] if "lib" in params else re.findall(r"\w+", item.name.partition("[")[2])
    return framework in item.fixturenames or framework in case


def _obstacle(item):
    """Why a case cannot be, or None."""
    params = item.callspec.params if hasattr(item, "callspec") else {}
    if params.get("algorithm") == "vendor" and "lib" in params and BACKENDS[params["lib"]].vendor_axes is None:
        return f"{params['lib']} has no convolution of its own"
    return None


def _thin(items):
    """Mark as slow what of a product of parameters a covering set does without; see the marker `covering`."""
    products = {}
    for item in items:
        if item.get_closest_marker("covering") is not None and _obstacle(item) is None:
            products.setdefault(item.nodeid.partition("[")[0], []).append(item)
    for cases in products.values():
        strength, *wholes = cases[0].get_closest_marker("covering").args
        rest = [item for item in cases if not set(wholes) & set(map(str, item.callspec.params.values()))]
        values = {item: sorted((name, repr(value)) for name, value in item.callspec.params.items()) for item in rest}
        meetings = {item: set(itertools.combinations(values[item], strength)) for item in rest}
        missing = set().union(*meetings.values())
        while missing:
            taken = max(rest, key=lambda item: len(meetings[item] & missing))
            missing -= meetings[taken]
            rest.remove(taken)
        for item in rest:
            item.add_marker(pytest.mark.slow)


def _repeated(items):
    """The cases that a run does without which another run has: those marked `once`, and of each test all but a few."""
    tests, left_out = {}, []
    for item in items:
        if "once" in item.keywords:
            left_out.append(item)
        elif not {"slow", "versions"} & set(item.keywords):
            tests.setdefault(item.nodeid.partition("[")[0], []).append(item)
    for cases in tests.values():
        kept = {n * len(cases) // CASES for n in range(CASES)}
        left_out += [item for n, item in enumerate(cases) if n not in kept]
    return left_out


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
        device = "cuda" if self.name == "torch" and DEVICE == "gpu" else None  # the others have a default device
        return self.backend.asarray(np.asarray(obj), dtype=dtype, device=device)

    def numpy(self, a) -> np.ndarray:
        """Return a NumPy array, after checking that `a` is of this library."""
        modules = {"jax": {"jax", "jaxlib"}}.get(self.name, {self.name.replace("-", "_")})
        assert type(a).__module__.split(".")[0] in modules, type(a)
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
def verdict_alone(monkeypatch):
    """Checks that say whether a result is wrong, and not why: the search for the cause takes most of their time."""
    monkeypatch.setattr(
        "triconv.checking.verdicts.wrong_result.diagnose",
        lambda *_, **__: Diagnosis(Cause.NONE, Hypothesis.UNEXPLAINED),
    )


@pytest.fixture
def plain_questions(monkeypatch):
    """Checks that do not ask again as training does, by memory, threads and earlier calls: test_memory.py is about those."""
    monkeypatch.setattr(
        "triconv.checking.questions.training_rows.with_rows", lambda candidate, context, rows, *_, **__: rows
    )


@pytest.fixture(scope="module")
def bench():
    """The benchmark, a package at the root of the repository, which tests import while they take this."""
    root = str(Path(__file__).parent.parent)
    sys.path.insert(0, root)
    yield pytest.importorskip("bench")
    sys.path.remove(root)


@pytest.fixture
def eight_devices(jax):
    """JAX with eight devices, or a skip that says so."""
    if len(jax.devices()) < 8:
        pytest.skip("needs eight devices; XLA_FLAGS=--xla_force_host_platform_device_count=8 makes them")
    return jax


@pytest.fixture
def torch():
    """Torch, or a skip that says so."""
    if "torch" not in NAMES:
        pytest.skip("torch is not among the backends of this run")
    import torch

    return torch
