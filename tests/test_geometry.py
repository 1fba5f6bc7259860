"""The incidence equation against trial of every position, and every spelling of padding."""

from __future__ import annotations

import dataclasses
import random

import pytest
from hypothesis import given, settings

from geometries import axes
from triconv.checking.oracles import definition
from triconv.geometry import Axis, Geometry


def numbers(drawn):
    size, taps, stride, dilation, input_dilation, (lo, hi) = drawn
    return size, taps, stride, dilation, input_dilation, lo, hi


@given(axes(most_taps=6))
@settings(max_examples=1000)
def test_meetings_are_those_of_the_equation(drawn):
    axis, plain = Axis(*numbers(drawn)), definition.AxisParameters(*numbers(drawn))
    assert axis.output_size == definition.output_size(plain)
    found = [
        (i, o, t)
        for t in range(axis.kernel_size)
        for i, o in zip(
            *(range(*s.indices(10**6)) for s in axis.meetings(t)),
            strict=True,
        )
    ]
    assert sorted(found) == definition.meetings(plain)


def meetings_of(axis):
    """All (input, output, tap) of an axis, in order."""
    pairs = ((t, *axis.meetings(t)) for t in range(axis.kernel_size))
    everywhere = 10**6
    return sorted(
        (i, o, t)
        for t, inputs, outputs in pairs
        for i, o in zip(range(*inputs.indices(everywhere)), range(*outputs.indices(everywhere)), strict=True)
    )


@given(axes(most_taps=6))
@settings(max_examples=1000)
def test_the_transposed_axis_has_the_same_meetings(drawn):
    axis = Axis(*numbers(drawn))
    if not (axis.input_size and axis.kernel_size and axis.output_size):
        return
    transposed = axis.transposed()
    assert transposed.output_size == axis.input_size
    exchanged = sorted((o, i, axis.kernel_size - 1 - t) for i, o, t in meetings_of(transposed))
    assert exchanged == meetings_of(axis)


@given(axes(most_taps=6))
@settings(max_examples=300)
def test_the_exchanged_axis_has_the_same_meetings(drawn):
    axis = Axis(*numbers(drawn))
    if not (axis.input_size and axis.kernel_size and axis.output_size):
        return
    exchanged = axis.exchanged()
    assert sorted((i, t, o) for i, o, t in meetings_of(exchanged)) == meetings_of(axis)


@given(axes(most_taps=6))
@settings(max_examples=1000)
def test_the_phases_have_the_same_meetings_without_input_dilation(drawn):
    axis = Axis(*numbers(drawn))
    if not axis.input_size:
        return
    found = []
    for phase in axis.phases():
        outputs, taps = range(axis.output_size)[phase.output], range(axis.kernel_size)[phase.taps]
        assert phase.axis.input_dilation == 1
        assert (phase.axis.output_size, phase.axis.kernel_size) == (len(outputs), len(taps))
        found += [(i, outputs[o], taps[t]) for i, o, t in meetings_of(phase.axis)]
    assert sorted(found) == meetings_of(axis)


@given(axes(most_taps=6))
@settings(max_examples=300)
def test_the_even_padding_is_the_nearest_with_as_many_windows(drawn):
    axis = Axis(*numbers(drawn))
    if not axis.output_size:
        return
    far = axis.dilated_kernel + axis.padded_size + abs(axis.pad_lo) + axis.stride
    as_many = []
    for pad_hi in range(-axis.dilated_input - axis.pad_lo, far):
        other = dataclasses.replace(axis, pad_hi=pad_hi)
        if other.output_size == axis.output_size:
            as_many.append(pad_hi)
    assert axis.read_pad_hi == min(as_many)
    assert axis.even_pad_hi == min(as_many, key=lambda pad_hi: abs(pad_hi - axis.pad_lo))


def test_a_window_is_what_the_padded_input_has_for_a_tap():
    axis = Axis(9, 3, stride=2, dilation=3, pad_lo=2, pad_hi=1)
    for t in range(3):
        inputs, outputs = axis.meetings(t)
        window = range(axis.padded_size)[axis.window(t)]
        assert [window[o] - 2 for o in range(axis.output_size)[outputs]] == list(range(9)[inputs])


@given(axes(), axes())
@settings(max_examples=100)
def test_taps_are_the_product_of_the_axes(first, second):
    geometry = Geometry((Axis(*numbers(first)), Axis(*numbers(second))))
    per_axis = [len(definition.meetings(definition.AxisParameters(*numbers(drawn)))) for drawn in (first, second)]
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
def test_every_spelling_of_padding_is_taken(padding, expected):
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


def test_meetings_and_phases_are_counted_without_a_visit():
    """By a formula, against loops: two thousand axes of every kind."""
    rng = random.Random(0)
    for _ in range(2000):
        size, taps, *steps = (rng.randint(least, 9) for least in (0, 0, 1, 1, 1))
        lo, hi = rng.randint(-4, 9), rng.randint(-4, 9)
        if lo + hi + (steps[2] * (size - 1) + 1 if size else 0) < 0:
            continue
        axis = Axis(size, taps, *steps, lo, hi)
        met = [axis.meetings(t)[0] for t in range(taps)]
        assert axis.count_meetings() == sum(len(range(*s.indices(10**6))) for s in met)
        phases = list(axis.phases())
        assert axis.count_windows() == sum(p.axis.output_size * p.axis.kernel_size for p in phases)
        assert len(phases) <= axis.count_phases() <= max(taps, 1)
        assert len({(p.output.start, p.taps.start) for p in phases}) == len(phases)


@pytest.mark.parametrize("stride", [1, 3, 7])
def test_a_huge_axis_is_counted_at_once(stride, monkeypatch):
    """No tap, no residue class is looked at one by one."""
    axis = Axis(2**28, 2**27, stride, 1, 5, 2**27, 2**27)
    monkeypatch.setattr(Axis, "meetings", None)
    assert 0 < axis.count_meetings() <= axis.count_windows() <= axis.output_size * axis.kernel_size
    assert axis.count_phases() == 5


def test_the_phases_of_a_huge_stride_are_no_more_than_the_taps():
    axis = Axis(4, 3, 1, 1, 10**8, 2, 2)
    assert axis.count_phases() == len(list(axis.phases())) == 3
    assert len(list(Axis(1, 10**8, 10**8 - 1, 1, 10**8, 0, 10**8).phases())) == 1
