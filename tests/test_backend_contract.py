"""The contract of a backend: each array operation of `Standard`, against its definition in plain NumPy, in exact integers.

A library that is entered in `BACKENDS` inherits all of it.
"""

from __future__ import annotations

import functools
import itertools
import math
import pickle

import numpy as np
import pytest

from triconv.backends import BACKENDS, array_operations, backend_of, base, to_numpy
from triconv.geometry import Axis

# the names of the three loops: f of each block stacked, f of each block summed, f of each number written in its place
MAP, SUM = "map_blocks", "sum_blocks"

RNG = np.random.default_rng(0)


def dtypes_for(lib, first, *others):
    """The first alone for JAX, which compiles every operation for each."""
    return (first,) if lib.name == "jax" else (first, *others)


def integers(*shape, dtype="float32"):
    values = RNG.integers(-9, 10, shape)
    if np.dtype(dtype).kind == "c":
        values = values + 1j * RNG.integers(-9, 10, shape)
    return values.astype(dtype)


def assert_is(lib, found, expected):
    """Assert that an array is of this library, and equal in shape, dtype and every element."""
    values = lib.numpy(found)
    assert (values.shape, values.dtype) == (expected.shape, expected.dtype)
    np.testing.assert_array_equal(values, expected)


def test_a_backend_is_found_by_its_namespace_and_by_its_name(lib):
    kind = BACKENDS[lib.name]
    assert kind.name == lib.name
    assert kind.owns(lib.xp)
    assert type(backend_of(lib.xp)) is kind
    assert [other.name for other in BACKENDS.values() if other.owns(lib.xp)] == [lib.name]
    assert base.is_array_of(lib.array(1.0), lib.xp)
    assert kind.version()
    assert kind.load().devices()
    assert lib.name in kind.install_command() or kind.distribution in kind.install_command()


def test_arrays_of_every_dtype_come_in_and_go_out_unchanged(lib):
    """In either byte order; and each dtype has a name that leads back to it."""
    names = [name for name in base.NUMBERS if hasattr(np, name) and lib.has(name)]
    assert {"float32", "float64", "int8", "int64", "uint64", "complex64", "complex128"} <= set(names)
    for name in names:
        values = np.asarray([[0, 1, 2], [3, 100, 7]], name)
        array, dtype = lib.backend.asarray(values), lib.backend.dtype(name)
        assert array.dtype == getattr(lib.xp, name) == dtype == lib.backend.dtype(values.dtype)
        assert lib.backend.is_number(array.dtype)
        assert lib.backend.obstacle(array) == ""
        assert_is(lib, array, values)
        assert_is(lib, lib.backend.asarray(array), values)
        assert_is(lib, lib.backend.native(array), values)
        np.testing.assert_array_equal(lib.backend.to_numpy(array), values)
        assert_is(lib, lib.backend.asarray(values.astype(values.dtype.newbyteorder())), values)
        assert lib.backend.dtype(pickle.loads(pickle.dumps(lib.backend.dtype_name(dtype)))) == dtype
        size, kind = lib.backend.element(array.dtype)
        assert size == values.dtype.itemsize
        assert kind == {"i": "integer", "u": "integer", "f": "real", "c": "complex"}[values.dtype.kind]


def test_lists_and_strided_views_come_in(lib):
    assert_is(lib, lib.backend.asarray([[1.5, 2], [3, 4]]), np.asarray([[1.5, 2], [3, 4]]))
    view = np.arange(24.0).reshape(4, 6)[::-2, ::3].T
    assert_is(lib, lib.backend.asarray(view), view)
    assert_is(lib, lib.backend.asarray(np.asarray(3), dtype="float32"), np.asarray(3, "float32"))


@pytest.mark.parametrize("dtype", ["bool", "sum", "float33", 5])
def test_what_is_no_dtype_of_numbers_is_refused(lib, dtype):
    with pytest.raises(ValueError, match=f"`dtype` must be a number dtype of {lib.name}, got"):
        lib.backend.dtype(dtype)


def test_sums_are_taken_in_32_bits_or_more(lib):
    for name in ("float16", "bfloat16"):
        if lib.has(name):
            assert lib.backend.accumulator(getattr(lib.xp, name)) == lib.xp.float32
            assert lib.backend.element(getattr(lib.xp, name)) == (2, "real")
    for name in ("float32", "float64", "complex64", "complex128", "int8", "int32", "int64"):
        assert lib.backend.accumulator(getattr(lib.xp, name)) == getattr(lib.xp, name)
    like = lib.array(1.0, dtype="float32")
    assert lib.backend.product_dtype(lib.xp.float32, like, 2) == lib.xp.float32


