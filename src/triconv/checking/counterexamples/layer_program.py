"""The lines of a counterexample that run a layer."""

from __future__ import annotations

from typing import Any

from triconv.checking.candidates.layer_gradients import Attribute, Returned
from triconv.checking.candidates.layer_methods import CACHES, DECAYS, INPUTS, MAYBE_RATES, OUTPUTS, TRAINING, filled
from triconv.checking.candidates.layer_search import Place, plain
from triconv.checking.candidates.layers import LayerCandidate


def call(candidate: LayerCandidate, names: list[str], n: int | None) -> list[str]:
    """Return the lines that end with `found`: the value, or the gradient of one array.

    Parameters
    ----------
    candidate : LayerCandidate
        The layer.
    names : list of str
        Of the arrays.
    n : int, optional
        Of the array whose gradient is asked for.
    """
    count = candidate.count
    given = zip(candidate.places, names[count:], strict=False)
    lines = [f"layer{_code(place)} = {_shaped(candidate, place, name)}.copy()" for place, name in given]
    y = _spelled(candidate, candidate.forward_name, [*names[:count], *map(repr, candidate.args)], candidate.keywords)
    if n is None:
        return [*lines, f"found = {y}"]
    lines += [f"y = {y}", f"result = {_spelled(candidate, candidate.backward_name, ['g'], {})}"]
    if n in candidate.after_update and candidate.update_name:
        lines.append(_spelled(candidate, candidate.update_name, [], {}))
    where = candidate.found[n] if candidate.found else None
    place = candidate.places[n - count] if n >= count else None
    if isinstance(where, Returned):
        found = f"result{_code(where.place)}"
    elif isinstance(where, Attribute):
        found = f"layer{_code(where.place)}"
    else:  # of the update, at a rate of 1
        assert place is not None
        return [*lines, f"found = {names[n]} - layer{_code(place)}.reshape({names[n]}.shape)"]
    is_other = place is not None and n < len(candidate.shapes) and candidate.values[place].shape != candidate.shapes[n]
    return [*lines, f"found = {found}.reshape({names[n]}.shape)" if is_other else f"found = {found}"]


def _shaped(candidate: LayerCandidate, place: Place, name: str) -> str:
    return f"{name}.reshape({candidate.values[place].shape})"


def _code(place: Place) -> str:
    return "".join(f".{key}" if kind == "attr" else f"[{key!r}]" for kind, key in place.steps)


def _spelled(candidate: LayerCandidate, name: str, first: list[str], keywords: dict[str, Any]) -> str:
    """Return the call of a method, with what else it takes by name."""
    values = {
        **dict.fromkeys(TRAINING, "True"),
        **dict.fromkeys(DECAYS, "0.0"),
        **dict.fromkeys(MAYBE_RATES, "1.0"),
        **dict.fromkeys(INPUTS, "x"),
        **dict.fromkeys(OUTPUTS, "y"),
        **dict.fromkeys(CACHES, "y[1]"),
        **{plain(place.label): f"layer{_code(place)}" for place in candidate.places},
    }
    if name == candidate.forward_name:
        values = dict.fromkeys(TRAINING, "True")
    args, named = filled(getattr(candidate.layer, name), first, values, given=keywords)
    words = [f"{key}={value}" for key, value in named.items()] + [f"{key}={value!r}" for key, value in keywords.items()]
    return f"layer.{name}({', '.join([*args, *words])})"
