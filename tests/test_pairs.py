"""Pairs of a forward, which may return a cache, and a backward: in the styles in which courses have them."""

from __future__ import annotations

import numpy as np
import pytest

import triconv
from triconv.checking.candidates.pairs import assigned

X, W, B = (2, 3, 6, 7), (4, 3, 3, 2), (4,)


@pytest.mark.parametrize(
    ("of_x", "of_w", "verdict"), [("conj", "conj", "right"), ("copy", "copy", "right"), ("conj", "copy", "wrong")]
)
def test_gradients_of_complex_arrays_in_numpy_are_conjugated_or_not_but_all_alike(of_x, of_w, verdict, verdict_alone):
    def backward(g, saved):
        x, w = saved
        pull = triconv.vjp(triconv.conv1d, getattr(x, of_w)(), getattr(w, of_x)())[1]
        return pull(g)

    pair = (lambda x, w: (triconv.conv1d(x, w), (x, w))), backward
    report = triconv.check(pair, triconv.conv1d, (2, 2, 5), (3, 2, 2), dtype="complex128")
    assert report.verdict == verdict, str(report)


def windows(x, w, stride, pad):
    padded = np.pad(x, ((0, 0), (0, 0), (pad, pad), (pad, pad)))
    view = np.lib.stride_tricks.sliding_window_view(padded, w.shape[2:], (2, 3))
    return view[:, :, ::stride, ::stride]


def forward(x, w, b, stride=1, pad=0):
    return np.einsum("ncoptu,kctu->nkop", windows(x, w, stride, pad), w) + b.reshape(1, -1, 1, 1)


def cotangents(g, x, w, b, stride=1, pad=0):
    padded = np.zeros((*x.shape[:2], x.shape[2] + 2 * pad, x.shape[3] + 2 * pad))
    products = np.einsum("nkop,kctu->nctuop", g, w)
    for t, u in np.ndindex(w.shape[2:]):
        rows, columns = (slice(a, a + n * stride, stride) for a, n in zip((t, u), g.shape[2:], strict=True))
        padded[:, :, rows, columns] += products[:, :, t, u]
    gx = padded[:, :, pad : padded.shape[2] - pad, pad : padded.shape[3] - pad]
    gw = np.einsum("nkop,ncoptu->kctu", g, windows(x, w, stride, pad))
    return gx, gw, g.sum((0, 2, 3)).reshape(b.shape)


def course_forward(x, w, b, conv_param):
    return forward(x, w, b, **conv_param), (x, w, b, conv_param)


def course_backward(dout, cache):
    x, w, b, conv_param = cache
    return cotangents(dout, x, w, b, **conv_param)


def several(x, w, b):
    return forward(x, w, b), x, w, b


PAIRS = {
    "a cache and a dict of parameters": (course_forward, course_backward),
    "a cache first": (course_forward, lambda cache, dout: course_backward(dout, cache)),
    "a dict of gradients": (
        course_forward,
        lambda dout, cache: dict(
            zip(("dw", "db", "dx"), [course_backward(dout, cache)[n] for n in (1, 2, 0)], strict=True)
        ),
    ),
    "gradients in another order": (course_forward, lambda dout, cache: course_backward(dout, cache)[::-1]),
    "a list": (course_forward, lambda dout, cache: list(course_backward(dout, cache))),
}


@pytest.mark.parametrize("name", PAIRS)
@pytest.mark.parametrize(("stride", "pad"), [(1, 0), (2, 1)])
def test_a_pair_with_a_cache(name, stride, pad):
    report = triconv.check(
        PAIRS[name], triconv.conv2d, X, W, B, args={"stride": stride, "pad": pad}, stride=stride, padding=pad
    )
    assert report.ok, str(report)
    assert sum(row.question.is_derivative and row.verdict == "right" for row in report.rows) == 3


def with_names(x, w, b, stride):
    return forward(x, w, b, stride)


def of_names(d_out, x, w, b, stride):
    return cotangents(d_out, x, w, b, stride)


def of_other_order(x, w, b, d_out, stride):
    return cotangents(d_out, x, w, b, stride)


def of_other_names(image, kernel, b, upstream, step):
    return cotangents(upstream, image, kernel, b, step)


def of_anything(*arguments):
    return cotangents(*arguments)


@pytest.mark.parametrize("backward", [of_names, of_other_order, of_other_names, of_anything])
def test_a_pair_without_a_cache(backward):
    assert triconv.check((with_names, backward), triconv.conv2d, X, W, B, args=2, stride=2).ok
    assert triconv.check((with_names, backward), triconv.conv2d, X, W, B, kwargs={"stride": 2}, stride=2).ok is (
        backward not in (of_anything, of_other_names)  # which are not told the keyword
    )


