"""Whether a candidate may be called from two threads at once: faults are found each time, and what is right raises no alarm."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
import sys
import threading

import numpy as np
import pytest

import triconv
from triconv.checking.candidates.candidates import as_candidate
from triconv.checking.findings.protocol import Kind, Question, Role, Transform
from triconv.checking.questions import interleaving, thread_calls
from triconv.checking.verdicts.trial import Trial, differ_as_integers

X, W = (2, 3, 7, 6), (4, 3, 3, 2)
Y = (2, 4, 5, 5)


def rows(candidate, framework="numpy"):
    """The rows of the question alone, asked as a check asks it."""
    wrapped = as_candidate(
        candidate, framework=framework, dtype="float64", keywords={}, is_notebook=False, shapes=(X, W)
    )
    rng = np.random.default_rng(0)
    first, second = ([rng.integers(-3, 4, shape).astype(float) for shape in (X, W)] for _ in range(2))
    g, other = (rng.integers(-3, 4, Y).astype(float) for _ in range(2))
    vjps = {n: Question(Kind.VJP, role, role, 1, Transform.VJP) for n, role in enumerate((Role.X, Role.W))}
    if not (wrapped.returns_cache or wrapped.has_rules or wrapped.differentiates):
        vjps = {}
    value = Question(Kind.VALUE, Role.G)
    trial = Trial(wrapped, ("x", "w"), value, vjps, first, second, g, other, differ_as_integers, 0, is_convolution=True)
    return thread_calls.rows(trial)


def conv(x, w):
    windows = np.lib.stride_tricks.sliding_window_view(x, w.shape[2:], (2, 3))
    return np.einsum("nchwij,kcij->nkhw", windows, w)


def by_x(g, w):
    return triconv.conv_input_vjp(g, w, input_size=X[2:])


def by_w(g, x):
    return triconv.conv_weight_vjp(g, x, kernel_size=W[2:])


# ---- what keeps something for all calls together


def scratch_by_shape():
    kept = {}

    def function(x, w):
        columns = kept.setdefault(x.shape, np.empty(x.shape))
        columns[...] = x
        return conv(columns, w)

    return function


def last_input():
    kept = None

    def function(x, w):
        nonlocal kept
        kept = x
        return conv(kept, w)

    return function


def attribute():
    def function(x, w):
        function.x = x.copy()
        return conv(function.x, w)

    return function


def accumulator():
    total = np.zeros(Y)

    def function(x, w):
        total[:] = 0
        for i in range(3):
            for j in range(2):
                np.add(total, np.einsum("nchw,kc->nkhw", x[:, :, i : i + 5, j : j + 5], w[:, :, i, j]), out=total)
        return total.copy()

    return function


def in_one_line():
    kept = np.empty(X)
    return lambda x, w: np.copyto(kept, x) or conv(kept, w)


def default_argument():
    def function(x, w, kept=np.empty(X)):  # noqa: B008
        kept[:] = x
        return conv(kept, w)

    return function


def list_of_inputs():
    kept = []

    def function(x, w):
        kept.append(x)
        y = conv(kept[0], w)
        kept.clear()
        return y

    return function


class Workspace:
    def __init__(self):
        self.memory = None

    def of(self, shape):
        if self.memory is None or self.memory.shape != shape:
            self.memory = np.empty(shape)
        return self.memory


def workspace_object():
    workspace = Workspace()

    def function(x, w):
        memory = workspace.of(x.shape)
        np.copyto(memory, x)
        return conv(memory, w)

    return function


def one_element_at_a_time():
    total = np.zeros(Y)

    def function(x, w):
        total[:] = 0
        for n, k, i, j in np.ndindex(*Y):
            for c, a, b in np.ndindex(*W[1:]):
                total[n, k, i, j] += x[n, c, i + a, j + b] * w[k, c, a, b]
        return total.copy()

    return function


def rule_with_scratch():
    kept = np.empty(Y)

    def rule(g, x):
        kept[:] = g
        return by_w(kept, x)

    return triconv.Rules(conv, by_x, rule)


def pair_with_scratch():
    kept = np.empty(Y)

    def backward(g, cache):
        kept[:] = g
        return by_x(kept, cache[1]), by_w(kept, cache[0])

    return (lambda x, w: (conv(x, w), (x, w))), backward


SHARING = [
    scratch_by_shape,
    last_input,
    attribute,
    accumulator,
    in_one_line,
    default_argument,
    list_of_inputs,
    workspace_object,
    one_element_at_a_time,
    rule_with_scratch,
    pair_with_scratch,
]


@pytest.mark.parametrize("make", SHARING, ids=lambda make: make.__name__)
def test_shared_memory_is_found(make):
    (row,) = rows(make())
    assert (row.verdict, row.cause) == ("wrong", "shared scratch memory")
    what = {"rule_with_scratch": "VJP of w", "pair_with_scratch": "VJP of x"}.get(make.__name__, "value")
    assert row.detail.startswith(
        f"{what}: results depend on another thread's call (shared scratch memory), which came at "
    )
    assert "test_thread_calls.py:" in row.detail


# ---- what is right, or is for one thread at a time


def with_a_lock():
    lock, kept = threading.Lock(), np.empty(X)

    def function(x, w):
        with lock:
            kept[:] = x
            return conv(kept, w)

    return function


def memory_of_its_thread():
    local = threading.local()

    def function(x, w):
        local.x = x.copy()
        return conv(local.x, w)

    return function


def plan_by_shape():
    plans = {}

    def function(x, w):
        plan = plans.setdefault(x.shape, list(np.ndindex(*w.shape[2:])))
        return sum(np.einsum("nchw,kc->nkhw", x[:, :, i : i + 5, j : j + 5], w[:, :, i, j]) for i, j in plan)

    return function


def counts_its_calls():
    count = 0

    def function(x, w):
        nonlocal count
        count += 1
        return conv(x, w)

    return function


class Layer:
    def forward(self, x, w=None):
        self.x = x.copy()
        return conv(self.x, self.w if w is None else w)

    __call__ = forward


def adapter_of_a_layer():
    layer = Layer()

    def function(x, w):
        layer.w = w
        return layer.forward(x)

    return function


def method_of_an_object():
    return Layer().forward


def pair_that_remembers():
    saved = {}

    def forward(x, w):
        saved["x"], saved["w"] = x, w
        return conv(x, w)

    return forward, lambda g: (by_x(g, saved["w"]), by_w(g, saved["x"]))


def rules_that_remember():
    saved = {}

    def forward(x, w):
        saved["x"] = x
        return conv(x, w)

    return triconv.Rules(forward, by_x, lambda g, x: by_w(g, saved["x"]))


def ends_other_threads():
    def function(x, w):
        if threading.current_thread() is not threading.main_thread():
            raise SystemExit
        return conv(x, w)

    return function


def refuses_other_threads():
    def function(x, w):
        if threading.current_thread() is not threading.main_thread():
            raise RuntimeError
        return conv(x, w)

    return function


ASKED = [with_a_lock, memory_of_its_thread, plan_by_shape, counts_its_calls, pair_that_remembers, rules_that_remember]
NOT_ASKED = [adapter_of_a_layer, method_of_an_object, Layer, refuses_other_threads, ends_other_threads]


@pytest.mark.parametrize("make", [*ASKED, *NOT_ASKED], ids=lambda make: make.__name__)
def test_what_is_right_or_for_one_thread_raises_no_alarm(make):
    assert [row.verdict for row in rows(make())] == ["right"] * (make in ASKED)


def test_functions_of_frameworks_are_right(lib):
    """JAX's too, which are traced in both threads."""

    def function(x, w):
        return triconv.conv2d(x, w)

    (row,) = rows(function, lib.name) if lib.name != "jax" else rows(_of_jax(), lib.name)
    assert row.verdict == "right"


