"""The algorithms: each proposes schedules and executes the chosen one, in array-API code only.

A kernel is a module with three entry points::

    conv(x, w, schedule, lib)             y    (groups, n, k, *output)
    conv_input_vjp(g, w, schedule, lib)   gx   (groups, n, c, *input)
    conv_weight_vjp(g, x, schedule, lib)  gw   (groups, k, c, *kernel)

on the canonical arrays ``x (groups, n, c, *input)``, ``w (groups, k, c, *kernel)``, ``g (groups, n, k, *output)``, all of
the dtype to accumulate in, unless the kernel says otherwise, where at least one input, tap and output meet. ``lib`` is the
arrays' library: its namespace ``lib.xp`` and the few things that the standard lacks. For the planner it has

* ``schedules(problem, target)``: what it could do (`Schedule`) for a `Problem` on a `Target`;
* ``cost(schedule, problem, target)``: what that takes (`Cost`);
* ``RATIONALE``: why one would take it, in a few words;
* ``NARROW_FACTORS``, if operands of a narrower dtype may stay as they are, since ``lib.matmul`` and its like sum products in
  the dtype to accumulate in;
* ``is_apart(schedule)``, if a compiler had better not always keep its program apart from what stands around it;
* if it cannot compute everything, ``obstacle(problem, target)``: why not; if it is to be asked for by name,
  ``caution(problem, target)``: why.

To add one, write the module, enter it in `triconv.planning.planner.KERNELS`, and its name in ``tests/test_kernel_contract.py``.

Read `direct` first: it is the definition. Then `problem` (a contraction without its arrays), `target` (what it is computed on;
`target_file`: rates fitted on this machine), `schedule` (what a kernel will do), and `gemm`. All but `direct` think in windows:
an input VJP is the convolution of the transposed geometry, and a convolution whose input is dilated is several whose input is
not (`polyphase`). They loop over samples, groups and rows (`blocks`), and over many taps (`tap_loops`). Parts stand apart:

* `gemm`: windows as channels (`unfolding`), windows that do not overlap (`patches`), arrays whose channels stand last
  (`channels_last`), scatter-adds (`col2im`), arrays that are sharded (`spmd`).
* `depthwise`: products of rows (`row_products`), multiply-adds in place (`shifted`), taps as axes of one array (`tap_axes`).
* `vendor`: the forms of a call (`vendor_schedules`), arrays in an order that leaves no steps (`regrouped`), volumes along
  two axes (`merged_rows`, `planes`), negative padding (`cropping`), what a call costs (`vendor_cost`), and by which factors it
  is slower than at its best (`vendor_factors`, with the numbers of `vendor_model`).

The errors of `direct`, `gemm` and `depthwise` are bounded element by element by ``gamma_n * conv(|x|, |w|)`` for ``n`` terms;
small integers are exact. `fft` has its own bound, norm by norm, with the unit roundoff of float64, on a GPU of the sums.
`vendor` has the framework's: the same where it multiplies out.
"""
