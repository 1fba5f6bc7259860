"""The exact test at real size: a result is compared with the definition in a random combination of its channels and samples.

Each contraction is linear in its operands, and separable in the letters `n` (samples), `c` (input channels) and `k` (output
channels). So for a vector over each of the two letters that a result has, such as ``a`` over samples and ``b`` over output
channels of a value,

    sum over n, k of a[n] b[k] y[n, k, o] = the value at o for the operands sum over n of a[n] x[n] and sum over k of b[k] w[k],

and likewise for both VJPs, each group by itself. All numbers are integers, and all arithmetic is exact, modulo a prime. The
right side costs the convolution of one sample to one channel.

If the vectors are uniform modulo a prime ``p``, a result that is wrong somewhere passes with a probability of at most ``2 / p``
[1]_: at a position where it is wrong, the difference of both sides is a polynomial of degree 2 in the vectors that is not zero.

References
----------
.. [1] R. Freivalds (1977), "Probabilistic machines can use less running time"; for polynomials R. A. DeMillo and R. J. Lipton
   (1978), R. Zippel (1979), J. T. Schwartz (1980).
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import numpy as np

from triconv.checking.oracles import exact_transform, modular, tap_sums
from triconv.checking.oracles.comparison import Answer
from triconv.checking.oracles.convolution import ConvolutionModel, ConvolutionProblem, Expectations, InputArrays

PRIMES = (2**31 - 1, 2**31 - 19)
"""The moduli of one test, each with vectors of its own. An integer below 2^61 that is zero modulo both is zero."""
EXACT = modular.EXACT
LETTERS = {"x": "nc", "w": "kc", "g": "nk"}
"""The letters of each tensor but group and positions, in this order in torch's layout."""
FEW_TAPS = 64
"""Taps up to which they are added one by one."""


@dataclass(frozen=True)
class Vectors:
    """Random vectors over the letters of a problem.

    Parameters
    ----------
    prime : int or None
        The modulus. Without one, every letter that is summed over has length 1: nothing is random.
    of : dict of str to numpy.ndarray
        By letter: shape (1, n) for "n", (groups, size) for "c" and "k".
    """

    prime: int | None
    of: dict[str, np.ndarray]

    @classmethod
    def draw(cls, sizes: dict[str, int], groups: int, prime: int | None, rng: np.random.Generator) -> Vectors:
        """Draw vectors that are uniform modulo the prime; 1 for a letter of length 1."""
        shapes = {letter: (1 if letter == "n" else groups, size) for letter, size in sizes.items()}
        ones = {letter: np.ones(shape, np.int64) for letter, shape in shapes.items()}
        drawn = {r: rng.integers(0, prime, s) for r, s in shapes.items() if s[1] > 1} if prime else {}
        return cls(prime, {**ones, **drawn})


