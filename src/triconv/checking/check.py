"""`check`: somebody's convolution against the definition, with no tolerance to tune."""

from __future__ import annotations

import functools
import math
import platform
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from triconv.backends import BACKENDS, to_numpy
from triconv.checking import arguments, definition, devices, framework_detection, wording
from triconv.checking.candidates import (
    CandidateFunction,
    JaxCandidate,
    Rules,
    RulesCandidate,
    as_candidate,
    framework_of,
)
from triconv.checking.causes import Cause
from triconv.checking.convolution import ConvolutionProblem
from triconv.checking.counterexample_program import program
from triconv.checking.dtypes import COMPLEX, INTEGERS
from triconv.checking.findings import (
    Advice,
    NoDerivative,
    NotSupported,
    OnlyLater,
    SentBetweenDevices,
    WrongDtype,
    WrongElements,
    WrongShape,
)
from triconv.checking.judge import CheckContext, judge
from triconv.checking.oracles import ask_oracles
from triconv.checking.probes import probes
from triconv.checking.protocol import RIGHT, UNCHECKED, UNSUPPORTED, WRONG, Kind, Proof, Question, Role, Transform
from triconv.checking.report import Report
from triconv.checking.report_data import ReportRow
from triconv.checking.shrink import medium, smallest

Array = Any
OnProgress = Callable[[str], Any]

DTYPES = ("float64", "float32", "bfloat16", "float16", "complex64", "complex128", *INTEGERS)
QUICK = 3000
"""Positions that the definition visits up to which every hypothesis is tried; beyond, on a smaller case alone."""
PRECISIONS = ("tf32", "bfloat16", "float16", "float32")


