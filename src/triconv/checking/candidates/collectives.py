"""Read from the text of a compiled program what its devices send each other."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from typing import Any

from triconv.checking.findings.findings import Collective

KINDS = ("all-gather", "all-reduce", "all-to-all", "collective-permute", "reduce-scatter")
BITS = re.compile(r"[a-z]+(\d+)")


def traffic(compiled: Any) -> dict[str, Collective]:
    """Return the collectives of a program that JAX compiled, by kind; those that XLA combined count each."""
    sums: dict[str, tuple[int, int]] = {}
    for kind, sizes in _collectives(compiled.as_text()):
        number, received = sums.get(kind, (0, 0))
        sums[kind] = (number + len(sizes), received + sum(sizes))
    return {kind: Collective(kind, *sums[kind]) for kind in sorted(sums)}


def _collectives(text: str) -> Iterator[tuple[str, list[int]]]:
    """Yield the kind of each collective, and the bytes of its results."""
    for shapes, kind, started in re.findall(rf"= (.*?) ({'|'.join(KINDS)})(-start)?\(", text):
        sizes = [_bytes(dtype) * math.prod(map(int, filter(None, dims.split(",")))) for dtype, dims in _arrays(shapes)]
        if started and kind != "all-reduce":  # a tuple of the operand, the result, and what belongs to the device
            sizes = sizes[1:2]
        yield kind, sizes


def _arrays(shapes: str) -> list[tuple[str, str]]:
    return re.findall(r"([a-z]+\d+|pred)\[([\d,]*)\]", shapes)


def _bytes(dtype: str) -> int:
    bits = BITS.fullmatch(dtype)
    return max(1, int(bits[1]) // 8) if bits else 1