def test_dtypes_are_promoted(lib):
    for first, second, expected in (
        ("float32", "float64", "float64"),
        ("int8", "int32", "int32"),
        ("float32", "complex64", "complex64"),
    ):
        a, b = lib.array([1], dtype=first), lib.array([1], dtype=second)
        assert lib.backend.result_type(a, b) == getattr(lib.xp, expected)


def test_zeros_are_like_an_array(lib):
    for dtype in dtypes_for(lib, "float32", "int32", "complex64"):
        like = lib.array(integers(2, 3), dtype=dtype)
        assert_is(lib, lib.backend.zeros((3, 0, 2), like), np.zeros((3, 0, 2), dtype))
        assert_is(lib, lib.backend.zeros((), like), np.zeros((), dtype))
        assert lib.backend.place(lib.backend.zeros((1,), like)) == lib.backend.place(like)


PADS = [
    ((3, 4), [(0, 0)]),
    ((3, 4), [(1, 2)]),
    ((2, 3, 5), [(-1, 2), (2, -3)]),
    ((2, 3, 5), [(-2, 1), (-5, 7)]),
    ((2, 4, 3, 2), [(-1, -1), (0, 0), (3, 1)]),
    ((2, 3), [(-2, -1)]),
    ((2,), []),
]


@pytest.mark.parametrize(("shape", "pads"), PADS)
def test_pad_adds_zeros_and_crops(lib, shape, pads):
    """A negative number crops what is there, also beyond an axis that the other side makes longer."""
    for dtype in dtypes_for(lib, "int32", "float32", "complex64"):
        a = integers(*shape, dtype=dtype)
        grown = np.pad(a, [(0, 0)] * (a.ndim - len(pads)) + [(max(0, lo), max(0, hi)) for lo, hi in pads])
        kept = (slice(max(0, -lo), size - max(0, -hi)) for size, (lo, hi) in zip(_last(grown, pads), pads, strict=True))
        array = lib.array(a)
        assert_is(lib, lib.backend.pad(array, pads), grown[(..., *kept)])
        assert_is(lib, array, a)


def _last(a, of):
    return a.shape[a.ndim - len(of) :]


# an axis: inputs, taps, stride, dilation, input dilation, padding; among them windows of padding alone, crops and many taps
UNFOLDED = [
    (6, 3, 1, 1, 1, 1, 1),
    (5, 2, 3, 2, 1, 4, 6),
    (7, 4, 2, 1, 1, -2, 3),
    (8, 9, 1, 1, 1, 4, 4),
    (4, 1, 2, 1, 1, 1, 0),
]


@pytest.mark.parametrize("axis", UNFOLDED, ids=str)
def test_windows_of_an_axis_stand_side_by_side_along_the_last(lib, axis):
    axis, a = Axis(*axis), integers(2, axis[0], 3)
    array, beyond = lib.array(a), [(0, 0), (20, 20), (0, 0)]  # more zeros than any window reads
    positions = 20 - axis.pad_lo + axis.stride * np.arange(axis.output_size)
    windows = [np.pad(a, beyond)[:, positions + axis.dilation * tap] for tap in range(axis.kernel_size)]
    assert_is(lib, lib.backend.unfold_axis(array, 1, axis), np.concatenate(windows, axis=-1))


@pytest.mark.parametrize("axes", [UNFOLDED[:3], UNFOLDED[1:3], [UNFOLDED[4], *UNFOLDED[:2]], UNFOLDED[:1]], ids=str)
def test_windows_of_several_axes_stand_side_by_side_in_the_order_of_the_axes(lib, axes):
    axes = [Axis(*axis) for axis in axes]
    a = integers(2, *(axis.input_size for axis in axes), 3)
    windows = a[..., None, :]  # (n, *positions, taps, channels)
    for number, axis in reversed([*enumerate(axes, 1)]):
        pads = [(20, 20) if at == number else (0, 0) for at in range(windows.ndim)]
        positions, padded = 20 - axis.pad_lo + axis.stride * np.arange(axis.output_size), np.pad(windows, pads)
        taps = [padded.take(positions + axis.dilation * tap, axis=number) for tap in range(axis.kernel_size)]
        windows = np.concatenate(taps, axis=-2)
    expected = windows.reshape(*windows.shape[:-2], -1)
    assert_is(lib, lib.backend.unfold_axes(lib.array(a), axes), expected)
    in_lines = lib.backend.windows_in_lines(lib.array(a), axes)
    if in_lines is not None:
        taps, behind = math.prod(axis.kernel_size for axis in axes), expected.shape[:-1]
        in_lines = lib.xp.reshape(in_lines, (taps, 3, *behind))
        assert_is(lib, in_lines, np.moveaxis(expected.reshape(*behind, taps, 3), (-2, -1), (0, 1)))


