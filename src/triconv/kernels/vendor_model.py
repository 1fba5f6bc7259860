"""The factors by which a library's own convolution is slower than at its best, for each library and kind of device.

`vendor_cost` multiplies the time at the library's best (`Rates.vendor`) by the factors that hold for a call
(`vendor_factors`). Numbers of channels, taps or bytes say where a factor holds. ``python -m bench --fit`` fits all again.
"""

from __future__ import annotations

import math
from typing import NamedTuple

MIB = 2**20


class VendorModel(NamedTuple):
    """By which factors the library's own convolution takes longer per multiply-add than at its best.

    ``c`` and ``k`` are the input and output channels per group; "first" and "last" is where channels stand in memory. A factor
    of 1 says that such calls are no slower. `vendor_factors` reads them in this order.
    """

    # ---- limits that several factors share
    many_channels: int = 48  # from which channels are many
    many_taps: int = 20  # a kernel with more of them is one of many taps, here
    vector: int = 16  # channels that oneDNN computes at once, however few there are

    # ---- few channels, and many taps
    channels: float = 0.0  # ``1 + channels / c`` for few input channels; the same for output channels
    # whether kernels of many taps sum over the taps too, so that few input channels are no slower
    long: bool = False
    # but a weight VJP of such a kernel, without a stride, has as many results: by ``(long_channels / k) ** 2``, if that is more
    # than one
    long_channels: int = 64

    # ---- one axis
    line: float = 1.0
    # and by ``1 + min(0.5, line_channels / k)``: output channels keep the threads busy, and so do many outputs
    # (`Target.many_outputs`), for which the second number stands
    line_channels: tuple[float, float] = (0.0, 0.0)
    # weight VJPs with channels last by ``last_line[0] * (1 + last_line[1] / k)`` instead; empty where they are no others
    last_line: tuple[float, ...] = ()

    # ---- two and more axes
    plane_channels: tuple[float, float] = (0.0, 0.0)  # ``1 + min(1, plane_channels / k)``, as `line_channels`
    plane_inputs: float = math.inf  # a weight VJP of planes of volumes, by ``1 + min(1, c / plane_inputs)``
    # bytes of g up to which a weight VJP of channels last, of `many_channels` outputs and no dilation, is as fast as with many
    last_cotangent_bytes: int = 0
    weight_vjp: float = 1.0  # weight VJPs
    # those with channels first, of fewer input channels than `vector`, more taps than `many_taps` and so many bytes
    small_weight_vjp: float = 1.0
    small_weight_vjp_bytes: int = 3 * MIB
    # those with channels last, divided by the taps: each is one position, and a few positions leave most of its loops idle
    last_weight_vjp: float = 1.0
    # bytes of x and g up to which a weight VJP of channels last is no slower than others: its copies of both stay in cache
    last_weight_vjp_bytes: int = 0
    # plain convolutions of two axes and several taps, of fewer outputs than `Target.many_outputs`: of less than `many_channels`
    # input channels, with channels last and no stride, or with a stride and more taps than `many_taps`
    plain: float = 1.0
    plain_first: float = 1.0  # of more input channels, with channels first and no stride
    # multiply-adds that such a convolution takes as long as to copy the inputs of an output and tap, where their channels are
    # an odd number, but one, and stand first: of less than `odd_outputs` output channels, or of less than `odd_inputs` input
    # channels, few taps and no stride. That is much where vectors have 512 bits, and little where they have 256, with which
    # other calls gain nothing by products
    odd_channels: float = 0.0
    odd_outputs: int = 24
    odd_inputs: int = 8
    volume: float = 1.0  # three axes and several taps; where `volume_channels` is given, weight VJPs alone
    # convolutions of three axes and several taps, by ``max(2, volume_channels / k)`` instead of all these; 0 where they are no
    # others
    volume_channels: float = 0.0
    strided: float = 1.0  # channels first, more than two phases: each reads with a stride

    # ---- windows that do not overlap
    # weight VJPs with more outputs of a sample and channel than `few_positions`, and convolutions of one tap; with channels
    # last, weight VJPs of few taps alone
    patches: float = 1.0
    few_positions: int = 64

    # ---- a transposed convolution, of a library that has one, with a stride or groups
    # of windows that do not overlap, by ``transposed_patches / channels`` of the result, if that is more than one
    transposed_patches: float = 1.0
    transposed_volume: float = 1.0  # of three axes

    # ---- groups
    groups: float = 1.0
    # convolutions by ``group_factor * (1 + group_channels[0] / c) * (1 + group_channels[1] / k)`` instead, for XLA calls a
    # product for each group, of ``c * taps`` rows and `k` columns; empty where `groups` stands for all
    group_channels: tuple[float, ...] = ()
    group_factor: float = 1.0
    # taps up to which that holds; of more, and several channels, the first number is divided by them, and along one axis the
    # factor is `group_line`
    group_taps: int = 9
    group_line: float = 1.0
    # weight VJPs of groups with one input channel: with channels first, of few taps and of more than `many_taps`; and with
    # channels last, where oneDNN has a kernel for them
    depthwise_weight_vjp: tuple[float, float] = (1.0, 1.0)
    last_depthwise_weight_vjp: float = 1.0
    narrow_groups: float = 0.0  # groups of few channels: ``1 + narrow_groups * min(1, 16 / min(c, k))``
    line_groups: float = 1.0  # one axis
    # weight VJPs of two and more axes with less than `narrow_channels` input channels, channels first and no stride
    narrow_weight_vjp: float = 1.0
    narrow_channels: int = 8
    # channels first, two axes, more taps along the last than `depthwise_width`, one channel per group: oneDNN has no kernel for
    # them (13 are fast, 15 slow; 21x7 is fast, 7x21 slow); not for its transposed convolution
    long_depthwise: float = 1.0
    depthwise_width: int = 14

    # ---- dilated taps
    dilated_volume: float = 1.0  # three axes: oneDNN has no kernel for them
    # weight VJPs along two axes, of `many_channels` inputs: by ``1 + dilated_weight_vjp / k``
    dilated_weight_vjp: float = 0.0
    # two axes, one channel per group, more than `many_taps` taps that span more than `dilated_spans`: in a convolution; in a
    # transposed one
    dilated_depthwise: float = 1.0
    dilated_spans: tuple[int, int] = (12, 14)
    # other dilated taps of one channel per group, in a transposed convolution with channels first
    transposed_depthwise: float = 1.0

    # ---- more
    # weight VJPs of one input channel with a stride along two axes, or more if windows do not overlap, channels first, of less
    # than `vector` taps a row
    single_weight_vjp: float = 1.0
    # weight VJPs with dilated taps, and derivatives with a stride and more taps than outputs: XLA's kernel is as large as the
    # image there
    image_kernel: float = 1.0
    double: float = 1.0  # elements of eight bytes
    phases: float = 1.0  # several calls in a compiled program on a CPU, one per phase

    # ---- no factors
    # one call that dilates the input of a transposed convolution of channels last: by ``1 + dilated_channels[0] / c``
    # and ``1 + dilated_channels[1] / k``; empty where that multiplies the zeros
    dilated_channels: tuple[float, ...] = ()
    copies: float = 0.0  # how many times x and g are written in another order before and after
    operations: int = 8  # operations per call of it


XLA_CPU = VendorModel(
    channels=2.0, line=0.85, last_line=(0.62, 50.0), line_channels=(40.0, 10.0), plane_channels=(80.0, 16.0),
    plane_inputs=32.0,
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
