"""`CandidateFunction`: what a check asks of a convolution, with NumPy arrays in the user's layout.

Inside it works in its own library and dtype. What a library can do with a function beyond its value is in
`jax_candidate.py` and `torch_candidate.py`.
"""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from triconv.backends import to_numpy
from triconv.checking.candidates import settings
from triconv.checking.candidates.layer_steps import History
from triconv.checking.candidates.parameter_hooks import Training
from triconv.checking.candidates.unsupported import Unsupported, is_unsupported
from triconv.checking.dtypes import COMPLEX
from triconv.checking.findings.exception_text import caught
from triconv.checking.findings.memory_findings import Situation
from triconv.checking.findings.unanswered import Ability, NoArray, NotSupported, Reason
from triconv.checking.memory.handed import Watch

Array = Any
Arrays = Sequence[np.ndarray]


class OwnArray(NamedTuple):
    """A parameter that a module or a layer has itself, with what it is called there."""

    name: str
    array: np.ndarray


class CandidateFunction:
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
        Keywords that it is called with, after the arrays.
    args : tuple
        Arguments that it is called with after the arrays.
    own : tuple of OwnArray
        The parameters that it has itself. All that is asked of it takes them after the arrays that the user gives.
    read_off : dict
        Parameters of an operator that it says itself.
    """

    transforms: tuple[str, ...] = ()
    inputs: int | None = None
    """How many of its arrays, from the first on, a call may not change; None for all: a layer may update its parameters."""
    returns_cache = False
    """Whether its function returns more than its value, for its backward."""
    has_rules = False
    """Whether its derivatives are functions of their own, one for each array."""
    differentiates = False
    """Whether its library computes values in another way where derivatives are asked for."""

    is_object = False
    """Whether it is a module or a layer, which keeps what it likes, and is called by one thread at a time."""
    is_cold = False
    """Whether the first call of all gave another result than the second with the same numbers."""
    keeps_state = False
    """Whether it is a layer by hand, of which each call gets a copy, unless it is asked `in_turn`."""

    def __init__(
        self,
        function: Callable[..., Any],
        backend: Any,
        dtype: str,
        keywords: dict[str, Any],
        *,
        args: tuple[Any, ...] = (),
        own: tuple[OwnArray, ...] = (),
        read_off: dict[str, Any] | None = None,
    ) -> None:
        self.function, self.backend, self.dtype, self.keywords = function, backend, dtype, keywords
        self.args, self.own, self.read_off = args, own, read_off or {}
        self.written: Any = function
        """What the user wrote, of which the function may be made."""
        self.device: Any = None
        """Where its arrays are; None for where its library puts them."""
        self.watch: Watch | None = None
        """Sees what is handed to the function, and arranges it; None for plain arrays."""
        self.evaluation: Callable[[], contextlib.AbstractContextManager[Any]] | None = None
        """Within what it returns, a module is in evaluation mode, if it is in training mode else."""
        self.training: Training | None = None
        """Where hooks of a module's parameters change their gradients: what `backward` leaves in them."""
        self._programs: dict[str, Any] = {}
        self.changes = settings.Changes(self)
        """What it leaves changed of the settings of the process."""

    def __copy__(self) -> CandidateFunction:
        """The same, with functions that may be exchanged: it is not watched for what it leaves changed."""
        new = object.__new__(type(self))
        vars(new).update({name: value for name, value in vars(self).items() if name not in settings.ASKED})
        return new

    def move(self, arrays: Arrays) -> list[Array]:
        """Copies of the arrays in the candidate's library and dtype: it may write into them."""
        if self.backend.name == "numpy":
            dtype = _numpy_dtype(self.dtype)
            moved = [np.array(a, dtype, order="C") for a in arrays]
        else:
            dtype = None if self.dtype == "bfloat16" else np.dtype(self.dtype)
            with np.errstate(all="ignore"):  # what it overflows to is meant
                copies = [np.array(a, dtype, order="C") for a in arrays]
            moved = [self.backend.asarray(a, dtype=self.dtype, device=self.device) for a in copies]
        if self.watch is None:
            return moved
        return [self.watch.hand(a, new) for a, new in zip(arrays, moved, strict=True)]

    def call(self, *arrays: Array) -> Array:
        """The candidate itself; of a tuple or list of one array, that array."""
        return _alone(self.function(*arrays, *self.args, **self.keywords))

    @property
    def functions(self) -> tuple[Any, ...]:
        """What the user wrote, each function of it."""
        return (self.written,)

    @contextlib.contextmanager
    def session(self) -> Iterator[None]:
        """Within it, the library has the dtype, in this thread; after it, settings are what they were."""
        is_wide = self.backend.name == "jax" and self.dtype in ("float64", "complex128", "int64")
        with importlib.import_module("jax").enable_x64(True) if is_wide else contextlib.nullcontext():
            self.changes.begin()
            try:
                yield
            finally:
                self.changes.undo()

    def first_value(self, arrays: Arrays) -> Any:
        """The result of a call before any question: the settings that it leaves changed are put back.

        It is called again, to see whether the first call of all gives what later ones do.
        """
        try:
            raw = self.value(arrays)
            result = snapshot(raw)
            with contextlib.suppress(Exception):  # asked again, it is heard
                first, again = as_numpy(result), as_numpy(self.value(arrays))
                if first is not None and again is not None and first.shape == again.shape:
                    # not by rounding, which may depend on how memory is aligned
                    self.is_cold = not np.allclose(first, again, rtol=1e-2, atol=0.25, equal_nan=True)
            return result
        finally:
            self.changes.of(lambda: self.value(arrays))

    def situations(self) -> dict[Situation, Callable[[], contextlib.AbstractContextManager[Any]]]:
        """Other situations in which its value should be the same, each with what to call it in."""
        return {} if self.evaluation is None else {Situation.EVALUATION: self.evaluation}

    def value(self, arrays: Arrays) -> Any:
        """The result, as it came."""
        return self.call(*self.move(arrays))

    def vjp(self, arrays: Arrays, g: np.ndarray, n: int) -> Any:
        """The cotangent of one array."""
        raise self._lacks(Ability.DERIVATIVE)

    def vjps(self, arrays: Arrays, g: np.ndarray) -> list[Any]:
        """The cotangents of all arrays."""
        return [self.vjp(arrays, g, n) for n in range(len(arrays))]

    def is_difference(self, n: int) -> bool:
        """Whether the cotangent of an array is known only as the difference that it makes to the array, which is rounded."""
        del n
        return False

    def vjps_of(self, arrays: Arrays, g: np.ndarray, wanted: Sequence[bool]) -> list[Any]:
        """The cotangents of some arrays alone, and None for the others, without a copy of what is handed over."""
        if not all(wanted):
            raise self._lacks(Ability.DERIVATIVE)
        return self.vjps(arrays, g)

    def pullback(self, arrays: Arrays) -> Callable[[np.ndarray], list[Any]]:
        """Run the forward; the function that is returned gives the cotangents, also after other forwards."""
        raise self._lacks(Ability.DERIVATIVE)

    def after_another_forward(self, arrays: Arrays, other: Arrays, g: np.ndarray) -> list[Any] | None:
        """The cotangents for arrays whose forward was not the last; None where the library keeps what they need."""
        return None

    def in_turn(self, steps: Sequence[tuple[Arrays, np.ndarray]]) -> History | None:
        """The value and the cotangents of step after step of one object; None where nothing is kept from call to call."""
        del steps
        return None

    def wrong_fakes(self, arrays: Arrays) -> dict[str, str]:
        """Operators that tell a compiler another shape or dtype than they return, each with what is said of it."""
        del arrays
        return {}

    def written_gradients(self, arrays: Arrays, g: np.ndarray) -> list[tuple[bool, bool, bool]]:
        """For each array, whether a call writes into its `grad`, whether its VJP is not zero, and whether it clears that."""
        del arrays, g
        return []

    def trained(self, arrays: Arrays, g: np.ndarray) -> list[Any]:
        """What a step of training leaves as the gradient of each array, where that is not what the cotangents are."""
        del arrays, g
        return []

    def jvp_of(self, arrays: Arrays, tangents: Arrays, n: int) -> Any:
        """The tangent of the result along one array alone, the others being constants."""
        raise self._lacks(Ability.FORWARD_MODE)

    def has_batching_rules(self, arrays: Arrays, g: np.ndarray | None = None) -> bool:
        """Whether the candidate, or its cotangents, have rules of their own for `vmap`, which see the axis, of those of JAX."""
        return False

    def vmap_along(self, arrays: Arrays, in_axes: Sequence[int | None]) -> Any:
        """Results for some arrays with one more axis, at the places given."""
        raise self._lacks(Ability.VMAP)

    def vmapped_vjps(self, arrays: Arrays, g: np.ndarray, in_axes: Sequence[int | None]) -> list[Any]:
        """The cotangents of each sample, for cotangents with one more axis in front and some arrays with one, as placed."""
        raise self._lacks(Ability.VMAP)

    def value_with_vjp(self, arrays: Arrays, g: np.ndarray) -> Any:
        """The value that comes with the cotangents."""
        raise self._lacks(Ability.DERIVATIVE)

    def value_and_vjps(self, arrays: Arrays, g: np.ndarray) -> list[Any]:
        """The value that comes with the cotangents, and these, from one call."""
        raise self._lacks(Ability.DERIVATIVE)

    def value_and_jvp(self, arrays: Arrays, tangents: Arrays) -> list[Any]:
        """The value that comes with the tangent, and this, from one call."""
        raise self._lacks(Ability.FORWARD_MODE)

    def jvp(self, arrays: Arrays, tangents: Arrays) -> Any:
        """The tangent of the result."""
        raise self._lacks(Ability.FORWARD_MODE)

    def value_with_jvp(self, arrays: Arrays, tangents: Arrays) -> Any:
        """The value that comes with the tangent."""
        raise self._lacks(Ability.FORWARD_MODE)

    def reverse_over_reverse(self, arrays: Arrays, g: np.ndarray, tangents: Arrays) -> list[Any]:
        """Derivative of the cotangents, against the tangents, by each array, and last by `g`."""
        raise self._lacks(Ability.SECOND_ORDER)

    def forward_over_reverse(self, arrays: Arrays, g: np.ndarray, tangents: Arrays) -> list[Any]:
        """Derivative of the cotangents along the tangents."""
        raise self._lacks(Ability.SECOND_ORDER)

    def vmap(self, stacked: Arrays) -> Any:
        """Results for arrays with one more axis in front."""
        raise self._lacks(Ability.VMAP)

    def jit(self, arrays: Arrays) -> Any:
        """The result when compiled."""
        raise self._lacks(Ability.JIT)

    def _lacks(self, ability: Ability) -> Unsupported:
        return Unsupported(NotSupported(Reason.LIBRARY, ability, self.backend.name))

    def _if_supported(self, ability: Ability, run: Callable[..., Any], *args: Any) -> Any:
        """Return what `run` returns; raise `Unsupported` where its error says that there is no such thing, else its error."""
        try:
            return run(*args)
        except Unsupported:
            raise
        except Exception as problem:
            if is_unsupported(problem, ability):
                raise Unsupported(NotSupported(Reason.EXCEPTION, ability, exception=caught(problem))) from problem
            raise


