"""The methods of layers by hand, and the arguments that they take, by their names."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, NamedTuple

from triconv.checking.candidates.layer_construction import Unconstructed
from triconv.checking.candidates.layer_search import copied, is_floating, plain, reach

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
SETUP = (
    "initialize",
    "initialise",
    "build",
    "setup",
    "initparams",
    "initweights",
    "initparameters",
    "initializeweights",
)
"""What makes the parameters before the first forward."""
RATES = {"lr", "learningrate", "learnrate", "alpha", "rate", "lrate", "stepsize"}
MAYBE_RATES = RATES | {"eta", "step"}
RATE_ATTRIBUTES = {"lr", "learningrate", "learnrate", "lrate", "stepsize", "eta"}
DECAYS = {
    "weightdecay",
    "wd",
    "reg",
    "regularization",
    "l2",
    "l2reg",
    "lambda",
    "lam",
    "lambd",
    "lmbda",
    "momentum",
    "decay",
}
INPUTS = {
    "x",
    "input",
    "inputs",
    "inp",
    "aprev",
    "prev",
    "data",
    "inputdata",
    "inputtensor",
    "inputarray",
    "lastinput",
    "xin",
}
OUTPUTS = {"y", "out", "output", "outputs", "z", "a", "activation"}
CACHES = {"cache", "caches", "memory", "ctx", "saved"}
TRAINING = {"training", "train", "istraining", "istrain", "trainmode"}
OPTIMIZERS = {"optimizer", "opt", "optim", "optimiser"}
SIZES = {"inputshape", "shape", "inshape", "inputdim", "xshape"}
SIDES = {
    *("h", "w", "height", "width", "hin", "win", "inh", "inw", "hi", "wi", "inputheight", "inputwidth", "inputsize"),
    *("imageheight", "imagewidth", "imagesize", "xh", "xw", "inheight", "inwidth", "length", "inputlength"),
}
"""Names of the sides of x."""
LIBRARIES = {
    "torch",
    "flax",
    "equinox",
    "haiku",
    "jax",
    "jaxlib",
    "triconv",
    "builtins",
    "numpy",
    "tensorflow",
    "keras",
}
"""Packages whose objects are no layers by hand."""


class Ran(NamedTuple):
    """A layer after its forward."""

    layer: Any
    inputs: list[Array]
    y: Array
    cache: Any


def is_layer(candidate: Any) -> bool:
    """Whether something is an object with a forward and a backward by hand."""
    return not inspect.isclass(candidate) and not inspect.isroutine(candidate) and is_layer_class(type(candidate))


def is_layer_class(candidate: Any) -> bool:
    """Whether something is the class of such objects."""
    if not inspect.isclass(candidate):
        return False
    packages = {kind.__module__.partition(".")[0] for kind in candidate.__mro__[:-1]}
    if packages & LIBRARIES and candidate is not Unconstructed:
        return False
    return bool(method_of(candidate, FORWARD) and backward_of(candidate))


class GradientStep:
    """An optimizer without memory, in the place of a layer's own."""

    def __init__(self, rate: float) -> None:
        self.rate = self.lr = self.learning_rate = rate

    def update(self, w: Any, grad: Any, *_: Any, **__: Any) -> Any:
        """The parameter after a step."""
        return w - self.rate * grad

    __call__ = step = update


def method_of(kind: type, names: tuple[str, ...]) -> str:
    """Return the first method that has one of the names; "" without one."""
    methods = {plain(name): name for name in dir(kind) if inspect.isroutine(getattr(kind, name, None))}
    return next((methods[name] for name in names if name in methods), "")


def backward_of(kind: type) -> str:
    """Return the method that takes the gradient of the result: what takes a learning rate alone is an update."""
    found = (method_of(kind, (name,)) for name in BACKWARD)
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


def required_of(method: Any, known: set[str]) -> int:
    """Return the number of arguments without a default whose names are not known."""
    return sum(p.default is p.empty and plain(p.name) not in known for p in _positional(method))


