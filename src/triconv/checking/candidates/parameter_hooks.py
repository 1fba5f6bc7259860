"""The hooks of the parameters of a module of torch, which its copy does not have, and what they make of gradients.

Those of `register_hook` are part of any derivative; those of `register_post_accumulate_grad_hook` run in `backward` alone,
after the sum in `grad`.
"""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Sequence
from typing import Any

Training = Callable[[Sequence[Any], Any], list[Any]]
"""Of all arrays and the cotangent: what `backward` leaves in the `grad` of each array, None where it leaves nothing."""

HOOKS = ("_backward_hooks", "_post_accumulate_grad_hooks")


def hooked(module: Any, tensors: dict[str, Any]) -> dict[str, Any]:
    """Return the tensors that stand for a module's parameters, so that hooks of these see the gradients of one call."""
    out = dict(tensors)
    for name, p in module.named_parameters():
        functions = getattr(p, HOOKS[0], None)
        if functions and name in out and out[name].requires_grad:
            out[name] = out[name].view_as(out[name])  # the tensor itself may be that of another call too
            for function in functions.values():
                out[name].register_hook(function)
    return out


def training_step(given: Any, names: Sequence[str], inputs: int, args: tuple[Any, ...]) -> Training | None:
    """Return what trains a copy of a module for one step; None where no parameter of it has a hook, or no copy can be made.

    Parameters
    ----------
    given : torch.nn.Module
        The module of the user, which stays as it is.
    names : sequence of str
        Its parameters, in the order of the arrays after the inputs.
    inputs : int
        Number of inputs.
    args : tuple
        Arguments after the inputs.
    """
    given = getattr(given, "_orig_mod", given)  # a compiled one
    hooks = {name: [getattr(p, kind, None) for kind in HOOKS] for name, p in given.named_parameters()}
    if not any(any(found) for found in hooks.values()) or not hooks.keys() >= set(names):
        return None
    module = None
    with contextlib.suppress(Exception):  # whatever a part of it raises that cannot be copied
        module = copy.deepcopy(given)
    if module is None:
        return None
    for name, p in module.named_parameters():
        for kind, found in zip(HOOKS, hooks[name], strict=True):
            if found:
                setattr(p, kind, copy.copy(found))

    def train(arrays: Sequence[Any], g: Any) -> list[Any]:
        parameters = dict(module.named_parameters())
        module.to(g.dtype)
        for name, a in zip(names, arrays[inputs:], strict=False):
            parameters[name].data = a.detach().clone()
        for p in parameters.values():
            p.grad = None
        leaves = [a.detach().clone().requires_grad_() for a in arrays[:inputs]]
        module(*leaves, *args).backward(g)
        return [leaf.grad for leaf in (*leaves, *(parameters[name] for name in names))][: len(arrays)]

    return train
