"""`check`: somebody's convolution against the definition, with no tolerance to tune."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal, Unpack, cast, get_args

import numpy as np

from triconv.backends import BACKENDS, to_numpy
from triconv.checking import arguments
from triconv.checking.candidates import framework_detection, sharded_candidate
from triconv.checking.candidates.candidate_process import ProcessEndedError
from triconv.checking.candidates.candidates import (
    CandidateFunction,
    as_candidate,
    framework_of,
)
from triconv.checking.candidates.isolated_candidate import Isolation, RemoteTarget, can_isolate
from triconv.checking.candidates.naming import name_of, versions
from triconv.checking.diagnosis import devices
from triconv.checking.dtypes import Dtype
from triconv.checking.gradcheck import check_function
from triconv.checking.operator_check import OperatorCheck, other_forms
from triconv.checking.oracles.convolution import ConvolutionProblem
from triconv.checking.questions import declared
from triconv.checking.questions import sweep as sweep_geometries
from triconv.checking.reports.report import Report
from triconv.operators.backend_switch import check_device
from triconv.operators.signature_types import Library, ParametersOfLike, ShapeOrArray

Array = Any

DTYPES = get_args(Dtype)
FewerBitsMeant = Literal["tf32", "bfloat16", "float16", "float32"]
PRECISIONS = get_args(FewerBitsMeant)


@can_isolate
def check(
    candidate: object,
    like: Callable[..., object] | ShapeOrArray | None = None,
    *shapes_or_arrays: object,
    framework: Library | None = None,
    dtype: Dtype | None = None,
    precision: FewerBitsMeant | None = None,
    pass_params: bool = False,
    args: object = (),
    kwargs: Mapping[str, object] | None = None,
    parameters: Sequence[str] | None = None,
    gradients: Sequence[str] | None = None,
    sweep: bool = False,
    sizes: Literal["stress"] | None = None,
    meant: Sequence[str] = (),
    device: object = None,
    seed: int = 0,
    progress: Callable[[str], object] | None = None,
    mesh: object = None,
    specs: Sequence[object] = (),
    isolate: bool | Isolation = False,  # noqa: ARG001 (for `can_isolate`)
    **params: Unpack[ParametersOfLike],
) -> Report:
    """Check a convolution and its derivatives against the definition, and say what is wrong.

    Parameters
    ----------
    candidate : callable, (forward, backward), layer, or Rules
        A function of JAX, torch, NumPy or another array library, a module of torch, flax or equinox, an autograd function, a
        pair of functions of which the first returns a cache for the second, an object with a forward and a backward, or
        `Rules`. It is called with the arrays alone, and with `args` and `kwargs`.
    like : callable, optional
        The operator of triconv that it should agree with, such as `triconv.conv2d`, or any function of the same arrays, whose
        values are then the truth. Without it, the derivatives are compared with the candidate's own values: `gradcheck`.
    *shapes_or_arrays : tuple of int, or array
        Shapes of the arrays of `like`, in its order, or arrays, whose values are then used for the rounding test. Those of
        the parameters that a module or a layer has itself may be left out.
    framework : {"numpy", "jax", "torch", ...}, optional
        Whose arrays the candidate takes; by default found from its type, from the modules that its code names, and from what
        it returns.
    dtype : str, optional
        Of the arrays; by default that of the arrays given, else "float64" for NumPy and "float32" for others.
    precision : {"tf32", "bfloat16", "float16", "float32"}, optional
        Declares that products of fewer bits than the dtype has are meant.
    pass_params : bool
        Whether to hand the candidate `params` as keywords.
    args : Any
        Further arguments of the candidate after the arrays: a tuple of them, or a dict or another value as one argument.
    kwargs : dict, optional
        Further arguments by name.
    parameters, gradients : sequence of str, optional
        Attributes of a layer that are its parameters and their gradients, where they cannot be found out.
    sweep : bool
        Whether to check other geometries too: one sample, one channel, not square, an even kernel, a remainder of the stride, a
        kernel as large as the input. Parameters differ if the candidate takes them.
    sizes : {"stress"}, optional
        Whether to check the value and the VJPs at sizes next to multiples of 16, 32, 64 and 128 too, in one letter and in
        two, with one sample, one channel, a prime number of channels, other kernels, and a batch and channels over 2^16.
    meant : sequence of str
        Causes that are no mistakes here, such as "batch averaged", "feedback alignment" or "int8 products".
    device : Any, optional
        Where the candidate's arrays are, such as "cuda".
    seed : int
        Of the data.
    progress : callable, optional
        Called with the name of each question before it is asked.
    mesh : jax.sharding.Mesh, optional
        Devices over which the arrays are sharded, for a function of JAX. The report then names a sum over devices or a halo
        that is missing, and counts what the compiled programs send.
    specs : tuple of jax.sharding.PartitionSpec or None
        How each array is sharded.
    isolate : bool or Isolation
        Whether the candidate runs in a process of its own, which sees neither the right answers nor the checker; see
        `triconv.checking.isolation`. The candidate is then a function of a module or file, or what names it in the command
        line, such as "mine.py:conv".
    **params : Any
        Parameters of `like`.

    Returns
    -------
    Report
        With ``verdict`` "right", "imprecise", "wrong" or "unchecked", ``ok``, ``cause``, one row per question, and a program
        that shows the fault. "right" needs a derivative that was judged: where there is none, as for a function of NumPy
        without `Rules`, the verdict is "unchecked" and says that the value is right. Integers have and need none.

    Raises
    ------
    ValueError, TypeError
        If the question itself makes no sense: for what `like` raises them, for a name that is not known.

    Notes
    -----
    None of the tests has a tolerance. *Exact*: integers so small that every partial sum is exact in the dtype; any difference
    is a fault. *Rounding*: random data, every element within ``(n + 1) u`` times the convolution of the absolute values, for
    ``n`` terms and unit roundoff ``u`` [1]_ (``2 n u`` in double precision, in which the right answers are computed too); for
    algorithms that mix all elements, such as FFTs, within a norm-wise bound. *Precision*: the fewest bits whose bound holds.
    What is equal on integers gets numbers with all bits of the dtype too, and numbers whose sums have as many, chosen so that
    they are exact in any order as well: they show how many bits are kept of each operand and of the sums.
    The right answers of small problems are loops over the definition. Large results for integers are compared with it in random
    combinations, modulo primes; the report says the probability with which a fault is missed. Right answers for random data are
    then a kernel's of triconv in float64, which is compared with the definition in the same way first.

    References
    ----------
    .. [1] C.-P. Jeannerod and S. M. Rump, "Improved error bounds for inner products in floating-point arithmetic", SIAM J.
       Matrix Anal. Appl. 34 (2013), which holds for sums in any order, and for any ``n``.

    Examples
    --------
    >>> import numpy as np, triconv
    >>> def backward(matrix, upstream):  # forgets that the filter has several channels
    ...     return triconv.conv2d_backward_weights(matrix, upstream)[::-1]
    >>> rules = triconv.Rules(triconv.conv2d_forward, triconv.conv2d_backward, backward)
    >>> report = triconv.check(rules, triconv.conv2d_forward, (6, 7, 3), (3, 2, 3))
    >>> report.verdict, report.cause
    ('wrong', 'channels permuted')
    """
    if not hasattr(seed, "__index__") or seed < 0:
        msg = f"`seed` must be an int from 0 on, got {seed!r}"
        raise ValueError(msg)
    op, options = _operator(like, dict(params))
    if not hasattr(op, "resolve"):
        of_operators: dict[str, object] = {"precision": precision, "pass_params": pass_params, "sweep": sweep}
        of_operators |= {"sizes": sizes, "meant": tuple(meant), "mesh": mesh, "specs": tuple(specs)}
        _refuse(of_operators, op)
        return check_function(
            candidate,
            op if callable(op) else None,
            shapes_or_arrays if callable(op) or op is None else (op, *shapes_or_arrays),
            options,
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
    meant = (meant,) if isinstance(meant, str) else tuple(meant)
    declared.check_names(meant)
    shapes, arrays = arguments.shapes_of(shapes_or_arrays)
    dtype = dtype or cast("Dtype | None", arguments.dtype_of(arrays))
    _check_names(dtype, precision, sizes)
    wrap = functools.partial(
        as_candidate,
        candidate,
        keywords={**(options if pass_params else {}), **(kwargs or {})},
        is_notebook=op.__name__ == "conv2d_forward",  # whose order and layouts it has
        args=args,
        shapes=shapes,
        parameters=parameters,
        gradients=gradients,
        params=options,
    )
    found, is_cold = (framework_detection.of_arrays(arrays) if framework is None else framework), False
    if not found:
        found, is_cold = _framework(candidate, wrap, shapes, dtype)
    framework = cast("Library", found)
    dtype = dtype or ("float64" if framework == "numpy" else "float32")
    wrapped = wrap(framework=framework, dtype=dtype)
    wrapped.device = device
    if device is not None and not isinstance(candidate, RemoteTarget):  # which has its own process
        check_device(BACKENDS[framework].load(), device)
    options = {**wrapped.read_off, **options}
    own = wrapped.own[: max(0, arguments.most_arrays(op) - len(shapes))]
    shapes = (*shapes, *(a.array.shape for a in own))
    problem, shapes = _problem(op, shapes, options)
    if mesh is not None or specs:
        problem = replace(problem, sharded=devices.sharded_axes(problem, mesh, tuple(specs)))
        sharded_candidate.put_on_mesh(wrapped, problem, mesh, tuple(specs))
    on_progress = progress or (lambda _: None)
    asked = OperatorCheck(
        candidate=candidate,
        wrapped=wrapped,
        like=op,
        params=options,
        problem=problem,
        framework=framework,
        dtype=dtype,
        precision=precision,
        seed=seed,
        on_progress=on_progress,
        user_arrays=[to_numpy(a) for a in (*arrays, *(a.array for a in own))] if arrays else None,
        has_own=bool(own),
        is_cold=is_cold,
    )
    answers = asked.answers(has_stress=sizes == "stress", meant=meant)
    if sweep:
        again = functools.partial(
            check,
            candidate,
            op,
            framework=framework,
            dtype=dtype,
            precision=precision,
            pass_params=pass_params,
            parameters=parameters,
            gradients=gradients,
            meant=meant,
            device=device,
            seed=seed,
        )
        free = set(options) if pass_params else set()
        answers.rows += sweep_geometries.rows(
            again, asked.problem, op, options, on_progress, args=args, kwargs=kwargs, free=free
        )
    answers.rows += list(other_forms(answers.rows, asked.problem, dtype))
    return Report(
        candidate=name_of(candidate),
        like=op.__name__,
        shapes=dict(zip(problem.names, shapes, strict=True)),
        params=options,
        framework=framework,
        dtype=dtype,
        rows=tuple(answers.rows),
        oracles=answers.oracles,
        sent=answers.sent,
        counterexample=answers.counterexample,
        versions=versions(framework),
        seed=seed,
    )


def _operator(like: Any, params: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    """Return what the candidate is compared with, and its parameters, of which a partial has some."""
    if isinstance(like, functools.partial) and hasattr(like.func, "resolve") and not like.args:
        like, params = like.func, {**like.keywords, **params}
    if isinstance(like, str):
        msg = f"`like` must be an operator of triconv, such as triconv.conv2d itself, not its name, got {like!r}"
        raise TypeError(msg)
    return like, params


def _refuse(of_operators: dict[str, object], like: Any) -> None:
    """Raise if an argument is given that only a check against an operator has."""
    if useless := [name for name, value in of_operators.items() if value not in (None, False, ())]:
        got = getattr(like, "__name__", type(like).__name__) if callable(like) else "no operator"
        msg = f"`{useless[0]}` is for checks against an operator of triconv, such as triconv.conv2d, got {got}"
        raise ValueError(msg)


def _check_names(dtype: Any, precision: Any, sizes: Any) -> None:
    """Raise unless the names of a dtype, of a precision and of sizes are known."""
    for name, value, known in (
        ("dtype", dtype, DTYPES),
        ("precision", precision, (None, *PRECISIONS)),
        ("sizes", sizes, ("stress",)),
    ):
        if value not in (None, *known):
            msg = f"`{name}` must be one of {', '.join(map(repr, known))}, got {value!r}"
            raise ValueError(msg)


def _problem(
    op: Any, shapes: tuple[tuple[int, ...], ...], options: dict[str, Any]
) -> tuple[ConvolutionProblem, tuple[tuple[int, ...], ...]]:
    """Return the problem that an operator has with arrays of these shapes, and the shapes with a bias as it has it."""
    arguments.check_count(op, len(shapes))
    shapes, bias_pattern = arguments.plain_bias(op, shapes)
    return replace(ConvolutionProblem.of(op, shapes, options), bias_pattern=bias_pattern), shapes


def _framework(
    candidate: Any, wrap: Callable[..., CandidateFunction], shapes: tuple[tuple[int, ...], ...], dtype: str | None
) -> tuple[str, bool]:
    """Return the framework of the candidate's code, and of what it returns; and whether its first call was another one."""
    if isinstance(candidate, RemoteTarget):
        try:
            answer = candidate.run(_framework, candidate, wrap, shapes, dtype)
        except ProcessEndedError:
            answer = None
        match answer:
            case (str(name), bool(is_cold)):
                return name, is_cold
            case _:  # it ended, or sent an answer of its own: asked again for its value, it is heard
                return framework_of(candidate), False
    cold = []

    def call(name: str) -> Any:
        wrapped = wrap(framework=name, dtype=dtype or ("float64" if name == "numpy" else "float32"))
        with wrapped.session():
            first = wrapped.first_value([*(np.ones(shape) for shape in shapes), *(a.array for a in wrapped.own)])
        cold.append(wrapped.is_cold)
        return first

    return framework_detection.settled(framework_of(candidate), call), cold[:1] == [True]
