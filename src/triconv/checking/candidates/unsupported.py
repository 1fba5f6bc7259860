"""Tell a derivative or transform that a candidate does not have from one that raises, by the messages of JAX and torch.

The first is no fault, the second is. So each entry is a whole phrase of the library that nothing else contains, with the
exception that it comes in; an error that is in no entry is one of the candidate.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from types import FrameType

from triconv.checking.findings.unanswered import Ability, NotSupported

# of JAX 0.10 to 0.12; also NotImplementedError: a primitive without a rule, "Differentiation rule for 'f' not implemented"
JAX: tuple[tuple[type[Exception], str], ...] = (
    (TypeError, r"can't apply forward-mode (autodiff|differentiation) \(jvp\) to a custom_vjp function"),
    (ValueError, r"(Pure|IO|Buffer) callbacks do not support (JVP|transpose)"),
    (ValueError, r"Linearization failed to produce known values for all output primals"),
    (ValueError, r"Reverse-mode differentiation does not work for lax\.while_loop"),
    (ValueError, r"The FFI call to `.*` cannot be differentiated"),
    (AttributeError, r"No (VJP|JVP) defined for custom_(vjp|jvp) function"),
    (AttributeError, r"No batching rule defined for custom_vmap function"),
)
# NumPy, or Python's own control flow, that asks a traced array for its values
JAX_TRACED = (
    "TracerArrayConversionError",
    "TracerIntegerConversionError",
    "ConcretizationTypeError",
    "NonConcreteBooleanIndexError",
)
# of torch 2.11 to 2.13; also NotImplementedError: "You must implement the jvp function for custom autograd.Function"
TORCH: tuple[tuple[type[Exception], str], ...] = (
    (RuntimeError, r"must override the setup_context staticmethod"),
    (RuntimeError, r"does not have vmap support\. Please override and implement the vmap staticmethod"),
    (RuntimeError, r"trying to differentiate twice a function that was marked with @once_differentiable"),
    (RuntimeError, r"derivative for '?[\w:.]+'? is not implemented"),
    (RuntimeError, r"Trying to use forward AD with \S+ that does not support it"),
    (RuntimeError, r"jvp is not implemented for the c\+\+ API of custom Function"),
    (RuntimeError, r"Trying to backward through \S+ but no autograd formula was registered"),
    (RuntimeError, r"Batching rule not implemented for"),
    (RuntimeError, r"^vmap: "),
    (RuntimeError, r"Can't call numpy\(\) on Tensor that requires grad"),
    (RuntimeError, r"Cannot access data pointer of Tensor|doesn't have storage"),
    (RuntimeError, r"torch\.utils\.checkpoint is incompatible with \.grad\(\)"),
    (RuntimeError, r"don't yet support saved tensor hooks"),
    (RuntimeError, r"^During a grad \(vjp, jvp, grad, etc\) transform"),
    (RuntimeError, r"must be wrapped within a torch\.compile|is also wrapped within a torch\.compile"),
    (RuntimeError, r"torch\.compile with aot_autograd does not currently support double backward"),
)


class Unsupported(Exception):  # noqa: N818 (it is no error)
    """The candidate has no such derivative or transform; `finding` says why."""

    def __init__(self, finding: NotSupported) -> None:
        super().__init__(finding)
        self.finding = finding


def is_unsupported(problem: Exception, ability: Ability) -> bool:
    """Whether an error says that there is no such derivative or transform.

    Parameters
    ----------
    problem : Exception
        What the candidate raised when it was asked for one.
    ability : Ability
        What it was asked for.
    """
    if isinstance(problem, (Unsupported, NotImplementedError)):
        return True
    text = str(problem)
    if any(isinstance(problem, kind) and re.search(phrase, text) for kind, phrase in (*JAX, *TORCH)):
        return True
    jax, torch = sys.modules.get("jax"), sys.modules.get("torch")
    if jax is not None:
        if isinstance(problem, tuple(getattr(jax.errors, name) for name in JAX_TRACED)):
            return True
        # a kernel of Pallas that asks where in the grid it is cannot be differentiated, which is an assertion without words
        if isinstance(problem, AssertionError) and is_of_pallas(problem):
            return True
    # code that writes into a buffer of its own cannot be batched by torch, whose words are those of any wrong shape;
    # a batching rule of the candidate's is another thing
    return ability == Ability.VMAP and torch is not None and _is_from_torch(problem) and not _in_vmap_rule(problem)


def is_of_pallas(problem: Exception) -> bool:
    """Whether Pallas itself raised, whose kernels have a JVP along all arrays only, in some versions."""
    return any("jax/_src/pallas/" in file for file, _ in _frames(problem))


def _is_from_torch(problem: Exception) -> bool:
    return any(re.search(r"torch[/\\]_functorch[/\\]", file) for file, _ in _frames(problem))


def _in_vmap_rule(problem: Exception) -> bool:
    """Whether a batching rule of the candidate's was running."""
    return any(name in ("custom_function_call_vmap_helper", "register_vmap") for _, name in _frames(problem))


def _frames(problem: BaseException) -> Iterator[tuple[str, str]]:
    """File and function of every frame; JAX keeps those of its own in the cause."""
    for error in (problem, problem.__cause__, problem.__context__):
        step = error.__traceback__ if error is not None else None
        while step is not None:
            frame: FrameType = step.tb_frame
            yield frame.f_code.co_filename.replace("\\", "/"), frame.f_code.co_name
            step = step.tb_next
