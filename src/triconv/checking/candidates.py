"""What is checked, however it is written: a function of JAX, torch, NumPy or any array library, or `Rules`.

A candidate takes and gives NumPy arrays, as the user has them laid out; inside it works in its own library and dtype.
"""

from __future__ import annotations

import contextlib
import importlib
import inspect
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from triconv.backends import BACKENDS, to_numpy

Array = Any
Arrays = Sequence[np.ndarray]


@dataclass(frozen=True)
class Rules:
    """A convolution given by its functions, with derivatives by hand; on NumPy, or on the framework that `check` is told.

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


# what JAX says of a kernel or callback that comes without a derivative
NO_RULE = re.compile(r"differentiat|JVP|not support.*(linearize|transpose)|linearization failed", re.IGNORECASE)


class NotOffered(Exception):  # noqa: N818 (it is no error)
    """The candidate has no such derivative or transform; its words say why."""


class Candidate:
    """A function of NumPy arrays with what its library can do with it; this one has its value alone.

    Parameters
    ----------
    function : callable
        What the user wrote.
    backend : Standard
        The library whose arrays it takes.
    dtype : str
        Of its floating arrays.
    keywords : dict
        What it is handed beside arrays.
    """

    transforms: tuple[str, ...] = ()

    def __init__(self, function: Callable[..., Any], backend: Any, dtype: str, keywords: dict[str, Any]) -> None:
        self.function, self.backend, self.dtype, self.keywords = function, backend, dtype, keywords
        self._programs: dict[str, Any] = {}

    def move(self, arrays: Arrays) -> list[Array]:
        """The arrays in the candidate's library and dtype."""
        return [self.backend.asarray(a, dtype=self.dtype) for a in arrays]

    def call(self, *arrays: Array) -> Array:
        """The candidate itself."""
        return self.function(*arrays, **self.keywords)

    def session(self) -> contextlib.AbstractContextManager[Any]:
        """Within it, the library has the dtype."""
        return contextlib.nullcontext()

    def value(self, arrays: Arrays) -> Any:
        """The result, as it came."""
        return self.call(*self.move(arrays))

    def vjps(self, arrays: Arrays, g: np.ndarray) -> list[Any]:
        """One cotangent an array; None where the candidate says that there is none."""
        msg = (
            f"a function of {self.backend.name} has no derivatives; give triconv.Rules(forward, input_vjp, weight_vjp)"
        )
        raise NotOffered(msg)

    def jvp(self, arrays: Arrays, tangents: Arrays) -> Any:
        """The tangent of the result."""
        raise NotOffered(self._no("forward mode"))

    def reverse_over_reverse(self, arrays: Arrays, g: np.ndarray, tangents: Arrays) -> list[Any]:
        """Derivative of the cotangents, against the tangents, by each array."""
        raise NotOffered(self._no("second order"))

    def forward_over_reverse(self, arrays: Arrays, g: np.ndarray, tangents: Arrays) -> list[Any]:
        """Derivative of the cotangents along the tangents."""
        raise NotOffered(self._no("second order"))

    def vmap(self, stacked: Arrays) -> Any:
        """Results for arrays with one more axis in front."""
        raise NotOffered(self._no("vmap"))

    def jit(self, arrays: Arrays) -> Any:
        """The result when compiled."""
        raise NotOffered(self._no("jit"))

    def _no(self, what: str) -> str:
        return f"{self.backend.name} has no {what}"


class ByRules(Candidate):
    """`Rules`."""

    def __init__(self, rules: Rules, *args: Any, as_listed: bool) -> None:
        super().__init__(rules.forward, *args)
        self.rules, self.as_listed = rules, as_listed

    def vjps(self, arrays: Arrays, g: np.ndarray) -> list[Any]:
        """Each of the functions that was given."""
        moved = dict(zip(("x", "w", "bias"), self.move(arrays), strict=False))
        (ct,) = self.move([g[..., None] if self.as_listed else g])
        pair = (moved["x"], ct) if self.as_listed else (ct, moved["x"])
        calls = [(self.rules.input_vjp, (ct, moved["w"])), (self.rules.weight_vjp, pair), (self.rules.bias_vjp, (ct,))]
        results = [rule(*args) if rule else NotOffered("not among the rules") for rule, args in calls[: len(arrays)]]
        return [_channels_last(result) for result in results] if self.as_listed else results


