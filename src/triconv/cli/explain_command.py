"""``triconv explain``: which kernel computes a call and its derivatives, and why."""

from __future__ import annotations

import argparse
from typing import Any

from triconv.cli import operator_options, parser, values
from triconv.planning.planner import KERNELS

EXAMPLES = """\
  triconv explain conv2d --shape 8,96,56,56 --shape 96,1,3,3 --padding 1 --groups 96 --backend jax
  triconv explain conv_transpose2d --shape 1,32,28,28 --shape 32,16,4,4 --stride 2 --padding 1 --measure"""


def add(commands: Any) -> None:
    """Add the command."""
    explain = parser.add_command(
        commands,
        "explain",
        run,
        help="tell which kernel computes a convolution, and what it costs",
        description="Tell which kernel computes a call and its derivatives, why, and what it costs.",
        examples=EXAMPLES,
    )
    operator_options.add_call(explain)
    parser.add_option(
        explain,
        "--backend",
        of=explain,
        type=values.library,
        metavar="NAME",
        help="the library that computes it: numpy, jax, torch, ... (default: numpy)",
    )
    parser.add_option(
        explain,
        "--algorithm",
        of=explain,
        type=values.one_of(("auto", *KERNELS)),
        metavar="NAME",
        help=f"ask for a kernel: {', '.join(KERNELS)} (default: auto, the planner's choice)",
    )
    parser.add_option(
        explain, "--measure", of=explain, action="store_true", help="run the candidates and show their times"
    )


def run(arguments: argparse.Namespace) -> int:
    """Run the command and return the exit status."""
    import triconv
    from triconv.operators.registry import OPERATORS

    name, shapes, params = operator_options.call_of(arguments.operator, arguments)
    if arguments.algorithm is not None:
        params["algorithm"] = arguments.algorithm
    bound = triconv.use(arguments.backend or "numpy")
    arrays = [bound.xp.zeros(shape, dtype=bound.xp.float32) for shape in shapes]
    print(triconv.explain(OPERATORS[name], *arrays, measure=bool(arguments.measure), **params))
    return 0
