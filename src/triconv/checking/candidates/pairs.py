"""A candidate that is a pair: a forward, which may return a cache, and a backward, which gives all cotangents at once."""

from __future__ import annotations

import inspect
import itertools
import re
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from triconv.backends import to_numpy
from triconv.checking.candidates.candidate import Arrays, CandidateFunction, long_axes
from triconv.checking.candidates.unsupported import Unsupported
from triconv.checking.findings.unanswered import Ability, NotSupported, Reason

COTANGENT = re.compile(
    r"^(g|gy|gz|dy|dz|dh|da|ds|do|up|upstream.*|d?out.*|grad.*|delta.*|dl_?d.*|err.*|.*_grad|.*gradient.*)$",
    re.IGNORECASE,
)
CACHE = re.compile(r"^(cache|ctx|context|saved|tape|res|residuals|memory|tmp|store)", re.IGNORECASE)
"""What people call the cotangent of the result, and what the forward remembers."""


class PairCandidate(CandidateFunction):
    """A pair ``(forward, backward)``.

    ``forward(*arrays, *args)`` gives ``y``, ``(y, cache)`` or ``(y, first, second, ...)``. The backward is called with the
    cotangent and the cache, in the order that its parameters' names say; without a cache with the forward's arguments that it
    names. It gives the cotangents of the arrays, in order, or as a dict.
    """

    returns_cache = True

    def __init__(
        self, forward: Callable[..., Any], backward: Callable[..., Any], *args: Any, extra: tuple[Any, ...] = ()
    ) -> None:
        super().__init__(forward, *args, args=extra)
        self.forward, self.backward = forward, backward

    def call(self, *arrays: Any) -> Any:
        """The result without the cache."""
        result = self.function(*arrays, *self.args, **self.keywords)
        return result[0] if isinstance(result, tuple) and len(result) > 1 else super().call(*arrays)

    def vjp(self, arrays: Arrays, g: np.ndarray, n: int) -> Any:
        """One of the cotangents, right after the forward on the same arrays."""
        gradient = self._gradients(arrays, g)[n]
        return _missing() if gradient is None else gradient

    def vjps(self, arrays: Arrays, g: np.ndarray) -> list[Any]:
        """All cotangents."""
        return [_missing() if gradient is None else gradient for gradient in self._gradients(arrays, g)]

    def pullback(self, arrays: Arrays) -> Callable[[np.ndarray], list[Any]]:
        """By the backward with the cache of this forward; a pair without a cache may keep something from call to call."""
        moved = self.move(arrays)
        result = self.function(*moved, *self.args, **self.keywords)
        if not (isinstance(result, tuple) and len(result) > 1):
            raise self._lacks(Ability.DERIVATIVE)

        def pull_back(g: np.ndarray) -> list[Any]:
            found = self._went_back(result, moved, self.move([g])[0])
            return assigned(found, [np.shape(a) for a in arrays], _names(self.forward))

        return pull_back

    @property
    def functions(self) -> tuple[Any, ...]:
        """Both."""
        return self.forward, self.backward

    def after_another_forward(self, arrays: Arrays, other: Arrays, g: np.ndarray) -> list[Any] | None:
        """By the backward, after the forward of other arrays."""
        moved = self.move(arrays)
        result = self.function(*moved, *self.args, **self.keywords)
        self.function(*self.move(other), *self.args, **self.keywords)
        found = self._went_back(result, moved, self.move([g])[0])
        return assigned(found, [np.shape(a) for a in arrays], _names(self.forward))

    def _gradients(self, arrays: Arrays, g: np.ndarray) -> list[Any]:
        moved = self.move(arrays)
        result = self.function(*moved, *self.args, **self.keywords)
        found = self._went_back(result, moved, self.move([g])[0])
        return assigned(found, [np.shape(a) for a in arrays], _names(self.forward))

    def _went_back(self, result: Any, moved: Sequence[Any], ct: Any) -> Any:
        parameters = positional(self.backward)
        names = [p.name for p in parameters]
        if isinstance(result, tuple) and len(result) > 1:
            needed = sum(p.default is p.empty for p in parameters)
            caches = list(result[1:])
            first = [*caches, ct] if names and CACHE.match(names[0]) else [ct, *caches]
            if len(caches) > 1 and needed == 2 and len(names) == 2:
                # a cache before statistics, or its parts one after the other
                one = caches[0] if isinstance(caches[0], (tuple, list, dict)) else tuple(caches)
                first = [one, ct] if CACHE.match(names[0]) else [ct, one]
            rest = names[len(first) :]
            given = self._named(moved)
            more = {
                p.name: given[p.name] for p in parameters if p.name in rest and p.name in given and p.default is p.empty
            }
            return self.backward(*first, **more)
        if any(p.kind is p.VAR_POSITIONAL for p in inspect.signature(self.backward).parameters.values()):
            return self.backward(ct, *moved, *self.args)
        alone = [p for p in inspect.signature(self.backward).parameters.values() if p.kind is p.KEYWORD_ONLY]
        values = self._in_order([*parameters, *alone], moved, ct)
        named = dict(zip((p.name for p in alone), values[len(parameters) :], strict=False))
        return self.backward(*values[: len(parameters)], **named)

    def _in_order(self, parameters: list[inspect.Parameter], moved: Sequence[Any], ct: Any) -> list[Any]:
        """The cotangent and the forward's arguments, in the order that a backward without a cache has them.

        Arguments are known by the forward's names; the others are the arrays in their order, but for the cotangent.
        """
        given, names = self._named(moved), [p.name for p in parameters]
        unknown = [name for name in names if name not in given]
        cotangent = next((name for name in unknown if COTANGENT.match(name)), (unknown or [""])[0])
        rest = [a for name, a in zip(_names(self.forward), (*moved, *self.args), strict=False) if name not in names]
        values = []
        for p in parameters:
            if p.name == cotangent:
                values.append(ct)
            elif p.name in given:
                values.append(given[p.name])
            elif rest:
                values.append(rest.pop(0))
            else:
                break  # what has a default, or is missing and is said to be
        return values

    def _named(self, moved: Sequence[Any]) -> dict[str, Any]:
        """The forward's arguments by its names for them."""
        return dict(zip(_names(self.forward), (*moved, *self.args), strict=False)) | self.keywords


