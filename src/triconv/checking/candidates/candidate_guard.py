"""The process between the checker and a candidate's process: it waits, and ends as the candidate's ends.

The candidate's parent is then not the checker, and its process group not the checker's: one that ends its parent or its group
ends itself. What it started in its group ends with it. This file is run by its path before anything else is imported.
"""

from __future__ import annotations

import os
import signal

PR_SET_PDEATHSIG = 1


def stand_between() -> None:
    """Fork: return in the new process, and wait for it in this one."""
    import resource

    _end_with_parent()
    number = os.fork()
    if number == 0:
        _end_with_parent()
        return
    for stream in (0, 1, 2):
        os.close(stream)  # else the checker would not see that the other end is closed
    status = os.waitpid(number, 0)[1]
    if os.getpgrp() == os.getpid():
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        os.killpg(0, signal.SIGTERM)
    if os.WIFSIGNALED(status):
        ended_by = os.WTERMSIG(status)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        if ended_by not in (signal.SIGKILL, signal.SIGSTOP):
            signal.signal(ended_by, signal.SIG_DFL)
        os.kill(os.getpid(), ended_by)
    os._exit(os.WEXITSTATUS(status))


def _end_with_parent() -> None:
    import ctypes

    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