def _of_jax():
    import jax

    return lambda x, w: jax.lax.conv(x, w, (1, 1), "VALID")


def test_an_autograd_function_that_keeps_what_it_saves_on_the_class(torch):
    class Conv(torch.autograd.Function):
        kept = None

        @staticmethod
        def forward(ctx, x, w):
            Conv.kept = x.clone()
            ctx.save_for_backward(x, w)
            return torch.nn.functional.conv2d(Conv.kept, w)

        @staticmethod
        def backward(ctx, g):
            x, w = ctx.saved_tensors
            return torch.nn.grad.conv2d_input(x.shape, w, g), torch.nn.grad.conv2d_weight(x, w.shape, g)

    (row,) = rows(lambda x, w: Conv.apply(x, w), "torch")
    assert row.cause == "shared scratch memory"


def test_a_module_is_for_one_thread(torch):
    class Conv(torch.nn.Module):
        def forward(self, x, w):
            self.x = x
            return torch.nn.functional.conv2d(self.x, w)

    assert rows(Conv(), "torch") == []


def test_the_report_names_it():
    report = triconv.check(triconv.Rules(last_input(), by_x, by_w), triconv.conv2d, X, W)
    assert (report.verdict, report.cause) == ("wrong", "shared scratch memory")
    report = triconv.gradcheck((pair_with_scratch()), X, W)
    assert report.cause == "shared scratch memory"
    report = triconv.check(triconv.Rules(conv, by_x, by_w), triconv.conv2d, X, W)
    assert report.ok
    (row,) = (row for row in report.rows if row.what == "two threads at once")
    assert row.detail == "each of two threads gets what it gets alone"