def _channels_last(result: Any) -> Any:
    """A gradient as the notebook gives it, channels first, in the order of what it is the gradient of."""
    found = as_numpy(result)
    return result if found is None or found.ndim != 3 else np.moveaxis(found, 0, -1)


class ByJAX(Candidate):
    """A function of JAX: plain, `custom_vjp`, `custom_jvp`, jitted, a kernel."""

    transforms = ("jit", "vmap")
    places: tuple[Any, ...] = ()
    """Where the arrays lie, if they are shared out over devices."""

    def move(self, arrays: Arrays) -> list[Array]:
        """As the plain one; the operator's arrays, where they are shared out."""
        import jax

        moved = super().move(arrays)
        if not self.places or len(moved) != len(self.places) or moved[0].ndim != self.places[0][1]:
            return moved
        return [jax.device_put(a, place) for a, (place, _) in zip(moved, self.places, strict=True)]

    def sent(self, arrays: Arrays, g: np.ndarray) -> dict[str, str]:
        """What the devices send each other for the value and the VJPs, in words."""
        import jax

        from triconv.checking.collectives import sentence, traffic

        moved, (ct,) = self.move(arrays), self.move([g])

        def vjp(n: int) -> Callable[..., Any]:
            return lambda g, *a: jax.vjp(lambda b: self.call(*a[:n], b, *a[n + 1 :]), a[n])[1](g)

        asked = {"value": lambda _, *a: self.call(*a)} | {f"VJP {n}": vjp(n) for n in range(len(moved))}
        return {name: sentence(traffic(jax.jit(f).lower(ct, *moved).compile())) for name, f in asked.items()}

    @contextlib.contextmanager
    def session(self) -> Any:
        """With 64-bit dtypes if the candidate has one."""
        jax = importlib.import_module("jax")
        if self.dtype not in ("float64", "complex128", "int64") or jax.config.jax_enable_x64:
            yield
            return
        jax.config.update("jax_enable_x64", True)
        try:
            yield
        finally:
            jax.config.update("jax_enable_x64", False)

    def vjps(self, arrays: Arrays, g: np.ndarray) -> list[Any]:
        """By `jax.vjp`."""
        try:
            return list(self._run("VJP", self._pullback, self.move(arrays), self.move([g])[0]))
        except Exception as problem:
            if NO_RULE.search(str(problem)) is None:
                raise
            raise NotOffered(_first_line("derivative", problem)) from problem

    def _pullback(self, arrays: Any, g: Any) -> Any:
        import jax

        return jax.vjp(self.call, *arrays)[1](g)

    def jvp(self, arrays: Arrays, tangents: Arrays) -> Any:
        """By `jax.jvp`."""
        import jax

        def run(a: Any, t: Any) -> Any:
            return jax.jvp(self.call, tuple(a), tuple(t))[1]

        return self._offered("forward mode", run, self.move(arrays), self.move(tangents))

    def reverse_over_reverse(self, arrays: Arrays, g: np.ndarray, tangents: Arrays) -> list[Any]:
        """By `jax.vjp` of `jax.vjp`."""
        import jax

        def run(a: Any, g: Any, t: Any) -> Any:
            return jax.vjp(lambda *a: self._pullback(a, g), *a)[1](tuple(t))

        return list(self._offered("second order", run, self.move(arrays), self.move([g])[0], self.move(tangents)))

    def forward_over_reverse(self, arrays: Arrays, g: np.ndarray, tangents: Arrays) -> list[Any]:
        """By `jax.jvp` of `jax.vjp`."""
        import jax

        def run(a: Any, g: Any, t: Any) -> Any:
            return jax.jvp(lambda *a: self._pullback(a, g), tuple(a), tuple(t))[1]

        return list(
            self._offered("forward over reverse", run, self.move(arrays), self.move([g])[0], self.move(tangents))
        )

    def vmap(self, stacked: Arrays) -> Any:
        """By `jax.vmap`."""
        import jax

        return self._offered("vmap", lambda a: jax.vmap(self.call)(*a), self.move(stacked))

    def jit(self, arrays: Arrays) -> Any:
        """By `jax.jit`."""
        import jax

        try:
            return jax.jit(self.call)(*self.move(arrays))
        except Exception as problem:
            raise NotOffered(_first_line("jax.jit", problem)) from problem

    def _run(self, what: str, function: Callable[..., Any], *args: Any) -> Any:
        """Compiled, which is quicker for many small steps; as it is where it cannot be compiled."""
        import jax

        if what not in self._programs:
            self._programs[what] = jax.jit(function)
        try:
            return self._programs[what](*args)
        except Exception:  # noqa: BLE001 (the candidate may not be traceable)
            return function(*args)

    def _offered(self, what: str, function: Callable[..., Any], *args: Any) -> Any:
        try:
            return self._run(what, function, *args)
        except Exception as problem:
            raise NotOffered(_first_line(what, problem)) from problem


