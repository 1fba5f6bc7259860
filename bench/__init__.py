"""The benchmark: ``python -m bench``, from the root of the repository.

``README.md`` beside this file says how it measures, what was measured, and in which order to read the modules.
"""

import os

# Must be set before NumPy is imported. By default OpenBLAS's threads spin for 0.1 s after each product and delay the next timed
# run; 20 means 2**20 processor ticks, less than a millisecond.
os.environ.setdefault("OPENBLAS_THREAD_TIMEOUT", "20")
