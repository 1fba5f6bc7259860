"""`gradcheck`: whether the derivatives of any function are those of its own values."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, get_args

import numpy as np
from array_api_compat import is_array_api_obj

from triconv.backends import to_numpy
from triconv.checking.candidates import framework_detection, modules
from triconv.checking.candidates.candidates import CandidateFunction, Rules, as_arguments, as_candidate, framework_of
from triconv.checking.candidates.isolated_candidate import Isolation, RemoteTarget, can_isolate, checked, with_ends
from triconv.checking.candidates.joined_results import joined
from triconv.checking.candidates.naming import name_of, versions
from triconv.checking.candidates.pairs import positional
from triconv.checking.counterexamples.counterexample_program import function_program
from triconv.checking.dtypes import COMPLEX
from triconv.checking.findings.exception_text import one_line
from triconv.checking.functions import function_memory
from triconv.checking.functions.function_check import FunctionCheck
from triconv.checking.questions.unjudged import no_derivative
from triconv.checking.reports import wording
from triconv.checking.reports.report import Report
from triconv.operators.backend_switch import check_device
from triconv.operators.signature_types import Library

SmoothDtype = Literal["float64", "float32", "complex128", "complex64"]
DTYPES = get_args(SmoothDtype)


@can_isolate
def gradcheck(
    f: object,
    *shapes_or_arrays: object,
    framework: Library | None = None,
    dtype: SmoothDtype | None = None,
    seed: int = 0,
    progress: Callable[[str], object] | None = None,
    args: object = (),
    kwargs: Mapping[str, object] | None = None,
    parameters: Sequence[str] | None = None,
    gradients: Sequence[str] | None = None,
    device: object = None,
    isolate: bool | Isolation = False,  # noqa: ARG001 (for `can_isolate`)
) -> Report:
    """Check that the derivatives of a function are those of its own values: exactly where it is a polynomial on a piece.

    Parameters
    ----------
    f : callable, or (forward, backward)
        A function of JAX, torch or NumPy, a module, a layer, `triconv.Rules`, or a pair. Its result may be a tuple of arrays.
    *shapes_or_arrays : tuple of int, array, or anything
        A shape or a floating array for each array by which it is differentiated. Arrays of integers or booleans, and whatever
        is neither a shape nor an array, are handed on as they are.
    framework : {"numpy", "jax", "torch", ...}, optional
        Whose arrays the function takes; by default found from its code and from what it returns.
    dtype : {"float64", "float32", "complex128", "complex64"}, optional
        Of the arrays; by default that of the arrays given, else "float64", or "float32" for a function that refuses it.
    seed : int
        Of the data.
    progress : callable, optional
        Called with the name of each question before it is asked.
    args : Any
        Further arguments after the arrays: a tuple of them, or a dict or another value as one argument.
    kwargs : dict, optional
        Further arguments by name.
    parameters, gradients : sequence of str, optional
        Attributes of a layer that are its parameters and their gradients, where they cannot be found out.
    device : Any, optional
        Where the arrays are, such as "cuda".
    isolate : bool or Isolation
        As of `check`: whether the function runs in a process of its own.

    Returns
    -------
    Report
        As that of `check`; ``how`` is "exact" or "numerical".

    Raises
    ------
    TypeError, ValueError
        If the question makes no sense.

    Notes
    -----
    Along a line, ``p(t) = f(a + t v)`` of a polynomial of degree ``d`` is determined by its values at ``d + 1`` integers, and
    one more shows that ``d`` is enough. With coordinates of few bits all of them are exact, so ``p'(0)`` is known exactly, and
    ``<g, p'(0)>`` must equal ``<vjp(g), v>``: there is no step size and no tolerance. A wrong VJP passes one random line with a
    probability of at most 1 in 65. ReLU, max-pooling and clipping are polynomials on a piece, of which the steps, some
    millionths of the coordinates, rarely leave one; the element that does is left out. What is no polynomial (tanh, softmax, a
    norm) is differentiated numerically by Ridders' method in the dtype of the arrays; the verdict is "wrong" only far outside
    of the estimate of its error, and "unchecked" between. Second order is compared with the derivative of the VJP.

    Examples
    --------
    >>> import numpy as np, triconv
    >>> def relu(x):
    ...     return np.maximum(x, 0), x
    >>> def backward(g, x):
    ...     return g * (x > 0) * 2
    >>> print(triconv.gradcheck((relu, backward), (3, 4)).summary)
    wrong: relu, VJP of x: every element is ...
    """
    return check_function(
        f,
        None,
        shapes_or_arrays,
        {},
        framework=framework,
        dtype=dtype,
        args=args,
        kwargs=kwargs,
        parameters=parameters,
        gradients=gradients,
        device=device,
        seed=seed,
        progress=progress,
    )


def check_function(
    f: Any,
    like: Callable[..., Any] | None,
    given: tuple[Any, ...],
    params: dict[str, Any],
    *,
    framework: str | None,
    dtype: str | None,
    args: Any,
    kwargs: Mapping[str, Any] | None,
    parameters: Any,
    gradients: Any,
    device: Any,
    seed: int,
    progress: Callable[[str], Any] | None,
) -> Report:
    """Check a function against its own values, or against those of another function of the same arrays."""
    if params and like is None:
        msg = f"`like` must be given with parameters of an operator, got {', '.join(params)} without it"
        raise TypeError(msg)
    prepared = functools.partial(_prepared, given=given, parameters=parameters, gradients=gradients)
    wrapped, names, shapes, arrays = prepared(f, framework=framework, dtype=dtype, args=args, kwargs=kwargs)
    wrapped.device = device
    if device is not None and not isinstance(f, RemoteTarget):  # which has its own process
        check_device(wrapped.backend, device)
    reference = None
    if like is not None:
        every = tuple(arrays) if arrays else shapes
        precise = "complex128" if wrapped.dtype in COMPLEX else "float64"
        reference = _prepared(
            like,
            given=(*every, *(a for a in given if _kind(a) == "constant")),
            framework=None,
            dtype=precise,
            args=(),
            kwargs=params,
            parameters=None,
            gradients=None,
        )[0]
        _ask(reference, name_of(like), every if arrays else [np.ones(shape) for shape in shapes])
    check = FunctionCheck(wrapped, reference, names, shapes, wrapped.dtype, seed, arrays)
    on_progress = progress or (lambda _: None)
    with wrapped.session(), np.errstate(all="ignore"):
        rows = list(check.rows(lambda question: on_progress(wording.question(question))))
        rows = with_ends(function_memory.with_rows(check, rows, on_progress, writes=modules.is_in_place(f)))
        counterexample = function_program(f, wrapped, names, rows, "" if like is None else name_of(like))
    rows += no_derivative(rows, wrapped, None)
    return Report(
        candidate=name_of(f),
        like="" if like is None else name_of(like),
        shapes=dict(zip(names, shapes, strict=True)),
        params=params,
        framework=wrapped.backend.name,
        dtype=wrapped.dtype,
        rows=tuple(rows),
        counterexample=counterexample,
        versions=versions(wrapped.backend.name),
        seed=seed,
    )


def _ask(reference: CandidateFunction, name: str, arrays: Sequence[Any]) -> None:
    """Raise unless the function that is the truth takes the arrays."""
    try:
        with reference.session(), np.errstate(all="ignore"):
            reference.value([np.asarray(a) for a in arrays])
    except Exception as problem:
        msg = f"`like` must take the arrays, but raised {type(problem).__name__}: {one_line(problem)} ({name})"
        raise ValueError(msg) from problem


def _prepared(
    f: Any,
    *,
    given: tuple[Any, ...],
    framework: str | None,
    dtype: str | None,
    args: Any,
    kwargs: Mapping[str, Any] | None,
    parameters: Any,
    gradients: Any,
) -> tuple[CandidateFunction, tuple[str, ...], tuple[tuple[int, ...], ...], list[np.ndarray] | None]:
    """Return the candidate, the names and shapes of its arrays, and the user's arrays."""
    if isinstance(f, RemoteTarget):
        found = f.run(
            _prepared,
            f,
            given=given,
            framework=framework,
            dtype=dtype,
            args=args,
            kwargs=kwargs,
            parameters=parameters,
            gradients=gradients,
        )
        return checked(found, CandidateFunction, tuple, tuple, object)
    kinds = list(map(_kind, given))
    arrays = [to_numpy(a) for a, kind in zip(given, kinds, strict=True) if kind == "array"]
    if "array" in kinds and "shape" in kinds:
        msg = "`shapes_or_arrays` must be all shapes (tuples of ints) or all arrays, got both; arrays of integers are constants"
        raise TypeError(msg)
    if dtype not in (None, *DTYPES):
        msg = f"`dtype` must be one of {', '.join(map(repr, DTYPES))}, got {dtype!r}"
        raise ValueError(msg)
    shapes = [tuple(map(int, a)) for a, kind in zip(given, kinds, strict=True) if kind == "shape"]
    shapes += [a.shape for a in arrays]
    constants = [(n, a) for n, (a, kind) in enumerate(zip(given, kinds, strict=True)) if kind == "constant"]
    dtypes = (dtype,) if dtype else _dtypes(given, kinds)
    framework = framework or framework_detection.of_arrays([a for a in given if is_array_api_obj(a)])
    wrapped = _working(f, framework, dtypes, shapes, constants, args, kwargs, parameters, gradients)
    own = list(wrapped.own)
    names = _names(f, [n for n, kind in enumerate(kinds) if kind != "constant"], len(given))
    all_shapes = (*shapes, *(a.array.shape for a in own))
    if not all_shapes:
        msg = "`shapes_or_arrays` must hold a shape or a floating array, such as triconv.gradcheck(f, (2, 3))"
        raise TypeError(msg)
    used = [*arrays, *(a.array for a in own)] if arrays else None
    return wrapped, (*names, *(a.name for a in own)), all_shapes, used


