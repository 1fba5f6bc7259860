"""Right answers, and data for which they are exact. Nothing here shares code with the kernels, but for `real_size`.

`definition` has the loops by definition, `convolution` the problem that a check asks about. `projections` is the exact test at
real size, with `tap_sums`, `exact_transform` and `modular` below it. `drawn_data` and `wide_data` draw numbers. `bounds` says
how far rounding may move a result. `frameworks` and `runners` ask other libraries, and `cases` are those of the self-check.
"""