def check(
    candidate: Any,
    like: Callable[..., Array],
    *shapes_or_arrays: Any,
    framework: str | None = None,
    dtype: str | None = None,
    precision: str | None = None,
    pass_params: bool = False,
    seed: int = 0,
    progress: Callable[[str], Any] | None = None,
    mesh: Any = None,
    specs: tuple[Any, ...] = (),
    **params: Any,
) -> Report:
    """Check a convolution and its derivatives against the definition, and say what is wrong.

    Parameters
    ----------
    candidate : callable or Rules
        A function of JAX, torch, NumPy or another array library, a module, or `Rules`. It is called with the arrays alone.
    like : callable
        The operator of triconv that it should agree with, such as `triconv.conv2d`.
    *shapes_or_arrays : tuple of int, or array
        Shapes of the arrays of `like`, in its order, or arrays, whose values are then used for the rounding test.
    framework : {"numpy", "jax", "torch", ...}, optional
        Whose arrays the candidate takes; by default found from its type, from the modules that its code names, and from what
        it returns.
    dtype : str, optional
        Of the arrays; by default that of the arrays given, else "float32".
    precision : {"tf32", "bfloat16", "float16", "float32"}, optional
        Declares that products of fewer bits than the dtype has are meant.
    pass_params : bool
        Whether to hand the candidate `params` as keywords.
    seed : int
        Of the data.
    progress : callable, optional
        Called with the name of each question before it is asked.
    mesh : jax.sharding.Mesh, optional
        Devices over which the arrays are sharded, for a function of JAX. The report then names a sum over devices or a halo
        that is missing, and counts what the compiled programs send.
    specs : tuple of jax.sharding.PartitionSpec or None
        How each array is sharded.
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
    Three tests, none with a tolerance. *Exact*: integers so small that every partial sum is exact in the dtype; any difference
    is a fault. *Rounding*: random data, every element within ``(n + 1) u`` times the convolution of the absolute values, for
    ``n`` terms and unit roundoff ``u`` [1]_ (``2 n u`` in double precision, in which the right answers are computed too); for
    algorithms that mix all elements, such as FFTs, within a norm-wise bound. *Precision*: the fewest bits whose bound holds.
    The right answers are loops over the definition.

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
    if not hasattr(like, "resolve"):
        named = " itself, not its name" if isinstance(like, str) else ""
        msg = f"`like` must be an operator of triconv, such as triconv.conv2d{named}, got {like!r}"
        raise TypeError(msg)
    shapes, arrays = arguments.shapes_of(shapes_or_arrays)
    arguments.check_count(like, len(shapes))
    dtype = dtype or arguments.dtype_of(arrays) or "float32"
    for name, value, known in (("dtype", dtype, DTYPES), ("precision", precision, (None, *PRECISIONS))):
        if value not in known:
            msg = f"`{name}` must be one of {', '.join(map(repr, known))}, got {value!r}"
            raise ValueError(msg)
    problem = ConvolutionProblem.of(like, shapes, params)
    wrap = functools.partial(
        as_candidate,
        candidate,
        dtype=dtype,
        keywords=dict(params) if pass_params else {},
        is_notebook=like.__name__ == "conv2d_forward",  # whose order and layouts it has
    )
    framework = framework or framework_detection.of_arrays(arrays) or _framework(candidate, wrap, shapes)
    wrapped = wrap(framework=framework)
    problem = replace(problem, conjugates=BACKENDS[framework].conjugates and dtype in COMPLEX)
    if mesh is not None or specs:
        problem = replace(problem, sharded=devices.sharded_axes(problem, mesh, tuple(specs)))
        _put_on_mesh(wrapped, problem, mesh, specs)
    on_progress = progress or (lambda _: None)
    user_arrays = [to_numpy(a) for a in arrays] if arrays else None
    with wrapped.session():
        thorough = _meetings(problem) <= QUICK
        context = CheckContext(problem, dtype, precision, seed, user_arrays, thorough)
        rows = list(_rows(wrapped, context, on_progress))
        failed = next((row for row in rows if row.verdict == WRONG and row.evidence is not None), None)
        counterexample = ""
        if failed is not None:
            on_progress("smallest counterexample")
            small = smallest(wrapped, like, problem, params, dtype, seed, failed.question)
            counterexample = program(candidate, wrapped, like, params, small, failed.question)
            quicker = None if thorough else medium(problem, like, params)
            if quicker is not None:
                smaller_context = CheckContext(quicker, dtype, precision, seed)
                smaller = {row.question: row for row in _rows(wrapped, smaller_context, on_progress)}
                rows = [_explained(row, smaller.get(row.question)) for row in rows]
        libraries = tuple(BACKENDS) if failed is not None else (framework,)
        oracles = tuple(ask_oracles(problem, seed, libraries)) if thorough else ()
        sent = tuple(_sent(wrapped, problem)) if problem.sharded and isinstance(wrapped, JaxCandidate) else ()
        rows = _later_only(rows)
        rows += _value_alone(rows, wrapped, Role(problem.result), dtype)
    return Report(
        candidate=_name(candidate),
        like=like.__name__,
        shapes=dict(zip(problem.names, shapes, strict=True)),
        params=params,
        framework=framework,
        dtype=dtype,
        rows=tuple(rows),
        oracles=oracles,
        sent=sent,
        counterexample=counterexample,
        versions=_versions(framework),
        seed=seed,
    )


def _rows(candidate: CandidateFunction, context: CheckContext, on_progress: OnProgress) -> Iterator[ReportRow]:
    held: list[ReportRow] = []
    is_right = True
    for probe in probes(candidate, context.problem, context.dtype):
        question = probe.question
        on_progress(wording.question(question))
        row = judge(context, probe)
        if question.is_plain_value:
            is_right = row.verdict != WRONG
            held.append(row)
            if row.verdict == UNCHECKED:
                yield row
                return
            continue
        if row.how == Proof.RAISED and row.verdict == UNCHECKED and is_right and question.kind != Kind.REPEAT:
            # `unsupported.py` recognises what the candidate does not have: this it has, and it does not work
            row = replace(row, verdict=WRONG, cause=Cause.RAISED)
        held.append(row)
        # "run to run" comes before the value if it fails: no other answer means anything then
        yield from held if row.verdict != WRONG or row.cause != Cause.NONDETERMINISTIC else reversed(held)
        held = []
    yield from held


def _value_alone(rows: list[ReportRow], candidate: CandidateFunction, result: Role, dtype: str) -> Iterator[ReportRow]:
    """Yield a row that says so where the value is right and no derivative was judged."""
    if dtype in INTEGERS or {row.verdict for row in rows} - {RIGHT, UNSUPPORTED}:
        return
    derivatives = [row for row in rows if row.question.is_derivative]
    if any(row.verdict == RIGHT for row in derivatives):
        return
    advice, reason = Advice.NONE, None
    if isinstance(candidate, RulesCandidate):
        advice = Advice.COMPLETE_RULES
    elif not candidate.differentiates:
        advice = Advice.USE_RULES
    else:
        reason = next((row.finding for row in derivatives if isinstance(row.finding, NotSupported)), None)
    finding = NoDerivative(advice, candidate.backend.name, reason)
    yield ReportRow(Question(Kind.DERIVATIVES, result), UNCHECKED, Proof.NOT_ASKED, finding)


def _explained(row: ReportRow, smaller: ReportRow | None) -> ReportRow:
    """Return the row with the cause that was found for a smaller case."""
    if row.verdict != WRONG or smaller is None or smaller.evidence is None or not smaller.cause:
        return row
    return replace(row, cause=smaller.cause, finding=smaller.finding)


def _later_only(rows: list[ReportRow]) -> list[ReportRow]:
    """Return the rows with the cause of a wrong JVP or second order where nothing before it is wrong."""
    causes = {Kind.JVP: Cause.JVP_ONLY, Kind.SECOND_ORDER: Cause.SECOND_ORDER_ONLY}
    out, is_wrong_before = [], False
    for row in rows:
        kind = row.question.kind
        if row.verdict == WRONG and kind not in causes:
            is_wrong_before = True
        elif not is_wrong_before and isinstance(row.finding, WrongElements | WrongShape | WrongDtype):
            row = replace(row, cause=causes[kind], finding=OnlyLater(kind, row.cause, row.finding))  # noqa: PLW2901
        out.append(row)
    return out


def _meetings(problem: ConvolutionProblem) -> int:
    """Return the number of positions that the definition visits."""
    return math.prod(map(definition.count_meetings, problem.model.axes))


def _framework(candidate: Any, wrap: Callable[..., CandidateFunction], shapes: tuple[tuple[int, ...], ...]) -> str:
    """Return the framework of the candidate's code, and of what it returns."""

    def call(name: str) -> Any:
        wrapped = wrap(framework=name)
        with wrapped.session():
            return wrapped.value([np.ones(shape) for shape in shapes])

    return framework_detection.settled(framework_of(candidate), call)


