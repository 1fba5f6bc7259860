"""Products of rows, and the threads that NumPy's tiles are on: each result as that of one thread and of the definition."""

from __future__ import annotations

import os
import threading

import numpy as np
import pytest

import triconv
from triconv import contractions
from triconv.backends import BACKENDS, numpy_backend, numpy_threads
from triconv.geometry import Geometry
from triconv.kernels import depthwise, row_products
from triconv.kernels.target import changed, target_of
from triconv.planning import planner

CASES = {
    "one axis": ((3, 2, 1, 19), (2, 1, 5), {"stride": 2, "padding": [(1, 4)]}),
    "depthwise": ((2, 3, 1, 9, 8), (1, 1, 3, 3), {"padding": 1}),
    "a multiplier": ((2, 3, 2, 9, 8), (3, 2, 3, 2), {"stride": (2, 1), "padding": [(2, 0), (-1, 1)]}),
    "dilated rows": ((2, 2, 1, 11, 9), (1, 1, 3, 3), {"dilation": (3, 2), "padding": 2}),
    "windows of padding alone": ((2, 2, 1, 4, 4), (1, 1, 4, 4), {"stride": 9, "padding": [(3, 7), (3, 9)]}),
    "phases": ((2, 2, 1, 5, 6), (1, 1, 4, 3), {"input_dilation": (2, 3), "padding": 3}),
    "three axes": ((2, 2, 2, 5, 6, 7), (2, 2, 2, 3, 2), {"stride": (2, 1, 2), "padding": [(1, 0), (0, 2), (1, 1)]}),
}
NUMPY = BACKENDS["numpy"].load()


def results(x, w, g, geometry, **small):
    """The three, by products of rows."""
    found = []
    for name, operands in (("conv", (x, w)), ("conv_input_vjp", (g, w)), ("conv_weight_vjp", (g, x))):
        asked = planner.problem_of(name, *operands, geometry, NUMPY, x.dtype)
        with changed(**small):
            *_, schedule = depthwise.schedules(asked, target_of(NUMPY))
        assert schedule.form == row_products.FORM
        found.append(getattr(depthwise, name)(*operands, schedule, NUMPY))
    return found


def operands(case, dtype=np.float32):
    shape, kernel, params = CASES[case]
    rng = np.random.default_rng(0)
    geometry = Geometry.of(shape[3:], kernel[2:], **params)
    shapes = shape, (shape[0], *kernel), (*shape[:2], kernel[0], *geometry.output_size)
    return *(rng.integers(-3, 4, size).astype(dtype) for size in shapes), geometry


@pytest.mark.parametrize("small", [{}, {"row_tile_bytes": 100, "row_elements": 200}], ids=["one tile", "many tiles"])
@pytest.mark.parametrize("case", CASES)
def test_small_integers_are_exact(case, small):
    x, w, g, geometry = operands(case)
    names = ("conv", (x, w)), ("conv_input_vjp", (g, w)), ("conv_weight_vjp", (g, x))
    for found, (name, given) in zip(results(x, w, g, geometry, **small), names, strict=True):
        truth = getattr(contractions, name)(*given, geometry=geometry, algorithm="direct")
        np.testing.assert_array_equal(found, truth)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("case", ["one axis", "depthwise", "dilated rows"])
