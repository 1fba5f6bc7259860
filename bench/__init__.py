"""The benchmark: ``python -m bench``, from the root of the repository.

It runs the convolutions of ``workloads.toml`` in one process, contestants in turn, and checks every result against the
others before it is timed. Only ratios of one run mean something.
"""