def _name(candidate: Any) -> str:
    if isinstance(candidate, Rules):
        return f"Rules({_name(candidate.forward)}, ...)"
    inner = getattr(candidate, "func", candidate)
    return getattr(inner, "__name__", None) or type(inner).__name__


def _versions(framework: str) -> dict[str, str]:
    """Return the versions of triconv, Python, NumPy, of JAX and torch where they are imported, and of the framework."""
    imported = [name for name in ("jax", "torch") if name in sys.modules]
    libraries = dict.fromkeys(name for name in ("numpy", *imported, framework) if name in BACKENDS)
    return {
        "triconv": str(sys.modules["triconv"].__version__),  # an import of the root would be a cycle
        "python": platform.python_version(),
        **{name: BACKENDS[name].version() for name in libraries},
    }


def _put_on_mesh(candidate: CandidateFunction, problem: ConvolutionProblem, mesh: Any, specs: tuple[Any, ...]) -> None:
    """Have the candidate put its arrays on the devices of a mesh."""
    if not isinstance(candidate, JaxCandidate):
        msg = f"`mesh` must come with a function of JAX, got one of {candidate.backend.name}"
        raise TypeError(msg)
    from jax.sharding import NamedSharding, PartitionSpec

    every = [*specs, *[None] * (len(problem.shapes) - len(specs))]
    candidate.shardings = tuple(
        (NamedSharding(mesh, spec or PartitionSpec()), len(shape))
        for spec, shape in zip(every, problem.shapes, strict=True)
    )


def _sent(candidate: JaxCandidate, problem: ConvolutionProblem) -> Iterator[SentBetweenDevices]:
    """Yield what devices send each other for the value and for each VJP."""
    arrays = [np.zeros(shape) for shape in problem.shapes]
    try:
        value, *vjps = candidate.sent(arrays, np.zeros(problem.result_shape(problem.result)))
    except Exception:  # noqa: BLE001 (a candidate that cannot be compiled, or has no VJP)
        return
    yield SentBetweenDevices(Question(Kind.VALUE, Role(problem.result)), value)
    for role, name, collectives in zip(problem.roles, problem.names, vjps, strict=True):
        yield SentBetweenDevices(Question(Kind.VJP, Role(role), name, 1, Transform.VJP), collectives)
