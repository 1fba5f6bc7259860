"""The verdict on numbers that had to be rounded: within a proved bound, with fewer bits, or out of every bound."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from triconv.checking import bounds
from triconv.checking.bounds import ARITHMETIC, Arithmetic
from triconv.checking.convolution import Data, Problem, Truth
from triconv.checking.data import BITS
from triconv.checking.report import IMPRECISE, RIGHT, WRONG, Row

Answer = Callable[[Truth], np.ndarray]

# bits that products may have instead of those of the dtype, the most first
COARSER = ("float32", "tf32", "bfloat16", "float8_e4m3", "float8_e5m2")
ADVICE = {
    "float32": "in float32",
    "tf32": "with 11-bit products (TF32 or float16); in JAX set precision='highest', in torch "
    "torch.backends.cuda.matmul.fp32_precision = 'ieee'",
    "bfloat16": "with 8-bit products (bfloat16); in JAX set precision='highest', in torch leave autocast",
    "float8_e4m3": "with 4-bit products (float8 e4m3)",
    "float8_e5m2": "with 3-bit products (float8 e5m2)",
    "sums": "with sums in 8 to 11 bits (accumulated in bfloat16 or float16); take the sums in float32",
}
# what a declaration of `precision` allows
DECLARED = {"tf32": ("float32", "tf32"), "float16": ("float32", "tf32", "sums")}
DECLARED["bfloat16"] = (*COARSER[:3], "sums")
# of the norm-wise bound, for Fourier transforms, and for Winograd's algorithms, which are for small kernels with stride 1
TRANSFORM, WINOGRAD, SMALL_KERNEL = 2, 16, 7
# share of its norm that a result with fewer bits may be off; with nothing right in it, it is off by all
RESEMBLES = 0.5
# standard deviations within which the mean of an honest rounding error is zero, and half of those of its largest element
NOISE = 6
# between the errors of samples, each over its scale: a step that is fixed makes 1,000 of it
ALIKE = 32


@dataclass(frozen=True)
class Test:
    """A result for random data beside the right one, and what it may be off by.

    Parameters
    ----------
    problem : Problem
        The problem.
    dtype, role : str
        Dtype of the arrays, and which tensor the result is.
    answer : callable
        What was asked.
    truth : Truth
        The right answers.
    found, right : numpy.ndarray
        In torch's order; where the right one is not finite or may overflow, both are zero.
    allowed, absolute : numpy.ndarray
        The bound of each element, and the same contraction of absolute values.
    missing, stray, excused : numpy.ndarray of bool
        Where something not finite was given and is not in the result; where it is in the result for no reason; and where
        nothing can be said.
    """

    problem: Problem
    dtype: str
    role: str
    answer: Answer
    truth: Truth
    found: np.ndarray
    right: np.ndarray
    allowed: np.ndarray
    absolute: np.ndarray
    missing: np.ndarray
    stray: np.ndarray
    excused: np.ndarray

    @classmethod
    def of(cls, problem: Problem, dtype: str, role: str, answer: Answer, truth: Truth, found: np.ndarray) -> Test:
        """Compare a result with the right answer for the data of `truth`."""
        numbers, data = ARITHMETIC[dtype], truth.data
        with np.errstate(all="ignore"):
            finite = data.map(lambda a: np.where(np.isfinite(a), a, 0))
            absolute, flushed = (
                answer(Truth(problem, finite.map(f))) for f in (np.abs, lambda a: _flushed(np.abs(a), numbers))
            )
            right = answer(truth if _is_finite(data) else Truth(problem, finite))
            poisoned = _poisoned(problem, answer, data)
            overflows = ~(absolute <= numbers.most)
            bad = ~np.isfinite(found)
            # what is not finite may spread: in a Fourier transform, and in products with a tangent that is zero
            stray = bad & ~overflows & _is_finite(data)
            excused = poisoned | overflows & (bad | ~np.isfinite(right)) | bad
            found, right = (np.where(excused, 0, a) for a in (found, right))
            sums = bounds.of_sums(absolute, flushed, _terms(problem, role, answer), numbers)
            allowed = sums + bounds.of_results(_magnitude(problem, answer, truth, right), sums, numbers)
        return cls(
            problem, dtype, role, answer, truth, found, right, allowed, absolute, poisoned & ~bad, stray, excused
        )

    @property
    def numbers(self) -> Arithmetic:
        """How the dtype rounds."""
        return ARITHMETIC[self.dtype]

    @property
    def error(self) -> np.ndarray:
        """How far each element is off."""
        return np.abs(self.found - self.right)

    @property
    def ratio(self) -> float:
        """The largest error over its bound."""
        return over(self.error, self.allowed)

    def rounding_of_results(self) -> np.ndarray:
        """The part of the bound that is not that of the sums."""
        magnitude = _magnitude(self.problem, self.answer, self.truth, self.right)
        return bounds.of_results(magnitude, np.zeros_like(self.absolute), self.numbers)


def over(error: np.ndarray, bound: np.ndarray) -> float:
    """The largest error over its bound."""
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.where(error == 0, 0.0, error / bound)
    return float(ratio.max(initial=0.0))


def not_finite(what: str, test: Test) -> Row | None:
    """The row for a result that is not finite where it should be, or finite where it should not."""
    if test.stray.any():
        detail = f"{test.stray.sum()} elements are not finite, of finite data"
        return Row(what, WRONG, "not finite", detail, cause="not a number")
    if test.missing.any():
        detail = f"what is not finite in the arrays does not reach {test.missing.sum()} elements that it meets"
        return Row(what, WRONG, "not finite", detail, cause="not a number")
    return None


def verdict(
    what: str,
    test: Test,
    exact: bool,
    near: bool,
    small: Callable[[], bool],
    precision: str | None,
    *,
    drawn: bool,
) -> Row | None:
    """The row for a result that is right, or right with fewer bits; None for one that is wrong.

    Parameters
    ----------
    what : str
        The question.
    test : Test
        The result for random data.
    exact, near : bool
        Whether the result for integers is equal, or rounds to it.
    small : callable
        Tells whether the result for integers that need 8 bits is equal.
    precision : str, optional
        Of the products, if fewer bits than the dtype's are declared.
    drawn : bool
        Whether the data are ours, with mean zero.
    """
    if exact and test.ratio <= 1:
        return Row(what, RIGHT, "exact", "equal on integers, bit for bit; random data within rounding", test.ratio)
    if near and _is_norm_wise(test, drawn=drawn) and not _is_scaled(test):
        words = "random data within the norm-wise bound, as of an FFT or Winograd algorithm, not element by element"
        return Row(what, RIGHT, "norm-wise", words, test.ratio)
    if not _resembles(test):
        return None
    if drawn and not _is_noise(test, test.absolute):
        return None
    terms, numbers = _terms(test.problem, test.role, test.answer), test.numbers
    names = [name for name in COARSER if exact and 2.0 ** -BITS[name] > numbers.unit]
    in_half = (terms + 1) * 2.0**-8 * test.absolute + test.allowed
    # of half width, sums are more often what is narrow
    names.insert(0 if numbers.unit > numbers.sums else len(names), "sums")
    for name in names:
        if name == "sums":
            is_within = bool(np.all(test.error <= in_half)) and small()
        else:
            coarse, sums = 2.0 ** -BITS[name], max(numbers.sums, 2.0**-24)  # but those of doubles in float32
            limit = ((2 + coarse) * coarse + (terms + 1) * sums) * test.absolute + test.allowed
            is_within = bool(np.all(test.error <= limit))
        if is_within:
            return _imprecise(what, name, test, precision)
    return None


def _imprecise(what: str, name: str, test: Test, precision: str | None) -> Row:
    """The row for a result with fewer bits than its dtype has, unless they are declared."""
    some = test.absolute > 0
    relative = (test.error[some] / test.absolute[some]).max(initial=0)
    bits = int(-np.log2(relative)) if relative > 0 else BITS[test.dtype]
    detail = f"right, but computed {ADVICE[name]}; it has about {bits} bits of {BITS[test.dtype]}"
    if precision is not None and name in DECLARED.get(precision, (precision,)):
        return Row(what, RIGHT, "precision", f"as declared, {precision}: {detail}")
    return Row(what, IMPRECISE, "precision", detail)


def _resembles(test: Test) -> bool:
    """Whether the result is the right one at all: one of zeros is off by its whole norm."""
    return bool(np.linalg.norm(test.error) <= RESEMBLES * np.linalg.norm(test.right) or not test.right.any())


def _is_scaled(test: Test) -> bool:
    """Whether one factor, and nothing else, keeps the result from its bound."""
    weight = np.vdot(test.right, test.right).real
    if not weight or test.ratio <= 1:
        return False
    c = np.vdot(test.right, test.found).real / weight
    return bool(c != 1) and over(np.abs(test.found - c * test.right), test.allowed) <= 1


def _is_norm_wise(test: Test, *, drawn: bool) -> bool:
    """Whether every error is within a small multiple of ``log2(N) u`` times the norms of what its sample is a sum of.

    That of an FFT of ``N`` numbers is (Higham, 2nd ed., theorem 24.2), and by the inequality of Cauchy and Schwarz an element
    is at most the product of the norms. It is also noise: no element stands out, and the mean is zero.
    """
    if test.role == "bias":
        return False
    data = test.truth.data.map(lambda a: np.where(np.isfinite(a), np.abs(a), 0) ** 2)
    size = max(a.size for a in (*data.primals.values(), data.g))
    with np.errstate(all="ignore"):
        squares = test.answer(Truth(test.problem, data))
    samples = tuple(range(0 if test.role == "w" else 1, squares.ndim))
    norm = np.sqrt(squares.max(axis=samples, keepdims=True, initial=0) * test.problem.terms(test.role))
    unit = np.log2(2 + size) * test.numbers.sums
    excess = np.maximum(0, test.error - test.rounding_of_results())
    if np.all(excess <= TRANSFORM * unit * norm):
        return _is_noise(test, norm) if drawn else True
    axes = test.problem.facts.axes
    is_small = all(a.kernel_size <= SMALL_KERNEL and a.stride == a.dilation == a.input_dilation == 1 for a in axes)
    return is_small and bool(np.all(excess <= WINOGRAD * unit * norm)) and _is_noise(test, norm)


def _is_noise(test: Test, scale: np.ndarray) -> bool:
    """Whether the errors, each over its scale, are noise: no element stands out, there is no mean, all samples are alike."""
    e = (test.found - test.right) / np.where(scale > 0, scale, 1)
    spread = _spread(e, tuple(range(e.ndim)))
    if not spread:
        return True
    if abs(e.mean()) > NOISE * spread / np.sqrt(e.size) or np.abs(e).max() > 2 * NOISE * spread:
        return False
    if test.role == "w" or e[0].size < 16:
        return True
    samples = _spread(e, tuple(range(1, e.ndim)))
    return bool(samples.max() <= ALIKE * samples.min())


def _spread(e: np.ndarray, axes: tuple[int, ...]) -> Any:
    return np.sqrt(np.mean(np.abs(e) ** 2, axis=axes)) if e.size else 0.0


def _flushed(a: np.ndarray, numbers: Arithmetic) -> np.ndarray:
    return np.where(a < numbers.tiny, 0, a)


def _is_finite(data: Data) -> bool:
    return all(bool(np.isfinite(a).all()) for a in (*data.primals.values(), data.g, *data.tangents.values()))


def _poisoned(problem: Problem, answer: Answer, data: Data) -> Any:
    """Where something that is not finite is in the sum: there a sum of ones changes if those become twos."""
    ones = answer(Truth(problem, data.map(lambda a: np.ones(a.shape))))
    if _is_finite(data):
        return np.zeros(ones.shape, bool)
    return answer(Truth(problem, data.map(lambda a: np.where(np.isfinite(a), 1.0, 2.0)))) != ones


def _terms(problem: Problem, role: str, answer: Answer) -> int:
    """Most products that an element of the answer is a sum of."""
    if role == "bias":
        shape = problem.torch_shape(problem.result, problem.result_shape(problem.result))
        return max(1, int(np.prod(shape)) // max(1, shape[1]))
    return problem.terms(role) * (2 if answer is Truth.jvp else 1)


def _magnitude(problem: Problem, answer: Answer, truth: Truth, right: np.ndarray) -> np.ndarray:
    """Magnitude of all that is rounded on the way to the answer: also what a bias is added to, and both parts of a JVP."""
    parts = [right]
    with np.errstate(all="ignore"):
        if answer is Truth.value and "bias" in problem.roles:
            parts.append(truth.without_bias())
        elif answer is Truth.of_tangents and "bias" in problem.roles:
            parts.append(truth.without_bias(of_tangents=True))
        elif answer is Truth.jvp:
            parts += truth.parts_of_jvp()
        return np.sum([np.where(np.isfinite(part), np.abs(part), 0) for part in parts], axis=0)
