"""``triconv info``: which array libraries are here."""

from __future__ import annotations

import argparse
from typing import Any

from triconv.cli import parser


def add(commands: Any) -> None:
    """Add the command."""
    parser.add_command(
        commands,
        "info",
        run,
        help="tell which array libraries are here",
        description="Tell which array libraries are here, their versions and devices, and what installs the others.",
        examples="  triconv info",
    )


def run(_: argparse.Namespace) -> int:
    """Run the command and return the exit status."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    import triconv
    from triconv.backends import BACKENDS
    from triconv.cli import output
    from triconv.kernels import target
    from triconv.kernels.target_file import VARIABLE

    console = output.console()
    table = Table(title=f"triconv {triconv.__version__}", title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    for heading in ("backend", "version", "devices"):
        table.add_column(heading, overflow="fold")
    here = triconv.backends()
    for name, kind in BACKENDS.items():
        if name in here:
            table.add_row(name, here[name].version, ", ".join(here[name].devices))
        else:
            table.add_row(name, "-", Text(f"install it with: {kind.install_command()}"), style="dim")
    console.print(table)
    if of_machine := target.fitted():
        (path,) = {entry.path for entry in of_machine.values()}
        names = ", ".join(f"{library} on {kind}" for library, kind in of_machine)
        console.print(f"rates of {names}: from {path} ({VARIABLE})", markup=False, highlight=False, soft_wrap=True)
    return 0
