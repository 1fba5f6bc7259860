"""Public halo arithmetic for a convolution with sharded positions: an axis in blocks, and what the exchange costs.

`ShardedAxis` says which inputs a device needs from its neighbours, by the incidence equation; `triconv.jax.conv_sharded`
sends them.

A plan for scale
----------------
`scale` computes what a device holds and sends, and has the formula. The tests check it against a simulation of
the exchange, and against the bytes that the compiled programs send.

Sending takes longer than computing if ``halos / bandwidth > multiply-adds / rate``. The last column is the bandwidth at which
both take equally long. The rate is that which the benchmark measured for the first layer on two cores: 6.4e10 multiply-adds
per second (32 to 32 channels, 3x3x3: 14.2 ms for 906 million). The bandwidth grows in proportion to the rate. The layers are
one of a 3-D U-Net (3x3x3, 32 to 32 channels, 2048^3 voxels) and one of a WaveNet (2 taps 512 apart, 64 to 128 channels, 2^30
samples)::

    layer       devices       MiB on each   sent: forward,   sent:        multiply-adds   break-even
                                            input VJP        weight VJP   of each
    3-D U-Net       8 = 2^3       262,144          385 MiB      385 MiB         3.0e+13     0.9 MB/s
    3-D U-Net      64 = 4^3        32,768          193 MiB      193 MiB         3.7e+12     3.5 MB/s
    3-D U-Net     512 = 8^3         4,096           48 MiB       49 MiB         4.6e+11     7.0 MB/s
    3-D U-Net   4,096 = 16^3          512           12 MiB       12 MiB         5.8e+10    14.1 MB/s
    WaveNet         8              98,304          128 KiB      240 KiB         2.2e+12   0.004 MB/s
    WaveNet        64              12,288          128 KiB      254 KiB         2.7e+11   0.030 MB/s
    WaveNet       512               1,536          128 KiB      256 KiB         3.4e+10   0.243 MB/s
    WaveNet     4,096                 192          128 KiB      256 KiB         4.3e+09   1.946 MB/s
"""

from __future__ import annotations

from triconv.geometry.sharded_axis import Scale, ShardedAxis, Transfer, scale

__all__ = ["Scale", "ShardedAxis", "Transfer", "scale"]
