"""One algorithm a file, each with the same three faces, in array-API code only.

A kernel is a module with the functions::

    conv(x, w, geometry, lib)             y    (groups, n, k, *output)
    conv_input_vjp(g, w, geometry, lib)   gx   (groups, n, c, *input)
    conv_weight_vjp(g, x, geometry, lib)  gw   (groups, k, c, *kernel)

on the canonical arrays ``x (groups, n, c, *input)``, ``w (groups, k, c, *kernel)``, ``g (groups, n, k, *output)``, all of
the dtype to accumulate in. ``lib`` is the arrays' library: its namespace ``lib.xp`` and the few things that the standard
lacks. To add one, write the module and enter it in `triconv.planner.KERNELS`.
"""
