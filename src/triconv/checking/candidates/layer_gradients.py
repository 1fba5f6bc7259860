"""Where a layer leaves the gradients of its backward: in what it returns, in its attributes, or in the update it makes.

All three are looked for once, in runs on random data. A gradient is linear in the cotangent and knows nothing of the learning
rate, so twice the cotangent at four times the rate doubles it, makes an update eight times as large, and leaves a flipped
kernel or another thing that the backward remembers as it is.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from triconv.checking.candidates.layer_search import GENERIC, Place, arrays_in, as_one, is_floating, plain, reach

FACTOR, RATE = 2.0, 4.0
"""Of the cotangent and of the learning rate, in the second run: powers of two, so that what is linear is so exactly."""
GRADIENT = re.compile(
    r"^(d_?l_?d_?|d_?loss_?d?_?|d_?|g_|grads?_?|gradients?_?|delta_?|nabla_?)|(_?(grads?|gradients?|delta))$",
    re.IGNORECASE,
)
"""What a name says that is a gradient."""
STATE = re.compile(
    r"mom|veloc|optim|adam|rms|hist|running|average|prev|old|^_*(m|v|s|vd|md|sd)_?(w|b|dw|db)?$", re.IGNORECASE
)
"""What a name says that is the state of an optimizer."""
INPUTS = {"", "x", "in", "input", "inputs", "inp", "a", "aprev", "prev", "data", "xin", "inputtensor", "inputgrad"}
WEIGHTS = {"w", "weight", "weights", "kernel", "kernels", "filter", "filters", "f", "k", "wt", "theta", "coef"}
BIASES = {"b", "bias", "biases", "beta", "bs", "w0"}


class Returned(NamedTuple):
    """A gradient in what the backward returns."""

    place: Place


class Attribute(NamedTuple):
    """A gradient in an attribute of the layer; one whose name does not say so may be the state of an optimizer."""

    place: Place
    is_named: bool = True


class Update(NamedTuple):
    """A gradient in what the backward, or an update after it, takes away from the parameter."""


Source = Returned | Attribute | Update


class Differentiated(NamedTuple):
    """An array whose gradient is looked for: its place in the layer, None for the input, and its shape there."""

    place: Place | None
    shape: tuple[int, ...]
    rank: int = 0

    @property
    def size(self) -> int:
        """Its number of elements."""
        return int(np.prod(self.shape))

    def fits(self, a: np.ndarray) -> int:
        """Return 2 for an array of its shape, 1 for one of its size, else 0."""
        return 2 if a.shape == self.shape else int(a.size == self.size)

    def named(self, place: Place, others: tuple[Differentiated, ...] = ()) -> int:
        """Return how well the name of an array says that it is the gradient: 0 for not, 4 for surely."""
        label, last = place.label, str(place.steps[-1][1]) if place.steps else ""
        if STATE.search(label):
            return 0
        outer = " ".join(str(key) for _, key in place.steps[:-1])
        is_inside = bool(
            re.search(r"grad|^d_?params", outer, re.IGNORECASE) or re.match(r"grad|g$|d$|delta", last, re.IGNORECASE)
        )
        if not is_inside and not GRADIENT.search(label):
            return 0
        rests = {plain(GRADIENT.sub("", label)), *([plain(label)] if is_inside else [])}
        around = [o for o in others if o.place is not None]
        if self.place is None:
            return 3 if rests & (INPUTS - {plain(o.place.label) for o in around if o.place}) else int(is_inside)
        mine, key = plain(self.place.label), place.steps[-1][1]
        own = self.place.steps[-1][1]
        is_beside = place.parent == self.place.parent and plain(str(own)) in GENERIC
        if mine in rests or is_beside or (is_inside and isinstance(key, int) and key == own):
            return 4
        if isinstance(key, int) and is_inside:
            return 3 if key == self.rank else 1
        if rests & {plain(o.place.label) for o in around if o.place}:
            return 0
        alike = WEIGHTS if self.rank == 0 else BIASES
        if rests & alike and (mine in alike or any(mine.startswith(rest[:1]) for rest in rests & alike)):
            return 3
        if rests & (WEIGHTS | BIASES | INPUTS - {""}):
            return 0
        if any(rest and (mine.startswith(rest) or rest.startswith(mine)) for rest in rests):
            return 3
        return int(is_inside or rests == {""})


@dataclass
class BackwardRun:
    """What one run of the backward left behind.

    Parameters
    ----------
    result : Any
        What it returned.
    before, after : dict of Place to numpy.ndarray
        The arrays of the layer.
    start, end : list of numpy.ndarray
        The parameters.
    """

    result: Any
    before: dict[Place, np.ndarray]
    after: dict[Place, np.ndarray]
    start: list[np.ndarray]
    end: list[np.ndarray]


def named_like_parameters(layer: Any) -> list[Place]:
    """Return a weight and a bias by their names alone, for a layer that does not run."""
    found: dict[str, Place] = {}
    for place in arrays_in(layer):
        kind = re.search(r"(bias)|(weight|kernel|filter)", place.label, re.IGNORECASE)
        is_weight = plain(place.label) in WEIGHTS or bool(kind and kind[2])
        if (kind or is_weight or plain(place.label) in BIASES) and "grad" not in place.name.lower():
            found.setdefault("bias" if (kind and kind[1]) or not is_weight else "weight", place)
    return [found[kind] for kind in ("weight", "bias") if kind in found]


def forgotten_biases(layer: Any, weight: np.ndarray) -> list[Place]:
    """Return the bias that a layer has with its gradient, of the size of an axis of the weight.

    Its result must depend on it: a layer that has none has no gradient of one either, or says so.
    """
    everything = list(reach(layer))
    if any(thing is False and "bias" in plain(place.label) for place, thing in everything):
        return []
    gradients = {plain(GRADIENT.sub("", place.label)) for place, _ in everything if GRADIENT.search(place.label)}
    return [
        place
        for place, value in arrays_in(layer).items()
        if plain(place.label) in ("b", "bias", "biases")
        and plain(place.label) in gradients
        and as_one(value).size in weight.shape
    ][:1]


def held(layer: Any) -> dict[Place, np.ndarray]:
    """Return copies of the arrays that a layer holds."""
    return {place: as_one(value) for place, value in arrays_in(layer).items()}


def sources(
    runs: Sequence[BackwardRun], inputs: list[Differentiated], parameters: list[Differentiated]
) -> list[Source | None]:
    """Return where the gradient of each input and of each parameter is, None for what has none.

    Parameters
    ----------
    runs : sequence of BackwardRun
        Two, of which the second has `FACTOR` times the cotangent and `RATE` times the learning rate.
    inputs : list of Differentiated
        What the forward takes.
    parameters : list of Differentiated
        The parameters, weights first.
    """
    first, second = runs
    targets = [*inputs, *parameters]
    found: dict[Differentiated, Source] = dict(_returned(first.result, targets))
    taken = {t.place for t in parameters}
    changed = {
        place: (a, second.after.get(place))
        for place, a in first.after.items()
        if place not in taken and not np.array_equal(a, first.before.get(place, np.zeros(0)))
    }
    for target in targets:
        if target in found:
            continue
        others = tuple(t for t in targets if t is not target)
        place = _best(target, changed, others)
        if place is not None:
            found[target] = Attribute(place, target.named(place, others) > 0)
            changed.pop(place)
    for n, target in enumerate(parameters):
        steps = [run.start[n] - run.end[n] for run in (first, second)]
        if target not in found and _grows(steps[0], steps[1], FACTOR * RATE):
            found[target] = Update()
    return [found.get(target) for target in targets]


def _grows(a: np.ndarray, b: np.ndarray | None, factor: float) -> bool:
    """Whether one array is another times a factor, and not zero."""
    if b is None or a.shape != b.shape or not a.any():
        return False
    return bool(np.allclose(b, factor * a, rtol=1e-3, atol=1e-3 * float(np.abs(b).max())))


def _best(
    target: Differentiated,
    changed: dict[Place, tuple[np.ndarray, np.ndarray | None]],
    others: tuple[Differentiated, ...],
) -> Place | None:
    """Return the array that is most likely the gradient, by its name, its shape, and how it grows."""
    scores: dict[Place, float] = {}
    for place, (a, again) in changed.items():
        named, fits, grows = target.named(place, others), target.fits(a), _grows(a, again, FACTOR)
        if STATE.search(place.label) or _grows(a, again, FACTOR * RATE) or not (fits or named == 4):
            continue
        if named or (grows and fits == 2):
            scores[place] = named + fits / 4 + grows
    best = max(scores.values(), default=0.0)
    first = [place for place, score in scores.items() if score == best]
    is_certain = len(first) == 1 or (bool(first) and target.named(first[0], others) > 0)
    return first[0] if is_certain else None


def _returned(result: Any, targets: list[Differentiated]) -> Iterator[tuple[Differentiated, Source]]:
    """Yield the targets whose gradients are returned, with where."""
    leaves = dict(_leaves(result, Place(())))
    free = list(targets)
    for place in list(leaves):
        if place.steps and any(isinstance(key, str) for _, key in place.steps):
            inner = Place(tuple(step for step in place.steps if isinstance(step[1], str)))
            scored = [(_named_key(t, inner), t) for t in free]
            score, best = max(scored, key=lambda pair: pair[0], default=(0, None))
            if best is not None and score:
                yield best, Returned(place)
                free.remove(best)
                leaves.pop(place)
    leaves = dict(itertools.islice(leaves.items(), len(free)))
    if len(leaves) > 5 or len(free) > 6:
        pairs: tuple[Differentiated, ...] = tuple(free[: len(leaves)])
    else:

        def fit(order: tuple[Differentiated, ...]) -> int:
            return sum(t.fits(as_one(leaf)) for t, leaf in zip(order, leaves.values(), strict=True))

        pairs = max(itertools.permutations(free, len(leaves)), key=fit)
    yield from ((target, Returned(place)) for target, place in zip(pairs, leaves, strict=True))


def _named_key(target: Differentiated, place: Place) -> int:
    """Return how well the key of a returned dict names the target: of a gradient, or of the array itself."""
    key = plain(str(place.steps[-1][1]))
    if target.place is None:
        return 4 if key in INPUTS or plain(GRADIENT.sub("", str(place.steps[-1][1]))) in INPUTS else 0
    return 4 if key == plain(target.place.label) else target.named(place)


def _leaves(result: Any, place: Place) -> Iterator[tuple[Place, Any]]:
    """Yield the arrays of nested tuples, lists and dicts, with their places."""
    if is_floating(result):
        yield place, result
    elif isinstance(result, dict):
        for key, part in result.items():
            yield from _leaves(part, place.item(key))
    elif isinstance(result, (list, tuple)):
        if result and all(isinstance(part, float) for part in result):
            yield place, result
            return
        for n, part in enumerate(result):
            yield from _leaves(part, place.item(n))
