"""`check`: somebody's convolution against the definition, with no tolerance to tune."""

from __future__ import annotations

import functools
import importlib
import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from triconv.backends import BACKENDS, to_numpy
from triconv.checking import arguments, devices, frameworks, loops
from triconv.checking.candidates import ByJAX, ByRules, Candidate, Rules, as_candidate, framework_of, guarded
from triconv.checking.convolution import Problem, Truth
from triconv.checking.data import INTEGERS
from triconv.checking.judge import Ask, Judge, Question, judge
from triconv.checking.report import NOT_OFFERED, RIGHT, UNCHECKED, WRONG, Report, Row
from triconv.checking.shrink import medium, smallest, snippet

Array = Any

DTYPES = ("float64", "float32", "bfloat16", "float16", "complex64", "complex128", *INTEGERS)
# positions that the loops visit, up to which every hypothesis is tried; beyond, on the smallest case alone
QUICK = 3000
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
        Devices over which the arrays are shared out, for a function of JAX. A sum over devices or a halo that is missing is
        named then, and what the compiled programs send is counted.
    specs : tuple of jax.sharding.PartitionSpec or None
        How each array is shared out.
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
    ``n`` terms and unit roundoff ``u`` [1]_; for algorithms that mix all elements, such as FFTs, within a norm-wise bound.
    *Precision*: the fewest bits whose bound holds. The right answers are loops over the definition.

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
    problem = Problem.of(like, shapes, params)
    wrap = functools.partial(
        as_candidate,
        candidate,
        dtype=dtype,
        keywords=dict(params) if pass_params else {},
        as_listed=like.__name__ == "conv2d_forward",  # the notebook's order and layouts
    )
    framework = framework or _framework_of_arrays(arrays) or _framework(candidate, wrap, shapes)
    problem = replace(problem, conjugates=framework == "torch" and dtype.startswith("complex"))
    wrapped = wrap(framework=framework)
    if mesh is not None or specs:
        problem = replace(problem, shared=devices.shared_axes(problem, mesh, tuple(specs)))
        _share_out(wrapped, problem, mesh, specs)
    told = progress or (lambda _: None)
    own = [to_numpy(a) for a in arrays] if arrays else None
    with wrapped.session():
        thorough = _meetings(problem) <= QUICK
        rows = list(_rows(wrapped, Judge(problem, dtype, precision, seed, own, thorough), told))
        failed = next((row for row in rows if row.verdict == WRONG and row.evidence is not None), None)
        counterexample, witnesses = "", ()  # type: str, tuple[str, ...]
        if failed is not None:
            told("smallest counterexample")
            small = smallest(wrapped, like, problem, params, dtype, seed, failed.what)
            counterexample = snippet(candidate, wrapped, like, params, small, failed.what)
            quicker = None if thorough else medium(problem, like, params)
            if quicker is not None:
                again = {row.what: row for row in _rows(wrapped, Judge(quicker, dtype, precision, seed), told)}
                rows = [_explained(row, again.get(row.what)) for row in rows]
        if thorough:
            beside = tuple(BACKENDS) if failed is not None else (framework,)
            witnesses = tuple(_witnesses(problem, seed, beside))
        if problem.shared:
            witnesses += tuple(_sent(wrapped, problem))
        rows = _only(rows)
        rows += _value_alone(rows, wrapped, dtype)
    versions = {name: BACKENDS[name].version() for name in dict.fromkeys(("numpy", framework)) if name in BACKENDS}
    shown = dict(zip(problem.names, shapes, strict=True))
    return Report(
        _name(candidate),
        like.__name__,
        shown,
        params,
        framework,
        dtype,
        tuple(rows),
        witnesses,
        counterexample,
        versions,
        seed,
    )


def _rows(candidate: Candidate, judge_: Judge, told: Callable[[str], Any]) -> Iterator[Row]:
    held: list[Row] = []
    is_right = True
    for question in questions(candidate, judge_.problem, judge_.dtype):
        told(question.what)
        row = judge(judge_, question)
        if question.what == "value":
            is_right = row.verdict != WRONG
            held.append(row)
            if row.verdict == UNCHECKED:
                yield row
                return
            continue
        if row.how == "raised" and row.verdict == UNCHECKED and is_right and question.what != "run to run":
            # what the candidate does not have is told apart in `unsupported.py`: this it has, and it does not work
            row = replace(row, verdict=WRONG, cause="raised")
        held.append(row)
        # whether it is the same again comes before the value if it is not: nothing else says anything then
        yield from held if row.verdict != WRONG or row.cause != "nondeterministic" else reversed(held)
        held = []
    yield from held


