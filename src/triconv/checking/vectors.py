"""Test vectors: data and right results in a file, so that a convolution is checked where there is no Python.

`write` draws the data of a check and writes them with the right results. Something else, in C++ or on another machine, computes
its results and writes them under the same names; `check_results` judges these as `triconv.check` judges a function.
"""

from __future__ import annotations

import importlib
import json
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from triconv.backends import BACKENDS
from triconv.checking.candidate import Arrays, CandidateFunction
from triconv.checking.check import DTYPES
from triconv.checking.convolution import ConvolutionProblem
from triconv.checking.drawn_data import rounded
from triconv.checking.dtypes import INTEGERS
from triconv.checking.findings import Ability, NotSupported, Reason
from triconv.checking.judge import CheckContext, judge
from triconv.checking.naming import versions
from triconv.checking.probes import Probe, probes
from triconv.checking.protocol import UNCHECKED, UNSUPPORTED, Kind, Role
from triconv.checking.report import Report
from triconv.checking.rounding import RoundingTest
from triconv.checking.unjudged import no_derivative
from triconv.checking.unsupported import Unsupported
from triconv.operators.registry import OPERATORS

FORMAT, VERSION = "triconv vectors", 1
SETS = {
    "exact": "integers, on which every right algorithm agrees: compare bit for bit",
    "small": "integers that are exact in 8 bits, on which sums in bfloat16 are exact too: compare bit for bit",
    "random": "numbers that have to be rounded: |answer - value| <= bound, element by element",
}
"""The sets of data, and how their answers are compared."""
ANSWERS = (Kind.VALUE, Kind.VJP, Kind.JVP)
"""What is asked."""


def write(
    like: Callable[..., Any], *shapes: tuple[int, ...], out: Any, dtype: str = "float32", seed: int = 0, **params: Any
) -> Path:
    """Write test vectors for an operator as ``out``, an .npz, and what they are as JSON beside it.

    Parameters
    ----------
    like : callable
        The operator.
    *shapes : tuple of int
        Of its arrays.
    out : str or path
        The file, which ends with .npz.
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
    if path.suffix != ".npz" or not path.resolve().parent.is_dir():
        msg = f"`out` must be a file such as case.npz in a folder that is there, got {out}"
        raise ValueError(msg)
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
        "format": FORMAT,
        "version": VERSION,
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
        "answers": "write your results as arrays of the same names, shapes and answer_dtype (else dtype) into another .npz, "
        "those that you have; then: triconv check --results FILE --vectors " + path.name,
        "arrays": listed,
    }
    try:
        np.savez(path, **arrays)  # type: ignore[arg-type]
        text = json.dumps(described, indent=2, default=str) + "\n"
        path.with_suffix(".json").write_text(text, encoding="utf-8")
    except OSError as problem:
        msg = f"`out` must be a file that can be written, got {out}: {problem.strerror}"
        raise ValueError(msg) from None
    return path.with_suffix(".json")


def check_results(results: Any, vectors: Any = None) -> Report:
    """Judge results that something else computed for test vectors.

    Parameters
    ----------
    results : str or path
        An .npz with arrays of the names that the JSON lists as answers; those that are missing are "unsupported".
    vectors : str or path, optional
        The vectors; by default ``case.npz`` for ``case_out.npz``.

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
    path = Path(vectors) if vectors is not None else results.with_name(results.name.replace("_out.npz", ".npz"))
    if path == results:
        msg = f"`vectors` must be given for results that are not called ..._out.npz, got {results}"
        raise ValueError(msg)
    described = _described(path)
    like, dtype, seed = OPERATORS[described["operator"]], described["dtype"], described["seed"]
    shapes, params = tuple(map(tuple, described["shapes"])), {k: _param(v) for k, v in described["params"].items()}
    listed = {entry["name"]: entry for entry in described["arrays"]}
    case = _read("vectors", path, {name: (entry["shape"], entry["stored_as"]) for name, entry in listed.items()})
    context = _context(like, shapes, params, dtype, seed)
    for group in SETS:
        for name, (_, array) in _inputs(context, group).items():
            if name not in case or not np.array_equal(case[name], stored(array, dtype)):
                msg = f"`vectors` must be of this version of triconv, got those of {described['made_by']}: write them again"
                raise ValueError(msg)
    kind = "uint16" if dtype == "bfloat16" else dtype
    wanted = {name: (entry["shape"], kind) for name, entry in listed.items() if entry["what"] == "answer"}
    answers = _read("results", results, wanted)
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


def _never(*_: Any) -> Any:
    msg = "there is no function, only its results"
    raise TypeError(msg)


def _context(like: Any, shapes: Any, params: dict[str, Any], dtype: str, seed: int) -> CheckContext:
    problem = ConvolutionProblem.of(like, tuple(map(tuple, shapes)), params)
    return CheckContext(problem, dtype, None, seed)


