"""Pick the lines of a stage's log that say how it ended, for the report of a job whose child left no message."""

from __future__ import annotations

import os
from pathlib import Path

_BYTES = 16_384
_LINES = 6
_WIDTH = 200
# Python's own report of a crash (faulthandler) has the cause at its head and a list of extension modules at its end.
_CRASH_HEADS = ("Fatal Python error:", "Current thread 0x")


def log_tail(log: Path) -> tuple[str, ...]:
    """Return the head of the last crash report in `log`, else its last lines; empty where there is no log.

    At most six lines of 200 characters.
    """
    try:
        with log.open("rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - _BYTES))
            text = file.read().decode("utf-8", errors="replace")
    except OSError:
        return ()
    lines = [line.rstrip()[:_WIDTH] for line in text.splitlines() if line.strip()]
    for head in _CRASH_HEADS:
        heads = [number for number, line in enumerate(lines) if line.startswith(head)]
        if heads:
            return tuple(lines[heads[-1] :][:_LINES])
    return tuple(lines[-_LINES:])
