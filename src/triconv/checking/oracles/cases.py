"""The cases of ``triconv check``: named geometries, each with the reason it is there, and real layers at reduced size."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from triconv.checking.oracles.definition import AxisParameters, result_shape

Ints = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Case:
    """A convolution: shapes of x and w in torch's order, parameters with one entry per spatial axis.

    `why` says which mistake no other case would show.
    """

    name: str
    why: str
    x: Ints
    w: Ints
    stride: Ints
    dilation: Ints
    input_dilation: Ints
    padding: tuple[tuple[int, int], ...]
    groups: int = 1
    algorithm: str = "auto"

    @property
    def axes(self) -> tuple[AxisParameters, ...]:
        """The plain numbers of each axis, for the oracle."""
        return tuple(
            AxisParameters(i, k, s, d, e, lo, hi)
            for i, k, s, d, e, (lo, hi) in zip(
                self.x[2:], self.w[2:], self.stride, self.dilation, self.input_dilation, self.padding, strict=True
            )
        )

    @property
    def g(self) -> Ints:
        """Shape of the result."""
        return result_shape(self.axes, self.groups, x=self.x, w=self.w)

    @property
    def params(self) -> dict[str, Any]:
        """Keywords of `triconv.conv`."""
        return {
            "stride": self.stride,
            "padding": self.padding,
            "dilation": self.dilation,
            "input_dilation": self.input_dilation,
            "groups": self.groups,
            "algorithm": self.algorithm,
        }

    def terms(self, contraction: str) -> int:
        """Return the largest number of products that an element of a contraction's result sums."""
        taps, outputs = 1, self.g[0]
        for k in self.w[2:]:
            taps *= k
        for o in self.g[2:]:
            outputs *= o
        per_group = self.w[0] // self.groups
        return {"conv": taps * self.w[1], "conv_input_vjp": taps * per_group, "conv_weight_vjp": outputs}[contraction]


def _case(name: str, why: str, x: Ints, w: Ints, **params: Any) -> Case:
    """Fill in defaults: ones and zeros; an int serves all axes."""
    ndim = len(x) - 2

    def each(value: Any) -> Any:
        return value if isinstance(value, tuple) else (value,) * ndim

    pads = params.get("padding", 0)
    if not (isinstance(pads, tuple) and all(isinstance(p, tuple) for p in pads)):
        pads = tuple((p, p) for p in each(pads))
    stride, dilation, input_dilation = (each(params.get(key, 1)) for key in ("stride", "dilation", "input_dilation"))
    return Case(name, why, x, w, stride, dilation, input_dilation, pads, params.get("groups", 1))


def _transposed(name: str, why: str, x: Ints, w: Ints, **params: Any) -> Case:
    """Return the convolution whose input VJP is torch's transposed convolution of `x` by `w`."""
    ndim = len(x) - 2
    stride, crop, extra = (
        v if isinstance(v, tuple) else (v,) * ndim
        for v in (params.get("stride", 1), params.get("padding", 0), params.get("output_padding", 0))
    )
    sizes = tuple((i - 1) * s - 2 * p + k + e for i, s, p, k, e in zip(x[2:], stride, crop, w[2:], extra, strict=True))
    groups = params.get("groups", 1)
    pads = tuple((p, p - e) for p, e in zip(crop, extra, strict=True))
    big = (x[0], w[1] * groups, *sizes)
    return _case(name, why, big, w, stride=stride, padding=pads, groups=groups)


# fmt: off
# few shapes, so that compilers meet each only once, and few taps, since they unroll each
X1, W1, V1 = (2, 4, 9), (3, 4, 3), (3, 4, 2)
X2, W2, V2 = (2, 2, 7, 6), (3, 2, 2, 3), (3, 2, 2, 2)

