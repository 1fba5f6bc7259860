"""The data of a check: integers whose sums are exact, integers that span their dtype, and numbers that must be rounded.

Exact data that need every bit of a floating dtype are those of `wide_data.py` and `cancelling_data.py`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from triconv.checking.dtypes import BITS, COMPLEX, INTEGERS
from triconv.checking.oracles import cancelling_data, wide_data
from triconv.checking.oracles.convolution import ConvolutionProblem, InputArrays
from triconv.checking.oracles.wide_data import WideArrays

# by which power of two every other sample is smaller, so that what rounds to a fixed step shows: as far as the dtype reaches
SMALLER = {"float16": 3}
NAMES = ("exact", "small", "random")
"""The sets of data; each has a generator of its own, so that it is the same whichever are drawn."""
WALK, WINDOWS = 1024, 8
"""Terms of which each is 1 or -1, whose sums stay below 2^8, for both parts of a JVP too; and how often so many are asked."""
SIGNS = 1 << 10
"""Says which generator draws signs."""
MOST_DRAWN = 1 << 20
"""Elements up to which every array is drawn by itself: a larger one takes over 20 ms and 8 MiB."""


def draw(
    p: ConvolutionProblem, dtype: str, seed: int, user_arrays: list[np.ndarray] | None
) -> tuple[dict[str, tuple[int, ...]], InputArrays, InputArrays, InputArrays]:
    """The shapes of the operator's arrays in torch's order, and three sets of data.

    Returns
    -------
    shapes : dict of str to tuple of int
        By role.
    exact : InputArrays
        Integers whose sums of products are exact in `dtype`, in any order.
    small : InputArrays
        Integers whose sums are exact in 8 bits.
    random : InputArrays
        For floats, numbers that have to be rounded, every other sample much smaller; for integers, integers that span the
        dtype. With `user_arrays`, if there are any, as operands.
    """
    drawn = DrawnData(p, dtype, seed, user_arrays)
    return drawn.shapes, drawn["exact"], drawn["small"], drawn["random"]


class DrawnData:
    """The three sets of data of `draw` and those of `wide_data.py` and `cancelling_data.py`, by name, drawn when asked for.

    Parameters
    ----------
    problem : ConvolutionProblem
        The problem.
    dtype : str
        Of the candidate's arrays.
    seed : int
        Of the data.
    user_arrays : list of numpy.ndarray, optional
        The operands of the random data.
    most_bits : int
        Bits of the widest numbers.
    """

    def __init__(
        self,
        problem: ConvolutionProblem,
        dtype: str,
        seed: int,
        user_arrays: list[np.ndarray] | None,
        most_bits: int = BITS["float64"],
    ) -> None:
        p, self.most_bits = problem, most_bits
        self.problem, self.dtype, self.seed, self.user_arrays = p, dtype, seed, user_arrays
        self.shapes = p.operand_shapes
        self.shape_of_g = p.torch_shape(p.result, p.result_shape(p.result))
        self._drawn: dict[str, InputArrays] = {}
        self._wide: dict[str, WideArrays | None] = {}

    def __getitem__(self, name: str) -> InputArrays:
        if name not in self._drawn:
            wide = self.wide(name) if name not in NAMES else None
            self._drawn[name] = getattr(self, f"_{name}")(self._rng(name)) if wide is None else wide.scaled()
        return self._drawn[name]

    def wide(self, name: str) -> WideArrays | None:
        """Return exact data that need every bit, in whole numbers; None where there are too many terms."""
        if name not in self._wide:
            of = self.problem, name, self.dtype, self._rng(name)
            is_wide = name in wide_data.NAMES
            self._wide[name] = wide_data.draw(*of, self.most_bits) if is_wide else cancelling_data.draw(*of)
        return self._wide[name]

    def keep(self, name: str, arrays: InputArrays) -> None:
        """Take more data, by another name."""
        self._drawn[name] = arrays

    def all_drawn(self) -> list[InputArrays]:
        """Return all data that were drawn so far."""
        return list(self._drawn.values())

    def _rng(self, name: str) -> np.random.Generator:
        place = (*NAMES, *wide_data.NAMES, *cancelling_data.NAMES).index(name)
        return np.random.default_rng([self.seed, place] if place else self.seed)

    def _exact(self, rng: np.random.Generator) -> InputArrays:
        if self.user_arrays is not None and self.dtype in INTEGERS:
            # the user's may be small, so that sums in a narrower dtype would be right
            return _spanning(self.problem, self.shapes, self.shape_of_g, self.dtype, rng)
        return integers(self.problem, self.shapes, self.shape_of_g, self.dtype, rng, BITS[self.dtype])

    def _small(self, rng: np.random.Generator) -> InputArrays:
        return integers(self.problem, self.shapes, self.shape_of_g, self.dtype, rng, min(8, BITS[self.dtype]))

    def _random(self, rng: np.random.Generator) -> InputArrays:
        p, dtype = self.problem, self.dtype
        if dtype in INTEGERS:
            random = _spanning(p, self.shapes, self.shape_of_g, dtype, rng)
        else:

            def normal(shape: tuple[int, ...]) -> np.ndarray:
                a = rng.standard_normal(shape)
                if dtype in COMPLEX:
                    a = a + 1j * rng.standard_normal(shape)
                return rounded(a, dtype)

            primals = {r: normal(s) for r, s in self.shapes.items()}
            first = p.operands[0]
            primals[first][1::2] *= 2.0 ** -SMALLER.get(dtype, 10)
            random = InputArrays(primals, normal(self.shape_of_g), tangents(primals, normal))
        if self.user_arrays is None:
            return random
        primals = {
            r: rounded(p.to_torch(r, a) if r != "bias" else a.ravel() if len(p.bias_pattern) > 1 else a, dtype)
            for r, a in zip(p.roles, self.user_arrays, strict=True)
        }
        return InputArrays(primals, random.g, random.tangents)


def tangents(primals: dict[str, np.ndarray], draw: Callable[[tuple[int, ...]], np.ndarray]) -> dict[str, np.ndarray]:
    """Draw arrays of the same shapes; of a large one, the same numbers in reverse, which take no memory."""
    return {
        r: np.flip(a, tuple(range(1, a.ndim))) if a.size > MOST_DRAWN and a.ndim > 1 else draw(a.shape)
        for r, a in primals.items()
    }


def integers(
    p: ConvolutionProblem,
    shapes: dict[str, Any],
    shape_of_g: tuple[int, ...],
    dtype: str,
    rng: np.random.Generator,
    bits: int,
) -> InputArrays:
    """Small integers whose sums of products are exact in so many bits, in any order; sparse where there are many terms."""
    terms = max(p.terms(role) for role in "xwg")
    most = 3 if terms * 2 * 9 < 2.0**bits else 1
    # twice the terms, for the two parts of a JVP, and of a complex product
    room = 2.0**bits / (terms * 4 * most**2)
    density = min(1.0, room**0.5 * 0.9)
    least = 0 if dtype.startswith("u") else -most

    def draw(shape: tuple[int, ...]) -> np.ndarray:
        # of a large array, numbers of 8 bits, which are drawn much faster
        integer, real = (np.int64, np.float64) if math.prod(shape) < MOST_DRAWN else (np.int8, np.float32)
        a = rng.integers(least, most + 1, shape, integer).astype(_wide(dtype))
        if dtype in COMPLEX:
            a += 1j * rng.integers(-most, most + 1, shape, integer)
        if density < 1:
            a *= rng.random(shape, real) < density
        return a

    primals, g = {role: draw(shape) for role, shape in shapes.items()}, draw(shape_of_g)
    arrays = InputArrays(primals, g, tangents(primals, draw))
    for drawn in (arrays.primals, arrays.tangents):
        if "bias" in drawn and not drawn["bias"].any():  # as a bias of one number often is: it would not be missed
            drawn["bias"] = np.ones_like(drawn["bias"])
    return arrays


def windows(p: ConvolutionProblem, role: str, arrays: InputArrays) -> Iterator[InputArrays]:
    """Yield signs of arrays, and zeros: the terms of each sum that are not zero are next to each other, the last ones first.

    Their sums are random walks, whatever the order is, so short that sums of 8 bits are exact; and a term that is left out is
    missing. Each channel of the result has a window of its own: `WINDOWS` times as many windows of `WALK` terms are asked.
    """
    taps = math.prod(a.kernel_size for a in p.model.axes)
    if taps > WALK and role not in ("w", "bias"):
        return
    of = {"x": "w", "g": "w", "w": "g", "bias": p.result}[role]
    shape = arrays.g.shape if of == p.result else arrays.primals[of].shape
    groups = p.model.groups
    # the axes of the tensor that tell the terms apart, and that of the channels of the result, each of one group
    if of == "w":
        letters, total = (shape[0] // groups, shape[1]) if role == "g" else (shape[1], shape[0] // groups)
        length = max(1, WALK // taps)
    else:
        letters, total, length = shape[1], shape[0] * math.prod(shape[2:]), WALK
    count = -(-total // length)
    for call in range(min(WINDOWS, -(-count // letters))):
        number = (call * letters + np.arange(letters)) % count
        first = np.round((total - length) * (1 - number / max(1, count - 1)))[:, None]
        inside = (np.arange(total) >= first) & (np.arange(total) < first + length)
        if role == "g":
            inside = np.tile(inside, (groups, 1))
        elif role == "x":
            inside = np.tile(inside.T, (groups, 1))
        else:
            inside = np.moveaxis(inside.reshape(letters, shape[0], *shape[2:]), 0, 1)
        at = inside.reshape(*inside.shape, *[1] * (len(shape) - inside.ndim))

        def kept(r: str, a: np.ndarray, at: np.ndarray = at) -> np.ndarray:
            signs = np.sign(a.real)
            return np.where(at, signs, 0) if r == of else np.asarray(signs)

        primals, along = ({r: kept(r, a) for r, a in of_role.items()} for of_role in (arrays.primals, arrays.tangents))
        yield InputArrays(primals, kept(p.result, arrays.g), along)


def dense_signs(p: ConvolutionProblem, seed: int) -> InputArrays:
    """Draw 1 and -1 for every element: sums are random walks, which half width holds where integers have to be sparse."""
    rng = np.random.default_rng([seed, SIGNS])
    return p.arrays_of(lambda shape: rng.choice([1.0, -1.0], shape))


def _spanning(
    p: ConvolutionProblem, shapes: dict[str, Any], shape_of_g: tuple[int, ...], dtype: str, rng: np.random.Generator
) -> InputArrays:
    """Integers whose sums of products fit into the dtype, and into no narrower one where there are not too many terms."""
    terms = max(p.terms(role) for role in "xwg")
    most = max(1, int((2.0 ** BITS[dtype] / (4 * terms)) ** 0.5))
    least = 0 if dtype.startswith("u") else -most

    def draw(shape: tuple[int, ...]) -> np.ndarray:
        return rng.integers(least, most + 1, shape).astype(_wide(dtype))

    primals = {role: draw(shape) for role, shape in shapes.items()}
    return InputArrays(primals, draw(shape_of_g), tangents(primals, draw))


def rounded(a: np.ndarray, dtype: str) -> np.ndarray:
    """Round to a dtype, and give it in the dtype in which the definition is computed."""
    if dtype == "bfloat16":
        a = np.asarray(a, np.float32)
        bits = a.view(np.uint32)
        bits = (bits + 0x7FFF + ((bits >> 16) & 1)) & np.uint32(0xFFFF0000)
        return np.where(np.isnan(a), a, bits.view(np.float32)).astype(np.float64)
    with np.errstate(all="ignore"):
        return np.asarray(a).astype(dtype).astype(_wide(dtype))


def wrapped(a: np.ndarray, dtype: str) -> np.ndarray:
    """Return integers modulo 2 to the power of the bits of an integer dtype, as integers of 64 bits."""
    return a.astype(dtype).astype(_wide(dtype))


def widened(a: np.ndarray, dtype: str) -> np.ndarray:
    """A result of this dtype, in the dtype in which the definition is computed."""
    if dtype in INTEGERS and a.dtype.kind in "iu":
        return a.astype(_wide(dtype))
    return a.astype(np.complex128 if a.dtype.kind == "c" else np.float64)


def _wide(dtype: str) -> type[np.generic]:
    """The dtype in which the definition is computed: modulo 2^64 for integers."""
    if dtype in INTEGERS:
        return np.uint64 if dtype == "uint64" else np.int64
    return np.complex128 if dtype in COMPLEX else np.float64
