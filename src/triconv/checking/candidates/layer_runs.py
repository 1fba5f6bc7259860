"""How a layer runs: forward and backward, with the arrays of a question in the places of its parameters."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from triconv.checking.candidates.candidate import CandidateFunction
from triconv.checking.candidates.layer_methods import (
    FORWARD,
    RATE_ATTRIBUTES,
    UPDATE,
    GradientStep,
    Ran,
    backward_of,
    is_of_one_shape,
    method_of,
    run_backward,
    run_forward,
)
from triconv.checking.candidates.layer_search import (
    Place,
    arrays_in,
    as_one,
    becoming,
    copied,
    plain,
    reach,
)

Array = Any


class LayerRuns(CandidateFunction):
    """A layer as it runs: copies of it get arrays as its parameters, and go forward and backward.

    Parameters
    ----------
    layer : Any
        The layer; it is copied, and stays as it is.
    backend, dtype, keywords, args
        As of `CandidateFunction`; the keywords and `args` are those of the forward after x.
    shapes : tuple of tuple of int
        Shape of x, and of the parameters that are given as arrays.
    is_convolution : bool
        Whether it should agree with a convolution, which has one kernel and one bias.
    """

    is_object = keeps_state = True

    def __init__(
        self,
        layer: Any,
        backend: Any,
        dtype: str,
        keywords: dict[str, Any],
        *,
        args: tuple[Any, ...],
        shapes: tuple[tuple[int, ...], ...],
        is_convolution: bool,
    ) -> None:
        super().__init__(self._run, backend, dtype, keywords, args=args)
        self.shapes = shapes
        self._kind = type(layer)
        self.forward_name = method_of(self._kind, FORWARD)
        self.backward_name = backward_of(self._kind)
        self.written, self.layer = layer, copied(layer, {})
        self.count = 1
        self.places: list[Place] = []
        self.values: dict[Place, np.ndarray] = {}
        self.update_name = ""
        self._refusal, self._is_convolution = "", is_convolution
        self._is_of_one_shape = bool(shapes) and is_of_one_shape(layer, shapes[0])

    def _in_dtype(self, layer: Any, parameters: list[Place]) -> Any:
        """Return the layer with all its arrays of real numbers in the dtype; only the parameters if it is no real dtype."""
        memo: dict[int, Any] = {}
        is_real = "float" in self.dtype
        for place, value in arrays_in(layer).items():
            a = as_one(value)
            if place in parameters or (is_real and a.dtype.kind == "f"):
                memo |= becoming(value, self.move([a])[0])
        return copied(layer, memo)

    # ---- forward

    def _run(self, *arrays: Array, **keywords: Any) -> Array:
        return self._ran(list(arrays[: self.count + len(self.places)])).y

    def call(self, *arrays: Array) -> Array:
        """The layer's result."""
        return self.function(*arrays)

    def _ran(self, arrays: list[Array], memo: dict[int, Any] | None = None, layer: Any = None) -> Ran:
        """A copy of the layer, or of another one in its place, with these arrays, after its forward."""
        root = self.layer if layer is None else layer
        if self._refusal:
            raise ValueError(self._refusal)
        if self._is_of_one_shape and tuple(arrays[0].shape) != self.shapes[0]:
            msg = f"{self._kind.__name__} was made for x of shape {self.shapes[0]}, got {tuple(arrays[0].shape)}"
            raise ValueError(msg)
        own = list(arrays[self.count :])
        own += [self.move([self._left_out(place)])[0] for place in self.places[len(own) :]]
        changes = dict(memo or {})
        for place, a in zip(self.places, own, strict=True):
            shape = self.values[place].shape
            if int(np.prod(shape)) != int(np.prod(a.shape)):
                msg = (
                    f"{self._kind.__name__} has {place.name} of shape {shape}, and takes no other, got {tuple(a.shape)}"
                )
                raise ValueError(msg)
            changes |= becoming(place.read(root), a.reshape(shape))
        return self._forward(copied(root, changes), arrays[: self.count])

    def _left_out(self, place: Place) -> np.ndarray:
        """The values of a parameter that is no array of the question: a convolution without a bias has none."""
        values = self.values[place]
        return np.zeros_like(values) if self._is_convolution and place is not self.places[0] else values

    def _forward(self, layer: Any, inputs: list[Array]) -> Ran:
        return run_forward(getattr(layer, self.forward_name), layer, inputs, self.args, self.keywords)

    def _copies(self, arrays: Sequence[Array]) -> list[Array]:
        copies = self.move([as_one(a) for a in arrays])
        if self.watch is None:
            return copies
        return [self.watch.hand(a, copy) for a, copy in zip(arrays, copies, strict=True)]

    def _went_back(
        self,
        arrays: list[Array],
        g: Array,
        rate: float,
        *,
        zeros: Sequence[Place] = (),
        updates: bool = False,
        layer: Any = None,
    ) -> tuple[Ran, Any]:
        """Run the backward, and the update after it; gradients at these places begin as zeros."""
        memo: dict[int, Any] = {}
        root = self.layer if layer is None else layer
        held_there = arrays_in(root) if zeros else {}
        for place in zeros:  # gradients may be added to what is there
            old = held_there.get(place)
            memo |= {} if old is None else becoming(old, self.move([np.zeros_like(as_one(old))])[0])
        for place, thing in reach(root):
            if (
                "opt" in place.label.lower()
                and callable(getattr(thing, "update", None))
                and not isinstance(thing, dict)
            ):
                memo[id(thing)] = GradientStep(rate)
        ran = self._ran(self._copies(arrays), memo, root)
        for place, thing in list(reach(ran.layer)):
            if isinstance(thing, float) and plain(place.label) in RATE_ATTRIBUTES:
                place.write(ran.layer, rate)
        own = self._own_by_name(ran.layer)
        result = run_backward(getattr(ran.layer, self.backward_name), ran, self._copies([g]), rate, own)
        if updates:
            self._update(ran, rate)
        return ran, result

    def _own_by_name(self, layer: Any) -> dict[str, Array]:
        return {plain(place.label): place.read(layer) for place in self.places}

    def _update(self, ran: Ran, rate: float) -> None:
        """Call the layer's update."""
        for name in UPDATE:
            method = method_of(self._kind, (name,))
            if method and method != self.backward_name:
                try:
                    run_backward(getattr(ran.layer, method), ran, [], rate, self._own_by_name(ran.layer))
                except Exception:  # noqa: BLE001 (another one may be the update)
                    continue
                self.update_name = method
                return
