"""A library whose arrays triconv computes on: its name, dtypes, devices, compiler and own convolution."""

from __future__ import annotations

import contextlib
import importlib
import importlib.metadata
import importlib.util
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from array_api_compat import array_namespace, device, is_array_api_obj

from triconv.backends.array_operations import ArrayOperations
from triconv.geometry import Geometry
from triconv.geometry.integers import shown

Array = Any
Orders = tuple[str, ...]

# names of dtypes
NUMBERS = (
    *("float32", "float64", "float16", "bfloat16", "complex64", "complex128"),
    *(f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)),
    *("longdouble", "clongdouble", "float128", "complex256"),
)


def _never(*_arguments: Any) -> bool:
    return False


@dataclass(frozen=True, slots=True, eq=False)
class ArrayKind:
    """What to know of the arrays of one type before a call that was prepared for others is run with them.

    It is a part of the signatures of calls, so a library has one object for all types that it treats alike.
    """

    signature: Callable[[Array], Any]
    """All that checks and plans read of such an array, hashable; None if it is an unusual one."""
    is_watched: Callable[[], bool] = _never
    """Whether a transform, a tracer or a mode sees what is called now."""
    is_recorded: Callable[[Sequence[Array]], bool] = _never
    """Whether autograd records what is computed on such arrays."""


