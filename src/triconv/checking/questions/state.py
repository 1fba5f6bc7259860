"""Calls one after the other: what they do to arrays, results, memory and generators, and what they leave for the next call."""

from __future__ import annotations

import contextlib
import itertools
import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from triconv.checking.candidates import generators
from triconv.checking.candidates.candidate import as_numpy
from triconv.checking.candidates.candidates import Unsupported
from triconv.checking.findings.causes import Cause
from triconv.checking.findings.exception_text import caught, one_line
from triconv.checking.findings.findings import Finding
from triconv.checking.findings.memory_findings import (
    CallsDiffer,
    ChangesSettings,
    EagerDiffers,
    EarlierAnswer,
    FakeDiffers,
    HookedGradient,
    InputChanged,
    LaterForward,
    NothingKept,
    OtherAfterBatch,
    OtherSituation,
    ResultOverwritten,
    SecondPullback,
    SharesMemory,
    Situation,
    Unwritten,
    UsesGenerators,
    WritesGradient,
)
from triconv.checking.findings.protocol import RIGHT, UNCHECKED, WRONG, Kind, Proof, Question
from triconv.checking.findings.unanswered import Raised
from triconv.checking.memory.poison import is_left_over, poisoned, shows
from triconv.checking.questions import layer_history
from triconv.checking.questions.layer_history import Fault
from triconv.checking.reports.report_data import ReportRow
from triconv.checking.verdicts.trial import CHEAP, COTANGENT, Trial, copied

MANY, FEW = 10, 3
"""Calls with the same numbers, of a small problem and of a large one."""


def rows(trial: Trial) -> list[ReportRow]:
    """Return the rows of what is wrong, or one row where nothing is."""
    faults: dict[Kind, tuple[Cause, Finding]] = {}

    def take(step: Callable[[Trial], Iterator[Fault]]) -> None:
        for kind, cause, finding in step(trial):
            faults.setdefault(kind, (cause, finding))

    def ask(step: Callable[[Trial], Iterator[Fault]]) -> None:
        with contextlib.suppress(Exception):  # asked in an unusual way: it may be refused
            take(step)

    ask(_unwritten)
    try:
        take(_same_calls)
    except Unsupported:
        return []
    except Exception as problem:  # noqa: BLE001 (whatever the candidate raises is reported)
        question = Question(Kind.HISTORY, trial.value.role)
        return [ReportRow(question, UNCHECKED, Proof.RAISED, Raised(caught(problem), again=True))]
    if Kind.HISTORY in faults and Kind.UNWRITTEN not in faults:
        ask(_unwritten)  # other memory may be given out this time
    if Kind.UNWRITTEN in faults:  # else what the memory holds would look like a fault of its own
        faults = {Kind.UNWRITTEN: faults[Kind.UNWRITTEN]}
    ask(_memory)
    ask(_gradients)
    if Kind.HISTORY not in faults:  # else what one more call leaves says nothing
        ask(_hooks)
    # other functions may drop elements in training alone, or seed a generator so that what they draw can be differentiated
    last = (_situations, _fakes, _generators) if trial.is_convolution else ()
    for step in (_replaced, _batches, _pullbacks, layer_history.faults, *last):
        if not faults:  # else no other comparison means anything
            ask(step)
    ask(_settings)
    role = trial.value.role
    if not faults:
        return [ReportRow(Question(Kind.MEMORY, role), RIGHT, Proof.EXACT, NothingKept(trial.calls))]
    return [
        ReportRow(Question(kind, role), WRONG, Proof.EXACT, finding, cause=cause)
        for kind, (cause, finding) in faults.items()
    ]


def reasons(trial: Trial) -> list[ReportRow]:
    """Return why results are not the same from run to run: unwritten elements, or the number of calls; none if at random."""
    for step in (_unwritten, _same_calls):
        with contextlib.suppress(Exception):
            for kind, cause, finding in step(trial):
                if cause != Cause.NONDETERMINISTIC:
                    return [ReportRow(Question(kind, trial.value.role), WRONG, Proof.EXACT, finding, cause=cause)]
    return []


