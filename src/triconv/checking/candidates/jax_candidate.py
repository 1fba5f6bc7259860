"""A candidate that is a function of JAX, and what JAX's transforms make of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from triconv.checking.candidates.candidate import Array, Arrays, CandidateFunction
from triconv.checking.candidates.collectives import traffic
from triconv.checking.findings.findings import Collective
from triconv.checking.findings.unanswered import Ability


class JaxCandidate(CandidateFunction):
    """A function of JAX: plain, `custom_vjp`, `custom_jvp`, jitted, a kernel."""

    transforms = (Ability.JIT, "vmap")
    differentiates = True
    shardings: tuple[Any, ...] = ()
    """Sharding and number of axes of each array, if they are sharded."""

    def move(self, arrays: Arrays) -> list[Array]:
        """Copy the arrays, and put the operator's own on their devices."""
        import jax

        moved = super().move(arrays)
        if not self.shardings or len(moved) != len(self.shardings) or moved[0].ndim != self.shardings[0][1]:
            return moved
        return [jax.device_put(a, sharding) for a, (sharding, _) in zip(moved, self.shardings, strict=True)]

    def sent(self, arrays: Arrays, g: np.ndarray) -> list[tuple[Collective, ...]]:
        """Return the collectives of the compiled value, and of each compiled VJP."""
        import jax

        moved, (ct,) = self.move(arrays), self.move([g])

        def vjp(n: int) -> Callable[..., Any]:
            return lambda g, *a: jax.vjp(lambda b: self.call(*a[:n], b, *a[n + 1 :]), a[n])[1](g)

        functions = [lambda _, *a: self.call(*a), *map(vjp, range(len(moved)))]
        return [tuple(traffic(jax.jit(f).lower(ct, *moved).compile()).values()) for f in functions]

    def vjp(self, arrays: Arrays, g: np.ndarray, n: int) -> Any:
        """By `jax.vjp`."""
        return self._value_and_vjps(arrays, g)[1][n]

    def vjps(self, arrays: Arrays, g: np.ndarray) -> list[Any]:
        """All at once."""
        return list(self._value_and_vjps(arrays, g)[1])

    def vjps_of(self, arrays: Arrays, g: np.ndarray, wanted: Sequence[bool]) -> list[Any]:
        """By `jax.vjp` of a function of these arrays alone, not compiled."""
        found = iter(self._eager_pullback(self.move(arrays), wanted)(g))
        return [next(found) if w else None for w in wanted]

    def pullback(self, arrays: Arrays) -> Callable[[np.ndarray], list[Any]]:
        """By `jax.vjp`, not compiled."""
        return self._eager_pullback(self.move(arrays), [True] * len(arrays))

    def _eager_pullback(self, moved: list[Array], wanted: Sequence[bool]) -> Callable[[np.ndarray], list[Any]]:
        import jax

        def of_wanted(*some: Array) -> Any:
            given = iter(some)
            return self.call(*(next(given) if w else a for a, w in zip(moved, wanted, strict=True)))

        some = [a for a, w in zip(moved, wanted, strict=True) if w]
        y, back = self._if_supported(Ability.DERIVATIVE, lambda: jax.vjp(of_wanted, *some))
        return lambda g: list(self._if_supported(Ability.DERIVATIVE, lambda: back(self.move([g])[0].astype(y.dtype))))

    def jvp_of(self, arrays: Arrays, tangents: Arrays, n: int) -> Any:
        """By `jax.jvp` of a function of one array, not compiled."""
        import jax

        moved, (along,) = self.move(arrays), self.move([tangents[n]])

        def run() -> Any:
            return jax.jvp(lambda a: self.call(*moved[:n], a, *moved[n + 1 :]), (moved[n],), (along,))[1]

        return self._if_supported(Ability.FORWARD_MODE, run)

    def vmap_along(self, arrays: Arrays, in_axes: Sequence[int | None]) -> Any:
        """By `jax.vmap`, not compiled."""
        import jax

        def run() -> Any:
            return jax.vmap(self.call, in_axes=tuple(in_axes))(*self.move(arrays))

        return self._if_supported(Ability.VMAP, run)

    def vmapped_vjps(self, arrays: Arrays, g: np.ndarray, in_axes: Sequence[int | None]) -> list[Any]:
        """By `jax.vmap` of `jax.vjp`."""
        import jax

        run = jax.jit(jax.vmap(lambda g, *a: self._pulled_back(a, g)[1], in_axes=(0, *in_axes)))
        return list(self._if_supported(Ability.VMAP, run, self.move([g])[0], *self.move(arrays)))

    def has_batching_rules(self, arrays: Arrays, g: np.ndarray | None = None) -> bool:
        """Whether there are primitives that are not JAX's own in the value, or in the cotangents of a cotangent."""
        import jax

        from triconv.autodiff.jax_primitives import is_of_jax

        def are_others(program: Any) -> Iterator[bool]:
            for equation in program.eqns:
                yield not is_of_jax(equation.primitive)
                for value in jax.tree.leaves(list(equation.params.values())):
                    inner = getattr(value, "jaxpr", value)
                    if hasattr(inner, "eqns"):
                        yield from are_others(inner)

        try:
            moved = self.move(arrays)
            if g is None:
                return any(are_others(jax.make_jaxpr(self.call)(*moved).jaxpr))
            return any(are_others(jax.make_jaxpr(self._pulled_back)(moved, self.move([g])[0]).jaxpr))
        except Exception:  # noqa: BLE001 (it may not be traceable)
            return False

    def value_and_vjps(self, arrays: Arrays, g: np.ndarray) -> list[Any]:
        """By `jax.vjp`."""
        y, gradients = self._value_and_vjps(arrays, g)
        return [y, *gradients]

    def value_with_vjp(self, arrays: Arrays, g: np.ndarray) -> Any:
        """By `jax.vjp`."""
        return self._value_and_vjps(arrays, g)[0]

    def _value_and_vjps(self, arrays: Arrays, g: np.ndarray) -> Any:
        return self._compiled(Ability.DERIVATIVE, self._pulled_back, self.move(arrays), self.move([g])[0])

    def _pulled_back(self, arrays: Any, g: Any) -> Any:
        import jax

        y, pullback = jax.vjp(self.call, *arrays)
        return y, pullback(g.astype(y.dtype))

    def jvp(self, arrays: Arrays, tangents: Arrays) -> Any:
        """By `jax.jvp`."""
        return self._value_and_jvp(arrays, tangents)[1]

    def value_and_jvp(self, arrays: Arrays, tangents: Arrays) -> list[Any]:
        """By `jax.jvp`."""
        return list(self._value_and_jvp(arrays, tangents))

    def value_with_jvp(self, arrays: Arrays, tangents: Arrays) -> Any:
        """By `jax.jvp`."""
        return self._value_and_jvp(arrays, tangents)[0]

    def _value_and_jvp(self, arrays: Arrays, tangents: Arrays) -> Any:
        import jax

        def run(a: Any, t: Any) -> Any:
            return jax.jvp(self.call, tuple(a), tuple(t))

        return self._compiled(Ability.FORWARD_MODE, run, self.move(arrays), self.move(tangents))

    def reverse_over_reverse(self, arrays: Arrays, g: np.ndarray, tangents: Arrays) -> list[Any]:
        """By `jax.vjp` of `jax.vjp`."""
        import jax

        def run(a: Any, g: Any, t: Any) -> Any:
            return jax.vjp(lambda g, *a: self._pulled_back(a, g)[1], g, *a)[1](tuple(t))

        by_g, *by_arrays = self._compiled(
            Ability.SECOND_ORDER, run, self.move(arrays), self.move([g])[0], self.move(tangents)
        )
        return [*by_arrays, by_g]

    def forward_over_reverse(self, arrays: Arrays, g: np.ndarray, tangents: Arrays) -> list[Any]:
        """By `jax.jvp` of `jax.vjp`."""
        import jax

        def run(a: Any, g: Any, t: Any) -> Any:
            return jax.jvp(lambda *a: self._pulled_back(a, g)[1], tuple(a), tuple(t))[1]

        moved, (ct,), along = self.move(arrays), self.move([g]), self.move(tangents)
        return list(self._compiled(Ability.FORWARD_OVER_REVERSE, run, moved, ct, along))

    def vmap(self, stacked: Arrays) -> Any:
        """By `jax.vmap`."""
        import jax

        return self._compiled(Ability.VMAP, lambda a: jax.vmap(self.call)(*a), self.move(stacked))

    def jit(self, arrays: Arrays) -> Any:
        """By `jax.jit`."""
        import jax

        return self._if_supported(Ability.JIT, lambda: jax.jit(self.call)(*self.move(arrays)))

    def _compiled(self, ability: Ability, run: Callable[..., Any], *args: Any) -> Any:
        """Compiled, which is quicker for many small steps; as it is where it cannot be compiled."""
        import jax

        if ability not in self._programs:
            self._programs[ability] = jax.jit(run)
        try:
            return self._programs[ability](*args)
        except Exception:  # noqa: BLE001 (the candidate may not be traceable)
            return self._if_supported(ability, run, *args)
