"""The lines of a counterexample that run a pair of a forward and a backward."""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np


def lines(
    candidate: Any,
    functions: tuple[str, str],
    names: Sequence[str],
    arrays: Sequence[np.ndarray],
    g: np.ndarray,
    n: int,
    spell: Callable[[Any], str],
) -> list[str]:
    """Return the lines that end with `found`, the cotangent of one array, as the candidate itself gets it.

    Parameters
    ----------
    candidate : PairCandidate
        The pair, with ``forward``, ``backward`` and ``args``.
    functions : tuple of str
        What its two functions are called.
    names, arrays : sequence of str, sequence of numpy.ndarray
        The arrays, and what they are called.
    g : numpy.ndarray
        The cotangent of the result, which is called g.
    n : int
        Of the array whose cotangent is asked for.
    spell : callable
        Gives an expression for anything else.
    """
    seen: dict[str, Any] = {}

    @functools.wraps(candidate.function)
    def forward(*args: Any, **keywords: Any) -> Any:
        seen["arrays"], seen["result"] = args, candidate.function(*args, **keywords)
        return seen["result"]

    @functools.wraps(candidate.backward)
    def backward(*args: Any, **keywords: Any) -> Any:
        seen["args"], seen["keywords"] = args, keywords
        seen["found"] = candidate.backward(*args, **keywords)
        return seen["found"]

    traced = copy.copy(candidate)
    traced.function, traced.backward = forward, backward
    gradient = traced.vjp(arrays, g, n)
    result = seen["result"]
    caches = list(result[1:]) if isinstance(result, tuple) and len(result) > 1 else []
    known = list(zip(names, seen["arrays"], strict=False))
    known += [("cache", caches[0])] if len(caches) == 1 else [(f"cache[{i}]", cache) for i, cache in enumerate(caches)]

    def spelled(value: Any) -> str:
        for name, other in known:
            if value is other:
                return name
        if isinstance(value, tuple) and len(caches) > 1 and list(map(id, value)) == list(map(id, caches)):
            return "cache"
        return "g" if np.shape(value) == np.shape(g) and hasattr(value, "dtype") else spell(value)

    given = [*map(spelled, seen["args"]), *(f"{name}={spelled(value)}" for name, value in seen["keywords"].items())]
    target = "y, cache" if len(caches) == 1 else "y, *cache" if caches else "y"
    more = [*map(spell, candidate.args), *(f"{name}={spell(value)}" for name, value in candidate.keywords.items())]
    return [
        f"{target} = {functions[0]}({', '.join([*names, *more])})",
        f"found = {functions[1]}({', '.join(given)}){_place(seen['found'], gradient, n)}",
    ]


def _place(found: Any, gradient: Any, n: int) -> str:
    """Where a gradient is in what a backward returns."""
    if isinstance(found, dict):
        return next((f"[{key!r}]" for key, value in found.items() if value is gradient), f"[{n}]")
    if not isinstance(found, (tuple, list)):
        return ""
    return f"[{next((i for i, value in enumerate(found) if value is gradient), n)}]"
