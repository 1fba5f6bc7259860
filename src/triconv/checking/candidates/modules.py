"""Modules of torch, flax and equinox as functions of their input and of their own parameters."""

from __future__ import annotations

import contextlib
import copy
import functools
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from triconv.backends import to_numpy
from triconv.checking.candidates.candidate import OwnArray
from triconv.checking.candidates.parameter_hooks import Training, hooked, training_step
from triconv.checking.candidates.parametrized import keep_computed_weights
from triconv.geometry.integers import one_per_axis
from triconv.geometry.padding import resolve_padding

_CALL = threading.RLock()
"""Held while a module of torch that could not be copied has other parameters: two checks may have the same one."""

Shapes = Sequence[tuple[int, ...]]


@dataclass(frozen=True)
class ModuleFunction:
    """A module as a function.

    Parameters
    ----------
    function : callable
        Of the inputs and of the parameters, the ones with most axes first; those left out keep their values.
    parameters : tuple of OwnArray
        The parameters in this order.
    inputs : int
        Number of inputs.
    read_off : dict
        Parameters of an operator that the module says.
    evaluation : callable, optional
        Within what it returns, the module is in evaluation mode; None for one that is, or has no modes, or is the user's own.
    training : callable, optional
        Of all arrays and the cotangent: what `backward` leaves in the `grad` of each; None where no parameter has a hook.
    """

    function: Callable[..., Any]
    parameters: tuple[OwnArray, ...]
    inputs: int
    read_off: dict[str, Any] = field(default_factory=dict)
    evaluation: Callable[[], AbstractContextManager[Any]] | None = None
    training: Training | None = None


def kind_of(candidate: Any) -> str:
    """Return "torch", "linen", "nnx" or "equinox" for a module of these; "" for anything else."""
    if isinstance(candidate, type):
        return ""
    for base in type(candidate).__mro__:
        name = f"{base.__module__}.{base.__qualname__}"
        if name == "torch.nn.modules.module.Module":
            return "torch"
        if base.__qualname__ == "Module" and base.__module__.startswith("equinox."):
            return "equinox"
        if base.__qualname__ == "Module" and base.__module__.startswith("flax.linen"):
            return "linen"
        if base.__qualname__ == "Module" and base.__module__.startswith("flax.nnx"):
            return "nnx"
    return ""


def is_class(candidate: Any) -> bool:
    """Whether it is the class of a module, not a module."""
    names = [(base.__module__, base.__qualname__) for base in getattr(candidate, "__mro__", ())]
    return isinstance(candidate, type) and any(
        name == "Module" and module.startswith(("torch.nn.", "equinox.", "flax.")) for module, name in names
    )


def is_bound(candidate: Any) -> bool:
    """Whether it is a flax module with its variables."""
    return isinstance(candidate, (tuple, list)) and len(candidate) == 2 and kind_of(candidate[0]) == "linen"


def as_function(
    candidate: Any, shapes: Shapes, args: tuple[Any, ...], *, is_convolution: bool = False
) -> ModuleFunction:
    """Return a module as a function of its input and of its parameters.

    Parameters
    ----------
    candidate : Any
        The module, or a flax module with its variables.
    shapes : sequence of tuple of int
        Of the arrays that the user gives: the inputs, and perhaps parameters.
    args : tuple
        Arguments after the input.
    is_convolution : bool
        Whether it is compared with an operator, so that a kernel that it computes from other parameters is its kernel.
    """
    if is_bound(candidate):
        return _linen(candidate[0], shapes, args, candidate[1])
    kinds: dict[str, Callable[..., ModuleFunction]] = {
        "torch": functools.partial(_torch, is_convolution=is_convolution),
        "linen": _linen,
        "nnx": _nnx,
        "equinox": _equinox,
    }
    return kinds[kind_of(candidate)](candidate, shapes, args)


def is_in_place(candidate: Any) -> bool:
    """Whether a module of torch says that it, or a part of it, writes into its input."""
    parts = candidate.modules() if kind_of(candidate) == "torch" else ()
    return any(getattr(part, "inplace", False) is True for part in parts)


def _by_axes(named: Sequence[tuple[str, Any]]) -> list[tuple[str, Any]]:
    """Parameters with the most axes first: kernels before biases."""
    return sorted(named, key=lambda pair: -len([n for n in np.shape(pair[1]) if n != 1] or np.shape(pair[1])))


