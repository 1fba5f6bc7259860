"""Integers as users spell them, checked, and values as messages show them."""

from __future__ import annotations

import contextlib
import operator
from collections.abc import Sequence
from numbers import Number
from typing import Any

# what any library's index type holds
MOST = 2**31 - 1

# entries of a list, and characters, that a message shows
SHOWN, LONGEST = 8, 80


def dilated(size: int, dilation: int) -> int:
    """Extent of `size` positions that stand `dilation` apart."""
    return dilation * (size - 1) + 1 if size else 0


def shown(value: Any) -> str:
    """A value as a message shows it: short, and of an array its type and shape alone."""
    shape = getattr(value, "shape", None)
    if isinstance(value, Number) or (shape == () and type(value).__module__ == "numpy"):
        return repr(value)
    if isinstance(shape, tuple):
        return f"{type(value).__name__} of shape {tuple(shape)}"
    if type(value) in (list, tuple):
        entries = [shown(entry) for entry in value[:SHOWN]] + ["..."] * (len(value) > SHOWN)
        comma = "," if len(value) == 1 and isinstance(value, tuple) else ""
        text = ", ".join(entries) + comma
        return f"[{text}]" if isinstance(value, list) else f"({text})"
    text = repr(value)
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}..."


def as_int(value: Any, name: str, least: int | None = None) -> int:
    """`value` as an int, or the error that says what `name` must be."""
    number = None
    if not isinstance(value, bool) and not str(getattr(value, "dtype", "")).endswith("bool"):
        with contextlib.suppress(TypeError):  # what is no integer, or no scalar
            number = operator.index(value)
    if number is None:
        msg = f"`{name}` must be an int, got {shown(value)}"
        raise TypeError(msg)
    if least is not None and number < least:
        msg = f"`{name}` must be at least {least}, got {number}"
        raise ValueError(msg)
    if abs(number) > MOST:
        msg = f"`{name}` must be at most {MOST} in size, got {number}"
        raise ValueError(msg)
    return number


def as_sequence(value: Any) -> Sequence[Any] | None:
    """The entries of a sequence, or of the first axis of an array of any library; None of anything else."""
    if isinstance(value, (str, bytes, bytearray, memoryview)):
        return None
    if isinstance(value, Sequence):
        return value
    shape = getattr(value, "shape", None)
    if not isinstance(shape, tuple) or not 1 <= len(shape) <= 2 or max(shape) > SHOWN**2:
        return None
    return [value[number, ...] for number in range(shape[0])]


def one_per_axis(value: Any, ndim: int, name: str, least: int | None = None, *, repeat: bool = True) -> tuple[int, ...]:
    """`value` as one int per axis: an int (or, if `repeat`, a sequence of one) serves all axes."""
    entries = as_sequence(value)
    if entries is not None:
        numbers = tuple(as_int(v, name, least) for v in entries)
        if len(numbers) == 1 and repeat:
            return numbers * ndim
        if len(numbers) != ndim:
            msg = f"`{name}` must be one int or one int per spatial axis, got {len(numbers)} for {ndim} axes"
            raise ValueError(msg)
        return numbers
    if not hasattr(value, "__index__"):
        msg = f"`{name}` must be an int or a sequence of ints, got {shown(value)}"
        raise TypeError(msg)
    return (as_int(value, name, least),) * ndim