def _kind(a: Any) -> str:
    """Whether an argument is an array, a shape, or a constant."""
    return "array" if _is_floating(a) else "shape" if _is_shape(a) else "constant"


def _is_floating(a: Any) -> bool:
    if not is_array_api_obj(a):
        return False
    name = str(a.dtype)
    return any(kind in name for kind in ("float", "complex"))


def _is_shape(a: Any) -> bool:
    return isinstance(a, (tuple, list)) and all(hasattr(n, "__index__") and not isinstance(n, bool) for n in a)


def _dtypes(given: tuple[Any, ...], kinds: list[str]) -> tuple[str, ...]:
    """Return the dtypes to try, by the arrays given; half the width is asked in single precision."""
    names = {str(a.dtype).rpartition(".")[2] for a, kind in zip(given, kinds, strict=True) if kind == "array"}
    if any("complex" in name for name in names):
        return ("complex128",) if "complex128" in names or "float64" in names else ("complex64",)
    if names and "float64" not in names:
        return ("float32",)
    return ("float64", "float32")


def _working(
    f: Any,
    framework: str | None,
    dtypes: tuple[str, ...],
    shapes: list[tuple[int, ...]],
    constants: list[tuple[int, Any]],
    args: Any,
    kwargs: Mapping[str, Any] | None,
    parameters: Any,
    gradients: Any,
) -> CandidateFunction:
    """Return the candidate in the first dtype that it takes and returns; where it takes none, in the first."""
    first: CandidateFunction | None = None
    trailing = [a for n, a in constants if n >= len(shapes)]
    inner = dict(constants[: len(constants) - len(trailing)])

    def wrap(name: str | None, dtype: str) -> CandidateFunction:
        extra = args if not trailing else (*trailing, *as_arguments(args))
        wrapped = as_candidate(
            f,
            framework=name,
            dtype=dtype,
            keywords=dict(kwargs or {}),
            is_notebook=False,
            args=extra,
            shapes=tuple(shapes),
            parameters=parameters,
            gradients=gradients,
        )
        if not wrapped.returns_cache:
            wrapped.function = joined(wrapped.function, inner)
        return wrapped

    for dtype in dtypes:

        def value(name: str, dtype: str = dtype) -> Any:
            wrapped = wrap(name, dtype)
            with wrapped.session(), np.errstate(all="ignore"):  # it may be undefined there
                own = [np.asarray(a.array) for a in wrapped.own]
                return wrapped.first_value([*(np.ones(shape) for shape in shapes), *own])

        name = framework or framework_detection.settled(framework_of(f), value)
        wrapped = wrap(name, dtype)
        first = first or wrapped
        try:
            result = value(name)
        except Exception:  # noqa: BLE001 (asked again, and then reported)
            continue
        # some compute in single precision whatever they are given
        narrows = str(getattr(result, "dtype", "")).endswith("32")
        if not (narrows and dtype == dtypes[0] and len(dtypes) > 1):
            return wrapped
    assert first is not None
    return first


def _names(f: Any, positions: list[int], count: int) -> tuple[str, ...]:
    """Return what a function calls its arrays; x0, x1, ... where it does not say."""
    function = f.forward if isinstance(f, Rules) else f[0] if isinstance(f, (tuple, list)) and f else f
    named = [p.name for p in positional(function)]
    if len(named) < count:
        named = [f"x{n}" for n in range(count)] if count > 1 else ["x"]
    return tuple(named[n] for n in positions)
