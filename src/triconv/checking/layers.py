"""Layers as they are: an object that keeps its parameters, with a forward and a backward by hand.

A layer has no functions of arrays, so one is made of it: a copy of the layer gets the arrays as its parameters and runs. Which
arrays are parameters is found by what its result depends on (`layer_search.py`), and where the backward leaves the gradients by
what it returns and changes (`layer_gradients.py`).
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from triconv.checking.candidate import Arrays, CandidateFunction, OwnArray, as_numpy
from triconv.checking.findings import Ability, NotSupported, Reason
from triconv.checking.layer_construction import construct
from triconv.checking.layer_gradients import (
    FACTOR,
    RATE,
    Attribute,
    BackwardRun,
    Returned,
    Source,
    named_like_parameters,
    Target,
    held,
    sources,
)
from triconv.checking.layer_search import (
    Place,
    as_one,
    arrays_in,
    becoming,
    built,
    copied,
    is_floating,
    parameters_of,
    place_of,
    plain,
    reach,
)
from triconv.checking.unsupported import Unsupported

__all__ = ["LayerCandidate", "construct", "is_layer", "is_layer_class"]

Array = Any

FORWARD = (
    "forward", "forwardpass", "forwardprop", "forwardpropagation", "forwardpropagate", "forwardpropogation", "fprop", "fwd",
    "feedforward", "propagate", "call",
)  # fmt: skip
BACKWARD = (
    "backward", "backwardpass", "backprop", "backwardprop", "backwardpropagation", "backwardpropagate", "backpropagate",
    "backpropagation", "backpropogate", "bprop", "bwd", "calcgradient", "calcgradients", "computegradient",
    "computegradients", "gradient", "gradients", "sgd", "back",
)  # fmt: skip
UPDATE = (
    "update", "updateparams", "updateparameters", "updateweights", "step", "applygradients", "applygrads", "applygradient",
    "optimize", "updateparam", "updateweight", "sgdstep", "sgd", "backward",
)  # fmt: skip
SETUP = ("initialize", "initialise", "build", "setup", "initparams", "initweights", "initparameters", "initializeweights")
"""What makes the parameters before the first forward."""
RATES = {"lr", "learningrate", "learnrate", "alpha", "rate", "lrate", "stepsize"}
MAYBE_RATES = RATES | {"eta", "step"}
RATE_ATTRIBUTES = {"lr", "learningrate", "learnrate", "lrate", "stepsize", "eta"}
DECAYS = {"weightdecay", "wd", "reg", "regularization", "l2", "l2reg", "lambda", "lam", "lambd", "lmbda", "momentum", "decay"}
INPUTS = {"x", "input", "inputs", "inp", "aprev", "prev", "data", "inputdata", "inputtensor", "inputarray", "lastinput", "xin"}
OUTPUTS = {"y", "out", "output", "outputs", "z", "a", "activation"}
CACHES = {"cache", "caches", "memory", "ctx", "saved"}
TRAINING = {"training", "train", "istraining", "istrain", "trainmode"}
SIZES = {"inputshape", "shape", "inshape", "inputdim", "xshape"}
LIBRARIES = {"torch", "flax", "equinox", "haiku", "jax", "jaxlib", "triconv", "builtins", "numpy", "tensorflow", "keras"}
"""Packages whose objects are no layers by hand."""
LARGE = {"float64": 2.0**60, "float32": 2.0**40}
"""Learning rate at which a difference of parameters has the precision of the gradient."""


def is_layer(candidate: Any) -> bool:
    """Whether something is an object with a forward and a backward by hand."""
    return not inspect.isclass(candidate) and not inspect.isroutine(candidate) and is_layer_class(type(candidate))


def is_layer_class(candidate: Any) -> bool:
    """Whether something is the class of such objects."""
    if not inspect.isclass(candidate) or any(
        k.__module__.partition(".")[0] in LIBRARIES for k in candidate.__mro__[:-1]
    ):
        return False
    return bool(_method(candidate, FORWARD) and _backward(candidate))


class GradientStep:
    """An optimizer without memory, in the place of a layer's own."""

    def __init__(self, rate: float) -> None:
        self.rate = self.lr = self.learning_rate = rate

    def update(self, w: Any, grad: Any, *_: Any, **__: Any) -> Any:
        """The parameter after a step."""
        return w - self.rate * grad

    __call__ = step = update