class Standard(ArrayOperations):
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
    converter: ClassVar[str] = ""
    """The function that makes an array of it from a NumPy array, as messages spell it."""
    conjugates: ClassVar[bool] = False
    """Whether its cotangents are conjugated: ``gx = conv_input_vjp(g, conj(w))``, as in torch."""
    takes_numpy: ClassVar[bool] = False
    """Whether an array of NumPy beside its arrays is converted, as its own functions do, or its users expect."""
    compiles: ClassVar[bool] = False
    """Whether `compile` does something."""
    vendor_axes: ClassVar[range | None] = None
    """How many spatial axes its own convolution takes, if it has one."""
    vendor_steps: ClassVar[int | None] = None
    """The longest stride or dilation that its own convolution takes, if there is a limit."""
    vendor_dilates: ClassVar[bool] = False
    """Whether its own convolution takes a dilated input, so that any geometry is one call of it and needs no phases."""

    def __init__(self, xp: Any) -> None:
        self.xp = xp

    @classmethod
    def owns(cls, xp: Any) -> bool:
        """Whether an array namespace is this library's."""
        return False

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

    def devices(self) -> list[str]:
        """The devices it has here."""
        return ["cpu"]

    def obstacle(self, array: Array) -> str:
        """What an array of this library must be instead, and what it is, if it is of a kind that cannot be computed on."""
        return ""

    def is_number(self, dtype: Any) -> bool:
        """Whether triconv computes on arrays of a dtype."""
        try:
            return self.xp.isdtype(dtype, "numeric")
        except TypeError:  # a dtype outside the standard, such as JAX's random keys
            return False

    def result_type(self, *arrays: Array) -> Any:
        """The dtype that arrays are promoted to."""
        return self.xp.result_type(*arrays)

    def native(self, array: Array) -> Array:
        """The array in this machine's byte order, the only one that most libraries have."""
        return array

    def accumulator(self, dtype: Any) -> Any:
        """The dtype in which sums of `dtype` are taken: float32 for floats of less than 32 bits."""
        if self.xp.isdtype(dtype, "real floating") and self.xp.finfo(dtype).bits < 32:
            return self.xp.float32
        return dtype

    def product_dtype(self, dtype: Any, like: Array, axes: int) -> Any:
        """The dtype of operands of its own convolution along `axes`: the accumulator's, unless it rounds such sums once."""
        return self.accumulator(dtype)

    def factor_dtype(self, dtype: Any, like: Array) -> Any:
        """The dtype of factors of `matmul` and its like: the accumulator's, unless they take sums in that by themselves."""
        return self.accumulator(dtype)

    def cast(self, a: Array, dtype: Any) -> Array:
        """An array in a dtype: the same one, if it has it."""
        return a if a.dtype == dtype else self.xp.astype(a, dtype, copy=False)

    @classmethod
    def array_kind(cls, kind: type) -> ArrayKind | None:
        """What to know of arrays of exactly this type, if a call with such arrays is prepared once for each signature."""
        return None

    def own_call(
        self, contraction: str, geometry: Geometry, precision: str, like: Sequence[Array], *, in_order: bool
    ) -> Callable[..., Array | None] | None:
        """A contraction of arrays in torch's order, and perhaps a bias, by one call of its own convolution, if there is one.

        It is for arrays of the dtype and on the device of `like`. The result is contiguous; if they are `in_order`, it has the
        order of memory that `contiguous` gives it. The call may give None: where it would not have the precision that is asked
        for.
        """
        return None

    def own_pullback(
        self, contraction: str, geometry: Geometry, precision: str, like: Sequence[Array]
    ) -> Callable[..., tuple[Array | None, Array | None] | None] | None:
        """Both cotangents of such a contraction by one call, if there is one: a function of the cotangent and the operands.

        Its last argument says which of the two are needed.
        """
        return None

    def own_padding(self, contraction: str, geometry: Geometry) -> tuple[Callable[[Array], Array], Geometry] | None:
        """Padding of the input that its own convolution does not have, as a function that its autograd records.

        With the geometry of what is left, which has no padding.
        """
        return None

    def varies(self, sizes: Iterable[Any]) -> bool:
        """Whether a size is symbolic, to be known when a traced program runs, and its own convolution takes such sizes."""
        return False

    def contiguous(self, a: Array, like: Sequence[Array], *, channels_first: bool) -> Array:
        """A result in the order of memory that users expect: that of its axes, or that of the operands, where it is usual."""
        return a

    def entering(self, arrays: tuple[Array, ...], *, channels_first: bool) -> tuple[Array, ...]:
        """The arrays of a call, such that their cotangents, which autodiff makes, are as `contiguous` gives them."""
        return arrays

    def precision(self, level: str) -> contextlib.AbstractContextManager[Any]:
        """Within it, products have the precision `level`."""
        return contextlib.nullcontext()

    def wide(self) -> contextlib.AbstractContextManager[Any]:
        """Within it, there is float64."""
        return contextlib.nullcontext()

    def vendor_conv(self, geometry: Geometry, x: Array, w: Array, orders: Orders) -> Array:
        """Its own convolution, for a geometry without cropping; with input dilation only where `vendor_dilates`.

        It is called in the memory orders of x, w and g, so that nothing is copied only to be transposed.
        """
        raise NotImplementedError

    def vendor_input_vjp(self, geometry: Geometry, g: Array, w: Array, orders: Orders) -> Array:
        """The input gradient of the same."""
        raise NotImplementedError

    def vendor_weight_vjp(self, geometry: Geometry, x: Array, g: Array, orders: Orders) -> Array:
        """The weight gradient of the same."""
        raise NotImplementedError

    def device_kind(self, array: Array | None = None) -> str:
        """What the planner knows about, "cpu" or "gpu": where an array is, or would be by default."""
        return "cpu"

    def transposes(self, array: Array) -> bool:
        """Whether `vendor_input_vjp` is fast where an array is: it inserts no zeros, and needs no phases."""
        return False

    def is_partitioned(self) -> bool:
        """Whether a compiler may shard the arrays over devices."""
        return False

    def is_sharded(self, arrays: Iterable[Array]) -> bool:
        """Whether one of the arrays is sharded over devices, so that a compiler partitions what is computed on it."""
        return False

    def keeps_apart(self) -> bool:
        """Whether a kernel with several taps is a function that a compiler keeps apart (`contractions.Planned.is_apart`)."""
        return False

    def keeps_positions_whole(self) -> bool:
        """Whether `whole_positions` can, where a compiler may shard the arrays."""
        return False

    def whole_positions(self, array: Array) -> Array:
        """A canonical array whose positions are whole on every device, however a compiler shards its other axes."""
        return array

    def element(self, dtype: Any) -> tuple[int, str]:
        """Bytes and kind ("integer", "real" or "complex") of an element of a dtype."""
        if self.xp.isdtype(dtype, "integral"):
            return max(1, self.xp.iinfo(dtype).bits // 8), "integer"
        size = max(1, self.xp.finfo(dtype).bits // 8)
        return (2 * size, "complex") if self.xp.isdtype(dtype, "complex floating") else (size, "real")

    def place(self, array: Array) -> Any:
        """Return what two arrays must have in common to be computed on together: their device."""
        return device(array)

    def compile(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """`function` of a hashable object and arrays, compiled."""
        return function

    def has_explicit_axes(self, arrays: Any) -> bool:
        """Whether one of the arrays, in any nest of tuples, is on a mesh whose axes the type of an array names."""
        return False

    def timed(self, function: Callable[..., Array]) -> Callable[..., Any]:
        """`function` of arrays, compiled if there is a compiler, that returns when its result is there."""
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
            known = found is not None and self.is_number(found)
        except Exception:  # noqa: BLE001 (each library raises its own)
            known = False
        if not known:
            msg = f"`dtype` must be a number dtype of {self.name}, got {shown(dtype)}"
            raise ValueError(msg)
        return found

    def asarray(self, obj: Any, *, device: Any = None, dtype: Any = None) -> Array:
        """Any library's array, or numbers in lists, as an array of this library."""
        if not is_array_of(obj, self.xp):
            obj, _ = to_native(obj)
            obj = self.fitted(obj, dtype)
        elif obstacle := self.obstacle(obj):
            msg = f"an array must be {obstacle}"
            raise TypeError(msg)
        return self.native(self.xp.asarray(obj, device=device, dtype=self.dtype(dtype)))

    def fitted(self, values: np.ndarray, wanted: Any) -> np.ndarray:
        """NumPy's array, in a dtype that this library has too: its own, unless another is wanted anyway."""
        name = values.dtype.name
        if name == "bool" or hasattr(self.xp, name):
            return values
        if wanted is None:
            msg = f"an array must have a dtype that {self.name} has, got {name}; say which with `dtype`, such as 'float32'"
            raise TypeError(msg)
        wide = {"c": np.complex128, "f": np.float64 if values.dtype.itemsize > 4 else np.float32}
        return values.astype(wide.get(values.dtype.kind, values.dtype))

    def dtype_name(self, dtype: Any) -> str | None:
        """The name of a dtype that `dtype` gave."""
        if dtype is None:
            return None
        return next(name for name in NUMBERS if getattr(self.xp, name, None) is dtype)

    def device_name(self, device: Any) -> Any:
        """A device, as `asarray` takes it, in a form that can be pickled."""
        return device

    def to_numpy(self, array: Array) -> np.ndarray:
        """An array of this library as a NumPy array."""
        return np.asarray(array)


def is_array_of(obj: Any, xp: Any) -> bool:
    """Whether `obj` is an array of the namespace `xp`."""
    return is_array_api_obj(obj) and array_namespace(obj) is xp


BACKENDS: dict[str, type[Standard]] = {}
"""Every library that triconv knows by name; filled by the package, which imports them all."""


def backend_of(xp: Any) -> Standard:
    """The backend of an array namespace; the plain standard for a library that triconv does not know by name."""
    return next((kind for kind in BACKENDS.values() if kind.owns(xp)), Standard)(xp)


def to_numpy(obj: Any) -> np.ndarray:
    """Any library's array, or numbers in lists, as a NumPy array."""
    if is_array_api_obj(obj):
        lib = backend_of(array_namespace(obj))
        if obstacle := lib.obstacle(obj):
            msg = f"an array must be {obstacle}"
            raise TypeError(msg)
        return lib.native(lib.to_numpy(obj)) if lib.name == "numpy" else lib.to_numpy(obj)
    if masked := _masked(obj):
        msg = f"an array or nested list must be {masked}"
        raise TypeError(msg)
    try:
        return np.asarray(obj)
    except ValueError as problem:  # lists of unequal lengths
        msg = f"an array or nested list must be rectangular: {problem}"
        raise ValueError(msg) from None


def to_native(obj: Any) -> tuple[np.ndarray, str]:
    """As `to_numpy`, in a dtype that NumPy has by itself, and the name of the dtype that it had: bfloat16 comes as float32."""
    given = to_numpy(obj)
    values = given.astype(np.float32) if given.dtype.name == "bfloat16" else given
    if _is_narrow(values.dtype):
        msg = f"an array must hold numbers of a common width, got {given.dtype.name}; convert it first, to bfloat16 or float32"
        raise TypeError(msg)
    if values.dtype.kind not in "biufc":
        msg = f"an array or nested list must hold numbers, got {type(obj).__name__} of dtype {given.dtype.name}"
        raise TypeError(msg)
    values = np.require(values, requirements=["C", "A"])  # torch takes no other
    is_bfloat16 = given.dtype.name == "bfloat16" or str(getattr(obj, "dtype", "")).endswith("bfloat16")
    return values, "bfloat16" if is_bfloat16 else values.dtype.name


def _is_narrow(dtype: np.dtype) -> bool:
    """Whether it is one of ml_dtypes but bfloat16: float8_e5m2, int4, ..."""
    return dtype.isbuiltin == 2 and dtype.name != "bfloat16"  # NumPy's word for a dtype that somebody registered


def _masked(obj: Any) -> str:
    """What lists must hold instead, if there is a masked array of NumPy's in them, which would lose its mask."""
    if isinstance(obj, np.ma.MaskedArray):
        return UNMASKED
    if isinstance(obj, (list, tuple)):
        return next((found for entry in obj if not isinstance(entry, (int, float)) and (found := _masked(entry))), "")
    return ""


UNMASKED = (
    "without a mask, which a convolution cannot keep, got a masked array; "
    "give its values with the masked ones replaced, such as a.filled(0)"
)
