"""``python -m bench --fit --write PATH``: measure the rates of the planner here, and write a file for ``TRICONV_TARGET``.

Each rate is measured by itself: `measured` has one short program per field of `Rates`, with arrays as large as those that a
kernel gives it. The fields `margin` and `least_gain` are no rates and keep their values.
"""

from __future__ import annotations

import functools
import json
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import triconv
from triconv.backends import BACKENDS, Standard
from triconv.kernels.target import Rates, default_target

from . import measure
from .implementations import Prepared

MIB = 2**20
# calls over which the time to compile an operation is spread, as in `Rates.overhead`
AMORTIZED = 1000
# taps of the programs of shifted multiply-adds: as many as a kernel of 3x3 rounds up to
TAPS = 16
HEAD = """\
# Rates of this machine for triconv's planner, used where the environment variable TRICONV_TARGET names this file.
# Written by: python -m bench --fit --write PATH"""


class Machine:
    """A library on its default device: what makes arrays there, and what compiles and times a function of them."""

    def __init__(self, library: str, seconds: float) -> None:
        self.lib: Standard = BACKENDS[library].load()
        self.seconds = seconds
        self.device = self._device(library)
        self.kind = self.lib.device_kind(self.array(1))

    def _device(self, library: str) -> Any:
        if library != "torch":
            return None
        import torch

        return "cuda" if torch.cuda.is_available() else "cpu"

    def array(self, *shape: int, dtype: str = "float32") -> Any:
        """Small whole numbers of this shape."""
        values = np.random.default_rng(0).integers(-4, 5, shape).astype(dtype)
        return self.lib.asarray(values, dtype=getattr(self.lib.xp, dtype), device=self.device)

    def time(self, function: Callable[..., Any], *arrays: Any) -> float:
        """Seconds that a call takes, compiled if the library compiles: the least, since other programs only add to it."""
        call = self._compiled(function, arrays)[0]
        entry = Prepared(lambda _: call(*arrays), self._wait, list)
        taken = measure.times({"": entry}, seconds=self.seconds, min_runs=5, queued=self.kind != "cpu")
        return min(taken[""])

    def time_to_compile(self, function: Callable[..., Any], *arrays: Any) -> float:
        """Seconds that tracing and compiling a function takes."""
        return self._compiled(function, arrays)[1]

    def _compiled(self, function: Callable[..., Any], arrays: tuple[Any, ...]) -> tuple[Callable[..., Any], float]:
        if not self.lib.compiles:
            return function, 0.0
        import jax

        start = time.perf_counter()
        compiled = jax.jit(function).lower(*arrays).compile()
        return compiled, time.perf_counter() - start

    def _wait(self, result: Any) -> Any:
        if self.lib.compiles:
            import jax

            return jax.block_until_ready(result)
        if self.device == "cuda":
            import torch

            torch.cuda.synchronize()
        elif self.lib.name == "cupy":
            self.lib.xp.cuda.get_current_stream().synchronize()
        return result


