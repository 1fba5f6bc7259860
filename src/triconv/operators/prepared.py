"""What a call of an operator does before and after the kernel, decided once for all calls of one signature.

The signature consists of the operator, the dtype, shape, strides and device of each array, the parameters, and the constants of
the target. The first call of a signature is checked, resolved and planned; later ones find what it came to, a function of the
arrays alone::

    signature  ->  Call  ->  PreparedCall

An unusual argument (a subclass, a traced array, a number that is no int) has no signature, and an error is not kept: such calls
are checked, resolved and planned each time.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from array_api_compat import array_namespace

from triconv import contractions
from triconv.autodiff import binding
from triconv.backends import BACKENDS, ArrayKind, Standard, backend_of
from triconv.geometry import Geometry
from triconv.kernels import target, vendor
from triconv.operators import prepared_pullback
from triconv.operators.layout import View
from triconv.operators.operation import Call
from triconv.operators.prepared_pullback import PreparedPullback

Array = Any
Prepared = Callable[..., Array]

# signatures that are kept, those that were used last
KEPT = 1024

# the parameters of a call by the identities of their values, which are kept with them: a loop passes the same objects again
Seen = tuple[tuple[Any, ...], tuple[Any, ...]]
_SEEN: dict[tuple[Any, ...], Seen] = {}


class UnusualError(Exception):
    """An argument has no signature."""


@functools.lru_cache(KEPT)
def slot(_signature: tuple[Any, ...]) -> list[Prepared]:
    """Where the prepared call of a signature is, or belongs."""
    return []


def signed(
    operator: str, names: tuple[str, ...], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[tuple[Any, ...], list[Array]]:
    """The signature of a call, and its arrays; raises `UnusualError`.

    Parameters
    ----------
    operator : str
        The operator's name.
    names : tuple of str
        Names of its arrays, its first arguments.
    args, kwargs : tuple, dict
        What it is called with.

    Returns
    -------
    tuple of tuple and list
    """
    count = len(names)
    given, values = args[:count], args[count:]
    if kwargs:
        values = (*values, *kwargs.values())
        if not kwargs.keys().isdisjoint(names):
            given = (*given, *(kwargs[name] for name in names[len(given) :] if name in kwargs))
    key = (len(args), *kwargs, *map(id, values))
    seen = _SEEN.get(key) or _parameters(key, values, names, kwargs)
    parts: list[Any] = [operator, target.changes(), seen[0]]
    arrays: list[Array] = []
    last = kind = None
    for array in given:
        if array is None:
            parts.append(None)
            continue
        if (array_type := type(array)) is not last:
            last, kind = array_type, _array_kind(array_type)  # type: ignore[arg-type] # a class is hashable
        if kind is None or (not arrays and kind.is_watched()) or (signature := kind.signature(array)) is None:
            raise UnusualError
        parts += (kind, signature)
        arrays.append(array)
    return tuple(parts), arrays


def _parameters(key: tuple[Any, ...], values: tuple[Any, ...], names: tuple[str, ...], kwargs: dict[str, Any]) -> Seen:
    """The parameters as a part of a signature, with their values; kept by the `key` if none of them can change."""
    parts = [key[0], *map(_plain, values[: len(values) - len(kwargs)])]
    for name, value in kwargs.items():
        parts += (name, None if name in names else _plain(value))
    seen = tuple(parts), values
    if all(map(_is_constant, values)):
        if len(_SEEN) >= KEPT:
            _SEEN.clear()
        _SEEN[key] = seen
    return seen


def _is_constant(value: Any) -> bool:
    """Whether a parameter stays as it is: no list, and no array."""
    kind = type(value)
    return kind is int or kind is str or value is None or (kind is tuple and all(map(_is_constant, value)))


def _plain(value: Any) -> Any:
    """A parameter, if it consists of ints and strings: of these alone, equal ones are alike (True equals 1)."""
    kind = type(value)
    if kind is int or kind is str or value is None:
        return value
    if kind is tuple or kind is list:
        return (kind, *map(_plain, value))
    raise UnusualError


@functools.lru_cache(64)
def _array_kind(kind: type) -> ArrayKind | None:
    """What to know of arrays of exactly the type `kind`, if a library can prepare calls with them."""
    module = kind.__module__.partition(".")[0]
    libraries = (library for name, library in BACKENDS.items() if module in (name, f"{name}lib"))
    return next(filter(None, (library.array_kind(kind) for library in libraries)), None)


@dataclass(frozen=True, slots=True, eq=False)
class PreparedCall:
    """A call without its arrays, of which all is decided; for libraries that run it step by step.

    Parameters
    ----------
    call : Call
        The resolved call.
    library, xp : type of Standard, namespace
        The library of its arrays.
    is_recorded : callable
        Whether autograd records what is computed on such arrays.
    dtype, wide, final : dtype
        Of the operands, of the sums, and of the result.
    places : tuple of int
        Which of its arrays are the operands of the contraction.
    views : tuple of View
        How they become canonical.
    planned : Planned
        The contraction.
    back : View
        How the result becomes the user's.
    bias : tuple of int, optional
        The shape in which the bias is added.
    channels_first : bool
        Whether the layout is torch's.
    own : callable, optional
        The whole call by one function of the library.
    padding : callable, optional
        The library's own padding, where `own` begins with that: autograd then keeps the padded array, which the backward reads.
    padded : list of callable
        The call of what it has padded, once there is one.
    pullbacks : dict
        Its pullbacks, by the signature of the cotangent.
    """

    call: Call
    library: type[Standard]
    xp: Any
    is_recorded: Callable[[tuple[Array, ...]], bool]
    dtype: Any
    wide: Any
    final: Any
    places: tuple[int, int]
    views: tuple[View, View]
    planned: contractions.Planned
    back: View
    bias: tuple[int, ...] | None
    channels_first: bool
    own: Callable[..., Array | None] | None
    padding: tuple[Callable[[Array], Array], Geometry] | None
    padded: list[Prepared]
    pullbacks: dict[Any, PreparedPullback | None]

    def __call__(self, *arrays: Array) -> Array:
        """Run, as one function of the library's autograd if that records."""
        if not self.is_recorded(arrays):
            return self.run(*arrays)
        if self.padding is None:
            return binding(self.library.name).whole(self, *arrays)
        pad, geometry = self.padding
        arrays = (pad(arrays[0]), *arrays[1:])
        if not self.padded:
            self.padded.append(prepare(replace(self.call, geometry=geometry), arrays))
        return self.padded[0](*arrays)

    def run(self, *arrays: Array) -> Array:
        """Run; nothing is recorded."""
        if self.own is not None and (y := self.own(*arrays)) is not None:
            return y
        lib, (first, second) = self.library(self.xp), self.places
        a = self.views[0](lib.cast(arrays[first], self.dtype), self.xp)
        b = self.views[1](lib.cast(arrays[second], self.dtype), self.xp)
        y = self.back(contractions.run(self.planned, a, b, lib, self.call.precision), self.xp)
        if self.bias is not None:
            y = y + self.xp.reshape(lib.cast(arrays[2], self.wide), self.bias)
        return lib.contiguous(lib.cast(y, self.final), arrays[:2], channels_first=self.channels_first)

    def pullback(self, arrays: tuple[Array, ...], ct: Array, needed: tuple[bool, ...]) -> tuple[Array | None, ...]:
        """Cotangents of the arrays that are `needed`, by rules that autograd can record."""
        kind = _array_kind(type(ct))  # type: ignore[arg-type] # a class is hashable
        if kind and not (kind.is_recorded((*arrays, ct)) or kind.is_watched()) and (seen := kind.signature(ct)):
            signature = target.changes(), seen
            try:
                planned = self.pullbacks[signature]
            except KeyError:
                lib = self.library(self.xp)
                planned = prepared_pullback.prepare(self.call, arrays, ct, lib, self.places, self.views)
                self.pullbacks[signature] = planned
            if planned is not None:
                return planned(arrays, ct, needed)
        return self.call.run_pullback(arrays, ct, needed)


