"""The options for somebody's function, and which of them apply to what it is compared with."""

from __future__ import annotations

from typing import Any

from triconv.checking.check import PRECISIONS
from triconv.cli import values
from triconv.cli.operator_options import PARAMETERS, add_shapes
from triconv.cli.parser import Parser, add_option, spelled

ISOLATION = ("isolate", "timeout", "memory")
"""About a process of its own."""
CODE = ("args", "kwargs")
"""Python or JSON."""
OF_ANY = ("framework", "dtype", "seed", *CODE, "parameters", "gradients", "device", *ISOLATION)
"""Options of `triconv.check` whatever a function is compared with."""
OF_OPERATOR = ("precision", "pass_params", "sweep", "sizes", "meant", "mesh", "specs")
"""Those that need an operator to compare it with."""
FILES = ("html", "json")
"""Where to write the report."""
METAVAR = "FILE:NAME"


def add_of_any(group: Any, of: Parser) -> None:
    """Add the options of a target, whatever it is compared with."""
    add_shapes(group, of)
    texts: dict[str, dict[str, Any]] = {
        "args": {
            "metavar": "JSON",
            "help": "arguments after the arrays, such as '{\"stride\": 1, \"pad\": 1}' or '[1, 1]'",
        },
        "kwargs": {"metavar": "JSON", "help": "arguments by name, such as '{\"stride\": 1}'"},
        "framework": {
            "type": values.library,
            "metavar": "NAME",
            "help": "whose arrays it takes, if that is not to be found out: numpy, jax, torch, ...",
        },
        "dtype": {
            "type": values.dtype,
            "metavar": "NAME",
            "help": "of the arrays (default: float64 for NumPy, else float32; float64 without --like)",
        },
        "device": {"metavar": "NAME", "help": "where the arrays are, such as cpu or cuda"},
        "seed": {"type": values.an_int, "metavar": "N", "help": "of the random data (default: 0)"},
        "parameters": {"type": values.words, "metavar": "W,b", "help": "attributes of a layer that are its parameters"},
        "gradients": {
            "type": values.words,
            "metavar": "dW,db",
            "help": "attributes of a layer that are their gradients",
        },
        "isolate": {
            "action": "store_true",
            "help": "run it in a process of its own, which sees neither the right answers nor the checker",
        },
        "timeout": {
            "type": values.a_number,
            "metavar": "S",
            "help": "seconds after which that process is ended (with --isolate or --manifest)",
        },
        "memory": {
            "type": values.a_number,
            "metavar": "GIB",
            "help": "GiB of address space that it may take (with --isolate or --manifest, on Linux)",
        },
        "html": {"metavar": "PATH", "help": "write the report as one HTML file"},
        "json": {"metavar": "PATH", "help": "write the report as JSON"},
    }
    for name, keywords in texts.items():
        add_option(group, spelled(name), of=of, **keywords)


def add_of_operator(group: Any, of: Parser) -> None:
    """Add the options of a target that is compared with an operator."""
    texts: dict[str, dict[str, Any]] = {
        "precision": {
            "type": values.one_of(PRECISIONS, values.SHORT_DTYPES),
            "metavar": "NAME",
            "help": f"declare products of fewer bits: {', '.join(PRECISIONS)}",
        },
        "pass_params": {"action": "store_true", "help": "hand it the operator's parameters as keywords"},
        "sweep": {"action": "store_true", "help": "check more geometries, at which code often breaks"},
        "sizes": {
            "type": values.one_of(["stress"]),
            "metavar": "stress",
            "help": "stress: check sizes next to multiples of 16 to 128 too, and large ones",
        },
        "meant": {
            "type": values.words,
            "metavar": "CAUSE,...",
            "help": "departures on purpose, such as 'batch averaged'",
        },
    }
    for name, keywords in texts.items():
        add_option(group, spelled(name), of=of, **keywords)


def refuse_of_operator(given: dict[str, Any], like: str | None) -> None:
    """Raise for options that need an operator as `like`.

    Raises
    ------
    ValueError
        Also for parameters of an operator without `like`; a function that is `like` takes them as keywords.
    """
    for name in given:
        if name in OF_OPERATOR:
            written = "--spec" if name == "specs" else spelled(name)
            msg = f"`{written}` must come with an operator to compare with, such as --like conv2d, got {like or 'no --like'}"
            raise ValueError(msg)
        if name in PARAMETERS and like is None:
            msg = f"`{spelled(name)}` must come with --like; arguments of the target itself are --args and --kwargs"
            raise ValueError(msg)
