"""The grid: real layers and the shapes of public performance reports, from ``workloads.toml``."""

from __future__ import annotations

import functools
import math
import tomllib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

FILE = Path(__file__).with_name("workloads.toml")


@dataclass(frozen=True)
class Workload:
    """One convolution, channels first; the ``w`` of a transposed one is (c, k / groups, *kernel), as in torch."""

    name: str
    source: str
    x: tuple[int, ...]
    w: tuple[int, ...]
    stride: tuple[int, ...]
    dilation: tuple[int, ...]
    pad: tuple[tuple[int, int], ...]
    output_padding: tuple[int, ...]
    groups: int = 1
    transposed: bool = False
    channels: str = "first"
    """Where the channels stand in the arrays, "first" or "last"; the shapes above have them first."""

    @property
    def ndim(self) -> int:
        """Spatial axes."""
        return len(self.x) - 2

    @property
    def y(self) -> tuple[int, ...]:
        """Shape of the result."""
        if self.transposed:
            sizes = (
                (i - 1) * s - lo - hi + d * (k - 1) + extra + 1
                for i, s, (lo, hi), d, k, extra in zip(
                    self.x[2:], self.stride, self.pad, self.dilation, self.w[2:], self.output_padding, strict=True
                )
            )
            return (self.x[0], self.w[1] * self.groups, *sizes)
        sizes = (
            (i + lo + hi - d * (k - 1) - 1) // s + 1
            for i, s, (lo, hi), d, k in zip(self.x[2:], self.stride, self.pad, self.dilation, self.w[2:], strict=True)
        )
        return (self.x[0], self.w[0], *sizes)

    @functools.cached_property
    def arrays(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Random x, w and cotangent, float32, channels first."""
        rng = np.random.default_rng(0)
        x, w, g = (rng.standard_normal(shape, dtype=np.float32) for shape in (self.x, self.w, self.y))
        return x, w, g

    @property
    def layout(self) -> str:
        """The layout, as triconv's `layout` parameter."""
        spatial = "DHW"[3 - self.ndim :]
        return (
            f"NC{spatial},OI{spatial}->NC{spatial}"
            if self.channels == "first"
            else f"N{spatial}C,{spatial}IO->N{spatial}C"
        )

    def laid_out(self, a: np.ndarray, *, kernel: bool = False) -> np.ndarray:
        """An array whose channels are first, in the layout of this workload."""
        if self.channels == "first":
            return a
        return np.ascontiguousarray(a.transpose(*range(2, a.ndim), 1, 0) if kernel else np.moveaxis(a, 1, -1))

    @property
    def shapes(self) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
        """Shapes of x, w and y in the layout of this workload."""
        if self.channels == "first":
            return self.x, self.w, self.y
        x, y = ((shape[0], *shape[2:], shape[1]) for shape in (self.x, self.y))
        return x, (*self.w[2:], self.w[1], self.w[0]), y

    @property
    def multiply_adds(self) -> int:
        """Multiply-adds per contraction, with those of padding counted."""
        front = self.x if self.transposed else self.y
        return math.prod(front) * math.prod(self.w[1:])

    @property
    def elements(self) -> int:
        """Elements of x, w and y together: each contraction reads and writes at least these."""
        return math.prod(self.x) + math.prod(self.w) + math.prod(self.y)


def load(only: list[str], *, batch: str = "cpu", channels: str = "first") -> list[Workload]:
    """Return the workloads whose names contain one of `only` (all, if there is none), in the sizes for "cpu" or "gpu"."""
    chosen = []
    for entry in tomllib.loads(FILE.read_text())["workload"]:
        if only and not any(part in entry["name"] for part in only):
            continue
        chosen.append(replace(_workload(entry, batch), channels=channels))
    return chosen


def _workload(entry: dict[str, Any], batch: str) -> Workload:
    x, w = list(entry["x"]), list(entry["w"])
    ndim, pad = len(x) - 2, entry["pad"]
    if batch == "gpu" and "gpu" in entry:
        x[0] = entry["gpu"]
    if batch == "gpu" and "gpu_length" in entry:  # a kernel as long as the signal
        x[2] = w[2] = entry["gpu_length"]
        pad = [[w[2] - 1, 0]]
    return Workload(
        entry["name"],
        entry["source"],
        tuple(x),
        tuple(w),
        tuple(entry.get("stride", [1] * ndim)),
        tuple(entry.get("dilation", [1] * ndim)),
        tuple((lo, hi) for lo, hi in pad),
        tuple(entry.get("output_padding", [0] * ndim)),
        entry.get("groups", 1),
        entry.get("transposed", False),
    )
