"""Checks: oracles that know nothing of the kernels, bounds instead of tolerances, cases with the reason they are there."""
