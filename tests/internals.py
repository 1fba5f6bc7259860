"""What of a framework is internal, where triconv uses it, and the canaries that tell which of it moved."""

from __future__ import annotations

import ast
import contextlib
import functools
import re
from pathlib import Path

import pytest

import triconv

SOURCE = Path(triconv.__file__).parent
# public by their names, but without a promise of stability
UNSTABLE = ("jax.core", "jax.experimental.jet", "jax.extend", "jax.interpreters", "jaxlib", "torch.fx.experimental")


def is_internal(name):
    """Whether a dotted name is a framework's own: it has a part with an underscore, or stands in an unstable module."""
    if name.split(".")[0] not in ("jax", "jaxlib", "torch"):
        return False
    private = any(re.fullmatch(r"_[^_].*", part) for part in name.split("."))
    return private or any(name == module or name.startswith(module + ".") for module in UNSTABLE)


def uses(source):
    """Every internal that a program names: imported, reached by attributes, or imported by a string."""
    tree, aliases, found = ast.parse(source), {}, set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                root = alias.name.split(".")[0]
                aliases[alias.asname or root] = alias.name if alias.asname else root
                found.add(alias.name)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            aliases |= {alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names}
        elif (
            isinstance(node, ast.Constant) and isinstance(node.value, str) and re.fullmatch(r"\w+(\.\w+)+", node.value)
        ):
            found.add(node.value)
    modules = set()
    for node in ast.walk(tree):
        name = _dotted(node, aliases)
        if name is not None:
            found.add(name)
            modules |= {name.rpartition(".")[0]}
    found |= set(aliases.values())
    found -= modules  # of a longest name its parts say nothing new
    return {name for name in found if is_internal(name)}


def _dotted(node, aliases):
    parts = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    if not isinstance(node, ast.Name) or node.id not in aliases:
        return None
    return ".".join((aliases[node.id], *reversed(parts)))


@functools.cache
def _used_in_source():
    paths = sorted(SOURCE.rglob("*.py"))
    return {path.relative_to(SOURCE).as_posix(): uses(path.read_text(encoding="utf-8")) for path in paths}


def users(framework):
    """The files of triconv that use a framework's internals, each with what it uses."""
    of_framework = {
        path: {name for name in names if name.split(".")[0].startswith(framework)}
        for path, names in _used_in_source().items()
    }
    return {path: names for path, names in of_framework.items() if names}


class Canaries(dict):
    """Tests of internals, by the name of the internal that each one is about."""

    def about(self, internal, purpose):
        """Enter a test; it fails with the name of the internal and what triconv needs it for."""

        def enter(test):
            self[internal] = (test, purpose)
            return test

        return enter

    def run(self, internal, *args):
        """Run the test of an internal."""
        test, purpose = self[internal]
        with blames(internal, purpose):
            test(*args)


@contextlib.contextmanager
def blames(internal, purpose):
    """Let whatever goes wrong inside of it fail the test with the name of an internal, and with what it is needed for."""
    try:
        yield
    except Exception as problem:  # noqa: BLE001 (whatever a framework raises)
        pytest.fail(f"{internal} moved or changed; triconv needs it for {purpose}: {type(problem).__name__}: {problem}")
