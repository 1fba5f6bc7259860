"""Incidence tables: which inputs, outputs and taps of a call meet, to look at.

Read in this order: `axis_table` (the table of one axis), `sums` (the sum behind an element of a result), `incidence_tables`
(`show`, and its result). `table_text` and `table_html`, with the pictures of `table_svg`, render them. `probed_table` finds the
table of somebody's own function.
"""
