"""The problem that a check asks about: an operator, shapes and parameters, and every right answer by the definition.

All three contractions are the derivatives of one number, ``T = sum of x * w * g`` over the meetings, by the tensor that
they do not take. So one function, `ConvolutionModel.derivative`, gives every value, VJP, JVP and second derivative. It also
gives the answers of every mistake of the kind "the operands were changed first": a mistake is another
`ConvolutionModel`.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np

from triconv.checking.findings.protocol import Role
from triconv.checking.oracles import definition
from triconv.checking.oracles.definition import AxisParameters
from triconv.operators.layout import HEAD
from triconv.operators.operation import Call
from triconv.rules import ROLES

Array = Any
Change = tuple[Callable[[np.ndarray], np.ndarray], Callable[[np.ndarray], np.ndarray]]
"""A linear change of a tensor, and its adjoint."""

MOST_KEPT = 1 << 28
"""Bytes of right answers that are kept; what is older is computed again."""
PAD_MODES = {"reflect": "reflect", "replicate": "edge", "circular": "wrap", "symmetric": "symmetric"}
"""Names of numpy.pad; "symmetric", a reflection that repeats the border, is a mistake alone."""


@dataclass(frozen=True)
class ConvolutionModel:
    """A convolution, or a mistaken one: its plain numbers, in torch's order, and changes of its tensors.

    Parameters
    ----------
    axes : tuple of AxisParameters
        One per spatial axis.
    groups : int
        Number of groups.
    mode, pads : str, tuple of (lo, hi)
        How x is padded first; "zeros" if it is not.
    changes : dict of str to Change
        What happens to x, w or g before anything else; to a result, the adjoint happens.
    """

    axes: tuple[AxisParameters, ...]
    groups: int = 1
    mode: str = "zeros"
    pads: tuple[tuple[int, int], ...] = ()
    changes: dict[str, Change] = field(default_factory=dict)

    def derivative(self, role: str, others: dict[str, np.ndarray]) -> np.ndarray:
        """Derivative of ``T`` by the tensor `role`, for the two others."""
        none: Change = (lambda a: a, lambda a: a)
        changed = {other: self.changes.get(other, none)[0](a) for other, a in others.items()}
        if "x" in changed:
            changed["x"] = self.pad(changed["x"])
        result = self.contract(changed)
        if role == "x":
            result = self.pad_adjoint(result)
        return self.changes.get(role, none)[1](result)

    def contract(self, operands: dict[str, np.ndarray]) -> np.ndarray:
        """Derivative of ``T`` by the tensor that is missing, by the definition."""
        return definition.contract(self.axes, self.groups, **operands)

    def with_change(self, role: str, forth: Any, back: Any = None) -> ConvolutionModel:
        """Return the model with a change of one tensor, after those that it has.

        `back` is the adjoint of the change, by default the change itself.
        """
        back = back or forth
        change: Change = (forth, back)
        if role in self.changes:
            first, last = self.changes[role]
            change = (lambda a: forth(first(a)), lambda a: last(back(a)))
        return replace(self, changes={**self.changes, role: change})

    def pad(self, x: np.ndarray) -> np.ndarray:
        """Pad x in the padding mode, by `numpy.pad`."""
        if self.mode == "zeros":
            return x
        return np.pad(x, ((0, 0), (0, 0), *self.pads), mode=PAD_MODES[self.mode])  # type: ignore[call-overload]

    def pad_adjoint(self, gx: np.ndarray) -> np.ndarray:
        """Adjoint of `pad`: every element is added to the index that it was copied from."""
        if self.mode == "zeros":
            return gx
        for axis, (lo, hi) in enumerate(self.pads, 2):
            source = np.pad(np.arange(gx.shape[axis] - lo - hi), (lo, hi), mode=PAD_MODES[self.mode])  # type: ignore[call-overload]
            shape = (*gx.shape[:axis], gx.shape[axis] - lo - hi, *gx.shape[axis + 1 :])
            summed = np.zeros(shape, gx.dtype)
            np.add.at(summed, (slice(None),) * axis + (source,), gx)
            gx = summed
        return gx


class ShardedTensorAxis(NamedTuple):
    """An axis of a tensor, in torch's order, that is sharded in equal blocks over devices."""

    role: Role
    axis: int
    devices: int
    mesh_axes: tuple[str, ...]


