"""The integers of a convolution: which positions meet, sizes, padding, and blocks of an axis over devices.

Everything that depends on stride, padding, dilation or transposition is decided here, before any array is touched. Read in
this order: `integers` (what users pass, checked), `lattice` (counting solutions), `incidence` (one axis), `padding` (its
spellings), `geometry` (all axes), `regrouping` (steps taken out of an axis), `sharded_axis` (one axis over devices),
`partition_spec` (which axes those are).
"""

from triconv.geometry.geometry import Geometry, Phase
from triconv.geometry.incidence import Axis, Tap
from triconv.geometry.padding import Pads

__all__ = ["Axis", "Geometry", "Pads", "Phase", "Tap"]
