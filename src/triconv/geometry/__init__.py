"""Integers only: which positions meet, sizes, padding, and axes in blocks over devices.

Everything that depends on stride, padding, dilation or transposition is settled here, before any array is touched. Read
`incidence` first.
"""

from triconv.geometry.geometry import Geometry, Phase
from triconv.geometry.incidence import Axis, Tap
from triconv.geometry.padding import Pads

__all__ = ["Axis", "Geometry", "Pads", "Phase", "Tap"]
