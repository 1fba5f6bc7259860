"""The dtypes that a check knows: their bits, and how the floating ones round, overflow and underflow."""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np

Dtype = Literal[
    "float64", "float32", "bfloat16", "float16", "complex64", "complex128",
    "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64",
]  # fmt: skip
"""The dtypes of arrays that can be asked for."""
BITS = {"float64": 53, "float32": 24, "tf32": 11, "float16": 11, "bfloat16": 8, "complex128": 53, "complex64": 24}
BITS |= {"float8_e4m3": 4, "float8_e5m2": 3}
COMPLEX = ("complex64", "complex128")
INTEGERS = {f"{sign}int{bits}": bits for sign in ("", "u") for bits in (8, 16, 32, 64)}
BITS |= {name: bits - (name[0] != "u") for name, bits in INTEGERS.items()}
"""Bits of the significand, or of the numbers of an integer dtype."""


class Arithmetic(NamedTuple):
    """How a dtype rounds, overflows and underflows, if sums are taken as triconv takes them."""

    unit: float
    """Unit roundoff of a result."""
    sums: float
    """Unit roundoff of the sums: those of less than 32 bits are taken in float32, and rounded once."""
    tiny: float
    """Smallest normal number of the sums. A processor may take smaller ones for zero."""
    step: float
    """What a result may lose by underflow."""
    most: float
    """Largest number."""
    definition: float = 2.0**-53
    """Unit roundoff of the definition, which is computed in double precision."""


_TINY32, _TINY64 = 2.0**-126, 2.0**-1022
_SINGLE = Arithmetic(2.0**-24, 2.0**-24, _TINY32, _TINY32, float(np.finfo(np.float32).max))
_DOUBLE = Arithmetic(2.0**-53, 2.0**-53, _TINY64, _TINY64, float(np.finfo(np.float64).max))
ARITHMETIC = {
    "float64": _DOUBLE,
    "float32": _SINGLE,
    # the products of a complex one are sums themselves
    "complex128": _DOUBLE._replace(unit=2.0**-51, sums=2.0**-51, definition=2.0**-51),
    "complex64": _SINGLE._replace(unit=2.0**-22, sums=2.0**-22, definition=2.0**-51),
    # products of two numbers of half width are exact in float32
    "bfloat16": _SINGLE._replace(unit=2.0**-8, most=float(2.0**128 - 2.0**119)),
    "float16": Arithmetic(2.0**-11, 2.0**-24, _TINY32, 2.0**-24, 65504.0),
}


class NarrowRange(NamedTuple):
    """A dtype by name, the largest number that it holds, and the bits of its significand."""

    dtype: str
    largest: float
    bits: int


RANGES = (
    NarrowRange("float8 e4m3", 448.0, BITS["float8_e4m3"]),
    NarrowRange("float8 e5m2", 57344.0, BITS["float8_e5m2"]),
    NarrowRange("float16", ARITHMETIC["float16"].most, BITS["float16"]),
    NarrowRange("float32", ARITHMETIC["float32"].most, BITS["float32"]),
)
"""Dtypes that a kernel may compute in, the smallest range first."""
