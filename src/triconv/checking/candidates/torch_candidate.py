"""A candidate that is a function of torch, and what autograd and `torch.func` make of it."""

from __future__ import annotations

import contextlib
import functools
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from triconv.checking.candidates.as_if_compiled import compiling
from triconv.checking.candidates.candidate import Array, Arrays, CandidateFunction
from triconv.checking.candidates.framework_detection import goes_through_numpy
from triconv.checking.candidates.unsupported import Unsupported
from triconv.checking.findings.memory_findings import Situation
from triconv.checking.findings.unanswered import Ability, NotSupported, Reason

_FORWARD_MODE = threading.RLock()
"""Held while torch differentiates in forward mode: its levels are those of the process, not of a thread."""
WITH_BACKWARD_ALONE = "torch.utils.checkpoint is incompatible with .grad()"
"""What torch says of reentrant checkpoints, which have gradients by `backward` alone."""


class TorchCandidate(CandidateFunction):
    """A function of torch, a module, or what an autograd function does."""

    transforms = ("vmap",)
    differentiates = True
    _creates_graph = False

    def situations(self) -> dict[Situation, Callable[[], contextlib.AbstractContextManager[Any]]]:
        """Where nothing is differentiated, torch tracks less; compiled code may take another branch."""
        import torch

        compiled = functools.partial(compiling, self.functions)
        return {
            Situation.INFERENCE: torch.inference_mode,
            Situation.COMPILED: compiled,
            **super().situations(),
            Situation.CREATE_GRAPH: self._creating_graph,
        }

    @contextlib.contextmanager
    def _creating_graph(self) -> Iterator[None]:
        """Within it, cotangents may be differentiated again."""
        self._creates_graph = True
        try:
            yield
        finally:
            self._creates_graph = False

    def value(self, arrays: Arrays) -> Any:
        """Without a graph."""
        import torch

        with torch.no_grad():
            return self.call(*self.move(arrays))

    def vjp(self, arrays: Arrays, g: np.ndarray, n: int) -> Any:
        """By `torch.autograd.grad`; zeros where there is no path."""
        return self._value_and_vjps(arrays, g)[1][n]

    def vjps(self, arrays: Arrays, g: np.ndarray) -> list[Any]:
        """All at once."""
        return list(self._value_and_vjps(arrays, g)[1])

    def value_and_vjps(self, arrays: Arrays, g: np.ndarray) -> list[Any]:
        """With a graph."""
        y, gradients = self._value_and_vjps(arrays, g)
        return [y, *gradients]

    def value_with_vjp(self, arrays: Arrays, g: np.ndarray) -> Any:
        """With a graph."""
        return self._value_and_vjps(arrays, g)[0]

    def _value_and_vjps(self, arrays: Arrays, g: np.ndarray) -> tuple[Any, list[Any]]:
        def run() -> Any:
            return self._pulled_back(self._leaves(arrays), self.move([g])[0], create_graph=self._creates_graph)

        return self._if_supported(Ability.DERIVATIVE, run)

    def vjps_of(self, arrays: Arrays, g: np.ndarray, wanted: Sequence[bool]) -> list[Any]:
        """By `torch.autograd.grad`; the others do not require a gradient."""

        def run() -> list[Any]:
            pullback = self._pullback([a.requires_grad_(w) for a, w in zip(self.move(arrays), wanted, strict=True)])
            return pullback(self.move([g])[0], retain_graph=False)

        return list(self._if_supported(Ability.DERIVATIVE, run))

    def written_gradients(self, arrays: Arrays, g: np.ndarray) -> list[tuple[bool, bool, bool]]:
        """By `torch.autograd.grad` of the leaves themselves, which leaves their `grad` alone."""
        leaves = self._leaves(arrays)
        earlier = [leaf.detach().clone() for leaf in leaves]
        for leaf, grad in zip(leaves, earlier, strict=True):
            leaf.grad = grad.clone()
        returned = self._pullback(leaves)(self.move([g])[0], retain_graph=False)
        return [
            (leaf.grad is None or bool((leaf.grad != grad).any()), bool(a.any()), leaf.grad is None)
            for leaf, grad, a in zip(leaves, earlier, returned, strict=True)
        ]

    def trained(self, arrays: Arrays, g: np.ndarray) -> list[Any]:
        """By `backward`, of leaves: hooks that run after the sum in `grad` are called by nothing else."""
        ct, moved = self.move([g])[0], self.move(arrays)
        if self.training is not None:
            return self.training(moved, ct)
        leaves = [a.requires_grad_() for a in moved]
        y = self._tensor(*leaves)
        y.backward(ct.to(y.dtype))
        return [leaf.grad for leaf in leaves]

    def pullback(self, arrays: Arrays) -> Callable[[np.ndarray], list[Any]]:
        """By `torch.autograd.grad` of a graph that is kept."""
        pullback = self._if_supported(Ability.DERIVATIVE, lambda: self._pullback(self._leaves(arrays)))
        return lambda g: list(self._if_supported(Ability.DERIVATIVE, pullback, self.move([g])[0]))

    def _pullback(self, leaves: list[Array]) -> Callable[..., list[Any]]:
        """Run the forward on the leaves themselves."""
        import torch

        y = self._tensor(*leaves)
        by = [a for a in leaves if a.requires_grad]

        def pull_back(g: Array, *, retain_graph: bool = True) -> list[Any]:
            if not y.requires_grad:
                return [torch.zeros_like(a) if a.requires_grad else None for a in leaves]
            found = iter(torch.autograd.grad(y, by, g.to(y.dtype), retain_graph=retain_graph, allow_unused=True))
            gradients = [next(found) if a.requires_grad else None for a in leaves]
            return [
                torch.zeros_like(a) if f is None and a.requires_grad else f
                for f, a in zip(gradients, leaves, strict=True)
            ]

        return pull_back

    def _leaves(self, arrays: Arrays) -> list[Array]:
        return [a.requires_grad_() for a in self.move(arrays)]

    def _tensor(self, *arrays: Array) -> Array:
        """The result, which must be a tensor to have derivatives."""
        import torch

        y = self.call(*arrays)
        if not isinstance(y, torch.Tensor):
            raise Unsupported(NotSupported(Reason.NO_TENSOR, Ability.DERIVATIVE, type(y).__module__))
        return y

    def _pulled_back(self, leaves: list[Array], g: Array, *, create_graph: bool) -> tuple[Array, list[Any]]:
        import torch

        copies = [a.clone() for a in leaves]  # no leaves, for it may write into them
        if self.watch is not None:
            copies = [self.watch.same_as(a, copy) for a, copy in zip(leaves, copies, strict=True)]
        y = self._tensor(*copies)
        if not y.requires_grad:
            self._refuse_numpy(Ability.DERIVATIVE)
            return y, [torch.zeros_like(a) for a in leaves]
        try:
            gradients = torch.autograd.grad(y, leaves, g.to(y.dtype), create_graph=create_graph, allow_unused=True)
        except RuntimeError as problem:
            if create_graph or WITH_BACKWARD_ALONE not in str(problem):
                raise
            y = self._tensor(*(a.clone() for a in leaves))
            y.backward(g.to(y.dtype))
            gradients = tuple(a.grad for a in leaves)
        return y.detach(), [torch.zeros_like(a) if f is None else f for f, a in zip(gradients, leaves, strict=True)]

    def _refuse_numpy(self, ability: Ability) -> None:
        """Where nothing has a graph: a candidate that computes in NumPy has no derivative; another has detached it."""
        if goes_through_numpy(self.function):
            raise Unsupported(NotSupported(Reason.LEAVES_TORCH, ability))

    def jvp(self, arrays: Arrays, tangents: Arrays) -> Any:
        """By `torch.func.jvp`."""
        return self._value_and_jvp(arrays, tangents)[1]

    def jvp_of(self, arrays: Arrays, tangents: Arrays, n: int) -> Any:
        """By `torch.func.jvp` of a function of one array."""
        import torch

        moved, (along,) = self.move(arrays), self.move([tangents[n]])

        def run() -> Any:
            with _FORWARD_MODE:
                return torch.func.jvp(lambda a: self._tensor(*moved[:n], a, *moved[n + 1 :]), (moved[n],), (along,))[1]

        return self._if_supported(Ability.FORWARD_MODE, run)

    def vmap_along(self, arrays: Arrays, in_axes: Sequence[int | None]) -> Any:
        """By `torch.func.vmap`."""
        import torch

        def run() -> Any:
            return torch.func.vmap(self._tensor, in_dims=tuple(in_axes))(*self.move(arrays))

        return self._if_supported(Ability.VMAP, run)

    def vmapped_vjps(self, arrays: Arrays, g: np.ndarray, in_axes: Sequence[int | None]) -> list[Any]:
        """By `torch.func.vmap` of `torch.func.vjp`."""
        import torch

        def pulled_back(g: Array, *a: Array) -> Any:
            y, pullback = torch.func.vjp(self._tensor, *a)
            return pullback(g.to(y.dtype))

        run = torch.func.vmap(pulled_back, in_dims=(0, *in_axes))
        return list(self._if_supported(Ability.VMAP, run, self.move([g])[0], *self.move(arrays)))

    def value_and_jvp(self, arrays: Arrays, tangents: Arrays) -> list[Any]:
        """By `torch.func.jvp`."""
        return list(self._value_and_jvp(arrays, tangents))

    def value_with_jvp(self, arrays: Arrays, tangents: Arrays) -> Any:
        """By `torch.func.jvp`."""
        return self._value_and_jvp(arrays, tangents)[0]

    def _value_and_jvp(self, arrays: Arrays, tangents: Arrays) -> tuple[Any, Any]:
        import torch

        def run() -> Any:
            with _FORWARD_MODE:
                y, tangent = torch.func.jvp(self._tensor, tuple(self.move(arrays)), tuple(self.move(tangents)))
            if not torch.any(tangent):
                self._refuse_numpy(Ability.FORWARD_MODE)
                if names := self._custom_operators(arrays):
                    raise Unsupported(NotSupported(Reason.CUSTOM_OPERATOR, Ability.FORWARD_MODE, names[0]))
            return y, tangent

        return self._if_supported(Ability.FORWARD_MODE, run)

    def wrong_fakes(self, arrays: Arrays) -> dict[str, str]:
        """By `torch.library.opcheck`: what it says of each operator whose fake implementation gives other metadata."""
        import torch

        wrong: dict[str, str] = {}
        for operator, args, kwargs in self._custom_calls(arrays):
            said = torch.library.opcheck(
                operator, args, kwargs, test_utils="test_faketensor", raise_exception=False
            ).values()
            for problem in said:
                if "mismatch" in str(problem).lower():  # another one may say that there is no fake implementation
                    wrong[operator.name()] = str(problem)
        return wrong

    def _custom_operators(self, arrays: Arrays) -> list[str]:
        """Names of the operators that are not torch's own, in the order of the calls."""
        return [operator.name() for operator, _, _ in self._custom_calls(arrays)]

    def _custom_calls(self, arrays: Arrays) -> list[tuple[Any, tuple[Any, ...], dict[str, Any]]]:
        """The calls of operators that are not torch's own, in their order."""
        import torch

        from triconv.backends.torch_internals import TorchDispatchMode

        seen: list[tuple[Any, tuple[Any, ...], dict[str, Any]]] = []

        class Listener(TorchDispatchMode):
            def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
                if func.namespace not in ("aten", "prims", "prim", "profiler"):
                    seen.append((func, args, kwargs or {}))
                return func(*args, **(kwargs or {}))

        with torch.no_grad(), Listener():
            self.call(*self.move(arrays))
        return seen

    def reverse_over_reverse(self, arrays: Arrays, g: np.ndarray, tangents: Arrays) -> list[Any]:
        """By `torch.autograd.grad` twice; zeros where there is no path."""
        import torch

        def run() -> Any:
            leaves, ct = self._leaves(arrays), self.move([g])[0].requires_grad_()
            first = self._pulled_back(leaves, ct, create_graph=True)[1]
            inner = sum((f * t).sum() for f, t in zip(first, self.move(tangents), strict=True))
            every = [*leaves, ct]
            if not inner.requires_grad:
                self._refuse_numpy(Ability.SECOND_ORDER)
                return [torch.zeros_like(a) for a in every]
            if _is_once_only(inner.grad_fn):
                raise Unsupported(NotSupported(Reason.ONCE_DIFFERENTIABLE, Ability.SECOND_ORDER))
            gradients = torch.autograd.grad(inner, every, allow_unused=True)
            return [torch.zeros_like(a) if f is None else f for f, a in zip(gradients, every, strict=True)]

        return list(self._if_supported(Ability.SECOND_ORDER, run))

    def forward_over_reverse(self, arrays: Arrays, g: np.ndarray, tangents: Arrays) -> list[Any]:
        """By `torch.func.jvp` of `torch.func.vjp`."""
        import torch

        (ct,) = self.move([g])

        def pulled_back(*a: Array) -> Any:
            y, pullback = torch.func.vjp(lambda *b: self._tensor(*(c.clone() for c in b)), *a)  # it may write into them
            return pullback(ct.to(y.dtype))

        def run() -> Any:
            with _FORWARD_MODE:
                return torch.func.jvp(pulled_back, tuple(self.move(arrays)), tuple(self.move(tangents)))[1]

        return list(self._if_supported(Ability.FORWARD_OVER_REVERSE, run))

    def vmap(self, stacked: Arrays) -> Any:
        """By `torch.func.vmap`."""
        import torch

        return self._if_supported(Ability.VMAP, lambda: torch.func.vmap(self._tensor)(*self.move(stacked)))


def _is_once_only(node: Any) -> bool:
    """Whether a graph holds the node that stands for "not twice", which says so only where a gradient is wanted through it."""
    seen, left = set(), [node]
    while left:
        node = left.pop()
        if node is None or node in seen:
            continue
        if type(node).__name__ == "Error":
            return True
        seen.add(node)
        left += [before for before, _ in node.next_functions]
    return False