STATIC = """
static double kept[1000];
void conv(const double* x, const double* w, double* y) {
    for (int i = 0; i < 2 * 3 * 7 * 6; i++) kept[i] = x[i];
    for (int n = 0; n < 2; n++) for (int k = 0; k < 4; k++) for (int p = 0; p < 5; p++) for (int q = 0; q < 5; q++) {
        double sum = 0;
        for (int c = 0; c < 3; c++) for (int i = 0; i < 3; i++) for (int j = 0; j < 2; j++)
            sum += kept[((n * 3 + c) * 7 + p + i) * 6 + q + j] * w[((k * 3 + c) * 3 + i) * 2 + j];
        y[((n * 4 + k) * 5 + p) * 5 + q] = sum;
    }
}
"""


@pytest.fixture
def in_c(tmp_path):
    """Compile a convolution in C."""
    if shutil.which("gcc") is None or sys.platform != "linux":
        pytest.skip("needs gcc")

    def make(source):
        (tmp_path / "conv.c").write_text(source)
        subprocess.run(["gcc", "-shared", "-fPIC", "-o", "conv.so", "conv.c"], cwd=tmp_path, check=True)
        library = ctypes.CDLL(str(tmp_path / "conv.so"))

        def function(x, w):
            x, w, y = np.ascontiguousarray(x), np.ascontiguousarray(w), np.empty(Y)
            library.conv(*(ctypes.c_void_p(a.ctypes.data) for a in (x, w, y)))
            return y

        return function

    return make


def test_code_in_c_without_memory_of_its_own_is_right(in_c):
    source = STATIC.replace("static double kept[1000];", "").replace("    for", "    double kept[1000];\n    for", 1)
    (row,) = rows(in_c(source))
    assert row.verdict == "right"


def test_code_in_c_is_called_at_once(in_c, monkeypatch):
    """A static array; the race itself is by chance, so here that it is run at all."""
    asked = []
    monkeypatch.setattr(thread_calls, "_at_once", lambda *_: asked.append(1))
    rows(in_c(STATIC))
    assert asked
    asked.clear()
    rows(conv)
    assert not asked


# ---- how it is asked


def test_nothing_that_other_threads_see_is_changed():
    before = sys.getswitchinterval(), sys.gettrace(), sys.getprofile(), np.geterr()
    seen = []

    def looking(x, w):
        seen.append(sys.getswitchinterval())
        return conv(x, w)

    (row,) = rows(looking)
    assert row.verdict == "right"
    assert (sys.getswitchinterval(), sys.gettrace(), sys.getprofile(), np.geterr()) == before
    assert set(seen) == {before[0]}


def test_a_call_that_is_too_slow_is_let_go_on(monkeypatch):
    """The second thread waits for the first: that one is not stopped a second time."""
    monkeypatch.setattr(thread_calls, "PATIENCE", 0.001)
    (row,) = rows(with_a_lock())
    assert row.verdict == "right"


def test_places_are_spread():
    assert interleaving.spread(range(5), 8) == [0, 1, 2, 3, 4]
    assert interleaving.spread(range(100), 4) == [12, 37, 62, 87]
