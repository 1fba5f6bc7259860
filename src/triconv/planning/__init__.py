"""Which kernel computes a contraction: what each would cost, and the choice."""
