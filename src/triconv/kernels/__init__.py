"""One algorithm a file, each with the same three faces, in array-API code only.

A kernel is a module with the functions::

    conv(x, w, geometry, lib)             y    (groups, n, k, *output)
    conv_input_vjp(g, w, geometry, lib)   gx   (groups, n, c, *input)
    conv_weight_vjp(g, x, geometry, lib)  gw   (groups, k, c, *kernel)

on the canonical arrays ``x (groups, n, c, *input)``, ``w (groups, k, c, *kernel)``, ``g (groups, n, k, *output)``, all of
the dtype to accumulate in, where at least one input, tap and output meet. ``lib`` is the arrays' library: its namespace
``lib.xp`` and the few things that the standard lacks. For the planner it has the function ``work(problem)``, what it does
(`triconv.kernels.work.Work`), and, if it cannot compute everything, ``obstacle(problem, backend)``, why not. To add one, write
the module and enter it in `triconv.planner.KERNELS`.

`direct` is the definition. The others think in windows: an input VJP is the convolution of the mirrored geometry, and one
with an input dilation is several without, `Geometry.phases`. They share: `phases` (from phases back to one array),
`blocks` (samples, groups and rows that fit into cache), `taps` (loops over many taps), `work`.

The errors of `direct`, `gemm` and `depthwise` are bounded element by element, ``(n + 1) u * conv(|x|, |w|)`` for ``n``
terms; small integers are exact. `fft` has its own bound, norm by norm. `vendor` has the framework's: the same where it
multiplies out. What XLA shares out among devices goes by its own convolution where that is split right, else by `unmerged`,
inside of `gemm`.
"""
