"""The backend switch, `use`: the operators bound to one library."""

from __future__ import annotations

import functools
import inspect
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Unpack

import numpy as np

from triconv.backends import BACKENDS, Standard, to_numpy
from triconv.geometry.integers import shown
from triconv.operators import derivatives
from triconv.operators.derivatives import Pullback
from triconv.operators.registry import OPERATORS, array_names
from triconv.operators.signature_types import (
    AnyArray,
    BoundConv,
    BoundConvNd,
    BoundConvTransposeNd,
    BoundInputVjp,
    BoundWeightVjp,
    Library,
    Parameters,
)

Array = Any


@dataclass(frozen=True, slots=True)
class Installed:
    """An installed library that triconv can compute with."""

    name: str
    version: str
    devices: tuple[str, ...]


def backends() -> dict[str, Installed]:
    """List the array libraries that are installed here, with version and devices, by the names that `use` takes.

    Returns
    -------
    dict of str to Installed
        The libraries, in the order numpy, jax, torch, cupy, array-api-strict.

    Notes
    -----
    Imports each of the libraries that is installed.

    Examples
    --------
    >>> import triconv
    >>> triconv.backends()["numpy"].devices
    ('cpu',)
    """
    installed = {}
    for name, kind in BACKENDS.items():
        if kind.installed():
            installed[name] = Installed(name, kind.version(), tuple(kind.load().devices()))
    return installed


def use(name: Library | None = None, *, device: object = None, dtype: object = None, jit: bool = True) -> Bound:
    """Bind the operators to one library: they first move their arrays (or nested lists) there.

    Parameters
    ----------
    name : {"numpy", "jax", "torch", "cupy", "array-api-strict"}, optional
        The library; by default the environment variable ``TRICONV_BACKEND``, else "numpy".
    device : Any, optional
        The device, as the library spells it; for JAX also a string such as "cpu" or "cuda:1". By default the library's default.
    dtype : str or dtype, optional
        The dtype of the arrays; by default they keep their own.
    jit : bool
        Whether to compile a call as a whole, if the library has a compiler that triconv uses (JAX). Without it a call runs
        step by step, which helps a debugger and is slow.

    Returns
    -------
    Bound
        An object with the operators, `vjp` and `jvp`, ``xp``, ``asarray`` and ``to_numpy``.

    Raises
    ------
    ValueError
        If there is no backend of this name, or the library does not have the dtype.
    ImportError
        If the library is not installed; the message says how to install it.
    TypeError
        If `jit` is no bool.

    Notes
    -----
    Moving costs one copy per array, unless it is of that library, device and dtype already.

    Examples
    --------
    >>> import triconv
    >>> tc = triconv.use("numpy", dtype="float32")
    >>> tc.conv1d([[[1, 2, 3]]], [[[1, 1]]])
    array([[[3., 5.]]], dtype=float32)
    """
    source = "`name`" if name is not None else "`TRICONV_BACKEND`"
    chosen: Any = name if name is not None else os.environ.get("TRICONV_BACKEND") or "numpy"
    if not isinstance(chosen, str) or chosen not in BACKENDS:
        msg = f"{source} must be one of {', '.join(map(repr, BACKENDS))}, got {shown(chosen)}"
        raise ValueError(msg)
    kind = BACKENDS[chosen]
    if not kind.installed():
        msg = f"{source} must be installed here, got {chosen!r}; install it with: {kind.install_command()}"
        raise ImportError(msg)
    if not isinstance(jit, (bool, np.bool_)):
        msg = f"`jit` must be True or False, got {shown(jit)}"
        raise TypeError(msg)
    return Bound(kind.load(), device=device, dtype=dtype, jit=bool(jit))


