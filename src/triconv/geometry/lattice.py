"""How many integer points there are, without a visit to any of them.

The incidence equation, with ``i' = input_size - 1 - i``, asks in how many ways an amount is paid with coins of three values::

    input_dilation * i' + stride * o + dilation * t  =  pad_lo + input_dilation * (input_size - 1)

of which there are so many of each. Those with more coins than that are subtracted: take the first too many away, and what is
left is an amount to be paid with any number. With any number of coins, solve for one of them; what is left has as many
solutions as an interval has integers, and those are added up by `floor_sum`.
"""

from __future__ import annotations

import itertools
import math


def solutions(coins: tuple[int, int, int], counts: tuple[int, int, int], amount: int) -> int:
    """Number of ``(i, o, t)`` with ``coins[0] * i + coins[1] * o + coins[2] * t == amount``, each from 0 up to its count.

    Parameters
    ----------
    coins : tuple of int
        At least 1.
    counts : tuple of int
        How many there are of each, at least 0.
    amount : int
        Any.

    Returns
    -------
    int

    Notes
    -----
    Takes a time of the order of the logarithm of the coins, whatever the counts.
    """
    if min(counts) <= 0:
        return 0
    total = 0
    for taken in itertools.product((0, 1), repeat=3):
        rest = amount - sum(t * coin * count for t, coin, count in zip(taken, coins, counts, strict=True))
        total += (-1) ** sum(taken) * _payments(coins, rest)
    return total


def _payments(coins: tuple[int, int, int], amount: int) -> int:
    """The same with any number of each coin.

    The first two, divided by their greatest common divisor, pay ``r`` in ``floor(a * r / second) + floor(b * r / first) + 1``
    ways, where ``a * first + b * second = 1``.
    """
    first, second, third = coins
    common = math.gcd(first, second)
    share = math.gcd(common, third)
    if amount < 0 or amount % share:
        return 0
    first, second, step = first // common, second // common, common // share
    start = (
        amount // share * pow(third // share, -1, step) % step
    )  # of the third coin, the fewest that leave a multiple
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
        # what is left are the points under a flat line: those beside it, read along the other axis, where it is a steep one
        height, rest = divmod(slope * count + start, divisor)
        count, divisor, slope, start = height, slope, divisor, rest
    return total