class Ran(NamedTuple):
    """A layer after its forward."""

    layer: Any
    inputs: list[Array]
    y: Array
    cache: Any


class LayerCandidate(CandidateFunction):
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
    """

    def __init__(
        self,
        layer: Any,
        backend: Any,
        dtype: str,
        keywords: dict[str, Any],
        *,
        args: Any = (),
        shapes: tuple[tuple[int, ...], ...] = (),
        parameters: Any = None,
        gradients: Any = None,
        is_convolution: bool = False,
    ) -> None:
        super().__init__(self._run, backend, dtype, keywords)
        self.args = args if isinstance(args, tuple) else (args,)
        self.shapes = shapes
        self._kind = type(layer)
        self._forward_name = _method(self._kind, FORWARD)
        self._backward_name = _backward(self._kind)
        self.layer = copied(layer, {})
        self.count = 1
        self.places: list[Place] = []
        found = self._parameters(_paths(parameters))
        self.layer = self._in_dtype(self.layer, found)
        self.own: tuple[OwnArray, ...] = ()
        self._refusal, self._is_convolution = "", is_convolution
        self._arrange(found, is_convolution=is_convolution, is_named=parameters is not None)
        named = [place_of_gradient(self.layer, path) for path in _paths(gradients)]
        self._named = dict(zip(range(1, 1 + len(named)), named, strict=True))
        self._found: list[Source | None] | None = None

    # ---- parameters

    def _parameters(self, paths: tuple[str, ...]) -> list[Place]:
        """Find the parameters, those with most axes first, in the order of `paths` if these name them."""
        rng = np.random.default_rng(0)
        arrays = self.move([rng.standard_normal(shape) for shape in self.shapes])
        required = _required(getattr(self.layer, self._forward_name), TRAINING | MAYBE_RATES)
        required -= len(self.args) + len(self.keywords)
        if 1 < required <= len(arrays):
            self.count = required
        x = arrays[: self.count]

        def run(layer: Any) -> np.ndarray:
            state = np.random.get_state()  # noqa: NPY002 (layers draw from it)
            np.random.seed(0)  # noqa: NPY002
            try:
                result = as_numpy(self._forward(layer, [self._copy(a) for a in x]).y)
            finally:
                np.random.set_state(state)  # noqa: NPY002
            if result is None:
                raise TypeError
            return result

        self._build(run)
        if paths:
            try:
                return [place_of(self.layer, path) for path in paths]
            except ValueError:
                self.layer = built(self.layer, run)
                return [place_of(self.layer, path) for path in paths]
        make = lambda a: self.move([a])[0]  # noqa: E731
        try:
            found = parameters_of(self.layer, run, make)
            if not found:
                after = built(self.layer, run)
                found = parameters_of(after, run, make)
                self.layer = after if found else self.layer
        except Exception:  # noqa: BLE001 (whatever the forward raises is asked for again, and then reported)
            return named_like_parameters(self.layer)
        return sorted(found, key=lambda place: -as_one(found[place]).ndim)

    def _build(self, run: Callable[[Any], Any]) -> None:
        """Have the layer made ready by its own method if its forward fails without."""
        name = _method(self._kind, SETUP)
        if not name:
            return
        try:
            run(copied(self.layer, {}))
        except Exception:  # noqa: BLE001
            ready = copied(self.layer, {})
            try:
                method = getattr(ready, name)
                sizes = {key: self.shapes[0] for key in SIZES} if self.shapes else {}
                steps = dict.fromkeys(("optimizer", "opt", "optim"), GradientStep(1.0))
                given, named = _filled(method, [], {**sizes, **steps})
                method(*given, **named)
                run(copied(ready, {}))
            except Exception:  # noqa: BLE001
                return
            self.layer = ready

    def _in_dtype(self, layer: Any, parameters: list[Place]) -> Any:
        """Return the layer with all its arrays of real numbers in the dtype; only the parameters if it is no real dtype."""
        memo: dict[int, Any] = {}
        is_real = "float" in self.dtype
        for place, value in arrays_in(layer).items():
            a = as_one(value)
            if place in parameters or (is_real and a.dtype.kind == "f"):
                memo |= becoming(value, self.move([a])[0])
        return copied(layer, memo)

    def _arrange(self, found: list[Place], *, is_convolution: bool, is_named: bool) -> None:
        """Have the given shapes stand for parameters of their sizes, and the others be the layer's own."""
        values = {place: as_one(place.read(self.layer)) for place in found}
        if is_convolution and not is_named:
            # a convolution has no bias for each position: such a one is zero
            spread = [p for p, a in values.items() if p is not found[0] and a.ndim < values[found[0]].ndim and _is_spread(a)]
            zeros: dict[int, Any] = {}
            for place in spread:
                zeros |= becoming(place.read(self.layer), self.move([np.zeros_like(values.pop(place))])[0])
            self.layer = copied(self.layer, zeros)
        free = list(values)
        if is_convolution and not is_named and len(free) > 2:
            raise _ambiguous(self._kind, {p: values[p] for p in free})
        self.places = []
        for shape in self.shapes[self.count :]:
            fitting = [p for p in free if values[p].size == int(np.prod(shape))]
            alike = [p for p in fitting if _long(values[p].shape) == _long(shape)] or fitting
            most = [p for p in alike if values[p].ndim == max(values[q].ndim for q in alike)]
            if len(most) > 1 and not is_named and is_convolution:
                raise _ambiguous(self._kind, {p: values[p] for p in most})
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
        self._values = values

    # ---- forward

    def _run(self, *arrays: Array, **keywords: Any) -> Array:
        return self._ran(list(arrays[: self.count + len(self.places)])).y

    def call(self, *arrays: Array) -> Array:
        """The layer's result."""
        return self.function(*arrays)

    def _ran(self, arrays: list[Array], memo: dict[int, Any] | None = None) -> Ran:
        """A copy of the layer with these arrays, after its forward."""
        if self._refusal:
            raise ValueError(self._refusal)
        own = list(arrays[self.count :])
        own += [self.move([self._left_out(place)])[0] for place in self.places[len(own) :]]
        changes = dict(memo or {})
        for place, a in zip(self.places, own, strict=True):
            shape = self._values[place].shape
            if int(np.prod(shape)) != int(np.prod(a.shape)):
                msg = f"{self._kind.__name__} has {place.name} of shape {shape}, and takes no other, got {tuple(a.shape)}"
                raise ValueError(msg)
            changes |= becoming(place.read(self.layer), a.reshape(shape))
        return self._forward(copied(self.layer, changes), arrays[: self.count])

    def _left_out(self, place: Place) -> np.ndarray:
        """The values of a parameter that is no array of the question: a convolution without a bias has none."""
        values = self._values[place]
        return np.zeros_like(values) if self._is_convolution and place is not self.places[0] else values

    def _forward(self, layer: Any, inputs: list[Array]) -> Ran:
        method = getattr(layer, self._forward_name)
        known: dict[str, Any] = dict.fromkeys(TRAINING, True)
        args, named = _filled(method, [*inputs, *self.args], known, given=self.keywords)
        result = method(*args, **{**named, **self.keywords})
        if result is None:
            names = (name for name in vars(layer) if plain(name) in OUTPUTS)
            result = next((getattr(layer, name) for name in names if is_floating(getattr(layer, name))), None)
        y, cache = result, None
        if isinstance(result, (tuple, list)) and result and is_floating(result[0]):
            y, *rest = result
            cache = rest[0] if len(rest) == 1 else tuple(rest)
        return Ran(layer, inputs, y, cache)

    def _copy(self, a: Array) -> Array:
        return self.move([np.asarray(as_numpy(a))])[0]

    # ---- backward

    def vjp(self, arrays: Arrays, g: np.ndarray, n: int) -> Any:
        """By the layer's backward, right after its forward on the same arrays."""
        if not self._backward_name:
            raise Unsupported(NotSupported(Reason.RULES, Ability.DERIVATIVE))
        return self._if_supported(Ability.DERIVATIVE, self._gradient, self.move(arrays), self.move([g])[0], n)

    def _gradient(self, arrays: list[Array], g: Array, n: int) -> Any:
        source = self._sources(arrays)[n]
        if source is None:
            raise Unsupported(NotSupported(Reason.RULES, Ability.DERIVATIVE))
        place = self.places[n - self.count] if n >= self.count else None
        if isinstance(source, Returned):
            _, result = self._backward(arrays, g, 1.0)
            found = source.place.read(result)
        elif isinstance(source, Attribute):
            ran, _ = self._backward(arrays, g, 1.0, zero=source.place)
            found = source.place.read(ran.layer)
        else:
            assert place is not None
            rate = LARGE.get(self.dtype, 1.0)
            ran, _ = self._backward(arrays, g, rate, updates=True)
            before = as_one(arrays[n]).reshape(self._values[place].shape)
            found = (before - as_one(place.read(ran.layer))) / rate
        if isinstance(found, (list, tuple)):
            found = as_one(found)
        if place is not None and hasattr(found, "shape") and tuple(found.shape) == self._values[place].shape:
            found = found.reshape(tuple(arrays[n].shape))
        return found

    def _backward(
        self, arrays: list[Array], g: Array, rate: float, *, zero: Place | None = None, updates: bool = False
    ) -> tuple[Ran, Any]:
        """Run the backward, and the update after it."""
        memo: dict[int, Any] = {}
        if zero is not None:  # gradients may be added to what is there
            old = arrays_in(self.layer).get(zero)
            memo |= {} if old is None else becoming(old, self.move([np.zeros_like(as_one(old))])[0])
        for place, thing in reach(self.layer):
            if "opt" in place.label.lower() and callable(getattr(thing, "update", None)) and not isinstance(thing, dict):
                memo[id(thing)] = GradientStep(rate)
        ran = self._ran([self.move([as_one(a)])[0] for a in arrays], memo)
        for place, thing in list(reach(ran.layer)):
            if isinstance(thing, float) and plain(place.label) in RATE_ATTRIBUTES:
                place.write(ran.layer, rate)
        result = self._called(ran, self._backward_name, [self.move([as_one(g)])[0]], rate)
        if updates:
            self._update(ran, rate)
        return ran, result

    def _called(self, ran: Ran, name: str, first: list[Array], rate: float) -> Any:
        method = getattr(ran.layer, name)
        known: dict[str, Any] = {
            **dict.fromkeys(MAYBE_RATES, rate),
            **dict.fromkeys(DECAYS, 0.0),
            **dict.fromkeys(TRAINING, True),
            **dict.fromkeys(OUTPUTS, ran.y),
            **dict.fromkeys(INPUTS, ran.inputs[0]),
            **dict.fromkeys(CACHES, ran.inputs[0] if ran.cache is None else ran.cache),
            **dict.fromkeys(("optimizer", "opt", "optim"), GradientStep(rate)),
            **{plain(place.label): place.read(ran.layer) for place in self.places},
        }
        args, named = _filled(method, first, known)
        return method(*args, **named)

    def _update(self, ran: Ran, rate: float) -> None:
        """Call the layer's update, if the backward has not changed the parameters."""
        for name in UPDATE:
            method = _method(self._kind, (name,))
            if method and method != self._backward_name:
                try:
                    self._called(ran, method, [], rate)
                except Exception:  # noqa: BLE001 (another one may be the update)
                    continue
                return

    def _sources(self, arrays: list[Array]) -> list[Source | None]:
        """Find out once where the gradients are."""
        if self._found is not None:
            return self._found
        rng = np.random.default_rng(1)
        drawn = self.move([rng.standard_normal(tuple(a.shape)) for a in arrays])
        y = as_numpy(self._ran(self.move([as_one(a) for a in drawn])).y)
        assert y is not None
        g = rng.standard_normal(y.shape)
        plans = [self._observed(drawn, factor * g, rate, updates=False) for factor, rate in ((1.0, 1.0), (FACTOR, RATE))]
        x = Target(None, tuple(arrays[0].shape))
        targets = [Target(p, self._values[p].shape, rank) for rank, p in enumerate(self.places)]
        inputs = [Target(None, tuple(a.shape), n) for n, a in enumerate(arrays[1 : self.count], 1)]
        found = sources(plans[0], plans[1], [x, *inputs], targets)
        if None in found[self.count :]:
            plans = [self._observed(drawn, factor * g, rate, updates=True) for factor, rate in ((1.0, 1.0), (FACTOR, RATE))]
            again = sources(plans[0], plans[1], [x, *inputs], targets)
            found = [a if a is not None else b for a, b in zip(found, again, strict=True)]
        for n, place in self._named.items():
            found[n] = Attribute(place)
        self._found = found
        return found

    def _observed(self, arrays: list[Array], g: np.ndarray, rate: float, *, updates: bool) -> BackwardRun:
        start = [as_one(a).reshape(self._values[p].shape) for p, a in zip(self.places, arrays[self.count :], strict=False)]
        start += [self._values[p] for p in self.places[len(start) :]]
        memory: dict[Place, np.ndarray] = {}
        moved = self.move([g])[0]
        before = held(self._ran(self.move([as_one(a) for a in arrays])).layer)
        ran, result = self._backward(arrays, moved, rate, updates=updates)
        memory = held(ran.layer)
        end = [as_one(p.read(ran.layer)) for p in self.places]
        return BackwardRun(result, before, memory, start, end)


