"""The blocks of an axis that is sharded: every device computes what it must from what it has and is sent, by NumPy alone."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import triconv
from geometries import axes
from triconv.geometry import Axis, Geometry
from triconv.geometry.sharded_axis import ShardedAxis, scale

ROLES = ("g", "x")


@st.composite
def sharded_axes(draw):
    """Draw an axis in blocks."""
    size, taps, stride, dilation, input_dilation, (lo, hi) = draw(axes())
    extent = input_dilation * (size - 1) + 1 if size else 0
    assume(size and taps and extent + lo + hi >= 0)
    axis = Axis(size, taps, stride, dilation, input_dilation, lo, hi)
    assume(axis.output_size)
    return ShardedAxis.of(axis, draw(st.integers(1, 5)), draw(st.sampled_from(ROLES)))


def windows(halo, x):
    """What each device has after the exchange, sent as `transfers` says."""
    blocks = np.pad(x, (0, halo.parts * halo.input_block - len(x))).reshape(halo.parts, halo.input_block)
    whole = np.zeros((halo.parts, halo.before + halo.input_block + halo.after), x.dtype)
    whole[:, halo.before : halo.before + halo.input_block] = blocks
    for transfer in halo.transfers():
        for sender, receiver in transfer.pairs:
            if transfer.hop > 0:
                piece, place = blocks[sender, -transfer.size :], halo.before - (transfer.hop - 1) * halo.input_block
                whole[receiver, place - transfer.size : place] = piece
            else:
                piece = blocks[sender, : transfer.size]
                place = halo.before + halo.input_block + (-transfer.hop - 1) * halo.input_block
                whole[receiver, place : place + transfer.size] = piece
    begin = [halo.before + halo.start + device * halo.step for device in range(halo.parts)]
    return [whole[device, b : b + halo.size] for device, b in enumerate(begin)]


def convolved(axis, x, w):
    geometry = Geometry((axis,))
    y = np.zeros(axis.output_size, x.dtype)
    for tap in geometry.taps():
        y[tap.output] += w[tap.index] * x[tap.input]
    return y


@given(halo=sharded_axes())
@settings(max_examples=500)
def test_every_device_computes_its_outputs_from_its_window(halo):
    rng = np.random.default_rng(0)
    x, w = rng.integers(-9, 10, halo.axis.input_size), rng.integers(-9, 10, halo.axis.kernel_size)
    assert halo.input_block * halo.parts >= halo.axis.input_size
    assert halo.output_block * halo.parts >= halo.axis.output_size
    assert halo.local.output_size == halo.output_block
    y = np.concatenate([convolved(halo.local, window, w) for window in windows(halo, x)])
    np.testing.assert_array_equal(y[: halo.axis.output_size], convolved(halo.axis, x, w))


@given(halo=sharded_axes())
@settings(max_examples=300)
def test_parts_of_a_block_are_those_of_the_whole(halo):
    rng = np.random.default_rng(0)
    window, w = rng.integers(-9, 10, halo.size), rng.integers(-9, 10, halo.axis.kernel_size)
    whole = convolved(halo.local, window, w)
    for first in range(halo.output_block):
        for last in range(first + 1, halo.output_block + 1):
            inputs, axis = halo.local.part(first, last)
            part = convolved(axis, window[inputs], w)
            np.testing.assert_array_equal(part, whole[first:last])
    first, last = halo.interior()
    if halo.step == 0 and last > first:
        inputs, _ = halo.local.part(first, last)
        assert -halo.start <= inputs.start
        assert inputs.stop <= halo.input_block - halo.start


@given(halo=sharded_axes())
@settings(max_examples=300)
def test_a_message_goes_to_the_devices_whose_window_reaches_it_or_beyond_it(halo):
    """And to no other; none comes from beyond the ends."""
    for transfer in halo.transfers():
        assert 0 < transfer.size <= halo.input_block
        receivers = {receiver for _, receiver in transfer.pairs}
        for sender, receiver in transfer.pairs:
            assert 0 <= sender < halo.parts
            assert receiver - sender == transfer.hop
        for receiver in range(max(0, transfer.hop), min(halo.parts, halo.parts + transfer.hop)):
            sender = (receiver - transfer.hop) * halo.input_block
            begin = halo.start + receiver * (halo.input_block + halo.step)
            nearest = sender + halo.input_block - 1 if transfer.hop > 0 else sender  # of the positions in the message
            reaches = begin <= nearest if transfer.hop > 0 else nearest < begin + halo.size
            assert reaches == (receiver in receivers)
    if halo.step == 0 and halo.axis.kernel_size == 1 and halo.axis.pad_lo == 0:
        assert halo.count_sent() == 0


@given(halo=sharded_axes())
@settings(max_examples=300)
def test_scale_counts_what_the_simulation_sends(halo):
    found = scale(Geometry((halo.axis,)), (halo.parts,), n=2, c=3, k=5)
    of_each = [0] * halo.parts
    blocks = ShardedAxis.of(halo.axis, halo.parts)
    for transfer in blocks.transfers():
        for sender, _ in transfer.pairs:
            of_each[sender] += 4 * 2 * 3 * transfer.size
    assert found.sent["conv"] == found.sent["conv_input_vjp"] == max(of_each)
    assert sum(of_each) == 4 * 2 * 3 * blocks.count_sent()
    assert found.devices == halo.parts


def test_weak_scaling_sends_the_same_from_each_device():
    """The volume grows with the devices: the blocks and the halos stay."""
    found = [
        scale(Geometry.of((64 * side,) * 3, (3,) * 3, padding=1), (side,) * 3, c=32, k=32) for side in (4, 8, 16, 64)
    ]
    assert len({(layer.held, layer.sent["conv"], layer.multiply_adds) for layer in found}) == 1
    # two faces per axis, each with the edges of the axes before it
    assert found[0].sent["conv"] == 4 * 32 * 2 * (64 * 64 + 66 * 64 + 66 * 66)


@pytest.mark.parametrize("devices", [8, 64, 512, pytest.param(4096, marks=pytest.mark.slow)])
def test_a_sequence_sends_what_its_kernel_reaches(devices):
    causal = Geometry.of((2**30,), (2,), dilation=512, padding=[(512, 0)])
    found = scale(causal, (devices,), c=64, k=128)
    assert found.sent["conv"] == 4 * 64 * 512
    assert found.multiply_adds == 2 * 64 * 128 * 2**30 // devices


def test_a_wide_halo_takes_several_hops():
    halo = ShardedAxis.of(Axis(16, 12, pad_lo=11), 8)
    assert [transfer.hop for transfer in halo.transfers()] == [1, 2, 3, 4, 5, 6]
    assert halo.count_sent() == 2 * (7 + 6 + 5 + 4 + 3) + 1 * 2


def test_the_plan_that_is_documented():
    """As `triconv.halo.scale` prints it."""
    unet = Geometry.of((2048,) * 3, (3,) * 3, padding=1)
    layer = scale(unet, (16,) * 3, c=32, k=32)
    assert triconv.halo.scale is scale
    assert layer.sent["conv"] == 4 * 32 * 2 * (128 * 128 + 130 * 128 + 130 * 130)
    assert layer.bandwidth("conv", 1e9) == pytest.approx(1e9 * layer.sent["conv"] / layer.multiply_adds)
