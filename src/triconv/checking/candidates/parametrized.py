"""Modules of torch whose kernel is computed from other parameters, as the kernel itself: weight norm, spectral norm, pruning.

A convolution of such a module is one of the kernel that it computes, not of the parameters that it keeps.
"""

from __future__ import annotations

import contextlib
from typing import Any

BY_HOOKS = ("weight_norm", "spectral_norm")
"""Of `torch.nn.utils`, before parametrizations: each has a function ``remove_...``."""


def keep_computed_weights(module: Any) -> None:
    """Let a module, a copy of the user's, keep the tensors that its parametrizations compute as parameters of their own.

    Those that raise stay as they are.
    """
    import torch
    from torch.nn.utils import parametrize, prune

    for part in list(module.modules()):
        if parametrize.is_parametrized(part):
            with contextlib.suppress(Exception):  # whatever code of the user raises
                computed = {name: getattr(part, name).detach().clone() for name in part.parametrizations}
                # torch's own removal takes the properties out of the class, which is that of the user's module too
                part.__class__ = type(part).__mro__[1]
                del part.parametrizations
                for name, a in computed.items():
                    part.register_parameter(name, torch.nn.Parameter(a))
        for hook in list(getattr(part, "_forward_pre_hooks", {}).values()):
            name = getattr(hook, "name", getattr(hook, "_tensor_name", None))
            removers = [getattr(torch.nn.utils, f"remove_{kind}") for kind in BY_HOOKS]
            for remove in [prune.remove, *removers] if isinstance(name, str) else ():
                with contextlib.suppress(ValueError):  # it is a hook of another kind
                    remove(part, name)
