"""What a compiled program asks of a GPU: launches, contractions and inserted zeros, read from its optimized HLO.

An instruction of the entry is a launch: a fusion (all that stands in it is one kernel), a call of cuDNN or cuBLAS, a transform,
a copy. A loop launches what its body launches, as often as it runs. What only renames memory is free.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from typing import NamedTuple

from .hlo import Array, Computation, Instruction, parsed

# instructions that launch nothing: names of memory, and the second half of what was started
FREE = {
    "after-all", "bitcast", "constant", "get-tuple-element", "opt-barrier", "optimization-barrier", "parameter", "partition-id",
    "replica-id", "tuple",
}  # fmt: skip
HALF = ("bf16", "f16")
CUDNN, CUBLAS, TRITON, XLA = "cuDNN", "cuBLAS", "Triton", "XLA"


class Contraction(NamedTuple):
    """A convolution or a matrix product."""

    by: str  # cuDNN, cuBLAS or Triton; or XLA, which computes it element by element
    what: str  # "convForward", "convBackwardInput", "convBackwardFilter", "dot", ...
    operands: tuple[Array, ...]  # two
    result: Array
    window: tuple[int, ...]  # taps along each axis of a convolution
    dilated: bool  # whether the window asks for zeros between the elements of the input
    groups: int  # of a convolution; the batches of a product
    channels: (
        int  # the fewest of a group that are multiplied together: of the input, of the output; of a product, its sizes
    )
    multiply_adds: int

    def __str__(self) -> str:
        window = " " + "x".join(map(str, self.window)) if self.window else ""
        batch = "batches" if self.what == "dot" else "groups"
        groups = f" in {self.groups} {batch}" if self.groups > 1 else ""
        return f"{self.by} {self.what} {self.operands[0].dtype}{window}{groups}"


class Launch(NamedTuple):
    """A kernel, or a call of a library, and what it has to do."""

    what: str
    times: int  # how often a loop around it runs
    bytes: int  # read and written
    contractions: tuple[Contraction, ...] = ()
    vector: int = 0  # multiply-adds, element by element
    transform: float = 0.0  # points of a Fourier transform, times the logarithm of their number


class Program(NamedTuple):
    """A compiled program."""

    launches: tuple[Launch, ...]
    zeros: tuple[tuple[Array, Array], ...]  # arrays before and after zeros are inserted between their elements

    @property
    def count(self) -> int:
        """How many launches it takes."""
        return sum(launch.times for launch in self.launches)

    @property
    def contractions(self) -> list[Contraction]:
        """All of them."""
        return [contraction for launch in self.launches for contraction in launch.contractions]

    def __str__(self) -> str:
        found = dict.fromkeys(map(str, self.contractions))
        found |= dict.fromkeys(launch.what for launch in self.launches if launch.transform)
        return ", ".join(found) or "fused loops"


def read(text: str) -> Program:
    """Read the text of a compiled program; `ValueError` if it is none."""
    computations, entry = parsed(text)
    launches = tuple(_launches(computations, entry, 1))
    zeros = tuple(
        (computation.arrays_of(instruction)[0], instruction.results[0])
        for computation in computations.values()
        for instruction in computation.instructions.values()
        if instruction.opcode == "pad" and _inserts(instruction.attribute("padding") or "")
    )
    return Program(launches, zeros)


def _inserts(padding: str) -> bool:
    """Whether ``lo_hi_interior`` of some axis has an interior."""
    return any(int([*axis.split("_"), "0"][2]) > 0 for axis in padding.split("x") if axis)


# ---- launches


def _launches(computations: dict[str, Computation], name: str, times: int) -> Iterator[Launch]:
    """Every launch of a computation that runs so many times."""
    computation = computations[name]
    for instruction in computation.instructions.values():
        opcode = instruction.opcode
        if opcode in FREE or opcode.endswith(("-done", "-update")):
            continue
        if opcode == "while":
            count = instruction.configuration.get("known_trip_count", {}).get("n")
            if count is None:
                msg = f"`text` must say how often {instruction.name} runs"
                raise ValueError(msg)
            yield from _launches(computations, instruction.called("body"), times * int(count))
        elif opcode == "conditional":
            names = re.findall(r"%([\w.\-]+)", instruction.attribute("branch_computations", r"\{[^}]*\}") or "")
            names = names or [instruction.called(f"{which}_computation") for which in ("true", "false")]
            branches = [list(_launches(computations, branch, times)) for branch in names]
            yield from max(branches, key=lambda launches: sum(launch.times for launch in launches))
        elif opcode == "call" or (opcode == "async-start" and instruction.called("calls")):
            yield from _launches(computations, instruction.called("to_apply") or instruction.called("calls"), times)
        elif opcode == "fusion":
            yield _fusion(computations, instruction, times)
        else:
            yield _single(computation, instruction, times)


def _single(computation: Computation, instruction: Instruction, times: int) -> Launch:
    """An instruction that is a kernel or a call by itself."""
    operands, (result, *_) = computation.arrays_of(instruction), instruction.results
    read = {name: computation.instructions[name].results for name in instruction.operands}
    moved = sum(array.bytes for arrays in read.values() for array in arrays) + result.bytes
    if instruction.opcode == "dynamic-slice":
        moved = 2 * result.bytes
    elif instruction.opcode == "dynamic-update-slice":
        moved = 2 * operands[1].bytes
    contraction = _contraction(instruction, operands)
    points = _points(instruction)
    what = f"{instruction.attribute('fft_type')} {operands[0].dtype}" if points else instruction.opcode
    if instruction.opcode == "custom-call":
        what = instruction.attribute("custom_call_target", r'"[^"]*"').strip('"')
    return Launch(what, times, moved, (contraction,) if contraction else (), transform=points)


def _fusion(computations: dict[str, Computation], instruction: Instruction, times: int) -> Launch:
    """A kernel of many instructions."""
    inside = computations[instruction.called("calls")]
    kind = instruction.configuration.get("fusion_backend_config", {}).get("kind", "")
    by = {"__triton": TRITON, "__cudnn": CUDNN, "__cublas": CUBLAS}
    name = next((library for prefix, library in by.items() if kind.startswith(prefix)), "")
    is_custom = instruction.attribute("kind") == "kCustom"  # of a product, that it has not been tuned for yet
    contractions, products, sums = [], 0, 0
    for part in inside.instructions.values():
        operands, elements = inside.arrays_of(part), part.results[0].elements if part.results else 0
        if contraction := _contraction(part, operands):
            untuned = TRITON if is_custom and contraction.by == XLA else contraction.by
            contractions.append(contraction._replace(by=name or untuned))
        elif part.opcode == "multiply":
            products += elements * (4 if part.results[0].dtype.startswith("c") else 1)
        elif part.opcode in ("add", "subtract"):
            sums += elements
        elif part.opcode in ("reduce", "reduce-window"):
            sums += operands[0].elements
    if contractions:  # what else stands there only prepares it
        products = sums = 0
    parameters = [part for part in inside.instructions.values() if part.opcode == "parameter"]
    moved = sum(_read(inside, part) for part in parameters) + sum(_written(inside, inside.root, set()))
    return Launch(kind or "fusion", times, moved, tuple(contractions), vector=max(products, sums))


def _read(inside: Computation, parameter: Instruction) -> int:
    """Bytes that a kernel reads of an operand: of one that it takes slices of, these."""
    whole = sum(array.bytes for array in parameter.results)
    total, names = 0, {parameter.name}
    for part in inside.instructions.values():
        if not names & set(part.operands):
            continue
        if part.opcode == "bitcast":
            names.add(part.name)
        elif part.opcode == "dynamic-slice":
            total += part.results[0].bytes
        elif part.opcode == "slice":
            ranges = re.findall(r"\[(\d+):(\d+)", part.attribute("slice", r"\{[^}]*\}") or "")
            itemsize = part.results[0].bytes // max(1, part.results[0].elements)
            total += itemsize * math.prod(int(stop) - int(start) for start, stop in ranges)
        elif part.opcode == "dynamic-update-slice" and part.operands[0] in names:
            continue
        else:
            return whole
    return min(whole, total)


def _written(inside: Computation, name: str, seen: set[str]) -> Iterator[int]:
    """Bytes that a kernel writes: of one that updates a slice of its operand, the slice."""
    part = inside.instructions[name]
    if name in seen:
        return
    seen.add(name)
    if part.opcode == "tuple":
        for operand in part.operands:
            yield from _written(inside, operand, seen)
    elif part.opcode == "bitcast":
        yield from _written(inside, part.operands[0], seen)
    elif part.opcode == "dynamic-update-slice":
        yield sum(array.bytes for array in inside.instructions[part.operands[1]].results)
    else:
        yield sum(array.bytes for array in part.results)


def _points(instruction: Instruction) -> float:
    """Points of a Fourier transform, times the logarithm of their number."""
    if instruction.opcode != "fft":
        return 0.0
    lengths = [int(n) for n in re.findall(r"\d+", instruction.attribute("fft_length", r"\{[^}]*\}") or "")]
    (result,) = instruction.results
    points, axes = math.prod(lengths), len(lengths)
    batch = math.prod(result.shape[: len(result.shape) - axes])
    return batch * points * math.log2(max(2, points))


def _contraction(instruction: Instruction, operands: list[Array]) -> Contraction | None:
    """The convolution or product that an instruction is, if it is one."""
    target = (instruction.attribute("custom_call_target", r'"[^"]*"') or "").strip('"')
    if instruction.opcode == "convolution" or target.startswith("__cudnn$conv"):
        return _convolution(instruction, operands, target)
    if instruction.opcode == "dot" or target.startswith("__cublas"):
        return _product(instruction, operands, target)
    return None


def _convolution(instruction: Instruction, operands: list[Array], target: str) -> Contraction:
    """A convolution: every output has a sum over the taps and the channels of a group."""
    what = target.removeprefix("__cudnn$") or "convolution"
    result, (first, second) = instruction.results[0], operands[:2]
    # the arrays in the roles of a forward convolution, which is what the labels speak of
    kernel, output = {"convBackwardInput": (second, first), "convBackwardFilter": (result, second)}.get(
        what, (second, result)
    )
    window = instruction.attribute("window", r"\{[^}]*\}") or ""
    labels = (instruction.attribute("dim_labels") or "_->").split("->")[0].split("_")[1]
    size = re.search(r"\bsize=([\dx]+)", window)
    dilation = re.search(r"lhs_dilate=([\dx]+)", window)
    groups = int(instruction.attribute("feature_group_count") or instruction.attribute("batch_group_count") or 1)
    outputs, inputs = (kernel.shape[labels.index(letter)] for letter in "oi")
    return Contraction(
        CUDNN if target else XLA,
        what,
        (first, second),
        result,
        tuple(map(int, size[1].split("x"))) if size else (),
        bool(dilation and max(map(int, dilation[1].split("x"))) > 1),
        groups,
        min(inputs, outputs // groups),
        output.elements * kernel.elements // outputs,
    )


def _product(instruction: Instruction, operands: list[Array], target: str) -> Contraction:
    """A matrix product: of the sizes b m k, b k n and b m n, each of m, k and n follows from the three."""
    result, (first, second) = instruction.results[0], operands[:2]
    if target:
        found = re.search(r'"lhs_batch_dimensions":\[([^\]]*)\]', instruction.attributes)
        batch_axes = [int(n) for n in re.findall(r"\d+", found[1])] if found else []
    else:
        batch_axes = [int(n) for n in re.findall(r"\d+", instruction.attribute("lhs_batch_dims", r"\{[^}]*\}") or "")]
    batch = math.prod(first.shape[axis] for axis in batch_axes)
    by = CUBLAS if target else XLA
    pairs = ((first, second), (second, first))
    m, n = (math.isqrt(result.elements * one.elements // (batch * other.elements)) for one, other in pairs)
    k = first.elements // (batch * m)
    return Contraction(by, "dot", (first, second), result, (), False, batch, min(m, k, n), batch * m * k * n)
