"""The arrays that an object holds: where they are, which of them are its parameters, and copies with others in their places.

A copy with other arrays is `copy.deepcopy` with a memo that says what each array becomes. So every attribute, list and dict
that holds the same array holds the new one in the copy, and the object itself stays as it is.
"""

from __future__ import annotations

import copy
import inspect
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from array_api_compat import is_array_api_obj

from triconv.backends import to_numpy

Step = tuple[str, Any]

MOST_OBJECTS = 2000
"""Objects that are looked into."""
MOST_STEPS = 6
"""Steps from the layer to an array."""
LONGEST_LIST = 256
"""Elements of a list that are looked at."""
GENERIC = {"data", "value", "values", "val", "array", "tensor", "param", "parameter", "grad", "grads", "gradient"}
"""Names of an array that say nothing of which it is: the name of what holds it does."""
TOGETHER = re.compile(r"(param|grad)", re.IGNORECASE)
"""Names of lists whose elements are arrays of their own, rather than the parts of one."""


class Place(NamedTuple):
    """Where a value is: the steps from an object to it, each an attribute ("attr", name) or an item ("item", key)."""

    steps: tuple[Step, ...]

    def attr(self, name: str) -> Place:
        """The place of an attribute of what is here."""
        return Place((*self.steps, ("attr", name)))

    def item(self, key: Any) -> Place:
        """The place of an item of what is here."""
        return Place((*self.steps, ("item", key)))

    def read(self, root: Any) -> Any:
        """What is here."""
        for kind, key in self.steps:
            root = getattr(root, key) if kind == "attr" else root[key]
        return root

    def write(self, root: Any, value: Any) -> None:
        """Put a value here."""
        kind, key = self.steps[-1]
        parent = Place(self.steps[:-1]).read(root)
        if kind == "attr":
            setattr(parent, key, value)
        else:
            parent[key] = value

    @property
    def parent(self) -> Place:
        """The place of what holds it."""
        return Place(self.steps[:-1])

    @property
    def name(self) -> str:
        """As a path: ``params.W``, ``weights[0]``."""
        parts = (f"[{key}]" if isinstance(key, int) else f".{key}" for _, key in self.steps)
        return "".join(parts).removeprefix(".")

    @property
    def label(self) -> str:
        """The last name that says which array it is: "W" of ``params.W``, of ``W.data`` and of ``_Conv__W``."""
        names = [str(key) for _, key in self.steps if not isinstance(key, int)]
        telling = [name for name in names if plain(name) not in GENERIC] or names or [""]
        return re.sub(r"^_[A-Za-z]\w*?__(?=\w)", "", telling[-1])


def plain(name: str) -> str:
    """A name in lower case and without underscores."""
    return name.lower().replace("_", "")


def place_of(root: Any, path: str) -> Place:
    """Return the place that a path names: ``W``, ``params.W``, ``params['W']`` or ``weights[0]``.

    Raises
    ------
    ValueError
        If there is no such place.
    """
    place = Place(())
    for word in re.findall(r"[^.\[\]'\"]+", path):
        here = place.read(root)
        key: Any = int(word) if re.fullmatch(r"-?\d+", word) else word
        place = place.item(key) if isinstance(here, (dict, list, tuple)) else place.attr(word)
        try:
            place.read(root)
        except (AttributeError, LookupError, TypeError) as problem:
            held = ", ".join(found.name for found in arrays_in(root)) or "none"
            msg = f"`parameters` and `gradients` must name arrays of the layer, got {path!r}; its arrays: {held}"
            raise ValueError(msg) from problem
    return place


def is_floating(a: Any) -> bool:
    """Whether something is an array of real or complex numbers; a scalar of NumPy is none, since no code writes into it."""
    return (
        is_array_api_obj(a)
        and not isinstance(a, np.generic)
        and any(kind in str(a.dtype) for kind in ("float", "complex"))
    )


def reach(root: Any) -> Iterator[tuple[Place, Any]]:
    """Yield all that an object holds with its place, the nearest first, and everything once."""
    level: list[tuple[Place, Any]] = [(Place(()), root)]
    seen: dict[int, Any] = {}
    for _ in range(MOST_STEPS):
        deeper: list[tuple[Place, Any]] = []
        for place, thing in level:
            if isinstance(thing, (str, bytes, int, float, complex, type(None))):
                yield place, thing
                continue
            if id(thing) in seen or len(seen) > MOST_OBJECTS:
                continue
            seen[id(thing)] = thing
            yield place, thing
            deeper += _inside(place, thing)
        level = deeper


def _inside(place: Place, thing: Any) -> Iterator[tuple[Place, Any]]:
    if isinstance(thing, dict):
        yield from ((place.item(key), value) for key, value in list(thing.items()))
    elif isinstance(thing, (list, tuple)):
        yield from ((place.item(n), value) for n, value in enumerate(thing[:LONGEST_LIST]))
    elif not _is_closed(thing):
        slots = [name for kind in type(thing).__mro__ for name in _words(vars(kind).get("__slots__", ()))]
        names = dict.fromkeys([*getattr(thing, "__dict__", {}), *slots])
        yield from ((place.attr(name), getattr(thing, name)) for name in names if hasattr(thing, name))


def _words(names: Any) -> Sequence[str]:
    return (names,) if isinstance(names, str) else tuple(n for n in names if n not in ("__dict__", "__weakref__"))