def _asked(candidate: CandidateFunction, problem: ConvolutionProblem, dtype: str) -> list[Probe]:
    """Return the questions whose answers can be in a file."""
    every = probes(candidate, problem, dtype)
    plain = [
        p for p in every if p.question.kind in ANSWERS and (p.question.transform is None or p.question.is_derivative)
    ]
    return list({p.question: p for p in plain}.values())


def answer_name(probe: Probe) -> str:
    """Return what the answer to a question is called in a file."""
    kind = probe.question.kind
    return "value" if kind == Kind.VALUE else f"vjp.{probe.question.name}" if kind == Kind.VJP else "jvp"


def _meaning(probe: Probe) -> str:
    kind, name = probe.question.kind, probe.question.name
    if kind == Kind.VALUE:
        return "the result"
    return (
        f"the gradient of {name} for the cotangent"
        if kind == Kind.VJP
        else "the tangent of the result for the tangents"
    )


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


def _described(path: Path) -> dict[str, Any]:
    """Return what the JSON beside vectors says."""
    place = path.with_suffix(".json")
    try:
        described = json.loads(place.read_text(encoding="utf-8"))
        found = described["format"], described["version"]
    except OSError as problem:
        msg = f"`vectors` must have their JSON beside them, got none that can be read at {place}: {problem.strerror}"
        raise ValueError(msg) from None
    except (ValueError, KeyError, TypeError):
        msg = f"`vectors` must have a JSON of triconv vectors beside them, got {place}, which is none"
        raise ValueError(msg) from None
    if found != (FORMAT, VERSION):
        msg = f"`vectors` must be of format {FORMAT!r}, version {VERSION}, got {found[0]!r}, version {found[1]}"
        raise ValueError(msg)
    wanted = {
        "operator": str,
        "dtype": str,
        "seed": int,
        "shapes": list,
        "params": dict,
        "arrays": list,
        "made_by": str,
    }
    for key, kind in wanted.items():
        if not isinstance(described.get(key), kind):
            msg = f"`vectors` must have {key!r} in their JSON, a {kind.__name__}, got {described.get(key)!r}"
            raise ValueError(msg)  # noqa: TRY004 (the file is wrong, not a type)
    if described["operator"] not in OPERATORS or described["dtype"] not in DTYPES:
        msg = (
            f"`vectors` must be of an operator and dtype of triconv, got {described['operator']}, {described['dtype']}"
        )
        raise ValueError(msg)
    fields = {"name", "what", "shape", "stored_as"}
    if not all(isinstance(entry, dict) and fields <= set(entry) for entry in described["arrays"]):
        msg = f"`vectors` must list arrays with {', '.join(sorted(fields))} in their JSON, got others in {place}"
        raise ValueError(msg)
    return described


def _read(option: str, path: Path, wanted: dict[str, tuple[Any, str]]) -> dict[str, np.ndarray]:
    """Return the arrays of a file, after a look at the name, the shape and the dtype of each."""
    try:
        with zipfile.ZipFile(path) as file:
            return dict(_member(option, file, member, wanted) for member in file.namelist())
    except FileNotFoundError:
        msg = f"`{option}` must be a file that is there, got {path}"
        raise ValueError(msg) from None
    except _RefusedError:
        raise
    except Exception as problem:  # noqa: BLE001 (a damaged file may raise anything)
        msg = f"`{option}` must be an .npz that is whole, got {path}: {problem}"
        raise ValueError(msg) from None


class _RefusedError(ValueError):
    """A file is whole, and does not hold what it should."""


def _member(option: str, file: Any, member: str, wanted: dict[str, tuple[Any, str]]) -> tuple[str, np.ndarray]:
    """Return one array of a file with its name."""
    name = member.removesuffix(".npy")
    if name not in wanted:
        listed = next(iter(wanted), "")
        msg = f"`{option}` must have arrays that the JSON of the vectors lists, such as {listed}, got {name!r}"
        raise _RefusedError(msg)
    shape, dtype = tuple(wanted[name][0]), np.dtype(wanted[name][1]).newbyteorder("=")
    with file.open(member) as stream:
        found = _header(stream)
    if found[1].hasobject:
        msg = f"`{option}`: {name} must be an array of numbers, got a pickle of Python objects"
        raise _RefusedError(msg)
    if found != (shape, dtype):
        msg = f"`{option}`: {name} must be {dtype} {shape}, got {found[1]} {found[0]}"
        raise _RefusedError(msg)
    with file.open(member) as stream:
        return name, np.lib.format.read_array(stream, allow_pickle=False).astype(dtype)


def _header(stream: Any) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """Return the shape and the dtype of an array before its numbers are read."""
    version = np.lib.format.read_magic(stream)
    reader = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, dtype = reader(stream)
    return shape, dtype.newbyteorder("=")
