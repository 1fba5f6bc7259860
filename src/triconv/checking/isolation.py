"""How a candidate is isolated, for the `isolate` of a check: see `Isolation`, and `candidates.isolated_candidate` for how."""

from __future__ import annotations

from triconv.checking.candidates.isolated_candidate import Isolation

__all__ = ["Isolation"]
