"""NumPy: the standard as it is."""

from __future__ import annotations

from triconv.backends.standard import Standard


class NumPy(Standard):
    """NumPy arrays."""

    name = "numpy"
    distribution = "numpy"
    module = "array_api_compat.numpy"