def _value_alone(rows: list[Row], candidate: Candidate, dtype: str) -> Iterator[Row]:
    """A row that says so where the value is right and no derivative was judged."""
    if dtype in INTEGERS or {row.verdict for row in rows} - {RIGHT, NOT_OFFERED}:
        return
    derivatives = [row for row in rows if row.what.startswith(("VJP", "JVP", "second order"))]
    if any(row.verdict == RIGHT for row in derivatives):
        return
    if isinstance(candidate, ByRules):
        advice = "give triconv.Rules its input_vjp and weight_vjp too"
    elif candidate.differentiates:
        advice = next((row.detail for row in derivatives if row.detail), "it has none")
    else:
        name = candidate.backend.name
        advice = f"a function of {name} has none of its own; give triconv.Rules(forward, input_vjp, weight_vjp)"
    yield Row("derivatives", UNCHECKED, "not asked", f"the value is right; no derivative was asked: {advice}")


def _explained(row: Row, smaller: Row | None) -> Row:
    """The row with the cause that was found for the smallest case."""
    if row.verdict != WRONG or smaller is None or smaller.evidence is None or not smaller.cause:
        return row
    here = row.detail.rpartition("; at ")[2]
    return replace(row, cause=smaller.cause, detail=f"{smaller.detail.rpartition('; at ')[0]}; at {here}")


def _only(rows: list[Row]) -> list[Row]:
    """The rows with the cause of a wrong JVP or second order where nothing before it is wrong."""
    out, wrong = [], False
    for row in rows:
        later = "jvp only" if row.what == "JVP" else "second order only" if row.what.startswith("second") else ""
        if row.verdict == WRONG and later and not wrong and row.cause not in ("not a number", "raised"):
            words = {
                "jvp only": "the VJPs are right, the JVP is not",
                "second order only": "first order is right, second is not",
            }
            why = f" ({row.cause})" if row.cause else ""
            row = replace(row, cause=later, detail=f"{words[later]}{why}: {row.detail}")  # noqa: PLW2901
        wrong |= row.verdict == WRONG and not later
        out.append(row)
    return out


def _meetings(problem: Problem) -> int:
    """Number of positions that the loops visit."""
    return math.prod(map(loops.count_meetings, problem.facts.axes))


def questions(candidate: Candidate, problem: Problem, dtype: str) -> Iterator[Question]:
    """Everything that is asked of a candidate."""
    p, names = problem, dict(zip(problem.roles, problem.names, strict=True))

    def given(data: Any) -> list[np.ndarray]:
        return [p.user(role, data.primals[role]) for role in p.roles]

    def along(data: Any) -> list[np.ndarray]:
        return [p.user(role, data.tangents[role]) for role in p.roles]

    def g(data: Any) -> np.ndarray:
        return p.user(p.result, data.g)

    def value(data: Any) -> Any:
        return candidate.value(given(data))

    def vmap(n: int) -> Ask:
        return lambda d: candidate.vmap([np.stack(pair) for pair in zip(given(d), along(d), strict=True)])[n]

    def vjp(n: int) -> Ask:
        return lambda d: candidate.vjp(given(d), g(d), n)

    def second(ask: Callable[..., Any], n: int) -> Ask:
        return lambda d: ask(given(d), g(d), along(d))[n]

    def question(
        what: str, role: str, ask: Ask, answer: Callable[[Truth], np.ndarray], kind: str = "result"
    ) -> Question:
        ndim = 1 if role == "bias" else len(p.result_shape(role))
        return Question(what, role, guarded(ask, dtype, ndim), answer, kind)

    yield question("value", p.result, value, Truth.value)
    yield question("run to run", p.result, value, Truth.value, "repeat")
    if "jit" in candidate.transforms:
        yield question("value under jit", p.result, lambda d: candidate.jit(given(d)), Truth.value)
    if "vmap" in candidate.transforms:
        for n, answer in enumerate((Truth.value, Truth.of_tangents)):
            yield question(f"vmap, sample {n}", p.result, vmap(n), answer)
    if dtype in INTEGERS:
        return
    yield question(f"a NaN in {p.names[0]}", p.result, value, Truth.value, "nan")
    yield question(f"an infinity in {p.names[0]}", p.result, value, Truth.value, "inf")
    for n, role in enumerate(p.roles):
        yield question(f"VJP of {names[role]}", role, vjp(n), functools.partial(Truth.vjp, role=role))
    # a rule may compute another value than the function that it is the derivative of
    with_vjp, with_jvp = candidate.value_with_vjp, candidate.value_with_jvp
    if candidate.differentiates:
        yield question("value with a VJP", p.result, lambda d: with_vjp(given(d), g(d)), Truth.value)
    yield question("JVP", p.result, lambda d: candidate.jvp(given(d), along(d)), Truth.jvp)
    if candidate.differentiates:
        yield question("value with a JVP", p.result, lambda d: with_jvp(given(d), along(d)), Truth.value)
    if dtype.startswith("complex"):
        return
    for name, ask in (
        ("reverse over reverse", candidate.reverse_over_reverse),
        ("forward over reverse", candidate.forward_over_reverse),
    ):
        for n, role in enumerate(p.operands):
            answer = functools.partial(Truth.second, role=role)  # type: ignore[assignment]
            yield question(f"second order of {names[role]} ({name})", role, second(ask, n), answer)
    # the cotangents against the tangents are the JVP against g, which is linear in g: so its derivative by g is the JVP
    by_g = second(candidate.reverse_over_reverse, -1)
    yield question("second order of the cotangent (reverse over reverse)", p.result, by_g, Truth.jvp)


