"""Several threads at once, each with other geometries, derivatives and precisions: the same results as one after the other."""

from __future__ import annotations

import functools
import random
import sys
import threading

import numpy as np
import pytest

import triconv

THREADS = 4
PARAMS = [
    ((2, 4, 9), (6, 2, 3), {"groups": 2, "padding": [(2, -1)], "stride": 2}),
    ((1, 2, 8, 7), (3, 2, 3, 2), {"padding": "same", "dilation": (1, 2)}),
    ((3, 5), (2, 5), {}),
]


@pytest.fixture
def frequent_switches():
    """Python changes threads a hundred times as often as it does by itself."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(5e-5)
    yield
    sys.setswitchinterval(before)


def in_threads(jobs):
    """The results of each job, which all start at once, each in its own thread."""
    results, start = [None] * len(jobs), threading.Barrier(len(jobs))

    def run(number):
        start.wait(60)
        try:
            results[number] = jobs[number]()
        except Exception as problem:  # noqa: BLE001 (it is raised below, by the thread of the test)
            results[number] = problem

    threads = [threading.Thread(target=run, args=(number,)) for number in range(len(jobs))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for result in results:
        if isinstance(result, Exception):
            raise result
    return results


def assert_same(found, expected):
    for ours, truth in zip(found, expected, strict=True):
        for a, b in zip(ours, truth, strict=True):
            assert a.dtype == b.dtype
            np.testing.assert_array_equal(a, b)


def operands(number, shapes):
    rng = np.random.default_rng(number)
    return [rng.integers(-3, 4, shape).astype(np.float32) for shape in shapes]


def test_values_and_derivatives_are_those_of_one_thread(lib, frequent_switches):
    """Geometries differ by thread, and each is planned, and traced, for the first time while the others are."""

    def job(number):
        def run():
            found = []
            for repeat in range(1 if lib.name == "jax" else 2):
                for x, w, params in PARAMS[: 1 if lib.name == "jax" else None]:
                    positions = [size + 5 * repeat for size in x[2:]]
                    given = operands(number, ((x[0] + number, x[1], *positions), w))
                    precision = ("highest", "default")[(number + repeat) % 2]
                    algorithm = ("auto", "direct", "gemm", "depthwise")[number]
                    asked = params | {"precision": precision, "algorithm": algorithm}
                    y, pullback = triconv.vjp(triconv.conv, *map(lib.array, given), **asked)
                    _, tangent = triconv.jvp(triconv.conv, *[tuple(map(lib.array, given))] * 2, **asked)
                    found += [lib.numpy(a) for a in (y, *pullback(y), tangent)]
            return found

        return run

    jobs = [job(number) for number in range(THREADS)]
    found = in_threads(jobs)
    assert_same(found, [run() for run in jobs])


def test_autograd_of_torch_is_that_of_one_thread(torch, frequent_switches):
    """Second order too, and per-sample gradients; threads ask for different precisions under flags that narrow."""

    def derivatives(number, shape, kernel, params):
        conv = functools.partial(triconv.conv, **params, precision=("highest", "default")[number % 2])
        x, w = (
            torch.tensor(a, requires_grad=True) for a in operands(number, ((shape[0] + number, *shape[1:]), kernel))
        )
        y = conv(x, w)
        gx, gw = torch.autograd.grad((y * y).sum(), (x, w), create_graph=True)
        second = torch.autograd.grad(gx.sum() + gw.sum(), (x, w))
        per_sample = torch.func.vmap(torch.func.grad(lambda w, x: (conv(x[None], w) ** 2).sum()), (None, 0))
        return [y, gx, gw, *second, per_sample(w.detach(), x.detach())]

    def job(number):
        return lambda: [a.detach().numpy() for case in PARAMS[:2] for a in derivatives(number, *case)]

    before = torch.backends.fp32_precision
    jobs = [job(number) for number in range(THREADS)]
    try:
        torch.backends.fp32_precision = "tf32"
        found = in_threads(jobs)
        assert torch.backends.fp32_precision == "tf32"
    finally:
        torch.backends.fp32_precision = before
    assert_same(found, [run() for run in jobs])


def test_a_precision_of_jax_is_of_its_thread(jax):
    """What each traces while others trace is at its own precision."""
    x, w = (jax.ShapeDtypeStruct(shape, "float32") for shape in ((2, 16, 40), (16, 16, 3)))

    def job(number):
        def run():
            precision = ("highest", "default")[number % 2]
            params = {"padding": number, "algorithm": "gemm", "precision": precision}
            text = jax.jit(lambda x, w: triconv.conv(x, w, **params)).lower(x, w).as_text()
            assert "dot_general" in text
            return "HIGHEST" in text

        return run

    assert in_threads([job(number) for number in range(THREADS)]) == [True, False] * 2


# ---- the checker


def test_two_checks_of_one_module_at_a_time(torch, frequent_switches):
    """Forward mode too, whose levels are the process's; and neither sees the parameters of the other."""
    module = torch.nn.Conv1d(2, 3, 2)

    def job(seed):
        def run():
            return [triconv.check(module, triconv.conv1d, (2, 2, 5), seed=seed)]

        return run

    for (report,) in in_threads([job(0), job(1)]):
        assert report.ok, str(report)


def test_a_module_keeps_its_parameters_while_it_is_checked(torch):
    """Another thread may use it meanwhile."""

    class Conv(torch.nn.Conv1d):
        def forward(self, x):
            seen.append(module.weight is weight)
            return super().forward(x)

    module = Conv(2, 3, 2)
    weight, seen = module.weight, []
    assert triconv.check(module, triconv.conv1d, (2, 2, 5)).ok
    assert seen
    assert all(seen)


def test_no_check_changes_the_generators_that_all_threads_draw_from():
    """Not even for a while, unless the candidate draws or seeds itself."""

    def states():
        return random.getstate(), np.random.get_state()[1].tobytes(), np.random.get_state()[2]  # noqa: NPY002

    before, seen = states(), []

    class Layer:
        def __init__(self):
            self.w = np.ones((3, 2, 2))

        def forward(self, x):
            seen.append(states() == before)
            self.x = x
            return triconv.conv1d(x, self.w)

        def backward(self, g):
            self.dw = triconv.conv_weight_vjp(g, self.x, kernel_size=2)
            return triconv.conv_input_vjp(g, self.w, input_size=self.x.shape[2])

    def function(x, w):
        seen.append(states() == before)
        return triconv.conv1d(x, w)

    assert triconv.check(Layer(), triconv.conv1d, (2, 2, 5)).ok
    triconv.check(function, triconv.conv1d, (2, 2, 5), (3, 2, 2))
    assert all(seen)
    assert states() == before


def test_a_layer_that_draws_is_seeded_and_the_generator_put_back():
    from triconv.checking.candidates import generators

    before = np.random.get_state()[1].tobytes()  # noqa: NPY002
    assert not generators.draws(lambda: np.random.default_rng().random())
    drawn = [generators.seeded(lambda: np.random.random_sample(3)) for _ in range(2)]  # noqa: NPY002
    np.testing.assert_array_equal(*drawn)
    assert np.random.get_state()[1].tobytes() == before  # noqa: NPY002