class Bound:
    """The operators bound to one library; made by `use`.

    Parameters
    ----------
    backend : Standard
        The library.
    device, dtype, jit : as in `use`
        The device, the dtype, and whether to compile.

    Notes
    -----
    It can be copied and pickled; it is made again from its four arguments when it is loaded.
    """

    # set by name, from the table of operators
    conv: BoundConv
    conv_input_vjp: BoundInputVjp
    conv_weight_vjp: BoundWeightVjp
    conv1d: BoundConvNd
    conv2d: BoundConvNd
    conv3d: BoundConvNd
    conv_transpose1d: BoundConvTransposeNd
    conv_transpose2d: BoundConvTransposeNd
    conv_transpose3d: BoundConvTransposeNd
    conv2d_forward: Callable[[Any, Any], Any]
    conv2d_backward: Callable[[Any, Any], Any]
    conv2d_backward_weights: Callable[[Any, Any], Any]

    def __init__(self, backend: Standard, *, device: object, dtype: object, jit: bool) -> None:
        self.name: str = backend.name
        self.xp = backend.xp
        self.device = device
        self.dtype = backend.dtype(dtype)
        self.jit = jit and backend.compiles
        self._backend = backend
        backend.asarray(0, dtype=self.dtype)  # raises now if the library is not configured for the dtype
        check_device(backend, device)
        for name, op in OPERATORS.items():
            setattr(self, name, BoundOperator(self, op))

    def __reduce__(self) -> Any:
        device = self._backend.device_name(self.device)
        return _again, (self.name, device, self._backend.dtype_name(self.dtype), self.jit)

    def __repr__(self) -> str:
        return f"triconv.use({self.name!r}, device={self.device!r}, dtype={self.dtype!r}, jit={self.jit!r})"

    def asarray(self, obj: object) -> Array:
        """Move an array of any library, or a nested list, to this library, device and dtype.

        Parameters
        ----------
        obj : array or nested list
            The array to move.

        Returns
        -------
        array
            A copy, or `obj` itself if nothing changes.
        """
        return self._backend.asarray(obj, device=self.device, dtype=self.dtype)

    def to_numpy(self, array: AnyArray) -> np.ndarray[Any, Any]:
        """View an array of any library as a NumPy array, or copy it from its device; torch's bfloat16 becomes float32.

        Parameters
        ----------
        array : array
            The array to convert.

        Returns
        -------
        numpy.ndarray
            Its values.
        """
        return to_numpy(array)

    def vjp(self, op: Callable[..., object], *arrays: object, **params: Unpack[Parameters]) -> tuple[Array, Pullback]:
        """`triconv.vjp` on this library; `op` may be one of its own operators too."""
        y, pullback = derivatives.vjp(self.in_steps(op), *map(self.asarray, arrays), **params)
        return y, replace(pullback, move=self.asarray)

    def jvp(
        self,
        op: Callable[..., object],
        arrays: Sequence[object],
        tangents: Sequence[object],
        **params: Unpack[Parameters],
    ) -> tuple[Array, Array]:
        """`triconv.jvp` on this library; `op` may be one of its own operators too."""
        derivatives.check_tuples(arrays, tangents)
        moved_arrays, moved_tangents = (tuple(map(self.asarray, listed)) for listed in (arrays, tangents))
        return derivatives.jvp(self.in_steps(op), moved_arrays, moved_tangents, **params)

    def in_steps(self, op: Callable[..., Any]) -> Callable[..., Any]:
        """The plain operator; without `jit`, one whose calls run step by step."""
        op = op.op if isinstance(op, BoundOperator) else op
        return op if self.jit or not self._backend.compiles or not hasattr(op, "resolve") else InSteps(op)


def check_device(backend: Standard, device: object) -> None:
    """Raise `ValueError` unless a library has a device here, as it or JAX's strings spell it."""
    try:
        backend.asarray(0, device=device)
    except Exception as problem:
        here = backend.devices()
        msg = f"`device` must be one of {backend.name}'s, such as {', '.join(here)}, got {shown(device)}"
        if str(device).lower().startswith(("cuda", "gpu")) and not any("cuda" in name.lower() for name in here):
            msg = f"{msg}: {backend.name} finds no CUDA here"
        raise ValueError(msg) from problem


class BoundOperator:
    """An operator bound to one library: it first moves its arrays there.

    Parameters
    ----------
    bound : Bound
        The library, device and dtype.
    op : callable
        The plain operator; its name, signature and docstring are kept.
    """

    def __init__(self, bound: Bound, op: Callable[..., Array]) -> None:
        functools.update_wrapper(self, op, updated=())
        self.__signature__ = inspect.signature(op)
        self.bound, self.op, self.arrays = bound, op, array_names(op)

    def __call__(self, *args: Any, **kwargs: Any) -> Array:
        """Move the arrays and run."""
        bound = self._moved(args, kwargs)
        return self.bound.in_steps(self.op)(*bound.args, **bound.kwargs)

    def resolve(self, *args: Any, **kwargs: Any) -> Any:
        """Move the arrays and resolve, as the `resolve` of the plain operator."""
        bound = self._moved(args, kwargs)
        return self.op.resolve(*bound.args, **bound.kwargs)  # type: ignore[attr-defined]

    def __reduce__(self) -> Any:
        return getattr, (self.bound, self.op.__name__)

    def __repr__(self) -> str:
        return f"{self.bound!r}.{self.op.__name__}"

    def _moved(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> inspect.BoundArguments:
        try:
            bound = self.__signature__.bind(*args, **kwargs)
        except TypeError as problem:
            msg = f"`{self.op.__name__}`: {problem}"
            raise TypeError(msg) from None
        for name, value in bound.arguments.items():
            if name in self.arrays and value is not None:
                bound.arguments[name] = self.bound.asarray(value)
        return bound


class InSteps:
    """An operator whose calls run step by step: no call is compiled as a whole."""

    def __init__(self, op: Callable[..., Array]) -> None:
        functools.update_wrapper(self, op, updated=())
        self.op = op

    def __call__(self, *args: Any, **kwargs: Any) -> Array:
        """Run."""
        call, arrays = self.resolve(*args, **kwargs)
        return call(*arrays)

    def resolve(self, *args: Any, **kwargs: Any) -> Any:
        """As the `resolve` of the plain operator, for a call that runs step by step."""
        call, arrays = self.op.resolve(*args, **kwargs)  # type: ignore[attr-defined]
        return replace(call, steps=True), arrays


def _again(name: Library, device: Any, dtype: Any, jit: bool) -> Bound:
    """Make what was pickled again; its arguments are positional, so that later versions can read the pickle."""
    return use(name, device=device, dtype=dtype, jit=jit)