@dataclass(frozen=True)
class ConvolutionProblem:
    """A call of an operator, and its arrays in torch's order.

    Parameters
    ----------
    call : Call
        The call.
    names : tuple of str
        What the operator calls its arrays.
    shapes : tuple of tuple of int
        Their shapes, as the operator takes them.
    model : ConvolutionModel
        The convolution that it computes.
    conjugates : bool
        Whether cotangents are conjugated, as in torch.
    sharded : tuple of ShardedTensorAxis
        The axes that are sharded over devices.
    bias_pattern : tuple of int
        The shape of the bias as the candidate takes it: -1 for its channels, and axes of length 1.
    """

    call: Call
    names: tuple[str, ...]
    shapes: tuple[tuple[int, ...], ...]
    model: ConvolutionModel
    conjugates: bool = False
    sharded: tuple[ShardedTensorAxis, ...] = ()
    bias_pattern: tuple[int, ...] = (-1,)

    @classmethod
    def of(
        cls, like: Callable[..., Any], shapes: tuple[tuple[int, ...], ...], params: dict[str, Any]
    ) -> ConvolutionProblem:
        """Resolve the call, which raises for what makes no sense."""
        zeros = [np.broadcast_to(np.float32(0), shape) for shape in shapes]
        call, arrays = like.resolve(*zeros, **params)  # type: ignore[attr-defined]
        axes = tuple(
            AxisParameters(a.input_size, a.kernel_size, a.stride, a.dilation, a.input_dilation, a.pad_lo, a.pad_hi)
            for a in call.geometry.axes
        )
        names = tuple(inspect.signature(like).parameters)[: len(shapes)]
        model = ConvolutionModel(axes, call.geometry.groups, call.mode, call.pads)
        return cls(call, names, tuple(tuple(a.shape) for a in arrays), model)

    @property
    def roles(self) -> tuple[str, ...]:
        """Which tensor each of the operator's arrays is: "x", "w", "g" or "bias"."""
        return self.call.roles

    @property
    def of_candidate(self) -> dict[str, Any]:
        """The fields that are the same for the same candidate at other sizes."""
        return {"conjugates": self.conjugates, "sharded": self.sharded, "bias_pattern": self.bias_pattern}

    @property
    def result(self) -> str:
        """Which tensor the result is."""
        return ROLES[self.call.contraction].result

    @property
    def is_transposed(self) -> bool:
        """Whether it is a transposed convolution, whose users call x what is an output here."""
        return self.result == "x" and dict(zip(self.roles, self.names, strict=False)).get("g") == "x"

    @property
    def operands(self) -> tuple[str, ...]:
        """Roles of the arrays but the bias, in the operator's order."""
        return tuple(role for role in self.roles if role != "bias")

    def result_shape(self, role: str) -> tuple[int, ...]:
        """Shape of the tensor `role` as the user has it."""
        if role in self.roles:
            return self.shapes[self.roles.index(role)]
        shapes = {r: self.torch_shape(r, s) for r, s in zip(self.roles, self.shapes, strict=True) if r != "bias"}
        shape = definition.result_shape(self.model.axes, self.model.groups, **shapes)
        if role == "x":  # before it is padded in the padding mode
            sizes = (
                size - sum(pad) for size, pad in zip(shape[2:], self.model.pads or ((0, 0),) * len(shape), strict=False)
            )
            shape = (*shape[:2], *sizes)
        return self.to_user(role, np.broadcast_to(np.float32(0), shape)).shape

    def torch_shape(self, role: str, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Shape of a tensor in torch's order."""
        return self.to_torch(role, np.broadcast_to(np.float32(0), shape)).shape

    @property
    def operand_shapes(self) -> dict[str, tuple[int, ...]]:
        """Shapes of the operator's arrays in torch's order, by role; that of a bias as it is."""
        given = zip(self.roles, self.shapes, strict=True)
        return {role: shape if role == "bias" else self.torch_shape(role, shape) for role, shape in given}

    def arrays_of(self, make: Callable[[tuple[int, ...]], np.ndarray]) -> InputArrays:
        """Arrays for one run, each made of its shape: the operands, the cotangent, then the tangents."""
        shapes, shape_of_g = self.operand_shapes, self.torch_shape(self.result, self.result_shape(self.result))
        primals = {role: make(shape) for role, shape in shapes.items()}
        return InputArrays(primals, make(shape_of_g), {role: make(shape) for role, shape in shapes.items()})

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
        """A tensor as the user has it."""
        return self.user_bias(a) if role == "bias" else self.to_user(role, a)

    def user_bias(self, a: np.ndarray) -> np.ndarray:
        """A bias as the candidate takes it."""
        return a if len(self.bias_pattern) == 1 else a.reshape(self.bias_pattern)

    def terms(self, role: str) -> int:
        """Largest number of products in an element of the derivative by `role`."""
        shapes = dict(zip(self.roles, self.shapes, strict=True))
        sizes = {r: self.torch_shape(r, shapes[r] if r in shapes else self.result_shape(r)) for r in "xwg"}
        taps = int(np.prod(sizes["w"][2:]))
        if role == "w":
            return max(1, sizes["g"][0] * int(np.prod(sizes["g"][2:])))
        channels = sizes["w"][1] if role == "g" else sizes["w"][0] // self.model.groups
        return max(1, taps * channels) + ("bias" in self.roles)


@dataclass(frozen=True)
class InputArrays:
    """Arrays for one run: operands, cotangent and tangents in torch's order, by role ("bias" too)."""

    primals: dict[str, np.ndarray]
    g: np.ndarray
    tangents: dict[str, np.ndarray]

    @property
    def every(self) -> tuple[np.ndarray, ...]:
        """All arrays."""
        return (*self.primals.values(), self.g, *self.tangents.values())

    @functools.cached_property
    def is_finite(self) -> bool:
        """Whether every number is finite."""
        return all(bool(np.isfinite(a).all()) for a in self.every)

    @functools.cached_property
    def least(self) -> float:
        """The smallest magnitude of a number that is not zero; infinity if there is none."""
        magnitudes_of = (np.abs(a) for a in self.every)
        return min((float(np.where(m == 0, np.inf, m).min(initial=np.inf)) for m in magnitudes_of), default=np.inf)

    def map(self, function: Callable[[np.ndarray], np.ndarray]) -> InputArrays:
        """Apply a function to every array."""
        return InputArrays(
            {role: function(a) for role, a in self.primals.items()},
            function(self.g),
            {role: function(a) for role, a in self.tangents.items()},
        )


class Expectations:
    """Every right answer for some arrays, or every answer of a mistaken model; each is computed once."""

    def __init__(self, problem: ConvolutionProblem, arrays: InputArrays, model: ConvolutionModel | None = None) -> None:
        self.problem, self.arrays = problem, arrays
        self.model = model or problem.model
        self._known: dict[str, np.ndarray] = {}

    def _once(self, name: str, compute: Callable[[], np.ndarray]) -> np.ndarray:
        if name not in self._known:
            self._known[name] = compute()
            while len(self._known) > 1 and sum(a.nbytes for a in self._known.values()) > MOST_KEPT:
                del self._known[next(iter(self._known))]
        return self._known[name]

    @functools.cached_property
    def absolute(self) -> Expectations:
        """The same sums of the absolute values of what is finite in the arrays."""
        return AbsoluteExpectations(self.problem, self.arrays, self.model)

    def value(self) -> np.ndarray:
        """The value."""
        return self._once("value", lambda: self._plus_bias(self._linear(self.arrays.primals), self.arrays.primals))

    def of_tangents(self) -> np.ndarray:
        """The value at the tangents."""
        return self._once("tangents", lambda: self._plus_bias(self._linear(self.arrays.tangents), self.arrays.tangents))

    def _linear(self, primals: dict[str, np.ndarray]) -> np.ndarray:
        return self.model.derivative(self.problem.result, {role: primals[role] for role in self.problem.operands})

    def _plus_bias(self, y: np.ndarray, primals: dict[str, np.ndarray]) -> np.ndarray:
        if "bias" not in primals:
            return y
        return y + primals["bias"].reshape(-1, *[1] * (y.ndim - 2))

    def without_bias(self, *, of_tangents: bool = False) -> np.ndarray:
        """The value, or that at the tangents, before the bias is added."""
        return self._linear(self.arrays.tangents if of_tangents else self.arrays.primals)

    def vjp(self, role: str) -> np.ndarray:
        """The cotangent of one array."""
        if role == "bias":
            total = self._summed(self.arrays.g).sum(axis=(0, *range(2, self.arrays.g.ndim)))
            return total.reshape(self.arrays.primals["bias"].shape)  # () where the kernel has no output channels
        return self._once(f"VJP {role}", lambda: self._by(role, self.arrays.primals, self.arrays.g))

    def _summed(self, g: np.ndarray) -> np.ndarray:
        """What is added up in the cotangent of a bias."""
        return g

    def _by(self, role: str, primals: dict[str, np.ndarray], g: np.ndarray) -> np.ndarray:
        (other,) = (r for r in self.problem.operands if r != role)
        partner = primals[other].conj() if self.problem.conjugates else primals[other]
        return self.model.derivative(role, {other: partner, self.problem.result: g})

    def jvp(self) -> np.ndarray:
        """The tangent of the value."""
        return self._once("JVP", self._jvp)

    def _jvp(self) -> np.ndarray:
        first, second = self.parts_of_jvp()
        return self._plus_bias(first + second, self.arrays.tangents)

    def parts_of_jvp(self) -> list[np.ndarray]:
        """The two terms of the tangent: each operand's tangent in its place."""
        primals, tangents = self.arrays.primals, self.arrays.tangents
        return [self._linear({**primals, role: tangents[role]}) for role in self.problem.operands]

    def second(self, role: str) -> np.ndarray:
        """The derivative by `role` of the other operand's cotangent, against that operand's tangent as its cotangent."""
        return self._once(f"second {role}", lambda: self._by(role, self.arrays.tangents, self.arrays.g))


class AbsoluteExpectations(Expectations):
    """What rounding errors are measured by: every sum with the absolute values of its operands, as far as they are finite."""

    def __init__(self, problem: ConvolutionProblem, arrays: InputArrays, model: ConvolutionModel) -> None:
        change: Change = (magnitudes, lambda a: a)
        super().__init__(problem, arrays, replace(model, changes=dict.fromkeys("xwg", change)))

    def _plus_bias(self, y: np.ndarray, primals: dict[str, np.ndarray]) -> np.ndarray:
        if "bias" not in primals:
            return y
        return super()._plus_bias(y, {**primals, "bias": magnitudes(primals["bias"])})

    def _summed(self, g: np.ndarray) -> np.ndarray:
        return magnitudes(g)


def magnitudes(a: np.ndarray) -> np.ndarray:
    """Return the absolute values of what is finite, and zero elsewhere."""
    absolute = np.abs(a)
    return absolute if np.isfinite(absolute).all() else np.where(np.isfinite(absolute), absolute, 0)
