"""For JAX: drop-in replacements for the convolutions of `jax.lax`, and operators on arrays that are sharded over a mesh.

Read in this order: `lax_signatures` (the replacements) and `lax_arguments` (what they take), then `halo_exchange`
(collectives), `spatial_sharding` (the program of a sharded call) and `sharded_operators` (its public functions).

In model libraries
------------------
Flax lets one choose the convolution of a layer. An Equinox layer takes five lines:

>>> import jax, jax.numpy as jnp, triconv
>>> import equinox, flax.linen, flax.nnx
>>> layer = flax.nnx.Conv(3, 4, (3, 3), conv_general_dilated=triconv.jax.conv_general_dilated, rngs=flax.nnx.Rngs(0))
>>> layer(jnp.ones((2, 8, 8, 3))).shape
(2, 8, 8, 4)
>>> module = flax.linen.Conv(4, (3, 3), conv_general_dilated=triconv.jax.conv_general_dilated)
>>> module.apply(module.init(jax.random.key(0), jnp.ones((2, 8, 8, 3))), jnp.ones((2, 8, 8, 3))).shape
(2, 8, 8, 4)
>>> class Conv2d(equinox.nn.Conv2d):
...     def __call__(self, x, *, key=None):
...         p = dict(stride=self.stride, padding=self.padding, dilation=self.dilation, groups=self.groups)
...         bias = None if self.bias is None else self.bias[:, 0, 0]
...         return triconv.conv2d(x, self.weight, bias, **p)
>>> Conv2d(3, 4, 3, padding=1, key=jax.random.key(0))(jnp.ones((3, 8, 8))).shape
(4, 8, 8)

A network, trained four ways
----------------------------
Two convolutions and a linear map are trained on scikit-learn's handwritten digits: with lax, with triconv under `jit`, with
triconv on torch, and on NumPy with the hand-derived VJPs alone. The four loss curves are the same.

>>> import numpy as np, torch
>>> jax.config.update("jax_enable_x64", True)
>>> from sklearn.datasets import load_digits
>>> from sklearn.model_selection import train_test_split
>>> images, digits = load_digits(return_X_y=True)
>>> images, labels = images.reshape(-1, 1, 8, 8) / 16, np.eye(10)[digits]
>>> x_train, x_held, y_train, y_held = train_test_split(images, labels, random_state=0)
>>> def network(conv, p, x):
...     h = conv(x, p[0])
...     h = conv(h * (h > 0), p[1])
...     return (h * (h > 0)).reshape(len(x), -1) @ p[2].T
>>> def loss(conv, xp, p, x, y):  # mean cross-entropy
...     z = network(conv, p, x)
...     return (xp.log(xp.exp(z).sum(-1)) - (z * y).sum(-1)).mean()
>>> def with_jax(conv):
...     return jax.jit(jax.value_and_grad(lambda p, x, y: loss(conv, jnp, p, x, y)))
>>> def with_torch(p, x, y):
...     return torch.func.grad_and_value(lambda p: loss(triconv.conv2d, torch, p, x, y))(p)[::-1]
>>> def by_hand(p, x, y):
...     h1, pullback1 = triconv.vjp(triconv.conv2d, x, p[0])
...     h2, pullback2 = triconv.vjp(triconv.conv2d, h1 * (h1 > 0), p[1])
...     a2 = (h2 * (h2 > 0)).reshape(len(x), -1)
...     z = a2 @ p[2].T
...     softmax = np.exp(z) / np.exp(z).sum(-1, keepdims=True)
...     gz = (softmax - y) / len(x)
...     ga1, g1 = pullback2((gz @ p[2]).reshape(h2.shape) * (h2 > 0))
...     _, g0 = pullback1(ga1 * (h1 > 0))
...     return -np.log((softmax * y).sum(-1)).mean(), [g0, g1, gz.T @ a2]
>>> def train(value_and_grad, asarray):
...     rng = np.random.default_rng(0)
...     shapes = (8, 1, 3, 3), (16, 8, 3, 3), (10, 256)
...     p = [asarray(rng.normal(0, (2 / np.prod(shape[1:])) ** 0.5, shape)) for shape in shapes]
...     velocity, curve = [0, 0, 0], []
...     for step in range(160):
...         rows = rng.choice(len(x_train), 32, replace=False)
...         value, gradients = value_and_grad(p, asarray(x_train[rows]), asarray(y_train[rows]))
...         velocity = [0.9 * v + g for v, g in zip(velocity, gradients)]
...         p = [a - 0.1 * v for a, v in zip(p, velocity)]
...         curve.append(float(value))
...     z = network(triconv.conv2d, [np.asarray(a) for a in p], x_held)
...     return curve, float((z.argmax(-1) == y_held.argmax(-1)).mean())
>>> lax_curve, lax_accuracy = train(with_jax(lambda x, w: jax.lax.conv(x, w, (1, 1), "VALID")), jnp.asarray)
>>> lax_accuracy > 0.9
True
>>> for run in (with_jax(triconv.conv2d), jnp.asarray), (with_torch, torch.asarray), (by_hand, np.asarray):
...     curve, accuracy = train(*run)
...     print(np.allclose(curve, lax_curve, rtol=1e-9), accuracy > 0.9)
True True
True True
True True

Sharded arrays
--------------
Under `jax.jit`, arrays with sharded batch or channels stay sharded. The compiled programs have one all-reduce if the
mathematics has a sum (batch: the weight VJP; input channels: the forward; output channels: the input VJP; for more than 32
taps, a few), none for groups, and no all-gather.

For sharded positions there are `conv_sharded`, and `sharded` for any operator. Devices send only halos to their neighbours, by
collective permutes. Batch, channels and positions may be sharded together, over any axes of the mesh. Sizes need not divide by
the number of devices; strides, transposition and halos wider than a block follow from the incidence equation. Derivatives of
any order send the halos back and add them. Padding modes other than zeros, and VJPs of integers, raise an error.

They were run on 8 devices of one CPU and on two processes: 220 drawn meshes and geometries, forward and both VJPs, bit-equal
to one device.

>>> devices = len(jax.devices())
>>> mesh = jax.make_mesh((devices,), ("space",), axis_types=(jax.sharding.AxisType.Auto,))
>>> def sharded_loss(w, x):
...     return (triconv.jax.conv_sharded(x, w, mesh, jax.P(None, None, "space"), stride=2, padding=1) ** 2).sum()
>>> rng = np.random.default_rng(0)
>>> w, image = (jnp.asarray(rng.integers(-4, 5, shape), jnp.float32) for shape in ((4, 3, 3, 3), (1, 3, 50, 20)))
>>> ours = jax.jit(jax.grad(sharded_loss))(w, image)  # 50 rows over the devices
>>> on_one_device = jax.grad(lambda w, x: (triconv.conv(x, w, stride=2, padding=1) ** 2).sum())(w, image)
>>> bool((ours == on_one_device).all())
True

What is sent, and a plan for thousands of devices, are in `triconv.halo`.

Several processes
-----------------
Over several processes the program is the same. Start this once per process, with the address of process 0, its number, and the
number of processes: ``python program.py 127.0.0.1:12345 0 2 & python program.py 127.0.0.1:12345 1 2; wait``::

    import sys, jax, numpy as np, triconv

    address, number, processes = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    jax.distributed.initialize(address, num_processes=processes, process_id=number, heartbeat_timeout_seconds=10)
    mesh = jax.make_mesh((len(jax.devices()),), ("space",), axis_types=(jax.sharding.AxisType.Auto,))
    spec = jax.P(None, None, "space")
    x = np.random.default_rng(0).standard_normal((1, 8, 2**20), np.float32)
    w = np.random.default_rng(1).standard_normal((8, 8, 5), np.float32)
    x = jax.make_array_from_callback(x.shape, jax.NamedSharding(mesh, spec), lambda index: x[index])
    y = jax.jit(lambda x, w: triconv.jax.conv_sharded(x, w, mesh, spec, padding="same"))(x, w)
    y.block_until_ready()  # JAX can hang at exit with halos still on their way
    print(number, [shard.index[-1] for shard in y.addressable_shards])

Checking sharded programs
-------------------------
``triconv check --mesh 4,2`` checks this on 8 devices (of the CPU, if there are no others). With a target it shards the arrays
of your own function, compares the result with the definition on one device, exactly, names a missing sum over devices or a
wrong halo, and counts what the compiled programs send::

    triconv check mine.py:conv --like conv1d --shape 4,3,32 --shape 2,3,3 --padding 1 --mesh 4,2 --spec b,-,a

"""

from __future__ import annotations

from triconv.backends import BACKENDS

if not BACKENDS["jax"].installed():
    _msg = f"`triconv.jax` needs JAX; install it with: {BACKENDS['jax'].install_command()}"
    raise ImportError(_msg)

from triconv.jax.lax_signatures import conv_general_dilated, conv_transpose
from triconv.jax.sharded_operators import conv_sharded, sharded

__all__ = ["conv_general_dilated", "conv_sharded", "conv_transpose", "sharded"]