def _same_calls(t: Trial) -> Iterator[Fault]:
    """The same numbers again and again."""
    times = MANY if t.size <= CHEAP else FEW
    for ask in t.asks:
        runs = [copied(ask(t.first, t.g)) for _ in range(times)]
        for question in runs[0]:
            results = [run[question] for run in runs]
            right = t.right.get(question)
            if right is not None and all(
                a is not None and a.shape == right.shape and t.different(a, right) for a in results
            ):
                yield Kind.HISTORY, Cause.CALL_COUNT, CallsDiffer(question, (), times)
                continue
            classes = _classes(t, results)
            most = max(set(classes), key=classes.count)
            if len(set(classes)) == 1:
                continue
            more = [copied(ask(t.first, t.g))[question] for _ in range(2 * times)]
            classes = _classes(t, [*results, *more])
            others = tuple(n + 1 for n, k in enumerate(classes) if k != most)
            cause = Cause.CALL_COUNT if _is_regular(classes, most) else Cause.NONDETERMINISTIC
            yield Kind.HISTORY, cause, CallsDiffer(question, others, len(classes))


def _classes(t: Trial, results: list[Any]) -> list[int]:
    """For each call, the number of the first call with the same result."""
    return [next(k for k in range(n + 1) if not t.different(results[k], a)) for n, a in enumerate(results)]


def _is_regular(classes: list[int], most: int) -> bool:
    """Whether the results that are not the most frequent come in every so many calls, or only before or after some call."""
    at = [n for n, k in enumerate(classes) if k != most]
    gaps = {b - a for a, b in itertools.pairwise(at)}
    return len(set(classes)) == 2 and len(gaps) <= 1


def _memory(t: Trial) -> Iterator[Fault]:
    """Arrays after a call, and results after later calls."""
    if not t.has_strides:
        return
    kept: list[tuple[Question, Any, np.ndarray]] = []
    # the second time with numbers that use all bits: to round them in place changes them
    other = (t.second, t.other_g) if not t.is_convolution else ([_thirds(a) for a in t.second], _thirds(t.other_g))
    for arrays, g in ((t.first, t.g), other):
        for ask in t.asks:
            with t.watching() as watch:
                results = ask(t.marked(arrays), t.marked_g(g))
            asked = next(iter(results))
            for array, restored in watch.changed() if not t.may_write else ():
                yield Kind.OPERANDS, Cause.INPUT_CHANGED, InputChanged(array, asked, restored)
            for question, raw in results.items() if t.is_convolution else ():
                for array in watch.sharing(raw):
                    yield Kind.RESULTS, Cause.SHARED_MEMORY, SharesMemory(question, array)
            for question, raw, before in kept:
                if not np.array_equal(np.asarray(as_numpy(raw)), before, equal_nan=True):
                    yield Kind.RESULTS, Cause.RESULT_OVERWRITTEN, ResultOverwritten(question, asked)
            copies = copied(results)
            kept += [(q, raw, a) for q, raw in results.items() if (a := copies[q]) is not None]


def _gradients(t: Trial) -> Iterator[Fault]:
    """The gradients that torch keeps with its arrays."""
    for n, (is_written, returns, clears) in enumerate(t.candidate.written_gradients(t.first, t.g) if t.vjps else ()):
        if is_written:
            cause = Cause.INPUT_CHANGED if clears else Cause.COUNTED_TWICE if returns else Cause.DETACHED
            yield Kind.OPERANDS, cause, WritesGradient(t.names[n], returns, clears)


def _hooks(t: Trial) -> Iterator[Fault]:
    """What `backward` leaves in the gradients that torch keeps, beside what autograd computes."""
    if not (left := t.candidate.trained(t.first, t.g) if t.vjps else []):
        return
    right = t.right if t.right.keys() >= set(t.vjps.values()) else copied(t.ask_vjps(t.first, t.g))
    for n, question in t.vjps.items():
        found, expected = as_numpy(left[n]), right[question]
        if found is None or expected is None or not (elements := t.different(found, expected)):
            continue  # None may be what a hook leaves that steps and frees the gradient
        ratios = (
            np.unique(found[expected != 0] / expected[expected != 0]) if found.shape == expected.shape else np.zeros(0)
        )
        factor = float(ratios[0]) + 0.0 if len(ratios) == 1 and np.isreal(ratios[0]) else None
        yield Kind.OPERANDS, Cause.HOOK, HookedGradient(t.names[n], elements, expected.size, factor)


