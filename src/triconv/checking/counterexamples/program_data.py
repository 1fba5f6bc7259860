"""The numbers of a counterexample in a program: short arrays are written out, long ones drawn again there."""

from __future__ import annotations

import numpy as np

from triconv.checking.questions.shrink import NUMBERS, drawn

LONGEST = 500
"""Characters of an array that is written out: five lines, and a program has about four arrays."""
MOST_ELEMENTS = 12
"""Wrong elements of a long result that are compared."""


def spelled(a: np.ndarray, number: int, np_: str) -> str:
    """Return an expression for an array.

    Parameters
    ----------
    a : numpy.ndarray
        The array; a long one of `shrink.drawn` is drawn again.
    number : int
        With which it was drawn, if it was.
    np_ : str
        What the program calls NumPy.
    """
    text = literal(a)
    if len(text) <= LONGEST or not np.array_equal(a, drawn(number, a.shape, is_complex=np.iscomplexobj(a))):
        return text
    draw = f"{np_}.random.RandomState({{}}).choice({list(NUMBERS)}, {a.shape})"
    return draw.format(2 * number) + (f" + 1j * {draw.format(2 * number + 1)}" if np.iscomplexobj(a) else "")


def comparison(found: np.ndarray, expected: np.ndarray, np_: str) -> list[str]:
    """Return the lines that compare `found` with the right result, or with some of its wrong elements if it is long."""
    lines, right = [], expected
    if found.shape == expected.shape and len(literal(expected)) > LONGEST:
        wrong = ~np.isclose(found, expected)
        wrong = wrong if wrong.any() else found != expected
        places = [tuple(map(int, index)) for index in np.argwhere(wrong)[:MOST_ELEMENTS]]
        found, right = (np.asarray([a[place] for place in places]) for a in (found, expected))
        of = f", the first {len(places)}" if wrong.sum() > len(places) else ""
        lines = [
            f"# of the result, {wrong.sum()} of {wrong.size} elements are wrong{of}",
            f"found = {np_}.asarray([{np_}.asarray(found)[i] for i in {places}])",
        ]
    # large sums that are off by little are close all the same
    is_seen = found.shape != right.shape or not np.allclose(found, right)
    exactly = "" if is_seen else ", rtol=0"
    return [
        *lines,
        f"expected = {np_}.asarray({literal(right)})",
        "print(found)",
        "print(expected)",
        f"assert {np_}.shape(found) == expected.shape and {np_}.allclose({np_}.asarray(found), expected{exactly})",
    ]


def literal(a: np.ndarray) -> str:
    """Return the numbers of an array as nested lists; what is not finite as 0."""
    values = np.asarray(a)
    if not np.iscomplexobj(values):
        values = np.where(np.isfinite(values), values, 0)
        if np.array_equal(values, np.rint(values)):
            values = values.astype(int)
    return str(values.tolist())
