"""The backend switch: the operators, bound to one library."""

from __future__ import annotations

import functools
import inspect
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from triconv import derivatives, notebook, operators, torch_spelling
from triconv.backends import BACKENDS, to_numpy

Array = Any

OPERATORS: dict[str, Callable[..., Array]] = {
    name: getattr(module, name)
    for module, names in (
        (operators, ("conv", "conv_input_vjp", "conv_weight_vjp")),
        (torch_spelling, ("conv1d", "conv2d", "conv3d")),
        (torch_spelling, ("conv_transpose1d", "conv_transpose2d", "conv_transpose3d")),
        (notebook, ("conv2d_forward", "conv2d_backward", "conv2d_backward_weights")),
    )
    for name in names
}


@dataclass(frozen=True, slots=True)
class Installed:
    """A library that triconv computes with here."""

    name: str
    version: str
    devices: tuple[str, ...]


def backends() -> dict[str, Installed]:
    """What is installed here: array libraries by the names that `use` takes, with version and devices.

    Returns
    -------
    dict of str to Installed
        In the order numpy, jax, torch, cupy, array-api-strict.

    Notes
    -----
    Imports each of the libraries that is installed.

    Examples
    --------
    >>> import triconv
    >>> triconv.backends()["numpy"].devices
    ('cpu',)
    """
    found = {}
    for name, kind in BACKENDS.items():
        if kind.installed():
            found[name] = Installed(name, kind.version(), tuple(kind.load().devices()))
    return found


def use(name: str | None = None, *, device: Any = None, dtype: Any = None, jit: bool = True) -> Bound:
    """Bind the operators to one library: any arrays (or nested lists) that they are given are moved there first.

    Parameters
    ----------
    name : {"numpy", "jax", "torch", "cupy", "array-api-strict"}, optional
        The library; by default the environment variable ``TRICONV_BACKEND``, else "numpy".
    device : Any, optional
        Where to, as the library spells it; for JAX also a string such as "cpu" or "cuda:1". By default the library's default.
    dtype : str or dtype, optional
        To which dtype; by default the arrays keep their own.
    jit : bool
        Whether to compile a call as a whole, where the library has a compiler that triconv uses (JAX); otherwise it runs
        step by step, which only a debugger could want.

    Returns
    -------
    Bound
        With the operators, `vjp` and `jvp`, ``xp``, ``asarray`` and ``to_numpy``.

    Raises
    ------
    ValueError
        If there is no backend of this name, or the library lacks the dtype.
    ImportError
        If the library is not installed; the message has the command that installs it.

    Notes
    -----
    Moving costs one copy an array, unless it is of that library, device and dtype already.

    Examples
    --------
    >>> import triconv
    >>> tc = triconv.use("numpy", dtype="float32")
    >>> tc.conv1d([[[1, 2, 3]]], [[[1, 1]]])
    array([[[3., 5.]]], dtype=float32)
    """
    where = "`name`" if name is not None else "`TRICONV_BACKEND`"
    name = name if name is not None else os.environ.get("TRICONV_BACKEND") or "numpy"
    if name not in BACKENDS:
        msg = f"{where} must be one of {', '.join(map(repr, BACKENDS))}, got {name!r}"
        raise ValueError(msg)
    kind = BACKENDS[name]
    if not kind.installed():
        msg = f"{where} must be installed here, got {name!r}; install it with: {kind.install_command()}"
        raise ImportError(msg)
    return Bound(kind.load(), device=device, dtype=dtype, jit=jit)


class Bound:
    """The operators, bound to one library; made by `use`.

    Parameters
    ----------
    backend : Standard
        The library.
    device, dtype, jit : as in `use`
        Where to, to which dtype, and whether to compile.
    """

    conv: Callable[..., Array]
    conv_input_vjp: Callable[..., Array]
    conv_weight_vjp: Callable[..., Array]
    conv1d: Callable[..., Array]
    conv2d: Callable[..., Array]
    conv3d: Callable[..., Array]
    conv_transpose1d: Callable[..., Array]
    conv_transpose2d: Callable[..., Array]
    conv_transpose3d: Callable[..., Array]
    conv2d_forward: Callable[..., Array]
    conv2d_backward: Callable[..., Array]
    conv2d_backward_weights: Callable[..., Array]

    def __init__(self, backend: Any, *, device: Any, dtype: Any, jit: bool) -> None:
        self.name: str = backend.name
        self.xp = backend.xp
        self.device = device
        self.dtype = backend.dtype(dtype)
        self.jit = jit and backend.compiles
        self._backend = backend
        backend.asarray(0, dtype=self.dtype)  # a dtype that the library is not configured for shows now
        try:
            backend.asarray(0, device=device)
        except Exception as problem:
            msg = f"`device` must be one of {backend.name}'s, such as {', '.join(backend.devices())}, got {device!r}"
            raise ValueError(msg) from problem
        for name, op in OPERATORS.items():
            setattr(self, name, self._bind(op))

    def __repr__(self) -> str:
        return f"triconv.use({self.name!r}, device={self.device!r}, dtype={self.dtype!r}, jit={self.jit!r})"

    def asarray(self, obj: Any) -> Array:
        """Move an array of any library, or numbers in nested lists, to this library, device and dtype.

        Parameters
        ----------
        obj : array or nested list
            What to move.

        Returns
        -------
        array
            Its copy there, or `obj` itself if it is there already.
        """
        return self._backend.asarray(obj, device=self.device, dtype=self.dtype)

    def to_numpy(self, array: Array) -> Any:
        """View an array of any library as one of NumPy's, or copy it if it is elsewhere; torch's bfloat16 becomes float32.

        Parameters
        ----------
        array : array
            What to convert.

        Returns
        -------
        numpy.ndarray
            Its values.
        """
        return to_numpy(array)

    def vjp(self, op: Callable[..., Array], *arrays: Array, **params: Any) -> Any:
        """`triconv.vjp` on this library."""
        y, pullback = derivatives.vjp(op, *map(self.asarray, arrays), **params)
        return y, lambda g: pullback(self.asarray(g))

    def jvp(self, op: Callable[..., Array], arrays: Any, tangents: Any, **params: Any) -> Any:
        """`triconv.jvp` on this library."""
        return derivatives.jvp(op, tuple(map(self.asarray, arrays)), tuple(map(self.asarray, tangents)), **params)

    def _bind(self, op: Callable[..., Array]) -> Callable[..., Array]:
        """`op`, moving what it is given; an array may also come by its name."""
        signature = inspect.signature(op)

        def moved(args: tuple[Any, ...], kwargs: dict[str, Any]) -> inspect.BoundArguments:
            try:
                given = signature.bind(*args, **kwargs)
            except TypeError as problem:
                msg = f"`{op.__name__}`: {problem}"
                raise TypeError(msg) from None
            for name, value in given.arguments.items():
                if name in ARRAYS and value is not None:
                    given.arguments[name] = self.asarray(value)
            return given

        @functools.wraps(op)
        def resolve(*args: Any, **kwargs: Any) -> Any:
            given = moved(args, kwargs)
            return op.resolve(*given.args, **given.kwargs)  # type: ignore[attr-defined]

        @functools.wraps(op)
        def run(*args: Any, **kwargs: Any) -> Array:
            if self._backend.compiles and not self.jit:
                call, arrays = resolve(*args, **kwargs)
                return call.run(*arrays)
            given = moved(args, kwargs)
            return op(*given.args, **given.kwargs)

        run.resolve = resolve  # type: ignore[attr-defined]
        return run


# names under which operators take arrays
ARRAYS = {"x", "w", "bias", "g", "matrix", "filter", "upstream"}
