"""Results that are a function of each right element, or of each of an operand: an activation left in, clipping, norms."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np

from triconv.checking.diagnosis.contributions import gradient_of
from triconv.checking.diagnosis.size_factors import factor_of
from triconv.checking.findings.causes import Cause, Hypothesis
from triconv.checking.findings.diagnosis_data import Diagnosis, Factor
from triconv.checking.findings.protocol import Role
from triconv.checking.oracles.comparison import WrongResult, factor, same
from triconv.checking.oracles.convolution import Expectations, InputArrays

Function = Callable[[np.ndarray], np.ndarray]
LEAST_REPEATED = 8
"""Numbers that stand in several places of a result, and must be mapped to equal numbers, for it to be a function of each."""
LEAST_VALUES = 3
"""Different numbers that a function of few elements must give."""
SHOWN_PAIRS = 4
"""Numbers of which it is said what becomes of them."""
LEAST_ADDED = 8
"""Elements of an error, or of a result, that may be told from a multiple of another tensor by its direction."""
MOST_TRIED = 4096
"""Elements on which every function is tried before it is on all of them."""
SELU = 1.0507009873554805, 1.6732632423543772
"""Its scale, and by what its negative part is multiplied."""
ROUNDINGS = {"rounded down": np.floor, "cut off": np.trunc, "rounded": np.rint, "rounded up": np.ceil}
"""To whole numbers."""
CLIPPED_NORMS = (0.1, 0.25, 0.5, 2.0, 5.0, 10.0, 100.0, 1000.0)
"""Round numbers that a norm is clipped to; 1 is that of what is divided by its norm."""
_erf = np.vectorize(math.erf, otypes=[float])


def _sigmoid(a: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-a))


FUNCTIONS: dict[str, tuple[Function, Function | None]] = {
    "relu": (lambda a: np.maximum(a, 0), lambda a: (a > 0).astype(a.dtype)),
    "abs": (np.abs, np.sign),
    "square": (np.square, lambda a: 2 * a),
    "sign": (np.sign, None),
    "relu6": (lambda a: np.clip(a, 0, 6), lambda a: ((a > 0) & (a < 6)).astype(a.dtype)),
    "relu of -": (lambda a: np.minimum(a, 0), lambda a: (a < 0).astype(a.dtype)),
    "tanh": (np.tanh, lambda a: 1 - np.tanh(a) ** 2),
    "sigmoid": (_sigmoid, lambda a: _sigmoid(a) * (1 - _sigmoid(a))),
    "silu": (lambda a: a * _sigmoid(a), lambda a: _sigmoid(a) * (1 + a * (1 - _sigmoid(a)))),
    "softplus": (lambda a: np.logaddexp(0, a), _sigmoid),
    "elu": (lambda a: np.where(a > 0, a, np.expm1(np.minimum(a, 0))), lambda a: np.exp(np.minimum(a, 0))),
    "gelu": (
        lambda a: a * (1 + _erf(a / math.sqrt(2))) / 2,
        lambda a: (1 + _erf(a / math.sqrt(2))) / 2 + a * np.exp(-a * a / 2) / math.sqrt(2 * math.pi),
    ),
    "gelu by tanh": (
        lambda a: 0.5 * a * (1 + np.tanh(math.sqrt(2 / math.pi) * (a + 0.044715 * a**3))),
        None,
    ),
    "gelu by a sigmoid": (
        lambda a: a * _sigmoid(1.702 * a),
        lambda a: _sigmoid(1.702 * a) * (1 + 1.702 * a * (1 - _sigmoid(1.702 * a))),
    ),
    "mish": (lambda a: a * np.tanh(np.logaddexp(0, a)), None),
    "selu": (lambda a: SELU[0] * np.where(a > 0, a, SELU[1] * np.expm1(np.minimum(a, 0))), None),
    "hard sigmoid": (lambda a: np.clip(a / 6 + 0.5, 0, 1), lambda a: (np.abs(a) < 3) / 6),
    "hard swish": (
        lambda a: a * np.clip(a / 6 + 0.5, 0, 1),
        lambda a: np.where(a <= -3, 0, np.where(a >= 3, 1, a / 3 + 0.5)),
    ),
    "softsign": (lambda a: a / (1 + np.abs(a)), lambda a: (1 + np.abs(a)) ** -2.0),
    "exp": (np.exp, np.exp),
    "square root of the absolute value": (lambda a: np.sqrt(np.abs(a)), None),
    "round": (np.round, None),
}
"""Functions that stand next to a convolution, and their derivatives."""


def function_of_elements(r: WrongResult) -> Diagnosis | None:
    """Explain a result that is a function of each right element, such as an activation that was left in."""
    if not r.has_shape or np.iscomplexobj(r.expected) or np.iscomplexobj(r.found) or r.expected.size < 2:
        return None
    # ones are the sigmoid of all large numbers
    if r.found.size < LEAST_REPEATED and len(np.unique(r.found)) < LEAST_VALUES:
        return None
    some = _some(r.expected)
    for name, of_some in functions_of(r.expected.ravel()[some]):
        if same(of_some, r.found.ravel()[some]) and same(FUNCTIONS[name][0](r.expected.astype(np.float64)), r.found):
            cause = Cause.CLIPPED if name == "clip" else Cause.ACTIVATION
            return Diagnosis(cause, Hypothesis.FUNCTION_OF_RESULT, function=name)
    return _leaky(r) or _clipped(r) or _floored(r) or _softmax(r)


def _some(a: np.ndarray) -> np.ndarray:
    """Return the indices of some elements of a flat array, the largest and the smallest among them."""
    every = np.arange(0, a.size, max(1, a.size // MOST_TRIED))
    return np.concatenate([every, [a.argmax(), a.argmin()]])


def functions_of(a: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
    """Yield the name and the result of each function of the elements of an array."""
    a = a.astype(np.float64)
    with np.errstate(all="ignore"):
        for name, (function, _) in FUNCTIONS.items():
            yield name, function(a)


def some_function(r: WrongResult) -> Diagnosis | None:
    """Explain a result whose elements are equal where the right ones are: it is a function of each, whatever that may be."""
    if not r.has_shape or np.iscomplexobj(r.expected) or np.iscomplexobj(r.found):
        return None
    values, which, times = np.unique(np.round(r.expected.ravel(), 9), return_inverse=True, return_counts=True)
    if (times > 1).sum() < LEAST_REPEATED or times[times > 1].sum() < r.found.size / 2:
        return None
    found = r.found.ravel()
    mapped = np.zeros(len(values))
    mapped[which] = found
    if not same(mapped[which], found) or len(np.unique(mapped)) < LEAST_REPEATED:
        return None
    shown = np.argsort(np.abs(values), kind="stable")[:SHOWN_PAIRS]
    pairs = tuple(float(number) for n in sorted(shown) for number in (values[n], mapped[n]))
    return Diagnosis(Cause.ACTIVATION, Hypothesis.SOME_FUNCTION, weights=pairs)


def _softmax(r: WrongResult) -> Diagnosis | None:
    if not r.is_value or r.expected.ndim < 2:
        return None
    e = np.exp(r.expected - r.expected.max(axis=1, keepdims=True))
    if r.expected.shape[1] > 1 and same(e / e.sum(axis=1, keepdims=True), r.found):
        return Diagnosis(Cause.ACTIVATION, Hypothesis.FUNCTION_OF_RESULT, function="softmax over the channels")
    return None


def _leaky(r: WrongResult) -> Diagnosis | None:
    """Explain positive elements that are right, and negative ones times a factor."""
    negative = r.expected < 0
    if not negative.any() or negative.all() or not same(r.found[~negative], r.expected[~negative]):
        return None
    ratios = r.found[negative] / r.expected[negative]
    if negative.sum() < 3 or np.ptp(ratios) > 1e-4 or np.isclose(ratios[0], 1):
        return None
    return Diagnosis(Cause.ACTIVATION, Hypothesis.LEAKY, amount=float(np.median(ratios)))


def _floored(r: WrongResult) -> Diagnosis | None:
    """Explain whole numbers that are those of a quotient, rounded: of `//` where `/` must not even be."""
    weight = np.vdot(r.found, r.found)
    if len(np.unique(r.found)) < LEAST_VALUES or not weight or np.any(r.found != np.rint(r.found)):
        return None
    near = round(float(np.vdot(r.found, r.expected) / weight))
    for size in range(max(2, near - 1), near + 2):
        for mode, function in ROUNDINGS.items():
            if np.array_equal(function(r.expected / size), r.found):
                return Diagnosis(Cause.FIXED_POINT, Hypothesis.ROUNDED_TO_INTEGERS, mode=mode, size=size)
    return None


def _clipped(r: WrongResult) -> Diagnosis | None:
    """Explain elements that are right inside a range, and at its end where they are beyond it."""
    lo, hi = r.found.min(), r.found.max()
    if lo == hi or not same(np.clip(r.expected, lo, hi), r.found):
        return None
    below, above = r.expected.min() < lo, r.expected.max() > hi
    inside = (r.found > lo) & (r.found < hi)
    if r.differs().sum() < 2 or len(np.unique(r.found[inside])) < 2:  # so few numbers are no range
        return None
    ends = (float(lo) if below else -math.inf, float(hi) if above else math.inf)
    return Diagnosis(Cause.CLIPPED, Hypothesis.VALUES_CLIPPED, weights=ends)


def function_of_tensors(r: WrongResult) -> Diagnosis | None:
    """Explain a result in which a function was applied to an operand first, or its derivative left in."""
    if not r.has_shape or np.iscomplexobj(r.expected) or r.expected.size < 2:
        return None
    arrays, result = r.expectations.arrays, Role(r.problem.result)
    for name, (function, derivative) in FUNCTIONS.items():
        with np.errstate(all="ignore"):
            for role in r.problem.operands:
                if role == r.role and not r.is_value:
                    continue
                a = arrays.primals[role].astype(np.float64)
                changed = replace(arrays, primals={**arrays.primals, role: function(a)})
                if _differs(changed.primals[role], a) and _predicts(r, changed):
                    return Diagnosis(Cause.ACTIVATION, Hypothesis.FUNCTION_OF_TENSOR, role=Role(role), function=name)
            if r.is_value or r.role == result:
                continue
            g = function(arrays.g.astype(np.float64))
            if _differs(g, arrays.g) and same(gradient_of(r, g), r.found):
                return Diagnosis(Cause.ACTIVATION, Hypothesis.FUNCTION_OF_TENSOR, role=result, function=name)
            if derivative is None:
                continue
            for value in (r.expectations.value(), r.expectations.without_bias()):
                mask = derivative(value.astype(np.float64))
                c = factor(r.found, gradient_of(r, arrays.g * mask)) if np.any(mask != 1) else None
                if c is not None:
                    masked = Diagnosis(Cause.ACTIVATION, Hypothesis.COTANGENT_MASKED, role=result, function=name)
                    if math.isclose(c, 1, rel_tol=1e-4):
                        return masked
                    if r.found.size >= LEAST_ADDED:  # of fewer, any factor fits too often
                        return replace(masked, factor=factor_of(c, r))
            own = arrays.primals.get(r.role)
            if own is not None and same(r.expected * derivative(own.astype(np.float64)), r.found):
                return Diagnosis(Cause.ACTIVATION, Hypothesis.RESULT_MASKED, role=Role(r.role), function=name)
    own = None if r.is_value else arrays.primals.get(r.role)
    if own is not None and own.all() != own.any() and same(r.expected * (own != 0), r.found):
        return Diagnosis(Cause.ACTIVATION, Hypothesis.RESULT_PRUNED, role=Role(r.role))
    return None


def _differs(a: np.ndarray, b: np.ndarray) -> bool:
    return bool(np.isfinite(a).all()) and not np.array_equal(a, b)


def _predicts(r: WrongResult, arrays: InputArrays) -> bool:
    return same(r.answer(Expectations(r.problem, arrays, r.expectations.model)), r.found)


# ---- norms


def norm_of(r: WrongResult, c: float) -> Diagnosis | None:
    """Explain a factor that is a norm of the right result, or that makes its norm a round number."""
    size = np.abs(r.expected)
    norms = {
        "norm": float(np.sqrt((size**2).sum())),
        "sum of absolute values": float(size.sum()),
        "largest absolute value": float(size.max(initial=0)),
        "standard deviation": float(r.expected.std()),
        "root mean square": float(np.sqrt((size**2).mean())),
    }
    for name, norm in norms.items():
        if norm > 0 and norm != 1 and np.isclose(c * norm, 1, rtol=1e-5):
            return Diagnosis(Cause.NORMALISED, Hypothesis.NORM, function=name, factor=Factor(c))
    if 0 < c < 1 and not _is_simple_fraction(c):
        of_g = 0.0 if r.is_value else float(np.linalg.norm(r.expectations.arrays.g.ravel()))
        for most in (*CLIPPED_NORMS, 1.0):
            if np.isclose(c * of_g, most, rtol=1e-5):
                return Diagnosis(Cause.CLIPPED, Hypothesis.COTANGENT_CLIPPED, amount=most, factor=Factor(c))
        for most in CLIPPED_NORMS:
            if np.isclose(c * norms["norm"], most, rtol=1e-5):
                return Diagnosis(Cause.CLIPPED, Hypothesis.NORM_CLIPPED, amount=most, factor=Factor(c))
    return None


def _is_simple_fraction(c: float) -> bool:
    return any(np.isclose(c * n, round(c * n), rtol=0, atol=1e-6) for n in range(1, 33))


def standardised(r: WrongResult) -> Diagnosis | None:
    """Explain a result whose mean was subtracted, and perhaps divided by its standard deviation, over some axes."""
    e = r.expected
    if not r.has_shape or e.size < 4 or e.ndim < 2 or np.iscomplexobj(e):
        return None
    every = tuple(range(e.ndim))
    choices = {every, tuple(a for a in every if a != 1), tuple(a for a in every if a != 0), every[2:], (1,), (0,)}
    for axes in sorted(choices, key=len, reverse=True):
        if not axes or math.prod(e.shape[a] for a in axes) < 2:
            continue
        centered = e - e.mean(axis=axes, keepdims=True)
        if same(centered, r.found):
            return Diagnosis(Cause.NORMALISED, Hypothesis.CENTERED, axes=axes)
        for ddof in (0, 1):
            deviation = np.sqrt((np.abs(centered) ** 2).sum(axis=axes, keepdims=True))
            deviation = deviation / math.sqrt(max(1, math.prod(e.shape[a] for a in axes) - ddof))
            ratio = np.abs(r.found - centered / np.where(deviation > 0, deviation, 1))
            if np.all(ratio <= 1e-3):  # of the epsilon under the root, too
                return Diagnosis(Cause.NORMALISED, Hypothesis.STANDARDISED, axes=axes)
    return None


def tensor_added(r: WrongResult) -> Diagnosis | None:
    """Explain a multiple of an operand, of the cotangent or of the bias that is added: weight decay, a residual."""
    if not r.has_shape or r.expected.size < 3:
        return None
    arrays = r.expectations.arrays
    tensors = {**arrays.primals, r.problem.result: arrays.g}
    residual = r.found - r.expected
    for role, tensor in tensors.items():
        if tensor.shape == residual.shape and (weight := np.vdot(tensor, tensor).real):
            c = np.vdot(tensor, residual).real / weight
            if abs(c) > 1e-9 and same(residual, c * tensor):
                return Diagnosis(Cause.TENSOR_ADDED, Hypothesis.TENSOR_ADDED, role=Role(role), amount=float(c))
    mean = residual.mean()
    if abs(mean) > 1e-9 and not np.iscomplexobj(residual) and np.ptp(residual) <= 1e-6 * abs(mean):
        return Diagnosis(Cause.CONSTANT_ADDED, Hypothesis.CONSTANT_ADDED, amount=float(mean))
    return None


def little_added(r: WrongResult) -> Diagnosis | None:
    """Explain a small multiple of an operand, or of the cotangent, that is added, as weight decay is."""
    if not r.has_shape or r.expected.size < LEAST_ADDED:
        return None
    arrays, residual = r.expectations.arrays, r.found - r.expected
    for role, tensor in {**arrays.primals, r.problem.result: arrays.g}.items():
        weight = np.vdot(tensor, tensor).real
        if tensor.shape != residual.shape or not weight:
            continue
        c = np.vdot(tensor, residual).real / weight
        if np.linalg.norm(residual - c * tensor) < 0.1 * np.linalg.norm(residual):
            return Diagnosis(Cause.TENSOR_ADDED, Hypothesis.TENSOR_ADDED, role=Role(role), amount=float(c))
    return None


def noisy(r: WrongResult) -> Diagnosis | None:
    """Explain an error that is random: in every element, of mean zero, and of no relation to what is right."""
    if not r.has_shape or np.iscomplexobj(r.expected):
        return None
    error = (r.found - r.expected).ravel()
    if error.size < 24 or (error != 0).mean() < 0.9:
        return None
    spread, of_right = error.std(), r.expected.std()
    if not spread or not of_right or spread > of_right or abs(error.mean()) > 4 * spread / math.sqrt(error.size):
        return None
    right = r.expected.ravel() - r.expected.mean()
    correlation = abs(np.dot(right, error) / (np.linalg.norm(right) * np.linalg.norm(error)))
    is_whole = bool(np.all(r.expected == np.round(r.expected))) and bool(np.all(error == np.round(error)))
    if is_whole or correlation > 4 / math.sqrt(error.size) or np.abs(error).max() > 6 * spread:
        return None
    return Diagnosis(Cause.NOISE, Hypothesis.NOISE, amount=float(spread))
