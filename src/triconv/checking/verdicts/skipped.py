"""Whether a result that is zero everywhere is right for other numbers: then work is skipped by a test of the numbers."""

from __future__ import annotations

import numpy as np

from triconv.checking.candidates.candidates import as_numpy
from triconv.checking.verdicts.asking import ask_again, in_torch_order
from triconv.checking.verdicts.check_context import CheckContext
from triconv.checking.verdicts.probes import Probe

NEAR = 2.0**-4
"""Difference from the right result, over its largest element, of one that is not zero by mistake."""


def gives_others(context: CheckContext, probe: Probe) -> bool:
    """Whether a result that is zero for integers is right for random numbers, none of which is zero or equal to another.

    Parameters
    ----------
    context : CheckContext
        What is checked.
    probe : Probe
        What was asked.
    """
    right = probe.answer(context.right("random"))
    found = as_numpy(ask_again(probe, context.arrays["random"]))
    if found is None or not np.isfinite(found).all():
        return False
    found = in_torch_order(context, probe, found)
    size = np.abs(right).max(initial=0)
    return found.shape == right.shape and bool(np.abs(found - right).max(initial=0) <= NEAR * size)
