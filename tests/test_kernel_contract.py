"""The contract of a kernel: the three contractions on every backend, bit for bit those of loops by definition.

A kernel that is entered in `planner.KERNELS` inherits all of it, by its name alone.
"""

from __future__ import annotations

import functools
import math
from typing import NamedTuple

import numpy as np
import pytest

import triconv
from conftest import NAMES, Library
from triconv import contractions
from triconv.checking.oracles import definition
from triconv.checking.oracles.cases import Case
from triconv.geometry import Axis, Geometry
from triconv.planning import planner
from triconv.rules import ROLES

# whose error is bounded norm by norm: integers are not exact, and a NaN spreads over its sample
BY_NORM = {"fft"}
REFUSAL = "`algorithm` must be one that can compute this {}, got '{}': "


class Sizes(NamedTuple):
    """A convolution of canonical arrays; one entry per spatial axis."""

    groups: int
    n: int
    c: int
    k: int
    input: tuple[int, ...] = ()
    kernel: tuple[int, ...] = ()
    stride: tuple[int, ...] | None = None
    dilation: tuple[int, ...] | None = None
    input_dilation: tuple[int, ...] | None = None
    pads: tuple[tuple[int, int], ...] | None = None

    def case(self):
        """The same for the oracle, in torch's order."""
        ones = (1,) * len(self.input)
        x, w = (self.n, self.groups * self.c, *self.input), (self.groups * self.k, self.c, *self.kernel)
        steps = (self.stride or ones, self.dilation or ones, self.input_dilation or ones)
        return Case("", "", x, w, *steps, self.pads or ((0, 0),) * len(self.input), self.groups)

    def geometry(self):
        """The same for a kernel."""
        return Geometry(tuple(Axis(*axis) for axis in self.case().axes), self.groups)


HARD = {
    "no spatial axis": Sizes(2, 3, 4, 5),
    "no spatial axis, one of all": Sizes(1, 1, 1, 1),
    "one sample of one channel": Sizes(1, 1, 1, 1, (9,), (4,), pads=((2, 1),)),
    "primes": Sizes(1, 7, 3, 5, (13,), (11,), pads=((5, 5),)),
    "stride with a remainder": Sizes(1, 2, 3, 2, (11, 10), (3, 2), stride=(3, 4), pads=((1, 0), (0, 1))),
    "stride longer than the kernel": Sizes(1, 2, 3, 4, (13, 9), (2, 1), stride=(5, 2)),
    "non-overlapping windows": Sizes(1, 2, 3, 5, (6, 8), (3, 2), stride=(3, 2)),
    "dilation": Sizes(1, 2, 2, 3, (12, 9), (3, 4), dilation=(4, 2), pads=((3, 2), (0, 3))),
    "stride and dilation with a common divisor": Sizes(
        1, 2, 2, 3, (17,), (4,), stride=(4,), dilation=(6,), pads=((9, 4),)
    ),
    "input dilation": Sizes(1, 2, 3, 2, (4, 5), (3, 3), input_dilation=(2, 3), pads=((2, 1), (1, 2))),
    "outputs that nothing meets": Sizes(1, 2, 2, 3, (5,), (3,), (2,), (4,), (4,), ((3, 5),)),
    "all steps coprime": Sizes(2, 2, 2, 3, (7, 6), (4, 3), (3, 2), (2, 3), (5, 7), ((4, -2), (3, 1))),
    "negative padding": Sizes(1, 3, 2, 2, (9, 8), (3, 2), stride=(2, 1), pads=((-2, -1), (3, -4))),
    "windows of padding alone": Sizes(1, 2, 2, 2, (3,), (2,), pads=((6, 5),)),
    "kernel as long as the input": Sizes(1, 3, 2, 4, (7, 5), (7, 5)),
    "depthwise": Sizes(6, 2, 1, 1, (8, 7), (3, 3), pads=((1, 1), (1, 1))),
    "depthwise with a multiplier": Sizes(5, 2, 1, 3, (9,), (4,), stride=(2,), pads=((3, 0),)),
    "groups of one output channel": Sizes(3, 2, 4, 1, (6, 6), (2, 3), stride=(1, 2)),
    "three axes": Sizes(2, 1, 2, 2, (5, 4, 6), (3, 2, 2), (2, 1, 3), (1, 2, 1), (1, 2, 1), ((1, 1), (0, 2), (-1, 2))),
    "many taps": Sizes(1, 2, 2, 1, (300,), (257,), pads=((256, 0),)),
}
# enough for a compiler, which takes its time for each
COMPILED = ("no spatial axis", "outputs that nothing meets", "groups of one output channel")
PAIRS = [(name, hard) for name in NAMES for hard in HARD if name != "jax" or hard in COMPILED]


