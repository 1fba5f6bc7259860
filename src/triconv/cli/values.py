"""What the words after an option mean: numbers, paddings, shapes, and the names of operators, libraries and dtypes."""

from __future__ import annotations

import argparse
import ast
import math
import re
from collections.abc import Callable, Iterable
from typing import Any, NoReturn

from triconv.backends import BACKENDS
from triconv.checking.candidates.suggestions import did_you_mean, known_name
from triconv.checking.check import DTYPES
from triconv.geometry.padding import PADDING_NAMES
from triconv.operators.registry import OPERATORS

LIBRARIES = {"np": "numpy", "pytorch": "torch", "strict": "array-api-strict"}
"""Other words for the libraries."""
SHORT_DTYPES = {
    "bf16": "bfloat16",
    **dict.fromkeys(("fp16", "f16", "half"), "float16"),
    **dict.fromkeys(("fp32", "f32", "single", "float"), "float32"),
    **dict.fromkeys(("fp64", "f64", "double"), "float64"),
    "c64": "complex64",
    "c128": "complex128",
}
"""Other words for the dtypes: those of torch and of hardware."""
MOST = 1e7
"""Largest number of seconds and of GiB: more is no limit, and no clock takes it."""
NUMBERS = re.compile(r"[-+]?\d+(,[-+]?\d+)*,?")
PAIRS = re.compile(r"[-+]?\d+:[-+]?\d+(,[-+]?\d+:[-+]?\d+)*,?")


def _refuse(rule: str, text: str, hint: str = "") -> NoReturn:
    """Raise what argparse reports with the option's name."""
    msg = f"must be {rule}, got {text!r}{hint}"
    raise argparse.ArgumentTypeError(msg) from None


def an_int(text: str) -> int:
    """Read an int."""
    try:
        return int(text)
    except ValueError:
        _refuse("an int", text)


def a_number(text: str) -> float:
    """Read a number of seconds or GiB."""
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 0 < number <= MOST:
        _refuse("positive, and at most 1e7", text)
    return number


def ints(text: str) -> int | tuple[int, ...]:
    """Read an int, or several: ``2``, ``2,1``, ``(2, 1)``; ``2,`` is one in a tuple."""
    numbers = _ints(text)
    if numbers is None:
        _refuse("an int such as 2, or one int per axis such as 2,1", text)
    return numbers


def sizes(text: str) -> tuple[int, ...]:
    """Read sizes: ``2,3,8,8``."""
    numbers = _ints(text)
    if numbers is None:
        _refuse("sizes such as 2,3,8,8", text)
    return numbers if isinstance(numbers, tuple) else (numbers,)


def shape(text: str) -> tuple[int, ...]:
    """Read a shape: ``2,3,8,8``, ``(2, 3, 8, 8)``, or ``()`` of a scalar."""
    shape = () if re.sub(r"\s", "", text) in ("()", "[]") else sizes(text)
    if any(size < 0 for size in shape):
        _refuse("sizes from 0 on", text)
    return shape


def _ints(text: str) -> int | tuple[int, ...] | None:
    plain = re.sub(r"\s", "", text)
    if (plain[:1], plain[-1:]) in (("(", ")"), ("[", "]")):
        plain = plain[1:-1].rstrip(",") + ","
    if not NUMBERS.fullmatch(plain):
        return None
    numbers = tuple(int(word) for word in plain.split(",") if word)
    return numbers if len(numbers) > 1 or plain.endswith(",") else numbers[0]


def padding(text: str) -> Any:
    """Read a padding: ``1``, ``1,2``, ``1:2,0:1``, ``[(1, 2), (0, 1)]``, or a name."""
    numbers = _ints(text)
    if numbers is not None:
        return numbers
    plain = re.sub(r"\s", "", text)
    if PAIRS.fullmatch(plain):
        return [tuple(map(int, pair.split(":"))) for pair in plain.split(",") if pair]
    if plain[:1] in "([" and (pairs := _literal_pairs(plain)) is not None:
        return pairs
    if (name := known_name(text, PADDING_NAMES)) is not None:
        return name
    rule = "an int, one int per axis, lo:hi pairs such as 1:2,0:1, or one of " + ", ".join(PADDING_NAMES)
    _refuse(rule, text, did_you_mean(text, PADDING_NAMES))


def _literal_pairs(text: str) -> list[tuple[int, ...]] | None:
    try:
        pairs = ast.literal_eval(text)
        pairs = [tuple(pair) for pair in pairs]
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return None
    is_right = pairs and all(len(pair) == 2 and all(type(n) is int for n in pair) for pair in pairs)
    return pairs if is_right else None


def layout(text: str) -> str:
    """Read a layout; the arrow of an unquoted one has become a redirection of the shell."""
    if text.endswith("-"):
        rule = "in quotes, since the shell takes > for itself, or with a comma: NHWC,HWIO,NHWC"
        _refuse(rule, text)
    return text


def words(text: str) -> tuple[str, ...]:
    """Read words with commas between them."""
    return tuple(word.strip() for word in text.split(",") if word.strip())


def one_of(names: Iterable[str], also: dict[str, str] | None = None) -> Callable[[str], str]:
    """Return a reader of one of some names, in any letter case."""
    names = tuple(names)

    def read(text: str) -> str:
        name = known_name(text, names, also)
        if name is None:
            _refuse(f"one of {', '.join(names)}", text, did_you_mean(text, (*names, *(also or ()))))
        return name

    return read


library = one_of(BACKENDS, LIBRARIES)
dtype = one_of(DTYPES, SHORT_DTYPES)


def operator_name(text: str) -> str | None:
    """Return the name of the operator that a word spells, such as ``triconv.conv_2d`` or ``Conv2d``; None if it is none."""
    return known_name(text, OPERATORS)
