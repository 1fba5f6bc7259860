"""Every use of torch's private names, each in a function of its own; `tests/test_torch_internals.py` has the canaries."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import bfloat16, is_grad_enabled, strided
from torch._C import _current_graph_task_id as running_backward
from torch._C import _get_tracing_state as tracing_state
from torch._C import _is_any_autocast_enabled as is_autocast
from torch._C import _len_torch_dispatch_stack as dispatch_modes
from torch._C import _len_torch_function_stack as function_modes
from torch._C._functorch import (
    TransformType,
    get_interpreter_stack,
    is_legacy_batchedtensor,
    peek_interpreter_stack,
    unwrap_if_dead,
)
from torch._dynamo import nonstrict_trace
from torch.autograd import Function, forward_ad
from torch.compiler import is_compiling
from torch.fx.experimental.symbolic_shapes import statically_known_true
from torch.utils._python_dispatch import TorchDispatchMode

Array = Any

__all__ = [
    "TorchDispatchMode",
    "apply_outside_transforms",
    "asked_for",
    "convolution_without_tf32",
    "has_bfloat16",
    "is_eager",
    "is_forward_mode",
    "is_legacy_batchedtensor",
    "is_recorded",
    "is_traced",
    "is_transformed",
    "is_view",
    "is_watched",
    "nonstrict_trace",
    "precision_flag",
    "set_parameters",
    "signature",
    "statically_known_true",
    "takes_autograd_functions",
    "unwrap_if_dead",
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
        peek_interpreter_stack() is not None
        or forward_ad._current_level >= 0
        or tracing_state() is not None
        or dispatch_modes() > 0
        or function_modes() > 0
        or is_autocast()
        or is_compiling()
    )


def signature(a: Array) -> Any:
    """What a plan reads of a dense tensor; None for others."""
    if a.layout is not strided or a.is_nested or is_legacy_batchedtensor(a):
        return None
    device = None if a.is_cpu else a.device
    if (dtype := a.dtype) is bfloat16:
        return dtype, a.shape, a.stride(), device, has_bfloat16()
    return dtype, a.shape, a.stride(), device


def is_recorded(arrays: Sequence[Array]) -> bool:
    """Whether autograd records what is computed on plain tensors."""
    if is_grad_enabled():
        for a in arrays:
            if a.requires_grad:
                return True
    return False


is_view = torch.Tensor._is_view
"""Whether a tensor is a view of another."""


def apply_outside_transforms(function: type[Function]) -> Callable[..., Array]:
    """``function.apply`` outside the transforms of `torch.func`, of arrays without dead wrappers (`unwrap_if_dead`)."""
    return super(Function, function).apply


# the last backward that was seen to use the cotangent of a weight or bias, by torch's number for it
_training: int | None = None


def asked_for(ctx: Any, needed: tuple[bool, ...]) -> tuple[bool, ...]:
    """Which of the cotangents that are `needed` the running backward uses, for an autograd function's tensors.

    `ctx.needs_input_grad` counts all that require one, so that ``torch.autograd.grad(y, x)`` would compute the weight's too.
    To ask takes as long as a small layer: where ``torch.autograd.grad`` returns the gradient of a leaf, torch answers with an
    error. So once a backward uses the cotangent of one layer's weight or bias, it is taken to use those of all layers after.
    """
    global _training  # noqa: PLW0603
    backward = running_backward()
    if backward == _training or sum(needed) < 2 or len(nodes := ctx.next_functions) != len(needed):
        return needed
    used = tuple(
        is_needed and (node is None or _is_executed(node)) for is_needed, (node, _) in zip(needed, nodes, strict=True)
    )
    if any(used[1:]):
        _training = backward
    return used


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
