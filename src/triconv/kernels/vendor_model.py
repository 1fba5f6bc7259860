"""The factors by which a library's own convolution is slower than at its best, for each library and kind of device.

`vendor_cost` multiplies the time at the library's best (`Rates.vendor`) by the factors that hold for a call. Most numbers are
such factors; numbers of channels, taps or bytes say where a factor holds. ``python -m bench --fit`` fits them again.
"""

from __future__ import annotations

from typing import NamedTuple

MIB = 2**20


class VendorModel(NamedTuple):
    """By which factors the library's own convolution takes longer per multiply-add than at its best."""

    channels: float = 0.0  # ``1 + channels / c`` for few input channels ``c``; the same for output channels
    line: float = 1.0  # one spatial axis
    # weight VJPs along it with channels last, by ``last_line[0] * (1 + last_line[1] / k)`` instead; empty where `line` stands
    # for all
    last_line: tuple[float, ...] = ()
    # the same by ``1 + min(0.5, line_channels / k)``: output channels keep the threads busy, and so do many outputs
    # (`Target.many_outputs`), for which the second number stands
    line_channels: tuple[float, float] = (0.0, 0.0)
    plane_channels: tuple[float, float] = (0.0, 0.0)  # more axes: ``1 + min(1, plane_channels / k)``, likewise
    weight_vjp: float = 1.0  # weight VJPs of two and more axes
    # the same of channels last, divided by the taps: each is one position, and a few positions leave most of its loops idle
    last_weight_vjp: float = 1.0
    # bytes of x and g up to which a weight VJP of channels last is no slower than others: its copies of both stay in cache
    last_weight_vjp_bytes: int = 0
    # bytes of g up to which a weight VJP of channels last, of `many_channels` outputs and no dilation, is as fast as with many
    last_cotangent_bytes: int = 0
    # weight VJPs with channels first, of fewer input channels than `vector`, more taps than `many_taps` and so many bytes
    small_weight_vjp: float = 1.0
    small_weight_vjp_bytes: int = 3 * MIB
    volume: float = 1.0  # weight VJPs of three axes
    # convolutions of three axes and several taps, by ``max(2, volume_channels / k)`` instead; 0 where they are no others
    volume_channels: float = 0.0
    phases: float = 1.0  # several calls, one per phase
    strided: float = 1.0  # channels first, more than two phases of two and more axes: each reads with a stride
    # convolutions of two axes and several taps, of fewer outputs than `Target.many_outputs`: with less than `many_channels`
    # input channels, with channels last and no stride, or more taps than `many_taps`; with channels first; else 1
    plain: float = 1.0
    plain_first: float = 1.0
    many_channels: int = 48
    many_taps: int = 20  # a kernel with more of them is one of many taps, here
    # multiply-adds that such a convolution takes as long as to copy the inputs of an output and tap, where their channels are
    # an odd number, but one; of many taps, with `odd_outputs` output channels a third of it, or nothing
    odd_channels: float = 0.0
    odd_outputs: tuple[int, int] = (40, 64)
    # channels first: weight VJPs of kernels no longer than the stride with more outputs of a sample and channel than
    # `few_positions`, and such convolutions of one tap
    patches: float = 1.0
    few_positions: int = 64
    vector: int = 16  # channels that oneDNN computes at once, however few there are
    # its transposed convolution with a stride: of windows that do not overlap, by ``transposed_patches / channels`` of the
    # result, if that is more than one; and of three axes, or with groups there
    transposed_patches: float = 1.0
    transposed_volume: float = 1.0
    # the same, of any stride, of dilated taps with channels first and one channel per group
    transposed_depthwise: float = 1.0
    groups: float = 1.0  # groups
    # convolutions of groups: by ``group_factor * (1 + group_channels[0] / c) * (1 + group_channels[1] / k)`` instead, for XLA
    # calls a product for each of them, of ``c * taps`` rows and `k` columns; empty where `groups` stands for all
    group_channels: tuple[float, ...] = ()
    group_factor: float = 1.0
    # taps up to which that holds; of more, and several channels, the first number is divided by them, and along one axis the
    # factor is `group_line`
    group_taps: int = 9
    group_line: float = 1.0
    line_groups: float = 1.0  # groups along one axis
    # channels first, two axes, more taps along the last than `depthwise_width`, one channel per group: oneDNN has no kernel for
    # them (13 are fast, 15 slow; 21x7 is fast, 7x21 slow); not for its transposed convolution
    long_depthwise: float = 1.0
    depthwise_width: int = 14
    # two axes, one channel per group, more than `many_taps` dilated taps that span more than `dilated_spans`: in a convolution;
    # in its transposed one
    dilated_depthwise: float = 1.0
    dilated_spans: tuple[int, int] = (12, 14)
    dilated_volume: float = 1.0  # three axes, dilated taps: oneDNN has no kernel for them
    # weight VJPs of dilated taps along two axes, of `many_channels` inputs: by ``1 + dilated_weight_vjp / k``
    dilated_weight_vjp: float = 0.0
    narrow_groups: float = 0.0  # groups of few channels: ``1 + narrow_groups * min(1, 16 / min(c, k))``
    # weight VJPs of groups with one input channel: with channels first, of few taps and of more than `many_taps`, and with
    # channels last, where oneDNN has a kernel for them; and of groups with less than `narrow_channels` along two and more axes
    # without a stride, channels first
    depthwise_weight_vjp: tuple[float, float] = (1.0, 1.0)
    last_depthwise_weight_vjp: float = 1.0
    narrow_weight_vjp: float = 1.0
    narrow_channels: int = 8
    # weight VJPs of one input channel with a stride along two axes, or more if windows do not overlap, channels first, of less
    # than `vector` taps a row
    single_weight_vjp: float = 1.0
    # weight VJPs with dilated taps, and derivatives of windows that do not overlap: XLA's kernel is as large as the image there
    image_kernel: float = 1.0
    double: float = 1.0  # elements of eight bytes
    # whether kernels of many taps sum over the taps too; their weight VJPs are slow, at as many places as there are taps
    long: bool = False
    # such a weight VJP without a stride takes ``(long_channels / k) ** 2`` times as long for fewer output channels
    long_channels: int = 64
    # one call that dilates the input of a transposed convolution of channels last: by ``1 + dilated_channels[0] / c``
    # and ``1 + dilated_channels[1] / k``; empty where that multiplies the zeros
    dilated_channels: tuple[float, ...] = ()
    copies: float = 0.0  # how many times x and g are written in another order before and after
    operations: int = 8  # operations per call of it