def _is_closed(thing: Any) -> bool:
    """Whether nothing inside belongs to the layer: arrays, functions, classes, modules, generators of random numbers."""
    if is_array_api_obj(thing) or inspect.isroutine(thing) or inspect.isclass(thing) or inspect.ismodule(thing):
        return True
    return type(thing).__module__.partition(".")[0] in ("numpy", "random", "threading", "logging")


def arrays_in(root: Any) -> dict[Place, Any]:
    """Floating arrays that an object holds, the nearest first; a list of arrays of one shape, or of numbers, is one."""
    found: dict[Place, Any] = {}
    parts: set[int] = set()
    for place, thing in reach(root):
        if id(thing) in parts:
            continue
        if is_floating(thing):
            found[place] = thing
        elif isinstance(thing, (list, tuple)) and _is_stack(thing):
            leaves = list(_leaves(thing))
            parts.update(map(id, (*leaves, *_lists(thing))))
            known = {id(a) for a in found.values()}
            alone = len(leaves) == 1 or any(id(a) in known for a in leaves)
            if alone and (TOGETHER.search(place.label) or any(id(a) in known for a in leaves)):
                parts.difference_update(map(id, leaves))
            else:
                found[place] = thing
    return found


def _leaves(stack: Any) -> Iterator[Any]:
    for part in stack:
        if isinstance(part, (list, tuple)):
            yield from _leaves(part)
        else:
            yield part


def _lists(stack: Any) -> Iterator[Any]:
    for part in stack:
        if isinstance(part, (list, tuple)):
            yield part
            yield from _lists(part)


def _is_stack(parts: Any) -> bool:
    """Whether lists are the axes of one array."""
    if not 0 < len(parts) <= LONGEST_LIST:
        return False
    if isinstance(parts[0], (list, tuple)):
        return all(isinstance(p, (list, tuple)) and len(p) == len(parts[0]) and _is_stack(p) for p in parts)
    if isinstance(parts[0], float):
        return all(isinstance(p, (float, int)) and not isinstance(p, bool) for p in parts)
    return all(is_floating(p) and tuple(p.shape) == tuple(parts[0].shape) for p in parts)


def as_one(value: Any) -> np.ndarray:
    """A copy of an array, or of lists of arrays as one array."""
    if isinstance(value, (list, tuple)):
        return np.stack([as_one(part) for part in value]) if len(value) else np.zeros(0)
    return np.array(to_numpy(value)) if is_array_api_obj(value) else np.asarray(value, dtype=np.float64)


def becoming(value: Any, new: Any) -> dict[int, Any]:
    """Return the memo that makes an array, or lists of arrays, another array."""
    if not isinstance(value, (list, tuple)):
        return {id(value): new}
    if value and isinstance(value[0], (float, int)):
        return {id(value): type(value)(map(float, new))}
    memo: dict[int, Any] = {}
    for n, part in enumerate(value):
        memo |= becoming(part, new[n])
    return memo


def copied(layer: Any, memo: dict[int, Any]) -> Any:
    """Return a copy of an object in which some things have become others; modules and functions stay as they are."""
    kept = {id(thing): thing for _, thing in reach(layer) if inspect.ismodule(thing)}
    return copy.deepcopy(layer, {**kept, **memo})


def parameters_of(layer: Any, run: Callable[[Any], Any], make: Callable[[np.ndarray], Any]) -> dict[Place, Any]:
    """Return the arrays on which the result of a layer depends; what `run` overwrites does not count.

    Parameters
    ----------
    layer : Any
        The layer.
    run : callable
        Runs a layer on the same data each time, and returns the result as a NumPy array.
    make : callable
        Makes an array of the layer's library.
    """
    before = run(copied(layer, {}))
    rng = np.random.default_rng(0)
    found: dict[Place, Any] = {}
    for place, value in arrays_in(layer).items():
        a = as_one(value)
        if not a.size:
            continue
        changed = make(a + rng.uniform(0.25, 1, a.shape))
        try:
            after = run(copied(layer, becoming(value, changed)))
        except Exception:  # noqa: BLE001 (no number that the result depends on smoothly)
            continue
        if not np.array_equal(before, after, equal_nan=True):
            found[place] = value
    return found


def built(layer: Any, run: Callable[[Any], Any]) -> Any:
    """Return a layer after its first run, which may make its parameters, with lists as they were made.

    A list that the second run makes longer keeps what runs remember, so the first has added to it as much.
    """
    first = copied(layer, {})
    run(first)
    second = copied(first, {})
    run(second)
    longer = {place: len(thing) for place, thing in reach(second) if isinstance(thing, list)}
    for place, thing in list(reach(first)):
        more = longer.get(place, 0) - len(thing) if isinstance(thing, list) else 0
        if more > 0:
            del thing[max(0, len(thing) - more) :]
    return first


def ambiguous(kind: type, values: dict[Place, np.ndarray]) -> ValueError:
    """The error that names the arrays which may be parameters."""
    names = ", ".join(f"{place.name} {a.shape}" for place, a in values.items())
    most = next(iter(values.values())).ndim
    firsts = [next(iter(values)), *[place for place, a in values.items() if a.ndim < most][:1]]
    msg = (
        f"`parameters` must say which arrays of {kind.__name__} are its parameters, for its result depends on {names}; "
        f"such as parameters={tuple(place.name for place in firsts)}"
    )
    return ValueError(msg)