def test_a_gradient_that_is_not_given_is_not_judged():
    without = (course_forward, lambda g, cache: (course_backward(g, cache)[0], None, course_backward(g, cache)[2]))
    report = triconv.check(without, triconv.conv2d, X, W, B, args={})
    assert report.ok, str(report)
    verdicts = {row.question.name: row.verdict for row in report.rows if row.what.startswith("VJP")}
    assert verdicts == {"x": "right", "w": "unsupported", "bias": "right"}
    assert "it gives no VJP of w" in report.summary


def test_several_caches():
    assert triconv.check((several, cotangents), triconv.conv2d, X, W, B).ok
    assert triconv.check((several, lambda g, cache: cotangents(g, *cache)), triconv.conv2d, X, W, B).ok
    assert triconv.check(triconv.Rules(several, backward=cotangents), triconv.conv2d, X, W, B).ok


def of_keywords(*, d_out, b, w, x, stride=1):
    return cotangents(d_out, x, w, b, stride)


def of_a_keyword(d_out, x, w, b, *, stride):
    return cotangents(d_out, x, w, b, stride)


@pytest.mark.parametrize("backward", [of_keywords, of_a_keyword])
@pytest.mark.parametrize("more", [{"args": 2}, {"kwargs": {"stride": 2}}])
def test_a_backward_of_keywords_alone(backward, more):
    assert triconv.check((with_names, backward), triconv.conv2d, X, W, B, **more, stride=2).ok


def with_statistics(x, w, b, conv_param):
    return *course_forward(x, w, b, conv_param), x.mean(), x.var()


def test_a_cache_before_statistics():
    assert triconv.check((with_statistics, course_backward), triconv.conv2d, X, W, B, args={}).ok


@pytest.mark.parametrize("shape", [(4, 1), (1, 1, 1, 4), (1, 4, 1, 1)])
def test_a_bias_with_more_axes(shape):
    pair = PAIRS["a cache and a dict of parameters"]
    assert triconv.check(pair, triconv.conv2d, X, W, shape, args={}).ok
    flat = (course_forward, lambda g, cache: (*course_backward(g, cache)[:2], g.sum((0, 2, 3))))
    report = triconv.check(flat, triconv.conv2d, X, W, shape, args={})
    assert [row.what for row in report.rows if row.verdict == "wrong"] == ["shape of the VJP of bias"]
    assert report.cause == "kept axes"


def test_a_dtype_is_a_row_of_its_own_below_real_faults():
    double = (course_forward, lambda g, cache: tuple(np.asarray(a, np.float64) for a in course_backward(g, cache)))
    report = triconv.check(double, triconv.conv2d, X, W, B, args={}, dtype="float32")
    assert (report.rows[-1].what, report.rows[-1].verdict, report.cause) == ("dtype", "wrong", "dtype")
    assert {row.verdict for row in report.rows[:-1]} <= {"right", "unsupported"}
    broken = (course_forward, lambda g, cache: tuple(2 * a.astype(np.float64) for a in course_backward(g, cache)))
    assert triconv.check(broken, triconv.conv2d, X, W, B, args={}, dtype="float32").cause == "constant factor"
    narrow = (course_forward, lambda g, cache: tuple(a.astype(np.float32) for a in course_backward(g, cache)))
    report = triconv.check(narrow, triconv.conv2d, X, W, B, args={})
    assert [row.what for row in report.rows if row.verdict == "wrong"] == ["dtype"]


def test_a_forward_that_remembers_is_run_before_its_backward():
    remembered = {}

    def remember(x, w, b):
        remembered["arrays"] = x, w, b
        return forward(x, w, b)

    assert triconv.check((remember, lambda g: cotangents(g, *remembered["arrays"])), triconv.conv2d, X, W, B).ok


def test_a_forward_alone_has_its_value_before_the_cache():
    report = triconv.check(course_forward, triconv.conv2d, X, W, B, args={})
    assert report.verdict == "unchecked"
    assert {row.verdict for row in report.rows if row.question.is_value} == {"right"}


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        ((0, 1, 2), (0, 1, 2)),
        ((1, 0, 2), (0, 1, 2)),
        ((2, 1), (None, 1, 2)),
        ((1,), (None, 1, None)),
    ],
)
def test_gradients_are_assigned_by_order_and_shape(found, expected):
    shapes = [(2, 3), (4, 5), (6,)]
    arrays = [np.full(shape, n) for n, shape in enumerate(shapes)]
    result = assigned(tuple(arrays[n] for n in found), shapes, ("x", "w", "b"))
    assert [None if a is None else int(a.flat[0]) for a in result] == list(expected)


# ---- more geometries, and departures that are meant


def square(g, cache):
    """Right for square images alone."""
    gx, gw, gb = course_backward(g, cache)
    return (gx if gx.shape[2] == gx.shape[3] else gx * 0), gw, gb


