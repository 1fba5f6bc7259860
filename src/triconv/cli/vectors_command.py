"""``triconv vectors``: data and right results in a file, for a convolution in another language."""

from __future__ import annotations

import argparse
from typing import Any

from triconv.cli import operator_options, parser, values

EXAMPLES = """\
  triconv vectors --like conv2d --shape 2,3,8,8 --shape 4,3,3,3 --stride 2 --out case.npz
  triconv check --results case_out.npz"""


def add(commands: Any) -> None:
    """Add the command."""
    vectors = parser.add_command(
        commands,
        "vectors",
        run,
        help="write data and right results, so that a convolution is checked where there is no Python",
        description="Write data, the right results and the bounds of their rounding as .npz, or as a folder of numbers that\n"
        "any language reads, and a JSON that describes them.\n"
        "triconv check --results judges what a convolution made of them.",
        examples=EXAMPLES,
    )
    parser.add_option(
        vectors, "--like", of=vectors, metavar="OPERATOR", help="an operator of triconv, such as conv2d (required)"
    )
    operator_options.add_shapes(vectors, vectors)
    parser.add_option(
        vectors, "--dtype", of=vectors, type=values.dtype, metavar="NAME", help="of the arrays (default: float32)"
    )
    parser.add_option(
        vectors, "--seed", of=vectors, type=values.an_int, metavar="N", help="of the random data (default: 0)"
    )
    parser.add_option(
        vectors,
        "--out",
        of=vectors,
        metavar="NPZ",
        help="the file, such as case.npz, or a folder, such as case (required)",
    )
    operator_options.add_parameters(vectors.add_argument_group("parameters of the operator"), vectors)


def run(arguments: argparse.Namespace) -> int:
    """Run the command and return the exit status."""
    from triconv.checking import vectors
    from triconv.operators.registry import OPERATORS

    name, shapes, params = operator_options.call_of(arguments.like, arguments, "--like")
    if arguments.out is None:
        msg = "`--out` must be a file, such as --out case.npz, got none"
        raise ValueError(msg)
    dtype, seed = arguments.dtype or "float32", arguments.seed or 0
    path = vectors.write(OPERATORS[name], *shapes, out=arguments.out, dtype=dtype, seed=seed, **params)
    print(f"written: {arguments.out}, described in {path}")
    return 0
