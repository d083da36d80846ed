"""What a new child does to itself before any other code runs: its own group, log, environment and end."""

from __future__ import annotations

import contextlib
import ctypes
import faulthandler
import os
import signal
import sys
import tempfile
from collections.abc import Mapping

_PR_SET_PDEATHSIG = 1


def die_with_parent(parent: int) -> None:
    """Ask the kernel to kill this process when its parent ends (Linux, prctl(2))."""
    _on_parents_death(signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def outlive_parent() -> None:
    """Take back `die_with_parent`."""
    _on_parents_death(0)


def _on_parents_death(number: int) -> None:
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, number, 0, 0, 0)


def kill_group(pid: int) -> None:
    """Kill what a child that is gone has left in its group."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)


def detach(log: str) -> None:
    """Leave the terminal: a session of its own, no input, all output into `log`."""
    if os.getsid(0) != os.getpid():
        os.setsid()
    with contextlib.suppress(OSError):
        # Where memory runs out the kernel should take a child, never the coordinator.
        with open("/proc/self/oom_score_adj", "w") as file:
            file.write("500")
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(output, 1)
    os.dup2(output, 2)
    for descriptor in (nothing, output):
        if descriptor > 2:
            os.close(descriptor)
    faulthandler.enable(2)
    sys.stdout = open(1, "w", buffering=1, closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", buffering=1, closefd=False)  # noqa: SIM115


def settle(environment: Mapping[str, str], folder: str) -> None:
    """Take on the task's environment and working folder."""
    os.environ.update(environment)
    tempfile.tempdir = None
    os.chdir(folder)