def _unwritten(t: Trial) -> Iterator[Fault]:
    """Memory that held other numbers."""
    for ask in t.asks:
        clean = copied(ask(t.first, t.g))
        sizes = [a.nbytes for a in clean.values() if a is not None]
        with poisoned(t.candidate.backend.name, t.candidate.device, [*sizes, *(a.nbytes for a in t.first), t.g.nbytes]):
            results = copied(ask(t.first, t.g))
        for question, right in clean.items():
            found = results[question]
            if right is None or found is None or found.shape != right.shape:
                continue
            left = is_left_over(right)  # then both calls may have the same
            if not left.any() and not t.different(found, right):
                continue
            if elements := int(np.count_nonzero(shows(found) & (left | ~shows(right)))):
                yield Kind.UNWRITTEN, Cause.UNWRITTEN, Unwritten(question, elements, right.size)


def _replaced(t: Trial) -> Iterator[Fault]:
    """Other numbers in the same arrays, as after a step of an optimizer."""
    if not t.has_strides:
        return
    for n, (name, own) in enumerate(zip(t.names, t.first, strict=True)):
        other = _reordered(own, t.second[n])
        mixed = [other if k == n else a for k, a in enumerate(t.first)]
        for ask in (t.ask_value, _vjps_of_all(t)) if t.vjps else (t.ask_value,):
            with t.watching(keeps=True):
                before = copied(ask(t.marked(t.first), t.marked_g(t.g)))
                results = copied(ask(t.marked(mixed), t.marked_g(t.g)))
                fresh = ask(mixed, t.g)  # while the kept arrays hold their memory
            for question, found in results.items():
                is_same = t.is_convolution and question != t.vjps.get(n) and not t.different(found, before[question])
                if t.different(found, fresh[question]) or (is_same and _is_kept(t, ask, question, n, other, found)):
                    yield Kind.HISTORY, Cause.STALE_CACHE, EarlierAnswer(question, name)


def _thirds(a: np.ndarray) -> np.ndarray:
    return a / 3 if a.dtype.kind in "fc" else a


def _reordered(a: np.ndarray, other: np.ndarray) -> np.ndarray:
    """The numbers of an array with all but the first and the last in reverse: what is kept by sums or by corners is found.

    Where that changes nothing, it is the other array.
    """
    flat = a.ravel()
    flat = np.concatenate([flat[:1], flat[1:-1][::-1], flat[-1:]]) if a.size > 1 else flat
    return other if np.array_equal(flat, a.ravel()) else flat.reshape(a.shape)


def _is_kept(t: Trial, ask: Callable[..., Any], question: Question, n: int, other: np.ndarray, found: Any) -> bool:
    """Whether a result that two arrays share is wrong for one of them: the result for their sum must be the sum."""
    if found is None or found.dtype.kind not in "fc":
        return False
    own = t.first[n]
    of_sum, of_zeros = (
        copied(ask([new if k == n else a for k, a in enumerate(t.first)], t.g))[question]
        for new in (own + other, np.zeros_like(own))
    )
    if of_sum is None or of_zeros is None or not t.different(of_zeros, found):
        return False  # it does not depend on the array
    return bool(t.different(of_sum.astype(np.complex128) + of_zeros, 2 * found.astype(np.complex128)))


def _batches(t: Trial) -> Iterator[Fault]:
    """One sample alone, between calls with all."""
    axes = t.batch_axes
    if not t.has_strides or not axes or t.g.shape[axes[COTANGENT]] < 2:
        return

    def first_sample(a: np.ndarray, name: str) -> np.ndarray:
        return np.take(a, [0], axes[name]) if name in axes else a

    alone = [first_sample(a, name) for a, name in zip(t.first, t.names, strict=True)]
    for ask in t.asks:
        right = copied(ask(t.first, t.g))
        results = copied(ask(alone, first_sample(t.g, COTANGENT)))
        again = copied(ask(t.first, t.g))
        for question, found in results.items():
            whole = right[question]
            if t.different(again[question], whole):
                yield Kind.HISTORY, Cause.STALE_CACHE, OtherAfterBatch(question, after=True)
            if found is None or whole is None or str(question.role) not in axes:
                continue
            expected = first_sample(whole, str(question.role))
            # code for one size alone may give results of that size
            if found.shape == expected.shape and t.different(found, expected):
                more = copied(ask(alone, first_sample(t.g, COTANGENT)))[question]
                if t.different(more, expected):
                    yield Kind.HISTORY, Cause.BATCH_SIZE, OtherAfterBatch(question, after=False)
                else:  # that call alone was another one, as every so many are
                    yield Kind.HISTORY, Cause.CALL_COUNT, CallsDiffer(question, (), t.calls)


