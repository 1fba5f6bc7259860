"""``triconv show``: which inputs, outputs and taps of a call meet."""

from __future__ import annotations

import argparse
from typing import Any

from triconv.cli import operator_options, parser

EXAMPLES = """\
  triconv show conv1d --shape 1,1,6 --shape 1,1,3 --stride 2 --padding 1
  triconv show conv1d --shape 1,1,6 --shape 1,1,3 --stride 2 --padding 1 --element 'gx[3]'
  triconv show conv2d --shape 1,1,5,5 --shape 1,1,3,3 --html table.html"""


def add(commands: Any) -> None:
    """Add the command."""
    show = parser.add_command(
        commands,
        "show",
        run,
        help="show which inputs, outputs and taps of a convolution meet",
        description="Show which inputs, outputs and taps of a call meet, as a table per axis, and write out the sums behind\n"
        "elements of its result and its gradients.",
        examples=EXAMPLES,
    )
    operator_options.add_call(show)
    parser.add_option(
        show,
        "--element",
        of=show,
        action="append",
        metavar="gx[3]",
        help="write out the sum behind this element of y, gx, gw or gb",
    )
    parser.add_option(show, "--html", of=show, metavar="PATH", help="write it as one HTML file, with pictures")


def run(arguments: argparse.Namespace) -> int:
    """Run the command and return the exit status."""
    import triconv
    from triconv.cli import targets
    from triconv.operators.registry import OPERATORS

    targets.check_path("--html", arguments.html)
    name, shapes, params = operator_options.call_of(arguments.operator, arguments)
    tables = triconv.show(OPERATORS[name], *shapes, element=tuple(arguments.element or ()), **params)
    print(tables)
    if arguments.html is not None:
        try:
            tables.to_html(arguments.html)
        except OSError as problem:
            msg = f"`--html` could not be written: {problem}"
            raise ValueError(msg) from None
        print(f"\nwritten: {arguments.html}")
    return 0
