"""``triconv gradcheck``: the derivatives of any function against its own values."""

from __future__ import annotations

import argparse
from typing import Any

from triconv.cli import parser, target_options

EXAMPLES = """\
  triconv gradcheck layers.py:relu_forward,relu_backward --shape 3,4
  triconv gradcheck mine.py:attention --shape 2,8,16 --shape 2,8,16 --shape 2,8,16 --framework jax"""


def add(commands: Any) -> None:
    """Add the command."""
    gradcheck = parser.add_command(
        commands,
        "gradcheck",
        run,
        help="check the derivatives of any function against its own values",
        description="Check the derivatives of any function against its own values: exactly where it is a polynomial on a\n"
        "piece, else numerically. Exit status: 0 right; 1 wrong; 2 could not be checked.",
        examples=EXAMPLES,
    )
    gradcheck.add_argument("target", nargs="*", metavar=target_options.METAVAR, help="as for triconv check")
    target_options.add_of_any(gradcheck, gradcheck)


def run(arguments: argparse.Namespace) -> int:
    """Run the command and return the exit status."""
    from triconv.cli import targets

    if not arguments.target:
        msg = "`target` must be given, such as triconv gradcheck layers.py:relu_forward,relu_backward --shape 3,4"
        raise ValueError(msg)
    return targets.check(arguments.target, parser.given(arguments), compares=False)