GEOMETRIES = (
    _case("plain 1-D", "the smallest case that has everything", X1, W1),
    _case("padded", "the first and last taps miss the border", X1, W1, padding=1),
    _case("padding beyond the kernel", "whole windows meet nothing but padding", X1, V1, padding=4),
    _case("asymmetric padding", "low and high exchanged", X1, V1, padding=((2, 0),)),
    _case("asymmetric padding, other side", "low and high exchanged, seen from the other side", X1, V1, padding=((0, 2),)),
    _case("causal", "no output may see its future", X1, V1, padding=((2, 0),), dilation=1),
    _case("cropped", "negative padding drops input, whose cotangent is zero", X1, V1, padding=-1),
    _case("mixed-sign padding", "one side pads, the other crops", X1, V1, padding=((2, -1),)),
    _case("stride 2", "every second window", X1, V1, stride=2),
    _case("stride with remainder", "the last inputs are never read", (2, 4, 10), V1, stride=3),
    _case("stride over kernel", "gaps between windows: cotangents of zero", X1, (3, 4, 2), stride=3),
    _case("stride equal to kernel", "windows that do not overlap (patchify)", X1, W1, stride=3),
    _case("stride over input", "one window is left", X1, V1, stride=20),
    _case("dilation 2", "taps apart", X1, W1, dilation=2),
    _case("dilation over input", "only the middle tap meets the input", X1, W1, dilation=9, padding=9),
    _case("stride 2, dilation 2", "a common factor of output and tap steps", X1, V1, stride=2, dilation=2, padding=1),
    _case("stride 3, dilation 2", "coprime steps", X1, V1, stride=3, dilation=2, padding=((2, 1),)),
    _case("stride 2, dilation 3", "coprime steps, the other way", X1, V1, stride=2, dilation=3, padding=((1, 3),)),
    _case("input dilation 2", "the transposed kind of step", X1, V1, input_dilation=2),
    _case("input dilation 3, stride 2", "coprime: a meeting every sixth position", X1, V1, input_dilation=3, stride=2),
    _case("input dilation 2, stride 2", "a common factor: half the taps meet nothing", X1, W1, input_dilation=2, stride=2),
    _case("input dilation 4, stride 6", "a common factor that is neither step", X1, V1, input_dilation=4, stride=6, padding=3),
    _case("input dilation, odd padding", "the parity decides which taps meet", X1, W1, input_dilation=2, stride=2, padding=1),
    _case("all steps", "three coprime steps and two paddings at once",
          X1, W1, stride=3, dilation=2, input_dilation=5, padding=((4, -1),)),
    _case("input dilation, cropped", "cropping cuts between two inputs", X1, V1, input_dilation=3, padding=((-1, -2),)),
    _case("1x1 kernel", "a plain matrix product", X1, (3, 4, 1)),
    _case("1x1 kernel, stride 2", "a matrix product of every second position", X1, (3, 4, 1), stride=2),
    _case("kernel as long as the input", "one output: a dense layer", X1, (3, 4, 9)),
    _case("full correlation", "every overlap, as scipy's mode='full'", (2, 4, 5), (3, 4, 5), padding=4),
    _case("even kernel, same", "the odd padding goes to the end", X1, (3, 4, 4), padding=((1, 2),)),
    _case("empty output", "the kernel is longer than the input: no element, no error", (2, 4, 2), W1),
    _case("empty batch", "no sample: gradients of zeros", (0, 4, 9), W1),
    _case("empty kernel", "no tap: zeros", X1, (3, 4, 0), padding=((0, 0),)),
    _case("empty input, padded", "all of the input is padding", (2, 4, 0), W1, padding=3),
    _case("no input channel", "empty sums are zero", (2, 0, 9), (6, 0, 2)),
    _case("one of everything", "lengths of 1 must not broadcast wrongly", (1, 1, 1), (1, 1, 1)),
    _case("groups 2", "two convolutions side by side", X1, (6, 2, 2), groups=2),
    _case("depthwise", "one group per channel", X1, (4, 1, 3), groups=4, padding=1),
    _case("depthwise, multiplier 2", "two outputs per channel: k runs faster than the group", X1, (8, 1, 2), groups=4),
    _case("groups and all steps", "the group must not move the geometry",
          X1, (6, 2, 2), groups=2, stride=2, dilation=2, input_dilation=3, padding=((1, 2),)),
    _case("plain 2-D", "two axes of different lengths, kernel 2 x 3", X2, W2),
    _case("2-D, all axes different", "axes exchanged anywhere",
          X2, W2, stride=(2, 1), dilation=(1, 2), padding=((1, 0), (2, 1))),
    _case("2-D, one axis transposed", "a step of each kind", X2, V2, stride=(1, 2), input_dilation=(2, 1), padding=((0, 1), (1, 1))),
    _case("2-D, groups", "groups with two axes", X2, (4, 1, 2, 3), groups=2, padding=1),
    _case("plain 3-D", "three axes", (1, 2, 3, 4, 5), (2, 2, 2, 1, 2), stride=(1, 2, 1), padding=((1, 0), (0, 0), (0, 1))),
    _case("no spatial axis", "a dense layer: one meeting", (3, 4), (6, 4)),
    _case("no spatial axis, groups", "a block-diagonal dense layer", (3, 4), (6, 2), groups=2),
)

