"""PyTorch: what array-api-compat's torch lacks."""

from __future__ import annotations

import contextlib
import importlib.util
from collections.abc import Iterator
from typing import Any

import numpy as np

from triconv.backends.standard import Array, Standard, to_numpy


class Torch(Standard):
    """torch tensors."""

    name = "torch"
    distribution = "torch"
    requirement = "torch>=2.11,<2.14"
    module = "array_api_compat.torch"
    binding = "triconv.interop.torch"
    conjugates = True

    @classmethod
    def installed(cls) -> bool:
        """Whether torch can be imported here."""
        return importlib.util.find_spec("torch") is not None

    def devices(self) -> list[str]:
        """The CPU and every accelerator of this process."""
        import torch

        kind = torch.accelerator.current_accelerator()
        count = torch.accelerator.device_count() if kind is not None else 0
        return ["cpu", *(f"{kind.type}:{number}" for number in range(count) if kind is not None)]

    def accumulator(self, dtype: Any) -> Any:
        """As the standard one; unsigned integers, for which torch has no arithmetic, wrap in int64 (the same, modulo 2^64)."""
        if dtype in (self.xp.uint16, self.xp.uint32, self.xp.uint64):
            return self.xp.int64
        return super().accumulator(dtype)

    @contextlib.contextmanager
    def precision(self, level: str) -> Iterator[None]:
        """Float32 products in float32 (no TF32, no bfloat16), or as the user configured."""
        import torch

        before = torch.get_float32_matmul_precision()
        if level != "highest" or before == "highest":
            yield
            return
        torch.set_float32_matmul_precision("highest")
        try:
            yield
        finally:
            torch.set_float32_matmul_precision(before)

    def asarray(self, obj: Any, *, device: Any = None, dtype: Any = None) -> Array:
        """As a tensor, which stays in its autograd graph."""
        import torch

        if not isinstance(obj, torch.Tensor):
            obj = torch.tensor(to_numpy(obj))
        return obj.to(device=device, dtype=self.dtype(dtype))

    def to_numpy(self, array: Array) -> np.ndarray:
        """Detach and copy to the host; bfloat16, which NumPy lacks, as float32."""
        import torch

        array = array.detach().cpu().resolve_conj()
        return (array.float() if array.dtype == torch.bfloat16 else array).numpy()
