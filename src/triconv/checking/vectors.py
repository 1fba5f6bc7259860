"""Test vectors: data and right results in a file, so that a convolution is checked where there is no Python.

`write` draws the data of a check and writes them with the right results. Something else, in C++ or on another machine, computes
its results and writes them under the same names; `check_results` judges these as `triconv.check` judges a function.

The file is an .npz, or a folder with one file for each array, of its numbers alone, which any language reads::

    triconv vectors --like conv1d --shape 2,4,9 --shape 6,4,3 --out case   # case/exact.x.bin, ..., and case.json
    ./conv case case_out    # fopen("case/exact.x.bin"), 288 bytes: float x[2][4][9]; writes case_out/exact.value.bin
    triconv check --results case_out
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from triconv.backends import BACKENDS
from triconv.checking import vector_files
from triconv.checking.candidates.candidate import Arrays, CandidateFunction
from triconv.checking.candidates.naming import versions
from triconv.checking.candidates.unsupported import Unsupported
from triconv.checking.check import DTYPES
from triconv.checking.dtypes import INTEGERS
from triconv.checking.findings.protocol import UNCHECKED, UNSUPPORTED, Kind, Mode, Question, Role
from triconv.checking.findings.unanswered import Ability, NotSupported, Reason
from triconv.checking.oracles.convolution import ConvolutionProblem
from triconv.checking.oracles.drawn_data import rounded
from triconv.checking.questions.unjudged import no_derivative
from triconv.checking.reports.report import Report
from triconv.checking.verdicts.check_context import CheckContext
from triconv.checking.verdicts.judge import judge
from triconv.checking.verdicts.probes import Probe, probes
from triconv.checking.verdicts.rounding_test import RoundingTest
from triconv.operators.registry import OPERATORS

SETS = {
    "exact": "integers, on which every right algorithm agrees: compare bit for bit",
    "small": "integers that are exact in 8 bits, on which sums in bfloat16 are exact too: compare bit for bit",
    "random": "numbers that have to be rounded: |answer - value| <= bound, element by element",
}
"""The sets of data, and how their answers are compared."""
ANSWERS = (Kind.VALUE, Kind.VJP, Kind.JVP, Kind.SECOND_ORDER)
"""What is asked."""


def write(
    like: Callable[..., Any], *shapes: tuple[int, ...], out: Any, dtype: str = "float32", seed: int = 0, **params: Any
) -> Path:
    """Write test vectors for an operator as ``out``, an .npz or a folder, and what they are as JSON beside it.

    Parameters
    ----------
    like : callable
        The operator.
    *shapes : tuple of int
        Of its arrays.
    out : str or path
        The file, which ends with .npz; or a folder, whose name has no ending, for a .bin of each array.
    dtype : str
        Of the arrays; bfloat16 is written as the bits of its numbers, in uint16.
    seed : int
        Of the data.
    **params : Any
        Parameters of the operator.

    Returns
    -------
    Path
        That of the JSON.

    Raises
    ------
    ValueError, TypeError
        For what the operator raises them for, and a file that cannot be written.
    """
    path = Path(out)
    vector_files.check_name(path)
    if dtype not in DTYPES:
        msg = f"`dtype` must be one of {', '.join(map(repr, DTYPES))}, got {dtype!r}"
        raise ValueError(msg)
    context = _context(like, shapes, params, dtype, seed)
    p = context.problem
    arrays: dict[str, np.ndarray] = {}
    listed: list[dict[str, Any]] = []

    def add(name: str, what: str, meaning: str, array: np.ndarray, kind: str = dtype) -> None:
        arrays[name] = stored(array, kind)
        fields = {"name": name, "what": what, "meaning": meaning, "shape": list(array.shape)}
        listed.append({**fields, "dtype": kind, "stored_as": arrays[name].dtype.name})
        if path.suffix != vector_files.NPZ:
            listed[-1]["file"] = f"{path.name}/{name}{vector_files.BIN}"

    for group in SETS:
        for name, (what, array) in _inputs(context, group).items():
            add(name, "input", what, array)
        for probe in _asked(_Recorded(context, {}), p, dtype):
            context.prove(probe.question.tensor)
            right = p.user(probe.question.tensor, probe.answer(context.right(group)))
            name = f"{group}.{answer_name(probe)}"
            is_rounded = group == "random" and dtype not in INTEGERS
            wide = "complex128" if right.dtype.kind == "c" else "float64"
            add(name, "answer", _meaning(probe), right, wide if is_rounded else dtype)
            if is_rounded:
                listed[-1]["answer_dtype"] = dtype
                bound = _bound(context, probe)
                add(f"{name}.bound", "bound", f"largest error of {name} that rounding explains", bound, "float64")
    described = {
        "format": vector_files.FORMAT,
        "version": vector_files.VERSION,
        "made_by": f"triconv {sys.modules['triconv'].__version__}",
        "operator": like.__name__,
        "shapes": [list(shape) for shape in shapes],
        "params": params,
        "dtype": dtype,
        "seed": seed,
        "equation": "input_dilation * i + pad_lo = stride * o + dilation * t: there input i, output o and tap t meet; the "
        "kernel is not flipped",
        "axes": [axis._asdict() if hasattr(axis, "_asdict") else vars(axis) for axis in p.model.axes],
        "groups": p.model.groups,
        "padding_mode": p.model.mode,
        "layout": {role: p.call.layout.letters(role) for role in "xwg"},
        "sets": SETS,
        "order": "little-endian, the last axis the fastest (C)",
        "answers": "write your results as arrays of the same names, shapes and answer_dtype (else dtype) into another .npz or "
        "folder, those that you have; then: triconv check --results FILE --vectors " + path.name,
        "arrays": listed,
    }
    vector_files.write(path, arrays, described)
    return path.with_suffix(".json")


def check_results(results: Any, vectors: Any = None) -> Report:
    """Judge results that something else computed for test vectors.

    Parameters
    ----------
    results : str or path
        An .npz, or a folder of .bin, with arrays of the names that the JSON lists as answers; those that are missing are
        "unsupported".
    vectors : str or path, optional
        The vectors; by default ``case.npz`` for ``case_out.npz``, and the folder ``case`` for ``case_out``.

    Returns
    -------
    Report
        As that of `triconv.check`.

    Raises
    ------
    ValueError
        With one line, for files that are missing or damaged, names that are not known, and arrays of another shape or dtype.
    """
    results = Path(results)
    path = Path(vectors) if vectors is not None else vector_files.vectors_of(results)
    described = vector_files.described(path)
    like, dtype, seed = OPERATORS[described["operator"]], described["dtype"], described["seed"]
    shapes, params = tuple(map(tuple, described["shapes"])), {k: _param(v) for k, v in described["params"].items()}
    listed = {entry["name"]: entry for entry in described["arrays"]}
    case = vector_files.read("vectors", path, {n: (e["shape"], e["stored_as"]) for n, e in listed.items()})
    try:
        problem = ConvolutionProblem.of(like, shapes, params)
    except (TypeError, ValueError) as error:
        msg = f"`vectors` must be of arrays and parameters that {like.__name__} takes: {error}"
        raise ValueError(msg) from None
    for name, shape in zip(problem.names, shapes, strict=True):
        if tuple(listed.get(f"exact.{name}", {"shape": ()})["shape"]) != shape:  # before arrays of any size are drawn
            msg = f"`vectors` must list exact.{name} with the shape of {name}, {shape}"
            raise ValueError(msg)
    context = CheckContext(problem, dtype, None, seed)
    for group in SETS:
        for name, (_, array) in _inputs(context, group).items():
            if name not in case or not np.array_equal(case[name], stored(array, dtype)):
                msg = f"`vectors` must be of this version of triconv, got those of {described['made_by']}: write them again"
                raise ValueError(msg)
    kind = "uint16" if dtype == "bfloat16" else dtype
    wanted = {name: (entry["shape"], kind) for name, entry in listed.items() if entry["what"] == "answer"}
    answers = vector_files.read("results", results, wanted)
    recorded = _Recorded(context, {name: _loaded(a, dtype) for name, a in answers.items()})
    rows = []
    for probe in _asked(recorded, context.problem, dtype):
        rows.append(judge(context, probe))
        if probe.question.is_plain_value and rows[-1].verdict in (UNCHECKED, UNSUPPORTED):
            msg = f"`results` must have the values, exact.value and random.value, got {', '.join(answers) or 'nothing'}"
            raise ValueError(msg)
    rows += no_derivative(rows, recorded, Role(context.problem.result)) if dtype not in INTEGERS else ()
    return Report(
        candidate=results.stem,
        like=like.__name__,
        shapes=dict(zip(context.problem.names, shapes, strict=True)),
        params=params,
        framework="numpy",
        dtype=dtype,
        rows=tuple(rows),
        versions=versions("numpy"),
        seed=seed,
    )


class _Recorded(CandidateFunction):
    """Answers from a file, for the arrays of a check."""

    def __init__(self, context: CheckContext, answers: dict[str, np.ndarray]) -> None:
        super().__init__(_never, BACKENDS["numpy"].load(), context.dtype, {})
        self.context, self.answers = context, answers

    def _answer(self, arrays: Arrays, what: str) -> np.ndarray:
        p = self.context.problem
        for group in SETS:
            drawn = self.context.arrays[group]
            pairs = zip(arrays, (p.user(role, drawn.primals[role]) for role in p.roles), strict=True)
            if f"{group}.{what}" in self.answers and all(np.array_equal(a, b) for a, b in pairs):
                return self.answers[f"{group}.{what}"]
        raise Unsupported(NotSupported(Reason.NOT_GIVEN, Ability.DERIVATIVE))

    def value(self, arrays: Arrays) -> Any:
        """As given."""
        return self._answer(arrays, "value")

    def vjp(self, arrays: Arrays, g: np.ndarray, n: int) -> Any:
        """As given."""
        return self._answer(arrays, f"vjp.{self.context.problem.names[n]}")

    def jvp(self, arrays: Arrays, tangents: Arrays) -> Any:
        """As given."""
        return self._answer(arrays, "jvp")

    def reverse_over_reverse(self, arrays: Arrays, g: np.ndarray, tangents: Arrays) -> Any:
        """As given, each where it is looked at."""
        p = self.context.problem
        names = [name for role, name in zip(p.roles, p.names, strict=True) if role != Role.BIAS]
        return _Each(lambda n: self._answer(arrays, f"second.{names[n]}"))


class _Each:
    """Stands for a list of which each element is made where it is looked at."""

    def __init__(self, make: Callable[[int], Any]) -> None:
        self.make = make

    def __getitem__(self, n: int) -> Any:
        return self.make(n)


def _never(*_: Any) -> Any:
    msg = "there is no function, only its results"
    raise TypeError(msg)


def _context(like: Any, shapes: Any, params: dict[str, Any], dtype: str, seed: int) -> CheckContext:
    problem = ConvolutionProblem.of(like, tuple(map(tuple, shapes)), params)
    return CheckContext(problem, dtype, None, seed)


def _asked(candidate: CandidateFunction, problem: ConvolutionProblem, dtype: str) -> list[Probe]:
    """Return the questions whose answers can be in a file."""
    plain = [p for p in probes(candidate, problem, dtype) if _is_in_file(p.question)]
    return list({p.question: p for p in plain}.values())


def _is_in_file(question: Question) -> bool:
    if question.kind == Kind.SECOND_ORDER:  # of the cotangent, it is the JVP; and the other mode has the same answers
        return question.mode == Mode.REVERSE_OVER_REVERSE and question.name is not None
    return question.kind in ANSWERS and (question.transform is None or question.is_derivative)


def answer_name(probe: Probe) -> str:
    """Return what the answer to a question is called in a file."""
    kind, name = probe.question.kind, probe.question.name
    named = {Kind.VALUE: "value", Kind.JVP: "jvp", Kind.VJP: f"vjp.{name}", Kind.SECOND_ORDER: f"second.{name}"}
    return named[kind]


def _meaning(probe: Probe) -> str:
    name = probe.question.name
    meanings = {
        Kind.VALUE: "the result",
        Kind.JVP: "the tangent of the result for the tangents",
        Kind.VJP: f"the gradient of {name} for the cotangent",
        Kind.SECOND_ORDER: f"the gradient by {name} of the sum, over the arrays, of <VJP of the array, its tangent>",
    }
    return meanings[probe.question.kind]


def _inputs(context: CheckContext, group: str) -> dict[str, tuple[str, np.ndarray]]:
    """Return the arrays of a set that are given, with what they are."""
    p, drawn = context.problem, context.arrays[group]
    named = list(zip(p.roles, p.names, strict=True))
    found = {f"{group}.{name}": ("an array of the operator", p.user(r, drawn.primals[r])) for r, name in named}
    found[f"{group}.cotangent"] = ("of the result", p.user(p.result, drawn.g))
    return found | {f"{group}.tangent.{name}": (f"of {name}", p.user(r, drawn.tangents[r])) for r, name in named}


def _bound(context: CheckContext, probe: Probe) -> np.ndarray:
    """Return by how much rounding may move each element of an answer to random data."""
    expectations, role = context.right("random"), probe.question.tensor
    right = probe.answer(expectations)
    test = RoundingTest.of(context.problem, context.dtype, role, probe.answer, expectations, right)
    return context.problem.user(role, np.broadcast_to(test.allowed, right.shape))


def stored(array: np.ndarray, dtype: str) -> np.ndarray:
    """Return an array as the file has it: little-endian, in C order; numbers of bfloat16 as their bits."""
    if dtype == "bfloat16":
        return (np.ascontiguousarray(rounded(array, dtype), np.float32).view(np.uint32) >> 16).astype("<u2")
    return np.ascontiguousarray(array).reshape(array.shape).astype(np.dtype(dtype).newbyteorder("<"))


def _loaded(array: np.ndarray, dtype: str) -> np.ndarray:
    """Return an array of a file as numbers."""
    if dtype == "bfloat16":
        kind = importlib.import_module("ml_dtypes").bfloat16
        return (array.astype(np.uint32) << 16).view(np.float32).astype(kind)
    return array


def _param(value: Any) -> Any:
    """Return a parameter as it was before it was JSON, which has no tuples."""
    return tuple(map(_param, value)) if isinstance(value, list) else value