def operands(sizes, dtype="float32"):
    """Canonical x, w and g of small integers."""
    rng, case = np.random.default_rng(0), sizes.case()
    groups, n, c, k, outputs = *sizes[:4], case.g[2:]
    shapes = (groups, n, c, *sizes.input), (groups, k, c, *sizes.kernel), (groups, n, k, *outputs)
    return dict(zip("xwg", (rng.integers(-3, 4, shape).astype(dtype) for shape in shapes), strict=True))


def by_definition(sizes, arrays):
    """The three by loops over the meetings, in torch's order, and back."""
    case, groups = sizes.case(), sizes.groups
    torchs = {role: a.astype(np.int64) for role, a in arrays.items()}
    torchs = {
        role: a.reshape(-1, *a.shape[2:]) if role == "w" else np.moveaxis(a, 0, 1).reshape(a.shape[1], -1, *a.shape[3:])
        for role, a in torchs.items()
    }
    found = {}
    for name, roles in ROLES.items():
        result = definition.contract(case.axes, groups, **{role: torchs[role] for role in roles.operands})
        if roles.result == "w":
            found[name] = result.reshape(arrays["w"].shape)
        else:
            result = result.reshape(result.shape[0], groups, -1, *result.shape[2:])
            found[name] = np.moveaxis(result, 1, 0)
    return found


def contract(lib, sizes, arrays, algorithm, names=tuple(ROLES)):
    """The three by a kernel, each as NumPy's array, or as the message of a refusal; compiled where there is a compiler."""
    found, moved = {}, {role: lib.array(a) for role, a in arrays.items()}
    for name in names:
        roles = ROLES[name]
        run = functools.partial(getattr(contractions, name), geometry=sizes.geometry(), algorithm=algorithm)
        if lib.name == "jax":
            import jax

            run = jax.jit(run)
        try:
            result = run(*(moved[role] for role in roles.operands))
        except ValueError as problem:
            found[name] = str(problem)
        else:
            assert result.dtype == moved["x"].dtype
            found[name] = lib.numpy(result)
    return found


def refuses(algorithm, name, found):
    """Whether a kernel refused a contraction; only one that has an obstacle may, and it says which."""
    if not isinstance(found, str):
        return False
    assert found.startswith(REFUSAL.format(name, algorithm)), found
    assert len(found) > len(REFUSAL.format(name, algorithm))
    assert hasattr(planner.KERNELS[algorithm], "obstacle")
    return True


def slack(algorithm, name, sizes, arrays):
    """How far a kernel may be from the exact result: not at all, or as its bound by norms says."""
    if algorithm not in BY_NORM:
        return 0
    first, second = (np.linalg.norm(arrays[role].astype(complex)) for role in ROLES[name].operands)
    points = math.prod(lo + hi + d * size for (lo, hi), d, size in zip(*_extents(sizes), strict=True))
    return 4 * max(1, math.log2(max(2, points))) * np.finfo(np.float32).eps * first * second


def _extents(sizes):
    case = sizes.case()
    return case.padding, case.input_dilation, case.x[2:]


@pytest.mark.parametrize("algorithm", planner.KERNELS)
@pytest.mark.parametrize(("library", "hard"), PAIRS)
def test_contractions_are_those_of_the_definition(library, hard, algorithm):
    sizes = HARD[hard]
    arrays = operands(sizes)
    expected = by_definition(sizes, arrays)
    for name, found in contract(Library(library), sizes, arrays, algorithm).items():
        if refuses(algorithm, name, found):
            continue
        assert found.shape == expected[name].shape
        np.testing.assert_allclose(found, expected[name], rtol=0, atol=slack(algorithm, name, sizes, arrays))


@pytest.mark.parametrize("algorithm", planner.KERNELS)
@pytest.mark.parametrize("dtype", ["int32", "uint8", "float64", "complex64"])
def test_every_kind_of_dtype_is_exact_or_refused(lib, dtype, algorithm):
    if lib.name == "jax":
        pytest.skip("compiles each: the other libraries have them all")
    sizes = HARD["input dilation"]
    arrays = {role: a.astype(dtype) for role, a in operands(sizes, "int64").items()}
    expected = by_definition(sizes, {role: a.real for role, a in arrays.items()})
    for name, found in contract(lib, sizes, arrays, algorithm).items():
        if refuses(algorithm, name, found):
            continue
        truth = expected[name].astype(dtype)  # of unsigned integers, modulo 2^8
        np.testing.assert_allclose(found, truth, rtol=0, atol=slack(algorithm, name, sizes, arrays))