def sizes_of(problem: ConvolutionProblem) -> dict[str, int]:
    """Return the number of samples, and of the channels of a group, by letter."""
    shapes = {r: problem.torch_shape(r, problem.result_shape(r)) for r in "xw"}
    return {"n": shapes["x"][0], "c": shapes["w"][1], "k": shapes["w"][0] // problem.model.groups}


def miss_probability(letters: int, primes: tuple[int, ...] = PRIMES) -> float:
    """Return the probability, at most, that one wrong element of a result is missed.

    A single element is missed modulo `p` if one of the vectors is zero there, which has the probability ``1 - (1 - 1/p)^d``
    for `letters` vectors ``d``. For several wrong elements this is a bound. The difference must not be zero modulo any of the
    primes, as none below them is.
    """
    return math.prod(-math.expm1(letters * math.log1p(-1 / p)) for p in primes)


def projected(problem: ConvolutionProblem, vectors: Vectors, role: str, a: np.ndarray, letters: str) -> np.ndarray:
    """Sum a tensor over letters, times their vectors.

    Parameters
    ----------
    problem : ConvolutionProblem
        The problem.
    vectors : Vectors
        The vectors.
    role : {"x", "w", "g"}
        Which tensor `a` is.
    a : numpy.ndarray
        The tensor in torch's order: integers.
    letters : str
        The letters that are summed over.

    Returns
    -------
    numpy.ndarray, shape (groups, rest, *positions)
        Modulo the prime, if anything is summed; `rest` is the length of the letter that is left, 1 if there is none.
    """
    groups, positions = problem.model.groups, a.shape[2:]
    axis = 0 if role == "w" else 1
    a = a.reshape(*a.shape[:axis], groups, a.shape[axis] // groups, *a.shape[axis + 1 :])
    if role != "w":
        a = a.swapaxes(0, 1)
    a = a.reshape(*a.shape[:3], math.prod(positions))
    for axis, letter in ((1, LETTERS[role][0]), (2, LETTERS[role][1])):
        if letter in letters and a.shape[axis] > 1:
            v = vectors.of[letter]
            if axis == 1:
                summed = modular.matmul(v[:, None, :], a.reshape(*a.shape[:2], -1), vectors.prime)
                a = summed.reshape(groups, 1, *a.shape[2:])
            else:
                a = modular.matmul(v[:, None, None, :], a, vectors.prime)
    return a.reshape(groups, -1 if a.size else int(np.prod(a.shape[1:3])), *positions)


class ProjectedModel(ConvolutionModel):
    """A convolution of projected operands: its results are projections too, of shape (parts, groups, *positions)."""

    problem: ConvolutionProblem
    vectors: Vectors

    @classmethod
    def of(cls, problem: ConvolutionProblem, vectors: Vectors) -> ProjectedModel:
        """Return the model of a problem, seen through these vectors."""
        m = problem.model
        model = cls(m.axes, m.groups, m.mode, m.pads)
        object.__setattr__(model, "problem", problem)
        object.__setattr__(model, "vectors", vectors)
        return model

    def derivative(self, role: str, others: dict[str, np.ndarray]) -> np.ndarray:
        """Derivative of ``T`` by the tensor `role`, projected: of real numbers one part, of complex ones two."""
        kept = {}
        for other, a in others.items():
            shared = "".join(letter for letter in LETTERS[other] if letter in LETTERS[role])
            parts = (a.real, a.imag) if np.iscomplexobj(a) else (a,)
            kept[other] = [projected(self.problem, self.vectors, other, part, shared) for part in parts]
        (one, of_one), (two, of_two) = kept.items()

        def pair(a: np.ndarray, b: np.ndarray) -> np.ndarray:
            return super(ProjectedModel, self).derivative(role, {one: a, two: b})

        if len(of_one) == len(of_two) == 1:
            return self._mod(pair(of_one[0], of_two[0]))
        (a, b), (c, d) = of_one, of_two
        return self._mod(np.concatenate([pair(a, c) - pair(b, d), pair(a, d) + pair(b, c)]))

    def contract(self, operands: dict[str, np.ndarray]) -> np.ndarray:
        """Derivative of ``T`` by the tensor that is missing, for operands of shapes (groups, s, *positions)."""
        (role,) = set("xwg") - set(operands)
        first, second = (operands[r] for r in "xgw" if r in operands)
        taps = math.prod(a.kernel_size for a in self.axes)
        by_taps = taps <= FEW_TAPS or not self.axes
        compute = tap_sums.contract if by_taps else exact_transform.contract
        return compute(self.axes, role, first, second, self.vectors.prime)[None]

    def _mod(self, a: np.ndarray) -> np.ndarray:
        return modular.residues(a, self.vectors.prime)


class ProjectedExpectations(Expectations):
    """Every right answer for integers, projected; the cotangent of a bias is as it is."""

    model: ProjectedModel

    def _plus_bias(self, y: np.ndarray, primals: dict[str, np.ndarray]) -> np.ndarray:
        if "bias" not in primals:
            return y
        problem, vectors = self.problem, self.model.vectors
        role = problem.result
        samples = vectors.of["n"].sum()
        bias = primals["bias"]
        parts = (bias.real, bias.imag) if np.iscomplexobj(bias) else (bias,)
        groups, letter = problem.model.groups, LETTERS[role][1]
        total = []
        for part in parts:
            per_group = np.broadcast_to(part, (groups * vectors.of[letter].shape[1],)).reshape(groups, -1, 1)
            of_channels = modular.matmul(vectors.of[letter][:, None, :], per_group, vectors.prime)[:, 0, 0]
            total.append(modular.residues(samples, vectors.prime) * of_channels)
        added = np.stack(total).reshape(len(parts), groups, *[1] * (y.ndim - 2))
        return modular.residues(y + modular.residues(added, vectors.prime), vectors.prime)


@dataclass(frozen=True)
class ProjectionTest:
    """The exact test of any result for some integer arrays.

    Parameters
    ----------
    problem : ConvolutionProblem
        The problem.
    arrays : InputArrays
        Integers, whose sums of products are below 2^53.
    right : tuple of ProjectedExpectations
        The right answers, one for each prime.
    unprojected : ProjectedExpectations
        The right answers of a result that has one sample and one channel in each group.
    """

    problem: ConvolutionProblem
    arrays: InputArrays
    right: tuple[ProjectedExpectations, ...]
    unprojected: ProjectedExpectations

    @classmethod
    def of(
        cls,
        problem: ConvolutionProblem,
        arrays: InputArrays,
        rng: np.random.Generator | None = None,
        primes: tuple[int, ...] = PRIMES,
    ) -> ProjectionTest:
        """Draw the vectors; without `rng` those that nobody can know before."""
        rng = rng or np.random.default_rng()
        sizes, groups = sizes_of(problem), problem.model.groups
        several, none = (
            [
                ProjectedExpectations(problem, arrays, ProjectedModel.of(problem, Vectors.draw(sizes, groups, p, rng)))
                for p in moduli
            ]
            for moduli in (primes, (None,))
        )
        return cls(problem, arrays, tuple(several), none[0])

    def letters(self, role: str) -> str:
        """Return the letters of a result that are summed over."""
        sizes = sizes_of(self.problem)
        return "".join(letter for letter in LETTERS.get(role, "") if sizes[letter] > 1)

    def wrong_positions(self, role: str, answer: Answer, found: np.ndarray) -> np.ndarray:
        """Return where a result is wrong: of the positions in each group, for a bias of its elements.

        Parameters
        ----------
        role : str
            Which tensor the result is.
        answer : callable
            What was asked.
        found : numpy.ndarray
            The result, in torch's order.

        Returns
        -------
        numpy.ndarray of bool, shape (groups, *positions)
            True where some sample and channel of the position is wrong. True is certain; False is wrong with at most the
            probability `missed`.
        """
        if role == "bias":
            return np.asarray(found != answer(self.unprojected))
        parts = [found.real, found.imag] if np.iscomplexobj(found) else [found]
        wrong = self._not_whole(role, parts)
        if wrong.any():
            parts = [np.where((a == np.rint(a)) & (np.abs(a) < 2.0**EXACT), a, 0) for a in parts]
        letters = self.letters(role)
        for right in self.right if letters else (self.unprojected,):
            vectors = right.model.vectors
            expected = list(answer(right))
            ours = [projected(self.problem, vectors, role, part, letters)[:, 0] for part in parts]
            nothing = np.zeros_like(expected[0])  # a real number has no imaginary part
            for a, b in itertools.zip_longest(ours, expected, fillvalue=nothing):
                wrong |= modular.differ(a, b, vectors.prime)
        return wrong

    def _not_whole(self, role: str, parts: list[np.ndarray]) -> np.ndarray:
        """Return at which positions there is something that is no whole number, or one that no sum reaches."""
        groups, positions = self.problem.model.groups, parts[0].shape[2:]
        wrong = np.zeros((groups, *positions), bool)
        for a in parts:
            if a.dtype.kind in "iu" or (np.abs(a).max(initial=0) < 2.0**EXACT and np.array_equal(a, np.rint(a))):
                continue
            bad = ~((a == np.rint(a)) & (np.abs(a) < 2.0**EXACT))
            axis = 0 if role == "w" else 1
            grouped = bad.reshape(*bad.shape[:axis], groups, -1, *bad.shape[axis + 1 :])
            wrong |= grouped.any(axis=(1, 2) if role == "w" else (0, 2))
        return wrong

    def missed(self, role: str) -> float:
        """Return the probability, at most, with which a wrong result is not seen."""
        return miss_probability(len(self.letters(role)), tuple(right.model.vectors.prime or 0 for right in self.right))
