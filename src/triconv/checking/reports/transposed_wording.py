"""The words of a transposed convolution: what it reads is the output of the convolution that it is the transpose of."""

from __future__ import annotations

import re

COTANGENT = "the output (or its cotangent)"
EXCHANGED = {"input": "output", "output": "input", "x": COTANGENT, COTANGENT: "x"}
WORDS = re.compile(rf"{re.escape(COTANGENT)}|\b(?:input|output|x)\b")


def exchanged(words: object) -> object:
    """Return words in which x and the output, and what is the input's and the output's, are exchanged."""
    return WORDS.sub(lambda found: EXCHANGED[found[0]], words) if isinstance(words, str) else words