@pytest.mark.parametrize("algorithm", planner.KERNELS)
def test_a_nan_stays_where_the_equation_puts_it(lib, algorithm):
    """In x, or in the cotangent of an input VJP: what meets it is NaN, nothing else is. (A kernel's meets the padding too.)"""
    if algorithm in BY_NORM:
        pytest.skip("its transforms spread a NaN over the sample, as it says")
    sizes = Sizes(2, 2, 2, 2, (7, 3), (3, 2), stride=(2, 1), pads=((1, 2), (0, 1)))
    for name, poisoned in (("conv", "x"), ("conv_input_vjp", "g")):
        arrays = {role: np.ones(a.shape, np.float32) for role, a in operands(sizes).items()}
        marks = {role: a.astype(np.int64) for role, a in arrays.items()}
        marks[poisoned][...] = 0
        index = tuple(size // 2 for size in arrays[poisoned].shape)
        arrays[poisoned][index], marks[poisoned][index] = np.nan, 1
        found = contract(lib, sizes, arrays, algorithm, names=(name,))[name]
        if not refuses(algorithm, name, found):
            np.testing.assert_array_equal(np.isnan(found), by_definition(sizes, marks)[name] > 0)


LARGE = {  # more than a block of samples, groups, rows or taps
    "samples": Sizes(1, 101, 3, 5, (31, 17), (3, 3), pads=((1, 1), (0, 1))),
    "rows": Sizes(1, 2, 24, 3, (120, 61), (5, 3), stride=(2, 1), pads=((2, 1), (0, 1))),
    "groups": Sizes(53, 3, 1, 2, (41, 19), (3, 5), pads=((1, 1), (2, 2))),
    "taps": Sizes(1, 2, 3, 2, (907,), (331,), dilation=(2,), pads=((300, 5),)),
}
# of a prime number of samples where each is compiled, and of all where they are quick
OF = {"jax": ("samples",), "array-api-strict": ()}
ADJOINT = [(name, large) for name in NAMES for large in OF.get(name, LARGE)]


@pytest.mark.parametrize("algorithm", planner.KERNELS)
@pytest.mark.parametrize(("library", "large"), ADJOINT)
def test_contractions_of_many_blocks_are_adjoint(library, large, algorithm):
    """``<g, conv(x, w)> = <conv_input_vjp(g, w), x> = <conv_weight_vjp(g, x), w>``, in exact integers."""
    if algorithm in BY_NORM:
        pytest.skip("equal in exact arithmetic alone")
    sizes = LARGE[large]
    arrays = operands(sizes)
    found = contract(Library(library), sizes, arrays, algorithm)
    if all([refuses(algorithm, name, result) for name, result in found.items()]):  # noqa: C419 (each is asked)
        pytest.skip(found["conv"])
    products = {
        name: int(np.vdot(result.astype(np.int64), arrays[ROLES[name].result].astype(np.int64)))
        for name, result in found.items()
    }
    assert len(set(products.values())) == 1, products
    y = contract(Library("numpy"), sizes, arrays, "direct", names=("conv",))["conv"]
    np.testing.assert_array_equal(found["conv"], y)


@pytest.mark.parametrize("algorithm", planner.KERNELS)
@pytest.mark.parametrize("hard", ["no spatial axis", "dilation"])
def test_a_refusal_names_the_obstacle_that_the_planner_lists(lib, hard, algorithm):
    case = HARD[hard].case()
    x, w = (lib.array(np.zeros(shape, np.int32)) for shape in (case.x, case.w))
    row, *_ = triconv.explain(triconv.conv, x, w, **case.params).rows
    (listed,) = (candidate.obstacle for candidate in row.candidates if candidate.algorithm == algorithm)
    try:
        triconv.explain(triconv.conv, x, w, **case.params | {"algorithm": algorithm})
        refused = None
    except ValueError as problem:
        refused = str(problem)
    if algorithm == "direct":
        assert refused is None
    if refused is not None:
        assert refused == REFUSAL.format("conv", algorithm) + listed