@pytest.mark.once
def test_a_sweep_finds_what_one_geometry_does_not_show(verdict_alone, plain_questions):
    call = {"args": {"stride": 1, "pad": 1}, "stride": 1, "padding": 1}
    shapes = (2, 3, 6, 6), (4, 3, 3, 3), (4,)
    assert triconv.check((course_forward, square), triconv.conv2d, *shapes, **call).ok
    report = triconv.check((course_forward, square), triconv.conv2d, *shapes, **call, sweep=True)
    wrong = [row.what for row in report.rows if row.verdict == "wrong"]
    assert any("not square" in what for what in wrong)
    assert all(what.startswith("sweep: ") for what in wrong)
    right = triconv.check((course_forward, course_backward), triconv.conv2d, *shapes, **call, sweep=True)
    assert right.ok, str(right)
    names = " ".join(row.what for row in right.rows)
    for name in ("one sample", "even kernel", "kernel as large", "no padding", "stride with a remainder", "dilation"):
        assert name in names or name == "dilation", name


@pytest.mark.once
def test_a_refused_geometry_is_no_fault(plain_questions):
    def refuses(x, w, b, conv_param):
        assert (x.shape[2] - w.shape[2]) % 2 == 0, "does not fit"
        return course_forward(x, w, b, conv_param)

    report = triconv.check(
        (refuses, course_backward), triconv.conv2d, (2, 3, 5, 5), (4, 3, 3, 3), B, args={}, sweep=True
    )
    assert report.ok, str(report)
    assert any(row.verdict == "unsupported" and "does not fit" in row.detail for row in report.rows)


def averaged(g, cache):
    gx, gw, gb = course_backward(g, cache)
    return gx, gw / g.shape[0], gb / g.shape[0]


def test_what_is_meant_is_no_fault():
    pair = (course_forward, averaged)
    assert triconv.check(pair, triconv.conv2d, X, W, B, args={}).cause == "batch averaged"
    assert triconv.check(pair, triconv.conv2d, X, W, B, args={}, meant=("batch averaged",)).ok
    assert not triconv.check(pair, triconv.conv2d, X, W, B, args={}, meant=("sign",)).ok
    with pytest.raises(ValueError, match="`meant` must be causes"):
        triconv.check(pair, triconv.conv2d, X, W, B, args={}, meant=("luck",))


@pytest.mark.once
def test_products_of_8_bits_that_are_meant(verdict_alone):
    def rounded(a):
        scale = np.abs(a).max() / 127
        return np.rint(a / scale) * scale

    def narrow_forward(x, w, b):
        return forward(rounded(x), rounded(w), b), (x, w, b)

    def narrow_backward(g, cache):
        x, w, b = cache
        return cotangents(rounded(g), rounded(x), rounded(w), b)

    pair = (narrow_forward, narrow_backward)
    assert not triconv.check(pair, triconv.conv2d, X, W, B).ok
    assert triconv.check(pair, triconv.conv2d, X, W, B, meant="int8 products").ok
    broken = (narrow_forward, lambda g, cache: tuple(2 * a for a in narrow_backward(g, cache)))
    assert not triconv.check(broken, triconv.conv2d, X, W, B, meant="int8 products").ok


@pytest.mark.parametrize(
    ("candidate", "words"),
    [
        ((forward,), "got a tuple of 1: function"),
        ((forward, 3), "got a tuple of 2: function, int"),
        ({"forward": forward}, "got dict"),
    ],
)
def test_what_is_no_candidate_is_refused(candidate, words):
    with pytest.raises(TypeError, match=words):
        triconv.check(candidate, triconv.conv2d, X, W)


@pytest.mark.once
@pytest.mark.parametrize(("broken", "ok"), [(False, True), (True, False)])
def test_feedback_alignment_that_is_meant(broken, ok, verdict_alone):
    fixed = np.random.default_rng(0).integers(-3, 4, W).astype(float)

    def backward(g, cache):
        x, w, b, conv_param = cache
        other = -w if broken else fixed  # a wrong sign is no feedback: it depends on the kernel
        return cotangents(g, x, other, b, **conv_param)[0], *cotangents(g, x, w, b, **conv_param)[1:]

    pair = (course_forward, backward)
    assert not triconv.check(pair, triconv.conv2d, X, W, B, args={}).ok
    assert triconv.check(pair, triconv.conv2d, X, W, B, args={}, meant="feedback alignment").ok is ok


def test_the_program_of_a_forward_alone_takes_its_result_before_the_cache():
    def twice(x, w, b, conv_param):
        y, cache = course_forward(x, w, b, conv_param)
        return 2 * y, cache

    report = triconv.check(twice, triconv.conv2d, X, W, B, args={})
    with pytest.raises(AssertionError):
        exec(report.counterexample, {"__name__": "program"})
