"""Wrap a candidate, however it is written: a function of JAX, torch, NumPy or any array library, or `Rules`."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import numpy as np

from triconv.backends import BACKENDS
from triconv.checking import framework_detection
from triconv.checking.candidate import Arrays, CandidateFunction, as_numpy, guarded
from triconv.checking.findings import Ability, NotSupported, Reason
from triconv.checking.jax_candidate import JaxCandidate
from triconv.checking.torch_candidate import TorchCandidate
from triconv.checking.unsupported import Unsupported
from triconv.operators import derivatives

__all__ = [
    "CandidateFunction",
    "JaxCandidate",
    "Rules",
    "RulesCandidate",
    "TorchCandidate",
    "Unsupported",
    "as_candidate",
    "as_numpy",
    "framework_of",
    "guarded",
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

    Examples
    --------
    >>> import numpy as np, triconv
    >>> rules = triconv.Rules(triconv.conv2d_forward, triconv.conv2d_backward, triconv.conv2d_backward_weights)
    >>> triconv.check(rules, triconv.conv2d_forward, (6, 7, 3), (3, 2, 3)).verdict
    'right'
    """

    forward: Callable[..., Any]
    input_vjp: Callable[..., Any] | None = None
    weight_vjp: Callable[..., Any] | None = None
    bias_vjp: Callable[..., Any] | None = None


class RulesCandidate(CandidateFunction):
    """`Rules`."""

    def __init__(self, rules: Rules, *args: Any, is_notebook: bool) -> None:
        super().__init__(rules.forward, *args)
        self.rules, self.is_notebook = rules, is_notebook

    def vjp(self, arrays: Arrays, g: np.ndarray, n: int) -> Any:
        """One of the functions, right after the forward on the same arrays: it may use what the forward remembers."""
        rule = (self.rules.input_vjp, self.rules.weight_vjp, self.rules.bias_vjp)[n]
        if rule is None:
            raise Unsupported(NotSupported(Reason.RULES, Ability.DERIVATIVE))
        moved = self.move(arrays)
        (ct,) = self.move([g[..., None] if self.is_notebook else g])
        others: tuple[tuple[Any, ...], ...] = ((ct, moved[1]), (ct, moved[0]), (ct,))
        if self.is_notebook:
            others = (others[0], (moved[0], ct), others[2])
        self.call(*self.move(arrays))
        result = self._if_supported(Ability.DERIVATIVE, rule, *others[n])
        return _channels_last(result) if self.is_notebook else result


def _channels_last(result: Any) -> Any:
    """A gradient as the notebook gives it, channels first, in the order of what it is the gradient of."""
    array = as_numpy(result)
    return result if array is None or array.ndim != 3 else np.moveaxis(array, 0, -1)


class OperatorCandidate(CandidateFunction):
    """An operator of triconv on a library without derivatives of its own: those of `triconv.vjp` and `triconv.jvp`."""

    def __init__(self, candidate: Any, backend: Any, dtype: str, keywords: dict[str, Any]) -> None:
        operator = candidate
        if isinstance(candidate, functools.partial):
            operator, keywords = candidate.func, {**candidate.keywords, **keywords}
        super().__init__(operator, backend, dtype, keywords)

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
    candidate: Any, *, framework: str | None, dtype: str, keywords: dict[str, Any], is_notebook: bool
) -> CandidateFunction:
    """Wrap what the user wrote.

    Raises
    ------
    TypeError
        If it cannot be called.
    ValueError, ImportError
        If there is no such framework, or it is not installed.
    """
    if not isinstance(candidate, Rules) and not callable(candidate):
        msg = f"`candidate` must be a function, a module or triconv.Rules, got {type(candidate).__name__}"
        raise TypeError(msg)
    name = framework or framework_of(candidate)
    if name not in BACKENDS:
        msg = f"`framework` must be one of {', '.join(map(repr, BACKENDS))}, got {name!r}"
        raise ValueError(msg)
    if not BACKENDS[name].installed():
        msg = f"`framework` must be installed here, got {name!r}; install it with: {BACKENDS[name].install_command()}"
        raise ImportError(msg)
    if name == "numpy" and dtype == "bfloat16" and find_spec("ml_dtypes") is None:
        msg = "`dtype` must be one that NumPy has, got 'bfloat16'; install what adds it with: python -m pip install ml_dtypes"
        raise ImportError(msg)
    backend = BACKENDS[name].load()
    if isinstance(candidate, Rules):
        return RulesCandidate(candidate, backend, dtype, keywords, is_notebook=is_notebook)
    kind = KINDS.get(name, OperatorCandidate if _is_operator(candidate) else CandidateFunction)
    return kind(candidate, backend, dtype, keywords)


def framework_of(candidate: Any) -> str:
    """Return the framework that something is written in; for `Rules`, that of its functions."""
    if isinstance(candidate, Rules):
        functions = (candidate.forward, candidate.input_vjp, candidate.weight_vjp, candidate.bias_vjp)
        candidate = tuple(f for f in functions if f is not None)
    return framework_detection.framework_of(candidate)
