"""The layout of the package: short files, and one name for one thing."""

from __future__ import annotations

import collections
import re
from pathlib import Path

import pytest

import triconv

pytestmark = pytest.mark.once

ROOT = Path(triconv.__file__).parent
FILES = {path.relative_to(ROOT): path.read_text("utf-8") for path in sorted(ROOT.rglob("*.py"))}
LONGEST = 420
"""Lines of a file, of which the rule says "about 400"."""
SAYS_NOTHING = {"utils", "helpers", "common", "misc"}


def in_several(names):
    """Names, with the files that they are in, of which there are several."""
    places = collections.defaultdict(list)
    for name, path in names:
        places[name].append(str(path))
    return {name: paths for name, paths in places.items() if len(paths) > 1}


def test_files_are_short():
    lines = {str(path): text.count("\n") for path, text in FILES.items()}
    assert {path: count for path, count in lines.items() if count > LONGEST} == {}


def test_files_have_names_of_their_own():
    names = [(path.stem, path) for path in FILES if not path.stem.startswith("__")]
    assert len(names) > 200
    assert in_several(names) == {}
    assert SAYS_NOTHING.isdisjoint(name for name, _ in names)


def test_classes_have_names_of_their_own():
    classes = re.compile(r"^class ([A-Za-z]\w*)", re.MULTILINE)
    names = [(name, path) for path, text in FILES.items() for name in classes.findall(text)]
    assert len(names) > 200
    assert in_several(names) == {}
