"""Exact data of half width whose large products cancel: what is left shows whether sums have the bits of single precision.

A result of half width has too few bits to show those of its sum: 14 bits are rounded to 8 as 24 bits are, but for ties.
Where the large products of a sum cancel, what is left is small and has few bits, and few bits on the way lose it.

- **Many terms.** Of one tensor, a few numbers are ``2^E``, the others odd or even numbers up to 7, all with random signs; the
  other tensor has 1 and -1. So about two products of a sum are large, and in many sums they cancel, in whatever order.
- **Few terms**, up to `FEW_TERMS`. All numbers have all bits and nearly one size. So a product has twice as many bits as a
  number, and the difference of two products is small. The sum of two of them shows what a sum of small terms could not.
- **One term.** Numbers have all bits and are near no power of two, so that products are far from the numbers of half width.

Every partial sum in any order is exact in 24 bits. All products are multiples of one unit, and their magnitudes add up to
``2^24`` units at most: up to 24 large products of ``2^19`` and small ones of ``2^22`` together, or `FEW_TERMS` products of
twice the bits of a number. More than 24 large products where two are expected have a probability below ``10^-17``.
"""

from __future__ import annotations

import numpy as np

from triconv.checking.dtypes import ARITHMETIC, BITS
from triconv.checking.oracles.convolution import ConvolutionProblem, InputArrays
from triconv.checking.oracles.wide_data import WideArrays, copies_of, positions_of

BY_ROLE = {role: f"cancelling sums of {role}" for role in ("x", "w", "g", "bias")}
"""The names of the data, by the tensor that the result is."""
NAMES = tuple(BY_ROLE.values())
LARGE_PRODUCTS = 2
"""Large products of a sum, on average."""
EXPONENT, SMALL, SMALL_BITS = 19, 7, 22
"""Of large numbers; the largest small one; and the bits of the sum of all small ones."""
EXPONENTS_OF_KERNELS = {1: 17, 2: 13, 3: 9}
"""Those for gradients of kernels, by the number of axes: Winograd's algorithms of fractions 1/2 are exact there in 24 bits."""
FEW_TERMS = 8
OFFSETS, OF_BEARER = (1, 3, 5), (1, 2, 3)
"""By how much numbers of few terms are from a power of two: below it, if the products of all bits fit, and above it else."""
SMALL_KERNEL = 7
"""The largest kernel of Winograd's algorithms."""


def names_of(role: str, *, order: int, is_cotangent: bool, dtype: str) -> tuple[str, ...]:
    """Return the data that test a result: of half width, values and VJPs have one set each."""
    is_half = dtype in ARITHMETIC and ARITHMETIC[dtype].unit > ARITHMETIC[dtype].sums
    return (BY_ROLE[role],) if is_half and (is_cotangent or (not order and role != "bias")) else ()


def bearer_of(result: str, role: str) -> str:
    """Return which tensor has the large numbers in the data for a tensor."""
    if role == "bias":
        return result
    return "x" if role == "g" else "g"


def terms_of(p: ConvolutionProblem, role: str) -> int:
    """Return the terms of a sum."""
    return positions_of(p.torch_shape(p.result, p.result_shape(p.result))) if role == "bias" else p.terms(role)


def is_of_few_terms(p: ConvolutionProblem, role: str) -> bool:
    """Whether all numbers have all bits."""
    return role != "bias" and terms_of(p, role) <= FEW_TERMS


def may_be_winograd(p: ConvolutionProblem) -> bool:
    """Whether a convolution may be one of Winograd's algorithms, whose transforms add numbers of a tile."""
    axes = [axis for axis in p.model.axes if axis.kernel_size > 1]
    return bool(axes) and all(
        a.kernel_size <= SMALL_KERNEL and a.stride == a.dilation == a.input_dilation == 1 for a in axes
    )


def draw(p: ConvolutionProblem, name: str, dtype: str, rng: np.random.Generator) -> WideArrays | None:
    """Draw the arrays of a name; None where x is padded by copies, whose gradients may be rounded before they are added.

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
    """
    if copies_of(p) > 1:
        return None
    role = next(role for role, other in BY_ROLE.items() if other == name)
    bearer, terms, bits = bearer_of(p.result, role), terms_of(p, role), BITS[dtype]
    exponent = EXPONENT
    if role == "w" and may_be_winograd(p):
        exponent = EXPONENTS_OF_KERNELS.get(len(p.model.axes), 0)
    is_few = is_of_few_terms(p, role)
    units = dict.fromkeys("xwg", 0)

    def whole(other: str) -> np.ndarray:
        shape = p.torch_shape(other, p.result_shape(other))
        signs = rng.choice([1.0, -1.0], shape)
        if is_few and other != role:
            units[other] = bits
            if terms == 1:  # any bits, of which a product that is cut off loses up to the last one of its own
                odd = 2 * rng.integers(2 ** (bits - 4), 2 ** (bits - 3), shape) + 1
                return np.asarray(signs * (2 ** (bits - 1) + odd))
            offsets = rng.choice(OF_BEARER if other == bearer else OFFSETS, shape)
            fits = FEW_TERMS * 4**bits <= 2 ** BITS["float32"]
            return np.asarray(signs * (2**bits - offsets if fits else 2 ** (bits - 1) + offsets))
        if other != bearer:
            return signs
        units[other] = exponent // 2 + 1
        small = rng.integers(1, SMALL + 1, shape) * (rng.random(shape) < 2.0**SMALL_BITS / (SMALL * terms))
        return np.asarray(signs * np.where(rng.random(shape) < LARGE_PRODUCTS / terms, 2.0**exponent, small))

    primals, g = {r: whole(r) for r in p.operands}, whole(p.result)
    units |= {"bias": sum(units[r] for r in p.operands), "result": units[p.result]}
    if "bias" in p.roles:
        primals["bias"] = np.zeros(p.operand_shapes["bias"])
    return WideArrays(InputArrays(primals, g, primals), units)
