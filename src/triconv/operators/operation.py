"""A resolved call of an operator: the contraction, and the steps from the user's arrays to canonical ones and back.

Every operator resolves to a `Call`, which consists of integers and strings only. `Call.__call__` runs it forward. Each step is
linear in each array, so the rule table suffices to run it backward (`Call.pullback`: the adjoints of the steps in reverse) and
along a tangent (`Call.pushforward`), on any library.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from array_api_compat import array_namespace

from triconv import rules
from triconv.autodiff import binding
from triconv.autodiff.conjugation import pullback_operands
from triconv.backends import backend_of
from triconv.geometry import Geometry, Pads
from triconv.operators.layout import Layout

Array = Any


@dataclass(frozen=True, slots=True)
class Call:
    """A resolved call of an operator: hashable, static under a compiler.

    Parameters
    ----------
    contraction : {"conv", "conv_input_vjp", "conv_weight_vjp"}
        Which contraction it computes.
    roles : tuple of str
        The role of each of the operator's arrays, in its positional order: "x", "w", "g" or "bias".
    geometry : Geometry
        The geometry.
    layout : Layout
        The layout.
    mode : str
        The padding mode; unless "zeros", x is padded by `pads` first.
    pads : tuple of (lo, hi)
        The padding of x, one pair per spatial axis.
    algorithm, precision : str
        See `triconv.conv`.
    dtype : dtype, optional
        Dtype of the result, by default the promoted one of the arrays.
    steps : bool
        Whether to run step by step although the library has a compiler.
    """

    contraction: str
    roles: tuple[str, ...]
    geometry: Geometry
    layout: Layout
    mode: str = "zeros"
    pads: Pads = ()
    algorithm: str = "auto"
    precision: str = "highest"
    dtype: Any = None
    steps: bool = False

    @property
    def operands(self) -> tuple[str, str]:
        """Roles of the operands of the contraction."""
        return rules.ROLES[self.contraction].operands

    @property
    def result(self) -> str:
        """Role of the result of the contraction."""
        return rules.ROLES[self.contraction].result

    @property
    def params(self) -> dict[str, Any]:
        """The parameters of the contraction."""
        return {
            "geometry": self.geometry,
            "algorithm": self.algorithm,
            "precision": self.precision,
            "orders": self.layout.orders,
        }

    def __call__(self, *arrays: Array) -> Array:
        """Run forward."""
        return self._compiled(Call.run, arrays)(self, *arrays)

    def pullback(self, arrays: tuple[Array, ...], g: Array) -> tuple[Array, ...]:
        """Cotangents of `arrays`, in their dtypes, for a cotangent `g` of the result."""
        return self._compiled(Call.run_pullback, arrays, like=arrays)(self, arrays, g)

    def pushforward(self, arrays: tuple[Array, ...], tangents: tuple[Array, ...]) -> Array:
        """Tangent of the result: each array's tangent in its place, one at a time, summed."""
        return self._compiled(Call.run_pushforward, arrays)(self, arrays, tangents)

    def run(self, *arrays: Array, contractions: Any = None) -> Array:
        """`__call__`, step by step, with the contractions of the library or with other `contractions`."""
        xp = array_namespace(*arrays)
        lib = backend_of(xp)
        dtype, final = self.dtypes(arrays, lib)
        entering = lib.entering(arrays, channels_first=self.layout.is_channels_first)
        by_role = dict(zip(self.roles, entering, strict=True))
        f, wide = contractions or binding(lib.name), lib.accumulator(final)
        has_bias = "bias" in by_role
        result = self._contract(self._operands(by_role, dtype, f, xp), f, wide if has_bias else final, final, xp)
        if has_bias:
            result = result + self._bias(by_role["bias"], wide, xp)
        return self._contiguous(xp.astype(result, final, copy=False), arrays, lib)

    def run_pullback(
        self, arrays: tuple[Array, ...], g: Array, needed: Sequence[bool] | None = None
    ) -> tuple[Array | None, ...]:
        """`pullback`, step by step; of the arrays that are not `needed`, None."""
        xp = array_namespace(*arrays, g)
        lib = backend_of(xp)
        dtype, final = self.dtypes(arrays, lib)
        entering = lib.entering(arrays, channels_first=self.layout.is_channels_first)
        by_role = dict(zip(self.roles, entering, strict=True))
        asked = set(by_role) if needed is None else set(itertools.compress(by_role, needed))
        f, wide = binding(lib.name), lib.accumulator(dtype)
        ct = self.layout.to_canonical(self.result, xp.astype(g, final, copy=False), self.geometry.groups, xp)
        operands = pullback_operands(self._operands(by_role, dtype, f, xp), xp)
        cotangents = {}
        for role, rule in zip(self.operands, rules.VJP[self.contraction], strict=True):
            if role not in asked:
                continue
            is_padded = role == "x" and self.mode != "zeros"
            is_rounded = not is_padded and by_role[role].dtype == dtype
            cotangent = rule(f, ct, *operands, **self.params, dtype=dtype if is_rounded else wide, final=dtype)
            if is_padded:
                cotangent = f.pad_adjoint(cotangent, mode=self.mode, pads=self.pads)
            cotangents[role] = self.layout.from_canonical(role, cotangent, xp)
        if "bias" in asked:
            cotangents["bias"] = self.bias_cotangent(xp.astype(g, wide), by_role["bias"], xp)
        cast = {role: _cast(cotangents[role], by_role[role].dtype, xp) for role in asked}
        return tuple(self._contiguous(cast[role], arrays, lib) if role in cast else None for role in by_role)

    def run_pushforward(self, arrays: tuple[Array, ...], tangents: tuple[Array, ...]) -> Array:
        """`pushforward`, step by step."""
        xp = array_namespace(*arrays, *tangents)
        lib = backend_of(xp)
        dtype, final = self.dtypes(arrays, lib)
        by_role, tangents_by_role = (dict(zip(self.roles, listed, strict=True)) for listed in (arrays, tangents))
        f, wide = binding(lib.name), lib.accumulator(final)
        (a, b), (da, db) = (self._operands(listed, dtype, f, xp) for listed in (by_role, tangents_by_role))
        result = self._contract((da, b), f, wide, final, xp) + self._contract((a, db), f, wide, final, xp)
        if "bias" in tangents_by_role:
            result = result + self._bias(tangents_by_role["bias"], wide, xp)
        return self._contiguous(xp.astype(result, final, copy=False), arrays, lib)

    def _compiled(
        self, function: Callable[..., Any], arrays: tuple[Array, ...], like: tuple[Array, ...] = ()
    ) -> Callable[..., Any]:
        """`function` of a call and arrays, compiled if the library of the arrays has a compiler.

        On a mesh with explicit axes each result is sharded as its array in `like`, or else as `explicit_mesh` says.
        """
        if self.steps:
            return function
        lib = backend_of(array_namespace(*arrays))
        compiled = lib.compile(function)
        if not lib.has_explicit_axes(arrays):
            return compiled
        from triconv.operators import explicit_mesh

        return explicit_mesh.keeping(compiled, like)

    def dtypes(self, arrays: tuple[Array, ...], lib: Any) -> tuple[Any, Any]:
        """The dtype of the operands, promoted, and that of the result."""
        dtype = lib.result_type(*arrays)
        return dtype, dtype if self.dtype is None else self.dtype

    def bias_shape(self, bias: Array) -> tuple[int, ...]:
        """The shape in which a bias is added to the result: along its channels, if it has an axis of them."""
        letters = self.layout.letters(self.result)
        return tuple(bias.shape[0] if letter == "C" and bias.ndim else 1 for letter in letters)

    def _operands(self, by_role: dict[str, Array], dtype: Any, f: Any, xp: Any) -> tuple[Array, Array]:
        first, second = (self._canonical(role, by_role[role], dtype, f, xp) for role in self.operands)
        return first, second

    def _canonical(self, role: str, a: Array, dtype: Any, f: Any, xp: Any) -> Array:
        a = self.layout.to_canonical(role, xp.astype(a, dtype, copy=False), self.geometry.groups, xp)
        if role == "x" and self.mode != "zeros":  # in the dtype of sums, since the adjoint of padding adds
            a = f.pad(xp.astype(a, backend_of(xp).accumulator(dtype), copy=False), mode=self.mode, pads=self.pads)
        return a

    def _contract(self, operands: tuple[Array, Array], f: Any, wide: Any, final: Any, xp: Any) -> Array:
        """Contract; the result stays in the dtype of its sums, so that it is rounded once, at the end, to `final`."""
        result = getattr(f, self.contraction)(*operands, **self.params, dtype=wide, final=final)
        return self.layout.from_canonical(self.result, result, xp)

    def _contiguous(self, result: Array, arrays: tuple[Array, ...], lib: Any) -> Array:
        """The result with the memory order that the library's users expect."""
        return lib.contiguous(result, arrays[:2], channels_first=self.layout.is_channels_first)

    def _bias(self, bias: Array, wide: Any, xp: Any) -> Array:
        return xp.reshape(xp.astype(bias, wide, copy=False), self.bias_shape(bias))

    def bias_cotangent(self, g: Array, bias: Array, xp: Any) -> Array:
        """The adjoint of adding it: the sum of `g` over all axes but the channels."""
        letters = self.layout.letters(self.result)
        others = tuple(axis for axis, letter in enumerate(letters) if letter != "C")
        total = xp.sum(g, axis=others, dtype=g.dtype) if others else g
        return total if total.ndim == bias.ndim else xp.reshape(total, bias.shape)


def _cast(a: Array, dtype: Any, xp: Any) -> Array:
    """A cotangent in the dtype of its primal: the adjoint of the promotion, so a real primal gets the real part."""
    kind = backend_of(xp).element
    if kind(a.dtype)[1] == "complex" and kind(dtype)[1] != "complex":
        a = xp.real(a)
    return xp.astype(a, dtype, copy=False)
