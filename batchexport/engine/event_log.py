"""Append what happens in runs to `events.jsonl` beside the logs: a line each time a stage starts, ends or fails."""

from __future__ import annotations

import json
import os
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from batchexport.core.events import Event, JobFinished, Listener, StageFinished, StageStarted

NAME = "events.jsonl"
_MAX_BYTES = 4 << 20  # a file that has grown beyond this is begun anew


class EventLog:
    """A listener that writes each event of a run before it passes it on. Runs at the same time share the file.

    What can't be written is left out: a run never fails because of it.
    """

    def __init__(self, path: Path, listener: Listener) -> None:
        self._path = path
        self._listener = listener
        self._run = f"{time.strftime('%Y-%m-%dT%H:%M:%S+00:00', time.gmtime())} {os.getpid()}"

    def __call__(self, event: Event) -> None:
        """Write an event, and pass it on."""
        form = event_json(event)
        if form is not None:
            now = time.time()
            stamp = f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(now))}.{int(now % 1 * 1000):03}+00:00"
            with suppress(OSError):
                self._append(f"{json.dumps({'time': stamp, 'run': self._run, **form})}\n".encode())
        self._listener(event)

    def _append(self, line: bytes) -> None:
        with suppress(FileNotFoundError):
            if self._path.lstat().st_size > _MAX_BYTES:
                self._path.unlink()
        file = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
        try:
            os.write(file, line)  # in one piece, as other runs append too
        finally:
            os.close(file)


def event_json(event: Event) -> dict[str, Any] | None:
    """Return an event of a stage as the fields of its line, without the time; None for all others."""
    form: dict[str, Any] = {"seconds": None, "kind": None, "class": None}
    match event:
        case StageStarted():
            return {"job": event.job, "stage": event.stage, "event": "enter", **form}
        case StageFinished():
            seconds = round(event.seconds, 4)
            return {"job": event.job, "stage": event.stage, "event": "exit", **form, "seconds": seconds}
        case JobFinished(report=report) if report.error is not None:
            error = report.error
            told = {"kind": str(error.kind), "class": error.error_class}
            return {"job": report.name, "stage": error.stage, "event": "error", **form, **told}
    return None
