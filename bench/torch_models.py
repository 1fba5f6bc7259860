"""Models in torch, channels first, whose `conv2d` is torch's or triconv's: nothing else differs."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import torch
from torch import nn

Array = Any
Conv = Callable[..., Array]


# scale of the last norm of a residual block, as in `flax_models`
RESIDUAL_SCALE = 0.2


class Conv2d(nn.Conv2d):
    """`nn.Conv2d` without a bias, by any function with the signature of ``torch.nn.functional.conv2d``."""

    def __init__(
        self, conv: Conv, c: int, k: int, size: int, stride: int = 1, groups: int = 1, pad: int | None = None
    ) -> None:
        padding = size // 2 if pad is None else pad
        super().__init__(c, k, size, stride, padding, groups=groups, bias=False)
        self.conv = conv

    def forward(self, x: Array) -> Array:
        """Apply the layer."""
        return self.conv(x, self.weight, None, self.stride, self.padding, self.dilation, self.groups)


class Block(nn.Module):
    """A residual block of ResNet-18."""

    def __init__(self, conv: Conv, c: int, k: int, stride: int) -> None:
        super().__init__()
        self.first, self.first_norm = Conv2d(conv, c, k, 3, stride), nn.BatchNorm2d(k)
        self.second, self.second_norm = Conv2d(conv, k, k, 3), nn.BatchNorm2d(k)
        nn.init.constant_(self.second_norm.weight, RESIDUAL_SCALE)
        self.short = nn.Identity()
        if c != k or stride > 1:
            self.short = nn.Sequential(Conv2d(conv, c, k, 1, stride), nn.BatchNorm2d(k))

    def forward(self, x: Array) -> Array:
        """Apply the block."""
        y = self.first_norm(self.first(x)).relu()
        return (self.short(x) + self.second_norm(self.second(y))).relu()


def resnet18(conv: Conv) -> nn.Module:
    """ResNet-18 (He et al. 2016)."""
    layers = [Conv2d(conv, 3, 64, 7, 2), nn.BatchNorm2d(64), nn.ReLU(), nn.MaxPool2d(3, 2, 1)]
    widths = (64, 64, 128, 256, 512)
    for stage, (c, k) in enumerate(pairwise(widths)):
        layers += [Block(conv, c, k, 2 if stage else 1), Block(conv, k, k, 1)]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(512, 1000))


class ChannelNorm(nn.LayerNorm):
    """A layer norm over the channels, which come first."""

    def forward(self, x: Array) -> Array:
        """Apply the layer."""
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class Stage(nn.Module):
    """A block of ConvNeXt, without layer scale and stochastic depth."""

    def __init__(self, conv: Conv, k: int) -> None:
        super().__init__()
        self.depthwise = Conv2d(conv, k, k, 7, groups=k)
        self.rest = nn.Sequential(nn.LayerNorm(k), nn.Linear(k, 4 * k), nn.GELU(), nn.Linear(4 * k, k))

    def forward(self, x: Array) -> Array:
        """Apply the block."""
        return x + self.rest(self.depthwise(x).permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


def convnext(conv: Conv) -> nn.Module:
    """ConvNeXt-T (Liu et al. 2022)."""
    layers: list[nn.Module] = [Conv2d(conv, 3, 96, 4, 4, pad=0), ChannelNorm(96)]
    c = 96
    for k, count in ((96, 3), (192, 3), (384, 9), (768, 3)):
        if k != c:
            layers += [ChannelNorm(c), Conv2d(conv, c, k, 2, 2, pad=0)]
        layers += [Stage(conv, k) for _ in range(count)]
        c = k
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(768, 1000))


# a model and the shape of its input: as in `flax_models`
MODELS: dict[str, tuple[Callable[[Conv], nn.Module], tuple[int, ...]]] = {
    "resnet18": (resnet18, (4, 3, 128, 128)),
    "convnext": (convnext, (2, 3, 128, 128)),
}


def step(name: str, conv: Conv, channels: str = "first") -> Callable[..., list[Array]]:
    """Return a function that gives the loss, the mean square of the output as in `flax_models`, and its gradients.

    Its argument `nudge` changes the input by this part, at random.
    """
    make, shape = MODELS[name]
    order = torch.channels_last if channels == "last" else torch.contiguous_format
    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.manual_seed(0)
    model = make(conv).to(device, memory_format=order)
    x = torch.randn(shape, generator=torch.Generator().manual_seed(1)).to(device, memory_format=order)
    params = list(model.parameters())

    noise = torch.randn(shape, generator=torch.Generator().manual_seed(2)).to(x)

    def run(nudge: float = 0.0) -> list[Array]:
        loss = model(x * (1 + nudge * noise) if nudge else x).square().mean()
        return [loss.detach(), *torch.autograd.grad(loss, params)]

    return run
