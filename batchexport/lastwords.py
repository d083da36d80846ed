"""The last words of a log are the few lines at its end that tell most of how the child ended."""

from __future__ import annotations

import os
from pathlib import Path

_BYTES = 16_384
_LINES = 6
_WIDTH = 200
# Python's own report of a crash (faulthandler) tells most at its head, and ends in a list of extension modules.
_MARKS = ("Fatal Python error:", "Current thread 0x")


def last_words(log: Path) -> tuple[str, ...]:
    """At most six lines, none of them long; none where there is no log."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - _BYTES))
            text = file.read().decode("utf-8", errors="replace")
    except OSError:
        return ()
    lines = [line.rstrip()[:_WIDTH] for line in text.splitlines() if line.strip()]
    for mark in _MARKS:
        heads = [number for number, line in enumerate(lines) if line.startswith(mark)]
        if heads:
            return tuple(lines[heads[-1] :][:_LINES])
    return tuple(lines[-_LINES:])
