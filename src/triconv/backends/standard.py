"""What a library that follows the array API standard needs beside it: almost nothing."""

from __future__ import annotations

import contextlib
import importlib
import importlib.metadata
import importlib.util
from typing import Any, ClassVar

import numpy as np
from array_api_compat import array_namespace, device, is_array_api_obj

Array = Any


class Standard:
    """A library whose arrays triconv computes on, through the array API alone.

    Parameters
    ----------
    xp : namespace
        Its array namespace.
    """

    name: ClassVar[str] = "standard"
    """What users call it."""
    distribution: ClassVar[str] = ""
    """What one installs to have it."""
    requirement: ClassVar[str] = ""
    """The same with bounds, if there are any."""
    module: ClassVar[str] = ""
    """What one imports to have it."""
    binding: ClassVar[str] = "triconv.contractions"
    """The module whose contractions its autodiff, if any, knows."""
    conjugates: ClassVar[bool] = False
    """Whether its cotangents are conjugated: ``gx = conv_input_vjp(g, conj(w))``, as in torch."""
    compiles: ClassVar[bool] = False
    """Whether `compile` does something."""

    def __init__(self, xp: Any) -> None:
        self.xp = xp

    @classmethod
    def installed(cls) -> bool:
        """Whether it can be imported here."""
        return importlib.util.find_spec(cls.module) is not None

    @classmethod
    def install_command(cls) -> str:
        """Return the command that installs it."""
        return f'python -m pip install "{cls.requirement or cls.distribution}"'

    @classmethod
    def load(cls) -> Standard:
        """Import it."""
        return cls(importlib.import_module(cls.module))

    @classmethod
    def version(cls) -> str:
        """Its version here."""
        return importlib.metadata.version(cls.distribution)

    def contractions(self) -> Any:
        """The contractions that its autodiff knows."""
        return importlib.import_module(self.binding)

    def devices(self) -> list[str]:
        """The devices it has here."""
        return ["cpu"]

    def accumulator(self, dtype: Any) -> Any:
        """The dtype in which sums of `dtype` are taken: float32 for floats of less than 32 bits."""
        if self.xp.isdtype(dtype, "real floating") and self.xp.finfo(dtype).bits < 32:
            return self.xp.float32
        return dtype

    def precision(self, level: str) -> contextlib.AbstractContextManager[Any]:
        """Within it, products have the precision `level`."""
        return contextlib.nullcontext()

    def zeros(self, shape: tuple[int, ...], like: Array) -> Array:
        """Zeros of the dtype and on the device of an array."""
        return self.xp.zeros(shape, dtype=like.dtype, device=device(like))

    def matmul(self, a: Array, b: Array) -> Array:
        """Return the matrix products of the last two axes."""
        return self.xp.matmul(a, b)

    def add_at(self, a: Array, slices: tuple[slice, ...], values: Array) -> Array:
        """`a`, which may be overwritten, with `values` (in any shape of as many elements) added at slices of its last axes."""
        index = (..., *slices)
        a[index] += self.xp.reshape(values, a[index].shape)
        return a

    def place(self, array: Array) -> Any:
        """Return what two arrays must have in common to be computed on together: their device."""
        return device(array)

    def compile(self, function: Any, like: tuple[Array, ...] = ()) -> Any:
        """`function` of a `Call`, compiled; its results are one an array of `like`, or else the result of the call."""
        return function

    def dtype(self, dtype: Any) -> Any:
        """A dtype, given as the library's own, as NumPy's, or by its name."""
        if dtype is None:
            return None
        found = dtype
        if isinstance(dtype, str):
            found = getattr(self.xp, dtype, None)
        elif isinstance(dtype, np.dtype) or (isinstance(dtype, type) and issubclass(dtype, np.generic)):
            found = getattr(self.xp, np.dtype(dtype).name, None)
        try:
            known = found is not None and self.xp.isdtype(found, "numeric")
        except Exception:  # noqa: BLE001 (each library raises its own)
            known = False
        if not known:
            msg = f"`dtype` must be a number dtype of {self.name}, got {dtype!r}"
            raise ValueError(msg)
        return found

    def asarray(self, obj: Any, *, device: Any = None, dtype: Any = None) -> Array:
        """Any library's array, or numbers in lists, as an array of this library."""
        if not is_array_of(obj, self.xp):
            obj, _ = to_native(obj)
        return self.xp.asarray(obj, device=device, dtype=self.dtype(dtype))

    def to_numpy(self, array: Array) -> np.ndarray:
        """An array of this library as a NumPy array."""
        return np.asarray(array)


def is_array_of(obj: Any, xp: Any) -> bool:
    """Whether `obj` is an array of the namespace `xp`."""
    return is_array_api_obj(obj) and array_namespace(obj) is xp


def to_numpy(obj: Any) -> np.ndarray:
    """Any library's array, or numbers in lists, as a NumPy array."""
    from triconv.backends import backend_of

    if is_array_api_obj(obj):
        return backend_of(array_namespace(obj)).to_numpy(obj)
    try:
        return np.asarray(obj)
    except ValueError as problem:  # lists of unequal lengths
        msg = f"an array or nested list must be rectangular: {problem}"
        raise ValueError(msg) from None


def to_native(obj: Any) -> tuple[np.ndarray, str]:
    """As `to_numpy`, in a dtype that NumPy has by itself, and the name of the dtype that it had: bfloat16 comes as float32."""
    given = to_numpy(obj)
    values = given.astype(np.float32) if given.dtype.name == "bfloat16" else given
    if values.dtype.kind not in "biufc":
        msg = f"an array or nested list must hold numbers, got {type(obj).__name__} of dtype {given.dtype.name}"
        raise TypeError(msg)
    is_bfloat16 = given.dtype.name == "bfloat16" or str(getattr(obj, "dtype", "")).endswith("bfloat16")
    return values, "bfloat16" if is_bfloat16 else values.dtype.name
