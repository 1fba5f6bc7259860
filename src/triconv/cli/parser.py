"""The parser of the command line: argparse, with errors of one line in the words of this library."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from triconv.checking.candidates.suggestions import did_you_mean

UNCHECKED = 2
RUN, COMMAND, TARGET = "run", "command", "target"
"""Attributes of the parsed words that are no options."""


class Parser(argparse.ArgumentParser):
    """A parser whose errors are one line, and which hints at what a misspelled word was meant to be."""

    def __init__(self, **keywords: Any) -> None:
        super().__init__(**{"formatter_class": argparse.RawDescriptionHelpFormatter, "allow_abbrev": False, **keywords})
        self.commands: dict[str, Parser] = {}
        self.options: list[str] = []

    def error(self, message: str) -> NoReturn:
        """Print one line, and exit with the status of what could not be checked."""
        self.exit(UNCHECKED, f"triconv: {_in_words(message)}\n")

    def refuse_unknown(self, words: Sequence[str]) -> None:
        """Exit with a message if words are left over."""
        for word in words:
            name = word.partition("=")[0]
            if name.startswith("-"):
                self.error(f"`{name}` is no option of {self.prog}{did_you_mean(name, self.options)}")
            self.error(f"{self.prog} does not take {word!r}; {self.prog} --help shows what it takes")


def add_command(commands: Any, name: str, run: Callable[[argparse.Namespace], int], **texts: str) -> Parser:
    """Add a command.

    Parameters
    ----------
    commands : object
        What `argparse.ArgumentParser.add_subparsers` returns.
    name : str
        Its name.
    run : callable
        Runs it, and returns the exit status.
    **texts : str
        Its ``help``, ``description`` and ``examples``.
    """
    examples = "examples:\n" + texts.pop("examples")
    parser: Parser = commands.add_parser(name, epilog=examples, **texts)
    parser.set_defaults(**{RUN: run, COMMAND: name})
    return parser


def add_option(parser: Any, *names: str, of: Parser, **keywords: Any) -> None:
    """Add an option to a parser or a group of `of`. One that is not given is None, so that it can be told from a default."""
    of.options += [name for name in names if name.startswith("-")]
    parser.add_argument(*names, **{"default": None, **keywords})


def joined(words: Sequence[str]) -> list[str]:
    """Return the words with a value that begins with a minus attached to its option, such as ``--padding -1:0``.

    Parameters
    ----------
    words : sequence of str
        Of a command line; only ``--name`` and ``-h`` are options here.

    Examples
    --------
    >>> joined(["explain", "conv1d", "--padding", "-1:0"])
    ['explain', 'conv1d', '--padding=-1:0']
    """
    result: list[str] = []
    for word in words:
        before = result[-1] if result else ""
        is_value = word.startswith("-") and not word.startswith("--") and word not in ("-", "-h")
        if is_value and re.fullmatch(r"--[a-z-]+", before):
            result[-1] = f"{before}={word}"
        else:
            result.append(word)
    return result


def given(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return the options that were given."""
    return {
        name: value
        for name, value in vars(arguments).items()
        if value is not None and name not in (RUN, COMMAND, TARGET)
    }


def spelled(name: str) -> str:
    """Return an option's name as it is written."""
    return f"--{name.replace('_', '-')}"


def _in_words(message: str) -> str:
    """Return a message of argparse about an option in the words of this library."""
    match = re.fullmatch(r"argument (?P<name>[^:]*): (?P<rule>.*)", message, re.DOTALL)
    if match is None:
        return message
    name, rule = match["name"].rpartition("/")[2], match["rule"]
    if rule == "expected one argument":
        rule = f"must be followed by its value, such as {name} VALUE"
    if rule.startswith("ignored explicit argument"):
        rule = "takes no value"
    return f"`{name}` {rule}"