def filled(
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
    unknown = [p for p in positional if plain(p.name) not in known and p.default is p.empty]
    main = [p.name for p in (unknown if len(unknown) >= len(first) else positional)][: len(first)]
    if len(first) > 1:
        main = [p.name for p in positional][: len(first)]
    values: dict[str, Any] = dict(zip(main, first, strict=False))
    for p in parameters:
        if p.name in values or p.name in (given or {}) or p.kind in (p.VAR_POSITIONAL, p.VAR_KEYWORD):
            continue
        name = plain(p.name)
        if name in known and (p.default is p.empty or name in MAYBE_RATES | DECAYS):
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


def run_forward(method: Any, layer: Any, inputs: list[Array], args: tuple[Any, ...], keywords: dict[str, Any]) -> Ran:
    """Run a forward; of a tuple the first is its result and the rest a cache, and for None it is an attribute."""
    known: dict[str, Any] = dict.fromkeys(TRAINING, True)
    given, named = filled(method, [*inputs, *args], known, given=keywords)
    y, cache = method(*given, **{**named, **keywords}), None
    if y is None:
        names = [name for name in vars(layer) if plain(name) in OUTPUTS and is_floating(getattr(layer, name))]
        y = getattr(layer, names[0]) if names else None
    elif isinstance(y, (tuple, list)) and y and is_floating(y[0]):
        y, *rest = y
        cache = rest[0] if len(rest) == 1 else tuple(rest)
    return Ran(layer, inputs, y, cache)


def run_backward(method: Any, ran: Ran, first: list[Array], rate: float, own: dict[str, Array]) -> Any:
    """Run a backward or an update, and return what it returns.

    Parameters
    ----------
    method : callable
        Of the layer.
    ran : Ran
        Its forward.
    first : list of array
        The cotangent, or nothing.
    rate : float
        The learning rate, if it takes one.
    own : dict of str to array
        The parameters, by their names.
    """
    known: dict[str, Any] = {
        **dict.fromkeys(MAYBE_RATES, rate),
        **dict.fromkeys(DECAYS, 0.0),
        **dict.fromkeys(TRAINING, True),
        **dict.fromkeys(OUTPUTS, ran.y),
        **dict.fromkeys(INPUTS, ran.inputs[0]),
        **dict.fromkeys(CACHES, ran.inputs[0] if ran.cache is None else ran.cache),
        **dict.fromkeys(OPTIMIZERS, GradientStep(rate)),
        **own,
    }
    args, named = filled(method, first, known)
    return method(*args, **named)


def ready(layer: Any, name: str, run: Callable[[Any], Any], shape: tuple[int, ...] | None) -> Any:
    """Return the layer, made ready for an x of the shape by its method of this name if `run` fails without."""
    if not name:
        return layer
    try:
        run(copied(layer, {}))
    except Exception:  # noqa: BLE001
        made = copied(layer, {})
        try:
            method = getattr(made, name)
            sizes = {} if shape is None else dict.fromkeys(SIZES, shape)
            given, named = filled(method, [], {**sizes, **dict.fromkeys(OPTIMIZERS, GradientStep(1.0))})
            method(*given, **named)
            run(copied(made, {}))
        except Exception:  # noqa: BLE001 (whatever the forward raises is asked for again, and then reported)
            return layer
        return made
    return layer


def is_of_one_shape(layer: Any, shape: tuple[int, ...]) -> bool:
    """Whether a layer was made for one shape of x: it holds sizes of it that follow each other, or by name."""
    runs = {shape[i:j] for i in range(len(shape)) for j in range(i + 2, len(shape) + 1)}
    for place, thing in reach(layer):
        if isinstance(thing, (tuple, list)) and len(thing) <= len(shape):
            if all(isinstance(n, int) for n in thing) and tuple(thing) in runs:
                return True
        elif isinstance(thing, int) and thing in shape and plain(place.label) in SIDES:
            return True
    return False