def assigned(found: Any, shapes: Sequence[tuple[int, ...]], names: Sequence[str]) -> list[Any]:
    """Return the cotangent of each array among what a backward returns; None where there is none.

    Parameters
    ----------
    found : Any
        What it returns: an array, a tuple, list or dict of them.
    shapes : sequence of tuple of int
        Of the arrays.
    names : sequence of str
        What the forward calls them.
    """
    if isinstance(found, dict):
        parts = list(found.values())
        by_name = [_named_like(found, name) for name in names[: len(shapes)]]
        if len(by_name) == len(shapes) and all(part is not None for part in by_name):
            return by_name
    else:
        parts = list(found) if isinstance(found, (tuple, list)) and not _is_number(found) else [found]
    if len(parts) == len(shapes) and any(part is None for part in parts):
        return parts
    parts = [part for part in parts if part is not None]
    wanted = [long_axes(shape) for shape in shapes]
    have = [long_axes(_shape(part)) for part in parts]
    if len(parts) >= len(shapes):
        if have[: len(shapes)] == wanted or (len(parts) == len(shapes) and len(shapes) > 4):
            return parts[: len(shapes)]
        orders = [
            order
            for order in itertools.permutations(range(len(parts)), len(shapes))
            if [have[n] for n in order] == wanted
        ]
        return [parts[n] for n in (orders[0] if orders else range(len(shapes)))]
    gradients: list[Any] = [None] * len(shapes)
    for part, shape in zip(parts, have, strict=True):
        fits = [n for n, other in enumerate(wanted) if other == shape and gradients[n] is None]
        free = [n for n, gradient in enumerate(gradients) if gradient is None]
        gradients[(fits or free)[0]] = part
    return gradients


def _named_like(found: dict[Any, Any], name: str) -> Any:
    """The entry whose key is that of the gradient of an array of this name."""
    for key, value in found.items():
        plain = re.sub(r"^(d_?|grad_?|g_?|dl_?d|delta_?)|(_?grad|_?gradient)$", "", str(key).lower())
        if plain in (name.lower(), name.lower()[:1]):
            return value
    return None


def _is_number(values: Sequence[Any]) -> bool:
    """Whether numbers in lists stand for an array."""
    first: Any = values
    while isinstance(first, (list, tuple)) and first:
        first = first[0]
    return isinstance(first, (int, float))


def _shape(part: Any) -> tuple[int, ...]:
    if hasattr(part, "shape"):
        return tuple(part.shape)
    try:
        return tuple(np.shape(to_numpy(part)))
    except Exception:  # noqa: BLE001 (no array: what it is, is said where it is judged)
        return ()


def positional(function: Callable[..., Any]) -> list[inspect.Parameter]:
    """Return the parameters that a function takes by position; none where it does not say."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return []
    return [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]


def _names(function: Callable[..., Any]) -> list[str]:
    return [p.name for p in positional(function)]


def _missing() -> Any:
    raise Unsupported(NotSupported(Reason.RULES, Ability.DERIVATIVE))
