"""The same program in two processes, by jax.distributed on this machine: exact, and a peer that is gone is an error."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = Path(__file__).with_name("two_processes.py")
# seconds after which a process that should have ended counts as hanging
PATIENCE = 150


def run_both(kill):
    """Exit status and output of each process."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {name: value for name, value in os.environ.items() if name not in ("XLA_FLAGS", "JAX_PLATFORMS")}
    started = [
        subprocess.Popen(
            [sys.executable, PROGRAM, str(port), str(number), "kill" if kill else "live"],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=environment,
        )
        for number in (0, 1)
    ]
    try:
        said = [process.communicate(timeout=PATIENCE)[0] for process in started]
    finally:
        for process in started:
            process.kill()
    return [(process.returncode, text) for process, text in zip(started, said, strict=True)]


def test_two_processes_are_exact(jax):
    for status, said in run_both(kill=False):
        assert status == 0, said
        assert said.splitlines()[-1] == "equal"


def test_a_killed_peer_is_an_error_and_no_hang(jax):
    (status, said), (killed, _) = run_both(kill=True)
    assert killed == -9
    assert status != 0
    assert "equal" not in said.splitlines()
    assert "Error" in said or "error" in said, said


def test_the_program_is_what_the_readme_shows():
    readme = (PROGRAM.parents[1] / "README.md").read_text()
    for line in ("jax.distributed.initialize(", "triconv.jax.conv_sharded(x, w, mesh, spec"):
        assert line in readme
        assert line in PROGRAM.read_text()


pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="kills a process as Linux does")
