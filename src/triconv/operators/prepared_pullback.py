"""The cotangents of a prepared call: planned once for each signature of the cotangent that comes in."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

from triconv import contractions, rules
from triconv.backends import Standard
from triconv.kernels import vendor
from triconv.operators.layout import View
from triconv.operators.operation import Call

Array = Any
OwnPullback = Callable[..., tuple[Array | None, Array | None] | None]


class Planning:
    """The three contractions in a binding that plans them and computes nothing."""

    conv = staticmethod(functools.partial(contractions.planned, "conv"))
    conv_input_vjp = staticmethod(functools.partial(contractions.planned, "conv_input_vjp"))
    conv_weight_vjp = staticmethod(functools.partial(contractions.planned, "conv_weight_vjp"))


class Running:
    """The one contraction that a rule asks for, as it was planned."""

    def __init__(self, planned: contractions.Planned, lib: Standard, precision: str) -> None:
        self.planned, self.lib, self.precision = planned, lib, precision

    def conv(self, a: Array, b: Array) -> Array:
        """Run it."""
        return contractions.run(self.planned, a, b, self.lib, self.precision)

    conv_input_vjp = conv_weight_vjp = conv


class Cotangent(NamedTuple):
    """How the cotangent of one operand is computed."""

    rule: Callable[..., Array]  # of `rules.VJP`
    planned: contractions.Planned
    is_own: bool  # whether by the library's own pullback, if that can
    back: View  # how it becomes the user's


@dataclass(frozen=True, slots=True, eq=False)
class PreparedPullback:
    """The pullback of a call, of which all is decided, for arrays and a cotangent of one real dtype.

    Parameters
    ----------
    call : Call
        The resolved call.
    library, xp : type of Standard, namespace
        The library of its arrays.
    wide : dtype
        Of the sums.
    places : tuple of int
        Which of the call's arrays are the operands of the contraction.
    views : tuple of View
        How they become canonical.
    view : View
        How the cotangent of the result does.
    cotangents : tuple of Cotangent
        One per operand.
    own : callable, optional
        The library's own pullback, for those that are planned so.
    is_own : bool
        Whether those are all of the call's arrays.
    """

    call: Call
    library: type[Standard]
    xp: Any
    wide: Any
    places: tuple[int, int]
    views: tuple[View, View]
    view: View
    cotangents: tuple[Cotangent, Cotangent]
    own: OwnPullback | None
    is_own: bool

    def __call__(self, arrays: tuple[Array, ...], ct: Array, needed: tuple[bool, ...]) -> tuple[Array | None, ...]:
        """Cotangents of the arrays that are `needed`; nothing is recorded."""
        if self.is_own and (by_own := self.own(ct, *arrays, needed)) is not None:  # type: ignore[misc]
            return by_own
        found: list[Array | None] = [None] * len(arrays)
        if self.own is not None:
            mask = [needed[n] and c.is_own for n, c in zip(self.places, self.cotangents, strict=True)]
            if any(mask) and (by_own := self.own(ct, *arrays[:2], mask)) is not None:
                found[:2] = by_own
        missing = [n for n, is_needed in enumerate(needed) if is_needed and found[n] is None]
        if not missing:
            return tuple(found)
        lib, xp = self.library(self.xp), self.xp
        like, is_first = arrays[:2], self.call.layout.is_channels_first
        if missing != [2]:
            g = self.view(ct, xp)
            a, b = (view(arrays[place], xp) for place, view in zip(self.places, self.views, strict=True))
            for place, (rule, planned, _, back) in zip(self.places, self.cotangents, strict=True):
                if place in missing:
                    canonical = rule(Running(planned, lib, self.call.precision), g, a, b)
                    found[place] = lib.contiguous(back(canonical, xp), like, channels_first=is_first)
        if 2 in missing:
            gb = self.call.bias_cotangent(lib.cast(ct, self.wide), arrays[2], xp)
            found[2] = lib.cast(gb, ct.dtype)
        return tuple(found)


def prepare(
    call: Call,
    arrays: tuple[Array, ...],
    ct: Array,
    lib: Standard,
    places: tuple[int, int],
    views: tuple[View, View],
) -> PreparedPullback | None:
    """Plan the pullback of a call for arrays and a cotangent of its result.

    Parameters
    ----------
    call, arrays, lib : Call, tuple of array, Standard
        The call, its arrays and their library.
    ct : array
        The cotangent.
    places, views : tuple of int, tuple of View
        See `PreparedPullback`.

    Returns
    -------
    PreparedPullback or None
        None where a cotangent has another dtype than its array, or has to be conjugated.
    """
    dtype, _ = call.dtypes(arrays, lib)
    if {*(array.dtype for array in arrays)} != {dtype} or ct.dtype != dtype or lib.element(dtype)[1] != "real":
        return None
    xp, geometry, layout = lib.xp, call.geometry, call.layout
    view = layout.canonical_view(call.result, ct.shape, geometry.groups)
    g, operands = view(ct, xp), [view(arrays[place], xp) for place, view in zip(places, views, strict=True)]
    is_batched = "N" in layout.x  # torch's function takes no others
    own = None
    if layout.is_channels_first and is_batched:
        own = lib.own_pullback(call.contraction, geometry, call.precision, arrays[:2])
    params = {"lib": lib, "geometry": geometry, "algorithm": call.algorithm, "dtype": dtype, "orders": layout.orders}
    cotangents = []
    for role, operand, rule in zip(call.operands, operands, rules.VJP[call.contraction], strict=True):
        planned = rule(Planning, g, *operands, **params)
        is_own = vendor.is_same_call(planned.plan.schedule, planned.contraction) and planned.operands == dtype
        cotangents.append(Cotangent(rule, planned, is_own, layout.view_of_canonical(role, operand.shape)))
    return PreparedPullback(
        call,
        type(lib),
        xp,
        lib.accumulator(dtype),
        places,
        views,
        view,
        tuple(cotangents),  # type: ignore[arg-type]
        own,
        own is not None and len(arrays) == len(cotangents) and all(cotangent.is_own for cotangent in cotangents),
    )
