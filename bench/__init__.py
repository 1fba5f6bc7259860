"""The benchmark: ``python -m bench``, from the root of the repository.

It runs the convolutions of ``workloads.toml`` in one process, the implementations in turn. Each result is checked against the
others before it is timed. Only the ratios within a run can be compared. Read in this order: `workloads` (the grid),
`implementations` (what is compared), `measure` (checks and times), `report` (tables and a plot).
"""

import os

# Must be set before NumPy is imported. By default OpenBLAS's threads spin for 0.1 s after each product and delay the next timed
# run; 20 means 2**20 processor ticks, less than a millisecond.
os.environ.setdefault("OPENBLAS_THREAD_TIMEOUT", "20")
