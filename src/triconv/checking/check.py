"""`check`: somebody's convolution against the definition, with no tolerance to tune."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal, Unpack, cast, get_args

import numpy as np

from triconv.backends import BACKENDS, to_numpy
from triconv.checking import arguments
from triconv.checking.candidates import framework_detection, sharded_candidate
from triconv.checking.candidates.candidate_process import ProcessEndedError
from triconv.checking.candidates.candidates import (
    CandidateFunction,
    JaxCandidate,
    as_candidate,
    framework_of,
)
from triconv.checking.candidates.isolated_candidate import Isolation, RemoteTarget, can_isolate, with_ends
from triconv.checking.candidates.naming import name_of, versions
from triconv.checking.counterexamples.counterexample_program import program
from triconv.checking.diagnosis import devices
from triconv.checking.dtypes import INTEGERS, Dtype
from triconv.checking.findings.causes import Cause
from triconv.checking.findings.findings import Swept, WrongDtype, WrongShape
from triconv.checking.findings.protocol import WRONG, Kind, Proof, Question, Role
from triconv.checking.gradcheck import check_function
from triconv.checking.oracles import tap_sums
from triconv.checking.oracles.convolution import ConvolutionProblem
from triconv.checking.oracles.frameworks import ask_oracles
from triconv.checking.questions import conventions, declared, homogeneity, plain_rows, row_causes, stress, training_rows
from triconv.checking.questions import sweep as sweep_geometries
from triconv.checking.questions.shrink import medium, smallest
from triconv.checking.questions.unjudged import no_derivative
from triconv.checking.reports.report import Report
from triconv.checking.reports.report_data import ReportRow
from triconv.checking.verdicts.check_context import CheckContext
from triconv.operators.backend_switch import check_device
from triconv.operators.signature_types import Library, ParametersOfLike, ShapeOrArray

Array = Any

DTYPES = get_args(Dtype)
QUICK, FEW_ELEMENTS = 3000, 1 << 15
"""Positions that the definition visits, and elements of each array, up to which every hypothesis is tried; beyond, on a smaller
case alone. Each hypothesis takes a run of the definition, and compares every element."""
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
    op: Any = like  # the types above are for callers
    if not hasattr(seed, "__index__") or seed < 0:
        msg = f"`seed` must be an int from 0 on, got {seed!r}"
        raise ValueError(msg)
    options: dict[str, Any] = {**params}
    if isinstance(op, functools.partial) and hasattr(op.func, "resolve") and not op.args:
        op, options = op.func, {**op.keywords, **options}
    if not hasattr(op, "resolve"):
        if isinstance(op, str):
            msg = f"`like` must be an operator of triconv, such as triconv.conv2d itself, not its name, got {op!r}"
            raise TypeError(msg)
        of_operators: dict[str, object] = {"precision": precision, "pass_params": pass_params, "sweep": sweep}
        of_operators |= {"sizes": sizes, "meant": tuple(meant), "mesh": mesh, "specs": tuple(specs)}
        if useless := [name for name, value in of_operators.items() if value not in (None, False, ())]:
            got = getattr(op, "__name__", type(op).__name__) if callable(op) else "no operator"
            msg = f"`{useless[0]}` is for checks against an operator of triconv, such as triconv.conv2d, got {got}"
            raise ValueError(msg)
        given = shapes_or_arrays if callable(op) or op is None else (op, *shapes_or_arrays)
        return check_function(
            candidate,
            op if callable(op) else None,
            given,
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
    named = (
        ("dtype", dtype, (None, *DTYPES)),
        ("precision", precision, (None, *PRECISIONS)),
        ("sizes", sizes, (None, "stress")),
    )
    for name, value, known in named:
        if value not in known:
            msg = f"`{name}` must be one of {', '.join(map(repr, known[name != 'precision' :]))}, got {value!r}"
            raise ValueError(msg)
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
    needed = arguments.most_arrays(op)
    own = wrapped.own[: max(0, needed - len(shapes))]
    shapes = (*shapes, *(a.array.shape for a in own))
    arguments.check_count(op, len(shapes))
    shapes, bias_pattern = arguments.plain_bias(op, shapes)
    problem = replace(ConvolutionProblem.of(op, shapes, options), bias_pattern=bias_pattern)
    if mesh is not None or specs:
        problem = replace(problem, sharded=devices.sharded_axes(problem, mesh, tuple(specs)))
        sharded_candidate.put_on_mesh(wrapped, problem, mesh, tuple(specs))
    on_progress = progress or (lambda _: None)
    user_arrays = [to_numpy(a) for a in (*arrays, *(a.array for a in own))] if arrays else None
    with wrapped.session():
        problem = replace(problem, conjugates=conventions.conjugates(wrapped, problem, framework, dtype, seed))
        thorough = _is_quick(problem)
        context = CheckContext(problem, dtype, precision, seed, user_arrays, thorough)
        rows = list(plain_rows.rows(wrapped, context, on_progress))
        quicker = None if thorough and not context.is_real_size else medium(problem, op, options)
        smaller_context = None if quicker is None else CheckContext(quicker, dtype, precision, seed)
        few = smaller_context if context.is_real_size else None
        rows = with_ends(training_rows.with_rows(wrapped, context, rows, on_progress, few, is_cold=is_cold))
        failed = next((row for row in rows if row.verdict == WRONG and row.evidence is not None), None)
        counterexample = ""
        if failed is not None:
            on_progress("smallest counterexample")
            small = smallest(wrapped, op, problem, options, dtype, failed.question)
            counterexample = program(candidate, wrapped, op, options, small, failed.question)
            if smaller_context is not None and not thorough:
                smaller = {row.question: row for row in plain_rows.rows(wrapped, smaller_context, on_progress)}
                rows = [row_causes.explained(row, smaller.get(row.question)) for row in rows]
        wrapped.changes.undo()
        libraries = tuple(BACKENDS) if failed is not None else (str(framework),)
        oracles = tuple(ask_oracles(problem, seed, libraries)) if thorough else ()
        sent = (
            tuple(sharded_candidate.sent(wrapped, problem))
            if problem.sharded and isinstance(wrapped, JaxCandidate)
            else ()
        )
        rows = homogeneity.named(row_causes.later_only(rows))
        if sizes == "stress":
            every = stress.cases(problem, op, options, is_fixed=bool(own))
            for row, case in list(stress.rows(wrapped, every, dtype, seed, on_progress)):
                rows.append(row)
                if not counterexample and case is not None and isinstance(row.finding, Swept) and row.finding.question:
                    asked = row.finding.question
                    small = smallest(wrapped, op, case.problem, options, dtype, asked)
                    counterexample = program(candidate, wrapped, op, options, small, asked)
        if meant:
            rows = declared.apply(rows, meant, wrapped, context)
        rows += no_derivative(rows, wrapped, Role(problem.result)) if dtype not in INTEGERS else ()
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
        rows += sweep_geometries.rows(
            again,
            problem,
            op,
            options,
            on_progress,
            args=args,
            kwargs=kwargs,
            free=set(options) if pass_params else set(),
        )
    rows += list(_forms(rows, problem, dtype))
    return Report(
        candidate=name_of(candidate),
        like=op.__name__,
        shapes=dict(zip(problem.names, shapes, strict=True)),
        params=options,
        framework=framework,
        dtype=dtype,
        rows=tuple(rows),
        oracles=oracles,
        sent=sent,
        counterexample=counterexample,
        versions=versions(framework),
        seed=seed,
    )


def _forms(rows: list[ReportRow], problem: ConvolutionProblem, dtype: str) -> Iterator[ReportRow]:
    """Yield rows for a bias of another shape, and for results of another dtype: their numbers are judged all the same."""
    for row in rows:
        if row.other_shape is not None:
            expected = problem.user_bias(np.zeros(problem.shapes[-1])).shape
            shape = WrongShape(expected, row.other_shape, kept_axes=True)
            question = replace(row.question, kind=Kind.SHAPE)
            yield ReportRow(question, WRONG, Proof.SHAPE, shape, cause=Cause.KEPT_AXES)
    other = [row for row in rows if row.other_dtype]
    if other:
        found = tuple(dict.fromkeys(row.other_dtype for row in other))
        finding = WrongDtype(dtype, found, tuple(row.question for row in other))
        yield ReportRow(Question(Kind.DTYPE), WRONG, Proof.DTYPE, finding, cause=Cause.DTYPE)


def _is_quick(problem: ConvolutionProblem) -> bool:
    """Whether every hypothesis can be tried in a moment."""
    elements = max(math.prod(problem.result_shape(role)) for role in "xwg")
    return elements <= FEW_ELEMENTS and tap_sums.count_meetings(problem.model.axes) <= QUICK


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
