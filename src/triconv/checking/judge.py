"""The verdict on one result: right to the last bit, right to rounding, right with fewer bits, or wrong."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from triconv.checking import data as data_
from triconv.checking import loops, rounding
from triconv.checking.candidates import NotOffered, as_numpy
from triconv.checking.convolution import Data, Problem, Truth
from triconv.checking.data import INTEGERS, wrapped
from triconv.checking.diagnosis import Symptom, diagnose
from triconv.checking.report import NOT_OFFERED, RIGHT, UNCHECKED, WRONG, Evidence, Row
from triconv.checking.sentences import one_line

Ask = Callable[[Data], Any]


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
        The user's arrays, whose values are then used as they are, beside the integers of the exact test.
    """

    problem: Problem
    dtype: str
    precision: str | None
    seed: int
    own: list[np.ndarray] | None = None
    thorough: bool = True
    """Whether to try the hypotheses that take a run of the loops each."""

    def __post_init__(self) -> None:
        _, self.exact, self.small, self.random = data_.draw(self.problem, self.dtype, self.seed, self.own)
        self.truths = {name: Truth(self.problem, getattr(self, name)) for name in ("exact", "small", "random")}


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
            return Row(what, UNCHECKED, "raised", f"the candidate raised {type(problem).__name__}: {one_line(problem)}")
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
        msg = f"{type(problem).__name__}: {one_line(problem)}"
        raise _Raised(msg) from problem


def _form(j: Judge, question: Question, raw: Any, found: np.ndarray) -> Row | None:
    """The row for a result of a wrong shape or dtype."""
    shape = j.problem.result_shape(question.role) if question.role != "bias" else j.problem.shapes[-1]
    if question.role == "bias" and found.shape != shape and tuple(n for n in found.shape if n != 1) == shape:
        detail = f"its shape must be {shape}, got {found.shape}: the sum kept axes of length 1"
        return Row(question.what, WRONG, "shape", detail, cause="kept axes")
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
    with np.errstate(all="ignore"):  # given arrays may overflow, and hold what is not finite
        right = {name: question.answer(j.truths[name]) for name in ("exact", "random")}
    if j.dtype in INTEGERS:
        for name in ("exact", "random"):
            right[name] = wrapped(right[name], j.dtype)
            if not np.array_equal(found[name], right[name]):
                return _wrong(j, question, name, found[name], right[name])
        return Row(question.what, RIGHT, "exact", "equal on integers, bit for bit")
    if not np.isfinite(found["exact"]).all():
        return _wrong(j, question, "exact", found["exact"], right["exact"])
    test = rounding.Test.of(j.problem, j.dtype, question.role, question.answer, j.truths["random"], found["random"])
    if (row := rounding.not_finite(question.what, test)) is not None:
        return row
    exact = bool(np.array_equal(found["exact"], right["exact"]))
    near = exact or bool(np.all(np.abs(found["exact"] - right["exact"]) < 0.25))

    def small() -> bool:
        again = _torch(j, question.role, _again(question, j.small))
        return bool(np.array_equal(again, question.answer(j.truths["small"])))

    row = rounding.verdict(question.what, test, exact, near, small, j.precision, drawn=j.own is None)
    if row is not None:
        return row
    if not exact:
        return _wrong(j, question, "exact", found["exact"], right["exact"], test.ratio)
    return _wrong(j, question, "random", test.found, test.right, test.ratio, test.error > test.allowed)


