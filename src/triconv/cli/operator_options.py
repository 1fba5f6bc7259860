"""The parameters of operators as options, and which of them an operator takes."""

from __future__ import annotations

import argparse
import inspect
from collections.abc import Callable, Iterable
from typing import Any

from triconv.checking.arguments import example_shapes
from triconv.checking.candidates.suggestions import did_you_mean
from triconv.cli import values
from triconv.cli.parser import Parser, add_option, spelled
from triconv.geometry.padding import PADDING_NAMES
from triconv.operators.registry import OPERATORS, array_names, parameter_names
from triconv.padding_modes import MODES

Read = Callable[[str], Any]

OPTIONS: dict[str, tuple[Read, str, str]] = {
    "stride": (values.ints, "S", "step of the windows: an int, or one per axis such as 2,1 (default: 1)"),
    "padding": (
        values.padding,
        "P",
        f"an int, one per axis such as 1,2, lo:hi pairs such as 1:2,0:1 (negative: crop), or {', '.join(PADDING_NAMES)}",
    ),
    "dilation": (values.ints, "D", "distance between the taps of the kernel: an int, or one per axis (default: 1)"),
    "input_dilation": (
        values.ints,
        "D",
        "distance between the elements of the input: an int, or one per axis (default: 1)",
    ),
    "groups": (values.an_int, "G", "number of independent groups of channels (default: 1)"),
    "layout": (
        values.layout,
        "LETTERS",
        "axes of the input, the kernel and the result, such as NHWC,HWIO,NHWC (default: channels first)",
    ),
    "padding_mode": (
        values.one_of(MODES),
        "MODE",
        f"what lies beyond the borders: {', '.join(MODES)} (default: zeros)",
    ),
    "output_padding": (
        values.ints,
        "P",
        "positions added at the end of a transposed convolution's result (default: 0)",
    ),
    "input_size": (values.sizes, "H,W", "spatial sizes of x, which conv_input_vjp needs"),
    "kernel_size": (values.sizes, "H,W", "spatial sizes of w, which conv_weight_vjp needs"),
}
"""Per parameter: what reads its value, how the help writes it, and its text."""
OF_CALL = ("algorithm", "precision")
"""Parameters that say how to compute, and not what."""
PARAMETERS = tuple(name for name in parameter_names() if name not in OF_CALL)
"""Those that have an option each."""


def add_shapes(group: Any, of: Parser) -> None:
    """Add the option for the shapes of arrays."""
    add_option(
        group,
        "--shape",
        of=of,
        action="append",
        type=values.shape,
        metavar="N,C,H,W",
        help="of each array, in their order; give it once per array",
    )


def add_parameters(group: Any, of: Parser) -> None:
    """Add the parameters that the operators take."""
    for name in PARAMETERS:
        read, written, text = OPTIONS.get(name, (values.ints, "N", "a parameter of the operator"))
        add_option(group, spelled(name), of=of, type=read, metavar=written, help=text)


def operator_named(text: str | None, what: str, also: str = "") -> str:
    """Return the name of the operator that a word spells.

    Parameters
    ----------
    text : str or None
        The word.
    what : str
        The option or argument that it is, for the message.
    also : str
        What else it may be, for the message.

    Raises
    ------
    ValueError
        If it spells none.
    """
    name = values.operator_name(text) if text is not None else None
    if name is None:
        got = "none" if text is None else f"{text!r}{did_you_mean(text, OPERATORS)}"
        msg = f"`{what}` must be one of {', '.join(OPERATORS)}{also}, got {got}"
        raise ValueError(msg)
    return name


def refuse_parameters(name: str, given: Iterable[str]) -> None:
    """Raise for parameters that an operator does not have.

    Raises
    ------
    ValueError
        With those that it has.
    """
    known = [key for key in PARAMETERS if key in inspect.signature(OPERATORS[name]).parameters]
    for key in given:
        if key in PARAMETERS and key not in known:
            msg = f"`{spelled(key)}` is no parameter of {name}, which takes {', '.join(map(spelled, known))}"
            raise ValueError(msg)


def shapes_of(name: str, given: list[tuple[int, ...]] | None) -> list[tuple[int, ...]]:
    """Return the shapes of an operator's arrays.

    Raises
    ------
    ValueError
        If there are not as many as it has arrays; with their names.
    """
    shapes = given or []
    parameters = inspect.signature(OPERATORS[name]).parameters
    names = [key for key in array_names(OPERATORS[name]) if parameters[key].kind is not inspect.Parameter.KEYWORD_ONLY]
    needed = [key for key in names if parameters[key].default is inspect.Parameter.empty]
    if not len(needed) <= len(shapes) <= len(names):
        optional = "".join(f", and {key} if it has one" for key in names[len(needed) :])
        arrays = " and ".join(needed) + optional
        msg = (
            f"`--shape` must be given once for each array of {name} ({arrays}), got {len(shapes) or 'none'}; "
            f"such as {example(name)}"
        )
        raise ValueError(msg)
    return shapes


def example(name: str) -> str:
    """Return shapes that an operator takes, as they are written on a command line."""
    return " ".join(f"--shape {','.join(map(str, shape))}" for shape in example_shapes(name))


def add_call(command: Parser) -> None:
    """Add a call of an operator: its name, the shapes of its arrays, and its parameters."""
    command.add_argument("operator", nargs="?", metavar="OPERATOR", help="an operator of triconv, such as conv2d")
    add_shapes(command, command)
    add_parameters(command.add_argument_group("parameters of the operator"), command)


def call_of(
    text: str | None, arguments: argparse.Namespace, what: str = "operator"
) -> tuple[str, list[tuple[int, ...]], dict[str, Any]]:
    """Return the name of the operator that a word spells, the shapes of its arrays and its parameters.

    Raises
    ------
    ValueError
        If they do not fit together.
    """
    name = operator_named(text, what)
    params = {key: value for key in PARAMETERS if (value := getattr(arguments, key)) is not None}
    refuse_parameters(name, params)
    return name, shapes_of(name, arguments.shape), params
