"""What one layer gives step after step, as in training, and what it keeps from one to the next."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

from triconv.checking.candidates.layer_search import Place, arrays_in, copied, plain, reach

RESETS = re.compile(r"^_*(zero|reset|clear|flush)\w*grad|^_*grad\w*(zero|reset|clear|flush)", re.IGNORECASE)
"""Names of methods that set gradients to zero, which are then called before each backward, before the first one too."""


class Step(NamedTuple):
    """The value and the gradients of one step.

    Parameters
    ----------
    value : Any
        The result of the forward.
    gradients : list
        Of its arrays; None where there is none that is returned or left in an attribute.
    grows : bool
        Whether a list in the layer is longer than after the step before: it remembers inputs until it is told to forget them.
    """

    value: Any
    gradients: list[Any]
    grows: bool


class Start(NamedTuple):
    """The gradient of array `n` in a new layer, and what its attribute held before, which is not zero."""

    n: int
    held: Any
    gradient: Any


class History(NamedTuple):
    """What one layer gives.

    Parameters
    ----------
    steps : list of Step
        Forward and backward, again and again.
    values : list
        The results of the same forwards without a backward.
    attributes : list of str
        The paths of the attributes in which the gradients are left; "" if they are returned.
    starts : list of Start
        Gradients whose attributes do not begin as zeros.
    overwritten : sequence of int or None
        Gradients, and None for the value, that the next step of the same object writes into.
    """

    steps: list[Step]
    values: list[Any]
    attributes: list[str]
    starts: list[Start]
    overwritten: Sequence[int | None] = ()


def lengths_of(layer: Any) -> dict[Place, int]:
    """Return the length of every list and dict in a layer."""
    return {place: len(thing) for place, thing in reach(layer) if isinstance(thing, (list, dict))}


def restore(layer: Any, first: Any, places: Iterable[Place]) -> None:
    """Give a layer back what its backward may have updated: numbers, and the arrays at these places, of the layer as it was."""
    for place, value in list(reach(first)):
        if isinstance(value, (float, np.floating)):
            with contextlib.suppress(Exception):  # what can be written no more, or is not there
                place.write(layer, value)
    for place in places:
        with contextlib.suppress(Exception):
            place.write(layer, copied(place.read(first), {}))


def resets_gradients(kind: type) -> bool:
    """Whether a layer has a method that sets its gradients to zero."""
    return any(RESETS.search(plain(name)) for name in dir(kind))


def is_unused(written: Any, after: Any) -> bool:
    """Whether a layer has not run before: a run makes arrays that were not there."""
    return bool(set(arrays_in(after)) - set(arrays_in(written)))