def test_what_is_not_finite_stays_where_the_equation_puts_it(case, bad):
    x, w, g, geometry = operands(case)
    w = np.abs(w) + 1
    index = tuple(size // 2 for size in x.shape)
    marks = np.zeros_like(x)
    marks[index], x[index] = 1, bad
    met = contractions.conv(marks, w, geometry=geometry, algorithm="direct") > 0
    with np.errstate(invalid="ignore"):  # of the weight VJP, where the cotangent is zero
        y, _, _ = results(x, w, g, geometry, row_tile_bytes=100)
    np.testing.assert_array_equal(~np.isfinite(y), met)


@pytest.mark.parametrize("case", CASES)
def test_the_same_bits_on_any_number_of_threads(case, monkeypatch):
    x, w, g, geometry = operands(case)
    x, w, g = (np.sin(a + np.arange(a.size).reshape(a.shape)).astype(np.float32) for a in (x, w, g))
    found = []
    for count in ("1", "2", "5"):
        monkeypatch.setenv("OMP_NUM_THREADS", count)
        found.append(results(x, w, g, geometry, row_tile_bytes=100, row_elements=200))
    for others in found[1:]:
        for a, b in zip(found[0], others, strict=True):
            np.testing.assert_array_equal(a, b)


@pytest.fixture
def four_threads(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "4")


def test_every_job_is_run_once_and_on_several_threads(four_threads):
    meeting, done = threading.Barrier(2, timeout=60), []

    def job(number):
        if number < 2:  # both are needed at once
            meeting.wait()
        done.append(number)

    numpy_threads.run(job, range(20))
    assert sorted(done) == list(range(20))


def test_the_first_error_is_raised(four_threads):
    def job(number):
        if number >= 2:
            raise ValueError(number)

    with pytest.raises(ValueError, match="2"):
        numpy_threads.run(job, [0, 1, 2])


def test_errors_of_numpy_are_those_of_the_caller(four_threads):
    meeting = threading.Barrier(2, timeout=60)

    def job(_):
        meeting.wait()
        np.float32(1) / np.zeros(1, np.float32)

    with np.errstate(divide="ignore"):
        numpy_threads.run(job, range(2))
    with np.errstate(divide="raise"), pytest.raises(FloatingPointError):
        numpy_threads.run(lambda _: np.float32(1) / np.zeros(1, np.float32), range(8))


def test_a_job_runs_its_own_jobs_on_its_thread(four_threads):
    def job(_):
        threads = []
        numpy_threads.run(lambda _: threads.append(threading.get_ident()), range(8))
        assert set(threads) == {threading.get_ident()}

    numpy_threads.run(job, range(8))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning", "ignore:.*fork:RuntimeWarning")
def test_a_child_makes_its_own_threads(four_threads):
    numpy_threads.run(lambda _: None, range(8))
    before = numpy_threads._pool.cache_info().currsize
    assert before
    if not (child := os.fork()):
        code = 1
        try:
            empty = not numpy_threads._pool.cache_info().currsize
            numpy_threads.run(lambda _: None, range(8))
            code = 0 if empty else 2
        finally:
            os._exit(code)
    assert os.waitpid(child, 0)[1] == 0


@pytest.mark.parametrize(("told", "count"), [("3", 3), ("2,1", 2), ("1000", numpy_threads.MOST)])
def test_openmp_says_how_many(monkeypatch, told, count):
    monkeypatch.setenv("OMP_NUM_THREADS", told)
    assert numpy_threads.count() == count
    monkeypatch.setenv("OMP_NUM_THREADS", "none")
    assert 1 <= numpy_threads.count() <= numpy_threads.MOST


@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize("bytes_", [4, 2**7, 2**10, 2**18])
def test_an_array_in_c_order_has_its_elements(monkeypatch, four_threads, bytes_, last):
    monkeypatch.setattr(numpy_backend, "BLOCK_BYTES", bytes_)
    a = np.arange(2 * 5 * 7 * 6, dtype=np.float32).reshape(2, 5, 7, 6)
    a = np.moveaxis(a, -1, 0)[:, :, None, ...] if last else a[::-1, 1:, :, ::2]
    ordered = BACKENDS["numpy"].load().ordered(a)
    assert ordered.flags.c_contiguous
    np.testing.assert_array_equal(ordered, a)


def test_an_array_with_steps_of_a_power_of_two_has_its_elements(monkeypatch, four_threads):
    monkeypatch.setattr(numpy_backend, "BLOCK_BYTES", 2**12)
    a = np.arange(6 * 37 * 512, dtype=np.float32).reshape(6, 37, 1, 512).transpose(3, 0, 2, 1)
    assert a.strides[-1] % numpy_backend.ALIASED_BYTES == 0
    np.testing.assert_array_equal(NUMPY.ordered(a), a.copy())


@pytest.mark.parametrize("shape", [(7,), (1, 1), (1, 9, 5), (3, 1, 40), (0, 4)])
def test_pieces_are_the_whole(monkeypatch, four_threads, shape):
    monkeypatch.setattr(numpy_threads, "PIECE_BYTES", 24)
    a, out = np.arange(np.prod(shape), dtype=np.float32).reshape(shape), np.ones(shape, np.float32).T
    numpy_threads.assign(out, a.T)
    np.testing.assert_array_equal(out, a.T)
    numpy_threads.add(out, a.T)
    np.testing.assert_array_equal(out, 2 * a.T)


@pytest.mark.parametrize(("c", "k"), [(1, 1), (1, 2), (3, 2)])
def test_channels_last_are_the_same_numbers(c, k):
    rng, params = np.random.default_rng(0), {"padding": 1, "stride": (1, 2), "groups": 4, "algorithm": "depthwise"}
    x, w = rng.integers(-3, 4, (3, 4 * c, 9, 8)).astype("f"), rng.integers(-3, 4, (4 * k, c, 3, 3)).astype("f")
    y = triconv.conv(x, w, **params)
    last, layout = [np.ascontiguousarray(np.moveaxis(a, 1, -1)) for a in (x, y)], {"layout": "NHWC,OIHW->NHWC"}
    np.testing.assert_array_equal(triconv.conv(last[0], w, **params, **layout), last[1])
    gw = triconv.conv_weight_vjp(y, x, kernel_size=(3, 3), **params)
    found = triconv.conv_weight_vjp(last[1], last[0], kernel_size=(3, 3), **params, **layout)
    np.testing.assert_array_equal(found, gw)


def test_what_the_standard_does_is_what_numpy_does():
    plain, rng = super(type(NUMPY), NUMPY), np.random.default_rng(0)
    a = rng.integers(-3, 4, (2, 5, 1, 3, 7)).astype(np.float32)
    meetings = [(slice(0, 5, 2), slice(1, 4)), (slice(1, 7, 2), slice(1, 4)), (slice(0, 0), slice(0, 0))]
    for pads in [(1, 2)], [(-1, 1)], [(0, -2)], [(3, -5)], [(-5, 3)]:
        ours, theirs = (f(a, pads, meetings, 4) for f in (NUMPY.unfold_last, plain.unfold_last))
        np.testing.assert_array_equal(ours, theirs)
    u = rng.standard_normal((2, 7, 3, 4))
    for count, step in ((3, 1), (2, 2), (1, 3)):
        np.testing.assert_array_equal(NUMPY.overlapping(u, count, step), plain.overlapping(u, count, step))
    np.testing.assert_array_equal(NUMPY.overlapping(u[:, :, ::2], 2, 1), plain.overlapping(u[:, :, ::2], 2, 1))
    tiles = [lib.map_tiles(lambda a, b: u[a, b] * 2, u.shape[:2], (1, 3)) for lib in (NUMPY, plain)]
    np.testing.assert_array_equal(*tiles)