PLACES = [
    ((2, 7), (slice(1, 7, 2),)),
    ((2, 7), (slice(0, 0),)),
    ((2, 7), (slice(None),)),
    ((3, 5, 6), (slice(0, 5, 4), slice(2, 3))),
    ((2, 3, 5, 6), (slice(1, 2), slice(0, 5, 3), slice(5, 6))),
    ((2, 3), ()),
]


@pytest.mark.parametrize(("shape", "slices"), PLACES)
def test_add_at_adds_values_of_any_shape_at_slices_of_the_last_axes(lib, shape, slices):
    for dtype in dtypes_for(lib, "int32", "float32", "complex64"):
        a, where = integers(*shape, dtype=dtype), (..., *slices)
        values = integers(*a[where].shape, dtype=dtype)
        expected = a.copy()
        expected[where] += values
        flat = values.reshape(*a.shape[: a.ndim - len(slices)], -1) if values.size else values
        for given in (values, flat):
            assert_is(lib, lib.backend.add_at(lib.array(a.copy()), slices, lib.array(given)), expected)


@pytest.mark.parametrize(
    ("sizes", "steps", "missing"),
    [
        ((7,), (3,), ()),
        ((7,), (3,), (1,)),
        ((5, 6), (2, 3), (0, 4)),
        ((4, 3, 5), (1, 2, 4), (2, 5, 7)),
        ((2,), (5,), (3, 4)),
    ],
)
def test_interleave_puts_parts_in_their_places_and_zeros_elsewhere(lib, sizes, steps, missing):
    expected = np.zeros((2, 3, *sizes), np.float32)
    parts, places = [], []
    for number, starts in enumerate(itertools.product(*map(range, steps))):
        if number not in missing:
            place = tuple(slice(start, size, step) for start, size, step in zip(starts, sizes, steps, strict=True))
            parts.append(integers(*expected[(..., *place)].shape))
            places.append(place)
            expected[(..., *place)] = parts[-1]
    assert_is(lib, lib.backend.interleave(list(map(lib.array, parts)), places, sizes), expected)


def test_interleave_takes_parts_that_end_early(lib):
    part = integers(2, 2)
    expected = np.zeros((2, 9), np.float32)
    expected[:, 1:6:4] = part
    found = lib.backend.interleave([lib.array(part)], [(slice(1, 6, 4),)], (9,))
    assert_is(lib, found, expected)


def test_window_reads_from_numbers_and_from_positions_of_a_loop(lib):
    a = integers(2, 5, 7)
    array, rows = lib.array(a), [(0, 0), (3, 2), (1, 4)]
    for start, column in rows:
        assert_is(lib, lib.backend.window(array, (start, column), (2, 3)), a[:, start : start + 2, column : column + 3])
    read = getattr(lib.backend, MAP)(
        lambda row: lib.backend.window(array, (row[0], row[1]), (2, 3)), lib.backend.positions(rows)
    )
    assert_is(lib, read, np.stack([a[:, start : start + 2, column : column + 3] for start, column in rows]))


LOOPS = [((5, 2, 3), (5, 3)), ((1, 2, 3), (1, 3)), ((4, 1, 2, 1), (4,))]


@pytest.mark.parametrize(("first", "second"), LOOPS)
def test_loops_map_and_sum_over_the_first_axis(lib, first, second):
    """Of several arrays, with results of another shape than the blocks."""
    a, b = integers(*first), integers(*second)
    blocks = [(x.sum(0) * 2) + y for x, y in zip(a, b, strict=True)]

    def f(x, y):
        assert (tuple(x.shape), tuple(y.shape)) == (first[1:], second[1:])
        return lib.xp.sum(x, axis=0) * 2 + y

    assert_is(lib, getattr(lib.backend, MAP)(f, lib.array(a), lib.array(b)), np.stack(blocks))
    assert_is(lib, getattr(lib.backend, SUM)(f, lib.array(a), lib.array(b)), functools.reduce(np.add, blocks))


@pytest.mark.parametrize(("count", "axis"), [(3, 0), (2, 1), (1, 2), (4, 2)])
def test_written_blocks_stand_along_their_axis(lib, count, axis):
    a = integers(2, 3, 4)
    expected = np.concatenate([a + number for number in range(count)], axis=axis)
    array = lib.array(a)
    assert_is(lib, lib.backend.write_blocks(lambda number: array + number, count, axis), expected)


MATRICES = [  # about the sizes at which a library may go another way
    ((2, 3), (3, 4)),
    ((5, 1, 2, 3), (1, 4, 3, 2)),
    ((1, 1, 9, 33), (1, 1, 33, 10)),
    ((2, 9, 33), (2, 33, 10)),
    ((1, 3, 3000), (1, 3000, 2)),
    ((3, 1, 40), (1, 40, 1)),
]


