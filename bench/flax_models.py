"""Models in Flax (linen, channels last) whose convolutions are lax's or triconv's: nothing else differs.

`nn.Conv` takes the convolution as an argument. `nn.ConvTranspose` does not, and `Transposed` stands for it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

import triconv.jax

Array = Any


class Convolutions(NamedTuple):
    """The two functions that a model calls: the signatures are those of `jax.lax`."""

    conv: Callable[..., Array]
    transpose: Callable[..., Array]


LAX = Convolutions(jax.lax.conv_general_dilated, jax.lax.conv_transpose)
TRICONV = Convolutions(triconv.jax.conv_general_dilated, triconv.jax.conv_transpose)


class Model(nn.Module):
    """A model with its convolutions."""

    by: Convolutions

    def conv(self, features: int, kernel: Sequence[int], stride: int = 1, **kwargs: Any) -> nn.Conv:
        """A convolution without a bias."""
        strides = (stride,) * len(kernel)
        return nn.Conv(features, kernel, strides, use_bias=False, conv_general_dilated=self.by.conv, **kwargs)

    def transposed(self, features: int, kernel: Sequence[int], stride: int) -> nn.Module:
        """A transposed convolution without a bias."""
        return Transposed(features, kernel, (stride,) * len(kernel), self.by.transpose)


class Transposed(nn.Module):
    """`nn.ConvTranspose`, with padding "SAME" and without a bias, by any function with the signature of lax's."""

    features: int
    kernel: Sequence[int]
    strides: Sequence[int]
    transpose: Callable[..., Array]

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Apply the layer."""
        w = self.param("kernel", nn.initializers.lecun_normal(), (*self.kernel, x.shape[-1], self.features))
        return self.transpose(x, w, self.strides, "SAME")


# scale of the last norm of a residual block, at first: with 1, dozens of layers amplify rounding to per cents of a gradient
RESIDUAL_SCALE = 0.2


def _norm(x: Array, scale: float = 1.0) -> Array:
    return nn.BatchNorm(use_running_average=False, scale_init=nn.initializers.constant(scale))(x)


def _relu6(x: Array) -> Array:
    return jnp.clip(_norm(x), 0, 6)


class ResNet(Model):
    """ResNet-18 or, with bottlenecks, ResNet-50 (He et al. 2016)."""

    blocks: Sequence[int]
    bottleneck: bool = False

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Logits of images."""
        x = nn.relu(_norm(self.conv(64, (7, 7), 2)(x)))
        x = nn.max_pool(x, (3, 3), (2, 2), "SAME")
        for stage, count in enumerate(self.blocks):
            for number in range(count):
                x = self.block(x, 64 * 2**stage, 2 if stage and not number else 1)
        return nn.Dense(1000)(x.mean((1, 2)))

    def block(self, x: Array, features: int, stride: int) -> Array:
        """A residual block."""
        layers = ((features, 3, stride), (features, 3, 1))
        if self.bottleneck:
            layers = ((features, 1, 1), (features, 3, stride), (4 * features, 1, 1))
        y = x
        for number, (out, size, step) in enumerate(layers):
            scale = RESIDUAL_SCALE if number == len(layers) - 1 else 1.0
            y = _norm(self.conv(out, (size, size), step)(nn.relu(y) if number else y), scale)
        if x.shape != y.shape:
            x = _norm(self.conv(y.shape[-1], (1, 1), stride)(x))
        return nn.relu(x + y)


class ConvNeXt(Model):
    """ConvNeXt-T (Liu et al. 2022), without layer scale and stochastic depth."""

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Logits of images."""
        x = nn.LayerNorm()(self.conv(96, (4, 4), 4)(x))
        for stage, (features, count) in enumerate(((96, 3), (192, 3), (384, 9), (768, 3))):
            if stage:
                x = self.conv(features, (2, 2), 2)(nn.LayerNorm()(x))
            for _ in range(count):
                y = nn.LayerNorm()(self.conv(features, (7, 7), feature_group_count=features)(x))
                x = x + nn.Dense(features)(nn.gelu(nn.Dense(4 * features)(y)))
        return nn.Dense(1000)(x.mean((1, 2)))


class MobileNetV2(Model):
    """MobileNetV2 (Sandler et al. 2018)."""

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Logits of images."""
        x = _relu6(self.conv(32, (3, 3), 2)(x))
        stages = (
            (1, 16, 1, 1),
            (6, 24, 2, 2),
            (6, 32, 3, 2),
            (6, 64, 4, 2),
            (6, 96, 3, 1),
            (6, 160, 3, 2),
            (6, 320, 1, 1),
        )
        for expansion, features, count, stride in stages:
            for number in range(count):
                x = self.block(x, expansion, features, 1 if number else stride)
        x = _relu6(self.conv(1280, (1, 1))(x))
        return nn.Dense(1000)(x.mean((1, 2)))

    def block(self, x: Array, expansion: int, features: int, stride: int) -> Array:
        """An inverted residual."""
        wide = expansion * x.shape[-1]
        y = _relu6(self.conv(wide, (1, 1))(x)) if expansion > 1 else x
        y = _relu6(self.conv(wide, (3, 3), stride, feature_group_count=wide)(y))
        if x.shape != (*y.shape[:-1], features):
            return _norm(self.conv(features, (1, 1))(y))
        return x + _norm(self.conv(features, (1, 1))(y), RESIDUAL_SCALE)


