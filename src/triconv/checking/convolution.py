"""The question that a check asks: an operator, shapes and parameters, and every right answer by loops over the definition.

All three contractions are the derivatives of one number, ``T = sum of x * w * g`` over the meetings, by the tensor that
they do not take. So one function, `Facts.derivative`, gives every value, VJP, JVP and second derivative, and the answers of
every mistake that can be said as "the operands were changed first": a mistake is another `Facts`.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from triconv.checking import loops
from triconv.checking.loops import Numbers
from triconv.operators.layout import HEAD
from triconv.operators.operation import Call
from triconv.rules import ROLES

Array = Any
Change = tuple[Callable[[np.ndarray], np.ndarray], Callable[[np.ndarray], np.ndarray]]
"""A linear change of a tensor, and its adjoint."""

PAD_MODES = {"reflect": "reflect", "replicate": "edge", "circular": "wrap"}


@dataclass(frozen=True)
class Facts:
    """Plain numbers of a convolution, in torch's order, and changes of its tensors.

    Parameters
    ----------
    axes : tuple of Numbers
        One a spatial axis.
    groups : int
        Number of groups.
    mode, pads : str, tuple of (lo, hi)
        How x is padded first; "zeros" for not.
    changes : dict of str to Change
        What happens to x, w or g before anything else; to a result, the adjoint happens.
    """

    axes: tuple[Numbers, ...]
    groups: int = 1
    mode: str = "zeros"
    pads: tuple[tuple[int, int], ...] = ()
    changes: dict[str, Change] = field(default_factory=dict)

    def derivative(self, role: str, given: dict[str, np.ndarray]) -> np.ndarray:
        """Derivative of ``T`` by the tensor `role`, for the two others."""
        same: Change = (lambda a: a, lambda a: a)
        given = {other: self.changes.get(other, same)[0](a) for other, a in given.items()}
        if "x" in given:
            given["x"] = self.pad(given["x"])
        result = loops.contract(self.axes, self.groups, **given)
        if role == "x":
            result = self.pad_adjoint(result)
        return self.changes.get(role, same)[1](result)

    def with_change(self, role: str, forth: Any, back: Any = None) -> Facts:
        """The facts with a change of one tensor; its own adjoint unless `back` is given."""
        return replace(self, changes={**self.changes, role: (forth, back or forth)})

    def pad(self, x: np.ndarray) -> np.ndarray:
        """Extend x by its borders, by `numpy.pad`."""
        if self.mode == "zeros":
            return x
        return np.pad(x, ((0, 0), (0, 0), *self.pads), mode=PAD_MODES[self.mode])  # type: ignore[call-overload]

    def pad_adjoint(self, gx: np.ndarray) -> np.ndarray:
        """Adjoint of `pad`: every element is sent back to the index that it was copied from."""
        if self.mode == "zeros":
            return gx
        for axis, (lo, hi) in enumerate(self.pads, 2):
            source = np.pad(np.arange(gx.shape[axis] - lo - hi), (lo, hi), mode=PAD_MODES[self.mode])  # type: ignore[call-overload]
            shape = (*gx.shape[:axis], gx.shape[axis] - lo - hi, *gx.shape[axis + 1 :])
            folded = np.zeros(shape, gx.dtype)
            np.add.at(folded, (slice(None),) * axis + (source,), gx)
            gx = folded
        return gx


@dataclass(frozen=True)
class Problem:
    """A call of an operator, and its arrays in torch's order.

    Parameters
    ----------
    call : Call
        The call.
    names : tuple of str
        What the operator calls its arrays.
    shapes : tuple of tuple of int
        Their shapes, as the operator takes them.
    facts : Facts
        The numbers.
    conjugates : bool
        Whether cotangents are conjugated, as in torch.
    shared : tuple of Shared
        The axes that are shared out over devices, see `devices.py`.
    """

    call: Call
    names: tuple[str, ...]
    shapes: tuple[tuple[int, ...], ...]
    facts: Facts
    conjugates: bool = False
    shared: tuple[Any, ...] = ()

    @classmethod
    def of(cls, like: Callable[..., Any], shapes: tuple[tuple[int, ...], ...], params: dict[str, Any]) -> Problem:
        """Resolve the call, which raises for what makes no sense."""
        zeros = [np.broadcast_to(np.float32(0), shape) for shape in shapes]
        call, arrays = like.resolve(*zeros, **params)  # type: ignore[attr-defined]
        axes = tuple(
            Numbers(a.input_size, a.kernel_size, a.stride, a.dilation, a.input_dilation, a.pad_lo, a.pad_hi)
            for a in call.geometry.axes
        )
        names = tuple(inspect.signature(like).parameters)[: len(shapes)]
        facts = Facts(axes, call.geometry.groups, call.mode, call.pads)
        return cls(call, names, tuple(tuple(a.shape) for a in arrays), facts)

    @property
    def roles(self) -> tuple[str, ...]:
        """Which tensor each of the operator's arrays is: "x", "w", "g" or "bias"."""
        return self.call.roles

    @property
    def result(self) -> str:
        """Which tensor the result is."""
        return ROLES[self.call.contraction].result

    @property
    def operands(self) -> tuple[str, ...]:
        """Roles of the arrays but the bias, in the operator's order."""
        return tuple(role for role in self.roles if role != "bias")

    def result_shape(self, role: str) -> tuple[int, ...]:
        """Shape of the tensor `role` as the user has it."""
        if role in self.roles:
            return self.shapes[self.roles.index(role)]
        given = {
            r: np.zeros(self.torch_shape(r, s)) for r, s in zip(self.roles, self.shapes, strict=True) if r != "bias"
        }
        return self.to_user(role, np.zeros(self._shape_of_result(given))).shape

    def _shape_of_result(self, given: dict[str, np.ndarray]) -> tuple[int, ...]:
        x, w, g = (given.get(role) for role in "xwg")
        axes = self.facts.axes
        if g is None:
            assert x is not None
            assert w is not None
            return (x.shape[0], w.shape[0], *map(loops.output_size, axes))
        if x is None:
            assert w is not None
            sizes = [a.input_size - sum(p) for a, p in zip(axes, self.facts.pads or ((0, 0),) * len(axes), strict=True)]
            return (g.shape[0], w.shape[1] * self.facts.groups, *sizes)
        return (g.shape[1], x.shape[1] // self.facts.groups, *(a.kernel_size for a in axes))

    def torch_shape(self, role: str, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Shape of a tensor in torch's order."""
        return self.to_torch(role, np.broadcast_to(np.float32(0), shape)).shape

    def to_torch(self, role: str, a: np.ndarray) -> np.ndarray:
        """A tensor in torch's order: batch or outputs, channels, positions; axes of length 1 for letters left out."""
        letters = self.call.layout.letters(role)
        order = HEAD[role] + self.call.layout.spatial
        moved = a.transpose([letters.index(letter) for letter in order if letter in letters])
        return moved[tuple(slice(None) if letter in letters else None for letter in order)]

    def to_user(self, role: str, a: np.ndarray) -> np.ndarray:
        """Undo `to_torch`."""
        letters = self.call.layout.letters(role)
        order = HEAD[role] + self.call.layout.spatial
        kept = a[tuple(slice(None) if letter in letters else 0 for letter in order)]
        present = [letter for letter in order if letter in letters]
        return kept.transpose([present.index(letter) for letter in letters])

    def user(self, role: str, a: np.ndarray) -> np.ndarray:
        """A tensor as the user has it; a bias as it is."""
        return a if role == "bias" else self.to_user(role, a)

    def terms(self, role: str) -> int:
        """Largest number of products in an element of the derivative by `role`."""
        shapes = dict(zip(self.roles, self.shapes, strict=True))
        sizes = {r: self.torch_shape(r, shapes[r] if r in shapes else self.result_shape(r)) for r in "xwg"}
        taps = int(np.prod(sizes["w"][2:]))
        if role == "w":
            return max(1, sizes["g"][0] * int(np.prod(sizes["g"][2:])))
        channels = sizes["w"][1] if role == "g" else sizes["w"][0] // self.facts.groups
        return max(1, taps * channels) + ("bias" in self.roles)


@dataclass(frozen=True)
class Data:
    """Arrays for one run: operands, cotangent and tangents in torch's order, by role ("bias" too)."""

    primals: dict[str, np.ndarray]
    g: np.ndarray
    tangents: dict[str, np.ndarray]

    def map(self, function: Callable[[np.ndarray], np.ndarray]) -> Data:
        """The data with a function of every array."""
        return Data(
            {role: function(a) for role, a in self.primals.items()},
            function(self.g),
            {role: function(a) for role, a in self.tangents.items()},
        )


class Truth:
    """Every right answer for some data, and for some facts, which may be those of a mistake; each computed once."""

    def __init__(self, problem: Problem, data: Data, facts: Facts | None = None) -> None:
        self.problem, self.data = problem, data
        self.facts = facts or problem.facts
        self._known: dict[str, np.ndarray] = {}

    def _once(self, name: str, compute: Callable[[], np.ndarray]) -> np.ndarray:
        if name not in self._known:
            self._known[name] = compute()
        return self._known[name]

    def value(self) -> np.ndarray:
        """The value."""
        return self._once("value", lambda: self._plus_bias(self._linear(self.data.primals), self.data.primals))

    def of_tangents(self) -> np.ndarray:
        """The value at the tangents."""
        return self._once("tangents", lambda: self._plus_bias(self._linear(self.data.tangents), self.data.tangents))

    def _linear(self, primals: dict[str, np.ndarray]) -> np.ndarray:
        return self.facts.derivative(self.problem.result, {role: primals[role] for role in self.problem.operands})

    def _plus_bias(self, y: np.ndarray, primals: dict[str, np.ndarray]) -> np.ndarray:
        if "bias" not in primals:
            return y
        return y + primals["bias"].reshape(-1, *[1] * (y.ndim - 2))

    def without_bias(self, *, of_tangents: bool = False) -> np.ndarray:
        """The value, or that at the tangents, before the bias is added."""
        return self._linear(self.data.tangents if of_tangents else self.data.primals)

    def vjp(self, role: str) -> np.ndarray:
        """The cotangent of one array."""
        if role == "bias":
            return self.data.g.sum(axis=(0, *range(2, self.data.g.ndim)))
        return self._once(f"VJP {role}", lambda: self._by(role, self.data.primals, self.data.g))

    def _by(self, role: str, primals: dict[str, np.ndarray], g: np.ndarray) -> np.ndarray:
        (other,) = (r for r in self.problem.operands if r != role)
        partner = primals[other].conj() if self.problem.conjugates else primals[other]
        return self.facts.derivative(role, {other: partner, self.problem.result: g})

    def jvp(self) -> np.ndarray:
        """The tangent of the value."""
        return self._once("JVP", self._jvp)

    def _jvp(self) -> np.ndarray:
        first, second = self.parts_of_jvp()
        return self._plus_bias(first + second, self.data.tangents)

    def parts_of_jvp(self) -> list[np.ndarray]:
        """The two terms of the tangent: each operand's tangent in its place."""
        primals, tangents = self.data.primals, self.data.tangents
        return [self._linear({**primals, role: tangents[role]}) for role in self.problem.operands]

    def second(self, role: str) -> np.ndarray:
        """The derivative by `role` of the other operand's cotangent, against that operand's tangent as its cotangent."""
        return self._once(f"second {role}", lambda: self._by(role, self.data.tangents, self.data.g))