def guarded(ask: Callable[..., Any], dtype: str, ndim: int) -> Callable[..., Any]:
    """Return `ask` with results made arrays where they can be, and without exceptions that would end the checker.

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
            return as_array(ask(*args), dtype, ndim)
        except (Exception, KeyboardInterrupt):
            raise
        except BaseException as problem:  # SystemExit, or pytest's own: of the same name, so that the report says which
            raise type(type(problem).__name__, (Exception,), {})(str(problem)) from problem

    return run


def as_array(raw: Any, dtype: str, ndim: int) -> Any:
    """Return the array that a result stands for: alone in a tuple, numbers in lists, or in the other byte order."""
    raw = _alone(raw)
    if isinstance(raw, np.ndarray) and not raw.dtype.isnative:
        return raw.astype(raw.dtype.newbyteorder("="))
    depth, first = 0, raw
    while isinstance(first, (list, tuple)) and first:
        depth, first = depth + 1, first[0]
    if not isinstance(first, (int, float, complex, np.number)) or not (depth >= 2 or 0 < depth == ndim):
        return raw
    try:
        array = np.asarray(raw)
    except ValueError:  # lists of unequal lengths
        return raw
    narrows = array.dtype.kind == "c" and dtype not in COMPLEX
    return array if narrows or array.dtype.kind not in "iufc" else array.astype(_numpy_dtype(dtype))


def as_numpy(result: Any) -> np.ndarray | None:
    """A result as a NumPy array; None if it is no array."""
    is_scalar = isinstance(result, np.generic)  # of no axes: float64 is a float of Python's too
    if result is None or (isinstance(result, (list, tuple, str, dict, bool, int, float, complex)) and not is_scalar):
        return None
    try:
        array = to_numpy(result)
    except Exception:  # noqa: BLE001
        return None
    return array if array.dtype.kind in "iufc" or array.dtype.name == "bfloat16" else None


def snapshot(result: Any) -> Any:
    """A result, or several, in memory of its own: a candidate may write its next one over it, for which other rows look."""
    if isinstance(result, (list, tuple)):
        return type(result)(map(snapshot, result)) if type(result) in (list, tuple) else result
    if isinstance(result, np.ndarray):
        return result.copy()
    return result.detach().clone() if hasattr(result, "detach") and hasattr(result, "clone") else result


def long_axes(shape: Sequence[int]) -> tuple[int, ...]:
    """The sizes that are not 1."""
    return tuple(n for n in shape if n != 1)


def no_array(result: Any) -> NoArray:
    """What to say of a result that is no array, and which attribute of it is one: a tape wraps its arrays."""
    if isinstance(known := getattr(result, "no_array", None), NoArray):  # it is in another process
        return known
    names = (name for name in ("data", "value", "array", "numpy") if as_numpy(getattr(result, name, None)) is not None)
    return NoArray(type(result).__name__, next(names, ""))


def _alone(result: Any) -> Any:
    """The array that a tuple or list holds alone, or before what a backward needs: a cache is no array."""
    is_several = isinstance(result, (tuple, list)) and len(result) > 0 and hasattr(result[0], "shape")
    return result[0] if is_several and (len(result) == 1 or not hasattr(result[1], "shape")) else result


def _numpy_dtype(name: str) -> Any:
    return importlib.import_module("ml_dtypes").bfloat16 if name == "bfloat16" else np.dtype(name)
