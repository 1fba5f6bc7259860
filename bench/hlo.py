"""The text of optimized HLO, what XLA compiles a program to: computations of instructions.

One computation is the entry; the others are called by its instructions, or by theirs.
"""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass, field
from typing import Any, NamedTuple

BITS = {"pred": 8, "bf16": 16, "token": 0, "opaque": 0}


class Array(NamedTuple):
    """The dtype and the shape of an operand or a result."""

    dtype: str
    shape: tuple[int, ...]

    @property
    def elements(self) -> int:
        """How many there are."""
        return math.prod(self.shape)

    @property
    def bytes(self) -> int:
        """Bytes of all elements."""
        bits = BITS[self.dtype] if self.dtype in BITS else int(re.search(r"\d+", self.dtype)[0])
        return -(-self.elements * bits // 8)

    def __str__(self) -> str:
        return f"{self.dtype}[{','.join(map(str, self.shape))}]"


@dataclass(frozen=True)
class Instruction:
    """One line of a computation."""

    name: str
    opcode: str
    results: tuple[Array, ...]  # more than one of a tuple
    operands: tuple[str, ...]
    attributes: str

    def attribute(self, name: str, pattern: str = r"[^,\s]+") -> str | None:
        """The text after ``name=``, if there is one."""
        found = re.search(rf"(?:^|[\s,]){name}=({pattern})", self.attributes)
        return found[1] if found else None

    def called(self, name: str) -> str | None:
        """The computation that an attribute names."""
        found = self.attribute(name)
        return found.lstrip("%") if found else None

    @property
    def configuration(self) -> dict[str, Any]:
        """What XLA has decided about it."""
        start = self.attributes.find("backend_config=")
        if start < 0 or self.attributes[start + 15 : start + 16] != "{":
            return {}
        return json.JSONDecoder().raw_decode(self.attributes[start + 15 :])[0]


@dataclass
class Computation:
    """Instructions by name, in their order; the last one, or the one marked so, is the result."""

    instructions: dict[str, Instruction] = field(default_factory=dict)
    root: str = ""

    def arrays_of(self, instruction: Instruction) -> list[Array]:
        """The operands of one of them, of tuples the parts."""
        return [array for name in instruction.operands for array in self.instructions[name].results]


def parsed(text: str) -> tuple[dict[str, Computation], str]:
    """Parse the text of a compiled program: all computations by name, and the name of the entry; `ValueError` if it is none."""
    computations: dict[str, Computation] = {}
    entry, current = "", None
    for line in re.sub(r"/\*.*?\*/", "", text).splitlines():
        if (head := re.match(r"(ENTRY )?%?([\w.\-]+) \(.*\{$", line)) or (
            head := re.match(r"(ENTRY )?%?([\w.\-]+) \{$", line)
        ):
            current = computations[head[2]] = Computation()
            entry = head[2] if head[1] else entry
        elif line.startswith("}"):
            current = None
        elif current is not None and (start := re.match(r"\s+(ROOT )?%?([\w.\-]+) = ", line)):
            instruction = _instruction(start[2], line[start.end() :])
            current.instructions[instruction.name] = instruction
            current.root = instruction.name if start[1] or not current.root else current.root
    if not entry:
        msg = "`text` must be that of a compiled program, got one without an ENTRY"
        raise ValueError(msg)
    return computations, entry


def _instruction(name: str, text: str) -> Instruction:
    """Parse what stands right of the equals sign: ``shape opcode(operands), attributes``."""
    end = _closing(text, 0) if text.startswith("(") else text.index(" ")
    results = tuple(
        Array(dtype, tuple(int(size.lstrip("<=")) for size in shape.split(",") if size))
        for dtype, shape in re.findall(r"\b([a-z]\w*)\[([^\]]*)\]", text[:end])
    )
    text = text[end:].lstrip()
    opcode = text[: text.index("(")]
    end = _closing(text, len(opcode))
    inside = text[len(opcode) + 1 : end - 1]
    operands: tuple[str, ...] = ()
    if opcode not in ("constant", "parameter", "iota"):
        operands = tuple(part.split()[-1].lstrip("%") for part in _parts(inside))
    elif opcode == "parameter":
        operands = ()
    return Instruction(name, opcode, results, operands, text[end:])


def _closing(text: str, start: int) -> int:
    """The position behind the bracket that closes the one at `start`."""
    depth = 0
    for position in range(start, len(text)):
        depth += (text[position] in "([{") - (text[position] in ")]}")
        if not depth:
            return position + 1
    msg = f"`text` must close its brackets, got {text!r}"
    raise ValueError(msg)


def _parts(text: str) -> list[str]:
    """Split at the commas that are in no brackets."""
    parts, depth, begin = [], 0, 0
    for position, letter in enumerate(text):
        depth += (letter in "([{") - (letter in ")]}")
        if letter == "," and not depth:
            parts.append(text[begin:position])
            begin = position + 1
    return [part for part in (*parts, text[begin:]) if part.strip()]