def _function(call: Callable[[Sequence[Any], list[Any]], Any], values: list[Any], inputs: int) -> Callable[..., Any]:
    """Return a function of inputs and parameters; those left out are the module's own."""

    def function(*arrays: Any, **keywords: Any) -> Any:
        given = len(arrays) - inputs
        return call(arrays[:inputs], [*arrays[inputs:], *values[given:]], **keywords)

    return function


def _torch(module: Any, shapes: Shapes, args: tuple[Any, ...], *, is_convolution: bool) -> ModuleFunction:
    import torch

    given = module
    module, call_alone = _own_copy(module)
    is_copy = module is not given
    if any(map(torch.nn.parameter.is_lazy, module.parameters())):  # the sizes of which are those of its first input
        with torch.no_grad():
            module(*(torch.zeros(shape) for shape in shapes[:1]), *args)
    if is_convolution and is_copy:
        keep_computed_weights(module)
    named = _by_axes(list(module.named_parameters()))
    names = [name for name, _ in named]
    inputs = _inputs(shapes, [tuple(p.shape) for _, p in named])

    def call(x: Sequence[Any], parameters: list[Any], **keywords: Any) -> Any:
        like = x[0]
        own = {
            name: p if p.dtype == like.dtype or not torch.is_tensor(like) else p.to(like.dtype)
            for name, p in zip(names, parameters, strict=True)
        }
        buffers = {
            name: b.to(like.dtype) if torch.is_floating_point(b) and torch.is_floating_point(like) else b
            for name, b in module.named_buffers()
        }
        own = hooked(given, own) if is_copy else own
        with call_alone:
            y = torch.func.functional_call(module, {**own, **buffers}, (*x, *args), keywords)
        if is_copy:
            _put_back_before_backward(module, own, y)
        return y

    own = tuple(OwnArray(name, to_numpy(p.detach())) for name, p in named)
    function = _function(call, [p.detach() for _, p in named], inputs)
    evaluation = functools.partial(_in_evaluation, module) if module.training and is_copy else None
    training = training_step(given, names, inputs, args)
    return ModuleFunction(function, own, inputs, _torch_parameters(module), evaluation, training)


@contextlib.contextmanager
def _in_evaluation(module: Any) -> Iterator[None]:
    """Within it, a module is in evaluation mode."""
    modes = [(part, part.training) for part in module.modules()]
    module.eval()
    try:
        yield
    finally:
        for part, mode in modes:
            part.training = mode


def _put_back_before_backward(module: Any, parameters: dict[str, Any], y: Any) -> None:
    """Let a module have the parameters of a call again when the result of that call is differentiated.

    `functional_call` takes them out where the call ends. What is computed again in the backward, as checkpoints are, needs
    them. They stay in the module, which is a copy, until its next call.
    """
    import torch

    from triconv.backends.torch_internals import is_transformed, set_parameters

    if is_transformed():  # where torch computes nothing again
        return
    for part in y if isinstance(y, (tuple, list)) else (y,):
        if torch.is_tensor(part) and part.requires_grad:
            part.register_hook(lambda _: set_parameters(module, parameters))


def _own_copy(module: Any) -> tuple[Any, AbstractContextManager[Any]]:
    """Return a copy of a module; and where there can be none, the module, with a lock for its calls.

    `functional_call` puts other parameters into a module for a while, and other threads may use the one of the user. A compiled
    module stays as it is: its copy would be compiled again.
    """
    is_compiled = any(
        type(part).__name__ == "OptimizedModule" or getattr(part, "_compiled_call_impl", None) is not None
        for part in module.modules()
    )
    with contextlib.suppress(Exception):  # whatever a part of it raises that cannot be copied
        if not is_compiled:
            return copy.deepcopy(module), contextlib.nullcontext()
    return module, _CALL


def _torch_parameters(module: Any) -> dict[str, Any]:
    """Return the parameters of an operator that a convolution of torch has, or one derived from it."""
    if not any(base.__name__ == "_ConvNd" for base in type(module).__mro__):
        return {}
    names = ["stride", "padding", "dilation", "groups"]
    names += ["output_padding"] if "Transpose" in "".join(base.__name__ for base in type(module).__mro__) else []
    read = {name: getattr(module, name) for name in names}
    if module.padding_mode != "zeros":
        read["padding_mode"] = module.padding_mode
    return read