def _repeated(j: Judge, question: Question, first: dict[str, np.ndarray]) -> Row:
    """The row for the same question again: equal, different by rounding, or random."""
    again = [a for _ in range(2) if (a := _again(question, j.random)) is not None]
    if all(np.array_equal(a, first["random"], equal_nan=True) for a in again):
        return Row(question.what, RIGHT, "exact", "three runs give the same bits")
    if any(a.shape != first["random"].shape for a in again):
        return Row(
            question.what, WRONG, "random", "the shape is not the same from run to run", cause="nondeterministic"
        )
    arrays = [_torch(j, question.role, a) for a in (first["random"], *again)]
    spread = max(float(np.abs(np.nan_to_num(a - arrays[0])).max(initial=0)) for a in arrays[1:])
    is_rounding = False
    if j.dtype not in INTEGERS:
        test = rounding.Test.of(j.problem, j.dtype, question.role, question.answer, j.truths["random"], arrays[0])
        is_rounding = spread <= 2 * float(test.allowed.max(initial=0))
    if is_rounding:
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
    if not spoiled.size:
        return Row(what, NOT_OFFERED, "", "the array is empty")
    middle = tuple(size // 2 for size in spoiled.shape)
    spoiled[middle] = SPOILED[question.kind]
    mark = np.zeros_like(primals[role])
    mark[middle] = 1
    ones = {r: np.ones_like(a) for r, a in primals.items()}
    try:
        with np.errstate(all="ignore"):  # what NumPy would warn of is what is asked
            raw = question.ask(Data({**ones, role: spoiled}, j.small.g, j.small.tangents))
    except Exception as problem:  # noqa: BLE001 (to refuse such an input is no fault)
        return Row(what, NOT_OFFERED, "", f"the candidate raised {type(problem).__name__}: {one_line(problem)}")
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


def _wrong(
    j: Judge,
    question: Question,
    name: str,
    found: np.ndarray,
    right: np.ndarray,
    ratio: float | None = None,
    out_of_bound: np.ndarray | None = None,
) -> Row:
    """The row for a wrong result of the data of this name: where, and why."""
    truth, bad = j.truths[name], ~np.isfinite(found)
    mask = bad if bad.any() else found != right if out_of_bound is None else out_of_bound
    wrong = np.argwhere(mask)
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
    is_, must = _told_apart(found[index], right[index])
    where = f"at {index} it is {is_}, must be {must}; {len(wrong)} of {found.size} elements are wrong"
    if bad.any():
        return Row(question.what, WRONG, "not finite", f"{where}, of finite data", ratio, "not a number", evidence)
    is_value = question.what.startswith(("value", "vmap"))
    symptom = Symptom(j.problem, truth, question.answer, question.role, found, right, is_value, mask)
    cause, sentence = diagnose(symptom, thorough=j.thorough)
    return Row(question.what, WRONG, "exact", f"{sentence}; {where}", ratio, cause, evidence)


def _told_apart(a: Any, b: Any) -> tuple[str, str]:
    """Two numbers with as many digits as it takes to see that they differ."""
    if a.dtype.kind in "iu":
        return str(a), str(b)
    pairs = ((f"{a:.{digits}g}", f"{b:.{digits}g}") for digits in (6, 9, 17))
    return next((pair for pair in pairs if pair[0] != pair[1]), (f"{a:.17g}", f"{b:.17g}"))


def _symptom(j: Judge, question: Question, found: np.ndarray) -> Symptom | None:
    """For a result of a wrong shape, which may still have the right number of axes."""
    right = question.answer(j.truths["exact"])
    try:
        arranged = _torch(j, question.role, found)
    except ValueError:
        return None
    is_value = question.what.startswith(("value", "vmap"))
    return Symptom(j.problem, j.truths["exact"], question.answer, question.role, arranged, right, is_value, None)


def taps_at(problem: Problem, role: str, index: tuple[int, ...]) -> tuple[Any, ...]:
    """The ``(input, output, tap)`` positions that meet in an element of the derivative by `role`."""
    if role == "bias":
        return ()
    position = index[2:]
    which = {"x": 0, "g": 1, "w": 2}[role]
    axes = [loops.meetings_at(a, which, at) for a, at in zip(problem.facts.axes, position, strict=True)]
    found: list[Any] = [()]
    for meetings in axes:
        found = [(*before, m) for before in found for m in meetings][:4096]
    return tuple(tuple(tuple(m[k] for m in at) for k in range(3)) for at in found)


def _torch(j: Judge, role: str, a: Any) -> np.ndarray:
    """A result in torch's order, in the dtype in which the definition is computed."""
    wide = data_.widened(np.asarray(a), j.dtype)
    return wide if role == "bias" else j.problem.to_torch(role, wide)


def _kind(raw: Any) -> str:
    return f"a {type(raw).__name__}"
