"""Public halo arithmetic for a convolution with sharded positions: an axis in blocks, and what the exchange costs."""

from __future__ import annotations

from triconv.geometry.sharded_axis import Scale, ShardedAxis, Transfer, scale

__all__ = ["Scale", "ShardedAxis", "Transfer", "scale"]
