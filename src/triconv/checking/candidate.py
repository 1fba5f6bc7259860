"""`Candidate`: what a check asks of a convolution. It takes NumPy arrays, as the user has them laid out, and gives what came.

Inside it works in its own library and dtype. What a library can do with a function beyond its value is in `by_jax.py` and
`by_torch.py`.
"""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from triconv.backends import to_numpy
from triconv.checking.sentences import one_line
from triconv.checking.unsupported import NotOffered, is_unsupported

Array = Any
Arrays = Sequence[np.ndarray]


class Candidate:
    """A function of arrays with what its library can do with it; this one has its value alone.

    Parameters
    ----------
    function : callable
        What the user wrote.
    backend : Standard
        The library whose arrays it takes.
    dtype : str
        Of its floating arrays.
    keywords : dict
        What it is handed beside arrays.
    """

    transforms: tuple[str, ...] = ()
    differentiates = False
    """Whether its library computes values in another way where derivatives are asked for."""

    def __init__(self, function: Callable[..., Any], backend: Any, dtype: str, keywords: dict[str, Any]) -> None:
        self.function, self.backend, self.dtype, self.keywords = function, backend, dtype, keywords
        self._programs: dict[str, Any] = {}

    def move(self, arrays: Arrays) -> list[Array]:
        """Copies of the arrays in the candidate's library and dtype: it may write into them."""
        if self.backend.name == "numpy":
            dtype = _numpy_dtype(self.dtype)
            return [np.array(a).astype(dtype) for a in arrays]
        return [self.backend.asarray(np.array(a), dtype=self.dtype) for a in arrays]

    def call(self, *arrays: Array) -> Array:
        """The candidate itself; of a tuple or list of one array, that array."""
        return _alone(self.function(*arrays, **self.keywords))

    def session(self) -> contextlib.AbstractContextManager[Any]:
        """Within it, the library has the dtype, in this thread."""
        if self.backend.name == "jax" and self.dtype in ("float64", "complex128", "int64"):
            return importlib.import_module("jax").enable_x64(True)
        return contextlib.nullcontext()

    def value(self, arrays: Arrays) -> Any:
        """The result, as it came."""
        return self.call(*self.move(arrays))

    def vjp(self, arrays: Arrays, g: np.ndarray, n: int) -> Any:
        """The cotangent of one array."""
        raise NotOffered(self._no("derivatives"))

    def value_with_vjp(self, arrays: Arrays, g: np.ndarray) -> Any:
        """The value that comes with the cotangents."""
        raise NotOffered(self._no("derivatives"))

    def jvp(self, arrays: Arrays, tangents: Arrays) -> Any:
        """The tangent of the result."""
        raise NotOffered(self._no("forward mode"))

    def value_with_jvp(self, arrays: Arrays, tangents: Arrays) -> Any:
        """The value that comes with the tangent."""
        raise NotOffered(self._no("forward mode"))

    def reverse_over_reverse(self, arrays: Arrays, g: np.ndarray, tangents: Arrays) -> list[Any]:
        """Derivative of the cotangents, against the tangents, by each array, and last by `g`."""
        raise NotOffered(self._no("second order"))

    def forward_over_reverse(self, arrays: Arrays, g: np.ndarray, tangents: Arrays) -> list[Any]:
        """Derivative of the cotangents along the tangents."""
        raise NotOffered(self._no("second order"))

    def vmap(self, stacked: Arrays) -> Any:
        """Results for arrays with one more axis in front."""
        raise NotOffered(self._no("vmap"))

    def jit(self, arrays: Arrays) -> Any:
        """The result when compiled."""
        raise NotOffered(self._no("jit"))

    def _no(self, what: str) -> str:
        return f"a function of {self.backend.name} has no {what}"

    def _offered(self, what: str, run: Callable[..., Any], *args: Any) -> Any:
        """What `run` gives; `NotOffered` where its error says that there is no such thing, else its error."""
        try:
            return run(*args)
        except NotOffered:
            raise
        except Exception as problem:
            if is_unsupported(problem, what):
                raise NotOffered(_first_line(what, problem)) from problem
            raise


def guarded(ask: Callable[..., Any], dtype: str, ndim: int) -> Callable[..., Any]:
    """A question whose answer is an array where it can be one, and that raises nothing that would end the checker.

    Parameters
    ----------
    ask : callable
        Runs the candidate.
    dtype : str
        Of numbers in lists, which have none of their own.
    ndim : int
        Number of axes that the result should have.
    """

    def run(*args: Any) -> Any:
        try:
            return taken(ask(*args), dtype, ndim)
        except (Exception, KeyboardInterrupt):
            raise
        except BaseException as problem:  # SystemExit, or pytest's own: of the same name, so that the report says which
            raise type(type(problem).__name__, (Exception,), {})(str(problem)) from problem

    return run


def taken(raw: Any, dtype: str, ndim: int) -> Any:
    """A result that is an array in other clothes as that array: alone in a tuple, numbers in lists, in the other byte order."""
    raw = _alone(raw)
    if isinstance(raw, np.ndarray) and not raw.dtype.isnative:
        return raw.astype(raw.dtype.newbyteorder("="))
    depth, first = 0, raw
    while isinstance(first, (list, tuple)) and first:
        depth, first = depth + 1, first[0]
    if not isinstance(first, (int, float, complex, np.number)) or not (depth >= 2 or 0 < depth == ndim):
        return raw
    try:
        found = np.asarray(raw)
    except ValueError:  # lists of unequal lengths
        return raw
    narrows = found.dtype.kind == "c" and not dtype.startswith("complex")
    return found if narrows or found.dtype.kind not in "iufc" else found.astype(_numpy_dtype(dtype))


def as_numpy(result: Any) -> np.ndarray | None:
    """A result as a NumPy array; None if it is no array."""
    if result is None or isinstance(result, (list, tuple, str, dict, bool, int, float, complex)):
        return None
    try:
        found = to_numpy(result)
    except Exception:  # noqa: BLE001
        return None
    return found if found.dtype.kind in "iufc" or found.dtype.name == "bfloat16" else None


def _alone(result: Any) -> Any:
    """The array that a tuple or list holds alone."""
    if isinstance(result, (tuple, list)) and len(result) == 1 and hasattr(result[0], "shape"):
        return result[0]
    return result


def _numpy_dtype(name: str) -> Any:
    return importlib.import_module("ml_dtypes").bfloat16 if name == "bfloat16" else np.dtype(name)


def _first_line(what: str, problem: Exception) -> str:
    return f"no {what}: {type(problem).__name__}: {one_line(problem)}"
