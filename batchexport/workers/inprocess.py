"""The runner for `--in-process`: the stage runs right here, under the user's debugger, and imports torch here."""

from __future__ import annotations

import importlib
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager

from batchexport.workers import process
from batchexport.workers.child import PIPELINE
from batchexport.workers.forkserver import ProcessExit
from batchexport.workers.protocol import StageRequest


class InProcess:
    """Same interface as ForkServer; `start` returns when the stage is done."""

    note: str | None = None

    def __init__(self, environment: dict[str, str]) -> None:
        """`environment` is what torch must be imported with."""
        self._environment = environment
        self._ended: list[ProcessExit] = []

    def open(self) -> None:
        """Torch is imported by the first stage."""

    def start(self, request: StageRequest) -> None:
        """Run the stage now."""
        started = time.monotonic()
        with _surroundings():
            os.environ.update(self._environment)
            stages = importlib.import_module(PIPELINE)
            process.apply_environment(request.environment, request.task["root"])
            stages.run(request.task, request.folder)
        self._ended.append(ProcessExit(id=request.id, status=0, seconds=time.monotonic() - started))

    def signal(self, name: str, number: int) -> None:
        """Nothing runs beside this process."""

    def held(self, *, exact: bool) -> dict[str, int]:
        """Nothing that could be ended."""
        return {}

    def wait(self, timeout: float | None) -> list[ProcessExit]:
        """What has run since the last call."""
        if not self._ended:
            time.sleep(timeout or 0)
        ended, self._ended = self._ended, []
        return ended

    def close(self) -> None:
        """Nothing to end."""


@contextmanager
def _surroundings() -> Iterator[None]:
    """What a stage does to its process is over with the stage: the next one, and the caller, find theirs again."""
    environment, folder, path, temporary = dict(os.environ), os.getcwd(), list(sys.path), tempfile.tempdir
    try:
        yield
    finally:
        for name in os.environ.keys() - environment.keys():
            del os.environ[name]
        os.environ.update(environment)
        os.chdir(folder)
        sys.path[:] = path
        tempfile.tempdir = temporary
