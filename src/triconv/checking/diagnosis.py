"""Why a result is wrong: a table of hypotheses, one row each.

Most mistakes can be said as "the operands were changed first", or "the geometry was another": those stand in
`misunderstandings.py`. The rest can be said of one result alone, and are rows of `BLUNDERS`, and of `LAST` where a
misunderstanding would say it better. A hypothesis explains a result if it predicts every element of it.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from triconv.checking import devices
from triconv.checking.convolution import Facts, Problem, Truth
from triconv.checking.misunderstandings import misunderstandings, remainder

Answer = Callable[[Truth], np.ndarray]


class Diagnosis(NamedTuple):
    """The name of a hypothesis and the sentence that helps."""

    cause: str
    sentence: str


@dataclass(frozen=True)
class Symptom:
    """A wrong result, and all that a hypothesis may ask.

    Parameters
    ----------
    problem : Problem
        The problem.
    truth : Truth
        The right answers.
    answer : callable
        Which of them was asked: from a `Truth`.
    role : str
        Which tensor the result is, or "bias".
    found, expected : numpy.ndarray
        In torch's order.
    """

    problem: Problem
    truth: Truth
    answer: Answer
    role: str
    found: np.ndarray
    expected: np.ndarray
    is_value: bool
    wrong: np.ndarray | None = None
    """Where it is wrong, if not wherever it differs."""

    def of(self, facts: Facts) -> np.ndarray:
        """What was asked, had the facts been these."""
        return self.answer(Truth(self.problem, self.truth.data, facts))


def diagnose(symptom: Symptom, *, thorough: bool = True) -> Diagnosis:
    """Return the first hypothesis that predicts the result, else one without a name."""
    if same(symptom.found, symptom.expected):
        return _small(symptom)
    if symptom.problem.shared and (told := devices.diagnose(symptom)) is not None:
        return Diagnosis(*told)
    for hypothesis in BLUNDERS:
        if (sentence := hypothesis.explains(symptom)) is not None:
            return Diagnosis(hypothesis.cause, sentence)
    seen: list[tuple[str, str, np.ndarray]] = []
    for cause, sentence, facts in misunderstandings(symptom.problem) if thorough else ():
        try:
            predicted = symptom.of(facts)
        except (ValueError, IndexError):
            continue
        if same(predicted, symptom.found):
            return Diagnosis(cause, sentence)
        if predicted.shape == symptom.found.shape:
            seen.append((cause, sentence, predicted))
    for cause, sentence, predicted in seen:
        if (c := factor(symptom.found, predicted)) is not None:
            return Diagnosis(cause, f"{sentence}; and times {name_of(c, symptom)}")
    for hypothesis in LAST:
        if (sentence := hypothesis.explains(symptom)) is not None:
            return Diagnosis(hypothesis.cause, sentence)
    return Diagnosis("", "no hypothesis explains it")


def same(a: np.ndarray, b: np.ndarray) -> bool:
    """Whether every element is equal; a difference that only rounding makes does not count."""
    if a.shape != b.shape:
        return False
    some = tuple(slice(None, None, max(1, size // 6)) for size in a.shape)  # most that differ do so there already
    return all(
        bool(np.all(np.abs(p - q) <= 1e-4 * np.maximum(1, np.abs(p).max(initial=0))))
        for p, q in ((a[some], b[some]), (a, b))
    )


def factor(found: np.ndarray, predicted: np.ndarray) -> float | None:
    """The number by which the prediction is to be multiplied, if it is one number for all elements, and not 0."""
    weight = np.vdot(predicted, predicted).real
    if not weight or found.shape != predicted.shape:
        return None
    c = np.vdot(predicted, found).real / weight
    return float(c) if abs(c) > 1e-9 and same(found, c * predicted) else None


def _small(s: Symptom) -> Diagnosis:
    """Of a result that is nearly right, but off by more than rounding explains."""
    error, weight = (s.found - s.expected).ravel(), np.vdot(s.expected, s.expected).real
    c = np.vdot(s.expected, s.found).real / weight if weight else 1.0
    if np.linalg.norm(s.found - c * s.expected) < 0.1 * np.linalg.norm(error):
        return Diagnosis("constant factor", f"every element is multiplied by {c:.9g}")
    wrong = [] if s.wrong is None else np.argwhere(s.wrong).tolist()
    if len(wrong) == 1 and error.size > 2:
        index = tuple(wrong[0])
        return Diagnosis("one element", f"one element is wrong: {index}")
    if error.size > 2 and np.abs(error.mean()) > 10 * error.std():
        return Diagnosis("constant added", f"{error.mean():.2g} is added to every element")
    largest = np.abs(error).max(initial=0)
    return Diagnosis("", f"it is off by up to {largest:.2g}, which is little, but more than rounding explains")


def name_of(c: float, symptom: Symptom) -> str:
    """A factor in words: every size of the problem that it may be."""
    groups = symptom.problem.facts.groups
    g, w = (symptom.problem.torch_shape(role, symptom.problem.result_shape(role)) for role in "gw")
    n, k, outputs = g[0], g[1], g[2:]
    per_group, taps = w[1], w[2:]
    positions, taps_ = int(np.prod(outputs)), int(np.prod(taps))
    sizes = {
        "the batch size": n,
        "the number of output positions": positions,
        "batch size times output positions": n * positions,
        "the number of input channels": per_group * groups,
        "the number of output channels": k,
        "the number of taps": taps_,
        "taps times input channels": taps_ * per_group,
        "the number of groups": groups,
    }
    for value, before in ((c, ""), (1 / c, "1 over ")):
        size = round(value)
        if size > 1 and np.isclose(value, size, rtol=1e-6):
            names = [name for name, other in sizes.items() if other == size]
            return f"{before}{size}" + (f", {' or '.join(names)}" if names else "")
    return f"{c:.6g}"


class Blunder(NamedTuple):
    """A hypothesis on one result: its name, and a function that gives the sentence, or None if it does not explain it."""

    cause: str
    explains: Callable[[Symptom], str | None]


def _zero(s: Symptom) -> str | None:
    if s.is_value or s.found.shape != s.expected.shape or np.any(s.found):
        return None
    return "it is zero everywhere: the argument was detached, or its gradient was stopped"


def _factor(s: Symptom) -> float | None:
    return factor(s.found, s.expected)


def _sign(s: Symptom) -> str | None:
    return "the sign is wrong" if (c := _factor(s)) is not None and np.isclose(c, -1) else None


def _averaged(s: Symptom) -> str | None:
    n, c = s.truth.data.g.shape[0], _factor(s)
    if c is None or n == 1 or s.role not in ("w", "bias") or not np.isclose(c, 1 / n, rtol=1e-6):
        return None
    return f"it is the mean over the batch of {n}, where the derivative of a sum is the sum"


def _scaled(s: Symptom) -> str | None:
    c = _factor(s)
    return None if c is None else f"every element is multiplied by {name_of(c, s)}"


def _first_sample(s: Symptom) -> str | None:
    g = s.truth.data.g
    if g.shape[0] == 1 or s.found.shape != s.expected.shape:
        return None
    if s.role in ("w", "bias"):
        mask = np.zeros((g.shape[0], *[1] * (g.ndim - 1)), g.dtype)
        mask[0] = 1
        if same(s.answer(Truth(s.problem, replace(s.truth.data, g=g * mask), s.truth.facts)), s.found):
            return "only the first sample of the batch is in the sum"
        return None
    rest = s.found[1:]
    if same(s.found[:1], s.expected[:1]) and (not rest.any() or same(rest, np.broadcast_to(s.found[:1], rest.shape))):
        return "only the first sample of the batch is computed"
    return None


def _conjugate(s: Symptom) -> str | None:
    if not np.iscomplexobj(s.expected):
        return None
    other = replace(s.problem, conjugates=not s.problem.conjugates)
    predictions = [s.answer(Truth(other, s.truth.data)), s.expected.conj()]
    predictions += [s.of(s.problem.facts.with_change(role, np.conj)) for role in s.problem.operands]
    if any(same(p, s.found) for p in predictions):
        convention = "conjugates the other operand" if s.problem.conjugates else "conjugates nothing"
        return f"a conjugate is missing, or one too many; a gradient of this framework {convention}"
    return None


def _no_bias(s: Symptom) -> str | None:
    if not s.is_value or "bias" not in s.problem.roles or s.found.shape != s.expected.shape:
        return None
    bias = s.truth.data.primals["bias"]
    linear = s.expected - bias.reshape(-1, *[1] * (s.expected.ndim - 2))
    return "the bias is not added" if same(linear, s.found) else None


def _bias_axis(s: Symptom) -> str | None:
    if "bias" not in s.problem.roles or not (s.is_value or s.role == "bias"):
        return None
    data = s.truth.data
    if s.role == "bias":
        for keep in range(data.g.ndim):
            summed = data.g.sum(axis=tuple(axis for axis in range(data.g.ndim) if axis != keep))
            if keep != 1 and same(summed, s.found):
                return f"the sum keeps axis {keep} of the cotangent, where it must keep the channels, axis 1"
        for axes in itertools.chain.from_iterable(
            itertools.combinations(range(data.g.ndim), n) for n in range(1, data.g.ndim)
        ):
            if 1 not in axes and same(data.g.sum(axis=axes), s.found):
                missing = sorted(set(range(data.g.ndim)) - set(axes) - {1})
                return f"the sum leaves out axis {', '.join(map(str, missing))} of the cotangent"
        for index in itertools.product(*[(slice(None), 0, -1)] * (data.g.ndim - 2)):
            inside: Any = (slice(None), slice(None), *index)
            partial = data.g[inside]
            if same(partial.sum(axis=tuple(axis for axis in range(partial.ndim) if axis != 1)), s.found):
                return "the sum leaves positions out"
        return None
    bias = data.primals["bias"]
    linear = s.expected - bias.reshape(-1, *[1] * (s.expected.ndim - 2))
    for axis, size in enumerate(linear.shape):
        shape = [1] * linear.ndim
        shape[axis] = size
        if axis != 1 and size == bias.size and same(linear + bias.reshape(shape), s.found):
            return f"the bias is added along axis {axis}, where it must be along the channels, axis 1"
    return None


def _first_group(s: Symptom) -> str | None:
    groups = s.problem.facts.groups
    if groups == 1 or s.role == "bias" or s.found.shape != s.expected.shape:
        return None
    axis = 0 if s.role == "w" else 1
    size = s.expected.shape[axis] // groups
    parts, right = (np.split(a, groups, axis) for a in (s.found, s.expected))
    wrong = [n for n in range(groups) if not same(parts[n], right[n])]
    if 0 not in wrong and all(not parts[n].any() for n in wrong):
        return f"only the first group is computed: {size} of {s.expected.shape[axis]} channels"
    return None


def _one_element(s: Symptom) -> str | None:
    if s.found.shape != s.expected.shape or s.expected.size < 3:
        return None
    wrong = np.argwhere(_differs(s))
    if len(wrong) != 1:
        return None
    index = tuple(map(int, wrong[0]))
    return f"one element is {'dropped' if not s.found[index] else 'wrong'}: {index}"


def _border(s: Symptom) -> str | None:
    if s.found.shape != s.expected.shape:
        return None
    wrong = np.argwhere(_differs(s))
    for axis in range(2 if s.role != "bias" else 0, s.expected.ndim):
        size, at = s.expected.shape[axis], set(wrong[:, axis].tolist())
        if size > 1 and at and (at <= {0} or at <= {size - 1} or (size > 2 and at == {0, size - 1})):
            return f"only index {' and '.join(map(str, sorted(at)))} of axis {axis} is wrong: a border row is dropped or wrong"
    return None


def _differs(s: Symptom) -> np.ndarray:
    return np.abs(s.found - s.expected) > 1e-4 * max(1, np.abs(s.expected).max(initial=0))


def _reordered(s: Symptom) -> str | None:
    for order in itertools.permutations(range(s.expected.ndim)):
        moved = s.expected.transpose(order)
        if order != tuple(range(s.expected.ndim)) and same(moved, s.found):
            return f"the axes of the result are in another order: {order} of torch's"
        if moved.size == s.found.size and not same(s.expected, s.found) and same(moved.reshape(s.found.shape), s.found):
            return "the result is reshaped where it must be transposed"
    return None


def _turned(s: Symptom) -> str | None:
    axes = tuple(range(2, s.expected.ndim))
    for some in itertools.chain.from_iterable(itertools.combinations(axes, n) for n in range(1, len(axes) + 1)):
        if same(np.flip(s.expected, some), s.found):
            return f"the result is reversed in axis {', '.join(map(str, some))}"
    return None


def _shifted(s: Symptom) -> str | None:
    if s.found.shape != s.expected.shape:
        return None
    for axis in range(2, s.expected.ndim):
        for step in (1, -1):
            inside, source = [slice(None)] * s.expected.ndim, [slice(None)] * s.expected.ndim
            inside[axis], source[axis] = (
                (slice(step, None), slice(None, -step)) if step > 0 else (slice(None, step), slice(-step, None))
            )
            if s.expected.shape[axis] > 2 and same(s.expected[tuple(source)], s.found[tuple(inside)]):
                return f"the result is shifted by {step} in axis {axis}"
    return None


def _remainder(s: Symptom) -> str | None:
    rests = [remainder(a) for a in s.problem.facts.axes]
    if not any(rests) or s.found.ndim != s.expected.ndim:
        return None
    differences = [abs(a - b) for a, b in zip(s.found.shape[2:], s.expected.shape[2:], strict=True)]
    cut = any(differences) and all(d in (0, r) for d, r in zip(differences, rests, strict=True))
    shifted = False
    if s.found.shape == s.expected.shape and s.role == "x":
        for axis, rest in enumerate(rests, 2):
            if rest:
                moved = np.roll(s.expected, rest, axis)
                shifted |= same(moved, s.found)
    if not cut and not shifted:
        kept = tuple(slice(0, size - r) for size, r in zip(s.expected.shape[2:], rests, strict=True))
        inside = (slice(None), slice(None), *kept)
        masked = np.zeros_like(s.expected)
        masked[inside] = s.expected[inside]
        if s.role != "x" or s.found.shape != s.expected.shape or not same(masked, s.found):
            return None
    left = ", ".join(map(str, rests))
    return f"the windows leave {left} positions of the input over (stride), and those are not put where they belong"


def _shape(s: Symptom) -> str | None:
    if s.found.shape == s.expected.shape:
        return None
    return "its shape is wrong, and no hypothesis explains its elements"


BLUNDERS = (
    Blunder("detached", _zero),
    Blunder("sign", _sign),
    Blunder("batch averaged", _averaged),
    Blunder("constant factor", _scaled),
    Blunder("conjugate", _conjugate),
    Blunder("bias ignored", _no_bias),
    Blunder("bias axis", _bias_axis),
    Blunder("one element", _one_element),
    Blunder("only the first group", _first_group),
    Blunder("only the first sample", _first_sample),
    Blunder("remainder dropped", _remainder),
)
LAST = (
    Blunder("layout misread", _reordered),
    Blunder("kernel flip", _turned),
    Blunder("border dropped", _border),
    Blunder("padding off by one", _shifted),
    Blunder("shape", _shape),
)
