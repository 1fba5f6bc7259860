"""The incidence equation against trial of every position, and every spelling of padding."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given, settings

from geometries import axes
from triconv.checking import loops
from triconv.geometry import Axis, Geometry


def numbers(drawn):
    size, taps, stride, dilation, input_dilation, (lo, hi) = drawn
    return size, taps, stride, dilation, input_dilation, lo, hi


@given(axes(most_taps=6))
@settings(max_examples=1000)
def test_meetings_are_those_of_the_equation(drawn):
    axis, plain = Axis(*numbers(drawn)), loops.Numbers(*numbers(drawn))
    assert axis.output_size == loops.output_size(plain)
    found = [
        (i, o, t)
        for t in range(axis.kernel_size)
        for i, o in zip(
            *(range(*s.indices(10**6)) for s in axis.meetings(t)),
            strict=True,
        )
    ]
    assert sorted(found) == loops.meetings(plain)


@given(axes(), axes())
@settings(max_examples=100)
def test_taps_are_the_product_of_the_axes(first, second):
    geometry = Geometry((Axis(*numbers(first)), Axis(*numbers(second))))
    per_axis = [len(loops.meetings(loops.Numbers(*numbers(drawn)))) for drawn in (first, second)]
    assert geometry.count_meetings() == per_axis[0] * per_axis[1]
    for tap in geometry.taps():
        assert len(tap.index) == len(tap.input) == len(tap.output) == 2


def test_no_spatial_axis_has_one_tap():
    (tap,) = Geometry(()).taps()
    assert (tap.index, tap.input, tap.output) == ((), (), ())
    assert Geometry(()).count_meetings() == 1


def test_geometry_is_frozen_and_hashable():
    geometry = Geometry.of((5,), (3,), stride=2)
    assert hash(geometry) == hash(Geometry.of([5], [3], stride=[2]))
    with pytest.raises(dataclasses.FrozenInstanceError):
        geometry.groups = 2


@pytest.mark.parametrize(
    ("padding", "expected"),
    [
        (0, ((0, 0), (0, 0))),
        (1, ((1, 1), (1, 1))),
        ((1, 2), ((1, 1), (2, 2))),
        ([1], ((1, 1), (1, 1))),
        ([(1, -1), (0, 2)], ((1, -1), (0, 2))),
        ("valid", ((0, 0), (0, 0))),
        ("VALID", ((0, 0), (0, 0))),
        ("same", ((0, 1), (2, 2))),
        ("Same_Lower", ((1, 0), (2, 2))),
        ("full", ((2, 2), (4, 4))),
        ("causal", ((2, 0), (4, 0))),
    ],
)
def test_every_spelling_of_padding(padding, expected):
    geometry = Geometry.of((8, 7), (3, 3), stride=(2, 1), dilation=(1, 2), padding=padding)
    assert tuple((axis.pad_lo, axis.pad_hi) for axis in geometry.axes) == expected


@pytest.mark.parametrize("size", range(1, 12))
@pytest.mark.parametrize("stride", [1, 2, 3, 5])
@pytest.mark.parametrize("name", ["same", "same_lower"])
def test_same_gives_the_ceiling(size, stride, name):
    for kernel in (1, 2, 3, 4):
        geometry = Geometry.of((size,), (kernel,), stride=stride, padding=name)
        assert geometry.output_size == (-(-size // stride),)


@pytest.mark.parametrize("size", [1, 4, 7, 10])
@pytest.mark.parametrize(("kernel", "stride", "dilation"), [(1, 1, 1), (3, 1, 1), (4, 2, 1), (3, 3, 2), (2, 4, 5)])
def test_same_is_the_rule_of_lax(jax, size, kernel, stride, dilation):
    for ours, theirs in (("same", "SAME"), ("same_lower", "SAME_LOWER")):
        axis = Geometry.of((size,), (kernel,), stride=stride, dilation=dilation, padding=ours).axes[0]
        extent = dilation * (kernel - 1) + 1
        assert [(axis.pad_lo, axis.pad_hi)] == list(jax.lax.padtype_to_pads((size,), (extent,), (stride,), theirs))
