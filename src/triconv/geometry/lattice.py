"""Counting the solutions of the incidence equation without visiting them.

With ``i' = input_size - 1 - i`` the equation asks in how many ways an amount can be paid with coins of three values::

    input_dilation * i' + stride * o + dilation * t  =  pad_lo + input_dilation * (input_size - 1)

There is a limited number of coins of each value. Inclusion and exclusion removes the limits: a payment that uses too many
coins of one value is a payment of the rest of the amount with unlimited coins. For unlimited coins, fix the number of the
third coin: the payments with the other two are the integers in an interval, and `floor_sum` adds up the lengths of these
intervals.
"""

from __future__ import annotations

import itertools
import math


def solutions(coins: tuple[int, int, int], counts: tuple[int, int, int], amount: int) -> int:
    """Number of ``(i, o, t)`` with ``coins[0] * i + coins[1] * o + coins[2] * t == amount`` within the counts.

    Parameters
    ----------
    coins : tuple of int
        Values of the coins, at least 1.
    counts : tuple of int
        Number of coins of each value, at least 0: the unknowns run from 0 up to these, not included.
    amount : int
        The amount.

    Returns
    -------
    int

    Notes
    -----
    Time grows with the logarithm of the coins, and does not depend on the counts.
    """
    if min(counts) <= 0:
        return 0
    total = 0
    for taken in itertools.product((0, 1), repeat=3):
        rest = amount - sum(t * coin * count for t, coin, count in zip(taken, coins, counts, strict=True))
        total += (-1) ** sum(taken) * _payments(coins, rest)
    return total


def _payments(coins: tuple[int, int, int], amount: int) -> int:
    """Number of solutions with unlimited coins.

    The first two coins, divided by their greatest common divisor, pay ``r`` in
    ``floor(a * r / second) + floor(b * r / first) + 1`` ways, where ``a * first + b * second = 1``.
    """
    first, second, third = coins
    common = math.gcd(first, second)
    share = math.gcd(common, third)
    if amount < 0 or amount % share:
        return 0
    first, second, step = first // common, second // common, common // share
    # the fewest coins of the third value that leave a multiple of `common`
    start = amount // share * pow(third // share, -1, step) % step
    if start * third > amount:
        return 0
    count = (amount // third - start) // step + 1
    rest, less = (amount - third * start) // common, third * step // common
    a = pow(first, -1, second)
    b = (1 - a * first) // second
    return count + floor_sum(count, second, -a * less, a * rest) + floor_sum(count, first, -b * less, b * rest)


def floor_sum(count: int, divisor: int, slope: int, start: int) -> int:
    """Sum of ``floor((slope * v + start) / divisor)`` for ``v`` from 0 up to `count`, by Euclid's algorithm [1]_.

    References
    ----------
    .. [1] Graham, Knuth and Patashnik, *Concrete Mathematics*, 2nd ed., section 3.5.
    """
    total = 0
    while count > 0:
        (steps, slope), (whole, start) = divmod(slope, divisor), divmod(start, divisor)
        total += count * (count - 1) // 2 * steps + count * whole
        # the points under the remaining line, whose slope is below 1: count those above it instead, along the other axis
        height, rest = divmod(slope * count + start, divisor)
        count, divisor, slope, start = height, slope, divisor, rest
    return total
