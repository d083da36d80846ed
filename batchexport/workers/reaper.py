"""Run the fork server, and kill every process below it when it or the coordinator ends.

Coordinator, fork server and child may each be killed at any moment and then cannot clean up: compilers that a child
started would run on. The reaper stands between coordinator and fork server. Orphans below it become its children
(prctl(2), PR_SET_CHILD_SUBREAPER), so it finds and kills them all. If the reaper itself is killed, the fork server
kills its children and their process groups.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from batchexport.workers import process


def main() -> None:
    """Run the command given from the second argument on, with this process's pid appended as its last argument.

    The first argument is the descriptor of a pipe whose other end the coordinator holds. When the pipe closes or the
    command exits, every process below this one is killed.
    """
    watchdog = int(sys.argv[1])
    os.set_inheritable(watchdog, False)
    process.adopt_orphans()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    woken, wake = os.pipe()
    os.set_blocking(wake, False)
    signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    # The reaper leads a session of its own, which the command shares: signals of the terminal reach neither.
    command = subprocess.Popen([*sys.argv[2:], str(os.getpid())], close_fds=False)
    while True:
        ready, _, _ = select.select([watchdog, woken], [], [])
        if woken in ready:
            os.read(woken, 4096)
        if watchdog in ready or _has_exited(command.pid):
            break
    _kill_all()


def _has_exited(pid: int) -> bool:
    """Reap every child that has exited; return True if `pid` is among them or no child is left."""
    exited = False
    with contextlib.suppress(ChildProcessError):
        while (reaped := os.waitpid(-1, os.WNOHANG)[0]) != 0:
            exited = exited or reaped == pid
        return exited
    return True


def _kill_all() -> None:
    """Kill children until none is left; those of a killed process become children of this one."""
    with contextlib.suppress(ChildProcessError):
        while True:
            for pid in _children():
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.kill(pid, signal.SIGKILL)
            os.waitpid(-1, 0)


def _children() -> Iterator[int]:
    """Yield the pids of living children."""
    for folder in Path("/proc").iterdir():
        if folder.name.isdecimal():
            try:
                state, parent = (folder / "stat").read_text(errors="replace").rpartition(")")[2].split()[:2]
            except (OSError, ValueError):
                continue
            if int(parent) == os.getpid() and state != "Z":
                yield int(folder.name)


if __name__ == "__main__":
    main()