def _framework_of_arrays(arrays: list[Any] | None) -> str | None:
    """That of the arrays, if they are not NumPy's."""
    named = (name for name in ("torch", "jax") if arrays and any(type(a).__module__.startswith(name) for a in arrays))
    return next(named, None)


def _framework(candidate: Any, wrap: Callable[..., Candidate], shapes: tuple[tuple[int, ...], ...]) -> str:
    """That of the candidate's code, and of what it returns."""

    def call(name: str) -> Any:
        wrapped = wrap(framework=name)
        with wrapped.session():
            return wrapped.value([np.ones(shape) for shape in shapes])

    return frameworks.settled(framework_of(candidate), call)


def _name(candidate: Any) -> str:
    if isinstance(candidate, Rules):
        return f"Rules({_name(candidate.forward)}, ...)"
    inner = getattr(candidate, "func", candidate)
    return getattr(inner, "__name__", None) or type(inner).__name__


def _share_out(candidate: Candidate, problem: Problem, mesh: Any, specs: tuple[Any, ...]) -> None:
    """Tell the candidate where its arrays are to lie."""
    if not isinstance(candidate, ByJAX):
        msg = f"`mesh` must come with a function of JAX, got one of {candidate.backend.name}"
        raise TypeError(msg)
    from jax.sharding import NamedSharding, PartitionSpec

    every = [*specs, *[None] * (len(problem.shapes) - len(specs))]
    candidate.places = tuple(
        (NamedSharding(mesh, spec or PartitionSpec()), len(shape))
        for spec, shape in zip(every, problem.shapes, strict=True)
    )


def _sent(candidate: Any, problem: Problem) -> Iterator[str]:
    """What travels between devices, a sentence for the value and each VJP."""
    arrays = [np.zeros(shape) for shape in problem.shapes]
    try:
        found = candidate.sent(arrays, np.zeros(problem.result_shape(problem.result)))
    except Exception:  # noqa: BLE001 (a candidate that cannot be compiled, or has no VJP)
        return
    names = {"value": "value"} | {f"VJP {n}": f"VJP of {name}" for n, name in enumerate(problem.names)}
    for name, words in found.items():
        yield f"{names[name]}: {words}"


def _witnesses(problem: Problem, seed: int, beside: tuple[str, ...]) -> Iterator[str]:
    """What lax and torch, if they are among these, say of the same problem, against the loops, in one sentence each."""
    from triconv.checking import runners
    from triconv.checking.cases import Case

    if problem.call.contraction != "conv" or problem.facts.mode != "zeros":
        return
    axes = problem.facts.axes
    shapes = {r: problem.torch_shape(r, problem.result_shape(r)) for r in problem.operands}
    case = Case(
        "",
        "",
        shapes["x"],
        shapes["w"],
        tuple(a.stride for a in axes),
        tuple(a.dilation for a in axes),
        tuple(a.input_dilation for a in axes),
        tuple((a.pad_lo, a.pad_hi) for a in axes),
        problem.facts.groups,
    )
    rng = np.random.default_rng(seed)
    x, w, g = (rng.integers(-3, 4, shape).astype(np.float32) for shape in (case.x, case.w, case.g))
    right = [
        problem.facts.derivative(r, {o: a for o, a in zip("xwg", (x, w, g), strict=True) if o != r}) for r in "gxw"
    ]
    for oracle, (library, witness) in runners.WITNESSES.items():
        if library not in beside or not BACKENDS[library].installed():
            continue
        importlib.import_module(library)
        said = witness(case, x, w, g)
        if said is None:
            yield f"{oracle} cannot express this geometry"
            continue
        wrong = [
            n
            for n, a, b in zip(("value", "VJP of x", "VJP of w"), said, right, strict=True)
            if not np.array_equal(a, b)
        ]
        if wrong:
            yield f"{oracle} itself is wrong here, against the definition: {', '.join(wrong)}"
        else:
            yield f"{oracle} agrees with the definition: value and both VJPs, on integers, bit for bit"
