"""Wrap a candidate, however it is written: a function of JAX, torch, NumPy or any array library, or `Rules`."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import numpy as np

from triconv.backends import BACKENDS
from triconv.checking.candidates import framework_detection, modules
from triconv.checking.candidates.candidate import Arrays, CandidateFunction, as_numpy, guarded, no_array
from triconv.checking.candidates.isolated_candidate import RemoteTarget, checked
from triconv.checking.candidates.jax_candidate import JaxCandidate
from triconv.checking.candidates.layers import LayerCandidate, construct, is_layer, is_layer_class
from triconv.checking.candidates.pairs import PairCandidate
from triconv.checking.candidates.torch_candidate import TorchCandidate
from triconv.checking.candidates.unsupported import Unsupported
from triconv.checking.findings.unanswered import Ability, NotSupported, Reason
from triconv.operators import derivatives

__all__ = [
    "CandidateFunction",
    "JaxCandidate",
    "PairCandidate",
    "Rules",
    "RulesCandidate",
    "TorchCandidate",
    "Unsupported",
    "as_arguments",
    "as_candidate",
    "as_numpy",
    "framework_of",
    "guarded",
    "no_array",
    "unwrapped",
]


@dataclass(frozen=True)
class Rules:
    """A convolution as its functions, with derivatives by hand; on NumPy, or on the `framework` of `check`.

    Parameters
    ----------
    forward : callable
        ``forward(x, w)``, or ``forward(x, w, bias)``.
    input_vjp : callable, optional
        ``input_vjp(g, w)``: the cotangent of x.
    weight_vjp : callable, optional
        ``weight_vjp(g, x)``: the cotangent of w; with the notebook's operators ``weight_vjp(matrix, upstream)``, as there.
    bias_vjp : callable, optional
        ``bias_vjp(g)``: the cotangent of the bias.
    backward : callable, optional
        Instead of these, ``backward(g, cache)``: all cotangents, where ``forward(x, w)`` gives the result and a cache. The pair
        ``(forward, backward)`` means the same.

    Examples
    --------
    >>> import numpy as np, triconv
    >>> rules = triconv.Rules(triconv.conv2d_forward, triconv.conv2d_backward, triconv.conv2d_backward_weights)
    >>> triconv.check(rules, triconv.conv2d_forward, (6, 7, 3), (3, 2, 3)).verdict
    'right'
    """

    forward: Callable[..., object]
    input_vjp: Callable[..., object] | None = None
    weight_vjp: Callable[..., object] | None = None
    bias_vjp: Callable[..., object] | None = None
    backward: Callable[..., object] | None = None


class RulesCandidate(CandidateFunction):
    """`Rules`."""

    has_rules = True

    def __init__(self, rules: Rules, *of_candidate: Any, args: tuple[Any, ...] = (), is_notebook: bool) -> None:
        super().__init__(rules.forward, *of_candidate, args=args)
        self.rules, self.is_notebook = rules, is_notebook

    def vjp(self, arrays: Arrays, g: np.ndarray, n: int) -> Any:
        """One of the functions, right after the forward on the same arrays: it may use what the forward remembers."""
        return self._ruled(arrays, g, n)

    def _ruled(self, arrays: Arrays, g: np.ndarray, n: int, then: Arrays | None = None) -> Any:
        """After the forward on the same arrays, and then on others."""
        rule = self._all[n]
        if rule is None:
            raise Unsupported(NotSupported(Reason.RULES, Ability.DERIVATIVE))
        moved = self.move(arrays)
        (ct,) = self.move([g[..., None] if self.is_notebook else g])
        others: tuple[tuple[Any, ...], ...] = ((ct, moved[1]), (ct, moved[0]), (ct,))
        if self.is_notebook:
            others = (others[0], (moved[0], ct), others[2])
        for forward in (arrays, *([] if then is None else [then])):
            self.call(*self.move(forward))
        result = self._if_supported(Ability.DERIVATIVE, rule, *others[n])
        return _channels_last(result) if self.is_notebook else result

    def after_another_forward(self, arrays: Arrays, other: Arrays, g: np.ndarray) -> list[Any] | None:
        """By the functions, after the forward of other arrays."""
        every = self._all[: len(arrays)]
        return [None if rule is None else self._ruled(arrays, g, n, other) for n, rule in enumerate(every)]

    @property
    def functions(self) -> tuple[Any, ...]:
        """The forward and the rules."""
        return self.rules.forward, *(rule for rule in self._all if rule is not None)

    @property
    def _all(self) -> tuple[Callable[..., Any] | None, ...]:
        return self.rules.input_vjp, self.rules.weight_vjp, self.rules.bias_vjp


def _channels_last(result: Any) -> Any:
    """A gradient as the notebook gives it, channels first, in the order of what it is the gradient of."""
    array = as_numpy(result)
    return result if array is None or array.ndim != 3 else np.moveaxis(array, 0, -1)


class OperatorCandidate(CandidateFunction):
    """An operator of triconv on a library without derivatives of its own: those of `triconv.vjp` and `triconv.jvp`."""

    def __init__(
        self, candidate: Any, backend: Any, dtype: str, keywords: dict[str, Any], *, args: tuple[Any, ...] = ()
    ) -> None:
        operator = candidate
        if isinstance(candidate, functools.partial):
            operator, keywords = candidate.func, {**candidate.keywords, **keywords}
        super().__init__(operator, backend, dtype, keywords, args=args)

    def vjp(self, arrays: Arrays, g: np.ndarray, n: int) -> Any:
        """By `triconv.vjp`."""
        pullback = derivatives.vjp(self.function, *self.move(arrays), **self.keywords)[1]
        return pullback(self.move([g])[0])[n]

    def jvp(self, arrays: Arrays, tangents: Arrays) -> Any:
        """By `triconv.jvp`."""
        moved, along = tuple(self.move(arrays)), tuple(self.move(tangents))
        return derivatives.jvp(self.function, moved, along, **self.keywords)[1]


def _is_operator(candidate: Any) -> bool:
    if isinstance(candidate, functools.partial):
        return not candidate.args and hasattr(candidate.func, "resolve")
    return hasattr(candidate, "resolve")


KINDS: dict[str, type[CandidateFunction]] = {"jax": JaxCandidate, "torch": TorchCandidate}


def as_candidate(
    candidate: Any,
    *,
    framework: str | None,
    dtype: str,
    keywords: dict[str, Any],
    is_notebook: bool,
    args: Any = (),
    shapes: tuple[tuple[int, ...], ...] = (),
    parameters: Sequence[str] | None = None,
    gradients: Sequence[str] | None = None,
    params: dict[str, Any] | None = None,
) -> CandidateFunction:
    """Wrap what the user wrote.

    Parameters
    ----------
    candidate : Any
        What the user wrote.
    framework, dtype : str
        Of the arrays.
    keywords : dict
        Arguments by name.
    is_notebook : bool
        Whether it has the layouts and the order of the notebook's functions.
    args : Any
        Arguments after the arrays, see `as_arguments`.
    shapes : tuple of tuple of int
        Of the arrays that the user gives.
    parameters, gradients : sequence of str, optional
        Attributes of a layer.
    params : dict, optional
        Parameters of the operator, of which a layer's constructor may take some.

    Raises
    ------
    TypeError
        If it cannot be called.
    ValueError, ImportError
        If there is no such framework, or it is not installed.
    """
    if isinstance(candidate, RemoteTarget):
        wrapped = candidate.run(
            as_candidate,
            candidate,
            framework=framework,
            dtype=dtype,
            keywords=keywords,
            is_notebook=is_notebook,
            args=args,
            shapes=shapes,
            parameters=parameters,
            gradients=gradients,
            params=params,
        )
        return checked(wrapped, CandidateFunction)
    candidate = unwrapped(candidate)
    if modules.is_class(candidate):
        name = candidate.__name__
        msg = f"`candidate` must be a module, such as {name}(...), got the class {name}; args= are for its call, not for this"
        raise TypeError(msg)
    if is_new := is_layer_class(candidate):
        candidate = construct(candidate, as_arguments(args), keywords, shapes, params or {})
        args, keywords = (), {}
    is_pair = isinstance(candidate, (tuple, list)) and len(candidate) == 2 and all(map(callable, candidate))
    is_module = bool(modules.kind_of(candidate)) or modules.is_bound(candidate)
    if not (isinstance(candidate, Rules) or callable(candidate) or is_pair or is_module or is_layer(candidate)):
        raise TypeError(_no_candidate(candidate))
    name = framework or framework_of(candidate)
    _check_installed(name, dtype)
    backend, extra = BACKENDS[name].load(), as_arguments(args)
    if is_module:
        module = modules.as_function(candidate, shapes, extra, is_convolution=params is not None)
        own = module.parameters[max(0, len(shapes) - module.inputs) :]  # those that the user does not give
        wrapped = KINDS[name](module.function, backend, dtype, keywords, own=own, read_off=module.read_off)
        wrapped.is_object, wrapped.written, wrapped.evaluation = True, candidate, module.evaluation
        wrapped.training = module.training
        return wrapped
    if isinstance(candidate, Rules) and candidate.backward is not None:
        candidate, is_pair = (candidate.forward, candidate.backward), True
    if isinstance(candidate, Rules):
        return RulesCandidate(candidate, backend, dtype, keywords, args=extra, is_notebook=is_notebook)
    if is_pair:
        return PairCandidate(*candidate, backend, dtype, keywords, extra=extra)
    if is_layer(candidate):
        given: dict[str, Any] = {"args": extra, "shapes": shapes, "parameters": parameters, "gradients": gradients}
        given |= {"is_convolution": params is not None, "is_new": is_new}
        return LayerCandidate(candidate, backend, dtype, keywords, **given)
    kind = KINDS.get(name, OperatorCandidate if _is_operator(candidate) else CandidateFunction)
    return kind(candidate, backend, dtype, keywords, args=extra)


def _check_installed(framework: str, dtype: str) -> None:
    """Raise unless there is such a framework here, and it has the dtype."""
    if framework not in BACKENDS:
        msg = f"`framework` must be one of {', '.join(map(repr, BACKENDS))}, got {framework!r}"
        raise ValueError(msg)
    if not BACKENDS[framework].installed():
        msg = f"`framework` must be installed here, got {framework!r}; install it with: {BACKENDS[framework].install_command()}"
        raise ImportError(msg)
    if framework == "numpy" and dtype == "bfloat16" and find_spec("ml_dtypes") is None:
        msg = "`dtype` must be one that NumPy has, got 'bfloat16'; install what adds it with: python -m pip install ml_dtypes"
        raise ImportError(msg)


def as_arguments(args: Any) -> tuple[Any, ...]:
    """Return further arguments as a tuple: a tuple or list as they are, a dict or another value as one argument."""
    return tuple(args) if isinstance(args, (tuple, list)) else (args,)


def unwrapped(candidate: Any) -> Any:
    """The function that an autograd function of torch means: its `apply`."""
    bases = getattr(candidate, "__mro__", ()) if isinstance(candidate, type) else ()
    return candidate.apply if any(b.__module__ == "torch.autograd.function" for b in bases) else candidate


def _no_candidate(candidate: Any) -> str:
    kind = type(candidate).__name__
    rule = "a function, a module, a layer, (forward, backward) or triconv.Rules"
    if isinstance(candidate, (tuple, list)):
        return f"`candidate` must be {rule}, got a {kind} of {len(candidate)}: {', '.join(type(c).__name__ for c in candidate)}"
    return f"`candidate` must be {rule}, got {kind}"


def framework_of(candidate: Any) -> str:
    """Return the framework that something is written in; for `Rules`, that of its functions."""
    if isinstance(candidate, RemoteTarget):
        return checked(candidate.run(framework_of, candidate), str)
    if isinstance(candidate, Rules):
        functions = (
            candidate.forward,
            candidate.input_vjp,
            candidate.weight_vjp,
            candidate.bias_vjp,
            candidate.backward,
        )
        candidate = tuple(f for f in functions if f is not None)
    return framework_detection.framework_of(candidate)