def place_of_gradient(layer: Any, path: str) -> Place:
    """Return the place that a path names, which the backward may make."""
    try:
        return place_of(layer, path)
    except ValueError:
        place = Place(())
        for word in path.split("."):
            place = place.attr(word)
        return place


def _paths(names: Any) -> tuple[str, ...]:
    return () if names is None else (names,) if isinstance(names, str) else tuple(names)


def _is_spread(a: np.ndarray) -> bool:
    """Whether more than one axis is longer than 1."""
    return len(_long(a.shape)) > 1


def _long(shape: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(n for n in shape if n != 1)


def _ambiguous(kind: type, values: dict[Place, np.ndarray]) -> ValueError:
    names = ", ".join(f"{place.name} {a.shape}" for place, a in values.items())
    first = list(values)[0].name
    msg = (
        f"`parameters` must say which arrays of {kind.__name__} are its parameters, for its result depends on {names}; "
        f"such as parameters=({first!r},)"
    )
    return ValueError(msg)


@functools.cache
def _method(kind: type, names: tuple[str, ...]) -> str:
    """Return the first method that has one of the names; "" without one."""
    methods = {plain(name): name for name in dir(kind) if inspect.isroutine(getattr(kind, name, None))}
    return next((methods[name] for name in names if name in methods), "")


@functools.cache
def _backward(kind: type) -> str:
    """Return the method that takes the gradient of the result: what takes a learning rate alone is an update."""
    found = (_method(kind, (name,)) for name in BACKWARD)
    return next((name for name in found if name and not _takes_rate(getattr(kind, name))), "")


def _takes_rate(method: Any) -> bool:
    names = [plain(p.name) for p in _positional(method) if p.name != "self"]
    return bool(names) and names[0] in RATES


def _positional(method: Any) -> list[inspect.Parameter]:
    try:
        parameters = inspect.signature(method).parameters.values()
    except (TypeError, ValueError):
        return []
    return [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]


def _required(method: Any, known: set[str]) -> int:
    """Return the number of arguments without a default whose names are not known."""
    return sum(p.default is p.empty and plain(p.name) not in known for p in _positional(method))


def _filled(
    method: Any, first: list[Any], known: dict[str, Any], given: dict[str, Any] | None = None
) -> tuple[list[Any], dict[str, Any]]:
    """Return the arguments of a method: some in order, and others by what their names say.

    Raises
    ------
    TypeError
        If an argument without a default has a name that says nothing.
    """
    try:
        parameters = inspect.signature(method).parameters.values()
    except (TypeError, ValueError):
        return first, {}
    positional = _positional(method)
    unknown = [p for p in positional if plain(p.name) not in known]
    main = [p.name for p in (unknown if len(unknown) >= len(first) else positional)][: len(first)]
    if len(first) > 1:
        main = [p.name for p in positional][: len(first)]
    values: dict[str, Any] = dict(zip(main, first, strict=False))
    for p in parameters:
        if p.name in values or p.name in (given or {}) or p.kind in (p.VAR_POSITIONAL, p.VAR_KEYWORD):
            continue
        name = plain(p.name)
        if name in known and (p.default is p.empty or name in MAYBE_RATES):
            values[p.name] = known[name]
        elif p.default is p.empty:
            function = getattr(method, "__qualname__", "it")
            msg = f"{function} needs {p.name!r}, which is neither the input, a cache nor a learning rate; give it in `kwargs`"
            raise TypeError(msg)
    if len(main) < len(first):  # (*args, **kwargs)
        return list(first), values
    only = [p.name for p in parameters if p.kind is p.POSITIONAL_ONLY and p.name in values]
    head = main if main == [p.name for p in positional][: len(main)] and not only else only
    return [values.pop(name) for name in head], values
