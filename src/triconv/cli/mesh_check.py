"""``triconv check --mesh``: make a mesh of devices, and check `triconv.jax.conv_sharded` itself on it."""

from __future__ import annotations

import functools
import os
import re
from typing import Any

import numpy as np
from rich.table import Table

import triconv
from triconv.checking.findings.protocol import EXIT_STATUS, RIGHT
from triconv.checking.reports import wording
from triconv.cli import output

NAMES = "abcdefgh"
HOST_DEVICES = "--xla_force_host_platform_device_count"

# which axes are sharded: shapes, parameters, and specs of x and w, where a is the first axis of the mesh and b the second
CASES: dict[str, tuple[Any, Any, dict[str, Any], tuple[str, ...]]] = {
    "batch": ((8, 3, 9), (2, 3, 3), {"padding": 1}, ("a",)),
    "input channels": ((2, 8, 9), (3, 8, 3), {"padding": 1}, ("-,a", "-,a")),
    "output channels": ((2, 3, 9), (8, 3, 3), {"padding": 1}, ("-", "a")),
    "groups": ((2, 8, 9), (8, 1, 3), {"padding": 1, "groups": 8}, ("-,a", "a")),
    "positions": ((2, 3, 16), (2, 3, 5), {"padding": 2}, ("-,-,a",)),
    "positions, causal and dilated": ((1, 2, 24), (2, 2, 3), {"dilation": 4, "padding": [(8, 0)]}, ("-,-,a",)),
    "positions, strided": ((1, 2, 24), (2, 2, 4), {"stride": 3, "padding": [(2, 1)]}, ("-,-,a",)),
    "positions, transposed": ((1, 2, 8), (2, 2, 4), {"input_dilation": 2, "padding": 2}, ("-,-,a",)),
    "both axes": ((2, 2, 8, 8), (2, 2, 3, 3), {"padding": 1}, ("-,-,a,b",)),
    "batch and positions": ((8, 2, 8), (2, 2, 3), {"padding": 1}, ("a,-,b",)),
    "channels and positions": ((2, 8, 8), (2, 8, 3), {"padding": 1}, ("-,a,b", "-,a")),
}


def with_devices(sizes: tuple[int, ...]) -> None:
    """Have JAX, which must not have started, make as many devices of this machine's CPU, unless XLA_FLAGS says otherwise."""
    if any(size < 1 for size in sizes) or not 1 <= len(sizes) <= len(NAMES):
        msg = f"`--mesh` must be sizes from 1 on, such as 4,2, got {sizes}"
        raise ValueError(msg)
    flags = os.environ.get("XLA_FLAGS", "")
    if HOST_DEVICES not in flags:
        os.environ["XLA_FLAGS"] = f"{flags} {HOST_DEVICES}={int(np.prod(sizes))}".strip()


def mesh_of(sizes: tuple[int, ...]) -> Any:
    """A mesh with the axes a, b, ...

    Raises
    ------
    ValueError
        If there are too few devices.
    """
    import jax

    if len(jax.devices()) < np.prod(sizes):
        msg = f"`--mesh` must have at most as many devices as there are, got {int(np.prod(sizes))} for {len(jax.devices())}"
        raise ValueError(msg)
    return jax.make_mesh(sizes, tuple(NAMES[: len(sizes)]), axis_types=(jax.sharding.AxisType.Auto,) * len(sizes))


def spec_of(text: str) -> Any:
    """A spec such as ``a,-,b``: one entry per axis, - for none, a+b for both.

    Raises
    ------
    ValueError
        If it is none.
    """
    from jax.sharding import PartitionSpec

    entries = text.split(",")
    if not all(re.fullmatch(r"-|[a-h](\+[a-h])*", entry) for entry in entries):
        msg = f"`--spec` must be one entry per axis, such as a,-,b or a+b, got {text!r}"
        raise ValueError(msg)
    return PartitionSpec(*(None if entry == "-" else tuple(entry.split("+")) for entry in entries))


def check_itself(sizes: tuple[int, ...], seed: int) -> int:
    """Check `triconv.jax.conv_sharded` on a mesh, print a table, and return the exit status."""
    mesh, worst = mesh_of(sizes), str(RIGHT)
    table = Table(title=f"triconv.jax.conv_sharded on {int(np.prod(sizes))} devices ({' x '.join(map(str, sizes))})")
    for name in ("sharded", "verdict", "sent: value", "VJP of x", "VJP of w"):
        table.add_column(name)
    for name, (x, w, params, texts) in CASES.items():
        used = set("".join(texts)) & set(NAMES)
        if not used <= set(NAMES[: len(sizes)]) or not _divides(x, w, texts, mesh):
            continue
        specs = tuple(map(spec_of, texts))
        candidate = functools.partial(_sharded, mesh=mesh, specs=specs, params=params)
        report = triconv.check(
            candidate, triconv.conv, x, w, framework="jax", mesh=mesh, specs=specs, seed=seed, **params
        )
        table.add_row(name, report.verdict, *(wording.collectives(record.collectives) for record in report.sent))
        worst = worst if report.verdict == RIGHT else report.verdict
        if report.verdict != RIGHT:
            table.add_row("", report.summary)
    output.console().print(table)
    return EXIT_STATUS[worst]


def _sharded(x: Any, w: Any, *, mesh: Any, specs: tuple[Any, ...], params: dict[str, Any]) -> Any:
    return triconv.jax.conv_sharded(x, w, mesh, *specs, **params)


def _divides(x: tuple[int, ...], w: tuple[int, ...], texts: tuple[str, ...], mesh: Any) -> bool:
    entries = [zip(shape, text.split(","), strict=False) for shape, text in zip((x, w), texts, strict=False)]
    return all(entry == "-" or size % mesh.shape[entry] == 0 for pairs in entries for size, entry in pairs)
