"""The verdict on one result: right to the last bit, right to rounding, right with fewer bits, or wrong."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from triconv.checking import loops
from triconv.checking.candidates import NotOffered, as_numpy
from triconv.checking.diagnosis import Symptom, diagnose
from triconv.checking.problem import Data, Problem, Truth
from triconv.checking.verdicts import IMPRECISE, NOT_OFFERED, RIGHT, UNCHECKED, WRONG, Evidence, Row

Ask = Callable[[Data], Any]

# bits of the significand
BITS = {"float64": 53, "float32": 24, "tf32": 11, "float16": 11, "bfloat16": 8, "complex128": 53, "complex64": 24}
BITS |= {"int64": 62, "int32": 31}
COARSER = ("float32", "tf32", "bfloat16")
ADVICE = {
    "float32": "in float32",
    "tf32": "with 11-bit products (TF32 or float16); in JAX set precision='highest', in torch "
    "torch.backends.cuda.matmul.fp32_precision = 'ieee'",
    "bfloat16": "with 8-bit products (bfloat16); in JAX set precision='highest', in torch leave autocast",
    "sums": "with sums in 8 to 11 bits (accumulated in bfloat16 or float16); take the sums in float32",
}


class Question(NamedTuple):
    """Something to ask of a candidate, and what the answer should be."""

    what: str
    role: str
    ask: Ask
    answer: Callable[[Truth], np.ndarray]
    kind: str = "result"
    """ "result", "repeat" (is it the same again?), "nan" or "inf" (does one go where it must?)."""


@dataclass
class Judge:
    """The data of a check and the right answers for them.

    Parameters
    ----------
    problem : Problem
        The problem.
    dtype : str
        Of the candidate's arrays.
    precision : str, optional
        Of the products, if fewer bits than the dtype's are meant.
    seed : int
        Of the data.
    own : list of numpy.ndarray, optional
        The user's arrays, for the rounding test.
    """

    problem: Problem
    dtype: str
    precision: str | None
    seed: int
    own: list[np.ndarray] | None = None
    thorough: bool = True
    """Whether to try the hypotheses that take a run of the loops each."""

    def __post_init__(self) -> None:
        rng = np.random.default_rng(self.seed)
        p = self.problem
        shapes = {r: p.torch_shape(r, s) if r != "bias" else s for r, s in zip(p.roles, p.shapes, strict=True)}
        shape_of_g = p.torch_shape(p.result, p.result_shape(p.result))
        self.exact = integers(p, shapes, shape_of_g, self.dtype, rng, BITS[self.dtype])
        self.small = integers(p, shapes, shape_of_g, self.dtype, rng, 8)
        real = self.dtype.startswith(("float", "bf"))

        def draw(shape: tuple[int, ...]) -> np.ndarray:
            a = rng.standard_normal(shape)
            if self.dtype.startswith("complex"):
                a = a + 1j * rng.standard_normal(shape)
            return rounded(a, self.dtype)

        primals = {r: draw(s) for r, s in shapes.items()}
        if self.own is not None and real:
            primals = {
                r: rounded(p.to_torch(r, a) if r != "bias" else a, self.dtype)
                for r, a in zip(p.roles, self.own, strict=True)
            }
        self.random = Data(primals, draw(shape_of_g), {r: draw(s) for r, s in shapes.items()})
        self.truths = {name: Truth(p, getattr(self, name)) for name in ("exact", "small", "random")}
        self.truths["absolute"] = Truth(p, self.random.map(np.abs))


def integers(
    p: Problem, shapes: dict[str, Any], shape_of_g: tuple[int, ...], dtype: str, rng: np.random.Generator, bits: int
) -> Data:
    """Small integers whose sums of products are exact in so many bits, in any order; sparse where there are many terms."""
    terms = max(p.terms(role) for role in "xwg")
    most = 3 if terms * 2 * 9 < 2.0**bits else 1
    # twice the terms, for the two parts of a JVP, and of a complex product
    room = 2.0**bits / (terms * 4 * most**2)
    density = min(1.0, room**0.5 * 0.9)

    def draw(shape: tuple[int, ...]) -> np.ndarray:
        a = rng.integers(-most, most + 1, shape)
        if dtype.startswith("complex"):
            a = a + 1j * rng.integers(-most, most + 1, shape)
        a = a * (rng.random(shape) < density)
        return a.astype(np.complex128 if dtype.startswith("complex") else np.float64)

    return Data(
        {role: draw(shape) for role, shape in shapes.items()}, draw(shape_of_g), {r: draw(s) for r, s in shapes.items()}
    )


def rounded(a: np.ndarray, dtype: str) -> np.ndarray:
    """Round to a dtype, and give it in double precision."""
    if dtype == "bfloat16":
        bits = np.asarray(a, np.float32).view(np.uint32)
        bits = (bits + 0x7FFF + ((bits >> 16) & 1)) & np.uint32(0xFFFF0000)
        return bits.view(np.float32).astype(np.float64)
    if dtype.startswith("int"):
        return np.rint(a)
    return np.asarray(a).astype(dtype).astype(np.complex128 if dtype.startswith("complex") else np.float64)


def judge(j: Judge, question: Question) -> Row:
    """Ask, and give the verdict."""
    what = question.what
    if question.kind in SPOILED:
        return _spoiled(j, question)
    results = {}
    for name in ("exact", "random"):
        try:
            raw = question.ask(getattr(j, name))
        except NotOffered as reason:
            return Row(what, NOT_OFFERED, "", str(reason))
        except Exception as problem:  # noqa: BLE001 (whatever the candidate raises is reported)
            return Row(what, UNCHECKED, "raised", f"the candidate raised {type(problem).__name__}: {_line(problem)}")
        if isinstance(raw, NotOffered):
            return Row(what, NOT_OFFERED, "", str(raw))
        found = as_numpy(raw)
        if found is None:
            return Row(what, UNCHECKED, "no array", f"the candidate returned {_kind(raw)}, which is no array")
        results[name] = found
        if question.kind == "result":
            row = _form(j, question, raw, found)
            if row is not None:
                return row
        if j.dtype.startswith("int"):
            results["random"] = found
            break
    try:
        if question.kind == "repeat":
            return _repeated(j, question, results)
        return _numbers(j, question, {name: _torch(j, question.role, a) for name, a in results.items()})
    except _Raised as again:
        return Row(what, UNCHECKED, "raised", f"the candidate raised, asked again: {again}")


class _Raised(Exception):  # noqa: N818 (it is the candidate's)
    """What a candidate raised that had given a result before."""


def _again(question: Question, data: Data) -> np.ndarray | None:
    try:
        return as_numpy(question.ask(data))
    except Exception as problem:
        msg = f"{type(problem).__name__}: {_line(problem)}"
        raise _Raised(msg) from problem


def _form(j: Judge, question: Question, raw: Any, found: np.ndarray) -> Row | None:
    """The row for a result of a wrong shape or dtype."""
    shape = j.problem.result_shape(question.role) if question.role != "bias" else j.problem.shapes[-1]
    if found.shape != shape:
        symptom = _symptom(j, question, found)
        told = diagnose(symptom, thorough=j.thorough) if symptom is not None else None
        cause, why = (told.cause, told.sentence) if told is not None else ("shape", "")
        detail = f"its shape must be {shape}, got {found.shape}" + (f": {why}" if why and cause != "shape" else "")
        return Row(question.what, WRONG, "shape", detail, cause=cause or "shape")
    dtype = str(getattr(raw, "dtype", found.dtype)).rpartition(".")[2]
    if dtype != j.dtype:
        return Row(
            question.what,
            WRONG,
            "dtype",
            f"its dtype must be {j.dtype}, as that of the arrays, got {dtype}",
            cause="dtype",
        )
    return None


def _numbers(j: Judge, question: Question, found: dict[str, np.ndarray]) -> Row:
    """The row for a result of the right form."""
    what, right = question.what, {name: question.answer(j.truths[name]) for name in ("exact", "random")}
    for name in ("exact", "random"):
        bad = ~np.isfinite(found[name])
        if bad.any():
            return (
                _wrong(j, question, found["exact"], right["exact"])
                if name == "exact"
                else Row(
                    what,
                    WRONG,
                    "not finite",
                    f"{bad.sum()} elements are not finite, of finite data",
                    cause="not a number",
                )
            )
    exact = bool(np.array_equal(found["exact"], right["exact"]))
    if j.dtype.startswith("int"):
        if exact:
            return Row(what, RIGHT, "exact", "equal on integers, bit for bit")
        return _wrong(j, question, found["exact"], right["exact"])
    terms = j.problem.terms(question.role) if question.role != "bias" else j.truths["exact"].data.g.size
    terms *= 2 if question.answer is Truth.jvp else 1
    unit = 2.0 ** -BITS[j.dtype] * (4 if j.dtype.startswith("complex") else 1)
    absolute = question.answer(j.truths["absolute"])
    error = np.abs(found["random"] - right["random"])
    ratio = _over(error, (terms + 1) * unit * absolute)
    if exact and ratio <= 1:
        return Row(what, RIGHT, "exact", "equal on integers, bit for bit; random data within rounding", ratio)
    near = bool(np.all(np.abs(found["exact"] - right["exact"]) < 0.25))
    scaled = _is_scaled(found["random"], right["random"], (terms + 1) * unit * absolute)
    if (exact or near) and not scaled and _norm_wise(j, question, error, unit):
        words = "random data within the norm-wise bound, as of an FFT or Winograd algorithm, not element by element"
        return Row(what, RIGHT, "norm-wise", words, ratio)
    for name in COARSER if exact else ():
        coarse = 2.0 ** -BITS[name]
        if coarse > unit and np.all(error <= ((2 + coarse) * coarse + (terms + 1) * unit) * absolute):
            return _imprecise(j, what, name, error, absolute)
    if ratio > 1:
        sums = (terms + 1) * 2.0**-8 * absolute
        small = _torch(j, question.role, _again(question, j.small))
        if np.array_equal(small, question.answer(j.truths["small"])) and np.all(error <= sums):
            return _imprecise(j, what, "sums", error, absolute)
    return _wrong(j, question, found["exact"], right["exact"], ratio, found["random"], right["random"])


def _is_scaled(found: np.ndarray, right: np.ndarray, bound: np.ndarray) -> bool:
    """Whether one factor, and nothing else, keeps the result from its bound."""
    weight = np.vdot(right, right).real
    if not weight:
        return False
    c = np.vdot(right, found).real / weight
    return bool(c != 1) and _over(np.abs(found - c * right), bound) <= 1 < _over(np.abs(found - right), bound)


def _imprecise(j: Judge, what: str, name: str, error: np.ndarray, absolute: np.ndarray) -> Row:
    relative = (error[absolute > 0] / absolute[absolute > 0]).max(initial=0)
    bits = int(-np.log2(relative)) if relative > 0 else BITS[j.dtype]
    detail = f"right, but computed {ADVICE[name]}; it has about {bits} bits of {BITS[j.dtype]}"
    declared = {"tf32": ("float32", "tf32"), "float16": ("float32", "tf32", "sums"), "bfloat16": (*COARSER, "sums")}
    if j.precision is not None and name in declared.get(j.precision, (j.precision,)):
        return Row(what, RIGHT, "precision", f"as declared, {j.precision}: {detail}")
    return Row(what, IMPRECISE, "precision", detail)


def _norm_wise(j: Judge, question: Question, error: np.ndarray, unit: float) -> bool:
    """Whether every error is within ``16 log2(N) u`` times the norms of what the largest element is a sum of.

    That of an FFT of ``N`` numbers is within a small multiple of ``log2(N) u`` (Higham, 2nd ed., theorem 24.2), and by the
    inequality of Cauchy and Schwarz an element is at most the product of the norms.
    """
    if question.role == "bias":
        return False
    size = max(a.size for a in (*j.random.primals.values(), j.random.g))
    squares = Truth(j.problem, j.random.map(lambda a: np.abs(a) ** 2))
    norm = float(np.sqrt(question.answer(squares).max(initial=0) * j.problem.terms(question.role)))
    return float(error.max(initial=0)) <= 16 * np.log2(2 + size) * unit * norm


def _repeated(j: Judge, question: Question, first: dict[str, np.ndarray]) -> Row:
    """The row for the same question again: equal, different by rounding, or random."""
    again = [a for _ in range(2) if (a := _again(question, j.random)) is not None]
    if all(np.array_equal(a, first["random"], equal_nan=True) for a in again):
        return Row(question.what, RIGHT, "exact", "three runs give the same bits")
    if any(a.shape != first["random"].shape for a in again):
        return Row(
            question.what, WRONG, "random", "the shape is not the same from run to run", cause="nondeterministic"
        )
    spread = max(float(np.abs(np.nan_to_num(a) - np.nan_to_num(first["random"])).max(initial=0)) for a in again)
    terms, unit = j.problem.terms(question.role), 2.0 ** -BITS[j.dtype]
    bound = float(((terms + 1) * unit * question.answer(j.truths["absolute"])).max(initial=0))
    if spread <= 2 * bound:
        return Row(
            question.what,
            RIGHT,
            "rounding",
            f"runs differ by up to {spread:.2g}, which is rounding: sums in another order",
        )
    return Row(
        question.what,
        WRONG,
        "random",
        f"the result is not the same from run to run: it differs by up to {spread:.2g}",
        cause="nondeterministic",
    )


SPOILED = {"nan": np.nan, "inf": np.inf}


def _spoiled(j: Judge, question: Question) -> Row:
    """The row for one NaN or infinity in the first array: it must reach what it meets, and may reach more, as in an FFT."""
    what, role = question.what, j.problem.operands[0]
    primals = dict(j.small.primals)
    spoiled = np.ones_like(primals[role])
    middle = tuple(size // 2 for size in spoiled.shape)
    spoiled[middle] = SPOILED[question.kind]
    mark = np.zeros_like(primals[role])
    mark[middle] = 1
    ones = {r: np.ones_like(a) for r, a in primals.items()}
    try:
        with np.errstate(all="ignore"):  # what NumPy would warn of is what is asked
            raw = question.ask(Data({**ones, role: spoiled}, j.small.g, j.small.tangents))
    except Exception as problem:  # noqa: BLE001 (to refuse such an input is no fault)
        return Row(what, NOT_OFFERED, "", f"the candidate raised {type(problem).__name__}: {_line(problem)}")
    result = as_numpy(raw)
    if result is None or result.shape != j.problem.result_shape(question.role):
        return Row(what, NOT_OFFERED, "", "the result has another shape")
    found = ~np.isfinite(_torch(j, question.role, result))
    linear = {r: a for r, a in {**ones, role: mark}.items() if r in j.problem.operands}
    must = j.problem.facts.derivative(j.problem.result, linear) != 0
    if (must & ~found).any():
        n = int((must & ~found).sum())
        return Row(
            what,
            WRONG,
            "not finite",
            f"it does not reach {n} of {must.sum()} elements that it meets",
            cause="not a number",
        )
    more = int((found & ~must).sum())
    detail = (
        "it reaches what it meets and nothing else"
        if not more
        else f"it reaches what it meets, and {more} elements more"
    )
    return Row(what, RIGHT, "not finite", detail)


def _over(error: np.ndarray, bound: np.ndarray) -> float:
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.where(error == 0, 0.0, error / bound)
    return float(ratio.max(initial=0.0))


def _wrong(
    j: Judge,
    question: Question,
    found: np.ndarray,
    right: np.ndarray,
    ratio: float | None = None,
    found_random: np.ndarray | None = None,
    right_random: np.ndarray | None = None,
) -> Row:
    """The row for a wrong result: where, and why."""
    truth = j.truths["exact"]
    if np.array_equal(found, right) and found_random is not None and right_random is not None:
        found, right, truth = found_random, right_random, j.truths["random"]  # it shows on random data alone
    bad = ~np.isfinite(found)
    wrong = np.argwhere(bad if bad.any() else np.abs(found - right) > 1e-6 * np.maximum(1, np.abs(right)))
    if not len(wrong):
        wrong = np.argwhere(found != right)
    index = tuple(map(int, wrong[0]))
    evidence = Evidence(
        index,
        right[index],
        found[index],
        len(wrong),
        found.size,
        taps_at(j.problem, question.role, index),
        right,
        found,
    )
    where = f"at {index} it is {found[index]:.6g}, must be {right[index]:.6g}; {len(wrong)} of {found.size} elements are wrong"
    if bad.any():
        return Row(question.what, WRONG, "not finite", f"{where}, of finite data", ratio, "not a number", evidence)
    symptom = Symptom(
        j.problem, truth, question.answer, question.role, found, right, question.what.startswith(("value", "vmap"))
    )
    cause, sentence = diagnose(symptom, thorough=j.thorough)
    return Row(question.what, WRONG, "exact", f"{sentence}; {where}", ratio, cause, evidence)


def _symptom(j: Judge, question: Question, found: np.ndarray) -> Symptom | None:
    """For a result of a wrong shape, which may still have the right number of axes."""
    right = question.answer(j.truths["exact"])
    try:
        arranged = _torch(j, question.role, found)
    except ValueError:
        return None
    is_value = question.what.startswith(("value", "vmap"))
    return Symptom(j.problem, j.truths["exact"], question.answer, question.role, arranged, right, is_value)


def taps_at(problem: Problem, role: str, index: tuple[int, ...]) -> tuple[Any, ...]:
    """The ``(input, output, tap)`` positions that meet in an element of the derivative by `role`."""
    if role == "bias":
        return ()
    position = index[2:]
    which = {"x": 0, "g": 1, "w": 2}[role]
    axes = [
        [m for m in loops.meetings(a) if m[which] == at] for a, at in zip(problem.facts.axes, position, strict=True)
    ]
    found: list[Any] = [()]
    for meetings in axes:
        found = [(*before, m) for before in found for m in meetings][:4096]
    return tuple(tuple(tuple(m[k] for m in at) for k in range(3)) for at in found)


def _torch(j: Judge, role: str, a: Any) -> np.ndarray:
    a = np.asarray(a)
    wide = a.astype(np.complex128 if a.dtype.kind == "c" else np.float64)
    return wide if role == "bias" else j.problem.to_torch(role, wide)


def _line(problem: BaseException) -> str:
    text = str(problem).strip()
    return text.splitlines()[0][:200] if text else "(no message)"


def _kind(raw: Any) -> str:
    return f"a {type(raw).__name__}"
