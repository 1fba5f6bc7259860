"""The command line: ``triconv check``, ``triconv explain``, ``triconv info`` and others, each in a file of its own."""

from __future__ import annotations

import argparse
import os
import sys
import traceback
from collections.abc import Sequence

from triconv.checking.candidates.suggestions import did_you_mean
from triconv.cli import check_command, explain_command, gradcheck_command, info_command, show_command, vectors_command
from triconv.cli.parser import RUN, TARGET, UNCHECKED, Parser, joined

COMMANDS = (check_command, gradcheck_command, vectors_command, show_command, explain_command, info_command)
"""Modules with a command each: `add` adds it to the parser, `run` runs it."""

GUIDE = """\
triconv {version}: is my convolution's gradient right? What to do next:

  triconv check
      does triconv work on this machine?
  triconv check mine.py:conv --like conv2d --shape 2,3,8,8 --shape 4,3,3,3
      is my function right? (mine.py:forward,backward for a pair)
  triconv gradcheck layers.py:relu_forward,relu_backward --shape 3,4
      is the derivative of any other function right?
  triconv show conv1d --shape 1,1,6 --shape 1,1,3 --stride 2 --padding 1
      what meets what, and what is the sum behind a gradient?
  triconv explain conv2d --shape 8,96,56,56 --shape 96,1,3,3 --groups 96
      which kernel computes this, and why?
  triconv info
      which array libraries are here?

triconv --help lists all commands, triconv COMMAND --help the options of one.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command.

    Parameters
    ----------
    argv : sequence of str, optional
        Its words; by default those of the process.

    Returns
    -------
    int
        0 right, 1 wrong, 2 could not be checked.
    """
    words = sys.argv[1:] if argv is None else argv
    if not words:
        from triconv import __version__

        sys.stderr.write(GUIDE.format(version=__version__))
        return UNCHECKED
    try:
        arguments = parse(words)
    except SystemExit as said:  # of argparse, which has printed the help or what is wrong
        return int(said.code or 0)
    try:
        status: int = getattr(arguments, RUN)(arguments)
        sys.stdout.flush()
        return status
    except BrokenPipeError:  # of `triconv ... | head`; Python flushes once more at its end
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (ValueError, TypeError, ImportError) as problem:
        from triconv.checking.reports.text_report import without_escapes

        print(without_escapes(f"triconv: {problem}"), file=sys.stderr)
    except SystemExit as problem:  # of somebody's function
        print(f"triconv: what was run raised SystemExit: {problem.code}", file=sys.stderr)
    except Exception:  # noqa: BLE001 (Python's own status is 1, which says that a function is wrong)
        traceback.print_exc()
    return UNCHECKED


def parse(words: Sequence[str]) -> argparse.Namespace:
    """Return the words of a command line, parsed; exits with status 2 and one line if they are none."""
    all_commands, words = parser(), joined(words)
    known = all_commands.commands
    command = next((word for word in words if not word.startswith("-")), None)
    if command is not None and command not in known:
        hint = did_you_mean(command, known)
        all_commands.error(f"there is no command {command!r}{hint}; the commands are {', '.join(known)}")
    arguments, rest = all_commands.parse_known_args(words)
    if hasattr(arguments, TARGET):  # argparse leaves over those that stand after an option
        arguments.target += [word for word in rest if not word.startswith("-")]
        rest = [word for word in rest if word.startswith("-")]
    (known[command] if command is not None else all_commands).refuse_unknown(rest)
    return arguments


def parser() -> Parser:
    """Return the parser of all commands."""
    from triconv import __version__

    every = Parser(
        prog="triconv",
        description="Checks your convolution and its gradients, and says what is wrong.",
        epilog="triconv COMMAND --help shows the options of a command and examples.",
    )
    every.add_argument("--version", action="version", version=f"triconv {__version__}")
    commands = every.add_subparsers(metavar="COMMAND", required=True, title="commands")
    for module in COMMANDS:
        module.add(commands)
    every.commands = dict(commands.choices)
    return every
