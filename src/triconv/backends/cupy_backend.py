"""CuPy: the operations that the array API standard lacks, on a CUDA device."""

from __future__ import annotations

import contextlib
import importlib.util
from typing import Any

import array_api_compat
import numpy as np

from triconv.backends.base import Array, Standard


class CuPy(Standard):
    """CuPy arrays; written to the standard, and not yet run on a machine with a GPU."""

    name = "cupy"
    distribution = "cupy-cuda13x"
    requirement = "cupy-cuda13x>=13.6"
    module = "array_api_compat.cupy"
    converter = "cupy.asarray"

    @classmethod
    def owns(cls, xp: Any) -> bool:
        """Whether an array namespace is this library's."""
        return array_api_compat.is_cupy_namespace(xp)

    @classmethod
    def installed(cls) -> bool:
        """Whether CuPy can be imported here."""
        return importlib.util.find_spec("cupy") is not None

    @classmethod
    def version(cls) -> str:
        """Version of CuPy, whichever of its distributions is installed."""
        import cupy

        return cupy.__version__

    def devices(self) -> list[str]:
        """The CUDA devices."""
        import cupy

        return [f"cuda:{number}" for number in range(cupy.cuda.runtime.getDeviceCount())]

    def precision(self, level: str) -> contextlib.AbstractContextManager[Any]:
        """CuPy computes float32 products in float32 unless its own environment variable says TF32."""
        return super().precision(level)

    def device_kind(self, array: Array | None = None) -> str:
        """A CUDA device."""
        return "gpu"

    def timed(self, function: Any) -> Any:
        """A function that waits for its result."""
        import cupy

        def run(*arrays: Array) -> None:
            function(*arrays)
            cupy.cuda.get_current_stream().synchronize()

        return run

    def to_numpy(self, array: Array) -> np.ndarray:
        """Copy to the host."""
        return array.get()
