"""Layers as they are: an object that keeps its parameters, with a forward and a backward by hand.

A layer has no functions of arrays, so one is made of it: a copy of the layer gets the arrays as its parameters and runs. Which
arrays are parameters is found by what its result depends on (`layer_search.py`), and where the backward leaves the gradients by
what it returns and changes (`layer_gradients.py`).
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from triconv.checking.candidates import generators
from triconv.checking.candidates.candidate import Arrays, OwnArray, as_numpy, long_axes
from triconv.checking.candidates.layer_construction import Unconstructed, construct
from triconv.checking.candidates.layer_gradients import (
    FACTOR,
    RATE,
    Attribute,
    BackwardRun,
    Differentiated,
    Returned,
    Source,
    Update,
    forgotten_biases,
    held,
    named_like_parameters,
    sources,
)
from triconv.checking.candidates.layer_methods import (
    SETUP,
    TRAINING,
    Ran,
    is_layer,
    is_layer_class,
    method_of,
    ready,
    required_of,
    run_backward,
)
from triconv.checking.candidates.layer_runs import LayerRuns
from triconv.checking.candidates.layer_search import (
    Place,
    ambiguous,
    arrays_in,
    as_one,
    becoming,
    built,
    copied,
    parameters_of,
    place_of,
    plain,
)
from triconv.checking.candidates.layer_steps import (
    History,
    Start,
    Step,
    is_unused,
    lengths_of,
    resets_gradients,
    restore,
)
from triconv.checking.candidates.unsupported import Unsupported
from triconv.checking.findings.unanswered import Ability, NotSupported, Reason

__all__ = ["LayerCandidate", "construct", "is_layer", "is_layer_class"]

Array = Any

LARGE = {"float64": 2.0**60, "float32": 2.0**40}
"""Learning rate at which a difference of parameters has the precision of the gradient."""


class LayerCandidate(LayerRuns):
    """A layer.

    Parameters
    ----------
    layer : Any
        The layer; it is copied, and stays as it is.
    backend, dtype, keywords
        As of `CandidateFunction`; the keywords and `args` are those of the forward after x.
    args : tuple
        Further arguments of the forward.
    shapes : tuple of tuple of int
        Shape of x, and of the parameters that are given as arrays.
    parameters, gradients : sequence of str, optional
        Paths of the parameters and of their gradients, where they cannot be found out.
    is_convolution : bool
        Whether it should agree with a convolution, which has one kernel and one bias.
    is_new : bool
        Whether it was made of its class here, so that it has surely not run.
    """

    def __init__(
        self,
        layer: Any,
        backend: Any,
        dtype: str,
        keywords: dict[str, Any],
        *,
        args: tuple[Any, ...] = (),
        shapes: tuple[tuple[int, ...], ...] = (),
        parameters: Any = None,
        gradients: Any = None,
        is_convolution: bool = False,
        is_new: bool = False,
    ) -> None:
        super().__init__(layer, backend, dtype, keywords, args=args, shapes=shapes, is_convolution=is_convolution)
        self.own: tuple[OwnArray, ...] = ()
        self.found: list[Source | None] | None = None
        self.after_update: set[int] = set()
        self._is_new = is_new
        with self.session():
            found = self._parameters(_paths(parameters))
            self.layer = self._in_dtype(self.layer, found)
            self._arrange(found, is_named=parameters is not None)
            self._named = self._places_of_gradients(_paths(gradients))
        self.inputs = self.count

    # ---- parameters

    def _parameters(self, paths: tuple[str, ...]) -> list[Place]:
        """Find the parameters, those with most axes first, in the order of `paths` if these name them."""
        rng = np.random.default_rng(0)
        arrays = self.move([rng.standard_normal(shape) for shape in self.shapes])
        known = TRAINING | set(map(plain, self.keywords))
        required = required_of(getattr(self.layer, self.forward_name), known) - len(self.args)
        if 1 < required <= len(arrays):
            self.count = required
        if isinstance(self.layer, Unconstructed):
            self.count = len(arrays)
        x = arrays[: self.count]

        def once(layer: Any) -> np.ndarray:
            result = as_numpy(self._forward(layer, self._copies(x)).y)
            if result is None:
                raise TypeError
            return result

        draws: list[bool] = []

        def run(layer: Any) -> np.ndarray:
            if not draws:
                draws.append(generators.draws(lambda: once(copied(layer, {}))))
            return generators.seeded(lambda: once(layer)) if draws[0] else once(layer)

        make = lambda a: self.move([a])[0]  # noqa: E731
        self._depends: Callable[[], set[Place]] = functools.cache(lambda: set(parameters_of(self.layer, run, make)))
        shape = self.shapes[0] if self.shapes else None
        self.layer = ready(self.layer, method_of(self._kind, SETUP), run, shape)
        if paths:
            try:
                return [place_of(self.layer, path) for path in paths]
            except ValueError:
                self.layer = built(self.layer, run)
                return [place_of(self.layer, path) for path in paths]
        try:
            found = parameters_of(self.layer, run, make)
            if not found:
                after = built(self.layer, run)
                found = parameters_of(after, run, make)
                self.layer = after if found else self.layer
        except Exception:  # noqa: BLE001 (whatever the forward raises is asked for again, and then reported)
            return named_like_parameters(self.layer)
        self._depends = lambda: set(found)
        ordered = sorted(found, key=lambda place: -as_one(found[place]).ndim)
        is_alone = self._is_convolution and len(ordered) == 1  # its bias is perhaps not added
        return [*ordered, *(forgotten_biases(self.layer, as_one(found[ordered[0]])) if is_alone else ())]

    def _arrange(self, found: list[Place], *, is_named: bool) -> None:
        """Have the given shapes stand for parameters of their sizes, and the others be the layer's own."""
        is_unclear = self._is_convolution and not is_named
        values = {place: as_one(place.read(self.layer)) for place in found}
        if is_unclear:
            # a convolution has no bias for each position: such a one is zero
            axes = values[found[0]].ndim if found else 0
            spread = [p for p, a in values.items() if a.ndim < axes and len(long_axes(a.shape)) > 1]
            zeros: dict[int, Any] = {}
            for place in spread:
                zeros |= becoming(place.read(self.layer), self.move([np.zeros_like(values.pop(place))])[0])
            self.layer = copied(self.layer, zeros)
        free = list(values)
        if is_unclear and len(free) > 2:
            raise ambiguous(self._kind, {p: values[p] for p in free})
        self.places, self.values = [], values
        for shape in self.shapes[self.count :]:
            fitting = [p for p in free if values[p].size == int(np.prod(shape))]
            alike = [p for p in fitting if long_axes(values[p].shape) == long_axes(shape)] or fitting
            most = [p for p in alike if values[p].ndim == max(values[q].ndim for q in alike)]
            if len(most) > 1 and is_unclear:
                raise ambiguous(self._kind, {p: values[p] for p in most})
            if not most:
                held_ = ", ".join(f"{p.name} {a.shape}" for p, a in values.items()) or "none that its result depends on"
                self._refusal = (
                    f"the shapes must be those of the parameters of {self._kind.__name__}, got {shape}; it has: {held_}"
                )
                return
            self.places.append(most[0])
            free.remove(most[0])
        self.places += free
        self.own = tuple(OwnArray(place.name, values[place]) for place in free)

    # ---- backward

    def vjp(self, arrays: Arrays, g: np.ndarray, n: int) -> Any:
        """By the layer's backward, right after its forward on the same arrays."""
        if not self.backward_name:
            raise Unsupported(NotSupported(Reason.RULES, Ability.DERIVATIVE))
        return self._if_supported(Ability.DERIVATIVE, self._gradient, self.move(arrays), self.move([g])[0], n)

    def is_difference(self, n: int) -> bool:
        """Whether it is read off an update of the parameter."""
        return self.found is not None and isinstance(self.found[n], Update)

    def _gradient(self, arrays: list[Array], g: Array, n: int) -> Any:
        source = self._sources(arrays)[n]
        if source is None:
            raise Unsupported(NotSupported(Reason.RULES, Ability.DERIVATIVE))
        if not isinstance(source, Update):
            zeros = (source.place,) if isinstance(source, Attribute) else ()
            updates = isinstance(source, Attribute) and n in self.after_update
            return self._read(n, arrays, *self._went_back(arrays, g, 1.0, zeros=zeros, updates=updates))
        place, rate = self.places[n - self.count], LARGE.get(self.dtype, 1.0)
        ran, _ = self._went_back(arrays, g, rate, updates=n in self.after_update)
        before = as_one(arrays[n]).reshape(self.values[place].shape)
        return ((before - as_one(place.read(ran.layer))) / rate).reshape(tuple(arrays[n].shape))

    def _read(self, n: int, arrays: list[Array], ran: Ran, result: Any) -> Any:
        """The gradient of an array where it is returned, or in an attribute."""
        assert self.found is not None
        source = self.found[n]
        assert isinstance(source, (Returned, Attribute))
        found = source.place.read(result if isinstance(source, Returned) else ran.layer)
        if isinstance(found, (list, tuple)):
            found = as_one(found)
        is_parameter = n >= self.count and hasattr(found, "shape")
        if is_parameter and tuple(found.shape) == self.values[self.places[n - self.count]].shape:
            found = found.reshape(tuple(arrays[n].shape))
        return found

    def in_turn(self, steps: Sequence[tuple[Arrays, np.ndarray]]) -> History | None:
        """Forward and backward again and again, of one layer: what it keeps from step to step is kept.

        Gradients in attributes begin as zeros; parameters are those of each step, as if an optimizer had changed them.
        """
        if not self.backward_name:
            return None
        found = self._sources(self.move(steps[0][0]))
        read = [n for n, s in enumerate(found) if isinstance(s, Returned) or (isinstance(s, Attribute) and s.is_named)]
        places = tuple(source.place for source in found if isinstance(source, Attribute))
        updates = bool(self.after_update & set(read))
        layer, taken, lengths = self.layer, list[Step](), dict[Place, int]()
        for arrays, g in steps:
            moved = self.move(arrays)
            if taken:
                restore(layer, self.layer, self._depends() - set(self.places))
            zeros = () if taken else places
            ran, result = self._went_back(moved, self.move([g])[0], 1.0, zeros=zeros, updates=updates, layer=layer)
            layer, before = ran.layer, lengths
            lengths = lengths_of(layer)
            grows = any(length > before.get(place, length) for place, length in lengths.items())
            gradients = [self._read(n, moved, ran, result) if n in read else None for n in range(len(moved))]
            taken.append(Step(ran.y, gradients, grows))
        layer, values = self.layer, list[Any]()
        for arrays, _ in steps:
            ran = self._ran(self._copies(self.move(arrays)), {}, layer)
            layer = ran.layer
            values.append(ran.y)
        attributes = [source.place.name if isinstance(source, Attribute) else "" for source in found]
        starts: list[Start] = []
        with contextlib.suppress(Exception):  # a layer that is made ready by a run has none
            starts = self._starts(*steps[-1])
        return History(taken, values, attributes, starts, self._overwritten(steps, found))

    def _overwritten(
        self, steps: Sequence[tuple[Arrays, np.ndarray]], found: Sequence[Source | None]
    ) -> list[int | None]:
        """Which results the next step of the same object writes into: the number of a gradient, or None for the value."""
        overwritten: list[int | None] = []
        with contextlib.suppress(Exception):  # it may run once alone
            moved, other = (self.move(arrays) for arrays, _ in steps[:2])
            ran, result = self._went_back(moved, self.move([steps[0][1]])[0], 1.0)
            # what is returned for parameters may be the array that gradients are added up in
            returned = [n for n, source in enumerate(found[: self.count]) if isinstance(source, Returned)]
            raw = {n: self._read(n, moved, ran, result) for n in returned}
            y, before = np.array(as_numpy(ran.y)), {n: np.array(as_numpy(a)) for n, a in raw.items()}
            again = self._forward(ran.layer, other[: self.count])
            if not np.array_equal(np.asarray(as_numpy(ran.y)), y, equal_nan=True):
                overwritten.append(None)
            g = self.move([steps[1][1]])
            run_backward(getattr(ran.layer, self.backward_name), again, g, 1.0, self._own_by_name(ran.layer))
            overwritten += [
                n for n, a in raw.items() if not np.array_equal(np.asarray(as_numpy(a)), before[n], equal_nan=True)
            ]
        return overwritten

    def _starts(self, arrays: Arrays, g: np.ndarray) -> list[Start]:
        """The gradients of a layer that has not run, where their attributes do not begin as zeros."""
        if self.found is None or resets_gradients(self._kind):
            return []
        there = arrays_in(self.written)
        places = {n: s.place for n, s in enumerate(self.found) if isinstance(s, Attribute) and s.is_named}
        begun = {n: a for n, place in places.items() if place in there and (a := as_one(there[place])).any()}
        if not begun:
            return []
        layer, moved = self._in_dtype(copied(self.written, {}), self.places), self.move(arrays)
        ran, result = self._went_back(
            moved, self.move([g])[0], 1.0, updates=bool(self.after_update & set(begun)), layer=layer
        )
        if not (self._is_new or is_unused(self.written, ran.layer)):
            return []
        return [Start(n, a.reshape(np.shape(arrays[n])), self._read(n, moved, ran, result)) for n, a in begun.items()]

    def _sources(self, arrays: list[Array]) -> list[Source | None]:
        """Find out once where the gradients are."""
        if self.found is not None:
            return self.found
        drawn = self._drawn([tuple(a.shape) for a in arrays])
        y = as_numpy(self._ran(self._copies(drawn)).y)
        assert y is not None
        g = np.random.default_rng(2).standard_normal(y.shape)

        def observed(*, updates: bool) -> Iterator[BackwardRun]:
            for factor, rate in ((1.0, 1.0), (FACTOR, RATE)):
                yield self._observed(drawn, factor * g, rate, updates=updates)

        targets = [Differentiated(p, self.values[p].shape, rank) for rank, p in enumerate(self.places)]
        inputs = [Differentiated(None, tuple(a.shape), n) for n, a in enumerate(arrays[: self.count])]
        found = sources(tuple(observed(updates=False)), inputs, targets)
        if None in found[self.count :]:
            again = sources(tuple(observed(updates=True)), inputs, targets)
            self.after_update = {n for n, source in enumerate(found) if source is None}
            found = [a if a is not None else b for a, b in zip(found, again, strict=True)]
        for n, place in enumerate(self._named, self.count):
            found[n] = Attribute(place)
        self.found = found
        return found

    def _places_of_gradients(self, paths: tuple[str, ...]) -> list[Place]:
        """Find the gradients that the user names, which the backward may make."""
        if not paths:
            return []
        layer = self.layer
        if not self._refusal:
            with contextlib.suppress(Exception):  # whatever the layer raises is asked for again, and then reported
                drawn = self._drawn(self.shapes[: self.count])
                y = as_numpy(self._ran(self._copies(drawn)).y)
                layer = self._went_back(drawn, self.move([np.ones_like(y)])[0], 1.0)[0].layer
        return [place_of(layer, path) for path in paths]

    def _drawn(self, shapes: Sequence[tuple[int, ...]]) -> list[Array]:
        rng = np.random.default_rng(1)
        return self.move([rng.standard_normal(shape) for shape in shapes])

    def _observed(self, arrays: list[Array], g: np.ndarray, rate: float, *, updates: bool) -> BackwardRun:
        start = [
            as_one(a).reshape(self.values[p].shape) for p, a in zip(self.places, arrays[self.count :], strict=False)
        ]
        start += [self.values[p] for p in self.places[len(start) :]]
        before = held(self._ran(self._copies(arrays)).layer)
        ran, result = self._went_back(arrays, self.move([g])[0], rate, updates=updates)
        end = [as_one(p.read(ran.layer)) for p in self.places]
        return BackwardRun(result, before, held(ran.layer), start, end)


def _paths(names: Any) -> tuple[str, ...]:
    return () if names is None else (names,) if isinstance(names, str) else tuple(names)