def prepare(call: Call, arrays: tuple[Array, ...]) -> Prepared:
    """Plan a call for arrays that have a signature.

    Parameters
    ----------
    call : Call
        The resolved call.
    arrays : tuple of array
        Its arrays.

    Returns
    -------
    callable
        A function of such arrays.
    """
    lib = backend_of(array_namespace(*arrays))
    if lib.compiles or call.mode != "zeros":
        return call
    xp, groups, layout = lib.xp, call.geometry.groups, call.layout
    dtype, final = call.dtypes(arrays, lib)
    wide, by_role = lib.accumulator(final), dict(zip(call.roles, arrays, strict=True))
    views = tuple(layout.canonical_view(role, by_role[role].shape, groups) for role in call.operands)
    operands = [view(lib.cast(by_role[role], dtype), xp) for role, view in zip(call.operands, views, strict=True)]
    planned = contractions.planned(
        call.contraction,
        *operands,
        lib=lib,
        geometry=call.geometry,
        algorithm=call.algorithm,
        dtype=wide if "bias" in by_role else final,
        final=final,
        orders=layout.orders,
    )
    shape = contractions.result_shape(call.contraction, *operands, geometry=call.geometry)
    kind, own = _array_kind(type(arrays[0])), _own(call, arrays, planned, lib)  # type: ignore[arg-type]
    return PreparedCall(
        call,
        type(lib),
        xp,
        kind.is_recorded if kind else lambda _: False,
        dtype,
        wide,
        final,
        tuple(map(call.roles.index, call.operands)),  # type: ignore[arg-type]
        views,  # type: ignore[arg-type]
        planned,
        layout.view_of_canonical(call.result, shape),
        call.bias_shape(by_role["bias"]) if "bias" in by_role else None,
        layout.is_channels_first,
        own,
        lib.own_padding(call.contraction, call.geometry) if own and layout.is_channels_first else None,
        [],
        {},
    )


def _own(call: Call, arrays: tuple[Array, ...], planned: contractions.Planned, lib: Standard) -> Prepared | None:
    """The whole call by one function of the library, if it is planned so and needs no other dtype."""
    layout, dtypes = call.layout, {*(array.dtype for array in arrays), planned.operands, planned.result}
    if not vendor.is_same_call(planned.plan.schedule, call.contraction) or len(dtypes) > 1 or not layout.is_whole:
        return None
    own = lib.own_call(call.contraction, call.geometry, call.precision, arrays[:2], in_order=layout.is_channels_first)
    if own is None or layout.is_channels_first:
        return own
    permute, (first, second) = lib.xp.permute_dims, map(layout.torch_order, call.operands)
    a, b = map(call.roles.index, call.operands)
    back = sorted(range(len(first)), key=layout.torch_order(call.result).__getitem__)

    def reordered(*arrays: Array) -> Array | None:
        y = own(permute(arrays[a], first), permute(arrays[b], second), *arrays[2:])
        return None if y is None else lib.contiguous(permute(y, back), (), channels_first=False)

    return reordered