def measured(machine: Machine) -> dict[str, float]:
    """Return the rates by their fields; those that the library does not have are left out."""
    lib, large = machine.lib, machine.kind != "cpu"
    xp = lib.xp
    size, length = (8192, 2**22) if large else (1024, 2**17)  # 2**17 floats: a quarter of a block of `depthwise`
    a, whole = machine.array(size, size), machine.array(size // 4, size // 4, dtype="int32")
    line, weights = machine.array(length + TAPS), machine.array(TAPS)
    signal = machine.array(4096 if large else 64, 2**14)
    g, x = machine.array(8, 4, length // 32), machine.array(8, 4, length // 32 + TAPS)
    copied = machine.array(*((2**29,) if large else (64 * MIB // 4,)))

    def shifted(x: Any, w: Any) -> Any:
        total = w[0] * x[:length]
        for t in range(1, TAPS):
            total = total + w[t] * x[t : t + length]
        return total

    def product(a: Any, b: Any) -> Any:
        with lib.precision("highest"):
            return xp.matmul(a, b)

    def transform(a: Any) -> Any:
        with lib.wide():  # as the kernel does
            return xp.fft.rfft(xp.astype(a, xp.float64))

    seconds = {
        "matrix": machine.time(product, a, a),
        "vector": machine.time(shifted, line, weights),
        "sum": machine.time(lambda g, x: lib.inner(g, [x[..., t : t + g.shape[-1]] for t in range(TAPS)]), g, x),
        "transform": machine.time(transform, signal),
        "integer": machine.time(xp.matmul, whole, whole),
        "bandwidth": machine.time(lambda a: a + 1, copied),
    }
    work = {
        "matrix": size**3,
        "vector": TAPS * length,
        "sum": TAPS * math.prod(g.shape),
        "transform": math.prod(signal.shape) * math.log2(signal.shape[-1]),
        "integer": (size // 4) ** 3,
        "bandwidth": 2 * 4 * copied.shape[0],
    }
    rates = {name: work[name] / took for name, took in seconds.items()}
    if lib.vendor_axes is not None:
        rates["vendor"] = _vendor(machine)
    rates["overhead"] = _overhead(machine)
    return {name: rates[name] for name in Rates._fields if name in rates}


def _vendor(machine: Machine) -> float:
    """Multiply-adds per second of the library's own convolution, of the layer and the layout that it is fastest at."""
    samples, rates = 256 if machine.kind != "cpu" else 4, []
    for channels, size in ((64, 56), (128, 28), (256, 14)):
        work = samples * channels**2 * 9 * size**2
        image = (size + 2, size + 2)
        layouts = {
            "NCHW,OIHW->NCHW": ((samples, channels, *image), (channels, channels, 3, 3)),
            "NHWC,HWIO->NHWC": ((samples, *image, channels), (3, 3, channels, channels)),
        }
        for layout, shapes in layouts.items():
            conv = functools.partial(triconv.conv, layout=layout, algorithm="vendor")
            rates.append(work / machine.time(conv, *(machine.array(*shape) for shape in shapes)))
    return max(rates)


def _overhead(machine: Machine) -> float:
    """Seconds per operation: of a call on tiny arrays; or to compile it, amortized."""
    tiny, xp = machine.array(8 + 64, 8), machine.lib.xp

    def chain(count: int) -> Callable[[Any], Any]:
        def run(a: Any) -> Any:
            b = a[:8]
            for t in range(count):
                b = b + xp.matmul(a[t : t + 8], a[:8])
            return b

        return run

    few, many, each = 1, 33, 3  # three operations per turn: a slice, a product, and a sum, as a kernel has per tap
    time_ = machine.time_to_compile if machine.lib.compiles else machine.time
    time_(chain(few), tiny)
    took = max(time_(chain(many), tiny) - time_(chain(few), tiny), 1e-9) / ((many - few) * each)
    return took / AMORTIZED if machine.lib.compiles else took


def write(path: Path, found: dict[tuple[str, str], dict[str, dict[str, float]]], versions: dict[str, Any]) -> None:
    """Write the rates and constants, by the library and the kind of device, as TOML."""
    parts = [
        HEAD,
        _table("versions", {name: value for name, value in versions.items() if value}),
    ]
    for (library, kind), tables in found.items():
        parts += [_table(f"{library}.{kind}.{name}", values) for name, values in tables.items() if values]
    path.write_text("\n\n".join(parts) + "\n", encoding="utf-8")


def _table(name: str, values: dict[str, Any]) -> str:
    lines = [f"[{name}]"]
    for key, value in values.items():
        # JSON's strings are TOML's, too
        shown = (
            json.dumps(value) if isinstance(value, str) else str(value) if isinstance(value, int) else f"{value:.4g}"
        )
        lines.append(f"{key} = {shown}")
    return "\n".join(lines)


def table(machine: Machine, rates: dict[str, float]) -> str:
    """The rates beside those that the planner has of its own."""
    own = default_target(type(machine.lib), machine.kind).rates
    lines = [f"{machine.lib.name + ' on ' + machine.kind:<20} {'own':>10} {'measured':>10} {'ratio':>7}"]
    lines += [
        f"{name:<20} {getattr(own, name):>10.3g} {rate:>10.3g} {rate / getattr(own, name):>7.2f}"
        for name, rate in rates.items()
    ]
    return "\n".join(lines)