def _vjps_of_all(t: Trial) -> Callable[..., dict[Question, Any]]:
    """Ask for the cotangents of arrays that are handed over as they are."""

    def ask(arrays: Any, g: Any) -> dict[Question, Any]:
        if len(t.vjps) < len(t.names):
            return t.ask_vjps(arrays, g)
        return t.by_question(t.candidate.vjps_of(arrays, g, [True] * len(t.names)))

    return ask


def _pullbacks(t: Trial) -> Iterator[Fault]:
    """Two forwards before a backward, and a backward twice, where the candidate keeps what a backward needs per call."""
    if not t.vjps or not (t.candidate.returns_cache or t.candidate.differentiates):
        return
    right = copied(t.ask_vjps(t.first, t.g))
    if t.candidate.backend.name == "jax":
        eager = t.by_question(t.candidate.pullback(t.first)(t.g))
        for question, raw in eager.items():
            if t.different(raw, right[question]):
                yield Kind.HISTORY, Cause.EAGER, EagerDiffers(question)
                return
    one = t.candidate.pullback(t.first)
    t.candidate.pullback(t.second)
    results = copied(t.by_question(one(t.g)))
    for question, found in results.items():
        if t.different(found, right[question]):
            yield Kind.HISTORY, Cause.LATER_FORWARD, LaterForward(question)
            return
    if t.candidate.differentiates:
        of_other = copied(t.ask_vjps(t.first, t.other_g))
        for g, expected in ((t.other_g, of_other), (t.g, right)):
            for question, raw in t.by_question(one(g)).items():
                if t.different(raw, expected[question]):
                    yield Kind.HISTORY, Cause.SECOND_PULLBACK, SecondPullback(question)
                    return


def _fakes(t: Trial) -> Iterator[Fault]:
    """What operators of the candidate's own tell a compiler."""
    for operator, said in t.candidate.wrong_fakes(t.first).items():
        yield Kind.FAKES, Cause.FAKE, FakeDiffers(operator, one_line(said))


def _situations(t: Trial) -> Iterator[Fault]:
    """Inference mode, what is asked of torch where it compiles, and the evaluation mode of modules."""
    for situation, within in t.candidate.situations().items():
        asks = {Situation.INFERENCE: t.asks[:1], Situation.CREATE_GRAPH: t.asks[1:]}.get(situation, t.asks)
        for ask in asks:
            # as of code for a compiler alone, or of a checkpoint that has gradients by `backward` alone
            may_raise = (Exception,) if situation in (Situation.COMPILED, Situation.CREATE_GRAPH) else ()
            results: dict[Question, np.ndarray | None] = {}
            with contextlib.suppress(*may_raise), within():
                results = copied(ask(t.first, t.g))
            right = t.right if results.keys() <= t.right.keys() else copied(ask(t.first, t.g))
            for question, found in results.items():
                if t.different(found, right[question]):
                    yield Kind.HISTORY, Cause.OTHER_MODE, OtherSituation(question, situation)


def _generators(t: Trial) -> Iterator[Fault]:
    """The global generators of Python, NumPy and torch."""
    for ask in t.asks:
        used = generators.used(lambda ask=ask: ask(t.first, t.g), t.candidate.functions)  # type: ignore[misc]
        if used.names:
            question = t.value if ask == t.ask_value else next(iter(t.vjps.values()))
            yield Kind.GENERATORS, Cause.GLOBAL_RANDOM_STATE, UsesGenerators(question, used.names, used.seeds)


def _settings(t: Trial) -> Iterator[Fault]:
    """The settings of Python and of the candidate's library."""

    def every() -> None:
        for ask in t.asks:
            ask(t.first, t.g)

    if names := t.candidate.changes.of(every):
        yield Kind.SETTINGS, Cause.GLOBAL_SETTINGS, ChangesSettings(names)


def size_of(shapes: list[tuple[int, ...]], terms: int) -> int:
    """Multiply-adds of a call, about."""
    return max(map(math.prod, shapes), default=1) * terms