XLA_CPU = VendorModel(
    channels=2.0, line=0.85, last_line=(0.62, 50.0), line_channels=(40.0, 10.0), plane_channels=(80.0, 16.0),
    weight_vjp=1.6, last_weight_vjp=8.0, last_weight_vjp_bytes=8 * MIB, last_cotangent_bytes=9 * MIB // 4,
    small_weight_vjp=0.8, volume=5.0, volume_channels=140.0, strided=2.0, plain=0.55, plain_first=0.75,
    odd_channels=450.0, phases=1.1, patches=2.0, groups=50.0, double=2.5, long=True, copies=1.0,
    dilated_channels=(50.0, 1.5), group_channels=(10.0, 40.0), group_factor=1.4, group_line=0.75,
)  # fmt: skip
ONEDNN = VendorModel(
    transposed_patches=24.0, transposed_volume=2.0, transposed_depthwise=8.0, line_groups=1.5, long_depthwise=20.0,
    dilated_depthwise=13.0, dilated_volume=5.0, dilated_weight_vjp=96.0, narrow_groups=2.0, depthwise_weight_vjp=(15.0, 65.0),
    last_depthwise_weight_vjp=10.0, narrow_weight_vjp=6.0, single_weight_vjp=20.0, double=2.5, operations=2,
)  # fmt: skip
CUDNN = VendorModel(channels=3.0, groups=2.0, image_kernel=64.0)
# XLA calls cuDNN with channels last, whatever the order is that it is given; what few channels cost is not measured
XLA_GPU = CUDNN._replace(copies=2.0, channels=0.0)