class UNet3D(Model):
    """A 3-D U-Net (Cicek et al. 2016), three levels deep, with fewer channels."""

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Logits of every voxel."""
        skipped = []
        for features in (16, 32, 64):
            x = nn.relu(self.conv(features, (3, 3, 3))(x))
            x = nn.relu(self.conv(features, (3, 3, 3))(x))
            skipped.append(x)
            x = nn.max_pool(x, (2, 2, 2), (2, 2, 2))
        x = nn.relu(self.conv(128, (3, 3, 3))(x))
        for features in (64, 32, 16):
            x = self.transposed(features, (2, 2, 2), 2)(x)
            x = jnp.concatenate([x, skipped.pop()], -1)
            x = nn.relu(self.conv(features, (3, 3, 3))(x))
        return self.conv(2, (1, 1, 1))(x)


class DCGAN(Model):
    """The generator and the discriminator of DCGAN (Radford et al. 2016), one after the other, with half of the channels."""

    @nn.compact
    def __call__(self, z: Array) -> Array:
        """The discriminator's logit of each image that the generator makes of a vector `z`."""
        x = nn.relu(_norm(nn.Dense(4 * 4 * 512, use_bias=False)(z).reshape(-1, 4, 4, 512)))
        for features in (256, 128, 64):
            x = nn.relu(_norm(self.transposed(features, (4, 4), 2)(x)))
        x = jnp.tanh(self.transposed(3, (4, 4), 2)(x))
        x = nn.leaky_relu(self.conv(64, (4, 4), 2)(x), 0.2)
        for features in (128, 256, 512):
            x = nn.leaky_relu(_norm(self.conv(features, (4, 4), 2)(x)), 0.2)
        return nn.Dense(1)(x.reshape(len(x), -1))


class WaveNet(Model):
    """A stack of gated, causal, dilated convolutions (van den Oord et al. 2016)."""

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Logits of the next sample, at every sample."""
        x = self.conv(64, (2,), padding="CAUSAL")(x)
        total = 0.0
        for number in range(10):
            y = self.conv(128, (2,), padding="CAUSAL", kernel_dilation=2**number)(x)
            y = jnp.tanh(y[..., :64]) * nn.sigmoid(y[..., 64:])
            total = total + self.conv(128, (1,))(y)
            x = x + self.conv(64, (1,))(y)
        return self.conv(256, (1,))(nn.relu(self.conv(128, (1,))(nn.relu(total))))


class ConvLSTM(Model):
    """A convolutional LSTM (Shi et al. 2015): its convolution stands in a loop over time."""

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """The next image of a sequence (n, time, height, width, channels)."""
        cells = nn.scan(ConvLSTMCell, variable_broadcast="params", split_rngs={"params": False}, in_axes=1, out_axes=1)
        nothing = jnp.zeros((len(x), *x.shape[2:4], 32), x.dtype)
        (_, hidden), _ = cells(self.by)((nothing, nothing), x)
        return self.conv(1, (3, 3))(hidden)


class ConvLSTMCell(Model):
    """A step in time: all gates are one convolution."""

    @nn.compact
    def __call__(self, state: tuple[Array, Array], x: Array) -> tuple[tuple[Array, Array], None]:
        """The next memory and hidden state, and nothing."""
        memory, hidden = state
        gates = self.conv(4 * memory.shape[-1], (3, 3))(jnp.concatenate([x, hidden], -1))
        new, kept, written, shown = jnp.split(gates, 4, -1)
        memory = nn.sigmoid(kept) * memory + nn.sigmoid(written) * jnp.tanh(new)
        return (memory, nn.sigmoid(shown) * jnp.tanh(memory)), None


# a model and the shape of its input: a step takes 0.1 to 1 s on two cores
MODELS: dict[str, tuple[Callable[[Convolutions], Model], tuple[int, ...]]] = {
    "resnet18": (partial(ResNet, blocks=(2, 2, 2, 2)), (4, 128, 128, 3)),
    "resnet50": (partial(ResNet, blocks=(3, 4, 6, 3), bottleneck=True), (2, 128, 128, 3)),
    "convnext": (ConvNeXt, (2, 128, 128, 3)),
    "mobilenetv2": (MobileNetV2, (2, 96, 96, 3)),
    "unet3d": (UNet3D, (1, 32, 32, 32, 1)),
    "dcgan": (DCGAN, (8, 100)),
    "wavenet": (WaveNet, (2, 4096, 1)),
    "convlstm": (ConvLSTM, (2, 10, 32, 32, 1)),
}


def step(name: str, by: Convolutions) -> tuple[Callable[..., Any], tuple[Any, ...]]:
    """Return a function that gives the loss and its gradients, and its arguments: parameters, state and input.

    The loss is the mean square of the output: a convolution does not matter less for it than for a loss with labels.
    """
    make, shape = MODELS[name]
    model = make(by)
    x = jax.random.normal(jax.random.key(0), shape)
    # initialized by lax and as one program, for both alike: `init` runs the model once
    variables = jax.jit(make(LAX).init)(jax.random.key(1), x)
    params, state = variables["params"], {key: value for key, value in variables.items() if key != "params"}

    def loss(params: Any, state: Any, x: Any) -> tuple[Any, Any]:
        y, new = model.apply({"params": params, **state}, x, mutable=list(state))
        return (y**2).mean(), new

    return jax.value_and_grad(loss, has_aux=True), (params, state, x)
