"""Names as people write them: ``conv_2d`` for ``conv2d``, ``JAX`` for ``jax``, and what a misspelled one was meant to be."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def did_you_mean(word: str, names: Iterable[str]) -> str:
    """Return the end of a message, ``; did you mean 'conv2d'?``, or nothing if no name is near.

    Examples
    --------
    >>> did_you_mean("strid", ["stride", "padding"])
    "; did you mean 'stride'?"
    >>> did_you_mean("q", ["stride", "padding"])
    ''
    """
    by_plain = {_plain(name): name for name in names}
    near = difflib.get_close_matches(_plain(word), by_plain, 1)
    return f"; did you mean {by_plain[near[0]]!r}?" if near else ""


def known_name(word: str, names: Iterable[str], also: dict[str, str] | None = None) -> str | None:
    """Return the name that a word spells with other case, hyphens, underscores or ``triconv.`` before it; None if it is none.

    Parameters
    ----------
    word : str
        As somebody wrote it.
    names : iterable of str
        The names.
    also : dict, optional
        Other words for some of them.

    Examples
    --------
    >>> known_name("triconv.ConvTranspose2d", ["conv2d", "conv_transpose2d"])
    'conv_transpose2d'
    >>> known_name("bf16", ["bfloat16"], {"bf16": "bfloat16"})
    'bfloat16'
    """
    by_plain = {_plain(name): name for name in names}
    plain = _plain(word)
    return by_plain.get(plain) or (also or {}).get(plain)


def _plain(word: str) -> str:
    """Return a word without what people write in one way or another."""
    return word.strip().lower().removeprefix("triconv.").replace("_", "").replace("-", "")
