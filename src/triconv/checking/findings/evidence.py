"""Where a result is wrong, as data: indices, numbers, and the arrays for a picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np


class Asked(NamedTuple):
    """Where a function was asked: the arrays, and of a derivative, the cotangent or the tangents."""

    arrays: Sequence[np.ndarray]
    g: np.ndarray
    tangents: Sequence[np.ndarray]


@dataclass(frozen=True, slots=True)
class Evidence:
    """Where a result is wrong: the first index, what was expected and found there, and the arrays for a picture.

    `expected` and `found` are in torch's order, of integer data unless only random data shows it; `taps` are the
    ``(input, output, tap)`` positions that meet in the element. Without a convolution, the axes are the array's own, and
    `asked` is where the function was asked.
    """

    index: tuple[int, ...]
    expected_value: Any
    found_value: Any
    wrong_elements: int
    elements: int
    taps: tuple[tuple[tuple[int, ...], ...], ...]
    expected: np.ndarray = field(repr=False, compare=False)
    found: np.ndarray = field(repr=False, compare=False)
    in_torch_order: bool = True
    asked: Asked | None = field(default=None, repr=False, compare=False)
