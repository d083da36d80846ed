"""Set up a new child before any other code runs in it (session, log, limits, environment), and end process groups."""

from __future__ import annotations

import contextlib
import ctypes
import faulthandler
import os
import resource
import select
import signal
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_TRACKER_SECONDS = 1.0


def die_with_parent(parent: int) -> None:
    """Ask the kernel to kill this process when its parent ends (Linux, prctl(2))."""
    _on_parents_death(signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def outlive_parent() -> None:
    """Undo `die_with_parent`."""
    _on_parents_death(0)


def adopt_orphans() -> None:
    """Become the parent of every process below this one whose own parent ends."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def limit_memory(limit: int | None) -> None:
    """Limit the private writable memory of this process, and of each that it starts, to `limit` bytes.

    It stops a process that allocates faster than the supervisor checks. RLIMIT_DATA, not RLIMIT_AS, as CUDA and some
    allocators reserve hundreds of gigabytes of address space that they never use.
    """
    if limit is not None:
        _, hard = resource.getrlimit(resource.RLIMIT_DATA)
        soft = limit if hard == resource.RLIM_INFINITY else min(limit, hard)
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))


def _on_parents_death(number: int) -> None:
    _prctl(_PR_SET_PDEATHSIG, number)


def _prctl(option: int, value: int) -> None:
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(option, value, 0, 0, 0)


def kill_group(pid: int) -> None:
    """Kill the processes that an exited child has left in its group.

    Resource trackers of multiprocessing and loky are killed last: once the others are gone, they remove the semaphores
    and folders in shared memory that these have left, and end by themselves.
    """
    try:
        os.killpg(pid, 0)
    except OSError:  # there are none left
        return
    members = _group_members(pid)
    trackers = [member for member, command in members.items() if b"resource_tracker" in command]
    if trackers:
        for member in members.keys() - set(trackers):
            with contextlib.suppress(OSError):
                os.kill(member, signal.SIGKILL)
        until = time.monotonic() + _TRACKER_SECONDS
        for tracker in trackers:
            wait_for(tracker, max(0.0, until - time.monotonic()))
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)


def _group_members(group: int) -> dict[int, bytes]:
    """Return the processes of a group with their command lines (Linux, proc(5))."""
    members = {}
    for name in filter(str.isdecimal, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            if os.getpgid(int(name)) == group:
                members[int(name)] = Path("/proc", name, "cmdline").read_bytes()
    return members


def wait_for(pid: int, timeout: float) -> None:
    """Wait until a process, which need not be a child, has ended; at most `timeout` seconds."""
    with contextlib.suppress(OSError):
        descriptor = os.pidfd_open(pid)
        try:
            select.select([descriptor], [], [], timeout)
        finally:
            os.close(descriptor)


def redirect_output(log: str) -> None:
    """Detach from the terminal: start a session, close the input, and send all output to `log`."""
    if os.getsid(0) != os.getpid():
        os.setsid()
    with contextlib.suppress(OSError):
        # If memory runs out, the kernel must kill a child before the coordinator.
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
    # The supervisor sends SIGTERM at a stage's timeout: the log then shows where every thread was.
    faulthandler.register(signal.SIGTERM, 2, all_threads=True, chain=True)
    sys.stdout = open(1, "w", buffering=1, closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", buffering=1, closefd=False)  # noqa: SIM115


def apply_environment(environment: Mapping[str, str], folder: str) -> None:
    """Set the task's environment variables and working folder."""
    os.environ.update(environment)
    tempfile.tempdir = None
    os.chdir(folder)
