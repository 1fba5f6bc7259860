"""How each library computes a case's contractions through its public API.

Each runner takes a case and NumPy arrays ``x w g`` and gives ``y gx gw`` as NumPy arrays. On NumPy and array-api-strict the
VJPs come from `triconv.vjp`, under jit from `jax.vjp` and on torch from autograd, so that the rule table and its binding are
checked with the kernels; JAX run eagerly calls the three contractions themselves. Compiling takes most of the time, so what JAX
compiles is compiled for several cases at once.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from triconv.backends import BACKENDS, Standard, quick_xla
from triconv.checking.oracles.cases import Case
from triconv.operators import conv, conv_input_vjp, conv_weight_vjp
from triconv.operators.derivatives import vjp

KEPT = 32
"""Programs of single cases that are kept: somebody who mends a function checks it again and again in one geometry."""

Three = tuple[np.ndarray, np.ndarray, np.ndarray]
Runner = Callable[[Case, np.ndarray, np.ndarray, np.ndarray], Three | None]


class Compiled:
    """A function of JAX that is compiled for one case, or for several in one program, which takes less time.

    Parameters
    ----------
    three : callable
        Takes a case and JAX arrays x, w, g; returns y, gx, gw.
    can : callable
        Whether it can express a case; for others its result is None.
    """

    def __init__(self, three: Callable[..., Any], can: Callable[[Case], bool] = lambda _: True) -> None:
        self._three, self._can = three, can
        self._of_case = functools.lru_cache(maxsize=KEPT)(self._quickly_compiled)

    def __call__(self, case: Case, x: Any, w: Any, g: Any) -> Three | None:
        """Return the result for one case, whose program is kept for its next question."""
        return _three(self._of_case(case)(x, w, g)) if self._can(case) else None

    def _quickly_compiled(self, case: Case) -> Callable[..., Any]:
        """Return the program of one case; most of a check of a broken function would be XLA optimizing it."""
        import jax

        options = quick_xla.options() if jax.default_backend() == "cpu" else None
        return jax.jit(lambda x, w, g: self._three(case, x, w, g), compiler_options=options)

    def of_many(self, cases: Sequence[Case], data: Sequence[Sequence[Any]]) -> list[list[Three | None]]:
        """Return the results for several cases, for each of several lists of their arrays."""
        import jax

        able = [number for number, case in enumerate(cases) if self._can(case)]
        program = jax.jit(lambda arrays: [self._three(cases[n], *a) for n, a in zip(able, arrays, strict=True)])
        results: list[list[Three | None]] = []
        for arrays in data:
            found: list[Three | None] = [None] * len(cases)
            for number, three in zip(able, program([arrays[n] for n in able]), strict=True):
                found[number] = _three(three)
            results.append(found)
        return results


def _three(arrays: Any) -> Three:
    y, gx, gw = map(np.asarray, arrays)
    return y, gx, gw


def runners(name: str) -> dict[str, Runner]:
    """Return the runners of a backend, by the names they have in the table."""
    lib = BACKENDS[name].load()

    def plain(case: Case, x: Any, w: Any, g: Any) -> Three:
        y, pullback = vjp(conv, lib.asarray(x), lib.asarray(w), **case.params)
        return _numpy(lib, y, *pullback(lib.asarray(g)))

    def eager(case: Case, x: Any, w: Any, g: Any) -> Three:
        import jax

        a, b, c = map(jax.device_put, (x, w, g))
        y = conv(a, b, **case.params)
        gx = conv_input_vjp(c, b, input_size=case.x[2:], **case.params)
        gw = conv_weight_vjp(c, a, kernel_size=case.w[2:], **case.params)
        return _numpy(lib, y, gx, gw)

    def jitted(case: Case, x: Any, w: Any, g: Any) -> Any:
        import jax

        y, pullback = jax.vjp(lambda x, w: conv(x, w, **case.params), x, w)
        return y, *pullback(g)

    def autograd(case: Case, x: Any, w: Any, g: Any) -> Three:
        a, b = lib.asarray(x).requires_grad_(), lib.asarray(w).requires_grad_()
        y = conv(a, b, **case.params)
        y.backward(lib.asarray(g))
        return _numpy(lib, y, a.grad, b.grad)

    of_name: dict[str, dict[str, Runner]] = {
        "jax": {"jax": eager, "jax.jit": Compiled(jitted)},
        "torch": {"torch": autograd},
    }
    return of_name.get(name, {name: plain})


def _lax(case: Case, x: Any, w: Any, g: Any) -> Any:
    import jax

    y, pullback = jax.vjp(
        lambda x, w: jax.lax.conv_general_dilated(
            x,
            w,
            case.stride,
            case.padding,
            lhs_dilation=case.input_dilation,
            rhs_dilation=case.dilation,
            feature_group_count=case.groups,
            precision="highest",
        ),
        x,
        w,
    )
    return y, *pullback(g)


lax = Compiled(_lax, can=lambda case: 0 not in case.w[2:])
"""`jax.vjp` of `jax.lax.conv_general_dilated`; None for a kernel without taps, which XLA cannot express."""


def torch_autograd(case: Case, x: np.ndarray, w: np.ndarray, g: np.ndarray) -> Three | None:
    """Torch's autograd through its own convolution; None for what torch cannot express.

    Input dilation is written with an array of zeros, asymmetric and negative padding with `torch.nn.functional.pad`.
    """
    import torch
    from torch.nn import functional

    ndim = len(case.x) - 2
    if ndim not in (1, 2, 3) or 0 in (*case.x, *case.w, *case.g):
        return None
    a, b = torch.tensor(x, requires_grad=True), torch.tensor(w, requires_grad=True)
    spread = a
    if any(d > 1 for d in case.input_dilation):
        sizes = [d * (size - 1) + 1 for d, size in zip(case.input_dilation, case.x[2:], strict=True)]
        spread = torch.zeros(*case.x[:2], *sizes, dtype=a.dtype)
        spread[(..., *(slice(None, None, d) for d in case.input_dilation))] = a
    pads = [p for pair in reversed(case.padding) for p in pair]
    conv = {1: functional.conv1d, 2: functional.conv2d, 3: functional.conv3d}[ndim]
    y = conv(functional.pad(spread, pads), b, None, case.stride, 0, case.dilation, case.groups)
    y.backward(torch.tensor(g))
    assert a.grad is not None
    assert b.grad is not None
    return y.detach().numpy(), a.grad.numpy(), b.grad.numpy()


# the frameworks' own gradients, and the library each needs
ORACLES: dict[str, tuple[str, Runner]] = {"lax": ("jax", lax), "torch": ("torch", torch_autograd)}


def _numpy(lib: Standard, *arrays: Any) -> Three:
    y, gx, gw = (lib.to_numpy(a) for a in arrays)
    return y, gx, gw
