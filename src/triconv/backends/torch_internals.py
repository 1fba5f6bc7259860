"""Every use of torch's private names, each in a function of its own; `tests/test_torch_internals.py` has the canaries."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch._C._functorch import TransformType, get_interpreter_stack, is_legacy_batchedtensor, peek_interpreter_stack
from torch._dynamo import nonstrict_trace
from torch.autograd import forward_ad
from torch.fx.experimental.symbolic_shapes import statically_known_true
from torch.utils._python_dispatch import TorchDispatchMode

Array = Any

__all__ = [
    "TorchDispatchMode",
    "asked_for",
    "convolution_without_tf32",
    "has_bfloat16",
    "is_eager",
    "is_forward_mode",
    "is_legacy_batchedtensor",
    "is_recorded",
    "is_traced",
    "is_transformed",
    "is_watched",
    "nonstrict_trace",
    "precision_flag",
    "set_parameters",
    "signature",
    "statically_known_true",
    "takes_autograd_functions",
]


def is_traced() -> bool:
    """Whether `torch.jit.trace` is recording."""
    return torch._C._get_tracing_state() is not None


def is_transformed() -> bool:
    """Whether a transform of `torch.func` is running."""
    return peek_interpreter_stack() is not None


def is_forward_mode() -> bool:
    """Whether a level of forward mode is open."""
    return forward_ad._current_level >= 0


def takes_autograd_functions() -> bool:
    """Whether the running transforms of torch accept autograd functions, and keep all of their derivatives.

    `torch.jit.trace` and `torch.func.functionalize` reject them; forward mode over forward mode drops mixed derivatives.
    """
    kinds = [level.key() for level in get_interpreter_stack() or ()]
    return not (is_traced() or kinds.count(TransformType.Jvp) > 1 or TransformType.Functionalize in kinds)


def is_eager(a: Array) -> bool:
    """Whether it is a plain tensor, and no transform, tracer, mode, autograd or subclass sees operations on it."""
    if type(a) is not torch.Tensor or (a.requires_grad and torch.is_grad_enabled()):
        return False
    return not (
        is_transformed()
        or torch._C._len_torch_dispatch_stack()
        or torch._C._len_torch_function_stack()
        or is_traced()
        or is_legacy_batchedtensor(a)
        or torch.compiler.is_compiling()
    )


def is_watched() -> bool:
    """Whether a transform, a tracer, a mode, autocast or forward mode sees what is called now."""
    return (
        is_transformed()
        or is_forward_mode()
        or is_traced()
        or torch._C._len_torch_dispatch_stack() > 0
        or torch._C._len_torch_function_stack() > 0
        or torch._C._is_any_autocast_enabled()
        or torch.compiler.is_compiling()
    )


def signature(a: Array) -> Any:
    """What a plan reads of a dense tensor; None for others."""
    if a.layout is not torch.strided or a.is_nested or is_legacy_batchedtensor(a):
        return None
    dtype = a.dtype
    flag = has_bfloat16() if dtype is torch.bfloat16 else None
    return dtype, a.shape, a.stride(), a.device, flag


def is_recorded(arrays: Sequence[Array]) -> bool:
    """Whether autograd records what is computed on plain tensors."""
    return torch.is_grad_enabled() and any(a.requires_grad for a in arrays)


def asked_for(ctx: Any, needed: tuple[bool, ...]) -> tuple[bool, ...]:
    """Which of the cotangents that are `needed` the running backward uses, for an autograd function's tensors.

    `ctx.needs_input_grad` counts all that require one, so that ``torch.autograd.grad(y, x)`` would compute the weight's too.
    """
    if sum(needed) < 2 or len(ctx.next_functions) != len(needed):
        return needed
    return tuple(
        is_needed and (node is None or _is_executed(node))
        for is_needed, (node, _) in zip(needed, ctx.next_functions, strict=True)
    )


def _is_executed(node: Any) -> bool:
    """Whether the running backward executes a node, or captures what it would accumulate: torch raises where it does that."""
    try:
        return torch._C._will_engine_execute_node(node)
    except RuntimeError:
        return True


def set_parameters(module: Any, parameters: Mapping[str, Array]) -> None:
    """Give a module other parameters, which may be results of autograd: torch's own way takes leaves alone."""
    for name, parameter in parameters.items():
        part, _, own = name.rpartition(".")
        module.get_submodule(part)._parameters[own] = parameter


def precision_flag(flags: Any) -> Callable[[], str]:
    """What reads the user's flag for float32 products in one call; `flags` is where torch has it."""
    return functools.partial(torch._C._get_fp32_precision_getter, flags.backend, flags.op)


def has_bfloat16() -> bool:
    """Whether torch's convolutions of bfloat16 on this CPU are oneDNN's."""
    if not torch.backends.mkldnn.is_available() or not torch.backends.mkldnn.enabled:
        return False
    return torch.ops.mkldnn._is_mkldnn_bf16_supported()


def convolution_without_tf32(x: Array, w: Array, *params: Any) -> Array:
    """Torch's own convolution without bias and TF32, by an argument; `params` are those of ``torch.ops.aten.convolution``."""
    cudnn = torch.backends.cudnn
    return torch.ops.aten._convolution(x, w, None, *params, cudnn.benchmark, cudnn.deterministic, cudnn.enabled, False)