class ByTorch(Candidate):
    """A function of torch, a module, or what an autograd function does."""

    transforms = ("vmap",)

    def value(self, arrays: Arrays) -> Any:
        """Without a graph."""
        import torch

        with torch.no_grad():
            return self.call(*self.move(arrays))

    def vjps(self, arrays: Arrays, g: np.ndarray) -> list[Any]:
        """By `torch.autograd.grad`; zeros where there is no path."""
        return self._gradients(self._leaves(arrays), g, create_graph=False)

    def _leaves(self, arrays: Arrays) -> list[Array]:
        return [a.clone().requires_grad_() for a in self.move(arrays)]

    def _gradients(self, leaves: list[Array], g: np.ndarray, *, create_graph: bool) -> list[Any]:
        import torch

        y = self.call(*leaves)
        if not y.requires_grad:
            return [torch.zeros_like(a) for a in leaves]
        (ct,) = self.move([g])
        found = torch.autograd.grad(y, leaves, ct.to(y.dtype), create_graph=create_graph, allow_unused=True)
        return [torch.zeros_like(a) if f is None else f for f, a in zip(found, leaves, strict=True)]

    def jvp(self, arrays: Arrays, tangents: Arrays) -> Any:
        """By `torch.func.jvp`."""
        import torch

        try:
            return torch.func.jvp(self.call, tuple(self.move(arrays)), tuple(self.move(tangents)))[1]
        except Exception as problem:
            raise NotOffered(_first_line("forward mode", problem)) from problem

    def reverse_over_reverse(self, arrays: Arrays, g: np.ndarray, tangents: Arrays) -> list[Any]:
        """By `torch.autograd.grad` twice; zeros where there is no path."""
        import torch

        try:
            leaves = self._leaves(arrays)
            first = self._gradients(leaves, g, create_graph=True)
            inner = sum((f * t).sum() for f, t in zip(first, self.move(tangents), strict=True))
            if not inner.requires_grad:
                return [torch.zeros_like(a) for a in leaves]
            found = torch.autograd.grad(inner, leaves, allow_unused=True)
        except Exception as problem:
            raise NotOffered(_first_line("second order", problem)) from problem
        return [torch.zeros_like(a) if f is None else f for f, a in zip(found, leaves, strict=True)]

    def forward_over_reverse(self, arrays: Arrays, g: np.ndarray, tangents: Arrays) -> list[Any]:
        """By `torch.func.jvp` of `torch.func.vjp`."""
        import torch

        (ct,) = self.move([g])
        try:
            moved, along = tuple(self.move(arrays)), tuple(self.move(tangents))
            return list(torch.func.jvp(lambda *a: torch.func.vjp(self.call, *a)[1](ct), moved, along)[1])
        except Exception as problem:
            raise NotOffered(_first_line("forward over reverse", problem)) from problem

    def vmap(self, stacked: Arrays) -> Any:
        """By `torch.func.vmap`."""
        import torch

        try:
            return torch.func.vmap(self.call)(*self.move(stacked))
        except Exception as problem:
            raise NotOffered(_first_line("vmap", problem)) from problem