@pytest.mark.parametrize(("left", "right"), MATRICES)
def test_products_of_matrices(lib, left, right):
    for dtype in dtypes_for(lib, "float32", "int32", "complex64"):
        a, b = integers(*left, dtype=dtype), integers(*right, dtype=dtype)
        with lib.backend.precision("highest"):
            assert_is(lib, lib.backend.matmul(lib.array(a), lib.array(b)), a @ b)
            transposed = np.ascontiguousarray(np.swapaxes(b, -1, -2))
            assert_is(lib, lib.backend.matmul_transposed(lib.array(a), lib.array(transposed)), a @ b)
        with lib.backend.precision("default"):
            assert lib.numpy(lib.backend.matmul(lib.array(a), lib.array(b))).shape == (a @ b).shape


def test_a_long_product_by_a_transposed_matrix_is_summed_whole(lib):
    """Of so many terms that a library may split them, and no round number of them."""
    a, b = integers(1, 1, 5, 12_289), integers(1, 1, 3, 12_289)
    assert_is(lib, lib.backend.matmul_transposed(lib.array(a), lib.array(b)), a @ np.swapaxes(b, -1, -2))


@pytest.mark.parametrize("shape", [(3, 4), (2, 3, 1, 5), (4,)])
def test_inner_sums_over_all_axes_but_the_first_and_conjugates_nothing(lib, shape):
    for dtype in dtypes_for(lib, "float32", "complex64"):
        a, others = integers(*shape, dtype=dtype), [integers(*shape, dtype=dtype) for _ in range(3)]
        expected = np.stack([(a * b).reshape(shape[0], -1).sum(1) for b in others], axis=-1)
        assert_is(lib, lib.backend.inner(lib.array(a), list(map(lib.array, others))), expected.astype(dtype))


@pytest.mark.parametrize("order", [(0, 1, 2, 3), (2, 0, 1, 3), (3, 1, 2, 0), (1, 0, 2, 3)])
def test_axes_move_as_numpy_has_it(lib, order):
    for shape in ((2, 3, 1, 4), (1, 3, 1, 4)):
        a = integers(*shape)
        assert_is(lib, array_operations.permute_dims(lib.array(a), order, lib.xp), np.transpose(a, order))
        assert_is(lib, lib.backend.flip(lib.array(a), order[:2]), np.flip(a, order[:2]))


def test_order_in_memory_changes_no_value(lib):
    a = integers(2, 3, 4, 5)
    array, other = lib.array(a), lib.array(integers(3, 3, 2, 2))
    moved = lib.xp.permute_dims(array, (0, 2, 3, 1))
    for first in (False, True):
        found = lib.backend.contiguous(moved, (array, other), channels_first=first)
        assert_is(lib, found, np.transpose(a, (0, 2, 3, 1)))
        for entered, given in zip(
            lib.backend.entering((array, other), channels_first=first), (array, other), strict=True
        ):
            assert_is(lib, entered, lib.numpy(given))
    assert_is(lib, lib.backend.whole_positions(array), a)


def double(by, a):
    return a * by


def test_a_function_is_compiled_and_timed(lib):
    a = integers(3)
    assert_is(lib, lib.backend.compile(double)(2, lib.array(a)), 2 * a)
    calls = []
    lib.backend.timed(lambda a: calls.append(a.shape) or a * 2)(lib.array(a))
    assert calls


def test_what_a_planner_asks_has_an_answer(lib):
    array = lib.array(integers(3))
    assert lib.backend.device_kind(array) in ("cpu", "gpu")
    assert lib.backend.device_kind() in ("cpu", "gpu")
    assert isinstance(lib.backend.transposes(array), bool)
    assert lib.backend.is_partitioned() is False
    assert isinstance(lib.backend.keeps_apart(), bool)
    assert lib.backend.has_explicit_axes((array, (array,))) is False
    assert lib.backend.varies((3, 4)) is False
    assert lib.backend.vendor_axes is None or set(lib.backend.vendor_axes) <= set(range(4))
    with lib.backend.wide():
        assert lib.xp.asarray(1.5, dtype=lib.xp.float64).dtype == lib.xp.float64


def test_a_device_has_a_name_that_leads_back_to_it(lib):
    device = lib.backend.devices()[0] if lib.name != "jax" else lib.backend.asarray(1.0).device
    name = pickle.loads(pickle.dumps(lib.backend.device_name(device)))
    np.testing.assert_array_equal(to_numpy(lib.backend.asarray([1.0, math.pi], device=name)), [1.0, math.pi])
