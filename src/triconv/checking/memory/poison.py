"""Memory that holds other numbers: results that are not written in full show it.

No flag of a library is changed, and no other thread sees any of it. What NumPy asks for in this context is filled
(`numpy_memory.py`), and what the candidate asks of torch in this thread. For all others, buffers of the sizes that a candidate
will ask for are filled and freed, so that the next ones of these sizes are likely to be those.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from triconv.checking.memory.numpy_memory import filled

BUFFERS = 8
"""Buffers of each size: NumPy keeps up to seven freed ones of each small size."""
BYTE = 0x7F
"""Of every byte: 3.4e38 in float32, 1.4e306 in float64, NaN in float16."""
HUGE = 1e30
"""Larger than any result of the small integers that are asked."""


@contextlib.contextmanager
def poisoned(framework: str, device: Any, sizes: Sequence[int]) -> Iterator[None]:
    """Within it, fresh memory holds numbers that no result has.

    Parameters
    ----------
    framework : str
        The library of the candidate.
    device : Any
        Where its arrays are; None for where the library puts them.
    sizes : sequence of int
        Bytes of the arrays that it takes and returns.
    """
    every = sorted({size for size in sizes if size})
    held = [np.full(size, BYTE, np.uint8) for size in every for _ in range(BUFFERS)]
    with filled(BYTE), _filled_by_torch(device, every) if framework == "torch" else contextlib.nullcontext():
        del held
        yield


@contextlib.contextmanager
def _filled_by_torch(device: Any, sizes: Sequence[int]) -> Iterator[None]:
    import torch

    from triconv.backends.torch_internals import TorchDispatchMode

    class Filled(TorchDispatchMode):
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            result = func(*args, **(kwargs or {}))
            if getattr(func, "overloadpacket", None) in empty:
                _fill(result)
            return result

    aten = torch.ops.aten
    empty = {
        aten.empty,
        aten.empty_like,
        aten.empty_strided,
        aten.new_empty,
        aten.new_empty_strided,
        aten.empty_permuted,
    }
    held = [torch.full((size,), BYTE, dtype=torch.uint8, device=device) for size in sizes for _ in range(BUFFERS)]
    with Filled():
        del held
        yield


def shows(a: np.ndarray) -> np.ndarray:
    """Say which elements of a result hold what the memory held before."""
    with np.errstate(all="ignore"):
        return np.asarray(~(np.abs(a.astype(np.complex128 if a.dtype.kind == "c" else np.float64)) < HUGE))


def is_left_over(a: np.ndarray) -> np.ndarray:
    """Say which elements of a result are of memory that was filled for an earlier call."""
    if a.dtype.kind not in "fc":
        return np.zeros(a.shape, bool)
    return np.asarray(a == np.frombuffer(bytes([BYTE] * a.dtype.itemsize), a.dtype)[0])


def _fill(a: Any) -> None:
    import torch

    if a.is_floating_point() or a.is_complex():
        a.fill_(float("nan"))
    elif a.dtype != torch.bool:
        a.fill_(BYTE)
