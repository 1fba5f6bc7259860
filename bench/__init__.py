"""The benchmark: ``python -m bench``, from the root of the repository.

It runs the convolutions of ``workloads.toml`` in one process, the implementations in turn, and checks every result against the
others before it is timed. Only ratios of one run mean something.
"""

import os

# before NumPy is imported: else the threads of its products spin for 0.1 s after each product, and delay what is timed next
os.environ.setdefault("OPENBLAS_THREAD_TIMEOUT", "20")  # 2**20 ticks of a processor
