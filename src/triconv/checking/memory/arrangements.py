"""Arrays of the same numbers that lie in memory in other ways, as training hands them over.

Each lies inside a larger memory that is full of other numbers, so that code that misreads it gets wrong numbers and stays
inside that memory.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from triconv.checking.findings.arrangement_findings import Arrangement

MARGIN = 7
"""Elements of other numbers before an array in its memory: an odd number, so that vectors of 8 do not line up."""
OTHER = 5
"""The other numbers: small, so that sums with them stay exact, and larger than those of the data, so that they show."""


def arrangements_of(
    framework: str, shape: tuple[int, ...], *, is_cotangent: bool, is_complex: bool = False
) -> Iterator[Arrangement]:
    """Yield the arrangements of an array of this shape that differ from a plain array.

    Parameters
    ----------
    framework : str
        The library of the array; those of NumPy and torch have strides.
    shape : tuple of int
        Of the array.
    is_cotangent : bool
        Whether it is a cotangent: of sums and means these are expanded in ways that operands rarely are.
    is_complex : bool
        Whether its numbers are complex, which torch conjugates when they are read.
    """
    if framework not in ("numpy", "torch") or 0 in shape:
        return
    ndim, long = len(shape), sum(n > 1 for n in shape)
    if long and is_cotangent:
        yield Arrangement.EXPANDED
        if ndim > 2 and any(n > 1 for n in shape[2:]):
            yield Arrangement.EXPANDED_POSITIONS
    if ndim > 1 and shape[0] > 1:
        yield Arrangement.EXPANDED_BATCH
    if long > 1:
        yield Arrangement.TRANSPOSED
        if ndim > 2 and shape[-1] > 1 and shape[-2] > 1:
            yield Arrangement.LAST_AXES_TRANSPOSED
        # with one channel its memory is the same, and its strides are not, by which some code chooses
        if ndim > 2 and any(n > 1 for n in shape[2:]):
            yield Arrangement.CHANNELS_LAST
    yield Arrangement.OFFSET
    if long:
        yield Arrangement.SLICED
        yield Arrangement.EVERY_OTHER
    if framework == "numpy":
        if long:
            yield Arrangement.NEGATIVE
        yield Arrangement.READ_ONLY
    yield Arrangement.SUBCLASS
    if framework == "torch" and not is_cotangent:
        yield Arrangement.PARAMETER
    if framework == "torch" and is_complex:
        yield Arrangement.CONJUGATED


ESSENTIAL = (
    Arrangement.EXPANDED,
    Arrangement.TRANSPOSED,
    Arrangement.CHANNELS_LAST,
    Arrangement.SLICED,
    Arrangement.READ_ONLY,
    Arrangement.CONJUGATED,
)
"""Those that are tried of large arrays: each way to misread an array misreads one of them."""


def with_equal_parts(a: np.ndarray, arrangement: Arrangement) -> np.ndarray:
    """Return the numbers that an array of this arrangement can hold: an expanded one repeats those of its first elements."""
    kept = _kept(arrangement, a.ndim)
    if kept is None or not a.size:
        return a
    first = a[tuple(slice(None) if axis in kept else slice(0, 1) for axis in range(a.ndim))]
    # of sparse data the first elements may all be zero, which would hide everything
    first = np.where(first == 0, np.ones_like(first), first)
    return np.broadcast_to(first, a.shape).copy()


def _kept(arrangement: Arrangement, ndim: int) -> tuple[int, ...] | None:
    """The axes along which an expanded array has numbers of its own; None if it is not expanded."""
    match arrangement:
        case Arrangement.EXPANDED:
            return ()
        case Arrangement.EXPANDED_BATCH:
            return tuple(range(1, ndim))
        case Arrangement.EXPANDED_POSITIONS:
            return (0, 1)
    return None


def arranged(a: Any, arrangement: Arrangement) -> Any:
    """Return an array of the same numbers in another arrangement.

    Parameters
    ----------
    a : array
        Of NumPy or torch.
    arrangement : Arrangement
        How it is to lie in memory.
    """
    library: Any = _Numpy if isinstance(a, np.ndarray) else _Torch
    match arrangement:
        case Arrangement.READ_ONLY:
            return library.read_only(a)
        case Arrangement.SUBCLASS | Arrangement.PARAMETER:
            return library.subclass(a, arrangement)
        case Arrangement.CONJUGATED:
            return a.conj().resolve_conj().conj()
    sizes, strides, first = _layout(tuple(a.shape), arrangement)
    return library.laid_out(a, sizes, strides, first)


def _layout(shape: tuple[int, ...], arrangement: Arrangement) -> tuple[int, tuple[int, ...], int]:
    """Return the size of the memory, the strides, and where the first element is, in elements."""
    ndim = len(shape)
    order, padded, first = tuple(range(ndim)), shape, MARGIN
    step = 1
    match arrangement:
        case Arrangement.TRANSPOSED:
            order = order[::-1]
        case Arrangement.LAST_AXES_TRANSPOSED:
            order = (*order[:-2], ndim - 1, ndim - 2)
        case Arrangement.CHANNELS_LAST:
            order = (0, *range(2, ndim), 1)
        case Arrangement.SLICED:
            padded = tuple(n + 2 for n in shape)
        case Arrangement.EVERY_OTHER:
            step = 2
    strides = [0] * ndim
    for axis in reversed(order):
        strides[axis] = step
        step *= padded[axis]
    if arrangement == Arrangement.SLICED:
        first += sum(strides)
    kept = _kept(arrangement, ndim)
    if kept is not None:
        strides = [stride if axis in kept else 0 for axis, stride in enumerate(strides)]
    if arrangement == Arrangement.NEGATIVE:
        first += sum((n - 1) * stride for n, stride in zip(shape, strides, strict=True))
        strides = [-stride for stride in strides]
    # behind the array there is room for what reads as many elements from the first one on
    room = MARGIN + first + 2 * max(step, int(np.prod(shape)))
    return room, tuple(strides), first


class _Numpy:
    @staticmethod
    def laid_out(a: np.ndarray, room: int, strides: tuple[int, ...], first: int) -> np.ndarray:
        memory = np.full(room, OTHER, a.dtype)
        # a view whose base is the memory
        view: np.ndarray = np.ndarray(
            a.shape, a.dtype, memory, first * a.itemsize, tuple(s * a.itemsize for s in strides)
        )
        index = tuple(slice(None) if s else slice(0, 1) for s in strides)
        view[index] = a[index]
        return view

    @staticmethod
    def read_only(a: np.ndarray) -> np.ndarray:
        a = a.copy()
        a.flags.writeable = False
        return a

    @staticmethod
    def subclass(a: np.ndarray, _: Arrangement) -> np.ndarray:
        return a.copy().view(SubclassOfArray)


class SubclassOfArray(np.ndarray):
    """A subclass that changes nothing, as those of units or of named arrays."""


class _Torch:
    @staticmethod
    def laid_out(a: Any, room: int, strides: tuple[int, ...], first: int) -> Any:
        import torch

        memory = torch.full((room,), OTHER, dtype=a.dtype, device=a.device)
        view = memory.as_strided(a.shape, strides, first)
        index = tuple(slice(None) if s else slice(0, 1) for s in strides)
        view[index] = a[index]
        return view

    @staticmethod
    def subclass(a: Any, arrangement: Arrangement) -> Any:
        import torch

        if arrangement == Arrangement.PARAMETER:
            return torch.nn.Parameter(a.clone(), requires_grad=False)
        return a.clone().as_subclass(_subclass_of_tensor())


def _subclass_of_tensor() -> Any:
    import torch

    if "SubclassOfTensor" not in _classes:
        _classes["SubclassOfTensor"] = type("SubclassOfTensor", (torch.Tensor,), {})
    return _classes["SubclassOfTensor"]


_classes: dict[str, Any] = {}


def misreadings(a: np.ndarray, arrangement: Arrangement) -> Iterator[tuple[str, np.ndarray]]:
    """Yield the numbers that code reads which takes the array for contiguous: by name of the `Reading`."""
    if arrangement == Arrangement.CONJUGATED:
        yield "without its conjugation", a.conj()
        return
    if arrangement in (Arrangement.READ_ONLY, Arrangement.SUBCLASS, Arrangement.PARAMETER):
        return
    room, strides, first = _layout(a.shape, arrangement)
    memory = np.full(room, OTHER, a.dtype)
    index = tuple(slice(None) if s else slice(0, 1) for s in strides)
    np.lib.stride_tricks.as_strided(memory[first:], a.shape, [s * a.itemsize for s in strides])[index] = a[index]
    lowest = first - sum((n - 1) * -s for n, s in zip(a.shape, strides, strict=True) if s < 0)
    yield "as if contiguous", memory[first : first + a.size].reshape(a.shape)
    yield "as if contiguous", memory[lowest : lowest + a.size].reshape(a.shape)
    yield "from the start of its memory", memory[: a.size].reshape(a.shape)
