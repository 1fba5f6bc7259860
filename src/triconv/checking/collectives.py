"""What the devices of a compiled program send each other, read from its text."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

KINDS = ("all-gather", "all-reduce", "all-to-all", "collective-permute", "reduce-scatter")
BITS = re.compile(r"[a-z]+(\d+)")


class Traffic(NamedTuple):
    """The collectives of one kind."""

    number: int
    bytes: int
    """Of their results on one device, which is about what each device receives."""


def traffic(compiled: Any) -> dict[str, Traffic]:
    """Collectives of a program that JAX compiled, by kind; those that XLA combined count each."""
    found: dict[str, Traffic] = {}
    for kind, sizes in _collectives(compiled.as_text()):
        number, moved = found.get(kind, (0, 0))
        found[kind] = Traffic(number + len(sizes), moved + sum(sizes))
    return found


def sentence(found: dict[str, Traffic]) -> str:
    """The same in words."""
    if not found:
        return "nothing is sent between devices"
    return ", ".join(f"{number} {kind} ({moved:,} bytes a device)" for kind, (number, moved) in sorted(found.items()))


def _collectives(text: str) -> Iterator[tuple[str, list[int]]]:
    """The kind of each collective, and the bytes of its results."""
    for shapes, kind, started in re.findall(rf"= (.*?) ({'|'.join(KINDS)})(-start)?\(", text):
        sizes = [_bytes(dtype) * math.prod(map(int, filter(None, dims.split(",")))) for dtype, dims in _arrays(shapes)]
        if started and kind != "all-reduce":  # a tuple of the operand, the result, and what belongs to the device
            sizes = sizes[1:2]
        yield kind, sizes


def _arrays(shapes: str) -> list[tuple[str, str]]:
    return re.findall(r"([a-z]+\d+|pred)\[([\d,]*)\]", shapes)


def _bytes(dtype: str) -> int:
    found = BITS.fullmatch(dtype)
    return max(1, int(found[1]) // 8) if found else 1