def _linen(module: Any, shapes: Shapes, args: tuple[Any, ...], variables: Any = None) -> ModuleFunction:
    import jax

    if variables is None:
        variables = module.init(jax.random.key(0), np.zeros(shapes[0], np.float32), *args)
    rest = {name: part for name, part in variables.items() if name != "params"}

    def apply(x: Sequence[Any], parameters: Any, **keywords: Any) -> Any:
        return module.apply({**rest, "params": parameters}, *x, *args, **keywords)

    return _of_tree(variables.get("params", {}), apply, shapes, _flax_parameters(module, shapes[0]))


def _nnx(module: Any, shapes: Shapes, args: tuple[Any, ...]) -> ModuleFunction:
    from flax import nnx

    graph, parameters, rest = nnx.split(module, nnx.Param, ...)  # type: ignore[misc]

    def apply(x: Sequence[Any], parameters: Any, **keywords: Any) -> Any:
        return nnx.merge(graph, parameters, rest)(*x, *args, **keywords)

    return _of_tree(parameters, apply, shapes, _flax_parameters(module, shapes[0]))


def _flax_parameters(module: Any, shape: tuple[int, ...]) -> dict[str, Any]:
    """Return the parameters of an operator that a convolution of flax has."""
    if type(module).__name__ != "Conv" or not hasattr(module, "kernel_dilation"):
        return {}
    spatial = {3: "W", 4: "HW", 5: "DHW"}.get(len(shape))
    if spatial is None or str(module.padding).upper() in ("CIRCULAR", "REFLECT"):
        return {}
    n = len(spatial)
    stride, dilation = (
        one_per_axis(1 if given is None else given, n, "stride") for given in (module.strides, module.kernel_dilation)
    )
    kernel = one_per_axis(module.kernel_size, n, "kernel_size")
    return {
        "stride": stride,
        "padding": resolve_padding(module.padding, shape[1:-1], kernel[:n], stride, dilation, (1,) * n),
        "dilation": dilation,
        "groups": module.feature_group_count,
        "layout": f"N{spatial}C,{spatial}IO->N{spatial}C",
    }


def _equinox(module: Any, shapes: Shapes, args: tuple[Any, ...]) -> ModuleFunction:
    import equinox
    import jax

    parameters, rest = equinox.partition(module, equinox.is_inexact_array)

    def apply(x: Sequence[Any], parameters: Any, **keywords: Any) -> Any:
        whole = equinox.combine(parameters, rest)

        def call(*inputs: Any) -> Any:
            return whole(*inputs, *args, **keywords)

        try:
            jax.eval_shape(call, *x)
        except Exception:  # noqa: BLE001 (modules of equinox take one sample)
            return jax.vmap(call)(*x)
        return call(*x)

    read = {}
    if hasattr(module, "num_spatial_dims") and hasattr(module, "dilation"):
        read = {name: getattr(module, name) for name in ("stride", "padding", "dilation", "groups")}
    return _of_tree(parameters, apply, shapes, read)


def _of_tree(tree: Any, apply: Callable[..., Any], shapes: Shapes, read_off: dict[str, Any]) -> ModuleFunction:
    """Return a function of the leaves of a tree of parameters."""
    import jax

    paths, structure = jax.tree_util.tree_flatten_with_path(tree)
    named = [(jax.tree_util.keystr(path, simple=True, separator="."), leaf) for path, leaf in paths]
    ordered = _by_axes(named)
    place = {name: n for n, (name, _) in enumerate(ordered)}
    inputs = _inputs(shapes, [tuple(leaf.shape) for _, leaf in ordered])

    def call(x: Sequence[Any], parameters: list[Any], **keywords: Any) -> Any:
        leaves = [parameters[place[name]] for name, _ in named]
        return apply(x, jax.tree_util.tree_unflatten(structure, leaves), **keywords)

    own = tuple(OwnArray(name, to_numpy(leaf)) for name, leaf in ordered)
    return ModuleFunction(_function(call, [leaf for _, leaf in ordered], inputs), own, inputs, read_off)


def _inputs(shapes: Shapes, parameters: list[tuple[int, ...]]) -> int:
    """Return how many of the arrays given are inputs: those that are not followed by the parameters' shapes alone."""
    for n in range(1, len(shapes)):
        after = [tuple(shape) for shape in shapes[n:]]
        if after == parameters[: len(after)]:
            return n
    return len(shapes)
