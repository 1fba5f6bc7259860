"""A wrong constant in a transform of tiles is named, with the place in the tile that it is about."""

from __future__ import annotations

import functools

import numpy as np
import pytest

import triconv
from mistakes_of_precision import A, B, F
from triconv.checking.diagnosis.tile_transforms import tile_transform
from triconv.checking.diagnosis.winograd_constants import POINTS, right_weights, transforms
from triconv.checking.oracles.comparison import WrongResult
from triconv.checking.oracles.convolution import ConvolutionProblem, Expectations, InputArrays
from triconv.checking.reports.diagnosis_wording import diagnosis

SHAPES = (2, 2, 8, 8), (4, 2, 3, 3)
TRANSFORMS = {"input": B, "kernel": F, "output": A}
B4 = np.zeros((6, 6))
B4[:3] = [4, 0, -5, 0, 1, 0], [0, -4, -4, 1, 1, 0], [0, 4, -4, -1, 1, 0]
B4[3:] = [0, -2, -1, 2, 1, 0], [0, 2, -1, -2, 1, 0], [0, 4, 0, -5, 0, 1]
F4 = np.array([[6, 0, 0], [-4, -4, -4], [-4, 4, -4], [1, 2, 4], [1, -2, 4], [0, 0, 24]]) / 24
A4 = np.array([[1, 1, 1, 1, 1, 0], [0, 1, -1, 2, -2, 0], [0, 1, 1, 4, 4, 0], [0, 1, -1, 8, -8, 1]])


def changed(matrix, at, value):
    matrix = matrix.astype(float)
    matrix[at] = value
    return matrix


def winograd(x, w, rows, columns):
    """The value, with the transforms of each axis, of output positions that fill whole tiles."""
    (b, f, a), (c, h, d) = rows, columns
    size, tile = len(b), len(a)
    tiles = np.lib.stride_tricks.sliding_window_view(x, (size, size), (2, 3))[:, :, ::tile, ::tile]
    u, v = np.einsum("ai,kcij,bj->kcab", f, w, h), np.einsum("ai,nchwij,bj->nchwab", b, tiles, c)
    y = np.einsum("ia,nkhwab,jb->nkhiwj", a, np.einsum("kcab,nchwab->nkhwab", u, v), d)
    return y.reshape(*y.shape[:2], y.shape[2] * tile, -1)


def explained(compute, role="g", shapes=SHAPES):
    """The diagnosis in words of the value, or of the gradient of x, that is computed so; "" for none."""
    problem = ConvolutionProblem.of(triconv.conv2d, shapes, {})
    rng = np.random.default_rng(0)
    x, w = (rng.integers(-3, 4, shape).astype(float) for shape in shapes)
    g = rng.integers(-3, 4, (shapes[0][0], shapes[1][0], *(n - 2 for n in shapes[0][2:]))).astype(float)
    right = Expectations(problem, InputArrays({"x": x, "w": w}, g, {"x": x, "w": w}))
    answer = Expectations.value if role == "g" else functools.partial(Expectations.vjp, role="x")
    found = compute(x, w) if role == "g" else compute(g, w)
    assert found.shape == answer(right).shape
    result = tile_transform(WrongResult(problem, right, answer, role, found, answer(right), role == "g"))
    return "" if result is None else diagnosis(result[0])


def backward(*transforms):
    def compute(g, w):
        g = np.pad(g, ((0, 0), (0, 0), (2, 2), (2, 2)))
        return winograd(g, w.swapaxes(0, 1)[..., ::-1, ::-1], transforms, transforms)

    return compute


@pytest.mark.parametrize(
    ("of", "at", "value", "words"),
    [
        (
            "input",
            (1, 1),
            0.5,
            "input 1 of each tile: the transform of the input at input 1 (row 1, that of point 1) is 0.5 times",
        ),
        ("input", (0, 2), 1, "input 2 and output 0 and tap 0 of each tile: "),
        (
            "kernel",
            (2, 1),
            0.5,
            "tap 1 of each tile: the transform of the kernel at tap 1 (row 2, that of point -1) has the wrong",
        ),
        (
            "output",
            (1, 2),
            0,
            "output 1 of each tile: the transform of the output at output 1 (row 2, that of point -1) is zero",
        ),
        (
            "output",
            (1, 0),
            1,
            "the transform of the output at output 1 (row 0, that of point 0) is not zero",
        ),
    ],
)
def test_where_a_constant_is_wrong(of, at, value, words):
    transforms = tuple(changed(m, at, value) if name == of else m for name, m in TRANSFORMS.items())
    found = explained(lambda x, w: winograd(x, w, transforms, transforms))
    assert "a transform of tiles of 2 (Winograd's) has a wrong constant" in found
    assert words in found


def test_the_transforms_of_every_size_are_right():
    for points in POINTS:
        for tile, taps in ((2, 3), (4, 3), (6, 3), (2, 5), (3, 2)):
            if tile + taps - 2 <= len(points):
                b, f, a = transforms(points[: tile + taps - 2], tile, taps)
                weights = np.einsum("id,ir,it->drt", b, a, f)
                assert np.allclose(weights, right_weights(weights.shape))


@pytest.mark.parametrize(("of", "at", "value"), [(0, (3, 1), 2), (1, (3, 2), 0.2), (2, (3, 3), 6)])
def test_a_large_error_and_what_follows_from_it(of, at, value, torch):
    """The gradients that autograd takes of it are explained by the same constant."""
    matrices = [changed(m, at, value) if n == of else m for n, m in enumerate((B4, F4, A4))]

    def conv(x, w):
        b, f, a = (torch.as_tensor(m, dtype=x.dtype) for m in matrices)
        tiles = x.unfold(2, 6, 4)
        products = torch.einsum("ai,kci,aj,ncpj->nkpa", f, w, b, tiles)
        return torch.einsum("ra,nkpa->nkpr", a, products).reshape(len(x), len(w), -1)

    report = triconv.check(conv, triconv.conv1d, (2, 3, 14), (4, 3, 3), dtype="float64")
    wrong = [row for row in report.rows if row.verdict == "wrong" and row.question.kind in ("value", "vjp", "jvp")]
    assert len(wrong) >= 5
    assert {row.cause for row in wrong} == {"tile transform"}


def test_a_gradient_in_one_axis_and_larger_tiles():
    wrong = B, changed(F, (2, 1), 0.5), A
    assert "in those of tap 1 of each tile" in explained(backward(*wrong), role="x")
    in_one = explained(lambda x, w: winograd(x, w, TRANSFORMS.values(), wrong))
    assert "tiles of 2 (Winograd's) in spatial axis 1 has a wrong constant" in in_one
    larger = B4, F4, changed(A4, (1, 3), 1)
    found = explained(lambda x, w: winograd(x, w, larger, larger), shapes=((2, 1, 14, 10), (4, 1, 3, 3)))
    assert "tiles of 4" in found
    assert "in those of output 1 of each tile" in found


@pytest.mark.once
def test_what_is_no_tile():
    """Taps that count wrongly at every second position are that."""

    def weighted(x, w):
        y = np.array(triconv.conv2d(x, w))
        y[..., 1::2] = np.asarray(triconv.conv2d(x, w * np.array([1, 1, 0.5])))[..., 1::2]
        return y

    def blurred(x, w):
        return np.asarray(triconv.conv2d(x + 0.25 * np.roll(x, 1, 2), w))

    noise = np.random.default_rng(1).integers(1, 4, SHAPES[0])
    for compute in (blurred, lambda x, w: np.asarray(triconv.conv2d(x * noise, w)), weighted):
        assert not explained(compute)
