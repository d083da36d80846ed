"""The keeper stands between coordinator and fork server, and ends only when nothing below it is left alive.

Each of coordinator, fork server and child may be killed at any moment, and then cannot clean up: compilers that a
child started would go on. Orphans below the keeper become its children (prctl(2), PR_SET_CHILD_SUBREAPER), so it
can find and kill them all. Should the keeper itself be killed, the fork server does what it can.
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
    """Run the command given from the second argument on, with this process's pid as its last argument.

    The first argument is the descriptor of a pipe whose other end the coordinator holds: when that closes, or when
    the command has ended, everything is killed.
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
    # Its own session, as the keeper's: what the terminal sends reaches neither.
    kept = subprocess.Popen([*sys.argv[2:], str(os.getpid())], close_fds=False)
    while True:
        ready, _, _ = select.select([watchdog, woken], [], [])
        if woken in ready:
            os.read(woken, 4096)
        if watchdog in ready or _has_ended(kept.pid):
            break
    _end_all()


def _has_ended(pid: int) -> bool:
    """Reap what has ended; whether `pid` was among it."""
    found = False
    with contextlib.suppress(ChildProcessError):
        while (reaped := os.waitpid(-1, os.WNOHANG)[0]) != 0:
            found = found or reaped == pid
        return found
    return True


def _end_all() -> None:
    """Kill until nothing is left: what is killed leaves its own children to this process."""
    with contextlib.suppress(ChildProcessError):
        while True:
            for pid in _children():
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.kill(pid, signal.SIGKILL)
            os.waitpid(-1, 0)


def _children() -> Iterator[int]:
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