LAYERS = (
    _case("resnet50-conv2-3x3", "ResNet-50", (2, 4, 7, 7), (4, 4, 3, 3), padding=1),
    _case("resnet50-conv4-3x3", "ResNet-50, more channels than positions", (2, 16, 4, 4), (16, 16, 3, 1), padding=((1, 1), (0, 0))),
    _case("resnet50-stem-7x7-s2", "ResNet-50, three input channels", (1, 3, 10, 11), (4, 3, 3, 2), stride=2, padding=1),
    _case("resnet50-down-3x3-s2", "ResNet-50, stride 2 on an even size", (2, 4, 8, 8), (4, 4, 3, 2), stride=2, padding=1),
    _case("resnet50-1x1", "ResNet-50, bottleneck", (2, 8, 7, 7), (4, 8, 1, 1)),
    _case("resnext50-3x3-g32", "ResNeXt-50, 4 groups", (2, 8, 6, 6), (8, 2, 2, 3), groups=4, padding=1),
    _case("depthwise-3x3", "jax#23713", (1, 8, 7, 7), (8, 1, 2, 3), groups=8, padding=1),
    _case("convnext-depthwise-7x7", "ConvNeXt", (2, 4, 7, 7), (4, 1, 4, 2), groups=4, padding=((2, 1), (1, 0))),
    _case("mobilenet-depthwise-3x3-s2", "MobileNetV2", (2, 6, 8, 8), (6, 1, 3, 2), groups=6, stride=2, padding=1),
    _case("depthwise-1d-k5", "jax#13800", (4, 8, 16), (8, 1, 5), groups=8, padding=2),
    _transposed("dcgan-transposed-4x4-s2", "DCGAN", (2, 8, 4, 4), (8, 4, 4, 2), stride=2, padding=(1, 0)),
    _transposed("transposed-3d-k3-s2", "jax#31662, one output channel", (1, 4, 3, 3, 2), (4, 1, 3, 2, 1),
                stride=2, padding=(1, 0, 0), output_padding=(1, 0, 1)),
    _transposed("transposed-1d-vocoder", "HiFi-GAN, stride half of the kernel", (2, 8, 8), (8, 4, 6), stride=3, padding=2),
    _case("unet3d-3x3x3", "3D U-Net", (1, 4, 4, 4, 4), (4, 4, 3, 2, 1), padding=((1, 1), (1, 0), (0, 0))),
    _case("deeplab-dilated-3x3-d12", "DeepLabv3, dilation 4", (1, 8, 11, 11), (8, 8, 3, 2), dilation=4, padding=(4, 2)),
    _case("wavenet-dilated-1d-causal", "WaveNet, dilation 32", (2, 4, 128), (8, 4, 2), dilation=32, padding=((32, 0),)),
    _case("vit-patchify-16x16-s16", "ViT-S/16, patches of 3 x 2", (2, 3, 9, 12), (8, 3, 3, 2), stride=(3, 2)),
    _case("conv1d-k5-speech", "Tacotron 2 encoder", (2, 8, 16), (8, 8, 5), padding=2),
    _case("long-causal-depthwise", "Hyena, kernel as long as the sequence", (2, 4, 8), (4, 1, 8), groups=4, padding=((7, 0),)),
    _case("replknet-depthwise-31x31", "RepLKNet", (1, 4, 6, 6), (4, 1, 5, 2), groups=4, padding=((2, 2), (1, 0))),
)
# fmt: on
