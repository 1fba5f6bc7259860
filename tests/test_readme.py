"""README.md: each block runs alone, in a fresh interpreter, and prints what stands below it."""

from __future__ import annotations

import doctest
import importlib.metadata
import importlib.util
import os
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from triconv.backends import quick_xla
from triconv.cli import main

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```$", TEXT, re.DOTALL | re.MULTILINE)
PYTHON = [block for language, block in BLOCKS if language == "python"]
COMMANDS = [line for language, block in BLOCKS if language == "sh" for line in block.splitlines()]
ORDER = (
    "Thirty seconds",
    "Pick your door",
    "Check yours",
    "Use it",
    "What the gradient of a convolution is",
    "Why is my gradient slow?",
    "Limits",
    "Details",
    "Contributing",
)
PATIENCE = 120
"""Seconds after which a block counts as hanging."""


def name_of(block):
    """What the block is about: its imports, and the last function that it calls by name."""
    return "-".join(re.findall(r"triconv\.([\w.]+)\(", block)[-1:] + sorted(needed(block))) or "plain"


def needed(block):
    return set(re.findall(r"\b(jax|torch|flax|equinox)\b", block))


def expected(block):
    """The comments right below a line that prints."""
    below = re.findall(r"^print\(.*\n((?:# .*\n)+)", block, re.MULTILINE)
    return re.sub(r"^# ", "", "".join(below), flags=re.MULTILINE)


def run(words, folder):
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT / "src"),
        "COLUMNS": "120",
        "XLA_FLAGS": quick_xla.flags(quick_xla.options()),
    }
    done = subprocess.run(
        [sys.executable, *words],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


@pytest.mark.once
@pytest.mark.parametrize("block", [pytest.param(block, id=name_of(block)) for block in PYTHON])
def test_a_block_runs_alone(block, tmp_path, request):
    for library in needed(block):
        if importlib.util.find_spec(library) is None:
            pytest.skip(f"shows {library}, which is not installed")
    if needed(block) & {"jax", "flax", "equinox"}:
        request.getfixturevalue("jax")
    if "torch" in needed(block):
        request.getfixturevalue("torch")
    is_test = "def test_" in block
    (tmp_path / "test_mine.py").write_text(block, encoding="utf-8")
    is_installed = importlib.metadata.entry_points(group="pytest11", name="triconv")
    plugin = [] if is_installed else ["-p", "triconv.checking.plugin"]
    status, out, err = run(["-m", "pytest", "-q", *plugin, "test_mine.py"] if is_test else ["test_mine.py"], tmp_path)
    assert status == 0, out + err
    if is_test:
        assert "1 passed" in out
        return
    assert expected(block), "a block prints something, which stands below it"
    flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    assert doctest.OutputChecker().check_output(expected(block), out, flags), out


def test_the_picture_is_the_real_one(capsys):
    (picture,) = [block for language, block in BLOCKS if language == "text"]
    command, _, shown = picture.partition("\n")
    assert command.startswith("$ triconv show ")
    assert main.main(shlex.split(command)[2:]) == 0
    assert capsys.readouterr().out == shown


def test_blocks_are_short_and_know_nothing_of_each_other():
    checks = TEXT.partition("## Check yours")[2].partition("## Use it")[0]
    blocks = re.findall(r"^```python\n(.*?)^```$", checks, re.DOTALL | re.MULTILINE)
    assert len(blocks) == 4
    assert all(len(block.splitlines()) <= 12 for block in blocks)
    assert not any("config.update" in block for block in PYTHON)
    assert all(re.search(r"^(import|from) ", block, re.MULTILINE) for block in PYTHON)


@pytest.mark.parametrize("command", [c for c in COMMANDS if not c.startswith("python -m pip")])
def test_a_command_is_one(command):
    words = shlex.split(command)
    assert words[0] == "triconv"
    assert main.parse(words[1:]).command == words[1]


def test_the_two_commands_are_those_of_the_project():
    install = 'python -m pip install ".[jax,torch]" && python -m triconv check'
    assert [c for c in COMMANDS if c.startswith("python -m pip")] == [
        install,
        "python -m pip install tox && python -m tox",
    ]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert {"jax", "torch"} <= set(project["optional-dependencies"])
    assert f"version = {{{main_version()}}}" in TEXT


def main_version():
    import triconv

    return triconv.__version__


def test_it_is_short_and_in_order():
    assert len(TEXT.encode()) <= 12_000
    assert tuple(re.findall(r"^## (.*)$", TEXT, re.MULTILINE)) == ORDER


def test_its_links_lead_somewhere():
    anchors = {
        re.sub(r"[^\w -]", "", h.lower()).replace(" ", "-") for h in re.findall(r"^#+ (.*)$", TEXT, re.MULTILINE)
    }
    for link in re.findall(r"\]\(([^)]*)\)", re.sub(r"^```.*?^```$", "", TEXT, flags=re.DOTALL | re.MULTILINE)):
        assert link[1:] in anchors if link.startswith("#") else (ROOT / link).exists(), link


def test_the_help_that_it_names_is_there():
    import pydoc

    for name in re.findall(r"`help\(([\w.]+)\)`", TEXT):
        if name != "triconv.jax" or importlib.util.find_spec("jax") is not None:
            assert pydoc.locate(name).__doc__, name
