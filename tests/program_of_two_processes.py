"""One of two processes of a program whose arrays are sharded over the devices of both; test_two_processes.py runs it.

Arguments: the port, the number of this process, and whether the other one is killed on the way.
"""

from __future__ import annotations

import os
import signal
import sys

import numpy as np

import triconv
from triconv.backends import quick_xla


def main(port, number, kill):
    quick = quick_xla.flags(quick_xla.options())
    os.environ["XLA_FLAGS"] = f"--xla_force_host_platform_device_count=4 {quick}"
    os.environ["JAX_PLATFORMS"] = "cpu"

    import jax

    jax.distributed.initialize(f"127.0.0.1:{port}", num_processes=2, process_id=number, heartbeat_timeout_seconds=10)
    assert (len(jax.local_devices()), len(jax.devices())) == (4, 8)
    mesh = jax.make_mesh((4, 2), ("space", "data"), axis_types=(jax.sharding.AxisType.Auto,) * 2)
    spec, params = jax.P("data", None, "space"), {"stride": 2, "padding": [(2, 1)]}

    rng = np.random.default_rng(0)
    x, w = (rng.integers(-3, 4, shape).astype(np.float32) for shape in ((4, 3, 16, 9), (5, 3, 5, 3)))
    params["padding"] = [(2, 1), (1, 1)]
    y = triconv.conv(x, w, **params)
    truth = (
        y,
        triconv.conv_input_vjp(y, w, input_size=x.shape[2:], **params),
        triconv.conv_weight_vjp(y, x, kernel_size=w.shape[2:], **params),
    )

    def sharded(a, spec):
        return jax.make_array_from_callback(a.shape, jax.sharding.NamedSharding(mesh, spec), lambda index: a[index])

    @jax.jit
    def three(x, w):
        y, pullback = jax.vjp(lambda x, w: triconv.jax.conv_sharded(x, w, mesh, spec, **params), x, w)
        return y, *pullback(y)

    arrays = sharded(x, spec), sharded(w, jax.P())
    for step in range(3):
        for found, right in zip(three(*arrays), truth, strict=True):
            for shard in found.addressable_shards:
                np.testing.assert_array_equal(np.asarray(shard.data), right[shard.index])
        if kill and number == 1 and step == 1:
            os.kill(os.getpid(), signal.SIGKILL)
    print("equal", flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3] == "kill")
