"""The same program in two processes, by jax.distributed on this machine: exact, and a peer that is gone is an error."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

PROGRAM = Path(__file__).with_name("program_of_two_processes.py")
# seconds after which a process that should have ended counts as hanging
PATIENCE = 150


def run_both(program, arguments):
    """Exit status and output of each process; `arguments` takes the port and the number of a process."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {name: value for name, value in os.environ.items() if name not in ("XLA_FLAGS", "JAX_PLATFORMS")}
    started = [
        subprocess.Popen(
            [sys.executable, program, *map(str, arguments(port, number))],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=environment,
        )
        for number in (0, 1)
    ]
    try:
        outputs = [process.communicate(timeout=PATIENCE)[0] for process in started]
    finally:
        for process in started:
            process.kill()
    return [(process.returncode, text) for process, text in zip(started, outputs, strict=True)]


def test_two_processes_are_exact(jax):
    for status, output in run_both(PROGRAM, lambda port, number: (port, number, "live")):
        assert status == 0, output
        assert output.splitlines()[-1] == "equal"


def test_a_killed_peer_is_an_error_and_no_hang(jax):
    (status, output), (killed, _) = run_both(PROGRAM, lambda port, number: (port, number, "kill"))
    assert killed == -9
    assert status != 0
    assert "equal" not in output.splitlines()
    assert "Error" in output or "error" in output, output


def test_the_program_of_the_docstring_runs_in_two_processes(jax, tmp_path):
    """Each has its half of the positions."""
    import triconv.jax

    blocks = re.findall(r"::\n\n((?:    .*\n|\n)+)", triconv.jax.__doc__)
    (shown,) = [textwrap.dedent(block) for block in blocks if "jax.distributed.initialize(" in block]
    program = tmp_path / "program.py"
    program.write_text(shown, encoding="utf-8")
    size = int(re.search(r"2\*\*(\d+)\)", shown)[1])
    half = 2 ** (size - 1)
    slices = [slice(0, half), slice(half, 2 * half)]
    for number, (status, output) in enumerate(run_both(program, lambda port, number: (f"127.0.0.1:{port}", number, 2))):
        assert status == 0, output
        assert f"{number} [{slices[number]}]" in re.sub(
            r"\[Gloo\].*\n", "", output
        )  # which writes between two words too


pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="kills a process as Linux does")