KINDS: dict[str, type[Candidate]] = {"jax": ByJAX, "torch": ByTorch}


def as_candidate(
    given: Any, *, framework: str | None, dtype: str, keywords: dict[str, Any], as_listed: bool
) -> Candidate:
    """Wrap what the user wrote.

    Raises
    ------
    TypeError
        If it cannot be called.
    ValueError, ImportError
        If there is no such framework, or it is not installed.
    """
    if not isinstance(given, Rules) and not callable(given):
        msg = f"`candidate` must be a function, a module or triconv.Rules, got {type(given).__name__}"
        raise TypeError(msg)
    name = framework or framework_of(given)
    if name not in BACKENDS:
        msg = f"`framework` must be one of {', '.join(map(repr, BACKENDS))}, got {name!r}"
        raise ValueError(msg)
    if not BACKENDS[name].installed():
        msg = f"`framework` must be installed here, got {name!r}; install it with: {BACKENDS[name].install_command()}"
        raise ImportError(msg)
    backend = BACKENDS[name].load()
    if isinstance(given, Rules):
        return ByRules(given, backend, dtype, keywords, as_listed=as_listed)
    return KINDS.get(name, Candidate)(given, backend, dtype, keywords)


def framework_of(given: Any) -> str:
    """The framework that something is written in, by its type or by the modules that its code names; else NumPy."""
    if isinstance(given, Rules):
        return framework_of(given.forward)
    while hasattr(given, "func") and callable(given.func):  # functools.partial
        given = given.func
    for kind in type(given).__mro__:
        top = kind.__module__.partition(".")[0]
        if top in ("jax", "jaxlib", "torch", "flax", "equinox"):
            return "torch" if top == "torch" else "jax"
    function = inspect.unwrap(given)
    function = getattr(function, "__func__", function)
    if not hasattr(function, "__code__"):
        function = getattr(type(given), "forward", type(given).__call__)
    return _named_in(function, set()) or "numpy"


def _named_in(function: Any, seen: set[int]) -> str | None:
    """The framework that a function's code names, or that the functions it names do."""
    code = getattr(function, "__code__", None)
    if code is None or id(code) in seen or len(seen) > 200:
        return None
    seen.add(id(code))
    names = set(code.co_names)
    codes = [c for c in code.co_consts if inspect.iscode(c)]
    while codes:
        inner = codes.pop()
        names |= set(inner.co_names)
        codes += [c for c in inner.co_consts if inspect.iscode(c)]
    scope = getattr(function, "__globals__", {})
    closure = [cell.cell_contents for cell in (function.__closure__ or ()) if _is_full(cell)]
    things = [scope[name] for name in sorted(names) if name in scope] + closure
    for thing in things:
        top = (thing.__name__ if inspect.ismodule(thing) else str(getattr(type(thing), "__module__", ""))).partition(
            "."
        )[0]
        module = str(getattr(thing, "__module__", "") or "").partition(".")[0]
        for found in (top, module):
            if found in ("jax", "jaxlib", "torch"):
                return "torch" if found == "torch" else "jax"
    for name in sorted(names):  # import statements inside of it
        if name in ("jax", "torch") and name in sys.modules:
            return name
    deeper = (_named_in(thing, seen) for thing in things if inspect.isfunction(thing))
    return next((name for name in deeper if name), None)


def _is_full(cell: Any) -> bool:
    try:
        cell.cell_contents  # noqa: B018
    except ValueError:
        return False
    return True


def _first_line(what: str, problem: Exception) -> str:
    line = str(problem).strip().splitlines()[0] if str(problem).strip() else ""
    return f"no {what}: {type(problem).__name__}: {line[:160]}"


def as_numpy(result: Any) -> np.ndarray | None:
    """A result as a NumPy array; None if it is no array."""
    if result is None or isinstance(result, (list, tuple, str, dict, bool, int, float, complex)):
        return None
    try:
        found = to_numpy(result)
    except Exception:  # noqa: BLE001
        return None
    return found if found.dtype.kind in "iufc" or found.dtype.name == "bfloat16" else None
