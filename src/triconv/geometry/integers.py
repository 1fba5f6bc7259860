"""Integers that users pass, checked, and values as error messages show them."""

from __future__ import annotations

import contextlib
import operator
from collections.abc import Sequence
from numbers import Number
from typing import Any

# the largest size or parameter: the index type of every library holds it
LARGEST = 2**31 - 1

# how much of a value a message shows, so that it stays readable: entries of a list, and characters
SHOWN_ENTRIES, SHOWN_CHARACTERS = 8, 80

# entries up to which an array is read as a list of parameters: far more than there are spatial axes
MAX_ENTRIES = 64


def dilated(size: int, dilation: int) -> int:
    """Extent of `size` positions at a distance of `dilation`."""
    return dilation * (size - 1) + 1 if size else 0


def shown(value: Any) -> str:
    """A value as a message shows it: shortened; an array by its type and shape."""
    shape = getattr(value, "shape", None)
    if isinstance(value, Number) or (shape == () and type(value).__module__ == "numpy"):
        return repr(value)
    if isinstance(shape, tuple):
        return f"{type(value).__name__} of shape {tuple(shape)}"
    if type(value) in (list, tuple):
        entries = [shown(entry) for entry in value[:SHOWN_ENTRIES]] + ["..."] * (len(value) > SHOWN_ENTRIES)
        comma = "," if len(value) == 1 and isinstance(value, tuple) else ""
        text = ", ".join(entries) + comma
        return f"[{text}]" if isinstance(value, list) else f"({text})"
    text = repr(value)
    return text if len(text) <= SHOWN_CHARACTERS else f"{text[:SHOWN_CHARACTERS]}..."


def as_int(value: Any, name: str, least: int | None = None) -> int:
    """`value` as an int; an error names the parameter `name`."""
    if type(value) is int and (-LARGEST if least is None else least) <= value <= LARGEST:
        return value
    number = None
    if not isinstance(value, bool) and not str(getattr(value, "dtype", "")).endswith("bool"):
        with contextlib.suppress(TypeError):  # no integer, or no scalar
            number = operator.index(value)
    if number is None:
        msg = f"`{name}` must be an int, got {shown(value)}"
        raise TypeError(msg)
    if least is not None and number < least:
        msg = f"`{name}` must be at least {least}, got {number}"
        raise ValueError(msg)
    if abs(number) > LARGEST:
        msg = f"`{name}` must be at most {LARGEST} in size, got {number}"
        raise ValueError(msg)
    return number


def as_sequence(value: Any) -> Sequence[Any] | None:
    """The entries of a sequence, or of a small array along its first axis; None for anything else."""
    if isinstance(value, (str, bytes, bytearray, memoryview)):
        return None
    if isinstance(value, Sequence):
        return value
    shape = getattr(value, "shape", None)
    if not isinstance(shape, tuple) or not 1 <= len(shape) <= 2 or max(shape) > MAX_ENTRIES:
        return None
    return [value[number, ...] for number in range(shape[0])]


def one_per_axis(value: Any, ndim: int, name: str, least: int | None = None, *, repeat: bool = True) -> tuple[int, ...]:
    """`value` as one int per axis. An int serves all axes; so does a sequence of one, if `repeat`."""
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
