"""Exact data that need every bit of the dtype: numbers as wide as its significand, and sums as wide.

Integers of a few bits are exact in any order, and in any narrower arithmetic as well. The data here are dyadic rationals, whole
numbers times a power of two, of which every partial sum in any order is exact too, but in no fewer bits than the significand
has. So a result that differs shows that something was rounded, and how many bits were kept, with no tolerance:

- **"wide x", "wide w", "wide g"**: one of the three tensors has numbers of all ``p`` bits, and zeros. The two others have a
  single 1 or -1 for each index of the letter that the wide one lacks, in each group: "wide x" has one in every w[k] and in
  every g[:, k], "wide w" in every x[n] and g[n], "wide g" in every x[:, c] and w[:, c].
- **"wide bias"**: one number of all ``p`` bits in each channel of the cotangent, for the VJP of a bias, which is its sum.
- **"wide sums of x", ...**: every element is a power of two, 1 or -1 times ``2^e`` with a random ``e``: operands that have one
  bit each, and sums that need many. Each derivative has its own, with exponents as large as its number of terms allows. Where
  there are too many terms, as in the cotangent of a kernel, most positions of g are zeros. For arrays of half width, sums are
  taken in single precision, so they have 24 bits, and are rounded once.

Proof that every partial sum is exact. All terms of a sum are multiples of one unit, so every partial sum is, and it has at
most ``p`` bits if the magnitudes of all terms add up to ``2^p`` units at most.

*One tensor wide.* A derivative by another tensor is a sum of products of the wide one and a third. It has the letter that the
wide one lacks, and for an index of that the third is a single 1 or -1. So the sum is one product: a number of the wide tensor
or its opposite, below ``3/4 2^p``. Where x is padded by copies of itself, it is as many products as an element has copies, and
the wide numbers have that many bits less. A bias and the tangents of the wide tensor have three bits less: a value adds ``1/8
2^p`` at most. Tangents of the other operand are zeros, so a JVP has one product, too.

*Wide exponents.* One product is exact whatever its exponent is. So where a sum has one, and no bias is added, the numbers are
multiplied by powers of two from 1 to ``2^SPREAD``: what loses small numbers beside large ones shows.

*Wide sums.* A product is at most ``2^E``, with ``E`` the sum of both largest exponents, and ``n`` terms add up to ``n 2^E``,
which is at most ``2^p`` by the choice of ``E``.

A complex number has two such parts. Its sums have a bit to spare, for algorithms that add the parts first.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from triconv.checking.dtypes import ARITHMETIC, BITS, COMPLEX, INTEGERS
from triconv.checking.oracles.convolution import PAD_MODES, ConvolutionProblem, InputArrays
from triconv.checking.oracles.definition import AxisParameters, output_size
from triconv.checking.oracles.projections import LETTERS

BIAS = "wide bias"
OF_TENSOR = {"x": "wide x", "w": "wide w", "g": "wide g"}
SUMS = {role: f"wide sums of {role}" for role in ("x", "w", "g", "bias")}
TANGENTS = " and tangents"
"""At the end of the name of data that have tangents, too."""
NAMES = (*OF_TENSOR.values(), BIAS, *SUMS.values(), *(name + TANGENTS for name in OF_TENSOR.values()))
LACKS = {"x": "k", "w": "n", "g": "c"}
"""The letter that a tensor does not have."""
GROUPED = {"x": 1, "w": 0, "g": 1}
"""Which of the two axes has the channels of all groups; the other has those of one group, or samples."""
SHORTER = 7
"""By how many bits wide numbers differ in size at most: no dtype takes the small ones for zero."""
LARGEST = 3
"""Wide numbers are below ``2^LARGEST``, so that most have a fraction, in every dtype."""
LESS = 3
"""Bits that a bias and tangents have less."""
SPREAD = 18
"""Exponents over which numbers are spread where a sum has one term: with `SHORTER`, within those of float16."""
WHOLE = 52
"""Bits of numbers that are spread, at most: as whole numbers, they are exact in double precision."""
LEAST, WANTED = 2, 6
"""Least sum of two exponents for which powers of two are drawn; and that for which terms are left out."""
LARGEST_OF_SUMS, SMALLEST = {"float16": 15}, 13
"""Exponents of the largest result in a dtype of few exponents, and of its smallest power of two, which is no subnormal."""
TRIES = 64
"""Meetings that are tried at random along an axis."""


class WideArrays(NamedTuple):
    """Arrays of whole numbers, each times ``2^-units[role]``; the bias counts in units of the products, or of the cotangent."""

    whole: InputArrays
    units: dict[str, int]

    def scaled(self) -> InputArrays:
        """The arrays as a candidate gets them."""
        w, u = self.whole, self.units
        primals = {r: a * 2.0 ** -u[r] for r, a in w.primals.items()}
        same = w.tangents is w.primals
        tangents = primals if same else {r: a * 2.0 ** -u[r] for r, a in w.tangents.items()}
        return InputArrays(primals, w.g * 2.0 ** -u["result"], tangents)

    def unit_of(self, role: str) -> int:
        """Return the exponent of the unit of a derivative by `role`: a value, or a tangent of one, is that by its own role."""
        if role == "bias":
            return self.units["result"]
        return sum(unit for other, unit in self.units.items() if other in "xwg" and other != role)


def names_of(role: str, *, order: int, is_cotangent: bool, dtype: str) -> tuple[str, ...]:
    """Return the data that test a result: those with one of its two operands wide, then wide sums; of integers, none.

    Parameters
    ----------
    role : {"x", "w", "g", "bias"}
        Which tensor the result is.
    order : int
        Of the derivative: of a JVP and of a second one, tangents are operands, and sums are those of the first.
    is_cotangent : bool
        Whether it is a VJP: that of a bias is asked with data of its own.
    dtype : str
        Of the arrays.
    """
    if dtype in INTEGERS:
        return ()
    if role == "bias":
        return (BIAS, SUMS[role]) if is_cotangent else ()
    names = tuple(name for other, name in OF_TENSOR.items() if other != role)
    if order and not is_cotangent:
        return tuple(name + TANGENTS for name in names)
    return (*names, SUMS[role])


def role_of(name: str) -> str:
    """Return which tensor is wide in the data of a name; "" for none."""
    return next((role for role, other in OF_TENSOR.items() if other == name.removesuffix(TANGENTS)), "")


def draw(p: ConvolutionProblem, name: str, dtype: str, rng: np.random.Generator, most_bits: int) -> WideArrays | None:
    """Draw the arrays of a name; None if there are too many terms for wide sums.

    Parameters
    ----------
    p : ConvolutionProblem
        The problem.
    name : str
        One of `NAMES`.
    dtype : str
        Of the candidate's arrays.
    rng : numpy.random.Generator
        Gives the numbers.
    most_bits : int
        Bits of the widest numbers, for right answers that are not exact in all 53.
    """
    tangents = name.endswith(TANGENTS)
    bits = min(BITS[dtype], most_bits) - (dtype in COMPLEX)
    drawn = _Drawn(p, dtype in COMPLEX, rng, tangents)
    for role, other in SUMS.items():
        if other == name:
            of_sums = max(bits, BITS["float32"]) if is_rounded_once(name, dtype) else bits
            return drawn.sums(role, of_sums, LARGEST_OF_SUMS.get(dtype))
    spread = 0 if tangents or not is_spread(dtype) else max(0, min(SPREAD, WHOLE - bits, most_bits - bits))
    return drawn.wide(name, bits - _bits_of(copies_of(p)), spread)


def is_spread(dtype: str) -> bool:
    """Whether numbers of several exponents are drawn where a sum has one term."""
    return dtype not in COMPLEX and BITS[dtype] < WHOLE


def is_rounded_once(name: str, dtype: str) -> bool:
    """Whether right results for the data of this name are sums in single precision, rounded to a dtype of fewer bits."""
    return name in SUMS.values() and dtype in ARITHMETIC and ARITHMETIC[dtype].unit > ARITHMETIC[dtype].sums


class _Drawn:
    """Draws arrays for a problem."""

    def __init__(
        self, problem: ConvolutionProblem, is_complex: bool, rng: np.random.Generator, has_tangents: bool
    ) -> None:
        self.problem, self.is_complex, self.rng, self.has_tangents = problem, is_complex, rng, has_tangents
        p = problem
        self.shapes = {role: p.torch_shape(role, p.result_shape(role)) for role in "xwg"}

    # ---- wide numbers

    def wide(self, name: str, bits: int, most_spread: int) -> WideArrays:
        """One tensor has numbers of so many bits, or the cotangent a few of them for a bias."""
        p = self.problem
        role = role_of(name) or p.result
        has_bias = "bias" in p.roles and (name == BIAS or role == "w")  # with a value of the other operand alone
        is_one = name != BIAS and not has_bias and (role == "x" or copies_of(p) == 1)
        spread = most_spread if is_one else 0
        units = dict.fromkeys("xwg", 0) | {role: bits - LARGEST + spread // 2}

        def tensor(other: str, width: int) -> np.ndarray:
            shape = self.shapes[other]
            if name == BIAS:  # one wide number in each channel of the cotangent
                is_wide = other == role
                return (
                    self._ones(other, LETTERS[role][1], self._parts(shape, width, zeros=False))
                    if is_wide
                    else self._signs(shape)
                )
            if other != role:
                return self._ones(other, LACKS[role], self._signs(shape))
            return self._parts(shape, width, spread=spread)

        def arrays(width: int) -> dict[str, np.ndarray]:
            drawn = {r: tensor(r, width) for r in p.operands}
            if "bias" in p.roles:
                drawn["bias"] = self._bias(bits - LESS) * (not spread)
            return drawn

        units["bias"] = sum(units[r] for r in p.operands)
        units["result"] = units[p.result]
        primals = arrays(bits)
        tangents = arrays(bits - LESS) if self.has_tangents else primals
        if self.has_tangents and role in p.operands:  # a JVP is then one product, which shows the bits of the tangent
            tangents = {r: a if r in (role, "bias") else np.zeros_like(a) for r, a in tangents.items()}
        return WideArrays(InputArrays(primals, tensor(p.result, bits), tangents), units)

    def _bias(self, bits: int) -> np.ndarray:
        """A bias of wide numbers, one of them zero: there, a value that has no other terms is zero."""
        bias = self._parts(self.problem.operand_shapes["bias"], bits)
        if bias.size:
            bias.flat[self.rng.integers(bias.size)] = 0
        return bias

    def _parts(self, shape: tuple[int, ...], bits: int, *, zeros: bool = True, spread: int = 0) -> np.ndarray:
        """Numbers of so many bits, or of up to `SHORTER` fewer; of complex ones, both parts."""
        real = self._numbers(shape, bits, zeros=zeros, spread=spread)
        return real + 1j * self._numbers(shape, bits, zeros=zeros, spread=spread) if self.is_complex else real

    def _numbers(self, shape: tuple[int, ...], bits: int, *, zeros: bool, spread: int) -> np.ndarray:
        """Odd numbers from ``2^(bits - 1)`` to ``3/4 2^bits``, most of them shifted to the right, and a quarter zeros.

        Those that are spread are multiplied by up to ``2^spread``.
        """
        bits = max(2, bits)
        drawn = self.rng.integers(0, 1 << 63, shape)  # each part of a number from bits of its own
        a = (1 << (bits - 1)) + (drawn & ((1 << (bits - 2)) - 1))
        a >>= np.minimum((drawn >> 54) & SHORTER, bits - 2)
        a |= 1
        if spread:
            a <<= (((drawn >> 32) & 0xFFFF) * (spread + 1)) >> 16
        a *= 1 - ((drawn >> 58) & 2)
        if zeros:
            a *= (drawn >> 60) & 3 != 0
        return np.asarray(a, np.float64)

    def _signs(self, shape: tuple[int, ...]) -> np.ndarray:
        choices = [1, -1, 1j, -1j] if self.is_complex else [1.0, -1.0]
        return np.asarray(self.rng.choice(choices, shape))

    def _ones(self, role: str, letter: str, values: np.ndarray) -> np.ndarray:
        """Keep one value for each index of a letter, in each group, where it meets something; zeros elsewhere."""
        if not values.size:
            return values
        axis = LETTERS[role].index(letter)
        groups = 1 if axis == GROUPED[role] else self.problem.model.groups
        size = values.shape[1 - axis] // groups
        index, group = (a.ravel() for a in np.indices((values.shape[axis], groups)))
        # another one for each index, as far as there are
        other = group * size + (index + self.rng.integers(size)) % size
        at = (index, other) if axis == 0 else (other, index)
        kept = np.zeros(values.shape, bool)
        kept[(*at, *self._positions(role, index.size))] = True
        return np.where(kept, values, 0)

    def _positions(self, role: str, count: int) -> list[np.ndarray]:
        """Random positions, as far as they are found, that meet one of each other tensor."""
        model = self.problem.model
        meetings = [_meetings(axis, self.rng)["xgw".index(role)] for axis in model.axes]
        at = [self.rng.choice(found, count) for found in meetings]
        if role == "x" and model.mode != "zeros":  # of the element of which it is a copy
            sizes = self.shapes["x"][2:]
            at = [_origin(model.mode, size, pad)[i] for i, size, pad in zip(at, sizes, model.pads, strict=True)]
        return at

    # ---- powers of two

    def sums(self, role: str, bits: int, largest: int | None) -> WideArrays | None:
        """Powers of two whose sums have up to so many bits: most of them positive, as such sums grow with their terms.

        Parameters
        ----------
        role : {"x", "w", "g", "bias"}
            By which tensor the derivative is.
        bits : int
            Of the sums.
        largest : int, optional
            Exponent of the largest result, of a dtype of few exponents.
        """
        p = self.problem
        # a cotangent of w, or of a bias, sums over samples and positions, which may be many
        masked = {"w": "g", "bias": p.result}.get(role)
        counts = {r: p.terms(r) * copies_of(p) for r in "xwg"} | {"bias": positions_of(self.shapes[p.result])}
        terms = counts[role]
        # twice the terms for the two parts of a JVP, twice that for those of a complex product; the bias, and its tangent
        parts = 4 if self.is_complex else 2
        total, step = bits - _bits_of(parts * terms + 2), 1
        if total < WANTED <= bits - LESS and masked:
            step = -(-terms // max(1, (2 ** (bits - WANTED) - 2) // parts))
            total = bits - _bits_of(parts * -(-terms // step) + 2)
        if total < LEAST:
            return None
        # the sum for a bias has one operand, the cotangent
        most = {"first": 0 if role == "bias" else total // 2, "bias": total}
        most["result"] = total if role == "bias" else total // 2

        def powers(shape: tuple[int, ...], exponent: int) -> np.ndarray:
            def real() -> np.ndarray:
                drawn = self.rng.integers(0, 4 * (exponent + 1), shape, np.int16)
                a = np.ldexp(1.0, drawn >> 2)
                return np.asarray(np.where(drawn & 3, a, -a))

            return real() + 1j * real() if self.is_complex else real()

        def arrays() -> dict[str, np.ndarray]:
            return {r: powers(s, most["bias" if r == "bias" else "first"]) for r, s in p.operand_shapes.items()}

        unit = total // 4
        if largest is not None:  # whatever is computed beside it
            unit = min(max(unit, (_bits_of(max(counts.values())) + total - largest + 1) // 2), SMALLEST)
        units = {**dict.fromkeys("xwg", unit), "bias": 2 * unit, "result": unit}
        primals = arrays()
        tangents = arrays() if self.has_tangents else primals
        g = powers(self.shapes[p.result], most["result"])
        if masked and step > 1:
            kept = self._every(step, self.shapes[masked])
            primals, tangents = (
                {r: a * kept if r == masked else a for r, a in of.items()} for of in (primals, tangents)
            )
            g = g * kept if masked == p.result else g
        return WideArrays(InputArrays(primals, g, tangents), units)

    def _every(self, step: int, shape: tuple[int, ...]) -> np.ndarray:
        """Return ones at one of so many positions, counted through all samples, and zeros elsewhere."""
        at = np.arange(shape[0] * math.prod(shape[2:])) + self.rng.integers(step)
        return (at % step == 0).astype(np.float64).reshape(shape[0], 1, *shape[2:])


def positions_of(shape: tuple[int, ...]) -> int:
    """Return the number of samples times that of positions."""
    return max(1, shape[0] * math.prod(shape[2:]))


def _bits_of(count: int) -> int:
    """Return the least b with ``count <= 2^b``."""
    return max(0, count - 1).bit_length()


def copies_of(p: ConvolutionProblem) -> int:
    """Return the number of times that one element of x stands in x as it is padded, at most."""
    model = p.model
    if model.mode == "zeros":
        return 1
    sizes = p.torch_shape("x", p.result_shape("x"))[2:]
    pairs = zip(sizes, model.pads, strict=True)
    return math.prod(int(np.bincount(_origin(model.mode, size, pad)).max(initial=1)) for size, pad in pairs)


def _origin(mode: str, size: int, pad: tuple[int, int]) -> np.ndarray:
    """Return the position of which each position of the padded axis is a copy."""
    return np.asarray(np.pad(np.arange(size), pad, mode=PAD_MODES[mode]))  # type: ignore[call-overload]


def _meetings(axis: AxisParameters, rng: np.random.Generator) -> tuple[np.ndarray, ...]:
    """Return random ``(i, o, t)`` that meet; where none is found, the first positions."""
    outputs = output_size(axis)
    if outputs and axis.kernel_size and axis.input_size:
        o, t = rng.integers(0, outputs, TRIES), rng.integers(0, axis.kernel_size, TRIES)
        i, rest = np.divmod(axis.stride * o + axis.dilation * t - axis.pad_lo, axis.input_dilation)
        meets = (rest == 0) & (i >= 0) & (i < axis.input_size)
        if meets.any():
            return i[meets], o[meets], t[meets]
    return (np.zeros(1, np.int64),) * 3
