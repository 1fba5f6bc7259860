"""triconv: a differentiable reference for convolution.

Along one spatial axis, input ``i``, output ``o`` and tap ``t`` meet exactly when::

    input_dilation * i + pad_lo  =  stride * o + dilation * t            (the incidence equation)

Sum the product of the three tensors over every meeting and you have one number, linear in each of them::

    T(x, w, g) = sum over meetings of  x[n, c, i] * w[k, c, t] * g[n, k, o]

Its three partial derivatives are the three contractions of this library, and there is nothing else to derive::

    forward       conv(x, w)              y  = dT/dg
    input VJP     conv_input_vjp(g, w)    gx = dT/dx
    weight VJP    conv_weight_vjp(g, x)   gw = dT/dw

For a fixed tap the meetings are a pair of equally long strided slices, so that with a loop over the taps::

    for tap in geometry.taps():
        y[tap.output]  += w[tap.index]   @ x[tap.input]       # conv
        gx[tap.input]  += w[tap.index].T @ g[tap.output]      # conv_input_vjp
        gw[tap.index]  += g[tap.output]  @ x[tap.input].T     # conv_weight_vjp

where the matrices are ``w[k, c]``, and ``x`` and ``g`` with one column per position. The derivative of a contraction is again
one of the three, with the same geometry. "Convolution" is cross-correlation, as in torch and lax: the kernel is not flipped.

Letters: batch ``n``, input channel ``c``, output channel ``k``, input position ``i``, output position ``o``, tap ``t``; arrays
``x w b y``, cotangents ``g gx gw gb``, tangents ``dx dw dy``.

The rooms of the package, in the order in which data flows; each may import only those above it in this list. To see it all,
read `triconv.geometry`, `triconv.kernels.direct` and `triconv.rules`::

    geometry        integers: the incidence equation, sizes, padding, blocks over devices
    rules           the derivative table and the batching table
    backends        per array library, the few operations that the standard lacks
    kernels         the algorithms
    planning        which kernel computes a contraction
    contractions    the three contractions, not yet differentiable
    autodiff        the rules, registered with JAX and torch
    operators       the public functions, vjp and jvp, the backend switch
    tables          the incidence tables of a call, to look at
    jax, halo       replacements for lax's convolutions, and arrays that are sharded over a mesh
    checking        whether somebody's convolution is right, and if not, what is wrong
    cli             the command line

Examples
--------
>>> import numpy as np, triconv
>>> x, w = np.arange(6.0).reshape(1, 1, 6), np.array([[[1.0, 2.0]]])
>>> y, pullback = triconv.vjp(triconv.conv1d, x, w, stride=2)
>>> y
array([[[ 2.,  8., 14.]]])
>>> gx, gw = pullback(np.ones_like(y))
>>> gw
array([[[6., 9.]]])
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from triconv import operators
from triconv.checking.candidates.candidates import Rules
from triconv.checking.check import check
from triconv.checking.gradcheck import gradcheck
from triconv.operators import *  # noqa: F403 (its __all__ names the operators, and is part of ours)
from triconv.operators.backend_switch import Bound, backends, use
from triconv.operators.derivatives import jvp, vjp
from triconv.operators.explanation import explain

if TYPE_CHECKING:
    from triconv.tables.incidence_tables import show

__version__ = "0.1.0"

__all__ = ["Bound", "Rules", "backends", "check", "explain", "gradcheck", "jvp", "show", "use", "vjp"]
__all__ += operators.__all__

LAZY = ("halo", "jax")
"""Public submodules that are imported on first access; `triconv.jax` needs JAX."""

if TYPE_CHECKING:  # a type checker reads no `__getattr__`, which would hide misspelled names
    from triconv import halo as halo
    from triconv import jax as jax
else:

    def __dir__() -> list[str]:
        return sorted([*__all__, "__version__", *LAZY])

    def __getattr__(name: str) -> object:
        if name in LAZY:
            return importlib.import_module(f"triconv.{name}")
        if name == "show":  # its room is loaded when it is used
            return importlib.import_module("triconv.tables.incidence_tables").show
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
