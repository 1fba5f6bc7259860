"""The implementations on torch tensors: torch's own operators, and both libraries through torch's autograd."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
import time
from collections.abc import Callable
from typing import Any

import numpy as np

import triconv

from .implementations import CONTRACTIONS, PLAIN, Prepared, Variant, set_count
from .workloads import Workload


def memory_format(channels: str, ndim: int) -> Any:
    """The torch memory format of arrays with their channels first or last; there is none for one spatial axis."""
    import torch

    last = {1: torch.contiguous_format, 2: torch.channels_last, 3: torch.channels_last_3d}[ndim]
    return last if channels == "last" else torch.contiguous_format


def _operands(work: Workload, variant: Variant) -> list[list[Any]]:
    """Sets of x, w and cotangent on the device; also sets torch's flags for the precision."""
    import torch

    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.backends.cudnn.benchmark = True
    tf32 = variant.precision != "highest"
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = tf32
    order, dtype = memory_format(variant.channels, work.ndim), getattr(torch, variant.dtype)
    arrays = [torch.tensor(a, device=device, dtype=dtype).to(memory_format=order) for a in work.arrays]
    copies = set_count(work, arrays[0].element_size()) if device == "cuda" else 1
    return [arrays, *([a.clone() for a in arrays] for _ in range(copies - 1))]


def wait(result: Any) -> Any:
    """Wait for the device."""
    import torch

    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return result


def _prepared(work: Workload, task: str, run: Callable[[int], Any], seconds: float = 0.0) -> Prepared:
    def result() -> list[np.ndarray]:
        return [work.laid_out(wait(run(0)).detach().float().cpu().numpy(), kernel=task == "weight_vjp")]

    return Prepared(run, wait, result, seconds)


def in_torch(work: Workload, task: str, variant: Variant = PLAIN) -> Prepared | None:
    """A contraction by torch's operators `convolution` and `convolution_backward`: the column "torch" beside JAX and NumPy."""
    import torch

    if task not in CONTRACTIONS:
        return None
    sets = _operands(work, variant)
    same = all(lo == hi for lo, hi in work.pad)
    flat = [size for pair in reversed(work.pad) for size in pair]
    pad = [lo for lo, _ in work.pad] if same else [0] * work.ndim
    extra = list(work.output_padding)
    params = (list(work.stride), pad, list(work.dilation), work.transposed, extra, work.groups)

    def padded(x: Any) -> Any:
        return x if same else torch.nn.functional.pad(x, flat)

    def cropped(gx: Any) -> Any:
        return gx if same else torch.nn.functional.pad(gx, [-size for size in flat])

    def backward(x: Any, w: Any, g: Any, *mask: bool) -> Any:
        return torch.ops.aten.convolution_backward(g, padded(x), w, None, *params, list(mask))

    tasks = {
        "forward": lambda x, w, g: torch.ops.aten.convolution(padded(x), w, None, *params),
        "input_vjp": lambda x, w, g: cropped(backward(x, w, g, True, False, False)[0]),
        "weight_vjp": lambda x, w, g: backward(x, w, g, False, True, False)[1],
    }

    def run(number: int) -> Any:
        with torch.no_grad():
            return tasks[task](*sets[number % len(sets)])

    return _prepared(work, task, run)


def by_triconv(work: Workload, precision: str = "highest") -> Callable[[Any, Any], Any]:
    """The workload by triconv's operators with torch's signatures, as a function of x and w."""
    name = f"conv_transpose{work.ndim}d" if work.transposed else f"conv{work.ndim}d"
    op = getattr(triconv, name)
    params: dict[str, Any] = {"stride": work.stride, "dilation": work.dilation, "groups": work.groups}
    params |= {"padding": work.pad, "precision": precision}
    if work.transposed:
        params |= {"padding": tuple(lo for lo, _ in work.pad), "output_padding": work.output_padding}
    return lambda x, w: op(x, w, **params)


def by_functional(work: Workload) -> Callable[[Any, Any], Any]:
    """The workload by `torch.nn.functional`; padding that differs on two sides is a call of `pad` before."""
    from torch.nn import functional

    name = f"conv_transpose{work.ndim}d" if work.transposed else f"conv{work.ndim}d"
    op = getattr(functional, name)
    params: dict[str, Any] = {"stride": work.stride, "dilation": work.dilation, "groups": work.groups}
    if work.transposed:
        params |= {"output_padding": work.output_padding}
    if all(lo == hi for lo, hi in work.pad):
        params["padding"] = tuple(lo for lo, _ in work.pad)
        return lambda x, w: op(x, w, **params)
    flat = [size for pair in reversed(work.pad) for size in pair]
    return lambda x, w: op(functional.pad(x, flat), w, **params)


def by_autograd(
    work: Workload, task: str, conv: Callable[[Any, Any], Any], variant: Variant = PLAIN, *, compiled: bool = False
) -> Prepared:
    """A contraction as users of torch run it, eager or under `torch.compile`.

    The forward runs under `no_grad`; a VJP is `torch.autograd.grad` of a forward that was recorded before, once for all runs.
    """
    import torch

    call, sets = conv, _operands(work, variant)
    if compiled:
        _own_cache()
        call = torch.compile(conv, dynamic=False)
    start = time.perf_counter()
    if task == "forward":

        def run(number: int) -> Any:
            x, w, _ = sets[number % len(sets)]
            with torch.no_grad():
                return call(x, w)

    else:
        recorded = []
        for x, w, g in sets:
            leaf = (x if task == "input_vjp" else w).requires_grad_()
            recorded.append((call(x, w), leaf, g))

        def run(number: int) -> Any:
            y, leaf, g = recorded[number % len(recorded)]
            return torch.autograd.grad(y, leaf, g, retain_graph=True)[0]

    wait(run(0))
    return _prepared(work, task, run, time.perf_counter() - start if compiled else 0.0)


def forget_compiled() -> None:
    """Have `torch.compile` start anew: it compiles a function at most eight times, and then runs it eagerly."""
    import torch

    torch.compiler.reset()


def _own_cache() -> None:
    """Give `torch.compile` a folder of its own, so that no earlier run shortens its compile times."""
    if "TORCHINDUCTOR_CACHE_DIR" not in os.environ:
        folder = os.environ["TORCHINDUCTOR_CACHE_DIR"] = tempfile.mkdtemp(prefix="triconv-bench-")
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
